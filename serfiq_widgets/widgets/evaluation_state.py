"""The state of an evaluation explorer, without widgets: FMR, discard, curves, discarded images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import traitlets as t
from numpy.typing import NDArray

from serfiq_widgets.errors import BadSetting
from serfiq_widgets.evaluation import Order, Resampler, Table, det, fnmr_at, threshold_at
from serfiq_widgets.evaluation.balanced import BalancedOrder
from serfiq_widgets.widgets.errors_shown import HasMessage

MIN_FMR, MAX_FMR = 1e-5, 0.1
MAX_SHARE = 0.6
BAND_SHARES = np.linspace(0, MAX_SHARE, 31)
Indices = NDArray[np.int32]
DRAWS = 60  # enough for the width of a band while a slider moves


class EvaluationState(HasMessage):
    """The state of an evaluation explorer, without widgets.

    Data that do not depend on FMR are computed once, so that a change of FMR needs only sums.

    Attributes
    ----------
    orders : dict of str to Order
        The order of the images by each quality.
    partners, errors : (N,) ndarrays of int
        Number of genuine comparisons of each image, and number of false non-matches among them.
    det : two (P,) ndarrays of float64
        FMR and FNMR of the DET curve.
    table : Table
        The data that are evaluated, with at least one quality.
    fmr : float
        The allowed FMR, 1e-5 to 0.1.
    share : float
        Discard fraction of the images, 0 to 0.6.
    quality : str
        The quality by which images are discarded.
    threshold, fnmr : float
        At this FMR, without any discard (read them, don't set them).
    curves : dict of str to Curve
        The curve of each quality (read it).
    band : tuple of (S,) ndarrays
        Shares, lower and upper end of the quality's 95 % band over people (read it).
    discarded : (K,) ndarray of int
        Indices of the discarded images, the worst first (read it).
    """

    table = t.Instance(Table)
    fmr = t.Float(1e-3)
    share = t.Float(0.1)
    quality = t.Unicode()
    threshold = t.Float()
    fnmr = t.Float()
    curves = t.Dict()
    band = t.Any(())
    discarded = t.Any(())

    def __init__(self, table: Table, **settings: Any) -> None:
        if not table.qualities:
            raise BadSetting("This table has no quality: there is nothing to discard by.")
        super().__init__(table=table)
        compared = table.comparisons
        self.orders = {name: Order.of(compared, q) for name, q in table.qualities.items()}
        self.det = det(compared)
        self._resamplers: dict[str, Resampler] = {}
        self._even: dict[str, BalancedOrder] = {}
        self.errors = self.partners = self._count(compared.first, compared.second)
        self.quality = next(iter(table.qualities))
        for name, value in settings.items():
            setattr(self, name, value)
        self._judge()
        self._discard()

    @t.validate("fmr")
    def _possible_fmr(self, proposal: dict[str, Any]) -> float:
        return _within(proposal["value"], MIN_FMR, MAX_FMR)

    @t.validate("share")
    def _possible_share(self, proposal: dict[str, Any]) -> float:
        return _within(proposal["value"], 0, MAX_SHARE)

    @t.validate("quality")
    def _known(self, proposal: dict[str, Any]) -> str:
        name: str = proposal["value"]
        if name not in self.table.qualities:
            raise BadSetting(f"There is no quality '{name}': {', '.join(self.table.qualities)}.")
        return name

    @t.observe("fmr")
    def _follow_fmr(self, _: dict[str, Any]) -> None:
        self._judge()

    @t.observe("share", "quality")
    def _follow_discard(self, change: dict[str, Any]) -> None:
        if change["name"] == "quality":
            self.band = self._band()
        self._discard()

    def at(self, name: str | None = None) -> float:
        """Return the FNMR of a quality, or of the chosen one, at the discard fraction."""
        return float(self.curves[name or self.quality].at(self.share))

    def balanced(self) -> tuple[float, float]:
        """Return FNMR with every person weighing the same: of all images, and after the discard."""
        if self.quality not in self._even:
            self._even[self.quality] = BalancedOrder.of(self.orders[self.quality])
        before, after = self._even[self.quality].curve(self.fmr).at([0.0, self.share])
        return float(before), float(after)

    def share_of_errors(self) -> float:
        """Return the fraction of false non-matches that involve a discarded image."""
        goes = np.zeros(self.table.comparisons.images, bool)
        goes[self.discarded] = True
        first, second = self._missed
        return float((goes[first] | goes[second]).mean()) if len(first) else 0.0

    def _judge(self) -> None:
        """Compute threshold, errors and curves at the FMR."""
        compared = self.table.comparisons
        level = threshold_at(compared, self.fmr)
        missed = compared.genuine < level
        self._missed = compared.first[missed], compared.second[missed]
        self.errors = self._count(*self._missed)
        with self.hold_trait_notifications():
            self.threshold, self.fnmr = level, fnmr_at(compared, level)
            self.curves = {name: order.curve(self.fmr) for name, order in self.orders.items()}
            self.band = self._band()

    def _discard(self) -> None:
        self.discarded = self.orders[self.quality].discarded(self.share)

    def _band(self) -> tuple[NDArray[np.float64], ...]:
        name = self.quality
        if name not in self._resamplers:
            self._resamplers[name] = Resampler(self.orders[name], BAND_SHARES, draws=DRAWS)
        return (BAND_SHARES, *self._resamplers[name].at(self.fmr).band())

    def _count(self, first: Indices, second: Indices) -> NDArray[np.int64]:
        """Return how many of these comparisons each image (N,) is in."""
        ends = np.concatenate([first, second])
        return np.bincount(ends, minlength=self.table.comparisons.images)


def _within(value: float, least: float, most: float) -> float:
    return least if math.isnan(value) else min(max(value, least), most)
