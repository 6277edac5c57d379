"""Occlusion's masks: where patches lie, in which order, and how the changes that they make become a map."""

from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from xfv_demo.faces.alignment import ALIGNED_SIZE

if TYPE_CHECKING:
    from scipy import sparse

Shape = Literal["square", "circle"]
Geometry = Literal["published", "covered"]

_Doubles = NDArray[np.float64]
_Integers = NDArray[np.int64]

# x-Face's, from its authors' code.
_BLUR_KERNEL = (5, 5)
_BLUR_SIGMA = 5.0

# In mean distances between the masks that are done. Measured on pairs of the example photos with the bundled
# model: 0.4 to 0.6 are as good as each other, 1 costs 0.02 to 0.06 of correlation in the early steps.
_INTERPOLATION_WIDTH = 0.45

# The masks that are done first lie 4 grid positions apart, or a multiple; from here on they are centred.
_ORDER_OFFSET = 2


class OcclusionMasks:
    """Where the patches lie, in which order they are taken, and how changes of distance become a map.

    The order is coarse to fine: within a patch size that of a Bayer matrix, of which every beginning is
    spread evenly; the sizes take turns in proportion to their side, as a large patch tells more about the
    map than a small one.

    Args:
        patch_sizes: p, in pixels.
        stride: Between neighbouring patches, in pixels.
        shape: What a patch looks like.
        geometry: "published" or "covered"; see `OcclusionExplainer`.
    """

    def __init__(self, patch_sizes: tuple[int, ...], stride: int, shape: Shape, geometry: Geometry) -> None:
        self.key = (patch_sizes, stride, shape, geometry)
        # x-Face's patches include both ends.
        sides = [size + 1 if geometry == "published" else size for size in patch_sizes]
        self._patches = [_patch(side, shape) for side in sides]
        corners = [_corners(size, stride, geometry) for size in patch_sizes]
        self._grids = [len(starts) for starts in corners]
        ranks = [_bayer_ranks(grid) for grid in self._grids]
        turns = np.concatenate([(rank + 0.5) / size for rank, size in zip(ranks, patch_sizes, strict=True)])
        order = np.argsort(turns, kind="stable")
        self.size_index: _Integers = np.repeat(range(len(ranks)), [rank.size for rank in ranks])[order]
        # Of each mask, its place in the grid of its size, row by row.
        self._places = np.concatenate([np.arange(rank.size) for rank in ranks])[order]
        tops_lefts = np.concatenate(
            [
                np.stack(np.meshgrid(starts, starts, indexing="ij"), axis=-1).reshape(-1, 2)
                for starts in corners
            ]
        )
        self._corners: _Integers = tops_lefts[order]
        self._to_map = self._weights(patch_sizes, geometry)

    def __len__(self) -> int:
        """How many masks there are."""
        return len(self.size_index)

    def patch(self, mask: int) -> tuple[slice, slice, NDArray[np.bool_]]:
        """The rows and columns that a patch lies in, and which of their pixels it hides."""
        hidden = self._patches[self.size_index[mask]]
        top, left = self._corners[mask]
        return slice(top, top + len(hidden)), slice(left, left + len(hidden)), hidden

    def maps(self, changes: _Doubles) -> _Doubles:
        """Turns the changes of distance under the first masks into maps.

        Changes under masks still to come are interpolated between those of the same patch size, so that no
        part of the face weighs less only because it comes later.

        Args:
            changes: (k, C): of C comparisons, the changes of the cosine distance under the first k masks.

        Returns:
            (C, 112, 112): sums over the masks, weighted as the geometry says, and blurred.
        """
        if len(changes) < len(self):
            changes = self._interpolated(changes)
        maps = (self._to_map @ changes).reshape(ALIGNED_SIZE, ALIGNED_SIZE, -1)
        # A blur of the mean is the mean of the blurred: once for all patch sizes.
        return np.stack(
            [cv2.GaussianBlur(maps[..., c], _BLUR_KERNEL, _BLUR_SIGMA) for c in range(maps.shape[-1])]
        )

    def _interpolated(self, changes: _Doubles) -> _Doubles:
        """Fills in the changes under the masks still to come: a Gaussian-weighted mean of those known."""
        done = len(changes)
        filled = np.zeros((len(self), changes.shape[1]))
        filled[:done] = changes
        for size, grid in enumerate(self._grids):
            masks = np.flatnonzero(self.size_index == size)
            known, unknown = masks[masks < done], masks[masks >= done]
            if not known.size or not unknown.size:
                continue
            # The last channel counts what is known, and so gives the sum of the weights.
            values = np.zeros((grid * grid, changes.shape[1] + 1))
            values[self._places[known], :-1] = changes[known]
            values[self._places[known], -1] = 1
            distance = np.arange(grid) - np.arange(grid)[:, None]
            sigma = _INTERPOLATION_WIDTH * grid / np.sqrt(known.size)
            kernel = np.exp(-0.5 * (distance / sigma) ** 2)
            sums = np.einsum(
                "ij,jkc,kl->ilc", kernel, values.reshape(grid, grid, -1), kernel, optimize=True
            ).reshape(values.shape)[self._places[unknown]]
            filled[unknown] = sums[:, :-1] / sums[:, -1:]
        return filled

    def _weights(self, patch_sizes: tuple[int, ...], geometry: Geometry) -> "sparse.csr_array":
        """(112 * 112, masks): what a change of distance under a mask adds to each pixel of the map."""
        # It takes a tenth of a second to import, and all explainers are imported to be listed.
        from scipy import sparse

        columns, pixels, weights = [], [], []
        for size, p in enumerate(patch_sizes):
            masks = np.flatnonzero(self.size_index == size)
            hidden = np.argwhere(self._patches[size])
            places = self._corners[masks][:, None] + hidden
            flat = places[..., 0] * ALIGNED_SIZE + places[..., 1]
            if geometry == "published":
                weight = np.full(flat.shape, 1 / (masks.size * p**2))
            else:
                coverage = np.bincount(flat.ravel(), minlength=ALIGNED_SIZE**2)
                weight = 1 / (coverage[flat] * len(hidden))
            columns.append(np.repeat(masks, len(hidden)))
            pixels.append(flat.ravel())
            weights.append(weight.ravel() / len(patch_sizes))
        places_in_matrix = (np.concatenate(pixels), np.concatenate(columns))
        return sparse.coo_array(
            (np.concatenate(weights), places_in_matrix), shape=(ALIGNED_SIZE**2, len(self))
        ).tocsr()


def _patch(side: int, shape: Shape) -> NDArray[np.bool_]:
    """Which pixels of a square of this side a patch hides: all, or those of the inscribed disc."""
    if shape == "square":
        return np.ones((side, side), np.bool_)
    from_centre = np.arange(side) - (side - 1) / 2
    return np.asarray(from_centre[:, None] ** 2 + from_centre**2 <= (side / 2) ** 2)


def _corners(size: int, stride: int, geometry: Geometry) -> _Integers:
    """Where patches of a size start, along either axis."""
    starts = np.arange(0, ALIGNED_SIZE - size, stride)
    if geometry == "covered":
        starts = np.append(starts, ALIGNED_SIZE - size)
    return starts


def _bayer_ranks(grid: int) -> _Integers:
    """Each place's turn in a (grid, grid) field, row by row; those of any beginning lie far apart."""
    matrix = np.zeros((1, 1), np.int64)
    while len(matrix) < grid + _ORDER_OFFSET:
        matrix = np.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    turns = np.roll(matrix, _ORDER_OFFSET, axis=(0, 1))[:grid, :grid].ravel()
    # Cut to the field, the matrix has gaps between its turns.
    return np.argsort(np.argsort(turns))
