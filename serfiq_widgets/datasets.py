"""Whole datasets: folders or a table in, a table of scores out, resumed where it stopped.

Images are taken in a fixed order and in chunks. Every chunk's rows go to a journal (`journal`); a
run that starts again checks them against its images, in order, and goes on behind them. When all
are there, the journal is turned into the table, block by block, under a name of its own that is
changed at the end. So nothing that grows with the number of images is held in memory.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from serfiq_widgets.atomic import replacing
from serfiq_widgets.batch import ScoreRow, chunked, plain_text, score_chunks, settings_of
from serfiq_widgets.detectors import open_detector
from serfiq_widgets.errors import BadSetting
from serfiq_widgets.image_files import walk
from serfiq_widgets.journal import Journal
from serfiq_widgets.scorer import Scorer
from serfiq_widgets.sources import BLOCK, COLUMNS, Folders, Table, check_columns
from serfiq_widgets.tables import SUFFIXES, check_suffix, import_pandas, read_table

if TYPE_CHECKING:
    import pandas as pd

    from serfiq_widgets.zoo import Card

    Paths = str | Path | Iterable[str | Path]

Progress = Callable[[int, int], None]


class Runner(Protocol):
    """Scores chunks of files, here or elsewhere.

    ``settings`` are what its rows share; ``card`` tells about the network.
    """

    settings: dict[str, Any]
    card: Card

    def score(self, chunks: Iterable[list[str | Path]]) -> Iterator[list[ScoreRow]]:
        """Yield the rows of each chunk, in order."""
        ...


class LocalRunner:
    """Scores in this process; takes the parameters of `score_files`."""

    def __init__(self, scorer: Scorer, passes: int = 100, *, aligned: bool = False) -> None:
        self.card = scorer.card
        self.settings = settings_of(scorer, passes, aligned=aligned)
        self._scorer, self._passes, self._aligned = scorer, passes, aligned
        if not aligned:
            open_detector(scorer.detector)  # what it lacks is said once, not of every photo

    def score(self, chunks: Iterable[list[str | Path]]) -> Iterator[list[ScoreRow]]:
        """Yield the rows of each chunk, in order."""
        return score_chunks(self._scorer, chunks, self._passes, aligned=self._aligned)


@dataclass
class Summary:
    """What came of a run: rows, and rows with an error."""

    rows: int = 0
    failed: int = 0

    def counted(self, row: dict[str, Any]) -> dict[str, Any]:
        """Count one more row, and return it."""
        self.rows += 1
        self.failed += bool(row.get("error"))
        return row


def score_dataset(
    runner: Runner,
    source: Folders | Table,
    out: Path,
    *,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Score a dataset into a table.

    Parameters
    ----------
    runner : Runner
        Who scores: a `LocalRunner`, or a `cluster.ClusterRunner`.
    source : Folders or Table
        Which images.
    out : Path
        ``.csv``, ``.parquet``, ``.arrow`` or ``.feather``. The columns are those of `ScoreRow`,
        behind the source's own. It appears when it is whole; until then the journal beside it holds
        what is done, and the next call with the same ``out`` goes on from there.
    fresh : bool
        Begin anew, whatever a journal holds.
    progress : callable, optional
        Called with the number of images that are done, and of all.

    Raises
    ------
    BadSetting
        The journal was begun with other settings or other images, or ``out`` is the source itself.
    BadTable, PackageMissing
        The table cannot be written, or what it needs is not installed.
    """
    if check_suffix(out) != ".csv":
        import_pandas()
    source.spare(out)
    say = progress or (lambda _done, _total: None)
    total = sum(1 for _ in source)
    with closing(Journal(out, runner.settings, fresh=fresh)) as journal:
        paths = iter(source)
        done = _pass_over(paths, journal)
        say(done, total)
        for rows in runner.score(chunked(paths)):
            journal.append([_compact(row) for row in rows])
            done += len(rows)
            say(done, total)
        summary = _write(journal, source, out)
        journal.remove()
    return summary


def _pass_over(paths: Iterator[str], journal: Journal) -> int:
    """Take the images that the journal has from the paths; they must be the same in order."""
    done = 0
    for rows in journal.chunks():
        for row in rows:
            path = next(paths, None)
            if path is None or plain_text(path) != row["path"]:
                raise BadSetting(
                    f"'{journal.path}' goes on with '{row['path']}' where now is '{path}': the "
                    "images have changed since that run. Start anew with --fresh."
                )
            done += 1
    return done


def _compact(row: ScoreRow) -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if value is not None}


def _write(journal: Journal, source: Folders | Table, out: Path) -> Summary:
    """Turn the journal into the table, which gets its name when all of it is on the disk."""
    summary = Summary()
    rows = (summary.counted(row) for chunk in journal.chunks() for row in chunk)
    writer = _write_csv if out.suffix.lower() == ".csv" else _write_arrow
    with replacing(out) as new:
        writer(new, source, rows)
    return summary


