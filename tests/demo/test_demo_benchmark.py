"""The benchmark's tab, without a browser; test_demo.py opens it in one."""

import copy
import datetime
import html
import html.parser
import itertools
import json
import math
import re

import pytest

pytest.importorskip("gradio")

from demo.benchmark.reports import read_reports
from demo.benchmark.sizes_html import sizes_html
from demo.benchmark.tab_html import benchmark_html
from xfv_demo.datasets.pairs import PairCounts
from xfv_demo.evaluation.explanations.report import (
    Areas,
    BenchmarkReport,
    Curves,
    Difference,
    MeasuredMethod,
    Rates,
)
from xfv_demo.evaluation.explanations.sanity import Sanity
from xfv_demo.metrics.faithfulness import Area
from xfv_demo.metrics.intervals import Interval

# Key, title, seconds and area: the best first.
FOUR = (
    ("grid", "Grid cells", 0.02, 0.10),
    ("slow", "Slow, but sure", 4.0, 0.15),
    ("face-prior", "Centre prior", None, 0.16),
    ("xcos", "xCos", 0.04, 0.30),
)


def area(value, half=0.02):
    return Area(value, Interval(value - half, value + half))


def made_report(contenders=FOUR, half=0.02, **changes):
    """A report as the command writes it; differences beyond `half` are carried."""
    results = []
    for key, title, seconds, value in contenders:
        areas = Areas(
            PairCounts(8, 7),
            area(value / 2),
            area(value * 1.5),
            area(value),
            area(0.6),
            area(0.7),
            area(0.55),
        )
        sanity = None if key == "slow" else Sanity(-0.001, 0.5, 1.0, None)
        results.append(
            MeasuredMethod(key, title, seconds, areas, areas, None, Curves((), (), (), ()), sanity)
        )
    differences = tuple(
        Difference(one[0], other[0], *[area(one[3] - other[3], half)] * 4)
        for one, other in itertools.combinations(contenders, 2)
    )
    keys = [one[0] for one in contenders]
    agreement = {one: {other: 1.0 if one == other else -0.25 for other in keys} for one in keys}
    agreement[keys[0]][keys[-1]] = None
    report = BenchmarkReport(
        model="a model", model_sha256=None, engine="an engine", dataset="lfw", seed=3, threshold=0.36,
        clean=Rates(0.002, 0.0), patched=Rates(0.4, 0.25), left_out=0, contenders=tuple(results),
        differences=differences, quick_differences=(),
        agreement=agreement, sanity_pairs=2, refused={}, kept=0, seconds=1.0,
        date=datetime.date(2026, 11, 22), command="python -m xfv_demo evaluate", versions={"numpy": "2"},
    )  # fmt: skip
    return {**report.to_dict(), **changes}


