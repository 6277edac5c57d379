"""Pairs, or their distances, listed in a CSV file."""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from xfv_demo.datasets.folds import folds_by_class
from xfv_demo.datasets.pairs import LabelledDistances, PairSet, Row, pair_set
from xfv_demo.datasets.sources import FolderImages, PathName, quoted, read_text, refuse_missing, whole_number
from xfv_demo.errors import DatasetError

# Distances of float32 embeddings stray this far out of their range.
_ROUNDING = 1e-6

_TRUE = frozenset({"1", "true", "yes", "same", "genuine"})

_FALSE = frozenset({"0", "false", "no", "different", "impostor"})


_DISTANCE_COLUMNS = frozenset({"distance", "similarity", "genuine", "fold", "first", "second"})


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
    label = quoted(file.name)
    rows: list[Row] = []
    line_of: dict[frozenset[str], int] = {}
    lines = _csv_lines(file)
    columns = _csv_columns(_csv_header(lines), label)
    for number, cells in lines:
        line = f"{label}, line {number}"
        row = _csv_row(cells, columns, line)
        if len(set(row.keys)) == 1:
            raise DatasetError(f"{line}: {quoted(row.keys[0])} is paired with itself.")
        earlier = line_of.setdefault(frozenset(row.keys), number)
        if earlier != number:
            raise DatasetError(f"{line} gives the pair of line {earlier} again; remove one of the two.")
        rows.append(row)
    source = FolderImages(file.parent)
    images = tuple(dict.fromkeys(key for row in rows for key in row.keys))
    missing = source.missing(images)
    if missing:
        refuse_missing(file.name, missing, len(images), "paths count from the CSV's folder.")
    if "fold" in columns:
        numbers = np.unique([row.fold for row in rows], return_inverse=True)[1]
    else:
        numbers = folds_by_class(np.array([row.genuine for row in rows]))
    return pair_set(
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
    label = quoted(file.name)
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
        folds=folds_by_class(labels) if given is None else given.astype(np.int64),
    )


def _csv_lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The number and the cells of each line of a CSV that is not empty; the first names the columns."""
    label = quoted(file.name)
    reader = csv.reader(io.StringIO(read_text(file), newline=""), strict=True)
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
        raise DatasetError(f"{label} has the unknown column {quoted(unknown[0])}; {expected}")
    columns = {name: header.index(name) for name in header}
    if "genuine" not in columns or ("distance" in columns) == ("similarity" in columns):
        raise DatasetError(f"{label} has the columns {quoted(', '.join(header))}; {expected}")
    _refuse_twice(header, columns, label)
    return columns


def _refuse_twice(header: list[str], columns: Iterable[str], label: str) -> None:
    twice = [name for name in columns if header.count(name) > 1]
    if twice:
        raise DatasetError(f'{label} has the column "{twice[0]}" twice; remove one.')


def _csv_row(cells: list[str], columns: Mapping[str, int], line: str) -> Row:
    paths = cells[columns["first"]], cells[columns["second"]]
    if not all(paths):
        raise DatasetError(f"{line} lacks the path of an image.")
    genuine, fold = _csv_genuine(cells, columns, line), _csv_fold(cells, columns, line)
    first, second = (Path(path).as_posix() for path in paths)
    return Row(keys=(first, second), genuine=genuine, fold=fold)


def _csv_genuine(cells: list[str], columns: Mapping[str, int], line: str) -> bool:
    said = cells[columns["genuine"]].lower()
    if said not in _TRUE | _FALSE:
        raise DatasetError(f"{line}: {quoted(said)} in genuine says neither 1 (one person) nor 0 (two).")
    return said in _TRUE


def _csv_fold(cells: list[str], columns: Mapping[str, int], line: str) -> int:
    fold = whole_number(cells[columns["fold"]]) if "fold" in columns else 0
    if fold is None:
        raise DatasetError(f"{line}: the fold {quoted(cells[columns['fold']])} is no whole number.")
    return fold


def _csv_distance(cells: list[str], columns: Mapping[str, int], line: str) -> float:
    name, low, high = ("distance", 0, 2) if "distance" in columns else ("similarity", -1, 1)
    said = cells[columns[name]]
    try:
        value = float(said)
    except ValueError:
        value = math.nan
    if not low - _ROUNDING <= value <= high + _ROUNDING:  # so put that NaN fails
        raise DatasetError(f"{line}: the {name} {quoted(said)} is no number from {low} to {high}.")
    return min(max(value if name == "distance" else 1 - value, 0.0), 2.0)
