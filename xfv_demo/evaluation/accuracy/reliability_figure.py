"""How often decisions of a confidence are right."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MultipleLocator, NullLocator

from xfv_demo.evaluation.accuracy.figure_style import CALIBRATOR_STYLES, LEFT, RIGHT, report_figure
from xfv_demo.evaluation.accuracy.report import ReliabilityBin, VerificationReport
from xfv_demo.metrics.intervals import Interval
from xfv_demo.plots.style import (
    FAINT,
    HEADING,
    INK,
    MUTED,
    SMALL,
    WIDTH,
    axes_at,
    caption_axes,
    draw_dot,
    name_axes,
    write_words,
)

# Risks of a wrong decision at which axes may end or be labelled; lower ones are not told from none.
_ROUND_RISKS = [float(f"{step}e{decade}") for decade in range(-5, 0) for step in (1, 2, 5)]


def reliability_figure(report: VerificationReport) -> Figure:
    """How often decisions of a confidence are right, on folds that the calibration did not see.

    To the left, bins of equal width over [0.5, 1], with the number of decisions below. Good models are nearly
    sure of nearly every pair, so that the last bin holds nearly all; to the right, bins of equal mass look
    inside it, on axes where equal steps are equal factors of the risk of error.

    Args:
        report: What to draw.

    Returns:
        The figure. Bars are 95 % Wilson intervals. On the right, what lies beyond the axes, such as a risk of
        0, is drawn hollow at their edge.
    """
    body, counts, foot, caption, width = 2.75, 0.95, 0.62, 0.3, 3.05
    floor = foot + counts + 0.1
    figure = report_figure(
        floor + body + caption + HEADING,
        f"Reliability of the confidence, {CALIBRATOR_STYLES[report.method].words}",
        report,
    )
    axes = axes_at(figure, LEFT, floor, width, body)
    below = axes_at(figure, LEFT, foot, width, counts)
    bins = report.confidence.reliability
    caption_axes(axes, f"bins of equal width, ECE {report.confidence.summary.ece:.4f}")
    lowest = min(one.interval.low for one in bins if one.count)
    axes.set(xlim=(0.495, 1.005), ylim=(0.495 if lowest >= 0.5 else -0.01, 1.005))
    below.set(xlim=(0.495, 1.005), yscale="log", ylim=(0.7, 8 * max(one.count for one in bins)))
    for axis in (axes.xaxis, axes.yaxis, below.xaxis):
        axis.set_major_locator(MultipleLocator(0.1))
        axis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))
    axes.tick_params(axis="x", labelbottom=False)
    axes.grid(color=FAINT, linewidth=0.6)
    below.yaxis.set_major_locator(LogLocator(numticks=4))
    below.yaxis.set_minor_locator(NullLocator())
    below.yaxis.set_major_formatter(FuncFormatter(lambda count, _: _short_count(int(count))))
    name_axes(axes, None, "share of right decisions")
    name_axes(below, "confidence", "decisions")

    _draw_honest_line(axes, 0.5, 1)
    for one in bins:
        if one.count:
            draw_dot(axes, one.mean_confidence, one.share_right, one.interval, gid="bin")
            below.bar((one.low + one.high) / 2, one.count, width=0.04, color=MUTED, gid="count")
        below.text(
            (one.low + one.high) / 2,
            1.25 * max(one.count, 0.7),
            _short_count(one.count),
            ha="center",
            va="bottom",
            fontsize=SMALL,
            color=INK if one.count else MUTED,
        )
    _draw_risks(figure, report, left=LEFT + width + 0.92, top=floor + body)
    return figure


def _draw_honest_line(axes: Axes, start: float, end: float) -> None:
    """Where decisions are right as often as stated."""
    axes.plot([start, end], [start, end], color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)), gid="diagonal")


def _draw_risks(figure: Figure, report: VerificationReport, *, left: float, top: float) -> None:
    """The right half of the reliability figure, from a corner in inches."""
    # Half of the last number lies beyond the axes.
    side = WIDTH - RIGHT - 0.1 - left
    axes = axes_at(figure, left, top - side, side, side)
    bins = report.confidence.equal_mass_reliability
    caption_axes(axes, f"bins of equal mass, ECE {report.confidence.summary.adaptive_ece:.4f}")
    smallest, largest = _risk_limits(bins)
    # Confidence rises to the right, so the risk falls.
    axes.set(xscale="log", yscale="log", xlim=(largest, smallest), ylim=(largest, smallest))
    ticks = [risk for risk in _ROUND_RISKS if smallest <= risk <= largest]
    # As many as have room side by side, from the most certain on.
    room = 0.52 / side * math.log(largest / smallest)
    spaced = ticks[:1]
    for tick in ticks[1:]:
        if math.log(tick / spaced[-1]) >= room:
            spaced.append(tick)
    for axis, places in ((axes.xaxis, spaced), (axes.yaxis, ticks)):
        axis.set_major_locator(FixedLocator(places))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda risk, _: f"{100 * (1 - risk):.6g} %"))
    axes.grid(color=FAINT, linewidth=0.6)
    name_axes(axes, "confidence", "share of right decisions")

    _draw_honest_line(axes, smallest, largest)
    any_hollow = False
    for one in bins:
        risk = np.array([1 - one.mean_confidence, 1 - one.share_right])
        interval = np.clip([1 - one.interval.high, 1 - one.interval.low], smallest, largest)
        hollow = bool((risk < smallest).any())
        any_hollow |= hollow
        stated, seen = risk.clip(smallest, largest)
        draw_dot(axes, stated, seen, Interval(*interval), gid="risk", hollow=hollow)
    sizes = sorted(one.count for one in bins)
    number = f"{sizes[0]:,}" if sizes[0] == sizes[-1] else f"{sizes[0]:,} to {sizes[-1]:,}"
    note = (
        f"each dot: {number} decisions,\nwith a 95 % interval; above the line:\nmore often right than stated"
    )
    if any_hollow:
        note += ";\nhollow: beyond the axes"
    write_words(figure, left, top - side - 0.62, note, color=MUTED, linespacing=1.3)


def _risk_limits(bins: Sequence[ReliabilityBin]) -> tuple[float, float]:
    """Limits for the risks of error, stated and seen, of bins that are not empty."""
    risks = [1 - share for one in bins for share in (one.mean_confidence, one.share_right)]
    lowest = min((risk for risk in risks if risk >= _ROUND_RISKS[0]), default=_ROUND_RISKS[0])
    smallest = max(risk for risk in _ROUND_RISKS if risk <= lowest)
    # At least a decade, lest a single bin fill the axes with its own rounding.
    highest = max(10 * smallest, *risks, *(1 - one.interval.low for one in bins))
    return smallest, next((risk for risk in _ROUND_RISKS if risk >= highest), 1.0)


def _short_count(count: int) -> str:
    return str(count) if count < 1000 else f"{count / 1000:.{int(count < 9950)}f}k"
