"""From a verdict to files: what is kept of each method, in which unit, and from which threshold."""

import io
import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from xfv_demo import EXPLAINERS, XfvError
from xfv_demo.errors import ModelError
from xfv_demo.explainers.reference_words import usual_summary
from xfv_demo.faces.region_words import summary
from xfv_demo.faces.regions import REGION_GROUPS, region_evidence
from xfv_demo.pair_report import PairExplanation, explain_pair, pair_maps
from xfv_demo.pipeline import DEFAULT_METHODS, check_methods, stream_explanations
from xfv_demo.runtime.provenance import provenance
from xfv_demo.types import AlignedFace, Face, Verification

# 18 masks.
SETTINGS = {"occlusion": {"patch_sizes": (14, 28), "stride": 30, "step_size": 8}}
COMPARISONS = ("all", "reference", "paired")


class LinearEmbedder:
    """A random linear map of the pixels, coarsely sampled; its gradients worked out on paper."""

    def __init__(self):
        self._weights = np.random.default_rng(1).standard_normal((28 * 28 * 3, 6)).astype(np.float32)
        self.calls = Counter()

    def embed(self, images):
        self.calls["embed"] += 1
        values = self._values(images)
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    def embedding_gradients(self, images, weights):
        self.calls["gradients"] += 1
        values = self._values(images)
        length = np.linalg.norm(values, axis=1, keepdims=True)
        unit = values / length
        across = weights - (weights * unit).sum(axis=-1, keepdims=True) * unit
        gradients = np.zeros((*weights.shape[:2], 112, 112, 3), np.float32)
        gradients[:, :, ::4, ::4] = (across / length @ self._weights.T).reshape(*weights.shape[:2], 28, 28, 3)
        return gradients

    def _values(self, images):
        return images[:, ::4, ::4].reshape(len(images), -1) @ self._weights


class Indifferent:
    """All faces are the same to it."""

    def embed(self, images):
        return np.tile(np.float32([1, 0]), (len(images), 1))

    def embedding_gradients(self, images, weights):
        return np.zeros((*weights.shape[:2], *images.shape[1:]), np.float32)


@pytest.fixture(scope="module")
def verification():
    rng = np.random.default_rng(5)
    face = Face(np.float32([10, 10, 90, 100]), rng.random((5, 2), np.float32) * 100, 0.99)
    probe, reference = (
        AlignedFace(name, rng.random((112, 112, 3), np.float32), face, (face,), (200, 300))
        for name in ("a.jpg", "b.jpg")
    )
    return Verification(
        model="linear",
        calibration="lfw",
        confidence_method="beta",
        distance=0.55,
        threshold=0.6,
        same_person=True,
        confidence=0.75,
        probe=probe,
        reference=reference,
    )


@pytest.fixture(scope="module")
def explained(verification):
    return explain_pair(LinearEmbedder(), verification, settings=SETTINGS)


@pytest.fixture(scope="module")
def files(explained):
    return explained.files()


@pytest.fixture(scope="module")
def maps(files):
    return np.load(io.BytesIO(files["maps.npz"]))


class TestReport:
    def test_is_the_verdict_with_what_was_added(self, verification, files):
        report = json.loads(files["report.json"])
        assert set(report) == {*verification.to_dict(), "methods"}
        assert {key: report[key] for key in verification.to_dict()} == verification.to_dict()

    def test_says_what_it_is_told(self, verification):
        about = {"engine": "by hand", "command": "explain a b"}
        given = explain_pair(LinearEmbedder(), verification, ["xssab"])
        report = PairExplanation(verification, given.results, about).to_dict()
        assert {key: report[key] for key in about} == about

    def test_has_every_method_in_the_order_asked_for(self, verification, files):
        assert list(json.loads(files["report.json"])["methods"]) == ["occlusion", "xssab"]
        other_way = explain_pair(LinearEmbedder(), verification, ["xssab", "occlusion"], settings=SETTINGS)
        assert list(other_way.to_dict()["methods"]) == ["xssab", "occlusion"]

    def test_keeps_scales_and_settings(self, explained, files):
        methods = json.loads(files["report.json"])["methods"]
        for result in explained.results:
            kept = methods[result.method]["explanations"]
            assert set(kept) == {str(key) for key in result.explanations}
            for key, explanation in result.explanations.items():
                assert kept[str(key)]["probe_scale"] == explanation.probe_scale > 0
                assert kept[str(key)]["parameters"] == explanation.parameters
                assert kept[str(key)]["progress"] == 1

    def test_regions_share_all_evidence_of_each_view(self, files):
        for method in json.loads(files["report.json"])["methods"].values():
            for view, sides in method["regions"].items():
                for shares in sides.values():
                    assert list(shares) == [region.key for region in REGION_GROUPS]
                    total = sum(one["share"] for one in shares.values())
                    net = sum(one["net_share"] for one in shares.values())
                    assert total == pytest.approx(1, abs=1e-3)
                    # Only what speaks for, only what speaks against, or something of each.
                    expected = {"for": pytest.approx(1, abs=1e-3), "against": pytest.approx(-1, abs=1e-3)}
                    assert net == expected[view] if view in expected else abs(net) < 1

    def test_summary_is_of_the_first_view(self, explained, files):
        methods = json.loads(files["report.json"])["methods"]
        for result in explained.results:
            first = result.views[0].maps
            words = summary(region_evidence(first.probe), region_evidence(first.reference))
            assert methods[result.method]["summary"] == result.summary
            plain = replace(result, references={})
            assert plain.summary == words
            if result.references:
                assert result.summary == usual_summary(result.references[result.views[0].key].ranks(first))


