"""The commands for whole data sets: explore build, explore export."""

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from xfv_demo.cli.options import (
    AlignedSetOption,
    ChannelsOption,
    DataOption,
    DatasetNameOption,
    FaceOption,
    InputRangeOption,
    ModelOption,
    SeedOption,
    app,
    listed,
)
from xfv_demo.errors import XfvError
from xfv_demo.runtime.files import check_folder

if TYPE_CHECKING:
    from xfv_demo.explore.compute import BuildProgress

# How often a line tells how far the work is, where there is no terminal for a bar; in seconds.
_LINE_EVERY = 30

# How many pairs are drawn from a folder of people, unless told.
_DRAWN = 6000

explore_app = typer.Typer(
    no_args_is_help=True, help="Verdicts, confidences and explanations of a whole data set."
)
app.add_typer(explore_app, name="explore")


@explore_app.command("build")
def explore_build(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="The store's folder. What was ended in there goes on.")],
    model: ModelOption = "auto",
    input_range: InputRangeOption = None,
    channels: ChannelsOption = None,
    methods: Annotated[
        str,
        typer.Option(help="Methods of explanation, with commas between; none for verdicts alone."),
    ] = "mean-face,xssab",
    pairs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="An even subset of so many pairs; of a folder of people, how many to draw (6,000 unless "
            "given).",
        ),
    ] = None,
    pairs_file: Annotated[
        Path | None, typer.Option(help="The list of pairs, as --pairs of evaluate.")
    ] = None,
    dataset: DatasetNameOption = None,
    name: Annotated[
        str | None, typer.Option(help="What to call the store; as its folder unless given.")
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="The data set whose calibration decides and gives the confidence. Unless given, for each "
            "fold a fit to the other folds does; where the pairs are too few for that, the one on lfw."
        ),
    ] = None,
    face: FaceOption = "central",
    aligned: AlignedSetOption = False,
    seed: SeedOption = 0,
    numbers_only: Annotated[
        bool, typer.Option("--numbers-only", help="Keep neither faces nor maps.")
    ] = False,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="What does the work: processes of this machine, or Ray.")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            help="With --engine ray: a running cluster, auto or HOST:PORT; unless given one starts."
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many processes; one a core unless given.")
    ] = None,
    gpus_per_worker: Annotated[
        float,
        typer.Option(min=0, help="With --engine ray: how many GPUs, or which share of one, for each."),
    ] = 0,
) -> None:
    """Computes a whole data set's verdicts, confidences and maps, into a store to be browsed.

    Ended at any time and started again, it goes on where it was.
    """
    from xfv_demo.datasets.opening import read_pairs
    from xfv_demo.explore.compute import build_store
    from xfv_demo.models.loading import load_embedder
    from xfv_demo.pipeline import check_methods

    chosen = [] if methods == "none" else check_methods(listed(methods))
    check_folder(out)
    if engine == "local" and (address or gpus_per_worker):
        raise XfvError("--address and --gpus-per-worker are for --engine ray")
    whole = read_pairs(data, pairs_file, dataset, pairs or _DRAWN, seed, aligned=aligned)
    subset, numbers = whole.numbered_subset(pairs or len(whole))
    with _progress_shown() as show:
        manifest = build_store(
            subset,
            load_embedder(model, progress=True, input_range=input_range, channels=channels),
            out,
            chosen,
            name=name,
            numbers=numbers,
            calibration=calibration,
            crops=not numbers_only,
            face=face,
            seed=seed,
            command=shlex.join(["python", "-m", "xfv_demo", *sys.argv[1:]]),
            engine=engine,
            workers=workers,
            address=address,
            gpus_per_worker=gpus_per_worker,
            progress=show,
            say=lambda line: typer.echo(line, err=True),
        )
    _say_outcomes(out, manifest.seconds or 0)


@explore_app.command("export")
def explore_export(
    store: Annotated[Path, typer.Argument(metavar="STORE", help="The store's folder.")],
    out: Annotated[Path, typer.Option(help="The folder to write; must not be there yet, or be empty.")],
    kind: Annotated[
        Literal["csv", "fiftyone", "spotlight"],
        typer.Option("--as", help="csv: pairs and faces as tables; fiftyone or spotlight: with the faces."),
    ] = "csv",
) -> None:
    """Hands a store on to other programs."""
    from xfv_demo.explore import open_store
    from xfv_demo.explore.export import export_store

    opened = open_store(store)
    hint = export_store(opened, out, kind)
    opened.close()
    typer.echo(f"Written to {out}; opened by {hint}")


def _say_outcomes(out: Path, seconds: float) -> None:
    from xfv_demo.explore import open_store

    store = open_store(out)
    counts = store.query("SELECT outcome, count(*) AS pairs FROM pairs GROUP BY outcome ORDER BY pairs DESC")
    store.close()
    listing = ", ".join(f"{row['pairs']:,} {row['outcome']}" for row in counts.to_pylist())
    typer.echo(f"{store.manifest.dataset}, {store.manifest.model}: {listing}")
    typer.echo(f"Written to {out} ({seconds:.0f} s)")


@contextmanager
def _progress_shown() -> "Iterator[Callable[[BuildProgress], None]]":
    """Tells how far the work is, how fast, and how much failed: as a bar, or where none is seen by lines."""
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TextColumn("{task.fields[told]}"),
        progress.TimeRemainingColumn(),
    )
    begun: dict[str, tuple[progress.TaskID, float, int]] = {}
    last_line = time.monotonic()
    with progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:

        def show(reached: "BuildProgress") -> None:
            nonlocal last_line
            now = time.monotonic()
            if reached.stage not in begun:
                title = {"faces": "Finding faces", "pairs": "Explaining pairs"}[reached.stage]
                begun[reached.stage] = bar.add_task(title, told=""), now, reached.done
            task, start, before = begun[reached.stage]
            rate = (reached.done - before) / (now - start) if now > start else 0.0
            told = f"{reached.done:,} of {reached.total:,}, {rate:.1f} {reached.stage}/s"
            if reached.failures:
                told += f", {reached.failures:,} failed"
            bar.update(task, completed=reached.done, total=reached.total, told=told)
            if not console.is_terminal and now - last_line >= _LINE_EVERY:
                last_line = now
                left = f", {(reached.total - reached.done) / rate:.0f} s left" if rate else ""
                typer.echo(f"{reached.stage}: {told}{left}", err=True)

        yield show
