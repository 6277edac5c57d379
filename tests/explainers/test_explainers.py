"""What holds for every explainer, whatever its method."""

from collections.abc import Mapping

import cv2
import numpy as np
import pytest

from xfv_demo import EXPLAINERS
from xfv_demo.explainers.base import Explainer
from xfv_demo.explainers.explanation import Explanation, MapPair
from xfv_demo.models.feature_grid import AffineHead

# Few masks, so that any model is through at once.
FEW_MASKS = {"patch_sizes": (14, 28), "stride": 20, "step_size": 8}


class LinearEmbedder:
    """A random linear map of the pixels, coarsely sampled."""

    def __init__(self):
        self._weights = np.random.default_rng(1).standard_normal((28 * 28 * 3, 6)).astype(np.float32)

    def embed(self, images):
        values = images[:, ::4, ::4].reshape(len(images), -1) @ self._weights
        # Black has no direction.
        return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)


class LinearGradients:
    """The like, with gradients worked out on paper."""

    def __init__(self):
        self._weights = np.random.default_rng(1).standard_normal((28 * 28 * 3, 6))

    def embed(self, images):
        values, length = self._values(images)
        return (values / length).astype(np.float32)

    def embedding_gradients(self, images, weights):
        values, length = self._values(images)
        unit = values / length
        across = (weights - (weights * unit).sum(axis=-1, keepdims=True) * unit) / length
        gradients = np.zeros((*weights.shape[:2], 112, 112, 3), np.float32)
        gradients[:, :, ::4, ::4] = (across @ self._weights.T).reshape(*weights.shape[:2], 28, 28, 3)
        return gradients

    def _values(self, images):
        values = images[:, ::4, ::4].reshape(len(images), -1).astype(np.float64) @ self._weights
        return values, np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)


class TinyNetwork(LinearGradients):
    """One layer, a 4 x 4 grid of it, and what is affine in that; with gradients worked out on paper."""

    name, dimensions, grid_shape = "tiny", 16, (4, 4, 8)

    def __init__(self):
        rng = np.random.default_rng(1)
        self._kernel = rng.standard_normal((7 * 7 * 3, 8)) / 12
        self.affine_head = AffineHead(
            rng.standard_normal((*self.grid_shape, 16), np.float32), rng.standard_normal(16, np.float32)
        )

    def feature_grid(self, images):
        cells = images[:, ::4, ::4].reshape(-1, 4, 7, 4, 7, 3).swapaxes(2, 3).reshape(-1, 4, 4, 7 * 7 * 3)
        return np.maximum((cells - 0.5) @ self._kernel, 0)

    def embedding_gradients(self, images, weights):
        values, length = self._values(images)
        unit = values / length
        across = (weights - (weights * unit).sum(axis=-1, keepdims=True) * unit) / length
        on_grid = np.einsum("knd,hwcd->knhwc", across, self.affine_head.weights)
        on_cells = (on_grid * (self.feature_grid(images) > 0)) @ self._kernel.T
        sampled = on_cells.reshape(*weights.shape[:2], 4, 4, 7, 7, 3).swapaxes(3, 4)
        gradients = np.zeros((*weights.shape[:2], 112, 112, 3), np.float32)
        gradients[:, :, ::4, ::4] = sampled.reshape(*weights.shape[:2], 28, 28, 3)
        return gradients

    def _values(self, images):
        head = self.affine_head
        values = np.einsum("nhwc,hwcd->nd", self.feature_grid(images), head.weights) + head.bias
        return values, np.linalg.norm(values, axis=1, keepdims=True)


def occlusion(_embedder, **settings):
    return EXPLAINERS["occlusion"](LinearEmbedder(), **FEW_MASKS, **settings)


def occlusion_of_noise(embedder, **settings):
    rng = np.random.default_rng(3)
    return EXPLAINERS["occlusion"](
        embedder, "paired", **FEW_MASKS, fill="noise", shape="circle", rng=rng, **settings
    )


def mean_face(_embedder, **settings):
    return EXPLAINERS["mean-face"](LinearEmbedder(), **settings)


def fine_mean_face(embedder, **settings):
    return EXPLAINERS["mean-face"](embedder, tile_size=28, gaussian_sigma=2, **settings)


def integrated_gradients(embedder, **settings):
    return EXPLAINERS["integrated-gradients"](embedder, **settings)


def frequency(embedder, **settings):
    return EXPLAINERS["frequency"](embedder, **settings)


def xssab(embedder, **settings):
    return EXPLAINERS["xssab"](embedder, 0.36, **settings)


def smooth_xssab(embedder, **settings):
    rng = np.random.default_rng(4)
    return EXPLAINERS["xssab"](embedder, 0.36, noise_samples=3, gaussian_sigma=1, rng=rng, **settings)


