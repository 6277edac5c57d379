"""The models behind the page: loaded once, in the background, shared by all visitors; and what they find."""

import threading
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from demo.server.photo_input import UploadedPhoto
from demo.shared_html import dataset_name
from xfv_demo.calibration.calibration import Calibration
from xfv_demo.calibration.storage import calibration_path
from xfv_demo.errors import CalibrationError, ModelError, XfvError, printable
from xfv_demo.evaluation.preparation import calibration_seconds
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.faces.detection import MtcnnDetector
from xfv_demo.models.compiled import CompiledEmbedder
from xfv_demo.models.input_format import Channels, InputRange
from xfv_demo.models.loading import load_embedder
from xfv_demo.models.openvino import Precision
from xfv_demo.models.registry import BUNDLED_MODELS, FETCHABLE, locate_model
from xfv_demo.runtime.paths import assets_folder
from xfv_demo.types import AlignedFace
from xfv_demo.verification import Verifier

# Of a group photo, so many of the largest faces can be picked from.
_MOST_FACES = 12


@dataclass(frozen=True)
class ModelConfig:
    """What a visitor compares with.

    Attributes:
        model: As `load_embedder` takes it.
        precision: What the model computes in.
        dataset: The set of the calibration; LFW, if there is one, where None.
        method: The calibration's method; the default where None.
    """

    model: str = "auto"
    precision: Precision = "float32"
    dataset: str | None = None
    method: str | None = None


@dataclass(frozen=True)
class Status:
    """How a model is doing: the state, and a line on it."""

    state: Literal["loading", "ready", "error"]
    line: str


