"""OpenVINO's reading of a SavedModel is compared with TensorFlow once, and held to what that gave."""

import json
import shutil

import numpy as np
import pytest

from xfv_demo import SavedModelEmbedder
from xfv_demo.errors import ModelError
from xfv_demo.models import equivalence
from xfv_demo.models.frozen_graph import trial_images
from xfv_demo.models.similarity import unit_length
from xfv_demo.models.tensorflow_model import TensorFlowModel
from xfv_demo.runtime.paths import assets_folder

pytestmark = pytest.mark.slow

BUNDLED = assets_folder() / "models" / "mobilefacenet"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XFV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "equivalence"


@pytest.fixture
def model(tmp_path):
    """Two numbers for a face: its mean red, and its mean green doubled."""
    import tensorflow as tf

    spec = tf.TensorSpec((None, 112, 112, 3), tf.float32, name="faces")
    traced = tf.function(
        lambda faces: {"embedding": tf.reduce_mean(faces, axis=[1, 2])[:, :2] * [1.0, 2.0]},
        input_signature=[spec],
    )
    tf.saved_model.save(tf.Module(), str(tmp_path / "model"), {"serving_default": traced})
    return tmp_path / "model"


@pytest.fixture
def without_tensorflow(monkeypatch):
    """TensorFlow cannot be asked any more."""

    def refuse(*_given, **_named):
        pytest.fail("TensorFlow was asked")

    return lambda: monkeypatch.setattr(TensorFlowModel, "__init__", refuse)


def expected(images):
    means = images.mean(axis=(1, 2))[:, :2] * [1, 2]
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def assert_right(embedder, rng):
    images = rng.random((3, 112, 112, 3), np.float32)
    np.testing.assert_allclose(embedder.embed(images), expected(images), atol=1e-5)


def test_the_shipped_record_is_what_tensorflow_gives():
    (file,) = (assets_folder() / "equivalence").glob("*.json")
    record = json.loads(file.read_text())
    assert record["sha256"] == file.stem == SavedModelEmbedder(BUNDLED).sha256
    given = TensorFlowModel(BUNDLED)(trial_images())
    np.testing.assert_allclose(record["embeddings"], unit_length(given), atol=1e-6)


def test_the_bundled_model_asks_tensorflow_for_nothing(without_tensorflow, cache):
    without_tensorflow()
    assert SavedModelEmbedder(BUNDLED).engine.startswith("OpenVINO")
    assert not cache.exists()


def test_a_model_is_compared_once(model, cache, without_tensorflow, rng):
    assert_right(SavedModelEmbedder(model), rng)
    (record,) = cache.glob("*/record.json")
    np.testing.assert_allclose(
        json.loads(record.read_text())["embeddings"], expected(trial_images()), atol=1e-6
    )
    without_tensorflow()
    assert_right(SavedModelEmbedder(model), rng)


def test_what_it_reads_wrongly_is_read_from_the_frozen_graph(
    model, cache, without_tensorflow, monkeypatch, rng
):
    right = equivalence.read_network_file

    def mistaken(path):
        """Some other model, where the SavedModel itself is read."""
        return right(BUNDLED if path == model else path)

    monkeypatch.setattr(equivalence, "read_network_file", mistaken)
    embedder = SavedModelEmbedder(model)
    assert embedder.engine.startswith("OpenVINO")
    assert_right(embedder, rng)
    (frozen,) = cache.glob("*/frozen.pb")
    without_tensorflow()
    again = SavedModelEmbedder(model)
    assert_right(again, rng)
    # The last feature grid of it is the picture itself.
    assert again.grid_shape == (112, 112, 3)
    # And a graph that has been changed is found out.
    frozen.write_bytes(b"something else")
    with pytest.raises(pytest.fail.Exception, match="TensorFlow was asked"):
        SavedModelEmbedder(model)


@pytest.mark.parametrize("harm", ["other numbers", "no JSON", "of another model", "gone"])
def test_a_record_that_does_not_hold_is_made_anew(model, cache, harm, rng):
    SavedModelEmbedder(model)
    (record,) = cache.glob("*/record.json")
    right = record.read_text()
    document = json.loads(right)
    if harm == "other numbers":
        record.write_text(json.dumps({**document, "embeddings": [[1, 0], [0, 1]]}))
    elif harm == "no JSON":
        record.write_text(right[:40])
    elif harm == "of another model":
        record.write_text(json.dumps({**document, "sha256": "0" * 64}))
    else:
        shutil.rmtree(cache)
    assert_right(SavedModelEmbedder(model), rng)
    assert record.read_text() == right


def test_a_cache_that_cannot_be_written_costs_time_only(model, monkeypatch, tmp_path, rng):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XFV_CACHE", str(tmp_path / "file"))
    embedder = SavedModelEmbedder(model)
    assert embedder.engine.startswith("OpenVINO")
    assert_right(embedder, rng)


def test_where_openvino_is_missing_nothing_is_kept_of_that(model, cache, monkeypatch, rng):
    def missing(_path):
        raise ImportError("no openvino")

    with monkeypatch.context() as patch:
        patch.setattr(equivalence, "read_network_file", missing)
        embedder = SavedModelEmbedder(model)
        assert embedder.engine.startswith("TensorFlow")
        assert "OpenVINO is not installed" in embedder.notice
        assert_right(embedder, rng)
    assert not cache.exists()
    assert SavedModelEmbedder(model).engine.startswith("OpenVINO")


def test_where_tensorflow_is_missing_it_is_said(model, monkeypatch):
    def missing(*_given, **_named):
        raise ImportError("No module named 'tensorflow'")

    monkeypatch.setattr(TensorFlowModel, "__init__", missing)
    with pytest.raises(ModelError, match=r"TensorFlow is needed to run .* pip install tensorflow") as failure:
        SavedModelEmbedder(model)
    assert "\n" not in str(failure.value)
    bundled = SavedModelEmbedder(BUNDLED)
    with pytest.raises(ModelError, match="TensorFlow is needed"):
        _ = bundled.frozen_graph


def test_a_model_whose_weights_are_broken_is_not_kept(tmp_path, cache):
    import tensorflow as tf

    traced = tf.function(
        lambda faces: {"embedding": tf.reduce_mean(faces, axis=[1, 2]) * float("nan")},
        input_signature=[tf.TensorSpec((None, 112, 112, 3), tf.float32)],
    )
    tf.saved_model.save(tf.Module(), str(tmp_path / "broken"), {"serving_default": traced})
    embedder = SavedModelEmbedder(tmp_path / "broken")
    with pytest.raises(ModelError, match="not finite"):
        embedder.embed(np.zeros((1, 112, 112, 3), np.float32))
    assert not cache.exists()
