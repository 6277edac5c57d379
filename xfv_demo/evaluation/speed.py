"""How long the occlusion maps of a pair take, beside the published procedure, in one run.

Times on a shared machine wander from day to day; ratios of times from one run hardly do. So both procedures
are run one after the other on the same pair, each in a process of its own, which makes its peak memory its
own too. Loading the model and the first call, which builds the network, are not counted.
"""

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from xfv_demo.alignment import ALIGNED_SIZE
from xfv_demo.assets import assets_folder, locate_model
from xfv_demo.embedding import SavedModelEmbedder
from xfv_demo.errors import ModelError
from xfv_demo.explainers.occlusion import COMPARISONS, PATCH_SIZES, STRIDE, OcclusionExplainer
from xfv_demo.explaining import library_versions
from xfv_demo.types import FloatArray

if TYPE_CHECKING:
    from rich.table import Table

PUBLISHED = "published"
RESNET50 = "resnet50"
_PROBE, _REFERENCE = "obama.jpg", "obama2.jpg"
_PUBLISHED_BATCH = 64
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
        steps: How many maps were shown on the way.
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
class SpeedReport:
    """Timings of several models.

    Attributes:
        models: By model, its timings, the published procedure's first.
        processors: How many the machine has.
        machine: The kind of processor.
        versions: Of the libraries.
    """

    models: Mapping[str, tuple[Timing, ...]]
    processors: int
    machine: str
    versions: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, each timing with how many times as fast as published it is."""
        return {
            "models": {
                model: [
                    {**asdict(timing), "speedup": round(timings[0].total / timing.total, 2)}
                    for timing in timings
                ]
                for model, timings in self.models.items()
            },
            "processors": self.processors,
            "machine": self.machine,
            "versions": dict(self.versions),
        }


def measure_speed(
    models: Sequence[str], *, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> SpeedReport:
    """Times the occlusion maps of one pair of the example photos.

    Args:
        models: "resnet50", a network of ArcFaceOctupletLoss's kind with random weights, made for this; or
            whatever `load_embedder` takes.
        progress: Called with the number of runs done and of all.

    Returns:
        The timings.

    Raises:
        ModelError: There is no such model, or it cannot be run.
    """
    procedures: dict[str, Callable[..., _Run]] = {
        PUBLISHED: _run_published,
        "TensorFlow": _run_tensorflow,
        "OpenVINO": _run_float32,
        "OpenVINO bfloat16": _run_bfloat16,
    }
    done, total = 0, len(models) * len(procedures)
    progress(done, total)
    report = {}
    with (
        tempfile.TemporaryDirectory(prefix="xfv-bench-", ignore_cleanup_errors=True) as scratch,
        # A fresh process for each run.
        ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool,
    ):
        folders = {}
        for model in models:
            if model == RESNET50:
                folders[model] = Path(scratch) / RESNET50
                pool.submit(_make_resnet50, folders[model]).result()
            else:
                folders[model] = locate_model(model, progress=True).folder
        pair = pool.submit(_example_pair).result()
        for model, folder in folders.items():
            runs = {}
            for name, run in procedures.items():
                try:
                    runs[name] = pool.submit(run, folder, pair).result()
                except ModelError:
                    # Not every CPU computes in bfloat16; the others must run.
                    if run is not _run_bfloat16:
                        raise
                done += 1
                progress(done, total)
            final = runs[PUBLISHED].final
            report[model] = tuple(run.timing(name, final) for name, run in runs.items())
    return SpeedReport(report, os.cpu_count() or 1, platform.machine(), library_versions())


def speed_table(report: SpeedReport) -> "Table":
    """The numbers as a person reads them."""
    from rich.table import Table

    table = Table(title="Three occlusion methods, both photos of one pair")
    columns = (
        "model",
        "procedure",
        "first map",
        "0.95 alike",
        "end",
        "speed",
        "steps",
        "memory",
        "agreement",
    )
    for column in columns:
        table.add_column(column, justify="left" if column in columns[:2] else "right")
    for model, timings in report.models.items():
        for timing in timings:
            table.add_row(
                model,
                timing.procedure,
                *(f"{seconds:.2f} s" for seconds in (timing.first_map, timing.alike, timing.total)),
                f"{timings[0].total / timing.total:.1f} x",
                str(timing.steps),
                "-" if timing.peak_memory is None else f"{timing.peak_memory:.0f} MB",
                f"{timing.agreement:.5f}",
            )
        table.add_section()
    return table


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
    """Of all maps; below any correlation where one of them is not there yet."""
    if set(maps) != set(others):
        return -np.inf
    return min(
        float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
        for key in maps
        for one, other in zip(maps[key], others[key], strict=True)
    )


def _run_published(folder: Path, pair: tuple[FloatArray, FloatArray]) -> _Run:
    """The model as `tf.saved_model.load` gives it, three passes."""
    import tensorflow as tf

    model = tf.saved_model.load(str(folder))
    signature = model.signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]

    def embed(images: FloatArray) -> FloatArray:
        (output,) = signature(**{name: tf.constant(images)}).values()
        return np.asarray(output)

    embed(np.zeros((_PUBLISHED_BATCH, *pair[0].shape), np.float32))
    loaded, _ = _memory()
    steps: list[tuple[float, _Maps]] = []
    maps: dict[str, FloatArray] = {}
    start = time.perf_counter()
    for comparison, both in published_maps(embed, *pair):
        maps = {**maps, comparison: both}
        steps.append((time.perf_counter() - start, maps))
    return _Run(f"TensorFlow {tf.__version__}, saved_model.load", steps, loaded, _memory()[1])


def _run_tensorflow(folder: Path, pair: tuple[FloatArray, FloatArray]) -> _Run:
    return _run_stream(SavedModelEmbedder(folder, engine="tensorflow"), pair)


def _run_float32(folder: Path, pair: tuple[FloatArray, FloatArray]) -> _Run:
    return _run_stream(SavedModelEmbedder(folder, engine="openvino"), pair)


def _run_bfloat16(folder: Path, pair: tuple[FloatArray, FloatArray]) -> _Run:
    return _run_stream(SavedModelEmbedder(folder, engine="openvino", precision="bfloat16"), pair)


def _run_stream(embedder: SavedModelEmbedder, pair: tuple[FloatArray, FloatArray]) -> _Run:
    embedder.embed(np.zeros((_PUBLISHED_BATCH, *pair[0].shape), np.float32))
    loaded, _ = _memory()
    steps: list[tuple[float, _Maps]] = []
    start = time.perf_counter()
    for step in OcclusionExplainer.stream_all(embedder, *pair):
        maps: _Maps = {str(key): np.stack([one.probe_map, one.reference_map]) for key, one in step.items()}
        steps.append((time.perf_counter() - start, maps))
    return _Run(embedder.engine, steps, loaded, _memory()[1])


def _memory() -> tuple[float | None, float | None]:
    """Megabytes that this process takes, and took at most; Linux tells."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None, None
    fields = dict(line.split(":", 1) for line in status.splitlines())
    now, most = (round(int(fields[field].split()[0]) / 1024, 1) for field in ("VmRSS", "VmHWM"))
    return now, most


def _example_pair() -> tuple[FloatArray, FloatArray]:
    from xfv_demo.alignment import align
    from xfv_demo.detection import MtcnnDetector
    from xfv_demo.images import read_photo

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
