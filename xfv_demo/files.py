"""Writing results: a file is whole, or it is not there."""

import os
from pathlib import Path

from xfv_demo.errors import XfvError


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file, whole or not at all; makes the folders that lack.

    Args:
        path: Where to.
        content: What.

    Raises:
        XfvError: If the file cannot be written; the message names it.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise XfvError(f"{path}: this file cannot be written: {error.strerror or error}") from error