class TestMaps:
    def test_are_all_there_with_the_faces(self, maps, verification):
        views = [f"occlusion_{comparison}" for comparison in COMPARISONS]
        views += ["xssab_combined", "xssab_for", "xssab_against"]
        sides = ("probe", "reference")
        assert set(maps) == {f"{name}_{side}" for name in views for side in sides} | {
            "probe_aligned",
            "reference_aligned",
        }
        assert all(maps[key].dtype == np.float32 for key in maps)
        assert all(maps[f"{name}_{side}"].shape == (112, 112) for name in views for side in sides)
        np.testing.assert_array_equal(maps["probe_aligned"], verification.probe.aligned)
        np.testing.assert_array_equal(maps["reference_aligned"], verification.reference.aligned)

    def test_have_the_methods_own_unit(self, maps, explained):
        occlusion, xssab = (result.explanations for result in explained.results)
        named = {f"occlusion_{key}": step for key, step in occlusion.items()}
        named["xssab_combined"] = xssab["xssab"]
        for name, explanation in named.items():
            for side in ("probe", "reference"):
                scale = getattr(explanation, f"{side}_scale")
                expected = getattr(explanation, f"{side}_map") * scale
                np.testing.assert_allclose(maps[f"{name}_{side}"], expected, rtol=1e-6, atol=0)
                assert np.abs(maps[f"{name}_{side}"]).max() == pytest.approx(scale, rel=1e-6)

    def test_gradients_for_and_against_make_the_combined(self, maps):
        for side in ("probe", "reference"):
            speaks_for, against = maps[f"xssab_for_{side}"], maps[f"xssab_against_{side}"]
            assert speaks_for.min() >= 0 >= against.max()
            assert speaks_for.max() > 0 > against.min()
            np.testing.assert_allclose(maps[f"xssab_combined_{side}"], speaks_for + against, atol=1e-7)


@pytest.mark.slow
class TestFiles:
    def test_one_picture_a_method_and_one_of_all(self, files):
        pictures = {"figure.png", "occlusion.png", "xssab.png"}
        assert set(files) == {*pictures, "maps.npz", "report.json"}
        for name in pictures:
            image = Image.open(io.BytesIO(files[name]))
            image.load()
            assert image.format == "PNG"
            assert min(image.size) > 400

    def test_are_the_same_bytes_for_the_same_pair(self, verification, files):
        again = explain_pair(LinearEmbedder(), verification, settings=SETTINGS).files()
        assert {name for name in files if again[name] != files[name]} <= {"report.json"}
        reports = [json.loads(one["report.json"]) for one in (files, again)]
        for report in reports:
            for method in report["methods"].values():
                assert method.pop("seconds") >= 0
        assert reports[0] == reports[1]

    def test_palette_and_blend_change_pictures_alone(self, explained, files):
        for look in ({"palette": "orange-blue"}, {"blend": "alpha"}):
            other = explained.files(**look)
            assert {name for name in files if other[name] != files[name]} == {
                "figure.png",
                "occlusion.png",
                "xssab.png",
            }
        with pytest.raises(ValueError, match="palette"):
            explained.files(palette="plaid")

    def test_without_any_evidence(self, verification):
        given = explain_pair(Indifferent(), verification, settings=SETTINGS)
        files = given.files()
        report = json.loads(files["report.json"], parse_constant=pytest.fail)
        for method in report["methods"].values():
            assert "zero everywhere" in method["summary"]
        arrays = np.load(io.BytesIO(files["maps.npz"]))
        assert not any(arrays[key].any() for key in arrays if not key.endswith("aligned"))

    def test_both_photos_of_a_view_have_one_scale(self, explained):
        for result in explained.results:
            for view in result.views:
                sizes = np.abs(np.concatenate([one.ravel() for one in view.maps]))
                shown = pair_maps(replace(result, references={}), view)
                assert shown.scale == pytest.approx(np.percentile(sizes, view.percentile))
                assert shown.title == view.label
                np.testing.assert_array_equal(shown.probe, view.maps.probe)
                np.testing.assert_array_equal(shown.reference, view.maps.reference)
        assert pair_maps(result, view, "Another").title == "Another"

    def test_gradients_are_cut_at_their_99th_percentile_and_occlusion_is_not(self, explained):
        occlusion, xssab = (result.views for result in explained.results)
        assert [view.percentile for view in occlusion] == [100, 100, 100]
        assert [view.percentile for view in xssab] == [99, 99, 99]


