"""Training xCos and the model under it: that both learn, are kept together, and go on after being killed."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.models.test_trainable import saved
from xfv_demo import SavedModelEmbedder
from xfv_demo.errors import ModelError
from xfv_demo.models.trainable import TrainableBackbone
from xfv_demo.models.xcos_head import load_head
from xfv_demo.training.batches import split_people
from xfv_demo.training.grid_cache import GridSet, as_bytes
from xfv_demo.training.settings import TrainingSettings
from xfv_demo.training.train import train_head
from xfv_demo.training.validation import Validation

pytestmark = pytest.mark.slow

PEOPLE, PHOTOS = 8, 3
SMALL = TrainingSettings(
    channels=4,
    epochs=3,
    steps=4,
    batch_pairs=8,
    variants=3,
    validation_share=0.25,
    learning_rate=0.01,
    fine_tune=True,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network with a grid of 7 x 7 cells, and random weights."""
    rng = np.random.default_rng(0)
    kernel = tf.Variable(rng.normal(0, 0.1, (16, 16, 3, 6)).astype(np.float32), name="kernel")
    dense = tf.Variable(rng.normal(0, 0.1, (7 * 7 * 6, 5)).astype(np.float32), name="dense")

    def embed(faces):
        grid = tf.nn.relu(tf.nn.conv2d(faces - 0.5, kernel, 16, "VALID"))
        return tf.reshape(grid, (-1, 7 * 7 * 6)) @ dense

    return saved(tmp_path_factory.mktemp("models") / "small", embed, [kernel, dense])


@pytest.fixture(scope="module")
def grids(model):
    """Noise for people, with a little more noise for each photo."""
    rng = np.random.default_rng(1)
    person = np.repeat(np.arange(PEOPLE), PHOTOS)
    noise = rng.random((PEOPLE, 112, 112, 3))[person] + 0.2 * rng.normal(size=(len(person), 112, 112, 3))
    faces = as_bytes(np.clip(noise, 0, 1).astype(np.float32))
    images = faces.astype(np.float32) / 255
    return GridSet(
        model.feature_grid(images)[None].astype(np.float16),
        model.embed(images)[None],
        person,
        tuple(f"person {number}" for number in range(PEOPLE)),
        faces,
    )


def trained(grids, model, folder, progress=None):
    people = frozenset(grids.people)
    head = train_head(grids, model, folder, SMALL, people=people, dataset="made", progress=progress)
    head.save(folder)
    return head


def log(folder):
    """The numbers of each epoch, without how long it took."""
    with (folder / "log.csv").open(newline="") as lines:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(lines)]
    return [[value for name, value in sorted(row.items()) if name != "seconds"] for row in rows]


class TestFineTuning:
    @pytest.fixture(scope="module")
    @staticmethod
    def folder(grids, model, tmp_path_factory):
        folder = tmp_path_factory.mktemp("whole")
        trained(grids, model, folder)
        return folder

    def test_the_head_is_for_the_model_that_is_written_beside_it(self, folder, model, grids):
        tuned = SavedModelEmbedder(folder / "backbone")
        head = load_head(tuned, folder)
        assert head.model_sha256 == tuned.sha256
        assert head.about["fine_tuned_from"] == model.sha256
        with pytest.raises(ModelError, match="other weights"):
            load_head(model, folder)
        images = grids.faces.astype(np.float32) / 255
        moved = np.abs(tuned.embed(images) - model.embed(images)).max()
        assert moved > 1e-4

    def test_what_is_written_is_of_the_best_epoch(self, folder, grids, tmp_path):
        tuned = SavedModelEmbedder(folder / "backbone")
        head = load_head(tuned, folder)
        strangers = split_people(grids, frozenset(grids.people), SMALL).validation
        written = SimpleNamespace(head=head.network, backbone=TrainableBackbone(tuned))
        given, teacher, _ = Validation(grids, strangers, SMALL, tmp_path)._similarities(written)
        # Heads are written in half precision.
        assert np.mean((given - teacher) ** 2) == pytest.approx(
            head.about["best"]["val_teacher_loss"], abs=1e-3
        )

    def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been(self, folder, grids, model, tmp_path):
        def kill(done, _total):
            if done == 6:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            trained(grids, model, tmp_path, kill)
        assert len(log(tmp_path)) == 1
        trained(grids, model, tmp_path)
        np.testing.assert_allclose(log(tmp_path), log(folder), atol=1e-4)
        images = grids.faces[:4].astype(np.float32) / 255
        once, again = (SavedModelEmbedder(one / "backbone") for one in (folder, tmp_path))
        np.testing.assert_allclose(again.embed(images), once.embed(images), atol=1e-4)

    def test_a_second_call_writes_the_same_again(self, folder, grids, model):
        before = log(folder)
        head = trained(grids, model, folder)
        assert log(folder) == before
        assert load_head(SavedModelEmbedder(folder / "backbone"), folder).sha256
        assert head.about["best"]["epoch"] <= SMALL.epochs

    def test_needs_the_faces(self, grids, model, tmp_path):
        without = GridSet(grids.grids, grids.embeddings, grids.person, grids.people)
        with pytest.raises(ValueError, match="keep_faces"):
            trained(without, model, tmp_path)
