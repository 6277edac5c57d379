"""OpenVINO in TensorFlow's place: the same embeddings, or a visible way back."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from xfv_demo import EXPLAINERS, SavedModelEmbedder, Verifier
from xfv_demo.errors import ModelError
from xfv_demo.models.openvino import OpenVinoNetwork

pytestmark = pytest.mark.slow

openvino = pytest.importorskip("openvino")

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "assets" / "models" / "mobilefacenet"


def cosine_distances(first, second):
    return 1 - (first.astype(np.float64) * second).sum(axis=1)


@pytest.fixture(scope="module")
def tensorflow_embedder():
    return SavedModelEmbedder(BUNDLED, engine="tensorflow")


@pytest.fixture(scope="module")
def half_embedder():
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU does not compute in bfloat16")
    return SavedModelEmbedder(BUNDLED, precision="bfloat16")


@pytest.fixture
def without_openvino(monkeypatch):
    # None in sys.modules makes an import fail as if the package were not there.
    monkeypatch.setitem(sys.modules, "openvino", None)


class TestFloat32:
    def test_runs_by_default(self, embedder, tensorflow_embedder):
        assert embedder.engine == f"OpenVINO {openvino.__version__.partition('-')[0]}, float32"
        assert embedder.notice is None
        assert tensorflow_embedder.engine.startswith("TensorFlow 2.")

    @pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 17])
    def test_agrees_with_tensorflow(self, embedder, tensorflow_embedder, rng, count):
        images = rng.random((count, 112, 112, 3), np.float32)
        given, expected = embedder.embed(images), tensorflow_embedder.embed(images)
        assert given.shape == expected.shape == (count, 192)
        np.testing.assert_allclose(given, expected, atol=1e-5)

    def test_agrees_on_faces(self, embedder, tensorflow_embedder, aligned):
        faces = np.stack(list(aligned.values()))
        assert cosine_distances(embedder.embed(faces), tensorflow_embedder.embed(faces)).max() < 1e-6

    def test_an_image_has_the_same_numbers_in_any_company(self, embedder, rng):
        images = rng.random((19, 112, 112, 3), np.float32)
        together = embedder.embed(images)
        np.testing.assert_array_equal(embedder.embed(images[4:5]), together[4:5])
        np.testing.assert_array_equal(embedder.embed(images[::-1]), together[::-1])

    def test_results_do_not_change_later(self, embedder, rng):
        first = embedder.embed(rng.random((3, 112, 112, 3), np.float32))
        kept = first.copy()
        embedder.embed(rng.random((3, 112, 112, 3), np.float32))
        np.testing.assert_array_equal(first, kept)

    def test_threads_do_not_mix(self, embedder, rng):
        images = rng.random((6, 20, 112, 112, 3), np.float32)
        expected = [embedder.embed(part) for part in images]
        with ThreadPoolExecutor(6) as pool:
            for given, one in zip(pool.map(embedder.embed, images), expected, strict=True):
                np.testing.assert_array_equal(given, one)


class TestBfloat16:
    def test_agrees_with_tensorflow_within_a_thousandth(
        self, half_embedder, tensorflow_embedder, aligned, rng
    ):
        assert half_embedder.engine.endswith("bfloat16")
        for images in (np.stack(list(aligned.values())), rng.random((8, 112, 112, 3), np.float32)):
            apart = cosine_distances(half_embedder.embed(images), tensorflow_embedder.embed(images))
            assert 1e-7 < apart.max() < 1e-3

    def test_maps_are_as_good_as_the_same(self, half_embedder, tensorflow_embedder, aligned):
        def maps(embedder):
            steps = EXPLAINERS["occlusion"].stream_all(
                embedder, aligned["obama"], aligned["obama2"], patch_sizes=(14, 28), stride=14
            )
            return list(steps)[-1]

        exact = maps(tensorflow_embedder)
        for comparison, quick in maps(half_embedder).items():
            for side in ("probe_map", "reference_map"):
                pair = getattr(quick, side).ravel(), getattr(exact[comparison], side).ravel()
                assert np.corrcoef(*pair)[0, 1] > 0.999

    def test_has_a_fingerprint_of_its_own(self, half_embedder, embedder):
        assert embedder.fingerprint == embedder.sha256 == half_embedder.sha256
        assert half_embedder.fingerprint != embedder.fingerprint


class TestWayBack:
    def test_to_tensorflow_where_openvino_is_missing(self, without_openvino, tensorflow_embedder, rng):
        embedder = SavedModelEmbedder(BUNDLED, notice="Something else")
        assert embedder.engine == tensorflow_embedder.engine
        assert embedder.notice.startswith("Something else. ")
        assert "OpenVINO is not installed" in embedder.notice
        images = rng.random((2, 112, 112, 3), np.float32)
        np.testing.assert_array_equal(embedder.embed(images), tensorflow_embedder.embed(images))

    def test_is_said_with_the_verdict(self, without_openvino, examples):
        verifier = Verifier(SavedModelEmbedder(BUNDLED), uncalibrated="-")
        verification = verifier.verify(examples / "obama.jpg", examples / "obama2.jpg")
        assert any("OpenVINO is not installed" in notice for notice in verification.notices)

    def test_is_not_taken_where_openvino_was_asked_for(self, without_openvino):
        with pytest.raises(ModelError, match="OpenVINO is not installed"):
            SavedModelEmbedder(BUNDLED, engine="openvino")
        with pytest.raises(ModelError, match="bfloat16 in OpenVINO: OpenVINO is not installed"):
            SavedModelEmbedder(BUNDLED, precision="bfloat16")

    def test_where_embeddings_differ(self, monkeypatch):
        right = OpenVinoNetwork.__call__
        monkeypatch.setattr(OpenVinoNetwork, "__call__", lambda *given: right(*given)[:, ::-1])
        embedder = SavedModelEmbedder(BUNDLED)
        assert embedder.engine.startswith("TensorFlow")
        assert "in cosine distance from what they should be" in embedder.notice

    def test_where_the_network_cannot_be_run(self, monkeypatch):
        def refuse(*_given, **_named):
            raise RuntimeError("No conversion rule found\nfor operations: FaceOp")

        monkeypatch.setattr(openvino.Core, "compile_model", refuse)
        embedder = SavedModelEmbedder(BUNDLED)
        assert "for operations: FaceOp" in embedder.notice
        assert "\n" not in embedder.notice

    def test_precision_that_the_cpu_has_not(self, monkeypatch):
        monkeypatch.setattr(openvino.Core, "get_property", lambda *_given: ["FP32"])
        with pytest.raises(ModelError, match="does not compute in bfloat16; ask for float32"):
            SavedModelEmbedder(BUNDLED, precision="bfloat16")

    @pytest.mark.parametrize(
        "settings",
        [{"engine": "onnx"}, {"precision": "int8"}, {"engine": "tensorflow", "precision": "bfloat16"}],
    )
    def test_settings_that_there_are_not(self, settings):
        with pytest.raises(ValueError, match=r"must be one of|runs models in float32"):
            SavedModelEmbedder(BUNDLED, **settings)


class TestModelsOfOthers:
    @pytest.mark.parametrize("batch", [None, 3])
    def test_linear_model(self, tmp_path, rng, batch):
        """e = mean colour, on paper; also for a model that takes three images and no other number."""
        import tensorflow as tf

        spec = tf.TensorSpec((batch, 112, 112, 3), tf.float32, name="faces")
        traced = tf.function(
            lambda faces: {"embedding": tf.reduce_mean(faces, axis=[1, 2])}, input_signature=[spec]
        )
        tf.saved_model.save(tf.Module(), str(tmp_path), {"serving_default": traced})
        embedder = SavedModelEmbedder(tmp_path, engine="openvino")
        images = rng.random((7, 112, 112, 3), np.float32)
        means = images.mean(axis=(1, 2))
        unit = means / np.linalg.norm(means, axis=1, keepdims=True)
        np.testing.assert_allclose(embedder.embed(images), unit, atol=1e-5)


# Reports connections, processes, and the telemetry with which OpenVINO says that it was imported.
WATCHED = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "os.fork"):
        print("SENT", event, arguments)
sys.addaudithook(watch)
import openvino_telemetry
def refuse(*given, **named):
    print("SENT telemetry was started")
openvino_telemetry.Telemetry.__new__ = refuse
import numpy as np
from xfv_demo import SavedModelEmbedder
embedder = SavedModelEmbedder(sys.argv[1], engine="openvino")
embedder.embed(np.zeros((1, 112, 112, 3), np.float32))
print("ran", embedder.engine)
"""


def test_nothing_is_sent(tmp_path, run_python):
    home = tmp_path / "home"
    home.mkdir()
    done = run_python("-c", WATCHED, BUNDLED, HOME=str(home))
    assert done.returncode == 0, done.stderr
    assert "ran OpenVINO" in done.stdout
    assert "SENT" not in done.stdout
    # Telemetry keeps its consent and a client's number in the home folder.
    assert [path for path in home.rglob("*") if "intel" in path.as_posix().lower()] == []
