"""x-Face's calibrator against a second computation, and the others against their promises."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from scipy.optimize import OptimizeWarning, curve_fit, isotonic_regression

from xfv_demo.calibration.calibration import Calibration
from xfv_demo.calibration.calibrators import (
    CALIBRATORS,
    BetaCalibrator,
    IsotonicCalibrator,
    LogisticCalibrator,
)
from xfv_demo.calibration.crossfit import foldwise_decisions
from xfv_demo.errors import CalibrationError
from xfv_demo.metrics.confidence import expected_calibration_error

GRID = np.linspace(0, 2, 2001)


def pairs(genuine_mean, genuine_spread, impostor_mean, impostor_spread, count=3000, seed=0, folds=10):
    """Normal distances in LFW's order: in each fold the genuine pairs first, then as many impostor pairs."""
    rng = np.random.default_rng(seed)
    genuine = np.clip(rng.normal(genuine_mean, genuine_spread, count), 0, 2).reshape(folds, -1)
    impostor = np.clip(rng.normal(impostor_mean, impostor_spread, count), 0, 2).reshape(folds, -1)
    return np.hstack([genuine, impostor]).ravel(), np.tile(np.repeat([True, False], count // folds), folds)


def lfw_like(seed=0):
    """About what a good model does on LFW: some genuine pairs are hard."""
    distances, genuine = pairs(0.33, 0.1, 0.95, 0.09, seed=seed)
    rng = np.random.default_rng(seed + 1000)
    hard = genuine & (rng.uniform(size=genuine.size) < 0.04)
    distances[hard] = np.clip(rng.normal(0.6, 0.12, hard.sum()), 0, 2)
    return distances, genuine


def apart(count=200, seed=0):
    """Classes that do not overlap at all."""
    rng = np.random.default_rng(seed)
    distances = np.concatenate([rng.uniform(0.1, 0.5, count), rng.uniform(0.8, 1.2, count)])
    return distances, np.repeat([True, False], count)


def by_the_book(distances, genuine, k0, bins):
    """methods.md, section 1, steps 1 to 4, in loops: threshold, parameters and confidence."""
    best, threshold = -1, None
    for step in range(bins):
        candidate = step * 2 / bins
        right = int(((distances < candidate) == genuine).sum())
        if right > best:
            best, threshold = right, candidate
    counts = {True: [0] * bins, False: [0] * bins}
    for distance, label in zip(distances.tolist(), genuine.tolist(), strict=True):
        counts[label][min(int(distance * bins / 2), bins - 1)] += 1
    totals = {label: sum(counts[label]) for label in counts}
    width = 2 / bins
    edges, ratios = [], []
    for step in range(bins):
        g = counts[True][step] / (totals[True] * width)
        i = counts[False][step] / (totals[False] * width)
        edges.append(step * width)
        if g + i > 0:
            ratios.append(g / (g + i))
        else:
            ratios.append(1.0 if step * 2 / bins < threshold else 0.0)

    def curve(d, a, x0, k, b):
        with np.errstate(over="ignore"):
            return a / (1 + np.exp(-k * (d - x0))) + b

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)
        parameters, _ = curve_fit(
            curve, edges, ratios, p0=[max(ratios), threshold, k0, min(ratios)], method="dogbox"
        )

    def confidence(d):
        y = curve(d, *parameters)
        return min(max(y if d < threshold else 1 - y, 0.5), 1.0)

    return threshold, parameters, confidence


class TestXFace:
    @pytest.mark.parametrize(
        ("data", "k0", "bins"),
        [
            (lfw_like(), -20.0, 2000),
            (lfw_like(seed=3), -18.0, 2000),
            (pairs(0.5, 0.15, 0.95, 0.1, seed=1), -20.0, 2000),
            (pairs(0.7, 0.2, 0.95, 0.2, seed=2), -20.0, 2000),
            (pairs(0.5, 0.15, 0.95, 0.1, count=400, seed=4), -20.0, 500),
        ],
    )
    def test_agrees_with_a_second_computation(self, data, k0, bins):
        threshold, parameters, confidence = by_the_book(*data, k0, bins)
        calibration = Calibration.fit(*data, k0=k0, bins=bins)
        assert calibration.threshold == pytest.approx(threshold, abs=1e-6)
        assert list(calibration.parameters) == ["a", "x0", "k", "b"]
        assert list(calibration.parameters.values()) == pytest.approx(parameters, rel=1e-3, abs=1e-3)
        at = np.concatenate([GRID, data[0]])
        assert calibration.confidence(at) == pytest.approx([confidence(d) for d in at], abs=1e-3)

    def test_unequal_classes_agree_too(self):
        distances, genuine = pairs(0.5, 0.15, 0.95, 0.1)
        kept = genuine | (np.arange(genuine.size) % 3 == 0)
        threshold, parameters, _ = by_the_book(distances[kept], genuine[kept], -20.0, 2000)
        calibration = Calibration.fit(distances[kept], genuine[kept])
        assert calibration.threshold == pytest.approx(threshold, abs=1e-6)
        assert list(calibration.parameters.values()) == pytest.approx(parameters, rel=1e-3, abs=1e-3)

    def test_classes_apart_give_finite_parameters(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            calibration = Calibration.fit(*apart())
        assert all(math.isfinite(value) for value in calibration.parameters.values())
        assert calibration.confidence([0.2, 1.1]) == pytest.approx([1, 1])

    def test_lfw_like_confidence_is_about_right(self):
        decisions = foldwise_decisions(*lfw_like())
        assert expected_calibration_error(decisions.confidences, decisions.right) < 0.01

    def test_fit_that_does_not_converge(self):
        rng = np.random.default_rng(5)
        distances = np.concatenate([np.abs(rng.normal(0, 0.001, 300)), rng.normal(1.8, 0.05, 300)])
        with pytest.raises(CalibrationError, match=r"does not converge.*another k0, or the method logistic"):
            Calibration.fit(distances, np.repeat([True, False], 300))

    def test_fit_that_misses(self):
        # All within three bins: the curve comes to rest far from them.
        distances, genuine = pairs(0.001, 0.0003, 0.003, 0.0003)
        with pytest.raises(CalibrationError, match=r"misses these 6000 pairs.*middle genuine pair 0\.0"):
            Calibration.fit(distances, genuine)


@pytest.mark.parametrize("method", CALIBRATORS)
class TestEveryCalibrator:
    def test_inputs_stay_as_they_are(self, method):
        distances, genuine = lfw_like()
        distances.setflags(write=False)
        genuine.setflags(write=False)
        calibration = Calibration.fit(distances, genuine, method=method)
        calibration.confidence(distances)

    def test_order_of_the_pairs_is_of_no_matter(self, method):
        distances, genuine = lfw_like()
        order = np.random.default_rng(0).permutation(genuine.size)
        first = Calibration.fit(distances, genuine, method=method)
        second = Calibration.fit(distances[order], genuine[order], method=method)
        assert second.confidence(GRID) == pytest.approx(first.confidence(GRID), abs=1e-6)

    def test_parameters_that_are_none_are_refused(self, method):
        parameters = Calibration.fit(*lfw_like(), method=method).parameters
        kind = CALIBRATORS[method]
        assert kind.from_parameters(parameters).parameters == parameters
        for name, value in parameters.items():
            nonsense = ["0.5", None, True, math.nan, math.inf, 10**400, []]
            nonsense += [0.5, [math.nan], ["0.5"], [[0.5]]] if isinstance(value, list) else [[0.5]]
            for wrong in nonsense:
                with pytest.raises(CalibrationError):
                    kind.from_parameters({**parameters, name: wrong})
            with pytest.raises(CalibrationError):
                kind.from_parameters({key: value for key, value in parameters.items() if key != name})
        with pytest.raises(CalibrationError):
            kind.from_parameters({**parameters, "extra": 1.0})

    @settings(max_examples=15, deadline=None)
    @given(
        seed=st.integers(0, 10_000),
        middle=st.floats(0.2, 0.6),
        gap=st.floats(0.15, 0.6),
        spread=st.floats(0.05, 0.2),
        count=st.integers(4, 40).map(lambda tens: 10 * tens),
    )
    def test_any_sane_pairs(self, method, seed, middle, gap, spread, count):
        data = pairs(middle, spread, middle + gap, spread, count=count, seed=seed)
        try:
            calibration = Calibration.fit(*data, method=method)
        except CalibrationError as error:
            # Most of x-Face's bins are empty where pairs are few; then it says so rather than fit something.
            if method != "xface" or "x-Face's curve" not in str(error):
                raise
            reject()
        confidences = calibration.confidence(GRID)
        assert ((confidences >= 0.5) & (confidences <= 1)).all()
        assert (np.diff(calibration.probability(GRID)) <= 1e-12).all()
        if method != "xface":
            assert confidences.max() <= 1 - 1 / (count + 2)


class TestLogistic:
    def test_finds_the_true_curve(self):
        # Two normal distributions of one spread: the log odds are a line of slope gap / variance.
        distances, genuine = pairs(0.7, 0.1, 0.9, 0.1, count=50_000)
        calibrator = Calibration.fit(distances, genuine, method="logistic").calibrator
        assert calibrator.slope == pytest.approx(0.2 / 0.01, rel=0.02)
        assert calibrator.intercept / calibrator.slope == pytest.approx(0.8, abs=0.005)

    def test_no_slope_is_left(self):
        # The gradient of the log loss with Platt's targets, written out.
        distances, genuine = pairs(0.7, 0.2, 0.95, 0.2)
        calibrator = Calibration.fit(distances, genuine, method="logistic").calibrator
        stated = 1 / (1 + np.exp(-(calibrator.intercept - calibrator.slope * distances)))
        residuals = stated - np.where(genuine, 3001 / 3002, 1 / 3002)
        assert np.mean(residuals) == pytest.approx(0, abs=1e-6)
        assert np.mean(residuals * distances) == pytest.approx(0, abs=1e-6)

    def test_classes_apart_give_a_finite_slope(self):
        calibration = Calibration.fit(*apart(), method="logistic")
        assert 0 < calibration.parameters["slope"] < 1000
        assert calibration.confidence(0.1) <= 1 - 1 / 202


class TestIsotonic:
    def test_is_the_isotonic_regression_at_the_pairs(self):
        distances, genuine = pairs(0.7, 0.2, 0.95, 0.2, count=500)
        calibration = Calibration.fit(distances, genuine, method="isotonic")
        order = np.argsort(distances)
        expected = isotonic_regression(genuine[order].astype(float), increasing=False).x
        found = calibration.probability(distances[order])
        assert found == pytest.approx(np.clip(expected, 1 / 502, 1 - 1 / 502))

    def test_by_hand_with_ties_and_unequal_classes(self):
        # 20 genuine pairs weigh 1.5 each, 40 impostor pairs 0.75.
        distances = np.repeat([0.2, 0.4, 0.4, 0.6, 0.6, 0.8], [10, 5, 10, 5, 10, 20])
        genuine = np.repeat([True, True, False, True, False, False], [10, 5, 10, 5, 10, 20])
        calibrator = Calibration.fit(distances, genuine, method="isotonic").calibrator
        assert calibrator.distances == (0.2, 0.4, 0.6, 0.8)
        assert calibrator.probabilities == pytest.approx((1 - 1 / 22, 0.5, 0.5, 1 / 22))
        assert calibrator.probability(np.array([0.1, 0.3, 0.5, 1.9])) == pytest.approx(
            [1 - 1 / 22, (1 - 1 / 22 + 0.5) / 2, 0.5, 1 / 22]
        )

    @pytest.mark.parametrize(
        ("distances", "probabilities", "bound"),
        [
            ((0.1, 0.1), (0.9, 0.1), 0.01),
            ((0.2, 0.1), (0.9, 0.1), 0.01),
            ((0.1, 0.2), (0.1, 0.9), 0.01),
            ((0.1, 0.2), (0.9,), 0.01),
            ((), (), 0.01),
            ((0.1, 0.2), (0.9, 0.1), 0.0),
        ],
    )
    def test_unsound_knots_are_refused(self, distances, probabilities, bound):
        with pytest.raises(CalibrationError):
            IsotonicCalibrator(distances=distances, probabilities=probabilities, bound=bound)


class TestBeta:
    def test_finds_the_true_curve(self):
        # s ~ Beta(8, 3) if genuine, Beta(4, 5) if not: log odds (8 - 4) ln s + (3 - 5) ln(1 - s) + c.
        rng = np.random.default_rng(0)
        similarity = np.concatenate([rng.beta(8, 3, 100_000), rng.beta(4, 5, 100_000)])
        calibrator = Calibration.fit(
            2 * (1 - similarity), np.repeat([True, False], 100_000), method="beta"
        ).calibrator
        assert calibrator.a == pytest.approx(4, abs=0.1)
        assert calibrator.b == pytest.approx(2, abs=0.1)

    def test_equal_photos_and_opposite_ones(self):
        distances, genuine = lfw_like()
        distances[genuine.argmax()] = 0
        distances[genuine.argmin()] = 2
        calibration = Calibration.fit(distances, genuine, method="beta")
        assert calibration.confidence([0.0, 2.0]) == pytest.approx([1 - 1 / 3002] * 2)

    @pytest.mark.parametrize("wrong", [{"a": -1.0}, {"b": -0.1}, {"bound": 0.5}])
    def test_unsound_parameters_are_refused(self, wrong):
        with pytest.raises(CalibrationError):
            BetaCalibrator(**{"a": 1.0, "b": 1.0, "c": 0.0, "bound": 0.01, **wrong})


def test_negative_slope_is_refused():
    with pytest.raises(CalibrationError):
        LogisticCalibrator(slope=-1.0, intercept=0.0, bound=0.01)


@pytest.mark.parametrize("method", ["logistic", "isotonic", "beta"])
def test_more_impostor_pairs_do_not_move_the_probability(method):
    distances, genuine = pairs(0.7, 0.2, 0.95, 0.2)
    many = np.concatenate([distances, np.tile(distances[~genuine], 4)])
    labels = np.concatenate([genuine, np.zeros(4 * 3000, dtype=bool)])
    equal = Calibration.fit(distances, genuine, method=method).calibrator
    unequal = Calibration.fit(many, labels, method=method).calibrator
    assert unequal.probability(GRID) == pytest.approx(equal.probability(GRID), abs=2e-3)
