"""`serfiq benchmark`: how fast this machine is, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from serfiq_widgets.cli.terminal import DEVICE, PRECISION, new_table, render

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
@PRECISION
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
def benchmark(
    models: tuple[str, ...],
    engines: tuple[str, ...],
    device: str,
    precision: str,
    passes: int,
    batches: tuple[int, ...],
    rounds: int,
    seconds: float,
    as_json: bool,
) -> None:
    """Time scores, plain embeddings and the reference method on this machine.

    All times are milliseconds per image, medians of interleaved rounds.
    """
    from serfiq_widgets.cli.timings import measure_all
    from serfiq_widgets.scoring.results import check_passes

    check_passes(passes)
    settings = {
        "precision": precision,
        "passes": passes,
        "rounds": rounds,
        "seconds": seconds,
    }
    records = []
    for record in measure_all(models, engines, device, batches, **settings):
        records.append(record)
        if as_json:
            click.echo(json.dumps(record))
    if not as_json:
        click.echo(render(_benchmark_table(records)), nl=False)


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
