"""Verdict and photos belong together: whatever comes, in whatever order. Without a model or a browser."""

import re
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

pytest.importorskip("gradio")

import gradio as gr
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from demo.app import build_app
from demo.compare import events_js, maps_html, verdict_html
from demo.compare import handlers as handlers_module
from demo.compare.display import Display
from demo.compare.handlers import Handlers
from demo.compare.layout import Components
from demo.compare.session import Session
from demo.model_service import ModelConfig, VerificationService
from demo.server.photo_input import UploadedPhoto
from xfv_demo import EXPLAINERS, XfvError, pipeline
from xfv_demo.types import AlignedFace, Face, Verification

VISITOR = SimpleNamespace(session_hash=None)

# How many faces each shows; "broken" cannot be read.
PHOTOS = {"one.jpg": 1, "two.jpg": 2, "three.jpg": 3, "broken.jpg": 0}


def faces_of(_verifier, photo):
    if not PHOTOS[photo.name]:
        raise XfvError(f'"{photo.name}" is not an image')
    box = Face(np.zeros(4, np.float32), np.zeros((5, 2), np.float32), 1.0)
    picture = np.zeros((8, 8, 3), np.float32)
    boxes = (box,) * PHOTOS[photo.name]
    return tuple(
        AlignedFace(f"{photo.name} {index}", picture, box, boxes, (8, 8)) for index in range(len(boxes))
    )


class Model:
    """Gives each pair of faces its own distance; is called as its choice is."""

    calibration = None

    def __init__(self, choice):
        self.embedder = self.name = choice.model

    def compare_most_alike(self, probes, references):
        (probe,), (reference,) = probes, references
        return Verification(self.name, None, None, 0.5, 0.6, True, None, probe, reference)


class Service:
    """Models that are there at once."""

    def wait(self, _choice, _seconds):
        return True

    def verifier(self, choice=None):
        return Model(choice or ModelConfig())


def truth(verification):
    """What a verdict is of, as it is drawn here."""
    return f"{verification.model}, {verification.probe.name}, {verification.reference.name}"


def steps_of(_embedder, verification, methods, **_):
    for share in (0.2, 0.6, 1.0):
        yield SimpleNamespace(
            method=methods[0],
            progress=share,
            seconds=share,
            title="Occlusion",
            of=truth(verification),
            views=(),
        )


def drawn_method(_method, _title, waiting, verification=None, result=None, *_, **__):
    return (
        f"<i>{truth(verification)}</i><i>{result.of}</i>" if result and verification else f"<p>{waiting}</p>"
    )


with gr.Blocks():
    PLACES = Components(
        session=gr.State(), photos={letter: gr.Image() for letter in "AB"},
        found={letter: gr.HTML() for letter in "AB"}, progress=gr.HTML(), verdict=gr.HTML(),
        scale=gr.HTML(), preparation=gr.HTML(), aligned=gr.HTML(),
        methods={method: gr.HTML() for method in EXPLAINERS},
        answer=gr.HTML(), legend=gr.HTML(), stop=gr.Button(), download=gr.DownloadButton(),
        command=gr.Textbox(),
    )  # fmt: skip


def zip_of(session, _folder):
    return truth(session.verification) if session.verification else None


def drawn_as_text():
    """Parts of the result as the words on what they are of, which is what is tested here."""

    def stop(session, _seconds=0, **how):
        return told_to_stop(session, 0, **how)  # Nobody else would end it meanwhile.

    told_to_stop = Session.stop
    return [
        mock.patch.object(handlers_module, "find_faces", faces_of),
        mock.patch.object(pipeline, "stream_explanations", steps_of),
        mock.patch.object(handlers_module, "write_zip", zip_of),
        mock.patch.object(
            verdict_html, "verdict_html", lambda verification, *_: f"<i>{truth(verification)}</i>"
        ),
        mock.patch.object(maps_html, "method_html", drawn_method),
        mock.patch.object(Session, "stop", stop),
    ]


