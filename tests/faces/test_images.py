"""Photos in and out: every format and mode by closed form, every refusal by its words, and mangled files."""

import io
import logging
import os
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile

from tests.faces import fuzz_images
from xfv_demo.errors import ImageError
from xfv_demo.faces import images
from xfv_demo.faces.images import MIN_SIDE, photo_name, read_photo

pillow_heif.register_heif_opener()  # so that the tests can write HEIC
if "AVIF" not in Image.registered_extensions().values() and hasattr(pillow_heif, "register_avif_opener"):
    pillow_heif.register_avif_opener()

ROOT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH = 40, 48

# One flat colour for each quarter of the picture; flat, and 8-pixel aligned, so that lossy formats keep them.
RED, GREEN, BLUE, YELLOW = (220, 40, 30), (40, 180, 60), (30, 60, 200), (230, 210, 50)


def quarters(top_left=RED, top_right=GREEN, bottom_left=BLUE, bottom_right=YELLOW, shape=(HEIGHT, WIDTH)):
    height, width = shape
    photo = np.empty((height, width, 3), np.uint8)
    photo[: height // 2, : width // 2], photo[: height // 2, width // 2 :] = top_left, top_right
    photo[height // 2 :, : width // 2], photo[height // 2 :, width // 2 :] = bottom_left, bottom_right
    return photo


def encoded(image, format_, **options):
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def ramp(dtype=np.uint8):
    """Every value from 0 to 255, in a picture of 32 x 64."""
    return np.arange(256, dtype=dtype).repeat(8).reshape(32, 64)


def refusal(source, name=None):
    """The message of a refusal, after what holds of all of them."""
    with pytest.raises(ImageError) as caught:
        read_photo(source, name)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith('"')
    assert message.endswith(".")
    for trace in ("Traceback", "Error", "0x", "<_io", str(ROOT)):
        assert trace not in message
    return message


def assert_is_photo(photo):
    assert type(photo) is np.ndarray
    assert photo.dtype == np.uint8
    assert photo.ndim == 3
    assert photo.shape[2] == 3
    assert photo.flags.c_contiguous
    assert photo.flags.writeable
    assert min(photo.shape[:2]) >= MIN_SIDE
    assert photo.shape[0] * photo.shape[1] <= 50_000_000


# Formats


LOSSLESS = {
    "PNG": {},
    "BMP": {},
    "TIFF": {},
    "TIFF LZW": {"compression": "tiff_lzw"},
    "TIFF deflate": {"compression": "tiff_adobe_deflate"},
    "WEBP": {"lossless": True},
}
LOSSY = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "JPEG progressive": {"quality": 95, "progressive": True},
    "WEBP": {"quality": 95},
    "TIFF JPEG": {"compression": "jpeg", "quality": 95},
    "HEIF": {"quality": 95},
    "AVIF": {"quality": 95},
    "GIF": {},
}


@pytest.mark.parametrize("kind", LOSSLESS)
def test_a_lossless_format_comes_back_exactly(kind, tmp_path):
    data = encoded(quarters(), kind.split()[0], **LOSSLESS[kind])
    photo = read_photo(data)
    assert_is_photo(photo)
    np.testing.assert_array_equal(photo, quarters())

    path = tmp_path / "no-extension"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_photo(path), quarters())
    np.testing.assert_array_equal(read_photo(str(path)), quarters())


@pytest.mark.parametrize("kind", LOSSY)
def test_a_lossy_format_comes_back_nearly(kind):
    photo = read_photo(encoded(quarters(shape=(64, 96)), kind.split()[0], **LOSSY[kind]))
    assert_is_photo(photo)
    # Well within each quarter, where no neighbour's colour bleeds in.
    for rows in (slice(8, 24), slice(40, 56)):
        for columns in (slice(8, 40), slice(56, 88)):
            np.testing.assert_allclose(
                photo[rows, columns].mean((0, 1)), quarters(shape=(64, 96))[rows, columns][0, 0], atol=4
            )


@pytest.mark.parametrize("format_", ["GIF", "TIFF", "WEBP", "PNG", "MPO", "AVIF", "HEIF"])
def test_of_several_frames_the_first_is_read(format_):
    first, second = (Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in (RED, BLUE))
    options = {"lossless": True} if format_ == "WEBP" else {}
    photo = read_photo(encoded(first, format_, save_all=True, append_images=[second], **options))
    np.testing.assert_allclose(photo, np.broadcast_to(RED, photo.shape), atol=3)


def test_real_photos_are_read_like_pillow_reads_them():
    paths = sorted((ROOT / "assets" / "examples").glob("*.jpg"))
    if not paths:
        pytest.skip("there are no example photos here")
    for path in paths[:3]:
        with Image.open(path) as image:
            width, height = image.size
        photo = read_photo(path)
        assert_is_photo(photo)
        assert sorted(photo.shape[:2]) == sorted((height, width))


# Orientation


