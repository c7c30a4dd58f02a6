"""Reading and writing of tables (CSV, TSV, Parquet, Arrow) as pandas data frames.

Text tables come from many programs: `dialect_of` detects their encoding and delimiter.
"""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serfiq_widgets.errors import BadTable, PackageMissing, one_line

if TYPE_CHECKING:
    import pandas as pd

TEXTS = (".csv", ".tsv")
SUFFIXES = (*TEXTS, ".parquet", ".arrow", ".feather")
PATHS = ("path", "file", "filename", "image", "image_path", "file_path", "filepath", "file_name")
"""Names of a column of paths, in upper or lower case; the first match is used."""
DELIMITERS = (",", ";", "\t", "|")
SEPARATOR = "sep="  # a first line that tells spreadsheets the delimiter
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""First characters of a cell that a spreadsheet would read as a formula."""
BLOCK = 2**20  # bytes decoded at a time
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
WESTERN = {"latin-1": "Latin-1", "cp1252": "Windows-1252"}
UNDEFINED = {0x81, 0x8D, 0x8F, 0x90, 0x9D}  # undefined bytes in Windows-1252
LEADING_ZERO = r"\s*[+-]?0\d"  # 007: as a number it would lose its zeros


@dataclass(frozen=True)
class Dialect:
    """Encoding, delimiter and columns of a text table.

    Attributes
    ----------
    encoding : str
        ``utf-8``, ``utf-8-sig``, ``utf-16``; else ``cp1252`` or ``latin-1``.
    delimiter : str
        Comma, semicolon, tab or vertical bar.
    names : tuple of str
        The column names.
    skipped : int
        Lines before the column names: 1 if a line such as ``sep=;`` names the delimiter.
    """

    encoding: str
    delimiter: str
    names: tuple[str, ...]
    skipped: int = 0


def check_suffix(path: Path) -> str:
    """Return the suffix of a table's name in lower case, or raise BadTable."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise BadTable(f"'{path.name}' is not a table: its name must end in {', '.join(SUFFIXES)}.")
    return suffix


def dialect_of(path: Path) -> Dialect:
    """Detect the dialect of a text table from its bytes and its first line.

    The delimiter is the one that gives a column of paths, then the most columns.

    Raises
    ------
    OSError, ValueError
        The file cannot be read.
    """
    encoding = _encoding_of(path)
    with path.open(newline="", encoding=encoding) as file:
        lines = list(islice(file, 2))
    skipped = sum(line.lower().startswith(SEPARATOR) for line in lines[:1])
    preferred = ("\t", ",", ";", "|") if path.suffix.lower() == ".tsv" else DELIMITERS
    read = {
        mark: tuple(next(csv.reader(lines[skipped:], delimiter=mark), ())) for mark in preferred
    }
    best = max(read, key=lambda mark: (find_paths(read[mark]) is not None, len(read[mark])))
    return Dialect(encoding, best, read[best], skipped)


def _encoding_of(path: Path) -> str:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        part = file.read(BLOCK)
        for mark, encoding in MARKS:
            if part.startswith(mark):
                return encoding
        try:
            while part:
                decoder.decode(part)
                part = file.read(BLOCK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return _western(path)
    return "utf-8"


def _western(path: Path) -> str:
    """Return the single-byte encoding of a table; Windows-1252 fills a gap of Latin-1."""
    with path.open("rb") as file:
        seen = set[int]().union(*iter(partial(file.read, BLOCK), b""))
    gap = seen.intersection(range(0x80, 0xA0))
    return "cp1252" if gap and not gap & UNDEFINED else "latin-1"


def find_paths(names: Iterable[Any], column: str = "path") -> Any:
    """Return the column of paths: ``column``, else one of `PATHS`, else None."""
    names = list(names)
    if column in names:
        return column
    if column != PATHS[0]:
        return None
    known = {str(name).strip().lower(): name for name in reversed(names)}
    return next((known[name] for name in PATHS if name in known), None)


def own_names(names: Sequence[Any], taken: Iterable[str]) -> list[Any]:
    """Return a table's column names; names in ``taken`` get the prefix ``own_``."""
    avoid = {*taken, *names}
    renamed = []
    for name in names:
        new = name
        while new in taken or (new != name and new in avoid):
            new = f"own_{new}"
        renamed.append(new)
    return renamed


def twice(names: Iterable[Any]) -> Any:
    """Return a repeated name, or None."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def no_formula(path: str) -> str:
    """Return a path for a text table, escaped so that no spreadsheet reads it as a formula."""
    return f"./{path}" if path.startswith(FORMULA_STARTS) and len(path) > 1 else path


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table.

    Parameters
    ----------
    path : str or Path
        ``.csv`` or ``.tsv`` (see `dialect_of`), ``.parquet``, ``.arrow`` or ``.feather`` (both
        Arrow's file format). A text column with a number that has leading zeros, such as ``007``,
        stays text.

    Raises
    ------
    BadTable
        The file is missing, broken, or of another kind; the text names it.
    PackageMissing
        pandas or pyarrow is not installed.
    """
    path = Path(path)
    suffix = check_suffix(path)
    pandas = import_pandas()
    try:
        if suffix in TEXTS:
            frame: pd.DataFrame = _read_text(path)
        elif suffix == ".parquet":
            frame = pandas.read_parquet(path)
        else:
            frame = pandas.read_feather(path)
    except (OSError, ValueError) as error:  # both packages raise subclasses of ValueError
        raise BadTable(f"The table '{path.name}' cannot be read: {one_line(error)}") from error
    return frame


def _read_text(path: Path) -> pd.DataFrame:
    pandas = import_pandas()
    dialect = dialect_of(path)
    how = {
        "encoding": dialect.encoding,
        "sep": dialect.delimiter,
        "skiprows": dialect.skipped,
    }
    text = pandas.read_csv(path, dtype=str, **how)
    kept = {name: str for name in text if text[name].str.match(LEADING_ZERO, na=False).any()}
    frame: pd.DataFrame = pandas.read_csv(path, dtype=kept, **how)
    return frame


def import_pandas() -> Any:
    """Import pandas and pyarrow; raise PackageMissing with the install command."""
    try:
        import_module("pyarrow")
        import pandas as pd
    except ImportError as error:
        raise PackageMissing(
            f"Tables need pandas and pyarrow ({error}): pip install 'serfiq_widgets[tables]'"
        ) from error
    return pd
