"""Which pairs of a store are looked at: filtered, counted, ordered and paged in the store, not in memory.

What filters and orders is fixed SQL; whatever a visitor gives is a bound value of it. What is filtered by at
every move (numbers, outcome, label) is kept as a narrow table, some 50 bytes a pair, with the bars that each
pair falls into: on 1,000,000 pairs one pass over it counts all bars of all histograms in 40 ms, where asking
the Parquet files takes 560.
"""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xfv_demo.errors import XfvError
from xfv_demo.explainers.explanation import MapPair
from xfv_demo.explore.schema import OUTCOMES, evidence_column, pairs_schema, unpack_map
from xfv_demo.explore.store import Store
from xfv_demo.faces.regions import REGION_GROUPS
from xfv_demo.metrics.decision import LARGEST_DISTANCE

MEASURES = ("distance", "confidence", "size", "evidence")
"""What pairs can be filtered by in a range, and counted by: `size` is the smaller face's, in pixels."""

# Half of all confidences lie beyond 99 %, so the bars are no even ones.
_CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0)
_MOST_BARS = 26
# By so much may sums in float32 pass the ends of their range.
_ROUNDING = 1e-5
# The bar of what has no such number.
_NOWHERE = 255

_RIGHT, _WRONG = (
    [OUTCOMES.index(f"{word} {decision}") for decision in ("match", "non-match")]
    for word in ("true", "false")
)
# So many kinds of cautions have a bit of their own, of a 64-bit number; all others share the last.
_MOST_KINDS = 63

# A name for people, and what SQL orders by. The pair's number decides between equals.
ORDERS = {
    "wrong": ("most confident and wrong first", "wrong DESC NULLS LAST, confidence DESC NULLS LAST"),
    "near": ("nearest to the threshold first", "margin NULLS LAST"),
    "pair": ("as in the data set", "pair"),
    "-pair": ("as in the data set, from its end", "pair DESC"),
    **{
        f"{sign}{key}": (f"{words}, {ends[not sign]} first", f"{key} {'DESC' if sign else 'ASC'} NULLS LAST")
        for key, words, ends in (
            ("distance", "distance", ("largest", "smallest")),
            ("confidence", "confidence", ("highest", "lowest")),
            ("size", "smaller face", ("largest", "smallest")),
            ("evidence", "evidence", ("most for", "most against")),
            ("genuine", "label", ("one person", "two people")),
            ("outcome", "outcome", ("failed", "true matches")),
        )
        for sign in ("", "-")
    },
}
"""By what pairs can be ordered: a name for people, and SQL."""

_LISTED = pairs_schema(()).names

# Of maps to take the mean of: each is 3 KB, and those of consecutive pairs lie together.
MOST_MEAN_MAPS = 1000


class Evidence(NamedTuple):
    """A region's net share of a method's evidence: which one pairs are filtered by.

    Attributes:
        method: A key of the manifest's methods.
        region: The key of one of `REGION_GROUPS`.
    """

    method: str
    region: str


@dataclass(frozen=True)
class PairFilter:
    """Which pairs are looked at: those that all of this holds of.

    Attributes:
        outcomes: Some of `OUTCOMES`; all where empty.
        genuine: Whether labelled as one person; both where None.
        person: Part of a person's name, in capitals or not.
        caution: A kind, as from `PairBrowser.caution_kinds`; "any" for some caution, "none" for no caution.
        ranges: By key of `MEASURES`, the least and the most; None where there is no such end.
        evidence: What "evidence" in `ranges` and in orders is of; None where the store has none.
    """

    outcomes: tuple[str, ...] = ()
    genuine: bool | None = None
    person: str = ""
    caution: str = ""
    ranges: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)
    evidence: Evidence | None = None

    def sql(self, known: "_Known", *, aside: Sequence[str] = ()) -> tuple[str, list[Any]]:
        """The condition, and the values of its parameters.

        Args:
            known: What the store's cautions and people are called.
            aside: Of "outcomes" and "genuine", what is not to count.
        """
        conditions: list[str] = ["true"]
        values: list[Any] = []
        if self.outcomes and "outcomes" not in aside:
            conditions.append(f"outcome IN ({', '.join('?' * len(self.outcomes))})")
            values += [OUTCOMES.index(outcome) for outcome in self.outcomes]
        if self.genuine is not None and "genuine" not in aside:
            conditions.append("genuine = ?")
            values.append(self.genuine)
        for measure in MEASURES:
            for sign, end in zip((">=", "<="), self.ranges.get(measure, (None, None)), strict=True):
                if end is not None:
                    conditions.append(f"{measure} {sign} ?")
                    values.append(end)
        if self.caution:
            conditions.append("cautions = 0" if self.caution == "none" else "(cautions & ?) <> 0")
            values += [] if self.caution == "none" else [known.caution_bits(self.caution)]
        if self.person:
            conditions.append("(first_person IN (SELECT unnest(?)) OR second_person IN (SELECT unnest(?)))")
            values += [known.people_called(self.person)] * 2
        return " AND ".join(conditions), values


