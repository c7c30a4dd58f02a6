"""What a network makes of many people: the scores of their photos, and of pairs of strangers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.evaluation.curves import threshold_at
from serfiq_widgets.evaluation.saved import load
from serfiq_widgets.models.cards import cards
from serfiq_widgets.resources import bundled

NAME = "LFW"  # the photos of the bundled table
FMR = 1e-3  # of the decision threshold
BAND = 0.95  # share of the strangers within their band


@dataclass(frozen=True, eq=False)
class Population:
    """Statistics of one network on one set of photos, without faces or embeddings.

    Attributes
    ----------
    name : str
        The set of photos.
    model_sha256 : str
        The network.
    rate : float
        Its dropout rate.
    scores : (N,) ndarray of float32
        The raw scores of the photos, ascending.
    threshold : float
        The cosine from which on two photos count as one person, at an FMR of 0.001.
    strangers : tuple of two float
        Low and high end of the middle 95 % of the cosines of different people.
    """

    name: str
    model_sha256: str
    rate: float
    scores: NDArray[np.float32]
    threshold: float
    strangers: tuple[float, float]

    def percent_below(self, raw: NDArray[np.float64]) -> list[int]:
        """Return what percentage of the photos, rounded down, scores lower than each of (M,)."""
        below = np.searchsorted(self.scores, raw.astype(np.float32))
        return [int(percent) for percent in 100 * below // len(self.scores)]


@lru_cache(maxsize=1)
def bundled_population() -> Population:
    """Return the statistics of the bundled table."""
    table = load(bundled())
    compared, about = table.comparisons, table.about
    shares = np.cumsum(compared.impostor_bins) / compared.impostors
    low, high = compared.edges[1:][np.searchsorted(shares, [0.5 - BAND / 2, 0.5 + BAND / 2])]
    return Population(
        name=NAME,
        model_sha256=about["model_sha256"],
        rate=float(cards()[about["model"]].rate or 0),
        scores=np.sort(table.qualities["controlled"]),
        threshold=threshold_at(compared, FMR),
        strangers=(float(low), float(high)),
    )


def population_of(model_sha256: str, rate: float) -> Population | None:
    """Return the statistics of a network at a dropout rate, or None: only one table is bundled."""
    known = bundled_population()
    return known if (model_sha256, rate) == (known.model_sha256, known.rate) else None
