"""The small widgets of which the explorers consist: plot, slider, photo, face, table and others.

Each has traits here and a few lines of JavaScript in ``static/``. The plotly library (1.5 MB
compressed) and the style sheet are sent to the page once, not once per widget.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import anywidget
import plotly.graph_objects as go
import traitlets as t
from ipywidgets import HTML, Widget, widget_serialization

from serfiq_widgets.errors import SerfiqError, clean_name
from serfiq_widgets.figures import Film
from serfiq_widgets.images.metadata import too_large
from serfiq_widgets.images.read import MAX_BYTES
from serfiq_widgets.widgets import plotly_js
from serfiq_widgets.widgets.modules import joined

STATIC = Path(__file__).parent / "static"


class Look(anywidget.AnyWidget):
    """Holds the style sheet of all parts of a page; it has no view."""

    _esm = "export default {};"
    _css = STATIC / "serfiq.css"


class PlotlyLibrary(anywidget.AnyWidget):
    """Holds `plotly_js.module` for all plots of a page, or its address; it has no view."""

    _esm = "export default {};"
    source = t.Bytes().tag(sync=True)
    address = t.Unicode().tag(sync=True)


_shared: dict[str, anywidget.AnyWidget] = {}


def shared(name: str, make: Callable[[], anywidget.AnyWidget]) -> anywidget.AnyWidget:
    """Return this kernel's only model of a name; make it again if it was closed."""
    if name not in _shared or _shared[name].comm is None:
        _shared[name] = make()
    return _shared[name]


def plotly_library() -> anywidget.AnyWidget:
    """Return the plotly library of this kernel."""
    if address := os.environ.get(plotly_js.ADDRESS, ""):
        return shared("plotly", lambda: PlotlyLibrary(address=address))
    return shared("plotly", lambda: PlotlyLibrary(source=plotly_js.module()))


class Part(anywidget.AnyWidget):
    """A small widget; the style sheet is sent to the page once for all of them."""

    def __init__(self, **traits: Any) -> None:
        shared("look", Look)
        super().__init__(**traits)


class Plot(Part):
    """Shows a plotly figure or a film; both can follow a slider in the browser, without Python.

    Attributes
    ----------
    figure : dict
        The figure as plotly's JSON; set it through `show`.
    clock : Slider
        Its value is the number of passes that a film shows, or in another figure the position of
        the vertical lines (its shapes).
    chosen : int
        Index of the chosen point, -1 for none; users can choose one if ``choosable`` is set.
    label : str
        Text for screen readers.
    name : str
        Name of the file when the figure is saved.
    """

    _esm = STATIC / "plot.js"
    figure = t.Dict().tag(sync=True)
    label = t.Unicode().tag(sync=True)
    name = t.Unicode("serfiq").tag(sync=True)
    choosable = t.Bool().tag(sync=True)
    chosen = t.Int(-1).tag(sync=True)
    clock = t.Instance(Widget, allow_none=True).tag(sync=True, **widget_serialization)
    library = t.Instance(Widget).tag(sync=True, **widget_serialization)

    @t.default("library")
    def _default_library(self) -> Widget:
        return plotly_library()

    def show(self, figure: go.Figure | Film) -> None:
        """Draw a figure or film in place of the last one."""
        if isinstance(figure, Film):
            self.figure = figure.to_json()
        else:
            self.figure = figure.to_plotly_json()

    def clear(self) -> None:
        """Show nothing, and drop the last figure."""
        self.figure = {}


class Slider(Part):
    """A slider with a number box, usable by keyboard and labelled for screen readers.

    Parameters
    ----------
    label : str
        Name of the slider.
    value, least, most, step : float
        Its value, range and step. Values from the page are clipped to the range.
    playable : bool
        With buttons that step through the values one by one.
    """

    _esm = STATIC / "slider.js"
    label = t.Unicode().tag(sync=True)
    value = t.Float().tag(sync=True)
    min = t.Float().tag(sync=True)
    max = t.Float().tag(sync=True)
    step = t.Float().tag(sync=True)
    playable = t.Bool().tag(sync=True)

    def __init__(
        self,
        label: str,
        value: float,
        least: float,
        most: float,
        step: float,
        *,
        playable: bool = False,
    ) -> None:
        self._least, self._most = least, most
        super().__init__(
            label=label, value=value, min=least, max=most, step=step, playable=playable
        )

    def stretch(self, least: float, most: float, step: float) -> None:
        """Set another range; the value stays if it is within."""
        self._least, self._most = least, most
        with self.hold_sync():
            self.min, self.max, self.step = least, most, step
            self.value = min(max(self.value, least), most)

    @t.validate("value")
    def _clamp(self, proposal: dict[str, Any]) -> float:
        value = proposal["value"]
        return self._least if math.isnan(value) else min(max(value, self._least), self._most)


class Readout(Part):
    """Text with numbers that follow a slider in the browser, without Python.

    Attributes
    ----------
    template : str
        HTML with ``{name}`` as placeholder of a number.
    numbers : dict of str to list of str
        For each name, the numbers for every value of the clock, from the clock's ``min`` on.
    clock : Slider
        Its value selects the numbers to show.
    """

    _esm = STATIC / "readout.js"
    template = t.Unicode().tag(sync=True)
    numbers = t.Dict().tag(sync=True)
    clock = t.Instance(Widget).tag(sync=True, **widget_serialization)


class PhotoView(Part):
    """A photo with the faces found in it; users choose one if there are several.

    Attributes
    ----------
    src : str
        Data URL of the photo, empty for none.
    boxes : list of [left, top, width, height]
        Boxes of the faces, as fractions of the photo's sides.
    landmarks : list of [x, y]
        Landmarks of the chosen face, as fractions of the photo's sides.
    chosen : int
        Index of the chosen face.
    """

    _esm = STATIC / "photo.js"
    src = t.Unicode().tag(sync=True)
    boxes = t.List(t.List()).tag(sync=True)
    landmarks = t.List(t.List()).tag(sync=True)
    chosen = t.Int(0).tag(sync=True)


