"""Files that appear whole or not at all: written under a random name, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EACCES, EISDIR, ENOENT
from pathlib import Path

from serfiq_widgets.errors import BadSetting, NotWritten, one_line
from serfiq_widgets.image_files import walk


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give the name of a new, empty file that takes the place of ``path`` at the end.

    It lies in the same folder, ends as ``path`` does and belongs to this call alone. When the
    block ends well it is on the disk before it gets its name, and keeps the permissions of the
    file that it replaces; a symbolic link stays, and what it points at is replaced. When the block
    fails the file is removed and ``path`` is as it was. A device or pipe is written directly.

    Raises
    ------
    NotWritten
        The file cannot be written: no such folder, no permission, a full disk.
    """
    target = Path(os.path.realpath(path))
    made: Path | None = None
    try:
        if target.exists() and not target.is_file() and not target.is_dir():
            yield target
            return
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem[:40]}.", suffix=Path(path).suffix, dir=target.parent
        )
        os.close(handle)
        made = Path(name)
        yield made
        with made.open("rb+") as file:
            os.fsync(file.fileno())
        made.chmod(_permissions(target))
        made.replace(target)
    except OSError as error:
        raise _not_written(path, error) from error
    finally:
        if made is not None:
            with suppress(OSError):
                made.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all; see `replacing`.

    What is no text in a file's name (on Linux, bytes that are no UTF-8) is written as an escape.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write bytes, whole or not at all; see `replacing`."""
    with replacing(path) as new:
        new.write_bytes(content)


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
        raise _not_written(path, error) from error


def _not_written(path: str | Path, error: OSError) -> NotWritten:
    why = error.strerror or one_line(error)
    return NotWritten(f"'{path}' cannot be written: {why}. Name another place, or make room.")


def _permissions(target: Path) -> int:
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
