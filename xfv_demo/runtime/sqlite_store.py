"""Results kept on disk: a second run, or one that follows a kill, does only what is left."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from xfv_demo.errors import XfvError

# How long to wait for another process that writes.
_LOCK_SECONDS = 60


class Store:
    """A SQLite file: safe against being killed, and against other processes that use it.

    Attributes:
        tables: What is in it, each as after "CREATE TABLE".
        database: The connection.

    Args:
        path: The file; made where it is missing.

    Raises:
        XfvError: The file cannot be used.
    """

    tables: ClassVar[tuple[str, ...]]

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        with self.reading():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self.database = sqlite3.connect(self._path, timeout=_LOCK_SECONDS)
        with self.writing():
            for table in self.tables:
                self.database.execute(f"CREATE TABLE IF NOT EXISTS {table} WITHOUT ROWID")

    def close(self) -> None:
        """Closes the file."""
        self.database.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A transaction: all that is written in it is kept, or nothing.

        Raises:
            XfvError: As from `reading`.
        """
        with self.reading(), self.database:
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Says what is wrong in words for the user.

        Raises:
            XfvError: The file cannot be used.
        """
        try:
            yield
        except OSError as error:
            raise XfvError(
                f'the cache "{self._path}" cannot be made: {error.strerror}; set XFV_CACHE to another folder'
            ) from error
        except sqlite3.OperationalError as error:
            raise XfvError(
                f'the cache "{self._path}" cannot be used: {error}; try again, or set XFV_CACHE to another '
                "folder"
            ) from error
        except sqlite3.DatabaseError as error:
            raise XfvError(
                f'the cache "{self._path}" is broken: {error}; delete it, its contents are made anew'
            ) from error
