"""From two photos to a verdict, on real photos and with stand-ins whose answer is known."""

import dataclasses
import io
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.calibration.test_calibrators import lfw_like
from xfv_demo import MtcnnDetector, SavedModelEmbedder, Verifier, align
from xfv_demo.calibration.calibration import Calibration
from xfv_demo.calibration.calibrators import CALIBRATORS
from xfv_demo.calibration.face_sizes import SizeCorrection
from xfv_demo.errors import FaceNotFoundError, ImageError, ModelError
from xfv_demo.faces.alignment import ALIGNED_EYE_DISTANCE, ARCFACE_TEMPLATE
from xfv_demo.findings import Prior
from xfv_demo.metrics.intervals import Interval
from xfv_demo.models.incremental import Box
from xfv_demo.types import Face
from xfv_demo.verification import PROVISIONAL_THRESHOLD

GENUINE = [("obama", "obama2"), ("obama", "obama3"), ("obama2", "obama3")]
IMPOSTOR = [("obama", "biden"), ("obama2", "biden"), ("obama3", "biden")]


@pytest.fixture(scope="module")
def verifier(embedder, detector):
    return Verifier(embedder, detector=detector)


class MeanColour:
    """An embedder that can be worked out on paper: e = (mean red, mean green, mean blue)."""

    def embed(self, images):
        means = images.mean(axis=(1, 2))
        return means / np.linalg.norm(means, axis=1, keepdims=True)


class TemplateFaces:
    """Finds as many faces as told, each on the template, the first the largest."""

    def __init__(self, count):
        self.count = count

    def detect(self, photo):
        return [
            Face(np.array([0, 0, 100 - i, 100], np.float32), ARCFACE_TEMPLATE, 0.99)
            for i in range(self.count)
        ]


def plain(colour):
    return np.full((112, 112, 3), colour, np.uint8)


@pytest.mark.parametrize(("probe", "reference"), GENUINE)
def test_same_person(verifier, examples, probe, reference):
    verification = verifier.verify(examples / f"{probe}.jpg", examples / f"{reference}.jpg")
    assert verification.same_person
    assert verification.distance < 0.45


@pytest.mark.parametrize(("probe", "reference"), IMPOSTOR)
def test_different_people(verifier, examples, probe, reference):
    verification = verifier.verify(examples / f"{probe}.jpg", examples / f"{reference}.jpg")
    assert not verification.same_person
    assert verification.distance > 0.75


def test_a_turned_photo_changes_little(verifier, photos):
    upright = verifier.verify(photos["obama"], photos["obama2"])
    turned = verifier.verify(np.rot90(photos["obama"], 2), photos["obama2"])
    assert turned.probe.face.rotation == 180
    assert turned.distance == pytest.approx(upright.distance, abs=0.05)
    assert any("180 degrees clockwise" in notice for notice in turned.notices)


def test_every_kind_of_source_gives_the_same(verifier, examples):
    path = examples / "obama.jpg"
    with Image.open(path) as image:
        sources = [str(path), path, path.read_bytes(), image, np.asarray(image)]
        distances = {round(verifier.verify(source, path).distance, 6) for source in sources}
    assert distances == {0.0}


def test_names_of_photos(verifier, examples):
    path = examples / "obama.jpg"
    assert verifier.verify(path, path.read_bytes()).probe.name == "obama.jpg"
    assert verifier.verify(path, path.read_bytes()).reference.name == "reference"


