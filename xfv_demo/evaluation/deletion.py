"""Deletion and insertion: how a decision falls and rises with what a map says it rests on (pure).

After Lu, Xu and Ebrahimi, "Towards Visual Saliency Explanations of Face Verification" (WACV 2024, arXiv
2305.08546), who count the verification accuracy of a whole set while pixels are deleted or inserted in the
order of a map. Here the pixels are the first image's, gone is black, and the order is that of the decision:
where a pair is accepted, what speaks most for "same" comes first; where it is rejected, what speaks most
against. The threshold stays.

Both kinds of pairs tell. A genuine pair is rejected once what speaks for it is gone; an impostor pair may be
accepted once what speaks against it is, so that accuracy falls below one half, until nothing of the face is
left.
"""

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.evaluation.metrics import Booleans, Doubles
from xfv_demo.evaluation.pixel_curves import areas_under, exchanged, pixel_order
from xfv_demo.evaluation.replacement import pair_errors
from xfv_demo.types import FloatArray

# 0, 5, ..., 100 % of the pixels.
SHARES: Doubles = np.arange(21) / 20


def deletion_variants(
    face: FloatArray, saliency: ArrayLike, *, accepted: bool, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """A face with growing shares of its pixels gone, and a black image with growing shares of them.

    Args:
        face: (112, 112, 3).
        saliency: (112, 112), the face's map: positive speaks for "same".
        accepted: Whether the pair is taken for one person.
        rng: Breaks ties in the map.

    Returns:
        Twice (S, 112, 112, 3) for `SHARES`: deletion, from the face to black; insertion, from black to it.
    """
    order = pixel_order(saliency, highest_first=accepted, rng=rng)
    black = np.zeros_like(face)
    return exchanged(face, black, order, SHARES), exchanged(black, face, order, SHARES)


def accuracy_curve(similarities: ArrayLike, genuine: Booleans, similarity_threshold: float) -> Doubles:
    """Verification accuracy as pixels go or come; both kinds of pairs weigh alike.

    Args:
        similarities: (P, S) cosine similarities for `SHARES`.
        genuine: (P,) bool; both kinds are there.
        similarity_threshold: T; see `metrics.is_same_by_similarity`.

    Returns:
        (S,) in [0, 1].
    """
    right = ~pair_errors(similarities, genuine, similarity_threshold)
    return np.asarray((right[genuine].mean(axis=0) + right[~genuine].mean(axis=0)) / 2)


def accuracy_areas(similarities: ArrayLike, genuine: Booleans, similarity_threshold: float) -> Doubles:
    """Each pair's own area under its being decided rightly.

    Args:
        similarities: As for `accuracy_curve`.
        genuine: As for `accuracy_curve`.
        similarity_threshold: As for `accuracy_curve`.

    Returns:
        (P,) in [0, 1].
    """
    return areas_under(~pair_errors(similarities, genuine, similarity_threshold), SHARES)
