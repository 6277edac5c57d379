"""Following patches through a network: the same numbers as whole images give, with less work."""

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xfv_demo import SavedModelEmbedder
from xfv_demo.models import incremental
from xfv_demo.models.incremental import Box, PatchedNetwork
from xfv_demo.models.openvino import OpenVinoNetwork

pytestmark = pytest.mark.slow

pytest.importorskip("openvino")

SIDE = 112
BUNDLED = Path(__file__).resolve().parents[2] / "assets" / "models" / "mobilefacenet"


def changed(photo, boxes, rng):
    """The photo with noise in each box in turn."""
    variants = np.stack([photo] * len(boxes))
    for variant, box in zip(variants, boxes, strict=True):
        place = slice(box.top, box.bottom), slice(box.left, box.right)
        variant[place] = rng.random(variant[place].shape, np.float32)
    return variants


def assert_agrees(embedder, photo, boxes, rng):
    variants = changed(photo, boxes, rng)
    np.testing.assert_allclose(embedder.patched(photo)(variants, boxes), embedder.embed(variants), atol=1e-6)


@pytest.fixture
def photo(aligned):
    return aligned["obama"]


class TestBundledModel:
    @pytest.mark.parametrize("side", [1, 8, 15, 16, 29, 40])
    def test_agrees_at_edges_and_in_the_middle(self, embedder, photo, rng, side):
        starts = sorted({0, 1, 5, 47, SIDE - side - 1, SIDE - side})
        boxes = [Box(top, left, top + side, left + side) for top in starts for left in starts]
        assert_agrees(embedder, photo, boxes, rng)

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(edges=st.lists(st.lists(st.integers(0, SIDE), min_size=4, max_size=4), min_size=1, max_size=6))
    def test_agrees_for_any_boxes(self, embedder, photo, edges):
        boxes = []
        for rows_and_columns in edges:
            (top, bottom), (left, right) = sorted(rows_and_columns[:2]), sorted(rows_and_columns[2:])
            top, left = min(top, SIDE - 1), min(left, SIDE - 1)
            boxes.append(Box(top, left, max(bottom, top + 1), max(right, left + 1)))
        assert_agrees(embedder, photo, boxes, np.random.default_rng(5))

    def test_whole_networks_are_not_run_for_small_patches(self, embedder, photo, rng, monkeypatch):
        embed = embedder.patched(photo)
        boxes = [Box(40, 40, 55, 55)] * 3
        variants = changed(photo, boxes, rng)
        expected = embedder.embed(variants)

        def refuse(*_given):
            raise AssertionError("a whole image was run")

        monkeypatch.setattr(OpenVinoNetwork, "__call__", refuse)
        np.testing.assert_allclose(embed(variants, boxes), expected, atol=1e-6)

    def test_whole_images_are_run_for_patches_that_reach_everything(self, embedder, photo, rng, monkeypatch):
        embed = embedder.patched(photo)
        calls = []
        right = OpenVinoNetwork.__call__
        monkeypatch.setattr(
            OpenVinoNetwork,
            "__call__",
            lambda network, images: calls.append(len(images)) or right(network, images),
        )
        boxes = [Box(0, 0, SIDE, SIDE), Box(3, 3, 10, 10), Box(0, 0, 100, 1)]
        embed(changed(photo, boxes, rng), boxes)
        assert calls == [2]

    def test_photos_do_not_mix(self, embedder, aligned, rng):
        boxes = [Box(30, 30, 45, 45)]
        embed_first = embedder.patched(aligned["obama"])
        embed_second = embedder.patched(aligned["biden"])
        for embed, name in ((embed_first, "obama"), (embed_second, "biden"), (embed_first, "obama")):
            variants = changed(aligned[name], boxes, rng)
            np.testing.assert_allclose(embed(variants, boxes), embedder.embed(variants), atol=1e-6)

    def test_photos_of_another_kind_are_refused(self, embedder):
        with pytest.raises(ValueError, match="must be"):
            embedder.patched(np.zeros((64, 64, 3), np.float32))


