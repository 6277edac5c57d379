"""Which faces, which threshold, aligned photos: from the command line to the verdict, with known answers."""

import itertools
import json
import math
import threading
from subprocess import CompletedProcess

import numpy as np
import pytest
from PIL import Image

from xfv_demo import Calibration, Verifier
from xfv_demo.cli import app
from xfv_demo.errors import FaceNotFoundError, ImageError, ModelError, XfvError
from xfv_demo.faces.alignment import ARCFACE_TEMPLATE
from xfv_demo.types import AlignedFace, Face

SIDE = 112
RED, ORANGE, GREEN, BLUE = (200, 0, 0), (200, 60, 0), (0, 200, 0), (0, 0, 200)
# On paper: e = colour / |colour|, so the cosine of red and orange is 200 / |orange|.
RED_TO_ORANGE = 1 - 200 / math.hypot(200, 60)


@pytest.fixture(autouse=True)
def _nothing_is_withheld(monkeypatch, request):
    """Of photos of one colour there would be no confidence to look at."""
    if request.node.name != "test_a_real_group":
        monkeypatch.setattr(Verifier, "_doubts", lambda *_: [])


class Colours:
    """An embedder that can be worked out on paper: the direction of the middle pixel's colour.

    Black, which a hidden pixel is, is at right angles to all colours.
    """

    name, sha256, engine = "colours", None, "paper"

    def __init__(self):
        self.batches = []

    def embed(self, images):
        self.batches.append(len(images))
        colours = images[:, 56, 56]
        length = np.linalg.norm(colours, axis=1, keepdims=True)
        black = (length == 0).astype(np.float32)
        return np.concatenate([colours / (length + black), black], axis=1)


