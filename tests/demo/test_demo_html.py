"""The page's words and pictures, and what it keeps of a visitor, without a browser."""

import copy
import html
import html.parser
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("gradio")

import gradio as gr

from demo import shared_html
from demo.compare import faces_html, maps_html, verdict_html
from demo.compare.display import Display
from demo.compare.export import command_line, write_zip
from demo.compare.handlers import Handlers
from demo.compare.layout import Components
from demo.compare.session import ComparisonRequest, DisplayOptions, FoundFaces, Session
from demo.compare.settings import choice_of, occlusion_settings
from demo.model_service import ModelConfig, VerificationService, find_faces
from demo.privacy import Deletion, banner_html
from demo.server.photo_input import UploadedPhoto
from xfv_demo import EXPLAINERS, Verifier, XfvError
from xfv_demo.calibration.calibration import Calibration
from xfv_demo.errors import ModelError
from xfv_demo.explainers.explanation import MapPair, View
from xfv_demo.findings import Prior
from xfv_demo.pipeline import stream_explanations
from xfv_demo.types import AlignedFace, Face, Verification

ROOT = Path(__file__).resolve().parents[2]

VOID = {"img", "input", "br"}


class Balanced(html.parser.HTMLParser):
    """Reads HTML and refuses tags that do not close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))


def said(text):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def one_face(name="a.jpg", landmarks=None, aligned=None):
    from xfv_demo.faces.alignment import ARCFACE_TEMPLATE

    face = Face(
        np.array([0, 0, 100, 100], np.float32), 3 * ARCFACE_TEMPLATE if landmarks is None else landmarks, 1.0
    )
    if aligned is None:
        aligned = np.random.default_rng(0).random((112, 112, 3), np.float32)
    return AlignedFace(name, aligned, face, (face,), (400, 400))


@pytest.fixture(scope="module")
def calibration():
    # 50 of each class; at 0.6 two real pairs fail and no stranger passes.
    genuine = np.concatenate([np.linspace(0.1, 0.5, 48), [0.7, 0.9]])
    impostor = np.linspace(0.8, 1.3, 50)
    return Calibration.fit(np.r_[genuine, impostor], np.r_[np.ones(50), np.zeros(50)], dataset="lfw")


def verdict_of(distance, confidence=0.973, threshold=0.6, **fields):
    return Verification(
        "model", "lfw", "beta", distance, threshold, distance < threshold, confidence,
        one_face(), one_face("b.jpg"), **fields,
    )  # fmt: skip


def test_a_verdict_in_words(calibration):
    text = verdict_html.verdict_html(verdict_of(0.43), calibration)
    assert [tag for tag, given in Balanced(text).tags if given.get("aria-live") == "polite"] == ["section"]
    words = said(text)
    assert "Same person 97.3 % confident" in words
    assert "Distance 0.430 , below the threshold, 0.600" in words
    assert "fewer than 1 in 17 strangers pass (95 % : none of 50 did)" in words.replace("%:", "% :")
    assert "; 1 in 25 real pairs fail (95 %: 1 in 7 to 91)." in words
    assert "proof" not in words
    assert "identified" not in words


def test_situations_give_the_posterior_and_say_what_they_assume(calibration):
    """All stand there beforehand, so that picking one asks for nothing."""
    carried = verdict_of(0.43, log10_likelihood_ratio=2.0, log10_bounds=(-3.0, 3.0))
    text = verdict_html.verdict_html(carried, calibration)
    words = said(text)
    assert "The findings support moderately that the photos show one person rather than two" in words
    # 100 times 1, 99, 1/5 and 1/999,999.
    for chance in ("99.0 %", "over 99.9 %", "95.2 %", "1 in 10,000"):
        assert f"{chance} that the photos show one person. This assumes that" in words
    assert "each of them as likely as any other: odds of 1 to 999,999 beforehand" in words
    picked = [given for tag, given in Balanced(text).tags if tag == "input" and "checked" in given]
    assert [one["value"] for one in picked] == ["1:1"]
    assert [Prior.parse(str(prior)) for _, prior, _ in verdict_html.SITUATIONS] == [
        prior for _, prior, _ in verdict_html.SITUATIONS
    ]
    assert "identified" not in words
    assert "proof" not in words


def test_without_a_ratio_there_are_no_situations(calibration):
    assert "This assumes" not in verdict_html.verdict_html(verdict_of(0.43), calibration)


def test_a_confidence_is_never_whole(calibration):
    words = said(verdict_html.verdict_html(verdict_of(0.01, confidence=1.0), calibration))
    assert "over 99.9 % confident" in words
    assert "100 %" not in words
    few = verdict_of(0.01, confidence=1.0, largest_confidence=calibration.largest_confidence)
    # 50 pairs of each class: 0.05 ** (1 / 50) is 94.18 %.
    assert "over 94.1 % confident" in said(verdict_html.verdict_html(few, calibration))


def test_a_moved_threshold_decides_anew_and_states_no_confidence(calibration):
    words = said(verdict_html.verdict_html(verdict_of(0.43), calibration, 0.3))
    assert "Different people" in words
    assert "97.3" not in words
    assert "confidence is stated at 0.600 only" in words
    assert "0.300" in words
    assert "real pairs fail" in words


def test_the_verdicts_own_threshold_is_not_a_moved_one(calibration):
    own = verdict_html.verdict_html(verdict_of(0.43), calibration)
    assert verdict_html.verdict_html(verdict_of(0.43), calibration, 0.6) == own


def test_without_a_calibration_there_is_no_confidence():
    text = verdict_html.verdict_html(verdict_of(0.43, confidence=None, notices=("not <calibrated>",)), None)
    assert "not calibrated" in said(text)
    assert "% confident" not in text
    assert "Not &lt;calibrated&gt;." in text


def counted(genuine, impostor):
    """What the words ask of a calibration, of these distances, however few."""
    return SimpleNamespace(
        dataset="lfw",
        genuine_pairs=len(genuine),
        impostor_pairs=len(impostor),
        error_rates_at=lambda threshold: SimpleNamespace(
            fmr=np.mean(np.less(impostor, threshold)), fnmr=np.mean(np.greater_equal(genuine, threshold))
        ),
    )


def rates_of(genuine, impostor, threshold):
    return said(verdict_html.rates_in_words(counted(genuine, impostor), threshold)).partition(": ")[2]


def test_no_error_is_told_by_the_bound_that_the_pairs_carry():
    """By hand: 1 - 0.05 ** (1 / 3000) is 0.0998 %, 1 in 1,002; 1 - 0.05 ** (1 / 3) is 63.2 %."""
    apart = np.full(3000, 0.2), np.full(3000, 1.0)
    none = "fewer than 1 in 1,000 {} (95 %: none of 3,000 did)"
    every = "all but at most 1 in 1,000 {} (95 %: all of 3,000 did)"
    passing, failing = "strangers pass", "real pairs fail"
    assert rates_of(*apart, 0.6) == f"{none.format(passing)}; {none.format(failing)}."
    # Beyond all distances, on either side.
    assert rates_of(*apart, 0.0) == f"{none.format(passing)}; {every.format(failing)}."
    assert rates_of(*apart, 2.0) == f"{every.format(passing)}; {none.format(failing)}."
    assert rates_of([0.2] * 3, [1.0] * 3, 0.6).startswith(
        "fewer than 64 in 100 strangers pass (95 %: none of 3 did);"
    )


def test_a_rate_is_told_with_its_interval():
    """8 and 32 of 3,000, as in README's table: 0.14 % to 0.53 %, and 0.76 % to 1.50 %."""
    genuine = np.r_[np.full(2968, 0.2), np.full(32, 0.8)]
    impostor = np.r_[np.full(2992, 1.0), np.full(8, 0.3)]
    assert rates_of(genuine, impostor, 0.6) == (
        "1 in 380 strangers pass (95 %: 1 in 190 to 740); 1 in 94 real pairs fail (95 %: 1 in 66 to 140)."
    )
    half = np.linspace(0, 1, 100, endpoint=False)
    assert rates_of(half, half, 0.5) == (
        "50 in 100 strangers pass (95 %: 40 to 60); 50 in 100 real pairs fail (95 %: 40 to 60)."
    )


