"""A verification report as figures for a README or a page.

Every function returns a `matplotlib.figure.Figure` that belongs to no window: pyplot is not used and nothing
global is changed, so that figures can be drawn in any thread. Genuine pairs are blue and impostor pairs
orange throughout, which people of all kinds of colour vision tell apart; green and pink belong to the
attention maps.
"""

import itertools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.path import Path as Outline
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MultipleLocator,
    NullFormatter,
    NullLocator,
)
from matplotlib.transforms import Bbox, TransformedBbox

from xfv_demo.errors import XfvError
from xfv_demo.evaluation.accuracy.report import (
    FnmrAtTarget,
    ReliabilityBin,
    VerificationReport,
    smallest_rate,
)
from xfv_demo.metrics.decision import is_same
from xfv_demo.metrics.error_rates import ErrorRates, error_rates, largest_rate
from xfv_demo.metrics.intervals import Doubles, Interval, wilson_interval
from xfv_demo.plots.style import (
    BODY,
    FAINT,
    GENUINE,
    HEADING,
    IMPOSTOR,
    INK,
    LINE,
    MUTED,
    PALE,
    SMALL,
    WIDTH,
    axes_at,
    caption_axes,
    name_axes,
    new_figure,
    style_axes,
    write_figures,
    write_words,
)

_UNTOLD = "#e6e9ed"  # Where the pairs are too few to tell.
_LEFT, _RIGHT = 0.85, 0.25  # Inches beside the axes.
_LONGEST_NAMES = 34  # Of model and data set together; more would not fit beside the numbers of pairs.
_LONGEST_DATASET = 16

# Beside a point: to the right or left, above or below; the last ones farther.
_CORNERS = ((1, 1), (-1, -1), (1, -1), (-1, 1), (1, 3), (-1, -3))
_GRID_POINTS = 600  # Of a drawn curve.
_COMPARED_BINS = 14  # Of distances, around the threshold.
# Risks of a wrong decision at which axes may end or be labelled; lower ones are not told from none.
_ROUND_RISKS = [float(f"{step}e{decade}") for decade in range(-5, 0) for step in (1, 2, 5)]


@dataclass(frozen=True)
class _CalibratorStyle:
    """How a calibrator is called and drawn."""

    words: str
    colour: str
    dashes: tuple[float, tuple[float, ...]] | None = None  # A whole line.


_CALIBRATOR_STYLES = {
    "xface": _CalibratorStyle("x-Face", INK),
    "logistic": _CalibratorStyle("logistic regression", "#2e9fdf"),
    "isotonic": _CalibratorStyle("isotonic regression", "#d99000"),
    "beta": _CalibratorStyle("beta calibration", "#7b5ea7", (0, (4.0, 2.0))),
}


