"""Error rates of distances, and how honest confidences are (pure).

One rule decides in the whole package, `is_same`: a pair is "same" when distance < threshold, strictly. So

* FMR(t), the false match rate, is the share of impostor pairs with distance < t;
* FNMR(t), the false non-match rate, is the share of genuine pairs with distance >= t.

A pair's distance is any finite number that is small for genuine pairs; only `best_threshold` and
`fold_accuracy` need the cosine distance's range [0, 2].

Labelled distances are checked once, by `PairScores`; functions take these in place of arrays.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from xfv_demo.errors import DatasetError
from xfv_demo.metrics.intervals import (
    Band,
    Booleans,
    Doubles,
    Integers,
    Interval,
    check_counts,
    check_level,
    percentile_interval,
    wilson,
    wilson_interval,
)

LARGEST_DISTANCE = 2.0  # Of the cosine distance: opposite directions.
THRESHOLD_BINS = 2000  # Candidate thresholds over [0, 2], as x-Face searches them.

# Without a single error among n independent trials, the 95 % upper bound of the rate is 3 / n (the "rule of
# three"): n impostor pairs can say nothing of an FMR below that.
_RULE_OF_THREE = 3
# With at least 30 errors, the true rate is within 30 % of the measured one, at 90 % confidence (Doddington et
# al., "The NIST speaker recognition evaluation", Speech Communication 31, 2000, the "rule of 30").
_RULE_OF_THIRTY = 30
# 0.07 * 100 is a little above 7 and 0.29 * 100 a little below 29: neither may change a count of pairs.
_ROUNDING = 1e-9
_BOOTSTRAP_NUMBERS = 4_000_000  # Numbers held at once in each table of resampled pairs: 32 MB.


@dataclass(frozen=True, eq=False, init=False)
class PairScores:
    """The distances of labelled pairs, checked; what is counted from them is counted once.

    Attributes:
        distances: (N,) float64.
        genuine: (N,) bool, true where a pair shows one person.
        folds: (N,) int64, each pair's fold, numbered from 0 up without a gap; None where there are none.

    Args:
        distances: (N,) finite numbers.
        genuine: (N,) bool or 0/1, true where a pair shows one person.
        folds: As for `fold_numbers`, if they are needed.

    Raises:
        DatasetError: If the shapes differ, a distance is not finite, a label is neither 0 nor 1, one of the
            two classes has no pair, or as `fold_numbers`.
    """

    distances: Doubles
    genuine: Booleans
    folds: Integers | None

    def __init__(
        self, distances: ArrayLike, genuine: ArrayLike, folds: int | ArrayLike | None = None
    ) -> None:
        values, labels = _labelled_pairs(distances, genuine)
        fold_of = None if folds is None else fold_numbers(folds, values.size)
        for name, array in (("distances", values), ("genuine", labels), ("folds", fold_of)):
            if array is not None:
                array.setflags(write=False)
            object.__setattr__(self, name, array)

    @classmethod
    def of(
        cls,
        distances: "ArrayLike | PairScores",
        genuine: ArrayLike | None = None,
        folds: int | ArrayLike | None = None,
    ) -> "PairScores":
        """Passes on what is checked already, with its own labels and folds; checks what is not."""
        if not isinstance(distances, PairScores):
            return cls(distances, np.asarray(genuine), folds)
        if distances.folds is None and folds is not None:
            return cls(distances.distances, distances.genuine, folds)
        return distances

    @property
    def fold_count(self) -> int:
        """The number of folds, 0 where there are none."""
        return 0 if self.folds is None else int(self.folds.max()) + 1

    @cached_property
    def genuine_distances(self) -> Doubles:
        """Those of the genuine pairs, sorted."""
        return np.sort(self.distances[self.genuine])

    @cached_property
    def impostor_distances(self) -> Doubles:
        """Those of the impostor pairs, sorted."""
        return np.sort(self.distances[~self.genuine])

    def outside(self, fold: int) -> "PairScores":
        """The pairs of all other folds, checked as any pairs are; made once.

        Raises:
            DatasetError: If they are of one class.
        """
        if fold not in self._outside:
            others = self.folds != fold
            self._outside[fold] = PairScores(self.distances[others], self.genuine[others])
        return self._outside[fold]

    @cached_property
    def _outside(self) -> "dict[int, PairScores]":
        return {}

    @cached_property
    def _places(self) -> tuple[Doubles, Integers]:
        """The M distances that occur, rising, and each pair's place among them."""
        occurring, place = np.unique(self.distances, return_inverse=True)
        return occurring, place

    @cached_property
    def _accepted(self) -> tuple[Integers, Integers]:
        """The running counts of genuine and impostor pairs over the distances that occur."""
        occurring, place = self._places
        genuine, impostor = (
            _running_count(np.bincount(place[rows], minlength=occurring.size))
            for rows in (self.genuine, ~self.genuine)
        )
        return genuine, impostor