class Page(html.parser.HTMLParser):
    """Reads the tab: rows of tables by class, the places of dots by layout; all tags close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.dots, self.images = [], {}, {}, []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.open.append((tag, given))
        if given.get("role") == "img":
            self.images.append(given["aria-label"])
        if tag == "tr" and self.inside("tbody") is not None:
            self.rows.setdefault(self.inside("table")["class"], []).append("")

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, words):
        if self.inside("tr") is not None and self.inside("tbody") is not None:
            self.rows[self.inside("table")["class"]][-1] += f"{words} "
        # The numbers in the dots; those at the axes are of other colours.
        if self.open and self.open[-1][0] == "text" and "--card" in self.open[-1][1]["style"]:
            given = self.open[-1][1]
            layout = self.dots.setdefault(self.inside("div")["class"], {})
            layout[words] = float(given["x"]), float(given["y"])

    def inside(self, tag):
        """The attributes of the innermost such element that is open."""
        return next((given for one, given in reversed(self.open) if one == tag), None)


def said(text):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def page_of(report):
    return Page(benchmark_html([report]))


def test_rows_are_in_the_reports_order_and_baselines_take_no_time():
    rows = [" ".join(row.split()) for row in page_of(made_report()).rows["contenders"]]
    assert rows == [
        "1 Grid cells 0.100 (0.080 to 0.120) 0.050 0.150 0.550 0.600 0.700 0.02",
        "2 Slow, but sure 0.150 (0.130 to 0.170) 0.075 0.225 0.550 0.600 0.700 4",
        "3 Centre prior baseline 0.160 (0.140 to 0.180) 0.080 0.240 0.550 0.600 0.700 –",
        "4 xCos 0.300 (0.280 to 0.320) 0.150 0.450 0.550 0.600 0.700 0.04",
    ]


def test_quick_methods_are_compared_on_all_their_pairs_where_these_are_more():
    report = made_report()
    assert "quick to make" not in benchmark_html([report])
    # Of the four, the slow one was measured on fewer pairs.
    report["quick_differences"] = [
        one for one in report["differences"] if "slow" not in (one["one"], one["other"])
    ]
    _, _, quick = benchmark_html([report]).partition("quick to make, on all 15 pairs:")
    sentences = quick.partition("</ul>")[0]
    assert sentences.count("<li>") == 2
    assert "Slow" not in sentences


def test_the_finding_says_what_the_intervals_carry():
    words = said(benchmark_html([made_report()]))
    assert "accepts 40 % , not 0.2 % (the false match rate, FMR)" in words
    assert "rejects 25 % , not 0 % (the false non-match rate, FNMR)" in words
    assert "The smallest area is that of Grid cells : 0.100" in words
    assert "cannot be told from it" not in words
    assert "By more than chance explains, 1 of 3 methods is better than the baseline Centre prior." in words
    assert "Slow, but sure is better than xCos. It cannot be told from Centre prior." in words

    words = said(benchmark_html([made_report(half=0.055)]))
    assert "By these pairs, it cannot be told from Slow, but sure. The quickest of these, Grid cells" in words

    words = said(benchmark_html([made_report(FOUR[2:])]))
    assert "Centre prior , a baseline that knows nothing of the faces: 0.160" in words
    assert "no method is better than the baseline Centre prior" in words


def test_a_baseline_that_is_best_is_one_of_those_alike():
    words = said(benchmark_html([made_report(FOUR[2:], half=0.5)]))
    assert "it cannot be told from xCos. The quickest of these, xCos , takes 0.04 s a pair." in words


def test_of_maps_that_share_a_run_the_best_is_called_the_quickest():
    words = said(benchmark_html([made_report((("z", "Zebra", 3.0, 0.170), ("a", "Ape", 3.0, 0.171)))]))
    assert "The quickest of these, Zebra , takes 3 s" in words


def test_what_was_not_measured_is_a_dash():
    page = page_of(made_report())
    checks = [" ".join(row.split()) for row in page.rows["checks"]]
    assert checks[0] == "1 Grid cells 0.00 0.50 1.00 –"
    assert checks[1] == "2 Slow, but sure – – – –"
    assert " ".join(page.rows["agreement"][0].split()) == "1 Grid cells 1.00 −0.25 −0.25 –"
    unchecked = made_report()
    for one in unchecked["contenders"]:
        one["sanity"] = None
    assert "checks" not in page_of(unchecked).rows
    assert "This was not checked." in said(benchmark_html([unchecked]))


def test_a_head_that_saw_some_of_the_people_is_told_of():
    report = made_report()
    assert "was trained on" not in said(benchmark_html([report]))
    unseen = report["contenders"][3]["unseen"] = copy.deepcopy(report["contenders"][3]["every"])
    unseen["pairs"] = {"genuine": 2, "impostor": 3}
    unseen["replacement"]["value"] = 0.35
    words = said(benchmark_html([report]))
    assert "On the 5 pairs without them its mean area is 0.350" in words
    assert "on all 15 pairs that it was measured on, 0.300" in words


@pytest.mark.parametrize("layout", ["wide", "narrow"])
def test_quicker_is_further_left_and_a_lower_area_lies_lower(layout):
    dots = page_of(made_report()).dots[layout]
    assert sorted(dots) == ["1", "2", "4"]
    (grid, low), (slow, middle), (xcos, high) = dots["1"], dots["2"], dots["4"]
    # Twice as long is everywhere as far.
    assert 0 < slow - xcos == pytest.approx((xcos - grid) * 6.644, rel=1e-2)
    assert 0 < low - middle == pytest.approx((middle - high) / 3, abs=0.2)


@pytest.mark.parametrize("layout", ["wide", "narrow"])
@pytest.mark.parametrize("seconds", [0.01, 1.0, 100.0])
def test_dots_that_make_room_for_one_another_stay_in_the_plot(layout, seconds):
    crowd = [(f"m{number}", f"Method {number}", seconds, 0.1 + number / 1e4) for number in range(6)]
    far = [("far", "Far", 1.0, 0.2), ("random", "Random", None, 0.3)]
    dots = page_of(made_report((*crowd, *far))).dots[layout]
    assert len(dots) == 7
    assert all(math.dist(one, other) >= 16 for one, other in itertools.combinations(dots.values(), 2))
    width = {"wide": 860, "narrow": 320}[layout]
    assert all(44 + 8 <= x <= width - 24 - 8 for x, _ in dots.values())


@pytest.mark.parametrize(("seconds", "tick"), [(2.7, "2"), (0.0011, "0.001")])
def test_there_are_seconds_at_the_axis_however_alike_they_are(seconds, tick):
    text = benchmark_html([made_report((("grid", "Grid cells", seconds, 0.1),))])
    assert text.count(f">{tick}</text>") == 2


def test_lines_of_intervals_are_told_apart_where_dots_would_not_meet():
    xs = [
        x
        for x, _ in page_of(made_report((*FOUR[:1], ("b", "B", 0.02, 0.13), *FOUR[1:]))).dots["wide"].values()
    ]
    assert all(abs(one - other) >= 4 for one, other in itertools.combinations(xs, 2))


def test_the_plot_has_the_pages_colours_and_no_rules_or_names_of_its_own():
    text = benchmark_html([made_report()])
    plots = re.findall(r"<svg viewBox.*?</svg>", text, re.DOTALL)
    assert len(plots) == 2
    for plot in plots:
        assert "<style" not in plot
        assert set(re.findall(r"(?:fill|stroke): ([^;\"]+)", plot)) <= {
            "none", *(f"var(--{name})" for name in ("ink", "quiet", "line-soft", "genuine", "card")),
        }  # fmt: skip
        # What a browser would ask for elsewhere.
        assert all(found.startswith("#") for found in re.findall(r'href="([^"]*)', plot))
        assert "http" not in plot
    names = re.findall(r' id="([^"]+)', text)
    assert len(names) == len(set(names))


def test_the_plot_is_told_to_those_who_do_not_see_it():
    gist = max(page_of(made_report()).images, key=len)
    assert "Smallest area of a method: Grid cells, area 0.100" in gist
    assert "Baseline: Centre prior, area 0.160" in gist


def test_what_comes_from_a_file_is_escaped():
    evil = "<script>alert('&')</script>"
    report = made_report(
        (("grid", evil, 0.1, 0.1), ("random", evil, None, 0.2)),
        model=evil, engine=evil, dataset=evil, date=evil, command=evil, versions={evil: evil},
        refused={evil: evil}, file=evil,
    )  # fmt: skip
    for reports in ([report], [report, report], [{"file": evil, "problem": evil}]):
        text = benchmark_html(reports)
        Page(text)
        assert "<script" not in text
        assert evil in html.unescape(text)


def test_reports_are_read_from_a_folder(tmp_path):
    one, other = made_report(model="one"), made_report(model="other")
    (tmp_path / "b-explanations.json").write_text(json.dumps(one))
    (tmp_path / "c-explanations.json").write_text(json.dumps(other))
    (tmp_path / "a-lfw.json").write_text("not a report of this kind")
    reports = read_reports(tmp_path)
    assert reports == [
        {**one, "file": "b-explanations.json"},
        {**other, "file": "c-explanations.json"},
    ]
    words = said(benchmark_html(reports))
    assert words.index("one on LFW") < words.index("other on LFW")
    assert "one on LFW" not in said(benchmark_html(reports[:1]))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[]", "it is no benchmark"),
        (json.dumps(made_report(version=2)).encode(), "another version"),
        (json.dumps({**made_report(), "contenders": []}).encode(), "it lacks something"),
        (json.dumps(made_report(threshold="high")).encode(), "cannot be"),
        (json.dumps(made_report((("grid", "Grid cells", 0.0, 0.1),))).encode(), "cannot be"),
        (json.dumps(made_report((("grid", "Grid cells", 1.0, 7.0),))).encode(), "cannot be"),
        (json.dumps(made_report((("grid", "Grid cells", float("nan"), 0.1),))).encode(), "cannot be"),
        (b'{"format": "xfv-demo explanation benchmark", "version": 1}', "it lacks something"),
    ],
)
def test_a_file_that_cannot_be_used_costs_a_line(tmp_path, content, reason):
    (tmp_path / "bad-explanations.json").write_bytes(content)
    (tmp_path / "good-explanations.json").write_text(json.dumps(made_report()))
    text = benchmark_html(read_reports(tmp_path))
    assert len(Page(text).rows["contenders"]) == len(FOUR)
    (line,) = re.findall(r'<p class="problem">(.*?)</p>', text)
    assert line.startswith("bad-explanations.json is not shown: ")
    assert reason in line


def test_a_file_that_is_a_folder_costs_a_line(tmp_path):
    (tmp_path / "bad-explanations.json").mkdir()
    assert "bad-explanations.json is not shown: it cannot be read" in benchmark_html(read_reports(tmp_path))


@pytest.mark.parametrize("folder", [".", "no-such-folder"])
def test_without_reports_the_command_is_named(tmp_path, folder):
    text = benchmark_html(read_reports(tmp_path / folder))
    Page(text)
    assert "python -m xfv_demo evaluate patch-lfw" in said(text)


def sizes_report(**changes):
    honest = {"confidence": 0.95, "accuracy": 0.89, "ece": 0.052}
    row = {"title": "shrunk to 16 %", "worse": "one", "before": honest, "after": {**honest, "ece": 0.013}}
    report = {
        "format": "xfv-demo confidence by size of the face",
        "version": 1,
        "model": "<b>m",
        "dataset": "lfw",
        "size_range": [6.0, 35.2],
        "rows": [row],
    }
    return {**report, **changes}


def test_confidence_by_size_is_shown_with_its_figure(tmp_path):
    (tmp_path / "m-lfw-sizes.json").write_text(json.dumps(sizes_report()))
    (tmp_path / "m-lfw-sizes.png").write_bytes(b"figure")
    shown = sizes_html(tmp_path)
    assert "shrunk to 16 %, one photo" in shown
    assert "0.052" in shown
    assert "0.013" in shown
    assert "data:image/png;base64,ZmlndXJl" in shown
    assert "<b>m" not in shown
    assert "&lt;b&gt;m" in shown


@pytest.mark.parametrize(
    "text", ["", "[]", "null", json.dumps(sizes_report(version=2)), json.dumps(sizes_report(rows=[{}]))]
)
def test_a_report_by_size_that_is_none_costs_a_line(tmp_path, text):
    (tmp_path / "m-lfw-sizes.json").write_text(text)
    (tmp_path / "m-lfw-sizes.png").write_bytes(b"figure")
    assert "m-lfw-sizes.json is not shown" in sizes_html(tmp_path)
    (tmp_path / "m-lfw-sizes.json").write_text(json.dumps(sizes_report()))
    (tmp_path / "m-lfw-sizes.png").unlink()
    assert "m-lfw-sizes.json is not shown" in sizes_html(tmp_path)


def test_without_a_report_by_size_nothing_is_shown(tmp_path):
    assert sizes_html(tmp_path) == ""
