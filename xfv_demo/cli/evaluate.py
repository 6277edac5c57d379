"""The commands that measure: evaluate, calibrate, bench."""

import shlex
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from xfv_demo.calibration.calibrators import DEFAULT_METHOD, SIZED_METHOD
from xfv_demo.cli.options import (
    AlignedSetOption,
    CalibrationOption,
    ChannelsOption,
    CountOption,
    DataOption,
    DatasetNameOption,
    DistancesOption,
    FaceOption,
    InputRangeOption,
    MethodOption,
    ModelOption,
    OptionalDataOption,
    OutOption,
    PairsFileOption,
    SeedOption,
    SeveralDataOption,
    SizedMethodOption,
    app,
    check_method,
    listed,
)
from xfv_demo.errors import XfvError
from xfv_demo.runtime.console import progress_bar
from xfv_demo.runtime.files import (
    check_file,
    check_folder,
    check_marks,
    json_text,
    write_between_marks,
    write_whole,
)

if TYPE_CHECKING:
    from xfv_demo.batch.align import FaceChoice, Progress
    from xfv_demo.evaluation.accuracy.measure import Measured
    from xfv_demo.evaluation.accuracy.report import VerificationReport
    from xfv_demo.evaluation.explanations.methods import ComparedMethod
    from xfv_demo.evaluation.explanations.patch_lfw import PatchKind, PatchLfw
    from xfv_demo.models.compiled import CompiledEmbedder


# Where a document has the results of the benchmark of explanations.
_BENCHMARK_MARK = "patch-lfw"
# Where it has the confidence by size.
_SIZES_MARK = "sizes"

_SPEED_MARK = "speed"


@app.command()
def bench(
    models: Annotated[
        str,
        typer.Option(
            help="What to measure, with commas between: resnet50, a network like ArcFaceOctupletLoss's with "
            "random weights, or whatever --model takes elsewhere."
        ),
    ] = "mobilefacenet,resnet50",
    out: Annotated[Path | None, typer.Option(help="A JSON file to write the numbers to.")] = None,
    into: Annotated[
        Path | None,
        typer.Option(help="A Markdown file to put the tables into, between marks such as docs/results has."),
    ] = None,
) -> None:
    """Times every method, and the occlusion maps against the published procedure, in one run here."""
    from rich.console import Console

    from xfv_demo.evaluation.latency.measure import measure_speed
    from xfv_demo.evaluation.latency.tables import markdown, speed_table

    if out:
        check_file(out)
    if into:
        check_marks(into, _SPEED_MARK)
    with progress_bar("Measuring") as show:
        report = measure_speed(listed(models), progress=show)
    Console().print(speed_table(report))
    for reason in report.left_out:
        typer.echo(f"Left out: {reason}")
    if out:
        write_whole(out, f"{json_text(report.to_dict(), indent=2)}\n".encode())
        typer.echo(f"Written to {out}")
    if into:
        write_between_marks(into, _SPEED_MARK, markdown(report))
        typer.echo(f"Written into {into}")


