"""The figure of an explained pair."""

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from xfv_demo.plots.colours import (
    WEIGHTS,
    Blend,
    check_blend,
    colour_map,
    colour_ramp,
    enlarge,
    find_palette,
    map_on_photo,
    shared_scale,
)
from xfv_demo.types import FloatArray, Verification


@dataclass(frozen=True, eq=False)
class PairMaps:
    """One method's maps of a pair, for `pair_figure`.

    Attributes:
        title: What to call the method.
        probe: (112, 112), signed: positive speaks for the same person.
        reference: (112, 112), likewise.
        scale: The absolute value with the palette's end colours; the largest in both maps by default.
        is_evidence: False where the maps are weights instead, which are not negative.
        on_face: False where a map's pixels are no places in the face: then it is shown by itself.
    """

    title: str
    probe: FloatArray
    reference: FloatArray
    scale: float | None = None
    is_evidence: bool = True
    on_face: bool = True

    def palette(self, chosen: str) -> str:
        """What to draw the maps in: the palette that was chosen, but for weights, which have their own."""
        return chosen if self.is_evidence else WEIGHTS


_INK = "#1f2328"

_MUTED = "#57606a"


_DPI = 150

_WIDTH = 7.3  # Inches: 1095 pixels. Wider only where the cells would become too small.

_LARGEST_CELL, _SMALLEST_CELL = 2.2, 1.25  # Inches.

_LEFT, _RIGHT = 0.42, 0.2  # Inches beside the grid; names of rows stand on the left.

_GAP = 0.1  # Inches between cells.

_SMALL, _BODY, _TITLE = 9.0, 10.0, 13.0  # Points.

_LINE = 0.17  # Inches from one line of small text to the next.

_HEAD = 1.0  # Inches for the verdict.

_LONGEST_MODEL = 34  # Letters; more would not fit above two columns.

_BAR = 0.15  # Inches.

_BAR_GAP = 0.08  # Inches at least between the words at its ends.

_BAR_LIGHTNESS = 0.6  # Of the grey on which the bar shows the colours, much like a face.


def pair_figure(
    verification: Verification,
    methods: Sequence[PairMaps],
    *,
    palette: str = "piyg",
    blend: Blend = "published",
    sentence: str = "",
) -> Figure:
    """Draws a pair of faces, what speaks for and against the same person, and the verdict.

    Above, the decision with its confidence, distance and threshold. Below, a row for each photo: the aligned
    face, and then each method's map over it. Both maps of a method have one scale. At the foot, below the
    columns that it holds for, what the colours mean, shown on grey as they are on the faces.

    Args:
        verification: The verdict, with both faces.
        methods: At least one.
        palette: A key of `PALETTES`, for all maps but weights.
        blend: How maps lie over the faces, as for `map_on_photo`.
        sentence: More words for the foot, such as `region_words.summary` gives; broken into lines.

    Returns:
        The figure, 1095 pixels wide for two to four methods at its own 150 dots per inch; `figure_png` writes
        it.

    Raises:
        ValueError: There is no method, there is no such palette or blend, or a map is of another kind.
    """
    if not methods:
        raise ValueError("a figure needs the maps of at least one method")
    check_blend(blend)
    drawing = _Drawing(columns=1 + len(methods))
    titles = ["Aligned face", *(method.title for method in methods)]
    headings = [drawing.fitted(title, drawing.cell, lines=2, weight="bold") for title in titles]
    words = drawing.fitted(sentence, drawing.grid_width, lines=8) if sentence else []
    bars = _bars(drawing, methods, palette)
    heading_lines = max(len(lines) for lines in headings)
    bar_lines = max(len(lines) for bar in bars for lines in bar.ends)
    above = _HEAD + _LINE * heading_lines + 0.06
    # The bars with their words, then the sentence.
    below = 0.14 + _BAR + 0.04 + _LINE * bar_lines + (0.1 + _LINE * len(words) if words else 0) + 0.14
    drawing.set_height(above + 2 * drawing.cell + _GAP + below)

    _write_verdict(drawing, verification)
    for column, lines in enumerate(headings):
        # Headings of one line stand right above the faces too.
        drop = _HEAD + _LINE * (heading_lines - len(lines))
        style: dict[str, Any] = {"color": _INK, "fontweight": "bold" if column else "normal"}
        drawing.write(drawing.column(column), drop, lines, **style)
    for row, (letter, face) in enumerate((("A", verification.probe), ("B", verification.reference))):
        top = above + row * (drawing.cell + _GAP)
        drawing.write_upwards(top, f"{letter}: {face.name}")
        drawing.show(drawing.column(0), top, enlarge(face.aligned, drawing.cell_pixels))
        for column, method in enumerate(methods, start=1):
            values = method.reference if row else method.probe
            scale = shared_scale(method.probe, method.reference) if method.scale is None else method.scale
            colours, pixels = method.palette(palette), drawing.cell_pixels
            picture = (
                map_on_photo(face.aligned, values, scale=scale, palette=colours, blend=blend, size=pixels)
                if method.on_face
                else colour_map(enlarge(values, pixels), scale=scale, palette=colours)
            )
            drawing.show(drawing.column(column), top, picture)

    foot = above + 2 * drawing.cell + _GAP + 0.14
    note = drawing.fitted("one scale for both", drawing.cell, lines=2)
    drawing.write(_LEFT, foot, note, color=_MUTED)
    for bar in bars:
        _draw_bar(drawing, foot, bar, blend)
    drawing.write(_LEFT, foot + _BAR + 0.04 + _LINE * bar_lines + 0.1, words, color=_INK)
    return drawing.figure


