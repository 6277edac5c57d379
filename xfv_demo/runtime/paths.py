"""The folders that the package reads from and writes to."""

import os
from pathlib import Path

import platformdirs

_PACKAGE = Path(__file__).resolve().parents[1]


def assets_folder() -> Path:
    """Names the folder of models, calibrations, examples and results that come with the package.

    Returns:
        The package's own `assets` folder if a wheel put it there, else that of the source tree.
    """
    inside = _PACKAGE / "assets"
    return inside if inside.is_dir() else _PACKAGE.parent / "assets"


def demo_folder() -> Path:
    """Names the source tree's `demo` folder, where users may put a model by hand; it need not exist."""
    return _PACKAGE.parent / "demo"


def cache_folder() -> Path:
    """Names the folder for fetched files without making it.

    Returns:
        The folder that the environment variable XFV_CACHE names, else the platform's own cache folder.
    """
    chosen = os.environ.get("XFV_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_cache_path("xfv-demo", appauthor=False)
