"""How long it takes to explain a pair: occlusion beside the published procedure, and all methods, in one run.

Times on a shared machine wander from day to day; ratios of times from one run hardly do. So all are run one
after the other on the same pair, each in a process of its own, which makes its peak memory its own too.
Loading the model and the first call, which builds the network, are not counted.
"""

import itertools
import os
import platform
import re
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from xfv_demo.errors import ModelError, XfvError
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.explainers.occlusion import COMPARISONS, PATCH_SIZES, STRIDE, OcclusionExplainer
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.models.registry import locate_model
from xfv_demo.models.savedmodel import SavedModelEmbedder
from xfv_demo.runtime.paths import assets_folder
from xfv_demo.runtime.provenance import library_versions
from xfv_demo.types import FloatArray

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

PUBLISHED = "published"
RESNET50 = "resnet50"
_PROBE, _REFERENCE = "obama.jpg", "obama2.jpg"
_PUBLISHED_BATCH = 64
# For methods that take one, on the cosine similarity. It weighs gradients, and bears on no time.
_THRESHOLD = 0.4
# Occlusion first, which the others are compared with.
_METHODS = sorted(EXPLAINERS, key=lambda method: method != OcclusionExplainer.name)
# From here on, a map looks like the final one.
_ALIKE = 0.95

# By comparison, the maps of both photos: (2, 112, 112).
_Maps = Mapping[str, FloatArray]


@dataclass(frozen=True)
class Timing:
    """What one procedure took for the three comparisons on one pair.

    Attributes:
        procedure: "published", or the engine and precision of this package's.
        engine: What computed the embeddings.
        first_map: Seconds to the first map.
        alike: Seconds until all six maps correlate at least 0.95 with their final state, and stay so.
        total: Seconds to the end.
        steps: How many states of the maps there were to see on the way, the final one included.
        loaded_memory: Megabytes of the process with the model loaded and called once; None where the system
            does not tell.
        peak_memory: Megabytes of the process at most; None likewise.
        agreement: The lowest correlation of one of its six maps with that of the published procedure.
    """

    procedure: str
    engine: str
    first_map: float
    alike: float
    total: float
    steps: int
    loaded_memory: float | None
    peak_memory: float | None
    agreement: float


@dataclass(frozen=True)
class MethodTiming:
    """What one method of explanation took for one pair, by the engine that is the default for the model.

    Attributes:
        method: A key of `EXPLAINERS`.
        engine: What computed the embeddings; gradients and feature grids come from TensorFlow.
        first_map: Seconds to the first map.
        total: Seconds to the end.
        steps: How many states of the maps there were to see on the way, the final one included.
    """

    method: str
    engine: str
    first_map: float
    total: float
    steps: int


