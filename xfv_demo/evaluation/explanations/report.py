"""Explanations measured side by side: one table of methods by quality and by seconds for a pair."""

import contextlib
import datetime
import itertools
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xfv_demo.batch.align import Progress
from xfv_demo.batch.cache import MeasurementStore
from xfv_demo.datasets.pairs import PairCounts, even_rows
from xfv_demo.errors import DatasetError, XfvError
from xfv_demo.evaluation.explanations.measurements import MeasuredPairs, measure_methods
from xfv_demo.evaluation.explanations.methods import (
    BASELINES,
    COMPARED_METHODS,
    AttributionRunner,
    ComparedMethod,
)
from xfv_demo.evaluation.explanations.patch_lfw import PatchLfw
from xfv_demo.evaluation.explanations.sanity import Sanity, check_sanity
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.metrics.error_rates import is_same_by_similarity
from xfv_demo.metrics.faithfulness import (
    Area,
    accuracy_areas,
    accuracy_curve,
    balanced_means,
    error_curves,
    rank_correlations,
    replacement_areas,
    resampled_means,
)
from xfv_demo.runtime.files import json_text, write_whole
from xfv_demo.runtime.provenance import library_versions, rounded

if TYPE_CHECKING:
    from xfv_demo.models.savedmodel import SavedModelEmbedder
    from xfv_demo.models.xcos_head import TrainedHead

_FORMAT = "xfv-demo explanation benchmark"
_FORMAT_VERSION = 1
# Pairs for the times; the first warms up.
_TIMED = 6


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


def run_benchmark(
    patch_lfw: PatchLfw,
    embedder: "SavedModelEmbedder",
    contenders: Sequence[ComparedMethod],
    similarity_threshold: float,
    store: MeasurementStore,
    *,
    slow_pairs: int,
    sanity_pairs: int,
    command: str = "",
    progress: Callable[[str], Progress] | None = None,
) -> BenchmarkReport:
    """Measures contenders on patched pairs, checks and times them.

    Args:
        patch_lfw: The pairs.
        embedder: The model.
        contenders: As from `check_compared_methods`.
        similarity_threshold: T, that of equal error rate on the cosine similarity.
        store: Where results are kept.
        slow_pairs: On how many pairs, an even subset, slow contenders are measured.
        sanity_pairs: On how many genuine ones of them what maps depend on is checked; 0 for no check.
        command: What repeats the run, for the report.
        progress: Called with the name of each part of the work; returns what is called with the number of
            pairs done and of all.

    Returns:
        The report.

    Raises:
        XfvError: No contender but the baselines can explain the model, or the store cannot be used.
    """
    start = time.monotonic()
    show = progress or (lambda _part: lambda _done, _all: None)
    head = _xcos_head(embedder, contenders)

    def make(model: "SavedModelEmbedder", seed: int | None) -> AttributionRunner:
        return AttributionRunner(model, similarity_threshold, contenders, xcos_head=head, corrrise_seed=seed)

    makers = make(embedder, None)
    if all(one.key in BASELINES for one in makers.contenders):
        raise XfvError(f"no method can explain this model: {'; '.join(makers.refused.values())}")
    genuine, folds = patch_lfw.genuine, np.array([pair.fold for pair in patch_lfw.pairs])
    slow_rows = even_rows(genuine, folds, min(slow_pairs, len(patch_lfw)))
    _check_kinds(genuine[slow_rows])
    measured = measure_methods(
        patch_lfw,
        embedder,
        makers,
        similarity_threshold,
        store,
        slow_rows=set(slow_rows.tolist()),
        progress=show("Measuring"),
    )
    of_genuine = slow_rows[genuine[slow_rows]]
    checked = of_genuine[np.linspace(0, of_genuine.size - 1, min(sanity_pairs, of_genuine.size)).astype(int)]
    sanity = check_sanity(
        patch_lfw,
        checked.tolist(),
        embedder,
        makers,
        make,
        similarity_threshold,
        store,
        progress=show("Checking"),
    )
    timed = slow_rows[:_TIMED].tolist()
    seconds = time_methods(
        embedder, patch_lfw, timed, makers.contenders, similarity_threshold, progress=show("Timing")
    )
    unseen = _unseen(patch_lfw, head)
    compared = compare(
        measured, similarity_threshold, seconds=seconds, sanity=sanity, unseen=unseen, seed=patch_lfw.seed
    )
    return BenchmarkReport(
        **vars(compared),
        model=embedder.name,
        model_sha256=embedder.sha256,
        engine=embedder.engine,
        dataset=patch_lfw.name,
        seed=patch_lfw.seed,
        threshold=similarity_threshold,
        left_out=patch_lfw.left_out,
        sanity_pairs=len(checked),
        refused=makers.refused,
        kept=measured.kept,
        seconds=time.monotonic() - start,
        date=datetime.date.today(),
        command=command,
        versions=library_versions(),
    )