@settings(deadline=None)
@given(st.integers(1, 5000), st.data())
def test_no_rate_is_certain(pairs, data):
    """Whatever was seen, neither none nor all; and the interval holds what was seen."""
    errors = data.draw(st.integers(0, pairs))
    words = said(verdict_html._one_in(errors / pairs, pairs, "fail")).replace(",", "")
    assert not re.search(r"\b(0|100) in 100|\b1 in [01]\b", words)
    if found := re.search(r"1 in (\d+) fail \(95 %: 1 in (\d+) to (\d+)\)", words):
        one, least, most = map(int, found.groups())
        assert least <= one <= most


def test_rates_in_words(calibration):
    assert "64 in 100 real pairs fail (95 %: 50 to 76)" in said(
        verdict_html.rates_in_words(calibration, 0.25)
    )
    assert "fewer than 1 in 17" in verdict_html.rates_in_words(calibration, 0.1)


def test_what_a_face_lacks_is_a_caution_and_stands_once(calibration):
    caution = 'the face in "b.jpg" is small; error rates and confidence were measured on better photos'
    verification = verdict_of(0.43, cautions=(caution,), notices=(caution, "turned by 90 degrees"))
    words = said(verdict_html.verdict_html(verification, calibration))
    assert words.count("is small") == 1
    assert f"Caution: {caution}." in words
    assert "Turned by 90 degrees." in words
    assert "97.3 %" in words


