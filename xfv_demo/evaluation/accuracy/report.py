"""How good a model is at verification on a labelled set: one report, from the pairs' distances (pure).

The report holds error rates, none below what the pairs can carry, and how honest the confidences are that
calibrations give to pairs which they did not see. `VerificationReport.to_dict` is what is kept of it;
`evaluation.accuracy.figures` draws it.
"""

import datetime
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.batch.align import DetectionFailure
from xfv_demo.calibration.calibration import Calibration, OperatingPoint
from xfv_demo.calibration.calibrators import CALIBRATORS, XFaceCalibrator
from xfv_demo.calibration.crossfit import CalibratorComparison, FoldwiseDecisions, foldwise_decisions
from xfv_demo.datasets.pairs import PairCounts
from xfv_demo.errors import CalibrationError, DatasetError
from xfv_demo.metrics.confidence import ReliabilityCurve, equal_class_weights, reliability_curve
from xfv_demo.metrics.error_rates import (
    BootstrapIntervals,
    FnmrAtFmr,
    FoldAccuracy,
    PairScores,
    auc,
    bootstrap_intervals,
    eer,
    fnmr_at_fmr,
    fold_accuracy,
)
from xfv_demo.metrics.intervals import Booleans, Doubles, Interval, wilson_interval
from xfv_demo.runtime.files import json_text, write_whole
from xfv_demo.runtime.provenance import rounded

_FORMAT = "xfv-demo verification report"
_FORMAT_VERSION = 1
_RELIABILITY_BINS = 10
# What `metrics.fnmr_at_fmr` asks of a target: the rule of three.
_FEWEST_ERRORS = 3


@dataclass(frozen=True)
class Accuracy:
    """Ten-fold accuracy, or that of as many folds as there are.

    Attributes:
        folds: (F,) each fold's accuracy, at the threshold that is best on the other folds.
        thresholds: (F,) these thresholds.
        mean: Over the folds.
        standard_deviation: Of the folds' accuracies, F - 1 in the denominator.
        standard_error: Of the mean.
        left_out_as_wrong: Share of right decisions among all pairs, where those that were left out count as
            decided wrongly.
    """

    folds: tuple[float, ...]
    thresholds: tuple[float, ...]
    mean: float
    standard_deviation: float
    standard_error: float
    left_out_as_wrong: float


@dataclass(frozen=True)
class Separation:
    """How well the distance tells the classes apart, over all thresholds.

    Attributes:
        auc: Area under the ROC curve.
        auc_interval: Its bootstrap interval; None where the classes do not overlap.
        eer: Equal error rate.
        eer_threshold: The distance threshold there.
        eer_interval: Bootstrap interval of `eer`; None where the classes do not overlap.
        reason: Why the intervals are missing; None where they are not.
    """

    auc: float
    auc_interval: Interval | None
    eer: float
    eer_threshold: float
    eer_interval: Interval | None
    reason: str | None


@dataclass(frozen=True)
class FnmrAtTarget:
    """The FNMR at one FMR, or why the pairs do not tell.

    Attributes:
        target: The FMR that was asked for.
        at: The rates at its threshold; None where there are too few impostor pairs.
        bootstrap_interval: Of the FNMR, with the threshold's own uncertainty; None likewise, and where all
            resamples agree, as where no genuine pair comes near the threshold.
        reason: Why there is no answer; None where there is one.
    """

    target: float
    at: FnmrAtFmr | None
    bootstrap_interval: Interval | None
    reason: str | None

    @property
    def interval(self) -> Interval | None:
        """The bootstrap interval, or else Wilson's at the threshold; None where there is no answer."""
        return self.bootstrap_interval or (self.at.fnmr_interval if self.at else None)


@dataclass(frozen=True)
class ReliabilityBin:
    """Decisions of like confidence, and how often they are right.

    Attributes:
        low: The bin's lower edge; where bins are of equal mass, the smallest confidence in it.
        high: The bin's upper edge; where bins are of equal mass, the largest confidence in it.
        count: Decisions in it.
        mean_confidence: Of these, genuine and impostor pairs counting equally; NaN in an empty bin.
        share_right: Likewise.
        interval: 95 % Wilson interval of `share_right`; NaN in an empty bin.
    """

    low: float
    high: float
    count: int
    mean_confidence: float
    share_right: float
    interval: Interval


