"""From a folder of faces to what an evaluation needs: embeddings, people, qualities."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.batch import find_images
from serfiq_widgets.errors import BadSetting, SerfiqError
from serfiq_widgets.evaluation import (
    Table,
    brightness,
    compare_all,
    embedding_norm,
    sharpness,
)
from serfiq_widgets.evaluation.comparisons import TAIL

if TYPE_CHECKING:
    from serfiq_widgets.results import QualityResult
    from serfiq_widgets.scorer import Scorer


@dataclass(frozen=True, eq=False)
class Measured:
    """What a network says of the images that could be used.

    Attributes
    ----------
    paths : tuple of Path
        The N images.
    embeddings : (N, D) ndarray of float32
        As the network gives them, not scaled; under an on-top head those of its base.
    qualities : dict of str to (N,) ndarray of float64
        ``serfiq`` (raw score of the passes), ``limit`` (of infinitely many, where there is one),
        ``norm`` of the embedding, ``sharpness``, ``brightness``.
    errors : tuple of str
        Why the other images could not be used.
    """

    paths: tuple[Path, ...]
    embeddings: NDArray[np.float32]
    qualities: dict[str, NDArray[np.float64]]
    errors: tuple[str, ...]


def measure(
    scorer: Scorer,
    images: Sequence[Path],
    passes: int = 100,
    *,
    aligned: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Measured:
    """Score and embed images; a bad image is counted, not a stop.

    Parameters
    ----------
    scorer : Scorer
    images : sequence of Path
        From `batch.find_images`.
    passes : int
        Dropout passes T.
    aligned : bool
        The images are aligned face crops: skip detection.
    progress : callable, optional
        Called after each image with how many are done, and how many there are.

    Raises
    ------
    BadSetting
        No image could be used.
    """
    paths, rows, embeddings, errors = [], [], [], []
    for path, result in zip(images, scorer.score_many(images, passes, aligned=aligned), strict=True):
        if isinstance(result, SerfiqError):
            errors.append(str(result))
        else:
            paths.append(path)
            embeddings.append(_embedding(scorer, result))
            pixels = result.face.pixels
            rows.append((result.raw, result.limit, sharpness(pixels), brightness(pixels)))
        if progress is not None:
            progress(len(paths) + len(errors), len(images))
    if not paths:
        raise BadSetting(f"No image could be used.{' ' + errors[0] if errors else ''}")
    raw, limit, sharp, bright = np.array(rows).T
    vectors = np.stack(embeddings)
    qualities = {"serfiq": raw, "limit": limit, "norm": embedding_norm(vectors)}
    qualities |= {"sharpness": sharp, "brightness": bright}
    if np.isnan(limit).all():
        del qualities["limit"]
    return Measured(tuple(paths), vectors, qualities, tuple(errors))


def evaluation_table(
    scorer: Scorer,
    folder: str | Path,
    passes: int = 100,
    *,
    aligned: bool = False,
    fmr: float = 1e-3,
    tail: float = TAIL,
    progress: Callable[[int, int], None] | None = None,
) -> Table:
    """Measure a folder with one sub-folder per person, and compare all its images.

    Parameters
    ----------
    scorer, passes, aligned, progress
        As for `measure`.
    folder : str or Path
        An image's person is the name of the folder that it lies in.
    fmr : float
        Where the oracle's errors are.
    tail : float
        See `compare_all`.

    Returns
    -------
    Table
        Its names are paths from the folder; ``about`` counts under ``errors`` what could not be
        used.
    """
    folder = Path(folder)
    measured = measure(scorer, find_images([folder]), passes, aligned=aligned, progress=progress)
    compared = compare_all(measured.embeddings, [path.parent.name for path in measured.paths], tail=tail)
    names = tuple(path.relative_to(folder).as_posix() for path in measured.paths)
    about = describe(scorer, passes) | {"data": folder.resolve().name, "errors": len(measured.errors)}
    return Table(compared, dict(measured.qualities), names, about).with_baselines(fmr)


def describe(scorer: Scorer, passes: int) -> dict[str, Any]:
    """What a figure must say of the network that gave the numbers."""
    return {
        "model": scorer.card.name,
        "model_sha256": scorer.network.sha256,
        "passes": passes,
        "seed": scorer.seed,
    }


def _embedding(scorer: Scorer, result: QualityResult) -> NDArray[np.float32]:
    head = scorer.network.head
    return head(result.features[None])[0] if head.is_affine else result.features
