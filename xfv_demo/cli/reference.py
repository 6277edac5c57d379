"""The commands that make what maps are read against: what is usual, and the mean face."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xfv_demo.cli.options import (
    CalibrationOption,
    ChannelsOption,
    CountOption,
    DataOption,
    DatasetNameOption,
    FaceOption,
    InputRangeOption,
    ModelOption,
    PairsFileOption,
    SeedOption,
    app,
    listed,
)
from xfv_demo.runtime.console import progress_bar
from xfv_demo.runtime.files import check_file, write_whole

if TYPE_CHECKING:
    from xfv_demo.types import FloatArray


@app.command("mean-face")
def make_mean_face(
    data: DataOption,
    pairs_file: PairsFileOption = None,
    face: FaceOption = "central",
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("mean-face.png"),
) -> None:
    """Averages the aligned faces of LFW's people, as assets/mean-face.png was made."""
    from xfv_demo.batch.align import align_images
    from xfv_demo.batch.cache import EmbeddingStore
    from xfv_demo.datasets.lfw import read_lfw
    from xfv_demo.faces.mean_face import average_faces
    from xfv_demo.plots.colours import png_bytes
    from xfv_demo.runtime.paths import cache_folder

    check_file(out)
    pairs = read_lfw(data, pairs_file)
    people = dict(zip(pairs.images, pairs.image_people, strict=True))
    with (
        closing(EmbeddingStore(cache_folder() / "embeddings.sqlite")) as store,
        progress_bar(f"Faces of {pairs.name}") as progress,
    ):
        aligned = align_images(pairs.source, tuple(people), store, face=face)

        def shown() -> "Iterator[tuple[str, FloatArray]]":
            for done, image in enumerate(aligned, 1):
                progress(done, len(people))
                if image.face is not None:
                    yield people[image.key], image.face

        mean = average_faces(shown())
    write_whole(out, png_bytes(mean))
    typer.echo(f"Written to {out}")


@app.command("reference")
def make_reference(
    data: DataOption,
    model: ModelOption = "auto",
    methods: Annotated[
        str, typer.Option(help="Keys of explanation methods, with commas between.")
    ] = "mean-face,xssab,integrated-gradients,grid",
    pairs: Annotated[
        int, typer.Option("--explained-pairs", min=200, help="How many pairs to explain, an even subset.")
    ] = 1000,
    calibration: CalibrationOption = None,
    input_range: InputRangeOption = None,
    channels: ChannelsOption = None,
    pairs_file: PairsFileOption = None,
    dataset: DatasetNameOption = None,
    count: CountOption = 6000,
    face: FaceOption = "central",
    seed: SeedOption = 0,
    out: Annotated[
        Path | None, typer.Option(help="The file to write; the user's own references unless given.")
    ] = None,
) -> None:
    """Measures how strong a model's evidence usually is, by region: what maps are then read against."""
    from xfv_demo.calibration.storage import load_calibration
    from xfv_demo.datasets.opening import read_pairs
    from xfv_demo.evaluation.reference import measure_reference
    from xfv_demo.explainers.reference import reference_path
    from xfv_demo.models.loading import load_embedder
    from xfv_demo.pipeline import check_methods

    chosen = check_methods(listed(methods))
    if out:
        check_file(out)
    embedder = load_embedder(model, progress=True, input_range=input_range, channels=channels)
    threshold = 1 - load_calibration(embedder.name, calibration or "lfw").eer_threshold
    subset = read_pairs(data, pairs_file, dataset, count, seed).subset(pairs)
    command = shlex.join(["python", "-m", "xfv_demo", *sys.argv[1:]])
    with progress_bar(f"Explaining {subset.name}") as progress:
        reference = measure_reference(
            subset, embedder, chosen, threshold, face=face, command=command, progress=progress
        )
    path = out or reference_path(reference.model, reference.dataset)
    write_whole(path, f"{reference.model_dump_json()}\n".encode())
    typer.echo(
        f"{reference.model} on {reference.dataset}: {reference.genuine_pairs} pairs of one person, "
        f"{reference.impostor_pairs} of two"
    )
    typer.echo(f"  written to {path}")
