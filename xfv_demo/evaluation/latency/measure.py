"""How long it takes to explain a pair: occlusion beside the published procedure, and all methods, in one run.

Times on a shared machine wander from day to day; ratios of times from one run hardly do. So all are run one
after the other on the same pair, each in a process of its own, which makes its peak memory its own too.
Loading the model and the first call, which builds the network, are not counted; what they take is told by the
commands that are timed as whole processes.
"""

import itertools
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from xfv_demo.errors import ModelError, XfvError
from xfv_demo.evaluation.latency.published import PUBLISHED_BATCH, published_maps
from xfv_demo.evaluation.latency.report import MethodTiming, SpeedReport, StartTiming, Timing
from xfv_demo.evaluation.latency.startup import time_process
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.explainers.occlusion import OcclusionExplainer
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.models.registry import locate_model
from xfv_demo.models.savedmodel import SavedModelEmbedder
from xfv_demo.runtime.paths import assets_folder
from xfv_demo.runtime.provenance import library_versions
from xfv_demo.types import FloatArray

PUBLISHED = "published"
RESNET50 = "resnet50"
_PROBE, _REFERENCE = "obama.jpg", "obama2.jpg"
# For methods that take one, on the cosine similarity. It weighs gradients, and bears on no time.
_THRESHOLD = 0.4
# Occlusion first, which the others are compared with.
_METHODS = sorted(EXPLAINERS, key=lambda method: method != OcclusionExplainer.name)
# By name, the words of the commands that are timed as whole processes, before those for the model.
_COMMANDS = {
    "verify": ("verify",),
    "explain": ("explain", "--out", "{folder}"),
    "explain --methods occlusion": ("explain", "--methods", "occlusion", "--out", "{folder}"),
}
# After a first run, which may look into a model that is met for the first time, and reads from a cold disk.
_COMMAND_RUNS = 3
# From here on, a map looks like the final one.
_ALIKE = 0.95

# By comparison, the maps of both photos: (2, 112, 112).
_Maps = Mapping[str, FloatArray]


