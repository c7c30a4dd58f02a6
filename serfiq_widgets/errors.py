"""The errors that people see: each says what was wrong, with which input, and what to try."""

import os


class SerfiqError(Exception):
    """Base of the errors that serfiq_widgets raises on purpose; the text is for the user."""


class UnreadableImage(SerfiqError):
    """The input is not an image that can be decoded (broken, unsupported, or no image)."""


class ImageTooLarge(SerfiqError):
    """The image is above the limit on bytes or on pixels; it was not decoded."""


class NoFaceFound(SerfiqError):
    """The image was decoded but the detector found no face in it."""


class UnknownModel(SerfiqError):
    """No model has this name and no file lies at this path; the message lists the names."""


class CorruptModel(SerfiqError):
    """A model file is broken, incomplete, or uses something that the loader does not know."""


class DownloadFailed(SerfiqError):
    """A model could not be fetched or is not what its card says; nothing was installed."""


class EngineUnavailable(SerfiqError):
    """The wanted engine or device does not work here; the message gives the install command."""


class PackageMissing(SerfiqError):
    """A package that this needs is not installed; the message gives the install command."""


class BadTable(SerfiqError):
    """A table cannot be read or written, or lacks a column; the message names both."""


class ClusterUnavailable(SerfiqError):
    """A Dask scheduler cannot be reached, or its workers cannot do what is asked of them."""


class BadSetting(SerfiqError, ValueError):
    """A number or word given by the caller is not possible (passes, seed, device ...)."""


class ModelWarning(UserWarning):
    """A network was opened, but something about it looks wrong; the text says what."""


class PixelWarning(UserWarning):
    """How the pixels of an array were understood, where it leaves a choice."""


class NotWritten(BadSetting):
    """A file cannot be written: no such folder, no permission, a full disk."""


def one_line(text: object) -> str:
    """Return the first line of a text that a file or a library gave, fit for a terminal."""
    line = (str(text).strip().splitlines() or [""])[0]
    return "".join(sign if sign.isprintable() else "?" for sign in line)


def clean_name(name: str, most: int = 80) -> str:
    """Return a name that somebody gave a file, on one line, printable and short."""
    line = one_line(name)
    return line if len(line) <= most else f"{line[: most // 2]}\u2026{line[-(most // 2 - 1) :]}"


def plain_text(text: object) -> str:
    r"""Return text that every table takes: what is no text in a file's name becomes ``\xff``."""
    return os.fsencode(str(text)).decode(errors="backslashreplace")


def drop_traceback(error: SerfiqError) -> SerfiqError:
    """Return an error that can be kept: it no longer holds what the functions had that raised it.

    They had photos.
    """
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)
