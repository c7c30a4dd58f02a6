"""Confidence bands: bootstrap over the people of a data set.

Comparisons that share a person are not independent, so people are resampled, not comparisons. A
person drawn w times counts as w persons: each image and each genuine comparison of this person has
weight w. (An impostor comparison of two people would have the product of both weights, but the
threshold stays that of the whole set, so none is needed.) No comparison is computed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serfiq_widgets.errors import BadSetting
from serfiq_widgets.evaluation.balanced import NO_ERROR, BalancedOrder
from serfiq_widgets.evaluation.comparisons import Comparisons
from serfiq_widgets.evaluation.curves import ROUNDING, By, Curve, Order, threshold_at

Floats = NDArray[np.float64]
LEVEL = 0.95
TINY = 1e-9  # so that rates of 0 and 1 have a logit


@dataclass(frozen=True, eq=False)
class Resampled:
    """Results of one quality for B draws of the people.

    Attributes
    ----------
    shares : (S,) ndarray of float64
        The discarded shares.
    fnmr : (B, S) ndarray of float64
        FNMR at these shares, by draw. A row has the same people for all qualities.
    pauc : dict of float to (B,) ndarray of float64
        `Curve.pauc` of each draw, by its largest share.
    balanced : (B, S) ndarray of float64
        FNMR in which every person weighs the same.
    found, found_balanced : (S,) ndarray of float64
        Both FNMRs of the whole set.
    people : int
        Number of people with a genuine comparison.
    """

    shares: Floats
    fnmr: Floats
    pauc: dict[float, Floats]
    balanced: Floats
    found: Floats
    found_balanced: Floats
    people: int

    def band(self, level: float = LEVEL) -> tuple[Floats, Floats]:
        """Return the pointwise band (S,) of FNMR; see `rate_band`."""
        return rate_band(self.fnmr, self.found, self.people, level)

    def balanced_band(self, level: float = LEVEL) -> tuple[Floats, Floats]:
        """Return the pointwise band (S,) of the balanced FNMR; see `rate_band`."""
        return rate_band(self.balanced, self.found_balanced, self.people, level)


def rate_band(
    draws: Floats, found: Floats, people: int, level: float = LEVEL
) -> tuple[Floats, Floats]:
    """Return confidence intervals (S,) of rates from their bootstrap draws.

    The interval is that of Student's t on the logit scale, around the rate that was found, with the
    standard error of the draws. Quantiles of the draws cover too little where errors are rare or
    people few, because a rate near 0 has a long tail that the draws do not have: for 30 people and
    a balanced FNMR of 0.028 they cover 0.81 instead of 0.95, this interval 0.95.

    Parameters
    ----------
    draws : (B, S) ndarray of float64
        The rates of draws of the people.
    found : (S,) ndarray of float64
        The rates of the whole set. Where one is 0, the upper end is 3 / ``people``.
    people : int
        Number of people drawn.
    level : float
        Nominal coverage.
    """
    from scipy.special import expit, logit, stdtrit

    n = max(people, 2)
    error = draws.std(axis=0, ddof=1) * np.sqrt(n / (n - 1))
    inside = np.clip(found, TINY, 1 - TINY)
    reach = stdtrit(n - 1, 0.5 + level / 2) * error / (inside * (1 - inside))
    none = found <= 0
    low = np.where(none, 0.0, expit(logit(inside) - reach))
    high = np.where(none, min(1.0, NO_ERROR / n), expit(logit(inside) + reach))
    return low, high


def ends(draws: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return the quantiles of draws (B, ...) that exclude the same share on both sides."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


class Resampler:
    """Draws the people once, and computes the curve of one quality at any FMR for each draw.

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
        if draws < 2:  # noqa: PLR2004  # one draw has no quantiles
            raise BadSetting(f"{draws} draws are too few for a band: use 100 or more.")
        compared = order.comparisons
        persons = compared.persons
        chances = np.full(persons, 1 / persons)
        self._order, self._areas = order, areas
        self._even, self._by = BalancedOrder.of(order), by
        self._shares = np.asarray(shares, np.float64)
        self._owner = compared.people[compared.first]
        self._weights = np.random.default_rng(seed).multinomial(persons, chances, size=draws)
        self._pairs = self._left(order.lower, self._owner)
        images = self._left(order.ranks, compared.people) if by == "image" else self._pairs
        total = np.maximum(images[:, :1], 1)
        self._discard = (total - images) / total

    def at(self, fmr: float) -> Resampled:
        """Return the curves at the whole set's threshold for this FMR."""
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
        steps = np.array(
            [np.searchsorted(row, self._shares + ROUNDING, side="right") for row in self._discard]
        )
        return Resampled(
            self._shares,
            fnmr,
            pauc,
            self._even.resampled(fmr, self._weights, steps - 1),
            self._order.curve(fmr, by=self._by).at(self._shares),
            self._even.curve(fmr, self._by).at(self._shares),
            int((self._even.counts > 0).sum()),
        )

    def _left(self, ranks: NDArray[np.int64], people: NDArray[np.int32]) -> Floats:
        """Return the total weight (B, S) of entries at each step or above, by draw."""
        # entries with the same rank and person are counted once for all draws
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
    """Resample the people and recompute each error-versus-discard curve; fixed threshold.

    Parameters
    ----------
    comparisons, qualities, fmr, by
        As in `discard_curve`, with several qualities by name.
    shares : (S,) array_like of float
        Discarded shares at which to compute FNMR.
    areas : sequence of float
        Largest shares of the pAUC.
    draws, seed : int
        Number and seed of the draws: equal for all qualities, so that two qualities can be compared
        draw by draw.

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
