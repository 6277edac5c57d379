"""The commands that bring what is not shipped: fetch, prepare."""

import shlex
import textwrap
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from xfv_demo.cli.options import ChannelsOption, InputRangeOption, ModelOption, app
from xfv_demo.errors import XfvError
from xfv_demo.runtime.console import progress_bar

if TYPE_CHECKING:
    from xfv_demo.runtime.download import Progress


@app.command()
def fetch(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="What to fetch: the model arcface-octuplet, or the data set lfw or xqlfw."
        ),
    ],
) -> None:
    """Downloads a model or a data set into the cache, once."""
    from xfv_demo.datasets.fetching import FETCHABLE_SETS, fetch_dataset, find_dataset, noted_digests
    from xfv_demo.models.registry import BUNDLED_MODELS, FETCHABLE, fetch_model

    if name in FETCHABLE:
        with progress_bar(f"Fetching {name}") as show:
            folder = fetch_model(name, progress=show)
        typer.echo(f"{name} is at {folder}")
        return
    if name not in FETCHABLE_SETS:
        raise XfvError(
            f'"{name}" cannot be fetched; take one of {", ".join([*FETCHABLE, *FETCHABLE_SETS])} '
            f"({', '.join(BUNDLED_MODELS)} comes with the package)"
        )
    typer.echo(textwrap.fill(FETCHABLE_SETS[name].terms, 100))
    fetched_before = find_dataset(name) is not None
    with progress_bar(f"Fetching {name}") as show:
        folder = fetch_dataset(name, progress=show)
    typer.echo(f"{name} is at {folder}")
    digests = noted_digests(name)
    if digests.is_file() and not fetched_before:
        typer.echo(
            f"  no publisher says what sha256 its files must have: what came is whole and in the form of the "
            f"set, and was trusted. Noted in {digests}; what is fetched later must be the same"
        )
    typer.echo(f"  to use it: --data {name}")


@app.command()
def prepare(
    model: ModelOption = "auto", input_range: InputRangeOption = None, channels: ChannelsOption = None
) -> None:
    """Makes a model give a confidence: fetches it and LFW, and calibrates it; what is done is left out."""
    from xfv_demo.evaluation.preparation import prepare

    with ExitStack() as open_bars:

        def report(part: str) -> "Progress":
            open_bars.close()
            return open_bars.enter_context(progress_bar(part))

        def say(line: str) -> None:
            open_bars.close()
            typer.echo(textwrap.fill(line, 100, break_long_words=False, break_on_hyphens=False))

        calibration = prepare(model, say=say, report=report, input_range=input_range, channels=channels)
    typer.echo(
        f"Ready: threshold {calibration.threshold:.3f}, confidences of up to "
        f"{calibration.largest_confidence:.2%} on {calibration.dataset}"
    )
    typer.echo(f"  to use it: python -m xfv_demo verify A B --model {shlex.quote(model)}")
