"""The tab on which explanation is right and what it costs: reports of the benchmark as pieces of HTML.

Reports are what `python -m xfv_demo evaluate patch-lfw` writes. Anybody can put one into the folder, so that
all that comes from a file is escaped, and a file that is not as it should be costs a line, not the page.
"""

import html
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize

from demo.service import dataset_name
from xfv_demo.assets import assets_folder

Report = Mapping[str, Any]

RESULTS = assets_folder() / "results"

# As `BenchmarkReport.to_dict` writes it.
_FORMAT = ("xfv-demo explanation benchmark", 1)
_COMMAND = "python -m xfv_demo evaluate patch-lfw --data LFW_FOLDER --out assets/results"

# The plot's height, and the widths that it may have, in pixels. It is laid out for each range, of which
# style.css shows the one that fits. Names beside the dots have room in the last; in the others their numbers
# must do.
_HEIGHT = 380
_WIDTHS = {"phone": (240, 420), "tablet": (415, 660), "wide": (650, 1300)}
_RADIUS = 10
# Of a line of names; and of a letter, rather too much.
_LINE, _LETTER = 17, 8.6

_NBSP, _DASH = "\N{NO-BREAK SPACE}", "\N{EN DASH}"
_LOWER = '<span role="img" aria-label="lower is better">\N{DOWNWARDS ARROW}</span>'
_HIGHER = '<span role="img" aria-label="higher is better">\N{UPWARDS ARROW}</span>'

_MAP = '<th scope="col">map</th>'

_COLUMNS = """
<dl>
<dt>Area of replacement</dt><dd>The mean of the two below, which orders the table; in brackets its 95 %
interval, from drawing the pairs anew.</dd>
<dt>FMR</dt><dd>Patched pairs of different people, which the patches make alike. The
original's pixels are put back, 5 % at a time, beginning where the map says that most speaks for the same
person. The area is that under the share of pairs that are still accepted, its mean from 0 to
95 % put back.</dd>
<dt>FNMR</dt><dd>Patched pairs of the same person, which the patches make differ:
likewise, beginning where most speaks against, with the share of pairs that are still rejected.</dd>
<dt>Localisation AUC</dt><dd>The chance that a pixel of a patch, drawn at random, speaks more as it should
than a pixel of the face. 1: all found; 0.5: nothing known of them.</dd>
<dt>Deletion</dt><dd>Without patches: pixels are blackened, first those that the map says the decision rests
on. The area under the share of right decisions; a good map makes it fall early.</dd>
<dt>Insertion</dt><dd>The other way round: from black, the same pixels come back first. A good map makes it
rise early.</dd>
<dt>Seconds a pair</dt><dd>To explain both photos, by the median, on the machine that measured. Methods that
come out of one run share its time.</dd>
<dt>Baselines</dt><dd>Maps that know nothing of the faces. Random: a random number for each pixel. Centre
prior: the verdict, laid over the place where faces are. A method that is no better tells nothing that these
do not.</dd>
</dl>"""

# By their names in the report: what is changed, and where the correlation should be.
_CHECKS = {
    "weights": ("shuffled weights", "near 0"),
    "reference": ("another reference", "well below 1"),
    "repeated": ("all repeated", "1"),
    "noise": ("slight noise", "near 1"),
}


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
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            problem = "it lacks something, or holds something that cannot be"
    name = html.escape(str(report.get("file", "a report")))
    return f'<p class="problem">{name} is not shown: {html.escape(str(problem))}.</p>'


def _report_html(report: Report, *, several: bool) -> str:
    contenders = _contenders(report)
    title = f"<h3>{html.escape(report['model'])} on {_dataset(report)}</h3>" if several else ""
    return (
        f'<section class="report">{title}<div class="opening">{_introduction_html(report)}'
        f"{_finding_html(report, contenders)}</div>{_tradeoff_html(contenders)}"
        f"{_table_html(report, contenders)}{_notes_html(report)}{_differences_html(report, contenders)}"
        f"{_reading_html(report, contenders)}{_conditions_html(report)}</section>"
    )