@dataclass(frozen=True, eq=False)
class ErrorRates:
    """Both error rates over thresholds.

    Attributes:
        thresholds: (T,) float64, distances; a pair is "same" when its distance is below.
        fmr: (T,) float64 in [0, 1], share of impostor pairs with distance < threshold.
        fnmr: (T,) float64 in [0, 1], share of genuine pairs with distance >= threshold.
        genuine_pairs: Number of genuine pairs that `fnmr` is a share of.
        impostor_pairs: Number of impostor pairs that `fmr` is a share of.
    """

    thresholds: Doubles
    fmr: Doubles
    fnmr: Doubles
    genuine_pairs: int
    impostor_pairs: int

    def fmr_band(self, level: float = 0.95) -> Band:
        """Wilson intervals of `fmr`; see `wilson_interval`."""
        return Band(*wilson(self.fmr * self.impostor_pairs, self.impostor_pairs, level))

    def fnmr_band(self, level: float = 0.95) -> Band:
        """Wilson intervals of `fnmr`; see `wilson_interval`."""
        return Band(*wilson(self.fnmr * self.genuine_pairs, self.genuine_pairs, level))


@dataclass(frozen=True)
class EqualErrorRate:
    """Where both error rates are alike.

    Attributes:
        rate: The equal error rate, in [0, 1].
        threshold: The distance threshold there; as a threshold on the cosine similarity, 1 - threshold.
    """

    rate: float
    threshold: float


@dataclass(frozen=True)
class FnmrAtFmr:
    """The share of genuine pairs refused where impostors hardly ever pass.

    Attributes:
        target: The FMR that was asked for.
        threshold: The largest distance threshold whose FMR is not above the target.
        fmr: The FMR there; below the target where distances tie or the pairs do not divide by it.
        fnmr: The FNMR there.
        impostor_errors: The impostor pairs accepted there.
        fnmr_interval: 95 % Wilson interval of `fnmr` at this threshold. It takes the threshold as given;
            `bootstrap_intervals` counts the threshold's own uncertainty in.
    """

    target: float
    threshold: float
    fmr: float
    fnmr: float
    impostor_errors: int
    fnmr_interval: Interval

    @property
    def rule_of_thirty(self) -> bool:
        """Whether at least 30 impostor pairs were accepted, so that the FMR is known to within 30 %."""
        return self.impostor_errors >= _RULE_OF_THIRTY


@dataclass(frozen=True)
class BootstrapIntervals:
    """Percentile intervals over resampled pairs.

    Attributes:
        eer: Of the equal error rate.
        auc: Of the area under the ROC curve.
        fnmr_at_fmr: Of the FNMR at each target FMR; None where the impostor pairs cannot carry the target.
        level: The intervals' confidence level.
        resamples: How many sets of pairs were drawn.
    """

    eer: Interval
    auc: Interval
    fnmr_at_fmr: dict[float, Interval | None]
    level: float
    resamples: int


