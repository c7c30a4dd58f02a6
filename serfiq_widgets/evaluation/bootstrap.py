"""Confidence bands: the people of a data set drawn anew, with replacement.

Comparisons that share a person are not independent, so people are drawn and not comparisons. A
person drawn w times counts as w persons: each image and each genuine comparison of theirs has
weight w. (An impostor comparison of two people would have the product of both weights; the
threshold stays that of the whole set, so none is needed.) Nothing is compared again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serfiq_widgets.errors import BadSetting
from serfiq_widgets.evaluation.comparisons import Comparisons
from serfiq_widgets.evaluation.curves import By, Curve, rank, threshold_at

Floats = NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Resampled:
    """What B draws of the people say of one quality.

    Attributes
    ----------
    shares : (S,) ndarray of float64
        The discarded shares.
    fnmr : (B, S) ndarray of float64
        FNMR at these, by draw. The same row of two qualities is of the same people.
    pauc : dict of float to (B,) ndarray of float64
        By the share up to which it goes, `Curve.pauc` of each draw.
    """

    shares: Floats
    fnmr: Floats
    pauc: dict[float, Floats]

    def band(self, level: float = LEVEL) -> tuple[Floats, Floats]:
        """Lower and upper end (S,) of the central share ``level`` of the draws, point by point."""
        return ends(self.fnmr, level)


def ends(draws: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Quantiles of draws (B, ...) that leave out equally much on both sides."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def resample(
    comparisons: Comparisons,
    qualities: Mapping[str, ArrayLike],
    fmr: float = 1e-3,
    *,
    shares: ArrayLike,
    areas: Sequence[float] = (0.2, 0.3, 1.0),
    by: By = "image",
    draws: int = 300,
    seed: int = 0,
) -> dict[str, Resampled]:
    """Draw the people anew and take each error-versus-discard curve again; threshold fixed.

    Parameters
    ----------
    comparisons, qualities, fmr, by
        As for `discard_curve`, with several qualities by name.
    shares : (S,) array_like of float
        Where FNMR is wanted.
    areas : sequence of float
        Up to which shares the pAUC is wanted.
    draws, seed : int
        How many, and the seed of the draws: equal for all qualities, so that differences of two
        can be judged draw by draw.

    Raises
    ------
    BadSetting
        ``draws`` is below 2.

    Notes
    -----
    R. Bolle, N. Ratha, S. Pankanti, "Error analysis of pattern recognition systems: the subsets
    bootstrap", CVIU 93(1), 2004.
    """
    if draws < 2:  # noqa: PLR2004  # quantiles of one draw say nothing
        raise BadSetting(f"{draws} draws are too few for a band: take 100 or more.")
    points = np.asarray(shares, np.float64)
    weights = _weights(comparisons, draws, seed)
    missed = comparisons.genuine < threshold_at(comparisons, fmr)
    ranks = {name: rank(quality, comparisons.images) for name, quality in qualities.items()}
    return {
        name: _one(comparisons, own, missed, weights, points, areas, by)
        for name, own in ranks.items()
    }


def _weights(comparisons: Comparisons, draws: int, seed: int) -> NDArray[np.int64]:
    """How often each person was drawn: (B, persons)."""
    rng = np.random.default_rng(seed)
    persons = comparisons.persons
    return rng.multinomial(persons, np.full(persons, 1 / persons), size=draws)


def _one(
    comparisons: Comparisons,
    ranks: NDArray[np.int64],
    missed: NDArray[np.bool_],
    weights: NDArray[np.int64],
    points: Floats,
    areas: Sequence[float],
    by: By,
) -> Resampled:
    """Curves of one quality under all weights, by sums along images sorted once."""
    owner = comparisons.people[comparisons.first]
    lower = np.minimum(ranks[comparisons.first], ranks[comparisons.second])
    images = _Sums(ranks, comparisons.people)
    pairs, errors = _Sums(lower, owner), _Sums(lower[missed], owner[missed])
    fnmr = np.empty((len(weights), len(points)))
    pauc = {area: np.empty(len(weights)) for area in areas}
    steps = int(ranks.max()) + 1
    for draw, weight in enumerate(weights):
        left = pairs.left(weight, steps)
        counted = images.left(weight, steps) if by == "image" else left
        total = max(counted[0], 1)
        curve = Curve((total - counted) / total, errors.left(weight, steps) / np.maximum(left, 1))
        fnmr[draw] = curve.at(points)
        for area, values in pauc.items():
            values[draw] = curve.pauc(area)
    return Resampled(points, fnmr, pauc)


class _Sums:
    """Weighted counts by rank, where a weight belongs to a person.

    Entries of one rank and one person are counted once and for all, so that a draw costs a sum
    over these groups.
    """

    def __init__(self, ranks: NDArray[np.int64], people: NDArray[np.int32]) -> None:
        keys = ranks.astype(np.int64) << 32 | people
        groups, self._counts = np.unique(keys, return_counts=True)
        self._ranks, self._people = groups >> 32, groups & 0xFFFFFFFF

    def left(self, weight: NDArray[np.int64], steps: int) -> Floats:
        """Weight at each step (S,) or above."""
        sums = np.bincount(self._ranks, self._counts * weight[self._people], minlength=steps)
        left: Floats = np.cumsum(sums[::-1])[::-1]
        return left
