"""Patch-LFW: pairs with patches put in, so that it is known what in them misleads the model.

Huber, Luu, Terhorst and Damer, "Efficient Explainable Face Verification based on Similarity Score Argument
Backpropagation" (WACV 2024, arXiv 2304.13409). Everything is drawn from a seed and the pair's own images, so
that a pair gets the same patches whatever other pairs there are.
"""

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xfv_demo.batch.align import FaceChoice, Progress, align_images
from xfv_demo.batch.cache import EmbeddingStore
from xfv_demo.datasets.pairs import PairSet
from xfv_demo.errors import DatasetError
from xfv_demo.faces.alignment import ALIGNED_SIZE
from xfv_demo.faces.images import read_photo
from xfv_demo.runtime.files import write_whole
from xfv_demo.types import FloatArray

# Section 4 of the paper, as their code draws it.
PATCHES = 27
PATCH_SIDE = 16

# What patches may be: squares of one side in pixels, or rectangles of mixed sides that fit no method's grid.
PatchKind = Literal["16", "8", "24", "mixed"]
PUBLISHED_PATCHES: PatchKind = "16"
# Shortest and longest side of mixed ones.
_MIXED_SIDES = 4, 32

INDEX_FILE = "patch-lfw.csv"
_COLUMNS = ("genuine", "fold", "first", "second", "donor", "patched", "seed", "corners")

_Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class PatchedPair:
    """A pair, and what is put into its first image.

    Attributes:
        first: The first image's key, which patches are put into.
        second: The second image's, which stays.
        donor: The image's that patches are taken from: the second in an impostor pair, which makes the two
            look alike; one of somebody else in a genuine pair, which makes them differ.
        genuine: Whether first and second show one person.
        fold: The pair's fold, from 0.
        corners: (K, 2) int64, each patch's top row and left column, in donor and first image alike.
        sizes: (K, 2) int64, its height and width.
    """

    first: str
    second: str
    donor: str
    genuine: bool
    fold: int
    corners: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @property
    def key(self) -> str:
        """What the pair is known by."""
        return f"{self.first} {self.second}"

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(112, 112): which pixels of the first image are the donor's."""
        mask = np.zeros((ALIGNED_SIZE, ALIGNED_SIZE), np.bool_)
        for (row, column), (height, width) in zip(self.corners, self.sizes, strict=True):
            mask[row : row + height, column : column + width] = True
        return mask


class PairFaces(NamedTuple):
    """The faces of a patched pair, each (112, 112, 3) float32, RGB, in [0, 1].

    Attributes:
        original: The first face as it was.
        patched: The first face with the patches.
        second: The second face.
    """

    original: FloatArray
    patched: FloatArray
    second: FloatArray


@dataclass(frozen=True, eq=False)
class PatchLfw:
    """Patched pairs with their faces, in memory.

    Attributes:
        name: The set that they were made from.
        seed: What the patches were drawn from.
        pairs: The pairs.
        images: By key, the aligned faces as (112, 112, 3) uint8: in eight bits, so that what is written to
            disk and read again gives the same numbers.
        left_out: How many pairs an image without a face cost.
    """

    name: str
    seed: int
    pairs: tuple[PatchedPair, ...]
    images: Mapping[str, _Bytes]
    left_out: int = 0

    def __len__(self) -> int:
        """The number of pairs."""
        return len(self.pairs)

    @property
    def genuine(self) -> NDArray[np.bool_]:
        """(P,) bool, which pairs show one person."""
        return np.array([pair.genuine for pair in self.pairs], np.bool_)

    def faces(self, pair: PatchedPair) -> PairFaces:
        """The faces of one of the pairs."""
        original, donor, second = (self.images[key] for key in (pair.first, pair.donor, pair.second))
        patched = np.where(pair.mask[..., None], donor, original)
        return PairFaces(*(face.astype(np.float32) / np.float32(255) for face in (original, patched, second)))

    def save(self, folder: Path) -> None:
        """Writes the faces, the patched ones, and an index.

        The index, patch-lfw.csv, has a line for each pair, with paths relative to the folder, and each
        patch's top row and left column, and its height and width where they are not 16. It is written last.

        Args:
            folder: Where to; made where it lacks.

        Raises:
            XfvError: A file cannot be written.
        """
        places = {key: f"faces/{number:05d}.png" for number, key in enumerate(self.images)}
        for key, place in places.items():
            write_whole(folder / place, _png(self.images[key]))
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(("key_first", "key_second", "key_donor", *_COLUMNS))
        for number, pair in enumerate(self.pairs):
            patched = f"patched/{number:05d}.png"
            pixels = np.rint(255 * self.faces(pair).patched).astype(np.uint8)
            write_whole(folder / patched, _png(pixels))
            keys = pair.first, pair.second, pair.donor
            drawn = np.concatenate([pair.corners, pair.sizes], axis=1)
            if (pair.sizes == PATCH_SIDE).all():
                drawn = pair.corners
            corners = " ".join(":".join(map(str, patch)) for patch in drawn)
            own = int(pair.genuine), pair.fold, *(places[key] for key in keys), patched, self.seed, corners
            lines.writerow((*keys, *own))
        write_whole(folder / INDEX_FILE, text.getvalue().encode())


