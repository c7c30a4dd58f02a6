"""The small widgets that the explorers are made of: plot, face, gallery, upload button, notice.

Each is a few lines of JavaScript in ``static/`` beside traits here. The plotly library (1.5 MB
compressed) travels to the page once, as a model that all plots point to, not once per plot.
"""

from __future__ import annotations

import base64
import gzip
import io
from collections.abc import Callable
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import plotly.graph_objects as go
import traitlets as t
from ipywidgets import HTML, Widget, widget_serialization
from PIL import Image
from plotly.offline import get_plotlyjs

from serfiq_widgets.errors import ImageTooLarge, SerfiqError
from serfiq_widgets.images import MAX_BYTES

STATIC = Path(__file__).parent / "static"


class PlotlyLibrary(anywidget.AnyWidget):
    """Holds the compressed plotly JavaScript for all plots of a page; it has no view."""

    _esm = "export default {};"
    source = t.Bytes().tag(sync=True)


@cache
def _compressed_plotly() -> bytes:
    return gzip.compress(get_plotlyjs().encode(), 6, mtime=0)


_shared: list[PlotlyLibrary] = []


def plotly_library() -> PlotlyLibrary:
    """Return the one library model of this kernel; made anew when it was closed."""
    if not _shared or _shared[0].comm is None:
        _shared[:] = [PlotlyLibrary(source=_compressed_plotly())]
    return _shared[0]


class Plot(anywidget.AnyWidget):
    """Shows a plotly figure and redraws only what changed.

    Attributes
    ----------
    figure : dict
        The figure as plotly's JSON; set it through `show`.
    label : str
        What a screen reader says.
    """

    _esm = STATIC / "plot.js"
    _css = STATIC / "serfiq.css"
    figure = t.Dict().tag(sync=True)
    label = t.Unicode().tag(sync=True)
    library = t.Instance(Widget).tag(sync=True, **widget_serialization)

    @t.default("library")
    def _default_library(self) -> PlotlyLibrary:
        return plotly_library()

    def show(self, figure: go.Figure) -> None:
        """Draw a figure in place of the last one."""
        self.figure = figure.to_plotly_json()


class FaceView(anywidget.AnyWidget):
    """Shows an aligned face with an overlay, and lets people point at a place on it.

    Attributes
    ----------
    face, overlay : str
        Data URLs of the face and of what lies over it (empty for nothing).
    strength : float
        Opacity of the overlay, 0..1.
    place : list of float
        x and y of the last place pointed at, in pixels of the aligned face, 0..112.
    movable : bool
        Whether pointing has a meaning now.
    """

    _esm = STATIC / "face.js"
    _css = STATIC / "serfiq.css"
    face = t.Unicode().tag(sync=True)
    overlay = t.Unicode().tag(sync=True)
    strength = t.Float(0.7, min=0, max=1).tag(sync=True)
    place = t.List(t.Float(), [56.0, 56.0], minlen=2, maxlen=2).tag(sync=True)
    movable = t.Bool().tag(sync=True)


class Notice(HTML):
    """One kind sentence about what went wrong, or nothing."""

    def say(self, text: str) -> None:
        """Show a text, or nothing when it is empty."""
        self.value = (
            f'<div class="serfiq-message" role="alert">{escape(text)}</div>' if text else ""
        )


def data_url(picture: Image.Image) -> str:
    """Return an image as a data URL: PNG if it is transparent, else JPEG."""
    content = io.BytesIO()
    kind = "PNG" if picture.mode == "RGBA" else "JPEG"
    picture.save(content, kind, quality=88)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"


class Gallery(anywidget.AnyWidget):
    """A row of thumbnails; a click or Enter chooses one.

    Attributes
    ----------
    items : list of dict
        ``label`` and ``src`` (a data URL) of each thumbnail.
    chosen : int
        Index of the chosen one, -1 for none.
    """

    _esm = STATIC / "gallery.js"
    _css = STATIC / "serfiq.css"
    items = t.List(t.Dict()).tag(sync=True)
    chosen = t.Int(-1).tag(sync=True)


class Upload(anywidget.AnyWidget):
    """A button and drop target for photos.

    Files travel in pieces below the servers' limit on messages and are put together here, where
    the limit on bytes is enforced, whatever the browser claims.

    Parameters
    ----------
    on_file : callable of (name: str, content: bytes)
        Called once per complete file.
    on_error : callable of (SerfiqError)
        Called when a file is refused.
    """

    _esm = STATIC / "upload.js"
    _css = STATIC / "serfiq.css"
    label = t.Unicode("Upload photos").tag(sync=True)
    limit = t.Int(MAX_BYTES).tag(sync=True)

    def __init__(
        self,
        on_file: Callable[[str, bytes], None],
        on_error: Callable[[SerfiqError], None],
        **traits: Any,
    ) -> None:
        super().__init__(**traits)
        self._on_file = on_file
        self._on_error = on_error
        self._content = bytearray()
        self.on_msg(self._receive)

    def _receive(self, _: Any, message: dict[str, Any], buffers: list[memoryview]) -> None:
        """Take one piece: {"name", "first", "last"} with its bytes, or {"name", "too_large"}."""
        name = str(message.get("name", ""))[:200] or "upload"
        if message.get("first"):
            self._content = bytearray()
        size = len(self._content) + sum(len(piece) for piece in buffers)
        if message.get("too_large") or size > MAX_BYTES:
            self._content = bytearray()
            self._on_error(
                ImageTooLarge(
                    f"'{name}' is larger than {MAX_BYTES // 10**6} MB. "
                    "Save it smaller (1,000 pixels across are plenty) and try again."
                )
            )
            return
        for piece in buffers:
            self._content += piece
        if message.get("last"):
            content, self._content = bytes(self._content), bytearray()
            self._on_file(name, content)
