"""What an address says of the explorer: which store, which pairs, in what order, and which of them is open.

It is what the page asks the server with, and what is shared; so whoever has a link sees the same. All of it
comes from clients: what is not known here is an error of one line, and nothing of it becomes a path or SQL.
"""

import math
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode

from xfv_demo.errors import XfvError, printable
from xfv_demo.explore.browse import MEASURES, ORDERS, Evidence, PairFilter
from xfv_demo.explore.schema import OUTCOMES, Manifest
from xfv_demo.faces.regions import REGION_GROUPS

STORE = "explore"
"""The parameter that names the store; an address without it is not of the explorer."""

LABELS = {"one": True, "two": False}
"""What the label's parameter says: one person, or two."""

# On the page and in addresses, shares are percentages.
IN_PERCENT = ("confidence", "evidence")

_LONGEST = 2000
_LONGEST_WORD = 200
# A pair's number is a 64-bit integer.
_MOST = 2**63 - 1


@dataclass(frozen=True)
class Asked:
    """What is to be shown of a store.

    Attributes:
        filter: Which pairs.
        order: A key of `ORDERS`.
        page: Of the list, from 1.
        pair: The number of the pair that is open; None for the list.
        shared: Whether to show what the pairs have in common.
    """

    filter: PairFilter = field(default_factory=PairFilter)
    order: str = "wrong"
    page: int = 1
    pair: int | None = None
    shared: bool = False


def store_of(query: str) -> str | None:
    """The key of the store that an address names; None where it names none.

    Args:
        query: What stands behind the question mark.

    Raises:
        XfvError: It is no such text.
    """
    return _one(_parsed(query), STORE)


def read_link(query: str, manifest: Manifest) -> Asked:
    """What an address asks for.

    Args:
        query: What stands behind the question mark. Parameters that are not known are those of others.
        manifest: The store's, which says which methods there are.

    Raises:
        XfvError: A parameter says what there is not; says which.
    """
    given = _parsed(query)
    label = _choice(given, "label", tuple(LABELS))
    outcomes = given.get("outcome", [])
    for outcome in outcomes:
        _check("outcome", outcome, OUTCOMES)
    methods = [method.key for method in manifest.methods]
    evidence = None
    if methods:
        regions = tuple(region.key for region in REGION_GROUPS)
        evidence = Evidence(
            _choice(given, "method", methods) or methods[0], _choice(given, "region", regions) or "eyes"
        )
    ranges = {measure: _range(given, measure) for measure in MEASURES if measure != "evidence" or evidence}
    order = _choice(given, "sort", tuple(ORDERS)) or "wrong"
    if order.removeprefix("-") == "evidence" and evidence is None:
        raise XfvError("this store has no evidence to sort by; choose another order")
    pair = _one(given, "pair")
    return Asked(
        PairFilter(
            outcomes=tuple(one for one in OUTCOMES if one in outcomes),
            genuine=LABELS[label] if label else None,
            person=_one(given, "person") or "",
            caution=_one(given, "caution") or "",
            ranges={measure: ends for measure, ends in ranges.items() if ends != (None, None)},
            evidence=evidence,
        ),
        order=order,
        page=max(1, _whole("page", _one(given, "page") or "1")),
        pair=None if pair is None else _whole("pair", pair),
        shared=_one(given, "shared") is not None,
    )


def link(query: str, **changes: Any) -> str:
    """The same address with some parameters changed.

    Args:
        query: What stands behind the question mark.
        **changes: By parameter its new value; None takes it away.
    """
    given = {name: values for name, values in _parsed(query).items() if name not in changes}
    return urlencode({**given, **{name: one for name, one in changes.items() if one is not None}}, doseq=True)


def _parsed(query: str) -> dict[str, list[str]]:
    if len(query) > _LONGEST:
        raise XfvError("this link is too long; filter anew")
    try:
        return parse_qs(query.removeprefix("?"), max_num_fields=60)
    except ValueError:
        raise XfvError("this link says too much; filter anew") from None


def _one(given: dict[str, list[str]], name: str) -> str | None:
    values = given.get(name)
    if values is None:
        return None
    if len(values[-1]) > _LONGEST_WORD or not values[-1].isprintable():
        raise XfvError(f"the {name} in this link is no such text; filter anew")
    return values[-1]


def _choice(given: dict[str, list[str]], name: str, choices: Any) -> str | None:
    value = _one(given, name)
    if value is not None:
        _check(name, value, choices)
    return value


def _check(name: str, value: str, choices: Any) -> None:
    if value not in choices:
        raise XfvError(f'there is no {name} "{printable(value)}" here; take one of: {", ".join(choices)}')


def _range(given: dict[str, list[str]], measure: str) -> tuple[float | None, float | None]:
    low, high = (_number(given, f"{measure}_{end}", measure) for end in ("from", "to"))
    return low, high


def _number(given: dict[str, list[str]], name: str, measure: str) -> float | None:
    value = _one(given, name)
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise XfvError(f'{name} must be a number, not "{printable(value)}"')
    return round(number / 100, 9) if measure in IN_PERCENT else number


def _whole(name: str, value: str) -> int:
    if not (value.isascii() and value.isdecimal() and int(value[:20]) <= _MOST and len(value) < 20):
        raise XfvError(f'{name} must be a whole number, not "{printable(value)}"')
    return int(value)
