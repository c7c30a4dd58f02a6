"""The `serfiq models` commands: list the models, show one, download it, import its files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from serfiq_widgets.errors import DownloadFailed, NotWritten, UnknownModel

if TYPE_CHECKING:
    from serfiq_widgets.models.cards import Card
    from serfiq_widgets.models.download import Progress
    from serfiq_widgets.models.files import ModelFile

FAILED = 1
WIDTH, NARROW = 96, 79
EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
MEGA = 1e6

accept_licence = click.option(
    "--accept-licence", is_flag=True, help="Accept the licence without a question, for scripts."
)


@click.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List the named models; show, download or import one."""
    if context.invoked_subcommand is None:
        _list()


def _list() -> None:
    from serfiq_widgets.cli import terminal
    from serfiq_widgets.models import cards as zoo

    right = ("MB", "input", "embedding")
    table = terminal.new_table("name", "state", *right, "dropout", "licence", right=right)
    table.show_edge, table.padding = False, (0, 1, 0, 0)  # to fit into 80 columns
    for card in zoo.cards().values():
        recognises = card.kind == "recognition"
        table.add_row(
            card.name if recognises else f"{card.name} ({card.kind})",
            card.state,
            f"{card.bytes / MEGA:.1f}",
            f"{card.size}" if recognises else "any",
            f"{card.dimensions}" if recognises else "",
            _dropout(card) if recognises else "",
            card.terms,
        )
    click.echo(terminal.render(table), nl=False)
    click.echo("Sources:")
    for card in zoo.cards().values():
        click.echo(click.wrap_text(f"{card.name}: {card.origin}", NARROW, "  ", "    "))
    click.echo("Details: serfiq models show NAME. Download: serfiq models download NAME.")
    click.echo("Any other network: --model PATH of an MXNet checkpoint or an ONNX file.")


@models.command("list")
def list_() -> None:
    """List the named models, as `serfiq models` does."""
    _list()


def _dropout(card: Card) -> str:
    return f"{card.rate:g}" if card.trained_with_dropout else "without"


def _card(name: str) -> Card:
    from serfiq_widgets.models.cards import cards

    if name not in cards():
        raise UnknownModel(f"There is no model '{name}'. The names are {', '.join(cards())}.")
    return cards()[name]


@models.command()
@click.argument("name")
def show(name: str) -> None:
    """Show the whole card of a model."""
    from serfiq_widgets.scoring.network import own_stretch

    card = _card(name)
    lines = [("kind", card.kind), ("licence", card.licence), ("origin", card.origin)]
    lines.append(("figures", card.figures))
    if card.kind == "recognition":
        trained = "trained with it" if card.trained_with_dropout else "trained without dropout"
        lines += [
            ("network", f"input {card.size} x {card.size}, embedding {card.dimensions}"),
            ("stretch", f"alpha {card.alpha:g}, r {card.r:g} ({card.population})"),
            ("dropout", f"rate {card.rate:g}, {trained}" if card.rate else trained),
        ]
        if own := own_stretch(name):
            yours = replace(card, **own)
            text = f"alpha {yours.alpha:.6g}, r {yours.r:.6g} ({yours.population})"
            lines += [("yours", text), ("", f"delete it: serfiq calibrate {name} --forget")]
    if card.placing:
        lines.append(("placing", card.placing))
    click.echo(f"{click.style(card.name, bold=True)}  {card.title}")
    for label, text in [*lines, ("state", card.state)]:
        click.echo(click.wrap_text(f"{label:<8} {text}", WIDTH, "  ", " " * 11))
    click.echo(f"  folder   {card.folder}")
    for file in card.files:  # hashes and addresses must not be wrapped, for copying
        click.echo(f"  file     {file.name}, {file.bytes / MEGA:.1f} MB")
        click.echo(f"           sha256 {file.sha256}")
        if file.url:
            click.echo(f"           from {file.url}")