def test_a_network_that_nobody_uses_is_gone(photo, rng):
    """A large model takes gigabytes: nothing may keep one that was replaced on the page."""
    embedder = SavedModelEmbedder(BUNDLED, engine="openvino")
    assert_agrees(embedder, photo, [Box(10, 10, 20, 20)], rng)
    networks = [weakref.ref(embedder._network), weakref.ref(embedder._network._patched)]
    del embedder
    gc.collect()
    assert [network() for network in networks] == [None, None]


def local_network(image, padding):
    """Convolutions of several kinds, two branches, a pool, then a pooled embedding."""
    import keras

    x = keras.layers.ZeroPadding2D(2)(image)
    x = keras.layers.Conv2D(8, 5, strides=2, padding="valid")(x)
    x = keras.layers.PReLU(shared_axes=[1, 2])(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)
    branch = keras.layers.Conv2D(8, 3, padding="same", dilation_rate=2)(x)
    x = keras.layers.Add()([x, branch])
    x = keras.layers.AveragePooling2D(2, padding=padding)(x)
    return keras.layers.Conv2D(16, 3, strides=2, padding=padding, activation="relu")(x)


def squeezed(image):
    """A gate that depends on the whole image, half way: only what comes before it is local."""
    import keras

    x = local_network(image, "same")
    gate = keras.layers.Dense(16, activation="sigmoid")(keras.layers.GlobalAveragePooling2D()(x))
    x = keras.layers.Multiply()([x, keras.layers.Reshape((1, 1, 16))(gate)])
    return keras.layers.Conv2D(16, 3, padding="same")(x)


class _Places:
    """Made late, as Keras is imported late: adds what differs from place to place."""

    def __call__(self, x):
        import keras

        rows = np.linspace(0, 1, x.shape[1], dtype=np.float32).reshape(1, -1, 1, 1)
        return keras.ops.add(x, keras.ops.convert_to_tensor(rows))


def placed(image):
    return local_network(_Places()(image), "same")


NETWORKS = {
    "same": lambda image: local_network(image, "same"),
    "valid": lambda image: local_network(image, "valid"),
    "gate": squeezed,
    "places": placed,
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_of_other_kinds(kind, tmp_path, rng, monkeypatch):
    import keras

    # So that cuts pay even in networks as small as these.
    monkeypatch.setattr(incremental, "_COST_OF_CUT", 0)
    monkeypatch.setattr(incremental, "_COST_OF_COPY", 0)
    keras.utils.set_random_seed(3)
    image = keras.Input((SIDE, SIDE, 3))
    flat = keras.layers.Flatten()(NETWORKS[kind](image))
    keras.Model(image, keras.layers.Dense(12)(flat)).export(tmp_path, verbose=False)
    embedder = SavedModelEmbedder(tmp_path, engine="openvino")
    starts = (0, 31, 57, SIDE - 9)
    boxes = [Box(top, left, top + 9, left + 9) for top in starts for left in starts]
    assert_agrees(embedder, rng.random((SIDE, SIDE, 3), np.float32), boxes, rng)
    # Nothing is local behind a first layer that differs from place to place.
    assert (embedder._network._patched is None) == (kind == "places")


def test_a_network_that_computes_windows_otherwise_is_not_cut(embedder, monkeypatch, photo, rng):
    """The check before use finds it, and whole images are run."""
    right = PatchedNetwork.photo

    def shifted(network, image):
        prepared = right(network, image)
        prepared._features[-1] += 1
        return prepared

    monkeypatch.setattr(PatchedNetwork, "photo", shifted)
    fresh = SavedModelEmbedder(embedder.path, engine="openvino")
    assert_agrees(fresh, photo, [Box(10, 10, 20, 20)], rng)
