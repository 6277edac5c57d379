"""Who decides on a data set's pairs: never a fit that has seen the pair."""

import numpy as np
import pytest

from xfv_demo import Calibration
from xfv_demo.calibration.crossfit import foldwise_decisions
from xfv_demo.datasets.pairs import PairSet
from xfv_demo.datasets.sources import MemoryImages
from xfv_demo.errors import CalibrationError
from xfv_demo.explore.decisions import Fit, choose_fit, decide
from xfv_demo.metrics.likelihood_ratio import log10_likelihood_ratios


class Model:
    """What is asked of a model here: who it is."""

    name, sha256, path = "mean-colour", "0" * 64, "mean-colour.onnx"


def made_set(rng, count=200, folds=4, impostors_each=1, name="made up"):
    """Pairs whose classes overlap, and their distances."""
    genuine = np.tile([True] + [False] * impostors_each, count)
    distances = np.where(genuine, rng.normal(0.5, 0.15, genuine.size), rng.normal(0.8, 0.15, genuine.size))
    images = tuple(f"{number}.png" for number in range(genuine.size + 1))
    pairs = PairSet(
        name,
        MemoryImages(name, {}),
        images,
        np.arange(genuine.size),
        np.arange(genuine.size) + 1,
        genuine,
        np.arange(genuine.size) * folds // genuine.size,
    )
    return pairs, np.clip(distances, 0, 2)


def full_size(pairs):
    return np.full((len(pairs), 2), 50.0)


def test_each_pair_is_decided_as_by_the_report_on_accuracy(rng):
    pairs, distances = made_set(rng)
    assert choose_fit(pairs, Model()) == Fit("foldwise")
    decided = decide(Fit("foldwise"), pairs, distances, full_size(pairs), Model())
    expected = foldwise_decisions(distances, pairs.genuine, pairs.folds, method="beta")
    np.testing.assert_array_equal(decided.same_person, expected.same_person)
    np.testing.assert_allclose(decided.log10_ratios, log10_likelihood_ratios(expected.probabilities))
    right = np.where(expected.same_person, expected.probabilities, 1 - expected.probabilities)
    np.testing.assert_allclose(decided.confidences, np.maximum(right, 0.5))
    assert np.unique(decided.thresholds).size > 1, "each fold has its own"
    assert decided.entry.fit == "foldwise"
    assert decided.entry.dataset == "made up"


def test_what_happens_in_a_fold_changes_nothing_that_is_said_of_it(rng):
    """Labels turned about in fold 0: its own pairs are decided as before, those of the others are not."""
    pairs, distances = made_set(rng)
    before = decide(Fit("foldwise"), pairs, distances, full_size(pairs), Model())
    inside = pairs.folds == 0
    turned, _ = made_set(rng)
    object.__setattr__(turned, "genuine", np.where(inside & (distances > 0.6), True, pairs.genuine))
    after = decide(Fit("foldwise"), turned, distances, full_size(pairs), Model())
    np.testing.assert_array_equal(after.confidences[inside], before.confidences[inside])
    np.testing.assert_array_equal(after.thresholds[inside], before.thresholds[inside])
    assert (after.confidences[~inside] != before.confidences[~inside]).mean() > 0.9


def test_a_pair_without_a_distance_is_decided_by_nobody_and_fitted_to_by_nobody(rng):
    pairs, distances = made_set(rng)
    lost = np.arange(len(pairs)) % 7 == 0
    decided = decide(Fit("foldwise"), pairs, np.where(lost, np.nan, distances), full_size(pairs), Model())
    assert not decided.same_person[lost].any()
    assert np.isnan(decided.confidences[lost]).all()
    assert np.isfinite(decided.confidences[~lost]).all()
    expected = foldwise_decisions(distances[~lost], pairs.genuine[~lost], pairs.folds[~lost], method="beta")
    np.testing.assert_array_equal(decided.same_person[~lost], expected.same_person)


def test_far_more_impostors_do_not_pull_the_threshold_their_way(rng):
    """The best threshold over 20 times as many impostors would accept hardly anybody."""
    pairs, distances = made_set(rng, count=120, impostors_each=20)
    decided = decide(Fit("foldwise"), pairs, distances, full_size(pairs), Model())
    assert np.median(decided.thresholds) == pytest.approx(0.65, abs=0.05)
    assert np.isfinite(decided.confidences).all(), "the others are decided, too"


@pytest.fixture
def kept(rng, tmp_path, monkeypatch):
    """A calibration of the model on another set."""
    monkeypatch.setenv("XFV_CACHE", str(tmp_path))
    other, distances = made_set(rng, name="other")
    calibration = Calibration.fit(
        distances, other.genuine, method="beta", model=Model.name, model_sha256=Model.sha256, dataset="lfw"
    )
    calibration.save(tmp_path / "calibrations" / "mean-colour-lfw.json")
    return calibration


def test_too_few_pairs_are_decided_by_the_models_calibration_on_another_set(rng, kept):
    pairs, distances = made_set(rng, count=5)
    fit = choose_fit(pairs, Model())
    decided = decide(fit, pairs, distances, full_size(pairs), Model())
    assert (fit.kind, fit.notice, decided.entry.dataset) == ("elsewhere", None, "lfw")
    assert (decided.thresholds == kept.threshold).all()
    bounds = kept.probability_bounds()
    for distance, confidence in zip(distances, decided.confidences, strict=True):
        most = bounds.high if distance < kept.threshold else 1 - bounds.low
        assert confidence == pytest.approx(min(kept.confidence(distance), most))


def test_a_calibration_that_has_seen_the_pairs_gives_no_confidence(rng, kept):
    pairs, distances = made_set(rng, count=5, name="lfw")
    fit = choose_fit(pairs, Model())
    decided = decide(fit, pairs, distances, full_size(pairs), Model())
    assert np.isnan(decided.confidences).all()
    assert np.isnan(decided.log10_ratios).all()
    assert decided.entry.method is None
    assert "made on lfw itself" in fit.notice
    assert (decided.thresholds == kept.threshold).all()


def test_a_model_without_a_calibration_decides_at_the_provisional_threshold(rng, tmp_path, monkeypatch):
    monkeypatch.setenv("XFV_CACHE", str(tmp_path))
    pairs, distances = made_set(rng, count=5)
    fit = choose_fit(pairs, Model())
    decided = decide(fit, pairs, distances, full_size(pairs), Model())
    assert "not calibrated" in fit.notice
    assert (decided.entry.threshold, decided.entry.eer_threshold) == (0.601, None)
    np.testing.assert_array_equal(decided.same_person, distances < 0.601)


def test_pairs_that_cannot_be_fitted_to_are_said_to_be(rng):
    pairs, _ = made_set(rng)
    with pytest.raises(CalibrationError, match=r"made up.*give --calibration"):
        decide(Fit("foldwise"), pairs, np.where(pairs.genuine, 1.0, 0.3), full_size(pairs), Model())
