"""The tab on which explanation is right and what it costs: reports of the benchmark as pieces of HTML.

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
<dt>Patches found</dt><dd>The chance that a pixel of a patch, drawn at random, speaks more as it should than
a pixel of the face. 1: all found; 0.5: nothing known of them.</dd>
<dt>Deletion</dt><dd>Without patches: pixels are blackened, first those that the map says the decision rests
on. The area under the share of right decisions; a good map makes it fall early.</dd>
<dt>Insertion</dt><dd>The other way round: from black, the same pixels come back first. A good map makes it
rise early.</dd>
<dt>Seconds a pair</dt><dd>To explain both photos, by the median, on the machine that measured. Methods that
come out of one run share its time.</dd>
<dt>Baselines</dt><dd>Maps that know nothing of the faces. Random: a random number for each pixel. Face
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
        seconds = one["seconds"]
        if not 0 <= area["value"] <= 1 or (seconds is not None and not 0 < seconds < math.inf):
            raise ValueError("an area is from 0 to 1, and a map takes some time")
        contenders.append(_Contender(number, one["key"], one["title"], seconds, area["value"], low, high))
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


def _tradeoff_html(contenders: Sequence[_Contender]) -> str:
    """Area over seconds, every method a dot and every baseline a line, with a key to the numbers."""
    gist = html.escape(_gist(contenders))
    plots = "".join(
        f'<div class="{kind}" role="img" aria-label="{gist}">{_plot_svg(contenders, *size)}</div>'
        for kind, size in _SIZES.items()
    )
    key = "".join(f"<li>{one.label}</li>" for one in contenders)
    baselines = "".join(
        f" {one.number}: {html.escape(one.title)}." for one in contenders if one.seconds is None
    )
    return (
        f'<figure class="tradeoff">{plots}<ol>{key}</ol>'
        "<figcaption>Lower is better, further left is quicker. Numbers as in the table. Upright lines: "
        f"95{_NBSP}% intervals. Dots that would hide one another stand side by side. Broken lines: "
        f"baselines, which know nothing of the faces.{baselines}</figcaption></figure>"
    )


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
        f'<th scope="col" rowspan="2">patches found {_HIGHER}</th>'
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
