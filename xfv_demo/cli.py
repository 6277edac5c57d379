"""The command line: `python -m xfv_demo` or `xfv-demo`."""

import math
import shlex
import sys
import time
import tomllib
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from xfv_demo import __version__
from xfv_demo.calibrators import DEFAULT_METHOD
from xfv_demo.console import BAD_INPUT, one_line_errors, progress_bar, silence_native_libraries
from xfv_demo.errors import CalibrationError, XfvError
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.files import (
    check_file,
    check_folder,
    check_marks,
    json_text,
    write_all,
    write_between_marks,
    write_whole,
)

if TYPE_CHECKING:
    from rich.table import Table

    from xfv_demo.embedding import SavedModelEmbedder
    from xfv_demo.engine import Precision
    from xfv_demo.evaluation.contenders import Contender
    from xfv_demo.evaluation.datasets import LabelledDistances, LabelledImages, PairSet
    from xfv_demo.evaluation.embeddings import FaceChoice, Progress
    from xfv_demo.evaluation.metrics import Interval, PairScores
    from xfv_demo.evaluation.patch_lfw import PatchLfw
    from xfv_demo.evaluation.verification import DetectionFailure, PairCounts, VerificationReport
    from xfv_demo.types import AlignedFace, Verification
    from xfv_demo.verification import Verifier, WhichFace

# What Typer's argument parser raises for wrong words. Its home has moved between versions; its place among
# the bases of BadParameter has not.
_UsageError: Any = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="xfv-demo",
    help="Shows why a face-verification model says that two photos are, or are not, the same person.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

# More pairs of one class than this many times the other's are not used.
_MOST_UNBALANCED = 2
_FOLDS = 10

_Pairs = TypeVar("_Pairs", "PairSet", "LabelledDistances")

# Where a document has the results of the benchmark of explanations.
_BENCHMARK_MARK = "patch-lfw"

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        help="auto, mobilefacenet, arcface-octuplet, or a SavedModel folder. Auto takes arcface-octuplet "
        "where it is at hand or can be fetched, else the bundled mobilefacenet.",
    ),
]


ProbeArgument = Annotated[Path, typer.Argument(metavar="A", help="The first photo.")]
ReferenceArgument = Annotated[Path, typer.Argument(metavar="B", help="The second photo.")]
CalibrationOption = Annotated[
    str | None,
    typer.Option(help="The data set whose calibration gives threshold and confidence; lfw unless given."),
]
CalibrationMethodOption = Annotated[
    str | None,
    typer.Option(help="The method of that calibration, such as xface; its default unless given."),
]


def _which_face(word: str) -> "WhichFace":
    if word == "best":
        return "best"
    try:
        return int(word)
    except ValueError:
        raise typer.BadParameter(f'"{word}" is no face; give a number, 0 for the largest, or best') from None


