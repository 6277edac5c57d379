"""Regions against the template's own landmarks, their evidence against sums on paper, and the words."""

import re

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.draw import polygon2mask

from xfv_demo.faces import regions
from xfv_demo.faces.alignment import ARCFACE_TEMPLATE
from xfv_demo.faces.region_words import summary, weight_summary
from xfv_demo.faces.regions import (
    FACE_REGIONS,
    REGION_GROUPS,
    Region,
    pair_evidence,
    region_at,
    region_evidence,
    whole_percent,
    whole_percentages,
)

REGIONS = {region.key: region for region in (*REGION_GROUPS, *FACE_REGIONS)}
MASKS = {key: region.mask for key, region in REGIONS.items()}


def map_of(**values):
    """Zero but for the regions that are named."""
    signed_map = np.zeros((112, 112), np.float32)
    for key, value in values.items():
        signed_map[MASKS[key]] = value
    return signed_map


def evidence_of(signed_map, regions=FACE_REGIONS):
    return {one.region.key: one for one in region_evidence(signed_map, regions)}


@st.composite
def wild_maps(draw):
    """Any values of float32, blocks of them and single pixels."""
    value = st.floats(width=32, allow_nan=False, allow_infinity=False)
    signed_map = np.full((112, 112), draw(value), np.float32)
    for _ in range(draw(st.integers(0, 5))):
        row, column, size = (draw(st.integers(0, 111)) for _ in range(3))
        signed_map[row : row + size + 1, column : column + size + 1] = draw(value)
    return signed_map


class TestRegions:
    @pytest.mark.parametrize(("regions", "count"), [(FACE_REGIONS, 11), (REGION_GROUPS, 8)])
    def test_every_pixel_lies_in_one_region(self, regions, count):
        assert len({region.key for region in regions}) == len(regions) == count
        np.testing.assert_array_equal(np.sum([region.mask for region in regions], axis=0), 1)

    @pytest.mark.parametrize("half", ["_EYE", "_BROW", "_NOSE", "_MOUTH", "_CHIN", "_FACE"])
    def test_lie_in_their_outlines_as_scikit_image_draws_them(self, half):
        outline = regions._whole(getattr(regions, half))
        corners = [
            (regions._EYE_LINE + regions._UNIT * y, regions._AXIS + regions._UNIT * x) for x, y in outline
        ]
        np.testing.assert_array_equal(regions._inside(outline), polygon2mask((112, 112), corners))

    def test_groups_hold_their_members(self):
        for region in FACE_REGIONS:
            assert not (region.mask & ~MASKS[region.group]).any()
        assert [region.key for region in REGION_GROUPS if region.plural] == [
            "brows",
            "eyes",
            "cheeks",
            "rest",
        ]

    @pytest.mark.parametrize(
        ("landmark", "key"),
        [(0, "left_eye"), (1, "right_eye"), (2, "nose"), (3, "mouth"), (4, "mouth")],
    )
    def test_landmarks_lie_in_their_regions(self, landmark, key):
        """With room for the alignment to miss by three pixels, or two at the mouth's corners."""
        x, y = ARCFACE_TEMPLATE[landmark]
        reach = 2 if key == "mouth" else 3
        for across, down in ((0, 0), (reach, 0), (-reach, 0), (0, reach), (0, -reach)):
            assert region_at(x + across, y + down).key == key

    def test_right_is_the_mirror_image_of_left(self):
        """About column 56, so that column 0 is left without a partner."""
        for key, mask in MASKS.items():
            other = key.replace("left", "right") if "left" in key else key.replace("right", "left")
            np.testing.assert_array_equal(mask[:, :0:-1], MASKS[other][:, 1:], err_msg=key)

    def test_regions_lie_as_in_a_face(self):
        rows = {key: np.nonzero(mask)[0].mean() for key, mask in MASKS.items()}
        down = ("forehead", "brows", "eyes", "nose", "mouth", "chin")
        assert sorted(down, key=rows.get) == list(down)
        columns = {key: np.nonzero(mask)[1].mean() for key, mask in MASKS.items()}
        for part in ("brow", "eye", "cheek"):
            assert columns[f"left_{part}"] < 56 < columns[f"right_{part}"]

    def test_each_is_in_one_piece(self):
        for region in FACE_REGIONS:
            pieces, _ = cv2.connectedComponents(region.mask.astype(np.uint8))
            assert pieces - 1 == 1, region.key

    def test_masks_cannot_be_written_to(self):
        for region in REGIONS.values():
            with pytest.raises(ValueError, match="read-only"):
                region.mask[0, 0] = True


