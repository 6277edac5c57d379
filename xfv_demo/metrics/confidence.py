"""How well confidences hold what they say."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.errors import CalibrationError
from xfv_demo.metrics.intervals import Band, Booleans, Doubles, Integers, wilson


@dataclass(frozen=True, eq=False)
class ReliabilityCurve:
    """How often decisions of a given confidence are right.

    Attributes:
        edges: (B + 1,) float64, the bins' edges; a bin holds its left edge, the last one both.
        count: (B,) int64, decisions in each bin.
        mean_confidence: (B,) float64, NaN in empty bins.
        share_right: (B,) float64, NaN in empty bins.
        interval: 95 % Wilson intervals of `share_right`, NaN in empty bins.
    """

    edges: Doubles
    count: Integers
    mean_confidence: Doubles
    share_right: Doubles
    interval: Band


def equal_class_weights(genuine: ArrayLike) -> Doubles:
    """Weights with which genuine and impostor pairs count equally, however many there are of each.

    Args:
        genuine: (N,) bool or 0/1, with both classes.

    Returns:
        (N,) float64 of mean 1; all 1 where the classes are of one size, as in LFW.
    """
    labels = np.asarray(genuine, dtype=np.bool_)
    genuine_pairs = np.count_nonzero(labels)
    return labels.size / (2 * np.where(labels, genuine_pairs, labels.size - genuine_pairs))


def brier_score(probabilities: ArrayLike, outcomes: ArrayLike, *, weights: ArrayLike | None = None) -> float:
    """Mean squared difference of a stated probability and what happened (Brier 1950).

    Args:
        probabilities: (N,) in [0, 1], stated beforehand: for decisions, their confidences.
        outcomes: (N,) bool or 0/1, whether it happened: for decisions, whether they were right.
        weights: (N,) not negative; by default all count alike. See `equal_class_weights`.

    Returns:
        The score, in [0, 1]; 0 is best.

    Raises:
        CalibrationError: If the shapes differ or a number is out of its range.
    """
    stated, happened, mass = _stated_and_happened(probabilities, outcomes, weights, lowest=0.0)
    return float(np.average((stated - happened) ** 2, weights=mass))


def log_loss(
    probabilities: ArrayLike, outcomes: ArrayLike, *, weights: ArrayLike | None = None, clip: float = 1e-6
) -> float:
    """Mean negative log likelihood of what happened, in nats.

    Args:
        probabilities: (N,) in [0, 1], stated beforehand: for decisions, their confidences.
        outcomes: (N,) bool or 0/1, whether it happened: for decisions, whether they were right.
        weights: (N,) not negative; by default all count alike. See `equal_class_weights`.
        clip: Probabilities are drawn into [clip, 1 - clip], as being sure and wrong would cost without
            bound: at 1e-6 it costs 13.8.

    Returns:
        The loss, not negative; 0 is best.

    Raises:
        CalibrationError: If the shapes differ or a number is out of its range.
    """
    if not 0 < clip < 0.5:
        raise CalibrationError(f"the log loss is clipped at {clip}; give a number between 0 and 0.5")
    stated, happened, mass = _stated_and_happened(probabilities, outcomes, weights, lowest=0.0)
    stated = np.clip(stated, clip, 1 - clip)
    return float(np.average(-np.log(np.where(happened, stated, 1 - stated)), weights=mass))


def expected_calibration_error(
    confidences: ArrayLike, right: ArrayLike, bins: int = 10, *, weights: ArrayLike | None = None
) -> float:
    """Mean gap between confidence and share of right decisions, over bins of equal width.

    ECE of Guo et al., "On calibration of modern neural networks" (ICML 2017), section 2, over [0.5, 1] as a
    decision between two is never less sure than 0.5. A bin holds its left edge, the last one both.

    Args:
        confidences: (N,) in [0.5, 1].
        right: (N,) bool or 0/1, whether each decision was right.
        bins: Number of bins.
        weights: (N,) not negative; by default all count alike. See `equal_class_weights`.

    Returns:
        The error, in [0, 1]; 0 is best.

    Raises:
        CalibrationError: If the shapes differ, a number is out of its range, or there is no bin.
    """
    stated, happened, mass = _stated_and_happened(confidences, right, weights, lowest=0.5)
    return _mean_gap(stated, happened, mass, _bin_numbers(stated, _confidence_edges(bins)))


def adaptive_calibration_error(
    confidences: ArrayLike, right: ArrayLike, bins: int = 10, *, weights: ArrayLike | None = None
) -> float:
    """Mean gap between confidence and share of right decisions, over bins of equal mass.

    Where nearly all decisions are nearly sure, bins of equal width put them all into the last one; bins of
    equal mass look inside it (Nguyen and O'Connor, EMNLP 2015, section 3; Nixon et al. 2019, section 3.2).
    Equal confidences stay in one bin, that of their middle, so that the order of the decisions is of no
    matter; bins may then differ in mass or be empty.

    Args:
        confidences: (N,) in [0.5, 1].
        right: (N,) bool or 0/1, whether each decision was right.
        bins: Number of bins.
        weights: (N,) not negative; by default all count alike. See `equal_class_weights`.

    Returns:
        The error, in [0, 1]; 0 is best.

    Raises:
        CalibrationError: If the shapes differ, a number is out of its range, or there is no bin.
    """
    stated, happened, mass = _stated_and_happened(confidences, right, weights, lowest=0.5)
    if bins < 1:
        raise CalibrationError(f"{bins} bins: at least 1 is needed")
    _, place = np.unique(stated, return_inverse=True)
    mass_of_value = np.bincount(place, weights=mass)
    middle = (np.cumsum(mass_of_value) - mass_of_value / 2) / mass_of_value.sum()
    return _mean_gap(stated, happened, mass, np.minimum((middle * bins).astype(np.int64), bins - 1)[place])


def reliability_curve(
    confidences: ArrayLike, right: ArrayLike, bins: int = 10, *, weights: ArrayLike | None = None
) -> ReliabilityCurve:
    """What a reliability diagram shows: share of right decisions against confidence.

    Args:
        confidences: (N,) in [0.5, 1].
        right: (N,) bool or 0/1, whether each decision was right.
        bins: Number of bins of equal width over [0.5, 1].
        weights: (N,) not negative; by default all count alike. See `equal_class_weights`. The intervals then
            rest on Kish's effective number of decisions, (sum of w)^2 / sum of w^2.

    Returns:
        The curve; its bins are those of `expected_calibration_error`.

    Raises:
        CalibrationError: If the shapes differ, a number is out of its range, or there is no bin.
    """
    stated, happened, mass = _stated_and_happened(confidences, right, weights, lowest=0.5)
    edges = _confidence_edges(bins)
    bin_of = _bin_numbers(stated, edges)
    bin_mass = np.bincount(bin_of, weights=mass, minlength=bins)
    filled = bin_mass > 0
    empty = np.full(bins, np.nan)
    mean_confidence = np.divide(
        np.bincount(bin_of, weights=mass * stated, minlength=bins), bin_mass, out=empty.copy(), where=filled
    )
    share_right = np.divide(
        np.bincount(bin_of, weights=mass * happened, minlength=bins), bin_mass, out=empty.copy(), where=filled
    )
    squares = np.bincount(bin_of, weights=mass**2, minlength=bins)
    effective = np.divide(bin_mass**2, squares, out=empty.copy(), where=filled)
    return ReliabilityCurve(
        edges=edges,
        count=np.bincount(bin_of, minlength=bins).astype(np.int64),
        mean_confidence=mean_confidence,
        share_right=share_right,
        interval=Band(*wilson(share_right * effective, effective, level=0.95)),
    )


def _stated_and_happened(
    probabilities: ArrayLike, outcomes: ArrayLike, weights: ArrayLike | None, *, lowest: float
) -> tuple[Doubles, Booleans, Doubles]:
    try:
        stated = np.asarray(probabilities, dtype=np.float64)
        mass = np.ones(stated.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise CalibrationError("probabilities and weights must be lists of numbers") from error
    happened = np.asarray(outcomes)
    if stated.ndim != 1 or stated.size == 0 or not stated.shape == happened.shape == mass.shape:
        raise CalibrationError(
            "probabilities, outcomes and weights must be lists of one length, not empty; "
            f"their shapes are {stated.shape}, {happened.shape}, {mass.shape}"
        )
    if not ((stated >= lowest) & (stated <= 1)).all():
        raise CalibrationError(f"probabilities must be numbers in [{lowest:g}, 1]")
    if happened.dtype != np.bool_ and not np.isin(happened, (0, 1)).all():
        raise CalibrationError("outcomes must be true or 1 where it happened, false or 0 where it did not")
    if not (np.isfinite(mass) & (mass >= 0)).all() or not mass.any():
        raise CalibrationError("weights must be finite, not negative and not all 0")
    return stated, happened.astype(np.bool_), mass


def _confidence_edges(bins: int) -> Doubles:
    if bins < 1:
        raise CalibrationError(f"{bins} bins: at least 1 is needed")
    # Not np.linspace: 0.5 + 2 * 0.05 is a little more than the 0.6 that a confidence may be.
    return np.arange(bins, 2 * bins + 1) / (2 * bins)


def _bin_numbers(values: Doubles, edges: Doubles) -> Integers:
    return np.minimum(np.searchsorted(edges, values, side="right") - 1, edges.size - 2)


def _mean_gap(stated: Doubles, happened: Booleans, mass: Doubles, bin_of: Integers) -> float:
    # Mass times |share right - mean confidence| is |sum of mass * (right - confidence)|, bin by bin.
    gaps = np.abs(np.bincount(bin_of, weights=mass * (happened - stated)))
    return float(gaps.sum() / mass.sum())
