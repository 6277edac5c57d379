"""Which pixels a model takes: by distances that can be worked out on paper."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfv_demo.evaluation.model_check import (
    ExampleFaces,
    FormatFit,
    best_fits,
    measure_fit,
    rank_formats,
)
from xfv_demo.models.input_format import INPUT_FORMATS, InputFormat

RIGHT = InputFormat("-1..1", "bgr")


def at(*degrees):
    """Embeddings in a plane."""
    return np.array(
        [[math.cos(math.radians(one)), math.sin(math.radians(one))] for one in degrees], np.float32
    )


def faces(people):
    return ExampleFaces(np.zeros((len(people), 112, 112, 3), np.float32), tuple(people))


def fit(gap, input_format=RIGHT):
    return FormatFit(input_format, 0.3, 0.3 + gap)


class TestFit:
    def test_by_hand(self):
        """A at 0 and 30 degrees, B at 90: the nearest impostors are 60 degrees apart."""
        found = measure_fit(lambda _: 7 * at(0, 30, 90), RIGHT, faces("AAB"))
        assert found.input_format == RIGHT
        assert found.largest_genuine == pytest.approx(1 - math.cos(math.radians(30)), abs=1e-6)
        assert found.smallest_impostor == pytest.approx(0.5, abs=1e-6)
        assert found.gap == pytest.approx(math.cos(math.radians(30)) - 0.5, abs=1e-6)
        assert found.comes_apart

    def test_all_alike(self):
        """So a network looks whose pixels are all near zero to it."""
        found = measure_fit(lambda _: at(0, 1, 2), RIGHT, faces("AAB"))
        assert abs(found.gap) < 1e-3
        assert not found.comes_apart

    @given(st.permutations(range(5)))
    def test_order_of_photos_does_not_matter(self, order):
        degrees, people = np.array([0, 20, 35, 90, 110]), np.array(list("AAABB"))
        found = measure_fit(lambda _: at(*degrees[order]), RIGHT, faces(people[order]))
        assert found.largest_genuine == pytest.approx(1 - math.cos(math.radians(35)), abs=1e-6)
        assert found.smallest_impostor == pytest.approx(1 - math.cos(math.radians(55)), abs=1e-6)


class TestRanking:
    def test_the_right_one_comes_first(self):
        """A network that sees angles as they are in the right format, and all as one in the others."""

        def make(input_format):
            spread = 1 if input_format == RIGHT else 0.01
            return lambda _: at(*(spread * np.array([0, 20, 90])))

        ranked = rank_formats(make, faces("AAB"))
        assert len(ranked) == len(INPUT_FORMATS)
        assert ranked[0].input_format == RIGHT
        assert [one.input_format for one in best_fits(ranked)] == [RIGHT]

    def test_no_finite_numbers_are_no_fit(self):
        def make(input_format):
            broken = at(0, 20, 90) * (np.nan if input_format.input_range == "0..255" else 1)
            return lambda _: broken

        ranked = rank_formats(make, faces("AAB"))
        assert {one.input_format.input_range for one in ranked} == {"0..1", "-1..1"}

    def test_what_cannot_be_told_apart(self):
        others = [one for one in INPUT_FORMATS if one != RIGHT]
        ranked = [fit(0.5), fit(0.46, others[0]), fit(0.44, others[1])]
        assert [one.input_format for one in best_fits(ranked)] == [RIGHT, others[0]]

    def test_none_fits(self):
        assert best_fits([fit(0.02), fit(0.01)]) == ()
        assert best_fits([]) == ()
