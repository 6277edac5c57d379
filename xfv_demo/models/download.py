"""Fetches a model's archive and unpacks it, trusting neither."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

from xfv_demo.errors import DownloadError
from xfv_demo.runtime.download import Progress, download


@dataclass(frozen=True)
class FetchableModel:
    """A model that is downloaded when it is first wanted.

    Attributes:
        name: What the user calls it.
        url: Where its zip archive is.
        sha256: The archive's SHA-256, as 64 hexadecimal digits.
        folder: The SavedModel folder that the archive unpacks to.
    """

    name: str
    url: str
    sha256: str
    folder: str


# A ResNet50 embedder with its optimizer's slots takes some 0.5 GB; what goes beyond this is no such model.
MAX_DOWNLOAD_BYTES = 1_000_000_000


def is_saved_model(folder: Path) -> bool:
    """Whether a folder holds a SavedModel."""
    try:
        return (folder / "saved_model.pb").is_file()
    except OSError:  # A folder that may not be looked into is as good as none.
        return False


def retrieve(
    model: FetchableModel, work: Path, progress: Progress | None, timeout: tuple[float, float]
) -> None:
    """Downloads a model's archive, checks its SHA-256, and unpacks the model's folder to `work` / "unpacked".

    A DownloadError bears the bare reason.
    """
    import pooch

    archive = work / "model.zip"
    download(
        model.url,
        archive,
        sha256=model.sha256,
        largest=MAX_DOWNLOAD_BYTES,
        progress=progress,
        timeout=timeout,
    )
    try:
        pooch.Unzip(members=[model.folder], extract_dir="unpacked")(str(archive), "download", None)
    except zipfile.BadZipFile as error:
        raise DownloadError("its archive is broken") from error
    if not is_saved_model(work / "unpacked" / model.folder):
        raise DownloadError(f"its archive holds no {model.folder}/saved_model.pb")


def is_junk(parts: tuple[str, ...]) -> bool:
    """Tells what macOS and Windows leave in folders and archives from what belongs to a model."""
    return "__MACOSX" in parts or parts[-1].startswith("._") or parts[-1] in (".DS_Store", "Thumbs.db")
