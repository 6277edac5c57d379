"""A data set to a store: the same as pair by pair, whatever fails, whoever is killed, whichever engine."""

import itertools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xfv_demo import EXPLAINERS, Verifier, XfvError
from xfv_demo.datasets.pairs import Row, pair_set
from xfv_demo.datasets.sources import FolderImages
from xfv_demo.explore import open_store
from xfv_demo.explore.compute import BuildProgress, build_store
from xfv_demo.explore.schema import evidence_column, pack_map, unpack_map
from xfv_demo.faces.regions import REGION_GROUPS, pair_evidence, region_evidence

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def people(tmp_path_factory, examples):
    """The example photos by person, a wall, and what is no image."""
    folder = tmp_path_factory.mktemp("people")
    for person, names in {"Obama": ("obama", "obama2"), "Biden": ("biden",)}.items():
        (folder / person).mkdir()
        for name in names:
            (folder / person / f"{name}.jpg").write_bytes((examples / f"{name}.jpg").read_bytes())
    (folder / "Biden" / "notes.jpg").write_bytes(b"these are notes")
    return folder


def all_pairs(folder):
    keys = sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*.jpg"))
    rows = [
        Row(pair, pair[0].partition("/")[0] == pair[1].partition("/")[0], 0)
        for pair in itertools.combinations(keys, 2)
    ]
    return pair_set("family", FolderImages(folder), rows)


@pytest.fixture(scope="module")
def built(people, embedder, tmp_path_factory):
    """The store, and how its making was told of."""
    told = []
    folder = tmp_path_factory.mktemp("built") / "store"
    build_store(all_pairs(people), embedder, folder, ["xssab"], workers=1, progress=told.append)
    return open_store(folder), told


def rows_of(store):
    return store.query("SELECT * FROM pairs ORDER BY pair").to_pylist()


def test_verdicts_are_the_verifiers(built, people, embedder, detector):
    verifier = Verifier.calibrated(embedder, detector=detector)
    for row in rows_of(built[0]):
        if row["outcome"] == "failed":
            continue
        verdict = verifier.verify(people / row["first"], people / row["second"])
        assert row["distance"] == pytest.approx(verdict.distance, abs=1e-5)
        assert row["distance_threshold"] == pytest.approx(verdict.threshold)
        assert row["same_person"] == verdict.same_person
        assert row["confidence"] == pytest.approx(verdict.confidence, abs=1e-5)
        assert row["log10_likelihood_ratio"] == pytest.approx(verdict.log10_likelihood_ratio, abs=1e-4)
        assert row["first_size"] == pytest.approx(verdict.probe.face.eye_distance, rel=1e-4)
        assert (row["first_person"], row["genuine"]) == (row["first"].partition("/")[0], row["same_person"])


def test_maps_and_evidence_are_the_explainers(built, people, embedder, detector):
    store, _ = built
    verifier = Verifier.calibrated(embedder, detector=detector)
    verdict = verifier.verify(people / "Biden/biden.jpg", people / "Obama/obama.jpg")
    explainer = EXPLAINERS["xssab"](embedder, threshold=1 - verifier.calibration.eer_threshold)
    maps = explainer.explain(verdict.probe.aligned, verdict.reference.aligned).unscaled
    (row,) = store.query(
        "SELECT * FROM pairs JOIN maps USING (pair) WHERE first = ? AND second = ?",
        ["Biden/biden.jpg", "Obama/obama.jpg"],
    ).to_pylist()
    for side, values in maps._asdict().items():
        expected = unpack_map(pack_map(values))
        # Of a crop of whole grey levels; the maps hang on gradients, which these move.
        assert np.corrcoef(unpack_map(row[side]).ravel(), expected.ravel())[0, 1] > 0.99
    told = pair_evidence(*(region_evidence(values, REGION_GROUPS) for values in maps))
    for one in told:
        assert row[evidence_column("xssab", one.region.key)] == pytest.approx(one.net_share, abs=0.02)


