"""OpenVINO's Python package, imported without its telemetry.

It reports over the network that it was imported, and what its model converter does.
"""

import sys
import threading
from typing import Any

_TELEMETRY = "openvino_telemetry"
_importing = threading.Lock()


def import_openvino() -> Any:
    """OpenVINO's package; where it was not yet imported, with the stub that it carries for telemetry.

    Raises:
        ImportError: OpenVINO is not installed.
    """
    with _importing:
        before = sys.modules.get(_TELEMETRY)
        # None makes an import fail as if the package were not there.
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
        try:
            import openvino
            import openvino.opset14
            import openvino.properties.hint
            import openvino.utils
        finally:
            if before is None:
                del sys.modules[_TELEMETRY]
            else:
                sys.modules[_TELEMETRY] = before
    return openvino


def reason_of(error: Exception) -> str:
    """The line of an error of OpenVINO's that says what is wrong; others say where in its sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1].rstrip(":")
