"""Error rates counted by hand, and what must hold of them for any distances."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from xfv_demo.errors import CalibrationError, DatasetError
from xfv_demo.metrics.accuracy import best_threshold, fold_accuracy, threshold_grid
from xfv_demo.metrics.confidence import (
    adaptive_calibration_error,
    brier_score,
    equal_class_weights,
    expected_calibration_error,
    log_loss,
    reliability_curve,
)
from xfv_demo.metrics.error_rates import auc, bootstrap_intervals, eer, error_rates, fnmr_at_fmr, largest_rate
from xfv_demo.metrics.intervals import wilson_interval
from xfv_demo.metrics.pair_scores import fold_numbers

# Genuine at 0.1, 0.2, 0.3, 0.6; impostors at 0.3, 0.5, 0.7, 0.8: a tie at 0.3, one overlap at 0.5 and 0.6.
DISTANCES = [0.1, 0.2, 0.3, 0.6, 0.3, 0.5, 0.7, 0.8]
GENUINE = [True, True, True, True, False, False, False, False]


@st.composite
def pair_sets(draw):
    """Distances on a coarse grid, so that ties are common, with both classes present."""
    grid = st.integers(0, 20).map(lambda step: step / 10)
    genuine = draw(st.lists(grid, min_size=1, max_size=30))
    impostor = draw(st.lists(grid, min_size=1, max_size=30))
    return np.array(genuine + impostor), np.array([True] * len(genuine) + [False] * len(impostor))


def lfw_like(pairs=3000, seed=0):
    """Distances in LFW's order: folds of 300 genuine and 300 impostor pairs."""
    rng = np.random.default_rng(seed)
    genuine = np.clip(rng.normal(0.5, 0.15, pairs), 0, 2).reshape(10, -1)
    impostor = np.clip(rng.normal(0.95, 0.1, pairs), 0, 2).reshape(10, -1)
    return np.hstack([genuine, impostor]).ravel(), np.tile(np.repeat([True, False], pairs // 10), 10)


class TestErrorRates:
    def test_hand_counted_with_ties_at_the_threshold(self):
        rates = error_rates(DISTANCES, GENUINE, [0.0, 0.1, 0.3, 0.31, 0.55, 0.6, 0.8, 0.9])
        # A pair at the threshold is "different": it is a false non-match if genuine, no false match if not.
        assert rates.fmr.tolist() == [0, 0, 0, 1 / 4, 2 / 4, 2 / 4, 3 / 4, 1]
        assert rates.fnmr.tolist() == [1, 1, 2 / 4, 1 / 4, 1 / 4, 1 / 4, 0, 0]
        assert (rates.genuine_pairs, rates.impostor_pairs) == (4, 4)

    def test_default_thresholds_show_every_value_of_both_rates(self):
        rates = error_rates(DISTANCES, GENUINE)
        assert rates.thresholds[:-1].tolist() == [0.1, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8]
        assert rates.thresholds[-1] == np.nextafter(0.8, 1)
        assert (rates.fmr[0], rates.fnmr[0], rates.fmr[-1], rates.fnmr[-1]) == (0, 1, 1, 0)

    def test_labels_may_be_0_and_1(self):
        assert error_rates(DISTANCES, [1, 1, 1, 1, 0, 0, 0, 0], [0.4]).fmr.tolist() == [1 / 4]

    def test_inputs_stay_as_they_are(self):
        distances, genuine = np.array(DISTANCES), np.array(GENUINE)
        error_rates(distances, genuine)
        eer(distances, genuine)
        assert distances.tolist() == DISTANCES
        assert genuine.tolist() == GENUINE

    @given(pair_sets(), st.lists(st.floats(-1, 3), min_size=1, max_size=20).map(sorted))
    def test_monotone_and_as_defined(self, pairs, thresholds):
        distances, genuine = pairs
        rates = error_rates(distances, genuine, thresholds)
        assert (np.diff(rates.fmr) >= 0).all()
        assert (np.diff(rates.fnmr) <= 0).all()
        for threshold, fmr, fnmr in zip(thresholds, rates.fmr, rates.fnmr, strict=True):
            assert fmr == np.mean(distances[~genuine] < threshold)
            assert fnmr == np.mean(distances[genuine] >= threshold)

    def test_bands_are_wilson_intervals_of_each_rate(self):
        rates = error_rates(DISTANCES, GENUINE, [0.31, 0.9])
        fmr_band, fnmr_band = rates.fmr_band(), rates.fnmr_band(level=0.9)
        assert fmr_band.low[0] == pytest.approx(wilson_interval(1, 4).low)
        assert fmr_band.high[1] == 1
        assert fnmr_band.high[0] == pytest.approx(wilson_interval(1, 4, level=0.9).high)
        assert fnmr_band.low[1] == 0


class TestEer:
    def test_rates_that_meet_on_a_stretch(self):
        # FMR = FNMR = 1/4 for 0.3 < t <= 0.5.
        assert eer(DISTANCES, GENUINE).rate == 1 / 4
        assert eer(DISTANCES, GENUINE).threshold == pytest.approx(0.4)

    def test_rates_that_cross_in_a_step_are_interpolated_on_the_roc_curve(self):
        # t <= 0.5: FMR 0, FNMR 1/3. t > 0.5: FMR 1/2, FNMR 1/3. The line between meets FMR = FNMR at 1/3.
        crossing = eer([0.1, 0.2, 0.9, 0.5, 1.0], [1, 1, 1, 0, 0])
        assert crossing.rate == pytest.approx(1 / 3)
        assert crossing.threshold == 0.5

    def test_one_distance_for_all(self):
        assert eer([0.4] * 5, [1, 1, 0, 0, 0]).rate == pytest.approx(0.5)
        assert eer([0.4] * 5, [1, 1, 0, 0, 0]).threshold == 0.4

    def test_separate_classes(self):
        apart = eer([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0])
        assert apart.rate == 0
        assert apart.threshold == pytest.approx(0.5)

    def test_exchanged_labels(self):
        assert eer([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]).rate == 1

    @given(pair_sets())
    def test_lies_between_the_rates_on_both_sides_of_its_threshold(self, pairs):
        found = eer(*pairs)
        below = error_rates(*pairs, [found.threshold])
        above = error_rates(*pairs, [np.nextafter(found.threshold, 3)])
        assert below.fmr[0] - 1e-12 <= found.rate <= below.fnmr[0] + 1e-12
        assert above.fnmr[0] - 1e-12 <= found.rate <= above.fmr[0] + 1e-12

    def test_two_normal_distributions(self):
        # Means 2 standard deviations apart: EER = Phi(-1).
        distances, genuine = lfw_like(30_000)
        distances[genuine] = 0.4 + (distances[genuine] - 0.5) / 1.5
        distances[~genuine] -= 0.35
        assert eer(distances, genuine).rate == pytest.approx(0.1587, abs=0.005)
        assert eer(distances, genuine).threshold == pytest.approx(0.5, abs=0.005)


class TestAuc:
    @pytest.mark.parametrize(
        ("distances", "genuine", "area"),
        [
            ([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0], 1),
            ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 0),
            ([0.5] * 4, [1, 1, 0, 0], 0.5),
            # Pairs of pairs: 0.1 < all 4, 0.2 < all 4, 0.3 < 3 and one tie, 0.6 < 2.
            (DISTANCES, GENUINE, (4 + 4 + 3.5 + 2) / 16),
        ],
    )
    def test_known(self, distances, genuine, area):
        assert auc(distances, genuine) == pytest.approx(area)

    @given(pair_sets())
    def test_is_the_chance_that_a_genuine_pair_is_closer(self, pairs):
        distances, genuine = pairs
        differences = distances[~genuine][np.newaxis] - distances[genuine][:, np.newaxis]
        assert auc(distances, genuine) == pytest.approx(np.mean((np.sign(differences) + 1) / 2))


class TestFnmrAtFmr:
    def test_hand_counted(self):
        impostor = np.arange(100) / 100 + 0.5
        genuine = np.array([0.1, 0.2, 0.52, 0.53, 0.55])
        labels = np.repeat([False, True], [100, 5])
        found = fnmr_at_fmr(np.concatenate([impostor, genuine]), labels, 0.03)
        # 0.50, 0.51 and 0.52 may pass; at 0.53, the first that may not, 0.53 and 0.55 are refused.
        assert found.threshold == impostor[3]
        assert (found.fmr, found.fnmr, found.impostor_errors) == (0.03, 2 / 5, 3)
        assert found.fnmr_interval == wilson_interval(2, 5)
        assert not found.rule_of_thirty
        assert fnmr_at_fmr(np.concatenate([impostor, genuine]), labels, 0.3).rule_of_thirty

    def test_ties_do_not_carry_the_fmr_above_the_target(self):
        impostor = np.repeat([0.4, 0.5, 0.9], [2, 50, 48])
        found = fnmr_at_fmr(np.append(impostor, 0.1), np.repeat([False, True], [100, 1]), 0.2)
        assert found.threshold == 0.5
        assert found.fmr == 0.02

    def test_three_thousand_pairs_carry_one_in_a_thousand_and_no_less(self):
        distances, genuine = lfw_like()
        assert fnmr_at_fmr(distances, genuine, 1e-2).impostor_errors == 30
        assert fnmr_at_fmr(distances, genuine, 1e-2).rule_of_thirty
        assert fnmr_at_fmr(distances, genuine, 1e-3).impostor_errors == 3
        assert fnmr_at_fmr(distances, genuine, 0.9e-3) is None
        assert fnmr_at_fmr(distances, genuine, 1e-4) is None

    @pytest.mark.parametrize("target", [0.03, 0.07, 0.29, 0.57])
    def test_rounding_changes_no_count(self, target):
        # 0.29 * 100 is 28.999999999999996.
        distances = np.append(np.arange(100) / 100 + 0.5, 0.1)
        found = fnmr_at_fmr(distances, np.repeat([False, True], [100, 1]), target)
        assert found.impostor_errors == round(target * 100)

    @pytest.mark.parametrize("target", [0, 1, -0.1, math.nan])
    def test_impossible_targets(self, target):
        with pytest.raises(DatasetError, match="FMR of"):
            fnmr_at_fmr(DISTANCES, GENUINE, target)


class TestIntervals:
    @pytest.mark.parametrize(("errors", "trials"), [(0, 10), (3, 3000), (7, 20), (20, 20)])
    @pytest.mark.parametrize("level", [0.9, 0.95])
    def test_wilson_as_scipy_has_it(self, errors, trials, level):
        theirs = binomtest(errors, trials).proportion_ci(confidence_level=level, method="wilson")
        ours = wilson_interval(errors, trials, level)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)

    @pytest.mark.parametrize(
        ("errors", "trials", "level"), [(1, 0, 0.95), (3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1)]
    )
    def test_wilson_refuses_nonsense(self, errors, trials, level):
        with pytest.raises(DatasetError):
            wilson_interval(errors, trials, level)

    @pytest.mark.parametrize(("errors", "trials"), [(0, 10), (3, 3000), (7, 20), (20, 20)])
    @pytest.mark.parametrize("level", [0.9, 0.95])
    def test_largest_rate_as_scipy_has_it(self, errors, trials, level):
        theirs = binomtest(errors, trials, alternative="less").proportion_ci(confidence_level=level)
        assert largest_rate(errors, trials, level) == pytest.approx(theirs.high, abs=1e-12)

    @pytest.mark.parametrize("trials", [1, 3, 300, 3000])
    def test_largest_rate_without_errors(self, trials):
        """Such a rate leaves a chance of 5 % to see no error."""
        assert largest_rate(0, trials) == pytest.approx(1 - 0.05 ** (1 / trials), rel=1e-12)

    def test_largest_rate_grows_with_errors_and_falls_with_trials(self):
        assert (np.diff([largest_rate(errors, 50) for errors in range(51)]) > 0).all()
        assert (np.diff([largest_rate(2, trials) for trials in range(2, 60)]) < 0).all()

    @pytest.mark.parametrize(
        ("errors", "trials", "level"), [(1, 0, 0.95), (3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1)]
    )
    def test_largest_rate_refuses_nonsense(self, errors, trials, level):
        with pytest.raises(DatasetError):
            largest_rate(errors, trials, level)

    def test_bootstrap_is_reproducible_and_holds_the_estimates(self):
        distances, genuine = lfw_like()
        first, second = (
            bootstrap_intervals(
                distances, genuine, rng=np.random.default_rng(7), fmr_targets=(1e-2, 1e-4), resamples=200
            )
            for _ in range(2)
        )
        assert first == second
        assert first.eer.low < eer(distances, genuine).rate < first.eer.high
        assert first.auc.low < auc(distances, genuine) < first.auc.high
        assert (
            first.fnmr_at_fmr[1e-2].low
            < fnmr_at_fmr(distances, genuine, 1e-2).fnmr
            < first.fnmr_at_fmr[1e-2].high
        )
        assert first.fnmr_at_fmr[1e-4] is None

    def test_bootstrap_agrees_with_one_resample_at_a_time(self):
        distances, genuine = lfw_like(300)
        distances[genuine] += 0.25  # So that both classes are dense at the threshold.
        ours = bootstrap_intervals(
            distances, genuine, rng=np.random.default_rng(0), fmr_targets=(0.05,), resamples=100
        )
        # The same draws: all genuine pairs of all resamples, then all impostor pairs.
        rng = np.random.default_rng(0)
        drawn = np.hstack(
            [distances[label][rng.integers(300, size=(100, 300))] for label in (genuine, ~genuine)]
        )
        labels = np.repeat([True, False], 300)
        expected = (
            (ours.eer, [eer(row, labels).rate for row in drawn]),
            (ours.auc, [auc(row, labels) for row in drawn]),
            (ours.fnmr_at_fmr[0.05], [fnmr_at_fmr(row, labels, 0.05).fnmr for row in drawn]),
        )
        for interval, values in expected:
            assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))

    def test_bootstrap_of_a_few_pairs_in_many_chunks(self, monkeypatch):
        monkeypatch.setattr("xfv_demo.metrics.error_rates._BOOTSTRAP_NUMBERS", 20)
        intervals = bootstrap_intervals(DISTANCES, GENUINE, rng=np.random.default_rng(0), resamples=51)
        assert intervals.resamples == 51
        assert 0 <= intervals.eer.low <= 1 / 4 <= intervals.eer.high <= 1

    @pytest.mark.parametrize("nonsense", [{"resamples": 0}, {"level": 1.0}, {"fmr_targets": (0.0,)}])
    def test_bootstrap_refuses_nonsense(self, nonsense):
        with pytest.raises(DatasetError):
            bootstrap_intervals(DISTANCES, GENUINE, rng=np.random.default_rng(0), **nonsense)


