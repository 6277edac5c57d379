"""The exact decomposition of the cosine over the last grid's cells, on paper and on models."""

import numpy as np
import pytest

from xfv_demo import EXPLAINERS, SavedModelEmbedder
from xfv_demo.errors import ModelError
from xfv_demo.explainers.explanation import enlarged_cells
from xfv_demo.models.feature_grid import AffineHead


class TwoByTwo:
    """A grid of 2 x 2 cells with one channel, the red of the quarter's first pixel, and an affine head.

    The cells add (1, 0), (0, 2), (3, 0) and (0, 0) times their red; the bias is (0, 1).
    """

    grid_shape = (2, 2, 1)
    affine_head = AffineHead(
        weights=np.array([[[[1, 0]], [[0, 2]]], [[[3, 0]], [[0, 0]]]], np.float32),
        bias=np.array([0, 1], np.float32),
    )

    def feature_grid(self, images):
        return images[:, ::56, ::56, :1]


def photo(*reds):
    """A face whose quarters, by rows, have these reds."""
    image = np.zeros((112, 112, 3), np.float32)
    for red, (row, column) in zip(reds, ((0, 0), (0, 56), (56, 0), (56, 56)), strict=True):
        image[row : row + 56, column : column + 56, 0] = red
    return image


class TestOnPaper:
    def test_cells_and_constant(self):
        """E = (1 + 3 x 1, 0 + 1) = (4, 1) for the probe, (0, 2 + 1) = (0, 3) for the reference."""
        explainer = EXPLAINERS["grid"](TwoByTwo())
        taken_apart = explainer.decompose(photo(1, 0, 1, 1), photo(0, 1, 0, 0))
        # The reference's direction is (0, 1): the probe's first and third cell have no part in it.
        np.testing.assert_allclose(taken_apart.probe_cells, 0, atol=1e-12)
        assert taken_apart.probe_constant == pytest.approx(1 / np.sqrt(17))
        # The probe's is (4, 1) / sqrt 17: of the reference, cell 2 adds 2 x 1 / 3, the bias 1 x 1 / 3.
        np.testing.assert_allclose(taken_apart.reference_cells, [[0, 2 / 3 / np.sqrt(17)], [0, 0]], atol=1e-7)
        assert taken_apart.reference_constant == pytest.approx(1 / 3 / np.sqrt(17))
        assert taken_apart.similarity == pytest.approx(3 / 3 / np.sqrt(17))

    def test_which_cell_answers_which(self):
        """The probe's cells 1 and 2 against the reference's, over the lengths of (4, 1) and (0, 3)."""
        explanation = EXPLAINERS["grid"](TwoByTwo()).explain(photo(1, 0, 1, 1), photo(1, 1, 0, 0))
        weights = TwoByTwo().affine_head.weights.reshape(4, 2)
        probe, reference = (
            np.array([1, 0, 1, 1])[:, None] * weights,
            np.array([1, 1, 0, 0])[:, None] * weights,
        )
        bias = TwoByTwo().affine_head.bias
        lengths = [np.linalg.norm(one.sum(axis=0) + bias) for one in (probe, reference)]
        expected = (probe @ reference.T / np.prod(lengths)).reshape(2, 2, 2, 2)
        np.testing.assert_allclose(explanation.interactions, expected, atol=1e-6)

    def test_what_cells_answer_and_the_others_bias_make_a_cells_share(self):
        pair = photo(0.2, 0.9, 0.4, 1), photo(1, 0.3, 0.5, 0.7)
        explainer = EXPLAINERS["grid"](TwoByTwo())
        taken_apart, explanation = explainer.decompose(*pair), explainer.explain(*pair)
        head = TwoByTwo().affine_head
        probe, reference = (head.cells(TwoByTwo().feature_grid(one[None]))[0] for one in pair)
        lengths = [np.linalg.norm(one.sum(axis=(0, 1)) + head.bias) for one in (probe, reference)]
        with_bias = probe @ head.bias / np.prod(lengths)
        np.testing.assert_allclose(
            explanation.interactions.sum(axis=(2, 3)) + with_bias, taken_apart.probe_cells, atol=1e-6
        )

    def test_a_cell_against_is_negative(self):
        class Opposed(TwoByTwo):
            affine_head = AffineHead(
                np.array([[[[1, 0]], [[-1, 0]]], [[[0, 1]], [[0, 0]]]], np.float32), np.zeros(2)
            )

        explanation = EXPLAINERS["grid"](Opposed()).explain(photo(1, 0.5, 0, 0), photo(1, 0, 0, 0))
        # e = (0.5, 0) and (1, 0): cell 1 adds 1 / 0.5, cell 2 takes 0.5 / 0.5 away.
        cells = explanation.parts["cells"].probe
        np.testing.assert_allclose(cells[:56, :56], 2, rtol=1e-6)
        np.testing.assert_allclose(cells[:56, 56:], -1, rtol=1e-6)
        np.testing.assert_allclose(cells[56:], 0, atol=1e-6)
        assert explanation.probe_map[28, 28] > 0 > explanation.probe_map[28, 84]
        assert explanation.distance == pytest.approx(0, abs=1e-6)

    def test_cells_are_laid_over_the_face(self):
        cells = np.array([[1.0, 2.0], [3.0, 4.0]])
        flat = enlarged_cells(cells, smooth=False)
        assert [flat[row, column] for row, column in ((0, 0), (55, 56), (56, 55), (111, 111))] == [1, 2, 3, 4]
        smooth = enlarged_cells(cells, smooth=True)
        # The cells' middles are between pixels 27 and 28, and 83 and 84.
        assert smooth[27:29, 27:29].mean() == pytest.approx(1, abs=0.03)
        assert smooth[55:57, 55:57].mean() == pytest.approx(2.5, abs=1e-5)
        assert smooth.dtype == flat.dtype == np.float32

    def test_no_direction_is_an_error(self):
        class Nothing(TwoByTwo):
            affine_head = AffineHead(np.zeros((2, 2, 1, 2), np.float32), np.zeros(2, np.float32))

        with pytest.raises(ModelError, match="no direction"):
            EXPLAINERS["grid"](Nothing()).explain(photo(1, 0, 0, 0), photo(1, 0, 0, 0))