def test_a_withheld_confidence_is_no_matter_of_the_model(calibration):
    verification = verdict_of(0.43, confidence=None, confidence_withheld='the face in "b.jpg" is blurred')
    words = said(verdict_html.verdict_html(verification, calibration))
    assert "no confidence can be given" in words
    assert "not calibrated" not in words
    assert "%" not in words.partition("Distance")[0]
    assert "Confidence holds" not in words


def test_the_pair_stands_at_its_place_on_the_scale(calibration):
    text = verdict_html.scale_html(calibration, verdict_of(0.7), run=3)
    read = Balanced(text)
    slider = next(given for tag, given in read.tags if tag == "input")
    assert float(slider["value"]) == 0.6
    assert slider["data-run"] == "3"
    line = next(given for _, given in read.tags if given.get("class") == "pair-line")
    assert line["style"] == f"left:{100 * 0.7 / float(slider['max']):.2f}%"
    picture = next(given for _, given in read.tags if given.get("role") == "img")
    assert "This pair lies at 0.700" in picture["aria-label"]


def test_places_say_what_will_stand_there():
    for text in (
        verdict_html.empty_verdict_html(),
        verdict_html.scale_html(None),
        faces_html.found_html("A"),
        faces_html.aligned_html(),
        maps_html.method_html("occlusion", "Occlusion", "its map will stand here"),
    ):
        Balanced(text)
        assert said(text)


@pytest.fixture(scope="module")
def explained(embedder, aligned):
    """A verdict on two example photos, and both methods' last steps."""
    verifier = Verifier(embedder, None)
    faces = [one_face(f"{name}.jpg", aligned=aligned[name]) for name in ("obama", "biden")]
    verification = verifier.compare(*faces)
    steps = stream_explanations(embedder, verification, settings={"occlusion": {"patch_sizes": (28,)}})
    return verifier, verification, {step.method: step for step in steps}


@pytest.mark.parametrize("shown", ["published", "alpha", "raw"])
@pytest.mark.parametrize("palette", ["piyg", "orange-blue", "greens"])
def test_maps_are_png_with_words_for_those_who_do_not_see_them(explained, shown, palette):
    _, verification, results = explained
    look = DisplayOptions(palette, shown, 0.7)
    for method, result in results.items():
        text = maps_html.method_html(method, result.title, "", verification, result, None, look)
        read = Balanced(text)
        pictures = [given for tag, given in read.tags if tag == "img"]
        assert [given["data-side"] for given in pictures] == ["A", "B"]
        assert all(given["src"].startswith("data:image/png;base64,") for given in pictures)
        assert all("Most evidence" in given["alt"] for given in pictures)
        checked = [given["value"] for tag, given in read.tags if tag == "input" and "checked" in given]
        assert checked == [result.views[0].key]
    Balanced(maps_html.legend_html(look))


def test_another_view_is_another_picture(explained):
    _, verification, results = explained
    result = results["occlusion"]
    texts = {
        maps_html.method_html("occlusion", "Occlusion", "", verification, result, view.key, DisplayOptions())
        for view in result.views
    }
    assert len(texts) == 3
    first = maps_html.method_html("occlusion", "Occlusion", "", verification, result, None, DisplayOptions())
    assert result.summary in said(first)
    assert maps_html.chosen_view(result, "no such view").key == result.views[0].key


