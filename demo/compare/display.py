"""What the page does when a visitor looks at a result: nothing is computed again."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gradio as gr

from demo.compare import maps_html, verdict_html
from demo.compare.event_data import number_of, told
from demo.compare.export import command_line
from demo.compare.layout import Components, visibility
from demo.compare.session import Letter, Session, Shown
from xfv_demo.explainers import EXPLAINERS


class Display:
    """The events of looking.

    Args:
        places: What to write to.
    """

    def __init__(self, places: Components) -> None:
        self._places = places

    def threshold_moved(self, session: Session, event: gr.EventData) -> tuple[Session, Any]:
        """Decides anew at another threshold; nothing is computed again."""
        asked = session.asked
        run, threshold = int(number_of(event, "run")), number_of(event, "threshold", 2)
        # It may have been moved on the scale of the pair before.
        if session.verification is None or run != session.run:
            return session, gr.skip()
        session.threshold = threshold
        words = verdict_html.verdict_html(session.verification, session.calibration, session.threshold)
        return session, verdict_html.result_html(words, asked)

    def methods_chosen(self, session: Session, methods: list[str]) -> dict[Any, Any]:
        """Makes room for the methods that will be asked for, and keeps what there is of those before."""
        shown = {*methods, *session.results, *session.problems}
        return {
            place: gr.HTML(visible=visibility(method in shown))
            for method, place in self._places.methods.items()
        }

    def view_chosen(self, method: str) -> Callable[..., tuple[Session, str]]:
        """What shows another view of a method's maps."""

        def choose(session: Session, event: gr.EventData) -> tuple[Session, str]:
            session.views[method] = str(told(event, "view"))
            return session, drawn_method(session, method)

        return choose

    def look_changed(self, session: Session, shown: Shown, strength: float, palette: str) -> dict[Any, Any]:
        """Draws all maps anew."""
        session.look = replace(session.look, shown=shown, strength=strength / 100, palette=palette)
        return {
            self._places.session: session,
            self._places.legend: maps_html.legend_html(session.look),
            self._places.command: command_line(session),
            **{self._places.methods[method]: drawn_method(session, method) for method in session.results},
        }

    def place_asked(self, session: Session, event: gr.EventData) -> str:
        """Says what the maps tell of a place that was clicked on."""
        letter: Letter = "A" if told(event, "side") == "A" else "B"
        asked = session.asked
        shown = [
            (result.title, maps_html.chosen_view(result, session.views.get(method)))
            for method, result in session.results.items()
        ]
        place = number_of(event, "x", 1), number_of(event, "y", 1)
        words = maps_html.answer_html(letter, *place, shown)
        for result in session.results.values():
            (explanation, *_) = result.explanations.values()
            if session.verification is not None and explanation.interactions is not None:
                words += maps_html.answering_html(
                    session.verification, explanation.interactions, letter, *place, session.look
                )
        return verdict_html.result_html(words, asked)


def drawn_method(session: Session, method: str) -> str:
    """What there is of a method by now, as the visitor chose to see it."""
    asked = session.asked
    drawn = maps_html.method_html(
        method,
        EXPLAINERS[method].title,
        "",
        session.verification,
        session.results.get(method),
        session.views.get(method),
        session.look,
        problem=session.problems.get(method),
    )
    return verdict_html.result_html(drawn, asked)
