"""The webcam: snapshots, and live frames, which are scored several times a second."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

import ipywidgets as w
import traitlets as t

from serfiq_widgets.images.photo import Photo
from serfiq_widgets.widgets.base import StateView
from serfiq_widgets.widgets.consent import Eraser, Own
from serfiq_widgets.widgets.elements import STATIC, Part
from serfiq_widgets.widgets.errors_shown import INTERNAL_ERROR, show_errors
from serfiq_widgets.widgets.face_card import FaceCard
from serfiq_widgets.widgets.modules import joined

WINDOW_S = 2.0
MAX_FRAME = 2**20  # bytes of one picture
NO_FACE = "No face in view: come closer, towards the light."


class CameraFeed(Part):
    """The webcam: snapshots, and live frames, each sent after the answer to the last one.

    Parameters
    ----------
    on_frame : callable of (kind: str, content: bytes) returning str
        Called with a JPEG; ``kind`` is "snapshot" or "live". The returned text is shown beside it.

    Attributes
    ----------
    live : bool
        Whether live frames are on; if not, live frames that still arrive are dropped.
    """

    _esm = joined(STATIC / "camera.js")
    live = t.Bool().tag(sync=True)

    def __init__(self, on_frame: Callable[[str, bytes], str]) -> None:
        super().__init__()

        def receive(_: Any, message: dict[str, Any], buffers: list[memoryview]) -> None:
            kind = message.get("kind")
            wanted = kind == "snapshot" or (kind == "live" and self.live)
            if wanted and len(buffers) == 1 and len(buffers[0]) <= MAX_FRAME:
                self.send({"text": on_frame(str(kind), bytes(buffers[0]))})

        self.on_msg(receive)


class Camera(StateView):
    """Scores pictures of the webcam. Takes the parameters of `StateView`.

    Frames are kept in memory only. Browsers give a camera only to pages on this machine or over
    HTTPS; on other pages a message says so.
    """

    def build(self) -> list[w.Widget]:
        """Make the feed; if used alone, also the face with its quality."""
        self._times: deque[float] = deque()
        self._snapshots = 0
        self.feed = CameraFeed(self._frame)
        self.state.observe(lambda _: self._forget(), "erasures")
        if not self.alone:
            return [self.feed]
        return [Own(self.state, self.feed), FaceCard(self.state), Eraser(self.state)]

    def _frame(self, kind: str, content: bytes) -> str:
        """Score a frame, and return the text to show."""
        take = self._live if kind == "live" else self._snapshot
        said: list[str] = []
        show_errors(self.state, lambda: said.append(take(content)))()
        return said[0] if said else INTERNAL_ERROR

    def _snapshot(self, content: bytes) -> str:
        self._snapshots += 1
        self.state.image = Photo(content, f"snapshot {self._snapshots}")
        return ""

    def _live(self, content: bytes) -> str:
        self.state.show_frame(Photo(content, "camera"))
        now = monotonic()
        self._times.append(now)
        while now - self._times[0] > WINDOW_S:
            self._times.popleft()
        if self.state.missed:
            return NO_FACE
        span = now - self._times[0]
        rate = f" \u00b7 {(len(self._times) - 1) / span:.1f} a second" if span else ""
        result = self.state.result
        if result is None or not result.calibrated:
            return rate if result is None else f"{result.in_words}{rate}"
        return f"{result.quality} of 100{rate}"

    def _forget(self) -> None:
        """Switch the camera off."""
        self._snapshots = 0
        self._times.clear()
        self.feed.live = False
        self.feed.send({"stop": True})
