"""The command line: two commands run as a user runs them, the others in this process."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import typer
from onnx import helper
from PIL import Image

from tests.models.onnx_files import POOL, write_network
from xfv_demo.cli.options import app

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "assets" / "examples"


PAIR = (EXAMPLES / "obama.jpg", EXAMPLES / "obama2.jpg")


def refused(done, *words):
    """Bad input: status 2, nothing on standard output, one line on standard error with these words."""
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_verify_prints_one_json_object(run_python, tmp_path):
    words = ("verify", *PAIR, "--json", "--model", "mobilefacenet")
    done = run_python("-m", "xfv_demo", *words, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert document["model"] == "mobilefacenet"
    assert document["same_person"] is True
    assert 0 < document["distance"] < document["threshold"]
    assert {"calibration", "confidence"} <= set(document)


def test_verify_in_words(run_model):
    done = run_model("verify", EXAMPLES / "obama.jpg", EXAMPLES / "biden.jpg", "--model", "mobilefacenet")
    assert done.returncode == 0
    assert done.stdout.startswith("DIFFERENT PEOPLE")
    assert "obama.jpg" in done.stdout


def test_a_missing_photo(run_here):
    refused(run_here("verify", "nowhere.jpg", EXAMPLES / "biden.jpg"), "nowhere.jpg")


def test_a_photo_that_is_none(run_here, tmp_path):
    (tmp_path / "notes.jpg").write_text("these are notes")
    refused(run_here("verify", EXAMPLES / "obama.jpg", "notes.jpg"), "notes.jpg")


def test_a_face_that_is_not_there(run_model):
    photos = (EXAMPLES / "obama.jpg", EXAMPLES / "biden.jpg")
    refused(run_model("verify", *photos, "--face-b", "7", "--model", "mobilefacenet"), "biden.jpg", "7")


def test_a_photo_without_a_face(run_model, tmp_path):
    Image.new("RGB", (200, 200), "grey").save(tmp_path / "wall.png")
    done = run_model("verify", "wall.png", EXAMPLES / "biden.jpg", "--model", "mobilefacenet")
    refused(done, "wall.png", "no face")


def test_a_model_that_is_none(run_here):
    photos = (EXAMPLES / "obama.jpg", EXAMPLES / "biden.jpg")
    refused(run_here("verify", *photos, "--model", "no-such-model"), "no-such-model", "mobilefacenet")


def test_fetching_an_unknown_model(run_here):
    refused(run_here("fetch", "facenet"), "facenet", "arcface-octuplet")


@pytest.mark.slow
def test_auto_without_a_network_says_why(run_here, tmp_path):
    """A proxy that nobody serves stands in for a machine without a network."""
    done = run_here(
        "verify", EXAMPLES / "obama.jpg", EXAMPLES / "obama2.jpg", "--json",
        HTTPS_PROXY="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9", XFV_CACHE=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["model"] == "mobilefacenet"
    assert "arcface-octuplet could not be fetched" in document["notices"][0]


@pytest.mark.parametrize("words", [("--method", "guesswork"), ("--calibration", "nowhere")])
def test_a_calibration_asked_for_must_be_there(run_model, words):
    photos = (EXAMPLES / "obama.jpg", EXAMPLES / "biden.jpg")
    refused(run_model("verify", *photos, "--model", "mobilefacenet", *words), words[1])


def test_an_uncalibrated_model_says_how_to_calibrate_it(run_model, tmp_path):
    shutil.copytree(ROOT / "assets" / "models" / "mobilefacenet", tmp_path / "my model")
    photos = (EXAMPLES / "obama.jpg", EXAMPLES / "biden.jpg")
    done = run_model("verify", *photos, "--json", "--model", tmp_path / "my model")
    document = json.loads(done.stdout)
    assert document["confidence"] is None
    assert document["calibration"] is None
    assert any(f"prepare --model '{tmp_path / 'my model'}'" in notice for notice in document["notices"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where the one real run of `explain` happens."""
    return tmp_path_factory.mktemp("explain")


@pytest.fixture(scope="module")
def done(folder, run_python):
    words = ("explain", *PAIR, "--out", "new/out", "--model", "mobilefacenet")
    return run_python("-m", "xfv_demo", *words, cwd=folder)


