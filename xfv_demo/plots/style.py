"""How the figures of evaluations look: sizes, inks, axes, marks."""

import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xfv_demo.metrics.intervals import Interval
from xfv_demo.runtime.files import write_whole

# Out of the palette of Okabe and Ito, "Color universal design" (2008).
GENUINE = "#0072B2"

IMPOSTOR = "#D55E00"


INK = "#1f2328"

MUTED = "#57606a"

PALE = "#a8b1ba"

FAINT = "#d8dee4"


DPI = 150

WIDTH = 7.3  # Inches: 1095 pixels.

HEADING = 0.72  # Inches for the heading.

SMALL, BODY, _TITLE = 9.0, 10.0, 13.0  # Points.

LINE = 0.19  # Inches from one line of small text to the next.


def write_figures(figures: Mapping[str, Figure], folder: str | os.PathLike[str], prefix: str) -> list[Path]:
    """Writes figures as PNG.

    Args:
        figures: By what their names end with.
        folder: Where to; made if it is not there.
        prefix: What the files' names start with.

    Returns:
        The files, prefix-name.png.

    Raises:
        XfvError: If a file cannot be written.
    """
    written = []
    for name, figure in figures.items():
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=DPI)
        path = Path(folder) / f"{prefix}-{name}.png"
        write_whole(path, content.getvalue())
        written.append(path)
    return written


def new_figure(height: float, title: str, about: str) -> Figure:
    """An empty figure of this project's kind, with its heading.

    Args:
        height: In inches.
        title: The first line.
        about: The second.

    Returns:
        The figure, 7.3 inches wide.
    """
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    for words, drop, size, weight, colour in (
        (title, 0.16, _TITLE, "bold", INK),
        (about, 0.42, BODY, "normal", MUTED),
    ):
        figure.text(
            0.2 / WIDTH,
            1 - drop / height,
            words,
            fontsize=size,
            fontweight=weight,
            color=colour,
            va="top",
            # A dollar sign in a model's name starts no formula.
            parse_math=False,
        )
    return figure


def axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes of this project's kind at a place in inches, from the figure's lower left corner."""
    across, up = figure.get_size_inches()
    axes = figure.add_axes((left / across, bottom / up, width / across, height / up))
    style_axes(axes)
    return axes


def style_axes(axes: Axes) -> None:
    """Axes without a frame, in quiet inks."""
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    for spine in axes.spines.values():
        spine.set_color(MUTED)
        spine.set_linewidth(0.8)
    axes.tick_params(which="both", labelsize=SMALL, color=MUTED, labelcolor=INK, width=0.8)


def name_axes(axes: Axes, across: str | None, up: str | None) -> None:
    """Names one axis or both."""
    if across:
        axes.set_xlabel(across, fontsize=BODY, color=INK)
    if up:
        axes.set_ylabel(up, fontsize=BODY, color=INK)


def caption_axes(axes: Axes, words: str, *, above: float = 6) -> None:
    """Small words at the upper left, so many points above the axes."""
    axes.set_title(words, loc="left", fontsize=SMALL, color=MUTED, pad=above)


def write_words(figure: Figure, left: float, top: float, words: str, **style: Any) -> None:
    """Small words in the figure, their upper left corner in inches."""
    across, up = figure.get_size_inches()
    figure.text(left / across, top / up, words, **{"fontsize": SMALL, "va": "top", **style})


def draw_threshold(axes: Axes, distance_threshold: float) -> None:
    """A dashed line, upright at a threshold."""
    axes.axvline(distance_threshold, color=INK, linewidth=1.0, linestyle=(0, (4, 2)), gid="threshold")


def draw_dot(
    axes: Axes,
    place: float,
    share: float,
    interval: Interval,
    *,
    gid: str,
    colour: str = INK,
    hollow: bool = False,
) -> None:
    """A share as a dot, with its interval as a bar."""
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


def decade_below(rate: float) -> float:
    """The power of ten that a positive number reaches, such as 0.01 for 0.03."""
    return float(10.0 ** math.floor(math.log10(rate)))
