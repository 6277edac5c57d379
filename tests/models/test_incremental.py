"""Following patches through a network: the same numbers as whole images give, with less work."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
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

    def test_an_image_has_the_same_numbers_in_any_company(self, embedder, photo, rng, monkeypatch):
        places = (0, 0, 8), (50, 40, 15), (97, 97, 15), (20, 70, 29), (60, 3, 8), (83, 10, 29), (31, 90, 8)
        boxes = [Box(top, left, top + side, left + side) for top, left, side in places]
        variants = changed(photo, boxes, rng)
        together = embedder.patched(photo)(variants, boxes)
        one_by_one = [
            embedder.patched(photo)(variants[n : n + 1], boxes[n : n + 1])[0] for n in range(len(boxes))
        ]
        np.testing.assert_allclose(one_by_one, together, atol=1e-6)
        monkeypatch.setattr(embedder._network._cut_for_patches(), "groups_at_once", 1)
        np.testing.assert_allclose(embedder.patched(photo)(variants, boxes), together, atol=1e-6)

    def test_threads_do_not_mix(self, embedder, aligned, rng):
        boxes = [Box(top, left, top + 15, left + 15) for top in (0, 40, 97) for left in (5, 60, 97)]
        embeds = [embedder.patched(aligned[name]) for name in ("obama", "biden")]
        # Two threads on each photo, at the same time.
        given = [
            (embed, changed(aligned[name], boxes, rng))
            for _ in range(2)
            for embed, name in zip(embeds, ("obama", "biden"), strict=True)
        ]
        expected = [embedder.embed(variants) for _, variants in given]
        with ThreadPoolExecutor(len(given)) as pool:
            for _ in range(5):
                results = pool.map(lambda one: one[0](one[1], boxes), given)
                for result, one in zip(results, expected, strict=True):
                    np.testing.assert_allclose(result, one, atol=1e-6)

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


class TestReaches:
    """What is read from small graphs, beside what is known of them on paper."""

    @pytest.fixture
    def opset(self):
        from openvino import opset13

        return opset13

    @pytest.fixture
    def image(self, opset):
        return opset.parameter([1, 32, 32, 3], np.float32, name="image")

    @staticmethod
    def cuts(opset, image, tensor):
        """By name, the reach from the image and the shape of each tensor at which the network may be cut."""
        import openvino

        found, _ = incremental._find_cuts(openvino.Model([opset.reduce_sum(tensor, [1, 2, 3])], [image]))
        return {cut.name: (tuple(cut.reach), cut.shape) for cut in found}

    @staticmethod
    def channels_first(opset, tensor):
        return opset.transpose(tensor, [0, 3, 1, 2], name="turned")

    @staticmethod
    def convolved(opset, tensor, rng, *, stride=1, name="convolved"):
        weights = rng.random((4, 3, 3, 3), np.float32)
        return opset.convolution(tensor, weights, [stride] * 2, [1, 1], [1, 1], [1, 1], name=name)

    def test_convolution(self, opset, image, rng):
        """Place i of 3 x 3 with stride 2 and a padding of 1 sees pixels 2i - 1 to 2i + 1."""
        x = self.convolved(opset, self.channels_first(opset, image), rng, stride=2)
        assert self.cuts(opset, image, x)["convolved"] == ((2, 1, 1), (4, 16, 16))

    def test_input_of_an_onnx_model(self, opset, image, rng):
        """Other channels' order and range, then channels first: nothing is seen that lies beside."""
        x = opset.gather(image, [2, 1, 0], -1)
        x = opset.subtract(opset.multiply(x, np.full((1, 1, 1, 3), 255, np.float32)), np.float32(127.5))
        x = self.convolved(opset, self.channels_first(opset, x), rng)
        assert self.cuts(opset, image, x) == {
            "turned": ((1, 0, 0), (3, 32, 32)),
            "convolved": ((1, 1, 1), (4, 32, 32)),
        }

    def test_gather_of_channels_behind_the_transpose(self, opset, image, rng):
        x = opset.gather(self.channels_first(opset, image), [2, 1, 0], 1)
        assert "convolved" in self.cuts(opset, image, self.convolved(opset, x, rng))

    @pytest.mark.parametrize("axis", [2, 3])
    def test_gather_of_rows_or_columns_is_not_local(self, opset, image, axis):
        x = opset.gather(self.channels_first(opset, image), np.arange(31, -1, -1), axis)
        assert list(self.cuts(opset, image, opset.relu(x, name="behind"))) == ["turned"]

    def test_operations_on_each_place_are_passed(self, opset, image, rng):
        """Batch norm, rounding to 8 bits, PReLU: the cut is behind them, and reaches as far as before."""
        x = self.convolved(opset, self.channels_first(opset, image), rng)
        x = opset.batch_norm_inference(x, *np.ones((4, 4), np.float32), 1e-5)
        limits = [np.full((1, 4, 1, 1), limit, np.float32) for limit in (-1, 1, -1, 1)]
        x = opset.fake_quantize(x, *limits, 256)
        x = opset.prelu(x, np.full(4, 0.25, np.float32), name="last")
        assert self.cuts(opset, image, x)["last"] == ((1, 1, 1), (4, 32, 32))

    def test_batch_norm_over_rows_is_not_local(self, opset, image):
        """Its channels are the second axis, whatever these are."""
        x = opset.batch_norm_inference(image, *np.ones((4, 32), np.float32), 1e-5)
        assert self.cuts(opset, image, self.channels_first(opset, x)) == {}

    def test_weights_that_are_computed_from_constants(self, opset, image, rng):
        """Those of an 8-bit model: converted and scaled within the graph."""
        scaled = opset.multiply(
            opset.convert(opset.constant(rng.integers(0, 9, (4, 3, 3, 3), np.int8)), "f32"), np.float32(0.1)
        )
        x = self.channels_first(opset, image)
        x = opset.convolution(x, scaled, [1, 1], [1, 1], [1, 1], [1, 1], name="convolved")
        assert self.cuts(opset, image, x)["convolved"] == ((1, 1, 1), (4, 32, 32))

    def test_max_pool_of_which_the_places_are_not_used(self, opset, image):
        x = opset.max_pool(self.channels_first(opset, image), [2, 2], [1, 1], [0, 0], [0, 0], [2, 2])
        x = opset.relu(x.output(0), name="pooled")
        assert self.cuts(opset, image, x)["pooled"] == ((2, 0, 1), (3, 16, 16))

    def test_there_is_no_cut_where_two_tensors_lead_on(self, opset, image, rng):
        """Beside a skip connection; nor of two tensors that have one name."""
        x = opset.relu(self.channels_first(opset, image), name="before")
        weights = rng.random((3, 3, 3, 3), np.float32)
        branch = opset.convolution(x, weights, [1, 1], [1, 1], [1, 1], [1, 1], name="beside")
        x = opset.add(x, branch, name="behind")
        assert list(self.cuts(opset, image, x)) == ["before", "behind"]
        branch.set_friendly_name("behind")
        assert list(self.cuts(opset, image, x)) == ["before"]


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