@dataclass(frozen=True, eq=False)
class Histogram:
    """How many pairs fall into each bar.

    Attributes:
        edges: (n + 1,) ascending; a bar is from one to the next, the last with its upper edge.
        one_person: (n,) pairs labelled as one person.
        two_people: (n,) pairs labelled as two.
        right: (n,) of both, those that were decided rightly.
        confidence: (n,) mean confidence of those that have one; NaN where none has.
    """

    edges: tuple[float, ...]
    one_person: NDArray[np.int64]
    two_people: NDArray[np.int64]
    right: NDArray[np.int64]
    confidence: NDArray[np.float64]

    @property
    def pairs(self) -> NDArray[np.int64]:
        """(n,) all pairs."""
        return self.one_person + self.two_people


@dataclass(frozen=True, eq=False)
class Overview:
    """What a filter leaves.

    Attributes:
        pairs: How many pairs.
        by_outcome: By each of `OUTCOMES`, how many there are, whichever outcomes the filter chooses.
        by_label: Of one person (True) and of two, how many there are, whichever label it chooses.
        histograms: By key of `MEASURES`; without "evidence" where the filter names none.
    """

    pairs: int
    by_outcome: Mapping[str, int]
    by_label: Mapping[bool, int]
    histograms: Mapping[str, Histogram]


class Neighbours(NamedTuple):
    """Where a pair stands among those that a filter leaves, from 0, and the pairs beside it."""

    place: int
    before: int | None
    after: int | None