# What the report says ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Contender:
    """What several pieces show of a contender.

    Attributes:
        number: Its place in the table, from 1.
        key: A name for programs.
        title: A name for people, not escaped.
        seconds: For a pair; None for a baseline.
        area: Of replacement.
        low: Where the area's interval begins.
        high: Where it ends.
    """

    number: int
    key: str
    title: str
    seconds: float | None
    area: float
    low: float
    high: float

    @property
    def label(self) -> str:
        """Number and name, as HTML."""
        kind = "number line" if self.seconds is None else "number"
        small = " <small>baseline</small>" if self.seconds is None else ""
        return (
            f'<span class="label"><span class="{kind}">{self.number}</span> '
            f"<span>{html.escape(self.title)}{small}</span></span>"
        )


def _contenders(report: Report) -> list[_Contender]:
    contenders = []
    for number, one in enumerate(report["contenders"], 1):
        area = one["common"]["replacement"]
        low, high = area["interval"]["low"], area["interval"]["high"]
        contenders.append(
            _Contender(number, one["key"], one["title"], one["seconds"], area["value"], low, high)
        )
    return contenders


def _told_apart(report: Report) -> set[tuple[str, str]]:
    """The keys of every two contenders of which the first is better by more than chance explains."""
    return {
        (one["one"], one["other"])
        for one in report["differences"]
        if one["replacement"]["interval"]["high"] < 0
    }


def _dataset(report: Report) -> str:
    return html.escape(dataset_name(report["dataset"]))


def _most_pairs(report: Report) -> tuple[int, int]:
    """The genuine and the impostor pairs of the contender that was measured on most."""
    counts = [one["every"]["pairs"] for one in report["contenders"]]
    return max((one["genuine"], one["impostor"]) for one in counts)


def _introduction_html(report: Report) -> str:
    clean, patched = report["clean"], report["patched"]
    return (
        f"<p>Patches of another face were put into the first photo of {sum(_most_pairs(report)):,} pairs of "
        f"{_dataset(report)}, to make {html.escape(report['model'])} err. Of pairs of different people it "
        f"then accepts <b>{_percent(patched['fmr'])}</b>, not {_percent(clean['fmr'])} (the false match "
        f"rate, FMR); of pairs of the same person it rejects <b>{_percent(patched['fnmr'])}</b>, not "
        f"{_percent(clean['fnmr'])} (the false non-match rate, FNMR). A good map finds the patches: putting "
        "back the pixels that it blames repairs the decision early, and leaves a small area under the curve "
        "of errors.</p>"
    )


def _finding_html(report: Report, contenders: Sequence[_Contender]) -> str:
    """Which is best, which might be as well, and how many know more than the baselines."""
    better = _told_apart(report)
    best, *others = contenders
    alike = [one for one in others if (best.key, one.key) not in better]
    known = "" if best.seconds is not None else ", a baseline that knows nothing of the faces"
    sentences = [
        f"The smallest area is that of <b>{html.escape(best.title)}</b>{known}: {best.area:.3f} "
        f"(95{_NBSP}% interval: {_between(best.low, best.high)})."
    ]
    if alike:
        sentences.append(f"By these pairs, it cannot be told from {_listed(alike)}.")
    timed = [(one.seconds, one) for one in (best, *alike) if one.seconds is not None]
    if timed:
        # Of those that share a run, and so its time, the best.
        seconds, quickest = min(timed, key=lambda pair: pair[0])
        which = f"The quickest of these, <b>{html.escape(quickest.title)}</b>, takes" if alike else "It takes"
        sentences.append(f"{which} {_seconds(seconds)}{_NBSP}s a pair.")
    methods = [one for one in contenders if one.seconds is not None]
    beaten = [
        f"{_how_many([(one.key, baseline.key) in better for one in methods])} better than the baseline "
        f"{html.escape(baseline.title)}"
        for baseline in contenders
        if baseline.seconds is None
    ]
    if beaten:
        sentences.append(f"By more than chance explains, {', and '.join(beaten)}.")
    return f'<p class="finding">{" ".join(sentences)}</p>'


