"""The journal of a long run: finished rows on disk, chunk by chunk, before the table.

The first line begins with `MAGIC` and has the settings. Every further line has the rows of one
chunk, or rows that replace earlier ones, all as JSON. A line is on the disk before the next chunk
begins. So a killed run loses no finished chunk; at most its last line is incomplete, and is removed
when the run continues.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from serfiq_widgets.errors import BadSetting, BadTable, one_line

SUFFIX = ".journal"
MAGIC = "serfiq_widgets journal 1"
_HEAD = json.dumps({"is": MAGIC}, separators=(",", ":")).encode()[:-1]


class Journal:
    """The journal beside an output file, open for writing.

    Parameters
    ----------
    out : Path
        The table to write; the journal has the same name with ``.journal`` added.
    settings : dict
        Common settings of all rows: text and numbers.
    fresh : bool
        Delete an older journal.

    Attributes
    ----------
    path : Path
        The journal's file.

    Raises
    ------
    BadSetting
        The journal was begun with other settings, is in use by another process, is another kind of
        file with this name, or cannot be written. The text names it.
    """

    def __init__(self, out: Path, settings: dict[str, Any], *, fresh: bool = False) -> None:
        self.path = out.with_name(out.name + SUFFIX)
        try:
            self._file: BinaryIO = self.path.open("a+b")
        except OSError as error:
            raise BadSetting(
                f"'{out}' cannot be written beside its journal: {one_line(error)}"
            ) from error
        try:
            self._lock()
            self._spare_others()
            if fresh:
                self._file.truncate(0)
            self._begin(settings)
        except BaseException:
            self.close()
            raise

    def _lock(self) -> None:
        """Prevent a second run with the same output while this one runs."""
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadSetting(
                f"Another run is writing '{self.path.name}'. Wait for it, or name another --out."
            ) from error
        except OSError:  # a file system without locks
            return

    def _spare_others(self) -> None:
        """Refuse a file that is not a journal; an incomplete first line is accepted."""
        self._file.seek(0)
        head = self._file.read(len(_HEAD))
        if head != _HEAD[: len(head)]:
            raise BadSetting(
                f"'{self.path}' is not a journal of this program, and would be overwritten. "
                "Rename it, or name another --out."
            )

    def _begin(self, settings: dict[str, Any]) -> None:
        self._file.seek(0)
        head = _parsed(self._file.readline())
        if head is None:
            self._file.truncate(0)
            self._write({"is": MAGIC, **settings})
            return
        other = [
            f"{name} {head.get(name)}, now {value}"
            for name, value in settings.items()
            if head.get(name) != value
        ]
        if other:
            raise BadSetting(
                f"'{self.path}' has rows of an unfinished run with other settings "
                f"({'; '.join(other)}). Use the same settings, or start again with --fresh."
            )
        self._cut_torn_end()

    def _cut_torn_end(self) -> None:
        end = self._file.tell()
        for line in self._file:
            if _parsed(line) is None:
                break
            end += len(line)
        self._file.truncate(end)

    def append(self, rows: list[dict[str, Any]]) -> None:
        """Add the rows of one chunk; they are on the disk when this method returns.

        Raises
        ------
        BadTable
            The disk is full, or was removed.
        """
        self._write(rows)

    def replace(self, rows: dict[int, dict[str, Any]]) -> None:
        """Replace earlier rows, by their numbers from 0; see `append`."""
        self._write({"instead": rows})

    def _write(self, content: Any) -> None:
        line = json.dumps(content, separators=(",", ":")).encode() + b"\n"
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise BadTable(
                f"'{self.path}' cannot be written: {one_line(error)}. Its rows are safe: make "
                "room, and run the same command again."
            ) from error

    def chunks(self) -> Iterator[list[dict[str, Any]]]:
        """Read the rows, chunk by chunk."""
        instead: dict[str, dict[str, Any]] = {}
        for line in self._lines():
            if isinstance(line, dict):
                instead |= line["instead"]
        done = 0
        for line in self._lines():
            if isinstance(line, list):
                yield [instead.get(str(done + i), row) for i, row in enumerate(line)]
                done += len(line)

    def _lines(self) -> Iterator[Any]:
        with self.path.open("rb") as file:
            file.readline()
            yield from map(json.loads, file)

    def close(self) -> None:
        """Close the file and keep it."""
        with suppress(OSError):  # `append` has already reported a failed write
            self._file.close()

    def remove(self) -> None:
        """Close and delete it, after its table is written."""
        self.close()
        self.path.unlink(missing_ok=True)


def _parsed(line: bytes) -> Any:
    """Return the content of a complete line, None for an incomplete one."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
