"""Training xCos: what is drawn, what is lost, that it learns, and that it goes on after being killed."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest

from xfv_demo.errors import DatasetError, ModelError, XfvError
from xfv_demo.models.feature_grid import AffineHead
from xfv_demo.training.augmentation import augmented
from xfv_demo.training.batches import PairBatches
from xfv_demo.training.grid_cache import GridSet
from xfv_demo.training.initial import initial_projection
from xfv_demo.training.losses import MarginClassifier
from xfv_demo.training.settings import TrainingSettings, settings_from
from xfv_demo.training.train import train_head

pytestmark = pytest.mark.slow

SMALL = TrainingSettings(
    channels=4, epochs=3, steps=8, batch_pairs=16, variants=2, learning_rate=0.01, validation_share=0.25
)
HEIGHT, WIDTH, DEPTH, DIMENSIONS = 2, 2, 6, 5


@pytest.fixture(scope="module")
def model():
    """An embedder's grid, affine head and hashes; the grids themselves are made up."""
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(HEIGHT, WIDTH, DEPTH, DIMENSIONS)).astype(np.float32)
    return SimpleNamespace(
        name="made",
        sha256="0" * 64,
        fingerprint="0" * 64,
        grid_shape=(HEIGHT, WIDTH, DEPTH),
        affine_head=AffineHead(weights, np.zeros(DIMENSIONS, np.float32)),
    )


def made_grids(model, sizes):
    """People with so many photos each, in two variants; photos of a person lie near each other."""
    rng = np.random.default_rng(2)
    person = np.repeat(np.arange(len(sizes)), sizes)
    means = rng.normal(size=(len(sizes), HEIGHT, WIDTH, DEPTH))
    made = (means[person] + 0.3 * rng.normal(size=(2, len(person), HEIGHT, WIDTH, DEPTH))).astype(np.float16)
    embeddings = np.stack([model.affine_head.cells(one.astype(np.float32)).sum(axis=(1, 2)) for one in made])
    embeddings /= np.linalg.norm(embeddings, axis=-1, keepdims=True)
    return GridSet(made, embeddings, person, tuple(f"person {number}" for number in range(len(sizes))))


@pytest.fixture(scope="module")
def grids(model):
    """Twelve people with four photos each, four with one."""
    return made_grids(model, [4] * 12 + [1] * 4)


@pytest.fixture
def everyone(grids):
    return frozenset(grids.people)


class TestBatches:
    def batch(self, grids, number=0, **settings):
        batches = PairBatches(grids, np.arange(len(grids.person)), TrainingSettings(**settings))
        return batches[number][0]

    def rows(self, grids, side, values):
        """Which photo and variant each grid of a batch is."""
        flat = grids.grids.reshape(-1, HEIGHT * WIDTH * DEPTH)
        places = [np.flatnonzero((flat == one).all(axis=1))[0] for one in values.reshape(len(values), -1)]
        return np.array(places) % len(grids.person)

    def test_half_is_genuine_and_none_is_a_photo_with_itself(self, grids):
        batch = self.batch(grids, batch_pairs=64, variants=2)
        first, second = (self.rows(grids, side, batch[side]) for side in ("first", "second"))
        same = grids.person[first] == grids.person[second]
        assert same.sum() == 32
        assert (first != second).all()
        np.testing.assert_array_equal(np.flatnonzero(same), np.arange(32))

    def test_the_teacher_is_the_cosine_of_the_same_variants(self, grids):
        batch = self.batch(grids, batch_pairs=32, variants=2)
        flat = grids.grids.reshape(-1, HEIGHT * WIDTH * DEPTH)
        units = grids.embeddings.reshape(-1, DIMENSIONS)
        for pair in range(32):
            one, other = (
                np.flatnonzero((flat == batch[side][pair].ravel()).all(axis=1))[0]
                for side in ("first", "second")
            )
            assert batch["teacher"][pair] == pytest.approx(float(units[one] @ units[other]), abs=1e-5)

    def test_identity_is_of_people_with_several_photos(self, grids):
        batch = self.batch(grids, batch_pairs=256, variants=1, hard_impostors=0)
        person = grids.person[self.rows(grids, "first", batch["first"])]
        np.testing.assert_array_equal(batch["identity"], np.where(person < 12, person, -1))
        assert (batch["identity"] == -1).any()

    def test_hard_impostors_are_more_alike(self, grids):
        easy = self.batch(grids, batch_pairs=256, variants=1, hard_impostors=0)["teacher"][128:]
        hard = self.batch(grids, batch_pairs=256, variants=1, hard_impostors=1)["teacher"][128:]
        assert hard.mean() > easy.mean() + 0.2

    def test_each_has_its_number(self, grids):
        again = self.batch(grids, 3, variants=2)["teacher"]
        np.testing.assert_array_equal(self.batch(grids, 3, variants=2)["teacher"], again)
        assert not np.array_equal(self.batch(grids, 4, variants=2)["teacher"], again)
        rest = PairBatches(
            grids, np.arange(len(grids.person)), TrainingSettings(epochs=3, steps=7, variants=2)
        )
        rest.first = 2
        np.testing.assert_array_equal(rest[1][0]["teacher"], again)
        assert len(rest) == 3 * 7 - 2

    def test_people_that_are_left_out_are_not_drawn(self, grids):
        rows = grids.of({"person 1", "person 5", "person 13"})
        (batch,) = PairBatches(grids, rows, SMALL)[0]
        for side in ("first", "second"):
            assert set(grids.person[self.rows(grids, side, batch[side])]) <= {1, 5, 13}