@pytest.fixture
def as_text():
    patches = drawn_as_text()
    for patch in patches:
        patch.start()
    yield
    for patch in patches:
        patch.stop()


def photo(name):
    return UploadedPhoto(f"/uploads/{name}", name)


def compare(handlers, session, probe, reference, press, model="m"):
    """The comparison as the page asks for it."""
    return handlers.compare(
        session, probe, reference, model, "", "float32", ["occlusion"], [28], "black", "published",
        VISITOR, press,
    )  # fmt: skip


def said(text):
    return " ".join(re.sub(r"<[^>]+>", " ", text).split())


@pytest.fixture
def session():
    """A visitor who has pressed Compare once."""
    session = Session()
    session.standing = 1
    return session


@pytest.fixture
def handlers(as_text):
    return Handlers(Service(), PLACES)


def up_to(running, line):
    """What a comparison has shown once it says this."""
    shown = {}
    for update in running:
        shown |= update
        if line in said(update.get(PLACES.progress, "")):
            return shown
    raise AssertionError(f"it never said {line}")


@pytest.mark.parametrize("moment", ["looking for the faces", "verdict reached", "occlusion, 20 %"])
@pytest.mark.parametrize(("press", "words"), [(0, "as photos or settings changed"), (2, "comes next")])
def test_what_is_of_other_photos_ends_and_shows_no_more(session, handlers, moment, press, words):
    """Whether a photo was replaced, or Compare was pressed anew."""
    running = compare(handlers, session, photo("one.jpg"), photo("two.jpg"), 1)
    up_to(running, moment)
    handlers.changed(session, press)
    (last,) = running
    assert session.idle
    assert PLACES.verdict not in last
    assert said(last[PLACES.progress]).startswith("stopped")
    assert words in said(last[PLACES.progress])
    assert not last[PLACES.stop].interactive
    assert PLACES.download not in last


def test_what_is_put_back_before_anybody_noticed_goes_on(session, handlers):
    running = compare(handlers, session, photo("one.jpg"), photo("two.jpg"), 1)
    up_to(running, "verdict reached")
    handlers.changed(session, 0)
    handlers.changed(session, 1)
    *_, last = running
    assert said(last[PLACES.progress]) == "done"
    assert last[PLACES.download].interactive


def test_stopping_one_comparison_does_not_end_the_next(session):
    first = session.start(1)
    session.stop(0)
    session.standing = 2
    second = session.start(2)
    assert session.ends(first)
    assert not session.ends(second)
    first.ended.set()
    assert not session.idle


def test_one_that_waits_in_line_does_not_begin_once_all_is_deleted(session, handlers):
    waiting = compare(handlers, session, photo("one.jpg"), photo("two.jpg"), 1)
    handlers.deleted(session)
    (last,) = waiting
    assert session.verification is None
    assert session.found == {}
    assert "stopped" in said(last[PLACES.progress])


def test_a_press_is_served_once(session, handlers):
    list(compare(handlers, session, photo("one.jpg"), photo("two.jpg"), 1))
    assert list(compare(handlers, session, photo("one.jpg"), photo("two.jpg"), 1)) == []
    assert session.run == 1


def test_an_error_in_a_new_photo_leaves_the_old_verdict_labelled_as_the_old(session, handlers):
    shown = {}
    for update in compare(handlers, session, photo("one.jpg"), photo("two.jpg"), 1):
        shown |= update
    handlers.changed(session, 2)
    failing = compare(handlers, session, photo("one.jpg"), photo("broken.jpg"), 2)
    shown |= up_to(failing, "nothing was compared")
    with pytest.raises(gr.Error, match=r"photo B: .*not an image"):
        next(failing)
    assert 'data-of="1"' in shown[PLACES.verdict]
    assert 'data-of="1"' in Display(PLACES).view_chosen("occlusion")(session, SimpleNamespace(view="all"))[1]


def test_what_ended_says_nothing_of_its_errors(session, handlers):
    running = compare(handlers, session, photo("broken.jpg"), photo("two.jpg"), 1)
    up_to(running, "looking for the faces")
    handlers.changed(session, 2)
    (last,) = running
    assert "nothing was compared" not in said(last[PLACES.progress])


