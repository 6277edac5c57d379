"""How a store comes about, in one process and with a model and a method that can be worked out by hand."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from xfv_demo.datasets.pairs import Row, as_aligned_set, pair_set
from xfv_demo.datasets.sources import MemoryImages
from xfv_demo.errors import ModelError
from xfv_demo.explainers import base
from xfv_demo.explainers.explanation import Explanation
from xfv_demo.explore import compute, open_store
from xfv_demo.explore.schema import unpack_map
from xfv_demo.explore.store import StoreWriter


class MeanColour:
    """Says that faces are alike by their colour."""

    name, sha256, path, engine, dimensions = "mean-colour", "0" * 64, "mean-colour.onnx", None, 3

    def embed(self, images):
        colours = images.mean(axis=(1, 2))
        return colours / np.linalg.norm(colours, axis=1, keepdims=True)


class Halves(base.Explainer):
    """Says the mean of a face in its upper half, minus that below; fails at black, and overflows at white."""

    name, title = "halves", "Halves"

    def __init__(self, embedder):
        self.parameters = {"parts": 2}

    def stream(self, probe, reference):
        maps = [
            np.where(np.arange(112)[:, None] < 56, 1, -1) * np.full((112, 112), one.mean())
            for one in (probe, reference)
        ]
        if max(one.mean() for one in (probe, reference)) > 0.99:
            maps = [one * 1e6 for one in maps]
        if min(one.mean() for one in (probe, reference)) < 0.01:
            raise ModelError("a black face tells nothing")
        yield Explanation.from_maps("halves", maps, distance=0.0, progress=1.0, parameters=self.parameters)


COLOURS = {
    "A/red.png": (200, 0, 0), "A/dark red.png": (100, 0, 0), "B/blue.png": (0, 0, 200),
    "B/black.png": (1, 1, 1), "C/white.png": (255, 255, 255), "C/none.png": None,
}  # fmt: skip


def picture(colour):
    if colour is None:
        return b"these are notes"
    content = io.BytesIO()
    Image.new("RGB", (112, 112), colour).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def pairs():
    source = MemoryImages("colours", {key: picture(colour) for key, colour in COLOURS.items()})
    rows = [
        Row(pair, pair[0].partition("/")[0] == pair[1].partition("/")[0], 0)
        for pair in itertools.combinations(COLOURS, 2)
    ]
    return as_aligned_set(pair_set("colours", source, rows))


@pytest.fixture
def build(pairs, tmp_path, monkeypatch):
    """Builds in this process, two pairs at a time; after as many blocks as told, it is ended."""
    monkeypatch.setenv("XFV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(base._registered, "halves", Halves)
    monkeypatch.setattr(compute, "_PAIRS_AT_ONCE", 2)
    done = []

    def build(blocks=None, methods=("halves",), **settings):
        def run(start, left, **_):
            work = start()
            for block in left:
                if blocks is not None and len(done) >= blocks:
                    raise KeyboardInterrupt
                done.append(block)
                yield work(block)

        monkeypatch.setattr(compute, "run_blocks", run)
        return compute.build_store(pairs, MeanColour(), tmp_path / "store", methods, **settings)

    build.done = done
    build.folder = tmp_path / "store"
    return build


def test_numbers_and_maps_are_those_worked_out_by_hand(build):
    said = []
    manifest = build(say=said.append)
    (line,) = said
    assert "not calibrated" in line
    assert manifest.calibration.fit == "none"
    store = open_store(build.folder)
    rows = {(row["first"], row["second"]): row for row in store.query("SELECT * FROM pairs").to_pylist()}
    assert len(rows) == 15
    alike = rows["A/red.png", "A/dark red.png"]
    assert alike["distance"] == pytest.approx(0, abs=1e-6)
    assert (alike["outcome"], alike["same_person"], alike["confidence"]) == ("true match", True, None)
    assert rows["A/red.png", "B/blue.png"]["distance"] == pytest.approx(1)
    assert rows["A/red.png", "B/blue.png"]["outcome"] == "true non-match"
    # Grey is at 1 - 1 / sqrt(3) from any pure colour, which is below the provisional threshold.
    assert rows["A/red.png", "C/white.png"]["distance"] == pytest.approx(1 - 3**-0.5, abs=1e-5)
    assert rows["A/red.png", "C/white.png"]["outcome"] == "false match"
    assert alike["evidence_halves_forehead"] > 0 > alike["evidence_halves_chin"]
    (kept,) = store.query("SELECT * FROM maps WHERE pair = ?", [alike["pair"]]).to_pylist()
    expected = np.where(np.arange(28)[:, None] < 14, 1, -1) * np.full((28, 28), 200 / 255 / 3)
    np.testing.assert_allclose(unpack_map(kept["probe"]), expected, rtol=1e-3)


def test_what_a_method_fails_at_is_said_in_the_pairs_row_and_the_others_go_on(build):
    build()
    store = open_store(build.folder)
    for row in store.query("SELECT * FROM pairs ORDER BY pair").to_pylist():
        keys = (row["first"], row["second"])
        maps = store.query("SELECT * FROM maps WHERE pair = ?", [row["pair"]]).num_rows
        if "C/none.png" in keys:
            assert row["outcome"] == "failed"
            assert "none.png" in row["problem"]
            assert (row["distance"], row["same_person"], row["distance_threshold"]) == (None, None, None)
        elif "B/black.png" in keys:
            assert row["problem"] == "halves: a black face tells nothing"
            assert row["distance"] is not None
        elif "C/white.png" in keys:
            assert "which a store cannot keep" in row["problem"]
        else:
            assert row["problem"] is None
        assert maps == (row["problem"] is None)
        assert (row["evidence_halves_eyes"] is None) == (row["problem"] is not None)


@pytest.mark.parametrize("blocks", [0, 1, 2, 5, 8])
def test_ended_anywhere_it_goes_on_and_does_no_block_twice(build, blocks):
    with pytest.raises(KeyboardInterrupt):
        build(blocks=blocks)
    assert not open_store(build.folder).manifest.complete
    build()
    assert len(build.done) == len(set(build.done)) == 1 + 8
    store = open_store(build.folder)
    assert store.query("SELECT pair FROM pairs ORDER BY pair")["pair"].to_pylist() == list(range(15))
    assert [method.view for method in store.manifest.methods] == ["halves"]


def test_ended_while_it_gathers_it_goes_on(build, monkeypatch):
    finish = StoreWriter.finish

    def ended(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(StoreWriter, "finish", ended)
    with pytest.raises(KeyboardInterrupt):
        build()
    monkeypatch.setattr(StoreWriter, "finish", finish)
    build(blocks=len(build.done))
    assert open_store(build.folder).query("SELECT count(*) AS n FROM pairs").to_pylist() == [{"n": 15}]


def test_progress_counts_what_was_done_before(build):
    told = []
    with pytest.raises(KeyboardInterrupt):
        build(blocks=4)
    build(progress=told.append)
    of_pairs = [(one.done, one.failures) for one in told if one.stage == "pairs"]
    assert of_pairs[0][0] == 6
    assert of_pairs[-1] == (15, 12)
    assert all(one.total == 15 for one in told if one.stage == "pairs")


def test_verdicts_alone_need_no_method(build, pairs):
    build(methods=(), numbers=np.arange(15) * 10)
    store = open_store(build.folder)
    rows = store.query("SELECT pair, outcome FROM pairs ORDER BY pair").to_pylist()
    assert [row["pair"] for row in rows] == list(range(0, 150, 10))
    assert sum(row["outcome"] == "failed" for row in rows) == 5
    assert not any(name.startswith("evidence") for name in store.query("SELECT * FROM pairs").column_names)
    assert np.count_nonzero(pairs.genuine) == 3
