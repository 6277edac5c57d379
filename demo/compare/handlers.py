"""What the page does with photos: looks for faces, compares and explains step by step, forgets."""

import contextlib
import functools
import html
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from demo import shared_html
from demo.compare import faces_html, maps_html, verdict_html
from demo.compare.display import drawn_method
from demo.compare.event_data import number_of
from demo.compare.export import command_line, path_for_command, write_zip
from demo.compare.faces_html import EXAMPLE_PAIRS, EXAMPLES
from demo.compare.layout import Components, visibility, waiting_html
from demo.compare.session import ComparisonRequest, FoundFaces, Letter, Running, Session
from demo.compare.settings import choice_of, occlusion_settings
from demo.model_service import ModelConfig, VerificationService, find_faces
from demo.preparation import Preparation, Preparing, preparation_html
from demo.server import uploads
from demo.server.photo_input import UploadedPhoto
from demo.shared_html import dataset_name
from xfv_demo.errors import XfvError
from xfv_demo.models.openvino import Precision
from xfv_demo.pipeline import MethodResult, check_methods, in_work_order, stream_pair
from xfv_demo.types import AlignedFace

# Updates of the page come at least this far apart, in seconds, unless the work has gone on by this share:
# then the map is worth a look however fast the machine is.
_PAUSE = 0.125
_STRIDE = 0.08

_OWN_CALIBRATION = ("the model's own", "")

# In seconds: how long Stop waits for a comparison to end before what there is goes into the zip. Deleting
# cannot wait as long.
_LONGEST_WAIT = 60.0


