"""Scoring of datasets, from folders or a table to a table of scores; runs can be resumed.

Images are processed in a fixed order and in chunks. The rows of every chunk go to a journal
(`journal`). A repeated run compares the journal with its images, in order, scores images again
whose file has changed, and continues with the next image. When all rows are complete, the journal
is converted to the table, block by block, under a temporary name that is changed at the end. So
memory does not grow with the number of images.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from serfiq_widgets.atomic import replacing
from serfiq_widgets.datasets.journal import Journal
from serfiq_widgets.datasets.rows import ImageFile, ScoreRow, score_schema
from serfiq_widgets.datasets.score_files import digest_of, row_chunks, settings_of
from serfiq_widgets.datasets.sources import (
    BLOCK,
    COLUMNS,
    TAKEN,
    Source,
    TableSource,
    check_columns,
    is_table,
    located,
    open_source,
)
from serfiq_widgets.datasets.tables import (
    TEXTS,
    check_suffix,
    import_pandas,
    no_formula,
    own_names,
    read_table,
)
from serfiq_widgets.errors import BadSetting, plain_text
from serfiq_widgets.faces.detectors import open_detector
from serfiq_widgets.faces.read_faces import chunked
from serfiq_widgets.images.outputs import check_out
from serfiq_widgets.scoring.results import Passes
from serfiq_widgets.scoring.score_images import Progress
from serfiq_widgets.scoring.scorer import Scorer

if TYPE_CHECKING:
    import pandas as pd

    from serfiq_widgets.models.cards import Card

    Paths = str | Path | Iterable[str | Path]


class Runner(Protocol):
    """Scores chunks of files, in this process or on other machines.

    ``settings`` are common to all rows; ``card`` describes the network.
    """

    settings: dict[str, Any]
    card: Card

    def score(self, chunks: Iterable[list[ImageFile]]) -> Iterator[list[ScoreRow]]:
        """Yield the rows of each chunk, in order."""
        ...


class LocalRunner:
    """Scores in this process; takes the parameters of `score_files`."""

    def __init__(self, scorer: Scorer, passes: Passes = 100, *, aligned: bool = False) -> None:
        self.card = scorer.card
        self.settings = settings_of(scorer, passes, aligned=aligned)
        self._scorer, self._passes, self._aligned = scorer, passes, aligned
        if not aligned:
            open_detector(scorer.detector)  # report missing files once, not for every photo

    def score(self, chunks: Iterable[list[ImageFile]]) -> Iterator[list[ScoreRow]]:
        """Yield the rows of each chunk, in order."""
        return row_chunks(self._scorer, chunks, self._passes, aligned=self._aligned)


@dataclass
class Summary:
    """Result of a run: rows, rows with an error, and images whose file had changed."""

    rows: int = 0
    failed: int = 0
    anew: int = 0

    def counted(self, row: dict[str, Any]) -> dict[str, Any]:
        """Count a row, and return it."""
        self.rows += 1
        self.failed += bool(row.get("error"))
        return row


def score_dataset(
    runner: Runner,
    source: Source,
    out: Path,
    *,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Summary:
    """Score a dataset into a table.

    Parameters
    ----------
    runner : Runner
        A `LocalRunner`, or a `datasets.cluster_runner.ClusterRunner`.
    source : Source
        The images.
    out : Path
        ``.csv``, ``.tsv``, ``.parquet``, ``.arrow`` or ``.feather``. The columns are those of
        `ScoreRow`, after the source's own. The file appears when it is complete; until then the
        journal has the finished rows, and the next call with the same ``out`` continues there.
    fresh : bool
        Start again, and ignore an existing journal.
    progress : callable, optional
        Called with the number of finished images and of all images.

    Raises
    ------
    BadSetting
        The journal has other settings or other images, ``out`` is an input, or its folder cannot be
        written.
    BadTable, PackageMissing
        The table cannot be written, or a package for it is not installed.
    """
    if check_suffix(out) not in TEXTS:
        import_pandas()
    check_out(out, sources=source.files())
    say = progress or (lambda _done, _total: None)
    total = sum(1 for _ in source)
    with closing(Journal(out, runner.settings, fresh=fresh)) as journal:
        paths = iter(source)
        done, replaced = _pass_over(paths, journal)
        say(done, total)
        _score_anew(runner, replaced, journal)
        for rows in runner.score(chunked(paths)):
            journal.append([_compact(row) for row in rows])
            done += len(rows)
            say(done, total)
        summary = _write(journal, source, out)
        summary.anew = len(replaced)
        journal.remove()
    return summary


def _pass_over(
    paths: Iterator[ImageFile], journal: Journal
) -> tuple[int, list[tuple[int, ImageFile]]]:
    """Skip the images in the journal; they must be the same as the paths, in order.

    Return their number, and the index and path of each image whose file has changed.
    """
    done, replaced = 0, []
    for rows in journal.chunks():
        for row in rows:
            path = next(paths, None)
            if path is None or plain_text(path) != row["path"]:
                raise BadSetting(
                    f"'{journal.path}' continues with '{row['path']}', but now '{path}' is there: "
                    "the images have changed since that run. Start again with --fresh."
                )
            if digest_of(path) != row.get("sha256"):
                replaced.append((done, path))
            done += 1
    return done, replaced


def _score_anew(runner: Runner, replaced: list[tuple[int, ImageFile]], journal: Journal) -> None:
    numbers = (number for number, _ in replaced)
    for rows in runner.score(chunked(path for _, path in replaced)):
        journal.replace({next(numbers): _compact(row) for row in rows})


def _compact(row: ScoreRow) -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if value is not None}


def _write(journal: Journal, source: Source, out: Path) -> Summary:
    """Convert the journal to the table, which gets its name when it is completely on disk."""
    summary = Summary()
    rows = (summary.counted(row) for chunk in journal.chunks() for row in chunk)
    writer = _write_text if out.suffix.lower() in TEXTS else _write_arrow
    with replacing(out) as new:
        writer(new, source, rows)
    return summary


def _side_by_side(
    source: Source, rows: Iterator[dict[str, Any]]
) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """Yield blocks of the source's columns (None if it has none) and of the rows."""
    if isinstance(source, TableSource):
        for block in source.blocks():
            yield block, list(islice(rows, block.num_rows))
    else:
        while block := list(islice(rows, BLOCK)):
            yield None, block


