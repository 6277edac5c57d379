"""The layout of the compare tab."""

from dataclasses import dataclass
from typing import Any, Literal

import gradio as gr

from demo import shared_html
from demo.compare import events_js, faces_html, maps_html, verdict_html
from demo.compare.session import LETTERS, DisplayOptions, Letter
from demo.model_service import VerificationService
from demo.privacy import hosted
from demo.server.photo_input import PhotoInput
from xfv_demo.explainers import EXPLAINERS
from xfv_demo.explainers.occlusion import PATCH_SIZES
from xfv_demo.pipeline import DEFAULT_METHODS
from xfv_demo.plots.colours import PALETTES


@dataclass(frozen=True)
class Components:
    """The components that handlers write to.

    Attributes:
        session: What is kept of the visitor.
        photos: The two photo inputs.
        found: By photo, the faces found.
        progress: What is being done.
        verdict: The decision, in words.
        scale: The pair among the data set's distances.
        preparation: What it costs to calibrate the model, or how far that is; empty where it is.
        aligned: The faces as the model sees them.
        methods: By method, its maps.
        answer: What the maps say of a place that was clicked on.
        legend: What the colours mean.
        stop: Ends the work.
        download: The zip.
        command: What repeats the result.
    """

    session: gr.State
    photos: dict[Letter, gr.Image]
    found: dict[Letter, gr.HTML]
    progress: gr.HTML
    verdict: gr.HTML
    scale: gr.HTML
    preparation: gr.HTML
    aligned: gr.HTML
    methods: dict[str, gr.HTML]
    answer: gr.HTML
    legend: gr.HTML
    stop: gr.Button
    download: gr.DownloadButton
    command: gr.Textbox

    @property
    def results(self) -> list[Any]:
        """All that a comparison may write to."""
        return [
            self.session,
            self.progress,
            self.verdict,
            self.scale,
            self.preparation,
            self.aligned,
            *self.methods.values(),
            self.answer,
            self.stop,
            self.download,
            self.command,
        ]


@dataclass(frozen=True)
class Controls:
    """The components that visitors set, but for the photos.

    Attributes:
        agrees: Whether photos may be handled on the server.
        examples: The pairs of photos to choose from.
        compare: Begins the work.
        settings: What to compare and explain with, in the order in which `Handlers.compare` takes it.
        look: How maps are drawn, in the order in which `Display.look_changed` takes it.
    """

    agrees: gr.Checkbox
    examples: gr.HTML
    compare: gr.Button
    settings: list[Any]
    look: list[Any]


