"""The mean face: what an aligned face has on average at each place, and so a filling that shows nobody.

What is hidden has to be replaced by something. Black makes pictures unlike all that a model has seen; the
mean face leaves a face. It is fixed, of the people of Labeled Faces in the Wild, each counting once.
"""

import functools
from collections.abc import Iterable

import cv2
import numpy as np
from PIL import Image

from xfv_demo.errors import DatasetError
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.runtime.paths import assets_folder
from xfv_demo.types import FloatArray, Photo

FILE_NAME = "mean-face.png"

# The fewest people of whom a mean shows nobody: one of them then moves a pixel by a thousandth of its range.
FEWEST_PEOPLE = 1000

# In pixels: takes away what is left of single photos in a mean of thousands, and leaves eyes, nose and mouth.
_SMOOTHING_SIGMA = 1.0


@functools.cache
def mean_face() -> FloatArray:
    """The mean face that comes with the package.

    Returns:
        (112, 112, 3) float32, RGB, in [0, 1]; cannot be written to.

    Example:
        >>> from xfv_demo.faces.mean_face import mean_face
        >>> mean_face().shape, bool(0 < mean_face().min() < mean_face().max() < 1)
        ((112, 112, 3), True)
    """
    with Image.open(assets_folder() / FILE_NAME) as image:
        face = np.asarray(image.convert("RGB"), np.float32) / np.float32(255)
    face.setflags(write=False)
    return face


def average_faces(faces: Iterable[tuple[str, FloatArray]]) -> Photo:
    """Averages aligned faces: first those of each person, then the people.

    Args:
        faces: Of each face whom it shows, and (112, 112, 3) float32, RGB, in [0, 1].

    Returns:
        (112, 112, 3) uint8, RGB, smoothed.

    Raises:
        DatasetError: They are of fewer people than `FEWEST_PEOPLE`.
    """
    sums: dict[str, FloatArray] = {}
    counts: dict[str, int] = {}
    for person, face in faces:
        sums[person] = sums.get(person, 0) + face
        counts[person] = counts.get(person, 0) + 1
    if len(sums) < FEWEST_PEOPLE:
        raise DatasetError(
            f"a mean face of {len(sums)} people would show some of them; take a set of {FEWEST_PEOPLE} or "
            "more"
        )
    mean = np.zeros((ALIGNED_SIZE, ALIGNED_SIZE, 3))
    for person, total in sums.items():
        mean += total / counts[person]
    smooth = cv2.GaussianBlur(mean / len(sums), (0, 0), _SMOOTHING_SIGMA)
    return np.asarray(np.rint(255 * smooth.clip(0, 1)), np.uint8)
