"""The stores that come with the project."""

import doctest
import itertools
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import xfv_demo.explore
from xfv_demo import load_calibration
from xfv_demo.explore import open_store
from xfv_demo.explore.schema import FACES_SCHEMA, pairs_schema


@pytest.fixture
def shipped(request):
    return request.config.rootpath / "assets" / "explore"


@pytest.mark.parametrize("name", ["examples", "lfw"])
def test_they_are_small_complete_and_name_no_place_on_a_machine(shipped, name):
    store = open_store(shipped / name)
    assert store.manifest.complete
    assert sum(path.stat().st_size for path in store.path.rglob("*")) < 2**20
    for column in ("first", "second"):
        count = f"SELECT count(*) AS n FROM pairs WHERE {column} LIKE '/%' OR {column} LIKE '%:%'"
        assert store.query(count).to_pylist() == [{"n": 0}]
    assert "/" not in store.manifest.command.replace("assets/explore/", "")


def test_nothing_of_lfw_is_shown(shipped):
    store = open_store(shipped / "lfw")
    assert store.query("SELECT count(crop) AS n FROM faces").to_pylist() == [{"n": 0}]
    assert store.query("SELECT count(*) AS n FROM maps").to_pylist() == [{"n": 0}]
    # Nor lies a picture in a file where the store's own columns would not show it.
    files = sorted(store.path.rglob("*.parquet"))
    assert [path.parent.name for path in files] == ["faces", "pairs"]
    for path in files:
        columns = pq.read_table(path)
        assert set(columns.column_names) <= {*FACES_SCHEMA.names, *pairs_schema([]).names}
        pictures = [name for name in columns.column_names if pa.types.is_binary(columns[name].type)]
        assert all(columns[name].null_count == len(columns) for name in pictures)
        content = path.read_bytes()
        assert not any(magic in content for magic in (b"\x89PNG", b"\xff\xd8\xff", b"WEBP"))


def test_lfws_pairs_are_decided_as_the_report_says(shipped):
    report = json.loads((shipped.parent / "results" / "mobilefacenet-lfw.json").read_text())
    store = open_store(shipped / "lfw")
    folds = store.query(
        "SELECT fold, avg((same_person = genuine)::INT) AS accuracy, count(*) AS n FROM pairs GROUP BY fold "
        "ORDER BY fold"
    ).to_pylist()
    assert [row["n"] for row in folds] == [600] * 10
    assert [row["accuracy"] for row in folds] == pytest.approx(report["accuracy"]["folds"], abs=1e-6)
    assert store.manifest.calibration.threshold == load_calibration("mobilefacenet").threshold


def test_every_two_example_photos_are_compared(shipped):
    store = open_store(shipped / "examples")
    keys = store.query("SELECT key FROM faces ORDER BY key")["key"].to_pylist()
    pairs = store.query("SELECT first, second FROM pairs ORDER BY pair").to_pylist()
    assert [tuple(row.values()) for row in pairs] == list(itertools.combinations(keys, 2))
    outcomes = set(store.query("SELECT DISTINCT outcome FROM pairs")["outcome"].to_pylist())
    assert {"true match", "true non-match", "false non-match", "failed"} <= outcomes
    lacking = "SELECT count(*) AS n FROM pairs ANTI JOIN maps USING (pair) WHERE outcome != 'failed'"
    assert store.query(lacking).to_pylist() == [{"n": 0}]


def test_the_example_of_the_package_gives_what_it_says(request, monkeypatch):
    monkeypatch.chdir(request.config.rootpath)
    result = doctest.testmod(xfv_demo.explore)
    assert result.attempted > 0
    assert result.failed == 0
