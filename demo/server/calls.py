"""What a client may ask of the page's calls: looked at before Gradio does, which takes much on trust."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import gradio as gr

from demo.server.photo_input import PhotoInput, refusal, uploaded_photo

_SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Refused(Exception):  # noqa: N818 (it is an answer rather than an error)
    """A request that is not done.

    Args:
        status: The answer's status.
        line: One line for the client on what is wrong.
    """

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status
        self.line = line


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object that a request holds.

    Raises:
        Refused: It holds none.
    """
    try:
        found = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "the request holds no JSON") from error
    if not isinstance(found, dict):
        raise Refused(400, "the request holds no JSON object")
    return found


def session_of(given: Mapping[str, Any]) -> str | None:
    """The name that a client has given its session.

    Raises:
        Refused: It is none.
    """
    session = given.get("session_hash")
    if session is not None and not is_session(session):
        raise Refused(400, "session_hash must be some 64 letters and digits at most")
    return session


def is_session(session: object) -> bool:
    """Whether this can be the name of a session, or of a call."""
    return isinstance(session, str) and _SESSION.fullmatch(session) is not None


def checked_call(page: gr.Blocks, given: Mapping[str, Any], name: str | None = None) -> dict[str, Any]:
    """What is handed on to Gradio of a call: what is known and fits, and nothing else.

    Args:
        page: The page whose call it is.
        given: The request's JSON object.
        name: The call's name; `given` holds its index where None.

    Returns:
        A JSON object with the call's index and as many values as it takes.

    Raises:
        Refused: There is no such call, or what it is given is of another type or number.
    """
    session = session_of(given)
    index = _index(page, given.get("fn_index") if name is None else name)
    call = page.fns[index]
    inputs = _of_session(page, session, call.inputs)
    data, trigger = given.get("data"), given.get("trigger_id")
    # With others Gradio's page sends what it likes.
    event = given.get("event_data") if call.collects_event_data else None
    if not isinstance(data, list):
        raise Refused(400, "data must be a list with one value for each argument")
    if len(data) == sum(not isinstance(block, gr.State) for block in inputs):
        # Programs leave out what is the server's own.
        given_values = iter(data)
        data = [None if isinstance(block, gr.State) else next(given_values) for block in inputs]
    if len(data) != len(inputs):
        raise Refused(400, f"this call takes {len(inputs)} values, not {len(data)}")
    if not (event is None or isinstance(event, dict)):
        raise Refused(400, "event_data must be an object")
    values = [_checked(block, value) for block, value in zip(inputs, data, strict=True)]
    # What the page says it was triggered by, if it is a part of the page.
    known = trigger if type(trigger) is int and trigger in page.blocks else None
    return {
        "data": values,
        "session_hash": session,
        "fn_index": index,
        "event_data": event,
        "trigger_id": known,
    }


def _index(page: gr.Blocks, wanted: object) -> int:
    for index, call in page.fns.items():
        if call.fn is None:
            # The browser does it alone.
            continue
        if (type(wanted) is int and wanted == index) or (isinstance(wanted, str) and wanted == call.api_name):
            return int(index)
    raise Refused(404, "this page has no such call")


def _of_session(page: gr.Blocks, session: str | None, blocks: list[Any]) -> list[Any]:
    """The components as this visitor sees them: another model has other calibrations to choose from."""
    holder = getattr(page, "state_holder", None)
    if holder is None or session is None or session not in holder:
        return blocks
    seen = holder.session_data[session].blocks_config.blocks
    return [seen.get(block._id, block) for block in blocks]


def _checked(block: Any, value: Any) -> Any:
    """A value as it is handed on, if it is one of those that a component can have."""
    if isinstance(block, PhotoInput):
        if value is None:
            return None
        photo = uploaded_photo(value) if isinstance(value, dict) else None
        if photo is None:
            raise Refused(400, refusal(block.label))
        return {"path": photo.path, "orig_name": photo.name, "meta": value["meta"]}
    if not _fits(block, value):
        raise Refused(400, f"{block.label or 'state'}: this is none of the values that it can have")
    return value


def _fits(block: Any, value: Any) -> bool:
    match block:
        case gr.State():
            # The server's own; what a client sends is not looked at.
            return value is None
        case gr.Checkbox():
            return isinstance(value, bool)
        case gr.Number():
            return _is_number(value)
        case gr.Slider():
            return _is_number(value) and block.minimum <= value <= block.maximum
        case gr.CheckboxGroup():
            return (
                isinstance(value, list)
                and all(_is_choice(block, one) for one in value)
                and len({*value}) == len(value)
            )
        case gr.Dropdown() | gr.Radio():
            return _is_choice(block, value)
    return False


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_choice(block: Any, value: Any) -> bool:
    # True is 1 and 7.0 is 7 to Python, but not to what is done with them.
    return any(type(value) is type(choice) and value == choice for _, choice in block.choices)


def _refuse_constant(name: str) -> float:
    raise ValueError(name)
