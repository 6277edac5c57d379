"""From two photos to a verdict: faces, alignment, embeddings, distance, decision."""

import contextlib
import io
import math
import shlex
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from xfv_demo.calibration.calibration import Calibration
from xfv_demo.calibration.storage import load_calibration
from xfv_demo.errors import NoCalibrationError, XfvError
from xfv_demo.faces.candidates import WhichFace, find_candidates
from xfv_demo.faces.detection import Detector, MtcnnDetector
from xfv_demo.faces.images import PhotoSource, photo_name
from xfv_demo.faces.quality import NOBODY_REVISION, Caution, cautions, pictures_of_nobody
from xfv_demo.metrics.decision import check_threshold, is_same
from xfv_demo.models.base import Embedder
from xfv_demo.models.compiled import CompiledEmbedder
from xfv_demo.models.registry import BUNDLED_MODELS, FETCHABLE
from xfv_demo.models.similarity import cosine_distance, directed_embeddings, unit_embeddings
from xfv_demo.runtime.files import write_whole
from xfv_demo.runtime.paths import cache_folder
from xfv_demo.types import AlignedFace, Verification

LIKE_NOBODY = Caution("to the model much like a picture without a face", withholds=True)

# Stands in where there is no calibration: the best threshold of the bundled mobilefacenet on LFW View 2.
PROVISIONAL_THRESHOLD = 0.601


