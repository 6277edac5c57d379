"""The embeddings of a whole data set: both cores, kept on disk, resumable.

What is kept is what was computed of an image, faces and embeddings, under the hash of its bytes; never the
image itself.
"""

import concurrent.futures
import hashlib
import json
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from xfv_demo.alignment import align, as_aligned
from xfv_demo.console import silence_native_libraries
from xfv_demo.detection import MtcnnDetector
from xfv_demo.embedding import Embedder, SavedModelEmbedder
from xfv_demo.errors import ImageError
from xfv_demo.evaluation.datasets import ImageSource, PairSet
from xfv_demo.evaluation.store import Store
from xfv_demo.evaluation.verification import DetectionFailure
from xfv_demo.images import read_photo
from xfv_demo.similarity import checked_embeddings, cosine_distance, unit_embeddings
from xfv_demo.types import Face, FloatArray, Photo

# Stands for the detector where a data set brings faces that are aligned already.
_ALREADY_ALIGNED = "aligned by the data set"

_EMBED_AT_ONCE = 64
# How many images wait for each worker: enough that none idles, few enough to bound the memory.
_WAITING_PER_WORKER = 16

_NO_FACE = "shows no face that can be found"

# To be raised with every change of how photos are decoded, aligned, or their face chosen.
_REVISION = 1

Progress = Callable[[int, int], None]
FaceChoice = Literal["central", "largest"]


@dataclass(frozen=True, eq=False)
class SetEmbeddings:
    """What a model makes of the images of a data set.

    Attributes:
        embeddings: (N, D) float32, of length 1, in the order of the keys asked for; NaN where there is none.
        failures: The images without an embedding.
    """

    embeddings: FloatArray
    failures: tuple[DetectionFailure, ...]


@dataclass(frozen=True, eq=False)
class PairDistances:
    """What a model makes of the pairs of a data set.

    Attributes:
        distances: (P,) float32, cosine distances in the set's order; NaN where a face is missing.
        failures: The images whose face could not be used.
    """

    distances: FloatArray
    failures: tuple[DetectionFailure, ...]


class KnownEmbedder(Embedder, Protocol):
    """An embedder whose embeddings can be kept."""

    @property
    def dimensions(self) -> int:
        """The embedding's length."""
        ...

    @property
    def fingerprint(self) -> str:
        """What embeddings depend on beside the images."""
        ...


class EmbeddingStore(Store):
    """Keeps faces and embeddings on disk, under the hash of the image's bytes.

    Args:
        path: The file; made where it is missing.

    Raises:
        XfvError: The file cannot be used.
    """

    tables = (
        "faces (image TEXT, detector TEXT, faces TEXT, PRIMARY KEY (image, detector))",
        "embeddings (image TEXT, pipeline TEXT, model TEXT, embedding BLOB, "
        "PRIMARY KEY (image, pipeline, model))",
    )

    def faces(self, image: str, detector: str) -> tuple[Face, ...] | None:
        """The faces found in an image; None where it was not looked at.

        Args:
            image: The hash of the image's bytes.
            detector: The detector's fingerprint.
        """
        with self.reading():
            row = self.database.execute(
                "SELECT faces FROM faces WHERE image = ? AND detector = ?", (image, detector)
            ).fetchone()
        return None if row is None else _faces_from_json(row[0])

    def embedding(self, image: str, pipeline: str, model: str) -> FloatArray | None:
        """The embedding of an image's face; None where it is not kept.

        Args:
            image: The hash of the image's bytes.
            pipeline: How the image became an aligned face.
            model: The hash of the model's files.
        """
        with self.reading():
            row = self.database.execute(
                "SELECT embedding FROM embeddings WHERE image = ? AND pipeline = ? AND model = ?",
                (image, pipeline, model),
            ).fetchone()
        return None if row is None else np.frombuffer(row[0], np.float32)

    def keep_faces(self, image: str, detector: str, faces: Sequence[Face]) -> None:
        """Keeps what was found in an image; no face is a finding too."""
        with self.writing():
            self.database.execute(
                "INSERT OR REPLACE INTO faces VALUES (?, ?, ?)", (image, detector, _faces_to_json(faces))
            )

    def keep_embeddings(
        self, images: Sequence[str], pipeline: str, model: str, embeddings: FloatArray
    ) -> None:
        """Keeps embeddings, one row for each image."""
        rows = [
            (image, pipeline, model, embedding.astype(np.float32).tobytes())
            for image, embedding in zip(images, embeddings, strict=True)
        ]
        with self.writing():
            self.database.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?, ?, ?)", rows)


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
    failure: str = ""


