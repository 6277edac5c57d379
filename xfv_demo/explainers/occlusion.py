"""Occlusion maps: hide a patch of a face and see how the distance changes (x-Face).

Knoche, Teepe, Hormann and Rigoll, "Explainable Model-Agnostic Similarity and Confidence in Face Verification"
(WACV Workshops 2023, arXiv 2211.13735), section 3.2, as their code computes it.

One pass over the masks serves everything: the three comparisons, both photos, every step of the stream. The
pass embeds each photo under each mask and keeps the embeddings, which are small (4.6 MB for 1,130 masks and
512 dimensions); of the occluded images only one batch exists at a time. From the embeddings a map is a matter
of milliseconds, so each step computes it anew from all that is known by then.
"""

import functools
import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, cast, get_args

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfv_demo.explainers.base import Explainer, register
from xfv_demo.explainers.explanation import Explanation, View
from xfv_demo.explainers.inputs import aligned_pair, aligned_pairs, distinct_photos, known_embeddings
from xfv_demo.explainers.occlusion_masks import Geometry, OcclusionMasks, Shape
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.models.base import Embedder, PatchEmbedder
from xfv_demo.models.incremental import Box
from xfv_demo.models.similarity import unit_embeddings
from xfv_demo.types import FloatArray

Comparison = Literal["all", "reference", "paired"]
Fill = Literal["black", "grey", "mean", "noise", "blur"]

_Doubles = NDArray[np.float64]
_Integers = NDArray[np.int64]

# x-Face's settings, from its authors' code.
PATCH_SIZES = (7, 14, 28)
STRIDE = 5

# The blur that Fong and Vedaldi (ICCV 2017, arXiv 1704.03296, section 4) put in place of what they hide.
_FILL_BLUR_SIGMA = 10.0

# Distances of float32 embeddings are certain to about 1e-7. Where hiding changes them by no more than this,
# the changes are rounding, and dividing by the largest would make a map of it.
_ROUNDING = 1e-6

# Few masks in the first step, so that there is a map within a fraction of a second. Measured on pairs of the
# example photos with the bundled model, it correlates 0.88 with the final map on average, 0.7 at worst.
_FIRST_STEP = 16


class OccludedEmbeddings:
    """Keeps the embeddings of occluded photos, so that a photo met again need not be embedded again.

    Give one to several explainers to share it. A pass that was stopped half way leaves what it has, and the
    next one goes on from there. Safe to use from several threads: two that explain the same photo at once may
    both embed it, but get the same result.

    Args:
        capacity: Of how many photos to keep the embeddings; the one not used for longest goes first. With the
            default masks, a photo takes 1.7 MB for 192 dimensions and 4.6 MB for 512.

    Raises:
        ValueError: The capacity is not positive.
    """

    def __init__(self, capacity: int = 8) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity}")
        self._capacity = capacity
        self._photos: OrderedDict[tuple[Any, ...], _OccludedPhoto] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Of how many photos there are embeddings, or some of them."""
        return len(self._photos)

    def clear(self) -> None:
        """Forgets all."""
        with self._lock:
            self._photos.clear()

    def _photo(
        self, embedder: Embedder, masks: OcclusionMasks, image: FloatArray, filling: FloatArray
    ) -> "_OccludedPhoto":
        """The photo's embeddings as far as they are known, an empty set at first."""
        digest = hashlib.blake2b(image.tobytes())
        digest.update(filling.tobytes())
        key = (id(embedder), masks.key, digest.digest())
        with self._lock:
            photo = self._photos.get(key)
            if photo is None:
                photo = self._photos[key] = _OccludedPhoto(embedder, masks, image, filling)
            self._photos.move_to_end(key)
            while len(self._photos) > self._capacity:
                self._photos.popitem(last=False)
        return photo


