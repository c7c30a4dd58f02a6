"""Readers of existing files: embeddings, pairs with or without scores, other qualities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serfiq_widgets.archives import UNSOUND, unpack_arrays
from serfiq_widgets.datasets.tables import SUFFIXES, read_table
from serfiq_widgets.errors import BadSetting, BadTable, one_line, plain_text
from serfiq_widgets.evaluation import Comparisons, Table, compare_pairs, read_pairs

if TYPE_CHECKING:
    import pandas as pd

# numeric columns of a score table that are not qualities, or repeat one
BOOKKEEPING = {"faces", "passes", "seed", "ms", "low", "high", "scaled", "quality"}
ENDS = ("path_a", "path_b")


class Images:
    """Finds images by their paths in files.

    A path matches an image by its name, by its location on the disk, or by its last part if this is
    unique.

    Parameters
    ----------
    names : sequence of str
        The images, numbered from 0.
    root : Path
        The folder of relative names.
    """

    def __init__(self, names: Sequence[str], root: Path = Path()) -> None:
        self._known: dict[str, int] = {}
        last: dict[str, list[int]] = {}
        for number, name in enumerate(names):
            for key in (name, (root / name).as_posix(), (root / name).resolve().as_posix()):
                self._known[_as_written(key)] = number
            last.setdefault(_as_written(Path(name).name), []).append(number)
        alone = {name: numbers[0] for name, numbers in last.items() if len(numbers) == 1}
        self._known = alone | self._known

    def find(self, path: object) -> int:
        """Return the number of an image, -1 if it is unknown."""
        text = _as_written(path)
        for key in (text, Path(text).resolve().as_posix(), Path(text).name):
            if key in self._known:
                return self._known[key]
        return -1


def _as_written(path: object) -> str:
    """Return a path as in a table of scores, with slashes between folders."""
    return plain_text(path).replace("\\", "/")


def join_scores(
    table: Table, scores: Path | pd.DataFrame, root: Path = Path(), name: str = "the table"
) -> tuple[Table, int]:
    """Add the numeric columns of a score table as qualities, joined by its column ``path``.

    Parameters
    ----------
    table : Table
        If it has no names, the rows must have the number and order of its images.
    scores : Path or DataFrame
        A file for `tables.read_table`, or a data frame. Columns such as ``seed`` are ignored.
    root : Path
        The folder of relative names.
    name : str
        The name of a data frame in messages; for a file, the file's name is used.

    Returns
    -------
    Table
        If a quality's name exists already, the table's name is added to it.
    int
        The number of images without a row: they count as the lowest quality.

    Raises
    ------
    BadTable
        There is no numeric column, no required ``path``, or no row that matches an image.
    """
    if isinstance(scores, Path):
        frame, name = read_table(scores), scores.stem
    else:
        frame = scores
    numeric = [column for column in frame.columns if frame[column].dtype.kind in "iufb"]
    columns = [column for column in numeric if column not in BOOKKEEPING]
    if not columns:
        raise BadTable(f"'{name}' has no column of numbers.")
    images = table.comparisons.images
    rows = _rows(table, frame, name, root)
    qualities = dict(table.qualities)
    for column in columns:
        values = np.full(images, np.nan)
        values[rows[rows >= 0]] = frame[column].to_numpy(float)[rows >= 0]
        if not np.isnan(values).all():
            qualities[f"{column} ({name})" if column in qualities else str(column)] = values
    return replace(table, qualities=qualities), images - len(np.unique(rows[rows >= 0]))


def _rows(table: Table, frame: pd.DataFrame, name: str, root: Path) -> NDArray[np.int64]:
    """Return the number of each row's image, -1 for none."""
    images = table.comparisons.images
    if not table.names:
        if len(frame) != images:
            raise BadTable(f"'{name}' has {len(frame)} rows, but there are {images} images.")
        return np.arange(images)
    if "path" not in frame.columns:
        raise BadTable(f"'{name}' has no column 'path' with the images.")
    known = Images(table.names, root)
    rows = np.array([known.find(path) for path in frame["path"]], np.int64)
    if not (rows >= 0).any():
        raise BadTable(
            f"No path in '{name}' is one of the images: there '{frame['path'].iloc[0]}', "
            f"here '{table.names[0]}'."
        )
    return rows


