"""The detector on real photos: right faces, right places, whatever way the photo is turned or sized."""

import pickle
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from xfv_demo.faces.alignment import ARCFACE_TEMPLATE, estimate_similarity
from xfv_demo.faces.detection import MtcnnDetector
from xfv_demo.faces.images import read_photo

pytestmark = pytest.mark.slow

# Pupils, nose tip and mouth corners, read off the photos by hand, in the template's order.
BY_HAND = {
    "obama": [(444, 213), (548, 213), (497, 276), (440, 315), (553, 314)],
    "biden": [(533, 320), (652, 344), (593, 402), (517, 457), (625, 478)],
}


def spread(landmarks):
    """The distance between the eyes, the unit for what is near."""
    return np.linalg.norm(landmarks[1] - landmarks[0])


@pytest.fixture(scope="module")
def found(photos, detector):
    return {name: detector.detect(photo) for name, photo in photos.items()}


def test_every_example_shows_a_face(found):
    for name, faces in found.items():
        assert faces, name
        assert faces[0].rotation == 0
        assert faces[0].score > 0.9


@pytest.mark.parametrize("name", BY_HAND)
def test_landmarks_are_where_a_person_sees_them(found, name):
    landmarks, by_hand = found[name][0].landmarks, np.array(BY_HAND[name])
    assert np.abs(landmarks - by_hand).max() < 0.12 * spread(by_hand)


def test_landmarks_are_not_rounded(found):
    landmarks = found["obama"][0].landmarks
    assert landmarks.dtype == np.float32
    assert landmarks.shape == (5, 2)
    assert (landmarks != landmarks.round()).all()


def test_landmarks_fit_the_template(found):
    for name, faces in found.items():
        matrix = estimate_similarity(faces[0].landmarks)
        fitted = faces[0].landmarks @ matrix[:, :2].T + matrix[:, 2]
        assert np.abs(fitted - ARCFACE_TEMPLATE).max() < 12, name


def test_boxes_lie_within_the_photo_and_hold_the_landmarks(found, photos):
    for name, faces in found.items():
        height, width = photos[name].shape[:2]
        for face in faces:
            left, top, right, bottom = face.box
            assert 0 <= left < right <= width - 1
            assert 0 <= top < bottom <= height - 1
        nose = faces[0].landmarks[2]
        left, top, right, bottom = faces[0].box
        assert left < nose[0] < right
        assert top < nose[1] < bottom