def test_what_fails_is_a_row_with_the_reason(built):
    store, told = built
    failed = [row for row in rows_of(store) if row["outcome"] == "failed"]
    assert len(failed) == 3
    assert all("notes.jpg" in row["problem"] and row["distance"] is None for row in failed)
    assert store.query("SELECT count(*) AS n FROM maps").to_pylist() == [{"n": 3}]
    assert told[-1] == BuildProgress("pairs", 6, 6, 3)
    assert BuildProgress("faces", 4, 4, 1) in told


def test_the_manifest_says_what_the_store_is_of(built, embedder):
    manifest = built[0].manifest
    assert manifest.complete
    assert (manifest.model_sha256, manifest.dataset, manifest.pairs) == (embedder.sha256, "family", 6)
    assert (manifest.calibration.fit, manifest.calibration.dataset) == ("elsewhere", "lfw")
    (method,) = manifest.methods
    assert (method.key, method.view, method.percentile) == ("xssab", "combined", 99)
    assert method.parameters["threshold"] == pytest.approx(1 - manifest.calibration.eer_threshold)


def test_what_is_complete_is_left_as_it_is(built, people, embedder):
    store, _ = built
    before = {path: path.stat().st_mtime_ns for path in store.path.rglob("*")}
    build_store(all_pairs(people), embedder, store.path, ["xssab"])
    assert {path: path.stat().st_mtime_ns for path in store.path.rglob("*")} == before
    with pytest.raises(XfvError, match="other methods"):
        build_store(all_pairs(people), embedder, store.path, ["grid"])


# Pairs in blocks of two, and a pause after each, for a kill to fall between them.
SLOW_BUILD = """
import sys, time
from pathlib import Path

from tests.explore.test_compute import all_pairs
from xfv_demo import load_embedder
from xfv_demo.explore import compute

if __name__ == "__main__":
    compute._PAIRS_AT_ONCE = 2
    folder, out = map(Path, sys.argv[1:])
    compute.build_store(
        all_pairs(folder), load_embedder("mobilefacenet"), out, ["xssab"], workers=1,
        progress=lambda reached: (print(reached.stage, reached.done, flush=True), time.sleep(0.1)),
    )
"""


@pytest.mark.parametrize("stage", ["faces 4", "pairs 2"])
def test_killed_and_started_again_it_goes_on(built, people, tmp_path, stage):
    script = tmp_path / "slow.py"
    script.write_text(SLOW_BUILD)
    out = tmp_path / "store"
    command = [sys.executable, script, people, out]
    settings = {"cwd": ROOT, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "text": True}
    with subprocess.Popen(command, stdout=subprocess.PIPE, **settings) as first:
        for line in first.stdout:
            if line.strip() == stage:
                first.send_signal(signal.SIGKILL)
    assert json.loads((out / "manifest.json").read_text())["complete"] is False
    done = subprocess.run(command, capture_output=True, check=True, **settings)
    assert f"{stage.split()[0]} 0" not in done.stdout.splitlines(), "what was done is not done again"
    expected, found = rows_of(built[0]), rows_of(open_store(out))
    assert [row["pair"] for row in found] == list(range(6))
    for row, other in zip(found, expected, strict=True):
        for name, value in row.items():
            assert value == (
                pytest.approx(other[name], abs=1e-5) if isinstance(value, float) else other[name]
            )


def test_ray_gives_the_same(built, people, embedder, tmp_path):
    ray = pytest.importorskip("ray")
    try:
        build_store(all_pairs(people), embedder, tmp_path / "store", ["xssab"], engine="ray", workers=1)
    finally:
        ray.shutdown()
    for row, other in zip(rows_of(open_store(tmp_path / "store")), rows_of(built[0]), strict=True):
        for name, value in row.items():
            assert value == (
                pytest.approx(other[name], abs=1e-5) if isinstance(value, float) else other[name]
            )


def test_maps_of_frequencies_are_refused_before_any_work(tmp_path):
    with pytest.raises(XfvError, match="frequency are no places in the face"):
        build_store(None, None, tmp_path / "store", methods=["frequency"])
