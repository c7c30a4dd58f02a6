"""List what people may rely on: names, options, traits, environment variables, CSS classes.

One a line, sorted; `tests/public_names.txt` holds the list, and a test compares.

    .venv/bin/python tools/public_names.py > tests/public_names.txt
"""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import traitlets

import serfiq_widgets
from serfiq_widgets import evaluation
from serfiq_widgets.cli.main import main as command

PACKAGE = Path(serfiq_widgets.__file__).parent
TEXTS = {".py", ".js", ".css", ".j2"}


def options(group: click.Group) -> Iterator[str]:
    """Yield each subcommand's options and arguments, and those of its own subcommands."""

    def of(one: click.Command, name: str) -> Iterator[str]:
        for parameter in one.params:
            yield f"{name} {'/'.join((*parameter.opts, *parameter.secondary_opts))}"
        if isinstance(one, click.Group):
            for below in one.commands.values():
                yield from of(below, f"{name} {below.name}")

    yield from of(group, "serfiq")


def traits() -> Iterator[str]:
    """Yield the traits of the widgets' own classes, as far as they are public."""
    for name in serfiq_widgets.__all__:
        kind = getattr(serfiq_widgets, name)
        if isinstance(kind, type) and issubclass(kind, traitlets.HasTraits):
            own = {t for base in kind.__mro__ for t in vars(base) if "serfiq" in base.__module__}
            yield from (f"{name}.{t}" for t in own & set(kind.class_traits()) if t[0] != "_")


def written(pattern: str) -> set[str]:
    """Return what matches in the package's texts."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*"):
        if path.suffix in TEXTS:
            found.update(re.findall(pattern, path.read_text(encoding="utf-8")))
    return found


def public_names() -> list[str]:
    """Return all of them."""
    return sorted(
        {
            *(f"serfiq_widgets.{name}" for name in serfiq_widgets.__all__),
            *(f"serfiq_widgets.evaluation.{name}" for name in evaluation.__all__),
            *options(command),
            *traits(),
            *written(r"\bSERFIQ_[A-Z_]*[A-Z]\b"),
            *written(r"\bserfiq(?:-[a-z]+)+\b"),
        }
    )


if __name__ == "__main__":
    print("\n".join(public_names()))
