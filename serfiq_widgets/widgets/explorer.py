"""The Explorer: the stage with a choice of photos, chapters that explain it, and further tabs.

It observes an `ExplorerState`, which holds all data and has no widgets.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import ipywidgets as w
import traitlets as t

from serfiq_widgets.faces.alignment import AlignedFace
from serfiq_widgets.faces.degradation import Degradation
from serfiq_widgets.figures import captions
from serfiq_widgets.images.encode import data_url
from serfiq_widgets.images.photo import Photo
from serfiq_widgets.resources import sample_images, sample_name
from serfiq_widgets.scoring.results import QualityResult, check_passes
from serfiq_widgets.widgets.base import OnState, View, picture
from serfiq_widgets.widgets.camera import Camera
from serfiq_widgets.widgets.compare import ComparePanel
from serfiq_widgets.widgets.consent import Eraser, Own
from serfiq_widgets.widgets.degradation_lab import DegradationLab
from serfiq_widgets.widgets.elements import Gallery, Notice, Tour, Upload
from serfiq_widgets.widgets.errors_shown import show_errors
from serfiq_widgets.widgets.face_card import FaceCard, preview
from serfiq_widgets.widgets.lecture import Lecture
from serfiq_widgets.widgets.passes import (
    DistanceView,
    FormulaView,
    Numbers,
    PassesSlider,
    RunningScoreView,
    SpreadView,
)
from serfiq_widgets.widgets.predict import PredictPanel
from serfiq_widgets.widgets.settings import SettingsPanel
from serfiq_widgets.widgets.stage import Stage
from serfiq_widgets.widgets.state import SLIDER_PASSES
from serfiq_widgets.widgets.take_home import TakeHomePanel

if TYPE_CHECKING:
    from serfiq_widgets.images.read import ImageSource

TRUST, GROUPS = 3, 4  # tabs that are built when they are opened
THUMBNAIL_SIDE = 96
MAX_OWN, MAX_OWN_BYTES = 30, 40_000_000  # limits of one visitor's photos in memory
TOUR = {
    ".serfiq-head": "Choose a face here, or bring your own: a file, or the camera.",
    ".serfiq-stage .serfiq-numbers": """\
The quality of this face, from 0 to 100: how far the network can rely on what it sees.""",
    ".serfiq-stage .serfiq-cloud": """\
Every look of the network is a dot. Close to the centre, the looks agree: good quality. The further
out, the closer to being taken for somebody else.""",
    ".serfiq-stage .serfiq-controls": """\
Ruin the face and watch the cloud widen and the quality fall. Below, the number of looks: press Play
to see them arrive one by one.""",
    ".serfiq-tabs .lm-TabBar": """\
Scroll down to see how all this is computed. The tabs lead to comparing faces, to questions for a
class, and to the settings.""",
}


class OwnPhoto(NamedTuple):
    """A photo of the user's, its score, and its picture in the gallery."""

    photo: Any
    score: float
    item: dict[str, str]


