"""What a network expects of its pixels: their range and the order of their channels.

A graph says its input's layout and size, but not whether it wants pixels from 0 to 1 or to 255, or red or
blue first. A wrong answer raises no error, it only makes worse embeddings. So it is known, or asked for once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from xfv_demo.errors import ModelError, UnknownFormatError, XfvError, printable
from xfv_demo.runtime.files import json_text, write_whole
from xfv_demo.runtime.paths import cache_folder

InputRange = Literal["0..1", "-1..1", "0..255"]
Channels = Literal["rgb", "bgr"]
Source = Literal["options", "model.json", "cache", "known file", "signature", "SavedModel"]

SOURCES_IN_WORDS: Mapping[Source, str] = MappingProxyType(
    {
        "options": "as given",
        "model.json": "from model.json beside it",
        "cache": "as given before",
        "known file": "this file is a known one",
        "signature": "a guess from the names of its input and output",
        "SavedModel": "as all SavedModels have to",
    }
)

_SCALE_AND_SHIFT: Mapping[InputRange, tuple[float, float]] = MappingProxyType(
    {"0..1": (1.0, 0.0), "-1..1": (2.0, -1.0), "0..255": (255.0, 0.0)}
)


@dataclass(frozen=True)
class InputFormat:
    """The pixels that a network takes.

    Networks that were trained on (pixel - 127.5) / 128 or (pixel - 127) / 128 count as "-1..1": that moves no
    input by more than 0.008 of 2.

    Attributes:
        input_range: The values of black and white.
        channels: Which comes first.

    Raises:
        ValueError: There is no such range or order.

    Example:
        >>> from xfv_demo.models.input_format import InputFormat
        >>> InputFormat("-1..1", "rgb").scale, InputFormat("-1..1", "rgb").shift
        (2.0, -1.0)
    """

    input_range: InputRange
    channels: Channels

    def __post_init__(self) -> None:
        """Checks the values."""
        for name, known in (("input_range", InputRange), ("channels", Channels)):
            if getattr(self, name) not in get_args(known):
                raise ValueError(
                    f'{name} must be one of {", ".join(get_args(known))}, not "{getattr(self, name)}"'
                )

    def __str__(self) -> str:
        """Such as "RGB, 0..255"."""
        return f"{self.channels.upper()}, {self.input_range}"

    @property
    def scale(self) -> float:
        """Times pixels in [0, 1], before `shift` is added."""
        return _SCALE_AND_SHIFT[self.input_range][0]

    @property
    def shift(self) -> float:
        """The input for black."""
        return _SCALE_AND_SHIFT[self.input_range][1]


INPUT_FORMATS = tuple(
    InputFormat(input_range, channels)
    for input_range in get_args(InputRange)
    for channels in get_args(Channels)
)


@dataclass(frozen=True)
class NetworkSignature:
    """What a network's graph says of its input and output.

    Attributes:
        input: The input's name.
        input_shape: With None for what is left open.
        output: The output's name.
        dimensions: The embedding's length.
    """

    input: str
    input_shape: tuple[int | None, ...]
    output: str
    dimensions: int


@dataclass(frozen=True)
class FoundFormat:
    """A network's input format, and how it is known.

    Attributes:
        input_format: The format.
        source: Where it is from.
        name: What to call the model where its file is a known one; else None.
        taken_for: What the network is taken for where the format is a guess; else None.
        known: What a known file takes; else None.
    """

    input_format: InputFormat
    source: Source
    name: str | None = None
    taken_for: str | None = None
    known: InputFormat | None = None

    @property
    def notice(self) -> str | None:
        """One line for the user where the format is a guess, or not a known file's own; else None."""
        if self.known not in (None, self.input_format):
            return (
                f"{self.name} takes {self.known}, but this file of it gets {self.input_format}, "
                f"{SOURCES_IN_WORDS[self.source]}; check-model tells which fits"
            )
        if self.taken_for is None:
            return None
        return (
            f"taken for {self.taken_for} by the names of its input and output, so for {self.input_format}; "
            "check-model tells whether that is right"
        )


@dataclass(frozen=True)
class KnownFile:
    """A file that many have.

    Attributes:
        name: What to call the model.
        input_format: Its format.
    """

    name: str
    input_format: InputFormat


_ARCFACE_TORCH = InputFormat("-1..1", "rgb")
_MXNET = InputFormat("0..255", "rgb")

# By sha256. OpenCV's FaceRecognizerSF hands SFace its pixels as they are, red first (blobFromImage with scale
# 1, mean 0 and swapRB); insightface's ArcFaceONNX its own networks (pixel - 127.5) / 127.5, red first.
_SFACE, _W600K_R50, _W600K_MBF, _GLINTR100, _MOBILEFACENET = (
    KnownFile("sface", _MXNET),
    KnownFile("w600k_r50", _ARCFACE_TORCH),
    KnownFile("w600k_mbf", _ARCFACE_TORCH),
    KnownFile("glintr100", _ARCFACE_TORCH),
    # The .tflite that the bundled model was converted from.
    KnownFile("mobilefacenet-tflite", _ARCFACE_TORCH),
)
KNOWN_FILES: Mapping[str, KnownFile] = MappingProxyType(
    {
        # float32, int8 block-quantised, int8
        "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79": _SFACE,
        "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee": _SFACE,
        "2b0e941e6f16cc048c20aee0c8e31f569118f65d702914540f7bfdc14048d78a": _SFACE,
        "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43": _W600K_R50,
        "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f": _W600K_MBF,
        "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf": _GLINTR100,
        "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b": _MOBILEFACENET,
    }
)


