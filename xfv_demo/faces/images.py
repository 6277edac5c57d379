"""Photos from paths, bytes, Pillow images and arrays: the only place that decodes an image.

Whatever comes in, what goes out is a photo as `xfv_demo.types` has it, or an `ImageError` of one line. Files
are decoded by Pillow, HEIC and HEIF by pillow-heif; all other decoders that Pillow brings stay shut.
"""

import base64
import binascii
import errno
import importlib
import logging
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from io import BytesIO
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from xfv_demo.errors import ImageError, printable
from xfv_demo.faces.heif import has_turning_property
from xfv_demo.types import Photo

MIN_SIDE = 32  # pixels; a smaller photo holds no face worth enlarging to the embedder's 112
MAX_MEGAPIXELS = 50  # what phones take, and 150 MB once decoded
MAX_FILE_BYTES = 256 << 20  # more than any photo of that size needs; some decoders read a file whole

PhotoSource: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | NDArray[Any]

# AVIF stands before HEIF: a file whose brand fits both must not reach a libheif that cannot decode AV1.
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif", ".hif", ".heics", ".heifs"),
}
# What files of the formats that are read are called, in lower case. Reading goes by a file's content alone.
PHOTO_SUFFIXES = frozenset(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
_FORMATS_TEXT = "JPEG, PNG, WebP, BMP, TIFF, GIF, HEIC or AVIF"

# Kinds of file that people do take for photos: where their mark stands, the mark, what to call them.
_OTHER_FILES = (
    (0, b"%PDF", "a PDF"),
    (0, b"%!PS", "a PostScript file"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"<svg", "an SVG drawing"),
    (4, b"jP  ", "a JPEG 2000 image"),
    (4, b"JXL ", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (4, b"ftyp", "a video or a camera's raw file"),
)

_DAMAGED = "is cut off or damaged; copy or download it again, or save it anew as JPEG or PNG."

# How decoders say that a file is whole, but of a kind that they cannot read.
_OF_ANOTHER_KIND = re.compile(
    "unsupported|not supported|not implemented|not installed|unknown pixel mode|no codec", re.I
)

# What is pasted in a path's place: an address, and the text that some programs make of a photo's bytes.
_WEB_ADDRESS = re.compile("(https?|ftps?|s3|gs):/", re.I)
_FILE_ADDRESS = re.compile("file:/", re.I)
_DATA_ADDRESS = re.compile("data:", re.I)

# A JPEG's scan takes ten bytes and a pass over all pixels, so that a small file could keep us for hours.
# Encoders write some ten scans; chance puts one such mark in each 65 kB of the video a phone may append.
_JPEG_START, _JPEG_SCAN, _MOST_SCANS = b"\xff\xd8\xff", b"\xff\xda", 1000

# Of TIFF 6.0: the tags, and the value of the first for one plane for each colour.
_PLANAR_CONFIGURATION, _BITS_PER_SAMPLE, _SEPARATE_PLANES = 284, 258, 2

# What turns a photo upright, by the EXIF orientation (EXIF 2.32, table 6).
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# The colour space an ICC profile must be for, by the Pillow mode of the pixels it is to translate.
_PROFILE_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}

_decoding = threading.Lock()


def read_photo(source: PhotoSource, name: str | None = None) -> Photo:
    """Reads one photo, upright and in sRGB.

    Of several frames the first is read; of a Pillow image, the one that it stands at. What is transparent
    shows white, as it would on a page or in print. An embedded ICC profile is honoured; a broken one is
    ignored. 16-bit values are scaled to 8 bits, not cut.

    Args:
        source: A path; the bytes of an image file; a Pillow image; or an array (height, width),
            (height, width, 1), (height, width, 3) RGB or (height, width, 4) RGBA. An array holds floats in
            [0, 1], booleans, or integers in [0, 255]; uint16, and integers that exceed 255, are taken as
            16-bit values in [0, 65535].
        name: What messages call the photo; without it, the file name of a path, else "photo".

    Returns:
        (height, width, 3) uint8, RGB, contiguous, the caller's own: it shares no memory with `source`.
        The shorter side is at least `MIN_SIDE` pixels, the area at most `MAX_MEGAPIXELS` million.

    Raises:
        ImageError: The source cannot be opened, is empty, cut off, damaged, no image, in a format or of
            values not read here, too small or too large. Sizes are taken from a file's header, before any
            pixel is decoded.

    Example:
        >>> from xfv_demo import read_photo
        >>> photo = read_photo("assets/examples/obama.jpg")
        >>> photo.shape, photo.dtype
        ((1137, 910, 3), dtype('uint8'))
    """
    label = f'"{printable(name) if name else photo_name(source)}"'
    if isinstance(source, np.ndarray):
        return _photo_of_array(source, label)
    with _quiet_pillow():
        if isinstance(source, Image.Image):
            return _photo_of_image(source, label)
        if isinstance(source, bytes):
            return _decode(BytesIO(source), label)
        if isinstance(source, str | os.PathLike):
            with _open_file(source, label) as file:
                return _decode(file, label)
    kind = type(source).__name__
    raise ImageError(
        f"{label} is of type {kind}, not a photo; give a path, the bytes of an image file, a Pillow image "
        "or an array."
    )


def photo_name(source: object, fallback: str = "photo") -> str:
    """The name of a photo for messages and reports: the file name of a path, else `fallback`.

    It is one printable line, whatever the file is called.
    """
    if isinstance(source, str | os.PathLike):
        return printable(Path(os.fsdecode(source)).name) or fallback
    return fallback


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Keeps Pillow's warnings from the user: every file it warns of is read well or refused in words.

    Python's warning filters belong to the process, so two threads inside would restore each other's.
    """
    with _decoding, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _quiet_libtiff(image: Image.Image) -> Iterator[None]:
    """Keeps libtiff from printing its own account of a damaged file, beside the error that Pillow raises.

    It writes to the process's standard error and Pillow gives no way to stop it, so that is led elsewhere.
    """
    try:
        printed = os.dup(2) if image.format == "TIFF" else None
    except OSError:  # a process without standard error
        printed = None
    if printed is None:
        yield
        return
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(printed, 2)
        os.close(printed)


@cache
def _formats() -> tuple[str, ...]:
    """Makes the decoders ready, at the first file that needs one; those of `_SUFFIXES` that there are."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    # Image.init would import all of Pillow's 45 plugins, which takes 35 ms.
    for plugin in ("Avif", "Bmp", "Gif", "Jpeg", "Png", "Tiff", "WebP"):
        with suppress(ImportError):  # Pillow before 11.2 has none for AVIF
            importlib.import_module(f"PIL.{plugin}ImagePlugin")
    if "AVIF" not in Image.OPEN and hasattr(pillow_heif, "register_avif_opener"):
        pillow_heif.register_avif_opener()  # Pillow before 11.2 has no decoder of its own
    # Pillow logs some of the files that it refuses; where nobody set up logging, that would be printed.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    return tuple(name for name in _SUFFIXES if name in Image.OPEN)


def _open_file(path: str | os.PathLike[str], label: str) -> IO[bytes]:
    typed = os.fsdecode(path)
    try:
        # Asked before opening: to open a pipe or a device may wait for ever.
        mode = Path(typed).stat().st_mode
        if stat.S_ISREG(mode):
            return Path(typed).open("rb")
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:  # ValueError: a zero byte
        told = _what_is_no_path(typed) or f'was not found; check the path "{printable(typed)}".'
        raise ImageError(f"{label} {told}") from error
    except PermissionError as error:
        raise ImageError(f"{label} may not be read; check the permissions of the file.") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG and (wrong := _what_is_no_path(typed)):
            raise ImageError(f"{label} {wrong}") from error
        raise ImageError(f"{label} cannot be opened ({error.strerror}); check the path.") from error
    if stat.S_ISDIR(mode):
        raise ImageError(f"{label} is a folder; give the path of one photo.")
    raise ImageError(f"{label} is a device or a pipe; give the path of a photo.")


def _what_is_no_path(typed: str) -> str | None:
    """What was given where no file is, if it is no path at all, and what to do about it."""
    if _WEB_ADDRESS.match(typed):
        return "is a web address, and nothing is fetched here; download the photo and give its path."
    if _FILE_ADDRESS.match(typed):
        return 'is an address; give the plain path, without "file://".'
    try:
        head = base64.b64decode(typed[:64].strip(), validate=True)
    except (binascii.Error, ValueError):
        head = b""
    if _DATA_ADDRESS.match(typed) or _accepting(head):
        return "is the text of a photo in base64, not a path; decode it, and give the bytes or a file."
    return None


def _decode(file: IO[bytes], label: str) -> Photo:
    try:
        if file.seek(0, os.SEEK_END) > MAX_FILE_BYTES:
            raise ImageError(f"{label} has more than {MAX_FILE_BYTES >> 20} MB, which no photo needs.")
        file.seek(0)
        head = file.read(16)
        scans = _count(_JPEG_SCAN, file) if head.startswith(_JPEG_START) else 0
    except OSError as error:
        raise ImageError(f"{label} cannot be read ({error.strerror}); copy it to another disk.") from error
    if not head:
        raise ImageError(f"{label} is empty; copy or download it again.")
    if scans > _MOST_SCANS:
        raise ImageError(f"{label} {_DAMAGED}")
    try:
        image = Image.open(file, formats=_formats())
    except Image.DecompressionBombError as error:
        raise _too_large(label) from error
    # On damaged bytes the decoders raise whatever they run into, from KeyError to struct.error.
    except Exception as error:
        raise ImageError(f"{label} {_what_is_wrong(head, file)}") from error
    return _photo_of_image(image, label)


def _count(mark: bytes, file: IO[bytes]) -> int:
    """How often a mark stands in the rest of a file, but for those that two blocks share."""
    return sum(block.count(mark) for block in iter(lambda: file.read(1 << 20), b""))


def _accepting(head: bytes) -> list[str]:
    """The formats that a file may be of, by its first bytes."""
    accepts = ((name, Image.OPEN[name][1]) for name in _formats())
    return [name for name, accept in accepts if accept is not None and accept(head)]


def _what_is_wrong(head: bytes, file: IO[bytes]) -> str:
    """Says why a file could not be opened, by its first 16 bytes and what its decoders say."""
    formats = _accepting(head)
    for name in formats:
        try:
            file.seek(0)
            Image.OPEN[name][0](file, "")  # which Pillow has tried already, but kept for itself why it failed
        except Exception as error:
            if _OF_ANOTHER_KIND.search(str(error)):
                return _other_kind(name)
    if formats:
        return _DAMAGED
    for offset, mark, kind in _OTHER_FILES:
        if head.startswith(mark, offset):
            return f"is {kind}; save it as JPEG or PNG."
    return f"is not an image in a format that is read ({_FORMATS_TEXT}); save it as JPEG or PNG."


def _other_kind(format_: str) -> str:
    return f"is of a kind of {format_} that is not read; save it as JPEG or PNG with 8 bits a colour."


def _check_size(width: int, height: int, label: str) -> None:
    if width * height > MAX_MEGAPIXELS * 1_000_000:
        raise _too_large(label)
    if min(width, height) < MIN_SIDE:
        raise ImageError(
            f"{label} is {width} x {height} pixels; give a photo with at least {MIN_SIDE} pixels on its "
            "shorter side."
        )


def _too_large(label: str) -> ImageError:
    return ImageError(f"{label} has more than {MAX_MEGAPIXELS} megapixels; make it smaller.")


def _photo_of_image(image: Image.Image, label: str) -> Photo:
    _check_size(*image.size, label)
    try:
        _refuse_misread(image, label)
        # Before it is loaded: the decoders drop what they take for done.
        left_to_turn = _orientation_beside_boxes(image)
        with _quiet_libtiff(image):
            image.load()
        # A HEIC file's header may promise another size than its pixels have.
        _check_size(*image.size, label)
        orientation = left_to_turn or _orientation(image)
        profile = image.info.get("icc_profile")
        if image.mode.startswith(("I", "F")):
            image = Image.fromarray(_eight_bit(np.asarray(image), label))
        image = _in_srgb(_on_white(image), profile)
        if orientation in _TURNS:
            image = image.transpose(_TURNS[orientation])
        return np.array(image)
    except ImageError:
        raise
    except Exception as error:
        kind = _OF_ANOTHER_KIND.search(str(error)) and image.format
        raise ImageError(f"{label} {_other_kind(kind) if kind else _DAMAGED}") from error


def _refuse_misread(image: Image.Image, label: str) -> None:
    """Refuses what Pillow takes for something else: a TIFF's bare planes of 16 bits, for planes of 8."""
    tags = getattr(image, "tag_v2", {})
    planes = tags.get(_PLANAR_CONFIGURATION) == _SEPARATE_PLANES
    bare = any(tile.codec_name == "raw" for tile in getattr(image, "tile", ()))
    if planes and bare and max(tags.get(_BITS_PER_SAMPLE, (8,))) > 8:
        raise ImageError(f"{label} {_other_kind('TIFF')}")


def _orientation_beside_boxes(image: Image.Image) -> object:
    """The EXIF orientation of a HEIF or AVIF file that does not turn its pixels by a property; else None.

    It is None, too, of an image that was loaded before, for its file is closed.
    """
    file = getattr(image, "fp", None)
    if image.format not in ("HEIF", "AVIF") or file is None or not image.info.get("primary", True):
        return None
    import pillow_heif

    try:
        file.seek(0)
        content = file.read()
        if has_turning_property(content) is not False:
            return None
        if "original_orientation" in image.info:
            return image.info["original_orientation"]
        if b"Exif" not in content:
            return None
        # Pillow's AVIF decoder has put what the properties say in the place of the EXIF orientation.
        exif = Image.Exif()
        exif.load(pillow_heif.open_heif(content).info["exif"])
        return exif.get(ExifTags.Base.Orientation)
    except Exception:  # as in _decode; a photo is not to be lost for its metadata
        return None


def _orientation(image: Image.Image) -> object:
    """The EXIF orientation of a loaded image; 1, upright, where its EXIF cannot be read.

    It is 1, too, where the decoder has turned the pixels itself, as those of TIFF and HEIF do.
    """
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # as in _decode; a photo is not to be lost for its metadata
        return 1


def _on_white(image: Image.Image) -> Image.Image:
    """Puts an image on white where it is transparent; "L" or another mode without transparency."""
    if not image.has_transparency_data:
        return image.convert("RGB") if image.mode == "P" else image
    grey = image.mode in ("1", "L", "LA", "La")
    image = image.convert("LA" if grey else "RGBA")
    canvas = Image.new("L" if grey else "RGB", image.size, "white")
    canvas.paste(image, mask=image)
    return canvas


def _in_srgb(image: Image.Image, profile: object) -> Image.Image:
    """Translates an image without transparency to "RGB", by its ICC profile if that can be done."""
    if isinstance(profile, bytes) and image.mode in _PROFILE_SPACES:
        transform = _srgb_transform(profile, image.mode)
        if transform is not None:
            return transform.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=16)  # the photos of one camera carry one profile