class _OccludedPhoto:
    """One photo, as it is and under each mask, and the embeddings of these images as far as they are known.

    Image 0 is the photo as it is, image n the photo under mask n - 1. Embeddings are only ever appended, in
    this order, so any prefix is valid.
    """

    def __init__(
        self, embedder: Embedder, masks: OcclusionMasks, image: FloatArray, filling: FloatArray
    ) -> None:
        # Held, so that no other embedder can get its id, which the cache knows it by.
        self._embedder = embedder
        self._masks = masks
        self._image = image.copy()
        self._filling = filling
        self._embed_variants: Callable[[FloatArray, Sequence[Box]], FloatArray] | None = None
        self._embeddings: _Doubles = np.empty((0, 0))
        self._known = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """How many images' embeddings are known."""
        return self._known

    def image(self, number: int) -> FloatArray:
        """Image `number`, (112, 112, 3)."""
        image = self._image.copy()
        if number:
            rows, columns, hidden = self._masks.patch(number - 1)
            np.copyto(image[rows, columns], self._filling[rows, columns], where=hidden[..., None])
        return image

    def embed_patched(self, numbers: Sequence[int]) -> FloatArray:
        """Embeds images by their numbers, which are not 0, with an embedder that has `patched`."""
        if self._embed_variants is None:
            self._embed_variants = cast(PatchEmbedder, self._embedder).patched(self._image)
        images = np.stack([self.image(number) for number in numbers])
        return np.asarray(self._embed_variants(images, [self._box(number) for number in numbers]))

    def _box(self, number: int) -> Box:
        """Where image `number`, not 0, may differ from the photo."""
        rows, columns, _ = self._masks.patch(number - 1)
        return Box(rows.start, columns.start, rows.stop, columns.stop)

    def embeddings(self, count: int) -> _Doubles:
        """The first `count` embeddings, (count, D), each of length 1."""
        return self._embeddings[:count]

    def append(self, number: int, embedding: _Doubles) -> None:
        """Adds image `number`'s embedding, unless another thread was faster."""
        with self._lock:
            if number != self._known:
                return
            if not number:
                self._embeddings = np.empty((len(self._masks) + 1, embedding.size))
            self._embeddings[number] = embedding
            self._known += 1
            if self._known == len(self._embeddings):
                # Nothing is left to embed; what was kept for it takes some megabytes.
                self._embed_variants = None


# The weights take some hundredths of a second to make and some megabytes to keep.
_masks = functools.lru_cache(maxsize=4)(OcclusionMasks)


def _distance_to_all(own: _Doubles, other: _Doubles, size_index: _Integers) -> _Doubles:
    """Method 1: the mean distance to the other photo under all masks of the same patch size.

    A mean of distances is the distance to the mean, as 1 - a.b is linear in b: N steps, not N^2.
    """
    one_hot = np.eye(size_index.max() + 1)[:, size_index]
    counts = np.maximum(one_hot.sum(axis=1, keepdims=True), 1)
    means = one_hot @ other[1:] / counts
    return np.asarray(1 - (own[1:] @ means.T)[np.arange(len(size_index)), size_index])


def _distance_to_reference(own: _Doubles, other: _Doubles, _size_index: _Integers) -> _Doubles:
    """Method 2: the distance to the other photo as it is."""
    return np.asarray(1 - own[1:] @ other[0])


def _distance_in_pairs(own: _Doubles, other: _Doubles, _size_index: _Integers) -> _Doubles:
    """Method 3: the distance to the other photo under the same mask."""
    return np.asarray(1 - np.einsum("nd,nd->n", own[1:], other[1:]))


# Each maps the embeddings of a photo and of the other one, (1 + k, D), first as it is, then under k masks,
# and the masks' patch sizes, (k,), to the photo's distances under these masks, (k,). Section 3.2's methods 1,
# 2, 3.
COMPARISONS: dict[Comparison, Callable[[_Doubles, _Doubles, _Integers], _Doubles]] = {
    "all": _distance_to_all,
    "reference": _distance_to_reference,
    "paired": _distance_in_pairs,
}


_LABELS: dict[Comparison, str] = {
    "all": "all: the other photo occluded anywhere",
    "reference": "reference: the other photo as it is",
    "paired": "paired: both occluded at the same place",
}


