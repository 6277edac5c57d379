"""A data set's pairs to a store: faces first, then decisions on all pairs, then their explanations.

Each of the three reads what the one before has written. Memory holds the numbers of all pairs and an
embedding of each image, and of pictures and maps a few blocks: not more for more pairs. What is written is
not done again.
"""

import functools
import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from xfv_demo.batch.align import FaceChoice
from xfv_demo.batch.executors import Engine, run_blocks
from xfv_demo.datasets.opening import in_folds
from xfv_demo.datasets.pairs import PairSet
from xfv_demo.errors import XfvError
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.explainers.frequency import FrequencyExplainer
from xfv_demo.explore.decisions import Decisions, Fit, choose_fit, decide
from xfv_demo.explore.schema import OUTCOMES, CalibrationEntry, Manifest, MethodEntry
from xfv_demo.explore.store import StoreWriter, part_path, read_part
from xfv_demo.explore.workers import (
    DECIDED_AT_ONCE,
    IMAGES_AT_ONCE,
    BlockDone,
    FaceWorker,
    ImageBlock,
    PairBlock,
    PairWorker,
    decided_path,
    decided_schema,
    make_explainers,
)
from xfv_demo.metrics.decision import is_same
from xfv_demo.metrics.intervals import Booleans, Doubles, Integers
from xfv_demo.models.compiled import CompiledEmbedder
from xfv_demo.models.similarity import cosine_distance, unit_embeddings
from xfv_demo.pipeline import check_methods
from xfv_demo.runtime.provenance import library_versions
from xfv_demo.types import FloatArray
from xfv_demo.verification import LIKE_NOBODY, centre_of_nobody

DEFAULT_METHODS = ("mean-face", "xssab")

# The most that is lost by a kill for each worker: pairs that are explained, or not.
_PAIRS_AT_ONCE = 20
_NUMBERS_AT_ONCE = 2000

_Run = Callable[[Callable[[], Any], Sequence[Any]], Iterator[BlockDone]]


@dataclass(frozen=True)
class BuildProgress:
    """How far a store is.

    Attributes:
        stage: What is being made.
        done: How many of them there are.
        total: How many there will be.
        failures: Of those done: images without a face, or pairs that failed.
    """

    stage: Literal["faces", "pairs"]
    done: int
    total: int
    failures: int


_Progress = Callable[[BuildProgress], None]


