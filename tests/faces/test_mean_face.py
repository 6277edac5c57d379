"""The mean face: what it is made of, and that it shows nobody."""

import numpy as np
import pytest

from xfv_demo.errors import DatasetError
from xfv_demo.faces.mean_face import FEWEST_PEOPLE, average_faces, mean_face


def plain(value):
    return np.full((112, 112, 3), value, np.float32)


def test_people_count_alike_however_many_photos_they_have():
    many = [("somebody", plain(1.0)) for _ in range(3 * FEWEST_PEOPLE)]
    others = [(str(number), plain(0.0)) for number in range(FEWEST_PEOPLE - 1)]
    assert (average_faces(many + others) == round(255 / FEWEST_PEOPLE)).all()


def test_a_persons_photos_are_averaged():
    people = [(str(number), plain(value)) for number in range(FEWEST_PEOPLE) for value in (0.25, 0.75)]
    assert (average_faces(people) == 128).all()


def test_of_few_people_none_is_made():
    with pytest.raises(DatasetError, match="a mean face of 999 people would show some of them"):
        average_faces((str(number), plain(0.5)) for number in range(FEWEST_PEOPLE - 1))


def test_the_shipped_one_is_a_face_and_smooth():
    face = mean_face()
    assert face.shape == (112, 112, 3)
    assert face.dtype == np.float32
    assert not face.flags.writeable
    grey = face.mean(axis=-1)
    # Eyes and mouth, by the template, are darker than cheeks and forehead.
    eyes = (grey[52, 38] + grey[52, 74]) / 2
    assert eyes < grey[70:76, 35:40].mean()
    assert eyes < grey[20:30, 50:62].mean()
    assert grey[92, 56] < grey[70:76, 35:40].mean()
    # No edge that could be somebody's: a photo of LFW has steps of 0.3 and more.
    assert max(np.abs(np.diff(grey, axis=axis)).max() for axis in (0, 1)) < 0.06
    # Nearly as its mirror image, as a mean of thousands is.
    assert np.abs(grey - grey[:, ::-1]).max() < 0.06