def _how_many(methods: Sequence[bool]) -> str:
    """Such as "3 of 11 methods are"."""
    count = sum(methods)
    if count in (0, len(methods)):
        return f"all {count} methods are" if count else "no method is"
    return f"{count} of {len(methods)} methods {'is' if count == 1 else 'are'}"


# Quality and cost -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Box:
    """A rectangle in the plot, whose width is not known until it is shown.

    Attributes:
        at: Where its anchor is, as a share of the plot's width.
        left: From there, in pixels.
        right: Likewise.
        top: From the plot's top, in pixels.
        bottom: Likewise.
    """

    at: float
    left: float
    right: float
    top: float
    bottom: float

    def overlaps(self, other: "_Box", widths: tuple[int, int]) -> bool:
        """Whether the two overlap at some width of a range.

        They do not where one is left of the other at both of its ends.
        """
        if self.bottom <= other.top or other.bottom <= self.top:
            return False
        apart = [(other.at - self.at) * width for width in widths]
        is_left = all(self.right <= gap + other.left for gap in apart)
        is_right = all(gap + other.right <= self.left for gap in apart)
        return not is_left and not is_right

    def is_inside(self, widths: tuple[int, int]) -> bool:
        """Whether it is in the plot at every width of a range."""
        across = all(
            self.at * width + self.left >= 0 and self.at * width + self.right <= width for width in widths
        )
        return across and self.top >= 0 and self.bottom <= _HEIGHT


@dataclass(frozen=True)
class _Marker:
    """A method's dot and the line of its interval.

    Attributes:
        of: The method.
        at: Where its seconds are, as a share of the plot's width.
        aside: How far it stands from there so that all can be seen, in pixels.
        y: The dot's centre, from the plot's top, in pixels.
        top: The interval's upper end.
        bottom: Its lower end.
    """

    of: _Contender
    at: float
    aside: float
    y: float
    top: float
    bottom: float

    @property
    def dot(self) -> _Box:
        """The dot's place, with a little room."""
        reach = _RADIUS + 1
        return _Box(self.at, self.aside - reach, self.aside + reach, self.y - reach, self.y + reach)

    @property
    def line(self) -> _Box:
        """The interval's, likewise."""
        return _Box(self.at, self.aside - 3, self.aside + 3, self.top, self.bottom)


@dataclass(frozen=True)
class _Name:
    """A name in the plot.

    Attributes:
        words: Not escaped.
        anchor: "start", "middle" or "end" of the words is at `x`.
        x: From the box's anchor, in pixels.
        box: Where it is.
        penalty: How badly it is placed there, whatever else there is.
    """

    words: str
    anchor: str
    x: float
    box: _Box
    penalty: float

    @classmethod
    def at(cls, words: str, at: float, anchor: str, x: float, y: float, penalty: float) -> "_Name":
        """One around the height `y`."""
        width = _LETTER * len(words)
        left = {"start": x, "middle": x - width / 2, "end": x - width}[anchor]
        return cls(words, anchor, x, _Box(at, left, left + width, y - _LINE / 2, y + _LINE / 2), penalty)


@dataclass(frozen=True)
class _Axes:
    """What a place in the plot means.

    Attributes:
        areas: Ticks, from the lowest area to the highest.
        seconds: Ticks, from the left end to the right one.
    """

    areas: Sequence[float]
    seconds: Sequence[float]

    @classmethod
    def of(cls, contenders: Sequence[_Contender]) -> "_Axes":
        """Those that hold all of a report."""
        areas, seconds = [one.area for one in contenders], []
        for one in contenders:
            if one.seconds is not None:
                seconds.append(one.seconds)
                areas += [one.low, one.high]
        return cls(_area_ticks(min(areas), max(areas)), _seconds_ticks(min(seconds), max(seconds)))

    def y(self, area: float) -> float:
        """In pixels from the top."""
        low, high = self.areas[0], self.areas[-1]
        return _HEIGHT * (high - area) / (high - low)

    def at(self, seconds: float) -> float:
        """As a share of the width."""
        first, last = self.seconds[0], self.seconds[-1]
        return math.log(seconds / first) / math.log(last / first)


