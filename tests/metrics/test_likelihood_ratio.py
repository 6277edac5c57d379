"""The cost of likelihood ratios and the bounds that a set carries: by hand, and as `lir` has them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfv_demo.metrics.likelihood_ratio import cllr, elub_bounds, log10_likelihood_ratios, min_cllr

GENUINE = np.array([True, True, False, False])


def test_the_ratio_is_the_odds():
    assert log10_likelihood_ratios(0.5) == 0
    assert log10_likelihood_ratios([1000 / 1001, 1 / 101]) == pytest.approx([3, -2])
    assert log10_likelihood_ratios([0.0, 1.0]).tolist() == [-9, 9]


def test_cost_by_hand():
    assert cllr(np.full(4, 0.5), GENUINE) == pytest.approx(1)
    # LR 3 and 1 of the genuine pairs, 1/3 and 7 of the impostor pairs.
    stated = np.array([0.75, 0.5, 0.25, 0.875])
    of_genuine, of_impostor = math.log2(4 / 3) + 1, math.log2(4 / 3) + 3
    assert cllr(stated, GENUINE) == pytest.approx((of_genuine / 2 + of_impostor / 2) / 2)
    assert cllr(np.array([1.0, 1.0, 0.0, 0.0]), GENUINE) == pytest.approx(0, abs=1e-8)


def test_both_classes_count_alike():
    stated, genuine = np.array([0.75, 0.25, 0.125]), np.array([True, False, False])
    more = np.r_[0, np.tile([1, 2], 10)]
    assert cllr(stated[more], genuine[more]) == pytest.approx(cllr(stated, genuine))


def test_what_no_calibration_could_save_by_hand():
    # By rising P: impostor, genuine, impostor, genuine; the middle two pool to one half.
    assert min_cllr(np.array([0.2, 0.9, 0.1, 0.6]), GENUINE) == pytest.approx(0.5)
    assert min_cllr(np.full(4, 0.9), GENUINE) == pytest.approx(1)


@given(st.lists(st.tuples(st.integers(1, 99), st.booleans()), min_size=2, max_size=40))
def test_any_calibration_costs_at_least_as_much(pairs):
    stated = np.array([number / 100 for number, _ in pairs])
    genuine = np.array([label for _, label in pairs])
    if genuine.all() or not genuine.any():
        return
    least = min_cllr(stated, genuine)
    assert least <= cllr(stated, genuine) + 1e-9
    assert min_cllr(stated**3, genuine) == pytest.approx(least)


@pytest.mark.parametrize("pairs", [20, 300, 3000])
def test_classes_apart_carry_as_much_as_they_have_pairs(pairs):
    """With a misleading pair in each, "LR > t" costs (1 + t) / (n + 1), which is below 1 as long as t < n."""
    stated = np.repeat([1 - 1e-6, 1e-6], pairs)
    bounds = elub_bounds(stated, np.repeat([True, False], pairs))
    assert bounds.high == pytest.approx(math.log10(pairs), abs=0.01)
    assert bounds.low == pytest.approx(-math.log10(pairs), abs=0.01)
    assert 10**bounds.high <= pairs


def test_nothing_is_carried_beyond_what_is_stated_nor_by_what_misleads():
    genuine = np.repeat([True, False], 300)
    modest = elub_bounds(np.repeat([0.9, 0.1], 300), genuine)
    assert modest.high == pytest.approx(math.log10(9), abs=0.011)
    exchanged = elub_bounds(np.repeat([0.1, 0.9], 300), genuine)
    assert (exchanged.low, exchanged.high) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_as_the_forensic_institute_has_it(seed):
    from lir.algorithms.bayeserror import elub
    from lir.data.models import LLRData
    from lir.metrics import cllr as lir_cllr
    from lir.metrics import cllr_min as lir_min_cllr

    rng = np.random.default_rng(seed)
    counts = rng.integers(20, 400, 2)
    genuine = np.repeat([True, False], counts)
    spread = rng.uniform(0.2, 2)
    ratios = (spread * rng.normal(np.where(genuine, spread, -spread), 1)).clip(-6, 6)
    stated = 1 / (1 + 10**-ratios)
    bounds = elub_bounds(stated, genuine)
    assert (bounds.low, bounds.high) == pytest.approx(elub(ratios.copy(), genuine.astype(int)))
    theirs = LLRData(features=ratios, labels=genuine.astype(int))
    assert cllr(stated, genuine) == pytest.approx(lir_cllr(theirs), abs=1e-7)
    assert min_cllr(stated, genuine) == pytest.approx(lir_min_cllr(theirs), abs=1e-7)
