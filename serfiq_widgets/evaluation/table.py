"""The input and the result of an evaluation: error-versus-discard curves of qualities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serfiq_widgets.evaluation import baselines
from serfiq_widgets.evaluation.balanced import (
    BalancedOrder,
    balanced_fmr,
    cautions,
    realised_fmr,
)
from serfiq_widgets.evaluation.bootstrap import Resampled, ends, resample
from serfiq_widgets.evaluation.comparisons import Comparisons
from serfiq_widgets.evaluation.curves import (
    By,
    Curve,
    Order,
    Threshold,
    det,
    fnmr_at,
    threshold_at,
)

SHARES = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
AREAS = (0.2, 0.3, 1.0)
DRAWS = 300
DET_AT = (*(m * 10.0**e for e in range(-5, 0) for m in (1, 2, 5)), 1.0)
BASELINES = RANDOM, ORACLE = "random", "oracle"


@dataclass(frozen=True, eq=False)
class Table:
    """Compared images and their qualities.

    Attributes
    ----------
    comparisons : Comparisons
        Comparisons of N images.
    qualities : dict of str to (N,) ndarray
        Qualities by name; higher is better, NaN is the lowest.
    names : tuple of str
        Names of the images, or empty: then images have only numbers.
    about : dict
        Its origin: data, model, passes, seed ...
    """

    comparisons: Comparisons
    qualities: dict[str, NDArray[Any]]
    names: tuple[str, ...] = ()
    about: dict[str, Any] = field(default_factory=dict)

    def with_baselines(self, fmr: float = 1e-3, seed: int = 0) -> Table:
        """Return a table with the additional qualities ``random`` and ``oracle`` (at this FMR)."""
        images = self.comparisons.images
        more: dict[str, NDArray[Any]] = {RANDOM: baselines.chance(images, seed)}
        more[ORACLE] = baselines.oracle(self.comparisons, fmr)
        return replace(self, qualities={**self.qualities, **more})


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Error versus discard of several qualities at one FMR.

    Attributes
    ----------
    table : Table
    fmr, threshold, fnmr : float
        The allowed FMR, its threshold, and FNMR at this threshold without discard.
    curves : dict of str to Curve
    balanced : dict of str to Curve
        The same curves with every person weighing the same; empty for re-derived thresholds.
    resampled : dict of str to Resampled
        Bootstrap results by the same names, or empty.
    shares : (S,) ndarray of float64
        The reported discarded shares.
    by, variant : str
        See `discard_curve`.
    """

    table: Table
    fmr: float
    threshold: float
    fnmr: float
    curves: dict[str, Curve]
    balanced: dict[str, Curve]
    resampled: dict[str, Resampled]
    shares: NDArray[np.float64]
    by: By
    variant: Threshold

    @property
    def bands(self) -> dict[str, tuple[NDArray[np.float64], ...]]:
        """Return, by quality, the shares (S,) and the bounds of FNMR's 95 % band there."""
        return {name: (drawn.shares, *drawn.band()) for name, drawn in self.resampled.items()}

    @property
    def balanced_bands(self) -> dict[str, tuple[NDArray[np.float64], ...]]:
        """Return the same of the balanced FNMR."""
        return {
            name: (drawn.shares, *drawn.balanced_band()) for name, drawn in self.resampled.items()
        }

    @property
    def fmr_realised(self) -> float:
        """The FMR of the threshold on these comparisons: at most ``fmr``."""
        return realised_fmr(self.table.comparisons, self.threshold)

    @property
    def warnings(self) -> list[str]:
        """What the data are too few for, one sentence each."""
        return cautions(self.table.comparisons, self.fmr, self.threshold)

    def difference(self, one: str, other: str, most: float = 0.3) -> tuple[float, float, float]:
        """Return the pAUC of one quality minus that of another, and its 95 % band.

        Both use the same draws of people, so that their common variation cancels out.
        """
        low, high = ends(self.resampled[one].pauc[most] - self.resampled[other].pauc[most])
        return self.curves[one].pauc(most) - self.curves[other].pauc(most), float(low), float(high)

    def _repr_html_(self) -> str:
        """FNMR by quality and discarded share, every person weighing the same where possible."""
        curves = self.balanced or self.curves
        weighs = "person" if self.balanced else "comparison"
        heads = "".join(f"<th>{share:.0%}</th>" for share in self.shares)
        rows = "".join(
            f"<tr><td>{escape(name)}</td>"
            + "".join(f"<td>{value:.4f}</td>" for value in curve.at(self.shares))
            + "</tr>"
            for name, curve in curves.items()
        )
        said = "".join(f"<br>{escape(sentence)}" for sentence in self.warnings)
        return (
            f"<table><caption>FNMR at FMR {self.fmr:g} (realised {self.fmr_realised:.3g}) by the "
            f"discarded share, every {weighs} weighing the same.{said}</caption>"
            f"<thead><tr><th>quality</th>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain Python objects for JSON; unknown values are None."""
        compared = self.table.comparisons
        fmr, fnmr = det(compared)
        places = np.searchsorted(fmr, np.array(DET_AT) + 1e-12, side="right") - 1
        return {
            **self.table.about,
            "images": compared.images,
            "people": compared.persons,
            "genuine": len(compared.genuine),
            "impostor": compared.impostors,
            "fmr": self.fmr,
            "threshold": _plain(self.threshold),
            "fmr_realised": self.fmr_realised,
            "fmr_balanced": _plain(balanced_fmr(compared, self.threshold)),
            "fnmr": self.fnmr,
            "warnings": self.warnings,
            "discard_by": self.by,
            "threshold_variant": self.variant,
            "det": {
                "fmr": [fmr[place].item() for place in places if place >= 0],
                "fnmr": [fnmr[place].item() for place in places if place >= 0],
            },
            "qualities": {name: self._column(name) for name in self.curves},
        }

    def _column(self, name: str) -> dict[str, Any]:
        curve = self.curves[name]
        column: dict[str, Any] = {
            "discard": self.shares.tolist(),
            "fnmr": [_plain(value) for value in curve.at(self.shares)],
            "pauc": {f"{area:g}": _plain(curve.pauc(area)) for area in AREAS},
            "pauc_above_best": {
                f"{area:g}": _plain(curve.pauc(area, above_best=True)) for area in AREAS
            },
        }
        if name in self.balanced:
            even = self.balanced[name]
            column["balanced"] = {
                "fnmr": [_plain(value) for value in even.at(self.shares)],
                "pauc": {f"{area:g}": _plain(even.pauc(area)) for area in AREAS},
            }
        if name in self.resampled:
            drawn = self.resampled[name]
            column["balanced"]["fnmr_band"] = np.transpose(drawn.balanced_band()).tolist()
            bands = {f"{area:g}": ends(drawn.pauc[area]) for area in AREAS}
            column["fnmr_band"] = np.transpose(drawn.band()).tolist()
            column["pauc_band"] = {area: [float(e) for e in band] for area, band in bands.items()}
        return column


def evaluate(
    table: Table,
    fmr: float = 1e-3,
    *,
    shares: ArrayLike = SHARES,
    by: By = "image",
    threshold: Threshold = "fixed",
    draws: int = DRAWS,
    seed: int = 0,
    columns: Sequence[str] | None = None,
) -> Evaluation:
    """Compute the error-versus-discard curves of a table's qualities.

    Parameters
    ----------
    table : Table
    fmr : float
        The allowed FMR, above 0 and at most 1.
    shares : (S,) array_like of float
        Discarded shares at which FNMR and its band are reported.
    by, threshold : str
        See `discard_curve`.
    draws, seed : int
        For the bootstrap, see `resample`; none for 0 draws or re-derived thresholds.
    columns : sequence of str, optional
        The qualities to evaluate; all if not given.

    Raises
    ------
    BadSetting
        A number is not possible.
    """
    names = list(table.qualities) if columns is None else list(columns)
    chosen = {name: table.qualities[name] for name in names}
    compared = table.comparisons
    level = threshold_at(compared, fmr)
    points = np.asarray(shares, np.float64)
    banded = draws > 0 and threshold == "fixed"
    orders = {name: Order.of(compared, quality) for name, quality in chosen.items()}
    return Evaluation(
        table=table,
        fmr=fmr,
        threshold=level,
        fnmr=fnmr_at(compared, level),
        curves={
            name: order.curve(fmr, by=by, threshold=threshold) for name, order in orders.items()
        },
        balanced={name: BalancedOrder.of(order).curve(fmr, by) for name, order in orders.items()}
        if threshold == "fixed"
        else {},
        resampled=resample(
            compared, chosen, fmr, shares=points, areas=AREAS, by=by, draws=draws, seed=seed
        )
        if banded
        else {},
        shares=points,
        by=by,
        variant=threshold,
    )


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