class Verifier:
    """Says whether two photos show the same person.

    Args:
        embedder: The model. Its `name` and `notice` are reported, where it has them.
        calibration: Gives the threshold and the confidence. Without one the decision is taken at a
            provisional threshold, there is no confidence, and a notice says so.
        detector: What finds the faces; MTCNN where None. Its `notice` is reported, where it has one.
        uncalibrated: Why there is no calibration and how to make one, for that notice.
        threshold: A distance in (0, 2] to decide by in place of the calibration's. The confidence is then the
            calibration's probability that the decision is right, and may be under 0.5.

    Raises:
        XfvError: The threshold is out of its range.

    Example:
        >>> from xfv_demo import Verifier, load_embedder
        >>> verifier = Verifier.calibrated(load_embedder("mobilefacenet"))
        >>> verification = verifier.verify("assets/examples/obama.jpg", "assets/examples/obama2.jpg")
        >>> verification.same_person, verification.distance < verification.threshold
        (True, True)
        >>> verification.confidence > 0.9
        True
    """

    def __init__(
        self,
        embedder: Embedder,
        calibration: Calibration | None = None,
        *,
        detector: Detector | None = None,
        uncalibrated: str | None = None,
        threshold: float | None = None,
    ) -> None:
        self.threshold = check_threshold(threshold)
        self.embedder = embedder
        self.calibration = calibration
        self.detector = detector or MtcnnDetector()
        self._uncalibrated = uncalibrated

    @classmethod
    def calibrated(
        cls,
        embedder: CompiledEmbedder,
        dataset: str | None = None,
        method: str | None = None,
        *,
        detector: Detector | None = None,
        threshold: float | None = None,
    ) -> Self:
        """A verifier with the model's calibration.

        Args:
            embedder: The model.
            dataset: The labelled set that the calibration was made on. Where None, LFW's is taken if there is
                one made with these very weights; else the verifier has none, and says how to make it.
            method: The calibration's method, a key of `CALIBRATORS`; the default where None.
            detector: What finds the faces; MTCNN where None.
            threshold: A distance in (0, 2] to decide by in place of the calibration's.

        Raises:
            XfvError: The threshold is out of its range.
            CalibrationError: What was asked for by name is not there or was made with other weights, or a
                calibration's file is broken.
        """
        asked = dataset is not None or method is not None
        try:
            calibration = load_calibration(embedder.name, dataset or "lfw", method)
        except NoCalibrationError as error:
            if asked:
                raise
            reason = _with_hint(str(error), embedder)
            return cls(embedder, detector=detector, uncalibrated=reason, threshold=threshold)
        if calibration.model_sha256 not in (embedder.sha256, None):
            reason = _with_hint(_of_other_weights(embedder.name, calibration), embedder)
            if asked:
                raise NoCalibrationError(reason)
            return cls(embedder, detector=detector, uncalibrated=reason, threshold=threshold)
        return cls(embedder, calibration, detector=detector, threshold=threshold)

    def verify(
        self,
        probe: PhotoSource,
        reference: PhotoSource,
        *,
        probe_face: WhichFace = 0,
        reference_face: WhichFace = 0,
        aligned: bool = False,
    ) -> Verification:
        """Compares a face of one photo with a face of another.

        Args:
            probe: The first photo: a path, the file's bytes, a PIL image or an array.
            reference: The second photo.
            probe_face: Which of the first photo's faces; 0 is the largest, "best" the one that is most like a
                face of the other photo, for photos of groups.
            reference_face: Which of the second photo's faces, likewise.
            aligned: Whether the photos are aligned faces of 112 x 112 pixels already. No face is looked for
                then, so nothing tells whether they show one; a notice says so.

        Returns:
            Distance, decision, confidence and both aligned faces.

        Raises:
            ImageError: A photo cannot be read, or is said to be aligned and has another size.
            FaceNotFoundError: A photo shows no face, or not as many as asked for.
        """
        return self.compare_most_alike(
            self.find_candidates(probe, probe_face, name=photo_name(probe, "probe"), aligned=aligned),
            self.find_candidates(
                reference, reference_face, name=photo_name(reference, "reference"), aligned=aligned
            ),
        )

    def find_candidates(
        self, source: PhotoSource, which: WhichFace = 0, *, name: str, aligned: bool = False
    ) -> tuple[AlignedFace, ...]:
        """The faces of a photo that come into question, by this verifier's detector.

        As `xfv_demo.faces.candidates.find_candidates`, with the same errors.
        """
        return find_candidates(self.detector, source, which, name=name, aligned=aligned)

    def compare_most_alike(
        self, probes: Sequence[AlignedFace], references: Sequence[AlignedFace]
    ) -> Verification:
        """Compares those two faces, one of each photo, whose embeddings are closest.

        Among many pairs even strangers come close: with n pairs to choose from, the chosen one is a false
        match about n times as often as a pair that nobody chose. So where the decision is "same", the odds
        behind the confidence are divided by n (`Calibration.probability_of_closest`), which can carry it
        below 0.5. Where it is "different", the confidence is that of one pair, which the choice can only have
        brought closer. `Verification.pairs_compared` is n, and a notice says what was done.

        Args:
            probes: The faces of the first photo that come into question, at least one. All faces are
                embedded in one batch.
            references: Those of the second photo.

        Returns:
            What `compare` says of the chosen faces.
        """
        pairs = len(probes) * len(references)
        if pairs == 1:
            return self.compare(probes[0], references[0])
        faces = (*probes, *references)
        embeddings = unit_embeddings(
            self.embedder.embed(np.stack([face.aligned for face in faces])), len(faces)
        )
        ours, theirs = np.split(embeddings, [len(probes)])
        distances = cosine_distance(ours[:, np.newaxis], theirs)
        row, column = divmod(int(distances.argmin()), len(references))
        chosen = np.stack([ours[row], theirs[column]])
        return self._verification(probes[row], references[column], chosen, pairs)

    def compare(self, probe: AlignedFace, reference: AlignedFace, *, pairs_compared: int = 1) -> Verification:
        """Compares two aligned faces.

        Args:
            probe: The first face.
            reference: The second face.
            pairs_compared: Of how many pairs of faces these two were chosen for being the most alike; see
                `compare_most_alike`.

        Returns:
            Distance, decision and confidence; the faces in it have their embeddings.
        """
        # An embedding that a face has already may be another model's.
        embeddings = self.embedder.embed(np.stack([probe.aligned, reference.aligned]))
        return self._verification(probe, reference, embeddings, pairs_compared)

    def _verification(
        self, probe: AlignedFace, reference: AlignedFace, given: object, pairs_compared: int
    ) -> Verification:
        """The verdict by what the embedder gave for the two faces."""
        embeddings = directed_embeddings(given, 2)
        probe, reference = (
            replace(face, embedding=embedding.astype(np.float32))
            for face, embedding in zip((probe, reference), embeddings, strict=True)
        )
        distance = float(cosine_distance(embeddings[0], embeddings[1]))
        calibration = self.calibration
        sizes = (probe.face.eye_distance, reference.face.eye_distance)
        own_threshold = PROVISIONAL_THRESHOLD if calibration is None else calibration.threshold_at(sizes)
        distance_threshold = float(own_threshold if self.threshold is None else self.threshold)
        same_person = is_same(distance, distance_threshold)
        doubts = self._doubts((probe, reference), embeddings)
        withheld = " and ".join(doubt.words for doubt in doubts if doubt.withholds) or None
        told = tuple(self._doubt_in_words(doubt) for doubt in doubts)
        probability = None if withheld else self._probability(distance, sizes, same_person, pairs_compared)
        confidence = self._confidence(probability, same_person, pairs_compared)
        bounds = None if calibration is None else calibration.probability_bounds(sizes)
        return Verification(
            model=self._model_name,
            calibration=None if calibration is None else calibration.dataset,
            confidence_method=None if calibration is None else calibration.method,
            distance=distance,
            threshold=distance_threshold,
            same_person=same_person,
            confidence=confidence,
            probe=probe,
            reference=reference,
            notices=(
                *self._notices(probe, reference),
                *told,
                *self._notices_of_choices(probe, reference, confidence, pairs_compared, float(own_threshold)),
            ),
            cautions=told,
            confidence_withheld=None if calibration is None else withheld,
            own_threshold=self.threshold is not None,
            pairs_compared=pairs_compared,
            largest_confidence=None if bounds is None else bounds.high if same_person else 1 - bounds.low,
            log10_likelihood_ratio=None if probability is None else _log10_odds(probability),
            log10_bounds=None if bounds is None else (_log10_odds(bounds.low), _log10_odds(bounds.high)),
        )

    def _doubts(
        self, faces: tuple[AlignedFace, AlignedFace], embeddings: NDArray[np.float64]
    ) -> list[Caution]:
        """Why a verdict on these faces deserves less trust than the calibration promises.

        Returns:
            One for each face of which that is so, in words that name it.
        """
        doubts = []
        sizes = self.calibration.sizes if self.calibration else None
        places = (" (first photo)", " (second photo)") if faces[0].name == faces[1].name else ("", "")
        for face, embedding, place in zip(faces, embeddings, places, strict=True):
            reasons = list(cautions(face, sizes.smallest if sizes else None))
            if self._looks_like_nobody(embedding):
                reasons.append(LIKE_NOBODY)
            # What withholds the confidence is named first, and alone.
            withheld = [one for one in reasons if one.withholds]
            if told := withheld or reasons:
                words = " and ".join(one.words for one in told)
                counted = all(one.counted for one in told)
                doubts.append(
                    Caution(f'the face in "{face.name}"{place} is {words}', bool(withheld), counted)
                )
        return doubts

    def _doubt_in_words(self, doubt: Caution) -> str:
        if doubt.withholds and self.calibration is not None:
            return f"no confidence is given, for {doubt.words}; the calibration was made on better photos"
        if doubt.counted:
            return f"{doubt.words}: the calibration counts that in; error rates were measured on larger faces"
        return f"{doubt.words}; error rates and confidence were measured on better photos"

    def _looks_like_nobody(self, embedding: NDArray[np.float64]) -> bool:
        """Whether the model would take a face for the same person as pictures that show none.

        On LFW no face of 469 comes near (0.68 at least, at a threshold of 0.60); of what the detector finds
        in pictures without a face, 99 in 100 do, and so do drawings and faces blurred beyond recognition.
        """
        if self.calibration is None:
            return False
        nobody = centre_of_nobody(self.embedder, len(embedding))
        return is_same(float(cosine_distance(embedding, nobody)), self.calibration.threshold)

    def _probability(
        self, distance: float, sizes: tuple[float, float], same_person: bool, pairs_compared: int
    ) -> float | None:
        """P(same person) at equal priors: what confidence, likelihood ratio and posterior all follow from.

        `compare_most_alike` says how several pairs are counted. No nearer to certainty than the calibration's
        pairs can carry.
        """
        if self.calibration is None:
            return None
        bounds = self.calibration.probability_bounds(sizes)
        counted = pairs_compared if same_person else 1
        probability = self.calibration.probability_of_closest(distance, counted, sizes)
        return min(max(probability, bounds.low), bounds.high)

    def _confidence(self, probability: float | None, same_person: bool, pairs_compared: int) -> float | None:
        """How often such a decision is right; at the calibration's own threshold never under one half."""
        if probability is None:
            return None
        right = probability if same_person else 1 - probability
        chosen = self.threshold is not None or (same_person and pairs_compared > 1)
        return right if chosen else max(right, 0.5)

    def _notices_of_choices(
        self,
        probe: AlignedFace,
        reference: AlignedFace,
        confidence: float | None,
        pairs_compared: int,
        own_threshold: float,
    ) -> list[str]:
        """What sizes and the user's own choices do to threshold and confidence.

        `own_threshold` is the calibration's for faces of these sizes.
        """
        notices = []
        if taken := [f'"{face.name}"' for face in (probe, reference) if not face.detected]:
            notices.append(
                f"no face was looked for: {' and '.join(dict.fromkeys(taken))} counted as aligned, and "
                "whatever such a photo shows is compared as if it were a face"
            )
        if pairs_compared > 1:
            counted = ", which the confidence in a same person counts in" if self.calibration else ""
            notices.append(
                f"chosen as the most alike of {pairs_compared} pairs of faces: a false match is up to "
                f"{pairs_compared} times as likely as with one pair{counted}"
            )
        if self.threshold is not None and self.calibration is not None:
            notices.append(
                f"the threshold {self.threshold:.3f} was given; the calibration's own is {own_threshold:.3f}"
            )
        elif self.calibration is not None and abs(own_threshold - self.calibration.threshold) >= 5e-4:
            notices.append(
                f"the threshold is {own_threshold:.3f} for faces of these sizes; for large ones it is "
                f"{self.calibration.threshold:.3f}"
            )
        if confidence is not None and confidence < 0.5:
            notices.append(
                "a confidence under 50 % means that by the calibration the other decision is the likelier one"
            )
        return notices

    @property
    def _model_name(self) -> str:
        return str(getattr(self.embedder, "name", type(self.embedder).__name__))

    def _notices(self, probe: AlignedFace, reference: AlignedFace) -> list[str]:
        notices = []
        for part in (self.embedder, self.detector):
            if notice := getattr(part, "notice", None):
                notices.append(notice)
        if self.calibration is None:
            by = (
                f"the threshold {PROVISIONAL_THRESHOLD} is provisional (mobilefacenet's best on LFW)"
                if self.threshold is None
                else f"the threshold {self.threshold:.3f} was given"
            )
            notices.append(f'model "{self._model_name}" is not calibrated: no confidence is given, and {by}')
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


