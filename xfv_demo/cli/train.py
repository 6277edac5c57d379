"""The command that trains xCos's head."""

import tomllib
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xfv_demo.cli.options import FaceOption, ModelOption, app, dataset_path, listed
from xfv_demo.errors import XfvError
from xfv_demo.runtime.console import progress_bar
from xfv_demo.runtime.files import check_folder

if TYPE_CHECKING:
    from xfv_demo.batch.align import FaceChoice


@app.command()
def train_xcos(
    data: Annotated[
        Path,
        typer.Option(
            parser=dataset_path,
            metavar="DATA",
            help="Photos by person: a folder with one folder for each, an archive of it, LFW's folder, or "
            "lfw, once fetched.",
        ),
    ],
    model: ModelOption = "auto",
    out: Annotated[
        Path | None,
        typer.Option(help="The folder for the head and its log; where explain finds it unless given."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file with settings by name; options given here go before it.")
    ] = None,
    hold_out: Annotated[
        str, typer.Option(help="Folds of LFW's View 2, from 1, whose people are not trained on, as 9,10.")
    ] = "",
    face: FaceOption = "central",
    aligned: Annotated[bool, typer.Option(help="The photos are aligned 112 x 112 crops.")] = False,
    epochs: Annotated[int | None, typer.Option(help="How often it is validated; 20 unless given.")] = None,
    steps: Annotated[int | None, typer.Option(help="Batches in an epoch.")] = None,
    batch_pairs: Annotated[int | None, typer.Option(help="Pairs in a batch.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Adam's, at its highest.")] = None,
    identification: Annotated[
        str | None, typer.Option(help="The identification loss: cosface, arcface or none.")
    ] = None,
    identification_weight: Annotated[
        float | None, typer.Option(help="What it counts beside the loss to the teacher's cosine.")
    ] = None,
    hard_impostors: Annotated[
        float | None, typer.Option(help="Share of the impostor pairs that are drawn for being alike.")
    ] = None,
    by_cell: Annotated[
        bool | None,
        typer.Option(
            "--by-cell/--shared", help="A projection for each cell, or, as published, one for all cells."
        ),
    ] = None,
    variants: Annotated[
        int | None,
        typer.Option(help="Variants of each photo: 1 itself, 2 its mirror image too, 3 drawn ones."),
    ] = None,
    fine_tune: Annotated[
        bool | None,
        typer.Option(
            "--fine-tune/--frozen",
            help="Train the model's own weights too and write them beside the head; takes far longer.",
        ),
    ] = None,
    backbone_learning_rate: Annotated[
        float | None, typer.Option(help="SGD's for the model's own weights, at its highest.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Makes all that is random come out again.")] = None,
) -> None:
    """Trains an xCos head on photos of people; killed and started again, it goes on."""
    given = {
        "epochs": epochs,
        "steps": steps,
        "batch_pairs": batch_pairs,
        "learning_rate": learning_rate,
        "identification": identification,
        "identification_weight": identification_weight,
        "hard_impostors": hard_impostors,
        "by_cell": by_cell,
        "variants": variants,
        "fine_tune": fine_tune,
        "backbone_learning_rate": backbone_learning_rate,
        "seed": seed,
    }
    _train_xcos(
        data,
        model,
        out,
        config,
        {name: value for name, value in given.items() if value is not None},
        hold_out=hold_out,
        face=face,
        aligned=aligned,
    )


def _train_xcos(
    data: Path,
    model: str,
    out: Path | None,
    config: Path | None,
    given: dict[str, Any],
    *,
    hold_out: str,
    face: "FaceChoice",
    aligned: bool,
) -> None:
    """Reads the people, computes their grids, trains, and writes the head."""
    from xfv_demo.batch.cache import EmbeddingStore
    from xfv_demo.datasets.lfw import read_lfw
    from xfv_demo.datasets.opening import say_left_out
    from xfv_demo.datasets.people import read_people
    from xfv_demo.models.loading import load_embedder
    from xfv_demo.runtime.paths import cache_folder
    from xfv_demo.training.settings import settings_from

    if out:
        check_folder(out)
    settings = settings_from({**(_read_config(config) if config else {}), **given})
    images = read_people(data)
    say_left_out(images)
    people = frozenset(images.people)
    if hold_out:
        pairs = read_lfw(data)
        folds = _fold_numbers(hold_out, int(pairs.folds.max()) + 1)
        shown = zip(pairs.folds, pairs.people, strict=True)
        people -= {name for fold, pair in shown if fold in folds for name in pair}
    # Keras takes seconds to import: not before the words are known to be right.
    from xfv_demo.models.savedmodel import as_savedmodel
    from xfv_demo.models.xcos_head import head_folder
    from xfv_demo.training.grid_cache import compute_grids
    from xfv_demo.training.train import train_head

    embedder = as_savedmodel(load_embedder(model, progress=True), "training xCos")
    folder = out or head_folder(embedder.name)
    kept = cache_folder() / "grids"
    with (
        closing(EmbeddingStore(cache_folder() / "embeddings.sqlite")) as store,
        progress_bar(f"Feature grids of {images.name}") as progress,
    ):
        grids = compute_grids(
            images,
            embedder,
            store,
            kept,
            variants=settings.kept_variants,
            seed=settings.seed,
            keep_faces=settings.fine_tune,
            already_aligned=aligned,
            face=face,
            progress=progress,
        )
    with progress_bar("Training") as progress:
        head = train_head(
            grids,
            embedder,
            folder,
            settings,
            people=people,
            dataset=images.name,
            held_out=f"folds {', '.join(listed(hold_out))} of {images.name}'s pairs.txt" if hold_out else "",
            progress=progress,
        )
    head.save(folder)
    best = head.about["best"]
    if grids.failures:
        typer.echo(f"{grids.failures} photos show no face that can be found, and were left out", err=True)
    typer.echo(
        f"xCos for {embedder.name}, {head.about['training_people']} people, best after epoch "
        f"{best['epoch']}: on {head.about['validation_people']} others its correlation with the cosine is "
        f"{best['val_correlation']:.4f}, its accuracy {best['val_accuracy']:.2%} (the cosine's "
        f"{best['val_teacher_accuracy']:.2%})"
    )
    typer.echo(f"  written to {folder}, in {head.about['seconds']:.0f} s; grids stay in {kept}")


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise XfvError(f'"{path}" cannot be read: {error.strerror}') from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise XfvError(f'"{path}" is no TOML: {error}') from error


def _fold_numbers(words: str, folds: int) -> list[int]:
    """Folds counted from 1, as people write them, counted from 0."""
    try:
        numbers = [int(word) - 1 for word in listed(words)]
    except ValueError:
        numbers = []
    if not numbers or not all(0 <= number < folds for number in numbers):
        raise XfvError(f'--hold-out takes folds from 1 to {folds}, with commas between, not "{words}"')
    return numbers
