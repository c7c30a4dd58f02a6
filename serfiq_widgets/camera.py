"""The webcam: snapshots, and live frames that are scored several times a second."""

from __future__ import annotations

import io
from collections import deque
from time import monotonic

import ipywidgets as w

from serfiq_widgets.face_card import FaceCard
from serfiq_widgets.parts import CameraFeed
from serfiq_widgets.state import SURPRISE, kindly
from serfiq_widgets.views import StateView

WINDOW_S = 2.0
NO_FACE = "No face in view: come closer, towards the light."


class Camera(StateView):
    """Scores what the webcam sees. Takes the parameters of `StateView`.

    Frames live in memory only. A page that is neither on this machine nor under HTTPS gets no
    camera from the browser, and is told so.
    """

    def build(self) -> list[w.Widget]:
        """The feed, and the face with its quality when alone."""
        self._times: deque[float] = deque()
        self._snapshots = 0
        self.feed = CameraFeed(self._frame)
        return [self.feed, *([FaceCard(self.state)] if self.alone else [])]

    def _frame(self, kind: str, content: bytes) -> str:
        """Score a frame, and say what came of it."""
        take = self._live if kind == "live" else self._snapshot
        said: list[str] = []
        kindly(self.state, lambda: said.append(take(content)))()
        return said[0] if said else SURPRISE

    def _snapshot(self, content: bytes) -> str:
        self._snapshots += 1
        self.state.image = _named(content, f"snapshot {self._snapshots}")
        return ""

    def _live(self, content: bytes) -> str:
        self.state.show_frame(_named(content, "camera"))
        now = monotonic()
        self._times.append(now)
        while now - self._times[0] > WINDOW_S:
            self._times.popleft()
        if self.state.missed:
            return NO_FACE
        span = now - self._times[0]
        rate = f" \u00b7 {(len(self._times) - 1) / span:.1f} a second" if span else ""
        return f"{self.state.quality} of 100{rate}"


def _named(content: bytes, name: str) -> io.BytesIO:
    file = io.BytesIO(content)
    file.name = name
    return file
