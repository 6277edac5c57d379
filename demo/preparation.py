"""Calibrating a model from the page: offered where it has no calibration, done in the background."""

import html
import threading
from dataclasses import dataclass
from typing import Literal

from demo.model_service import ModelConfig, VerificationService
from demo.shared_html import progress_html
from xfv_demo.errors import XfvError
from xfv_demo.evaluation.preparation import calibrate_on_lfw, cost_in_words
from xfv_demo.runtime.download import Progress


@dataclass(frozen=True)
class Preparing:
    """How a model's calibration is doing.

    Attributes:
        state: Where it stands. "elsewhere": that of another model is being made; "made": since the verdict.
        line: What it costs, what is being done, or what went wrong.
        share: How far that is, in [0, 1]; None where nobody knows.
    """

    state: Literal["offered", "running", "failed", "elsewhere", "made"]
    line: str = ""
    share: float | None = None


class Preparation:
    """Calibrates models on LFW, one at a time; each is found by all comparisons once it is made.

    It takes minutes of all cores and room on the disk, so it is for a page that answers its own user alone.

    Args:
        service: Where the models are.
    """

    def __init__(self, service: VerificationService) -> None:
        self._service = service
        self._lock = threading.Lock()
        self._running: str | None = None
        self._last: dict[str, Preparing] = {}

    def state(self, choice: ModelConfig) -> Preparing | None:
        """How the calibration of a model is doing; None where it has one, or another was asked for.

        Args:
            choice: What is compared with; its model is loaded.

        Raises:
            XfvError: As from `VerificationService.verifier`.
        """
        if choice.dataset or self._service.verifier(choice).calibration:
            return None
        with self._lock:
            if last := self._last.get(choice.model):
                return last
            if self._running:
                return Preparing("elsewhere")
        return Preparing("offered", cost_in_words(self._service.calibration_seconds(choice)))

    def begin(self, choice: ModelConfig) -> None:
        """Begins to calibrate a model, unless one is being calibrated or it needs none; returns at once.

        Args:
            choice: What is compared with; its model is loaded.
        """
        if self.state(choice) is None:
            return
        with self._lock:
            if self._running:
                return
            self._running = choice.model
            self._last[choice.model] = Preparing("running", "Beginning")
        threading.Thread(target=self._run, args=(choice,), name="calibrate", daemon=True).start()

    def _run(self, choice: ModelConfig) -> None:
        def report(part: str) -> Progress:
            def show(done: int, total: int) -> None:
                self._last[choice.model] = Preparing("running", part, done / total)

            self._last[choice.model] = Preparing("running", part)
            return show

        failed = None
        try:
            # Calibrations are made in float32, whatever the page computes in.
            exact = ModelConfig(choice.model)
            calibrate_on_lfw(self._service.embedder(exact), report)
        except XfvError as error:
            failed = Preparing("failed", str(error))
        except Exception as error:
            failed = Preparing("failed", f"the model could not be calibrated: {error}")
            raise
        finally:
            with self._lock:
                self._running = None
                if failed:
                    self._last[choice.model] = failed
                else:
                    del self._last[choice.model]


def preparation_html(preparing: Preparing | None) -> str:
    """What stands where an uncalibrated model's distances would.

    Args:
        preparing: How its calibration is doing; None where there is nothing to say.
    """
    if preparing is None:
        return ""
    line = html.escape(preparing.line)
    match preparing.state:
        case "running":
            share = "" if preparing.share is None else f", {100 * preparing.share:.0f}\N{NO-BREAK SPACE}%"
            piece = "<p><b>This model is being calibrated on LFW.</b> Comparing goes on meanwhile.</p>"
            piece += progress_html(preparing.line + share, preparing.share)
        case "elsewhere":
            piece = f"<p>{_NO_CONFIDENCE} Another one is being calibrated.</p>"
        case "failed":
            piece = f'<p class="problem" role="alert">{line}</p><button type="button">Try again</button>'
        case "offered":
            piece = (
                f'<p>{_NO_CONFIDENCE}</p><p class="offer"><button type="button">Calibrate it on LFW</button>'
                f' <span>{line}</span></p><p class="terms">{_TERMS}</p>'
            )
        case "made":
            piece = (
                "<p><b>Calibrated on LFW.</b> Compare again, and the confidence stands with the verdict.</p>"
            )
    return f'<section class="prepare">{piece}</section>'


_NO_CONFIDENCE = "<b>No confidence yet:</b> this model is not calibrated."

_TERMS = (
    "LFW is news photos, gathered for research; no licence comes with them. Whatever a model does on them, "
    "its authors warn, says nothing on its fitness for any commercial purpose."
)