class PairBrowser:
    """Looks through a store's pairs; safe to be used by several threads.

    Args:
        store: The store, which is not asked before it has to be.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._known = _Known()
        self._everything: dict[Evidence | None, Overview] = {}
        self._lock = threading.Lock()

    def overview(self, chosen: PairFilter) -> Overview:
        """Counts what a filter leaves.

        Args:
            chosen: The filter.
        """
        source, where, values = self._asked(chosen, aside=("outcomes", "genuine"))
        measures = [one for one in MEASURES if one != "evidence" or chosen.evidence]
        bars = ", ".join(f"{measure}_bar" for measure in measures)
        # At most some ten thousand rows, from which all else is added up.
        counted = self.store.query(
            f"SELECT outcome, genuine, {bars}, count(*) AS n, count(confidence) AS known, "
            f"coalesce(sum(confidence), 0.0) AS stated FROM {source} WHERE {where} GROUP BY ALL",
            values,
        )
        columns = {name: counted[name].to_numpy() for name in counted.column_names}
        outcome, genuine, n = columns["outcome"], columns["genuine"].astype(bool), columns["n"]
        of_outcome = np.isin(outcome, [OUTCOMES.index(one) for one in chosen.outcomes or OUTCOMES])
        of_label = np.full(len(n), True) if chosen.genuine is None else genuine == chosen.genuine
        kept = of_outcome & of_label
        right = np.isin(outcome, _RIGHT)

        def histogram(measure: str) -> Histogram:
            edges = self._known.edges[measure if measure != "evidence" else chosen.evidence or measure]
            bar, count = columns[f"{measure}_bar"], len(edges) - 1

            def added(rows: NDArray[np.bool_], weights: NDArray[Any] = n) -> NDArray[np.float64]:
                there = rows & kept & (bar < count)
                return np.bincount(bar[there], weights[there], minlength=count).astype(np.float64)

            every = np.full(len(n), True)
            with np.errstate(invalid="ignore"):
                stated = added(every, columns["stated"]) / added(every, columns["known"])
            one, two, truth = (added(rows).astype(np.int64) for rows in (genuine, ~genuine, right))
            return Histogram(edges, one, two, truth, stated)

        return Overview(
            pairs=int(n[kept].sum()),
            by_outcome={
                one: int(n[of_label & (outcome == index)].sum()) for index, one in enumerate(OUTCOMES)
            },
            by_label={label: int(n[of_outcome & (genuine == label)].sum()) for label in (True, False)},
            histograms={measure: histogram(measure) for measure in measures},
        )

    def everything(self, evidence: Evidence | None) -> Overview:
        """The same of all pairs; counted once.

        Args:
            evidence: As in a filter.
        """
        if evidence not in self._everything:
            self._everything[evidence] = self.overview(PairFilter(evidence=evidence))
        return self._everything[evidence]

    def rows(self, chosen: PairFilter, order: str, start: int, count: int) -> list[dict[str, Any]]:
        """Some of the pairs that a filter leaves, in their order.

        Args:
            chosen: The filter.
            order: A key of `ORDERS`.
            start: The place of the first, from 0.
            count: How many at most.

        Returns:
            Of each pair, the columns of `pairs` but for those of methods, and "evidence", the filter's; None
            where it names none.
        """
        source, where, values = self._asked(chosen)
        evidence = "evidence" if chosen.evidence else "NULL AS evidence"
        page = self.store.query(
            f"SELECT pair, {evidence} FROM {source} WHERE {where} ORDER BY {_order(order)} LIMIT ? OFFSET ?",
            [*values, count, start],
        ).to_pylist()
        # Only for those of the page are keys and names read from the files.
        found = {
            row["pair"]: row
            for row in self.store.find("pairs", "pair", [one["pair"] for one in page], _LISTED).to_pylist()
        }
        return [found[one["pair"]] | one for one in page]

    def neighbours(self, chosen: PairFilter, order: str, pair: int) -> Neighbours | None:
        """Where a pair stands among those that a filter leaves.

        Args:
            chosen: The filter.
            order: A key of `ORDERS`.
            pair: The pair's number.

        Returns:
            None where the filter does not leave it.
        """
        source, where, values = self._asked(chosen)
        window = f"OVER (ORDER BY {_order(order)})"
        found = self.store.query(
            f"SELECT place, before, after FROM (SELECT pair, row_number() {window} - 1 AS place, "
            f"lag(pair) {window} AS before, lead(pair) {window} AS after FROM {source} "
            f"WHERE {where}) WHERE pair = ?",
            [*values, pair],
        ).to_pylist()
        return Neighbours(**found[0]) if found else None

    def pair(self, number: int) -> dict[str, Any] | None:
        """All columns of a pair; None where there is no such pair."""
        found = self.store.find("pairs", "pair", [number]).to_pylist()
        return found[0] if found else None

    def crops(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The aligned faces of images, as PNG; without those that the store does not hold."""
        if not self.store.manifest.crops:
            return {}
        found = self.store.find("faces", "key", keys)
        return {row["key"]: row["crop"] for row in found.to_pylist() if row["crop"]}

    def maps(self, pair: int) -> dict[str, MapPair]:
        """By method, the maps of a pair that the store holds: (28, 28) float32, in the method's own unit."""
        found = self.store.find("maps", "pair", [pair])
        return {
            row["method"]: MapPair(unpack_map(row["probe"]), unpack_map(row["reference"]))
            for row in found.to_pylist()
        }

    def caution_kinds(self) -> tuple[str, ...]:
        """What the cautions of this store's pairs begin with, most frequent first."""
        self._asked(PairFilter())
        return self._known.kinds[:_MOST_KINDS]

    def mean_evidence(self, chosen: PairFilter | None) -> dict[Evidence, float]:
        """The regions' mean net shares over the pairs that a filter leaves; over all where None."""
        columns = self._evidence_columns()
        if not columns:
            return {}
        means = ", ".join(f"avg({_named(column)})" for column in columns.values())
        if chosen is None:
            found = self.store.query(f"SELECT {means} FROM pairs")
        else:
            source, where, values = self._asked(chosen)
            found = self.store.query(
                f"SELECT {means} FROM pairs WHERE pair IN (SELECT pair FROM {source} WHERE {where})", values
            )
        return {
            evidence: value
            for evidence, column in zip(columns, found.columns, strict=True)
            if (value := column[0].as_py()) is not None
        }

    def mean_map(self, chosen: PairFilter, method: str) -> tuple[NDArray[np.float64], int] | None:
        """The mean of a method's maps over the first `MOST_MEAN_MAPS` pairs that a filter leaves.

        Each photo's map counts as shares of what its pair's two maps hold, so that no pair of large numbers
        outweighs the others.

        Args:
            chosen: The filter.
            method: The method's key.

        Returns:
            (28, 28), and of how many pairs; None where the store holds no such maps.
        """
        source, where, values = self._asked(chosen)
        found = self.store.query(
            f"SELECT probe, reference FROM maps WHERE method = ? AND pair IN (SELECT pair FROM "
            f"{source} WHERE {where} ORDER BY pair LIMIT {MOST_MEAN_MAPS})",
            [method, *values],
        )
        maps = np.array([[unpack_map(one) for one in row.values()] for row in found.to_pylist()], np.float64)
        if not len(maps):
            return None
        whole = np.abs(maps).sum(axis=(1, 2, 3), keepdims=True)
        return (maps / np.where(whole, whole, 1)).mean(axis=(0, 1)), len(maps)

    # What is kept in memory ---------------------------------------------------------------------------------

    def _asked(self, chosen: PairFilter, *, aside: Sequence[str] = ()) -> tuple[str, str, list[Any]]:
        """What to ask for a filter: the narrow table and what lies beside it, the condition, its values."""
        with self._lock:
            if not self._known.edges:
                self._keep_narrow()
            source = "narrow"
            if chosen.evidence is not None:
                source += f" POSITIONAL JOIN {self._keep_evidence(chosen.evidence)}"
            if chosen.person:
                self._keep_people()
                source += " POSITIONAL JOIN people"
        return (source, *chosen.sql(self._known, aside=aside))

    def _keep_narrow(self) -> None:
        sizes = ("first_size", "second_size")
        numbers = ("pair", "genuine", "distance", "confidence")
        rows = self._columns(*numbers, *sizes, "distance_threshold", "outcome", "cautions")
        # A store may come from anybody: what it claims is not to be shown where it cannot be.
        if not (np.diff(rows["pair"].to_numpy()) > 0).all():
            raise XfvError("this store is broken: it holds a pair twice; build it again")
        for name, low, high in (
            ("distance", 0.0, LARGEST_DISTANCE),
            ("confidence", 0.0, 1.0),
            *((size, 0.0, np.inf) for size in sizes),
        ):
            _check_range(rows, name, low, high)
        smaller = pc.min_element_wise(*(rows[size] for size in sizes))
        outcome = pc.index_in(rows["outcome"].cast(pa.string()), pa.array(OUTCOMES))
        edges = {
            "distance": even_edges(*self._extent("distance")),
            "confidence": _CONFIDENCES,
            # Of the smaller faces the largest may be smaller than that.
            "size": even_edges(*self._extent(*sizes)),
        }
        values = {"distance": rows["distance"], "confidence": rows["confidence"], "size": smaller}
        self._known.kinds, cautions = _kinds(rows["cautions"])
        narrow = {
            **{name: rows[name] for name in numbers},
            "size": smaller,
            "margin": pc.abs(pc.subtract(rows["distance"], rows["distance_threshold"])),
            "outcome": outcome.cast(pa.uint8()),
            "wrong": pc.is_in(outcome, pa.array(_WRONG, pa.int32())),
            "cautions": cautions,
            **{f"{measure}_bar": _bars(values[measure], edges[measure]) for measure in edges},
        }
        self.store.keep("narrow", pa.table(narrow))
        self._known.edges.update(edges)

    def _keep_evidence(self, evidence: Evidence) -> str:
        """Keeps a region's evidence beside the narrow table; its table's name."""
        columns = self._evidence_columns()
        if evidence not in columns:
            raise XfvError(f"this store has no evidence of {evidence.method} in {evidence.region}")
        table = f"evidence_{list(columns).index(evidence)}"
        if evidence not in self._known.edges:
            column = columns[evidence]
            edges = even_edges(*self._extent(column))
            rows = self._columns("pair", column)
            _check_range(rows, column, -1.0, 1.0)
            values = rows[column]
            self.store.keep(table, pa.table({"evidence": values, "evidence_bar": _bars(values, edges)}))
            self._known.edges[evidence] = edges
        return table

    def _keep_people(self) -> None:
        """Keeps whom pairs show beside the narrow table: by numbers, as names are long."""
        if self._known.people is None:
            sides = ("first_person", "second_person")
            rows = self._columns("pair", *sides)
            names = pc.unique(pa.chunked_array([*rows[sides[0]].chunks, *rows[sides[1]].chunks], pa.string()))
            self.store.keep("people", pa.table({side: pc.index_in(rows[side], names) for side in sides}))
            self._known.people = pc.utf8_lower(names)

    def _columns(self, *names: str) -> pa.Table:
        """Columns of pairs in the order of the pairs' numbers, so that what is kept lies side by side."""
        rows = self.store.columns("pairs", names)
        numbers = rows["pair"].to_numpy()
        return rows if (np.diff(numbers) > 0).all() else rows.take(np.argsort(numbers, kind="stable"))

    def _extent(self, *columns: str) -> tuple[float, float]:
        found = [one for column in columns if (one := self.store.extent("pairs", column))]
        return min((one[0] for one in found), default=0.0), max((one[1] for one in found), default=0.0)

    def _evidence_columns(self) -> dict[Evidence, str]:
        return {
            Evidence(method.key, region.key): evidence_column(method.key, region.key)
            for method in self.store.manifest.methods
            for region in REGION_GROUPS
        }


