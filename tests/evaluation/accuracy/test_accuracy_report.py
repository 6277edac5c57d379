"""The verification report, by hand on small sets and against the metrics on large ones."""

import datetime
import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from tests.calibration.test_calibrators import apart, lfw_like, pairs
from xfv_demo.batch.align import DetectionFailure
from xfv_demo.calibration.calibrators import CALIBRATORS
from xfv_demo.calibration.crossfit import foldwise_decisions
from xfv_demo.datasets.pairs import PairCounts
from xfv_demo.errors import CalibrationError, DatasetError, XfvError
from xfv_demo.evaluation.accuracy.evaluate import equal_mass_bins, evaluate
from xfv_demo.evaluation.accuracy.report import smallest_rate
from xfv_demo.evaluation.accuracy.tables import interval_in_words, report_tables
from xfv_demo.metrics import pair_scores
from xfv_demo.metrics.accuracy import fold_accuracy
from xfv_demo.metrics.confidence import (
    adaptive_calibration_error,
    brier_score,
    equal_class_weights,
    expected_calibration_error,
    log_loss,
)
from xfv_demo.metrics.error_rates import bootstrap_intervals, eer, fnmr_at_fmr
from xfv_demo.metrics.intervals import wilson_interval


def report_of(distances, genuine, folds=10, **settings):
    settings = {
        "model": "m",
        "model_sha256": "ab" * 32,
        "dataset": "my faces",
        "rng": np.random.default_rng(7),
        "resamples": 50,
        **settings,
    }
    return evaluate(distances, genuine, folds, **settings)


def by_hand():
    """Two folds of 20 and 20: in the first a genuine pair is too far, in the second an impostor too close."""
    distances = np.repeat([0.2, 0.9, 0.8, 0.2, 0.8, 0.3], [19, 1, 20, 20, 19, 1])
    return distances, np.repeat([True, False, True, False], 20)