def det_figure(report: VerificationReport) -> Figure:
    """Detection error trade-off: FNMR against FMR over all thresholds, both on logarithmic axes.

    Martin et al., "The DET curve in assessment of detection task performance" (Eurospeech 1997), drew it on
    normal deviates, where normally distributed distances give a straight line. Logarithms are taken here, as
    in NIST's evaluations of face recognition: equal steps are equal factors, and distances of faces are not
    normal in the tails, where one operates.

    The band reaches, at each threshold, from where both rates are at the lower ends of their 95 % Wilson
    intervals to where both are at the upper ends. Rates of fewer than three errors are greyed: by the rule of
    three, the pairs are too few to carry them.

    Args:
        report: What to draw.

    Returns:
        The figure. Rates of 0, which a logarithmic axis does not have, lie on its lower edge.
    """
    side, foot = 3.9, 0.66
    figure = _report_figure(side + foot + HEADING, "Detection error trade-off", report)
    axes = axes_at(figure, _LEFT, foot, side, side)
    rates = error_rates(report.evidence.scores)
    left, bottom = _decade_below(1 / rates.impostor_pairs), _decade_below(1 / rates.genuine_pairs)
    axes.set(xscale="log", yscale="log", xlim=(left, 1), ylim=(bottom, 1))
    name_axes(axes, "FMR: impostor pairs taken for one person", "FNMR: genuine pairs taken for two people")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda rate, _: f"{100 * rate:g} %"))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(color=FAINT, linewidth=0.6)

    # Far enough out for a rate of 0 to leave the axes.
    outside = np.array([[left / 10], [bottom / 10]])
    band = _band(rates)
    if band.size:
        axes.fill(*np.maximum(band, outside), color=INK, alpha=0.14, linewidth=0, gid="band")
    diagonal = (max(left, bottom), 1.0)
    axes.plot(diagonal, diagonal, color=MUTED, linewidth=0.8, linestyle=(0, (1, 3)))
    curve = np.maximum([rates.fmr, rates.fnmr], outside)
    axes.plot(*curve, color=INK, linewidth=1.8, gid="curve")
    _grey_out(axes, report)

    point, equal = report.operating_point, report.separation.eer
    if report.separation.reason is None:
        places = np.array([[point.fmr, point.fnmr], [equal, equal]]).clip((left, bottom))
        for place, marker, gid in zip(places, "Do", ("threshold", "eer"), strict=True):
            axes.plot(
                *place,
                marker=marker,
                markersize=7,
                color=INK,
                markeredgecolor="white",
                linestyle="none",
                clip_on=False,
                zorder=5,
                gid=gid,
            )
        fewest = min(report.pairs.genuine, report.pairs.impostor)
        words = f"threshold {point.threshold:.3f}", f"EER {_percent(equal, fewest)}"
        _label_points(axes, places, words, curve)
    else:
        axes.text(
            # The middle, by logarithms, of what is not grey.
            report.smallest_fmr**0.5,
            smallest_rate(report.pairs.genuine) ** 0.5,
            "The classes do not overlap:\nsome thresholds make\nno error on these pairs.",
            ha="center",
            va="center",
            fontsize=BODY,
            color=INK,
            backgroundcolor="white",
        )
    _write_rates(figure, _LEFT + side + 0.28, foot + side - 0.1, report)
    return figure


def distances_figure(report: VerificationReport) -> Figure:
    """Densities of genuine and impostor distances, P(genuine | distance), the threshold, and all errors.

    Args:
        report: What to draw; curve and threshold are those of its calibration on all pairs.

    Returns:
        The figure. Below the densities, each wrongly decided pair is a stroke.
    """
    body, strip, foot, sides = 2.85, 0.5, 0.6, 0.3
    floor, width = foot + strip + 0.06, WIDTH - _LEFT - 0.75
    figure = _report_figure(floor + body + sides + HEADING, "Genuine and impostor distances", report)
    axes = axes_at(figure, _LEFT, floor, width, body)
    scale = axes.twinx()
    errors = axes_at(figure, _LEFT, foot, width, strip)

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

    grid = np.linspace(start, end, _GRID_POINTS)
    probability = report.calibration.probability(grid)
    scale.plot(grid, probability, color=INK, linewidth=1.5, gid="probability")
    scale.annotate(
        f"P(genuine), {_CALIBRATOR_STYLES[report.method].words}",
        (start, float(probability[0])),
        xytext=(5, 3),
        textcoords="offset points",
        va="bottom",
        fontsize=SMALL,
        color=INK,
    )
    _draw_threshold(errors, distance_threshold)
    _draw_threshold(axes, distance_threshold)
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
    figure = _report_figure(
        floor + body + caption + HEADING,
        f"Reliability of the confidence, {_CALIBRATOR_STYLES[report.method].words}",
        report,
    )
    axes = axes_at(figure, _LEFT, floor, width, body)
    below = axes_at(figure, _LEFT, foot, width, counts)
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
            _draw_dot(axes, one.mean_confidence, one.share_right, one.interval, gid="bin")
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
    _draw_risks(figure, report, left=_LEFT + width + 0.92, top=floor + body)
    return figure


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
    figure = _report_figure(floor + body + caption + HEADING, "Calibrators around the threshold", report)
    axes = axes_at(figure, _LEFT, floor, WIDTH - _LEFT - _RIGHT, body)
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
        _draw_dot(axes, place, share, interval, gid="share", colour=PALE)
    grid = np.linspace(start, end, _GRID_POINTS)
    for method, calibration in report.evidence.calibrations.items():
        style = _CALIBRATOR_STYLES[method]
        axes.plot(
            grid,
            calibration.probability(grid),
            color=style.colour,
            linestyle=style.dashes,
            linewidth=1.8,
            gid=method,
        )
    distance_threshold = report.calibration.threshold
    _draw_threshold(axes, distance_threshold)
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