@register
class OcclusionExplainer(Explainer):
    """x-Face's occlusion maps, of an embedder that need only embed.

    A patch is hidden at each place in turn. Where that moves the faces apart, what was hidden spoke for
    "same". With the default settings the final map is the published one. A pixel's value, times the map's
    scale, is a change of cosine distance for each pixel hidden, summed over the patches that hide the pixel
    and divided by the number of masks ("published") or by the number of these patches ("covered"), mean over
    the patch sizes.

    The published geometry has its quirks: patches of p + 1 pixels count as p, the right and bottom 2 to 4
    pixels are never hidden, and pixels near the edge are under fewer patches, so their values are smaller.
    The covered geometry has not: patches of p pixels, the last ones flush with the edge, and a mean over the
    patches that hide a pixel. (Discs leave out the image's corners: there the map has only what
    the blur brings.)

    Attributes:
        comparison: See below.
        parameters: The settings, in plain values for reports.

    Args:
        embedder: Any object with an `embed` method as `Embedder` describes it. One that also has `patched`,
            as `PatchEmbedder` describes it, is faster.
        comparison: With what a photo under a mask is compared: "all", the other photo under all masks of the
            same patch size; "reference", the other photo as it is; "paired", the other photo under the same
            mask. The paper's methods 1, 2 and 3.
        patch_sizes: p, in pixels.
        stride: Between neighbouring patches, in pixels.
        fill: What takes a patch's place: "black"; "grey" (0.5); the photo's "mean" colour; uniform "noise",
            drawn once and the same for both photos; the photo under a heavy "blur".
        shape: "square", or the inscribed "circle".
        geometry: "published" or "covered"; see above.
        batch_size: How many occluded images at most are embedded at once. Bounds the memory; does not change
            the maps.
        step_size: How many masks are added from one step of the stream to the next; the first has at most 16.
        cache: Where embeddings are kept for later pairs; the explainer's own where None.
        rng: Where the noise comes from; only needed for, and used by, the fill "noise".

    Raises:
        ValueError: A setting is out of its range; says which.
    """

    name: ClassVar[str] = "occlusion"
    title: ClassVar[str] = "Occlusion"
    short_title: ClassVar[str] = "Occlusion"
    gist: ClassVar[str] = "hides one patch after another"
    about: ClassVar[str] = (
        "hides a patch of a face and looks how far the two faces move apart. Where they do, what was hidden "
        "speaks for the same person. It asks the model alone, and takes seconds."
    )
    duration: ClassVar[str] = "some seconds"
    work_order: ClassVar[int] = 4
    slow: ClassVar[bool] = True

    def __init__(
        self,
        embedder: Embedder,
        comparison: Comparison = "all",
        *,
        patch_sizes: Sequence[int] = PATCH_SIZES,
        stride: int = STRIDE,
        fill: Fill = "black",
        shape: Shape = "square",
        geometry: Geometry = "published",
        batch_size: int = 64,
        step_size: int = 32,
        cache: OccludedEmbeddings | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        _check_choice("comparison", comparison, Comparison)
        _check_choice("fill", fill, Fill)
        _check_choice("shape", shape, Shape)
        _check_choice("geometry", geometry, Geometry)
        sizes = tuple(int(size) for size in patch_sizes)
        if not sizes or len(set(sizes)) < len(sizes) or not all(1 <= size < ALIGNED_SIZE for size in sizes):
            raise ValueError(f"patch_sizes must be different numbers from 1 to 111, not {patch_sizes}")
        for setting, value in (("stride", stride), ("batch_size", batch_size), ("step_size", step_size)):
            if value < 1:
                raise ValueError(f"{setting} must be at least 1, not {value}")
        if geometry == "covered" and stride > min(sizes):
            raise ValueError(
                f"a stride of {stride} leaves gaps between patches of {min(sizes)}; take one no larger"
            )
        if fill == "noise" and rng is None:
            raise ValueError('the fill "noise" needs rng, a numpy.random.Generator')
        self.comparison: Comparison = comparison
        self._embedder = embedder
        self._masks = _masks(sizes, int(stride), shape, geometry)
        self._fill = fill
        self._noise = None
        if fill == "noise" and rng is not None:
            self._noise = rng.random((ALIGNED_SIZE, ALIGNED_SIZE, 3), np.float32)
        self._batch_size = batch_size
        self._step_size = step_size
        self._cache = OccludedEmbeddings() if cache is None else cache
        self.parameters: dict[str, Any] = {
            "comparison": comparison,
            "patch_sizes": list(sizes),
            "stride": int(stride),
            "fill": fill,
            "shape": shape,
            "geometry": geometry,
            "masks": len(self._masks),
        }

    @classmethod
    def stream_all(
        cls,
        embedder: Embedder,
        probe: ArrayLike,
        reference: ArrayLike,
        *,
        embeddings: ArrayLike | None = None,
        **settings: Any,
    ) -> Iterator[dict[Comparison, Explanation]]:
        """Explains a pair by all three comparisons in one pass, step by step.

        Args:
            embedder: As for the constructor.
            probe: (112, 112, 3) aligned face, RGB, in [0, 1].
            reference: (112, 112, 3) aligned face, RGB, in [0, 1].
            embeddings: As for `explain`.
            **settings: As for the constructor, without `comparison`.

        Returns:
            In each step an explanation for each of "all", "reference" and "paired"; otherwise as `stream`.

        Raises:
            ValueError: As from the constructor and `stream`.
            ModelError: As from `stream`.
        """
        return cls(embedder, **settings)._steps(probe, reference, embeddings, tuple(COMPARISONS))

    @classmethod
    def views(cls, explanations: Mapping[Any, Explanation]) -> tuple[View, ...]:
        """As `Explainer.views`: the comparisons that were made, in the paper's order."""
        return tuple(
            View(comparison, label, explanations[comparison].unscaled)
            for comparison, label in _LABELS.items()
            if comparison in explanations
        )

    def stream(self, probe: ArrayLike, reference: ArrayLike) -> Iterator[Explanation]:
        """As `Explainer.stream`; by default 36 steps, the first after 16 of the 1,130 masks."""
        return self._stream(probe, reference, None)

    def _stream(
        self, probe: ArrayLike, reference: ArrayLike, embeddings: ArrayLike | None
    ) -> Iterator[Explanation]:
        steps = self._steps(probe, reference, embeddings, (self.comparison,))
        return (step[self.comparison] for step in steps)

    def explain_batch(
        self, probes: ArrayLike, references: ArrayLike, *, embeddings: ArrayLike | None = None
    ) -> list[Explanation]:
        """As `Explainer.explain_batch`; a photo that is in several pairs is occluded once."""
        images = aligned_pairs(probes, references)
        known = known_embeddings(embeddings, images.shape[:2])
        if not images.shape[1]:
            return []
        pairs = self._photos(images, known)
        total = len(self._masks)
        self._embed([photo for pair in pairs for photo in pair], total + 1)
        return [self._explanations(pair, total, (self.comparison,))[self.comparison] for pair in pairs]

    def _steps(
        self,
        probe: ArrayLike,
        reference: ArrayLike,
        embeddings: ArrayLike | None,
        comparisons: tuple[Comparison, ...],
    ) -> Iterator[dict[Comparison, Explanation]]:
        images = np.stack(aligned_pair(probe, reference))[:, None]
        known = known_embeddings(embeddings, (2,))
        return self._streamed(images, None if known is None else known[:, None], comparisons)

    def _streamed(
        self, images: FloatArray, known: _Doubles | None, comparisons: tuple[Comparison, ...]
    ) -> Iterator[dict[Comparison, Explanation]]:
        (photos,) = self._photos(images, known)
        total = len(self._masks)
        first = min(_FIRST_STEP, self._step_size, total)
        for done in (*range(first, total, self._step_size), total):
            self._embed(photos, done + 1)
            yield self._explanations(photos, done, comparisons)

    def _photos(self, images: FloatArray, known: _Doubles | None) -> list[tuple[_OccludedPhoto, ...]]:
        """Of (2, B, 112, 112, 3) images, B pairs of photos, of which the embeddings as they are are known."""
        distinct, places = distinct_photos(images)
        photos = [
            self._cache._photo(self._embedder, self._masks, image, self._filling(image)) for image in distinct
        ]
        if known is not None:
            for place, embedding in zip(places.flat, known.reshape(places.size, -1), strict=True):
                photos[place].append(0, embedding)
        elif new := [(photo, 0) for photo in photos if not len(photo)]:
            for (photo, _), embedding in zip(new, self._unit_embeddings(new), strict=True):
                photo.append(0, embedding)
        return [tuple(photos[place] for place in pair) for pair in places.T]

    def _filling(self, image: FloatArray) -> FloatArray:
        """(112, 112, 3): what shows where a photo is hidden."""
        if self._noise is not None:
            return self._noise
        if self._fill == "blur":
            blurred = cv2.GaussianBlur(image, (0, 0), _FILL_BLUR_SIGMA)
            # Rounding can carry a mean of pixels out of [0, 1], which embedders refuse.
            return np.asarray(np.clip(blurred, 0, 1))
        colour: Any = {"black": 0.0, "grey": 0.5, "mean": np.clip(image.mean(axis=(0, 1)), 0, 1)}[self._fill]
        return np.full_like(image, colour)

    def _embed(self, photos: Sequence[_OccludedPhoto], count: int) -> None:
        """Makes the first `count` embeddings of each photo known, in full batches whosever they are."""
        # A photo that comes again is one entry of the cache.
        distinct = list(dict.fromkeys(photos))
        # What `patched` makes ready is of one photo.
        groups = [[photo] for photo in distinct] if hasattr(self._embedder, "patched") else [distinct]
        for group in groups:
            missing = [(photo, number) for photo in group for number in range(len(photo), count)]
            for start in range(0, len(missing), self._batch_size):
                batch = missing[start : start + self._batch_size]
                for (photo, number), embedding in zip(batch, self._unit_embeddings(batch), strict=True):
                    photo.append(number, embedding)

    def _unit_embeddings(self, batch: Sequence[tuple[_OccludedPhoto, int]]) -> _Doubles:
        """Embeds images, in double precision from here on: small patches move the distance very little."""
        photo, first = batch[0]
        # Photos as they are go whole, and so do the first few images: to prepare for patches takes longer
        # than the first map may.
        if not hasattr(self._embedder, "patched") or not first or (first == 1 and len(batch) <= _FIRST_STEP):
            given = self._embedder.embed(np.stack([photo.image(number) for photo, number in batch]))
        else:
            given = photo.embed_patched([number for _, number in batch])
        # An embedding of length 0 has no direction; as 0, it is orthogonal to all others.
        return unit_embeddings(given, len(batch))

    def _explanations(
        self, photos: Sequence[_OccludedPhoto], done: int, comparisons: Sequence[Comparison]
    ) -> dict[Comparison, Explanation]:
        """What the first `done` masks tell, by each comparison."""
        probe, reference = (photo.embeddings(done + 1) for photo in photos)
        size_index = self._masks.size_index[:done]
        distance = 1 - probe[0] @ reference[0]
        changes = np.stack(
            [
                COMPARISONS[comparison](own, other, size_index) - distance
                for comparison in comparisons
                for own, other in ((probe, reference), (reference, probe))
            ],
            axis=1,
        )
        changes[:, np.abs(changes).max(axis=0) < _ROUNDING] = 0
        maps = iter(self._masks.maps(changes))
        explanations = {}
        for comparison in comparisons:
            explanations[comparison] = Explanation.from_maps(
                self.name,
                (next(maps), next(maps)),
                distance=distance,
                progress=done / len(self._masks),
                parameters={**self.parameters, "comparison": comparison},
            )
        return explanations


def _check_choice(setting: str, value: str, choices: Any) -> None:
    if value not in get_args(choices):
        expected = ", ".join(f'"{choice}"' for choice in get_args(choices))
        raise ValueError(f'{setting} must be one of {expected}, not "{value}"')