class TestIdentificationLoss:
    """Two people along the axes; a photo at 60 degrees to the first one's, 30 to the second one's."""

    features = np.array([[0.5, np.sqrt(3) / 2]], np.float32)

    @pytest.mark.parametrize(("kind", "own"), [("cosface", 0.5 - 0.35), ("arcface", np.cos(np.pi / 3 + 0.5))])
    def test_on_paper(self, kind, own):
        layer = MarginClassifier(2, kind)
        layer.build((None, 2))
        layer.kernel.assign(np.array([[2.0, 0.0], [0.0, 3.0]]))
        logits = 32 * np.array([own, np.sqrt(3) / 2])
        expected = np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[0]
        assert float(layer(self.features, np.array([0]))[0]) == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize("kind", ["cosface", "arcface"])
    def test_is_finite_where_a_photo_is_exactly_its_person(self, kind):
        import tensorflow as tf

        layer = MarginClassifier(2, kind)
        layer.build((None, 2))
        layer.kernel.assign(np.eye(2))
        features = tf.constant([[1.0, 0.0], [-1.0, 0.0]])
        with tf.GradientTape() as tape:
            tape.watch(features)
            losses = layer(features, np.array([0, 0]))
        assert np.isfinite(losses).all()
        assert np.isfinite(tape.gradient(losses, features)).all()
        assert losses[0] < losses[1]


class TestInitialProjection:
    def test_keeps_what_the_head_looks_at(self, rng):
        """Of three channels that vary, the head sees the second only: that is the one direction kept."""
        features = rng.normal(3, (1, 2, 5), size=(500, 2, 2, 3))
        weights = np.zeros((2, 2, 3, 4), np.float32)
        weights[..., 1, :] = rng.normal(size=(2, 2, 4))
        kernel, bias = initial_projection(weights, features, 1, by_cell=False)
        assert (kernel.shape, bias.shape) == ((1, 3, 1), (1, 1))
        projected = (features @ kernel[0] + bias[0])[..., 0]
        assert abs(np.corrcoef(projected.ravel(), features[..., 1].ravel())[0, 1]) > 0.999
        assert projected.mean() == pytest.approx(0, abs=1e-5)
        assert projected.std() == pytest.approx(1, abs=1e-5)

    def test_by_cell_each_has_its_own(self, rng):
        features = rng.normal(size=(500, 1, 2, 3))
        weights = np.zeros((1, 2, 3, 4), np.float32)
        weights[0, 0, 0], weights[0, 1, 2] = 1, 1
        kernel, bias = initial_projection(weights, features, 1, by_cell=True)
        assert (kernel.shape, bias.shape) == ((2, 3, 1), (2, 1))
        assert np.abs(kernel[0, :, 0]).argmax() == 0
        assert np.abs(kernel[1, :, 0]).argmax() == 2

    def test_channels_that_never_move_do_no_harm(self, rng):
        features = rng.normal(size=(500, 1, 1, 3))
        features[..., 2] = 0
        kernel, bias = initial_projection(np.ones((1, 1, 3, 2), np.float32), features, 3, by_cell=False)
        assert np.isfinite(kernel).all()
        assert np.isfinite(bias).all()


