"""Faces and their five landmarks, found by MTCNN."""

import functools
import importlib.metadata
import importlib.resources
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xfv_demo.alignment import template_misfit
from xfv_demo.processes import check_process
from xfv_demo.types import Face, Photo

# Columns of mtcnn's numpy output, contrary to its docstring: image number, x1, y1, x2, y2, score, then the
# landmarks' five x, then their five y, in the template's order.
_BOX = slice(1, 5)
_SCORE = 5
_LANDMARKS_X = slice(6, 11)
_LANDMARKS_Y = slice(11, 16)

# To be raised with every change of this module that changes the faces found.
_REVISION = 1

_TURNS = (90, 180, 270)

# In a photo that lies on its side or on its head, MTCNN often finds an upright "face" all the same, and says
# so with a lower score. A largest face under this score is therefore looked at again in all four turns, and
# another turn is believed where its odds of showing a face are better by this factor. Measured on LFW: of
# 7,701 upright photos none is turned (with a factor of 1, six are; the closest case has 13); of 663 turned
# ones 96 % are turned back (82 % without a second look).
_SURE_SCORE = 0.985
_BETTER_ODDS = 20
# A score may be a 1 that was rounded; its odds end here.
_SUREST_SCORE = 0.99999
# Landmarks further than this from any turned, scaled and shifted template, in pixels of the aligned crop, are
# no face's. LFW's worst face has 8.9.
_LARGEST_MISFIT = 12
# The side, in pixels, of the excerpt that is looked at again: the face fills about half of it.
_EXCERPT_SIDE = 120