def compare_tab(service: VerificationService, session: gr.State) -> tuple[Components, Controls]:
    """Lays the tab out.

    Args:
        service: Whose models can be chosen.
        session: What is kept of the visitor.

    Returns:
        What is written to, and what visitors set.
    """
    agrees = gr.Checkbox(
        label="I may use these photos, and agree to their being handled on this server until "
        "they are deleted.",
        visible=hosted(),
        elem_classes="consent",
    )
    with gr.Row(elem_classes="inputs"):
        photos, found = {}, {}
        for letter in LETTERS:
            with gr.Column(elem_classes="photo", min_width=150):
                photos[letter] = PhotoInput(
                    label=f"Photo {letter}",
                    type="filepath",
                    sources=["upload", "webcam", "clipboard"],
                    buttons=[],
                    height=300,
                )
                found[letter] = gr.HTML(faces_html.found_html(letter), js_on_load=events_js.PICK_FACE)
        with gr.Column(elem_classes="start", min_width=260):
            examples = gr.HTML(faces_html.examples_html(), js_on_load=events_js.PICK_EXAMPLE)
            with gr.Row(elem_classes="go"):
                compare = gr.Button("Compare", variant="primary", size="lg")
                stop = gr.Button("Stop", size="lg", interactive=False)
            progress = gr.HTML(shared_html.progress_html(), elem_classes="waiting")
    gr.HTML(verdict_html.STALE, js_on_load=events_js.MARK_STALE, elem_classes="stale-place")
    with gr.Row(elem_classes="verdict-row"):
        verdict = gr.HTML(
            verdict_html.result_html(verdict_html.empty_verdict_html()),
            js_on_load=events_js.COME_INTO_VIEW,
        )
        with gr.Column(elem_classes="scale-column", min_width=0):
            scale = gr.HTML(
                verdict_html.result_html(verdict_html.scale_html(None)),
                js_on_load=events_js.MOVE_THRESHOLD,
            )
            preparation = gr.HTML(js_on_load=events_js.PREPARE)
    gr.HTML(maps_html.WHY)
    with gr.Row(elem_classes="why"):
        with gr.Row(elem_classes="maps"):
            with gr.Column(elem_classes="subjects"):
                aligned = gr.HTML(
                    verdict_html.result_html(faces_html.aligned_html()),
                    js_on_load=events_js.ASK_PLACE,
                )
                answer = gr.HTML(verdict_html.result_html(maps_html.empty_answer_html()))
            methods = {
                method: gr.HTML(
                    waiting_html(method),
                    visible=visibility(method in DEFAULT_METHODS),
                    js_on_load=events_js.CHOOSE_VIEW,
                )
                for method in EXPLAINERS
            }
        with gr.Column(elem_classes="aside"):
            legend = gr.HTML(maps_html.legend_html(DisplayOptions()), elem_classes="legend-place")
            gr.HTML(maps_html.STRIP_LEGEND, elem_classes="legend-place")
            strength = gr.Slider(0, 100, value=100, step=5, label="Strength, %", buttons=[])
            shown = gr.Radio(
                [
                    ("colours on the face", "published"),
                    ("see-through", "alpha"),
                    ("map alone", "raw"),
                ],
                value="published",
                label="Maps as",
            )
            gr.HTML(maps_html.how_to_read_html())
    gr.HTML("<h2>Keep</h2>")
    with gr.Row(elem_classes="keep"):
        download = gr.DownloadButton("Download .zip", interactive=False, scale=0, min_width=180)
        command = gr.Textbox(
            label="The command that repeats this",
            placeholder="Once two photos are compared, the command that gives the same result.",
            interactive=False,
            lines=2,
            buttons=["copy"],
            elem_classes="command",
        )
    with gr.Accordion("Settings", open=False, elem_id="settings", elem_classes="settings"):
        with gr.Row():
            model = gr.Dropdown(service.models(), value=service.default.model, label="Model")
            calibration = gr.Dropdown(
                [("the model's own", "")], value="", label="Calibration (data set, method)"
            )
            precision = gr.Radio(
                [("float32, exact", "float32"), ("bfloat16, faster", "bfloat16")],
                value="float32",
                label="Precision",
            )
        with gr.Row():
            chosen = gr.CheckboxGroup(
                [
                    (maps_html.method_in_words(method, explainer.title), method)
                    for method, explainer in EXPLAINERS.items()
                ],
                value=list(DEFAULT_METHODS),
                label="Explain by",
                elem_classes="methods",
            )
        with gr.Row():
            palette = gr.Dropdown(
                [(one.name, key) for key, one in PALETTES.items()], value="piyg", label="Colours"
            )
            patch_sizes = gr.CheckboxGroup(
                list(PATCH_SIZES), value=list(PATCH_SIZES), label="Occlusion: patch sizes, pixels"
            )
            fill = gr.Dropdown(
                ["black", "grey", "mean", "noise", "blur"],
                value="black",
                label="Occlusion: hidden by",
            )
            geometry = gr.Radio(
                [("as published", "published"), ("edges covered too", "covered")],
                value="published",
                label="Occlusion: places",
            )
    places = Components(
        session=session,
        photos=photos,
        found=found,
        progress=progress,
        verdict=verdict,
        scale=scale,
        preparation=preparation,
        aligned=aligned,
        methods=methods,
        answer=answer,
        legend=legend,
        stop=stop,
        download=download,
        command=command,
    )
    controls = Controls(
        agrees=agrees,
        examples=examples,
        compare=compare,
        settings=[model, calibration, precision, chosen, patch_sizes, fill, geometry],
        look=[shown, strength, palette],
    )
    return places, controls


def visibility(shown: bool) -> bool | Literal["hidden"]:
    """What Gradio is to be told of a place: hidden rather than left out, so that its script lives on."""
    return shown or "hidden"


def waiting_html(method: str, waiting: str = "its map will stand here") -> str:
    """A method's place while it has no map.

    Args:
        method: A key of `EXPLAINERS`.
        waiting: What stands there instead.
    """
    return verdict_html.result_html(maps_html.method_html(method, EXPLAINERS[method].title, waiting))
