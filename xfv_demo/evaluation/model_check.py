"""Whether a model tells people apart on the example photos, and on which pixels it does that best.

A network that gets pixels of another range, or blue in red's place, gives embeddings all the same. Ten pairs
of photos are no measure of accuracy, but they show most wrong ranges, and often a wrong order of channels.
"""

import functools
import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from xfv_demo.errors import ModelError, UnknownFormatError
from xfv_demo.faces.alignment import align
from xfv_demo.faces.detection import MtcnnDetector
from xfv_demo.faces.images import read_photo
from xfv_demo.models.base import INPUT_SHAPE
from xfv_demo.models.compiled import CompiledEmbedder
from xfv_demo.models.input_format import (
    INPUT_FORMATS,
    KNOWN_FILES,
    Channels,
    InputFormat,
    InputRange,
    NetworkSignature,
    Source,
    keep_input_format,
)
from xfv_demo.models.loading import load_embedder
from xfv_demo.models.openvino import OpenVinoNetwork
from xfv_demo.models.registry import locate_model
from xfv_demo.models.savedmodel import SavedModelEmbedder
from xfv_demo.models.similarity import directed_embeddings
from xfv_demo.runtime.paths import assets_folder
from xfv_demo.types import FloatArray

# Who is on which of the example photos; the last one is cut through the face.
_PEOPLE: Mapping[str, str] = MappingProxyType(
    {
        "obama.jpg": "Obama",
        "obama2.jpg": "Obama",
        "obama3.jpg": "Obama",
        "biden.jpg": "Biden",
        "obama_partial_face.jpg": "Obama",
    }
)

# In cosine distance, between the furthest genuine and the nearest impostor pair. Measured on SFace,
# MobileFaceNet and a network of unknown origin with 512 numbers, each in six formats: 0.37 to 0.73 where
# people come apart, else 0.01 at most.
_CLEAR_GAP = 0.1
# Measured likewise, how much smaller the gap is in a wrong format: SFace with blue in red's place 0.02, and
# MobileFaceNet with 0..1 in place of -1..1 (the same at half the contrast) 0.03; all others 0.09 and more.
_ALIKE = 0.05

Embed = Callable[[FloatArray], FloatArray]
_Part = TypeVar("_Part")


@dataclass(frozen=True, eq=False)
class ExampleFaces:
    """The faces of the example photos.

    Attributes:
        images: (N, 112, 112, 3) float32, RGB, in [0, 1].
        people: Who each shows.
    """

    images: FloatArray
    people: tuple[str, ...]


@dataclass(frozen=True)
class FormatFit:
    """How far a model, fed by one input format, takes people apart.

    Attributes:
        input_format: The format.
        largest_genuine: The largest cosine distance between two photos of one person.
        smallest_impostor: The smallest between photos of two people.
    """

    input_format: InputFormat
    largest_genuine: float
    smallest_impostor: float

    @property
    def gap(self) -> float:
        """How much further apart two people are than one person, at least; below 0 where they need not be."""
        return self.smallest_impostor - self.largest_genuine

    @property
    def comes_apart(self) -> bool:
        """Whether the gap is far larger than chance makes it."""
        return self.gap >= _CLEAR_GAP


@dataclass(frozen=True)
class ModelCheck:
    """What was understood of a model's file, and how it does on the example photos.

    Attributes:
        name: The model's name.
        kind: Of the file: "SavedModel", "frozen graph", "ONNX" or "TFLite".
        signature: What its graph says of input and output.
        layout: "NCHW" or "NHWC".
        batch: How many images it takes at once; None where it takes any number.
        input_format: The pixels that it takes; None where that is not known.
        format_source: Where that is known from.
        engine: What computes the embeddings.
        grid_shape: Height, width and channels of its last feature grid; None where it has none.
        is_affine: Whether what follows the grid is affine.
        has_gradients: Whether gradient methods can run on it.
        fit: How it does in the format that is known.
        fits: How it does in all formats, the best first; empty where the known one needs no second look.
        known_format: What a file that many have takes; None for others.
    """

    name: str
    kind: str
    signature: NetworkSignature
    layout: str
    batch: int | None
    input_format: InputFormat | None
    format_source: Source | None
    engine: str
    grid_shape: tuple[int, int, int] | None
    is_affine: bool
    has_gradients: bool
    fit: FormatFit | None
    fits: tuple[FormatFit, ...]
    known_format: InputFormat | None

    @property
    def best(self) -> tuple[FormatFit, ...]:
        """The formats that let people come apart and that these photos cannot choose between, best first."""
        return best_fits(self.fits)

    @property
    def is_well(self) -> bool:
        """Whether people come apart in the format that is known, and clearly better in no other.

        Of a file that many have, no other than its own will do.
        """
        if self.fit is None or not self.fit.comes_apart:
            return False
        return self.known_format in (None, self.input_format) and (not self.fits or self.fit in self.best)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "input": self.signature.input,
            "input_shape": list(self.signature.input_shape),
            "layout": self.layout,
            "batch": self.batch,
            "output": self.signature.output,
            "dimensions": self.signature.dimensions,
            "input_format": self.input_format and _plain_format(self.input_format),
            "format_source": self.format_source,
            "engine": self.engine,
            "grid_shape": self.grid_shape and list(self.grid_shape),
            "affine_after_grid": self.is_affine,
            "gradients": self.has_gradients,
            "fit": self.fit and _plain_fit(self.fit),
            "fits": [_plain_fit(fit) for fit in self.fits],
            "best": [_plain_format(fit.input_format) for fit in self.best],
            "is_well": self.is_well,
        }


