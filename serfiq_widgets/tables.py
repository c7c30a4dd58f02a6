"""Tables in files: CSV, Parquet and Arrow, in and out of pandas data frames."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serfiq_widgets.errors import BadTable, PackageMissing, one_line

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".parquet", ".arrow", ".feather")


def check_suffix(path: Path) -> str:
    """Return the suffix of a table's name in lower case, or raise BadTable."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise BadTable(f"'{path.name}' is no table: its name must end in {', '.join(SUFFIXES)}.")
    return suffix


def read_table(path: str | Path) -> pd.DataFrame:
    """Read a table.

    Parameters
    ----------
    path : str or Path
        ``.csv``, ``.parquet``, ``.arrow`` or ``.feather`` (both Arrow's file format).

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
    readers = {".csv": pandas.read_csv, ".parquet": pandas.read_parquet}
    try:
        frame: pd.DataFrame = readers.get(suffix, pandas.read_feather)(path)
    except (OSError, ValueError) as error:  # parsers of both packages raise children of ValueError
        raise BadTable(f"The table '{path.name}' cannot be read: {one_line(error)}") from error
    return frame


def write_table(frame: pd.DataFrame, path: str | Path) -> None:
    """Write a table in the format that the name's suffix says.

    Raises
    ------
    BadTable
        Another suffix, or the file cannot be written.
    """
    path = Path(path)
    suffix = check_suffix(path)
    try:
        if suffix == ".csv":
            frame.to_csv(path, index=False)
        elif suffix == ".parquet":
            frame.to_parquet(path, index=False)
        else:
            frame.to_feather(path)
    except OSError as error:
        raise BadTable(f"'{path.name}' cannot be written: {one_line(error)}") from error


def import_pandas() -> Any:
    """Import pandas, which needs pyarrow; raise PackageMissing, which says how to get them."""
    try:
        import_module("pyarrow")
        import pandas as pd
    except ImportError as error:
        raise PackageMissing(
            f"Tables need pandas and pyarrow ({error}): pip install 'serfiq_widgets[tables]'"
        ) from error
    return pd
