"""What makes a face a poor subject: too small, blurred, turned away (pure)."""

import cv2
import numpy as np

from xfv_demo.alignment import ARCFACE_TEMPLATE, template_misfit
from xfv_demo.types import AlignedFace

# Between the eyes of an aligned face. A face with less in its photo had to be enlarged: the model sees
# pixels that the camera did not.
_EYES_APART = float(np.linalg.norm(ARCFACE_TEMPLATE[1] - ARCFACE_TEMPLATE[0]))

# Beyond these, a face is unlike nearly all that the calibration was made on. Measured on 300 photos of LFW
# (deep-funneled, the central face): half a percent are less sharp, one percent fit the template worse; the
# medians are 132 and 2.9. Sharpness is the variance of the Laplacian from brows to chin, in grey levels of 0
# to 255; the misfit is in pixels of the aligned face.
_LEAST_SHARPNESS = 30.0
_MOST_MISFIT = 6.5
_ROWS, _COLUMNS = slice(20, 100), slice(25, 87)


def cautions(face: AlignedFace) -> tuple[str, ...]:
    """Why a verdict on this face deserves less trust than the calibration promises.

    Args:
        face: A face that was found and aligned.

    Returns:
        For each reason, words that go on from "the face is".
    """
    landmarks = face.face.landmarks
    apart = float(np.linalg.norm(landmarks[1] - landmarks[0]))
    reasons = []
    if apart < _EYES_APART:
        reasons.append(f"small ({apart:.0f} pixels between the eyes; the model looks at {_EYES_APART:.0f})")
    # One that was enlarged is soft for that reason already.
    elif _sharpness(face) < _LEAST_SHARPNESS:
        reasons.append("blurred")
    if template_misfit(landmarks) > _MOST_MISFIT:
        reasons.append("strongly turned, or its eyes, nose and mouth were not well found")
    return tuple(reasons)


def _sharpness(face: AlignedFace) -> float:
    grey = cv2.cvtColor(face.aligned, cv2.COLOR_RGB2GRAY) * 255
    return float(cv2.Laplacian(grey, cv2.CV_32F)[_ROWS, _COLUMNS].var())
