"""Closed-form cases of the cosine distance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xfv_demo.errors import ModelError
from xfv_demo.models.similarity import (
    cosine_distance,
    cosine_similarity,
    directed_embeddings,
    similarity_terms,
    unit_embeddings,
    unit_length,
)

vectors = arrays(np.float32, 5, elements=st.floats(-1000, 1000, width=32))


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        ([1, 0], [3, 0], 0.0),
        ([1, 0], [0, 2], 1.0),
        ([1, 0], [-5, 0], 2.0),
        ([1, 0], [1, 1], 1 - np.sqrt(0.5)),
        ([3, 4], [4, 3], 1 - 24 / 25),
    ],
)
def test_distance_on_paper(first, second, distance):
    assert cosine_distance(first, second) == pytest.approx(distance, abs=1e-6)


def test_terms_on_paper():
    # ê1 = (0.6, 0.8), ê2 = (0.8, 0.6)
    np.testing.assert_allclose(similarity_terms([3, 4], [4, 3]), [0.48, 0.48], atol=1e-6)


def test_rows_are_compared_with_rows():
    first = np.eye(3, dtype=np.float32)
    np.testing.assert_allclose(cosine_similarity(first, first[::-1]), [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(cosine_similarity(first, first[0]), [1, 0, 0], atol=1e-6)


def test_no_direction_is_orthogonal_to_all():
    assert cosine_distance([0, 0], [1, 0]) == 1
    np.testing.assert_array_equal(unit_length([[0, 0], [0, 2]]), [[0, 0], [0, 1]])


def test_what_is_not_known_stays_so():
    assert np.isnan(cosine_distance([np.nan, 1], [1, 0]))


@given(vectors, vectors)
def test_distance_is_symmetric_and_bounded(first, second):
    distance = cosine_distance(first, second)
    assert 0 <= distance <= 2
    assert distance == cosine_distance(second, first)
    assert similarity_terms(first, second).sum() == pytest.approx(1 - distance, abs=1e-5)


@given(vectors)
def test_a_vector_is_at_no_distance_of_itself(vector):
    if np.linalg.norm(vector) > 1e-3:
        assert cosine_distance(vector, vector) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("scale", [1e-160, 1e-30, 1e-3, 1, 1e25, 1e300])
@pytest.mark.parametrize("kind", [np.float64, list, tuple])
def test_embeddings_of_any_size_and_kind_have_their_direction(scale, kind):
    given = np.array([[3.0, 4.0], [0.0, -2.0], [0.0, 0.0]]) * scale
    unit = unit_embeddings(given if kind is np.float64 else kind(map(kind, given)), 3)
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0, -1], [0, 0]], atol=1e-12)


def test_float32_whose_squares_do_not_fit_has_its_direction():
    for scale in (np.float32(1e-30), np.float32(1e30)):
        np.testing.assert_allclose(unit_length(scale * np.float32([3, 4])), [0.6, 0.8], atol=1e-6)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.full((2, 3), np.nan), "not finite"),
        (np.array([[1, np.inf], [1, 2]]), "not finite"),
        (np.ones(3), "(3,) for 2 faces"),
        (np.ones((3, 2)), "(3, 2) for 2 faces"),
        (np.ones((2, 2, 2)), "(2, 2, 2) for 2 faces"),
        (np.ones((2, 0)), "(2, 0) for 2 faces"),
        (np.ones((2, 3), complex), "no array of numbers"),
        ([[1, 2], [3]], "no array of numbers"),
        ([["a"], ["b"]], "no array of numbers"),
        (None, "no array of numbers"),
    ],
)
def test_what_is_no_embedding_is_refused(given, words):
    with pytest.raises(ModelError) as caught:
        unit_embeddings(given, 2)
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


def test_no_direction_can_be_compared():
    directed_embeddings([[0, 1], [1, 0]], 2)
    with pytest.raises(ModelError, match="no direction"):
        directed_embeddings([[0, 1], [0, 0]], 2)
