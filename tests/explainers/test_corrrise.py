"""CorrRISE against NumPy's correlation over masks drawn on their own, and cases worked out on paper."""

import numpy as np
import pytest

from xfv_demo.errors import ModelError
from xfv_demo.explainers.corrrise import CorrRiseExplainer

FEW = {"masks": 60, "patches": 3, "patch_size": 40, "step_size": 16}


class RandomProjection:
    """Random projections of the image, averaged over blocks of 4 x 4 pixels; in double precision."""

    def __init__(self):
        self._weights = np.random.default_rng(7).standard_normal((28 * 28 * 3, 32))
        self.batches = []

    def embed(self, images):
        self.batches.append(images.copy())
        blocks = images.astype(np.float64).reshape(len(images), 28, 4, 28, 4, 3).mean(axis=(2, 4))
        values = blocks.reshape(len(images), -1) @ self._weights
        return values / np.linalg.norm(values, axis=1, keepdims=True)


class OnPaper:
    """Embeds each image at the angle, in radians, that a function of it says."""

    def __init__(self, angle):
        self._angle = angle

    def embed(self, images):
        angles = np.array([self._angle(image) for image in images], np.float64)
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


@pytest.fixture
def random_pair(rng):
    return tuple(rng.random((2, 112, 112, 3), np.float32) * 0.9 + 0.1)


@pytest.fixture
def white():
    return np.ones((112, 112, 3), np.float32)


def drawn(seed, masks, patches, patch_size):
    """(masks, 112, 112), pixel by pixel."""
    corners = np.random.default_rng(seed).integers(0, 112 - patch_size + 1, (masks, patches, 2))
    rows, columns = np.mgrid[:112, :112]
    visible = np.ones((masks, 112, 112))
    for mask, places in zip(visible, corners, strict=True):
        for top, left in places:
            inside = (rows >= top) & (rows < top + patch_size)
            inside &= (columns >= left) & (columns < left + patch_size)
            mask[inside] = 0
    return visible


def by_the_definition(embedder, photo, other, visible):
    """NumPy's correlation, one pixel at a time."""
    (reference,) = embedder.embed(other[None])
    similarities = np.array(
        [embedder.embed((photo * mask[..., None])[None])[0] @ reference for mask in visible]
    )
    correlations = np.zeros((112, 112))
    for place in np.ndindex(112, 112):
        values = visible[:, *place]
        if values.min() < values.max():
            correlations[place] = np.corrcoef(values, similarities)[0, 1]
    return correlations


class TestDefinition:
    @pytest.mark.slow
    def test_is_numpys_correlation(self, random_pair):
        embedder = RandomProjection()
        explanation = CorrRiseExplainer(embedder, **FEW).explain(*random_pair)
        visible = drawn(explanation.parameters["seed"], 60, 3, 40)
        for photo, (role, own) in enumerate(explanation.unscaled._asdict().items()):
            expected = by_the_definition(embedder, random_pair[photo], random_pair[1 - photo], visible)
            np.testing.assert_allclose(own, expected, atol=1e-6)
            assert getattr(explanation, f"{role}_scale") == pytest.approx(np.abs(expected).max(), abs=1e-6)
        assert explanation.parameters == {
            "masks": 60,
            "patches": 3,
            "patch_size": 40,
            "seed": explanation.parameters["seed"],
        }

    def test_each_step_is_that_of_the_masks_so_far(self, random_pair):
        embedder = RandomProjection()
        steps = list(CorrRiseExplainer(embedder, **FEW).stream(*random_pair))
        assert [step.progress for step in steps] == [16 / 60, 32 / 60, 48 / 60, 1]
        visible = drawn(steps[0].parameters["seed"], 60, 3, 40)
        expected = by_the_definition(embedder, *random_pair, visible[:16])
        np.testing.assert_allclose(steps[0].unscaled.probe, expected, atol=1e-6)

    def test_holds_for_the_bundled_model(self, embedder, aligned):
        pair = aligned["obama"], aligned["biden"]
        explanation = CorrRiseExplainer(embedder, **FEW).explain(*pair)
        expected = by_the_definition(embedder, *pair, drawn(explanation.parameters["seed"], 60, 3, 40))
        np.testing.assert_allclose(explanation.unscaled.probe, expected, atol=1e-4)
        assert explanation.distance == pytest.approx(
            1 - np.dot(*embedder.embed(np.stack(pair)).astype(np.float64)), abs=1e-6
        )

    def test_parts_are_the_two_sides_of_the_map(self, random_pair):
        explanation = CorrRiseExplainer(RandomProjection(), **FEW).explain(*random_pair)
        positive, negative = explanation.parts["positive"], explanation.parts["negative"]
        for role, values in explanation.unscaled._asdict().items():
            assert getattr(positive, role).min() == getattr(negative, role).min() == 0
            np.testing.assert_allclose(getattr(positive, role) - getattr(negative, role), values, atol=1e-6)

    def test_embedders_of_other_lengths_than_1_do_no_harm(self, random_pair):
        class Long(RandomProjection):
            def embed(self, images):
                return super().embed(images) * 37

        ours, expected = (
            CorrRiseExplainer(one(), **FEW).explain(*random_pair) for one in (Long, RandomProjection)
        )
        np.testing.assert_allclose(ours.probe_map, expected.probe_map, atol=1e-6)