def test_no_zip_of_the_last_pair_comes_while_the_next_is_compared(session, handlers, monkeypatch):
    list(compare(handlers, session, photo("one.jpg"), photo("two.jpg"), 1))
    assert handlers.packed(session).interactive

    def write_zip(session, _folder):
        handlers.changed(session, 2)
        running.append(compare(handlers, session, photo("one.jpg"), photo("three.jpg"), 2))
        up_to(running[0], "verdict reached")
        return "old.zip"

    running = []
    monkeypatch.setattr(handlers_module, "write_zip", write_zip)
    assert handlers.packed(session) == gr.skip()
    assert not session.idle
    assert handlers.packed(session) == gr.skip()


def test_a_threshold_is_moved_for_the_pair_on_whose_scale_it_was(session, handlers):
    list(compare(handlers, session, photo("one.jpg"), photo("two.jpg"), 1))
    event = SimpleNamespace(threshold="0.7", run=str(session.run))
    assert "<i>" in Display(PLACES).threshold_moved(session, event)[1]
    handlers.changed(session, 2)
    list(compare(handlers, session, photo("one.jpg"), photo("three.jpg"), 2))
    assert Display(PLACES).threshold_moved(session, event) == (session, gr.skip())
    assert session.threshold is None


def test_a_face_is_picked_from_the_photo_that_is_shown(session, handlers):
    find, pick = handlers.photo_changed("A"), handlers.face_picked("A")
    find(session, photo("two.jpg"), VISITOR)
    shown = session.found["A"].search
    find(session, photo("three.jpg"), VISITOR)
    pick(session, SimpleNamespace(index="1", search=str(shown), pick=1))
    assert session.found["A"].picked == 0
    assert session.standing == 1
    pick(session, SimpleNamespace(index="1", search=str(shown + 1), pick=3))
    assert session.found["A"].picked == 1
    assert session.standing == 0, "no comparison that runs is of this face"
    pick(session, SimpleNamespace(index="2", search=str(shown + 1), pick=2))
    assert session.found["A"].picked == 1, "a click that was before comes after"


def test_all_that_a_verdict_is_of_is_noted_before_anything_is_asked():
    page = build_app(VerificationService("mobilefacenet"))
    calls = page.config["dependencies"]
    (comparing,) = [call for call in calls if call["js"] == events_js.COMPARE]
    (standing,) = [call for call in calls if call["js"] == events_js.STANDING]
    (pressed,) = [call for call in calls if call["js"] == events_js.PRESSED]
    label = {part["id"]: part["props"].get("label") for part in page.config["components"]}
    # Not of which methods explain it: what is shown stays true.
    assert {label[one] for one in standing["inputs"]} == {
        "Photo A", "Photo B", "Model", "Calibration (data set, method)", "Precision",
        "Occlusion: patch sizes, pixels", "Occlusion: hidden by", "Occlusion: places",
    }  # fmt: skip
    assert standing["inputs"] == pressed["inputs"]
    assert set(standing["inputs"]) < set(comparing["inputs"])
    for one in standing["inputs"]:
        first = next(call for call in calls if [one, "change"] in list(map(list, call["targets"])))
        assert first is standing, "Gradio does one after the other"
    # What the browser lets wait while one runs must not be queued behind it.
    assert comparing["trigger_mode"] == "always_last"
    assert not any(call["queue"] for call in (standing, pressed))


