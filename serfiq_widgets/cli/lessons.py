"""`serfiq lessons`: the notebooks of the lessons, to work with."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import click

from serfiq_widgets.atomic import not_written, write_bytes
from serfiq_widgets.resources import folder

PATTERN = "0*.ipynb"


class Copy(NamedTuple):
    """A notebook in the folder, and what was done: "copied", "replaced", "the same" or "kept"."""

    path: Path
    state: str


def copy_lessons(directory: str | Path, *, replace: bool = False) -> list[Copy]:
    """Copy the lessons and the instructor guide into a folder, which is created if necessary.

    A notebook there that has another content, such as answers, is kept.

    Parameters
    ----------
    directory : str or Path
        The folder.
    replace : bool
        Replace such notebooks, too.

    Returns
    -------
    list of Copy
        One for each notebook, in the order of the lessons.

    Raises
    ------
    NotWritten
        The folder or a file in it cannot be written.
    """
    target = Path(directory)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(target, error) from error
    copies = []
    for source in sorted(folder("notebooks").glob(PATTERN)):
        content, path = source.read_bytes(), target / source.name
        state = _state(path, content, replace=replace)
        if state in {"copied", "replaced"}:
            write_bytes(path, content)
        copies.append(Copy(path, state))
    return copies


def _state(path: Path, content: bytes, *, replace: bool) -> str:
    if not path.exists():
        return "copied"
    if path.is_file() and path.read_bytes() == content:
        return "the same"
    return "replaced" if replace else "kept"


@click.group()
def lessons() -> None:
    """The lessons' notebooks, to work with in JupyterLab."""


@lessons.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Replace notebooks in DIR that were changed.")
def copy(*, directory: Path, replace: bool) -> None:
    """Copy the six lessons and the instructor guide into DIR, which is created if necessary.

    A notebook that is there and was changed is kept, because it may have your answers; --replace
    replaces it.
    """
    copies = copy_lessons(directory, replace=replace)
    for path, state in copies:
        click.echo(f"{state:9}{path}")
    if any(state == "kept" for _, state in copies):
        click.echo("Kept what was changed; --replace replaces it.")
    click.echo(f"Open them with: jupyter lab {directory}")
