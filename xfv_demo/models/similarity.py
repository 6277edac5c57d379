"""How alike two embeddings are (pure)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfv_demo.errors import ModelError


def unit_length(embeddings: ArrayLike) -> NDArray[np.float32]:
    """Scales embeddings to Euclidean length 1.

    Args:
        embeddings: (..., D).

    Returns:
        (..., D) float32. An embedding of length 0 stays 0: it has no direction.
    """
    values = np.asarray(embeddings, dtype=np.float32)
    # In double precision: the squares of what float32 holds would not fit it.
    length = np.linalg.norm(values.astype(np.float64), axis=-1, keepdims=True)
    unit = np.zeros_like(values)
    np.divide(values, length, out=unit, where=length != 0, casting="same_kind")
    return unit


def checked_embeddings(given: object, faces: int) -> NDArray[np.float64]:
    """Checks what an embedder has given.

    Args:
        given: What `embed` returned.
        faces: How many faces it was to embed.

    Returns:
        (faces, D) float64, as long as they were.

    Raises:
        ModelError: It is not one row of finite numbers for each face.
    """
    try:
        embeddings = np.asarray(given)
    except ValueError:  # rows of several lengths
        embeddings = np.asarray(None)
    if embeddings.dtype.kind not in "biuf":
        raise ModelError("the embedder gives no array of numbers; give (N, D) float32, one row for each face")
    if embeddings.ndim != 2 or len(embeddings) != faces or not embeddings.shape[1]:
        raise ModelError(f"the embedder gives {embeddings.shape} for {faces} faces, not one row for each")
    embeddings = embeddings.astype(np.float64)
    if not np.isfinite(embeddings).all():
        raise ModelError("the embedder gives numbers that are not finite; its weights are broken")
    return embeddings


def unit_embeddings(given: object, faces: int) -> NDArray[np.float64]:
    """Checks what an embedder has given, and scales it to Euclidean length 1.

    Args:
        given: As for `checked_embeddings`.
        faces: As for `checked_embeddings`.

    Returns:
        (faces, D) float64. An embedding of length 0 stays 0: it has no direction.

    Raises:
        ModelError: As from `checked_embeddings`.
    """
    embeddings = checked_embeddings(given, faces)
    # Brought near 1 first, as the squares of the largest and smallest numbers fit no float.
    largest = np.abs(embeddings).max(axis=1, keepdims=True, initial=0)
    embeddings = embeddings / np.where(largest == 0, 1, largest)
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.where(length == 0, 1, length))


def directed_embeddings(given: object, faces: int) -> NDArray[np.float64]:
    """As `unit_embeddings`, for what is to be compared.

    Raises:
        ModelError: As there, or an embedding is 0: no distance from it can be told.
    """
    embeddings = unit_embeddings(given, faces)
    if not embeddings.any(axis=1).all():
        raise ModelError("the embedder gives an embedding of zeros, which has no direction to compare")
    return embeddings


def similarity_terms(first: ArrayLike, second: ArrayLike) -> NDArray[np.float32]:
    """Each dimension's share of the cosine similarity: c_k = ê1_k ê2_k.

    Args:
        first: (..., D) embeddings.
        second: (..., D) embeddings, of a shape that broadcasts with `first`.

    Returns:
        (..., D) float32; the sum over the last axis is the cosine similarity.
    """
    return unit_length(first) * unit_length(second)


def cosine_similarity(first: ArrayLike, second: ArrayLike) -> NDArray[np.float32]:
    """Cosine of the angle between embeddings.

    Args:
        first: (..., D) embeddings.
        second: (..., D) embeddings, of a shape that broadcasts with `first`.

    Returns:
        (...) float32 in [-1, 1].
    """
    # Rounding can carry the sum beyond 1 by a few units in the last place.
    return np.asarray(np.clip(similarity_terms(first, second).sum(axis=-1), -1, 1))


def cosine_distance(first: ArrayLike, second: ArrayLike) -> NDArray[np.float32]:
    """1 - cosine similarity.

    Args:
        first: (..., D) embeddings.
        second: (..., D) embeddings, of a shape that broadcasts with `first`.

    Returns:
        (...) float32 in [0, 2]: 0 for the same direction, 1 for orthogonal, 2 for opposite.
    """
    return 1 - cosine_similarity(first, second)
