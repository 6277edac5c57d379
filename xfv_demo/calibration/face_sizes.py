"""What the size of two faces in their photos does to P(same person | distance) (pure).

A face of a few pixels loses its likeness to other photos of the same person, while strangers stay strangers:
on small faces the distances of one person grow, and the answer turns at another distance. A size is the
distance between the eyes in the photo's own pixels.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.calibration.calibrators import BetaCalibrator, fit_log_odds
from xfv_demo.errors import CalibrationError
from xfv_demo.metrics.decision import LARGEST_DISTANCE
from xfv_demo.metrics.intervals import Booleans, Doubles, Integers
from xfv_demo.metrics.pair_scores import PairScores

# Halvings of [0, 2] in search of a threshold: beyond what double precision tells apart.
_HALVINGS = 60
_ROUNDING = 1e-9
# Keeps changes finite that the pairs do not tell of; at ten times as much, LFW's log losses are the same.
_RIDGE = 1e-5
# Of the change from full size to the smallest; see `SizeCorrection`.
_STEEPNESS = 3


@dataclass(frozen=True, eq=False)
class SizedPairs:
    """Labelled pairs of faces whose sizes are known.

    Attributes:
        scores: The pairs' distances, labels and folds.
        sizes: (N, 2) float64, above 0: pixels between the eyes of both faces, in their photos.
        of_pair: (N,) integers: which pair each is a copy of.
    """

    scores: PairScores
    sizes: Doubles
    of_pair: Integers

    @property
    def pairs(self) -> int:
        """Of how many pairs of the smaller class these are copies: no more tell of chance."""
        genuine = self.scores.genuine
        return min(np.unique(self.of_pair[side]).size for side in (genuine, ~genuine))

    def outside(self, fold: int) -> "SizedPairs":
        """The pairs of all other folds."""
        others = self.scores.folds != fold
        return SizedPairs(self.scores.outside(fold), self.sizes[others], self.of_pair[others])


@dataclass(frozen=True)
class SizeCorrection:
    """How the three coefficients of beta calibration change with the sizes of the faces.

    With t = (log(largest / size) / log(largest / smallest))^3 of each face, 0 from the largest size on and
    1 at the smallest, and t1 >= t2 those of the smaller and of the larger face, a coefficient is its own at
    full size, plus t1 - t2 times its change where one face is of the smallest size, plus t2 times that where
    both are. So nothing changes at full size, nor does it begin with a kink. All that can come about lies
    between these three corners: where a and b are not negative there, the probability never rises with the
    distance.

    Tried on copies of images of LFW, by folds (600 to 700 pairs): with the square in place of the cube, one
    face of 13 pixels costs 0.029 of log loss, not 0.025, and of 9 pixels 0.067, not 0.059; with further
    corners at sizes between, losses are the same to within chance. With sharpness counted as a size, so that
    blur counts too, that of pairs at full size rises from 0.018 to 0.022, and of pairs blurred by a radius of
    2 from 0.052 to 0.053; of photos that were moved by 15 pixels it falls from 0.45 to 0.32, but these get no
    confidence anyhow.

    Attributes:
        largest: From this size on nothing changes, in pixels between the eyes.
        smallest: The smallest size that the calibration covers.
        one_small: The changes of a, b and c where one face is of the smallest size, the other of full size.
        both_small: The changes where both faces are of the smallest size.
        pairs: On how many pairs of the smaller class the changes rest; see `SizedPairs.pairs`.
    """

    largest: float
    smallest: float
    one_small: tuple[float, float, float]
    both_small: tuple[float, float, float]
    pairs: int

    def __post_init__(self) -> None:
        """Refuses what no fit can have made.

        Raises:
            CalibrationError: If a number is not finite or the sizes are none.
        """
        changes = np.array([self.one_small, self.both_small])
        is_sound = 0 < self.smallest < self.largest < np.inf and np.isfinite(changes).all()
        if not is_sound or self.pairs < 1:
            raise CalibrationError("the calibration's sizes of faces are none that a fit can give")

    @classmethod
    def fit(cls, calibrator: BetaCalibrator, pairs: SizedPairs, *, largest: float, smallest: float) -> Self:
        """Fits the changes by maximum likelihood; the calibrator stays as it is.

        Args:
            calibrator: Fitted to pairs of full size.
            pairs: Pairs of which many have a small face.
            largest: As in the class.
            smallest: As in the class; smaller faces count as of this size.

        Raises:
            CalibrationError: If the fit does not converge.
        """
        own = np.array([calibrator.a, calibrator.b, calibrator.c])
        terms = calibrator.terms(pairs.scores.distances)
        shares = _shares(pairs.sizes, largest, smallest)
        features = shares[:, :, np.newaxis] * terms[:, np.newaxis]
        found = fit_log_odds(
            features.reshape(len(terms), -1),
            pairs.scores.genuine,
            terms @ own,
            # Neither a nor b may be negative at a corner.
            lowest=np.tile([-calibrator.a, -calibrator.b, -np.inf], 2),
            ridge=_RIDGE,
        )
        one, both = found.reshape(2, 3)
        return cls(largest, smallest, tuple(one.tolist()), tuple(both.tolist()), pairs.pairs)

    def check_falling(self, calibrator: BetaCalibrator) -> None:
        """Refuses changes by which the probability could rise with the distance.

        Raises:
            CalibrationError: If a or b would be negative at a corner.
        """
        changes = np.array([self.one_small, self.both_small])[:, :2]
        if (changes + np.array([calibrator.a, calibrator.b]) < -_ROUNDING).any():
            raise CalibrationError("the calibration's changes by size do not fit its calibrator")

    def covers(self, sizes: ArrayLike) -> Booleans:
        """Whether sizes (...) are no smaller than those that the calibration was made on."""
        return np.asarray(np.asarray(sizes, dtype=np.float64) >= self.smallest)

    def pairs_at(self, of_full_size: int, sizes: Doubles) -> float:
        """On how many pairs rests what is stated of two faces: a mean of both numbers, by how far they count.

        Args:
            of_full_size: On how many rests what holds at full size.
            sizes: (2,) above 0.

        Returns:
            The geometric mean of that and of `pairs`, weighted by the smaller face's share of the change (t1
            of the class): the one at full size, the other at the smallest.
        """
        share = float(_shares(sizes, self.largest, self.smallest).sum())
        return float(of_full_size ** (1 - share) * min(self.pairs, of_full_size) ** share)

    def probability(self, calibrator: BetaCalibrator, distances: Doubles, sizes: Doubles) -> Doubles:
        """P(genuine | distance, sizes).

        Args:
            calibrator: What holds at full size.
            distances: (...) in [0, 2].
            sizes: (..., 2) above 0; what is below the smallest counts as of it.

        Returns:
            (...) float64, within the calibrator's bounds.
        """
        return calibrator.bounded(self._log_odds(calibrator, distances, sizes))

    def threshold(self, calibrator: BetaCalibrator, own: float, sizes: Doubles) -> Doubles:
        """Where the decision changes: at the log odds which the threshold has at full size.

        Args:
            calibrator: What holds at full size.
            own: The distance threshold at full size.
            sizes: (..., 2) above 0.

        Returns:
            (...) float64 in [0, 2]; exactly the own one where both faces are of full size.
        """
        at_own = calibrator.terms(np.array(own)) @ np.array([calibrator.a, calibrator.b, calibrator.c])
        low, high = np.zeros(sizes.shape[:-1]), np.full(sizes.shape[:-1], LARGEST_DISTANCE)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            is_above = self._log_odds(calibrator, middle, sizes) > at_own
            low, high = np.where(is_above, middle, low), np.where(is_above, high, middle)
        is_full = (sizes >= self.largest).all(axis=-1)
        return np.where(is_full, own, (low + high) / 2)

    def _log_odds(self, calibrator: BetaCalibrator, distances: Doubles, sizes: Doubles) -> Doubles:
        own = np.array([calibrator.a, calibrator.b, calibrator.c])
        changes = np.array([self.one_small, self.both_small])
        coefficients = own + _shares(sizes, self.largest, self.smallest) @ changes
        return np.asarray((calibrator.terms(distances) * coefficients).sum(axis=-1))


def _shares(sizes: Doubles, largest: float, smallest: float) -> Doubles:
    """How far sizes (..., 2) are on the way to one small face, and to two: (..., 2)."""
    way = np.log(largest / np.clip(sizes, smallest, largest)) / np.log(largest / smallest)
    larger, smaller = np.moveaxis(np.sort(way**_STEEPNESS, axis=-1), -1, 0)
    return np.stack([smaller - larger, larger], axis=-1)
