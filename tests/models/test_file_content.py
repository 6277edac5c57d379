"""What a file holds that is no network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xfv_demo.models.file_content import describe_content

# One field of 300 bytes, as protobuf's format has it: key 7 << 3 | 2, and the length in base 128.
MESSAGE = bytes([7 << 3 | 2, 300 & 127 | 128, 300 >> 7]) + bytes(300)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS"),
        (b"<!doctype html><html></html>", "web page"),
        (b"PK\x03\x04" + bytes(100), "ZIP archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"\x1f\x8b" + bytes(100), "gzip"),
        ("ein Gedicht über Netze\n".encode() * 50, "text"),
        (MESSAGE[:-100], "cut off, at least 100 bytes are missing"),
    ],
)
def test_known_content(content, words):
    assert words in describe_content(content)


@pytest.mark.parametrize(
    "content", [MESSAGE, 2 * MESSAGE, b"\x1c\x00\x00\x00TFL3" + bytes(50), b"\xff" * 5000, b"\x07" * 50]
)
def test_what_cannot_be_told(content):
    assert describe_content(content) is None


@given(st.integers(0, len(MESSAGE) - 4))
def test_any_cut_is_noticed(kept):
    assert describe_content(MESSAGE[: 3 + kept]).startswith(f"cut off, at least {300 - kept} bytes")


@given(st.binary(max_size=2000))
def test_any_bytes_are_described_in_one_line(content):
    assert "\n" not in (describe_content(content) or "")
