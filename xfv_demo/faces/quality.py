"""What makes a face a poor subject, measured on the face alone, and what follows for the confidence (pure).

A calibration tells how often decisions are right on photos like its own. On a blurred, dark or covered face
the same distance means something else: of strangers that a Gaussian blur of radius 6 made alike, the bundled
model took 85 in 100 for the same person, mostly at a stated 99 % and more. So each measure has two bounds:
beyond the first a caution is given with the confidence, beyond the second instead of it.

The bounds were set on 469 photos of LFW (deep-funneled) and 46 kinds of damaged copies of each: the second
ones lie where wrong decisions at a stated 90 % and more begin to be common, and leave out one in 100 of the
photos as they are.
"""

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from xfv_demo.faces.alignment import (
    ALIGNED_EYE_DISTANCE,
    ALIGNED_SIZE,
    estimate_similarity,
    template_misfit,
)
from xfv_demo.types import AlignedFace, FloatArray

# From brows to chin and between the temples, without hair and background.
_ROWS, _COLUMNS = slice(20, 100), slice(25, 87)
# With some of the cheeks, so that each direction has room for the distance over which sharpness is measured.
_SHARP_ROWS, _SHARP_COLUMNS = slice(16, 104), slice(20, 92)
_SHARP_DISTANCE = 8
_DIRECTIONS = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, 2), (2, -1), (1, -2))
# Cheekbones and the bridge of the nose, which masks leave free; what masks cover; and the eyes.
_FREE_ROWS, _FREE_COLUMNS = slice(58, 68), slice(32, 80)
_COVERED_ROWS, _COVERED_COLUMNS = slice(80, 108), slice(32, 80)
_EYE_ROWS, _EYE_COLUMNS = slice(40, 64), slice(26, 86)
# Grey levels, of 255, from which on a camera shows no more differences.
_SATURATED = 250


NOBODY_REVISION = 1
"""To be raised with every change of `pictures_of_nobody`: what models make of them is kept."""


@dataclass(frozen=True)
class Caution:
    """Why a verdict on a face deserves less trust than the calibration promises.

    Attributes:
        words: They go on from "the face is".
        withholds: Whether that is so much the case that no confidence can be given.
        counted: Whether the calibration counts it in.
    """

    words: str
    withholds: bool = False
    counted: bool = False


@dataclass(frozen=True)
class _Bounds:
    """Beyond which value of a measure to be cautious, and to withhold the confidence."""

    caution: float
    withhold: float

    def exceeded(self, value: float, words: str) -> list[Caution]:
        """What follows from a value of which more is worse."""
        return [Caution(words, value > self.withhold)] if value > self.caution else []

    def undercut(self, value: float, words: str) -> list[Caution]:
        """What follows from a value of which less is worse."""
        return [Caution(words, value < self.withhold)] if value < self.caution else []


_SIZE = _Bounds(ALIGNED_EYE_DISTANCE, 8)
_SHARPNESS = _Bounds(1.8, 1.5)
# A face that was enlarged is less sharp by that alone, which a calibration by size counts in. For those of
# fewer pixels than the first number the bound falls by the second with each halving: of LFW's images shrunk
# to 30 to 14 %, one in 100 is below it, as of those that are not shrunk.
_SHARP_SIZE, _SHARPNESS_BY_SIZE = 12, 0.35
_CONTRAST = _Bounds(10, 6)
_SATURATION = _Bounds(0.2, 0.35)
_NOISE = _Bounds(2500, 5000)
_INSIDE = _Bounds(0.99, 0.92)
_MISFIT = _Bounds(6.5, 9)
_OTHER_COLOUR = _Bounds(20, 24)
_PLAIN = _Bounds(0.4, 0.35)
_SPREAD = _Bounds(0.06, 0.07)
_CERTAINTY = _Bounds(4, 3.3)
_TURN_MARGIN = _Bounds(3, 1.5)
_MASKED = "perhaps masked, as its lower half has another colour or little detail"
# Below this mean grey level, a face without contrast is called dark.
_DARK = 60


