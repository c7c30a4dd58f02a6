"""Comparisons of images: genuine scores, the impostor count and the highest impostor scores.

Millions of comparisons are computed in blocks and never stored at once: only the genuine scores,
the highest impostor scores and both histograms are kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serfiq_widgets.errors import BadSetting

ROWS = 512  # rows of the score matrix at a time
BINS = 2048  # from -1 to 1: a power of two, so that bins are exact
TAIL, MIN_TAIL = 0.004, 50_000
"""Share, or number, of impostor scores to keep: four times what FMR 1e-3 needs."""

Floats = NDArray[np.float32]
Indices = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Comparisons of N images, reduced to what curves need.

    Attributes
    ----------
    people : (N,) ndarray of int32
        Number of the person on each image, from 0.
    first, second : (G,) ndarrays of int32
        The two images of each genuine comparison.
    genuine : (G,) ndarray of float32
        Their scores; higher is more similar.
    impostors : int
        Number of impostor comparisons.
    tail : (K,) ndarray of float32
        The K highest impostor scores, in descending order.
    tail_first, tail_second : (K,) ndarrays of int32, or None
        The two images of each of these; None in saved tables.
    edges : (B + 1,) ndarray of float64
        Edges of the histograms, ascending; a bin includes its lower edge, the last bin both.
    genuine_bins, impostor_bins : (B,) ndarrays of int64
        Number of scores in each bin: exact counts of all comparisons.
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
        """Number of people."""
        return int(self.people.max()) + 1

    @property
    def complete(self) -> bool:
        """Whether the tail has all impostor comparisons."""
        return len(self.tail) == self.impostors


def compare_all(
    embeddings: ArrayLike, identities: ArrayLike, *, tail: float | None = None
) -> Comparisons:
    """Compare every image with every other by the cosine of their embeddings.

    Memory is bounded: a block of 512 rows, the genuine scores and the tail.

    Parameters
    ----------
    embeddings : (N, D) array_like
        Embeddings of any length; they are scaled to 1.
    identities : (N,) array_like
        Names or numbers of the people; equal identities give a genuine comparison.
    tail : float, optional
        Share of the impostor scores to keep, above 0 and at most 1. Thresholds are exact up to this
        FMR; see `threshold_at`. The default is 0.4 %, or all in a small set.

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
    bins = np.zeros(BINS + 1, np.int64)  # the first bin counts scores that are not impostors
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
    """Return the `Comparisons` of existing scores.

    Parameters
    ----------
    first, second : (P,) array_like of int
        Numbers of the two images, from 0.
    scores : (P,) array_like of float
        Higher is more similar; for distances, pass the negative distance.
    genuine : (P,) array_like of bool
        Whether both images show the same person.
    people : (N,) array_like, optional
        The person on each image; by default, genuine comparisons connect images of one person.

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


def cap_pairs(comparisons: Comparisons, most: int, seed: int = 0) -> Comparisons:
    """Keep at most so many genuine comparisons of each person, drawn at random.

    Their number grows with the square of a person's images, so that few people can outweigh all
    others. The impostor comparisons, and so the threshold, stay.

    Parameters
    ----------
    comparisons : Comparisons
    most : int
        At least 1.
    seed : int
        Of the draw.

    Raises
    ------
    BadSetting
        ``most`` is below 1.
    """
    if most < 1:
        raise BadSetting(f"At most {most} genuine comparisons a person: give 1 or more.")
    owner = comparisons.people[comparisons.first]
    shuffled = np.random.default_rng(seed).permutation(len(owner))
    by_person = shuffled[np.argsort(owner[shuffled], kind="stable")]
    counts = np.bincount(owner)
    begin = np.cumsum(counts) - counts
    place = np.arange(len(owner)) - begin[owner[by_person]]  # among the person's, from 0
    kept = np.sort(by_person[place < most])
    genuine = comparisons.genuine[kept]
    return replace(
        comparisons,
        first=comparisons.first[kept],
        second=comparisons.second[kept],
        genuine=genuine,
        genuine_bins=np.histogram(genuine, comparisons.edges)[0],
    )


def number_people(identities: ArrayLike) -> Indices:
    """Return numbers of identities (N,) from 0, in the order of their names."""
    _, numbers = np.unique(np.asarray(identities), return_inverse=True)
    return np.asarray(numbers, np.int32)


def genuine_pairs(people: Indices) -> tuple[Indices, Indices]:
    """Return all pairs (G,) of images of one person, in the order of `compare_all`."""
    order = np.argsort(people, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(people[order])) + 1)
    corners = {size: np.array(np.triu_indices(size, 1)) for size in {len(g) for g in groups}}
    pairs = [group[corners[len(group)]] for group in groups]
    first, second = np.concatenate(pairs, axis=1).astype(np.int32)
    along = np.lexsort((second, first))
    return first[along], second[along]


class _Highest:
    """Keeps the highest scores of many blocks, and their positions."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.level = np.float32(-np.inf)
        self.parts: list[tuple[Floats, Indices, Indices]] = []
        self.held = 0

    def add(self, block: Floats, start: int) -> None:
        """Add a block whose first score has the position (start, start); -inf is not a score."""
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
            self.level = scores.min()  # equal scores would not change the count-th highest
        self.parts, self.held = [(scores, first, second)], len(scores)

    def result(self) -> tuple[Floats, Indices, Indices]:
        self._shrink()
        ((scores, first, second),) = self.parts
        falling = np.argsort(-scores, kind="stable")
        return scores[falling], first[falling], second[falling]


def _bin(scores: Floats) -> NDArray[np.int32]:
    """Return bins of cosines, from 1, exact as the bin width is a power of two; 0 for -inf."""
    scaled = np.floor(scores * np.float32(BINS / 2))
    lowest, highest = -BINS // 2, BINS // 2 - 1
    clipped = np.clip(scaled, lowest - 1, highest).astype(np.int32)
    bins: Indices = clipped - (lowest - 1)
    bins[(bins == 0) & np.isfinite(scores)] = 1  # a cosine of -1 that rounding moved below -1
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
