"""Data sets that are fetched into the cache by their name, once."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from xfv_demo.datasets.lfw import read_lfw
from xfv_demo.datasets.sources import is_folder, quoted, unpack
from xfv_demo.errors import DatasetError, DownloadError
from xfv_demo.runtime.download import TIMEOUT, Progress, cache_trouble, download, server_of
from xfv_demo.runtime.files import write_whole
from xfv_demo.runtime.paths import cache_folder

# As a multiple of the size that is known: what is larger is another file.
_LARGEST = 1.5


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set, as its publishers hand it out.

    Attributes:
        name: What it is called.
        url: Where it is.
        size: In bytes, about: what a user is told beforehand.
        sha256: What it must have, as 64 hexadecimal digits. Where no publisher says, None: then the first one
            that comes is trusted and noted, and later ones must be the same.
    """

    name: str
    url: str
    size: int
    sha256: str | None = None


@dataclass(frozen=True)
class FetchableSet:
    """A data set that is fetched when a user asks for it.

    Attributes:
        title: What people call it.
        pairs: Its list of pairs, in LFW's form.
        images: The archive of its images.
        terms: What its publishers ask and warn of; to be shown whenever it is fetched.
    """

    title: str
    pairs: RemoteFile
    images: RemoteFile
    terms: str

    @property
    def size(self) -> int:
        """What is downloaded, in bytes, about."""
        return self.pairs.size + self.images.size


_FIGSHARE = "https://ndownloader.figshare.com/files"
_XQLFW = "https://github.com/Martlgap/xqlfw/releases/download/1.0"

FETCHABLE_SETS = {
    # Addresses and digests are those of scikit-learn's fetch_lfw_pairs. The images as they are: faces are
    # found and aligned here, so that funneled ones would only be resampled once more.
    "lfw": FetchableSet(
        title="Labeled Faces in the Wild",
        pairs=RemoteFile(
            "pairs.txt",
            f"{_FIGSHARE}/5976006",
            155_335,
            "ea42330c62c92989f9d7c03237ed5d591365e89b3e649747777b70e692dc1592",
        ),
        images=RemoteFile(
            "lfw.tgz",
            f"{_FIGSHARE}/5976018",
            180_566_744,
            "055f7d9c632d7370e6fb4afc7468d40f970c34a80d4c6f50ffec63f5a8d536c0",
        ),
        terms=(
            "Labeled Faces in the Wild (Huang et al., 2007): news photos, gathered from the web for "
            "research; no licence comes with them. Its authors warn: no matter what the performance of an "
            "algorithm on LFW, it should not be used to conclude that an algorithm is suitable for any "
            "commercial purpose. It shows few children, few people over 80 and few women, and many "
            "ethnicities hardly or not at all; it was not made to vet a system before deployment."
        ),
    ),
    # Knoche et al., arXiv 2108.10290. Sizes are those that its download page names.
    "xqlfw": FetchableSet(
        title="Cross-Quality LFW",
        pairs=RemoteFile("xqlfw_pairs.txt", f"{_XQLFW}/xqlfw_pairs.txt", 161_000),
        images=RemoteFile("xqlfw.zip", f"{_XQLFW}/xqlfw.zip", 195_200_000),
        terms=(
            "Cross-Quality LFW (Knoche et al., 2021), from a repository under the MIT licence: photos of "
            "Labeled Faces in the Wild, many made worse. What LFW's authors warn of holds for it too: no "
            "matter what the performance of an algorithm on it, it should not be used to conclude that an "
            "algorithm is suitable for any commercial purpose."
        ),
    ),
}


