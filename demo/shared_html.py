"""Pieces of HTML that several tabs share."""

import html


def interval_words(low: float, high: float) -> str:
    """The two ends of an interval."""
    return f"{low:.3f} to {high:.3f}"


def percent(rate: float) -> str:
    """A share, to two digits."""
    return f"{100 * rate:.{0 if rate >= 0.1 or not rate else 1}f}\N{NO-BREAK SPACE}%"


def two_digit_seconds(seconds: float) -> str:
    """To two digits."""
    return f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}"


def dataset_name(dataset: str | None) -> str:
    """What people call a data set."""
    return {"lfw": "LFW", None: "its data set"}.get(dataset, dataset or "")


FOOT = (
    "<p>For research and teaching. How well a model does on LFW says nothing on its fitness for decisions "
    "about people. Example photos: official White House photos by Pete Souza; no endorsement is meant.</p>"
)


def status_html(state: str, line: str) -> str:
    """The line on the model.

    Args:
        state: "loading", "ready" or "error".
        line: What to say.
    """
    return f'<p class="status {state}" role="status">{html.escape(line)}</p>'


def as_sentence(notice: str) -> str:
    """A notice with a capital and a full stop."""
    return f"{notice[:1].upper()}{notice[1:]}{'' if notice.endswith('.') else '.'}"


# Waiting ----------------------------------------------------------------------------------------------------


def progress_html(line: str = "", share: float | None = None) -> str:
    """What is being done, and how far it is.

    Args:
        line: In words; nothing is being done where empty.
        share: In [0, 1]; None where nobody knows.
    """
    if not line:
        return '<div class="progress"></div>'
    value = "" if share is None else f' value="{share:.3f}"'
    bar = f'<progress max="1"{value} aria-label="Progress"></progress>' if share != 1 else ""
    return f'<div class="progress">{bar}<span>{html.escape(line)}</span></div>'