@models.command()
@click.argument("path")
@click.option("--card", type=click.Path(path_type=Path), help="TOML card to use and check.")
@click.option("--save", is_flag=True, help="Save the result as a card beside the file.")
def inspect(path: str, card: Path | None, save: bool) -> None:
    """Show what is detected about your own network, and what looks wrong."""
    from serfiq_widgets.cli.terminal import open_scorer
    from serfiq_widgets.scoring.network import card_to_write, save_card
    from serfiq_widgets.scoring.probe import describe

    if save:
        card_to_write(path)
    scorer = open_scorer(path, card=card)
    found, network = scorer.card, scorer.network
    trained = {True: "yes", False: "no", None: "not known"}[found.trained_with_dropout]
    lines = {
        "input": "{} x {}, {}".format(*network.input_size, describe(found.normalisation)),
        "embedding": f"{network.n_dimensions} dimensions",
        "dropout": f"rate {scorer.rate:g} at '{network.site}' ({network.n_features} features)",
        "trained": f"with dropout: {trained}",
        "stretch": f"alpha {found.alpha:g}, r {found.r:g} ({found.population})",
        "sha256": network.sha256,
    }
    click.echo(f"{click.style(found.name, bold=True)}  {found.title}")
    for label, text in lines.items():
        click.echo(f"  {label:<9} {text}")
    if save:
        pixels = {"colour": found.colour, "mean": found.mean, "scale": found.scale}
        written = save_card(path, size=found.size, rate=scorer.rate, **pixels)
        click.echo(f"Written to {written}")


@models.command()
@click.argument("name")
@accept_licence
def download(name: str, accept_licence: bool) -> None:
    """Download a model, or continue an interrupted download."""
    from serfiq_widgets.models.cards import BY_HAND
    from serfiq_widgets.models.download import download as fetch

    card = _card(name)
    if card.state == BY_HAND:
        _explain(card)
        sys.exit(FAILED)
    with _exit_on_failure():
        _accept(card, given=accept_licence)
        for file in card.files:
            if file.url:  # else it is bundled or imported
                with _bar(file) as progress:
                    fetch(file, card.folder, progress)
    _welcome(card)


@models.command("import")
@click.argument("name")
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=EXISTING)
@accept_licence
def import_(name: str, paths: tuple[Path, ...], accept_licence: bool) -> None:
    """Install a model's files that you already have."""
    from serfiq_widgets.models.files import import_file

    card = _card(name)
    if card.bundled:
        raise click.UsageError(f"'{name}' comes with serfiq_widgets; it needs no import.")
    pairs = [(file, _source(file, paths)) for file in card.files]
    with _exit_on_failure():
        _accept(card, given=accept_licence)
        for file, path in pairs:
            if not import_file(path, file, card.folder, exact=card.exact):
                click.echo(
                    f"Warning: '{path.name}' is not the published '{file.name}' (its sha256 is "
                    "different). It is imported; check yourself that it is the right file.",
                    err=True,
                )
    _welcome(card)


@contextmanager
def _exit_on_failure() -> Iterator[None]:
    """Report errors of the network or the disk with exit code 1, as the usage was correct."""
    try:
        yield
    except (DownloadFailed, NotWritten, OSError) as error:
        raise click.ClickException(str(error)) from error


def _source(file: ModelFile, paths: tuple[Path, ...]) -> Path:
    """Find the user's file for a model file: by suffix, or an archive with it."""
    endings = [Path(file.name).suffix, *([".zip"] if file.member else [])]
    found = [path for path in paths if path.suffix.lower() in endings]
    if len(found) != 1:
        raise click.UsageError(
            f"Name one file that ends in {' or '.join(endings)}, for '{file.name}'."
        )
    return found[0]


def _accept(card: Card, *, given: bool) -> None:
    """Show the licence, and ask once for one that is not free."""
    from serfiq_widgets.models import files

    if card.bundled or files.is_accepted(card.folder, card.licence):
        return
    click.echo(f"Licence of {card.name}: {card.licence}")
    if not card.noncommercial:
        return
    if not given:
        try:
            given = click.confirm("Do you accept it?", default=False)
        except click.Abort:  # there is no terminal
            click.echo()
    if not given:
        raise click.ClickException(
            "Its licence was not accepted, so nothing was done (for scripts: --accept-licence)."
        )
    files.accept(card.folder, card.licence)


def _explain(card: Card) -> None:
    click.echo(f"{card.name} cannot be downloaded from one address: import its files.")
    click.echo(click.wrap_text(card.placing, WIDTH))
    names = " ".join(file.name for file in card.files)
    click.echo(f"Then: serfiq models import {card.name} {names}")


def _welcome(card: Card) -> None:
    click.echo(f"{card.name} is {card.state}, in {card.folder}.")
    if card.kind == "recognition":
        click.echo(f"Use it: serfiq score IMAGE --model {card.name}")


@contextmanager
def _bar(file: ModelFile) -> Iterator[Progress]:
    """Show a progress bar on standard error, if it is a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(file.name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