def build_store(
    pairs: PairSet,
    embedder: CompiledEmbedder,
    out: Path,
    methods: Sequence[str] = DEFAULT_METHODS,
    *,
    name: str | None = None,
    numbers: Integers | None = None,
    calibration: str | None = None,
    crops: bool = True,
    face: FaceChoice = "central",
    seed: int = 0,
    command: str | None = None,
    engine: Engine = "local",
    workers: int | None = None,
    address: str | None = None,
    gpus_per_worker: float = 0,
    progress: _Progress = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Makes a store of a data set, or goes on with one that was ended.

    Args:
        pairs: The data set.
        embedder: The model.
        out: The store's folder.
        methods: Keys of `EXPLAINERS`; none for verdicts alone.
        name: What to call the store; as the folder where None.
        numbers: (P,) the pairs' rows in the whole set, where these are a part of it.
        calibration: The set whose calibration is to decide; as for `choose_fit`.
        crops: Whether to keep aligned faces and maps; else the store is of numbers alone.
        face: Which face of an image is its person's.
        seed: What pairs were drawn with, to be noted.
        command: What makes the store again, to be noted.
        engine: What does the work.
        workers: How many processes; as for `run_blocks`.
        address: Of a Ray cluster; all its machines must see the images and `out` under these paths.
        gpus_per_worker: As for `run_blocks`.
        progress: Called as parts are written.
        say: Called with what the user should know, a line each.

    Returns:
        The manifest of the store, which is complete.

    Raises:
        XfvError: The folder is used otherwise, a method is unknown, or another process makes this store.
        ModelError: The model lacks what a method needs.
        CalibrationError: What was asked for is not there, or the pairs cannot be fitted to.
        DatasetError: An image is missing from the set.
    """
    start = time.monotonic()
    chosen = check_methods(methods) if methods else ()
    if FrequencyExplainer.name in chosen:
        raise XfvError(
            "the maps of frequency are no places in the face, and a store keeps evidence by region; leave it "
            "out"
        )
    # What a model lacks should not cost the wait for the faces.
    make_explainers(embedder, chosen, eer_threshold=0.5)
    pairs = in_folds(pairs)
    fit = choose_fit(pairs, embedder, calibration)
    if fit.notice:
        say(fit.notice)
    wanted = Manifest(
        name=name or out.resolve().name,
        model=embedder.name,
        model_sha256=embedder.sha256,
        engine=embedder.engine,
        dataset=pairs.name,
        calibration=None,
        methods=tuple(MethodEntry(key=key, title=EXPLAINERS[key].title) for key in chosen),
        crops=crops,
        face=None if pairs.aligned else face,
        seed=seed,
        pairs=len(pairs),
        complete=False,
        command=command,
        date=time.strftime("%Y-%m-%d"),
        seconds=None,
        versions=library_versions(),
    )
    writer = StoreWriter(out, wanted)
    if writer.manifest.complete:
        return writer.manifest
    run = functools.partial(
        run_blocks, engine=engine, workers=workers, address=address, gpus_per_worker=gpus_per_worker
    )
    with writer.locked():
        _make_faces(pairs, embedder, writer, run, fit, face, progress)
        images = _read_images(sorted(pairs.images), embedder, writer.path)
        entry = _decide(pairs, embedder, writer, images, fit, numbers)
        _explain(embedder, writer, run, chosen, entry, progress)
        writer.finish(time.monotonic() - start)
    return writer.manifest


def _make_faces(
    pairs: PairSet,
    embedder: CompiledEmbedder,
    writer: StoreWriter,
    run: _Run,
    fit: Fit,
    face: FaceChoice,
    progress: _Progress,
) -> None:
    people = dict(zip(pairs.images, pairs.image_people, strict=True))
    # Sorted, so that a key is found in few of the store's groups of rows.
    keys = sorted(pairs.images)
    written = writer.written("faces")
    blocks = []
    for number, begin in enumerate(range(0, len(keys), IMAGES_AT_ONCE)):
        if number not in written:
            some = tuple(keys[begin : begin + IMAGES_AT_ONCE])
            blocks.append(ImageBlock(number, some, tuple(people[key] for key in some)))
    sizes = fit.calibration.sizes if fit.calibration else None
    start = functools.partial(
        FaceWorker,
        pairs.source,
        embedder,
        writer.path,
        face=face,
        aligned=pairs.aligned,
        smallest_size=sizes.smallest if sizes else None,
    )
    done, failures = len(keys) - sum(len(block.keys) for block in blocks), 0
    progress(BuildProgress("faces", done, len(keys), failures))
    for result in run(start, blocks):
        done, failures = done + result.rows, failures + result.failures
        progress(BuildProgress("faces", done, len(keys), failures))


@dataclass(frozen=True, eq=False)
class _Images:
    """What is known of a set's N images, in the order of their keys.

    Attributes:
        keys: Their keys.
        embeddings: (N, D) float32 of length 1; NaN where there is no face.
        sizes: (N,) pixels between the eyes; NaN likewise.
        cautions: Of each, as they are told.
        withheld: (N,) bool, whether these leave no confidence.
        problems: Why there is no face; None where there is one.
    """

    keys: list[str]
    embeddings: FloatArray
    sizes: Doubles
    cautions: list[tuple[str, ...]]
    withheld: Booleans
    problems: list[str | None]


def _read_images(keys: list[str], embedder: CompiledEmbedder, store: Path) -> _Images:
    embeddings = np.full((len(keys), embedder.dimensions), np.nan, np.float32)
    sizes = np.full(len(keys), np.nan)
    withheld = np.zeros(len(keys), np.bool_)
    told: list[tuple[str, ...]] = []
    problems: list[str | None] = []
    columns = ("embedding", "size", "cautions", "withholds", "problem")
    for part in range(math.ceil(len(keys) / IMAGES_AT_ONCE)):
        for row in read_part(part_path(store, "faces", part), columns).to_pylist():
            place = len(problems)
            problems.append(row["problem"])
            words, withholds = (row[name] or [] for name in ("cautions", "withholds"))
            # What withholds the confidence is told alone, as by the verifier.
            told.append(tuple(itertools.compress(words, withholds)) or tuple(words))
            withheld[place] = any(withholds)
            if row["problem"] is None:
                embeddings[place], sizes[place] = np.frombuffer(row["embedding"], np.float32), row["size"]
    known = np.isfinite(sizes)
    embeddings[known] = unit_embeddings(embeddings[known], int(known.sum()))
    return _Images(keys, embeddings, sizes, told, withheld, problems)


def _decide(
    pairs: PairSet,
    embedder: CompiledEmbedder,
    writer: StoreWriter,
    images: _Images,
    fit: Fit,
    numbers: Integers | None,
) -> CalibrationEntry:
    """Decides on all pairs, and writes what is known of them for those who explain them."""
    place = {key: row for row, key in enumerate(images.keys)}
    of_image = np.array([place[key] for key in pairs.images])
    sides = np.stack([of_image[pairs.first], of_image[pairs.second]], axis=1)
    groups = [slice(begin, begin + DECIDED_AT_ONCE) for begin in range(0, len(pairs), DECIDED_AT_ONCE)]
    distances = np.concatenate(
        [cosine_distance(*images.embeddings[sides[rows].T]).astype(np.float64) for rows in groups]
    )
    decisions = decide(fit, pairs, distances, images.sizes[sides], embedder)
    writer.update(calibration=decisions.entry)
    if decisions.entry.dataset is not None:
        _add_nobody(images, embedder, decisions.entry.threshold)
    path = decided_path(writer.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}.part")
    with pq.ParquetWriter(half, decided_schema()) as file:
        for rows in groups:
            file.write_table(_decided_rows(pairs, images, sides, distances, decisions, numbers, rows))
    half.replace(path)
    return decisions.entry


def _add_nobody(images: _Images, embedder: CompiledEmbedder, threshold: float) -> None:
    """Withholds the confidence where the model takes a face for a picture of nobody, as the verifier does."""
    nobody = centre_of_nobody(embedder, embedder.dimensions)
    for place in np.flatnonzero(is_same(cosine_distance(images.embeddings, nobody), threshold)):
        before = images.cautions[place] if images.withheld[place] else ()
        images.cautions[place] = (*before, LIKE_NOBODY.words)
        images.withheld[place] = True


def _decided_rows(
    pairs: PairSet,
    images: _Images,
    sides: Integers,
    distances: Doubles,
    decisions: Decisions,
    numbers: Integers | None,
    rows: slice,
) -> pa.Table:
    chosen = sides[rows]
    names = [[PurePosixPath(images.keys[one]).parent.name or None for one in column] for column in chosen.T]
    failed = ~np.isfinite(distances[rows])
    genuine, same = pairs.genuine[rows], decisions.same_person[rows]
    right = np.where(genuine, OUTCOMES.index("true match"), OUTCOMES.index("true non-match"))
    wrong = np.where(same, OUTCOMES.index("false match"), OUTCOMES.index("false non-match"))
    outcome = np.where(failed, OUTCOMES.index("failed"), np.where(same == genuine, right, wrong))
    unsure = failed | images.withheld[chosen].any(axis=1)

    def known(values: ArrayLike, unknown: Booleans = failed) -> pa.Array:
        return pa.array(np.asarray(values), mask=unknown | (np.asarray(values) != values))

    columns = {
        "pair": (np.arange(len(pairs)) if numbers is None else numbers)[rows],
        "first": [images.keys[one] for one in chosen[:, 0]],
        "second": [images.keys[one] for one in chosen[:, 1]],
        "first_person": names[0],
        "second_person": names[1],
        "genuine": genuine,
        "fold": pairs.folds[rows],
        "distance": known(distances[rows]),
        "distance_threshold": known(decisions.thresholds[rows]),
        "same_person": known(same),
        "confidence": known(decisions.confidences[rows], unsure),
        "log10_likelihood_ratio": known(decisions.log10_ratios[rows], unsure),
        "outcome": pa.DictionaryArray.from_arrays(outcome.astype(np.int8), list(OUTCOMES)),
        "first_size": images.sizes[chosen[:, 0]],
        "second_size": images.sizes[chosen[:, 1]],
        "cautions": [
            list(dict.fromkeys((*images.cautions[one], *images.cautions[other]))) for one, other in chosen
        ],
        "problem": [images.problems[one] or images.problems[other] for one, other in chosen],
        "first_image": chosen[:, 0],
        "second_image": chosen[:, 1],
    }
    schema = decided_schema()
    arrays = [
        one if isinstance(one, pa.Array) else pa.array(one, field.type, from_pandas=True)
        for field, one in ((field, columns[field.name]) for field in schema)
    ]
    return pa.table([array.cast(field.type) for array, field in zip(arrays, schema, strict=True)], schema)


def _explain(
    embedder: CompiledEmbedder,
    writer: StoreWriter,
    run: _Run,
    methods: Sequence[str],
    entry: CalibrationEntry,
    progress: _Progress,
) -> None:
    manifest = writer.manifest
    size = _PAIRS_AT_ONCE if methods else _NUMBERS_AT_ONCE
    blocks = [
        PairBlock(number, begin, min(begin + size, manifest.pairs))
        for number, begin in enumerate(range(0, manifest.pairs, size))
    ]
    written = writer.written("pairs")
    left = [block for block in blocks if block.number not in written]
    done = sum(block.stop - block.start for block in blocks if block.number in written)
    failures = sum(
        pc.count(read_part(part_path(writer.path, "pairs", number), ["problem"])["problem"]).as_py()
        for number in written
    )
    start = functools.partial(
        PairWorker,
        embedder,
        writer.path,
        methods,
        entry.threshold if entry.eer_threshold is None else entry.eer_threshold,
        maps=manifest.crops,
    )
    progress(BuildProgress("pairs", done, manifest.pairs, failures))
    # Without a method there is too little to do for processes to be started.
    results = run(start, left) if methods else map(start(), left)
    for result in results:
        done, failures = done + result.rows, failures + result.failures
        progress(BuildProgress("pairs", done, manifest.pairs, failures))
        if result.methods and any(method.view is None for method in writer.manifest.methods):
            found = {method.key: method for method in result.methods}
            writer.update(methods=tuple(found.get(one.key, one) for one in writer.manifest.methods))
