"""What programs can call: `/verify` and `/explain`, for `gradio_client`.

    from gradio_client import Client, handle_file

    page = Client("http://127.0.0.1:7860")
    photos = {"probe": handle_file("a.jpg"), "reference": handle_file("b.jpg")}
    verdict = page.predict(**photos, api_name="/verify")
    report, files = page.predict(**photos, methods=["occlusion", "xssab"], api_name="/explain")

`verdict` is the JSON object of `python -m xfv_demo verify a.jpg b.jpg --json`. `report` is the one in
report.json as `python -m xfv_demo explain` writes it, and `files` are the paths of all its files, downloaded.
"""

from typing import Any

import gradio as gr

from demo.model_service import VerificationService, find_faces
from demo.server import line, uploads
from demo.server.photo_input import PhotoInput, UploadedPhoto
from xfv_demo.errors import XfvError
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.pair_report import PairExplanation
from xfv_demo.pipeline import DEFAULT_METHODS, PairStep, check_methods, stream_pair
from xfv_demo.runtime.provenance import provenance
from xfv_demo.verification import Verifier


class Endpoints:
    """The two calls, bound to one service.

    Args:
        service: Where the model comes from; calls take its default.
    """

    def __init__(self, service: VerificationService) -> None:
        self._service = service

    def verify(self, probe: UploadedPhoto | None, reference: UploadedPhoto | None) -> dict[str, Any]:
        """Says whether the largest faces of two photos show the same person.

        Args:
            probe: The first photo.
            reference: The second photo.

        Returns:
            The JSON object of `verify --json`.
        """
        _, step = self._run(probe, reference)
        return step.verification.to_dict()

    def explain(
        self, probe: UploadedPhoto | None, reference: UploadedPhoto | None, methods: list[str]
    ) -> tuple[dict[str, Any], list[str]]:
        """Shows where in two faces the evidence lies that they are, or are not, the same person.

        Args:
            probe: The first photo.
            reference: The second photo.
            methods: What to explain by.

        Returns:
            The object in report.json, and the files of `explain`.
        """
        verifier, step = self._run(probe, reference, methods)
        explanation = PairExplanation(step.verification, step.results, about=provenance(verifier.embedder))
        files = explanation.files()
        try:
            folder = uploads.new_folder(sum(map(len, files.values())))
        except XfvError as error:
            raise _call_error(str(error)) from error
        paths = []
        for name, content in files.items():
            (folder / name).write_bytes(content)
            paths.append(str(folder / name))
        return explanation.to_dict(), paths

    def _run(
        self, probe: UploadedPhoto | None, reference: UploadedPhoto | None, methods: list[str] | None = None
    ) -> tuple[Verifier, PairStep]:
        """The model, and how far the pair has come in the end; by no method where None."""
        if probe is None or reference is None:
            raise _call_error("two photos are needed, probe and reference")
        try:
            chosen = () if methods is None else check_methods(methods)
            verifier = self._service.verifier()
            faces = []
            for photo in (probe, reference):
                _check_client()
                faces.append(find_faces(verifier, photo)[:1])
            steps = stream_pair(verifier, faces[0], faces[1], chosen)
            step = next(steps)
            for later in steps:
                _check_client()
                step = later
        except XfvError as error:
            raise _call_error(str(error)) from error
        return verifier, step


def add_endpoints(service: VerificationService) -> None:
    """Adds the calls to the page that is being laid out; nothing of them shows.

    Args:
        service: Where the model comes from.
    """
    endpoints = Endpoints(service)
    # Components rather than gr.api: `PhotoInput` refuses paths that are not uploads.
    probe, reference = (
        PhotoInput(type="filepath", visible=False, label=name) for name in ("probe", "reference")
    )
    methods = gr.CheckboxGroup(list(EXPLAINERS), value=list(DEFAULT_METHODS), visible=False, label="methods")
    answer, report = gr.JSON(visible=False), gr.JSON(visible=False)
    files = gr.Files(visible=False)
    calls: list[tuple[Any, list[Any], list[Any]]] = [
        (endpoints.verify, [probe, reference], [answer]),
        (endpoints.explain, [probe, reference, methods], [report, files]),
    ]
    for call, inputs, outputs in calls:
        gr.Button(visible=False).click(
            call, inputs, outputs, api_name=call.__name__, concurrency_id="model", show_progress="hidden"
        )


def _check_client() -> None:
    """Ends the work where nobody waits for it any more, so that the next in line has its turn."""
    if line.client_has_left():
        raise _call_error("the client has left")


def _call_error(problem: str) -> gr.Error:
    # Plain text: the page, which shows errors as HTML, makes none of these calls.
    return gr.Error(problem, print_exception=False)
