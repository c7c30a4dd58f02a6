"""The Explorer: choose a photo, slide the passes, ruin the face; spread, score, quality answer.

It observes an `ExplorerState`, which holds what is true and knows no widget.
"""

from __future__ import annotations

import io
from html import escape
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import numpy as np
import traitlets as t
from numpy.typing import NDArray
from PIL import Image

from serfiq_widgets import figures
from serfiq_widgets.degrade import Ruin
from serfiq_widgets.face_card import FaceCard
from serfiq_widgets.images import read_image
from serfiq_widgets.lab import DegradationLab
from serfiq_widgets.parts import Gallery, Notice, Plot, Upload, data_url
from serfiq_widgets.resources import sample_images
from serfiq_widgets.scorer import QualityResult, Scorer, check_passes
from serfiq_widgets.state import MOST_PASSES, ExplorerState, kindly

if TYPE_CHECKING:
    from serfiq_widgets.faces import AlignedFace
    from serfiq_widgets.images import ImageSource

THUMBNAIL_SIDE = 96
SPREAD_TEXT = (
    "Each dot is the same face, seen by the network with other features switched off. "
    "<b>A tight cloud means a robust face: good quality.</b>"
)
DISTANCE_TEXT = (
    "How far apart two such embeddings lie, for every pair. "
    "<b>The score uses only their mean: the further left, the better.</b>"
)
RUNNING_TEXT = (
    "The score after each pass, with its 95 % interval. "
    "<b>It settles on the dashed line</b>, which needs no dropout pass at all."
)


class Explorer(w.VBox):
    """The interactive view of one face's quality, for notebooks and Voila.

    Parameters
    ----------
    image : path, bytes, file object, PIL image or (H, W, 3) uint8 RGB array, optional
        The first photo; the first sample if none is given.
    model, engine, device, seed
        As for `Scorer`.
    passes : int
        Where the slider starts, 2 to 200.

    Attributes
    ----------
    image, ruin, passes, result, quality
        Traits; set ``image``, ``ruin`` and ``passes``, observe all (see `ExplorerState`).

    Examples
    --------
    >>> from serfiq_widgets import Explorer
    >>> explorer = Explorer()
    >>> explorer.passes = 150
    >>> explorer.result.passes
    150
    """

    image = t.Any(None, allow_none=True)
    ruin = t.Instance(Ruin, ())
    passes = t.Int(100)
    result = t.Instance(QualityResult, allow_none=True)
    quality = t.Int(None, allow_none=True)

    def __init__(
        self,
        image: ImageSource | AlignedFace | None = None,
        *,
        model: str | Path = "mini",
        engine: str = "auto",
        device: str = "auto",
        seed: int = 0,
        passes: int = 100,
    ) -> None:
        self.state = ExplorerState(Scorer(model, engine, device, seed))
        self._samples = sample_images()
        self._points: NDArray[np.float32] = np.zeros((0, 2), np.float32)
        self._shown: QualityResult | None = None
        self._build()
        super().__init__([self._head, self._notice, self._body, self._status])
        self.add_class("serfiq")
        for name in ("image", "ruin", "passes"):
            _mirror(self, self.state, name)
        for name in ("image", "ruin", "passes", "result", "quality"):
            _mirror(self.state, self, name)
        self._wire()
        self.passes = passes
        if image is not None:
            self.image = image
        elif self._samples:
            self._gallery.chosen = 0

    @t.validate("passes")
    def _possible(self, proposal: dict[str, Any]) -> int:
        return check_passes(proposal["value"], most=MOST_PASSES)

    def _build(self) -> None:
        self._gallery = Gallery(items=[_thumbnail(path) for path in self._samples])
        self._upload = Upload(
            kindly(self.state, self._take_upload),
            lambda error: setattr(self.state, "message", str(error)),
        )
        self._slider = w.IntSlider(
            100,
            min=2,
            max=MOST_PASSES,
            description="Dropout passes T",
            style={"description_width": "initial"},
        )
        self._slider.add_class("serfiq-passes")
        self._notice, self._status, self._numbers = Notice(), w.HTML(), w.HTML()
        self._spread = Plot(label="Cloud of embeddings, one dot per dropout pass")
        self._distances = Plot(label="Histogram of pairwise distances between embeddings")
        self._running = Plot(label="Running score over passes, with interval and exact limit")
        self._head = w.HBox([self._gallery, self._upload])
        card = w.VBox([FaceCard(self.state), self._numbers, self._slider])
        self._lab = DegradationLab(state=self.state)
        pictures = w.HBox(
            [
                _picture("Embedding spread", SPREAD_TEXT, self._spread),
                _picture("Pairwise distances", DISTANCE_TEXT, self._distances),
                _picture("Running score", RUNNING_TEXT, self._running),
            ]
        )
        self._body = w.HBox([card, pictures, self._lab])
        names = ("head", "card", "pictures", "body")
        for name, box in zip(names, (self._head, card, pictures, self._body), strict=True):
            box.add_class(f"serfiq-{name}")

    def _wire(self) -> None:
        state = self.state
        state.observe(kindly(state, self._new_result), "result")
        state.observe(lambda change: self._notice.say(change["new"]), "message")
        state.observe(lambda change: setattr(self._slider, "value", change["new"]), "passes")
        self._slider.observe(kindly(state, self._slide), "value")
        self._gallery.observe(kindly(state, self._choose_sample), "chosen")

    def _slide(self, change: dict[str, Any]) -> None:
        self.state.passes = min(max(change["new"], 2), MOST_PASSES)

    def _choose_sample(self, change: dict[str, Any]) -> None:
        if 0 <= change["new"] < len(self._samples):
            self.state.image = self._samples[change["new"]]

    def _take_upload(self, name: str, content: bytes) -> None:
        file = io.BytesIO(content)
        file.name = name
        before = self.state.clean
        self.state.image = file
        if self.state.clean is not before:
            self._gallery.chosen = -1

    def _new_result(self, change: dict[str, Any]) -> None:
        start = perf_counter()
        result: QualityResult = change["new"]
        everything = self.state.everything
        if everything is None:
            return
        if everything is not self._shown:
            self._shown = everything
            self._points = figures.project(everything.embeddings)
        self._numbers.value = _numbers_html(result)
        self._spread.show(figures.spread_figure(self._points, result.passes))
        self._distances.show(figures.distance_figure(everything, result.passes))
        self._running.show(figures.running_figure(everything, result.passes))
        self._status.value = _status_html(result, 1e3 * (perf_counter() - start))