class TestTraining:
    def run(self, grids, model, folder, people, settings=SMALL, **options):
        return train_head(grids, model, folder, settings, people=people, dataset="made", **options)

    def log(self, folder):
        """The log's rows, without what differs from run to run."""
        with (folder / "log.csv").open(newline="") as lines:
            return [
                {name: value for name, value in row.items() if name != "seconds"}
                for row in csv.DictReader(lines)
            ]

    def test_learns_to_follow_the_teacher(self, model, tmp_path):
        # A teacher that looks at one cell, which attention has to find.
        looks_at_one = SimpleNamespace(**vars(model))
        weights = np.zeros((HEIGHT, WIDTH, DEPTH, DIMENSIONS), np.float32)
        weights[0, 1] = np.eye(DEPTH, DIMENSIONS)
        looks_at_one.affine_head = AffineHead(weights, model.affine_head.bias)
        grids = made_grids(looks_at_one, [4] * 100)
        settings = {**SMALL.__dict__, "initial": "random", "channels": DIMENSIONS, "batch_pairs": 64}
        error = {}
        for epochs, steps in ((1, 1), (6, 50)):
            chosen = TrainingSettings(**{**settings, "epochs": epochs, "steps": steps})
            folder = tmp_path / f"{epochs}"
            head = self.run(grids, looks_at_one, folder, frozenset(grids.people), chosen)
            error[epochs] = head.about["best"]["val_teacher_loss"]
        assert error[6] < error[1] / 3
        assert head.about["best"]["val_correlation"] > 0.9
        projected = head.project(grids.grids[0, :50].astype(np.float32))
        attention = head.compare(projected[:25], projected[25:])["attention"].mean(axis=0)
        assert attention[0, 1] > 0.5
        assert len((folder / "log.csv").read_text().splitlines()) == 7
        assert head.people == frozenset(grids.people)
        assert head.model_sha256 == model.sha256

    def test_a_head_from_the_affine_one_starts_better(self, grids, model, tmp_path, everyone):
        first = {}
        for initial in ("random", "affine"):
            settings = TrainingSettings(**{**SMALL.__dict__, "epochs": 1, "steps": 1, "initial": initial})
            head = self.run(grids, model, tmp_path / initial, everyone, settings)
            first[initial] = head.about["best"]["val_correlation"]
        assert first["affine"] > first["random"]

    def test_goes_on_where_it_was_killed(self, grids, model, tmp_path, everyone):
        whole = self.run(grids, model, tmp_path / "whole", everyone)

        class KilledError(Exception):
            pass

        def kill(done, _total):
            if done == 13:
                raise KilledError

        with pytest.raises(KilledError):
            self.run(grids, model, tmp_path / "twice", everyone, progress=kill)
        assert not (tmp_path / "twice" / "head.json").exists()
        seen = []
        again = self.run(
            grids, model, tmp_path / "twice", everyone, progress=lambda done, total: seen.append(done)
        )
        # The epoch that was cut off is done anew, and no other.
        assert seen[0] == 9
        assert seen[-1] == 24
        logs = [self.log(tmp_path / name) for name in ("whole", "twice")]
        assert logs[0] == logs[1]
        assert again.about["seconds"] > 0
        for one, other in zip(whole.network.variables, again.network.variables, strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-5)

    def test_a_finished_training_is_not_done_again(self, grids, model, tmp_path, everyone):
        first = self.run(grids, model, tmp_path, everyone)
        again = self.run(grids, model, tmp_path, everyone, progress=lambda *_: pytest.fail("again"))
        assert again.sha256 == first.sha256

    def test_a_folder_with_another_training_is_left_alone(self, grids, model, tmp_path, everyone):
        self.run(grids, model, tmp_path, everyone)
        before = (tmp_path / "log.csv").read_text()
        other = TrainingSettings(**{**SMALL.__dict__, "seed": 1})
        with pytest.raises(XfvError, match="holds a training with other settings"):
            self.run(grids, model, tmp_path, everyone, other)
        assert (tmp_path / "log.csv").read_text() == before

    def test_people_to_validate_on_are_not_trained_on(self, grids, model, tmp_path, everyone):
        head = self.run(grids, model, tmp_path, everyone - {"person 3"})
        assert "person 3" not in head.people
        about = head.about
        assert about["training_people"] + about["validation_people"] == 15
        assert about["validation_people"] >= 3

    @pytest.mark.parametrize("identification", ["cosface", "arcface", "none"])
    def test_each_identification_loss_runs(self, grids, model, tmp_path, everyone, identification):
        settings = TrainingSettings(**{**SMALL.__dict__, "identification": identification, "epochs": 1})
        self.run(grids, model, tmp_path, everyone, settings)
        header, line = (tmp_path / "log.csv").read_text().splitlines()
        loss = float(line.split(",")[header.split(",").index("identity_loss")])
        assert (loss == 0) == (identification == "none")

    def test_too_few_people_are_said_to_be(self, grids, model, tmp_path):
        with pytest.raises(DatasetError, match="has 3 people with two photos or more"):
            self.run(grids, model, tmp_path, frozenset({"person 0", "person 1", "person 2", "person 14"}))

    def test_a_head_that_is_not_affine(self, grids, model, tmp_path, everyone):
        class NotAffine(SimpleNamespace):
            @property
            def affine_head(self):
                raise ModelError("not affine")

        other = NotAffine(**{name: value for name, value in vars(model).items() if name != "affine_head"})
        one = {**SMALL.__dict__, "epochs": 1}
        self.run(grids, other, tmp_path / "auto", everyone, TrainingSettings(**one))
        with pytest.raises(ModelError, match="not affine"):
            self.run(
                grids, other, tmp_path / "affine", everyone, TrainingSettings(**{**one, "initial": "affine"})
            )


