"""What makes a face a poor subject: each measure by an image whose answer is known on paper."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfv_demo.faces.alignment import ARCFACE_TEMPLATE
from xfv_demo.faces.quality import Caution, cautions, pictures_of_nobody, sharpness
from xfv_demo.types import AlignedFace, Face

_NOISE = np.random.default_rng(0).standard_normal((112, 112))


def textured(contrast=30.0, mean=128.0, blur=1.0):
    """An aligned "face" of smooth noise: grey levels of that mean and standard deviation."""
    grey = cv2.GaussianBlur(_NOISE, (0, 0), blur)
    grey = mean + contrast * (grey - grey.mean()) / grey.std()
    return np.repeat((np.clip(grey, 0, 255) / 255).astype(np.float32)[..., None], 3, axis=2)


def a_face(aligned=None, *, scale=4.0, shift=(0.0, 0.0), photo_shape=(600, 600), **measured):
    """A face of `scale` times the template's size, and `shift` away from its place."""
    landmarks = (ARCFACE_TEMPLATE * scale + np.array(shift)).astype(np.float32)
    face = Face(np.array([0, 0, 100, 100], np.float32), landmarks, 0.999, **measured)
    return AlignedFace("photo", textured() if aligned is None else aligned, face, (face,), photo_shape)


def words(face):
    return [caution.words.partition(" (")[0] for caution in cautions(face)]


def withheld(face):
    return any(caution.withholds for caution in cautions(face))


def test_a_good_face_has_none():
    assert cautions(a_face()) == ()
    assert cautions(a_face(certainty=7.6, landmark_spread=0.025)) == ()


@pytest.mark.parametrize(
    ("pixels", "told", "stops"), [(36, [], False), (20, ["small"], False), (7, ["small"], True)]
)
def test_small(pixels, told, stops):
    apart = np.linalg.norm(ARCFACE_TEMPLATE[1] - ARCFACE_TEMPLATE[0])
    face = a_face(scale=pixels / apart)
    assert words(face) == told
    assert withheld(face) is stops


def test_small_tells_how_small():
    assert cautions(a_face(scale=0.5))[0].words == (
        "small (18 pixels between the eyes; the model looks at 35)"
    )


@pytest.mark.parametrize(
    ("aligned", "told"),
    [
        (textured(blur=6), "blurred"),
        (textured(contrast=4, mean=16), "dark"),
        (textured(contrast=4, mean=128), "of little contrast"),
        (np.full((112, 112, 3), 1.0, np.float32), "of little contrast"),
        (textured(contrast=60, mean=262), "overexposed"),
    ],
)
def test_what_the_pixels_tell(aligned, told):
    assert told in words(a_face(aligned))
    assert withheld(a_face(aligned))


def test_grainy():
    rough = textured() + 60 / 255 * _NOISE[..., None].astype(np.float32)
    assert words(a_face(np.clip(rough, 0, 1).astype(np.float32))) == ["grainy"]


MASKED = "perhaps masked, as its lower half has another colour or little detail"


@pytest.mark.parametrize("colour", [(0.92, 0.92, 0.94), (0.47, 0.63, 0.82), (0.06, 0.06, 0.06)])
def test_a_mask_is_told_by_its_colour_or_its_plainness(colour):
    skin = textured() * np.array([0.9, 0.65, 0.55], np.float32) + np.array([0.1, 0.05, 0.0], np.float32)
    skin[:, :56] *= 0.6  # lit from the side: a contrast between the halves is no mask
    assert cautions(a_face(skin)) == ()
    masked = skin.copy()
    masked[72:] = colour
    assert Caution(MASKED, withholds=True) in cautions(a_face(masked))
    # With folds as deep as what it covers, it has its colour still.
    folded = np.clip(skin.mean(axis=2, keepdims=True) - 0.4 + np.array(colour, np.float32), 0, 1)
    folded[:72] = skin[:72]
    if colour[2] - colour[0] > 0.1:
        assert Caution(MASKED, withholds=True) in cautions(a_face(folded.astype(np.float32)))


def test_the_part_beyond_the_photo_is_counted():
    """The face's 62 columns begin at column 25; a photo that begins 12 columns later lacks 12."""
    cut = a_face(scale=1, shift=(-37, 0), photo_shape=(112, 112))
    assert "cut off by the photo's edge" in words(cut)
    assert withheld(cut)
    # One column of 62 is missing: 98.4 % are there.
    assert "cut off by the photo's edge" in words(a_face(scale=1, shift=(-26, 0), photo_shape=(112, 112)))
    assert not withheld(a_face(scale=1, shift=(-26, 0), photo_shape=(112, 112)))
    assert "cut off by the photo's edge" not in words(a_face(scale=1, shift=(-25, 0), photo_shape=(112, 112)))


@pytest.mark.parametrize(
    ("measured", "told"),
    [
        ({"landmark_spread": 0.2}, "partly covered, or its eyes, nose and mouth cannot be made out well"),
        ({"certainty": 2.5}, "hardly recognisable as a face"),
        ({"turn_margin": 1.2}, "perhaps found the wrong way up"),
    ],
)
def test_what_the_detector_tells(measured, told):
    assert cautions(a_face(**measured)) == (Caution(told, withholds=True),)


def test_a_clear_turn_is_no_doubt():
    assert cautions(a_face(turn_margin=6.0)) == ()


def test_a_slope_has_no_detail():
    rows, columns = np.mgrid[:112, :112]
    assert sharpness((3 * columns + 2 * rows).astype(np.float32)) == pytest.approx(1, abs=1e-6)


def test_noise_has_as_much_detail_as_its_steps_squared():
    """Grey levels near and far differ alike; along (2, 1) eight pixels are four steps."""
    assert sharpness(_NOISE.astype(np.float32)) == pytest.approx(16, rel=0.1)


def test_one_grey_has_no_sharpness():
    assert sharpness(np.full((112, 112), 0.5, np.float32)) == float("inf")


@pytest.mark.parametrize("angle", [0, 30, 45, 90, 135])
def test_motion_is_blur_whichever_way_it_goes(angle):
    kernel = np.zeros((25, 25), np.float32)
    kernel[12] = 1 / 25
    turn = cv2.getRotationMatrix2D((12, 12), angle, 1)
    kernel = cv2.warpAffine(kernel, turn, (25, 25))
    moved = cv2.filter2D(textured()[..., 0] * 255, -1, kernel / kernel.sum())
    assert sharpness(moved) < 0.5 * sharpness(textured()[..., 0] * 255)


@given(gain=st.floats(0.01, 10), offset=st.floats(-100, 100))
@settings(max_examples=30, deadline=None)
def test_brightness_and_contrast_are_not_sharpness(gain, offset):
    grey = textured()[..., 0].astype(np.float64) * 255
    assert sharpness(gain * grey + offset) == pytest.approx(sharpness(grey), rel=1e-6)


@pytest.mark.parametrize("picture", [np.zeros((112, 112, 3)), np.ones((112, 112, 3))])
def test_an_empty_face_is_told(picture):
    assert withheld(a_face(picture.astype(np.float32)))


def test_pictures_of_nobody_are_the_same_each_time():
    pictures = pictures_of_nobody()
    assert pictures.shape == (30, 112, 112, 3)
    assert pictures.dtype == np.float32
    assert 0 <= pictures.min() < pictures.max() <= 1
    np.testing.assert_array_equal(pictures, pictures_of_nobody())
