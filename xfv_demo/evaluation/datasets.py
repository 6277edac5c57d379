"""Labelled data sets: photos of which it is known who shows the same person.

A set names its images by keys and carries a source that hands out their bytes. Nothing here decodes an image,
which is `xfv_demo.images`' part. An archive's images are unpacked once, into the cache.

What can be read: LFW with its official lists of pairs, a CSV of pairs, a folder of people, and insightface's
.bin files. `open_dataset` tells them apart.
"""

import csv
import gzip
import hashlib
import io
import math
import os
import shutil
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xfv_demo.assets import cache_folder
from xfv_demo.errors import DatasetError, printable
from xfv_demo.evaluation.insightface_bin import PairListReader
from xfv_demo.images import MAX_FILE_BYTES, PHOTO_SUFFIXES

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
PathName: TypeAlias = str | os.PathLike[str]

FOLDS = 10  # What sets without folds of their own are cut into, as LFW's View 2 is.

# What systems put into folders of photos by themselves; not worth a word. Others of theirs are hidden files.
_OF_SYSTEMS = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})

_ARCHIVE_SUFFIXES = (".tgz", ".tar.gz", ".tar")
_GZIP_MARK = b"\x1f\x8b"
# What an archive may unpack to, as a multiple of its size: photos are compressed already. Small ones may
# unpack to 64 MB in any case.
_LARGEST_GROWTH = 20
_GROWTH_ALLOWED = 64 << 20

_TRUE = frozenset({"1", "true", "yes", "same", "genuine"})
_FALSE = frozenset({"0", "false", "no", "different", "impostor"})

_DISTANCE_COLUMNS = frozenset({"distance", "similarity", "genuine", "fold", "first", "second"})
# Distances of float32 embeddings stray this far out of their range.
_ROUNDING = 1e-6

_NAMED_AT_MOST = 3  # How many missing images a message names.

_LFW_EXPECTED = (
    "give the folder that holds lfw-deepfunneled/ or lfw-deepfunneled.tgz and pairs.txt, as the LFW web site "
    "has them, or the path of the .tgz"
)
_SUFFIXES_TEXT = ", ".join(sorted(PHOTO_SUFFIXES))
_PEOPLE_EXPECTED = "a folder of people holds one folder for each person, with the person's images in it"