class Explorer(OnState, View):
    """The interactive view of one face's quality, for notebooks and Voila.

    Parameters
    ----------
    image : path, bytes, file object, PIL image, (H, W, 3) uint8 RGB array or AlignedFace, optional
        The first photo; if not given, the first sample.
    model, engine, device, seed, detector
        As for `Scorer`.
    passes : int
        Initial value of the slider, 2 to 200.

    Attributes
    ----------
    image, ruin, passes, result, quality
        Traits; set ``image``, ``ruin`` and ``passes``, observe all (see `ExplorerState`).
    state : ExplorerState
        The other data, such as ``entries``, ``pinned`` and ``chosen``.

    Examples
    --------
    >>> from serfiq_widgets import Explorer
    >>> explorer = Explorer()
    >>> explorer.passes = 150
    >>> explorer.result.passes
    150
    """

    image = t.Any(None, allow_none=True)
    ruin = t.Instance(Degradation, ())
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
        detector: str = "centerface",
        passes: int = 100,
    ) -> None:
        self.take_state(None, model, engine, device, seed, detector)
        self._photos: list[Any] = list(sample_images())
        self._samples = len(self._photos)
        self._own: list[OwnPhoto] = []
        super().__init__()
        self.add_class("serfiq")
        self.passes = passes
        if image is not None:
            self.image = image
        elif self._photos:
            self.image = self._photos[0]

    @t.validate("passes")
    def _possible(self, proposal: dict[str, Any]) -> int:
        return check_passes(proposal["value"], most=SLIDER_PASSES)

    def build(self) -> list[w.Widget]:
        """Make the tabs: in the first, the stage with the photos, and the chapters below it."""
        state = self.state
        self._gallery = Gallery(items=[_thumbnail(path) for path in self._photos])
        self._upload = Upload(
            show_errors(state, self._take_upload),
            lambda error: setattr(state, "message", str(error)),
        )
        self._notice, self._status = Notice(), w.HTML()
        self._head = w.HBox([self._gallery, Own(state, self._upload, Camera(state=state))])
        chapters = self._chapters()
        self._stage = Stage(state=state)
        self.predict = PredictPanel(state=state)
        self._lecture = Lecture(self)
        explore = w.VBox([self._head, self._stage, chapters, self._lecture])
        more = w.VBox([SettingsPanel(state=state), self._status, TakeHomePanel(state=state)])
        self._later = {TRUST: w.VBox(), GROUPS: w.VBox()}
        self._tabs = w.Tab(
            [
                explore,
                ComparePanel(state=state),
                self.predict,
                *self._later.values(),
                more,
            ],
            titles=("Explore", "Compare", "Predict", "Trust", "Groups", "Settings"),
        )
        self._pin = w.Button(description="Pin to compare")
        tour = Tour(TOUR, show_errors(state, self._begin_tour))
        bar = w.HBox([self._pin, tour, Eraser(state)])
        self._body = w.VBox([self._tabs, bar])
        boxes = {"head": self._head, "samples": self._gallery, "pictures": chapters}
        boxes |= {"explore": explore, "more": more, "tabs": self._tabs}
        boxes |= {"buttons": bar, "body": self._body}
        for name, box in boxes.items():
            box.add_class(f"serfiq-{name}")
        self._pin.add_class("serfiq-pin-this")
        return [self._notice, self._body]

    def _chapters(self) -> w.VBox:
        """Make what explains the stage, one idea each, below a slider that all of it follows."""
        state = self.state
        self._slider = PassesSlider(state)
        self._numbers = Numbers(state, captions.DETAILS, self._slider)
        face = picture("The face that is scored", captions.FOUND, FaceCard(state))
        face.add_class("serfiq-card")
        chapters = [
            face,
            SpreadView(state=state, clock=self._slider),
            DistanceView(state=state, clock=self._slider),
            RunningScoreView(state=state, clock=self._slider),
            picture("The numbers", captions.READINGS, self._numbers),
            FormulaView(state=state, clock=self._slider),
            DegradationLab(state=state),
        ]
        for chapter in chapters:
            chapter.add_class("serfiq-chapter")
        head = w.HTML(f"<h2>How is it computed?</h2><p>{captions.COMPUTED}</p>")
        return w.VBox([head, self._slider, *chapters])

    def connect(self) -> None:
        """Copy the state's traits; let gallery, tabs and messages follow it."""
        state = self.state
        for name in ("image", "ruin", "passes"):
            _mirror(self, state, name)
        for name in ("image", "ruin", "passes", "result", "quality"):
            _mirror(state, self, name)
        state.observe(show_errors(state, self._new_result), "result")
        state.observe(show_errors(state, self._new_clean), "clean")
        state.observe(lambda change: self._notice.say(change["new"]), "message")
        state.observe(lambda _: self._count_pins(), "pinned")
        state.observe(lambda _: self._forget(), "erasures")
        self._tabs.observe(show_errors(state, self._build_later), "selected_index")
        self._gallery.observe(show_errors(state, self._choose_photo), "chosen")
        self._pin.on_click(show_errors(state, lambda _: state.pin()))

    def _choose_photo(self, change: dict[str, Any]) -> None:
        if 0 <= change["new"] < len(self._photos):
            self.state.image = self._photos[change["new"]]

    def _take_upload(self, name: str, content: bytes) -> None:
        self.state.image = Photo(content, name)

    def _begin_tour(self) -> None:
        self.open_tab(0)

    def open_tab(self, index: int) -> None:
        """Show a tab, by its index."""
        self._tabs.selected_index = index

    def _build_later(self, change: dict[str, Any]) -> None:
        """Build a tab about datasets when it is first opened: few visitors open them."""
        box = self._later.get(change["new"])
        if box is None or box.children:
            return
        if change["new"] == TRUST:
            from serfiq_widgets.widgets.evaluation_explorer import EvaluationExplorer

            box.children = [EvaluationExplorer(explorer=self.state)]
        else:
            from serfiq_widgets.widgets.bias_explorer import BiasExplorer

            box.children = [BiasExplorer()]

    def _count_pins(self) -> None:
        count = len(self.state.pinned)
        self._tabs.set_title(1, f"Compare ({count})" if count else "Compare")

    def _new_clean(self, _: dict[str, Any]) -> None:
        """Mark the photo in the gallery; add it if it is new."""
        image = self.state.source
        if self.state.live or isinstance(image, AlignedFace):
            self._gallery.chosen = -1
            return
        if not any(_same(known, image) for known in self._photos):
            self._own.append(OwnPhoto(image, self._score(), _thumbnail(image)))
            while self._too_many():
                del self._own[0]
            self._show_own()
        self._gallery.chosen = next(
            i for i, known in enumerate(self._photos) if _same(known, image)
        )

    def _score(self) -> float:
        """Return the quality of the undamaged face, or its score; equal photos stay in order."""
        clean = self.state.clean
        if clean is None:
            return 0.0
        return float(clean.quality) if clean.quality is not None else round(clean.best, 3)

    def _show_own(self) -> None:
        """Show the user's own photos behind the samples, from the best to the worst."""
        own = sorted(self._own, key=lambda one: -one.score)
        self._photos[self._samples :] = [one.photo for one in own]
        self._gallery.items = self._gallery.items[: self._samples] + [one.item for one in own]

    def _too_many(self) -> bool:
        size = sum(one.photo.size for one in self._own if isinstance(one.photo, Photo))
        return len(self._own) > MAX_OWN or (size > MAX_OWN_BYTES and len(self._own) > 1)

    def _forget(self) -> None:
        """Drop the user's own photos."""
        self._upload.forget()
        self._own.clear()
        self._show_own()

    def _new_result(self, change: dict[str, Any]) -> None:
        self._status.value = captions.status(change["new"])


def _mirror(source: t.HasTraits, target: t.HasTraits, name: str) -> None:
    """Copy a trait on every change; `traitlets.link` would compare arrays by value."""

    def copy(change: dict[str, Any]) -> None:
        if getattr(target, name) is not change["new"]:
            setattr(target, name, change["new"])

    source.observe(copy, name)


def _same(known: Any, image: Any) -> bool:
    """Whether two photos are the same; files are compared by their paths."""
    if isinstance(known, Path) and isinstance(image, str | Path):
        return known.resolve() == Path(image).resolve()
    return known is image


def _thumbnail(photo: Any) -> dict[str, str]:
    label = Path(str(getattr(photo, "name", "own photo"))).stem
    if photo in sample_images():
        label = sample_name(photo)
    return {"label": label, "src": data_url(preview(photo, THUMBNAIL_SIDE))}
