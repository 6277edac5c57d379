"""The bundled model, and models of others: what they give, and how wrong ones are refused."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from xfv_demo import EXPLAINERS, SavedModelEmbedder, XfvError, load_embedder
from xfv_demo.errors import ModelError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BUNDLED = ROOT / "assets" / "models" / "mobilefacenet"


@pytest.fixture
def images(rng):
    return rng.random((5, 112, 112, 3), np.float32)


def save_model(folder, function, shape=(None, 112, 112, 3), dtype="float32", signature="serving_default"):
    """Writes a SavedModel that computes `function`."""
    import tensorflow as tf

    module = tf.Module()
    spec = tf.TensorSpec(shape, dtype, name="faces")
    traced = tf.function(lambda faces: function(faces), input_signature=[spec])
    tf.saved_model.save(module, str(folder), {signature: traced})
    return folder


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """e = [mean red, mean green, mean blue, 0.5]: all of it can be worked out on paper."""
    import tensorflow as tf

    def embed(faces):
        means = tf.reduce_mean(faces, axis=[1, 2])
        return {"features": tf.concat([means, tf.fill([tf.shape(faces)[0], 1], 0.5)], axis=1)}

    return SavedModelEmbedder(save_model(tmp_path_factory.mktemp("models") / "linear", embed), batch_size=2)


class TestBundledModel:
    def test_agrees_with_the_tflite(self, embedder):
        """The embeddings that LiteRT computes from the original MobileFaceNet.tflite, for seeded images."""
        reference = np.load(ROOT / "tests" / "data" / "mobilefacenet-litert.npz")
        rng = np.random.default_rng(int(reference["seed"]))
        images = rng.random((len(reference["embeddings"]), 112, 112, 3), np.float32)
        assert np.abs(embedder.embed(images) - reference["embeddings"]).max() < 1e-4

    @pytest.mark.skipif("XFV_TFLITE" not in os.environ, reason="XFV_TFLITE names no MobileFaceNet.tflite")
    def test_can_be_converted_again(self, embedder, images, tmp_path):
        script = BUNDLED / "convert.py"
        subprocess.run(
            [sys.executable, script, os.environ["XFV_TFLITE"], tmp_path / "again"], check=True, timeout=120
        )
        again = SavedModelEmbedder(tmp_path / "again")
        np.testing.assert_allclose(again.embed(images), embedder.embed(images), atol=1e-5)
        np.testing.assert_allclose(again.feature_grid(images), embedder.feature_grid(images), atol=1e-4)

    def test_signatures_are_as_the_card_says(self, images):
        import tensorflow as tf

        model = tf.saved_model.load(str(BUNDLED))
        serving = model.signatures["serving_default"](input_image=images)
        assert set(serving) == {"embedding"}
        both = model.signatures["embedding_and_grid"](input_image=images)
        assert both["grid"].shape == (5, 7, 7, 512)
        np.testing.assert_allclose(np.linalg.norm(serving["embedding"], axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(both["embedding"], serving["embedding"], atol=1e-6)

    def test_grid_is_the_one_of_the_signature(self, embedder, images):
        import tensorflow as tf

        model = tf.saved_model.load(str(BUNDLED))
        expected = model.signatures["embedding_and_grid"](input_image=images)["grid"]
        assert embedder.grid_shape == (7, 7, 512)
        np.testing.assert_allclose(embedder.feature_grid(images), expected, atol=1e-4)

    def test_the_same_at_any_batch_size(self, embedder, images):
        expected = embedder.embed(images)
        assert expected.shape == (5, 192)
        assert expected.dtype == np.float32
        for batch_size in (1, 2, 5):
            other = SavedModelEmbedder(BUNDLED, batch_size=batch_size)
            np.testing.assert_allclose(other.embed(images), expected, atol=1e-5)

    def test_gradients_agree_with_finite_differences(self, embedder, aligned, rng):
        image = aligned["obama"][None]
        weights = rng.normal(size=(2, 1, embedder.dimensions)).astype(np.float32)
        gradients = embedder.embedding_gradients(image, weights)
        assert gradients.shape == (2, 1, 112, 112, 3)
        for weight, gradient in zip(weights[:, 0], gradients[:, 0], strict=True):
            # Along the gradient itself the difference is largest, so rounding matters least.
            step = 0.03 * gradient / np.linalg.norm(gradient)
            low, high = np.clip(image - step, 0, 1), np.clip(image + step, 0, 1)
            measured = ((embedder.embed(high) - embedder.embed(low)) @ weight)[0]
            expected = ((high - low)[0] * gradient).sum()
            assert measured == pytest.approx(expected, rel=0.02)

    def test_a_photo_that_varies_gives_distances_that_do(self, embedder, aligned):
        similarity = embedder.embed(np.stack([aligned[name] for name in ("obama", "obama2", "biden")]))
        similarity = similarity @ similarity.T
        assert similarity[0, 1] > 0.6 > 0.3 > similarity[0, 2]

    def test_its_hash_is_stable(self, embedder):
        assert embedder.sha256 == load_embedder("mobilefacenet").sha256
        assert len(embedder.sha256) == 64


class TestOnPaper:
    def test_embedding(self, linear):
        images = np.zeros((3, 112, 112, 3), np.float32)
        images[1, ..., 0] = 1
        images[2, :56, :, 1] = 1
        expected = np.array([[0, 0, 0, 1], [1, 0, 0, 0.5], [0, 0.5, 0, 0.5]])
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(linear.embed(images), expected, atol=1e-5)

    def test_gradient(self, linear):
        """With e = (r, 0, 0, 1/2), d(ê_0)/dr = 1/|e| - r^2/|e|^3, spread over the mean's 112^2 pixels."""
        images = np.zeros((3, 112, 112, 3), np.float32)
        images[..., 0] = np.array([0.25, 0.5, 1.0])[:, None, None]
        weights = np.zeros((1, 3, 4), np.float32)
        weights[..., 0] = 1
        gradients = linear.embedding_gradients(images, weights)[0]
        red = np.array([0.25, 0.5, 1.0])
        length = np.sqrt(red**2 + 0.25)
        expected = (1 / length - red**2 / length**3) / 112**2
        np.testing.assert_allclose(gradients[:, 3, 7, 0], expected, rtol=1e-4)
        np.testing.assert_allclose(gradients.std(axis=(1, 2)), 0, atol=1e-8)
        np.testing.assert_allclose(gradients[..., 1:], 0, atol=1e-9)

    def test_no_images_give_no_embeddings(self, linear):
        assert linear.embed(np.zeros((0, 112, 112, 3))).shape == (0, 4)
        assert linear.embedding_gradients(np.zeros((0, 112, 112, 3)), np.zeros((2, 0, 4))).shape[0] == 2

    def test_a_network_without_places_has_no_grid(self, tmp_path):
        import tensorflow as tf

        folder = save_model(tmp_path / "flat", lambda faces: {"e": tf.reshape(faces, [-1, 112 * 112 * 3])})
        # The picture itself is the last thing with places.
        assert SavedModelEmbedder(folder).grid_shape == (112, 112, 3)

    def test_a_fixed_batch_is_filled_up(self, tmp_path, images):
        import tensorflow as tf

        folder = save_model(
            tmp_path / "two", lambda faces: {"e": tf.reduce_mean(faces, axis=[1, 2])}, (2, 112, 112, 3)
        )
        fixed = SavedModelEmbedder(folder)
        means = images.mean(axis=(1, 2))
        expected = means / np.linalg.norm(means, axis=1, keepdims=True)
        np.testing.assert_allclose(fixed.embed(images), expected, atol=1e-5)
        assert fixed.embedding_gradients(images, np.ones((1, 5, 3))).shape == (1, 5, 112, 112, 3)

    def test_other_signature_and_output_names(self, tmp_path, images):
        import tensorflow as tf

        def embed(faces):
            return {
                "embedding": tf.reduce_mean(faces, axis=[1, 2]),
                "quality": tf.reduce_mean(faces, axis=[1, 2]),
            }

        folder = save_model(tmp_path / "named", embed, signature="face_to_vector")
        assert SavedModelEmbedder(folder).embed(images).shape == (5, 3)


