"""The `serfiq score` command: images to the terminal, or a whole dataset to a table."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serfiq_widgets.atomic import write_text
from serfiq_widgets.cli.terminal import (
    DETECTOR,
    MODEL,
    counting,
    engine_options,
    new_table,
    render,
)
from serfiq_widgets.images.outputs import check_out

if TYPE_CHECKING:
    from serfiq_widgets.datasets.rows import ImageFile, ScoreRow
    from serfiq_widgets.datasets.score_table import Runner, Summary
    from serfiq_widgets.datasets.sources import Source
    from serfiq_widgets.scoring.results import Passes

FAILED = 1
SHOWN = {"quality": "quality", "\u00b1": "margin", "controlled": "controlled", "raw": "raw"}
# NumPy's matrix products are small here; waiting threads only take CPU time from others.
BLAS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
FILE = click.Path(path_type=Path, dir_okay=False)


def _passes(_context: click.Context, _option: click.Parameter, value: str) -> Passes:
    """Return a number of passes, or "auto"."""
    if value == "auto":
        return "auto"
    try:
        return int(value)
    except ValueError as error:
        raise click.BadParameter(f"'{value}' is neither a whole number nor auto.") from error


@click.command()
@click.argument("paths", nargs=-1, required=True)
@MODEL
@click.option(
    "--passes",
    default="100",
    show_default=True,
    callback=_passes,
    help="Dropout passes, 2 to 2000; auto: until the interval is within half a point.",
)
@engine_options
@click.option("--seed", default=0, show_default=True, help="Seed of the dropout masks.")
@click.option("--card", type=click.Path(path_type=Path), help="TOML card of your own network.")
@DETECTOR
@click.option("--aligned", is_flag=True, help="The images are aligned face crops: skip detection.")
@click.option("--limit", is_flag=True, help="Also show the closed form of infinitely many passes.")
@click.option(
    "--format",
    "form",
    default="table",
    show_default=True,
    type=click.Choice(["table", "csv", "json"]),
)
@click.option("--json", "form", flag_value="json", help="The same as --format json.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing on standard error.")
@click.option(
    "--out", type=FILE, help="Write to this file: .csv, .tsv, .parquet, .arrow, .json or .txt."
)
@click.option("--column", default="path", show_default=True, help="A table's column of paths.")
@click.option("--fresh", is_flag=True, help="With --out: restart an unfinished run.")
@click.option("--scheduler", help="Score on a Dask cluster: tcp://host:8786.")
def score(
    paths: tuple[str, ...],
    model: str,
    passes: Passes,
    engine: str,
    device: str,
    precision: str,
    seed: int,
    card: Path | None,
    detector: str,
    aligned: bool,
    limit: bool,
    form: str,
    quiet: bool,
    out: Path | None,
    column: str,
    fresh: bool,
    scheduler: str | None,
) -> None:
    """Score the faces in images, in folders, or in a table with one image per row.

    PATHS are images, folders, patterns such as 'faces/*.jpg', - for an image on standard input, or
    one table (.csv, .tsv, .parquet, .arrow, .feather) with a column of paths. A file that cannot be
    scored gives a row with an error, and the exit code is then 1. A table (--out with one of these
    suffixes) can have any number of images; if the run is interrupted, the same command continues.
    """
    for name in BLAS:  # before NumPy is imported
        os.environ.setdefault(name, "1")
    from serfiq_widgets.datasets.score_table import score_dataset
    from serfiq_widgets.datasets.sources import open_source
    from serfiq_widgets.datasets.tables import SUFFIXES
    from serfiq_widgets.scoring.results import check_passes_or_auto

    check_passes_or_auto(passes)
    source = open_source(paths, column)
    reads = chain(source.files(), (model, card))
    check_out(out, "--out", (*SUFFIXES, ".json", ".txt"), reads)
    if form == "table" and out is not None and out.suffix.lower() == ".json":
        form = "json"
    as_dataset = out is not None and out.suffix.lower() in SUFFIXES and form in ("table", "csv")
    if next(iter(source), None) is None:
        raise click.UsageError("There is no image in the given folders.")
    options = {"model": model, "engine": engine, "device": device, "seed": seed}
    options |= {"card": card, "detector": detector, "precision": precision}
    runner = _runner(scheduler, options, passes, aligned=aligned, quiet=quiet)
    with counting("scoring", hidden=quiet) as progress:
        if out is not None and as_dataset:
            summary = score_dataset(runner, source, out, fresh=fresh, progress=progress)
        else:
            rows = _all_rows(runner, list(source), progress)
            summary = _summary(rows)
    if not as_dataset:
        text = {"table": _as_table, "csv": _as_csv, "json": _as_json}[form](rows, limit)
        if out is None:
            click.echo(text, nl=False)
        else:
            write_text(out, text)
    if not quiet:
        for line in _what_came(runner, model, source, summary, out):
            click.echo(line, err=True)
    if summary.failed:
        sys.exit(FAILED)


def _what_came(
    runner: Runner,
    model: str,
    source: Source,
    summary: Summary,
    out: Path | None,
) -> Iterator[str]:
    """Yield the messages after the work."""
    from serfiq_widgets.images.files import describe_skipped
    from serfiq_widgets.models.cards import UNCALIBRATED

    if out is not None:
        yield f"{summary.rows} rows written to {out}"
    if summary.anew:
        yield f"{summary.anew} of them had changed since the first run and were scored again."
    if note := describe_skipped(source.skipped):
        yield note
    yield from (f"Note: {note}" for note in source.notes)
    card = runner.card
    if not card.calibrated and summary.rows > summary.failed:
        yield f"Note: {UNCALIBRATED.format(card.name, model)}"


def _runner(
    scheduler: str | None, options: dict[str, Any], passes: Passes, *, aligned: bool, quiet: bool
) -> Runner:
    """Return a runner: this process, or the workers of a Dask cluster."""
    from serfiq_widgets.cli.terminal import open_scorer, print_notes

    if scheduler is None:
        from serfiq_widgets.datasets.score_table import LocalRunner

        return LocalRunner(open_scorer(**options, quiet=quiet), passes, aligned=aligned)
    from serfiq_widgets.datasets.cluster_runner import ClusterRunner
    from serfiq_widgets.scoring.cluster import connect

    client = connect(scheduler)
    click.get_current_context().call_on_close(client.close)
    runner = ClusterRunner(client, options, passes, aligned=aligned)
    if not quiet:
        print_notes(runner.card)
    return runner


def _all_rows(
    runner: Runner, paths: list[ImageFile], progress: Callable[[int, int], None]
) -> list[ScoreRow]:
    from serfiq_widgets.faces.read_faces import chunked

    rows: list[ScoreRow] = []
    for chunk in runner.score(chunked(paths)):
        rows.extend(chunk)
        progress(len(rows), len(paths))
    return rows


def _summary(rows: Sequence[ScoreRow]) -> Summary:
    from serfiq_widgets.datasets.score_table import Summary

    summary = Summary()
    for row in rows:
        summary.counted(vars(row))
    return summary


def _columns(limit: bool) -> list[str]:
    from serfiq_widgets.datasets.sources import COLUMNS

    return [name for name in COLUMNS if limit or name != "limit"]


def _as_table(rows: Sequence[ScoreRow], limit: bool) -> str:
    from serfiq_widgets.scoring.results import shown_margin, shown_quality

    columns = SHOWN | {"faces": "faces"} | ({"limit": "limit"} if limit else {})
    names = list(columns)
    table = new_table("image", *names, right=names)
    for row in rows:
        if row.error:
            table.add_row(row.path, "-", *[""] * (len(names) - 1))
        else:
            shown = (_cell(getattr(row, columns[name])) for name in names[2:])
            table.add_row(row.path, shown_quality(row.quality), shown_margin(row.margin), *shown)
    failed = [row for row in rows if row.error]
    lines = "".join(f"\n{row.error}" for row in failed)
    return render(table) + (f"{lines.lstrip()}\n" if failed else "")


def _cell(value: float | None) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else str(value)


def _as_csv(rows: Sequence[ScoreRow], limit: bool) -> str:
    from serfiq_widgets.datasets.tables import no_formula

    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(limit), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) | {"path": no_formula(row.path)} for row in rows)
    return text.getvalue()


def _as_json(rows: Sequence[ScoreRow], limit: bool) -> str:
    names = _columns(limit)
    return (
        json.dumps([{name: getattr(row, name) for name in names} for row in rows], indent=1) + "\n"
    )