class VerificationService:
    """Loads models in the background, so that the page is up before TensorFlow is.

    Args:
        model: As `load_embedder` takes it.
        calibration: The data set whose calibration is to be used; LFW's, if there is one, where None.
        input_range: What that model's file takes, as `load_embedder` takes it.
        channels: Likewise.
    """

    def __init__(
        self,
        model: str = "auto",
        calibration: str | None = None,
        input_range: InputRange | None = None,
        channels: Channels | None = None,
    ) -> None:
        self.default = ModelConfig(model, dataset=calibration)
        self._default_format: dict[str, Any] = {"input_range": input_range, "channels": channels}
        # One for all models: faces do not depend on them.
        self._detector = MtcnnDetector()
        self._loading: dict[tuple[str, Precision], Future[CompiledEmbedder]] = {}
        self._calibration_seconds: dict[str, float] = {}
        self._lock = threading.Lock()
        # One after the other: two models that load at once take longer than one after the other.
        self._turn = threading.Lock()

    def start(self) -> None:
        """Begins to load the default model; returns at once."""
        self.load(self.default)

    def load(self, choice: ModelConfig) -> None:
        """Begins to load a model, unless it is there or has failed; returns at once."""
        self._future(choice)

    def wait(self, choice: ModelConfig, seconds: float) -> bool:
        """Waits for a model.

        Args:
            choice: Which.
            seconds: How long at most.

        Returns:
            Whether it is there by then, or has failed.
        """
        return bool(wait([self._future(choice)], seconds).done)

    def embedder(self, choice: ModelConfig) -> CompiledEmbedder:
        """A loaded model; waits until it is there.

        Args:
            choice: Which.

        Raises:
            XfvError: It could not be loaded.
        """
        return self._future(choice).result()

    def verifier(self, choice: ModelConfig | None = None) -> Verifier:
        """A loaded model's verifier; waits until it is there.

        Args:
            choice: What to compare with; the default where None.

        Raises:
            XfvError: The model could not be loaded, or there is no such calibration.
        """
        choice = choice or self.default
        return Verifier.calibrated(
            self.embedder(choice), choice.dataset, choice.method, detector=self._detector
        )

    def status(self, choice: ModelConfig | None = None) -> Status:
        """How a model is doing; begins to load it where nobody has yet.

        Args:
            choice: What to compare with; the default where None.
        """
        choice = choice or self.default
        future = self._future(choice)
        if not future.done():
            name = "The model" if choice.model == "auto" else choice.model
            return Status("loading", f"{name} is loading; comparing waits for it.")
        try:
            verifier = self.verifier(choice)
        except XfvError as error:
            return Status("error", str(error))
        embedder = future.result()
        line = f"Model: {embedder.name}"
        fitted = verifier.calibration
        line += f", calibrated on {dataset_name(fitted.dataset)}" if fitted else ", not calibrated"
        if embedder.notice:
            line += f". {embedder.notice}"
        return Status("ready", line)

    def models(self) -> list[str]:
        """The models that can be chosen without a download, the default first."""
        at_hand = list(BUNDLED_MODELS)
        for name in FETCHABLE:
            with suppress(ModelError):
                locate_model(name, allow_download=False)
                at_hand.append(name)
        return list(dict.fromkeys([self.default.model, *at_hand]))

    def calibrations(self, choice: ModelConfig | None = None) -> list[tuple[str, str]]:
        """The calibrations of a model that is loaded.

        Args:
            choice: Which model; the default where None.

        Returns:
            The data set and the method of each.
        """
        embedder = self._embedder(choice or self.default)
        found: dict[tuple[str, str], None] = {}
        for folder in (calibration_path("any").parent, assets_folder() / "calibrations"):
            for file in sorted(folder.glob("*.json")) if embedder else ():
                with suppress(CalibrationError):
                    calibration = Calibration.load(file)
                    if embedder and calibration.model == embedder.name and calibration.dataset:
                        # Of one that counts sizes in, the plain one is at hand too.
                        for method in (calibration.method, calibration.plain.method):
                            found[calibration.dataset, method] = None
        return list(found)

    def calibration_seconds(self, choice: ModelConfig) -> float:
        """How long it takes to calibrate a model that is loaded.

        Args:
            choice: Which.
        """
        if choice.model not in self._calibration_seconds:
            seconds = calibration_seconds(self.embedder(choice))
            self._calibration_seconds[choice.model] = seconds
        return self._calibration_seconds[choice.model]

    def _embedder(self, choice: ModelConfig) -> CompiledEmbedder | None:
        future = self._future(choice)
        return future.result() if future.done() and not future.exception() else None

    def _future(self, choice: ModelConfig) -> "Future[CompiledEmbedder]":
        key = choice.model, choice.precision
        with self._lock:
            future = self._loading.get(key)
            if future is None:
                future = self._loading[key] = Future()
                # A daemon, so that a download does not keep the program from ending.
                threading.Thread(
                    target=self._load, args=(choice, future), name="load-model", daemon=True
                ).start()
        return future

    def _load(self, choice: ModelConfig, future: "Future[CompiledEmbedder]") -> None:
        try:
            with self._turn:
                given = self._default_format if choice.model == self.default.model else {}
                embedder = load_embedder(choice.model, precision=choice.precision, **given)
                # The first call of each network builds it; the first visitor should not wait for that.
                self._detector.detect(np.zeros((2 * ALIGNED_SIZE, 2 * ALIGNED_SIZE, 3), np.uint8))
                blank = np.zeros((2, ALIGNED_SIZE, ALIGNED_SIZE, 3), np.float32)
                embedder.embed(blank)
                embedder.patched(blank[0])
                with suppress(CalibrationError):  # which whoever compares is told of
                    if Verifier.calibrated(embedder).calibration is None:
                        # Now, as what follows takes a core for seconds.
                        self._calibration_seconds[choice.model] = calibration_seconds(embedder)
        except XfvError as error:
            future.set_exception(error)
        except Exception as error:
            future.set_exception(XfvError(f"the model could not be loaded: {error}"))
            raise
        else:
            future.set_result(embedder)
            # These take a second at first, and a few methods alone need them: a verdict need not wait.
            # Not every network has gradients that are known, nor a head that is affine.
            with suppress(ModelError):
                embedder.embedding_gradients(blank, np.zeros((2, 2, embedder.dimensions), np.float32))
            with suppress(ModelError):
                _ = embedder.affine_head


def find_faces(verifier: Verifier, photo: UploadedPhoto) -> tuple[AlignedFace, ...]:
    """The faces of a photo, aligned, largest first.

    Args:
        verifier: Whose detector looks.
        photo: The visitor's file.

    Raises:
        XfvError: The photo cannot be read, or shows no face.
    """
    if not Path(photo.path).is_file():
        raise XfvError(
            f'"{printable(photo.name)}" is no longer here, as photos are deleted after some minutes; '
            "choose it again"
        )
    return verifier.find_candidates(photo.path, "best", name=photo.name)[:_MOST_FACES]
