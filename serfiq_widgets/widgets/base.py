"""Base classes of all views: widgets that are built once and follow a state."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from serfiq_widgets.figures.still import face_still
from serfiq_widgets.scoring.remote import open_scorer
from serfiq_widgets.widgets.elements import Notice
from serfiq_widgets.widgets.state import ExplorerState

if TYPE_CHECKING:
    from serfiq_widgets.faces.alignment import AlignedFace
    from serfiq_widgets.images.read import ImageSource


class Pictured:
    """A widget of which a saved notebook keeps a picture, beside what needs a kernel."""

    def still(self) -> str:
        """Return what the widget shows as HTML without scripts; empty if it shows nothing."""
        return ""

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        bundle = super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]  # of a widget
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data and (picture := self.still()):
            data["text/html"] = picture
        return bundle


class OnState(Pictured):
    """A widget that shows an `ExplorerState`: one that it is given, or one that it creates.

    Attributes
    ----------
    state : ExplorerState
        Its traits ``image``, ``ruin``, ``passes``, ``result`` and ``quality`` can be observed, and
        the first three can be set.
    alone : bool
        Whether it created its state; then it also shows the state's messages.
    """

    state: ExplorerState
    alone: bool

    def take_state(
        self,
        state: ExplorerState | None,
        model: str | Path,
        engine: str,
        device: str,
        seed: int,
        detector: str,
    ) -> None:
        """Set the state; without one, create it with a scorer."""
        self.alone = state is None
        self.state = state or ExplorerState(
            open_scorer(model, engine, device, seed, detector=detector)
        )

    def still(self) -> str:
        """Return the face with its quality, running score and cloud."""
        return session_still(self.state)


class View(Pictured, w.VBox):
    """Widgets that follow a state; a subclass sets its state, then calls this ``__init__``."""

    def __init__(self) -> None:
        super().__init__()
        self.children = self.build()
        self.connect()

    def build(self) -> list[w.Widget]:
        """Make the widgets; the base has none."""
        return []

    def connect(self) -> None:
        """Connect the widgets and the state where `build` has not."""


class StateView(OnState, View):
    """A view of a given `ExplorerState`, or of one that it creates.

    Parameters
    ----------
    image : path, bytes, file object, PIL image, (H, W, 3) uint8 RGB array or AlignedFace, optional
        The photo.
    state : ExplorerState, optional
        A state to share with other views; if not given, the view creates one.
    model, engine, device, seed, detector
        As for `Scorer`, if the view creates its state.

    Attributes
    ----------
    state : ExplorerState
        Its traits ``image``, ``ruin``, ``passes``, ``result`` and ``quality`` can be observed.
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
        detector: str = "centerface",
    ) -> None:
        self.take_state(state, model, engine, device, seed, detector)
        super().__init__()
        if self.alone:
            notice = Notice()
            self.state.observe(lambda change: notice.say(change["new"]), "message")
            self.children = [notice, *self.children, *self.accessories()]
            self.add_class("serfiq")
        if image is not None:
            self.state.image = image

    def accessories(self) -> list[w.Widget]:
        """Make the other widgets that the view needs when it is used alone."""
        return []


def session_still(state: ExplorerState) -> str:
    """Return a picture of the face of a session, as it is degraded now; empty without a face."""
    now, clean = state.result, state.clean
    if now is None or clean is None:
        return ""
    return face_still(now, now if state.everything is clean else clean.at(state.passes))


def heading(title: str, text: str) -> str:
    """Return a figure's title and its one sentence as HTML."""
    return f"<h3>{title}</h3><p>{text}</p>"


def picture(title: str, text: str, *parts: w.Widget) -> w.VBox:
    """Return a figure, or several parts of one, under its title and its one sentence."""
    box = w.VBox([w.HTML(heading(title, text)), *parts])
    box.add_class("serfiq-picture")
    return box
