"""Many images at once: every image is scored, one row each.

A bad file is a row with its error; the others go on. Threads read, decode, find and align the faces
ahead of the network, which gets them in chunks.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO

from serfiq_widgets._version import __version__
from serfiq_widgets.errors import SerfiqError, one_line, plain_text
from serfiq_widgets.faces.alignment import AlignedFace
from serfiq_widgets.faces.find import find_face
from serfiq_widgets.images.read import name_of, read_bytes
from serfiq_widgets.scoring.results import Scores, check_passes, nothing_made
from serfiq_widgets.scoring.scorer import BATCH, Scorer

ImageFile = str | Path | BinaryIO
"""An image by its path, or open."""
CHUNK = 64  # images that are scored, kept and sent together
AHEAD = 2  # chunks that are prepared while one is scored


@dataclass(frozen=True)
class ScoreRow:
    """One line of a score table; the numbers are None where ``error`` says why.

    Attributes
    ----------
    path : str
        The image, as it was named or found.
    quality : int
        Quality component value, 0..100; none where the network is not calibrated.
    raw, low, high : float
        The score of the authors' code and its 95 % interval (none for two passes).
    limit : float
        The raw score of infinitely many passes; none where the head is not affine.
    scaled : float
        Logistic stretch of ``raw`` to 0..1; none where the network is not calibrated.
    faces : int
        How many faces the photo holds; the largest central one was scored.
    box, detector : str
        Its left, top, right and bottom in photo pixels, and who found it; none for a face that
        was given aligned.
    passes, seed : int
        Dropout passes T, and the seed of their masks.
    model, model_sha256 : str
        The network, and the hash of its weights.
    calibrated : bool
        Whether its alpha and r are its own: else there is no quality. In every row.
    sha256 : str
        Hash of the image's file; there for every file that could be read.
    engine, device, precision : str
        What ran the network, where, and what it computed in.
    ms : float
        Milliseconds of work on this image; several images are under way at a time.
    error : str
        What was wrong and what to try; none if all went well.
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
    calibrated: bool | None = None
    sha256: str | None = None
    engine: str | None = None
    device: str | None = None
    precision: str | None = None
    ms: float | None = None
    error: str | None = None


def chunked(paths: Iterable[ImageFile]) -> Iterator[list[ImageFile]]:
    """Cut paths into chunks: always the same, for a network's rounding depends on the batch."""
    stream = iter(paths)
    while chunk := list(islice(stream, CHUNK)):
        yield chunk


def score_files(
    scorer: Scorer, paths: Iterable[ImageFile], passes: int = 100, *, aligned: bool = False
) -> Iterator[ScoreRow]:
    """Score files in order, one row each.

    Parameters
    ----------
    scorer : Scorer
        The model, engine and seed.
    paths : iterable of str, Path or file object
        From `find_images` or `walk`; read as far as the work has come.
    passes : int
        Dropout passes T.
    aligned : bool
        The files are aligned face crops: skip detection.
    """
    for rows in score_chunks(scorer, chunked(paths), passes, aligned=aligned):
        yield from rows


