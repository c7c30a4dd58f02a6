"""Shared functions of commands: tables and progress bars, scorers with notes, scores."""

from __future__ import annotations

import io
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serfiq_widgets.errors import BadTable, EngineUnavailable, ModelWarning, plain_text
from serfiq_widgets.images.outputs import check_out

if TYPE_CHECKING:
    from rich.table import Table

    from serfiq_widgets.evaluation.groups import ScoreTable
    from serfiq_widgets.models.cards import Card
    from serfiq_widgets.scoring.scorer import Scorer

WIDTH_OF_A_FILE = 120
PAGES = (".html", ".htm")
MAX_PAIRS = 10  # of equal files, reported individually


def new_table(*names: str, right: Sequence[str] = ()) -> Table:
    """Return an empty table with these columns; numbers are right-aligned and never wrap."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(
            name,
            justify="right" if name in right else "left",
            overflow="fold",
            no_wrap=name in right,
        )
    return table


def render(table: Table) -> str:
    """Return a table as text, as wide as the terminal, or 120 characters for a file.

    Cells are shown literally: brackets and colons in names are not markup.
    """
    from rich.console import Console

    console = Console(
        file=io.StringIO(),
        width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE,
        markup=False,
        emoji=False,
        highlight=False,
    )
    with console.capture() as capture:
        console.print(table)
    return capture.get()


MODEL = click.option(
    "--model",
    default="mini",
    show_default=True,
    envvar="SERFIQ_MODEL",
    show_envvar=True,
    help="Name or path of the network.",
)
DEVICE = click.option(
    "--device",
    default="auto",
    show_default=True,
    envvar="SERFIQ_DEVICE",
    show_envvar=True,
    help="auto, cpu, cuda, cuda:1 ..., mps.",
)
DETECTOR = click.option(
    "--detector", default="centerface", show_default=True, help="centerface, mtcnn or yunet."
)
PRECISION = click.option(
    "--precision",
    default="auto",
    type=click.Choice(["auto", "fp32", "tf32", "bf16", "fp16"]),
    help="auto (fp32), tf32, bf16 or fp16, where engine and device have it.",
)


def engine_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command --engine, --device and --precision."""
    words = "auto, onnxruntime, openvino, mxnet or torch."
    engine = click.option(
        "--engine",
        default="auto",
        show_default=True,
        envvar="SERFIQ_ENGINE",
        show_envvar=True,
        help=words,
    )
    return engine(DEVICE(PRECISION(command)))


def open_scorer(
    model: str,
    engine: str = "auto",
    device: str = "auto",
    seed: int = 0,
    card: Path | None = None,
    detector: str = "centerface",
    precision: str = "auto",
    *,
    quiet: bool = False,
) -> Scorer:
    """Open a scorer, and print notes about its network on standard error."""
    from serfiq_widgets.scoring.scorer import Scorer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)  # the notes say the same
        scorer = Scorer(
            model, engine, device, seed, card=card, detector=detector, precision=precision
        )
    if not quiet:
        print_notes(scorer.card)
    return scorer


def print_notes(card: Card) -> None:
    """Print notes about a network on standard error."""
    for note in card.notes:
        click.echo(f"Note: {note}", err=True)


@contextmanager
def counting(what: str, *, hidden: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar on standard error, if it is a terminal; call it with done and total.

    With ``hidden`` there is no bar.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class RateColumn(TextColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.1f} images/s")

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), RateColumn(""))
    console = Console(stderr=True)
    with Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=hidden or not console.is_terminal,
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def read_scores(
    source: Path,
    model: str = "mini",
    passes: int = 100,
    *,
    aligned: bool = False,
    sample: int | None = None,
) -> ScoreTable:
    """Read a table of scores, or score the images of a folder.

    Raises
    ------
    BadTable
        There is no image in the folder, or no table in the file.
    """
    from serfiq_widgets.datasets import tables
    from serfiq_widgets.datasets.score_files import score_files
    from serfiq_widgets.evaluation import groups
    from serfiq_widgets.images.files import drawn
    from serfiq_widgets.scoring.results import check_passes

    name = plain_text(source.resolve().name)
    if source.suffix.lower() == ".npz":
        return groups.load(source)
    if not source.is_dir():
        return groups.as_table(tables.read_table(source), name=name)
    check_passes(passes)
    images = drawn(images_of(source), sample)
    if not images:
        raise BadTable(f"There is no image in '{source}'.")
    scorer = open_scorer(model)
    rows = []
    with counting("scoring") as progress:
        for row in score_files(scorer, images, passes, aligned=aligned):
            rows.append(asdict(row))
            progress(len(rows), len(images))
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    return groups.as_table(columns, name=name)


def images_of(folder: Path) -> list[Path]:
    """Return a folder's images; report skipped and repeated files on standard error."""
    from serfiq_widgets.images.files import describe_skipped, find_images, same_in_two_folders

    skipped: Counter[str] = Counter()
    images = find_images([folder], skipped)
    if note := describe_skipped(skipped):
        click.echo(note, err=True)
    pairs = same_in_two_folders(images)
    for first, other in pairs[:MAX_PAIRS]:
        click.echo(
            f"Warning: '{other}' is the same file as '{first}'. Where each folder is a person, "
            "remove one.",
            err=True,
        )
    if len(pairs) > MAX_PAIRS:
        click.echo(f"Warning: and {len(pairs) - MAX_PAIRS} more such pairs.", err=True)
    return images


def check_page(
    path: Path | None, option: str = "--plot", sources: Iterable[str | Path | None] = ()
) -> None:
    """Refuse a page with figures that cannot be written, before the work; see `check_out`."""
    if path is None:
        return
    check_out(path, option, PAGES, sources)
    try:
        import plotly  # noqa: F401  # an optional package: checks that it is installed
    except ImportError as error:
        raise EngineUnavailable(
            "plotly is missing: pip install 'serfiq_widgets[widgets]'"
        ) from error