def cautions(face: AlignedFace, smallest_size: float | None = None) -> tuple[Caution, ...]:
    """Why a verdict on a face deserves less trust than the calibration promises.

    Args:
        face: A face that was found and aligned.
        smallest_size: The smallest size that the calibration covers, in pixels between the eyes, where it
            counts sizes in.

    Returns:
        The reasons, none for a good face. Size, sharpness, contrast, exposure, grain and masks are told by
        its pixels; how much of it lies within the photo, and how far it is turned, by its landmarks; whether
        it is covered, no face at all, or the wrong way up, by its detector where that measured it.
    """
    grey = cv2.cvtColor(face.aligned, cv2.COLOR_RGB2GRAY) * 255
    inner = grey[_ROWS, _COLUMNS]
    landmarks = face.face.landmarks
    apart = face.face.eye_distance
    blur = _SHARPNESS
    small = f"small ({apart:.0f} pixels between the eyes; the model looks at {ALIGNED_EYE_DISTANCE:.0f})"
    if smallest_size is None:
        reasons = _SIZE.undercut(apart, small)
    elif apart < smallest_size:
        words = f"{apart:.1f} pixels between the eyes; the calibration was made down to {smallest_size:.1f}"
        reasons = [Caution(f"off the calibrated range ({words})", withholds=True)]
    else:
        reasons = [Caution(small, counted=True)] if apart < _SIZE.caution else []
        halvings = max(0.0, math.log2(_SHARP_SIZE / apart))
        blur = replace(blur, withhold=blur.withhold - _SHARPNESS_BY_SIZE * halvings)
    contrast = float(inner.std())
    dull = "dark" if inner.mean() < _DARK else "of little contrast"
    reasons += _CONTRAST.undercut(contrast, dull)
    # Of a dull face, and of one that was enlarged, sharpness says nothing new unless it is very low.
    blurred = blur.undercut(sharpness(grey), "blurred")
    reasons += [one for one in blurred if one.withholds or not reasons]
    reasons += _SATURATION.exceeded(float((inner >= _SATURATED).mean()), "overexposed")
    reasons += _NOISE.exceeded(float(cv2.Laplacian(inner, cv2.CV_32F).var()), "grainy")
    reasons += _INSIDE.undercut(_share_inside(landmarks, face.photo_shape), "cut off by the photo's edge")
    reasons += _MISFIT.exceeded(
        template_misfit(landmarks), "strongly turned, or its eyes, nose and mouth were not well found"
    )
    covered = _OTHER_COLOUR.exceeded(_colour_change(face.aligned), _MASKED)
    covered += _PLAIN.undercut(_lower_contrast(grey), _MASKED)
    reasons += sorted(covered, key=lambda one: not one.withholds)[:1]
    if face.face.landmark_spread is not None:
        reasons += _SPREAD.exceeded(
            face.face.landmark_spread, "partly covered, or its eyes, nose and mouth cannot be made out well"
        )
    if face.face.certainty is not None:
        reasons += _CERTAINTY.undercut(face.face.certainty, "hardly recognisable as a face")
    if face.face.turn_margin is not None:
        reasons += _TURN_MARGIN.undercut(face.face.turn_margin, "perhaps found the wrong way up")
    return tuple(reasons)


