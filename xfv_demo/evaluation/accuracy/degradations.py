"""Ways in which photos are worse than a data set's: smaller, compressed, moved, grainy (pure)."""

import io
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from xfv_demo.datasets.altered import shrunk
from xfv_demo.types import Photo

_JPEG_QUALITY = 10
_MOTION_PIXELS = 9
_NOISE = 25  # Grey levels of 255, standard deviation.


@dataclass(frozen=True)
class Degradation:
    """A way of making photos worse.

    Attributes:
        title: What people call it.
        alter: Makes a photo's copy, given its key and itself; the same at each call.
        is_size: Whether it is a change of size, which is what calibrations by size are fitted to.
    """

    title: str
    alter: Callable[[str, Photo], Photo]
    is_size: bool = False


def _shrunk(percent: int) -> Degradation:
    return Degradation(f"shrunk to {percent} %", lambda _, photo: shrunk(photo, percent / 100), is_size=True)


def _compressed(_: str, photo: Photo) -> Photo:
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=_JPEG_QUALITY)
    return np.asarray(Image.open(file))


def _moved(key: str, photo: Photo) -> Photo:
    """A line's mean, in a direction that depends on the key."""
    middle = (_MOTION_PIXELS - 1) / 2
    line = np.zeros((_MOTION_PIXELS, _MOTION_PIXELS), np.float32)
    line[int(middle)] = 1
    turn = cv2.getRotationMatrix2D((middle, middle), zlib.crc32(key.encode()) % 180, 1)
    line = cv2.warpAffine(line, turn, line.shape)
    return np.asarray(cv2.filter2D(photo, -1, line / line.sum(), borderType=cv2.BORDER_REPLICATE), np.uint8)


def _grainy(key: str, photo: Photo) -> Photo:
    noise = np.random.default_rng(zlib.crc32(key.encode())).normal(0, _NOISE, photo.shape)
    return np.clip(np.rint(photo + noise), 0, 255).astype(np.uint8)


DEGRADATIONS: Mapping[str, Degradation] = {
    **{f"shrunk-{percent}": _shrunk(percent) for percent in (50, 30, 20, 16)},
    "jpeg": Degradation(f"JPEG, quality {_JPEG_QUALITY}", _compressed),
    "motion": Degradation(f"moved by {_MOTION_PIXELS} pixels", _moved),
    "noise": Degradation(f"noise of {_NOISE} grey levels", _grainy),
}
