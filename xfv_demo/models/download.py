"""Fetches a model's archive and unpacks it, trusting neither."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfv_demo.errors import DownloadError


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

CHUNK_BYTES = 1 << 16


def is_saved_model(folder: Path) -> bool:
    """Whether a folder holds a SavedModel."""
    try:
        return (folder / "saved_model.pb").is_file()
    except OSError:  # A folder that may not be looked into is as good as none.
        return False


def retrieve(model: FetchableModel, work: Path, progress: bool, timeout: tuple[float, float]) -> None:
    """Downloads a model's archive, checks its SHA-256, and unpacks the model's folder to `work` / "unpacked".

    A DownloadError bears the bare reason.
    """
    import pooch
    import requests
    from tqdm import tqdm

    pooch.get_logger().setLevel("WARNING")  # it tells on standard error whatever it does
    # pooch sets the total, and takes no bar that is false: without one, it is as true as what it goes over.
    # With a delay, nothing is shown before something has come.
    shown: dict[str, Any] = {"unit": "B", "unit_scale": True, "delay": 1e-6, "mininterval": 0}
    with tqdm(iter(()), desc=f"fetching {model.name}", disable=not progress, **shown) as bar:
        download = pooch.HTTPDownloader(
            progressbar=bar,
            chunk_size=CHUNK_BYTES,
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
    if not is_saved_model(work / "unpacked" / model.folder):
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


def is_junk(parts: tuple[str, ...]) -> bool:
    """Tells what macOS and Windows leave in folders and archives from what belongs to a model."""
    return "__MACOSX" in parts or parts[-1].startswith("._") or parts[-1] in (".DS_Store", "Thumbs.db")
