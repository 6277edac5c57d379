"""Labeled Faces in the Wild, as it is handed out."""

from pathlib import Path

from xfv_demo.datasets.pairs import PairSet, Row, pair_set
from xfv_demo.datasets.sources import (
    FolderImages,
    PathName,
    contents,
    first_few,
    is_archive,
    is_file,
    is_folder,
    quoted,
    read_text,
    refuse_missing,
    unpacked,
    whole_number,
)
from xfv_demo.errors import DatasetError

_LFW_EXPECTED = (
    "give the folder that holds lfw-deepfunneled/ or lfw-deepfunneled.tgz and pairs.txt, as the LFW web site "
    "has them, or the path of the .tgz"
)


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
        The pairs, in the list's order. The name is "lfw" for pairs.txt, "xqlfw" for xqlfw_pairs.txt (XQLFW,
        Knoche et al. 2021, has LFW's form), else "lfw-" and the list's name.

    Raises:
        DatasetError: If data or list are not there, the list is malformed, or images that it names are
            missing.
    """
    path = Path(data)
    in_archive = is_file(path) and is_archive(path.name)
    if not in_archive and not is_folder(path):
        found = "is no archive of LFW" if is_file(path) else "was not found"
        raise DatasetError(f"{quoted(path)} {found}; {_LFW_EXPECTED}.")
    if pairs_file is None:
        chosen = next(filter(is_file, (path / "pairs.txt", path.parent / "pairs.txt")), None)
        if chosen is None:
            raise DatasetError(f"{quoted(path)} has no pairs.txt in it or beside it; {_LFW_EXPECTED}.")
    else:
        chosen = Path(pairs_file)
    rows = _parse_lfw_pairs(chosen)
    images = frozenset(key for row in rows for key in row.keys)
    people = {key.partition("/")[0] for key in images}
    source = _find_lfw(path, people)
    refuse_missing(source.name, source.missing(sorted(images)), len(images))
    return pair_set(
        {"pairs": "lfw", "xqlfw_pairs": "xqlfw"}.get(chosen.stem, f"lfw-{chosen.stem}"),
        source,
        rows,
    )


def looks_like_lfw(folder: Path) -> bool:
    """Whether a folder is LFW's, or holds its archive."""
    if is_file(folder / "pairs.txt"):
        return True
    if folder.name.startswith("lfw") and is_file(folder.parent / "pairs.txt"):
        return True
    return any(is_lfw_archive(name) for name in contents(folder)[1])


def is_lfw_archive(name: str) -> bool:
    """Whether a file is called as LFW's archive is."""
    return name.startswith("lfw") and is_archive(name)


def _find_lfw(path: Path, people: set[str]) -> FolderImages:
    """Finds the images of LFW, by the folders that are called as people of the list are."""
    folder = unpacked(path) if is_file(path) else path
    subfolders, files = contents(folder)
    if people.intersection(subfolders):
        return FolderImages(folder, path)
    trees = [name for name in subfolders if people.intersection(contents(folder / name)[0])]
    found = trees or [name for name in files if is_lfw_archive(name) and folder == path]
    if not found:
        raise DatasetError(f"{quoted(path)} holds no images of LFW; {_LFW_EXPECTED}.")
    if len(found) > 1:
        # They are aligned differently and give different numbers: not ours to choose.
        raise DatasetError(
            f"{quoted(path)} holds LFW several times ({first_few(found)}); give the path of one of them."
        )
    return FolderImages(folder / found[0]) if trees else _find_lfw(path / found[0], people)


def _parse_lfw_pairs(path: Path) -> list[Row]:
    """Reads one of LFW's lists; the keys are as Name/Name_0001.jpg."""
    label = quoted(path.name)
    lines = [(number, line.split()) for number, line in enumerate(read_text(path).split("\n"), 1)]
    lines = [(number, words) for number, words in lines if words]
    header = [whole_number(word) for word in lines[0][1]] if lines else []
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
        rows.append(Row(keys=keys, genuine=genuine, fold=fold))
    return rows


def _lfw_keys(words: list[str], *, genuine: bool) -> tuple[str, str] | None:
    """The two images of a line; None if it is malformed."""
    if len(words) != (3 if genuine else 4):
        return None
    if genuine:
        words = [words[0], words[1], words[0], words[2]]
    names, numbers = words[0::2], [whole_number(word) for word in words[1::2]]
    if (names[0] == names[1]) != genuine or (genuine and numbers[0] == numbers[1]):
        return None
    if not all(numbers) or any(sign in name for name in names for sign in "/\\\0"):
        return None
    first, second = (f"{name}/{name}_{number:04d}.jpg" for name, number in zip(names, numbers, strict=True))
    return first, second
