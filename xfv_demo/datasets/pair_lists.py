"""Pairs as other sets list them: SLLFW, CALFW, CPLFW, MLFW, and folders of aligned faces with a NAME_ann.txt.

A list's form is told by its lines, whatever the file is called: a photo a line, or a photo and its pair's
label, two lines a pair; or two photos and a label, a line a pair. XQLFW's list has LFW's own form.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from xfv_demo.datasets.folds import folds_by_class
from xfv_demo.datasets.pairs import PairSet, Row, pair_set
from xfv_demo.datasets.sources import (
    FolderImages,
    PathName,
    contents,
    first_few,
    is_called_as_photo,
    is_file,
    quoted,
    read_text,
    unpacked,
    whole_number,
)
from xfv_demo.errors import DatasetError

# How the lists are called that are looked for without being named; LFW's own comes before all others.
_LISTS = re.compile(r"(pairs?_(sllfw|calfw|cplfw|mlfw)|xqlfw_pairs|.+_ann)\.txt", re.IGNORECASE)
_ALIGNED = "_112x112"  # How folders of aligned faces are called.

# By what stands in a line: p for a photo, n for a number.
_FORMS = {
    "p": 'one photo, as "Name/Name_0001.jpg", two lines a pair',
    "pn": 'a photo and a number, as "Name_0001.jpg 1", two lines a pair',
    "ppn": 'two photos and 0 or 1, as "Name_0001.jpg Other_0001.jpg 0"',
    "npp": '0 or 1 and two photos, as "0 Name_0001.jpg Other_0001.jpg"',
}

_Line = tuple[int, list[str]]


def find_list(folder: Path) -> Path | None:
    """The list of pairs in a folder, or that of a folder of aligned faces, which lies beside it.

    Raises:
        DatasetError: There are several; or the folder cannot be read.
    """
    if is_file(folder / "pairs.txt"):
        return folder / "pairs.txt"
    found = [folder / name for name in contents(folder)[1] if _LISTS.fullmatch(name)]
    if len(found) > 1:
        raise DatasetError(
            f"{quoted(folder)} holds several lists of pairs ({first_few([one.name for one in found])}); name "
            "one with --pairs."
        )
    resolved = folder.resolve()
    beside = resolved.parent / f"{resolved.name.removesuffix(_ALIGNED)}_ann.txt"
    if not found and resolved.name.endswith(_ALIGNED) and is_file(beside):
        return beside
    return found[0] if found else None


def names_photos(pairs_file: PathName) -> bool:
    """Whether a list names its photos by their files, which LFW's own form does not."""
    return any(is_called_as_photo(word) for _, words in _lines(Path(pairs_file))[:2] for word in words)


def read_pair_list(data: PathName, pairs_file: PathName) -> PairSet:
    """Reads a list of pairs that names its photos by their files.

    * SLLFW (Deng et al. 2017), on LFW's images: two lines a pair, one person where the folders are equal.
    * CALFW and CPLFW (Zheng et al. 2017, 2018): two lines a pair, each with a number, 0 for two people.
    * MLFW (Wang et al. 2021): "photo photo label"; NAME_ann.txt: "label photo photo".

    A first line that names no photo is a heading. Each class is cut into ten folds in the order of the lines,
    as the papers have them.

    Args:
        data: The folder of the images, a folder that holds it, or an archive (LFW's .tgz).
        pairs_file: The list.

    Returns:
        The pairs, named after the list. The images are aligned faces where their folder's name ends in
        _112x112.

    Raises:
        DatasetError: A file cannot be read, a line is malformed, or images are missing; names file and line.
    """
    given, file = Path(data), Path(pairs_file)
    rows, lines = _rows(file)
    folder = unpacked(given) if is_file(given) else given
    root = _find_images(folder, given, file, rows[0].keys[0], lines)
    source = FolderImages(root, given if root == folder else None)
    missing = sorted(source.missing(lines), key=lines.__getitem__)
    if missing:
        raise DatasetError(
            f"{quoted(file.name)}, line {lines[missing[0]]}: {quoted(missing[0])} is not in {quoted(root)}; "
            f"{len(missing)} of {len(lines)} images are missing."
        )
    name = re.sub(r"^pairs?_|_pairs?$|_ann$|^pairs?$", "", file.stem, flags=re.IGNORECASE).lower()
    where = PurePosixPath((root / rows[0].keys[0]).as_posix()).parent
    return replace(
        pair_set(name or folder.resolve().name.lower(), source, rows),
        aligned=any(part.endswith(_ALIGNED) for part in where.parts[-2:]),
    )


