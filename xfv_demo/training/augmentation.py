"""Variants of an aligned face, as other cameras and other landmarks would have given it."""

import cv2
import numpy as np

from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.types import FloatArray

# Standard deviations: landmarks wander by a few pixels from detector to detector; exposures by more than
# that. None is so large that the person is no longer the same to the eye.
_ROTATION_DEGREES = 4.0
_LOG_SCALE = 0.04
_SHIFT_PIXELS = 2.0
_LOG_GAMMA = 0.25
_LOG_CONTRAST = 0.15
_BRIGHTNESS = 0.05

# Shares of the variants that are blurred, coarse, partly covered, mirrored.
_BLURRED = 0.2
_COARSE = 0.2
_COVERED = 0.25
_MIRRORED = 0.5


def augmented(face: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Draws a variant of a face: moved, turned, lit otherwise; some blurred, covered, mirrored.

    Args:
        face: (112, 112, 3) float32, RGB, in [0, 1].
        rng: Source of randomness.

    Returns:
        The same kind.
    """
    image = _moved(face, rng)
    image = np.clip(image, 0, 1) ** np.float32(np.exp(rng.normal(0, _LOG_GAMMA)))
    contrast, brightness = np.exp(rng.normal(0, _LOG_CONTRAST)), rng.normal(0, _BRIGHTNESS)
    image = np.clip((image - 0.5) * np.float32(contrast) + np.float32(0.5 + brightness), 0, 1)
    kind = rng.random()
    if kind < _BLURRED:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2))
    elif kind < _BLURRED + _COARSE:
        side = int(rng.integers(ALIGNED_SIZE // 4, 3 * ALIGNED_SIZE // 4))
        coarse = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        image = cv2.resize(coarse, (ALIGNED_SIZE, ALIGNED_SIZE), interpolation=cv2.INTER_LINEAR)
    if rng.random() < _COVERED:
        side = int(rng.integers(ALIGNED_SIZE // 8, ALIGNED_SIZE // 3))
        row, column = rng.integers(0, ALIGNED_SIZE - side, 2)
        image[row : row + side, column : column + side] = rng.random(3)
    if rng.random() < _MIRRORED:
        image = image[:, ::-1]
    return np.ascontiguousarray(np.clip(image, 0, 1), dtype=np.float32)


def _moved(face: FloatArray, rng: np.random.Generator) -> FloatArray:
    middle = (ALIGNED_SIZE - 1) / 2
    turned = cv2.getRotationMatrix2D(
        (middle, middle), rng.normal(0, _ROTATION_DEGREES), np.exp(rng.normal(0, _LOG_SCALE))
    )
    turned[:, 2] += rng.normal(0, _SHIFT_PIXELS, 2)
    return np.asarray(
        cv2.warpAffine(
            face,
            turned,
            (ALIGNED_SIZE, ALIGNED_SIZE),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
    )