@pytest.fixture(scope="module")
def keras3(tmp_path_factory):
    """A Keras 3 model with a convolution, a batch norm and a dense layer, and where a module with it lies."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(0)
    image = keras.Input((112, 112, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 5, strides=8)(image))
    model = keras.Model(image, keras.layers.Dense(6)(keras.layers.Flatten()(x)))
    folder = tmp_path_factory.mktemp("keras3")
    tf.saved_model.save(model, str(folder / "model"))
    holder = tf.Module()
    holder.inner = model

    @tf.function(input_signature=[tf.TensorSpec((None, 112, 112, 3), tf.float32)])
    def embed(faces):
        return {"age": 3 * model(faces)[:, :2], "embedding": model(faces, training=False)}

    tf.saved_model.save(holder, str(folder / "module"), {"serving_default": embed})
    model.export(str(folder / "export"), verbose=False)
    return model, folder


class TestKeras3:
    """Saved by `tf.saved_model.save`, each variable is twice in the graph: no name leads to its value."""

    @pytest.mark.parametrize("saved", ["model", "module", "export"])
    @pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
    def test_embeds_as_the_model_does(self, keras3, images, saved, engine):
        model, folder = keras3
        raw = np.asarray(model(images, training=False))
        unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
        embedder = SavedModelEmbedder(folder / saved, engine=engine)
        assert embedder.notice is None
        np.testing.assert_allclose(embedder.embed(images), unit, atol=1e-5)

    def test_has_the_models_gradients_and_grid(self, keras3, images):
        import tensorflow as tf

        model, folder = keras3
        embedder = SavedModelEmbedder(folder / "model")
        weights = np.random.default_rng(0).normal(size=(1, 5, 6)).astype(np.float32)
        x = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(x)
            weighted = tf.reduce_sum(tf.math.l2_normalize(model(x, training=False), axis=1) * weights[0])
        np.testing.assert_allclose(
            embedder.embedding_gradients(images, weights)[0], tape.gradient(weighted, x), atol=1e-6
        )
        assert embedder.grid_shape == (14, 14, 4)
        assert embedder.affine_head is not None


class TestElsewhere:
    """A model in other processes: pickled for a new one, refused in one that was forked."""

    def test_a_pickled_embedder_is_the_same(self, tmp_path, images):
        import tensorflow as tf

        folder = save_model(tmp_path / "mean", lambda faces: {"e": tf.reduce_mean(faces, axis=[1, 2])})
        embedder = SavedModelEmbedder(folder, name="mine", batch_size=2, engine="tensorflow", notice="told")
        again = pickle.loads(pickle.dumps(embedder))
        assert (again.name, again.notice, again.engine) == ("mine", "told", embedder.engine)
        assert again.sha256 == embedder.sha256
        np.testing.assert_array_equal(again.embed(images), embedder.embed(images))

    def test_a_model_that_has_changed_since_is_refused(self, tmp_path):
        import tensorflow as tf

        folder = save_model(tmp_path / "mean", lambda faces: {"e": tf.reduce_mean(faces, axis=[1, 2])})
        pickled = pickle.dumps(SavedModelEmbedder(folder))
        save_model(folder, lambda faces: {"e": tf.reduce_max(faces, axis=[1, 2])})
        with pytest.raises(ModelError, match="no longer the one that was pickled"):
            pickle.loads(pickled)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    @pytest.mark.parametrize(
        "use", ["embed", "patched", "variants", "gradients", "grid", "load", "detect", "head", "verify"]
    )
    def test_a_forked_process_is_refused(self, embedder, detector, photos, images, use):
        from xfv_demo import Verifier
        from xfv_demo.models.xcos_head import load_head

        variants = embedder.patched(images[0])
        uses = {
            "embed": lambda: embedder.embed(images),
            "patched": lambda: embedder.patched(images[0]),
            "variants": lambda: variants(images, []),
            "gradients": lambda: embedder.embedding_gradients(images, np.ones((1, 5, embedder.dimensions))),
            "grid": lambda: embedder.feature_grid(images),
            "load": lambda: SavedModelEmbedder(BUNDLED),
            "detect": lambda: detector.detect(photos["obama"]),
            "head": lambda: load_head(embedder),
            "verify": lambda: Verifier(embedder, detector=detector).verify(photos["obama"], photos["obama2"]),
        }
        child = os.fork()
        if not child:
            status = 1
            try:
                uses[use]()
            except XfvError as error:
                told = str(error)
                status = 0 if "forked" in told and "spawn" in told and told.isprintable() else 2
            finally:
                os._exit(status)
        # It would wait for ever; and no fork may outlive the test.
        for _ in range(600):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                break
            time.sleep(0.1)
        else:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            pytest.fail("the forked process hangs")
        assert os.waitstatus_to_exitcode(status) == 0


class TestWrongImages:
    @pytest.mark.parametrize(
        "images",
        [
            np.zeros((112, 112, 3)),
            np.zeros((1, 3, 112, 112)),
            np.full((1, 112, 112, 3), 255.0),
            np.full((1, 112, 112, 3), -0.5),
            np.full((1, 112, 112, 3), np.nan),
        ],
        ids=["no batch", "channels first", "0 to 255", "negative", "nan"],
    )
    def test_are_refused(self, linear, images):
        with pytest.raises(ValueError, match="aligned faces"):
            linear.embed(images)

    def test_wrong_weights_are_refused(self, linear, images):
        with pytest.raises(ValueError, match="weights"):
            linear.embedding_gradients(images, np.ones((5, 4)))


class TestWrongFolders:
    def refuses(self, folder, *words):
        with pytest.raises(ModelError) as refusal:
            SavedModelEmbedder(folder)
        message = str(refusal.value)
        assert "\n" not in message
        assert str(folder) in message
        for word in words:
            assert word in message

    def test_empty(self, tmp_path):
        self.refuses(tmp_path, "saved_model.pb")

    def test_missing(self, tmp_path):
        self.refuses(tmp_path / "nowhere", "saved_model.pb")

    def test_broken(self, tmp_path):
        (tmp_path / "saved_model.pb").write_bytes(b"\x00 this is not a graph")
        self.refuses(tmp_path, "cannot be loaded")

    def test_without_its_weights(self, tmp_path):
        (tmp_path / "saved_model.pb").write_bytes((BUNDLED / "saved_model.pb").read_bytes())
        self.refuses(tmp_path, "cannot be loaded")

    def test_of_another_size(self, tmp_path):
        import tensorflow as tf

        folder = save_model(
            tmp_path / "facenet", lambda faces: {"e": tf.reduce_mean(faces, axis=[1, 2])}, (None, 160, 160, 3)
        )
        self.refuses(folder, "(None, 160, 160, 3)", "(N, 112, 112, 3)")

    def test_of_another_type(self, tmp_path):
        import tensorflow as tf

        folder = save_model(
            tmp_path / "bytes",
            lambda faces: {"e": tf.reduce_mean(tf.cast(faces, tf.float32), axis=[1, 2])},
            dtype="uint8",
        )
        self.refuses(folder, "uint8", "float32")

    def test_with_no_embedding(self, tmp_path):
        self.refuses(save_model(tmp_path / "map", lambda faces: {"map": faces * 2}), "map", "no embedding")

    def test_with_two_candidates(self, tmp_path):
        import tensorflow as tf

        def both(faces):
            mean = tf.reduce_mean(faces, axis=[1, 2])
            return {"age": mean, "gender": mean}

        self.refuses(save_model(tmp_path / "both", both), "age", "gender")

    def test_with_one_number_for_a_face(self, tmp_path):
        import tensorflow as tf

        folder = save_model(tmp_path / "one", lambda faces: {"e": tf.reduce_mean(faces, axis=[1, 2])[:, :1]})
        self.refuses(folder, "one number for each face")

    def test_with_places_left(self, tmp_path):
        folder = save_model(tmp_path / "map", lambda faces: {"e": faces[:, :1, :1]})
        self.refuses(folder, "(None, 1, 1, 3)", "no embedding")

    def test_channels_first(self, tmp_path):
        import tensorflow as tf

        folder = save_model(
            tmp_path / "first", lambda faces: {"e": tf.reduce_mean(faces, axis=[2, 3])}, (None, 3, 112, 112)
        )
        self.refuses(folder, "(None, 3, 112, 112)", "(N, 112, 112, 3)")

    def test_with_several_or_no_signatures(self, tmp_path):
        import tensorflow as tf

        spec = tf.TensorSpec((None, 112, 112, 3), tf.float32)
        embed = tf.function(lambda faces: {"e": tf.reduce_mean(faces, axis=[1, 2])}, input_signature=[spec])
        module = tf.Module()
        module.embed = embed
        tf.saved_model.save(module, str(tmp_path / "several"), {"one": embed, "other": embed})
        self.refuses(tmp_path / "several", "it has: one, other", "signatures=")
        tf.saved_model.save(tf.Module(), str(tmp_path / "none"))
        self.refuses(tmp_path / "none", "it has: none", "signatures=")

    def test_with_two_inputs(self, tmp_path):
        import tensorflow as tf

        spec = tf.TensorSpec((None, 112, 112, 3), tf.float32)
        pair = tf.function(
            lambda a, b: {"e": tf.reduce_mean(a - b, axis=[1, 2])}, input_signature=[spec, spec]
        )
        tf.saved_model.save(tf.Module(), str(tmp_path / "pair"), {"serving_default": pair})
        self.refuses(tmp_path / "pair", "2 inputs")

    def test_weights_that_are_not_numbers(self, tmp_path, images):
        import tensorflow as tf

        folder = save_model(
            tmp_path / "nan", lambda faces: {"e": tf.reduce_mean(faces, axis=[1, 2]) * np.nan}
        )
        with pytest.raises(XfvError, match="not finite"):
            SavedModelEmbedder(folder).embed(images)


# None in sys.modules makes an import fail as if the package were not there.
WITHOUT_TF_KERAS = """
import sys
sys.modules["tf_keras"] = None
import numpy as np
from xfv_demo import SavedModelEmbedder
import tensorflow as tf
try:
    tf.saved_model.load(sys.argv[1])
