"""Sources of a dataset's images: files and folders, standard input, or a table of paths.

All sources can be read repeatedly, always in the same order, and are never completely in memory.
"""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import fields
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from serfiq_widgets.datasets.rows import ImageFile, ScoreRow
from serfiq_widgets.datasets.tables import (
    SUFFIXES,
    TEXTS,
    WESTERN,
    check_suffix,
    dialect_of,
    find_paths,
    import_pandas,
    own_names,
    twice,
)
from serfiq_widgets.errors import BadSetting, BadTable, one_line
from serfiq_widgets.images.files import walk
from serfiq_widgets.images.read import MAX_BYTES, is_address

BLOCK = 4096  # rows read and written at a time
CSV_BLOCK = 2**24  # bytes of a CSV parsed at a time
COLUMNS = tuple(field.name for field in fields(ScoreRow))
STANDARD_INPUT = "-"


class StandardInput(io.BytesIO):
    """An image from standard input; its path in a table is ``-``."""

    name = "standard input"

    def __str__(self) -> str:
        """Return its name on a command line."""
        return STANDARD_INPUT


class FolderSource:
    """Images and folders of images, without columns of their own.

    Parameters
    ----------
    paths : iterable of path or file object
        Files, folders, and web addresses (which give a row with an error).

    Attributes
    ----------
    skipped : Counter
        Files skipped by the last walk, by kind.
    """

    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __init__(self, paths: Iterable[ImageFile]) -> None:
        self._paths = list(paths)
        self.skipped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[ImageFile]:
        """Yield the images; folders are read with `walk`."""
        self.skipped = Counter()
        for path in self._paths:
            if not isinstance(path, str | Path) or is_address(path):
                yield path
            else:
                yield from map(str, walk([path], self.skipped))

    def files(self) -> Iterator[str | Path]:
        """Yield the files and folders that are read from the disk."""
        yield from (path for path in self._paths if isinstance(path, str | Path))


class TableSource:
    """A table with one image per row, read in blocks.

    Cells of a text table stay text without changes: ``007`` is not a number.

    Parameters
    ----------
    path : Path
        CSV, TSV, Parquet or Arrow.
    column : str
        The column of paths, relative to the table's folder; if ``path`` is missing, one of
        `tables.PATHS` is used.

    Attributes
    ----------
    names : tuple of str
        Its columns; columns that scores have, too, are called ``own_...``.
    notes : tuple of str
        Notes about decisions on the table.

    Raises
    ------
    BadTable
        It cannot be read, is empty, has no column of paths, or has a column twice.
    PackageMissing
        pyarrow is not installed.
    """

    def __init__(self, path: Path, column: str = "path") -> None:
        self._path = path
        self.skipped: Counter[str] = Counter()  # nothing
        self._suffix = check_suffix(path)
        import_pandas()
        try:
            self._dialect = dialect_of(path) if self._suffix in TEXTS else None
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error
        if self._dialect is not None and self._dialect.names:  # pyarrow accepts no repeated name
            check_columns(self._dialect.names, column, path.name)
        with closing(self._raw_blocks()) as blocks:
            first = next(blocks, None)
        if first is None:
            raise BadTable(f"The table '{path.name}' has no rows.")
        given = list(first.schema.names)
        self._column = check_columns(given, column, path.name)
        self.names = tuple(own_names(given, TAKEN))
        self.schema = first.rename_columns(list(self.names)).schema
        self.notes = tuple(notes_on(given, self._column, column, path.name))
        if self._dialect is not None and self._dialect.encoding in WESTERN:
            western = WESTERN[self._dialect.encoding]
            self.notes += (f"'{path.name}' is not UTF-8: it was read as {western}.",)

    def __iter__(self) -> Iterator[str]:
        """Yield the paths, row by row."""
        place = None
        for block in self._raw_blocks():
            place = block.schema.get_field_index(self._column) if place is None else place
            for value in block.column(place).to_pylist():
                yield located(value, self._path.parent)

    def files(self) -> Iterator[str | Path]:
        """Yield the files that are read from the disk: the table and its images."""
        yield self._path
        yield from self

    def blocks(self) -> Generator[Any, None, None]:
        """Yield record batches of at most ``BLOCK`` rows, with ``names`` as column names."""
        for block in self._raw_blocks():
            yield block.rename_columns(list(self.names))

    def _raw_blocks(self) -> Generator[Any, None, None]:
        import pyarrow as pa

        try:
            for batch in self._batches():
                for start in range(0, batch.num_rows, BLOCK):
                    yield batch.slice(start, BLOCK)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> BadTable:
        return BadTable(f"The table '{self._path.name}' cannot be read: {one_line(error)}")

    def _batches(self) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet

        if self._dialect is not None:
            yield from pyarrow.csv.open_csv(
                self._path,
                read_options=pyarrow.csv.ReadOptions(
                    block_size=CSV_BLOCK,
                    skip_rows=self._dialect.skipped,
                    # pyarrow skips a byte order mark itself
                    encoding=self._dialect.encoding.removesuffix("-sig"),
                ),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=self._dialect.delimiter, newlines_in_values=True
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(self._dialect.names, pa.string())
                ),
            )
        elif self._suffix == ".parquet":
            with pyarrow.parquet.ParquetFile(self._path) as file:
                yield from file.iter_batches(BLOCK)
        else:
            with pa.memory_map(str(self._path)) as memory, pa.ipc.open_file(memory) as file:
                for i in range(file.num_record_batches):
                    yield file.get_batch(i)


