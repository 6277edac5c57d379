"""The command that looks at a model's file: check-model."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from xfv_demo.cli.options import ChannelsOption, InputRangeOption, app
from xfv_demo.runtime.files import json_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from xfv_demo.evaluation.model_check import ModelCheck
    from xfv_demo.models.input_format import InputFormat

_LAYOUTS = {"NCHW": "channels first", "NHWC": "channels last"}


@app.command()
def check_model(
    model: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="An .onnx, .tflite or frozen .pb file, a SavedModel folder, or a name."
        ),
    ],
    input_range: InputRangeOption = None,
    channels: ChannelsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Says what is understood of a model's file, and whether it tells the people on the example photos apart.

    Ends with status 1 where it does not, or where it is not known what pixels it takes.
    """
    from rich.console import Console

    from xfv_demo.evaluation.model_check import check_model

    check = check_model(model, input_range, channels)
    if as_json:
        typer.echo(json_text(check.to_dict(), indent=2))
    else:
        typer.echo(_understood(check))
        if check.fits:
            Console().print(_formats_table(check))
        typer.echo(_verdict(check, model))
    raise typer.Exit(not check.is_well)


def _understood(check: "ModelCheck") -> str:
    from xfv_demo.models.input_format import SOURCES_IN_WORDS

    signature = check.signature
    shape = ", ".join("N" if side is None else str(side) for side in signature.input_shape)
    batch = "any number of images" if check.batch is None else f"{check.batch} images"
    pixels = "not known"
    if check.input_format and check.format_source:
        pixels = f"{check.input_format}, {SOURCES_IN_WORDS[check.format_source]}"
    grid = "none"
    if check.grid_shape:
        height, width, depth = check.grid_shape
        after = "affine" if check.is_affine else "not affine"
        grid = f"{height} x {width}, {depth} channels; what follows is {after}"
    gradients = (
        "yes" if check.has_gradients else "none known of all its operations: occlusion and corrrise need none"
    )
    return "\n".join(
        (
            f"{check.name}: {check.kind}",
            f"  input       {signature.input} ({shape}), {_LAYOUTS[check.layout]}, {batch} at once",
            f"  output      {signature.output}, {signature.dimensions} numbers for each face",
            f"  pixels      {pixels}",
            f"  engine      {check.engine}",
            f"  grid        {grid}",
            f"  gradients   {gradients}",
        )
    )


def _formats_table(check: "ModelCheck") -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(
        title="Cosine distances between the example photos",
        box=box.SIMPLE,
        pad_edge=False,
    )
    for column in ("pixels", "one person,\nat most", "two people,\nat least", "apart by", "fits"):
        table.add_column(column, justify="left" if column in ("pixels", "fits") else "right")
    words = {fit: "worse" if fit.comes_apart else "no" for fit in check.fits}
    words |= dict.fromkeys(check.best, "as well") | dict.fromkeys(check.best[:1], "best")
    for fit in check.fits:
        table.add_row(
            str(fit.input_format),
            f"{fit.largest_genuine:.3f}",
            f"{fit.smallest_impostor:.3f}",
            f"{fit.gap:.3f}",
            words[fit],
        )
    return table


def _verdict(check: "ModelCheck", model: str) -> str:
    """What the distances mean, and what to do."""
    lines = []
    if check.fit:
        apart = "come apart" if check.fit.comes_apart else "do not come apart"
        lines.append(
            f"By {check.fit.input_format}, the people on the example photos {apart}: one person at most "
            f"{check.fit.largest_genuine:.3f}, two people at least {check.fit.smallest_impostor:.3f}."
        )
    if check.known_format not in (None, check.input_format):
        lines.append(f"This file is a known one, and takes {check.known_format}.")
    best = [fit.input_format for fit in check.best]
    if check.is_well:
        if check.format_source == "options":
            lines.append("That is kept for the file, and need not be given again.")
        lines += _also(check, [one for one in best if one != check.input_format])
    elif best:
        fits = "fits better" if check.fit and check.fit.comes_apart else "fits"
        lines += [f"{best[0]} {fits}.", *_also(check, best[1:]), _advice(check, best[0], model)]
    else:
        lines.append(
            "They come apart in no format: the model may want faces cropped or scaled in another way, or be "
            "made for something else."
        )
    return "\n".join(lines)


def _also(check: "ModelCheck", others: "Sequence[InputFormat]") -> list[str]:
    if not others or check.known_format:
        return []
    return [
        f"{' and '.join(map(str, others))} {'fits' if len(others) == 1 else 'fit'} about as well, and so few "
        "photos cannot choose: take what the model's authors say, or what is more accurate on labelled pairs."
    ]


def _advice(check: "ModelCheck", best: "InputFormat", model: str) -> str:
    if check.kind == "SavedModel":
        return (
            "A SavedModel gets RGB, 0..1 here: export it with what it wants instead in its graph, or as ONNX."
        )
    return (
        "To keep that for the file: python -m xfv_demo check-model "
        f"{shlex.quote(model)} --input-range {best.input_range} --channels {best.channels}"
    )
