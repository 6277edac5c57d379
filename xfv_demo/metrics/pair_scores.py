"""The distances of labelled pairs, checked once and handed on (pure)."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.errors import DatasetError
from xfv_demo.metrics.intervals import Booleans, Doubles, Integers


@dataclass(frozen=True, eq=False, init=False)
class PairScores:
    """The distances of labelled pairs, checked; what is counted from them is counted once.

    Attributes:
        distances: (N,) float64.
        genuine: (N,) bool, true where a pair shows one person.
        folds: (N,) int64, each pair's fold, numbered from 0 up without a gap; None where there are none.

    Args:
        distances: (N,) finite numbers.
        genuine: (N,) bool or 0/1, true where a pair shows one person.
        folds: As for `fold_numbers`, if they are needed.

    Raises:
        DatasetError: If the shapes differ, a distance is not finite, a label is neither 0 nor 1, one of the
            two classes has no pair, or as `fold_numbers`.
    """

    distances: Doubles
    genuine: Booleans
    folds: Integers | None

    def __init__(
        self, distances: ArrayLike, genuine: ArrayLike, folds: int | ArrayLike | None = None
    ) -> None:
        values, labels = _labelled_pairs(distances, genuine)
        fold_of = None if folds is None else fold_numbers(folds, values.size)
        for name, array in (("distances", values), ("genuine", labels), ("folds", fold_of)):
            if array is not None:
                array.setflags(write=False)
            object.__setattr__(self, name, array)

    @classmethod
    def of(
        cls,
        distances: "ArrayLike | PairScores",
        genuine: ArrayLike | None = None,
        folds: int | ArrayLike | None = None,
    ) -> "PairScores":
        """Passes on what is checked already, with its own labels and folds; checks what is not."""
        if not isinstance(distances, PairScores):
            return cls(distances, np.asarray(genuine), folds)
        if distances.folds is None and folds is not None:
            return cls(distances.distances, distances.genuine, folds)
        return distances

    @property
    def fold_count(self) -> int:
        """The number of folds, 0 where there are none."""
        return 0 if self.folds is None else int(self.folds.max()) + 1

    @cached_property
    def genuine_distances(self) -> Doubles:
        """Those of the genuine pairs, sorted."""
        return np.sort(self.distances[self.genuine])

    @cached_property
    def impostor_distances(self) -> Doubles:
        """Those of the impostor pairs, sorted."""
        return np.sort(self.distances[~self.genuine])

    def outside(self, fold: int) -> "PairScores":
        """The pairs of all other folds, checked as any pairs are; made once.

        Raises:
            DatasetError: If they are of one class.
        """
        if fold not in self._outside:
            others = self.folds != fold
            self._outside[fold] = PairScores(self.distances[others], self.genuine[others])
        return self._outside[fold]

    @cached_property
    def _outside(self) -> "dict[int, PairScores]":
        return {}

    @cached_property
    def places(self) -> tuple[Doubles, Integers]:
        """The M distances that occur, rising, and each pair's place among them."""
        occurring, place = np.unique(self.distances, return_inverse=True)
        return occurring, place

    @cached_property
    def accepted(self) -> tuple[Integers, Integers]:
        """The running counts of genuine and impostor pairs over the distances that occur."""
        occurring, place = self.places
        genuine, impostor = (
            running_count(np.bincount(place[rows], minlength=occurring.size))
            for rows in (self.genuine, ~self.genuine)
        )
        return genuine, impostor


def fold_numbers(folds: int | ArrayLike, count: int) -> Integers:
    """Says which fold each pair belongs to.

    Args:
        folds: How many consecutive folds to cut the pairs into, their sizes differing by one at most; or each
            pair's fold, (count,) integers. Consecutive folds need pairs in which the classes alternate, as
            LFW's do: a fold of one class leaves the others out of balance.
        count: Number of pairs.

    Returns:
        (count,) int64, numbers from 0 up without a gap, in the order of the folds given.

    Raises:
        DatasetError: If there are fewer than two folds, more folds than pairs, or a number of folds other
            than the number of pairs.
    """
    given = np.asarray(folds)
    if not np.issubdtype(given.dtype, np.integer):
        raise DatasetError(f"folds must be a number or whole numbers, one a pair; they are {given.dtype}")
    if given.ndim == 0:
        if not 2 <= given <= count:
            raise DatasetError(f"{count} pairs cannot be cut into {given} folds; take 2 to {count}")
        return np.arange(count, dtype=np.int64) * int(given) // count
    if given.shape != (count,):
        raise DatasetError(f"the folds' shape is {given.shape}, but there are {count} pairs")
    numbers, fold_of = np.unique(given, return_inverse=True)
    if numbers.size < 2:
        raise DatasetError("all pairs are in one fold; at least two folds are needed")
    return fold_of.astype(np.int64)


def _labelled_pairs(distances: ArrayLike, genuine: ArrayLike) -> tuple[Doubles, Booleans]:
    """Checks distances and labels, and copies them; see `PairScores`."""
    try:
        values = np.array(distances, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DatasetError("distances are not a list of numbers") from error
    labels = np.asarray(genuine)
    if values.ndim != 1 or values.shape != labels.shape:
        raise DatasetError(
            "distances and labels must be lists of one length; "
            f"their shapes are {values.shape}, {labels.shape}"
        )
    if missing := int(np.count_nonzero(~np.isfinite(values))):
        raise DatasetError(
            f"{missing} distances are not finite numbers: {missing} of {values.size} pairs have no distance; "
            "leave out the pairs of photos that failed, and name these photos"
        )
    if labels.dtype != np.bool_ and not np.isin(labels, (0, 1)).all():
        raise DatasetError("labels must be true or 1 for genuine pairs, false or 0 for impostor pairs")
    labels = labels.astype(np.bool_)
    if not labels.size:
        raise DatasetError("there are no pairs; both genuine and impostor pairs are needed")
    if labels.all() or not labels.any():
        present = "genuine" if labels.all() else "impostor"
        raise DatasetError(f"there are {present} pairs only; both genuine and impostor pairs are needed")
    return values, labels


def running_count(counts: Integers) -> Integers:
    """Pairs accepted by a threshold below the first distance, then past each distance: (..., M + 1)."""
    accepted = np.zeros((*counts.shape[:-1], counts.shape[-1] + 1), dtype=np.int64)
    np.cumsum(counts, axis=-1, out=accepted[..., 1:])
    return accepted
