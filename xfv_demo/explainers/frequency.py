"""Which frequencies carry the similarity: coarse shape or fine texture?

Huber and Damer, "Beyond Spatial Explanations: Explainable Face Recognition in the Frequency Domain" (arXiv
2407.11941): a band of a photo's spectrum is taken out, and the change of similarity is charged to the band.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xfv_demo.explainers.base import register
from xfv_demo.explainers.batching import BatchExplainer, BatchStep
from xfv_demo.explainers.explanation import Explanation, View
from xfv_demo.explainers.inputs import check_batch_size
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.models.base import Embedder
from xfv_demo.models.similarity import unit_embeddings
from xfv_demo.types import FloatArray

_Doubles = NDArray[np.float64]

# Changes of float32 embeddings that are no larger are rounding.
_ROUNDING = 1e-6


@register
class FrequencyExplainer(BatchExplainer):
    """Each band of a photo's frequencies in turn taken out, and what that takes from the similarity.

    The map is no place in the face: it is the plane of spatial frequencies, that of 0 in the middle (row 56,
    column 56), cycles a face growing outwards. With s0 the cosine similarity of the photos as they are, and
    s_B that with a band B taken out of one photo, each frequency of the band has s0 - s_B, the directed
    variant of the paper: positive where the band makes the faces more alike.

    Bands are rings of equal width around the middle; the paper's widths are not known. The mean colour, the
    frequency 0, always stays; what lies beyond the last ring, in the corners, belongs to it. A photo without
    a band is clipped to [0, 1].

    Attributes:
        parameters: The settings, in plain values for reports.

    Args:
        embedder: Any object with an `embed` method as `Embedder` describes it.
        band_width: In cycles a face, from 1 to 56.
        batch_size: How many images at most are embedded at once, and so how much of the work lies between two
            steps of the stream. Does not change the maps.

    Raises:
        ValueError: A setting is out of its range; says which.
    """

    name: ClassVar[str] = "frequency"
    title: ClassVar[str] = "Frequencies"
    short_title: ClassVar[str] = "Frequencies"
    gist: ClassVar[str] = "coarse shape or fine texture"
    about: ClassVar[str] = (
        "takes one band of detail after another out of a photo, from coarse shapes to fine texture. Its map "
        "shows no places in the face: coarse is in the middle, fine at the rim."
    )
    duration: ClassVar[str] = "under a second"
    work_order: ClassVar[int] = 3

    def __init__(self, embedder: Embedder, *, band_width: int = 4, batch_size: int = 32) -> None:
        if not 1 <= band_width <= ALIGNED_SIZE // 2:
            raise ValueError(f"band_width must be from 1 to {ALIGNED_SIZE // 2}, not {band_width}")
        check_batch_size(batch_size)
        self._embedder = embedder
        self._bands = _bands(band_width)
        self._batch_size = batch_size
        self.parameters: dict[str, Any] = {"band_width": band_width}

    @classmethod
    def views(cls, explanations: Mapping[Any, Explanation]) -> tuple[View, ...]:
        """As `Explainer.views`: one, in the plane of frequencies."""
        return (View(cls.name, "by frequency", explanations[cls.name].unscaled, domain="frequency"),)

    def _steps(self, photos: FloatArray, embeddings: _Doubles | None, mapped: int) -> Iterator[BatchStep]:
        units = self._unit_embeddings(photos, embeddings).astype(np.float64)
        similarities = np.einsum("bd,bd->b", *units)
        spectra = np.fft.fftshift(np.fft.fft2(photos[:mapped], axes=(2, 3)), axes=(2, 3))
        numbers = range(int(self._bands.max()) + 1)
        losses = np.zeros((mapped, photos.shape[1], len(numbers)))
        most = max(1, self._batch_size // (mapped * photos.shape[1]))
        for start in range(0, len(numbers), most):
            some = numbers[start : start + most]
            left = np.stack([spectra * (self._bands != band)[..., None] for band in some])
            images = np.fft.ifft2(np.fft.ifftshift(left, axes=(3, 4)), axes=(3, 4)).real
            given = self._embedder.embed(images.clip(0, 1).astype(np.float32).reshape(-1, *photos.shape[2:]))
            hidden = unit_embeddings(given, len(some) * mapped * photos.shape[1])
            hidden = hidden.reshape(len(some), mapped, photos.shape[1], -1)
            changed = np.einsum("ksbd,sbd->sbk", hidden, units[::-1][:mapped])
            losses[..., some] = similarities[:, None] - changed
            losses[np.abs(losses) < _ROUNDING] = 0
            # The frequency 0 belongs to no band.
            maps = np.where(self._bands >= 0, losses[..., np.maximum(self._bands, 0)], 0)
            yield BatchStep(maps, 1 - similarities, (start + len(some)) / len(numbers))


def _bands(width: int) -> NDArray[np.int64]:
    """(112, 112): the number of each frequency's band, from 0; -1 for the frequency 0."""
    rows, columns = np.indices((ALIGNED_SIZE, ALIGNED_SIZE)) - ALIGNED_SIZE // 2
    cycles = np.hypot(rows, columns)
    bands = np.minimum(cycles // width, -(-ALIGNED_SIZE // 2 // width) - 1).astype(np.int64)
    return np.where(cycles == 0, -1, bands)


def band_summary(view: View, band_width: int) -> str:
    """Says in a sentence or two which bands carry a pair's similarity.

    Args:
        view: Of this method.
        band_width: In cycles a face.
    """
    middle = ALIGNED_SIZE // 2
    # Along a row from the middle to the rim; of both photos together.
    both = np.stack(view.maps).astype(np.float64).mean(axis=0)[middle, middle + 1 :]
    numbers, firsts = np.unique(_bands(band_width)[middle, middle + 1 :], return_index=True)
    values = both[firsts]
    if not values.any():
        return "The maps are zero everywhere: no band of detail speaks for or against a match."

    def named(place: int) -> str:
        low = numbers[place] * band_width
        high = min(low + band_width, middle)
        return f"detail of {low} to {high} cycles across the face"

    most, least = int(values.argmax()), int(values.argmin())
    sentences = []
    if values[most] > 0:
        sentences.append(
            f"Most of what speaks for a match is {named(most)}: without it the similarity falls by "
            f"{values[most]:.3f}."
        )
    if values[least] < 0:
        sentences.append(
            f"Against it speaks {named(least)}: without it the similarity rises by {-values[least]:.3f}."
        )
    return " ".join(sentences)
