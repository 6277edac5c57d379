"""Threshold and confidence by hand, the evidence behind them, the folds, and the files."""

import dataclasses
import datetime
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calibration.test_calibrators import GRID, apart, lfw_like, pairs
from xfv_demo.calibration.calibration import Calibration
from xfv_demo.calibration.calibrators import CALIBRATORS, Calibrator, LogisticCalibrator, XFaceCalibrator
from xfv_demo.calibration.crossfit import compare_calibrators, foldwise_decisions
from xfv_demo.calibration.labelled_distances import MINIMUM_PAIRS
from xfv_demo.calibration.storage import calibration_path, load_calibration
from xfv_demo.errors import CalibrationError
from xfv_demo.metrics.accuracy import fold_accuracy
from xfv_demo.metrics.confidence import expected_calibration_error, log_loss
from xfv_demo.metrics.error_rates import eer, error_rates
from xfv_demo.metrics.intervals import wilson_interval


def made(calibrator: Calibrator, threshold: float) -> Calibration:
    """A calibration of any calibrator, its evidence being ten pairs of each class."""
    counts = np.zeros(2000, dtype=np.int64)
    counts[300] = 10
    return Calibration(
        calibrator=calibrator,
        threshold=threshold,
        eer=0.0,
        eer_threshold=threshold,
        genuine_counts=counts,
        impostor_counts=counts[::-1].copy(),
        bins=2000,
        k0=-20.0,
        model=None,
        model_sha256=None,
        dataset=None,
        folds=None,
        held_out_fold=None,
        date=datetime.date(2026, 11, 1),
        library_versions={},
    )


def of_pairs(genuine, impostor):
    """A calibration that rests on so many pairs of each class."""
    counts = np.zeros((2, 2000), dtype=np.int64)
    counts[0, 300], counts[1, 1000] = genuine, impostor
    return dataclasses.replace(
        made(XFaceCalibrator(1.0, 0.6, -110.0, 0.0), 0.6), genuine_counts=counts[0], impostor_counts=counts[1]
    )


class TestLargestConfidence:
    @pytest.mark.parametrize(
        ("count", "percent"), [(20, 86.08), (300, 99.00), (3000, 99.90), (30_000, 99.99), (10**6, 99.9997)]
    )
    def test_what_no_error_among_the_pairs_carries(self, count, percent):
        """Were decisions wrong any more often, so many pairs would hold an error 19 times in 20."""
        carried = of_pairs(count, count).largest_confidence
        assert carried == pytest.approx(0.05 ** (1 / count), abs=1.1e-6)
        assert carried <= 0.05 ** (1 / count)
        assert carried == pytest.approx(percent / 100, abs=1e-4)

    def test_the_smaller_class_bounds_it(self):
        assert of_pairs(300, 10**5).largest_confidence == of_pairs(300, 300).largest_confidence
        assert of_pairs(10**5, 300).largest_confidence == of_pairs(300, 300).largest_confidence

    def test_more_pairs_carry_more(self):
        carried = [of_pairs(count, count).largest_confidence for count in range(5, 400)]
        assert (np.diff(carried) > 0).all()
        assert carried[-1] < 1

    @pytest.mark.parametrize("count", [1, 3, 4])
    def test_a_handful_carries_none(self, count):
        """Five pairs are the first of which 0.05 ** (1 / n) is above one half."""
        assert of_pairs(count, count).largest_confidence == 0.5

    def test_the_published_function_is_left_as_it_is(self):
        assert of_pairs(300, 300).confidence(0.0) > of_pairs(300, 300).largest_confidence


class TestByHand:
    def test_confidence_by_hand(self):
        # y(0.6) = 0.5, y(0.5) = 1 / (1 + e^-2), with a threshold to the right of the curve's middle.
        calibration = made(XFaceCalibrator(a=1.0, x0=0.6, k=-20.0, b=0.0), threshold=0.62)
        assert calibration.probability(0.6) == pytest.approx(0.5)
        assert calibration.confidence(0.5) == pytest.approx(1 / (1 + math.exp(-2)))
        # "Same" at 0.61, though y is below one half there: the confidence stops at 0.5.
        assert calibration.same_person(0.61)
        assert calibration.confidence(0.61) == 0.5
        # At the threshold the decision is "different".
        assert not calibration.same_person(0.62)
        assert calibration.confidence(0.62) == pytest.approx(1 - 1 / (1 + math.exp(0.4)))

    def test_curve_beyond_0_and_1_is_clipped(self):
        calibration = made(XFaceCalibrator(a=1.1, x0=0.6, k=-100.0, b=-0.05), threshold=0.6)
        assert calibration.confidence(0.0) == 1
        assert calibration.confidence(2.0) == 1
        assert calibration.probability([0.0, 2.0]).tolist() == [1, 0]


