"""FGGB: where the embedding's dimensions look, weighed by how far each speaks for or against.

Lu, Xu and Ebrahimi, "Explainable Face Verification via Feature-Guided Gradient Backpropagation" (FG 2024,
arXiv 2403.04549).
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfv_demo.errors import ModelError
from xfv_demo.explainers.base import register
from xfv_demo.explainers.batching import BatchExplainer, BatchStep, blurred, check_sigma
from xfv_demo.explainers.explanation import Explanation, View, for_and_against, parts_by_sign
from xfv_demo.explainers.inputs import check_batch_size, gradient_threshold
from xfv_demo.models.base import GradientEmbedder
from xfv_demo.models.similarity import cosine_distance, similarity_terms
from xfv_demo.types import FloatArray

# Where the strongest colour lies: gradients have spikes, beside which all the rest would be pale.
_SHOWN_PERCENTILE = 99.0


@register
class FggbExplainer(BatchExplainer):
    """FGGB's gradient maps, of an embedder that can be differentiated.

    The cosine similarity is a sum over the D dimensions of the embedding, and a pair is "same" where it
    exceeds a threshold T. So a dimension speaks for "same" by as much as its term exceeds T / D. Where in the
    photo the dimension looks is told by its gradient: the mean over the colour channels of the absolute
    gradient of the unit-length embedding's dimension, divided by its Euclidean length over the pixels, so
    that each dimension counts by its term alone. The map is the sum over the dimensions of the gradient times
    the excess of the term. In `parts`, "positive" is the map where it is above 0, and "negative" what is
    below, as a positive number; neither is scaled.

    The dimensions of one network look at much the same places, and the excesses sum to the similarity less T.
    So a map may be of one sign everywhere, that of the decision, and tell little of the other photo. With the
    bundled model that is so: on a genuine and an impostor pair of the example photos that share one photo,
    one of the parts is zero everywhere, and the shared photo's two maps correlate by -0.92.

    The stream has a step for each batch of dimensions, beginning with those that weigh most.

    Attributes:
        threshold: T.
        parameters: The settings, in plain values for reports.

    Args:
        embedder: Any object with the methods that `GradientEmbedder` describes.
        threshold: T, the threshold of equal error rate on the cosine similarity, in [-1, 1]; that is
            `1 - calibration.eer_threshold`. Where None, from the calibration for `embedder.name`.
        gaussian_sigma: Where not 0, the map is blurred by a Gaussian of this width, in pixels. The authors
            show theirs blurred by one of 25 x 25 pixels with a width of 5.
        batch_size: How many dimensions at most are differentiated at once, and so how much of the work lies
            between two steps of the stream. Does not change the maps.

    Raises:
        ValueError: A setting is out of its range; says which.
        CalibrationError: No threshold was given, and there is no calibration to take it from.
        ModelError: The embedder cannot be differentiated.
    """

    name: ClassVar[str] = "fggb"
    title: ClassVar[str] = "Feature-guided gradient (FGGB)"
    short_title: ClassVar[str] = "FGGB"
    gist: ClassVar[str] = "every dimension traced back"
    about: ClassVar[str] = (
        "as the gradient, but each number of the embedding by itself, by how much it speaks for or against. "
        "Where all look at the same places, a map may have one colour alone."
    )
    duration: ClassVar[str] = "ten seconds or so"
    work_order: ClassVar[int] = 6
    needs_gradients: ClassVar[bool] = True
    slow: ClassVar[bool] = True
    takes_threshold: ClassVar[bool] = True

    def __init__(
        self,
        embedder: GradientEmbedder,
        threshold: float | None = None,
        *,
        gaussian_sigma: float = 0.0,
        batch_size: int = 16,
    ) -> None:
        self.threshold = gradient_threshold(embedder, threshold, "FGGB")
        check_sigma(gaussian_sigma)
        check_batch_size(batch_size)
        self._embedder = embedder
        self._gaussian_sigma = gaussian_sigma
        self._batch_size = batch_size
        self.parameters: dict[str, Any] = {"threshold": self.threshold, "gaussian_sigma": gaussian_sigma}

    @classmethod
    def views(cls, explanations: Mapping[Any, Explanation]) -> tuple[View, ...]:
        """As `Explainer.views`: the map, what of it is for "same", and what against."""
        return for_and_against(explanations[cls.name], _SHOWN_PERCENTILE)

    def _steps(
        self, photos: FloatArray, embeddings: NDArray[np.float64] | None, mapped: int
    ) -> Iterator[BatchStep]:
        units = self._unit_embeddings(photos, embeddings).astype(np.float32)
        distances = cosine_distance(*units)
        pairs, dimensions = units.shape[1:]
        # The same for both photos of a pair, as are the terms.
        excesses = similarity_terms(*units).astype(np.float64) - self.threshold / dimensions
        order = np.argsort(-np.abs(excesses), axis=1, kind="stable")
        maps = np.zeros((mapped, *photos.shape[1:4]))
        flat = photos[:mapped].reshape(-1, *photos.shape[2:])
        for start in range(0, dimensions, self._batch_size):
            chosen = order[:, start : start + self._batch_size]
            gradients = self._gradients(flat, np.tile(chosen, (mapped, 1)), dimensions)
            maps += np.einsum(
                "bk,ksbhw->sbhw",
                np.take_along_axis(excesses, chosen, axis=1),
                gradients.reshape(-1, mapped, pairs, *photos.shape[2:4]),
            )
            shown = blurred(maps, self._gaussian_sigma)
            yield BatchStep(
                shown, distances, (start + chosen.shape[1]) / dimensions, parts=parts_by_sign(shown)
            )

    def _gradients(
        self, photos: FloatArray, chosen: NDArray[np.int64], dimensions: int
    ) -> NDArray[np.float64]:
        """(K, N, 112, 112): where (N, K) chosen dimensions look in their photo, each of length 1, or 0."""
        # A weighting for each dimension rather than a copy of the photos: one backward pass through many
        # copies is faster by a quarter at best, but keeps the inner values of all of them. Measured on two
        # cores with the bundled model, a pair takes 8.6 s and 0.03 GB at 16 weightings at once (as long at 4
        # or 64), and with 8 copies 6.4 s and 1.5 GB, the first time 12.4 s.
        weights = np.zeros((chosen.shape[1], len(photos), dimensions), np.float32)
        np.put_along_axis(weights, chosen.T[..., None], 1, axis=2)
        gradients = self._embedder.embedding_gradients(photos, weights)
        if not np.isfinite(gradients).all():
            raise ModelError("the embedder gives gradients that are not finite; FGGB cannot explain it")
        absolute = np.abs(gradients).mean(axis=-1, dtype=np.float64)
        length = np.linalg.norm(absolute, axis=(2, 3), keepdims=True)
        # A dimension that no pixel moves looks nowhere.
        return np.asarray(absolute / np.where(length == 0, 1, length))
