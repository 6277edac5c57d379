"""Shows why a face-verification model says that two photos are, or are not, the same person.

The public names are loaded when first used: importing the package imports neither TensorFlow nor Gradio.

Example:
    >>> import xfv_demo
    >>> xfv_demo.ARCFACE_TEMPLATE.shape  # where eyes, nose tip and mouth corners of an aligned face lie
    (5, 2)
"""

import importlib
from typing import TYPE_CHECKING, Any

from xfv_demo._version import __version__ as __version__

if TYPE_CHECKING:
    from xfv_demo.calibration.calibration import Calibration as Calibration
    from xfv_demo.calibration.storage import load_calibration as load_calibration
    from xfv_demo.errors import XfvError as XfvError
    from xfv_demo.explainers import EXPLAINERS as EXPLAINERS
    from xfv_demo.faces.alignment import ARCFACE_TEMPLATE as ARCFACE_TEMPLATE
    from xfv_demo.faces.alignment import align as align
    from xfv_demo.faces.detection import MtcnnDetector as MtcnnDetector
    from xfv_demo.faces.images import read_photo as read_photo
    from xfv_demo.models.loading import load_embedder as load_embedder
    from xfv_demo.models.savedmodel import SavedModelEmbedder as SavedModelEmbedder
    from xfv_demo.verification import Verifier as Verifier

_HOMES = {
    "ARCFACE_TEMPLATE": "faces.alignment",
    "align": "faces.alignment",
    "Calibration": "calibration.calibration",
    "load_calibration": "calibration.storage",
    "MtcnnDetector": "faces.detection",
    "SavedModelEmbedder": "models.savedmodel",
    "load_embedder": "models.loading",
    "XfvError": "errors",
    "EXPLAINERS": "explainers",
    "read_photo": "faces.images",
    "Verifier": "verification",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