@pytest.fixture(scope="module")
def report(done, folder):
    return json.loads((folder / "new" / "out" / "report.json").read_text())


class TestExplain:
    FILES = ("figure.png", "maps.npz", "occlusion.png", "report.json", "xssab.png")

    def test_writes_what_it_promises_and_nothing_else(self, done, folder):
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        assert sorted(path.name for path in (folder / "new" / "out").iterdir()) == list(self.FILES)
        for path in (folder / "new" / "out").glob("*.png"):
            with Image.open(path) as image:
                image.load()

    def test_tells_what_it_found(self, done, report):
        assert done.stdout.startswith("SAME PERSON")
        for method in ("occlusion", "xssab"):
            assert report["methods"][method]["summary"] in done.stdout
        assert done.stdout.endswith(f"{', '.join(self.FILES)}\n")

    def test_reports_the_numbers_of_verify(self, report, run_model):
        verdict = json.loads(run_model("verify", *PAIR, "--json", "--model", "mobilefacenet").stdout)
        about = {"model_sha256", "engine", "versions", "command", "methods"}
        assert set(report) == {*verdict, *about}
        assert {key: report[key] for key in verdict} == verdict

    def test_reports_how_to_do_it_again(self, report, embedder):
        assert report["command"].startswith("python -m xfv_demo explain ")
        assert report["command"].endswith("obama2.jpg --out new/out --model mobilefacenet")
        assert report["model_sha256"] == embedder.sha256
        assert report["engine"] == embedder.engine

    def test_explains_the_distance_that_was_measured(self, report):
        for method in report["methods"].values():
            for explanation in method["explanations"].values():
                assert explanation["distance"] == pytest.approx(report["distance"], abs=1e-5)
                assert explanation["progress"] == 1

    def test_xssab_has_its_threshold_from_the_calibration(self, report):
        from xfv_demo import load_calibration

        explanation = report["methods"]["xssab"]["explanations"]["xssab"]
        expected = 1 - load_calibration("mobilefacenet").eer_threshold
        assert explanation["parameters"]["threshold"] == pytest.approx(expected)
        assert expected != pytest.approx(1 - report["threshold"])

    def test_keeps_raw_maps(self, folder, report, aligned):
        with np.load(folder / "new" / "out" / "maps.npz") as maps:
            assert len(maps) == 2 + 2 * (3 + 3)
            np.testing.assert_allclose(maps["probe_aligned"], aligned["obama"], atol=1e-6)
            scale = report["methods"]["occlusion"]["explanations"]["paired"]["reference_scale"]
            assert np.abs(maps["occlusion_paired_reference"]).max() == pytest.approx(scale)

    def test_one_method_in_other_colours(self, run_model, tmp_path):
        words = ("--model", "mobilefacenet", "--methods", " xssab,xssab, ", "--palette", "orange-blue")
        done = run_model("explain", *PAIR, "--out", tmp_path / "out", *words)
        assert done.returncode == 0, done.stderr
        names = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert names == ["figure.png", "maps.npz", "report.json", "xssab.png"]

    def test_an_uncalibrated_model(self, run_model, tmp_path):
        shutil.copytree(ROOT / "assets" / "models" / "mobilefacenet", tmp_path / "mine")
        done = run_model("explain", *PAIR, "--out", "out", "--model", "mine", "--methods", "xssab")
        assert done.returncode == 0, done.stderr
        assert "not calibrated" in done.stdout
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        assert report["confidence"] is None
        parameters = report["methods"]["xssab"]["explanations"]["xssab"]["parameters"]
        assert parameters["threshold"] == pytest.approx(1 - report["threshold"])

    @pytest.mark.parametrize(
        ("words", "named"),
        [
            (("nowhere.jpg", PAIR[1]), ("nowhere.jpg", "check the path")),
            ((PAIR[0], "notes.jpg"), ("notes.jpg",)),
            ((PAIR[0], "wall.png"), ("wall.png", "no face")),
            ((*PAIR, "--face-a", "3"), ("obama.jpg", "3")),
            ((*PAIR, "--methods", "occlusion,guesswork"), ("guesswork", "occlusion, xssab")),
            ((*PAIR, "--methods", " , "), ("no method", "occlusion, xssab")),
            ((*PAIR, "--palette", "plaid"), ("plaid", "orange-blue")),
            ((*PAIR, "--calibration", "nowhere"), ("nowhere",)),
            ((*PAIR, "--method", "guesswork"), ("guesswork",)),
            ((*PAIR, "--model", "no-such-model"), ("no-such-model", "mobilefacenet")),
            # Said before a photo is read: so before all the work.
            (("nowhere.jpg", PAIR[1], "--out", "notes.jpg"), ("notes.jpg", "is a file, not a folder")),
            (("nowhere.jpg", PAIR[1], "--out", "notes.jpg/out"), ("notes.jpg", "is a file, not a folder")),
        ],
        ids=[
            "missing photo", "no photo", "no face", "no such face", "unknown method", "no method", "palette",
            "calibration", "calibration's method", "model", "out is a file", "out is below a file",
        ],
    )  # fmt: skip
    def test_bad_input_leaves_nothing(self, run_model, tmp_path, words, named):
        Image.new("RGB", (200, 200), "grey").save(tmp_path / "wall.png")
        (tmp_path / "notes.jpg").write_text("these are notes")
        options = {"--out": "new/out", "--model": "mobilefacenet"}
        words = [*words, *(word for pair in options.items() if pair[0] not in words for word in pair)]
        refused(run_model("explain", *words), *named)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.jpg", "wall.png"]

    def test_what_cannot_be_written_together_is_not_written(self, run_model, tmp_path):
        (tmp_path / "out" / "xssab.png").mkdir(parents=True)
        words = ("--model", "mobilefacenet", "--methods", "xssab")
        refused(run_model("explain", *PAIR, "--out", "out", *words), "xssab.png", "a folder has this name")
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["xssab.png"]

    def test_help_names_all_methods_and_those_of_the_default(self):
        from xfv_demo import EXPLAINERS
        from xfv_demo.pipeline import DEFAULT_METHODS

        explain = typer.main.get_command(app).commands["explain"]
        (option,) = [one for one in explain.params if one.name == "methods"]
        assert f": {', '.join(EXPLAINERS)}." in option.help
        assert option.help.endswith(f" {' and '.join(DEFAULT_METHODS)} that the model allows.")
        assert option.default is None

    def test_of_its_defaults_it_leaves_out_what_the_model_does_not_allow(self, run_model, tmp_path):
        """And says so; what was asked for by name ends it."""
        # Rounded up, a number has no slope.
        rounded = (
            helper.make_node("Ceil", ["image"], ["rounded"]),
            helper.make_node("Add", ["rounded", "image"], ["both"]),
        )
        pooled = helper.make_node("GlobalAveragePool", ["both"], ["pooled"])
        network = write_network(tmp_path / "mean.onnx", nodes=(*rounded, pooled, POOL[1]))
        pixels = ("--model", network, "--input-range", "0..1", "--channels", "rgb")
        done = run_model("explain", *PAIR, "--out", "out", *pixels)
        assert done.returncode == 0, done.stderr
        assert re.search(r'xssab +not computed: model "mean" gives no gradients', done.stdout)
        assert json.loads((tmp_path / "out" / "report.json").read_text())["methods"].keys() == {"occlusion"}
        refused(
            run_model("explain", *PAIR, "--out", "no", *pixels, "--methods", "xssab"), "gives no gradients"
        )
        assert not (tmp_path / "no").exists()

    def test_a_map_that_is_no_evidence_has_its_own_words(self, run_model, tmp_path):
        done = run_model(
            "explain", *PAIR, "--out", "out", "--model", "mobilefacenet", "--methods", "grid,xcos"
        )
        assert done.returncode == 0, done.stderr
        names = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert names == ["figure.png", "grid.png", "maps.npz", "report.json", "xcos.png"]
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        for side in report["methods"]["xcos"]["regions"]["attention"].values():
            assert all(shares["share"] == shares["net_share"] >= 0 for shares in side.values())
        explanation = report["methods"]["xcos"]["explanations"]["xcos"]
        assert set(explanation["numbers"]) == {"xcos"}


