"""The values that pass between modules, as frozen dataclasses.

Two image conventions hold in the whole package:

* a *photo* is a uint8 array (height, width, 3), RGB, upright as its EXIF says;
* an *aligned face* is a float32 array (112, 112, 3), RGB, in [0, 1], on the ArcFace template.

Points are (x, y) in pixels; (0, 0) is the centre of the photo's top left pixel.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfv_demo.findings import Prior, ratio_in_words, support_in_words

Photo = NDArray[np.uint8]
FloatArray = NDArray[np.float32]

_LARGEST_SHOWN_CONFIDENCE = 0.999


@dataclass(frozen=True, eq=False)
class Face:
    """A face found in a photo.

    Attributes:
        box: (4,) float32, left, top, right and bottom edge in the photo's pixels, within the photo.
        landmarks: (5, 2) float32, x and y in the photo's pixels, not rounded: eye on the image's left, eye
            on the image's right, nose tip, mouth corner on the image's left, mouth corner on the image's
            right. Left and right are those of the upright face, as it looks after `rotation`.
        score: The detector's certainty that this is a face, in [0, 1].
        rotation: 0, 90, 180 or 270: by how many degrees clockwise the photo had to be turned for the face
            to be found. `box` and `landmarks` are in the pixels of the photo as it was given.
        certainty: The log odds (natural logarithm) of this being a face, from several cuts of it; None where
            the detector does not tell. On LFW: median 7.6.
        turn_margin: By how much the certainty exceeds that of any face found in another turn of the photo;
            None where the photo was clearly upright, or no other turn shows a face.
        landmark_spread: How far the landmarks move when the face is shown in other cuts: standard deviation,
            as a share of the distance between the eyes; None where the detector does not tell. On LFW:
            median 0.025.
    """

    box: FloatArray
    landmarks: FloatArray
    score: float
    rotation: int = 0
    certainty: float | None = None
    turn_margin: float | None = None
    landmark_spread: float | None = None

    @property
    def area(self) -> float:
        """The box's area in square pixels of the photo."""
        left, top, right, bottom = self.box
        return float((right - left) * (bottom - top))

    @property
    def eye_distance(self) -> float:
        """How far the eyes are apart, in pixels of the photo."""
        return float(np.linalg.norm(self.landmarks[1] - self.landmarks[0]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "box": [round(float(value), 2) for value in self.box],
            "landmarks": [[round(float(value), 2) for value in point] for point in self.landmarks],
            "score": round(self.score, 4),
            "rotation": self.rotation,
            "eye_distance": round(self.eye_distance, 2),
        }


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """One face of one photo, ready for the embedder.

    Attributes:
        name: The photo's name, for messages: a file name, or "probe" or "reference".
        aligned: (112, 112, 3) float32, RGB, in [0, 1], on the ArcFace template.
        face: The face that was aligned.
        faces: All faces found in the photo, largest first; `face` is one of them.
        photo_shape: The photo's height and width in pixels.
        detected: False where the photo was given as an aligned face and none was looked for. `face`, the only
            one of `faces`, is then what such a photo is taken for: the whole of it, with the template's
            landmarks and a score of NaN.
        embedding: (D,) float32 of length 1, by the model of the `Verification` that the face is in; None in a
            face that was not compared.
    """

    name: str
    aligned: FloatArray
    face: Face
    faces: tuple[Face, ...]
    photo_shape: tuple[int, int]
    detected: bool = True
    embedding: FloatArray | None = None

    @property
    def face_index(self) -> int:
        """The place of `face` among `faces`; 0 is the largest."""
        return next(index for index, face in enumerate(self.faces) if face is self.face)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: everything but the pixels.

        "faces" lists all that were found, each with its "index". Where none was looked for it is empty, and
        None stands for all that a search would have told.
        """
        found = {
            "faces_found": len(self.faces),
            "face_index": self.face_index,
            **self.face.to_dict(),
        }
        return {
            "name": self.name,
            "height": self.photo_shape[0],
            "width": self.photo_shape[1],
            **(found if self.detected else dict.fromkeys(found)),
            "faces": [{"index": index, **face.to_dict()} for index, face in enumerate(self.faces)]
            if self.detected
            else [],
        }


@dataclass(frozen=True, eq=False)
class Verification:
    """What a model says of a pair of faces.

    Attributes:
        model: The model's name.
        calibration: The data set of the calibration that gave the confidence, and the threshold where none
            was given; None without one.
        distance: Cosine distance of the embeddings, in [0, 2].
        threshold: The pair counts as the same person where the distance is below this.
        same_person: The decision.
        confidence_method: What turned the distance into a confidence, a key of `CALIBRATORS`; None without a
            calibration.
        confidence: Share of decisions like this one that are right, in [0.5, 1], on photos like those of the
            calibration and if as many pairs show one person as two; None without a calibration, and where it
            is withheld. No larger than `largest_confidence`. Under 0.5
            where the calibration holds the other decision to be the likelier one: at a threshold that was
            given, or where these two faces are the most alike of many pairs.
        probe: The face of the first photo, with its embedding.
        reference: The face of the second photo, likewise.
        notices: Lines that the user should see: a model other than asked for, a missing calibration, a
            photo that had to be turned, and why a face deserves less trust than the calibration promises.
        cautions: Those of the notices that say why a face deserves less trust than the calibration promises.
        confidence_withheld: Why there is no confidence although there is a calibration: what is wrong with a
            face; None where nothing is.
        own_threshold: Whether the threshold was given, and is not the calibration's or the provisional one.
        pairs_compared: The faces are the most alike of this many pairs; 1 where both were chosen otherwise.
        largest_confidence: What the calibration's pairs carry of such a decision,
            `Calibration.probability_bounds`; None without a calibration.
        log10_likelihood_ratio: How many times as likely such a distance is where both photos show one person
            as where they show two, as a decimal logarithm; within `log10_bounds`. None where there is no
            confidence. At equal priors the confidence follows from it, but for the floor of one half.
        log10_bounds: The smallest and the largest that the calibration's pairs carry; None without one.
        prior: How likely one person was before the photos were compared, where that was said.
    """

    model: str
    calibration: str | None
    confidence_method: str | None
    distance: float
    threshold: float
    same_person: bool
    confidence: float | None
    probe: AlignedFace
    reference: AlignedFace
    notices: tuple[str, ...] = field(default=())
    cautions: tuple[str, ...] = field(default=())
    confidence_withheld: str | None = None
    own_threshold: bool = False
    pairs_compared: int = 1
    largest_confidence: float | None = None
    log10_likelihood_ratio: float | None = None
    log10_bounds: tuple[float, float] | None = None
    prior: Prior | None = None

    @property
    def posterior(self) -> float | None:
        """P(one person) under `prior`, in (0, 1); None without a prior or a likelihood ratio."""
        if self.prior is None or self.log10_likelihood_ratio is None:
            return None
        return self.prior.posterior(self.log10_likelihood_ratio)

    @property
    def findings(self) -> str | None:
        """What the photos say, as a sentence without its full stop; None without a likelihood ratio."""
        if self.log10_likelihood_ratio is None:
            return None
        carried = ", the most that the calibration's pairs carry"
        at_bound = self.log10_bounds is not None and self.log10_likelihood_ratio in self.log10_bounds
        return (
            f"{support_in_words(self.log10_likelihood_ratio)} (such a distance is "
            f"{ratio_in_words(self.log10_likelihood_ratio)}{carried if at_bound else ''})"
        )

    @property
    def threshold_source(self) -> str:
        """Where the threshold comes from: "given", "calibration" or "provisional"."""
        if self.own_threshold:
            return "given"
        return "provisional" if self.calibration is None else "calibration"

    @property
    def shown_confidence(self) -> str | None:
        """The confidence for people to read, in percent, such as "97.3 %"; never 100 or 0 %.

        Where it is as large as the calibration's pairs can carry, "over 99.0 %", or whatever they carry; no
        more than "over 99.9 %".
        """
        if self.confidence is None:
            return None
        largest = _LARGEST_SHOWN_CONFIDENCE
        if self.largest_confidence is not None:
            # Rounded down: rounded up, it would say more than the pairs do.
            largest = min(largest, math.floor(1000 * self.largest_confidence) / 1000)
        if self.confidence <= 1 - largest < 0.5:
            return f"under {1 - largest:.1%}".replace("%", " %")
        # One half says nothing, so nobody is more confident than that.
        over = "over " if self.confidence >= largest > 0.5 else ""
        return f"{over}{min(self.confidence, largest):.1%}".replace("%", " %")

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: everything but the pixels."""
        return {
            "model": self.model,
            "calibration": self.calibration,
            "confidence_method": self.confidence_method,
            "distance": round(self.distance, 6),
            "threshold": round(self.threshold, 6),
            "threshold_source": self.threshold_source,
            "same_person": self.same_person,
            "confidence": None if self.confidence is None else round(self.confidence, 6),
            "confidence_withheld": self.confidence_withheld,
            "log10_likelihood_ratio": None
            if self.log10_likelihood_ratio is None
            else round(self.log10_likelihood_ratio, 4),
            "prior": None if self.prior is None else str(self.prior),
            "posterior": None if self.posterior is None else float(f"{self.posterior:.6g}"),
            "pairs_compared": self.pairs_compared,
            "probe": self.probe.to_dict(),
            "reference": self.reference.to_dict(),
            "notices": list(self.notices),
        }
