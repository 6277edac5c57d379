"""FGGB against the paper's formulas, worked out on paper and by TensorFlow on its own."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from xfv_demo import load_calibration
from xfv_demo.errors import CalibrationError, ModelError
from xfv_demo.explainers.fggb import FggbExplainer

BUNDLED = Path(__file__).resolve().parents[2] / "assets" / "models" / "mobilefacenet"

LEFT, RIGHT = np.s_[:, :56], np.s_[:, 56:]

# The length over the pixels of a map that is 1 in one half and 0 in the other.
HALF = np.sqrt(112 * 56)


class ThreeDimensions:
    """Dimension 0 is moved by the left half of an image, 1 by the right, in one channel only, 2 by nothing.

    The probe, which is black, is (0.6, 0.8, 0); anything else is (0.8, -0.6, 0). So w = (0.48, -0.48, 0).
    """

    def __init__(self):
        self.asked = []

    def embed(self, images):
        black = images.reshape(len(images), -1).max(axis=1) == 0
        return np.where(black[:, None], [0.6, 0.8, 0], [0.8, -0.6, 0]).astype(np.float32)

    def embedding_gradients(self, images, weights):
        self.asked.append(weights)
        gradients = np.zeros((*weights.shape[:2], *images.shape[1:]), np.float32)
        gradients[:, :, :, :56] = -3 * weights[..., 0, None, None, None]
        gradients[:, :, :, 56:, 1] = 0.01 * weights[..., 1, None, None]
        return gradients


@pytest.fixture
def black_and_white():
    return np.zeros((112, 112, 3), np.float32), np.ones((112, 112, 3), np.float32)


@pytest.fixture
def on_paper(black_and_white):
    return lambda threshold: FggbExplainer(ThreeDimensions(), threshold).explain(*black_and_white)


class TestOnPaper:
    @pytest.mark.parametrize("threshold", [0, 0.3, -0.3])
    def test_dimensions_count_by_what_they_exceed_the_thresholds_share(self, on_paper, threshold):
        """0.48 - T / 3 left and -0.48 - T / 3 right, however large the gradients, their sign and channels."""
        explanation = on_paper(threshold)
        for values in explanation.unscaled:
            np.testing.assert_allclose(values[LEFT], (0.48 - threshold / 3) / HALF, rtol=1e-5)
            np.testing.assert_allclose(values[RIGHT], (-0.48 - threshold / 3) / HALF, rtol=1e-5)
        assert explanation.probe_scale == pytest.approx((0.48 + abs(threshold) / 3) / HALF, rel=1e-5)
        assert explanation.distance == pytest.approx(1)

    def test_parts_are_the_two_sides_of_the_map(self, on_paper):
        parts = on_paper(0.3).parts
        assert sorted(parts) == ["negative", "positive"]
        for values in parts["positive"]:
            np.testing.assert_allclose(values[LEFT], 0.38 / HALF, rtol=1e-5)
            np.testing.assert_array_equal(values[RIGHT], 0)
        for values in parts["negative"]:
            np.testing.assert_array_equal(values[LEFT], 0)
            np.testing.assert_allclose(values[RIGHT], 0.58 / HALF, rtol=1e-5)

    @pytest.mark.parametrize("sign", [1, -1])
    def test_where_all_dimensions_agree_so_do_all_pixels(self, black_and_white, sign):
        """Terms of 0.36 and 0.64, for T = 0.3; of -0.36 and -0.64, against T = -0.3."""
        embedder = ThreeDimensions()
        embedder.embed = lambda images: np.array([[0.6, 0.8, 0], [sign * 0.6, sign * 0.8, 0]], np.float32)
        explanation = FggbExplainer(embedder, sign * 0.3).explain(*black_and_white)
        own, other = ("positive", "negative") if sign > 0 else ("negative", "positive")
        for values in explanation.unscaled:
            assert (sign * values > 0).all()
        for role in ("probe", "reference"):
            assert getattr(explanation.parts[own], role).min() > 0
            np.testing.assert_array_equal(getattr(explanation.parts[other], role), 0)

    def test_a_dimension_that_nothing_moves_looks_nowhere(self, black_and_white):
        embedder = ThreeDimensions()
        embedder.embedding_gradients = lambda images, weights: np.zeros(
            (*weights.shape[:2], *images.shape[1:]), np.float32
        )
        explanation = FggbExplainer(embedder, 0.3).explain(*black_and_white)
        assert explanation.probe_scale == explanation.reference_scale == 0
        np.testing.assert_array_equal(explanation.probe_map, 0)

    def test_dimensions_come_by_their_weight(self, black_and_white):
        """At T = 0.3 the excesses are 0.38, -0.58 and -0.1."""
        embedder = ThreeDimensions()
        steps = list(FggbExplainer(embedder, 0.3, batch_size=1).stream(*black_and_white))
        asked = np.concatenate(embedder.asked)
        np.testing.assert_array_equal(asked[:, 0], np.eye(3)[[1, 0, 2]])
        np.testing.assert_array_equal(asked[:, 1], asked[:, 0])
        assert [step.progress for step in steps] == [1 / 3, 2 / 3, 1]
        assert steps[0].unscaled.probe[LEFT].max() == 0
        np.testing.assert_allclose(steps[0].probe_map[RIGHT], -1)
        np.testing.assert_array_equal(steps[1].probe_map, steps[2].probe_map)

    @pytest.mark.parametrize(("batch_size", "steps"), [(1, 3), (2, 2), (3, 1), (16, 1)])
    def test_batch_size_makes_the_steps(self, black_and_white, batch_size, steps):
        explainer = FggbExplainer(ThreeDimensions(), 0.3, batch_size=batch_size)
        assert len(list(explainer.stream(*black_and_white))) == steps

    def test_blur_is_a_gaussian_and_off_by_default(self, black_and_white, on_paper):
        assert on_paper(0.3).parameters == {"threshold": 0.3, "gaussian_sigma": 0.0}
        smooth = FggbExplainer(ThreeDimensions(), 0.3, gaussian_sigma=5).explain(*black_and_white)
        assert smooth.parameters["gaussian_sigma"] == 5
        expected = cv2.GaussianBlur(on_paper(0.3).unscaled.probe, (0, 0), 5)
        np.testing.assert_allclose(smooth.unscaled.probe, expected, atol=1e-4 * np.abs(expected).max())
        np.testing.assert_allclose(
            smooth.parts["negative"].probe, np.maximum(-expected, 0), atol=1e-4 * np.abs(expected).max()
        )


@pytest.fixture(scope="module")
def of_the_bundled(embedder, aligned):
    """What all tests of the bundled model share, as it takes seconds: two photos' steps, at T = 0.36."""
    pair = aligned["obama"], aligned["obama2"]
    return pair, list(FggbExplainer(embedder, 0.36, batch_size=48).stream(*pair))