@dataclass(frozen=True, eq=False)
class FoldAccuracy:
    """Accuracy by the LFW protocol: each fold judged with the other folds' best threshold.

    Attributes:
        accuracies: (F,) float64 in [0, 1], one a fold.
        thresholds: (F,) float64, the threshold that each fold was judged with.
        right: (N,) bool, whether each pair was decided rightly.
    """

    accuracies: Doubles
    thresholds: Doubles
    right: Booleans

    @property
    def mean(self) -> float:
        """Mean accuracy over the folds."""
        return float(self.accuracies.mean())

    @property
    def standard_deviation(self) -> float:
        """Of the folds' accuracies, with F - 1 in the denominator as LFW's report has it."""
        return float(self.accuracies.std(ddof=1))

    @property
    def standard_error(self) -> float:
        """Of the mean: the standard deviation over the square root of the number of folds."""
        return self.standard_deviation / float(np.sqrt(len(self.accuracies)))


@overload
def is_same(distances: float | np.floating[Any], distance_threshold: float) -> bool: ...
@overload
def is_same(distances: NDArray[Any], distance_threshold: float | Doubles) -> Booleans: ...
def is_same(
    distances: float | np.floating[Any] | NDArray[Any], distance_threshold: float | Doubles
) -> bool | Booleans:
    """Decides pairs, by the one rule that there is: distance < threshold, strictly.

    Numbers are compared as they are, in double precision: NumPy would round a threshold to float32 for
    distances of that kind, and so find ties where there are none.

    Args:
        distances: A distance, or (...) of them.
        distance_threshold: The threshold, or (...) of them, one for each distance.

    Returns:
        Whether it is the same person: a bool for a number, else (...) bool.
    """
    decided = np.asarray(distances, np.float64) < distance_threshold
    return np.asarray(decided) if np.ndim(distances) else bool(decided)


@overload
def is_same_by_similarity(similarities: float | np.floating[Any], similarity_threshold: float) -> bool: ...
@overload
def is_same_by_similarity(similarities: NDArray[Any], similarity_threshold: float) -> Booleans: ...
def is_same_by_similarity(
    similarities: float | np.floating[Any] | NDArray[Any], similarity_threshold: float
) -> bool | Booleans:
    """Decides pairs by their cosine similarity: as `is_same` decides the distances that follow from it.

    Args:
        similarities: A cosine similarity, or (...) of them.
        similarity_threshold: The threshold on it; a pair that just reaches it is not "same".

    Returns:
        As `is_same`.
    """
    return is_same(1 - similarities, 1 - similarity_threshold)


def error_rates(
    distances: ArrayLike | PairScores,
    genuine: ArrayLike | None = None,
    thresholds: ArrayLike | None = None,
) -> ErrorRates:
    """Counts both error rates.

    Args:
        distances: (N,) distances of the pairs; or `PairScores`, which bring their labels.
        genuine: (N,) bool or 0/1, true where a pair shows one person.
        thresholds: (T,) distance thresholds, in any order; by default each distance that occurs and one just
            above the largest, where both rates take all values that they can.

    Returns:
        The rates at the thresholds, in the order given.

    Raises:
        DatasetError: If the pairs are of different shapes, not finite or of one class only, or a threshold
            is not a number.
    """
    scores = PairScores.of(distances, genuine)
    if thresholds is None:
        occurring, _ = scores._places
        chosen = np.append(occurring, np.nextafter(occurring[-1], np.inf))
    else:
        chosen = np.asarray(thresholds, dtype=np.float64)
        if chosen.ndim != 1 or np.isnan(chosen).any():
            raise DatasetError(f"thresholds must be a list of numbers; their shape is {chosen.shape}")
    genuine_pairs, impostor_pairs = scores.genuine_distances.size, scores.impostor_distances.size
    return ErrorRates(
        thresholds=chosen,
        fmr=_count_same(scores.impostor_distances, chosen) / impostor_pairs,
        fnmr=(genuine_pairs - _count_same(scores.genuine_distances, chosen)) / genuine_pairs,
        genuine_pairs=genuine_pairs,
        impostor_pairs=impostor_pairs,
    )