def compare(
    measured: MeasuredPairs,
    similarity_threshold: float,
    *,
    seconds: Mapping[str, float],
    sanity: Mapping[str, Sanity],
    unseen: NDArray[np.bool_] | None = None,
    seed: int = 0,
) -> Comparison:
    """Makes the table of what was measured.

    Args:
        measured: The outcomes.
        similarity_threshold: T, on the cosine similarity.
        seconds: By contender, the time for a pair.
        sanity: By contender, what its maps depend on.
        unseen: (P,) bool, which pairs show nobody whom xCos's head was trained on.
        seed: What the bootstrap is drawn from.

    Returns:
        The contenders by quality, and what is between them.

    Raises:
        DatasetError: There are not two genuine and two impostor pairs that all were measured on.
    """
    keys = list(measured.outcomes)
    common = measured.rows(keys)
    genuine = measured.genuine
    _check_kinds(genuine[common])
    results = [
        MeasuredMethod(
            key=key,
            title=COMPARED_METHODS[key].title,
            seconds=seconds.get(key),
            common=_areas(measured, key, common, similarity_threshold, seed),
            every=_areas(measured, key, measured.rows([key]), similarity_threshold, seed),
            unseen=_areas_where_possible(measured, key, unseen, similarity_threshold, seed),
            curves=_curves(measured, key, common, similarity_threshold),
            sanity=sanity.get(key),
        )
        for key in keys
    ]
    results.sort(key=lambda one: one.common.replacement.value)
    quick = sorted(
        (one for one in results if one.every.pairs.total == len(genuine)),
        key=lambda one: one.every.replacement.value,
    )
    maps = {key: measured.of(key, "clean_map", common) for key in keys}
    agreement = {
        one.key: {other.key: _mean_correlation(maps[one.key], maps[other.key]) for other in results}
        for one in results
    }
    return Comparison(
        _rates(measured.clean, genuine, similarity_threshold),
        _rates(measured.patched, genuine, similarity_threshold),
        tuple(results),
        _differences(measured, [one.key for one in results], common, similarity_threshold, seed),
        _differences(measured, [one.key for one in quick], np.ones_like(common), similarity_threshold, seed),
        agreement,
    )


