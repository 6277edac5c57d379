"""What a network expects of its pixels: the numbers, and where the answer comes from."""

import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfv_demo.errors import ModelError, XfvError
from xfv_demo.models.input_format import (
    INPUT_FORMATS,
    KNOWN_FILES,
    FoundFormat,
    InputFormat,
    NetworkSignature,
    find_input_format,
    keep_input_format,
)

SHA256 = "ab" * 32
NAMELESS = NetworkSignature("input", (1, 3, 112, 112), "output", 512)
INSIGHTFACE = NetworkSignature("input.1", (None, 3, 112, 112), "683", 512)

formats = st.sampled_from(INPUT_FORMATS)
hashes = st.text("0123456789abcdef", min_size=64, max_size=64).filter(lambda one: one not in KNOWN_FILES)


@pytest.fixture
def file(tmp_path, monkeypatch):
    """Where a model's file would be, beside an empty cache."""
    monkeypatch.setenv("XFV_CACHE", str(tmp_path / "cache"))
    return tmp_path / "net.onnx"


def write(path, **fields):
    path.write_text(json.dumps(fields))


class TestInputFormat:
    @pytest.mark.parametrize(
        ("input_range", "black", "grey", "white"),
        [("0..1", 0, 0.5, 1), ("-1..1", -1, 0, 1), ("0..255", 0, 127.5, 255)],
    )
    def test_pixels(self, input_range, black, grey, white):
        format_ = InputFormat(input_range, "rgb")
        np.testing.assert_allclose(
            np.array([0, 0.5, 1]) * format_.scale + format_.shift, [black, grey, white]
        )

    @pytest.mark.parametrize("subtracted", [127, 127.5])
    @pytest.mark.parametrize("divisor", [127.5, 128])
    def test_other_ways_to_say_minus_one_to_one(self, subtracted, divisor):
        pixels = np.arange(256)
        ours = pixels / 255 * InputFormat("-1..1", "rgb").scale + InputFormat("-1..1", "rgb").shift
        assert np.abs(ours - (pixels - subtracted) / divisor).max() <= 0.008

    def test_all_six(self):
        assert len(set(INPUT_FORMATS)) == 6

    @pytest.mark.parametrize(
        ("values", "named"), [(("0..2", "rgb"), "input_range"), (("0..1", "RGB"), "channels")]
    )
    def test_refuses_others(self, values, named):
        with pytest.raises(ValueError, match=f"{named} must be one of"):
            InputFormat(*values)

    def test_in_words(self):
        assert str(InputFormat("0..255", "bgr")) == "BGR, 0..255"


