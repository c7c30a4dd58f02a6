"""Tables to evaluate from files that exist: embeddings, pairs with or without scores, rivals."""

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

# numbers of a score table that are no quality, or the same one again
BOOKKEEPING = {"faces", "passes", "seed", "ms", "low", "high", "scaled", "quality"}
ENDS = ("path_a", "path_b")


class Images:
    """Finds images by what files call them.

    A path is found as it is named, as it lies on the disk, or by its last part if no other image
    has the same.

    Parameters
    ----------
    names : sequence of str
        The images, numbered from 0.
    root : Path
        The folder that relative names start from.
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
        """Return the number of an image, -1 if it is none of these."""
        text = _as_written(path)
        for key in (text, Path(text).resolve().as_posix(), Path(text).name):
            if key in self._known:
                return self._known[key]
        return -1


def _as_written(path: object) -> str:
    """Return a path as a table of scores has it, with slashes between folders."""
    return plain_text(path).replace("\\", "/")


def join_scores(
    table: Table, scores: Path | pd.DataFrame, root: Path = Path(), name: str = "the table"
) -> tuple[Table, int]:
    """Add the numeric columns of a score table as qualities, joined by its column ``path``.

    Parameters
    ----------
    table : Table
        With names; without, the rows must be as many as its images, in their order.
    scores : Path or DataFrame
        What `tables.read_table` reads, or such a table. Columns such as ``seed`` are left out.
    root : Path
        The folder that the names start from.
    name : str
        What a data frame is called; a file has its own.

    Returns
    -------
    Table
        A quality whose name is taken gets the table's name behind it.
    int
        How many images have no row: they count as the lowest.

    Raises
    ------
    BadTable
        There is no numeric column, no ``path`` where one is needed, or no row fits an image.
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
    """Which image each row is of, -1 for none."""
    images = table.comparisons.images
    if not table.names:
        if len(frame) != images:
            raise BadTable(f"'{name}' has {len(frame)} rows, but there are {images} images.")
        return np.arange(images)
    if "path" not in frame.columns:
        raise BadTable(f"'{name}' has no column 'path' that says which image a row is of.")
    known = Images(table.names, root)
    rows = np.array([known.find(path) for path in frame["path"]], np.int64)
    if not (rows >= 0).any():
        raise BadTable(
            f"No path in '{name}' is one of the images: there '{frame['path'].iloc[0]}', "
            f"here '{table.names[0]}'."
        )
    return rows


def read_archive(file: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a ``.npz`` file: ``embeddings``, and ``labels`` and ``paths`` if there.

    Raises
    ------
    BadTable
        It cannot be read, or holds no embeddings (N, D).
    """
    try:
        arrays, _ = unpack_arrays(file)
    except UNSOUND as error:
        raise BadTable(f"'{file.name}' cannot be read: {one_line(error)}") from error
    found = arrays.get("embeddings")
    if found is None or found.ndim != 2:  # noqa: PLR2004  # rows of embeddings
        raise BadTable(f"'{file.name}' holds no array 'embeddings' (N, D): {', '.join(arrays)}.")
    return arrays


def same_length(embeddings: NDArray[np.float32]) -> bool:
    """Whether all embeddings (N, n) were scaled to one length."""
    lengths = np.linalg.norm(embeddings, axis=1)
    return bool(np.ptp(lengths) <= 1e-3 * lengths.mean())  # rounding to float16


def read_embeddings(path: Path) -> NDArray[np.float32]:
    """Read embeddings (N, n) from a ``.npy`` file, or from a CSV of numbers.

    Raises
    ------
    BadSetting
        The file cannot be read, or holds something else.
    """
    try:
        if path.suffix.lower() == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            values = np.loadtxt(path, delimiter=",", ndmin=2)
        numbers = np.asarray(values, np.float32)
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise BadSetting(f"'{path.name}' holds no embeddings ({error}).") from error
    if numbers.ndim != 2 or not numbers.size:  # noqa: PLR2004  # rows of embeddings
        raise BadSetting(f"'{path.name}' holds no embeddings (N, n), but {numbers.shape}.")
    return numbers


def is_pairs_table(file: Path) -> bool:
    """Whether a file of pairs is a table; else it is a list like LFW's."""
    return file.suffix.lower() in SUFFIXES


def listed_pairs(
    file: Path,
    names: Sequence[str],
    embeddings: NDArray[np.float32],
    people: ArrayLike,
    root: Path = Path(),
) -> tuple[Comparisons, NDArray[np.float32], NDArray[np.bool_]]:
    """Compare only the pairs that a file lists.

    Parameters
    ----------
    file : Path
        A list like LFW's (see `read_pairs`), or a table with ``path_a`` and ``path_b``. Whether a
        pair is genuine, a column ``genuine`` says, else the people do.
    names, embeddings, people
        Of N images.
    root : Path
        The folder that the names start from.

    Returns
    -------
    Comparisons
    (P,) ndarray of float32, (P,) ndarray of bool
        Scores and genuine marks in the order of the file, for `accuracy`.

    Raises
    ------
    BadTable
        The file cannot be read, or an image is not there.
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
    """Take comparisons that were scored elsewhere.

    Parameters
    ----------
    file : Path
        A table with the columns ``path_a``, ``path_b``, ``score`` (higher is more alike) and
        ``genuine`` (1 or 0).

    Returns
    -------
    Table
        Its names are the paths, in the order in which they first appear; no quality yet.
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
            f"not there or could not be used, such as '{lost}'."
        )
    return numbers
