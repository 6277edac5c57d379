"""xCos in the cosine's place: which pairs may be measured, the comparison on paper, and both commands."""

import json
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from xfv_demo.batch.cache import EmbeddingStore
from xfv_demo.datasets.lfw import read_lfw
from xfv_demo.datasets.pairs import PairSet
from xfv_demo.datasets.sources import MemoryImages
from xfv_demo.errors import DatasetError
from xfv_demo.evaluation.xcos_fidelity import choose_heads, compare_similarities, measure_similarities
from xfv_demo.models.xcos_head import load_head

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def pair_set(*pairs):
    """Pairs of images by key; genuine where both lie in one folder."""
    images = tuple(sorted({key for pair in pairs for key in pair}))
    first, second = ([images.index(pair[side]) for pair in pairs] for side in (0, 1))
    genuine = [one.partition("/")[0] == other.partition("/")[0] for one, other in pairs]
    return PairSet(
        "made", MemoryImages("made", {}), images, first, second, genuine, np.arange(len(pairs)) % 2
    )


class TestChoice:
    pairs = pair_set(("Ann/1.png", "Ann/2.png"), ("Ann/1.png", "Bob/1.png"), ("Cem/1.png", "Dee/1.png"))

    def test_a_pair_goes_to_the_first_head_that_knows_neither(self):
        heads = [{"Ann"}, {"Cem"}, set()]
        np.testing.assert_array_equal(choose_heads(self.pairs, heads), [1, 1, 0])

    def test_a_pair_that_all_heads_know_is_left_out(self):
        np.testing.assert_array_equal(choose_heads(self.pairs, [{"Ann"}]), [-1, -1, 0])
        np.testing.assert_array_equal(choose_heads(self.pairs, [{"Dee"}, {"Bob", "Cem"}]), [0, 0, -1])

    def test_images_in_no_folder_show_nobody_known(self):
        pairs = pair_set(("000001", "000002"), ("000003", "000004"))
        np.testing.assert_array_equal(choose_heads(pairs, [{"Ann"}]), [0, 0])


class TestComparison:
    cosine = np.array([0.9, 0.8, 0.7, 0.6, 0.1, 0.2, 0.0, -0.1] * 4)
    genuine = np.array([True] * 4 + [False] * 4)[np.arange(32) % 8]
    folds = np.repeat([0, 1], 16)

    def compare(self, xcos):
        return compare_similarities(xcos, self.cosine, self.genuine, self.folds, np.random.default_rng(0))

    def test_the_cosine_itself_loses_nothing(self):
        quality, cosine, interval, correlations = self.compare(self.cosine)
        assert quality == cosine
        assert quality.mean == 1
        assert (interval.low, interval.high) == (0, 0)
        assert (correlations.all, correlations.genuine, correlations.impostor) == pytest.approx((1, 1, 1))

    def test_errors_are_counted_by_fold(self):
        xcos = self.cosine.copy()
        # Of the sixteen pairs of the second fold two become wrong: 14 / 16.
        xcos[[16, 20]] = -0.9, 0.95
        quality, cosine, interval, _ = self.compare(xcos)
        assert quality.accuracies[1] == pytest.approx(14 / 16)
        assert cosine.accuracies == (1, 1)
        assert quality.mean - cosine.mean < 0
        assert interval.low < -1 / 32 < interval.high <= 0

    def test_the_sign_of_a_correlation(self):
        _, _, _, correlations = self.compare(np.where(self.genuine, self.cosine, -self.cosine))
        assert correlations.genuine == pytest.approx(1)
        assert correlations.impostor == pytest.approx(-1)

    def test_one_class_is_no_set(self):
        with pytest.raises(DatasetError):
            compare_similarities(
                self.cosine, self.cosine, np.ones(32, bool), self.folds, np.random.default_rng(0)
            )


@pytest.fixture
def run(run_model, cache, monkeypatch):
    """Runs a command on the bundled model, with a cache that these tests share."""
    monkeypatch.setenv("XFV_CACHE", str(cache))
    return lambda *arguments: run_model(*arguments, "--model", "mobilefacenet")


