"""By which names the page answers: a web page elsewhere must not reach it through its visitor's browser."""

import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import gradio as gr

from xfv_demo.errors import XfvError

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

# Of where Google's notebooks show what they run.
_COLAB = ("*.googleusercontent.com", "*.colab.dev")

_NAME = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:]*:[0-9a-f:.]*")


def is_loopback(host: str | None) -> bool:
    """Whether a server that listens on this address can be reached from this machine alone."""
    return host is None or host in _LOOPBACK


@dataclass(frozen=True)
class Hosts:
    """The names that requests may give for this page.

    Attributes:
        listed: Names, in lower case; "*." before one stands for all names that end in it.
        own: This machine's own names. Where there are any, others on the network may come, so that its
            addresses are answered too: an attack by DNS needs a name, and an address is none.
    """

    listed: tuple[str, ...] = ()
    own: tuple[str, ...] = ()

    @classmethod
    def for_server(cls, host: str | None) -> Self:
        """As the environment says: XFV_ALLOWED_HOSTS, a Space's own names, Colab's.

        Args:
            host: What the server listens on; this machine alone where None.

        Raises:
            XfvError: XFV_ALLOWED_HOSTS holds what is no name of a host.
        """
        given = os.environ.get("XFV_ALLOWED_HOSTS", "")
        names = [name.strip().lower() for name in given.split(",") if name.strip()]
        for name in names:
            if not _NAME.fullmatch(name):
                raise XfvError(
                    f'XFV_ALLOWED_HOSTS must be names of hosts with commas between, not "{name}"; leave out '
                    "https:// and the port"
                )
        names += os.environ.get("SPACE_HOST", "").lower().split(",")
        if in_colab():
            names += _COLAB
        own = () if is_loopback(host) else (str(host).lower(), socket.gethostname().lower())
        return cls(tuple(filter(None, names)), own)

    def answer_to(self, authority: str, page: gr.Blocks) -> bool:
        """Whether a request for this host is answered.

        Args:
            authority: A name or an address, with or without a port, as in the header Host.
            page: The page that is asked for.
        """
        name = _host_name(authority)
        if name is None:
            return False
        near = name in _LOOPBACK or name in self.own or (bool(self.own) and _is_address(name))
        return near or self.trust(authority, page)

    def trust(self, authority: str, page: gr.Blocks) -> bool:
        """Whether what is served under this name may be taken for the page itself: it is listed, or its link.

        Args:
            authority: As for `answer_to`.
            page: The page, whose public link is one of its names, if it has one.
        """
        name = _host_name(authority)
        link = urlsplit(page.share_url or "").hostname
        return name is not None and (
            name == link
            or any(name == one or (one.startswith("*.") and name.endswith(one[1:])) for one in self.listed)
        )

    def frame_ancestors(self) -> str:
        """Which pages may show this one within theirs, as a Content-Security-Policy says it."""
        outside = [name for name in self.listed if ":" not in name]
        if os.environ.get("SPACE_ID"):
            outside += ["https://huggingface.co", "https://*.hf.space"]
        if in_colab():
            outside.append("https://colab.research.google.com")
        if gr.utils.ipython_check():
            # A notebook shows the page beneath its cell.
            outside += ["http://localhost:*", "http://127.0.0.1:*"]
        return " ".join(["'self'", *outside])


def in_colab() -> bool:
    """Whether this runs in one of Google's notebooks, as Gradio tells it."""
    return bool(os.environ.get("COLAB_RELEASE_TAG") or os.environ.get("COLAB_GPU"))


def _host_name(authority: str) -> str | None:
    """The name or address of an authority; None where it is none."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::\d{1,5})?", authority)
    return (match[1] or match[2]).lower() if match else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