def stored_for(orientation, upright):
    """The pixels as a camera stores them under an EXIF orientation, by where its rows and columns run.

    EXIF 2.32, table 6: which edge of the upright picture the stored row 0 and column 0 are.
    """
    return {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.transpose(1, 0, 2),  # left, top
        6: upright[:, ::-1].transpose(1, 0, 2),  # right, top
        7: upright[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
        8: upright[::-1].transpose(1, 0, 2),  # left, bottom
    }[orientation]


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_upright_once(orientation, format_):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format_ == "WEBP" else {"quality": 95, "subsampling": 0}
    stored = np.ascontiguousarray(stored_for(orientation, quarters()))
    data = encoded(stored, format_, exif=exif, **options)
    photo = read_photo(data)
    assert_is_photo(photo)
    np.testing.assert_allclose(photo, quarters(), atol=0 if format_ != "JPEG" else 60)
    np.testing.assert_allclose(photo[4:12, 4:12].mean((0, 1)), RED, atol=4)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(read_photo(image), photo)


@pytest.mark.parametrize("format_", ["HEIF", "AVIF"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_heif_and_avif_are_turned_upright_once(orientation, format_):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = quarters(shape=(64, 96))
    photo = read_photo(
        encoded(
            np.ascontiguousarray(stored_for(orientation, upright)), format_, exif=exif.tobytes(), quality=95
        )
    )
    assert photo.shape == upright.shape
    np.testing.assert_allclose(photo[8:24, 8:40].mean((0, 1)), RED, atol=4)
    np.testing.assert_allclose(photo[8:24, 56:88].mean((0, 1)), GREEN, atol=4)


ROTATED = [1, 2, 3, 4, 5, 6, 7, 8]


def heif_with_exif_alone(upright, orientation, format_):
    """A file whose pixels lie as the camera held them, and only its EXIF says how."""
    exif = Image.Exif()
    # Under its own tag the encoders would make a property of it; 0x0113 is nobody's.
    exif[0x0113] = orientation
    stored = np.ascontiguousarray(stored_for(orientation, upright))
    data = encoded(stored, format_, exif=exif.tobytes(), quality=95)
    entry = struct.pack(">HHIH", 0x0113, 3, 1, orientation)
    assert data.count(entry) == 1
    return data.replace(entry, struct.pack(">HHIH", 0x0112, 3, 1, orientation))


@pytest.mark.parametrize("format_", ["HEIF", "AVIF"])
@pytest.mark.parametrize("orientation", ROTATED)
def test_an_exif_orientation_without_a_property_turns_heif_and_avif(orientation, format_, tmp_path):
    """Some phones write it so; libheif and libavif know only of the properties irot and imir."""
    upright = quarters(shape=(64, 96))
    data = heif_with_exif_alone(upright, orientation, format_)
    path = tmp_path / "photo.heic"
    path.write_bytes(data)
    for source in (data, path, Image.open(io.BytesIO(data))):
        photo = read_photo(source)
        assert photo.shape == upright.shape
        np.testing.assert_allclose(photo[8:24, 8:40].mean((0, 1)), RED, atol=4)
        np.testing.assert_allclose(photo[8:24, 56:88].mean((0, 1)), GREEN, atol=4)
        np.testing.assert_allclose(photo[40:56, 8:40].mean((0, 1)), BLUE, atol=4)


@pytest.mark.parametrize("primary", [0, 1])
def test_of_several_images_in_a_heif_the_primary_one_is_read_and_turned(primary):
    """The one is turned by a property and repeats it in its EXIF, the other by its EXIF alone."""
    upright = quarters(shape=(64, 96))
    both = []
    for tag, orientation in ((0x0112, 3), (0x0113, 8)):
        exif = Image.Exif()
        exif[tag] = orientation
        image = Image.fromarray(np.ascontiguousarray(stored_for(orientation, upright)))
        image.info["exif"] = exif.tobytes()
        both.append(image)
    data = encoded(
        both[0], "HEIF", save_all=True, append_images=both[1:], primary_index=primary, quality=95
    ).replace(struct.pack(">HHIH", 0x0113, 3, 1, 8), struct.pack(">HHIH", 0x0112, 3, 1, 8))
    photo = read_photo(data)
    assert photo.shape == upright.shape
    np.testing.assert_allclose(photo[8:24, 8:40].mean((0, 1)), RED, atol=4)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0nonsense", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12", b"Exif\0\0"]
)
def test_broken_exif_leaves_a_photo_as_it_is(exif):
    photo = read_photo(encoded(quarters(), "WEBP", lossless=True, exif=exif))
    np.testing.assert_array_equal(photo, quarters())


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_is_none_leaves_a_photo_as_it_is(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read_photo(encoded(quarters(), "PNG", exif=exif)), quarters())


# Modes


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "RGBX", "CMYK"])
@pytest.mark.parametrize("format_", ["TIFF", "a Pillow image"])
def test_modes_that_hold_grey_exactly(mode, format_):
    image = Image.fromarray(ramp()).convert(mode)
    photo = read_photo(image if format_ == "a Pillow image" else encoded(image, format_))
    np.testing.assert_array_equal(photo, ramp()[..., None].repeat(3, axis=2))


def test_black_and_white():
    bits = (np.indices((HEIGHT, WIDTH)).sum(0) // 5) % 2
    for format_ in ("PNG", "TIFF", "BMP"):
        photo = read_photo(encoded(Image.fromarray(bits.astype(bool)), format_))
        np.testing.assert_array_equal(photo, 255 * bits[..., None].repeat(3, axis=2))


@pytest.mark.parametrize(("mode", "tolerance"), [("YCbCr", 2), ("LAB", 8), ("HSV", 4)])
def test_other_colour_spaces(mode, tolerance):
    image = Image.fromarray(quarters())
    if mode == "LAB":
        profiles = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))
        image = ImageCms.profileToProfile(image, *profiles, outputMode="LAB")
    else:
        image = image.convert(mode)
    np.testing.assert_allclose(read_photo(image), quarters(), atol=tolerance)
    if mode == "LAB":
        np.testing.assert_allclose(read_photo(encoded(image, "TIFF")), quarters(), atol=tolerance)