def save_figures(report: VerificationReport, folder: str | os.PathLike[str], prefix: str) -> list[Path]:
    """Draws all figures and writes them as PNG, 1095 pixels wide.

    Args:
        report: What to draw.
        folder: Where to; made if it is not there.
        prefix: What the files' names start with.

    Returns:
        The files: prefix-det.png, prefix-distances.png, prefix-reliability.png, prefix-calibrators.png.

    Raises:
        XfvError: If the prefix cannot start a file's name, or a file cannot be written.
    """
    if not prefix or Path(prefix).name != prefix:
        raise XfvError(
            f"{prefix!r} cannot start the names of figures; give a plain word, such as mobilefacenet-lfw"
        )
    figures = {
        "det": det_figure(report),
        "distances": distances_figure(report),
        "reliability": reliability_figure(report),
        "calibrators": comparison_figure(report),
    }
    return write_figures(figures, folder, prefix)


def _report_figure(height: float, title: str, report: VerificationReport) -> Figure:
    """An empty figure with its heading; `height` in inches."""
    pairs = f"{report.pairs.genuine:,} genuine and {report.pairs.impostor:,} impostor pairs"
    dataset = _shortened(report.dataset, _LONGEST_DATASET)
    model = _shortened(report.model, _LONGEST_NAMES - len(dataset))
    return new_figure(height, title, f"{model} on {dataset}, {pairs}")


def _draw_threshold(axes: Axes, distance_threshold: float) -> None:
    axes.axvline(distance_threshold, color=INK, linewidth=1.0, linestyle=(0, (4, 2)), gid="threshold")


def _draw_honest_line(axes: Axes, start: float, end: float) -> None:
    """Where decisions are right as often as stated."""
    axes.plot([start, end], [start, end], color=MUTED, linewidth=0.9, linestyle=(0, (4, 2)), gid="diagonal")


def _draw_dot(
    axes: Axes,
    place: float,
    share: float,
    interval: Interval,
    *,
    gid: str,
    colour: str = INK,
    hollow: bool = False,
) -> None:
    reach = [interval.low, interval.high]
    axes.plot([place, place], reach, color=colour, linewidth=1.4, clip_on=False, gid=f"{gid} interval")
    axes.plot(
        place,
        share,
        marker="o",
        markersize=5.5,
        color=colour,
        markerfacecolor="white" if hollow else colour,
        clip_on=False,
        gid=gid,
    )


def _band(rates: ErrorRates) -> Doubles:
    """The DET curve's band as the outline of a polygon, (2, P): FMR and FNMR.

    It is drawn over the thresholds at which both kinds of error occur; beyond them, straight to the edges.
    Empty where there are none.
    """
    both = np.flatnonzero((rates.fmr > 0) & (rates.fnmr > 0))
    fmr, fnmr = rates.fmr_band(), rates.fnmr_band()
    if not both.size:
        return np.empty((2, 0))

    def to_the_edges(side: Doubles) -> Doubles:
        return np.hstack([[[0.0], side[1:, 0]], side, [side[:1, -1], [0.0]]])

    upper = to_the_edges(np.stack([fmr.high[both], fnmr.high[both]]))
    lower = to_the_edges(np.stack([fmr.low[both], fnmr.low[both]]))
    return np.hstack([upper, lower[:, ::-1]])


