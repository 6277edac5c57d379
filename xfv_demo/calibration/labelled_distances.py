"""Which labelled cosine distances a calibration takes (pure)."""

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.errors import CalibrationError, DatasetError
from xfv_demo.metrics.decision import LARGEST_DISTANCE
from xfv_demo.metrics.error_rates import auc
from xfv_demo.metrics.intervals import Doubles
from xfv_demo.metrics.pair_scores import PairScores

# With fewer pairs of a class, an error rate is known to no better than 3 / 20 = 15 % even where no error is
# seen, so a confidence would be a guess. x-Face needs hundreds to be of any use.
MINIMUM_PAIRS = 20

# Distances of float32 embeddings stray this far out of [0, 2].
_DISTANCE_TOLERANCE = 1e-6


def checked_distances(distances: ArrayLike) -> Doubles:
    """Cosine distances within [0, 2], what is rounding outside put to the ends.

    Raises:
        CalibrationError: If one is not a number in [0, 2].
    """
    try:
        values = np.asarray(distances, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise CalibrationError("cosine distances must be numbers in [0, 2]") from error
    outside = ~((values >= -_DISTANCE_TOLERANCE) & (values <= LARGEST_DISTANCE + _DISTANCE_TOLERANCE))
    if outside.any():
        raise CalibrationError(
            f"{np.count_nonzero(outside)} of {values.size} cosine distances are not numbers in [0, 2], "
            f"such as {values[outside].flat[0]:g}; distances are 1 - cosine similarity"
        )
    return np.clip(values, 0.0, LARGEST_DISTANCE)


def cosine_scores(
    distances: ArrayLike | PairScores, genuine: ArrayLike | None, folds: int | ArrayLike | None = None
) -> PairScores:
    """Scores within [0, 2]; such ones are passed on as they are."""
    try:
        if not isinstance(distances, PairScores):
            return PairScores(checked_distances(distances), np.asarray(genuine), folds)
        scores = PairScores.of(distances, folds=folds)
    except DatasetError as error:
        raise CalibrationError(str(error)) from error
    ends = [*scores.genuine_distances[[0, -1]], *scores.impostor_distances[[0, -1]]]
    if min(ends) >= 0 and max(ends) <= LARGEST_DISTANCE:
        return scores
    return PairScores(checked_distances(scores.distances), scores.genuine, scores.folds)


def check_separable(scores: PairScores) -> None:
    """Refuses pairs that no calibration can rest on.

    Raises:
        CalibrationError: If the pairs are too few, or not told apart by the distance.
    """
    genuine_pairs, impostor_pairs = scores.genuine_distances.size, scores.impostor_distances.size
    if min(genuine_pairs, impostor_pairs) < MINIMUM_PAIRS:
        raise CalibrationError(
            f"{genuine_pairs} genuine and {impostor_pairs} impostor pairs are too few to calibrate on; "
            f"take at least {MINIMUM_PAIRS} of each, better some hundreds"
        )
    if auc(scores) <= 0.5:
        raise CalibrationError(
            "genuine pairs are no closer than impostor pairs, so no threshold tells them apart; "
            "are the labels exchanged, or all distances alike?"
        )