@pytest.mark.parametrize("format_", ["JPEG", "TIFF"])
def test_cmyk(format_):
    """Cyan is white without red, and so on; Pillow writes JPEG as Adobe does, inverted."""
    inks = np.zeros((64, 64, 4), np.uint8)
    inks[:32, :32, 0] = inks[:32, 32:, 1] = inks[32:, :32, 2] = inks[32:, 32:, 3] = 255
    options = {"quality": 95} if format_ == "JPEG" else {}
    photo = read_photo(encoded(Image.fromarray(inks, "CMYK"), format_, **options))
    for corner, colour in (
        ((8, 8), (0, 255, 255)),
        ((8, 48), (255, 0, 255)),
        ((48, 8), (255, 255, 0)),
        ((48, 48), (0, 0, 0)),
    ):
        np.testing.assert_allclose(photo[corner], colour, atol=6)


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "a Pillow image"])
def test_sixteen_bit_grey_looks_like_eight_bit(format_):
    image = Image.fromarray(ramp(np.uint16) * np.uint16(257))
    assert image.mode == "I;16"
    photo = read_photo(image if format_ == "a Pillow image" else encoded(image, format_))
    np.testing.assert_array_equal(photo, ramp()[..., None].repeat(3, axis=2))


def test_sixteen_bit_rgb_png_looks_like_eight_bit():
    rows = quarters().astype(">u2") * 257
    stream = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    photo = read_photo(png_file(WIDTH, HEIGHT, depth=16, stream=stream))
    np.testing.assert_array_equal(photo, quarters())


@pytest.mark.parametrize("values", [ramp(np.int32), ramp(np.int32) * 257, ramp(np.float32) / 255])
@pytest.mark.parametrize("format_", ["TIFF", "a Pillow image"])
def test_wide_modes_are_scaled(values, format_):
    image = Image.fromarray(values.astype(values.dtype.newbyteorder("=")))
    assert image.mode in ("I", "F")
    photo = read_photo(image if format_ == "a Pillow image" else encoded(image, format_))
    np.testing.assert_array_equal(photo, ramp()[..., None].repeat(3, axis=2))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (ramp(np.int32) - 1, "outside [0, 65535]"),
        (ramp(np.int32) * 1000, "outside [0, 65535]"),
        (ramp(np.float32), "outside [0, 1]"),
    ],
)
def test_wide_modes_of_unknown_scale_are_refused(values, words):
    assert words in refusal(encoded(Image.fromarray(values), "TIFF"))


def tiff_file(pixels, *, planar=False, bits=None):
    """A TIFF of one strip, or of one for each plane, not compressed."""
    bits = bits or pixels.itemsize * 8
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    strips = [pixels[..., index] for index in range(channels)] if planar else [pixels]
    data = [np.ascontiguousarray(strip).astype(strip.dtype.newbyteorder("<")).tobytes() for strip in strips]
    height, width = pixels.shape[:2]
    at = 8 + sum(map(len, data))  # where lists of numbers go, and then the directory
    offsets = [8 + sum(map(len, data[:index])) for index in range(len(data))]
    lists, tags = b"", []
    for tag, values in (
        (256, [width]),
        (257, [height]),
        (258, [bits] * channels),
        (259, [1]),
        (262, [2 if channels == 3 else 1]),
        (273, offsets),
        (277, [channels]),
        (278, [height]),
        (279, list(map(len, data))),
        (284, [2 if planar else 1]),
        (339, [{"u": 1, "i": 2, "f": 3, "c": 6}[pixels.dtype.kind]] * channels),
    ):
        packed = struct.pack(f"<{len(values)}I", *values)
        place = packed if len(values) == 1 else struct.pack("<I", at + len(lists))
        lists += packed if len(values) > 1 else b""
        tags.append(struct.pack("<HHI", tag, 4, len(values)) + place)
    head = b"II*\0" + struct.pack("<I", at + len(lists))
    return b"".join([head, *data, lists, struct.pack("<H", len(tags)), *tags, bytes(4)])


OF_NO_KIND = "is of a kind of TIFF that is not read; save it as JPEG or PNG with 8 bits a colour."


def test_the_tiffs_made_here_are_tiffs():
    np.testing.assert_array_equal(read_photo(tiff_file(quarters())), quarters())
    np.testing.assert_array_equal(read_photo(tiff_file(quarters(), planar=True)), quarters())
    wide = quarters().astype(np.uint16) * 257
    np.testing.assert_array_equal(read_photo(tiff_file(wide)), quarters())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint32, np.complex64])
@pytest.mark.parametrize("planar", [False, True])
def test_whole_tiffs_of_kinds_that_are_not_read_are_not_called_damaged(dtype, planar):
    data = tiff_file((quarters() / 255).astype(dtype), planar=planar)
    assert refusal(data, "a.tif") == f'"a.tif" {OF_NO_KIND}'


def test_planes_of_sixteen_bits_are_not_taken_for_planes_of_eight():
    """Pillow 12 does, and gives a photo of the upper half, twice as wide."""
    pixels = np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, 3), dtype=np.uint16)
    assert refusal(tiff_file(pixels, planar=True), "a.tif") == f'"a.tif" {OF_NO_KIND}'


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9])
def test_a_cut_off_tiff_is_called_so(cut):
    data = tiff_file(quarters())
    assert "is cut off or damaged" in refusal(data[: int(cut * len(data))])


def test_a_bmp_of_a_kind_that_is_not_read_is_not_called_damaged():
    # Compression 4 is a JPEG within.
    head = bytearray(bmp_file(40, 40))
    head[30] = 4
    assert "is of a kind of BMP that is not read" in refusal(bytes(head) + bytes(5000))


