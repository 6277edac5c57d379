"""How large the likelihood ratios of both classes are, and how often they mislead."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from xfv_demo.evaluation.accuracy.figure_style import LEFT, RIGHT, report_figure
from xfv_demo.evaluation.accuracy.report import VerificationReport
from xfv_demo.metrics.likelihood_ratio import log10_likelihood_ratios
from xfv_demo.plots.style import (
    BODY,
    FAINT,
    GENUINE,
    HEADING,
    IMPOSTOR,
    INK,
    MUTED,
    SMALL,
    WIDTH,
    axes_at,
    name_axes,
)


def tippett_figure(report: VerificationReport) -> Figure:
    """A Tippett plot: of each class, the share of pairs whose likelihood ratio is above a number.

    The ratios are those that are stated of a pair, by calibrations that did not see its fold. Genuine pairs
    left of 1 and impostor pairs right of it mislead; their shares stand at the line.

    Args:
        report: What to draw.
    """
    body, foot = 2.85, 0.6
    figure = report_figure(foot + body + HEADING, "Tippett plot of the likelihood ratios", report)
    axes = axes_at(figure, LEFT, foot, WIDTH - LEFT - RIGHT, body)
    decisions, ratios = report.evidence.decisions, report.likelihood_ratio
    values = log10_likelihood_ratios(decisions.probabilities)
    genuine = decisions.scores.genuine
    start, end = min(-1.0, values.min()) - 0.15, max(1.0, values.max()) + 0.15
    for name, rows, colour in (("genuine", genuine, GENUINE), ("impostor", ~genuine, IMPOSTOR)):
        ordered = np.sort(values[rows])
        above = 1 - np.arange(ordered.size + 1) / ordered.size
        axes.step(
            np.r_[start, ordered, end], np.r_[above, 0.0], where="post", color=colour, linewidth=1.5, gid=name
        )
    axes.axvline(0, color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)))
    axes.set(xlim=(start, end), ylim=(-0.02, 1.02))
    axes.xaxis.set_major_locator(MultipleLocator(1))
    axes.yaxis.set_major_locator(MultipleLocator(0.25))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda power, _: _ratio(power)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))
    axes.grid(color=FAINT, linewidth=0.6)
    name_axes(axes, "likelihood ratio", "share of pairs above it")
    wrong = ratios.misleading_genuine, ratios.misleading_impostor
    for height, name, words, colour, side in (
        (0.9, "genuine", f"{100 * wrong[0]:.2g} % mislead", GENUINE, -1),
        (0.1, "impostor", f"{100 * wrong[1]:.2g} % mislead", IMPOSTOR, 1),
    ):
        axes.annotate(
            f"{name}\n{words}",
            (0, height),
            xytext=(8 * side, 0),
            textcoords="offset points",
            ha="right" if side < 0 else "left",
            va="center",
            fontsize=BODY,
            fontweight="bold",
            color=colour,
        )
    summary = report.confidence.summary
    axes.text(
        0.5,
        0.5,
        f"Cllr {summary.cllr:.3f}\nmin Cllr {summary.min_cllr:.3f}",
        transform=axes.transAxes,
        ha="center",
        va="center",
        fontsize=SMALL,
        color=INK,
        bbox={"facecolor": "white", "edgecolor": "none"},
    )
    return figure


def _ratio(power: float) -> str:
    number = f"{10 ** abs(power):,.0f}"
    return number if power >= 0 else f"1/{number}"
