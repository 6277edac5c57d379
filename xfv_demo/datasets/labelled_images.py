"""Images of which it is known whom they show, and the pairs that are drawn of them."""

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

import numpy as np

from xfv_demo.datasets.folds import FOLDS, consecutive_folds, even_shares
from xfv_demo.datasets.pairs import PairSet, checked_array, needed_images
from xfv_demo.datasets.sources import ImageSource, first_few, quoted
from xfv_demo.errors import DatasetError
from xfv_demo.faces.images import PHOTO_SUFFIXES
from xfv_demo.metrics.intervals import Booleans, Integers

SUFFIXES_TEXT = ", ".join(sorted(PHOTO_SUFFIXES))
PEOPLE_EXPECTED = "a folder of people holds one folder for each person, with the person's images in it"
_PEOPLE_HINT = f"Mind that {PEOPLE_EXPECTED}."


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
        object.__setattr__(self, "person", checked_array(self.person, "person", label))
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
            zip(groups, even_shares([_most_pairs(group) for group in groups], wanted), strict=True)
        ):
            drawn += _draw_genuine(group, share, rng)
            drawn += _draw_impostor(group, share, rng)
            genuine.append(np.repeat([True, False], share))
            of_each = consecutive_folds(share, min(folds, share)) if disjoint == 1 else np.full(share, fold)
            fold_of.append(np.tile(of_each, 2))
        order = np.argsort(np.concatenate(fold_of), kind="stable")
        chosen = np.array(drawn)[order]
        images, first, second = needed_images(self.images, chosen[:, 0], chosen[:, 1])
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


def _most_pairs(albums: Sequence[Integers]) -> int:
    """How many genuine pairs, with as many impostor ones, a group of people has."""
    images = sum(album.size for album in albums)
    genuine = sum(math.comb(album.size, 2) for album in albums)
    return min(genuine, math.comb(images, 2) - genuine)


def _draw_genuine(albums: Sequence[Integers], count: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    people = [albums[index] for index in rng.permutation(len(albums))]
    capacities = [math.comb(album.size, 2) for album in people]
    drawn = []
    for album, capacity, share in zip(people, capacities, even_shares(capacities, count), strict=True):
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
    for (one, other), capacity, share in zip(people, capacities, even_shares(capacities, count), strict=True):
        for code in rng.choice(capacity, share, replace=False):
            drawn.append((int(one[code // other.size]), int(other[code % other.size])))
    return drawn


def _two_of_many(code: int) -> tuple[int, int]:
    """The pair low < high of a number from 0 up, in the order (0, 1), (0, 2), (1, 2), (0, 3), ..."""
    high = (1 + math.isqrt(1 + 8 * code)) // 2
    return code - math.comb(high, 2), high
