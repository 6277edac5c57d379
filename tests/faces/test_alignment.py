"""Closed-form cases of the alignment."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.transform import estimate_transform

from xfv_demo.faces.alignment import (
    ALIGNED_SIZE,
    ARCFACE_TEMPLATE,
    align,
    estimate_similarity,
    template_misfit,
)


def similarity_matrix(scale, degrees, shift):
    angle = np.radians(degrees)
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cosine, -sine, shift[0]], [sine, cosine, shift[1]]])


def moved(points, matrix):
    return points @ matrix[:, :2].T + matrix[:, 2]


@pytest.fixture
def crop(rng):
    """A 112 x 112 picture that is smooth enough to survive being resampled."""
    noise = rng.integers(0, 256, (14, 14, 3), dtype=np.uint8)
    return cv2.resize(noise, (ALIGNED_SIZE, ALIGNED_SIZE), interpolation=cv2.INTER_CUBIC)


def test_landmarks_on_the_template_change_nothing(crop):
    np.testing.assert_array_equal(estimate_similarity(ARCFACE_TEMPLATE).round(6), [[1, 0, 0], [0, 1, 0]])
    aligned = align(crop, ARCFACE_TEMPLATE)
    assert aligned.dtype == np.float32
    np.testing.assert_allclose(aligned, crop / 255, atol=1e-4)


@given(
    st.floats(0.2, 20),
    st.floats(-180, 180),
    st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_a_known_transform_is_found(scale, degrees, shift):
    to_photo = similarity_matrix(scale, degrees, shift)
    found = estimate_similarity(moved(ARCFACE_TEMPLATE, to_photo))
    np.testing.assert_allclose(found, cv2.invertAffineTransform(to_photo), atol=1e-3)


def test_noisy_landmarks_as_scikit_image_has_them(rng):
    for scale in (0.3, 4, 300):
        landmarks = scale * (ARCFACE_TEMPLATE + rng.normal(scale=20, size=(5, 2)))
        expected = estimate_transform("similarity", landmarks, ARCFACE_TEMPLATE.astype(np.float64)).params[:2]
        np.testing.assert_allclose(estimate_similarity(landmarks), expected, rtol=1e-9, atol=1e-9)


def test_a_mirrored_face_is_not_mirrored_back():
    mirrored = ARCFACE_TEMPLATE * [-1, 1]
    assert np.linalg.det(estimate_similarity(mirrored)[:, :2]) > 0


def test_misfit_on_paper():
    assert template_misfit(ARCFACE_TEMPLATE * 3 + 17) == pytest.approx(0, abs=1e-4)
    moved_eye = ARCFACE_TEMPLATE.copy()
    moved_eye[0] += [30, 0]
    assert 5 < template_misfit(moved_eye) < 30 / np.sqrt(5)


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_a_turned_photo_gives_the_same_crop(crop, quarter_turns):
    """Pixels of a photo turned by right angles are the crop's own, so they must come back exactly."""
    turned = np.ascontiguousarray(np.rot90(crop, quarter_turns))
    last = ALIGNED_SIZE - 1
    x, y = ARCFACE_TEMPLATE.T
    landmarks = {1: (y, last - x), 2: (last - x, last - y), 3: (last - y, x)}[quarter_turns]
    np.testing.assert_allclose(align(turned, np.stack(landmarks, axis=1)), crop / 255, atol=1e-3)


@pytest.mark.parametrize("factor", [2, 3, 5, 8])
def test_a_magnified_photo_gives_the_same_crop(crop, factor):
    """Each pixel repeated `factor` times: averaging the block gives the pixel back."""
    magnified = np.repeat(np.repeat(crop, factor, axis=0), factor, axis=1)
    landmarks = ARCFACE_TEMPLATE * factor + (factor - 1) / 2
    np.testing.assert_allclose(align(magnified, landmarks), crop / 255, atol=0.02)


def test_fine_texture_does_not_alias():
    """A checkerboard of single pixels, shrunk by 6.5, is grey; picked pixels would be black and white."""
    board = np.indices((800, 800)).sum(axis=0) % 2 * 255
    photo = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    aligned = align(photo, ARCFACE_TEMPLATE * 6.5 + 20)
    np.testing.assert_allclose(aligned, 0.5, atol=0.05)


def test_a_shift_moves_the_picture(crop):
    photo = np.zeros((300, 400, 3), np.uint8)
    photo[37 : 37 + ALIGNED_SIZE, 201 : 201 + ALIGNED_SIZE] = crop
    np.testing.assert_allclose(align(photo, ARCFACE_TEMPLATE + np.array([201, 37])), crop / 255, atol=1e-3)


def test_outside_the_photo_is_black(crop):
    aligned = align(crop, ARCFACE_TEMPLATE - [56, 0])
    assert not aligned[:, :55].any()
    np.testing.assert_allclose(aligned[:, 56:], crop[:, :56] / 255, atol=1e-3)
    assert not align(crop, ARCFACE_TEMPLATE + 5000).any()


def test_agrees_with_a_warp_of_the_whole_photo(photos, detector):
    """At the scale of a small face, the crop is the one that the published pipelines compute."""
    photo = cv2.resize(photos["obama"], None, fx=0.3, fy=0.3, interpolation=cv2.INTER_AREA)
    landmarks = detector.detect(photo)[0].landmarks
    matrix = estimate_similarity(landmarks)
    expected = cv2.warpAffine(photo, matrix, (ALIGNED_SIZE, ALIGNED_SIZE)) / 255
    np.testing.assert_allclose(align(photo, landmarks), expected, atol=0.01)


@pytest.mark.parametrize(
    "landmarks", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.zeros((4, 2)), np.ones((5, 3))]
)
def test_impossible_landmarks_are_refused(crop, landmarks):
    with pytest.raises(ValueError, match="landmarks"):
        align(crop, landmarks)


def test_a_photo_of_another_kind_is_refused(crop):
    with pytest.raises(ValueError, match="uint8"):
        align(crop / 255, ARCFACE_TEMPLATE)
    with pytest.raises(ValueError, match="uint8"):
        align(crop[..., 0], ARCFACE_TEMPLATE)


def test_the_photo_is_left_as_it_was(crop):
    before = crop.copy()
    align(crop, ARCFACE_TEMPLATE * 0.9)
    np.testing.assert_array_equal(crop, before)