@pytest.mark.parametrize(
    ("first", "second", "distance", "same"),
    [
        ((255, 0, 0), (100, 0, 0), 0.0, True),
        ((255, 0, 0), (0, 0, 255), 1.0, False),
        ((30, 40, 0), (40, 30, 0), 0.04, True),
    ],
)
def test_distance_on_paper(first, second, distance, same):
    verifier = Verifier(MeanColour(), detector=TemplateFaces(1))
    verification = verifier.verify(plain(first), plain(second))
    # The crop's last row and column are blended with the black outside by a rounding error's worth.
    assert verification.distance == pytest.approx(distance, abs=1e-3)
    assert verification.same_person is same
    assert verification.model == "MeanColour"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.full((2, 8), np.nan, np.float32), "not finite"),
        (np.full((2, 8), np.inf), "not finite"),
        (np.zeros((2, 8)), "no direction"),
        (np.ones((1, 8)), "(1, 8) for 2 faces"),
        (np.ones((2, 1, 1, 8)), "(2, 1, 1, 8) for 2 faces"),
        ("embedding", "no array of numbers"),
    ],
)
def test_an_own_embedder_that_gives_no_embedding_is_told_so(given, words):
    class Own:
        def embed(self, images):
            return given

    with pytest.raises(ModelError) as caught:
        Verifier(Own(), detector=TemplateFaces(1)).verify(plain(200), plain(100))
    assert words in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", [list, np.float64, np.float16, lambda values: 1e30 * values])
def test_an_own_embedder_may_give_any_numbers(kind):
    class Own:
        def embed(self, images):
            means = images.mean(axis=(1, 2))
            return means.tolist() if kind is list else kind(means)

    verification = Verifier(Own(), detector=TemplateFaces(1)).verify(plain((30, 40, 0)), plain((40, 30, 0)))
    assert verification.distance == pytest.approx(0.04, abs=1e-3)


def test_a_pickled_verifier_gives_the_same(verifier, examples):
    again = pickle.loads(pickle.dumps(verifier))
    paths = examples / "obama.jpg", examples / "obama2.jpg"
    assert again.verify(*paths).distance == pytest.approx(verifier.verify(*paths).distance, abs=1e-6)


def test_the_threshold_itself_is_not_the_same_person():
    """A pair is the same person where the distance is below the threshold, not at it."""

    class AtTheThreshold:
        threshold = 1.0
        dataset = "paper"
        model_sha256 = None
        method = "paper"
        sizes = None

        def probability_bounds(self, sizes):
            return Interval(0.001, 0.999)

        def threshold_at(self, sizes):
            return self.threshold

        def probability_of_closest(self, distance, pairs, sizes):
            return 0.5

    verifier = Verifier(MeanColour(), AtTheThreshold(), detector=TemplateFaces(1))
    assert not verifier.verify(plain((255, 0, 0)), plain((0, 255, 0))).same_person


def test_a_face_can_be_chosen():
    verifier = Verifier(MeanColour(), detector=TemplateFaces(3))
    verification = verifier.verify(plain(9), plain(9), probe_face=2)
    assert verification.probe.face_index == 2
    assert verification.reference.face_index == 0
    assert len(verification.probe.faces) == 3


@pytest.mark.parametrize("index", [3, -1, 100])
def test_a_face_that_is_not_there(index):
    verifier = Verifier(MeanColour(), detector=TemplateFaces(3))
    with pytest.raises(FaceNotFoundError, match=r'"reference" shows 3 faces, numbers 0 to 2'):
        verifier.verify(plain(9), plain(9), reference_face=index)


def test_no_face_names_the_photo(verifier, examples):
    with pytest.raises(FaceNotFoundError, match='"probe" shows no face') as refusal:
        verifier.verify(plain(128), examples / "obama.jpg")
    assert "\n" not in str(refusal.value)


def test_a_bad_photo_names_the_photo(verifier, examples, tmp_path):
    bad = tmp_path / "holiday.jpg"
    bad.write_bytes(b"not a photo at all")
    with pytest.raises(ImageError, match=r"holiday\.jpg"):
        verifier.verify(examples / "obama.jpg", bad)


def test_without_calibration_there_is_no_confidence(verifier, examples):
    verification = verifier.verify(examples / "obama.jpg", examples / "obama2.jpg")
    assert verification.confidence is None
    assert verification.calibration is None
    assert verification.threshold == PROVISIONAL_THRESHOLD
    assert any("not calibrated" in notice for notice in verification.notices)


