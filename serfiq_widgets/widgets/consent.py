"""The notice before the user's own photos or camera, and the button that erases all faces."""

from __future__ import annotations

from typing import Any

import ipywidgets as w
import traitlets as t

from serfiq_widgets.figures import captions
from serfiq_widgets.widgets.elements import STATIC, Part
from serfiq_widgets.widgets.errors_shown import show_errors
from serfiq_widgets.widgets.state import ExplorerState


class Consent(Part):
    """A notice on the use of photos that asks for consent when the first one is brought.

    Only on a page that Voila serves.

    Attributes
    ----------
    text : str
        The notice, as HTML.
    given : bool
        Whether the user consented.
    """

    _esm = STATIC / "consent.js"
    text = t.Unicode(captions.CONSENT).tag(sync=True)
    given = t.Bool().tag(sync=True)


class Own(w.VBox):
    """Widgets for the user's own photos, which wait for consent.

    Parameters
    ----------
    state : ExplorerState
        Its ``consent`` is what they wait for.
    *takers : Widget
        Upload, camera.
    """

    def __init__(self, state: ExplorerState, *takers: w.Widget) -> None:
        self.consent = Consent(given=state.consent)
        t.link((self.consent, "given"), (state, "consent"))
        box = w.HBox(takers)
        box.add_class("serfiq-takers")
        super().__init__([self.consent, box])
        self.add_class("serfiq-own")


class Eraser(Part):
    """A button that erases every face of the session; see `ExplorerState.erase`.

    A page can trigger it after the user has left: it dispatches the event ``serfiq-erase`` on its
    document.
    """

    _esm = STATIC / "erase.js"

    def __init__(self, state: ExplorerState) -> None:
        super().__init__()

        def erase(*_: Any) -> None:
            state.erase()
            self.send({"erased": True})

        self.on_msg(show_errors(state, erase))
