"""Integrated gradients from the mean face, where the answer is known on paper."""

import cv2
import numpy as np
import pytest

from xfv_demo import EXPLAINERS
from xfv_demo.errors import ModelError
from xfv_demo.faces.mean_face import mean_face
from xfv_demo.models.similarity import unit_length

METHOD = EXPLAINERS["integrated-gradients"]


class Brightness:
    """Two dimensions, the means of the upper and of the lower half; and their exact gradients."""

    def embed(self, images):
        return unit_length(self._values(images))

    def embedding_gradients(self, images, weights):
        values = self._values(images)
        length = np.linalg.norm(values, axis=1, keepdims=True)
        unit = values / length
        across = (weights - (weights * unit).sum(axis=-1, keepdims=True) * unit) / length / (56 * 112 * 3)
        gradients = np.empty((*weights.shape[:2], 112, 112, 3))
        gradients[:, :, :56] = across[..., 0, None, None, None]
        gradients[:, :, 56:] = across[..., 1, None, None, None]
        return gradients.astype(np.float32)

    @staticmethod
    def _values(images):
        return images.astype(np.float64).reshape(-1, 2, 56 * 112 * 3).mean(axis=2)


@pytest.fixture
def pair(rng):
    upper = np.array([0.9, 0.2]).repeat(56)[:, None, None]
    return tuple((upper * rng.random((112, 112, 3))).astype(np.float32) for _ in range(2))


def test_without_blur_the_map_sums_to_what_the_similarity_gains(pair):
    explanation = METHOD(Brightness(), steps=64, gaussian_sigma=0).explain(*pair)
    units = Brightness().embed(np.stack([pair[0], mean_face(), pair[1]]))
    gain = (units[0] - units[1]) @ units[2]
    assert abs(gain) > 0.05
    assert explanation.numbers["gain"] == pytest.approx(gain, abs=1e-6)
    assert explanation.unscaled.probe.sum() == pytest.approx(gain, rel=1e-3)


@pytest.mark.parametrize("steps", [1, 4])
def test_gradients_are_taken_at_the_middles_of_equal_parts(steps, pair):
    embedder = Brightness()
    way = pair[0] - mean_face()
    (other,) = embedder.embed(pair[1][None])
    shares = (np.arange(steps) + 0.5) / steps
    points = np.stack([mean_face() + np.float32(share) * way for share in shares])
    weights = np.broadcast_to(other.astype(np.float32), (1, steps, 2))
    expected = (embedder.embedding_gradients(points, weights)[0].mean(axis=0) * way).sum(axis=-1)
    found = METHOD(embedder, steps=steps, gaussian_sigma=0).explain(*pair).unscaled.probe
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_the_map_is_blurred(pair):
    plain, smooth = (METHOD(Brightness(), gaussian_sigma=s).explain(*pair).unscaled.probe for s in (0, 8))
    np.testing.assert_allclose(smooth, cv2.GaussianBlur(plain, (0, 0), 8), atol=1e-7)


def test_another_baseline_may_be_given(pair):
    black = np.zeros((112, 112, 3), np.float32)
    found = METHOD(Brightness(), gaussian_sigma=0, baseline=black).explain(*pair).unscaled.probe
    # From black, all points of the way have one direction, and the similarity never changes.
    assert abs(found.sum()) < 1e-5


def test_the_mean_face_itself_has_nothing(pair):
    assert not METHOD(Brightness()).explain(mean_face(), pair[1]).unscaled.probe.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"gaussian_sigma": -1}, "gaussian_sigma must be at least 0, not -1"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"baseline": np.zeros((2, 2, 3))}, "the filling must be an aligned face"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        METHOD(Brightness(), **settings)


def test_a_model_without_gradients_is_refused():
    plain = type("Plain", (), {"embed": Brightness().embed})()
    with pytest.raises(ModelError, match="integrated-gradients needs gradients"):
        METHOD(plain)


def test_gradients_that_are_not_finite_are_refused(pair):
    class Broken(Brightness):
        def embedding_gradients(self, images, weights):
            return super().embedding_gradients(images, weights) * np.nan

    with pytest.raises(ModelError, match="not finite"):
        METHOD(Broken()).explain(*pair)
