"""From the distances of labelled pairs to the report of how well a model verifies (pure)."""

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.batch.align import DetectionFailure
from xfv_demo.calibration.calibration import Calibration
from xfv_demo.calibration.calibrators import CALIBRATORS, XFaceCalibrator
from xfv_demo.calibration.crossfit import CalibratorComparison, FoldwiseDecisions, foldwise_decisions
from xfv_demo.datasets.pairs import PairCounts
from xfv_demo.errors import CalibrationError, DatasetError
from xfv_demo.evaluation.accuracy.report import (
    Accuracy,
    Confidence,
    Evidence,
    FnmrAtTarget,
    LikelihoodRatios,
    ReliabilityBin,
    Separation,
    VerificationReport,
    smallest_rate,
)
from xfv_demo.metrics.accuracy import FoldAccuracy, fold_accuracy
from xfv_demo.metrics.confidence import ReliabilityCurve, equal_class_weights, reliability_curve
from xfv_demo.metrics.error_rates import BootstrapIntervals, auc, bootstrap_intervals, eer, fnmr_at_fmr
from xfv_demo.metrics.intervals import Booleans, Doubles, Interval
from xfv_demo.metrics.likelihood_ratio import log10_likelihood_ratios
from xfv_demo.metrics.pair_scores import PairScores

_RELIABILITY_BINS = 10


def evaluate(
    distances: ArrayLike | PairScores,
    genuine: ArrayLike | None = None,
    folds: int | ArrayLike = 10,
    *,
    model: str,
    model_sha256: str | None,
    dataset: str,
    rng: np.random.Generator,
    face: str | None = None,
    failures: Sequence[DetectionFailure] = (),
    left_out: PairCounts = PairCounts(genuine=0, impostor=0),
    method: str = XFaceCalibrator.name,
    fmr_targets: Sequence[float] = (1e-2, 1e-3),
    resamples: int = 1000,
    level: float = 0.95,
    seed: int | None = None,
    duration_seconds: float | None = None,
    date: datetime.date | None = None,
    library_versions: Mapping[str, str] | None = None,
) -> VerificationReport:
    """Measures a model by its distances on a labelled set.

    Args:
        distances: (N,) cosine distances in [0, 2], in the data set's order, without the pairs that were left
            out; or `PairScores` of such, with labels and folds. Each class needs 20 pairs outside of any
            fold.
        genuine: (N,) bool or 0/1, true where a pair shows one person.
        folds: As for `metrics.pair_scores.fold_numbers`. If pairs of LFW were left out, give each pair's
            fold.
        model: Name of the model.
        model_sha256: Digest of its files, if known.
        dataset: Name of the labelled set; LFW's brings its warning with it.
        rng: Source of randomness for the bootstrap.
        face: Which face of an image was its person's, to be noted.
        failures: The photos whose face could not be used.
        left_out: How many pairs were left out because of them.
        method: The calibration method whose confidence is reported in full, a key of `CALIBRATORS`.
        fmr_targets: FMRs to give the FNMR at, each in (0, 1).
        resamples: How many sets of pairs the bootstrap draws.
        level: Confidence level of the bootstrap intervals, in (0, 1).
        seed: What `rng` was made from, to be noted.
        duration_seconds: How long the measurement took, to be noted.
        date: When this is; today by default.
        library_versions: Versions to note beside those of Python, NumPy and SciPy.

    Returns:
        The report.

    Raises:
        DatasetError: If a distance is not a number, the shapes or labels are wrong, the folds do not suit,
            or pairs were left out without a photo that failed.
        CalibrationError: If the pairs are too few or not told apart by the distance, or the chosen method is
            unknown or does not converge on them.
    """
    scores = PairScores.of(distances, genuine, folds)
    _check_left_out(left_out, failures)
    settings: dict[str, Any] = {
        "model": model,
        "model_sha256": model_sha256,
        "dataset": dataset,
        "date": date or datetime.date.today(),
        "library_versions": library_versions,
    }
    accuracy = fold_accuracy(scores)

    def fitted(name: str) -> tuple[Calibration, FoldwiseDecisions]:
        return (
            Calibration.fit(scores, method=name, **settings),
            foldwise_decisions(scores, method=name, **settings),
        )

    chosen, decisions = fitted(method)
    calibrations: dict[str, Calibration] = {}
    comparison: dict[str, CalibratorComparison] = {}
    not_compared: dict[str, str] = {}
    for name in CALIBRATORS:
        try:
            whole, decided = (chosen, decisions) if name == method else fitted(name)
        except CalibrationError as error:
            not_compared[name] = str(error)
        else:
            calibrations[name], comparison[name] = whole, decided.summary(_RELIABILITY_BINS)
    intervals = bootstrap_intervals(
        scores, rng=rng, fmr_targets=fmr_targets, resamples=resamples, level=level
    )
    pairs = PairCounts.of(scores.genuine)
    return VerificationReport(
        model=model,
        model_sha256=model_sha256,
        dataset=dataset,
        face=face,
        warning=_warning(dataset, pairs.impostor),
        pairs=pairs,
        left_out=left_out,
        failures=tuple(failures),
        accuracy=_accuracy(accuracy, decisions, left_out),
        separation=_separation(scores, intervals),
        fnmr_at_fmr=tuple(_fnmr_at_target(scores, target, intervals) for target in fmr_targets),
        operating_point=chosen.error_rates_at(chosen.threshold),
        confidence=_confidence(comparison[method], decisions),
        likelihood_ratio=_likelihood_ratios(chosen, decisions),
        comparison=tuple(comparison.values()),
        not_compared=not_compared,
        bootstrap_level=intervals.level,
        bootstrap_resamples=intervals.resamples,
        date=chosen.date,
        library_versions=chosen.library_versions,
        seed=seed,
        duration_seconds=duration_seconds,
        evidence=Evidence(decisions, calibrations),
    )


