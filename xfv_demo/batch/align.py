"""Photos to aligned faces, in several processes."""

import functools
import hashlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from xfv_demo.batch.cache import EmbeddingStore
from xfv_demo.batch.executors import run_locally
from xfv_demo.datasets.sources import ImageSource
from xfv_demo.errors import ImageError
from xfv_demo.faces.alignment import ALIGNED_EYE_DISTANCE, align, as_aligned
from xfv_demo.faces.detection import MtcnnDetector
from xfv_demo.faces.images import read_photo
from xfv_demo.types import Face, FloatArray, Photo

# Stands for the detector where a data set brings faces that are aligned already.
_ALREADY_ALIGNED = "aligned by the data set"

# How many images wait for each worker: enough that none idles, few enough to bound the memory.
_WAITING_PER_WORKER = 16


NO_FACE = "shows no face that can be found"
"""Why an image has no aligned face, after its name."""


# To be raised with every change of how photos are decoded, aligned, or their face chosen.
_REVISION = 1


Progress = Callable[[int, int], None]

FaceChoice = Literal["central", "largest"]


@dataclass(frozen=True)
class _Task:
    """What a worker is given: an image, and its faces where they are known already."""

    key: str
    content: bytes
    image: str
    faces: tuple[Face, ...] | None
    already_aligned: bool
    face: FaceChoice


@dataclass(frozen=True)
class _Prepared:
    """What a worker gives back: an aligned face or why there is none, and the faces if it looked for any."""

    key: str
    image: str
    faces: tuple[Face, ...] | None
    aligned: FloatArray | None
    size: float = math.nan
    failure: str = ""


@dataclass(frozen=True, eq=False)
class AlignedImage:
    """An image's aligned face, or why there is none.

    Attributes:
        key: The image's key in its source.
        sha256: The hash of its bytes.
        face: (112, 112, 3) float32, RGB, in [0, 1]; None where there is none.
        failure: Why there is none; empty where there is one.
        size: How far apart its eyes are, in the image's pixels; the crop's own where that is all there is.
    """

    key: str
    sha256: str
    face: FloatArray | None
    failure: str
    size: float = math.nan


def align_images(
    source: ImageSource,
    keys: Sequence[str],
    store: EmbeddingStore,
    *,
    detector: MtcnnDetector | None = None,
    already_aligned: bool = False,
    face: FaceChoice = "central",
    workers: int | None = None,
    is_wanted: Callable[[str, str], bool] = lambda _key, _sha256: True,
) -> Iterator[AlignedImage]:
    """Aligns one face of each image, in processes of their own while the caller works on what is ready.

    (They start by importing the script that calls this, so it needs `if __name__ == "__main__":`.) The faces
    that were found are kept in the store at once, so that no image is searched twice.

    Args:
        source: Where the images are.
        keys: The images, each once.
        store: Where the faces found are kept.
        detector: What finds the faces; MTCNN with its defaults where None.
        already_aligned: Whether the images are aligned 112 x 112 crops; then no face is looked for.
        face: Which face of an image is its person's.
        workers: How many processes find faces; as many as there are cores where None.
        is_wanted: Called with an image's key and hash; where it says no, the image is left out.

    Yields:
        The images as they are ready, in no order.

    Raises:
        DatasetError: An image is missing from the source.
        XfvError: The store cannot be used.
    """
    detector = detector or MtcnnDetector()
    fingerprint = _ALREADY_ALIGNED if already_aligned else detector.fingerprint
    faceless: list[AlignedImage] = []

    def left_to_do() -> Iterator[_Task]:
        for key, content in source.stream(keys):
            sha256 = hashlib.sha256(content).hexdigest()
            if not is_wanted(key, sha256):
                continue
            faces = store.faces(sha256, fingerprint)
            if faces == ():
                faceless.append(AlignedImage(key, sha256, None, NO_FACE))
            else:
                yield _Task(key, content, sha256, faces, already_aligned, face)

    # Decoding alone is done sooner than processes are started.
    ready = (
        map(functools.partial(_prepare, detector), left_to_do())
        if already_aligned
        else run_locally(
            functools.partial(_start_worker, detector),
            left_to_do(),
            workers=workers or os.cpu_count() or 1,
            waiting=_WAITING_PER_WORKER,
        )
    )
    for prepared in ready:
        if prepared.faces is not None:
            store.keep_faces(prepared.image, fingerprint, prepared.faces)
        yield AlignedImage(prepared.key, prepared.image, prepared.aligned, prepared.failure, prepared.size)
    yield from faceless


def alignment_key(detector: MtcnnDetector, already_aligned: bool, face: FaceChoice) -> str:
    """How images become aligned faces, to keep what is made of them by."""
    fingerprint = _ALREADY_ALIGNED if already_aligned else detector.fingerprint
    return f"{fingerprint}; {face} face, revision {_REVISION}"


def _start_worker(detector: MtcnnDetector) -> Callable[[_Task], _Prepared]:
    # Of each process; more would only get in each other's way.
    detector.threads = 1
    return functools.partial(_prepare, detector)


def _prepare(detector: MtcnnDetector, task: _Task) -> _Prepared:
    """Finds, chooses and aligns a face of an image (in a worker, unless it is aligned already)."""
    name = task.key.rpartition("/")[2]
    try:
        photo = read_photo(task.content, name)
        if task.already_aligned:
            return _Prepared(task.key, task.image, None, as_aligned(photo, name), ALIGNED_EYE_DISTANCE)
    except ImageError as error:
        return _Prepared(task.key, task.image, None, None, failure=str(error))
    faces = task.faces
    if faces is None:
        faces = tuple(detector.detect(photo))
    if not faces:
        return _Prepared(task.key, task.image, faces, None, failure=NO_FACE)
    chosen = choose_face(faces, photo, task.face)
    return _Prepared(task.key, task.image, faces, align(photo, chosen.landmarks), chosen.eye_distance)


def choose_face(faces: Sequence[Face], photo: Photo, face: FaceChoice) -> Face:
    """The face of a photo's that is its person's.

    Args:
        faces: At least one, largest first.
        photo: Where they were found.
        face: "largest", or "central": whose box has its centre nearest to the photo's.
    """
    if face == "largest":
        return faces[0]
    middle = (np.array(photo.shape[1::-1]) - 1) / 2

    def distance(one: Face) -> float:
        return float(np.linalg.norm(one.box.reshape(2, 2).mean(axis=0) - middle))

    return min(faces, key=distance)


@dataclass(frozen=True)
class DetectionFailure:
    """A photo of the set whose face could not be used.

    Attributes:
        photo: The photo's name.
        reason: Why, in a few words.
    """

    photo: str
    reason: str
