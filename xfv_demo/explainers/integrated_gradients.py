"""Integrated gradients from the mean face: what on the way from nobody to this face made it alike.

Sundararajan, Taly and Yan, "Axiomatic Attribution for Deep Networks" (ICML 2017, arXiv 1703.01365), with the
mean face for the baseline: from black, the way leads through pictures that no model has seen.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfv_demo.errors import ModelError
from xfv_demo.explainers.base import register
from xfv_demo.explainers.batching import BatchExplainer, BatchStep, blurred, check_sigma
from xfv_demo.explainers.explanation import Explanation, View
from xfv_demo.explainers.inputs import check_batch_size, check_gradients, checked_filling
from xfv_demo.models.base import GradientEmbedder
from xfv_demo.models.similarity import unit_embeddings
from xfv_demo.types import FloatArray


@register
class IntegratedGradientsExplainer(BatchExplainer):
    """The gradient of the similarity, averaged over the way from the mean face to the photo.

    With x the photo, m the mean face and s the cosine similarity to the other photo as it is, the map is the
    sum over colour channels of (x - m) times the mean of ds/dx at m + a (x - m), over the midpoints a of K
    equal parts of [0, 1]; then blurred. Without the blur, its sum over the pixels is s(x) - s(m), up to what
    K parts leave of the integral: "gain" in `numbers` is that difference for the probe.

    Attributes:
        parameters: The settings, in plain values for reports.

    Args:
        embedder: Any object with the methods that `GradientEmbedder` describes.
        steps: K.
        gaussian_sigma: The blur's width in pixels; 0 for none.
        baseline: m, (112, 112, 3) float32, RGB, in [0, 1]; the mean face where None.
        batch_size: How many images at most are differentiated at once, and so how much of the work lies
            between two steps of the stream. Does not change the maps.

    Raises:
        ValueError: A setting is out of its range; says which.
        ModelError: The embedder cannot be differentiated.
    """

    name: ClassVar[str] = "integrated-gradients"
    title: ClassVar[str] = "Integrated gradients"
    short_title: ClassVar[str] = "Integrated gradients"
    gist: ClassVar[str] = "the gradient on the way from the mean face"
    about: ClassVar[str] = (
        "follows the similarity on the way from the mean face to this one, and charges each place with what "
        "it added. Quick, and blurred, as single pixels of it mean little."
    )
    duration: ClassVar[str] = "under a second"
    work_order: ClassVar[int] = 1
    needs_gradients: ClassVar[bool] = True

    def __init__(
        self,
        embedder: GradientEmbedder,
        *,
        steps: int = 4,
        gaussian_sigma: float = 8.0,
        baseline: ArrayLike | None = None,
        batch_size: int = 16,
    ) -> None:
        check_gradients(embedder, "the method integrated-gradients")
        if steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps}")
        check_sigma(gaussian_sigma)
        check_batch_size(batch_size)
        self._embedder = embedder
        self._shares = (np.arange(steps, dtype=np.float32) + np.float32(0.5)) / np.float32(steps)
        self._gaussian_sigma = gaussian_sigma
        self._baseline = checked_filling(baseline)
        self._batch_size = batch_size
        self.parameters: dict[str, Any] = {"steps": steps, "gaussian_sigma": gaussian_sigma}

    @classmethod
    def views(cls, explanations: Mapping[Any, Explanation]) -> tuple[View, ...]:
        """As `Explainer.views`: the map."""
        return (View(cls.name, "on the way from the mean face", explanations[cls.name].unscaled),)

    def _steps(
        self, photos: FloatArray, embeddings: NDArray[np.float64] | None, mapped: int
    ) -> Iterator[BatchStep]:
        units = self._unit_embeddings(photos, embeddings).astype(np.float64)
        similarities = np.einsum("bd,bd->b", *units)
        (mean,) = unit_embeddings(self._embedder.embed(self._baseline[None]), 1)
        gains = similarities - units[1] @ mean
        way = photos[:mapped] - self._baseline
        sums = np.zeros((mapped, *photos.shape[1:4]))
        # All photos of a share go together.
        most = max(1, self._batch_size // (mapped * photos.shape[1]))
        for start in range(0, len(self._shares), most):
            shares = self._shares[start : start + most]
            # Rounding can carry a pixel out of [0, 1], which embedders refuse.
            images = np.clip(self._baseline + shares[:, None, None, None, None, None] * way, 0, 1)
            sums += self._gradients(images, units[::-1][:mapped], way)
            done = start + len(shares)
            yield BatchStep(
                blurred(sums / done, self._gaussian_sigma),
                1 - similarities,
                done / len(self._shares),
                numbers={"gain": gains},
            )

    def _gradients(
        self, images: FloatArray, others: NDArray[np.float64], way: FloatArray
    ) -> NDArray[np.float64]:
        """(S, B, 112, 112): over images (K, S, B, 112, 112, 3), sums of the gradients along the way."""
        weights = np.broadcast_to(others.astype(np.float32), (len(images), *others.shape))
        gradients = self._embedder.embedding_gradients(
            images.reshape(-1, *images.shape[3:]), weights.reshape(1, -1, others.shape[-1])
        )
        if not np.isfinite(gradients).all():
            raise ModelError("the embedder gives gradients that are not finite; they cannot be integrated")
        return np.asarray((gradients.reshape(images.shape).sum(axis=0, dtype=np.float64) * way).sum(axis=-1))
