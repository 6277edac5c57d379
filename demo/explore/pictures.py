"""Faces for the explorer: a store's own, and for a store of numbers alone those of a fetched data set."""

import base64
import functools
import io
import threading
from collections.abc import Iterable
from contextlib import suppress

from PIL import Image

from xfv_demo.batch.align import choose_face
from xfv_demo.datasets.fetching import FETCHABLE_SETS, find_dataset
from xfv_demo.datasets.opening import open_dataset
from xfv_demo.datasets.pairs import PairSet
from xfv_demo.errors import ImageError, XfvError
from xfv_demo.explore.browse import PairBrowser
from xfv_demo.faces.alignment import align, as_aligned
from xfv_demo.faces.detection import MtcnnDetector
from xfv_demo.faces.images import read_photo
from xfv_demo.types import FloatArray, Photo

# Sides of a small picture in pixels: twice what it is shown at, for fine screens.
_SMALL = 88
# So many of some 4 KB are kept.
_KEPT = 4000
# Which part of a photo's shorter side is shown small where no face is looked for: of LFW's, the face.
_MIDDLE = 0.52


class Pictures:
    """Finds faces, and keeps the small ones that were shown lately.

    Args:
        at_hand: Whether data sets that were fetched to this machine may be shown. Not to strangers: whoever
            fetched a set to calibrate a model did not mean to publish it.
    """

    def __init__(self, *, at_hand: bool = False) -> None:
        self._at_hand = at_hand
        self._detector = MtcnnDetector()
        self._small: dict[tuple[int, str], str] = {}
        self._lock = threading.Lock()

    def small(self, browser: PairBrowser, keys: Iterable[str]) -> dict[str, str]:
        """Small pictures of faces, as addresses that hold them.

        Args:
            browser: The store that the images are of.
            keys: The images'.

        Returns:
            By image; without those of which there is no picture.
        """
        wanted, store = set(keys), id(browser)
        with self._lock:
            found = {key: self._small[store, key] for key in wanted if (store, key) in self._small}
        missing = sorted(wanted - found.keys())
        for part, contents in self._sources(browser, missing):
            for key, content in contents.items():
                with suppress(ImageError):
                    found[key] = _small(read_photo(content, key), part)
        with self._lock:
            self._small |= {(store, key): address for key, address in found.items()}
            for oldest in list(self._small)[: max(0, len(self._small) - _KEPT)]:
                del self._small[oldest]
        return found

    def faces(self, browser: PairBrowser, keys: tuple[str, str]) -> list[FloatArray | None]:
        """The aligned faces of a pair, (112, 112, 3) float32, RGB, in [0, 1]; None without a picture."""
        (_, crops), (_, photos) = self._sources(browser, keys)
        faces: list[FloatArray | None] = [None, None]
        for place, key in enumerate(keys):
            with suppress(ImageError):
                if key in crops:
                    faces[place] = as_aligned(read_photo(crops[key], key), key)
                elif key in photos:
                    faces[place] = self._aligned(browser, read_photo(photos[key], key))
        return faces

    def _sources(
        self, browser: PairBrowser, keys: Iterable[str]
    ) -> tuple[tuple[float, dict[str, bytes]], tuple[float, dict[str, bytes]]]:
        """Aligned faces as the store holds them, else photos; with each, which part of it is the face."""
        if browser.store.manifest.crops:
            return (1.0, browser.crops(list(keys))), (_MIDDLE, {})
        return (1.0, {}), (_MIDDLE, self.photos(browser, keys))

    def photos(self, browser: PairBrowser, keys: Iterable[str]) -> dict[str, bytes]:
        """The files of images whose data set lies on this machine, by key.

        Args:
            browser: The store that the images are of.
            keys: The images'.
        """
        manifest = browser.store.manifest
        if not self._at_hand or manifest.dataset not in FETCHABLE_SETS:
            return {}
        pairs = _fetched(manifest.dataset)
        # A store may name any file; read are those that the data set's own list names.
        known = [key for key in keys if key in pairs[1]] if pairs else []
        try:
            return dict(pairs[0].source.stream(known)) if pairs else {}
        except XfvError:
            # It was deleted meanwhile.
            return {}

    def _aligned(self, browser: PairBrowser, photo: Photo) -> FloatArray | None:
        faces = self._detector.detect(photo)
        if not faces:
            return None
        return align(photo, choose_face(faces, photo, browser.store.manifest.face or "central").landmarks)


def _fetched(name: str) -> tuple[PairSet, frozenset[str]] | None:
    """A fetched data set with its images' keys; None while it is not on this machine."""
    return None if find_dataset(name) is None else _opened(name)


@functools.cache
def _opened(name: str) -> tuple[PairSet, frozenset[str]] | None:
    folder = find_dataset(name)
    try:
        dataset = open_dataset(folder) if folder else None
    except XfvError:
        return None
    if not isinstance(dataset, PairSet):
        return None
    return dataset, frozenset(dataset.images)


def _small(photo: Photo, part: float) -> str:
    """The middle of a picture, to recognise a row by: what is looked at, the open pair shows without loss."""
    picture = Image.fromarray(photo)
    side = part * min(picture.size)
    left, top = ((whole - side) / 2 for whole in picture.size)
    small = picture.resize(
        (_SMALL, _SMALL), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side)
    )
    written = io.BytesIO()
    small.save(written, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}"
