"""The arguments and options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xfv_demo.errors import CalibrationError

if TYPE_CHECKING:
    from xfv_demo.faces.candidates import WhichFace


# What Typer's argument parser raises for wrong words. Its home has moved between versions; its place among
# the bases of BadParameter has not.
UsageError: Any = typer.BadParameter.__mro__[1]


app = typer.Typer(
    name="xfv-demo",
    help="Shows why a face-verification model says that two photos are, or are not, the same person.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        help="auto, mobilefacenet, arcface-octuplet, a SavedModel folder, or an .onnx, .tflite or frozen .pb "
        "file. Auto takes arcface-octuplet where it is at hand or can be fetched, else the bundled "
        "mobilefacenet.",
    ),
]

InputRangeOption = Annotated[
    Literal["0..1", "-1..1", "0..255"] | None,
    typer.Option(
        help="The pixels that a model's file takes, from black to white; said once, it is kept for the file."
    ),
]

ChannelsOption = Annotated[
    Literal["rgb", "bgr"] | None,
    typer.Option(help="The channel that it takes first, likewise. check-model finds out which fit."),
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

PriorOption = Annotated[
    str | None,
    typer.Option(
        metavar="SAME:DIFFERENT",
        help="How likely one person was before the photos were compared, as odds, such as 1:1000; then the "
        "posterior probability is given too.",
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


def dataset_path(word: str) -> Path:
    """As `datasets.fetching.dataset_path`, which only commands on data sets import."""
    from xfv_demo.datasets import fetching

    return fetching.dataset_path(word)


DataOption = Annotated[
    Path,
    typer.Option(
        parser=dataset_path,
        metavar="DATA",
        help="lfw or xqlfw, once fetched; LFW's folder or archive, a CSV of pairs (first,second,genuine), an "
        "insightface .bin, or a folder with one folder of photos for each person.",
    ),
]

OptionalDataOption = Annotated[
    Path | None,
    typer.Option(
        parser=dataset_path,
        metavar="DATA",
        help="lfw or xqlfw, once fetched; LFW's folder or archive, a CSV of pairs (first,second,genuine), an "
        "insightface .bin, or a folder with one folder of photos for each person. This or --distances.",
    ),
]

SeveralDataOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--data",
        parser=dataset_path,
        metavar="DATA",
        help="As for evaluate lfw, or a folder with the images and the list of SLLFW, CALFW, CPLFW, XQLFW or "
        "MLFW, or of aligned faces with its NAME_ann.txt. Given several times, the sets come in one table.",
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
    typer.Option(
        "--pairs",
        help="The list of pairs: LFW's, XQLFW's, SLLFW's, CALFW's, CPLFW's, MLFW's or a NAME_ann.txt; one in "
        "the folder of the images unless given.",
    ),
]

MethodOption = Annotated[
    str, typer.Option(help="What makes the confidence: beta, xface (the paper's), logistic or isotonic.")
]

SizedMethodOption = Annotated[
    str | None,
    typer.Option(
        help="What makes the confidence: beta-size, which counts the sizes of the faces in, by smaller "
        "copies of the photos; beta, xface (the paper's), logistic or isotonic. Unless given beta-size, or "
        "for aligned crops and distances beta."
    ),
]

DatasetNameOption = Annotated[
    str | None, typer.Option("--dataset", help="What to call the data set; its own name unless given.")
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


def listed(words: str) -> list[str]:
    """What stands between the commas."""
    return [word for word in (part.strip() for part in words.split(",")) if word]


def check_method(method: str, *further: str) -> None:
    """Refuses an unknown method before the work that it would come after."""
    from xfv_demo.calibration.calibrators import CALIBRATORS

    if method not in (*CALIBRATORS, *further):
        raise CalibrationError(
            f'there is no calibration method "{method}"; take one of {", ".join((*further, *CALIBRATORS))}'
        )
