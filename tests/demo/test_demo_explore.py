"""The explorer's addresses and HTML, of a store of made-up numbers; no browser and no server."""

import html.parser
import json
import re
import shutil
from types import SimpleNamespace
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("gradio")

import gradio as gr

from demo.explore import pictures
from demo.explore.link import LABELS, STORE, link, read_link, store_of
from demo.explore.pictures import Pictures
from demo.explore.stores import Stores
from demo.explore.tab import Explorer
from tests.explore.made_store import METHODS, make_rows, make_store
from xfv_demo import XfvError
from xfv_demo.explore import open_store
from xfv_demo.explore.browse import ORDERS, Evidence, PairBrowser
from xfv_demo.explore.schema import OUTCOMES

MANIFEST = SimpleNamespace(methods=METHODS)
ROWS = make_rows()
HOSTILE = "<img src=x onerror=alert(1)>\"'&"


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    hostile = [dict(row) for row in ROWS]
    for row in hostile:
        row |= {f"{side}_person": HOSTILE for side in ("first", "second")}
        row |= {side: f"{HOSTILE}/{number}.jpg" for number, side in enumerate(("first", "second"))}
        row["cautions"] = [HOSTILE] if row["cautions"] else []
        row["problem"] = HOSTILE if row["problem"] else None
    make_store(folder / "made", ROWS)
    make_store(folder / "hostile", hostile, name=HOSTILE)
    (folder / "broken").mkdir()
    (folder / "broken" / "manifest.json").write_text(json.dumps({"format": "another"}))
    return Stores([folder / name for name in ("made", "hostile", "broken")])


@pytest.fixture(scope="module")
def explorer(stores):
    return Explorer(stores, Pictures())