def time_methods(
    embedder: Any,
    patch_lfw: PatchLfw,
    rows: Sequence[int],
    contenders: Sequence[ComparedMethod],
    similarity_threshold: float,
    *,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Times explanations of pairs without patches, one after the other, both photos of each.

    Contenders that come out of one explainer with its default settings share its time.

    Args:
        embedder: The model.
        patch_lfw: The pairs.
        rows: Which of them, at least two; the first warms up and is not counted.
        contenders: Which; baselines are not timed.
        similarity_threshold: T, on the cosine similarity.
        progress: Called with the number of pairs done and of all.

    Returns:
        By contender, the median of the seconds for a pair.
    """
    # What is to be run, by its name: the method's or, with settings of its own, the contender's.
    runs = {one.key if one.settings else one.method: one for one in contenders if one.key not in BASELINES}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for done, row in enumerate(rows, 1):
        faces = patch_lfw.faces(patch_lfw.pairs[row])
        for name, one in runs.items():
            explainer = EXPLAINERS[one.method]
            known = {"threshold": similarity_threshold} if explainer.takes_threshold else {}
            settings = {name: value for name, value in one.settings.items() if name != "comparison"}
            start = time.perf_counter()
            steps = explainer.stream_all(embedder, faces.original, faces.second, **known, **settings)
            deque(steps, maxlen=0)
            times[name].append(time.perf_counter() - start)
        if progress is not None:
            progress(done, len(rows))
    medians = {name: float(np.median(several[1:])) for name, several in times.items()}
    return {
        one.key: medians[one.key if one.settings else one.method]
        for one in contenders
        if one.key not in BASELINES
    }


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


def _check_kinds(genuine: NDArray[np.bool_]) -> None:
    if min(genuine.sum(), (~genuine).sum()) < 2:
        raise DatasetError(
            "two genuine and two impostor pairs at least are needed that every method is measured on"
        )


def _pair_areas(
    measured: MeasuredPairs, key: str, rows: NDArray[np.bool_], similarity_threshold: float
) -> dict[str, NDArray[np.float64]]:
    genuine = measured.genuine[rows]
    return {
        "replacement": replacement_areas(measured.of(key, "replaced", rows), genuine, similarity_threshold),
        "deletion": accuracy_areas(measured.of(key, "deleted", rows), genuine, similarity_threshold),
        "insertion": accuracy_areas(measured.of(key, "inserted", rows), genuine, similarity_threshold),
        "found": measured.of(key, "found", rows)[:, 0].astype(np.float64),
    }


def _areas(
    measured: MeasuredPairs, key: str, rows: NDArray[np.bool_], similarity_threshold: float, seed: int
) -> Areas:
    genuine = measured.genuine[rows]
    areas = _pair_areas(measured, key, rows, similarity_threshold)
    of_pairs = areas["replacement"][:, None]
    balanced = {
        name: balanced_means(values[:, None], genuine, np.random.default_rng(seed)).area(0)
        for name, values in areas.items()
    }
    return Areas(
        pairs=PairCounts.of(genuine),
        fmr=resampled_means(of_pairs[~genuine], np.random.default_rng(seed)).area(0),
        fnmr=resampled_means(of_pairs[genuine], np.random.default_rng(seed)).area(0),
        **balanced,
    )


def _differences(
    measured: MeasuredPairs,
    keys: Sequence[str],
    rows: NDArray[np.bool_],
    similarity_threshold: float,
    seed: int,
) -> tuple[Difference, ...]:
    """Of every two contenders, in the order given, on some pairs that all of them were measured on."""
    areas = [_pair_areas(measured, key, rows, similarity_threshold) for key in keys]
    genuine = measured.genuine[rows]
    means = [
        balanced_means(
            np.stack([of_one[name] for of_one in areas], axis=1), genuine, np.random.default_rng(seed)
        )
        for name in ("replacement", "deletion", "insertion", "found")
    ]
    return tuple(
        Difference(keys[one], keys[other], *(several.difference(one, other) for several in means))
        for one, other in itertools.combinations(range(len(keys)), 2)
    )


def _areas_where_possible(
    measured: MeasuredPairs,
    key: str,
    wanted: NDArray[np.bool_] | None,
    similarity_threshold: float,
    seed: int,
) -> Areas | None:
    if wanted is None:
        return None
    rows = measured.rows([key]) & wanted
    if min((rows & measured.genuine).sum(), (rows & ~measured.genuine).sum()) < 2:
        return None
    return _areas(measured, key, rows, similarity_threshold, seed)


def _curves(
    measured: MeasuredPairs, key: str, rows: NDArray[np.bool_], similarity_threshold: float
) -> Curves:
    genuine = measured.genuine[rows]
    errors = error_curves(measured.of(key, "replaced", rows), genuine, similarity_threshold)
    deleted, inserted = (
        accuracy_curve(measured.of(key, part, rows), genuine, similarity_threshold)
        for part in ("deleted", "inserted")
    )
    curves = errors.fmr, errors.fnmr, deleted, inserted
    return Curves(*(tuple(float(value) for value in curve) for curve in curves))


def _rates(
    similarities: NDArray[np.float32], genuine: NDArray[np.bool_], similarity_threshold: float
) -> Rates:
    accepted = is_same_by_similarity(similarities, similarity_threshold)
    return Rates(fmr=float(accepted[~genuine].mean()), fnmr=float((~accepted[genuine]).mean()))


def _mean_correlation(maps: NDArray[np.float32], others: NDArray[np.float32]) -> float | None:
    correlations = rank_correlations(maps, others)
    return float(np.nanmean(correlations)) if np.isfinite(correlations).any() else None


def _xcos_head(embedder: "SavedModelEmbedder", contenders: Sequence[ComparedMethod]) -> "TrainedHead | None":
    """The model's head; None where xCos is not asked for, or will say itself why it cannot be."""
    if not any(one.method == "xcos" for one in contenders):
        return None
    # Keras takes seconds to import.
    from xfv_demo.models.xcos_head import load_head

    with contextlib.suppress(XfvError):
        return load_head(embedder)
    return None


def _unseen(patch_lfw: PatchLfw, head: "TrainedHead | None") -> NDArray[np.bool_] | None:
    if head is None:
        return None
    people = [
        {PurePosixPath(key).parent.name for key in (pair.first, pair.second)} for pair in patch_lfw.pairs
    ]
    return np.array([names.isdisjoint(head.people) for names in people], np.bool_)
