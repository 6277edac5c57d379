"""The stores that the page shows: those that it was started with, by keys of their own."""

import re
import threading
from collections.abc import Sequence
from pathlib import Path

from xfv_demo.errors import XfvError
from xfv_demo.explore import open_store
from xfv_demo.explore.browse import PairBrowser
from xfv_demo.runtime.paths import assets_folder

SHIPPED = assets_folder() / "explore"


class Stores:
    """Opens stores once they are asked for; a client names one by its key and by nothing else.

    Args:
        folders: Where further stores lie, beside those that are shipped.
    """

    def __init__(self, folders: Sequence[Path] = ()) -> None:
        shipped = sorted(path for path in SHIPPED.glob("*") if path.is_dir())
        self._folders: dict[str, Path] = {}
        for folder in (*folders, *shipped):
            name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") or "store"
            numbered = (f"{name}-{number}" if number > 1 else name for number in range(1, 10**6))
            self._folders[next(key for key in numbered if key not in self._folders)] = folder
        self._opened: dict[str, PairBrowser] = {}
        self._lock = threading.Lock()

    @property
    def keys(self) -> tuple[str, ...]:
        """Of all stores; the first is shown first."""
        return tuple(self._folders)

    def browser(self, key: str) -> PairBrowser:
        """A store to look through.

        Args:
            key: Which, as a client names it.

        Raises:
            XfvError: There is no such store, or it is broken.
        """
        if key not in self._folders:
            raise XfvError("there is no such store here; choose another data set")
        with self._lock:
            if key not in self._opened:
                self._opened[key] = PairBrowser(open_store(self._folders[key]))
            return self._opened[key]

    def titles(self) -> dict[str, str]:
        """What people call each store; of one that is broken, its key."""
        return {key: self._title(key) for key in self._folders}

    def _title(self, key: str) -> str:
        try:
            return self.browser(key).store.manifest.name
        except XfvError:
            return f"{key} (broken)"