class Reader(html.parser.HTMLParser):
    """Notes elements and texts, as a browser would find them."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in ("img", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag, **attributes):
        return [
            found
            for name, found in self.elements
            if name == tag and all(found.get(key) == value for key, value in attributes.items())
        ]


# Addresses ----------------------------------------------------------------------------------------------


def test_an_address_says_all_that_is_asked_for():
    query = urlencode(
        {
            STORE: "made", "outcome": ["false match", "failed"], "label": "two", "person": "Ann",
            "caution": "dark",
            "distance_from": "0.25", "confidence_to": "99.9", "method": "xssab", "region": "nose",
            "sort": "-evidence", "page": "3", "pair": "17", "shared": "1",
        },
        doseq=True,
    )  # fmt: skip
    asked = read_link(query, MANIFEST)
    assert store_of(query) == "made"
    assert asked.filter.outcomes == ("false match", "failed")
    assert asked.filter.genuine is False
    assert (asked.filter.person, asked.filter.caution) == ("Ann", "dark")
    assert asked.filter.ranges == {"distance": (0.25, None), "confidence": (None, 0.999)}
    assert asked.filter.evidence == Evidence("xssab", "nose")
    assert (asked.order, asked.page, asked.pair, asked.shared) == ("-evidence", 3, 17, True)
    assert read_link("", MANIFEST).order == "wrong"
    # What other parts of the page put into the address is theirs.
    assert read_link("__theme=dark&utm=1", MANIFEST) == read_link("", MANIFEST)


@pytest.mark.parametrize(
    "query",
    [
        "outcome=maybe", "label=three", "method=occlusion", "method=" + "x" * 201, "region=ear",
        "sort=pair;--",
        "distance_from=nan", "size_to=inf", "evidence_from=1e999", "confidence_from=half", "page=-1",
        "page=1.5",
        "pair=x", "pair=9223372036854775808", "pair=" + "9" * 19, "page=%D9%A3", "person=%00",
        "person=" + "x" * 201,
        "&".join(f"a{number}=1" for number in range(61)), "person=" + "x" * 2001,
    ],
)  # fmt: skip
def test_an_address_that_asks_for_what_there_is_not_is_one_line(query):
    with pytest.raises(XfvError) as error:
        read_link(query, MANIFEST)
    assert len(str(error.value).splitlines()) == 1


@given(query=st.text(max_size=300) | st.dictionaries(
    st.sampled_from(["outcome", "label", "person", "caution", "distance_from", "evidence_to", "method",
                     "region", "sort", "page", "pair", "shared", STORE]),
    st.text(max_size=30) | st.floats().map(str) | st.sampled_from([*OUTCOMES, *LABELS, *ORDERS]),
).map(urlencode))  # fmt: skip
def test_whatever_a_client_asks_is_answered_or_one_line(explorer, query):
    filters, charts, listing = explorer.explored(SimpleNamespace(query=query))
    for piece in (filters, charts, listing):
        Reader(piece)
    assert parse_qs(query) == {} or "data-of" in listing


@pytest.mark.parametrize("told", [{}, {"query": 7}, {"query": None}, {"query": ["x"]}])
def test_a_call_without_a_text_is_an_error(explorer, told):
    with pytest.raises(gr.Error):
        explorer.explored(SimpleNamespace(**told))


def test_a_link_changes_what_it_is_told_to(explorer):
    assert parse_qs(link("a=1&a=2&pair=3", pair=4, page=None)) == {"a": ["1", "2"], "pair": ["4"]}
    assert link("pair=3&page=2", pair=None, page=None) == ""


# Stores -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["../made", "/etc", "", "made/../made", "nothing", "made\0"])
def test_a_store_is_named_by_its_key_alone(stores, key):
    with pytest.raises(XfvError, match="no such store"):
        stores.browser(key)


def test_stores_of_one_name_have_keys_of_their_own(tmp_path):
    folders = [tmp_path / one / "LFW View 2" for one in "ab"]
    assert Stores(folders).keys[:2] == ("lfw-view-2", "lfw-view-2-2")


def test_a_broken_store_costs_a_line(explorer, stores):
    assert stores.titles()["broken"] == "broken (broken)"
    *_, listing = explorer.explored(SimpleNamespace(query=f"{STORE}=broken"))
    assert "is not that of an" in listing


# What is shown ------------------------------------------------------------------------------------------


def shown(explorer, **asked):
    pieces = explorer.shown(urlencode({STORE: "made", **asked}, doseq=True))
    return [Reader(piece) for piece in pieces]


def test_filters_count(explorer):
    filters, charts, listing = shown(explorer, outcome="false match")
    false_matches = [row for row in ROWS if row["outcome"] == "false match"]
    assert f"{len(false_matches)} of {len(ROWS)} pairs" in filters.text
    for outcome in OUTCOMES:
        count = sum(row["outcome"] == outcome for row in ROWS)
        assert re.search(rf"{outcome}{count}\D", filters.text)
    assert len(listing.all("tr")) == 1 + len(false_matches)
    assert [one["data-measure"] for one in charts.all("section")] == [
        "distance", "confidence", "size", "evidence"
    ]  # fmt: skip


def test_the_fields_are_the_visitors(explorer):
    # What the server says of a field's value would come over what is being typed.
    plain, asked = (
        [piece.elements for piece in shown(explorer, **more)[:2]]
        for more in ({}, {"person": "person", "distance_from": 0.01, "caution": "", "sort": "pair"})
    )
    for before, after in zip(plain, asked, strict=True):
        fields = [
            [one for one in pieces if one[0] in ("input", "select", "option")] for pieces in (before, after)
        ]
        assert fields[0] == fields[1]
        assert not any("selected" in attributes for _, attributes in fields[0])


def test_a_brushed_range_is_seen_and_can_be_taken_back(explorer):
    _, charts, _ = shown(explorer, distance_from=0.3, distance_to=0.5)
    (brush,) = charts.all("div", **{"class": "brush"})
    left, width = map(float, re.findall(r"[\d.]+", brush["style"]))
    (plot, *_) = charts.all("div", **{"class": "plot"})
    edges = json.loads(plot["data-edges"])
    assert left == pytest.approx(100 * (0.3 - edges[0]) / (edges[-1] - edges[0]), abs=0.02)
    assert width == pytest.approx(100 * 0.2 / (edges[-1] - edges[0]), abs=0.02)
    assert any("distance_from=&distance_to=" in one.get("data-set", "") for one in charts.all("button"))


def test_bars_are_told_to_those_who_do_not_see_them(explorer):
    _, charts, _ = shown(explorer)
    for picture in charts.all("svg"):
        assert picture["role"] == "img"
        assert re.match(r"Pairs by .+: \d+; most stand at .+ filter by it\.", picture["aria-label"])


def test_the_list_is_paged_and_sorted_in_the_server(explorer):
    _, _, listing = shown(explorer, sort="distance", page=2)
    known = sorted(
        (row for row in ROWS if row["distance"] is not None), key=lambda row: (row["distance"], row["pair"])
    )
    opened = [one["data-set"] for one in listing.all("tr") if "data-set" in one]
    assert opened == [f"pair={row['pair']}" for row in known[25:50]]
    assert "26 to 50 of 200" in listing.text
    (head,) = listing.all("th", **{"aria-sort": "ascending"})
    assert head["class"] == "distance"
    last = shown(explorer, page=9)[2]
    assert "The list ends before this page" in last.text
    assert "No pair is left" in shown(explorer, person="nobody")[2].text


def test_a_pair_is_shown_with_its_maps_and_the_way_on(explorer):
    wrong = sorted(
        (row for row in ROWS if row["outcome"] == "false match"),
        key=lambda row: (-(row["confidence"] or 0), row["pair"]),
    )
    first, second, third = (row["pair"] for row in wrong[:3])
    _, _, listing = shown(explorer, outcome="false match", pair=second)
    assert f"2 of {len(wrong)}" in listing.text
    steps = {
        one["class"]: one["data-set"] for one in listing.all("button") if "data-set" in one and "class" in one
    }
    assert (steps["previous"], steps["next"]) == (f"pair={first}", f"pair={third}")
    pictures = [one["alt"] for one in listing.all("img") if one["alt"]]
    assert sum("aligned face" in words for words in pictures) == 2
    assert sum("xSSAB, photo" in words for words in pictures) == 2
    assert all(one["src"].startswith("data:image/") for one in listing.all("img"))
    assert "labelled as two people, but taken for one" in listing.text
    # The upper half of one photo speaks for, of the other against.
    assert "the forehead" in listing.text
    elsewhere = shown(explorer, outcome="false non-match", pair=second)[2]
    assert "not among the pairs" in elsewhere.text


def test_a_pair_that_failed_says_why(explorer):
    *_, listing = shown(explorer, pair=7)
    assert "No face was found in the second photo." in listing.text
    assert "nothing was decided" in listing.text


def test_what_pairs_share_is_told_beside_all_pairs(explorer):
    *_, listing = shown(explorer, outcome="false match", shared=1)
    count = sum(row["outcome"] == "false match" for row in ROWS)
    assert f"Mean net share of the evidence over {count} pairs" in listing.text
    assert len([one for one in listing.all("img") if "mean of both maps" in one["alt"]]) == len(METHODS)


def test_what_comes_from_a_store_or_a_client_is_escaped(explorer):
    for asked in ({}, {"pair": 0}, {"pair": 7}, {"shared": 1}, {"person": "img"}, {"caution": HOSTILE}):
        for piece in shown(explorer, **{STORE: "hostile"}, **asked):
            assert not any("onerror" in attributes for _, attributes in piece.elements)
            assert all(one.get("src", "").startswith("data:image/") for one in piece.all("img"))
    *_, listing = shown(explorer, **{STORE: "hostile"})
    assert HOSTILE in listing.text
    _, _, problem = explorer.explored(SimpleNamespace(query=urlencode({"sort": HOSTILE})))
    assert "<img" not in problem


# Pictures -----------------------------------------------------------------------------------------------


@pytest.fixture
def numbers_alone(tmp_path, monkeypatch, examples):
    """A store of LFW's numbers that names two of its photos and a secret one, and that LFW in the cache."""
    monkeypatch.setenv("XFV_CACHE", str(tmp_path / "cache"))
    lfw = tmp_path / "cache" / "datasets" / "lfw"
    for name, photo in (("A", "obama"), ("A", "obama2"), ("B", "biden"), ("C", "obama3")):
        (lfw / "images" / name).mkdir(parents=True, exist_ok=True)
        number = 1 + len(list((lfw / "images" / name).iterdir()))
        shutil.copy(examples / f"{photo}.jpg", lfw / "images" / name / f"{name}_{number:04}.jpg")
    (lfw / "pairs.txt").write_text("1\nA\t1\t2\nA\t1\tB\t1\n")
    secret = shutil.copy(examples / "biden.jpg", tmp_path / "secret.jpg")
    keys = [
        "A/A_0001.jpg",
        "A/A_0002.jpg",
        "../../../secret.jpg",
        str(secret),
        "C/C_0001.jpg",
        "B/B_0002.jpg",
    ]
    rows = [row | {"first": keys[row["pair"] % 6], "second": "B/B_0001.jpg"} for row in ROWS]
    pictures._opened.cache_clear()
    yield PairBrowser(open_store(make_store(tmp_path / "numbers", rows, crops=False, name="lfw"))), keys
    pictures._opened.cache_clear()


def test_photos_of_a_fetched_set_go_with_a_store_of_its_numbers(numbers_alone):
    browser, keys = numbers_alone
    found = Pictures(at_hand=True).small(browser, keys)
    # Only what the set's own list names, whatever the store says.
    assert set(found) == set(keys[:2])
    assert all(address.startswith("data:image/jpeg;base64,") for address in found.values())


def test_strangers_see_no_photo_of_a_fetched_set(numbers_alone):
    browser, keys = numbers_alone
    assert Pictures().small(browser, keys) == {}
    assert Pictures().faces(browser, (keys[0], keys[1])) == [None, None]
    assert Pictures().photos(browser, keys) == {}
