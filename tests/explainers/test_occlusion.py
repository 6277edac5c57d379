"""Occlusion maps against the definition, spelt out in loops, and against cases worked out on paper."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from xfv_demo import EXPLAINERS
from xfv_demo.errors import ModelError
from xfv_demo.explainers.occlusion import OccludedEmbeddings, OcclusionExplainer

COMPARISONS = ("all", "reference", "paired")

# 25 + 25 = 50 masks.
FEW = {"patch_sizes": (14, 28), "stride": 20}
MASKS_OF_FEW = 50


class RandomProjection:
    """A cheap embedder: random projections of the image, averaged over blocks of 4 x 4 pixels.

    In double precision: a float32 product of matrices rounds otherwise when it has other rows beside it.
    """

    def __init__(self, dimensions=32):
        self._weights = np.random.default_rng(7).standard_normal((28 * 28 * 3, dimensions))

    def embed(self, images):
        blocks = (
            images.astype(np.float64)
            .reshape(len(images), 28, 4, 28, 4, 3)
            .mean(axis=(2, 4))
            .reshape(len(images), -1)
        )
        values = blocks @ self._weights
        return values / np.linalg.norm(values, axis=1, keepdims=True)


class Recorder:
    """Keeps what an embedder is asked."""

    def __init__(self, embedder):
        self._embedder = embedder
        self.batches = []

    def embed(self, images):
        self.batches.append(images.copy())
        return self._embedder.embed(images)

    @property
    def images(self):
        return np.concatenate(self.batches)

    def forget(self):
        self.batches.clear()


class OnPaper:
    """Embeds each image as a function of it says."""

    def __init__(self, function):
        self._function = function

    def embed(self, images):
        values = np.array([self._function(image) for image in images], np.float32)
        return values / np.linalg.norm(values, axis=1, keepdims=True)


@pytest.fixture
def random_pair(rng):
    return tuple(rng.random((2, 112, 112, 3), np.float32))


def by_the_definition(embedder, probe, reference, patch_sizes=(7, 14, 28), stride=5):
    """x-Face's maps as methods.md states them, method 1 with all of its N x N distances."""
    unit = lambda images: embedder.embed(np.asarray(images)).astype(np.float64)  # noqa: E731
    (e1,), (e2,) = unit([probe]), unit([reference])
    sums = {comparison: [np.zeros((112, 112)), np.zeros((112, 112))] for comparison in COMPARISONS}
    for p in patch_sizes:
        corners = [(x, y) for x in np.arange(0, 112 - p, stride) for y in np.arange(0, 112 - p, stride)]

        def occluded(photo, p=p, corners=corners):
            for x, y in corners:
                image = photo.copy()
                for row in range(y, y + p + 1):
                    image[row, x : x + p + 1] = 0
                yield unit([image])[0]

        e1_n, e2_m = np.stack(list(occluded(probe))), np.stack(list(occluded(reference)))
        distances = 1 - e1_n @ e2_m.T
        distances_by = {
            "all": (distances.mean(axis=1), distances.mean(axis=0)),
            "reference": (1 - e1_n @ e2, 1 - e2_m @ e1),
            "paired": (np.diag(distances), np.diag(distances)),
        }
        for comparison, of_photos in distances_by.items():
            for photo, d_n in enumerate(of_photos):
                total = np.zeros((112, 112))
                for (x, y), d in zip(corners, d_n, strict=True):
                    total[y : y + p + 1, x : x + p + 1] += (d - (1 - e1 @ e2)) / p**2
                mean = total / len(corners)
                sums[comparison][photo] += cv2.GaussianBlur(mean, (5, 5), 5) / len(patch_sizes)
    return sums


def assert_agrees(explanation, expected):
    """Within 1e-4 of full scale, and the scale with it."""
    for role, raw in zip(("probe", "reference"), expected, strict=True):
        scale = np.abs(raw).max()
        np.testing.assert_allclose(getattr(explanation, f"{role}_map"), raw / scale, atol=1e-4)
        assert getattr(explanation, f"{role}_scale") == pytest.approx(scale, rel=1e-4)


