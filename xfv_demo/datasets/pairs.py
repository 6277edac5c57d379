"""Pairs of which it is known whether they show one person: of images, or measured elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfv_demo.datasets.folds import even_rows
from xfv_demo.datasets.sources import ImageSource, quoted
from xfv_demo.errors import DatasetError, ImageError
from xfv_demo.faces.alignment import as_aligned
from xfv_demo.faces.images import read_photo
from xfv_demo.metrics.intervals import Booleans, Integers


@dataclass(frozen=True)
class PairCounts:
    """How many pairs there are of each class.

    Attributes:
        genuine: Pairs that show one person.
        impostor: Pairs that show two.
    """

    genuine: int
    impostor: int

    @classmethod
    def of(cls, genuine: Booleans) -> Self:
        """Counts labels: (N,) bool, true where a pair shows one person."""
        number = int(np.count_nonzero(genuine))
        return cls(genuine=number, impostor=genuine.size - number)

    @property
    def total(self) -> int:
        """Of both classes."""
        return self.genuine + self.impostor


class LabelledPairs:
    """Pairs of which it is known whether they show one person: how many of each there are.

    Attributes:
        name: What the set is called in results.
        genuine: (P,) bool, whether the pair shows one person.
        folds: (P,) int64, the fold of each pair, from 0 up.
    """

    name: str
    genuine: Booleans
    folds: Integers

    def __len__(self) -> int:
        """The number of pairs."""
        return self.genuine.size

    @property
    def genuine_pairs(self) -> int:
        """The number of pairs that show one person."""
        return int(np.count_nonzero(self.genuine))

    @property
    def impostor_pairs(self) -> int:
        """The number of pairs that show two persons."""
        return len(self) - self.genuine_pairs

    def require(self, of_each: int, *, outside_folds: bool = False) -> None:
        """Refuses a set with too few pairs of a class, before anything is computed of it.

        Args:
            of_each: How many genuine and how many impostor pairs are needed.
            outside_folds: Whether they are needed outside of any one fold, as where each fold is decided by
                the others.

        Raises:
            DatasetError: There are fewer; says how many.
        """
        left, where = np.ones(len(self), dtype=bool), "has"
        if outside_folds:
            held_out = [self.folds == fold for fold in np.unique(self.folds)]
            fewest = min(
                held_out, key=lambda fold: min(self.genuine[~fold].sum(), (~self.genuine[~fold]).sum())
            )
            left, where = ~fewest, f"has, without fold {self.folds[fewest][0] + 1} of its {len(held_out)},"
        genuine = int(np.count_nonzero(self.genuine[left]))
        impostor = int(np.count_nonzero(left)) - genuine
        if min(genuine, impostor) < of_each:
            raise DatasetError(
                f"{quoted(self.name)} {where} {genuine} genuine and {impostor} impostor pairs; at least "
                f"{of_each} of each are needed."
            )


@dataclass(frozen=True, eq=False)
class PairSet(LabelledPairs):
    """Pairs of images, genuine (one person) and impostor (two persons), in folds.

    The arrays are copied and made read-only.

    Attributes:
        name: What the set is called in results, as "lfw".
        source: Hands out the images' bytes.
        images: (I,) distinct keys.
        first: (P,) int64, the place in `images` of each pair's first image.
        second: (P,) int64, the place of its second image; always another one.
        genuine: (P,) bool, whether the pair shows one person.
        folds: (P,) int64, the fold of each pair, from 0 up.
        aligned: Whether the images are aligned faces of 112 x 112 pixels already, not photos.

    Raises:
        DatasetError: If there is no pair, the arrays' shapes or types are others, a key comes twice, or a
            number is out of its range.
    """

    name: str
    source: ImageSource
    images: tuple[str, ...]
    first: Integers
    second: Integers
    genuine: Booleans
    folds: Integers
    aligned: bool = False

    def __post_init__(self) -> None:
        """Checks all values."""
        label = quoted(self.name)
        for field in ("first", "second", "genuine", "folds"):
            object.__setattr__(self, field, checked_array(getattr(self, field), field, label))
        sizes = {array.size for array in (self.first, self.second, self.genuine, self.folds)}
        if len(sizes) > 1:
            raise DatasetError(f"{label}: first, second, genuine and folds must be of one length.")
        if not self.first.size:
            raise DatasetError(f"{label} holds no pairs; both genuine and impostor pairs are needed.")
        if len(set(self.images)) < len(self.images):
            raise DatasetError(f"{label}: an image's key comes twice.")
        for places in (self.first, self.second):
            if places.min() < 0 or places.max() >= len(self.images):
                raise DatasetError(f"{label}: a pair names an image that the set does not have.")
        alike = np.flatnonzero(self.first == self.second)
        if alike.size:
            image = self.images[self.first[alike[0]]]
            raise DatasetError(f"{label}: pair {alike[0] + 1} is an image with itself, {quoted(image)}.")
        if self.folds.min() < 0:
            raise DatasetError(f"{label}: folds are counted from 0.")

    @property
    def people(self) -> tuple[tuple[str, str], ...]:
        """Whom each pair shows, by the folders that the images lie in; "" where they lie in none.

        True of sets that keep people in folders, as LFW does; a .bin of insightface names nobody.
        """
        names = self.image_people
        return tuple((names[one], names[other]) for one, other in zip(self.first, self.second, strict=True))

    @property
    def image_people(self) -> tuple[str, ...]:
        """Whom each image shows, likewise."""
        return tuple(PurePosixPath(key).parent.name for key in self.images)

    def where(self, kept: ArrayLike) -> "PairSet":
        """Some of the pairs, in their order and with their folds.

        Args:
            kept: (P,) bool, which ones.

        Returns:
            The set of those pairs, with the images that they need.

        Raises:
            DatasetError: If there are none.
        """
        rows = np.flatnonzero(np.asarray(kept, dtype=bool))
        images, first, second = needed_images(self.images, self.first[rows], self.second[rows])
        return replace(
            self,
            images=images,
            first=first,
            second=second,
            genuine=self.genuine[rows],
            folds=self.folds[rows],
        )

    def subset(self, pairs: int) -> "PairSet":
        """A smaller set: as many genuine as impostor pairs, and of each class as many from each fold.

        That is as far as the set carries it: where one class or fold has no more to give, the others give
        more. Within class and fold, pairs at even distances are taken, always the same ones. Fold numbers
        stay, and so may have gaps.

        Args:
            pairs: How many to keep; with as many as there are, or more, the set stays as it is.

        Returns:
            The set of those pairs, in their order, with the images that they need.

        Raises:
            DatasetError: If `pairs` is below 1.
        """
        return self.numbered_subset(pairs)[0]

    def numbered_subset(self, pairs: int) -> "tuple[PairSet, Integers]":
        """As `subset`, with the number of each of its pairs in this set, (pairs,), from 0."""
        if pairs < 1:
            raise DatasetError(f"a subset of {pairs} pairs is no set; take at least 1, better 2 a fold.")
        numbers = np.arange(len(self))
        if pairs >= len(self):
            return self, numbers
        kept = even_rows(self.genuine, self.folds, pairs)
        return self.where(np.isin(numbers, kept)), kept


@dataclass(frozen=True, eq=False)
class LabelledDistances(LabelledPairs):
    """Distances of pairs that were measured elsewhere, and whether each pair shows one person.

    Attributes:
        name: What the set is called in results.
        distances: (P,) float64, cosine distances in [0, 2].
        genuine: (P,) bool, whether the pair shows one person.
        folds: (P,) int64, the fold of each pair, from 0 up.
    """

    name: str
    distances: NDArray[np.float64]
    genuine: Booleans
    folds: Integers

    def subset(self, pairs: int) -> "LabelledDistances":
        """A smaller set; see `PairSet.subset`.

        Args:
            pairs: How many to keep, from 1 to as many as there are.

        Returns:
            The set of those pairs, in their order.
        """
        rows = even_rows(self.genuine, self.folds, pairs)
        return replace(
            self, distances=self.distances[rows], genuine=self.genuine[rows], folds=self.folds[rows]
        )


@dataclass(frozen=True)
class Row:
    """One line of a list of pairs."""

    keys: tuple[str, str]
    genuine: bool
    fold: int


def pair_set(name: str, source: ImageSource, rows: Sequence[Row]) -> PairSet:
    """The set of the pairs that a list's lines name."""
    images = tuple(dict.fromkeys(key for row in rows for key in row.keys))
    place = {key: index for index, key in enumerate(images)}
    return PairSet(
        name=name,
        source=source,
        images=images,
        first=np.array([place[row.keys[0]] for row in rows]),
        second=np.array([place[row.keys[1]] for row in rows]),
        genuine=np.array([row.genuine for row in rows]),
        folds=np.array([row.fold for row in rows]),
    )


