"""What is usual, and how it is said: percentiles counted by hand, files, words."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfv_demo import EXPLAINERS, load_calibration
from xfv_demo.errors import CalibrationError
from xfv_demo.explainers.explanation import MapPair, View
from xfv_demo.explainers.reference import (
    PERCENTILES,
    WHOLE,
    EvidenceReference,
    Rank,
    ViewReference,
    find_reference,
    reference_path,
    region_strengths,
)
from xfv_demo.explainers.reference_words import rank_in_words, usual_summary
from xfv_demo.faces.regions import REGION_GROUPS
from xfv_demo.pipeline import MethodResult

KEYS = [*(region.key for region in REGION_GROUPS), WHOLE]
MOUTH = next(region for region in REGION_GROUPS if region.key == "mouth")
EYES = next(region for region in REGION_GROUPS if region.key == "eyes")


def flat(value, mouth=None):
    """Maps of one value, or of another one in the mouth."""
    values = np.full((112, 112), value, np.float32)
    if mouth is not None:
        values[MOUTH.mask] = mouth
    return MapPair(values, values)


@pytest.fixture
def view_reference():
    """Of 101 pairs of one person, strengths 1.00 to 2.00, and of 101 of two, 0.00 to 1.00."""
    strengths = [dict.fromkeys(KEYS, 1 + n / 100) for n in range(101)]
    strengths += [dict.fromkeys(KEYS, n / 100) for n in range(101)]
    return ViewReference.of(strengths, [True] * 101 + [False] * 101, np.linspace(0, 1, 101, dtype=np.float32))


@pytest.fixture
def reference(view_reference):
    return EvidenceReference(
        model="mine",
        model_sha256="ab",
        dataset="lfw",
        genuine_pairs=101,
        impostor_pairs=101,
        methods={"mean-face": {"tile_size": 16, "gaussian_sigma": 0.0}},
        views={"mean-face": {"mean-face": view_reference}},
    )


class TestStrength:
    def test_is_the_mean_over_a_regions_pixels_of_both_photos(self):
        strengths = region_strengths(MapPair(flat(1.0, 5.0).probe, flat(3.0, -1.0).probe))
        assert strengths["mouth"] == pytest.approx(2)
        assert strengths["eyes"] == pytest.approx(2)
        strengths = region_strengths(MapPair(flat(0.0, 4.0).probe, flat(0.0).probe))
        assert strengths["mouth"] == pytest.approx(2)
        assert strengths["eyes"] == 0
        assert strengths[WHOLE] == pytest.approx(2 * MOUTH.mask.mean())
        assert list(strengths) == KEYS


class TestRanks:
    def test_are_the_shares_of_pairs_that_are_weaker(self, view_reference):
        assert view_reference.full_colour == pytest.approx(0.95)
        ranks = view_reference.ranks(flat(1.25, mouth=0.5))
        assert ranks["eyes"].above_genuine == pytest.approx(0.25)
        assert ranks["eyes"].above_impostor == 1
        assert ranks["mouth"].above_genuine == 0
        assert ranks["mouth"].above_impostor == pytest.approx(0.5)

    def test_of_equal_strengths_half_are_weaker(self):
        strengths = [dict.fromkeys(KEYS, 0.0)] * 10
        zeros = ViewReference.of(strengths, [True, False] * 5, np.zeros(4, np.float32))
        assert zeros.ranks(flat(0.0))["eyes"] == Rank(0.0, 0.5, 0.5)
        assert zeros.ranks(flat(-1.0))["eyes"].above_genuine == 0
        assert zeros.ranks(flat(1.0))["eyes"].above_genuine == 1

    @given(st.lists(st.floats(-5, 5), min_size=2, max_size=2))
    def test_grow_with_the_strength(self, values):
        strengths = [dict.fromkeys(KEYS, float(n)) for n in (-1, 0, 0, 2, -3, 1, 1, 4)]
        kept = ViewReference.of(strengths, [True] * 4 + [False] * 4, np.ones(1, np.float32))
        low, high = (kept.ranks(flat(value))["nose"] for value in sorted(values))
        assert 0 <= low.above_genuine <= high.above_genuine <= 1
        assert 0 <= low.above_impostor <= high.above_impostor <= 1

    def test_are_none_of_what_is_no_evidence(self):
        weights = ViewReference.of([{}, {}], [True, False], np.ones(5, np.float32))
        assert weights.ranks(flat(1.0)) == {}
        assert weights.full_colour == 1


class TestFiles:
    def test_come_back_as_they_were(self, reference):
        assert EvidenceReference.parse(reference.model_dump_json(), "it") == reference

    @pytest.mark.parametrize(
        "change",
        [
            lambda data: data.update(format="xfv-demo calibration"),
            lambda data: data.update(version=99),
            lambda data: data.pop("model_sha256"),
            lambda data: data["views"]["mean-face"]["mean-face"]["genuine"].pop("eyes"),
            lambda data: data["views"]["mean-face"]["mean-face"]["genuine"]["eyes"].reverse(),
            lambda data: data["views"]["mean-face"]["mean-face"]["genuine"]["eyes"].pop(),
            lambda data: data["views"]["mean-face"]["mean-face"].update(full_colour=-1),
        ],
    )
    def test_broken_ones_are_refused_in_one_line(self, reference, change):
        data = json.loads(reference.model_dump_json())
        change(data)
        with pytest.raises(CalibrationError, match=r'"it" is no reference .* make it anew') as caught:
            EvidenceReference.parse(json.dumps(data), "it")
        assert "\n" not in str(caught.value)

    def test_no_json_is_refused(self):
        with pytest.raises(CalibrationError, match="no reference"):
            EvidenceReference.parse("{", "it")

    def test_are_found_for_the_very_model(self, reference, tmp_path, monkeypatch):
        monkeypatch.setenv("XFV_CACHE", str(tmp_path))
        model = type("Model", (), {"name": "mine", "sha256": "ab"})()
        assert find_reference(model) is None
        path = reference_path("mine")
        path.parent.mkdir(parents=True)
        path.write_text(reference.model_dump_json(), encoding="utf-8")
        assert find_reference(model) == reference
        model.sha256 = "other weights"
        assert find_reference(model) is None
        assert find_reference(object()) is None


class TestResults:
    """What a pair's result makes of it."""

    def result(self, view_reference, progress=1.0):
        explanation = type("One", (), {"progress": progress, "unscaled": flat(1.5, mouth=0.2)})()
        return MethodResult("mean-face", {"mean-face": explanation}, 0.1, {"mean-face": view_reference})

    def test_settings_must_be_the_same(self, reference):
        same = {"tile_size": 16, "gaussian_sigma": 0}
        assert reference.of_views("mean-face", same) == reference.views["mean-face"]
        assert reference.of_views("mean-face", {**same, "gaussian_sigma": 5.0}) == {}
        assert reference.of_views("mean-face", {"tile_size": 16}) == {}
        assert reference.of_views("grid", {}) == {}

    def test_colours_have_the_sets_scale(self, view_reference):
        result = self.result(view_reference)
        assert result.scale(result.views[0]) == pytest.approx(0.95)
        own = MethodResult("mean-face", result.explanations, 0.1)
        assert own.scale(own.views[0]) == pytest.approx(1.5)

    def test_words_name_the_region_that_is_out_of_the_common(self, view_reference):
        words = self.result(view_reference).summary
        assert "The mouth agrees less than in 99 % of pairs of one person." in words

    def test_what_is_not_yet_final_has_no_place(self, view_reference):
        result = self.result(view_reference, progress=0.5)
        assert result.ranks(result.views[0]) == {}

    def test_another_view_has_none(self, view_reference):
        result = self.result(view_reference)
        assert result.ranks(View("other", "other", flat(1.0))) == {}


