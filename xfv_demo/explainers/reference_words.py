"""How usual a pair's evidence is, in words (pure)."""

import math
from collections.abc import Mapping, Sequence

from xfv_demo.explainers.reference import WHOLE, Rank
from xfv_demo.faces.regions import REGION_GROUPS, Region

# A region is out of the common where no more than this share of pairs has less, or more.
UNUSUAL = 0.05
_MOST_NAMED = 3


def usual_summary(ranks: Mapping[str, Rank]) -> str:
    """Says how a pair's evidence stands among that of labelled pairs.

    Args:
        ranks: As from `ViewReference.ranks`.

    Returns:
        The sentences: of both faces as a whole; of regions that agree more than strangers' do; of those that
        agree less than one person's do.

    Example:
        >>> from xfv_demo.explainers.reference import Rank
        >>> from xfv_demo.explainers.reference_words import usual_summary
        >>> ranks = {"whole": Rank(0.002, 0.6, 0.995), "mouth": Rank(-0.004, 0.02, 0.3)}
        >>> usual_summary(ranks).split(". ")[-1]
        'The mouth agrees less than in 98 % of pairs of one person.'
    """
    whole = ranks[WHOLE]
    regions = [(region, ranks[region.key]) for region in REGION_GROUPS if region.key in ranks]
    more = [one for one in regions if 1 - one[1].above_impostor <= UNUSUAL]
    less = [one for one in regions if one[1].above_genuine <= UNUSUAL]
    more.sort(key=lambda one: -one[1].above_impostor)
    less.sort(key=lambda one: one[1].above_genuine)
    sentences = [
        f"In all, the two faces agree {_both(whole)}.",
        _named(more, "more", [one.above_impostor for _, one in more], "strangers", "between strangers"),
        _named(
            less,
            "less",
            [1 - one.above_genuine for _, one in less],
            "one person",
            "between one person's photos",
        ),
    ]
    return " ".join(sentences)


def rank_in_words(region: Region, rank: Rank) -> str:
    """One region's place, such as "the eyes agree more than in 97 % of pairs of strangers, and ..."."""
    verb = "agree" if region.plural else "agrees"
    return f"{region.name} {verb} {_both(rank)}"


def _both(rank: Rank) -> str:
    """Where a strength stands among both kinds of pairs."""
    strangers, one_person = _among(rank.above_impostor), _among(rank.above_genuine)
    # "more than in 99 % ..., and in 60 %": the word once where it is the same.
    if strangers.split()[0] == one_person.split()[0]:
        one_person = one_person.partition(" than ")[2]
    return f"{strangers} of pairs of strangers, and {one_person} of those of one person"


def _among(share_weaker: float) -> str:
    """Such as "more than in 97 %": by the larger part, never 100."""
    word, share = ("more", share_weaker) if share_weaker >= 0.5 else ("less", 1 - share_weaker)
    return f"{word} than in {_percent(share)}"


def _percent(share: float) -> str:
    # Rounded down, as of a few hundred pairs; what floats add up to is taken for what it is near.
    return f"{min(99, math.floor(round(100 * share, 6)))} %"


def _named(
    regions: Sequence[tuple[Region, Rank]], word: str, shares: Sequence[float], kind: str, usual: str
) -> str:
    """Which regions are out of the common, and by how much."""
    if not regions:
        return f"No region agrees {word} than is usual {usual}."
    names = [f"{region.name} ({_percent(share)})" for (region, _), share in zip(regions, shares, strict=True)]
    shown = names[:_MOST_NAMED]
    if more := len(names) - len(shown):
        shown.append(f"{more} more")
    verb = "agree" if len(names) > 1 or regions[0][0].plural else "agrees"
    if len(names) == 1:
        sentence = f"{regions[0][0].name} {verb} {word} than in {_percent(shares[0])} of pairs of {kind}."
    else:
        listed = f"{', '.join(shown[:-1])} and {shown[-1]}"
        sentence = f"{listed} {verb} {word} than in that share of pairs of {kind}."
    return f"{sentence[0].upper()}{sentence[1:]}"
