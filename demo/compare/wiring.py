"""How the compare tab's components are wired to what answers them."""

from typing import Any

import gradio as gr

from demo.compare import events_js
from demo.compare.display import Display
from demo.compare.handlers import Handlers
from demo.compare.layout import Components, Controls
from demo.compare.session import LETTERS


def wire(
    page: gr.Blocks,
    handlers: Handlers,
    places: Components,
    controls: Controls,
    *,
    delete: gr.Button,
    press: gr.Number,
    status: gr.HTML,
    timer: gr.Timer,
) -> None:
    """Says which control calls what.

    Args:
        page: The page that is being laid out.
        handlers: What compares.
        places: What is written to.
        controls: What visitors set.
        delete: Deletes all of a visitor's.
        press: The number of the last press of Compare with what stands now.
        status: The line on the model.
        timer: Asks for that line while the model loads.
    """
    session, display = places.session, Display(places)
    # Not shown to programs, which have calls of their own. Comparing alone is queued: Gradio's page closes
    # its one stream of queued results when the last one due has come, and of a call that is made at that
    # moment the result never arrives. With the stream 0.1 s late, as from a host far away, 6 of 30 second
    # photos were left without their faces.
    at_once: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}
    model, calibration, precision, chosen, *occlusion = controls.settings
    # What a verdict and its maps are of. Which methods explain it is not in it: what is shown stays true.
    compared = [*places.photos.values(), model, calibration, precision, *occlusion]
    # Before all else that follows a change, as Gradio does one after the other: the browser is not to wait.
    changes = [control.change for control in compared]
    gr.on(changes, None, compared, [press], js=events_js.STANDING, **at_once)
    gr.on(changes, handlers.changed, [session, press], [session], trigger_mode="multiple", **at_once)
    asking = controls.agrees.change(handlers.consented, [session, controls.agrees], [session], **at_once)
    for letter in LETTERS:
        find = handlers.photo_changed(letter), [session, places.photos[letter]]
        places.photos[letter].change(*find, [session, places.found[letter]], **at_once)
        asking = asking.then(*find, [session, places.found[letter]], **at_once)
        places.found[letter].select(
            handlers.face_picked(letter), [session], [session], trigger_mode="multiple", **at_once
        )
    controls.examples.select(handlers.example, None, list(places.photos.values()), **at_once)
    # The one that runs is told to end before the next waits for its end.
    controls.compare.click(None, compared, [press], js=events_js.PRESSED, **at_once).then(
        handlers.changed, [session, press], [session], trigger_mode="multiple", **at_once
    ).then(
        handlers.compare,
        [session, *places.photos.values(), *controls.settings, press],
        places.results,
        js=events_js.COMPARE,
        trigger_mode="always_last",
        api_visibility="private",
        concurrency_id="model",
        show_progress="minimal",
        show_progress_on=[places.progress],
    )
    # Without Gradio's `cancels`: of a comparison that is cut off it sends the last step again, and that may
    # come after what Stop or the deletion has shown. Comparing ends by itself once it is told to.
    places.stop.click(handlers.stop, [session], None, **at_once).then(
        handlers.packed, [session], [places.download], **at_once
    )
    delete.click(
        handlers.deleted,
        [session],
        [*places.results, *places.found.values(), *places.photos.values()],
        **at_once,
    )
    places.scale.input(display.threshold_moved, [session], [session, places.verdict], **at_once)
    for method, place in places.methods.items():
        place.select(display.view_chosen(method), [session], [session, place], **at_once)
    for place in (places.aligned, *places.methods.values()):
        place.click(display.place_asked, [session], [places.answer], **at_once)
    gr.on(
        [control.change for control in controls.look],
        display.look_changed,
        [session, *controls.look],
        [session, places.legend, places.command, *places.methods.values()],
        trigger_mode="always_last",
        **at_once,
    ).then(handlers.packed, [session], [places.download], **at_once)
    # Another model has other calibrations.
    model.change(lambda: "", None, [calibration], **at_once)
    chosen.change(display.methods_chosen, [session, chosen], list(places.methods.values()), **at_once)
    gr.on(
        [page.load, timer.tick, model.change, calibration.change, precision.change],
        handlers.status,
        [session, model, calibration, precision],
        [status, timer, calibration, places.scale, places.preparation],
        **at_once,
    )
    if handlers.can_prepare:
        places.preparation.select(
            handlers.prepare, [session, model, calibration, precision], [places.preparation, timer], **at_once
        )
    page.unload(handlers.left)