class TestDefinition:
    @pytest.mark.slow
    def test_defaults_are_the_papers(self, random_pair):
        embedder = RandomProjection()
        expected = by_the_definition(embedder, *random_pair)
        *_, last = EXPLAINERS["occlusion"].stream_all(embedder, *random_pair)
        for comparison in COMPARISONS:
            assert_agrees(last[comparison], expected[comparison])
            assert last[comparison].parameters["comparison"] == comparison
            assert last[comparison].parameters["masks"] == 441 + 400 + 289

    def test_holds_for_the_bundled_model(self, embedder, aligned):
        pair = aligned["obama"], aligned["biden"]
        expected = by_the_definition(embedder, *pair, stride=25)
        *_, last = EXPLAINERS["occlusion"].stream_all(embedder, *pair, stride=25)
        for comparison in COMPARISONS:
            assert_agrees(last[comparison], expected[comparison])

    @pytest.mark.parametrize("comparison", COMPARISONS)
    def test_one_comparison_is_that_of_all_three(self, random_pair, comparison):
        embedder = RandomProjection()
        *_, last = EXPLAINERS["occlusion"].stream_all(embedder, *random_pair, **FEW)
        alone = EXPLAINERS["occlusion"](embedder, comparison=comparison, **FEW).explain(*random_pair)
        np.testing.assert_allclose(alone.probe_map, last[comparison].probe_map, atol=1e-6)
        np.testing.assert_allclose(alone.reference_map, last[comparison].reference_map, atol=1e-6)
        assert alone.parameters == last[comparison].parameters

    def test_all_to_all_is_the_default(self):
        assert EXPLAINERS["occlusion"](RandomProjection()).comparison == "all"

    def test_a_single_patch_on_paper(self):
        """One mask, 29 x 29, hides what the photos have in common: d goes from 0 to 1 - 1/√2."""
        photo = np.zeros((112, 112, 3), np.float32)
        photo[10, 10] = 1
        embedder = OnPaper(lambda image: (image[10, 10, 0], 1))
        explanation = EXPLAINERS["occlusion"](embedder, "reference", patch_sizes=(28,), stride=84).explain(
            photo, photo
        )
        assert explanation.distance == pytest.approx(0, abs=1e-6)
        assert explanation.probe_scale == pytest.approx((1 - np.sqrt(0.5)) / 28**2, rel=1e-5)
        # The blur reaches 2 pixels either way.
        np.testing.assert_allclose(explanation.probe_map[:27, :27], 1, rtol=1e-6)
        np.testing.assert_allclose(explanation.probe_map[31:], 0, atol=0)
        np.testing.assert_allclose(explanation.probe_map[:, 31:], 0, atol=0)
        np.testing.assert_array_equal(explanation.reference_map, explanation.probe_map)

    def test_what_sets_the_faces_apart_is_negative(self):
        """(1, 1) against (0, 1): hiding the pixel makes the probe the same as the reference."""
        probe = np.zeros((112, 112, 3), np.float32)
        probe[10, 10] = 1
        embedder = OnPaper(lambda image: (image[10, 10, 0], 1))
        explanation = EXPLAINERS["occlusion"](embedder, "reference", patch_sizes=(28,), stride=84).explain(
            probe, np.zeros_like(probe)
        )
        assert explanation.distance == pytest.approx(1 - np.sqrt(0.5))
        np.testing.assert_allclose(explanation.probe_map[:27, :27], -1, rtol=1e-6)
        # The reference has nothing there to hide.
        assert explanation.reference_scale == 0
        np.testing.assert_array_equal(explanation.reference_map, 0)

    def test_rounding_makes_no_map(self, random_pair):
        """Changes of distance in the last digit of float32."""
        noise = np.random.default_rng(2)
        embedder = OnPaper(lambda image: (1 + 1e-7 * noise.standard_normal(), 1))
        for step in EXPLAINERS["occlusion"].stream_all(embedder, *random_pair, **FEW):
            for explanation in step.values():
                assert explanation.probe_scale == explanation.reference_scale == 0
                np.testing.assert_array_equal(explanation.probe_map, 0)