@app.command()
def calibrate(
    data: OptionalDataOption = None,
    distances: DistancesOption = None,
    model: ModelOption = "auto",
    input_range: InputRangeOption = None,
    channels: ChannelsOption = None,
    pairs_file: PairsFileOption = None,
    dataset: DatasetNameOption = None,
    method: SizedMethodOption = None,
    count: CountOption = 6000,
    face: FaceOption = "central",
    aligned: AlignedSetOption = False,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; the user's own calibrations unless given.")
    ] = None,
) -> None:
    """Makes the calibration of a model from a labelled data set."""
    from xfv_demo.calibration.storage import calibration_path
    from xfv_demo.datasets.opening import read_pairs
    from xfv_demo.evaluation.accuracy.measure import measure, measured_elsewhere
    from xfv_demo.evaluation.accuracy.tables import interval_in_words

    if method:
        check_method(method, SIZED_METHOD)
    if out:
        check_file(out)
    if distances:
        if model == "auto":
            raise XfvError("--distances needs --model, the name of the model that the distances come from")
        measured = measured_elsewhere(data, distances, dataset, model, aligned=aligned)
    else:
        measured = measure(
            read_pairs(data, pairs_file, dataset, count, seed, aligned=aligned),
            model,
            face,
            foldwise=False,
            copies=method in (None, SIZED_METHOD),
            input_range=input_range,
            channels=channels,
        )
    calibration = measured.calibration(method)
    default = DEFAULT_METHOD if distances or aligned else SIZED_METHOD
    beside = None if method in (None, default) else method
    path = out or calibration_path(measured.model, measured.name, beside)
    calibration.save(path)
    rates = calibration.error_rates_at(calibration.threshold)
    typer.echo(f"{measured.model} on {measured.name}: threshold {calibration.threshold:.3f}")
    fmr = f"{rates.fmr:.2%} {interval_in_words(rates.fmr_interval)}"
    fnmr = f"{rates.fnmr:.2%} {interval_in_words(rates.fnmr_interval)}"
    typer.echo(f"  of its own pairs, FMR {fmr} and FNMR {fnmr} at the threshold (95 % intervals)")
    if calibration.sizes:
        smallest = calibration.sizes.smallest
        both, one = (
            calibration.threshold_at([smallest, other]) for other in (smallest, calibration.sizes.largest)
        )
        typer.echo(
            f"  where both faces have {smallest:.0f} pixels between the eyes the threshold is {both:.3f}, "
            f"where one has, {one:.3f}"
        )
    typer.echo(f"  it carries confidences of up to {calibration.largest_confidence:.2%}")
    typer.echo(f"  written to {path}")
    if distances:
        typer.echo("  nothing tells whether the distances are of the weights and the alignment in use here")
    if out is None:
        use = f"--model {shlex.quote(model)} --calibration {shlex.quote(measured.name)}"
        by = f" --method {method}" if beside else ""
        typer.echo(f"  to use it: python -m xfv_demo verify A B {use}{by}")


evaluate_app = typer.Typer(no_args_is_help=True, help="Measures a model on a labelled data set.")

app.add_typer(evaluate_app, name="evaluate")


@evaluate_app.command("lfw")
def evaluate_lfw(
    data: DataOption,
    model: ModelOption = "auto",
    input_range: InputRangeOption = None,
    channels: ChannelsOption = None,
    pairs_file: PairsFileOption = None,
    method: MethodOption = DEFAULT_METHOD,
    face: FaceOption = "central",
    aligned: AlignedSetOption = False,
    seed: SeedOption = 0,
    out: OutOption = Path("results"),
) -> None:
    """Verification on Labeled Faces in the Wild: accuracy, error rates, and how honest the confidence is."""
    from xfv_demo.datasets.lfw import read_lfw
    from xfv_demo.datasets.pairs import as_aligned_set
    from xfv_demo.evaluation.accuracy.measure import measure

    check_method(method)
    check_folder(out)
    pairs = read_lfw(data, pairs_file)
    pairs = as_aligned_set(pairs) if aligned else pairs
    measured = measure(pairs, model, face, input_range=input_range, channels=channels)
    _evaluate(measured, method, seed, out)


@evaluate_app.command("pairs")
def evaluate_pairs(
    data: SeveralDataOption = None,
    distances: DistancesOption = None,
    model: ModelOption = "auto",
    input_range: InputRangeOption = None,
    channels: ChannelsOption = None,
    pairs_file: PairsFileOption = None,
    dataset: DatasetNameOption = None,
    method: MethodOption = DEFAULT_METHOD,
    count: CountOption = 6000,
    face: FaceOption = "central",
    aligned: AlignedSetOption = False,
    seed: SeedOption = 0,
    out: OutOption = Path("results"),
) -> None:
    """The same on any labelled set, or several: lists of pairs, .bin files, folders of people, distances."""
    from xfv_demo.datasets.opening import read_pairs
    from xfv_demo.evaluation.accuracy.measure import measure, measured_elsewhere

    check_method(method)
    check_folder(out)
    sets: list[Path | None] = [*data] if data else [None]
    if len(sets) > 1 and (pairs_file or dataset or distances):
        raise XfvError("--pairs, --dataset and --distances are of one set; give --data once")
    if distances:
        _evaluate(measured_elsewhere(sets[0], distances, dataset, model, aligned=aligned), method, seed, out)
        return
    # All are read before any is measured: what is wrong with the last should not cost the wait for the first.
    read = [read_pairs(one, pairs_file, dataset, count, seed, aligned=aligned) for one in sets]
    reports = [
        _evaluate(measure(pairs, model, face, input_range=input_range, channels=channels), method, seed, out)
        for pairs in read
    ]
    if reports[1:]:
        _compare_sets(reports, out)


