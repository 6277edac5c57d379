"""The commands that make what maps are read against: the mean face."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xfv_demo.cli.options import DataOption, FaceOption, PairsFileOption, app
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
