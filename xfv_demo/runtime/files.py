"""Writing results: a file is whole, or it is not there; and files that belong together come together."""

import errno
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from xfv_demo.errors import XfvError


def json_text(document: Any, **layout: Any) -> str:
    """Writes plain values as JSON that every reader takes: without NaN and infinity, which JSON has not.

    Args:
        document: What to write; a number that is not known is None.
        **layout: As for `json.dumps`.

    Raises:
        XfvError: It holds a number that is not finite.
    """
    try:
        return json.dumps(document, allow_nan=False, **layout)
    except ValueError as error:
        raise XfvError(
            "the result holds a number that is not finite, so it is not written; is the model sound?"
        ) from error


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file, whole or not at all; makes the folders that lack.

    Args:
        path: Where to.
        content: What.

    Raises:
        XfvError: If the file cannot be written; the message names it.
    """
    write_all(path.parent, {path.name: content})


def write_all(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes files that belong together: none is put in its place before all of them are written.

    Args:
        folder: Where to; made where it lacks, and gone again where the files cannot be written.
        files: Their contents by name. Files of these names that are there already are replaced, others stay.

    Raises:
        XfvError: If a file cannot be written; the message names it.
    """
    targets = {folder / name: content for name, content in files.items()}
    parts = {path: path.with_name(f".{path.name}.{os.getpid()}.part") for path in targets}
    missing: list[Path] = []
    path = next(iter(targets), folder)
    try:
        missing += [one for one in (folder, *folder.parents) if not _is_there(one)]
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in targets.items():
            _write_part(parts[path], path, content)
        for path, part in parts.items():
            part.replace(path)
    except BaseException as error:
        for part in parts.values():
            with suppress(OSError):
                part.unlink()
        # The innermost comes first; one that holds anything stays.
        for made in missing:
            with suppress(OSError):
                made.rmdir()
        if not isinstance(error, OSError):
            raise
        reason = _why_no_folder(folder) or error.strerror or error
        raise XfvError(f"{path}: this file cannot be written: {reason}; choose another place") from error


def check_marks(path: Path, mark: str) -> None:
    """Checks before a long work that its result can be put between a document's marks.

    Args:
        path: The document.
        mark: As for `write_between_marks`.

    Raises:
        XfvError: It cannot be read or written, or has not these marks once, in order.
    """
    check_file(path)
    _parts(path, mark)


def write_between_marks(path: Path, mark: str, content: str) -> None:
    """Replaces what stands between a document's marks, `<!-- mark -->` and `<!-- /mark -->`.

    Args:
        path: The document, UTF-8.
        mark: The word in the marks.
        content: What to put there, on lines of its own.

    Raises:
        XfvError: As from `check_marks`.
    """
    before, after = _parts(path, mark)
    write_whole(path, f"{before}<!-- {mark} -->\n\n{content}\n\n<!-- /{mark} -->{after}".encode())


def _parts(path: Path, mark: str) -> tuple[str, str]:
    """What stands before and after the marks."""
    begin, end = f"<!-- {mark} -->", f"<!-- /{mark} -->"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise XfvError(f'"{path}" cannot be read: {reason}') from error
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    if text.count(begin) != 1 or rest.count(end) != 1:
        raise XfvError(f'"{path}" must have {begin} and, further down, {end}, each once')
    return before, after


def check_folder(folder: Path) -> None:
    """Checks before a long work that its results can be written to a folder, as far as can be told.

    Args:
        folder: Need not be there yet.

    Raises:
        XfvError: Nothing can be written there; the message says why.
    """
    if reason := _why_no_folder(folder):
        raise XfvError(f'nothing can be written to "{folder}": {reason}; choose another folder')


def check_file(path: Path) -> None:
    """Checks before a long work that its result can be written to a file, as far as can be told.

    Args:
        path: Need not be there yet.

    Raises:
        XfvError: It cannot be written; the message says why.
    """
    reason = "it is a folder" if path.is_dir() else _why_no_folder(path.parent)
    if reason:
        raise XfvError(f'the file "{path}" cannot be written: {reason}; choose another place')


def _write_part(part: Path, path: Path, content: bytes) -> None:
    # Found out only when it is put in its place, others would be in theirs by then.
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder has this name")
    part.write_bytes(content)


def _why_no_folder(folder: Path) -> str | None:
    """What keeps a folder from being written to or from being made; None where nothing is known to."""
    try:
        nearest = next((one for one in (folder, *folder.parents) if _is_there(one)), None)
        if nearest is None:
            return "there is no such disk"
        if not nearest.is_dir():
            return f'"{nearest}" is a file, not a folder'
    except OSError as error:
        return error.strerror or str(error)
    if not os.access(nearest, os.W_OK | os.X_OK):
        return f'the folder "{nearest.absolute()}" may not be written to'
    return None


def _is_there(path: Path) -> bool:
    """Whether anything has this name, even a link that leads nowhere."""
    return path.is_symlink() or path.exists()
