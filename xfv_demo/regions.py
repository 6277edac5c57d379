"""Where in the face a map's evidence lies, in numbers and words (pure).

Every aligned face lies on the same template, so that fixed regions fit all faces about as well as the
alignment does: to a few pixels for a frontal face, less well for one that is turned or speaks.

Left and right are those of the image: the eye on the image's left is the person's own right eye, unless the
photo was mirrored.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.draw import polygon2mask

from xfv_demo.alignment import ALIGNED_SIZE, ARCFACE_TEMPLATE

_SHAPE = (ALIGNED_SIZE, ALIGNED_SIZE)

# The face's own coordinates: the unit is the distance between the eyes, 35.2 pixels; across from the face's
# axis, down from the line through the eyes. There, the template has its eyes at (+-0.50, 0), the nose tip at
# (0, 0.57) and the mouth's corners at (+-0.41, 1.16).
_EYES = ARCFACE_TEMPLATE[:2].astype(np.float64)
_UNIT = float(np.linalg.norm(_EYES[1] - _EYES[0]))
_EYE_LINE = float(_EYES[:, 1].mean())
# The nose tip's column; midway between the eyes it is 55.9, between the mouth's corners 56.1. A whole column,
# so that left and right are each other's mirror image to the pixel.
_AXIS = 56.0

# Half outlines, on the side of growing x; the other half mirrors them. The template gives five points, not
# outlines: these proportions were drawn by eye over the example photos. They may overlap: of the parts that
# hold a pixel, the first in _build_regions has it.
_EYE = (
    *((0.14, 0.04), (0.24, -0.10), (0.50, -0.15), (0.74, -0.11), (0.87, 0.02)),
    *((0.76, 0.16), (0.50, 0.22), (0.25, 0.17)),
)
_BROW = (
    *((0.10, 0.02), (0.10, -0.25), (0.28, -0.34), (0.60, -0.36), (0.84, -0.25), (0.96, -0.08)),
    *((0.87, 0.02), (0.50, 0.05)),
)
_NOSE = (
    *((0.00, -0.15), (0.11, -0.15), (0.16, 0.20), (0.37, 0.46), (0.40, 0.66), (0.26, 0.79), (0.00, 0.82)),
)
# With the upper lip below the nose, and wide enough for a smile.
_MOUTH = (
    *((0.00, 0.82), (0.26, 0.79), (0.44, 0.96), (0.60, 1.12), (0.52, 1.32), (0.30, 1.47), (0.00, 1.50)),
)
_CHIN = ((0.00, 1.20), (0.55, 1.20), (0.62, 1.30), (0.60, 1.80), (0.00, 1.80))
# From the hairline round the temple and the jaw; the template cuts the chin off.
_FACE = (
    *((0.00, -1.15), (0.42, -1.12), (0.78, -0.95), (1.02, -0.55), (1.09, 0.00), (1.07, 0.55)),
    *((0.98, 1.05), (0.74, 1.55), (0.62, 1.80), (0.00, 1.80)),
)


@dataclass(frozen=True, eq=False)
class Region:
    """A part of the aligned face.

    Attributes:
        key: A name for programs, such as "left_eye". Left is the image's left.
        name: A name for people, such as "the eye on the image's left".
        group: The key of the region in `REGION_GROUPS` that holds this one, such as "eyes".
        mask: (112, 112) bool, its pixels; cannot be written to.
    """

    key: str
    name: str
    group: str
    mask: NDArray[np.bool_]

    @property
    def plural(self) -> bool:
        """Whether a verb after the name is in the plural: "the eyes speak", "the nose speaks"."""
        return self.key in (*_PAIRED, "rest")


@dataclass(frozen=True)
class RegionEvidence:
    """What a map says in one region.

    Attributes:
        region: Where.
        evidence_for: Sum of the map's positive values, at least 0: what speaks for the same person.
        evidence_against: Sum of its negative values, at most 0: what speaks against.
        share: Share of the map's whole absolute evidence that lies here, in [0, 1]; over regions that cover
            the picture, these sum to 1, or are all 0 for a map of zeros.
        net_share: What is left of the evidence for once that against is taken off, as a share of the map's
            whole absolute evidence, in [-1, 1].
        density: `share` divided by the region's share of the pixels: 1 where evidence lies as dense as on
            average, 2 where twice as dense.
    """

    region: Region
    evidence_for: float
    evidence_against: float
    share: float
    net_share: float
    density: float


_PAIRED = ("eyes", "brows", "cheeks")
# As one reads a face, from top to bottom.
_ORDER = (
    *("forehead", "left_brow", "right_brow", "left_eye", "right_eye", "nose", "left_cheek", "right_cheek"),
    *("mouth", "chin", "rest"),
)


def _build_regions() -> tuple[Region, ...]:
    parts = (
        ("nose", "the nose", _whole(_NOSE)),
        *_both_sides("eye", _EYE),
        *_both_sides("brow", _BROW),
        ("mouth", "the mouth", _whole(_MOUTH)),
        ("chin", "the chin", _whole(_CHIN)),
        ("forehead", "the forehead", [(x, y) for x, y in _whole(_FACE) if y <= 0]),
        *_both_sides("cheek", [(0.0, 0.0), *((x, y) for x, y in _FACE if y >= 0)]),
    )
    free = np.ones(_SHAPE, dtype=bool)
    regions = {}
    for key, name, outline in parts:
        regions[key] = _region(key, name, _inside(outline) & free)
        free &= ~regions[key].mask
    regions["rest"] = _region("rest", "hair, ears and background", free)
    return tuple(regions[key] for key in _ORDER)


def _both_sides(
    part: str, outline: Iterable[tuple[float, float]]
) -> tuple[tuple[str, str, list[tuple[float, float]]], ...]:
    points = list(outline)
    return (
        (f"left_{part}", f"the {part} on the image's left", [(-x, y) for x, y in points]),
        (f"right_{part}", f"the {part} on the image's right", points),
    )


def _whole(half: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The outline of a region across the axis, from its half."""
    return [*half, *((-x, y) for x, y in reversed(half))]


