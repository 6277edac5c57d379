"""What an explainer is, and what it gives.

An explainer is a class for one method: the embedder and the settings go into its constructor, the two aligned
faces into `stream` or `explain`. There are two kinds, told apart by the embedder that they ask for: those
that only call it (`Embedder`), and those that differentiate it (`GradientEmbedder`).

All maps follow one convention. A map is signed float32, one number for each pixel of its face: positive
speaks for "same person", negative for "different". What travels is the map in the method's own unit; divided
by its largest absolute value, the map's *scale*, it lies in [-1, 1]. Where there is nothing to tell, the map
is zero everywhere and so is its scale. Colour is the business of `rendering` alone.
"""

import functools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TypeVar

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfv_demo.calibration.storage import load_calibration
from xfv_demo.errors import CalibrationError, ModelError
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.models.similarity import unit_embeddings
from xfv_demo.types import FloatArray

_Doubles = NDArray[np.float64]

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
        unscaled: Both maps in the method's own unit, in which they can be compared; positive speaks for "same
            person".
        distance: Cosine distance of the two photos as they are, in [0, 2].
        progress: Share of the work that this rests on, in [0, 1]; 1 in the final explanation.
        parameters: The method's settings, in plain values for reports.
        parts: Further maps by name, not scaled, such as xSSAB's "positive" and "negative".
        numbers: Further numbers by name, such as the similarity that xCos gives the pair.
    """

    method: str
    unscaled: MapPair
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
        return cls(
            method=method,
            unscaled=MapPair(*(np.asarray(one, np.float32) for one in maps)),
            distance=float(np.clip(distance, 0, 2)),
            progress=progress,
            parameters=dict(parameters),
            parts=parts or {},
            numbers=numbers or {},
        )

    @functools.cached_property
    def probe_map(self) -> FloatArray:
        """(112, 112) float32 in [-1, 1]: the probe's map divided by its scale."""
        return scaled_map(self.unscaled.probe)

    @functools.cached_property
    def reference_map(self) -> FloatArray:
        """(112, 112) float32 in [-1, 1], likewise."""
        return scaled_map(self.unscaled.reference)

    @property
    def probe_scale(self) -> float:
        """The probe map's largest absolute value, in the method's own unit; 0 where the map is zero."""
        return float(np.abs(self.unscaled.probe).max())

    @property
    def reference_scale(self) -> float:
        """The reference map's largest absolute value, likewise."""
        return float(np.abs(self.unscaled.reference).max())

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


def parts_by_sign(maps: NDArray[np.floating[Any]]) -> dict[str, NDArray[np.floating[Any]]]:
    """Of maps, what is above 0, "positive", and what is below, "negative", as positive numbers."""
    return {"positive": np.maximum(maps, 0), "negative": np.maximum(-maps, 0)}