def _grey_out(axes: Axes, report: VerificationReport) -> None:
    """Greys, on logarithmic axes, the rates that the pairs cannot carry, and says so."""
    (left, _), (bottom, _) = axes.get_xlim(), axes.get_ylim()
    fmr, fnmr = report.smallest_fmr, smallest_rate(report.pairs.genuine)
    # The curve shimmers through.
    style: dict[str, Any] = {"color": _UNTOLD, "alpha": 0.75, "linewidth": 0, "zorder": 3}
    axes.axvspan(left, fmr, gid="untold fmr", **style)
    axes.axhspan(bottom, fnmr, xmin=1 - math.log(fmr) / math.log(left), gid="untold fnmr", **style)
    axes.text(
        0.02,
        0.02,
        f"grey: fewer than 3 errors in {report.pairs.impostor:,} impostor\n"
        f"or {report.pairs.genuine:,} genuine pairs, too few to tell a rate",
        transform=axes.transAxes,
        va="bottom",
        fontsize=SMALL,
        color=MUTED,
        linespacing=1.3,
        zorder=4,
    )


def _label_points(axes: Axes, places: Doubles, words: Sequence[str], curve: Doubles) -> None:
    """Writes words beside points on a curve, where together they hide and confuse least."""
    labels = [
        axes.annotate(
            text,
            tuple(place),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=BODY,
            color=INK,
            zorder=6,
        )
        for text, place in zip(words, places, strict=True)
    ]
    boxes = [{corner: _move(label, corner) for corner in _CORNERS} for label in labels]
    points = axes.transData.transform(places)
    line = axes.transData.transform_path(Outline(curve.T))

    def cost(corners: tuple[tuple[int, int], ...]) -> float:
        chosen = [of_label[corner].padded(4) for of_label, corner in zip(boxes, corners, strict=True)]
        total = 0.0
        for number, box in enumerate(chosen):
            total += 100 * (not _within(box, axes.bbox))
            total += 10 * box.count_overlaps(chosen[:number])
            # A label nearly at another's point would be read as that one's.
            total += 5 * box.padded(20).count_contains(np.delete(points, number, axis=0))
            total += 4 * line.intersects_bbox(box, filled=False)
            total += abs(corners[number][1]) > 1
        return total

    best = min(itertools.product(_CORNERS, repeat=len(labels)), key=cost)
    for label, corner in zip(labels, best, strict=True):
        _move(label, corner)


def _move(label: Annotation, corner: tuple[int, int]) -> Bbox:
    """Moves a label to a corner beside its point; its box there, in pixels."""
    right, up = corner
    label.set_position((7 * right, 5 * up))
    label.set(ha="left" if right > 0 else "right", va="bottom" if up > 0 else "top")
    return label.get_window_extent()


def _within(box: Bbox, frame: Bbox | TransformedBbox) -> bool:
    return bool(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1)


def _write_rates(figure: Figure, left: float, top: float, report: VerificationReport) -> None:
    """The error rates as a column of words, from a corner in inches downwards."""
    point, separation, accuracy, pairs = (
        report.operating_point,
        report.separation,
        report.accuracy,
        report.pairs,
    )

    def row(name: str, rate: float, interval: Interval | None, count: int) -> tuple[str, str, str]:
        return name, _percent(rate, count), _percent_range(interval, count)

    fewest = min(pairs.genuine, pairs.impostor)
    fixed = [
        row(_target(answer), answer.at.fnmr, answer.interval, pairs.genuine)
        if answer.at
        else (_target(answer), "", "too few pairs")
        for answer in report.fnmr_at_fmr
    ]
    auc_interval = separation.auc_interval
    auc_range = f"{auc_interval.low:.4f}\u2013{auc_interval.high:.4f}" if auc_interval else "no overlap"
    # Folds that are all alike say nothing of how far off they are.
    spread = (
        f"\u00b1 {_percent(accuracy.standard_error, pairs.total)}"
        if accuracy.standard_error
        else _percent_range(report.accuracy_interval, pairs.total)
    )
    eer_row = row("EER", separation.eer, separation.eer_interval, fewest)
    if separation.eer_interval is None:
        eer_row = (*eer_row[:2], f"below {_percent(largest_rate(0, fewest), fewest)}")
    groups = {
        f"at the threshold {point.threshold:.3f}": [
            row("FMR", point.fmr, point.fmr_interval, pairs.impostor),
            row("FNMR", point.fnmr, point.fnmr_interval, pairs.genuine),
        ],
        "FNMR at a fixed FMR": fixed,
        "over all thresholds": [
            eer_row,
            ("AUC", f"{separation.auc:.4f}", auc_range),
        ],
        f"accuracy, {len(accuracy.folds)} folds": [("mean", _percent(accuracy.mean, pairs.total), spread)],
    }
    for heading, rows in groups.items():
        write_words(figure, left, top, heading, color=INK, fontweight="bold")
        for name, value, interval in rows:
            top -= LINE
            write_words(figure, left, top, name, color=MUTED)
            write_words(figure, left + 1.01, top, value, color=INK, ha="right")
            write_words(figure, left + 1.07, top, interval, color=MUTED)
        top -= 0.32
    note = "ranges and band:\n95 % intervals\n\u00b1 standard error"
    write_words(figure, left, top, note, color=MUTED, linespacing=1.3)


