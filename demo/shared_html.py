"""Pieces of HTML that several tabs share."""

import html
import os
from urllib.parse import urlsplit

from xfv_demo.errors import XfvError


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


_PAPERS = {
    "x-Face": "2211.13735",
    "xSSAB": "2304.13409",
    "xCos": "2003.05383",
    "grid cells": "1901.00536",
    "FGGB": "2403.04549",
    "CorrRISE": "2305.08546",
    "integrated gradients": "1703.01365",
    "frequencies": "2407.11941",
    "pairs of cells": "2408.14153",
    "ArcFaceOctupletLoss": "2207.06726",
}
_MODEL_CARD = "assets/models/mobilefacenet/README.md"


def foot_html() -> str:
    """What the page is for and what it does not check; and where its sources are.

    Raises:
        XfvError: XFV_SOURCE is no address of a web page.
    """
    papers = ", ".join(_link(f"https://arxiv.org/abs/{number}", name) for name, number in _PAPERS.items())
    return (
        "<p>For research and teaching. How well a model does on LFW says nothing on its fitness for "
        "decisions about people. Liveness is not checked: a picture of a face is taken for a face. "
        "Example photos: official White House photos by Pete Souza; no endorsement is meant.</p>"
        f"<p>Papers: {papers}. {_code_html()}</p>"
    )


def _code_html() -> str:
    space, source = os.environ.get("SPACE_ID"), os.environ.get("XFV_SOURCE")
    if source and (urlsplit(source).scheme != "https" or not urlsplit(source).hostname):
        raise XfvError(f'XFV_SOURCE must be an address that begins with https://, not "{source}"')
    if source:
        return f"{_link(source, 'Code and the card of the bundled model')}."
    if space:
        here = f"https://huggingface.co/spaces/{space}"
        card = _link(f"{here}/blob/main/{_MODEL_CARD}", "card of the bundled model")
        return f"{_link(f'{here}/tree/main', 'Code')}, {card}."
    return f"Code: the folder that this page was started from, with the model's card in {_MODEL_CARD}."


def _link(address: str, words: str) -> str:
    return f'<a href="{html.escape(address)}" target="_blank" rel="noopener noreferrer">{words}</a>'


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