@pytest.mark.parametrize("method", CALIBRATORS)
class TestEveryMethod:
    def test_has_its_name_and_the_same_threshold(self, method):
        calibration = Calibration.fit(*lfw_like(), method=method)
        assert calibration.method == method
        assert calibration.threshold == Calibration.fit(*lfw_like()).threshold

    def test_confidence_follows_probability_and_decision(self, method):
        calibration = Calibration.fit(*lfw_like(), method=method)
        probability, same = calibration.probability(GRID), calibration.same_person(GRID)
        assert (same == (calibration.threshold > GRID)).all()
        expected = np.clip(np.where(same, probability, 1 - probability), 0.5, 1)
        assert calibration.confidence(GRID) == pytest.approx(expected, abs=1e-15)

    def test_numbers_in_numbers_out_arrays_in_arrays_out(self, method):
        calibration = Calibration.fit(*lfw_like(), method=method)
        for number in (0.4, np.float32(0.4), np.float64(0.4), np.array(0.4), 1):
            assert type(calibration.confidence(number)) is float
            assert type(calibration.probability(number)) is float
            assert type(calibration.same_person(number)) is bool
        assert calibration.confidence([[0.4, 0.5, 1.2]]).shape == (1, 3)
        assert calibration.confidence(np.array([0.4, 0.5], np.float32)).dtype == np.float64
        assert calibration.same_person([0.4, 1.2]).tolist() == [True, False]
        assert calibration.confidence(np.array([0.4, 1.2])).tolist() == [
            calibration.confidence(0.4),
            calibration.confidence(1.2),
        ]

    @pytest.mark.parametrize("data", [lfw_like(), apart(), pairs(0.7, 0.2, 0.95, 0.2, count=60)])
    def test_round_trip(self, method, data):
        calibration = Calibration.fit(
            *data,
            method=method,
            model="lfw 1.0",
            model_sha256="ab" * 32,
            dataset="lfw",
            folds=10,
            date=datetime.date(2026, 11, 5),
            library_versions={"tensorflow": "2.20.0"},
        )
        text = calibration.to_json()
        again = Calibration.from_json(text)
        assert again.to_json() == text
        assert len(text) < 150_000
        assert again.calibrator == calibration.calibrator
        at = np.concatenate([GRID, data[0]])
        assert again.confidence(at) == pytest.approx(calibration.confidence(at), abs=1e-12)
        assert (again.same_person(at) == calibration.same_person(at)).all()
        assert again.date == datetime.date(2026, 11, 5)
        assert again.library_versions["tensorflow"] == "2.20.0"
        assert (again.model, again.model_sha256, again.dataset) == ("lfw 1.0", "ab" * 32, "lfw")
        assert (again.folds, again.held_out_fold, again.bins, again.k0) == (10, None, 2000, -20.0)


