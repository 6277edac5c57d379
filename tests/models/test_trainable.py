"""Models with trainable weights: which these are, that training moves them, and that they can be kept."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from xfv_demo import SavedModelEmbedder, XfvError
from xfv_demo.errors import ModelError
from xfv_demo.models.registry import folder_sha256
from xfv_demo.models.similarity import cosine_distance
from xfv_demo.models.trainable import TrainableBackbone, trainable_constants

pytestmark = pytest.mark.slow

SHAPE = (112, 112, 3)


@pytest.fixture(scope="session")
def faces(aligned):
    return np.stack([aligned[name] for name in ("obama", "obama2", "obama3", "biden")])


def saved(folder, function, variables=(), batch=None):
    """A SavedModel of a function with variables, as an embedder."""
    module = tf.Module()
    module.weights = list(variables)
    spec = tf.TensorSpec((batch, *SHAPE), tf.float32, name="faces")
    traced = tf.function(lambda faces: {"e": function(faces)}, input_signature=[spec])
    tf.saved_model.save(module, str(folder), {"serving_default": traced})
    return SavedModelEmbedder(folder, engine="tensorflow")


def distances(backbone, embedder, images):
    return cosine_distance(backbone.grids_and_embeddings(images)[1].numpy(), embedder.embed(images))


def gradients(backbone, images):
    with tf.GradientTape() as tape:
        grids, embeddings = backbone.grids_and_embeddings(images)
        loss = tf.reduce_mean(embeddings[:, ::2]) + tf.reduce_mean(tf.square(grids))
    return tape.gradient(loss, backbone.trainable_variables)


def train(backbone, images, steps=20):
    """Moves each embedding towards the one of the photo before; returns the losses."""
    target = tf.roll(backbone.grids_and_embeddings(images)[1], 1, axis=0)
    optimizer = keras.optimizers.SGD(1e-3)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            embeddings = backbone.grids_and_embeddings(images)[1]
            loss = tf.reduce_mean(tf.reduce_sum(tf.square(embeddings - target), axis=1))
        variables = backbone.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    optimizer.build(backbone.trainable_variables)
    return [float(step()) for _ in range(steps)]


@pytest.fixture(scope="module", params=["embedder", "stand_in"])
def origin(request):
    """The bundled model, and one of ArcFaceOctupletLoss's kind."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def backbone(origin):
    """The model's, untouched."""
    return TrainableBackbone(origin)


class TestModels:
    def test_all_weights_are_found(self, origin, backbone):
        # As the model's card says; and what Keras counts as trainable in ResNet50 without its top, a dense
        # layer, and its batch norm's scales and offsets.
        counts = {"mobilefacenet": 1_292_992, "Octuplet": 23_534_592 + (4 * 4 * 2048 + 1) * 512 + 2 * 512}
        assert backbone.count_params() == counts[origin.name]
        assert len({variable.name for variable in backbone.trainable_variables}) == len(backbone.variables)
        assert not any("moving" in variable.name for variable in backbone.variables)
        assert backbone.grid_shape == origin.grid_shape

    def test_agrees_with_the_embedder(self, origin, backbone, faces):
        assert distances(backbone, origin, faces).max() < 1e-5
        grids = backbone.grids_and_embeddings(faces)[0]
        np.testing.assert_allclose(grids, origin.feature_grid(faces), atol=1e-4)

    def test_every_weight_has_a_gradient(self, backbone, faces):
        for variable, gradient in zip(backbone.trainable_variables, gradients(backbone, faces), strict=True):
            assert gradient is not None, variable.name
            assert np.isfinite(gradient).all(), variable.name
            assert np.abs(gradient).max() > 0, variable.name

    def test_untouched_it_is_written_as_it_was(self, origin, backbone, faces, tmp_path):
        backbone.save(tmp_path / "same")
        again = SavedModelEmbedder(tmp_path / "same")
        np.testing.assert_allclose(again.embed(faces), origin.embed(faces), atol=1e-5)
        assert again.frozen_graph.image == origin.frozen_graph.image

    def test_training_moves_it_and_nothing_else(self, origin, faces, tmp_path):
        backbone, before = TrainableBackbone(origin), origin.embed(faces)
        losses = train(backbone, faces)
        assert np.isfinite(losses).all()
        assert losses[-1] < losses[0]
        assert distances(backbone, origin, faces).max() > 1e-5
        backbone.save(tmp_path / "tuned")
        tuned = SavedModelEmbedder(tmp_path / "tuned")
        assert distances(backbone, tuned, faces).max() < 1e-5
        np.testing.assert_allclose(tuned.embed(faces), backbone.grids_and_embeddings(faces)[1], atol=1e-5)
        np.testing.assert_array_equal(origin.embed(faces), before)
        assert folder_sha256(origin.path) == origin.sha256
        assert TrainableBackbone(tuned).count_params() == backbone.count_params()
        assert origin.sha256 in (tmp_path / "tuned" / "README.md").read_text(encoding="utf-8")
        assert tuned.sha256 != origin.sha256


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """All there is to tell apart: input scaling, convolution, both batch norms, PReLU, dense."""
    rng = np.random.default_rng(0)

    def variable(name, *shape):
        values = rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)
        positive = name.endswith("variance")
        return tf.Variable((abs(values) if positive else values).astype(np.float32), name=name)

    def norm(prefix):
        return [variable(f"{prefix}_{part}", 4) for part in ("scale", "offset", "mean", "variance")]

    mean_colour = variable("mean_colour", 3)
    kernel, bias, slope = variable("kernel", 3, 3, 3, 4), variable("bias", 4), variable("slope", 1, 1, 4)
    fused, written, dense = norm("fused"), norm("written"), variable("dense", 4, 5)
    gain = variable("gain", 4)

    def embed(faces):
        x = tf.nn.conv2d((faces - 0.5) * mean_colour + mean_colour, kernel, 32, "VALID")
        x = tf.nn.bias_add(x, bias)
        x, _, _ = tf.compat.v1.nn.fused_batch_norm(x, *fused, is_training=False)
        x = tf.nn.relu(x) - slope * tf.nn.relu(-x)
        scale, offset, mean, variance = written
        x = tf.nn.batch_normalization(x, mean, variance, offset, scale, 1e-3)
        return tf.reduce_mean(x * gain * 2.0, axis=[1, 2]) @ dense

    variables = [mean_colour, kernel, bias, slope, *fused, *written, dense, gain]
    return saved(tmp_path_factory.mktemp("models") / "network", embed, variables)