@evaluate_app.command("sizes")
def evaluate_sizes(
    data: DataOption,
    model: ModelOption = "auto",
    input_range: InputRangeOption = None,
    channels: ChannelsOption = None,
    pairs_file: PairsFileOption = None,
    dataset: DatasetNameOption = None,
    count: CountOption = 6000,
    pairs: Annotated[
        int, typer.Option("--worse-pairs", min=40, help="Of how many pairs to make worse copies.")
    ] = 2000,
    into: Annotated[
        Path | None,
        typer.Option(help="A Markdown file to put the table into, between marks such as docs/results has."),
    ] = None,
    face: FaceOption = "central",
    seed: SeedOption = 0,
    out: OutOption = Path("results"),
) -> None:
    """How honest the confidence is on smaller and otherwise worse photos, without and with the sizes."""
    from xfv_demo.datasets.opening import balanced, in_folds, read_pairs
    from xfv_demo.evaluation.accuracy.by_size import markdown, measure_by_size
    from xfv_demo.evaluation.accuracy.by_size_figure import by_size_figure
    from xfv_demo.models.loading import load_embedder
    from xfv_demo.plots.style import write_figures

    check_folder(out)
    if into:
        check_marks(into, _SIZES_MARK)
    whole = in_folds(balanced(read_pairs(data, pairs_file, dataset, count, seed)))
    embedder = load_embedder(model, progress=True, input_range=input_range, channels=channels)
    command = shlex.join(["python", "-m", "xfv_demo", *sys.argv[1:]])
    report = measure_by_size(whole, embedder, worse_pairs=pairs, face=face, command=command)
    prefix = f"{report.model}-{report.dataset}"
    text = json_text(report.to_dict(), indent=2, ensure_ascii=False)
    write_whole(out / f"{prefix}-sizes.json", f"{text}\n".encode())
    write_figures({"sizes": by_size_figure(report)}, out, prefix)
    typer.echo(markdown(report))
    typer.echo(f"Written to {out}: {prefix}-sizes.json, {prefix}-sizes.png")
    if into:
        write_between_marks(into, _SIZES_MARK, markdown(report))
        typer.echo(f"Written into {into}")


@evaluate_app.command("xcos")
def evaluate_xcos(
    data: DataOption,
    model: ModelOption = "auto",
    heads: Annotated[
        list[Path] | None,
        typer.Option(
            "--head",
            help="A folder with a trained head; the model's own unless given. Given several times, each pair "
            "is measured by the first head that was trained on neither of its people.",
        ),
    ] = None,
    pairs_file: PairsFileOption = None,
    dataset: DatasetNameOption = None,
    count: CountOption = 6000,
    face: FaceOption = "central",
    aligned: AlignedSetOption = False,
    seed: SeedOption = 0,
    out: OutOption = Path("results"),
) -> None:
    """XCos in the cosine's place: accuracy by fold, and correlation, on people it was not trained on."""
    from xfv_demo.datasets.opening import read_pairs
    from xfv_demo.evaluation.xcos_fidelity import evaluate_heads

    check_folder(out)
    pairs = read_pairs(data, pairs_file, dataset, count, seed, aligned=aligned)
    evaluate_heads(pairs, model, heads or [None], face, seed, out)


