"""How far a rate or a mean may be off: intervals and bands."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xfv_demo.errors import DatasetError

Doubles = NDArray[np.float64]

Integers = NDArray[np.int64]

Booleans = NDArray[np.bool_]


@dataclass(frozen=True)
class Interval:
    """A confidence interval.

    Attributes:
        low: Its lower end.
        high: Its upper end.
    """

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Band:
    """Confidence intervals along a curve, each for itself.

    Attributes:
        low: (T,) float64, the lower ends.
        high: (T,) float64, the upper ends.
    """

    low: Doubles
    high: Doubles


def wilson_interval(errors: int, trials: int, level: float = 0.95) -> Interval:
    """Wilson score interval of a rate (Wilson 1927), without continuity correction.

    Chosen over Clopper-Pearson, which is wider than its level asks, and over the normal approximation, which
    has no width where no error was seen (Brown, Cai and DasGupta, "Interval estimation for a binomial
    proportion", Statistical Science 16, 2001, section 3). It takes the trials as independent; pairs that
    share a photo or a person are not quite, so the true uncertainty is somewhat larger.

    Args:
        errors: How often the event was seen, 0 <= errors <= trials.
        trials: How often it could have been seen.
        level: Confidence level, in (0, 1).

    Returns:
        The interval, within [0, 1].

    Raises:
        DatasetError: If the counts or the level are out of range.
    """
    check_counts(errors, trials)
    low, high = wilson(np.array([errors], dtype=np.float64), trials, level)
    return Interval(low=float(low[0]), high=float(high[0]))


def percentile_interval(parts: list[Doubles], level: float) -> Interval:
    """The middle part of resampled values."""
    low, high = np.quantile(np.concatenate(parts), [(1 - level) / 2, (1 + level) / 2])
    return Interval(low=float(low), high=float(high))


def check_level(level: float) -> None:
    """Refuses what is no confidence level."""
    if not 0 < level < 1:
        raise DatasetError(f"a confidence level of {level} is none; give a number between 0 and 1")


def check_counts(errors: int, trials: int) -> None:
    """Refuses counts that make no rate."""
    if not 0 <= errors <= trials or trials == 0:
        raise DatasetError(f"{errors} errors in {trials} trials are no rate")


def wilson(errors: Doubles, trials: float | Doubles, level: float) -> tuple[Doubles, Doubles]:
    """Wilson intervals of rates; see `wilson_interval`. NaN stays NaN."""
    from scipy.special import ndtri

    check_level(level)
    z = float(ndtri((1 + level) / 2))
    rate = errors / trials
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2))
    # Rounding must not exclude the rates 0 and 1 from their own intervals.
    low: Doubles = np.where(errors == 0, 0.0, np.clip(centre - half, 0, 1))
    high: Doubles = np.where(errors == trials, 1.0, np.clip(centre + half, 0, 1))
    return low, high
