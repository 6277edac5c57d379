"""The tab on which explanation is right and what it costs: reports of the benchmark as HTML.

Reports are what `python -m xfv_demo evaluate patch-lfw` writes. Anybody can put one into the folder, so that
all that comes from a file is escaped, and a file that is not as it should be costs a line, not the page.
"""

import html
import io
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from demo.service import dataset_name
from xfv_demo.assets import assets_folder

Report = Mapping[str, Any]

RESULTS = assets_folder() / "results"

# As `BenchmarkReport.to_dict` writes it.
_FORMAT = ("xfv-demo explanation benchmark", 1)
_COMMAND = "python -m xfv_demo evaluate patch-lfw --data LFW_FOLDER --out assets/results"

# The layouts of the plot, of which style.css shows the one that fits: width and height in pixels.
_SIZES = {"wide": (860, 400), "narrow": (320, 360)}
_DOT = 16
# Matplotlib knows no variables of style sheets: what these stand for is put into what it wrote.
_COLOURS = {
    "ink": "#000001",
    "quiet": "#000002",
    "line-soft": "#000003",
    "genuine": "#000004",
    "card": "#000005",
}
_INK, _QUIET, _LINE, _GENUINE, _CARD = _COLOURS.values()
# What it would write of itself and of the time.
_METADATA = ("Creator", "Date", "Format", "Type")

# By their names in the report: what is changed, and where the correlation should be.
_CHECKS = (
    ("weights", "shuffled weights", "near 0"),
    ("reference", "another reference", "well below 1"),
    ("repeated", "all repeated", "1"),
    ("noise", "slight noise", "near 1"),
)


def read_reports(folder: Path) -> list[Report]:
    """Reads the reports that lie in a folder.

    Args:
        folder: Which; its files that end in "-explanations.json" are read.

    Returns:
        By the files' names, what each holds, with its name as "file"; of one that cannot be read the reason,
        as "problem".
    """
    reports: list[Report] = []
    for path in sorted(folder.glob("*-explanations.json")):
        read: Report
        try:
            read = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            read = {"problem": f"it cannot be read ({error.strerror})"}
        except (ValueError, RecursionError):
            read = {"problem": "it is not JSON"}
        else:
            if not isinstance(read, dict) or (read.get("format"), read.get("version")) != _FORMAT:
                read = {"problem": "it is no benchmark of explanations, or one of another version"}
        reports.append({**read, "file": path.name})
    return reports


def benchmark_html(reports: Sequence[Report]) -> str:
    """All that the tab shows.

    Args:
        reports: As from `read_reports`.
    """
    parts = [_report_or_problem_html(report, several=len(reports) > 1) for report in reports]
    if not parts:
        parts = [
            f'<p class="nothing">Nothing was measured yet. <code>{_COMMAND}</code> measures all methods on '
            "LFW, and this page shows the numbers when it is next started.</p>"
        ]
    return f'<article class="benchmark"><h2>Which explanation is right?</h2>{"".join(parts)}</article>'


def _report_or_problem_html(report: Report, *, several: bool) -> str:
    problem = report.get("problem")
    if problem is None:
        try:
            return _report_html(report, several=several)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, jinja2.UndefinedError):
            problem = "it lacks something, or holds something that cannot be"
    name = html.escape(str(report.get("file", "a report")))
    return f'<p class="problem">{name} is not shown: {html.escape(str(problem))}.</p>'


def _report_html(report: Report, *, several: bool) -> str:
    contenders = _contenders(report)
    genuine, impostor = _most_pairs(report)
    return _TEMPLATES.get_template("benchmark.html").render(
        report=report,
        several=several,
        contenders=contenders,
        dataset=dataset_name(report["dataset"]),
        genuine=genuine,
        impostor=impostor,
        finding=_finding(report, contenders),
        gist=_gist(contenders),
        plots={kind: _plot_svg(contenders, *size) for kind, size in _SIZES.items()},
        checks=_CHECKS,
        reasons=dict.fromkeys(report["refused"].values()),
        differences=_carried(report["differences"], contenders),
        quick_differences=_carried(report["quick_differences"], contenders),
    )


# What the report says ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Contender:
    """What several pieces show of a contender.

    Attributes:
        number: Its place in the table, from 1.
        key: A name for programs.
        title: A name for people.
        seconds: For a pair; None for a baseline.
        area: Of replacement.
        low: Where the area's interval begins.
        high: Where it ends.
        kept: All that the report has of it.
    """

    number: int
    key: str
    title: str
    seconds: float | None
    area: float
    low: float
    high: float
    kept: Mapping[str, Any]


