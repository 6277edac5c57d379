"""From five landmarks to the 112 x 112 crop that ArcFace-type models take (pure)."""

import math

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfv_demo.errors import ImageError
from xfv_demo.types import FloatArray, Photo

ALIGNED_SIZE = 112

# x and y in the 112 x 112 crop: eye on the image's left, eye on the image's right, nose tip, mouth corner on
# the image's left, on the image's right. The template of ArcFace (Deng et al., CVPR 2019, arXiv 1801.07698),
# as insightface publishes it.
ARCFACE_TEMPLATE: FloatArray = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    dtype=np.float32,
)
ARCFACE_TEMPLATE.setflags(write=False)

# Pixels between the eyes of an aligned face. A face with less in its photo had to be enlarged: the model sees
# pixels that the camera did not.
ALIGNED_EYE_DISTANCE = float(np.linalg.norm(ARCFACE_TEMPLATE[1] - ARCFACE_TEMPLATE[0]))

# A bilinear warp reads four pixels for each one it writes; below this scale it would skip some and alias.
_SMALLEST_BILINEAR_SCALE = 0.5


def estimate_similarity(landmarks: ArrayLike) -> NDArray[np.float64]:
    """Finds the similarity transform that brings landmarks closest to the ArcFace template.

    Least squares over rotation, uniform scale and translation (Umeyama, TPAMI 1991); never a reflection. In
    the plane, with x + iy for a point, such a transform is z -> az + b, and a is a quotient.

    Args:
        landmarks: (5, 2), x and y in pixels, in the template's order.

    Returns:
        (2, 3) float64 matrix from photo pixels to crop pixels.

    Raises:
        ValueError: The landmarks are not five finite points, or all lie on one spot.
    """
    points = np.asarray(landmarks, dtype=np.float64)
    if points.shape != ARCFACE_TEMPLATE.shape or not np.isfinite(points).all():
        raise ValueError(f"landmarks must be five finite points (5, 2), not an array of shape {points.shape}")
    if not np.ptp(points, axis=0).any():
        raise ValueError("the five landmarks lie on one spot; no transform aligns them")
    here, there = (corners @ np.array([1, 1j]) for corners in (points, ARCFACE_TEMPLATE.astype(np.float64)))
    centred = here - here.mean()
    a = np.vdot(centred, there - there.mean()) / np.vdot(centred, centred).real
    b = there.mean() - a * here.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def template_misfit(landmarks: ArrayLike) -> float:
    """How far aligned landmarks stay from the ArcFace template.

    Small for a frontal face, larger the more a face is turned away or the landmarks are wrong.

    Args:
        landmarks: (5, 2), x and y in pixels, in the template's order.

    Returns:
        Root mean square distance in pixels of the 112 x 112 crop. On LFW: median 2.9, largest 8.9.

    Raises:
        ValueError: As for `estimate_similarity`.
    """
    matrix = estimate_similarity(landmarks)
    misses = np.asarray(landmarks) @ matrix[:, :2].T + matrix[:, 2] - ARCFACE_TEMPLATE
    return float(np.sqrt((misses**2).sum(axis=1).mean()))


def align(photo: Photo, landmarks: ArrayLike) -> FloatArray:
    """Cuts a face out of a photo, turned, scaled and shifted onto the ArcFace template.

    Where the face has to shrink to less than half its size, the photo is first averaged down (area
    resampling), so that fine texture does not alias; otherwise a plain bilinear warp. What lies outside the
    photo is black.

    Args:
        photo: (height, width, 3) uint8, RGB.
        landmarks: (5, 2), x and y in the photo's pixels, in the template's order.

    Returns:
        (112, 112, 3) float32, RGB, in [0, 1].

    Raises:
        ValueError: The photo is not of that kind, or the landmarks fit no transform.

    Example:
        Of landmarks that lie as the template has them, only twice as large, the photo is halved:

        >>> import numpy as np
        >>> from xfv_demo import ARCFACE_TEMPLATE, align
        >>> photo = np.full((224, 224, 3), 255, np.uint8)
        >>> aligned = align(photo, 2 * ARCFACE_TEMPLATE)
        >>> aligned.shape, aligned.dtype, float(aligned[1:-1, 1:-1].min())
        ((112, 112, 3), dtype('float32'), 1.0)
    """
    if photo.ndim != 3 or photo.shape[2] != 3 or photo.dtype != np.uint8:
        raise ValueError(f"a photo must be uint8 (height, width, 3), not {photo.dtype} {photo.shape}")
    matrix = estimate_similarity(landmarks)
    region, matrix = _crop_to_output(photo, matrix)
    image: FloatArray = region.astype(np.float32) / np.float32(255)
    scale = math.hypot(matrix[0, 0], matrix[1, 0])
    if scale < _SMALLEST_BILINEAR_SCALE:
        image, matrix = _shrink(image, matrix, scale)
    aligned: FloatArray = cv2.warpAffine(image, matrix, (ALIGNED_SIZE, ALIGNED_SIZE), flags=cv2.INTER_LINEAR)
    return aligned


def as_aligned(photo: Photo, name: str) -> FloatArray:
    """Takes a photo for what it is said to be, an aligned face; only its size is checked.

    Args:
        photo: (112, 112, 3) uint8, RGB.
        name: What messages call the photo.

    Returns:
        (112, 112, 3) float32, RGB, in [0, 1].

    Raises:
        ImageError: The photo has another size.
    """
    if photo.shape[:2] != (ALIGNED_SIZE, ALIGNED_SIZE):
        size = f"{photo.shape[1]} x {photo.shape[0]} pixels"
        raise ImageError(f'"{name}" has {size}, not the 112 x 112 of an aligned crop')
    return photo.astype(np.float32) / np.float32(255)


def _crop_to_output(photo: Photo, matrix: NDArray[np.float64]) -> tuple[Photo, NDArray[np.float64]]:
    """Leaves away what the crop does not show, so that a large photo is not turned into floats whole."""
    inverse = cv2.invertAffineTransform(matrix)
    last = ALIGNED_SIZE - 1
    corners = np.array([[0, 0, 1], [last, 0, 1], [0, last, 1], [last, last, 1]]) @ inverse.T
    # A bilinear or area sample reaches beyond the corner by up to one output pixel's footprint.
    margin = 2 * math.hypot(inverse[0, 0], inverse[1, 0]) + 2
    height, width = photo.shape[:2]
    left, top = np.clip(np.floor(corners.min(axis=0) - margin), 0, [width - 1, height - 1]).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0) + margin) + 1, 1, [width, height]).astype(int)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ [left, top]
    return photo[top:bottom, left:right], shifted


def _shrink(
    image: FloatArray, matrix: NDArray[np.float64], scale: float
) -> tuple[FloatArray, NDArray[np.float64]]:
    """Averages the image down by the whole factor that leaves a scale of 0.5 to 1 to the warp."""
    factor = int(1 / scale)
    height, width = (max(1, side // factor) for side in image.shape[:2])
    # Whole blocks only, so that block (i, j) is the mean of exactly the pixels that it covers.
    small = cv2.resize(
        image[: height * factor, : width * factor], (width, height), interpolation=cv2.INTER_AREA
    )
    # The centre of a block lies (factor - 1) / 2 pixels behind its first pixel's centre.
    to_full = np.array([[factor, 0, (factor - 1) / 2], [0, factor, (factor - 1) / 2], [0, 0, 1]])
    return small, matrix @ to_full
