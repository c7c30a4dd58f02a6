"""Differences of scores between groups: distributions, shares, discard rates, effects, tests.

These are pure functions on arrays. A difference between groups describes one recognition network on
one collection of images: quality follows the network's own bias and is no judgement of people.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serfiq_widgets.errors import BadSetting

MIN_P = 1e-16  # smaller p-values are shown as "below"
SMALL = 30
"""Groups with fewer images are marked: their results may be due to chance."""
CONFIDENCE = 0.95
EXACT_PAIRS = 10_000  # pairs of images up to which the Kolmogorov-Smirnov test is exact
LOWEST = 0.005  # share of the scores cut off as outliers in figures
MIN_WIDTH = 1 / 200  # of a kernel, as a share of the drawn range


class Labels(NamedTuple):
    """The group of every image.

    Attributes
    ----------
    codes : (N,) ndarray of int
        Index into ``names``; -1 if the group is unknown.
    names : tuple of str
        The groups, in display order.
    ordered : bool
        Whether this order has a meaning, as for ages.
    """

    codes: NDArray[np.intp]
    names: tuple[str, ...]
    ordered: bool = False


class Effect(NamedTuple):
    """The difference between a group's scores and those of all others.

    Attributes
    ----------
    delta : float
        Cliff's delta, -1..1; above 0 if the group's scores are higher.
    ks, p : float
        Two-sample Kolmogorov-Smirnov statistic and its p-value.
    p_holm : float
        The p-value with Holm's correction for one test per group.
    """

    delta: float
    ks: float
    p: float
    p_holm: float


@dataclass(frozen=True)
class GroupRow:
    """One group at one threshold; undefined numbers (an effect without other groups) are NaN.

    ``rate`` is the share of the group below the threshold, ``low`` and ``high`` its 95 % Wilson
    interval; ``share`` is the group's share of all images and ``share_kept`` its share of the
    images at or above the threshold. ``small`` marks groups with fewer than ``SMALL`` images.
    """

    group: str
    n: int
    small: bool
    median: float
    quartile_1: float
    quartile_3: float
    below: int
    rate: float
    low: float
    high: float
    share: float
    share_kept: float
    delta: float
    ks: float
    p: float
    p_holm: float

    def texts(self) -> tuple[str, ...]:
        """Return table cells: all except the quartiles, the count below and the uncorrected p."""
        return (
            f"{self.group}{'*' if self.small else ''}",
            f"{self.n:,}",
            f"{self.median:.4g}",
            f"{self.rate:.1%}",
            f"{self.low:.1%} to {self.high:.1%}",
            f"{self.share:.1%}",
            _text(self.share_kept, ".1%"),
            _text(self.delta, "+.3f"),
            _text(self.ks, ".3f"),
            f"< {MIN_P:g}" if self.p_holm < MIN_P else _text(self.p_holm, ".2g"),
        )


def _text(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)


@dataclass(frozen=True, eq=False)
class GroupedScores:
    """Scores by group, sorted once, so that a threshold needs only a binary search.

    Attributes
    ----------
    names : tuple of str
        The groups with at least one score.
    scores : tuple of (n,) ndarray of float64
        The scores of each group, in ascending order.
    ordered : bool
        As in `Labels`.
    left_out : int
        Images without a score or without a group.
    """

    names: tuple[str, ...]
    scores: tuple[NDArray[np.float64], ...]
    ordered: bool = False
    left_out: int = 0

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Number of images (G,) of each group."""
        return np.array([len(scores) for scores in self.scores], np.int64)

    @property
    def small(self) -> NDArray[np.bool_]:
        """Which groups (G,) are too small for reliable results."""
        return self.counts < SMALL

    @cached_property
    def range(self) -> tuple[float, float]:
        """The useful range of thresholds: that of all scores without the lowest 0.5 %."""
        low, high = np.quantile(np.concatenate(self.scores), [LOWEST, 1])
        return float(low), float(high)

    def below(self, thresholds: ArrayLike) -> NDArray[np.int64]:
        """Return the number of images (G, K) of each group below each of K thresholds."""
        at = np.atleast_1d(np.asarray(thresholds, np.float64))
        return np.array([np.searchsorted(scores, at) for scores in self.scores], np.int64)

    def shares(self, thresholds: ArrayLike) -> NDArray[np.float64]:
        """Return each group's share (G, K) of the images kept at each of K thresholds.

        The shares add up to 1; they are NaN if no image is kept.
        """
        kept = self.counts[:, None] - self.below(thresholds)
        total = kept.sum(axis=0)
        return np.divide(kept, total, out=np.full(kept.shape, np.nan), where=total > 0)

    @cached_property
    def effects(self) -> tuple[Effect, ...]:
        """Return the difference between each group and all others."""
        if len(self.scores) == 1:
            return (Effect(*[math.nan] * 4),)
        found = []
        for i, own in enumerate(self.scores):
            rest = np.sort(np.concatenate([*self.scores[:i], *self.scores[i + 1 :]]))
            found.append((cliffs_delta(own, rest), *kolmogorov_smirnov(own, rest)))
        corrected = holm([p for *_, p in found])
        return tuple(
            Effect(*numbers, float(p)) for numbers, p in zip(found, corrected, strict=True)
        )

    def densities(
        self, grid: NDArray[np.float64], bounds: tuple[float, float] | None = None
    ) -> NDArray[np.float64]:
        """Return the density (G, K) of each group's scores on a grid (K,); see `density`."""
        return np.array([density(scores, grid, bounds) for scores in self.scores])

    def rows(self, threshold: float) -> list[GroupRow]:
        """Return all results of each group at a threshold."""
        below = self.below(threshold)[:, 0]
        low, high = wilson_interval(below, self.counts)
        share = self.counts / self.counts.sum()
        kept = self.shares(threshold)[:, 0]
        quartiles = [np.quantile(scores, [0.25, 0.5, 0.75]) for scores in self.scores]
        return [
            GroupRow(
                group=name,
                n=int(self.counts[i]),
                small=bool(self.small[i]),
                median=float(quartiles[i][1]),
                quartile_1=float(quartiles[i][0]),
                quartile_3=float(quartiles[i][2]),
                below=int(below[i]),
                rate=float(below[i] / self.counts[i]),
                low=float(low[i]),
                high=float(high[i]),
                share=float(share[i]),
                share_kept=float(kept[i]),
                **self.effects[i]._asdict(),
            )
            for i, name in enumerate(self.names)
        ]