def wilson(errors, trials):
    """Wilson's interval at 95 %, written out."""
    z = 1.959963984540054
    rate = errors / trials
    centre = (rate + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z * math.sqrt(rate * (1 - rate) / trials + z**2 / (4 * trials**2)) / (1 + z**2 / trials)
    return max(centre - half, 0), min(centre + half, 1)


@pytest.fixture(scope="module")
def lfw_report():
    return report_of(
        *lfw_like(),
        dataset="lfw",
        model="mobilefacenet",
        seed=7,
        duration_seconds=12.345,
        date=datetime.date(2026, 11, 21),
        library_versions={"tensorflow": "2.21.0"},
    )


class TestByHand:
    def test_pairs(self):
        report = report_of(*by_hand(), 2)
        assert report.pairs == PairCounts(genuine=40, impostor=40)
        assert report.pairs.total == 80
        assert (report.left_out.total, report.failures) == (0, ())

    def test_accuracy(self):
        # At 0.201, the first threshold that is best on the other fold, the far genuine pair alone is wrong.
        accuracy = report_of(*by_hand(), 2).accuracy
        assert accuracy.folds == (39 / 40, 1.0)
        assert accuracy.thresholds == (0.201, 0.201)
        assert accuracy.mean == pytest.approx(79 / 80)
        assert accuracy.standard_deviation == pytest.approx(0.025 / math.sqrt(2))
        assert accuracy.standard_error == pytest.approx(0.0125)
        assert accuracy.left_out_as_wrong == 79 / 80

    def test_accuracy_interval(self):
        interval = report_of(*by_hand(), 2).accuracy_interval
        low, high = wilson(1, 80)
        assert (interval.low, interval.high) == pytest.approx((1 - high, 1 - low))

    def test_pairs_left_out_count_as_wrong(self):
        report = report_of(
            *by_hand(),
            2,
            left_out=PairCounts(genuine=3, impostor=1),
            failures=[DetectionFailure("a.jpg", "no face")],
        )
        assert report.accuracy.left_out_as_wrong == 79 / 84
        assert report.accuracy.mean == pytest.approx(79 / 80)

    def test_operating_point(self):
        point = report_of(*by_hand(), 2).operating_point
        assert (point.threshold, point.fmr, point.fnmr) == (0.201, 0, 1 / 40)
        assert (point.fmr_interval.low, point.fmr_interval.high) == pytest.approx(wilson(0, 40))
        assert (point.fnmr_interval.low, point.fnmr_interval.high) == pytest.approx(wilson(1, 40))

    def test_separation(self):
        # The far genuine pair loses against all 40 impostor pairs, of 1,600 comparisons in all; between 0.3
        # and 0.8, one pair of each class is decided wrongly.
        separation = report_of(*by_hand(), 2).separation
        assert separation.auc == pytest.approx(1 - 40 / 1600)
        assert separation.eer == pytest.approx(1 / 40)
        assert separation.eer_threshold == pytest.approx(0.55)
        assert separation.eer_interval.low <= 1 / 40 <= separation.eer_interval.high
        assert separation.reason is None

    def test_fnmr_at_fmr(self):
        ten, five = report_of(*by_hand(), 2, fmr_targets=(0.1, 0.05)).fnmr_at_fmr
        # Up to 0.8, where the fifth impostor pair would pass, only one does.
        assert (ten.target, ten.at.threshold, ten.at.fmr, ten.at.fnmr) == (0.1, 0.8, 1 / 40, 1 / 40)
        assert (ten.at.fnmr_interval.low, ten.at.fnmr_interval.high) == pytest.approx(wilson(1, 40))
        assert ten.bootstrap_interval.low <= 1 / 40 <= ten.bootstrap_interval.high
        assert (ten.interval, ten.reason) == (ten.bootstrap_interval, None)
        # Five per cent of 40 are two errors: too few.
        assert (five.target, five.at, five.bootstrap_interval, five.interval) == (0.05, None, None, None)
        assert five.reason == "40 impostor pairs carry no FMR below 7.5 %"

    def test_classes_that_do_not_overlap_have_no_intervals(self):
        distances, genuine = apart()
        report = report_of(distances, genuine, np.arange(400) % 2)
        assert (report.separation.auc, report.separation.eer) == (1, 0)
        assert (report.separation.auc_interval, report.separation.eer_interval) == (None, None)
        assert "do not overlap" in report.separation.reason
        # No resample refuses a genuine pair, but Wilson's interval has a width.
        (answer,) = report_of(distances, genuine, np.arange(400) % 2, fmr_targets=(0.1,)).fnmr_at_fmr
        assert (answer.at.fnmr, answer.bootstrap_interval) == (0, None)
        assert (answer.interval.low, answer.interval.high) == pytest.approx(wilson(0, 200))

    @pytest.mark.parametrize("impostor_pairs", [20, 40, 299, 3000])
    def test_smallest_rate_is_what_the_metrics_answer(self, impostor_pairs):
        distances = np.linspace(0.1, 1.9, impostor_pairs + 1)
        genuine = np.arange(impostor_pairs + 1) == 0
        rate = smallest_rate(impostor_pairs)
        assert fnmr_at_fmr(distances, genuine, rate) is not None
        assert fnmr_at_fmr(distances, genuine, 0.99 * rate) is None

    def test_smallest_rate_is_a_rate(self):
        assert smallest_rate(3000) == 1e-3
        assert smallest_rate(1) == 1


class TestOnManyPairs:
    def test_accuracy_is_that_of_the_protocol(self, lfw_report):
        expected = fold_accuracy(*lfw_like())
        assert lfw_report.accuracy.folds == tuple(expected.accuracies)
        assert lfw_report.accuracy.thresholds == tuple(expected.thresholds)
        assert lfw_report.accuracy.left_out_as_wrong == pytest.approx(expected.mean)

    def test_error_rates_are_those_of_the_metrics(self, lfw_report):
        distances, genuine = lfw_like()
        equal = eer(distances, genuine)
        assert (lfw_report.separation.eer, lfw_report.separation.eer_threshold) == (
            equal.rate,
            equal.threshold,
        )
        intervals = bootstrap_intervals(distances, genuine, rng=np.random.default_rng(7), resamples=50)
        assert lfw_report.separation.eer_interval == intervals.eer
        assert lfw_report.separation.auc_interval == intervals.auc
        for answer, target in zip(lfw_report.fnmr_at_fmr, (1e-2, 1e-3), strict=True):
            assert answer.at == fnmr_at_fmr(distances, genuine, target)
            assert answer.bootstrap_interval == intervals.fnmr_at_fmr[target]

    def test_operating_point_is_at_the_calibrations_threshold(self, lfw_report):
        distances, genuine = lfw_like()
        point, calibration = lfw_report.operating_point, lfw_report.calibration
        assert point.threshold == calibration.threshold
        assert point.fmr == np.mean(distances[~genuine] < calibration.threshold)
        assert point.fnmr == np.mean(distances[genuine] >= calibration.threshold)
        assert (calibration.model, calibration.dataset, calibration.folds) == ("mobilefacenet", "lfw", 10)
        assert calibration.held_out_fold is None

    def test_confidence_is_that_of_folds_not_seen(self, lfw_report):
        decisions = foldwise_decisions(*lfw_like())
        stated, right = decisions.confidences, decisions.right
        summary = lfw_report.confidence.summary
        assert summary.method == lfw_report.method == "xface"
        assert summary.log_loss == pytest.approx(log_loss(stated, right))
        assert summary.brier == pytest.approx(brier_score(stated, right))
        assert summary.ece == pytest.approx(expected_calibration_error(stated, right))
        assert summary.adaptive_ece == pytest.approx(adaptive_calibration_error(stated, right))
        assert summary.mean_confidence == pytest.approx(stated.mean())
        assert (lfw_report.evidence.decisions.confidences == stated).all()

    def test_reliability_bins_give_the_calibration_errors(self, lfw_report):
        confidence = lfw_report.confidence
        assert [one.low for one in confidence.reliability] == [n / 20 for n in range(10, 20)]
        for bins, error in (
            (confidence.reliability, confidence.summary.ece),
            (confidence.equal_mass_reliability, confidence.summary.adaptive_ece),
        ):
            filled = [one for one in bins if one.count]
            assert sum(one.count for one in filled) == 6000
            gaps = [one.count * abs(one.share_right - one.mean_confidence) for one in filled]
            assert sum(gaps) / 6000 == pytest.approx(error)
            for one in filled:
                assert one.low <= one.mean_confidence <= one.high
                assert one.interval.low <= one.share_right <= one.interval.high

    def test_all_calibrators_are_compared(self, lfw_report):
        assert [row.method for row in lfw_report.comparison] == list(CALIBRATORS)
        assert lfw_report.comparison[0] == lfw_report.confidence.summary
        assert list(lfw_report.evidence.calibrations) == list(CALIBRATORS)
        assert lfw_report.not_compared == {}

    @pytest.mark.slow
    def test_another_method(self):
        report = report_of(*lfw_like(), method="isotonic")
        assert report.method == report.calibration.method == "isotonic"
        assert report.confidence.summary == report.comparison[2]

    @pytest.mark.slow
    def test_a_method_that_cannot_be_fitted_is_named_not_hidden(self):
        # All within three of x-Face's bins.
        distances, genuine = pairs(0.001, 0.0003, 0.003, 0.0003)
        report = report_of(distances, genuine, method="logistic")
        assert set(report.not_compared) == {"xface"}
        assert "x-Face's curve" in report.not_compared["xface"]
        assert [row.method for row in report.comparison] == ["logistic", "isotonic", "beta"]
        assert "xface" not in report.evidence.calibrations
        assert "xface" in report.to_dict()["not_compared"]
        with pytest.raises(CalibrationError, match="x-Face's curve"):
            report_of(distances, genuine)

    def test_pairs_are_checked_once_and_fits_made_once(self, monkeypatch):
        checked, fitted = [], []
        check = pair_scores._labelled_pairs

        def counting_check(distances, genuine):
            checked.append(len(distances))
            return check(distances, genuine)

        def counting(fit):
            def counted(cls, distances, genuine, **settings):
                fitted.append((cls.name, distances.tobytes()))
                return fit(distances, genuine, **settings)

            return classmethod(counted)

        monkeypatch.setattr(pair_scores, "_labelled_pairs", counting_check)
        for calibrator in CALIBRATORS.values():
            monkeypatch.setattr(calibrator, "fit", counting(calibrator.fit))
        distances, genuine = lfw_like()
        report_of(distances[::10], genuine[::10], 5)
        # The whole, and for each fold the other folds.
        assert checked == [600, *[480] * 5]
        assert len(fitted) == len(set(fitted)) == 6 * len(CALIBRATORS)

    @pytest.mark.slow
    def test_equal_seeds_give_equal_reports(self):
        first, second = (report_of(*lfw_like(), rng=np.random.default_rng(3)) for _ in range(2))
        assert first.to_dict() == second.to_dict()
        assert first.to_dict() != report_of(*lfw_like(), rng=np.random.default_rng(4)).to_dict()

    @pytest.mark.slow
    def test_inputs_stay_as_they_are_and_evidence_cannot_be_changed(self):
        distances, genuine = lfw_like()
        before = distances.copy()
        report = report_of(distances, genuine)
        distances[0] = 0.123
        assert (report.evidence.scores.distances == before).all()
        for evidence in (report.evidence.scores.distances, report.evidence.scores.genuine):
            with pytest.raises(ValueError, match="read-only"):
                evidence[0] = 1


class TestEqualMassBins:
    def test_equal_confidences_share_a_bin(self):
        confidences = np.repeat([0.6, 0.9], [50, 150])
        right = np.repeat([True, False, True, False], [30, 20, 135, 15])
        low, high = equal_mass_bins(confidences, right, np.ones(200), 4)
        assert (low.count, low.low, low.high, low.share_right) == (50, 0.6, 0.6, pytest.approx(0.6))
        assert (high.count, high.low, high.high, high.share_right) == (150, 0.9, 0.9, pytest.approx(0.9))
        assert (low.interval.low, low.interval.high) == pytest.approx(wilson(30, 50))

    def test_classes_count_equally(self):
        rng = np.random.default_rng(0)
        confidences = rng.uniform(0.5, 1, 300)
        right = rng.uniform(size=300) < confidences
        weights = equal_class_weights(np.arange(300) < 50)
        bins = equal_mass_bins(confidences, right, weights)
        mass = [
            weights[(confidences >= one.low) & (confidences <= one.high)].sum() / weights.sum()
            for one in bins
        ]
        gaps = [
            share * abs(one.share_right - one.mean_confidence) for share, one in zip(mass, bins, strict=True)
        ]
        assert sum(gaps) == pytest.approx(adaptive_calibration_error(confidences, right, weights=weights))


class TestWarning:
    @pytest.mark.slow
    @pytest.mark.parametrize("dataset", ["lfw", "LFW", "lfw-deepfunneled", "/data/lfw.tgz"])
    def test_lfw_brings_its_warning(self, dataset):
        report = report_of(*lfw_like(), dataset=dataset)
        for words in ("commercial purpose", "children", "over 80", "women", "ethnicities", "3,000", "0.1 %"):
            assert words in report.warning
        assert report.to_dict()["warning"] == report.warning

    @pytest.mark.slow
    @pytest.mark.parametrize("dataset", ["my faces", "agedb_30", "halfway"])
    def test_others_have_none(self, dataset):
        assert report_of(*lfw_like(), dataset=dataset).warning is None

    def test_number_of_pairs_is_the_measured_one(self):
        report = report_of(*pairs(0.4, 0.15, 0.9, 0.15, count=300), dataset="lfw")
        assert "Its 300 impostor pairs carry no FMR below about 1 %." in report.warning


class TestRefusals:
    @pytest.mark.parametrize("wrong", [math.nan, math.inf])
    def test_missing_distances(self, wrong):
        distances, genuine = lfw_like()
        distances[[3, 5]] = wrong
        with pytest.raises(DatasetError, match=r"2 of 6000 pairs have no distance; leave out") as caught:
            report_of(distances, genuine)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"left_out": PairCounts(genuine=2, impostor=1)}, "3 pairs were left out, but no photo is named"),
            ({"left_out": PairCounts(genuine=-1, impostor=1)}, "-1 and 1 pairs cannot be left out"),
            ({"folds": 1}, "1 folds"),
            ({"folds": [0, 1]}, "there are 6000 pairs"),
            ({"resamples": 0}, "0 resamples"),
            ({"fmr_targets": (0.0,)}, "FMR of 0"),
        ],
    )
    def test_settings(self, settings, words):
        with pytest.raises(DatasetError, match=words):
            report_of(*lfw_like(), **settings)

    def test_unknown_method(self):
        with pytest.raises(CalibrationError, match="no calibration method 'magic'"):
            report_of(*lfw_like(), method="magic")

    def test_pairs_that_are_none(self):
        distances, genuine = lfw_like()
        with pytest.raises(DatasetError, match="list of numbers"):
            report_of(["near"] * 6000, genuine)
        with pytest.raises(DatasetError, match="one length"):
            report_of(distances, genuine[:-1])
        with pytest.raises(DatasetError, match="genuine pairs only"):
            report_of(distances, np.ones(6000, bool))
        with pytest.raises(CalibrationError, match="not numbers in"):
            report_of(distances * 3, genuine)

    def test_too_few(self):
        with pytest.raises(CalibrationError, match="without fold 1 of 2: 10 genuine and 10 impostor"):
            report_of(*pairs(0.3, 0.1, 0.9, 0.1, count=20, folds=2), 2)


