"""The grids that xCos is trained on: right, kept, and gone on with."""

import io
from contextlib import closing

import numpy as np
import pytest
from PIL import Image

from xfv_demo.batch.cache import EmbeddingStore
from xfv_demo.datasets.labelled_images import LabelledImages
from xfv_demo.datasets.sources import MemoryImages
from xfv_demo.errors import DatasetError, XfvError
from xfv_demo.training import grid_cache as module
from xfv_demo.training.grid_cache import compute_grids


class Model:
    """A grid of quarters' mean colours, an embedding of the whole's; it notes how often it was asked."""

    fingerprint = "mean colours"
    grid_shape = (2, 2, 3)
    dimensions = 3

    def __init__(self, most=np.inf):
        self.asked = 0
        self._most = most

    def feature_grid(self, images):
        if self.asked + len(images) > self._most:
            raise KeyboardInterrupt
        self.asked += len(images)
        return images.reshape(-1, 2, 56, 2, 56, 3).mean(axis=(2, 4))

    def embed(self, images):
        means = images.mean(axis=(1, 2))
        return means / np.linalg.norm(means, axis=1, keepdims=True)


def encoded(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def faces():
    """Five aligned crops, red on the left and brighter from one to the next."""
    made = np.zeros((5, 112, 112, 3), np.uint8)
    for number, face in enumerate(made):
        face[...] = 40 + 30 * number
        face[:, :56, 0] = 250
    return made


@pytest.fixture
def images(faces):
    contents = {f"{'ab'[number % 2]}/{number}.png": encoded(face) for number, face in enumerate(faces)}
    contents["b/notes.png"] = b"no image"
    keys = tuple(contents)
    person = np.array(["ab".index(key[0]) for key in keys])
    return LabelledImages("made", MemoryImages("made", contents), keys, person, ("a", "b"))


@pytest.fixture
def store(tmp_path):
    with closing(EmbeddingStore(tmp_path / "kept.sqlite")) as store:
        yield store


def compute(images, store, folder, model=None, **options):
    options = {"variants": 3, "seed": 0, "already_aligned": True, **options}
    return compute_grids(images, model or Model(), store, folder, **options)


def test_variants_are_the_face_its_mirror_image_and_drawn_ones(images, store, faces, tmp_path):
    made = compute(images, store, tmp_path)
    expected = Model().feature_grid(faces.astype(np.float32) / 255)
    np.testing.assert_allclose(made.grids[0, :5], expected, atol=1e-3)
    np.testing.assert_allclose(made.grids[1, :5], expected[:, :, ::-1], atol=1e-3)
    assert np.abs(made.grids[2, :5].astype(float) - expected).max() > 0.02
    assert made.grids.dtype == np.float16
    np.testing.assert_allclose(
        made.embeddings[0, :5], Model().embed(faces.astype(np.float32) / 255), atol=1e-5
    )


def test_a_photo_without_a_face_belongs_to_nobody(images, store, tmp_path):
    made = compute(images, store, tmp_path)
    assert made.person.tolist() == [0, 1, 0, 1, 0, -1]
    assert made.failures == 1
    np.testing.assert_array_equal(made.of({"b"}), [1, 3])
    assert made.of({"nobody"}).size == 0


def test_are_computed_once(images, store, tmp_path):
    model = Model()
    first = compute(images, store, tmp_path, model)
    asked = model.asked
    again = compute(images, store, tmp_path, model)
    assert model.asked == asked
    np.testing.assert_array_equal(first.grids, again.grids)
    np.testing.assert_array_equal(first.person, again.person)


def test_what_was_done_before_a_kill_is_not_done_again(images, store, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    whole = compute(images, store, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        compute(images, store, tmp_path / "twice", Model(most=7))
    model, seen = Model(), []
    rest = compute(
        images, store, tmp_path / "twice", model, progress=lambda done, total: seen.append((done, total))
    )
    # One batch of two images in three variants was whole.
    assert model.asked == 3 * 3
    assert seen[-1] == (6, 6)
    np.testing.assert_array_equal(whole.grids[:, :5], rest.grids[:, :5])
    np.testing.assert_array_equal(whole.embeddings[:, :5], rest.embeddings[:, :5])


@pytest.mark.parametrize("change", [{"variants": 2}, {"seed": 1}, {"face": "largest"}])
def test_other_settings_have_grids_of_their_own(images, store, tmp_path, change):
    compute(images, store, tmp_path)
    model = Model()
    compute(images, store, tmp_path, model, **change)
    assert model.asked == 5 * change.get("variants", 3)
    assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2


def test_a_set_without_a_face_is_refused(images, store, tmp_path):
    nothing = LabelledImages(
        "empty", MemoryImages("empty", {"a/1.png": b"no image"}), ("a/1.png",), np.array([0]), ("a",)
    )
    with pytest.raises(DatasetError, match='"empty" shows no face'):
        compute(nothing, store, tmp_path)


def test_a_full_disk_is_found_before_the_work(images, store, tmp_path, monkeypatch):
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")(10**9, 10**9, 10)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _folder: usage)
    with pytest.raises(XfvError, match=r"the grids need 0.0 GB in .*, and 0.0 GB are free"):
        compute(images, store, tmp_path)


def test_a_folder_that_cannot_be_made_is_named(images, store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(XfvError, match="the grids cannot be kept in"):
        compute(images, store, tmp_path / "file" / "grids")
