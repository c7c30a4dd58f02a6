"""The `serfiq` commands for on-top heads: embed a folder, train a head, score embeddings."""

from __future__ import annotations

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from serfiq_widgets.atomic import replacing, write_bytes, write_text
from serfiq_widgets.cli.terminal import MODEL
from serfiq_widgets.errors import BadSetting, plain_text
from serfiq_widgets.images.outputs import check_out

EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW = click.Path(dir_okay=False, path_type=Path)
POPULATION = "{} images of {} people; 5 % and 95 % quantiles of raw to quality 10 and 90, T={}"
PASSES = 100
SAME_LENGTH = (
    "Note: all embeddings have the same length. Most information about poor photos is in the "
    "length, so the scores will mean little: use embeddings before they are scaled to 1."
)


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@MODEL
@click.option("--aligned", is_flag=True, help="The images are aligned face crops: skip detection.")
@click.option("--out", required=True, type=NEW, help="The .npy file for the embeddings.")
@click.option("--labels", required=True, type=NEW, help="File for the labels, one per line.")
def embed(folder: Path, model: str, aligned: bool, out: Path, labels: Path) -> None:
    """Embed the faces of a folder; the label of an image is the name of its sub-folder.

    An image that cannot be used is reported and skipped; the exit code is then 1.
    """
    import numpy as np

    from serfiq_widgets.cli.terminal import counting, images_of, open_scorer
    from serfiq_widgets.scoring.score_images import embed_images

    check_out(out, "--out", [".npy"], [folder, model])
    check_out(labels, "--labels", sources=[folder, model])
    if out.resolve() == labels.resolve():
        raise BadSetting(f"--out and --labels are the same file, {out}: name two files.")
    scorer = open_scorer(model)
    with counting("embedding") as progress:
        embeddings, images = embed_images(
            scorer, images_of(folder), aligned=aligned, progress=progress
        )
    errors = [image.error for image in images if image.error is not None]
    for error in errors:
        click.echo(str(error), err=True)
    if not len(embeddings):
        raise BadSetting(f"There is no usable face in '{folder}'.")
    used = (Path(str(image.source)) for image in images if image.error is None)
    with replacing(out) as new, new.open("wb") as file:
        np.save(file, embeddings)
    write_text(labels, "".join(f"{_label(path.parent.name)}\n" for path in used))
    click.echo(f"{len(embeddings)} embeddings written to {out}, their labels to {labels}", err=True)
    if errors:
        sys.exit(1)


@click.command("train-on-top")
@click.option("--embeddings", required=True, type=EXISTING, help="(N, n) numbers: .npy or .csv.")
@click.option("--labels", required=True, type=EXISTING, help="The person of each row, one a line.")
@click.option("--out", required=True, type=NEW, help="Write the head to this .npz file.")
@click.option("--base", default="", help="Network of the embeddings: name or path.")
@click.option("--epochs", default=40, show_default=True, type=click.IntRange(1, 1000))
@click.option("--rate", default=0.1, show_default=True, type=click.FloatRange(0.01, 0.9))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
def train_on_top(
    embeddings: Path, labels: Path, out: Path, base: str, epochs: int, rate: float, seed: int
) -> None:
    """Train SER-FIQ's on-top head, so that a network without dropout gets scores.

    With --base the head scores images (serfiq score --model HEAD.npz), else embeddings
    (serfiq score-embeddings).
    """
    from serfiq_widgets.checkpoints import on_top
    from serfiq_widgets.engines.torch_training import train
    from serfiq_widgets.evaluation.readers import read_embeddings, same_length
    from serfiq_widgets.scoring.calibration import fit
    from serfiq_widgets.scoring.network import open_network

    check_out(out, "--out", [on_top.SUFFIX], [embeddings, labels, base])
    vectors = read_embeddings(embeddings)
    names = labels.read_text(encoding="utf-8").split("\n")[: len(vectors)]
    if same_length(vectors):
        click.echo(SAME_LENGTH, err=True)
    weights, shift = train(
        vectors,
        names,
        hidden=on_top.HIDDEN,
        rate=rate,
        epochs=epochs,
        seed=seed,
        progress=lambda epoch, loss: click.echo(f"epoch {epoch}: loss {loss:.3f}", err=True),
    )
    card: dict[str, Any] = {"rate": rate, "shift": shift}
    if base:
        _, network = open_network(base)
        card |= {"base": _from_folder(base, out), "base_sha256": network.sha256}
    raw = on_top.score_embeddings(on_top.from_matrices(weights, **card), vectors, PASSES)["raw"]
    stretch = fit(raw)
    card |= {"alpha": stretch.alpha, "r": stretch.r}
    card["population"] = POPULATION.format(len(vectors), len(set(names)), PASSES)
    write_bytes(out, on_top.to_bytes(on_top.from_matrices(weights, **card)))
    way = f"serfiq score IMAGE --model {out}" if base else f"serfiq score-embeddings {out} FILE"
    click.echo(f"Written to {out}. Use it: {way}")


@click.command("score-embeddings")
@click.argument("head", type=EXISTING)
@click.argument("embeddings", type=EXISTING)
@click.option("--passes", default=PASSES, show_default=True, type=click.IntRange(2, 2000))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--format", "form", default="csv", type=click.Choice(["csv", "json"]))
def score_embeddings(head: Path, embeddings: Path, passes: int, seed: int, form: str) -> None:
    """Score embeddings (.npy or .csv) with an on-top head, one row each."""
    from serfiq_widgets.checkpoints import on_top
    from serfiq_widgets.evaluation.readers import read_embeddings

    scores = on_top.score_embeddings(on_top.load(head), read_embeddings(embeddings), passes, seed)
    names = ["row", *scores]
    rows = [
        {"row": i, **{name: values[i].item() for name, values in scores.items()}}
        for i in range(len(scores["raw"]))
    ]
    if form == "json":
        click.echo(json.dumps(rows, indent=1))
        return
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _label(name: str) -> str:
    """Return a folder's name as one line of text, unique for each folder."""
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode()
        for sign in plain_text(name)
    )


def _from_folder(base: str, out: Path) -> str:
    """Return a base for the head's card: a name, or a path relative to the head's folder."""
    from serfiq_widgets.models.cards import cards

    if base in cards():
        return base
    return os.path.relpath(Path(base).resolve(), out.resolve().parent)
