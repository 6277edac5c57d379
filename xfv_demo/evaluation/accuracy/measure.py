"""A set's pairs, measured by a model."""

import time
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from xfv_demo._version import __version__
from xfv_demo.calibration.calibrators import DEFAULT_METHOD, SIZED_METHOD
from xfv_demo.datasets.opening import balanced, in_folds
from xfv_demo.errors import XfvError
from xfv_demo.runtime.console import progress_bar

if TYPE_CHECKING:
    from xfv_demo.batch.align import DetectionFailure, FaceChoice
    from xfv_demo.calibration.calibration import Calibration
    from xfv_demo.calibration.face_sizes import SizedPairs
    from xfv_demo.datasets.pairs import PairCounts, PairSet
    from xfv_demo.metrics.intervals import Doubles
    from xfv_demo.metrics.pair_scores import PairScores
    from xfv_demo.models.compiled import CompiledEmbedder
    from xfv_demo.runtime.download import Progress


@dataclass(frozen=True, eq=False)
class Measured:
    """A data set's pairs, measured by a model, here or elsewhere.

    `sizes` are those of `PairDistances`, `copies` as from `measure_copies`; None where they are not known.
    """

    name: str
    model: str
    model_sha256: str | None
    versions: dict[str, str]
    scores: "PairScores"
    face: str | None
    left_out: "PairCounts"
    failures: "tuple[DetectionFailure, ...]"
    seconds: float | None
    sizes: "Doubles | None" = None
    copies: "SizedPairs | None" = None

    def calibration(self, method: str | None = None) -> "Calibration":
        """The model's calibration on these pairs.

        Args:
            method: A key of `CALIBRATORS`, or "beta-size"; where None that one if copies were measured, else
                "beta".
        """
        from xfv_demo.calibration.calibration import Calibration
        from xfv_demo.evaluation.accuracy.small_copies import SIZE_RANGE

        counted = self.copies if method in (None, SIZED_METHOD) else None
        if method == SIZED_METHOD and counted is None:
            raise XfvError(
                f"the method {SIZED_METHOD} needs photos, to shrink them; take another for aligned crops and "
                "distances"
            )
        return Calibration.fit(
            self.scores,
            method=DEFAULT_METHOD if method in (None, SIZED_METHOD) else method,
            copies=counted,
            size_range=SIZE_RANGE,
            model=self.model,
            model_sha256=self.model_sha256,
            dataset=self.name,
            library_versions=self.versions,
        )


def measure(
    pairs: "PairSet",
    model: "str | CompiledEmbedder",
    face: "FaceChoice",
    *,
    foldwise: bool = True,
    progress: "Progress | None" = None,
    copies: bool = False,
    **loading: Any,
) -> Measured:
    """Embeds a set's images and measures its pairs, leaving out those that lack a face.

    `loading` is as for `load_embedder`, where the model is none yet. A bar shows how far it is, but where
    `progress` is told. With `copies`, pairs of small faces are measured too, unless the images are aligned
    crops: of those nobody knows how large the faces were.
    """
    import numpy as np

    from xfv_demo.batch.cache import EmbeddingStore
    from xfv_demo.batch.embed import measure_pairs
    from xfv_demo.calibration.labelled_distances import MINIMUM_PAIRS
    from xfv_demo.datasets.pairs import PairCounts
    from xfv_demo.metrics.pair_scores import PairScores
    from xfv_demo.models.loading import load_embedder
    from xfv_demo.runtime.paths import cache_folder
    from xfv_demo.runtime.provenance import library_versions

    start = time.monotonic()
    pairs = in_folds(balanced(pairs))
    pairs.require(MINIMUM_PAIRS, outside_folds=foldwise)
    embedder = load_embedder(model, progress=True, **loading) if isinstance(model, str) else model
    with (
        closing(EmbeddingStore(cache_folder() / "embeddings.sqlite")) as store,
        nullcontext(progress) if progress else progress_bar(f"Embedding {pairs.name}") as show,
    ):
        measured = measure_pairs(pairs, embedder, store, face=face, progress=show)
    small = None
    if copies and not pairs.aligned:
        from xfv_demo.evaluation.accuracy.small_copies import measure_copies

        with (
            closing(EmbeddingStore(cache_folder() / "embeddings.sqlite")) as store,
            nullcontext(progress) if progress else progress_bar(f"Smaller copies of {pairs.name}") as show,
        ):
            small = measure_copies(pairs, measured.sizes, embedder, store, face=face, progress=show)
    usable = np.isfinite(measured.distances)
    lost = PairCounts.of(pairs.genuine[~usable])
    _say_failures(measured.failures, lost)
    return Measured(
        name=pairs.name,
        model=embedder.name,
        model_sha256=embedder.sha256,
        versions=library_versions(),
        scores=PairScores(measured.distances[usable], pairs.genuine[usable], pairs.folds[usable]),
        face=None if pairs.aligned else face,
        left_out=lost,
        failures=measured.failures,
        sizes=measured.sizes[usable],
        copies=small,
        seconds=time.monotonic() - start,
    )


def measured_elsewhere(
    data: Path | None, distances: Path, name: str | None, model: str, *, aligned: bool
) -> Measured:
    """Reads pairs whose distances were made elsewhere; no photo is read and no model is loaded."""
    from xfv_demo.calibration.labelled_distances import MINIMUM_PAIRS
    from xfv_demo.datasets.csv_pairs import read_distances_csv
    from xfv_demo.datasets.pairs import PairCounts
    from xfv_demo.metrics.pair_scores import PairScores

    if data or aligned:
        raise XfvError("--distances takes the place of photos; leave out --data and --aligned")
    read = read_distances_csv(distances)
    pairs = in_folds(balanced(read if name is None else replace(read, name=name)))
    pairs.require(MINIMUM_PAIRS)
    return Measured(
        name=pairs.name,
        # A name, whatever else --model may be elsewhere: it becomes part of file names.
        model="unnamed" if model == "auto" else Path(model).name or "unnamed",
        model_sha256=None,
        versions={"xfv-demo": __version__},
        scores=PairScores(pairs.distances, pairs.genuine, pairs.folds),
        face=None,
        left_out=PairCounts(genuine=0, impostor=0),
        failures=(),
        seconds=None,
    )


def _say_failures(failures: "Sequence[DetectionFailure]", lost: "PairCounts") -> None:
    if not failures:
        return
    typer.echo(
        f"{len(failures)} images gave no embedding, so {lost.genuine} genuine and {lost.impostor} "
        "impostor pairs are left out:",
        err=True,
    )
    for failure in failures:
        typer.echo(f"  {failure.photo}: {failure.reason}", err=True)