class Explainer(ABC):
    """One method of explaining what an embedder makes of a pair of faces.

    Attributes:
        name: The method's key in `EXPLAINERS`.
        title: What people call the method.
        short_title: The same in a word or two, for tables; the title where empty.
        gist: What it does, in a few words.
        about: What its maps say and where they mislead, in a few sentences.
        duration: How long it takes with the bundled model on two cores, in a few words.
        work_order: Of several methods, those of lower numbers are the first to work, so that something is
            seen at once.
        needs_gradients: Whether it differentiates the embedder.
        takes_threshold: Whether it takes `threshold`, that of equal error rate on the cosine similarity.
        slow: Whether it needs hundreds of passes through the model for a pair.
        trained: Whether it needs something that was trained for the model.
        parameters: The settings, in plain values for reports; those in `EXPLAINERS` have them.

    Args:
        embedder: The model, with the methods that the explainer needs.
        **settings: The method's own.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    short_title: ClassVar[str] = ""
    gist: ClassVar[str] = ""
    about: ClassVar[str] = ""
    duration: ClassVar[str] = ""
    work_order: ClassVar[int] = 10
    needs_gradients: ClassVar[bool] = False
    takes_threshold: ClassVar[bool] = False
    slow: ClassVar[bool] = False
    trained: ClassVar[bool] = False
    parameters: dict[str, Any]

    @abstractmethod
    def __init__(self, embedder: Any, **settings: Any) -> None: ...

    @classmethod
    def stream_all(
        cls,
        embedder: Any,
        probe: ArrayLike,
        reference: ArrayLike,
        *,
        embeddings: ArrayLike | None = None,
        **settings: Any,
    ) -> Iterator[Mapping[Any, Explanation]]:
        """Explains a pair step by step in all variants that the method has, in one pass.

        Args:
            embedder: As for the constructor.
            probe: (112, 112, 3) aligned face, RGB, in [0, 1].
            reference: (112, 112, 3) aligned face, RGB, in [0, 1].
            embeddings: (2, D), what this embedder gives for the two photos, where that is known already.
            **settings: As for the constructor.

        Returns:
            In each step an explanation for each variant; for a method without variants, one under its `name`.

        Raises:
            ValueError: As from the constructor and `stream`.
            ModelError: As from the constructor and `stream`.
        """
        steps = cls(embedder, **settings)._stream(probe, reference, embeddings)
        return ({cls.name: step} for step in steps)

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

    def _stream(
        self, probe: ArrayLike, reference: ArrayLike, embeddings: ArrayLike | None
    ) -> Iterator[Explanation]:
        """As `stream`; a method that has a use for embeddings that are known takes them here."""
        known_embeddings(embeddings, (2,))
        return self.stream(probe, reference)

    def explain(
        self, probe: ArrayLike, reference: ArrayLike, *, embeddings: ArrayLike | None = None
    ) -> Explanation:
        """Explains a pair: the last item of `stream`.

        Args:
            probe: As for `stream`.
            reference: As for `stream`.
            embeddings: (2, D), what this embedder gives for the two photos, where that is known already. A
                method that needs them computes them where None.

        Returns:
            The final explanation.

        Raises:
            ValueError: As from `stream`, or the embeddings are not of that shape.
            ModelError: As from `stream`.
        """
        return deque(self._stream(probe, reference, embeddings), maxlen=1).pop()

    def explain_batch(
        self, probes: ArrayLike, references: ArrayLike, *, embeddings: ArrayLike | None = None
    ) -> list[Explanation]:
        """Explains many pairs, sharing between them what can be shared.

        The memory that it takes grows with their number; some dozens at once are as fast as more.

        Args:
            probes: (B, 112, 112, 3) aligned faces, RGB, in [0, 1]. B may be 0.
            references: (B, 112, 112, 3), what they are compared with, one each.
            embeddings: (2, B, D), what this embedder gives for all of them, where that is known already.

        Returns:
            Of each pair what `explain` gives, to rounding.

        Raises:
            ValueError: The photos are not of that kind, or the embeddings are not; says which.
            ModelError: The embedder gives numbers that cannot be used.
        """
        photos, known = _checked_batch(probes, references, embeddings)
        each = [None] * photos.shape[1] if known is None else np.moveaxis(known, 1, 0)
        return [
            self.explain(*pair, embeddings=one)
            for pair, one in zip(np.moveaxis(photos, 1, 0), each, strict=True)
        ]

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


_Class = TypeVar("_Class", bound=type[Explainer])
_registered: dict[str, type[Explainer]] = {}
EXPLAINERS: Mapping[str, type[Explainer]] = MappingProxyType(_registered)


def register(explainer: _Class) -> _Class:
    """Puts an explainer's class into `EXPLAINERS`, and so onto the command line and the page."""
    _registered[explainer.name] = explainer
    return explainer