class MtcnnDetector:
    """Finds faces by MTCNN (Zhang et al., IEEE SPL 2016, arXiv 1604.02878), as the package `mtcnn` has it.

    Loading the three networks takes a second or two and is put off until the first photo. Safe to call from
    several threads once loaded.

    Args:
        longest_side: Photos larger than this many pixels are reduced to it for detection. Faces under about
            20 pixels at that size are missed, so where nothing is found, twice the size is tried.
        border: A face that fills its photo is missed by MTCNN. Where nothing is found, this share of the
            longer side is added as a grey border on all sides, and the search is repeated.
    """

    def __init__(self, *, longest_side: int = 1024, border: float = 0.25) -> None:
        self.longest_side = longest_side
        self.border = border

    @property
    def fingerprint(self) -> str:
        """What the faces found depend on, beside the photo: to know kept ones again by."""
        version = importlib.metadata.version("mtcnn")
        settings = f"longest side {self.longest_side}, border {self.border}"
        return f"mtcnn {version}, {settings}, revision {_REVISION}"

    def detect(self, photo: Photo) -> list[Face]:
        """Finds the faces in a photo.

        Tried in turn, until something is found: the photo; the photo at twice the detection size; and then
        the photo within a border and turned by 90, 180 and 270 degrees, of which the one with the surest
        face counts (`Face.rotation` tells the turn). A largest face that MTCNN is not sure of is looked at
        again in all four turns, for in a photo on its head it finds false faces.

        Args:
            photo: (height, width, 3) uint8, RGB.

        Returns:
            The faces, largest first, in the photo's own pixels; empty where there is none.
        """
        reduced = _Reduced(photo, self.longest_side)
        faces = reduced.to_photo(self._detect(reduced.image))
        if not faces and reduced.image is not photo:
            larger = _Reduced(photo, 2 * self.longest_side)
            faces = larger.to_photo(self._detect(larger.image))
        if not faces:
            turned = [self._detect_turned(reduced.image, rotation) for rotation in _TURNS]
            found = max((self._detect_within_border(reduced.image), *turned), key=_surest_score)
            faces = reduced.to_photo(found)
        elif (largest := max(faces, key=_area)).score < _SURE_SCORE:
            rotation = self._surest_turn(photo, largest)
            # The excerpt may show a face that the whole photo, turned, does not; then the first find stands.
            again = self._detect_turned(reduced.image, rotation) if rotation else []
            faces = reduced.to_photo(again) or faces
        return sorted(faces, key=_area, reverse=True)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy in another process starts from: the settings, not the loaded networks."""
        return {name: value for name, value in vars(self).items() if name != "_mtcnn"}

    @functools.cached_property
    def _mtcnn(self) -> Any:
        import tensorflow as tf
        from mtcnn import MTCNN
        from mtcnn.stages import StageONet, StagePNet, StageRNet

        # The package looks for its weights in the working directory first, and they are pickles: whole paths
        # keep a stray pnet.lz4 from being run.
        weights = importlib.resources.files("mtcnn.assets.weights")
        files = ((StagePNet, "pnet.lz4"), (StageRNet, "rnet.lz4"), (StageONet, "onet.lz4"))
        with _ignoring_closed_files():
            stages = [stage(weights=str(weights / file)) for stage, file in files]
        for stage, side in zip(stages, (None, 24, 48), strict=True):
            # Called as Keras models, layer by layer, the networks spend most of their time between layers:
            # 59 ms for an LFW image on one thread, against 27 ms as graphs, with the same numbers.
            signature = [tf.TensorSpec((None, side, side, 3), tf.float32)]
            stage._model = tf.function(functools.partial(stage.model, training=False), signature)
        return MTCNN(stages=stages)

    def _detect(self, image: Photo) -> list[Face]:
        """Finds faces in an image as it stands."""
        check_process()
        # The smallest face stays at mtcnn's default of 20 pixels: with any other its image pyramid goes on
        # to levels smaller than the network's input, which fails and is reported as "no faces".
        found = self._mtcnn.detect_faces(image, output_type="numpy", box_format="xyxy")
        faces = [_face(row, image.shape[:2]) for row in found]
        return [face for face in faces if template_misfit(face.landmarks) <= _LARGEST_MISFIT]

    def _detect_within_border(self, photo: Photo) -> list[Face]:
        height, width = photo.shape[:2]
        margin = round(self.border * max(height, width))
        padded = cv2.copyMakeBorder(
            photo, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(127, 127, 127)
        )
        return [
            Face(
                box=_clip_box(face.box - margin, (height, width)),
                landmarks=face.landmarks - margin,
                score=face.score,
            )
            for face in self._detect(padded)
        ]

    def _surest_turn(self, photo: Photo, face: Face) -> int:
        """By how many degrees clockwise a face's surroundings must be turned to look far more like a face."""
        left, top, right, bottom = face.box
        centre = np.array([left + right, top + bottom]) / 2
        reach = max(right - left, bottom - top)
        low = np.maximum(np.floor(centre - reach), 0).astype(int)
        high = np.ceil(centre + reach).astype(int) + 1
        excerpt = photo[low[1] : high[1], low[0] : high[0]]
        excerpt = _resized(excerpt, _EXCERPT_SIDE / max(excerpt.shape[:2]))
        turned = {rotation: _surest_score(self._detect_turned(excerpt, rotation)) for rotation in _TURNS}
        surest = max(turned, key=lambda rotation: turned[rotation])
        upright = _surest_score(self._detect(excerpt))
        return surest if _odds(turned[surest]) > _BETTER_ODDS * _odds(upright) else 0

    def _detect_turned(self, photo: Photo, rotation: int) -> list[Face]:
        turned = np.ascontiguousarray(np.rot90(photo, -rotation // 90))
        size = photo.shape[:2]
        faces = []
        for face in self._detect(turned):
            corners = _turn_back(face.box.reshape(2, 2), rotation, size)
            faces.append(
                Face(
                    box=np.concatenate([corners.min(axis=0), corners.max(axis=0)]),
                    landmarks=_turn_back(face.landmarks, rotation, size),
                    score=face.score,
                    rotation=rotation,
                )
            )
        return faces


@contextmanager
def _ignoring_closed_files() -> Iterator[None]:
    """Keeps Python 3.13 from reporting that lz4, once done with a file of weights, flushes it again."""
    report = sys.unraisablehook

    def report_others(event: "sys.UnraisableHookArgs") -> None:
        if not (isinstance(event.exc_value, ValueError) and "closed file" in str(event.exc_value)):
            report(event)

    sys.unraisablehook = report_others
    try:
        yield
    finally:
        sys.unraisablehook = report


def _area(face: Face) -> float:
    return face.area


def _surest_score(faces: list[Face]) -> float:
    return max((face.score for face in faces), default=0.0)


def _odds(score: float) -> float:
    score = min(score, _SUREST_SCORE)
    return score / (1 - score)


class _Reduced:
    """A photo at the size that faces are looked for in; the photo itself where that is no larger.

    Args:
        photo: (height, width, 3) uint8.
        longest_side: The most pixels that a side may have.
    """

    def __init__(self, photo: Photo, longest_side: int) -> None:
        scale = longest_side / max(photo.shape[:2])
        self.image = photo if scale >= 1 else _resized(photo, scale)
        self._size = photo.shape[:2]

    def to_photo(self, faces: list[Face]) -> list[Face]:
        """The same faces, in the pixels of the photo."""
        if self.image.shape[:2] == self._size:
            return faces
        factors = np.array(self._size[::-1]) / self.image.shape[1::-1]
        return [
            replace(
                face,
                box=_clip_box(_scaled(face.box.reshape(2, 2), factors).reshape(4), self._size),
                landmarks=_scaled(face.landmarks, factors),
            )
            for face in faces
        ]


def _resized(image: Photo, scale: float) -> Photo:
    size = tuple(max(1, round(side * scale)) for side in image.shape[1::-1])
    resized: Photo = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return resized


def _scaled(points: NDArray[np.float32], factors: NDArray[np.float64]) -> NDArray[np.float32]:
    # Pixel centres, not edges, lie on whole numbers.
    return ((points + 0.5) * factors - 0.5).astype(np.float32)


def _face(row: NDArray[np.float64], size: tuple[int, int]) -> Face:
    """One row of mtcnn's output."""
    return Face(
        box=_clip_box(row[_BOX].astype(np.float32), size),
        landmarks=np.stack([row[_LANDMARKS_X], row[_LANDMARKS_Y]], axis=1).astype(np.float32),
        score=float(row[_SCORE]),
    )


def _clip_box(box: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    height, width = size
    return np.clip(box, 0, [width - 1, height - 1, width - 1, height - 1]).astype(np.float32)


def _turn_back(points: NDArray[np.float32], rotation: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """Points of the photo turned clockwise by `rotation`, as points of the photo itself.

    Args:
        points: (N, 2), x and y in the turned photo's pixels.
        rotation: 90, 180 or 270.
        size: Height and width of the photo as it was given.
    """
    height, width = size
    x, y = points[:, 0], points[:, 1]
    columns = {
        90: (y, height - 1 - x),
        180: (width - 1 - x, height - 1 - y),
        270: (width - 1 - y, x),
    }[rotation]
    return np.stack(columns, axis=1).astype(np.float32)
