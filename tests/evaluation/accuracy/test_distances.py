"""Sets that need no detector: distances that were made elsewhere, and photos that are aligned already."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from xfv_demo.calibration.calibration import Calibration
from xfv_demo.datasets.csv_pairs import read_distances_csv
from xfv_demo.errors import DatasetError
from xfv_demo.evaluation.accuracy.evaluate import evaluate

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def distances():
    """60 genuine and 60 impostor pairs that overlap a little."""
    rng = np.random.default_rng(3)
    made = np.concatenate([rng.normal(0.4, 0.15, 60), rng.normal(0.9, 0.15, 60)]).clip(0, 2).round(6)
    return made, np.repeat([True, False], 60)


@pytest.fixture
def scores(tmp_path, distances):
    path = tmp_path / "scores.csv"
    lines = [f"{distance},{int(label)}" for distance, label in zip(*distances, strict=True)]
    path.write_text("\n".join(["distance,genuine", *lines]))
    return path


@pytest.fixture
def no_model(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("no model is to be loaded")

    monkeypatch.setattr("xfv_demo.models.loading.load_embedder", refuse)


def written(path, text):
    path.write_text(text)
    return path


def refused(done, *words):
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


class TestRead:
    def test_distances(self, tmp_path):
        text = "Genuine, distance ,FOLD\n1,0.25,7\n\nno,2,3\ndifferent,-0.0000005,7\nsame,2.0000005,3\n"
        read = read_distances_csv(written(tmp_path / "mine.csv", text))
        assert read.name == "mine"
        assert read.distances.tolist() == [0.25, 2, 0, 2]
        assert read.genuine.tolist() == [True, False, False, True]
        assert read.folds.tolist() == [1, 0, 1, 0]
        assert (read.genuine_pairs, read.impostor_pairs) == (2, 2)

    def test_similarities(self, tmp_path):
        text = "first,second,similarity,genuine\na,b,1,1\na,c,-1,0\nb,c,0.25,0\n"
        read = read_distances_csv(written(tmp_path / "mine.csv", text))
        assert read.distances.tolist() == [0, 2, 0.75]

    def test_folds_of_both_classes(self, scores):
        read = read_distances_csv(scores)
        for fold in range(10):
            assert np.count_nonzero(read.genuine[read.folds == fold]) == 6
            assert np.count_nonzero(~read.genuine[read.folds == fold]) == 6

    @given(st.lists(st.tuples(st.floats(0, 2), st.booleans()), min_size=2, max_size=30))
    def test_every_distance_comes_back(self, tmp_path_factory, rows):
        path = tmp_path_factory.mktemp("any") / "any.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("distance", "genuine"), *((d, int(same)) for d, same in rows)])
        if len({same for _, same in rows}) == 1:
            with pytest.raises(DatasetError, match="pairs only"):
                read_distances_csv(path)
            return
        read = read_distances_csv(path)
        assert list(zip(read.distances.tolist(), read.genuine.tolist(), strict=True)) == rows

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("", "distance,genuine"),
            ("distance,genuine\n", "holds no pairs"),
            ("distance,genuine\nnan,1\n0.5,0\n", 'line 2: the distance "nan" is no number from 0 to 2'),
            ("distance,genuine\n0.5,1\ninf,0\n", 'line 3: the distance "inf"'),
            ("distance,genuine\n,1\n0.5,0\n", 'line 2: the distance ""'),
            ("distance,genuine\n0.5,1\n2.001,0\n", 'line 3: the distance "2.001"'),
            ("distance,genuine\n-0.001,1\n0.5,0\n", 'line 2: the distance "-0.001"'),
            ("similarity,genuine\n1.001,1\n0.5,0\n", 'the similarity "1.001" is no number from -1 to 1'),
            ("similarity,genuine\nnan,1\n0.5,0\n", 'the similarity "nan"'),
            ("distance,genuine\n0.5,1\n0.6,1\n", "genuine pairs only"),
            ("distance,genuine\n0.5,0\n0.6,0\n", "impostor pairs only"),
            ("distance,genuine\n0.5,maybe\n", '"maybe" in genuine'),
            ("distance,genuine,fold\n0.5,1,x\n", 'the fold "x" is no whole number'),
            ("distance,genuine,folds\n0.5,1,1\n", 'unknown column "folds"'),
            ("score,genuine\n0.5,1\n", 'unknown column "score"'),
            ("distance;genuine\n0.5;1\n", "unknown column"),
            ("distance,fold\n0.5,1\n", 'has the columns "distance, fold"'),
            ("distance,similarity,genuine\n0.5,0.5,1\n", "distance, similarity, genuine"),
            ("distance,genuine,genuine\n0.5,1,1\n", "twice"),
            ("distance,genuine\n0,5,1\n", "line 2 has 3 cells"),
            ('distance,genuine\n"0.5,1\n', "is no line of a CSV"),
        ],
    )
    def test_refuses(self, tmp_path, text, words):
        with pytest.raises(DatasetError) as caught:
            read_distances_csv(written(tmp_path / "mine.csv", text))
        assert str(caught.value).startswith('"mine.csv"')
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
class TestEvaluate:
    def test_the_report_is_that_of_the_distances(self, run_here, no_model, scores, distances, tmp_path):
        done = run_here("evaluate", "pairs", "--distances", scores, "--model", "their/arc", "--seed", 5)
        assert done.returncode == 0, done.stderr
        assert "arc on scores, 120 pairs" in done.stdout
        report = json.loads((tmp_path / "results" / "arc-scores.json").read_text())
        made, genuine = distances
        folds = np.tile(np.arange(60) * 10 // 60, 2)
        rng = np.random.default_rng(5)
        expected = evaluate(
            made, genuine, folds, model="arc", model_sha256=None, dataset="scores", rng=rng, method="beta"
        ).to_dict()
        told = {"library_versions", "seed"}
        assert {key: report[key] for key in report if key not in told} == {
            key: value for key, value in expected.items() if key not in told
        }
        assert set(report["library_versions"]) == {"python", "numpy", "scipy", "xfv-demo"}
        assert len(list((tmp_path / "results").glob("arc-scores-*.png"))) >= 3

    def test_a_model_without_a_name(self, run_here, scores, tmp_path):
        assert run_here("evaluate", "pairs", "--distances", scores, "--dataset", "ours").returncode == 0
        assert json.loads((tmp_path / "results" / "unnamed-ours.json").read_text())["model"] == "unnamed"

    def test_far_more_pairs_of_one_class_are_cut_down(self, run_here, scores, tmp_path):
        scores.write_text(scores.read_text() + "\n1.1,0" * 100)
        done = run_here("evaluate", "pairs", "--distances", scores)
        assert done.returncode == 0, done.stderr
        assert "60 genuine and 160 impostor pairs; an even 60 of each are used" in done.stderr
        report = json.loads((tmp_path / "results" / "unnamed-scores.json").read_text())
        assert report["pairs"] == {"genuine": 60, "impostor": 60}

    def test_a_single_fold_is_cut_anew(self, run_here, tmp_path, distances):
        lines = [f"{d},{int(label)},4" for d, label in zip(*distances, strict=True)]
        path = written(tmp_path / "one.csv", "\n".join(["distance,genuine,fold", *lines]))
        assert run_here("evaluate", "pairs", "--distances", path).returncode == 0
        report = json.loads((tmp_path / "results" / "unnamed-one.json").read_text())
        assert len(report["accuracy"]["folds"]) == 10

    @pytest.mark.parametrize(
        ("words", "named"),
        [
            ((), ("--data", "--distances")),
            (("--distances", "nowhere.csv"), ("nowhere.csv",)),
            (("--distances", "scores.csv", "--data", "scores.csv"), ("--distances", "--data")),
            (("--distances", "scores.csv", "--aligned"), ("--distances", "--aligned")),
            (("--distances", "few.csv"), ("19 genuine", "20")),
            (("--distances", "swapped.csv"), ("labels exchanged",)),
            (("--distances", "."), ("is no file",)),
        ],
    )
    @pytest.mark.parametrize("command", [("evaluate", "pairs"), ("calibrate",)])
    def test_bad_input_leaves_nothing(self, run_here, no_model, scores, tmp_path, command, words, named):
        lines = scores.read_text().splitlines()
        written(tmp_path / "few.csv", "\n".join(lines[:20] + lines[-30:]))
        swapped = [line[:-1] + str(1 - int(line[-1])) for line in lines[1:]]
        written(tmp_path / "swapped.csv", "\n".join([lines[0], *swapped]))
        before = sorted(tmp_path.iterdir())
        refused(run_here(*command, *words, "--model", "arc"), *named)
        assert sorted(tmp_path.iterdir()) == before

    def test_no_tensorflow_is_imported(self, run_python, scores, tmp_path):
        program = (
            "import sys\nfrom xfv_demo.cli.app import app\n"
            f"app(['evaluate', 'pairs', '--distances', {str(scores)!r}], standalone_mode=False)\n"
            "print(*(name for name in ('tensorflow', 'keras', 'openvino', 'mtcnn') if name in sys.modules))"
        )
        done = run_python("-c", program, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == ""


class TestCalibrate:
    def test_the_named_models_calibration(self, run_here, no_model, scores, distances, tmp_path, monkeypatch):
        monkeypatch.setenv("XFV_CACHE", str(tmp_path / "cache"))
        done = run_here("calibrate", "--distances", scores, "--model", "arc")
        assert done.returncode == 0, done.stderr
        assert "nothing tells whether the distances are of the weights" in done.stdout
        kept = Calibration.load(tmp_path / "cache" / "calibrations" / "arc-scores.json")
        assert (kept.model, kept.model_sha256, kept.dataset) == ("arc", None, "scores")
        assert kept.threshold == Calibration.fit(*distances, method="beta").threshold

    def test_too_few_are_told_as_such(self, run_here, tmp_path):
        path = written(tmp_path / "two.csv", "distance,genuine\n0.2,1\n0.9,0\n")
        refused(
            run_here("calibrate", "--distances", path, "--model", "arc"), "at least 20 of each are needed"
        )

    def test_whose_distances_they_are_must_be_said(self, run_here, scores):
        refused(run_here("calibrate", "--distances", scores), "--model")


class Brightness:
    """An embedder on paper: e = (cos, sin) of the middle pixel's brightness times pi."""

    name, sha256, fingerprint, dimensions = "brightness", "0" * 64, "brightness", 2

    def embed(self, images):
        angle = images[:, 56, 56, 0] * math.pi
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


