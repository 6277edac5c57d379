"""Where in the face a map's evidence lies, in words (pure)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xfv_demo.faces.regions import (
    FACE_REGIONS,
    REGION_GROUPS,
    RegionEvidence,
    pair_evidence,
    signed_percent,
    whole_percent,
)

# In whole percent. A region is named in words where at least this share of all evidence lies in it,
_LEAST_SHARE = 10
# and it speaks for a side where on balance at least this is left; of less, it speaks both ways.
_LEAST_NET = 5
# A region has much for its size where its evidence lies at least this much denser than that of the one that
# is named first; and none stands out where none's lies so much denser than on average.
_MUCH_DENSER = 2.0
_OUTSTANDING = 1.25


def summary(evidence_probe: Sequence[RegionEvidence], evidence_reference: Sequence[RegionEvidence]) -> str:
    """Says in a few sentences which regions speak for a match and which against.

    The numbers are those of `pair_evidence`, over `REGION_GROUPS`, as `whole_percent` rounds them. Regions
    are ranked by what they say on balance: what speaks for and against in the same region cancels. Of each
    side, the first is named, and every region is in which a tenth of all evidence lies; where that nearly
    cancels, the region speaks both ways.

    Args:
        evidence_probe: The first photo's, over `FACE_REGIONS`.
        evidence_reference: The second photo's, over `FACE_REGIONS`.

    Returns:
        The sentences.

    Raises:
        ValueError: The evidence is not that of `FACE_REGIONS`.
    """
    parts, groups = _of_pair(evidence_probe, evidence_reference)
    if not any(one.share for one in groups):
        return "The maps are zero everywhere: no region speaks for or against a match."
    named = _named(groups)
    sides = (
        _Side("for", named.favour, sum(one.evidence_for for one in groups)),
        _Side("against", named.against, -sum(one.evidence_against for one in groups)),
    )
    first, second = sorted(sides, key=lambda side: -side.whole)
    if first.named or second.named:
        clauses = [_clause(first, "a match"), _clause(second, "it")]
    else:
        clauses = ["no region speaks for or against a match"]
    if named.both_ways:
        verb = "speak" if len(named.both_ways) > 1 or named.both_ways[0].region.plural else "speaks"
        clauses.append(f"{_listed([_both_ways(one, parts) for one in named.both_ways])} {verb} both ways")
    # What the percentages are of is said at the first.
    balance = f"on balance, {'; '.join(clauses)}".replace(" %)", " % of the evidence)", 1)
    sentences = [balance, *_for_its_size(first.named, groups, "speak")]
    if whole_percent(groups[-1].share) > 50:
        sentences.append("most of the evidence lies outside the face")
    if whole_percent(second.whole) >= _LEAST_NET:
        lesser = whole_percent(second.whole)
        sentences.append(
            f"in all, {100 - lesser} % of the evidence speaks {first.word}, {lesser} % {second.word}"
        )
    return _written(sentences)


def weight_summary(weight_probe: Sequence[RegionEvidence], weight_reference: Sequence[RegionEvidence]) -> str:
    """Says in a few sentences which regions count much, where the maps are weights and no evidence.

    Args:
        weight_probe: The first photo's, over `FACE_REGIONS`; nothing in it is negative.
        weight_reference: The second photo's, likewise.

    Returns:
        The sentences, on the regions and with the numbers that `summary` would take.

    Raises:
        ValueError: The weight is not that of `FACE_REGIONS`.
    """
    _, groups = _of_pair(weight_probe, weight_reference)
    if not any(one.share for one in groups):
        return "The maps are zero everywhere: no region counts."
    first, *others = _named(groups).favour
    verb = "count" if first.region.plural else "counts"
    sentence = f"{first.region.name} {verb} most ({whole_percent(first.share)} % of the weight)"
    if others:
        sentence += f", then {_listed([_numbered(one) for one in others])}"
    sentences = [sentence, *_for_its_size([first, *others], groups, "count")]
    if whole_percent(groups[-1].share) > 50:
        sentences.append("most of the weight lies outside the face")
    return _written(sentences)


def _of_pair(
    *evidences: Sequence[RegionEvidence],
) -> tuple[dict[str, RegionEvidence], tuple[RegionEvidence, ...]]:
    """Both photos' evidence taken together: of all regions by their keys, and of the groups."""
    for evidence in evidences:
        if [one.region.key for one in evidence] != [region.key for region in FACE_REGIONS]:
            raise ValueError("a summary needs the evidence of all FACE_REGIONS of both photos")
    parts = {one.region.key: one for one in pair_evidence(*evidences)}
    groups = []
    for group in REGION_GROUPS:
        members = [one for one in parts.values() if one.region.group == group.key]
        share = sum(one.share for one in members)
        groups.append(
            RegionEvidence(
                region=group,
                evidence_for=sum(one.evidence_for for one in members),
                evidence_against=sum(one.evidence_against for one in members),
                share=share,
                net_share=sum(one.net_share for one in members),
                density=share / float(group.mask.mean()),
            )
        )
    return parts, tuple(groups)