def _area_ticks(low: float, high: float) -> list[float]:
    if not 0 <= low <= high <= 1:
        raise ValueError("an area is from 0 to 1")
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if high - low <= 6 * step)
    first = math.floor(low / step)
    return [step * count for count in range(first, max(math.ceil(high / step), first + 1) + 1)]


def _seconds_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each power of ten, so far that no dot lies on the plot's edge."""
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    first = max(index for index, tick in enumerate(ticks) if 1.5 * tick <= low)
    last = min(index for index, tick in enumerate(ticks) if tick >= 1.5 * high)
    return ticks[first : last + 1]


def _markers(contenders: Sequence[_Contender], axes: _Axes, widths: tuple[int, int]) -> list[_Marker]:
    """Each method's, moved aside where dots, or lines of intervals, would hide one another.

    As little as can be, in all: a linear programme. From left to right the order is that of the seconds, so
    that dots which are apart at the least width are so at every other.
    """
    timed = [(one.seconds, one.area, one.number, one) for one in contenders if one.seconds is not None]
    markers = [
        _Marker(one, axes.at(seconds), 0, axes.y(area), axes.y(one.high), axes.y(one.low))
        for seconds, area, _, one in sorted(timed)
    ]
    count, width = len(markers), widths[0]
    each, between, room, costs = np.eye(count), [], [], []
    for (first, one), (second, other) in itertools.combinations(enumerate(markers), 2):
        for a, b, cost in ((one.dot, other.dot, 1000), (one.line, other.line, 2)):
            if a.top < b.bottom and b.top < a.bottom:
                between.append(each[second] - each[first])
                room.append(a.right - b.left - (other.at - one.at) * width)
                costs.append(cost)
    # The unknowns: by how much each is moved; that without its sign; and by how much two are still too near.
    pairs = len(costs)
    zeros, near = np.zeros((count, pairs)), np.eye(pairs)
    solved = scipy.optimize.linprog(
        [*[0] * count, *[1] * count, *costs],
        A_ub=np.block(
            [
                [each, -each, zeros],
                [-each, -each, zeros],
                [-np.reshape(between, (pairs, count)), zeros.T, -near],
            ]
        ),
        b_ub=[*[0] * 2 * count, *(-one for one in room)],
        bounds=[
            *((-one.at * width - one.dot.left, (1 - one.at) * width - one.dot.right) for one in markers),
            *[(0, None)] * (count + pairs),
        ],
    )
    return [
        replace(one, aside=round(float(aside), 1))
        for one, aside in zip(markers, solved.x[:count], strict=True)
    ]


def _name_in_place(
    choices: Sequence[_Name], taken: Sequence[_Box], lines: Sequence[_Box], widths: tuple[int, int]
) -> _Name | None:
    """The best of the places that a name may have; None where all are taken.

    Args:
        choices: They.
        taken: What it must not overlap.
        lines: What it had better not lie on.
        widths: At which widths of the plot.
    """
    free = [
        choice
        for choice in choices
        if choice.box.is_inside(widths) and not any(choice.box.overlaps(other, widths) for other in taken)
    ]
    return min(
        free,
        key=lambda choice: choice.penalty + sum(choice.box.overlaps(line, widths) for line in lines),
        default=None,
    )


