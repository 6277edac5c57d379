"""The figures show the report's own numbers, whatever the pairs, and nothing hides anything."""

import functools
import itertools

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from tests.calibration.test_calibrators import apart, lfw_like, pairs
from xfv_demo.calibration.calibrators import CALIBRATORS
from xfv_demo.errors import XfvError
from xfv_demo.evaluation.accuracy.calibrators_figure import comparison_figure
from xfv_demo.evaluation.accuracy.det_figure import det_figure
from xfv_demo.evaluation.accuracy.distances_figure import distances_figure
from xfv_demo.evaluation.accuracy.evaluate import evaluate
from xfv_demo.evaluation.accuracy.figure_style import CALIBRATOR_STYLES
from xfv_demo.evaluation.accuracy.figures import save_figures
from xfv_demo.evaluation.accuracy.reliability_figure import reliability_figure
from xfv_demo.evaluation.accuracy.tables import sets_markdown
from xfv_demo.evaluation.accuracy.tippett_figure import tippett_figure
from xfv_demo.metrics.error_rates import error_rates
from xfv_demo.plots.style import GENUINE, IMPOSTOR

DRAWERS = (det_figure, distances_figure, reliability_figure, comparison_figure, tippett_figure)


def report_of(distances, genuine, folds=10, **settings):
    settings = {
        "model": "mobilefacenet",
        "model_sha256": None,
        "dataset": "lfw",
        "rng": np.random.default_rng(0),
        "resamples": 20,
        **settings,
    }
    return evaluate(distances, genuine, folds, **settings)


def unequal():
    """Thirty times as many impostor pairs as genuine ones."""
    rng = np.random.default_rng(0)
    distances = np.concatenate([rng.normal(0.4, 0.12, 400).clip(0), rng.normal(0.95, 0.08, 12_000)])
    return distances, np.repeat([True, False], [400, 12_000]), np.arange(12_400) % 3


@pytest.fixture(scope="module")
def reports():
    distances, genuine = apart(40)
    halves = np.arange(80) % 2
    return {
        "lfw": report_of(*lfw_like()),
        "tiny": report_of(*pairs(0.4, 0.15, 0.8, 0.15, count=40, folds=2), 2, dataset="mine"),
        # 3,000 pairs of each class, and not an error among them.
        "apart": report_of(*apart(3000), np.arange(6000) % 10),
        "tiny and apart": report_of(distances, genuine, halves, model="/a/long/path/to/the/$model$_of mine"),
        "bad": report_of(*pairs(0.8, 0.2, 0.95, 0.15), dataset="a data set with a long name", method="beta"),
        "unequal": report_of(*unequal(), dataset="mine", method="logistic"),
        "without x-Face": report_of(*pairs(0.001, 0.0003, 0.003, 0.0003), method="isotonic"),
        "near 2": report_of(*pairs(1.0, 0.2, 1.95, 0.1), method="logistic"),
        "targets": report_of(*lfw_like(), fmr_targets=(0.1, 0.05, 0.01, 0.001, 0.0001)),
    }


KINDS = (
    "lfw",
    "tiny",
    "apart",
    "tiny and apart",
    "bad",
    "unequal",
    "without x-Face",
    "near 2",
    "targets",
)


@pytest.fixture(scope="module")
def drawn(reports):
    """Each figure of each report, drawn once."""
    return functools.cache(lambda draw, kind: draw(reports[kind]))


def found(figure, gid):
    """Everything drawn under a name."""
    return figure.findobj(lambda artist: artist.get_gid() == gid)


def texts(figure):
    """All words that are seen, tick labels included."""
    seen = list(figure.texts)
    for axes in figure.axes:
        seen += [axes.xaxis.label, axes.yaxis.label, axes.title, axes._left_title, *axes.texts]
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            seen += [
                label
                for tick in axis.get_major_ticks()
                for label in (tick.label1, tick.label2)
                if label.get_visible() and low <= tick.get_loc() <= high
            ]
    return [text for text in seen if text.get_text()]