def eer(distances: ArrayLike | PairScores, genuine: ArrayLike | None = None) -> EqualErrorRate:
    """Equal error rate, by linear interpolation on the ROC curve, and its threshold.

    As the threshold grows past each distance that occurs, FMR steps up or FNMR steps down. Either FMR = FNMR
    on one whole stretch between two such distances: the rate is theirs and the threshold the middle of the
    stretch. Or FMR overtakes FNMR at one distance: the rate is where the line between the points before and
    after that step, in the plane of FMR and FNMR, meets FMR = FNMR, and the threshold is that distance.

    Args:
        distances: (N,) distances of the pairs; or `PairScores`, which bring their labels.
        genuine: (N,) bool or 0/1, true where a pair shows one person.

    Returns:
        The rate and the distance threshold.

    Raises:
        DatasetError: As `PairScores`.
    """
    scores = PairScores.of(distances, genuine)
    occurring, _ = scores._places
    accepted_genuine, accepted_impostor = scores._accepted
    rate = float(_eer_rates(accepted_genuine, accepted_impostor))
    surplus = _surplus(accepted_genuine, accepted_impostor)
    after = int(np.argmax(surplus <= 0))
    if surplus[after] == 0:
        distance_threshold = float((occurring[after - 1] + occurring[after]) / 2)
    else:
        distance_threshold = float(occurring[after - 1])
    return EqualErrorRate(rate=rate, threshold=distance_threshold)


def auc(distances: ArrayLike | PairScores, genuine: ArrayLike | None = None) -> float:
    """Area under the ROC curve.

    It is the chance that a genuine pair drawn at random is closer than an impostor pair drawn at random, a
    tie counting one half (the Mann-Whitney statistic).

    Args:
        distances: (N,) distances of the pairs; or `PairScores`, which bring their labels.
        genuine: (N,) bool or 0/1, true where a pair shows one person.

    Returns:
        The area, in [0, 1]: 1 where the classes do not overlap, 0.5 where the distance says nothing.

    Raises:
        DatasetError: As `PairScores`.
    """
    return float(_auc_areas(*PairScores.of(distances, genuine)._accepted))


def fnmr_at_fmr(
    distances: ArrayLike | PairScores, genuine: ArrayLike | None = None, target: float = 1e-3
) -> FnmrAtFmr | None:
    """FNMR at the largest threshold whose FMR is not above a target.

    By the rule of three, n impostor pairs carry no target below 3 / n: 3,000 pairs carry 1e-2 and 1e-3 (three
    accepted pairs) and nothing lower. Below that, there is no answer rather than a doubtful one. From 30
    accepted pairs on, the FMR itself is known to within 30 % (`FnmrAtFmr.rule_of_thirty`).

    Args:
        distances: (N,) distances of the pairs; or `PairScores`, which bring their labels.
        genuine: (N,) bool or 0/1, true where a pair shows one person.
        target: FMR, in (0, 1).

    Returns:
        The rates there, or None where there are too few impostor pairs for the target.

    Raises:
        DatasetError: As `PairScores`, or if the target is not between 0 and 1.
    """
    scores = PairScores.of(distances, genuine)
    impostor_distances = scores.impostor_distances
    allowed = _allowed_errors(target, impostor_distances.size)
    if allowed < _RULE_OF_THREE:
        return None
    # Below the first impostor pair that may not pass, at most `allowed` of them lie; with ties, fewer.
    distance_threshold = float(impostor_distances[allowed])
    accepted_impostor = int(_count_same(impostor_distances, distance_threshold))
    genuine_pairs = scores.genuine_distances.size
    refused_genuine = genuine_pairs - int(_count_same(scores.genuine_distances, distance_threshold))
    return FnmrAtFmr(
        target=target,
        threshold=distance_threshold,
        fmr=accepted_impostor / impostor_distances.size,
        fnmr=refused_genuine / genuine_pairs,
        impostor_errors=accepted_impostor,
        fnmr_interval=wilson_interval(refused_genuine, genuine_pairs),
    )