def fetch_dataset(
    name: str, *, progress: Progress | None = None, timeout: tuple[float, float] = TIMEOUT
) -> Path:
    """Returns a data set's folder in the cache; downloads and unpacks the set first if it is not there.

    After a break the next call goes on with what has come.

    Args:
        name: A key of `FETCHABLE_SETS`.
        progress: Called with the number of bytes that have come and of all.
        timeout: As `runtime.download.TIMEOUT`.

    Returns:
        A folder with the list of pairs and the folders of images, as `read_lfw` takes it.

    Raises:
        DatasetError: There is no such set to fetch, or it could not be fetched, or another process is at it.
    """
    import filelock

    fetchable = _fetchable(name)
    if folder := find_dataset(name):
        return folder
    folder = _folder(name)
    work = folder.with_name(f".fetch-{name}")
    try:
        work.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(work.with_name(f"{work.name}.lock"), blocking=False):
            # Another process may have been at it until now.
            if not folder.is_dir():
                _fetch(name, fetchable, work, progress, timeout).rename(folder)
                shutil.rmtree(work, ignore_errors=True)
    except filelock.Timeout as error:
        raise DatasetError(f"another process is fetching {name}; wait until it is done") from error
    except OSError as error:
        reason, remedy = cache_trouble(error)
        raise DatasetError(f"{name} could not be fetched: {reason}; {remedy}, and {_advice(name)}") from error
    return folder


def find_dataset(name: str) -> Path | None:
    """A fetched data set's folder; None where it was not fetched.

    Args:
        name: A key of `FETCHABLE_SETS`.
    """
    folder = _folder(name)
    return folder if is_folder(folder) else None


def dataset_path(word: str) -> Path:
    """What a user means by a data set: one that was fetched, by its name, or a path.

    Args:
        word: A key of `FETCHABLE_SETS`, or a path. A folder that is called like one is "./lfw".

    Raises:
        DatasetError: It is the name of one that was not fetched; says how to.
    """
    if word not in FETCHABLE_SETS:
        return Path(word)
    folder = find_dataset(word)
    if folder is None:
        here = f', or give "./{word}" for the one that lies here' if Path(word).exists() else ""
        raise DatasetError(f"{word} is not on this machine; {_advice(word)}{here}")
    return folder


def noted_digests(name: str) -> Path:
    """Where a set's SHA-256 are noted, as sha256sum writes them, where no publisher says them."""
    return _folder(name).with_suffix(".sha256")


def _fetchable(name: str) -> FetchableSet:
    if name not in FETCHABLE_SETS:
        raise DatasetError(
            f"{quoted(name)} is no data set that can be fetched; those are {', '.join(FETCHABLE_SETS)}"
        )
    return FETCHABLE_SETS[name]


def _fetch(
    name: str, fetchable: FetchableSet, work: Path, progress: Progress | None, timeout: tuple[float, float]
) -> Path:
    """Downloads and unpacks a set in a folder of its own, and looks whether it is whole."""
    files = fetchable.pairs, fetchable.images
    noted = _noted(name)
    digests = {}
    for file in files:
        path = work / file.name
        try:
            digests[file.name] = download(
                file.url,
                path,
                sha256=file.sha256 or noted.get(file.name),
                largest=round(_LARGEST * file.size),
                # The list is so small that it would only be seen as a bar that begins twice.
                progress=progress if file is fetchable.images else None,
                timeout=timeout,
            )
        except DownloadError as error:
            changed = (
                f"; if its publishers have changed it, delete {noted_digests(name)} first" if noted else ""
            )
            raise DatasetError(
                f"{name} could not be fetched from {server_of(file.url)}: {file.name}: {error}; check the "
                f"network and {_advice(name)} again, which goes on with what has come{changed}"
            ) from error
    unpacked = work / "images"
    shutil.rmtree(unpacked, ignore_errors=True)
    try:
        unpack(work / fetchable.images.name, unpacked)
        (work / fetchable.pairs.name).rename(unpacked / fetchable.pairs.name)
        read_lfw(unpacked, unpacked / fetchable.pairs.name)
    except DatasetError:
        for file in files:
            (work / file.name).unlink(missing_ok=True)
        raise
    if not all(file.sha256 for file in files):
        lines = [f"{digests[file.name]}  {file.name}\n" for file in files]
        write_whole(noted_digests(name), "".join(lines).encode())
    return unpacked


def _noted(name: str) -> dict[str, str]:
    """By file, the SHA-256 that the first one had."""
    path = noted_digests(name)
    if not path.is_file():
        return {}
    pairs = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return {pair[1]: pair[0] for pair in pairs if len(pair) == 2}


def _folder(name: str) -> Path:
    return cache_folder() / "datasets" / name


def _advice(name: str) -> str:
    return f"run `python -m xfv_demo fetch {name}`"