def grid(embedder, **settings):
    return EXPLAINERS["grid"](embedder, **settings)


def xcos(embedder, **settings):
    return EXPLAINERS["xcos"](embedder, **settings)


def untrained_xcos(embedder, **settings):
    """Whose maps are noise, as any head's may be."""
    import keras

    from xfv_demo.models.xcos_head import TrainedHead, XcosHead

    keras.utils.set_random_seed(2)
    head = TrainedHead(XcosHead(embedder.grid_shape, 4, by_cell=True), "mobilefacenet", None)
    return EXPLAINERS["xcos"](embedder, head=head, **settings)


def fggb(_embedder, **settings):
    return EXPLAINERS["fggb"](LinearGradients(), 0.3, **{"batch_size": 2, **settings})


def smooth_fggb(embedder, **settings):
    return EXPLAINERS["fggb"](embedder, 0.36, gaussian_sigma=5, **settings)


def corrrise(_embedder, **settings):
    return EXPLAINERS["corrrise"](LinearEmbedder(), masks=100, **settings)


def few_corrrise(embedder, **settings):
    rng = np.random.default_rng(3)
    return EXPLAINERS["corrrise"](embedder, masks=48, step_size=16, rng=rng, **settings)


CASES = {
    "mean-face": [mean_face, fine_mean_face],
    "integrated-gradients": [integrated_gradients],
    "frequency": [frequency],
    "occlusion": [occlusion, occlusion_of_noise],
    "xssab": [xssab, smooth_xssab],
    "grid": [grid],
    "xcos": [xcos, untrained_xcos],
    "fggb": [fggb, smooth_fggb],
    "corrrise": [corrrise, few_corrrise],
}

# A head is one of Keras's, and fits the bundled model.
ON_THE_BUNDLED = [xcos, untrained_xcos]


@pytest.fixture(
    params=[
        pytest.param(make, id=make.__name__, marks=pytest.mark.slow if make in ON_THE_BUNDLED else ())
        for makers in CASES.values()
        for make in makers
    ]
)
def make(request):
    """Makes one of the explainers, with further settings."""
    on_the_bundled = request.param in ON_THE_BUNDLED
    embedder = request.getfixturevalue("embedder") if on_the_bundled else TinyNetwork()
    return lambda **settings: request.param(embedder, **settings)


