"""Atomic writing of files: they are written under a random name, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from serfiq_widgets.errors import NotWritten, one_line


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield the name of a new, empty file that replaces ``path`` at the end.

    It is in the same folder, has the suffix of ``path`` and is used by this call only. If the block
    succeeds, it is flushed to the disk before it is renamed, and keeps the permissions of the file
    that it replaces; a symbolic link stays, and its target is replaced. If the block fails, the
    file is removed and ``path`` is unchanged. A device or pipe is written directly.

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
        raise not_written(path, error) from error
    finally:
        if made is not None:
            with suppress(OSError):
                made.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8 atomically; see `replacing`.

    Undecodable bytes in file names (on Linux, bytes that are not UTF-8) become escapes.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write bytes atomically; see `replacing`."""
    with replacing(path) as new:
        new.write_bytes(content)


def not_written(path: str | Path, error: OSError) -> NotWritten:
    """Return the error for a file that cannot be written."""
    why = error.strerror or one_line(error)
    return NotWritten(f"'{path}' cannot be written: {why}. Name another place, or free disk space.")


def _permissions(target: Path) -> int:
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
