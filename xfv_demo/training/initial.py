"""The weights that xCos's training begins with."""

import numpy as np
from numpy.typing import NDArray

from xfv_demo.errors import ModelError
from xfv_demo.models.savedmodel import SavedModelEmbedder
from xfv_demo.models.xcos_head import XcosHead
from xfv_demo.training.grid_cache import GridSet
from xfv_demo.training.settings import TrainingSettings
from xfv_demo.types import FloatArray


def initialise(
    head: XcosHead,
    embedder: SavedModelEmbedder,
    grids: GridSet,
    rows: NDArray[np.int64],
    settings: TrainingSettings,
) -> None:
    """Starts the projection from the embedder's own head, where it is affine."""
    if settings.initial == "random":
        return
    try:
        weights = embedder.affine_head.weights
    except ModelError:
        if settings.initial == "affine":
            raise
        return
    sample = np.random.default_rng([settings.seed, 4]).choice(rows, min(len(rows), 3000), replace=False)
    features = grids.grids[0, np.sort(sample)].astype(np.float64)
    kernel, bias = initial_projection(weights, features, settings.channels, by_cell=settings.by_cell)
    head.projection.kernel.assign(kernel)
    head.projection.bias.assign(bias)


def initial_projection(
    weights: FloatArray, features: NDArray[np.float64], channels: int, *, by_cell: bool
) -> tuple[FloatArray, FloatArray]:
    """The projection that keeps most of what an affine head makes of its cells.

    With H the sum of the head's matrices' squares W W' over the cells, and C the features' covariance, the
    directions kept are the main axes of C^1/2 H C^1/2: those along which cells move the embedding most.
    Features are centred, so that the first cosines are taken from the mean face.

    Args:
        weights: (h, w, C, D), of the affine head.
        features: (M, h, w, C) feature grids.
        channels: How many directions to keep, at most C.
        by_cell: Whether to find a projection for each cell, or one for all.

    Returns:
        (h * w or 1, C, channels) and (h * w or 1, channels), float32: kernel and bias. The projected features
        have mean 0 and, over all channels together, standard deviation 1.
    """
    depth = weights.shape[2]
    matrices = weights.reshape(-1, depth, weights.shape[3]).astype(np.float64)
    cells = features.reshape(len(features), -1, depth)
    if by_cell:
        parts = [_main_axes(matrices[[cell]], cells[:, cell], channels) for cell in range(len(matrices))]
    else:
        parts = [_main_axes(matrices, cells.reshape(-1, depth), channels)]
    kernels, biases = zip(*parts, strict=True)
    return np.stack(kernels).astype(np.float32), np.stack(biases).astype(np.float32)


def _main_axes(
    matrices: NDArray[np.float64], features: NDArray[np.float64], channels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Kernel and bias of `initial_projection` for the cells that share one."""
    mean = features.mean(axis=0)
    centred = features - mean
    values, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    # Channels that never move have no direction of their own.
    root = np.sqrt(np.maximum(values, 1e-9 * values.max()))
    moved = np.einsum("ca,pcd->pad", axes * root, matrices)
    strengths, directions = np.linalg.eigh(np.einsum("pad,pbd->ab", moved, moved))
    kept = directions[:, ::-1][:, :channels] * np.sqrt(np.maximum(strengths[::-1][:channels], 0))
    kernel = (axes / root) @ kept
    kernel /= (centred @ kernel).std()
    return kernel, -mean @ kernel