class _FormatFile(BaseModel):
    """A `model.json`: of which file it speaks, and the file's format. Other fields do not matter."""

    model_config = ConfigDict(strict=True)

    sha256: str
    input_range: InputRange
    channels: Channels


class _AnyFile(BaseModel):
    """Any JSON object: programs of all kinds call their files model.json."""

    sha256: object = None


def find_input_format(
    path: Path,
    sha256: str,
    signature: NetworkSignature,
    input_range: InputRange | None = None,
    channels: Channels | None = None,
    *,
    keep: bool = True,
) -> FoundFormat:
    """Finds out what a network expects of its pixels.

    What is given comes first; then a `model.json` beside the file, which speaks of the file with this hash;
    what was given before, from the cache; the list of known files; and the names of the input and the output,
    which are a guess. Where only one half is given, the other comes from the rest of these.

    Args:
        path: The model's file, or a SavedModel's folder.
        sha256: The file's.
        signature: What its graph says.
        input_range: Given by the user.
        channels: Likewise.
        keep: Whether what is given is kept for the next time, in the cache by the file's hash.

    Returns:
        The format, and how it is known.

    Raises:
        UnknownFormatError: It cannot be known.
        ModelError: What was kept is broken.
        XfvError: What was given cannot be kept.
    """
    listed = KNOWN_FILES.get(sha256)
    about: dict[str, Any] = {"name": listed.name, "known": listed.input_format} if listed else {}
    if input_range and channels:
        given = InputFormat(input_range, channels)
    else:
        known = (
            _read(path.parent / "model.json", sha256, "model.json")
            or _read(_kept_in(sha256), sha256, "cache")
            or (FoundFormat(listed.input_format, "known file") if listed else None)
            or _by_signature(path, signature)
        )
        if known is None:
            raise UnknownFormatError(_unknown(path, input_range, channels))
        if not (input_range or channels):
            return replace(known, **about)
        half = known.input_format
        given = InputFormat(input_range or half.input_range, channels or half.channels)
    if keep:
        keep_input_format(path, sha256, given)
    return replace(FoundFormat(given, "options"), **about)


def keep_input_format(path: Path, sha256: str, input_format: InputFormat) -> None:
    """Keeps a network's input format in the cache.

    Args:
        path: The model's file.
        sha256: The file's.
        input_format: Its format.

    Raises:
        XfvError: The cache cannot be written.
    """
    document = {
        "model": path.name,
        "sha256": sha256,
        "input_range": input_format.input_range,
        "channels": input_format.channels,
    }
    content = f"{json_text(document, indent=2)}\n".encode()
    try:
        # A cache that cannot be written is no trouble where it says so already.
        if not (_kept_in(sha256).is_file() and _kept_in(sha256).read_bytes() == content):
            write_whole(_kept_in(sha256), content)
    except XfvError as error:
        raise XfvError(f"{str(error).partition(';')[0]}; set XFV_CACHE to another folder") from error


def _kept_in(sha256: str) -> Path:
    return cache_folder() / "input-formats" / f"{sha256}.json"


def _read(file: Path, sha256: str, source: Source) -> FoundFormat | None:
    """What a file says of the model with this hash; None where it is not there or speaks of another."""
    try:
        if not file.is_file():
            return None
        text = file.read_bytes()
        if _AnyFile.model_validate_json(text).sha256 != sha256:
            return None
        read = _FormatFile.model_validate_json(text)
    except OSError as error:
        raise ModelError(f'"{file}" cannot be read: {error.strerror}; check its permissions') from error
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = f"its field {fault['loc'][0]!r}: " if fault["loc"] else ""
        raise ModelError(
            f'"{file}" gives no input format: {where}{" ".join(fault["msg"].split())}; correct it, or delete '
            "it and give --input-range and --channels"
        ) from error
    return FoundFormat(InputFormat(read.input_range, read.channels), source)


def _by_signature(path: Path, signature: NetworkSignature) -> FoundFormat | None:
    """What a network's names and shapes are like; nobody is kept from giving them to another."""
    if path.is_dir():
        # This package's own convention for SavedModels.
        return FoundFormat(InputFormat("0..1", "rgb"), "SavedModel")
    if signature.input_shape[1:2] != (3,):
        return None
    match signature:
        case NetworkSignature(input="data", output="fc1"):
            # As in ONNX's zoo: what these do to the pixels is in the network.
            return FoundFormat(_MXNET, "signature", taken_for="an export from MXNet")
        case NetworkSignature(input="data" | "input.1", dimensions=512):
            # arcface_torch's torch2onnx.py has written both names.
            return FoundFormat(_ARCFACE_TORCH, "signature", taken_for="an export of insightface's")
    return None


def _unknown(path: Path, input_range: InputRange | None, channels: Channels | None) -> str:
    missing = {}
    if input_range is None:
        missing["--input-range"] = "which range of pixels (0..1, -1..1 or 0..255)"
    if channels is None:
        missing["--channels"] = "which order of channels (rgb or bgr)"
    return (
        f"{printable(path.name)} does not say {' and '.join(missing.values())} it takes; give "
        f"{' and '.join(missing)} once, or find out with: "
        f"python -m xfv_demo check-model {printable(str(path))}"
    )
