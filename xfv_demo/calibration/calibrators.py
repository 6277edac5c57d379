"""The maps from a cosine distance to P(genuine | distance): x-Face's, and others to compare it with (pure).

All take both classes as equally likely beforehand, however many pairs of each the labelled set has: x-Face
compares densities that are normalised class by class, the others weigh their pairs to the same end. What is
made of such a map, threshold and confidence, stands in `calibration`.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from xfv_demo.errors import CalibrationError, printable
from xfv_demo.metrics.accuracy import threshold_grid
from xfv_demo.metrics.confidence import equal_class_weights
from xfv_demo.metrics.decision import LARGEST_DISTANCE, is_same
from xfv_demo.metrics.intervals import Booleans, Doubles

if TYPE_CHECKING:
    from pydantic import ConfigDict, ValidationError

# Where x-Face's fit of the curve's steepness starts (arXiv 2211.13735; methods.md, section 1).
DEFAULT_K0 = -20.0

# Beta calibration takes logarithms of d / 2 and 1 - d / 2; equal photos have d = 0.
_SMALLEST_SHARE = 1e-6
# Of the mean log loss, by standardised feature, where a fit counts as converged.
_LARGEST_SLOPE = 1e-5
# Where the search ends short of that, it is begun anew from there: it may have misjudged the curvature.
_STARTS = 5


@dataclass(frozen=True)
class Calibrator(ABC):
    """A fitted map from cosine distance to P(genuine | distance), equal priors taken.

    Subclasses are frozen dataclasses whose fields, numbers or tuples of numbers, are all that there is to
    them.
    """

    __pydantic_config__: ClassVar["ConfigDict"] = {"strict": True, "extra": "forbid", "allow_inf_nan": False}

    name: ClassVar[str]

    def __post_init__(self) -> None:
        """Refuses fields that no fit can have made.

        Raises:
            CalibrationError: If a number is not finite or out of its range.
        """
        values = np.hstack([getattr(self, field.name) for field in fields(self)])
        if not np.isfinite(values).all() or not self._sound():
            raise CalibrationError(
                f"the parameters of the calibrator {self.name} are none that a fit can give"
            )

    def _sound(self) -> bool:
        """Whether the fields, finite numbers, are within their ranges."""
        return True

    @classmethod
    @abstractmethod
    def fit(
        cls, distances: Doubles, genuine: Booleans, *, distance_threshold: float, bins: int, k0: float
    ) -> Self:
        """Fits the map to labelled pairs.

        Args:
            distances: (N,) in [0, 2], with both classes.
            genuine: (N,) bool.
            distance_threshold: The decision threshold on these pairs.
            bins: Bins over [0, 2]; x-Face's hyper-parameter, the others have none.
            k0: Start of the steepness; x-Face's hyper-parameter.

        Returns:
            The fitted calibrator.

        Raises:
            CalibrationError: If the fit does not converge.
        """

    @abstractmethod
    def probability(self, distances: Doubles) -> Doubles:
        """P(genuine | distance).

        Args:
            distances: (...) in [0, 2].

        Returns:
            (...) float64 in [0, 1].
        """

    @property
    def parameters(self) -> dict[str, float | list[float]]:
        """The fields by name, as plain values for JSON; described in each class."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """Makes the calibrator anew from `parameters`.

        Raises:
            CalibrationError: If they are not those of this calibrator.
        """
        # The command line knows the methods' names at each start: without these 50 ms.
        from pydantic import TypeAdapter, ValidationError

        try:
            # By way of JSON, in which a list is a tuple's own form, whatever else strict types refuse.
            return TypeAdapter(cls).validate_json(json.dumps(dict(parameters)))
        except ValidationError as error:
            names = ", ".join(field.name for field in fields(cls))
            raise CalibrationError(
                f"the parameters of the calibrator {cls.name} are {names}; {first_fault(error)}"
            ) from error


@dataclass(frozen=True)
class XFaceCalibrator(Calibrator):
    """The x-Face curve y(d) = a / (1 + exp(-k (d - x0))) + b.

    Knoche, Teepe, Hörmann and Rigoll, "Explainable Model-Agnostic Similarity and Confidence in Face
    Verification", WACV Workshops 2023 (arXiv 2211.13735), the section on the confidence score; methods.md,
    section 1.

    Known weak points of the method, kept as published:

    * Most of the 2000 bins hold no pair. They are set to 1 below the threshold and to 0 from it on, and weigh
      in the fit like full ones; so the curve leans towards a step at the threshold, the more so the fewer
      pairs there are, and is over-confident near it.
    * A bin with one pair weighs like a bin with a hundred.
    * y(threshold) need not be 0.5: where it is not, decisions to one side of the threshold are all of
      confidence 0.5 for a while, those to the other side jump.
    * Nothing keeps a + b at most 1 or b at least 0; and where the classes hardly overlap, the confidence is
      exactly 1 nearly everywhere, which no finite set of pairs can vouch for.

    Attributes:
        a: Height of the curve.
        x0: Distance at the middle of its slope.
        k: Steepness; negative where a is positive.
        b: Its lower end.
    """

    a: float
    x0: float
    k: float
    b: float

    name: ClassVar[str] = "xface"

    @classmethod
    def fit(
        cls, distances: Doubles, genuine: Booleans, *, distance_threshold: float, bins: int, k0: float
    ) -> Self:
        """Fits the curve to the share of genuine density in each bin, by unweighted least squares."""
        edges = threshold_grid(bins)
        left_edges = edges[:-1]
        genuine_density = np.histogram(distances[genuine], edges)[0] / np.count_nonzero(genuine)
        impostor_density = np.histogram(distances[~genuine], edges)[0] / np.count_nonzero(~genuine)
        density = genuine_density + impostor_density
        ratio = np.where(is_same(left_edges, distance_threshold), 1.0, 0.0)
        np.divide(genuine_density, density, out=ratio, where=density > 0)

        # Here and in the other fits: SciPy takes a fifth of a second to import, and few programs fit.
        from scipy.optimize import least_squares

        # What scipy's curve_fit(method="dogbox") calls, without the covariance that it adds: where the
        # classes do not overlap, that is singular, and warned of.
        found = least_squares(
            lambda parameters: cls._curve(left_edges, *parameters) - ratio,
            [ratio.max(), distance_threshold, k0, ratio.min()],
            method="dogbox",
        )
        if not found.success or not np.isfinite(found.x).all():
            raise CalibrationError(
                f"x-Face's curve does not converge on these {distances.size} pairs from k0 = {k0:g}; "
                "take more pairs, another k0, or the method logistic"
            )
        fitted = cls(*(float(value) for value in found.x))
        middles = np.array([np.median(distances[genuine]), np.median(distances[~genuine])])
        genuine_middle, impostor_middle = fitted.probability(middles)
        if not genuine_middle > 0.5 > impostor_middle:
            raise CalibrationError(
                f"x-Face's curve misses these {distances.size} pairs: it gives the middle genuine pair "
                f"{genuine_middle:.2f}, the middle impostor pair {impostor_middle:.2f}; take more pairs, "
                "another k0, or the method logistic"
            )
        return fitted

    def probability(self, distances: Doubles) -> Doubles:
        """y(d), clipped to [0, 1]."""
        return np.clip(self._curve(distances, self.a, self.x0, self.k, self.b), 0.0, 1.0)

    @staticmethod
    def _curve(distances: Doubles, a: float, x0: float, k: float, b: float) -> Doubles:
        return a * _expit(k * (distances - x0)) + b


@dataclass(frozen=True)
class LogisticCalibrator(Calibrator):
    """Logistic regression on the distance: P(genuine | d) = 1 / (1 + exp(-(intercept - slope * d))).

    Platt, "Probabilistic outputs for support vector machines" (1999), section 2, with his targets, (n + 1) /
    (n + 2) for the n genuine and 1 / (n + 2) for the n impostor pairs, which keep the slope finite where the
    classes do not overlap.

    Attributes:
        slope: Fall of the log odds by unit of distance, not negative.
        intercept: Log odds at distance 0.
        bound: Probabilities are held within [bound, 1 - bound]; see `_succession_bound`.
    """

    slope: float
    intercept: float
    bound: float

    name: ClassVar[str] = "logistic"

    def _sound(self) -> bool:
        return self.slope >= 0 and 0 < self.bound < 0.5

    @classmethod
    def fit(
        cls, distances: Doubles, genuine: Booleans, *, distance_threshold: float, bins: int, k0: float
    ) -> Self:
        """Fits the log odds by maximum likelihood; takes nothing but the pairs."""
        weights, intercept = _fit_log_odds(-distances[:, np.newaxis], genuine)
        return cls(slope=float(weights[0]), intercept=intercept, bound=_succession_bound(genuine))

    def probability(self, distances: Doubles) -> Doubles:
        """The logistic function of the log odds, within the bounds."""
        return np.clip(_expit(self.intercept - self.slope * distances), self.bound, 1 - self.bound)


@dataclass(frozen=True)
class IsotonicCalibrator(Calibrator):
    """The best of all maps that never rise with the distance, straight between its steps.

    Zadrozny and Elkan, "Transforming classifier scores into accurate multiclass probability estimates" (KDD
    2002), section 3, by pooling adjacent violators. Pairs of equal distance are pooled first.

    Attributes:
        distances: (K,) knots, increasing: the first and last distance of each pool.
        probabilities: (K,) P(genuine) at the knots, never increasing; constant beyond the outer ones.
        bound: Probabilities are held within [bound, 1 - bound]; see `_succession_bound`.
    """

    distances: tuple[float, ...]
    probabilities: tuple[float, ...]
    bound: float

    name: ClassVar[str] = "isotonic"

    def _sound(self) -> bool:
        return (
            len(self.distances) == len(self.probabilities) > 0
            and bool((np.diff(self.distances) > 0).all() and (np.diff(self.probabilities) <= 0).all())
            and 0 < self.bound < 0.5
        )

    @classmethod
    def fit(
        cls, distances: Doubles, genuine: Booleans, *, distance_threshold: float, bins: int, k0: float
    ) -> Self:
        """Pools adjacent violators; takes nothing but the pairs."""
        from scipy.optimize import isotonic_regression

        weights = equal_class_weights(genuine)
        occurring, place = np.unique(distances, return_inverse=True)
        mass = np.bincount(place, weights=weights)
        share = np.bincount(place, weights=weights * genuine) / mass
        pooled = isotonic_regression(share, weights=mass, increasing=False)
        # A pool of one distance has one knot, any other two.
        knots = np.unique(np.concatenate([pooled.blocks[:-1], pooled.blocks[1:] - 1]))
        bound = _succession_bound(genuine)
        return cls(
            distances=tuple(occurring[knots].tolist()),
            probabilities=tuple(np.clip(pooled.x[knots], bound, 1 - bound).tolist()),
            bound=bound,
        )

    def probability(self, distances: Doubles) -> Doubles:
        """The line through the knots."""
        values: Doubles = np.interp(distances, self.distances, self.probabilities)
        return np.clip(values, self.bound, 1 - self.bound)


@dataclass(frozen=True)
class BetaCalibrator(Calibrator):
    """Beta calibration: the log odds are a ln(s) - b ln(1 - s) + c, of s = 1 - d / 2 in [0, 1].

    Kull, Silva Filho and Flach, "Beta calibration" (AISTATS 2017), section 3: right where s follows a beta
    distribution in each class; unlike the logistic curve it need not be symmetric about its middle. Fitted
    with the targets of `LogisticCalibrator`.

    Attributes:
        a: Weight of ln(s), not negative.
        b: Weight of -ln(1 - s), not negative.
        c: The intercept.
        bound: Probabilities are held within [bound, 1 - bound]; see `_succession_bound`.
    """

    a: float
    b: float
    c: float
    bound: float

    name: ClassVar[str] = "beta"

    def _sound(self) -> bool:
        return self.a >= 0 and self.b >= 0 and 0 < self.bound < 0.5

    @classmethod
    def fit(
        cls, distances: Doubles, genuine: Booleans, *, distance_threshold: float, bins: int, k0: float
    ) -> Self:
        """Fits the log odds by maximum likelihood; takes nothing but the pairs."""
        weights, intercept = _fit_log_odds(cls._features(distances), genuine)
        return cls(a=float(weights[0]), b=float(weights[1]), c=intercept, bound=_succession_bound(genuine))

    def probability(self, distances: Doubles) -> Doubles:
        """The logistic function of the log odds, within the bounds."""
        return self.bounded(self._features(distances) @ np.array([self.a, self.b]) + self.c)

    def bounded(self, log_odds: Doubles) -> Doubles:
        """The logistic function of log odds (...), within the bounds."""
        return np.clip(_expit(log_odds), self.bound, 1 - self.bound)

    @classmethod
    def terms(cls, distances: Doubles) -> Doubles:
        """What a, b and c are the weights of, at distances (...): (..., 3)."""
        features = cls._features(np.asarray(distances))
        return np.concatenate([features, np.ones((*features.shape[:-1], 1))], axis=-1)

    @staticmethod
    def _features(distances: Doubles) -> Doubles:
        """ln(s) and -ln(1 - s) of distances (...): (..., 2)."""
        share = np.clip(distances / LARGEST_DISTANCE, _SMALLEST_SHARE, 1 - _SMALLEST_SHARE)
        return np.stack([np.log1p(-share), -np.log(share)], axis=-1)


CALIBRATORS: dict[str, type[Calibrator]] = {
    calibrator.name: calibrator
    for calibrator in (XFaceCalibrator, LogisticCalibrator, IsotonicCalibrator, BetaCalibrator)
}


# What a confidence is made by unless asked otherwise, beside the sizes of the faces. On LFW with
# mobilefacenet, on folds not seen, beta has the smallest log loss and Brier score of the four: 0.025 and
# 0.0060, against x-Face's 0.043 and 0.0071
# (assets/results/mobilefacenet-lfw.json).
DEFAULT_METHOD = BetaCalibrator.name

# Beta with the sizes of the faces counted in: the default where the data set's photos allow copies of them.
SIZED_METHOD = f"{BetaCalibrator.name}-size"


def first_fault(error: "ValidationError") -> str:
    """The first thing that a file's check found, in one line."""
    fault = error.errors(include_url=False, include_input=False)[0]
    return f"{printable('.'.join(map(str, fault['loc'])))!r}: {fault['msg'][:1].lower()}{fault['msg'][1:]}"