def check_model(
    model: str | os.PathLike[str],
    input_range: InputRange | None = None,
    channels: Channels | None = None,
) -> ModelCheck:
    """Reads a model's file, and measures it on the example photos.

    All input formats are tried, but for a known file or a SavedModel that lets people come apart. A format
    that is given is kept for the file where it lets them and none is clearly better.

    Args:
        model: As `load_embedder` takes it.
        input_range: As there.
        channels: As there.

    Returns:
        What was understood and measured.

    Raises:
        ModelError: It is no model of aligned faces; the message says what was found.
    """
    embedder, is_known = _load(model, input_range, channels)
    file = embedder.read_file()
    faces = example_faces()

    def make(input_format: InputFormat) -> Embed:
        # The model's own is measured as it will run, be it by TensorFlow.
        if input_format == embedder.input_format:
            return embedder.embed
        return OpenVinoNetwork(file.for_faces(input_format))

    fit = measure_fit(embedder.embed, embedder.input_format, faces) if is_known else None
    is_sure = is_known and embedder.format_source in ("known file", "SavedModel")
    fits = () if is_sure and fit and fit.comes_apart else rank_formats(make, faces)
    known_file = None if isinstance(embedder, SavedModelEmbedder) else KNOWN_FILES.get(embedder.file_sha256)
    check = ModelCheck(
        name=embedder.name,
        kind=file.kind,
        signature=file.signature,
        layout=file.layout,
        batch=file.batch,
        input_format=embedder.input_format if is_known else None,
        format_source=embedder.format_source if is_known else None,
        engine=embedder.engine,
        grid_shape=_unless_lacking(lambda: embedder.grid_shape),
        is_affine=_unless_lacking(lambda: embedder.affine_head) is not None,
        has_gradients=_unless_lacking(lambda: _gradients(embedder)) is not None,
        fit=fit,
        fits=fits,
        known_format=known_file.input_format if known_file else None,
    )
    if check.is_well and check.format_source == "options":
        keep_input_format(embedder.path, embedder.file_sha256, embedder.input_format)
    return check


def _load(
    model: str | os.PathLike[str], input_range: InputRange | None, channels: Channels | None
) -> tuple[CompiledEmbedder, bool]:
    """The model, and whether its input format is known; in any format where it is not."""
    located = locate_model(model)
    if located.path.is_dir():
        return load_embedder(model, input_range=input_range, channels=channels), True
    load = functools.partial(CompiledEmbedder, located.path, name=located.name, keep=False)
    try:
        return load(input_range=input_range, channels=channels), True
    except UnknownFormatError:
        any_format = INPUT_FORMATS[0]
        return load(input_range=any_format.input_range, channels=any_format.channels), False


def _gradients(embedder: CompiledEmbedder) -> FloatArray:
    grey = np.full((1, *INPUT_SHAPE), 0.5, np.float32)
    return embedder.embedding_gradients(grey, np.zeros((1, 1, embedder.dimensions), np.float32))


def _unless_lacking(get: Callable[[], _Part]) -> _Part | None:
    try:
        return get()
    except ModelError:
        return None


@functools.cache
def example_faces() -> ExampleFaces:
    """Finds and aligns the face on each of the example photos.

    Returns:
        Five faces of two people; found once in a process.
    """
    detector = MtcnnDetector()
    photos = [read_photo(assets_folder() / "examples" / name) for name in _PEOPLE]
    faces = [align(photo, detector.detect(photo)[0].landmarks) for photo in photos]
    return ExampleFaces(np.stack(faces), tuple(_PEOPLE.values()))


def measure_fit(embed: Embed, input_format: InputFormat, faces: ExampleFaces) -> FormatFit:
    """Measures how far apart a model sees the people on some faces.

    Args:
        embed: From (N, 112, 112, 3) images to (N, D) embeddings of any length, in that format.
        input_format: What to call it.
        faces: Of two people at least, and two of one of them.

    Returns:
        The distances of the two pairs that are the hardest.

    Raises:
        ModelError: The embeddings are no finite numbers, or one is 0.
    """
    embeddings = directed_embeddings(embed(faces.images), len(faces.images))
    distances: dict[bool, list[float]] = {True: [], False: []}
    for i, j in itertools.combinations(range(len(embeddings)), 2):
        is_genuine = faces.people[i] == faces.people[j]
        distances[is_genuine].append(float(1 - embeddings[i] @ embeddings[j]))
    return FormatFit(input_format, max(distances[True]), min(distances[False]))


def rank_formats(make: Callable[[InputFormat], Embed], faces: ExampleFaces) -> tuple[FormatFit, ...]:
    """Measures how a model does in each of the formats.

    Args:
        make: Makes what embeds in a format.
        faces: As for `measure_fit`.

    Returns:
        The best first; without those in which the model gives no finite numbers.
    """
    fits = []
    for input_format in INPUT_FORMATS:
        with suppress(ModelError):
            fits.append(measure_fit(make(input_format), input_format, faces))
    return tuple(sorted(fits, key=lambda fit: -fit.gap))


def best_fits(fits: Sequence[FormatFit]) -> tuple[FormatFit, ...]:
    """Those of the best that so few photos cannot choose between.

    Args:
        fits: The best first.

    Returns:
        The first and those about as good; none where people come apart in none.
    """
    return tuple(fit for fit in fits if fit.comes_apart and fit.gap >= fits[0].gap - _ALIKE)


def _plain_format(input_format: InputFormat) -> dict[str, str]:
    return {"input_range": input_format.input_range, "channels": input_format.channels}


def _plain_fit(fit: FormatFit) -> dict[str, Any]:
    return {
        **_plain_format(fit.input_format),
        "largest_genuine_distance": fit.largest_genuine,
        "smallest_impostor_distance": fit.smallest_impostor,
        "gap": fit.gap,
        "comes_apart": fit.comes_apart,
    }
