"""The picture of what the methods cost and what they find."""

import io
import math
import re
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from demo.benchmark.reports import ComparedMethod, quickest_method
from demo.shared_html import interval_words, two_digit_seconds

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


@rc_context({"font.size": 12})
def plot_svg(contenders: Sequence[ComparedMethod], width: int, height: int) -> str:
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


def gist(contenders: Sequence[ComparedMethod]) -> str:
    """What the plot shows, for those who do not see it."""
    best, *_ = (one for one in contenders if one.seconds is not None)
    quickest = quickest_method(contenders)
    told = [f"Smallest area of a method: {_in_words(best)}."]
    if quickest is not None and quickest is not best:
        told.append(f"Quickest: {_in_words(quickest)}.")
    told += [f"Baseline: {_in_words(one)}." for one in contenders if one.seconds is None]
    return " ".join(["Area of replacement over seconds a pair.", *told, "All are in the table below."])


def _in_words(one: ComparedMethod) -> str:
    seconds = "" if one.seconds is None else f", {two_digit_seconds(one.seconds)} s a pair"
    return f"{one.title}, area {one.area:.3f}, 95 % interval {interval_words(one.low, one.high)}{seconds}"