# What photos are called


def test_every_suffix_is_one_of_a_format_that_is_read():
    known = Image.registered_extensions()
    for format_, suffixes in images._SUFFIXES.items():
        for suffix in suffixes:
            assert known.get(suffix) in (format_, "MPO", None), suffix
    common = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".heic", ".heif", ".avif", ".gif", ".tif", ".bmp"}
    assert common <= images.PHOTO_SUFFIXES


# Transparency


ALPHA = np.linspace(0, 255, HEIGHT).round().astype(np.uint8)[:, None].repeat(WIDTH, axis=1)
ON_WHITE = np.rint(quarters() * (ALPHA / 255)[..., None] + 255 * (1 - ALPHA / 255)[..., None])


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "WEBP", "a Pillow image", "an array"])
def test_alpha_lets_white_through(format_):
    rgba = np.dstack([quarters(), ALPHA])
    options = {"lossless": True, "exact": True} if format_ == "WEBP" else {}
    source = {"a Pillow image": Image.fromarray(rgba), "an array": rgba}.get(format_)
    photo = read_photo(encoded(rgba, format_, **options) if source is None else source)
    assert_is_photo(photo)
    np.testing.assert_allclose(photo, ON_WHITE, atol=1)


@pytest.mark.parametrize("mode", ["LA", "La", "RGBa"])
def test_alpha_of_other_modes_lets_white_through(mode):
    alpha = Image.fromarray(ALPHA)
    image = Image.merge("LA", [Image.new("L", alpha.size, 100), alpha])
    expected = 100 * (ALPHA / 255.0) + 255 * (1 - ALPHA / 255.0)
    if mode != "LA":
        image = image.convert("RGBA").convert("RGBa") if mode == "RGBa" else image.convert("La")
    photo = read_photo(encoded(image, "PNG") if mode == "LA" else image)
    np.testing.assert_allclose(photo, expected[..., None].repeat(3, axis=2), atol=2)


