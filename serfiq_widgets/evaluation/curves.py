"""FMR, FNMR, thresholds, DET curve, and error versus discard.

A comparison is accepted when its score is at or above the threshold. FMR is the share of impostor
comparisons that are accepted, FNMR that of genuine ones that are not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serfiq_widgets.errors import BadSetting
from serfiq_widgets.evaluation.comparisons import Comparisons

Floats = NDArray[np.float64]
By = Literal["image", "comparison"]
Threshold = Literal["fixed", "re-derived"]
ROUNDING = 1e-9  # of fmr times a count, which shall be a whole number where it is meant to be

__all__ = ["By", "Curve", "Threshold", "allowed", "det", "discard_curve", "fnmr_at", "threshold_at"]


def allowed(fmr: float, impostors: int) -> int:
    """How many of the impostor comparisons may be accepted at an FMR.

    Raises
    ------
    BadSetting
        The FMR is not above 0 and at most 1.
    """
    if not 0 < fmr <= 1:
        raise BadSetting(f"FMR {fmr!r:.20} is not possible: give a share above 0, at most 1.")
    return min(impostors, math.floor(fmr * impostors + ROUNDING))


def threshold_at(comparisons: Comparisons, fmr: float) -> float:
    """Return the lowest threshold at which FMR is at most ``fmr``.

    With ``k = floor(fmr * impostors)`` it is the next float32 above the (k+1)-th highest impostor
    score: this and all equal to it are rejected, so that with ties FMR stays below ``fmr``. It is
    an exact order statistic as long as k is below the length of the tail; beyond, it is the lowest
    edge of the histogram that keeps to ``fmr``.
    """
    count = allowed(fmr, comparisons.impostors)
    if count >= comparisons.impostors:
        return -math.inf
    if count < len(comparisons.tail):
        return _just_above(comparisons.tail[count])
    above = np.cumsum(comparisons.impostor_bins[::-1])[::-1]  # at or above each lower edge
    return float(comparisons.edges[np.argmax(above <= count)])


def fnmr_at(comparisons: Comparisons, threshold: float) -> float:
    """FNMR at a threshold."""
    return float((comparisons.genuine < threshold).mean())


def det(comparisons: Comparisons) -> tuple[Floats, Floats]:
    """DET curve: FMR and FNMR at falling thresholds.

    Exact at every point: at the scores of the tail, and below these at the histograms' edges.

    Returns
    -------
    two (P,) ndarrays of float64
        FMR, rising, and FNMR, falling.
    """
    tail, edges = comparisons.tail, comparisons.edges
    below = edges[edges < tail[-1]][::-1]
    thresholds = np.concatenate([np.unique(tail)[::-1].astype(np.float64), below])
    high = np.searchsorted(-tail, -thresholds[: len(thresholds) - len(below)], side="right")
    above = np.append(np.cumsum(comparisons.impostor_bins[::-1])[::-1], 0)
    low = above[: len(below)][::-1]
    missed = np.searchsorted(np.sort(comparisons.genuine), thresholds.astype(np.float32))
    fmr = np.concatenate([high, low]) / comparisons.impostors
    return fmr, missed / len(comparisons.genuine)


@dataclass(frozen=True, eq=False)
class Curve:
    """An error-versus-discard curve: a step function that is known exactly.

    Attributes
    ----------
    discard : (S,) ndarray of float64
        Share that is discarded at each step, rising from 0.
    fnmr : (S,) ndarray of float64
        FNMR from this share on, up to the next.
    """

    discard: Floats
    fnmr: Floats

    def at(self, shares: ArrayLike) -> Floats:
        """FNMR when at most these shares are discarded, of the same shape."""
        places = np.searchsorted(self.discard, np.asarray(shares) + ROUNDING, side="right")
        found: Floats = self.fnmr[places - 1]
        return found

    def pauc(self, most: float = 1.0, *, above_best: bool = False) -> float:
        r"""Partial area under the curve, as the mean FNMR from no discard up to a share.

        .. math:: \frac{1}{a} \int_0^a \mathrm{FNMR}(d)\,\mathrm{d}d

        Parameters
        ----------
        most : float
            The share *a*, above 0 to 1.
        above_best : bool
            Subtract the theoretical best, where every discard takes an error away:
            :math:`\max(0, \mathrm{FNMR}(0) - d)`, averaged likewise. By images it is no bound: one
            image can carry many errors.

        Notes
        -----
        T. Schlett, C. Rathgeb, J. Tapia, C. Busch, "Considerations on the evaluation of biometric
        quality assessment algorithms", IEEE TBIOM 2023: stepwise areas, and the theoretical best.
        """
        widths = np.diff(np.clip(np.append(self.discard, 1.0), 0, most))
        area = float(widths[widths > 0] @ self.fnmr[widths > 0])
        if above_best:
            start = float(self.fnmr[0])
            reach = min(start, most)
            area -= start * reach - reach**2 / 2
        return area / most


def discard_curve(
    comparisons: Comparisons,
    quality: ArrayLike,
    fmr: float = 1e-3,
    *,
    by: By = "image",
    threshold: Threshold = "fixed",
) -> Curve:
    """Error versus discard: FNMR while what has the lowest quality is left out.

    The quality of a comparison is the lower of its two images'. Equal qualities are discarded
    together: a step lies at each distinct quality. Where no genuine comparison is left, FNMR is 0.

    Parameters
    ----------
    comparisons : Comparisons
        Of N images.
    quality : (N,) array_like
        Higher is better; any scale. NaN counts as lower than all.
    fmr : float
        The threshold is that of this FMR.
    by : {"image", "comparison"}
        What is discarded and counted. "image": an image below the quality leaves with all its
        comparisons; the share is that of the N images. "comparison": a genuine comparison below
        the quality leaves; the share is that of the genuine comparisons. The steps are the same,
        the shares differ.
    threshold : {"fixed", "re-derived"}
        "fixed": the threshold of all impostor comparisons, as in operation. "re-derived": at each
        step anew, of the impostor comparisons that are left, so that FMR stays at ``fmr``. Exact
        as long as the tail holds enough of them; where it does not, FNMR is NaN.

    Raises
    ------
    BadSetting
        The quality has another length, or the tail says nothing of who was compared.

    Notes
    -----
    P. Grother, E. Tabassi, "Performance of biometric quality measures", IEEE TPAMI 29(4), 2007.
    """
    ranks = rank(quality, comparisons.images)
    steps = int(ranks.max()) + 1
    lower = np.minimum(ranks[comparisons.first], ranks[comparisons.second])
    left = _left(np.bincount(lower, minlength=steps))
    counted = _left(np.bincount(ranks, minlength=steps)) if by == "image" else left
    discard = (counted[0] - counted) / counted[0]
    if threshold == "fixed":
        missed = comparisons.genuine < threshold_at(comparisons, fmr)
        errors = _left(np.bincount(lower, weights=missed, minlength=steps))
    else:
        levels = _levels(comparisons, ranks, fmr)
        errors = np.array([_errors(comparisons, lower >= s, lev) for s, lev in enumerate(levels)])
    return Curve(discard, errors / np.maximum(left, 1))


def rank(quality: ArrayLike, images: int) -> NDArray[np.int64]:
    """Rank qualities (N,) from 0 for the lowest; equal ones share a rank, NaN is the lowest."""
    values = np.asarray(quality, np.float64)
    if values.shape != (images,):
        raise BadSetting(f"There are {images} images, but qualities of shape {values.shape}.")
    return np.unique(np.where(np.isnan(values), -np.inf, values), return_inverse=True)[1]


def _levels(comparisons: Comparisons, ranks: NDArray[np.int64], fmr: float) -> Floats:
    """Thresholds (S,) of the impostor comparisons that are left at each step; NaN if unknown.

    With the count k that may be accepted, only the k+1 highest of those matter, and as long as so
    many of the tail are left, they are the highest.
    """
    if comparisons.tail_first is None or comparisons.tail_second is None:
        raise BadSetting("This table says not who the impostors were: keep the threshold fixed.")
    lower = np.minimum(ranks[comparisons.tail_first], ranks[comparisons.tail_second])
    tail = comparisons.tail
    levels = np.full(int(ranks.max()) + 1, np.nan)
    for step, impostors in enumerate(_impostors_left(comparisons, ranks, lower)):
        present = lower >= step
        if not present.all():
            tail, lower = tail[present], lower[present]
        count = allowed(fmr, int(impostors))
        if count >= impostors:
            levels[step] = -math.inf
        elif count < len(tail):
            levels[step] = _just_above(tail[count])
    return levels


def _impostors_left(
    comparisons: Comparisons, ranks: NDArray[np.int64], tail: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How many impostor comparisons are left at each step (S,), exactly.

    Either the tail holds all of them, or all pairs were compared and the images left say it.
    """
    steps = int(ranks.max()) + 1
    if comparisons.complete:
        return _left(np.bincount(tail, minlength=steps))
    lower = np.minimum(ranks[comparisons.first], ranks[comparisons.second])
    images = _left(np.bincount(ranks, minlength=steps))
    return images * (images - 1) // 2 - _left(np.bincount(lower, minlength=steps))


def _errors(comparisons: Comparisons, left: NDArray[np.bool_], level: float) -> float:
    return math.nan if math.isnan(level) else np.sum(comparisons.genuine[left] < level)


def _left(counts: NDArray[Any]) -> NDArray[Any]:
    """Sums from each step to the end."""
    return np.cumsum(counts[::-1])[::-1]


def _just_above(score: np.float32) -> float:
    return float(np.nextafter(np.float32(score), np.float32(np.inf)))
