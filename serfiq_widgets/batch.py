"""Many images at once: walk folders, score every image, one row each.

A bad file is a row with its error; the others go on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from serfiq_widgets.errors import SerfiqError
from serfiq_widgets.results import QualityResult
from serfiq_widgets.scorer import Scorer

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True)
class ScoreRow:
    """One line of a score table; the numbers are None where ``error`` says why.

    ``low`` and ``high`` are the 95 % interval of ``raw``; ``box`` is in photo pixels and
    ``detector`` found it, both empty for a face that was given aligned; ``ms`` is the time per
    image in milliseconds.
    """

    path: str
    quality: int | None = None
    raw: float | None = None
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    scaled: float | None = None
    faces: int | None = None
    box: str | None = None
    detector: str | None = None
    passes: int | None = None
    seed: int | None = None
    model: str | None = None
    model_sha256: str | None = None
    engine: str | None = None
    device: str | None = None
    ms: float | None = None
    error: str | None = None


def find_images(paths: Iterable[str | Path]) -> list[Path]:
    """List the images: files as they are given, folders walked for JPEG, PNG and WebP, sorted."""
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = (p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            found.extend(sorted(inside))
        else:
            found.append(path)
    return found


def score_files(
    scorer: Scorer, paths: Iterable[Path], passes: int = 100, *, aligned: bool = False
) -> Iterator[ScoreRow]:
    """Score files in order, one row each.

    Parameters
    ----------
    scorer : Scorer
        The model, engine and seed.
    paths : iterable of Path
        From `find_images`.
    passes : int
        Dropout passes T.
    aligned : bool
        The files are aligned face crops: skip detection.
    """
    paths = list(paths)
    results = scorer.score_many(paths, passes, aligned=aligned)
    for path, result in zip(paths, results, strict=True):
        if isinstance(result, SerfiqError):
            yield ScoreRow(str(path), error=str(result))
        else:
            yield _row(path, result)


def _row(path: Path, result: QualityResult) -> ScoreRow:
    low, high = (None if math.isnan(end) else end for end in result.interval)
    box = result.face.box
    return ScoreRow(
        path=str(path),
        quality=result.quality,
        raw=result.raw,
        low=low,
        high=high,
        limit=result.limit,
        scaled=result.scaled,
        faces=result.face.n_faces,
        box=None if box is None else " ".join(f"{edge:.0f}" for edge in box),
        detector=result.face.detector or None,
        passes=result.passes,
        seed=result.seed,
        model=result.model,
        model_sha256=result.model_sha256,
        engine=result.engine,
        device=result.device,
        ms=round(sum(result.timings.values()), 3),
    )
