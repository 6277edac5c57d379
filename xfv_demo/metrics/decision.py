"""The one rule that decides a pair (pure): same when distance < threshold, strictly."""

from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from xfv_demo.errors import XfvError
from xfv_demo.metrics.intervals import Booleans, Doubles, Integers

LARGEST_DISTANCE = 2.0  # Of the cosine distance: opposite directions.


@overload
def is_same(distances: float | np.floating[Any], distance_threshold: float) -> bool: ...
@overload
def is_same(distances: NDArray[Any], distance_threshold: float | Doubles) -> Booleans: ...
def is_same(
    distances: float | np.floating[Any] | NDArray[Any], distance_threshold: float | Doubles
) -> bool | Booleans:
    """Decides pairs, by the one rule that there is: distance < threshold, strictly.

    Numbers are compared as they are, in double precision: NumPy would round a threshold to float32 for
    distances of that kind, and so find ties where there are none.

    Args:
        distances: A distance, or (...) of them.
        distance_threshold: The threshold, or (...) of them, one for each distance.

    Returns:
        Whether it is the same person: a bool for a number, else (...) bool.
    """
    decided = np.asarray(distances, np.float64) < distance_threshold
    return np.asarray(decided) if np.ndim(distances) else bool(decided)


@overload
def is_same_by_similarity(similarities: float | np.floating[Any], similarity_threshold: float) -> bool: ...
@overload
def is_same_by_similarity(similarities: NDArray[Any], similarity_threshold: float) -> Booleans: ...
def is_same_by_similarity(
    similarities: float | np.floating[Any] | NDArray[Any], similarity_threshold: float
) -> bool | Booleans:
    """Decides pairs by their cosine similarity: as `is_same` decides the distances that follow from it.

    Args:
        similarities: A cosine similarity, or (...) of them.
        similarity_threshold: The threshold on it; a pair that just reaches it is not "same".

    Returns:
        As `is_same`.
    """
    return is_same(1 - similarities, 1 - similarity_threshold)


def count_same(distances: Doubles, distance_thresholds: Doubles | float) -> Integers:
    """How many of sorted distances `is_same` takes for the same at each threshold."""
    # side="left" counts those strictly below.
    return np.asarray(np.searchsorted(distances, distance_thresholds, side="left"))


def check_threshold(distance_threshold: float | None) -> float | None:
    """Refuses a distance threshold that no distance can be told apart by, before the work.

    Args:
        distance_threshold: A cosine distance; None for none of one's own.

    Returns:
        The same.

    Raises:
        XfvError: It is not in (0, 2].
    """
    if distance_threshold is not None and not 0 < distance_threshold <= LARGEST_DISTANCE:  # NaN fails too
        raise XfvError(
            f"{distance_threshold:g} is no threshold; give a cosine distance above 0 and up to 2, such as 0.6"
        )
    return distance_threshold
