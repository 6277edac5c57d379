"""Models are found where they should be, and a fetch either ends whole or leaves nothing."""

import errno
import hashlib
import io
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import ExitStack
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from xfv_demo.errors import DownloadError, ModelError
from xfv_demo.models import download, registry
from xfv_demo.runtime import paths

NAME = "arcface-octuplet"
FOLDER = "ArcFaceOctupletLoss.tf"
# Does not compress, so that a body cut in half really lacks half of the model.
WEIGHTS = random.Random(0).randbytes(600_000)
CONTENT = {
    "saved_model.pb": b"a graph",
    "variables/variables.index": b"an index",
    "variables/variables.data-00000-of-00001": WEIGHTS,
    "keras_metadata.pb": b"{}",
}
FETCH_IN_PROCESS = """
import sys
from xfv_demo.models import registry
print(registry.fetch_model(sys.argv[1], url=sys.argv[2], sha256=sys.argv[3]))
"""


def make_zip(entries, *, prefix=f"{FOLDER}/", compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(prefix + name if isinstance(name, str) else name, content)
    return buffer.getvalue()


def sha256_of(content):
    return hashlib.sha256(content).hexdigest()


def write_model(folder, content=CONTENT):
    for name, data in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


GOOD = make_zip(CONTENT)
SIZE = len(GOOD)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def start(self, *, length=SIZE, status=200, **headers):
        self.close_connection = True
        self.send_response(status)
        self.send_header("Connection", "close")
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self):
        self.server.paths.append(self.path)
        # A proxy is asked for whole addresses.
        getattr(self, "answer" + urlsplit(self.path).path.replace("/", "_").replace("-", "_"))()

    def answer_good(self):
        self.start()
        self.wfile.write(self.server.body)

    def answer_given(self):
        self.start(length=len(self.server.body))
        self.wfile.write(self.server.body)

    def answer_cut(self):
        self.start()
        self.wfile.write(GOOD[: SIZE // 2])

    def answer_unsized(self):
        self.start(length=None)
        self.server.ended.wait(30)

    def answer_hang_up(self):
        self.close_connection = True

    def answer_missing(self):
        self.start(status=404, length=0)

    def answer_failing(self):
        self.start(status=500, length=0)

    def answer_wrong(self):
        self.start()
        self.wfile.write(bytes(SIZE))

    def answer_nonsense(self):
        self.start(length="many")

    def answer_huge(self):
        self.start(length=download.MAX_DOWNLOAD_BYTES + 1)
        self.server.ended.wait(30)

    def answer_stall_at_once(self):
        self.server.ended.wait(30)
        self.close_connection = True

    def answer_stall_after_headers(self):
        self.start()
        self.server.ended.wait(30)

    def answer_stall_in_body(self):
        self.start()
        self.wfile.write(GOOD[: SIZE // 2])
        self.server.ended.wait(30)

    def answer_slow(self):
        """Takes longer than the reader's patience in all, but never between two pieces."""
        self.start()
        step = SIZE // 8
        for offset in range(0, SIZE, step):
            self.wfile.write(GOOD[offset : offset + step])
            self.server.ended.wait(0.15)

    def answer_moved(self):
        self.start(status=302, length=0, Location="/good")

    def answer_moved_away(self):
        self.start(status=302, length=0, Location=f"http://127.0.0.1:{closed_port()}/good")

    def answer_moved_in_a_circle(self):
        self.start(status=302, length=0, Location="/moved-in-a-circle")


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    block_on_close = False

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.paths = []
        self.body = GOOD
        self.ended = threading.Event()

    def handle_error(self, *_):
        """Clients hang up in these tests; their broken pipes are no news."""

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"


def closed_port():
    with socket.socket() as once:
        once.bind(("127.0.0.1", 0))
        return once.getsockname()[1]


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.ended.set()
        server.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, an empty demo folder, and no way out: an address outside would be a mistake."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "*")
    look_up = socket.getaddrinfo

    def look_up_here(host, *args, **kwargs):
        assert host == "127.0.0.1", f"a test asked for {host}"
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up_here)
    monkeypatch.setenv("XFV_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(registry, "demo_folder", lambda: tmp_path / "demo")
    return tmp_path / "cache"


@pytest.fixture
def bundled(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "assets_folder", lambda: tmp_path / "assets")
    monkeypatch.setattr(paths, "assets_folder", lambda: tmp_path / "assets")
    return write_model(tmp_path / "assets" / "models" / "mobilefacenet")


@pytest.fixture
def published(server, monkeypatch):
    """Makes the local server's good archive the one that the package knows."""
    model = replace(registry.FETCHABLE[NAME], url=server.url("good"), sha256=sha256_of(GOOD))
    monkeypatch.setitem(registry.FETCHABLE, NAME, model)
    return server


def fetch(server, path="good", body=GOOD, **options):
    options = {"timeout": (1.0, 0.4)} | options
    return registry.fetch_model(NAME, url=server.url(path), sha256=sha256_of(body), **options)


def failed_fetch(server, path, cache, **options):
    """The message of a fetch that fails, without a trace, and does not spoil the next."""
    with pytest.raises(DownloadError) as failure:
        fetch(server, path, **options)
    assert left_in(cache) == []
    message = str(failure.value)
    assert "\n" not in message
    assert message.startswith(f"{NAME} could not be fetched from 127.0.0.1: ")
    assert f"`python -m xfv_demo fetch {NAME}` again" in message
    assert f"demo/{FOLDER}" in message
    server.body = GOOD
    assert_whole(fetch(server))
    return message


def left_in(cache):
    return [path for path in cache.rglob("*") if path != cache / "models"]


def assert_whole(folder):
    assert folder.name == FOLDER
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
    assert found == CONTENT


def one_line(error):
    message = str(error.value)
    assert "\n" not in message
    return message


# ---- a good fetch


def test_a_fetch_ends_with_a_whole_model_and_nothing_else(server, cache, capfd):
    folder = fetch(server)
    assert_whole(folder)
    assert folder.is_relative_to(cache)
    assert {path for path in cache.rglob("*") if path.is_file()} == {folder / name for name in CONTENT}
    assert capfd.readouterr() == ("", "")


def test_the_second_fetch_asks_no_server(server):
    first = fetch(server)
    assert fetch(server) == first
    assert registry.fetch_model(NAME, url=server.url("good"), sha256=sha256_of(GOOD).upper()) == first
    assert server.paths == ["/good"]


def test_another_archive_gets_a_place_of_its_own(server):
    first = fetch(server)
    server.body = make_zip(CONTENT | {"saved_model.pb": b"another graph"})
    second = fetch(server, "given", body=server.body)
    assert first != second
    assert (second / "saved_model.pb").read_bytes() == b"another graph"
    assert_whole(first)


def test_progress_is_told_in_bytes(server):
    told = []
    fetch(server, progress=lambda done, total: told.append((done, total)))
    assert {total for _, total in told} == {SIZE}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert len(told) > 5
    assert told[-1] == (SIZE, SIZE)


def test_a_slow_but_steady_download_is_waited_for(server):
    assert_whole(fetch(server, "slow", timeout=(1.0, 0.5)))


def test_a_redirect_is_followed(server):
    assert_whole(fetch(server, "moved"))
    assert server.paths == ["/moved", "/good"]


def test_a_proxy_is_asked_instead_of_the_server(server, monkeypatch):
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("http_proxy", server.url(""))
    assert_whole(registry.fetch_model(NAME, url="http://models.example/good", sha256=sha256_of(GOOD)))
    assert server.paths == ["http://models.example/good"]


def test_what_lies_beside_the_model_in_the_archive_is_left_there(server):
    junk = {
        f"__MACOSX/{FOLDER}/._saved_model.pb": b"x",
        "README.md": b"x",
    }
    server.body = make_zip({f"{FOLDER}/{name}": data for name, data in CONTENT.items()} | junk, prefix="")
    assert_whole(fetch(server, "given", body=server.body))


# ---- a fetch that fails on the way


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("cut", r"the connection was cut off"),
        ("unsized", r"the server announces no bytes"),
        ("huge", r"the server announces 1000000001 bytes, and some are due, up to 1000 MB"),
        ("nonsense", r"the server announces many bytes"),
        ("hang-up", r"the connection was cut off"),
        ("missing", r"the server answered 404 Not Found"),
        ("failing", r"the server answered 500 Internal Server Error"),
        ("wrong", r"what came is not the file of sha256 [0-9a-f]{64};"),
        ("stall-at-once", r"stalled for 0\.4 s;"),
        ("stall-after-headers", r"stalled for 0\.4 s;"),
        ("stall-in-body", r"stalled for 0\.4 s;"),
        ("moved-away", r"no connection;"),
        ("moved-in-a-circle", r"the request failed \(TooManyRedirects\)"),
    ],
)
def test_a_failed_download_says_why_and_leaves_nothing(server, cache, path, expected):
    message = failed_fetch(server, path, cache)
    assert re.search(expected, message), message
    assert "check the network" in message


def test_a_refused_connection(server, cache, monkeypatch):
    port = closed_port()
    with pytest.raises(DownloadError, match="no connection") as failure:
        registry.fetch_model(NAME, url=f"http://127.0.0.1:{port}/model.zip", timeout=(2.0, 20.0))
    assert "\n" not in str(failure.value)
    assert left_in(cache) == []


@pytest.fixture
def silent_port():
    """A port where connections are neither taken nor refused."""
    if not sys.platform.startswith("linux"):
        pytest.skip("other systems refuse connections when the queue is full")
    with ExitStack() as open_sockets:
        silent = open_sockets.enter_context(socket.socket())
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for _ in range(8):  # fills the queue of connections that no one accepts
            waiting = open_sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(silent.getsockname())
        yield silent.getsockname()[1]


def test_a_connection_that_never_comes_about_is_given_up(cache, silent_port):
    """As in a network that swallows packets: were there no limit, this would never end."""
    with pytest.raises(DownloadError, match=r"from 127\.0\.0\.1: no connection within 0\.4 s;"):
        registry.fetch_model(NAME, url=f"http://127.0.0.1:{silent_port}/model.zip", timeout=(0.4, 20.0))
    assert left_in(cache) == []


@pytest.mark.parametrize("dead", ["silent", "closed"])
def test_a_dead_address_does_not_hide_a_live_one(server, monkeypatch, silent_port, dead):
    ports = silent_port if dead == "silent" else closed_port(), server.server_port
    entry = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    answers = [(*entry, ("127.0.0.1", port)) for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    assert_whole(fetch(server))


def test_a_name_that_is_not_known(cache, monkeypatch):
    def refuse(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(DownloadError, match=r"from github\.com: no connection;"):
        registry.fetch_model(NAME)
    assert left_in(cache) == []


@pytest.mark.parametrize("url", ["model.zip", "http://[::1/model.zip", "http://127.0.0.1:99999/model.zip"])
def test_an_address_that_is_none(url):
    with pytest.raises(DownloadError, match="its address is not valid"):
        registry.fetch_model(NAME, url=url)


def test_a_server_without_tls(server, cache):
    url = server.url("good").replace("http:", "https:")
    with pytest.raises(DownloadError, match="the secure connection failed"):
        registry.fetch_model(NAME, url=url, timeout=(1.0, 1.0))
    assert left_in(cache) == []


def test_a_full_disk(server, cache, monkeypatch):
    import pooch

    def fill(self, url, output_file, pooch):
        output_file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device", output_file.name)

    with monkeypatch.context() as patch:
        patch.setattr(pooch.HTTPDownloader, "__call__", fill)
        message = failed_fetch_on_disk(server)
    assert "no room is left in the cache" in message
    assert left_in(cache) == []
    assert_whole(fetch(server))


def test_a_cache_that_cannot_be_written(server, cache):
    cache.write_text("a file in the folder's place")
    message = failed_fetch_on_disk(server)
    assert f"the cache {cache} cannot be written" in message
    assert server.paths == []


def failed_fetch_on_disk(server):
    with pytest.raises(DownloadError) as failure:
        fetch(server)
    message = one_line(failure)
    assert "XFV_CACHE" in message
    assert "check the network" not in message
    return message


def test_an_interrupted_fetch_leaves_nothing(server, cache, monkeypatch):
    import pooch

    def interrupt(self, url, output_file, pooch):
        output_file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(pooch.HTTPDownloader, "__call__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(server)
    assert left_in(cache) == []


def test_an_unknown_name_gets_the_known_ones():
    with pytest.raises(ModelError, match=NAME) as failure:
        registry.fetch_model("facenet")
    assert "mobilefacenet" in one_line(failure)


# ---- archives that are broken or mean harm


@pytest.mark.parametrize(
    ("archive", "expected"),
    [
        pytest.param(make_zip(CONTENT, prefix="Other.tf/"), f"holds no {FOLDER}/saved_model.pb", id="other"),
        pytest.param(make_zip(CONTENT, prefix=""), f"holds no {FOLDER}/saved_model.pb", id="flat"),
        pytest.param(make_zip({}), f"holds no {FOLDER}/saved_model.pb", id="empty"),
        pytest.param(GOOD[:-30], "its archive is broken", id="cut"),
        pytest.param(GOOD.replace(WEIGHTS[:20], bytes(20)), "its archive is broken", id="checksum"),
        pytest.param(b"<html>Log in first</html>", "its archive is broken", id="page"),
    ],
)
def test_a_bad_archive_is_refused_whole(server, cache, archive, expected):
    server.body = archive
    with pytest.raises(DownloadError, match=expected) as failure:
        fetch(server, "given", body=archive)
    one_line(failure)
    assert left_in(cache) == []
    server.body = GOOD
    assert_whole(fetch(server))


def test_nothing_is_unpacked_before_the_hash_is_checked(server, monkeypatch):
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("something was unpacked"))
    with pytest.raises(DownloadError, match="not the file of sha256"):
        fetch(server, "good", body=b"another")


@pytest.mark.parametrize("entry", ["../../../evil", "/evil", f"{FOLDER}/../../../evil"])
def test_no_entry_leads_out_of_the_cache(server, cache, tmp_path, entry):
    server.body = make_zip({f"{FOLDER}/saved_model.pb": b"x", entry: b"x"}, prefix="")
    folder = fetch(server, "given", body=server.body)
    assert all(path.is_relative_to(folder) for path in tmp_path.rglob("evil"))


# ---- several fetches, and fetches that were killed


def test_fetches_at_once_all_end_well(server):
    folders, failures = [], []
    barrier = threading.Barrier(4)

    def run():
        barrier.wait()
        try:
            folders.append(fetch(server, "slow", timeout=(1.0, 2.0)))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert failures == []
    assert len(folders) == 4
    assert len(set(folders)) == 1
    assert_whole(folders[0])
    assert len(server.paths) == 4
    assert list(folders[0].parent.parent.glob(".*")) == []


def process_fetching(server, path):
    environment = os.environ | {"PYTHONPATH": str(Path(registry.__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, "-c", FETCH_IN_PROCESS, NAME, server.url(path), sha256_of(GOOD)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_processes_fetching_at_once_both_end_well(server):
    processes = [process_fetching(server, "slow") for _ in range(2)]
    answers = [process.communicate(timeout=15) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert answers[0][0] == answers[1][0]
    assert_whole(Path(answers[0][0].strip()))


@pytest.mark.slow
def test_a_killed_fetch_leaves_no_model_and_does_not_disturb_the_next(server, cache):
    process = process_fetching(server, "stall-in-body")
    deadline = time.monotonic() + 15
    while not any(path.stat().st_size for path in cache.glob("models/*/*")):
        assert time.monotonic() < deadline, "the process wrote nothing"
        time.sleep(0.02)
    process.kill()
    process.communicate()
    [rest] = (cache / "models").iterdir()
    assert list(rest.rglob("saved_model.pb")) == []

    assert_whole(fetch(server))
    assert rest.is_dir(), "it could have been a live fetch"

    for path in (*rest.iterdir(), rest):
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    server.body = make_zip(CONTENT | {"saved_model.pb": b"another graph"})
    fetch(server, "given", body=server.body)
    assert not rest.exists()


def test_a_cached_model_that_lost_its_files_is_fetched_anew(server):
    folder = fetch(server)
    (folder / "saved_model.pb").unlink()
    assert_whole(fetch(server))
    assert len(server.paths) == 2


def test_a_move_that_a_virus_scanner_holds_up_is_tried_again(server, monkeypatch):
    monkeypatch.setattr(registry, "_MOVE_PAUSE_SECONDS", 0.01)
    move, refusals = Path.rename, [1, 2]

    def rename(self, target):
        if refusals:
            refusals.pop()
            raise PermissionError(errno.EACCES, "Access is denied")
        return move(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    assert_whole(fetch(server))


# ---- finding a model


def test_auto_takes_the_demo_folder_first(published, bundled, tmp_path):
    fetch(published)
    placed = write_model(tmp_path / "demo" / FOLDER)
    assert registry.locate_model("auto") == registry.LocatedModel(NAME, placed, None)


def test_auto_takes_the_cache_second(published, bundled):
    cached = registry.fetch_model(NAME)
    published.paths.clear()
    for allow_download in (True, False):
        assert registry.locate_model("auto", allow_download=allow_download).path == cached
    assert published.paths == []


def test_auto_fetches_third(published, bundled, cache):
    located = registry.locate_model()
    assert (located.name, located.notice) == (NAME, None)
    assert located.path.is_relative_to(cache)
    assert_whole(located.path)


def test_auto_falls_back_to_the_bundled_model_and_says_why(published, bundled, monkeypatch):
    monkeypatch.setitem(
        registry.FETCHABLE, NAME, replace(registry.FETCHABLE[NAME], url=published.url("missing"))
    )
    located = registry.locate_model("auto")
    assert (located.name, located.path) == ("mobilefacenet", bundled)
    assert located.notice == (
        f"{NAME} could not be fetched from 127.0.0.1: the server answered 404 Not Found; "
        f"using the bundled mobilefacenet; for {NAME}, run `python -m xfv_demo fetch {NAME}`, "
        f"or put the folder at demo/{FOLDER}"
    )


def test_auto_without_downloads_asks_no_server(published, bundled):
    located = registry.locate_model("auto", allow_download=False)
    assert located.path == bundled
    assert "downloads are off; using the bundled mobilefacenet" in located.notice
    assert "\n" not in located.notice
    assert published.paths == []


def test_a_demo_folder_without_a_model_is_passed_over_and_named(bundled, tmp_path):
    write_model(tmp_path / "demo" / FOLDER / FOLDER)
    located = registry.locate_model("auto", allow_download=False)
    assert located.name == "mobilefacenet"
    assert "the one there holds no saved_model.pb" in located.notice


def test_the_bundled_model_by_name(published, bundled):
    assert registry.locate_model("mobilefacenet") == registry.LocatedModel("mobilefacenet", bundled, None)
    assert published.paths == []


def test_a_bundled_model_that_is_missing(bundled):
    (bundled / "saved_model.pb").unlink()
    with pytest.raises(ModelError, match="install the package again") as failure:
        registry.locate_model("mobilefacenet")
    one_line(failure)


def test_the_fetchable_model_by_name(published, bundled, tmp_path):
    with pytest.raises(ModelError, match="downloads are off") as failure:
        registry.locate_model(NAME, allow_download=False)
    one_line(failure)
    assert published.paths == []

    fetched = registry.locate_model(NAME)
    assert fetched.name == NAME
    assert_whole(fetched.path)

    placed = write_model(tmp_path / "demo" / FOLDER)
    assert registry.locate_model(NAME, allow_download=False).path == placed


def test_the_fetchable_model_by_name_does_not_fall_back(published, bundled, monkeypatch):
    monkeypatch.setitem(
        registry.FETCHABLE, NAME, replace(registry.FETCHABLE[NAME], url=published.url("missing"))
    )
    with pytest.raises(DownloadError, match="404"):
        registry.locate_model(NAME)


@pytest.mark.parametrize("name", ["mine", "mine.tf", "v1.2"])
@pytest.mark.parametrize("kind", [str, Path])
def test_a_folder_given_by_path(tmp_path, name, kind):
    folder = write_model(tmp_path / name)
    assert registry.locate_model(kind(folder)) == registry.LocatedModel(
        name.removesuffix(".tf"), folder, None
    )


def test_the_working_folder_has_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(write_model(tmp_path / "mine.tf"))
    assert registry.locate_model(".").name == "mine"


def test_a_path_is_never_taken_for_a_name(tmp_path, monkeypatch, bundled):
    write_model(tmp_path / "mobilefacenet")
    monkeypatch.chdir(tmp_path)
    assert registry.locate_model("mobilefacenet").path == bundled
    assert registry.locate_model(Path("mobilefacenet")).path == Path("mobilefacenet")


@pytest.mark.parametrize("given", ["nowhere", "no/where", "", " ", "Auto", "x" * 5000, "a\0b"])
def test_a_folder_that_does_not_exist(given):
    with pytest.raises(ModelError) as failure:
        registry.locate_model(given)
    message = one_line(failure)
    assert "x" * 300 in message or all(name in message for name in ("auto", "mobilefacenet", NAME))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.zip", "unpack it"),
        ("model.h5", 'load_model("model.h5").export("model")'),
        ("model.keras", 'load_model("model.keras").export("model")'),
        ("model.pth", "torch.onnx.export"),
        ("model.xml", "give one of these"),
        ("saved_model.pb", "give the folder it is in"),
    ],
)
def test_a_file_is_no_folder(tmp_path, name, expected):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ModelError, match="SavedModel folder") as failure:
        registry.locate_model(tmp_path / name)
    assert expected in one_line(failure)


def test_a_folder_that_is_no_model(tmp_path):
    outer = tmp_path / "outer"
    outer.mkdir()
    with pytest.raises(ModelError, match=r"holds no saved_model\.pb; give a SavedModel folder") as failure:
        registry.locate_model(outer)
    one_line(failure)
    inner = write_model(outer / "deep" / "inner")
    with pytest.raises(ModelError, match="did you mean") as failure:
        registry.locate_model(outer)
    assert str(inner) in one_line(failure)
    write_model(outer / "second")
    with pytest.raises(ModelError, match=r"give one of those in it: (inner, second|second, inner)"):
        registry.locate_model(outer)


def test_files_in_a_folder(tmp_path):
    (tmp_path / "a.onnx").touch()
    with pytest.raises(ModelError, match="did you mean") as failure:
        registry.locate_model(tmp_path)
    assert str(tmp_path / "a.onnx") in one_line(failure)
    (tmp_path / "b.ONNX").touch()
    with pytest.raises(ModelError, match=r"give one of those in it: a\.onnx, b\.ONNX"):
        registry.locate_model(tmp_path)


# ---- places


def test_the_cache_folder_is_named_and_not_made(monkeypatch, tmp_path):
    assert paths.cache_folder() == tmp_path / "cache"
    assert not (tmp_path / "cache").exists()
    monkeypatch.setenv("XFV_CACHE", "")
    assert "xfv-demo" in paths.cache_folder().parts


def test_the_assets_folder_is_the_packages_own_or_the_source_trees(monkeypatch, tmp_path):
    package = tmp_path / "xfv_demo"
    package.mkdir()
    monkeypatch.setattr(paths, "_PACKAGE", package)
    assert paths.assets_folder() == tmp_path / "assets"
    (package / "assets").mkdir()
    assert paths.assets_folder() == package / "assets"


def test_importing_it_imports_no_framework(run_python):
    heavy = ("tensorflow", "gradio", "pooch", "requests", "tqdm")
    code = f"import sys, xfv_demo.models.registry; sys.exit(', '.join(set({heavy}) & set(sys.modules)))"
    assert run_python("-c", code).stderr.strip() == ""


# ---- the fingerprint


def test_the_fingerprint_is_that_of_the_numbers(tmp_path):
    folder = write_model(tmp_path / "one.tf")
    fingerprint = registry.folder_sha256(folder)
    assert re.fullmatch("[0-9a-f]{64}", fingerprint)
    # Computed by hand from the definition, so that a change of it does not go unseen.
    stream = b"".join(
        f"{name}\0{len(CONTENT[name])}\0".encode() + CONTENT[name]
        for name in ("saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index")
    )
    assert fingerprint == sha256_of(stream)
    same = write_model(
        tmp_path / "two",
        CONTENT | {"README.md": b"x", "fingerprint.pb": b"x", "variables/.DS_Store": b"x", "LICENSE": b"x"},
    )
    assert registry.folder_sha256(str(same)) == fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"saved_model.pb": b"b graph"},
        {"variables/variables.index": b"another"},
        {"assets/words.txt": b""},
        {"variables/deep/er": b""},
    ],
)
def test_the_fingerprint_changes_with_the_model(tmp_path, change):
    first = registry.folder_sha256(write_model(tmp_path / "first"))
    assert registry.folder_sha256(write_model(tmp_path / "second", CONTENT | change)) != first


def test_no_fingerprint_without_a_model(tmp_path):
    with pytest.raises(ModelError, match=r"holds no saved_model\.pb"):
        registry.folder_sha256(tmp_path)