class TestEvidence:
    def test_error_rates_are_those_of_the_pairs(self):
        distances, genuine = lfw_like()
        distances[:10] = 0.5  # Ties at a threshold of the grid.
        calibration = Calibration.fit(distances, genuine)
        ours, theirs = calibration.error_rates, error_rates(distances, genuine, GRID)
        assert ours.thresholds == pytest.approx(theirs.thresholds, abs=1e-15)
        assert (ours.fmr == theirs.fmr).all()
        assert (ours.fnmr == theirs.fnmr).all()
        assert (calibration.genuine_pairs, calibration.impostor_pairs) == (3000, 3000)

    def test_error_rates_at_the_threshold(self):
        distances, genuine = lfw_like()
        calibration = Calibration.fit(distances, genuine)
        at = calibration.error_rates_at(calibration.threshold)
        false_matches = int(np.sum(distances[~genuine] < calibration.threshold))
        false_non_matches = int(np.sum(distances[genuine] >= calibration.threshold))
        assert (at.fmr, at.fnmr) == (false_matches / 3000, false_non_matches / 3000)
        expected = wilson_interval(false_matches, 3000)
        assert (at.fmr_interval.low, at.fmr_interval.high) == pytest.approx((expected.low, expected.high))
        expected = wilson_interval(false_non_matches, 3000)
        assert (at.fnmr_interval.low, at.fnmr_interval.high) == pytest.approx((expected.low, expected.high))

    def test_error_rates_between_and_beyond_the_grid(self):
        calibration = Calibration.fit(*lfw_like())
        low, middle, high = (calibration.error_rates_at(t) for t in (0.7, 0.7005, 0.701))
        assert middle.fmr == pytest.approx((low.fmr + high.fmr) / 2)
        assert middle.fnmr == pytest.approx((low.fnmr + high.fnmr) / 2)
        assert (calibration.error_rates_at(-1).fmr, calibration.error_rates_at(-1).fnmr) == (0, 1)
        assert (calibration.error_rates_at(3).fmr, calibration.error_rates_at(3).fnmr) == (1, 0)
        with pytest.raises(CalibrationError, match="threshold of nan"):
            calibration.error_rates_at(math.nan)

    @pytest.mark.parametrize("bins", [100, 200, 2000, 1])
    def test_histogram(self, bins):
        distances, genuine = lfw_like()
        histogram = Calibration.fit(distances, genuine).histogram(bins)
        assert len(histogram.edges) == bins + 1
        assert histogram.genuine.tolist() == np.histogram(distances[genuine], histogram.edges)[0].tolist()
        assert histogram.impostor.tolist() == np.histogram(distances[~genuine], histogram.edges)[0].tolist()

    @pytest.mark.parametrize("bins", [0, 3, 4000])
    def test_histogram_of_bins_that_do_not_fit(self, bins):
        with pytest.raises(CalibrationError, match="cannot be gathered"):
            Calibration.fit(*lfw_like()).histogram(bins)

    def test_eer(self):
        calibration = Calibration.fit(*lfw_like())
        assert calibration.eer == eer(*lfw_like()).rate
        assert calibration.eer_threshold == eer(*lfw_like()).threshold

    def test_evidence_cannot_be_changed(self):
        calibration = Calibration.fit(*lfw_like())
        with pytest.raises(ValueError, match="read-only"):
            calibration.genuine_counts[0] = 1

    def test_date_and_versions(self):
        calibration = Calibration.fit(*apart())
        assert abs((calibration.date - datetime.date.today()).days) <= 1
        assert calibration.library_versions["numpy"] == np.__version__
        assert set(calibration.library_versions) == {"python", "numpy", "scipy"}

    def test_json_tells_a_reader_without_this_program(self):
        calibration = Calibration.fit(*lfw_like(), model="m", dataset="lfw")
        data = json.loads(calibration.to_json())
        assert data["method"] == "xface"
        assert data["parameters"] == calibration.parameters
        assert (data["genuine_pairs"], data["impostor_pairs"]) == (3000, 3000)
        assert sum(data["histograms"]["genuine"]) == 3000
        rates = data["error_rates"]
        steps = np.linspace(rates["first"], rates["last"], len(rates["fmr"]))
        assert np.interp(0.7, steps, rates["fmr"]) == pytest.approx(
            calibration.error_rates_at(0.7).fmr, abs=1e-6
        )
        assert np.interp(0.7, steps, rates["fnmr"]) == pytest.approx(
            calibration.error_rates_at(0.7).fnmr, abs=1e-6
        )


