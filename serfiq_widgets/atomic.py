"""Files that appear whole or not at all: written under a random name, then renamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from serfiq_widgets.errors import NotWritten, one_line


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
        raise not_written(path, error) from error
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


def not_written(path: str | Path, error: OSError) -> NotWritten:
    """Return what people are told of a file that cannot be written."""
    why = error.strerror or one_line(error)
    return NotWritten(f"'{path}' cannot be written: {why}. Name another place, or make room.")


def _permissions(target: Path) -> int:
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
