"""The errors for users: each says what was wrong, with which input, and what to try."""

import os
from typing import TypeVar

Raised = TypeVar("Raised", bound=BaseException)


class SerfiqError(Exception):
    """Base class of the errors of serfiq_widgets; the text is for the user."""


class UnreadableImage(SerfiqError):
    """The input is not an image that can be decoded (broken, unsupported, or not an image)."""


class ImageTooLarge(SerfiqError):
    """The image is above the limit on bytes or on pixels; it was not decoded."""


class NoFaceFound(SerfiqError):
    """The image was decoded but the detector found no face in it."""


class UnknownModel(SerfiqError):
    """No model has this name and no file has this path; the message lists the names."""


class CorruptModel(SerfiqError):
    """A model file is broken, incomplete, or uses something that the loader does not support."""


class DownloadFailed(SerfiqError):
    """A model could not be downloaded or does not match its card; nothing was installed."""


class EngineUnavailable(SerfiqError):
    """The requested engine or device does not work here; the message gives the install command."""


class PackageMissing(SerfiqError):
    """A required package is not installed; the message gives the install command."""


class BadTable(SerfiqError):
    """A table cannot be read or written, or has no such column; the message names both."""


class ClusterUnavailable(SerfiqError):
    """A Dask scheduler cannot be reached, or its workers cannot do the work."""


class BadSetting(SerfiqError, ValueError):
    """An argument has an impossible value (passes, seed, device ...)."""


class ModelWarning(UserWarning):
    """A network was opened, but something about it looks wrong; the text says what."""


class PixelWarning(UserWarning):
    """The pixels of an array are ambiguous; the text says how they were read."""


class NotWritten(BadSetting):
    """A file cannot be written: no such folder, no permission, a full disk."""


def one_line(text: object) -> str:
    """Return the first line of a text from a file or library, safe for a terminal."""
    line = (str(text).strip().splitlines() or [""])[0]
    return "".join(sign if sign.isprintable() else "?" for sign in line)


def clean_name(name: str, most: int = 80) -> str:
    """Return a user's file name on one line, printable and short."""
    line = one_line(name)
    return line if len(line) <= most else f"{line[: most // 2]}\u2026{line[-(most // 2 - 1) :]}"


def plain_text(text: object) -> str:
    r"""Return text that every table accepts: undecodable bytes of a name become ``\xff``."""
    return os.fsencode(str(text)).decode(errors="backslashreplace")


def drop_traceback(error: Raised) -> Raised:
    """Return an error without its traceback, so that it can be kept.

    The traceback would keep the local variables of all functions, such as photos, in memory.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