class ImageSource(Protocol):
    """Where a set's images come from.

    Attributes:
        name: The folder's or file's name, for messages.
    """

    name: str

    def stream(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yields each image once, in the order that is quickest for the source.

        Args:
            keys: Which images; a key that comes twice counts once.

        Yields:
            Key and bytes of the image's file.

        Raises:
            DatasetError: If images are missing or cannot be read.
        """
        ...


class FolderImages:
    """Images in a folder; their keys are paths relative to it, with forward slashes, or absolute paths.

    Args:
        root: The folder.
        archive: What it was unpacked from, which messages name in its place.
    """

    def __init__(self, root: PathName, archive: PathName | None = None) -> None:
        self.root = Path(root)
        shown = Path(archive or root)
        self.name = shown.name or str(shown)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """The keys that no regular file stands behind."""
        return [key for key in keys if not _is_file(self.root / key)]

    def stream(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yields the images in the order asked for; see `ImageSource.stream`.

        Raises:
            DatasetError: If images are missing, before the first one is yielded; or if one cannot be read.
        """
        wanted = tuple(dict.fromkeys(keys))
        _refuse_missing(self.name, self.missing(wanted), len(wanted))
        for key in wanted:
            yield key, _read_bytes(self.root / key, key, at_most=MAX_FILE_BYTES)


class MemoryImages:
    """Images held in memory.

    Args:
        name: Of the file that they came from, for messages.
        images: The bytes of each image's file by key.
    """

    def __init__(self, name: str, images: Mapping[str, bytes]) -> None:
        self.name = name
        self._images = dict(images)

    def stream(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yields the images in the order asked for; see `ImageSource.stream`.

        Raises:
            DatasetError: If images are missing, before the first one is yielded.
        """
        wanted = tuple(dict.fromkeys(keys))
        _refuse_missing(self.name, [key for key in wanted if key not in self._images], len(wanted))
        for key in wanted:
            yield key, self._images[key]


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
                f"{_quoted(self.name)} {where} {genuine} genuine and {impostor} impostor pairs; at least "
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
        label = _quoted(self.name)
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
            raise DatasetError(f"{label}: pair {alike[0] + 1} is an image with itself, {_quoted(image)}.")
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
        label = _quoted(self.name)
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
            f"{_quoted(self.name)}: {count} left out, {_some(self.left_out)}; photos are taken from folders "
            f"of people and end in {_SUFFIXES_TEXT}"
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
        label = _quoted(self.name)
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


_PEOPLE_HINT = f"Mind that {_PEOPLE_EXPECTED}."

Dataset: TypeAlias = PairSet | LabelledImages


def open_dataset(path: PathName, *, pairs_file: PathName | None = None, name: str | None = None) -> Dataset:
    """Reads a labelled set of whatever kind lies at a path.

    A file is told by its ending: .bin is insightface's, .csv a list of pairs, .tgz, .tar.gz or .tar is LFW. A
    folder is LFW if it holds pairs.txt or an archive called lfw*, if it is called lfw* and has pairs.txt
    beside it, or if `pairs_file` is given. Any other folder is one of people.

    Args:
        path: The file or folder.
        pairs_file: LFW's list of pairs, if another than pairs.txt.
        name: What to call the set in results; by default what its reader calls it.

    Returns:
        A `PairSet`; for a folder of people `LabelledImages`, from which `pairs` draws one.

    Raises:
        DatasetError: If there is nothing at the path, nothing of these kinds, or as the kind's own reader.
    """
    dataset = _open(Path(path), pairs_file)
    return dataset if name is None else replace(dataset, name=name)


def read_lfw(data: PathName, pairs_file: PathName | None = None) -> PairSet:
    """Reads Labeled Faces in the Wild with one of its official lists of pairs.

    Huang et al., "Labeled Faces in the Wild", technical report 07-49, University of Massachusetts, 2007.
    pairs.txt is View 2, for reporting: ten folds of 300 genuine and 300 impostor pairs. pairsDevTrain.txt and
    pairsDevTest.txt are View 1, for choosing models, of one fold each.

    Args:
        data: A folder with the images, either in folders by name (Name/Name_0001.jpg) or one level deeper
            (lfw-deepfunneled/Name/Name_0001.jpg, lfw/, lfw_funneled/); or a folder with an archive of them
            (lfw*.tgz), which counts only where there are no images; or the path of the archive.
        pairs_file: The list of pairs; by default pairs.txt in the folder, beside the archive, or beside the
            folder.

    Returns:
        The pairs, in the list's order. The name is "lfw" for pairs.txt, else "lfw-" and the list's name.

    Raises:
        DatasetError: If data or list are not there, the list is malformed, or images that it names are
            missing.
    """
    path = Path(data)
    in_archive = _is_file(path) and _is_archive(path.name)
    if not in_archive and not _is_folder(path):
        found = "is no archive of LFW" if _is_file(path) else "was not found"
        raise DatasetError(f"{_quoted(path)} {found}; {_LFW_EXPECTED}.")
    if pairs_file is None:
        chosen = next(filter(_is_file, (path / "pairs.txt", path.parent / "pairs.txt")), None)
        if chosen is None:
            raise DatasetError(f"{_quoted(path)} has no pairs.txt in it or beside it; {_LFW_EXPECTED}.")
    else:
        chosen = Path(pairs_file)
    rows = _parse_lfw_pairs(chosen)
    images = frozenset(key for row in rows for key in row.keys)
    people = {key.partition("/")[0] for key in images}
    source = _find_lfw(path, people)
    _refuse_missing(source.name, source.missing(sorted(images)), len(images))
    return _pair_set(
        "lfw" if chosen.stem == "pairs" else f"lfw-{chosen.stem}",
        source,
        rows,
    )


def read_pairs_csv(path: PathName) -> PairSet:
    """Reads a CSV of pairs.

    The first line names the columns, in any order: "first" and "second" hold the images' paths, relative to
    the CSV's folder; "genuine" holds 1, true, yes, same or genuine, or 0, false, no, different or impostor;
    "fold", which may be left out, holds a whole number. Other columns are ignored, as are empty lines.

    Without folds, each class is cut into ten in the order of the lines, or into as many as the smaller class
    has pairs: lines that stand together stay together, and every fold holds both classes.

    Args:
        path: The CSV, in UTF-8, with commas.

    Returns:
        The pairs, named after the file. Folds are numbered from 0 in the order of the numbers given.

    Raises:
        DatasetError: If the file cannot be read, a column is missing, a line is malformed or gives the pair
            of another line again, or images are missing.
    """
    file = Path(path)
    label = _quoted(file.name)
    rows: list[_Row] = []
    line_of: dict[frozenset[str], int] = {}
    lines = _csv_lines(file)
    columns = _csv_columns(_csv_header(lines), label)
    for number, cells in lines:
        line = f"{label}, line {number}"
        row = _csv_row(cells, columns, line)
        if len(set(row.keys)) == 1:
            raise DatasetError(f"{line}: {_quoted(row.keys[0])} is paired with itself.")
        earlier = line_of.setdefault(frozenset(row.keys), number)
        if earlier != number:
            raise DatasetError(f"{line} gives the pair of line {earlier} again; remove one of the two.")
        rows.append(row)
    source = FolderImages(file.parent)
    images = tuple(dict.fromkeys(key for row in rows for key in row.keys))
    missing = source.missing(images)
    if missing:
        _refuse_missing(file.name, missing, len(images), "paths count from the CSV's folder.")
    if "fold" in columns:
        numbers = np.unique([row.fold for row in rows], return_inverse=True)[1]
    else:
        numbers = _folds_by_class(np.array([row.genuine for row in rows]))
    return _pair_set(
        file.stem,
        source,
        [replace(row, fold=int(fold)) for row, fold in zip(rows, numbers, strict=True)],
    )


def read_distances_csv(path: PathName) -> LabelledDistances:
    """Reads distances of pairs that were measured elsewhere, by whatever model.

    The first line names the columns, in any order: "distance" holds cosine distances in [0, 2], or
    "similarity" in its place cosine similarities in [-1, 1], of which the distance is 1 minus it; "genuine"
    and "fold" are as for `read_pairs_csv`, and so are the folds of a file without. "first" and "second" may
    be there and are ignored; no other column may, since one that is misspelt would be left out in silence.

    Args:
        path: The CSV, in UTF-8, with commas.

    Returns:
        The pairs, named after the file, in the order of the lines.

    Raises:
        DatasetError: If the file cannot be read, the columns are others, a line is malformed, a number is
            none or out of its range, or all pairs are of one class.
    """
    file = Path(path)
    label = _quoted(file.name)
    lines = _csv_lines(file)
    columns = _distance_columns(_csv_header(lines), label)
    distances: list[float] = []
    genuine: list[bool] = []
    folds: list[int] = []
    for number, cells in lines:
        line = f"{label}, line {number}"
        distances.append(_csv_distance(cells, columns, line))
        genuine.append(_csv_genuine(cells, columns, line))
        folds.append(_csv_fold(cells, columns, line))
    labels = np.array(genuine)
    if labels.all() or not labels.any():
        present = "genuine" if labels.all() else "impostor"
        raise DatasetError(f"{label} holds {present} pairs only; both genuine and impostor ones are needed.")
    given = np.unique(folds, return_inverse=True)[1] if "fold" in columns else None
    return LabelledDistances(
        name=file.stem,
        distances=np.array(distances),
        genuine=labels,
        folds=_folds_by_class(labels) if given is None else given.astype(np.int64),
    )


def read_people_folder(root: PathName) -> LabelledImages:
    """Reads a folder with one folder for each person, as torchvision's ImageFolder has it.

    Files that are not called as photos are (`PHOTO_SUFFIXES`, in upper or lower case) and loose photos are
    left out and named in `LabelledImages.left_out`; hidden files and folders, and folders without an image,
    are left out without a word. What lies deeper than root/person/image is not looked at.

    Args:
        root: The folder.

    Returns:
        The images, in the order of people and file names; named after the folder.

    Raises:
        DatasetError: If it is no folder, cannot be read, or holds no such images.
    """
    folder = Path(root)
    if not _is_folder(folder):
        found = "is no folder" if _is_file(folder) else "was not found"
        raise DatasetError(f"{_quoted(folder)} {found}; {_PEOPLE_EXPECTED}.")
    return _people_in(folder, folder, folder.resolve().name or "people")


def _people_in(folder: Path, given: Path, name: str) -> LabelledImages:
    """The images of a folder of people; messages name what the user gave."""
    images: list[str] = []
    person: list[int] = []
    people: list[str] = []
    folders, loose = _contents(folder)
    left_out = [file for file in loose if _is_called_as_photo(file)]
    for person_folder in folders:
        held = _contents(folder / person_folder)[1]
        files = [file for file in held if _is_called_as_photo(file)]
        left_out += [f"{person_folder}/{file}" for file in held if _is_left_out(file)]
        if files:
            images += [f"{person_folder}/{file}" for file in files]
            person += [len(people)] * len(files)
            people.append(person_folder)
    if not images:
        found = f", but {_some(left_out)}" if left_out else ""
        raise DatasetError(
            f"{_quoted(given)} holds no images of people{found}; {_PEOPLE_EXPECTED}, in files that end in "
            f"{_SUFFIXES_TEXT}."
        )
    return LabelledImages(
        name=name,
        source=FolderImages(folder, given),
        images=tuple(images),
        person=np.array(person),
        people=tuple(people),
        left_out=tuple(left_out),
    )


def read_people(path: PathName) -> LabelledImages:
    """Reads images by person: a folder with one folder for each, or LFW as it is downloaded.

    Args:
        path: A folder as `read_people_folder` takes it; an archive of such a folder, as LFW's .tgz; or a
            folder that holds no people but an archive called lfw*, or LFW's own folder (lfw-deepfunneled/).

    Returns:
        The images by person.

    Raises:
        DatasetError: If there is none of these.
    """
    given = Path(path)
    if _is_file(given) and _is_archive(given.name):
        return _people_of_archive(given)
    if _is_folder(given):
        folders, files = _contents(given)
        archives = [name for name in files if _is_lfw_archive(name)]
        inner = [name for name in folders if name.startswith("lfw")]
        if len(folders) == len(inner) == 1:
            return read_people_folder(given / inner[0])
        if not folders and archives:
            return _people_of_archive(given / archives[0])
    return read_people_folder(given)


def _people_of_archive(path: Path) -> LabelledImages:
    return _people_in(
        unpacked(path), path, "lfw" if path.name.startswith("lfw") else path.name.partition(".")[0]
    )


def read_insightface_bin(path: PathName) -> PairSet:
    """Reads a verification set of insightface: a .bin file, as lfw.bin, cfp_fp.bin or agedb_30.bin.

    The file is a pickle of a list of encoded images, two for each pair, and a list that says whether a pair
    shows one person. A pickle is a program: `PairListReader` lets only those few instructions through that
    build such lists, and nothing that the file names is imported or called. Written by Python 2 or 3,
    protocol 1 or later; images as bytes or NumPy's uint8.

    Args:
        path: The file.

    Returns:
        The pairs, named after the file; their images are aligned faces. Images that come several times have
        several keys. The ten folds are consecutive, as insightface's own evaluation has them with
        scikit-learn's KFold(n_splits=10, shuffle=False): where the pairs do not divide by ten, the first
        folds have one more.

    Raises:
        DatasetError: If the file cannot be read, is cut off or damaged, holds other than such lists, or asks
            for anything to be run.
    """
    file = Path(path)
    images, genuine = PairListReader(_read_bytes(file, file.name), _quoted(file.name)).read()
    keys = tuple(f"{index:06d}" for index in range(len(images)))
    places = np.arange(len(images))
    return PairSet(
        name=file.stem,
        source=MemoryImages(file.name, dict(zip(keys, images, strict=True))),
        images=keys,
        first=places[0::2],
        second=places[1::2],
        genuine=genuine,
        # The pieces are as large as KFold's: those that come first take what is left over.
        folds=np.repeat(np.arange(FOLDS), [piece.size for piece in np.array_split(genuine, FOLDS)]),
        aligned=True,
    )


@dataclass(frozen=True)
class _Row:
    """One line of a list of pairs."""

    keys: tuple[str, str]
    genuine: bool
    fold: int


def _pair_set(name: str, source: ImageSource, rows: Sequence[_Row]) -> PairSet:
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


def _open(path: Path, pairs_file: PathName | None) -> Dataset:
    suffix = path.suffix.lower()
    if _is_folder(path):
        if pairs_file is not None or _looks_like_lfw(path):
            return read_lfw(path, pairs_file)
        return read_people_folder(path)
    if not _is_file(path):
        raise DatasetError(f"{_quoted(path)} was not found; check the path of the data set.")
    if _is_archive(path.name):
        return read_lfw(path, pairs_file)
    if pairs_file is not None:
        raise DatasetError(f"{_quoted(path)} has its own pairs; a list of pairs can be given with LFW only.")
    if suffix == ".csv":
        return read_pairs_csv(path)
    if suffix == ".bin":
        return read_insightface_bin(path)
    raise DatasetError(
        f"{_quoted(path)} is no data set that can be read; give LFW (its folder or .tgz), a .csv of pairs, a "
        "folder of people, or an insightface .bin."
    )


def _looks_like_lfw(folder: Path) -> bool:
    if _is_file(folder / "pairs.txt"):
        return True
    if folder.name.startswith("lfw") and _is_file(folder.parent / "pairs.txt"):
        return True
    return any(_is_lfw_archive(name) for name in _contents(folder)[1])


def _is_archive(name: str) -> bool:
    return name.lower().endswith(_ARCHIVE_SUFFIXES)


def _is_lfw_archive(name: str) -> bool:
    return name.startswith("lfw") and _is_archive(name)


def _find_lfw(path: Path, people: set[str]) -> FolderImages:
    """Finds the images of LFW, by the folders that are called as people of the list are."""
    folder = unpacked(path) if _is_file(path) else path
    subfolders, files = _contents(folder)
    if people.intersection(subfolders):
        return FolderImages(folder, path)
    trees = [name for name in subfolders if people.intersection(_contents(folder / name)[0])]
    found = trees or [name for name in files if _is_lfw_archive(name) and folder == path]
    if not found:
        raise DatasetError(f"{_quoted(path)} holds no images of LFW; {_LFW_EXPECTED}.")
    if len(found) > 1:
        # They are aligned differently and give different numbers: not ours to choose.
        raise DatasetError(
            f"{_quoted(path)} holds LFW several times ({_some(found)}); give the path of one of them."
        )
    return FolderImages(folder / found[0]) if trees else _find_lfw(path / found[0], people)


def _parse_lfw_pairs(path: Path) -> list[_Row]:
    """Reads one of LFW's lists; the keys are as Name/Name_0001.jpg."""
    label = _quoted(path.name)
    lines = [(number, line.split()) for number, line in enumerate(_read_text(path).split("\n"), 1)]
    lines = [(number, words) for number, words in lines if words]
    header = [_whole_number(word) for word in lines[0][1]] if lines else []
    sizes = [size for size in header if size]
    if len(sizes) != len(header) or len(sizes) not in (1, 2):
        raise DatasetError(
            f'{label}, line 1 must hold the number of folds and of pairs, as "10 300", or of pairs only; is '
            "this one of LFW's lists of pairs?"
        )
    folds, of_each_class = sizes if len(sizes) == 2 else (1, sizes[0])
    expected = 2 * folds * of_each_class
    if len(lines) - 1 != expected:
        raise DatasetError(
            f"{label} announces {expected} pairs but holds {len(lines) - 1}; copy or download it again."
        )
    rows = []
    for index, (number, words) in enumerate(lines[1:]):
        fold, place = divmod(index, 2 * of_each_class)
        genuine = place < of_each_class
        keys = _lfw_keys(words, genuine=genuine)
        if keys is None:
            shape = 'a name and two numbers, as "Name 1 2"' if genuine else 'two images, as "Name 1 Other 2"'
            raise DatasetError(f"{label}, line {number} must hold {shape}.")
        rows.append(_Row(keys=keys, genuine=genuine, fold=fold))
    return rows


def _lfw_keys(words: list[str], *, genuine: bool) -> tuple[str, str] | None:
    """The two images of a line; None if it is malformed."""
    if len(words) != (3 if genuine else 4):
        return None
    if genuine:
        words = [words[0], words[1], words[0], words[2]]
    names, numbers = words[0::2], [_whole_number(word) for word in words[1::2]]
    if (names[0] == names[1]) != genuine or (genuine and numbers[0] == numbers[1]):
        return None
    if not all(numbers) or any(sign in name for name in names for sign in "/\\\0"):
        return None
    first, second = (f"{name}/{name}_{number:04d}.jpg" for name, number in zip(names, numbers, strict=True))
    return first, second


def _whole_number(text: str) -> int | None:
    """A number from 0 to 999,999,999; None if the text is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else None


def _csv_lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The number and the cells of each line of a CSV that is not empty; the first names the columns."""
    label = _quoted(file.name)
    reader = csv.reader(io.StringIO(_read_text(file), newline=""), strict=True)
    columns = lines = 0
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            columns = columns or len(cells)
            if len(cells) != columns:
                raise DatasetError(
                    f"{label}, line {reader.line_num} has {len(cells)} cells, but the first line {columns}; "
                    "quote paths that hold a comma."
                )
            yield reader.line_num, [cell.strip() for cell in cells]
            lines += 1
    except csv.Error as error:
        raise DatasetError(f"{label}, line {reader.line_num} is no line of a CSV ({error}).") from error
    if lines == 1:
        raise DatasetError(f"{label} holds no pairs; write one in each line after the first.")


def _csv_header(lines: Iterator[tuple[int, list[str]]]) -> list[str]:
    return [name.lower() for name in next(lines, (0, []))[1]]


def _csv_columns(header: list[str], label: str) -> dict[str, int]:
    names = ("first", "second", "genuine", "fold")
    columns: dict[str, int] = {name: header.index(name) for name in names if name in header}
    lacking = [name for name in names[:-1] if name not in columns]
    if lacking:
        raise DatasetError(
            f'{label} lacks the column "{lacking[0]}"; its first line must be "first,second,genuine", with '
            '"fold" if there are folds.'
        )
    _refuse_twice(header, columns, label)
    return columns


def _distance_columns(header: list[str], label: str) -> dict[str, int]:
    expected = (
        'its first line must be "distance,genuine", or "similarity,genuine", with "fold" if there are folds.'
    )
    unknown = [name for name in header if name not in _DISTANCE_COLUMNS]
    if unknown:
        raise DatasetError(f"{label} has the unknown column {_quoted(unknown[0])}; {expected}")
    columns = {name: header.index(name) for name in header}
    if "genuine" not in columns or ("distance" in columns) == ("similarity" in columns):
        raise DatasetError(f"{label} has the columns {_quoted(', '.join(header))}; {expected}")
    _refuse_twice(header, columns, label)
    return columns


def _refuse_twice(header: list[str], columns: Iterable[str], label: str) -> None:
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise DatasetError(f'{label} has the column "{twice[0]}" twice; remove one.')


def _csv_row(cells: list[str], columns: Mapping[str, int], line: str) -> _Row:
    paths = cells[columns["first"]], cells[columns["second"]]
    if not all(paths):
        raise DatasetError(f"{line} lacks the path of an image.")
    genuine, fold = _csv_genuine(cells, columns, line), _csv_fold(cells, columns, line)
    first, second = (Path(path).as_posix() for path in paths)
    return _Row(keys=(first, second), genuine=genuine, fold=fold)


def _csv_genuine(cells: list[str], columns: Mapping[str, int], line: str) -> bool:
    said = cells[columns["genuine"]].lower()
    if said not in _TRUE | _FALSE:
        raise DatasetError(f"{line}: {_quoted(said)} in genuine says neither 1 (one person) nor 0 (two).")
    return said in _TRUE


def _csv_fold(cells: list[str], columns: Mapping[str, int], line: str) -> int:
    fold = _whole_number(cells[columns["fold"]]) if "fold" in columns else 0
    if fold is None:
        raise DatasetError(f"{line}: the fold {_quoted(cells[columns['fold']])} is no whole number.")
    return fold


def _csv_distance(cells: list[str], columns: Mapping[str, int], line: str) -> float:
    name, low, high = ("distance", 0, 2) if "distance" in columns else ("similarity", -1, 1)
    said = cells[columns[name]]
    try:
        value = float(said)
    except ValueError:
        value = math.nan
    if not low - _ROUNDING <= value <= high + _ROUNDING:  # so put that NaN fails
        raise DatasetError(f"{line}: the {name} {_quoted(said)} is no number from {low} to {high}.")
    return min(max(value if name == "distance" else 1 - value, 0.0), 2.0)


def _folds_by_class(genuine: Booleans) -> Integers:
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


# Files and folders


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):  # ValueError: a zero byte
        return None


def _is_file(path: Path) -> bool:
    status = _status(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def _is_folder(path: Path) -> bool:
    status = _status(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def _contents(folder: Path) -> tuple[list[str], list[str]]:
    """The names of a folder's visible folders and files, sorted."""
    try:
        with os.scandir(folder) as entries:
            visible = sorted((entry for entry in entries if not entry.name.startswith(".")), key=_entry_name)
            return (
                [entry.name for entry in visible if entry.is_dir()],
                [entry.name for entry in visible if entry.is_file()],
            )
    except OSError as error:
        raise _unreadable(str(folder), error) from error


def _is_called_as_photo(file: str) -> bool:
    return PurePosixPath(file).suffix.lower() in PHOTO_SUFFIXES


def _is_left_out(file: str) -> bool:
    """Whether a file among photos is none by its name, and no system's own."""
    return not _is_called_as_photo(file) and PurePosixPath(file).name.lower() not in _OF_SYSTEMS


def _entry_name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _open_file(path: Path) -> io.BufferedReader:
    # Asked before opening: to open a pipe or a device may wait for ever.
    if not _is_file(path):
        found = "is no file" if _status(path) is not None else "was not found"
        raise DatasetError(f"{_quoted(path)} {found}; check the path.")
    return path.open("rb")


def unpacked(path: Path) -> Path:
    """Unpacks an archive into the cache, if its images are not there yet.

    Only images come out; of other files, which `LabelledImages.left_out` names, an empty one. What is no
    plain file (a link, a device) is left out, as are hidden ones and those that lead out of the archive. Of
    several members of one path the first is taken.

    Args:
        path: A .tgz, .tar.gz or .tar.

    Returns:
        The folder of the images; within those that hold nothing but one folder of folders.

    Raises:
        DatasetError: If the archive cannot be read, is cut off or damaged, or unpacks to more than photos do;
            if the cache cannot be written.
    """
    with _open_file(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        folder = cache_folder() / "datasets" / digest[:32]
        if not folder.is_dir():
            file.seek(0)
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                # So what has the folder's name is whole, however the process that unpacked it ended.
                with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as part:
                    _unpack(file, path.name, Path(part) / "images")
                    (Path(part) / "images").rename(folder)
            except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError) as error:
                raise DatasetError(
                    f"{_quoted(path.name)} is cut off, damaged or no tar archive; copy or download it again."
                ) from error
            except OSError as error:
                if not folder.is_dir():  # Else another process was quicker.
                    raise DatasetError(
                        f"{_quoted(path.name)} cannot be unpacked into {_quoted(folder.parent)} "
                        f"({error.strerror or 'input/output error'}); make room there, or set XFV_CACHE to "
                        "another folder."
                    ) from error
    while True:
        folders, files = _contents(folder)
        if len(folders) != 1 or any(map(_is_called_as_photo, files)) or not _contents(folder / folders[0])[0]:
            return folder
        folder /= folders[0]


class _Bounded(io.RawIOBase):
    """A stream of an archive that ends in a refusal where it yields far more than a set of photos would."""

    def __init__(self, content: IO[bytes] | gzip.GzipFile, most: int, name: str) -> None:
        self._content, self._left, self._name = content, most, name

    def read(self, size: int = -1, /) -> bytes:
        read = self._content.read(size)
        self._left -= len(read)
        if self._left < 0:
            raise DatasetError(
                f"{_quoted(self._name)} unpacks to far more than photos do, so it is no set of them."
            )
        return read


def _unpack(file: IO[bytes], name: str, folder: Path) -> None:
    folder.mkdir(mode=0o700)  # They are faces.
    most = max(os.fstat(file.fileno()).st_size * _LARGEST_GROWTH, _GROWTH_ALLOWED)
    compressed = file.read(len(_GZIP_MARK)) == _GZIP_MARK
    file.seek(0)
    with (
        # Not tarfile's own gzip stream: that takes a file which was cut off for one that ends there.
        gzip.open(file) if compressed else nullcontext(file) as content,
        tarfile.open(fileobj=_Bounded(content, most, name), mode="r|") as archive,
    ):
        for member in archive:
            key = str(PurePosixPath(member.name))
            if not member.isreg() or member.issparse() or "/." in f"/{key}":
                continue
            target = folder / tarfile.data_filter(member, str(folder)).name
            is_photo = _is_called_as_photo(key)
            if target.exists() or not (is_photo or _is_left_out(key)):
                continue
            if member.size > MAX_FILE_BYTES and is_photo:
                raise DatasetError(f"{_quoted(name)} is no set of photos: {_too_large(key)}")
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as image:
                if is_photo and (packed := archive.extractfile(member)) is not None:
                    shutil.copyfileobj(packed, image)


def _read_bytes(path: Path, name: str, at_most: int | None = None) -> bytes:
    try:
        with _open_file(path) as file:
            if at_most is not None and os.fstat(file.fileno()).st_size > at_most:
                raise DatasetError(_too_large(name))
            return file.read()
    except OSError as error:
        raise _unreadable(name, error) from error


def _read_text(path: Path) -> str:
    try:
        return _read_bytes(path, path.name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{_quoted(path.name)} is no text in UTF-8; save it as UTF-8.") from error


# Messages


def _unreadable(name: str, error: OSError) -> DatasetError:
    return DatasetError(f"{_quoted(name)} cannot be read ({error.strerror or 'input/output error'}).")


def _too_large(key: str) -> str:
    return f"{_quoted(key)} is larger than {MAX_FILE_BYTES >> 20} MB, which no photo is."


def _refuse_missing(
    name: str, missing: Sequence[str], asked: int, advice: str = "is the data set complete?"
) -> None:
    if missing:
        raise DatasetError(
            f"{_quoted(name)}: {len(missing)} of {asked} images not found, {_some(missing)}; {advice}"
        )


def _some(names: Sequence[str]) -> str:
    """The first few names, and a sign that there are more."""
    shown = ", ".join(_quoted(name) for name in names[:_NAMED_AT_MOST])
    return f"{shown}, …" if len(names) > _NAMED_AT_MOST else shown


def _quoted(name: PathName) -> str:
    return f'"{printable(os.fsdecode(name))}"'