class TestFile:
    def test_round_trip(self, lfw_report, tmp_path):
        path = tmp_path / "results" / "lfw.json"
        lfw_report.save(str(path))
        assert json.loads(path.read_text()) == lfw_report.to_dict()
        assert [file.name for file in path.parent.iterdir()] == ["lfw.json"]

    def test_tells_a_reader_without_this_program(self, lfw_report):
        data = lfw_report.to_dict()
        assert (data["format"], data["version"]) == ("xfv-demo verification report", 1)
        assert (data["model"], data["model_sha256"], data["dataset"]) == ("mobilefacenet", "ab" * 32, "lfw")
        assert (data["date"], data["seed"], data["duration_seconds"]) == ("2026-11-21", 7, 12.3)
        assert data["library_versions"]["tensorflow"] == "2.21.0"
        assert {"python", "numpy", "scipy"} < set(data["library_versions"])
        assert data["pairs"] == {"genuine": 3000, "impostor": 3000}
        assert data["smallest_fmr"] == 0.001
        assert data["bootstrap"] == {"level": 0.95, "resamples": 50}
        assert [row["method"] for row in data["comparison"]] == list(CALIBRATORS)
        assert data["confidence"]["method"] == "xface"
        assert len(data["accuracy"]["folds"]) == len(data["accuracy"]["thresholds"]) == 10
        assert [answer["target"] for answer in data["fnmr_at_fmr"]] == [0.01, 0.001]
        assert all(answer["fnmr"] > 0 for answer in data["fnmr_at_fmr"])

    def test_empty_bins_and_answers_not_given_are_null(self):
        data = report_of(*by_hand(), 2).to_dict()
        empty = next(one for one in data["confidence"]["reliability"] if not one["count"])
        assert empty["share_right"] is None
        assert empty["interval"] == {"low": None, "high": None}
        assert [(answer["fnmr"], answer["bootstrap_interval"]) for answer in data["fnmr_at_fmr"]] == [
            (None, None)
        ] * 2
        assert all("40 impostor pairs" in answer["reason"] for answer in data["fnmr_at_fmr"])

    def test_numbers_are_rounded_and_plain(self, lfw_report):
        def leaves(value):
            if isinstance(value, dict):
                value = list(value.values())
            if isinstance(value, list):
                for inner in value:
                    yield from leaves(inner)
            else:
                yield value

        for leaf in leaves(lfw_report.to_dict()):
            assert type(leaf) in (str, int, float, bool, type(None))
            if type(leaf) is float:
                assert leaf == round(leaf, 6)

    def test_failures_are_named(self):
        failures = [
            DetectionFailure("Ann_0001.jpg", "no face found"),
            DetectionFailure("Zoë_0002.jpg", "cut off"),
        ]
        report = report_of(*by_hand(), 2, failures=failures, left_out=PairCounts(genuine=2, impostor=3))
        assert report.failures == tuple(failures)
        assert report.to_dict()["failures"] == [
            {"photo": "Ann_0001.jpg", "reason": "no face found"},
            {"photo": "Zoë_0002.jpg", "reason": "cut off"},
        ]
        assert report.to_dict()["left_out"] == {"genuine": 2, "impostor": 3}

    def test_saving_replaces_at_once_or_not_at_all(self, lfw_report, tmp_path, monkeypatch):
        path = tmp_path / "lfw.json"
        path.write_text("precious")

        def fail(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("pathlib.Path.replace", fail)
        with pytest.raises(XfvError, match=r"lfw\.json: .*cannot be written: No space left"):
            lfw_report.save(path)
        assert path.read_text() == "precious"
        assert [file.name for file in tmp_path.iterdir()] == ["lfw.json"]

    def test_saving_where_no_file_can_be(self, lfw_report, tmp_path):
        (tmp_path / "file").write_text("")
        for path in (tmp_path / "file" / "lfw.json", tmp_path):
            with pytest.raises(XfvError, match="cannot be written"):
                lfw_report.save(path)


def test_no_rate_of_the_table_stands_without_its_interval():
    """Of classes that do not overlap, where no pair errs and resampling says nothing; of 200,000 pairs."""
    genuine = np.repeat([True, False], 60)
    report = report_of(np.where(genuine, 0.2, 0.9), genuine, np.arange(120) % 2)
    console = Console(width=200, file=io.StringIO())
    console.print(report_tables(report)[0])
    rows = console.file.getvalue().splitlines()
    (accuracy,) = (row for row in rows if "fold accuracy" in row)
    assert f"100.00% [{1 - wilson(0, 120)[1]:.2%}, 100.00%]" in accuracy
    for name in ("EER", "AUC "):
        (row,) = (row for row in rows if f" {name}" in row and "FNMR" not in row)
        assert "the classes do not overlap" in row
    assert interval_in_words(wilson_interval(0, 200_000)) == "[0.0000%, 0.0019%]"