class TestRegionAt:
    def test_a_pixels_centre_lies_in_its_region(self):
        for row, column in np.ndindex(112, 112):
            assert region_at(column, row).mask[row, column]

    def test_borders_between_pixels(self):
        mask = MASKS["left_eye"]
        row = 52
        first, last = np.nonzero(mask[row])[0][[0, -1]]
        assert region_at(first - 0.5, row).key == "left_eye"
        assert region_at(first - 0.51, row).key == "left_cheek"
        assert region_at(last + 0.49, row).key == "left_eye"
        assert region_at(last + 0.5, row).key != "left_eye"

    @pytest.mark.parametrize("corner", [(-0.5, -0.5), (111.5, -0.5), (-0.5, 111.5), (111.5, 111.5)])
    def test_the_outer_border_belongs_to_the_picture(self, corner):
        assert region_at(*corner).key == "rest"

    @pytest.mark.parametrize("bad", [(-0.6, 5), (5, 111.6), (np.nan, 5), (5, np.inf)])
    def test_refuses_points_outside(self, bad):
        with pytest.raises(ValueError, match="no point of an aligned face"):
            region_at(*bad)


class TestEvidence:
    def test_of_a_map_made_by_hand(self):
        """10 pixels of +0.5 and 4 of -0.25 in the nose, 2 of -1 in the mouth: 5 - 1 and -2 of 8 in all."""
        signed_map = np.zeros((112, 112))
        rows, columns = np.nonzero(MASKS["nose"])
        signed_map[rows[:10], columns[:10]] = 0.5
        signed_map[rows[10:14], columns[10:14]] = -0.25
        rows, columns = np.nonzero(MASKS["mouth"])
        signed_map[rows[:2], columns[:2]] = -1
        evidence = evidence_of(signed_map)
        nose, mouth = evidence.pop("nose"), evidence.pop("mouth")
        assert (nose.evidence_for, nose.evidence_against) == (5, -1)
        assert (nose.share, nose.net_share) == (0.75, 0.5)
        assert nose.density == pytest.approx(0.75 / (MASKS["nose"].sum() / 112**2))
        assert (mouth.evidence_for, mouth.evidence_against) == (0, -2)
        assert (mouth.share, mouth.net_share) == (0.25, -0.25)
        for one in evidence.values():
            assert one.evidence_for == one.evidence_against == one.share == one.net_share == one.density == 0

    def test_even_evidence_has_density_one(self):
        for one in region_evidence(np.full((112, 112), -0.3)):
            assert one.density == pytest.approx(1)
            assert one.net_share == -one.share

    def test_a_mirrored_map_swaps_left_and_right(self, rng):
        signed_map = rng.normal(size=(112, 112))
        signed_map[:, 0] = 0
        mirrored = np.roll(signed_map[:, ::-1], 1, axis=1)
        before, after = evidence_of(signed_map), evidence_of(mirrored)
        for key, one in before.items():
            other = after[key.replace("left", "right") if "left" in key else key.replace("right", "left")]
            assert other.share == pytest.approx(one.share)
            assert other.net_share == pytest.approx(one.net_share)

    @given(wild_maps())
    def test_shares_of_any_map(self, wild):
        before = wild.copy()
        evidence = region_evidence(wild)
        percentages = whole_percentages(evidence)
        if wild.any():
            assert sum(one.share for one in evidence) == pytest.approx(1)
            assert sum(percentages) == 100
        else:
            assert {one.share for one in evidence} == set(percentages) == {0}
        for one, percentage in zip(evidence, percentages, strict=True):
            assert abs(one.net_share) <= one.share
            assert abs(percentage - 100 * one.share) < 1
        np.testing.assert_array_equal(wild, before)
        # The words come from the same numbers.
        assert summary(evidence, evidence).endswith(".")

    def test_groups_sum_their_members(self, rng):
        signed_map = rng.normal(size=(112, 112))
        single, groups = evidence_of(signed_map), evidence_of(signed_map, REGION_GROUPS)
        eyes = single["left_eye"].net_share + single["right_eye"].net_share
        assert groups["eyes"].net_share == pytest.approx(eyes)

    def test_percentages_of_thirds(self):
        """Three equal parts, each 33.3 %: the first of them has the percent that is left over."""
        thirds = []
        for number in range(3):
            mask = np.zeros((112, 112), bool)
            mask[number, :8] = True
            thirds.append(Region(key=str(number), name="", group="", mask=mask))
        evidence = region_evidence(sum(third.mask for third in thirds), thirds)
        assert whole_percentages(evidence) == (34, 33, 33)

    @pytest.mark.parametrize(
        "bad", [*(np.full((112, 112), value) for value in (np.nan, -np.inf, 1e300)), np.zeros((7, 7)), 0.5]
    )
    def test_refuses_other_maps(self, bad):
        with pytest.raises(ValueError, match="finite numbers"):
            region_evidence(bad)


