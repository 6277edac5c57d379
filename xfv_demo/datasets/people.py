"""A folder or an archive with a folder for each person."""

from pathlib import Path

import numpy as np

from xfv_demo.datasets.labelled_images import PEOPLE_EXPECTED, SUFFIXES_TEXT, LabelledImages
from xfv_demo.datasets.lfw import is_lfw_archive
from xfv_demo.datasets.sources import (
    FolderImages,
    PathName,
    contents,
    first_few,
    is_archive,
    is_called_as_photo,
    is_file,
    is_folder,
    is_left_out,
    quoted,
    unpacked,
)
from xfv_demo.errors import DatasetError


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
    if not is_folder(folder):
        found = "is no folder" if is_file(folder) else "was not found"
        raise DatasetError(f"{quoted(folder)} {found}; {PEOPLE_EXPECTED}.")
    return _people_in(folder, folder, folder.resolve().name or "people")


def _people_in(folder: Path, given: Path, name: str) -> LabelledImages:
    """The images of a folder of people; messages name what the user gave."""
    images: list[str] = []
    person: list[int] = []
    people: list[str] = []
    folders, loose = contents(folder)
    left_out = [file for file in loose if is_called_as_photo(file)]
    for person_folder in folders:
        held = contents(folder / person_folder)[1]
        files = [file for file in held if is_called_as_photo(file)]
        left_out += [f"{person_folder}/{file}" for file in held if is_left_out(file)]
        if files:
            images += [f"{person_folder}/{file}" for file in files]
            person += [len(people)] * len(files)
            people.append(person_folder)
    if not images:
        found = f", but {first_few(left_out)}" if left_out else ""
        raise DatasetError(
            f"{quoted(given)} holds no images of people{found}; {PEOPLE_EXPECTED}, in files that end in "
            f"{SUFFIXES_TEXT}."
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
    if is_file(given) and is_archive(given.name):
        return _people_of_archive(given)
    if is_folder(given):
        folders, files = contents(given)
        archives = [name for name in files if is_lfw_archive(name)]
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