@dataclass
class _Known:
    """What is known of a store's pairs once they were read: bars, kinds of cautions, people."""

    edges: dict[str | Evidence, tuple[float, ...]] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    people: Any = None

    def caution_bits(self, kind: str) -> int:
        """The bits of a kind of caution; of none where there is no such kind."""
        if kind == "any":
            return (1 << (_MOST_KINDS + 1)) - 1
        kinds: tuple[str, ...] = self.kinds[:_MOST_KINDS]
        return 1 << kinds.index(kind) if kind in kinds else 0

    def people_called(self, part: str) -> list[int]:
        """The numbers of the people whose name has this part."""
        (found,) = np.nonzero(pc.match_substring(self.people, part.lower()).fill_null(False).to_numpy(False))
        return [int(one) for one in found]


def _kinds(cautions: Any) -> tuple[tuple[str, ...], NDArray[np.uint64]]:
    """What cautions begin with, most frequent first; and of each pair the bits of its kinds.

    What a face measures stands in brackets.
    """
    cautions = cautions.combine_chunks()
    told = pc.replace_substring_regex(pc.list_flatten(cautions), r" \(.*", "").dictionary_encode()
    code = told.indices.to_numpy()
    order = np.argsort(-np.bincount(code), kind="stable")
    place = np.minimum(np.argsort(order), _MOST_KINDS).astype(np.uint64)
    bits = np.zeros(len(cautions), np.uint64)
    np.bitwise_or.at(bits, pc.list_parent_indices(cautions).to_numpy(), np.uint64(1) << place[code])
    return tuple(told.dictionary[int(kind)].as_py() for kind in order), bits