class TestWhichConstantsAreWeights:
    def test_by_operation_and_position(self, network):
        frozen = network.frozen_graph
        found = trainable_constants(frozen.graph_def, frozen.image)
        assert found == {
            "kernel",
            "bias",
            "slope",
            "fused_scale",
            "fused_offset",
            "written_scale",
            "written_offset",
            "gain",
            "dense",
        }

    def test_all_of_them_have_gradients(self, network, faces):
        found = gradients(TrainableBackbone(network), faces)
        assert all(np.abs(gradient).max() > 0 for gradient in found)


class TestWrongModels:
    def refuses(self, embedder, *words):
        with pytest.raises(ModelError) as refusal:
            TrainableBackbone(embedder)
        message = str(refusal.value)
        assert "\n" not in message
        for word in (embedder.name, *words):
            assert word in message

    def test_without_weights(self, tmp_path):
        embedder = saved(tmp_path / "mean", lambda faces: tf.reduce_mean(faces, axis=[1, 2]))
        self.refuses(embedder, "cannot be trained", "float32")

    def test_with_whole_numbers_for_weights(self, tmp_path):
        whole = tf.Variable(np.ones((3, 3, 3, 4), np.int8), name="kernel")
        steps = tf.Variable(np.full(4, 0.1, np.float32), name="steps")

        def embed(faces):
            x = tf.nn.conv2d(faces, tf.cast(whole, tf.float32) * steps, 32, "VALID")
            return tf.reduce_mean(x, axis=[1, 2])

        self.refuses(saved(tmp_path / "int8", embed, [whole, steps]), "cannot be trained", "float32")

    def test_whose_only_weights_come_after_the_grid(self, tmp_path):
        dense = tf.Variable(np.ones((3, 4), np.float32))

        def embed(faces):
            return tf.reduce_mean(tf.nn.avg_pool2d(faces, 16, 16, "VALID"), axis=[1, 2]) @ dense

        self.refuses(saved(tmp_path / "dense", embed, [dense]), "before its last feature grid")

    def test_with_a_fixed_number_of_images(self, tmp_path):
        kernel = tf.Variable(np.ones((3, 3, 3, 4), np.float32))

        def embed(faces):
            return tf.reduce_mean(tf.nn.conv2d(faces, kernel, 32, "VALID"), axis=[1, 2])

        self.refuses(saved(tmp_path / "two", embed, [kernel], batch=2), "2 images")


class TestKeeping:
    def test_a_keras_model_keeps_and_restores_it(self, embedder, faces, tmp_path):
        class Trainer(keras.Model):
            def __init__(self):
                super().__init__()
                self.backbone = TrainableBackbone(embedder)
                self.dense = keras.layers.Dense(2)
                self.dense.build((None, embedder.dimensions))
                self.built = True

        trainer = Trainer()
        train(trainer.backbone, faces, steps=3)
        expected = trainer.backbone.grids_and_embeddings(faces)[1].numpy()
        trainer.save_weights(tmp_path / "state.weights.h5")
        for variable in trainer.backbone.variables:
            variable.assign(variable / 2)
        assert np.abs(trainer.backbone.grids_and_embeddings(faces)[1] - expected).max() > 1e-2
        for one in (trainer, Trainer()):
            one.load_weights(tmp_path / "state.weights.h5")
            np.testing.assert_allclose(one.backbone.grids_and_embeddings(faces)[1], expected, atol=1e-6)

    def test_no_folder_is_overwritten(self, embedder, tmp_path):
        (tmp_path / "mine.txt").write_text("mine")
        with pytest.raises(XfvError, match="there already"):
            TrainableBackbone(embedder).save(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]

    def test_a_folder_that_cannot_be_written(self, embedder, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(XfvError, match="cannot be written") as refusal:
            TrainableBackbone(embedder).save(tmp_path / "file" / "model")
        assert "\n" not in str(refusal.value)
