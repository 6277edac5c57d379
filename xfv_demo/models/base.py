"""What the rest of the package asks of a model."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.models.feature_grid import AffineHead
from xfv_demo.models.incremental import Box
from xfv_demo.runtime.processes import check_process
from xfv_demo.types import FloatArray

INPUT_SHAPE = (ALIGNED_SIZE, ALIGNED_SIZE, 3)


class Embedder(Protocol):
    """Anything that turns aligned faces into embeddings. All that black-box explainers need."""

    def embed(self, images: FloatArray) -> FloatArray:
        """Embeds aligned faces.

        Args:
            images: (N, 112, 112, 3) float32, RGB, in [0, 1].

        Returns:
            (N, D) float32, each row of length 1.
        """
        ...


class GradientEmbedder(Embedder, Protocol):
    """An embedder that can be differentiated. What gradient explainers need."""

    def embedding_gradients(self, images: FloatArray, weights: FloatArray) -> FloatArray:
        """Gradients of weighted sums of the unit-length embedding with respect to the image.

        Args:
            images: (N, 112, 112, 3) float32, RGB, in [0, 1].
            weights: (K, N, D) float32: K weightings of each image's embedding.

        Returns:
            (K, N, 112, 112, 3) float32: d(sum_d weights[k, n, d] ê_d(x)) / dx at x = images[n].
        """
        ...


class PatchEmbedder(Embedder, Protocol):
    """An embedder that is faster for many variants of one photo. What occlusion explainers are glad of."""

    def patched(self, photo: FloatArray) -> Callable[[FloatArray, Sequence[Box]], FloatArray]:
        """Makes ready to embed variants of a photo, each of which differs from it in a small box.

        Args:
            photo: (112, 112, 3) float32, RGB, in [0, 1].

        Returns:
            A function of (N, 112, 112, 3) variants and their N boxes, outside of which they equal the photo,
            that returns what `embed` does for the variants.
        """
        ...


class GridEmbedder(Embedder, Protocol):
    """An embedder that shows its last feature grid. What grid explainers need."""

    @property
    def grid_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the last feature grid."""
        ...

    def feature_grid(self, images: FloatArray) -> FloatArray:
        """The last activations that still have a place in the image.

        Args:
            images: (N, 112, 112, 3) float32, RGB, in [0, 1].

        Returns:
            (N, height, width, channels) float32, as `grid_shape` says.
        """
        ...


class AffineGridEmbedder(GridEmbedder, Protocol):
    """A grid embedder that may be affine after its last grid. What the grid decomposition needs."""

    @property
    def affine_head(self) -> AffineHead:
        """What turns the feature grid into the embedding, before it is normalised.

        Raises:
            ModelError: What follows the grid is not affine.
        """
        ...


def checked_images(images: ArrayLike) -> FloatArray:
    """What a network is to be run with, if it may be run in this process."""
    check_process()
    array = np.asarray(images, dtype=np.float32)
    if array.ndim != 4 or array.shape[1:] != INPUT_SHAPE:
        raise ValueError(f"aligned faces must be (N, 112, 112, 3), not {array.shape}")
    # `not (a and b)` rather than `a or b`, so that NaN fails too.
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(f"aligned faces must lie in [0, 1], not [{array.min():.3g}, {array.max():.3g}]")
    return array


class KnownEmbedder(Embedder, Protocol):
    """An embedder whose embeddings can be kept."""

    @property
    def dimensions(self) -> int:
        """The embedding's length."""
        ...

    @property
    def fingerprint(self) -> str:
        """What embeddings depend on beside the images."""
        ...


class FingerprintedEmbedder(Embedder, Protocol):
    """An embedder whose results can be kept."""

    @property
    def fingerprint(self) -> str:
        """What embeddings depend on beside the images."""
        ...