def draw_patches(
    pairs: PairSet, seed: int, *, donors: PairSet | None = None, kind: PatchKind = PUBLISHED_PATCHES
) -> tuple[PatchedPair, ...]:
    """Draws the patches of pairs, and whom they are taken from.

    Args:
        pairs: The pairs.
        seed: Makes all come out the same again.
        donors: Whose images the donors of genuine pairs are drawn from; the pairs' own where None. Of a
            subset, give the whole set, and its pairs get the donors that they have in the whole.
        kind: What patches are; of each kind there are so many that all together have the published ones'
            pixels.

    Returns:
        The pairs in their order. Of the published patches the column is drawn from [0, 96), the row below
        from [16, 112); of others likewise.

    Raises:
        DatasetError: The set does not say whom its images show, or has one person only.
    """
    pool = donors or pairs
    people = dict(sorted(zip(pool.images, pool.image_people, strict=True)))
    if not all(people.values()):
        raise DatasetError(
            f"{pairs.name} does not say whom its images show, so no image of somebody else can be drawn; "
            "take a set that keeps people in folders, as LFW does"
        )
    if len(set(people.values())) < 2:
        raise DatasetError(f"{pairs.name} shows one person only; patches of somebody else need two")
    keys = tuple(people)
    drawn = []
    for first, second, genuine, fold in zip(
        (pairs.images[place] for place in pairs.first),
        (pairs.images[place] for place in pairs.second),
        pairs.genuine,
        pairs.folds,
        strict=True,
    ):
        rng = pair_generator(seed, first, second)
        sizes = _sizes(kind, rng)
        columns = rng.integers(0, ALIGNED_SIZE - sizes[:, 1])
        below = rng.integers(sizes[:, 0], ALIGNED_SIZE)
        donor = second
        while genuine and people[donor] == people[second]:
            donor = keys[rng.integers(len(keys))]
        corners = np.stack([below - sizes[:, 0], columns], axis=1)
        drawn.append(PatchedPair(first, second, donor, bool(genuine), int(fold), corners, sizes))
    return tuple(drawn)


def _sizes(kind: PatchKind, rng: np.random.Generator) -> NDArray[np.int64]:
    """(K, 2): heights and widths, of as many pixels together as the published patches."""
    pixels = PATCHES * PATCH_SIDE**2
    if kind != "mixed":
        return np.full((round(pixels / int(kind) ** 2), 2), int(kind))
    low, high = _MIXED_SIDES
    # Sides are drawn one by one, so that their mean area is the square of their mean.
    return rng.integers(low, high + 1, (round(pixels / ((low + high) / 2) ** 2), 2))


