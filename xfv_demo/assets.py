"""Where models are: bundled with the package, fetched into the cache, or in a folder that the user names.

A model is a folder in TensorFlow's SavedModel format. A fetched one is downloaded and unpacked beside its
place in the cache and moved there in one step, so whatever the cache holds is whole, however the process that
fetched it ended.
"""

import errno
import hashlib
import os
import shutil
import tempfile
import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import platformdirs

from .errors import DownloadError, ModelError


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


@dataclass(frozen=True)
class LocatedModel:
    """A model found on this machine.

    Attributes:
        name: A known model's name, or the folder's name without ".tf".
        folder: The SavedModel folder.
        notice: One line for the user if this is not the model they may have expected, else None.
    """

    name: str
    folder: Path
    notice: str | None


# ArcFaceOctupletLoss is from https://github.com/Martlgap/octuplet-loss, release "modelweights", MIT licence.
FETCHABLE = {
    "arcface-octuplet": FetchableModel(
        name="arcface-octuplet",
        url=(
            "https://github.com/Martlgap/octuplet-loss/releases/download/modelweights/"
            "ArcFaceOctupletLoss.tf.zip"
        ),
        sha256="8603f374fd385081ce5ce80f5997e3363f4247c8bbad0b8de7fb26a80468eeea",
        folder="ArcFaceOctupletLoss.tf",
    ),
}
PREFERRED_MODEL = "arcface-octuplet"
BUNDLED_MODELS = ("mobilefacenet",)
DEFAULT_BUNDLED = "mobilefacenet"

# A ResNet50 embedder with its optimizer's slots takes some 0.5 GB; what goes beyond this is no such model.
MAX_DOWNLOAD_BYTES = 1_000_000_000

_PACKAGE = Path(__file__).resolve().parent
_CHUNK_BYTES = 1 << 16
_WORK_PREFIX = ".fetch-"
# A live fetch writes something at least every read_timeout, so an hour of silence means that it was killed.
_STALE_SECONDS = 3600.0
# A virus scanner may hold new files open for a moment, and Windows moves no folder with open files.
_MOVE_ATTEMPTS = 5
_MOVE_PAUSE_SECONDS = 0.2


def assets_folder() -> Path:
    """Names the folder of models, calibrations, examples and results that come with the package.

    Returns:
        The package's own `assets` folder if a wheel put it there, else that of the source tree.
    """
    inside = _PACKAGE / "assets"
    return inside if inside.is_dir() else _PACKAGE.parent / "assets"


def demo_folder() -> Path:
    """Names the source tree's `demo` folder, where users may put a model by hand; it need not exist."""
    return _PACKAGE.parent / "demo"


