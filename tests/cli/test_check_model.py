"""check-model: what it says of each outcome, and that it is right about a model that no one here made."""

import json
import os
import shlex
from dataclasses import replace

import pytest

from xfv_demo.evaluation.model_check import FormatFit, ModelCheck
from xfv_demo.models.input_format import InputFormat, NetworkSignature

RGB, BGR, SMALL = InputFormat("0..255", "rgb"), InputFormat("0..255", "bgr"), InputFormat("0..1", "rgb")
FITS = {
    RGB: FormatFit(RGB, 0.353, 0.745),
    BGR: FormatFit(BGR, 0.405, 0.773),
    SMALL: FormatFit(SMALL, 0.165, 0.048),
}
CLEAR = {**FITS, BGR: FormatFit(BGR, 0.4, 0.6)}
CHECK = ModelCheck(
    name="net",
    kind="ONNX",
    signature=NetworkSignature("data", (1, 3, 112, 112), "fc1", 128),
    layout="NCHW",
    batch=None,
    input_format=None,
    format_source=None,
    engine="OpenVINO 2026.4, float32",
    grid_shape=(7, 7, 1024),
    is_affine=True,
    has_gradients=False,
    fit=None,
    fits=tuple(FITS.values()),
    known_format=None,
)


@pytest.fixture
def said(run_here, monkeypatch):
    """What the command says of a check: the status and the text."""

    def said(check, *options):
        monkeypatch.setattr("xfv_demo.evaluation.model_check.check_model", lambda *_: check)
        done = run_here("check-model", "net.onnx", *options)
        assert done.stderr == ""
        return done.returncode, done.stdout

    return said


def given(input_format, fits=FITS, source="options", **changes):
    return replace(
        CHECK, input_format=input_format, format_source=source, fit=fits[input_format],
        fits=tuple(fits.values()), **changes,
    )  # fmt: skip


class TestWhatItSays:
    def test_what_was_understood(self, said):
        status, text = said(replace(CHECK, batch=2, grid_shape=None))
        assert status == 1
        for words in (
            "net: ONNX\n",
            "data (1, 3, 112, 112), channels first, 2 images at once",
            "fc1, 128 numbers for each face",
            "pixels      not known",
            "OpenVINO 2026.4, float32",
            "grid        none",
            "gradients   no",
        ):
            assert words in text
        assert "7 x 7, 1024 channels; what follows is affine" in said(CHECK)[1]

    def test_known_and_well(self, said):
        check = replace(given(RGB, source="known file"), fits=(), known_format=RGB)
        status, text = said(check)
        assert status == 0
        assert "RGB, 0..255, this file is a known one" in text
        assert "come apart: one person at most 0.353, two people at least 0.745." in text
        assert "apart by" not in text, "no table where there is nothing to choose"

    def test_unknown(self, said):
        status, text = said(replace(CHECK, fits=tuple(CLEAR.values())))
        assert status == 1
        assert "\nRGB, 0..255 fits.\n" in text
        assert "check-model net.onnx --input-range 0..255 --channels rgb" in text
        assert "about as well" not in text
        rows = [line.split() for line in text.splitlines() if "..255 " in line or "..1 " in line]
        assert [row[-1] for row in rows[:3]] == ["best", "worse", "no"]

    def test_two_that_photos_cannot_choose_between(self, said):
        assert "BGR, 0..255 fits about as well, and so few photos cannot choose" in said(CHECK)[1]
        status, text = said(given(BGR))
        assert status == 0
        assert "That is kept for the file" in text
        assert "RGB, 0..255 fits about as well" in text

    def test_wrong(self, said):
        status, text = said(given(SMALL))
        assert status == 1
        assert "do not come apart: one person at most 0.165, two people at least 0.048." in text
        assert "\nRGB, 0..255 fits.\n" in text
        assert "kept for the file," not in text

    def test_worse(self, said):
        status, text = said(given(BGR, CLEAR))
        assert status == 1
        assert "\nRGB, 0..255 fits better.\n" in text
        assert "kept for the file," not in text

    def test_not_the_known_files_own(self, said):
        status, text = said(given(BGR, known_format=RGB))
        assert status == 1
        assert "This file is a known one, and takes RGB, 0..255." in text
        assert "photos cannot choose" not in text

    def test_none_fits(self, said):
        status, text = said(given(SMALL, {SMALL: FITS[SMALL]}))
        assert status == 1
        assert "come apart in no format" in text

    def test_a_saved_model_is_to_be_exported_anew(self, said):
        text = said(given(SMALL, source="SavedModel", kind="SavedModel"))[1]
        assert "export it with what it wants instead in its graph" in text
        assert "--input-range" not in text

    def test_json(self, said):
        status, text = said(given(BGR, CLEAR), "--json")
        document = json.loads(text)
        assert status == 1
        assert document["is_well"] is False
        assert document["input_format"] == {"input_range": "0..255", "channels": "bgr"}
        assert document["best"] == [{"input_range": "0..255", "channels": "rgb"}]
        assert document["fits"][1]["gap"] == pytest.approx(0.2)
        assert json.loads(said(CHECK, "--json")[1])["input_format"] is None