def _inside(outline: Iterable[tuple[float, float]]) -> NDArray[np.bool_]:
    """The pixels in an outline of the face's own coordinates."""
    rows_and_columns = [(_EYE_LINE + _UNIT * y, _AXIS + _UNIT * x) for x, y in outline]
    mask: NDArray[np.bool_] = polygon2mask(_SHAPE, rows_and_columns)
    return mask


def _region(key: str, name: str, mask: NDArray[np.bool_]) -> Region:
    mask.setflags(write=False)
    side, _, part = key.rpartition("_")
    return Region(key=key, name=name, group=f"{part}s" if side else key, mask=mask)


def _build_groups() -> tuple[Region, ...]:
    keys = dict.fromkeys(region.group for region in FACE_REGIONS)
    groups = []
    for key in keys:
        members = [region for region in FACE_REGIONS if region.group == key]
        name = f"the {key}" if key in _PAIRED else members[0].name
        mask = np.logical_or.reduce([region.mask for region in members])
        mask.setflags(write=False)
        groups.append(Region(key=key, name=name, group=key, mask=mask))
    return tuple(groups)


FACE_REGIONS = _build_regions()
"""Eleven regions without overlap; with the last, "rest", they cover all 112 x 112 pixels."""

REGION_GROUPS = _build_groups()
"""The same, left and right taken together: eight regions."""

_LABELS = np.argmax([region.mask for region in FACE_REGIONS], axis=0)

# A region is named in words where it has at least this share of all evidence, and lies at least this much
# denser in evidence of its side than the picture as a whole: by area alone, a forehead holds 15 %.
_LEAST_SHARE = 0.05
_LEAST_DENSITY = 1.25
_MOST_NAMED = 3  # On each side.


def region_at(x: float, y: float) -> Region:
    """The region that holds a point of the aligned face, such as a click.

    Args:
        x: Pixels from the centre of the leftmost column, in [-0.5, 111.5].
        y: Pixels from the centre of the top row, in [-0.5, 111.5].

    Returns:
        One of `FACE_REGIONS`.

    Raises:
        ValueError: The point lies outside the aligned face.
    """
    if not (abs(x - (ALIGNED_SIZE - 1) / 2) <= ALIGNED_SIZE / 2 >= abs(y - (ALIGNED_SIZE - 1) / 2)):
        raise ValueError(
            f"({x}, {y}) is no point of an aligned face of {ALIGNED_SIZE} x {ALIGNED_SIZE} pixels"
        )
    # A border between two pixels belongs to the one after it, the outer border to the last.
    column, row = (min(math.floor(place + 0.5), ALIGNED_SIZE - 1) for place in (x, y))
    return FACE_REGIONS[int(_LABELS[row, column])]