def sharpness(grey: FloatArray) -> float:
    """How much detail an aligned face has that is finer than eight pixels, in the direction that has least.

    The mean squared difference of grey levels one step apart, as a share of that some eight pixels apart (the
    structure function), times the square of the number of steps: 1 where grey levels only slope, some 16 in
    white noise. The worst of eight directions, so that a photo blurred by motion is not sharp. Brightness and
    contrast cancel out.

    Args:
        grey: (112, 112), grey levels in any unit.

    Returns:
        On LFW's photos 1.8 at least, median 2.9; 1.3 after a Gaussian blur of radius 4. Infinite where all is
        one grey.
    """
    inner = grey[_SHARP_ROWS, _SHARP_COLUMNS].astype(np.float64)
    ratios = []
    for across, down in _DIRECTIONS:
        step = float(np.hypot(across, down))
        steps = round(_SHARP_DISTANCE / step)
        far = _mean_squared_difference(inner, across * steps, down * steps)
        if far > 0:
            near = _mean_squared_difference(inner, across, down)
            # A slope's differences grow with the distance, so that it gives 1.
            ratios.append(near * steps**2 / far)
    return min(ratios, default=float("inf"))


def _mean_squared_difference(grey: NDArray[np.float64], across: int, down: int) -> float:
    height, width = grey.shape
    one = grey[max(0, -down) : height - max(0, down), max(0, -across) : width - max(0, across)]
    other = grey[max(0, down) : height + min(0, down), max(0, across) : width + min(0, across)]
    return float(((one - other) ** 2).mean())


def _colour_change(aligned: FloatArray) -> float:
    """How far the colour of mouth and chin is from that of the cheekbones, in CIELAB; lightness counts half.

    A beard makes 10 to 20, a surgical mask 20 to 60; of LFW's faces one in 200 has more than 24.
    """
    lab = cv2.cvtColor(aligned, cv2.COLOR_RGB2LAB)
    free, covered = (
        np.median(lab[rows, columns].reshape(-1, 3), axis=0)
        for rows, columns in ((_FREE_ROWS, _FREE_COLUMNS), (_COVERED_ROWS, _COVERED_COLUMNS))
    )
    return float(np.linalg.norm((free - covered) * [0.5, 1, 1]))


def _lower_contrast(grey: FloatArray) -> float:
    """The contrast of mouth and chin as a share of that of the eyes; infinite where the eyes have none.

    On LFW 0.8, and less than 0.4 in one of 200.
    """
    eyes = float(grey[_EYE_ROWS, _EYE_COLUMNS].std())
    return float(grey[_COVERED_ROWS, _COVERED_COLUMNS].std()) / eyes if eyes else float("inf")


def _share_inside(landmarks: FloatArray, photo_shape: tuple[int, int]) -> float:
    """Which share of the aligned face, from brows to chin, the photo shows; the rest lies beyond its edge."""
    rows, columns = np.mgrid[:ALIGNED_SIZE, :ALIGNED_SIZE][:, _ROWS, _COLUMNS]
    points = np.stack([columns.ravel(), rows.ravel(), np.ones(rows.size)])
    across, down = cv2.invertAffineTransform(estimate_similarity(landmarks)) @ points
    height, width = photo_shape
    inside = (across >= -0.5) & (across <= width - 0.5) & (down >= -0.5) & (down <= height - 0.5)
    return float(inside.mean())


def pictures_of_nobody() -> FloatArray:
    """Pictures without a face: noise of five sizes, in grey and in colour.

    What a model makes of all photos that it can make nothing of lies close together: rocks, drawings, a face
    blurred beyond recognition. The centre of its embeddings of these pictures tells where.

    Returns:
        (30, 112, 112, 3) float32, RGB, in [0, 1]; the same at each call.
    """
    rng = np.random.default_rng(0)
    shape = (ALIGNED_SIZE, ALIGNED_SIZE, 3)
    pictures = []
    for size in (1, 2, 4, 8, 16):
        for _ in range(3):
            for channels in (1, 3):
                noise = rng.standard_normal((ALIGNED_SIZE, ALIGNED_SIZE, channels))
                smooth = cv2.GaussianBlur(noise, (0, 0), size).reshape(*shape[:2], channels)
                scaled = np.clip(0.5 + 0.2 * smooth / smooth.std(), 0, 1)
                pictures.append(np.broadcast_to(scaled, shape).astype(np.float32))
    return np.stack(pictures)
