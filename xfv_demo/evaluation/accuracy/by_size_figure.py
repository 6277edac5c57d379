"""What is stated against what is true, by the size of the face."""

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from xfv_demo.evaluation.accuracy.by_size import SizeReport
from xfv_demo.plots.style import (
    FAINT,
    GENUINE,
    HEADING,
    INK,
    axes_at,
    caption_axes,
    draw_dot,
    name_axes,
    new_figure,
)

_WIDTH, _BODY, _LEFT, _GAP, _FOOT, _BETWEEN = 2.95, 1.75, 0.8, 0.3, 0.6, 0.5


def by_size_figure(report: SizeReport) -> Figure:
    """Mean confidence (a line) and share of right decisions (dots) by the smaller face's size.

    Args:
        report: What to draw.

    Returns:
        The figure: on the left by the plain calibration, on the right with the sizes counted in; above where
        one photo is small, below where both are. Bars are 95 % Wilson intervals.
    """
    height = HEADING + 2 * (_BODY + _BETWEEN) + _FOOT - 0.2
    figure = new_figure(
        height,
        "Stated against true, by size of the face",
        f"{report.model} on copies of {report.dataset}'s photos; line: mean confidence, dots: share right",
    )
    lowest = min(
        min(one.interval.low, one.confidence) for row in report.sizes for one in (row.before, row.after)
    )
    for down, (which, words) in enumerate((("one", "one small face"), ("both", "two small faces"))):
        rows = [row for row in report.sizes if row.worse == which]
        for across, (name, by) in enumerate((("before", "plain"), ("after", "sizes counted in"))):
            bottom = _FOOT + (1 - down) * (_BODY + _BETWEEN)
            axes = axes_at(figure, _LEFT + across * (_WIDTH + _GAP), bottom, _WIDTH, _BODY)
            caption_axes(axes, f"{words}, {by}")
            axes.set(xscale="log", xlim=(5.8, 60), ylim=(min(0.9, lowest - 0.01), 1.003))
            axes.set_xticks([6, 8, 10, 15, 20, 30, 40], labels=["6", "8", "10", "15", "20", "30", "40"])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f} %"))
            axes.grid(color=FAINT, linewidth=0.6)
            if across:
                axes.tick_params(axis="y", labelleft=False)
            stated = [getattr(row, name).confidence for row in rows]
            axes.plot([row.size for row in rows], stated, color=INK, linewidth=1.6, gid="stated")
            for row in rows:
                one = getattr(row, name)
                draw_dot(axes, row.size, one.accuracy, one.interval, gid="true", colour=GENUINE)
            name_axes(axes, "pixels between the eyes, smaller face" if down else None, None)
    return figure
