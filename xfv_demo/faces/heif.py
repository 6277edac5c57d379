"""What a HEIF or AVIF file says of how its photo is to be turned.

Such files turn their pixels by properties of their own, "irot" and "imir", beside which an EXIF orientation
only repeats what was done (ISO/IEC 23008-12, 6.5.10, 6.5.12 and annex A). Decoders follow the properties and
drop the EXIF. But some cameras write the EXIF orientation alone, and then it is all that there is to go by.
"""

import struct
from collections.abc import Iterator
from itertools import islice

# More boxes and entries than a photo has; a hostile file could keep us busy with millions.
_MOST = 20_000


def has_turning_property(content: bytes) -> bool | None:
    """Whether a file turns or mirrors its primary image by a property.

    Args:
        content: The file's bytes, of any origin.

    Returns:
        None where the file's boxes cannot be followed.
    """
    try:
        meta = _only(b"meta", _boxes(content, 0, len(content)))
        # A "full" box begins with a version and flags, in four bytes.
        inner = dict(_boxes(content, meta.start + 4, meta.stop))
        primary = _primary_item(content, inner[b"pitm"])
        properties = list(_boxes(content, inner[b"iprp"].start, inner[b"iprp"].stop))
        place = _only(b"ipco", iter(properties))
        kinds = [kind for kind, _ in _boxes(content, place.start, place.stop)]
        numbers = [
            number
            for kind, associations in properties
            if kind == b"ipma"
            for item, number in _associations(content, associations)
            if item == primary
        ]
        # Counted from 1; 0 stands for none.
        return any(kinds[number - 1] in (b"irot", b"imir") for number in numbers if number)
    except (KeyError, IndexError, StopIteration, struct.error):
        return None


def _boxes(content: bytes, start: int, stop: int) -> Iterator[tuple[bytes, slice]]:
    """The boxes within a stretch of the file: the kind of each, and where its contents lie."""
    for _ in range(_MOST):
        if start + 8 > stop:
            return
        size, kind = struct.unpack_from(">I4s", content, start)
        header = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", content, start + 8)
            header = 16
        end = start + size if size else stop
        if not start + header <= end <= stop:
            return
        yield kind, slice(start + header, end)
        start = end


def _only(wanted: bytes, boxes: Iterator[tuple[bytes, slice]]) -> slice:
    return next(place for kind, place in boxes if kind == wanted)


def _primary_item(content: bytes, place: slice) -> int:
    version = content[place.start]
    (item,) = struct.unpack_from(">I" if version else ">H", content, place.start + 4)
    return int(item)


def _associations(content: bytes, place: slice) -> Iterator[tuple[int, int]]:
    """The entries of an "ipma" box: an item, and the number of a property that it has."""
    version, flags = content[place.start], content[place.start + 3]
    item_format = struct.Struct(">IB" if version else ">HB")
    # The first bit says whether readers must know the property.
    number_format, mask = (struct.Struct(">H"), 0x7FFF) if flags & 1 else (struct.Struct(">B"), 0x7F)
    (entries,) = struct.unpack_from(">I", content, place.start + 4)
    offset = place.start + 8
    for _ in islice(range(entries), _MOST):
        item, count = item_format.unpack_from(content, offset)
        offset += item_format.size
        for _ in range(count):
            yield item, number_format.unpack_from(content, offset)[0] & mask
            offset += number_format.size
