"""What a likelihood ratio says of two faces: in words, and under a prior (pure).

The likelihood ratio of a distance is how likely it is where both photos show one person, divided by how
likely it is where they show two. It is the evidence of the photos alone; how likely one person was before
they were compared, the prior, is not theirs to tell. Posterior odds are prior odds times likelihood ratio.
"""

import math
import re
from dataclasses import dataclass
from typing import Self

from xfv_demo.errors import XfvError

# Up to twelve digits before and after the point: no infinity, no exponent, nothing that overflows.
_ODDS = re.compile(r"\s*(\d{1,12}(?:\.\d{1,12})?)\s*:\s*(\d{1,12}(?:\.\d{1,12})?)\s*", re.ASCII)

# ENFSI guideline for evaluative reporting in forensic science (Willis et al. 2015), its example of a verbal
# scale, as the AFSP's (Science and Justice 49, 2009), by the logarithm of the likelihood ratio: 1 to 2 says
# nothing, 2 to 10 is weak support, and so on. What lies on a limit counts for the weaker word.
_SUPPORT = (
    (6.0, "extremely strongly"),
    (4.0, "very strongly"),
    (3.0, "strongly"),
    (2.0, "moderately strongly"),
    (1.0, "moderately"),
    (math.log10(2), "weakly"),
)

_LARGEST_SHOWN = 0.999
_SMALLEST_SHOWN = 1e-6


@dataclass(frozen=True)
class Prior:
    """How likely one person was before the photos were compared, as odds.

    Attributes:
        same: Of so many cases with one person ...
        different: ... to so many with two.

    Example:
        >>> from xfv_demo.findings import Prior
        >>> round(Prior.parse("1:1000").posterior(2.0), 3)
        0.091
    """

    same: float
    different: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads odds, such as "1:1000".

        Raises:
            XfvError: These are no odds of two numbers above 0.
        """
        found = _ODDS.fullmatch(text)
        numbers = [float(number) for number in found.groups()] if found else [0.0]
        if not all(numbers):
            raise XfvError(
                f"the prior {text!r} is no odds; give two numbers above 0, one person to two, such as 1:1000"
            )
        return cls(*numbers)

    def __str__(self) -> str:
        """As `parse` reads it."""
        return f"{_plain(self.same)}:{_plain(self.different)}"

    def posterior(self, log10_likelihood_ratio: float) -> float:
        """P(one person), with the evidence of the photos: in (0, 1)."""
        exponent = log10_likelihood_ratio + math.log10(self.same) - math.log10(self.different)
        return 1 / (1 + 10**-exponent)


def support_in_words(log10_likelihood_ratio: float) -> str:
    """Which of both propositions the findings support, and how strongly.

    Args:
        log10_likelihood_ratio: Above 0 it speaks for one person.

    Returns:
        Such as "the findings support moderately that the photos show one person rather than two"; by the
        number as it is shown, with two digits after the point.
    """
    strength = round(abs(log10_likelihood_ratio), 2)
    word = next((word for limit, word in _SUPPORT if strength > limit), None)
    if word is None:
        return "the findings support neither one person nor two over the other"
    supported, other = ("one person", "two") if log10_likelihood_ratio > 0 else ("two people", "one")
    return f"the findings support {word} that the photos show {supported} rather than {other}"


def ratio_in_words(log10_likelihood_ratio: float) -> str:
    """The likelihood ratio as a number above 1, such as "160 times as likely of one person as of two"."""
    number = float(f"{10 ** abs(log10_likelihood_ratio):.2g}")
    likelier, other = ("one person", "two") if log10_likelihood_ratio >= 0 else ("two people", "one")
    return f"{number:,.{1 if number < 10 else 0}f} times as likely of {likelier} as of {other}"


def chance_in_words(probability: float) -> str:
    """A probability for people to read: never 0 or 100 %, and small ones as "1 in 4,200"."""
    if probability >= _LARGEST_SHOWN:
        return f"over {100 * _LARGEST_SHOWN:.1f} %"
    if probability >= 0.01:
        return f"{100 * probability:.1f} %"
    under = "under " if probability < _SMALLEST_SHOWN else ""
    return f"{under}1 in {float(f'{1 / max(probability, _SMALLEST_SHOWN):.2g}'):,.0f}"


def _plain(number: float) -> str:
    """Without exponent and trailing zeros."""
    return f"{number:.12f}".rstrip("0").rstrip(".")
