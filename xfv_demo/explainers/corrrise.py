"""CorrRISE: hide random patches of a face and see which pixels' visibility goes with the similarity.

Lu, Xu and Ebrahimi, "Towards Visual Saliency Explanations of Face Verification" (WACV 2024, arXiv
2305.08546).

A map is a correlation over all masks, and a correlation is made of sums. These are all that is kept of the
masks that are done, so the memory does not grow with their number, and each step of the stream is the
correlation over the masks so far.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfv_demo.explainers.base import register
from xfv_demo.explainers.batching import BatchExplainer, BatchStep
from xfv_demo.explainers.explanation import Explanation, View, for_and_against, parts_by_sign
from xfv_demo.explainers.inputs import distinct_photos
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.models.base import Embedder
from xfv_demo.models.similarity import unit_embeddings
from xfv_demo.types import FloatArray

_Doubles = NDArray[np.float64]

MASKS = 500
PATCH_SIZE = 30

# Implementations in public have from 3 to 20. Measured with the bundled model on a genuine and an impostor
# pair of the example photos, 500 masks: 3 patches hide 30 % of the face, the genuine pair's similarity is
# 0.61 to 0.64 on average (0.78 with nothing hidden, threshold 0.36), and maps of two seeds correlate by 0.94
# to 0.96. 10 patches hide 70 %, the similarity falls to 0.22 to 0.35, as between strangers, and the maps
# correlate by 0.82 to 0.91.
PATCHES = 3

# What masks are drawn from where no generator is given, so that a pair gets the same map each time. Any
# number would do.
_SEED = 20240104

# Similarities of float32 embeddings are certain to about 1e-7. Where masks spread them by no more than this,
# the spread is rounding, and a correlation with it would make a map of it.
_ROUNDING = 1e-6


@register
class CorrRiseExplainer(BatchExplainer):
    """CorrRISE's correlation maps, of an embedder that need only embed.

    Each mask hides some square patches at random places, which may overlap. At each pixel of a photo, the map
    is Pearson's correlation over the masks between the pixel's visibility, 0 or 1, and the cosine similarity
    of the photo under the mask to the other photo as it is. So a map times its scale is a correlation, in
    [-1, 1]. It is 0 where a pixel is hidden by all masks or by none, and everywhere where the masks do not
    move the similarity. In `parts`, "positive" is the correlation where it is above 0, and "negative" what is
    below, as a positive number; neither is scaled.

    A correlation does not tell by how much a pixel moves the similarity, only how much of what moves it is
    the pixel's. What the masks do to either photo has a mean of its own, so maps have both signs, whatever
    the decision.

    Attributes:
        parameters: The settings, in plain values for reports.

    Args:
        embedder: Any object with an `embed` method as `Embedder` describes it.
        masks: How many, at least 2. Both photos get the same.
        patches: How many a mask hides.
        patch_size: Their side in pixels, from 1 to 111. They lie wholly within the photo.
        batch_size: How many masked images at most are embedded at once. Does not change the maps.
        step_size: How many masks are added from one step of the stream to the next; by default there are 16
            steps. Bounds the memory; does not change the final maps.
        rng: Where the masks come from; a fixed seed where None. An explainer gives the same pair the same
            masks each time.

    Raises:
        ValueError: A setting is out of its range; says which.
    """

    name: ClassVar[str] = "corrrise"
    title: ClassVar[str] = "Random masks (CorrRISE)"
    short_title: ClassVar[str] = "CorrRISE"
    gist: ClassVar[str] = "many patches hidden at random"
    about: ClassVar[str] = (
        "many patches are hidden at random; what goes with a high similarity when it can be seen speaks for."
    )
    duration: ClassVar[str] = "some seconds"
    work_order: ClassVar[int] = 5
    slow: ClassVar[bool] = True

    def __init__(
        self,
        embedder: Embedder,
        *,
        masks: int = MASKS,
        patches: int = PATCHES,
        patch_size: int = PATCH_SIZE,
        batch_size: int = 64,
        step_size: int = 32,
        rng: np.random.Generator | None = None,
    ) -> None:
        if masks < 2:
            raise ValueError(f"masks must be at least 2, as one has no correlation, not {masks}")
        if not 1 <= patch_size < ALIGNED_SIZE:
            raise ValueError(f"patch_size must be from 1 to {ALIGNED_SIZE - 1}, not {patch_size}")
        for setting, value in (("patches", patches), ("batch_size", batch_size), ("step_size", step_size)):
            if value < 1:
                raise ValueError(f"{setting} must be at least 1, not {value}")
        seed = _SEED if rng is None else int(rng.integers(2**63))
        self._embedder = embedder
        self._patch_size = int(patch_size)
        # (masks, patches, 2): each patch's top row and left column.
        self._corners = np.random.default_rng(seed).integers(
            0, ALIGNED_SIZE - patch_size + 1, (masks, patches, 2)
        )
        self._batch_size = batch_size
        self._step_size = step_size
        self.parameters: dict[str, Any] = {
            "masks": int(masks),
            "patches": int(patches),
            "patch_size": int(patch_size),
            "seed": seed,
        }

    @classmethod
    def views(cls, explanations: Mapping[Any, Explanation]) -> tuple[View, ...]:
        """As `Explainer.views`: the map, what of it is for "same", and what against."""
        return for_and_against(explanations[cls.name])

    def _steps(self, photos: FloatArray, embeddings: _Doubles | None, mapped: int) -> Iterator[BatchStep]:
        units = self._unit_embeddings(photos, embeddings)
        similarities = np.einsum("bd,bd->b", *units)
        # A photo under the masks serves all pairs that it is in.
        distinct, places = distinct_photos(photos[:mapped])
        sums, total = _Sums(places.shape), len(self._corners)
        for start in range(0, total, self._step_size):
            done = min(start + self._step_size, total)
            masks = self._masks(start, done)
            masked = self._masked_embeddings(distinct, masks)[places]
            sums.add(masks, np.einsum("sbnd,sbd->sbn", masked, units[::-1][:mapped]) - similarities[:, None])
            correlations = sums.correlations()
            yield BatchStep(correlations, 1 - similarities, done / total, parts=parts_by_sign(correlations))

    def _masks(self, start: int, stop: int) -> NDArray[np.bool_]:
        """(N, 112, 112): what the masks from `start` to before `stop` leave visible."""
        masks = np.ones((stop - start, ALIGNED_SIZE, ALIGNED_SIZE), np.bool_)
        for mask, corners in zip(masks, self._corners[start:stop], strict=True):
            for top, left in corners:
                mask[top : top + self._patch_size, left : left + self._patch_size] = False
        return masks

    def _masked_embeddings(self, photos: FloatArray, masks: NDArray[np.bool_]) -> _Doubles:
        """(N, K, D): N photos under K masks, embedded in full batches whosever they are."""
        # An embedding of length 0 has no direction; as 0, it is orthogonal to all others.
        embeddings = []
        for start in range(0, len(photos) * len(masks), self._batch_size):
            numbers = np.arange(start, min(start + self._batch_size, len(photos) * len(masks)))
            photo, mask = np.divmod(numbers, len(masks))
            images = photos[photo] * masks[mask][..., None]
            embeddings.append(unit_embeddings(self._embedder.embed(images), len(images)))
        return np.concatenate(embeddings).reshape(len(photos), len(masks), -1)


class _Sums:
    """What is kept of the masks that are done: sums over them, from which the correlations follow.

    The changes of similarity are small numbers, so little is lost when the mean is taken off the sums.

    Args:
        photos: The shape in which the photos come.
    """

    def __init__(self, photos: tuple[int, ...]) -> None:
        self._count = 0
        # How many masks leave a pixel visible. As a mask is 0 or 1, this is the sum of its squares too.
        self._visible = np.zeros((ALIGNED_SIZE, ALIGNED_SIZE))
        self._changes = np.zeros((*photos, 1, 1))
        self._squares = np.zeros((*photos, 1, 1))
        self._products = np.zeros((*photos, ALIGNED_SIZE, ALIGNED_SIZE))

    def add(self, masks: NDArray[np.bool_], changes: _Doubles) -> None:
        """Adds (N, 112, 112) masks and the changes of similarity under them, (*photos, N)."""
        self._count += len(masks)
        self._visible += masks.sum(axis=0)
        self._changes += changes.sum(axis=-1)[..., None, None]
        self._squares += (changes**2).sum(axis=-1)[..., None, None]
        self._products += np.tensordot(changes, masks.astype(np.float64), axes=1)

    def correlations(self) -> _Doubles:
        """(*photos, 112, 112): the correlations over the masks so far; 0 where there is none."""
        # All of these are times the count's square.
        covariance = self._count * self._products - self._visible * self._changes
        mask_variance = self._count * self._visible - self._visible**2
        variance = self._count * self._squares - self._changes**2
        variance[variance < (self._count * _ROUNDING) ** 2] = 0
        spread = np.sqrt(mask_variance * variance)
        correlations = np.zeros_like(covariance)
        np.divide(covariance, spread, out=correlations, where=spread > 0)
        # Rounding can carry a perfect correlation beyond 1.
        return np.clip(correlations, -1, 1)