class Handlers:
    """The events of choosing photos, comparing them and leaving, bound to one service.

    Args:
        service: Where the models come from.
        places: What to write to.
        needs_consent: Whether visitors must agree before their own photos are looked at.
        preparation: What calibrates models at a visitor's word; None where no visitor may have that.
    """

    def __init__(
        self,
        service: VerificationService,
        places: Components,
        *,
        needs_consent: bool = False,
        preparation: Preparation | None = None,
    ) -> None:
        self._service = service
        self._places = places
        self._preparation = preparation
        self._needs_consent = needs_consent
        # By Gradio's session; a state is Gradio's to keep and to drop.
        self._sessions: weakref.WeakValueDictionary[str, Session] = weakref.WeakValueDictionary()
        # One photo is looked at after the other, whoever's it is: large ones at once would take much memory.
        self._looking = threading.Lock()

    # Photos and faces ---------------------------------------------------------------------------------------

    # Gradio reads what a handler wants from its signature, which it does not find through functools.partial.

    def photo_changed(self, letter: Letter) -> Callable[..., dict[Any, Any]]:
        """What finds the faces in a photo that was chosen, so that one can be picked."""

        def find(session: Session, photo: UploadedPhoto | None, request: gr.Request) -> dict[Any, Any]:
            self._remember(session, request)
            place = self._places.found[letter]
            if photo is None:
                session.found.pop(letter, None)
                return {self._places.session: session, place: faces_html.found_html(letter)}
            try:
                with _naming(letter):
                    found = self._find(session, letter, photo)
                words = faces_html.found_html(letter, found.faces, found.picked, search=found.search)
            except XfvError as error:
                session.found.pop(letter, None)
                words = faces_html.unusable_html(str(error))
            return {self._places.session: session, place: words}

        return find

    def face_picked(self, letter: Letter) -> Callable[..., Session]:
        """What notes which of a photo's faces is to be compared."""

        def pick(session: Session, event: gr.EventData) -> Session:
            found = session.found.get(letter)
            index, search, click = (int(number_of(event, name)) for name in ("index", "search", "pick"))
            # The page may still show the faces of the photo before.
            if not found or search != found.search or not 0 <= index < len(found.faces):
                return session
            # Of two clicks, the first may come last.
            if click <= found.pick:
                return session
            found.pick = click
            if index != found.picked:
                found.picked = index
                session.standing = 0
            return session

        return pick

    def consented(self, session: Session, agrees: bool, request: gr.Request) -> Session:
        """Notes whether the visitor agrees to photos being handled on the server."""
        self._remember(session, request)
        session.agreed = agrees
        return session

    def example(self, event: gr.EventData) -> tuple[str, str]:
        """The photos of an example pair."""
        _, first, second = EXAMPLE_PAIRS[int(number_of(event, "index", len(EXAMPLE_PAIRS) - 1))]
        return str(EXAMPLES / first), str(EXAMPLES / second)

    def _find(self, session: Session, letter: Letter, photo: UploadedPhoto) -> FoundFaces:
        """The faces of a photo: those found before, or searched for now."""
        with session.working:
            known = session.found.get(letter)
            if known and known.photo == photo:
                uploads.touch(photo.path)
                return known
            if Path(photo.path).parent != EXAMPLES:
                session.own(Path(photo.path))
                if self._needs_consent and not session.agreed:
                    raise XfvError("it was not looked at; tick the box above the photos first, then compare")
            verifier = self._service.verifier()
            with self._looking:
                faces = find_faces(verifier, photo)
            session.searches += 1
            session.found[letter] = FoundFaces(photo, faces, session.searches)
            return session.found[letter]

    # What stands on the page --------------------------------------------------------------------------------

    def changed(self, session: Session, press: float | None) -> Session:
        """Notes what stands on the page now; a comparison of something else ends by itself.

        Args:
            session: The visitor's.
            press: The number of the last press of Compare with what stands now; 0 where there was none.
        """
        session.standing = int(press or 0)
        return session

    # Comparing ----------------------------------------------------------------------------------------------

    def compare(
        self,
        session: Session,
        probe: UploadedPhoto | None,
        reference: UploadedPhoto | None,
        model: str,
        calibration: str,
        precision: Precision,
        methods: list[str],
        patch_sizes: list[int],
        fill: str,
        geometry: str,
        request: gr.Request,
        press: float | None = None,
    ) -> Iterator[dict[Any, Any]]:
        """Compares the two photos, then explains the verdict step by step.

        Args:
            session: The visitor's.
            probe: Photo A.
            reference: Photo B.
            model: As for `choice_of`.
            calibration: As for `choice_of`.
            precision: As for `choice_of`.
            methods: Keys of `EXPLAINERS`.
            patch_sizes: As for `occlusion_settings`.
            fill: As for `occlusion_settings`.
            geometry: As for `occlusion_settings`.
            request: Gradio's.
            press: The number of the press of Compare that asked for it; each is served once.

        Raises:
            gr.Error: One line on what is wrong, and with which photo.
        """
        places = self._places
        if probe is None or reference is None:
            photos = {"A": probe, "B": reference}
            missing = [letter for letter, photo in photos.items() if photo is None]
            verb, each = ("are", " for each") if missing[1:] else ("is", "")
            words = " and photo ".join(missing)
            raise _page_error(f"Photo {words} {verb} missing: choose a file{each} first.")
        self._remember(session, request)
        # Where a press came while the error of another was on its way, Gradio sends it once more later.
        if press and 0 < press <= session.running.press:
            return
        asked = choice_of(model, precision, calibration), methods, patch_sizes, fill, geometry
        running = session.start(int(press or 0))
        try:
            yield from self._compare(session, running, {"A": probe, "B": reference}, *asked)
            if session.ends(running):
                yield self._ended(session, running)
            else:
                yield {places.progress: shared_html.progress_html("done; packing the zip", 1)}
                yield {
                    places.progress: shared_html.progress_html("done", 1),
                    places.stop: gr.Button(interactive=False),
                    places.download: self._zip(session),
                }
        except XfvError as error:
            if session.ends(running):
                yield self._ended(session, running)
                return
            yield {
                places.progress: shared_html.progress_html(
                    "nothing was compared; what was found before stays", 1
                ),
                places.stop: gr.Button(interactive=False),
            }
            raise _page_error(str(error)) from error
        finally:
            # Also where Gradio closes this generator, once the page is closed.
            running.ended.set()

    def _compare(
        self,
        session: Session,
        running: Running,
        photos: Mapping[Letter, UploadedPhoto],
        choice: ModelConfig,
        methods: Sequence[str],
        patch_sizes: Sequence[int],
        fill: str,
        geometry: str,
    ) -> Iterator[dict[Any, Any]]:
        """All but how it ends; ends early where the visitor wants no more."""
        places = self._places
        # Before they are looked at: who leaves meanwhile leaves none behind.
        for photo in photos.values():
            if Path(photo.path).parent != EXAMPLES:
                session.own(Path(photo.path))
        if session.ends(running):
            return
        yield {
            places.session: session,
            places.progress: shared_html.progress_html("looking for the faces"),
            places.stop: gr.Button(interactive=True),
        }
        chosen = check_methods(methods)
        occlusion = occlusion_settings(patch_sizes, fill, geometry)
        while not self._service.wait(choice, 0.2):
            if session.ends(running):
                return
            yield {places.progress: shared_html.progress_html("waiting for the model to load")}
        verifier = self._service.verifier(choice)
        faces: dict[Letter, tuple[AlignedFace, ...]] = {}
        picked = []
        for letter, photo in photos.items():
            if session.ends(running):
                return
            with _naming(letter):
                found = self._find(session, letter, photo)
            picked.append(found.picked)
            faces[letter] = (found.faces[picked[-1]],)
        if session.ends(running):
            return
        paths = tuple(path_for_command(photo) for photo in photos.values())
        asked = ComparisonRequest(choice, chosen, paths, occlusion, running.press, tuple(picked))
        steps = stream_pair(
            verifier,
            faces["A"],
            faces["B"],
            chosen,
            settings={"occlusion": {**occlusion, "cache": session.embeddings}},
            # Of a model that lacks what one method needs, the others may still tell.
            keep_going=True,
        )
        last_method, last_time, last_share = "", 0.0, 0.0
        for step in steps:
            if session.ends(running):
                return
            if step.method is None:
                session.begin(verifier, step.verification, asked)
                yield self._verdict_arrived(session)
                continue
            session.results = {result.method: result for result in step.results}
            session.problems = dict(step.problems)
            update: dict[Any, Any] = {places.session: session}
            if result := session.results.get(step.method):
                now, share = time.monotonic(), result.progress
                is_near = now - last_time < _PAUSE and share - last_share < _STRIDE
                if step.method == last_method and is_near and share < 1:
                    continue
                last_method, last_time, last_share = step.method, now, share
                update[places.progress] = shared_html.progress_html(_waiting_words(result), share)
            else:
                update[places.command] = command_line(session)
            update[places.methods[step.method]] = drawn_method(session, step.method)
            yield update
            # What was asked while this step was on its way to the page need not wait for the next.
            if session.ends(running):
                return

    def _verdict_arrived(self, session: Session) -> dict[Any, Any]:
        places, methods = self._places, in_work_order(session.asked.methods)
        verification, calibration = session.verification, session.calibration
        if verification is None:
            return {}
        of_pair = functools.partial(verdict_html.result_html, asked=session.asked)
        waiting = {
            place: gr.HTML(
                waiting_html(method, "comes next" if method in methods[:1] else "comes later"),
                visible=visibility(method in methods),
            )
            for method, place in places.methods.items()
        }
        return {
            places.session: session,
            places.progress: shared_html.progress_html("verdict reached; the maps come now", 0),
            places.verdict: of_pair(verdict_html.verdict_html(verification, calibration)),
            places.scale: of_pair(verdict_html.scale_html(calibration, verification, run=session.run)),
            places.preparation: self._prepared(session.asked.choice, session)[0],
            places.aligned: of_pair(faces_html.aligned_html(verification)),
            **waiting,
            places.answer: verdict_html.result_html(maps_html.empty_answer_html()),
            places.download: gr.DownloadButton(value=None, interactive=False),
            places.command: command_line(session),
        }

    def stop(self, session: Session) -> None:
        """After Stop: waits until the comparison has ended, which says so itself."""
        session.stop(_LONGEST_WAIT)

    def _ended(self, session: Session, running: Running) -> dict[Any, Any]:
        """What is there stays, but where all was deleted; says how far it got.

        Said by the comparison and not by what ended it: what comes from elsewhere, the page may show before
        the last that came from here.
        """
        if running.deleting:
            return self._cleared(session)
        unfinished = [result for result in session.results.values() if result.progress < 1]
        line = "stopped"
        if not running.stopped:
            anew = session.standing > running.press
            line = (
                "stopped; what is asked for now comes next"
                if anew
                else "stopped, as photos or settings changed"
            )
        elif unfinished:
            shares = ", ".join(f"{one.title} at {100 * one.progress:.0f} %" for one in unfinished)
            line = f"stopped with {shares}: what is shown is a rougher picture of the same"
        return {
            self._places.session: session,
            self._places.progress: shared_html.progress_html(line, 1),
            self._places.stop: gr.Button(interactive=False),
            **{
                place: waiting_html(method, "not computed")
                for method, place in self._places.methods.items()
                if method not in session.results and method not in session.problems
            },
        }

    def packed(self, session: Session) -> Any:
        """The zip with what there is by now, its pictures in the colours now chosen.

        A comparison that runs packs its own at its end, so that none of the last stands beside its verdict.
        """
        if not session.idle or not session.results:
            return gr.skip()
        run, zipped = session.run, self._zip(session)
        return zipped if session.idle and session.run == run else gr.skip()

    def _zip(self, session: Session) -> gr.DownloadButton:
        try:
            path = write_zip(session, str(uploads.new_folder()))
        except XfvError as error:
            gr.Warning(str(error))
            return gr.DownloadButton(value=None, interactive=False)
        return gr.DownloadButton(value=path, interactive=path is not None)

    # Models and leaving -------------------------------------------------------------------------------------

    def status(
        self, session: Session, model: str, calibration: str, precision: Precision
    ) -> tuple[str, Any, Any, Any, Any]:
        """The line on the model, and what depends on the model that is chosen.

        Returns:
            The line; a timer that stops once there is no more to say; the calibrations to choose from; the
            distances of the one chosen, while there is no verdict; how its calibration is doing.
        """
        choice = choice_of(model, precision, calibration)
        status = self._service.status(choice)
        line = shared_html.status_html(status.state, status.line)
        if status.state != "ready":
            return line, gr.Timer(active=status.state == "loading"), gr.skip(), gr.skip(), ""
        preparation, timer = self._prepared(choice, session)
        choices = [
            (f"{dataset_name(one)}, {by}", f"{one}:{by}") for one, by in self._service.calibrations(choice)
        ]
        offered = gr.Dropdown(choices=[_OWN_CALIBRATION, *choices])
        if session.verification is not None:
            return line, timer, offered, gr.skip(), preparation
        curves = verdict_html.scale_html(self._service.verifier(choice).calibration)
        return line, timer, offered, verdict_html.result_html(curves), preparation

    @property
    def can_prepare(self) -> bool:
        """Whether visitors may have models calibrated."""
        return self._preparation is not None

    def prepare(
        self, session: Session, model: str, calibration: str, precision: Precision
    ) -> tuple[str, Any]:
        """Begins to calibrate the model that is chosen, where it has no calibration and none is being made.

        Returns:
            How that is doing, and a timer that asks again.
        """
        choice = choice_of(model, precision, calibration)
        if self._preparation and self._service.status(choice).state == "ready":
            self._preparation.begin(choice)
        return self._prepared(choice, session)

    def _prepared(self, choice: ModelConfig, session: Session) -> tuple[str, Any]:
        """How a model's calibration is doing, and a timer that asks again while it is being made."""
        if self._preparation is None or self._service.status(choice).state != "ready":
            return "", gr.Timer(active=False)
        preparing = self._preparation.state(choice)
        if (
            preparing is None
            and session.asked.choice == choice
            and session.verification
            and not session.calibration
        ):
            preparing = Preparing("made")
        return preparation_html(preparing), gr.Timer(active=bool(preparing and preparing.state == "running"))

    def deleted(self, session: Session) -> dict[Any, Any]:
        """Forgets the visitor's photos and all that was made of them."""
        session.stop(deleting=True)
        cleared = self._cleared(session)
        session.clear()
        return {
            **cleared,
            **{place: faces_html.found_html(letter) for letter, place in self._places.found.items()},
            **dict.fromkeys(self._places.photos.values()),
        }

    def _cleared(self, session: Session) -> dict[Any, Any]:
        """The page without a visitor's photos and results; keeps which data set's distances it shows."""
        places = self._places
        return {
            places.session: session,
            places.progress: shared_html.progress_html("photos and results are deleted", 1),
            places.verdict: verdict_html.result_html(verdict_html.empty_verdict_html()),
            places.scale: verdict_html.result_html(verdict_html.scale_html(session.calibration)),
            places.aligned: verdict_html.result_html(faces_html.aligned_html()),
            **{place: waiting_html(method) for method, place in places.methods.items()},
            places.answer: verdict_html.result_html(maps_html.empty_answer_html()),
            places.stop: gr.Button(interactive=False),
            places.download: gr.DownloadButton(value=None, interactive=False),
            places.command: "",
        }

    def left(self, request: gr.Request) -> None:
        """Forgets a visitor whose page was closed."""
        if session := self._sessions.pop(request.session_hash or "", None):
            session.left = True
            session.stop(deleting=True)
            session.clear()

    def _remember(self, session: Session, request: gr.Request) -> None:
        if request.session_hash:
            self._sessions[request.session_hash] = session


def _waiting_words(step: MethodResult) -> str:
    """Such as "occlusion, 38 %, about 2 s left"."""
    line = f"{maps_html.short_name(step.title).lower()}, {100 * step.progress:.0f} %"
    if 0 < step.progress < 1:
        left = step.seconds * (1 - step.progress) / step.progress
        line += f", about {max(1, round(left))} s left"
    return line


@contextlib.contextmanager
def _naming(letter: Letter) -> Iterator[None]:
    """Says of which photo an error tells."""
    try:
        yield
    except XfvError as error:
        raise XfvError(f"photo {letter}: {error}") from error


def _page_error(line: str) -> gr.Error:
    # Gradio shows the line as HTML, and it may hold a file's name.
    return gr.Error(html.escape(line), duration=None, title="Nothing was compared", print_exception=False)