def measure_speed(
    models: Sequence[str], *, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> SpeedReport:
    """Times the maps of one pair of the example photos: occlusion by each procedure, and each method.

    And the commands for a pair as whole processes, but for "resnet50", whose verdicts mean nothing.

    It starts processes, so a script that calls it needs `if __name__ == "__main__":` around the call.

    Args:
        models: "resnet50", a network of ArcFaceOctupletLoss's kind with random weights, made for this; or
            whatever `load_embedder` takes.
        progress: Called with the number of runs done and of all.

    Returns:
        The timings; without those of OpenVINO or bfloat16 where this machine has none, and those of methods
        and commands that a model lacks something for.

    Raises:
        ModelError: There is no such model, or it cannot be run.
        XfvError: No model was named, or the memory is too small.
    """
    if not models:
        raise XfvError(f"no model was asked for; take some of mobilefacenet, {RESNET50}, or a model's folder")
    procedures: dict[str, Callable[..., _Run]] = {
        PUBLISHED: _run_published,
        "TensorFlow": _run_tensorflow,
        "OpenVINO": _run_float32,
        "OpenVINO bfloat16": _run_bfloat16,
    }
    # Before the first of them takes its time: whether all are there.
    located = {model: None if model == RESNET50 else locate_model(model, progress=True) for model in models}
    done, total = 0, len(located) * (len(procedures) + len(EXPLAINERS))
    total += len(_COMMANDS) * sum(place is not None for place in located.values())
    progress(done, total)
    report, methods, starts, left_out = {}, {}, {}, []
    with (
        tempfile.TemporaryDirectory(prefix="xfv-bench-", ignore_cleanup_errors=True) as scratch,
        # A fresh process for each run.
        ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool,
    ):
        pair = _result(pool, "finding the faces", _example_pair)
        for model, place in located.items():
            if place is None:
                folder, own_name = Path(scratch) / RESNET50, None
                _result(pool, f"making {RESNET50}", _make_resnet50, folder)
            else:
                folder, own_name = place.path, place.name
            runs = {}
            for name, run in procedures.items():
                try:
                    runs[name] = _result(pool, f"{model}, {name}", run, folder, pair)
                except ModelError as error:
                    # OpenVINO is not for every machine, nor bfloat16 for every CPU; TensorFlow must run.
                    if run in (_run_published, _run_tensorflow):
                        raise
                    left_out.append(f"{model}, {name}: {error}")
                done += 1
                progress(done, total)
            final = runs[PUBLISHED].final
            report[model] = tuple(run.timing(name, final) for name, run in runs.items())
            timings = []
            for method in _METHODS:
                try:
                    given = folder, own_name, method, pair
                    timings.append(_result(pool, f"{model}, {method}", _time_method, *given))
                except ModelError as error:
                    # All others are told as shares of occlusion, which asks the least of a model.
                    if method == OcclusionExplainer.name:
                        raise
                    left_out.append(f"{model}, {method}: {error}")
                done += 1
                progress(done, total)
            methods[model] = tuple(timings)
            if place is None:
                continue
            commands = []
            for name in _COMMANDS:
                try:
                    commands.append(_time_command(pool, name, model, Path(scratch) / "explained"))
                except ModelError as error:
                    left_out.append(f"{model}, {name}: {error}")
                done += 1
                progress(done, total)
            starts[model] = tuple(commands)
    return SpeedReport(
        report,
        methods,
        os.cpu_count() or 1,
        platform.machine(),
        library_versions(),
        tuple(left_out),
        starts,
    )


def _time_command(pool: ProcessPoolExecutor, name: str, model: str, folder: Path) -> StartTiming:
    """Runs one of `_COMMANDS` on the example photos several times; explanations go to a folder."""
    photos = [assets_folder() / "examples" / photo for photo in (_PROBE, _REFERENCE)]
    words = [word.format(folder=folder) for word in _COMMANDS[name]]
    command = [sys.executable, "-m", "xfv_demo", *words, *map(str, photos), "--model", model]
    _first, *runs = [
        _result(pool, f"{model}, {name}", time_process, command) for _ in range(1 + _COMMAND_RUNS)
    ]
    memory = [run.peak_memory for run in runs if run.peak_memory is not None]
    return StartTiming(
        command=name,
        first_output=round(statistics.median(run.first_output for run in runs), 3),
        total=round(statistics.median(run.total for run in runs), 3),
        peak_memory=round(statistics.median(memory), 1) if memory else None,
        runs=len(runs),
    )


def _result(pool: ProcessPoolExecutor, work: str, function: Callable[..., Any], *given: Any) -> Any:
    """What a function returns that runs in a process of its own."""
    try:
        return pool.submit(function, *given).result()
    except (BrokenProcessPool, MemoryError) as error:
        # A process that the system ends for want of memory cannot say so.
        raise XfvError(
            f"{work}: the process ended before its time, most likely for want of memory; close other "
            "programs or measure a smaller model"
        ) from error


@dataclass(frozen=True, eq=False)
class _Run:
    """What a process brings home.

    Attributes:
        engine: What computed the embeddings.
        steps: Seconds since the start, and the maps that were there by then.
        loaded_memory: As in `Timing`.
        peak_memory: As in `Timing`.
    """

    engine: str
    steps: Sequence[tuple[float, _Maps]]
    loaded_memory: float | None
    peak_memory: float | None

    @property
    def final(self) -> _Maps:
        return self.steps[-1][1]

    def timing(self, procedure: str, published: _Maps) -> Timing:
        alike = self.steps[-1][0]
        for seconds, maps in reversed(self.steps):
            if _lowest_correlation(maps, self.final) < _ALIKE:
                break
            alike = seconds
        return Timing(
            procedure=procedure,
            engine=self.engine,
            first_map=round(self.steps[0][0], 3),
            alike=round(alike, 3),
            total=round(self.steps[-1][0], 3),
            steps=len(self.steps),
            loaded_memory=self.loaded_memory,
            peak_memory=self.peak_memory,
            agreement=round(_lowest_correlation(self.final, published), 6),
        )


def _lowest_correlation(maps: _Maps, others: _Maps) -> float:
    """Of all maps; -1, the least there is, where one of them is not there yet."""
    if set(maps) != set(others):
        return -1.0
    return min(
        _correlation(one, other) for key in maps for one, other in zip(maps[key], others[key], strict=True)
    )


def _correlation(one: FloatArray, other: FloatArray) -> float:
    """Pearson's; where a map is even, which has none, 1 if the other is the same, else 0."""
    if not np.ptp(one) or not np.ptp(other):
        return float(np.array_equal(one, other))
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def _run_published(folder: Path, pair: tuple[FloatArray, FloatArray]) -> _Run:
    """Three passes, one for each comparison."""
    embed, engine = _published_embedding(folder)
    embed(np.zeros((PUBLISHED_BATCH, *pair[0].shape), np.float32))
    loaded, _ = _memory()
    steps: list[tuple[float, _Maps]] = []
    maps: dict[str, FloatArray] = {}
    start = time.perf_counter()
    for comparison, both in published_maps(embed, *pair):
        maps = {**maps, comparison: both}
        steps.append((time.perf_counter() - start, maps))
    return _Run(engine, steps, loaded, _memory()[1])


def _published_embedding(folder: Path) -> tuple[Callable[[FloatArray], FloatArray], str]:
    """What gives embeddings, and its description: the model as `tf.saved_model.load` has it.

    Models that this refuses, or that cannot be called by what it gives (exports with optimizer slots, a fixed
    number of images, several outputs), run in TensorFlow as this package runs them.
    """
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(folder))
        (name,) = model.signatures["serving_default"].structured_input_signature[1]

        def embed(images: FloatArray) -> FloatArray:
            # By way of the model, whose variables are gone when nothing holds it.
            (output,) = model.signatures["serving_default"](**{name: tf.constant(images)}).values()
            return np.asarray(output)

        for count in (1, 2):
            embed(np.zeros((count, ALIGNED_SIZE, ALIGNED_SIZE, 3), np.float32))
    except (AttributeError, KeyError, OSError, TypeError, ValueError, tf.errors.OpError):
        embedder = SavedModelEmbedder(folder, engine="tensorflow", batch_size=PUBLISHED_BATCH)
        return embedder.embed, embedder.engine
    return embed, f"TensorFlow {tf.__version__}, saved_model.load"