@pytest.mark.parametrize("method", CALIBRATORS)
@pytest.mark.parametrize(("pairs", "shown"), [(20, "86.0"), (300, "99.0"), (3000, "99.9")])
def test_no_confidence_is_stated_beyond_what_the_pairs_carry(monkeypatch, method, pairs, shown):
    """Two classes far apart, of which any fit is as good as certain; both decisions."""
    # Of photos of one colour the confidence would be withheld.
    monkeypatch.setattr(Verifier, "_doubts", lambda *_: [])
    distances = np.r_[np.linspace(0.05, 0.2, pairs), np.linspace(0.9, 1.0, pairs)]
    calibration = Calibration.fit(distances, np.repeat([True, False], pairs), method=method)
    verifier = Verifier(MeanColour(), calibration, detector=TemplateFaces(1))
    for reference in ((255, 0, 0), (0, 255, 0)):
        verification = verifier.verify(plain((255, 0, 0)), plain(reference))
        assert verification.confidence <= 0.05 ** (1 / pairs)
        assert verification.to_dict()["confidence"] <= 0.05 ** (1 / pairs)
        percent = verification.shown_confidence.removeprefix("over ").removesuffix(" %")
        assert float(percent) <= float(shown)
        if calibration.confidence(verification.distance) > calibration.largest_confidence:
            assert verification.shown_confidence == f"over {shown} %"


@pytest.mark.parametrize(
    ("confidence", "largest", "shown"),
    [
        (0.9726, None, "97.3 %"),
        (0.99967, None, "over 99.9 %"),
        (0.99967, 0.999001, "over 99.9 %"),
        # More pairs carry more, but three digits are all that is shown.
        (0.99996, 0.99999, "over 99.9 %"),
        (0.990064, 0.990064, "over 99.0 %"),
        (0.9899, 0.990064, "99.0 %"),
        (0.9726, 0.990064, "97.3 %"),
        # Not 86.1 %, which would be more than they carry.
        (0.86088, 0.86089, "over 86.0 %"),
        (0.5, 0.5, "50.0 %"),
        (None, None, None),
    ],
)
def test_confidence_in_words(confidence, largest, shown):
    verification = Verifier(MeanColour(), detector=TemplateFaces(1)).verify(plain(1), plain(2))
    stated = dataclasses.replace(verification, confidence=confidence, largest_confidence=largest)
    assert stated.shown_confidence == shown


def test_an_embedders_notice_is_handed_on():
    embedder = MeanColour()
    embedder.name, embedder.notice = "colour", "this is only a mean"
    verification = Verifier(embedder, detector=TemplateFaces(1)).verify(plain(1), plain(2))
    assert verification.model == "colour"
    assert verification.notices[0] == "this is only a mean"


def test_to_dict_is_plain(verifier, examples):
    import json

    document = verifier.verify(examples / "obama.jpg", examples / "biden.jpg").to_dict()
    assert json.loads(json.dumps(document)) == document
    assert document["probe"]["name"] == "obama.jpg"
    assert document["reference"]["faces_found"] == 1
    assert np.array(document["probe"]["landmarks"]).shape == (5, 2)


def test_a_lossy_copy_is_the_same_person(verifier, photos):
    """Resized and compressed as messengers do."""
    small = Image.fromarray(photos["obama2"]).resize((313, 600))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=40)
    assert verifier.verify(photos["obama2"], buffer.getvalue()).distance < 0.2


class AtOneTenth:
    """A calibration that is sure of all."""

    threshold = 0.1
    dataset = "paper"
    model_sha256 = None
    method = "paper"
    sizes = None

    def probability_bounds(self, sizes):
        return Interval(0.001, 0.999)

    def threshold_at(self, sizes):
        return self.threshold

    def probability_of_closest(self, distance, pairs, sizes):
        return 0.999 if distance < self.threshold else 0.001


def textured(tint, blur=1.0):
    """A photo on the template with detail in it, whose mean colour is `tint`."""
    noise = cv2.GaussianBlur(np.random.default_rng(0).standard_normal((112, 112)), (0, 0), blur)
    noise = 40 * noise / noise.std()
    return np.clip(np.array(tint) + noise[..., None], 0, 255).astype(np.uint8)