def words(figure):
    return [text.get_text() for text in texts(figure)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("draw", DRAWERS)
class TestEveryFigure:
    def test_no_words_are_cut_off_or_lie_on_others(self, draw, kind, drawn):
        figure = drawn(draw, kind)
        figure.draw_without_rendering()
        boxes = [(text.get_text(), text.get_window_extent()) for text in texts(figure)]
        assert len(boxes) > 10
        for text, box in boxes:
            assert box.x0 >= 3, text
            assert box.y0 >= 3, text
            assert box.x1 <= figure.bbox.x1 - 3, text
            assert box.y1 <= figure.bbox.y1 - 3, text
        for (one, box), (other, another) in itertools.combinations(boxes, 2):
            assert not box.padded(-1).overlaps(another.padded(-1)), (one, other)

    def test_is_of_readme_width_with_words_large_enough(self, draw, kind, drawn):
        figure = drawn(draw, kind)
        assert isinstance(figure, Figure)
        assert figure.bbox.width == 1095
        assert all(text.get_fontsize() >= 9 for text in texts(figure))

    def test_says_what_of(self, draw, kind, reports, drawn):
        report = reports[kind]
        heading = " ".join(text.get_text() for text in drawn(draw, kind).texts[:2])
        assert report.model[-10:] in heading
        assert f"{report.pairs.genuine:,} genuine and {report.pairs.impostor:,} impostor pairs" in heading


@pytest.mark.slow
class TestDet:
    def test_axes_are_named(self, drawn):
        (axes,) = drawn(det_figure, "lfw").axes
        assert axes.get_xlabel().startswith("FMR")
        assert axes.get_ylabel().startswith("FNMR")
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")

    @pytest.mark.parametrize("kind", ["lfw", "tiny", "bad", "unequal"])
    def test_curve_is_that_of_the_pairs(self, reports, kind, drawn):
        report = reports[kind]
        (curve,) = found(drawn(det_figure, kind), "curve")
        rates = error_rates(report.evidence.scores.distances, report.evidence.scores.genuine)
        drawn = rates.fmr > 0
        assert (curve.get_xdata()[drawn] == rates.fmr[drawn]).all()
        drawn = rates.fnmr > 0
        assert (curve.get_ydata()[drawn] == rates.fnmr[drawn]).all()

    @pytest.mark.parametrize("kind", ["lfw", "tiny", "bad", "unequal"])
    def test_curve_passes_the_equal_error_rate(self, reports, kind, drawn):
        figure = drawn(det_figure, kind)
        (curve,), (point,) = found(figure, "curve"), found(figure, "eer")
        rate = reports[kind].separation.eer
        assert point.get_xydata().tolist() == [[rate, rate]]
        start, end = curve.get_xydata()[:-1], curve.get_xydata()[1:]
        span = end - start
        along = ((rate - start) * span).sum(axis=1) / np.maximum((span**2).sum(axis=1), 1e-30)
        nearest = start + along.clip(0, 1)[:, np.newaxis] * span
        assert np.hypot(*(nearest - rate).T).min() < 1e-12

    def test_threshold_is_the_operating_point(self, reports, drawn):
        report = reports["lfw"]
        figure = drawn(det_figure, "lfw")
        (mark,) = found(figure, "threshold")
        point = report.operating_point
        assert mark.get_xydata().tolist() == [[point.fmr, point.fnmr]]
        assert f"threshold {point.threshold:.3f}" in words(figure)

    def test_band_holds_curve_and_intervals(self, reports, drawn):
        report = reports["lfw"]
        (band,) = found(drawn(det_figure, "lfw"), "band")
        outline = band.get_path()
        rates = error_rates(report.evidence.scores.distances, report.evidence.scores.genuine)
        both = (rates.fmr > 0) & (rates.fnmr > 0)
        assert outline.contains_points(np.stack([rates.fmr, rates.fnmr], axis=1)[both]).all()
        corners = {tuple(corner) for corner in outline.vertices.tolist()}
        point = report.operating_point
        high = rates.fmr_band().high[both], rates.fnmr_band().high[both]
        assert set(zip(*(side.tolist() for side in high), strict=True)) <= corners
        assert (point.fmr_interval.high, point.fnmr_interval.high) in corners

    @pytest.mark.parametrize(("kind", "lowest"), [("lfw", 1e-3), ("tiny", 3 / 40), ("unequal", 1 / 4000)])
    def test_what_the_pairs_cannot_carry_is_grey(self, reports, kind, lowest, drawn):
        report = reports[kind]
        figure = drawn(det_figure, kind)
        (grey,) = found(figure, "untold fmr")
        assert grey.get_x() + grey.get_width() == pytest.approx(lowest)
        (grey,) = found(figure, "untold fnmr")
        assert grey.get_y() + grey.get_height() == pytest.approx(3 / report.pairs.genuine)
        assert any(
            f"fewer than 3 errors in {report.pairs.impostor:,} impostor" in text for text in words(figure)
        )

    def test_numbers_stand_beside_it(self, reports, drawn):
        report = reports["lfw"]
        shown = words(drawn(det_figure, "lfw"))
        assert f"{100 * report.separation.eer:.2f} %" in shown
        assert f"{report.separation.auc:.4f}" in shown
        for answer in report.fnmr_at_fmr:
            assert f"{100 * answer.at.fnmr:.2f} %" in shown
        assert "too few pairs" in words(drawn(det_figure, "tiny"))

    def test_classes_apart_are_said_to_be(self, drawn):
        figure = drawn(det_figure, "apart")
        assert any("do not overlap" in text for text in words(figure))
        assert not found(figure, "eer")
        assert not found(figure, "band")

    def test_no_rate_of_classes_apart_is_certain(self, drawn):
        """By hand: 1 - 0.05 ** (1 / 3000) is 0.0998 %, and Wilson's interval of 6,000 of 6,000 begins at
        6000 / (6000 + 1.96**2), 99.94 %."""
        shown = words(drawn(det_figure, "apart"))
        assert "below 0.10 %" in shown
        assert "no overlap" in shown
        assert "99.94\N{EN DASH}100.00 %" in shown
        assert "\N{PLUS-MINUS SIGN} 0.00 %" not in shown


class TestDistances:
    @pytest.mark.parametrize("kind", KINDS)
    def test_densities_are_those_of_the_pairs(self, reports, kind, drawn):
        report = reports[kind]
        figure = drawn(distances_figure, kind)
        labels = report.evidence.scores.genuine
        for gid, chosen, colour in (("genuine", labels, GENUINE), ("impostor", ~labels, IMPOSTOR)):
            (drawn,) = found(figure, gid)
            density, edges, _ = drawn.get_data()
            assert np.sum(density * np.diff(edges)) == pytest.approx(1)
            distances = report.evidence.scores.distances[chosen].clip(0, 2)
            assert density == pytest.approx(np.histogram(distances, edges, density=True)[0])
            assert to_hex(drawn.get_facecolor()) == colour.lower()

    def test_curve_is_the_calibrations(self, reports, drawn):
        for kind in ("lfw", "unequal"):
            report = reports[kind]
            (curve,) = found(drawn(distances_figure, kind), "probability")
            expected = report.calibration.probability(curve.get_xdata())
            assert (curve.get_ydata() == expected).all()

    @pytest.mark.parametrize("kind", KINDS)
    def test_threshold_and_errors(self, reports, kind, drawn):
        report = reports[kind]
        figure = drawn(distances_figure, kind)
        threshold = report.calibration.threshold
        assert [line.get_xdata()[0] for line in found(figure, "threshold")] == [threshold] * 2
        distances, genuine = report.evidence.scores.distances.clip(0, 2), report.evidence.scores.genuine
        for gid, wrong in (
            ("refused", genuine & (distances >= threshold)),
            ("accepted", ~genuine & (distances < threshold)),
        ):
            (strokes,) = found(figure, gid)
            assert sorted(stroke[0, 0] for stroke in strokes.get_segments()) == sorted(distances[wrong])
            count = np.count_nonzero(wrong)
            assert any(text.startswith(f"{count:,} ") and text.endswith(gid) for text in words(figure))

    def test_axes_are_named(self, drawn):
        shown = words(drawn(distances_figure, "lfw"))
        for name in ("cosine distance", "density, per unit of distance", "P(genuine | distance)"):
            assert shown.count(name) == 1


class TestReliability:
    @pytest.mark.parametrize("kind", KINDS)
    def test_dots_are_the_bins(self, reports, kind, drawn):
        confidence = reports[kind].confidence
        figure = drawn(reliability_figure, kind)
        filled = [one for one in confidence.reliability if one.count]
        dots = [dot.get_xydata()[0].tolist() for dot in found(figure, "bin")]
        assert dots == [[one.mean_confidence, one.share_right] for one in filled]
        reaches = [line.get_ydata().tolist() for line in found(figure, "bin interval")]
        assert reaches == [[one.interval.low, one.interval.high] for one in filled]
        heights = [bar.get_height() for bar in found(figure, "count")]
        assert heights == [one.count for one in filled]

    @pytest.mark.parametrize("kind", KINDS)
    def test_dots_of_equal_mass_are_the_risks(self, reports, kind, drawn):
        figure = drawn(reliability_figure, kind)
        axes = figure.axes[-1]
        low, high = sorted(axes.get_xlim())
        bins = reports[kind].confidence.equal_mass_reliability
        dots = found(figure, "risk")
        assert len(dots) == len(bins)
        for dot, one in zip(dots, bins, strict=True):
            risks = np.array([1 - one.mean_confidence, 1 - one.share_right])
            assert dot.get_xydata()[0] == pytest.approx(risks.clip(low, high))
            hollow = to_hex(dot.get_markerfacecolor()) == "#ffffff"
            assert hollow == (risks < low).any()
        # Confidence rises to the right and upwards.
        assert axes.get_xlim() == axes.get_ylim() == (high, low)

    def test_diagonal_and_errors_are_there(self, reports, drawn):
        report = reports["lfw"]
        figure = drawn(reliability_figure, "lfw")
        first, second = found(figure, "diagonal")
        assert first.get_xydata().tolist() == [[0.5, 0.5], [1, 1]]
        assert (second.get_xdata() == second.get_ydata()).all()
        shown = " ".join(words(figure))
        assert f"ECE {report.confidence.summary.ece:.4f}" in shown
        assert f"ECE {report.confidence.summary.adaptive_ece:.4f}" in shown

    def test_axes_are_named(self, drawn):
        shown = words(drawn(reliability_figure, "lfw"))
        assert shown.count("confidence") == 2
        assert shown.count("share of right decisions") == 2
        assert shown.count("decisions") == 1


class TestComparison:
    @pytest.mark.parametrize("kind", KINDS)
    def test_curves_are_the_calibrators(self, reports, kind, drawn):
        report = reports[kind]
        figure = drawn(comparison_figure, kind)
        for method in CALIBRATORS:
            curves = found(figure, method)
            if method not in report.evidence.calibrations:
                assert curves == []
                continue
            (curve,) = curves
            expected = report.evidence.calibrations[method].probability(curve.get_xdata())
            assert (curve.get_ydata() == expected).all()
            assert curve.get_xdata()[0] < report.calibration.threshold < curve.get_xdata()[-1]

    def test_table_holds_the_rows(self, reports, drawn):
        report = reports["lfw"]
        figure = drawn(comparison_figure, "lfw")
        shown = words(figure)
        for row in report.comparison:
            for value in (row.log_loss, row.brier, row.ece, row.adaptive_ece):
                assert f"{value:.4f}" in shown
        bold = [text.get_text() for text in texts(figure) if text.get_fontweight() == "bold"]
        assert f"{min(row.log_loss for row in report.comparison):.4f}" in bold
        assert f"{max(row.log_loss for row in report.comparison):.4f}" not in bold

    def test_method_that_cannot_be_fitted_is_named(self, drawn):
        shown = words(drawn(comparison_figure, "without x-Face"))
        assert "x-Face" in shown
        assert "cannot be fitted to these pairs" in shown

    def test_dots_count_classes_equally(self, reports, drawn):
        report = reports["unequal"]
        distances, genuine = report.evidence.scores.distances, report.evidence.scores.genuine
        figure = drawn(comparison_figure, "unequal")
        (axes,) = figure.axes
        edges = np.linspace(*axes.get_xlim(), 15)
        dots = [dot.get_xydata()[0] for dot in found(figure, "share")]
        assert dots
        for place, share in dots:
            number = np.searchsorted(edges, place) - 1
            inside = (distances >= edges[number]) & (distances < edges[number + 1])
            own, other = inside[genuine].mean(), inside[~genuine].mean()
            assert share == pytest.approx(own / (own + other))

    def test_threshold_line(self, reports, drawn):
        report = reports["lfw"]
        (line,) = found(drawn(comparison_figure, "lfw"), "threshold")
        assert line.get_xdata()[0] == report.calibration.threshold

    def test_every_calibrator_has_its_style(self):
        assert set(CALIBRATOR_STYLES) == set(CALIBRATORS)


@pytest.mark.slow
class TestTippett:
    @pytest.mark.parametrize("kind", KINDS)
    def test_curves_are_shares_of_the_pairs_and_pass_what_misleads(self, reports, kind, drawn):
        report, figure = reports[kind], drawn(tippett_figure, kind)
        probabilities = report.evidence.decisions.probabilities
        genuine = report.evidence.scores.genuine
        ratios = np.log10(probabilities / (1 - probabilities))
        for name, rows in (("genuine", genuine), ("impostor", ~genuine)):
            (line,) = found(figure, name)
            x, y = line.get_data()
            assert (y[0], y[-1]) == (1, 0)
            for limit in (-1.003, 0.507):
                above = (ratios[rows] > limit).mean()
                assert y[np.searchsorted(x, limit, side="right") - 1] == pytest.approx(above)
        wrong = report.likelihood_ratio
        assert wrong.misleading_genuine == (ratios[genuine] < 0).mean()
        assert wrong.misleading_impostor == (ratios[~genuine] > 0).mean()

    def test_no_ratio_beyond_what_the_pairs_carry(self, reports):
        for report in reports.values():
            decisions = report.evidence.decisions
            for fold, calibration in enumerate(decisions.calibrations):
                bounds = calibration.probability_bounds()
                stated = decisions.probabilities[decisions.fold_of == fold]
                assert bounds.low <= stated.min() <= stated.max() <= bounds.high

    def test_cost_is_the_log_loss_in_bits_where_nothing_is_cut_off(self, reports):
        """Decisions' confidences are 1 - P or P, but for the floor of one half and what the pairs carry."""
        for row in reports["lfw"].comparison:
            if row.method != "xface":
                assert row.cllr == pytest.approx(row.log_loss / np.log(2), rel=0.1)
            assert row.min_cllr <= row.cllr


def test_several_sets_stand_in_one_table(reports):
    lines = sets_markdown([reports["lfw"], reports["tiny"]]).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith(f"| lfw | 6,000 | {reports['lfw'].accuracy.mean:.2%} |")
    assert lines[3].startswith(f"| mine | 80 | {reports['tiny'].accuracy.mean:.2%} |")


class TestSaving:
    @pytest.mark.parametrize("kind", ["lfw", "tiny", "tiny and apart"])
    def test_files_open(self, reports, kind, tmp_path):
        written = save_figures(reports[kind], str(tmp_path / "figures"), "m-lfw")
        assert [path.name for path in written] == [
            "m-lfw-det.png",
            "m-lfw-distances.png",
            "m-lfw-reliability.png",
            "m-lfw-calibrators.png",
            "m-lfw-tippett.png",
        ]
        assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == sorted(
            path.name for path in written
        )
        for path in written:
            with Image.open(path) as image:
                image.load()
                assert image.format == "PNG"
                assert image.width == 1095
                assert image.getpixel((0, 0))[:3] == (255, 255, 255)

    @pytest.mark.parametrize("prefix", ["", "a/b", "/tmp/m"])
    def test_prefixes_that_are_no_names(self, reports, prefix, tmp_path):
        with pytest.raises(XfvError, match="cannot start the names of figures"):
            save_figures(reports["tiny"], tmp_path, prefix)
        assert list(tmp_path.iterdir()) == []

    def test_folder_that_cannot_be(self, reports, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(XfvError, match=r"m-det\.png: this file cannot be written"):
            save_figures(reports["tiny"], tmp_path / "file", "m")


def test_settings_of_matplotlib_stay_as_they_are(reports):
    def all_settings():
        # To ask for the backend would choose one.
        return {name: mpl.rcParams[name] for name in mpl.rcParams if name != "backend"}

    before = all_settings()
    for draw in DRAWERS:
        draw(reports["tiny"])
    assert all_settings() == before


def test_pyplot_is_not_imported(tmp_path, run_python):
    code = (
        "import sys, numpy as np\n"
        "from xfv_demo.evaluation.accuracy.figures import save_figures\n"
        "from xfv_demo.evaluation.accuracy.evaluate import evaluate\n"
        "distances = np.tile(np.linspace(0.1, 1.2, 60), 2)\n"
        "report = evaluate(distances, distances < 0.6, np.repeat([0, 1], 60), model='m', model_sha256=None,\n"
        "    dataset='d', rng=np.random.default_rng(0), resamples=5, method='logistic')\n"
        f"save_figures(report, {str(tmp_path)!r}, 'm')\n"
        "sys.exit(any(name in sys.modules for name in ('matplotlib.pyplot', 'tensorflow', 'gradio')))"
    )
    assert run_python("-c", code).returncode == 0
