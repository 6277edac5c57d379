"""Labelled data sets: photos of which it is known who shows the same person.

A set names its images by keys and carries a source that hands out their bytes. Nothing here decodes an image,
which is `xfv_demo.faces.images`' part. An archive's images are unpacked once, into the cache.

What can be read: LFW with its official lists of pairs, a CSV of pairs, a folder of people, and insightface's
.bin files. `open_dataset` tells them apart.
"""

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfv_demo.datasets.sources import ImageSource, first_few, quoted
from xfv_demo.errors import DatasetError, ImageError
from xfv_demo.faces.alignment import as_aligned
from xfv_demo.faces.images import PHOTO_SUFFIXES, read_photo
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


FOLDS = 10  # What sets without folds of their own are cut into, as LFW's View 2 is.
# Distances of float32 embeddings stray this far out of their range.
ROUNDING = 1e-6
SUFFIXES_TEXT = ", ".join(sorted(PHOTO_SUFFIXES))
PEOPLE_EXPECTED = "a folder of people holds one folder for each person, with the person's images in it"


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
            object.__setattr__(self, field, _checked(getattr(self, field), field, label))
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
        images, first, second = _needed(self.images, self.first[rows], self.second[rows])
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
        if pairs < 1:
            raise DatasetError(f"a subset of {pairs} pairs is no set; take at least 1, better 2 a fold.")
        if pairs >= len(self):
            return self
        return self.where(np.isin(np.arange(len(self)), even_rows(self.genuine, self.folds, pairs)))


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


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images of which it is known whom they show.

    Attributes:
        name: What the set is called in results.
        source: Hands out the images' bytes.
        images: (I,) distinct keys.
        person: (I,) int64, the place in `people` of the person whom each image shows.
        people: The persons' names.
        left_out: What lay among the images and is not called as a photo is, or lay outside of people's
            folders.

    Raises:
        DatasetError: If there is no image, a key comes twice, or `person` is not one place in `people` for
            each image.
    """

    name: str
    source: ImageSource
    images: tuple[str, ...]
    person: Integers
    people: tuple[str, ...]
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks all values."""
        label = quoted(self.name)
        object.__setattr__(self, "person", _checked(self.person, "person", label))
        if not self.images:
            raise DatasetError(f"{label} holds no images.")
        if self.person.size != len(self.images):
            raise DatasetError(f"{label}: there must be one person for each image.")
        if len(set(self.images)) < len(self.images):
            raise DatasetError(f"{label}: an image's key comes twice.")
        if self.person.min() < 0 or self.person.max() >= len(self.people):
            raise DatasetError(f"{label}: an image is of a person whom the set does not have.")

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    @property
    def notice(self) -> str | None:
        """A line that names what was left out; None where nothing was."""
        if not self.left_out:
            return None
        count = f"{len(self.left_out)} files" if len(self.left_out) > 1 else "1 file"
        return (
            f"{quoted(self.name)}: {count} left out, {first_few(self.left_out)}; photos are taken from "
            f"folders of people and end in {SUFFIXES_TEXT}"
        )

    def of(self, people: Container[str]) -> "LabelledImages":
        """The images of some of the people.

        Args:
            people: Their names; names that the set does not have do not matter.

        Returns:
            A set of those images, in their order, with those people.

        Raises:
            DatasetError: If there are none.
        """
        kept = [place for place, name in enumerate(self.people) if name in people]
        rows = np.flatnonzero(np.isin(self.person, kept))
        return replace(
            self,
            images=tuple(self.images[row] for row in rows),
            person=np.searchsorted(kept, self.person[rows]),
            people=tuple(self.people[place] for place in kept),
        )

    def pairs(self, count: int, rng: np.random.Generator, folds: int = FOLDS) -> PairSet:
        """Draws pairs, as many genuine as impostor ones, none of them twice.

        As in LFW's View 2, people are dealt to folds first and pairs drawn within each, so that no person is
        in two folds; and people are drawn rather than images, so that someone with hundreds of images does
        not fill the set: each person with two images or more gives nearly as many genuine pairs as each
        other, each two persons nearly as many impostor pairs.

        A fold needs two people, one of them with two images. A set that cannot fill the folds asked for is
        cut into fewer. If it cannot fill even two, the pairs are drawn from all people and dealt evenly to
        the folds, which then share people. If there are not as many distinct pairs as asked for, all that can
        be balanced are taken: look at the result's length.

        Args:
            count: How many pairs, half of them genuine; an odd number is rounded down.
            rng: Source of randomness; the same seed gives the same pairs.
            folds: How many folds.

        Returns:
            The pairs, fold by fold, genuine ones before impostor ones.

        Raises:
            DatasetError: If fewer than 2 pairs or 1 fold are asked for, all images are of one person, or
                nobody has two images.
        """
        label = quoted(self.name)
        if count < 2 or folds < 1:
            raise DatasetError(f"{count} pairs in {folds} folds cannot be drawn; ask for 2 pairs and 1 fold.")
        albums = [album for album in self._albums() if album.size]
        repeated = sum(album.size > 1 for album in albums)
        if len(albums) < 2:
            raise DatasetError(f"{label} shows one person only; impostor pairs need two. {_PEOPLE_HINT}")
        if not repeated:
            raise DatasetError(f"{label} has no person twice; genuine pairs need two images. {_PEOPLE_HINT}")
        wanted = count // 2
        disjoint = min(folds, wanted, repeated, len(albums) // 2)
        # Those with several images are dealt first, so that every fold gets some, and then the others.
        dealt = sorted((albums[index] for index in rng.permutation(len(albums))), key=lambda a: a.size < 2)
        groups = [dealt[start::disjoint] for start in range(disjoint)]
        drawn: list[tuple[int, int]] = []
        genuine: list[Booleans] = []
        fold_of: list[Integers] = []
        for fold, (group, share) in enumerate(
            zip(groups, _even_shares([_most_pairs(group) for group in groups], wanted), strict=True)
        ):
            drawn += _draw_genuine(group, share, rng)
            drawn += _draw_impostor(group, share, rng)
            genuine.append(np.repeat([True, False], share))
            of_each = _consecutive(share, min(folds, share)) if disjoint == 1 else np.full(share, fold)
            fold_of.append(np.tile(of_each, 2))
        order = np.argsort(np.concatenate(fold_of), kind="stable")
        chosen = np.array(drawn)[order]
        images, first, second = _needed(self.images, chosen[:, 0], chosen[:, 1])
        return PairSet(
            name=self.name,
            source=self.source,
            images=images,
            first=first,
            second=second,
            genuine=np.concatenate(genuine)[order],
            folds=np.concatenate(fold_of)[order],
        )

    def _albums(self) -> list[Integers]:
        """The places of each person's images."""
        sizes = np.bincount(self.person, minlength=len(self.people))
        return np.split(np.argsort(self.person, kind="stable"), np.cumsum(sizes)[:-1])


_PEOPLE_HINT = f"Mind that {PEOPLE_EXPECTED}."


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


def folds_by_class(genuine: Booleans) -> Integers:
    """Cuts each class into ten consecutive folds, or as many as the smaller class has pairs."""
    folds = np.zeros(genuine.size, dtype=np.int64)
    classes = [np.flatnonzero(genuine == label) for label in (True, False)]
    number = max(1, min(FOLDS, *(members.size for members in classes)))
    for members in classes:
        folds[members] = _consecutive(members.size, number)
    return folds


# Drawing pairs


def even_rows(genuine: Booleans, folds: Integers, count: int) -> Integers:
    """Which pairs an even subset has; see `PairSet.subset`.

    Args:
        genuine: (P,) bool.
        folds: (P,) each pair's fold.
        count: How many pairs, at most P.

    Returns:
        Their places, growing.
    """
    chosen = []
    of_class = [int(np.count_nonzero(genuine)), int(np.count_nonzero(~genuine))]
    for label, share in zip((True, False), _even_shares(of_class, count), strict=True):
        groups = [np.flatnonzero((folds == fold) & (genuine == label)) for fold in np.unique(folds)]
        for group, some in zip(groups, _even_shares([len(group) for group in groups], share), strict=True):
            # The middles of as many equal stretches.
            chosen.append(group[(2 * np.arange(some) + 1) * len(group) // (2 * max(some, 1))])
    return np.sort(np.concatenate(chosen))


def _consecutive(count: int, folds: int) -> Integers:
    """Cuts pairs into consecutive folds whose sizes differ by one at most."""
    return np.arange(count, dtype=np.int64) * folds // max(count, 1)


def _even_shares(capacities: Sequence[int], total: int) -> list[int]:
    """Takes a number of things from groups, from each as many as from each other as far as it has them.

    What does not divide evenly comes from the groups that stand first.
    """
    available = np.array(capacities, dtype=np.int64)
    shares = np.zeros_like(available)
    left = min(total, int(available.sum()))
    while left:
        giving = np.flatnonzero(shares < available)[:left]
        step = min(left // giving.size, int((available - shares)[giving].min()))
        shares[giving] += step
        left -= step * giving.size
    return [int(share) for share in shares]


def _most_pairs(albums: Sequence[Integers]) -> int:
    """How many genuine pairs, with as many impostor ones, a group of people has."""
    images = sum(album.size for album in albums)
    genuine = sum(math.comb(album.size, 2) for album in albums)
    return min(genuine, math.comb(images, 2) - genuine)


def _draw_genuine(albums: Sequence[Integers], count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    people = [albums[index] for index in rng.permutation(len(albums))]
    capacities = [math.comb(album.size, 2) for album in people]
    drawn = []
    for album, capacity, share in zip(people, capacities, _even_shares(capacities, count), strict=True):
        for code in rng.choice(capacity, share, replace=False) if share else ():
            low, high = _two_of_many(int(code))
            drawn.append((int(album[low]), int(album[high])))
    return drawn


def _draw_impostor(albums: Sequence[Integers], count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    # Thousands of people meet in millions of ways, so that no more of these are written out than needed.
    meetings = math.comb(len(albums), 2)
    codes = rng.choice(meetings, min(meetings, count), replace=False)
    people = [tuple(albums[index] for index in _two_of_many(int(code))) for code in codes]
    capacities = [one.size * other.size for one, other in people]
    drawn = []
    for (one, other), capacity, share in zip(
        people, capacities, _even_shares(capacities, count), strict=True
    ):
        for code in rng.choice(capacity, share, replace=False):
            drawn.append((int(one[code // other.size]), int(other[code % other.size])))
    return drawn


def _two_of_many(code: int) -> tuple[int, int]:
    """The pair low < high of a number from 0 up, in the order (0, 1), (0, 2), (1, 2), (0, 3), ..."""
    high = (1 + math.isqrt(1 + 8 * code)) // 2
    return code - math.comb(high, 2), high


def _needed(
    images: Sequence[str], first: Integers, second: Integers
) -> tuple[tuple[str, ...], Integers, Integers]:
    """Leaves out the images that no pair names."""
    used, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    return tuple(images[index] for index in used), places[: first.size], places[first.size :]


def _checked(values: ArrayLike, field: str, label: str) -> NDArray[Any]:
    """A read-only copy of a set's array."""
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
