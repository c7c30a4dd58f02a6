"""Error rates in which every person weighs the same, and what the data are too few for.

Genuine comparisons grow with the square of a person's images, so that a pooled FNMR is that of the
most photographed people. The balanced FNMR is the mean over people of the share of their own
genuine comparisons that are rejected; the balanced FMR the mean over pairs of people of the share
of their comparisons that are accepted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.evaluation.comparisons import Comparisons
from serfiq_widgets.evaluation.curves import By, Curve, Order, threshold_at

Floats = NDArray[np.float64]

FEW_ERRORS, FEW_PEOPLE = 30, 100
"""Below, a rate or its band is not to be trusted: the rule of 30, and measured coverage."""
NO_ERROR = 3.0
"""Upper bound, with 95 % confidence, of an expected number of which none was seen."""


@dataclass(frozen=True, eq=False)
class BalancedOrder:
    """The genuine comparisons of each person, in the order in which a quality discards them.

    After this preparation, a curve at any FMR needs only sums.

    Attributes
    ----------
    order : Order
    along : (G,) ndarray of int64
        The genuine comparisons, sorted by person, then by the step at which they leave.
    person, step : (G,) ndarrays of int64
        The person of each of these, and the first step at which it is gone.
    counts : (P,) ndarray of int64
        Number of genuine comparisons of each person.
    """

    order: Order
    along: NDArray[np.int64]
    person: NDArray[np.int64]
    step: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, order: Order) -> BalancedOrder:
        """Return the order by a quality."""
        compared = order.comparisons
        owner = compared.people[compared.first].astype(np.int64)
        along = np.lexsort((order.lower, owner))
        counts = np.bincount(owner, minlength=compared.persons)
        return cls(order, along, owner[along], order.lower[along] + 1, counts)

    def curve(self, fmr: float, by: By = "image") -> Curve:
        """Return the balanced error-versus-discard curve; 0 if no comparison is left."""
        start, change = self._shares(fmr)
        counted = self.order.images if by == "image" else self.order.pairs
        size = len(counted) + 1
        sums = start.sum() + np.cumsum(np.bincount(self.step, change, minlength=size))
        gone = np.cumsum(np.bincount(self.step, self._last, minlength=size))
        people = (self.counts > 0).sum() - gone
        fnmr = np.where(people > 0, sums / np.maximum(people, 1), 0.0)[: len(counted)]
        return Curve((counted[0] - counted) / counted[0], np.maximum(fnmr, 0.0))

    def resampled(self, fmr: float, weights: NDArray[np.int64], steps: NDArray[np.int64]) -> Floats:
        """Return the balanced FNMR (B, S) at some steps for drawn people.

        Parameters
        ----------
        fmr : float
        weights : (B, P) ndarray of int64
            How often each person was drawn.
        steps : (B, S) ndarray of int64
            The step of each draw.
        """
        start, change = self._shares(fmr)
        step, person, group, last = self._groups
        changes = np.bincount(group, change)
        size = len(self.order.images) + 1
        fnmr = np.empty(steps.shape)
        for draw, weight in enumerate(weights):
            drawn = weight[person]
            sums = start @ weight + np.cumsum(np.bincount(step, changes * drawn, minlength=size))
            gone = np.cumsum(np.bincount(step, last * drawn, minlength=size))
            people = (self.counts > 0) @ weight - gone
            shares = sums[steps[draw]] / np.maximum(people[steps[draw]], 1)
            fnmr[draw] = np.maximum(shares, 0.0)
        return fnmr

    @property
    def _last(self) -> Floats:
        """1 for the last comparison of each person, 0 for the others (G,)."""
        return np.append(self.person[1:] != self.person[:-1], [True]).astype(np.float64)

    @cached_property
    def _groups(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Floats]:
        """Steps and people of the distinct pairs of both, the pair of each comparison, its last."""
        pairs, group = np.unique(self.step << 32 | self.person, return_inverse=True)
        last = np.bincount(group, self._last).astype(np.float64)
        return pairs >> 32, pairs & 0xFFFFFFFF, group, last

    def _shares(self, fmr: float) -> tuple[Floats, Floats]:
        """Return each person's share of rejected comparisons, and how leaving changes it.

        Returns
        -------
        start : (P,) ndarray of float64
            Without discard; 0 without a genuine comparison.
        change : (G,) ndarray of float64
            Of the share of its person's remaining comparisons, when a comparison leaves.
        """
        compared = self.order.comparisons
        missed = (compared.genuine < threshold_at(compared, fmr))[self.along].astype(np.float64)
        ends = np.cumsum(self.counts)[self.person]
        left = ends - np.arange(len(ends)) - 1  # of this person, after this one
        total = np.cumsum(missed)
        wrong = total[ends - 1] - total
        after = wrong / np.maximum(left, 1)
        start = np.bincount(self.person, missed, minlength=len(self.counts))
        return start / np.maximum(self.counts, 1), after - (wrong + missed) / (left + 1)


def balanced_fmr(comparisons: Comparisons, threshold: float) -> float:
    """Return the mean over pairs of people of the share of their comparisons that are accepted.

    NaN if it is not known: the images of the impostor comparisons are not named, or not all
    accepted ones are in the tail, or not every image was compared with every other.
    """
    compared = comparisons
    if compared.tail_first is None or compared.tail_second is None:
        return math.nan
    sizes = np.bincount(compared.people).astype(np.float64)
    every = (sizes.sum() ** 2 - (sizes**2).sum()) / 2
    known = compared.complete or compared.tail[-1] < threshold
    if every != compared.impostors or not known:
        return math.nan
    accepted = compared.tail >= threshold
    one, other = (
        compared.people[images[accepted]] for images in (compared.tail_first, compared.tail_second)
    )
    pairs = len(sizes) * (len(sizes) - 1) / 2
    return float((1 / (sizes[one] * sizes[other])).sum() / pairs)


def realised_fmr(comparisons: Comparisons, threshold: float) -> float:
    """Return the FMR that a threshold of `threshold_at` has on these comparisons."""
    if comparisons.complete or threshold > comparisons.tail[-1]:
        accepted = int((comparisons.tail >= threshold).sum())
    else:
        accepted = int(comparisons.impostor_bins[comparisons.edges[:-1] >= threshold].sum())
    return accepted / comparisons.impostors


def cautions(comparisons: Comparisons, fmr: float, threshold: float) -> list[str]:
    """Return what these data are too few for, one sentence each; empty if they are enough."""
    said = []
    impostors, genuine = comparisons.impostors, len(comparisons.genuine)
    expected = fmr * impostors
    if expected < FEW_ERRORS:
        said.append(
            f"{impostors:,} impostor comparisons are too few for FMR {fmr:g}: {expected:.3g} of "
            f"them lie above the threshold, and 30 are needed. The realised FMR is "
            f"{_rate(realised_fmr(comparisons, threshold), impostors)}."
        )
    errors = int((comparisons.genuine < threshold).sum())
    if errors == 0:
        said.append(
            f"No genuine comparison is rejected: FNMR is below {NO_ERROR / genuine:.2g} with 95 % "
            "confidence, if the comparisons are independent."
        )
    elif errors < FEW_ERRORS:
        said.append(f"FNMR rests on {errors} rejected comparisons; 30 are needed.")
    people = len(np.unique(comparisons.people[comparisons.first]))
    if people < FEW_PEOPLE:
        said.append(
            f"Only {people} people have a genuine comparison: bands over fewer than 100 people "
            "are too narrow."
        )
    return said


def _rate(rate: float, count: int) -> str:
    """Return a rate as text; for 0, its upper bound by the rule of three."""
    return f"{rate:.2g}" if rate > 0 else f"0 (below {NO_ERROR / count:.2g} with 95 % confidence)"
