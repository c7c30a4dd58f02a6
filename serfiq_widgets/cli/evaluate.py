"""The `serfiq evaluate` command: how well a quality predicts which comparisons fail."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from serfiq_widgets.atomic import write_text
from serfiq_widgets.cli.terminal import MODEL, engine_options
from serfiq_widgets.errors import BadSetting, plain_text
from serfiq_widgets.images.outputs import check_out

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from serfiq_widgets.evaluation import Accuracy, Evaluation, Table

SOURCE = click.Path(exists=True, path_type=Path)
EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW = click.Path(dir_okay=False, path_type=Path)
SHARE = click.FloatRange(0, 1, max_open=True)
FMR = click.FloatRange(0, 1, min_open=True)
WHAT = "Name a folder with one sub-folder per person, or give --embeddings or --pairs."


@click.command()
@click.argument("source", metavar="[FOLDER]", required=False, type=SOURCE)
@MODEL
@click.option("--aligned", is_flag=True, help="The images are aligned face crops: skip detection.")
@click.option("--passes", default=100, show_default=True, help="Dropout passes, 2 to 2000.")
@engine_options
@click.option("--seed", default=0, show_default=True, help="Seed of masks, samples and draws.")
@click.option("--embeddings", type=EXISTING, help="Instead of images: .npy, .csv or .npz.")
@click.option("--labels", type=EXISTING, help="The person of each embedding, one per line.")
@click.option("--pairs", type=EXISTING, help="Compare only these: LFW's list, or a table.")
@click.option("--scores", multiple=True, type=EXISTING, help="More qualities, joined by path.")
@click.option("--fmr", default=1e-3, show_default=True, type=FMR, help="The allowed FMR.")
@click.option(
    "--discard", "shares", multiple=True, type=SHARE, help="A discarded share, repeatable."
)
@click.option(
    "--by", default="image", show_default=True, type=click.Choice(["image", "comparison"])
)
@click.option(
    "--threshold",
    default="fixed",
    show_default=True,
    type=click.Choice(["fixed", "re-derived"]),
    help="fixed: of all images; re-derived: of the images left at each step.",
)
@click.option(
    "--cap", type=click.IntRange(min=1), help="At most so many genuine comparisons a person."
)
@click.option("--draws", default=300, show_default=True, help="Bootstrap draws; 0 for none.")
@click.option("--name", help="Name of the data; by default the folder's name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON record.")
@click.option("--plot", type=NEW, help="Plot the curves in this .html page.")
@click.option("--save", "keep", type=NEW, help="Save the numbers, without names, as .npz.")
def evaluate(
    source: Path | None,
    model: str,
    aligned: bool,
    passes: int,
    engine: str,
    device: str,
    precision: str,
    seed: int,
    embeddings: Path | None,
    labels: Path | None,
    pairs: Path | None,
    scores: tuple[Path, ...],
    fmr: float,
    shares: tuple[float, ...],
    by: Any,
    threshold: Any,
    cap: int | None,
    draws: int,
    name: str | None,
    as_json: bool,
    plot: Path | None,
    keep: Path | None,
) -> None:
    """Compute error versus discard: FNMR while images of the lowest quality are discarded.

    FOLDER has one sub-folder per person, or is a file written by --save, or a .bin file of
    InsightFace with pairs of images (no code in it is executed). Qualities: the SER-FIQ
    raw score (serfiq), its closed form (limit), the embedding length (norm), sharpness,
    brightness, random, and an oracle that knows the errors. --pairs is LFW's list or a table with
    path_a, path_b and genuine; with a column score it needs no images. A .npz file of embeddings
    may also have arrays labels and paths; a table of embeddings has a column person, path if
    there are images to join, and numbers.
    """
    from serfiq_widgets import evaluation
    from serfiq_widgets.cli.terminal import check_page
    from serfiq_widgets.evaluation.table import SHARES
    from serfiq_widgets.scoring.results import check_passes

    check_passes(passes)
    read = (source, embeddings, labels, pairs, *scores)
    check_page(plot, sources=read)
    check_out(keep, "--save", [".npz"], read)
    if labels is not None and embeddings is None:
        raise click.UsageError("--labels needs --embeddings.")
    if embeddings is not None and (source or pairs):
        raise click.UsageError("--embeddings excludes a folder and --pairs.")
    options = {"model": model, "engine": engine, "device": device, "seed": seed}
    options["precision"] = precision
    if embeddings is not None:
        table, accuracy = _from_embeddings(embeddings, labels), None
    else:
        table, accuracy = _from_source(source, options, passes, pairs, aligned=aligned)
    if name is not None:
        table = replace(table, about={**table.about, "data": plain_text(name)})
    table = _joined(_capped(table, cap, seed), scores, source).with_baselines(fmr, seed)
    result = evaluation.evaluate(
        table,
        fmr,
        shares=sorted({0.0, *shares}) if shares else SHARES,
        by=by,
        threshold=threshold,
        draws=draws,
        seed=seed,
    )
    if keep is not None:
        evaluation.save(keep, table)
        click.echo(f"Saved in {keep}", err=True)
    if plot is not None:
        _draw(result, plot)
    click.echo(_as_json(result, accuracy) if as_json else _as_table(result, accuracy), nl=False)


def _from_source(
    source: Path | None, options: dict[str, Any], passes: int, pairs: Path | None, *, aligned: bool
) -> tuple[Table, Accuracy | None]:
    from serfiq_widgets import evaluation

    if source is None:
        if pairs is None:
            raise click.UsageError(WHAT)
        from serfiq_widgets.evaluation.readers import scored_pairs

        table, values, same = scored_pairs(pairs)
        return table, evaluation.accuracy(values, same)
    if source.suffix.lower() == ".bin":
        return _from_bin(source, options, passes, aligned=aligned)
    if source.is_file():
        return evaluation.load(source), None
    return _from_folder(source, options, passes, pairs, aligned=aligned)


def _from_folder(
    folder: Path, options: dict[str, Any], passes: int, pairs: Path | None, *, aligned: bool
) -> tuple[Table, Accuracy | None]:
    from serfiq_widgets import evaluation
    from serfiq_widgets.cli.terminal import counting, images_of, open_scorer
    from serfiq_widgets.evaluation.measure import measure

    scorer = open_scorer(**options)
    images_of(folder)
    with counting("scoring") as progress:
        measured = measure(scorer, folder, passes, aligned=aligned, progress=progress)
    if measured.errors:
        click.echo(
            f"Note: {len(measured.errors)} images could not be used and are left out. "
            f"{measured.errors[0]}",
            err=True,
        )
    if pairs is None:
        return measured.table(), None
    from serfiq_widgets.evaluation.readers import listed_pairs

    names, vectors, people = measured.names, measured.embeddings, measured.people
    compared, values, same = listed_pairs(pairs, names, vectors, people, folder)
    return measured.table(compared), evaluation.accuracy(values, same)


def _from_bin(
    file: Path, options: dict[str, Any], passes: int, *, aligned: bool
) -> tuple[Table, Accuracy | None]:
    """Measure the images of a .bin file; pairs with an image that cannot be used are left out."""
    import numpy as np

    from serfiq_widgets import evaluation
    from serfiq_widgets.cli.terminal import counting, open_scorer
    from serfiq_widgets.evaluation.measure import measure
    from serfiq_widgets.evaluation.pair_pickles import read_pair_images

    images, same = read_pair_images(file)
    scorer = open_scorer(**options)
    with TemporaryDirectory(prefix="serfiq-") as folder, counting("scoring") as progress:
        for number, image in enumerate(images):
            (Path(folder) / f"{number:06d}.jpg").write_bytes(image)
        measured = measure(scorer, folder, passes, aligned=aligned, progress=progress)
    row = np.full(len(images), -1)
    numbers = np.array([int(Path(name).stem) for name in measured.names])
    row[numbers] = np.arange(len(numbers))
    known = (row[::2] >= 0) & (row[1::2] >= 0)
    if not known.all():
        click.echo(f"Note: {(~known).sum()} pairs are left out. {measured.errors[0]}", err=True)
    one, other, same = row[::2][known], row[1::2][known], same[known]
    unit = measured.embeddings / np.linalg.norm(measured.embeddings, axis=1, keepdims=True)
    scores = np.einsum("nd,nd->n", unit[one], unit[other])
    people = numbers.copy()  # the file names no one: a genuine pair is one person
    people[other[same]] = people[one[same]]
    table = measured.table(evaluation.compare_pairs(one, other, scores, same, people))
    about = {**table.about, "data": plain_text(file.stem)}
    return replace(table, about=about), evaluation.accuracy(scores, same)


def _from_embeddings(file: Path, labels: Path | None) -> Table:
    from serfiq_widgets.evaluation import Table, compare_all, embedding_norm
    from serfiq_widgets.evaluation.readers import (
        is_embedding_table,
        read_archive,
        read_embedding_table,
        read_embeddings,
        same_length,
    )

    if labels is None and is_embedding_table(file):
        table, owners, names = read_embedding_table(file)
        norms = {} if same_length(table) else {"norm": embedding_norm(table)}
        return Table(compare_all(table, owners), norms, names, {"data": plain_text(file.stem)})
    more = read_archive(file) if file.suffix.lower() == ".npz" else {}
    vectors = more["embeddings"] if more else read_embeddings(file)
    if labels is not None:
        people = labels.read_text(encoding="utf-8").splitlines()
    elif "labels" in more:
        people = more["labels"].tolist()
    else:
        raise click.UsageError("Name the person of each embedding: --labels FILE, one per line.")
    paths = tuple(map(str, more.get("paths", ())))
    if not len(people) == len(vectors) == (len(paths) or len(vectors)):
        raise BadSetting(
            f"'{file.name}' has {len(vectors)} embeddings, but there are {len(people)} labels"
            + (f" and {len(paths)} paths." if paths else ".")
        )
    qualities = {} if same_length(vectors) else {"norm": embedding_norm(vectors)}
    return Table(compare_all(vectors, people), qualities, paths, {"data": plain_text(file.stem)})


def _capped(table: Table, cap: int | None, seed: int) -> Table:
    from serfiq_widgets.evaluation import cap_pairs

    if cap is None:
        return table
    return replace(table, comparisons=cap_pairs(table.comparisons, cap, seed))


def _joined(table: Table, files: tuple[Path, ...], source: Path | None) -> Table:
    if not files:
        return table
    from serfiq_widgets.evaluation.readers import join_scores

    for file in files:
        table, missing = join_scores(table, file, source or Path())
        if missing:
            text = f"Note: {missing} images have no row in {file.name} and count as its lowest."
            click.echo(text, err=True)
    return table


def _as_json(result: Evaluation, accuracy: Accuracy | None) -> str:
    from dataclasses import asdict

    from serfiq_widgets.evaluation import agreements

    record = result.as_dict()
    record["agreement"] = [
        {"one": one, "other": other, **_known(asdict(found))}
        for (one, other), found in agreements(result.table.qualities).items()
    ]
    if accuracy is not None:
        record["accuracy"] = asdict(accuracy)
    return json.dumps(record, indent=1) + "\n"


def _known(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in numbers.items()}


def _as_table(result: Evaluation, accuracy: Accuracy | None) -> str:
    from serfiq_widgets.cli.terminal import new_table, render

    record = result.as_dict()
    shares = [f"{share:.0%}" for share in result.shares]
    areas = ["pAUC 20%", "30%", "full"]
    kinds = {"every person weighs the same": "balanced", "every comparison weighs the same": ""}
    parts = [*_lines(result, accuracy)]
    for title, kind in kinds.items():
        if kind and not result.balanced:
            continue
        table = new_table("FNMR, discarded", *shares, *areas, right=[*shares, *areas])
        for name, column in record["qualities"].items():
            shown = column[kind] if kind else column
            values = [*shown["fnmr"], *shown["pauc"].values()]
            table.add_row(name, *("-" if value is None else f"{value:.4f}" for value in values))
            for place, side in ((0, "from"), (1, "to")) if "fnmr_band" in shown else ():
                band = [f"{edges[place]:.4f}" for edges in shown["fnmr_band"]]
                table.add_row(f"  95 % {side}", *band, *("" for _ in areas), style="dim")
        parts += [f"{title}:", render(table)]
    return "\n".join([*parts, render(_agreement(result.table))])


def _agreement(table: Table) -> RichTable:
    """Compare the order of the images by the first quality with that by each other one."""
    from serfiq_widgets.cli.terminal import new_table
    from serfiq_widgets.evaluation import agreement

    (first, quality), *others = table.qualities.items()
    columns = ["Spearman", "Kendall", "lowest 10 % in common"]
    rows = new_table(f"agreement with {first}", *columns, right=columns)
    for name, other in others:
        found = agreement(quality, other)
        numbers = (found.spearman, found.kendall, found.overlap)
        rows.add_row(name, *("-" if math.isnan(value) else f"{value:.3f}" for value in numbers))
    return rows


def _lines(result: Evaluation, accuracy: Accuracy | None) -> list[str]:
    compared = result.table.comparisons
    lines = [
        f"{compared.images:,} images of {compared.persons:,} people",
        f"{len(compared.genuine):,} genuine and {compared.impostors:,} impostor comparisons",
        f"at FMR {result.fmr:g} (realised {result.fmr_realised:.3g}): {_errors(result)}",
    ]
    lines += [f"Caution: {sentence}" for sentence in result.warnings]
    if accuracy is not None:
        folds = f"{accuracy.mean:.4f} \u00b1 {accuracy.deviation:.4f} in ten folds"
        lines.append(f"verification accuracy {folds}, {accuracy.best:.4f} at the best threshold")
    return lines


def _errors(result: Evaluation) -> str:
    """Say FNMR without discard, the balanced one first."""
    pooled = f"threshold {result.threshold:.4f}, FNMR {result.fnmr:.4f}"
    if not result.balanced:
        return pooled
    even = next(iter(result.balanced.values())).fnmr[0]
    return f"{pooled}, and {even:.4f} if every person weighs the same"


def _draw(result: Evaluation, path: Path) -> None:
    from serfiq_widgets.figures.evaluation import evaluation_html

    write_text(path, evaluation_html(result))
    click.echo(f"The curves are plotted in {path}", err=True)