FaceAOption = Annotated[
    Any,
    typer.Option(
        parser=_which_face,
        metavar="NUMBER|best",
        help="Which face of A: a number, 0 is the largest; or best, the one most like a face of B. 0 unless "
        "given.",
    ),
]
FaceBOption = Annotated[
    Any, typer.Option(parser=_which_face, metavar="NUMBER|best", help="Which face of B, likewise.")
]
BestFaceOption = Annotated[
    Literal["best"] | None,
    typer.Option(
        "--face",
        help="best: of all faces in both photos the two most alike, for photos of groups, unless --face-a or "
        "--face-b says otherwise. Among n pairs a false match is n times as likely; the odds behind the "
        "confidence of a same person are divided by n.",
    ),
]
ThresholdOption = Annotated[
    float | None,
    typer.Option(
        help="A distance above 0 and up to 2 to decide by, in place of the calibration's. The confidence is "
        "then how likely the calibration holds that decision to be right, and may be under 50 %."
    ),
]
AlignedPhotosOption = Annotated[
    bool,
    typer.Option(
        "--aligned",
        help="The photos are aligned 112 x 112 crops: no face is looked for, nor checked to be one.",
    ),
]
AlignedSetOption = Annotated[
    bool,
    typer.Option("--aligned", help="The photos are aligned 112 x 112 crops; no face is looked for."),
]
PrecisionOption = Annotated[
    Literal["float32", "bfloat16"],
    typer.Option(
        help="What the model computes in. bfloat16: faster on CPUs that have it, moves distances a little."
    ),
]
DataOption = Annotated[
    Path,
    typer.Option(
        help="LFW's folder or .tgz, a CSV of pairs (first,second,genuine), an insightface .bin, or a folder "
        "with one folder of photos for each person."
    ),
]
OptionalDataOption = Annotated[
    Path | None,
    typer.Option(
        help="LFW's folder or .tgz, a CSV of pairs (first,second,genuine), an insightface .bin, or a folder "
        "with one folder of photos for each person. This or --distances."
    ),
]
DistancesOption = Annotated[
    Path | None,
    typer.Option(
        help="A CSV of distances made elsewhere (distance,genuine, or similarity,genuine; with fold if there "
        "are folds). No photo is read and no model is loaded; --model is the name of theirs."
    ),
]
PairsFileOption = Annotated[
    Path | None,
    typer.Option("--pairs", help="LFW's list of pairs; pairs.txt beside the images unless given."),
]
MethodOption = Annotated[
    str, typer.Option(help="What makes the confidence: beta, xface (the paper's), logistic or isotonic.")
]
CountOption = Annotated[int, typer.Option(min=2, help="How many pairs to draw from a folder of people.")]
SeedOption = Annotated[
    int, typer.Option(min=0, help="Makes whatever is drawn at random come out the same again.")
]
FaceOption = Annotated[
    Literal["central", "largest"],
    typer.Option(
        help="Which face of an image is its person's: the one in the middle, as in LFW, or the largest, as "
        "verify takes it."
    ),
]
OutOption = Annotated[Path, typer.Option(help="The folder for the report and its figures.")]


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    """Face verification, explained."""


@app.command()
def verify(
    probe: ProbeArgument,
    reference: ReferenceArgument,
    model: ModelOption = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    faces: Annotated[
        bool,
        typer.Option(
            "--faces",
            help="Print below the verdict a table of all faces found in both photos; --json has them anyway.",
        ),
    ] = False,
    calibration: CalibrationOption = None,
    method: CalibrationMethodOption = None,
    face: BestFaceOption = None,
    face_a: FaceAOption = None,
    face_b: FaceBOption = None,
    threshold: ThresholdOption = None,
    aligned: AlignedPhotosOption = False,
) -> None:
    """Says whether two photos show the same person."""
    if faces and aligned:
        raise XfvError("--faces lists the faces found, but with --aligned none is looked for; leave one out")
    _, verification = _verify(
        (probe, reference), (face_a, face_b), face, model, calibration, method, threshold, aligned
    )
    if as_json:
        typer.echo(json_text(verification.to_dict(), indent=2))
        return
    typer.echo(_in_words(verification))
    if faces:
        from rich.console import Console

        Console().print(_faces_table(verification))


