"""What a result says of how it came about."""

import contextlib
import importlib.metadata
import math
from typing import Any

from xfv_demo._version import __version__

_DIGITS = 6


def rounded(value: Any) -> Any:
    """Plain values with every float rounded to six digits; None for NaN, which JSON lacks."""
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, _DIGITS)
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(inner) for inner in value]
    return value


def provenance(embedder: Any, command: str | None = None) -> dict[str, Any]:
    """What numbers depend on beside the photos, to be kept with them.

    Args:
        embedder: The model.
        command: What repeats the result.

    Returns:
        Plain values for JSON: the model's sha256 and engine, where it has them, the versions of this package
        and of those that the numbers come from, and the command.
    """
    return {
        "model_sha256": getattr(embedder, "sha256", None),
        "engine": getattr(embedder, "engine", None),
        "versions": library_versions(),
        "command": command,
    }


def library_versions() -> dict[str, str]:
    """The versions of this package and of the libraries that decide on its numbers."""
    names = ("tensorflow", "openvino", "mtcnn", "opencv-python-headless", "numpy", "pillow")
    versions = {"xfv-demo": __version__}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
