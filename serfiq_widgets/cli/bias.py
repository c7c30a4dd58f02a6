"""The `serfiq bias` command: differences of scores between groups, as tables or JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serfiq_widgets.cli.terminal import MODEL, new_table, read_scores, render
from serfiq_widgets.errors import BadSetting, BadTable
from serfiq_widgets.images.outputs import check_out

if TYPE_CHECKING:
    from serfiq_widgets.evaluation.bias import GroupedScores
    from serfiq_widgets.evaluation.groups import ScoreTable

SOURCE = click.Path(exists=True, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
MIDDLES = {"quality": 50.0, "scaled": 0.5}
NPZ = ".npz"
WIDTH = 100


@click.command()
@click.argument("source", type=SOURCE)
@click.option("--by", default="", help="Columns with groups, separated by commas.")
@click.option("--column", default="quality", show_default=True, help="The score to compare.")
@click.option("--threshold", type=float, help="Images below it are discarded; 50 for quality.")
@click.option("--discard", type=click.FloatRange(0, 1), help="Or the share to discard.")
@click.option("--groups", type=FILE, help="A table with the groups of each path.")
@click.option("--edges", multiple=True, help="Bins of a numeric column: age=0,18,40,60")
@click.option("--genuine", is_flag=True, help="Rows are genuine pairs: rates are FNMR.")
@MODEL
@click.option("--passes", default=100, show_default=True, help="Dropout passes, 2 to 2000.")
@click.option("--aligned", is_flag=True, help="The images are aligned face crops: skip detection.")
@click.option("--sample", type=click.IntRange(1), help="Number of images, a fixed sample.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON record.")
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write groups and scores, without names, to this .npz file.",
)
def bias(
    source: Path,
    by: str,
    column: str,
    threshold: float | None,
    discard: float | None,
    groups: Path | None,
    edges: tuple[str, ...],
    genuine: bool,
    model: str,
    passes: int,
    aligned: bool,
    sample: int | None,
    as_json: bool,
    save: Path | None,
) -> None:
    """Compare the scores of groups in SOURCE, a table of scores or a folder of images.

    Groups are columns of the table, or come from --groups; the file names of UTKFace
    (age_gender_ethnicity_date) are understood. Ages are binned into decades.
    """
    from serfiq_widgets.evaluation import groups as bias_groups

    check_out(save, "--save", [NPZ], [source, groups])
    if threshold is not None and discard is not None:
        raise BadSetting("Give one of --threshold and --discard.")
    bins = _edges(edges)
    table = read_scores(source, model, passes, aligned=aligned, sample=sample)
    if groups is not None:
        table, alone = bias_groups.join(table, read_scores(groups))
        if alone:
            click.echo(f"Note: {alone} of {len(table)} images are not in {groups.name}.", err=True)
    wanted = [name.strip() for name in by.split(",") if name.strip()]
    if genuine and "genuine" in table.columns:
        table = table.only(table.numbers("genuine") > 0)
    table, malformed = bias_groups.with_groups(table, wanted)
    wanted = wanted or [name for name in bias_groups.ATTRIBUTES if name in table.columns]
    if malformed:
        click.echo(
            f"Note: {len(malformed)} of {len(table)} file names are not "
            f"age_gender_ethnicity_date, such as '{malformed[0]}'.",
            err=True,
        )
    scores = table.numbers(column)
    at = _threshold(column, threshold, discard, scores)
    found = {name: _grouped(table, column, name, bins.get(name)) for name in wanted}
    if save is not None:
        bias_groups.save(table, save, wanted)
        click.echo(f"Groups and scores are written to {save}", err=True)
    if as_json:
        click.echo(json.dumps(_record(table, column, at, found, len(malformed)), indent=1))
        return
    click.echo(_head(table, column))
    what = "FNMR" if genuine else "below"
    for name, grouped in found.items():
        click.echo(f"\n{render(_table(name, grouped, at, what))}{_foot(grouped)}")
    click.echo(click.wrap_text(bias_groups.CAUTION, WIDTH))


def _edges(options: Sequence[str]) -> dict[str, list[float]]:
    """Read ``age=0,18,40``."""
    found = {}
    for option in options:
        name, _, numbers = option.partition("=")
        try:
            found[name] = [float(number) for number in numbers.split(",")]
        except ValueError as error:
            raise BadSetting(f"--edges {option}: write it like age=0,18,40,60") from error
    return found


def _threshold(column: str, given: float | None, discard: float | None, scores: Any) -> float:
    """Return the given threshold, that of a discarded share, or the median of the column."""
    import numpy as np

    if given is not None:
        return given
    if not np.isfinite(scores).any():
        raise BadTable(f"The column '{column}' has no score.")
    if discard is not None:
        return float(np.nanquantile(scores, discard, method="higher"))
    return MIDDLES.get(column, float(np.nanmedian(scores)))


def _grouped(
    table: ScoreTable, column: str, name: str, edges: Sequence[float] | None
) -> GroupedScores:
    from serfiq_widgets.evaluation import bias
    from serfiq_widgets.evaluation import groups as bias_groups

    return bias.group_scores(table.numbers(column), bias_groups.labels(table, name, edges))


def _head(table: ScoreTable, column: str) -> str:
    about = table.about
    known = [f"{len(table):,} images of {about.get('name', 'a table')}", f"score: {column}"]
    known += [f"{word} {about[key]}" for key, word in _WORDS.items() if key in about]
    return ", ".join(known)


_WORDS = {"model": "model", "passes": "T", "seed": "seed"}


def _table(name: str, grouped: GroupedScores, threshold: float, what: str) -> Any:
    at = f"{what} {threshold:.4g}"
    names = ("n", "median", at, "95 % interval", "share", "kept", "delta", "KS", "p (Holm)")
    table = new_table(name, *names, right=names)
    for row in grouped.rows(threshold):
        table.add_row(*row.texts())
    return table


def _foot(grouped: GroupedScores) -> str:
    from serfiq_widgets.evaluation.bias import SMALL

    lines = []
    if grouped.small.any():
        lines.append(f"* fewer than {SMALL} images: their results may be due to chance.")
    if grouped.left_out:
        lines.append(f"Left out: {grouped.left_out:,} images without a score or a group.")
    return "".join(f"{line}\n" for line in lines)


def _record(
    table: ScoreTable,
    column: str,
    threshold: float,
    found: dict[str, GroupedScores],
    malformed: int,
) -> dict[str, Any]:
    """Return the record of `--json`; missing values are null."""
    return {
        **table.about,
        "images": len(table),
        "malformed_names": malformed,
        "column": column,
        "threshold": threshold,
        "correction": "Holm, over the groups of one attribute",
        "left_out": {name: grouped.left_out for name, grouped in found.items()},
        "groups": {
            name: [_known(asdict(row)) for row in grouped.rows(threshold)]
            for name, grouped in found.items()
        },
    }


def _known(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and math.isnan(value) else value
        for key, value in row.items()
    }