def group_scores(scores: ArrayLike, labels: Labels) -> GroupedScores:
    """Sort scores (N,) into groups; images without a finite score or a group are counted.

    Raises
    ------
    BadSetting
        The numbers of labels and scores differ, or no image has both.
    """
    values = np.asarray(scores, np.float64)
    if values.shape != labels.codes.shape:
        raise BadSetting(f"There are {values.size} scores but {labels.codes.size} labels.")
    known = np.isfinite(values) & (labels.codes >= 0)
    if not known.any():
        raise BadSetting("No image has both a score and a group: there is nothing to compare.")
    sorted_ = [np.sort(values[known & (labels.codes == i)]) for i in range(len(labels.names))]
    present = [i for i, own in enumerate(sorted_) if len(own)]
    return GroupedScores(
        tuple(labels.names[i] for i in present),
        tuple(sorted_[i] for i in present),
        labels.ordered,
        int((~known).sum()),
    )


def wilson_interval(
    hits: ArrayLike, trials: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return Wilson's score interval of shares ``hits / trials``, within 0..1.

    References
    ----------
    Wilson, "Probable inference, the law of succession, and statistical inference", 1927.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    n = np.asarray(trials, np.float64)
    share = np.asarray(hits, np.float64) / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    reach = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = np.minimum(middle - reach, share), np.maximum(middle + reach, share)
    return np.maximum(low, 0.0), np.minimum(high, 1.0)


def cliffs_delta(a: ArrayLike, b: ArrayLike) -> float:
    """Compute Cliff's delta, P(a > b) - P(a < b), for scores ``a`` (N,) and ``b`` (M,).

    Exact over all N*M pairs, in O((N+M) log M); ties count for neither.

    References
    ----------
    Cliff, "Dominance statistics: ordinal analyses to answer ordinal questions", 1993.
    """
    own, other = np.asarray(a, np.float64), np.sort(np.asarray(b, np.float64))
    wins = int(np.searchsorted(other, own, "left").sum())
    losses = own.size * other.size - int(np.searchsorted(other, own, "right").sum())
    return (wins - losses) / (own.size * other.size)


def kolmogorov_smirnov(a: ArrayLike, b: ArrayLike) -> tuple[float, float]:
    """Compute the two-sample Kolmogorov-Smirnov statistic and its two-sided p-value.

    Exact for small samples, else asymptotic. With ties, as in integer qualities, the p-value is
    conservative.
    """
    from scipy.stats import ks_2samp

    own, other = np.asarray(a, np.float64), np.asarray(b, np.float64)
    method = "exact" if own.size * other.size <= EXACT_PAIRS else "asymp"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where exact fails, asymptotic follows
        result = ks_2samp(own, other, method=method)
    return float(result.statistic), float(result.pvalue)


def holm(p: Sequence[float]) -> NDArray[np.float64]:
    """Correct p-values (N,) for N tests by Holm's step-down method.

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure", 1979.
    """
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")
    steps = values[order] * np.arange(values.size, 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def density(
    scores: NDArray[np.float64],
    grid: NDArray[np.float64],
    bounds: tuple[float, float] | None = None,
) -> NDArray[np.float64]:
    """Compute a Gaussian kernel density of scores (N,) on a grid (K,), with Silverman's width.

    With bounds (0 and 100 for quality), density beyond them is reflected, so that all of it lies
    within the bounds.
    """
    iqr = np.subtract(*np.quantile(scores, [0.75, 0.25])) / 1.349
    deviations = [d for d in (float(np.std(scores)), float(iqr)) if d > 0]
    least = float(np.ptp(grid)) * MIN_WIDTH
    width = max(0.9 * min(deviations, default=0.0) * scores.size**-0.2, least)

    def at(points: NDArray[np.float64]) -> NDArray[np.float64]:
        total: NDArray[np.float64] = np.zeros(points.shape)
        for start in range(0, scores.size, 4096):  # bounded memory
            part = (points[:, None] - scores[start : start + 4096]) / width
            total += np.exp(-0.5 * part**2).sum(axis=1)
        mean: NDArray[np.float64] = total / (scores.size * width * math.sqrt(2 * math.pi))
        return mean

    if bounds is None:
        return at(grid)
    low, high = bounds
    folded = at(grid) + at(2 * low - grid) + at(2 * high - grid)
    return np.where((grid >= low) & (grid <= high), folded, 0.0)
