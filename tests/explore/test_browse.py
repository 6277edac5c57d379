"""What is filtered, counted, ordered and paged, held to the same done in Python."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.explore.made_store import CAUTIONS, METHODS, make_rows, make_store, map_of
from xfv_demo import XfvError
from xfv_demo.explore import open_store
from xfv_demo.explore.browse import (
    MOST_MEAN_MAPS,
    ORDERS,
    Evidence,
    PairBrowser,
    PairFilter,
    even_edges,
)
from xfv_demo.explore.schema import OUTCOMES, evidence_column

ROWS = make_rows()
NOSE = Evidence("xssab", "nose")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    return PairBrowser(open_store(make_store(tmp_path_factory.mktemp("stores") / "made", ROWS)))


def measure(row, name):
    if name == "size":
        return min(row["first_size"], row["second_size"])
    return row[evidence_column(*NOSE)] if name == "evidence" else row[name]


def left(chosen):
    """The pairs that a filter leaves, by Python."""

    def within(row, name, ends):
        value = measure(row, name)
        return all(
            end is None or (value is not None and (value - end) * sign >= 0)
            for end, sign in zip(ends, (1, -1), strict=True)
        )

    kinds = {"any": lambda told: bool(told), "none": lambda told: not told}
    caution = kinds.get(
        chosen.caution, lambda told: any(one.split(" (")[0] == chosen.caution for one in told)
    )
    return [
        row
        for row in ROWS
        if (not chosen.outcomes or row["outcome"] in chosen.outcomes)
        and (chosen.genuine is None or row["genuine"] == chosen.genuine)
        and chosen.person.lower() in f"{row['first_person']}\n{row['second_person']}".lower()
        and (not chosen.caution or caution(row["cautions"]))
        and all(within(row, name, ends) for name, ends in chosen.ranges.items())
    ]


ends = st.tuples(*[st.none() | st.floats(-0.2, 1.4)] * 2)
filters = st.builds(
    PairFilter,
    outcomes=st.lists(st.sampled_from(OUTCOMES), unique=True).map(tuple),
    genuine=st.sampled_from([None, True, False]),
    person=st.sampled_from(["", "person 0", "07", "PERSON 1", "nobody"]),
    caution=st.sampled_from(["", "any", "none", "blurred", "small", "grainy"]),
    ranges=st.dictionaries(st.sampled_from(["distance", "confidence", "evidence"]), ends)
    | st.fixed_dictionaries({"size": st.tuples(st.none() | st.floats(5, 60), st.none() | st.floats(5, 60))}),
    evidence=st.just(NOSE),
)


@given(chosen=filters)
def test_what_is_counted_is_what_python_counts(browser, chosen):
    shown, rows = browser.overview(chosen), left(chosen)
    assert shown.pairs == len(rows)
    for name, histogram in shown.histograms.items():
        there = [row for row in rows if measure(row, name) is not None]
        assert histogram.pairs.sum() == len(there)
        assert histogram.one_person.sum() == sum(row["genuine"] for row in there)
        assert histogram.right.sum() == sum(row["outcome"].startswith("true") for row in there)
    elsewhere = PairFilter(**{**vars(chosen), "outcomes": ()})
    assert shown.by_outcome == {
        one: sum(row["outcome"] == one for row in left(elsewhere)) for one in OUTCOMES
    }
    elsewhere = PairFilter(**{**vars(chosen), "genuine": None})
    assert shown.by_label == {
        one: sum(row["genuine"] is one for row in left(elsewhere)) for one in (True, False)
    }


@given(chosen=filters, order=st.sampled_from(sorted(ORDERS)), start=st.integers(0, 40))
def test_pages_follow_one_another_and_neighbours_are_those_of_the_list(browser, chosen, order, start):
    listed = [row["pair"] for row in browser.rows(chosen, order, 0, len(ROWS))]
    assert sorted(listed) == [row["pair"] for row in left(chosen)]
    page = browser.rows(chosen, order, start, 7)
    assert [row["pair"] for row in page] == listed[start : start + 7]
    for row in page:
        expected = ROWS[row["pair"]]
        assert {name: row[name] for name in expected if not name.startswith("evidence_")} == {
            name: value for name, value in expected.items() if not name.startswith("evidence_")
        }
        assert row["evidence"] == expected[evidence_column(*NOSE)]
    for place, pair in enumerate(listed[:3]):
        found = browser.neighbours(chosen, order, pair)
        assert (found.place, found.before) == (place, listed[place - 1] if place else None)
        assert found.after == (listed[place + 1] if place + 1 < len(listed) else None)
    absent = set(range(len(ROWS))) - set(listed)
    assert all(browser.neighbours(chosen, order, pair) is None for pair in list(absent)[:1])


def test_most_confident_and_wrong_come_first(browser):
    rows = browser.rows(PairFilter(), "wrong", 0, len(ROWS))
    wrong = [row["outcome"].startswith("false") for row in rows if row["outcome"] != "failed"]
    assert wrong == sorted(wrong, reverse=True)
    stated = [row["confidence"] for row in rows[: sum(wrong)] if row["confidence"] is not None]
    assert stated == sorted(stated, reverse=True)
    assert rows[-1]["outcome"] == "failed"


def test_bars_hold_what_lies_between_their_edges(browser):
    histograms = browser.everything(NOSE).histograms
    for name, histogram in histograms.items():
        values = [measure(row, name) for row in ROWS if measure(row, name) is not None]
        expected, _ = np.histogram(values, histogram.edges)
        np.testing.assert_array_equal(histogram.pairs, expected)
    stated = [row["confidence"] for row in ROWS if 0.6 <= (row["confidence"] or 0) < 0.7]
    assert histograms["confidence"].confidence[1] == pytest.approx(np.mean(stated))


@given(text=st.text(min_size=1, max_size=60))
def test_nothing_of_a_text_comes_into_sql(browser, text):
    browser.overview(PairFilter(person="x", caution="blurred"))
    filtered, known = PairFilter(person=text, caution=text), browser._known
    sql, values = filtered.sql(known)
    # Whatever the text, the same question, and nothing of it in the values but numbers.
    assert sql in {PairFilter(person="x", caution=caution).sql(known)[0] for caution in ("blurred", "none")}
    assert all(
        isinstance(one, int) for value in values for one in (value if isinstance(value, list) else [value])
    )
    assert browser.overview(filtered).pairs == len(left(filtered))


@pytest.mark.parametrize("order", ["", "pair; DROP TABLE narrow", "distance DESC", "-wrong", "first"])
def test_orders_that_are_none_are_refused(browser, order):
    with pytest.raises(XfvError, match="cannot be ordered by"):
        browser.rows(PairFilter(), order, 0, 5)


@pytest.mark.parametrize("evidence", [("xssab", 'nose"; DROP TABLE narrow; --'), ("nothing", "nose")])
def test_evidence_that_is_none_is_refused(browser, evidence):
    with pytest.raises(XfvError, match="no evidence"):
        browser.overview(PairFilter(evidence=Evidence(*evidence)))


def test_kinds_of_cautions_leave_out_what_was_measured(browser):
    counted = {one.split(" (")[0]: sum(one in row["cautions"] for row in ROWS) for one in CAUTIONS}
    kinds = browser.caution_kinds()
    assert set(kinds) == set(counted)
    assert [counted[kind] for kind in kinds] == sorted(counted.values(), reverse=True)


def test_a_pair_its_faces_and_its_maps(browser):
    row = browser.pair(3)
    assert row == ROWS[3]
    assert browser.pair(len(ROWS)) is None
    assert set(browser.crops([row["first"], "nobody"])) == {row["first"]}
    maps = browser.maps(3)
    assert set(maps) == {method.key for method in METHODS}
    np.testing.assert_allclose(maps["xssab"].probe, map_of(row)[::4, ::4])
    np.testing.assert_allclose(maps["xssab"].reference, -map_of(row)[::4, ::4] / 2)


def test_means_are_those_of_the_pairs_that_are_left(browser):
    chosen = PairFilter(outcomes=("false match", "false non-match"), evidence=NOSE)
    values = [row[evidence_column(*NOSE)] for row in left(chosen)]
    assert browser.mean_evidence(chosen)[NOSE] == pytest.approx(np.mean(values), rel=1e-6)
    values = [row[evidence_column(*NOSE)] for row in ROWS if row["outcome"] != "failed"]
    assert browser.mean_evidence(None)[NOSE] == pytest.approx(np.mean(values), rel=1e-6)
    mean, pairs = browser.mean_map(chosen, "xssab")
    assert pairs == len(left(chosen)) <= MOST_MEAN_MAPS
    # Of each pair two thirds lie in the first photo's upper half, for; one third in the second's, against.
    cells = 14 * 28
    np.testing.assert_allclose(mean[:14], (2 / 3 - 1 / 3) / cells / 2, rtol=1e-3)
    assert not mean[14:].any()
    assert browser.mean_map(PairFilter(person="nobody"), "xssab") is None


def test_a_store_of_numbers_alone_has_no_faces_and_no_maps(tmp_path):
    browser = PairBrowser(open_store(make_store(tmp_path / "numbers", ROWS, crops=False)))
    assert browser.overview(PairFilter()).pairs == len(ROWS)
    assert browser.crops([ROWS[0]["first"]]) == {}
    assert browser.maps(0) == {}
    assert browser.mean_map(PairFilter(), "xssab") is None


@given(low=st.floats(-1e3, 1e3), span=st.floats(0, 1e3))
def test_edges_are_even_and_hold_all(low, span):
    edges = even_edges(low, low + span)
    assert 1 <= len(edges) - 1 <= 26
    steps = np.diff(edges)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-3)
    assert edges[0] <= low + 1e-9
    assert edges[-1] >= low + span - 1e-9 or math.isclose(edges[-1], low + span, rel_tol=1e-6)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("distance", float("nan")),
        ("distance", 2.5),
        ("confidence", 7.0),
        ("confidence", -0.1),
        ("first_size", float("inf")),
        ("second_size", -3.0),
    ],
)
def test_a_store_that_lies_is_refused_before_anything_of_it_is_shown(tmp_path, column, value):
    rows = [dict(row) for row in ROWS]
    rows[3][column] = value
    browser = PairBrowser(open_store(make_store(tmp_path / "lies", rows)))
    with pytest.raises(XfvError, match=f"broken: its column {column} holds what is not from"):
        browser.overview(PairFilter())


def test_a_store_with_a_pair_twice_is_refused(tmp_path):
    browser = PairBrowser(open_store(make_store(tmp_path / "twice", [*ROWS, ROWS[5]])))
    with pytest.raises(XfvError, match="holds a pair twice"):
        browser.overview(PairFilter())


@pytest.mark.parametrize("value", [float("nan"), 1.5, -2.0])
def test_evidence_that_cannot_be_is_refused(tmp_path, value):
    evidence = Evidence("mean-face", "eyes")
    rows = [dict(row) for row in ROWS]
    rows[3][evidence_column(*evidence)] = value
    browser = PairBrowser(open_store(make_store(tmp_path / "lies", rows)))
    assert browser.overview(PairFilter()).pairs == len(rows)
    with pytest.raises(XfvError, match="broken: its column evidence_mean_face_eyes"):
        browser.overview(PairFilter(evidence=evidence))
