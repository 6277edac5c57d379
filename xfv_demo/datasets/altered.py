"""Copies of a set's images: shrunk, or otherwise made worse."""

import io
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from PIL import Image

from xfv_demo.datasets.sources import ImageSource
from xfv_demo.errors import ImageError
from xfv_demo.faces.images import read_photo
from xfv_demo.types import Photo


class AlteredImages:
    """Copies of another source's images, under the same keys, made as they are asked for.

    Args:
        source: Where the images are.
        alter: Makes a photo's copy, given its key and itself.
    """

    def __init__(self, source: ImageSource, alter: Callable[[str, Photo], Photo]) -> None:
        self.name = source.name
        self._source = source
        self._alter = alter

    def stream(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yields the copies as PNG; see `ImageSource.stream`.

        What is no photo is passed on as it is: who reads it says what is wrong with it.

        Raises:
            DatasetError: If images are missing or cannot be read.
        """
        for key, content in self._source.stream(keys):
            try:
                photo = read_photo(content, key)
            except ImageError:
                yield key, content
                continue
            file = io.BytesIO()
            Image.fromarray(self._alter(key, photo)).save(file, "PNG", compress_level=1)
            yield key, file.getvalue()


def shrunk(photo: Photo, share: float) -> Photo:
    """A photo with this share of its width and of its height, by Lanczos' filter; at least one pixel."""
    height, width = (max(1, round(side * share)) for side in photo.shape[:2])
    return np.asarray(Image.fromarray(photo).resize((width, height), Image.Resampling.LANCZOS))