class TestFoldwise:
    def test_leaves_out_exactly_the_fold(self):
        distances, genuine = lfw_like()
        calibrations = Calibration.foldwise(distances, genuine, folds=10, model="m")
        assert len(calibrations) == 10
        for fold, calibration in enumerate(calibrations):
            seen = np.ones(6000, dtype=bool)
            seen[fold * 600 : (fold + 1) * 600] = False
            alone = Calibration.fit(distances[seen], genuine[seen])
            assert calibration.calibrator == alone.calibrator
            assert calibration.threshold == alone.threshold
            assert (calibration.folds, calibration.held_out_fold, calibration.model) == (10, fold, "m")
            assert (calibration.genuine_pairs, calibration.impostor_pairs) == (2700, 2700)

    @settings(max_examples=10, deadline=None)
    @given(
        seed=st.integers(0, 1000), folds=st.integers(2, 7), method=st.sampled_from(["logistic", "isotonic"])
    )
    def test_given_folds_are_left_out_exactly(self, seed, folds, method):
        distances, genuine = pairs(0.5, 0.15, 0.9, 0.15, count=150, seed=seed)
        fold_of = np.random.default_rng(seed).integers(0, folds, genuine.size)
        calibrations = Calibration.foldwise(distances, genuine, fold_of, method=method)
        for fold, calibration in zip(np.unique(fold_of), calibrations, strict=True):
            left = distances[(fold_of != fold) & genuine]
            assert calibration.genuine_counts.tolist() == np.histogram(left, GRID)[0].tolist()

    def test_decisions_come_from_the_held_out_fold(self):
        distances, genuine = lfw_like()
        decisions = foldwise_decisions(distances, genuine, method="isotonic")
        third = slice(1200, 1800)
        assert (decisions.fold_of[third] == 2).all()
        assert (decisions.confidences[third] == decisions.calibrations[2].confidence(distances[third])).all()
        assert (decisions.right == (decisions.same_person == genuine)).all()
        assert decisions.right.mean() == pytest.approx(fold_accuracy(distances, genuine).mean)

    def test_changing_a_fold_does_not_change_its_own_calibration(self):
        distances, genuine = lfw_like()
        other = distances.copy()
        other[:600] = other[:600][::-1]
        before = Calibration.foldwise(distances, genuine)
        after = Calibration.foldwise(other, genuine)
        assert before[0].to_json() == after[0].to_json()
        assert before[1].to_json() != after[1].to_json()

    @pytest.mark.parametrize("folds", [1, 7000, [0, 1], 2.0])
    def test_folds_that_do_not_suit(self, folds):
        with pytest.raises(CalibrationError, match="fold"):
            Calibration.foldwise(*lfw_like(), folds=folds)

    def test_too_few_without_a_fold(self):
        with pytest.raises(CalibrationError, match="without fold 1 of 10: 18 genuine"):
            Calibration.foldwise(*pairs(0.3, 0.1, 0.9, 0.1, count=20))


class TestComparison:
    @pytest.mark.slow
    def test_a_row_for_each_method(self):
        distances, genuine = lfw_like()
        rows = compare_calibrators(distances, genuine)
        assert [row.method for row in rows] == list(CALIBRATORS)
        assert len({row.accuracy for row in rows}) == 1
        decisions = foldwise_decisions(distances, genuine, method="beta")
        beta = rows[-1]
        assert beta.log_loss == pytest.approx(log_loss(decisions.confidences, decisions.right))
        assert beta.ece == pytest.approx(expected_calibration_error(decisions.confidences, decisions.right))
        assert beta.mean_confidence == pytest.approx(decisions.confidences.mean())
        for row in rows:
            assert 0 <= row.brier < 0.02
            assert 0 <= row.adaptive_ece < 0.02
            assert 0 < row.log_loss < 0.1

    def test_classes_count_equally(self):
        # 40 genuine pairs, a quarter of them too far; 200 impostor pairs, none too close.
        rng = np.random.default_rng(0)
        distances = np.concatenate(
            [rng.uniform(0.1, 0.5, 30), rng.uniform(1.4, 1.5, 10), rng.uniform(0.8, 1.2, 200)]
        )
        genuine = np.repeat([True, False], [40, 200])
        folds = np.arange(240) % 5
        (row,) = compare_calibrators(distances, genuine, folds, methods=["logistic"])
        assert row.accuracy == pytest.approx((30 / 40 + 1) / 2, abs=0.02)

    def test_settings_reach_the_fit(self):
        with pytest.raises(CalibrationError, match="k0"):
            compare_calibrators(*lfw_like(), k0=3.0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("distances", "genuine", "words"),
        [
            ([0.2, 0.9], [True, False], "too few to calibrate on; take at least 20"),
            (apart(MINIMUM_PAIRS - 1)[0], apart(MINIMUM_PAIRS - 1)[1], "19 genuine and 19 impostor pairs"),
            (apart()[0], np.ones(400, bool), "genuine pairs only"),
            (apart()[0], np.zeros(400, bool), "impostor pairs only"),
            (apart()[0], np.ones(3, bool), "one length"),
            (np.full(400, math.nan), apart()[1], "400 of 400 cosine distances are not numbers"),
            (apart()[0] * 10, apart()[1], "such as .*; distances are 1 - cosine similarity"),
            (apart()[0] - 0.3, apart()[1], "are not numbers in"),
            (["near"] * 400, apart()[1], "must be numbers"),
            (apart()[0], ["yes"] * 400, "labels must be"),
            (np.full(400, 0.5), apart()[1], "all distances alike"),
            (apart()[0], ~apart()[1], "labels exchanged"),
            (1 - apart()[0] / 2, apart()[1], "labels exchanged"),
        ],
    )
    @pytest.mark.parametrize("method", CALIBRATORS)
    def test_pairs(self, method, distances, genuine, words):
        with pytest.raises(CalibrationError, match=words) as caught:
            Calibration.fit(distances, genuine, method=method)
        assert "\n" not in str(caught.value)

    def test_smallest_set_that_is_taken(self):
        for method in CALIBRATORS:
            assert Calibration.fit(*apart(MINIMUM_PAIRS), method=method).genuine_pairs == MINIMUM_PAIRS

    def test_unequal_classes_without_a_threshold(self):
        rng = np.random.default_rng(0)
        distances = np.concatenate([rng.uniform(0.5, 0.9, 30), rng.uniform(0.45, 1.0, 30_000)])
        with pytest.raises(
            CalibrationError, match=r"of 30 genuine and 30000 impostor pairs.*as many of each"
        ):
            Calibration.fit(distances, np.repeat([True, False], [30, 30_000]))

    def test_rounding_beyond_the_range_is_taken(self):
        distances, genuine = lfw_like()
        distances[genuine.argmax()] = -5e-7
        calibration = Calibration.fit(distances, genuine)
        assert calibration.genuine_counts[0] >= 1
        assert calibration.confidence(-5e-7) == calibration.confidence(0.0)
        assert calibration.confidence(2 + 5e-7) == calibration.confidence(2.0)

    @pytest.mark.parametrize("distance", [math.nan, math.inf, -0.1, 2.1, [0.5, math.nan], "near", None])
    def test_distances(self, distance):
        calibration = Calibration.fit(*apart())
        for question in (calibration.confidence, calibration.probability, calibration.same_person):
            with pytest.raises(CalibrationError):
                question(distance)

    @pytest.mark.parametrize(
        ("setting", "words"),
        [
            ({"method": "magic"}, "no calibration method 'magic'; take one of xface, logistic"),
            ({"k0": 0.0}, "negative number"),
            ({"k0": math.nan}, "negative number"),
            ({"k0": 5.0}, "negative number"),
            ({"bins": 1}, "too few"),
        ],
    )
    def test_settings(self, setting, words):
        with pytest.raises(CalibrationError, match=words):
            Calibration.fit(*apart(), **setting)


