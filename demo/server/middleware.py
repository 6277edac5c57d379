"""What stands before Gradio: which requests reach it, and what every answer says to browsers.

Gradio serves more than this page needs, and answers each web page that asks. What is not listed here is
closed; what comes by another name than the page's own, or from another page, is not answered.
"""

import asyncio
import json
import logging
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import anyio.to_thread
import gradio as gr
from fastapi import HTTPException
from gradio.route_utils import upload_fn
from gradio.routes import file_upload_statuses
from starlette.datastructures import Headers, MutableHeaders
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demo.privacy import Deletion
from demo.server import line, uploads
from demo.server.calls import Refused, checked_call, is_session, read_object, session_of
from demo.server.hosts import Hosts
from xfv_demo.errors import XfvError, printable

# In bytes: of a request that calls something. The page's own are some hundreds long, and no photo is in them.
_LONGEST_CALL = 1 << 16
# Of one that brings photos, beside the photos themselves.
_ENVELOPE = 1 << 16
_MOST_PHOTOS = 2

_API = "/gradio_api"

# What is answered: methods, and the path as a regular expression.
OPEN_PATHS = (
    ("GET HEAD", r"/"),
    ("GET HEAD", r"/(?:assets|static)/.+"),
    ("GET HEAD", r"/(?:config|theme\.css|favicon\.ico|robots\.txt|manifest\.json)"),
    ("GET", rf"{_API}/(?:info|startup-events|theme\.css)"),
    ("GET HEAD", rf"{_API}/file=.+"),
    ("POST", rf"{_API}/upload"),
    ("GET", rf"{_API}/upload_progress"),
    ("POST", rf"{_API}/run/\w+"),
    ("POST", rf"{_API}/call/\w+"),
    ("GET", rf"{_API}/call/\w+/\w+"),
    ("POST", rf"{_API}/queue/join"),
    ("GET", rf"{_API}/queue/data"),
    ("GET", rf"{_API}/heartbeat/[\w-]+"),
    ("POST", rf"{_API}/cancel"),
)

# The page's own scripts stand within it, and those of its pieces are made from text.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors "
)

_log = logging.getLogger(__name__)


def guarded_by(hosts: Hosts, deletion: Deletion) -> dict[str, Any]:
    """What `launch` is to give to the server so that all that it answers has passed a `Gate`.

    Args:
        hosts: The names that the page answers by.
        deletion: How long a photo is kept, and so how long its upload may take.
    """

    # Gradio puts its own layers around those that it is given. One of them allows other web pages to read
    # the page's answers, so the gate stands before them all.
    @asynccontextmanager
    async def install(app: Any) -> AsyncIterator[None]:
        app.middleware_stack = Gate(app.middleware_stack, app, hosts, deletion)
        yield

    return {"lifespan": install}


