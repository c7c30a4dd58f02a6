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
from serfiq_widgets.evaluation.curves import By, Curve, Order, threshold_at

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


class Resampler:
    """Draws the people once, and takes the curve of one quality at any FMR for each draw.

    Parameters
    ----------
    order : Order
        The quality.
    shares, areas, by, draws, seed
        See `resample`.
    """

    def __init__(
        self,
        order: Order,
        shares: ArrayLike,
        areas: Sequence[float] = (),
        *,
        by: By = "image",
        draws: int = 300,
        seed: int = 0,
    ) -> None:
        if draws < 2:  # noqa: PLR2004  # quantiles of one draw say nothing
            raise BadSetting(f"{draws} draws are too few for a band: take 100 or more.")
        compared = order.comparisons
        persons = compared.persons
        chances = np.full(persons, 1 / persons)
        self._order, self._areas = order, areas
        self._shares = np.asarray(shares, np.float64)
        self._owner = compared.people[compared.first]
        self._weights = np.random.default_rng(seed).multinomial(persons, chances, size=draws)
        self._pairs = self._left(order.lower, self._owner)
        images = self._left(order.ranks, compared.people) if by == "image" else self._pairs
        total = np.maximum(images[:, :1], 1)
        self._discard = (total - images) / total

    def at(self, fmr: float) -> Resampled:
        """Curves at the threshold that the whole set has at this FMR."""
        compared = self._order.comparisons
        missed = compared.genuine < threshold_at(compared, fmr)
        errors = self._left(self._order.lower[missed], self._owner[missed])
        fnmr = np.empty((len(errors), len(self._shares)))
        pauc = {area: np.empty(len(errors)) for area in self._areas}
        rows = zip(self._discard, errors / np.maximum(self._pairs, 1), strict=True)
        for draw, row in enumerate(rows):
            curve = Curve(*row)
            fnmr[draw] = curve.at(self._shares)
            for area, values in pauc.items():
                values[draw] = curve.pauc(area)
        return Resampled(self._shares, fnmr, pauc)

    def _left(self, ranks: NDArray[np.int64], people: NDArray[np.int32]) -> Floats:
        """Weight at each step or above, by draw (B, S), of entries of a rank and a person."""
        # entries of one rank and one person are counted once for all draws
        groups, counts = np.unique(ranks << 32 | people, return_counts=True)
        step, person = groups >> 32, groups & 0xFFFFFFFF
        steps = len(self._order.images)
        sums = [np.bincount(step, counts * w[person], minlength=steps) for w in self._weights]
        left: Floats = np.cumsum(np.array(sums)[:, ::-1], axis=1)[:, ::-1]
        return left


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
    orders = {name: Order.of(comparisons, quality) for name, quality in qualities.items()}
    return {
        name: Resampler(order, shares, areas, by=by, draws=draws, seed=seed).at(fmr)
        for name, order in orders.items()
    }
