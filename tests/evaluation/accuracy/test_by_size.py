"""Confidence by size: the copies, the rows, the figure, what the page shows."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
from pydantic import TypeAdapter

from tests.calibration.test_calibrators import lfw_like
from xfv_demo.batch.embed import SetEmbeddings
from xfv_demo.calibration.calibration import Calibration
from xfv_demo.calibration.face_sizes import SizeCorrection
from xfv_demo.datasets.pairs import PairSet
from xfv_demo.datasets.sources import MemoryImages
from xfv_demo.evaluation.accuracy import small_copies
from xfv_demo.evaluation.accuracy.by_size import (
    FORMAT,
    Honesty,
    SizeReport,
    _by_size,
    _Decided,
    markdown,
)
from xfv_demo.evaluation.accuracy.by_size_figure import by_size_figure
from xfv_demo.evaluation.accuracy.degradations import DEGRADATIONS
from xfv_demo.evaluation.accuracy.small_copies import SIZE_RANGE, measure_copies


def test_honesty_by_hand():
    genuine = np.array([True, True, False, False])
    same = np.array([True, False, False, False])
    found = Honesty.of(same, np.array([0.9, 0.6, 0.8, 0.7]), genuine)
    assert (found.accuracy, found.confidence) == pytest.approx((0.75, 0.75))
    assert (found.fmr, found.fnmr) == (0.0, 0.5)
    assert found.brier == pytest.approx((0.01 + 0.36 + 0.04 + 0.09) / 4)
    assert found.log_loss == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.7]).mean())


@pytest.mark.parametrize("degradation", DEGRADATIONS.values(), ids=DEGRADATIONS)
def test_degradations_are_the_same_again_and_leave_the_photo(degradation):
    photo = np.random.default_rng(0).integers(0, 256, (50, 60, 3)).astype(np.uint8)
    before = photo.copy()
    first, again = (degradation.alter("a.png", photo) for _ in range(2))
    assert (photo == before).all()
    assert (first == again).all()
    assert first.dtype == np.uint8
    assert (first.shape == photo.shape) != degradation.is_size


def test_copies_are_of_the_sizes_asked_for_and_every_two_are_compared(monkeypatch):
    """The embedder says how far each image was shrunk, and misses faces below 8 pixels in one image."""
    asked = []

    def embed_images(source, keys, embedder, store, **_):
        shares = getattr(source, "_alter", None)
        photo = np.zeros((100, 100, 3), np.uint8)
        sides = np.array([len(shares(key, photo)) / 100 if shares else 1.0 for key in keys])
        sizes = np.array([40.0, 50.0, 40.0, 50.0]) * sides
        asked.append(sizes)
        vectors = np.stack([np.cos(sides), np.sin(sides)], axis=1).astype(np.float32)
        vectors[(np.arange(4) == 3) & (sizes < 8)] = np.nan
        return SetEmbeddings(vectors, sizes, ())

    monkeypatch.setattr(small_copies, "embed_images", embed_images)
    keys = ("a", "b", "c", "d")
    source = MemoryImages("made up", dict.fromkeys(keys, b""))
    pairs = PairSet(
        "made up", source, keys, np.array([0, 2]), np.array([1, 3]), np.array([True, False]), np.array([0, 1])
    )
    told = []
    copies = measure_copies(
        pairs, np.array([[40.0, 50.0], [40.0, 50.0]]), None, None, progress=lambda *at: told.append(at)
    )
    levels = 1 + len(small_copies._COPIED_SIZES)
    assert len(asked) == levels
    for sizes, expected in zip(asked[1:], small_copies._COPIED_SIZES, strict=True):
        assert sizes == pytest.approx(expected, abs=0.3)
    lost = sum(size < 8 for size in small_copies._COPIED_SIZES)
    assert np.count_nonzero(copies.scores.genuine) == levels**2
    assert np.count_nonzero(~copies.scores.genuine) == levels * (levels - lost)
    assert copies.sizes.shape == (copies.scores.distances.size, 2)
    assert copies.scores.fold_count == 2


@pytest.fixture(scope="module")
def report():
    rng = np.random.default_rng(0)
    distances, genuine = lfw_like()
    plain = Calibration.fit(distances, genuine, method="beta")
    fitted = dataclasses.replace(
        plain, sizes=SizeCorrection(SIZE_RANGE[1], SIZE_RANGE[0], (0.0, 0.0, 1.0), (0.0, 0.0, 0.5), 500)
    )
    decided = _Decided.by(
        [fitted, fitted],
        np.where(rng.random(distances.size) < 0.01, np.nan, distances),
        rng.uniform(5, 45, (distances.size, 2)),
        genuine,
        np.arange(distances.size) % 2,
    )
    assert decided.lost > 0
    rows = [decided.row("shrunk-16", "shrunk to 16 %", which, is_seen=True) for which in ("one", "both")]
    sizes = [row for which in ("one", "both") for row in _by_size(which, [decided, decided])]
    return SizeReport("model", "lfw", 6000, 1000, SIZE_RANGE, tuple(rows), tuple(sizes), {"command": "c"})


def test_rows_by_size_hold_all_pairs_from_the_smallest_size_on(report):
    ones = [row for row in report.sizes if row.worse == "one"]
    assert [row.title for row in ones][:2] == ["from 6 pixels", "from 7 pixels"]
    assert all(first.size < second.size for first, second in itertools.pairwise(ones))
    assert sum(row.pairs for row in ones) < 2 * report.rows[0].pairs


def test_the_report_is_read_again(report):
    data = json.loads(json.dumps(report.to_dict()))
    assert (data.pop("format"), data.pop("version")) == FORMAT
    again = TypeAdapter(SizeReport).validate_python(data)
    assert markdown(again) == markdown(report)
    assert markdown(report).count("\n") == 1 + len(report.rows)
    assert "| shrunk to 16 %, one |" in markdown(report)


def test_the_figure_has_what_is_stated_and_what_is_true(report):
    figure = by_size_figure(report)
    one_before, one_after, *_ = figure.axes
    rows = [row for row in report.sizes if row.worse == "one"]
    for axes, name in ((one_before, "before"), (one_after, "after")):
        stated = next(line for line in axes.lines if line.get_gid() == "stated")
        assert stated.get_ydata() == pytest.approx([getattr(row, name).confidence for row in rows])
        true = [line.get_ydata()[0] for line in axes.lines if line.get_gid() == "true"]
        assert true == pytest.approx([getattr(row, name).accuracy for row in rows])