@pytest.fixture(scope="module")
def faces(photos):
    """Two people's faces, cut out by hand."""
    cuts = {"obama": photos["obama"][30:480, 270:720], "biden": photos["biden"][120:600, 330:810]}
    return {
        name: cv2.resize(cut, (112, 112), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        for name, cut in cuts.items()
    }


@pytest.fixture
def pair(faces):
    return faces["obama"], faces["biden"]


def assert_same(first, second, atol=1e-5):
    np.testing.assert_allclose(first.probe_map, second.probe_map, atol=atol)
    np.testing.assert_allclose(first.reference_map, second.reference_map, atol=atol)
    assert first.probe_scale == pytest.approx(second.probe_scale, rel=1e-4)
    assert first.reference_scale == pytest.approx(second.reference_scale, rel=1e-4)
    assert first.distance == pytest.approx(second.distance, abs=1e-5)


def test_every_explainer_is_tested_here():
    assert set(CASES) == set(EXPLAINERS)


def test_explainers_know_their_keys():
    assert isinstance(EXPLAINERS, Mapping)
    assert all(explainer.name == key for key, explainer in EXPLAINERS.items())


def test_the_network_has_the_gradients_that_it_gives(pair, rng):
    """By differences: the contract below is no better than what it is tested on."""
    network, images = TinyNetwork(), pair[0][None].astype(np.float64)
    weights = rng.standard_normal((1, 1, 16))
    gradients = network.embedding_gradients(images, weights)
    for place in ((0, 0, 0, 0), (0, 40, 60, 1), (0, 56, 56, 2), (0, 41, 60, 1)):
        moved = np.zeros_like(images)
        moved[place] = 1e-5
        sums = [(weights[0] * np.divide(*network._values(images + sign * moved))).sum() for sign in (1, -1)]
        assert (sums[0] - sums[1]) / 2e-5 == pytest.approx(gradients[(0, *place)], abs=1e-5)


@pytest.mark.parametrize("method", sorted(EXPLAINERS))
def test_the_bundled_model_is_explained_as_promised(method, embedder, aligned):
    """The contract once on a real network; xCos has all of it there."""
    pair, explainer = (aligned["obama"], aligned["biden"]), CASES[method][-1](embedder)
    there, back = explainer.explain(*pair), explainer.explain(*pair[::-1])
    assert_as_promised(there)
    assert there.progress == 1
    np.testing.assert_allclose(there.probe_map, back.reference_map, atol=1e-5)
    np.testing.assert_allclose(there.reference_map, back.probe_map, atol=1e-5)
    np.testing.assert_allclose(explainer.probe_map(*pair), there.probe_map, atol=1e-5)
    assert_same(CASES[method][-1](embedder, batch_size=5).explain(*pair), there)


def test_maps_are_as_promised(make, pair):
    for explanation in make().stream(*pair):
        assert_as_promised(explanation)


def assert_as_promised(explanation):
    for values, scale in (
        (explanation.probe_map, explanation.probe_scale),
        (explanation.reference_map, explanation.reference_scale),
    ):
        assert values.shape == (112, 112)
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
        assert np.abs(values).max() == pytest.approx(1)
        assert scale > 0
    assert 0 <= explanation.distance <= 2
    for part in explanation.parts.values():
        assert part.probe.shape == part.reference.shape == (112, 112)
        assert part.probe.dtype == part.reference.dtype == np.float32


def test_progress_grows_to_1(make, pair):
    progress = [explanation.progress for explanation in make().stream(*pair)]
    assert progress[0] > 0
    assert (np.diff(progress) > 0).all()
    assert progress[-1] == 1


def test_explain_is_the_last_of_stream(make, pair):
    explainer = make()
    *_, last = explainer.stream(*pair)
    assert_same(explainer.explain(*pair), last, atol=0)


def test_the_probes_map_alone_is_the_same(make, pair):
    alone = make().probe_map(*pair)
    assert alone.dtype == np.float32
    np.testing.assert_allclose(alone, make().explain(*pair).probe_map, atol=1e-5)


def test_a_stream_can_be_closed_and_begun_again(make, pair):
    explainer = make()
    first = explainer.stream(*pair)
    begun = next(first)
    first.close()
    assert_same(next(explainer.stream(*pair)), begun, atol=0)
    assert_same(explainer.explain(*pair), make().explain(*pair))


@pytest.mark.parametrize("batch_size", [1, 7, 200])
def test_batch_size_does_not_matter(make, pair, batch_size):
    assert_same(make(batch_size=batch_size).explain(*pair), make().explain(*pair))


def test_exchanging_the_photos_exchanges_the_maps(make, pair):
    there, back = make().explain(*pair), make().explain(*pair[::-1])
    np.testing.assert_allclose(there.probe_map, back.reference_map, atol=1e-5)
    np.testing.assert_allclose(there.reference_map, back.probe_map, atol=1e-5)
    assert there.distance == pytest.approx(back.distance, abs=1e-6)


def test_photos_are_left_as_they_are(make, pair):
    before = [photo.copy() for photo in pair]
    for photo in pair:
        photo.setflags(write=False)
    make().explain(*pair)
    for photo, copy in zip(pair, before, strict=True):
        np.testing.assert_array_equal(photo, copy)
        photo.setflags(write=True)


@pytest.mark.parametrize("case", ["itself", "its mirror image", "black", "both black", "both grey"])
def test_odd_pairs_have_maps(make, faces, case):
    face = faces["obama"]
    black, grey = np.zeros_like(face), np.full_like(face, 0.5)
    pair = {
        "itself": (face, face),
        "its mirror image": (face, face[:, ::-1]),
        "black": (face, black),
        "both black": (black, black),
        "both grey": (grey, grey),
    }[case]
    explanation = make().explain(*pair)
    assert np.isfinite(explanation.probe_map).all()
    assert np.isfinite(explanation.reference_map).all()
    assert np.abs(explanation.probe_map).max() in (0, pytest.approx(1))
    assert np.isfinite(explanation.distance)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((112, 112), np.float32), r"\(112, 112\)"),
        (np.zeros((1, 112, 112, 3), np.float32), r"\(1, 112, 112, 3\)"),
        (np.full((112, 112, 3), 255, np.uint8), r"\[0, 1\], not \[255, 255\]"),
        (np.full((112, 112, 3), -0.1), "-0.1"),
        (np.full((112, 112, 3), np.nan), "nan"),
    ],
)
def test_wrong_photos_are_refused_by_role(make, pair, wrong, message):
    with pytest.raises(ValueError, match=f"probe .*{message}"):
        make().stream(wrong, pair[1])
    with pytest.raises(ValueError, match=f"reference .*{message}"):
        make().stream(pair[0], wrong)


# Of each method, what its last step of `stream_all` says and how `views` shows it.
VIEWS = {
    "mean-face": ["mean-face"],
    "integrated-gradients": ["integrated-gradients"],
    "frequency": ["frequency"],
    "occlusion": ["all", "reference", "paired"],
    "xssab": ["combined", "for", "against"],
    "grid": ["smooth", "cells"],
    "xcos": ["product", "cosine", "attention", "cells"],
    "fggb": ["combined", "for", "against"],
    "corrrise": ["combined", "for", "against"],
}