def even_edges(low: float, high: float) -> tuple[float, ...]:
    """Edges of bars of one width, on round numbers.

    Args:
        low: The least number that is to have a bar.
        high: The largest.

    Returns:
        At least two, ascending.
    """
    span = max(high - low, 1e-6)
    power = 10.0 ** math.floor(math.log10(span / _MOST_BARS))
    step = next(power * one for one in (1, 2, 2.5, 5, 10, 20) if span / (power * one) <= _MOST_BARS - 2)
    first, last = math.floor(low / step), math.ceil(high / step)
    digits = max(0, 2 - math.floor(math.log10(step)))
    return tuple(round(place * step, digits) for place in range(first, max(last, first + 1) + 1))


def _check_range(rows: pa.Table, column: str, low: float, high: float) -> None:
    """Refuses numbers that a column cannot hold; nulls may be.

    Raises:
        XfvError: It has one that is not finite, or lies outside.
    """
    values = rows[column].drop_null().to_numpy()
    if not (np.isfinite(values) & (values >= low - _ROUNDING) & (values <= high + _ROUNDING)).all():
        raise XfvError(
            f"this store is broken: its column {column} holds what is not from {low:g} to {high:g}; build it "
            "again"
        )


def _bars(values: Any, edges: Sequence[float]) -> NDArray[np.uint8]:
    """In which bar each number falls: how many inner edges it reaches."""
    numbers = pc.fill_null(values, math.nan).to_numpy()
    bars = np.searchsorted(np.array(edges[1:-1], numbers.dtype), numbers, side="right").astype(np.uint8)
    return np.where(np.isnan(numbers), np.uint8(_NOWHERE), bars)


def _order(order: str) -> str:
    if order not in ORDERS:
        raise XfvError(f'pairs cannot be ordered by "{order}"')
    return ", ".join(dict.fromkeys((ORDERS[order][1], "pair")))


def _named(column: str) -> str:
    """A column's name as SQL writes it, whatever it holds."""
    return '"' + column.replace('"', '""') + '"'
