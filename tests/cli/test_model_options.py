"""A network from a file with every command that can run one, by colours whose distances are known."""

import itertools
import json
import threading

import numpy as np
import pytest
from PIL import Image

from demo.model_service import ModelConfig, VerificationService
from tests.models.onnx_files import write_network
from xfv_demo import load_embedder
from xfv_demo.errors import ModelError
from xfv_demo.models.input_format import InputFormat

pytestmark = pytest.mark.slow

SAID = ("--input-range", "0..1", "--channels", "bgr")
COLOURS = {"Red": (200, 20, 20), "Blue": (20, 20, 200)}


@pytest.fixture
def network(tmp_path):
    """Sees the mean colour of a photo."""
    return write_network(tmp_path / "net.onnx")


@pytest.fixture
def people(tmp_path, rng):
    """Two people of eight photos each, aligned, whose colours hardly vary."""
    folder = tmp_path / "people"
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(8):
            photo = np.clip(np.array(colour) + rng.integers(-15, 16, 3), 0, 255).astype(np.uint8)
            image = Image.fromarray(np.broadcast_to(photo, (112, 112, 3)).copy())
            image.save(folder / name / f"{name}_{number}.png")
    return folder


@pytest.fixture
def run(run_here, tmp_path, network):
    def run(*words):
        done = run_here(*words, "--model", network, "--aligned", XFV_CACHE=tmp_path / "cache")
        assert done.returncode == 0, done.stderr
        return done

    return run


def test_calibrated_then_used(run, people):
    """Said once, what the file takes need not be said again."""
    run("calibrate", "--data", people, "--dataset", "colours", *SAID)
    verdicts = {}
    for first, second in itertools.product(COLOURS, COLOURS):
        photos = (people / first / f"{first}_0.png", people / second / f"{second}_1.png")
        verdicts[first, second] = json.loads(
            run("verify", *photos, "--calibration", "colours", "--json").stdout
        )
    assert [one["same_person"] for one in verdicts.values()] == [True, False, False, True]
    red, blue = (np.asarray(Image.open(people / name / f"{name}_{number}.png"))[0, 0].astype(float)
                 for name, number in (("Red", 0), ("Blue", 1)))  # fmt: skip
    cosine = red @ blue / np.linalg.norm(red) / np.linalg.norm(blue)
    assert verdicts["Red", "Blue"]["distance"] == pytest.approx(1 - cosine, abs=1e-3)


def test_evaluated(run, people, tmp_path):
    run("evaluate", "pairs", "--data", people, "--dataset", "colours", *SAID)
    report = json.loads((tmp_path / "results" / "net-colours.json").read_text())
    assert report["model"] == "net"
    assert report["accuracy"]["mean"] > 0.95


def test_explained(run, people, tmp_path):
    photos = (people / "Red" / "Red_0.png", people / "Blue" / "Blue_0.png")
    run("explain", *photos, "--methods", "occlusion", "--out", tmp_path / "out", *SAID)
    assert (tmp_path / "out" / "figure.png").is_file()


def test_on_the_page(network, monkeypatch):
    """Said of the model that the page was started with, and of no other that a visitor chooses."""
    asked = []

    def load(model, **settings):
        asked.append((model, settings))
        if model != str(network):
            raise ModelError("this one is not here")
        return load_embedder(model, **settings)

    monkeypatch.setattr("demo.model_service.load_embedder", load)
    service = VerificationService(str(network), input_range="-1..1", channels="bgr")
    service.start()
    assert service.verifier().embedder.input_format == InputFormat("-1..1", "bgr")
    assert service.status().state == "ready"
    assert service.wait(ModelConfig("mobilefacenet"), 60)
    assert asked[1:] == [("mobilefacenet", {"precision": "float32"})]
    # What is computed once a model is there would be cut short by the end of the process.
    for thread in threading.enumerate():
        if thread.name == "load-model":
            thread.join()