@dataclass(frozen=True)
class _Named:
    """The regions to speak of: of either side, most first; and those that say nearly as much on both."""

    favour: list[RegionEvidence]
    against: list[RegionEvidence]
    both_ways: list[RegionEvidence]


def _named(groups: Sequence[RegionEvidence]) -> _Named:
    """Decides what is named, by the numbers that are shown."""
    large = [one for one in groups if whole_percent(one.share) >= _LEAST_SHARE]

    def on_side(sign: int) -> list[RegionEvidence]:
        ours = [one for one in groups if sign * whole_percent(one.net_share) > 0]
        ours.sort(key=lambda one: -sign * one.net_share)
        clear = [one for one in ours[1:] if one in large and abs(whole_percent(one.net_share)) >= _LEAST_NET]
        return ours[:1] + clear

    favour, against = on_side(1), on_side(-1)
    both_ways = [one for one in large if one not in favour + against]
    return _Named(favour, against, sorted(both_ways, key=lambda one: -abs(one.net_share)))


@dataclass(frozen=True)
class _Side:
    """Evidence of one sign: "for" or "against", the regions named, and its share of all evidence."""

    word: str
    named: list[RegionEvidence]
    whole: float


def _clause(side: _Side, match: str) -> str:
    """Which regions speak for a side."""
    if not side.named:
        amount = "no region" if whole_percent(side.whole) >= _LEAST_NET else "hardly anything"
        return f"{amount if side.whole else 'nothing'} speaks {side.word} {match}"
    verb = "speak" if len(side.named) > 1 or side.named[0].region.plural else "speaks"
    if abs(whole_percent(side.named[0].net_share)) < _LEAST_NET:
        verb += " slightly"
    return f"{_listed([_numbered(one) for one in side.named])} {verb} {side.word} {match}"


def _both_ways(one: RegionEvidence, parts: dict[str, RegionEvidence]) -> str:
    """A region that speaks both ways, and left and right apart where they contradict each other."""
    told = signed_percent(one.net_share)
    sides = [part.net_share for part in parts.values() if part.region.group == one.region.key]
    if min(map(whole_percent, sides)) <= -_LEAST_NET and max(map(whole_percent, sides)) >= _LEAST_NET:
        left, right = map(signed_percent, sides)
        told += f": {left} on the image's left, {right} on its right"
    return f"{one.region.name} ({told})"


def _for_its_size(named: Sequence[RegionEvidence], groups: Sequence[RegionEvidence], verb: str) -> list[str]:
    """Which region has most for its size, on the side of those named, or that none has much more than others.

    Empty where it is the first that is named, or not much denser, or too little to be told.
    """
    if not named:
        return []

    def density(one: RegionEvidence) -> float:
        return abs(one.net_share) / float(one.region.mask.mean())

    ours = [one for one in groups if one.net_share * named[0].net_share > 0]
    densest = max(ours, key=density)
    if density(densest) < _OUTSTANDING * sum(abs(one.net_share) for one in ours):
        return ["for its size, no region stands out"]
    if (
        density(densest) < _MUCH_DENSER * density(named[0])
        or abs(whole_percent(densest.net_share)) < _LEAST_NET
    ):
        return []
    their, ending = ("their", "") if densest.region.plural else ("its", "s")
    return [f"for {their} size, {_numbered(densest)} {verb}{ending} most"]


def _numbered(one: RegionEvidence) -> str:
    return f"{one.region.name} ({abs(whole_percent(one.net_share))} %)"


def _written(sentences: Iterable[str]) -> str:
    return " ".join(f"{words[0].upper()}{words[1:]}." for words in sentences)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