def _baseline_names(
    baselines: Sequence[_Contender], markers: Sequence[_Marker], axes: _Axes, widths: tuple[int, int]
) -> list[_Name]:
    """The baselines' names along their lines."""
    taken, lines = [marker.dot for marker in markers], [marker.line for marker in markers]
    placed = []
    for one in baselines:
        ends = ((1.0, "end"), (0.0, "start"), (0.5, "middle"))
        choices = [
            _Name.at(one.title, at, anchor, 0, axes.y(one.area) + side * (_LINE / 2 + 1), penalty)
            for penalty, (at, anchor) in enumerate(ends)
            for side in (-1, 1)
        ]
        # A line without its name would mean nothing.
        name = _name_in_place(choices, taken, lines, widths) or choices[0]
        placed.append(name)
        taken.append(name.box)
    return placed


def _method_names(
    markers: Sequence[_Marker], taken: Sequence[_Box], lines: Sequence[_Box], widths: tuple[int, int]
) -> list[_Name]:
    """The methods' names beside their dots or, where there is no room, further away with their number."""
    taken = [*taken, *(marker.dot for marker in markers)]
    lines = [*lines, *(marker.line for marker in markers)]
    placed = []
    for marker in sorted(markers, key=lambda marker: marker.of.number):
        title, numbered = marker.of.title, f"{marker.of.number} {marker.of.title}"
        choices = []
        for side, anchor in ((1, "start"), (-1, "end")):
            x = marker.aside + side * (_RADIUS + 5)
            choices.append(_Name.at(title, marker.at, anchor, x, marker.y, 0))
            choices += [
                _Name.at(numbered, marker.at, anchor, x + side * off, marker.y + up, 1 + (abs(up) + off) / 30)
                for off, up in itertools.product((0, 24, 48, 72), range(-108, 109, 18))
            ]
        choices += [
            _Name.at(numbered, marker.at, "middle", marker.aside, y, 1)
            for y in (marker.top - _LINE / 2, marker.bottom + _LINE / 2)
        ]
        if name := _name_in_place(choices, taken, lines, widths):
            placed.append(name)
            taken.append(name.box)
    return placed


def _tradeoff_html(contenders: Sequence[_Contender]) -> str:
    """Area over seconds, every method a dot and every baseline a line.

    The drawing has no size of its own: across, places are shares of its width and lengths are pixels, so that
    words and dots are as large on a phone as on a wide screen.
    """
    axes = _Axes.of(contenders)
    layouts = "".join(
        f'<g class="{kind}">{_layout_svg(contenders, axes, widths, named=kind == "wide")}</g>'
        for kind, widths in _WIDTHS.items()
    )
    return (
        '<figure class="tradeoff"><p class="axis-name">area of replacement, lower is better</p>'
        f'<svg width="100%" height="{_HEIGHT}" role="img" aria-label="{html.escape(_gist(contenders))}">'
        f"{_grid_svg(axes)}{layouts}</svg>"
        '<p class="axis-name across">seconds a pair, further left is quicker</p>'
        f"<figcaption>Numbers as in the table. Upright lines: 95{_NBSP}% intervals. Broken lines: baselines, "
        "which know nothing of the faces. Dots that would hide one another stand side by side.</figcaption>"
        "</figure>"
    )


def _layout_svg(
    contenders: Sequence[_Contender], axes: _Axes, widths: tuple[int, int], *, named: bool
) -> str:
    """All but the ticks, for a range of widths; the methods' names only where asked for."""
    markers = _markers(contenders, axes, widths)
    baselines = [one for one in contenders if one.seconds is None]
    heights = [axes.y(one.area) for one in baselines]
    names = _baseline_names(baselines, markers, axes, widths)
    parts = [
        f'<g class="baseline"><line x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>{_name_svg(name)}</g>'
        for y, name in zip(heights, names, strict=True)
    ]
    for marker in markers:
        x, top, bottom = marker.aside, marker.top, marker.bottom
        line = f'<line x1="{x}" x2="{x}" y1="{top:.1f}" y2="{bottom:.1f}"/>'
        parts.append(_moved(marker.at, "interval", line))
    if named:
        lines = [_Box(0, 0, widths[1], y - 1, y + 1) for y in heights]
        parts += map(_name_svg, _method_names(markers, [name.box for name in names], lines, widths))
    for marker in markers:
        x, y = marker.aside, marker.y
        dot = (
            f"<title>{html.escape(_in_words(marker.of))}</title>"
            f'<circle cx="{x}" cy="{y:.1f}" r="{_RADIUS}"/>'
            f'<text x="{x}" y="{y:.1f}" dy="0.35em">{marker.of.number}</text>'
        )
        parts.append(_moved(marker.at, "dot", dot))
    return "".join(parts)


