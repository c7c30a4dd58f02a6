"""Tables for the terminal."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

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
