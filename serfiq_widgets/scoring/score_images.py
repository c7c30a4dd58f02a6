"""From images to numbers: the functions that every command and table uses to score a folder.

Images are read ahead of the network (`faces.read_faces`), which gets their faces in batches. Only
the numbers are kept. A bad image has its error and does not stop the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import chain, islice
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.faces.alignment import AlignedFace
from serfiq_widgets.faces.read_faces import AHEAD, CHUNK, ReadFace, chunked, read_faces
from serfiq_widgets.scoring.results import Passes, Scores, check_passes_or_auto, nothing_made
from serfiq_widgets.scoring.scorer import Scorer

if TYPE_CHECKING:
    from serfiq_widgets.images.read import ImageSource

Progress = Callable[[int, int], None]
"""Called with the number of images done and the number of all images."""


@dataclass(frozen=True, eq=False)
class ScoredImages:
    """Some images and their scores.

    Attributes
    ----------
    images : list of ReadFace
        All images, in order; ``error`` says why one has no score.
    scores : Scores
        One row for each image without an error, in order.
    """

    images: list[ReadFace]
    scores: Scores

    @property
    def scored(self) -> list[ReadFace]:
        """The images that have a row in ``scores``."""
        return [image for image in self.images if image.error is None]

    @property
    def errors(self) -> list[str]:
        """The errors of the other images."""
        return [str(image.error) for image in self.images if image.error is not None]


def score_chunks(
    scorer: Scorer,
    chunks: Iterable[Sequence[ImageSource | AlignedFace]],
    passes: Passes = 100,
    *,
    aligned: bool = False,
    embed: bool = False,
    turn: AbstractContextManager[Any] | None = None,
) -> Iterator[ScoredImages]:
    """Score images chunk by chunk, while the next chunks are read.

    An engine that takes large batches gets several chunks as one. A GPU scores the next one while
    the caller handles the one that was yielded.

    Parameters
    ----------
    scorer : Scorer
        The network, on its engine.
    chunks : iterable of sequences of images
        From `chunked`; consumed lazily.
    passes : int or "auto"
        Dropout passes T; see `Scorer.score_batch`.
    aligned : bool
        The images are aligned face crops: skip detection.
    embed : bool
        Also return each face's embedding.
    turn : context manager, optional
        Entered while the network runs: a lock, if several threads share one scorer.
    """
    passes = check_passes_or_auto(passes)
    several = max(1, scorer.engine.batch_size // CHUNK)
    read = read_faces(chunks, aligned=aligned, detector=scorer.detector, ahead=max(AHEAD, several))
    groups = iter(lambda: list(chain.from_iterable(islice(read, several))), [])

    def score(images: list[ReadFace]) -> ScoredImages:
        with turn or nullcontext():
            return _score(scorer, images, passes, embed)

    yield from map(score, groups) if scorer.engine.device == "cpu" else _ahead(score, groups)


def score_images(
    scorer: Scorer,
    images: Sequence[ImageSource | AlignedFace],
    passes: Passes = 100,
    *,
    aligned: bool = False,
    progress: Progress | None = None,
) -> ScoredImages:
    """Score all images and return their scores; see `score_chunks`.

    The faces are not kept.
    """
    parts: list[ScoredImages] = []
    done = 0
    for part in score_chunks(scorer, chunked(images), passes, aligned=aligned):
        done += len(part.images)
        parts.append(replace(part, images=_without_faces(part.images)))
        if progress is not None:
            progress(done, len(images))
    every = [image for part in parts for image in part.images]
    return ScoredImages(every, Scores.joined([part.scores for part in parts]))


def embed_images(
    scorer: Scorer,
    images: Sequence[ImageSource | AlignedFace],
    *,
    aligned: bool = False,
    progress: Progress | None = None,
) -> tuple[NDArray[np.float32], list[ReadFace]]:
    """Embed images without dropout.

    Returns
    -------
    embeddings : (N, D) ndarray of float32
        Not scaled to length 1, of the N images without an error, in order.
    images : list of ReadFace
        All images, without their faces.

    Raises
    ------
    CorruptModel
        The network gives empty features for a face.
    """
    parts = [np.empty((0, scorer.network.head.n_dimensions), np.float32)]
    read: list[ReadFace] = []
    for chunk in read_faces(chunked(images), aligned=aligned, detector=scorer.detector):
        faces = [image.face for image in chunk if image.face is not None]
        batches = chunked(faces, scorer.engine.batch_size)
        parts.extend(scorer.network.head(scorer.features(batch)) for batch in batches)
        read.extend(_without_faces(chunk))
        if progress is not None:
            progress(len(read), len(images))
    return np.concatenate(parts), read


def _ahead(
    score: Callable[[list[ReadFace]], ScoredImages], groups: Iterable[list[ReadFace]]
) -> Iterator[ScoredImages]:
    """Score groups in order, in a thread, one ahead of the one that is yielded."""
    with ThreadPoolExecutor(1) as thread:
        last: Future[ScoredImages] | None = None
        for group in groups:
            done, last = last, thread.submit(score, group)
            if done is not None:
                yield done.result()
        if last is not None:
            yield last.result()


def _without_faces(images: Iterable[ReadFace]) -> list[ReadFace]:
    return [replace(image, face=None) for image in images]


def _score(scorer: Scorer, images: list[ReadFace], passes: Passes, embed: bool) -> ScoredImages:
    """Score the faces of a chunk, in batches of the engine's size."""
    found = [(i, image.face) for i, image in enumerate(images) if image.face is not None]
    size = scorer.engine.batch_size
    images, parts = list(images), []
    for first in range(0, len(found), size):
        batch = found[first : first + size]
        start = perf_counter()
        scores = scorer.score_batch([face for _, face in batch], passes, embed=embed)
        ms = 1e3 * (perf_counter() - start) / len(batch)
        empty = np.isnan(scores.raw)
        for (i, face), nothing in zip(batch, empty, strict=True):
            error = nothing_made(scorer.network.name, face) if nothing else None
            images[i] = replace(images[i], error=error, ms=images[i].ms + ms)
        parts.append(scores.where(~empty))
    return ScoredImages(images, Scores.joined(parts))
