"""The `serfiq` command and its subcommand doctor; the others have their own modules."""

from __future__ import annotations

import io
import sys
from typing import Any

import click
from click.shell_completion import get_completion_class

from serfiq_widgets._version import __version__
from serfiq_widgets.cli.benchmark import benchmark
from serfiq_widgets.cli.best import best
from serfiq_widgets.cli.bias import bias
from serfiq_widgets.cli.calibrate import calibrate
from serfiq_widgets.cli.demo import demo
from serfiq_widgets.cli.evaluate import evaluate
from serfiq_widgets.cli.lessons import lessons
from serfiq_widgets.cli.models import models
from serfiq_widgets.cli.on_top import embed, score_embeddings, train_on_top
from serfiq_widgets.cli.report import report
from serfiq_widgets.cli.score import score
from serfiq_widgets.cli.terminal import new_table, render
from serfiq_widgets.errors import SerfiqError

FAILED = 1


class KindGroup(click.Group):
    """Shows the library's errors as one line, with exit code 2 as for wrong usage."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; undecodable bytes in names are printed as escapes."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
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
    best,
    bias,
    calibrate,
    demo,
    embed,
    evaluate,
    lessons,
    report,
    score,
    score_embeddings,
    train_on_top,
):
    main.add_command(command)


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes commands and options in a shell.

    For bash, add this line to ~/.bashrc: eval "$(serfiq completion bash)"
    """
    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(main, {}, "serfiq", "_SERFIQ_COMPLETE").source())


@main.command()
@click.option("--needed", "only", is_flag=True, help="Check only what scoring requires.")
def doctor(*, only: bool) -> None:
    """Show what works on this machine, what is missing, and how to install it.

    The exit code is 1 if something is missing that scoring requires; --needed prints only these
    parts.
    """
    from serfiq_widgets.cli.doctor import diagnose, needed

    if only:
        lacking = [check for check in needed() if not check.works]
        for check in lacking:
            click.echo(f"{check.what}: {check.remark}")
        sys.exit(FAILED if lacking else 0)
    table = new_table("what", "version", "state")
    checks = list(diagnose())
    for check in checks:
        state = "ok" if check.works else "missing"
        table.add_row(check.what, check.version, f"{state} {check.remark}")
    click.echo(render(table), nl=False)
    if not all(check.works for check in checks if check.needed):
        sys.exit(FAILED)