TAKEN = tuple(name for name in COLUMNS if name != "path")
"""Column names of scores, which a table's own columns must not have."""


Source = FolderSource | TableSource
"""Where a dataset's images are named."""


def open_source(paths: Iterable[str | Path], column: str = "path") -> Source:
    """Return a `TableSource` if the path names one, else `FolderSource`.

    ``~`` is the home folder, a pattern such as ``faces/*.jpg`` means all matching files, and ``-``
    an image on standard input.

    Raises
    ------
    BadSetting
        No file matches a pattern.
    """
    listed = list(_expanded(paths))
    if len(listed) == 1 and is_table(listed[0]):
        return TableSource(Path(str(listed[0])), column)
    return FolderSource(listed)


def is_table(path: object) -> bool:
    """Return whether a path names a table, by its suffix."""
    if not isinstance(path, str | Path) or is_address(path):
        return False
    return Path(path).suffix.lower() in SUFFIXES and not Path(path).is_dir()


def _expanded(paths: Iterable[str | Path]) -> Iterator[ImageFile]:
    for path in map(str, paths):
        if path == STANDARD_INPUT:
            yield StandardInput(sys.stdin.buffer.read(MAX_BYTES + 1))
        elif is_address(path):
            yield path
        else:
            yield from _met(Path(path).expanduser())


def _met(path: Path) -> list[Path]:
    """Return the files that match a pattern; the name of an existing file is not a pattern."""
    if not has_magic(str(path)) or path.exists():
        return [path]
    met = sorted(map(Path, glob(str(path), recursive=True)))  # noqa: PTH207  # for absolute patterns, too
    if not met:
        raise BadSetting(f"No file matches the pattern '{path}'. Check the folder and the suffix.")
    return met


def located(value: object, folder: Path) -> str:
    r"""Return the location of an image in a table with paths relative to ``folder``.

    Backslashes separate folders if no file has exactly this name; empty stays empty.
    """
    text = "" if value is None else str(value)
    if not text or is_address(text):
        return text
    path = folder / Path(text).expanduser()
    if "\\" in text and not path.exists():
        path = folder / text.replace("\\", "/")
    return str(path)


def check_columns(names: Iterable[Any], column: str, table: str) -> Any:
    """Return the column of paths; raise BadTable if it is missing or a name is repeated."""
    names = list(names)
    found = find_paths(names, column)
    if found is None:
        raise BadTable(
            f"'{table}' has no column '{column}', but {', '.join(map(str, names)) or 'none'}. "
            "Name the column of paths with --column (in Python: column=)."
        )
    if (again := twice(names)) is not None:
        raise BadTable(f"'{table}' has the column '{again}' twice: rename or drop one first.")
    return found


def notes_on(names: Iterable[Any], found: Any, column: str, table: str) -> Iterator[str]:
    """Yield notes about a table's columns."""
    if found != column:
        yield f"The paths were taken from the column '{found}' of '{table}'."
    for name, new in zip(names, own_names(list(names), TAKEN), strict=True):
        if new != name:
            yield f"The column '{name}' of '{table}' is called '{new}' in the results."