def _log10_odds(probability: float) -> float:
    return math.log10(probability / (1 - probability))


# Of the length of a kept centre.
_ROUNDING = 1e-9

# By embedder, as verifiers are made anew for each comparison and models are not.
_centres: "weakref.WeakKeyDictionary[Embedder, NDArray[np.float64]]" = weakref.WeakKeyDictionary()


def centre_of_nobody(embedder: Embedder, dimensions: int) -> NDArray[np.float64]:
    """The centre of the embeddings of `pictures_of_nobody`, (D,) of length 1; kept by model.

    Args:
        embedder: The model.
        dimensions: D, the length of its embeddings.
    """
    with contextlib.suppress(TypeError):  # An embedder that no dictionary can hold is asked each time.
        if (known := _centres.get(embedder)) is not None:
            return known
    fingerprint = getattr(embedder, "fingerprint", None)
    # Kept by model: making the pictures and embedding them takes a tenth of a second, at each start.
    file = fingerprint and cache_folder() / "nobody" / f"{fingerprint}-{NOBODY_REVISION}.npy"
    centre = _read_centre(file, dimensions) if file else None
    if centre is None:
        pictures = pictures_of_nobody()
        mean = unit_embeddings(embedder.embed(pictures), len(pictures)).mean(axis=0)
        centre = np.asarray(mean / max(np.linalg.norm(mean), np.finfo(np.float64).tiny))
        if file:
            content = io.BytesIO()
            np.save(content, centre)
            with contextlib.suppress(XfvError):  # Where nothing can be kept, it is made at each start.
                write_whole(file, content.getvalue())
    with contextlib.suppress(TypeError):
        _centres[embedder] = centre
    return centre


def _read_centre(file: Path, dimensions: int) -> NDArray[np.float64] | None:
    """What was kept of a model; None where nothing was, or where it cannot be what was kept."""
    try:
        centre: NDArray[np.float64] = np.lib.format.read_array(io.BytesIO(file.read_bytes()))
    except (OSError, ValueError):
        return None
    # Another one would switch the caution off, and nobody would be told.
    is_centre = centre.dtype == np.float64 and centre.shape == (dimensions,)
    return centre if is_centre and abs(np.linalg.norm(centre) - 1) < _ROUNDING else None


def _of_other_weights(model: str, calibration: Calibration) -> str:
    return (
        f'the calibration of "{model}" on {calibration.dataset} was made with other weights than are in use'
    )


def _with_hint(reason: str, embedder: CompiledEmbedder) -> str:
    """Why there is no calibration, and the command that makes one for this very model."""
    known = embedder.name in (*BUNDLED_MODELS, *FETCHABLE)
    model = shlex.quote(embedder.name if known else str(embedder.path))
    command = f"python -m xfv_demo prepare --model {model}"
    return f"{reason.partition(';')[0]}; make one with: {command}"
