"""FMR, FNMR, thresholds, DET curve, and error versus discard.

A comparison is accepted if its score is at or above the threshold. FMR is the share of accepted
impostor comparisons, FNMR the share of rejected genuine comparisons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serfiq_widgets.checks import check_number
from serfiq_widgets.errors import BadSetting
from serfiq_widgets.evaluation.comparisons import Comparisons

Floats = NDArray[np.float64]
By = Literal["image", "comparison"]
Threshold = Literal["fixed", "re-derived"]
ROUNDING = 1e-9  # tolerance of fmr times a count, so that integers stay integers


def allowed(fmr: float, impostors: int) -> int:
    """Return how many impostor comparisons may be accepted at an FMR.

    Raises
    ------
    BadSetting
        The FMR is not in (0, 1].
    """
    check_number("FMR", fmr, 0, 1, open_below=True)
    return min(impostors, math.floor(fmr * impostors + ROUNDING))


def threshold_at(comparisons: Comparisons, fmr: float) -> float:
    """Return the lowest threshold at which FMR is at most ``fmr``.

    With ``k = floor(fmr * impostors)`` it is the next float32 above the (k+1)-th highest impostor
    score: this score and all equal ones are rejected, so that with ties FMR stays below ``fmr``. It
    is an exact order statistic if k is less than the length of the tail; else it is the lowest edge
    of the histogram at which FMR is at most ``fmr``.
    """
    count = allowed(fmr, comparisons.impostors)
    if count >= comparisons.impostors:
        return -math.inf
    if count < len(comparisons.tail):
        return _just_above(comparisons.tail[count])
    above = np.cumsum(comparisons.impostor_bins[::-1])[::-1]  # counts at or above each lower edge
    return float(comparisons.edges[np.argmax(above <= count)])


def fnmr_at(comparisons: Comparisons, threshold: float) -> float:
    """Return FNMR at a threshold."""
    return float((comparisons.genuine < threshold).mean())


def det(comparisons: Comparisons) -> tuple[Floats, Floats]:
    """Compute the DET curve: FMR and FNMR at descending thresholds.

    Every point is exact: at the scores of the tail, and below them at the histograms' edges.

    Returns
    -------
    two (P,) ndarrays of float64
        FMR, ascending, and FNMR, descending.
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
    """An error-versus-discard curve as an exact step function.

    Attributes
    ----------
    discard : (S,) ndarray of float64
        Discarded share at each step, ascending from 0.
    fnmr : (S,) ndarray of float64
        FNMR from this share up to the next one.
    """

    discard: Floats
    fnmr: Floats

    def at(self, shares: ArrayLike) -> Floats:
        """Return FNMR if at most these shares are discarded, with the same shape."""
        places = np.searchsorted(self.discard, np.asarray(shares) + ROUNDING, side="right")
        found: Floats = self.fnmr[places - 1]
        return found

    def pauc(self, most: float = 1.0, *, above_best: bool = False) -> float:
        r"""Compute the partial area under the curve, as the mean FNMR from 0 to a share.

        .. math:: \frac{1}{a} \int_0^a \mathrm{FNMR}(d)\,\mathrm{d}d

        Parameters
        ----------
        most : float
            The share *a*, above 0 and at most 1.
        above_best : bool
            Subtract the theoretical best, where every discard removes an error:
            :math:`\max(0, \mathrm{FNMR}(0) - d)`, averaged in the same way. When images are
            discarded this is not a bound: one image can have many errors.

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
    """Compute error versus discard: FNMR while the lowest quality is discarded.

    The quality of a comparison is the lower quality of its two images. Equal qualities are
    discarded together: each distinct quality is a step. If no genuine comparison is left, FNMR
    is 0.

    Parameters
    ----------
    comparisons : Comparisons
        Comparisons of N images.
    quality : (N,) array_like
        Higher is better; any scale. NaN counts as lower than all.
    fmr : float
        The FMR that defines the threshold.
    by : {"image", "comparison"}
        What is discarded and counted. "image": an image below the quality is discarded with all its
        comparisons; the share is a share of the N images. "comparison": a genuine comparison below
        the quality is discarded; the share is one of the genuine comparisons. Both have the same
        steps with different shares.
    threshold : {"fixed", "re-derived"}
        "fixed": the threshold of all impostor comparisons, as in operation. "re-derived": the
        threshold is computed again at each step from the remaining impostor comparisons, so that
        FMR stays at ``fmr``. It is exact if the tail has enough of them, else FNMR is NaN.

    Raises
    ------
    BadSetting
        The quality has a wrong length, or the images of the impostor scores are unknown.

    Notes
    -----
    P. Grother, E. Tabassi, "Performance of biometric quality measures", IEEE TPAMI 29(4), 2007.
    """
    return Order.of(comparisons, quality).curve(fmr, by=by, threshold=threshold)


@dataclass(frozen=True, eq=False)
class Order:
    """Images and genuine comparisons in the order in which a quality discards them.

    After this preparation, a curve at any FMR needs only one sum.

    Attributes
    ----------
    comparisons : Comparisons
    ranks : (N,) ndarray of int64
        See `rank`.
    lower : (G,) ndarray of int64
        The lower rank of each genuine comparison.
    images, pairs : (S,) ndarrays of int64
        Numbers of remaining images and genuine comparisons at each rank.
    """

    comparisons: Comparisons
    ranks: NDArray[np.int64]
    lower: NDArray[np.int64]
    images: NDArray[np.int64]
    pairs: NDArray[np.int64]

    @classmethod
    def of(cls, comparisons: Comparisons, quality: ArrayLike) -> Order:
        """Return the order by a quality (N,)."""
        ranks = rank(quality, comparisons.images)
        lower = np.minimum(ranks[comparisons.first], ranks[comparisons.second])
        steps = int(ranks.max()) + 1
        images, pairs = (_left(np.bincount(r, minlength=steps)) for r in (ranks, lower))
        return cls(comparisons, ranks, lower, images, pairs)

    def curve(self, fmr: float, *, by: By = "image", threshold: Threshold = "fixed") -> Curve:
        """See `discard_curve`."""
        counted = self.images if by == "image" else self.pairs
        if threshold == "fixed":
            missed = self.lower[self.comparisons.genuine < threshold_at(self.comparisons, fmr)]
            errors = _left(np.bincount(missed, minlength=len(counted)))
        else:
            errors = self._errors(self._levels(fmr))
        return Curve((counted[0] - counted) / counted[0], errors / np.maximum(self.pairs, 1))

    def discarded(self, share: float) -> NDArray[np.int64]:
        """Return the images discarded at most at this share, lowest quality first."""
        shares = (self.images[0] - self.images) / self.images[0]
        step = np.searchsorted(shares, share + ROUNDING, side="right") - 1
        worst_first = np.argsort(self.ranks, kind="stable")
        return worst_first[: self.images[0] - self.images[step]]

    def _levels(self, fmr: float) -> Floats:
        """Return the threshold (S,) of the remaining impostors at each step; NaN if unknown.

        If k of them may be accepted, only the k+1 highest matter; these are known as long as so
        many scores of the tail remain.
        """
        compared = self.comparisons
        if compared.tail_first is None or compared.tail_second is None:
            raise BadSetting(
                "This table does not name the impostors' images: keep the threshold fixed."
            )
        lower = np.minimum(self.ranks[compared.tail_first], self.ranks[compared.tail_second])
        if compared.complete:
            impostors = _left(np.bincount(lower, minlength=len(self.images)))
        else:  # all pairs were compared: the remaining images give the count
            impostors = self.images * (self.images - 1) // 2 - self.pairs
        tail = compared.tail
        levels = np.full(len(impostors), np.nan)
        for step, left in enumerate(impostors):
            present = lower >= step
            if not present.all():
                tail, lower = tail[present], lower[present]
            count = allowed(fmr, int(left))
            if count >= left:
                levels[step] = -math.inf
            elif count < len(tail):
                levels[step] = _just_above(tail[count])
        return levels

    def _errors(self, levels: Floats) -> Floats:
        """Return how many remaining genuine comparisons fail at each step's threshold."""
        ordered = self.comparisons.genuine[np.argsort(-self.lower, kind="stable")]
        # the remaining comparisons come first
        counts = [np.sum(ordered[:n] < level) for n, level in zip(self.pairs, levels, strict=True)]
        return np.where(np.isnan(levels), np.nan, counts)


def rank(quality: ArrayLike, images: int) -> NDArray[np.int64]:
    """Return ranks of qualities (N,), 0 for the lowest; ties share a rank, NaN is lowest."""
    values = np.asarray(quality, np.float64)
    if values.shape != (images,):
        raise BadSetting(f"There are {images} images, but qualities of shape {values.shape}.")
    ranks: NDArray[np.int64]
    _, ranks = np.unique(np.where(np.isnan(values), -np.inf, values), return_inverse=True)
    return ranks


def _left(counts: NDArray[Any]) -> NDArray[Any]:
    """Return the sums from each step to the end."""
    left: NDArray[Any] = np.cumsum(counts[::-1])[::-1]
    return left


def _just_above(score: np.float32) -> float:
    return float(np.nextafter(np.float32(score), np.float32(np.inf)))