def _side_by_side(
    source: Folders | Table, rows: Iterator[dict[str, Any]]
) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """Yield blocks of the source's columns, None where it has none, with the rows beside them."""
    if isinstance(source, Table):
        for block in source.blocks():
            yield block, list(islice(rows, block.num_rows))
    else:
        while block := list(islice(rows, BLOCK)):
            yield None, block


def _write_csv(path: Path, source: Folders | Table, rows: Iterator[dict[str, Any]]) -> None:
    names = [*source.names, *(name for name in COLUMNS if name not in source.names)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for own, block in _side_by_side(source, rows):
            given = [{}] * len(block) if own is None else own.to_pylist()
            writer.writerows(row | more for row, more in zip(block, given, strict=True))


def _write_arrow(path: Path, source: Folders | Table, rows: Iterator[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    own_fields = list(source.schema) if isinstance(source, Table) else []
    schema = pa.schema([*own_fields, *(f for f in score_schema() if f.name not in source.names)])
    if path.suffix.lower() == ".parquet":
        opened = pyarrow.parquet.ParquetWriter(path, schema)
    else:
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        opened = pa.ipc.new_file(str(path), schema, options=options)
    with opened as writer:
        for own, block in _side_by_side(source, rows):
            scores = pa.RecordBatch.from_pylist(block, schema=score_schema())
            columns = {name: scores.column(name) for name in COLUMNS}
            if own is not None:
                columns |= dict(zip(own.schema.names, own.columns, strict=True))
            writer.write_batch(
                pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)
            )


def score_schema() -> Any:
    """Return the Arrow schema of `ScoreRow`."""
    import pyarrow as pa

    kinds = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    return pa.schema(
        [(field.name, kinds[str(field.type).partition(" ")[0]]) for field in fields(ScoreRow)]
    )


def score_table(
    table: pd.DataFrame | Paths,
    passes: int = 100,
    *,
    column: str = "path",
    aligned: bool = False,
    client: Any = None,
    progress: Progress | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Score the images of a data frame, a table, a folder or a list of paths.

    Parameters
    ----------
    table : pandas.DataFrame, path, or iterable of paths
        A frame keeps its index and columns; its paths count from the current folder. The path of a
        table or folder, and several paths, are taken as by ``serfiq score``.
    passes : int
        Dropout passes T, 2 to 2000.
    column : str
        Holds the paths.
    aligned : bool
        The images are aligned face crops: skip detection.
    client : distributed.Client, optional
        Score on the workers of its Dask cluster, which must see the files (see `cluster`).
    progress : callable, optional
        Called with the number of images that are done, and of all.
    **options
        As for `Scorer`: model, engine, device, seed ...

    Returns
    -------
    pandas.DataFrame
        The columns of `batch.ScoreRow`, one row per image in order, behind the frame's or table's
        own. A bad image has its ``error``.

    Raises
    ------
    BadTable, PackageMissing, SerfiqError
        The table cannot be used, pandas is missing, or as `Scorer`.

    Examples
    --------
    >>> from serfiq_widgets import score_table
    >>> frame = score_table("sample_images")
    >>> frame.loc[frame.quality.idxmax(), "path"]  # the best photo
    'sample_images/collins.jpg'
    """
    pandas = import_pandas()
    import pyarrow as pa

    frame, paths = _frame_and_paths(table, column)
    if client is None:
        runner: Runner = LocalRunner(Scorer(**options), passes, aligned=aligned)
    else:
        from serfiq_widgets.cluster import ClusterRunner

        runner = ClusterRunner(client, options, passes, aligned=aligned)
    blocks = []
    done = 0
    for rows in runner.score(chunked(paths)):
        blocks.append(pa.RecordBatch.from_pylist([vars(row) for row in rows], score_schema()))
        done += len(rows)
        if progress is not None:
            progress(done, len(paths))
    scores = pa.Table.from_batches(blocks, score_schema()).to_pandas()
    if frame is None:
        return scores
    new = scores.drop(columns=[name for name in COLUMNS if name in frame.columns])
    return pandas.concat([frame, new.set_index(frame.index)], axis=1)


def _frame_and_paths(
    table: pd.DataFrame | Paths, column: str
) -> tuple[pd.DataFrame | None, list[str]]:
    """Return the frame that is to be carried on, if there is one, and all paths."""
    pandas = import_pandas()
    folder = Path()
    if isinstance(table, str | Path) and Path(table).suffix.lower() in SUFFIXES:
        folder, table = Path(table).parent, read_table(table)
    if not isinstance(table, pandas.DataFrame):
        listed = [table] if isinstance(table, str | Path) else table
        return None, [str(path) for path in walk(listed)]
    frame: pd.DataFrame = table
    check_columns(frame.columns, column, "the table")
    paths = ["" if pandas.isna(path) else str(folder / str(path)) for path in frame[column]]
    return frame, paths