def told(probe, reference=None):
    maps = probe, probe if reference is None else reference
    return summary(*(region_evidence(signed_map) for signed_map in maps))


class TestSummary:
    """The sentences whole, for maps whose net shares are known."""

    def test_only_the_eyes_for(self):
        assert told(map_of(eyes=0.2)) == (
            "On balance, the eyes (100 % of the evidence) speak for a match; nothing speaks against it."
        )

    def test_only_the_nose_against(self):
        assert told(map_of(nose=-1)) == (
            "On balance, the nose (100 % of the evidence) speaks against a match; nothing speaks for it."
        )

    def test_three_to_one(self):
        """3 parts for, spread over the nose; 1 against, over the mouth."""
        nose, mouth = MASKS["nose"].sum(), MASKS["mouth"].sum()
        assert told(map_of(nose=3 / nose, mouth=-1 / mouth)) == (
            "On balance, the nose (75 % of the evidence) speaks for a match; the mouth (25 %) speaks against "
            "it. In all, 75 % of the evidence speaks for, 25 % against."
        )

    def test_what_cancels_within_a_region_speaks_both_ways(self):
        """The nose's two halves, but for the column between them, speak against each other."""
        signed_map = map_of(nose=1)
        signed_map[:, 56] = 0
        signed_map[:, 57:] *= -1
        assert told(signed_map) == (
            "On balance, no region speaks for or against a match; the nose (0 % of the evidence) speaks both "
            "ways. In all, 50 % of the evidence speaks for, 50 % against."
        )

    def test_sides_are_told_apart_where_they_contradict(self):
        assert told(map_of(left_eye=1, right_eye=-1)) == (
            "On balance, no region speaks for or against a match; the eyes (0 %: +50 % on the image's left, "
            "\N{MINUS SIGN}50 % on its right) speak both ways. In all, 50 % of the evidence speaks for, 50 % "
            "against."
        )

    def test_most_of_it_in_the_background(self):
        assert told(map_of(rest=1)) == (
            "On balance, hair, ears and background (100 % of the evidence) speak for a match; nothing speaks "
            "against it. Most of the evidence lies outside the face."
        )

    def test_of_an_even_map_no_region_stands_out(self):
        assert told(np.ones((112, 112))) == (
            "On balance, hair, ears and background (47 % of the evidence), the cheeks (16 %) and the "
            "forehead (15 %) speak for a match; nothing speaks against it. For its size, no region stands "
            "out."
        )

    def test_a_trace_is_named_as_one(self):
        eyes, mouth = MASKS["eyes"].sum(), MASKS["mouth"].sum()
        assert told(map_of(eyes=97 / eyes, mouth=-3 / mouth)) == (
            "On balance, the eyes (97 % of the evidence) speak for a match; the mouth (3 %) speaks slightly "
            "against it."
        )
        assert told(map_of(eyes=1, mouth=-0.001)).endswith("; hardly anything speaks against it.")

    def test_small_regions_are_told_for_their_size(self):
        parts = {"rest": 49, "eyes": 31, "cheeks": 20}
        signed_map = sum(map_of(**{key: part / MASKS[key].sum()}) for key, part in parts.items())
        words = told(signed_map)
        assert words.startswith(
            "On balance, hair, ears and background (49 % of the evidence), the eyes (31 %) and the cheeks "
            "(20 %) speak for a match;"
        )
        assert words.endswith("For their size, the eyes (31 %) speak most.")

    def test_both_photos_count_alike_whatever_their_scales(self):
        assert told(map_of(nose=100), map_of(mouth=-1)) == told(map_of(nose=1), map_of(mouth=-1))
        assert "the nose (50 % of the evidence)" in told(map_of(nose=100), map_of(mouth=-1))

    def test_a_map_of_zeros_does_not_count(self):
        assert told(map_of(nose=1), map_of()) == told(map_of(nose=1))
        assert told(map_of()) == "The maps are zero everywhere: no region speaks for or against a match."

    def test_needs_all_regions(self):
        groups = region_evidence(map_of(nose=1), REGION_GROUPS)
        with pytest.raises(ValueError, match="FACE_REGIONS"):
            summary(groups, groups)

    @settings(deadline=None)
    @given(wild_maps(), wild_maps())
    def test_words_agree_with_the_table(self, probe, reference):
        """Of any maps: what is large is named with the table's number, and in the table's order."""
        table = pair_evidence(*(region_evidence(one, REGION_GROUPS) for one in (probe, reference)))
        words = told(probe, reference)
        named = {
            one.region.key: re.search(
                rf"{one.region.name} \(([\d+\N{{MINUS SIGN}}]+) %", words, re.IGNORECASE
            )
            for one in table
        }
        percent = {one.region.key: whole_percent(one.net_share) for one in table}
        for one in table:
            if one.share >= 0.1:
                assert named[one.region.key], words
        for word, sign in (("for", 1), ("against", -1)):
            clause = re.search(
                rf"(?:; |On balance, )([^;]*) speaks?(?: slightly)? {word} (?:a match|it)", words
            )
            side = [key for key in percent if sign * percent[key] > 0]
            if not side:
                assert clause is None or "(" not in clause[1]
                continue
            numbers = [int(number) for number in re.findall(r"\((\d+) %", clause[1])]
            assert numbers == sorted(numbers, reverse=True)
            assert numbers[0] == max(abs(percent[key]) for key in side)
            for key in side:
                if named[key] and named[key].start() < clause.end() and named[key].start() >= clause.start():
                    assert int(named[key][1]) == abs(percent[key])
        for one in table:
            told_number = named[one.region.key]
            if told_number and told_number[1][0] in "+\N{MINUS SIGN}":
                assert int(told_number[1].replace("\N{MINUS SIGN}", "-")) == percent[one.region.key]
        if found := re.search(r"For (?:its|their) size, (.*) \(\d+ %\) speaks? most", words):
            sign = 1 if re.search(r"^[^;]* speaks?(?: slightly)? for", words) else -1
            dense = max(table, key=lambda one: sign * one.net_share / one.region.mask.mean())
            assert found[1] == dense.region.name
        # All that speaks for, less all that speaks against, is what the table's numbers sum to.
        if totals := re.search(r"In all, (\d+) % of the evidence speaks (for|against)", words):
            whole = (1 if totals[2] == "for" else -1) * (2 * int(totals[1]) - 100)
            assert whole == pytest.approx(sum(percent.values()), abs=1 + len(table) / 2)


