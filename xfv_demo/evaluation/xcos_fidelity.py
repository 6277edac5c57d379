"""How well xCos stands in for the cosine that it was trained to follow, on people it was not trained on."""

import datetime
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer
from numpy.typing import ArrayLike, NDArray

from xfv_demo.batch.align import FaceChoice, Progress
from xfv_demo.batch.cache import EmbeddingStore
from xfv_demo.batch.embed import PairDistances, embed_images, measure_pairs
from xfv_demo.datasets.opening import in_folds
from xfv_demo.datasets.pairs import PairSet
from xfv_demo.errors import DatasetError, XfvError
from xfv_demo.metrics.accuracy import FoldAccuracy, fold_accuracy
from xfv_demo.metrics.error_rates import auc, eer
from xfv_demo.metrics.intervals import Doubles, Interval
from xfv_demo.metrics.pair_scores import PairScores
from xfv_demo.runtime.console import progress_bar
from xfv_demo.runtime.files import json_text, write_whole
from xfv_demo.runtime.provenance import rounded
from xfv_demo.types import FloatArray

if TYPE_CHECKING:
    from rich.table import Table

    from xfv_demo.models.compiled import CompiledEmbedder
    from xfv_demo.models.xcos_head import TrainedHead

_FORMAT = "xfv-demo xcos report"
_FORMAT_VERSION = 1
_RESAMPLES = 2000
_LEVEL = 0.95
_AT_ONCE = 256


@dataclass(frozen=True)
class SimilarityQuality:
    """How well one similarity tells genuine from impostor pairs.

    Attributes:
        accuracies: Of each fold, at the threshold that is best on the other folds.
        thresholds: These thresholds, on the similarity; a pair that just reaches one is not "same".
        mean: Mean accuracy.
        standard_error: Of the mean; with two folds it says little.
        eer: Equal error rate.
        auc: Area under the ROC curve.
    """

    accuracies: tuple[float, ...]
    thresholds: tuple[float, ...]
    mean: float
    standard_error: float
    eer: float
    auc: float


@dataclass(frozen=True)
class Correlations:
    """Pearson's correlation of xCos with the teacher's cosine.

    Attributes:
        all: Over all pairs.
        genuine: Over the genuine pairs.
        impostor: Over the impostor pairs.
    """

    all: float
    genuine: float
    impostor: float