def test_several_faces_come_largest_first(detector, photos):
    large = cv2.resize(photos["obama"], None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    small = cv2.resize(photos["biden"], None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    both = np.zeros((max(len(large), len(small)), large.shape[1] + small.shape[1], 3), np.uint8)
    both[: len(small), : small.shape[1]] = small
    both[: len(large), small.shape[1] :] = large
    faces = detector.detect(both)
    assert len(faces) >= 2
    assert [face.area for face in faces] == sorted((face.area for face in faces), reverse=True)
    assert faces[0].box[0] > small.shape[1], "the larger face stands on the right"
    assert any(face.box[2] < small.shape[1] for face in faces)


@pytest.mark.parametrize("name", ["obama", "obama2", "obama3", "biden"])
@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_a_turned_photo_is_turned_back(found, photos, detector, name, quarter_turns):
    """np.rot90 turns counterclockwise, so the photo must be turned clockwise as often."""
    photo, upright = photos[name], found[name][0]
    face = detector.detect(np.ascontiguousarray(np.rot90(photo, quarter_turns)))[0]
    assert face.rotation == 90 * quarter_turns
    height, width = photo.shape[:2]
    x, y = upright.landmarks.T
    expected = {1: (y, width - 1 - x), 2: (width - 1 - x, height - 1 - y), 3: (height - 1 - y, x)}
    difference = face.landmarks - np.stack(expected[quarter_turns], axis=1)
    assert np.abs(difference).max() < 0.1 * spread(upright.landmarks)


@pytest.mark.parametrize("scale", [0.5, 0.25])
@pytest.mark.parametrize("name", ["obama", "obama2", "obama3", "biden"])
def test_whichever_way_up_the_same_face(photos, detector, name, scale):
    """At half its size, the upside-down obama.jpg showed MTCNN a face that is none, with a score of 0.99."""
    small = cv2.resize(photos[name], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    faces = [detector.detect(np.ascontiguousarray(np.rot90(small, turns)))[0] for turns in range(4)]
    assert [face.rotation for face in faces] == [0, 90, 180, 270]
    assert all(face.turn_margin is None or face.turn_margin > 3 for face in faces)


def test_faces_tell_how_certain_they_are(found):
    for name, faces in found.items():
        assert faces[0].certainty > 5, name
        assert faces[0].landmark_spread < 0.06, name


@pytest.mark.parametrize("picture", ["rocket", "gravel", "coins", "motorcycle_left", "moon", "chelsea"])
def test_pictures_without_a_face_show_none(detector, picture):
    """Crops in which MTCNN alone finds faces now and then, in one turn or another."""
    folder = Path(skimage.data.__file__).parent
    image = read_photo(next(folder.glob(f"{picture}.*g")))
    rng = np.random.default_rng(4)
    for _ in range(6):
        side = int(rng.integers(100, min(image.shape[:2]) + 1))
        top, left = (int(rng.integers(0, length - side + 1)) for length in image.shape[:2])
        crop = cv2.resize(image[top : top + side, left : left + side], (500, 500))
        assert detector.detect(np.ascontiguousarray(crop)) == []


def test_a_large_photo_gives_coordinates_in_its_own_pixels(photos, detector, found):
    large = cv2.resize(photos["obama2"], None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
    face, small = detector.detect(large)[0], found["obama2"][0]
    assert np.abs((face.landmarks + 0.5) / 4 - 0.5 - small.landmarks).max() < 0.1 * spread(small.landmarks)


def test_a_small_face_in_a_large_photo_is_found(photos, detector):
    face = cv2.resize(photos["obama"][60:460, 300:680], (50, 53), interpolation=cv2.INTER_AREA)
    photo = np.full((2400, 3200, 3), 120, np.uint8)
    photo[1500:1553, 2000:2050] = face
    faces = detector.detect(photo)
    assert faces
    assert faces[0].box[0] >= 1990
    assert faces[0].box[2] <= 2060


def test_a_face_that_fills_its_photo_is_found(photos, detector, found):
    left, top, right, bottom = found["obama"][0].box.astype(int)
    tight = photos["obama"][top + 30 : bottom - 20, left + 15 : right - 15]
    face = detector.detect(np.ascontiguousarray(tight))[0]
    assert face.rotation == 0
    expected = found["obama"][0].landmarks - [left + 15, top + 30]
    assert np.abs(face.landmarks - expected).max() < 0.15 * spread(expected)


@pytest.mark.parametrize(
    "photo",
    [
        np.zeros((32, 32, 3), np.uint8),
        np.full((400, 300, 3), 255, np.uint8),
        np.zeros((32, 5000, 3), np.uint8),
        skimage.data.coffee(),
    ],
    ids=["black", "white", "strip", "coffee"],
)
def test_no_face_is_an_empty_list(detector, photo):
    assert detector.detect(photo) == []


def test_a_strip_of_a_million_pixels_costs_little_memory(detector):
    """32 x 1,500,000 pixels are 140 kB as a PNG; padded at full size they would be terabytes."""
    tracemalloc.start()
    try:
        assert detector.detect(np.full((32, 1_500_000, 3), 128, np.uint8)) == []
        assert tracemalloc.get_traced_memory()[1] < 300e6
    finally:
        tracemalloc.stop()


def test_a_used_detector_can_go_to_another_process(detector, photos):
    detector.detect(photos["obama"])
    copy = pickle.loads(pickle.dumps(detector))
    assert copy.fingerprint == detector.fingerprint
    np.testing.assert_array_equal(
        copy.detect(photos["obama"])[0].landmarks, detector.detect(photos["obama"])[0].landmarks
    )


def test_a_stray_weight_file_is_not_run(tmp_path, monkeypatch, photos):
    """mtcnn looks for its weights, which are pickles, in the working directory first."""
    for file in ("pnet.lz4", "rnet.lz4", "onet.lz4"):
        (tmp_path / file).write_bytes(b"not weights")
    monkeypatch.chdir(tmp_path)
    assert MtcnnDetector().detect(photos["obama"])


def test_the_photo_is_left_as_it_was(detector, photos):
    before = photos["obama"].copy()
    detector.detect(photos["obama"])
    np.testing.assert_array_equal(photos["obama"], before)