def region_evidence(
    signed_map: ArrayLike, regions: Sequence[Region] = FACE_REGIONS
) -> tuple[RegionEvidence, ...]:
    """Sums a map over the face's regions.

    Args:
        signed_map: (112, 112), finite; positive speaks for the same person.
        regions: Where to sum: `FACE_REGIONS`, or `REGION_GROUPS` for left and right taken together.

    Returns:
        One answer for each region, in their order.

    Raises:
        ValueError: The map has another shape, or values that are not finite float32 numbers.
    """
    # No larger than float32, so that sums in float64 stay finite.
    with np.errstate(over="ignore"):
        values = np.asarray(signed_map, dtype=np.float32).astype(np.float64)
    if values.shape != _SHAPE or not np.isfinite(values).all():
        raise ValueError(f"a map must be {_SHAPE} finite numbers, not an array of shape {values.shape}")
    whole = float(np.abs(values).sum())

    def evidence_in(region: Region) -> RegionEvidence:
        inside = values[region.mask]
        evidence_for, evidence_against = float(inside.clip(min=0).sum()), float(inside.clip(max=0).sum())
        share = (evidence_for - evidence_against) / whole if whole else 0.0
        return RegionEvidence(
            region=region,
            evidence_for=evidence_for,
            evidence_against=evidence_against,
            share=share,
            net_share=(evidence_for + evidence_against) / whole if whole else 0.0,
            density=share / float(region.mask.mean()),
        )

    return tuple(evidence_in(region) for region in regions)


def whole_percentages(evidence: Sequence[RegionEvidence]) -> tuple[int, ...]:
    """Shares in whole percent that add up to the whole percent of their sum.

    Rounded by largest remainder: rounded one by one, eleven regions may add up to 98 or 102.

    Args:
        evidence: What `region_evidence` returns.

    Returns:
        Whole numbers in the same order: of all regions, they sum to 100, or are all 0 for a map of zeros.
    """
    exact = np.array([100 * one.share for one in evidence])
    whole = np.floor(exact)
    lacking = round(exact.sum() - whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:lacking]] += 1
    return tuple(int(share) for share in whole)


def summary(evidence_probe: Sequence[RegionEvidence], evidence_reference: Sequence[RegionEvidence]) -> str:
    """Says in one or two sentences which regions speak for a match and which against.

    Both photos count alike, whatever the scales of their maps; a map of zeros counts not at all. A region is
    named by its net evidence: what speaks for and against in the same region cancels. Left and right are
    named apart only where one speaks for and the other against.

    Args:
        evidence_probe: The first photo's, over `FACE_REGIONS`.
        evidence_reference: The second photo's, over `FACE_REGIONS`.

    Returns:
        The sentences. Percentages are net shares of all evidence in the two maps.

    Raises:
        ValueError: The evidence is not that of `FACE_REGIONS`.
    """
    told = _told(evidence_probe, evidence_reference)
    if not told:
        return "The maps are zero everywhere: no region speaks for or against a match."
    share = np.mean([[part.share for part in one] for one in told], axis=0)
    net = np.mean([[part.net_share for part in one] for one in told], axis=0)
    sides = _Side("for", (share + net).sum() / 2), _Side("against", (share - net).sum() / 2)
    first, second = sorted(sides, key=lambda side: -side.whole)
    parts = _named_parts(dict(zip(_ORDER, net.tolist(), strict=True)))
    first_named, second_named = (_standing_out(parts, side) for side in (first, second))

    if not first_named and not second_named and second.whole >= _LEAST_SHARE:
        sentence = "No region stands out in speaking for or against a match."
    else:
        clauses = (
            _clause(first, first_named, "a match", explain=True),
            _clause(second, second_named, "it", explain=not first_named),
        )
        words = "; ".join(clauses)
        sentence = f"{words[0].upper()}{words[1:]}."
    outside = float(share[_ORDER.index("rest")])
    if outside > 0.5:
        where = "outside the face, in hair, ears or background"
        return f"{sentence} Most of the evidence, {_percent(outside)}, lies {where}."
    if second.whole >= _LEAST_SHARE:
        lesser = round(100 * second.whole)
        totals = f"{100 - lesser} % of the evidence speaks {first.word}, {lesser} % {second.word}"
        return f"{sentence} In all, {totals}."
    return sentence


