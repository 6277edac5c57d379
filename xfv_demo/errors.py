"""The errors that a user can act on.

Every message is one line: what was wrong, with which photo, model or file, and what to do about it.
"""

# Names longer than this are cut in messages: text passed in place of a path can be megabytes long.
_LONGEST_NAME = 120


def printable(name: str) -> str:
    """Makes a name fit a message of one line, whatever a file is called.

    Args:
        name: Any text.

    Returns:
        At most 121 signs: spaces for other white space, a sign of its own for what cannot be printed, and an
        ellipsis for the middle of a long name.
    """
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME // 2]}…{name[-_LONGEST_NAME // 2 :]}"
    return "".join(
        sign if sign.isprintable() else " " if sign.isspace() else "\N{REPLACEMENT CHARACTER}"
        for sign in name
    )


class XfvError(Exception):
    """Base of all errors that this package raises for bad input.

    Example:
        >>> from xfv_demo import XfvError, read_photo
        >>> try:
        ...     read_photo("nowhere.jpg")
        ... except XfvError as error:
        ...     print(error)
        "nowhere.jpg" was not found; check the path "nowhere.jpg".
    """


class ImageError(XfvError):
    """A photo cannot be used: unreadable, cut off, too small, too large."""


class FaceNotFoundError(XfvError):
    """A photo shows no face, or not as many as were asked for."""


class ModelError(XfvError):
    """A file is no model that embeds faces, or a model lacks what was asked of it."""


class UnknownFormatError(ModelError):
    """A model's file does not say what pixels its network takes, and nobody has."""


class DownloadError(ModelError):
    """A model could not be fetched: no network, wrong bytes, a broken archive."""


class CalibrationError(XfvError):
    """There is no calibration for a model, or none can be made from the data given."""


class NoCalibrationError(CalibrationError):
    """A model has no calibration on the data set asked for."""


class DatasetError(XfvError):
    """A labelled data set cannot be read."""