@pytest.fixture(scope="module")
def weighed(embedder, aligned):
    """A verdict on two example photos, and xCos's maps, of which one is no evidence."""
    faces = [one_face(f"{name}.jpg", aligned=aligned[name]) for name in ("obama", "biden")]
    verification = Verifier(embedder, None).compare(*faces)
    (step,) = stream_explanations(embedder, verification, ["xcos"])
    return verification, step


@pytest.mark.parametrize("shown", ["published", "alpha", "raw"])
def test_a_view_that_is_no_evidence_speaks_for_nothing(weighed, shown):
    verification, result = weighed
    texts = {
        view.key: maps_html.method_html(
            "xcos", result.title, "", verification, result, view.key, DisplayOptions("orange-blue", shown)
        )
        for view in result.views
    }
    for key, text in texts.items():
        pictures = [given for tag, given in Balanced(text).tags if tag == "img"]
        of_faces = [given for given in pictures if "data-side" in given]
        assert [given["data-side"] for given in of_faces] == ["A", "B"]
        weights = key == "attention"
        assert all((". Most weight: " in given["alt"]) == weights for given in of_faces)
        assert ("counts little counts much" in said(text)) == weights
        assert ("share of weight" in said(text)) == weights
        assert len(pictures) == 2 + weights
    words = said(texts["attention"])
    assert "speak" not in words
    assert "evidence" not in words
    assert "+" not in words


def test_weights_have_their_own_colours_whatever_was_chosen(weighed):
    verification, result = weighed
    drawn = {
        key: [
            maps_html.method_html("xcos", "xCos", "", verification, result, key, DisplayOptions(palette))
            for palette in ("piyg", "orange-blue", "greens")
        ]
        for key in ("cosine", "attention")
    }
    assert len(set(drawn["cosine"])) == 3
    assert len(set(drawn["attention"])) == 1


def test_of_a_place_weights_say_how_much_it_counts():
    values = np.zeros((112, 112), np.float32)
    values[45:58, 30:46] = 0.1
    view = View("attention", "attention", MapPair(values, values), is_evidence=False)
    answer = said(maps_html.answer_html("A", 38 / 112, 52 / 112, [("Local cosines (xCos)", view)]))
    assert "local cosines, attention:" in answer
    assert "of the weight" in answer
    assert "speaks" not in answer


def test_every_method_is_offered_with_a_few_words():
    for method, explainer in EXPLAINERS.items():
        words = maps_html.method_in_words(method, explainer.title)
        assert re.fullmatch(re.escape(explainer.title) + ": [^,]+, .+", words)
        assert f"<b>{maps_html.short_name(explainer.title)}</b>" in maps_html.how_to_read_html()
    assert maps_html.method_in_words("my-own", "My own (2026)") == "My own (2026)"


def test_regions_and_places_in_words():
    values = np.zeros((112, 112), np.float32)
    values[45:58, 30:46] = 1  # The eye on the image's left.
    view = View("all", "all", MapPair(values, -values))
    words = said(maps_html.regions_html(view))
    share = re.search(r"eyes \+(\d+) % \N{MINUS SIGN}(\d+) %", words)
    assert share
    assert share[1] == share[2]
    answer = said(maps_html.answer_html("A", 38 / 112, 52 / 112, [("Occlusion", view)]))
    assert answer.startswith("The eye on the image's left in photo A")
    assert "speaks for" in answer
    assert "speaks against" in said(maps_html.answer_html("B", 38 / 112, 52 / 112, [("Occlusion", view)]))
    assert "no map yet" in said(maps_html.answer_html("B", 2.0, -1.0, []))


def test_names_and_lines_are_escaped():
    assert "<b>" not in shared_html.status_html("ready", "<b>")
    assert "<b>" not in shared_html.progress_html("<b>", 0.5)