def figure_png(figure: Figure) -> bytes:
    """A figure as PNG, at its own resolution; the same figure gives the same bytes.

    Args:
        figure: From `pair_figure`.
    """
    content = io.BytesIO()
    # zlib's own level, 6, takes 2.4 times as long, for files that are 4 % smaller.
    packing = {"compress_level": 4}
    figure.savefig(content, format="png", dpi=figure.dpi, metadata={"Software": None}, pil_kwargs=packing)
    return content.getvalue()


class _Drawing:
    """A figure laid out in inches from its upper left corner, on whole pixels lest pictures blur.

    Args:
        columns: Of the grid.
    """

    def __init__(self, columns: int) -> None:
        room = (_WIDTH - _LEFT - _RIGHT - _GAP * (columns - 1)) / columns
        self.cell_pixels = round(_DPI * min(max(room, _SMALLEST_CELL), _LARGEST_CELL))
        self.cell = self.cell_pixels / _DPI
        self.grid_width = columns * self.cell + (columns - 1) * _GAP
        self.width = round(_DPI * (_LEFT + self.grid_width + _RIGHT)) / _DPI
        self.height = 1.0
        self.figure = Figure(figsize=(self.width, self.height), dpi=_DPI, facecolor="white")
        canvas: Any = FigureCanvasAgg(self.figure)
        self._renderer = canvas.get_renderer()
        self._font = get_font(findfont(FontProperties()))

    def set_height(self, height: float) -> None:
        self.height = round(_DPI * height) / _DPI
        self.figure.set_size_inches(self.width, self.height)

    def column(self, number: int) -> float:
        """The left edge of a column; 0 is the faces'."""
        return _LEFT + number * (self.cell + _GAP)

    def fitted(
        self, words: str, width: float, *, lines: int = 1, size: float = _SMALL, weight: str = "normal"
    ) -> list[str]:
        """Breaks words into lines that fit a width; ends with an ellipsis where there are too many.

        What the font cannot draw, such as half a surrogate pair in a file's name, becomes an empty square.
        """
        words = " ".join(words.split())
        drawable = "".join(sign if self._font.get_char_index(ord(sign)) else "\u25a1" for sign in words)
        # A number keeps its percent sign, which follows a space.
        rest = drawable.replace(" %", "\u00a0%").split(" ")
        broken = [""]
        while rest:
            word = rest.pop(0)
            longer = f"{broken[-1]} {word}".strip()
            if self.width_of(longer, size, weight) <= width:
                broken[-1] = longer
            elif broken[-1] and len(broken) < lines:
                broken.append("")
                rest.insert(0, word)
            else:
                # Too long for a line of its own, or for the last one.
                broken[-1] = self._cut(longer, width, size, weight)
                break
        return broken

    def write(self, left: float, top: float, lines: Sequence[str], **style: Any) -> None:
        """Lines of small words."""
        for number, line in enumerate(lines):
            self.text(left, top + number * _LINE, line, **style)

    def text(self, left: float, top: float, words: str, **style: Any) -> None:
        style = {"fontsize": _SMALL, "va": "top", **style}
        # A dollar sign in a file's name starts no formula.
        self.figure.text(left / self.width, 1 - top / self.height, words, parse_math=False, **style)

    def write_upwards(self, top: float, words: str) -> None:
        """The name of a row, left of the grid, along the cell that begins at `top`."""
        name = self.fitted(words, self.cell)[0]
        middle = top + self.cell / 2
        self.text(_LEFT - 0.08, middle, name, rotation=90, ha="right", va="center", color=_MUTED)

    def show(self, left: float, top: float, picture: FloatArray) -> None:
        """A picture, one pixel for one of the figure."""
        # Whole pixels from the figure's lower left corner, from which matplotlib counts. Without axes, whose
        # ticks, labels and spines are laid out even where none are seen: a quarter of a figure's time.
        up = round((self.height - top) * _DPI - len(picture))
        self.figure.figimage(picture, round(left * _DPI), up, origin="upper")

    def _cut(self, words: str, width: float, size: float, weight: str) -> str:
        while words and self.width_of(f"{words}\u2026", size, weight) > width:
            words = words[:-1]
        return f"{words.rstrip()}\u2026"

    def width_of(self, words: str, size: float = _SMALL, weight: str = "normal") -> float:
        """The width of a line of words in inches."""
        probe = self.figure.text(0, 0, words, fontsize=size, fontweight=weight, parse_math=False)
        width = probe.get_window_extent(self._renderer).width
        probe.remove()
        return float(width) / _DPI