@pytest.fixture(scope="module")
def by_tensorflow():
    """Where each dimension looks, literally, by the SavedModel's own signature: (D, 112, 112)."""
    import tensorflow as tf

    model = tf.saved_model.load(str(BUNDLED))

    def embed_and_look(photo):
        x = tf.Variable(photo[None])
        with tf.GradientTape(persistent=True) as tape:
            features = model.signatures["serving_default"](input_image=x)["embedding"]
            embedding = features / tf.norm(features, axis=1, keepdims=True)
            dimensions = tf.unstack(embedding[0])
        looks = []
        for dimension in dimensions:
            gradient = tf.reduce_mean(tf.abs(tape.gradient(dimension, x)[0]), axis=-1).numpy()
            looks.append(gradient / np.sqrt((gradient**2).sum()))
        return embedding[0].numpy(), np.stack(looks)

    return embed_and_look


class TestTheBundledModel:
    def test_the_map_is_the_definitions(self, embedder, of_the_bundled, by_tensorflow):
        """The probe's; as exchanging the photos exchanges the maps, the reference's with it."""
        pair, (*_, explanation) = of_the_bundled
        embedding, looks = by_tensorflow(pair[0])
        terms = embedding * embedder.embed(pair[1][None])[0]
        expected = np.tensordot(terms - 0.36 / len(terms), looks, axes=1)
        own = explanation.unscaled.probe
        assert np.corrcoef(own.ravel(), expected.ravel())[0, 1] > 0.9999
        np.testing.assert_allclose(own, expected, atol=1e-3 * np.abs(expected).max())
        assert explanation.distance == pytest.approx(1 - terms.sum(), abs=1e-4)

    def test_the_first_step_looks_like_the_last(self, of_the_bundled):
        _, steps = of_the_bundled
        assert [step.progress for step in steps] == [0.25, 0.5, 0.75, 1]
        for first, last in zip(steps[0].unscaled, steps[-1].unscaled, strict=True):
            assert np.corrcoef(first.ravel(), last.ravel())[0, 1] > 0.9

    def test_where_all_dimensions_speak_for_no_pixel_speaks_against(self, embedder, aligned):
        """A face and itself: the terms are squares, at least 0, and at T = -1 all exceed T / D."""
        step = next(FggbExplainer(embedder, -1, batch_size=4).stream(aligned["obama"], aligned["obama"]))
        for values in step.unscaled:
            assert values.min() >= 0 < values.max()
        np.testing.assert_array_equal(step.parts["negative"].probe, 0)


class TestWhatItNeeds:
    def test_gradients(self):
        class OnlyEmbeds:
            def embed(self, images): ...

        with pytest.raises(ModelError, match=r"FGGB .*occlusion"):
            FggbExplainer(OnlyEmbeds(), threshold=0.3)

    def test_a_threshold_of_a_nameless_embedder(self):
        with pytest.raises(CalibrationError, match=r"FGGB .*threshold=1 - calibration\.eer_threshold"):
            FggbExplainer(ThreeDimensions())

    def test_a_calibration_of_a_named_one(self):
        embedder = ThreeDimensions()
        embedder.name = "never-calibrated"
        with pytest.raises(CalibrationError, match="never-calibrated"):
            FggbExplainer(embedder)

    def test_the_threshold_is_the_calibrations(self):
        embedder = ThreeDimensions()
        embedder.name = "mobilefacenet"
        expected = 1 - load_calibration("mobilefacenet").eer_threshold
        assert FggbExplainer(embedder).parameters["threshold"] == expected

    @pytest.mark.parametrize("gradient", [np.nan, np.inf])
    def test_finite_gradients(self, black_and_white, gradient):
        embedder = ThreeDimensions()
        embedder.embedding_gradients = lambda images, weights: np.full(
            (*weights.shape[:2], *images.shape[1:]), gradient, np.float32
        )
        with pytest.raises(ModelError, match="not finite"):
            FggbExplainer(embedder, 0.3).explain(*black_and_white)

    @pytest.mark.parametrize(
        "settings",
        [
            {"threshold": 1.5},
            {"threshold": np.nan},
            {"gaussian_sigma": -1},
            {"gaussian_sigma": np.nan},
            {"batch_size": 0},
        ],
    )
    def test_settings_in_range(self, settings):
        (name,) = settings
        with pytest.raises(ValueError, match=name):
            FggbExplainer(ThreeDimensions(), **{"threshold": 0.3, **settings})
