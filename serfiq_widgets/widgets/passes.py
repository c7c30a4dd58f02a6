"""Views of one state: cloud, distances, running score, formula, and the slider of the passes.

Each can be used alone in a notebook, or together with others on one shared state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets as w

from serfiq_widgets import figures
from serfiq_widgets.figures import Film, captions
from serfiq_widgets.scoring.results import QualityResult
from serfiq_widgets.widgets.base import StateView, heading
from serfiq_widgets.widgets.elements import Plot, Readout, Slider
from serfiq_widgets.widgets.errors_shown import show_errors
from serfiq_widgets.widgets.state import SLIDER_PASSES, ExplorerState

if TYPE_CHECKING:
    from serfiq_widgets.faces.alignment import AlignedFace
    from serfiq_widgets.images.read import ImageSource


class PassesSlider(Slider):
    """A playable slider for the number of passes of a state."""

    def __init__(self, state: ExplorerState) -> None:
        super().__init__(
            "Dropout passes T", state.passes, least=2, most=SLIDER_PASSES, step=1, playable=True
        )
        self.add_class("serfiq-passes")
        state.observe(lambda change: setattr(self, "value", change["new"]), "passes")
        self.observe(
            show_errors(state, lambda change: setattr(state, "passes", round(change["new"]))),
            "value",
        )


class PassesView(StateView):
    """A figure of the passes: the film that ``film`` returns for a result follows the slider."""

    TITLE: str
    TEXT: str
    LABEL: str
    NAME: str
    film: Callable[[QualityResult], Film]

    def __init__(
        self,
        image: ImageSource | AlignedFace | None = None,
        *,
        state: ExplorerState | None = None,
        clock: PassesSlider | None = None,
        **scorer: Any,
    ) -> None:
        self._clock = clock
        super().__init__(image, state=state, **scorer)

    def build(self) -> list[w.Widget]:
        """Make title, one sentence, and the figure."""
        self.add_class("serfiq-picture")
        self._clock = self._clock or PassesSlider(self.state)
        self.head = w.HTML(heading(self.TITLE, self.TEXT))
        self.plot = Plot(label=self.LABEL, name=self.NAME, clock=self._clock, choosable=False)
        self.state.observe(show_errors(self.state, lambda _: self.show()), "everything")
        self.show()
        return [self.head, self.plot]

    def accessories(self) -> list[w.Widget]:
        """Make the slider."""
        return [self._clock]

    def show(self) -> None:
        """Draw the state's result."""
        if self.state.everything is not None:
            self.plot.show(self.film(self.state.everything))


class SpreadView(PassesView):
    """The cloud of embeddings, one dot per pass; a click on a dot describes its pass.

    Takes the parameters of `StateView`.

    Examples
    --------
    >>> from serfiq_widgets import SpreadView
    >>> view = SpreadView("sample_images/collins.jpg")
    >>> view.state.chosen = 16  # asks about pass 17
    """

    TITLE, TEXT, NAME = "Embedding spread", captions.SPREAD, "serfiq-spread"
    LABEL = "Cloud of embeddings, one dot per dropout pass"

    def build(self) -> list[w.Widget]:
        """Add the sentence about the chosen pass."""
        self._answer = w.HTML()
        parts = super().build()
        self.plot.choosable = True
        self.plot.add_class("serfiq-spread")
        self.state.observe(show_errors(self.state, lambda _: self.show()), "projection")
        self.state.observe(show_errors(self.state, lambda _: self._ask()), ["chosen", "result"])
        self.state.observe(lambda change: setattr(self.plot, "chosen", change["new"]), "chosen")
        self.plot.observe(
            show_errors(self.state, lambda change: setattr(self.state, "chosen", change["new"])),
            "chosen",
        )
        self._ask()
        return [*parts, self._answer]

    def film(self, result: QualityResult) -> Film:
        """Return the cloud, flat or on a sphere, and set the title and sentence for it."""
        flat = self.state.projection == "plane"
        share = figures.plane_share(result.embeddings)
        text = f"{self.TEXT} {captions.SHARE.format(share)}" if flat else captions.SPHERE
        self.head.value = heading(self.TITLE, text)
        project = figures.principal if flat else figures.on_sphere
        return figures.spread_film(project(result.embeddings))

    def _ask(self) -> None:
        result = self.state.result
        text = captions.CHOOSE if result is None else captions.one_pass(result, self.state.chosen)
        self._answer.value = f'<p class="serfiq-answer">{text}</p>'


class DistanceView(PassesView):
    """The histogram of pairwise distances. Takes the parameters of `StateView`."""

    TITLE, TEXT, NAME = "Pairwise distances", captions.DISTANCES, "serfiq-distances"
    LABEL = "Histogram of pairwise distances between embeddings"
    film = staticmethod(figures.distance_film)


class RunningScoreView(PassesView):
    """The score after each pass, plain and controlled, with intervals.

    Takes the parameters of `StateView`.
    """

    TITLE, TEXT, NAME = "Running score", captions.RUNNING, "serfiq-running-score"
    LABEL = "Running score over passes, as published and controlled, with intervals"

    def build(self) -> list[w.Widget]:
        """Add the switch between the intervals."""
        self._interval = w.ToggleButtons(
            options=[(words, name) for name, words in figures.INTERVALS.items()],
            description="95 % interval",
        )
        self._interval.add_class("serfiq-interval")
        self._interval.observe(show_errors(self.state, lambda _: self.show()), "value")
        head, plot = super().build()
        return [head, self._interval, plot]

    def film(self, result: QualityResult) -> Film:
        """Return both curves with the chosen interval."""
        switch = self._interval.layout
        switch.display = "" if result.is_controlled else "none"
        return figures.running_film(result, self._interval.value)


class Numbers(Readout):
    """A template of `figures.captions` with the numbers of a state."""

    def __init__(self, state: ExplorerState, template: str, clock: PassesSlider) -> None:
        super().__init__(template=template, clock=clock)

        def fill(_: Any) -> None:
            if state.everything is not None:
                self.numbers = captions.readings(state.everything)

        state.observe(show_errors(state, fill), "everything")
        fill(None)


class FormulaView(PassesView):
    """SER-FIQ's formula with the current numbers. Takes the parameters of `StateView`."""

    def build(self) -> list[w.Widget]:
        """Make title, one sentence, and the formula."""
        self.add_class("serfiq-picture")
        self._clock = self._clock or PassesSlider(self.state)
        head = w.HTML(heading("The formula", captions.ABOUT_FORMULA))
        return [head, Numbers(self.state, captions.FORMULA, self._clock)]