def test_choices_become_settings():
    assert choice_of("m", "float32", "") == ModelConfig("m")
    assert choice_of("m", "bfloat16", "lfw:beta") == ModelConfig("m", "bfloat16", "lfw", "beta")
    assert occlusion_settings([7, 14, 28], "black", "published") == {}
    assert occlusion_settings([28, 7], "grey", "covered") == {
        "patch_sizes": [7, 28], "fill": "grey", "geometry": "covered",
    }  # fmt: skip
    assert "rng" in occlusion_settings([7, 14, 28], "noise", "published")
    with pytest.raises(XfvError, match="patch size"):
        occlusion_settings([], "black", "published")


def with_pair(verifier, verification, folder):
    session = Session()
    for letter, face in zip("AB", (verification.probe, verification.reference), strict=True):
        path = folder / letter / face.name
        path.parent.mkdir()
        path.write_bytes(b"a photo")
        session.found[letter] = FoundFaces(UploadedPhoto(str(path), face.name), (face,))
        session.files.add(path)
    session.begin(
        verifier,
        verification,
        ComparisonRequest(ModelConfig("auto", "bfloat16", "lfw", "beta"), ("xssab",), ("a b.jpg", "c.jpg")),
    )
    return session


def test_the_command_names_what_was_chosen(explained, tmp_path):
    verifier, verification, _ = explained
    other = one_face("c.jpg").face
    second = replace(verification.reference, faces=(other, verification.reference.face))
    session = with_pair(verifier, replace(verification, reference=second), tmp_path)
    session.look = DisplayOptions(palette="orange-blue")
    assert command_line(session) == (
        "python -m xfv_demo explain 'a b.jpg' c.jpg --out explanation --methods xssab "
        "--model mobilefacenet --calibration lfw --method beta --face-b 1 --precision bfloat16 "
        "--palette orange-blue"
    )

    session.begin(
        verifier, verification, ComparisonRequest(ModelConfig("m"), ("occlusion",), (), {"fill": "grey"})
    )
    assert "report.json" in command_line(session).splitlines()[1]


def test_a_session_forgets_all(explained, tmp_path, monkeypatch):
    # Nothing else is deleted but what lies in the upload folder.
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    verifier, verification, results = explained
    session = with_pair(verifier, verification, tmp_path)
    session.results = dict(results)
    path = write_zip(session, str(tmp_path / "cache"))
    assert path is not None
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) == {
            "report.json", "maps.npz", "occlusion.png", "xssab.png", "figure.png",
        }  # fmt: skip
    again = write_zip(session, str(tmp_path / "cache"))
    assert again != path, "a browser would take an old file for the new one"
    session.clear()
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
    assert session.explanation is None
    assert session.found == {}
    assert write_zip(session, str(tmp_path / "cache")) is None


def test_visitors_share_nothing():
    session = Session()
    session.views["occlusion"] = "paired"
    assert copy.deepcopy(session).views == {}


def test_a_photo_that_is_gone_says_so(explained):
    verifier, _, _ = explained
    with pytest.raises(XfvError, match=r'"mine\.jpg" is no longer here'):
        find_faces(verifier, UploadedPhoto("/no/such/file.jpg", "mine.jpg"))


def test_every_face_of_a_photo_can_be_picked(embedder, detector, examples):
    verifier = Verifier(embedder, None, detector=detector)
    path = str(examples / "obama_partial_face.jpg")
    faces = find_faces(verifier, UploadedPhoto(path, "obama_partial_face.jpg"))
    assert [face.face_index for face in faces] == list(range(len(faces[0].faces)))


