"""The Explorer: choose a photo, slide the passes, watch spread, score and quality answer.

`ExplorerState` holds what is true (image, passes, result) and knows no widget; `Explorer` shows it.
Every photo is scored once with all passes. The slider only chooses how many of them count, so a
move costs three small figures and no inference.
"""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable
from html import escape
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import numpy as np
import traitlets as t
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from serfiq_widgets import figures
from serfiq_widgets.errors import SerfiqError
from serfiq_widgets.faces import AlignedFace
from serfiq_widgets.images import read_image
from serfiq_widgets.parts import Gallery, Plot, Upload
from serfiq_widgets.resources import sample_images
from serfiq_widgets.scorer import QualityResult, Scorer, check_passes

if TYPE_CHECKING:
    from serfiq_widgets.images import ImageSource

log = logging.getLogger(__name__)

MOST_PASSES = 200
PHOTO_SIDE, THUMBNAIL_SIDE = 360, 96

SURPRISE = "Something went wrong on our side; the photo before is still there. Try another one."
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


class ExplorerState(t.HasTraits):
    """What the Explorer shows, without any widget.

    Attributes
    ----------
    image : path, bytes, file object, PIL image or (H, W, 3) uint8 RGB array
        Setting it scores it. If that fails, ``message`` says why and the last result stays.
    passes : int
        How many passes count, 2 to 200.
    everything : QualityResult
        The result with all 200 passes (read it, don't set it).
    result : QualityResult
        The result with ``passes`` passes.
    quality : int
        Its quality component value, 0..100.
    message : str
        What went wrong last, empty when nothing did.
    """

    image = t.Any(None, allow_none=True)
    passes = t.Int(100)
    everything = t.Instance(QualityResult, allow_none=True)
    result = t.Instance(QualityResult, allow_none=True)
    quality = t.Int(None, allow_none=True)
    message = t.Unicode("")

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer = scorer

    @t.validate("passes")
    def _possible(self, proposal: dict[str, Any]) -> int:
        return check_passes(proposal["value"], most=MOST_PASSES)

    @t.observe("image")
    def _score(self, change: dict[str, Any]) -> None:
        if change["new"] is None:
            self.message = ""
            return
        try:
            everything = self.scorer.score(change["new"], MOST_PASSES)
        except SerfiqError as error:
            self.message = str(error)
        else:
            self.message = ""
            self.everything = everything

    @t.observe("everything", "passes")
    def _choose(self, _: dict[str, Any]) -> None:
        if self.everything is not None:
            result = self.everything.at(self.passes)
            with self.hold_trait_notifications():
                self.result = result
                self.quality = result.quality


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
    image, passes, result, quality
        Traits; set ``image`` and ``passes``, observe all (see `ExplorerState`).

    Examples
    --------
    >>> from serfiq_widgets import Explorer
    >>> explorer = Explorer()
    >>> explorer.passes = 150
    >>> explorer.result.passes
    150
    """

    image = t.Any(None, allow_none=True)
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
        for name in ("image", "passes"):
            _mirror(self, self.state, name)
        for name in ("image", "passes", "result", "quality"):
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
            self._kindly(self._take_upload), lambda error: self._complain(str(error))
        )
        self._slider = w.IntSlider(
            100,
            min=2,
            max=MOST_PASSES,
            description="Dropout passes T",
            style={"description_width": "initial"},
        )
        self._slider.add_class("serfiq-passes")
        self._notice, self._status = w.HTML(), w.HTML()
        self._face, self._numbers = w.HTML(), w.HTML()
        self._spread = Plot(label="Cloud of embeddings, one dot per dropout pass")
        self._distances = Plot(label="Histogram of pairwise distances between embeddings")
        self._running = Plot(label="Running score over passes, with interval and exact limit")
        self._head = w.HBox([self._gallery, self._upload])
        card = w.VBox([self._face, self._numbers, self._slider])
        pictures = w.HBox(
            [
                _picture("Embedding spread", SPREAD_TEXT, self._spread),
                _picture("Pairwise distances", DISTANCE_TEXT, self._distances),
                _picture("Running score", RUNNING_TEXT, self._running),
            ]
        )
        self._body = w.HBox([card, pictures])
        names = ("head", "card", "pictures", "body")
        for name, box in zip(names, (self._head, card, pictures, self._body), strict=True):
            box.add_class(f"serfiq-{name}")

    def _wire(self) -> None:
        state = self.state
        state.observe(self._kindly(self._new_result), "result")
        state.observe(self._show_message, "message")
        state.observe(lambda change: setattr(self._slider, "value", change["new"]), "passes")
        self._slider.observe(self._kindly(self._slide), "value")
        self._gallery.observe(self._kindly(self._choose_sample), "chosen")

    def _kindly(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Wrap a callback so that what it raises becomes a sentence beside the widget."""

        def guarded(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except SerfiqError as error:
                self._complain(str(error))
            except Exception as error:  # noqa: BLE001  # the edge of the kernel: visitors come next
                # without the traceback, whose values might hold a visitor's photo
                log.error("%s in %s", type(error).__name__, callback.__name__)  # noqa: TRY400
                self._complain(SURPRISE)

        return guarded

    def _complain(self, text: str) -> None:
        self.state.message = text

    def _show_message(self, change: dict[str, Any]) -> None:
        text = escape(change["new"])
        self._notice.value = (
            f'<div class="serfiq-message" role="alert">{text}</div>' if text else ""
        )

    def _slide(self, change: dict[str, Any]) -> None:
        self.state.passes = min(max(change["new"], 2), MOST_PASSES)

    def _choose_sample(self, change: dict[str, Any]) -> None:
        if 0 <= change["new"] < len(self._samples):
            self.state.image = self._samples[change["new"]]

    def _take_upload(self, name: str, content: bytes) -> None:
        file = io.BytesIO(content)
        file.name = name
        before = self.state.everything
        self.state.image = file
        if self.state.everything is not before:
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
            self._face.value = _face_html(self.state.image, everything.face)
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
    return {"label": ruin.replace("_", " ") or person, "src": _data_url(picture)}


def _data_url(picture: Image.Image) -> str:
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()


def _face_html(image: ImageSource, face: AlignedFace) -> str:
    """Draw the photo with the found face, beside it the aligned face."""
    aligned = Image.fromarray(face.pixels).resize((224, 224), Image.Resampling.BICUBIC)
    pictures = ""
    if face.box is not None and not isinstance(image, AlignedFace):
        if hasattr(image, "seek"):
            image.seek(0)
        photo = Image.fromarray(read_image(image))
        shrink = min(1.0, PHOTO_SIDE / max(photo.size))
        photo = photo.resize([max(1, round(side * shrink)) for side in photo.size])
        draw = ImageDraw.Draw(photo)
        draw.rectangle([edge * shrink for edge in face.box], outline=figures.ORANGE, width=3)
        for x, y in [] if face.landmarks is None else face.landmarks * shrink:
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill="white", outline=figures.BLUE)
        pictures += _figure_html(photo, "the photo, with the face that was found")
    pictures += _figure_html(aligned, "what the network sees")
    several = (
        f"<p>{face.n_faces} faces were found; the largest central one is scored.</p>"
        if face.n_faces > 1
        else ""
    )
    return f'<div class="serfiq-face">{pictures}</div>{several}'


def _figure_html(picture: Image.Image, caption: str) -> str:
    return (
        f'<figure><img src="{_data_url(picture)}" alt="{caption}">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


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
