"""The distances of both classes, the threshold between them, and every error."""

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MultipleLocator, NullLocator

from xfv_demo.evaluation.accuracy.figure_style import CALIBRATOR_STYLES, GRID_POINTS, LEFT, report_figure
from xfv_demo.evaluation.accuracy.report import VerificationReport
from xfv_demo.metrics.decision import is_same
from xfv_demo.metrics.intervals import Doubles
from xfv_demo.plots.style import (
    BODY,
    GENUINE,
    HEADING,
    IMPOSTOR,
    INK,
    SMALL,
    WIDTH,
    axes_at,
    decade_below,
    draw_threshold,
    name_axes,
    style_axes,
)


def distances_figure(report: VerificationReport) -> Figure:
    """Densities of genuine and impostor distances, P(genuine | distance), the threshold, and all errors.

    Args:
        report: What to draw; curve and threshold are those of its calibration on all pairs.

    Returns:
        The figure. Below the densities, each wrongly decided pair is a stroke.
    """
    body, strip, foot, sides = 2.85, 0.5, 0.6, 0.3
    floor, width = foot + strip + 0.06, WIDTH - LEFT - 0.75
    figure = report_figure(floor + body + sides + HEADING, "Genuine and impostor distances", report)
    axes = axes_at(figure, LEFT, floor, width, body)
    scale = axes.twinx()
    errors = axes_at(figure, LEFT, foot, width, strip)

    scores = report.evidence.scores
    distances, genuine, impostor = scores.distances, scores.genuine_distances, scores.impostor_distances
    distance_threshold = report.calibration.threshold
    edges = _distance_edges(distances, min(genuine.size, impostor.size))
    start, end = float(edges[0]), float(edges[-1])
    highest = max(np.histogram(values, edges, density=True)[0].max() for values in (genuine, impostor))
    # In inches, as words are: where the threshold is; in distances: half the words above a peak.
    place = (distance_threshold - start) / (end - start) * width
    half = 0.55 / width * (end - start)
    for name, values, wrong, verb, colour, side in (
        ("genuine", genuine, genuine[~is_same(genuine, distance_threshold)], "refused", GENUINE, -1),
        ("impostor", impostor, impostor[is_same(impostor, distance_threshold)], "accepted", IMPOSTOR, 1),
    ):
        density, _ = np.histogram(values, edges, density=True)
        axes.stairs(density, edges, fill=True, color=colour, alpha=0.3, linewidth=0, gid=name)
        axes.stairs(density, edges, color=colour, linewidth=1.3)
        top = int(np.argmax(density))
        # Above the peak, but neither across the threshold nor beyond the axes.
        middle = side * max(side * (edges[top] + edges[top + 1]) / 2, side * distance_threshold + half)
        scale.text(
            min(max(middle, start + half), end - half),
            density[top] + 0.03 * highest,
            f"{name}\n{values.size:,} pairs",
            transform=axes.transData,
            ha="center",
            va="bottom",
            fontsize=BODY,
            fontweight="bold",
            color=colour,
            linespacing=1.15,
            # Where the curve passes behind.
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
        # The strokes lie on one side of the threshold, their number on the other, if there is room.
        level = 1.5 if side < 0 else 0.5
        away = side if 1.9 < place < width - 1.9 else int(np.sign(width / 2 - place))
        errors.vlines(wrong, level - 0.38, level + 0.38, color=colour, linewidth=0.9, alpha=0.8, gid=verb)
        errors.annotate(
            f"{wrong.size:,} {name} pair{'' if wrong.size == 1 else 's'} {verb}",
            (distance_threshold, level),
            xytext=(6 * away, 0),
            textcoords="offset points",
            ha="right" if away < 0 else "left",
            va="center",
            fontsize=SMALL,
            color=colour,
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )

    # Headroom for the words above the peaks, below the curve's upper end.
    axes.set(xlim=(start, end), ylim=(0, 1.45 * highest))
    axes.tick_params(axis="x", labelbottom=False, length=0)
    name_axes(axes, None, "density, per unit of distance")
    style_axes(scale)
    scale.spines[["left", "bottom"]].set_visible(False)
    scale.spines["right"].set_visible(True)
    scale.set(ylim=(0, 1.1))
    scale.yaxis.set_major_locator(MultipleLocator(0.25))
    name_axes(scale, None, "P(genuine | distance)")
    errors.spines["left"].set_visible(False)
    errors.set(xlim=(start, end), ylim=(0, 2))
    errors.yaxis.set_major_locator(NullLocator())
    name_axes(errors, "cosine distance", None)

    grid = np.linspace(start, end, GRID_POINTS)
    probability = report.calibration.probability(grid)
    scale.plot(grid, probability, color=INK, linewidth=1.5, gid="probability")
    scale.annotate(
        f"P(genuine), {CALIBRATOR_STYLES[report.method].words}",
        (start, float(probability[0])),
        xytext=(5, 3),
        textcoords="offset points",
        va="bottom",
        fontsize=SMALL,
        color=INK,
    )
    draw_threshold(errors, distance_threshold)
    draw_threshold(axes, distance_threshold)
    # Above the threshold; where that is near an end of the axes, as near as there is room.
    aside = 72 * (min(max(place, 1.25), width - 1.45) - place)
    for words, shift, alignment, weight in (
        ("\u2190 same person", aside - 54, "right", "normal"),
        (f"threshold {distance_threshold:.3f}", aside, "center", "bold"),
        ("different people \u2192", aside + 54, "left", "normal"),
    ):
        axes.annotate(
            words,
            (distance_threshold, 1),
            xycoords=("data", "axes fraction"),
            xytext=(shift, 5),
            textcoords="offset points",
            ha=alignment,
            va="bottom",
            fontsize=BODY,
            fontweight=weight,
            color=INK,
        )
    return figure


def _distance_edges(distances: Doubles, pairs: int) -> Doubles:
    """Edges of bins over the distances that occur; the wider the fewer pairs a class has.

    A bin is 1, 2 or 5 times a power of ten, and the first and the last edge are round numbers.
    """
    aimed = np.ptp(distances) / (40 if pairs >= 1000 else 16 if pairs >= 200 else 8)
    decade = decade_below(aimed)
    step = next(times for times in (5, 2, 1) if times * decade <= aimed)
    by_round = 1 if step == 1 else 10 // step
    width = step * decade
    first = math.floor(distances.min() / (by_round * width)) * by_round
    last = (math.floor(distances.max() / (by_round * width)) + 1) * by_round
    edges = (np.arange(first, last + 1) * width).round(9)
    return edges[edges <= 2]
