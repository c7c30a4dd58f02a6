"""The two stages: which views they see, what is frozen, and what pulls at the student.

*Embedding* makes the network recognise: its embedding follows the teacher's (cosine, and the
similarities within a batch), and the trunk keeps dlib's own embedding (L2). *Robustness* teaches
the scatter under dropout, of which the first stage knows nothing: on clean and ruined faces the
student's exact-limit distance follows the teacher's, up to a constant.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tools.train_mini.network import Student, limit_distance


@dataclass(frozen=True)
class Stage:
    """What sets a stage apart.

    Attributes
    ----------
    name : str
    ruined : bool
        Ruined faces among its views; else mixed, swapped and warped ones.
    frozen : bool
        Whether both batch norms stand still.
    cosine, similarity, dlib, limit : float
        Weights of the losses.
    rate : float
        Highest learning rate, after the warm-up.
    views, steps, batch : int
        For a full run.
    """

    name: str
    ruined: bool
    frozen: bool
    cosine: float
    similarity: float
    dlib: float
    limit: float
    rate: float
    views: int
    steps: int
    batch: int = 64


STAGES = {
    "embedding": Stage(
        "embedding",
        ruined=False,
        frozen=False,
        cosine=1.0,
        similarity=10.0,
        dlib=0.2,
        limit=0.0,
        rate=5e-4,
        views=400_000,
        steps=60_000,
    ),
    "robustness": Stage(
        "robustness",
        ruined=True,
        frozen=True,
        cosine=1.0,
        similarity=10.0,
        dlib=0.2,
        limit=100.0,
        rate=5e-5,  # four times as much cost recognition
        views=64_000,
        steps=1_500,
    ),
}


@dataclass(frozen=True, eq=False)
class Batch:
    """Images (N, 3, 112, 112) uint8 and their labels, on the training device.

    `aim` is the teacher's embedding at the student's length; `teacher`, at its own, gives the
    similarities.
    """

    pixels: Tensor
    teacher: Tensor
    aim: Tensor
    dlib: Tensor
    distance: Tensor


def losses(student: Student, batch: Batch, stage: Stage, *, bf16: bool) -> dict[str, Tensor]:
    """Return the stage's loss ("loss") and its parts, unweighted.

    Parameters
    ----------
    student : Student
        In training mode dropout is active; the exact limit needs none.
    bf16 : bool
        Whether the trunk's convolutions run in bfloat16; the head and all losses are float32.
    """
    with torch.autocast(batch.pixels.device.type, torch.bfloat16, enabled=bf16):
        maps = student.maps(batch.pixels)
    features = student.features(maps)
    embeddings = functional.normalize(student.embed(features))
    parts = {
        "cosine": 1 - (embeddings * functional.normalize(batch.aim)).sum(1).mean(),
        "similarity": _similarity(embeddings, batch.teacher),
        "dlib": (student.dlib_embedding(maps) - batch.dlib).square().sum(1).mean(),
    }
    if stage.limit:
        apart = limit_distance(features, *student.head()) - batch.distance
        parts["limit"] = (apart - apart.mean()).square().mean()
    parts["loss"] = torch.stack([getattr(stage, name) * part for name, part in parts.items()]).sum()
    return parts


def _similarity(embeddings: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of all cosines between two faces of the batch."""
    apart = embeddings @ embeddings.T - teacher @ teacher.T
    pairs = len(apart) * (len(apart) - 1)
    return (apart.square().sum() - apart.diagonal().square().sum()) / pairs


def freeze(student: Student, stage: Stage) -> None:
    """Put a student into the stage's training mode."""
    student.train()
    if stage.frozen:
        for norm in (student.bn1, student.fc1):
            norm.eval()
            norm.requires_grad_(requires_grad=False)
