"""An image input that hands on the visitor's file as it is."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import gradio as gr

from demo.server import uploads

_LONGEST_NAME = 255  # of a file, on the file systems there are


class UploadedPhoto(NamedTuple):
    """A visitor's file: where it lies and what the visitor calls it."""

    path: str
    name: str


class PhotoInput(gr.Image):
    """`gr.Image` that leaves the decoding to `xfv_demo.faces.images`.

    Gradio's own decoding answers a broken file with a traceback, has no limit on pixels, and re-encodes what
    it reads. (Gradio writes a .pyi beside this file whenever the class is made; git does not track it.)
    """

    # Tells Gradio that the browser draws this like the component that it derives from.
    is_template = True

    def preprocess(self, payload: Any) -> UploadedPhoto | None:
        """The uploaded file, unread.

        Args:
            payload: What the browser or an API client sent. Of that, Gradio refuses some paths that are no
                uploads and leaves others, so none is taken on trust here.

        Returns:
            The file, or None where there is none.

        Raises:
            gr.Error: It is neither a file in this app's upload folder nor one of the examples.
        """
        if payload is None:
            return None
        photo = uploaded_photo(payload if isinstance(payload, Mapping) else payload.model_dump())
        if photo is None:
            raise gr.Error(
                refusal(self.label), duration=None, title="Nothing was compared", print_exception=False
            )
        return photo


def refusal(label: str | None) -> str:
    """One line for all that is refused, which does not tell whether a file exists.

    Args:
        label: What the photo is called on the page, or the argument of a call.
    """
    return f"{label or 'this'} is no photo that was uploaded here, or it was deleted since; choose it again"


def uploaded_photo(payload: Mapping[str, Any]) -> UploadedPhoto | None:
    """The photo that a client means.

    Args:
        payload: Gradio's description of a file; pictures within it are not looked at.

    Returns:
        The photo; None where it is neither an upload nor an example.
    """
    name = payload.get("orig_name")
    if payload.get("meta") != {"_type": "gradio.FileData"} or payload.get("is_stream"):
        return None
    if not (name is None or isinstance(name, str)):
        return None
    path = payload.get("path")
    file = uploads.own_file(path) or uploads.example_file(path)
    return UploadedPhoto(str(file), name[:_LONGEST_NAME] if name else "photo") if file else None