def _moved(at: float, kind: str, drawn: str) -> str:
    """Something drawn around a place across the plot."""
    return f'<svg class="{kind}" x="{100 * at:.2f}%" overflow="visible">{drawn}</svg>'


def _name_svg(name: _Name) -> str:
    y = (name.box.top + name.box.bottom) / 2
    words = (
        f'<text x="{name.x:.1f}" y="{y:.1f}" dy="0.35em" text-anchor="{name.anchor}">'
        f"{html.escape(name.words)}</text>"
    )
    return _moved(name.box.at, "name", words)


def _grid_svg(axes: _Axes) -> str:
    """Both axes' ticks; those between powers of ten may be left out where there is little room."""
    parts = []
    for area in axes.areas:
        y = f"{axes.y(area):.1f}"
        parts.append(
            f'<line x1="0" x2="100%" y1="{y}" y2="{y}"/>'
            f'<text x="-8" y="{y}" dy="0.35em" text-anchor="end">{area:.2f}</text>'
        )
    many = len(axes.seconds) > 7
    for seconds in axes.seconds:
        at = f"{100 * axes.at(seconds):.2f}%"
        is_power = math.isclose(math.log10(seconds), round(math.log10(seconds)), abs_tol=1e-9)
        kind = ' class="minor"' if many and not is_power else ""
        parts.append(
            f'<line x1="{at}" x2="{at}" y1="{_HEIGHT}" y2="{_HEIGHT + 5}"/>'
            f'<text{kind} x="{at}" y="{_HEIGHT + 19}" text-anchor="middle">{seconds:g}</text>'
        )
    return f'<g class="grid">{"".join(parts)}</g>'


def _gist(contenders: Sequence[_Contender]) -> str:
    """What the plot shows, for those who do not see it."""
    timed = [(one.seconds, one) for one in contenders if one.seconds is not None]
    best, quickest = timed[0][1], min(timed, key=lambda pair: pair[0])[1]
    told = [f"Smallest area of a method: {_in_words(best)}."]
    if quickest is not best:
        told.append(f"Quickest: {_in_words(quickest)}.")
    told += [f"Baseline: {_in_words(one)}." for one in contenders if one.seconds is None]
    return " ".join(["Area of replacement over seconds a pair.", *told, "All are in the table below."])


def _in_words(one: _Contender) -> str:
    seconds = "" if one.seconds is None else f", {_seconds(one.seconds)} s a pair"
    return f"{one.title}, area {one.area:.3f}, 95 % interval {_between(one.low, one.high)}{seconds}"


# The tables -------------------------------------------------------------------------------------------------


