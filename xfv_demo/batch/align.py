"""Photos to aligned faces, in several processes."""

import concurrent.futures
import hashlib
import math
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from xfv_demo.batch.cache import EmbeddingStore
from xfv_demo.datasets.sources import ImageSource
from xfv_demo.errors import ImageError
from xfv_demo.faces.alignment import ALIGNED_EYE_DISTANCE, align, as_aligned
from xfv_demo.faces.detection import MtcnnDetector
from xfv_demo.faces.images import read_photo
from xfv_demo.runtime.console import silence_native_libraries
from xfv_demo.types import Face, FloatArray, Photo

# Stands for the detector where a data set brings faces that are aligned already.
_ALREADY_ALIGNED = "aligned by the data set"

# How many images wait for each worker: enough that none idles, few enough to bound the memory.
_WAITING_PER_WORKER = 16


_NO_FACE = "shows no face that can be found"


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
                faceless.append(AlignedImage(key, sha256, None, _NO_FACE))
            else:
                yield _Task(key, content, sha256, faces, already_aligned, face)

    # Decoding alone is done sooner than processes are started.
    ready = (
        map(_prepare, left_to_do())
        if already_aligned
        else _prepare_all(left_to_do(), detector, workers or os.cpu_count() or 1)
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


def _prepare_all(tasks: Iterable[_Task], detector: MtcnnDetector, workers: int) -> Iterator[_Prepared]:
    """Has the tasks done by processes, a bounded number at a time; starts none where there is no task."""
    tasks = iter(tasks)
    first = next(tasks, None)
    if first is None:
        return
    with concurrent.futures.ProcessPoolExecutor(
        workers,
        # Networks do not survive a fork.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(detector,),
    ) as pool:
        try:
            pending = {pool.submit(_prepare, first)}
            for task in tasks:
                pending.add(pool.submit(_prepare, task))
                if len(pending) >= _WAITING_PER_WORKER * workers:
                    finished, pending = concurrent.futures.wait(
                        pending, return_when=concurrent.futures.FIRST_COMPLETED
                    )
                    yield from (future.result() for future in finished)
            for future in concurrent.futures.as_completed(pending):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


# Each worker process's own detector.
_worker_detector: MtcnnDetector | None = None


def _start_worker(detector: MtcnnDetector) -> None:
    global _worker_detector
    threading.Thread(target=_end_with_parent, daemon=True).start()
    silence_native_libraries()
    # One thread for each process: more would only get in each other's way.
    cv2.setNumThreads(1)
    detector.threads = 1
    _worker_detector = detector


def _end_with_parent() -> None:
    """Ends this worker once the process that started it is gone, even where that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _prepare(task: _Task) -> _Prepared:
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
        if _worker_detector is None:
            raise RuntimeError("a worker was started without its detector")
        faces = tuple(_worker_detector.detect(photo))
    if not faces:
        return _Prepared(task.key, task.image, faces, None, failure=_NO_FACE)
    chosen = faces[0] if task.face == "largest" else _central(faces, photo)
    return _Prepared(task.key, task.image, faces, align(photo, chosen.landmarks), chosen.eye_distance)


def _central(faces: Sequence[Face], photo: Photo) -> Face:
    """The face whose box has its centre nearest to the photo's."""
    middle = (np.array(photo.shape[1::-1]) - 1) / 2

    def distance(face: Face) -> float:
        return float(np.linalg.norm(face.box.reshape(2, 2).mean(axis=0) - middle))

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
