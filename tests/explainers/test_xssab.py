"""xSSAB against the paper's formulas, worked out on paper and by TensorFlow on its own."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from xfv_demo import EXPLAINERS, SavedModelEmbedder, load_calibration
from xfv_demo.errors import CalibrationError, ModelError

BUNDLED = Path(__file__).resolve().parents[2] / "assets" / "models" / "mobilefacenet"

LEFT, RIGHT = np.s_[:, :56], np.s_[:, 56:]


class TwoDimensions:
    """Dimension 0 is moved by the left half of an image, at 1 a channel, dimension 1 by the right, at 2.

    The probe, which is black, is (0.6, 0.8); anything else is (0.8, -0.6). So c = (0.48, -0.48).
    """

    def embed(self, images):
        black = images.reshape(len(images), -1).max(axis=1) == 0
        return np.where(black[:, None], [0.6, 0.8], [0.8, -0.6]).astype(np.float32)

    def embedding_gradients(self, images, weights):
        gradients = np.zeros((*weights.shape[:2], *images.shape[1:]), np.float32)
        gradients[:, :, :, :56] = 1 * weights[..., 0, None, None, None]
        gradients[:, :, :, 56:] = 2 * weights[..., 1, None, None, None]
        return gradients


@pytest.fixture
def on_paper():
    photos = np.zeros((112, 112, 3), np.float32), np.ones((112, 112, 3), np.float32)
    return lambda threshold: EXPLAINERS["xssab"](TwoDimensions(), threshold=threshold).explain(*photos)


class TestOnPaper:
    def test_dimensions_that_agree_are_positive_and_others_negative(self, on_paper):
        """G+ = 1/2 |1 x 0.8| left, G- = 1/2 |2 x -0.6| right; the half is for images in [-1, 1]."""
        explanation = on_paper(0)
        positive, negative = explanation.parts["positive"], explanation.parts["negative"]
        np.testing.assert_allclose(positive.probe[LEFT], 0.4, rtol=1e-6)
        np.testing.assert_allclose(positive.probe[RIGHT], 0, atol=0)
        np.testing.assert_allclose(negative.probe[LEFT], 0, atol=0)
        np.testing.assert_allclose(negative.probe[RIGHT], 0.6, rtol=1e-6)
        assert explanation.probe_scale == pytest.approx(0.6)
        np.testing.assert_allclose(explanation.probe_map[LEFT], 0.4 / 0.6, rtol=1e-6)
        np.testing.assert_allclose(explanation.probe_map[RIGHT], -1, rtol=1e-6)

    def test_the_reference_is_weighed_by_the_probe(self, on_paper):
        explanation = on_paper(0)
        np.testing.assert_allclose(explanation.parts["positive"].reference[LEFT], 0.3, rtol=1e-6)
        np.testing.assert_allclose(explanation.parts["negative"].reference[RIGHT], 0.8, rtol=1e-6)

    @pytest.mark.parametrize(
        ("threshold", "similar"),
        [
            (0.95, (True, False)),  # T / D = 0.475, just below 0.48
            (0.97, (False, False)),
            (-0.95, (True, False)),
            (-0.97, (True, True)),  # T / D = -0.485, just below -0.48
        ],
    )
    def test_a_dimension_is_similar_from_its_share_of_the_threshold_on(self, on_paper, threshold, similar):
        positive = on_paper(threshold).parts["positive"].probe
        assert (positive[0, 0] > 0, positive[0, -1] > 0) == similar

    def test_distance(self, on_paper):
        assert on_paper(0).distance == pytest.approx(1)


@pytest.fixture(scope="module")
def by_tensorflow():
    """The definition, literally, by the SavedModel's own signature: maps of the first photo."""
    import tensorflow as tf

    model = tf.saved_model.load(str(BUNDLED))

    def unit_embedding(x):
        features = model.signatures["serving_default"](input_image=(x + 1) / 2)["embedding"]
        return features / tf.norm(features, axis=1, keepdims=True)

    def maps(photo, other, threshold):
        x = tf.Variable(photo[None] * 2 - 1)
        other = unit_embedding(tf.constant(other[None] * 2 - 1))
        with tf.GradientTape(persistent=True) as tape:
            embedding = unit_embedding(x)
            terms = tf.stop_gradient(embedding * other)
            similar = tf.cast(terms >= threshold / terms.shape[1], tf.float32)
            positive = tf.reduce_sum(embedding * tf.stop_gradient(other * similar))
            negative = tf.reduce_sum(embedding * tf.stop_gradient(other * (1 - similar)))
        return [
            tf.reduce_mean(tf.abs(tape.gradient(target, x)), axis=-1)[0].numpy()
            for target in (positive, negative)
        ]

    return maps