@pytest.mark.parametrize("format_", ["PNG", "GIF"])
def test_a_palette_with_one_transparent_entry(format_):
    image = Image.fromarray(np.repeat([[0], [1]], HEIGHT // 2, axis=0).repeat(WIDTH, axis=1).astype(np.uint8))
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([*RED, *GREEN])
    photo = read_photo(encoded(image, format_, transparency=0))
    np.testing.assert_array_equal(photo[: HEIGHT // 2], np.full((HEIGHT // 2, WIDTH, 3), 255))
    np.testing.assert_array_equal(photo[HEIGHT // 2 :], np.broadcast_to(GREEN, (HEIGHT // 2, WIDTH, 3)))


def test_a_palette_with_half_transparent_entries():
    image = Image.new("P", (WIDTH, HEIGHT), 1)
    image.putpalette([*RED, *GREEN])
    photo = read_photo(encoded(image, "PNG", transparency=bytes([0, 128])))
    expected = np.array(GREEN) * 128 / 255 + 255 * 127 / 255
    np.testing.assert_allclose(photo, np.broadcast_to(expected, photo.shape), atol=1)


@pytest.mark.parametrize(
    ("image", "transparency"),
    [(Image.fromarray(quarters()), RED), (Image.fromarray(quarters()[..., 0]), RED[0])],
)
def test_one_transparent_colour(image, transparency):
    photo = read_photo(encoded(image, "PNG", transparency=transparency))
    assert (photo[: HEIGHT // 2, : WIDTH // 2] == 255).all()
    np.testing.assert_array_equal(photo[HEIGHT // 2 :], np.array(image.convert("RGB"))[HEIGHT // 2 :])


# Colour profiles


def fixed_point(values):
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


# The primaries of Display P3, adapted to D50: columns of its matrix to XYZ.
P3_PRIMARIES = {
    "r": (0.51512, 0.24120, -0.00105),
    "g": (0.29198, 0.69225, 0.04189),
    "b": (0.15710, 0.06657, 0.78407),
}
SRGB_TO_XYZ = np.array(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)


def srgb_profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def p3_profile():
    """Display P3: the curve of sRGB, other primaries; made from Pillow's sRGB, whose tags it overwrites."""
    profile = bytearray(srgb_profile())
    for index in range(struct.unpack_from(">I", profile, 128)[0]):
        tag, offset, _ = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        if tag[1:] == b"XYZ":
            profile[offset + 8 : offset + 20] = fixed_point(P3_PRIMARIES[chr(tag[0])])
    return bytes(profile)


def linear_grey_profile():
    d50 = b"XYZ \0\0\0\0" + fixed_point((0.9642, 1.0, 0.8249))
    curve = b"curv" + bytes(8)  # a curve of no points is the identity
    tags = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, 12)
    head = struct.pack(">I4sI4s4s4s12s4s", 188, bytes(4), 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"", b"acsp")
    return (head + bytes(28) + d50[8:]).ljust(128, b"\0") + tags + d50 + curve


def decoded_curve(values):
    values = np.asarray(values) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encoded_curve(linear):
    linear = np.clip(linear, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


P3_COLOURS = [(150, 100, 80), (200, 160, 140), (80, 120, 100), (128, 128, 128)]


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "JPEG", "WEBP", "HEIF", "AVIF", "a Pillow image"])
def test_another_rgb_profile_is_translated_to_srgb(format_):
    to_srgb = np.linalg.inv(SRGB_TO_XYZ) @ np.array(list(P3_PRIMARIES.values())).T
    stored = quarters(*P3_COLOURS, shape=(64, 96))
    expected = encoded_curve(decoded_curve(P3_COLOURS) @ to_srgb.T)
    if format_ == "a Pillow image":
        source = Image.fromarray(stored)
        source.info["icc_profile"] = p3_profile()
    else:
        source = encoded(stored, format_, icc_profile=p3_profile(), quality=95)
    photo = read_photo(source)
    assert_is_photo(photo)
    seen = [photo[8:24, 8:40], photo[8:24, 56:88], photo[40:56, 8:40], photo[40:56, 56:88]]
    np.testing.assert_allclose([patch.mean((0, 1)) for patch in seen], expected, atol=4)
    assert np.abs(expected[:3] - P3_COLOURS[:3]).max() > 8  # there was something to translate


def test_a_profile_is_honoured_beside_alpha_and_palette():
    expected = read_photo(encoded(Image.new("RGB", (40, 40), RED), "PNG", icc_profile=p3_profile()))
    for mode in ("RGBA", "P"):
        image = Image.new("RGB", (40, 40), RED).convert(mode, palette=Image.Palette.ADAPTIVE)
        np.testing.assert_array_equal(
            read_photo(encoded(image, "PNG", icc_profile=p3_profile())), expected, err_msg=mode
        )


def test_a_grey_profile_is_translated():
    photo = read_photo(encoded(Image.fromarray(ramp()), "PNG", icc_profile=linear_grey_profile()))
    expected = encoded_curve(ramp() / 255)[..., None].repeat(3, axis=2)
    # Among the darkest, 8 bits hold too little of a linear scale for lcms to be exact.
    np.testing.assert_allclose(photo[ramp() >= 16], expected[ramp() >= 16], atol=2)


def test_an_srgb_profile_changes_nothing():
    np.testing.assert_array_equal(
        read_photo(encoded(quarters(), "PNG", icc_profile=srgb_profile())), quarters()
    )
    assert images._srgb_transform(srgb_profile(), "RGB") is None  # no pass over the photo


@pytest.mark.parametrize(
    "profile", [b"", b"nonsense", srgb_profile()[:200], p3_profile()[:-40], linear_grey_profile()]
)
def test_a_profile_that_is_broken_or_of_another_space_is_ignored(profile):
    image = Image.fromarray(quarters())
    image.info["icc_profile"] = profile
    np.testing.assert_array_equal(read_photo(image), quarters())


@pytest.mark.parametrize("profile", [None, "sRGB", 7, ("a", "b"), [1]])
def test_a_profile_that_is_not_bytes_is_ignored(profile):
    image = Image.fromarray(quarters())
    image.info["icc_profile"] = profile
    np.testing.assert_array_equal(read_photo(image), quarters())


# Arrays and Pillow images


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (ramp(), ramp()),
        (ramp()[..., None], ramp()),
        (ramp(np.uint16) * np.uint16(257), ramp()),
        ((ramp(np.uint16) * np.uint16(257)).astype(">u2"), ramp()),
        (ramp(np.uint16), np.rint(ramp() / 257)),
        (ramp(np.int64), ramp()),
        (ramp(np.int32) * 257, ramp()),
        (ramp(np.float32) / np.float32(255), ramp()),
        (ramp(np.float64) / 255, ramp()),
        ((ramp(np.float32) / 255).astype(np.float16), ramp()),
        (ramp() > 127, np.where(ramp() > 127, 255, 0)),
    ],
)
def test_arrays_of_grey(array, expected):
    before = array.copy()
    photo = read_photo(array)
    assert_is_photo(photo)
    np.testing.assert_array_equal(photo, expected[..., None].repeat(3, axis=2))
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(
    "array",
    [
        quarters(),
        np.asfortranarray(quarters()),
        quarters()[::-1, ::-1][::-1, ::-1],
        quarters().repeat(2, axis=1)[:, ::2],
        quarters() / 255,
        np.dstack([quarters(), np.full((HEIGHT, WIDTH), 255, np.uint8)]),
        np.dstack([quarters() / 255, np.ones((HEIGHT, WIDTH))]),
    ],
)
def test_arrays_of_colour(array):
    before = array.copy()
    array.flags.writeable = False
    photo = read_photo(array)
    assert_is_photo(photo)
    assert not np.shares_memory(photo, array)
    np.testing.assert_array_equal(photo, quarters())
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (quarters() * 1.0, "floats that are NaN or outside [0, 1]"),
        (np.full((40, 40), np.nan), "floats that are NaN or outside [0, 1]"),
        (np.full((40, 40), np.inf), "floats that are NaN or outside [0, 1]"),
        (np.full((40, 40), -0.001), "floats that are NaN or outside [0, 1]"),
        (quarters().astype(np.int16) - 100, "integers outside [0, 65535]"),
        (np.full((40, 40), 70000), "integers outside [0, 65535]"),
        (np.full((40, 40), 1j), "array of complex128"),
        (np.full((40, 40), "a"), "array of str"),
        (np.full((40, 40), None), "array of object"),
        (np.zeros((3, 40, 40), np.uint8), "shape (3, 40, 40)"),
        (np.zeros((40, 40, 2), np.uint8), "shape (40, 40, 2)"),
        (np.zeros((1, 40, 40, 3), np.uint8), "shape (1, 40, 40, 3)"),
        (np.zeros(40, np.uint8), "shape (40,)"),
        (np.array(3), "shape ()"),
        (np.zeros((0, 40, 3), np.uint8), "40 x 0 pixels"),
        (np.zeros((31, 40, 3)), "40 x 31 pixels"),
        (np.broadcast_to(np.uint8(0), (5001, 10000)), "more than 50 megapixels"),
    ],
)
def test_arrays_that_are_refused(array, words):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = refusal(array, "probe")
    assert message.startswith('"probe" ')
    assert words in message


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_a_pillow_image_is_left_as_it_was(mode):
    image = Image.fromarray(quarters()).convert(mode)
    exif = image.getexif()
    exif[0x0112] = 6
    before = image.copy()
    photo = read_photo(image)
    assert photo.shape == (WIDTH, HEIGHT, 3)
    assert (image.mode, image.size, image.tobytes()) == (before.mode, before.size, before.tobytes())
    assert image.getexif()[0x0112] == 6


def test_a_pillow_image_shares_no_memory_with_the_photo():
    pixels = quarters()
    photo = read_photo(Image.fromarray(pixels))
    photo[:] = 0
    np.testing.assert_array_equal(pixels, quarters())


@pytest.mark.parametrize("source", [None, 7, [[1, 2], [3, 4]], io.BytesIO(b"a file")])
def test_what_is_no_photo_at_all(source):
    assert f"is of type {type(source).__name__}, not a photo" in refusal(source)


# Refusals


def png_file(width, height, depth=8, stream=b""):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", stream) + chunk(b"IEND", b"")


def test_a_file_that_is_not_there(tmp_path):
    path = str(tmp_path / "albums" / "none.jpg")
    assert refusal(path) == f'"none.jpg" was not found; check the path "{path}".'
    assert refusal("none.jpg") == '"none.jpg" was not found; check the path "none.jpg".'
    assert (
        refusal(Path("albums/none.jpg"), "probe")
        == '"probe" was not found; check the path "albums/none.jpg".'
    )
    assert "was not found" in refusal("zero\0byte.jpg")
    assert "was not found" in refusal("half \ud800 sign.jpg")
    (tmp_path / "file.jpg").touch()
    assert "was not found" in refusal(tmp_path / "file.jpg" / "none.jpg")


def test_a_folder(tmp_path):
    folder = tmp_path / "holiday"
    folder.mkdir()
    assert refusal(folder) == '"holiday" is a folder; give the path of one photo.'
    assert refusal(f"{folder}/") == '"holiday" is a folder; give the path of one photo.'


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "secret.jpg"
    path.write_bytes(encoded(quarters(), "JPEG"))

    def deny(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", deny)  # the tests may run as root, whom no file is denied
    assert refusal(path) == '"secret.jpg" may not be read; check the permissions of the file.'


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_does_not_wait_for_ever(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert refusal(tmp_path / "pipe.jpg") == '"pipe.jpg" is a device or a pipe; give the path of a photo.'


def test_a_disk_that_fails(tmp_path, monkeypatch):
    class Failing(io.BytesIO):
        def read(self, *_):
            raise OSError(5, "Input/output error")

    path = tmp_path / "photo.jpg"
    path.touch()
    monkeypatch.setattr(Path, "open", lambda *_: Failing())
    assert "cannot be read (Input/output error)" in refusal(path)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("https://example.org/photos/me.jpg", "is a web address, and nothing is fetched here; download"),
        ("HTTP://example.org/me.jpg?size=9", "is a web address"),
        (Path("ftp://example.org/me.jpg"), "is a web address"),
        ("s3://bucket/me.jpg", "is a web address"),
        ("file:///home/me.jpg", 'is an address; give the plain path, without "file://"'),
        ("data:image/png;base64,iVBORw0KGgo=", "is the text of a photo in base64, not a path"),
        ("/9j/" + "A" * 100_000, "is the text of a photo in base64, not a path"),
        ("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ", "is the text of a photo in base64"),
        ("photos of https: me.jpg", "was not found"),
        ("C:/photos/me.jpg", "was not found"),
        ("abcdefgh", "was not found"),
    ],
)
def test_what_is_pasted_in_a_paths_place(path, words):
    message = refusal(path)
    assert words in message
    assert len(message) < 400


def test_a_file_that_is_called_like_an_address_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "https:").mkdir()
    (tmp_path / "https:" / "me.png").write_bytes(encoded(quarters(), "PNG"))
    np.testing.assert_array_equal(read_photo("https://me.png"), quarters())


def test_a_file_larger_than_any_photo(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MAX_FILE_BYTES", 2 << 20)
    path = tmp_path / "video.heic"
    path.write_bytes(encoded(quarters(), "HEIF") + bytes(2 << 20))
    assert refusal(path) == '"video.heic" has more than 2 MB, which no photo needs.'


def test_a_path_that_is_much_too_long():
    message = refusal("a-long-name" * 10_000)
    assert "cannot be opened (" in message
    assert len(message) < 400


def test_an_empty_file(tmp_path):
    path = tmp_path / "empty.jpg"
    path.touch()
    assert refusal(path) == '"empty.jpg" is empty; copy or download it again.'
    assert refusal(b"") == '"photo" is empty; copy or download it again.'


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "HEIF", "AVIF"])
def test_a_file_that_is_cut_off(format_, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    data = encoded(noise, format_)
    for share in (0.1, 0.5, 0.9, 0.99):
        path = tmp_path / "cut.img"
        path.write_bytes(data[: int(share * len(data))])
        message = refusal(path)
        assert message.startswith('"cut.img" is cut off or damaged; copy or download it again')
        assert refusal(path.read_bytes()) == message.replace("cut.img", "photo")


def test_a_progressive_jpeg_that_is_cut_off_is_not_filled_up():
    data = encoded(quarters(), "JPEG", progressive=True)
    for length in range(len(data) // 4, len(data), 29):
        assert "is cut off or damaged" in refusal(data[:length])


def test_a_jpeg_of_endless_scans_is_not_decoded(monkeypatch):
    whole = encoded(Image.new("L", (64, 64), 128), "JPEG", progressive=True).removesuffix(b"\xff\xd9")
    start = whole.rindex(b"\xff\xda")
    assert_is_photo(read_photo(whole + 100 * whole[start:] + b"\xff\xd9"))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda *_: pytest.fail("decoded"))
    assert "is cut off or damaged" in refusal(whole + 1000 * whole[start:] + b"\xff\xd9")


@pytest.mark.parametrize(
    "content", [b"not an image\n" * 30, b"x", bytes(100), b"<html></html>", b"\r\n\r\n" * 9]
)
def test_a_file_that_is_no_image(content, tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_bytes(content)
    assert refusal(path) == (
        '"notes.jpg" is not an image in a format that is read '
        "(JPEG, PNG, WebP, BMP, TIFF, GIF, HEIC or AVIF); save it as JPEG or PNG."
    )


@pytest.mark.parametrize(
    "format_", ["EPS", "PDF", "PPM", "TGA", "PCX", "ICO", "SGI", "DDS", "XBM", "JPEG2000"]
)
def test_formats_that_pillow_reads_but_this_does_not(format_, tmp_path):
    path = tmp_path / f"photo.{format_.lower()}"
    path.write_bytes(
        encoded(Image.fromarray(quarters()).convert("1" if format_ == "XBM" else "RGB"), format_)
    )
    message = refusal(path)
    assert path.name in message
    assert "save it as JPEG or PNG" in message


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"8BPS\0\1", "a Photoshop file"),
        (b"%PDF-1.7", "a PDF"),
        (b"%!PS-Adobe-3.0 EPSF", "a PostScript file"),
        (b"<svg xmlns=", "an SVG drawing"),
        (b"\xff\x0a\xfa\x1f", "a JPEG XL image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
        (b"\0\0\0\x18ftypmp42", "a video or a camera's raw file"),
    ],
)
def test_files_that_people_take_for_photos_are_named(head, kind):
    assert refusal(head + bytes(100), "a.x") == f'"a.x" is {kind}; save it as JPEG or PNG.'


@pytest.mark.parametrize(("width", "height"), [(31, 400), (400, 31), (1, 1)])
def test_a_photo_that_is_too_small(width, height):
    expected = f"is {width} x {height} pixels; give a photo with at least 32 pixels on its shorter side."
    image = Image.new("RGB", (width, height))
    assert refusal(encoded(image, "PNG"), "a.png") == f'"a.png" {expected}'
    assert refusal(image) == f'"photo" {expected}'


def test_the_smallest_and_the_largest_photo(monkeypatch):
    assert read_photo(encoded(Image.new("RGB", (32, 32)), "PNG")).shape == (32, 32, 3)
    monkeypatch.setattr(images, "MAX_MEGAPIXELS", 1)
    assert read_photo(np.zeros((1000, 1000), np.uint8)).shape == (1000, 1000, 3)
    assert "has more than 1 megapixels" in refusal(np.zeros((1000, 1001), np.uint8))


def bmp_file(width, height):
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("make", [png_file, bmp_file])
# By Pillow's own measure: nothing to say, a warning, an error, and more than a float's worth of pixels.
@pytest.mark.parametrize("size", [(8000, 7000), (10_000, 10_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_the_size_is_checked_before_anything_is_decoded(make, size, monkeypatch, recwarn):
    def decode(*_):
        pytest.fail("decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", decode)
    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", decode)
    assert refusal(make(*size), "huge.png") == '"huge.png" has more than 50 megapixels; make it smaller.'
    assert not recwarn.list


def test_a_pillow_image_that_is_too_large_is_not_decoded():
    with Image.open(io.BytesIO(png_file(8000, 7000))) as image:
        assert "has more than 50 megapixels" in refusal(image)


def test_memory_that_runs_out_is_no_traceback(monkeypatch):
    def exhaust(*_):
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load_prepare", exhaust)
    refusal(encoded(quarters(), "PNG"))


@pytest.mark.parametrize(
    "name",
    [
        "two\nlines.jpg",
        "tab\t.jpg",
        "line\u2028separator.jpg",
        "esc\x1b[31m.jpg",
        "\u202egpj.exe",
        "a\r\nb.jpg",
    ],
)
def test_odd_names_stay_on_their_line(name, tmp_path):
    for message in (refusal(name), refusal(tmp_path / name), refusal(b"", name), refusal(np.zeros(3), name)):
        assert message.count('"') in (2, 4)


def test_photos_are_named_by_their_file():
    assert photo_name("albums/1999/me.jpg") == "me.jpg"
    assert photo_name(Path("albums/me.jpg"), "probe") == "me.jpg"
    assert photo_name("näme of a 写真.jpg") == "näme of a 写真.jpg"
    assert photo_name("Screenshot 10.00.00\u202fAM.png") == "Screenshot 10.00.00 AM.png"
    assert photo_name(os.fsdecode(b"\xff.jpg")) == "\N{REPLACEMENT CHARACTER}.jpg"
    assert (
        photo_name(b"bytes", "probe") == photo_name(quarters(), "probe") == photo_name("", "probe") == "probe"
    )
    assert photo_name(None) == "photo"
    assert len(photo_name("a" * 5000)) < 200


# What must not be heard or seen beside the error


def test_libtiff_prints_nothing(capfd):
    data = bytearray(encoded(quarters(), "TIFF", compression="tiff_adobe_deflate"))
    data[20:60] = bytes(40)
    refusal(bytes(data))
    os.write(2, b"standard error is back\n")
    assert capfd.readouterr() == ("", "standard error is back\n")


def test_pillow_logs_nothing_to_the_user(capfd, monkeypatch):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    read_photo(encoded(quarters(), "PNG"))
    logging.getLogger("PIL.TiffImagePlugin").error("More samples per pixel than can be decoded")
    assert capfd.readouterr() == ("", "")


def test_warning_filters_are_as_before_though_threads_read_at_once():
    before = list(warnings.filters)
    data, failures = encoded(quarters(), "PNG"), []

    def work():
        for _ in range(20):
            try:
                np.testing.assert_array_equal(read_photo(data), quarters())
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert list(warnings.filters) == before


def test_importing_brings_in_nothing_heavy(run_python):
    heavy = ("tensorflow", "gradio", "pillow_heif", "cv2", "PIL.TiffImagePlugin")
    code = f"import sys, xfv_demo.faces.images; print([name for name in {heavy} if name in sys.modules])"
    assert run_python("-c", code).stdout.strip() == "[]"


# Mangled files


def seeds():
    exif = Image.Exif()
    exif[0x0112] = 6
    colour, noise = Image.fromarray(quarters()), np.random.default_rng(0)
    alpha = Image.fromarray(np.dstack([quarters(), ALPHA]))
    grey16 = Image.fromarray(noise.integers(0, 65536, (HEIGHT, WIDTH), dtype=np.uint16))
    extras = {"exif": exif, "icc_profile": p3_profile()}
    return {
        "JPEG": [
            encoded(colour, "JPEG", **extras),
            encoded(colour.convert("CMYK"), "JPEG", progressive=True),
        ],
        "PNG": [encoded(alpha, "PNG", **extras), encoded(colour.quantize(4), "PNG"), encoded(grey16, "PNG")],
        "WEBP": [encoded(colour, "WEBP", **extras), encoded(alpha, "WEBP", lossless=True)],
        "TIFF": [
            encoded(colour, "TIFF", **extras),
            encoded(colour, "TIFF", compression="tiff_lzw"),
            encoded(colour, "TIFF", compression="jpeg"),
            encoded(grey16.convert("F"), "TIFF"),
        ],
        "BMP": [encoded(colour, "BMP"), encoded(colour.quantize(4), "BMP")],
        "GIF": [encoded(colour, "GIF")],
        "HEIF": [encoded(colour, "HEIF", **extras)],
        "AVIF": [encoded(colour, "AVIF", **extras)],
    }


SEEDS = seeds()
QUIET = settings(
    deadline=None,
    derandomize=True,
    database=None,
    max_examples=120,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def assert_read_or_refused(data):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            assert_is_photo(read_photo(data, "mangled"))
        except ImageError as error:
            message = str(error)
        else:
            return
    assert message.isprintable()
    assert message.startswith('"mangled" ')


def test_some_of_the_photos_of_the_long_run():
    """`python tests/faces/fuzz_images.py` reads a hundred thousand."""
    whole = fuzz_images.corpus()
    assert [fuzz_images.fault(content) for content in whole] == [None] * len(whole)
    for content in whole:
        read_photo(content)
    faults = {number: fuzz_images.fault(fuzz_images.mangled(whole, number)) for number in range(400)}
    assert not {number: told for number, told in faults.items() if told}


@QUIET
@given(data=st.data())
@pytest.mark.parametrize("format_", SEEDS)
def test_mangled_files_are_read_or_refused(format_, data):
    """Bits turned, bytes set, put in and taken out, mostly among the headers; and the end cut off."""
    content = bytearray(data.draw(st.sampled_from(SEEDS[format_])))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, min(len(content), data.draw(st.sampled_from([40, 400, 10**6]))) - 1))
        match data.draw(st.sampled_from(["flip", "set", "insert", "remove", "extreme"])):
            case "flip":
                content[place] ^= 1 << data.draw(st.integers(0, 7))
            case "set":
                content[place] = data.draw(st.integers(0, 255))
            case "insert":
                content[place:place] = data.draw(st.binary(min_size=1, max_size=8))
            case "remove":
                del content[place : place + data.draw(st.integers(1, 8))]
            case "extreme":
                content[place : place + 4] = data.draw(
                    st.sampled_from([bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff"])
                )
        content = content or bytearray(b"\0")
    if data.draw(st.integers(0, 3)) == 0:
        del content[data.draw(st.integers(0, len(content))) :]
    assert_read_or_refused(bytes(content))


@QUIET
@given(
    head=st.sampled_from(
        [b"", *(seed[:size] for group in SEEDS.values() for seed in group for size in (4, 16))]
    ),
    body=st.binary(max_size=300),
)
def test_arbitrary_bytes_are_read_or_refused(head, body):
    assert_read_or_refused(head + body)


@QUIET
@given(
    profile=st.sampled_from([p3_profile(), linear_grey_profile()]),
    edits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_mangled_profiles_never_stand_in_the_way(profile, edits):
    mangled = bytearray(profile)
    for place, value in edits:
        mangled[place % len(mangled)] = value
    image = Image.fromarray(quarters() if profile[16:19] == b"RGB" else quarters()[..., 0])
    image.info["icc_profile"] = bytes(mangled)
    assert_is_photo(read_photo(image))