class TestWhereItComesFrom:
    """Each source in turn, from the last to the first."""

    def test_nothing_is_known(self, file):
        with pytest.raises(ModelError, match=r"net\.onnx does not say") as raised:
            find_input_format(file, SHA256, NAMELESS)
        line = str(raised.value)
        assert "--input-range" in line
        assert "--channels" in line
        assert f"python -m xfv_demo check-model {file}" in line
        assert "\n" not in line

    @pytest.mark.parametrize(
        ("half", "lacks", "given_"),
        [
            ({"input_range": "0..1"}, "--channels", "--input-range"),
            ({"channels": "rgb"}, "--input-range", "--channels"),
        ],
    )
    def test_half_is_known(self, file, half, lacks, given_):
        with pytest.raises(ModelError, match=f"give {lacks} once") as raised:
            find_input_format(file, SHA256, NAMELESS, **half)
        assert given_ not in str(raised.value)

    @pytest.mark.parametrize(
        ("signature", "expected"),
        [
            (INSIGHTFACE, InputFormat("-1..1", "rgb")),
            (NetworkSignature("data", (None, 3, 112, 112), "1333", 512), InputFormat("-1..1", "rgb")),
            (NetworkSignature("data", (1, 3, 112, 112), "fc1", 512), InputFormat("0..255", "rgb")),
            (NetworkSignature("data", (1, 3, 112, 112), "fc1", 128), InputFormat("0..255", "rgb")),
        ],
    )
    def test_signature_is_a_guess(self, file, signature, expected):
        found = find_input_format(file, SHA256, signature)
        assert (found.input_format, found.source) == (expected, "signature")
        assert re.search(rf"taken for .*{re.escape(str(expected))}; check-model tells", found.notice)

    @pytest.mark.parametrize(
        "signature",
        [
            NetworkSignature("input.1", (None, 3, 112, 112), "683", 128),
            NetworkSignature("data", (None, 112, 112, 3), "fc1", 128),
        ],
    )
    def test_what_is_only_alike_is_not_known(self, file, signature):
        with pytest.raises(ModelError):
            find_input_format(file, SHA256, signature)

    def test_saved_model(self, tmp_path, file):
        found = find_input_format(tmp_path, SHA256, NAMELESS)
        assert found == FoundFormat(InputFormat("0..1", "rgb"), "SavedModel")
        assert found.notice is None

    @pytest.mark.parametrize("sha256", KNOWN_FILES)
    def test_known_file(self, file, sha256):
        known = KNOWN_FILES[sha256]
        found = find_input_format(file, sha256, INSIGHTFACE)
        assert found == FoundFormat(known.input_format, "known file", known.name, known=known.input_format)
        assert found.notice is None
        assert re.fullmatch("[0-9a-f]{64}", sha256)

    @given(formats, hashes, st.booleans())
    def test_what_was_given_is_kept(self, tmp_path_factory, format_, sha256, by_halves):
        file = tmp_path_factory.mktemp("kept") / "net.onnx"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XFV_CACHE", str(file.parent / "cache"))
            if by_halves:
                keep_input_format(file, sha256, InputFormat("0..1", format_.channels))
                found = find_input_format(file, sha256, NAMELESS, format_.input_range)
            else:
                found = find_input_format(file, sha256, NAMELESS, format_.input_range, format_.channels)
            assert found == FoundFormat(format_, "options")
            assert find_input_format(file, sha256, NAMELESS) == FoundFormat(format_, "cache")
            # Of another file nothing was said.
            with pytest.raises(ModelError):
                find_input_format(file, sha256[::-1] + "0", NAMELESS)

    def test_only_looked_at(self, file):
        find_input_format(file, SHA256, NAMELESS, "0..1", "rgb", keep=False)
        assert not (file.parent / "cache").exists()

    @given(formats, formats)
    def test_file_beside_the_model_goes_before_cache(self, tmp_path_factory, beside, cached):
        file = tmp_path_factory.mktemp("beside") / "net.onnx"
        write(file.parent / "model.json", sha256=SHA256, **vars(beside), author="somebody")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XFV_CACHE", str(file.parent / "cache"))
            keep_input_format(file, SHA256, cached)
            assert find_input_format(file, SHA256, NAMELESS) == FoundFormat(beside, "model.json")
            given_ = find_input_format(file, SHA256, NAMELESS, channels=cached.channels)
            assert given_.input_format == InputFormat(beside.input_range, cached.channels)

    @pytest.mark.parametrize("other", [{"sha256": "cd" * 32}, {"format": "layers-model"}, {"sha256": None}])
    def test_model_json_of_another(self, file, other):
        write(file.parent / "model.json", **other)
        assert find_input_format(file, SHA256, INSIGHTFACE).source == "signature"

    def test_known_file_keeps_its_name(self, file):
        sha256, known = next(iter(KNOWN_FILES.items()))
        assert find_input_format(file, sha256, NAMELESS, "0..1", "bgr").name == known.name
        assert find_input_format(file, sha256, NAMELESS).source == "cache"
        found = find_input_format(file, sha256, NAMELESS)
        assert found.name == known.name
        assert found.notice == (
            "sface takes RGB, 0..255, but this file of it gets BGR, 0..1, as given before; check-model tells "
            "which fits"
        )


class TestBrokenFiles:
    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("", "Invalid JSON"),
            ("{", "Invalid JSON"),
            ("[]", "should be an object"),
            (f'{{"sha256": "{SHA256}"}}', "'input_range': Field required"),
            (
                f'{{"sha256": "{SHA256}", "input_range": "0..1", "channels": "grey"}}',
                "'channels': Input should",
            ),
            (f'{{"sha256": "{SHA256}", "input_range": 1, "channels": "rgb"}}', "'input_range': Input should"),
            ("\xff", "Invalid JSON"),
        ],
    )
    @pytest.mark.parametrize("place", ["model.json", f"cache/input-formats/{SHA256}.json"])
    def test_one_line(self, file, place, text, fault):
        broken = file.parent / place
        broken.parent.mkdir(parents=True, exist_ok=True)
        broken.write_bytes(text.encode("latin-1"))
        with pytest.raises(ModelError, match="gives no input format") as raised:
            find_input_format(file, SHA256, NAMELESS)
        line = str(raised.value)
        assert fault in line
        assert str(broken) in line
        assert "\n" not in line
        # What is given makes good for it.
        assert find_input_format(file, SHA256, NAMELESS, "0..1", "rgb").source == "options"

    def test_cache_cannot_be_written(self, file):
        (file.parent / "cache").write_text("a file")
        with pytest.raises(XfvError, match=r"cannot be written.*set XFV_CACHE to another folder"):
            find_input_format(file, SHA256, NAMELESS, "0..1", "rgb")
