"""One stage of training: a loop that can be stopped anywhere and goes on as if it had not been.

All randomness of a step follows from the seed and the step's number, so what is saved every so
many steps (weights, optimiser, step) is all there is: a resumed run equals an uninterrupted one on
the same machine. The curve goes to a JSON Lines file, with the held-out faces measured alongside.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from serfiq_widgets.errors import BadSetting
from tools.train_mini.faces import Pixels, Views
from tools.train_mini.labels import Floats, Labels, axes_for, batches
from tools.train_mini.network import Student, limit_distance, solve_head
from tools.train_mini.stages import Batch, Stage, freeze, losses

WARM_UP = 0.03  # share of the steps over which the learning rate rises
DECAY, CLIP = 1e-4, 5.0
HEAD_VIEWS, HEAD_BATCH = 4096, 64  # from which the head's start is found
CPU = torch.device("cpu")
THREADS, AHEAD = 4, 4  # threads that make views, and how many batches they make ahead


@dataclass(frozen=True, eq=False)
class Data:
    """Views and the labels of the first of them; of the held-out faces likewise."""

    views: Views
    labels: Labels
    held_views: Views
    held_labels: Labels


@dataclass(frozen=True)
class Run:
    """How a stage is run.

    Attributes
    ----------
    folder : Path
        Where `STAGE.pt` and `STAGE.jsonl` are kept.
    seed : int
    device : torch.device
    bf16 : bool
    every : int
        Steps between two saves, each with a line of the curve.
    until : int, optional
        Stop after so many steps, to go on later.
    start : str
        What the student starts from, in words or as a digest: a run does not go on with another.
    origin : str
        Teachers and photos in words, for the card.
    """

    folder: Path
    seed: int = 0
    device: torch.device = CPU
    bf16: bool = True
    every: int = 250
    until: int | None = None
    start: str = ""
    origin: str = ""


def choose_device(word: str = "auto") -> torch.device:
    """Return a GPU if there is one, and make torch deterministic as far as its kernels are."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)  # noqa: FBT003
    torch.backends.cudnn.benchmark = False
    if word == "auto":
        word = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(word)


def train(student: Student, stage: Stage, data: Data, run: Run) -> Student:
    """Train a student, or go on where a run in this folder stopped.

    Parameters
    ----------
    student : Student
        The start; ignored if there is something to go on from.
    stage : Stage
        From `STAGES`, perhaps with other numbers.
    data : Data
    run : Run

    Raises
    ------
    BadSetting
        The run in this folder had other settings or data, or a batch is larger than the data.
    """
    if stage.batch > len(data.labels):
        raise BadSetting(f"{len(data.labels)} views do not fill a batch of {stage.batch}.")
    run.folder.mkdir(parents=True, exist_ok=True)
    path = run.folder / f"{stage.name}.pt"
    student = student.to(run.device, memory_format=torch.channels_last)
    freeze(student, stage)
    optimiser = torch.optim.AdamW(
        [weight for weight in student.parameters() if weight.requires_grad],
        lr=stage.rate,
        weight_decay=DECAY,
    )
    settings = {
        **asdict(stage),
        "seed": run.seed,
        "bf16": run.bf16,
        "start": run.start,
        "origin": run.origin,
        "data": [data.views.digest, data.labels.digest],
    }
    step = 0
    if path.is_file():
        held = torch.load(path, map_location=run.device, weights_only=True)
        if held["settings"] != settings:
            raise BadSetting(f"'{path}' is of a run with other settings. Give another folder.")
        student.load_state_dict(held["student"])
        optimiser.load_state_dict(held["optimiser"])
        step = int(held["step"])
    curve = Curve(run.folder / f"{stage.name}.jsonl", step)
    axes = axes_for(data.labels.teacher)
    last = stage.steps if run.until is None else min(run.until, stage.steps)
    with ThreadPoolExecutor(THREADS) as pool:
        stream = _batches(pool, data, axes, stage, run, step, last)
        for step, batch in enumerate(stream, step + 1):  # noqa: B020
            torch.manual_seed(run.seed * stage.steps + step)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(stage, step)
            parts = losses(student, batch, stage, bf16=run.bf16)
            optimiser.zero_grad(set_to_none=True)
            parts["loss"].backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), CLIP)
            optimiser.step()
            if step % run.every == 0 or step == last:
                held_out = measure(student, data, axes, stage, run)
                freeze(student, stage)
                curve.add(step, {name: part.item() for name, part in parts.items()}, held_out)
                _save(
                    path,
                    {
                        "settings": settings,
                        "student": student.state_dict(),
                        "optimiser": optimiser.state_dict(),
                        "step": step,
                    },
                )
    return student


