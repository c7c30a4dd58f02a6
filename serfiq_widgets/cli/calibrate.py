"""The `serfiq calibrate` command: fit alpha and r to a folder of faces, plot and save them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from serfiq_widgets.atomic import write_text
from serfiq_widgets.cli.terminal import engine_options
from serfiq_widgets.errors import BadSetting, NotWritten, one_line, plain_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from serfiq_widgets.scoring.calibration import Calibration

QUANTILES = (0, 1, 5, 50, 95, 99, 100)
WIDTH = 79
BINS, BAR = 10, 24  # of the two histograms
EIGHTHS = " \u258f\u258e\u258d\u258c\u258b\u258a\u2589"  # eighths of a character
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
PAGE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("model")
@click.argument("folder", required=False, type=FOLDER)
@click.option("--name", help="Name of the faces; by default the folder's name.")
@click.option("--aligned", is_flag=True, help="The images are aligned face crops: skip detection.")
@click.option("--passes", default=100, show_default=True, help="Dropout passes, 2 to 2000.")
@click.option("--sample", type=click.IntRange(1), help="Number of images, a fixed random sample.")
@engine_options
@click.option("--plot", type=PAGE, help="Plot before and after in this .html page.")
@click.option("--dry-run", is_flag=True, help="Show the result, but save nothing.")
@click.option("--forget", is_flag=True, help="Only delete the calibration of MODEL.")
@click.option("--override-reference", is_flag=True, help="Also if MODEL is the reference network.")
def calibrate(
    model: str,
    folder: Path | None,
    name: str | None,
    aligned: bool,
    passes: int,
    sample: int | None,
    engine: str,
    device: str,
    precision: str,
    plot: Path | None,
    dry_run: bool,
    forget: bool,
    override_reference: bool,
) -> None:
    """Fit MODEL's alpha and r to the faces in FOLDER, so that quality uses 0 to 100.

    The 5 % quantile of their raw scores gets quality 10, the 95 % quantile quality 90. Both are
    saved in the model's card: beside its file, or in the folder of models for a named model.
    """
    from serfiq_widgets.cli.terminal import check_page, counting, images_of, open_scorer
    from serfiq_widgets.images.files import drawn
    from serfiq_widgets.scoring.calibration import calibrate as fit_to
    from serfiq_widgets.scoring.network import as_toml, save_card
    from serfiq_widgets.scoring.results import check_passes

    if forget:
        _forget(model)
        return
    if folder is None:
        raise click.UsageError("Name the folder with the faces: serfiq calibrate MODEL FOLDER")
    if not (dry_run or override_reference):
        _spare_the_reference(model)
    check_page(plot, sources=[folder, model])
    check_passes(passes)
    if not dry_run:
        _check_card(model)
    name = plain_text(name or folder.resolve().name)
    images = images_of(folder)
    if sample is not None and sample < len(images):
        name = f"{name}, drawn from {len(images)}"
        images = drawn(images, sample)
    scorer = open_scorer(model, engine, device, precision=precision)
    with counting("scoring") as progress:
        calibration = fit_to(scorer, images, passes, name=name, aligned=aligned, progress=progress)
    click.echo(_report(calibration, scorer.card.population))
    if plot is not None:
        _draw(calibration, plot)
    if dry_run:
        click.echo(f"Nothing was saved (--dry-run). As a card:\n{as_toml(calibration.settings)}")
    else:
        path = save_card(model, **calibration.settings)
        click.echo(f"Saved in {path} (delete it: serfiq calibrate {model} --forget)")


def _spare_the_reference(model: str) -> None:
    from serfiq_widgets.models import cards

    if model == cards.REFERENCE:
        raise BadSetting(
            f"'{model}' is the reference's own network: with its alpha {cards.REFERENCE_ALPHA:g} "
            f"and r {cards.REFERENCE_R:g} your qualities are those of the reference's code. See "
            "the result with --dry-run; calibrate anyway with --override-reference."
        )


def _check_card(model: str) -> None:
    from serfiq_widgets.scoring.network import card_to_write

    try:
        card_to_write(model)
    except NotWritten as error:
        raise BadSetting(
            f"{error} Or use --dry-run, save the printed lines in a file, and open the "
            'network with serfiq score --card FILE or Scorer(..., card="FILE").'
        ) from error


def _report(calibration: Calibration, before_from: str) -> str:
    """Return the calibration as text, numbers and bars: lines of at most 80 characters."""
    import numpy as np

    from serfiq_widgets.scoring.calibration import RULE

    def stretch(when: str, alpha: float, r: float, words: str) -> str:
        return _wrapped(f"{when:<8}alpha {alpha:.6g}, r {r:.6g} ({words})")

    def row(label: str, values: NDArray[Any], places: int) -> str:
        cells = (f"{value:8.{places}f}" for value in np.percentile(values, QUANTILES))
        return f"{label:<16}{''.join(cells)}"

    before, after = calibration.before, calibration.after
    old, new = calibration.qualities
    errors = calibration.errors
    total = len(calibration.raw) + len(errors)
    failed = [f"Not scored: {len(errors)} of {total} images. {errors[0]}"] if errors else []
    lines = [
        *map(_wrapped, failed),
        _wrapped(f"rule    {RULE}"),
        stretch("before", before.alpha, before.r, before_from),
        stretch("after", after.alpha, after.r, calibration.population),
        "",
        f"{'quantile':<16}{''.join(f'{quantile:6} %' for quantile in QUANTILES)}",
        row("raw", calibration.raw, 4),
        row("quality before", old, 0),
        row("quality after", new, 0),
        "",
        *_histograms(old, new),
    ]
    return "\n".join(lines)


def _wrapped(text: str) -> str:
    return click.wrap_text(text, WIDTH, "", " " * 8)


def _histograms(old: NDArray[np.int_], new: NDArray[np.int_]) -> Iterator[str]:
    """Yield the lines of two histograms of quality side by side, one per bin of ten."""
    import numpy as np

    edges = np.linspace(0, 100, BINS + 1)
    shares = np.stack([np.histogram(values, edges)[0] / len(values) for values in (old, new)])
    yield f"{'quality':<9}{'before':<{BAR + 8}}after"
    for low, high, pair in zip(edges[:-1], edges[1:], shares.T, strict=True):
        most = high if high == edges[-1] else high - 1
        bars = (f"{_bar(share / shares.max()):<{BAR}}{share:6.1%}  " for share in pair)
        yield f"{f'{low:.0f}-{most:.0f}':<9}{''.join(bars)}".rstrip()


def _bar(share: float) -> str:
    """Return a bar of this share of the full length, to an eighth of a character."""
    whole, eighths = divmod(round(share * BAR * 8), 8)
    return "\u2588" * whole + EIGHTHS[eighths].strip()


def _draw(calibration: Calibration, path: Path) -> None:
    from serfiq_widgets.figures.calibration import calibration_html

    write_text(path, calibration_html(calibration))
    click.echo(f"Before and after are plotted in {path}")


def _forget(model: str) -> None:
    from serfiq_widgets.scoring.network import card_path, forget_stretch

    path = card_path(model)
    try:
        there = forget_stretch(model)
    except (NotWritten, OSError) as error:
        raise click.ClickException(
            f"The card '{path}' cannot be written ({one_line(error)})."
        ) from error
    if there:
        click.echo(f"The calibration of '{model}' is deleted: it has its own alpha and r.")
    else:
        click.echo(f"There is no calibration of '{model}' in {path}.")
