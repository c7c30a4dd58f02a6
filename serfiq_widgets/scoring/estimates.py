"""From distances between passes to estimates: raw scores and the ends of their intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets import robustness
from serfiq_widgets.control_variates import (
    Moments,
    controlled_distances,
    estimate_from,
    running_estimate,
)
from serfiq_widgets.engines.batch import Batch, PassSums
from serfiq_widgets.models.cards import Card
from serfiq_widgets.scoring.results import best_of

AUTO_PASSES, NARROW = (5, 10, 20, 50, 100, 200), 0.5  # quality points


def closed_forms(known: Moments | None, empty: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the closed forms (N,) of raw scores; NaN for empty features or without moments."""
    if known is None:
        return np.full(len(empty), np.nan)
    return np.where(empty, np.nan, robustness.raw_score(known.distances))


def running_estimates(
    distances: NDArray[np.float64], passes: NDArray[np.float32], known: Moments | None
) -> dict[str, NDArray[np.float64]]:
    """Return the running scores and intervals of a `QualityResult`, by their names there.

    Parameters
    ----------
    distances : (T, T) ndarray of float64
        Distances between the normalised embeddings of the passes.
    passes : (T, D) ndarray of float32
        Embeddings before normalisation.
    known : Moments or None
        Moments of this face.
    """
    mean = robustness.running_mean_distance(distances)
    error = robustness.running_standard_error(distances)
    plain = (robustness.raw_score(mean), robustness.score_interval(mean, error))
    controlled = tuple(np.full_like(column, np.nan) for column in plain)
    if known is not None:
        found = running_estimate(controlled_distances(passes, known), known)
        controlled = (found.raw, found.interval())
    return {
        "running": plain[0],
        "running_interval": plain[1],
        "running_controlled": controlled[0],
        "running_controlled_interval": controlled[1],
    }


def estimates(
    sums: PassSums, known: Moments | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return raw scores with the ends of their intervals, plain and controlled: (3, N) each.

    Parameters
    ----------
    sums : PassSums
        From `Batch.pass_sums`.
    known : Moments or None
        Moments of these faces; None for a head that is not affine.
    """
    ends = robustness.score_interval(sums.mean, sums.error, sums.passes)
    plain = np.stack([robustness.raw_score(sums.mean), *ends.T])
    if known is None:
        return plain, np.full_like(plain, np.nan)
    found = estimate_from(sums.pairs, sums.passes, known)
    return plain, np.stack([found.raw, *found.interval().T])


def estimate_adaptively(
    batch: Batch, masks: Callable[[int], NDArray[np.bool_]], card: Card
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Make passes, at most 200, until half a quality's interval is at most `NARROW` points.

    Parameters
    ----------
    batch : Batch
        N faces.
    masks : callable
        Returns the masks of a number of passes.
    card : Card
        Holds the stretch from raw scores to qualities.

    Returns
    -------
    plain, controlled : (3, N) ndarray of float64
        As from `estimates`; NaN where the features are empty.
    passes : (N,) ndarray of int64
        Number of passes made of each face.
    """
    empty, known = batch.empty, batch.moments
    plain, controlled = np.full((2, 3, len(empty)), np.nan)
    made = np.zeros(len(empty), np.int64)
    wide = np.flatnonzero(~empty)
    for passes in AUTO_PASSES:
        if not len(wide):
            break
        some = None if known is None else known.of(wide)
        sums = batch.pass_sums(masks(passes), wide)
        plain[:, wide], controlled[:, wide] = estimates(sums, some)
        made[wide] = passes
        ends = best_of(plain[1:, wide], controlled[1:, wide]).T
        wide = wide[robustness.quality_margin(ends, card.alpha, card.r) > NARROW]
    return plain, controlled, made