def _table_html(report: Report, contenders: Sequence[_Contender]) -> str:
    rows = []
    for one, kept in zip(contenders, report["contenders"], strict=True):
        areas = kept["common"]
        cells = [
            f"<b>{one.area:.3f}</b> <small>({_between(one.low, one.high)})</small>",
            f"{areas['fmr']['value']:.3f}",
            f"{areas['fnmr']['value']:.3f}",
            *(f"{areas[name]['value']:.3f}" for name in ("found", "deletion", "insertion")),
            _DASH if one.seconds is None else _seconds(one.seconds),
        ]
        rows.append(_row(one, (f"<td>{cell}</td>" for cell in cells)))
    pairs = report["contenders"][0]["common"]["pairs"]
    head = (
        '<tr><th scope="col" rowspan="2">map</th>'
        f'<th scope="colgroup" colspan="3">area of replacement {_LOWER}</th>'
        f'<th scope="col" rowspan="2">localisation AUC {_HIGHER}</th>'
        f'<th scope="col" rowspan="2">deletion {_LOWER}</th>'
        f'<th scope="col" rowspan="2">insertion {_HIGHER}</th>'
        f'<th scope="col" rowspan="2">seconds a pair {_LOWER}</th></tr>'
        f'<tr><th scope="col">mean (95{_NBSP}% interval)</th>'
        '<th scope="col">FMR</th><th scope="col">FNMR</th></tr>'
    )
    caption = (
        f"The smallest mean area first; on the {pairs['genuine']:,} genuine and {pairs['impostor']:,} "
        "impostor pairs that all were measured on"
    )
    return _scrolling_table("contenders", "Quality and cost", caption, head, rows)


def _row(one: _Contender, cells: Iterable[str]) -> str:
    return f'<tr><th scope="row">{one.label}</th>{"".join(cells)}</tr>'


def _scrolling_table(kind: str, name: str, caption: str, head: str, rows: Sequence[str]) -> str:
    """A table in a box of its own, in which it moves where the screen is narrow."""
    return (
        f'<div class="sheet"><p>{caption}</p>'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{name}"><table class="{kind}">'
        f"<thead>{head}</thead><tbody>{''.join(rows)}</tbody></table></div></div>"
    )


def _notes_html(report: Report) -> str:
    """What must be known of single methods: a head that has seen some of the people, and what is missing."""
    notes = []
    for one in report["contenders"]:
        unseen, every = one["unseen"], one["every"]
        if one["key"] == "xcos" and unseen is not None and unseen["pairs"] != every["pairs"]:
            notes.append(
                f"The head of {html.escape(one['title'])} was trained on some of these people. On the "
                f"{sum(unseen['pairs'].values()):,} pairs without them its mean area is "
                f"{_with_interval(unseen['replacement'])}; on all {sum(every['pairs'].values()):,} pairs "
                f"that it was measured on, {_with_interval(every['replacement'])}."
            )
    reasons = dict.fromkeys(report["refused"].values())
    notes += [f"Left out: {html.escape(reason)}." for reason in reasons]
    return "".join(f'<p class="note">{note}</p>' for note in notes)


def _differences_html(report: Report, contenders: Sequence[_Contender]) -> str:
    quick = ""
    if report["quick_differences"] and len(report["quick_differences"]) < len(report["differences"]):
        quick = (
            f"<p>Those that are quick to make, on all {sum(_most_pairs(report)):,} pairs:</p>"
            f"{_carried_html(report['quick_differences'], contenders)}"
        )
    return (
        "<details><summary>Which differences the intervals carry</summary>"
        "<p>Each map against those below it in the table, by the mean area of replacement on the same pairs. "
        f"Better: the 95{_NBSP}% interval of the difference has zero outside.</p>"
        f"{_carried_html(report['differences'], contenders)}{quick}</details>"
    )


def _carried_html(differences: Iterable[Mapping[str, Any]], contenders: Sequence[_Contender]) -> str:
    """Of every two contenders, the better first: a sentence for each first one."""
    known = {one.key: one for one in contenders}
    sentences = []
    for key, several in itertools.groupby(differences, key=lambda apart: apart["one"]):
        told: list[_Contender] = []
        untold: list[_Contender] = []
        for apart in several:
            is_carried = apart["replacement"]["interval"]["high"] < 0
            (told if is_carried else untold).append(known[apart["other"]])
        parts = [f"is better than {_listed(told)}"] if told else []
        parts += [f"cannot be told from {_listed(untold)}"] if untold else []
        sentences.append(f"<li><b>{html.escape(known[key].title)}</b> {'. It '.join(parts)}.</li>")
    return f"<ul>{''.join(sentences)}</ul>"