except AttributeError as error:
    print("tf.saved_model.load:", error)
expected = np.load(sys.argv[2])
print("embeddings", repr(SavedModelEmbedder(sys.argv[1]).embed(expected["images"])[0, :3].tolist()))
"""


class TestStandInForArcFaceOctupletLoss:
    def test_embeds_as_keras_did(self, stand_in, expected):
        assert stand_in.name == "Octuplet"
        assert stand_in.dimensions == 512
        raw = expected["embeddings"]
        unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
        np.testing.assert_allclose(stand_in.embed(expected["images"]), unit, atol=1e-5)

    def test_loads_where_tf_keras_is_missing(self, octuplet_folder, stand_in, expected, run_python):
        files = (octuplet_folder / "Octuplet.tf", octuplet_folder / "expected.npz")
        done = run_python("-c", WITHOUT_TF_KERAS, *files)
        assert done.returncode == 0, done.stderr
        assert "add_slot" in done.stdout, "the stand-in no longer shows the trouble that the loader avoids"
        first = np.array(eval(done.stdout.rpartition("embeddings ")[2]))
        np.testing.assert_allclose(first, stand_in.embed(expected["images"])[0, :3], atol=1e-5)

    def test_shows_its_last_grid(self, stand_in, expected):
        # ResNet50 halves 112 five times: the last grid is 4 x 4.
        assert stand_in.grid_shape == (4, 4, 2048)
        grid = stand_in.feature_grid(expected["images"])
        assert grid.shape == (3, 4, 4, 2048)
        assert grid.min() == 0
        assert grid.std() > 0

    def test_is_affine_after_its_last_grid(self, stand_in, expected):
        pair = expected["images"][:2]
        taken_apart = EXPLAINERS["grid"](stand_in).decompose(*pair)
        assert taken_apart.probe_cells.shape == (4, 4)
        first, second = stand_in.embed(pair)
        assert taken_apart.probe_cells.sum() + taken_apart.probe_constant == pytest.approx(
            float(first @ second), abs=1e-5
        )

    def test_has_gradients(self, stand_in, expected):
        gradients = stand_in.embedding_gradients(expected["images"], np.ones((1, 3, 512)))
        assert np.isfinite(gradients).all()
        assert (np.abs(gradients).max(axis=(0, 2, 3, 4)) > 0).all()

    def test_is_taken_from_the_demo_folder_by_auto(self, octuplet_folder, monkeypatch, tmp_path):
        from xfv_demo.models import registry

        (tmp_path / "ArcFaceOctupletLoss.tf").symlink_to(
            octuplet_folder / "Octuplet.tf", target_is_directory=True
        )
        monkeypatch.setattr(registry, "demo_folder", lambda: tmp_path)
        auto = load_embedder("auto")
        assert auto.name == "arcface-octuplet"
        assert auto.notice is None
        assert auto.dimensions == 512
