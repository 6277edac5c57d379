"""How the distances of labelled pairs lie, and what error rates follow (pure)."""

import math
from dataclasses import dataclass

import numpy as np

from xfv_demo.errors import CalibrationError
from xfv_demo.metrics.error_rates import ErrorRates
from xfv_demo.metrics.intervals import Doubles, Integers, Interval

CONFIDENCE_LEVEL = 0.95


@dataclass(frozen=True)
class OperatingPoint:
    """The error rates at one threshold, on the pairs that a calibration was fitted to.

    Attributes:
        threshold: The distance threshold.
        fmr: Share of impostor pairs with distance < threshold.
        fnmr: Share of genuine pairs with distance >= threshold.
        fmr_interval: 95 % Wilson interval of `fmr`.
        fnmr_interval: 95 % Wilson interval of `fnmr`.
    """

    threshold: float
    fmr: float
    fnmr: float
    fmr_interval: Interval
    fnmr_interval: Interval


@dataclass(frozen=True, eq=False)
class DistanceHistogram:
    """How many pairs lie at which distance.

    Attributes:
        edges: (B + 1,) float64 from 0 to 2; a bin holds its left edge, the last one both.
        genuine: (B,) int64, genuine pairs.
        impostor: (B,) int64, impostor pairs.
    """

    edges: Doubles
    genuine: Integers
    impostor: Integers

    @property
    def error_rates(self) -> ErrorRates:
        """Both error rates at the edges: exact, but for pairs at the last edge, which count as below it."""
        accepted_genuine = np.concatenate([[0], np.cumsum(self.genuine)])
        accepted_impostor = np.concatenate([[0], np.cumsum(self.impostor)])
        genuine_pairs, impostor_pairs = int(accepted_genuine[-1]), int(accepted_impostor[-1])
        return ErrorRates(
            thresholds=self.edges,
            fmr=accepted_impostor / impostor_pairs,
            fnmr=(genuine_pairs - accepted_genuine) / genuine_pairs,
            genuine_pairs=genuine_pairs,
            impostor_pairs=impostor_pairs,
        )

    def error_rates_at(self, distance_threshold: float) -> OperatingPoint:
        """Both error rates at one threshold: exact at an edge, else on the straight line between two.

        Raises:
            CalibrationError: If the threshold is not finite.
        """
        if not math.isfinite(distance_threshold):
            raise CalibrationError(f"there are no error rates at a threshold of {distance_threshold}")
        rates = self.error_rates
        at = ErrorRates(
            thresholds=np.array([distance_threshold], dtype=np.float64),
            fmr=np.interp([distance_threshold], rates.thresholds, rates.fmr),
            fnmr=np.interp([distance_threshold], rates.thresholds, rates.fnmr),
            genuine_pairs=rates.genuine_pairs,
            impostor_pairs=rates.impostor_pairs,
        )
        fmr_band, fnmr_band = at.fmr_band(CONFIDENCE_LEVEL), at.fnmr_band(CONFIDENCE_LEVEL)
        return OperatingPoint(
            threshold=float(distance_threshold),
            fmr=float(at.fmr[0]),
            fnmr=float(at.fnmr[0]),
            fmr_interval=Interval(low=float(fmr_band.low[0]), high=float(fmr_band.high[0])),
            fnmr_interval=Interval(low=float(fnmr_band.low[0]), high=float(fnmr_band.high[0])),
        )