class TestAgainstTensorFlow:
    @pytest.mark.parametrize("names", [("obama", "obama2"), ("obama", "biden")])
    def test_maps_are_the_definitions(self, aligned, by_tensorflow, names):
        # In the same engine, and of pixels that float32 carries to [-1, 1] and back unchanged: the last digit
        # of a sum decides on which side of its kink a PReLU is, which moves the gradients about it.
        embedder = SavedModelEmbedder(BUNDLED, engine="tensorflow")
        probe, reference = (np.round(aligned[name] * 2**16) / 2**16 for name in names)
        threshold = 1 - load_calibration("mobilefacenet").eer_threshold
        explanation = EXPLAINERS["xssab"](embedder).explain(probe, reference)
        assert explanation.parameters["threshold"] == threshold
        for role, photo, other in (("probe", probe, reference), ("reference", reference, probe)):
            positive, negative = by_tensorflow(photo, other, threshold)
            scale = getattr(explanation, f"{role}_scale")
            pairs = [
                (getattr(explanation.parts["positive"], role), positive),
                (getattr(explanation.parts["negative"], role), negative),
                (getattr(explanation, f"{role}_map") * scale, positive - negative),
            ]
            for ours, theirs in pairs:
                assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9999
                np.testing.assert_allclose(ours, theirs, atol=1e-3 * np.abs(theirs).max())

    def test_openvinos_differ_where_a_unit_is_at_its_kink_alone(self, embedder, aligned):
        """Measured on these photos: in 13 of 12,544 pixels, by 0.2 % of the largest at most."""
        by_tensorflow = SavedModelEmbedder(BUNDLED, engine="tensorflow")
        pair = aligned["obama"], aligned["biden"]
        ours, theirs = (EXPLAINERS["xssab"](one).explain(*pair) for one in (embedder, by_tensorflow))
        for role in ("probe", "reference"):
            apart = np.abs(getattr(ours, f"{role}_map") - getattr(theirs, f"{role}_map"))
            assert (apart > 1e-3).mean() < 0.01
            assert apart.max() < 0.02


class TestSmoothing:
    @pytest.fixture
    def explain(self, embedder, aligned):
        def explain(seed=5, **settings):
            explainer = EXPLAINERS["xssab"](embedder, 0.36, rng=np.random.default_rng(seed), **settings)
            return list(explainer.stream(aligned["obama"], aligned["obama2"]))

        return explain

    def test_is_off_by_default(self, explain):
        (plain,) = explain()
        assert plain.parameters == {
            "threshold": 0.36,
            "noise_samples": 0,
            "noise_level": 0.0,
            "gaussian_sigma": 0.0,
        }

    def test_noise_of_level_0_changes_nothing(self, explain):
        (plain,) = explain()
        *_, noisy = explain(noise_samples=2, noise_level=0)
        np.testing.assert_allclose(noisy.probe_map, plain.probe_map, atol=1e-4)

    def test_a_step_for_each_batch(self, explain):
        steps = explain(noise_samples=5, batch_size=4)
        assert [step.progress for step in steps] == [0.4, 0.8, 1]

    def test_is_the_mean_over_the_samples(self, explain):
        one, two = explain(noise_samples=2, batch_size=2)
        (first,) = explain(noise_samples=1)
        np.testing.assert_allclose(one.parts["positive"].probe, first.parts["positive"].probe, rtol=1e-4)
        assert np.corrcoef(one.probe_map.ravel(), two.probe_map.ravel())[0, 1] < 0.99

    def test_noise_is_the_generators(self, explain):
        same, again, other = (explain(seed, noise_samples=1)[0] for seed in (5, 5, 6))
        np.testing.assert_array_equal(same.probe_map, again.probe_map)
        assert np.abs(same.probe_map - other.probe_map).max() > 0.1

    def test_gaussian_blurs_the_parts(self, explain):
        (plain,), (smooth,) = explain(), explain(gaussian_sigma=2)
        for part, plain_part in zip(
            itertools.chain(*smooth.parts.values()), itertools.chain(*plain.parts.values()), strict=True
        ):
            expected = cv2.GaussianBlur(plain_part, (0, 0), 2)
            np.testing.assert_allclose(part, expected, atol=1e-4 * expected.max())


class TestWhatItNeeds:
    def test_gradients(self):
        class OnlyEmbeds:
            def embed(self, images): ...

        with pytest.raises(ModelError, match="occlusion"):
            EXPLAINERS["xssab"](OnlyEmbeds(), threshold=0.3)

    def test_a_threshold_of_a_nameless_embedder(self):
        with pytest.raises(CalibrationError, match=r"threshold=1 - calibration\.eer_threshold"):
            EXPLAINERS["xssab"](TwoDimensions())

    def test_a_calibration_of_a_named_one(self):
        embedder = TwoDimensions()
        embedder.name = "never-calibrated"
        with pytest.raises(CalibrationError, match="never-calibrated"):
            EXPLAINERS["xssab"](embedder)

    @pytest.mark.parametrize("gradient", [np.nan, np.inf])
    def test_finite_gradients(self, gradient):
        embedder = TwoDimensions()
        embedder.embedding_gradients = lambda images, weights: np.full(
            (*weights.shape[:2], *images.shape[1:]), gradient, np.float32
        )
        black = np.zeros((112, 112, 3), np.float32)
        with pytest.raises(ModelError, match="not finite"):
            EXPLAINERS["xssab"](embedder, threshold=0.3).explain(black, black)

    @pytest.mark.parametrize(
        "settings",
        [
            {"threshold": 1.5},
            {"threshold": np.nan},
            {"noise_samples": -1},
            {"noise_samples": 2},
            {"noise_level": -0.1},
            {"gaussian_sigma": np.nan},
            {"batch_size": 0},
        ],
    )
    def test_settings_in_range(self, settings):
        (name,) = settings
        with pytest.raises(ValueError, match=name):
            EXPLAINERS["xssab"](TwoDimensions(), **{"threshold": 0.3, **settings})
