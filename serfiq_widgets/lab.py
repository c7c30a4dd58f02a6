"""The degradation lab: sliders that ruin a face, and the curve of one of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from serfiq_widgets import figures
from serfiq_widgets.degrade import COVERS, STRENGTHS, Ruin
from serfiq_widgets.face_card import FaceCard
from serfiq_widgets.parts import Notice, Plot
from serfiq_widgets.scorer import Scorer
from serfiq_widgets.sensitivity import Sweep, sweep
from serfiq_widgets.state import ExplorerState, kindly

if TYPE_CHECKING:
    from serfiq_widgets.faces import AlignedFace
    from serfiq_widgets.images import ImageSource

WHAT = "Ruin it and watch"
ASK = "What is done to the face before the network sees it."
INVITATION = "How does the quality answer over the whole range of one of them?"
SQUARE = "Drag the square on the face, or move it with the arrow keys."


class DegradationLab(w.VBox):
    """Ruins a face by sliders and says what that does to its quality.

    Parameters
    ----------
    image : path, bytes, file object, PIL image, (H, W, 3) uint8 RGB array or AlignedFace, optional
        The photo.
    state : ExplorerState, optional
        The state of an Explorer to work on. Without one the lab has its own and shows the face.
    model, engine, device, seed
        As for `Scorer`, when the lab has its own state.

    Attributes
    ----------
    state : ExplorerState
        Its traits ``image``, ``ruin``, ``result`` and ``quality`` can be set and observed.

    Examples
    --------
    >>> from serfiq_widgets import DegradationLab, Ruin
    >>> lab = DegradationLab("sample_images/hopper.jpg")
    >>> before = lab.state.quality
    >>> lab.state.ruin = Ruin(blur=4)
    >>> lab.state.quality < before
    True
    """

    def __init__(
        self,
        image: ImageSource | AlignedFace | None = None,
        *,
        state: ExplorerState | None = None,
        model: str | Path = "mini",
        engine: str = "auto",
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        alone = state is None
        self.state = state or ExplorerState(Scorer(model, engine, device, seed))
        self._curve: Sweep | None = None
        self._build()
        self._wire()
        parts: list[w.Widget] = [self._head, self._bench]
        if alone:
            notice = Notice()
            self.state.observe(lambda change: notice.say(change["new"]), "message")
            parts = [notice, FaceCard(self.state), *parts]
        super().__init__(parts)
        self.add_class("serfiq-lab")
        self._sync({})
        self._forget({})
        if alone:
            self.add_class("serfiq")
            self.state.image = image

    def _build(self) -> None:
        self._head = w.HTML()
        self._sliders = {
            name: w.FloatSlider(
                s.neutral,
                min=s.least,
                max=s.most,
                step=s.step,
                description=s.title,
                readout_format=f".{0 if s.step >= 1 else 2 if s.step < 0.1 else 1}f",  # noqa: PLR2004
            )
            for name, s in STRENGTHS.items()
        }
        self._cover = w.Dropdown(options=COVERS, description="covered by")
        self._cover.add_class("serfiq-cover")
        self._sliders["side"] = w.FloatSlider(
            Ruin.side, min=8, max=80, step=1, description="its side, px", readout_format=".0f"
        )
        for name, slider in self._sliders.items():
            slider.add_class(f"serfiq-ruin-{name}")
        self._hint = w.HTML(f"<p>{SQUARE}</p>")
        self._reset = w.Button(description="Reset", tooltip="the face as it was")
        self._reset.add_class("serfiq-reset")
        self._which = w.Dropdown(
            options=[(s.label, name) for name, s in STRENGTHS.items()], layout={"width": "130px"}
        )
        self._which.add_class("serfiq-sweep-which")
        self._sweep = w.Button(description="Draw the curve", tooltip="quality over its range")
        self._sweep.add_class("serfiq-sweep")
        self._plot = Plot(label="Quality over the range of one degradation")
        self._invitation = w.HTML(f"<p>{INVITATION}</p>")
        *strengths, side = self._sliders.values()
        controls = w.VBox([*strengths, self._cover, side, self._hint, self._reset])
        ask = w.HBox([self._which, self._sweep])
        curve = w.VBox([ask, self._invitation, self._plot])
        self._bench = w.HBox([controls, curve])
        boxes = {"controls": controls, "curve": curve, "buttons": ask, "bench": self._bench}
        for name, box in boxes.items():
            box.add_class(f"serfiq-{name}")

    def _wire(self) -> None:
        state = self.state
        for name, slider in self._sliders.items():
            slider.observe(kindly(state, self._change(name)), "value")
        self._cover.observe(kindly(state, self._change("cover")), "value")
        self._reset.on_click(kindly(state, lambda _: setattr(state, "ruin", Ruin())))
        self._sweep.on_click(kindly(state, self._draw))
        state.observe(kindly(state, self._sync), "ruin")
        state.observe(kindly(state, self._say), "result")
        state.observe(kindly(state, self._forget), "clean")

    def _change(self, name: str) -> Callable[[dict[str, Any]], None]:
        def change_ruin(change: dict[str, Any]) -> None:
            self.state.ruin = self.state.ruin.but(**{name: change["new"]})

        return change_ruin

    def _sync(self, _: dict[str, Any]) -> None:
        """Let the controls show the ruin."""
        ruin = self.state.ruin
        for name, slider in self._sliders.items():
            slider.value = getattr(ruin, name)
        self._cover.value = ruin.cover
        for widget in (self._sliders["side"], self._hint):
            widget.layout.display = "" if ruin.cover == "square" else "none"

    def _say(self, _: dict[str, Any]) -> None:
        clean, result = self.state.clean, self.state.result
        if clean is None or result is None:
            return
        before = clean.at(result.passes).quality
        answer = (
            ASK
            if self.state.ruin.is_neutral
            else f"<b>Quality {before} \u2192 {result.quality}.</b> The raw score was "
            f"{clean.at(result.passes).raw:.4f} and is {result.raw:.4f}."
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
        """Keep the curve while only its own degradation moves; take it away otherwise."""
        curve, ruin, everything = self._curve, self.state.ruin, self.state.everything
        if curve is None or everything is None:
            return
        if ruin.but(**{curve.name: STRENGTHS[curve.name].neutral}) != curve.rest:
            self._forget({})
            return
        now = (getattr(ruin, curve.name), everything.limit_quality)
        self._plot.show(figures.sweep_figure(curve, now))
        self._plot.layout.display, self._invitation.layout.display = "", "none"

    def _forget(self, _: dict[str, Any]) -> None:
        self._curve = None
        self._plot.layout.display, self._invitation.layout.display = "none", ""
