"""Measurements of a folder of faces for an evaluation: embeddings, people, qualities."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import BadSetting, plain_text
from serfiq_widgets.evaluation import (
    Comparisons,
    Table,
    brightness,
    compare_all,
    embedding_norm,
    sharpness,
)
from serfiq_widgets.faces.read_faces import chunked
from serfiq_widgets.images.files import find_images
from serfiq_widgets.scoring.results import Scores
from serfiq_widgets.scoring.score_images import Progress, score_chunks
from serfiq_widgets.scoring.scorer import Scorer


@dataclass(frozen=True, eq=False)
class Measured:
    """A network's results for the usable images of a folder.

    Attributes
    ----------
    names : tuple of str
        The N images, as paths from the folder.
    people : tuple of str
        The person on each image: the name of the image's folder.
    embeddings : (N, D) ndarray of float32
        Unscaled embeddings of the network; for an on-top head, those of its base network.
    qualities : dict of str to (N,) ndarray of float64
        ``serfiq`` (raw score as published), ``controlled`` and ``limit`` (the closed form; both
        where the head is affine), ``norm`` of the embedding, ``sharpness``, ``brightness``.
    errors : tuple of str
        Reasons why the other images could not be used.
    about : dict
        Data, model, its SHA-256, passes, seed.
    """

    names: tuple[str, ...]
    people: tuple[str, ...]
    embeddings: NDArray[np.float32]
    qualities: dict[str, NDArray[np.float64]]
    errors: tuple[str, ...]
    about: dict[str, Any]

    def table(self, comparisons: Comparisons | None = None) -> Table:
        """Return a table to evaluate: with the given comparisons, or all images compared."""
        compared = comparisons or compare_all(self.embeddings, self.people)
        return Table(compared, dict(self.qualities), self.names, self.about)


def measure(
    scorer: Scorer,
    folder: str | Path,
    passes: int = 100,
    *,
    aligned: bool = False,
    progress: Progress | None = None,
) -> Measured:
    """Score and embed the images of a folder; bad images are counted and skipped.

    Parameters
    ----------
    scorer : Scorer
    folder : str or Path
        A folder with one sub-folder per person.
    passes : int
        Dropout passes T.
    aligned : bool
        The images are aligned face crops: skip detection.
    progress : callable, optional
        Called after each chunk with the number of finished images and of all images.

    Raises
    ------
    BadSetting
        No image could be used.
    """
    folder = Path(folder)
    images = find_images([folder])
    used: list[Path] = []
    errors: list[str] = []
    looks: list[tuple[float, float]] = []
    parts: list[Scores] = []
    for part in score_chunks(scorer, chunked(images), passes, aligned=aligned, embed=True):
        faces = [image.face for image in part.scored if image.face is not None]
        looks.extend((sharpness(face.pixels), brightness(face.pixels)) for face in faces)
        used.extend(Path(str(image.source)) for image in part.scored)
        errors.extend(part.errors)
        parts.append(part.scores)
        if progress is not None:
            progress(len(used) + len(errors), len(images))
    if not used:
        raise BadSetting(f"No image in '{folder}' could be used. {' '.join(errors[:1])}".strip())
    scores = Scores.joined(parts)
    vectors = np.asarray(scores.embeddings)
    sharp, bright = np.array(looks).T
    qualities = {"controlled": scores.controlled, "serfiq": scores.raw}
    qualities |= {"limit": scores.closed_form, "norm": embedding_norm(vectors)}
    qualities |= {"sharpness": sharp, "brightness": bright}
    if not scorer.network.head.is_affine:
        del qualities["controlled"], qualities["limit"]
    return Measured(
        names=tuple(path.relative_to(folder).as_posix() for path in used),
        people=tuple(path.parent.name for path in used),
        embeddings=vectors,
        qualities=qualities,
        errors=tuple(errors),
        about={
            "data": plain_text(folder.resolve().name),
            "model": scorer.card.name,
            "model_sha256": scorer.network.sha256,
            "passes": passes,
            "seed": scorer.seed,
        },
    )
