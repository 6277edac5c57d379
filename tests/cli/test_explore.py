"""explore on the command line."""

import csv
import io
import time

import pytest

from tests.explore.made_up import made_store
from xfv_demo.cli.explore import _progress_shown
from xfv_demo.explore.compute import BuildProgress


@pytest.fixture
def data(tmp_path, examples):
    """A list of pairs of the example photos, and of one that is none."""
    rows = [("obama.jpg", "obama2.jpg", 1), ("obama.jpg", "biden.jpg", 0), ("biden.jpg", "notes.jpg", 1)]
    for name in ("obama.jpg", "obama2.jpg", "biden.jpg"):
        (tmp_path / name).write_bytes((examples / name).read_bytes())
    (tmp_path / "notes.jpg").write_bytes(b"these are notes")
    with (tmp_path / "family.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("first", "second", "genuine"), *rows])
    return tmp_path / "family.csv"


def test_from_photos_to_a_table(run_model, data, tmp_path):
    words = ("explore", "build", "--data", data, "--out", "store", "--model", "mobilefacenet")
    done = run_model(*words, "--methods", "xssab", "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert "family, mobilefacenet: 1 " in done.stdout
    assert "1 failed" in done.stdout
    done = run_model("explore", "export", "store", "--out", "table", "--as", "csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO((tmp_path / "table" / "pairs.csv").read_text())))
    assert [row["outcome"] for row in rows] == ["true match", "true non-match", "failed"]
    assert all(float(row["confidence"]) > 0.9 for row in rows[:2])
    assert "notes.jpg" in rows[2]["problem"]
    assert -1 <= float(rows[0]["evidence_xssab_eyes"]) <= 1
    again = run_model(*words, "--methods", "none")
    assert again.returncode == 2
    assert "other methods" in again.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--methods", "magic"), 'no explanation method "magic"'),
        (("--methods", ","), "no method was asked for"),
        (("--address", "auto"), "are for --engine ray"),
        (("--engine", "cluster"), "cluster"),
        (("--pairs", "0"), "greater than or equal to 1"),
        (("--data", "nowhere"), "nowhere"),
        (("--out", "family.csv"), "nothing can be written"),
    ],
)
def test_what_cannot_be_built_is_said_in_a_line_before_any_work(run_here, data, tmp_path, options, words):
    done = run_here("explore", "build", "--data", data, "--out", "store", *options)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "store").exists()


def test_what_cannot_be_exported_is_said_in_a_line(run_here, tmp_path):
    done = run_here("explore", "export", "nowhere", "--out", "table")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert '"nowhere" is no store' in done.stderr
    made_store(tmp_path / "store")
    done = run_here("explore", "export", "store", "--out", "store")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "holds other things" in done.stderr


def test_where_there_is_no_terminal_lines_tell_how_far_it_is(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with _progress_shown() as show:
        for done in range(0, 120, 20):
            show(BuildProgress("pairs", 100 + done, 1000, done // 20))
            now += 20
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "pairs: 140 of 1,000, 1.0 pairs/s, 2 failed, 860 s left",
        "pairs: 180 of 1,000, 1.0 pairs/s, 4 failed, 820 s left",
    ]