@app.command()
def explain(
    probe: ProbeArgument,
    reference: ReferenceArgument,
    out: Annotated[
        Path,
        typer.Option(
            help="The folder to write to: figure.png, a PNG for each method, maps.npz and report.json."
        ),
    ],
    methods: Annotated[
        str,
        typer.Option(help=f"What to explain by, with commas between: {', '.join(EXPLAINERS)}."),
    ] = "occlusion,xssab",
    model: ModelOption = "auto",
    calibration: CalibrationOption = None,
    method: CalibrationMethodOption = None,
    face: BestFaceOption = None,
    face_a: FaceAOption = None,
    face_b: FaceBOption = None,
    threshold: ThresholdOption = None,
    aligned: AlignedPhotosOption = False,
    precision: PrecisionOption = "float32",
    palette: Annotated[
        str,
        typer.Option(
            help="Colours: piyg (green and pink), orange-blue for all colour vision, rdylgn (green and red); "
            "greens or reds for what speaks for or against alone."
        ),
    ] = "piyg",
) -> None:
    """Shows where in two faces the evidence lies that they are, or are not, the same person."""
    from xfv_demo.explaining import PairExplanation, check_methods, provenance, stream_explanations
    from xfv_demo.rendering import PALETTES

    chosen = check_methods(_listed(methods))
    if palette not in PALETTES:
        raise XfvError(f'there is no palette "{palette}"; take one of {", ".join(PALETTES)}')
    check_folder(out)
    verifier, verification = _verify(
        (probe, reference), (face_a, face_b), face, model, calibration, method, threshold, aligned, precision
    )
    results = {}
    with progress_bar("Explaining") as show:
        for step in stream_explanations(
            verifier.embedder, verification, chosen, calibration=verifier.calibration
        ):
            results[step.method] = step
            show(round(100 * (len(results) - 1 + step.progress)), 100 * len(chosen))
    command = shlex.join(["python", "-m", "xfv_demo", *sys.argv[1:]])
    explanation = PairExplanation(
        verification, tuple(results.values()), provenance(verifier.embedder, command)
    )
    files = explanation.files(palette=palette)
    write_all(out, files)
    typer.echo(_in_words(verification))
    for result in explanation.results:
        typer.echo(f"  {result.method:<11} {result.summary} ({result.seconds:.1f} s)")
    typer.echo(f"Written to {out}: {', '.join(sorted(files))}")


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
) -> None:
    """Times every method, and the occlusion maps against the published procedure, in one run here."""
    from rich.console import Console

    from xfv_demo.evaluation.speed import measure_speed, speed_table

    if out:
        check_file(out)
    with progress_bar("Measuring") as show:
        report = measure_speed(_listed(models), progress=show)
    Console().print(speed_table(report))
    for reason in report.left_out:
        typer.echo(f"Left out: {reason}")
    if out:
        write_whole(out, f"{json_text(report.to_dict(), indent=2)}\n".encode())
        typer.echo(f"Written to {out}")


@app.command()
def fetch(
    model: Annotated[str, typer.Argument(help="The model to fetch: arcface-octuplet.")],
) -> None:
    """Downloads a model into the cache, once."""
    from xfv_demo.assets import fetch_model

    typer.echo(f"{model} is at {fetch_model(model, progress=True)}")


