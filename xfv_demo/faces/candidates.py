"""From a photo to its aligned faces: those that come into question for a comparison."""

import math
from typing import Literal, TypeAlias

import numpy as np

from xfv_demo.errors import FaceNotFoundError
from xfv_demo.faces.alignment import ALIGNED_SIZE, ARCFACE_TEMPLATE, align, as_aligned
from xfv_demo.faces.detection import Detector
from xfv_demo.faces.images import PhotoSource, read_photo
from xfv_demo.types import AlignedFace, Face, Photo

# Which face of a photo: its number, 0 for the largest; or whichever is most like a face of the other photo.
WhichFace: TypeAlias = int | Literal["best"]


def find_candidates(
    detector: Detector, source: PhotoSource, which: WhichFace = 0, *, name: str, aligned: bool = False
) -> tuple[AlignedFace, ...]:
    """The faces of a photo that come into question: the one asked for, or all of them.

    Args:
        detector: What finds them.
        source: The photo: a path, the file's bytes, a PIL image or an array.
        which: The number of a face; 0 is the largest. "best" for all faces, the largest first.
        name: What messages call the photo.
        aligned: Whether the photo is an aligned face already; the detector is not asked then.

    Returns:
        At least one aligned face, each with all that were found.

    Raises:
        ImageError: The photo cannot be read, or is said to be aligned and has another size.
        FaceNotFoundError: It shows no face, or not as many as asked for.
    """
    photo = read_photo(source, name)
    if aligned:
        if which not in (0, "best"):
            raise FaceNotFoundError(
                f'"{name}" is taken for one aligned face, number 0; there is no face number {which}'
            )
        return (_taken_for_a_face(photo, name),)
    faces = tuple(detector.detect(photo))
    if not faces:
        raise FaceNotFoundError(
            f'"{name}" shows no face that can be found; use a photo with a larger, sharper or more frontal '
            "face"
        )
    if which != "best" and not 0 <= which < len(faces):
        shown = (
            "one face, number 0" if len(faces) == 1 else f"{len(faces)} faces, numbers 0 to {len(faces) - 1}"
        )
        raise FaceNotFoundError(f'"{name}" shows {shown}; there is no face number {which}')
    return tuple(
        AlignedFace(name, align(photo, face.landmarks), face, faces, photo.shape[:2])
        for face in (faces if which == "best" else (faces[which],))
    )


def _taken_for_a_face(photo: Photo, name: str) -> AlignedFace:
    """A photo that is said to be an aligned face."""
    side = ALIGNED_SIZE - 1
    face = Face(np.array([0, 0, side, side], np.float32), ARCFACE_TEMPLATE, score=math.nan)
    return AlignedFace(name, as_aligned(photo, name), face, (face,), photo.shape[:2], detected=False)
