"""x-Face's maps by the published procedure, which all times are compared with."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from xfv_demo.explainers.occlusion import COMPARISONS, PATCH_SIZES, STRIDE
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.types import FloatArray

PUBLISHED_BATCH = 64


def published_maps(
    embed: Callable[[FloatArray], FloatArray], probe: FloatArray, reference: FloatArray
) -> Iterator[tuple[str, FloatArray]]:
    """x-Face's maps as published: each method by a pass of its own, embeddings in batches of 64.

    Knoche et al., WACV Workshops 2023, arXiv 2211.13735, section 3.2.

    Args:
        embed: Gives (N, D) embeddings of (N, 112, 112, 3) images; of any length.
        probe: (112, 112, 3) float32, RGB, in [0, 1].
        reference: The same of the other photo.

    Yields:
        For "all", "reference" and "paired", the maps of both photos, (2, 112, 112) float32 in [-1, 1].
    """
    for comparison in COMPARISONS:
        maps = np.zeros((2, ALIGNED_SIZE, ALIGNED_SIZE))
        plain = _embed_in_batches(embed, [probe, reference])
        distance = 1 - plain[0] @ plain[1]
        for size in PATCH_SIZES:
            starts = range(0, ALIGNED_SIZE - size, STRIDE)
            patches = [(slice(y, y + size + 1), slice(x, x + size + 1)) for x in starts for y in starts]
            occluded = [
                _embed_in_batches(embed, [_hide(photo, patch) for patch in patches])
                for photo in (probe, reference)
            ]
            for side in (0, 1):
                own, other = occluded[side], occluded[1 - side]
                if comparison == "all":
                    distances = 1 - (own @ other.T).mean(axis=1)
                elif comparison == "reference":
                    distances = 1 - own @ plain[1 - side]
                else:
                    distances = 1 - (own * other).sum(axis=1)
                of_size = np.zeros((ALIGNED_SIZE, ALIGNED_SIZE))
                for patch, deviation in zip(patches, (distances - distance) / size**2, strict=True):
                    of_size[patch] += deviation / len(patches)
                maps[side] += cv2.GaussianBlur(of_size, (5, 5), 5) / len(PATCH_SIZES)
        largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
        yield comparison, (maps / np.where(largest == 0, 1, largest)).astype(np.float32)


def _hide(photo: FloatArray, patch: tuple[slice, slice]) -> FloatArray:
    hidden = photo.copy()
    hidden[patch] = 0
    return hidden


def _embed_in_batches(embed: Callable[[FloatArray], FloatArray], images: Sequence[FloatArray]) -> Any:
    parts = [
        embed(np.stack(images[start : start + PUBLISHED_BATCH]))
        for start in range(0, len(images), PUBLISHED_BATCH)
    ]
    embeddings = np.concatenate(parts).astype(np.float64)
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