def _reading_html(report: Report, contenders: Sequence[_Contender]) -> str:
    return (
        "<details><summary>What the columns mean, what maps depend on, and how far methods agree</summary>"
        f"<h3>The columns</h3>{_COLUMNS}"
        f"<h3>What maps depend on</h3>{_sanity_html(report, contenders)}"
        f"<h3>How far methods agree</h3>{_agreement_html(report, contenders)}</details>"
    )


def _sanity_html(report: Report, contenders: Sequence[_Contender]) -> str:
    """How alike maps stay when something changes."""
    checks = [one["sanity"] for one in report["contenders"]]
    if not any(checks):
        return "<p>This was not checked.</p>"
    rows = [
        _row(one, (f"<td>{_correlation(check[name] if check else None)}</td>" for name in _CHECKS))
        for one, check in zip(contenders, checks, strict=True)
    ]
    head = "".join(
        f'<th scope="col">{change} <small>should be {aim}</small></th>' for change, aim in _CHECKS.values()
    )
    caption = (
        "Rank correlation of a face's map with its map after a change, on "
        f"{report['sanity_pairs']:,} genuine pairs without patches"
    )
    return (
        "<p>A map that stays when the model's weights are shuffled explains no model; one that stays when "
        "the reference shows somebody else explains no comparison.</p>"
        + _scrolling_table("checks", "What maps depend on", caption, f"<tr>{_MAP}{head}</tr>", rows)
    )


def _agreement_html(report: Report, contenders: Sequence[_Contender]) -> str:
    """How alike the maps of every two are."""
    rows = []
    for one in contenders:
        values = [report["agreement"][one.key][other.key] for other in contenders]
        cells = (
            f'<td style="--share:{min(max(value or 0, 0), 1):.2f}">{_correlation(value)}</td>'
            for value in values
        )
        rows.append(_row(one, cells))
    head = "".join(
        f'<th scope="col"><abbr title="{html.escape(one.title)}">{one.number}</abbr></th>'
        for one in contenders
    )
    caption = (
        "Mean rank correlation of maps of the same faces, without patches; the stronger the shade, the more "
        "alike"
    )
    return _scrolling_table("agreement", "How far methods agree", caption, f"<tr>{_MAP}{head}</tr>", rows)


def _conditions_html(report: Report) -> str:
    """How it was measured."""
    genuine, impostor = _most_pairs(report)
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    engine = f" ({report['engine']})" if report["engine"] else ""
    return (
        f'<p class="conditions">Measured on up to {genuine:,} genuine and {impostor:,} impostor pairs of '
        f"{_dataset(report)} with {html.escape(report['model'] + engine)}, at the unchanged threshold of "
        f"{report['threshold']:.3f} on the cosine similarity; {html.escape(report['date'])}; seed "
        f"{report['seed']:d}; {html.escape(versions)}. Again by "
        f"<code>{html.escape(report['command'])}</code>. Results on {_dataset(report)} say nothing on "
        "fitness for decisions about people.</p>"
    )


# Words and numbers ------------------------------------------------------------------------------------------


def _listed(several: Sequence[_Contender]) -> str:
    """Their names in a sentence, as HTML."""
    # Names have commas of their own.
    *others, last = (html.escape(one.title) for one in several)
    return f"{'; '.join(others)}{';' if len(others) > 1 else ''} and {last}" if others else last


def _between(low: float, high: float) -> str:
    return f"{low:.3f} to {high:.3f}"


def _with_interval(area: Mapping[str, Any]) -> str:
    return f"{area['value']:.3f} ({_between(area['interval']['low'], area['interval']['high'])})"


def _percent(rate: float) -> str:
    """A share, to two digits."""
    return f"{100 * rate:.{0 if rate >= 0.1 or not rate else 1}f}{_NBSP}%"


def _seconds(seconds: float) -> str:
    """To two digits."""
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}"


def _correlation(value: float | None) -> str:
    if value is None:
        return _DASH
    # Plus zero: what rounds to it loses its sign.
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")
