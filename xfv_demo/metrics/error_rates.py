"""Error rates of distances (pure).

By the one rule of `metrics.decision`, a pair is "same" when distance < threshold, strictly. So

* FMR(t), the false match rate, is the share of impostor pairs with distance < t;
* FNMR(t), the false non-match rate, is the share of genuine pairs with distance >= t.

A pair's distance is any finite number that is small for genuine pairs. Labelled distances are checked once,
by `PairScores`; functions take these in place of arrays.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.errors import DatasetError
from xfv_demo.metrics.decision import count_same
from xfv_demo.metrics.intervals import (
    Band,
    Doubles,
    Integers,
    Interval,
    check_counts,
    check_level,
    percentile_interval,
    wilson,
    wilson_interval,
)
from xfv_demo.metrics.pair_scores import PairScores, running_count

# Without a single error among n independent trials, the 95 % upper bound of the rate is 3 / n (the "rule of
# three"): n impostor pairs can say nothing of an FMR below that.
_RULE_OF_THREE = 3
# With at least 30 errors, the true rate is within 30 % of the measured one, at 90 % confidence (Doddington et
# al., "The NIST speaker recognition evaluation", Speech Communication 31, 2000, the "rule of 30").
_RULE_OF_THIRTY = 30
# 0.07 * 100 is a little above 7 and 0.29 * 100 a little below 29: neither may change a count of pairs.
_ROUNDING = 1e-9
_BOOTSTRAP_NUMBERS = 4_000_000  # Numbers held at once in each table of resampled pairs: 32 MB.


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
        occurring, _ = scores.places
        chosen = np.append(occurring, np.nextafter(occurring[-1], np.inf))
    else:
        chosen = np.asarray(thresholds, dtype=np.float64)
        if chosen.ndim != 1 or np.isnan(chosen).any():
            raise DatasetError(f"thresholds must be a list of numbers; their shape is {chosen.shape}")
    genuine_pairs, impostor_pairs = scores.genuine_distances.size, scores.impostor_distances.size
    return ErrorRates(
        thresholds=chosen,
        fmr=count_same(scores.impostor_distances, chosen) / impostor_pairs,
        fnmr=(genuine_pairs - count_same(scores.genuine_distances, chosen)) / genuine_pairs,
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
    occurring, _ = scores.places
    accepted_genuine, accepted_impostor = scores.accepted
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
    return float(_auc_areas(*PairScores.of(distances, genuine).accepted))


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
    accepted_impostor = int(count_same(impostor_distances, distance_threshold))
    genuine_pairs = scores.genuine_distances.size
    refused_genuine = genuine_pairs - int(count_same(scores.genuine_distances, distance_threshold))
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
    if errors == trials:
        return 1.0
    if errors == 0:
        # The same in closed form: each stated confidence asks for it, and SciPy takes a tenth of a second to
        # import.
        return -math.expm1(math.log1p(-level) / trials)
    from scipy.special import betaincinv

    return float(betaincinv(errors + 1, trials - errors, level))


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
    occurring, place = scores.places
    genuine_places, impostor_places = place[scores.genuine], place[~scores.genuine]
    allowed = {target: _allowed_errors(target, impostor_places.size) for target in fmr_targets}
    carried = {target: errors for target, errors in allowed.items() if errors >= _RULE_OF_THREE}
    rates: list[Doubles] = []
    areas: list[Doubles] = []
    refused: dict[float, list[Doubles]] = {target: [] for target in carried}
    rows_at_once = max(1, _BOOTSTRAP_NUMBERS // place.size)
    for start in range(0, resamples, rows_at_once):
        rows = min(rows_at_once, resamples - start)
        accepted_genuine = running_count(_resampled(genuine_places, occurring.size, rows, rng))
        accepted_impostor = running_count(_resampled(impostor_places, occurring.size, rows, rng))
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