class SmallFaces:
    """Finds a face whose eyes are so many pixels apart, on a face of the template shrunk to that."""

    def __init__(self, *apart):
        self.apart = list(apart)

    def detect(self, photo):
        share = self.apart.pop(0) / ALIGNED_EYE_DISTANCE
        landmarks = (ARCFACE_TEMPLATE * share).astype(np.float32)
        return [Face(np.array([0, 0, 100, 100], np.float32) * np.float32(share), landmarks, 0.99)]


def shrunken(tint, apart):
    side = round(112 * apart / ALIGNED_EYE_DISTANCE)
    face = cv2.resize(textured(tint), (side, side), interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(face, 0, 99, 0, 99, cv2.BORDER_REPLICATE)


def verify_small(first, second, **settings):
    """Two faces of such sizes, by a calibration that counts sizes in, from 6 pixels up."""
    correction = SizeCorrection(ALIGNED_EYE_DISTANCE, 6.0, (0.0, 0.0, 2.0), (0.0, 0.0, 1.0), 500)
    fitted = Calibration.fit(*lfw_like(), method="beta")
    # The threshold is low, as the mean colours of these are not far from that of pictures of nobody.
    fitted = dataclasses.replace(fitted, sizes=correction, threshold=0.1)
    verifier = Verifier(MeanColour(), fitted, detector=SmallFaces(first, second), **settings)
    photos = shrunken((180, 60, 60), first), shrunken((60, 60, 180), second)
    return verifier.verify(*photos), fitted


def test_a_small_face_moves_threshold_and_confidence_and_that_is_said():
    verification, fitted = verify_small(36, 12)
    sizes = verification.probe.face.eye_distance, verification.reference.face.eye_distance
    assert sizes == pytest.approx((36, 12), rel=1e-5)
    assert verification.threshold == fitted.threshold_at(sizes) > fitted.threshold
    assert verification.confidence == min(
        fitted.confidence(verification.distance, sizes), fitted.largest_confidence
    )
    assert verification.largest_confidence == fitted.probability_bounds(sizes).high
    assert verification.confidence <= verification.largest_confidence < fitted.largest_confidence
    assert verification.confidence_method == "beta-size"
    (caution,) = verification.cautions
    assert caution.startswith('the face in "reference" is small (12 pixels between the eyes;')
    assert "the calibration counts that in" in caution
    assert (
        f"the threshold is {verification.threshold:.3f} for faces of these sizes; for large ones it is "
        f"{fitted.threshold:.3f}" in verification.notices
    )
    assert verification.to_dict()["threshold"] == pytest.approx(verification.threshold, abs=1e-6)


def test_large_faces_are_decided_as_without_sizes():
    verification, fitted = verify_small(36, 36)
    assert verification.threshold == fitted.threshold
    assert not verification.cautions
    assert not any("of these sizes" in notice for notice in verification.notices)


def test_below_the_smallest_size_there_is_no_confidence():
    verification, _ = verify_small(36, 5)
    assert verification.confidence is None
    assert verification.confidence_withheld == (
        'the face in "reference" is off the calibrated range (5.0 pixels between the eyes; the calibration '
        "was made down to 6.0)"
    )


def test_a_threshold_of_ones_own_goes_before_that_of_the_sizes():
    verification, fitted = verify_small(36, 12, threshold=0.3)
    assert verification.threshold == 0.3
    sizes = verification.probe.face.eye_distance, verification.reference.face.eye_distance
    own = f"the calibration's own is {fitted.threshold_at(sizes):.3f}"
    assert any(notice.endswith(own) for notice in verification.notices)
    assert not any("of these sizes" in notice for notice in verification.notices)


@pytest.fixture
def sure():
    return Verifier(MeanColour(), AtOneTenth(), detector=TemplateFaces(1))


def test_a_good_pair_gets_its_confidence(sure):
    verification = sure.verify(textured((180, 60, 60)), textured((60, 60, 180)))
    assert verification.confidence == 0.999
    assert verification.cautions == ()
    assert verification.confidence_withheld is None


def test_confidence_ratio_and_posterior_are_of_one_probability(sure):
    for reference, odds in (((180, 70, 60), 999.0), ((60, 60, 180), 1 / 999)):
        verification = sure.verify(textured((180, 60, 60)), textured(reference))
        assert verification.log10_likelihood_ratio == pytest.approx(np.log10(odds))
        even, rare = (
            dataclasses.replace(verification, prior=Prior.parse(prior)) for prior in ("1:1", "1:1000")
        )
        chance = even.posterior if verification.same_person else 1 - even.posterior
        assert chance == pytest.approx(verification.confidence)
        assert rare.posterior == pytest.approx(odds / (odds + 1000))
        document = rare.to_dict()
        assert (document["prior"], document["posterior"]) == ("1:1000", pytest.approx(rare.posterior, 1e-5))
        assert document["log10_likelihood_ratio"] == pytest.approx(np.log10(odds), abs=1e-4)
        assert "the most that the calibration's pairs carry" in verification.findings


def test_of_several_pairs_the_ratio_is_divided_as_the_confidence_is():
    calibration = AtOneTenth()
    calibration.probability_of_closest = lambda distance, pairs, sizes: 99 / (99 + pairs)
    verifier = Verifier(MeanColour(), calibration, detector=TemplateFaces(3))
    verification = verifier.verify(
        textured((180, 60, 60)), textured((180, 60, 60)), probe_face="best", reference_face="best"
    )
    assert verification.pairs_compared == 9
    assert verification.log10_likelihood_ratio == pytest.approx(np.log10(11))
    assert verification.confidence == pytest.approx(11 / 12)
    assert "11 times as likely of one person as of two" in verification.findings
    assert "pairs carry" not in verification.findings


def test_a_blurred_face_gets_none_and_the_reason_everywhere(sure):
    verification = sure.verify(textured((180, 60, 60)), textured((180, 60, 60), blur=8))
    assert verification.same_person
    assert verification.confidence is None
    assert verification.confidence_withheld == 'the face in "reference" is blurred'
    asked = dataclasses.replace(verification, prior=Prior.parse("1:1"))
    assert (asked.log10_likelihood_ratio, asked.posterior, asked.findings) == (None, None, None)
    (caution,) = verification.cautions
    assert caution.startswith('no confidence is given, for the face in "reference" is blurred')
    assert caution in verification.notices
    document = verification.to_dict()
    assert document["confidence"] is None
    assert document["confidence_withheld"] == verification.confidence_withheld
    assert caution in document["notices"]


def test_photos_of_one_name_are_told_apart(sure, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    Image.fromarray(textured((180, 60, 60), blur=8)).save(tmp_path / "one" / "me.png")
    Image.fromarray(textured((180, 60, 60))).save(tmp_path / "two" / "me.png")
    verification = sure.verify(tmp_path / "one" / "me.png", tmp_path / "two" / "me.png")
    assert verification.confidence_withheld == 'the face in "me.png" (first photo) is blurred'


def test_what_the_model_takes_for_nobody_gets_no_confidence(sure):
    """The mean colour of noise is grey, and so is that of the first photo."""
    verification = sure.verify(textured((120, 120, 120)), textured((180, 60, 60)))
    assert verification.confidence is None
    assert verification.confidence_withheld == (
        'the face in "probe" is to the model much like a picture without a face'
    )


class KnownColour(MeanColour):
    """Of weights that can be known again; says how many images it was given."""

    fingerprint = "mean colours"

    def __init__(self):
        self.images = 0

    def embed(self, images):
        self.images += len(images)
        return super().embed(images)


def as_file(numbers):
    content = io.BytesIO()
    np.save(content, np.array(numbers, np.float64))
    return content.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        None,
        b"",
        b"\x93NUMPY nothing",
        b"PK\x03\x04",
        as_file([0, 0, 0]),
        as_file([np.nan, 0, 1]),
        as_file([1, 0]),
        as_file([[1, 0, 0]]),
    ],
)
def test_what_it_makes_of_nobody_is_kept_by_model(sure, monkeypatch, tmp_path, damage):
    monkeypatch.setenv("XFV_CACHE", str(tmp_path))
    expected = sure.verify(textured((120, 120, 120)), textured((180, 60, 60))).to_dict()
    counts = []
    for _ in range(2):
        embedder = KnownColour()
        verifier = Verifier(embedder, sure.calibration, detector=TemplateFaces(1))
        found = verifier.verify(textured((120, 120, 120)), textured((180, 60, 60))).to_dict()
        assert found == {**expected, "model": "KnownColour"}
        counts.append(embedder.images)
        (kept,) = (tmp_path / "nobody").iterdir()
        if damage is not None:
            kept.write_bytes(damage)
    assert counts == ([32, 2] if damage is None else [32, 32])


