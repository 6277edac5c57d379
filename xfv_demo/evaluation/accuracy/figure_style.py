"""What the figures of a verification report share: the heading, margins, calibrators' looks."""

from dataclasses import dataclass

from matplotlib.figure import Figure

from xfv_demo.evaluation.accuracy.report import VerificationReport
from xfv_demo.plots.style import INK, new_figure

LEFT, RIGHT = 0.85, 0.25  # Inches beside the axes.
_LONGEST_NAMES = 34  # Of model and data set together; more would not fit beside the numbers of pairs.
_LONGEST_DATASET = 16
GRID_POINTS = 600  # Of a drawn curve.


@dataclass(frozen=True)
class CalibratorStyle:
    """How a calibrator is called and drawn."""

    words: str
    colour: str
    dashes: tuple[float, tuple[float, ...]] | None = None  # A whole line.


CALIBRATOR_STYLES = {
    "xface": CalibratorStyle("x-Face", INK),
    "logistic": CalibratorStyle("logistic regression", "#2e9fdf"),
    "isotonic": CalibratorStyle("isotonic regression", "#d99000"),
    "beta": CalibratorStyle("beta calibration", "#7b5ea7", (0, (4.0, 2.0))),
}


def report_figure(height: float, title: str, report: VerificationReport) -> Figure:
    """An empty figure with its heading; `height` in inches."""
    pairs = f"{report.pairs.genuine:,} genuine and {report.pairs.impostor:,} impostor pairs"
    dataset = _shortened(report.dataset, _LONGEST_DATASET)
    model = _shortened(report.model, _LONGEST_NAMES - len(dataset))
    return new_figure(height, title, f"{model} on {dataset}, {pairs}")


def _shortened(name: str, most: int) -> str:
    return name if len(name) <= most else f"\u2026{name[1 - most :]}"
