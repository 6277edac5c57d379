"""From a machine with nothing to a confidence: the stand-in of ArcFaceOctupletLoss, and a small made LFW."""

import hashlib
import io
import itertools
import json
import os
import tarfile
import zipfile
from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.file_server import FileServer
from xfv_demo.datasets.fetching import FETCHABLE_SETS
from xfv_demo.evaluation.preparation import cost_in_words, prepare
from xfv_demo.models import registry

MODEL = "arcface-octuplet"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
    monkeypatch.setenv("XFV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(registry, "demo_folder", lambda: tmp_path / "demo")
    return tmp_path / "cache"


@pytest.fixture
def server():
    with FileServer({}) as server:
        yield server


def publish(server, monkeypatch, name, photos):
    """Has the package take what lies on the local server for LFW: 30 pairs of each class."""
    people = {
        "Barack_Obama": photos["obama"][30:480, 270:720],
        "Joe_Biden": photos["biden"][120:600, 330:810],
    }
    tgz, genuine, impostor = io.BytesIO(), [], []
    with tarfile.open(fileobj=tgz, mode="w:gz") as archive:
        for person, photo in people.items():
            for number in range(1, 9):
                small = cv2.resize(np.ascontiguousarray(photo), (150, 150), interpolation=cv2.INTER_AREA)
                lit = np.clip(small * (0.6 + 0.06 * number), 0, 255).astype(np.uint8)
                data = cv2.imencode(".jpg", lit[..., ::-1])[1].tobytes()
                info = tarfile.TarInfo(f"lfw/{person}/{person}_{number:04d}.jpg")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            genuine += [f"{person}\t{i}\t{j}" for i, j in itertools.combinations(range(1, 9), 2)][:15]
    first, second = people
    impostor = [f"{first}\t{i}\t{second}\t{j}" for i, j in itertools.product(range(1, 9), repeat=2)][:30]
    lfw = FETCHABLE_SETS[name]
    files = {lfw.pairs: "\n".join(["1\t30", *genuine, *impostor]).encode(), lfw.images: tgz.getvalue()}
    made = []
    for file, data in files.items():
        server.files[file.name] = data
        digest = hashlib.sha256(data).hexdigest()
        made.append(replace(file, url=server.url(file.name), size=len(data), sha256=digest))
    monkeypatch.setitem(FETCHABLE_SETS, name, replace(lfw, pairs=made[0], images=made[1]))


def test_from_nothing_to_a_confidence(
    server, octuplet_folder, photos, examples, cache, run_here, detector, monkeypatch
):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for path in (octuplet_folder / "Octuplet.tf").rglob("*"):
            packed.write(path, f"ArcFaceOctupletLoss.tf/{path.relative_to(octuplet_folder / 'Octuplet.tf')}")
    server.files["model.zip"] = archive.getvalue()
    digest = hashlib.sha256(archive.getbuffer()).hexdigest()
    model = replace(registry.FETCHABLE[MODEL], url=server.url("model.zip"), sha256=digest)
    monkeypatch.setitem(registry.FETCHABLE, MODEL, model)
    publish(server, monkeypatch, "lfw", photos)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # each worker takes seconds to start

    done = run_here("prepare")
    assert done.returncode == 0, done.stderr
    assert f"{MODEL}: fetched" in done.stdout
    said = " ".join(done.stdout.split())
    assert FETCHABLE_SETS["lfw"].terms in said
    assert "Ready: threshold" in done.stdout

    pair = examples / "obama.jpg", examples / "obama2.jpg"
    verdict = json.loads(run_here("verify", *pair, "--json").stdout)
    assert (verdict["model"], verdict["calibration"]) == (MODEL, "lfw")
    assert 0.5 <= verdict["confidence"] <= 1


def test_offline_is_one_line(run_here, monkeypatch):
    def refuse(*_, **__):
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr("socket.getaddrinfo", refuse)
    done = run_here("prepare")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "xfv-demo: arcface-octuplet could not be fetched from github.com: no connection"
    )
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_what_is_calibrated_already_fetches_nothing(cache):
    said = []
    calibration = prepare("mobilefacenet", say=said.append)
    assert calibration.dataset == "lfw"
    assert [line.partition(":")[0] for line in said] == ["mobilefacenet", "calibration on lfw"]
    assert not (cache / "datasets").exists()


def test_cost_in_words(cache):
    assert cost_in_words(290) == "fetches 181 MB, takes about 5 minutes"
    (cache / "datasets" / "lfw").mkdir(parents=True)
    assert cost_in_words(12) == "takes about 1 minute"
