"""Signed maps become colours and figures here, and nowhere else (pure).

Maps stay numbers until they are shown: (height, width), positive where the picture speaks for the same
person, negative where it speaks against. Some maps are no evidence but weights: not negative, they say how
much a place counts, whichever way. They have a palette of their own, `WEIGHTS`. Images are float32 RGB in
[0, 1] unless stated otherwise. No function changes what it is given. Figures belong to no window: pyplot is
not used and nothing global is changed, so that they can be drawn in any thread.
"""

import base64
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from xfv_demo.types import FloatArray, Verification

Blend = Literal["published", "alpha"]

# Odd, so that one entry is the middle; a matplotlib colour map of 256 has none.
_ENTRIES = 257
_MIDDLE = _ENTRIES // 2

# So that eyes and mouth still show through the strongest evidence.
_ALPHA_STRENGTH = 0.8
# The least of its scale that a value is coloured as where opacity shows its size: a palette's pale middle
# would lie on the photo like fog.
_ALPHA_COLOUR = 0.6


@dataclass(frozen=True, eq=False)
class Palette:
    """Colours for a map's values, from its lowest to its highest.

    Attributes:
        key: A name for programs, a key of `PALETTES`, or `WEIGHTS`.
        name: A name for people.
        table: (257, 3) float32, RGB; cannot be written to. Of a diverging palette the middle entry is zero's
            colour, the last stands for the scale, the first for minus the scale; of a sequential one the
            first is zero's colour.
        sign: 0 for a diverging palette; 1 or -1 for one that shows only what is positive, or only what is
            negative.
        ends: What the colours at its beginning and at its end say.
        colour_for: What people call the colour that speaks for the same person; None if it shows none.
        colour_against: The same for the colour that speaks against.
    """

    key: str
    name: str
    table: FloatArray
    sign: int
    ends: tuple[str, str]
    colour_for: str | None
    colour_against: str | None

    def visible(self, signed_map: ArrayLike) -> NDArray[np.float64]:
        """The part of a map that this palette shows; 0 for the rest.

        Args:
            signed_map: (height, width), finite.

        Raises:
            ValueError: The map is of another kind.
        """
        values = _checked_map(signed_map)
        return np.where(values * self.sign >= 0, values, 0.0) if self.sign else values


# By sign: of one side only, what speaks for the other looks like what speaks for neither.
_ENDS = {
    0: ("speaks against", "speaks for"),
    1: ("does not", "speaks for"),
    -1: ("does not", "speaks against"),
}


def _palette(
    key: str,
    name: str,
    colours: Any,
    sign: int,
    words: tuple[str | None, str | None],
    ends: tuple[str, str] | None = None,
) -> Palette:
    table: FloatArray = colours.resampled(_ENTRIES)(np.arange(_ENTRIES))[:, :3].astype(np.float32)
    table.setflags(write=False)
    return Palette(key, name, table, sign, ends or _ENDS[sign], colour_for=words[0], colour_against=words[1])


# The blue of genuine pairs in this package's figures and an orange as dark as it, straight to PiYG's grey:
# hues stay the same all the way. By Machado et al. (TVCG 2009), both ends stay at least 85 CIELAB units apart
# for people without the cones for red or green; of PiYG's ends, 31 are left to those without those for green.
_ORANGE_BLUE = LinearSegmentedColormap.from_list("orange-blue", ["#b84d00", "#f7f7f7", "#0072b2"])

PALETTES = {
    palette.key: palette
    for palette in (
        # As x-Face shows its maps.
        _palette("piyg", "green and pink", colormaps["PiYG"], 0, ("green", "pink")),
        _palette(
            "orange-blue", "blue and orange, for all colour vision", _ORANGE_BLUE, 0, ("blue", "orange")
        ),
        # The next three as xSSAB shows its combined, positive and negative maps.
        _palette("rdylgn", "green, yellow and red", colormaps["RdYlGn"], 0, ("green", "red")),
        _palette("greens", "green, only what speaks for", colormaps["Greens"], 1, ("green", None)),
        _palette("reds", "red, only what speaks against", colormaps["Reds"], -1, (None, "red")),
    )
}


