"""What an explainer gives: maps of the evidence in a pair, and the pairs of maps that there are to see.

All maps follow one convention. A map is signed float32, one number for each pixel of its face: positive
speaks for "same person", negative for "different". What travels is the map in the method's own unit; divided
by its largest absolute value, the map's *scale*, it lies in [-1, 1]. Where there is nothing to tell, the map
is zero everywhere and so is its scale. Colour is the business of `xfv_demo.plots.colours` alone.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.types import FloatArray


class MapPair(NamedTuple):
    """A further map of each photo.

    Attributes:
        probe: (112, 112) float32.
        reference: (112, 112) float32.
    """

    probe: FloatArray
    reference: FloatArray


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where the evidence lies in a pair of faces.

    Attributes:
        method: The explainer's key in `EXPLAINERS`.
        unscaled: Both maps in the method's own unit, in which they can be compared; positive speaks for "same
            person".
        distance: Cosine distance of the two photos as they are, in [0, 2].
        progress: Share of the work that this rests on, in [0, 1]; 1 in the final explanation.
        parameters: The method's settings, in plain values for reports.
        parts: Further maps by name, not scaled, such as xSSAB's "positive" and "negative".
        numbers: Further numbers by name, such as the similarity that xCos gives the pair.
        interactions: (h, w, h, w) float32 where a method knows them, as `GridExplainer` does: of each cell of
            the probe and each of the reference, what the two together add to the similarity. None elsewhere.
    """

    method: str
    unscaled: MapPair
    distance: float
    progress: float
    parameters: Mapping[str, Any]
    parts: Mapping[str, MapPair] = field(default_factory=dict)
    numbers: Mapping[str, float] = field(default_factory=dict)
    interactions: FloatArray | None = None

    @classmethod
    def from_maps(
        cls,
        method: str,
        maps: Iterable[NDArray[np.floating[Any]]],
        *,
        distance: float,
        progress: float,
        parameters: Mapping[str, Any],
        parts: Mapping[str, MapPair] | None = None,
        numbers: Mapping[str, float] | None = None,
        interactions: FloatArray | None = None,
    ) -> "Explanation":
        """Makes an explanation of maps in the method's own unit.

        Args:
            method: As the attribute.
            maps: The probe's and the reference's, (112, 112) each, finite.
            distance: As the attribute; rounding beyond [0, 2] is taken off.
            progress: As the attribute.
            parameters: As the attribute; copied.
            parts: As the attribute.
            numbers: As the attribute.
            interactions: As the attribute.
        """
        return cls(
            method=method,
            unscaled=MapPair(*(np.asarray(one, np.float32) for one in maps)),
            distance=float(np.clip(distance, 0, 2)),
            progress=progress,
            parameters=dict(parameters),
            parts=parts or {},
            numbers=numbers or {},
            interactions=interactions,
        )

    @functools.cached_property
    def probe_map(self) -> FloatArray:
        """(112, 112) float32 in [-1, 1]: the probe's map divided by its scale."""
        return scaled_map(self.unscaled.probe)

    @functools.cached_property
    def reference_map(self) -> FloatArray:
        """(112, 112) float32 in [-1, 1], likewise."""
        return scaled_map(self.unscaled.reference)

    @property
    def probe_scale(self) -> float:
        """The probe map's largest absolute value, in the method's own unit; 0 where the map is zero."""
        return float(np.abs(self.unscaled.probe).max())

    @property
    def reference_scale(self) -> float:
        """The reference map's largest absolute value, likewise."""
        return float(np.abs(self.unscaled.reference).max())

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: everything but the maps."""
        return {
            "method": self.method,
            "parameters": dict(self.parameters),
            "distance": round(self.distance, 6),
            "progress": round(self.progress, 4),
            "probe_scale": self.probe_scale,
            "reference_scale": self.reference_scale,
            "parts": sorted(self.parts),
            "numbers": dict(self.numbers),
        }


@dataclass(frozen=True, eq=False)
class View:
    """One of the pairs of maps that a method shows.

    Attributes:
        key: A name for programs, of its own among the method's views, such as "paired".
        label: A name for people.
        maps: Both photos' maps, signed, in one unit: positive speaks for "same person".
        percentile: Of the absolute values, the one that is to have the strongest colour, in (0, 100]. 100
            where the maps are smooth; less where few spikes would leave all else pale.
        is_evidence: Whether the maps speak for and against. False where they say how much a place counts,
            whichever way, as attention does; then they are not negative.
        domain: What a map's pixels are: places of the "face", or spatial "frequency", 0 in the middle.
    """

    key: str
    label: str
    maps: MapPair
    percentile: float = 100.0
    is_evidence: bool = True
    domain: Literal["face", "frequency"] = "face"


def for_and_against(explanation: Explanation, percentile: float = 100.0) -> tuple[View, ...]:
    """The views of a method whose `parts` are "positive" and "negative".

    Args:
        explanation: By such a method; both parts are at least 0.
        percentile: As for `View`.

    Returns:
        The map, what speaks for "same", and what speaks against, the latter with its sign.
    """
    positive, negative = explanation.parts["positive"], explanation.parts["negative"]
    against = MapPair(-negative.probe, -negative.reference)
    return (
        View("combined", "for and against", explanation.unscaled, percentile),
        View("for", "for", positive, percentile),
        View("against", "against", against, percentile),
    )


def parts_by_sign(maps: NDArray[np.floating[Any]]) -> dict[str, NDArray[np.floating[Any]]]:
    """Of maps, what is above 0, "positive", and what is below, "negative", as positive numbers."""
    return {"positive": np.maximum(maps, 0), "negative": np.maximum(-maps, 0)}


def scaled_map(raw: NDArray[np.floating[Any]]) -> FloatArray:
    """Divides a map by its largest absolute value.

    Args:
        raw: (112, 112), finite, in the method's own unit.

    Returns:
        The map as float32 in [-1, 1]. A map of zeros stays one.
    """
    scale = np.abs(raw).max()
    return np.asarray(raw / (scale or 1), np.float32)


def enlarged_cells(cells: ArrayLike, *, smooth: bool) -> FloatArray:
    """Lays a grid's cells over the face.

    A cell's features depend on a wide neighbourhood, so where exactly it ends means little. Measured on the
    bundled model, what moves a cell's features is centred within 3 pixels of the cell's own middle for cells
    in the face's middle, and up to 15 pixels further in for those at its rim.

    Args:
        cells: (..., h, w), one number for each cell of a grid.
        smooth: Whether to interpolate between the cells' middles; else each is shown as the rectangle it is.

    Returns:
        (..., 112, 112) float32 with the cells' values, not scaled.
    """
    interpolation = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST_EXACT
    grids, side = np.asarray(cells, np.float32), (ALIGNED_SIZE, ALIGNED_SIZE)
    enlarged = [
        cv2.resize(grid, side, interpolation=interpolation) for grid in grids.reshape(-1, *grids.shape[-2:])
    ]
    return np.array(enlarged).reshape(*grids.shape[:-2], *side)