class Tiles:
    """Finds a face in each 112 x 112 tile of a row, the first the largest."""

    def detect(self, photo):
        return [
            Face(
                np.array([left, 0, left + 110 - left // SIDE, SIDE - 1], np.float32),
                ARCFACE_TEMPLATE + np.array([left, 0], np.float32),
                0.99,
            )
            for left in range(0, photo.shape[1], SIDE)
        ]


class Never:
    def detect(self, photo):
        raise AssertionError("no face is to be looked for")


def row(*colours):
    return np.concatenate([np.full((SIDE, SIDE, 3), colour, np.uint8) for colour in colours], axis=1)


@pytest.fixture(scope="module")
def calibration():
    distances = np.concatenate([np.linspace(0, 0.6, 300), np.linspace(0.4, 1.2, 300)])
    return Calibration.fit(
        distances, np.repeat([True, False], 300), method="logistic", model="colours", dataset="paper"
    )


@pytest.fixture
def colours():
    return Colours()


@pytest.fixture
def here(tmp_path, monkeypatch, run_here, colours, calibration):
    """Runs `verify` and `explain` with the colours, the tiles, and their calibration; photos by name."""
    monkeypatch.setattr("xfv_demo.models.loading.load_embedder", lambda *_, **__: colours)
    monkeypatch.setattr("xfv_demo.verification.load_calibration", lambda *_, **__: calibration)
    monkeypatch.setattr("xfv_demo.faces.detection.MtcnnDetector", Tiles)
    for name, tiles in {
        "group": (BLUE, RED), "other": (GREEN, ORANGE, GREEN), "red": (RED,), "blue": (BLUE,)
    }.items():  # fmt: skip
        Image.fromarray(row(*tiles)).save(tmp_path / f"{name}.png")
    return run_here


def verdict(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(done, *words):
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


class TestAllFaces:
    def test_json_has_every_face_of_each_photo(self, here):
        document = verdict(here("verify", "group.png", "other.png", "--face-a", "1", "--json"))
        probe, reference = document["probe"], document["reference"]
        assert (probe["faces_found"], probe["face_index"], reference["face_index"]) == (2, 1, 0)
        assert [face["index"] for face in probe["faces"]] == [0, 1]
        assert [face["index"] for face in reference["faces"]] == [0, 1, 2]
        eyes = float(np.linalg.norm(ARCFACE_TEMPLATE[1] - ARCFACE_TEMPLATE[0]))
        for photo in (probe, reference):
            chosen = photo["faces"][photo["face_index"]]
            assert {"box", "landmarks", "score", "rotation", "eye_distance"} == set(chosen) - {"index"}
            for key in set(chosen) - {"index"}:
                assert photo[key] == chosen[key], "the chosen face's own values stay where they were"
            assert photo["eye_distance"] == pytest.approx(eyes, abs=0.01)
        assert probe["faces"][1]["box"] == [112, 0, 221, 111]

    def test_the_report_of_explain_has_them_too(self, here, tmp_path):
        done = here("explain", "group.png", "red.png", "--out", "out", "--methods", "corrrise")
        assert done.returncode == 0, done.stderr
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        assert len(report["probe"]["faces"]) == 2

    def test_people_get_a_table_below_the_verdict(self, here):
        plain = here("verify", "group.png", "other.png")
        done = here("verify", "group.png", "other.png", "--face-b", "2", "--faces")
        assert done.stdout.startswith("DIFFERENT PEOPLE")
        table = [line for line in done.stdout.splitlines() if line.startswith("│")]
        assert len(table) == 5
        assert "112, 0, 221, 111" in table[1]
        assert ["yes" in line for line in table] == [True, False, False, False, True]
        assert "│" not in plain.stdout

    def test_json_stays_one_object(self, here):
        assert verdict(here("verify", "red.png", "red.png", "--faces", "--json"))["distance"] == 0


class TestTheMostAlike:
    @pytest.mark.parametrize(
        ("words", "chosen", "pairs"),
        [
            (("--face", "best"), (1, 1), 6),
            (("--face-a", "best", "--face-b", "best"), (1, 1), 6),
            (("--face-a", "1", "--face-b", "best"), (1, 1), 3),
            (("--face-a", "best", "--face-b", "1"), (1, 1), 2),
            (("--face", "best", "--face-b", "1"), (1, 1), 2),
            (("--face", "best", "--face-a", "0", "--face-b", "0"), (0, 0), 1),
            ((), (0, 0), 1),
        ],
    )  # fmt: skip
    def test_is_chosen(self, here, words, chosen, pairs):
        document = verdict(here("verify", "group.png", "other.png", "--json", *words))
        assert (document["probe"]["face_index"], document["reference"]["face_index"]) == chosen
        assert document["pairs_compared"] == pairs
        expected = RED_TO_ORANGE if chosen == (1, 1) else 1
        assert document["distance"] == pytest.approx(expected, abs=1e-5)
        assert any(f"most alike of {pairs} pairs" in notice for notice in document["notices"]) is (pairs > 1)

    def test_all_faces_are_embedded_in_one_batch(self, colours):
        Verifier(colours, detector=Tiles()).verify(
            row(BLUE, RED), row(GREEN, ORANGE, GREEN), probe_face="best", reference_face="best"
        )
        assert colours.batches[0] == 5
        assert len(colours.batches) <= 2, "and the chosen pair at most once more"

    def test_the_odds_of_a_same_person_are_divided(self, colours, calibration):
        verifier = Verifier(colours, calibration, detector=Tiles())
        one = verifier.verify(row(RED), row(ORANGE))
        group = row(RED, *itertools.repeat(BLUE, 24))
        best = verifier.verify(group, row(ORANGE, GREEN), probe_face="best", reference_face="best")
        assert best.distance == pytest.approx(one.distance, abs=1e-6)
        assert best.same_person
        assert best.pairs_compared == 50
        odds = one.confidence / (1 - one.confidence)
        assert best.confidence == pytest.approx(odds / 50 / (1 + odds / 50), rel=1e-3)
        assert best.threshold_source == "calibration"

    def test_a_different_person_is_no_surer_for_the_choice(self, colours, calibration):
        verifier = Verifier(colours, calibration, detector=Tiles())
        one = verifier.verify(row(RED), row(GREEN))
        best = verifier.verify(row(RED), row(*[GREEN] * 9), reference_face="best")
        assert not best.same_person
        assert best.confidence == one.confidence

    def test_under_half_it_says_so(self, colours, calibration):
        """Just below the threshold, one pair is an even chance, and the closest of 20 is far from it."""
        angle = math.acos(1 - 0.95 * calibration.threshold)
        near = (round(200 * math.cos(angle)), round(200 * math.sin(angle)), 0)
        verifier = Verifier(colours, calibration, detector=Tiles())
        best = verifier.verify(row(RED), row(near, *[BLUE] * 19), reference_face="best")
        assert best.same_person
        assert best.confidence < 0.2
        assert any("under 50 %" in notice for notice in best.notices)

    def test_without_calibration_there_is_no_confidence_to_count_it_in(self, colours):
        best = Verifier(colours, detector=Tiles()).verify(row(RED), row(RED, BLUE), reference_face="best")
        assert best.confidence is None
        (notice,) = [notice for notice in best.notices if "most alike of 2 pairs" in notice]
        assert "confidence" not in notice

    @pytest.mark.parametrize("option", ["--face-a", "--face-b"])
    @pytest.mark.parametrize("word", ["first", "1.5", ""])
    def test_other_words_are_refused(self, monkeypatch, capsys, option, word):
        """As the program itself does it: whatever the parser refuses becomes one line there."""
        monkeypatch.setattr(app, "silence_native_libraries", lambda: None)
        monkeypatch.setattr("sys.argv", ["xfv-demo", "verify", "a.png", "b.png", f"{option}={word}"])
        with pytest.raises(SystemExit) as end:
            app.main()
        refused(CompletedProcess((), end.value.code, *capsys.readouterr()), option, "best")

    def test_a_number_that_is_not_there(self, here):
        words = ("--face", "best", "--face-b", "7")
        refused(here("verify", "group.png", "other.png", *words), "other.png", "no face number 7")

    def test_explain_explains_that_pair(self, here, tmp_path):
        words = ("--out", "out", "--methods", "corrrise", "--face", "best")
        done = here("explain", "group.png", "other.png", *words)
        assert done.returncode == 0, done.stderr
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        assert (report["probe"]["face_index"], report["reference"]["face_index"]) == (1, 1)
        assert "most alike of 6 pairs" in done.stdout
        explained = report["methods"]["corrrise"]["explanations"]["corrrise"]
        assert explained["distance"] == pytest.approx(report["distance"], abs=1e-5)


class TestOwnThreshold:
    def test_the_decision_follows_it(self, here, calibration):
        own = verdict(here("verify", "red.png", "group.png", "--json", "--threshold", "1.5"))
        calibrated = verdict(here("verify", "red.png", "group.png", "--json"))
        assert (own["same_person"], calibrated["same_person"]) == (True, False)
        assert (own["threshold"], own["threshold_source"]) == (1.5, "given")
        assert calibrated["threshold_source"] == "calibration"
        assert calibrated["threshold"] == pytest.approx(calibration.threshold, abs=1e-6)
        # As small as 300 pairs of each class carry.
        assert own["confidence"] == pytest.approx(1 - calibration.largest_confidence, abs=1e-6)
        assert own["confidence"] < 0.5 < calibrated["confidence"]
        assert any("1.500 was given" in notice for notice in own["notices"])
        assert any("under 50 %" in notice for notice in own["notices"])

    @pytest.mark.parametrize("threshold", [0.01, 0.3, 1.0, 1.9])
    @pytest.mark.parametrize("colour", [RED, ORANGE, BLUE])
    def test_the_confidence_is_how_likely_the_decision_is(self, colours, calibration, threshold, colour):
        found = Verifier(colours, calibration, detector=Tiles(), threshold=threshold).verify(
            row(RED), row(colour)
        )
        bounds = calibration.probability_bounds()
        probability = np.clip(calibration.probability(found.distance), bounds.low, bounds.high)
        assert found.same_person is (found.distance < threshold)
        assert found.confidence == pytest.approx(probability if found.same_person else 1 - probability)

    def test_nothing_is_shown_as_zero(self, here):
        done = here("verify", "red.png", "red.png", "--threshold", "0.0001")
        assert done.stdout.startswith("SAME PERSON")
        done = here("verify", "red.png", "blue.png", "--threshold", "2")
        assert done.stdout.startswith("SAME PERSON")
        assert " 0.0 %" not in done.stdout

    def test_without_calibration(self, colours):
        found = Verifier(colours, detector=Tiles(), threshold=0.5).verify(row(RED), row(ORANGE))
        assert (found.threshold, found.threshold_source, found.confidence) == (0.5, "given", None)
        assert not any("provisional" in notice for notice in found.notices)
        assert (
            Verifier(colours, detector=Tiles()).verify(row(RED), row(RED)).threshold_source == "provisional"
        )

    @pytest.mark.parametrize("threshold", [0, -0.1, 2.000001, math.nan, math.inf, -math.inf])
    def test_others_are_refused(self, here, colours, threshold):
        refused(here("verify", "nowhere.png", "red.png", "--threshold", threshold), "above 0 and up to 2")
        with pytest.raises(XfvError, match="above 0 and up to 2"):
            Verifier(colours, threshold=threshold)
        with pytest.raises(XfvError, match="above 0 and up to 2"):
            Verifier.calibrated(colours, threshold=threshold)

    def test_two_is_none_too_many(self, colours):
        assert Verifier(colours, detector=Tiles(), threshold=2).verify(row(RED), row(BLUE)).same_person

    def test_explain_takes_it(self, here, tmp_path):
        words = ("--out", "out", "--methods", "corrrise", "--threshold", "0.01")
        assert here("explain", "red.png", "other.png", *words).returncode == 0
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        assert (report["threshold"], report["threshold_source"]) == (0.01, "given")


class TestSideBySide:
    """The faces are found in a thread of their own while the model loads in the main one."""

    def test_neither_waits_for_the_other(self, here, colours, monkeypatch):
        looking, loading = threading.Event(), threading.Event()

        class Meets(Tiles):
            def detect(self, photo):
                looking.set()
                assert loading.wait(60), "no model loads while faces are looked for"
                return super().detect(photo)

        def load(*_, **__):
            loading.set()
            assert looking.wait(60), "no face is looked for while the model loads"
            return colours

        monkeypatch.setattr("xfv_demo.faces.detection.MtcnnDetector", Meets)
        monkeypatch.setattr("xfv_demo.models.loading.load_embedder", load)
        assert verdict(here("verify", "red.png", "red.png", "--json"))["same_person"]

    @pytest.mark.parametrize(
        ("error", "status"),
        [(ModelError("the model is broken"), 2), (KeyboardInterrupt(), 130)],
        ids=["model", "Ctrl-C"],
    )
    def test_what_ends_one_ends_both(self, here, monkeypatch, error, status):
        failing = threading.Event()

        class Waits(Tiles):
            def detect(self, photo):
                assert failing.wait(60)
                return super().detect(photo)

        def fail(*_, **__):
            failing.set()
            raise error

        monkeypatch.setattr("xfv_demo.faces.detection.MtcnnDetector", Waits)
        monkeypatch.setattr("xfv_demo.models.loading.load_embedder", fail)
        done = here("verify", "red.png", "blue.png")
        assert (done.returncode, done.stdout) == (status, "")
        assert str(error) in done.stderr
        assert done.stderr.count("\n") <= 1

    def test_a_photo_without_a_face_is_told_of(self, here, monkeypatch):
        monkeypatch.setattr(Tiles, "detect", lambda *_: [])
        refused(here("verify", "red.png", "blue.png"), '"red.png" shows no face')


class TestAlignedPhotos:
    @pytest.fixture(autouse=True)
    def no_detector(self, here, monkeypatch):
        for module in ("verification", "faces.detection"):
            monkeypatch.setattr(f"xfv_demo.{module}.MtcnnDetector", Never)

    def test_are_taken_as_they_are(self, colours, rng):
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        found = Verifier(colours).verify(pixels, row(RED), aligned=True)
        np.testing.assert_array_equal(found.probe.aligned, pixels.astype(np.float32) / np.float32(255))
        assert isinstance(found.probe, AlignedFace)
        assert not found.probe.detected

    def test_what_was_not_looked_for_is_not_told(self, here):
        document = verdict(here("verify", "red.png", "blue.png", "--aligned", "--json"))
        for photo in (document["probe"], document["reference"]):
            for key in (
                "faces_found", "face_index", "box", "landmarks", "score", "rotation", "eye_distance"
            ):  # fmt: skip
                assert photo[key] is None
            assert photo["faces"] == []
        (notice,) = [notice for notice in document["notices"] if "no face was looked for" in notice]
        assert '"red.png" and "blue.png"' in notice

    def test_the_verdict_is_that_of_the_pixels(self, here):
        document = verdict(here("verify", "red.png", "blue.png", "--aligned", "--json"))
        assert document["distance"] == pytest.approx(1, abs=1e-6)

    @pytest.mark.parametrize("command", ["verify", "explain"])
    def test_another_size_is_refused_before_the_model_is_loaded(self, here, monkeypatch, tmp_path, command):
        def refuse(*_, **__):
            raise AssertionError("the model is not to be loaded")

        monkeypatch.setattr("xfv_demo.models.loading.load_embedder", refuse)
        out = ("--out", "out") if command == "explain" else ()
        refused(here(command, "red.png", "group.png", "--aligned", *out), "group.png", "224 x 112")
        assert not (tmp_path / "out").exists()

    def test_another_size_is_refused_from_python(self, colours):
        with pytest.raises(ImageError, match='"reference" has 224 x 112 pixels'):
            Verifier(colours).verify(row(RED), row(RED, BLUE), aligned=True)

    def test_show_one_face_each(self, here, colours):
        refused(here("verify", "red.png", "blue.png", "--aligned", "--face-b", "1"), "blue.png", "number 1")
        with pytest.raises(FaceNotFoundError, match="no face number 2"):
            Verifier(colours).verify(row(RED), row(RED), probe_face=2, aligned=True)
        best = Verifier(colours).verify(row(RED), row(RED), probe_face="best", aligned=True)
        assert best.pairs_compared == 1

    def test_have_no_faces_to_list(self, here):
        refused(here("verify", "red.png", "blue.png", "--aligned", "--faces"), "--faces", "--aligned")

    def test_can_be_explained(self, here, tmp_path):
        done = here("explain", "red.png", "blue.png", "--aligned", "--out", "out", "--methods", "corrrise")
        assert done.returncode == 0, done.stderr
        assert "no face was looked for" in done.stdout
        report = json.loads((tmp_path / "out" / "report.json").read_text(), parse_constant=pytest.fail)
        assert report["probe"]["score"] is None
        with Image.open(tmp_path / "out" / "figure.png") as figure:
            figure.load()


def test_a_real_group(run_model, examples, tmp_path):
    """Biden beside Obama, against Obama alone: the one on the right is found."""
    biden, obama = (Image.open(examples / f"{name}.jpg").resize((400, 500)) for name in ("biden", "obama"))
    group = Image.new("RGB", (800, 500))
    group.paste(biden, (0, 0))
    group.paste(obama, (400, 0))
    group.save(tmp_path / "group.png")
    words = ("verify", "group.png", examples / "obama3.jpg", "--face", "best", "--json")
    document = verdict(run_model(*words, "--model", "mobilefacenet"))
    assert document["same_person"]
    assert document["pairs_compared"] == 2
    probe = document["probe"]
    assert len(probe["faces"]) == 2
    left, _, right, _ = probe["box"]
    assert left > 400
    assert left < right <= 800
    assert probe["faces"][probe["face_index"]]["box"] == probe["box"]