# Straight from the same grey: one hue, darker all the way, so that it can be read without telling hues apart.
# It lies between PiYG's pink and the other palette's blue, at least 25 CIELAB units from any colour of all
# palettes, as seen with all cones or without those for red or for green.
_PURPLES = LinearSegmentedColormap.from_list("purples", ["#f7f7f7", "#4b0092"])

WEIGHTS = "purples"
"""The palette of maps that are weights. No visitor's choice, as it is to look like none of the others."""

WEIGHT_ENDS = ("counts little", "counts much")
"""What the colours at that palette's beginning and at its end say."""

_WEIGHT_PALETTE = _palette(WEIGHTS, "purple, how much a place counts", _PURPLES, 1, (None, None), WEIGHT_ENDS)


def shared_scale(*maps: ArrayLike, percentile: float = 100) -> float:
    """One scale for maps that are to be compared, such as those of a pair.

    Args:
        maps: At least one map, each (height, width), finite.
        percentile: In (0, 100]: 100 for the largest absolute value; 99 or so for gradient maps, whose few
            spikes would else leave all the rest pale.

    Returns:
        The scale, greater than 0; 1 where all maps are 0, so that they show as neutral.

    Raises:
        ValueError: There is no map, a map is of another kind, or the percentile lies out of its range.
    """
    if not maps or not 0 < percentile <= 100:
        raise ValueError(f"a scale needs at least one map and a percentile in (0, 100], not {percentile}")
    sizes = np.abs(np.concatenate([_checked_map(one).ravel() for one in maps]))
    # Of a map that is mostly 0, the percentile may be 0 as well.
    return float(np.percentile(sizes, percentile)) or float(sizes.max()) or 1.0


