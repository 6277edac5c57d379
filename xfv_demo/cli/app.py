"""The command line: `python -m xfv_demo` or `xfv-demo`."""

import sys
from typing import Annotated

import typer

from xfv_demo._version import __version__
from xfv_demo.cli.options import UsageError, app
from xfv_demo.errors import XfvError
from xfv_demo.runtime.console import BAD_INPUT, one_line_errors, silence_native_libraries

# Each registers its commands; help lists them in this order.
# isort: off
from xfv_demo.cli import pair as pair
from xfv_demo.cli import fetch as fetch
from xfv_demo.cli import model as model
from xfv_demo.cli import evaluate as evaluate
from xfv_demo.cli import train as train
from xfv_demo.cli import reference as reference
from xfv_demo.cli import explore as explore
# isort: on


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


def main() -> None:
    """Runs the command line; bad input ends it with one line and status 2."""
    with one_line_errors():
        silence_native_libraries()
        try:
            status = app(standalone_mode=False)
        except UsageError as error:
            # Asking for a command without any argument is asking for its help.
            if not sys.argv[1:] or type(error).__name__ == "NoArgsIsHelpError":
                raise SystemExit(BAD_INPUT) from None
            raise XfvError(f"{error.format_message()} Try --help.") from None
        except typer.Abort:
            raise KeyboardInterrupt from None
        sys.stdout.flush()
        raise SystemExit(status if isinstance(status, int) else 0)