def test_where_nothing_can_be_kept_the_verdict_is_the_same(sure, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XFV_CACHE", str(tmp_path / "file"))
    verifier = Verifier(KnownColour(), sure.calibration, detector=TemplateFaces(1))
    assert verifier.verify(textured((120, 120, 120)), textured((180, 60, 60))).confidence is None


def test_without_a_calibration_nothing_is_withheld_but_the_caution_stays():
    verifier = Verifier(MeanColour(), detector=TemplateFaces(1))
    verification = verifier.verify(textured((180, 60, 60), blur=8), textured((60, 60, 180)))
    assert verification.confidence_withheld is None
    assert any('the face in "probe" is blurred' in caution for caution in verification.cautions)


@pytest.mark.slow
def test_eight_threads_get_what_one_gets(photos, embedder, detector):
    """Verdicts, grids, gradients and followed patches at once, of a model that all find not yet loaded."""
    names = ["obama", "obama2", "obama3", "biden"]
    pairs = [(a, b) for a in names for b in names]
    faces = {name: align(photos[name], detector.detect(photos[name])[0].landmarks) for name in names}

    def asked(verifier, pair):
        model, first = verifier.embedder, faces[pair[0]][None]
        hidden = first.copy()
        hidden[:, 30:40, 30:40] = 0
        weights = np.ones((1, 1, model.dimensions), np.float32)
        return (
            verifier.verify(*(photos[name] for name in pair)).distance,
            model.feature_grid(first),
            model.embedding_gradients(first, weights),
            model.patched(first[0])(hidden, [Box(30, 30, 40, 40)]),
        )

    alone = [asked(Verifier(embedder, detector=detector), pair) for pair in pairs]
    shared = Verifier(SavedModelEmbedder(embedder.path), detector=MtcnnDetector())
    barrier = threading.Barrier(8)

    def start_together(numbers):
        barrier.wait(60)
        return {number: asked(shared, pairs[number]) for number in numbers}

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(start_together, (range(start, len(pairs), 8) for start in range(8))))
    given = {number: result for part in done for number, result in part.items()}
    for number, expected in enumerate(alone):
        for ours, theirs in zip(given[number], expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


FORKS = """
import os, sys
from xfv_demo import Verifier, load_embedder, MtcnnDetector
from xfv_demo.errors import XfvError

def verify():
    return Verifier.calibrated(load_embedder("mobilefacenet")).verify(*sys.argv[1:]).distance

def forked(use):
    child = os.fork()
    if not child:
        try:
            print("child", use(), flush=True)
        except XfvError as error:
            print("refused", error, flush=True)
        os._exit(0)
    os.waitpid(child, 0)

forked(verify)
used = Verifier.calibrated(load_embedder("mobilefacenet"))
print("parent", used.verify(*sys.argv[1:]).distance, flush=True)
forked(lambda: used.verify(*sys.argv[1:]).distance)
forked(verify)
"""


@pytest.mark.slow
def test_a_fork_before_the_first_use_works_and_one_after_it_says_so(run_python, examples):
    done = run_python("-c", FORKS, examples / "obama.jpg", examples / "obama2.jpg")
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert [kind for kind, _ in lines] == ["child", "parent", "refused", "refused"], done.stderr
    assert lines[0][1] == lines[1][1]
    assert all("forked" in told and "spawn" in told for _, told in lines[2:])