@dataclass(frozen=True, eq=False)
class BatchStep:
    """What is known of B pairs after a step of the work on all of them.

    Attributes:
        maps: (S, B, 112, 112) in the method's own unit, of the first S photos of each pair, S being 1 or 2.
        distances: (B,) cosine distances.
        progress: Share of the work that this rests on, in [0, 1].
        parts: Further maps of the same shape, by name.
        numbers: Further numbers, (B,), by name.
    """

    maps: NDArray[np.floating[Any]]
    distances: NDArray[np.floating[Any]]
    progress: float
    parts: Mapping[str, NDArray[np.floating[Any]]] = field(default_factory=dict)
    numbers: Mapping[str, NDArray[np.floating[Any]]] = field(default_factory=dict)


class BatchExplainer(Explainer):
    """An explainer that works on many pairs at once; a single pair is a batch of one.

    Args:
        embedder: As for `Explainer`.
        **settings: As for `Explainer`.
    """

    _embedder: Any

    @abstractmethod
    def _steps(self, photos: FloatArray, embeddings: _Doubles | None, mapped: int) -> Iterator[BatchStep]:
        """Explains pairs step by step.

        Args:
            photos: (2, B, 112, 112, 3), the probes and the references; B is at least 1.
            embeddings: (2, B, D) of length 1; None where they are not known.
            mapped: Of how many photos of each pair maps are wanted: 1, of the probes alone, or 2.

        Yields:
            At least one step; the last one's progress is 1.
        """

    def stream(self, probe: ArrayLike, reference: ArrayLike) -> Iterator[Explanation]:
        """As `Explainer.stream`."""
        return self._stream(probe, reference, None)

    def _stream(
        self, probe: ArrayLike, reference: ArrayLike, embeddings: ArrayLike | None
    ) -> Iterator[Explanation]:
        photos = np.stack(aligned_pair(probe, reference))
        known = known_embeddings(embeddings, (2,))
        steps = self._steps(photos[:, None], None if known is None else known[:, None], 2)
        return (self._explanation(step, 0) for step in steps)

    def explain_batch(
        self, probes: ArrayLike, references: ArrayLike, *, embeddings: ArrayLike | None = None
    ) -> list[Explanation]:
        """As `Explainer.explain_batch`."""
        photos, known = _checked_batch(probes, references, embeddings)
        pairs = photos.shape[1]
        if not pairs:
            return []
        last = deque(self._steps(photos, known, 2), maxlen=1).pop()
        return [self._explanation(last, pair) for pair in range(pairs)]

    def probe_map(self, probe: ArrayLike, reference: ArrayLike) -> FloatArray:
        """As `Explainer.probe_map`; in half the time."""
        photos = np.stack(aligned_pair(probe, reference))
        last = deque(self._steps(photos[:, None], None, 1), maxlen=1).pop()
        return scaled_map(last.maps[0, 0])

    def _unit_embeddings(self, photos: FloatArray, known: _Doubles | None) -> _Doubles:
        """(2, B, D): the embeddings of (2, B, 112, 112, 3) photos, each of length 1, or 0, in one call."""
        if known is not None:
            return known
        distinct, places = distinct_photos(photos)
        return np.asarray(unit_embeddings(self._embedder.embed(distinct), len(distinct))[places])

    def _explanation(self, step: BatchStep, pair: int) -> Explanation:
        return Explanation.from_maps(
            self.name,
            step.maps[:, pair],
            distance=float(step.distances[pair]),
            progress=step.progress,
            parameters=self.parameters,
            parts={name: MapPair(*maps[:, pair].astype(np.float32)) for name, maps in step.parts.items()},
            numbers={name: float(values[pair]) for name, values in step.numbers.items()},
        )


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


def aligned_pairs(probes: ArrayLike, references: ArrayLike) -> FloatArray:
    """Checks the photos of many pairs.

    Args:
        probes: (B, 112, 112, 3), RGB, in [0, 1].
        references: (B, 112, 112, 3), RGB, in [0, 1].

    Returns:
        (2, B, 112, 112, 3) float32.

    Raises:
        ValueError: They are not of that kind; says which.
    """
    first, second = _aligned_faces(probes, "probe"), _aligned_faces(references, "reference")
    if len(first) != len(second):
        raise ValueError(
            f"there are {len(first)} probes and {len(second)} references; give a reference for each probe"
        )
    return np.stack([first, second])


