"""A verification report as figures for a README or a page; each is drawn by a module of its own.

Each of them returns a `matplotlib.figure.Figure` that belongs to no window: pyplot is not used and nothing
global is changed, so that figures can be drawn in any thread. Genuine pairs are blue and impostor pairs
orange throughout, which people of all kinds of colour vision tell apart; green and pink belong to the
attention maps.
"""

import os
from pathlib import Path

from xfv_demo.errors import XfvError
from xfv_demo.evaluation.accuracy.calibrators_figure import comparison_figure
from xfv_demo.evaluation.accuracy.det_figure import det_figure
from xfv_demo.evaluation.accuracy.distances_figure import distances_figure
from xfv_demo.evaluation.accuracy.reliability_figure import reliability_figure
from xfv_demo.evaluation.accuracy.report import VerificationReport
from xfv_demo.evaluation.accuracy.tippett_figure import tippett_figure
from xfv_demo.plots.style import write_figures


def save_figures(report: VerificationReport, folder: str | os.PathLike[str], prefix: str) -> list[Path]:
    """Draws all figures and writes them as PNG, 1095 pixels wide.

    Args:
        report: What to draw.
        folder: Where to; made if it is not there.
        prefix: What the files' names start with.

    Returns:
        The files: prefix-det.png, prefix-distances.png, prefix-reliability.png, prefix-calibrators.png,
        prefix-tippett.png.

    Raises:
        XfvError: If the prefix cannot start a file's name, or a file cannot be written.
    """
    if not prefix or Path(prefix).name != prefix:
        raise XfvError(
            f"{prefix!r} cannot start the names of figures; give a plain word, such as mobilefacenet-lfw"
        )
    figures = {
        "det": det_figure(report),
        "distances": distances_figure(report),
        "reliability": reliability_figure(report),
        "calibrators": comparison_figure(report),
        "tippett": tippett_figure(report),
    }
    return write_figures(figures, folder, prefix)
