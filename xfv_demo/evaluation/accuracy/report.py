"""How good a model is at verification on a labelled set: one report (pure).

The report holds error rates, none below what the pairs can carry, and how honest the confidences are that
calibrations give to pairs which they did not see. `evaluation.accuracy.evaluate` makes it, `to_dict` is what
is kept of it, and `evaluation.accuracy.figures` draws it.
"""

import datetime
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xfv_demo.batch.align import DetectionFailure
from xfv_demo.calibration.calibration import Calibration
from xfv_demo.calibration.crossfit import CalibratorComparison, FoldwiseDecisions
from xfv_demo.calibration.evidence import OperatingPoint
from xfv_demo.datasets.pairs import PairCounts
from xfv_demo.metrics.error_rates import FnmrAtFmr
from xfv_demo.metrics.intervals import Interval, wilson_interval
from xfv_demo.metrics.pair_scores import PairScores
from xfv_demo.runtime.files import json_text, write_whole
from xfv_demo.runtime.provenance import rounded

_FORMAT = "xfv-demo verification report"
_FORMAT_VERSION = 1
# What `metrics.error_rates.fnmr_at_fmr` asks of a target: the rule of three.
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


@dataclass(frozen=True)
class LikelihoodRatios:
    """How far the likelihood ratios of the chosen method reach, and how often they mislead.

    Attributes:
        bounds: What the pairs carry, as log10; `Calibration.probability_bounds` of all pairs.
        misleading_genuine: Share of genuine pairs whose ratio, by a fit that did not see them, is below 1.
        misleading_impostor: Share of impostor pairs whose ratio is above 1.
    """

    bounds: Interval
    misleading_genuine: float
    misleading_impostor: float


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
        likelihood_ratio: Of the chosen calibration method, too; its cost is in `confidence.summary`.
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
    likelihood_ratio: LikelihoodRatios
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
            "likelihood_ratio": asdict(self.likelihood_ratio),
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


def smallest_rate(pairs: int) -> float:
    """The smallest error rate that a number of pairs can carry, by the rule of three: 3 / pairs.

    Not to see one error among n pairs rules out, at 95 % confidence, no rate below 3 / n.

    Args:
        pairs: Pairs of the class that the rate is a share of, at least 1.

    Returns:
        The rate, in (0, 1].
    """
    return min(1.0, _FEWEST_ERRORS / pairs)