def _contenders(report: Report) -> list[_Contender]:
    contenders = []
    for number, one in enumerate(report["contenders"], 1):
        area = one["common"]["replacement"]
        low, high = area["interval"]["low"], area["interval"]["high"]
        seconds = one["seconds"]
        if not 0 <= area["value"] <= 1 or (seconds is not None and not 0 < seconds < math.inf):
            raise ValueError("an area is from 0 to 1, and a map takes some time")
        contenders.append(
            _Contender(number, one["key"], one["title"], seconds, area["value"], low, high, one)
        )
    return contenders


def _told_apart(report: Report) -> set[tuple[str, str]]:
    """The keys of every two contenders of which the first is better by more than chance explains."""
    return {
        (one["one"], one["other"])
        for one in report["differences"]
        if one["replacement"]["interval"]["high"] < 0
    }


def _most_pairs(report: Report) -> tuple[int, int]:
    """The genuine and the impostor pairs of the contender that was measured on most."""
    counts = [one["every"]["pairs"] for one in report["contenders"]]
    return max((one["genuine"], one["impostor"]) for one in counts)


def _finding(report: Report, contenders: Sequence[_Contender]) -> Mapping[str, Any]:
    """Which is best, which might be as well, and how many know more than the baselines."""
    better = _told_apart(report)
    best, *others = contenders
    alike = [one for one in others if (best.key, one.key) not in better]
    methods = [one for one in contenders if one.seconds is not None]
    return {
        "best": best,
        "alike": alike,
        # Of those that share a run, and so its time, the best.
        "quickest": _quickest([best, *alike]),
        "beaten": [
            (_how_many([(one.key, baseline.key) in better for one in methods]), baseline)
            for baseline in contenders
            if baseline.seconds is None
        ],
    }


def _quickest(contenders: Iterable[_Contender]) -> _Contender | None:
    timed = ((one.seconds, one) for one in contenders if one.seconds is not None)
    _, quickest = min(timed, key=lambda pair: pair[0], default=(None, None))
    return quickest


def _how_many(methods: Sequence[bool]) -> str:
    """Such as "3 of 11 methods are"."""
    count = sum(methods)
    if count in (0, len(methods)):
        return f"all {count} methods are" if count else "no method is"
    return f"{count} of {len(methods)} methods {'is' if count == 1 else 'are'}"


# Quality and cost -------------------------------------------------------------------------------------------


@rc_context({"font.size": 12})
def _plot_svg(contenders: Sequence[_Contender], width: int, height: int) -> str:
    """The plot, laid out for a size in pixels, in the page's own colours and letters."""
    methods = [(one.seconds, one) for one in contenders if one.seconds is not None]
    seconds, drawn = [seconds for seconds, _ in methods], [one for _, one in methods]
    baselines = [one for one in contenders if one.seconds is None]
    # A point of the figure is a pixel of the SVG.
    figure = Figure(figsize=(width / 72, height / 72))
    axes = figure.add_axes((44 / width, 42 / height, 1 - 68 / width, 1 - 70 / height))
    axes.set(xscale="log", xlim=(min(seconds) / 1.7, max(seconds) * 1.7))
    decades = math.log10(max(seconds) / min(seconds) * 1.7**2)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if width / decades > 180 else (1,)))
    areas = [area for one in drawn for area in (one.low, one.high)] + [one.area for one in baselines]
    room = 0.05 * (max(areas) - min(areas)) or 0.05
    axes.set_ylim(min(areas) - room, max(areas) + room)
    axes.set_xlabel("seconds a pair", color=_INK)
    axes.set_title("area of replacement", color=_INK, loc="left", fontsize="medium")
    axes.xaxis.set_major_formatter(lambda tick, _: f"{tick:g}")
    axes.minorticks_off()
    axes.tick_params(color=_LINE, labelcolor=_INK)
    axes.grid(color=_LINE, linewidth=0.8)
    axes.spines[:].set_color(_LINE)
    for one in baselines:
        axes.axhline(one.area, color=_QUIET, linewidth=1.5, linestyle=(0, (4, 3)))
        right = axes.get_yaxis_transform()
        axes.text(1.01, one.area, str(one.number), transform=right, va="center_baseline", color=_QUIET)
    places = axes.transData.transform([(time, one.area) for time, one in methods])
    pixel = figure.dpi / 72
    across = _apart(places, axes.bbox.x0 + pixel * _DOT, axes.bbox.x1 - pixel * _DOT, pixel)
    x = axes.transData.inverted().transform([(at, places[0][1]) for at in across])[:, 0]
    for at, one in zip(x, drawn, strict=True):
        axes.plot([at, at], [one.low, one.high], color=_GENUINE, linewidth=2)
    for at, one in zip(x, drawn, strict=True):
        axes.plot(at, one.area, "o", markersize=_DOT, color=_INK, markeredgecolor=_CARD, zorder=3)
        number = axes.text(at, one.area, str(one.number), color=_CARD, fontsize=10, zorder=4)
        number.set(ha="center", va="center_baseline")
    written = io.StringIO()
    # Letters as text; and names of parts that the other plot does not have.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": str(width)}):
        figure.savefig(written, format="svg", transparent=True, metadata=dict.fromkeys(_METADATA))
    # Its head has rules that would hold for the whole page; names that nothing refers to are in each plot.
    _, first, drawing = written.getvalue().partition('<g id="figure_1">')
    drawing = re.sub(r' id="[\w.]+_\d+"', "", first + drawing)
    for name, colour in _COLOURS.items():
        drawing = drawing.replace(colour, f"var(--{name})")
    return f'<svg viewBox="0 0 {width} {height}">{drawing}'