@pytest.mark.parametrize(
    ("environment", "words", "links"),
    [
        ({}, "Code: the folder that this page was started from", []),
        (
            {"SPACE_ID": "lab/faces"},
            "card of the bundled model",
            [
                "https://huggingface.co/spaces/lab/faces/tree/main",
                f"https://huggingface.co/spaces/lab/faces/blob/main/{shared_html._MODEL_CARD}",
            ],
        ),
        ({"XFV_SOURCE": "https://code.example/a?b&c"}, "Code", ["https://code.example/a?b&amp;c"]),
    ],
)
def test_the_foot_says_what_is_not_checked_and_where_the_sources_are(monkeypatch, environment, words, links):
    for name in ("SPACE_ID", "XFV_SOURCE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    foot = shared_html.foot_html()
    assert "Liveness is not checked" in foot
    assert words in foot
    found = re.findall(r'<a href="([^"]*)" target="_blank" rel="noopener noreferrer">', foot)
    assert [link for link in found if "arxiv.org" not in link] == links
    # The papers are those of the documentation, each method's.
    methods = (ROOT / "docs" / "methods.md").read_text()
    told = set(re.findall(r"https://arxiv.org/abs/[\d.]+", methods.partition("## Sources")[2]))
    assert {link for link in found if "arxiv.org" in link} == told
    assert (ROOT / shared_html._MODEL_CARD).is_file()


@pytest.mark.parametrize("address", ["http://code.example", "javascript:alert(1)", "https://", "code"])
def test_a_source_that_is_no_address_is_refused(monkeypatch, address):
    monkeypatch.setenv("XFV_SOURCE", address)
    with pytest.raises(XfvError, match="https://"):
        shared_html.foot_html()


@pytest.mark.parametrize(
    ("environment", "public", "words"),
    [
        ({}, False, "stay on this computer"),
        ({}, True, "sent to the computer that runs this page"),
        ({"SPACE_ID": "a/b"}, False, "Hugging Face"),
        ({"COLAB_RELEASE_TAG": "r"}, False, "Google"),
    ],
)
def test_the_banner_is_true(monkeypatch, environment, public, words):
    for name in ("SPACE_ID", "COLAB_RELEASE_TAG", "COLAB_GPU"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert words in banner_html(Deletion(), public=public)
    assert ("sent nowhere" in banner_html(Deletion(), public=public)) == (words == "stay on this computer")


def test_deletion_times(monkeypatch):
    monkeypatch.delenv("XFV_DELETE_AFTER", raising=False)
    assert Deletion.from_environment() == Deletion(600, 60)
    assert "10 minutes" in Deletion().in_words
    monkeypatch.setenv("XFV_DELETE_AFTER", "30")
    assert Deletion.from_environment() == Deletion(30, 3)
    monkeypatch.setenv("XFV_DELETE_AFTER", "soon")
    with pytest.raises(XfvError, match="XFV_DELETE_AFTER"):
        Deletion.from_environment()


def test_a_model_that_fails_is_told_of(tmp_path):
    service = VerificationService(str(tmp_path))
    service.start()
    assert service.wait(service.default, 60)
    assert service.status().state == "error"
    assert "saved_model.pb" in service.status().line
    assert service.calibrations() == []
    with pytest.raises(XfvError, match=r"saved_model\.pb"):
        service.verifier()


class NoGrid:
    """A model that shows no feature grid: neither grid cells nor local cosines can explain it."""

    name = "no grid"

    def __init__(self, embedder):
        self.embed, self.embedding_gradients = embedder.embed, embedder.embedding_gradients


class NoHead(NoGrid):
    """One that shows its grid, which no head was trained on and what follows is not affine."""

    def __init__(self, embedder):
        super().__init__(embedder)
        self.feature_grid, self.grid_shape = embedder.feature_grid, embedder.grid_shape

    @property
    def affine_head(self):
        raise ModelError("it is not affine")


class OneModel:
    """A service whose model is there at once."""

    def __init__(self, verifier):
        self.verifier = lambda _choice=None: verifier
        self.wait = lambda _choice, _seconds: True


@pytest.fixture
def places():
    with gr.Blocks():
        return Components(
            session=gr.State(), photos={}, found={letter: gr.HTML() for letter in "AB"}, progress=gr.HTML(),
            verdict=gr.HTML(), scale=gr.HTML(), preparation=gr.HTML(), aligned=gr.HTML(),
            methods={method: gr.HTML() for method in EXPLAINERS},
            answer=gr.HTML(), legend=gr.HTML(), stop=gr.Button(), download=gr.DownloadButton(),
            command=gr.Textbox(),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("model", "reasons"),
    [
        (NoGrid, {"grid": "no feature_grid and affine_head", "xcos": "no feature_grid"}),
        (NoHead, {"grid": "is not affine", "xcos": "There is no xCos head"}),
    ],
)
def test_a_method_that_a_model_lacks_something_for_does_not_keep_the_others(
    embedder, detector, examples, places, model, reasons
):
    handlers = Handlers(OneModel(Verifier(model(embedder), None, detector=detector)), places)
    photos = [UploadedPhoto(str(examples / name), name) for name in ("obama.jpg", "biden.jpg")]
    session, page = Session(), {}
    asked = ["xcos", "grid", "xssab"]
    visitor = SimpleNamespace(session_hash=None)
    for update in handlers.compare(
        session, *photos, "m", "", "float32", asked, [28], "black", "published", visitor
    ):
        page |= update
    assert set(session.results) == {"xssab"}
    assert set(session.problems) == set(reasons)
    for method, reason in reasons.items():
        words = said(page[places.methods[method]])
        assert reason in words
        assert "not for this model" in words
    assert said(page[places.progress]) == "done"
    assert "--methods xssab " in page[places.command]

    # The reasons stay, whatever is done next.
    assert places.methods["grid"] not in Display(places).look_changed(session, "alpha", 100, "piyg")
    chosen = Display(places).methods_chosen(session, ["occlusion"])
    assert [method for method in EXPLAINERS if chosen[places.methods[method]].visible is True] == [
        "occlusion", "xssab", "grid", "xcos",
    ]  # fmt: skip
    session.clear()
    assert session.problems == {}


@pytest.mark.parametrize("moment", ["looking for the faces", "verdict reached", "occlusion, "])
@pytest.mark.parametrize("deleting", [False, True])
def test_a_comparison_says_itself_that_it_was_ended(embedder, detector, examples, places, moment, deleting):
    handlers = Handlers(OneModel(Verifier(embedder, None, detector=detector)), places)
    photos = [UploadedPhoto(str(examples / name), name) for name in ("obama.jpg", "biden.jpg")]
    session = Session()
    running = handlers.compare(
        session, *photos, "m", "", "float32", ["occlusion"], [28], "black", "published",
        SimpleNamespace(session_hash=None),
    )  # fmt: skip
    next(update for update in running if moment in said(update.get(places.progress, "")))
    assert not session.idle
    session.stop(0, deleting=deleting)
    (last,) = running
    assert session.idle
    assert not last[places.stop].interactive
    line = said(last[places.progress])
    if deleting:
        assert line == "photos and results are deleted"
        assert "<img" not in "".join(html for html in last.values() if isinstance(html, str))
    elif "occlusion" in moment:
        assert line.startswith("stopped with Occlusion at ")
        assert places.methods["occlusion"] not in last
    else:
        assert line == "stopped"
        assert "not computed" in last[places.methods["occlusion"]]


def test_quick_methods_come_first(embedder, detector, examples, places):
    handlers = Handlers(OneModel(Verifier(embedder, None, detector=detector)), places)
    photos = [UploadedPhoto(str(examples / name), name) for name in ("obama.jpg", "biden.jpg")]
    session, page, seen = Session(), {}, []
    asked = ["occlusion", "xcos", "grid", "xssab"]
    visitor = SimpleNamespace(session_hash=None)
    for update in handlers.compare(
        session, *photos, "m", "", "float32", asked, [28], "black", "published", visitor
    ):
        page |= update
        if session.verification is not None:
            seen += [method for method in asked if method in session.results and method not in seen]
    assert seen == ["xssab", "grid", "xcos", "occlusion"]
    # What is asked for keeps its order in the report.
    assert list(session.results) == asked
    assert page[places.download].interactive
    session.clear()


def test_the_other_face_is_coloured_where_it_answers_a_place():
    verification = verdict_of(0.43)
    interactions = np.zeros((7, 7, 7, 7), np.float32)
    # The probe's upper left cell and the reference's lower right one; nothing else.
    interactions[0, 0, 6, 6] = 0.25
    look = DisplayOptions()
    answered = maps_html.answering_html(verification, interactions, "A", 0.01, 0.01, look)
    assert "photo B together add +0.250" in said(answered)
    assert "hair, ears and background" in said(answered)
    back = maps_html.answering_html(verification, interactions, "B", 0.99, 0.99, look)
    assert "photo A together add +0.250" in said(back)
    nothing = maps_html.answering_html(verification, interactions, "A", 0.5, 0.5, look)
    assert "add +0.000" in said(nothing)
    # Whatever a client sends lies in the face.
    assert maps_html.answering_html(verification, interactions, "A", -5, 9, look)


def test_what_strips_mean_is_said_where_there_are_strips_alone():
    assert "How usual" in said(maps_html.STRIP_LEGEND)
    # Explore has the colours' legend, too, and no strips.
    assert "usual" not in said(maps_html.legend_html(DisplayOptions()))
