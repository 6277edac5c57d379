"""Opens whatever kind of labelled set a path leads to."""

from dataclasses import replace
from pathlib import Path
from typing import TypeAlias, TypeVar

import typer

from xfv_demo.datasets.csv_pairs import read_pairs_csv
from xfv_demo.datasets.insightface_bin import read_insightface_bin
from xfv_demo.datasets.labelled_images import LabelledImages
from xfv_demo.datasets.lfw import looks_like_lfw, read_lfw
from xfv_demo.datasets.pair_lists import find_list, names_photos, read_pair_list
from xfv_demo.datasets.pairs import LabelledDistances, PairSet, as_aligned_set
from xfv_demo.datasets.people import read_people_folder
from xfv_demo.datasets.sources import PathName, is_archive, is_file, is_folder, quoted
from xfv_demo.errors import DatasetError, XfvError

# More pairs of one class than this many times the other's are not used.
_MOST_UNBALANCED = 2

_FOLDS = 10


_Pairs = TypeVar("_Pairs", PairSet, LabelledDistances)


def read_pairs(
    data: Path | None,
    pairs_file: Path | None,
    name: str | None,
    count: int,
    seed: int,
    *,
    aligned: bool = False,
) -> PairSet:
    """Reads a data set's pairs; where it has people and no pairs, draws them."""
    import numpy as np

    if data is None:
        raise XfvError("no data is given; give --data, a labelled set of photos, or --distances, a CSV")
    dataset = open_dataset(data, pairs_file=pairs_file, name=name)
    if isinstance(dataset, LabelledImages):
        say_left_out(dataset)
        dataset = dataset.pairs(count, np.random.default_rng(seed))
    return as_aligned_set(dataset) if aligned else dataset


def say_left_out(images: LabelledImages) -> None:
    """Says what of a set was left out, if anything was."""
    if images.notice:
        typer.echo(images.notice, err=True)


def balanced(pairs: _Pairs) -> _Pairs:
    """As many pairs of each class, where one is more than twice the other; says so.

    The threshold is the one of highest accuracy over all pairs, while a confidence takes both classes as
    equally likely: on a set of far more impostor pairs the two come apart.
    """
    smaller, larger = sorted((pairs.genuine_pairs, pairs.impostor_pairs))
    if smaller == 0 or larger <= _MOST_UNBALANCED * smaller:
        return pairs
    typer.echo(
        f"{pairs.name}: {pairs.genuine_pairs} genuine and {pairs.impostor_pairs} impostor pairs; an even "
        f"{smaller} of each are used.",
        err=True,
    )
    return pairs.subset(2 * smaller)


def in_folds(pairs: _Pairs) -> _Pairs:
    """Ten folds of as many pairs of each class, where a set has none of its own, as LFW's View 1."""
    import numpy as np

    if len(np.unique(pairs.folds)) > 1:
        return pairs
    folds = np.zeros(len(pairs), np.int64)
    for label in (True, False):
        (rows,) = np.nonzero(pairs.genuine == label)
        folds[rows] = np.arange(len(rows)) * _FOLDS // len(rows)
    return replace(pairs, folds=folds)


Dataset: TypeAlias = PairSet | LabelledImages


def open_dataset(path: PathName, *, pairs_file: PathName | None = None, name: str | None = None) -> Dataset:
    """Reads a labelled set of whatever kind lies at a path.

    A file is told by its ending: .bin is insightface's, .csv a list of pairs, .tgz, .tar.gz or .tar is LFW. A
    folder is LFW if it holds pairs.txt or an archive called lfw*, if it is called lfw* and has pairs.txt
    beside it, or if `pairs_file` is given. A list that names photos by their files is read by `pair_lists`,
    whether it is given or lies in the folder, called pairs_CALFW.txt, NAME_ann.txt and so on. Any other
    folder is one of people.

    Args:
        path: The file or folder.
        pairs_file: The list of pairs, if another than pairs.txt.
        name: What to call the set in results; by default what its reader calls it.

    Returns:
        A `PairSet`; for a folder of people `LabelledImages`, from which `pairs` draws one.

    Raises:
        DatasetError: If there is nothing at the path, nothing of these kinds, or as the kind's own reader.
    """
    dataset = _open(Path(path), pairs_file)
    return dataset if name is None else replace(dataset, name=name)


def _open(path: Path, pairs_file: PathName | None) -> Dataset:
    suffix = path.suffix.lower()
    if is_folder(path):
        found = find_list(path) if pairs_file is None else pairs_file
        if found is not None and names_photos(found):
            return read_pair_list(path, found)
        if found is not None or looks_like_lfw(path):
            return read_lfw(path, found)
        return read_people_folder(path)
    if not is_file(path):
        raise DatasetError(f"{quoted(path)} was not found; check the path of the data set.")
    if is_archive(path.name):
        if pairs_file is not None and names_photos(pairs_file):
            return read_pair_list(path, pairs_file)
        return read_lfw(path, pairs_file)
    if pairs_file is not None:
        raise DatasetError(f"{quoted(path)} has its own pairs; a list of pairs goes with a folder of images.")
    if suffix == ".csv":
        return read_pairs_csv(path)
    if suffix == ".bin":
        return read_insightface_bin(path)
    raise DatasetError(
        f"{quoted(path)} is no data set that can be read; give LFW (its folder or .tgz), a .csv of pairs, a "
        "folder of people, or an insightface .bin."
    )
