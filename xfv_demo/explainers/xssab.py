"""xSSAB: which pixels move the dimensions that are alike, and which those that are not.

Huber, Luu, Terhorst and Damer, "Efficient Explainable Face Verification based on Similarity Score Argument
Backpropagation" (WACV 2024, arXiv 2304.13409), section 3, as their code computes it.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfv_demo.errors import ModelError
from xfv_demo.explainers.base import register
from xfv_demo.explainers.batching import BatchExplainer, BatchStep, blurred, check_sigma
from xfv_demo.explainers.explanation import Explanation, View, for_and_against
from xfv_demo.explainers.inputs import check_batch_size, gradient_threshold
from xfv_demo.models.base import GradientEmbedder
from xfv_demo.models.similarity import cosine_distance, similarity_terms
from xfv_demo.types import FloatArray

# The paper's networks take images in [-1, 1], the embedders here in [0, 1]; the gradients are given as
# theirs.
_IMAGE_PER_THEIR_IMAGE = 0.5

# SmoothGrad's authors advise 10 to 20 % of the image's range (Smilkov et al. 2017, arXiv 1706.03825, section
# 3).
NOISE_LEVEL = 0.1

# Where the strongest colour lies: gradients have spikes, beside which all the rest would be pale.
_SHOWN_PERCENTILE = 99.0


@register
class XssabExplainer(BatchExplainer):
    """xSSAB's gradient maps: fast, but of an embedder that can be differentiated.

    The cosine similarity is a sum over dimensions, and a pair is "same" where it is above a threshold T. So a
    dimension of D argues for "same" where its term is at least T / D, else for "different". The terms of
    either camp are summed, with the other photo's embedding and the camps as constants, and differentiated
    with respect to the photo. G+ and G-, the means over the colour channels of the absolute gradients, say
    where a change would move which camp; the map is G+ - G-, scaled as `Explanation` says. In `parts`,
    "positive" is G+ and "negative" G-, not scaled, both at least 0.

    Smoothing is not part of the published method and is off by default. The stream has a single step, or with
    noise one for each batch.

    Attributes:
        threshold: T.
        parameters: The settings, in plain values for reports.

    Args:
        embedder: Any object with the methods that `GradientEmbedder` describes.
        threshold: T, the threshold of equal error rate on the cosine similarity, in [-1, 1]; that is
            `1 - calibration.eer_threshold`. Where None, from the calibration for `embedder.name`.
        noise_samples: Where not 0, G+ and G- are means over this many copies of the photos with noise in them
            (SmoothGrad). The camps stay those of the photos as they are. Both photos get the same noise.
        noise_level: The noise's standard deviation, where the image's range is 1; noisy pixels are clipped to
            [0, 1].
        gaussian_sigma: Where not 0, G+ and G- are blurred by a Gaussian of this width, in pixels.
        batch_size: How many noisy images at most are differentiated at once, and so how much of the work lies
            between two steps of the stream. Does not change the maps.
        rng: Where the noise comes from; only needed for, and used by, `noise_samples`. An explainer gives the
            same pair the same noise each time.

    Raises:
        ValueError: A setting is out of its range; says which.
        CalibrationError: No threshold was given, and there is no calibration to take it from.
        ModelError: The embedder cannot be differentiated.
    """

    name: ClassVar[str] = "xssab"
    title: ClassVar[str] = "Gradient (xSSAB)"
    short_title: ClassVar[str] = "xSSAB"
    gist: ClassVar[str] = "pixels that would move the verdict"
    about: ClassVar[str] = (
        "asks which pixels would change the verdict if they changed a little. It is quick and fine-grained, "
        "and noisier."
    )
    duration: ClassVar[str] = "under a second"
    work_order: ClassVar[int] = 1
    needs_gradients: ClassVar[bool] = True
    takes_threshold: ClassVar[bool] = True

    def __init__(
        self,
        embedder: GradientEmbedder,
        threshold: float | None = None,
        *,
        noise_samples: int = 0,
        noise_level: float = NOISE_LEVEL,
        gaussian_sigma: float = 0.0,
        batch_size: int = 16,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.threshold = gradient_threshold(embedder, threshold, "xSSAB")
        for setting, value in (
            ("noise_samples", noise_samples),
            ("noise_level", noise_level),
        ):
            if not 0 <= value < np.inf:
                raise ValueError(f"{setting} must be at least 0, not {value}")
        check_sigma(gaussian_sigma)
        check_batch_size(batch_size)
        if noise_samples and rng is None:
            raise ValueError("noise_samples needs rng, a numpy.random.Generator")
        self._embedder = embedder
        self._noise_samples = noise_samples
        self._noise_level = noise_level
        self._noise_seed = int(rng.integers(2**63)) if noise_samples and rng is not None else None
        self._gaussian_sigma = gaussian_sigma
        self._batch_size = batch_size
        self.parameters: dict[str, Any] = {
            "threshold": self.threshold,
            "noise_samples": noise_samples,
            "noise_level": noise_level if noise_samples else 0.0,
            "gaussian_sigma": gaussian_sigma,
        }

    @classmethod
    def views(cls, explanations: Mapping[Any, Explanation]) -> tuple[View, ...]:
        """As `Explainer.views`: the combined map, what is in it for "same", and what against."""
        return for_and_against(explanations[cls.name], _SHOWN_PERCENTILE)

    def _steps(
        self, photos: FloatArray, embeddings: NDArray[np.float64] | None, mapped: int
    ) -> Iterator[BatchStep]:
        units = self._unit_embeddings(photos, embeddings).astype(np.float32)
        weights = self._weights(units)[:, :mapped]
        distances = cosine_distance(*units)
        sums, done = np.zeros((2, mapped, *photos.shape[1:4])), 0
        for samples in self._samples(photos[:mapped]):
            # Camp, sample, photo of the pair, pair, and then row and column or dimension.
            shape = (2, *samples.shape[:3])
            repeated = np.broadcast_to(weights[:, None], (*shape, weights.shape[-1]))
            gradients = self._gradients(
                samples.reshape(-1, *photos.shape[2:]), repeated.reshape(2, -1, weights.shape[-1])
            )
            sums += gradients.reshape(*shape, *photos.shape[2:4]).sum(axis=1)
            done += len(samples)
            positive, negative = blurred(sums / done, self._gaussian_sigma)
            yield BatchStep(
                positive - negative,
                distances,
                done / max(self._noise_samples, 1),
                parts={"positive": positive, "negative": negative},
            )

    def _weights(self, units: FloatArray) -> FloatArray:
        """(2, 2, B, D): for either camp, positive first, and each photo, what multiplies its embedding."""
        terms = similarity_terms(*units)
        similar = terms >= self.threshold / terms.shape[-1]
        other = units[::-1]
        return np.stack([np.where(similar, other, 0), np.where(similar, 0, other)])

    def _samples(self, photos: FloatArray) -> Iterator[FloatArray]:
        """Batches of (samples, *photos.shape): the photos as they are, or with noise in them."""
        if self._noise_seed is None:
            yield photos[None]
            return
        rng = np.random.default_rng(self._noise_seed)
        # All photos of a sample go together, and get the same noise.
        most = max(1, self._batch_size // (2 * photos.shape[1]))
        for start in range(0, self._noise_samples, most):
            count = min(most, self._noise_samples - start)
            noise = rng.standard_normal((count, 1, 1, *photos.shape[2:]), np.float32)
            yield np.clip(photos + np.float32(self._noise_level) * noise, 0, 1)

    def _gradients(self, images: FloatArray, weights: FloatArray) -> NDArray[np.float64]:
        """(2, N, 112, 112): for either camp, the mean over the channels of the absolute gradients."""
        gradients = self._embedder.embedding_gradients(images, weights)
        if not np.isfinite(gradients).all():
            raise ModelError("the embedder gives gradients that are not finite; xSSAB cannot explain it")
        return np.asarray(np.abs(gradients).mean(axis=-1, dtype=np.float64) * _IMAGE_PER_THEIR_IMAGE)
