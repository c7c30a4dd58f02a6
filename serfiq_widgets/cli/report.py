"""The `serfiq report` command: one HTML page about the scores of a folder."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serfiq_widgets.atomic import write_text
from serfiq_widgets.cli.terminal import (
    MODEL,
    check_page,
    counting,
    images_of,
    open_scorer,
    read_scores,
)
from serfiq_widgets.errors import BadTable

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from serfiq_widgets.evaluation.groups import ScoreTable
    from serfiq_widgets.evaluation.measure import Measured

FMRS = (1e-3, 1e-2, 1e-1)  # the first with enough accepted impostors is used
MIN_PEOPLE, MIN_IMPOSTORS = 2, 10
SOURCE = click.Path(exists=True, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("source", type=SOURCE)
@click.option(
    "--out",
    default="report.html",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page to write.",
)
@click.option("--images", default=0, type=click.IntRange(0, 50), help="Number of faces to show.")
@click.option("--by", default="", help="Columns with groups, separated by commas.")
@click.option("--groups", type=FILE, help="A table with the groups of each path.")
@click.option("--threshold", default=50.0, show_default=True, help="Images below it are discarded.")
@MODEL
@click.option("--passes", default=100, show_default=True, help="Dropout passes, 2 to 2000.")
@click.option("--aligned", is_flag=True, help="The images are aligned face crops: skip detection.")
def report(
    source: Path,
    out: Path,
    images: int,
    by: str,
    groups: Path | None,
    threshold: float,
    model: str,
    passes: int,
    aligned: bool,
) -> None:
    """Write one offline page about SOURCE, a folder of images or a table of scores.

    It has a summary, the distribution of quality, groups if --groups or the file names (as in
    UTKFace) define them, and error versus discard if the sub-folders are people. It shows faces
    only with --images.
    """
    from serfiq_widgets.evaluation import groups as bias_groups
    from serfiq_widgets.scoring.results import check_passes

    check_page(out, "--out", [source, groups])
    check_passes(passes)
    curves: dict[str, tuple[str, go.Figure]] = {}
    if source.is_dir():
        table, curves = _from_folder(source, model, passes, aligned=aligned)
    else:
        table = read_scores(source)
    if groups is not None:
        table, _ = bias_groups.join(table, read_scores(groups))
        by = by or ",".join(name for name in read_scores(groups).columns if name != "path")
    table, names = _grouped(table, [name.strip() for name in by.split(",") if name.strip()])
    from serfiq_widgets.figures.report import report_html

    page = report_html(table, by=names, threshold=threshold, images=images, curves=curves)
    write_text(out, page)
    click.echo(f"The page is {out} ({out.stat().st_size / 1e6:.1f} MB).")


def _from_folder(
    folder: Path, model: str, passes: int, *, aligned: bool
) -> tuple[ScoreTable, dict[str, tuple[str, go.Figure]]]:
    """Score a folder; if its sub-folders are people, plot error versus discard."""
    import numpy as np

    from serfiq_widgets.evaluation import groups as bias_groups
    from serfiq_widgets.evaluation.measure import measure
    from serfiq_widgets.scoring.calibration import Stretch
    from serfiq_widgets.scoring.results import best_of

    scorer = open_scorer(model)
    images_of(folder)
    with counting("scoring") as progress:
        measured = measure(scorer, folder, passes, aligned=aligned, progress=progress)
    failed = len(measured.errors)
    raw = measured.qualities["serfiq"]
    none = np.full(len(raw), np.nan)
    controlled = measured.qualities.get("controlled", none)
    best = best_of(raw, controlled)
    numbers = {
        "quality": Stretch(scorer.card.alpha, scorer.card.r).qualities(best),
        "raw": raw,
        "controlled": controlled,
        "limit": measured.qualities.get("limit", none),
    }
    columns: dict[str, list[Any]] = {
        name: [*values.tolist(), *[math.nan] * failed] for name, values in numbers.items()
    }
    columns["path"] = [*(str(folder / name) for name in measured.names), *[""] * failed]
    columns["error"] = [*[""] * len(raw), *measured.errors]
    engine = scorer.engine
    same = {"model_sha256": scorer.network.sha256, "engine": engine.name, "device": engine.device}
    columns |= {name: [value] * len(columns["path"]) for name, value in same.items()}
    about = {name: measured.about[name] for name in ("model", "passes", "seed")}
    table = bias_groups.as_table(columns, name=measured.about["data"], **about)
    return table, _curves(measured)


def _curves(measured: Measured) -> dict[str, tuple[str, go.Figure]]:
    """Plot error versus discard and the comparison scores, if there are people to compare."""
    from serfiq_widgets.evaluation import evaluate
    from serfiq_widgets.figures.evaluation import evaluation_pictures

    images = Counter(measured.people)
    if sum(count > 1 for count in images.values()) < MIN_PEOPLE:
        return {}
    table = measured.table()
    impostors = table.comparisons.impostors
    fmr = next((fmr for fmr in FMRS if fmr * impostors >= MIN_IMPOSTORS), FMRS[-1])
    result = evaluate(table.with_baselines(fmr), fmr)
    return evaluation_pictures(result)


def _grouped(table: ScoreTable, by: list[str]) -> tuple[ScoreTable, list[str]]:
    """Add the groups in file names, if requested or found."""
    from serfiq_widgets.evaluation import groups as bias_groups

    if not by and "path" not in table.columns:
        return table, [name for name in bias_groups.ATTRIBUTES if name in table.columns]
    try:
        table, _ = bias_groups.with_groups(table, by)
    except BadTable:
        if by:
            raise
    return table, by or [name for name in bias_groups.ATTRIBUTES if name in table.columns]