class TestOnPaper:
    @staticmethod
    def of_a_pixel(white, seen, hidden):
        """Of an embedder that sees one pixel: the photos are alike where both angles are."""
        embedder = OnPaper(lambda image: seen if image[50, 60, 0] else hidden)
        return CorrRiseExplainer(embedder, **FEW).explain(white, white)

    def test_what_alone_makes_faces_alike_correlates_by_1(self, white):
        explanation = self.of_a_pixel(white, seen=0, hidden=1)
        for values, scale in (
            (explanation.probe_map, explanation.probe_scale),
            (explanation.reference_map, explanation.reference_scale),
        ):
            assert scale == pytest.approx(1, abs=1e-9)
            assert values[50, 60] == pytest.approx(1, abs=1e-6)
            # A patch seldom ends between neighbours, and never hides places so far apart.
            assert values[50, 61] > 0.8
            assert values[0, 0] < 0.3

    def test_what_sets_faces_apart_is_negative(self, white):
        """The reference is black, so at angle 1; hiding the pixel takes the probe there too."""
        embedder = OnPaper(lambda image: 0 if image[50, 60, 0] else 1)
        explanation = CorrRiseExplainer(embedder, **FEW).explain(white, np.zeros_like(white))
        assert explanation.unscaled.probe[50, 60] == pytest.approx(-1, abs=1e-6)
        assert explanation.parts["negative"].probe[50, 60] == pytest.approx(1, abs=1e-6)
        assert explanation.parts["positive"].probe[50, 60] == 0
        assert explanation.distance == pytest.approx(1 - np.cos(1))
        # There is nothing in the reference to hide.
        assert explanation.reference_scale == 0
        np.testing.assert_array_equal(explanation.reference_map, 0)

    def test_two_pixels_share_the_correlation(self, white):
        """The similarity is 0.5 and 0.3 times one pixel's visibility and 0.1 times another's, far from it.

        A mask of one patch never hides both, so where they are hidden by shares p and q of the masks, their
        visibilities have the variances p (1 - p) and q (1 - q) and the covariance -pq.
        """

        class Linear:
            def embed(self, images):
                similarity = 0.5 + 0.3 * images[:, 56, 15, 0].astype(np.float64) + 0.1 * images[:, 56, 95, 0]
                embeddings = np.stack([similarity, np.sqrt(1 - similarity**2)], axis=1)
                return np.where(images[:, 0, 0, 1, None] == 0.5, [1, 0], embeddings)

        other = np.full_like(white, 0.5)
        explainer = CorrRiseExplainer(Linear(), masks=200, patches=1, patch_size=50)
        hidden = 1 - drawn(explainer.parameters["seed"], 200, 1, 50)
        p, q = hidden[:, 56, 15].mean(), hidden[:, 56, 95].mean()
        assert p > 0.1 < q
        spread = 0.3**2 * p * (1 - p) + 0.1**2 * q * (1 - q) - 2 * 0.3 * 0.1 * p * q
        values = explainer.explain(white, other).unscaled.probe
        assert values[56, 15] == pytest.approx(
            (0.3 * p * (1 - p) - 0.1 * p * q) / np.sqrt(spread * p * (1 - p)), abs=1e-6
        )
        assert values[56, 95] == pytest.approx(
            (0.1 * q * (1 - q) - 0.3 * p * q) / np.sqrt(spread * q * (1 - q)), abs=1e-6
        )

    def test_pixels_that_no_mask_hides_are_0(self, white):
        """Two masks of a patch of 20 pixels; what one hides and the other shows correlates by 1 or -1."""
        explainer = CorrRiseExplainer(RandomProjection(), masks=2, patches=1, patch_size=20)
        first, second = drawn(explainer.parameters["seed"], 2, 1, 20)
        values = explainer.explain(white, white[:, ::-1] * 0.5).unscaled.probe
        assert ((values == 0) == (first == second)).all()
        np.testing.assert_allclose(np.abs(values[first != second]), 1, atol=1e-6)

    def test_rounding_makes_no_map(self, white):
        """Similarities that differ in the last digit of float32."""
        noise = np.random.default_rng(2)
        embedder = OnPaper(lambda image: bool(image.max()) + 1e-7 * noise.standard_normal())
        for explanation in CorrRiseExplainer(embedder, **FEW).stream(white, np.zeros_like(white)):
            assert explanation.distance == pytest.approx(1 - np.cos(1), abs=1e-6)
            assert explanation.probe_scale == explanation.reference_scale == 0
            np.testing.assert_array_equal(explanation.probe_map, 0)


