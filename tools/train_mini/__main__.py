"""The commands: `python -m tools.train_mini embedding | robustness | export | evaluate`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
import torch

from serfiq_widgets import Scorer
from serfiq_widgets.checkpoints import checkpoint_files
from serfiq_widgets.checkpoints.params import read_params
from serfiq_widgets.errors import BadSetting, SerfiqError
from tools.train_mini.dlib_weights import read_dlib
from tools.train_mini.evaluate import evaluate as measure
from tools.train_mini.export import write_card, write_checkpoint
from tools.train_mini.faces import Views, open_faces
from tools.train_mini.labels import Teachers
from tools.train_mini.network import Student, from_arrays, to_arrays
from tools.train_mini.stages import STAGES
from tools.train_mini.train import Data, Run, choose_device, start_head, train

FILE = click.Path(exists=True, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)

HELD_OUT_VIEWS = 512  # for the curve: more would only slow the training
LICENCE = "for research and teaching, not for commercial recognition"
ORIGIN = (
    "Trunk: dlib's face recognition network (Davis King, CC0), fine-tuned; head: new. {} "
    "Made by tools/train_mini."
)
POPULATION = "alpha and r fitted on LFW: median face 74, the same under a drawn mask 7"


def load_student(start: Path | None) -> tuple[Student, str]:
    """Return a student with dlib's trunk and an untrained head, or with saved weights.

    With it comes what its run noted of teachers and photos, if it was made here.

    Parameters
    ----------
    start : Path, optional
        A `STAGE.pt` of `train`, or an MXNet checkpoint of this network, as the bundled one.
    """
    torch.manual_seed(0)
    student = Student(read_dlib())
    if start is None:
        return student, ""
    if start.suffix == ".pt":
        held = torch.load(start, map_location="cpu", weights_only=True)
        student.load_state_dict(held["student"])
        return student, held["settings"]["origin"]
    files = checkpoint_files(start)
    if files is None:
        raise BadSetting(
            f"'{start}' is an ONNX file; start from an MXNet checkpoint or a .pt file."
        )
    from_arrays(student, read_params(files[1]))
    return student, ""


def digest_of(start: Path | None) -> str:
    """Return what tells one start from another: a digest of the file with the weights."""
    if start is None:
        return "dlib"
    files = checkpoint_files(start) if start.suffix != ".pt" else None
    return hashlib.sha256((files[1] if files else start).read_bytes()).hexdigest()


@click.group()
def main() -> None:
    """Make the bundled network: two stages of training, export, and how good it is."""


def stage_command(name: str) -> Callable[..., Any]:
    """Make the command of one stage."""
    stage = STAGES[name]

    @main.command(name, help=f"Train the {name} stage; call it again to go on after a stop.")
    @click.option(
        "--faces",
        "sources",
        type=FILE,
        multiple=True,
        required=True,
        help="Folder or zip of aligned 112x112 faces; may be given several times.",
    )
    @click.option("--teacher", type=FILE, required=True, help="MXNet checkpoint or ONNX file.")
    @click.option("--work", type=FOLDER, required=True, help="Where all that is made goes.")
    @click.option("--start", type=FILE, help="Weights to start from: a .pt or MXNet checkpoint.")
    @click.option("--views", default=stage.views, show_default=True, help="Images labelled.")
    @click.option("--steps", default=stage.steps, show_default=True)
    @click.option("--batch", default=stage.batch, show_default=True)
    @click.option("--rate", default=stage.rate, show_default=True, help="Highest learning rate.")
    @click.option("--seed", default=0, show_default=True)
    @click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda ...")
    @click.option("--bf16/--fp32", default=True, show_default=True)
    @click.option("--every", default=250, show_default=True, help="Steps between two saves.")
    @click.option("--until", type=int, help="Stop after so many steps.")
    def command(
        sources: tuple[Path, ...],
        teacher: Path,
        work: Path,
        start: Path | None,
        views: int,
        seed: int,
        device: str,
        bf16: bool,
        every: int,
        until: int | None,
        **numbers: Any,
    ) -> None:
        chosen = replace(stage, views=views, **numbers)
        where = choose_device(device)
        first = work / "embedding.pt"
        if start is None and chosen.frozen and not first.is_file():
            raise BadSetting(f"'{first}' is missing: train the embedding first, or give --start.")
        start = start or (first if chosen.frozen else None)
        student, _ = load_student(start)
        faces = open_faces(sources)
        training, held_out = (Views(part, chosen.ruined, seed) for part in faces.divided())
        if not held_out.faces:
            raise BadSetting("Too few faces: not one in fifty could be held out for the curve.")
        scorer = Scorer(teacher)
        teachers = Teachers(scorer, read_dlib(), where)
        labels = teachers.label_all(training, views, work, click.echo)
        count = min(2 * len(held_out.faces), HELD_OUT_VIEWS)
        held_labels = teachers.label_all(held_out, count, work, click.echo)
        data = Data(training, labels, held_out, held_labels)
        origin = (
            f"Teachers: {teacher.name} (sha256 of its weights {scorer.network.sha256[:8]}...) and "
            f"dlib's embedding. Photos: {len(faces)} faces of "
            f"{', '.join(source.name for source in sources)}; no LFW photo."
        )
        run = Run(work, seed, where, bf16, every, until, digest_of(start), origin)
        if start is None and not first.is_file():
            start_head(student, data, run)
        train(student, chosen, data, run)

    return command


for _name in STAGES:
    stage_command(_name)


@main.command()
@click.argument("weights", type=FILE)
@click.argument("folder", type=FOLDER)
@click.option("--name", default="mini", show_default=True)
@click.option("--pairs", type=FILE, help="Also measure it on LFW: the list of pairs ...")
@click.option("--lfw", type=FILE, help="... and the folder of aligned faces, one for each person.")
def export(weights: Path, folder: Path, name: str, pairs: Path | None, lfw: Path | None) -> None:
    """Write a `STAGE.pt` as an MXNet checkpoint with its card."""
    student, origin = load_student(weights)
    symbol = write_checkpoint(folder, to_arrays(student), name)
    card: dict[str, object] = {"origin": ORIGIN.format(origin), "licence": LICENCE}
    if pairs and lfw:
        figures = measure(symbol, lfw, pairs)
        card |= {
            "alpha": round(figures.alpha, 1),
            "r": round(figures.r, 4),
            "figures": figures.words(),
            "population": POPULATION,
        }
    click.echo(write_card(folder, card, name).read_text(encoding="utf-8"))


@main.command()
@click.argument("model")
@click.argument("lfw", type=FILE)
@click.argument("pairs", type=FILE)
@click.option("--against", help="Another model: say whether this one is better.")
def evaluate(model: str, lfw: Path, pairs: Path, against: str | None) -> None:
    """Measure a network on aligned LFW faces."""
    figures = measure(model, lfw, pairs)
    click.echo(json.dumps({model: asdict(figures)}, indent=1))
    if against:
        other = measure(against, lfw, pairs)
        click.echo(json.dumps({against: asdict(other)}, indent=1))
        better = figures.better(other)
        click.echo(f"{model} is {'better' if better else 'not better'} than {against}.")


if __name__ == "__main__":
    try:
        main()
    except SerfiqError as error:
        raise SystemExit(str(error)) from error
