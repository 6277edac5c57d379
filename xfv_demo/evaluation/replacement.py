"""Decision-based patch replacement: whether a map finds what misleads the model (pure).

Huber, Luu, Terhorst and Damer, "Efficient Explainable Face Verification based on Similarity Score Argument
Backpropagation" (WACV 2024, arXiv 2304.13409). Where a patched pair is rejected, the original's pixels are
put back where the first image's map is lowest, as they speak for "different"; where it is accepted, where it
is highest. The errors that the patches made fall early where the map is right.

The area under a curve is the mean of its 20 rates: rectangles of 5 %, so that a rate of 1 throughout has the
area 1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.evaluation.metrics import Booleans, Doubles, auc, is_same_by_similarity
from xfv_demo.evaluation.pixel_curves import exchanged, pixel_order
from xfv_demo.types import FloatArray

# 0, 5, ..., 95 % of the pixels.
SHARES: Doubles = np.arange(20) / 20


@dataclass(frozen=True, eq=False)
class ErrorCurves:
    """Error rates while pixels are put back.

    Attributes:
        shares: (S,) of the pixels.
        fmr: (S,) share of the impostor pairs that are accepted.
        fnmr: (S,) share of the genuine pairs that are rejected.
    """

    shares: Doubles
    fmr: Doubles
    fnmr: Doubles

    @property
    def fmr_area(self) -> float:
        """Area under the FMR curve."""
        return float(self.fmr.mean())

    @property
    def fnmr_area(self) -> float:
        """Area under the FNMR curve."""
        return float(self.fnmr.mean())


def replacement_variants(
    patched: FloatArray,
    original: FloatArray,
    saliency: ArrayLike,
    *,
    accepted: bool,
    rng: np.random.Generator,
) -> FloatArray:
    """A patched face with growing shares of the original put back.

    Args:
        patched: (112, 112, 3), with the patches.
        original: (112, 112, 3), without.
        saliency: (112, 112), the patched face's map: positive speaks for "same".
        accepted: Whether the patched pair is taken for one person.
        rng: Breaks ties in the map.

    Returns:
        (S, 112, 112, 3) for `SHARES`; the first is the patched face itself.
    """
    return exchanged(patched, original, pixel_order(saliency, highest_first=accepted, rng=rng), SHARES)


def localisation_auc(saliency: ArrayLike, mask: Booleans, *, genuine: bool) -> float:
    """How well a map tells what was put in from what was there.

    Not of the paper. There, a map wins by beginning with whatever counts most in any face; here, it must know
    which pixels are the donor's.

    Args:
        saliency: (112, 112), the patched face's map: positive speaks for "same".
        mask: (112, 112) bool, the patches' pixels.
        genuine: Whether the pair shows one person. Then patches should speak against, else for "same".

    Returns:
        The chance that a pixel of the patches, drawn at random, speaks more as it should than another one:
        1 where the map finds them all, 0.5 where it knows nothing of them; ties count half.
    """
    values = np.asarray(saliency, np.float64).ravel()
    return auc(values if genuine else -values, mask.ravel())


def pair_errors(similarities: ArrayLike, genuine: Booleans, similarity_threshold: float) -> Booleans:
    """Which decisions are wrong.

    Args:
        similarities: (P, S) cosine similarities of pairs, as pixels are put back.
        genuine: (P,) bool.
        similarity_threshold: T; see `metrics.is_same_by_similarity`.

    Returns:
        (P, S) bool.
    """
    return np.asarray(
        is_same_by_similarity(np.asarray(similarities), similarity_threshold) != genuine[:, None]
    )


def error_curves(similarities: ArrayLike, genuine: Booleans, similarity_threshold: float) -> ErrorCurves:
    """FMR and FNMR as pixels are put back, at an unchanged threshold.

    Args:
        similarities: As for `pair_errors`; S is that of `SHARES`.
        genuine: (P,) bool; both kinds are there.
        similarity_threshold: As for `pair_errors`.

    Returns:
        The curves.
    """
    errors = pair_errors(similarities, genuine, similarity_threshold)
    return ErrorCurves(SHARES, errors[~genuine].mean(axis=0), errors[genuine].mean(axis=0))


def replacement_areas(similarities: ArrayLike, genuine: Booleans, similarity_threshold: float) -> Doubles:
    """Each pair's own area: the mean over the impostor pairs is the FMR curve's, over the genuine FNMR's.

    Args:
        similarities: As for `error_curves`.
        genuine: As for `pair_errors`.
        similarity_threshold: As for `pair_errors`.

    Returns:
        (P,) in [0, 1]; 1 where the decision is wrong all along.
    """
    return np.asarray(pair_errors(similarities, genuine, similarity_threshold).mean(axis=1))
