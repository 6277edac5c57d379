"""Stores handed on to other programs."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.explore.made_up import made_store, pair_rows
from xfv_demo.errors import XfvError
from xfv_demo.explore import open_store
from xfv_demo.explore.export import export_store


def crop(grey):
    content = io.BytesIO()
    Image.new("RGB", (112, 112), (grey,) * 3).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def store(tmp_path):
    """Of five pairs, the first photo of the first of which has no face."""
    faces = [{"key": f"a/{number}.png", "crop": crop(10 * number)} for number in range(1, 5)]
    faces += [{"key": "b/0.png", "crop": crop(200)}, {"key": "a/0.png", "problem": "no face"}]
    return open_store(made_store(tmp_path / "store", blocks=1, faces=faces))


def test_as_csv(store, tmp_path):
    export_store(store, tmp_path / "out", "csv")
    with (tmp_path / "out" / "pairs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, made in zip(rows, pair_rows(range(5)), strict=True):
        assert (int(row["pair"]), row["outcome"]) == (made["pair"], made["outcome"])
        assert float(row["distance"]) == made["distance"]
        assert row["cautions"] == "; ".join(made["cautions"])
    with (tmp_path / "out" / "faces.csv").open(newline="") as file:
        assert {row["key"]: row["problem"] for row in csv.DictReader(file)}["a/0.png"] == "no face"


def test_for_fiftyone(store, tmp_path):
    """As its importer reads labels.json: a label, a confidence, and attributes that are not null."""
    export_store(store, tmp_path / "out", "fiftyone")
    labels = json.loads((tmp_path / "out" / "labels.json").read_text())["labels"]
    assert labels["0000003"]["label"] == "false non-match"
    assert labels["0000003"]["confidence"] == 0.9
    assert labels["0000003"]["attributes"]["distance"] == 0.03
    assert None not in labels["0000003"]["attributes"].values()
    assert {path.stem for path in (tmp_path / "out" / "data").iterdir()} == set(labels)
    pixels = np.asarray(Image.open(tmp_path / "out" / "data" / "0000003.png"))
    assert pixels.shape == (112, 224, 3)
    assert (pixels[:, :112] == 30).all()
    assert (pixels[:, 112:] == 200).all()


def test_for_spotlight(store, tmp_path):
    export_store(store, tmp_path / "out", "spotlight")
    with (tmp_path / "out" / "pairs.csv").open(newline="") as file:
        first, second, *_ = csv.DictReader(file)
    assert first["first_face"] == "", "there is none"
    assert (np.asarray(Image.open(tmp_path / "out" / second["first_face"])) == 10).all()
    assert (np.asarray(Image.open(tmp_path / "out" / second["second_face"])) == 200).all()


def test_pictures_that_are_not_there_cannot_be_handed_on(tmp_path):
    store = open_store(made_store(tmp_path / "store", crops=False))
    with pytest.raises(XfvError, match="numbers alone, and fiftyone needs the faces; take csv"):
        export_store(store, tmp_path / "out", "fiftyone")
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_among_other_things(store, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(XfvError, match="holds other things"):
        export_store(store, tmp_path / "out", "csv")