@dataclass(frozen=True, eq=False)
class AlignedImage:
    """An image's aligned face, or why there is none.

    Attributes:
        key: The image's key in its source.
        sha256: The hash of its bytes.
        face: (112, 112, 3) float32, RGB, in [0, 1]; None where there is none.
        failure: Why there is none; empty where there is one.
    """

    key: str
    sha256: str
    face: FloatArray | None
    failure: str


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
        yield AlignedImage(prepared.key, prepared.image, prepared.aligned, prepared.failure)
    yield from faceless


def _pipeline(detector: MtcnnDetector, already_aligned: bool, face: FaceChoice) -> str:
    """How images become aligned faces, to keep what is made of them by."""
    fingerprint = _ALREADY_ALIGNED if already_aligned else detector.fingerprint
    return f"{fingerprint}; {face} face, revision {_REVISION}"


def embed_images(
    source: ImageSource,
    keys: Sequence[str],
    embedder: KnownEmbedder,
    store: EmbeddingStore,
    *,
    detector: MtcnnDetector | None = None,
    already_aligned: bool = False,
    face: FaceChoice = "central",
    workers: int | None = None,
    progress: Progress | None = None,
) -> SetEmbeddings:
    """Embeds one face of each image.

    In LFW and sets like it, the person that an image is labelled with stands in the middle and is not always
    the largest: with the largest face instead, 37 of LFW's 7,701 images show somebody else, and accuracy
    falls from 99.3 to about 98.8 %.

    Faces are found and aligned as by `align_images` while this process embeds. Each result is kept in the
    store at once, so that a second run, or one that follows a kill, does only what is left.

    Args:
        source: Where the images are.
        keys: The images, each once.
        embedder: The model.
        store: Where results are kept.
        detector: What finds the faces; MTCNN with its defaults where None.
        already_aligned: Whether the images are aligned 112 x 112 crops; then no face is looked for.
        face: Which face of an image is its person's.
        workers: How many processes find faces; as many as there are cores where None.
        progress: Called with the number of images done and of all images.

    Returns:
        The embeddings, and the images that gave none.

    Raises:
        DatasetError: An image is missing from the source.
        XfvError: The store cannot be used.
    """
    detector = detector or MtcnnDetector()
    pipeline = _pipeline(detector, already_aligned, face)
    rows = {key: row for row, key in enumerate(keys)}
    embeddings = np.full((len(keys), embedder.dimensions), np.nan, np.float32)
    failures: dict[str, str] = {}
    waiting: list[tuple[AlignedImage, FloatArray]] = []
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, len(keys))

    def embed_waiting() -> None:
        if not waiting:
            return
        faces = np.stack([face for _, face in waiting])
        # As they are: what is compared cell by cell must not be scaled as a whole.
        vectors = checked_embeddings(embedder.embed(faces), len(faces)).astype(np.float32)
        store.keep_embeddings([image.sha256 for image, _ in waiting], pipeline, embedder.fingerprint, vectors)
        for (image, _), vector in zip(waiting, vectors, strict=True):
            embeddings[rows[image.key]] = vector
        advance(len(waiting))
        waiting.clear()

    def is_wanted(key: str, sha256: str) -> bool:
        vector = store.embedding(sha256, pipeline, embedder.fingerprint)
        if vector is not None:
            embeddings[rows[key]] = vector
            advance(1)
        return vector is None

    for image in align_images(
        source,
        keys,
        store,
        detector=detector,
        already_aligned=already_aligned,
        face=face,
        workers=workers,
        is_wanted=is_wanted,
    ):
        if image.face is None:
            failures[image.key] = image.failure
            advance(1)
            continue
        waiting.append((image, image.face))
        if len(waiting) == _EMBED_AT_ONCE:
            embed_waiting()
    embed_waiting()
    return SetEmbeddings(
        embeddings, tuple(DetectionFailure(key, failures[key]) for key in keys if key in failures)
    )