class TestSettings:
    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"epoch": 3}, 'no setting "epoch"; there are channels'),
            ({"epochs": 0}, "epochs must be at least 1, not 0"),
            ({"epochs": "many"}, "epochs must be of type int"),
            ({"epochs": True}, "epochs must be of type int"),
            ({"by_cell": 1}, "by_cell must be of type bool"),
            ({"batch_pairs": 1}, "one genuine and one impostor"),
            ({"learning_rate": 2}, "learning_rate must lie between"),
            ({"identification": "softmax"}, "cosface, arcface, none"),
            ({"hard_impostors": 1.5}, r"must lie in \[0, 1\]"),
            ({"validation_share": 0.0}, "validation_share"),
            ({"initial": "best"}, "auto, affine or random"),
        ],
    )
    def test_wrong_ones_are_named(self, values, message):
        with pytest.raises(XfvError, match=message):
            settings_from(values)

    def test_missing_ones_have_defaults(self):
        assert settings_from({"epochs": 2, "learning_rate": 0.5}) == TrainingSettings(
            epochs=2, learning_rate=0.5
        )


class TestAugmentation:
    def test_a_variant_is_a_face_again_and_comes_out_the_same(self, aligned):
        face = aligned["obama"]
        face.setflags(write=False)
        for seed in range(40):
            variant = augmented(face, np.random.default_rng(seed))
            assert variant.shape == face.shape
            assert variant.dtype == np.float32
            assert 0 <= variant.min() <= variant.max() <= 1
            np.testing.assert_array_equal(variant, augmented(face, np.random.default_rng(seed)))
        face.setflags(write=True)

    def test_variants_stay_the_same_person(self, aligned, embedder):
        face = aligned["obama"]
        variants = np.stack([augmented(face, np.random.default_rng(seed)) for seed in range(40)])
        alike = embedder.embed(variants) @ embedder.embed(face[None])[0]
        others = embedder.embed(variants) @ embedder.embed(aligned["biden"][None])[0]
        assert np.median(alike) > 0.6
        assert (alike > others).all()
        assert alike.std() > 0.02
