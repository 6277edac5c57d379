"""How pairs are cut into folds, and an even part of them taken (pure)."""

from collections.abc import Sequence

import numpy as np

from xfv_demo.metrics.intervals import Booleans, Integers

FOLDS = 10  # What sets without folds of their own are cut into, as LFW's View 2 is.


def folds_by_class(genuine: Booleans) -> Integers:
    """Cuts each class into ten consecutive folds, or as many as the smaller class has pairs."""
    folds = np.zeros(genuine.size, dtype=np.int64)
    classes = [np.flatnonzero(genuine == label) for label in (True, False)]
    number = max(1, min(FOLDS, *(members.size for members in classes)))
    for members in classes:
        folds[members] = consecutive_folds(members.size, number)
    return folds


def even_rows(genuine: Booleans, folds: Integers, count: int) -> Integers:
    """Which pairs an even subset has; see `PairSet.subset`.

    Args:
        genuine: (P,) bool.
        folds: (P,) each pair's fold.
        count: How many pairs, at most P.

    Returns:
        Their places, growing.
    """
    chosen = []
    of_class = [int(np.count_nonzero(genuine)), int(np.count_nonzero(~genuine))]
    for label, share in zip((True, False), even_shares(of_class, count), strict=True):
        groups = [np.flatnonzero((folds == fold) & (genuine == label)) for fold in np.unique(folds)]
        for group, some in zip(groups, even_shares([len(group) for group in groups], share), strict=True):
            # The middles of as many equal stretches.
            chosen.append(group[(2 * np.arange(some) + 1) * len(group) // (2 * max(some, 1))])
    return np.sort(np.concatenate(chosen))


def consecutive_folds(count: int, folds: int) -> Integers:
    """Cuts pairs into consecutive folds whose sizes differ by one at most.

    Args:
        count: How many pairs.
        folds: How many folds.

    Returns:
        (count,) each pair's fold.
    """
    return np.arange(count, dtype=np.int64) * folds // max(count, 1)


def even_shares(capacities: Sequence[int], total: int) -> list[int]:
    """Takes a number of things from groups, from each as many as from each other as far as it has them.

    What does not divide evenly comes from the groups that stand first.

    Args:
        capacities: How many each group has.
        total: How many to take; where the groups have fewer, all are taken.

    Returns:
        How many of each group.
    """
    available = np.array(capacities, dtype=np.int64)
    shares = np.zeros_like(available)
    left = min(total, int(available.sum()))
    while left:
        giving = np.flatnonzero(shares < available)[:left]
        step = min(left // giving.size, int((available - shares)[giving].min()))
        shares[giving] += step
        left -= step * giving.size
    return [int(share) for share in shares]