def colour_map(signed_map: ArrayLike, *, scale: float, palette: str = "piyg") -> FloatArray:
    """Colours a signed map; zero has the palette's neutral colour, whatever the map's range.

    Args:
        signed_map: (height, width), finite; positive speaks for the same person.
        scale: The absolute value that has the palette's end colours, as have all beyond it.
        palette: A key of `PALETTES`, or `WEIGHTS`. "greens" and the latter show only positive values, "reds"
            only negative ones.

    Returns:
        (height, width, 3) float32, RGB, in [0, 1].

    Raises:
        ValueError: The map is of another kind, the scale is not finite and greater than 0, or there is no
            such palette.
    """
    chosen = _find_palette(palette)
    values = chosen.visible(signed_map) / _checked_scale(scale)
    places = np.abs(values) * (_ENTRIES - 1) if chosen.sign else (values + 1) * _MIDDLE
    # Values beyond the scale take the nearest end, by np.interp.
    entries = np.arange(_ENTRIES)
    channels = [np.interp(places, entries, chosen.table[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).astype(np.float32)


def colour_bar(palette: str = "piyg", *, width: int = 256, height: int = 16) -> FloatArray:
    """The palette as a strip, from what speaks against, on the left, to what speaks for, on the right.

    A palette that shows one side only begins with its neutral colour on the left.

    Args:
        palette: A key of `PALETTES`, or `WEIGHTS`.
        width: In pixels.
        height: In pixels.

    Returns:
        (height, width, 3) float32, RGB, in [0, 1].

    Raises:
        ValueError: There is no such palette.
    """
    return colour_map(_ramp(palette, width, height), scale=1, palette=palette)


def blend_published(photo: FloatArray, coloured: FloatArray) -> FloatArray:
    """Lays a coloured map over a photo as x-Face does: the map's hue, the photo's lightness.

    Hue comes from the coloured map, lightness from the photo, both in HLS; the saturation is the coloured
    map's in HSV, put in the place of that in HLS. That is more than a slip: of a pale colour the saturation
    in HLS can be 1, in HSV it is small, so that weak evidence stays nearly grey. Where the map is neutral
    grey, the photo shows in shades of grey.

    Source: Knoche et al., WACV Workshops 2023, arXiv 2211.13735, and its authors' code.

    Args:
        photo: (height, width, 3) float32, RGB, in [0, 1].
        coloured: The same shape and range, from `colour_map`.

    Returns:
        (height, width, 3) float32, RGB, in [0, 1].

    Raises:
        ValueError: The images are of another kind, or differ in shape.
    """
    photo, coloured = _checked_pair(photo, coloured)
    hue = cv2.cvtColor(coloured, cv2.COLOR_RGB2HLS)[..., 0]
    lightness = cv2.cvtColor(photo, cv2.COLOR_RGB2HLS)[..., 1]
    saturation = cv2.cvtColor(coloured, cv2.COLOR_RGB2HSV)[..., 1]
    blended = cv2.cvtColor(np.stack([hue, lightness, saturation], axis=-1), cv2.COLOR_HLS2RGB)
    return np.asarray(blended, dtype=np.float32).clip(0, 1)


def blend_alpha(
    photo: FloatArray,
    coloured: FloatArray,
    strength: float = _ALPHA_STRENGTH,
    signed_map: ArrayLike | None = None,
    *,
    scale: float | None = None,
) -> FloatArray:
    """Lays a coloured map over a photo by transparency.

    Args:
        photo: (height, width, 3) float32, RGB, in [0, 1].
        coloured: The same shape and range, from `colour_map`.
        strength: In [0, 1]: how opaque the colours are where they are most opaque.
        signed_map: (height, width). With it, opacity grows with the evidence's size, so that the
            photo is left as it is where there is none; without, it is the same everywhere.
        scale: The absolute value in `signed_map` at which opacity reaches `strength`; the map's largest by
            default.

    Returns:
        (height, width, 3) float32, RGB, in [0, 1].

    Raises:
        ValueError: An image, map or number is of another kind or range, or shapes differ.
    """
    photo, coloured = _checked_pair(photo, coloured)
    if not 0 <= strength <= 1:
        raise ValueError(f"a strength must be in [0, 1], not {strength}")
    if signed_map is None:
        return _mixed(photo, coloured, strength)
    values = _checked_map(signed_map)
    if values.shape != photo.shape[:2]:
        raise ValueError(f"a map of shape {values.shape} does not fit a photo of shape {photo.shape}")
    full = shared_scale(values) if scale is None else _checked_scale(scale)
    # In proportion: a steeper start would draw a dark seam wherever the map changes its sign.
    opacity = strength * (np.abs(values) / full).clip(0, 1)
    return _mixed(photo, coloured, opacity[..., np.newaxis])


def enlarge(image: ArrayLike, size: int) -> FloatArray:
    """Scales an image or a map to a square for display: smooth, without leaving the range of its values.

    Args:
        image: (height, width) or (height, width, 3), finite.
        size: The sides of the result, in pixels.

    Returns:
        (size, size) or (size, size, 3) float32.

    Raises:
        ValueError: The image is of another kind, or the size is not positive.
    """
    values = np.array(image, dtype=np.float32)
    if values.ndim not in (2, 3) or not values.size or not np.isfinite(values).all():
        raise ValueError(f"only finite images and maps can be enlarged, not an array of shape {values.shape}")
    if size < 1:
        raise ValueError(f"an image cannot have sides of {size} pixels")
    larger = cv2.resize(values, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(larger, dtype=np.float32).clip(values.min(), values.max())


def map_on_photo(
    photo: FloatArray,
    signed_map: ArrayLike,
    *,
    scale: float,
    palette: str = "piyg",
    blend: Blend = "published",
    strength: float | None = None,
    size: int | None = None,
) -> FloatArray:
    """A map over its photo, ready to be shown.

    Args:
        photo: (height, width, 3) float32, RGB, in [0, 1].
        signed_map: (height, width), finite; positive speaks for the same person.
        scale: The absolute value with the palette's end colours; `shared_scale` for a pair.
        palette: A key of `PALETTES`, or `WEIGHTS`.
        blend: "published" for `blend_published`; "alpha" for `blend_alpha` with opacity by evidence, and
            colours from the outer part of the palette only.
        strength: In [0, 1], 0 for the photo alone. By default 1 for "published", which is x-Face's picture
            and of which less mixes in the photo's own colours; 0.8 for "alpha".
        size: The sides of the result in pixels; photo and map are enlarged before they are blended, so that
            edges stay crisp. By default, the photo's own.

    Returns:
        (height, width, 3) or (size, size, 3) float32, RGB, in [0, 1].

    Raises:
        ValueError: An image, map, number or name is of another kind or range, or shapes differ.
    """
    _check_blend(blend)
    shown = _find_palette(palette).visible(signed_map)
    if shown.shape != np.shape(photo)[:2]:
        raise ValueError(f"a map of shape {shown.shape} does not fit a photo of shape {np.shape(photo)}")
    if size is not None:
        photo, shown = enlarge(photo, size), enlarge(shown, size).astype(np.float64)
    if blend == "alpha":
        vivid = np.sign(shown) * (_ALPHA_COLOUR * scale + (1 - _ALPHA_COLOUR) * np.abs(shown))
        coloured = colour_map(vivid, scale=scale, palette=palette)
        opacity = _ALPHA_STRENGTH if strength is None else strength
        return blend_alpha(photo, coloured, opacity, shown, scale=scale)
    published = blend_published(photo, colour_map(shown, scale=scale, palette=palette))
    return published if strength is None else blend_alpha(photo, published, strength)


def png_bytes(image: ArrayLike) -> bytes:
    """An image as PNG, which loses nothing but the steps between 256 levels.

    Args:
        image: (height, width, 3), float RGB in [0, 1], or uint8.

    Raises:
        ValueError: The image is of another kind.
    """
    values = np.asarray(image)
    if values.dtype != np.uint8 or values.ndim != 3 or values.shape[2] != 3:
        values = np.rint(_checked_image(values) * 255).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(values).save(content, "PNG")
    return content.getvalue()


def png_data_uri(image: ArrayLike) -> str:
    """An image as an address that holds it, for the `src` of an `img` in a page.

    Args:
        image: (height, width, 3), float RGB in [0, 1], or uint8.

    Raises:
        ValueError: The image is of another kind.
    """
    return f"data:image/png;base64,{base64.b64encode(png_bytes(image)).decode()}"


@dataclass(frozen=True, eq=False)
class PairMaps:
    """One method's maps of a pair, for `pair_figure`.

    Attributes:
        title: What to call the method.
        probe: (112, 112), signed: positive speaks for the same person.
        reference: (112, 112), likewise.
        scale: The absolute value with the palette's end colours; the largest in both maps by default.
        is_evidence: False where the maps are weights instead, which are not negative.
    """

    title: str
    probe: FloatArray
    reference: FloatArray
    scale: float | None = None
    is_evidence: bool = True

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
        sentence: More words for the foot, such as `regions.summary` gives; broken into lines.

    Returns:
        The figure, 1095 pixels wide for two to four methods at its own 150 dots per inch; `figure_png` writes
        it.

    Raises:
        ValueError: There is no method, there is no such palette or blend, or a map is of another kind.
    """
    if not methods:
        raise ValueError("a figure needs the maps of at least one method")
    _check_blend(blend)
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
            picture = map_on_photo(
                face.aligned,
                method.reference if row else method.probe,
                scale=shared_scale(method.probe, method.reference) if method.scale is None else method.scale,
                palette=method.palette(palette),
                blend=blend,
                size=drawing.cell_pixels,
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
    figure.savefig(content, format="png", dpi=figure.dpi, metadata={"Software": None})
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
        height, width = (side / _DPI for side in picture.shape[:2])
        # Whole pixels from the figure's lower left corner, from which matplotlib counts.
        across, up = round(left * _DPI) / _DPI, round((self.height - top - height) * _DPI) / _DPI
        place = (across / self.width, up / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(place)
        axes.imshow(picture, interpolation="none", aspect="auto")
        axes.set_axis_off()

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
        first, second = _find_palette(key).ends
        # On one line if there is room for both.
        beside = drawing.width_of(first) + _BAR_GAP + drawing.width_of(second) <= right - left
        room = right - left if beside else (right - left - _BAR_GAP) / 2
        ends = drawing.fitted(first, room, lines=2), drawing.fitted(second, room, lines=2)
        bars.append(_Bar(key, left, right, ends))
        column = last + 1
    return bars


def _draw_bar(drawing: _Drawing, top: float, bar: _Bar, blend: Blend) -> None:
    height, width = round(_BAR * _DPI), round((bar.right - bar.left) * _DPI)
    ramp = _ramp(bar.palette, width, height)
    grey = np.full((height, width, 3), _BAR_LIGHTNESS, dtype=np.float32)
    drawing.show(bar.left, top, map_on_photo(grey, ramp, scale=1, palette=bar.palette, blend=blend))

    words = top + _BAR + 0.04
    drawing.write(bar.left, words, bar.ends[0], color=_INK)
    drawing.write(bar.right, words, bar.ends[1], ha="right", color=_INK)
    # In one column, there is room for the ends alone.
    if not _find_palette(bar.palette).sign and bar.right - bar.left > _LARGEST_CELL:
        drawing.text((bar.left + bar.right) / 2, words, "neither", ha="center", color=_MUTED)


def _ramp(palette: str, width: int, height: int) -> NDArray[np.float64]:
    """A map from a palette's first colour, on the left, to its last."""
    sign = _find_palette(palette).sign
    return np.tile(np.linspace(0, sign, width) if sign else np.linspace(-1, 1, width), (height, 1))


def _mixed(photo: FloatArray, coloured: FloatArray, opacity: ArrayLike) -> FloatArray:
    mixed = photo + np.asarray(opacity) * (coloured.astype(np.float64) - photo)
    return mixed.clip(0, 1).astype(np.float32)


def _find_palette(key: str) -> Palette:
    if key == WEIGHTS:
        return _WEIGHT_PALETTE
    if key not in PALETTES:
        raise ValueError(f"there is no palette {key!r}; choose of {', '.join(PALETTES)}")
    return PALETTES[key]


def _check_blend(blend: str) -> None:
    if blend not in ("published", "alpha"):
        raise ValueError(f"there is no blend {blend!r}; choose of published, alpha")


def _checked_scale(scale: float) -> float:
    if not 0 < scale < np.inf:
        raise ValueError(f"a scale must be finite and greater than 0, not {scale}")
    return scale


def _checked_map(signed_map: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(signed_map, dtype=np.float64)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"a map must be (height, width) finite numbers, not an array of {values.shape}")
    return values


def _checked_image(image: ArrayLike) -> FloatArray:
    values = np.asarray(image)
    if values.ndim != 3 or values.shape[2] != 3 or not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"an image must be float (height, width, 3), not {values.dtype} {values.shape}")
    # Not the other way round, since NaN fails every comparison.
    if not (values.size and values.min() >= 0 and values.max() <= 1):
        raise ValueError("an image must have values in [0, 1]")
    return values.astype(np.float32)


def _checked_pair(photo: ArrayLike, coloured: ArrayLike) -> tuple[FloatArray, FloatArray]:
    first, second = _checked_image(photo), _checked_image(coloured)
    if first.shape != second.shape:
        raise ValueError(f"photo and coloured map must have one shape, not {first.shape} and {second.shape}")
    return first, second
