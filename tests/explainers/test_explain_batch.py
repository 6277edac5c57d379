"""Many pairs at once: the same as one by one for every explainer, with the work shared that can be."""

from types import SimpleNamespace

import numpy as np
import pytest

from xfv_demo import EXPLAINERS, Verifier
from xfv_demo.explainers import base
from xfv_demo.explainers.base import Explainer, register
from xfv_demo.explainers.explanation import Explanation, MapPair
from xfv_demo.explainers.inputs import aligned_pair
from xfv_demo.models.feature_grid import AffineHead
from xfv_demo.models.similarity import unit_length
from xfv_demo.pair_report import explain_pair
from xfv_demo.pipeline import check_methods

CELLS, DIMENSIONS = 4, 6
# The side of a cell in pixels.
SIDE = 112 // CELLS


class Linear:
    """A linear map of 4 x 4 cells' mean colours, worked out on paper; keeps what it is asked."""

    def __init__(self):
        rng = np.random.default_rng(1)
        self._weights = rng.standard_normal((CELLS, CELLS, 3, DIMENSIONS)).astype(np.float32)
        self.grid_shape = (CELLS, CELLS, 3)
        self.affine_head = AffineHead(self._weights, rng.standard_normal(DIMENSIONS).astype(np.float32))
        self.embedded, self.gridded, self.differentiated = [], [], []

    def embed(self, images):
        self.embedded.append(images.copy())
        return unit_length(self._values(images))

    def feature_grid(self, images):
        self.gridded.append(images.copy())
        return self._cells(images)

    def embedding_gradients(self, images, weights):
        self.differentiated.append((images.copy(), len(weights)))
        values = self._values(images)
        length = np.linalg.norm(values, axis=1, keepdims=True)
        unit = values / length
        across = (weights - (weights * unit).sum(axis=-1, keepdims=True) * unit) / length
        cells = np.einsum("knd,hwcd->knhwc", across, self._weights) / SIDE**2
        return cells.repeat(SIDE, axis=2).repeat(SIDE, axis=3).astype(np.float32)

    @staticmethod
    def _cells(images):
        return images.reshape(-1, CELLS, SIDE, CELLS, SIDE, 3).mean(axis=(2, 4))

    def _values(self, images):
        cells = self._cells(images)
        return np.einsum("nhwc,hwcd->nd", cells, self._weights) + self.affine_head.bias


class PaperHead:
    """An xCos head that weighs all cells alike."""

    model = "on paper"
    network = SimpleNamespace(channels=3)

    def project(self, grids):
        return grids

    def compare(self, first, second):
        cosines = (unit_length(first) * unit_length(second)).sum(axis=-1)
        attention = np.full_like(cosines, 1 / CELLS**2)
        return {
            "grid_cosine": cosines,
            "attention": attention,
            "similarity": (cosines * attention).sum(axis=(1, 2)),
        }


FEW_MASKS = {"patch_sizes": (14, 28), "stride": 40, "step_size": 4, "batch_size": 5}
MASKS_OF_FEW = 9 + 9

# What makes a method quick, or work on paper.
QUICK = {
    "occlusion": FEW_MASKS,
    "fggb": {"batch_size": 4},
    "xcos": {"head": PaperHead()},
    "corrrise": {"masks": 12, "step_size": 5, "batch_size": 7},
}
VARIANTS = {
    **{name: (name, {}) for name in EXPLAINERS},
    "occlusion in pairs": ("occlusion", {"comparison": "paired", "fill": "noise", "geometry": "published"}),
    "occlusion, mean colour": ("occlusion", {"comparison": "reference", "fill": "mean"}),
    "mean-face, smooth": ("mean-face", {"tile_size": 28, "gaussian_sigma": 3, "batch_size": 5}),
    "integrated-gradients, as they are": ("integrated-gradients", {"steps": 5, "gaussian_sigma": 0}),
    "xssab, smooth": ("xssab", {"noise_samples": 5, "batch_size": 8, "gaussian_sigma": 2}),
    "fggb, smooth": ("fggb", {"gaussian_sigma": 3}),
}


