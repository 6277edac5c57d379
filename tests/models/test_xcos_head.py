"""The xCos module: each layer on paper, keeping and finding heads, and the explainer on top."""

import json

import numpy as np
import pytest

from xfv_demo import EXPLAINERS
from xfv_demo.errors import ModelError
from xfv_demo.models.xcos_head import (
    ConvolutionBlock,
    GridAttention,
    GridCosine,
    GridProjection,
    TrainedHead,
    WeightedSum,
    XcosHead,
    load_head,
)

pytestmark = pytest.mark.slow


def plain_head():
    """A head for grids of 2 x 2 cells that compares the two channels as they are, all cells alike."""
    network = XcosHead((2, 2, 2), channels=2)
    for variable in network.variables:
        if variable.name != "moving_variance":
            variable.assign(np.zeros(variable.shape))
    network.projection.kernel.assign(np.broadcast_to(np.eye(2), network.projection.kernel.shape))
    return TrainedHead(network, model="made", model_sha256=None)


class RedAndGreen:
    """A grid of 2 x 2 cells: red and green of each quarter's first pixel."""

    name = "made"
    grid_shape = (2, 2, 2)

    def feature_grid(self, images):
        return images[:, ::56, ::56, :2]

    def embed(self, images):
        flat = self.feature_grid(images).reshape(len(images), -1)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def photo(*colours):
    """A face whose quarters, by rows, have these reds and greens."""
    image = np.zeros((112, 112, 3), np.float32)
    for colour, (row, column) in zip(colours, ((0, 0), (0, 56), (56, 0), (56, 56)), strict=True):
        image[row : row + 56, column : column + 56, :2] = colour
    return image


class TestLayers:
    def test_projection_by_cell_and_for_all_cells(self):
        grids = np.arange(12, dtype=np.float32).reshape(1, 2, 2, 3)
        shared, own = GridProjection(1, by_cell=False), GridProjection(1, by_cell=True)
        for layer in (shared, own):
            layer.build(grids.shape)
        shared.kernel.assign([[[1.0], [0.0], [2.0]]])
        shared.bias.assign([[0.5]])
        # First channel, and twice the third.
        np.testing.assert_allclose(shared(grids)[0, ..., 0], [[4.5, 13.5], [22.5, 31.5]])
        own.kernel.assign([[[1.0], [0], [0]], [[0.0], [1], [0]], [[0.0], [0], [1]], [[0.0], [0], [0]]])
        own.bias.assign([[0.0], [0], [0], [7]])
        np.testing.assert_allclose(own(grids)[0, ..., 0], [[0, 4], [8, 7]])

    def test_cosine_of_each_cell(self):
        first = np.array([[[[1, 0], [2, 0]], [[3, 4], [1, 1]]]], np.float32)
        second = np.array([[[[5, 0], [0, 1]], [[-3, -4], [1, 0]]]], np.float32)
        np.testing.assert_allclose(GridCosine()(first, second), [[[1, 0], [-1, 1 / np.sqrt(2)]]], atol=1e-6)

    def test_attention_is_positive_and_of_sum_1(self, rng):
        first, second = rng.normal(size=(2, 5, 7, 7, 32)).astype(np.float32)
        layer = GridAttention()
        layer.build((None, 7, 7, 32))
        attention = np.asarray(layer(first, second))
        assert attention.shape == (5, 7, 7)
        assert attention.min() > 0
        np.testing.assert_allclose(attention.sum(axis=(1, 2)), 1, rtol=1e-5)
        assert attention.std() > 1e-4
        # Whichever photo comes first.
        np.testing.assert_allclose(layer(second, first), attention, atol=1e-6)

    def test_weighted_sum(self):
        cosines = np.array([[[1.0, 0.5], [-1.0, 0.0]]], np.float32)
        attention = np.array([[[0.5, 0.25], [0.25, 0.0]]], np.float32)
        np.testing.assert_allclose(WeightedSum()(cosines, attention), [0.375])

    def test_blocks_are_as_published(self):
        """Convolution without bias, batch norm, PReLU with a slope for each channel."""
        block = ConvolutionBlock(16)
        block.build((None, 7, 7, 32))
        assert {tuple(variable.shape) for variable in block.convolution.weights} == {(3, 3, 32, 16)}
        assert len(block.norm.weights) == 4
        assert tuple(block.activation.weights[0].shape) == (1, 1, 16)

    def test_the_head_has_the_published_number_of_weights(self):
        head = XcosHead((7, 7, 512))
        projection = 512 * 32 + 32
        convolutions = 9 * 32 * 16 + 9 * 32 * 16 + 9 * 16 * 1
        norms_and_slopes = 5 * (16 + 16 + 1)
        assert head.count_params() == projection + convolutions + norms_and_slopes


