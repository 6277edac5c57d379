"""A pair at the threshold itself is "different", whichever way the question goes."""

import json
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from xfv_demo import Verifier
from xfv_demo.batch.cache import MeasurementStore
from xfv_demo.calibration.calibration import Calibration
from xfv_demo.calibration.crossfit import foldwise_decisions
from xfv_demo.cli.options import app
from xfv_demo.evaluation.explanations import comparison, measurements, sanity
from xfv_demo.evaluation.explanations.measurements import measure_methods
from xfv_demo.evaluation.explanations.patch_lfw import PatchedPair, PatchLfw
from xfv_demo.evaluation.xcos_fidelity import compare_similarities
from xfv_demo.metrics import faithfulness
from xfv_demo.metrics.accuracy import fold_accuracy
from xfv_demo.metrics.decision import is_same, is_same_by_similarity
from xfv_demo.metrics.error_rates import error_rates, fnmr_at_fmr
from xfv_demo.metrics.pair_scores import PairScores

ABOVE = np.nextafter(1.0, 2.0)  # The least threshold that a distance of 1 is below.


class MeanColour:
    """e = the mean colour, of length 1: red and blue are at a distance of 1 exactly."""

    name = "mean colour"
    engine = "numpy"
    sha256 = None
    fingerprint = path = "mean colour"

    def embed(self, images):
        means = images.mean(axis=(1, 2))
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)