@pytest.fixture(scope="module")
def people(tmp_path_factory, aligned):
    """Eight people, aligned: the two of the examples, and blends of them that are others; six photos each."""
    folder = tmp_path_factory.mktemp("people")
    one, other = aligned["obama"], aligned["biden"]
    faces = {
        **{f"Between {share}": (1 - share / 5) * one + share / 5 * other for share in range(6)},
        "Mirrored": one[::-1].copy(),
        "Swapped": np.concatenate([other[:56], one[56:]]),
    }
    for name, face in faces.items():
        (folder / name).mkdir()
        for number in range(6):
            picture = np.clip(face * (0.7 + 0.1 * number), 0, 1)
            picture = cv2.GaussianBlur(picture, (0, 0), 0.3 + 0.2 * number)
            Image.fromarray((255 * picture).astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


QUICK = ("--epochs", 2, "--steps", 4, "--batch-pairs", 8, "--variants", 3, "--aligned")


def test_a_head_is_trained_and_found(run, people, cache, tmp_path):
    done = run("train-xcos", "--data", people, *QUICK)
    assert done.returncode == 0, done.stderr
    assert "xCos for mobilefacenet" in done.stdout
    head = json.loads((cache / "xcos" / "mobilefacenet" / "head.json").read_text())
    assert head["settings"]["epochs"] == 2
    assert head["training_people"] + head["validation_people"] == 8
    # Everyone was trained on, so there is nobody to measure it on.
    done = run("evaluate", "xcos", "--data", people, "--count", 20)
    assert (done.returncode, done.stdout) == (2, "")
    assert "shows someone whom the head was trained on" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    # Another one does not overwrite it.
    other = run("train-xcos", "--data", people, *QUICK, "--seed", 5)
    assert other.returncode == 2
    assert "holds a training with other settings" in other.stderr


def test_settings_come_from_a_file_and_the_command_line(run, people, cache, tmp_path):
    (tmp_path / "xcos.toml").write_text(
        "epochs = 1\nsteps = 2\nbatch_pairs = 8\nvariants = 1\nby_cell = false\n"
    )
    command = ("train-xcos", "--data", people, "--config", "xcos.toml", "--aligned")
    done = run(*command, "--steps", 3, "--out", "head")
    assert done.returncode == 0, done.stderr
    settings = json.loads((tmp_path / "head" / "head.json").read_text())["settings"]
    assert (settings["epochs"], settings["steps"], settings["by_cell"]) == (1, 3, False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("epochs = ", "is no TOML"),
        ("epoch = 3", 'there is no setting "epoch"'),
        ('epochs = "3"', "epochs must be of type int"),
        (None, "cannot be read"),
    ],
)
def test_a_wrong_file_is_one_line(run, people, cache, tmp_path, content, message):
    if content is not None:
        (tmp_path / "xcos.toml").write_text(content)
    done = run("train-xcos", "--data", people, "--config", "xcos.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--hold-out", "9"), "pairs.txt"),
        (("--epochs", 0), "epochs must be at least 1"),
        (("--identification", "softmax"), "identification must be one of"),
    ],
)
def test_wrong_options_are_one_line(run, people, cache, tmp_path, options, message):
    done = run("train-xcos", "--data", people, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_shipped_head_is_measured_on_a_set_of_its_own(run, people, cache, tmp_path):
    head = ROOT / "assets" / "xcos" / "mobilefacenet"
    pairs = [
        (f"{one}/{first}.png", f"{other}/{second}.png", int(one == other))
        for one, other in (("Between 0", "Between 0"), ("Between 5", "Between 5"), ("Between 0", "Between 5"))
        for first in range(5)
        for second in range(first + 1, 6)
    ]
    lines = ["first,second,genuine", *(f"{one},{other},{same}" for one, other, same in pairs)]
    (people / "pairs.csv").write_text("\n".join(lines))
    done = run(
        "evaluate",
        "xcos",
        "--data",
        people / "pairs.csv",
        "--head",
        head,
        "--out",
        "out",
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "mobilefacenet-pairs-xcos.json").read_text())
    assert report["genuine"] + report["impostor"] + report["failed"] == 45
    assert report["trained_on"] == 0
    assert report["checked"]
    assert report["correlations"]["all"] > 0.97


@pytest.mark.lfw
class TestShippedHead:
    def test_knows_nobody_of_the_folds_that_it_is_measured_on(self, lfw, embedder):
        head = load_head(embedder)
        pairs = read_lfw(lfw)
        held_out = np.isin(pairs.folds, [8, 9])
        assert head.about["held_out"] == "folds 9, 10 of lfw's pairs.txt"
        assert (choose_heads(pairs, [head.people])[held_out] == 0).all()
        assert len(head.people) > 4000

    def test_stands_in_for_the_cosine(self, lfw, lfw_cache, embedder):
        """A quick look at what README's full run says: 300 pairs of the two folds."""
        head = load_head(embedder)
        pairs = read_lfw(lfw)
        pairs = pairs.where(np.isin(pairs.folds, [8, 9])).subset(300)
        with closing(EmbeddingStore(lfw_cache / "embeddings.sqlite")) as store:
            xcos, plain = measure_similarities(pairs, embedder, [head], np.zeros(len(pairs), int), store)
        quality, cosine, _, correlations = compare_similarities(
            xcos, 1 - plain.distances, pairs.genuine, pairs.folds, np.random.default_rng(0)
        )
        assert correlations.all >= 0.97
        # Not accuracy: a threshold that is chosen on 150 pairs lies anywhere in the gap between the classes.
        assert quality.eer <= cosine.eer + 0.01