@pytest.mark.parametrize("names", [("obama", "obama2"), ("obama", "biden"), ("obama2", "obama_partial_face")])
def test_cells_and_constant_make_the_cosine(embedder, aligned, names):
    pair = [aligned[name] for name in names]
    taken_apart = EXPLAINERS["grid"](embedder).decompose(*pair)
    first, second = embedder.embed(np.stack(pair))
    cosine = float(first @ second)
    assert taken_apart.probe_cells.sum() + taken_apart.probe_constant == pytest.approx(cosine, abs=1e-5)
    assert taken_apart.reference_cells.sum() + taken_apart.reference_constant == pytest.approx(
        cosine, abs=1e-5
    )
    assert taken_apart.similarity == pytest.approx(cosine, abs=1e-5)
    # And by way of an explanation.
    explanation = EXPLAINERS["grid"](embedder).explain(*pair)
    cells = explanation.parts["cells"].probe[8::16, 8::16]
    assert cells.sum() + explanation.numbers["probe_constant"] == pytest.approx(cosine, abs=1e-5)


def test_the_heads_cells_and_bias_make_the_embedding(embedder, aligned):
    faces = np.stack([aligned[name] for name in ("obama", "biden")])
    raw = (
        embedder.affine_head.cells(embedder.feature_grid(faces)).sum(axis=(1, 2)) + embedder.affine_head.bias
    )
    unit = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, embedder.embed(faces), atol=1e-5)


