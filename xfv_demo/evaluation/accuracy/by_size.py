"""How honest the confidence is on photos worse than the data set's, without and with their faces' sizes."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfv_demo.batch.align import FaceChoice
from xfv_demo.batch.cache import EmbeddingStore
from xfv_demo.batch.embed import embed_images
from xfv_demo.calibration.calibration import Calibration
from xfv_demo.calibration.calibrators import DEFAULT_METHOD
from xfv_demo.datasets.altered import AlteredImages
from xfv_demo.datasets.pairs import PairSet
from xfv_demo.evaluation.accuracy.degradations import DEGRADATIONS
from xfv_demo.evaluation.accuracy.measure import measure
from xfv_demo.evaluation.accuracy.small_copies import COPIED_PAIRS, SIZE_RANGE
from xfv_demo.metrics.confidence import (
    brier_score,
    equal_class_weights,
    expected_calibration_error,
    log_loss,
)
from xfv_demo.metrics.decision import LARGEST_DISTANCE
from xfv_demo.metrics.intervals import Booleans, Doubles, Integers, Interval, wilson_interval
from xfv_demo.models.compiled import CompiledEmbedder
from xfv_demo.models.similarity import cosine_distance
from xfv_demo.runtime.console import progress_bar
from xfv_demo.runtime.paths import cache_folder
from xfv_demo.runtime.provenance import provenance, rounded

FORMAT = ("xfv-demo confidence by size of the face", 1)

# Of the smaller face, in pixels between the eyes; the last is the model's own crop.
SIZE_EDGES = (6.0, 7.0, 8.0, 10.0, 13.0, 18.0, 25.0, SIZE_RANGE[1])


@dataclass(frozen=True)
class Honesty:
    """Decisions and their confidences; genuine and impostor pairs count equally.

    Attributes:
        accuracy: Share of right decisions.
        confidence: Mean of what was stated.
        ece: Expected calibration error, ten bins of equal width over [0.5, 1].
        log_loss: In nats.
        brier: Brier score.
        fmr: False match rate.
        fnmr: False non-match rate.
        interval: 95 % Wilson interval of the accuracy.
    """

    accuracy: float
    confidence: float
    ece: float
    log_loss: float
    brier: float
    fmr: float
    fnmr: float
    interval: Interval

    @classmethod
    def of(cls, same_person: Booleans, confidences: Doubles, genuine: Booleans) -> "Honesty":
        """Measures decisions: (N,) each, of both classes."""
        right = same_person == genuine
        weights = equal_class_weights(genuine)
        return cls(
            accuracy=float(np.average(right, weights=weights)),
            confidence=float(np.average(confidences, weights=weights)),
            ece=expected_calibration_error(confidences, right, weights=weights),
            log_loss=log_loss(confidences, right, weights=weights),
            brier=brier_score(confidences, right, weights=weights),
            fmr=float(same_person[~genuine].mean()),
            fnmr=float(1 - same_person[genuine].mean()),
            interval=wilson_interval(int(np.count_nonzero(right)), right.size),
        )


@dataclass(frozen=True)
class SizeRow:
    """Pairs of one kind.

    Attributes:
        kind: A key of `DEGRADATIONS`, or "as they are"; where rows are by size, "size".
        title: What people call it.
        worse: Which photos of a pair are worse: "none", "both", or "one", the second.
        is_seen: Whether a calibration by size is fitted to such changes.
        pairs: How many there are.
        lost: How many more of which a face was not found.
        size: Median of the smaller face's size, in pixels between the eyes.
        before: By the plain calibration.
        after: By that which counts the sizes in.
    """

    kind: str
    title: str
    worse: str
    is_seen: bool
    pairs: int
    lost: int
    size: float
    before: Honesty
    after: Honesty


@dataclass(frozen=True, eq=False)
class SizeReport:
    """What a labelled set tells of confidences by size; each decision by a fit that did not see its fold.

    Attributes:
        model: The model's name.
        dataset: The set's name.
        pairs: Of how many pairs the rows of worse photos are.
        copied_pairs: Of how many pairs the sizes' fit is.
        size_range: What the calibration covers, in pixels between the eyes.
        rows: By kind.
        sizes: By the smaller face's size, of all pairs that were shrunk or are as they are.
        about: As from `provenance`.
    """

    model: str
    dataset: str
    pairs: int
    copied_pairs: int
    size_range: tuple[float, float]
    rows: tuple[SizeRow, ...]
    sizes: tuple[SizeRow, ...]
    about: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, numbers to six digits."""
        name, version = FORMAT
        plain = {"format": name, "version": version, **asdict(self)}
        return {key: rounded(value) for key, value in plain.items()}