def weight_summary(weight_probe: Sequence[RegionEvidence], weight_reference: Sequence[RegionEvidence]) -> str:
    """Says in one or two sentences which regions count much, where the maps are weights and no evidence.

    Both photos count alike. A region is named where it has clearly more of the weight than its size is due.

    Args:
        weight_probe: The first photo's, over `FACE_REGIONS`; nothing in it is negative.
        weight_reference: The second photo's, likewise.

    Returns:
        The sentences. Percentages are shares of all weight in the two maps.

    Raises:
        ValueError: The weight is not that of `FACE_REGIONS`.
    """
    told = _told(weight_probe, weight_reference)
    if not told:
        return "The maps are zero everywhere: no region counts."
    share = np.mean([[part.share for part in one] for one in told], axis=0)
    of_region = dict(zip(_ORDER, share.tolist(), strict=True))
    whole = _Side("for", float(share.sum()))
    named = _standing_out(_named_parts(of_region), whole)
    if named:
        plural = len(named) > 1 or named[0][0].plural
        verbs = "stand out in how much they count" if plural else "stands out in how much it counts"
        names = _listed([region.name for region, _ in named])
        numbers = _listed([_percent(share) for _, share in named])
        sentence = f"{names[0].upper()}{names[1:]} {verbs} ({numbers} of the weight)."
    else:
        sentence = "No region stands out in how much it counts."
    if of_region["rest"] > 0.5:
        where = "outside the face, in hair, ears or background"
        return f"{sentence} Most of the weight, {_percent(of_region['rest'])}, lies {where}."
    return sentence


def _told(*evidences: Sequence[RegionEvidence]) -> list[Sequence[RegionEvidence]]:
    """Of both photos' evidence over all regions, what is not all zeros."""
    for evidence in evidences:
        if tuple(one.region.key for one in evidence) != _ORDER:
            raise ValueError("a summary needs the evidence of all FACE_REGIONS of both photos")
    return [one for one in evidences if any(part.share for part in one)]


@dataclass(frozen=True)
class _Side:
    """Evidence of one sign: "for" or "against", and its share of all evidence."""

    word: str
    whole: float

    @property
    def sign(self) -> int:
        return 1 if self.word == "for" else -1


def _named_parts(net: dict[str, float]) -> list[tuple[Region, float]]:
    """Regions of the face to speak of, each with its net share."""
    parts: list[tuple[Region, float]] = []
    for group in REGION_GROUPS:
        members = [region for region in FACE_REGIONS if region.group == group.key]
        nets = [net[region.key] for region in members]
        if min(nets) <= -_LEAST_SHARE and max(nets) >= _LEAST_SHARE:
            parts.extend(zip(members, nets, strict=True))
        elif group.key != "rest":
            parts.append((group, sum(nets)))
    return parts


def _standing_out(parts: Sequence[tuple[Region, float]], side: _Side) -> list[tuple[Region, float]]:
    """The regions that speak clearly for a side, most first, each with its net share, positive."""

    def expected(region: Region) -> float:
        """The share of a region if the side's evidence lay evenly over the picture."""
        return side.whole * float(region.mask.mean())

    ours = [(region, side.sign * net) for region, net in parts]
    clear = [
        (region, net)
        for region, net in ours
        if net >= _LEAST_SHARE and net >= _LEAST_DENSITY * expected(region)
    ]
    # Chosen by what they have beyond their area's due, lest forehead and cheeks crowd out the nose.
    chosen = sorted(clear, key=lambda one: expected(one[0]) - one[1])[:_MOST_NAMED]
    return sorted(chosen, key=lambda one: -one[1])


def _clause(side: _Side, named: Sequence[tuple[Region, float]], match: str, *, explain: bool) -> str:
    """Which regions speak for a side; `explain` where its numbers are the first, to say what they are."""
    if not named:
        if side.whole >= _LEAST_SHARE:
            return f"no region stands out in speaking {side.word} {match}"
        return f"{'hardly anything' if side.whole else 'nothing'} speaks {side.word} {match}"
    verb = "speak" if len(named) > 1 or named[0][0].plural else "speaks"
    numbers = _listed([_percent(net) for _, net in named])
    if explain:
        numbers += " of the evidence, on balance"
    return f"{_listed([region.name for region, _ in named])} {verb} {side.word} {match} ({numbers})"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _percent(share: float) -> str:
    return f"{round(100 * share)} %"
