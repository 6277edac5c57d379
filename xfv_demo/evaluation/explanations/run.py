"""Runs the benchmark of explanations: measures, checks and times all methods on patched pairs."""

import contextlib
import datetime
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xfv_demo.batch.align import Progress
from xfv_demo.batch.cache import MeasurementStore
from xfv_demo.datasets.folds import even_rows
from xfv_demo.errors import XfvError
from xfv_demo.evaluation.explanations.comparison import check_kinds, compare
from xfv_demo.evaluation.explanations.measurements import measure_methods
from xfv_demo.evaluation.explanations.methods import BASELINES, AttributionRunner, ComparedMethod
from xfv_demo.evaluation.explanations.patch_lfw import PatchLfw
from xfv_demo.evaluation.explanations.report import BenchmarkReport
from xfv_demo.evaluation.explanations.sanity import check_sanity
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.models.savedmodel import SavedModelEmbedder
from xfv_demo.runtime.provenance import library_versions

if TYPE_CHECKING:
    from xfv_demo.models.compiled import CompiledEmbedder
    from xfv_demo.models.xcos_head import TrainedHead

# Pairs for the times; the first warms up.
_TIMED = 6


def run_benchmark(
    patch_lfw: PatchLfw,
    embedder: "CompiledEmbedder",
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
        sanity_pairs: On how many genuine ones of them what maps depend on is checked; 0 for no check, and
            for a model that is no SavedModel, whose weights cannot be shuffled.
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

    def make(model: "CompiledEmbedder", seed: int | None) -> AttributionRunner:
        return AttributionRunner(model, similarity_threshold, contenders, xcos_head=head, corrrise_seed=seed)

    makers = make(embedder, None)
    if all(one.key in BASELINES for one in makers.contenders):
        raise XfvError(f"no method can explain this model: {'; '.join(makers.refused.values())}")
    genuine, folds = patch_lfw.genuine, np.array([pair.fold for pair in patch_lfw.pairs])
    slow_rows = even_rows(genuine, folds, min(slow_pairs, len(patch_lfw)))
    check_kinds(genuine[slow_rows])
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
    sanity = (
        check_sanity(
            patch_lfw,
            checked.tolist(),
            embedder,
            makers,
            make,
            similarity_threshold,
            store,
            progress=show("Checking"),
        )
        if isinstance(embedder, SavedModelEmbedder)
        else {}
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
        sanity_pairs=len(checked) if sanity else 0,
        refused=makers.refused,
        kept=measured.kept,
        seconds=time.monotonic() - start,
        date=datetime.date.today(),
        command=command,
        versions=library_versions(),
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


def _xcos_head(embedder: "CompiledEmbedder", contenders: Sequence[ComparedMethod]) -> "TrainedHead | None":
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
