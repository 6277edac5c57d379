"""The page as a server: what an attacker can ask of it by raw HTTP, with a stand-in for the model."""

import base64
import contextlib
import datetime
import json
import logging
import os
import shutil
import socket
import stat
import struct
import threading
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("gradio")

import gradio as gr
import httpx
from gradio.data_classes import ImageData
from starlette.routing import Route

from demo.app import build_app, launch_options
from demo.model_service import ModelConfig, Status
from demo.privacy import Deletion
from demo.server import line, uploads
from demo.server.calls import Refused, read_object
from demo.server.hosts import Hosts
from demo.server.middleware import OPEN_PATHS
from demo.server.photo_input import PhotoInput
from demo.server.uploads import Uploads
from xfv_demo import EXPLAINERS, XfvError, read_photo
from xfv_demo.types import AlignedFace, Face, Verification

pytestmark = pytest.mark.slow

META = {"_type": "gradio.FileData"}

# Every call that the page answers, shown or not, and why anybody may make it. All of them see only the state
# of the session that they name, and only photos that were uploaded (whose paths nobody can guess) or shipped.
CALLS = {
    "consented": "notes in one's own session that one agrees",
    "changed": "notes a number in one's own session, and ends one's own comparison",
    "changed_1": "the same before the next comparison",
    "find": "shows the faces of a photo that the caller uploaded",
    "find_2": "the same for photo B",
    "find_1": "the same once one agrees",
    "find_3": "the same for photo B",
    "pick": "notes a number in one's own session",
    "pick_1": "the same for photo B",
    "example": "names two photos that are shipped",
    "compare": "compares two photos that the caller uploaded; stands in line",
    "stop": "ends one's own comparison",
    "explored": "shows pairs of the stores that the page was started with; keeps nothing of the caller",
    "compared_live": "names two shipped photos; copies two of a fetched set, to this machine's user",
    "packed": "a zip of one's own results",
    "packed_1": "the same after a look was chosen",
    "deleted": "deletes files of one's own session, in the upload folder only",
    "threshold_moved": "decides anew on one's own result",
    **dict.fromkeys(
        ["choose", *(f"choose_{n}" for n in range(1, len(EXPLAINERS)))], "shows another map of one's own"
    ),
    **dict.fromkeys(
        ["place_asked", *(f"place_asked_{n}" for n in range(1, len(EXPLAINERS) + 1))], "reads one's own maps"
    ),
    "look_changed": "draws one's own maps anew",
    "lambda": "gives an empty text: another model has other calibrations",
    "methods_chosen": "shows and hides places on one's own page",
    "status": "how a model at hand is doing; only models that are offered can be named",
    "prepare": "calibrates a model at hand, one at a time; only on a page that answers its own user alone",
    "left": "deletes files of one's own session, as if the page was closed; stands in line",
    "verify": "the public call",
    "explain": "the public call",
    "line_is_full": "says a sentence",
}

# Every path that is answered, and why anybody may have it.
PATHS = {
    r"/": "the page",
    r"/(?:assets|static)/.+": "Gradio's scripts and pictures, as its package has them",
    r"/(?:config|theme\.css|favicon\.ico|robots\.txt|manifest\.json)": "how the page is laid out and looks",
    r"/gradio_api/(?:info|startup-events|theme\.css)": "what the public calls take; starts the line once",
    r"/gradio_api/file=.+": "one's own upload or result, whose path nobody can guess, or an example",
    r"/gradio_api/upload": "brings photos in; bounded in size, number and sum",
    r"/gradio_api/upload_progress": "how far an upload is, to who has named it",
    r"/gradio_api/run/\w+": "a call that does not stand in line; see CALLS",
    r"/gradio_api/call/\w+": "a call; see CALLS",
    r"/gradio_api/call/\w+/\w+": "the result of a call, whose name nobody can guess",
    r"/gradio_api/queue/join": "a call; see CALLS",
    r"/gradio_api/queue/data": "the results of one's own session",
    r"/gradio_api/heartbeat/[\w-]+": "tells when a page is closed, so that its photos are deleted",
    r"/gradio_api/cancel": "ends one's own call",
}


class SlowEmbedder:
    """Stands in for a model: embeds by the mean colour, as slowly as it is told to."""

    name, dimensions, sha256, engine, notice = "stand-in", 3, "0" * 64, "none", None

    def __init__(self):
        self.seconds = 0.0
        self.calls = 0

    def embed(self, images):
        self.calls += 1
        time.sleep(self.seconds)
        return images.mean((1, 2)) + 0.01


class StandIn:
    """Stands in for the service, and for its verifier: the face is the middle of the photo."""

    calibration = None

    def __init__(self):
        self.default = ModelConfig("stand-in")
        self.embedder = SlowEmbedder()
        self.go_on = threading.Event()
        self.go_on.set()

    def models(self):
        return ["stand-in"]

    def calibrations(self, choice=None):
        return []

    def wait(self, choice, seconds):
        return True

    def verifier(self, choice=None):
        return self

    def status(self, choice=None):
        return Status("ready", "Model: stand-in")

    def calibration_seconds(self, choice):
        return 290.0

    def find_candidates(self, path, which, name):
        self.go_on.wait(30)
        photo = read_photo(path, name)
        face = Face(
            np.zeros(4, np.float32), np.array([[38, 51], [73, 51], [56, 71], [41, 92], [70, 92]]), 1.0
        )
        aligned = np.resize(photo, (112, 112, 3)).astype(np.float32) / 255
        return (AlignedFace(name, aligned, face, (face,), photo.shape[:2]),)

    def compare_most_alike(self, probes, references):
        (probe,), (reference,) = probes, references
        return Verification("stand-in", None, None, 0.0, 0.5, True, None, probe, reference)