def _run_tensorflow(folder: Path, pair: tuple[FloatArray, FloatArray]) -> _Run:
    return _run_stream(SavedModelEmbedder(folder, engine="tensorflow"), pair)


def _run_float32(folder: Path, pair: tuple[FloatArray, FloatArray]) -> _Run:
    return _run_stream(SavedModelEmbedder(folder, engine="openvino"), pair)


def _run_bfloat16(folder: Path, pair: tuple[FloatArray, FloatArray]) -> _Run:
    return _run_stream(SavedModelEmbedder(folder, engine="openvino", precision="bfloat16"), pair)


def _run_stream(embedder: SavedModelEmbedder, pair: tuple[FloatArray, FloatArray]) -> _Run:
    # Two steps on other images: the second one builds what follows patches through the network.
    blank = np.zeros((2, *pair[0].shape), np.float32)
    deque(itertools.islice(OcclusionExplainer.stream_all(embedder, *blank), 2), maxlen=0)
    loaded, _ = _memory()
    steps: list[tuple[float, _Maps]] = []
    start = time.perf_counter()
    for step in OcclusionExplainer.stream_all(embedder, *pair):
        maps: _Maps = {str(key): np.stack([one.probe_map, one.reference_map]) for key, one in step.items()}
        steps.append((time.perf_counter() - start, maps))
    return _Run(embedder.engine, steps, loaded, _memory()[1])


def _time_method(
    folder: Path, name: str | None, method: str, pair: tuple[FloatArray, FloatArray]
) -> MethodTiming:
    """What a method takes on the model as `load_embedder` gives it."""
    embedder = SavedModelEmbedder(folder, name=name)
    explainer = EXPLAINERS[method]
    settings = {"threshold": _THRESHOLD} if explainer.takes_threshold else {}
    # Two steps on other images build what is built at first.
    others = np.random.default_rng(0).random((2, *pair[0].shape), np.float32)
    deque(itertools.islice(explainer.stream_all(embedder, *others, **settings), 2), maxlen=0)
    start = time.perf_counter()
    seconds = [time.perf_counter() - start for _step in explainer.stream_all(embedder, *pair, **settings)]
    return MethodTiming(method, embedder.engine, round(seconds[0], 3), round(seconds[-1], 3), len(seconds))


def _memory() -> tuple[float | None, float | None]:
    """Megabytes that this process takes, and took at most; Linux tells."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None, None
    kilobytes = dict(re.findall(r"^(VmRSS|VmHWM):\s*(\d+) kB$", status, re.MULTILINE))
    # Some containers tell only one of them.
    now, most = (
        round(int(kilobytes[field]) / 1024, 1) if field in kilobytes else None for field in ("VmRSS", "VmHWM")
    )
    return now, most


def _example_pair() -> tuple[FloatArray, FloatArray]:
    from xfv_demo.faces.alignment import align
    from xfv_demo.faces.detection import MtcnnDetector
    from xfv_demo.faces.images import read_photo

    detector = MtcnnDetector()
    photos = [read_photo(assets_folder() / "examples" / name) for name in (_PROBE, _REFERENCE)]
    probe, reference = (align(photo, detector.detect(photo)[0].landmarks) for photo in photos)
    return probe, reference


def _make_resnet50(folder: Path) -> None:
    """ArcFaceOctupletLoss's architecture: ResNet50, flatten, dense 512, batch norm; with random weights."""
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((ALIGNED_SIZE, ALIGNED_SIZE, 3))
    grid = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=image).output
    embedding = keras.layers.Dense(512)(keras.layers.Flatten()(grid))
    model = keras.Model(image, keras.layers.BatchNormalization()(embedding))
    model.export(folder, verbose=False)
