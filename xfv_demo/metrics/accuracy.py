"""The threshold that decides most pairs rightly, and the accuracy of thresholds on other folds (pure).

Distances are cosine distances here, within [0, 2].
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.errors import DatasetError
from xfv_demo.metrics.decision import LARGEST_DISTANCE, count_same, is_same
from xfv_demo.metrics.intervals import Booleans, Doubles
from xfv_demo.metrics.pair_scores import PairScores

THRESHOLD_BINS = 2000  # Candidate thresholds over [0, 2], as x-Face searches them.


@dataclass(frozen=True, eq=False)
class FoldAccuracy:
    """Accuracy by the LFW protocol: each fold judged with the other folds' best threshold.

    Attributes:
        accuracies: (F,) float64 in [0, 1], one a fold.
        thresholds: (F,) float64, the threshold that each fold was judged with.
        right: (N,) bool, whether each pair was decided rightly.
    """

    accuracies: Doubles
    thresholds: Doubles
    right: Booleans

    @property
    def mean(self) -> float:
        """Mean accuracy over the folds."""
        return float(self.accuracies.mean())

    @property
    def standard_deviation(self) -> float:
        """Of the folds' accuracies, with F - 1 in the denominator as LFW's report has it."""
        return float(self.accuracies.std(ddof=1))

    @property
    def standard_error(self) -> float:
        """Of the mean: the standard deviation over the square root of the number of folds."""
        return self.standard_deviation / float(np.sqrt(len(self.accuracies)))


def best_threshold(
    distances: ArrayLike | PairScores, genuine: ArrayLike | None = None, bins: int = THRESHOLD_BINS
) -> float:
    """The first of evenly spaced thresholds at which most pairs are decided rightly.

    x-Face's search (Knoche et al., arXiv 2211.13735; methods.md, section 1, step 1). All pairs count alike:
    where one class has far more pairs than the other, the threshold moves to please the larger class.

    Args:
        distances: (N,) cosine distances in [0, 2]; or `PairScores` of such.
        genuine: (N,) bool or 0/1, true where a pair shows one person.
        bins: Number of candidates t_i = i * 2 / bins, i = 0 .. bins - 1.

    Returns:
        The threshold, in [0, 2).

    Raises:
        DatasetError: As `PairScores`, or if there is not one candidate.
    """
    if bins < 1:
        raise DatasetError(f"{bins} candidate thresholds: at least 1 is needed")
    scores = PairScores.of(distances, genuine)
    candidates = threshold_grid(bins)[:-1]
    accepted_genuine = count_same(scores.genuine_distances, candidates)
    accepted_impostor = count_same(scores.impostor_distances, candidates)
    # Counts, not shares: equal accuracies must be equal for the first one to win.
    return float(candidates[np.argmax(accepted_genuine - accepted_impostor)])


def threshold_grid(bins: int = THRESHOLD_BINS) -> Doubles:
    """Edges of evenly spaced bins over the distances.

    Args:
        bins: Number of bins.

    Returns:
        (bins + 1,) float64 from 0 to 2, each the double nearest to i * 2 / bins, so that a grid of 2000 bins
        holds the very number that 0.601 is read as.
    """
    return np.arange(bins + 1) * LARGEST_DISTANCE / bins


def fold_accuracy(
    distances: ArrayLike | PairScores,
    genuine: ArrayLike | None = None,
    folds: int | ArrayLike = 10,
    bins: int = THRESHOLD_BINS,
) -> FoldAccuracy:
    """Accuracy by the protocol of LFW's View 2 (Huang et al. 2007, section IV).

    Args:
        distances: (N,) cosine distances in [0, 2], in the data set's order; or `PairScores` of such, with
            labels and folds.
        genuine: (N,) bool or 0/1, true where a pair shows one person.
        folds: As for `fold_numbers`. LFW's pairs come in ten consecutive folds of 300 genuine and 300
            impostor pairs.
        bins: As for `best_threshold`, which chooses each fold's threshold on the other folds.

    Returns:
        Each fold's accuracy and threshold, with their mean and spread.

    Raises:
        DatasetError: As `PairScores` (of the folds taken together for a threshold, too), or as
            `fold_numbers`.
    """
    scores = PairScores.of(distances, genuine, folds)
    thresholds = np.array(
        [best_threshold(scores.outside(fold), bins=bins) for fold in range(scores.fold_count)]
    )
    right = is_same(scores.distances, thresholds[scores.folds]) == scores.genuine
    accuracies = np.array([right[scores.folds == fold].mean() for fold in range(scores.fold_count)])
    return FoldAccuracy(accuracies=accuracies, thresholds=thresholds, right=right)