@pytest.fixture(scope="module")
def text():
    return Calibration.fit(*apart(), model="m").to_json()


class TestFiles:
    def test_save_and_load(self, tmp_path):
        calibration = Calibration.fit(*lfw_like(), model="m", dataset="lfw")
        path = tmp_path / "a" / "b" / "m-lfw.json"
        calibration.save(path)
        assert Calibration.load(str(path)).to_json() == calibration.to_json()
        assert [file.name for file in path.parent.iterdir()] == ["m-lfw.json"]
        assert path.stat().st_size < 150_000

    def test_saving_replaces_at_once_or_not_at_all(self, tmp_path, monkeypatch):
        path = tmp_path / "m.json"
        path.write_text("precious")

        def fail(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("pathlib.Path.replace", fail)
        with pytest.raises(CalibrationError, match=r"m\.json.*No space left"):
            Calibration.fit(*apart()).save(path)
        assert path.read_text() == "precious"
        assert [file.name for file in tmp_path.iterdir()] == ["m.json"]

    def test_saving_where_no_file_can_be(self, tmp_path):
        (tmp_path / "file").write_text("")
        for path in (tmp_path / "file" / "m.json", tmp_path):
            with pytest.raises(CalibrationError, match="cannot be written"):
                Calibration.fit(*apart()).save(path)
        assert [file.name for file in tmp_path.parent.glob(".*.part")] == []

    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "not JSON"),
            (b"{", "not JSON"),
            (b"[" * 100_000, "not JSON"),
            (b"\xff\xfe\x00", "not text"),
            (b"\x89PNG\r\n\x1a\n\x00\x00", "not text"),
            (b"null", "no calibration of xfv_demo"),
            (b"[]", "no calibration of xfv_demo"),
            (b'{"threshold": 0.6}', "no calibration of xfv_demo"),
            (b'{"format": 1, "version": 2}', "no calibration of xfv_demo"),
            (b'{"format": "xfv-demo calibration\\n", "version": 2}', "no calibration of xfv_demo"),
            (b'{"format": "\\ud800"}', "not JSON"),
            (b'{"format": "xfv-demo calibration"}', "its field 'version': field required"),
            (b'{"format": "xfv-demo calibration", "version": 3}', "format 3.*update"),
            (
                b'{"format": "xfv-demo calibration", "version": 1, "method": "magic"}',
                "unknown method 'magic'",
            ),
            (
                b'{"format": "xfv-demo calibration", "version": 1, "method": "beta\\nxface"}',
                "unknown method 'beta xface'",
            ),
        ],
    )
    def test_foreign_files_are_named_in_one_line(self, tmp_path, content, words):
        path = tmp_path / "foreign.json"
        path.write_bytes(content)
        with pytest.raises(CalibrationError, match=words) as caught:
            Calibration.load(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_missing_file_and_folder(self, tmp_path):
        for path in (tmp_path / "none.json", tmp_path):
            with pytest.raises(CalibrationError, match="cannot be read") as caught:
                Calibration.load(path)
            assert str(path) in str(caught.value)

    def test_each_field_that_is_read_must_be_there(self, text, tmp_path):
        path = tmp_path / "broken.json"
        for field in json.loads(text):
            data = json.loads(text)
            del data[field]
            path.write_text(json.dumps(data))
            # The rates are for other readers only; the others came later, and without bounds the pairs
            # bound by their number alone.
            if field in ("error_rates", "elub", "sizes"):
                Calibration.load(path)
                continue
            with pytest.raises(CalibrationError, match=r"no calibration|field required") as caught:
                Calibration.load(path)
            assert str(path) in str(caught.value)
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("field", "wrong"),
        [
            ("threshold", "0.6"),
            ("threshold", True),
            ("eer", None),
            ("bins", "2000"),
            ("bins", 2000.0),
            ("bins", True),
            ("folds", 10.0),
            ("model", 5),
            ("dataset", ["lfw"]),
            ("date", 5),
            ("library_versions", {"a\nb": 1}),
            ("parameters", [1]),
            ("histograms", "wrong"),
            ("genuine_pairs", False),
        ],
    )
    def test_other_kinds_are_not_taken_for_it(self, text, field, wrong):
        with pytest.raises(
            CalibrationError, match=f"this calibration is broken: its field '{field}"
        ) as caught:
            Calibration.from_json(json.dumps(json.loads(text) | {field: wrong}))
        assert "\n" not in str(caught.value)

    def test_whole_numbers_and_other_fields_are_taken(self, text):
        calibration = Calibration.from_json(json.dumps(json.loads(text) | {"k0": -7, "note": {"a": 1}}))
        assert type(calibration.k0) is float
        assert calibration.k0 == -7

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda data: data.update(threshold=3.0), "not in"),
            (lambda data: data.update(threshold=math.nan), "'threshold': input should be a finite number"),
            (lambda data: data.update(threshold=10**400), "'threshold': input should be a finite number"),
            (lambda data: data.update(eer=1.5), "equal error rate"),
            (lambda data: data.update(genuine_pairs=7), "contradicts itself"),
            (lambda data: data.update(date="yesterday"), "'date': input should be a valid date"),
            (lambda data: data.update(date="2026-02-30"), "'date': input should be a valid date"),
            (lambda data: data["histograms"]["genuine"].pop(), "not 2000 counts"),
            (lambda data: data["histograms"]["genuine"].__setitem__(0, -1), "'histograms.genuine.0'"),
            (lambda data: data["histograms"]["genuine"].__setitem__(0, 0.5), "'histograms.genuine.0'"),
            (lambda data: data["histograms"]["genuine"].__setitem__(0, 10**30), "'histograms.genuine.0'"),
            (lambda data: data["histograms"].update(impostor=[0] * 2000), "not 2000 counts"),
            (lambda data: data["parameters"].update(x0="0.6"), "'x0': input should be a valid number"),
            (lambda data: data["parameters"].pop("x0"), "parameters of the calibrator xface are a, x0, k, b"),
        ],
    )
    def test_numbers_out_of_range(self, text, change, words):
        data = json.loads(text)
        change(data)
        with pytest.raises(CalibrationError, match=words):
            Calibration.from_json(json.dumps(data))

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_cut_or_damaged_text_never_escapes_as_another_error(self, text, data):
        cut = data.draw(st.integers(0, len(text) - 3))
        with pytest.raises(CalibrationError):
            Calibration.from_json(text[:cut])
        place = data.draw(st.integers(0, 900))
        damaged = text[:place] + data.draw(st.characters(codec="utf-8")) + text[place + 1 :]
        try:
            Calibration.from_json(damaged)
        except CalibrationError as error:
            assert "\n" not in str(error)  # noqa: PT017