@dataclass(frozen=True, eq=False)
class _Decided:
    """Pairs decided by both calibrations: (N,) each, sizes (N, 2)."""

    genuine: Booleans
    sizes: Doubles
    before: tuple[Booleans, Doubles]
    after: tuple[Booleans, Doubles]
    lost: int = 0

    @classmethod
    def by(
        cls,
        calibrations: Sequence[Calibration],
        measured: ArrayLike,
        sizes: Doubles,
        genuine: Booleans,
        folds: Integers,
    ) -> "_Decided":
        distances = np.asarray(measured, dtype=np.float64)
        there = np.isfinite(distances)
        distances, sizes = np.clip(distances[there], 0, LARGEST_DISTANCE), sizes[there]
        genuine, folds = genuine[there], folds[there]

        def decide(at: Doubles | None) -> tuple[Booleans, Doubles]:
            same, confidences = np.zeros(len(folds), np.bool_), np.zeros(len(folds))
            for fold, calibration in enumerate(calibrations):
                rows = folds == fold
                some = None if at is None else at[rows]
                same[rows] = calibration.same_person(distances[rows], some)
                confidences[rows] = calibration.confidence(distances[rows], some)
            return same, confidences

        return cls(genuine, sizes, decide(None), decide(sizes), int(np.count_nonzero(~there)))

    def where(self, rows: Booleans) -> "_Decided":
        before, after = ((same[rows], stated[rows]) for same, stated in (self.before, self.after))
        return _Decided(self.genuine[rows], self.sizes[rows], before, after)

    @classmethod
    def joined(cls, parts: Sequence["_Decided"]) -> "_Decided":
        def together(pick: Callable[["_Decided"], NDArray[Any]]) -> NDArray[Any]:
            return np.concatenate([pick(one) for one in parts])

        return cls(
            together(lambda one: one.genuine),
            together(lambda one: one.sizes),
            (together(lambda one: one.before[0]), together(lambda one: one.before[1])),
            (together(lambda one: one.after[0]), together(lambda one: one.after[1])),
        )

    def row(self, kind: str, title: str, worse: str, *, is_seen: bool) -> SizeRow:
        return SizeRow(
            kind,
            title,
            worse,
            is_seen,
            len(self.genuine),
            self.lost,
            float(np.median(self.sizes.min(axis=1))),
            Honesty.of(*self.before, self.genuine),
            Honesty.of(*self.after, self.genuine),
        )


def measure_by_size(
    pairs: PairSet, embedder: CompiledEmbedder, *, worse_pairs: int, face: FaceChoice, command: str
) -> SizeReport:
    """Measures a model's confidences on a set's photos, and on worse copies of them.

    Args:
        pairs: The set, of photos and in folds.
        embedder: The model.
        worse_pairs: Of how many pairs worse copies are made, an even subset.
        face: Which face of an image is its person's.
        command: What repeats the result.

    Returns:
        The report.

    Raises:
        CalibrationError: As `Calibration.foldwise`.
        DatasetError: An image is missing.
    """
    measured = measure(pairs, embedder, face, copies=True)
    calibrations = Calibration.foldwise(
        measured.scores, method=DEFAULT_METHOD, copies=measured.copies, size_range=SIZE_RANGE
    )
    scores, sizes = measured.scores, np.asarray(measured.sizes)
    whole = _Decided.by(calibrations, scores.distances, sizes, scores.genuine, np.asarray(scores.folds))
    rows = [whole.row("as they are", "as they are", "none", is_seen=True)]
    subset = pairs.subset(worse_pairs)
    folds = np.searchsorted(np.unique(pairs.folds), subset.folds)
    of_sizes = {"one": [whole], "both": [whole]}
    with closing(EmbeddingStore(cache_folder() / "embeddings.sqlite")) as store:

        def embedded(source: Any, words: str) -> tuple[Any, Doubles]:
            with progress_bar(words) as show:
                made = embed_images(source, subset.images, embedder, store, face=face, progress=show)
            return made.unit_length(), made.sizes

        own = embedded(subset.source, "Photos as they are")
        for kind, degradation in DEGRADATIONS.items():
            worse = embedded(AlteredImages(subset.source, degradation.alter), f"Photos {degradation.title}")
            for which, first in (("one", own), ("both", worse)):
                decided = _Decided.by(
                    calibrations,
                    cosine_distance(first[0][subset.first], worse[0][subset.second]),
                    np.stack([first[1][subset.first], worse[1][subset.second]], axis=1),
                    subset.genuine,
                    folds,
                )
                rows.append(decided.row(kind, degradation.title, which, is_seen=degradation.is_size))
                if degradation.is_size:
                    of_sizes[which].append(decided)
    return SizeReport(
        model=embedder.name,
        dataset=pairs.name,
        pairs=len(subset),
        copied_pairs=min(COPIED_PAIRS, len(pairs)),
        size_range=SIZE_RANGE,
        rows=tuple(rows),
        sizes=tuple(row for which, several in of_sizes.items() for row in _by_size(which, several)),
        about=provenance(embedder, command),
    )


def _by_size(which: str, several: Sequence[_Decided]) -> list[SizeRow]:
    """The pairs of several kinds, by their smaller face's size."""
    bins = [np.digitize(one.sizes.min(axis=1), SIZE_EDGES) for one in several]
    rows = []
    for number in range(1, len(SIZE_EDGES) + 1):
        joined = _Decided.joined(
            [one.where(place == number) for one, place in zip(several, bins, strict=True)]
        )
        title = f"from {SIZE_EDGES[number - 1]:.0f} pixels"
        if 0 < np.count_nonzero(joined.genuine) < len(joined.genuine):
            rows.append(joined.row("size", title, which, is_seen=True))
    return rows


def markdown(report: SizeReport) -> str:
    """The rows, as docs/results has them; of numbers as the file keeps them."""
    lines = [
        f"| photos of {report.dataset} | pairs | accuracy | ECE | log loss | with sizes: accuracy | ECE | "
        "log loss |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in report.rows:
        which = "" if row.worse == "none" else f", {row.worse}"
        numbers = " | ".join(
            f"{100 * rounded(one.accuracy):.2f} % | {100 * rounded(one.ece):.2f} % | "
            f"{rounded(one.log_loss):.4f}"
            for one in (row.before, row.after)
        )
        lines.append(f"| {row.title}{which} | {row.pairs:,} | {numbers} |")
    return "\n".join(lines)
