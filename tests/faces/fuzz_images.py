"""Mangled photos by the ten thousand through `read_photo`: an answer or an `ImageError`, in bounded memory.

`python tests/faces/fuzz_images.py --mangled 100000` takes some minutes. The photos are read in processes of
their own, so that a decoder that brings its process down is told with the photo that did it. The same numbers
of photos and seed give the same photos; `test_images.py` reads a few of them with every run of the tests.
"""

import argparse
import io
import multiprocessing
import resource
import sys
import warnings
from collections import Counter
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from xfv_demo.errors import ImageError
from xfv_demo.faces.images import MIN_SIDE, read_photo

MEMORY = 1 << 30  # bytes: what reading may take, beyond what a process has with the libraries loaded
_END_OF_MEMORY = 4 << 30  # where allocations fail, to keep the machine from harm
_AT_ONCE = 5_000

_NUMBERS = (0, 1, 2, 3, 7, 8, 31, 32, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0xFFFFFF,
            0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)  # fmt: skip
# What containers are made of: where these stand, sizes and numbers stand beside them.
_MARKS = (
    b"IHDR", b"IDAT", b"PLTE", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"fdAT", b"tRNS", b"IEND",
    b"RIFF", b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"BM",
    b"ftyp", b"meta", b"pitm", b"iinf", b"infe", b"iloc", b"iprp", b"ipco", b"ipma", b"ispe", b"irot",
    b"imir", b"hvcC", b"av1C", b"pixi", b"colr", b"iref", b"idat", b"mdat", b"moov", b"trak", b"stsz",
    b"II*\0", b"MM\0*", b"II+\0", b"Exif", b"\xff\xc0", b"\xff\xc2", b"\xff\xc4", b"\xff\xda", b"\xff\xdb",
    b"\xff\xe1", b"\xff\xe2", b"\xff\xdd", b"GIF8", b"\x21\xf9", b"\x2c\0", b"acsp", b"mft2", b"curv",
)  # fmt: skip


def corpus() -> list[bytes]:
    """Whole photos of every format and of many kinds within it."""
    pillow_heif.register_heif_opener()
    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.arange(40), np.arange(48))[..., None] * np.array([2, 1, 3]) % 256
    colour = Image.fromarray(smooth.astype(np.uint8))
    noise = Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8))
    alpha = Image.merge("RGBA", (*colour.split(), noise.getchannel(0)))
    grey, deep = colour.convert("L"), Image.fromarray(rng.integers(0, 65536, (40, 48), dtype=np.uint16))
    unit = Image.fromarray(rng.random((40, 48), np.float32))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "camera"
    profile = _profile()
    extras = {"exif": exif.tobytes(), "icc_profile": profile}
    frames = {"save_all": True, "append_images": [noise, colour]}
    kinds = [
        *((image, "JPEG", options) for image in (colour, grey, colour.convert("CMYK"))
          for options in (extras, {"progressive": True}, {"optimize": True, "subsampling": 0},
                          {"restart_marker_blocks": 2})),
        (colour, "MPO", frames),
        *((image, "PNG", extras) for image in (colour, alpha, grey, deep, grey.convert("1"))),
        (colour.quantize(8), "PNG", {"transparency": 3}),
        (colour, "PNG", frames),
        (colour, "WEBP", extras), (alpha, "WEBP", {"lossless": True}), (alpha, "WEBP", {}),
        (colour, "WEBP", {"save_all": True, "append_images": [noise]}),
        *((image, "BMP", {}) for image in (colour, colour.quantize(8), grey.convert("1"), alpha)),
        (colour, "GIF", {}), (colour, "GIF", frames), (colour.quantize(8), "GIF", {"transparency": 1}),
        *((image, "TIFF", options)
          for image in (colour, alpha, colour.convert("CMYK"), deep, unit, colour.quantize(8))
          for options in ({}, {"compression": "tiff_lzw"}, {"compression": "tiff_adobe_deflate"},
                          {"compression": "packbits"})),
        (colour, "TIFF", {"compression": "jpeg", **extras}), (colour, "TIFF", {"big_tiff": True}),
        (colour, "TIFF", {"compression": "zstd"}), (grey.convert("1"), "TIFF", {"compression": "group4"}),
        (grey.convert("1"), "TIFF", {"compression": "group3"}), (colour, "TIFF", frames),
        *((image, format_, options) for image in (colour, alpha, grey) for format_ in ("HEIF", "AVIF")
          for options in (extras, {"quality": -1} if format_ == "HEIF" else {"quality": 100})),
        (colour, "HEIF", frames), (colour, "AVIF", frames),
    ]  # fmt: skip
    return [_encoded(*kind) for kind in kinds]


def mangled(seeds: list[bytes], number: int) -> bytes:
    """Photo `number` of an endless row: one of the seeds with a few faults in it.

    Args:
        seeds: Whole photos.
        number: Which; always the same bytes for the same seeds.
    """
    rng = np.random.default_rng(number)
    content = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(rng.choice([1, 1, 1, 2, 3, 8])):
        _mangle(content, seeds, rng)
    return bytes(content)