def make_patch_lfw(
    pairs: PairSet,
    store: EmbeddingStore,
    *,
    seed: int = 0,
    donors: PairSet | None = None,
    kind: PatchKind = PUBLISHED_PATCHES,
    face: FaceChoice = "central",
    workers: int | None = None,
    progress: Progress | None = None,
) -> PatchLfw:
    """Makes Patch-LFW of a labelled set, in memory.

    It starts processes, so a script that calls it needs `if __name__ == "__main__":` around the call.

    Args:
        pairs: The pairs.
        store: Where the faces found are kept.
        seed: As for `draw_patches`.
        donors: As for `draw_patches`.
        kind: As for `draw_patches`.
        face: Which face of an image is its person's.
        workers: How many processes find faces; as many as there are cores where None.
        progress: Called with the number of images done and of all.

    Returns:
        The pairs whose images all show a face. A face takes 38 KB.

    Raises:
        DatasetError: As from `draw_patches`; or an image is missing, or no pair is left.
    """
    planned = draw_patches(pairs, seed, donors=donors, kind=kind)
    keys = dict.fromkeys(key for pair in planned for key in (pair.first, pair.second, pair.donor))
    images: dict[str, _Bytes] = {}
    aligned = align_images(
        pairs.source, tuple(keys), store, already_aligned=pairs.aligned, face=face, workers=workers
    )
    for done, image in enumerate(aligned, 1):
        if image.face is not None:
            images[image.key] = np.rint(255 * image.face).astype(np.uint8)
        if progress is not None:
            progress(done, len(keys))
    usable = tuple(pair for pair in planned if {pair.first, pair.second, pair.donor} <= images.keys())
    if not usable:
        raise DatasetError(f"no pair of {pairs.name} has a face in each of its images")
    name = pairs.name if kind == PUBLISHED_PATCHES else f"{pairs.name}-patches-{kind}"
    return PatchLfw(name, seed, usable, images, len(planned) - len(usable))


def read_patch_lfw(folder: Path) -> PatchLfw:
    """Reads what `PatchLfw.save` wrote.

    The patched faces are put together anew from the others and the index.

    Args:
        folder: Where it is.

    Returns:
        The same pairs and faces.

    Raises:
        DatasetError: There is no index, or it is not of this kind.
        XfvError: A face cannot be read.
    """
    path = folder / INDEX_FILE
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
        pairs = tuple(_pair_of(row) for row in rows)
        places = {row[f"key_{role}"]: row[role] for row in rows for role in ("first", "second", "donor")}
        seeds = {int(row["seed"]) for row in rows}
        (seed,) = seeds
    except OSError as error:
        raise DatasetError(f'"{path}" cannot be read: {error.strerror}') from error
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f'"{path}" is no index of Patch-LFW as this program writes it; make it again with --save'
        ) from error
    images = {key: _read_face(folder / place) for key, place in places.items()}
    return PatchLfw(folder.name, seed, pairs, images)


def pair_generator(*words: str | int) -> np.random.Generator:
    """A source of randomness for one thing, the same whatever else is drawn.

    Args:
        *words: What it is known by, and a seed.
    """
    digest = hashlib.blake2b("\n".join(map(str, words)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def _pair_of(row: Mapping[str, str]) -> PatchedPair:
    corners = np.array([[int(side) for side in corner.split(":")] for corner in row["corners"].split()])
    if corners.ndim != 2 or corners.shape[1] not in (2, 4):
        raise ValueError("a patch is a row and a column, and a height and a width where these are not 16")
    corners, sizes = corners[:, :2], corners[:, 2:]
    if not sizes.size:
        sizes = np.full_like(corners, PATCH_SIDE)
    if corners.min() < 0 or sizes.min() < 1 or (corners + sizes).max() > ALIGNED_SIZE:
        raise ValueError("a patch reaches beyond the face")
    keys = row["key_first"], row["key_second"], row["key_donor"]
    return PatchedPair(*keys, row["genuine"] == "1", int(row["fold"]), corners, sizes)


def _read_face(path: Path) -> _Bytes:
    pixels = read_photo(path)
    if pixels.shape != (ALIGNED_SIZE, ALIGNED_SIZE, 3):
        raise DatasetError(f'"{path}" is no aligned face of 112 x 112 pixels; make Patch-LFW again')
    return pixels


def _png(pixels: _Bytes) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="PNG")
    return content.getvalue()