def _write_verdict(drawing: _Drawing, verification: Verification) -> None:
    decision = "Same person" if verification.same_person else "Different people"
    confidence = verification.shown_confidence
    title = f"{decision}, {confidence} confident" if confidence else decision
    if verification.confidence_withheld:
        title = f"{decision}, no confidence: {verification.confidence_withheld}"
    comparison = "below" if verification.same_person else "not below"
    threshold = f"{comparison} the threshold {verification.threshold:.3f}"
    numbers = f"cosine distance {verification.distance:.3f}, {threshold}"
    # Of a path, the end tells most.
    model = verification.model
    about = f"model {model}" if len(model) <= _LONGEST_MODEL else f"model \u2026{model[1 - _LONGEST_MODEL :]}"
    if verification.calibration:
        about += f", calibrated on {verification.calibration}"
    for top, words, size, weight, colour in (
        (0.16, title, _TITLE, "bold", _INK),
        (0.44, numbers, _BODY, "normal", _INK),
        (0.64, about, _BODY, "normal", _MUTED),
    ):
        line = drawing.fitted(words, drawing.grid_width, size=size, weight=weight)[0]
        drawing.text(_LEFT, top, line, fontsize=size, fontweight=weight, color=colour)


@dataclass(frozen=True)
class _Bar:
    """What the colours of neighbouring columns mean.

    Attributes:
        palette: The columns'.
        left: Where they begin, in inches.
        right: Where they end.
        ends: The words at either end, in lines that fit.
    """

    palette: str
    left: float
    right: float
    ends: tuple[list[str], list[str]]


def _bars(drawing: _Drawing, methods: Sequence[PairMaps], palette: str) -> list[_Bar]:
    """A bar for all columns, or where some are drawn in another palette, one for each run of them."""
    bars, column = [], 1
    for key, run in itertools.groupby(method.palette(palette) for method in methods):
        last = column + len(list(run)) - 1
        left, right = drawing.column(column), drawing.column(last) + drawing.cell
        first, second = find_palette(key).ends
        # On one line if there is room for both.
        beside = drawing.width_of(first) + _BAR_GAP + drawing.width_of(second) <= right - left
        room = right - left if beside else (right - left - _BAR_GAP) / 2
        ends = drawing.fitted(first, room, lines=2), drawing.fitted(second, room, lines=2)
        bars.append(_Bar(key, left, right, ends))
        column = last + 1
    return bars


def _draw_bar(drawing: _Drawing, top: float, bar: _Bar, blend: Blend) -> None:
    height, width = round(_BAR * _DPI), round((bar.right - bar.left) * _DPI)
    ramp = colour_ramp(bar.palette, width, height)
    grey = np.full((height, width, 3), _BAR_LIGHTNESS, dtype=np.float32)
    drawing.show(bar.left, top, map_on_photo(grey, ramp, scale=1, palette=bar.palette, blend=blend))

    words = top + _BAR + 0.04
    drawing.write(bar.left, words, bar.ends[0], color=_INK)
    drawing.write(bar.right, words, bar.ends[1], ha="right", color=_INK)
    # In one column, there is room for the ends alone.
    if not find_palette(bar.palette).sign and bar.right - bar.left > _LARGEST_CELL:
        drawing.text((bar.left + bar.right) / 2, words, "neither", ha="center", color=_MUTED)
