"""The `serfiq best` command: the best photos of a folder, or of each person's folder in it."""

from __future__ import annotations

import json
import sys
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serfiq_widgets.cli.terminal import (
    DETECTOR,
    MODEL,
    counting,
    engine_options,
    images_of,
    new_table,
    open_scorer,
    render,
)

if TYPE_CHECKING:
    from serfiq_widgets.datasets.rows import ScoreRow

NONE_FOUND = 1


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "-n", "--number", default=1, show_default=True, type=click.IntRange(1), help="How many."
)
@click.option("--per-folder", is_flag=True, help="So many of each sub-folder: of each person.")
@MODEL
@click.option("--passes", default=100, show_default=True, help="Dropout passes, 2 to 2000.")
@engine_options
@DETECTOR
@click.option("--aligned", is_flag=True, help="The images are aligned face crops: skip detection.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing on standard error.")
def best(
    folder: Path,
    number: int,
    per_folder: bool,
    model: str,
    passes: int,
    engine: str,
    device: str,
    precision: str,
    detector: str,
    aligned: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Print the best photos of FOLDER, the best one first.

    For a folder of photos of one person, or of frames of a video. Of equal scores the first name
    comes first. What could not be scored is counted on standard error; the exit code is 1 if
    nothing could be.
    """
    from serfiq_widgets.datasets.score_files import score_files
    from serfiq_widgets.scoring.results import check_passes

    check_passes(passes)
    images = images_of(folder)
    if not images:
        raise click.UsageError(f"There is no image in '{folder}'.")
    scorer = open_scorer(model, engine, device, detector=detector, precision=precision, quiet=quiet)
    rows = []
    with counting("scoring", hidden=quiet) as progress:
        for row in score_files(scorer, images, passes, aligned=aligned):
            rows.append(row)
            progress(len(rows), len(images))
    scored = [row for row in rows if not row.error]
    found = _best(scored, number, per_folder=per_folder)
    click.echo(_as_json(found) if as_json else _as_table(found), nl=False)
    if len(scored) < len(rows) and not quiet:
        click.echo(f"{len(rows) - len(scored)} of {len(rows)} could not be scored.", err=True)
    if not scored:
        sys.exit(NONE_FOUND)


def _best(rows: list[ScoreRow], number: int, *, per_folder: bool) -> list[ScoreRow]:
    """Return the best rows, the best first; of each folder, in the order of their names."""
    if not per_folder:
        return sorted(rows, key=lambda row: (-_score(row), row.path))[:number]
    ordered = sorted(rows, key=lambda row: (_person(row), -_score(row), row.path))
    return [row for _, own in groupby(ordered, _person) for row in list(own)[:number]]


def _person(row: ScoreRow) -> str:
    return str(Path(row.path).parent)


def _score(row: ScoreRow) -> float:
    """Return the controlled score, or the raw one of a network without it."""
    score = row.raw if row.controlled is None else row.controlled
    return -1.0 if score is None else score


def _as_table(rows: list[ScoreRow]) -> str:
    from serfiq_widgets.scoring.results import shown_margin, shown_quality

    table = new_table("image", "quality", "\u00b1", right=["quality", "\u00b1"])
    for row in rows:
        table.add_row(row.path, shown_quality(row.quality), shown_margin(row.margin))
    return render(table)


def _as_json(rows: list[ScoreRow]) -> str:
    names = ("path", "quality", "margin", "controlled", "raw", "model", "passes", "seed")
    return json.dumps([{name: getattr(row, name) for name in names} for row in rows]) + "\n"