class TestFolds:
    def test_consecutive(self):
        assert fold_numbers(2, 5).tolist() == [0, 0, 0, 1, 1]
        assert (np.bincount(fold_numbers(10, 6000)) == 600).all()
        assert (np.diff(fold_numbers(10, 6001)) >= 0).all()

    def test_given(self):
        assert fold_numbers([3, 7, 3, 9], 4).tolist() == [0, 1, 0, 2]

    @pytest.mark.parametrize("folds", [1, 0, 7, [0, 1], [0] * 6, [[0, 1, 2, 0, 1, 2]], 2.5, ["a"] * 6])
    def test_impossible(self, folds):
        with pytest.raises(DatasetError):
            fold_numbers(folds, 6)

    def test_accuracy_by_hand(self):
        # Judged by each other's best threshold, the first of accuracy 1: just past the largest genuine one.
        distances = [0.1, 0.5, 0.3, 0.4]
        genuine = [True, False, True, False]
        accuracy = fold_accuracy(distances, genuine, folds=2, bins=2000)
        assert accuracy.thresholds.tolist() == [0.301, 0.101]
        assert accuracy.accuracies.tolist() == [1, 0.5]
        assert accuracy.mean == 0.75
        assert accuracy.standard_deviation == pytest.approx(0.5 / math.sqrt(2))
        assert accuracy.standard_error == pytest.approx(0.25)

    def test_accuracy_uses_the_other_folds_alone(self):
        distances, genuine = lfw_like()
        accuracy = fold_accuracy(distances, genuine)
        folds = fold_numbers(10, 6000)
        for fold in range(10):
            assert accuracy.thresholds[fold] == best_threshold(
                distances[folds != fold], genuine[folds != fold]
            )
        assert accuracy.mean == pytest.approx(0.968, abs=0.005)


