"""Tile occlusion with the mean face, where the answer is known on paper."""

import cv2
import numpy as np
import pytest

from xfv_demo import EXPLAINERS
from xfv_demo.faces.mean_face import mean_face
from xfv_demo.models.similarity import unit_length

METHOD = EXPLAINERS["mean-face"]


class TileMeans:
    """The mean brightness of each of 7 x 7 tiles is a dimension; counts what it embeds."""

    def __init__(self):
        self.embedded = 0

    def embed(self, images):
        self.embedded += len(images)
        return unit_length(images.reshape(-1, 7, 16, 7, 16, 3).mean(axis=(2, 4, 5)).reshape(-1, 49))


@pytest.fixture
def pair(rng):
    return rng.random((2, 112, 112, 3), np.float32)


def tile_means(image):
    return image.astype(np.float64).reshape(7, 16, 7, 16, 3).mean(axis=(1, 3, 4)).ravel()


def losses(probe, reference):
    """s0 - s for each tile, written out."""
    own, other, mean = (tile_means(image) for image in (probe, reference, mean_face()))

    def cosine(values):
        return values @ other / np.linalg.norm(values) / np.linalg.norm(other)

    changed = [np.where(np.arange(49) == tile, mean, own) for tile in range(49)]
    return np.array([cosine(own) - cosine(values) for values in changed]).reshape(7, 7)


def test_a_tile_has_what_the_similarity_loses_without_it(pair):
    explanation = METHOD(TileMeans()).explain(*pair)
    for values, photos in ((explanation.unscaled.probe, pair), (explanation.unscaled.reference, pair[::-1])):
        expected = losses(*photos).repeat(16, axis=0).repeat(16, axis=1)
        np.testing.assert_allclose(values, expected, atol=1e-6)
    assert explanation.progress == 1


def test_a_tile_that_agrees_speaks_for_and_one_that_does_not_against():
    """Bright where the other is bright: for. Bright where the other is black: against."""
    reference = np.full((112, 112, 3), 0.3, np.float32)
    probe = reference.copy()
    probe[:16, :16] = reference[:16, :16] = 1.0
    probe[96:, 96:], reference[96:, 96:] = 1.0, 0.0
    values = METHOD(TileMeans()).explain(probe, reference).unscaled.probe
    assert values[8, 8] > 0 > values[104, 104]


def test_the_mean_face_itself_has_nothing_to_lose(pair):
    explanation = METHOD(TileMeans()).explain(mean_face(), pair[1])
    assert not explanation.unscaled.probe.any()
    assert explanation.unscaled.reference.any()


def test_the_map_is_blurred_where_that_is_wanted(pair):
    plain = METHOD(TileMeans()).explain(*pair).unscaled.probe
    smooth = METHOD(TileMeans(), gaussian_sigma=5).explain(*pair).unscaled.probe
    np.testing.assert_allclose(smooth, cv2.GaussianBlur(plain, (0, 0), 5), atol=1e-6)


def test_the_stream_goes_from_coarse_to_fine(pair):
    steps = list(METHOD(TileMeans()).stream(*pair))
    assert [step.progress for step in steps] == pytest.approx([9 / 49, 25 / 49, 1])
    final = steps[-1].unscaled.probe[::16, ::16]
    # Of the tiles tried so far each has its own value; every other one has that of a tile beside it.
    first = steps[0].unscaled.probe[::16, ::16]
    np.testing.assert_array_equal(first[1::2, 1::2], final[1::2, 1::2])
    assert first[0, 0] == final[1, 1]
    second = steps[1].unscaled.probe[::16, ::16]
    rows, columns = np.indices((7, 7))
    tried = (rows + columns) % 2 == 0
    np.testing.assert_array_equal(second[tried], final[tried])


def test_a_pair_takes_a_pass_for_each_tile_and_one_for_each_photo(pair):
    embedder = TileMeans()
    METHOD(embedder).explain(*pair)
    assert embedder.embedded == 2 * 49 + 2
    METHOD(embedder).probe_map(*pair)
    assert embedder.embedded == 2 * 49 + 2 + 49 + 2


@pytest.mark.parametrize("tile_size", [1, 56, 112])
def test_tiles_may_be_of_any_size_that_fits(tile_size, pair):
    embedder = type("Mean", (), {"embed": lambda _self, images: unit_length(images[:, 40, [3, 60, 90], 0])})()
    explanation = METHOD(embedder, tile_size=tile_size, batch_size=512).explain(*pair)
    assert np.isfinite(explanation.unscaled.probe).all()
    # Only tiles that hold one of the three pixels can count.
    rows = np.flatnonzero(explanation.unscaled.probe.any(axis=1)) // tile_size
    assert set(rows) == {40 // tile_size}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tile_size": 0}, "tile_size must divide 112, not 0"),
        ({"tile_size": 17}, "tile_size must divide 112, not 17"),
        ({"gaussian_sigma": -1}, "gaussian_sigma must be at least 0, not -1"),
        ({"gaussian_sigma": np.nan}, "gaussian_sigma must be at least 0, not nan"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"filling": np.zeros((16, 16, 3), np.float32)}, r"the filling must be an aligned face"),
        ({"filling": np.full((112, 112, 3), 2.0)}, r"the filling must lie in \[0, 1\]"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        METHOD(TileMeans(), **settings)


@pytest.mark.slow
def test_following_the_tiles_through_the_network_changes_nothing(embedder, aligned):
    plain = type("Plain", (), {"embed": embedder.embed})()
    quick, slow = (METHOD(one).explain(aligned["obama"], aligned["biden"]) for one in (embedder, plain))
    for ours, theirs in zip(quick.unscaled, slow.unscaled, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.slow
def test_a_mouth_of_somebody_else_speaks_against(embedder, aligned):
    """One person twice, one photo with a stranger's mouth: the least evidence of the face lies there."""
    patched = aligned["obama"].copy()
    mouth = np.s_[80:112, 32:80]
    patched[mouth] = aligned["biden"][mouth]
    clean = METHOD(embedder).explain(aligned["obama"], aligned["obama2"]).unscaled.probe[mouth].sum()
    assert METHOD(embedder).explain(patched, aligned["obama2"]).unscaled.probe[mouth].sum() < clean / 2
