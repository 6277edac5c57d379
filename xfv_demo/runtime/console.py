"""What a terminal shows: errors as one line, and none of TensorFlow's own chatter."""

import faulthandler
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from xfv_demo.errors import XfvError, printable

# The status of a command that was given bad input, as argument parsers use it.
BAD_INPUT = 2


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turns bad input into one line on standard error and exit status 2, and Ctrl-C into status 130."""
    try:
        yield
    except XfvError as error:
        _end(str(error), BAD_INPUT)
    except BrokenPipeError:
        # Whoever read the output has had enough, as `head` does; nothing is left to say or to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(0) from None
    except OSError as error:
        where = f'"{printable(str(error.filename))}": ' if error.filename else ""
        _end(f"{where}{error.strerror or error}", BAD_INPUT)
    except KeyboardInterrupt:
        _end("stopped", 130)


def _end(line: str, status: int) -> NoReturn:
    print(f"xfv-demo: {' '.join(line.split())}", file=sys.stderr)
    raise SystemExit(status) from None


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left, on standard error, gone when done.

    Args:
        description: What is being done.

    Yields:
        A function to call with the number of steps done and of all steps.
    """
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    # Into a file or a pipe a bar writes nothing but empty lines.
    with progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def silence_native_libraries() -> None:
    """Keeps what TensorFlow's compiled code writes to standard error from the terminal.

    It writes notes on CPUs, GPUs and optimizers to the file descriptor itself, some of them before it reads
    its log level. So the descriptor goes nowhere from here on, and Python's own messages, errors and progress
    bars go to the terminal by another. With TF_CPP_MIN_LOG_LEVEL=0 in the environment all is left as it is.

    A program's first step, not a library's.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "0":
        return
    sys.stderr.flush()
    terminal = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    sys.stderr = os.fdopen(terminal, "w", buffering=1, encoding="utf-8", errors="backslashreplace")
    # What the interpreter itself says when it crashes would be lost otherwise.
    faulthandler.enable(sys.stderr)