def weighed(probe, reference=None):
    maps = probe, probe if reference is None else reference
    return weight_summary(*(region_evidence(weights) for weights in maps))


class TestWeightSummary:
    """Of maps that say how much a place counts: they speak neither for nor against."""

    def test_of_one_region(self):
        assert weighed(map_of(nose=0.1)) == "The nose counts most (100 % of the weight)."
        assert weighed(map_of(eyes=0.1)) == "The eyes count most (100 % of the weight)."

    def test_three_to_one(self):
        nose, mouth = MASKS["nose"].sum(), MASKS["mouth"].sum()
        assert weighed(map_of(nose=3 / nose, mouth=1 / mouth)) == (
            "The nose counts most (75 % of the weight), then the mouth (25 %)."
        )

    def test_of_an_even_map_no_region_stands_out(self):
        assert weighed(np.ones((112, 112))) == (
            "Hair, ears and background count most (47 % of the weight), then the cheeks (16 %) and the "
            "forehead (15 %). For its size, no region stands out."
        )

    def test_most_of_it_in_the_background(self):
        assert weighed(map_of(rest=1)) == (
            "Hair, ears and background count most (100 % of the weight). Most of the weight lies outside the "
            "face."
        )

    @settings(deadline=None)
    @given(wild_maps(), wild_maps())
    def test_what_is_large_is_named_in_order(self, probe, reference):
        maps = np.abs(probe), np.abs(reference)
        table = pair_evidence(*(region_evidence(one, REGION_GROUPS) for one in maps))
        words = weighed(*maps)
        for one in table:
            assert one.share < 0.1 or one.region.name in words.lower()
        first = words.partition(". ")[0]
        numbers = [int(number) for number in re.findall(r"\((\d+) %", first)]
        assert numbers == sorted(numbers, reverse=True)
        assert not numbers or numbers[0] == max(whole_percent(one.share) for one in table)

    def test_a_map_of_zeros_does_not_count(self):
        assert weighed(map_of(nose=1), map_of()) == weighed(map_of(nose=1))
        assert weighed(map_of()) == "The maps are zero everywhere: no region counts."

    def test_needs_all_regions(self):
        groups = region_evidence(map_of(nose=1), REGION_GROUPS)
        with pytest.raises(ValueError, match="FACE_REGIONS"):
            weight_summary(groups, groups)
