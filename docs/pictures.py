"""Draws the pictures of the documentation: python docs/pictures.py.

One a method, of the example photos and the bundled model: the first map of either photo, of one person to the
left and of two people to the right; one of the faces that they lie over, as the model sees them; and one for
README, of two faces and their maps.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from xfv_demo import EXPLAINERS, Verifier, load_embedder  # noqa: E402
from xfv_demo.pipeline import stream_explanations  # noqa: E402
from xfv_demo.plots.colours import colour_map, enlarge, map_on_photo  # noqa: E402
from xfv_demo.types import FloatArray  # noqa: E402

PAIRS = (("obama.jpg", "obama2.jpg"), ("obama2.jpg", "biden.jpg"))
SIDE = 224
# Of the four panels, in pixels: the pairs stand further apart than the photos of one.
LEFTS = (0, SIDE + 8, 2 * SIDE + 32, 3 * SIDE + 40)


def main() -> None:
    """Writes a picture for each explainer that there is."""
    embedder = load_embedder("mobilefacenet")
    verifier = Verifier.calibrated(embedder)
    rows: dict[str, list[FloatArray]] = {"faces": [], **{method: [] for method in EXPLAINERS}}
    for pair in PAIRS:
        verification = verifier.verify(*(ROOT / "assets" / "examples" / name for name in pair))
        faces = verification.probe.aligned, verification.reference.aligned
        rows["faces"] += [enlarge(face, SIDE) for face in faces]
        for result in stream_explanations(
            embedder, verification, list(EXPLAINERS), calibration=verifier.calibration
        ):
            if result.progress == 1:
                view = result.views[0]
                scale = result.scale(view)
                rows[result.method] += [
                    map_on_photo(face, one, scale=scale, size=SIDE)
                    if view.domain == "face"
                    else colour_map(enlarge(one, SIDE), scale=scale)
                    for face, one in zip(faces, view.maps, strict=True)
                ]
    rows["verdict"] = rows["faces"][:2] + rows["occlusion"][:2]
    for name, panels in rows.items():
        in_a_row(panels).save(ROOT / "docs" / "pictures" / f"{name}.webp", quality=90)


def in_a_row(panels: Sequence[FloatArray]) -> Image.Image:
    """Four panels side by side; between them the page shows through, light or dark."""
    picture = Image.new("RGBA", (LEFTS[-1] + SIDE, SIDE))
    for left, panel in zip(LEFTS, panels, strict=True):
        picture.paste(Image.fromarray((panel * 255 + 0.5).astype(np.uint8)), (left, 0))
    return picture


if __name__ == "__main__":
    main()