# What makes a method quick.
QUICK = {
    "occlusion": FEW_MASKS,
    "corrrise": {"masks": 64},
    "fggb": {"threshold": 0.36},
    "xssab": {"threshold": 0.36},
}


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.slow if name == "xcos" else ()) for name in sorted(EXPLAINERS)
    ]
)
def steps(request, pair):
    """All steps of a method on a pair, in all its variants."""
    name = request.param
    model = request.getfixturevalue("embedder") if name == "xcos" else TinyNetwork()
    return name, list(EXPLAINERS[name].stream_all(model, *pair, **QUICK.get(name, {})))


def test_all_variants_come_in_step(steps):
    name, streamed = steps
    for step in streamed:
        assert list(step) == list(streamed[-1])
        assert {explanation.method for explanation in step.values()} == {name}
        assert len({explanation.progress for explanation in step.values()}) == 1
        assert len({explanation.distance for explanation in step.values()}) == 1
    assert next(iter(streamed[-1].values())).progress == 1


def test_views_are_as_promised(steps):
    name, streamed = steps
    for step in streamed:
        views = EXPLAINERS[name].views(step)
        assert [view.key for view in views] == VIEWS[name]
        assert len({view.label for view in views}) == len(views)
        for view in views:
            assert 0 < view.percentile <= 100
            for values in view.maps:
                assert values.shape == (112, 112)
                assert values.dtype == np.float32
                assert np.isfinite(values).all()


def test_views_have_the_maps_in_the_methods_own_unit(steps):
    """Those of the variants by their name; a method without variants has its map as its first view."""
    name, streamed = steps
    first, *_ = views = EXPLAINERS[name].views(streamed[-1])
    shown = {view.key: view.maps for view in views}
    for key, explanation in streamed[-1].items():
        maps = first.maps if key == name else shown[key]
        for side in ("probe", "reference"):
            scale = getattr(explanation, f"{side}_scale")
            expected = getattr(explanation, f"{side}_map") * scale
            np.testing.assert_allclose(getattr(maps, side), expected, rtol=1e-6)
            # Of a pair's maps, the larger stays the larger.
            assert np.abs(getattr(maps, side)).max() == pytest.approx(scale, rel=1e-6)


# FGGB's maps may be of one sign, that of the decision: then there is nothing for the other side.
MAY_BE_OF_ONE_SIGN = {"fggb"}

# The views that are no evidence, of all methods.
NO_EVIDENCE = {("xcos", "attention")}


def test_views_of_one_side_have_its_sign(steps):
    name, streamed = steps
    for view in EXPLAINERS[name].views(streamed[-1]):
        for values in view.maps:
            if not view.is_evidence:
                assert values.min() >= 0 < values.max()
            elif name in MAY_BE_OF_ONE_SIGN:
                assert view.key != "for" or values.min() >= 0
                assert view.key != "against" or values.max() <= 0
                assert view.key != "combined" or values.any()
            elif view.key == "for":
                assert values.min() >= 0 < values.max()
            elif view.key == "against":
                assert values.max() <= 0 > values.min()
            else:
                assert values.min() < 0 < values.max()


def test_views_that_are_no_evidence_are_known(steps):
    name, streamed = steps
    views = EXPLAINERS[name].views(streamed[-1])
    assert {view.key for view in views if not view.is_evidence} == {
        key for method, key in NO_EVIDENCE if method == name
    }
    # What is said in words is said of the first.
    assert views[0].is_evidence


class Half(Explainer):
    """A method without variants and views of its own: what lies in the upper half speaks for, by `size`."""

    name = "half"
    title = "The upper half"

    def __init__(self, embedder, *, size=1.0):
        self._size = size

    def stream(self, probe, reference):
        values = np.zeros((112, 112), np.float32)
        values[:56] = self._size
        for progress in (0.5, 1.0):
            yield Explanation("half", MapPair(values, 2 * values), 0.5, progress, {})


def test_a_method_without_variants_has_one_view_by_its_title(pair):
    steps = list(Half.stream_all(None, *pair, size=3))
    assert [list(step) for step in steps] == [["half"], ["half"]]
    assert [step["half"].progress for step in steps] == [0.5, 1]
    (view,) = Half.views(steps[-1])
    assert (view.key, view.label, view.percentile) == ("half", "The upper half", 100)
    assert np.unique(view.maps.probe).tolist() == [0, 3]
    assert np.unique(view.maps.reference).tolist() == [0, 6]
    assert Half(None).explain(*pair).progress == 1


def test_a_report_is_plain_values(make, pair):
    import json

    explanation = make().explain(*pair)
    report = json.loads(json.dumps(explanation.to_dict()))
    assert report["method"] in EXPLAINERS
    assert report["parameters"] == explanation.parameters
    assert report["progress"] == 1