@pytest.mark.slow
class TestAlignedSets:
    """Two people, a dark and a light one, 25 aligned pictures of each."""

    @pytest.fixture
    def people(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XFV_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("xfv_demo.models.loading.load_embedder", lambda *_, **__: Brightness())
        monkeypatch.setattr("xfv_demo.batch.embed.MtcnnDetector.detect", None)
        folder = tmp_path / "people"
        for name, base in (("Dark", 40), ("Light", 130)):
            (folder / name).mkdir(parents=True)
            for number in range(1, 26):
                picture = Image.new("L", (112, 112), base + 2 * number)
                picture.save(folder / name / f"{name}_{number:04d}.jpg", quality=100)
        return folder

    @pytest.fixture
    def pairs_csv(self, people):
        rows = [(f"{name}/{name}_0001.jpg", f"{name}/{name}_{number:04d}.jpg", 1)
                for name in ("Dark", "Light") for number in range(2, 26)]  # fmt: skip
        rows += [
            (f"Dark/Dark_{number:04d}.jpg", f"Light/Light_{number:04d}.jpg", 0) for number in range(1, 26)
        ]
        rows += [(f"Dark/Dark_{number:04d}.jpg", "Light/Light_0025.jpg", 0) for number in range(1, 25)]
        path = people / "pairs.csv"
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("first", "second", "genuine"), *rows])
        return path

    def test_no_face_is_looked_for(self, run_here, pairs_csv, tmp_path):
        done = run_here("evaluate", "pairs", "--data", pairs_csv, "--aligned")
        assert done.returncode == 0, done.stderr
        report = json.loads((tmp_path / "results" / "brightness-pairs.json").read_text())
        assert report["face"] is None
        assert report["failures"] == []
        assert report["pairs"] == {"genuine": 48, "impostor": 49}
        assert report["accuracy"]["mean"] > 0.9

    def test_lfws_own_lists(self, run_here, people, tmp_path):
        genuine = [f"{name} {number} {number + 1}" for name in ("Dark", "Light") for number in range(1, 25)]
        impostor = [f"Dark {number} Light {26 - number}" for number in range(1, 25)]
        impostor += [f"Dark {number} Light {25 - number}" for number in range(1, 25)]
        lines = ["2\t24", *genuine[:24], *impostor[:24], *genuine[24:], *impostor[24:]]
        written(people / "pairs.txt", "\n".join(lines))
        done = run_here("evaluate", "lfw", "--data", people, "--aligned")
        assert done.returncode == 0, done.stderr
        report = json.loads((tmp_path / "results" / "brightness-lfw.json").read_text())
        assert (report["face"], report["pairs"]) == (None, {"genuine": 48, "impostor": 48})

    def test_calibrate(self, run_here, pairs_csv, tmp_path):
        done = run_here(
            "calibrate", "--data", pairs_csv, "--aligned", "--dataset", "grey", "--out", "kept.json"
        )
        assert done.returncode == 0, done.stderr
        assert Calibration.load(tmp_path / "kept.json").genuine_pairs == 48

    @pytest.mark.parametrize("command", [("evaluate", "pairs"), ("evaluate", "lfw"), ("calibrate",)])
    def test_another_size_is_refused(self, run_here, people, pairs_csv, tmp_path, command):
        for path in people.rglob("*.jpg"):
            Image.new("L", (250, 200)).save(path)
        written(people / "pairs.txt", "1 1\nDark 1 2\nDark 1 Light 1\n")
        data = people if "lfw" in command else pairs_csv
        refused(run_here(*command, "--data", data, "--aligned"), "Dark_0001.jpg", "250 x 200", "112 x 112")
        assert not (tmp_path / "results").exists()

    def test_a_few_of_another_size_are_named_and_left_out(self, run_here, people, pairs_csv, tmp_path):
        (people / "Dark" / "Dark_0001.jpg").write_bytes(b"damaged")
        Image.new("L", (250, 200)).save(people / "Light" / "Light_0024.jpg")
        done = run_here("calibrate", "--data", pairs_csv, "--aligned", "--out", "kept.json")
        assert done.returncode == 0, done.stderr
        assert "Light_0024.jpg" in done.stderr
        assert "Dark_0001.jpg" in done.stderr
        assert Calibration.load(tmp_path / "kept.json").genuine_pairs == 23
