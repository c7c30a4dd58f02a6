"""From distances between passes to estimates: raw scores and the ends of their intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets import robustness
from serfiq_widgets.checkpoints.heads import Head
from serfiq_widgets.control_variates import (
    Moments,
    controlled_distances,
    estimate_from,
    moments,
    running_estimate,
)
from serfiq_widgets.engines import Engine, spread_of
from serfiq_widgets.models.cards import Card
from serfiq_widgets.robustness import LimitTerms
from serfiq_widgets.scoring.results import best_of

AUTO_PASSES, NARROW = (5, 10, 20, 50, 100, 200), 0.5  # quality points


def known_moments(
    features: NDArray[np.float32], head: Head, rate: float, terms: LimitTerms | None
) -> Moments | None:
    """Return the moments of the passes of features (N, F); None for a head that is not affine.

    Empty features (`robustness.empty_features`) count as zeros.
    """
    if not head.is_affine:
        return None
    usable = np.where(robustness.empty_features(features)[:, None], 0, features)
    return moments(usable, head.weight, head.bias, rate, terms=terms)


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
    means: NDArray[np.float64], sums: NDArray[np.float64], known: Moments | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return raw scores with the ends of their intervals, plain and controlled: (3, N) each.

    Parameters
    ----------
    means : (N, T) ndarray of float64
        Mean distance of each pass to the others.
    sums : (3, N) ndarray of float64
        `control_variates.pair_sums`.
    known : Moments or None
        Moments of these faces; None for a head that is not affine.
    """
    passes = means.shape[1]
    mean = means.mean(axis=1)
    ends = robustness.score_interval(mean, robustness.standard_error(means), passes)
    plain = np.stack([robustness.raw_score(mean), *ends.T])
    if known is None:
        return plain, np.full_like(plain, np.nan)
    found = estimate_from(sums, passes, known)
    return plain, np.stack([found.raw, *found.interval().T])


def estimate_adaptively(
    engine: Engine,
    features: NDArray[np.float32],
    masks: Callable[[int], NDArray[np.bool_]],
    known: Moments | None,
    card: Card,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Make passes, at most 200, until half a quality's interval is at most `NARROW` points.

    Parameters
    ----------
    engine : Engine
    features : (N, F) ndarray of float32
    masks : callable
        Returns the masks of a number of passes.
    known : Moments or None
        Moments of these features; None for a head that is not affine.
    card : Card
        Holds the stretch from raw scores to qualities.

    Returns
    -------
    plain, controlled : (3, N) ndarray of float64
        As from `estimates`; NaN where the features are empty.
    passes : (N,) ndarray of int64
        Number of passes made of each face.
    """
    plain, controlled = np.full((2, 3, len(features)), np.nan)
    made = np.zeros(len(features), np.int64)
    wide = np.flatnonzero(~robustness.empty_features(features))
    for passes in AUTO_PASSES:
        if not len(wide):
            break
        some = None if known is None else known.of(wide)
        spread = spread_of(engine, features[wide], masks(passes), some)
        plain[:, wide], controlled[:, wide] = estimates(*spread, some)
        made[wide] = passes
        ends = best_of(plain[1:, wide], controlled[1:, wide]).T
        wide = wide[robustness.quality_margin(ends, card.alpha, card.r) > NARROW]
    return plain, controlled, made