@app.command()
def train_xcos(
    data: Annotated[
        Path,
        typer.Option(
            help="Photos by person: a folder with one folder for each, an archive of it, or LFW's folder."
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


@app.command()
def calibrate(
    data: OptionalDataOption = None,
    distances: DistancesOption = None,
    model: ModelOption = "auto",
    pairs_file: PairsFileOption = None,
    dataset: Annotated[
        str | None, typer.Option(help="What to call the data set; its own name unless given.")
    ] = None,
    method: MethodOption = DEFAULT_METHOD,
    count: CountOption = 6000,
    face: FaceOption = "central",
    aligned: AlignedSetOption = False,
    seed: SeedOption = 0,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; the user's own calibrations unless given.")
    ] = None,
) -> None:
    """Makes the calibration of a model from a labelled data set."""
    from xfv_demo.calibration import Calibration, calibration_path

    _check_method(method)
    if out:
        check_file(out)
    if distances:
        if model == "auto":
            raise XfvError("--distances needs --model, the name of the model that the distances come from")
        measured = _measured_elsewhere(data, distances, dataset, model, aligned=aligned)
    else:
        measured = _measure(
            _read(data, pairs_file, dataset, count, seed, aligned=aligned), model, face, foldwise=False
        )
    calibration = Calibration.fit(
        measured.scores,
        method=method,
        model=measured.model,
        model_sha256=measured.model_sha256,
        dataset=measured.name,
        library_versions=measured.versions,
    )
    beside = None if method == DEFAULT_METHOD else method
    path = out or calibration_path(measured.model, measured.name, beside)
    calibration.save(path)
    rates = calibration.error_rates_at(calibration.threshold)
    typer.echo(f"{measured.model} on {measured.name}: threshold {calibration.threshold:.3f}")
    fmr = f"{rates.fmr:.2%} {_interval(rates.fmr_interval)}"
    fnmr = f"{rates.fnmr:.2%} {_interval(rates.fnmr_interval)}"
    typer.echo(f"  of its own pairs, FMR {fmr} and FNMR {fnmr} at the threshold (95 % intervals)")
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
    pairs_file: PairsFileOption = None,
    method: MethodOption = DEFAULT_METHOD,
    face: FaceOption = "central",
    aligned: AlignedSetOption = False,
    seed: SeedOption = 0,
    out: OutOption = Path("results"),
) -> None:
    """Verification on Labeled Faces in the Wild: accuracy, error rates, and how honest the confidence is."""
    from xfv_demo.evaluation.datasets import read_lfw
    from xfv_demo.evaluation.embeddings import as_aligned_set

    _check_method(method)
    check_folder(out)
    pairs = read_lfw(data, pairs_file)
    _evaluate(_measure(as_aligned_set(pairs) if aligned else pairs, model, face), method, seed, out)


@evaluate_app.command("pairs")
def evaluate_pairs(
    data: OptionalDataOption = None,
    distances: DistancesOption = None,
    model: ModelOption = "auto",
    dataset: Annotated[
        str | None, typer.Option(help="What to call the data set; its own name unless given.")
    ] = None,
    method: MethodOption = DEFAULT_METHOD,
    count: CountOption = 6000,
    face: FaceOption = "central",
    aligned: AlignedSetOption = False,
    seed: SeedOption = 0,
    out: OutOption = Path("results"),
) -> None:
    """The same on any labelled set: a CSV of pairs, an insightface .bin, a folder of people, or distances."""
    _check_method(method)
    check_folder(out)
    if distances:
        measured = _measured_elsewhere(data, distances, dataset, model, aligned=aligned)
    else:
        measured = _measure(_read(data, None, dataset, count, seed, aligned=aligned), model, face)
    _evaluate(measured, method, seed, out)


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
    dataset: Annotated[
        str | None, typer.Option(help="What to call the data set; its own name unless given.")
    ] = None,
    count: CountOption = 6000,
    face: FaceOption = "central",
    aligned: AlignedSetOption = False,
    seed: SeedOption = 0,
    out: OutOption = Path("results"),
) -> None:
    """XCos in the cosine's place: accuracy by fold, and correlation, on people it was not trained on."""
    check_folder(out)
    pairs = _read(data, pairs_file, dataset, count, seed, aligned=aligned)
    _evaluate_xcos(pairs, model, heads or [None], face, seed, out)


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
            help="What to measure, with commas between: occlusion, xssab, grid, xcos, fggb, corrrise. The "
            "random map and the centre prior always come along."
        ),
    ] = "occlusion,xssab,grid,xcos,fggb,corrrise",
    calibration: CalibrationOption = None,
    pairs_file: Annotated[
        Path | None, typer.Option(help="LFW's list of pairs; pairs.txt beside the images unless given.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="What to call the data set; its own name unless given.")
    ] = None,
    count: CountOption = 6000,
    sanity_pairs: Annotated[
        int, typer.Option(min=0, help="On how many genuine pairs to check what the maps depend on.")
    ] = 12,
    save: Annotated[
        Path | None,
        typer.Option(help="A folder to write the patched pairs to; given as --data, it is read again."),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(help="A Markdown file to put the results into, between marks such as README.md has."),
    ] = None,
    face: FaceOption = "central",
    aligned: AlignedSetOption = False,
    seed: SeedOption = 0,
    out: OutOption = Path("results"),
) -> None:
    """Which explanation is right: every method on pairs that patches were put into, with its cost."""
    from xfv_demo.evaluation.contenders import check_contenders

    contenders = check_contenders(_listed(methods))
    check_folder(out)
    if save:
        check_folder(save)
    if into:
        check_marks(into, _BENCHMARK_MARK)
    # Before the data: what is wrong with the model should not cost the wait for the faces.
    from xfv_demo.calibration import load_calibration
    from xfv_demo.embedding import load_embedder

    embedder = load_embedder(model, progress=True)
    similarity_threshold = 1 - load_calibration(embedder.name, calibration or "lfw").eer_threshold
    made = _patch_lfw(data, pairs_file, dataset, count, seed, pairs, face, aligned=aligned)
    if save:
        made.save(save)
        typer.echo(f"{len(made)} patched pairs written to {save}")
    _evaluate_patch_lfw(made, embedder, contenders, similarity_threshold, slow_pairs, sanity_pairs, into, out)