def _draw_risks(figure: Figure, report: VerificationReport, *, left: float, top: float) -> None:
    """The right half of the reliability figure, from a corner in inches."""
    # Half of the last number lies beyond the axes.
    side = WIDTH - _RIGHT - 0.1 - left
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
        _draw_dot(axes, stated, seen, Interval(*interval), gid="risk", hollow=hollow)
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


def _write_comparison(figure: Figure, top: float, report: VerificationReport) -> None:
    """The table below the calibrators' curves, from a height in inches downwards."""
    columns = ("log loss", "Brier score", "ECE", "adaptive ECE")
    places = (3.95, 5.0, 5.85, WIDTH - _RIGHT)
    values = [
        [f"{value:.4f}" for value in (row.log_loss, row.brier, row.ece, row.adaptive_ece)]
        for row in report.comparison
    ]
    best = [min(column, key=float) for column in zip(*values, strict=True)]
    write_words(figure, _LEFT, top, "on folds not seen; lower is better", color=MUTED)
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
        write_words(figure, WIDTH - _RIGHT, top, "cannot be fitted to these pairs", color=MUTED, ha="right")


def _name_row(figure: Figure, method: str, top: float) -> None:
    """A calibrator's line and name, as the curves' key."""
    style = _CALIBRATOR_STYLES[method]
    across, up = figure.get_size_inches()
    figure.add_artist(
        Line2D(
            [_LEFT / across, (_LEFT + 0.36) / across],
            [(top - 0.07) / up] * 2,
            color=style.colour,
            linestyle=style.dashes,
            linewidth=1.8,
        )
    )
    write_words(figure, _LEFT + 0.46, top, style.words, color=INK)


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


def _distance_edges(distances: Doubles, pairs: int) -> Doubles:
    """Edges of bins over the distances that occur; the wider the fewer pairs a class has.

    A bin is 1, 2 or 5 times a power of ten, and the first and the last edge are round numbers.
    """
    aimed = np.ptp(distances) / (40 if pairs >= 1000 else 16 if pairs >= 200 else 8)
    decade = _decade_below(aimed)
    step = next(times for times in (5, 2, 1) if times * decade <= aimed)
    by_round = 1 if step == 1 else 10 // step
    width = step * decade
    first = math.floor(distances.min() / (by_round * width)) * by_round
    last = (math.floor(distances.max() / (by_round * width)) + 1) * by_round
    edges = (np.arange(first, last + 1) * width).round(9)
    return edges[edges <= 2]


def _decade_below(rate: float) -> float:
    return float(10.0 ** math.floor(math.log10(rate)))


def _percent(rate: float, pairs: int) -> str:
    return f"{100 * rate:.{_percent_digits(pairs)}f} %"


def _percent_range(interval: Interval | None, pairs: int) -> str:
    digits = _percent_digits(pairs)
    return f"{100 * interval.low:.{digits}f}\u2013{100 * interval.high:.{digits}f} %" if interval else ""


def _percent_digits(pairs: int) -> int:
    """As many as show one pair of 10,000, or of 100,000, and so on."""
    return max(2, math.ceil(math.log10(pairs)) - 2)


def _target(answer: FnmrAtTarget) -> str:
    return f"{100 * answer.target:g} %"


def _short_count(count: int) -> str:
    return str(count) if count < 1000 else f"{count / 1000:.{int(count < 9950)}f}k"


def _shortened(name: str, most: int) -> str:
    return name if len(name) <= most else f"\u2026{name[1 - most :]}"