@evaluate_app.command("patch-lfw")
def evaluate_patch_lfw(
    data: DataOption,
    model: ModelOption = "auto",
    pairs: Annotated[int, typer.Option(min=4, help="How many pairs to measure on, an even subset.")] = 1200,
    slow_pairs: Annotated[
        int,
        typer.Option(min=4, help="How many of them for occlusion, FGGB and CorrRISE, which take seconds."),
    ] = 200,
    methods: Annotated[
        str,
        typer.Option(
            help="What to measure, with commas between: mean-face, occlusion, xssab, integrated-gradients, "
            "grid, xcos, fggb, corrrise. The random map and the centre prior always come along."
        ),
    ] = "mean-face,occlusion,xssab,integrated-gradients,grid,xcos,fggb,corrrise",
    calibration: CalibrationOption = None,
    pairs_file: Annotated[
        Path | None, typer.Option(help="LFW's list of pairs; pairs.txt beside the images unless given.")
    ] = None,
    dataset: DatasetNameOption = None,
    count: CountOption = 6000,
    sanity_pairs: Annotated[
        int, typer.Option(min=0, help="On how many genuine pairs to check what the maps depend on.")
    ] = 12,
    patches: Annotated[
        Literal["16", "8", "24", "mixed"],
        typer.Option(
            help="What patches are put in: squares of so many pixels, 16 as published, or rectangles of "
            "mixed sides from 4 to 32."
        ),
    ] = "16",
    save: Annotated[
        Path | None,
        typer.Option(help="A folder to write the patched pairs to; given as --data, it is read again."),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(help="A Markdown file to put the results into, between marks such as docs/results has."),
    ] = None,
    face: FaceOption = "central",
    aligned: AlignedSetOption = False,
    seed: SeedOption = 0,
    out: OutOption = Path("results"),
) -> None:
    """Which explanation is right: every method on pairs that patches were put into, with its cost."""
    from xfv_demo.evaluation.explanations.methods import check_compared_methods

    contenders = check_compared_methods(listed(methods))
    check_folder(out)
    if save:
        check_folder(save)
    if into:
        check_marks(into, _BENCHMARK_MARK)
    # Before the data: what is wrong with the model should not cost the wait for the faces.
    from xfv_demo.calibration.storage import load_calibration
    from xfv_demo.models.loading import load_embedder
    from xfv_demo.models.savedmodel import SavedModelEmbedder

    embedder = load_embedder(model, progress=True)
    if sanity_pairs and not isinstance(embedder, SavedModelEmbedder):
        typer.echo(
            f"{embedder.name} is no SavedModel, whose weights could be shuffled: no sanity checks", err=True
        )
        sanity_pairs = 0
    similarity_threshold = 1 - load_calibration(embedder.name, calibration or "lfw").eer_threshold
    made = _patch_lfw(data, pairs_file, dataset, count, seed, pairs, face, patches, aligned=aligned)
    if save:
        made.save(save)
        typer.echo(f"{len(made)} patched pairs written to {save}")
    _evaluate_patch_lfw(made, embedder, contenders, similarity_threshold, slow_pairs, sanity_pairs, into, out)


def _evaluate(measured: "Measured", method: str, seed: int, out: Path) -> "VerificationReport":
    """Reports on measured pairs: a table on the terminal, JSON and figures in a folder."""
    import numpy as np
    from rich.console import Console

    from xfv_demo.evaluation.accuracy.evaluate import evaluate
    from xfv_demo.evaluation.accuracy.figures import save_figures
    from xfv_demo.evaluation.accuracy.tables import report_tables

    report = evaluate(
        measured.scores,
        model=measured.model,
        model_sha256=measured.model_sha256,
        dataset=measured.name,
        rng=np.random.default_rng(seed),
        face=measured.face,
        failures=measured.failures,
        left_out=measured.left_out,
        method=method,
        seed=seed,
        duration_seconds=measured.seconds,
        library_versions=measured.versions,
    )
    prefix = f"{report.model}-{report.dataset}"
    report.save(out / f"{prefix}.json")
    figures = save_figures(report, out, prefix)
    console = Console()
    for table in report_tables(report):
        console.print(table)
    typer.echo(f"Written to {out}: {prefix}.json, {', '.join(path.name for path in figures)}")
    if report.warning:
        typer.echo(report.warning)
    return report


