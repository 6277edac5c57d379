"""Exchanging pixels in a map's order, areas and intervals: cases whose answer is known on paper."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfv_demo.metrics import faithfulness
from xfv_demo.metrics.faithfulness import (
    areas_under,
    balanced_means,
    exchanged,
    pixel_order,
    rank_correlations,
    resampled_means,
)


def test_order_of_a_map(rng):
    saliency = np.array([[0.5, -1.0], [0.0, 2.0]])
    assert pixel_order(saliency, highest_first=False, rng=rng).tolist() == [1, 2, 0, 3]
    assert pixel_order(saliency, highest_first=True, rng=rng).tolist() == [3, 0, 2, 1]


def test_ties_are_broken_by_chance_and_by_the_seed():
    flat = np.zeros((112, 112))
    one, again, other = (
        pixel_order(flat, highest_first=True, rng=np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert (one == again).all()
    # Neither in the order in which arrays are read nor in another seed's.
    for different in (np.arange(flat.size), other):
        assert abs(np.corrcoef(one, different)[0, 1]) < 0.05
    assert sorted(one) == list(range(flat.size))


def test_shares_are_exchanged_in_order():
    base, other = np.zeros((2, 2, 3), np.float32), np.ones((2, 2, 3), np.float32)
    steps = exchanged(base, other, np.array([2, 0, 1, 3]), [0, 0.25, 0.5, 1])
    assert steps[..., 0].reshape(4, 4).tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 1, 0], [1, 1, 1, 1]]
    assert not base.any()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_replacement_keeps_what_is_not_yet_put_back(seed, accepted):
    rng = np.random.default_rng(seed)
    patched, original = rng.random((2, 112, 112, 3), np.float32)
    steps = faithfulness.replacement_variants(
        patched, original, rng.standard_normal((112, 112)), accepted=accepted, rng=rng
    )
    put_back = (steps == original).all(axis=-1)
    assert ((steps == patched).all(axis=-1) | put_back).all()
    counts = put_back.sum(axis=(1, 2))
    assert counts.tolist() == np.rint(faithfulness.REPLACEMENT_SHARES * 112 * 112).tolist()
    # What is put back stays.
    assert (put_back[1:] | ~put_back[:-1]).all()


def test_a_rejected_pair_gets_the_lowest_back_first_an_accepted_one_the_highest(rng):
    patched, original = np.zeros((112, 112, 3), np.float32), np.ones((112, 112, 3), np.float32)
    saliency = np.linspace(-1, 1, 112 * 112).reshape(112, 112)
    for accepted, share in ((False, 0.5), (True, 0.5)):
        steps = faithfulness.replacement_variants(patched, original, saliency, accepted=accepted, rng=rng)
        half = steps[faithfulness.REPLACEMENT_SHARES.tolist().index(share), ..., 0].astype(bool)
        # 112 * 112 is even, and the map grows from top to bottom.
        assert half[:56].all() != accepted
        assert half[56:].all() == accepted


def test_areas_on_paper():
    shares = faithfulness.DELETION_SHARES
    always, never = np.ones(21), np.zeros(21)
    # Right at 0 %, wrong from 5 % on: a triangle of width 0.05.
    at_once = np.eye(21)[0]
    until_half = (shares < 0.5).astype(float)  # right at 0 to 45 %: 0.45, and half a step
    areas = areas_under([always, never, at_once, until_half], shares)
    np.testing.assert_allclose(areas, [1, 0, 0.025, 0.475])


def test_error_curves_counted_by_hand():
    threshold = 0.4
    genuine = np.array([True, True, False, False])
    similarities = np.full((4, 20), 0.9)
    similarities[0, :4] = 0.1  # rejected until 15 % are back
    similarities[1] = 0.41  # accepted
    similarities[2, 10:] = 0.3  # accepted until 45 %
    similarities[3] = 0.4  # just reaches the threshold: rejected all along
    curves = faithfulness.error_curves(similarities, genuine, threshold)
    assert curves.fnmr.tolist() == [0.5] * 4 + [0.0] * 16
    assert curves.fmr.tolist() == [0.5] * 10 + [0.0] * 10
    areas = faithfulness.replacement_areas(similarities, genuine, threshold)
    # Four and ten of twenty steps.
    np.testing.assert_allclose(areas, [0.2, 0, 0.5, 0], atol=1e-12)
    assert curves.fnmr_area == pytest.approx(areas[:2].mean())
    assert curves.fmr_area == pytest.approx(areas[2:].mean())


class TestLocalisation:
    MASK = np.zeros((112, 112), bool)
    MASK[:30, :40] = True

    @pytest.mark.parametrize("genuine", [True, False])
    def test_a_map_of_the_patches_finds_them_all(self, genuine):
        # In a genuine pair patches speak against, in an impostor pair for "same".
        sign = -1 if genuine else 1
        assert faithfulness.localisation_auc(sign * self.MASK, self.MASK, genuine=genuine) == 1
        assert faithfulness.localisation_auc(-sign * self.MASK, self.MASK, genuine=genuine) == 0

    def test_a_map_that_says_nothing_is_worth_one_half(self, rng):
        assert faithfulness.localisation_auc(np.zeros((112, 112)), self.MASK, genuine=True) == 0.5
        found = faithfulness.localisation_auc(rng.random((112, 112)), self.MASK, genuine=True)
        assert found == pytest.approx(0.5, abs=0.05)

    def test_half_found_on_paper(self):
        # Half of the patches' pixels stand out, the rest ties with all others: 0.5 + 0.5 * 0.5.
        half = np.zeros((112, 112))
        half[:15, :40] = 1
        assert faithfulness.localisation_auc(half, self.MASK, genuine=False) == pytest.approx(0.75)


class Brightness:
    """Similar is who has light in the left half."""

    def similarities(self, images):
        return images[:, :, :56].mean(axis=(1, 2, 3)) / 0.5 - 1


class TestDeletion:
    def test_a_right_map_deletes_and_inserts_the_evidence_first(self, rng):
        face = np.ones((112, 112, 3), np.float32)
        left = np.zeros((112, 112))
        left[:, :56] = 1
        similarities = {}
        for name, saliency in (("right", left), ("wrong", -left)):
            deleted, inserted = faithfulness.deletion_variants(face, saliency, accepted=True, rng=rng)
            similarities[name] = [Brightness().similarities(some) for some in (deleted, inserted)]
        # Threshold just below 0, which a tie would not reach: half of the left side, a quarter of the
        # pixels, decides.
        genuine = np.array([True])
        (right_del, right_ins), (wrong_del, wrong_ins) = (
            [faithfulness.accuracy_areas(some[None], genuine, -1e-9)[0] for some in several]
            for several in similarities.values()
        )
        # Right until 25 % are gone, then half a step; and the other way round from 25 % on.
        assert right_del == pytest.approx(0.25 + 0.025)
        assert right_ins == pytest.approx(0.75 + 0.025)
        assert wrong_del == pytest.approx(0.75 + 0.025)
        assert wrong_ins == pytest.approx(0.25 + 0.025)

    def test_begins_and_ends_whole(self, rng):
        face = rng.random((112, 112, 3), np.float32)
        deleted, inserted = faithfulness.deletion_variants(face, face[..., 0], accepted=False, rng=rng)
        np.testing.assert_array_equal(deleted[0], face)
        np.testing.assert_array_equal(inserted[-1], face)
        assert not deleted[-1].any()
        assert not inserted[0].any()

    def test_accuracy_weighs_both_kinds_alike(self):
        similarities = np.full((4, 21), 0.9)
        genuine = np.array([True, True, True, False])
        assert (faithfulness.accuracy_curve(similarities, genuine, 0.4) == 0.5).all()


class TestMeans:
    def test_without_spread_there_is_no_interval(self, rng):
        means = resampled_means(np.full((10, 2), [0.25, 0.5]), rng)
        assert means.value.tolist() == [0.25, 0.5]
        area = means.area(1)
        assert (area.interval.low, area.interval.high) == pytest.approx((0.5, 0.5))

    def test_the_interval_is_that_of_the_mean(self, rng):
        values = rng.standard_normal((400, 1))
        interval = resampled_means(values, rng).area(0).interval
        half = 1.96 * values.std() / 20
        assert interval.low == pytest.approx(values.mean() - half, abs=0.02)
        assert interval.high == pytest.approx(values.mean() + half, abs=0.02)

    def test_differences_are_paired(self, rng):
        # The columns wander together, so what is between them is certain while each is not.
        values = rng.standard_normal((50, 1)) + np.array([0, 0.1])
        means = resampled_means(values, rng)
        apart = means.difference(0, 1)
        assert apart.value == pytest.approx(-0.1)
        assert apart.interval.high - apart.interval.low < 1e-9
        assert means.area(0).interval.high - means.area(0).interval.low > 0.3

    def test_kinds_of_pairs_weigh_alike(self, rng):
        values = np.array([[1.0]] * 9 + [[0.0]])
        means = balanced_means(values, np.array([True] * 9 + [False]), rng)
        assert means.value.tolist() == [0.5]


def test_rank_correlations_on_paper(rng):
    maps = np.array([[[1.0, 2.0], [3.0, 4.0]]] * 4)
    others = np.array(
        [
            [[1.0, 20.0], [30.0, 400.0]],
            [[4.0, 3.0], [2.0, 1.0]],
            [[0.0, 0.0], [0.0, 0.0]],
            [[2.0, 1.0], [4.0, 3.0]],
        ]
    )
    correlations = rank_correlations(maps, others)
    # The last: 1 - 6 * (1 + 1 + 1 + 1) / (4 * 15).
    np.testing.assert_allclose(correlations, [1, -1, np.nan, 0.6])