def main() -> None:
    """Runs the command line; bad input ends it with one line and status 2."""
    with one_line_errors():
        silence_native_libraries()
        try:
            status = app(standalone_mode=False)
        except _UsageError as error:
            # Asking for a command without any argument is asking for its help.
            if not sys.argv[1:] or type(error).__name__ == "NoArgsIsHelpError":
                raise SystemExit(BAD_INPUT) from None
            raise XfvError(f"{error.format_message()} Try --help.") from None
        except typer.Abort:
            raise KeyboardInterrupt from None
        sys.stdout.flush()
        raise SystemExit(status if isinstance(status, int) else 0)


def _listed(words: str) -> list[str]:
    """What stands between the commas."""
    return [word for word in (part.strip() for part in words.split(",")) if word]


def _verify(
    paths: tuple[Path, Path],
    faces: "tuple[WhichFace | None, WhichFace | None]",
    face: Literal["best"] | None,
    model: str,
    calibration: str | None,
    method: str | None,
    threshold: float | None,
    aligned: bool,
    precision: "Precision" = "float32",
) -> "tuple[Verifier, Verification]":
    from xfv_demo.alignment import as_aligned
    from xfv_demo.images import photo_name, read_photo
    from xfv_demo.verification import Verifier, check_threshold

    # Before the model: what is wrong with words or photos should not cost the wait, let alone a download.
    check_threshold(threshold)
    photos = [read_photo(path) for path in paths]
    if aligned:
        for photo, path in zip(photos, paths, strict=True):
            as_aligned(photo, photo_name(path))
    from xfv_demo.embedding import load_embedder

    embedder = load_embedder(model, progress=True, precision=precision)
    verifier = Verifier.calibrated(embedder, calibration, method, threshold=threshold)
    candidates = [
        verifier.find_candidates(
            photo, (face or 0) if which is None else which, name=photo_name(path), aligned=aligned
        )
        for photo, which, path in zip(photos, faces, paths, strict=True)
    ]
    return verifier, verifier.compare_most_alike(*candidates)


@dataclass(frozen=True, eq=False)
class _Measured:
    """A data set's pairs, measured by a model, here or elsewhere."""

    name: str
    model: str
    model_sha256: str | None
    versions: dict[str, str]
    scores: "PairScores"
    face: str | None
    left_out: "PairCounts"
    failures: "tuple[DetectionFailure, ...]"
    seconds: float | None


def _check_method(method: str) -> None:
    """Refuses an unknown method before the work that it would come after."""
    from xfv_demo.calibrators import CALIBRATORS

    if method not in CALIBRATORS:
        raise CalibrationError(
            f'there is no calibration method "{method}"; take one of {", ".join(CALIBRATORS)}'
        )


def _read(
    data: Path | None,
    pairs_file: Path | None,
    name: str | None,
    count: int,
    seed: int,
    *,
    aligned: bool = False,
) -> "PairSet":
    """Reads a data set's pairs; where it has people and no pairs, draws them."""
    import numpy as np

    from xfv_demo.evaluation.datasets import LabelledImages, open_dataset
    from xfv_demo.evaluation.embeddings import as_aligned_set

    if data is None:
        raise XfvError("no data is given; give --data, a labelled set of photos, or --distances, a CSV")
    dataset = open_dataset(data, pairs_file=pairs_file, name=name)
    if isinstance(dataset, LabelledImages):
        _say_left_out(dataset)
        dataset = dataset.pairs(count, np.random.default_rng(seed))
    return as_aligned_set(dataset) if aligned else dataset


def _say_left_out(images: "LabelledImages") -> None:
    if images.notice:
        typer.echo(images.notice, err=True)


def _balanced(pairs: _Pairs) -> _Pairs:
    """As many pairs of each class, where one is more than twice the other; says so.

    The threshold is the one of highest accuracy over all pairs, while a confidence takes both classes as
    equally likely: on a set of far more impostor pairs the two come apart.
    """
    smaller, larger = sorted((pairs.genuine_pairs, pairs.impostor_pairs))
    if smaller == 0 or larger <= _MOST_UNBALANCED * smaller:
        return pairs
    typer.echo(
        f"{pairs.name}: {pairs.genuine_pairs} genuine and {pairs.impostor_pairs} impostor pairs; an even "
        f"{smaller} of each are used.",
        err=True,
    )
    return pairs.subset(2 * smaller)


