"""The face that is scored: the photo with the faces found, the aligned face, and its heat map."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serfiq_widgets import figures
from serfiq_widgets.errors import SerfiqError, drop_traceback
from serfiq_widgets.faces.alignment import FACE_SIZE, AlignedFace
from serfiq_widgets.images.encode import data_url
from serfiq_widgets.images.opencv import fitted, shrunk
from serfiq_widgets.images.photo import PREVIEW_SIDE, Photo
from serfiq_widgets.images.read import read_image
from serfiq_widgets.scoring.results import QualityResult
from serfiq_widgets.scoring.sensitivity import heatmap_in_steps
from serfiq_widgets.widgets.base import View
from serfiq_widgets.widgets.elements import FaceView, PhotoView, Slider
from serfiq_widgets.widgets.errors_shown import show_errors
from serfiq_widgets.widgets.state import ExplorerState

if TYPE_CHECKING:
    from serfiq_widgets.images.read import ImageSource

FACE_SIDE = 224
SEVERAL = "{} faces were found. The largest central one is scored: click the one that you mean."
PAUSE_S = 0.1  # before the heat map starts, so that it does not delay a dragged slider
HEAT_TEXT = (
    "A grey patch visits the face: <b>orange, the network needs this</b> (covered, the score falls "
    "by up to {fall:.4f}); blue, it is better off without (up to {rise:.4f}). This shows the "
    "robustness of this network, not what people see."
)


class FaceCard(View):
    """Shows the face of a state, with a switch for the heat map of its score."""

    def __init__(self, state: ExplorerState) -> None:
        self.state = state
        self._task: asyncio.Task[None] | None = None
        super().__init__()

    def build(self) -> list[w.Widget]:
        """Make the photo, the aligned face, and the switch."""
        self._photo, self._view = PhotoView(), FaceView()
        self._several, self._sentence = w.HTML(), w.HTML()
        self._heat = w.Checkbox(
            description="show what the network needs", indent=False, layout={"width": "auto"}
        )
        self._strength = Slider("strength of the colours", 0.7, 0.1, 1, 0.05)
        caption = w.HTML("<figcaption>what the network sees</figcaption>")
        self._found = w.VBox([self._photo, w.HTML("<figcaption>what was found</figcaption>")])
        faces = w.HBox([self._found, w.VBox([self._view, caption])])
        heat = w.HBox([self._heat, self._strength])
        for name, box in (("face", faces), ("heat", heat)):
            box.add_class(f"serfiq-{name}")
        return [faces, self._several, heat, self._sentence]

    def connect(self) -> None:
        """Let face, boxes and colours follow the state, and clicks on them change it."""
        state = self.state
        w.jslink((self._strength, "value"), (self._view, "strength"))
        state.observe(show_errors(state, self._new_photo), "clean")
        state.observe(show_errors(state, self._new_face), "everything")
        state.observe(show_errors(state, self._new_ruin), "ruin")
        self._view.observe(show_errors(state, self._place), "place")
        self._photo.observe(show_errors(state, self._mean), "chosen")
        self._heat.observe(show_errors(state, self._restart), "value")
        self._restart({})
        if state.clean is not None and state.everything is not None:
            self._new_photo({"new": state.clean})
            self._new_face({"new": state.everything})

    def _new_photo(self, change: dict[str, Any]) -> None:
        face = change["new"].face
        with self._photo.hold_sync():
            for name, value in photo_traits(self.state.source, face).items():
                setattr(self._photo, name, value)
        self._found.layout.display = "" if self._photo.src else "none"
        self._several.value = f"<p>{SEVERAL.format(face.n_faces)}</p>" if face.n_faces > 1 else ""

    def _mean(self, change: dict[str, Any]) -> None:
        if self.state.clean is not None:
            self.state.which = min(max(change["new"], 0), self.state.clean.face.n_faces - 1)

    def _new_face(self, change: dict[str, Any]) -> None:
        result: QualityResult = change["new"]
        aligned = Image.fromarray(result.face.pixels)
        self._view.face = data_url(aligned.resize((FACE_SIDE, FACE_SIDE), Image.Resampling.BICUBIC))
        self._restart({})

    def _new_ruin(self, change: dict[str, Any]) -> None:
        ruin = change["new"]
        self._view.place = [float(ruin.x), float(ruin.y)]
        self._view.movable = ruin.cover == "square"

    def _place(self, change: dict[str, Any]) -> None:
        x, y = (min(max(value, 0.0), float(FACE_SIZE)) for value in change["new"])
        self.state.ruin = self.state.ruin.replace(x=x, y=y)

    def _restart(self, _: dict[str, Any]) -> None:
        """Drop the heat map of the previous face; start a new one if it is switched on."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._view.overlay = self._sentence.value = ""
        self._strength.layout.visibility = "visible" if self._heat.value else "hidden"
        if not self._heat.value or self.state.everything is None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # without an event loop, compute it at once
            for change in heatmap_in_steps(self.state.scorer, self.state.everything.face):
                self._show_heat(change)
        else:
            self._task = loop.create_task(self._follow(self.state.everything.face))

    async def _follow(self, face: AlignedFace) -> None:
        """Draw the heat map batch by batch; other messages are handled in between."""
        await asyncio.sleep(PAUSE_S)
        try:
            for change in heatmap_in_steps(self.state.scorer, face):
                self._show_heat(change)
                await asyncio.sleep(0.002)
        except SerfiqError as error:
            self.state.message = str(drop_traceback(error))

    def _show_heat(self, change: NDArray[np.float32]) -> None:
        self._view.overlay = data_url(Image.fromarray(figures.heat_picture(change)))
        fall, rise = max(0.0, -float(change.min())), max(0.0, float(change.max()))
        self._sentence.value = f"<p>{HEAT_TEXT.format(fall=fall, rise=rise)}</p>"


def photo_traits(image: ImageSource | AlignedFace, face: AlignedFace) -> dict[str, Any]:
    """Return the photo and its faces, for a `PhotoView`; empty if it was given aligned.

    Boxes and landmarks are fractions of the photo's sides.
    """
    if face.box is None or isinstance(image, AlignedFace):
        return {"src": "", "boxes": [], "landmarks": [], "chosen": 0}
    size = np.array(face.photo_size)
    corners = np.clip(np.array(face.boxes).reshape(-1, 2, 2) / size, 0, 1)
    boxes = np.concatenate([corners[:, 0], corners[:, 1] - corners[:, 0]], axis=1)
    return {
        "src": data_url(preview(image, PREVIEW_SIDE)),
        "boxes": boxes.tolist(),
        "landmarks": [] if face.landmarks is None else (face.landmarks / size).tolist(),
        "chosen": face.which,
    }


def preview(image: ImageSource | Photo, side: int) -> Image.Image:
    """Return a photo, shrunk to at most ``side`` pixels a side."""
    if isinstance(image, Photo):
        pixels = image.pixels() if image.preview is None else image.preview
    else:
        if hasattr(image, "seek"):
            image.seek(0)
        pixels = read_image(image)
    height, width = pixels.shape[:2]
    return Image.fromarray(shrunk(pixels, fitted(width, height, side)))