def equal_mass_bins(
    confidences: Doubles, right: Booleans, weights: Doubles, bins: int = _RELIABILITY_BINS
) -> tuple[ReliabilityBin, ...]:
    """The bins of `adaptive_calibration_error`, which look inside a crowd of nearly sure decisions.

    Args:
        confidences: (N,) in [0.5, 1].
        right: (N,) bool, whether each decision was right.
        weights: (N,) not negative, not all 0.
        bins: Number of bins.

    Returns:
        The bins that are not empty, by rising confidence. Equal confidences share a bin.

    Raises:
        CalibrationError: As `metrics.confidence.reliability_curve`.
    """
    _, place = np.unique(confidences, return_inverse=True)
    mass = np.bincount(place, weights=weights)
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    bin_of = np.minimum((middle * bins).astype(np.int64), bins - 1)[place]
    filled = []
    for number in np.unique(bin_of):
        inside = bin_of == number
        # A single bin over all of [0.5, 1], for its mean, share and interval.
        (whole,) = _reliability_bins(
            reliability_curve(confidences[inside], right[inside], 1, weights=weights[inside])
        )
        low, high = float(confidences[inside].min()), float(confidences[inside].max())
        filled.append(replace(whole, low=low, high=high))
    return tuple(filled)


def _check_left_out(left_out: PairCounts, failures: Sequence[DetectionFailure]) -> None:
    if min(left_out.genuine, left_out.impostor) < 0:
        raise DatasetError(f"{left_out.genuine} and {left_out.impostor} pairs cannot be left out")
    if left_out.total and not failures:
        raise DatasetError(f"{left_out.total} pairs were left out, but no photo is named that failed")


