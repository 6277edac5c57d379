"""Signed maps become colours and figures here, and nowhere else (pure).

Maps stay numbers until they are shown: (height, width), positive where the picture speaks for the same
person, negative where it speaks against. Some maps are no evidence but weights: not negative, they say how
much a place counts, whichever way. They have a palette of their own, `WEIGHTS`. Images are float32 RGB in
[0, 1] unless stated otherwise. No function changes what it is given. Figures belong to no window: pyplot is
not used and nothing global is changed, so that they can be drawn in any thread.
"""

import base64
import io
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from xfv_demo.types import FloatArray

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
    chosen = find_palette(palette)
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
    return colour_map(colour_ramp(palette, width, height), scale=1, palette=palette)


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
    check_blend(blend)
    shown = find_palette(palette).visible(signed_map)
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


def colour_ramp(palette: str, width: int, height: int) -> NDArray[np.float64]:
    """A map from a palette's first colour, on the left, to its last."""
    sign = find_palette(palette).sign
    return np.tile(np.linspace(0, sign, width) if sign else np.linspace(-1, 1, width), (height, 1))


def _mixed(photo: FloatArray, coloured: FloatArray, opacity: ArrayLike) -> FloatArray:
    mixed = photo + np.asarray(opacity) * (coloured.astype(np.float64) - photo)
    return mixed.clip(0, 1).astype(np.float32)


def find_palette(key: str) -> Palette:
    """A palette by its name."""
    if key == WEIGHTS:
        return _WEIGHT_PALETTE
    if key not in PALETTES:
        raise ValueError(f"there is no palette {key!r}; choose of {', '.join(PALETTES)}")
    return PALETTES[key]


def check_blend(blend: str) -> None:
    """Refuses an unknown way to lay colours on a photo."""
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
