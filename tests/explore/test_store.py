"""Stores on disk: whole parts, no pair twice, questions that do no harm, a line for what is no store."""

import json
import math
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.explore.made_up import made_store, manifest, pair_rows, write_block, write_faces
from xfv_demo.errors import XfvError
from xfv_demo.explore import open_store
from xfv_demo.explore.schema import OUTCOMES, pack_map, unpack_map
from xfv_demo.explore.store import StoreWriter, part_path


@pytest.fixture
def store(tmp_path):
    return open_store(made_store(tmp_path / "store"))


def test_a_map_is_kept_as_the_means_of_its_blocks():
    pixels = np.arange(112 * 112, dtype=np.float32).reshape(112, 112) % 64 / 64
    expected = pixels.reshape(28, 4, 28, 4).mean(axis=(1, 3))
    content = pack_map(pixels)
    assert len(content) == 28 * 28 * 2
    np.testing.assert_allclose(unpack_map(content), expected, rtol=1e-3)
    # As the format says, whatever the machine: little-endian halves, row by row.
    np.testing.assert_array_equal(np.frombuffer(content, "<f2")[:28], expected[0].astype(np.float16))


def test_a_map_that_cannot_be_kept_is_no_map_of_infinities():
    with pytest.raises(XfvError, match="cannot keep"):
        pack_map(np.full((112, 112), 1e5))
    with pytest.raises(XfvError, match="none of 28 x 28"):
        unpack_map(b"\0")
    for wrong in (np.nan, np.inf):
        with pytest.raises(XfvError, match="a map holds what is no number"):
            unpack_map(np.full(784, wrong, "<f2").tobytes())


def test_what_was_written_is_what_is_read(store):
    rows = store.query("SELECT * FROM pairs ORDER BY pair").to_pylist()
    for row, made in zip(rows, pair_rows(range(20)), strict=True):
        assert row.pop("cautions") == made.pop("cautions")
        assert {key: row[key] for key in made} == pytest.approx(made)
    assert store.query("SELECT key, crop FROM faces").to_pylist() == [{"key": "b/0.png", "crop": b"pixels"}]
    (found,) = store.query(
        "SELECT probe FROM maps WHERE pair = ? AND method = ?", [7, "mean-face"]
    ).to_pylist()
    np.testing.assert_array_equal(unpack_map(found["probe"]), np.full((28, 28), 7))


def test_anybody_can_read_it_by_pyarrow_alone(store):
    table = pq.read_table(store.path / "pairs")
    assert table["pair"].to_pylist() == list(range(20))
    assert set(table["outcome"].to_pylist()) == set(OUTCOMES)
    assert table.schema.field("first_size").metadata[b"unit"] == b"pixels"


def test_what_only_the_work_needs_is_gone_when_it_is_done(store):
    assert "embedding" not in pq.read_schema(next((store.path / "faces").glob("*"))).names
    assert sorted(path.name for path in store.path.iterdir()) == ["faces", "manifest.json", "maps", "pairs"]


def test_a_store_of_numbers_has_neither_crops_nor_maps(tmp_path):
    store = open_store(made_store(tmp_path / "store", crops=False))
    assert store.query("SELECT crop FROM faces").to_pylist() == [{"crop": None}]
    assert store.query("SELECT * FROM maps").num_rows == 0
    assert not (store.path / "maps").exists()
    assert store.query("SELECT count(evidence_mean_face_eyes) AS n FROM pairs").to_pylist() == [{"n": 20}]


