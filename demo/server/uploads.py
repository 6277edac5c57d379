"""The folder of visitors' files: what lies in it is this app's to read and to delete, and nothing else is."""

import atexit
import logging
import os
import secrets
import shutil
import stat
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from gradio.utils import get_upload_folder

from demo.privacy import Deletion
from demo.server.line import forget_session, unused_sessions, waiting_paths
from xfv_demo.errors import XfvError
from xfv_demo.runtime.paths import assets_folder

_EXAMPLES = assets_folder() / "examples"

# What the folder may hold: visitors wait for room rather than that the disk fills up.
_MOST_BYTES = 1_000_000_000
_MOST_FILES = 2000

_FULL = "this page can keep no more photos now; try again in some minutes, when older ones are deleted"

_PREFIX, _MARK = "xfv-demo-", ".xfv-demo"
_LONGEST_PATH = 4096

_log = logging.getLogger(__name__)


def folder() -> Path:
    """Where Gradio, and so this app, keeps visitors' files."""
    return Path(get_upload_folder()).resolve()


def own_file(path: object) -> Path | None:
    """The one place that decides whether a path, from a client or not, is that of a visitor's file.

    Args:
        path: Anything.

    Returns:
        The path without links, of a regular file in the folder; None of all else, whether it exists or not.
        Outside of the folder nothing is looked at, so that no answer takes longer for a file that is there.
    """
    top = folder()
    found = _regular_file(path, top)
    return None if found == top / _MARK else found


def example_file(path: object) -> Path | None:
    """The photo that is shipped and has this path; None where there is none."""
    found = _regular_file(path, _EXAMPLES)
    return _EXAMPLES / found.name if found and found.suffix == ".jpg" else None


def delete(path: Path) -> None:
    """Deletes a visitor's file, and the folders that held nothing else; leaves what is no visitor's file."""
    file = own_file(path)
    if file is None:
        return
    file.unlink(missing_ok=True)
    top = folder()
    # What holds anything else stays.
    with suppress(OSError):
        for parent in file.parents[: len(file.relative_to(top).parts) - 1]:
            parent.rmdir()


def touch(path: str) -> None:
    """Notes that a visitor's file is used: it is as good as new."""
    if file := own_file(path):
        with suppress(OSError):
            os.utime(file)


def new_folder(size: int = 0) -> Path:
    """Makes a folder for files that belong together, whose name cannot be guessed.

    Args:
        size: How many bytes are still to be written, as far as is known.

    Raises:
        XfvError: There is no room for more.
    """
    top = folder()
    sizes = [status.st_size for _, status in _files_in(top)]
    if len(sizes) >= _MOST_FILES or sum(sizes) + size > _MOST_BYTES:
        raise XfvError(_FULL)
    top.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = top / secrets.token_hex(16)
    made.mkdir(mode=0o700)
    return made


class Uploads:
    """This process's folder of visitors' files, and the thread that empties it.

    The folder is new at each start, and its user's alone. Its mark is touched for as long as the process
    lives, so that others know what a process that was killed has left, and delete it.

    Args:
        deletion: When files are deleted.

    Attributes:
        folder: The folder.
        deletion: When files are deleted.
    """

    _current: ClassVar["Uploads | None"] = None

    def __init__(self, deletion: Deletion) -> None:
        base = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()).resolve()
        if (base / _MARK).is_file():
            # That of the process which has started this one.
            base = base.parent
        base.mkdir(parents=True, exist_ok=True)
        self.folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        self.deletion = deletion
        self._pages: weakref.WeakSet[Any] = weakref.WeakSet()
        self._touch_mark()

    @classmethod
    def of_process(cls, deletion: Deletion) -> "Uploads":
        """The process's own, made and emptied from now on if it is not yet; Gradio is told of it.

        Args:
            deletion: When files are deleted from now on.
        """
        current = cls._current
        if current is None or current.folder != folder():
            current = cls._current = cls(deletion)
            # Read by Gradio each time: one process can have one such folder.
            os.environ["GRADIO_TEMP_DIR"] = str(current.folder)
            atexit.register(current.remove)
            threading.Thread(target=current._keep_sweeping, name="delete-photos", daemon=True).start()
        current.deletion = deletion
        return current

    @classmethod
    def end_process(cls, number: int, frame: object) -> None:
        """What a signal that ends the process is to do: at once, but for the photos, which go first."""
        if cls._current:
            cls._current.remove()
        os._exit(128 + number)

    def remove(self) -> None:
        """Deletes all, and the folder with it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def watch(self, page: Any) -> None:
        """Keeps the files of comparisons that wait in a page's line, and forgets its visitors in time."""
        self._pages.add(page)

    def sweep(self) -> None:
        """Deletes all that is too old; what cannot be deleted is named in the log, and tried again."""
        self._touch_mark()
        in_use = {path for page in list(self._pages) for path in waiting_paths(page)}
        now = time.time()
        for path, status in _files_in(self.folder):
            old = abs(now - status.st_mtime) > self.deletion.after_seconds
            if old and path.name != _MARK and str(path) not in in_use:
                try:
                    path.unlink(missing_ok=True)
                except OSError as error:
                    _log.warning("a file that is due cannot be deleted yet: %s", error.strerror)
        for root, names, _ in os.walk(self.folder, topdown=False):
            for below in (Path(root, name) for name in names):
                # A new one may be about to be filled, by a slow upload; one that holds anything stays.
                with suppress(OSError):
                    if now - below.lstat().st_mtime > self.deletion.after_seconds:
                        below.rmdir()
        self._delete_leftovers(now)
        for page in list(self._pages):
            for session in list(unused_sessions(page, self.deletion.after_seconds)):
                # Where the visitor comes back at this moment, it is not unused.
                with suppress(KeyError, RuntimeError):
                    forget_session(page, session)

    @property
    def _period(self) -> int:
        return self.deletion.every_seconds

    def _keep_sweeping(self) -> None:
        while Uploads._current is self:
            try:
                self.sweep()
            except Exception:
                # Whatever it was, the next photo is due all the same.
                _log.exception("deleting old photos failed; it goes on")
            time.sleep(self._period)

    def _touch_mark(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.folder / _MARK).write_text(str(self._period))

    def _delete_leftovers(self, now: float) -> None:
        """Deletes the folders of processes that were killed: nobody has touched their mark for a while."""
        for other in self.folder.parent.glob(f"{_PREFIX}*"):
            with suppress(OSError, ValueError):
                mark = (other / _MARK).lstat()
                foreign = other.is_symlink() or not stat.S_ISREG(mark.st_mode) or mark.st_uid != _user()
                if foreign or now - mark.st_mtime <= 3 * int((other / _MARK).read_text()):
                    continue
                shutil.rmtree(other, ignore_errors=True)


def _user() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def _regular_file(path: object, top: Path) -> Path | None:
    if not isinstance(path, str | os.PathLike) or len(os.fspath(path)) > _LONGEST_PATH:
        return None
    try:
        named = Path(path)
        if ".." in named.parts or not named.is_relative_to(top):
            return None
        found = named.resolve(strict=True)
        inside = found.is_relative_to(top.resolve()) and stat.S_ISREG(found.lstat().st_mode)
    except (OSError, RuntimeError, ValueError):  # RuntimeError: links in a circle; ValueError: a zero byte
        return None
    return found if inside else None


def _files_in(top: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The files in a folder and those below it, links not followed, each with its status."""
    for root, _, names in os.walk(top):
        for name in names:
            # Another may have deleted it meanwhile.
            with suppress(OSError):
                yield Path(root, name), Path(root, name).lstat()