class TestLoadCalibration:
    @pytest.fixture
    def folders(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XFV_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("xfv_demo.runtime.paths.assets_folder", lambda: tmp_path / "assets")
        return tmp_path / "cache" / "calibrations", tmp_path / "assets" / "calibrations"

    def test_the_users_own_comes_first(self, folders):
        own, shipped = folders
        assert calibration_path("m") == own / "m-lfw.json"
        Calibration.fit(*apart(), model="m", dataset="lfw", method="beta").save(shipped / "m-lfw.json")
        assert load_calibration("m").method == "beta"
        Calibration.fit(*apart(), model="m", dataset="lfw").save(calibration_path("m", "lfw"))
        assert load_calibration("m", dataset="lfw").method == "xface"

    def test_none_at_all_says_how_to_make_one(self, folders):
        with pytest.raises(
            CalibrationError, match="python -m xfv_demo calibrate --model arcface-octuplet --data FOLDER"
        ):
            load_calibration("arcface-octuplet")

    def test_a_broken_one_is_not_passed_over(self, folders):
        own, shipped = folders
        Calibration.fit(*apart(), model="m", dataset="lfw").save(shipped / "m-lfw.json")
        own.mkdir(parents=True)
        (own / "m-lfw.json").write_text("{")
        with pytest.raises(CalibrationError, match="not JSON"):
            load_calibration("m")

    @pytest.mark.parametrize(("model", "dataset"), [("other", "lfw"), ("m", "other")])
    def test_one_of_another_model_or_set_is_refused(self, folders, model, dataset):
        Calibration.fit(*apart(), model=model, dataset=dataset).save(calibration_path("m", "lfw"))
        with pytest.raises(CalibrationError, match="not of 'm' on 'lfw'"):
            load_calibration("m")

    @pytest.mark.parametrize(
        ("model", "name"),
        [
            ("../../etc/passwd", "etc-passwd-lfw.json"),
            ("/tmp/My Model.tf", "tmp-My-Model.tf-lfw.json"),
            ("..\\m", "m-lfw.json"),
            (".hidden", "hidden-lfw.json"),
            ("m\n\x00", "m-lfw.json"),
        ],
    )
    def test_names_stay_within_the_folder(self, folders, model, name):
        assert calibration_path(model) == folders[0] / name

    @pytest.mark.parametrize("name", ["", "..", "///", "m" * 101, "模型"])
    def test_names_of_nothing(self, folders, name):
        with pytest.raises(CalibrationError, match="cannot name"):
            load_calibration(name)
        with pytest.raises(CalibrationError, match="cannot name"):
            calibration_path("m", name)


def test_importing_brings_neither_tensorflow_nor_gradio(run_python):
    code = (
        "import sys, xfv_demo.calibration.calibration; "
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'gradio')))"
    )
    assert run_python("-c", code).returncode == 0


