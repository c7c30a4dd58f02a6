"""The stage: a face, its cloud of passes, its quality between them, and controls that ruin it.

It is one anywidget without other widgets in it, so that it renders wherever anywidgets do.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets as t
from PIL import Image

from serfiq_widgets.evaluation.population import population_of
from serfiq_widgets.faces.degradation import COVERS, STRENGTHS, Degradation
from serfiq_widgets.figures.stage import Scene, advice, capitalised, stage_numbers
from serfiq_widgets.images.encode import data_url
from serfiq_widgets.resources import sample_images
from serfiq_widgets.scoring.results import MIN_PASSES
from serfiq_widgets.scoring.sensitivity import costs
from serfiq_widgets.widgets.base import OnState
from serfiq_widgets.widgets.errors_shown import show_errors
from serfiq_widgets.widgets.modules import joined
from serfiq_widgets.widgets.state import SLIDER_PASSES, ExplorerState

if TYPE_CHECKING:
    from serfiq_widgets.faces.alignment import AlignedFace
    from serfiq_widgets.images.read import ImageSource

HERE = Path(__file__).parent / "static" / "stage"
FACE_SIDE = 336  # pixels: three for each of the network's
SEVERAL = 2  # degradations: what a single one costs is seen from the number
PAUSE_S = 0.2  # before their costs are computed, so that this does not delay a dragged slider
WORDS = {
    "face": "the face as the network sees it",
    "scale": "of 100",
    "ring": "quality 50",
    "before": "before",
    "decision": "no match beyond here",
    "strangers": "strangers",
    "passes": "Looks",
    "play": "Play",
    "pause": "Pause",
    "reset": "Undo all",
    "more": "More ways to ruin it",
    "caption": (
        "Each dot is one look of the network at this face, with other features switched off. "
        "The further from the centre, the less it agrees with the others. The inner disc is "
        "magnified."
    ),
}
MAIN = {"blur": "blur", "brightness": "light", "cover": "cover", "rotation": "turn"}
COVER_WORDS = {
    "none": "nothing",
    "mask": "a mask",
    "sunglasses": "sunglasses",
    "square": "a square",
}
UNDAMAGED = asdict(Degradation())
OTHERS = ("noise", "jpeg", "resolution", "contrast")


def _word(name: str) -> str:
    """Return what users read for a degradation."""
    return MAIN.get(name) or STRENGTHS[name].label


def _control(name: str) -> dict[str, Any]:
    """Describe the control of one degradation, as ``static/stage/controls.js`` makes it."""
    about = {"name": name, "label": capitalised(_word(name)), "main": name in MAIN}
    if name == "cover":
        options = [[cover, COVER_WORDS[cover]] for cover in COVERS]
        return {**about, "options": options}
    strength = STRENGTHS[name]
    return {
        **about,
        "unit": strength.unit,
        "min": strength.least,
        "max": strength.most,
        "step": strength.step,
        "neutral": strength.neutral,
    }


class Stage(OnState, anywidget.AnyWidget):
    """One scene: a face, its cloud of passes, its quality, and controls that ruin the face.

    Parameters
    ----------
    image : path, bytes, file object, PIL image, (H, W, 3) uint8 RGB array or AlignedFace, optional
        The photo; if neither it nor a state is given, the first sample.
    state : ExplorerState, optional
        A state to share with other views; if not given, the stage creates one.
    model, engine, device, seed, detector
        As for `Scorer`, if the stage creates its state.

    Attributes
    ----------
    state : ExplorerState
        Its traits ``image``, ``ruin``, ``passes``, ``result`` and ``quality`` can be observed, and
        the first three can be set.

    Examples
    --------
    >>> from serfiq_widgets import Ruin, Stage
    >>> stage = Stage("sample_images/collins.jpg")
    >>> before = stage.state.quality
    >>> stage.state.ruin = Ruin(blur=4)
    >>> stage.state.quality < before
    True
    """

    _esm = joined(HERE / "index.js")
    _css = HERE / "stage.css"
    words = t.Dict(WORDS).tag(sync=True)
    controls = t.List([_control(name) for name in (*MAIN, *OTHERS)]).tag(sync=True)
    undamaged = t.Dict(UNDAMAGED).tag(sync=True)
    limits = t.Dict({"least": MIN_PASSES, "most": SLIDER_PASSES}).tag(sync=True)
    face = t.Unicode().tag(sync=True)
    cloud = t.Dict().tag(sync=True)
    numbers = t.Dict().tag(sync=True)
    advice = t.Unicode().tag(sync=True)
    message = t.Unicode().tag(sync=True)
    ruin = t.Dict().tag(sync=True)
    passes = t.Int().tag(sync=True)

    def __init__(
        self,
        image: ImageSource | AlignedFace | None = None,
        *,
        state: ExplorerState | None = None,
        model: str | Path = "mini",
        engine: str = "auto",
        device: str = "auto",
        seed: int = 0,
        detector: str = "centerface",
    ) -> None:
        self.take_state(state, model, engine, device, seed, detector)
        state = self.state
        if self.alone and image is None:
            image = sample_images()[0]
        self._scene: Scene | None = None
        self._task: asyncio.Task[None] | None = None
        super().__init__(ruin=asdict(state.ruin), passes=state.passes)
        state.observe(show_errors(state, lambda _: self._draw()), "everything")
        state.observe(lambda change: setattr(self, "ruin", asdict(change["new"])), "ruin")
        state.observe(lambda change: setattr(self, "passes", change["new"]), "passes")
        if self.alone:
            state.observe(lambda change: setattr(self, "message", change["new"]), "message")
        self.observe(show_errors(state, self._take_ruin), "ruin")
        self.observe(show_errors(state, self._take_passes), "passes")
        if image is not None:
            state.image = image
        self._draw()

    def __repr__(self) -> str:
        """One line of numbers, without the face."""
        return f"Stage({self.state.result!r})"

    def _draw(self) -> None:
        """Send face, cloud and numbers in one message."""
        now, clean = self.state.everything, self.state.clean
        if now is None or clean is None:
            return
        if self._scene is None or self._scene.clean is not clean:
            self._scene = Scene(clean)
        population = population_of(now.model_sha256, now.rate)
        pixels = Image.fromarray(now.face.pixels)
        with self.hold_sync():
            self.face = data_url(pixels.resize((FACE_SIDE, FACE_SIDE), Image.Resampling.BICUBIC))
            self.cloud = self._scene.cloud(now, population)
            self.numbers = stage_numbers(now, clean, population)
            self.advice = ""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if now.calibrated and len(self.state.ruin.active) >= SEVERAL:
            self._advise_soon(clean.face, self.state.ruin)

    def _advise_soon(self, face: AlignedFace, ruin: Degradation) -> None:
        """Say what each of several degradations costs, once the controls rest."""

        def advise() -> None:
            points = costs(self.state.scorer, face, ruin)
            self.advice = advice({_word(name): cost for name, cost in points.items()})

        async def advise_later() -> None:
            await asyncio.sleep(PAUSE_S)
            show_errors(self.state, advise)()

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # without an event loop, at once
            advise()
        else:
            self._task = loop.create_task(advise_later())

    def _take_ruin(self, change: dict[str, Any]) -> None:
        """Ruin the face as the page wants it; what is not possible is said and taken back."""
        wanted = {name: value for name, value in change["new"].items() if name in UNDAMAGED}
        try:
            if wanted != asdict(self.state.ruin):
                self.state.message = ""
                self.state.ruin = Degradation(**wanted)
        finally:
            self.ruin = asdict(self.state.ruin)

    def _take_passes(self, change: dict[str, Any]) -> None:
        try:
            self.state.passes = change["new"]
        finally:
            self.passes = self.state.passes
