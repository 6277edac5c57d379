"""Where models are: bundled with the package, fetched into the cache, or in a folder that the user names.

A model is a folder in TensorFlow's SavedModel format. A fetched one is downloaded and unpacked beside its
place in the cache and moved there in one step, so whatever the cache holds is whole, however the process that
fetched it ended.
"""

import hashlib
import os
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from xfv_demo.errors import DownloadError, ModelError
from xfv_demo.models.download import FetchableModel, is_junk, is_saved_model, retrieve
from xfv_demo.runtime.console import progress_bar
from xfv_demo.runtime.download import CHUNK_BYTES, TIMEOUT, Progress, cache_trouble, server_of
from xfv_demo.runtime.paths import assets_folder, cache_folder, demo_folder


@dataclass(frozen=True)
class LocatedModel:
    """A model found on this machine.

    Attributes:
        name: A known model's name, or the folder's name without ".tf"; None for a file, which may be a
            known one.
        path: The SavedModel folder, or the file.
        notice: One line for the user if this is not the model they may have expected, else None.
    """

    name: str | None
    path: Path
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
# What OpenVINO reads beside SavedModel folders.
FILE_SUFFIXES = (".onnx", ".tflite", ".pb")
# Of what lies in a folder, for a message of one line.
_MOST_NAMED = 5
_WORK_PREFIX = ".fetch-"
# A live fetch writes something at least every read_timeout, so an hour of silence means that it was killed.
_STALE_SECONDS = 3600.0
# A virus scanner may hold new files open for a moment, and Windows moves no folder with open files.
_MOVE_ATTEMPTS = 5
_MOVE_PAUSE_SECONDS = 0.2


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
                folder = _fetch(model, progress=progress)
            return LocatedModel(model, folder, notice=None)
    return _locate_path(os.fspath(model))


def fetch_model(
    name: str,
    *,
    progress: Progress | None = None,
    url: str | None = None,
    sha256: str | None = None,
    timeout: tuple[float, float] = TIMEOUT,
) -> Path:
    """Returns a model's folder in the cache; downloads the model first if it is not there.

    A download may take as long as it likes while bytes keep coming; proxies are those of the environment
    (https_proxy, no_proxy). After a failure nothing is left in the cache; processes that fetch the same model
    at once do not disturb each other.

    Args:
        name: A key of `FETCHABLE`.
        progress: Called with the number of bytes that have come and of all.
        url: Another place of the archive, such as a mirror.
        sha256: The SHA-256 of another archive of the model.
        timeout: As `runtime.download.TIMEOUT`.

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
    if is_saved_model(entry / model.folder):
        return entry / model.folder
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(entry.parent)
        with tempfile.TemporaryDirectory(
            prefix=_WORK_PREFIX, dir=entry.parent, ignore_cleanup_errors=True
        ) as work_name:
            work = Path(work_name)
            retrieve(model, work, progress, timeout)
            _move_into_cache(work, entry, model.folder)
    except DownloadError as error:
        raise _fetch_failure(model, str(error), "check the network") from error
    except OSError as error:
        reason, remedy = cache_trouble(error)
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
    if not is_saved_model(root):
        raise ModelError(f"{root} holds no saved_model.pb; give a SavedModel folder")
    digest = hashlib.sha256()
    try:
        paths = [root / "saved_model.pb", *(root / "variables").rglob("*"), *(root / "assets").rglob("*")]
        files = {
            path.relative_to(root).as_posix(): path
            for path in paths
            if path.is_file() and not is_junk(path.relative_to(root).parts)
        }
        for name, path in sorted(files.items()):
            # The size closes each content off, so that no two folders read as the same stream of bytes.
            digest.update(f"{name}\0{path.stat().st_size}\0".encode())
            with path.open("rb") as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    digest.update(chunk)
    except OSError as error:
        raise ModelError(f"{root} cannot be read ({error.strerror}); check its permissions") from error
    return digest.hexdigest()


def _fetch(name: str, *, progress: bool) -> Path:
    if not progress:
        return fetch_model(name)
    with progress_bar(f"Fetching {name}") as show:
        return fetch_model(name, progress=show)


def _locate_preferred(*, allow_download: bool, progress: bool) -> LocatedModel:
    model = FETCHABLE[PREFERRED_MODEL]
    folder = _find_fetched(model)
    if folder is not None:
        return LocatedModel(model.name, folder, notice=None)
    if allow_download:
        try:
            return LocatedModel(model.name, _fetch(model.name, progress=progress), notice=None)
        except DownloadError as error:
            reason = str(error).partition("; ")[0]
    else:
        reason = f"{model.name} is not on this machine and downloads are off"
    notice = f"{reason}; using the bundled {DEFAULT_BUNDLED}; for {model.name}, {_fetch_advice(model)}"
    return _locate_bundled(DEFAULT_BUNDLED, notice=notice)


def _locate_bundled(name: str, *, notice: str | None) -> LocatedModel:
    folder = assets_folder() / "models" / name
    if not is_saved_model(folder):
        raise ModelError(f"the bundled model {name} is missing from {folder}; install the package again")
    return LocatedModel(name, folder, notice)


def _locate_path(given: str) -> LocatedModel:
    folder = Path(given).expanduser()
    try:
        if not given.strip() or not folder.exists():
            names = ", ".join(["auto", *BUNDLED_MODELS, *FETCHABLE])
            raise ModelError(
                f"{given!r} is neither a model's name nor a folder that exists; "
                f"give one of {names}, or the path of a SavedModel folder or of an .onnx, "
                ".tflite or frozen .pb file"
            )
        if folder.is_file() and folder.suffix.lower() in FILE_SUFFIXES and folder.name != "saved_model.pb":
            return LocatedModel(None, folder, notice=None)
        if not folder.is_dir():
            raise ModelError(
                f"{given} is a file, but a model is a SavedModel folder, or an .onnx, .tflite or frozen .pb "
                f"file; {_file_advice(folder)}"
            )
        if not (folder / "saved_model.pb").is_file():
            # Archives often unpack to a folder within a folder; two levels cover that and walk no whole disk.
            inner = [*folder.glob("*/saved_model.pb"), *folder.glob("*/*/saved_model.pb")]
            found = [path.parent for path in inner]
            found += sorted(path for path in folder.iterdir() if path.suffix.lower() in FILE_SUFFIXES)
            advice = "give a SavedModel folder, or an .onnx, .tflite or frozen .pb file"
            if len(found) == 1:
                advice = f"did you mean {found[0]}?"
            elif found:
                advice = f"give one of those in it: {', '.join(path.name for path in found[:_MOST_NAMED])}"
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
            return f'make one in Keras: keras.models.load_model("{file.name}").export("{file.stem}")'
        case ".pt" | ".pth" | ".ckpt":
            return f'make one in PyTorch: torch.onnx.export(model, faces, "{file.stem}.onnx")'
        case _:
            return "give one of these"


def _find_fetched(model: FetchableModel) -> Path | None:
    for folder in (demo_folder() / model.folder, _cache_entry(model) / model.folder):
        if is_saved_model(folder):
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
    return DownloadError(f"{model.name} could not be fetched from {server_of(model.url)}: {reason}; {advice}")


def _move_into_cache(work: Path, entry: Path, folder: str) -> None:
    for attempt in range(1, _MOVE_ATTEMPTS + 1):
        if is_saved_model(entry / folder):  # another process was faster
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