class TestThreshold:
    """Of what xSSAB takes for alike."""

    @staticmethod
    def used(verification, **options):
        given = explain_pair(LinearEmbedder(), verification, ["xssab"], **options)
        return given.results[0].explanations["xssab"].parameters["threshold"]

    def test_is_the_calibrations_of_equal_error_rate(self, verification):
        calibration = SimpleNamespace(threshold=0.6, eer_threshold=0.42)
        assert self.used(verification, calibration=calibration) == pytest.approx(0.58)

    def test_is_the_verdicts_without_a_calibration(self, verification):
        assert self.used(verification) == pytest.approx(0.4)

    def test_can_be_set(self, verification):
        calibration = SimpleNamespace(threshold=0.6, eer_threshold=0.42)
        settings = {"xssab": {"threshold": 0.3}}
        assert self.used(verification, calibration=calibration, settings=settings) == 0.3


class TestStream:
    def test_goes_through_one_method_after_another(self, verification):
        steps = list(stream_explanations(LinearEmbedder(), verification, settings=SETTINGS))
        assert [step.method for step in steps] == ["occlusion"] * (len(steps) - 1) + ["xssab"]
        assert len(steps) > 3
        of_occlusion = [step.progress for step in steps[:-1]]
        assert (np.diff(of_occlusion) > 0).all()
        assert of_occlusion[-1] == steps[-1].progress == 1
        for step in steps:
            assert step.title == EXPLAINERS[step.method].title

    def test_each_step_is_whole(self, verification):
        for step in stream_explanations(LinearEmbedder(), verification, settings=SETTINGS):
            assert json.dumps(step.to_dict())
            assert step.summary.endswith(".")

    def test_stops_when_it_is_closed(self, verification):
        embedder = LinearEmbedder()
        steps = stream_explanations(embedder, verification, settings=SETTINGS)
        next(steps)
        before = embedder.calls.copy()
        steps.close()
        assert list(steps) == []
        assert embedder.calls == before
        assert before["gradients"] == 0

    def test_time_spent_on_its_steps_is_not_its_own(self, verification, monkeypatch):
        """A clock that runs while the embedder works, one second a call, and while a step is looked at."""
        clock = SimpleNamespace(now=0.0)
        monkeypatch.setattr("xfv_demo.pipeline.time.perf_counter", lambda: clock.now)

        class Slow(LinearEmbedder):
            def embed(self, images):
                clock.now += 1
                return super().embed(images)

        embedder = Slow()
        for step in stream_explanations(embedder, verification, ["occlusion"], settings=SETTINGS):
            assert step.seconds == embedder.calls["embed"]
            clock.now += 100
        assert step.seconds > 2

    def test_seconds_begin_anew_with_each_method(self, verification, monkeypatch):
        clock = SimpleNamespace(now=0.0)
        monkeypatch.setattr("xfv_demo.pipeline.time.perf_counter", lambda: clock.now)

        class Slow(LinearEmbedder):
            def embed(self, images):
                clock.now += 1
                return super().embed(images)

        given = explain_pair(Slow(), verification, settings=SETTINGS)
        # xSSAB embeds the pair once.
        assert given.results[1].seconds == 1

    def test_says_which_model_lacks_what_a_method_needs(self, verification):
        embedder = SimpleNamespace(embed=LinearEmbedder().embed)
        with pytest.raises(ModelError, match="gradients"):
            explain_pair(embedder, verification, ["xssab"])
        explain_pair(embedder, verification, ["occlusion"], settings=SETTINGS)


class TestMethods:
    def test_each_is_taken_once(self):
        assert check_methods(["xssab", "occlusion", "xssab"]) == ("xssab", "occlusion")
        assert check_methods(DEFAULT_METHODS) == DEFAULT_METHODS

    @pytest.mark.parametrize("methods", [[], ["occlusion", "guesswork"], ["Occlusion"]])
    def test_wrong_ones_are_refused_before_any_work(self, verification, methods):
        embedder = LinearEmbedder()
        with pytest.raises(XfvError, match="take some of mean-face, occlusion, xssab") as caught:
            stream_explanations(embedder, verification, methods)
        assert not methods or methods[-1] in str(caught.value)
        assert not embedder.calls


class TestProvenance:
    def test_of_the_bundled_model(self, embedder):
        about = provenance(embedder, "explain a b")
        assert about["model_sha256"] == embedder.sha256
        assert about["engine"] == embedder.engine
        assert about["command"] == "explain a b"
        assert about["versions"]["numpy"] == np.__version__
        assert {"xfv-demo", "tensorflow", "mtcnn"} <= set(about["versions"])

    def test_of_an_embedder_that_tells_nothing(self):
        about = provenance(LinearEmbedder())
        assert about["model_sha256"] is about["engine"] is about["command"] is None
        json.dumps(about)
