"""Makes the store of the example photos: python assets/explore/make_examples.py, from the project's folder.

All pairs of the photos and of some copies that were shrunk, cropped or partly covered. The copies are made in
a temporary folder; the store is what is left.
"""

import itertools
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from xfv_demo import MtcnnDetector, load_embedder, read_photo
from xfv_demo.datasets.altered import shrunk
from xfv_demo.datasets.pairs import Row, pair_set
from xfv_demo.datasets.sources import FolderImages
from xfv_demo.explore.compute import build_store
from xfv_demo.types import Face, Photo

_HERE = Path(__file__).parent
_PHOTOS = _HERE.parent / "examples"
_STORE = _HERE / "examples"

_PEOPLE = {
    "obama": "Barack_Obama",
    "obama2": "Barack_Obama",
    "obama3": "Barack_Obama",
    "obama_partial_face": "Barack_Obama",
    "biden": "Joe_Biden",
}


def _small(photo: Photo, face: Face) -> Photo:
    """With 6.6 pixels between the eyes; the smallest that the calibration knows is 6."""
    return shrunk(photo, 6.6 / face.eye_distance)


def _tiny(photo: Photo, face: Face) -> Photo:
    """Too small for a face to be found."""
    return shrunk(photo, 2 / face.eye_distance)


def _cropped(photo: Photo, face: Face) -> Photo:
    """Cut off below the nose and beside the eye on the image's right."""
    (right, _), (_, bottom) = face.landmarks[1], face.landmarks[2]
    reach = face.eye_distance
    return photo[: round(bottom + 0.35 * reach), : round(right + 0.35 * reach)]


def _eyes_covered(photo: Photo, face: Face) -> Photo:
    """With a black bar over the eyes."""
    return _covered(photo, face, -0.28, 0.28)


def _mouth_covered(photo: Photo, face: Face) -> Photo:
    """With a black bar from the nose to the chin."""
    return _covered(photo, face, 0.65, 1.8)


def _covered(photo: Photo, face: Face, top: float, bottom: float) -> Photo:
    """With a black bar across the face; top and bottom in distances between the eyes, below these."""
    middle, reach = face.landmarks[:2].mean(axis=0), face.eye_distance
    copy = photo.copy()
    rows = slice(*(max(0, round(middle[1] + share * reach)) for share in (top, bottom)))
    columns = slice(*(max(0, round(middle[0] + share * reach)) for share in (-1.0, 1.0)))
    copy[rows, columns] = 0
    return copy


_COPIES: tuple[tuple[str, Callable[[Photo, Face], Photo]], ...] = (
    ("obama", _small),
    ("biden", _small),
    ("obama3", _tiny),
    ("obama", _cropped),
    ("biden", _cropped),
    ("obama", _eyes_covered),
    ("biden", _mouth_covered),
)


def main() -> None:
    """Makes the store anew."""
    shutil.rmtree(_STORE, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, person in _PEOPLE.items():
            (root / person).mkdir(exist_ok=True)
            shutil.copy(_PHOTOS / f"{name}.jpg", root / person)
        detector = MtcnnDetector()
        for name, alter in _COPIES:
            photo = read_photo(_PHOTOS / f"{name}.jpg")
            altered = alter(photo, detector.detect(photo)[0])
            file = root / _PEOPLE[name] / f"{name}{alter.__name__}.png"
            Image.fromarray(np.ascontiguousarray(altered)).save(file)
        keys = sorted(path.relative_to(root).as_posix() for path in root.glob("*/*"))
        rows = [
            Row((first, second), first.partition("/")[0] == second.partition("/")[0], 0)
            for first, second in itertools.combinations(keys, 2)
        ]
        build_store(
            pair_set("examples", FolderImages(root), rows),
            load_embedder("mobilefacenet"),
            _STORE,
            name="Example photos",
            calibration="lfw",
            face="largest",
            command=f"python {Path(__file__).relative_to(_HERE.parents[1])}",
        )


if __name__ == "__main__":
    main()
