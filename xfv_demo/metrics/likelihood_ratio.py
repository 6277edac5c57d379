"""How good stated likelihood ratios are, and how large ones a labelled set can carry (pure).

Probabilities stand for likelihood ratios here: P at equal priors is LR / (1 + LR). The package `lir` of the
Netherlands Forensic Institute computes the same; the tests hold these to it. It is not used itself as its API
differs between the last version for Python 3.11 and those after, which bring pymc and numba, and as its
import takes seconds.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

from xfv_demo.metrics.confidence import equal_class_weights, log_loss
from xfv_demo.metrics.intervals import Booleans, Doubles, Interval

# In log10: a calibrator may be certain, as x-Face's is; and how finely bounds are looked for. Both as lir has
# them.
_EXTREME = 9.0
_STEP = 0.01


def log10_likelihood_ratios(probabilities: ArrayLike) -> Doubles:
    """The likelihood ratios behind P(genuine) at equal priors.

    Args:
        probabilities: (...) in [0, 1].

    Returns:
        (...) float64, held to [-9, 9].
    """
    stated = np.asarray(probabilities, dtype=np.float64)
    with np.errstate(divide="ignore"):
        values: Doubles = np.log10(stated) - np.log10(1 - stated)
    return np.clip(values, -_EXTREME, _EXTREME)


def cllr(probabilities: Doubles, genuine: Booleans) -> float:
    """The cost of the log likelihood ratio: mean loss in bits, both classes counting alike.

    Brümmer and du Preez, "Application-independent evaluation of speaker detection" (Computer Speech and
    Language 20, 2006): half the mean of log2(1 + 1 / LR) over genuine pairs plus half that of log2(1 + LR)
    over impostor pairs. Of one that always says 1 it is 1, of a perfect one 0.

    Args:
        probabilities: (N,) P(genuine) at equal priors.
        genuine: (N,) bool, with both classes.
    """
    weights = equal_class_weights(genuine)
    return log_loss(probabilities, genuine, weights=weights, clip=10**-_EXTREME) / math.log(2)


def min_cllr(probabilities: Doubles, genuine: Booleans) -> float:
    """What of `cllr` no calibration could save: the cost after pooling adjacent violators.

    Args:
        probabilities: (N,) P(genuine) at equal priors.
        genuine: (N,) bool, with both classes.
    """
    from scipy.optimize import isotonic_regression

    _, place = np.unique(probabilities, return_inverse=True)
    weights = equal_class_weights(genuine)
    mass = np.bincount(place, weights=weights)
    share = np.bincount(place, weights=weights * genuine) / mass
    return cllr(isotonic_regression(share, weights=mass).x[place].clip(0, 1), genuine)


def elub_bounds(probabilities: Doubles, genuine: Booleans) -> Interval:
    """Beyond which likelihood ratios a labelled set no longer vouches for what is stated.

    Vergeer et al., "Numerical likelihood ratios outputted by LR systems are often based on extrapolation:
    when to stop extrapolating?" (Science and Justice 56, 2016): the empirical lower and upper bound. At each
    threshold t, deciding by "LR > t" with the costs for which t is the limit must be cheaper than deciding
    without the evidence; to each class one pair that misleads utterly is added.

    Args:
        probabilities: (N,) P(genuine) at equal priors.
        genuine: (N,) bool, with both classes.

    Returns:
        The bounds of log10 LR, at most 0 and at least 0.
    """
    ratios = log10_likelihood_ratios(probabilities)
    of_genuine, of_impostor = np.sort(ratios[genuine]), np.sort(ratios[~genuine])
    lowest = max(ratios.min(), -np.log10(of_genuine.size + 1))
    highest = min(ratios.max(), np.log10(of_impostor.size + 1))
    first, last = min(0, int(lowest // _STEP)), max(0, int(highest // _STEP) + 1)
    thresholds = np.arange(first, last + 1) * _STEP
    missed = (np.searchsorted(of_genuine, thresholds, side="right") + 1) / (of_genuine.size + 1)
    passed = of_impostor.size - np.searchsorted(of_impostor, thresholds, side="right") + 1
    cost = missed + 10**thresholds * passed / (of_impostor.size + 1)
    misleads = cost > np.minimum(1, 10**thresholds)
    low = np.max(thresholds[misleads & (thresholds <= 0)] + _STEP, initial=thresholds[0])
    high = np.min(thresholds[misleads & (thresholds >= 0)] - _STEP, initial=thresholds[-1])
    return Interval(low=min(0.0, round(float(low), 2)), high=max(0.0, round(float(high), 2)))
