"""The sizes of the faces in threshold and confidence: by hand, by law, and fitted anew."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calibration.test_calibrators import GRID, lfw_like
from xfv_demo.calibration.calibration import Calibration
from xfv_demo.calibration.calibrators import BetaCalibrator
from xfv_demo.calibration.face_sizes import SizeCorrection, SizedPairs
from xfv_demo.errors import CalibrationError
from xfv_demo.metrics.pair_scores import PairScores

RANGE = (6.0, 36.0)


@pytest.fixture(scope="module")
def plain():
    return Calibration.fit(*lfw_like(), method="beta")


@pytest.fixture(scope="module")
def by_hand(plain):
    """One small face moves the log odds by 2, two by 1; nothing else changes."""
    moved = SizeCorrection(36.0, 6.0, one_small=(0.0, 0.0, 2.0), both_small=(0.0, 0.0, 1.0), pairs=500)
    return dataclasses.replace(plain, sizes=moved)


def log_odds(probability):
    return np.log(probability) - np.log1p(-probability)


class TestCarried:
    """By how many pairs what is stated is carried: 3,000 of each class at full size, 500 copied."""

    @pytest.fixture
    def bounds(self, by_hand):
        assert (by_hand.genuine_pairs, by_hand.impostor_pairs) == (3000, 3000)
        return dataclasses.replace(by_hand, elub=None).probability_bounds

    def test_at_full_size_nothing_changes(self, bounds, by_hand):
        assert bounds((36, 50)) == bounds() == bounds(None)
        assert bounds().high == by_hand.largest_confidence == pytest.approx(0.05 ** (1 / 3000), abs=1e-6)

    @pytest.mark.parametrize("sizes", [(6, 36), (36, 6), (6, 6), (3, 40)])
    def test_at_the_smallest_those_that_were_copied_carry(self, bounds, sizes):
        assert bounds(sizes).high == pytest.approx(0.05 ** (1 / 500), abs=1e-6)
        assert bounds(sizes).low == pytest.approx(1 - bounds(sizes).high)

    def test_between_both_count_by_their_share_of_the_change(self, bounds):
        # Half of the way in the logs of the sizes, the change is an eighth.
        pairs = int(3000 ** (7 / 8) * 500 ** (1 / 8))
        assert bounds((36**0.5 * 6**0.5, 36)).high == pytest.approx(0.05 ** (1 / pairs), abs=1e-6)

    def test_copies_of_a_pair_are_no_further_pairs(self):
        genuine = np.repeat([True, False, False], 30)
        scores = PairScores(np.linspace(0.1, 1, 90), genuine, np.arange(90) % 2)
        of_pair = np.concatenate([np.arange(30) % 7, 100 + np.arange(60) % 11])
        assert SizedPairs(scores, np.full((90, 2), 9.0), of_pair).pairs == 7

    def test_the_closest_of_several_is_held_to_it_too(self, by_hand):
        high = by_hand.probability_bounds((6, 6)).high
        assert by_hand.probability_of_closest(0.0, 3, (6, 6)) == pytest.approx(high / (high + 3 * (1 - high)))


class TestByHand:
    @pytest.mark.parametrize(
        ("sizes", "moved"),
        [
            ((6, 36), 2.0),
            ((36, 6), 2.0),
            ((6, 6), 1.0),
            ((3, 6), 1.0),
            ((36, 40), 0.0),
            # The square root of 36 x 6 is half of the way, of which the cube is an eighth.
            ((6 * 6**0.5, 36), 0.25),
            ((6, 6 * 6**0.5), 0.875 * 2 + 0.125),
        ],
    )
    def test_log_odds_move(self, plain, by_hand, sizes, moved):
        at = plain.threshold
        shift = log_odds(by_hand.probability(at, sizes)) - log_odds(plain.probability(at))
        assert shift == pytest.approx(moved)

    def test_the_threshold_has_the_log_odds_of_full_size(self, plain, by_hand):
        own = plain.probability(plain.threshold)
        for sizes in ((6, 36), (6, 6), (9, 20)):
            at = by_hand.threshold_at(sizes)
            assert at > plain.threshold
            assert by_hand.probability(at, sizes) == pytest.approx(own)
            assert by_hand.same_person(at - 1e-9, sizes)
            assert not by_hand.same_person(at + 1e-9, sizes)

    def test_at_full_size_nothing_changes(self, plain, by_hand):
        sizes = np.full((GRID.size, 2), 36.0)
        for name in ("probability", "confidence", "same_person"):
            expected = getattr(plain, name)(GRID)
            assert (getattr(by_hand, name)(GRID, sizes) == expected).all()
            assert (getattr(by_hand, name)(GRID) == expected).all()
        assert by_hand.threshold_at((40, 400)) == plain.threshold

    def test_the_closest_of_several_counts_sizes_in(self, by_hand):
        chance = by_hand.probability(0.65, (6, 36))
        assert by_hand.probability_of_closest(0.65, 3, (6, 36)) == pytest.approx(
            chance / (chance + 3 * (1 - chance))
        )

    def test_a_plain_calibration_does_not_look_at_sizes(self, plain):
        assert plain.probability(0.6, (6, 6)) == plain.probability(0.6)
        assert plain.threshold_at((6, 6)) == plain.threshold

    @pytest.mark.parametrize("sizes", [(0, 9), (9, -1), (9, float("nan")), (9,), 9, [[9, 9, 9]]])
    def test_what_is_no_size_is_refused(self, by_hand, sizes):
        with pytest.raises(CalibrationError, match="pixels between the eyes"):
            by_hand.probability(0.6, sizes)

    def test_what_is_covered(self, by_hand):
        assert by_hand.sizes.covers([5.9, 6.0, 40]).tolist() == [False, True, True]


@given(
    first=st.floats(0.1, 500),
    second=st.floats(0.1, 500),
    one=st.tuples(st.floats(-2, 5), st.floats(-14, 5), st.floats(-9, 9)),
    both=st.tuples(st.floats(-2, 5), st.floats(-14, 5), st.floats(-9, 9)),
)
def test_the_probability_never_rises_with_the_distance(first, second, one, both):
    calibrator = BetaCalibrator(a=2.0, b=14.0, c=-16.0, bound=3e-4)
    correction = SizeCorrection(36.0, 6.0, one, both, 500)
    correction.check_falling(calibrator)
    sizes = np.broadcast_to([first, second], (GRID.size, 2))
    probability = correction.probability(calibrator, GRID, sizes)
    assert (np.diff(probability) <= 1e-12).all()
    # Of which of the two is small, nothing depends.
    assert (probability == correction.probability(calibrator, GRID, sizes[:, ::-1])).all()


def sized(truth, rng, count=40_000):
    """Pairs drawn from the log odds of a calibration by size."""
    distances = rng.uniform(0.05, 1.3, count)
    sizes = np.exp(rng.uniform(np.log(RANGE[0]), np.log(RANGE[1]), (count, 2)))
    genuine = rng.random(count) < truth.probability(distances, sizes)
    # Equal classes, as the fit weighs them so.
    kept = np.concatenate([np.flatnonzero(genuine)[: count // 4], np.flatnonzero(~genuine)[: count // 4]])
    scores = PairScores(distances[kept], genuine[kept], np.arange(len(kept)) % 4)
    return SizedPairs(scores, sizes[kept], kept)


class TestFit:
    def test_what_the_pairs_were_drawn_from_is_found(self, plain, by_hand):
        pairs = sized(by_hand, np.random.default_rng(0))
        found = SizeCorrection.fit(plain.calibrator, pairs, largest=RANGE[1], smallest=RANGE[0])
        fitted = dataclasses.replace(plain, sizes=found)
        for sizes in ((6, 36), (6, 6), (12, 12), (36, 36)):
            difference = fitted.threshold_at(sizes) - by_hand.threshold_at(sizes)
            assert abs(difference) < 0.03

    def test_by_folds_and_without_the_held_out_one(self, plain, by_hand):
        pairs = sized(by_hand, np.random.default_rng(1), 8000)
        distances, genuine = lfw_like()
        fitted = Calibration.foldwise(
            distances, genuine, folds=4, method="beta", copies=pairs, size_range=RANGE
        )
        assert len({one.sizes for one in fitted}) == 4
        alone = Calibration.fit(
            fitted_pairs := PairScores(distances, genuine, 4).outside(2),
            method="beta",
            copies=pairs.outside(2),
            size_range=RANGE,
        )
        assert fitted[2].sizes == alone.sizes
        assert fitted_pairs.distances.size < len(distances)

    def test_copies_in_other_folds_are_refused(self, by_hand):
        pairs = sized(by_hand, np.random.default_rng(1), 8000)
        with pytest.raises(CalibrationError, match="4 folds, the pairs in 10"):
            Calibration.foldwise(*lfw_like(), method="beta", copies=pairs, size_range=RANGE)

    @pytest.mark.parametrize("settings", [{"method": "xface", "size_range": RANGE}, {"method": "beta"}])
    def test_what_sizes_cannot_be_counted_into(self, by_hand, settings):
        pairs = sized(by_hand, np.random.default_rng(1), 8000)
        with pytest.raises(CalibrationError, match="into beta calibration only"):
            Calibration.fit(*lfw_like(), copies=pairs, **settings)


class TestFiles:
    def test_there_and_back(self, by_hand, tmp_path):
        by_hand.save(tmp_path / "kept.json")
        again = Calibration.load(tmp_path / "kept.json")
        assert again.method == "beta-size"
        assert again.sizes == by_hand.sizes
        assert again.plain.method == "beta"
        assert again.confidence(0.6, (8, 12)) == by_hand.confidence(0.6, (8, 12))

    def test_files_of_version_1_have_none(self, plain):
        data = json.loads(plain.to_json())
        del data["sizes"]
        again = Calibration.from_json(json.dumps({**data, "version": 1}))
        assert again.sizes is None
        assert again.method == "beta"

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("smallest", 0.0),
            ("smallest", 36.0),
            ("largest", "36"),
            ("one_small", [0.0, 0.0]),
            ("one_small", [0.0, -1000.0, 0.0]),
            ("both_small", [-1000.0, 0.0, 0.0]),
            ("both_small", [None, 0.0, 0.0]),
        ],
    )
    def test_what_no_fit_has_made_is_refused(self, by_hand, field, value):
        data = json.loads(by_hand.to_json())
        data["sizes"][field] = value
        with pytest.raises(CalibrationError):
            Calibration.from_json(json.dumps(data))

    @pytest.mark.parametrize("change", [{"method": "beta"}, {"sizes": None}])
    def test_method_and_sizes_belong_together(self, by_hand, change):
        data = {**json.loads(by_hand.to_json()), **change}
        with pytest.raises(CalibrationError, match="sizes belong to the method beta-size"):
            Calibration.from_json(json.dumps(data))
