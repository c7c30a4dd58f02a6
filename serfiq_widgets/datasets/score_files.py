"""Scoring of many images, one row each; a bad image gives a row with its error."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from serfiq_widgets._version import __version__
from serfiq_widgets.datasets.rows import ImageFile, ScoreRow
from serfiq_widgets.errors import SerfiqError, plain_text
from serfiq_widgets.faces.alignment import AlignedFace
from serfiq_widgets.faces.read_faces import chunked
from serfiq_widgets.images.read import name_of, read_bytes
from serfiq_widgets.scoring.results import Passes, Scores, check_passes_or_auto
from serfiq_widgets.scoring.score_images import ScoredImages, score_chunks
from serfiq_widgets.scoring.scorer import Scorer

NUMBERS = {  # of a row, and what they are called in `Scores`
    **{name: name for name in ("raw", "low", "high", "controlled")},
    **{name: name for name in ("controlled_low", "controlled_high", "scaled", "margin")},
    "limit": "closed_form",
}


def score_files(
    scorer: Scorer, paths: Iterable[ImageFile], passes: Passes = 100, *, aligned: bool = False
) -> Iterator[ScoreRow]:
    """Score files in order, one row each.

    Parameters
    ----------
    scorer : Scorer
        The model, engine and seed.
    paths : iterable of str, Path or file object
        For example from `find_images` or `walk`; read step by step during the work.
    passes : int or "auto"
        Dropout passes T; see `Scorer.score_batch`.
    aligned : bool
        The files are aligned face crops: skip detection.
    """
    for rows in row_chunks(scorer, chunked(paths), passes, aligned=aligned):
        yield from rows


def row_chunks(
    scorer: Scorer,
    chunks: Iterable[Sequence[ImageFile]],
    passes: Passes = 100,
    *,
    aligned: bool = False,
    turn: AbstractContextManager[Any] | None = None,
) -> Iterator[list[ScoreRow]]:
    """Score files chunk by chunk; see `score_files`, and `score_chunks` for ``turn``."""
    for scored in score_chunks(scorer, chunks, passes, aligned=aligned, turn=turn):
        yield _rows(scorer, scored)


def settings_of(scorer: Scorer, passes: Passes, *, aligned: bool) -> dict[str, Any]:
    """Return the common settings of all rows of a run, as text and numbers.

    Rows with equal settings can be in one table, wherever they were computed.
    """
    plain = {
        name: value
        for name, value in vars(scorer.options).items()
        if name not in ("model", "card") and isinstance(value, str | int | float | None)
    }
    card, normalisation = scorer.card, scorer.card.normalisation
    return {
        **plain,
        "version": __version__,
        "model": card.name,
        "model_sha256": scorer.network.sha256,
        "site": scorer.network.site,
        "pixels": f"{normalisation.colour} {normalisation.mean:g} {normalisation.scale:g}",
        "engine": scorer.engine.name,
        "device": scorer.engine.device,
        "precision": scorer.engine.precision,
        "rate": scorer.rate,
        "alpha": card.alpha,
        "r": card.r,
        "passes": check_passes_or_auto(passes),
        "aligned": aligned,
    }


def digest_of(path: ImageFile) -> str | None:
    """Return the SHA-256 of an image's file for `ScoreRow`; None if it cannot be read."""
    try:
        return hashlib.sha256(read_bytes(path, name_of(path))).hexdigest()
    except SerfiqError:
        return None


def _rows(scorer: Scorer, scored: ScoredImages) -> list[ScoreRow]:
    """Return one row per file."""
    shared = {
        "seed": scorer.seed,
        "model": scorer.card.name,
        "model_sha256": scorer.network.sha256,
        "engine": scorer.engine.name,
        "device": scorer.engine.device,
        "precision": scorer.engine.precision,
    }
    if not scorer.calibrated:  # omit meaningless numbers
        shared |= {"quality": None, "scaled": None, "margin": None}
    rows: list[ScoreRow] = []
    done = 0
    for image in scored.images:
        about: dict[str, Any] = {"calibrated": scorer.calibrated, "sha256": image.sha256}
        if image.error is not None:
            about["error"] = plain_text(image.error)
        elif image.face is not None:
            about |= _numbers(scored.scores, done) | _about(image.face) | shared
            about["ms"] = round(image.ms, 3)
            done += 1
        rows.append(ScoreRow(plain_text(image.source), **about))
    return rows


def _numbers(scores: Scores, place: int) -> dict[str, Any]:
    """Return the numbers of one face; None for missing ones."""
    numbers = {name: float(getattr(scores, of)[place]) for name, of in NUMBERS.items()}
    known = {name: None if math.isnan(value) else value for name, value in numbers.items()}
    return known | {"quality": int(scores.quality[place]), "passes": int(scores.passes[place])}


def _about(face: AlignedFace) -> dict[str, Any]:
    box = None if face.box is None else " ".join(f"{edge:.0f}" for edge in face.box)
    return {"faces": face.n_faces, "box": box, "detector": face.detector or None}