class TestWords:
    def usual(self, **changed):
        return {key: changed.get(key, Rank(0.0, 0.5, 0.5)) for key in KEYS}

    def test_of_an_ordinary_pair_of_one_person(self):
        high = Rank(1.0, 0.4, 0.999)
        words = usual_summary(self.usual(whole=high, eyes=high, nose=Rank(1.0, 0.4, 0.97)))
        assert words == (
            "In all, the two faces agree more than in 99 % of pairs of strangers, and less than in 60 % of "
            "those of one person. "
            "The eyes (99 %) and the nose (97 %) agree more than in that share of pairs of strangers. "
            "No region agrees less than is usual between one person's photos."
        )

    def test_of_an_ordinary_pair_of_strangers(self):
        words = usual_summary(self.usual(whole=Rank(0.0, 0.004, 0.6), nose=Rank(0.0, 0.02, 0.4)))
        assert words == (
            "In all, the two faces agree more than in 60 % of pairs of strangers, and less than in 99 % of "
            "those of one person. No region agrees more than is usual between strangers. "
            "The nose agrees less than in 98 % of pairs of one person."
        )

    def test_many_regions_are_counted(self):
        low = Rank(0.0, 0.01, 0.4)
        words = usual_summary(self.usual(**dict.fromkeys(KEYS[:5], low)))
        assert words.endswith("and 2 more agree less than in that share of pairs of one person.")

    def test_never_all_pairs(self):
        words = rank_in_words(MOUTH, Rank(0.0, 0.0, 1.0))
        assert words == (
            "the mouth agrees more than in 99 % of pairs of strangers, and less than in 99 % of those of one "
            "person"
        )
        assert rank_in_words(EYES, Rank(0.0, 1.0, 1.0)) == (
            "the eyes agree more than in 99 % of pairs of strangers, and in 99 % of those of one person"
        )

    @given(st.floats(0, 1), st.floats(0, 1))
    def test_are_true_whatever_the_shares(self, genuine, impostor):
        words = rank_in_words(MOUTH, Rank(0.0, genuine, impostor))
        first, _, second = words.partition(" of pairs of strangers, and ")
        shares = [
            int(part.split(" in ")[1].split()[0]) for part in (first, f"x {second}".replace("x more", "x"))
        ]
        larger = [max(share, 1 - share) for share in (impostor, genuine)]
        assert all(shown / 100 <= share + 1e-6 for shown, share in zip(shares, larger, strict=True))

    def test_percentiles_are_within_0_and_100(self):
        assert PERCENTILES[0] == 0
        assert PERCENTILES[-1] == 100
        assert sorted(set(PERCENTILES)) == list(PERCENTILES)