class TestHowNearToCertainty:
    """What is stated of a pair ends where its number of pairs ends, and where they no longer vouch for it."""

    @staticmethod
    def of_classes_apart(pairs=300, **settings):
        distances = np.r_[np.linspace(0.05, 0.2, pairs), np.linspace(0.9, 1.0, pairs)]
        return Calibration.fit(distances, np.repeat([True, False], pairs), **settings)

    def test_without_bounds_of_the_ratio_the_number_of_pairs_bounds(self):
        calibration = dataclasses.replace(self.of_classes_apart(), elub=None)
        largest = calibration.largest_confidence
        bounds = calibration.probability_bounds()
        assert (bounds.low, bounds.high) == (1 - largest, largest)

    def test_the_narrower_bound_holds_on_each_side(self):
        calibration = dataclasses.replace(self.of_classes_apart(), elub=(-1.0, 9.0))
        bounds = calibration.probability_bounds()
        assert (bounds.low, bounds.high) == pytest.approx((1 / 11, calibration.largest_confidence))

    def test_few_that_mislead_bound_far_below_the_number_of_pairs(self):
        """Of 300 strangers 5 lie among the genuine: no ratio above about 300 / 6 there."""
        distances = np.r_[np.linspace(0.05, 0.2, 300), np.full(5, 0.1), np.linspace(0.9, 1.0, 295)]
        calibration = Calibration.fit(distances, np.repeat([True, False], 300), method="logistic")
        low, high = calibration.elub
        assert 10**high <= 300 / 6
        assert low < -1.5

    def test_they_are_kept_in_its_file(self):
        calibration = self.of_classes_apart()
        assert Calibration.from_json(calibration.to_json()).elub == calibration.elub

    @pytest.mark.parametrize("elub", [[0.5, 1.0], [-1.0, -0.5], [1.0], "none", [-1.0, 1e999], [-1.0, None]])
    def test_bounds_that_are_none_are_refused(self, elub):
        data = json.loads(self.of_classes_apart().to_json()) | {"elub": elub}
        with pytest.raises(CalibrationError):
            Calibration.from_json(json.dumps(data))


