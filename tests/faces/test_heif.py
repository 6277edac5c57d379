"""Which HEIF and AVIF files turn their pixels by a property: boxes put together by hand, and mangled ones."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from xfv_demo.faces.heif import has_turning_property


def box(kind, *contents, large=False):
    body = b"".join(contents)
    return struct.pack(">I4sQ", 1, kind, 16 + len(body)) + body if large else sized(kind, 8 + len(body), body)


def sized(kind, size, body=b""):
    return struct.pack(">I4s", size, kind) + body


def full(kind, version, flags, *contents):
    return box(kind, struct.pack(">I", version << 24 | flags), *contents)


def photo(properties, associations, primary=1, *, wide=False, long_items=False, large=False):
    """A file whose primary item, and others, have properties by their numbers, from 1."""
    number = struct.Struct(">H" if wide else ">B")
    item = struct.Struct(">I" if long_items else ">H")
    entries = b"".join(
        item.pack(key) + bytes([len(numbers)]) + b"".join(map(number.pack, numbers))
        for key, numbers in associations.items()
    )
    ipma = full(b"ipma", int(long_items), int(wide), struct.pack(">I", len(associations)), entries)
    ipco = box(b"ipco", *(box(kind, b"\0") for kind in properties))
    meta = full(
        b"meta",
        0,
        0,
        full(b"hdlr", 0, 0, b"\0\0\0\0pict"),
        full(b"pitm", int(long_items), 0, item.pack(primary)),
        box(b"iprp", ipco, ipma, large=large),
    )
    return box(b"ftyp", b"heic") + box(b"free", bytes(9), large=large) + meta + sized(b"mdat", 0, bytes(40))


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("long_items", [False, True])
@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    ("properties", "associations", "expected"),
    [
        ((b"ispe", b"irot"), {1: [1, 2]}, True),
        ((b"ispe", b"imir"), {1: [1, 2]}, True),
        ((b"ispe", b"irot"), {1: [1]}, False),
        ((b"ispe",), {1: [1]}, False),
        ((b"ispe",), {1: []}, False),
        ((b"ispe", b"irot"), {1: [0, 1]}, False),  # 0 stands for no property
        ((b"ispe", b"irot"), {2: [1, 2], 1: [1]}, False),  # another image is turned
        ((b"ispe", b"irot"), {2: [1], 1: [1, 2]}, True),
        ((b"ispe", b"irot"), {2: [1, 2]}, False),
    ],
)
def test_the_primary_images_properties_count(properties, associations, expected, wide, long_items, large):
    kinds = {"wide": wide, "long_items": long_items, "large": large}
    assert has_turning_property(photo(properties, associations, **kinds)) is expected


def test_the_bit_that_says_essential_is_no_part_of_the_number():
    assert has_turning_property(photo((b"ispe", b"irot"), {1: [1, 0x80 | 2]})) is True
    assert has_turning_property(photo((b"ispe", b"irot"), {1: [1, 0x8000 | 2]}, wide=True)) is True


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\0\x08meta",
        box(b"ftyp", b"heic"),
        box(b"ftyp", b"heic") + full(b"meta", 0, 0),
        photo((b"ispe",), {1: [1]})[:110],
        photo((b"ispe",), {1: [7]}),  # a property that there is not
        sized(b"meta", 7),
        sized(b"meta", 2**31),
        box(b"ftyp", b"heic") + full(b"meta", 0, 0, box(b"pitm"), box(b"iprp", box(b"ipco"), box(b"ipma"))),
    ],
)
def test_what_cannot_be_followed_says_nothing(content):
    assert has_turning_property(content) is None


def test_endless_boxes_and_entries_end():
    assert has_turning_property(sized(b"free", 8) * 1_000_000) is None
    entries = full(b"ipma", 0, 0, struct.pack(">I", 2**32 - 1), b"\0\2\0" * 1_000_000)
    meta = full(b"meta", 0, 0, full(b"pitm", 0, 0, b"\0\1"), box(b"iprp", box(b"ipco"), entries))
    assert has_turning_property(meta) is False


def real():
    file = io.BytesIO()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(file, "AVIF")
    return file.getvalue()


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(data=st.data(), seed=st.sampled_from([real(), photo((b"ispe", b"irot"), {1: [1, 2], 2: [1]})]))
def test_mangled_files_never_raise(data, seed):
    content = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        content = content or bytearray(1)
    assert has_turning_property(bytes(content)) in (True, False, None)
