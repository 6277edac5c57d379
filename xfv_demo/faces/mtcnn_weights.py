"""The weights that the package `mtcnn` brings, found without importing it, as it imports TensorFlow."""

import importlib.metadata
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

Network = Literal["pnet", "rnet", "onet"]


def weights_file(network: Network) -> Path:
    """The file of one network's weights, by its whole path.

    The package looks in the working directory first, and these files are pickles: a whole path keeps a stray
    pnet.lz4 from being run.

    Raises:
        importlib.metadata.PackageNotFoundError: The package is not installed.
    """
    return Path(
        str(importlib.metadata.distribution("mtcnn").locate_file(f"mtcnn/assets/weights/{network}.lz4"))
    )


@contextmanager
def ignoring_closed_files() -> Iterator[None]:
    """Keeps Python 3.13 from reporting that lz4, once done with a file of weights, flushes it again."""
    report = sys.unraisablehook

    def report_others(event: "sys.UnraisableHookArgs") -> None:
        if not (isinstance(event.exc_value, ValueError) and "closed file" in str(event.exc_value)):
            report(event)

    sys.unraisablehook = report_others
    try:
        yield
    finally:
        sys.unraisablehook = report
