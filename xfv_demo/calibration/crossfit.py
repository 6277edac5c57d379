"""Calibrators fitted without the fold that they are tried on."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.calibration.calibration import Calibration
from xfv_demo.calibration.calibrators import CALIBRATORS
from xfv_demo.calibration.labelled_distances import cosine_scores
from xfv_demo.metrics.confidence import (
    adaptive_calibration_error,
    brier_score,
    equal_class_weights,
    expected_calibration_error,
    log_loss,
)
from xfv_demo.metrics.decision import is_same
from xfv_demo.metrics.intervals import Booleans, Doubles, Integers
from xfv_demo.metrics.likelihood_ratio import cllr, min_cllr
from xfv_demo.metrics.pair_scores import PairScores


@dataclass(frozen=True, eq=False)
class FoldwiseDecisions:
    """The decisions on a labelled set, each by a calibration that did not see its pair.

    Attributes:
        scores: The pairs.
        calibrations: One a fold.
        same_person: (N,) bool, the decisions.
        confidences: (N,) float64 in [0.5, 1], their confidences.
        probabilities: (N,) float64, P(genuine) at equal priors as stated of a pair, within
            `Calibration.probability_bounds`.
    """

    scores: PairScores
    calibrations: tuple[Calibration, ...]
    same_person: Booleans
    confidences: Doubles
    probabilities: Doubles

    @property
    def fold_of(self) -> Integers:
        """(N,) int64, each pair's fold."""
        return np.asarray(self.scores.folds)

    @property
    def right(self) -> Booleans:
        """(N,) bool, whether the decisions are right."""
        return np.asarray(self.same_person == self.scores.genuine)

    def summary(self, reliability_bins: int = 10) -> "CalibratorComparison":
        """How honest the confidences are.

        Args:
            reliability_bins: Number of bins of both calibration errors.
        """
        confidences, right = self.confidences, self.right
        weights = equal_class_weights(self.scores.genuine)
        return CalibratorComparison(
            method=self.calibrations[0].method,
            log_loss=log_loss(confidences, right, weights=weights),
            brier=brier_score(confidences, right, weights=weights),
            ece=expected_calibration_error(confidences, right, reliability_bins, weights=weights),
            adaptive_ece=adaptive_calibration_error(confidences, right, reliability_bins, weights=weights),
            mean_confidence=float(np.average(confidences, weights=weights)),
            accuracy=float(np.average(right, weights=weights)),
            cllr=cllr(self.probabilities, self.scores.genuine),
            min_cllr=min_cllr(self.probabilities, self.scores.genuine),
        )


@dataclass(frozen=True)
class CalibratorComparison:
    """How honest one calibrator's confidences are, out of fold; genuine and impostor pairs count equally.

    Attributes:
        method: The calibrator's key in `CALIBRATORS`.
        log_loss: Of the decisions' confidences, in nats.
        brier: Brier score of the decisions' confidences.
        ece: Expected calibration error, bins of equal width over [0.5, 1].
        adaptive_ece: The same with bins of equal mass.
        mean_confidence: Of the decisions.
        accuracy: Share of right decisions; the same for all methods, as they share their thresholds.
        cllr: Cost of the likelihood ratios as stated, in bits; see `metrics.likelihood_ratio.cllr`.
        min_cllr: What of it no calibration could save.
    """

    method: str
    log_loss: float
    brier: float
    ece: float
    adaptive_ece: float
    mean_confidence: float
    accuracy: float
    cllr: float
    min_cllr: float


def foldwise_decisions(
    distances: ArrayLike | PairScores,
    genuine: ArrayLike | None = None,
    folds: int | ArrayLike = 10,
    **settings: Any,
) -> FoldwiseDecisions:
    """Decides each pair by a calibration that did not see its fold.

    Args:
        distances: As for `Calibration.foldwise`.
        genuine: As for `Calibration.foldwise`.
        folds: As for `Calibration.foldwise`.
        **settings: Further arguments of `Calibration.fit`.

    Returns:
        The decisions, for a reliability diagram and the like.

    Raises:
        CalibrationError: As `Calibration.foldwise`.
    """
    scores = cosine_scores(distances, genuine, folds)
    calibrations = Calibration.foldwise(scores, **settings)
    same_person = np.zeros(scores.distances.size, dtype=np.bool_)
    confidences, probabilities = np.zeros(scores.distances.size), np.zeros(scores.distances.size)
    for fold, calibration in enumerate(calibrations):
        held_out = scores.folds == fold
        same_person[held_out] = is_same(scores.distances[held_out], calibration.threshold)
        confidences[held_out] = calibration._confidence(scores.distances[held_out])
        bounds = calibration.probability_bounds()
        stated = calibration.probability(scores.distances[held_out])
        probabilities[held_out] = np.clip(stated, bounds.low, bounds.high)
    return FoldwiseDecisions(scores, tuple(calibrations), same_person, confidences, probabilities)


def compare_calibrators(
    distances: ArrayLike | PairScores,
    genuine: ArrayLike | None = None,
    folds: int | ArrayLike = 10,
    *,
    methods: Iterable[str] = tuple(CALIBRATORS),
    reliability_bins: int = 10,
    **settings: Any,
) -> list[CalibratorComparison]:
    """Measures calibrators on pairs that they did not see.

    Args:
        distances: As for `Calibration.foldwise`.
        genuine: As for `Calibration.foldwise`.
        folds: As for `Calibration.foldwise`.
        methods: Keys of `CALIBRATORS`.
        reliability_bins: Number of bins of both calibration errors.
        **settings: Further arguments of `Calibration.fit`.

    Returns:
        A row for each method, in the order given.

    Raises:
        CalibrationError: As `Calibration.foldwise`.
    """
    scores = cosine_scores(distances, genuine, folds)
    return [
        foldwise_decisions(scores, method=method, **settings).summary(reliability_bins) for method in methods
    ]