def _aligned_faces(images: ArrayLike, role: str) -> FloatArray:
    try:
        faces = np.asarray(images, dtype=np.float32)
    except ValueError as error:
        raise ValueError(
            f"the {role}s must be aligned faces (B, 112, 112, 3), and differ in shape"
        ) from error
    if faces.shape == (0,):  # an empty list
        faces = np.zeros((0, *_FACE_SHAPE), np.float32)
    if faces.shape[1:] != _FACE_SHAPE:
        raise ValueError(f"the {role}s must be aligned faces (B, 112, 112, 3), not {faces.shape}")
    for number, face in enumerate(faces):
        _aligned_face(face, f"{role} number {number}")
    return faces


def known_embeddings(embeddings: ArrayLike | None, photos: tuple[int, ...]) -> _Doubles | None:
    """Checks embeddings that an explainer was given.

    Args:
        embeddings: One for each photo, (*photos, D); or None.
        photos: The shape in which the photos come.

    Returns:
        The same, each of length 1, or 0; or None.

    Raises:
        ValueError: They are not of that shape.
        ModelError: They are not finite.
    """
    if embeddings is None:
        return None
    given = np.asarray(embeddings)
    if given.ndim != len(photos) + 1 or given.shape[:-1] != photos:
        expected = ", ".join(map(str, photos))
        raise ValueError(f"embeddings must be ({expected}, D), one for each photo, not {given.shape}")
    count = int(np.prod(photos))
    return unit_embeddings(given.reshape(count, given.shape[-1]), count).reshape(given.shape)


def _checked_batch(
    probes: ArrayLike, references: ArrayLike, embeddings: ArrayLike | None
) -> tuple[FloatArray, _Doubles | None]:
    photos = aligned_pairs(probes, references)
    return photos, known_embeddings(embeddings, photos.shape[:2])


def distinct_photos(photos: FloatArray) -> tuple[FloatArray, NDArray[np.int64]]:
    """Of many photos, each once: what is computed for a photo serves all pairs that it is in.

    Args:
        photos: (2, B, 112, 112, 3).

    Returns:
        (N, 112, 112, 3), in the order in which they come first; and (2, B), which of them each photo is.
    """
    flat = photos.reshape(-1, *photos.shape[2:])
    numbers: dict[bytes, int] = {}
    places = np.array([numbers.setdefault(photo.tobytes(), len(numbers)) for photo in flat], np.int64)
    _, firsts = np.unique(places, return_index=True)
    return flat[firsts], places.reshape(photos.shape[:2])


def enlarged_cells(cells: ArrayLike, *, smooth: bool) -> FloatArray:
    """Lays a grid's cells over the face.

    A cell's features depend on a wide neighbourhood, so where exactly it ends means little. Measured on the
    bundled model, what moves a cell's features is centred within 3 pixels of the cell's own middle for cells
    in the face's middle, and up to 15 pixels further in for those at its rim.

    Args:
        cells: (..., h, w), one number for each cell of a grid.
        smooth: Whether to interpolate between the cells' middles; else each is shown as the rectangle it is.

    Returns:
        (..., 112, 112) float32 with the cells' values, not scaled.
    """
    interpolation = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST_EXACT
    grids, side = np.asarray(cells, np.float32), (ALIGNED_SIZE, ALIGNED_SIZE)
    enlarged = [
        cv2.resize(grid, side, interpolation=interpolation) for grid in grids.reshape(-1, *grids.shape[-2:])
    ]
    return np.array(enlarged).reshape(*grids.shape[:-2], *side)


def scaled_map(raw: NDArray[np.floating[Any]]) -> FloatArray:
    """Divides a map by its largest absolute value.

    Args:
        raw: (112, 112), finite, in the method's own unit.

    Returns:
        The map as float32 in [-1, 1]. A map of zeros stays one.
    """
    scale = np.abs(raw).max()
    return np.asarray(raw / (scale or 1), np.float32)


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
