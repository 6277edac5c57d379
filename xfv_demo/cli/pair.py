"""The commands for one pair of photos: verify, explain."""

import shlex
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from xfv_demo.cli.options import (
    AlignedPhotosOption,
    BestFaceOption,
    CalibrationMethodOption,
    CalibrationOption,
    ChannelsOption,
    FaceAOption,
    FaceBOption,
    InputRangeOption,
    ModelOption,
    PrecisionOption,
    PriorOption,
    ProbeArgument,
    ReferenceArgument,
    ThresholdOption,
    app,
    listed,
)
from xfv_demo.errors import XfvError
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.findings import Prior, chance_in_words
from xfv_demo.runtime.console import progress_bar
from xfv_demo.runtime.files import check_folder, json_text, write_all

if TYPE_CHECKING:
    from rich.table import Table

    from xfv_demo.faces.candidates import WhichFace
    from xfv_demo.types import AlignedFace, Photo, Verification
    from xfv_demo.verification import Verifier


@app.command()
def verify(
    probe: ProbeArgument,
    reference: ReferenceArgument,
    model: ModelOption = "auto",
    input_range: InputRangeOption = None,
    channels: ChannelsOption = None,
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
    prior: PriorOption = None,
    aligned: AlignedPhotosOption = False,
) -> None:
    """Says whether two photos show the same person."""
    odds = None if prior is None else Prior.parse(prior)
    if faces and aligned:
        raise XfvError("--faces lists the faces found, but with --aligned none is looked for; leave one out")
    verifier, probes, references = _found(
        (probe, reference),
        (face_a, face_b),
        face,
        model,
        calibration,
        method,
        threshold,
        aligned,
        input_range=input_range,
        channels=channels,
    )
    from xfv_demo.pipeline import stream_pair

    (step,) = stream_pair(verifier, probes, references)
    verification = replace(step.verification, prior=odds)
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
        str | None,
        typer.Option(
            help=f"What to explain by, with commas between: {', '.join(EXPLAINERS)}. Unless given, those of "
            "occlusion and xssab that the model allows."
        ),
    ] = None,
    model: ModelOption = "auto",
    input_range: InputRangeOption = None,
    channels: ChannelsOption = None,
    calibration: CalibrationOption = None,
    method: CalibrationMethodOption = None,
    face: BestFaceOption = None,
    face_a: FaceAOption = None,
    face_b: FaceBOption = None,
    threshold: ThresholdOption = None,
    prior: PriorOption = None,
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
    from xfv_demo.pair_report import PairExplanation
    from xfv_demo.pipeline import DEFAULT_METHODS, check_methods, stream_pair
    from xfv_demo.plots.colours import PALETTES
    from xfv_demo.runtime.provenance import provenance

    odds = None if prior is None else Prior.parse(prior)
    chosen = DEFAULT_METHODS if methods is None else check_methods(listed(methods))
    if palette not in PALETTES:
        raise XfvError(f'there is no palette "{palette}"; take one of {", ".join(PALETTES)}')
    check_folder(out)
    verifier, probes, references = _found(
        (probe, reference),
        (face_a, face_b),
        face,
        model,
        calibration,
        method,
        threshold,
        aligned,
        precision=precision,
        input_range=input_range,
        channels=channels,
    )
    with progress_bar("Explaining") as show:
        # What was asked for by name must be given; of the defaults, what the model allows.
        for step in stream_pair(verifier, probes, references, chosen, keep_going=methods is None):
            show(round(100 * step.progress), 100)
    command = shlex.join(["python", "-m", "xfv_demo", *sys.argv[1:]])
    verification = replace(step.verification, prior=odds)
    explanation = PairExplanation(verification, step.results, provenance(verifier.embedder, command))
    files = explanation.files(palette=palette)
    write_all(out, files)
    typer.echo(_in_words(verification))
    for result in explanation.results:
        typer.echo(f"  {result.method:<11} {result.summary} ({result.seconds:.1f} s)")
    for name, problem in step.problems.items():
        typer.echo(f"  {name:<11} not computed: {problem}")
    typer.echo(f"Written to {out}: {', '.join(sorted(files))}")


def _found(
    paths: tuple[Path, Path],
    faces: "tuple[WhichFace | None, WhichFace | None]",
    face: Literal["best"] | None,
    model: str,
    calibration: str | None,
    method: str | None,
    threshold: float | None,
    aligned: bool,
    **loading: Any,
) -> "tuple[Verifier, tuple[AlignedFace, ...], tuple[AlignedFace, ...]]":
    """The model, loaded with these settings, and the faces of both photos that come into question."""
    from xfv_demo.faces.alignment import as_aligned
    from xfv_demo.faces.candidates import find_candidates
    from xfv_demo.faces.detection import MtcnnDetector
    from xfv_demo.faces.images import photo_name, read_photo
    from xfv_demo.metrics.decision import check_threshold

    # Before the model: what is wrong with words or photos should not cost the wait, let alone a download.
    check_threshold(threshold)
    photos = [read_photo(path) for path in paths]
    if aligned:
        for photo, path in zip(photos, paths, strict=True):
            as_aligned(photo, photo_name(path))
    detector = MtcnnDetector()

    def find(photo: "Photo", which: "WhichFace | None", path: Path) -> "tuple[AlignedFace, ...]":
        chosen = (face or 0) if which is None else which
        return find_candidates(detector, photo, chosen, name=photo_name(path), aligned=aligned)

    # Detector and model load side by side, each most of the time on one core and without Python's lock. The
    # model in this thread: a download is what Ctrl-C must end at once.
    beside = ThreadPoolExecutor(1, "find-faces")
    try:
        finding = [beside.submit(find, *given) for given in zip(photos, faces, paths, strict=True)]
        from xfv_demo.models.loading import load_embedder
        from xfv_demo.verification import Verifier

        embedder = load_embedder(model, progress=True, **loading)
        verifier = Verifier.calibrated(embedder, calibration, method, detector=detector, threshold=threshold)
        probes, references = (found.result() for found in finding)
    finally:
        beside.shutdown(cancel_futures=True)
    return verifier, probes, references


def _in_words(verification: "Verification") -> str:
    decision = "SAME PERSON" if verification.same_person else "DIFFERENT PEOPLE"
    comparison = "below" if verification.same_person else "not below"
    lines = [
        decision,
        f"  confidence  {_confidence_in_words(verification)}",
        *_evidence_in_words(verification),
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


def _evidence_in_words(verification: "Verification") -> list[str]:
    """What the photos say, and what follows from it under the prior that was given."""
    lines = [f"  evidence    {verification.findings}"] if verification.findings else []
    if verification.prior:
        chance = "none, as there is no confidence"
        if verification.posterior is not None:
            chance = f"{chance_in_words(verification.posterior)} that the photos show one person"
        lines.append(f"  posterior   {chance} (prior odds {verification.prior})")
    return lines


def _face_in_words(face: "AlignedFace") -> str:
    found = f", face {face.face_index} of {len(face.faces)} found" if len(face.faces) > 1 else ""
    return f"{face.name}{found}"