def start_head(student: Student, data: Data, run: Run) -> None:
    """Give a student that has dlib's trunk and no head yet one that least squares find."""
    student.eval().to(run.device, memory_format=torch.channels_last)
    axes = axes_for(data.labels.teacher)
    maps, aims = [], []
    with torch.no_grad(), ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, min(len(data.labels), HEAD_VIEWS), HEAD_BATCH):
            chosen = np.arange(start, min(start + HEAD_BATCH, len(data.labels)))
            pixels = list(pool.map(data.views.__getitem__, map(int, chosen)))
            batch = to_batch(pixels, data.labels, chosen, axes, run.device)
            with torch.autocast(run.device.type, torch.bfloat16, enabled=run.bf16):
                maps.append(student.maps(batch.pixels))
            aims.append(batch.aim)
    solve_head(student, torch.cat(maps), torch.cat(aims))


def learning_rate(stage: Stage, step: int) -> float:
    """Rise in a line, then half a cosine down to zero."""
    warm = max(1, round(WARM_UP * stage.steps))
    if step <= warm:
        return stage.rate * step / warm
    return stage.rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (stage.steps - warm + 1)))


def _batches(
    pool: ThreadPoolExecutor,
    data: Data,
    axes: Floats,
    stage: Stage,
    run: Run,
    start: int,
    last: int,
) -> Iterator[Batch]:
    """Yield the batches of the steps after ``start``, views made ahead by the pool's threads."""
    numbers = batches(len(data.labels), stage.batch, run.seed, start)
    waiting: deque[tuple[np.ndarray, list[Future[Pixels]]]] = deque()
    for step in range(start, last + AHEAD):
        if step < last:
            chosen = next(numbers)
            waiting.append((chosen, [pool.submit(data.views.__getitem__, int(i)) for i in chosen]))
        if step >= start + AHEAD and waiting:
            chosen, made = waiting.popleft()
            yield to_batch([one.result() for one in made], data.labels, chosen, axes, run.device)


def to_batch(
    pixels: list[Pixels], labels: Labels, chosen: np.ndarray, axes: Floats, device: torch.device
) -> Batch:
    """Put images and their labels on the device."""
    teacher = labels.teacher[chosen]
    arrays = (
        np.stack(pixels).transpose(0, 3, 1, 2),
        teacher,
        teacher @ axes,
        labels.dlib[chosen],
        labels.distance[chosen],
    )
    return Batch(*(torch.from_numpy(np.ascontiguousarray(a)).to(device) for a in arrays))


@torch.no_grad()
def measure(student: Student, data: Data, axes: Floats, stage: Stage, run: Run) -> dict[str, float]:
    """Return how the student, without dropout, follows the teacher on the held-out faces.

    `cosine` is the mean cosine to the teacher's embedding, `similarity` the correlation of the
    similarities, `limit` that of the exact-limit distances.
    """
    student.eval()
    embeddings, distances = [], []
    for start in range(0, len(data.held_labels), stage.batch):
        chosen = np.arange(start, min(start + stage.batch, len(data.held_labels)))
        pixels = [data.held_views[int(i)] for i in chosen]
        batch = to_batch(pixels, data.held_labels, chosen, axes, run.device)
        with torch.autocast(run.device.type, torch.bfloat16, enabled=run.bf16):
            maps = student.maps(batch.pixels)
        features = student.features(maps)
        embeddings.append(functional.normalize(student.embed(features)).cpu())
        distances.append(limit_distance(features, *student.head()).cpu())
    found = torch.cat(embeddings).numpy()
    teacher = data.held_labels.teacher
    aim = teacher @ axes
    aim /= np.linalg.norm(aim, axis=1, keepdims=True)
    pairs = np.triu_indices(len(found), 1)
    similar = np.corrcoef((found @ found.T)[pairs], (teacher @ teacher.T)[pairs])
    limit = np.corrcoef(torch.cat(distances).numpy(), data.held_labels.distance)
    return {
        "cosine": float((found * aim).sum(1).mean()),
        "similarity": float(similar[0, 1]),
        "limit": float(limit[0, 1]),
    }


class Curve:
    """The log: one JSON object a line; what an interrupted run wrote after its last save goes."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        self._clock = time.monotonic()

    def add(self, step: int, parts: dict[str, float], held_out: dict[str, float]) -> None:
        """Write and print one line."""
        now = time.monotonic()
        line = json.dumps(
            {
                "step": step,
                "train": {name: round(value, 6) for name, value in parts.items()},
                "held out": {name: round(value, 6) for name, value in held_out.items()},
                "seconds": round(now - self._clock, 2),
            }
        )
        self._clock = now
        print(line, flush=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")


def _save(path: Path, content: dict[str, object]) -> None:
    """Write a file that is either the old one or the whole new one."""
    draft = path.with_suffix(".part")
    torch.save(content, draft)
    draft.replace(path)