@dataclass(frozen=True)
class Confidence:
    """How honest the confidences are of decisions on folds that the calibration did not see.

    Attributes:
        summary: Log loss, Brier score, both calibration errors, mean confidence and accuracy.
        reliability: Ten bins of equal width over [0.5, 1], empty ones too: those of `summary.ece`.
        equal_mass_reliability: The filled ones of ten bins of equal mass: those of `summary.adaptive_ece`.
    """

    summary: CalibratorComparison
    reliability: tuple[ReliabilityBin, ...]
    equal_mass_reliability: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the report's numbers were counted from, and its figures are drawn from; not saved with it.

    Attributes:
        decisions: The foldwise decisions.
        calibrations: For each method that could be fitted to all pairs and to all folds, its calibration on
            all pairs.
    """

    decisions: FoldwiseDecisions
    calibrations: Mapping[str, Calibration]

    @property
    def scores(self) -> PairScores:
        """The pairs."""
        return self.decisions.scores


@dataclass(frozen=True, eq=False)
class VerificationReport:
    """What a labelled set tells of a model.

    Attributes:
        model: The model's name.
        model_sha256: Digest of its files, if known.
        dataset: The labelled set's name.
        face: Which face of an image was its person's, "central" or "largest"; None where images are aligned
            faces, or it is not known.
        warning: What must stand beside any number of this set; None where nothing must.
        pairs: The pairs that were measured.
        left_out: The pairs that were not, as a photo failed.
        failures: These photos.
        accuracy: By folds.
        separation: AUC and EER.
        fnmr_at_fmr: One for each target FMR.
        operating_point: FMR and FNMR at the threshold of the calibration on all pairs. As that threshold
            was chosen on them, these flatter a little.
        confidence: Of the chosen calibration method.
        comparison: All calibration methods that could be fitted, in the order of `CALIBRATORS`.
        not_compared: Those that could not, with the reason.
        bootstrap_level: Confidence level of the bootstrap intervals.
        bootstrap_resamples: How many sets of pairs they rest on.
        date: When the report was made.
        library_versions: Versions of the libraries that it was made with, by name.
        seed: What the random generator was made from, if known.
        duration_seconds: How long the whole measurement took, if known.
        evidence: The pairs themselves.
    """

    model: str
    model_sha256: str | None
    dataset: str
    face: str | None
    warning: str | None
    pairs: PairCounts
    left_out: PairCounts
    failures: tuple[DetectionFailure, ...]
    accuracy: Accuracy
    separation: Separation
    fnmr_at_fmr: tuple[FnmrAtTarget, ...]
    operating_point: OperatingPoint
    confidence: Confidence
    comparison: tuple[CalibratorComparison, ...]
    not_compared: Mapping[str, str]
    bootstrap_level: float
    bootstrap_resamples: int
    date: datetime.date
    library_versions: Mapping[str, str]
    seed: int | None
    duration_seconds: float | None
    evidence: Evidence

    @property
    def method(self) -> str:
        """The chosen calibration method, a key of `CALIBRATORS`."""
        return self.confidence.summary.method

    @property
    def calibration(self) -> Calibration:
        """The chosen method's calibration on all pairs."""
        return self.evidence.calibrations[self.method]

    @property
    def smallest_fmr(self) -> float:
        """The smallest FMR that the impostor pairs can carry; see `smallest_rate`."""
        return smallest_rate(self.pairs.impostor)

    @property
    def accuracy_interval(self) -> Interval:
        """95 % Wilson interval of the share of right decisions; it has a width where all folds are alike."""
        right = self.evidence.decisions.right
        return wilson_interval(int(np.count_nonzero(right)), right.size)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: all but the evidence, rates and distances to six digits."""
        plain = {
            "format": _FORMAT,
            "version": _FORMAT_VERSION,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "dataset": self.dataset,
            "face": self.face,
            "warning": self.warning,
            "date": self.date.isoformat(),
            "library_versions": dict(self.library_versions),
            "seed": self.seed,
            "duration_seconds": None if self.duration_seconds is None else round(self.duration_seconds, 1),
            "pairs": asdict(self.pairs),
            "left_out": asdict(self.left_out),
            "failures": [asdict(failure) for failure in self.failures],
            "accuracy": asdict(self.accuracy),
            "separation": asdict(self.separation),
            "fnmr_at_fmr": [
                {
                    "target": answer.target,
                    "fnmr": None,
                    **(asdict(answer.at) if answer.at else {}),
                    "bootstrap_interval": asdict(answer)["bootstrap_interval"],
                    "reason": answer.reason,
                }
                for answer in self.fnmr_at_fmr
            ],
            "smallest_fmr": self.smallest_fmr,
            "operating_point": asdict(self.operating_point),
            "bootstrap": {"level": self.bootstrap_level, "resamples": self.bootstrap_resamples},
            "confidence": {
                **asdict(self.confidence.summary),
                "reliability": [asdict(one) for one in self.confidence.reliability],
                "equal_mass_reliability": [asdict(one) for one in self.confidence.equal_mass_reliability],
            },
            "comparison": [asdict(row) for row in self.comparison],
            "not_compared": dict(self.not_compared),
        }
        return {name: rounded(value) for name, value in plain.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes `to_dict` as JSON, whole or not at all; makes the folders that lack.

        Raises:
            XfvError: If the file cannot be written.
        """
        text = json_text(self.to_dict(), indent=2, ensure_ascii=False)
        write_whole(Path(path), f"{text}\n".encode())


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
        folds: As for `metrics.fold_numbers`. If pairs of LFW were left out, give each pair's fold.
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


def smallest_rate(pairs: int) -> float:
    """The smallest error rate that a number of pairs can carry, by the rule of three: 3 / pairs.

    Not to see one error among n pairs rules out, at 95 % confidence, no rate below 3 / n.

    Args:
        pairs: Pairs of the class that the rate is a share of, at least 1.

    Returns:
        The rate, in (0, 1].
    """
    return min(1.0, _FEWEST_ERRORS / pairs)


def equal_mass_bins(
    confidences: Doubles, right: Booleans, weights: Doubles, bins: int = _RELIABILITY_BINS
) -> tuple[ReliabilityBin, ...]:
    """The bins of `metrics.adaptive_calibration_error`, which look inside a crowd of nearly sure decisions.

    Args:
        confidences: (N,) in [0.5, 1].
        right: (N,) bool, whether each decision was right.
        weights: (N,) not negative, not all 0.
        bins: Number of bins.

    Returns:
        The bins that are not empty, by rising confidence. Equal confidences share a bin.

    Raises:
        CalibrationError: As `metrics.reliability_curve`.
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