def _lines(file: Path) -> list[_Line]:
    """The numbers and the words of the lines that are not empty."""
    lines = enumerate(read_text(file).splitlines(), 1)
    return [(number, line.split()) for number, line in lines if line.strip()]


def _rows(file: Path) -> tuple[list[Row], dict[str, int]]:
    """The pairs of a list, and by photo the number of the line that names it first."""
    label, lines = quoted(file.name), _lines(file)
    if lines and not any(map(is_called_as_photo, lines[0][1])):
        lines = lines[1:]
    if not lines:
        raise DatasetError(f"{label} holds no pairs; is it a list of pairs of photos?")
    form = _form(lines[0][1])
    for number, words in lines:
        if form not in _FORMS:
            raise DatasetError(
                f"{label}, line {number} is of no form that is known here: {'; '.join(_FORMS.values())}."
            )
        if _form(words) != form:
            raise DatasetError(
                f"{label}, line {number} must hold {_FORMS[form]}, as line {lines[0][0]} does."
            )
    together = 2 if form in ("p", "pn") else 1
    if len(lines) % together:
        raise DatasetError(f"{label}, line {lines[-1][0]} lacks the line of the pair's second photo.")
    pairs = [_pair(lines[at : at + together], form, label) for at in range(0, len(lines), together)]
    folds = folds_by_class(np.array([genuine for _, genuine in pairs]))
    rows = [Row(keys, genuine, int(fold)) for (keys, genuine), fold in zip(pairs, folds, strict=True)]
    named = {str(PurePosixPath(word)): number for number, words in lines[::-1] for word in words}
    return rows, {key: named[key] for row in rows for key in row.keys}


def _form(words: Sequence[str]) -> str:
    """A letter for each word: p for a photo, n for a number, ? for anything else."""
    return "".join(
        "p" if is_called_as_photo(word) else "n" if whole_number(word) is not None else "?" for word in words
    )


def _pair(lines: Sequence[_Line], form: str, label: str) -> tuple[tuple[str, str], bool]:
    """The two photos of a pair, and whether they show one person."""
    where = f"{label}, line {lines[0][0]}"
    words = [word for _, line in lines for word in line]
    first, second = (PurePosixPath(word) for word in words if is_called_as_photo(word))
    if first == second:
        raise DatasetError(f"{where}: {quoted(first)} is paired with itself.")
    keys = str(first), str(second)
    if form == "p":
        if "" in (first.parent.name, second.parent.name):
            raise DatasetError(f"{where}: a photo lies in no person's folder, so nothing says whom it shows.")
        return keys, first.parent == second.parent
    numbers = {whole_number(word) for word in words if not is_called_as_photo(word)}
    if len(numbers) > 1:
        raise DatasetError(f"{where}: the two lines of the pair have different numbers.")
    (number,) = numbers
    # CALFW's numbers count its folds, from 1 on.
    if form != "pn" and number not in (0, 1):
        raise DatasetError(f"{where}: {number} says neither 1 (one person) nor 0 (two).")
    return keys, number != 0


def _find_images(folder: Path, given: Path, file: Path, key: str, lines: dict[str, int]) -> Path:
    """Where the images of a list lie, by the first: in the folder, in a folder of it, or beside the list."""
    places = dict.fromkeys([folder, *(folder / name for name in contents(folder)[0]), file.parent])
    found = [place for place in places if is_file(place / key)]
    if not found:
        raise DatasetError(
            f"{quoted(file.name)}, line {lines[key]}: {quoted(key)} is neither in {quoted(given)} nor in a "
            "folder of it; give the folder of the images as --data."
        )
    if len(found) > 1:
        raise DatasetError(
            f"{quoted(given)} holds the images of {quoted(file.name)} several times "
            f"({first_few([place.name for place in found])}); give the path of one of them."
        )
    return found[0]