class TestBench:
    @pytest.fixture
    def measured(self, monkeypatch):
        """What it was asked to measure; measuring itself takes no time."""
        from xfv_demo.evaluation.latency import measure
        from xfv_demo.evaluation.latency.report import MethodTiming, SpeedReport, Timing

        asked = []

        def measure_speed(models, *, progress):
            asked.extend(models)
            progress(0, 1)
            timings = tuple(
                Timing(name, "by hand", 0.1, 0.2, total, 36, 500.0, 600.0, 0.9999)
                for name, total in (("published", 50.0), ("OpenVINO", 4.0))
            )
            methods = (MethodTiming("occlusion", "by hand", 0.1, 4.0, 36),)
            return SpeedReport(
                dict.fromkeys(models, timings),
                dict.fromkeys(models, methods),
                2,
                "x86_64",
                {},
                ("one thing: why",),
            )

        monkeypatch.setattr(measure, "measure_speed", measure_speed)
        return asked

    def test_prints_a_table_and_writes_json(self, run_here, measured, tmp_path):
        done = run_here("bench", "--models", "mobilefacenet, a/folder", "--out", "new/speed.json")
        assert done.returncode == 0, done.stderr
        assert measured == ["mobilefacenet", "a/folder"]
        assert "12.5 x" in done.stdout
        assert "Left out: one thing: why" in done.stdout
        document = json.loads((tmp_path / "new" / "speed.json").read_text())
        assert [one["speedup"] for one in document["models"]["a/folder"]] == [1, 12.5]
        assert [one["of_occlusion"] for one in document["methods"]["a/folder"]] == [1]

    def test_measures_the_bundled_model_and_a_resnet(self, run_here, measured, tmp_path):
        assert run_here("bench").returncode == 0
        assert measured == ["mobilefacenet", "resnet50"]
        assert list(tmp_path.iterdir()) == []

    def test_puts_its_tables_between_a_documents_marks(self, run_here, measured, tmp_path):
        document = tmp_path / "speed.md"
        document.write_text("before\n<!-- speed -->\nold\n<!-- /speed -->\nafter\n")
        assert run_here("bench", "--models", "mobilefacenet", "--into", "speed.md").returncode == 0
        before, *told, after = document.read_text().splitlines()
        assert (before, after) == ("before", "after")
        assert "old" not in told
        numbers = "0.10 s | 0.20 s | 4.00 s | 12.5 | 600 MB | 0.99990"
        assert f"| mobilefacenet, OpenVINO | {numbers} |" in told
        assert "| mobilefacenet, occlusion | 0.10 s | 4.00 s | 1.00 |" in told

    def test_a_document_without_marks_is_refused_before_the_work(self, run_here, measured, tmp_path):
        (tmp_path / "speed.md").write_text("nothing")
        refused(run_here("bench", "--into", "speed.md"), "speed.md", "<!-- speed -->")
        assert measured == []

    @pytest.mark.parametrize("place", ["folder", "file/speed.json"])
    def test_a_place_for_no_file_is_refused_before_the_work(self, run_here, measured, tmp_path, place):
        (tmp_path / "folder").mkdir()
        (tmp_path / "file").write_text("")
        refused(run_here("bench", "--out", place), place, "choose another place")
        assert measured == []

    @pytest.mark.parametrize(("models", "word"), [("nonsense", "nonsense"), (",", "resnet50")])
    def test_models_that_are_none(self, run_here, models, word):
        refused(run_here("bench", "--models", models), word, "mobilefacenet")


def test_wrong_words_end_in_one_line(run_here):
    refused(run_here("verify", "a.jpg"), "B")
    refused(run_here("verify", "a.jpg", "b.jpg", "--face-a", "first"), "--face-a")
    refused(run_here("explode"), "explode")


def test_help(run_here):
    done = run_here("verify", "--help")
    assert done.returncode == 0
    assert "--face-a" in done.stdout


def test_version(run_here):
    import xfv_demo

    assert run_here("--version").stdout.strip() == xfv_demo.__version__
