"""`serfiq benchmark`: how fast this machine is, as a table, JSON or picture; what to change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serfiq_widgets.cli.terminal import DEVICE, check_page, new_table, render
from serfiq_widgets.engines import PRECISIONS

if TYPE_CHECKING:
    from rich.table import Table

HEADING = (
    "model",
    "engine",
    "device",
    "precision",
    "passes",
    "batch",
)  # first columns of a record
NEW = click.Path(dir_okay=False, path_type=Path)
HUNDRED = 100  # from here on, no decimals


@click.command()
@click.option(
    "--model",
    "models",
    default=["mini"],
    show_default=True,
    multiple=True,
    help="Name or path of a network; may be given several times.",
)
@click.option(
    "--engine",
    "engines",
    default=["auto"],
    show_default=True,
    multiple=True,
    help="An engine, or all that work here; may be given several times.",
)
@DEVICE
@click.option(
    "--precision",
    "precisions",
    default=["auto"],
    show_default=True,
    multiple=True,
    type=click.Choice(["auto", *PRECISIONS]),
    help="auto (fp32), tf32, bf16 or fp16; may be given several times.",
)
@click.option("--passes", default=100, show_default=True, help="Dropout passes of the score.")
@click.option(
    "--batch",
    "batches",
    default=[1, 16],
    show_default=True,
    multiple=True,
    type=click.IntRange(1, 1024),
    help="Faces per batch; may be given several times.",
)
@click.option("--rounds", default=60, show_default=True, help="Interleaved rounds at most.")
@click.option(
    "--seconds",
    default=10.0,
    show_default=True,
    help="Approximate seconds per batch, and for the reference method.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON record per line.")
@click.option("--plot", type=NEW, help="Plot the times in this .html page.")
def benchmark(
    models: tuple[str, ...],
    engines: tuple[str, ...],
    device: str,
    precisions: tuple[str, ...],
    passes: int,
    batches: tuple[int, ...],
    rounds: int,
    seconds: float,
    as_json: bool,
    plot: Path | None,
) -> None:
    """Time scores, plain embeddings and the reference method, and say what would be faster.

    All times are milliseconds per image, medians of interleaved rounds. --engine all skips the
    engines that cannot run a network or a precision.
    """
    from serfiq_widgets.cli.advice import advice, this_machine
    from serfiq_widgets.cli.timings import measure_all
    from serfiq_widgets.scoring.results import check_passes

    check_passes(passes)
    check_page(plot)
    settings = {"passes": passes, "rounds": rounds, "seconds": seconds}
    records = []
    for record in measure_all(models, engines, device, batches, precisions, **settings):
        records.append(record)
        if as_json:
            click.echo(json.dumps(record))
    lines = advice(records, this_machine())
    if plot is not None:
        _draw(records, lines, plot)
    if not as_json:
        click.echo(render(_benchmark_table(records)), nl=False)
    click.echo("\n".join(lines), err=as_json)


def _draw(records: Sequence[dict[str, Any]], lines: Sequence[str], path: Path) -> None:
    from serfiq_widgets.atomic import write_text
    from serfiq_widgets.figures.timings import timings_html

    write_text(path, timings_html(records, lines))
    click.echo(f"The times are plotted in {path}", err=True)


def _benchmark_table(records: Sequence[dict[str, Any]]) -> Table:
    """Return a table with one column per record, one line per measure."""
    heads = [
        "{model}\n{engine}\n{device} {precision}\n\u00d7{batch}".format(**record)
        for record in records
    ]
    table = new_table("ms per image", *heads, right=heads)
    for name in list(records[0])[len(HEADING) :]:
        table.add_row(name, *(_figure(record[name]) for record in records))
    return table


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= HUNDRED else f"{value:.3g}"
