"""What the page tells with an event."""

import math
from typing import Any

import gradio as gr


def told(event: gr.EventData, name: str) -> Any:
    """One thing that the page tells; programs that call by themselves may tell anything.

    Args:
        event: Gradio's.
        name: What it is called.

    Raises:
        gr.Error: It is not told.
    """
    try:
        return getattr(event, name)
    except (AttributeError, TypeError) as error:
        raise gr.Error(f"this call needs event_data with {name}", print_exception=False) from error


def number_of(event: gr.EventData, name: str, most: float = math.inf) -> float:
    """A number that the page tells, moved into [0, most].

    Args:
        event: Gradio's.
        name: What it is called.
        most: The largest that is meant.

    Raises:
        gr.Error: It is not told, or is no number.
    """
    try:
        number = float(told(event, name))
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise gr.Error(f"{name} in event_data must be a number", print_exception=False)
    return min(max(number, 0.0), most)
