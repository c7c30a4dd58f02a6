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

    It lies in the same folder, ends in the same suffix and belongs to this call alone. When the
    block ends well it is on the disk before it gets its name, and keeps the permissions of the
    file that it replaces; a symbolic link stays, and what it points at is replaced. When the block
    fails the file is removed and ``path`` is as it was. A device or pipe is written directly.

    Raises
    ------
    NotWritten
        The file cannot be written: no such folder, no permission, a full disk.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file() and not target.is_dir():
        yield target
        return
    made: Path | None = None
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.stem[:40]}.", suffix=target.suffix, dir=target.parent
        )
        os.close(handle)
        made = Path(name)
        yield made
        with made.open("rb+") as file:
            os.fsync(file.fileno())
        made.chmod(_permissions(target))
        made.replace(target)
    except OSError as error:
        why = error.strerror or one_line(error)
        raise NotWritten(
            f"'{Path(path).name}' cannot be written: {why}. Name another place, or make room."
        ) from error
    finally:
        if made is not None:
            with suppress(OSError):
                made.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all; see `replacing`.

    What is no text in a file's name (on Linux, bytes that are no UTF-8) is written as an escape.
    """
    with replacing(path) as new:
        new.write_bytes(text.encode("utf-8", "backslashreplace"))


def same_file(first: Path, second: Path) -> bool:
    """Whether two paths lead to one file, through whatever links."""
    with suppress(OSError):
        return first.samefile(second)
    return False


def _permissions(target: Path) -> int:
    if target.exists():
        return target.stat().st_mode & 0o777
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
