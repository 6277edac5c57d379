"""Whether a model tells people apart on the example photos, and on which pixels it does that best.

A network that gets pixels of another range, or blue in red's place, gives embeddings all the same. Ten pairs
of photos are no measure of accuracy, but they show a wrong range at once, and often a wrong order of channels.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from xfv_demo.errors import ModelError, UnknownFormatError
from xfv_demo.faces.alignment import align
from xfv_demo.faces.detection import Detector, MtcnnDetector
from xfv_demo.faces.images import read_photo
from xfv_demo.models.base import Embedder
from xfv_demo.models.input_format import (
    INPUT_FORMATS,
    Channels,
    FoundFormat,
    InputFormat,
    InputRange,
    NetworkSignature,
)
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

# In cosine distance, between the furthest genuine and the nearest impostor pair. Measured on SFace, MobileFaceNet
# and a ResNet of 512 numbers: 0.39 to 0.73 on the pixels that they were trained on, at most 0.01 on 255 times
# larger or smaller ones.
_CLEAR_GAP = 0.1
# Measured likewise: SFace loses 0.02 by blue in red's place, MobileFaceNet 0.03 by 0..1 in place of -1..1 (it
# sees less contrast), and neither is the better for it; what else is wrong costs 0.09 and more.
_ALIKE = 0.05


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
        """By how much two people are further apart than one person, in cosine distance; below 0: they are not."""
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
        found: Its input format and where that is known from; None where it is not known.
        engine: What computes the embeddings.
        grid_shape: Height, width and channels of its last feature grid; None where it has none.
        is_affine: Whether what follows the grid is affine.
        has_gradients: Whether gradient methods can run on it.
        fit: How it does in the format that is known.
        fits: How it does in all formats, the best first; empty where the known one needs no second look.
    """

    name: str
    kind: str
    signature: NetworkSignature
    layout: str
    batch: int | None
    found: FoundFormat | None
    engine: str
    grid_shape: tuple[int, int, int] | None
    is_affine: bool
    has_gradients: bool
    fit: FormatFit | None
    fits: tuple[FormatFit, ...]

    @property
    def best(self) -> tuple[FormatFit, ...]:
        """The formats that let people come apart and that these photos cannot choose between, best first."""
        return best_fits(self.fits)

    @property
    def is_well(self) -> bool:
        """Whether people come apart in the format that is known, and clearly better in no other."""
        if self.fit is None or not self.fit.comes_apart:
            return False
        return not self.fits or self.fit in self.best

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
            "input_format": self.found and _plain_format(self.found.input_format),
            "known_from": self.found and self.found.source,
            "engine": self.engine,
            "grid_shape": self.grid_shape and list(self.grid_shape),
            "affine_after_grid": self.is_affine,
            "gradients": self.has_gradients,
            "fit": self.fit and _plain_fit(self.fit),
            "fits": [_plain_fit(fit) for fit in self.fits],
            "best": [_plain_format(fit.input_format) for fit in self.best],
            "is_well": self.is_well,
        }


def example_faces(detector: Detector | None = None) -> ExampleFaces:
    """Finds and aligns the face on each of the example photos.

    Args:
        detector: What finds faces; this package's own where None.

    Returns:
        Five faces of two people.
    """
    detector = detector or MtcnnDetector()
    photos = [read_photo(assets_folder() / "examples" / name) for name in _PEOPLE]
    faces = [align(photo, detector.detect(photo)[0].landmarks) for photo in photos]
    return ExampleFaces(np.stack(faces), tuple(_PEOPLE.values()))


def measure_fit(embedder: Embedder, input_format: InputFormat, faces: ExampleFaces) -> FormatFit:
    """Measures how far apart a model sees the people on some faces.

    Args:
        embedder: The model, which feeds its network by that format.
        input_format: What to call it.
        faces: Of two people at least, and two of one of them.

    Returns:
        The distances of the two pairs that are the hardest.

    Raises:
        ModelError: The embeddings are no finite numbers, or one is 0.
    """
    embeddings = directed_embeddings(embedder.embed(faces.images), len(faces.images))
    distances: dict[bool, list[float]] = {True: [], False: []}
    for i, j in itertools.combinations(range(len(embeddings)), 2):
        is_genuine = faces.people[i] == faces.people[j]
        distances[is_genuine].append(float(1 - embeddings[i] @ embeddings[j]))
    return FormatFit(input_format, max(distances[True]), min(distances[False]))


def rank_formats(
    make: Callable[[InputFormat], Embedder],
    faces: ExampleFaces,
    formats: Sequence[InputFormat] = INPUT_FORMATS,
) -> tuple[FormatFit, ...]:
    """Measures how a model does in several formats.

    Args:
        make: Makes the embedder that feeds the network by a format.
        faces: As for `measure_fit`.
        formats: Which to try.

    Returns:
        The best first; without those in which the model gives no finite numbers.
    """
    fits = []
    for input_format in formats:
        try:
            fits.append(measure_fit(make(input_format), input_format, faces))
        except ModelError:
            continue
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