def made(name, embedder, **settings):
    """A quick explainer."""
    threshold = {"threshold": 0.3} if EXPLAINERS[name].takes_threshold else {}
    if settings.get("fill") == "noise" or settings.get("noise_samples"):
        settings["rng"] = np.random.default_rng(2)
    return EXPLAINERS[name](embedder, **{**threshold, **QUICK.get(name, {}), **settings})


@pytest.fixture(scope="module")
def four():
    return np.random.default_rng(3).random((4, 112, 112, 3), np.float32)


@pytest.fixture(scope="module")
def batch(four):
    """Five pairs of four photos: turned round, with itself, and one twice."""
    return four[[0, 1, 2, 3, 0]], four[[1, 0, 2, 1, 1]]


def assert_same(given, expected, atol=1e-5):
    assert given.method == expected.method
    assert given.parameters == expected.parameters
    assert given.progress == expected.progress == 1
    assert given.distance == pytest.approx(expected.distance, abs=atol)
    assert given.numbers == pytest.approx(expected.numbers, abs=atol)
    assert list(given.parts) == list(expected.parts)
    for role in ("probe", "reference"):
        values = getattr(given, f"{role}_map")
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, getattr(expected, f"{role}_map"), atol=atol)
        scale = getattr(expected, f"{role}_scale")
        assert getattr(given, f"{role}_scale") == pytest.approx(scale, rel=1e-4)
        for name, part in given.parts.items():
            assert getattr(part, role).dtype == np.float32
            other = getattr(expected.parts[name], role)
            np.testing.assert_allclose(getattr(part, role), other, atol=atol * max(np.abs(other).max(), 1e-9))


def assert_one_by_one(explainer, probes, references):
    given = explainer.explain_batch(probes, references)
    assert isinstance(given, list)
    assert len(given) == len(probes)
    for one, pair in zip(given, zip(probes, references, strict=True), strict=True):
        assert_same(one, explainer.explain(*pair))


@pytest.mark.parametrize("variant", VARIANTS)
def test_is_the_same_as_one_by_one(variant, batch):
    name, settings = VARIANTS[variant]
    assert_one_by_one(made(name, Linear(), **settings), *batch)


class FewDimensions:
    """The bundled model's first 8 dimensions: each costs FGGB a backward pass."""

    def __init__(self, embedder):
        self._embedder = embedder

    def embed(self, images):
        return unit_length(self._embedder.embed(images)[:, :8])

    def embedding_gradients(self, images, weights):
        unused = self._embedder.dimensions - 8
        return self._embedder.embedding_gradients(images, np.pad(weights, ((0, 0), (0, 0), (0, unused))))


@pytest.mark.parametrize("name", EXPLAINERS)
def test_is_the_same_as_one_by_one_on_the_bundled_model(name, embedder, aligned):
    model = FewDimensions(embedder) if name == "fggb" else embedder
    settings = {"head": None} if name == "xcos" else {}
    faces = [aligned[one] for one in ("obama", "obama2", "biden", "obama")]
    assert_one_by_one(made(name, model, **settings), np.stack(faces[:3]), np.stack(faces[1:]))


@pytest.mark.parametrize("name", EXPLAINERS)
def test_photos_are_left_as_they_are(name, batch):
    kept = [photos.copy() for photos in batch]
    for given in kept:
        given.setflags(write=False)
    made(name, Linear()).explain_batch(*kept)
    for given, before in zip(kept, batch, strict=True):
        np.testing.assert_array_equal(given, before)


@pytest.mark.parametrize("name", EXPLAINERS)
@pytest.mark.parametrize("none", [[], np.zeros((0, 112, 112, 3), np.float32)], ids=["list", "array"])
def test_no_pairs_have_no_explanations(name, none):
    embedder = Linear()
    assert made(name, embedder).explain_batch(none, none) == []
    assert not embedder.embedded


FACE = np.zeros((112, 112, 3), np.float32)


@pytest.mark.parametrize("name", EXPLAINERS)
@pytest.mark.parametrize(
    ("probes", "references", "message"),
    [
        (FACE, [FACE], r"the probes .*not \(112, 112, 3\)"),
        ([FACE], [FACE[:100]], r"the references .*not \(1, 100, 112, 3\)"),
        ([FACE], [FACE, FACE[:100]], "the references .*differ in shape"),
        (5, [FACE], r"the probes .*not \(\)"),
        ([FACE], [FACE, FACE], "1 probes and 2 references"),
        ([FACE, FACE + 2], [FACE, FACE], r"the probe number 1 .*not \[2, 2\]"),
        ([FACE, FACE], [FACE, FACE * np.nan], "the reference number 1 .*nan"),
    ],
)
def test_wrong_photos_are_refused_by_name(name, probes, references, message):
    with pytest.raises(ValueError, match=message):
        made(name, Linear()).explain_batch(probes, references)