@pytest.fixture
def check(run_here, tmp_path):
    """Runs the command with a cache of the test's own."""

    def check(path, *options):
        done = run_here("check-model", path, *options, "--json", XFV_CACHE=tmp_path / "cache")
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout)

    return check


@pytest.fixture
def nameless_sface(sface_file, tmp_path):
    """SFace as nobody knows it: by another name of its input, so that its hash is another too."""
    import onnx

    model = onnx.load(sface_file)
    for node in model.graph.node:
        node.input[:] = ["photo" if name == "data" else name for name in node.input]
    for one in model.graph.input:
        one.name = "photo" if one.name == "data" else one.name
    onnx.save(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


class TestOnSFace:
    def test_known(self, check, sface_file):
        status, document = check(sface_file)
        assert (status, document["is_well"], document["fits"]) == (0, True, [])
        for key, value in {
            "name": "sface",
            "kind": "ONNX",
            "input_shape": [1, 3, 112, 112],
            "layout": "NCHW",
            "batch": None,
            "dimensions": 128,
            "input_format": {"input_range": "0..255", "channels": "rgb"},
            "format_source": "known file",
            "grid_shape": [7, 7, 1024],
            "affine_after_grid": True,
            "gradients": True,
        }.items():
            assert document[key] == value
        # Measured: 0.353 and 0.745.
        assert document["fit"]["largest_genuine_distance"] == pytest.approx(0.353, abs=0.01)
        assert document["fit"]["smallest_impostor_distance"] == pytest.approx(0.745, abs=0.01)

    def test_unknown_then_wrong_then_right(self, check, nameless_sface, tmp_path):
        status, document = check(nameless_sface)
        assert (status, document["input_format"]) == (1, None)
        assert {one["input_range"] for one in document["best"]} == {"0..255"}
        assert document["best"][0]["channels"] == "rgb"
        assert not any(fit["comes_apart"] for fit in document["fits"][2:])

        status, document = check(nameless_sface, "--input-range", "0..1", "--channels", "rgb")
        assert (status, document["fit"]["comes_apart"]) == (1, False)
        assert not (tmp_path / "cache" / "input-formats").exists(), "what is wrong is not kept"

        status, document = check(nameless_sface, "--input-range", "0..255", "--channels", "rgb")
        assert (status, document["format_source"]) == (0, "options")
        status, document = check(nameless_sface)
        assert (status, document["format_source"]) == (0, "cache")

    def test_options_of_verify(self, nameless_sface, examples, run_here, tmp_path):
        photos = [examples / "obama.jpg", examples / "obama2.jpg"]

        def verify(*options):
            return run_here(
                "verify", *photos, "--model", nameless_sface, *options, XFV_CACHE=tmp_path / "cache"
            )

        done = verify()
        assert done.returncode == 2
        assert "give --input-range and --channels once" in done.stderr
        first = verify("--input-range", "0..255", "--channels", "rgb", "--json")
        again = verify("--json")
        assert json.loads(first.stdout)["distance"] == json.loads(again.stdout)["distance"]
        # Measured: 0.253.
        assert json.loads(again.stdout)["distance"] == pytest.approx(0.253, abs=0.01)
        assert "-1..1" in verify("--input-range", "0..2").stderr

    def test_the_command_that_it_names(self, nameless_sface, run_here, tmp_path):
        """Ends well, as it stands."""
        text = run_here("check-model", nameless_sface, XFV_CACHE=tmp_path / "cache").stdout
        (line,) = [line for line in text.splitlines() if line.startswith("To keep")]
        words = shlex.split(line.partition("-m xfv_demo ")[2])
        assert run_here(*words, XFV_CACHE=tmp_path / "cache").returncode == 0


@pytest.mark.slow
def test_the_bundled_model(check):
    status, document = check("mobilefacenet")
    assert (status, document["kind"], document["gradients"]) == (0, "SavedModel", True)
    assert (document["batch"], document["layout"], document["dimensions"]) == (None, "NHWC", 192)


@pytest.mark.slow
@pytest.mark.skipif("XFV_TFLITE" not in os.environ, reason="needs MobileFaceNet.tflite: XFV_TFLITE its path")
def test_the_tflite_of_the_bundled_model(check):
    status, document = check(os.environ["XFV_TFLITE"])
    assert (status, document["format_source"], document["grid_shape"]) == (0, "known file", [7, 7, 512])


@pytest.mark.slow
@pytest.mark.skipif(
    "XFV_FR_FEATURE" not in os.environ, reason="needs fr_feature.onnx: XFV_FR_FEATURE its path"
)
def test_a_network_of_unknown_origin(check):
    """That of the npm package faceplugin-face-recognition-js 0.0.1."""
    status, document = check(os.environ["XFV_FR_FEATURE"])
    assert (status, document["input_format"], document["dimensions"]) == (1, None, 512)
    assert document["best"] == [{"input_range": "-1..1", "channels": "bgr"}]
