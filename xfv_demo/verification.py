"""From two photos to a verdict: faces, alignment, embeddings, distance, decision."""

import shlex
from typing import Protocol, Self

import numpy as np

from xfv_demo.alignment import align
from xfv_demo.assets import BUNDLED_MODELS, FETCHABLE
from xfv_demo.calibration import Calibration, load_calibration
from xfv_demo.detection import MtcnnDetector
from xfv_demo.embedding import Embedder, SavedModelEmbedder
from xfv_demo.errors import FaceNotFoundError, NoCalibrationError
from xfv_demo.images import PhotoSource, photo_name, read_photo
from xfv_demo.similarity import cosine_distance, directed_embeddings
from xfv_demo.types import AlignedFace, Face, Photo, Verification

# Stands in where there is no calibration: the best threshold of the bundled mobilefacenet on LFW View 2.
PROVISIONAL_THRESHOLD = 0.601


class Detector(Protocol):
    """Anything that finds faces in a photo."""

    def detect(self, photo: Photo) -> list[Face]:
        """The photo's faces, largest first; empty where there is none."""
        ...


class Verifier:
    """Says whether two photos show the same person.

    Args:
        embedder: The model. Its `name` and `notice` are reported, where it has them.
        calibration: Gives the threshold and the confidence. Without one the decision is taken at a
            provisional threshold, there is no confidence, and a notice says so.
        detector: What finds the faces; MTCNN where None.
        uncalibrated: Why there is no calibration and how to make one, for that notice.
    """

    def __init__(
        self,
        embedder: Embedder,
        calibration: Calibration | None = None,
        *,
        detector: Detector | None = None,
        uncalibrated: str | None = None,
    ) -> None:
        self.embedder = embedder
        self.calibration = calibration
        self.detector = detector or MtcnnDetector()
        self._uncalibrated = uncalibrated

    @classmethod
    def calibrated(
        cls,
        embedder: SavedModelEmbedder,
        dataset: str | None = None,
        method: str | None = None,
        *,
        detector: Detector | None = None,
    ) -> Self:
        """A verifier with the model's calibration.

        Args:
            embedder: The model.
            dataset: The labelled set that the calibration was made on. Where None, LFW's is taken if there is
                one made with these very weights; else the verifier has none, and says how to make it.
            method: The calibration's method, a key of `CALIBRATORS`; the default where None.
            detector: What finds the faces; MTCNN where None.

        Raises:
            CalibrationError: What was asked for by name is not there or was made with other weights, or a
                calibration's file is broken.
        """
        asked = dataset is not None or method is not None
        try:
            calibration = load_calibration(embedder.name, dataset or "lfw", method)
        except NoCalibrationError as error:
            if asked:
                raise
            return cls(embedder, detector=detector, uncalibrated=_with_hint(str(error), embedder))
        if calibration.model_sha256 not in (embedder.sha256, None):
            reason = _with_hint(_of_other_weights(embedder.name, calibration), embedder)
            if asked:
                raise NoCalibrationError(reason)
            return cls(embedder, detector=detector, uncalibrated=reason)
        return cls(embedder, calibration, detector=detector)

    def verify(
        self, probe: PhotoSource, reference: PhotoSource, *, probe_face: int = 0, reference_face: int = 0
    ) -> Verification:
        """Compares a face of one photo with a face of another.

        Args:
            probe: The first photo: a path, the file's bytes, a PIL image or an array.
            reference: The second photo.
            probe_face: Which of the first photo's faces; 0 is the largest.
            reference_face: Which of the second photo's faces.

        Returns:
            Distance, decision, confidence and both aligned faces.

        Raises:
            ImageError: A photo cannot be read.
            FaceNotFoundError: A photo shows no face, or not as many as asked for.
        """
        return self.compare(
            self.find_face(probe, probe_face, name=photo_name(probe, "probe")),
            self.find_face(reference, reference_face, name=photo_name(reference, "reference")),
        )

    def find_face(self, source: PhotoSource, face_index: int = 0, *, name: str) -> AlignedFace:
        """Finds and aligns a face of a photo.

        Args:
            source: The photo: a path, the file's bytes, a PIL image or an array.
            face_index: Which of the photo's faces; 0 is the largest.
            name: What messages call the photo.

        Returns:
            The aligned face, with all that were found.

        Raises:
            ImageError: The photo cannot be read.
            FaceNotFoundError: It shows no face, or not as many as asked for.
        """
        photo = read_photo(source, name)
        faces = tuple(self.detector.detect(photo))
        if not faces:
            raise FaceNotFoundError(
                f'"{name}" shows no face that can be found; use a photo with a larger, sharper or more '
                "frontal face"
            )
        if not 0 <= face_index < len(faces):
            shown = (
                "one face, number 0"
                if len(faces) == 1
                else f"{len(faces)} faces, numbers 0 to {len(faces) - 1}"
            )
            raise FaceNotFoundError(f'"{name}" shows {shown}; there is no face number {face_index}')
        face = faces[face_index]
        return AlignedFace(name, align(photo, face.landmarks), face, faces, photo.shape[:2])

    def compare(self, probe: AlignedFace, reference: AlignedFace) -> Verification:
        """Compares two aligned faces.

        Args:
            probe: The first face.
            reference: The second face.

        Returns:
            Distance, decision and confidence.
        """
        embeddings = directed_embeddings(self.embedder.embed(np.stack([probe.aligned, reference.aligned])), 2)
        distance = float(cosine_distance(embeddings[0], embeddings[1]))
        calibration = self.calibration
        threshold = PROVISIONAL_THRESHOLD if calibration is None else calibration.threshold
        return Verification(
            model=self._model_name,
            calibration=None if calibration is None else calibration.dataset,
            confidence_method=None if calibration is None else calibration.method,
            distance=distance,
            threshold=threshold,
            same_person=distance < threshold,
            confidence=None if calibration is None else float(calibration.confidence(distance)),
            probe=probe,
            reference=reference,
            notices=tuple(self._notices(probe, reference)),
        )

    @property
    def _model_name(self) -> str:
        return str(getattr(self.embedder, "name", type(self.embedder).__name__))

    def _notices(self, probe: AlignedFace, reference: AlignedFace) -> list[str]:
        notices = []
        if notice := getattr(self.embedder, "notice", None):
            notices.append(notice)
        if self.calibration is None:
            notices.append(
                f'model "{self._model_name}" is not calibrated: no confidence is given, and the threshold '
                f"{PROVISIONAL_THRESHOLD} is provisional (mobilefacenet's best on LFW)"
            )
            if self._uncalibrated:
                notices.append(self._uncalibrated)
        elif self.calibration.model_sha256 not in (None, getattr(self.embedder, "sha256", None)):
            notices.append(_of_other_weights(self._model_name, self.calibration))
        for photo in (probe, reference):
            if photo.face.rotation:
                notices.append(
                    f'"{photo.name}" was turned by {photo.face.rotation} degrees clockwise to find the face'
                )
        return notices


def _of_other_weights(model: str, calibration: Calibration) -> str:
    return (
        f'the calibration of "{model}" on {calibration.dataset} was made with other weights than are in use'
    )


def _with_hint(reason: str, embedder: SavedModelEmbedder) -> str:
    """Why there is no calibration, and the command that makes one for this very model."""
    known = embedder.name in (*BUNDLED_MODELS, *FETCHABLE)
    model = shlex.quote(embedder.name if known else str(embedder.folder))
    command = f"python -m xfv_demo calibrate --model {model} --data LFW_FOLDER"
    return f"{reason.partition(';')[0]}; make one with: {command}"
