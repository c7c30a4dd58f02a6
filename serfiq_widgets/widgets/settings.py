"""The panel with the scorer's settings."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as w

from serfiq_widgets.checkpoints.heads import MAX_RATE, MIN_RATE
from serfiq_widgets.engines import MODULES
from serfiq_widgets.models.cards import Card, usable
from serfiq_widgets.widgets.base import StateView, heading
from serfiq_widgets.widgets.elements import Slider
from serfiq_widgets.widgets.errors_shown import show_errors
from serfiq_widgets.widgets.public import VISITORS_MAY_CHANGE, is_public
from serfiq_widgets.widgets.state import PROJECTIONS

SETTINGS = (
    "The network and its dropout. <b>Raw scores of different networks, and of different rates p, "
    "do not compare;</b> \u03b1 and r stretch one network's raw scores to 0 to 100."
)
DEVICES = ("auto", "cpu", "cuda", "mps")
BIGGEST_SEED = 10**6


class SettingsPanel(StateView):
    """Model, engine, device, seed, dropout rate, stretch and projection.

    Takes the parameters of `StateView`.
    """

    def build(self) -> list[w.Widget]:
        """Make one control per setting."""
        self.add_class("serfiq-settings")
        self._syncing = False
        options = self.state.scorer.options
        # by the label of a user's network: its path or module, and its card
        self._own_network = {self._label(): {k: getattr(options, k) for k in ("model", "card")}}
        self._scorer: dict[str, Any] = {
            "model": w.Dropdown(options=self._models(), description="network"),
            "engine": w.Dropdown(options=["auto", *MODULES], description="engine"),
            "device": w.Dropdown(
                options=list(dict.fromkeys([*DEVICES, options.device])), description="device"
            ),
            "seed": w.BoundedIntText(min=0, max=BIGGEST_SEED, description="seed of masks"),
            "rate": Slider("dropout rate p", 0.5, MIN_RATE, MAX_RATE, 0.01),
            "alpha": Slider("\u03b1, slope", 60, 1, 300, 1),
            "r": Slider("r, middle", 0.8, 0.3, 1.0, 0.005),
        }
        if is_public():
            self._scorer = {name: self._scorer[name] for name in VISITORS_MAY_CHANGE}
        self._projection = w.Dropdown(
            options=[("plane (PCA)", PROJECTIONS[0]), ("sphere in 3-D", PROJECTIONS[1])],
            description="embeddings on a",
        )
        self._about = w.HTML()
        self._own = w.Button(description="The network's own p, \u03b1, r")
        self._own.on_click(
            show_errors(self.state, lambda _: self.state.configure(rate=None, alpha=None, r=None))
        )
        for name, control in self._scorer.items():
            control.add_class(f"serfiq-set-{name}")
            control.observe(show_errors(self.state, self._change(name)), "value")
        self._projection.add_class("serfiq-set-projection")
        self._projection.observe(
            show_errors(self.state, lambda c: setattr(self.state, "projection", c["new"])), "value"
        )
        self.state.observe(lambda _: self._sync(), ["scorer", "projection"])
        self.state.observe(lambda _: self._sync(), "message")
        self._sync()
        head = w.HTML(heading("For the curious", SETTINGS))
        return [head, *self._scorer.values(), self._about, self._projection, self._own]

    def _models(self) -> tuple[str, ...]:
        """The networks to choose from: those available now, and the current one."""
        return tuple(dict.fromkeys([*usable(), self._label()]))

    def _label(self) -> str:
        model = self.state.scorer.options.model
        return str(model) if isinstance(model, str | Path) else self.state.scorer.card.name

    def _values(self) -> dict[str, Any]:
        scorer = self.state.scorer
        own = {"rate": scorer.rate, "alpha": scorer.card.alpha, "r": scorer.card.r}
        named = {name: getattr(scorer.options, name) for name in ("engine", "device", "seed")}
        return {"model": self._label(), **named, **own}

    def _change(self, name: str) -> Any:
        def change_setting(change: dict[str, Any]) -> None:
            if not self._syncing and change["new"] != self._values()[name]:
                changes = {name: change["new"]}
                if name == "model":
                    another = {"model": change["new"], "card": None}
                    changes = self._own_network.get(change["new"], another)
                    changes = {**changes, "alpha": None, "r": None}  # not of this network
                self.state.configure(**changes)

        return change_setting

    def _sync(self) -> None:
        """Set the controls to the state's values, also after an invalid setting.

        A value outside a control's range is shown at the end of the range, and is not changed.
        """
        self._syncing = True
        try:
            if "model" in self._scorer:
                self._scorer["model"].options = self._models()
            values = self._values()
            for name, control in self._scorer.items():
                control.value = values[name]
        finally:
            self._syncing = False
        self._projection.value = self.state.projection
        self._about.value = about(self.state.scorer.card)


def about(card: Card) -> str:
    """Return the source of a network's stretch, and the card's notes, as HTML."""
    stretch = f"\u03b1 {card.alpha:.4g}, r {card.r:.4g}: {card.population}."
    return "".join(f"<p>{escape(text)}</p>" for text in (stretch, *card.notes))
