"""The BiasExplorer: choose an attribute, move the threshold, see the share of each group."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import ipywidgets as w

from serfiq_widgets import figures
from serfiq_widgets.evaluation.bias import SMALL
from serfiq_widgets.evaluation.groups import CAUTION
from serfiq_widgets.figures.still import groups_still
from serfiq_widgets.widgets.base import View, picture
from serfiq_widgets.widgets.bias_state import BiasState
from serfiq_widgets.widgets.elements import Notice, Plot, Slider, Table
from serfiq_widgets.widgets.errors_shown import show_errors

SHARES = (
    "Each group's part of the images that stay as the threshold rises. "
    "<b>Were the groups rated alike, the bands would stay level.</b>"
)
RATES = "Share of each group below the threshold, with its 95 % interval; dotted: that of all."
DENSITIES = "How the scores of each group spread; diamond: its median, dotted: the threshold."
NUMBERS = (
    "Cliff's \u03b4: above 0 where the group's scores are higher than the others'. p: "
    "Kolmogorov-Smirnov, corrected after Holm; 0.0000 is below 0.00005."
)
COLUMNS = ["group", "images", "median", "below, %", "from", "to", "\u03b4", "p"]
PLACES = {"quality": 0}  # decimal places of medians; four for others


class BiasExplorer(View):
    """Shows how scores differ between groups, updated for every threshold.

    Parameters
    ----------
    table : mapping of arrays, data frame or ScoreTable, optional
        Scores (``quality``, ``raw``, ``limit``) and groups, a row per image; ``serfiq score``
        writes one for a folder. If not given, the bundled table of 19,446 UTKFace images.
    by : sequence of str, optional
        The columns that define groups; if not given, all suitable ones.
    edges : mapping of str to sequence of float, optional
        Bins of a column of numbers; ages are put into decades by default.

    Attributes
    ----------
    state : BiasState
        Set its ``attribute``, ``column`` and ``threshold``, read its ``rows``.

    Examples
    --------
    >>> from serfiq_widgets import BiasExplorer
    >>> explorer = BiasExplorer()
    >>> explorer.state.attribute = "gender"
    >>> [row.group for row in explorer.state.rows]
    ['female', 'male']
    """

    def __init__(
        self,
        table: Any = None,
        *,
        by: Sequence[str] | None = None,
        edges: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        self.state = BiasState(table, by, edges)
        super().__init__()
        for name in ("serfiq", "serfiq-bias"):
            self.add_class(name)

    def build(self) -> list[w.Widget]:
        """Make the controls above and the figures below."""
        state = self.state
        self._notice, self._says, self._about = Notice(), w.HTML(), w.HTML()
        self._attribute = w.Dropdown(
            options=state.attributes, value=state.attribute, description="groups by"
        )
        self._column = w.Dropdown(options=state.columns, value=state.column, description="score")
        self._slider = Slider("threshold", state.threshold, *state.span, state.step)
        self._shares = Plot(
            label="Share of each group over the threshold", name="serfiq-shares", clock=self._slider
        )
        self._rates = Plot(label="Share of each group below the threshold", name="serfiq-rates")
        self._densities = Plot(
            label="Density of each group's scores", name="serfiq-groups", clock=self._slider
        )
        self._table = Table(caption="", columns=COLUMNS)
        self._pictures = w.HBox(
            [
                picture("Who is left", SHARES, self._shares),
                picture("Who is discarded", RATES, self._rates),
                picture("Scores of each group", DENSITIES, self._densities),
                picture("In numbers", NUMBERS, self._table),
            ]
        )
        self._bar = w.HBox([self._attribute, self._column, self._slider])
        names = {"pictures": self._pictures, "bias-bar": self._bar, "bias-says": self._says}
        names |= {"bias-by": self._attribute, "bias-column": self._column}
        names |= {"bias-threshold": self._slider, "bias-about": self._about}
        for name, box in names.items():
            box.add_class(f"serfiq-{name}")
        return [self._notice, self._bar, self._says, self._about, self._pictures]

    def connect(self) -> None:
        """Let the controls change the state and the figures follow it."""
        state = self.state
        for control, name in ((self._attribute, "attribute"), (self._column, "column")):
            control.observe(show_errors(state, self._put(name)), "value")
            state.observe(
                lambda change, control=control: setattr(control, "value", change["new"]), name
            )
        self._slider.observe(show_errors(state, self._put("threshold")), "value")
        state.observe(lambda change: self._notice.say(change["new"]), "message")
        state.observe(show_errors(state, self._regroup), "grouped")
        state.observe(show_errors(state, self._follow), "rows")
        self._regroup({})

    def still(self) -> str:
        """Return the groups' shares below the threshold."""
        return groups_still(self.state.rows, escape(summary(self.state)))

    def _put(self, name: str) -> Any:
        def put(change: dict[str, Any]) -> None:
            self.state.message = ""
            setattr(self.state, name, change["new"])

        return put

    def _regroup(self, _: dict[str, Any]) -> None:
        """Draw the figures that depend on the groups only; the slider moves their line."""
        state = self.state
        span = state.span
        drawn = (state.grouped, state.threshold, span, state.column)
        self._shares.show(figures.shares_figure(*drawn))
        self._densities.show(figures.densities_figure(*drawn))
        self._slider.stretch(*span, state.step)
        self._table.places = [0, 0, PLACES.get(state.column, 4), 1, 1, 1, 2, 4]
        self._about.value = f"<p>{escape(about(state))}</p><p>{CAUTION}</p>"
        self._follow({})

    def _follow(self, _: dict[str, Any]) -> None:
        """Update what depends on the threshold."""
        state = self.state
        rows, threshold = state.rows, state.threshold
        self._slider.value = threshold
        self._rates.show(figures.rates_figure(state.grouped, rows, f"below {threshold:.4g}"))
        self._table.rows = [
            [
                f"{row.group}{'*' if row.small else ''}",
                row.n,
                row.median,
                *(100 * share for share in (row.rate, row.low, row.high)),
                *("-" if math.isnan(effect) else effect for effect in (row.delta, row.p_holm)),
            ]
            for row in rows
        ]
        self._says.value = f"<p>{escape(summary(state))}</p>"


def summary(state: BiasState) -> str:
    """Return the effect of the threshold in one sentence."""
    rows = state.rows
    below, total = sum(row.below for row in rows), sum(row.n for row in rows)
    least, most = min(rows, key=lambda row: row.rate), max(rows, key=lambda row: row.rate)
    return (
        f"Below {state.threshold:.4g} lie {below:,} of {total:,} images ({below / total:.1%}): "
        f"from {least.rate:.1%} in group {least.group} to {most.rate:.1%} in group {most.group}."
    )


def about(state: BiasState) -> str:
    """Return the source of the figures: images, population, model, T, seed."""
    known, grouped = state.table.about, state.grouped
    words = [f"{int(grouped.counts.sum()):,} images"]
    words += [f"{known['name']}"] if "name" in known else []
    words += [f"model {known['model']}"] if "model" in known else []
    if state.column == "limit":
        words.append("T \u2192 \u221e")
    elif "passes" in known:
        words.append(f"T = {known['passes']}")
    words += [f"seed {known['seed']}"] if "seed" in known else []
    if grouped.left_out:
        words.append(f"{grouped.left_out:,} without a score or a group are left out")
    text = " \u00b7 ".join(words)
    return f"{text}. * fewer than {SMALL} images." if grouped.small.any() else f"{text}."