class TestBestThreshold:
    def test_the_first_of_the_best(self):
        # All of 0.201, ..., 0.3 are right every time: at 0.3 the impostor is not below it.
        assert best_threshold([0.2, 0.3], [True, False]) == 0.201

    def test_a_pair_at_a_candidate_is_not_below_it(self):
        assert best_threshold([0.5, 0.75], [True, False], bins=8) == 0.75

    def test_grid_holds_the_nearest_doubles(self):
        assert threshold_grid(2000).tolist() == [float(f"{step / 1000:.3f}") for step in range(2001)]

    @given(pair_sets(), st.integers(1, 40))
    def test_as_a_plain_search(self, pairs, bins):
        distances, genuine = pairs
        best = max(range(bins), key=lambda step: (np.sum((distances < step * 2 / bins) == genuine), -step))
        assert best_threshold(distances, genuine, bins) == best * 2 / bins

    def test_needs_a_candidate(self):
        with pytest.raises(DatasetError, match="candidate"):
            best_threshold(DISTANCES, GENUINE, 0)


CONFIDENCES = [0.5, 0.54, 0.62, 0.68, 0.97, 0.99, 1.0]
RIGHT = [True, False, True, False, True, True, False]


class TestHonesty:
    def test_brier_by_hand(self):
        squares = [0.5**2, 0.54**2, 0.38**2, 0.68**2, 0.03**2, 0.01**2, 1]
        assert brier_score(CONFIDENCES, RIGHT) == pytest.approx(sum(squares) / 7)
        assert brier_score([0, 1], [False, True]) == 0

    def test_log_loss_by_hand(self):
        losses = [-math.log(p) for p in (0.5, 0.46, 0.62, 0.32, 0.97, 0.99, 1e-6)]
        assert log_loss(CONFIDENCES, RIGHT) == pytest.approx(sum(losses) / 7, abs=1e-6)
        assert log_loss([1.0], [False], clip=1e-3) == pytest.approx(-math.log(1e-3))
        assert log_loss([0.5] * 4, [1, 0, 0, 1]) == pytest.approx(math.log(2))

    def test_ece_by_hand(self):
        # Bins [0.5, 0.55): 0.5 right, 0.54 wrong; [0.6, 0.65): 0.62 right; [0.65, 0.7): 0.68 wrong; the last
        # one, with 1: 0.97, 0.99 right, 1 wrong.
        gaps = abs(1 - 1.04) + 0.38 + 0.68 + abs(2 - 2.96)
        assert expected_calibration_error(CONFIDENCES, RIGHT) == pytest.approx(gaps / 7)
        assert expected_calibration_error(CONFIDENCES, RIGHT, bins=1) == pytest.approx(abs(4 - 5.3) / 7)

    def test_a_bin_holds_its_left_edge(self):
        curve = reliability_curve([0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0], [True] * 10)
        assert curve.count.tolist() == [0, 1, 1, 1, 1, 1, 1, 1, 1, 2]

    def test_adaptive_ece_by_hand(self):
        # Two bins of equal mass: the first three and the middle one (its middle is at 3.5 / 7) fall apart.
        gaps = abs(2 - (0.5 + 0.54 + 0.62)) + abs(2 - (0.68 + 0.97 + 0.99 + 1))
        assert adaptive_calibration_error(CONFIDENCES, RIGHT, bins=2) == pytest.approx(gaps / 7)

    def test_adaptive_ece_keeps_ties_together(self):
        assert adaptive_calibration_error([0.75] * 4, [1, 1, 1, 0], bins=4) == 0

    @given(
        st.lists(
            st.tuples(st.integers(50, 100).map(lambda c: c / 100), st.booleans()), min_size=1, max_size=40
        ),
        st.integers(1, 12),
        st.randoms(use_true_random=False),
    )
    def test_order_is_of_no_matter_and_errors_are_bounded(self, decisions, bins, random):
        shuffled = decisions.copy()
        random.shuffle(shuffled)
        for error in (expected_calibration_error, adaptive_calibration_error):
            value = error(*zip(*decisions, strict=True), bins)
            assert 0 <= value <= 1
            assert value == pytest.approx(error(*zip(*shuffled, strict=True), bins))
            # Bins can only hide gaps: one bin hides most.
            assert value >= error(*zip(*decisions, strict=True), 1) - 1e-12

    def test_weights_are_repetitions(self):
        repeats = [1, 3, 2, 1, 4, 1, 2]
        many = np.repeat(CONFIDENCES, repeats), np.repeat(RIGHT, repeats)
        for score in (brier_score, log_loss, expected_calibration_error, adaptive_calibration_error):
            assert score(CONFIDENCES, RIGHT, weights=repeats) == pytest.approx(score(*many))
        weighted, repeated = reliability_curve(CONFIDENCES, RIGHT, weights=repeats), reliability_curve(*many)
        np.testing.assert_allclose(weighted.share_right, repeated.share_right)
        np.testing.assert_allclose(weighted.mean_confidence, repeated.mean_confidence)

    def test_equal_class_weights(self):
        assert equal_class_weights([True, False, False, False]).tolist() == [2, 2 / 3, 2 / 3, 2 / 3]
        assert equal_class_weights(GENUINE).tolist() == [1] * 8

    def test_reliability_curve_by_hand(self):
        curve = reliability_curve(CONFIDENCES, RIGHT, bins=5)
        assert curve.edges.tolist() == [0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
        assert curve.count.tolist() == [2, 2, 0, 0, 3]
        np.testing.assert_allclose(curve.mean_confidence, [0.52, 0.65, np.nan, np.nan, 2.96 / 3])
        np.testing.assert_allclose(curve.share_right, [1 / 2, 1 / 2, np.nan, np.nan, 2 / 3])
        assert curve.interval.low[4] == pytest.approx(wilson_interval(2, 3).low)
        assert curve.interval.high[4] == pytest.approx(wilson_interval(2, 3).high)
        assert np.isnan(curve.interval.low[2])

    def test_honest_confidences_have_a_small_error(self):
        rng = np.random.default_rng(0)
        confidences = rng.uniform(0.5, 1, 50_000)
        right = rng.uniform(size=50_000) < confidences
        assert expected_calibration_error(confidences, right) < 0.01
        assert adaptive_calibration_error(confidences, right) < 0.01
        assert expected_calibration_error(np.full(50_000, 0.99), right) == pytest.approx(0.24, abs=0.01)

    @pytest.mark.parametrize(
        ("confidences", "right", "more"),
        [
            ([0.4], [True], {}),
            ([1.1], [True], {}),
            ([math.nan], [True], {}),
            ([0.6, 0.7], [True], {}),
            ([], [], {}),
            ([[0.6]], [[True]], {}),
            (["sure"], [True], {}),
            ([0.6], [2], {}),
            ([0.6], [True], {"weights": [0]}),
            ([0.6], [True], {"weights": [-1]}),
            ([0.6], [True], {"weights": [math.inf]}),
            ([0.6], [True], {"bins": 0}),
        ],
    )
    @pytest.mark.parametrize(
        "score", [expected_calibration_error, adaptive_calibration_error, reliability_curve]
    )
    def test_nonsense_is_refused_in_one_line(self, score, confidences, right, more):
        with pytest.raises(CalibrationError) as caught:
            score(confidences, right, **more)
        assert "\n" not in str(caught.value)

    def test_log_loss_needs_a_clip(self):
        with pytest.raises(CalibrationError, match="clip"):
            log_loss([0.6], [True], clip=0)


@pytest.mark.parametrize(
    ("distances", "genuine", "words"),
    [
        ([0.1, 0.2], [True], "one length"),
        ([[0.1, 0.2]], [[True, False]], "one length"),
        (0.1, True, "one length"),
        ([0.1, math.nan], [True, False], "1 distances are not finite"),
        ([0.1, math.inf], [True, False], "not finite"),
        (["near", "far"], [True, False], "not a list of numbers"),
        ([0.1, 0.2], [True, True], "genuine pairs only"),
        ([0.1, 0.2], [False, False], "impostor pairs only"),
        ([], [], "no pairs;"),
        ([0.1, 0.2], [0, 2], "labels must be"),
        ([0.1, 0.2], ["yes", "no"], "labels must be"),
    ],
)
@pytest.mark.parametrize("measure", [error_rates, eer, auc, best_threshold, fold_accuracy])
def test_broken_pairs_are_refused_in_one_line(measure, distances, genuine, words):
    with pytest.raises(DatasetError, match=words) as caught:
        measure(distances, genuine)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("thresholds", [[math.nan], 0.5, [[0.5]]])
def test_broken_thresholds_are_refused(thresholds):
    with pytest.raises(DatasetError, match="thresholds"):
        error_rates(DISTANCES, GENUINE, thresholds)


@settings(max_examples=25)
@given(pair_sets())
def test_every_measure_takes_any_pairs(pairs):
    rng = np.random.default_rng(0)
    assert 0 <= eer(*pairs).rate <= 1
    intervals = bootstrap_intervals(*pairs, rng=rng, resamples=5)
    assert 0 <= intervals.auc.low <= intervals.auc.high <= 1