@pytest.mark.slow
def test_the_shipped_one_is_of_the_bundled_model_and_of_the_methods_as_they_are(embedder):
    reference = find_reference(embedder)
    assert reference is not None
    assert min(reference.genuine_pairs, reference.impostor_pairs) >= 300
    threshold = 1 - load_calibration("mobilefacenet").eer_threshold
    for method in reference.methods:
        known = {"threshold": threshold} if EXPLAINERS[method].takes_threshold else {}
        assert reference.of_views(method, EXPLAINERS[method](embedder, **known).parameters)
    # One person's faces agree more than strangers' do, in every region.
    view = reference.views["mean-face"]["mean-face"]
    middle = PERCENTILES.index(50)
    assert all(view.genuine[key][middle] > view.impostor[key][middle] for key in KEYS)


@pytest.mark.slow
def test_a_strangers_mouth_is_named(embedder, aligned):
    """One person twice, one photo with somebody else's mouth: that is what is out of the common."""
    patched = aligned["obama"].copy()
    mouth = np.s_[78:112, 34:78]
    patched[mouth] = aligned["biden"][mouth]
    view = find_reference(embedder).views["mean-face"]["mean-face"]

    def ranks(probe):
        return view.ranks(EXPLAINERS["mean-face"](embedder).explain(probe, aligned["obama2"]).unscaled)

    assert ranks(aligned["obama"])["mouth"].above_genuine > 0.1
    least = min(REGION_GROUPS, key=lambda region: ranks(patched)[region.key].above_genuine)
    assert least.key in ("mouth", "chin")
    assert ranks(patched)["mouth"].above_genuine < 0.02
    assert "The mouth" in usual_summary(ranks(patched)) or "the mouth" in usual_summary(ranks(patched))
