"""What commands share: tables and bars for the terminal, and a scorer whose notes are said."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serfiq_widgets.errors import ModelWarning

if TYPE_CHECKING:
    from rich.table import Table

    from serfiq_widgets.scorer import Scorer
    from serfiq_widgets.zoo import Card

WIDTH_OF_A_FILE = 120


def new_table(*names: str, right: Sequence[str] = ()) -> Table:
    """Return an empty table with these columns; numbers stand to the right and never wrap."""
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
    """Return a table as text, as wide as the terminal, or 120 characters for a file."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def open_scorer(
    model: str,
    engine: str = "auto",
    device: str = "auto",
    seed: int = 0,
    card: Path | None = None,
    detector: str = "centerface",
) -> Scorer:
    """Open a scorer, and say on standard error what is to be known about its network."""
    from serfiq_widgets.scorer import Scorer

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ModelWarning)  # the notes say the same
        scorer = Scorer(model, engine, device, seed, card=card, detector=detector)
    say_notes(scorer.card)
    return scorer


def say_notes(card: Card) -> None:
    """Say on standard error what is to be known about a network."""
    for note in card.notes:
        click.echo(f"Note: {note}", err=True)


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal's standard error, nothing elsewhere: call it with done and total."""
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
        disable=not console.is_terminal,
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