def _in_folds(pairs: _Pairs) -> _Pairs:
    """Ten folds of as many pairs of each class, where a set has none of its own, as LFW's View 1."""
    import numpy as np

    if len(np.unique(pairs.folds)) > 1:
        return pairs
    folds = np.zeros(len(pairs), np.int64)
    for label in (True, False):
        (rows,) = np.nonzero(pairs.genuine == label)
        folds[rows] = np.arange(len(rows)) * _FOLDS // len(rows)
    return replace(pairs, folds=folds)


def _measure(pairs: "PairSet", model: str, face: "FaceChoice", *, foldwise: bool = True) -> _Measured:
    """Embeds a set's images and measures its pairs, leaving out those that lack a face."""
    import numpy as np

    from xfv_demo.assets import cache_folder
    from xfv_demo.calibration import MINIMUM_PAIRS
    from xfv_demo.embedding import load_embedder
    from xfv_demo.evaluation.embeddings import EmbeddingStore, measure_pairs
    from xfv_demo.evaluation.metrics import PairScores
    from xfv_demo.evaluation.verification import PairCounts
    from xfv_demo.explaining import library_versions

    start = time.monotonic()
    pairs = _in_folds(_balanced(pairs))
    pairs.require(MINIMUM_PAIRS, outside_folds=foldwise)
    embedder = load_embedder(model, progress=True)
    with (
        closing(EmbeddingStore(cache_folder() / "embeddings.sqlite")) as store,
        progress_bar(f"Embedding {pairs.name}") as progress,
    ):
        measured = measure_pairs(pairs, embedder, store, face=face, progress=progress)
    usable = np.isfinite(measured.distances)
    lost = PairCounts.of(pairs.genuine[~usable])
    _say_failures(measured.failures, lost)
    return _Measured(
        name=pairs.name,
        model=embedder.name,
        model_sha256=embedder.sha256,
        versions=library_versions(),
        scores=PairScores(measured.distances[usable], pairs.genuine[usable], pairs.folds[usable]),
        face=None if pairs.aligned else face,
        left_out=lost,
        failures=measured.failures,
        seconds=time.monotonic() - start,
    )


