"""Predict, then reveal: questions about which of two faces is better for recognition."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape

import ipywidgets as w
import numpy as np
from PIL import Image

from serfiq_widgets import figures
from serfiq_widgets.faces.alignment import AlignedFace
from serfiq_widgets.faces.degradation import Degradation
from serfiq_widgets.images.encode import data_url
from serfiq_widgets.resources import sample_images
from serfiq_widgets.scoring.remote import find
from serfiq_widgets.scoring.results import QualityResult
from serfiq_widgets.widgets.base import StateView
from serfiq_widgets.widgets.elements import Plot
from serfiq_widgets.widgets.errors_shown import show_errors

RUINS = (
    Degradation(blur=1.2),
    Degradation(noise=25),
    Degradation(jpeg=12),
    Degradation(resolution=32),
    Degradation(brightness=-2.5),
    Degradation(contrast=0.3),
    Degradation(rotation=30),
    Degradation(cover="sunglasses"),
    Degradation(cover="mask"),
)
CLEAR_GAP = 10  # quality points: below, the answer is not clear
PASSES, SIDE = 100, 240
WIDER = "The wider cloud is the poorer face; the dashed circle is a quality of 50."
QUESTION = "Which of these two is better <b>for recognition</b>? Vote, then choose."


@dataclass(frozen=True, eq=False)
class Candidate:
    """A face for questions, with its name and degradation."""

    name: str
    face: AlignedFace


class PredictPanel(StateView):
    """Asks which of two faces is better, and shows the network's answer.

    Takes the parameters of `StateView`. The questions come from the samples and degraded samples,
    in an order determined by the scorer's seed.
    """

    def build(self) -> list[w.Widget]:
        """Make the question, the two faces, the answer."""
        self.add_class("serfiq-predict")
        self.asked = self.right = 0
        self._pair: tuple[QualityResult, QualityResult] | None = None
        self._questions: Iterator[tuple[Candidate, Candidate]] = iter(())
        self._names = ("", "")
        self._text, self._answer = w.HTML(), w.HTML()
        self._faces = [w.HTML(), w.HTML()]
        self._buttons = [
            w.Button(description=text) for text in ("Left is better", "Right is better")
        ]
        for side, button in enumerate(self._buttons):
            button.on_click(show_errors(self.state, lambda _, side=side: self.answer(side)))
            button.add_class(f"serfiq-vote-{side}")
        self._next = w.Button(description="Begin")
        self._next.add_class("serfiq-next")
        self._next.on_click(show_errors(self.state, lambda _: self.ask()))
        self._plot = Plot(
            label="The passes of both faces, each around their mean", name="serfiq-predict"
        )
        self._two = w.HBox(
            [w.VBox([face, vote]) for face, vote in zip(self._faces, self._buttons, strict=True)]
        )
        self._two.add_class("serfiq-two")
        self.state.observe(lambda _: self._begin(), "scorer")
        self._begin()
        head = w.HTML("<h3>Predict, then reveal</h3>")
        return [head, self._text, self._two, self._answer, self._plot, self._next]

    @cached_property
    def candidates(self) -> list[Candidate]:
        """The samples, and the clean ones with each degradation."""
        found = [
            Candidate(path.stem.replace("_", ", "), find(self.state.scorer, path))
            for path in sample_images()
        ]
        clean = [one for one in found if "," not in one.name]
        ruined = [
            Candidate(
                f"{one.name}, {ruin.describe()}",
                replace(one.face, pixels=ruin.apply(one.face.pixels)),
            )
            for one in clean
            for ruin in RUINS
        ]
        return found + ruined

    def _begin(self) -> None:
        self._questions = iter(())
        self._pair = None
        self._text.value = (
            "<p>Two faces are shown. Decide which one a recognition network can rely on more; "
            "then see what it says itself.</p>"
        )
        for part in (self._two, self._plot):
            part.layout.display = "none"
        self._answer.value = ""
        self._next.description = "Begin"

    def _shuffled(self) -> Iterator[tuple[Candidate, Candidate]]:
        """Yield pairs whose qualities differ clearly, in random order, left and right at random."""
        faces = self.candidates
        raw = self.state.scorer.best_scores([one.face for one in faces])
        card = self.state.scorer.card
        qualities = 100 / (1 + np.exp(-card.alpha * (raw - card.r)))
        first, second = np.nonzero(np.abs(qualities[:, None] - qualities) >= CLEAR_GAP)
        for i in np.random.default_rng(self.state.scorer.seed).permutation(len(first)):
            yield faces[first[i]], faces[second[i]]

    def ask(self) -> None:
        """Show the next question."""
        pair = next(self._questions, None)
        if pair is None:
            self._questions = self._shuffled()
            pair = next(self._questions, None)
        if pair is None:
            self._text.value = "<p>This network finds all samples equally good: choose another.</p>"
            return
        left, right = pair
        score = self.state.scorer.score
        self._pair = (score(left.face, PASSES), score(right.face, PASSES))
        self._names = (left.name, right.name)
        self._text.value = f"<p>{QUESTION}</p>"
        for view, result in zip(self._faces, self._pair, strict=True):
            picture = Image.fromarray(result.face.pixels).resize((SIDE, SIDE))
            view.value = f'<img src="{data_url(picture)}" alt="one of the two faces">'
        for button in self._buttons:
            button.disabled = False
        self._two.layout.display = ""
        self._plot.layout.display = "none"
        self._answer.value = ""
        self._next.description = "Another pair"

    def answer(self, side: int) -> None:
        """Take an answer, 0 for left and 1 for right, and show the result."""
        if self._pair is None or self._buttons[0].disabled:
            return
        left, right = self._pair
        truth = int(right.best > left.best)
        self.asked += 1
        self.right += side == truth
        score = f" Your score: {self.right} of {self.asked}."
        self._say("Yes. " if side == truth else "No. ", score)

    def reveal(self) -> None:
        """Show the result without an answer."""
        if self._pair is not None:
            self._say()

    def _say(self, verdict: str = "", score: str = "") -> None:
        if self._pair is None:
            return
        left, right = self._pair
        for button in self._buttons:
            button.disabled = True
        word = ("left", "right")[int(right.best > left.best)]
        self._answer.value = (
            f'<p class="serfiq-verdict"><b>{verdict}The {word} one is better for the network.</b> '
            f"Left: {escape(self._names[0])}, {left.in_words}. "
            f"Right: {escape(self._names[1])}, {right.in_words}.{score} {WIDER}</p>"
        )
        self._plot.show(figures.discs_figure(left, right, ("left", "right")))
        self._plot.layout.display = ""
