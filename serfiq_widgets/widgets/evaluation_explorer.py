"""The evaluation explorer: sliders for FMR and discard; curves, threshold, discarded images.

It observes an `EvaluationState`, which holds all data and has no widgets.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ipywidgets as w
from PIL import Image

from serfiq_widgets import figures
from serfiq_widgets.errors import BadSetting
from serfiq_widgets.evaluation import Table, load
from serfiq_widgets.evaluation.measure import measure
from serfiq_widgets.evaluation.readers import join_scores
from serfiq_widgets.faces.find import find_face
from serfiq_widgets.figures.still import curves_still
from serfiq_widgets.images.encode import data_url
from serfiq_widgets.images.read import read_image
from serfiq_widgets.resources import bundled
from serfiq_widgets.scoring.scorer import Scorer
from serfiq_widgets.widgets.base import View, heading, picture
from serfiq_widgets.widgets.elements import Gallery, Notice, Plot, Slider
from serfiq_widgets.widgets.elements import Table as Rows
from serfiq_widgets.widgets.errors_shown import show_errors
from serfiq_widgets.widgets.evaluation_state import MAX_FMR, MAX_SHARE, MIN_FMR, EvaluationState

if TYPE_CHECKING:
    import pandas as pd

SHOWN, THUMBNAIL_SIDE = 12, 96
COLUMNS = ["image", "quality", "comparisons", "missed"]
LAST, FIRST = "the last to go", "the first to go"
CURVES = (
    "How many genuine comparisons are missed when the worst images are left out. "
    "<b>A good quality score falls fast;</b> a random one stays level. The shade is where 95 of "
    "100 draws of the people would lie."
)
SCORES = (
    "Each comparison of two images has a score. <b>What lies left of the dashed threshold is "
    "rejected:</b> blue there are misses, orange right of it false matches."
)
DET = "The price of each: a lower FMR makes FNMR rise. <b>The diamond is where you are.</b>"


class EvaluationExplorer(View):
    """Shows how errors fall when images are discarded by their quality.

    Parameters
    ----------
    source : Table or path of a ``.npz`` file, optional
        The data to evaluate: from `evaluation.measure.measure`, or saved by
        ``serfiq evaluate --save``.
    folder : path, optional
        Folder of the images, to show the discarded ones. Without a source it is measured now: one
        sub-folder per person. Without both, the bundled table is shown.
    model, passes, aligned
        The network and how its images are scored, when a folder is measured; see `measure`.
    scores : path or DataFrame, optional
        Scores of other methods to compare, joined by their column ``path``; see `join_scores`.
    on_open : callable of (path: Path), optional
        Called with the path of an image that the user chooses.
    explorer : Explorer or ExplorerState, optional
        Opens the image that the user chooses.
    fmr, share, quality
        Initial values; see `EvaluationState`.

    Attributes
    ----------
    state : EvaluationState
        Its traits ``fmr``, ``share`` and ``quality`` can be set, all can be observed.

    Examples
    --------
    >>> from serfiq_widgets import EvaluationExplorer
    >>> explorer = EvaluationExplorer()
    >>> before = explorer.state.fnmr
    >>> explorer.state.share = 0.3
    >>> explorer.state.at() < before / 2
    True
    """

    def __init__(
        self,
        source: Table | str | Path | None = None,
        *,
        folder: str | Path | None = None,
        model: str | Path = "mini",
        passes: int = 100,
        aligned: bool = False,
        scores: str | Path | pd.DataFrame | None = None,
        on_open: Callable[[Path], None] | None = None,
        explorer: Any = None,
        **settings: Any,
    ) -> None:
        self._folder = None if folder is None else Path(folder)
        self._aligned, self._on_open, self._explorer = aligned, on_open, explorer
        if source is None and folder is not None:
            source = measure(Scorer(model), folder, passes, aligned=aligned).table()
        elif not isinstance(source, Table):
            source = load(bundled() if source is None else Path(source))
        if scores is not None:
            scores = Path(scores) if isinstance(scores, str) else scores
            source, _ = join_scores(source, scores, self._folder or Path())
        fmr = settings.get("fmr", 1e-3)
        self.state = EvaluationState(source.with_baselines(fmr), **settings)
        self._thumbnail = cache(self._read_thumbnail)
        super().__init__()
        for name in ("serfiq", "serfiq-trust"):
            self.add_class(name)

    def build(self) -> list[w.Widget]:
        """Make the sliders above and the figures below."""
        state = self.state
        low, high = math.log10(MIN_FMR), math.log10(MAX_FMR)
        self._fmr = Slider("FMR, 10 to the power", math.log10(state.fmr), low, high, 0.1)
        self._share = Slider("discarded, %", 100 * state.share, 0, 100 * MAX_SHARE, 0.5)
        self._quality = w.Dropdown(
            options=list(state.table.qualities), value=state.quality, description="by"
        )
        moves = w.HBox([self._fmr, self._share, self._quality])
        self._notice, self._says, self._caption = Notice(), w.HTML(), w.HTML()
        self._curves = Plot(label="Error-versus-discard curves", name="serfiq-discard")
        self._scores = Plot(label="Genuine and impostor scores", name="serfiq-scores")
        self._det = Plot(label="FNMR over FMR", name="serfiq-det")
        self._which = w.Dropdown(options=[LAST, FIRST], description="shown")
        self._gone_text = w.HTML()
        gone = w.VBox([self._gone_text, self._which, *self._gone_part()])
        pictures = w.HBox(
            [
                picture("Error versus discard", CURVES, self._curves),
                picture("Scores and threshold", SCORES, self._scores),
                w.VBox([gone]),
                picture("DET curve", DET, self._det),
            ]
        )
        named = {"moves": moves, "pictures": pictures, "gone": gone}
        for name, box in named.items():
            box.add_class(f"serfiq-{name}")
        pictures.children[2].add_class("serfiq-picture")
        for name, part in {"fmr": self._fmr, "share": self._share, "by": self._quality}.items():
            part.add_class(f"serfiq-move-{name}")
        return [self._notice, moves, self._says, pictures, self._caption]

    def _gone_part(self) -> list[w.Widget]:
        """Make thumbnails if there are images, else rows of numbers."""
        self._gallery, self._rows = Gallery(), Rows(columns=COLUMNS)
        visible = self._folder is not None and self.state.table.names
        return [self._gallery] if visible else [self._rows]

    def connect(self) -> None:
        """Let the controls change the state and the figures follow it."""
        state = self.state
        state.observe(lambda change: self._notice.say(change["new"]), "message")
        state.observe(show_errors(state, self._follow_fmr), "curves")
        state.observe(show_errors(state, self._follow_discard), "discarded")
        self._fmr.observe(show_errors(state, self._move("fmr", lambda x: 10**x)), "value")
        self._share.observe(show_errors(state, self._move("share", lambda x: x / 100)), "value")
        self._quality.observe(show_errors(state, self._move("quality", str)), "value")
        self._which.observe(show_errors(state, lambda _: self._show_gone()), "value")
        self._gallery.observe(show_errors(state, self._open), "chosen")
        self._follow_fmr({})

    def still(self) -> str:
        """Return the curves of error versus discard."""
        return curves_still(self.state.curves, MAX_SHARE, _summary(self.state))

    def _move(self, name: str, of: Callable[[Any], Any]) -> Callable[[dict[str, Any]], None]:
        def move(change: dict[str, Any]) -> None:
            self.state.message = ""
            setattr(self.state, name, of(change["new"]))

        return move

    def _follow_fmr(self, _: dict[str, Any]) -> None:
        state = self.state
        compared = state.table.comparisons
        self._fmr.value = round(math.log10(state.fmr), 3)
        self._scores.show(figures.scores_figure(compared, state.threshold))
        self._det.show(figures.det_figure(state.det, (state.fmr, state.fnmr)))
        self._caption.value = f"<p>{escape(figures.caption(state.table, state.fmr))}</p>"
        self._follow_discard({})

    def _follow_discard(self, _: dict[str, Any]) -> None:
        state = self.state
        self._share.value = round(100 * state.share, 3)
        self._quality.value = state.quality
        self._curves.show(
            figures.discard_figure(
                state.curves,
                MAX_SHARE,
                share=state.share,
                chosen=state.quality,
                bands={state.quality: state.band},
            )
        )
        self._says.value = f"<p>{_summary(state)}</p>"
        self._show_gone()

    def _show_gone(self) -> None:
        """Show some of the discarded images: those at the cut, or the worst."""
        state = self.state
        last = self._which.value == LAST
        self._numbers = state.discarded[::-1][:SHOWN] if last else state.discarded[:SHOWN]
        text = (
            f"{len(state.discarded):,} images, which take part in {state.share_of_errors():.0%} of "
            f"the misses. Here {len(self._numbers)} of them, with their genuine comparisons."
        )
        self._gone_text.value = heading("The images that would go", text)
        quality = state.table.qualities[state.quality]
        rows = [
            [int(i), float(quality[i]), int(state.partners[i]), int(state.errors[i])]
            for i in self._numbers
        ]
        if self._gallery.comm is not None and self._folder is not None and state.table.names:
            self._gallery.chosen = -1
            self._gallery.items = [
                {"label": f"{missed} of {pairs} missed", "src": self._thumbnail(number)}
                for number, _, pairs, missed in rows
            ]
        else:
            self._rows.rows = rows

    def _path(self, number: int) -> Path:
        if self._folder is None:
            raise BadSetting("There is no folder with the images: give folder=...")
        return self._folder / self.state.table.names[number]

    def _read_thumbnail(self, number: int) -> str:
        picture = Image.fromarray(read_image(self._path(number)))
        picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        return data_url(picture)

    def _open(self, change: dict[str, Any]) -> None:
        """Pass a chosen image to ``on_open`` and to the explorer."""
        if not 0 <= change["new"] < len(self._numbers):
            return
        path = self._path(int(self._numbers[change["new"]]))
        if self._on_open is not None:
            self._on_open(path)
        if self._explorer is not None:
            self._explorer.image = find_face(path, aligned=True) if self._aligned else path


def _summary(state: EvaluationState) -> str:
    """Return threshold, FNMR, and FNMR after the discard, as HTML."""
    before, after = state.balanced()
    return (
        f"At FMR {state.fmr:.2g} the threshold is {state.threshold:.3f}, and <b>{before:.2%} of "
        "the genuine comparisons are missed,</b> if every person weighs the same. Without the "
        f"{len(state.discarded):,} images ({state.share:.1%}) that <b>{escape(state.quality)}</b> "
        f"rates lowest it is <b>{after:.2%}.</b> Over all comparisons, where people with many "
        f"images dominate, as in the curves: {state.fnmr:.2%} and {state.at():.2%}."
    )