class TestTheClosestOfSeveralPairs:
    """Of n pairs to choose from, a false match comes n times as often: the odds are divided by n."""

    # P(genuine | d) = 1 / (1 + exp(10 (d - 0.5))): odds of e at 0.4, which ten pairs of each class carry.
    CALIBRATION = made(LogisticCalibrator(slope=10.0, intercept=5.0, bound=0.001), 0.5)

    def test_by_hand(self):
        odds = math.e
        assert self.CALIBRATION.probability_of_closest(0.4, 1) == pytest.approx(odds / (1 + odds))
        assert self.CALIBRATION.probability_of_closest(0.4, 6) == pytest.approx(odds / (6 + odds))
        assert self.CALIBRATION.probability_of_closest(2.0, 6) == pytest.approx(1 / 999 / (6 + 1 / 999))

    @given(st.floats(0, 2), st.integers(1, 10_000))
    def test_more_to_choose_from_never_makes_it_surer(self, distance, pairs):
        fewer, more = (self.CALIBRATION.probability_of_closest(distance, n) for n in (pairs, pairs + 1))
        assert 0 < more < fewer <= self.CALIBRATION.probability(distance)

    def test_certainty_is_no_match_for_the_number_of_pairs(self):
        """x-Face may say 1; ten pairs of each class carry 0.05 ** (1 / 10)."""
        certain = made(XFaceCalibrator(a=1.0, x0=0.5, k=-1000.0, b=0.0), 0.5)
        carried = 0.05**0.1
        odds = carried / (1 - carried)
        assert certain.probability(0.1) == 1
        assert certain.probability_of_closest(0.1, 1) == pytest.approx(carried, abs=1e-6)
        assert certain.probability_of_closest(0.1, 11) == pytest.approx(odds / (11 + odds), abs=1e-6)

    @pytest.mark.parametrize("pairs", [0, -1])
    def test_none_of_no_pairs(self, pairs):
        with pytest.raises(CalibrationError, match=f"closest of {pairs} pairs"):
            self.CALIBRATION.probability_of_closest(0.4, pairs)

    @pytest.mark.slow
    def test_it_comes_true(self, rng):
        """100,000 choices among 6 pairs, every second with one genuine pair: as often right as stated."""
        fitted = made(LogisticCalibrator(slope=20.0, intercept=12.0, bound=1e-6), 0.6)
        many = {name: getattr(fitted, name) * 100_000 for name in ("genuine_counts", "impostor_counts")}
        calibration = dataclasses.replace(fitted, **many)
        closest = []
        for genuine_pairs in (0, 1):
            # Normal classes of one spread: the log odds are -(d - 0.6) (0.8 - 0.4) / 0.02, as given above.
            distances = rng.normal(0.8, np.sqrt(0.02), (50_000, 6))
            distances[:, :genuine_pairs] = rng.normal(0.4, np.sqrt(0.02), (50_000, genuine_pairs))
            # Choices whose genuine pair is not the closest are neither of the two cases.
            counted = distances.argmin(axis=1) == 0 if genuine_pairs else slice(None)
            closest.append(distances[counted].min(axis=1).clip(0, 2))
        distances, genuine = np.concatenate(closest), np.repeat([False, True], [len(one) for one in closest])
        stated = np.array([calibration.probability_of_closest(distance, 6) for distance in distances])
        for low in np.arange(0, 1, 0.1):
            inside = (stated >= low) & (stated < low + 0.1)
            assert genuine[inside].mean() == pytest.approx(stated[inside].mean(), abs=0.02)
        # Of one pair, the probability would be far too high.
        alone = calibration.probability(distances)
        inside = (alone > 0.4) & (alone < 0.6)
        assert alone[inside].mean() > 2 * genuine[inside].mean()
