"""Comparisons of images: the genuine ones, a count of the impostors, and the highest of these.

Millions of comparisons are made in blocks and never held at once: what stays are all genuine
scores, the highest impostor scores, and both histograms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serfiq_widgets.errors import BadSetting

ROWS = 512  # of the matrix of scores at a time
BINS = 2048  # of -1 to 1: a power of two, so that a score's bin is exact
TAIL, MIN_TAIL = 0.004, 50_000
"""Of the impostor comparisons this share is kept, or this many: four times what FMR 1e-3 needs."""

Floats = NDArray[np.float32]
Indices = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Comparisons among N images, as much of them as curves need.

    Attributes
    ----------
    people : (N,) ndarray of int32
        Who is on each image, numbered from 0.
    first, second : (G,) ndarrays of int32
        The two images of each genuine comparison.
    genuine : (G,) ndarray of float32
        Scores of these; higher is more alike.
    impostors : int
        How many impostor comparisons there are.
    tail : (K,) ndarray of float32
        The K highest impostor scores, falling.
    tail_first, tail_second : (K,) ndarrays of int32, or None
        The two images of each of these; None where a saved table left them out.
    edges : (B + 1,) ndarray of float64
        Edges of the histograms, rising; a bin holds its lower edge, the last bin both.
    genuine_bins, impostor_bins : (B,) ndarrays of int64
        How many scores lie in each bin: exact counts of all comparisons.
    """

    people: Indices
    first: Indices
    second: Indices
    genuine: Floats
    impostors: int
    tail: Floats
    tail_first: Indices | None
    tail_second: Indices | None
    edges: NDArray[np.float64]
    genuine_bins: NDArray[np.int64]
    impostor_bins: NDArray[np.int64]

    @property
    def images(self) -> int:
        """N."""
        return len(self.people)

    @property
    def persons(self) -> int:
        """How many people there are."""
        return int(self.people.max()) + 1

    @property
    def complete(self) -> bool:
        """Whether the tail holds every impostor comparison."""
        return len(self.tail) == self.impostors


def compare_all(
    embeddings: ArrayLike, identities: ArrayLike, *, tail: float | None = None
) -> Comparisons:
    """Compare every image with every other: cosine of their embeddings.

    Memory stays bounded: a block of 512 rows, the genuine scores and the tail.

    Parameters
    ----------
    embeddings : (N, D) array_like
        Of any length; they are scaled to 1.
    identities : (N,) array_like
        Names or numbers of the people; equal ones make a genuine comparison.
    tail : float, optional
        Share of the impostor comparisons to keep, above 0 to 1. Thresholds are exact up to this
        FMR; see `threshold_at`. Without it 0.4 %, or all of them in a small set.

    Raises
    ------
    BadSetting
        The shapes differ, a number is not finite, or there is no genuine or no impostor comparison.
    """
    unit = _unit(embeddings)
    people = number_people(identities)
    if len(people) != len(unit):
        raise BadSetting(f"There are {len(unit)} embeddings, but {len(people)} identities.")
    sizes = np.bincount(people)
    every, same = math.comb(len(people), 2), sum(math.comb(int(size), 2) for size in sizes)
    _check_counts(same, every - same)
    impostors = every - same
    share = TAIL if tail is None else tail
    keep = _Highest(max(math.ceil(share * impostors), MIN_TAIL if tail is None else 1))
    genuine: list[tuple[Indices, Indices, Floats]] = []
    bins = np.zeros(BINS + 1, np.int64)  # the first one counts what is no impostor
    for start in range(0, len(unit), ROWS):
        scores = unit[start : start + ROWS] @ unit[start:].T
        here, there = people[start : start + ROWS, None], people[start:]
        alike = np.triu(here == there, 1)
        first, second = np.nonzero(alike)
        genuine.append(
            ((first + start).astype("i4"), (second + start).astype("i4"), scores[first, second])
        )
        scores[alike] = -np.inf
        scores[np.tril_indices(len(scores))] = -np.inf
        keep.add(scores, start)
        bins += np.bincount(_bin(scores).ravel(), minlength=BINS + 1)
    first, second, scores = (np.concatenate(part) for part in zip(*genuine, strict=True))
    highest, one, other = keep.result()
    return Comparisons(
        people=people,
        first=first,
        second=second,
        genuine=scores,
        impostors=impostors,
        tail=highest,
        tail_first=one,
        tail_second=other,
        edges=np.linspace(-1, 1, BINS + 1),
        genuine_bins=np.bincount(_bin(scores), minlength=BINS + 1)[1:],
        impostor_bins=bins[1:],
    )