def _succession_bound(genuine: Booleans) -> float:
    """How near to certainty n pairs of the smaller class can come: 1 / (n + 2).

    Laplace's rule of succession: after n trials without an error, the next is one with this probability.
    """
    return 1 / (int(min(np.count_nonzero(genuine), np.count_nonzero(~genuine))) + 2)


def _expit(log_odds: Doubles) -> Doubles:
    """1 / (1 + exp(-z)), without its overflow at the steepness of separate classes."""
    values: Doubles = np.exp(-np.logaddexp(0, -log_odds))
    return values


def _fit_log_odds(features: Doubles, genuine: Booleans) -> tuple[Doubles, float]:
    """Maximum likelihood of log odds = features . weights + intercept; see `fit_log_odds`.

    Weights are not negative, so that the probability never rises with the distance where the features fall
    with it.

    Args:
        features: (N, P), each falling with the distance.
        genuine: (N,) bool.

    Returns:
        (P,) weights and the intercept.

    Raises:
        CalibrationError: If the fit does not converge.
    """
    centre = features.mean(axis=0)
    centred = np.column_stack([features - centre, np.ones(genuine.size)])
    lowest = np.append(np.zeros(features.shape[1]), -np.inf)
    found = fit_log_odds(centred, genuine, np.zeros(genuine.size), lowest=lowest)
    return found[:-1], float(found[-1] - centre @ found[:-1])


