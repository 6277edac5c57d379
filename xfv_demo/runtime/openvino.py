"""OpenVINO's Python package, imported without its model converter.

That is what reports over the network that it was imported, and what it does; and importing it takes 80 ms, a
third of all. The runtime reads models by itself, and sends nothing.
"""

import sys
import threading
from typing import Any

_CONVERTER = "openvino.tools.ovc"
_importing = threading.Lock()


def import_openvino() -> Any:
    """OpenVINO's package; where it was not yet imported, without `openvino.convert_model`.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    with _importing:
        before = sys.modules.get(_CONVERTER)
        # None makes an import fail as if the package were not there.
        sys.modules[_CONVERTER] = None  # type: ignore[assignment]
        try:
            import openvino
            import openvino.opset14
            import openvino.properties.hint
            import openvino.utils
        finally:
            if before is None:
                del sys.modules[_CONVERTER]
            else:
                sys.modules[_CONVERTER] = before
    return openvino


def reason_of(error: Exception) -> str:
    """The line of an error of OpenVINO's that says what is wrong; others say where in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1].rstrip(":")
