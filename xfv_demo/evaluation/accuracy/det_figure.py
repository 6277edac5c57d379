"""The detection error trade-off, with the error rates in words."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.path import Path as Outline
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter, NullFormatter
from matplotlib.transforms import Bbox, TransformedBbox

from xfv_demo.evaluation.accuracy.figure_style import LEFT, report_figure
from xfv_demo.evaluation.accuracy.report import FnmrAtTarget, VerificationReport, smallest_rate
from xfv_demo.metrics.error_rates import ErrorRates, error_rates, largest_rate
from xfv_demo.metrics.intervals import Doubles, Interval
from xfv_demo.plots.style import (
    BODY,
    FAINT,
    HEADING,
    INK,
    LINE,
    MUTED,
    SMALL,
    axes_at,
    decade_below,
    name_axes,
    write_words,
)

_UNTOLD = "#e6e9ed"  # Where the pairs are too few to tell.

# Beside a point: to the right or left, above or below; the last ones farther.
_CORNERS = ((1, 1), (-1, -1), (1, -1), (-1, 1), (1, 3), (-1, -3))


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
    figure = report_figure(side + foot + HEADING, "Detection error trade-off", report)
    axes = axes_at(figure, LEFT, foot, side, side)
    rates = error_rates(report.evidence.scores)
    left, bottom = decade_below(1 / rates.impostor_pairs), decade_below(1 / rates.genuine_pairs)
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
    _write_rates(figure, LEFT + side + 0.28, foot + side - 0.1, report)
    return figure


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
