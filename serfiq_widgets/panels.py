"""The panels for the curious: settings of the scorer, and what people take home."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as w

from serfiq_widgets import export
from serfiq_widgets.checkpoints.heads import LEAST_RATE, MOST_RATE
from serfiq_widgets.engines import MODULES
from serfiq_widgets.errors import BadSetting
from serfiq_widgets.parts import Download, SettingsLink, Slider
from serfiq_widgets.public import FOR_STRANGERS, among_strangers
from serfiq_widgets.resources import sample_images
from serfiq_widgets.state import PROJECTIONS, kindly
from serfiq_widgets.views import StateView, heading
from serfiq_widgets.zoo import Card, usable

SETTINGS = (
    "The network and its dropout. <b>Raw scores of different networks, and of different rates p, "
    "do not compare;</b> \u03b1 and r stretch one network's raw scores to 0 to 100."
)
TAKE_HOME = (
    "Pictures are saved with the buttons on them. The link carries settings, never a face; scores "
    "and page hold no photo unless you tick it."
)
DEVICES = ("auto", "cpu", "cuda", "mps")
BIGGEST_SEED = 10**6


class SettingsPanel(StateView):
    """Model, engine, device, seed, dropout rate, stretch and projection.

    Takes the parameters of `StateView`.
    """

    def build(self) -> list[w.Widget]:
        """One control each."""
        self.add_class("serfiq-settings")
        self._syncing = False
        options = self.state.scorer.options
        # what the label of an own network stands for: its path or module, and its card
        self._own_network = {self._label(): {k: options[k] for k in ("model", "card")}}
        self._scorer: dict[str, Any] = {
            "model": w.Dropdown(options=self._models(), description="network"),
            "engine": w.Dropdown(options=["auto", *MODULES], description="engine"),
            "device": w.Dropdown(
                options=list(dict.fromkeys([*DEVICES, options["device"]])), description="device"
            ),
            "seed": w.BoundedIntText(min=0, max=BIGGEST_SEED, description="seed of masks"),
            "rate": Slider("dropout rate p", 0.5, LEAST_RATE, MOST_RATE, 0.01),
            "alpha": Slider("\u03b1, slope", 60, 1, 300, 1),
            "r": Slider("r, middle", 0.8, 0.3, 1.0, 0.005),
        }
        if among_strangers():
            self._scorer = {name: self._scorer[name] for name in FOR_STRANGERS}
        self._projection = w.Dropdown(
            options=[("plane (PCA)", PROJECTIONS[0]), ("sphere in 3-D", PROJECTIONS[1])],
            description="embeddings on a",
        )
        self._about = w.HTML()
        self._own = w.Button(description="The network's own p, \u03b1, r")
        self._own.on_click(
            kindly(self.state, lambda _: self.state.configure(rate=None, alpha=None, r=None))
        )
        for name, control in self._scorer.items():
            control.add_class(f"serfiq-set-{name}")
            control.observe(kindly(self.state, self._change(name)), "value")
        self._projection.add_class("serfiq-set-projection")
        self._projection.observe(
            kindly(self.state, lambda c: setattr(self.state, "projection", c["new"])), "value"
        )
        self.state.observe(lambda _: self._sync(), ["scorer", "projection"])
        self.state.observe(lambda _: self._sync(), "message")
        self._sync()
        head = w.HTML(heading("For the curious", SETTINGS))
        return [head, *self._scorer.values(), self._about, self._projection, self._own]

    def _models(self) -> tuple[str, ...]:
        """What may be chosen: the networks that are here now, and the present one."""
        return tuple(dict.fromkeys([*usable(), self._label()]))

    def _label(self) -> str:
        model = self.state.scorer.options["model"]
        return str(model) if isinstance(model, str | Path) else self.state.scorer.card.name

    def _values(self) -> dict[str, Any]:
        scorer = self.state.scorer
        own = {"rate": scorer.rate, "alpha": scorer.card.alpha, "r": scorer.card.r}
        named = {name: scorer.options[name] for name in ("engine", "device", "seed")}
        return {"model": self._label(), **named, **own}

    def _change(self, name: str) -> Any:
        def change_setting(change: dict[str, Any]) -> None:
            if not self._syncing and change["new"] != self._values()[name]:
                changes = {name: change["new"]}
                if name == "model":
                    another = {"model": change["new"], "card": None}
                    changes = self._own_network.get(change["new"], another)
                    changes = {**changes, "alpha": None, "r": None}  # those are another network's
                self.state.configure(**changes)

        return change_setting

    def _sync(self) -> None:
        """Let the controls show what is so, also after a refusal.

        A value beyond a control's range is shown at its end, and stays what it is.
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
    """Return where a network's stretch comes from, and what is to be known of it, as HTML."""
    stretch = f"\u03b1 {card.alpha:.4g}, r {card.r:.4g}: {card.population}."
    return "".join(f"<p>{escape(text)}</p>" for text in (stretch, *card.notes))


