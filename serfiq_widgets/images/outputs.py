"""Outputs are checked before the work: they can be written, and are nothing that is read."""

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
    """Refuse an output before the work, where it would fail or destroy what the work reads.

    Parameters
    ----------
    path : Path or None
        The file that is to be written, if any.
    option : str
        How the user named it.
    suffixes : sequence of str
        What its name may end in, lower case, dots included; anything if there is none.
    sources : iterable of str, Path or None
        What is read: files, and folders of images.

    Raises
    ------
    BadSetting
        Its name ends otherwise, or it is one of the sources: by its path or through a link.
    NotWritten
        Its folder is absent or cannot be written, or it is a folder or write-protected itself.
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
        with suppress(OSError):  # whoever reads it says why
            if os.path.samestat(source.stat(), there):
                raise BadSetting(
                    f"{option} {path}: this is '{source}', which is read, and it would be "
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
