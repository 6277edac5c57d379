"""What an explainer is, and what it gives.

An explainer is a class for one method: the embedder and the settings go into its constructor, the two aligned
faces into `stream` or `explain`. There are two kinds, told apart by the embedder that they ask for: those
that only call it (`Embedder`), and those that differentiate it (`GradientEmbedder`).

All maps follow one convention. A map is signed float32, one number for each pixel of its face: positive
speaks for "same person", negative for "different". It is divided by its own largest absolute value, the map's
*scale*, so it lies in [-1, 1]; times its scale it is in the method's own unit again. Where there is nothing
to tell, the map is zero everywhere and so is its scale. Colour is the business of `rendering` alone.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfv_demo.alignment import ALIGNED_SIZE
from xfv_demo.calibration import load_calibration
from xfv_demo.errors import CalibrationError, ModelError
from xfv_demo.types import FloatArray

_FACE_SHAPE = (ALIGNED_SIZE, ALIGNED_SIZE, 3)


class MapPair(NamedTuple):
    """A further map of each photo.

    Attributes:
        probe: (112, 112) float32.
        reference: (112, 112) float32.
    """

    probe: FloatArray
    reference: FloatArray


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where the evidence lies in a pair of faces.

    Attributes:
        method: The explainer's key in `EXPLAINERS`.
        probe_map: (112, 112) float32 in [-1, 1]; positive speaks for "same person".
        reference_map: (112, 112) float32 in [-1, 1], likewise.
        probe_scale: What `probe_map` was divided by, in the method's own unit; 0 where the map is zero.
        reference_scale: What `reference_map` was divided by, likewise.
        distance: Cosine distance of the two photos as they are, in [0, 2].
        progress: Share of the work that this rests on, in [0, 1]; 1 in the final explanation.
        parameters: The method's settings, in plain values for reports.
        parts: Further maps by name, not scaled, such as xSSAB's "positive" and "negative".
        numbers: Further numbers by name, such as the similarity that xCos gives the pair.
    """

    method: str
    probe_map: FloatArray
    reference_map: FloatArray
    probe_scale: float
    reference_scale: float
    distance: float
    progress: float
    parameters: Mapping[str, Any]
    parts: Mapping[str, MapPair] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_maps(
        cls,
        method: str,
        maps: Iterable[NDArray[np.floating[Any]]],
        *,
        distance: float,
        progress: float,
        parameters: Mapping[str, Any],
        parts: Mapping[str, MapPair] | None = None,
        numbers: Mapping[str, float] | None = None,
    ) -> "Explanation":
        """Makes an explanation of maps in the method's own unit.

        Args:
            method: As the attribute.
            maps: The probe's and the reference's, (112, 112) each, finite.
            distance: As the attribute; rounding beyond [0, 2] is taken off.
            progress: As the attribute.
            parameters: As the attribute; copied.
            parts: As the attribute.
            numbers: As the attribute.
        """
        (probe_map, probe_scale), (reference_map, reference_scale) = (scaled_map(one) for one in maps)
        return cls(
            method=method,
            probe_map=probe_map,
            reference_map=reference_map,
            probe_scale=probe_scale,
            reference_scale=reference_scale,
            distance=float(np.clip(distance, 0, 2)),
            progress=progress,
            parameters=dict(parameters),
            parts=parts or {},
            numbers=numbers or {},
        )

    @property
    def unscaled(self) -> MapPair:
        """Both maps in the method's own unit, in which they can be compared."""
        return MapPair(
            self.probe_map * np.float32(self.probe_scale),
            self.reference_map * np.float32(self.reference_scale),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: everything but the maps."""
        return {
            "method": self.method,
            "parameters": dict(self.parameters),
            "distance": round(self.distance, 6),
            "progress": round(self.progress, 4),
            "probe_scale": self.probe_scale,
            "reference_scale": self.reference_scale,
            "parts": sorted(self.parts),
            "numbers": dict(self.numbers),
        }


@dataclass(frozen=True, eq=False)
class View:
    """One of the pairs of maps that a method shows.

    Attributes:
        key: A name for programs, of its own among the method's views, such as "paired".
        label: A name for people.
        maps: Both photos' maps, signed, in one unit: positive speaks for "same person".
        percentile: Of the absolute values, the one that is to have the strongest colour, in (0, 100]. 100
            where the maps are smooth; less where few spikes would leave all else pale.
        is_evidence: Whether the maps speak for and against. False where they say how much a place counts,
            whichever way, as attention does; then they are not negative.
    """

    key: str
    label: str
    maps: MapPair
    percentile: float = 100.0
    is_evidence: bool = True


def for_and_against(explanation: Explanation, percentile: float = 100.0) -> tuple[View, ...]:
    """The views of a method whose `parts` are "positive" and "negative".

    Args:
        explanation: By such a method; both parts are at least 0.
        percentile: As for `View`.

    Returns:
        The map, what speaks for "same", and what speaks against, the latter with its sign.
    """
    positive, negative = explanation.parts["positive"], explanation.parts["negative"]
    against = MapPair(-negative.probe, -negative.reference)
    return (
        View("combined", "for and against", explanation.unscaled, percentile),
        View("for", "for", positive, percentile),
        View("against", "against", against, percentile),
    )


def parts_by_sign(maps: NDArray[np.floating[Any]]) -> dict[str, MapPair]:
    """Of (2, 112, 112) maps, what is above 0, "positive", and below, "negative", as positive numbers."""
    return {
        "positive": MapPair(*np.maximum(maps, 0).astype(np.float32)),
        "negative": MapPair(*np.maximum(-maps, 0).astype(np.float32)),
    }


class Explainer(ABC):
    """One method of explaining what an embedder makes of a pair of faces.

    Attributes:
        name: The method's key in `EXPLAINERS`.
        title: What people call the method.
        takes_threshold: Whether it takes `threshold`, that of equal error rate on the cosine similarity.
        parameters: The settings, in plain values for reports; those in `EXPLAINERS` have them.

    Args:
        embedder: The model, with the methods that the explainer needs.
        **settings: The method's own.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    takes_threshold: ClassVar[bool] = False
    parameters: dict[str, Any]

    @abstractmethod
    def __init__(self, embedder: Any, **settings: Any) -> None: ...

    @classmethod
    def stream_all(
        cls, embedder: Any, probe: ArrayLike, reference: ArrayLike, **settings: Any
    ) -> Iterator[Mapping[Any, Explanation]]:
        """Explains a pair step by step in all variants that the method has, in one pass.

        Args:
            embedder: As for the constructor.
            probe: (112, 112, 3) aligned face, RGB, in [0, 1].
            reference: (112, 112, 3) aligned face, RGB, in [0, 1].
            **settings: As for the constructor.

        Returns:
            In each step an explanation for each variant; for a method without variants, one under its `name`.

        Raises:
            ValueError: As from the constructor and `stream`.
            ModelError: As from the constructor and `stream`.
        """
        return ({cls.name: step} for step in cls(embedder, **settings).stream(probe, reference))

    @classmethod
    def views(cls, explanations: Mapping[Any, Explanation]) -> tuple[View, ...]:
        """What there is to see of a pair.

        Args:
            explanations: A step of `stream_all`.

        Returns:
            The views, the most telling one first.
        """
        return tuple(View(str(key), cls.title, step.unscaled) for key, step in explanations.items())

    @abstractmethod
    def stream(self, probe: ArrayLike, reference: ArrayLike) -> Iterator[Explanation]:
        """Explains a pair step by step.

        Every step is a whole explanation, an estimate of the final one. Which steps there are does not depend
        on what was explained before. To stop early, close the iterator or forget it.

        Args:
            probe: (112, 112, 3) aligned face, RGB, in [0, 1].
            reference: (112, 112, 3) aligned face, RGB, in [0, 1].

        Returns:
            At least one explanation; `progress` grows to 1, which the last one has.

        Raises:
            ValueError: A photo is not of that kind.
            ModelError: The embedder gives numbers that cannot be used.
        """

    def explain(self, probe: ArrayLike, reference: ArrayLike) -> Explanation:
        """Explains a pair: the last item of `stream`, with the same arguments and errors."""
        return deque(self.stream(probe, reference), maxlen=1).pop()

    def probe_map(self, probe: ArrayLike, reference: ArrayLike) -> FloatArray:
        """The map of the probe alone, in about half the time where a method works photo by photo.

        Args:
            probe: As for `stream`.
            reference: As for `stream`.

        Returns:
            (112, 112) float32, what `explain` gives as `probe_map`.

        Raises:
            ValueError: As from `stream`.
            ModelError: As from `stream`.
        """
        return self.explain(probe, reference).probe_map


def aligned_pair(probe: ArrayLike, reference: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Checks the two photos that an explainer was given.

    Args:
        probe: (112, 112, 3), RGB, in [0, 1].
        reference: (112, 112, 3), RGB, in [0, 1].

    Returns:
        Both as float32.

    Raises:
        ValueError: One is not of that kind; says which.
    """
    return _aligned_face(probe, "probe"), _aligned_face(reference, "reference")


def _aligned_face(image: ArrayLike, role: str) -> FloatArray:
    face = np.asarray(image, dtype=np.float32)
    if face.shape != _FACE_SHAPE:
        raise ValueError(f"the {role} must be an aligned face (112, 112, 3), not {face.shape}")
    # `not (a and b)` rather than `a or b`, so that NaN fails too.
    if not (face.min() >= 0 and face.max() <= 1):
        raise ValueError(f"the {role} must lie in [0, 1], not [{face.min():.3g}, {face.max():.3g}]")
    return face


def enlarged_cells(cells: ArrayLike, *, smooth: bool) -> FloatArray:
    """Lays a grid's cells over the face.

    A cell's features depend on a wide neighbourhood, so where exactly it ends means little. Measured on the
    bundled model, what moves a cell's features is centred within 3 pixels of the cell's own middle for cells
    in the face's middle, and up to 15 pixels further in for those at its rim.

    Args:
        cells: (h, w), one number for each cell of the grid.
        smooth: Whether to interpolate between the cells' middles; else each is shown as the rectangle it is.

    Returns:
        (112, 112) float32 with the cells' values, not scaled.
    """
    interpolation = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST_EXACT
    return np.asarray(
        cv2.resize(np.asarray(cells, np.float32), (ALIGNED_SIZE, ALIGNED_SIZE), interpolation=interpolation)
    )


def scaled_map(raw: NDArray[np.floating[Any]]) -> tuple[FloatArray, float]:
    """Divides a map by its largest absolute value.

    Args:
        raw: (112, 112), finite, in the method's own unit.

    Returns:
        The map as float32 in [-1, 1], and its scale: what it was divided by. A map of zeros stays one.
    """
    scale = float(np.abs(raw).max())
    if scale == 0:
        return np.zeros(raw.shape, np.float32), 0.0
    return (raw / scale).astype(np.float32), scale


def gradient_threshold(embedder: Any, threshold: float | None, method: str) -> float:
    """Checks what methods that weigh dimensions by T and follow their gradients are made with.

    Args:
        embedder: The model.
        threshold: T, on the cosine similarity; where None, that of equal error rate in the calibration that
            is known by the embedder's `name`.
        method: What to call the method in messages.

    Returns:
        T, in [-1, 1].

    Raises:
        ModelError: The embedder cannot be differentiated.
        CalibrationError: None was given, and the embedder has no name, or there is no calibration for it.
        ValueError: It is no cosine similarity.
    """
    if not hasattr(embedder, "embedding_gradients"):
        raise ModelError(
            f"{method} needs gradients, and this embedder has no embedding_gradients; take one that has, "
            'such as load_embedder gives, or the method "occlusion"'
        )
    if threshold is None:
        name = getattr(embedder, "name", None)
        if name is None:
            raise CalibrationError(
                f"{method} needs a threshold, and an embedder without a name has no calibration to take it "
                "from; give threshold=1 - calibration.eer_threshold"
            )
        return 1 - load_calibration(name).eer_threshold
    if not -1 <= threshold <= 1:
        raise ValueError(f"threshold must be a cosine similarity, in [-1, 1], not {threshold}")
    return float(threshold)
