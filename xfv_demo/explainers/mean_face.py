"""Tile occlusion with the mean face: what does a face lose where it becomes anyone's?

The face is cut into tiles without overlap, and each in turn is replaced by the same place of the mean face:
49 passes for a photo, where x-Face's occlusion takes 1,130.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfv_demo.explainers.base import register
from xfv_demo.explainers.batching import BatchExplainer, BatchStep, blurred, check_sigma
from xfv_demo.explainers.explanation import Explanation, View
from xfv_demo.explainers.inputs import check_batch_size, checked_filling, distinct_photos
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.models.base import Embedder
from xfv_demo.models.incremental import Box
from xfv_demo.models.similarity import unit_embeddings
from xfv_demo.types import FloatArray

TILE_SIZE = 16

# Distances of float32 embeddings are certain to about 1e-7: smaller losses are rounding, and no evidence.
_ROUNDING = 1e-6

_Doubles = NDArray[np.float64]
_Integers = NDArray[np.int64]


@register
class MeanFaceExplainer(BatchExplainer):
    """Each tile of a face in turn replaced by the mean face's, and what that takes from the similarity.

    With s0 the cosine similarity of the photos as they are, and s that with the tile of one photo replaced,
    the map is s0 - s all over the tile: positive where the tile's own look makes the faces more alike than
    anyone's would. The other photo stays as it is.

    Never is the other photo taken as the filling: what it has in common with this one would then be found for
    being equal, and not for what the model makes of it.

    The stream goes from coarse to fine: every fourth tile first, then every second, then all; until a tile
    has been tried, it has the value of the nearest that was.

    Attributes:
        parameters: The settings, in plain values for reports.

    Args:
        embedder: Any object with an `embed` method as `Embedder` describes it. One that also has `patched`,
            as `PatchEmbedder` describes it, is faster.
        tile_size: In pixels; a divisor of 112.
        gaussian_sigma: Where not 0, the map is blurred by a Gaussian of this width, in pixels.
        filling: (112, 112, 3) float32, RGB, in [0, 1]: what tiles are replaced by; the mean face where None.
        batch_size: How many images at most are embedded at once. Bounds the memory; does not change the maps.

    Raises:
        ValueError: A setting is out of its range; says which.
    """

    name: ClassVar[str] = "mean-face"
    title: ClassVar[str] = "Mean face"
    short_title: ClassVar[str] = "Mean face"
    gist: ClassVar[str] = "makes one tile after another anyone's"
    about: ClassVar[str] = (
        "replaces a tile of a face by the mean face's, and looks how far the two faces move apart. Where "
        "they do, what was there speaks for the same person. It asks the model alone."
    )
    duration: ClassVar[str] = "under a second"
    work_order: ClassVar[int] = 0

    def __init__(
        self,
        embedder: Embedder,
        *,
        tile_size: int = TILE_SIZE,
        gaussian_sigma: float = 0.0,
        filling: FloatArray | None = None,
        batch_size: int = 32,
    ) -> None:
        if not 1 <= tile_size <= ALIGNED_SIZE or ALIGNED_SIZE % tile_size:
            raise ValueError(f"tile_size must divide {ALIGNED_SIZE}, not {tile_size}")
        check_sigma(gaussian_sigma)
        check_batch_size(batch_size)
        self._embedder = embedder
        self._tile_size = tile_size
        self._gaussian_sigma = gaussian_sigma
        self._filling = checked_filling(filling)
        self._batch_size = batch_size
        self.parameters: dict[str, Any] = {"tile_size": tile_size, "gaussian_sigma": gaussian_sigma}

    @classmethod
    def views(cls, explanations: Mapping[Any, Explanation]) -> tuple[View, ...]:
        """As `Explainer.views`: the map."""
        return (View(cls.name, "tile by tile", explanations[cls.name].unscaled),)

    def _steps(self, photos: FloatArray, embeddings: _Doubles | None, mapped: int) -> Iterator[BatchStep]:
        units = self._unit_embeddings(photos, embeddings).astype(np.float64)
        similarities = np.einsum("bd,bd->b", *units)
        distinct, places = distinct_photos(photos[:mapped])
        tiled = [_Tiles(self._embedder, photo, self._filling, self._tile_size) for photo in distinct]
        side = ALIGNED_SIZE // self._tile_size
        losses = np.zeros((*places.shape, side * side))
        known: list[int] = []
        for tiles in _coarse_to_fine(side):
            hidden = np.stack([self._embed(photo, tiles) for photo in tiled])[places]
            losses[..., tiles] = similarities[:, None] - np.einsum(
                "sbtd,sbd->sbt", hidden, units[::-1][:mapped]
            )
            losses[np.abs(losses) < _ROUNDING] = 0
            known.extend(tiles)
            filled = losses[..., _nearest(side, tuple(known))].reshape(*places.shape, side, side)
            maps = filled.repeat(self._tile_size, axis=-2).repeat(self._tile_size, axis=-1)
            yield BatchStep(blurred(maps, self._gaussian_sigma), 1 - similarities, len(known) / side**2)

    def _embed(self, photo: "_Tiles", tiles: Sequence[int]) -> _Doubles:
        """(T, D): what the photo's embedding becomes with each of T tiles replaced, of length 1."""
        batches = [
            tiles[start : start + self._batch_size] for start in range(0, len(tiles), self._batch_size)
        ]
        return np.concatenate([unit_embeddings(photo.embed(some), len(some)) for some in batches])


class _Tiles:
    """A photo whose tiles can be replaced one at a time; they are counted row by row."""

    def __init__(self, embedder: Any, photo: FloatArray, filling: FloatArray, size: int) -> None:
        self._photo, self._filling, self._size = photo, filling, size
        self._embed: Callable[[FloatArray, Sequence[Box]], FloatArray] = (
            embedder.patched(photo)
            if hasattr(embedder, "patched")
            else lambda images, _boxes: embedder.embed(images)
        )

    def embed(self, tiles: Sequence[int]) -> FloatArray:
        """The raw embeddings with each of these tiles replaced."""
        images, boxes = np.repeat(self._photo[None], len(tiles), axis=0), []
        for image, tile in zip(images, tiles, strict=True):
            top, left = (self._size * place for place in divmod(tile, ALIGNED_SIZE // self._size))
            box = Box(top, left, top + self._size, left + self._size)
            hidden = np.s_[box.top : box.bottom, box.left : box.right]
            image[hidden] = self._filling[hidden]
            boxes.append(box)
        return self._embed(images, boxes)


@functools.cache
def _coarse_to_fine(side: int) -> tuple[list[int], ...]:
    """The tiles of a square of so many rows in the order in which they are tried: 9, 16 and 24 of 49."""
    rows, columns = np.indices((side, side)).reshape(2, -1)
    level = np.where(rows % 2 & columns % 2, 0, np.where((rows + columns) % 2 == 0, 1, 2))
    groups = (np.flatnonzero(level == number).tolist() for number in range(3))
    return tuple(group for group in groups if group)


@functools.lru_cache(maxsize=16)
def _nearest(side: int, known: tuple[int, ...]) -> _Integers:
    """(side * side,): for each tile the nearest of those that are known, itself where it is."""
    places = np.indices((side, side)).reshape(2, -1).T
    chosen = np.array(known)
    apart = np.linalg.norm(places[:, None] - places[chosen], axis=-1)
    return np.asarray(chosen[apart.argmin(axis=1)])