class TestHead:
    def test_even_attention_makes_the_mean_cosine(self):
        head = plain_head()
        first = np.array([[[[1, 0], [1, 0]], [[1, 0], [3, 4]]]], np.float32)
        second = np.array([[[[1, 0], [0, 1]], [[-1, 0], [3, 4]]]], np.float32)
        compared = head.compare(head.project(first), head.project(second))
        np.testing.assert_allclose(compared["attention"], 0.25, atol=1e-6)
        np.testing.assert_allclose(compared["grid_cosine"], [[[1, 0], [-1, 1]]], atol=1e-6)
        np.testing.assert_allclose(compared["similarity"], [0.25], atol=1e-6)

    def test_similarity_is_the_sum_of_the_product(self, rng):
        network = XcosHead((7, 7, 64))
        grids = rng.normal(size=(2, 6, 7, 7, 64)).astype(np.float32)
        compared = network(tuple(grids), training=False)
        product = np.asarray(compared["grid_cosine"]) * np.asarray(compared["attention"])
        np.testing.assert_allclose(compared["similarity"], product.sum(axis=(1, 2)), atol=1e-6)

    def test_is_kept_and_found_again(self, tmp_path, rng):
        network = XcosHead((2, 2, 2), channels=4, by_cell=True)
        head = TrainedHead(network, "made", None, frozenset({"Ann", "Zoë"}), {"dataset": "friends"})
        head.save(tmp_path / "head")
        again = load_head(RedAndGreen(), tmp_path / "head")
        assert again.people == head.people
        assert again.about["dataset"] == "friends"
        assert (again.network.channels, again.network.by_cell) == (4, True)
        grids = rng.normal(size=(2, 8, 2, 2, 2)).astype(np.float32)
        before = head.compare(*map(head.project, grids))["similarity"]
        after = again.compare(*map(again.project, grids))["similarity"]
        # Kept in half precision.
        np.testing.assert_allclose(after, before, atol=2e-3)
        assert again.sha256 != head.sha256
        assert load_head(RedAndGreen(), tmp_path / "head").sha256 == again.sha256

    def test_the_users_own_goes_before_the_shipped_one(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XFV_CACHE", str(tmp_path))
        plain_head().save(tmp_path / "xcos" / "made")
        assert load_head(RedAndGreen()).model == "made"

    def test_a_model_without_a_head_is_told_how_to_get_one(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XFV_CACHE", str(tmp_path))
        with pytest.raises(ModelError, match=r'no xCos head for model "made"; train one with .*train-xcos'):
            load_head(RedAndGreen())

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (lambda folder: (folder / "head.json").unlink(), "holds no xCos head"),
            (lambda folder: (folder / "head.npz").write_bytes(b"PK"), "holds no whole xCos head"),
            (lambda folder: (folder / "head.json").write_text("{"), "holds no whole xCos head"),
            (lambda folder: (folder / "people.txt").unlink(), "holds no whole xCos head"),
            (lambda folder: edit(folder, version=99), "another version"),
            (lambda folder: edit(folder, grid_shape=[2, 2, 3]), "no whole xCos head"),
            (lambda folder: edit(folder, channels=3), "no whole xCos head"),
        ],
    )
    def test_broken_heads_are_refused_in_one_line(self, tmp_path, spoil, message):
        plain_head().save(tmp_path)
        spoil(tmp_path)
        with pytest.raises(ModelError, match=message) as caught:
            load_head(RedAndGreen(), tmp_path)
        assert "\n" not in str(caught.value)

    def test_a_head_for_other_weights_or_grids_is_refused(self, tmp_path):
        head = plain_head()
        TrainedHead(head.network, "made", "1" * 64).save(tmp_path)

        class OtherWeights(RedAndGreen):
            sha256 = "2" * 64

        with pytest.raises(ModelError, match='other weights of "made"'):
            load_head(OtherWeights(), tmp_path)

        class OtherGrid(RedAndGreen):
            grid_shape = (4, 4, 2)

        with pytest.raises(ModelError, match=r"takes grids \(2, 2, 2\)"):
            load_head(OtherGrid(), tmp_path)


def edit(folder, **values):
    path = folder / "head.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


class TestExplainer:
    def test_on_paper(self):
        """Cosines 1, 0, 0.6, 1 by cell, attention 1/4 each: xCos is 0.65."""
        first = photo((1, 0), (1, 0), (0.6, 0.8), (0.5, 0.5))
        second = photo((0.5, 0), (0, 1), (1, 0), (1, 1))
        explanation = EXPLAINERS["xcos"](RedAndGreen(), head=plain_head()).explain(first, second)
        expected = np.array([[1, 0], [0.6, 1]])
        for side in (0, 1):
            cosines = explanation.parts["grid_cosine"][side][28::56, 28::56]
            np.testing.assert_allclose(cosines, expected, atol=1e-6)
            np.testing.assert_allclose(explanation.parts["attention"][side], 0.25, atol=1e-6)
            product = explanation.parts["product"][side][28::56, 28::56]
            np.testing.assert_allclose(product, expected / 4, atol=1e-6)
        assert explanation.numbers["xcos"] == pytest.approx(0.65)
        # The distance is the model's own, not the head's.
        assert explanation.distance == pytest.approx(
            1 - float(np.prod(RedAndGreen().embed(np.stack([first, second])), axis=0).sum())
        )

    def test_cells_that_differ_speak_against(self):
        class Signed(RedAndGreen):
            def feature_grid(self, images):
                return 2 * images[:, ::56, ::56, :2] - 1

        first = photo((1, 1), (1, 1), (1, 1), (1, 1))
        second = photo((1, 1), (0, 0), (1, 1), (1, 1))
        explanation = EXPLAINERS["xcos"](Signed(), head=plain_head()).explain(first, second)
        assert explanation.probe_map[0, 0] == pytest.approx(1)
        assert explanation.probe_map[0, 111] == pytest.approx(-1)
        assert explanation.numbers["xcos"] == pytest.approx(0.5)

    def test_attention_is_no_evidence(self):
        explainer = EXPLAINERS["xcos"](RedAndGreen(), head=plain_head())
        pair = photo((1, 0), (1, 0), (1, 0), (1, 0)), photo((1, 0), (0, 1), (1, 0), (1, 0))
        views = explainer.views({"xcos": explainer.explain(*pair)})
        assert {view.key: view.is_evidence for view in views} == {
            "product": True, "cosine": True, "attention": False, "cells": True
        }  # fmt: skip

    def test_embedders_without_a_grid_are_refused(self):
        class OnlyEmbeds:
            def embed(self, images):
                return images.mean(axis=(1, 2))

        with pytest.raises(ModelError, match="feature_grid"):
            EXPLAINERS["xcos"](OnlyEmbeds())
