"""The `serfiq` command: demo, score, doctor; the other commands stand in rooms of their own."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serfiq_widgets import __version__
from serfiq_widgets.cli_benchmark import benchmark
from serfiq_widgets.cli_bias import bias
from serfiq_widgets.cli_calibrate import calibrate
from serfiq_widgets.cli_demo import demo
from serfiq_widgets.cli_evaluate import evaluate
from serfiq_widgets.cli_models import models
from serfiq_widgets.cli_on_top import embed, score_embeddings, train_on_top
from serfiq_widgets.cli_report import report
from serfiq_widgets.errors import SerfiqError
from serfiq_widgets.terminal import new_table, render

if TYPE_CHECKING:
    from serfiq_widgets.batch import ScoreRow
    from serfiq_widgets.zoo import Card

FAILED, WRONG_USAGE = 1, 2
TABLE_COLUMNS = ("quality", "raw", "low", "high", "faces")
ENOUGH_TO_JUDGE, NEARLY_ALL = 5, 0.9  # of the scored faces, to say that quality tells nothing


class KindGroup(click.Group):
    """Turns the library's errors into one line and exit code 2, as for wrong usage."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except SerfiqError as error:
            raise click.UsageError(str(error)) from error


@click.group(cls=KindGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="serfiq")
def main() -> None:
    """Face image quality by stochastic embedding robustness (SER-FIQ)."""


main.add_command(models)
for command in (
    benchmark,
    bias,
    calibrate,
    demo,
    embed,
    evaluate,
    report,
    score_embeddings,
    train_on_top,
):
    main.add_command(command)


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--model", default="mini", show_default=True, help="Name or path of the network.")
@click.option("--passes", default=100, show_default=True, help="Dropout passes, 2 to 2000.")
@click.option("--engine", default="auto", show_default=True, help="auto, onnxruntime or mxnet.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 ...")
@click.option("--seed", default=0, show_default=True, help="Seed of the dropout masks.")
@click.option("--card", type=click.Path(path_type=Path), help="TOML card of an own network.")
@click.option(
    "--detector", default="centerface", show_default=True, help="centerface, mtcnn or yunet."
)
@click.option("--aligned", is_flag=True, help="The images are aligned face crops: skip detection.")
@click.option("--limit", is_flag=True, help="Also show the exact score of infinitely many passes.")
@click.option(
    "--format",
    "form",
    default="table",
    show_default=True,
    type=click.Choice(["table", "csv", "json"]),
)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="Write to this file.")
def score(
    paths: tuple[Path, ...],
    model: str,
    passes: int,
    engine: str,
    device: str,
    seed: int,
    card: Path | None,
    detector: str,
    aligned: bool,
    limit: bool,
    form: str,
    out: Path | None,
) -> None:
    """Score the faces in images; folders are walked.

    A file that cannot be scored is a row with its error, and the exit code is then 1.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from serfiq_widgets.batch import find_images, score_files
    from serfiq_widgets.results import check_passes
    from serfiq_widgets.terminal import open_scorer

    check_passes(passes)
    images = find_images(paths)
    if not images:
        raise click.UsageError("There is no JPEG, PNG or WebP image in the given folders.")
    scorer = open_scorer(model, engine, device, seed, card, detector)
    stderr = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        rows = list(
            bar.track(
                score_files(scorer, images, passes, aligned=aligned),
                total=len(images),
                description="scoring",
            )
        )
    text = {"table": _as_table, "csv": _as_csv, "json": _as_json}[form](rows, limit)
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        click.echo(f"{len(rows)} rows written to {out}", err=True)
    _hint_at_calibration(scorer.card, model, [row.quality for row in rows if not row.error])
    if any(row.error for row in rows):
        sys.exit(FAILED)


def _hint_at_calibration(card: Card, model: str, qualities: Sequence[int | None]) -> None:
    """Name the cure where a network without a calibration puts (nearly) all faces at an end."""
    at_an_end = sum(quality in (0, 100) for quality in qualities)
    if (
        not card.calibrated
        and len(qualities) >= ENOUGH_TO_JUDGE
        and at_an_end >= NEARLY_ALL * len(qualities)
    ):
        click.echo(
            f"Hint: {at_an_end} of {len(qualities)} qualities are 0 or 100, for alpha and r are "
            f"not those of this network. Fit them: serfiq calibrate {model} FOLDER",
            err=True,
        )


def _columns(limit: bool) -> list[str]:
    return [f.name for f in fields(_row_type()) if limit or f.name != "limit"]


def _row_type() -> type[ScoreRow]:
    from serfiq_widgets.batch import ScoreRow

    return ScoreRow


def _as_table(rows: Sequence[ScoreRow], limit: bool) -> str:
    names = [*TABLE_COLUMNS, *(["limit"] if limit else [])]
    table = new_table("image", *names, right=names)
    for row in rows:
        if row.error:
            table.add_row(row.path, "[red]-[/]", *[""] * (len(names) - 1))
        else:
            table.add_row(row.path, *(_cell(getattr(row, name)) for name in names))
    failed = [row for row in rows if row.error]
    lines = "".join(f"\n{row.error}" for row in failed)
    return render(table) + (f"{lines.lstrip()}\n" if failed else "")


def _cell(value: float | None) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "" if value is None else str(value)


def _as_csv(rows: Sequence[ScoreRow], limit: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(limit), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def _as_json(rows: Sequence[ScoreRow], limit: bool) -> str:
    names = _columns(limit)
    return (
        json.dumps([{name: getattr(row, name) for name in names} for row in rows], indent=1) + "\n"
    )


@main.command()
def doctor() -> None:
    """Say what works on this machine, what is missing, and how to install it."""
    from rich.markup import escape

    from serfiq_widgets.doctor import diagnose

    table = new_table("what", "version", "state")
    checks = list(diagnose())
    for check in checks:
        mark = "[green]ok[/]" if check.works else "[yellow]missing[/]"
        table.add_row(check.what, check.version, f"{mark} {escape(check.remark)}")
    click.echo(render(table), nl=False)
    if not all(check.works for check in checks if check.needed):
        sys.exit(FAILED)


if __name__ == "__main__":
    main()