RED, BLUE = (np.full((112, 112, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))


def near_and_far():
    """40 pairs of each class in two folds; the best threshold of either is 0.601, the first above 0.6."""
    return np.tile(np.repeat([0.6, 1.0], 20), 2), np.tile(np.repeat([True, False], 20), 2)


@pytest.mark.parametrize("kind", [float, np.float32, np.float64, np.array])
def test_the_rule(kind):
    assert not is_same(kind(0.5), 0.5)
    assert is_same(kind(0.5), np.nextafter(0.5, 1))
    assert type(is_same(kind(0.5), 0.5)) is bool


def test_the_rule_over_many():
    assert is_same(np.array([0.4, 0.5, 0.6]), 0.5).tolist() == [True, False, False]
    assert is_same(np.array([0.4, 0.5, 0.6]), np.array([0.4, 0.6, 0.6])).tolist() == [False, True, False]


def test_a_threshold_is_not_rounded_to_the_distances():
    # 0.1 as float32 is above 0.1, which NumPy would round to the same.
    distances = np.array([0.1], np.float32)
    assert not is_same(distances, 0.1).any()
    assert is_same(distances, float(distances[0]) + 1e-12).all()


@pytest.mark.parametrize("kind", [float, np.float32, np.array])
def test_similarities_follow_the_same_rule(kind):
    assert not is_same_by_similarity(kind(0.25), 0.25)
    assert is_same_by_similarity(kind(0.25), 0.2499)


def test_a_similarity_ties_where_its_distance_does():
    similarities = np.random.default_rng(0).random(1000, dtype=np.float32)
    for similarity, distance in zip(similarities, 1 - similarities, strict=True):
        assert not is_same(distance, float(distance))
        assert not is_same_by_similarity(similarity, 1 - float(distance))


def test_metrics():
    distances, genuine = np.array([0.5, 0.7, 0.5, 0.9]), np.array([True, True, False, False])
    rates = error_rates(distances, genuine, [0.5])
    assert (rates.fmr[0], rates.fnmr[0]) == (0, 1)
    for threshold in distances:
        rates = error_rates(distances, genuine, [threshold])
        assert rates.fmr[0] == is_same(distances[~genuine], threshold).mean()
        assert rates.fnmr[0] == 1 - is_same(distances[genuine], threshold).mean()
    # The threshold is that of the impostor pair which may not pass; a genuine pair there is refused.
    distances, genuine = np.r_[0.1, np.arange(1, 301) / 300], np.r_[True, np.zeros(300, bool)]
    answer = fnmr_at_fmr(distances, genuine, 0.01)
    distances[0] = answer.threshold
    assert fnmr_at_fmr(distances, genuine, 0.01).fnmr == 1
    distances[0] = np.nextafter(answer.threshold, 0)
    assert fnmr_at_fmr(distances, genuine, 0.01).fnmr == 0


def test_folds():
    distances, genuine = near_and_far()
    threshold = fold_accuracy(distances, genuine, 2).thresholds[1]
    distances[40] = threshold
    told = fold_accuracy(distances, genuine, 2)
    assert told.thresholds[1] == threshold
    assert np.flatnonzero(~told.right).tolist() == [40]
    assert told.accuracies.tolist() == [1, 39 / 40]
    decisions = foldwise_decisions(distances, genuine, 2, method="logistic")
    assert (decisions.right == told.right).all()


def test_calibration():
    calibration = Calibration.fit(*near_and_far())
    assert not calibration.same_person(calibration.threshold)
    assert calibration.same_person(
        [calibration.threshold, np.nextafter(calibration.threshold, 0)]
    ).tolist() == [
        False,
        True,
    ]
    probability = calibration.probability(calibration.threshold)
    assert calibration.confidence(calibration.threshold) == max(0.5, 1 - probability)
    # What is on an edge counts as above it.
    distances, genuine = near_and_far()
    point = Calibration.fit(np.r_[distances, 0.601, 0.601], np.r_[genuine, True, False]).error_rates_at(0.601)
    assert (point.fmr, point.fnmr) == (0, 1 / 41)


def test_verifier():
    def decides(threshold):
        return Verifier(MeanColour(), threshold=threshold).verify(RED, BLUE, aligned=True)

    assert (decides(1.0).distance, decides(1.0).same_person) == (1.0, False)
    assert decides(ABOVE).same_person


def test_command_line(monkeypatch, tmp_path):
    monkeypatch.setattr("xfv_demo.models.loading.load_embedder", lambda *_, **__: MeanColour())
    paths = [str(tmp_path / name) for name in ("red.png", "blue.png")]
    for path, pixels in zip(paths, (RED, BLUE), strict=True):
        Image.fromarray(pixels).save(path)

    def decides(threshold):
        words = ["verify", *paths, "--aligned", "--json", "--threshold", repr(float(threshold))]
        done = CliRunner().invoke(app, words, catch_exceptions=False)
        return json.loads(done.stdout)

    assert decides(1.0)["distance"] == decides(1.0)["threshold"] == 1
    assert decides(1.0)["same_person"] is False
    assert decides(ABOVE)["same_person"] is True


def test_page():
    sheet = pytest.importorskip("demo.compare.verdict_html")
    verification = Verifier(MeanColour(), threshold=1.5).verify(RED, BLUE, aligned=True)
    moved = sheet.verdict_html(verification, None, 1.0)
    assert "Different people" in moved
    assert "not below" in moved
    assert "Same person" in sheet.verdict_html(verification, None, ABOVE)


def test_xcos():
    distances, genuine = near_and_far()
    threshold = fold_accuracy(distances, genuine, 2).thresholds[1]
    distances[40] = threshold
    noisy = 1 - distances + np.random.default_rng(1).normal(0, 1e-9, distances.size)
    noisy[40] = 1 - threshold
    quality, _, _, _ = compare_similarities(
        noisy, noisy, genuine, np.repeat([0, 1], 40), np.random.default_rng(0)
    )
    assert 1 - noisy[40] == threshold
    assert quality.accuracies == (1, 39 / 40)


class TestPatchLfw:
    """Of a pair whose similarity is 0, at a threshold of 0."""

    pair = PatchedPair("a", "b", "a", False, 0, np.zeros((27, 2), np.int64))

    def test_rates(self):
        similarities, genuine = np.array([0.25, 0.25, 0.5], np.float32), np.array([True, False, True])
        rates = comparison._rates(similarities, genuine, 0.25)
        assert (rates.fmr, rates.fnmr) == (0, 0.5)

    def test_curves(self):
        similarities = np.full((2, faithfulness.REPLACEMENT_SHARES.size), 0.25)
        genuine = np.array([True, False])
        assert faithfulness.pair_errors(similarities, genuine, 0.25).all(axis=1).tolist() == [True, False]

    @pytest.mark.parametrize(("threshold", "accepted"), [(0.0, False), (-1e-6, True)])
    def test_order_of_the_pixels(self, monkeypatch, tmp_path, threshold, accepted):
        asked = []
        monkeypatch.setattr(measurements, "measure_pair", lambda *_, **settings: asked.append(settings) or {})
        makers = SimpleNamespace(contenders=(), fingerprints={}, refused={})
        with closing(MeasurementStore(tmp_path / "outcomes.sqlite")) as store:
            measure_methods(
                PatchLfw("tie", 0, (self.pair,), {"a": RED, "b": BLUE}),
                MeanColour(),
                makers,
                threshold,
                store,
            )
        assert asked[0]["accepted"] == (accepted, accepted)

    @pytest.mark.parametrize(("threshold", "accepted"), [(0.0, False), (-1e-6, True)])
    def test_sanity(self, threshold, accepted):
        asked = []
        makers = SimpleNamespace(maps=lambda question, keys: asked.append(question.accepted) or {})
        faces = [pixels.astype(np.float32) / 255 for pixels in (RED, BLUE)]
        sanity._maps(makers, MeanColour(), *faces, [], threshold, np.random.default_rng(0))
        assert asked == [accepted]


class TestPairScores:
    def test_is_checked_once_and_handed_on(self):
        scores = PairScores(*near_and_far(), folds=2)
        assert PairScores.of(scores) is PairScores.of(scores, folds=3) is scores
        assert scores.fold_count == 2
        assert scores.outside(0) is scores.outside(0)
        assert (scores.outside(0).distances == scores.distances[40:]).all()

    def test_folds_can_be_given_later(self):
        scores = PairScores(*near_and_far())
        assert (scores.folds, scores.fold_count) == (None, 0)
        assert PairScores.of(scores, folds=4).fold_count == 4

    def test_cannot_be_changed_and_changes_nothing(self):
        distances, genuine = near_and_far()
        scores = PairScores(distances, genuine, 2)
        for array in (scores.distances, scores.genuine, scores.folds):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1
        distances[0], genuine[0] = 2, False
        assert scores.distances[0] == 0.6
        assert scores.genuine[0]