def fit_log_odds(
    features: Doubles, genuine: Booleans, offset: Doubles, *, lowest: Doubles, ridge: float = 0.0
) -> Doubles:
    """Maximum likelihood of log odds = offset + features . weights, both classes weighing alike.

    Platt's targets instead of 0 and 1 give an optimum even where the classes do not overlap.

    Args:
        features: (N, P).
        genuine: (N,) bool.
        offset: (N,), what is not to be fitted.
        lowest: (P,), what each weight may be at least, not above 0; minus infinity where it may be anything.
        ridge: What the squares of the weights cost, of features of unit mean square: half of this.

    Returns:
        (P,) weights.

    Raises:
        CalibrationError: If the fit does not converge.
    """
    from scipy.optimize import minimize

    genuine_pairs, impostor_pairs = np.count_nonzero(genuine), np.count_nonzero(~genuine)
    targets = np.where(genuine, (genuine_pairs + 1) / (genuine_pairs + 2), 1 / (impostor_pairs + 2))
    mass = equal_class_weights(genuine) / genuine.size
    spread = np.sqrt((features**2).mean(axis=0))
    # Distances within 2e-6 of 0 or 2 make equal features for beta calibration.
    scale = np.where(spread > 0, spread, 1.0)
    standard = features / scale

    def loss(coefficients: Doubles) -> tuple[float, Doubles]:
        log_odds = offset + standard @ coefficients
        value = mass @ (np.logaddexp(0, log_odds) - targets * log_odds)
        slope = standard.T @ (mass * (_expit(log_odds) - targets))
        return float(value + ridge * (coefficients @ coefficients) / 2), slope + ridge * coefficients

    bounds, at = lowest * scale, np.zeros(standard.shape[1])
    for _ in range(_STARTS):
        at = minimize(
            loss,
            at,
            jac=True,
            method="L-BFGS-B",
            bounds=[(bound, None) for bound in bounds],
            options={"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-9},
        ).x
        # The line search may stop short of gtol, where rounding ends. What counts is that no slope is left,
        # but for a weight that its bound keeps from being smaller.
        slope = loss(at)[1]
        slope = np.where(at <= bounds, np.minimum(slope, 0), slope)
        if np.abs(slope).max() <= _LARGEST_SLOPE:
            return np.asarray(at / scale)
    raise CalibrationError(
        f"the log odds of these {genuine.size} pairs do not converge; take more or the method isotonic"
    )