class Gate:
    """Lets through to Gradio what the page needs.

    Args:
        inner: What answers.
        app: Gradio's server, which knows the page.
        hosts: The names that the page answers by.
        deletion: How long an upload may take.
    """

    def __init__(self, inner: ASGIApp, app: Any, hosts: Hosts, deletion: Deletion) -> None:
        self._inner = inner
        self._app = app
        self._hosts = hosts
        self._deletion = deletion
        self._policy = _POLICY + hosts.frame_ancestors()
        # In bytes: of uploads that are on their way.
        self._arriving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._inner(scope, receive, send)
            return
        answer = _Answer(scope, send, self._policy)
        try:
            checked = await self._checked(scope, receive, answer)
            if checked is not None:
                await self._inner(scope, checked, answer.send)
        except Refused as refused:
            # As programs are told by Gradio, and as the page is.
            answer.reason = refused.line
            told = {"error": refused.line, "detail": refused.line}
            await JSONResponse(told, refused.status)(scope, receive, answer.send)
        except ClientDisconnect:
            pass
        except Exception as error:
            # Gradio ends the stream of a session that is unknown by this; all else is a fault of ours.
            _log.error("%s failed: %s", _shown(scope), error, exc_info=not isinstance(error, HTTPException))

    async def _checked(self, scope: Scope, receive: Receive, answer: "_Answer") -> Receive | None:
        """What Gradio is to read of a request; None where it was answered already.

        Raises:
            Refused: It is not answered.
        """
        page = self._app.get_blocks()
        self._check_names(scope, page)
        path, method = scope["path"], scope["method"]
        if not any(method in allowed.split() and re.fullmatch(one, path) for allowed, one in OPEN_PATHS):
            raise Refused(404, "there is no such page here")
        rest = path.removeprefix(_API)
        kind, _, name = rest.strip("/").partition("/")
        if rest.startswith("/file="):
            self._check_file(rest.removeprefix("/file="))
        elif rest == "/upload":
            await self._upload(scope, receive, page, answer.send)
            return None
        elif method == "POST":
            # What a form on another web page can send is none.
            if Headers(scope=scope).get("content-type", "").partition(";")[0] != "application/json":
                raise Refused(415, "a call must be sent as application/json")
            given = read_object(await _body(receive, _LONGEST_CALL))
            return _replay(_handed_on(page, kind, name, given), receive)
        else:
            _check_stream(scope, page, kind, name)
        return receive

    def _check_names(self, scope: Scope, page: gr.Blocks) -> None:
        """Checks the names by which the request came, and the page that it came from."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        forwarded = [one.strip() for one in headers.get("x-forwarded-host", "").split(",") if one.strip()]
        if len(hosts) != 1 or not all(self._hosts.answer_to(one, page) for one in hosts + forwarded):
            raise Refused(
                421, "this page does not answer by this name; whoever runs it can add it to XFV_ALLOWED_HOSTS"
            )
        origin = headers.get("origin")
        if origin is not None and not self._is_own_page(origin, hosts + forwarded, page):
            raise Refused(403, "this page does not answer to other web pages")
        # By this header, which browsers do not send, Gradio would name another server as its own.
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] != b"x-gradio-server"]

    def _is_own_page(self, origin: str, hosts: list[str], page: gr.Blocks) -> bool:
        scheme, _, authority = origin.partition("://")
        if scheme not in ("http", "https"):
            return False
        if authority.lower() in [host.lower() for host in hosts]:
            return True
        # Another server of this machine is another page.
        return self._hosts.trust(authority, page)

    def _check_file(self, path: str) -> None:
        if not (uploads.own_file(path) or uploads.example_file(path)):
            raise Refused(404, "there is no such file here")

    async def _upload(self, scope: Scope, receive: Receive, page: gr.Blocks, send: Send) -> None:
        """Takes photos in, each request's into a folder of its own, of which nothing stays if it breaks off.

        Gradio would put the same photo of two visitors into one place.
        """
        most = _MOST_PHOTOS * (page.max_file_size or 0) + _ENVELOPE
        stated = Headers(scope=scope).get("content-length", str(most))
        size = int(stated) if stated.isdecimal() else most + 1
        if size > most:
            raise Refused(413, "this is larger than a photo may be; make it smaller")
        self._arriving += size
        try:
            folder = await anyio.to_thread.run_sync(uploads.new_folder, self._arriving)
            try:
                paths = await self._received(scope, _limited(receive, most), page, folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
        except XfvError as error:
            raise Refused(507, str(error)) from error
        finally:
            self._arriving -= size
        await JSONResponse(paths)(scope, receive, send)

    async def _received(self, scope: Scope, receive: Receive, page: gr.Blocks, folder: Path) -> list[str]:
        progress = parse_qs(scope["query_string"].decode("latin-1")).get("upload_id", [""])[0]
        if progress and not is_session(progress):
            raise Refused(400, "upload_id must be some 64 letters and digits at most")
        try:
            async with asyncio.timeout(self._deletion.after_seconds):
                paths, _, _ = await upload_fn(
                    Request(scope, receive),
                    str(folder),
                    page.max_file_size,
                    progress,
                    upload_progress=file_upload_statuses if progress else None,
                )
        except (Refused, ClientDisconnect):
            raise
        except TimeoutError as error:
            raise Refused(408, "this upload took too long; try again") from error
        except MultiPartException as error:
            too_large = "maximum allowed size" in error.message
            raise Refused(413 if too_large else 400, error.message) from error
        # On a damaged request the parser raises whatever it runs into.
        except Exception as error:
            raise Refused(
                400, "this upload cannot be read; send it as a form with the photo in it"
            ) from error
        if not 1 <= len(paths) <= _MOST_PHOTOS:
            raise Refused(400, f"an upload must bring one photo, or {_MOST_PHOTOS} at most")
        return list(paths)


class _Answer:
    """Sends one answer, with what it must say to browsers, and notes in the log that one was refused."""

    def __init__(self, scope: Scope, send: Send, policy: str) -> None:
        self._scope = scope
        self._send = send
        self._policy = policy
        self._held: Message | None = None
        # Why it is refused, where that is known.
        self.reason: str | None = None

    async def send(self, message: Message) -> None:
        """As ASGI has it."""
        if message["type"] == "http.response.start":
            self._add_headers(message)
            if message["status"] == 500 and self._scope["path"].startswith(f"{_API}/run/"):
                # What it says decides what it is.
                self._held = message
                return
            self._note(message["status"])
        elif self._held:
            held, self._held = self._held, None
            if _says_what_is_wrong(message.get("body", b"")):
                held["status"] = 400
            self._note(held["status"])
            await self._send(held)
        await self._send(message)

    def _add_headers(self, message: Message) -> None:
        headers = MutableHeaders(scope=message)
        headers["content-security-policy"] = self._policy
        headers["x-content-type-options"] = "nosniff"
        headers["referrer-policy"] = "same-origin"
        if self._scope["path"].startswith(f"{_API}/file="):
            # No photo is to stay on the visitor's disk either.
            headers["cache-control"] = "no-store"

    def _note(self, status: int) -> None:
        if 400 <= status < 500 or status in (503, 507):
            _log.warning("%s was refused: %s", _shown(self._scope), self.reason or status)


def _handed_on(page: gr.Blocks, kind: str, name: str, given: dict[str, Any]) -> dict[str, Any]:
    """What Gradio is given of a call."""
    if kind == "cancel":
        session, event_id, index = session_of(given), given.get("event_id"), given.get("fn_index")
        if session is None or not is_session(event_id) or type(index) is not int:
            raise Refused(400, "session_hash, event_id and fn_index must say which call to cancel")
        return {"session_hash": session, "event_id": event_id, "fn_index": index}
    by_index = kind == "queue" or (kind == "run" and given.get("fn_index") is not None)
    call = checked_call(page, given, None if by_index else name)
    if kind == "run" and page.fns[call["fn_index"]].queue:
        raise Refused(404, "this call stands in line: use call/ or queue/join for it")
    if kind == "queue" and call["session_hash"] is None:
        raise Refused(400, "session_hash is missing")
    if kind != "run" and line.is_full(page):
        if kind == "call":
            raise Refused(503, line.LINE_IS_FULL)
        # Gradio's page and its client for programs say a sentence of their own at any answer but a call's.
        (full,) = [index for index, one in page.fns.items() if one.api_name == "line_is_full"]
        return {**call, "fn_index": full, "data": []}
    return call


def _check_stream(scope: Scope, page: gr.Blocks, kind: str, name: str) -> None:
    """Checks that what is to be streamed is there: Gradio finds out when it has begun to answer."""
    query = parse_qs(scope["query_string"].decode("latin-1"))
    if kind == "queue":
        session = query.get("session_hash", [""])[0]
        if not (is_session(session) and line.has_stream(page, session)):
            raise Refused(404, "this session has no call that waits or runs")
    elif kind == "call":
        event_id = name.rpartition("/")[2]
        if not (is_session(event_id) and line.has_call(page, event_id)):
            raise Refused(404, "there is no such call")
    elif kind == "upload_progress" and not is_session(query.get("upload_id", [""])[0]):
        raise Refused(400, "upload_id is missing")
    elif kind == "heartbeat" and not is_session(name):
        raise Refused(400, "this is no session")


async def _body(receive: Receive, most: int) -> bytes:
    limited = _limited(receive, most)
    body = bytearray()
    while True:
        message = await limited()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


def _limited(receive: Receive, most: int) -> Receive:
    """Refuses a request that goes on beyond so many bytes, whatever it said of its size."""
    left = most

    async def limited() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise Refused(413, "this request is too long; photos are uploaded, and then named in a call")
        return message

    return limited


def _replay(given: dict[str, Any], receive: Receive) -> Receive:
    """Hands on a body in place of the one that was read; after it, what comes from the client."""
    body = [json.dumps(given).encode()]

    async def replay() -> Message:
        if body:
            return {"type": "http.request", "body": body.pop(), "more_body": False}
        return await receive()

    return replay


def _says_what_is_wrong(body: bytes) -> bool:
    """Whether this is an error that is told to clients; of all others Gradio says no more than null."""
    try:
        return isinstance(json.loads(body)["error"], str)
    except (ValueError, TypeError, KeyError):
        return False


def _shown(scope: Scope) -> str:
    return printable(f"{scope['method']} {scope['path']}")