def _mirror(source: t.HasTraits, target: t.HasTraits, name: str) -> None:
    """Copy a trait on every change; `traitlets.link` would compare arrays by value."""

    def copy(change: dict[str, Any]) -> None:
        if getattr(target, name) is not change["new"]:
            setattr(target, name, change["new"])

    source.observe(copy, name)


def _picture(title: str, text: str, plot: Plot) -> w.VBox:
    box = w.VBox([w.HTML(f"<h3>{title}</h3><p>{text}</p>"), plot])
    box.add_class("serfiq-picture")
    return box


def _thumbnail(path: Path) -> dict[str, str]:
    picture = Image.fromarray(read_image(path))
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    person, _, ruin = path.stem.partition("_")
    return {"label": ruin.replace("_", " ") or person, "src": data_url(picture)}


def _numbers_html(result: QualityResult) -> str:
    low, high = result.interval
    interval = "" if np.isnan(low) else f"95 % interval {low:.4f} to {high:.4f}"
    return f"""\
<div class="serfiq-numbers" aria-live="polite">
  <div><span class="serfiq-quality">{result.quality}</span> <span>of 100<br>quality</span></div>
  <meter min="0" max="100" value="{result.quality}" aria-label="quality"></meter>
  <dl>
    <dt>raw score</dt><dd><span class="serfiq-raw">{result.raw:.4f}</span></dd>
    <dt>exact limit, T \u2192 \u221e</dt>
    <dd><span class="serfiq-limit">{result.limit:.4f}</span></dd>
  </dl>
  <small>{interval or "an interval needs three passes"}</small>
</div>"""


def _status_html(result: QualityResult, drawing_ms: float) -> str:
    stages = " \u00b7 ".join(f"{stage} {ms:.1f}" for stage, ms in result.timings.items())
    return (
        f'<div class="serfiq-status">model {escape(result.model)} on {result.engine}, '
        f"{result.device} \u00b7 seed {result.seed} \u00b7 ms: {stages} "
        f"\u00b7 pictures {drawing_ms:.1f}</div>"
    )
