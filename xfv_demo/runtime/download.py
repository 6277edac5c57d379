"""Downloads a file, and goes on with what a break has left of one."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from xfv_demo.errors import DownloadError
from xfv_demo.runtime.paths import cache_folder

CHUNK_BYTES = 1 << 16

# Seconds for connecting to each address of a server, after its name was looked up, for which the system has a
# limit of its own; and that a server may stay silent.
TIMEOUT = 5.0, 20.0

# Called with the number of steps done and of all steps; of a download, bytes.
Progress = Callable[[int, int], None]


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None,
    largest: int,
    progress: Progress | None = None,
    timeout: tuple[float, float] = TIMEOUT,
) -> str:
    """Downloads a file, which may take as long as it likes while bytes keep coming.

    What came before a break lies beside the target, as `target.name` and ".part". The next call goes on with
    it where the server allows (RFC 9110, section 14), and begins anew where not.

    Args:
        url: Where from; proxies are those of the environment (https_proxy, no_proxy).
        target: Where to. What is there by the end is whole.
        sha256: What the file must have; None to take what comes.
        largest: In bytes. A server that announces more, or nothing, is not listened to.
        progress: Called with the number of bytes that are there and of all.
        timeout: As `TIMEOUT`.

    Returns:
        The file's SHA-256.

    Raises:
        DownloadError: It did not come, or is another file; bears the bare reason.
        OSError: It cannot be written.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # it tells on standard error whatever it does
    receive = _Receiver(target.with_name(f"{target.name}.part"), largest, progress, timeout)
    try:
        pooch.retrieve(
            url,
            known_hash=sha256 and f"sha256:{sha256}",
            fname=target.name,
            path=target.parent,
            downloader=receive,
        )
    except requests.RequestException as error:
        raise DownloadError(_request_reason(error, timeout)) from error
    except ValueError as error:  # pooch's word for another hash
        raise DownloadError(f"what came is not the file of sha256 {sha256}") from error
    return str(pooch.file_hash(str(target)))


class _Receiver:
    """A downloader for pooch, whose own begin anew after each break.

    Those write to a temporary file that goes when they fail. This one writes to a file that stays, by the
    same means, and hands it over when it is whole.
    """

    def __init__(
        self, part: Path, largest: int, progress: Progress | None, timeout: tuple[float, float]
    ) -> None:
        self._part, self._largest, self._progress, self._timeout = part, largest, progress, timeout

    def __call__(self, url: str, output_file: str, _pooch: object) -> None:
        import requests

        try:
            self._receive(url)
        except requests.HTTPError as error:
            # Nothing comes after what is there: it may be whole, or of a longer file. So once more.
            if error.response is None or error.response.status_code != requests.codes.range_not_satisfiable:
                raise
            self._part.unlink()
            self._receive(url)
        self._part.replace(output_file)

    def _receive(self, url: str) -> None:
        import pooch

        with self._part.open("ab") as stream:
            before = stream.tell()
            bar = _Bar(self._progress)

            def check(response: Any, **_: Any) -> None:
                if response.ok and not response.is_redirect:
                    bar.before = self._kept(response, stream)

            pooch.HTTPDownloader(
                progressbar=bar,
                chunk_size=CHUNK_BYTES,
                timeout=self._timeout,
                headers={
                    "Accept-Encoding": "identity",  # the announced size shall be the file's own
                    **({"Range": f"bytes={before}-"} if before else {}),
                },
                hooks={"response": check},
            )(url, stream, None)

    def _kept(self, response: Any, stream: IO[bytes]) -> int:
        """How much of what is there the answer goes on with; the rest is dropped."""
        import requests

        if response.status_code != requests.codes.partial_content:
            stream.truncate(0)
        before = stream.seek(0, 2)
        size = response.headers.get("content-length", "no")
        if not size.isdecimal() or before + int(size) > self._largest:
            response.close()
            limit = f"{self._largest / 1e6:.0f} MB"
            raise DownloadError(f"the server announces {size} bytes, and some are due, up to {limit}")
        return before


class _Bar:
    """What pooch takes for a progress bar: it sets the total, then counts chunks, the last as a whole one."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._done = 0
        self.total = 0
        self.before = 0

    def update(self, size: int) -> None:
        self._done = min(self._done + size, self.total)
        if self._progress and self.total:  # An empty file has no steps.
            self._progress(self.before + self._done, self.before + self.total)

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        """There is nothing to close."""


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


def cache_trouble(error: OSError) -> tuple[str, str]:
    """Why nothing can be written into the cache, in few words, and what to do about it."""
    cache = cache_folder()
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no room is left in the cache {cache}", "make room or set XFV_CACHE to another folder"
    words = (error.strerror or type(error).__name__).lower()
    return f"the cache {cache} cannot be written ({words})", "set XFV_CACHE to a folder that can be written"


def server_of(url: str) -> str:
    """The name of an address's server; the address itself where it is none."""
    try:
        return urlsplit(url).hostname or url
    except ValueError:
        return url
