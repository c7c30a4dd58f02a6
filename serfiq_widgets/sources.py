"""Where a dataset's images are named: folders, or a table with one image per row.

Both are read from the beginning as often as they are asked, always in the same order, and never as
a whole.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

from serfiq_widgets.atomic import same_file
from serfiq_widgets.batch import ScoreRow
from serfiq_widgets.errors import BadSetting, BadTable, one_line
from serfiq_widgets.image_files import walk
from serfiq_widgets.tables import SUFFIXES, check_suffix, import_pandas

BLOCK = 4096  # rows that are read and written at a time
CSV_BLOCK = 2**24  # bytes from which the kinds of a CSV's columns are told
COLUMNS = tuple(field.name for field in fields(ScoreRow))


class Folders:
    """Images and folders of images; they bring no columns of their own."""

    names: tuple[str, ...] = ()

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._paths = list(paths)
        self.skipped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[str]:
        """Yield the paths, folders walked as by `walk`; ``skipped`` counts what is left out."""
        self.skipped = Counter()
        return map(str, walk(self._paths, self.skipped))

    def spare(self, out: Path) -> None:
        """Raise BadSetting if writing ``out`` would destroy one of the given files."""
        _spare(self._paths, out)


class Table:
    """A table that names one image per row, read in blocks.

    What a CSV holds is text, as it stands there: ``007`` is no number.

    Parameters
    ----------
    path : Path
        CSV, Parquet or Arrow.
    column : str
        Holds the paths, from the table's folder.

    Attributes
    ----------
    names : tuple of str
        Its columns.

    Raises
    ------
    BadTable
        It cannot be read, is empty, lacks the column, or has columns that the scores will have.
    PackageMissing
        pyarrow is not installed.
    """

    def __init__(self, path: Path, column: str = "path") -> None:
        self._path, self._column = path, column
        self.skipped: Counter[str] = Counter()  # nothing
        self._suffix = check_suffix(path)
        import_pandas()
        with closing(self.blocks()) as blocks:
            first = next(blocks, None)
        if first is None:
            raise BadTable(f"The table '{path.name}' has no rows.")
        self.schema = first.schema
        self.names = tuple(self.schema.names)
        check_columns(self.names, column, path.name)

    def __iter__(self) -> Iterator[str]:
        """Yield the paths, row after row."""
        for block in self.blocks():
            for value in block.column(self._column).to_pylist():
                yield "" if value in (None, "") else str(self._path.parent / str(value))

    def spare(self, out: Path) -> None:
        """Raise BadSetting if writing ``out`` would destroy the table."""
        _spare([self._path], out)

    def blocks(self) -> Generator[Any, None, None]:
        """Yield record batches of at most ``BLOCK`` rows."""
        import pyarrow as pa

        try:
            for batch in self._batches():
                for start in range(0, batch.num_rows, BLOCK):
                    yield batch.slice(start, BLOCK)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise BadTable(
                f"The table '{self._path.name}' cannot be read: {one_line(error)}"
            ) from error

    def _batches(self) -> Iterator[Any]:
        import pyarrow as pa
        import pyarrow.csv
        import pyarrow.parquet

        if self._suffix == ".csv":
            with self._path.open(newline="", encoding="utf-8-sig") as file:
                names = next(csv.reader(file), [])
            yield from pyarrow.csv.open_csv(
                self._path,
                read_options=pyarrow.csv.ReadOptions(block_size=CSV_BLOCK),
                parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(names, pa.string())
                ),
            )
        elif self._suffix == ".parquet":
            with pyarrow.parquet.ParquetFile(self._path) as file:
                yield from file.iter_batches(BLOCK)
        else:
            with pa.memory_map(str(self._path)) as memory, pa.ipc.open_file(memory) as file:
                for i in range(file.num_record_batches):
                    yield file.get_batch(i)


def _spare(paths: Iterable[str | Path], out: Path) -> None:
    for path in map(Path, paths):
        if same_file(path, out):
            raise BadSetting(
                f"'{out}' is what is to be scored, and would be overwritten. Name another --out."
            )


def open_source(paths: Iterable[str | Path], column: str = "path") -> Folders | Table:
    """Return a `Table` where one is named, else `Folders`."""
    listed = [Path(path) for path in paths]
    if len(listed) == 1 and listed[0].suffix.lower() in SUFFIXES and not listed[0].is_dir():
        return Table(listed[0], column)
    return Folders(listed)


def check_columns(names: Iterable[str], column: str, table: str) -> None:
    """Raise BadTable if a table lacks the column of paths, or has columns that scores will have."""
    names = list(names)
    if column not in names:
        raise BadTable(
            f"'{table}' has no column '{column}', but {', '.join(map(str, names)) or 'none'}. "
            "Say which holds the paths: --column (in Python: column=)."
        )
    taken = [name for name in names if name in COLUMNS and name != "path"]
    if taken or len(set(names)) < len(names):
        what = f"'{taken[0]}', as the scores have" if taken else "one name twice"
        raise BadTable(f"'{table}' has a column {what}: rename or drop it first.")
