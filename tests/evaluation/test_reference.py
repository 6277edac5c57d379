"""What is usual, measured on made faces: as the maps by hand have it, and refused where it is of few."""

import io

import numpy as np
import pytest
from PIL import Image

from xfv_demo.datasets.pairs import PairSet
from xfv_demo.errors import DatasetError
from xfv_demo.evaluation.reference import measure_reference
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.explainers.reference import region_strengths
from xfv_demo.models.similarity import unit_length

FACES = 20
PAIRS = 100


class Noise:
    """Aligned faces of coarse noise."""

    name = "noise"

    def face(self, key):
        rng = np.random.default_rng(int(key))
        return rng.integers(0, 256, (7, 7, 3), np.uint8).repeat(16, axis=0).repeat(16, axis=1)

    def stream(self, keys):
        for key in keys:
            file = io.BytesIO()
            Image.fromarray(self.face(key)).save(file, "PNG")
            yield key, file.getvalue()


class Coarse:
    """Its dimensions are the colours of 7 x 7 tiles."""

    name, sha256 = "coarse", "ab"

    def embed(self, images):
        return unit_length(images[:, 8::16, 8::16].reshape(len(images), -1) - 0.5)


@pytest.fixture
def pairs():
    rng = np.random.default_rng(4)
    first = rng.integers(0, FACES - 1, 2 * PAIRS)
    second = first + 1 + rng.integers(0, FACES - 1 - first)
    genuine = np.arange(2 * PAIRS) % 2 == 0
    keys = tuple(str(number) for number in range(FACES))
    return PairSet(
        "noise", Noise(), keys, first, second, genuine, np.zeros(2 * PAIRS, np.int64), aligned=True
    )


@pytest.mark.slow
def test_percentiles_are_those_of_the_maps(pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("XFV_CACHE", str(tmp_path))
    seen = []
    reference = measure_reference(
        pairs, Coarse(), ["mean-face", "frequency"], 0.3, progress=lambda *done: seen.append(done)
    )
    assert seen[-1] == (2 * PAIRS, 2 * PAIRS)
    assert (reference.genuine_pairs, reference.impostor_pairs) == (PAIRS, PAIRS)
    assert (reference.model, reference.model_sha256, reference.dataset) == ("coarse", "ab", "noise")
    assert reference.methods["mean-face"] == EXPLAINERS["mean-face"](Coarse()).parameters
    view = reference.views["mean-face"]["mean-face"]
    photos = [Noise().face(key).astype(np.float32) / np.float32(255) for key in pairs.images]
    explainer = EXPLAINERS["mean-face"](Coarse())
    maps = [
        explainer.explain(photos[one], photos[other]).unscaled
        for one, other in zip(pairs.first, pairs.second, strict=True)
    ]
    nose = np.array([region_strengths(one)["nose"] for one in maps])
    assert view.genuine["nose"][0] == pytest.approx(nose[pairs.genuine].min(), rel=1e-3)
    assert view.impostor["nose"][-1] == pytest.approx(nose[~pairs.genuine].max(), rel=1e-3)
    # Tiles are of 16 pixels, so that every fourth along each side is as good as all.
    assert view.full_colour == pytest.approx(np.percentile(np.abs(np.stack(maps)), 95), rel=1e-3)
    # Frequencies have no regions.
    assert reference.views["frequency"]["frequency"].genuine == {}


def test_of_few_pairs_nothing_is_usual(pairs, tmp_path, monkeypatch):
    monkeypatch.setenv("XFV_CACHE", str(tmp_path))
    monkeypatch.setattr("xfv_demo.evaluation.reference.align_images", lambda *_args, **_named: ())
    with pytest.raises(DatasetError, match=r"noise has 0 genuine and 0 impostor pairs .* needs 100 of each"):
        measure_reference(pairs, Coarse(), ["mean-face"], 0.3)
