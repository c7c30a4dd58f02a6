"""Checks before the work starts: an output can be written, and is not one of the inputs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from errno import EACCES, EISDIR, ENOENT
from pathlib import Path

from serfiq_widgets.atomic import not_written
from serfiq_widgets.errors import BadSetting
from serfiq_widgets.images.files import walk


def check_out(
    path: Path | None,
    option: str = "--out",
    suffixes: Sequence[str] = (),
    sources: Iterable[str | Path | None] = (),
) -> None:
    """Refuse an output that cannot be written or that would overwrite an input.

    Parameters
    ----------
    path : Path or None
        The file to write, if any.
    option : str
        The name of the command line option.
    suffixes : sequence of str
        Allowed endings of the name, in lower case, with the dot; empty allows any.
    sources : iterable of str, Path or None
        The inputs: files, and folders of images.

    Raises
    ------
    BadSetting
        The name has another ending, or the file is one of the sources, directly or by a link.
    NotWritten
        The folder is missing or write-protected, or the path is a folder or write-protected.
    """
    if path is None:
        return
    if suffixes and path.suffix.lower() not in suffixes:
        endings = " or ".join(filter(None, (", ".join(suffixes[:-1]), suffixes[-1])))
        raise BadSetting(f"{option} {path.name}: name a file that ends in {endings}.")
    _try_out(path)
    if not path.exists():
        return
    there = path.stat()
    for source in walk(filter(None, sources)):
        with suppress(OSError):  # reading the source reports the error
            if os.path.samestat(source.stat(), there):
                raise BadSetting(
                    f"{option} {path}: this is '{source}', an input that would be "
                    f"overwritten. Name another {option}."
                )


def _try_out(path: Path) -> None:
    target = Path(os.path.realpath(path))
    try:
        if target.is_dir():
            raise IsADirectoryError(EISDIR, "it is a folder")
        if not target.parent.is_dir():
            raise FileNotFoundError(ENOENT, "there is no such folder")
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(EACCES, "it is write-protected")
        if target.is_file() or not target.exists():  # no device or pipe
            with tempfile.TemporaryFile(dir=target.parent):
                pass
    except OSError as error:
        raise not_written(path, error) from error
