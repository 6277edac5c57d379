"""Explainers that work on many pairs at once."""

from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfv_demo.explainers.base import Explainer
from xfv_demo.explainers.explanation import Explanation, MapPair, scaled_map
from xfv_demo.explainers.inputs import aligned_pair, checked_batch, distinct_photos, known_embeddings
from xfv_demo.models.similarity import unit_embeddings
from xfv_demo.types import FloatArray

_Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BatchStep:
    """What is known of B pairs after a step of the work on all of them.

    Attributes:
        maps: (S, B, 112, 112) in the method's own unit, of the first S photos of each pair, S being 1 or 2.
        distances: (B,) cosine distances.
        progress: Share of the work that this rests on, in [0, 1].
        parts: Further maps of the same shape, by name.
        numbers: Further numbers, (B,), by name.
        interactions: (B, h, w, h, w) as `Explanation.interactions`, or None.
    """

    maps: NDArray[np.floating[Any]]
    distances: NDArray[np.floating[Any]]
    progress: float
    parts: Mapping[str, NDArray[np.floating[Any]]] = field(default_factory=dict)
    numbers: Mapping[str, NDArray[np.floating[Any]]] = field(default_factory=dict)
    interactions: NDArray[np.floating[Any]] | None = None


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
        photos, known = checked_batch(probes, references, embeddings)
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
            interactions=(None if step.interactions is None else step.interactions[pair].astype(np.float32)),
        )


def check_sigma(gaussian_sigma: float) -> None:
    """Refuses a blur that there cannot be.

    Raises:
        ValueError: It is below 0 or not finite.
    """
    if not 0 <= gaussian_sigma < np.inf:
        raise ValueError(f"gaussian_sigma must be at least 0, not {gaussian_sigma}")


def blurred(maps: _Doubles, gaussian_sigma: float) -> _Doubles:
    """Copies of maps, (..., 112, 112), blurred by a Gaussian of this width in pixels; as they are where 0."""
    if not gaussian_sigma:
        return maps.copy()
    images = maps.reshape(-1, *maps.shape[-2:])
    return np.array([cv2.GaussianBlur(image, (0, 0), gaussian_sigma) for image in images]).reshape(maps.shape)
