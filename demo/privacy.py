"""Where a visitor's photos are handled, and when they are deleted: said on the page, so it must be true."""

import os
from dataclasses import dataclass
from typing import Self

from xfv_demo.errors import XfvError


@dataclass(frozen=True)
class Deletion:
    """When photos, and what was made of them, are deleted.

    Attributes:
        after_seconds: Once they were not used for so long; files, once they are this old.
        every_seconds: How often is looked for them.
    """

    after_seconds: int = 600
    every_seconds: int = 60

    @classmethod
    def from_environment(cls) -> Self:
        """As XFV_DELETE_AFTER says, in seconds; ten minutes unless it is set.

        Raises:
            XfvError: It is no whole number greater than 0.
        """
        given = os.environ.get("XFV_DELETE_AFTER")
        if given is None:
            return cls()
        if not given.isdecimal() or not int(given):
            raise XfvError(f'XFV_DELETE_AFTER must be a number of seconds, not "{given}"')
        return cls(int(given), max(1, int(given) // 10))

    @property
    def in_words(self) -> str:
        """Such as "10 minutes"."""
        if self.after_seconds < 120:
            return f"{self.after_seconds} seconds"
        return f"{round(self.after_seconds / 60)} minutes"


def hosted() -> bool:
    """Whether the page runs on somebody's server for strangers: as a Space, or where XFV_HOSTED says so."""
    return bool(os.environ.get("SPACE_ID") or os.environ.get("XFV_HOSTED"))


def banner_html(deletion: Deletion, *, public: bool = False) -> str:
    """Where photos are handled in this mode, and when they are deleted.

    Args:
        deletion: When.
        public: Whether others than this computer's user can reach the page.
    """
    kept = (
        f"They are deleted {deletion.in_words} after you last used them at the latest, when you close this "
        "page, or at once:"
    )
    return f"<p><b>{_where(public=public)}</b> {kept}</p>"


def _where(*, public: bool) -> str:
    if os.environ.get("SPACE_ID"):
        return "Your photos are sent to a server of Hugging Face and handled there."
    # As Gradio tells that it runs in Colab.
    if os.environ.get("COLAB_RELEASE_TAG") or os.environ.get("COLAB_GPU"):
        return "Your photos are sent to the machine at Google that runs this notebook, and handled there."
    if public or hosted():
        return "Your photos are sent to the computer that runs this page, and handled there."
    return "Your photos stay on this computer: they are handled here and sent nowhere."
