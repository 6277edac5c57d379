"""Makes a model ready to say how sure it is: fetched, and calibrated on LFW."""

import os
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from xfv_demo.calibration.calibration import Calibration
from xfv_demo.calibration.storage import calibration_path
from xfv_demo.datasets.fetching import FETCHABLE_SETS, fetch_dataset, find_dataset
from xfv_demo.datasets.lfw import read_lfw
from xfv_demo.errors import ModelError
from xfv_demo.evaluation.accuracy.measure import measure
from xfv_demo.faces.detection import MtcnnDetector
from xfv_demo.faces.images import read_photo
from xfv_demo.models.base import INPUT_SHAPE, Embedder
from xfv_demo.models.compiled import CompiledEmbedder
from xfv_demo.models.loading import load_embedder
from xfv_demo.models.registry import FETCHABLE, PREFERRED_MODEL, fetch_model, locate_model
from xfv_demo.runtime.download import Progress
from xfv_demo.runtime.paths import assets_folder
from xfv_demo.verification import Verifier

# The images in LFW's pairs.txt, and by how much their smaller copies add to them (`small_copies`); and the
# sides of one.
_IMAGES = 1.4 * 7701
_IMAGE_SIDE = 250
# An example of one person, who fills about as much of it.
_LIKE_LFW = "obama.jpg"
_EMBEDDED_AT_ONCE = 16
_TIMED = 5

# Called with what is being done now; what it gives is called with the number of steps done and of all.
Report = Callable[[str], Progress]


def prepare(
    model: str = "auto",
    *,
    say: Callable[[str], None] = lambda _: None,
    report: Report = lambda _: lambda done, total: None,
    **loading: Any,
) -> Calibration:
    """Fetches a model and LFW and calibrates the model, each only where that is still to do.

    Args:
        model: As `load_embedder` takes it; "auto" is the preferred model, and no other.
        say: Called with a line on each thing that is ready, and on what the rest takes.
        report: Called with what is being done.
        **loading: As for `load_embedder`.

    Returns:
        The calibration that verdicts of this model rest on from now on.

    Raises:
        ModelError: There is no such model, or it cannot be loaded.
        DownloadError: It cannot be fetched.
        DatasetError: LFW cannot be fetched.
        XfvError: The calibration cannot be written.
    """
    name = PREFERRED_MODEL if model == "auto" else model
    try:
        located = locate_model(name, allow_download=False)
        say(f"{name}: is here, at {located.path}")
    except ModelError:
        if name not in FETCHABLE:
            raise
        say(f"{name}: fetched, to {fetch_model(name, progress=report(f'Fetching {name}'))}")
    embedder = load_embedder(name, **loading)
    calibration = Verifier.calibrated(embedder).calibration
    if calibration:
        say(f"calibration on {calibration.dataset}: is here, made on {calibration.date}")
        return calibration
    lfw = find_dataset("lfw")
    say(f"lfw: is here, at {lfw}" if lfw else FETCHABLE_SETS["lfw"].terms)
    say(f"calibrating: {cost_in_words(calibration_seconds(embedder))}")
    return calibrate_on_lfw(embedder, report)


def calibrate_on_lfw(
    embedder: CompiledEmbedder, report: Report = lambda _: lambda done, total: None
) -> Calibration:
    """Calibrates a model on LFW, which is fetched if it is not here, and keeps the calibration for its user.

    What was found and embedded is kept too: after a break, the next call does only what is left.

    Args:
        embedder: The model.
        report: Called with what is being done.

    Returns:
        The calibration, by the default method.

    Raises:
        DatasetError: LFW cannot be fetched.
        XfvError: The calibration cannot be written.
    """
    pairs = read_lfw(fetch_dataset("lfw", progress=report("Fetching LFW")))
    measured = measure(
        pairs,
        embedder,
        "central",
        foldwise=False,
        copies=True,
        progress=report("Finding faces in LFW, then in smaller copies"),
    )
    calibration = measured.calibration()
    calibration.save(calibration_path(measured.model, measured.name))
    return calibration


def calibration_seconds(embedder: Embedder) -> float:
    """How long `calibrate_on_lfw` looks for faces and embeds them, by what one photo takes here and now.

    Args:
        embedder: The model.
    """
    faces = np.zeros((_EMBEDDED_AT_ONCE, *INPUT_SHAPE), np.float32)
    example = read_photo(assets_folder() / "examples" / _LIKE_LFW)
    photo = cv2.resize(example, (_IMAGE_SIDE, _IMAGE_SIDE), interpolation=cv2.INTER_AREA)
    # As in `batch.align`: a process for each core, of one thread.
    detector = MtcnnDetector()
    detector.threads = 1
    finding = _quickest(lambda: detector.detect(photo)) / (os.cpu_count() or 1)
    return _IMAGES * (finding + _quickest(lambda: embedder.embed(faces)) / len(faces))


def _quickest(work: Callable[[], object]) -> float:
    """The seconds that some work takes where no other work delays it."""
    work()  # the first call of each network builds it

    def timed() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    return min(timed() for _ in range(_TIMED))


def cost_in_words(seconds: float) -> str:
    """What `calibrate_on_lfw` costs, such as "fetches 181 MB, takes about 5 minutes".

    Args:
        seconds: As from `calibration_seconds`.
    """
    minutes = max(1, round(seconds / 60))
    taken = f"takes about {minutes} minute{'s' if minutes > 1 else ''}"
    if find_dataset("lfw"):
        return taken
    return f"fetches {FETCHABLE_SETS['lfw'].size / 1e6:.0f} MB, {taken}"
