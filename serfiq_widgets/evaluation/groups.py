"""Sources of groups: columns of a table, ages in decades, UTKFace's file names.

A table is a mapping of column names to arrays of one length, with facts about its scores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.archives import UNSOUND, pack_arrays, unpack_arrays
from serfiq_widgets.atomic import write_bytes
from serfiq_widgets.errors import BadTable, one_line
from serfiq_widgets.evaluation.bias import Labels

MAX_GROUPS, PLACES = 24, 4
DECADES = tuple(range(0, 100, 10))
SCORES = ("quality", "controlled", "raw", "limit")  # what is saved of a score, best known first
ATTRIBUTES = ("age", "gender", "ethnicity")  # what UTKFace's file names say
GENDERS = ("male", "female")
ETHNICITIES = ("White", "Black", "Asian", "Indian", "other")
UTKFACE = re.compile(r"(\d{1,3})_([01])_([0-4])_\d+")
ABOUT = ("model", "passes", "seed")
CAUTION = (
    "A score is one network's estimate for a photo. Differences between groups depend on that "
    "network and these photos: their age, sharpness and cropping, and labels that may be wrong. "
    "They are no statement about people, and by themselves no judgement of fairness."
)


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Columns of one length, and facts about the scores.

    Attributes
    ----------
    columns : dict of str to (N,) ndarray
        Scores, groups and other columns.
    about : dict of str to str or int
        ``name`` of the population, ``model``, ``passes`` and ``seed``, if known.
    """

    columns: dict[str, NDArray[Any]]
    about: dict[str, str | int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def column(self, name: str) -> NDArray[Any]:
        """Return a column, or raise BadTable, which lists the columns."""
        if name not in self.columns:
            raise BadTable(
                f"The table has no column '{name}'; it has: {', '.join(sorted(self.columns))}."
            )
        return self.columns[name]

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column (N,) of numbers, NaN if missing; BadTable if it has other values."""
        values = self.column(name)
        try:
            if values.dtype == object:
                values = np.array([np.nan if value is None else value for value in values])
            return values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise BadTable(f"The column '{name}' has a value that is not a number.") from error

    def only(self, rows: NDArray[np.bool_]) -> ScoreTable:
        """Return a table of these rows; BadTable if there are none."""
        return as_table({name: values[rows] for name, values in self.columns.items()}, **self.about)

    @property
    def scores(self) -> list[str]:
        """Return the names of the score columns."""
        return [name for name in SCORES if name in self.columns]


def as_table(table: Any, **about: str | int) -> ScoreTable:
    """Return a table from a mapping of arrays or a data frame.

    Model, passes and seed are taken from columns with the same value in every row.

    Raises
    ------
    BadTable
        It is neither, it is empty, or its columns have different lengths.
    """
    if isinstance(table, ScoreTable):
        return table
    if not isinstance(table, Mapping) and not hasattr(table, "columns"):
        raise BadTable(f"A {type(table).__name__} is not a table: give a mapping or a data frame.")
    names = table.keys() if isinstance(table, Mapping) else table.columns
    columns = {str(name): np.asarray(table[name]) for name in names}
    lengths = {values.shape for values in columns.values()}
    if len(lengths) != 1 or len(next(iter(lengths))) != 1 or next(iter(lengths)) == (0,):
        raise BadTable("A table needs columns of the same length, with at least one row.")
    found: dict[str, str | int] = {}
    for name in (name for name in ABOUT if name in columns):
        values = {value for value in columns[name].tolist() if not _missing(value)}
        if len(values) == 1:
            value = values.pop()
            found[name] = value if isinstance(value, str) else int(value)
    return ScoreTable(columns, {**found, **about})


def labels(table: ScoreTable, name: str, edges: Sequence[float] | None = None) -> Labels:
    """Return the groups in a column: its values, or bins of its numbers.

    Parameters
    ----------
    table : ScoreTable
        The table with this column.
    name : str
        Ages (a column of numbers called ``age``) are binned into decades if no edges are given.
    edges : sequence of float, optional
        Lower edges of the bins, ascending; the last bin has no upper edge.

    Raises
    ------
    BadTable
        There is no such column, or it has more than 24 different values.
    """
    values = table.column(name)
    if edges is None and name == "age" and values.dtype.kind in "iuf":
        edges = DECADES
    if edges is not None:
        return binned(table.numbers(name), edges)
    texts = ["" if _missing(value) else _text(value) for value in values.tolist()]
    names = sorted(set(texts) - {""}, key=_natural)
    if len(names) > MAX_GROUPS:
        raise BadTable(
            f"The column '{name}' has {len(names)} different values, more than {MAX_GROUPS} "
            f"groups. Numbers can be binned: --edges {name}=0,18,40,60"
        )
    codes = {text: code for code, text in enumerate(names)} | {"": -1}
    return Labels(np.array([codes[text] for text in texts], np.intp), tuple(names))


def binned(values: NDArray[np.float64], edges: Sequence[float]) -> Labels:
    """Return bins of numbers (N,); numbers below the first edge have no group.

    Raises
    ------
    BadTable
        The edges are not ascending.
    """
    edges = list(edges)
    if not edges or any(b <= a for a, b in pairwise(edges)):
        raise BadTable(f"The edges {edges} must be ascending.")
    whole = all(float(edge).is_integer() for edge in edges)
    names = [
        (f"{a:g}-{b - 1:g}" if b - 1 > a else f"{a:g}") if whole else f"{a:g} to {b:g}"
        for a, b in pairwise(edges)
    ]
    codes = np.digitize(values, edges) - 1
    codes[np.isnan(values)] = -1
    return Labels(codes.astype(np.intp), (*names, f"{edges[-1]:g}+"), ordered=True)


def utkface(paths: Sequence[str]) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Read age, gender and ethnicity from file names such as ``26_1_4_20170116.jpg``.

    Returns
    -------
    dict of str to (N,) ndarray
        ``age`` (NaN where unknown), ``gender`` and ``ethnicity`` (empty where unknown).
    list of str
        The names of another form.
    """
    ages, genders, ethnicities, malformed = [], [], [], []
    for path in paths:
        name = PurePath(path).name
        match = UTKFACE.match(name)
        if match is None:
            malformed.append(name)
        age, gender, ethnicity = match.groups() if match else (np.nan, None, None)
        ages.append(float(age))
        genders.append("" if gender is None else GENDERS[int(gender)])
        ethnicities.append("" if ethnicity is None else ETHNICITIES[int(ethnicity)])
    found = (np.array(ages), np.array(genders), np.array(ethnicities))
    return dict(zip(ATTRIBUTES, found, strict=True)), malformed


def with_groups(table: ScoreTable, by: Sequence[str] = ()) -> tuple[ScoreTable, list[str]]:
    """Add groups from UTKFace's file names, if the requested groups are not in the table.

    Returns
    -------
    ScoreTable, list of str
        The table with groups, and the file names of another form (images without a group).

    Raises
    ------
    BadTable
        Neither the table nor the file names contain the groups.
    """
    wanted = by or ATTRIBUTES
    here = [name for name in wanted if name in table.columns]
    if (len(here) == len(wanted)) or (here and not by) or set(wanted) - {*here, *ATTRIBUTES}:
        for name in by:
            table.column(name)
        return table, []
    found, malformed = utkface([str(path) for path in table.column("path")])
    if len(malformed) == len(table):
        raise BadTable(
            f"The groups are unknown: there is no column {' or '.join(wanted)}, and a file name "
            f"like '{malformed[0]}' is not age_gender_ethnicity_date. Give them with --groups."
        )
    return ScoreTable({**found, **table.columns}, table.about), malformed


def join(table: ScoreTable, groups: ScoreTable, on: str = "path") -> tuple[ScoreTable, int]:
    """Add the columns of another table for rows with the same path, or the same file name.

    Returns
    -------
    ScoreTable, int
        The joined table, and the number of its rows without a match (they have no group).

    Raises
    ------
    BadTable
        A path occurs twice in ``groups``, or no path matches.
    """
    own = [str(path) for path in table.column(on)]
    other = [str(path) for path in groups.column(on)]
    if len(set(other)) < len(other):
        raise BadTable(f"The groups have one {on} in two rows.")
    found = _partners(own, other) or _partners(_file_names(own), _file_names(other))
    if not found:
        raise BadTable(f"No {on} of the groups is in the scores: '{other[0]}' and '{own[0]}'.")
    picked = {name: _picked(values, found) for name, values in groups.columns.items() if name != on}
    return ScoreTable({**table.columns, **picked}, table.about), found.count(-1)


def _file_names(paths: Sequence[str]) -> list[str]:
    return [PurePath(path).name for path in paths]


def _partners(own: Sequence[str], other: Sequence[str]) -> list[int]:
    """Return the index in ``other`` of each of ``own``, -1 if missing; empty if none match."""
    rows = {path: row for row, path in enumerate(other)}
    found = [rows.get(path, -1) for path in own]
    return found if len(rows) == len(other) and max(found) >= 0 else []


def _picked(values: NDArray[Any], rows: Sequence[int]) -> NDArray[Any]:
    """Return these rows of the values; for -1, NaN in numbers and None in other types."""
    if values.dtype.kind in "iuf":
        numbers: NDArray[Any] = np.where(np.array(rows) < 0, np.nan, values[rows].astype(float))
        return numbers
    picked: NDArray[Any] = np.empty(len(rows), object)
    picked[:] = [values[row] if row >= 0 else None for row in rows]
    return picked


def save(table: ScoreTable, path: Path, attributes: Sequence[str]) -> None:
    """Write groups and scores without image names to a small ``.npz`` file.

    Rows without a score are omitted; the other rows are sorted by their values, so that their order
    reveals nothing. Raw scores are rounded to four decimals.
    """
    columns = {name: table.column(name) for name in attributes}
    columns |= {name: table.numbers(name) for name in table.scores}
    known = np.all([np.isfinite(columns[name]) for name in table.scores], axis=0)
    for name in attributes:
        known &= [not _missing(value) for value in columns[name].tolist()]
    small = {name: _small(values[known]) for name, values in columns.items()}
    order = np.lexsort([*small.values()][::-1])
    kept = {name: values[order] for name, values in small.items()}
    write_bytes(path, pack_arrays(kept, table.about))


def load(path: str | Path) -> ScoreTable:
    """Read a file written by `save`.

    Raises
    ------
    BadTable
        It is another kind of file; the text names it.
    """
    path = Path(path)
    try:
        arrays, about = unpack_arrays(path)
    except UNSOUND as error:
        raise BadTable(f"The table '{path.name}' cannot be read: {one_line(error)}") from error
    return as_table({name: _exact(values) for name, values in arrays.items()}, **about)


def _exact(values: NDArray[Any]) -> NDArray[Any]:
    """Return float32 values as exact four-decimal numbers, so that thresholds match them."""
    return np.round(values.astype(np.float64), PLACES) if values.dtype == np.float32 else values


def _small(values: NDArray[Any]) -> NDArray[Any]:
    """Return integers 0..255 as bytes, other numbers as float32 with four decimals."""
    if values.dtype.kind not in "iuf":
        return values.astype(str)
    if (values == np.round(values)).all() and values.min() >= 0 and values.max() <= 255:  # noqa: PLR2004
        return values.astype(np.uint8)
    rounded: NDArray[Any] = np.round(values, PLACES).astype(np.float32)
    return rounded


def _missing(value: Any) -> bool:
    return value is None or value == "" or value != value  # noqa: PLR0124  # NaN is not equal to itself


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _natural(text: str) -> list[Any]:
    """Return a sort key that treats digits as numbers: 9 before 10."""
    parts = re.split(r"(\d+)", text.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)]
