"""Explanations measured side by side: one table of methods by quality and by seconds for a pair."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xfv_demo.datasets.pairs import PairCounts
from xfv_demo.evaluation.explanations.methods import BASELINES, COMPARED_METHODS
from xfv_demo.evaluation.explanations.sanity import Sanity
from xfv_demo.metrics.faithfulness import Area
from xfv_demo.runtime.files import json_text, write_whole
from xfv_demo.runtime.provenance import rounded

_FORMAT = "xfv-demo explanation benchmark"
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class Areas:
    """How good a contender's maps are, on some pairs.

    Attributes:
        pairs: How many.
        fmr: Area under the FMR curve of patch replacement, as `replacement` has it; lower is better.
        fnmr: Area under its FNMR curve; lower is better.
        replacement: The mean of the two.
        deletion: Area under the accuracy curve of deletion; lower is better.
        insertion: Area under that of insertion; higher is better.
        found: Localisation AUC, `faithfulness.localisation_auc`; higher is better.
    """

    pairs: PairCounts
    fmr: Area
    fnmr: Area
    replacement: Area
    deletion: Area
    insertion: Area
    found: Area


@dataclass(frozen=True)
class Curves:
    """A contender's curves on the common pairs.

    Attributes:
        fmr: For shares of 0, 5, ..., 95 % put back.
        fnmr: Likewise.
        deletion: Accuracy, for shares of 0, 5, ..., 100 % deleted.
        insertion: Accuracy, likewise inserted.
    """

    fmr: tuple[float, ...]
    fnmr: tuple[float, ...]
    deletion: tuple[float, ...]
    insertion: tuple[float, ...]


@dataclass(frozen=True)
class MeasuredMethod:
    """What was measured of a contender.

    Attributes:
        key: Of `COMPARED_METHODS`.
        title: What people call it.
        seconds: Median time to explain a pair, both photos; None for maps that know nothing.
        common: On the pairs that all contenders were measured on.
        every: On all pairs that it was measured on.
        unseen: On those of them that show nobody whom xCos's head was trained on; None where xCos was not
            measured, or they are too few.
        curves: On the common pairs.
        sanity: What its maps depend on.
    """

    key: str
    title: str
    seconds: float | None
    common: Areas
    every: Areas
    unseen: Areas | None
    curves: Curves
    sanity: Sanity | None


@dataclass(frozen=True)
class Difference:
    """How far two contenders are apart, on the same pairs.

    Attributes:
        one: A contender.
        other: Another.
        replacement: The one's area of replacement less the other's.
        deletion: Likewise of deletion.
        insertion: Likewise of insertion.
        found: Likewise of the localisation AUC.
    """

    one: str
    other: str
    replacement: Area
    deletion: Area
    insertion: Area
    found: Area


@dataclass(frozen=True)
class Rates:
    """Errors at the unchanged threshold.

    Attributes:
        fmr: Share of the impostor pairs that are accepted.
        fnmr: Share of the genuine pairs that are rejected.
    """

    fmr: float
    fnmr: float


@dataclass(frozen=True)
class Comparison:
    """What follows from the outcomes of contenders.

    Attributes:
        clean: Errors without patches, on all pairs.
        patched: Errors with them.
        contenders: The best first, by the area of replacement on the common pairs.
        differences: Of every two contenders, in the contenders' order, on the common pairs.
        quick_differences: Of every two that were measured on all pairs, on all pairs, the better first.
        agreement: For every two contenders, by their keys, the mean of Spearman's correlations of their maps
            of the common pairs without patches, averaged over blocks of 4 x 4 pixels.
    """

    clean: Rates
    patched: Rates
    contenders: tuple[MeasuredMethod, ...]
    differences: tuple[Difference, ...]
    quick_differences: tuple[Difference, ...]
    agreement: Mapping[str, Mapping[str, float | None]]


@dataclass(frozen=True)
class BenchmarkReport(Comparison):
    """Contenders side by side, and how they were measured.

    Attributes:
        model: The embedder's name.
        model_sha256: The hash of its files.
        engine: What computed the embeddings.
        dataset: The labelled set.
        seed: What patches, ties and noise were drawn from.
        threshold: T, on the cosine similarity.
        left_out: How many pairs lack a face.
        sanity_pairs: How many pairs the sanity checks were made on.
        refused: By contender that could not be measured, the reason.
        kept: How many outcomes were there from earlier runs.
        seconds: How long this run took.
        date: When it was.
        command: What repeats it.
        versions: Of the libraries.
    """

    model: str
    model_sha256: str | None
    engine: str | None
    dataset: str
    seed: int
    threshold: float
    left_out: int
    sanity_pairs: int
    refused: Mapping[str, str]
    kept: int
    seconds: float
    date: datetime.date
    command: str
    versions: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, numbers to six digits."""
        plain = {**asdict(self), "date": self.date.isoformat()}
        return {"format": _FORMAT, "version": _FORMAT_VERSION, **rounded(plain)}

    def save(self, path: Path) -> None:
        """Writes `to_dict` as JSON, whole or not at all.

        Raises:
            XfvError: The file cannot be written.
        """
        write_whole(path, f"{json_text(self.to_dict(), indent=1, ensure_ascii=False)}\n".encode())

    def result(self, key: str) -> MeasuredMethod:
        """One contender's."""
        return next(one for one in self.contenders if one.key == key)


def default_methods(contenders: Sequence[MeasuredMethod]) -> tuple[str, ...]:
    """What a page should explain by: the best method, and one that is there at once.

    Args:
        contenders: What was measured, the best first.

    Returns:
        One or two keys of `EXPLAINERS`: of the least area of patch replacement on the common pairs; and of
        the least, on all pairs, among those that are there at once, as they need no hundreds of passes
        through the model, and need nothing that was trained for it, so that they are there for any model.
    """
    methods = [one for one in contenders if one.key not in BASELINES]
    quick = [
        one for one in methods if not (COMPARED_METHODS[one.key].slow or COMPARED_METHODS[one.key].trained)
    ]
    quick.sort(key=lambda one: one.every.replacement.value)
    return tuple(dict.fromkeys(COMPARED_METHODS[one.key].method for one in (*methods[:1], *quick[:1])))