def _apart(places: Iterable[Sequence[float]], left: float, right: float, pixel: float) -> list[float]:
    """Where dots and the lines of their intervals stand across the plot so that all can be seen.

    Args:
        places: Where their values put them, in the plot's own unit.
        left: Where they may stand; a dot that finds no room keeps its place.
        right: Likewise.
        pixel: Of the page, in that unit.
    """
    placed: list[tuple[float, float]] = []
    for x, y in places:
        free = (
            at
            for step in np.arange(0, right - left, pixel)
            for at in (x + step, x - step)
            if left <= at <= right
            # Dots beside one another; lines, where the dots are not, at least told apart.
            and all(
                abs(at - other) >= pixel * (_DOT + 1 if abs(y - height) < pixel * (_DOT + 1) else 4)
                for other, height in placed
            )
        )
        placed.append((next(free, x), y))
    return [x for x, _ in placed]


def _gist(contenders: Sequence[_Contender]) -> str:
    """What the plot shows, for those who do not see it."""
    best, *_ = (one for one in contenders if one.seconds is not None)
    quickest = _quickest(contenders)
    told = [f"Smallest area of a method: {_in_words(best)}."]
    if quickest is not None and quickest is not best:
        told.append(f"Quickest: {_in_words(quickest)}.")
    told += [f"Baseline: {_in_words(one)}." for one in contenders if one.seconds is None]
    return " ".join(["Area of replacement over seconds a pair.", *told, "All are in the table below."])


def _in_words(one: _Contender) -> str:
    seconds = "" if one.seconds is None else f", {_seconds(one.seconds)} s a pair"
    return f"{one.title}, area {one.area:.3f}, 95 % interval {_between(one.low, one.high)}{seconds}"


def _carried(
    differences: Iterable[Mapping[str, Any]], contenders: Sequence[_Contender]
) -> list[tuple[_Contender, list[_Contender], list[_Contender]]]:
    """Of every two contenders, the better first: by each first one, what it is told from and what not."""
    known = {one.key: one for one in contenders}
    carried = []
    for key, several in itertools.groupby(differences, key=lambda apart: apart["one"]):
        told: list[_Contender] = []
        untold: list[_Contender] = []
        for apart in several:
            is_carried = apart["replacement"]["interval"]["high"] < 0
            (told if is_carried else untold).append(known[apart["other"]])
        carried.append((known[key], told, untold))
    return carried


# Words and numbers ------------------------------------------------------------------------------------------


def _listed(several: Sequence[_Contender]) -> str:
    """Their names in a sentence."""
    # Names have commas of their own.
    *others, last = (one.title for one in several)
    return f"{'; '.join(others)}{';' if len(others) > 1 else ''} and {last}" if others else last


def _between(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"


def _with_interval(area: Mapping[str, Any]) -> str:
    return f"{area['value']:.3f} ({_between(area['interval']['low'], area['interval']['high'])})"


def _percent(rate: float) -> str:
    """A share, to two digits."""
    return f"{100 * rate:.{0 if rate >= 0.1 or not rate else 1}f}\N{NO-BREAK SPACE}%"


def _seconds(seconds: float) -> str:
    """To two digits."""
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}"


def _correlation(value: float | None) -> str:
    if value is None:
        return "\N{EN DASH}"
    # Plus zero: what rounds to it loses its sign.
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")


def _share(value: float | None) -> str:
    """Of a cell's shade, from 0 to 1."""
    return f"{min(max(value or 0, 0), 1):.2f}"


_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    "between": lambda one: _between(one.low, one.high),
    "correlation": _correlation,
    "digits": "{:.3f}".format,
    "listed": _listed,
    "percent": _percent,
    "seconds": _seconds,
    "share": _share,
    "thousands": "{:,}".format,
    "with_interval": _with_interval,
}