class TestShared:
    """The four photos of the five pairs are embedded in one call, each once."""

    @staticmethod
    def explained(name, batch, **settings):
        embedder = Linear()
        made(name, embedder, **settings).explain_batch(*batch)
        return embedder

    @pytest.mark.parametrize("name", ["xssab", "fggb", "xcos", "corrrise", "occlusion"])
    def test_photos_as_they_are(self, name, batch, four):
        first, *_ = self.explained(name, batch).embedded
        # In the order in which they are met.
        np.testing.assert_array_equal(first, four[[0, 1, 2, 3]])

    def test_xssab(self, batch):
        embedder = self.explained("xssab", batch)
        assert len(embedder.embedded) == 1
        assert [(len(images), weights) for images, weights in embedder.differentiated] == [(10, 2)]

    def test_fggb(self, batch):
        embedder = self.explained("fggb", batch)
        assert len(embedder.embedded) == 1
        assert [(len(images), weights) for images, weights in embedder.differentiated] == [(10, 4), (10, 2)]

    @pytest.mark.parametrize(("name", "embedded"), [("grid", 0), ("xcos", 1)])
    def test_grids(self, name, embedded, batch):
        embedder = self.explained(name, batch)
        assert len(embedder.embedded) == embedded
        assert [len(images) for images in embedder.gridded] == [4]

    def test_corrrise_fills_its_batches(self, batch):
        embedder = self.explained("corrrise", batch)
        # Four photos under 5, 5 and 2 masks, seven at once.
        assert [len(images) for images in embedder.embedded[1:]] == [7, 7, 6, 7, 7, 6, 7, 1]

    def test_occlusion_fills_its_batches(self, batch):
        embedder = self.explained("occlusion", batch, batch_size=10)
        sizes = [len(images) for images in embedder.embedded[1:]]
        assert sizes == [10] * 7 + [2]
        assert sum(sizes) == 4 * MASKS_OF_FEW

    def test_occlusion_of_an_embedder_that_patches(self, batch):
        """What it makes ready for a photo is made once, and serves that photo's masks."""

        class Patched(Linear):
            ready = 0

            def patched(self, photo):
                self.ready += 1

                def embed(images, boxes):
                    for image, box in zip(images, boxes, strict=True):
                        inside = np.s_[box.top : box.bottom, box.left : box.right]
                        rest = image.copy()
                        rest[inside] = photo[inside]
                        np.testing.assert_array_equal(rest, photo)
                    return self.embed(images)

                return embed

        embedder = Patched()
        explainer = made("occlusion", embedder, batch_size=20)
        given = explainer.explain_batch(*batch)
        assert embedder.ready == 4
        for one, other in zip(given, made("occlusion", Linear()).explain_batch(*batch), strict=True):
            assert_same(one, other)