class AnyOrder(RuleBasedStateMachine):
    """A page whose requests arrive, and whose answers come, in any order; what is streamed, in its own.

    Its own share is that of `demo/compare/events_js.py`: it notes what stands at each press of Compare, and
    takes a part of the result for current where that is what stands now.
    """

    def __init__(self):
        super().__init__()
        self.patches = drawn_as_text()
        for patch in self.patches:
            patch.start()
        self.places = PLACES
        self.handlers, self.session = Handlers(Service(), self.places), Session()
        self.photos, self.model, self.picked = {"A": None, "B": None}, "m", {"A": 0, "B": 0}
        self.stood, self.shown, self.picks = [], {}, 0
        self.requests, self.answers = [], []
        self.running, self.streamed, self.deferred = None, [], False
        self.searching = dict.fromkeys("AB", False)
        self.again = dict.fromkeys("AB", False)
        # A pair that was compared, to begin with.
        self.choose("A", "two.jpg")
        self.choose("B", "three.jpg")
        self.press()
        self.settle()

    def teardown(self):
        """Once all has arrived, Compare gives the verdict on what stands there."""
        try:
            self.settle()
            if all(self.photos.values()) and "broken.jpg" not in self.photos.values():
                self.press()
                self.settle()
                assert self.current(self.shown[self.places.verdict])
            self.no_part_is_taken_for_what_it_is_not()
        finally:
            for patch in self.patches:
                patch.stop()

    def settle(self):
        while self.requests or self.answers or self.streamed or self.running:
            for queue, advance in ((self.requests, self.serve), (self.answers, self.hear)):
                if queue:
                    advance(0)
            self.compute()
            self.listen()

    # The browser --------------------------------------------------------------------------------------------

    def standing(self):
        return self.photos["A"], self.photos["B"], self.model

    def pressed(self):
        """The last press with what stands now, 0 where there is none."""
        return max([0, *(number for number, stood in enumerate(self.stood, 1) if stood == self.standing())])

    def current(self, part):
        label = re.search(r'data-of="(-?\d+)" data-picked="([^"]*)"', part)
        if label is None:
            return False
        press, picked = int(label[1]), label[2]
        stood = self.stood[press - 1] if 0 < press <= len(self.stood) else None
        return stood == self.standing() and picked == f"{self.picked['A']} {self.picked['B']}"

    def show(self, update):
        for place, new in update.items():
            value = getattr(new, "value", new)
            if isinstance(value, str):
                self.shown[place] = value
        for letter, place in self.places.found.items():
            if place in update:
                checked = re.search(r'value="(\d+)" checked', self.shown[place])
                self.picked[letter] = int(checked[1]) if checked else 0

    def ask(self, call, then=None):
        self.requests.append((call, then or self.show))

    def search(self, letter):
        # Of the same call, one at a time.
        if self.searching[letter]:
            self.again[letter] = True
            return
        self.searching[letter] = True
        name = self.photos[letter]
        find = self.handlers.photo_changed(letter)

        def found(update):
            self.show(update)
            self.searching[letter] = False
            if self.again[letter]:
                self.again[letter] = False
                self.search(letter)

        self.ask(lambda: find(self.session, photo(name) if name else None, VISITOR), found)

    def tell(self, then=lambda _: None):
        number = self.pressed()
        self.ask(lambda: self.handlers.changed(self.session, number), then)

    def join(self):
        if self.running:
            self.deferred = True
            return
        probe, reference = (photo(name) if name else None for name in self.photos.values())
        self.running = compare(
            self.handlers, self.session, probe, reference, self.pressed() or -1, self.model
        )

    # What a visitor does ------------------------------------------------------------------------------------

    @rule(letter=st.sampled_from("AB"), name=st.sampled_from([None, *PHOTOS]))
    def choose(self, letter, name):
        if name != self.photos[letter]:
            self.photos[letter] = name
            self.tell()
            self.search(letter)

    @rule(model=st.sampled_from("mn"))
    def choose_model(self, model):
        if model != self.model:
            self.model = model
            self.tell()

    @rule(letter=st.sampled_from("AB"), index=st.integers(0, 2))
    def pick(self, letter, index):
        pane = self.shown.get(self.places.found[letter], "")
        if f'value="{index}"' in pane and index != self.picked[letter]:
            self.picked[letter] = index
            search = re.search(r'data-search="(\d+)"', pane)[1]
            self.picks += 1
            event = SimpleNamespace(index=index, search=search, pick=self.picks)
            self.ask(lambda: self.handlers.face_picked(letter)(self.session, event), lambda _: None)

    @rule()
    def press(self):
        self.stood.append(self.standing())
        self.tell(lambda _: self.join())

    @precondition(lambda self: self.running)
    @rule()
    def stop(self):
        self.ask(lambda: self.handlers.stop(self.session), lambda _: None)

    @rule()
    def move_threshold(self):
        if run := re.search(r'data-run="([1-9]\d*)"', self.shown.get(self.places.scale, "")):
            event = SimpleNamespace(threshold="0.7", run=run[1])
            self.ask(
                lambda: Display(PLACES).threshold_moved(self.session, event),
                lambda answer: self.show({self.places.verdict: answer[1]}),
            )

    @rule()
    def choose_view(self):
        event, place = SimpleNamespace(view="all"), self.places.methods["occlusion"]
        self.ask(
            lambda: Display(PLACES).view_chosen("occlusion")(self.session, event),
            lambda answer: self.show({place: answer[1]}),
        )

    # What the network and the server do ---------------------------------------------------------------------

    @precondition(lambda self: self.requests)
    @rule(which=st.integers(0, 5))
    def serve(self, which):
        call, then = self.requests.pop(min(which, len(self.requests) - 1))
        self.answers.append((call(), then))

    @precondition(lambda self: self.answers)
    @rule(which=st.integers(0, 5))
    def hear(self, which):
        answer, then = self.answers.pop(min(which, len(self.answers) - 1))
        then(answer)

    @precondition(lambda self: self.running and None not in self.streamed)
    @rule(steps=st.integers(1, 6))
    def compute(self, steps=1):
        """Goes on with the comparison; None is its end."""
        for _ in range(steps):
            if self.running and None not in self.streamed:
                try:
                    self.streamed.append(next(self.running, None))
                except gr.Error:
                    self.streamed.append(None)

    @precondition(lambda self: self.streamed)
    @rule(steps=st.integers(1, 6))
    def listen(self, steps=1):
        for _ in range(steps):
            if not self.streamed:
                return
            if (update := self.streamed.pop(0)) is not None:
                self.show(update)
                continue
            self.running = None
            if self.deferred:
                self.deferred = False
                self.join()

    @invariant()
    def no_part_is_taken_for_what_it_is_not(self):
        wanted = ", ".join([self.model, *(f"{self.photos[letter]} {self.picked[letter]}" for letter in "AB")])
        for part in self.shown.values():
            if self.current(part):
                assert set(re.findall(r"<i>([^<]*)</i>", part)) <= {wanted}


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@pytest.fixture
def uploaded(tmp_path, monkeypatch):
    """Two visitor's files, where uploads lie."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    made = []
    for name in ("one.jpg", "two.jpg"):
        path = tmp_path / name.removesuffix(".jpg") / name
        path.parent.mkdir()
        path.write_bytes(b"a photo")
        made.append(UploadedPhoto(str(path), name))
    return made


@pytest.mark.parametrize("steps", range(6))
def test_who_leaves_at_any_step_of_a_comparison_leaves_no_photo(as_text, uploaded, tmp_path, steps):
    handlers, session, visitor = Handlers(Service(), PLACES), Session(), SimpleNamespace(session_hash="v")
    session.standing = 1
    running = handlers.compare(
        session, *uploaded, "m", "", "float32", ["occlusion"], [28], "black", "published", visitor, 1
    )
    next(running)
    for _ in range(steps):
        next(running, None)
    handlers.left(visitor)
    for _ in running:
        pass
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not session.found
    assert session.verification is None


def test_a_photo_that_is_to_be_looked_at_after_its_visitor_has_left_is_deleted(as_text, uploaded, tmp_path):
    handlers, session, visitor = Handlers(Service(), PLACES), Session(), SimpleNamespace(session_hash="v")
    handlers.consented(session, True, visitor)
    handlers.left(visitor)
    words = handlers.photo_changed("A")(session, uploaded[0], visitor)[PLACES.found["A"]]
    assert "the page was closed" in words
    assert [path.name for path in tmp_path.rglob("*.jpg")] == ["two.jpg"]
    assert not session.found