@settings(max_examples=10)
@given(blocks=st.lists(st.integers(0, 7), min_size=1, max_size=8))
def test_in_whatever_order_and_however_often_parts_are_written_no_pair_is_twice(blocks):
    """Also of a store that is not complete: it shows the pairs that are done, each once."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "store")
        writer = StoreWriter(path, manifest(pairs=40))
        write_faces(path)
        for block in blocks:
            write_block(path, block)
        assert writer.written("pairs") == set(blocks)
        expected = sorted(5 * block + row for block in set(blocks) for row in range(5))
        for _ in range(2):
            store = open_store(path)
            for table in ("pairs", "maps"):
                found = store.query(f"SELECT pair FROM {table} ORDER BY pair")["pair"].to_pylist()
                assert found == expected
            store.close()
            writer.finish(0.0)


@pytest.mark.parametrize(("rows", "group"), [(4, 2), (6, 3), (20, 20), (100, 7), (5, 1)])
def test_gathered_pairs_keep_their_order_over_files_and_groups(tmp_path, monkeypatch, rows, group):
    monkeypatch.setattr(
        "xfv_demo.explore.store._ROWS", dict.fromkeys(("pairs", "faces", "maps"), (rows, group))
    )
    folder = made_store(tmp_path / "store")
    files = sorted((folder / "pairs").iterdir())
    assert len(files) == math.ceil(20 / (rows // group * group))
    assert [pair for file in files for pair in pq.read_table(file)["pair"].to_pylist()] == list(range(20))
    assert all(
        pq.ParquetFile(file).metadata.row_group(number).num_rows <= group
        for file in files
        for number in range(pq.ParquetFile(file).num_row_groups)
    )


def test_gathering_that_was_ended_begins_anew(tmp_path):
    folder = tmp_path / "store"
    writer = StoreWriter(folder, manifest())
    write_faces(folder)
    for block in range(4):
        write_block(folder, block)
    # As left by a kill in the midst of it: a file too many, and one half-written.
    shutil.copytree(folder / "parts" / "pairs", folder / "pairs")
    (folder / "pairs" / ".00000.parquet.1.part").write_bytes(b"PAR1")
    again = StoreWriter(folder, manifest())
    again.finish(1.0)
    assert open_store(folder).query("SELECT pair FROM pairs")["pair"].to_pylist() == list(range(20))
    assert writer.path == again.path


def test_a_part_that_was_not_written_to_its_end_is_not_there(tmp_path):
    writer = StoreWriter(tmp_path / "store", manifest())
    write_block(writer.path, 0)
    part_path(writer.path, "pairs", 1).with_name(".0000001.parquet.99.part").write_bytes(b"PAR1 and then")
    assert writer.written("pairs") == {0}


def test_a_store_of_something_else_is_not_gone_on_with(tmp_path):
    StoreWriter(tmp_path / "store", manifest())
    with pytest.raises(XfvError, match="with other model and seed than") as raised:
        StoreWriter(tmp_path / "store", manifest(model="another", seed=1))
    assert "\n" not in str(raised.value)
    with pytest.raises(XfvError, match="other methods"):
        StoreWriter(tmp_path / "store", manifest(methods=()))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(XfvError, match="holds other things"):
        StoreWriter(tmp_path / "notes", manifest())


def test_two_do_not_make_one_store(tmp_path):
    writer = StoreWriter(tmp_path / "store", manifest())
    with writer.locked(), pytest.raises(XfvError, match="another process is making"), writer.locked():
        pass


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: shutil.rmtree(folder), "it has no manifest.json"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "it is no JSON"),
        (lambda folder: (folder / "manifest.json").write_text("[" * 100_000), "cannot be read"),
        (lambda folder: (folder / "manifest.json").write_text("[]"), "is not that of an"),
        (lambda folder: changed(folder, format="something"), "is not that of an"),
        (lambda folder: changed(folder, version=0), "version 0, and this program reads version 1"),
        (lambda folder: changed(folder, version=2), "version 2, and this program reads version 1"),
        (lambda folder: changed(folder, pairs="many"), "broken: pairs"),
        (lambda folder: shutil.rmtree(folder / "pairs"), "holds no pairs"),
        (lambda folder: (folder / "pairs" / "00000.parquet").write_bytes(b"nonsense"), "cannot be read"),
        (lambda folder: shutil.copy(folder / "maps" / "00000.parquet", folder / "pairs"), "no column first"),
        (lambda folder: changed(folder, methods=[{"key": "grid", "title": "Grid"}]), "column evidence_grid"),
    ],
)  # fmt: skip
def test_what_is_no_store_of_this_version_is_refused_in_a_line(tmp_path, change, words):
    folder = made_store(tmp_path / "store")
    change(folder)
    with pytest.raises(XfvError, match=words) as raised:
        open_store(folder)
    assert "\n" not in str(raised.value)


def changed(folder, **values):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM read_parquet('{folder}/store/pairs/00000.parquet')",
        "COPY (SELECT 1) TO '{folder}/written'",
        "WITH x AS (COPY (SELECT 1) TO '{folder}/written') SELECT * FROM x",
        "WITH x AS (COPY (SELECT 1) TO '{folder}/written' (USE_TMP_FILE false)) SELECT * FROM x",
        "ATTACH '{folder}/written'",
        "EXPORT DATABASE '{folder}/written'",
        "CREATE TABLE mine AS SELECT 1",
        "CREATE VIEW pairs AS SELECT 1",
        "DROP VIEW pairs",
        "INSERT INTO pairs SELECT * FROM pairs",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP VIEW pairs",
        "SELECT * FROM secret",
        "SELECT getenv('HOME')",
        "SELECT nothing FROM pairs",
        "SELECT",
        "",
        "\0",
    ],
)
def test_a_question_does_no_harm(store, tmp_path, sql):
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(XfvError) as raised:
        store.query(sql.format(secret=secret, folder=tmp_path))
    assert "\n" not in str(raised.value)
    assert sorted(tmp_path.rglob("*")) == before
    assert store.query("SELECT count(*) AS n FROM pairs").to_pylist() == [{"n": 20}]


def test_settings_tell_nothing_of_where_the_store_lies(store):
    for sql in ("SELECT * FROM duckdb_settings()", "SELECT sql FROM duckdb_views()"):
        assert str(store.path) not in str(store.query(sql).to_pylist())
