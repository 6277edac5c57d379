"""What an explainer is given, checked: photos, embeddings that are known, a threshold."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfv_demo.errors import CalibrationError, ModelError
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.faces.mean_face import mean_face
from xfv_demo.models.similarity import unit_embeddings
from xfv_demo.types import FloatArray

_Doubles = NDArray[np.float64]

_FACE_SHAPE = (ALIGNED_SIZE, ALIGNED_SIZE, 3)


def aligned_pair(probe: ArrayLike, reference: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Checks the two photos that an explainer was given.

    Args:
        probe: (112, 112, 3), RGB, in [0, 1].
        reference: (112, 112, 3), RGB, in [0, 1].

    Returns:
        Both as float32.

    Raises:
        ValueError: One is not of that kind; says which.
    """
    return _aligned_face(probe, "probe"), _aligned_face(reference, "reference")


def _aligned_face(image: ArrayLike, role: str) -> FloatArray:
    face = np.asarray(image, dtype=np.float32)
    if face.shape != _FACE_SHAPE:
        raise ValueError(f"the {role} must be an aligned face (112, 112, 3), not {face.shape}")
    # `not (a and b)` rather than `a or b`, so that NaN fails too.
    if not (face.min() >= 0 and face.max() <= 1):
        raise ValueError(f"the {role} must lie in [0, 1], not [{face.min():.3g}, {face.max():.3g}]")
    return face


def checked_filling(filling: ArrayLike | None) -> FloatArray:
    """What stands for nobody's face: the mean face, or what an explainer was given in its place.

    Args:
        filling: (112, 112, 3), RGB, in [0, 1]; or None.

    Raises:
        ValueError: It is not of that kind.
    """
    return mean_face() if filling is None else _aligned_face(filling, "filling")


def aligned_pairs(probes: ArrayLike, references: ArrayLike) -> FloatArray:
    """Checks the photos of many pairs.

    Args:
        probes: (B, 112, 112, 3), RGB, in [0, 1].
        references: (B, 112, 112, 3), RGB, in [0, 1].

    Returns:
        (2, B, 112, 112, 3) float32.

    Raises:
        ValueError: They are not of that kind; says which.
    """
    first, second = _aligned_faces(probes, "probe"), _aligned_faces(references, "reference")
    if len(first) != len(second):
        raise ValueError(
            f"there are {len(first)} probes and {len(second)} references; give a reference for each probe"
        )
    return np.stack([first, second])


def _aligned_faces(images: ArrayLike, role: str) -> FloatArray:
    try:
        faces = np.asarray(images, dtype=np.float32)
    except ValueError as error:
        raise ValueError(
            f"the {role}s must be aligned faces (B, 112, 112, 3), and differ in shape"
        ) from error
    if faces.shape == (0,):  # an empty list
        faces = np.zeros((0, *_FACE_SHAPE), np.float32)
    if faces.shape[1:] != _FACE_SHAPE:
        raise ValueError(f"the {role}s must be aligned faces (B, 112, 112, 3), not {faces.shape}")
    for number, face in enumerate(faces):
        _aligned_face(face, f"{role} number {number}")
    return faces


def known_embeddings(embeddings: ArrayLike | None, photos: tuple[int, ...]) -> _Doubles | None:
    """Checks embeddings that an explainer was given.

    Args:
        embeddings: One for each photo, (*photos, D); or None.
        photos: The shape in which the photos come.

    Returns:
        The same, each of length 1, or 0; or None.

    Raises:
        ValueError: They are not of that shape.
        ModelError: They are not finite.
    """
    if embeddings is None:
        return None
    given = np.asarray(embeddings)
    if given.ndim != len(photos) + 1 or given.shape[:-1] != photos:
        expected = ", ".join(map(str, photos))
        raise ValueError(f"embeddings must be ({expected}, D), one for each photo, not {given.shape}")
    count = int(np.prod(photos))
    return unit_embeddings(given.reshape(count, given.shape[-1]), count).reshape(given.shape)


def checked_batch(
    probes: ArrayLike, references: ArrayLike, embeddings: ArrayLike | None
) -> tuple[FloatArray, _Doubles | None]:
    """Checks what `Explainer.explain_batch` is given.

    Args:
        probes: As for `aligned_pairs`.
        references: As for `aligned_pairs`.
        embeddings: (2, B, D), or None.

    Returns:
        What `aligned_pairs` and `known_embeddings` return.

    Raises:
        ValueError: As from these.
        ModelError: As from these.
    """
    photos = aligned_pairs(probes, references)
    return photos, known_embeddings(embeddings, photos.shape[:2])


def distinct_photos(photos: FloatArray) -> tuple[FloatArray, NDArray[np.int64]]:
    """Of many photos, each once: what is computed for a photo serves all pairs that it is in.

    Args:
        photos: (2, B, 112, 112, 3).

    Returns:
        (N, 112, 112, 3), in the order in which they come first; and (2, B), which of them each photo is.
    """
    flat = photos.reshape(-1, *photos.shape[2:])
    numbers: dict[bytes, int] = {}
    places = np.array([numbers.setdefault(photo.tobytes(), len(numbers)) for photo in flat], np.int64)
    _, firsts = np.unique(places, return_index=True)
    return flat[firsts], places.reshape(photos.shape[:2])


def check_batch_size(batch_size: int) -> None:
    """Refuses batches of no image.

    Raises:
        ValueError: It is below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")


def check_gradients(embedder: Any, method: str) -> None:
    """Refuses an embedder that cannot be differentiated.

    Args:
        embedder: The model.
        method: What to call the method in messages.

    Raises:
        ModelError: It has no `embedding_gradients`.
    """
    if not hasattr(embedder, "embedding_gradients"):
        raise ModelError(
            f"{method} needs gradients, and this embedder has no embedding_gradients; take one that has, "
            'such as load_embedder gives, or the method "occlusion"'
        )


def gradient_threshold(embedder: Any, threshold: float | None, method: str) -> float:
    """Checks what methods that weigh dimensions by T and follow their gradients are made with.

    Args:
        embedder: The model.
        threshold: T, on the cosine similarity; where None, that of equal error rate in the calibration that
            is known by the embedder's `name`.
        method: What to call the method in messages.

    Returns:
        T, in [-1, 1].

    Raises:
        ModelError: The embedder cannot be differentiated.
        CalibrationError: None was given, and the embedder has no name, or there is no calibration for it.
        ValueError: It is no cosine similarity.
    """
    check_gradients(embedder, method)
    if threshold is None:
        name = getattr(embedder, "name", None)
        if name is None:
            raise CalibrationError(
                f"{method} needs a threshold, and an embedder without a name has no calibration to take it "
                "from; give threshold=1 - calibration.eer_threshold"
            )
        # Where a threshold is given, as the pipeline gives it, no calibration is read.
        from xfv_demo.calibration.storage import load_calibration

        return 1 - load_calibration(name).eer_threshold
    if not -1 <= threshold <= 1:
        raise ValueError(f"threshold must be a cosine similarity, in [-1, 1], not {threshold}")
    return float(threshold)
