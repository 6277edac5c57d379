"""Which fit decides on a data set's pairs, and what it decides: by one that has not seen them."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from xfv_demo.calibration.calibration import Calibration
from xfv_demo.calibration.calibrators import DEFAULT_METHOD
from xfv_demo.calibration.labelled_distances import MINIMUM_PAIRS
from xfv_demo.datasets.folds import even_rows
from xfv_demo.datasets.pairs import PairSet
from xfv_demo.errors import CalibrationError, DatasetError
from xfv_demo.explore.schema import CalibrationEntry
from xfv_demo.metrics.decision import is_same
from xfv_demo.metrics.intervals import Booleans, Doubles, Integers
from xfv_demo.metrics.likelihood_ratio import log10_likelihood_ratios
from xfv_demo.metrics.pair_scores import PairScores
from xfv_demo.models.compiled import CompiledEmbedder
from xfv_demo.verification import PROVISIONAL_THRESHOLD, Verifier

# As for a calibration: a threshold of highest accuracy would please a class of more than this many times the
# other's pairs.
_MOST_UNBALANCED = 2


@dataclass(frozen=True)
class Fit:
    """What is to decide.

    Attributes:
        kind: As for `CalibrationEntry.fit`.
        calibration: The model's, where the pairs themselves are not fitted to and it has one.
        notice: A line on why there is no confidence; None where there is one.
    """

    kind: Literal["foldwise", "elsewhere", "none"]
    calibration: Calibration | None = None
    notice: str | None = None


@dataclass(frozen=True, eq=False)
class Decisions:
    """What is decided on P pairs.

    Attributes:
        entry: By what.
        thresholds: (P,) float64, distance thresholds.
        same_person: (P,) bool; False where there is no distance.
        confidences: (P,) float64 in [0.5, 1); NaN where there is none.
        log10_ratios: (P,) float64, the likelihood ratios; NaN likewise.
    """

    entry: CalibrationEntry
    thresholds: Doubles
    same_person: Booleans
    confidences: Doubles
    log10_ratios: Doubles


def choose_fit(pairs: PairSet, embedder: CompiledEmbedder, dataset: str | None = None) -> Fit:
    """Chooses what decides on a data set's pairs.

    Args:
        pairs: The data set, in folds.
        embedder: The model.
        dataset: The set whose calibration of the model is to decide; where None, fits to the other folds do,
            where there are enough pairs, else the model's calibration on LFW.

    Raises:
        CalibrationError: The calibration that was asked for is not there.
    """
    reason = None
    if dataset is None:
        try:
            pairs.require(MINIMUM_PAIRS, outside_folds=True)
        except DatasetError as error:
            reason = str(error).removesuffix(".")
        else:
            return Fit("foldwise")
    calibration = Verifier.calibrated(embedder, dataset).calibration
    if calibration is None:
        return Fit("none", notice=f"no confidence is given: {reason}, and {embedder.name} is not calibrated")
    if calibration.dataset == pairs.name:
        own = f"{embedder.name}'s calibration was made on {pairs.name} itself"
        return Fit("none", calibration, f"no confidence is given: {f'{reason}, and ' if reason else ''}{own}")
    return Fit("elsewhere", calibration)


def decide(
    fit: Fit, pairs: PairSet, distances: Doubles, sizes: Doubles, embedder: CompiledEmbedder
) -> Decisions:
    """Decides on pairs.

    Args:
        fit: As from `choose_fit`.
        pairs: The data set, in folds.
        distances: (P,) cosine distances; NaN where there is none.
        sizes: (P, 2) pixels between the eyes; NaN likewise.
        embedder: The model.

    Raises:
        CalibrationError: The pairs cannot be fitted to.
    """
    known = np.isfinite(distances)
    by_fold: dict[int, Calibration] = {}
    calibration = fit.calibration
    if fit.kind == "foldwise":
        calibration, by_fold = _fitted(pairs, distances, known, embedder)
    thresholds = np.full(len(pairs), PROVISIONAL_THRESHOLD)
    confidences, ratios = np.full((2, len(pairs)), np.nan)
    if calibration is not None:
        for fold in np.unique(pairs.folds):
            (rows,) = np.nonzero(known & (pairs.folds == fold))
            # Without a fit of its own where none of its pairs was fitted to: the whole has not seen them.
            one = by_fold.get(int(fold), calibration)
            thresholds[rows] = one.threshold_at(sizes[rows])
            if fit.kind != "none":
                confidences[rows], ratios[rows] = _stated(one, distances[rows], sizes[rows], thresholds[rows])
    return Decisions(
        CalibrationEntry(
            fit=fit.kind,
            method=None if fit.kind == "none" or calibration is None else calibration.method,
            dataset=None if calibration is None else calibration.dataset,
            threshold=PROVISIONAL_THRESHOLD if calibration is None else calibration.threshold,
            eer_threshold=None if calibration is None else calibration.eer_threshold,
        ),
        thresholds,
        known & is_same(np.where(known, distances, np.inf), thresholds),
        confidences,
        ratios,
    )


def _fitted(
    pairs: PairSet, distances: Doubles, known: Booleans, embedder: CompiledEmbedder
) -> tuple[Calibration, dict[int, Calibration]]:
    """A fit to all pairs, and for each fold one to the others."""
    rows = _balanced_rows(pairs, known)
    settings: dict[str, Any] = {
        "method": DEFAULT_METHOD,
        "model": embedder.name,
        "model_sha256": embedder.sha256,
        "dataset": pairs.name,
    }
    try:
        scores = PairScores(distances[rows], pairs.genuine[rows], pairs.folds[rows])
        whole = Calibration.fit(scores, **settings)
        parts = Calibration.foldwise(scores, **settings)
    except (CalibrationError, DatasetError) as error:
        raise CalibrationError(
            f"no confidence can be fitted to {pairs.name}: {error}; give --calibration, the set of "
            "one that there is of this model"
        ) from error
    return whole, dict(zip(np.unique(pairs.folds[rows]).tolist(), parts, strict=True))


def _balanced_rows(pairs: PairSet, known: Booleans) -> Integers:
    """Those with a distance; an even part of them where one class has far more than the other."""
    (rows,) = np.nonzero(known)
    genuine = int(np.count_nonzero(pairs.genuine[rows]))
    smaller, larger = sorted((genuine, rows.size - genuine))
    if larger <= _MOST_UNBALANCED * smaller:
        return rows
    return rows[even_rows(pairs.genuine[rows], pairs.folds[rows], 2 * smaller)]


def _stated(
    calibration: Calibration, distances: Doubles, sizes: Doubles, thresholds: Doubles
) -> tuple[Doubles, Doubles]:
    """Confidences and likelihood ratios, as `Verifier` states them."""
    by_size = calibration.sizes is not None
    bounds = [calibration.probability_bounds(pair) for pair in (sizes if by_size else (None,))]
    low, high = (np.array([getattr(one, end) for one in bounds]) for end in ("low", "high"))
    probabilities = np.clip(calibration.probability(distances, sizes), low, high)
    right = np.where(is_same(distances, thresholds), probabilities, 1 - probabilities)
    return np.maximum(right, 0.5), log10_likelihood_ratios(probabilities)
