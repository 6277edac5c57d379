"""What becomes of decisions while pixels are exchanged in the order of a map (pure).

Patch replacement, deletion and insertion are the same but for what is exchanged for what, in which order, and
what is counted. An area under a curve of rates is the mean of the pairs' own areas, which makes intervals and
paired differences a matter of resampling pairs.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfv_demo.metrics.decision import is_same_by_similarity
from xfv_demo.metrics.error_rates import auc
from xfv_demo.metrics.intervals import Booleans, Doubles, Integers, Interval
from xfv_demo.types import FloatArray

# 0, 5, ..., 100 % of the pixels.
DELETION_SHARES: Doubles = np.arange(21) / 20


# 0, 5, ..., 95 % of the pixels.
REPLACEMENT_SHARES: Doubles = np.arange(20) / 20


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


_RESAMPLES = 2000
_LEVEL = 0.95


@dataclass(frozen=True)
class Area:
    """An area under a curve, with its uncertainty.

    Attributes:
        value: The area.
        interval: 95 % bootstrap interval over the pairs.
    """

    value: float
    interval: Interval


@dataclass(frozen=True, eq=False)
class ResampledMeans:
    """Means over pairs, and what they might have been with other pairs.

    Attributes:
        value: (M,) the means.
        draws: (R, M) the same of R sets of pairs, drawn with replacement. The columns share their pairs, so
            that differences of columns are paired.
    """

    value: Doubles
    draws: Doubles

    def area(self, column: int) -> Area:
        """One column's mean and interval."""
        return Area(float(self.value[column]), _interval(self.draws[:, column]))

    def difference(self, column: int, other: int) -> Area:
        """One column's mean less another's."""
        apart = self.draws[:, column] - self.draws[:, other]
        return Area(float(self.value[column] - self.value[other]), _interval(apart))


def pixel_order(saliency: ArrayLike, *, highest_first: bool, rng: np.random.Generator) -> Integers:
    """Puts the pixels of a map in order.

    Args:
        saliency: (h, w), finite.
        highest_first: Whether to begin with the highest or the lowest value.
        rng: Breaks ties: a map of few different values, or a flat one, should not win by the order in which
            arrays are read.

    Returns:
        (h * w,) places in the flattened map.
    """
    values = np.asarray(saliency, np.float64).ravel()
    return np.lexsort((rng.random(values.size), -values if highest_first else values))


def exchanged(base: FloatArray, other: FloatArray, order: Integers, shares: ArrayLike) -> FloatArray:
    """Exchanges growing shares of an image's pixels for those of another.

    Args:
        base: (h, w, 3).
        other: (h, w, 3).
        order: (h * w,) which pixels go first, as from `pixel_order`.
        shares: (S,) in [0, 1].

    Returns:
        (S, h, w, 3): for each share, the base with so many of its pixels, rounded, exchanged.
    """
    counts = np.rint(np.asarray(shares) * order.size).astype(np.int64)
    rank = np.empty(order.size, np.int64)
    rank[order] = np.arange(order.size)
    gone = (rank < counts[:, None]).reshape(-1, *base.shape[:2], 1)
    return np.where(gone, other, base)


def areas_under(curves: ArrayLike, shares: ArrayLike) -> Doubles:
    """Areas by the trapezoid rule.

    Args:
        curves: (..., S), such as errors of single pairs as 0 and 1.
        shares: (S,), growing, in [0, 1].

    Returns:
        (...) areas; a curve that is 1 everywhere has the width of the shares.
    """
    return np.asarray(np.trapezoid(np.asarray(curves, np.float64), np.asarray(shares), axis=-1))