def score_chunks(
    scorer: Scorer,
    chunks: Iterable[Sequence[ImageFile]],
    passes: int = 100,
    *,
    aligned: bool = False,
    turn: AbstractContextManager[Any] | None = None,
) -> Iterator[list[ScoreRow]]:
    """Score files chunk by chunk, while threads prepare the next chunks; see `score_files`.

    ``turn`` is entered while the network works: a lock, where several share one scorer.
    """
    passes = check_passes(passes)
    pool = ThreadPoolExecutor(cores())

    def prepare(chunk: Sequence[ImageFile]) -> Iterator[Prepared]:
        return pool.map(lambda path: _prepare(path, aligned, scorer.detector), chunk)

    def score(prepared: Iterator[Prepared]) -> list[ScoreRow]:
        ready = list(prepared)
        with turn or nullcontext():
            return _score(scorer, ready, passes)

    waiting: deque[Iterator[Prepared]] = deque()
    try:
        for chunk in chunks:
            waiting.append(prepare(chunk))
            if len(waiting) > AHEAD:
                yield score(waiting.popleft())
        while waiting:
            yield score(waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def settings_of(scorer: Scorer, passes: int, *, aligned: bool) -> dict[str, Any]:
    """Return all that the rows of one run have in common, as text and numbers.

    Rows of equal settings can stand in one table, wherever they were computed.
    """
    plain = {
        name: value
        for name, value in scorer.options.items()
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
        "passes": check_passes(passes),
        "aligned": aligned,
    }


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(frozen=True)
class Prepared:
    """One file before the network sees it: its face, or what was wrong."""

    path: str
    face: AlignedFace | None
    sha256: str | None
    ms: float
    error: str | None


def _prepare(path: ImageFile, aligned: bool, detector: str) -> Prepared:
    """Read, hash and decode a file, find and align its face."""
    start = perf_counter()
    name = name_of(path)
    face = digest = error = None
    try:
        content = read_bytes(path, name)
        digest = hashlib.sha256(content).hexdigest()
        face = find_face(content, aligned=aligned, name=name, detector=detector)
    except SerfiqError as what:
        error = plain_text(what)
    except Exception as what:  # noqa: BLE001  # one odd file among a million ends nothing
        why = f"{type(what).__name__}: {one_line(what)}"
        error = plain_text(f"'{name}' cannot be handled ({why}).")
    return Prepared(plain_text(path), face, digest, 1e3 * (perf_counter() - start), error)


def digest_of(path: ImageFile) -> str | None:
    """Return the SHA-256 of an image's file as `ScoreRow` has it; None if it cannot be read."""
    try:
        return hashlib.sha256(read_bytes(path, name_of(path))).hexdigest()
    except SerfiqError:
        return None


def _score(scorer: Scorer, chunk: list[Prepared], passes: int) -> list[ScoreRow]:
    """Score the faces of a chunk, in batches that suit the device; one row per file."""
    own = scorer.calibrated
    rows = [ScoreRow(one.path, calibrated=own, sha256=one.sha256, error=one.error) for one in chunk]
    found = [(i, one.face) for i, one in enumerate(chunk) if one.face is not None]
    size = BATCH if scorer.engine.device == "cpu" else CHUNK
    for first in range(0, len(found), size):
        batch = found[first : first + size]
        start = perf_counter()
        scores = scorer.scores([face for _, face in batch], passes)
        ms = 1e3 * (perf_counter() - start) / len(batch)
        shared = {
            "passes": passes,
            "seed": scorer.seed,
            "model": scorer.card.name,
            "model_sha256": scorer.network.sha256,
            "engine": scorer.engine.name,
            "device": scorer.engine.device,
            "precision": scorer.engine.precision,
        }
        if not own:  # numbers that mean nothing are left out
            shared |= {"quality": None, "scaled": None}
        for place, (i, face) in enumerate(batch):
            if math.isnan(scores.raw[place]):
                rows[i] = replace(
                    rows[i], error=plain_text(nothing_made(scorer.network.name, face))
                )
                continue
            numbers = _numbers(scores, place) | _about(face) | shared
            rows[i] = replace(rows[i], **numbers, ms=round(chunk[i].ms + ms, 3))
    return rows


def _numbers(scores: Scores, place: int) -> dict[str, Any]:
    """Return the numbers of one face; None for what there is not."""
    names = ("raw", "low", "high", "limit", "scaled")
    numbers = {name: float(getattr(scores, name)[place]) for name in names}
    known = {name: None if math.isnan(value) else value for name, value in numbers.items()}
    return known | {"quality": int(scores.quality[place])}


def _about(face: AlignedFace) -> dict[str, Any]:
    box = None if face.box is None else " ".join(f"{edge:.0f}" for edge in face.box)
    return {"faces": face.n_faces, "box": box, "detector": face.detector or None}