def _warning(dataset: str, impostor_pairs: int) -> str | None:
    """LFW's own warning, in our words (vis-www.cs.umass.edu/lfw, "Disclaimer"), and what its size allows."""
    if "lfw" not in re.split(r"[^a-z0-9]+", dataset.lower()):
        return None
    return (
        "Results on LFW say nothing on whether a model is fit for any commercial purpose, or for decisions "
        "about people. It shows few children, few people over 80, far fewer women than men, and many "
        f"ethnicities hardly or not at all. Its {impostor_pairs:,} impostor pairs carry no FMR below about "
        f"{_percent(smallest_rate(impostor_pairs))}."
    )


def _accuracy(by_folds: FoldAccuracy, decisions: FoldwiseDecisions, left_out: PairCounts) -> Accuracy:
    return Accuracy(
        folds=tuple(by_folds.accuracies.tolist()),
        thresholds=tuple(by_folds.thresholds.tolist()),
        mean=by_folds.mean,
        standard_deviation=by_folds.standard_deviation,
        standard_error=by_folds.standard_error,
        left_out_as_wrong=int(np.count_nonzero(decisions.right)) / (decisions.right.size + left_out.total),
    )


def _separation(scores: PairScores, intervals: BootstrapIntervals) -> Separation:
    equal, area = eer(scores), auc(scores)
    if area == 1:
        # Every resample of these pairs says the same: its interval would have no width.
        auc_interval = eer_interval = None
        reason = "the classes do not overlap: resampling these pairs cannot say how far off the rates are"
    else:
        auc_interval, eer_interval, reason = intervals.auc, intervals.eer, None
    return Separation(
        auc=area,
        auc_interval=auc_interval,
        eer=equal.rate,
        eer_threshold=equal.threshold,
        eer_interval=eer_interval,
        reason=reason,
    )


def _fnmr_at_target(scores: PairScores, target: float, intervals: BootstrapIntervals) -> FnmrAtTarget:
    at, interval = fnmr_at_fmr(scores, target=target), intervals.fnmr_at_fmr[target]
    impostor_pairs = scores.impostor_distances.size
    lowest = _percent(smallest_rate(impostor_pairs))
    return FnmrAtTarget(
        target=target,
        at=at,
        bootstrap_interval=interval if interval and interval.low < interval.high else None,
        reason=None if at else f"{impostor_pairs:,} impostor pairs carry no FMR below {lowest}",
    )


def _confidence(summary: CalibratorComparison, decisions: FoldwiseDecisions) -> Confidence:
    weights = equal_class_weights(decisions.scores.genuine)
    curve = reliability_curve(decisions.confidences, decisions.right, _RELIABILITY_BINS, weights=weights)
    return Confidence(
        summary=summary,
        reliability=_reliability_bins(curve),
        equal_mass_reliability=equal_mass_bins(decisions.confidences, decisions.right, weights),
    )


def _likelihood_ratios(calibration: Calibration, decisions: FoldwiseDecisions) -> LikelihoodRatios:
    bounds, genuine = calibration.probability_bounds(), decisions.scores.genuine
    low, high = log10_likelihood_ratios([bounds.low, bounds.high]).tolist()
    return LikelihoodRatios(
        bounds=Interval(low=low, high=high),
        misleading_genuine=float(np.mean(decisions.probabilities[genuine] < 0.5)),
        misleading_impostor=float(np.mean(decisions.probabilities[~genuine] > 0.5)),
    )


def _reliability_bins(curve: ReliabilityCurve) -> tuple[ReliabilityBin, ...]:
    return tuple(
        ReliabilityBin(
            low=float(curve.edges[number]),
            high=float(curve.edges[number + 1]),
            count=int(curve.count[number]),
            mean_confidence=float(curve.mean_confidence[number]),
            share_right=float(curve.share_right[number]),
            interval=Interval(low=float(curve.interval.low[number]), high=float(curve.interval.high[number])),
        )
        for number in range(curve.count.size)
    )


def _percent(rate: float) -> str:
    return f"{100 * rate:.2g} %"