def resampled_means(values: ArrayLike, rng: np.random.Generator) -> ResampledMeans:
    """Means of columns over rows, and of rows drawn anew.

    Pairs that share a person are not independent, so intervals from these are somewhat too narrow.

    Args:
        values: (N, M), a row for each pair, N at least 1.
        rng: Source of randomness; the same seed draws the same rows.

    Returns:
        The means.
    """
    rows = np.asarray(values, np.float64)
    counts = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=_RESAMPLES)
    return ResampledMeans(rows.mean(axis=0), counts @ rows / len(rows))


def balanced_means(values: ArrayLike, genuine: Booleans, rng: np.random.Generator) -> ResampledMeans:
    """Means in which genuine and impostor pairs weigh alike, whatever their numbers.

    Args:
        values: (N, M), a row for each pair.
        genuine: (N,) bool; both kinds are there.
        rng: As for `resampled_means`.

    Returns:
        The means; each kind is drawn anew at its own size.
    """
    rows = np.asarray(values, np.float64)
    one, other = (resampled_means(rows[kind], rng) for kind in (genuine, ~genuine))
    return ResampledMeans((one.value + other.value) / 2, (one.draws + other.draws) / 2)


def _interval(draws: Doubles) -> Interval:
    low, high = np.quantile(draws, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    return Interval(float(low), float(high))


def rank_correlations(maps: ArrayLike, others: ArrayLike) -> Doubles:
    """Spearman's correlation of maps, one by one.

    Args:
        maps: (N, ...).
        others: (N, ...), the same shape.

    Returns:
        (N,) in [-1, 1]; NaN where one of the two is flat.
    """
    from scipy.stats import rankdata

    flat: list[NDArray[np.float64]] = []
    for several in (maps, others):
        values = np.asarray(several, np.float64)
        ranks = rankdata(values.reshape(len(values), -1), axis=1)
        flat.append(ranks - ranks.mean(axis=1, keepdims=True))
    one, other = flat
    spread = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    correlations = np.full(len(one), np.nan)
    np.divide((one * other).sum(axis=1), spread, out=correlations, where=spread > 0)
    return correlations


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
        Twice (S, 112, 112, 3) for `DELETION_SHARES`: deletion, face to black; insertion, black to face.
    """
    order = pixel_order(saliency, highest_first=accepted, rng=rng)
    black = np.zeros_like(face)
    return exchanged(face, black, order, DELETION_SHARES), exchanged(black, face, order, DELETION_SHARES)


def accuracy_curve(similarities: ArrayLike, genuine: Booleans, similarity_threshold: float) -> Doubles:
    """Verification accuracy as pixels go or come; both kinds of pairs weigh alike.

    Args:
        similarities: (P, S) cosine similarities for `DELETION_SHARES`.
        genuine: (P,) bool; both kinds are there.
        similarity_threshold: T; see `metrics.decision.is_same_by_similarity`.

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
    return areas_under(~pair_errors(similarities, genuine, similarity_threshold), DELETION_SHARES)


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
        (S, 112, 112, 3) for `REPLACEMENT_SHARES`; the first is the patched face itself.
    """
    return exchanged(
        patched, original, pixel_order(saliency, highest_first=accepted, rng=rng), REPLACEMENT_SHARES
    )


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
        similarity_threshold: T; see `metrics.decision.is_same_by_similarity`.

    Returns:
        (P, S) bool.
    """
    return np.asarray(
        is_same_by_similarity(np.asarray(similarities), similarity_threshold) != genuine[:, None]
    )


def error_curves(similarities: ArrayLike, genuine: Booleans, similarity_threshold: float) -> ErrorCurves:
    """FMR and FNMR as pixels are put back, at an unchanged threshold.

    Args:
        similarities: As for `pair_errors`; S is that of `REPLACEMENT_SHARES`.
        genuine: (P,) bool; both kinds are there.
        similarity_threshold: As for `pair_errors`.

    Returns:
        The curves.
    """
    errors = pair_errors(similarities, genuine, similarity_threshold)
    return ErrorCurves(REPLACEMENT_SHARES, errors[~genuine].mean(axis=0), errors[genuine].mean(axis=0))


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
