"""A benchmark of explanations as figures for a README.

As in `figures`, nothing belongs to a window. Methods are told apart by their labels, not by colour alone.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from xfv_demo.evaluation.explanations.methods import BASELINES, COMPARED_METHODS
from xfv_demo.evaluation.explanations.report import BenchmarkReport, MeasuredMethod
from xfv_demo.metrics import faithfulness
from xfv_demo.plots.style import (
    FAINT,
    INK,
    MUTED,
    SMALL,
    WIDTH,
    axes_at,
    caption_axes,
    name_axes,
    new_figure,
    write_figures,
)

# Out of the palette of Okabe and Ito, "Color universal design" (2008); one for each method, told apart
# further by the line: variants of a method share its colour. The yellow is darkened, to show on white.
_COLOURS = {
    "occlusion": "#0072B2",
    "xssab": "#E69F00",
    "grid": "#009E73",
    "xcos": "#CC79A7",
    "fggb": "#D55E00",
    "corrrise": "#56B4E9",
    "mean-face": "#000000",
    "integrated-gradients": "#B8AC00",
}
_DASHES: dict[str, object] = {
    "occlusion-reference": (0, (5, 1.5)),
    "occlusion-paired": (0, (1.5, 1.5)),
    "occlusion-covered": (0, (5, 1.5, 1, 1.5)),
    "mean-face-smooth": (0, (5, 1.5)),
    "xssab-smooth": (0, (5, 1.5)),
    "fggb-smooth": (0, (5, 1.5)),
    "face-prior": (0, (5, 1.5)),
}
_LEFT, _RIGHT = 0.75, 2.0  # Inches; the names stand on the right.
_APART = 0.09  # Of the logarithm of the seconds.


def tradeoff_figure(report: BenchmarkReport) -> Figure:
    """Quality against cost: the area of patch replacement over the seconds for a pair."""
    height = 4.6
    figure = new_figure(height, "What an explanation costs, and what it is worth", _about(report))
    axes = axes_at(figure, _LEFT, 0.62, WIDTH - _LEFT - _RIGHT, height - 1.55)
    axes.set_xscale("log")
    from_left = sorted(_side_by_side(report.contenders), key=lambda drawn: drawn[2])
    for turn, (place, one, seconds) in enumerate(from_left):
        area = one.common.replacement
        axes.plot([seconds] * 2, [area.interval.low, area.interval.high], color=_colour(one), linewidth=1.3)
        axes.plot(seconds, area.value, "o", markersize=5.5, color=_colour(one), gid=one.key)
        # In turn above and below, as neighbours of one time are close together.
        if turn % 2:
            _label(axes, str(place), (seconds, area.interval.high), (0, 2), "center", "bottom")
        else:
            _label(axes, str(place), (seconds, area.interval.low), (0, -2), "center", "top")
    for place, one in enumerate(report.contenders, 1):
        height_of_line = one.common.replacement.value
        if one.key in BASELINES:
            axes.axhline(height_of_line, color=MUTED, linewidth=1.0, linestyle=(0, (4, 2)), gid=one.key)
            axes.annotate(
                f"{place} {one.title.lower()}",
                # Where no method is: left of what takes seconds, right of what is there at once.
                (0.48, height_of_line),
                xycoords=("axes fraction", "data"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=SMALL,
                color=INK,
            )
        axes.text(
            1.06,
            1 - place / (len(report.contenders) + 1),
            f"{place:>2}  {one.title}",
            transform=axes.transAxes,
            fontsize=SMALL,
            color=_colour(one),
            va="center",
            fontweight="bold",
        )
    axes.set_ylim(0, 1.1 * max(one.common.replacement.interval.high for one in report.contenders))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _place: f"{seconds:g} s"))
    name_axes(
        axes, "time to explain a pair, two cores; equal times side by side", "area under the error curves"
    )
    caption_axes(axes, "lower is better; bars are 95 % intervals; dashed: maps that know nothing of the pair")
    return figure


def curves_figure(report: BenchmarkReport) -> Figure:
    """Error rates as pixels are put back, and accuracy as they go and come."""
    height = 7.9
    figure = new_figure(height, "Error rates and accuracy along the maps", _about(report))
    wide, high = (WIDTH - 0.75 - 0.75 - 0.25) / 2, 2.2
    panels = (
        ("fmr", "FMR, pixels put back", faithfulness.REPLACEMENT_SHARES, 0, 1),
        ("fnmr", "FNMR, pixels put back", faithfulness.REPLACEMENT_SHARES, 1, 1),
        ("deletion", "accuracy, pixels deleted", faithfulness.DELETION_SHARES, 0, 0),
        ("insertion", "accuracy, pixels inserted", faithfulness.DELETION_SHARES, 1, 0),
    )
    for part, title, shares, column, row in panels:
        left = 0.75 + column * (wide + 0.75)
        axes = axes_at(figure, left, 1.7 + row * (high + 0.7), wide, high)
        for one in report.contenders:
            axes.plot(
                100 * shares,
                100 * np.array(getattr(one.curves, part)),
                color=_colour(one),
                linestyle=_DASHES.get(one.key, "-"),
                linewidth=1.3,
                label=one.title,
                gid=f"{part} {one.key}",
            )
        axes.grid(color=FAINT, linewidth=0.6)
        axes.set_xlim(0, 100)
        caption_axes(axes, title)
        name_axes(axes, "share of the pixels, %" if row == 0 else None, "%" if column == 0 else None)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="lower center",
        ncols=3,
        fontsize=SMALL,
        frameon=False,
        labelcolor=INK,
        handlelength=2.6,
    )
    return figure


def save_benchmark_figures(
    report: BenchmarkReport, folder: str | os.PathLike[str], prefix: str
) -> list[Path]:
    """Draws all figures and writes them as PNG.

    Args:
        report: What to draw.
        folder: Where to; made if it is not there.
        prefix: What the files' names start with.

    Returns:
        The files: prefix-tradeoff.png, prefix-curves.png.

    Raises:
        XfvError: If a file cannot be written.
    """
    figures = {"tradeoff": tradeoff_figure(report), "curves": curves_figure(report)}
    return write_figures(figures, folder, prefix)


def _about(report: BenchmarkReport) -> str:
    pairs = report.contenders[0].common.pairs
    counts = f"{pairs.genuine} genuine and {pairs.impostor} impostor pairs with patches"
    return f"{report.model} on {report.dataset}, {counts}"


def _colour(one: MeasuredMethod) -> str:
    return _COLOURS.get(COMPARED_METHODS[one.key].method, MUTED)


def _side_by_side(contenders: Sequence[MeasuredMethod]) -> Iterator[tuple[int, MeasuredMethod, float]]:
    """Places, counted from 1, with their contenders and times; those of one time a little apart."""
    taken: list[float] = []
    for place, one in enumerate(contenders, 1):
        if one.seconds is None:
            continue
        seconds = one.seconds
        while any(abs(np.log(seconds / other)) < _APART for other in taken):
            seconds *= 1 + _APART
        taken.append(seconds)
        yield place, one, seconds


def _label(
    axes: Axes, words: str, at: tuple[float, float], away: tuple[float, float], across: str, up: str
) -> None:
    axes.annotate(
        words, at, xytext=away, textcoords="offset points", ha=across, va=up, fontsize=SMALL, color=INK
    )