def fault(content: bytes) -> str | None:
    """What is wrong with how a photo was read; None where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            photo = read_photo(content, "mangled")
        except ImageError as error:
            message = str(error)
            told = message.startswith('"mangled" ') and message.isprintable() and len(message) < 400
            return None if told else f"message {message!r}"
        except BaseException as error:
            return f"{type(error).__name__}: {error}"
    sound = photo.dtype == np.uint8 and photo.ndim == 3 and photo.shape[2] == 3 and min(photo.shape) >= 3
    return None if sound and min(photo.shape[:2]) >= MIN_SIDE else f"photo {photo.dtype} {photo.shape}"


def _encoded(image: Image.Image, format_: str, options: dict) -> bytes:
    file = io.BytesIO()
    # Copies, since Pillow's encoders leave settings with an image that the next one stumbles over.
    if "append_images" in options:
        options = {**options, "append_images": [other.copy() for other in options["append_images"]]}
    image.copy().save(file, format_, **options)
    return file.getvalue()


def _profile() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _mangle(content: bytearray, seeds: list[bytes], rng: np.random.Generator) -> None:
    """Puts one fault into a photo."""
    if not content:
        content += b"\0"
    # Headers, at the front and in some formats at the end, are where a byte matters most.
    reach = int(rng.choice([32, 200, 1000, len(content)]))
    place = int(rng.integers(min(reach, len(content))))
    if rng.random() < 0.15:
        place = len(content) - 1 - place
    match rng.integers(8):
        case 0:
            content[place] ^= 1 << int(rng.integers(8))
        case 1:
            content[place] = int(rng.integers(256))
        case 2:
            del content[place : place + int(rng.integers(1, 64))]
        case 3:
            content[place:place] = rng.bytes(int(rng.integers(1, 64)))
        case 4:
            del content[int(rng.integers(len(content))) :]
        case 5:
            other = seeds[rng.integers(len(seeds))]
            start = int(rng.integers(len(other)))
            content[place : place + int(rng.integers(200))] = other[
                start : start + int(rng.integers(1, 2000))
            ]
        case _:
            _put_number(content, place, rng)


def _put_number(content: bytearray, place: int, rng: np.random.Generator) -> None:
    """Puts a number that decides something into a photo: into a box, a chunk, a directory's entry."""
    held = [mark for mark in _MARKS if mark in content]
    if held and rng.random() < 0.7:
        place = content.find(held[rng.integers(len(held))]) + int(rng.integers(-8, 32))
    size, order = int(rng.choice([1, 2, 4, 4, 8])), str(rng.choice(["big", "little"]))
    number = int(_NUMBERS[rng.integers(len(_NUMBERS))]) & (1 << 8 * size) - 1
    packed = number.to_bytes(size, order)
    place = max(0, min(place, len(content) - 1))
    content[place : place + size] = packed


_seeds: list[bytes] = []


def _start() -> None:
    _seeds.extend(corpus())
    for seed in _seeds:
        read_photo(seed)  # so that all decoders are loaded
    resource.setrlimit(resource.RLIMIT_AS, (_END_OF_MEMORY, _END_OF_MEMORY))


def _memory() -> int:
    """The most memory that this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _read_all(numbers: range, told: Connection) -> None:
    """Reads photos, and says before each which it is, and after each what was wrong and the memory taken."""
    _start()
    at_start = _memory()
    for number in numbers:
        told.send((number, "brings the process down", 0))
        before = _memory()
        wrong = fault(mangled(_seeds, number))
        taken = _memory() - at_start
        if wrong is None and _memory() > max(before, at_start + MEMORY):
            wrong = f"takes {taken >> 20} MB"
        told.send((number, wrong, taken))


def _read_apart(numbers: range) -> tuple[dict[int, str], int]:
    """The faults by number, and the most memory that reading took; in a process of its own."""
    context = multiprocessing.get_context("spawn")
    found: dict[int, str] = {}
    peak = 0
    while numbers:
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_read_all, args=(numbers, there))
        process.start()
        there.close()
        number = None
        with suppress(EOFError):
            while True:
                number, wrong, taken = here.recv()
                peak = max(peak, taken)
                found[number] = wrong
        process.join()
        if number is None:
            raise RuntimeError("the process that reads photos did not start")
        found = {number: wrong for number, wrong in found.items() if wrong}
        numbers = range(number + 1, numbers.stop)
    return found, peak


def main() -> int:
    """Reads as many photos as asked for; the exit status tells whether all went well."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mangled", type=int, default=100_000, help="how many photos")
    parser.add_argument("--first", type=int, default=0, help="the number of the first one")
    parser.add_argument("--keep", type=Path, help="a folder to write photos with faults to")
    chosen = parser.parse_args()
    numbers = range(chosen.first, chosen.first + chosen.mangled)
    found: dict[int, str] = {}
    peak = 0
    for start in range(0, len(numbers), _AT_ONCE):
        part = numbers[start : start + _AT_ONCE]
        some, most = _read_apart(part)
        found |= some
        peak = max(peak, most)
        print(f"{start + len(part)} photos, {len(found)} faults, at most {peak >> 20} MB", flush=True)
    for told, count in Counter(found.values()).most_common():
        first = next(number for number, other in found.items() if other == told)
        print(f"{count} times, first photo {first}: {told}")
    if chosen.keep and found:
        chosen.keep.mkdir(parents=True, exist_ok=True)
        seeds = corpus()
        for number in found:
            (chosen.keep / f"{number}.bin").write_bytes(mangled(seeds, number))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
