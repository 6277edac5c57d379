"""Copies of a set's images."""

import io

import numpy as np
import pytest
from PIL import Image

from xfv_demo.datasets.altered import AlteredImages, shrunk
from xfv_demo.datasets.sources import MemoryImages
from xfv_demo.errors import DatasetError
from xfv_demo.faces.images import read_photo


def encoded(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def grey():
    return np.full((60, 90, 3), 77, np.uint8)


def test_each_photo_is_altered_and_nothing_else_of_it(grey):
    source = MemoryImages("made up", {"a.png": encoded(grey), "b.png": encoded(grey)})
    copies = AlteredImages(source, lambda key, photo: photo + np.uint8(key == "b.png"))
    assert copies.name == "made up"
    read = {key: read_photo(content) for key, content in copies.stream(["b.png", "a.png"])}
    assert list(read) == ["b.png", "a.png"]
    assert (read["a.png"] == 77).all()
    assert (read["b.png"] == 78).all()


def test_what_is_no_photo_is_passed_on(grey):
    source = MemoryImages("made up", {"notes.jpg": b"these are notes", "a.png": encoded(grey)})
    copies = AlteredImages(source, lambda key, photo: shrunk(photo, 0.5))
    assert dict(copies.stream(["notes.jpg"])) == {"notes.jpg": b"these are notes"}
    with pytest.raises(DatasetError, match=r"none\.png"):
        list(copies.stream(["none.png"]))


@pytest.mark.parametrize(
    ("share", "shape"), [(1, (60, 90)), (0.5, (30, 45)), (0.16, (10, 14)), (0.001, (1, 1))]
)
def test_shrunk_to_a_share_of_the_sides(grey, share, shape):
    small = shrunk(grey, share)
    assert small.shape == (*shape, 3)
    assert small.dtype == np.uint8
    assert (small == 77).all()
