"""The examples and the faces that were found, in HTML."""

import functools
import html
from collections.abc import Sequence

import numpy as np
from PIL import Image

from demo.compare.maps_html import FINAL
from demo.compare.session import LETTERS, Letter
from demo.shared_html import as_sentence
from xfv_demo.plots.colours import enlarge, png_data_uri
from xfv_demo.runtime.paths import assets_folder
from xfv_demo.types import AlignedFace, Verification

EXAMPLES = assets_folder() / "examples"

EXAMPLE_PAIRS = (
    ("same person", "obama.jpg", "obama2.jpg"),
    ("same, another day", "obama2.jpg", "obama3.jpg"),
    ("different people", "obama.jpg", "biden.jpg"),
    ("hard: half a face", "obama_partial_face.jpg", "obama2.jpg"),
)

# Left, top, right and bottom of what to show of them, in pixels.
_EXAMPLE_FACES = {
    "obama.jpg": (296, 50, 696, 450),
    "obama2.jpg": (93, 200, 553, 660),
    "obama3.jpg": (556, 204, 996, 644),
    "biden.jpg": (343, 130, 803, 590),
    "obama_partial_face.jpg": (0, 50, 400, 450),
}


def examples_html() -> str:
    """The example pairs, each a button with both faces."""
    buttons = []
    for index, (words, *names) in enumerate(EXAMPLE_PAIRS):
        pictures = "".join(
            f'<img src="{_example_face(name)}" alt="" width="56" height="56">' for name in names
        )
        buttons.append(f'<button type="button" data-index="{index}">{pictures}<span>{words}</span></button>')
    return f'<div class="examples" role="group" aria-label="Example pairs">{"".join(buttons)}</div>'


@functools.cache
def _example_face(name: str) -> str:
    with Image.open(EXAMPLES / name) as photo:
        left, top, right, bottom = _EXAMPLE_FACES[name]
        return png_data_uri(
            np.asarray(photo.convert("RGB").resize((112, 112), box=(left, top, right, bottom)))
        )


# The faces --------------------------------------------------------------------------------------------------


def found_html(letter: Letter, faces: Sequence[AlignedFace] = (), picked: int = 0, *, search: int = 0) -> str:
    """The faces found in a photo, of which one can be picked.

    Args:
        letter: The photo's.
        faces: Those found, largest first; none before a photo was looked at.
        picked: Which of them counts.
        search: The number of the search that found them.
    """
    if not faces:
        return f'<div class="found empty">Faces found in photo {letter} will stand here.</div>'
    if len(faces) == 1:
        words = "<legend>One face found</legend>"
    else:
        words = f"<legend>{len(faces[0].faces)} faces found: pick one</legend>"
    options = []
    for index, face in enumerate(faces):
        picture = png_data_uri(face.aligned)
        checked = " checked" if index == picked else ""
        single = " disabled" if len(faces) == 1 else ""
        options.append(
            f'<label><input type="radio" name="face-{letter}" value="{index}"{checked}{single}>'
            f'<img src="{picture}" alt="Face {index + 1} in photo {letter}" width="56" height="56">'
            f"{'' if single else f'<span>{index + 1}</span>'}</label>"
        )
    return f'<fieldset class="found" data-search="{search}">{words}{"".join(options)}</fieldset>'


def unusable_html(problem: str) -> str:
    """What is wrong with a photo, in the place of its faces.

    Args:
        problem: One line.
    """
    return f'<p class="found unusable" role="alert">{html.escape(as_sentence(problem))}</p>'


def aligned_html(verification: Verification | None = None) -> str:
    """The two faces as the model sees them, or the places where they will stand.

    Args:
        verification: The pair.
    """
    faces = (verification.probe, verification.reference) if verification else (None, None)
    figures = []
    for letter, face in zip(LETTERS, faces, strict=True):
        if face is None:
            picture = f'<div class="place"><span>face {letter}</span></div>'
        else:
            source = png_data_uri(enlarge(face.aligned, FINAL))
            picture = f'<img src="{source}" alt="The aligned face of photo {letter}" data-side="{letter}">'
        figures.append(f"<figure>{picture}<figcaption>{letter}</figcaption></figure>")
    return (
        '<section class="method faces"><h3>Aligned face</h3><p class="views-place">as the model sees it</p>'
        f'<div class="pair">{"".join(figures)}</div></section>'
    )