def _write_text(path: Path, source: Source, rows: Iterator[dict[str, Any]]) -> None:
    names = [*source.names, *(name for name in COLUMNS if name not in source.names)]
    mark = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, delimiter=mark, lineterminator="\n")
        writer.writeheader()
        for own, block in _side_by_side(source, rows):
            given = [{}] * len(block) if own is None else own.to_pylist()
            for row, more in zip(block, given, strict=True):
                writer.writerow(row | {"path": no_formula(row["path"])} | more)


def _write_arrow(path: Path, source: Source, rows: Iterator[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    own_fields = list(source.schema) if isinstance(source, TableSource) else []
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


def score_table(
    table: pd.DataFrame | Paths,
    passes: Passes = 100,
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
        A frame keeps its index and columns; columns that scores have, too, become ``own_...``.
        Paths in a frame are relative to the current folder. The path of a table or folder, or
        several paths, are read as by ``serfiq score``.
    passes : int or "auto"
        Dropout passes T, 2 to 2000; "auto": until the interval of each quality is within half a
        quality point.
    column : str
        The column of paths; instead of ``path``, also ``file``, ``filename`` or ``image``.
    aligned : bool
        The images are aligned face crops: skip detection.
    client : distributed.Client, optional
        Score on the workers of its Dask cluster, which must have access to the files (see
        `datasets.cluster_runner`).
    progress : callable, optional
        Called with the number of finished images and of all images.
    **options
        As in `Scorer`: model, engine, device, seed ...

    Returns
    -------
    pandas.DataFrame
        The columns of `datasets.rows.ScoreRow`, one row per image in order, after the frame's or
        table's own columns. A bad image has an ``error``.

    Raises
    ------
    BadTable, PackageMissing, SerfiqError
        The table cannot be used, pandas is missing, or as in `Scorer`.

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
        from serfiq_widgets.datasets.cluster_runner import ClusterRunner

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
) -> tuple[pd.DataFrame | None, list[ImageFile]]:
    """Return the frame whose columns are kept, if there is one, and all paths."""
    pandas = import_pandas()
    folder, name = Path(), "the table"
    if is_table(table):
        file = Path(str(table)).expanduser()
        folder, name, table = file.parent, file.name, read_table(file)
    if not isinstance(table, pandas.DataFrame):
        listed = [table] if isinstance(table, str | Path) else table
        return None, list(open_source(listed))
    given: pd.DataFrame = table
    found = check_columns(given.columns, column, name)
    values = given[found]
    paths: list[ImageFile] = [
        "" if pandas.isna(value) else located(value, folder) for value in values
    ]
    return given.set_axis(own_names(list(given.columns), TAKEN), axis="columns"), paths