class TakeHomePanel(StateView):
    """Scores, a page that opens offline, and a link with the settings.

    Takes the parameters of `StateView`.
    """

    def build(self) -> list[w.Widget]:
        """A tick for the photo, the buttons, the link."""
        self.add_class("serfiq-take-home")
        self._photo = w.Checkbox(description="with the face in the page", indent=False)
        offers = {
            "csv": "Scores as CSV",
            "json": "Scores as JSON",
            "html": "This result as a page",
        }
        self._download = Download(offers, kindly(self.state, self._hand))
        self._link = SettingsLink()
        self._link.observe(kindly(self.state, lambda c: self.apply(c["new"])), "opened")
        names = ["clean", "ruin", "passes", "projection", "scorer"]
        self.state.observe(kindly(self.state, lambda _: self._write()), names)
        self._write()
        head = w.HTML(heading("Take it home", TAKE_HOME))
        return [head, self._download, self._photo, self._link]

    def _hand(self, kind: str) -> None:
        self._download.hand(*self.make(kind))

    def make(self, kind: str) -> tuple[str, str, bytes]:
        """Return name, MIME type and content of a file: "csv", "json" or "html".

        Raises
        ------
        BadSetting
            The page is asked for before anything was scored.
        """
        if kind == "csv":
            return "serfiq-scores.csv", "text/csv", export.scores_csv(self.state.entries)
        if kind == "json":
            content = export.scores_json(self.state.entries)
            return "serfiq-scores.json", "application/json", content
        if self.state.result is None:
            raise BadSetting("Choose a photo first.")
        page = export.snapshot_html(self.state.result, photo=self._photo.value)
        return "serfiq.html", "text/html", page

    def _write(self) -> None:
        state = self.state
        options = state.scorer.options
        named = options["model"] if options["model"] in usable() else None
        settings = {name: options[name] for name in ("seed", "rate", "alpha", "r")}
        known = isinstance(state.source, Path) and state.source in sample_images()
        sample = state.source.stem if known else None
        self._link.settings = export.settings_query(
            {
                "sample": sample,
                "passes": state.passes,
                "model": named,
                **settings,
                "projection": state.projection,
                **export.ruin_settings(state.ruin),
            }
        )

    def apply(self, query: str) -> None:
        """Apply the settings of a link.

        Raises
        ------
        BadSetting
            They cannot be read, or name what is not here.
        """
        found = export.parse_settings(query)
        scorer = {k: found[k] for k in ("model", "seed", "rate", "alpha", "r") if k in found}
        if scorer.get("model", "mini") not in usable():
            del scorer["model"]
        samples = {path.stem: path for path in sample_images()}
        self.state.configure(**scorer)
        if found.get("sample") in samples:
            self.state.image = samples[found["sample"]]
        self.state.ruin = found["ruin"]
        self.state.passes = found.get("passes", self.state.passes)
        self.state.projection = found.get("projection", self.state.projection)