def largest_rate(errors: int, trials: int, level: float = 0.95) -> float:
    """The largest rate at which so few errors are still to be expected: a one-sided bound, from above.

    Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial"
    (Biometrika 26, 1934). Where no error was seen, it is 1 - (1 - level) ** (1 / trials), about 3 / trials:
    what an observed rate of 0 carries. It takes the trials as independent, as `wilson_interval` does.

    Args:
        errors: How often the event was seen, 0 <= errors <= trials.
        trials: How often it could have been seen.
        level: Confidence level, in (0, 1).

    Returns:
        The bound, in (0, 1].

    Raises:
        DatasetError: If the counts or the level are out of range.
    """
    check_level(level)
    check_counts(errors, trials)
    return 1.0 if errors == trials else float(betaincinv(errors + 1, trials - errors, level))


def bootstrap_intervals(
    distances: ArrayLike | PairScores,
    genuine: ArrayLike | None = None,
    *,
    rng: np.random.Generator,
    fmr_targets: Sequence[float] = (1e-2, 1e-3),
    resamples: int = 1000,
    level: float = 0.95,
) -> BootstrapIntervals:
    """Percentile bootstrap by pair: genuine and impostor pairs are drawn anew, each class at its own size.

    Pairs that share a person are not independent, so the intervals are somewhat too narrow. Where the
    classes do not overlap, every resample says EER 0 and AUC 1: an interval without width is then no proof.

    Args:
        distances: (N,) distances of the pairs; or `PairScores`, which bring their labels.
        genuine: (N,) bool or 0/1, true where a pair shows one person.
        rng: Source of randomness; the same seed gives the same intervals.
        fmr_targets: FMRs to give the FNMR at, each in (0, 1).
        resamples: How many sets of pairs to draw.
        level: Confidence level, in (0, 1).

    Returns:
        Intervals of EER, AUC and the FNMR at each target.

    Raises:
        DatasetError: As `PairScores`, or if a target, the level or the number of resamples is out of
            range.
    """
    scores = PairScores.of(distances, genuine)
    check_level(level)
    if resamples < 1:
        raise DatasetError(f"{resamples} resamples give no interval; draw at least 1, better 1000")
    occurring, place = scores._places
    genuine_places, impostor_places = place[scores.genuine], place[~scores.genuine]
    allowed = {target: _allowed_errors(target, impostor_places.size) for target in fmr_targets}
    carried = {target: errors for target, errors in allowed.items() if errors >= _RULE_OF_THREE}
    rates: list[Doubles] = []
    areas: list[Doubles] = []
    refused: dict[float, list[Doubles]] = {target: [] for target in carried}
    rows_at_once = max(1, _BOOTSTRAP_NUMBERS // place.size)
    for start in range(0, resamples, rows_at_once):
        rows = min(rows_at_once, resamples - start)
        accepted_genuine = _running_count(_resampled(genuine_places, occurring.size, rows, rng))
        accepted_impostor = _running_count(_resampled(impostor_places, occurring.size, rows, rng))
        rates.append(_eer_rates(accepted_genuine, accepted_impostor))
        areas.append(_auc_areas(accepted_genuine, accepted_impostor))
        for target, errors in carried.items():
            last = np.count_nonzero(accepted_impostor <= errors, axis=-1) - 1
            accepted = np.take_along_axis(accepted_genuine, last[:, np.newaxis], axis=-1)[:, 0]
            refused[target].append(1 - accepted / genuine_places.size)
    return BootstrapIntervals(
        eer=percentile_interval(rates, level),
        auc=percentile_interval(areas, level),
        fnmr_at_fmr={
            target: percentile_interval(refused[target], level) if target in carried else None
            for target in fmr_targets
        },
        level=level,
        resamples=resamples,
    )


def best_threshold(
    distances: ArrayLike | PairScores, genuine: ArrayLike | None = None, bins: int = THRESHOLD_BINS
) -> float:
    """The first of evenly spaced thresholds at which most pairs are decided rightly.

    x-Face's search (Knoche et al., arXiv 2211.13735; methods.md, section 1, step 1). All pairs count alike:
    where one class has far more pairs than the other, the threshold moves to please the larger class.

    Args:
        distances: (N,) cosine distances in [0, 2]; or `PairScores` of such.
        genuine: (N,) bool or 0/1, true where a pair shows one person.
        bins: Number of candidates t_i = i * 2 / bins, i = 0 .. bins - 1.

    Returns:
        The threshold, in [0, 2).

    Raises:
        DatasetError: As `PairScores`, or if there is not one candidate.
    """
    if bins < 1:
        raise DatasetError(f"{bins} candidate thresholds: at least 1 is needed")
    scores = PairScores.of(distances, genuine)
    candidates = threshold_grid(bins)[:-1]
    accepted_genuine = _count_same(scores.genuine_distances, candidates)
    accepted_impostor = _count_same(scores.impostor_distances, candidates)
    # Counts, not shares: equal accuracies must be equal for the first one to win.
    return float(candidates[np.argmax(accepted_genuine - accepted_impostor)])


def threshold_grid(bins: int = THRESHOLD_BINS) -> Doubles:
    """Edges of evenly spaced bins over the distances.

    Args:
        bins: Number of bins.

    Returns:
        (bins + 1,) float64 from 0 to 2, each the double nearest to i * 2 / bins, so that a grid of 2000 bins
        holds the very number that 0.601 is read as.
    """
    return np.arange(bins + 1) * LARGEST_DISTANCE / bins


def fold_accuracy(
    distances: ArrayLike | PairScores,
    genuine: ArrayLike | None = None,
    folds: int | ArrayLike = 10,
    bins: int = THRESHOLD_BINS,
) -> FoldAccuracy:
    """Accuracy by the protocol of LFW's View 2 (Huang et al. 2007, section IV).

    Args:
        distances: (N,) cosine distances in [0, 2], in the data set's order; or `PairScores` of such, with
            labels and folds.
        genuine: (N,) bool or 0/1, true where a pair shows one person.
        folds: As for `fold_numbers`. LFW's pairs come in ten consecutive folds of 300 genuine and 300
            impostor pairs.
        bins: As for `best_threshold`, which chooses each fold's threshold on the other folds.

    Returns:
        Each fold's accuracy and threshold, with their mean and spread.

    Raises:
        DatasetError: As `PairScores` (of the folds taken together for a threshold, too), or as
            `fold_numbers`.
    """
    scores = PairScores.of(distances, genuine, folds)
    thresholds = np.array(
        [best_threshold(scores.outside(fold), bins=bins) for fold in range(scores.fold_count)]
    )
    right = is_same(scores.distances, thresholds[scores.folds]) == scores.genuine
    accuracies = np.array([right[scores.folds == fold].mean() for fold in range(scores.fold_count)])
    return FoldAccuracy(accuracies=accuracies, thresholds=thresholds, right=right)


def fold_numbers(folds: int | ArrayLike, count: int) -> Integers:
    """Says which fold each pair belongs to.

    Args:
        folds: How many consecutive folds to cut the pairs into, their sizes differing by one at most; or each
            pair's fold, (count,) integers. Consecutive folds need pairs in which the classes alternate, as
            LFW's do: a fold of one class leaves the others out of balance.
        count: Number of pairs.

    Returns:
        (count,) int64, numbers from 0 up without a gap, in the order of the folds given.

    Raises:
        DatasetError: If there are fewer than two folds, more folds than pairs, or a number of folds other
            than the number of pairs.
    """
    given = np.asarray(folds)
    if not np.issubdtype(given.dtype, np.integer):
        raise DatasetError(f"folds must be a number or whole numbers, one a pair; they are {given.dtype}")
    if given.ndim == 0:
        if not 2 <= given <= count:
            raise DatasetError(f"{count} pairs cannot be cut into {given} folds; take 2 to {count}")
        return np.arange(count, dtype=np.int64) * int(given) // count
    if given.shape != (count,):
        raise DatasetError(f"the folds' shape is {given.shape}, but there are {count} pairs")
    numbers, fold_of = np.unique(given, return_inverse=True)
    if numbers.size < 2:
        raise DatasetError("all pairs are in one fold; at least two folds are needed")
    return fold_of.astype(np.int64)


def _labelled_pairs(distances: ArrayLike, genuine: ArrayLike) -> tuple[Doubles, Booleans]:
    """Checks distances and labels, and copies them; see `PairScores`."""
    try:
        values = np.array(distances, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DatasetError("distances are not a list of numbers") from error
    labels = np.asarray(genuine)
    if values.ndim != 1 or values.shape != labels.shape:
        raise DatasetError(
            "distances and labels must be lists of one length; "
            f"their shapes are {values.shape}, {labels.shape}"
        )
    if missing := int(np.count_nonzero(~np.isfinite(values))):
        raise DatasetError(
            f"{missing} distances are not finite numbers: {missing} of {values.size} pairs have no distance; "
            "leave out the pairs of photos that failed, and name these photos"
        )
    if labels.dtype != np.bool_ and not np.isin(labels, (0, 1)).all():
        raise DatasetError("labels must be true or 1 for genuine pairs, false or 0 for impostor pairs")
    labels = labels.astype(np.bool_)
    if not labels.size:
        raise DatasetError("there are no pairs; both genuine and impostor pairs are needed")
    if labels.all() or not labels.any():
        present = "genuine" if labels.all() else "impostor"
        raise DatasetError(f"there are {present} pairs only; both genuine and impostor pairs are needed")
    return values, labels


def _count_same(distances: Doubles, distance_thresholds: Doubles | float) -> Integers:
    """How many of sorted distances `is_same` takes for the same at each threshold."""
    # side="left" counts those strictly below.
    return np.asarray(np.searchsorted(distances, distance_thresholds, side="left"))


def _running_count(counts: Integers) -> Integers:
    """Pairs accepted by a threshold below the first distance, then past each distance: (..., M + 1)."""
    accepted = np.zeros((*counts.shape[:-1], counts.shape[-1] + 1), dtype=np.int64)
    np.cumsum(counts, axis=-1, out=accepted[..., 1:])
    return accepted


def _surplus(accepted_genuine: Integers, accepted_impostor: Integers) -> Integers:
    """FNMR - FMR, times both numbers of pairs: whole numbers, so that its zero is exact."""
    genuine_pairs, impostor_pairs = accepted_genuine[..., -1:], accepted_impostor[..., -1:]
    return (genuine_pairs - accepted_genuine) * impostor_pairs - accepted_impostor * genuine_pairs


def _eer_rates(accepted_genuine: Integers, accepted_impostor: Integers) -> Doubles:
    """Equal error rates of running counts (..., M + 1); see `eer`."""
    surplus = _surplus(accepted_genuine, accepted_impostor)
    after = np.argmax(surplus <= 0, axis=-1)[..., np.newaxis]
    surplus_before = np.take_along_axis(surplus, after - 1, axis=-1)
    surplus_after = np.take_along_axis(surplus, after, axis=-1)
    fmr_before = np.take_along_axis(accepted_impostor, after - 1, axis=-1) / accepted_impostor[..., -1:]
    fmr_after = np.take_along_axis(accepted_impostor, after, axis=-1) / accepted_impostor[..., -1:]
    way = surplus_before / (surplus_before - surplus_after)
    rates: Doubles = (fmr_before + way * (fmr_after - fmr_before))[..., 0]
    return rates


def _auc_areas(accepted_genuine: Integers, accepted_impostor: Integers) -> Doubles:
    """Areas under the ROC curves of running counts (..., M + 1): trapezoids, so that ties count one half."""
    heights = (accepted_genuine[..., 1:] + accepted_genuine[..., :-1]) / 2
    area = np.sum(heights * np.diff(accepted_impostor, axis=-1), axis=-1)
    areas: Doubles = area / accepted_genuine[..., -1] / accepted_impostor[..., -1]
    return areas


def _resampled(places: Integers, size: int, rows: int, rng: np.random.Generator) -> Integers:
    """Draws pairs with replacement; counts them by the place of their distance: (rows, size)."""
    drawn = places[rng.integers(places.size, size=(rows, places.size))]
    drawn += size * np.arange(rows)[:, np.newaxis]
    return np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)


def _allowed_errors(target: float, impostor_pairs: int) -> int:
    if not 0 < target < 1:
        raise DatasetError(f"an FMR of {target} cannot be aimed at; give a number between 0 and 1")
    return int(target * impostor_pairs + _ROUNDING)
