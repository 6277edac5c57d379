"""Frequencies, where it is known on paper which of them a model sees."""

import numpy as np
import pytest

from xfv_demo import EXPLAINERS
from xfv_demo.explainers.explanation import MapPair, View
from xfv_demo.explainers.frequency import band_summary
from xfv_demo.models.similarity import unit_length

METHOD = EXPLAINERS["frequency"]
MIDDLE = 56
COLUMNS = 2 * np.pi * np.arange(112) / 112


def wave(cycles, amplitude=0.2):
    """A grey photo with so many cycles across it."""
    row = 0.5 + amplitude * np.cos(cycles * COLUMNS)
    return np.tile(row[:, None], (112, 1, 3)).astype(np.float32)


class TwoWaves:
    """Its dimensions are the amplitudes of 6 and of 30 cycles, and a constant."""

    def embed(self, images):
        rows = images[..., 0].mean(axis=1)
        amplitudes = [np.abs(rows @ np.exp(1j * n * COLUMNS)) * 2 / 112 for n in (6, 30)]
        return unit_length(np.stack([*amplitudes, np.full(len(images), 0.01)], axis=1))


def test_the_band_that_both_faces_share_speaks_for():
    both = wave(6)
    values = METHOD(TwoWaves()).explain(both, both).unscaled.probe
    # 6 cycles lie in the band from 4 to 8.
    assert values[MIDDLE, MIDDLE + 6] == pytest.approx(values[MIDDLE - 5, MIDDLE])
    assert values[MIDDLE, MIDDLE + 6] > 0.5
    others = np.hypot(*(np.indices((112, 112)) - MIDDLE)) // 4 != 1
    assert not values[others].any()


def test_the_band_that_only_one_has_speaks_against():
    probe = wave(6) + wave(30) - 0.5
    values = METHOD(TwoWaves()).explain(probe, wave(6)).unscaled.probe
    assert values[MIDDLE, MIDDLE + 6] > 0 > values[MIDDLE, MIDDLE + 30]


def test_the_mean_colour_stays():
    grey = np.full((112, 112, 3), 0.5, np.float32)
    explanation = METHOD(TwoWaves()).explain(grey, wave(6))
    assert not explanation.unscaled.probe.any()
    assert explanation.unscaled.reference[MIDDLE, MIDDLE] == 0


@pytest.mark.parametrize("width", [1, 3, 4, 56])
def test_all_frequencies_are_in_one_band(width, rng):
    photo = rng.random((112, 112, 3), np.float32)
    embedded = []

    class Keeps(TwoWaves):
        def embed(self, images):
            embedded.append(len(images))
            return super().embed(images)

    METHOD(Keeps(), band_width=width).probe_map(photo, wave(6))
    bands = -(-56 // width)
    assert sum(embedded) == 2 + bands
    assert METHOD(Keeps()).parameters == {"band_width": 4}


def test_words_name_the_strongest_bands():
    rows = np.hypot(*(np.indices((112, 112)) - MIDDLE)) // 4
    values = np.where(rows == 2, 0.25, np.where(rows == 9, -0.125, 0)).astype(np.float32)
    words = band_summary(View("frequency", "", MapPair(values, values), domain="frequency"), 4)
    assert words == (
        "Most of what speaks for a match is detail of 8 to 12 cycles across the face: without it the "
        "similarity falls by 0.250. Against it speaks detail of 36 to 40 cycles across the face: without it "
        "the similarity rises by 0.125."
    )
    none = np.zeros((112, 112), np.float32)
    assert "zero everywhere" in band_summary(View("frequency", "", MapPair(none, none)), 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"band_width": 0}, "band_width must be from 1 to 56, not 0"),
        ({"band_width": 57}, "band_width must be from 1 to 56, not 57"),
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        METHOD(TwoWaves(), **settings)