def _srgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The way from a profile's colours to sRGB; None if the profile is broken, of another mode, or sRGB."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if source.profile.xcolor_space.strip() != _PROFILE_SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None
    if mode != "RGB":
        return transform
    # sRGB goes by many names, and names lie. A profile that moves no colour needs no pass over the photo.
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(16, 256, 3)
    moved = np.asarray(transform.apply(Image.fromarray(colours)))
    return None if np.allclose(moved, colours, rtol=0, atol=2) else transform


def _photo_of_array(array: NDArray[Any], label: str) -> Photo:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(
            f"{label} is an array of shape {array.shape}; give (height, width) or (height, width, channels) "
            "with 1, 3 or 4 channels."
        )
    height, width = array.shape[:2]
    _check_size(width, height, label)
    values = _eight_bit(np.asarray(array), label).reshape(height, width, -1)
    if values.shape[2] == 4:
        return np.array(_on_white(Image.fromarray(values)))
    return np.array(np.broadcast_to(values, (height, width, 3)), dtype=np.uint8, order="C")


def _eight_bit(values: NDArray[Any], label: str) -> NDArray[np.uint8]:
    """Scales the values of an image that is not empty to [0, 255]; uint8 is returned as it is."""
    if values.dtype == np.uint8:
        return np.asarray(values, dtype=np.uint8)
    if values.dtype.kind not in "biuf":
        raise ImageError(
            f"{label} is an array of {values.dtype.name}; give one of uint8, or of floats in [0, 1]."
        )
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        if not (low >= 0 and high <= 1):  # so put that NaN fails
            raise ImageError(f"{label} holds floats that are NaN or outside [0, 1]; scale them to [0, 1].")
        scaled = np.asarray(values, dtype=np.float32) * np.float32(255)
        return scaled.round().astype(np.uint8)
    if values.dtype.kind == "b":
        return values.astype(np.uint8) * np.uint8(255)
    if low < 0 or high > 65535:
        raise ImageError(f"{label} holds integers outside [0, 65535]; scale them to [0, 255].")
    is_uint16 = values.dtype.kind == "u" and values.dtype.itemsize == 2
    if high <= 255 and not is_uint16:
        return values.astype(np.uint8)
    return ((values.astype(np.uint32) + 128) // 257).astype(np.uint8)  # 65535 / 257 = 255
