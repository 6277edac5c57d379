"""Who waits for the model or was here lately: what Gradio knows of its callers.

It tells so by no public name; this module is the only one that knows the inside of it.
"""

import datetime
from collections.abc import Iterator

import gradio as gr
from gradio.context import LocalContext

# So many may wait; who comes later is told that the line is full.
LONGEST_LINE = 20

# Some more than may wait, for the calls that tell that the line is full.
GRADIO_LIMIT = 2 * LONGEST_LINE

LINE_IS_FULL = (
    f"{LONGEST_LINE} comparisons are waiting already, so this one was not begun; try again in a minute"
)


def is_full(page: gr.Blocks) -> bool:
    """Whether as many wait as may."""
    return len(page._queue) >= LONGEST_LINE


def waiting_paths(page: gr.Blocks) -> Iterator[str]:
    """The paths of the photos of the calls that wait or run."""
    for event in list(page._queue.event_ids_to_events.values()):
        for value in event.data.data if event.data else ():
            if isinstance(value, dict) and isinstance(path := value.get("path"), str):
                yield path


def has_stream(page: gr.Blocks, session: str) -> bool:
    """Whether there is, or was, a call of this session, so that its results can be streamed."""
    return session in page._queue.pending_messages_per_session


def has_call(page: gr.Blocks, event_id: str) -> bool:
    """Whether there is a call of this id whose result was not yet fetched."""
    pending = list(page._queue.pending_event_ids_session.values())
    return event_id in page._queue.event_ids_to_events or any(event_id in ids for ids in pending)


def unused_sessions(page: gr.Blocks, seconds: float) -> Iterator[str]:
    """The sessions that were not used for so long."""
    if holder := getattr(page, "state_holder", None):
        now = datetime.datetime.now()
        for session, last_used in list(holder.time_last_used.items()):
            if (now - last_used).total_seconds() > seconds:
                yield session


def forget_session(page: gr.Blocks, session: str) -> None:
    """Drops all that is kept of a session; of what the page last showed, Gradio keeps the pictures too."""
    holder = page.state_holder
    holder.delete_state(session)
    holder.session_data.pop(session, None)
    holder.time_last_used.pop(session, None)


def client_has_left() -> bool:
    """Whether nobody waits any more for the call that this thread works at."""
    page, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    if page is None or event_id is None:
        return False
    event = page._queue.event_ids_to_events.get(event_id)
    return event is None or not event.alive