def cache_folder() -> Path:
    """Names the folder for fetched files without making it.

    Returns:
        The folder that the environment variable XFV_CACHE names, else the platform's own cache folder.
    """
    chosen = os.environ.get("XFV_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_cache_path("xfv-demo", appauthor=False)


def locate_model(
    model: str | os.PathLike[str] = "auto", *, allow_download: bool = True, progress: bool = False
) -> LocatedModel:
    """Finds a model's SavedModel folder, and fetches the model if need be.

    "auto" takes arcface-octuplet from the folder `demo`, from the cache or from the network, in this order,
    and else the bundled mobilefacenet with a notice that says why.

    Args:
        model: "auto", a known model's name, or the path of a SavedModel folder. A `Path` is never a name.
        allow_download: Whether a model that is not on this machine may be fetched.
        progress: Whether a fetch shows a progress bar on standard error.

    Returns:
        The model's name and folder; with a notice where "auto" fell back to the bundled model.

    Raises:
        ModelError: No such model or folder, or the folder is no SavedModel, or the model is not on this
            machine and downloads are off.
        DownloadError: The model was asked for by its name and could not be fetched.
    """
    if isinstance(model, str):
        if model == "auto":
            return _locate_preferred(allow_download=allow_download, progress=progress)
        if model in BUNDLED_MODELS:
            return _locate_bundled(model, notice=None)
        if model in FETCHABLE:
            folder = _find_fetched(FETCHABLE[model])
            if folder is None:
                if not allow_download:
                    raise ModelError(
                        f"{model} is not on this machine and downloads are off; "
                        f"{_fetch_advice(FETCHABLE[model])}"
                    )
                folder = fetch_model(model, progress=progress)
            return LocatedModel(model, folder, notice=None)
    return _locate_path(os.fspath(model))


def fetch_model(
    name: str,
    *,
    progress: bool = False,
    url: str | None = None,
    sha256: str | None = None,
    connect_timeout: float = 5.0,
    read_timeout: float = 20.0,
) -> Path:
    """Returns a model's folder in the cache; downloads the model first if it is not there.

    A download may take as long as it likes while bytes keep coming; proxies are those of the environment
    (https_proxy, no_proxy). After a failure nothing is left in the cache; processes that fetch the same model
    at once do not disturb each other.

    Args:
        name: A key of `FETCHABLE`.
        progress: Whether to show a progress bar on standard error.
        url: Another place of the archive, such as a mirror.
        sha256: The SHA-256 of another archive of the model.
        connect_timeout: Seconds for connecting to each address of a server, after its name was looked up,
            for which the system has a limit of its own.
        read_timeout: Seconds that the server may stay silent.

    Returns:
        The SavedModel folder.

    Raises:
        ModelError: There is no such model to fetch.
        DownloadError: The model could not be fetched. The message says what failed up to its first semicolon,
            and then what to do.
    """
    if name not in FETCHABLE:
        raise ModelError(
            f"{name!r} is no model that can be fetched; those are {', '.join(FETCHABLE)} "
            f"({', '.join(BUNDLED_MODELS)} comes with the package)"
        )
    model = FETCHABLE[name]
    model = replace(model, url=url or model.url, sha256=(sha256 or model.sha256).lower())
    entry = _cache_entry(model)
    if _is_saved_model(entry / model.folder):
        return entry / model.folder
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(entry.parent)
        with tempfile.TemporaryDirectory(
            prefix=_WORK_PREFIX, dir=entry.parent, ignore_cleanup_errors=True
        ) as work_name:
            work = Path(work_name)
            _retrieve(model, work, progress, (connect_timeout, read_timeout))
            _move_into_cache(work, entry, model.folder)
    except DownloadError as error:
        raise _fetch_failure(model, str(error), "check the network") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = f"no room is left in the cache {cache_folder()}"
            remedy = "make room or set XFV_CACHE to another folder"
        else:
            words = (error.strerror or type(error).__name__).lower()
            reason = f"the cache {cache_folder()} cannot be written ({words})"
            remedy = "set XFV_CACHE to a folder that can be written"
        raise _fetch_failure(model, reason, remedy) from error
    return entry / model.folder


def folder_sha256(folder: str | os.PathLike[str]) -> str:
    """Computes the fingerprint of a SavedModel, for reports and as a cache key.

    It covers the paths and contents of what the embeddings depend on: saved_model.pb and the folders
    variables and assets. It leaves out model cards, licences, Keras' metadata, and TensorFlow's
    fingerprint.pb, whose identifiers are new at every export.

    Args:
        folder: A SavedModel folder.

    Returns:
        64 hexadecimal digits, the same on every platform.

    Raises:
        ModelError: The folder is no SavedModel or cannot be read.
    """
    root = Path(folder)
    if not _is_saved_model(root):
        raise ModelError(f"{root} holds no saved_model.pb; give a SavedModel folder")
    digest = hashlib.sha256()
    try:
        paths = [root / "saved_model.pb", *(root / "variables").rglob("*"), *(root / "assets").rglob("*")]
        files = {
            path.relative_to(root).as_posix(): path
            for path in paths
            if path.is_file() and not _is_junk(path.relative_to(root).parts)
        }
        for name, path in sorted(files.items()):
            # The size closes each content off, so that no two folders read as the same stream of bytes.
            digest.update(f"{name}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    digest.update(chunk)
    except OSError as error:
        raise ModelError(f"{root} cannot be read ({error.strerror}); check its permissions") from error
    return digest.hexdigest()


def _locate_preferred(*, allow_download: bool, progress: bool) -> LocatedModel:
    model = FETCHABLE[PREFERRED_MODEL]
    folder = _find_fetched(model)
    if folder is not None:
        return LocatedModel(model.name, folder, notice=None)
    if allow_download:
        try:
            return LocatedModel(model.name, fetch_model(model.name, progress=progress), notice=None)
        except DownloadError as error:
            reason = str(error).partition("; ")[0]
    else:
        reason = f"{model.name} is not on this machine and downloads are off"
    notice = f"{reason}; using the bundled {DEFAULT_BUNDLED}; for {model.name}, {_fetch_advice(model)}"
    return _locate_bundled(DEFAULT_BUNDLED, notice=notice)


def _locate_bundled(name: str, *, notice: str | None) -> LocatedModel:
    folder = assets_folder() / "models" / name
    if not _is_saved_model(folder):
        raise ModelError(f"the bundled model {name} is missing from {folder}; install the package again")
    return LocatedModel(name, folder, notice)


def _locate_path(given: str) -> LocatedModel:
    folder = Path(given).expanduser()
    try:
        if not given.strip() or not folder.exists():
            names = ", ".join(["auto", *BUNDLED_MODELS, *FETCHABLE])
            raise ModelError(
                f"{given!r} is neither a model's name nor a folder that exists; "
                f"give one of {names}, or the path of a SavedModel folder"
            )
        if not folder.is_dir():
            raise ModelError(f"{given} is a file, but a model is a SavedModel folder; {_file_advice(folder)}")
        if not (folder / "saved_model.pb").is_file():
            # Archives often unpack to a folder within a folder; two levels cover that and walk no whole disk.
            inner = [*folder.glob("*/saved_model.pb"), *folder.glob("*/*/saved_model.pb")]
            advice = f"did you mean {inner[0].parent}?" if len(inner) == 1 else "give a SavedModel folder"
            raise ModelError(f"{given} holds no saved_model.pb; {advice}")
    except OSError as error:
        raise ModelError(f"{given} cannot be read ({error.strerror}); check the path") from error
    return LocatedModel(folder.resolve().name.removesuffix(".tf"), folder, notice=None)


def _file_advice(file: Path) -> str:
    if file.name == "saved_model.pb":
        return f"give the folder it is in, {file.parent}"
    match file.suffix.lower():
        case ".zip":
            return "unpack it and give the folder in it that holds saved_model.pb"
        case ".h5" | ".hdf5" | ".keras":
            return "load it in Keras and make one with model.export(folder)"
        case ".tflite":
            return "export one from the model that the .tflite file was converted from"
        case _:
            return "give the folder that holds saved_model.pb"


def _is_saved_model(folder: Path) -> bool:
    try:
        return (folder / "saved_model.pb").is_file()
    except OSError:  # A folder that may not be looked into is as good as none.
        return False


def _find_fetched(model: FetchableModel) -> Path | None:
    for folder in (demo_folder() / model.folder, _cache_entry(model) / model.folder):
        if _is_saved_model(folder):
            return folder
    return None


def _cache_entry(model: FetchableModel) -> Path:
    # The hash in the name keeps the archive of another release from being taken for this one.
    return cache_folder() / "models" / f"{model.name}-{model.sha256[:12]}"


def _fetch_advice(model: FetchableModel, *, again: str = "") -> str:
    by_hand = f"put the folder at demo/{model.folder}"
    if (demo_folder() / model.folder).is_dir():
        by_hand += " (the one there holds no saved_model.pb)"
    return f"run `python -m xfv_demo fetch {model.name}`{again}, or {by_hand}"


def _fetch_failure(model: FetchableModel, reason: str, remedy: str) -> DownloadError:
    advice = f"{remedy} and {_fetch_advice(model, again=' again')}"
    try:
        server = urlsplit(model.url).hostname or model.url
    except ValueError:
        server = model.url
    return DownloadError(f"{model.name} could not be fetched from {server}: {reason}; {advice}")


def _retrieve(model: FetchableModel, work: Path, progress: bool, timeout: tuple[float, float]) -> None:
    """Downloads a model's archive, checks its SHA-256, and unpacks the model's folder to `work` / "unpacked".

    A DownloadError bears the bare reason.
    """
    import pooch
    import requests
    from tqdm import tqdm

    pooch.get_logger().setLevel("WARNING")  # it tells on standard error whatever it does
    # pooch sets the total, and takes no bar that is false: without one, it is as true as what it goes over.
    with tqdm(
        iter(()), desc=f"fetching {model.name}", unit="B", unit_scale=True, disable=not progress
    ) as bar:
        download = pooch.HTTPDownloader(
            progressbar=bar,
            chunk_size=_CHUNK_BYTES,
            timeout=timeout,
            headers={"Accept-Encoding": "identity"},  # the announced size shall be the file's own
            hooks={"response": _check_size},
        )
        try:
            pooch.retrieve(
                model.url,
                known_hash=f"sha256:{model.sha256}",
                fname="model.zip",
                path=work,
                downloader=download,
                processor=pooch.Unzip(members=[model.folder], extract_dir="unpacked"),
            )
        except requests.RequestException as error:
            raise DownloadError(_request_reason(error, timeout)) from error
        except zipfile.BadZipFile as error:
            raise DownloadError("its archive is broken") from error
        except ValueError as error:  # pooch's word for another hash
            raise DownloadError(
                f"what came is another file than was published, sha256 {model.sha256}"
            ) from error
    if not _is_saved_model(work / "unpacked" / model.folder):
        raise DownloadError(f"its archive holds no {model.folder}/saved_model.pb")


def _check_size(response: Any, **_: Any) -> None:
    """Refuses a file by its announced size, beyond which nothing is read."""
    if not response.ok or response.is_redirect:
        return
    size = response.headers.get("content-length", "no")
    if not size.isdecimal() or int(size) > MAX_DOWNLOAD_BYTES:
        response.close()
        limit = f"{MAX_DOWNLOAD_BYTES / 1e6:.0f} MB"
        raise DownloadError(f"the server announces {size} bytes, and a model has some, up to {limit}")


def _request_reason(error: Exception, timeout: tuple[float, float]) -> str:
    """Says in few words why a request came to nothing."""
    import requests
    from urllib3.exceptions import MaxRetryError, ReadTimeoutError

    connect_timeout, read_timeout = timeout
    match error:
        case requests.HTTPError(response=response) if response is not None:
            return f"the server answered {response.status_code} {response.reason}".strip()
        case requests.ConnectTimeout():
            return f"no connection within {connect_timeout:g} s"
        # requests reports silence amid a body as a mere ConnectionError about urllib3's timeout.
        case requests.ReadTimeout() | requests.ConnectionError(args=(ReadTimeoutError(), *_)):
            return f"the download stalled for {read_timeout:g} s"
        case requests.exceptions.ProxyError():
            return "the proxy let no connection through"
        case requests.exceptions.SSLError():
            return "the secure connection failed (an unknown certificate, or no TLS at all)"
        case requests.ConnectionError(args=(MaxRetryError(), *_)):
            return "no connection"
        case requests.ConnectionError() | requests.exceptions.ChunkedEncodingError():
            return "the connection was cut off"
        case requests.exceptions.InvalidURL() | requests.exceptions.MissingSchema():
            return "its address is not valid"
        case _:
            return f"the request failed ({type(error).__name__})"


def _is_junk(parts: tuple[str, ...]) -> bool:
    """Tells what macOS and Windows leave in folders and archives from what belongs to a model."""
    return "__MACOSX" in parts or parts[-1].startswith("._") or parts[-1] in (".DS_Store", "Thumbs.db")


def _move_into_cache(work: Path, entry: Path, folder: str) -> None:
    for attempt in range(1, _MOVE_ATTEMPTS + 1):
        if _is_saved_model(entry / folder):  # another process was faster
            return
        try:
            if entry.exists():  # someone deleted the model's files, but not their folder
                entry.rename(work / f"broken-{attempt}")
            (work / "unpacked").rename(entry)
        except OSError:
            if attempt == _MOVE_ATTEMPTS:
                raise
            time.sleep(_MOVE_PAUSE_SECONDS)
        else:
            return


def _remove_stale(models: Path) -> None:
    """Deletes what killed fetches left behind."""
    for work in models.glob(f"{_WORK_PREFIX}*"):
        with suppress(OSError):  # a live fetch may delete its files while they are looked at
            newest = max(path.stat().st_mtime for path in (work, *work.rglob("*")))
            if time.time() - newest > _STALE_SECONDS:
                shutil.rmtree(work, ignore_errors=True)