def _compare_sets(reports: "Sequence[VerificationReport]", out: Path) -> None:
    """Several sets in one table, as the papers show them: on the terminal, and as Markdown in a folder."""
    from rich.console import Console
    from rich.table import Table

    from xfv_demo.evaluation.accuracy.tables import SETS_COLUMNS, sets_markdown, sets_rows

    table = Table(title=f"{reports[0].model} on {len(reports)} sets")
    for column in SETS_COLUMNS:
        table.add_column(column)
    for row in sets_rows(reports):
        table.add_row(*row)
    Console().print(table)
    path = out / f"{reports[0].model}-sets.md"
    write_whole(path, sets_markdown(reports).encode())
    typer.echo(f"Written to {path}")


def _patch_lfw(
    data: Path,
    pairs_file: Path | None,
    name: str | None,
    count: int,
    seed: int,
    pairs: int,
    face: "FaceChoice",
    patches: "PatchKind",
    *,
    aligned: bool,
) -> "PatchLfw":
    """Makes Patch-LFW of a data set, or reads one that was written."""
    from xfv_demo.batch.cache import EmbeddingStore
    from xfv_demo.datasets.opening import read_pairs
    from xfv_demo.evaluation.explanations.patch_lfw import INDEX_FILE, make_patch_lfw, read_patch_lfw
    from xfv_demo.runtime.paths import cache_folder

    if (data / INDEX_FILE).is_file():
        return read_patch_lfw(data)
    whole = read_pairs(data, pairs_file, name, count, seed, aligned=aligned)
    whole.subset(pairs).require(2)
    with (
        closing(EmbeddingStore(cache_folder() / "embeddings.sqlite")) as store,
        progress_bar(f"Faces of {whole.name}") as progress,
    ):
        return make_patch_lfw(
            whole.subset(pairs), store, seed=seed, donors=whole, kind=patches, face=face, progress=progress
        )


def _evaluate_patch_lfw(
    patch_lfw: "PatchLfw",
    embedder: "CompiledEmbedder",
    contenders: "Sequence[ComparedMethod]",
    similarity_threshold: float,
    slow_pairs: int,
    sanity_pairs: int,
    into: Path | None,
    out: Path,
) -> None:
    """Measures explanations: a table on the terminal, JSON and figures in a folder, and a README's part."""
    from rich.console import Console

    from xfv_demo.batch.cache import MeasurementStore
    from xfv_demo.evaluation.explanations.figures import save_benchmark_figures
    from xfv_demo.evaluation.explanations.run import run_benchmark
    from xfv_demo.evaluation.explanations.tables import benchmark_table, carried_differences, markdown
    from xfv_demo.runtime.paths import cache_folder

    with ExitStack() as open_bars, closing(MeasurementStore(cache_folder() / "outcomes.sqlite")) as store:

        def show(part: str) -> "Progress":
            open_bars.close()
            return open_bars.enter_context(progress_bar(part))

        report = run_benchmark(
            patch_lfw,
            embedder,
            contenders,
            similarity_threshold,
            store,
            slow_pairs=slow_pairs,
            sanity_pairs=sanity_pairs,
            command=shlex.join(["python", "-m", "xfv_demo", *sys.argv[1:]]),
            progress=show,
        )
    prefix = f"{report.model}-{report.dataset}-explanations"
    report.save(out / f"{prefix}.json")
    figures = save_benchmark_figures(report, out, prefix)
    Console().print(benchmark_table(report))
    for sentence in carried_differences(report.differences):
        typer.echo(sentence)
    for reason in dict.fromkeys(report.refused.values()):
        typer.echo(f"Left out: {reason}")
    typer.echo(f"Written to {out}: {prefix}.json, {', '.join(path.name for path in figures)}")
    if into:
        write_between_marks(into, _BENCHMARK_MARK, markdown(report))
        typer.echo(f"Written into {into}")
