"""The `serfiq report` command: one page about the scores of a folder, to keep and to send."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from serfiq_widgets.errors import BadSetting, BadTable, PackageMissing
from serfiq_widgets.terminal import read_scores

if TYPE_CHECKING:
    from serfiq_widgets.bias_groups import ScoreTable

SOURCE = click.Path(exists=True, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.argument("source", type=SOURCE)
@click.option(
    "--out",
    default="report.html",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The page.",
)
@click.option("--images", default=0, type=click.IntRange(0, 50), help="Show as many faces.")
@click.option("--by", default="", help="Columns that say groups, with commas between.")
@click.option("--groups", type=FILE, help="A table that says the groups of each path.")
@click.option(
    "--threshold", default=50.0, show_default=True, help="Below it an image is discarded."
)
@click.option("--model", default="mini", show_default=True, help="Network, where SOURCE is images.")
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
    """Write one page about SOURCE, a folder that is scored or a table of scores; it opens offline.

    It holds a summary, the distribution of quality, and groups where --groups or the file names
    (as UTKFace's) say them. Faces are in it only with --images.
    """
    from serfiq_widgets import bias_groups

    _check_out(out)
    table = read_scores(source, model, passes, aligned=aligned)
    if groups is not None:
        table, _ = bias_groups.join(table, read_scores(groups))
        by = by or ",".join(name for name in read_scores(groups).columns if name != "path")
    table, names = _grouped(table, [name.strip() for name in by.split(",") if name.strip()])
    from serfiq_widgets.report import report_html

    page = report_html(table, by=names, threshold=threshold, images=images)
    out.write_text(page, encoding="utf-8")
    click.echo(f"The page is {out} ({out.stat().st_size / 1e6:.1f} MB).")


def _check_out(out: Path) -> None:
    """Say before the long work what would fail after it."""
    if out.suffix.lower() not in (".html", ".htm"):
        raise BadSetting(f"--out {out.name}: it is a page, so its name must end in .html.")
    if not out.absolute().parent.is_dir():
        raise BadSetting(f"--out {out}: there is no such folder.")
    try:
        import plotly  # noqa: F401  # an extra: only whether it is here
    except ImportError as error:
        raise PackageMissing("plotly is missing: pip install 'serfiq_widgets[widgets]'") from error


def _grouped(table: ScoreTable, by: list[str]) -> tuple[ScoreTable, list[str]]:
    """Add the groups that file names say, if they are wanted or there."""
    from serfiq_widgets import bias_groups

    if not by and "path" not in table.columns:
        return table, [name for name in bias_groups.ATTRIBUTES if name in table.columns]
    try:
        table, _ = bias_groups.with_groups(table, by)
    except BadTable:
        if by:
            raise
    return table, by or [name for name in bias_groups.ATTRIBUTES if name in table.columns]
