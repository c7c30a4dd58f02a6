"""The degradation lab: sliders that degrade a face, and the curve of one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets as w

from serfiq_widgets import figures
from serfiq_widgets.faces.alignment import FACE_SIZE
from serfiq_widgets.faces.degradation import COVERS, STRENGTHS, Degradation
from serfiq_widgets.scoring.sensitivity import Sweep, sweep
from serfiq_widgets.widgets.base import StateView
from serfiq_widgets.widgets.elements import Plot, Slider
from serfiq_widgets.widgets.errors_shown import show_errors
from serfiq_widgets.widgets.face_card import FaceCard

WHAT = "Ruin it and watch"
ASK = "What is done to the face before the network sees it."
INVITATION = "How does the quality answer over the whole range of one of them?"
CURVE = "Quality over the whole range; <b>the diamond is this face.</b>"
SQUARE = "Drag the square on the face, or move it with the arrow keys."


class DegradationLab(StateView):
    """Degrades a face by sliders and shows the effect on its quality.

    Takes the parameters of `StateView`. Used alone, it also shows the face.

    Examples
    --------
    >>> from serfiq_widgets import Degradation, DegradationLab
    >>> lab = DegradationLab("sample_images/hopper.jpg")
    >>> before = lab.state.quality
    >>> lab.state.ruin = Degradation(blur=4)
    >>> lab.state.quality < before
    True
    """

    def build(self) -> list[w.Widget]:
        """Make sliders on the left, the curve on the right; if used alone, the face above."""
        self._curve: Sweep | None = None
        self._head = w.HTML()
        self._sliders = {
            name: Slider(s.title, s.neutral, s.least, s.most, s.step)
            for name, s in STRENGTHS.items()
        }
        self._cover = w.Dropdown(options=COVERS, description="covered by")
        self._cover.add_class("serfiq-cover")
        self._sliders["side"] = Slider("its side, px", Degradation.side, 0, FACE_SIZE, 1)
        for name, slider in self._sliders.items():
            slider.add_class(f"serfiq-ruin-{name}")
        self._hint = w.HTML(f"<p>{SQUARE}</p>")
        self._reset = w.Button(description="Reset", tooltip="the face as it was")
        self._reset.add_class("serfiq-reset")
        self._which = w.Dropdown(
            options=[(s.label, name) for name, s in STRENGTHS.items()],
            description="the range of",
        )
        self._which.add_class("serfiq-sweep-which")
        self._sweep = w.Button(description="Draw the curve", tooltip="quality over its range")
        self._sweep.add_class("serfiq-sweep")
        self._plot = Plot(
            label="Quality over the range of one degradation", name="serfiq-degradation"
        )
        self._about = w.HTML()
        *strengths, side = self._sliders.values()
        controls = w.VBox([*strengths, self._cover, side, self._hint, self._reset])
        ask = w.HBox([self._which, self._sweep])
        curve = w.VBox([ask, self._about, self._plot])
        self._bench = w.HBox([controls, curve])
        boxes = {"controls": controls, "curve": curve, "buttons": ask, "bench": self._bench}
        for name, box in boxes.items():
            box.add_class(f"serfiq-{name}")
        self.add_class("serfiq-lab")
        face = [FaceCard(self.state)] if self.alone else []
        return [*face, self._head, self._bench]

    def connect(self) -> None:
        """Let the controls change the state and follow it."""
        state = self.state
        for name, slider in self._sliders.items():
            slider.observe(show_errors(state, self._change(name)), "value")
        self._cover.observe(show_errors(state, self._change("cover")), "value")
        self._reset.on_click(show_errors(state, lambda _: setattr(state, "ruin", Degradation())))
        self._sweep.on_click(show_errors(state, self._draw))
        state.observe(show_errors(state, self._sync), "ruin")
        state.observe(show_errors(state, self._say), "result")
        state.observe(show_errors(state, self._forget), "clean")
        self._sync({})
        self._say({})
        self._forget({})

    def _change(self, name: str) -> Callable[[dict[str, Any]], None]:
        def change_ruin(change: dict[str, Any]) -> None:
            self.state.ruin = self.state.ruin.replace(**{name: change["new"]})

        return change_ruin

    def _sync(self, _: dict[str, Any]) -> None:
        """Set the controls to the current degradation."""
        ruin = self.state.ruin
        for name, slider in self._sliders.items():
            slider.value = getattr(ruin, name)
        self._cover.value = ruin.cover
        for widget in (self._sliders["side"], self._hint):
            widget.layout.display = "" if ruin.cover == "square" else "none"

    def _say(self, _: dict[str, Any]) -> None:
        clean, result = self.state.clean, self.state.result
        if clean is None or result is None:
            self._head.value = f'<h3>{WHAT}</h3><p class="serfiq-ruined">{ASK}</p>'
            return
        before = clean.at(result.passes)
        words = f"Quality {before.quality} \u2192 {result.quality}." if result.calibrated else ""
        answer = (
            ASK
            if self.state.ruin.is_neutral
            else f"<b>{words}</b> The raw score was {before.best:.4f} and is {result.best:.4f}."
        )
        self._head.value = f'<h3>{WHAT}</h3><p class="serfiq-ruined">{answer}</p>'
        self._follow()

    def _draw(self, _: w.Button) -> None:
        if self.state.clean is None:
            return
        name = self._which.value
        self._curve = sweep(self.state.scorer, self.state.clean.face, name, self.state.ruin)
        self._follow()

    def _follow(self) -> None:
        """Keep the curve while only its own degradation changes; otherwise remove it."""
        curve, ruin, everything = self._curve, self.state.ruin, self.state.everything
        if curve is None or everything is None:
            return
        if ruin.replace(**{curve.name: STRENGTHS[curve.name].neutral}) != curve.rest:
            self._forget({})
            return
        height = everything.quality if curve.calibrated else everything.best
        now = (getattr(ruin, curve.name), height)
        self._plot.show(figures.sweep_figure(curve, now))
        self._plot.layout.display, self._about.value = "", f"<p>{CURVE}</p>"

    def _forget(self, _: dict[str, Any]) -> None:
        self._curve = None
        self._plot.clear()
        self._plot.layout.display, self._about.value = "none", f"<p>{INVITATION}</p>"