def needed_images(
    images: Sequence[str], first: Integers, second: Integers
) -> tuple[tuple[str, ...], Integers, Integers]:
    """Leaves out the images that no pair names.

    Args:
        images: All keys.
        first: (P,) the place in `images` of each pair's first image.
        second: (P,) the place of its second image.

    Returns:
        The keys that are left, in their order, and the places in them.
    """
    used, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    return tuple(images[index] for index in used), places[: first.size], places[first.size :]


def checked_array(values: ArrayLike, field: str, label: str) -> NDArray[Any]:
    """A read-only copy of a set's array.

    Args:
        values: A list of numbers, or of booleans where the field is "genuine".
        field: The attribute's name.
        label: What to call the set in messages.

    Returns:
        (N,) bool or int64.

    Raises:
        DatasetError: It is no such list.
    """
    array = np.asarray(values)
    kinds, dtype = ("b", np.bool_) if field == "genuine" else ("iu", np.int64)
    if array.ndim != 1 or (array.size and array.dtype.kind not in kinds):
        raise DatasetError(
            f"{label}: {field} must be a list of {'booleans' if kinds == 'b' else 'integers'}."
        )
    copied: NDArray[Any] = np.array(array, dtype=dtype)
    copied.setflags(write=False)
    return copied


def as_aligned_set(pairs: PairSet) -> PairSet:
    """Takes a set's images for aligned faces, in which no face is looked for.

    The size of the first image that can be read is checked; if others have another size, `measure_pairs`
    leaves them out and names them.

    Args:
        pairs: The data set.

    Returns:
        The same set, marked as aligned.

    Raises:
        ImageError: The first image is no crop of 112 x 112 pixels.
        DatasetError: An image is missing from the set.
    """
    for key, content in pairs.source.stream(pairs.images):
        name = key.rpartition("/")[2]
        try:
            photo = read_photo(content, name)
        except ImageError:
            continue
        as_aligned(photo, name)
        break
    return replace(pairs, aligned=True)