class TestMasks:
    @staticmethod
    def shown(photo, **settings):
        """What is visible of a white photo, mask by mask: (2, masks, 112, 112), and of one half as bright."""
        embedder = RandomProjection()
        CorrRiseExplainer(embedder, **settings).explain(photo, photo / 2)
        images = np.concatenate(embedder.batches[1:])
        # By steps, within them first the probe, then the reference.
        steps = [
            images[i : i + 2 * settings["step_size"]]
            for i in range(0, len(images), 2 * settings["step_size"])
        ]
        shown = np.concatenate([step.reshape(2, -1, 112, 112, 3) for step in steps], axis=1)[..., 0]
        return shown * np.float32([1, 2])[:, None, None, None]

    def test_hide_squares_in_black_and_nothing_else(self, white):
        photo = white * 0.7
        shown = self.shown(photo, masks=20, patches=1, patch_size=30, step_size=8)
        assert shown.shape == (2, 20, 112, 112)
        np.testing.assert_array_equal(np.unique(shown), np.float32([0, 0.7]))
        for image in shown[0]:
            rows, columns = np.nonzero(image == 0)
            assert len(rows) == 30 * 30
            assert np.ptp(rows) == np.ptp(columns) == 29

    def test_are_the_same_for_both_photos(self, white):
        probe, reference = self.shown(white, masks=20, patches=3, patch_size=30, step_size=8)
        np.testing.assert_array_equal(probe, reference)

    def test_are_the_same_each_time(self, random_pair):
        first, again = (CorrRiseExplainer(RandomProjection(), **FEW).explain(*random_pair) for _ in range(2))
        np.testing.assert_array_equal(first.probe_map, again.probe_map)

    @pytest.mark.slow
    def test_are_the_generators(self, random_pair):
        explainers = [
            CorrRiseExplainer(RandomProjection(), **FEW, rng=np.random.default_rng(seed))
            for seed in (5, 5, 6)
        ]
        same, again, other = (explainer.explain(*random_pair) for explainer in explainers)
        np.testing.assert_array_equal(same.probe_map, again.probe_map)
        np.testing.assert_array_equal(explainers[0].explain(*random_pair).probe_map, same.probe_map)
        assert np.abs(same.probe_map - other.probe_map).max() > 0.1

    def test_by_default_are_as_published(self):
        assert {**CorrRiseExplainer(RandomProjection()).parameters, "seed": None} == {
            "masks": 500,
            "patches": 3,
            "patch_size": 30,
            "seed": None,
        }

    def test_two_seeds_agree_on_a_genuine_pair(self, embedder, aligned):
        """500 masks are enough for a map that is the pair's, not the masks'."""
        pair = aligned["obama"], aligned["obama2"]
        maps = [
            CorrRiseExplainer(embedder, rng=np.random.default_rng(seed)).explain(*pair).probe_map
            for seed in (1, 2)
        ]
        assert np.corrcoef(*(values.ravel() for values in maps))[0, 1] > 0.9


class TestStream:
    @pytest.mark.parametrize("batch_size", [1, 7, 200])
    def test_batch_size_bounds_what_is_embedded_at_once(self, random_pair, batch_size):
        embedder = RandomProjection()
        steps = list(CorrRiseExplainer(embedder, **FEW, batch_size=batch_size).stream(*random_pair))
        assert len(steps) == 4
        # The first batch is the photos as they are.
        # The masks of a step, of both photos.
        assert max(len(batch) for batch in embedder.batches[1:]) == min(batch_size, 2 * 16)
        assert sum(len(batch) for batch in embedder.batches) == 2 + 2 * 60

    def test_step_size_does_not_change_the_final_map(self, random_pair):
        ones = CorrRiseExplainer(RandomProjection(), **{**FEW, "step_size": 1})
        all_at_once = CorrRiseExplainer(RandomProjection(), **{**FEW, "step_size": 100})
        steps = list(ones.stream(*random_pair))
        assert len(steps) == 60
        # One mask has no correlation.
        assert steps[0].probe_scale == 0
        (whole,) = all_at_once.stream(*random_pair)
        np.testing.assert_allclose(steps[-1].probe_map, whole.probe_map, atol=1e-6)


class TestBroken:
    @pytest.mark.parametrize(
        ("embed", "message"),
        [
            (lambda images: np.ones(len(images)), "one row"),
            (lambda images: np.ones((1, 8)), "one row"),
            (lambda images: np.full((len(images), 8), np.nan), "not finite"),
        ],
    )
    def test_embedders_are_told_apart(self, random_pair, embed, message):
        embedder = RandomProjection()
        embedder.embed = embed
        with pytest.raises(ModelError, match=message):
            CorrRiseExplainer(embedder, **FEW).explain(*random_pair)

    @pytest.mark.parametrize(
        "settings",
        [
            {"masks": 1},
            {"patches": 0},
            {"patch_size": 0},
            {"patch_size": 112},
            {"batch_size": 0},
            {"step_size": 0},
        ],
    )
    def test_settings_are_refused(self, settings):
        (name,) = settings
        with pytest.raises(ValueError, match=name):
            CorrRiseExplainer(RandomProjection(), **settings)