def measure_pairs(
    pairs: PairSet,
    embedder: SavedModelEmbedder,
    store: EmbeddingStore,
    *,
    detector: MtcnnDetector | None = None,
    face: FaceChoice = "central",
    workers: int | None = None,
    progress: Progress | None = None,
) -> PairDistances:
    """Measures the distance of each pair of a data set.

    Args:
        pairs: The data set.
        embedder: The model.
        store: Where results are kept.
        detector: As for `embed_images`.
        face: As for `embed_images`.
        workers: As for `embed_images`.
        progress: As for `embed_images`.

    Returns:
        The distances, and the images that gave none.

    Raises:
        DatasetError: An image is missing from the set.
    """
    made = embed_images(
        pairs.source,
        pairs.images,
        embedder,
        store,
        detector=detector,
        already_aligned=pairs.aligned,
        face=face,
        workers=workers,
        progress=progress,
    )
    vectors = made.embeddings
    found = np.isfinite(vectors).all(axis=1)
    vectors[found] = unit_embeddings(vectors[found], int(found.sum()))
    distances = cosine_distance(vectors[pairs.first], vectors[pairs.second])
    return PairDistances(distances, made.failures)


def as_aligned_set(pairs: PairSet) -> PairSet:
    """Takes a set's images for aligned faces, in which no face is looked for.

    The size of the first image that can be read is checked; if others have another size, `measure_pairs`
    leaves them out and names them.

    Args:
        pairs: The data set.

    Returns:
        The same set, marked as aligned.

    Raises:
        ImageError: The first image is no crop of 112 x 112 pixels.
        DatasetError: An image is missing from the set.
    """
    for key, content in pairs.source.stream(pairs.images):
        name = key.rpartition("/")[2]
        try:
            photo = read_photo(content, name)
        except ImageError:
            continue
        as_aligned(photo, name)
        break
    return replace(pairs, aligned=True)


def _prepare_all(tasks: Iterable[_Task], detector: MtcnnDetector, workers: int) -> Iterator[_Prepared]:
    """Has the tasks done by processes, a bounded number at a time; starts none where there is no task."""
    tasks = iter(tasks)
    first = next(tasks, None)
    if first is None:
        return
    with concurrent.futures.ProcessPoolExecutor(
        workers,
        # TensorFlow does not survive a fork.
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
    import tensorflow as tf

    # One thread for each process: more would only get in each other's way.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
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
            return _Prepared(task.key, task.image, None, as_aligned(photo, name))
    except ImageError as error:
        return _Prepared(task.key, task.image, None, None, str(error))
    faces = task.faces
    if faces is None:
        if _worker_detector is None:
            raise RuntimeError("a worker was started without its detector")
        faces = tuple(_worker_detector.detect(photo))
    if not faces:
        return _Prepared(task.key, task.image, faces, None, _NO_FACE)
    chosen = faces[0] if task.face == "largest" else _central(faces, photo)
    return _Prepared(task.key, task.image, faces, align(photo, chosen.landmarks))


def _central(faces: Sequence[Face], photo: Photo) -> Face:
    """The face whose box has its centre nearest to the photo's."""
    middle = (np.array(photo.shape[1::-1]) - 1) / 2

    def distance(face: Face) -> float:
        return float(np.linalg.norm(face.box.reshape(2, 2).mean(axis=0) - middle))

    return min(faces, key=distance)


def _faces_to_json(faces: Sequence[Face]) -> str:
    rows = [{**vars(face), "box": face.box.tolist(), "landmarks": face.landmarks.tolist()} for face in faces]
    return json.dumps(rows)


def _faces_from_json(text: str) -> tuple[Face, ...]:
    return tuple(
        Face(
            **{
                **row,
                "box": np.array(row["box"], np.float32),
                "landmarks": np.array(row["landmarks"], np.float32),
            }
        )
        for row in json.loads(text)
    )
