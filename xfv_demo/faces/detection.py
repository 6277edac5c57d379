"""Faces and their five landmarks, found by MTCNN."""

import importlib.metadata
import logging
import threading
from dataclasses import replace
from typing import Any, Literal, Protocol, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from xfv_demo.errors import ModelError
from xfv_demo.faces.alignment import template_misfit
from xfv_demo.faces.compiled_detector import OUTPUT_SIDE, CompiledMtcnn
from xfv_demo.faces.tensorflow_detector import TensorFlowMtcnn
from xfv_demo.runtime.processes import check_process
from xfv_demo.types import Face, Photo

Engine = Literal["auto", "openvino", "tensorflow"]


class Detector(Protocol):
    """Anything that finds faces in a photo."""

    def detect(self, photo: Photo) -> list[Face]:
        """The photo's faces, largest first; empty where there is none."""
        ...


# Columns of mtcnn's numpy output, contrary to its docstring: image number, x1, y1, x2, y2, score, then the
# landmarks' five x, then their five y, in the template's order.
_BOX = slice(1, 5)
_SCORE = 5
_LANDMARKS_X = slice(6, 11)
_LANDMARKS_Y = slice(11, 16)

# To be raised with every change of this module that changes the faces found.
_REVISION = 2

_TURNS = (90, 180, 270)

# MTCNN says that it is sure of false faces too: in a photo on its head it finds upright "faces", and some in
# rocks and coins. So its last network is asked again, about several cuts of each find and about the same cuts
# turned: the mean of its log odds is the face's certainty. Measured on 1,200 photos of LFW in all four turns:
# the certainty of upright faces has a median of 7.6 and is 2.3 at least; of 777 finds in turned photos it is
# 3.8 or less in 99 of 100. A photo is taken to be upright where its largest face is this certain, and more
# certain by this much than it is in any other turn; LFW's are in 99.3 of 100 cases.
_SURE_CERTAINTY = 4.0
_SURE_MARGIN = 0.5
# Otherwise the photo is searched in all four turns. The turn with the most certain face is believed, another
# than the upright one where it is better by this much. Measured on the same: of 3,600 turned photos none is
# left or turned wrongly, of 1,200 upright ones none is turned.
_TURN_MARGIN = 1.0
# What is less certain than the first number is no face; nor is what is less certain than the second and
# either tiny or without steady landmarks. Of 1,000 faceless crops of scikit-image's pictures, 50 have finds
# in one turn or another, most of 20 to 30 pixels; this leaves none of them, and all of LFW's faces.
_LEAST_CERTAINTY, _LEAST_CERTAINTY_OF_DOUBTFUL = 0.8, 2.2
_TINY_SIDE = 40.0  # pixels
_LARGEST_SPREAD = 0.12
# Landmarks further than this from any turned, scaled and shifted template, in pixels of the aligned crop, are
# no face's. LFW's worst face has 8.9.
_LARGEST_MISFIT = 12
# What the network is shown of a find: the square around it, enlarged by the first number and shifted by
# shares of its side.
_CUTS = (
    (1.0, 0.0, 0.0),
    (1.2, 0.0, 0.0),
    (1.1, 0.06, 0.0),
    (1.1, -0.06, 0.0),
    (1.1, 0.0, 0.06),
    (1.1, 0.0, -0.06),
)
# Held while a detector loads its networks: threads that ask it at once load them once.
_loading = threading.Lock()

# Probabilities end here, so that their logarithms are finite.
_TINY = 1e-12