class TestKnownEmbeddings:
    @pytest.mark.parametrize("name", EXPLAINERS)
    def test_are_not_computed_again(self, name, batch, four):
        known = Linear().embed(np.concatenate(batch)).reshape(2, 5, DIMENSIONS)
        embedder = Linear()
        given = made(name, embedder).explain_batch(*batch, embeddings=known)
        given.append(made(name, embedder).explain(batch[0][0], batch[1][0], embeddings=known[:, 0]))
        expected = made(name, Linear()).explain_batch(*batch)
        for one, other in zip(given, [*expected, expected[0]], strict=True):
            assert_same(one, other)
        for image in (image for images in embedder.embedded for image in images):
            assert not (image == four).all(axis=(1, 2, 3)).any()

    @pytest.mark.parametrize("name", EXPLAINERS)
    def test_of_another_shape_are_refused(self, name, batch):
        explainer = made(name, Linear())
        with pytest.raises(ValueError, match=r"embeddings must be \(2, 5, D\).*not \(5, 2, 6\)"):
            explainer.explain_batch(*batch, embeddings=np.ones((5, 2, 6)))
        with pytest.raises(ValueError, match=r"embeddings must be \(2, D\).*not \(6,\)"):
            explainer.explain(batch[0][0], batch[1][0], embeddings=np.ones(6))

    def test_on_the_road_from_two_photos_to_all_explanations(self, four):
        """Gradients and grids have forward passes of their own; `embed` sees either photo once."""
        embedder = Linear()
        sources = [(255 * photo).astype(np.uint8) for photo in four[:2]]
        verification = Verifier(embedder, detector=SimpleNamespace()).verify(*sources, aligned=True)
        faces = np.stack([verification.probe.aligned, verification.reference.aligned])
        explain_pair(embedder, verification, list(EXPLAINERS), settings=QUICK)
        images = np.concatenate(embedder.embedded)
        seen = (images[:, None] == faces).all(axis=(2, 3, 4)).sum(axis=0)
        assert seen.tolist() == [1, 1]
        assert len(embedder.embedded[0]) == 2

    def test_of_a_verification(self, four):
        sources = [(255 * photo).astype(np.uint8) for photo in four[:2]]
        verifier = Verifier(Linear(), detector=SimpleNamespace())
        verification = verifier.verify(*sources, aligned=True)
        for face in (verification.probe, verification.reference):
            (expected,) = Linear().embed(face.aligned[None])
            assert face.embedding.dtype == np.float32
            np.testing.assert_allclose(face.embedding, expected, atol=1e-6)
            assert np.linalg.norm(face.embedding) == pytest.approx(1)
        (found,) = verifier.find_candidates(sources[0], name="photo", aligned=True)
        assert found.embedding is None


class Upper(Explainer):
    """A method with nothing but what the contract asks for: the upper half speaks for."""

    name = "toy"
    title = "The upper half (toy)"

    def __init__(self, embedder):
        self.parameters = {}

    def stream(self, probe, reference):
        maps = []
        for photo in aligned_pair(probe, reference):
            maps.append(np.zeros((112, 112), np.float32))
            maps[-1][:56] = photo.mean()
        yield Explanation("toy", MapPair(*maps), 0.5, 1.0, {})


class TestRegistration:
    @pytest.fixture
    def toy(self):
        register(Upper)
        yield "toy"
        del base._registered["toy"]

    def test_is_in_the_choices_and_keeps_the_contract_of_batches(self, toy, batch, four):
        assert check_methods(["toy"]) == ("toy",)
        assert list(EXPLAINERS)[-1] == "toy"
        assert_one_by_one(made(toy, None), *batch)
        test_photos_are_left_as_they_are(toy, batch)
        test_no_pairs_have_no_explanations(toy, [])
        TestKnownEmbeddings().test_of_another_shape_are_refused(toy, batch)
        TestKnownEmbeddings().test_are_not_computed_again(toy, batch, four)

    def test_is_seen_by_command_line_page_and_benchmark(self, run_python):
        """In a process of its own, as these are laid out once."""
        code = """
from xfv_demo.explainers.base import register
from tests.explainers.test_explain_batch import Upper
register(Upper)

import typer
from demo.compare import maps_html
from demo.app import build_app
from xfv_demo.pipeline import in_work_order
from demo.model_service import VerificationService
from xfv_demo.cli.app import app
from xfv_demo.evaluation.explanations.methods import check_compared_methods

explain = typer.main.get_command(app).commands["explain"]
(option,) = [one for one in explain.params if one.name == "methods"]
assert ", toy. Unless given," in option.help, option.help
assert check_compared_methods(["toy"])[0].title == "The upper half (toy)"
assert "<b>The upper half</b> (toy)" in maps_html.how_to_read_html()
assert in_work_order(["toy", "grid"]) == ["grid", "toy"]
page = build_app(VerificationService("mobilefacenet"))
groups = [one for one in page.blocks.values() if type(one).__name__ == "CheckboxGroup"]
offering = [one.label for one in groups if "toy" in [value for _, value in one.choices]]
assert sorted(offering) == ["Explain by", "methods"], offering
"""
        done = run_python("-c", code)
        assert done.returncode == 0, done.stderr
