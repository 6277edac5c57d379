"""Where a set's images come from: a folder, an archive, the memory."""

import gzip
import hashlib
import io
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path, PurePosixPath
from typing import IO, Protocol, TypeAlias

from xfv_demo.errors import DatasetError, printable
from xfv_demo.faces.images import MAX_FILE_BYTES, PHOTO_SUFFIXES
from xfv_demo.runtime.paths import cache_folder

PathName: TypeAlias = str | os.PathLike[str]


_ARCHIVE_SUFFIXES = (".tgz", ".tar.gz", ".tar", ".zip")

_GZIP_MARK = b"\x1f\x8b"

# What an archive may unpack to, as a multiple of its size: photos are compressed already. Small ones may
# unpack to 64 MB in any case.
_LARGEST_GROWTH = 20

_GROWTH_ALLOWED = 64 << 20


# What systems put into folders of photos by themselves; not worth a word. Others of theirs are hidden files.
_OF_SYSTEMS = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r"})

_NAMED_AT_MOST = 3  # How many missing images a message names.


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
        return [key for key in keys if not is_file(self.root / key)]

    def stream(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yields the images in the order asked for; see `ImageSource.stream`.

        Raises:
            DatasetError: If images are missing, before the first one is yielded; or if one cannot be read.
        """
        wanted = tuple(dict.fromkeys(keys))
        refuse_missing(self.name, self.missing(wanted), len(wanted))
        for key in wanted:
            yield key, read_bytes(self.root / key, key, at_most=MAX_FILE_BYTES)


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
        refuse_missing(self.name, [key for key in wanted if key not in self._images], len(wanted))
        for key in wanted:
            yield key, self._images[key]


def is_archive(name: str) -> bool:
    """Whether a file is called as an archive is."""
    return name.lower().endswith(_ARCHIVE_SUFFIXES)


def whole_number(text: str) -> int | None:
    """A number from 0 to 999,999,999; None if the text is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 9 else None


# Files and folders


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except (OSError, ValueError):  # ValueError: a zero byte
        return None


def is_file(path: Path) -> bool:
    """Whether a file lies at a path that may be anything."""
    status = _status(path)
    return status is not None and stat.S_ISREG(status.st_mode)


def is_folder(path: Path) -> bool:
    """Whether a folder lies at a path that may be anything."""
    status = _status(path)
    return status is not None and stat.S_ISDIR(status.st_mode)


def contents(folder: Path) -> tuple[list[str], list[str]]:
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


def is_called_as_photo(file: str) -> bool:
    """Whether a file is called as a photo is."""
    return PurePosixPath(file).suffix.lower() in PHOTO_SUFFIXES


def is_left_out(file: str) -> bool:
    """Whether a file among photos is none by its name, and no system's own."""
    return not is_called_as_photo(file) and PurePosixPath(file).name.lower() not in _OF_SYSTEMS


def _entry_name(entry: os.DirEntry[str]) -> str:
    return entry.name


def _open_file(path: Path) -> io.BufferedReader:
    # Asked before opening: to open a pipe or a device may wait for ever.
    if not is_file(path):
        found = "is no file" if _status(path) is not None else "was not found"
        raise DatasetError(f"{quoted(path)} {found}; check the path.")
    return path.open("rb")


def unpacked(path: Path) -> Path:
    """Unpacks an archive into the cache, if its images are not there yet.

    Only images come out; of other files, which `LabelledImages.left_out` names, an empty one. What is no
    plain file (a link, a device) is left out, as are hidden ones and those that lead out of the archive. Of
    several members of one path the first is taken.

    Args:
        path: A .tgz, .tar.gz, .tar or .zip.

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
            try:
                folder.parent.mkdir(parents=True, exist_ok=True)
                # So what has the folder's name is whole, however the process that unpacked it ended.
                with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as part:
                    unpack(path, Path(part) / "images")
                    (Path(part) / "images").rename(folder)
            except OSError as error:
                if not folder.is_dir():  # Else another process was quicker.
                    raise DatasetError(
                        f"{quoted(path.name)} cannot be unpacked into {quoted(folder.parent)} "
                        f"({error.strerror or 'input/output error'}); make room there, or set XFV_CACHE to "
                        "another folder."
                    ) from error
    while True:
        folders, files = contents(folder)
        if len(folders) != 1 or any(map(is_called_as_photo, files)) or not contents(folder / folders[0])[0]:
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
            raise _too_much(self._name)
        return read


def unpack(path: Path, folder: Path) -> None:
    """Unpacks an archive's images into a new folder, as `unpacked` says.

    Args:
        path: A .tgz, .tar.gz, .tar or .zip.
        folder: Where to.

    Raises:
        DatasetError: If the archive is cut off, damaged, or unpacks to more than photos do.
        OSError: If it cannot be read, or the folder not be written.
    """
    folder.mkdir(mode=0o700)  # They are faces.
    most = max(path.stat().st_size * _LARGEST_GROWTH, _GROWTH_ALLOWED)
    kind = "zip" if path.suffix.lower() == ".zip" else "tar"
    try:
        with _open_file(path) as file:
            (_unpack_zip if kind == "zip" else _unpack_tar)(file, path.name, folder, most)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
        ValueError,
        RuntimeError,  # zipfile's word for a password, and for a compression that it does not know
    ) as error:
        raise _damaged(path.name, kind) from error


def _unpack_tar(file: IO[bytes], name: str, folder: Path, most: int) -> None:
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
            is_photo = is_called_as_photo(key)
            if target.exists() or not (is_photo or is_left_out(key)):
                continue
            if member.size > MAX_FILE_BYTES and is_photo:
                raise DatasetError(f"{quoted(name)} is no set of photos: {_too_large(key)}")
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as image:
                if is_photo and (packed := archive.extractfile(member)) is not None:
                    shutil.copyfileobj(packed, image)


def _unpack_zip(file: IO[bytes], name: str, folder: Path, most: int) -> None:
    with zipfile.ZipFile(file) as archive:
        members = [one for one in archive.infolist() if is_called_as_photo(one.filename) and not one.is_dir()]
        # No member gives more than it announces.
        if sum(member.file_size for member in members) > most:
            raise _too_much(name)
        for member in members:
            if member.file_size > MAX_FILE_BYTES:
                raise DatasetError(f"{quoted(name)} is no set of photos: {_too_large(member.filename)}")
            if "/." not in f"/{member.filename}":
                archive.extract(member, folder)  # which leaves out what would lead elsewhere


def read_bytes(path: Path, name: str, at_most: int | None = None) -> bytes:
    """Reads a file; a DatasetError says why it cannot be read."""
    try:
        with _open_file(path) as file:
            if at_most is not None and os.fstat(file.fileno()).st_size > at_most:
                raise DatasetError(_too_large(name))
            return file.read()
    except OSError as error:
        raise _unreadable(name, error) from error


def read_text(path: Path) -> str:
    """Reads a file as text; a DatasetError says why it cannot be read."""
    try:
        return read_bytes(path, path.name).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{quoted(path.name)} is no text in UTF-8; save it as UTF-8.") from error


# Messages


def _unreadable(name: str, error: OSError) -> DatasetError:
    return DatasetError(f"{quoted(name)} cannot be read ({error.strerror or 'input/output error'}).")


def _damaged(archive: str, kind: str) -> DatasetError:
    return DatasetError(
        f"{quoted(archive)} is cut off, damaged or no {kind} archive; copy or download it again."
    )


def _too_much(archive: str) -> DatasetError:
    return DatasetError(f"{quoted(archive)} unpacks to far more than photos do, so it is no set of them.")


def _too_large(key: str) -> str:
    return f"{quoted(key)} is larger than {MAX_FILE_BYTES >> 20} MB, which no photo is."


def refuse_missing(
    name: str, missing: Sequence[str], asked: int, advice: str = "is the data set complete?"
) -> None:
    """Refuses a set that lacks images which it names."""
    if missing:
        raise DatasetError(
            f"{quoted(name)}: {len(missing)} of {asked} images not found, {first_few(missing)}; {advice}"
        )


def first_few(names: Sequence[str]) -> str:
    """The first few names, and a sign that there are more."""
    shown = ", ".join(quoted(name) for name in names[:_NAMED_AT_MOST])
    return f"{shown}, …" if len(names) > _NAMED_AT_MOST else shown


def quoted(name: PathName) -> str:
    """A file's name in quotes, fit to be printed."""
    return f'"{printable(os.fsdecode(name))}"'
