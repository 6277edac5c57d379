"""A set's pairs with faces of many sizes: what a calibration by size is fitted to."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xfv_demo.batch.align import FaceChoice, Progress
from xfv_demo.batch.cache import EmbeddingStore
from xfv_demo.batch.embed import embed_images
from xfv_demo.calibration.face_sizes import SizedPairs
from xfv_demo.datasets.altered import AlteredImages, shrunk
from xfv_demo.datasets.pairs import PairSet
from xfv_demo.datasets.sources import ImageSource
from xfv_demo.faces.alignment import ALIGNED_EYE_DISTANCE
from xfv_demo.metrics.intervals import Doubles
from xfv_demo.metrics.pair_scores import PairScores
from xfv_demo.models.compiled import CompiledEmbedder
from xfv_demo.models.similarity import cosine_distance
from xfv_demo.types import FloatArray

# Sizes that a calibration covers, in pixels between the eyes: of LFW's faces MTCNN still finds 98 in 100 at
# the smallest. From the size of the model's own crop on, the model sees all that it can see.
SIZE_RANGE = (6.0, ALIGNED_EYE_DISTANCE)

# What copies are shrunk to, beside full size. The detector finds tiny eyes some tenths of a pixel too far
# apart, so that the last gives the smallest size and what is beside it.
_COPIED_SIZES = (20.0, 14.0, 9.0, 5.5)

# Of an even subset of so many pairs, for the copies to take half of the time of the images as they are: to
# find a face in one takes 0.4 of that in LFW's own, and 1,000 of its pairs have 1,900 of its 7,701 images.
COPIED_PAIRS = 1000


def measure_copies(
    pairs: PairSet,
    sizes: Doubles,
    embedder: CompiledEmbedder,
    store: EmbeddingStore,
    *,
    face: FaceChoice = "central",
    progress: Progress | None = None,
) -> SizedPairs:
    """Measures pairs again with each of their faces at each of several sizes.

    Args:
        pairs: The data set, of photos.
        sizes: (P, 2) float64, pixels between the eyes of each pair's faces; NaN where there is none.
        embedder: The model.
        store: Where results are kept.
        face: Which face of an image is its person's.
        progress: Called with the number of copies made and of all.

    Returns:
        The pairs of an even subset, each once for every two of the sizes, full size among them; without those
        of which a face was not found. Their folds are numbered as the set's are.
    """
    known = np.isfinite(sizes).all(axis=1)
    subset = pairs.where(known).subset(COPIED_PAIRS)
    size_of: dict[str, float] = {}
    for places, column in ((pairs.first, 0), (pairs.second, 1)):
        size_of.update(
            (pairs.images[place], float(size))
            for place, size in zip(places[known], sizes[known, column], strict=True)
        )
    total = len(subset.images) * (1 + len(_COPIED_SIZES))
    levels: list[tuple[FloatArray, Doubles]] = []
    for number, size in enumerate((np.inf, *_COPIED_SIZES)):

        def advance(done: int, _: int, before: int = number * len(subset.images)) -> None:
            if progress is not None:
                progress(before + done, total)

        made = embed_images(
            _shrunk_to(subset.source, subset.images, size_of, size),
            subset.images,
            embedder,
            store,
            face=face,
            progress=advance,
        )
        levels.append((made.unit_length(), made.sizes))
    return _all_combinations(subset, levels)


def _shrunk_to(
    source: ImageSource, keys: Sequence[str], size_of: Mapping[str, float], size: float
) -> ImageSource:
    """Copies in which faces are of one size; what has smaller ones stays as it is."""
    shares = {key: min(1.0, size / size_of[key]) for key in keys}
    if min(shares.values()) == 1:
        return source
    return AlteredImages(source, lambda key, photo: shrunk(photo, shares[key]) if shares[key] < 1 else photo)


def _all_combinations(pairs: PairSet, levels: Sequence[tuple[FloatArray, Doubles]]) -> SizedPairs:
    distances: list[Doubles] = []
    sizes: list[Doubles] = []
    rows: list[NDArray[np.intp]] = []
    for first_vectors, first_sizes in levels:
        for second_vectors, second_sizes in levels:
            apart = cosine_distance(first_vectors[pairs.first], second_vectors[pairs.second])
            (there,) = np.nonzero(np.isfinite(apart))
            distances.append(np.clip(apart[there].astype(np.float64), 0, 2))
            both = np.stack([first_sizes[pairs.first], second_sizes[pairs.second]], axis=1)
            sizes.append(both[there])
            rows.append(there)
    kept = np.concatenate(rows)
    scores = PairScores(np.concatenate(distances), pairs.genuine[kept], pairs.folds[kept])
    return SizedPairs(scores, np.concatenate(sizes), kept)