def read_archive(file: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a ``.npz`` file: ``embeddings``, and optional ``labels``, ``paths``.

    Raises
    ------
    BadTable
        It cannot be read, or contains no embeddings (N, D).
    """
    try:
        arrays, _ = unpack_arrays(file)
    except UNSOUND as error:
        raise BadTable(f"'{file.name}' cannot be read: {one_line(error)}") from error
    found = arrays.get("embeddings")
    if found is None or found.ndim != 2:  # noqa: PLR2004  # rows of embeddings
        raise BadTable(f"'{file.name}' has no array 'embeddings' (N, D): {', '.join(arrays)}.")
    return arrays


def same_length(embeddings: NDArray[np.float32]) -> bool:
    """Return whether all embeddings (N, n) have the same length."""
    lengths = np.linalg.norm(embeddings, axis=1)
    return bool(np.ptp(lengths) <= 1e-3 * lengths.mean())  # tolerance for float16


def read_embeddings(path: Path) -> NDArray[np.float32]:
    """Read embeddings (N, n) from a ``.npy`` file, or from a CSV of numbers.

    Raises
    ------
    BadSetting
        The file cannot be read, or contains something else.
    """
    try:
        if path.suffix.lower() == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            values = np.loadtxt(path, delimiter=",", ndmin=2)
        numbers = np.asarray(values, np.float32)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise BadSetting(f"'{path.name}' contains no embeddings ({error}).") from error
    if numbers.ndim != 2 or not numbers.size:  # noqa: PLR2004  # rows of embeddings
        raise BadSetting(f"'{path.name}' contains no embeddings (N, n), but {numbers.shape}.")
    return numbers


def read_embedding_table(
    file: Path,
) -> tuple[NDArray[np.float32], tuple[str, ...], tuple[str, ...]]:
    """Read a table of embeddings: a column ``person``, optionally ``path``, and numbers.

    Parameters
    ----------
    file : Path
        A file for `tables.read_table`; the numeric columns are the embedding, in their order.

    Returns
    -------
    (N, D) ndarray of float32
        The embeddings, none of which is all zeros.
    tuple of str, tuple of str
        The people, and the paths or nothing.

    Raises
    ------
    BadTable
        A column or a value is missing, or a number is not finite; the text names the file.
    """
    frame = read_table(file)
    people = _column(frame, "person", file)
    if not len(frame) or any(value is None or value != value for value in people.tolist()):  # noqa: PLR0124  # NaN
        raise BadTable(f"'{file.name}' has no rows, or a row without a person.")
    named = {"person", "path"}
    numeric = [c for c in frame.columns if c not in named and frame[c].dtype.kind in "iuf"]
    other = [str(c) for c in frame.columns if c not in named and c not in numeric]
    if other or len(numeric) < 2:  # noqa: PLR2004  # one number has no direction
        what = f"'{other[0]}' is not a column of numbers" if other else "two numbers are needed"
        raise BadTable(f"'{file.name}' has no embeddings: {what}.")
    vectors = frame[numeric].to_numpy(np.float32)
    bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1) | ~vectors.any(axis=1))
    if len(bad):
        raise BadTable(f"'{file.name}': row {bad[0] + 1} is not finite, or all zeros.")
    paths = tuple(map(str, frame["path"])) if "path" in frame.columns else ()
    if len(set(paths)) != len(paths):
        raise BadTable(f"'{file.name}' has one path in two rows.")
    return vectors, tuple(map(str, people)), paths


def is_embedding_table(file: Path) -> bool:
    """Return whether a file of embeddings is a table with people; a CSV of numbers is not."""
    suffix = file.suffix.lower()
    if suffix == ".csv":
        with file.open("rb") as opened:
            return b"person" in opened.readline(2**16)
    return suffix in SUFFIXES


def is_pairs_table(file: Path) -> bool:
    """Return whether a file of pairs is a table; else it is a list like LFW's."""
    return file.suffix.lower() in SUFFIXES


def listed_pairs(
    file: Path,
    names: Sequence[str],
    embeddings: NDArray[np.float32],
    people: ArrayLike,
    root: Path = Path(),
) -> tuple[Comparisons, NDArray[np.float32], NDArray[np.bool_]]:
    """Compare only the pairs in a file.

    Parameters
    ----------
    file : Path
        A list like LFW's (see `read_pairs`), or a table with ``path_a`` and ``path_b``. A column
        ``genuine`` says whether a pair is genuine, else the people do.
    names, embeddings, people
        Names, embeddings and people of N images.
    root : Path
        The folder of relative names.

    Returns
    -------
    Comparisons
    (P,) ndarray of float32, (P,) ndarray of bool
        Scores and genuine marks in the order of the file, for `accuracy`.

    Raises
    ------
    BadTable
        The file cannot be read, or an image is missing.
    """
    owner = np.asarray(people)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    known = Images(names, root)
    if is_pairs_table(file):
        frame = read_table(file)
        ends = [_column(frame, end, file) for end in ENDS]
        one, other = (_found(known, end, file) for end in ends)
        marked = "genuine" in frame.columns
        same = frame["genuine"].to_numpy(bool) if marked else owner[one] == owner[other]
    else:
        first, second, marks = zip(*read_pairs(file), strict=True)
        one, other = _found(known, first, file), _found(known, second, file)
        same = np.array(marks)
    scores = np.einsum("nd,nd->n", unit[one], unit[other])
    return compare_pairs(one, other, scores, same, owner), scores, same


def scored_pairs(file: Path) -> tuple[Table, NDArray[np.float32], NDArray[np.bool_]]:
    """Read comparisons with scores of another program.

    Parameters
    ----------
    file : Path
        A table with the columns ``path_a``, ``path_b``, ``score`` (higher is more similar) and
        ``genuine`` (1 or 0).

    Returns
    -------
    Table
        A table whose names are the paths, in order of first appearance, without qualities.
    (P,) ndarray of float32, (P,) ndarray of bool
        Scores and genuine marks in the order of the file, for `accuracy`.

    Raises
    ------
    BadTable
        A column is missing.
    """
    frame = read_table(file)
    first, second, scores, same = (
        _column(frame, name, file) for name in (*ENDS, "score", "genuine")
    )
    ends = np.column_stack([first, second]).ravel()
    names = tuple(dict.fromkeys(str(path) for path in ends))
    number = {name: i for i, name in enumerate(names)}
    one, other = ([number[str(path)] for path in end] for end in (first, second))
    values, marks = np.asarray(scores, np.float32), np.asarray(same, bool)
    about = {"data": plain_text(file.stem)}
    return Table(compare_pairs(one, other, values, marks), {}, names, about), values, marks


def _column(frame: pd.DataFrame, name: str, file: Path) -> NDArray[Any]:
    if name not in frame.columns:
        raise BadTable(f"'{file.name}' has no column '{name}'; it has {', '.join(frame.columns)}.")
    values: NDArray[Any] = frame[name].to_numpy()
    return values


def _found(known: Images, paths: Sequence[object] | NDArray[Any], file: Path) -> NDArray[np.int64]:
    numbers = np.array([known.find(path) for path in paths], np.int64)
    if (numbers < 0).any():
        lost = paths[int(np.argmax(numbers < 0))]
        raise BadTable(
            f"{(numbers < 0).sum()} of {len(numbers)} entries in '{file.name}' are images that are "
            f"missing or could not be used, such as '{lost}'."
        )
    return numbers