def _measured_elsewhere(
    data: Path | None, distances: Path, name: str | None, model: str, *, aligned: bool
) -> _Measured:
    """Reads pairs whose distances were made elsewhere; no photo is read and no model is loaded."""
    from xfv_demo.calibration import MINIMUM_PAIRS
    from xfv_demo.evaluation.datasets import read_distances_csv
    from xfv_demo.evaluation.metrics import PairScores
    from xfv_demo.evaluation.verification import PairCounts

    if data or aligned:
        raise XfvError("--distances takes the place of photos; leave out --data and --aligned")
    read = read_distances_csv(distances)
    pairs = _in_folds(_balanced(read if name is None else replace(read, name=name)))
    pairs.require(MINIMUM_PAIRS)
    return _Measured(
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


def _evaluate(measured: _Measured, method: str, seed: int, out: Path) -> None:
    """Reports on measured pairs: a table on the terminal, JSON and figures in a folder."""
    import numpy as np
    from rich.console import Console

    from xfv_demo.evaluation.figures import save_figures
    from xfv_demo.evaluation.verification import evaluate

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
    for table in _report_tables(report):
        console.print(table)
    typer.echo(f"Written to {out}: {prefix}.json, {', '.join(path.name for path in figures)}")
    if report.warning:
        typer.echo(report.warning)


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
    from xfv_demo.assets import cache_folder
    from xfv_demo.embedding import load_embedder
    from xfv_demo.evaluation.datasets import read_lfw, read_people
    from xfv_demo.evaluation.embeddings import EmbeddingStore
    from xfv_demo.xcos.settings import settings_from

    if out:
        check_folder(out)
    settings = settings_from({**(_read_config(config) if config else {}), **given})
    images = read_people(data)
    _say_left_out(images)
    people = frozenset(images.people)
    if hold_out:
        pairs = read_lfw(data)
        folds = _fold_numbers(hold_out, int(pairs.folds.max()) + 1)
        shown = zip(pairs.folds, pairs.people, strict=True)
        people -= {name for fold, pair in shown if fold in folds for name in pair}
    # Keras takes seconds to import: not before the words are known to be right.
    from xfv_demo.xcos.grids import compute_grids
    from xfv_demo.xcos.head import head_folder
    from xfv_demo.xcos.training import train_head

    embedder = load_embedder(model, progress=True)
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
            held_out=f"folds {', '.join(_listed(hold_out))} of {images.name}'s pairs.txt" if hold_out else "",
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
        numbers = [int(word) - 1 for word in _listed(words)]
    except ValueError:
        numbers = []
    if not numbers or not all(0 <= number < folds for number in numbers):
        raise XfvError(f'--hold-out takes folds from 1 to {folds}, with commas between, not "{words}"')
    return numbers


def _evaluate_xcos(
    pairs: "PairSet", model: str, folders: "Sequence[Path | None]", face: "FaceChoice", seed: int, out: Path
) -> None:
    """Measures heads on the people whom they do not know: a table on the terminal, JSON and a figure."""
    import datetime

    import numpy as np
    from rich.console import Console

    from xfv_demo.assets import cache_folder
    from xfv_demo.embedding import load_embedder
    from xfv_demo.evaluation.embeddings import EmbeddingStore
    from xfv_demo.evaluation.xcos import (
        XcosReport,
        choose_heads,
        compare_similarities,
        measure_similarities,
        xcos_table,
    )
    from xfv_demo.explaining import library_versions
    from xfv_demo.xcos.head import load_head

    start = time.monotonic()
    embedder = load_embedder(model, progress=True)
    heads = [load_head(embedder, folder) for folder in folders]
    chosen = choose_heads(pairs, [head.people for head in heads])
    if not (chosen >= 0).any():
        raise XfvError(
            f"every pair of {pairs.name} shows someone whom the head was trained on; measure it on other "
            "people, or train one with --hold-out"
        )
    untrained = _in_folds(pairs.where(chosen >= 0))
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


def _patch_lfw(
    data: Path,
    pairs_file: Path | None,
    name: str | None,
    count: int,
    seed: int,
    pairs: int,
    face: "FaceChoice",
    *,
    aligned: bool,
) -> "PatchLfw":
    """Makes Patch-LFW of a data set, or reads one that was written."""
    from xfv_demo.assets import cache_folder
    from xfv_demo.evaluation.embeddings import EmbeddingStore
    from xfv_demo.evaluation.patch_lfw import INDEX_FILE, make_patch_lfw, read_patch_lfw

    if (data / INDEX_FILE).is_file():
        return read_patch_lfw(data)
    whole = _read(data, pairs_file, name, count, seed, aligned=aligned)
    whole.subset(pairs).require(2)
    with (
        closing(EmbeddingStore(cache_folder() / "embeddings.sqlite")) as store,
        progress_bar(f"Faces of {whole.name}") as progress,
    ):
        return make_patch_lfw(
            whole.subset(pairs), store, seed=seed, donors=whole, face=face, progress=progress
        )


def _evaluate_patch_lfw(
    patch_lfw: "PatchLfw",
    embedder: "SavedModelEmbedder",
    contenders: "Sequence[Contender]",
    similarity_threshold: float,
    slow_pairs: int,
    sanity_pairs: int,
    into: Path | None,
    out: Path,
) -> None:
    """Measures explanations: a table on the terminal, JSON and figures in a folder, and a README's part."""
    from rich.console import Console

    from xfv_demo.assets import cache_folder
    from xfv_demo.evaluation.benchmark import (
        benchmark_table,
        carried_differences,
        markdown,
        run_benchmark,
    )
    from xfv_demo.evaluation.benchmark_figures import save_benchmark_figures
    from xfv_demo.evaluation.outcomes import OutcomeStore

    with ExitStack() as open_bars, closing(OutcomeStore(cache_folder() / "outcomes.sqlite")) as store:

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


def _report_tables(report: "VerificationReport") -> "list[Table]":
    """The report's numbers as a person reads them."""
    from rich.table import Table

    accuracy, separation, point = report.accuracy, report.separation, report.operating_point
    numbers = Table(
        title=f"{report.model} on {report.dataset}, {report.pairs.total} pairs", show_header=False
    )
    numbers.add_row(
        f"{len(accuracy.folds)}-fold accuracy",
        f"{accuracy.mean:.2%} {_interval(report.accuracy_interval)} ± {accuracy.standard_error:.2%} "
        f"(standard error; the folds deviate by {accuracy.standard_deviation:.2%})",
    )
    numbers.add_row("threshold", f"{point.threshold:.3f}")
    numbers.add_row("FMR there", f"{point.fmr:.2%} {_interval(point.fmr_interval)}")
    numbers.add_row("FNMR there", f"{point.fnmr:.2%} {_interval(point.fnmr_interval)}")
    numbers.add_row("EER", f"{separation.eer:.2%} {separation.reason or _interval(separation.eer_interval)}")
    area = separation.auc_interval
    told = f"[{area.low:.5f}, {area.high:.5f}]" if area else separation.reason
    numbers.add_row("AUC", f"{separation.auc:.5f} {told}")
    for answer in report.fnmr_at_fmr:
        told = f"{answer.at.fnmr:.2%} {_interval(answer.interval)}" if answer.at else answer.reason
        numbers.add_row(f"FNMR at FMR {answer.target:g}", told)
    comparison = Table(title="Foldwise confidence, by calibration method; lower is better")
    for column in ("method", "log loss", "Brier", "ECE", "equal-mass ECE"):
        comparison.add_column(column)
    for row in report.comparison:
        comparison.add_row(
            row.method, *(f"{value:.5f}" for value in (row.log_loss, row.brier, row.ece, row.adaptive_ece))
        )
    return [numbers, comparison]


def _interval(interval: "Interval | None") -> str:
    if interval is None:
        return ""
    width = 100 * (interval.high - interval.low)
    # Of very many pairs, two digits would show an interval without width.
    digits = max(2, 1 - math.floor(math.log10(width))) if width else 2
    return f"[{interval.low:.{digits}%}, {interval.high:.{digits}%}]"


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


def _in_words(verification: "Verification") -> str:
    decision = "SAME PERSON" if verification.same_person else "DIFFERENT PEOPLE"
    comparison = "below" if verification.same_person else "not below"
    lines = [
        decision,
        f"  confidence  {_confidence_in_words(verification)}",
        f"  distance    {verification.distance:.3f}, {comparison} the threshold {verification.threshold:.3f}",
        f"  model       {verification.model}",
        f"  photos      {_face_in_words(verification.probe)} and {_face_in_words(verification.reference)}",
    ]
    lines += [f"  note        {notice}" for notice in verification.notices]
    return "\n".join(lines)


def _faces_table(verification: "Verification") -> "Table":
    """All faces found in both photos, as a person reads them."""
    from rich.table import Table

    table = Table(title="Faces found, the largest first; boxes, and how far apart the eyes are, in pixels")
    for column in ("photo", "face", "left, top, right, bottom", "eyes", "score", "turned", "compared"):
        table.add_column(column)
    for letter, photo in (("A", verification.probe), ("B", verification.reference)):
        for index, face in enumerate(photo.faces):
            table.add_row(
                letter,
                str(index),
                ", ".join(f"{edge:.0f}" for edge in face.box),
                f"{face.eye_distance:.1f}",
                f"{face.score:.4f}",
                f"{face.rotation}°",
                "yes" if index == photo.face_index else "",
            )
    return table


def _confidence_in_words(verification: "Verification") -> str:
    if verification.confidence_withheld:
        return f"none, for {verification.confidence_withheld}"
    if verification.shown_confidence is None:
        return "none, for the model is not calibrated"
    by = f"{verification.calibration}, method {verification.confidence_method}"
    return f"{verification.shown_confidence} if as many pairs show one person as two (calibrated on {by})"


def _face_in_words(face: "AlignedFace") -> str:
    found = f", face {face.face_index} of {len(face.faces)} found" if len(face.faces) > 1 else ""
    return f"{face.name}{found}"