def test_a_hidden_cell_changes_the_cosine_by_its_share(embedder, aligned):
    """Of an embedding that is not normalised, a cell that is set to zero takes exactly its share away."""
    grids = embedder.feature_grid(np.stack([aligned["obama"], aligned["obama2"]]))
    whole = embedder.affine_head.cells(grids).sum(axis=(1, 2)) + embedder.affine_head.bias
    shares = EXPLAINERS["grid"](embedder).decompose(aligned["obama"], aligned["obama2"]).probe_cells
    hidden = grids.copy()
    hidden[0, 3, 2] = 0
    without = embedder.affine_head.cells(hidden).sum(axis=(1, 2)) + embedder.affine_head.bias
    direction = whole[1] / np.linalg.norm(whole[1])
    change = (whole[0] - without[0]) @ direction / np.linalg.norm(whole[0])
    assert change == pytest.approx(shares[3, 2], abs=1e-5)


@pytest.mark.slow
class TestModels:
    """Heads of other kinds, in models of two convolutions."""

    def made(self, folder, tail):
        import tensorflow as tf

        rng = np.random.default_rng(5)
        kernel = tf.constant(rng.normal(size=(28, 28, 3, 8)), tf.float32)
        weights = [tf.constant(rng.normal(size=size), tf.float32) for size in ((128, 16), (16, 16), (8, 16))]

        def embed(faces):
            grid = tf.nn.relu(tf.nn.conv2d(faces, kernel, 28, "VALID"))
            return {"embedding": tail(tf, grid, *weights)}

        module = tf.Module()
        spec = tf.TensorSpec((None, 112, 112, 3), tf.float32, name="faces")
        traced = tf.function(embed, input_signature=[spec])
        tf.saved_model.save(module, str(folder), {"serving_default": traced})
        return SavedModelEmbedder(folder, name="made")

    @pytest.mark.parametrize("normalised", [False, True])
    def test_flattened(self, tmp_path, rng, normalised):
        def tail(tf, grid, dense, _square, _pooled):
            embedding = tf.reshape(grid, (-1, 128)) @ dense + 1.5
            return tf.math.l2_normalize(embedding, axis=1) if normalised else embedding

        self.assert_sums_up(self.made(tmp_path, tail), rng)

    def test_pooled_and_two_layers(self, tmp_path, rng):
        def tail(tf, grid, _dense, square, pooled):
            return (tf.reduce_mean(grid, axis=[1, 2]) @ pooled - 2) @ square

        self.assert_sums_up(self.made(tmp_path, tail), rng)

    def assert_sums_up(self, embedder, rng):
        pair = rng.random((2, 112, 112, 3), np.float32)
        taken_apart = EXPLAINERS["grid"](embedder).decompose(*pair)
        assert taken_apart.probe_cells.shape == (4, 4)
        first, second = embedder.embed(pair)
        assert taken_apart.probe_cells.sum() + taken_apart.probe_constant == pytest.approx(
            float(first @ second), abs=1e-5
        )

    @pytest.mark.parametrize("kind", ["prelu", "between", "square"])
    def test_heads_that_are_not_affine_are_refused(self, tmp_path, kind):
        def tail(tf, grid, dense, square, _pooled):
            flat = tf.reshape(grid, (-1, 128)) @ dense
            if kind == "prelu":
                return tf.maximum(flat, 0.25 * flat)
            if kind == "between":
                return tf.nn.relu(flat) @ square
            return flat**2

        embedder = self.made(tmp_path, tail)
        with pytest.raises(ModelError, match='"made" is not affine after its last feature grid'):
            EXPLAINERS["grid"](embedder)


def test_embedders_without_a_grid_are_refused():
    class OnlyEmbeds:
        def embed(self, images):
            return images.mean(axis=(1, 2))

    with pytest.raises(ModelError, match="feature_grid"):
        EXPLAINERS["grid"](OnlyEmbeds())
