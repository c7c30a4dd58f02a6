"""Rank agreement of qualities: whether two methods would discard the same images.

These are pure functions on arrays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from serfiq_widgets.errors import BadSetting
from serfiq_widgets.evaluation.curves import rank

LOWEST = 0.1
"""The share of images of lowest quality whose overlap is counted."""


@dataclass(frozen=True)
class Agreement:
    """How alike two qualities order the images.

    Attributes
    ----------
    spearman, kendall : float
        Spearman's rho and Kendall's tau-b, -1..1; NaN if one quality is constant.
    overlap : float
        Share of the images among the lowest 10 % of one that are among those of the other, 0..1;
        .1 is chance.
    """

    spearman: float
    kendall: float
    overlap: float


def agreement(one: ArrayLike, other: ArrayLike) -> Agreement:
    """Compare the order of two qualities (N,) of the same images; NaN counts as lowest.

    Of images with the quality at the cut, the first in the table belong to the lowest 10 %.

    Raises
    ------
    BadSetting
        There are fewer than two images, or the lengths differ.

    Notes
    -----
    M. Kendall, "The treatment of ties in ranking problems", Biometrika 33(3), 1945: tau-b.
    """
    from scipy.stats import kendalltau, spearmanr

    images = np.size(one)
    if images < 2:  # noqa: PLR2004  # one image has no order
        raise BadSetting("Rank agreement needs two or more images.")
    ranks = [rank(quality, images) for quality in (one, other)]
    lowest = [set(_lowest(r).tolist()) for r in ranks]
    overlap = len(lowest[0] & lowest[1]) / len(lowest[0])
    if not all(np.ptp(r) for r in ranks):
        return Agreement(math.nan, math.nan, overlap)
    return Agreement(
        float(spearmanr(*ranks).statistic), float(kendalltau(*ranks).statistic), overlap
    )


def agreements(qualities: Mapping[str, ArrayLike]) -> dict[tuple[str, str], Agreement]:
    """Return the agreement of every two qualities."""
    pairs = combinations(qualities, 2)
    return {(a, b): agreement(qualities[a], qualities[b]) for a, b in pairs}


def _lowest(ranks: Any) -> Any:
    count = math.ceil(LOWEST * len(ranks) - 1e-9)
    return np.argsort(ranks, kind="stable")[:count]