@pytest.fixture(scope="module")
def service():
    return StandIn()


@pytest.fixture(scope="module")
def page(service, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        for name in ("GRADIO_SERVER_NAME", "XFV_ALLOWED_HOSTS", "SPACE_ID", "SPACE_HOST"):
            patch.delenv(name, raising=False)
        page = build_app(service)
        probe.close()
        page.launch(server_port=port, prevent_thread_lock=True, quiet=True, **launch_options())
        yield page
        page.close()


@pytest.fixture
def client(page):
    with httpx.Client(base_url=page.local_url, timeout=30) as client:
        yield client


@pytest.fixture
def photo(client, examples):
    """The path of an upload."""
    return upload(client, (examples / "obama.jpg").read_bytes())


def upload(client, content, name="mine.jpg"):
    answer = client.post("/gradio_api/upload", files={"files": (name, content)})
    assert answer.status_code == 200, answer.text
    (path,) = answer.json()
    return path


def as_photo(path, **changes):
    return {"path": str(path), "orig_name": "mine.jpg", "meta": META, **changes}


def run(client, name, data, **more):
    return client.post(f"/gradio_api/run/{name}", json={"data": data, **more})


def post(client, path, content):
    headers = {"Content-Type": "application/json"}
    return client.post(f"/gradio_api/{path}", content=content, headers=headers)


def call(client, name, data):
    """What a queued call's stream says: the kind and the data of its last event."""
    answer = client.post(f"/gradio_api/call/{name}", json={"data": data})
    assert answer.status_code == 200, answer.text
    lines = client.get(f"/gradio_api/call/{name}/{answer.json()['event_id']}").text.split("\n")
    last = [line for line in lines if line.startswith("event: ")][-1]
    data = [line for line in lines if line.startswith("data: ")][-1]
    return last.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def files_in(folder):
    # Unlike rglob, os.walk bears that folders go meanwhile.
    found = [Path(root, name) for root, _, names in os.walk(folder) for name in names]
    return [path for path in found if path.is_file() and path.name != ".xfv-demo"]


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# Calls and paths ----------------------------------------------------------------------------------------


def test_every_call_is_known_and_may_be_public(page):
    assert {call.api_name for call in page.fns.values() if call.fn} == set(CALLS)
    assert {call.api_name for call in page.fns.values() if call.api_visibility == "public"} == {
        "verify", "explain",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("public", "environment"),
    [
        (True, {}),
        (False, {"SPACE_ID": "someone/faces"}),
        (False, {"XFV_HOSTED": "1"}),
        (False, {"XFV_ALLOWED_HOSTS": "faces.example"}),
        (False, {"SPACE_HOST": "someone-faces.hf.space"}),
    ],
)
def test_where_others_may_come_no_call_takes_the_machine_for_minutes(
    service, page, monkeypatch, tmp_path, public, environment
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    names = {call.api_name for call in build_app(service, public=public).fns.values()}
    assert names - {None} == {call.api_name for call in page.fns.values()} - {None, "prepare"}


def test_every_path_is_known_and_all_others_are_closed(page, client):
    assert {pattern for _, pattern in OPEN_PATHS} == set(PATHS)
    answered = {
        "/", "/assets/{path:path}", "/static/{path:path}", "/config", "/theme.css", "/favicon.ico",
        "/robots.txt", "/manifest.json", "/gradio_api/info", "/gradio_api/startup-events",
        "/gradio_api/theme.css", "/gradio_api/file={path_or_url:path}", "/gradio_api/upload",
        "/gradio_api/upload_progress", "/gradio_api/run/{api_name}", "/gradio_api/call/{api_name}",
        "/gradio_api/call/{api_name}/{event_id}", "/gradio_api/queue/join", "/gradio_api/queue/data",
        "/gradio_api/heartbeat/{session_hash}", "/gradio_api/cancel",
    }  # fmt: skip
    routes = [route for route in flat(page.app.routes) if isinstance(route, Route)]
    assert answered <= {route.path for route in routes}
    for route in routes:
        if route.path in answered:
            continue
        path = route.path
        for name in route.param_convertors:
            path = path.replace(f"{{{name}:path}}", "x").replace(f"{{{name}}}", "1")
        for method in route.methods:
            assert client.request(method, path).status_code == 404, (method, path)


def flat(routes):
    """All routes, also where FastAPI keeps those of a router together."""
    for route in routes:
        router = getattr(route, "original_router", None)
        yield from flat(router.routes) if router else [route]


# Reading ------------------------------------------------------------------------------------------------


@pytest.fixture
def foreign(tmp_path, examples):
    """A photo of the server's user that no visitor has uploaded."""
    return shutil.copy(examples / "obama.jpg", tmp_path / "secret.jpg")


def png_of(width, height):
    """A small file that says how many pixels it has."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((width // 8 + 1) * height), 9)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


DATA_URL = "data:image/png;base64," + base64.b64encode(png_of(13_000, 13_000)).decode()


def wrong_photos(foreign, photo):
    """What is no photo that was uploaded, by kind."""
    folder = uploads.folder()
    link = Path(photo).with_name("link.jpg")
    with contextlib.suppress(FileExistsError):
        link.symlink_to(foreign)
    return {
        "no meta": {"path": str(foreign)},
        "foreign type": as_photo(foreign, meta={"_type": "gradio.Other"}),
        "meta of an upload": as_photo(foreign),
        "meta that is none": as_photo(photo, meta="gradio.FileData"),
        "an upload without meta": {"path": photo},
        "nothing there": as_photo("/no/such/file.jpg"),
        "a folder": as_photo(foreign.parent),
        "the upload folder": as_photo(folder),
        "an upload's folder": as_photo(Path(photo).parent),
        "the mark": as_photo(folder / ".xfv-demo"),
        "up and down again": as_photo(f"{Path(photo).parent}/../../../{foreign.name}"),
        "up to where it is": as_photo(f"{Path(photo).parent}/../{Path(photo).parent.name}/mine.jpg"),
        "a link": as_photo(link),
        "beside the examples": as_photo(Path(uploads._EXAMPLES) / "README.md"),
        "relative": as_photo("mine.jpg"),
        "of Windows": as_photo("..\\..\\secret.jpg"),
        "of a share": as_photo("\\\\host\\share\\secret.jpg"),
        "a zero byte": as_photo(f"{photo}\0.jpg"),
        "half a sign": as_photo("/\ud800.jpg"),
        "very long": as_photo("/" + "x" * 5000),
        "a URL": as_photo("http://127.0.0.1:9/secret.jpg"),
        "a file URL": as_photo(f"file://{foreign}"),
        "a URL in place of a path": {"url": "http://127.0.0.1:9/x.jpg", "path": None, "meta": META},
        "a data URL": {"url": DATA_URL, "path": None, "meta": META},
        "a data URL as path": as_photo(DATA_URL),
        "no path": {"meta": META},
        "a stream": as_photo(photo, is_stream=True),
        "a nested path": {"path": as_photo(photo), "meta": META},
        "a list": [as_photo(photo)],
        "a text": photo,
        "a name that is none": as_photo(photo, orig_name=["x"]),
        "a number": 7,
    }


def takes_photo(page):
    return [
        (index, call)
        for index, call in page.fns.items()
        if call.fn and any(isinstance(block, PhotoInput) for block in call.inputs)
    ]


def some_values(block, photo):
    """A value that a component can have."""
    match block:
        case PhotoInput():
            return photo
        case gr.CheckboxGroup():
            return block.value
        case gr.Slider() | gr.Dropdown() | gr.Radio():
            return block.value
        case gr.Number():
            return 1
        case gr.Checkbox():
            return True
    return None


def test_no_call_reads_or_deletes_a_file_that_is_no_upload(page, client, foreign, photo, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("nothing is to be decoded or fetched")

    monkeypatch.setattr("gradio.processing_utils.async_ssrf_protected_download", never)
    monkeypatch.setattr("gradio.image_utils.decode_base64_to_file", never)
    foreign = Path(foreign)
    before = set(files_in(uploads.folder()))
    calls = takes_photo(page)
    assert {fn.api_name for _, fn in calls} == {
        *("find", "find_1", "find_2", "find_3"), "compare", "verify", "explain",
    }  # fmt: skip
    for kind, value in wrong_photos(foreign, photo).items():
        for index, fn in calls:
            data = [some_values(block, value) for block in fn.inputs]
            body = json.dumps({"data": data, "fn_index": index, "session_hash": "attacker"})
            for path in (f"run/{fn.api_name}", f"call/{fn.api_name}", "queue/join", "run/predict"):
                answer = post(client, path, body)
                if path.startswith("run") and fn.queue:
                    assert answer.status_code in (400, 404), kind
                    continue
                assert answer.status_code == (413 if len(body) > 65_536 else 400), (kind, fn.api_name, path)
                if len(body) <= 65_536:
                    line_of = answer.json()["error"]
                    assert "is no photo that was uploaded here" in line_of, kind
                    assert "/" not in line_of
    assert run(client, "deleted", [None], session_hash="attacker").status_code == 200
    assert foreign.is_file()
    assert before - set(files_in(uploads.folder())) == set()


@pytest.mark.parametrize("kind", ["find", "verify"])
def test_the_answer_does_not_tell_whether_a_file_exists(client, foreign, kind):
    """Neither in words nor in anything else but the time of day."""
    answers = []
    for path in (foreign, "/no/such/file.jpg", Path(foreign).parent, "/proc/self/mem", "/root/.ssh/id_rsa"):
        data = [None, as_photo(path)] if kind == "find" else [as_photo(path)] * 2
        answer = client.post(f"/gradio_api/call/{kind}", json={"data": data})
        answers.append((answer.status_code, answer.text))
        served = client.get(f"/gradio_api/file={path}")
        answers.append((served.status_code + 1, served.text))
    assert len(set(answers)) == 2


def test_the_input_itself_refuses_what_gradio_lets_through(photo, foreign, page):
    """As where there is no gate before it."""
    given = PhotoInput(label="probe")
    kept = given.preprocess(ImageData(path=photo, orig_name="mine.jpg"))
    assert kept == (photo, "mine.jpg")
    assert given.preprocess(None) is None
    assert given.preprocess(ImageData(path=str(uploads._EXAMPLES / "obama.jpg"))).name == "photo"
    for value in wrong_photos(Path(foreign), photo).values():
        if not isinstance(value, dict) or "meta" not in value:
            continue
        with contextlib.suppress(ValueError):  # which Gradio's own model refuses
            data = ImageData(**value)
            with pytest.raises(gr.Error, match="probe is no photo that was uploaded here"):
                given.preprocess(data)


def test_a_small_request_is_never_decoded_into_gigabytes(client, monkeypatch):
    monkeypatch.setattr("PIL.Image.open", lambda *given, **options: pytest.fail("was decoded"))
    for value in ({"path": None, "url": DATA_URL, "meta": META}, {"path": None, "url": DATA_URL}):
        assert len(DATA_URL) < 65_536
        answer = client.post("/gradio_api/call/verify", json={"data": [value, value]})
        assert answer.status_code == 400
    answer = client.post("/gradio_api/call/verify", json={"data": ["x" * 219_000] * 2})
    assert answer.status_code == 413


def test_a_photo_of_too_many_pixels_is_refused_by_its_header(client):
    path = upload(client, png_of(13_000, 13_000), "large.png")
    kind, data = call(client, "verify", [as_photo(path, orig_name="large.png")] * 2)
    assert kind == "error"
    assert data["error"] == '"large.png" has more than 50 megapixels; make it smaller.'


# Uploads and deleting -----------------------------------------------------------------------------------


def test_of_two_visitors_with_one_photo_each_has_a_file(client, examples):
    content = (examples / "obama.jpg").read_bytes()
    first, second = upload(client, content), upload(client, content)
    assert first != second
    for session, path in (("first", first), ("second", second)):
        found = run(client, "find", [None, as_photo(path)], session_hash=session)
        assert "One face found" in found.json()["data"][1]
    run(client, "deleted", [None], session_hash="first")
    assert not Path(first).exists()
    assert not Path(first).parent.exists()
    assert Path(second).is_file()
    assert client.get(f"/gradio_api/file={second}").content == content
    assert client.get(f"/gradio_api/file={first}").status_code == 404
    with client.stream("GET", "/gradio_api/heartbeat/second") as beat:
        next(beat.iter_lines())
    wait_for(lambda: not Path(second).exists())


def test_deleting_touches_regular_files_of_the_folder_only(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    outside = tmp_path / "outside" / "kept.jpg"
    inside = tmp_path / "uploads" / "one" / "two" / "mine.jpg"
    for path in (outside, inside):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"a photo")
    link = inside.with_name("link.jpg")
    link.symlink_to(outside)
    turned = tmp_path / "uploads" / "turned"
    turned.symlink_to(outside.parent)
    for path in (outside, link, turned, turned / "kept.jpg", inside.parent, tmp_path / "uploads", Path("/")):
        uploads.delete(path)
    assert outside.read_bytes() == b"a photo"
    assert inside.is_file()
    link.unlink()
    uploads.delete(inside)
    assert not inside.parent.parent.exists()
    assert (tmp_path / "uploads").is_dir()


@pytest.mark.parametrize("stated", [True, False])
def test_of_an_upload_that_breaks_off_nothing_stays(page, stated):
    before = set(Path(uploads.folder()).rglob("*"))
    head = (
        b"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        b"Content-Type: multipart/form-data; boundary=cut\r\n"
        + (b"Content-Length: 900000\r\n\r\n" if stated else b"Transfer-Encoding: chunked\r\n\r\n")
    )
    part = b'--cut\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n' + bytes(300_000)
    if not stated:
        part = f"{len(part):x}\r\n".encode() + part + b"\r\n"
    with socket.create_connection(("127.0.0.1", page.server_port)) as connection:
        connection.sendall(head + part)
        wait_for(lambda: set(Path(uploads.folder()).rglob("*")) - before)
    wait_for(lambda: not set(Path(uploads.folder()).rglob("*")) - before)


def test_uploads_are_bounded(page, client, monkeypatch):
    before = set(Path(uploads.folder()).rglob("*"))
    one = ("files", ("a.jpg", b"x"))
    for files, status in (
        ([one] * 3, 400),
        ([("other", ("a.jpg", b"x"))], 400),
        ([("files", ("a.jpg", bytes(page.max_file_size + 1)))], 413),
        ([("files", ("a.jpg", bytes(page.max_file_size))), ("files", ("b.jpg", bytes(10**6 * 50)))], 413),
    ):
        answer = client.post("/gradio_api/upload", files=files)
        assert answer.status_code == status, answer.text
    for content, kind in ((b"--cut\r\nnonsense", "multipart/form-data; boundary=cut"), (b"x", "image/jpeg")):
        answer = client.post("/gradio_api/upload", content=content, headers={"Content-Type": kind})
        assert answer.status_code == 400
    assert client.post("/gradio_api/upload?upload_id=%2F..", files=[one]).status_code == 400
    monkeypatch.setattr(uploads, "_MOST_BYTES", 100)
    answer = client.post("/gradio_api/upload", files=[("files", ("a.jpg", bytes(1000)))])
    assert answer.status_code == 507
    assert "can keep no more photos now" in answer.json()["error"]
    assert set(Path(uploads.folder()).rglob("*")) == before


def made_uploads(folder, monkeypatch, after=100, every=10):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(folder))
    made = Uploads(Deletion(after, every))
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(made.folder))
    return made


def written(path, age=0.0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a photo")
    for one in (path, path.parent):
        os.utime(one, (time.time() - age,) * 2)
    return path


def test_the_folder_is_the_users_alone_and_new(tmp_path, monkeypatch):
    first, second = (made_uploads(tmp_path, monkeypatch) for _ in range(2))
    assert first.folder != second.folder
    assert first.folder.parent == second.folder.parent == tmp_path
    if os.name == "posix":
        assert stat.S_IMODE(first.folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(uploads.new_folder().stat().st_mode) == 0o700


def waiting_page(*paths):
    event = SimpleNamespace(data=SimpleNamespace(data=[None, *({"path": str(path)} for path in paths), 5]))
    return SimpleNamespace(_queue=SimpleNamespace(event_ids_to_events={"a": event}))


class Page(SimpleNamespace):
    __hash__ = object.__hash__


def test_what_is_old_is_deleted_but_for_what_waits_in_line(tmp_path, monkeypatch):
    made = made_uploads(tmp_path, monkeypatch)
    old, new, waits = (
        written(made.folder / name / "a.jpg", age)
        for name, age in (("old", 101), ("new", 50), ("wait", 5000))
    )
    broken_off = written(made.folder / "half" / "tmpabc", 101)
    outside = written(tmp_path / "outside" / "a.jpg", 5000)
    (made.folder / "link").symlink_to(outside.parent)
    page = Page(**vars(waiting_page(waits)))
    made.watch(page)
    made.sweep()
    assert set(files_in(made.folder)) == {new, waits}
    assert not old.exists()
    assert not broken_off.exists()
    assert outside.is_file()
    os.utime(old.parent, (time.time() - 101,) * 2)
    empty = uploads.new_folder()
    os.utime(empty, (time.time() - 99,) * 2)
    page._queue.event_ids_to_events.clear()
    made.sweep()
    assert not old.parent.exists()
    assert empty.is_dir(), "a slow upload is about to fill it"
    assert files_in(made.folder) == [new]
    uploads.touch(str(new))
    assert time.time() - new.stat().st_mtime < 10


def test_deleting_goes_on_after_every_error(tmp_path, monkeypatch, caplog):
    made = made_uploads(tmp_path, monkeypatch, after=1, every=0)
    failures = iter([RuntimeError("Set changed size during iteration"), OSError("disk"), KeyError("x")])
    sweep, swept = Uploads.sweep, threading.Event()

    def failing(self):
        for error in failures:
            raise error
        sweep(self)
        swept.set()
        Uploads._current = None

    monkeypatch.setattr(Uploads, "sweep", failing)
    monkeypatch.setattr(Uploads, "_current", made)
    monkeypatch.setattr("demo.server.uploads.time.sleep", lambda seconds: None)
    old = written(made.folder / "old" / "a.jpg", 50)
    made._keep_sweeping()
    assert swept.is_set()
    assert not old.exists()
    assert [record.message for record in caplog.records] == ["deleting old photos failed; it goes on"] * 3


def test_of_a_visitor_who_does_not_come_back_nothing_is_kept(
    page, client, photo, service, tmp_path, monkeypatch
):
    for session in ("gone", "here"):
        found = run(client, "find", [None, as_photo(photo)], session_hash=session)
        assert found.status_code == 200
    holder = page.state_holder
    (state,) = holder.session_data["gone"].state_data.values()
    holder.time_last_used["gone"] -= datetime.timedelta(seconds=101)
    made = made_uploads(tmp_path, monkeypatch)
    made.watch(page)
    fail = iter([RuntimeError("dictionary changed size during iteration")])
    delete_state = holder.delete_state

    def failing_at_first(session):
        for error in fail:
            raise error
        delete_state(session)

    monkeypatch.setattr(holder, "delete_state", failing_at_first)
    made.sweep()
    assert "gone" in holder.session_data
    made.sweep()
    assert "gone" not in holder.session_data
    assert "gone" not in holder.time_last_used
    assert "here" in holder.session_data
    wait_for(lambda: not state.found)


def test_one_file_that_cannot_be_deleted_does_not_keep_the_others(tmp_path, monkeypatch, caplog):
    made = made_uploads(tmp_path, monkeypatch)
    files = [written(made.folder / name / "a.jpg", 500) for name in "abc"]
    unlink = Path.unlink

    def failing(self, missing_ok=False):
        if self == files[1]:
            raise PermissionError(13, "Permission denied")
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", failing)
    made.sweep()
    assert files_in(made.folder) == [files[1]]
    assert "cannot be deleted yet: Permission denied" in caplog.text


def test_what_a_killed_process_left_is_deleted_and_nothing_else(tmp_path, monkeypatch):
    killed, living = (made_uploads(tmp_path, monkeypatch) for _ in range(2))
    for one in (killed, living):
        monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
        written(one.folder / "x" / "a.jpg")
    long_ago = (time.time() - 31,) * 2
    os.utime(killed.folder / ".xfv-demo", long_ago)
    unmarked = written(tmp_path / "xfv-demo-mine" / "a.jpg", 5000)
    other = written(tmp_path / "other" / "a.jpg", 5000)
    linked = tmp_path / "xfv-demo-link"
    target = tmp_path / "target"
    written(target / ".xfv-demo", 5000)
    linked.symlink_to(target)
    made = made_uploads(tmp_path, monkeypatch)
    made.sweep()
    assert not killed.folder.exists()
    assert all(
        path.exists() for path in (living.folder / "x" / "a.jpg", unmarked, other, target / ".xfv-demo")
    )


# Hosts and headers --------------------------------------------------------------------------------------


def answered(client, host, **headers):
    return client.get("/config", headers={"Host": host, **headers})


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:7860", "[::1]", "[::1]:9"])
def test_on_loopback_its_names_are_answered(client, host):
    assert answered(client, host).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:7860", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "",
     "localhost@evil.example", "evil.example#localhost", "127.0.0.2", "0.0.0.0", "localhost:99999999"],
)  # fmt: skip
def test_on_loopback_no_other_name_is_answered(client, host, caplog):
    answer = answered(client, host, Origin=f"http://{host}")
    assert answer.status_code in (400, 421)
    assert "access-control-allow-origin" not in answer.headers
    assert len(answer.text) < 300
    forwarded = client.get("/config", headers={"X-Forwarded-Host": host or "evil.example"})
    assert forwarded.status_code == 421
    preflight = {"Host": host, "Origin": f"http://{host}", "Access-Control-Request-Method": "POST"}
    refused = client.options("/config", headers=preflight)
    assert refused.status_code in (400, 421)
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:3000", "https://127.0.0.1.evil.example", ""]
)
def test_other_web_pages_change_and_read_nothing(client, page, origin):
    for host in (f"127.0.0.1:{page.server_port}", "[::1]:7860"):
        headers = {"Host": host, "Origin": origin}
        for answer in (
            client.post("/gradio_api/run/deleted", json={"data": [None]}, headers=headers),
            client.post("/gradio_api/upload", files={"files": ("a.jpg", b"x")}, headers=headers),
            client.get("/config", headers=headers),
            client.options("/config", headers={**headers, "Access-Control-Request-Method": "POST"}),
        ):
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers
    own = {"Origin": page.local_url.rstrip("/")}
    answer = client.post("/gradio_api/run/deleted", json={"data": [None]}, headers=own)
    assert answer.status_code == 200
    assert run(client, "deleted", [None]).status_code == 200
    form = client.post("/gradio_api/run/deleted", content='{"data": [null]}')
    assert form.status_code == 415


@pytest.mark.parametrize("path", ["/", "/config", "/no/such", "/gradio_api/file=/etc/passwd"])
def test_every_answer_says_what_browsers_may_do_with_it(client, path):
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["frame-ancestors"] == "'self'"
    assert policy["default-src"] == policy["form-action"] == policy["base-uri"] == "'self'"
    assert "http" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"


def test_names_come_from_the_environment(monkeypatch):
    for name in ("SPACE_ID", "SPACE_HOST", "COLAB_GPU", "COLAB_RELEASE_TAG"):
        monkeypatch.delenv(name, raising=False)
    page = SimpleNamespace(share_url=None)
    monkeypatch.setenv("XFV_ALLOWED_HOSTS", " faces.example , *.lab.example")
    near = Hosts.for_server(None)
    for name in ("faces.example", "Faces.example:443", "a.lab.example", "localhost:1"):
        assert near.answer_to(name, page)
    for name in ("lab.example", "xlab.example", "10.1.2.3", "evil.example", "faces.example.evil"):
        assert not near.answer_to(name, page)
    assert not near.trust("localhost:3000", page)
    assert near.frame_ancestors() == "'self' faces.example *.lab.example"

    monkeypatch.delenv("XFV_ALLOWED_HOSTS")
    wide = Hosts.for_server("0.0.0.0")
    for name in ("10.1.2.3:7860", "[fe80::1]", socket.gethostname(), "localhost"):
        assert wide.answer_to(name, page)
    assert not wide.answer_to("evil.example", page)
    assert not wide.trust("10.1.2.4", page)

    shared = SimpleNamespace(share_url="https://0123.gradio.live")
    assert near.answer_to("0123.gradio.live", shared)
    assert near.trust("0123.gradio.live", shared)
    assert not near.answer_to("4567.gradio.live", shared)

    monkeypatch.setenv("SPACE_ID", "somebody/faces")
    monkeypatch.setenv("SPACE_HOST", "somebody-faces.hf.space")
    space = Hosts.for_server("0.0.0.0")
    assert space.trust("somebody-faces.hf.space", page)
    assert not space.answer_to("another.hf.space", page)
    assert "https://huggingface.co" in space.frame_ancestors()

    monkeypatch.setenv("COLAB_GPU", "0")
    assert Hosts.for_server(None).trust("x-7860-colab.googleusercontent.com", page)
    monkeypatch.setenv("XFV_ALLOWED_HOSTS", "https://faces.example")
    with pytest.raises(XfvError, match="leave out https"):
        Hosts.for_server(None)


# Wrong calls --------------------------------------------------------------------------------------------

WRONG_VALUES = (
    [], {}, "x", "", -1, 10**30, 0.5, True, [[]], [{}], ["x", "x"], [7, 7], [True], [7.0], {"path": "x"},
    {"path": "http://127.0.0.1:9/x", "meta": META}, "\ud800", "\0",
)  # fmt: skip


def can_be(block, value):
    match block:
        case PhotoInput():
            return value is None
        case gr.Checkbox():
            return isinstance(value, bool)
        case gr.Number():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case gr.Slider():
            return value == 0.5 and not isinstance(value, bool)
        case gr.CheckboxGroup():
            return value == [] and isinstance(value, list)
        case gr.Dropdown() | gr.Radio():
            return value == "" and ("", "") in [(value, choice) for _, choice in block.choices]
    return value is None


def test_a_wrong_value_of_any_argument_of_any_call_is_one_line(page, client, photo, caplog, capfd):
    asked = 0
    for index, fn in page.fns.items():
        right = [some_values(block, as_photo(photo)) for block in fn.inputs]
        bodies = [[*right, 1], [*right[:-1], 1, 1], {"data": 1}]
        for place, block in enumerate(fn.inputs):
            bodies += [
                [*right[:place], value, *right[place + 1 :]]
                for value in WRONG_VALUES
                if not can_be(block, value)
            ]
        for data in bodies:
            for path in ("run/predict", "queue/join"):
                caplog.clear()
                body = json.dumps({"data": data, "fn_index": index, "session_hash": "wrong"})
                answer = post(client, path, body)
                assert 400 <= answer.status_code < 500, (fn.api_name, data, answer.text)
                assert str(uploads.folder()) not in answer.text
                assert len(answer.json()["error"].splitlines()) == 1
                assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) == 1
                asked += 1
    assert asked > 500
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("run/nothing", {"data": []}, 404),
        ("run/Session", {"data": []}, 404),
        ("call/Session", {"data": []}, 404),
        ("call/nothing", {"data": []}, 404),
        ("run/verify", {"data": [None, None]}, 404),
        ("run/predict", {"data": [], "fn_index": 10**6}, 404),
        ("run/predict", {"data": [], "fn_index": "1"}, 404),
        ("run/predict", {"data": [], "fn_index": True}, 404),
        ("run/predict", {"data": [], "fn_index": [1]}, 404),
        ("queue/join", {"data": [], "session_hash": "a"}, 404),
        ("queue/join", {"data": [None, None], "fn_index": 30}, 400),
        ("run/stop", {"data": [None], "session_hash": 7}, 400),
        ("run/stop", {"data": [None], "session_hash": "../../x"}, 400),
        ("run/stop", {"data": [None], "session_hash": "x" * 65}, 400),
        ("run/pick", {"data": [None], "event_data": 5}, 400),
        ("run/pick", {"data": [None], "event_data": {"index": [1]}}, 400),
        ("run/pick", {"data": [None], "event_data": {"index": "x"}}, 400),
        ("run/pick", {"data": [None], "event_data": {}}, 400),
        ("run/pick", {"data": [None]}, 400),
        ("run/example", {"data": [], "event_data": {"index": None}}, 400),
        ("run/threshold_moved", {"data": [None], "event_data": {"run": "nan", "threshold": 1}}, 400),
        ("run/threshold_moved", {"data": [None], "event_data": {"run": {"a": 1}, "threshold": 1}}, 400),
        ("run/place_asked", {"data": [None], "event_data": {"side": "A", "x": 0.5}}, 400),
        ("run/choose", {"data": [None]}, 400),
        ("run/explored", {"data": []}, 400),
        ("run/compared_live", {"data": [], "event_data": {"store": "../lfw", "pair": 0}}, 400),
        ("run/compared_live", {"data": [], "event_data": {"store": "lfw", "pair": 0}}, 400),
        ("run/compared_live", {"data": [], "event_data": {"store": "lfw", "pair": "x"}}, 400),
        ("run/explored", {"data": [], "event_data": {"query": ["explore=x"]}}, 400),
        ("cancel", {"session_hash": "a", "fn_index": "1", "event_id": "b"}, 400),
        ("cancel", {"session_hash": "a"}, 400),
        ("run/stop", b"not JSON", 400),
        ("run/stop", b"[1]", 400),
        ("run/stop", b'{"data": [NaN]}', 400),
        ("run/stop", b"[" * 60_000, 400),
        ("run/stop", b"\xff\xfe", 400),
        ("run/stop", b" " * 70_000, 413),
    ],
)
def test_calls_that_cannot_be_are_refused_in_one_line(client, caplog, capfd, path, body, status):
    content = body if isinstance(body, bytes) else json.dumps(body)
    answer = post(client, path, content)
    assert answer.status_code == status, answer.text
    assert len(answer.json()["error"].splitlines()) == 1
    assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) == 1
    assert "Traceback" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "path",
    ["queue/data?session_hash=nobody", "queue/data", "call/verify/nothing", "heartbeat/" + "x" * 65,
     "upload_progress", "file=http://127.0.0.1:9/x", "file=/etc/passwd", "file=", "file=/etc"],
)  # fmt: skip
def test_what_is_not_there_is_not_streamed(client, caplog, capfd, path):
    answer = client.get(f"/gradio_api/{path}")
    assert answer.status_code in (400, 404)
    assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) == 1
    assert "Traceback" not in "".join(capfd.readouterr())


def test_what_the_page_sends_beside_a_call_does_not_matter(client):
    """With a change, Gradio's page sends the new value as event_data."""
    methods = {"data": [None, ["xssab"]], "event_data": ["xssab"], "trigger_id": 57, "session_hash": "a"}
    assert client.post("/gradio_api/run/methods_chosen", json=methods).status_code == 200


def test_no_json_is_taken_for_what_it_is_not():
    for body in (b"", b"1", b"null", b'"x"', b"{", b'{"a": Infinity}', b"9" * 5000):
        with pytest.raises(Refused):
            read_object(body)


# The line -----------------------------------------------------------------------------------------------


def test_errors_of_calls_are_plain_text(client, photo):
    path = upload(client, b"these are notes", "a<b>&'c'.jpg")
    kind, data = call(client, "verify", [as_photo(path, orig_name="a<b>&'c'.jpg"), as_photo(photo)])
    assert kind == "error"
    assert data["error"].startswith("\"a<b>&'c'.jpg\" is not an image in a format that is read")
    kind, data = call(client, "verify", [None, None])
    assert data["error"] == "two photos are needed, probe and reference"


def test_the_client_for_programs_still_has_verdict_and_files(page, examples, tmp_path):
    from gradio_client import Client, handle_file

    visitor = Client(page.local_url, verbose=False, download_files=str(tmp_path / "downloads"))
    photos = {key: handle_file(str(examples / "obama.jpg")) for key in ("probe", "reference")}
    assert visitor.predict(**photos, api_name="/verify")["same_person"] is True
    report, files = visitor.predict(**photos, methods=["corrrise"], api_name="/explain")
    assert {Path(file).name for file in files} == {"report.json", "maps.npz", "corrrise.png", "figure.png"}
    (written_report,) = [Path(file) for file in files if file.endswith("report.json")]
    assert json.loads(written_report.read_text()) == report
    visitor.close()


def joined(client, page, photo, session):
    (index,) = [index for index, fn in page.fns.items() if fn.api_name == "verify"]
    body = {"data": [as_photo(photo)] * 2, "fn_index": index, "session_hash": session}
    return client.post("/gradio_api/queue/join", json=body)


def test_a_full_line_is_told_with_what_to_do_and_its_photos_stay(client, page, service, photo, examples):
    from gradio_client import Client, handle_file

    visitor = Client(page.local_url, verbose=False)
    service.go_on.clear()
    try:
        first = joined(client, page, photo, "waiting")
        assert first.status_code == 200
        wait_for(lambda: len(page._queue) == 0)
        for _ in range(line.LONGEST_LINE):
            assert joined(client, page, photo, "waiting").status_code == 200
        assert photo in set(line.waiting_paths(page))
        told = client.post("/gradio_api/call/verify", json={"data": [as_photo(photo)] * 2})
        assert told.status_code == 503
        assert told.json()["error"] == line.LINE_IS_FULL
        assert "try again" in line.LINE_IS_FULL
        # As the page and the client for programs ask.
        late = joined(client, page, photo, "late")
        stream = client.get("/gradio_api/queue/data?session_hash=late").text
        assert late.json()["event_id"] in stream
        assert line.LINE_IS_FULL in stream
        with pytest.raises(Exception, match="comparisons are waiting already"):
            visitor.predict(
                handle_file(str(examples / "obama.jpg")), handle_file(str(examples / "obama.jpg")),
                api_name="/verify",
            )  # fmt: skip
    finally:
        service.go_on.set()
        wait_for(lambda: not list(line.waiting_paths(page)))
        visitor.close()


def test_explaining_stops_once_the_client_has_left(client, page, service, photo):
    embedder = service.embedder
    embedder.seconds = 0.05
    try:
        body = {"data": [as_photo(photo)] * 2 + [["corrrise"]]}
        event_id = client.post("/gradio_api/call/explain", json=body).json()["event_id"]
        calls = embedder.calls
        with client.stream("GET", f"/gradio_api/call/explain/{event_id}"):
            wait_for(lambda: embedder.calls >= calls + 3)
        at_leaving = embedder.calls
        wait_for(lambda: not page._queue.event_ids_to_events)
        assert embedder.calls - at_leaving < 10
        # The next has its turn.
        embedder.seconds = 0
        assert call(client, "verify", [as_photo(photo)] * 2)[0] == "complete"
    finally:
        embedder.seconds = 0


def test_what_others_choose_is_checked_as_they_see_it(client, page):
    """A session's own choices count, and who has none yet sees the page's."""
    data = [None, "stand-in", "lfw:beta", "float32"]
    assert run(client, "status", data, session_hash="sees").status_code == 400
    (calibration,) = [
        block
        for block in page.blocks.values()
        if getattr(block, "label", "") == ("Calibration (data set, method)")
    ]
    page.state_holder["sees"][calibration._id] = gr.Dropdown(choices=[("LFW", "lfw:beta")], render=False)
    assert run(client, "status", data, session_hash="sees").status_code == 200
    assert run(client, "status", data, session_hash="other").status_code == 400