class MtcnnDetector:
    """Finds faces by MTCNN (Zhang et al., IEEE SPL 2016, arXiv 1604.02878), as the package `mtcnn` has it.

    Loading the three networks is put off until the first photo. Safe to call from several threads.

    Attributes:
        notice: Why TensorFlow was taken where OpenVINO was wanted; None where it was not, or not yet.

    Args:
        longest_side: Photos larger than this many pixels are reduced to it for detection. Faces under about
            20 pixels at that size are missed, so where nothing is found, twice the size is tried.
        border: A face that fills its photo is missed by MTCNN. Where nothing is found, this share of the
            longer side is added as a grey border on all sides, and the search is repeated.
        engine: What runs the three networks; the faces are the same. "auto" takes OpenVINO, and the package
            itself, with TensorFlow, only where OpenVINO is not installed or cannot run them; `notice` then
            says so, and so does the log.
        threads: How many one call may use; all cores where None.

    Example:
        >>> from xfv_demo import MtcnnDetector, read_photo
        >>> face = MtcnnDetector().detect(read_photo("assets/examples/obama.jpg"))[0]
        >>> face.landmarks.shape, face.score > 0.99, face.rotation
        ((5, 2), True, 0)
    """

    def __init__(
        self,
        *,
        longest_side: int = 1024,
        border: float = 0.25,
        engine: Engine = "auto",
        threads: int | None = None,
    ) -> None:
        if engine not in get_args(Engine):
            raise ValueError(f'engine must be one of {", ".join(get_args(Engine))}, not "{engine}"')
        self.longest_side = longest_side
        self.border = border
        self.engine = engine
        self.threads = threads
        self.notice: str | None = None
        self._loaded: CompiledMtcnn | TensorFlowMtcnn | None = None

    @property
    def fingerprint(self) -> str:
        """What the faces found depend on, beside the photo: to know kept ones again by.

        Not on the engine: its rounding moves boxes and landmarks by a hundred thousandth of a face's side.
        """
        version = importlib.metadata.version("mtcnn")
        settings = f"longest side {self.longest_side}, border {self.border}"
        return f"mtcnn {version}, {settings}, revision {_REVISION}"

    def detect(self, photo: Photo) -> list[Face]:
        """Finds the faces in a photo, whichever way up it is.

        Looked for in the photo; where nothing is found, at twice the detection size. Unless the largest face
        is certainly upright, the photo is searched turned by 90, 180 and 270 degrees too (and within a
        border, where nothing was found), and the turn with the most certain face counts: `Face.rotation`
        tells it, `Face.turn_margin` how clear that was.

        Args:
            photo: (height, width, 3) uint8, RGB.

        Returns:
            The faces, largest first, in the photo's own pixels; empty where there is none.
        """
        reduced = _Reduced(photo, self.longest_side)
        faces = self._detect(reduced.image)
        if not faces and reduced.image is not photo:
            larger = _Reduced(photo, 2 * self.longest_side)
            if found := self._detect(larger.image):
                reduced, faces = larger, found
        if not (faces and self._is_surely_upright(reduced.image, max(faces, key=_area))):
            faces = self._in_the_surest_turn(reduced.image, faces)
        return sorted(reduced.to_photo(faces), key=_area, reverse=True)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy in another process starts from: the settings, not the loaded networks."""
        return {**vars(self), "_loaded": None}

    @property
    def _mtcnn(self) -> CompiledMtcnn | TensorFlowMtcnn:
        with _loading:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> CompiledMtcnn | TensorFlowMtcnn:
        if self.engine != "tensorflow":
            try:
                return CompiledMtcnn(self.threads)
            except (ImportError, ModelError) as error:
                if self.engine == "openvino":
                    raise
                self.notice = f"faces are found by TensorFlow, which is slower: {error}"
                logging.getLogger(__name__).warning(self.notice)
        return TensorFlowMtcnn(self.threads)

    def _detect(self, image: Photo) -> list[Face]:
        """Finds faces in an image as it stands."""
        check_process()
        faces = [_face(row, image.shape[:2]) for row in self._mtcnn.detect(image)]
        faces = [face for face in faces if template_misfit(face.landmarks) <= _LARGEST_MISFIT]
        if not faces:
            return []
        certainties, spreads = self._look_again(np.concatenate([_cuts(image, face.box) for face in faces]))
        looked_at = [
            replace(face, certainty=float(certainty), landmark_spread=float(spread))
            for face, certainty, spread in zip(faces, certainties, spreads, strict=True)
        ]
        return [face for face in looked_at if _is_face(face)]

    def _look_again(self, cuts: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Asks MTCNN's last network about faces, each shown in all `_CUTS`, one after the other.

        Returns:
            Of each face the mean log odds, and how far its landmarks move from cut to cut, as a share of the
            distance between the eyes.
        """
        probabilities, landmarks = self._mtcnn.confirm(cuts)
        none, face = probabilities.astype(np.float64).T
        log_odds = np.log(np.maximum(face, _TINY)) - np.log(np.maximum(none, _TINY))
        # Five x, then five y, as shares of the cut's side, from its top left corner; now of the find's side.
        points = landmarks.astype(np.float64).reshape(-1, len(_CUTS), 2, 5)
        enlarged, *shifts = np.array(_CUTS).T
        points = (points - 0.5) * enlarged[:, None, None] + np.stack(shifts, axis=1)[:, :, None]
        mean = points.mean(axis=1)
        apart = np.linalg.norm(mean[:, :, 1] - mean[:, :, 0], axis=1)
        spread = np.sqrt(points.var(axis=1).sum(axis=1).mean(axis=1)) / np.maximum(apart, _TINY)
        return np.asarray(log_odds.reshape(-1, len(_CUTS)).mean(axis=1)), np.asarray(spread)

    def _is_surely_upright(self, image: Photo, face: Face) -> bool:
        """Whether a face is certain, and looks far more like one than it does in any other turn."""
        if face.certainty is None or face.certainty < _SURE_CERTAINTY:
            return False
        cuts = _cuts(image, face.box)
        turned = [np.rot90(cuts, -rotation // 90, axes=(1, 2)) for rotation in _TURNS]
        certainties, _ = self._look_again(np.concatenate(turned))
        return bool(face.certainty - certainties.max() >= _SURE_MARGIN)

    def _in_the_surest_turn(self, image: Photo, upright: list[Face]) -> list[Face]:
        """The faces of the turn in which the most certain face is found.

        Args:
            image: What is searched.
            upright: The faces found in it as it stands.
        """
        found = {rotation: self._detect_turned(image, rotation) for rotation in _TURNS}
        found[0] = upright or self._detect_within_border(image)
        certainty = {rotation: _highest_certainty(faces) for rotation, faces in found.items()}
        turned = max(_TURNS, key=lambda rotation: certainty[rotation])
        rotation = turned if certainty[turned] > certainty[0] + _TURN_MARGIN else 0
        rival = max(one for other, one in certainty.items() if other != rotation)
        margin = None if rival == -np.inf else certainty[rotation] - rival
        return [replace(face, turn_margin=margin) for face in found[rotation]]

    def _detect_within_border(self, photo: Photo) -> list[Face]:
        height, width = photo.shape[:2]
        margin = round(self.border * max(height, width))
        padded = cv2.copyMakeBorder(
            photo, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(127, 127, 127)
        )
        return [
            replace(
                face,
                box=_clip_box(face.box - margin, (height, width)),
                landmarks=(face.landmarks - margin).astype(np.float32),
            )
            for face in self._detect(padded)
        ]

    def _detect_turned(self, photo: Photo, rotation: int) -> list[Face]:
        turned = np.ascontiguousarray(np.rot90(photo, -rotation // 90))
        size = photo.shape[:2]
        faces = []
        for face in self._detect(turned):
            corners = _turn_back(face.box.reshape(2, 2), rotation, size)
            faces.append(
                replace(
                    face,
                    box=np.concatenate([corners.min(axis=0), corners.max(axis=0)]),
                    landmarks=_turn_back(face.landmarks, rotation, size),
                    rotation=rotation,
                )
            )
        return faces


def _area(face: Face) -> float:
    return face.area


def _is_face(face: Face) -> bool:
    if face.certainty is None or face.landmark_spread is None:
        return False
    left, top, right, bottom = face.box
    is_tiny = max(right - left, bottom - top) < _TINY_SIDE
    is_doubtful = is_tiny or face.landmark_spread > _LARGEST_SPREAD
    return face.certainty >= (_LEAST_CERTAINTY_OF_DOUBTFUL if is_doubtful else _LEAST_CERTAINTY)


def _highest_certainty(faces: list[Face]) -> float:
    """Minus infinity where there is no face."""
    return max((face.certainty for face in faces if face.certainty is not None), default=-np.inf)


def _cuts(image: Photo, box: NDArray[np.float32]) -> NDArray[np.uint8]:
    """What MTCNN's last network is shown of a find: (number of `_CUTS`, 48, 48, 3); black beyond the edge."""
    left, top, right, bottom = (float(edge) for edge in box)
    side = max(right - left, bottom - top, 1.0)
    cuts = []
    for enlarged, across, down in _CUTS:
        # Averaged down by whole steps: a bilinear warp alone would leave out pixels of a large face.
        step = max(1, int(side * enlarged / OUTPUT_SIDE))
        scale = step * OUTPUT_SIDE / (side * enlarged)
        centre = np.array([(left + right) / 2 + across * side, (top + bottom) / 2 + down * side])
        offset = step * OUTPUT_SIDE / 2 - scale * centre
        matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
        cut = cv2.warpAffine(image, matrix, (step * OUTPUT_SIDE, step * OUTPUT_SIDE), flags=cv2.INTER_LINEAR)
        cuts.append(
            cv2.resize(cut, (OUTPUT_SIDE, OUTPUT_SIDE), interpolation=cv2.INTER_AREA) if step > 1 else cut
        )
    return np.stack(cuts)


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
