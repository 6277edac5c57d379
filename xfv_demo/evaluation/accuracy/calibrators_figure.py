"""All calibrators around the threshold, and how they do on folds not seen."""

from collections.abc import Iterator

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MultipleLocator

from xfv_demo.evaluation.accuracy.figure_style import (
    CALIBRATOR_STYLES,
    GRID_POINTS,
    LEFT,
    RIGHT,
    report_figure,
)
from xfv_demo.evaluation.accuracy.report import VerificationReport
from xfv_demo.metrics.intervals import Doubles, Interval, wilson_interval
from xfv_demo.plots.style import (
    FAINT,
    HEADING,
    INK,
    MUTED,
    PALE,
    SMALL,
    WIDTH,
    axes_at,
    caption_axes,
    draw_dot,
    draw_threshold,
    name_axes,
    write_words,
)

_COMPARED_BINS = 14  # Of distances, around the threshold.


def comparison_figure(report: VerificationReport) -> Figure:
    """P(genuine | distance) of all calibrators around the threshold, and how they do on folds not seen.

    Args:
        report: What to draw; the curves are those of the calibrations on all pairs.

    Returns:
        The figure. Dots are shares of genuine pairs among those of like distance, both classes taken as
        equally likely, with 95 % Wilson intervals.
    """
    rows = len(report.comparison) + len(report.not_compared)
    body, table, foot, caption = 2.75, 0.62 + 0.25 * rows, 0.55, 0.5
    floor = table + foot
    figure = report_figure(floor + body + caption + HEADING, "Calibrators around the threshold", report)
    axes = axes_at(figure, LEFT, floor, WIDTH - LEFT - RIGHT, body)
    caption_axes(
        axes,
        "dots: share of genuine pairs in a bin of distances, classes equally likely, 95 % interval",
        above=22,
    )
    start, end = _overlap(report)
    axes.set(xlim=(start, end), ylim=(-0.02, 1.02))
    axes.yaxis.set_major_locator(MultipleLocator(0.25))
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    name_axes(axes, "cosine distance", "P(genuine | distance)")
    for place, share, interval in _shares_of_genuine(report, np.linspace(start, end, _COMPARED_BINS + 1)):
        draw_dot(axes, place, share, interval, gid="share", colour=PALE)
    grid = np.linspace(start, end, GRID_POINTS)
    for method, calibration in report.evidence.calibrations.items():
        style = CALIBRATOR_STYLES[method]
        axes.plot(
            grid,
            calibration.probability(grid),
            color=style.colour,
            linestyle=style.dashes,
            linewidth=1.8,
            gid=method,
        )
    distance_threshold = report.calibration.threshold
    draw_threshold(axes, distance_threshold)
    axes.annotate(
        f"threshold {distance_threshold:.3f}",
        (distance_threshold, 1),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=SMALL,
        color=INK,
    )
    _write_comparison(figure, table - 0.12, report)
    return figure


def _write_comparison(figure: Figure, top: float, report: VerificationReport) -> None:
    """The table below the calibrators' curves, from a height in inches downwards."""
    columns = ("log loss", "Brier score", "ECE", "adaptive ECE")
    places = (3.95, 5.0, 5.85, WIDTH - RIGHT)
    values = [
        [f"{value:.4f}" for value in (row.log_loss, row.brier, row.ece, row.adaptive_ece)]
        for row in report.comparison
    ]
    best = [min(column, key=float) for column in zip(*values, strict=True)]
    write_words(figure, LEFT, top, "on folds not seen; lower is better", color=MUTED)
    for words, place in zip(columns, places, strict=True):
        write_words(figure, place, top, words, color=MUTED, ha="right")
    top -= 0.08
    for row, cells in zip(report.comparison, values, strict=True):
        top -= 0.25
        _name_row(figure, row.method, top)
        for cell, place, least in zip(cells, places, best, strict=True):
            write_words(
                figure,
                place,
                top,
                cell,
                color=INK,
                ha="right",
                fontweight="bold" if cell == least else "normal",
            )
    for method in report.not_compared:
        top -= 0.25
        _name_row(figure, method, top)
        write_words(figure, WIDTH - RIGHT, top, "cannot be fitted to these pairs", color=MUTED, ha="right")


def _name_row(figure: Figure, method: str, top: float) -> None:
    """A calibrator's line and name, as the curves' key."""
    style = CALIBRATOR_STYLES[method]
    across, up = figure.get_size_inches()
    figure.add_artist(
        Line2D(
            [LEFT / across, (LEFT + 0.36) / across],
            [(top - 0.07) / up] * 2,
            color=style.colour,
            linestyle=style.dashes,
            linewidth=1.8,
        )
    )
    write_words(figure, LEFT + 0.46, top, style.words, color=INK)


def _shares_of_genuine(report: VerificationReport, edges: Doubles) -> Iterator[tuple[float, float, Interval]]:
    """For each bin with pairs: its middle, P(genuine) with classes equally likely, and its interval."""
    scores = report.evidence.scores
    genuine = np.histogram(scores.genuine_distances, edges)[0]
    impostor = np.histogram(scores.impostor_distances, edges)[0]

    def balanced(share: float) -> float:
        own, other = share * report.pairs.impostor, (1 - share) * report.pairs.genuine
        return own / (own + other)

    for number in np.flatnonzero(genuine + impostor):
        count, trials = int(genuine[number]), int(genuine[number] + impostor[number])
        interval = wilson_interval(count, trials)
        yield (
            float(edges[number] + edges[number + 1]) / 2,
            balanced(count / trials),
            Interval(low=balanced(interval.low), high=balanced(interval.high)),
        )


def _overlap(report: VerificationReport) -> tuple[float, float]:
    """The distances at which there are pairs of both classes, or those between the classes, with a margin."""
    scores = report.evidence.scores
    ends = scores.impostor_distances[0], scores.genuine_distances[-1], report.calibration.threshold
    margin = max(0.05, 0.12 * (max(ends) - min(ends)))
    return max(0.0, float(min(ends) - margin)), min(2.0, float(max(ends) + margin))
