"""From a folder of faces to what an evaluation needs: embeddings, people, qualities."""

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
    """What a network says of the images of a folder that could be used.

    Attributes
    ----------
    names : tuple of str
        The N images, as paths from the folder.
    people : tuple of str
        Who is on each: the name of the folder that the image lies in.
    embeddings : (N, D) ndarray of float32
        As the network gives them, not scaled; under an on-top head those of its base.
    qualities : dict of str to (N,) ndarray of float64
        ``serfiq`` (raw score as published), ``controlled`` and ``limit`` (the closed form; both
        where the head is affine), ``norm`` of the embedding, ``sharpness``, ``brightness``.
    errors : tuple of str
        Why the other images could not be used.
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
        """Return what is to be evaluated: all images compared, or as they were already."""
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
    """Score and embed the images of a folder; a bad image is counted, not a stop.

    Parameters
    ----------
    scorer : Scorer
    folder : str or Path
        With one sub-folder per person.
    passes : int
        Dropout passes T.
    aligned : bool
        The images are aligned face crops: skip detection.
    progress : callable, optional
        Called after each chunk with how many are done, and how many there are.

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