def compare_pairs(
    first: ArrayLike,
    second: ArrayLike,
    scores: ArrayLike,
    genuine: ArrayLike,
    people: ArrayLike | None = None,
) -> Comparisons:
    """Take comparisons that were made already.

    Parameters
    ----------
    first, second : (P,) array_like of int
        Numbers of the two images, from 0.
    scores : (P,) array_like of float
        Higher is more alike; give minus the distance where distances were measured.
    genuine : (P,) array_like of bool
        Whether both show one person.
    people : (N,) array_like, optional
        Who is on each image. Without it, images that genuine comparisons join are one person.

    Raises
    ------
    BadSetting
        The lengths differ, a score is not finite, or there is no genuine or no impostor comparison.
    """
    one, other = np.asarray(first, np.int32), np.asarray(second, np.int32)
    values, same = np.asarray(scores, np.float32), np.asarray(genuine, bool)
    if not len(one) == len(other) == len(values) == len(same):
        raise BadSetting("Images, scores and genuine marks of the comparisons differ in number.")
    if not np.isfinite(values).all():
        raise BadSetting("Some comparison scores are not finite numbers.")
    _check_counts(int(same.sum()), int((~same).sum()))
    if people is None:
        people = _joined(one[same], other[same], int(max(one.max(), other.max())) + 1)
    edges = np.linspace(values.min(), np.nextafter(values.max(), np.float32(np.inf)), BINS + 1)
    falling = np.flatnonzero(~same)[np.argsort(-values[~same], kind="stable")]
    return Comparisons(
        people=number_people(people),
        first=one[same],
        second=other[same],
        genuine=values[same],
        impostors=len(falling),
        tail=values[falling],
        tail_first=one[falling],
        tail_second=other[falling],
        edges=edges,
        genuine_bins=np.histogram(values[same], edges)[0],
        impostor_bins=np.histogram(values[~same], edges)[0],
    )


def number_people(identities: ArrayLike) -> Indices:
    """Number identities (N,) from 0, in the order of their names."""
    _, numbers = np.unique(np.asarray(identities), return_inverse=True)
    return np.asarray(numbers, np.int32)


def genuine_pairs(people: Indices) -> tuple[Indices, Indices]:
    """All pairs (G,) of images of one person, in the order in which `compare_all` has them."""
    order = np.argsort(people, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(people[order])) + 1)
    pairs = [group[np.array(np.triu_indices(len(group), 1))] for group in groups]
    first, second = np.concatenate(pairs, axis=1).astype(np.int32)
    along = np.lexsort((second, first))
    return first[along], second[along]


class _Highest:
    """Keeps the highest scores of many blocks, and where they stood."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.level = np.float32(-np.inf)
        self.parts: list[tuple[Floats, Indices, Indices]] = []
        self.held = 0

    def add(self, block: Floats, start: int) -> None:
        """Take a block whose upper left score stands at (start, start); -inf is no score."""
        first, second = np.nonzero(block > self.level)
        part = block[first, second], (first + start).astype("i4"), (second + start).astype("i4")
        self.parts.append(part)
        self.held += len(first)
        if self.held > 2 * self.count:
            self._shrink()

    def _shrink(self) -> None:
        scores, first, second = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        if len(scores) > self.count:
            best = np.argpartition(-scores, self.count - 1)[: self.count]
            scores, first, second = scores[best], first[best], second[best]
            self.level = scores.min()  # equal ones further on would not move the count-th highest
        self.parts, self.held = [(scores, first, second)], len(scores)

    def result(self) -> tuple[Floats, Indices, Indices]:
        self._shrink()
        ((scores, first, second),) = self.parts
        falling = np.argsort(-scores, kind="stable")
        return scores[falling], first[falling], second[falling]


def _bin(scores: Floats) -> NDArray[np.int32]:
    """Bins of cosines from 1 on, exact since the bins' width is a power of two; 0 for -inf."""
    scaled = np.floor(scores * np.float32(BINS / 2))
    lowest, highest = -BINS // 2, BINS // 2 - 1
    clipped = np.clip(scaled, lowest - 1, highest).astype(np.int32)
    bins: Indices = clipped - (lowest - 1)
    bins[(bins == 0) & np.isfinite(scores)] = 1  # a cosine of -1 that rounding put below it
    return bins


def _unit(embeddings: ArrayLike) -> Floats:
    values = np.asarray(embeddings, np.float32)
    if values.ndim != 2 or not np.isfinite(values).all():  # noqa: PLR2004  # rows of embeddings
        raise BadSetting("Embeddings must be an array (N, D) of finite numbers.")
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    if not lengths.all():
        raise BadSetting(f"Embedding {int(np.argmin(lengths))} is all zeros: it has no direction.")
    unit: Floats = values / lengths
    return unit


def _joined(first: Indices, second: Indices, images: int) -> Indices:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(first), bool), (first, second)), shape=(images, images))
    return np.asarray(connected_components(links, directed=False)[1], np.int32)


def _check_counts(genuine: int, impostors: int) -> None:
    if not genuine:
        raise BadSetting("There is no genuine comparison: give two images of at least one person.")
    if not impostors:
        raise BadSetting("There is no impostor comparison: give images of at least two people.")