@dataclass(frozen=True)
class SpeedReport:
    """Timings of several models.

    Attributes:
        models: By model, its timings, the published procedure's first.
        methods: By model, the timings of the methods that can explain it, occlusion's first.
        processors: How many the machine has.
        machine: The kind of processor.
        versions: Of the libraries.
        left_out: For each procedure and method that could not be run, a line that says why.
    """

    models: Mapping[str, tuple[Timing, ...]]
    methods: Mapping[str, tuple[MethodTiming, ...]]
    processors: int
    machine: str
    versions: Mapping[str, str]
    left_out: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON.

        Each timing is given with how many times as fast as published it is, each method's with how many times
        as long as occlusion's it is.
        """
        return {
            "models": {
                model: [
                    {**asdict(timing), "speedup": round(timings[0].total / timing.total, 2)}
                    for timing in timings
                ]
                for model, timings in self.models.items()
            },
            "methods": {
                model: [
                    {**asdict(timing), "of_occlusion": round(timing.total / timings[0].total, 3)}
                    for timing in timings
                ]
                for model, timings in self.methods.items()
            },
            "processors": self.processors,
            "machine": self.machine,
            "versions": dict(self.versions),
            "left_out": list(self.left_out),
        }


def measure_speed(
    models: Sequence[str], *, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> SpeedReport:
    """Times the maps of one pair of the example photos: occlusion by each procedure, and each method.

    It starts processes, so a script that calls it needs `if __name__ == "__main__":` around the call.

    Args:
        models: "resnet50", a network of ArcFaceOctupletLoss's kind with random weights, made for this; or
            whatever `load_embedder` takes.
        progress: Called with the number of runs done and of all.

    Returns:
        The timings; without those of OpenVINO or bfloat16 where this machine has none, and those of methods
        that a model lacks something for.

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
    progress(done, total)
    report, methods, left_out = {}, {}, []
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
                folder, own_name = place.folder, place.name
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
    return SpeedReport(
        report, methods, os.cpu_count() or 1, platform.machine(), library_versions(), tuple(left_out)
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


def speed_table(report: SpeedReport) -> "Group":
    """The numbers as a person reads them, in two tables; fits a terminal of 80 columns."""
    from rich.console import Group

    return Group(_occlusion_table(report), _method_table(report))


def _occlusion_table(report: SpeedReport) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = "Three occlusion methods, both photos of one pair\n(times in seconds, memory in megabytes)"
    table = Table(title=title, box=box.SIMPLE, pad_edge=False)
    table.add_column("procedure", overflow="fold")
    for column in ("first\nmap", "0.95\nalike", "end", "speed", "steps", "memory", "agrees"):
        table.add_column(column, justify="right", overflow="fold")
    for model, timings in report.models.items():
        # A folder's name is no markup.
        table.add_row(Text(model, style="bold"))
        for timing in timings:
            table.add_row(
                timing.procedure,
                *(_seconds(one) for one in (timing.first_map, timing.alike, timing.total)),
                f"{timings[0].total / timing.total:.1f} x",
                str(timing.steps),
                "-" if timing.peak_memory is None else f"{timing.peak_memory:.0f}",
                f"{timing.agreement:.5f}",
            )
        table.add_section()
    return table


def _method_table(report: SpeedReport) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    title = "Each method of explanation, both photos of one pair\n(times in seconds)"
    table = Table(title=title, box=box.SIMPLE, pad_edge=False)
    table.add_column("method", overflow="fold")
    for column in ("first\nmap", "end", "of\nocclusion", "steps"):
        table.add_column(column, justify="right", overflow="fold")
    table.add_column("engine", overflow="fold")
    for model, timings in report.methods.items():
        table.add_row(Text(model, style="bold"))
        for timing in timings:
            table.add_row(
                timing.method,
                _seconds(timing.first_map),
                _seconds(timing.total),
                f"{timing.total / timings[0].total:.2f} x",
                str(timing.steps),
                timing.engine,
            )
        table.add_section()
    return table


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds < 100 else f"{seconds:.0f}"


def published_maps(
    embed: Callable[[FloatArray], FloatArray], probe: FloatArray, reference: FloatArray
) -> Iterator[tuple[str, FloatArray]]:
    """x-Face's maps as published: each method by a pass of its own, embeddings in batches of 64.

    Knoche et al., WACV Workshops 2023, arXiv 2211.13735, section 3.2.

    Args:
        embed: Gives (N, D) embeddings of (N, 112, 112, 3) images; of any length.
        probe: (112, 112, 3) float32, RGB, in [0, 1].
        reference: The same of the other photo.

    Yields:
        For "all", "reference" and "paired", the maps of both photos, (2, 112, 112) float32 in [-1, 1].
    """
    for comparison in COMPARISONS:
        maps = np.zeros((2, ALIGNED_SIZE, ALIGNED_SIZE))
        plain = _embed_in_batches(embed, [probe, reference])
        distance = 1 - plain[0] @ plain[1]
        for size in PATCH_SIZES:
            starts = range(0, ALIGNED_SIZE - size, STRIDE)
            patches = [(slice(y, y + size + 1), slice(x, x + size + 1)) for x in starts for y in starts]
            occluded = [
                _embed_in_batches(embed, [_hide(photo, patch) for patch in patches])
                for photo in (probe, reference)
            ]
            for side in (0, 1):
                own, other = occluded[side], occluded[1 - side]
                if comparison == "all":
                    distances = 1 - (own @ other.T).mean(axis=1)
                elif comparison == "reference":
                    distances = 1 - own @ plain[1 - side]
                else:
                    distances = 1 - (own * other).sum(axis=1)
                of_size = np.zeros((ALIGNED_SIZE, ALIGNED_SIZE))
                for patch, deviation in zip(patches, (distances - distance) / size**2, strict=True):
                    of_size[patch] += deviation / len(patches)
                maps[side] += cv2.GaussianBlur(of_size, (5, 5), 5) / len(PATCH_SIZES)
        largest = np.abs(maps).max(axis=(1, 2), keepdims=True)
        yield comparison, (maps / np.where(largest == 0, 1, largest)).astype(np.float32)


def _hide(photo: FloatArray, patch: tuple[slice, slice]) -> FloatArray:
    hidden = photo.copy()
    hidden[patch] = 0
    return hidden


def _embed_in_batches(embed: Callable[[FloatArray], FloatArray], images: Sequence[FloatArray]) -> Any:
    parts = [
        embed(np.stack(images[start : start + _PUBLISHED_BATCH]))
        for start in range(0, len(images), _PUBLISHED_BATCH)
    ]
    embeddings = np.concatenate(parts).astype(np.float64)
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)


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
    embed(np.zeros((_PUBLISHED_BATCH, *pair[0].shape), np.float32))
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
        embedder = SavedModelEmbedder(folder, engine="tensorflow", batch_size=_PUBLISHED_BATCH)
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