class TestSettings:
    @staticmethod
    def occluded(photo, **settings):
        """The images that are embedded of a photo, as it is and under each mask."""
        recorder = Recorder(RandomProjection())
        OcclusionExplainer(recorder, **FEW, **settings).explain(photo, photo)
        assert len(recorder.images) == 1 + MASKS_OF_FEW
        return recorder.images

    @pytest.fixture
    def photo(self, random_pair):
        # No pixel is what any fill puts there.
        return random_pair[0] * 0.1 + 0.8

    def test_patches_are_black_squares_with_both_ends(self, photo):
        images = self.occluded(photo)
        np.testing.assert_array_equal(images[0], photo)
        hidden = (images != photo).any(axis=-1)
        np.testing.assert_array_equal(images[hidden], 0)
        areas, counts = np.unique(hidden.sum(axis=(1, 2)), return_counts=True)
        assert dict(zip(areas, counts, strict=True)) == {0: 1, 15**2: 25, 29**2: 25}

    def test_fill_grey(self, photo):
        images = self.occluded(photo, fill="grey")
        np.testing.assert_array_equal(images[(images != photo)], 0.5)

    def test_fill_mean(self, photo):
        images = self.occluded(photo, fill="mean")
        hidden = (images != photo).any(axis=-1)
        np.testing.assert_allclose(
            images[hidden], np.broadcast_to(photo.mean(axis=(0, 1)), (hidden.sum(), 3)), atol=1e-6
        )

    def test_fill_blur(self, photo):
        images = self.occluded(photo, fill="blur")
        blurred = cv2.GaussianBlur(photo, (0, 0), 10)
        hidden = (images != photo).any(axis=-1)
        np.testing.assert_allclose(images[hidden], np.broadcast_to(blurred, images.shape)[hidden], atol=1e-6)

    def test_fill_noise_is_the_generators(self, photo):
        once, again = (self.occluded(photo, fill="noise", rng=np.random.default_rng(8)) for _ in range(2))
        np.testing.assert_array_equal(once, again)
        assert 0.2 < once[once != photo].std() < 0.35
        with pytest.raises(ValueError, match="rng"):
            OcclusionExplainer(RandomProjection(), fill="noise")

    def test_circles_lie_in_their_squares(self, photo):
        squares, circles = (
            (self.occluded(photo, shape=shape) != photo).any(axis=-1) for shape in ("square", "circle")
        )
        assert not (circles & ~squares).any()
        areas = np.unique(circles.sum(axis=(1, 2)))
        np.testing.assert_allclose(areas[1:], [np.pi / 4 * 15**2, np.pi / 4 * 29**2], rtol=0.02)
        # Each is the same whichever way it is turned.
        for circle in circles[1:]:
            rows, columns = np.flatnonzero(circle.any(axis=1)), np.flatnonzero(circle.any(axis=0))
            disc = circle[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            np.testing.assert_array_equal(disc, disc.T)
            np.testing.assert_array_equal(disc, disc[::-1])

    @pytest.mark.parametrize("fill", ["black", "grey", "mean", "noise", "blur"])
    @pytest.mark.parametrize("shape", ["square", "circle"])
    @pytest.mark.parametrize("geometry", ["published", "covered"])
    def test_all_go_together(self, random_pair, fill, shape, geometry):
        settings = {"patch_sizes": (20, 40), "stride": 20, "rng": np.random.default_rng(0)}
        explanation = OcclusionExplainer(
            RandomProjection(), fill=fill, shape=shape, geometry=geometry, **settings
        ).explain(*random_pair)
        assert np.isfinite(explanation.probe_map).all()
        assert explanation.probe_scale > 0
        assert explanation.parameters == {
            "comparison": "all",
            "patch_sizes": [20, 40],
            "stride": 20,
            "fill": fill,
            "shape": shape,
            "geometry": geometry,
            "masks": explanation.parameters["masks"],
        }

    @pytest.mark.parametrize(
        "settings",
        [
            {"comparison": "1"},
            {"fill": "white"},
            {"shape": "star"},
            {"geometry": "exact"},
            {"patch_sizes": ()},
            {"patch_sizes": (0, 7)},
            {"patch_sizes": (7, 112)},
            {"patch_sizes": (7, 7)},
            {"stride": 0},
            {"batch_size": 0},
            {"step_size": 0},
        ],
    )
    def test_out_of_range(self, settings):
        (name,) = settings
        with pytest.raises(ValueError, match=name):
            EXPLAINERS["occlusion"](RandomProjection(), **settings)

    def test_covered_has_no_gaps(self):
        with pytest.raises(ValueError, match="stride of 8"):
            EXPLAINERS["occlusion"](RandomProjection(), geometry="covered", stride=8)


class TestCoveredGeometry:
    def test_patches_are_exact_and_reach_all_edges(self):
        photo = np.ones((112, 112, 3), np.float32)
        recorder = Recorder(RandomProjection())
        OcclusionExplainer(recorder, geometry="covered", step_size=400).explain(photo, photo)
        hidden = (recorder.images == 0).all(axis=-1)[1:]
        areas = hidden.sum(axis=(1, 2))
        assert len(hidden) == 22**2 + 21**2 + 18**2
        for p in (7, 14, 28):
            of_size = hidden[areas == p**2]
            assert of_size.any(axis=0).all()
        assert set(areas) == {7**2, 14**2, 28**2}

    @pytest.mark.parametrize("shape", ["square", "circle"])
    def test_same_change_everywhere_makes_an_even_map(self, shape):
        """An embedder that counts hidden pixels: the covered map is even, the published is not."""
        photo = np.ones((112, 112, 3), np.float32)
        embedder = OnPaper(lambda image: (image.mean(), 1))
        maps = {
            geometry: OcclusionExplainer(
                embedder, "reference", patch_sizes=(28,), stride=10, shape=shape, geometry=geometry
            ).explain(photo, photo)
            for geometry in ("published", "covered")
        }
        inner = np.s_[14:-14, 14:-14]
        np.testing.assert_allclose(maps["covered"].probe_map[inner], 1, rtol=1e-5)
        assert maps["published"].probe_map[-1, -1] == 0
        assert np.ptp(maps["published"].probe_map) == pytest.approx(1)
        if shape == "square":
            np.testing.assert_allclose(maps["covered"].probe_map, 1, rtol=1e-5)
            kept = 1 - 28**2 / 112**2
            distance = 1 - (kept + 1) / np.sqrt(2 * (kept**2 + 1))
            assert maps["covered"].probe_scale == pytest.approx(distance / 28**2, rel=1e-4)

    def test_average_by_coverage_in_loops(self, random_pair):
        embedder = RandomProjection()
        explanation = OcclusionExplainer(
            embedder, "reference", patch_sizes=(30, 40), stride=30, geometry="covered"
        ).explain(*random_pair)
        probe, reference = random_pair
        e = lambda image: embedder.embed(image[None])[0].astype(np.float64)  # noqa: E731
        expected = np.zeros((112, 112))
        for p, starts in ((30, (0, 30, 60, 82)), (40, (0, 30, 60, 72))):
            total, count = np.zeros((112, 112)), np.zeros((112, 112))
            for y, x in itertools.product(starts, starts):
                image = probe.copy()
                image[y : y + p, x : x + p] = 0
                change = e(probe) @ e(reference) - e(image) @ e(reference)
                total[y : y + p, x : x + p] += change / p**2
                count[y : y + p, x : x + p] += 1
            expected += cv2.GaussianBlur(total / count, (5, 5), 5) / 2
        np.testing.assert_allclose(explanation.probe_map, expected / np.abs(expected).max(), atol=1e-4)


@pytest.fixture(scope="module")
def steps(embedder, aligned):
    """All steps for a genuine pair, bundled model, default settings."""
    return list(EXPLAINERS["occlusion"].stream_all(embedder, aligned["obama"], aligned["obama2"]))


class TestStream:
    def test_at_least_30_steps_of_all_three(self, steps):
        assert len(steps) >= 30
        assert all(tuple(step) == COMPARISONS for step in steps)

    @pytest.mark.parametrize(("comparison", "early"), [("all", 0.9), ("reference", 0.85), ("paired", 0.7)])
    def test_early_steps_look_like_the_last(self, steps, comparison, early):
        def values(step):
            return np.stack([step[comparison].probe_map, step[comparison].reference_map]).ravel()

        correlations = [np.corrcoef(values(step), values(steps[-1]))[0, 1] for step in steps]
        progress = [step[comparison].progress for step in steps]
        assert correlations[0] > early
        assert all(c > 0.95 for c, p in zip(correlations, progress, strict=True) if p >= 1 / 4)
        assert all(c > 0.99 for c, p in zip(correlations, progress, strict=True) if p >= 2 / 3)
        # Never a step back that anyone could see.
        assert np.diff(correlations).min() > -0.01

    def test_faces_carry_the_evidence(self, steps):
        """Brows to mouth hold more of it for each pixel than what surrounds the face."""
        face = np.zeros((112, 112), bool)
        face[40:100, 30:82] = True
        for explanation in steps[-1].values():
            for values in (explanation.probe_map, explanation.reference_map):
                surroundings = np.abs(values[:, :12]), np.abs(values[:, -12:]), np.abs(values[-10:])
                outside = np.concatenate([part.ravel() for part in surroundings])
                assert values[face].mean() > 3 * outside.mean()
                assert values[face].mean() > 0

    @pytest.mark.slow
    def test_every_step_has_both_maps(self, random_pair):
        for step in EXPLAINERS["occlusion"].stream_all(RandomProjection(), *random_pair):
            for explanation in step.values():
                assert explanation.probe_scale > 0
                assert explanation.reference_scale > 0

    def test_same_change_everywhere_gives_the_final_map_from_the_first_step_on(self):
        """Masks still to come are neither zero nor left out of the count."""
        photo = np.ones((112, 112, 3), np.float32)
        embedder = OnPaper(lambda image: (image.mean(), 1))
        explainer = OcclusionExplainer(embedder, "reference", patch_sizes=(14, 28))
        *early, last = explainer.stream(photo, photo)
        for step in early:
            np.testing.assert_allclose(step.probe_map, last.probe_map, atol=1e-4)
            assert step.probe_scale == pytest.approx(last.probe_scale, rel=1e-4)

    @pytest.mark.parametrize("step_size", [1, 5, 1000])
    def test_step_size_does_not_change_the_last(self, random_pair, step_size):
        *_, usual = OcclusionExplainer(RandomProjection(), **FEW).stream(*random_pair)
        steps = list(OcclusionExplainer(RandomProjection(), **FEW, step_size=step_size).stream(*random_pair))
        np.testing.assert_allclose(steps[-1].probe_map, usual.probe_map, atol=1e-6)
        assert len(steps) == {1: 50, 5: 10, 1000: 2}[step_size]

    def test_no_more_images_at_once_than_the_batch(self, random_pair):
        recorder = Recorder(RandomProjection())
        OcclusionExplainer(recorder, **FEW, batch_size=10, step_size=40).explain(*random_pair)
        assert max(len(batch) for batch in recorder.batches) == 10
        assert len(recorder.images) == 2 * (1 + MASKS_OF_FEW)


class TestCache:
    @pytest.fixture
    def recorder(self):
        return Recorder(RandomProjection())

    @pytest.fixture
    def faces(self, rng):
        return rng.random((4, 112, 112, 3), np.float32)

    def test_only_the_new_photo_is_embedded(self, recorder, faces):
        explainer = OcclusionExplainer(recorder, **FEW)
        explainer.explain(faces[0], faces[1])
        assert len(recorder.images) == 2 * (1 + MASKS_OF_FEW)
        recorder.forget()
        second = explainer.explain(faces[0], faces[2])
        assert len(recorder.images) == 1 + MASKS_OF_FEW
        fresh = OcclusionExplainer(RandomProjection(), **FEW).explain(faces[0], faces[2])
        np.testing.assert_allclose(second.probe_map, fresh.probe_map, atol=1e-5)
        np.testing.assert_allclose(second.reference_map, fresh.reference_map, atol=1e-5)

    def test_comparisons_share_what_is_known(self, recorder, faces):
        cache = OccludedEmbeddings()
        for comparison in COMPARISONS:
            OcclusionExplainer(recorder, comparison, **FEW, cache=cache).explain(*faces[:2])
        list(OcclusionExplainer.stream_all(recorder, *faces[:2], **FEW, cache=cache))
        assert len(recorder.images) == 2 * (1 + MASKS_OF_FEW)

    def test_photos_may_change_roles(self, recorder, faces):
        explainer = OcclusionExplainer(recorder, **FEW)
        explainer.explain(faces[0], faces[1])
        explainer.explain(faces[1], faces[0])
        assert len(recorder.images) == 2 * (1 + MASKS_OF_FEW)

    def test_streams_are_the_same_with_and_without(self, recorder, faces):
        explainer = OcclusionExplainer(recorder, **FEW, step_size=8)
        first, second = list(explainer.stream(*faces[:2])), list(explainer.stream(*faces[:2]))
        assert len(first) == len(second)
        for before, after in zip(first, second, strict=True):
            np.testing.assert_array_equal(before.probe_map, after.probe_map)

    def test_a_stopped_pass_is_resumed(self, recorder, faces):
        explainer = OcclusionExplainer(recorder, **FEW, step_size=8)
        stream = explainer.stream(*faces[:2])
        next(stream), next(stream)
        stream.close()
        assert len(recorder.images) == 2 * (1 + 16)
        resumed = explainer.explain(*faces[:2])
        assert len(recorder.images) == 2 * (1 + MASKS_OF_FEW)
        fresh = OcclusionExplainer(RandomProjection(), **FEW).explain(*faces[:2])
        np.testing.assert_allclose(resumed.probe_map, fresh.probe_map, atol=1e-6)

    def test_an_embedder_that_failed_may_try_again(self, faces):
        class FailsOnce(RandomProjection):
            calls = 0

            def embed(self, images):
                self.calls += 1
                if self.calls == 2:
                    raise OSError("gone")
                return super().embed(images)

        explainer = OcclusionExplainer(FailsOnce(), **FEW)
        with pytest.raises(OSError, match="gone"):
            explainer.explain(*faces[:2])
        fresh = OcclusionExplainer(RandomProjection(), **FEW).explain(*faces[:2])
        np.testing.assert_allclose(explainer.explain(*faces[:2]).probe_map, fresh.probe_map, atol=1e-6)

    @pytest.mark.slow
    def test_other_settings_and_embedders_are_kept_apart(self, faces):
        cache = OccludedEmbeddings(capacity=20)
        embedder, other = RandomProjection(), RandomProjection(dimensions=5)
        settings = {"patch_sizes": (28,), "stride": 20}
        changes = ({}, {"fill": "grey"}, {"shape": "circle"}, {"stride": 28}, {"geometry": "covered"})
        for used, change in [*((embedder, change) for change in changes), (other, {})]:
            changed = {**settings, **change}
            ours = OcclusionExplainer(used, **changed, cache=cache).explain(*faces[:2])
            fresh = OcclusionExplainer(used, **changed).explain(*faces[:2])
            np.testing.assert_allclose(ours.probe_map, fresh.probe_map, atol=1e-5)
        assert len(cache) == 2 * 6

    def test_a_pass_is_resumed_with_the_photo_as_it_was(self, recorder, faces):
        explainer = OcclusionExplainer(recorder, **FEW)
        photo = faces[0].copy()
        next(explainer.stream(photo, faces[1]))
        photo[:] = 0
        resumed = explainer.explain(faces[0], faces[1])
        fresh = OcclusionExplainer(RandomProjection(), **FEW).explain(faces[0], faces[1])
        np.testing.assert_allclose(resumed.probe_map, fresh.probe_map, atol=1e-5)

    def test_a_photo_changed_in_place_is_another(self, recorder, faces):
        explainer = OcclusionExplainer(recorder, **FEW)
        photo = faces[0].copy()
        explainer.explain(photo, faces[1])
        photo[50:60] = 0
        changed = explainer.explain(photo, faces[1])
        fresh = OcclusionExplainer(RandomProjection(), **FEW).explain(photo, faces[1])
        np.testing.assert_allclose(changed.probe_map, fresh.probe_map, atol=1e-5)

    def test_is_bounded_and_drops_the_oldest(self, recorder, faces):
        cache = OccludedEmbeddings(capacity=2)
        explainer = OcclusionExplainer(recorder, **FEW, cache=cache)
        explainer.explain(faces[0], faces[1])
        explainer.explain(faces[0], faces[2])
        assert len(cache) == 2
        recorder.forget()
        explainer.explain(faces[2], faces[0])
        assert not recorder.batches
        explainer.explain(faces[1], faces[0])
        assert len(recorder.images) == 1 + MASKS_OF_FEW
        cache.clear()
        assert len(cache) == 0
        with pytest.raises(ValueError, match="capacity"):
            OccludedEmbeddings(capacity=0)

    def test_a_pair_works_with_room_for_one(self, recorder, faces):
        cache = OccludedEmbeddings(capacity=1)
        ours = OcclusionExplainer(recorder, **FEW, cache=cache).explain(*faces[:2])
        fresh = OcclusionExplainer(RandomProjection(), **FEW).explain(*faces[:2])
        np.testing.assert_allclose(ours.probe_map, fresh.probe_map, atol=1e-5)

    def test_threads_get_what_one_gets(self, faces):
        barrier = threading.Barrier(4, timeout=30)
        cache = OccludedEmbeddings()
        embedder = RandomProjection()

        def explain(number):
            explainer = OcclusionExplainer(embedder, **FEW, cache=cache, step_size=number + 2)
            barrier.wait()
            return explainer.explain(faces[0], faces[1 + number % 3])

        with ThreadPoolExecutor(4) as pool:
            explanations = list(pool.map(explain, range(4)))
        for number, explanation in enumerate(explanations):
            fresh = OcclusionExplainer(embedder, **FEW).explain(faces[0], faces[1 + number % 3])
            np.testing.assert_allclose(explanation.probe_map, fresh.probe_map, atol=1e-6)
            np.testing.assert_allclose(explanation.reference_map, fresh.reference_map, atol=1e-6)


class TestBrokenEmbedders:
    @pytest.mark.parametrize(
        ("embed", "message"),
        [
            (lambda images: np.ones(len(images)), "one row"),
            (lambda images: np.ones((1, 8)), "one row"),
            (lambda images: np.full((len(images), 8), np.nan), "not finite"),
        ],
    )
    def test_are_told_apart(self, random_pair, embed, message):
        class Broken:
            pass

        broken = Broken()
        broken.embed = embed
        with pytest.raises(ModelError, match=message):
            EXPLAINERS["occlusion"](broken).explain(*random_pair)

    def test_embeddings_of_other_lengths_than_1_do_no_harm(self, random_pair):
        class Long(RandomProjection):
            def embed(self, images):
                return super().embed(images) * 37

        ours = OcclusionExplainer(Long(), **FEW).explain(*random_pair)
        expected = OcclusionExplainer(RandomProjection(), **FEW).explain(*random_pair)
        np.testing.assert_allclose(ours.probe_map, expected.probe_map, atol=1e-4)
