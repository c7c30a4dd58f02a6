"""Compare faces: a tray of pinned faces, two of them side by side, and the session's table."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import ipywidgets as w
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serfiq_widgets import figures
from serfiq_widgets.figures import captions
from serfiq_widgets.figures.still import faces_still
from serfiq_widgets.images.encode import data_url
from serfiq_widgets.images.photo import Photo
from serfiq_widgets.widgets.base import StateView, picture
from serfiq_widgets.widgets.consent import Eraser, Own
from serfiq_widgets.widgets.elements import Plot, Table, Upload
from serfiq_widgets.widgets.errors_shown import show_errors
from serfiq_widgets.widgets.state import Entry, ExplorerState

if TYPE_CHECKING:
    from serfiq_widgets.faces.alignment import AlignedFace
    from serfiq_widgets.images.read import ImageSource

PASSES, DRAWS = 100, 60
COLUMNS = [
    *("face", "quality", "margin", "controlled"),
    *("raw", "low", "high", "limit", "passes", "seed", "model"),
]
INVITATION = (
    "Pin two faces: the one shown now with the button, or earlier ones in the table below. "
    "A face and its ruined self make a good pair."
)
CLOUDS = (
    "Both clouds under the same masks, in one projection. <b>Far apart: the network sees two "
    "people. Wide: it is not sure of what it sees.</b>"
)
SCORES = (
    "The raw score as published, had the masks been drawn otherwise, 60 times. <b>Where the two "
    "overlap, {} passes cannot tell which is better;</b> the controlled scores (dashed) can."
)


class ComparePanel(StateView):
    """Compares two faces under the same masks, and lists the faces scored in this session.

    Parameters
    ----------
    *images : as for `StateView`
        Faces to pin at once.
    state, **scorer
        As for `StateView`.

    Examples
    --------
    >>> from serfiq_widgets import ComparePanel
    >>> panel = ComparePanel("sample_images/collins.jpg", "sample_images/collins_mask.jpg")
    >>> [entry.name for entry in panel.state.pinned]
    ['collins.jpg', 'collins_mask.jpg']
    """

    def __init__(
        self,
        *images: ImageSource | AlignedFace,
        state: ExplorerState | None = None,
        **scorer: Any,
    ) -> None:
        self._draws: dict[Entry, NDArray[np.float64]] = {}
        super().__init__(state=state, **scorer)
        for image in images:
            self._add(image)

    def build(self) -> list[w.Widget]:
        """Make tray and choice, two figures, the table."""
        state = self.state
        self.add_class("serfiq-compare")
        self._pin = _button("Pin this face", "serfiq-pin", self.state, lambda _: state.pin())
        self._empty = _button("Empty the tray", "serfiq-empty", self.state, self._empty_tray)
        self._choices = [w.Dropdown(description=letter) for letter in "AB"]
        for letter, choice in zip("ab", self._choices, strict=True):
            choice.add_class(f"serfiq-choose-{letter}")
            choice.observe(show_errors(state, lambda _: self._show_pair()), "value")
        self._tray, self._says = w.HTML(), w.HTML()
        self._clouds = Plot(label="The clouds of A and B in one projection", name="serfiq-a-b")
        self._scores = Plot(label="Distribution of the raw scores of A and B", name="serfiq-draws")
        text = SCORES.format(PASSES)
        self._pictures = w.HBox(
            [
                picture("Two clouds", CLOUDS, self._clouds),
                picture("Two scores", text, self._scores),
            ]
        )
        self._pictures.add_class("serfiq-pictures")
        self._table = Table(
            caption="Every face of this session; a click on a heading sorts.",
            columns=COLUMNS,
            action="Pin",
        )
        self._table.on_msg(show_errors(state, self._pin_row))
        bar = w.HBox([self._pin, *self._choices, self._empty])
        bar.add_class("serfiq-buttons")
        state.observe(show_errors(state, lambda _: self._fill_table()), "entries")
        state.observe(show_errors(state, lambda _: self._fill_tray()), "pinned")
        state.observe(show_errors(state, lambda _: self._fresh()), "scorer")
        self._fill_table()
        self._fill_tray()
        upload = []
        if self.alone:
            taker = Upload(show_errors(state, self._take), self._refuse)
            state.observe(lambda _: taker.forget(), "erasures")
            upload = [Own(state, taker), Eraser(state)]
        return [*upload, bar, self._tray, self._says, self._pictures, self._table]

    def _take(self, name: str, content: bytes) -> None:
        self._add(Photo(content, name))

    def _add(self, image: ImageSource | AlignedFace | Photo) -> None:
        """Score an image, and pin it if that succeeded."""
        known = self.state.entries
        self.state.image = image
        if self.state.entries is not known:
            self.state.pin(self.state.entries[-1])

    def _refuse(self, error: Exception) -> None:
        self.state.message = str(error)

    def _pin_row(self, _: Any, message: dict[str, Any], __: Any) -> None:
        row = message.get("row")
        if isinstance(row, int) and 0 <= row < len(self.state.entries):
            self.state.pin(self.state.entries[row])

    def _empty_tray(self, _: w.Button) -> None:
        self.state.pinned = ()

    def _fill_table(self) -> None:
        self._table.rows = [
            [entry.name, *(_shown(entry.result[name]) for name in COLUMNS[1:])]
            for entry in self.state.entries
        ]

    def _fill_tray(self) -> None:
        pinned = self.state.pinned
        self._tray.value = "".join(
            f'<figure class="serfiq-pinned"><img src="{data_url(Image.fromarray(e.face.pixels))}" '
            f'alt=""><figcaption>{number}. {escape(e.name)}<br>{said(e)}'
            "</figcaption></figure>"
            for number, e in enumerate(pinned, 1)
        )
        self._draws = {entry: self._draws[entry] for entry in pinned if entry in self._draws}
        options = [(f"{number}. {e.name}", number) for number, e in enumerate(pinned, 1)]
        ends = (len(pinned) - 1, len(pinned)) if len(pinned) > 1 else (None, None)
        for choice, end in zip(self._choices, ends, strict=True):
            choice.options = options
            choice.value = end
        self._show_pair()

    def still(self) -> str:
        """Return the pinned faces, each with its quality."""
        faces = [(entry.face, f"{entry.name}: {said(entry)}") for entry in self.state.pinned]
        return faces_still(faces) if faces else super().still()

    def _fresh(self) -> None:
        self._draws = {}
        self._show_pair()

    def _show_pair(self) -> None:
        """Show A and B, or how to pin two faces."""
        pinned = self.state.pinned
        chosen = [choice.value for choice in self._choices]
        ready = all(isinstance(c, int) and 1 <= c <= len(pinned) for c in chosen)
        self._pictures.layout.display = "" if ready else "none"
        if not ready:
            for plot in (self._clouds, self._scores):
                plot.clear()
            self._says.value = f"<p>{INVITATION}</p>"
            return
        first, second = (pinned[c - 1] for c in chosen)
        scorer = self.state.scorer
        a, b = (scorer.score(entry.face, PASSES) for entry in (first, second))
        one, two = scorer.embed([first.face, second.face])
        self._says.value = captions.comparison((first.name, second.name), (a, b), float(one @ two))
        self._clouds.show(figures.clouds_figure(a, b))
        draws = (self._drawn(first), self._drawn(second))
        self._scores.show(figures.draws_figure(draws, (a.best, b.best)))

    def _drawn(self, entry: Entry) -> NDArray[np.float64]:
        if entry not in self._draws:
            self._draws[entry] = self.state.scorer.reseeded_scores(entry.face, PASSES, DRAWS)
        return self._draws[entry]


def _button(text: str, name: str, state: ExplorerState, act: Any) -> w.Button:
    button = w.Button(description=text)
    button.add_class(name)
    button.on_click(show_errors(state, act))
    return button


def _shown(value: str | float) -> str | float:
    """Return a value for the table, with "" for NaN, which JSON does not have."""
    return "" if isinstance(value, float) and np.isnan(value) else value


def said(entry: Entry) -> str:
    """Return an entry's quality in words, or its raw score if it has no quality."""
    quality = entry.result["quality"]
    if isinstance(quality, float):
        best = entry.result["controlled"]
        best = entry.result["raw"] if _shown(best) == "" else best
        return f"raw score {best:.4f}"
    return f"quality {quality}"