class Table(Part):
    """A table that a click on a heading sorts; ``action``, if set, labels a button in each row.

    Attributes
    ----------
    columns, rows : list
        Headings, and one list of str, int or float per row.
    places : list of int
        Decimal places of each column's floats; four by default.
    """

    _esm = STATIC / "table.js"
    caption = t.Unicode().tag(sync=True)
    columns = t.List(t.Unicode()).tag(sync=True)
    rows = t.List(t.List()).tag(sync=True)
    places = t.List(t.Int()).tag(sync=True)
    action = t.Unicode().tag(sync=True)


class Download(Part):
    """Buttons that save a file, which is made on request.

    Parameters
    ----------
    offers : dict of str to str
        Kind of file, and the text of its button.
    on_ask : callable of (kind: str)
        Called with one of these kinds; it sends the file by `hand`.
    """

    _esm = STATIC / "download.js"
    offers = t.List(t.List()).tag(sync=True)

    def __init__(self, offers: dict[str, str], on_ask: Callable[[str], None]) -> None:
        super().__init__(offers=[list(offer) for offer in offers.items()])

        def receive(_: Any, message: dict[str, Any], __: list[memoryview]) -> None:
            if message.get("kind") in offers:
                on_ask(message["kind"])

        self.on_msg(receive)

    def hand(self, name: str, kind: str, content: bytes) -> None:
        """Let the browser save a file of a MIME type."""
        self.send({"name": name, "type": kind}, [content])


class SettingsLink(Part):
    """A link to this page with settings, never with a face.

    Attributes
    ----------
    settings : str
        The settings of the link, as a query string.
    opened : str
        The settings with which the page was opened.
    """

    _esm = STATIC / "link.js"
    settings = t.Unicode().tag(sync=True)
    opened = t.Unicode().tag(sync=True)


class Tour(Part):
    """A button that starts a tour of the page in a few notes, which can be skipped.

    Parameters
    ----------
    steps : dict of str to str
        The part of the widget beside each note (a CSS selector), and the note's text.
    on_start : callable
        Called when the tour starts, to show these parts.
    """

    _esm = STATIC / "tour.js"
    steps = t.List(t.List()).tag(sync=True)

    def __init__(self, steps: dict[str, str], on_start: Callable[[], None]) -> None:
        super().__init__(steps=[list(step) for step in steps.items()])
        self.on_msg(lambda *_: on_start())


class FaceView(Part):
    """Shows an aligned face with an overlay; users can point at a place on it.

    Attributes
    ----------
    face, overlay : str
        Data URLs of the face and of the overlay (empty for none).
    strength : float
        Opacity of the overlay, 0..1.
    place : list of float
        x and y of the last place pointed at, in pixels of the aligned face, 0..112.
    movable : bool
        Whether pointing at a place has an effect.
    """

    _esm = STATIC / "face.js"
    face = t.Unicode().tag(sync=True)
    overlay = t.Unicode().tag(sync=True)
    strength = t.Float(0.7, min=0, max=1).tag(sync=True)
    place = t.List(t.Float(), [56.0, 56.0], minlen=2, maxlen=2).tag(sync=True)
    movable = t.Bool().tag(sync=True)


class Notice(HTML):
    """One sentence about an error, or nothing."""

    def say(self, text: str) -> None:
        """Show a text, or nothing if it is empty."""
        self.value = (
            f'<div class="serfiq-message" role="alert">{escape(text)}</div>' if text else ""
        )


class Gallery(Part):
    """A row of thumbnails; a click or Enter chooses one.

    Attributes
    ----------
    items : list of dict
        ``label`` and ``src`` (a data URL) of each thumbnail.
    chosen : int
        Index of the chosen one, -1 for none.
    """

    _esm = STATIC / "gallery.js"
    items = t.List(t.Dict()).tag(sync=True)
    chosen = t.Int(-1).tag(sync=True)


class Upload(Part):
    """A button for photos; a page that Voila serves also takes dropped and pasted ones.

    The browser sends files in pieces below the servers' limit on messages. They are joined here,
    where the limit on bytes is enforced independently of the browser.

    Parameters
    ----------
    on_file : callable of (name: str, content: bytes)
        Called once per complete file.
    on_error : callable of (SerfiqError)
        Called when a file is refused.
    """

    _esm = joined(STATIC / "upload.js")
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
        self._content: bytearray | None = None  # of a file in transfer
        self.on_msg(self._receive)

    def forget(self) -> None:
        """Drop a file in transfer."""
        self._content = None

    def _receive(self, _: Any, message: dict[str, Any], buffers: list[memoryview]) -> None:
        """Take one piece: {"name", "first", "last"} with its bytes, or {"name", "too_large"}."""
        name = clean_name(str(message.get("name") or "upload"))
        if message.get("first"):
            self._content = bytearray()
        if message.get("too_large"):
            self._refuse(name)
        elif self._content is not None:
            self._add(name, buffers, last=bool(message.get("last")))

    def _add(self, name: str, pieces: list[memoryview], *, last: bool) -> None:
        content = self._content or bytearray()
        if len(content) + sum(piece.nbytes for piece in pieces) > MAX_BYTES:
            self._refuse(name)
            return
        for piece in pieces:
            content += piece
        self._content = content
        if last:
            self._content = None
            self._on_file(name, bytes(content))

    def _refuse(self, name: str) -> None:
        self._content = None
        self._on_error(too_large(name, f"is larger than {MAX_BYTES // 10**6} MB"))