@dataclass(frozen=True)
class XcosReport:
    """xCos beside the plain cosine, on the same pairs and folds.

    Attributes:
        model: The embedder's name.
        model_sha256: The hash of its files.
        heads: Of each head that was measured, how it was trained.
        dataset: The labelled set.
        genuine: How many genuine pairs were measured.
        impostor: How many impostor pairs.
        trained_on: How many pairs were left out because every head was trained on one of their people.
        failed: How many were left out because a photo shows no face.
        checked: Whether the set names its people, so that it could be told whom the heads were trained on.
        folds: The folds' numbers, from 1, as in the set.
        xcos: xCos's quality.
        cosine: The plain cosine's.
        difference_interval: 95 % bootstrap interval of xCos's mean accuracy less the cosine's, resampling the
            pairs with the folds' thresholds as they are.
        correlations: Of the two similarities.
        mean_squared_error: Of xCos to the cosine.
        seed: What the bootstrap was drawn from.
        date: When this was measured.
        versions: Of the libraries.
        seconds: How long it took.
    """

    model: str
    model_sha256: str | None
    heads: tuple[Mapping[str, Any], ...]
    dataset: str
    genuine: int
    impostor: int
    trained_on: int
    failed: int
    checked: bool
    folds: tuple[int, ...]
    xcos: SimilarityQuality
    cosine: SimilarityQuality
    difference_interval: Interval
    correlations: Correlations
    mean_squared_error: float
    seed: int
    date: datetime.date
    versions: Mapping[str, str]
    seconds: float

    @property
    def difference(self) -> float:
        """The mean accuracy by xCos, less that by the plain cosine."""
        return self.xcos.mean - self.cosine.mean

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, rates to six digits."""
        plain = {**asdict(self), "date": self.date.isoformat(), "difference": self.difference}
        return {"format": _FORMAT, "version": _FORMAT_VERSION, **rounded(plain)}

    def save(self, path: Path) -> None:
        """Writes `to_dict` as JSON, whole or not at all.

        Raises:
            XfvError: The file cannot be written.
        """
        write_whole(path, f"{json_text(self.to_dict(), indent=2, ensure_ascii=False)}\n".encode())


def choose_heads(pairs: PairSet, trained_people: Sequence[Collection[str]]) -> NDArray[np.int64]:
    """Says which head may be asked about each pair: the first that was trained on neither of its people.

    So with several heads that each left other people out, all of a set's folds can be measured.

    Args:
        pairs: The pairs.
        trained_people: For each head, the names of those whom it was trained on.

    Returns:
        (P,) int64, places in `trained_people`; -1 where every head knows one of the two people.
    """
    chosen = np.full(len(pairs), -1)
    known = [frozenset(people) for people in trained_people]
    for row, (one, other) in enumerate(pairs.people):
        strangers = (
            number for number, people in enumerate(known) if one not in people and other not in people
        )
        chosen[row] = next(strangers, -1)
    return chosen


class ProjectedGrids:
    """A model and an xCos head, as an embedder of what the head compares; for `embed_images`.

    Attributes:
        dimensions: h * w * channels.
        fingerprint: What the numbers depend on beside the images.

    Args:
        embedder: The model.
        head: A head for it.
    """

    def __init__(self, embedder: "CompiledEmbedder", head: "TrainedHead") -> None:
        self._embedder = embedder
        self._head = head
        height, width, _ = head.network.grid_shape
        self.shape = (height, width, head.network.channels)
        self.dimensions = height * width * head.network.channels
        self.fingerprint = f"{embedder.fingerprint}-xcos-{head.sha256}"

    def embed(self, images: FloatArray) -> FloatArray:
        """Projected grids, flat: (N, 112, 112, 3) images to (N, `dimensions`)."""
        return self._head.project(self._embedder.feature_grid(images)).reshape(len(images), -1)

    def compare(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """Compares pairs of what `embed` gives: twice (N, `dimensions`) to (N,)."""
        one, other = (flat.reshape(-1, *self.shape) for flat in (first, second))
        return self._head.compare(one, other)["similarity"]


def measure_similarities(
    pairs: PairSet,
    embedder: "CompiledEmbedder",
    heads: "Sequence[TrainedHead]",
    chosen: NDArray[np.int64],
    store: EmbeddingStore,
    *,
    face: FaceChoice = "central",
    progress: Progress | None = None,
) -> tuple[Doubles, PairDistances]:
    """Measures each pair by its head and by the plain cosine.

    It starts processes, so a script that calls it needs `if __name__ == "__main__":` around the call.

    Args:
        pairs: The pairs.
        embedder: The model.
        heads: Heads for it.
        chosen: (P,) places in `heads`, as `choose_heads` gives them, none of them -1.
        store: Where results are kept.
        face: Which face of an image is its person's.
        progress: Called with the number of images done and of all, for one head after the other.

    Returns:
        (P,) xCos of each pair, NaN where a face is missing; and the plain distances.

    Raises:
        DatasetError: An image is missing from the set.
    """
    plain = measure_pairs(pairs, embedder, store, face=face, progress=progress)
    similarities = np.full(len(pairs), np.nan)
    for number, head in enumerate(heads):
        rows = np.flatnonzero(chosen == number)
        if not rows.size:
            continue
        part = pairs.where(chosen == number)
        projection = ProjectedGrids(embedder, head)
        grids = embed_images(
            part.source,
            part.images,
            projection,
            store,
            already_aligned=part.aligned,
            face=face,
            progress=progress,
        ).embeddings
        for start in range(0, rows.size, _AT_ONCE):
            some = slice(start, start + _AT_ONCE)
            similarities[rows[some]] = projection.compare(grids[part.first[some]], grids[part.second[some]])
    similarities[~np.isfinite(plain.distances)] = np.nan
    return similarities, plain


def compare_similarities(
    xcos: ArrayLike, cosine: ArrayLike, genuine: ArrayLike, folds: ArrayLike, rng: np.random.Generator
) -> tuple[SimilarityQuality, SimilarityQuality, Interval, Correlations]:
    """Measures two similarities on the same pairs.

    Args:
        xcos: (P,) the one, in [-1, 1].
        cosine: (P,) the other.
        genuine: (P,) bool.
        folds: (P,) each pair's fold.
        rng: Source of randomness for the bootstrap.

    Returns:
        The quality of both, the interval of the difference of their mean accuracies, and their correlations.

    Raises:
        DatasetError: As from `metrics.accuracy.fold_accuracy`; or a class has fewer than two pairs.
    """
    given, teacher = np.asarray(xcos, np.float64), np.asarray(cosine, np.float64)
    labels = np.asarray(genuine, bool)
    if min(labels.sum(), (~labels).sum()) < 2:
        raise DatasetError("a correlation needs two genuine and two impostor pairs at least")
    qualities, right = [], []
    for values in (given, teacher):
        scores = PairScores(1 - values, labels, folds)
        by_fold = fold_accuracy(scores)
        qualities.append(_quality(scores, by_fold))
        right.append(by_fold.right)
    gained = right[0].astype(np.float64) - right[1]
    draws = rng.integers(0, gained.size, (_RESAMPLES, gained.size))
    low, high = np.quantile(gained[draws].mean(axis=1), [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
    correlations = Correlations(
        *(float(np.corrcoef(given[rows], teacher[rows])[0, 1]) for rows in (slice(None), labels, ~labels))
    )
    return qualities[0], qualities[1], Interval(float(low), float(high)), correlations


def xcos_table(report: XcosReport) -> "Table":
    """The numbers as a person reads them."""
    from rich.table import Table

    pairs = report.genuine + report.impostor
    table = Table(title=f"xCos and the plain cosine of {report.model} on {report.dataset}, {pairs} pairs")
    for column in ("", "xCos", "cosine"):
        table.add_column(column, justify="left" if not column else "right")
    for fold, one, other in zip(report.folds, report.xcos.accuracies, report.cosine.accuracies, strict=True):
        table.add_row(f"fold {fold}", f"{one:.2%}", f"{other:.2%}")
    table.add_section()
    table.add_row("accuracy", f"{report.xcos.mean:.2%}", f"{report.cosine.mean:.2%}")
    low, high = report.difference_interval.low, report.difference_interval.high
    table.add_row(
        "difference", f"{100 * report.difference:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}] points", ""
    )
    table.add_row("EER", f"{report.xcos.eer:.2%}", f"{report.cosine.eer:.2%}")
    table.add_row("AUC", f"{report.xcos.auc:.5f}", f"{report.cosine.auc:.5f}")
    correlations = report.correlations
    table.add_row("correlation", f"{correlations.all:.4f}", "")
    table.add_row("of genuine pairs", f"{correlations.genuine:.4f}", "")
    table.add_row("of impostor pairs", f"{correlations.impostor:.4f}", "")
    return table


def _quality(scores: PairScores, by_fold: FoldAccuracy) -> SimilarityQuality:
    return SimilarityQuality(
        accuracies=tuple(by_fold.accuracies.tolist()),
        thresholds=tuple((1 - by_fold.thresholds).tolist()),
        mean=by_fold.mean,
        standard_error=by_fold.standard_error,
        eer=eer(scores).rate,
        auc=auc(scores),
    )


def evaluate_heads(
    pairs: "PairSet", model: str, folders: "Sequence[Path | None]", face: "FaceChoice", seed: int, out: Path
) -> None:
    """Measures heads on the people whom they do not know: a table on the terminal, JSON and a figure."""
    import datetime

    import numpy as np
    from rich.console import Console

    from xfv_demo.batch.cache import EmbeddingStore
    from xfv_demo.models.loading import load_embedder
    from xfv_demo.models.xcos_head import load_head
    from xfv_demo.runtime.paths import cache_folder
    from xfv_demo.runtime.provenance import library_versions

    start = time.monotonic()
    embedder = load_embedder(model, progress=True)
    heads = [load_head(embedder, folder) for folder in folders]
    chosen = choose_heads(pairs, [head.people for head in heads])
    if not (chosen >= 0).any():
        raise XfvError(
            f"every pair of {pairs.name} shows someone whom the head was trained on; measure it on other "
            "people, or train one with --hold-out"
        )
    untrained = in_folds(pairs.where(chosen >= 0))
    untrained.require(2, outside_folds=True)
    with (
        closing(EmbeddingStore(cache_folder() / "embeddings.sqlite")) as store,
        progress_bar(f"Measuring {pairs.name}") as progress,
    ):
        xcos, plain = measure_similarities(
            untrained, embedder, heads, chosen[chosen >= 0], store, face=face, progress=progress
        )
    usable = np.isfinite(xcos)
    measured = untrained.where(usable)
    quality, cosine, interval, correlations = compare_similarities(
        xcos[usable],
        1 - plain.distances[usable],
        measured.genuine,
        measured.folds,
        np.random.default_rng(seed),
    )
    report = XcosReport(
        model=embedder.name,
        model_sha256=embedder.sha256,
        heads=tuple({"sha256": head.sha256, **head.about} for head in heads),
        dataset=pairs.name,
        genuine=measured.genuine_pairs,
        impostor=measured.impostor_pairs,
        trained_on=int((chosen < 0).sum()),
        failed=int((~usable).sum()),
        checked=all(name for pair in measured.people for name in pair),
        folds=tuple(int(fold) + 1 for fold in np.unique(measured.folds)),
        xcos=quality,
        cosine=cosine,
        difference_interval=interval,
        correlations=correlations,
        mean_squared_error=float(np.mean((xcos[usable] - 1 + plain.distances[usable]) ** 2)),
        seed=seed,
        date=datetime.date.today(),
        versions=library_versions(),
        seconds=time.monotonic() - start,
    )
    name = f"{report.model}-{report.dataset}-xcos.json"
    report.save(out / name)
    Console().print(xcos_table(report))
    if report.trained_on:
        typer.echo(f"{report.trained_on} pairs show people whom the heads were trained on, and are left out")
    if not report.checked:
        typer.echo(f"{report.dataset} does not name its people: whether the head knows them cannot be told")
    typer.echo(f"Written to {out}: {name}")
