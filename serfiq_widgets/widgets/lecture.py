"""Lecture mode: one panel of the Explorer at a time, in large type, through scripted scenes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import traitlets as t

from serfiq_widgets.faces.degradation import Degradation
from serfiq_widgets.widgets.elements import STATIC, Part
from serfiq_widgets.widgets.errors_shown import show_errors
from serfiq_widgets.widgets.public import LECTURE

if TYPE_CHECKING:
    from serfiq_widgets.widgets.explorer import Explorer

EXPLORE, COMPARE, PREDICT = 0, 1, 2  # tabs
OFF = -1
RUIN = Degradation(blur=2.4)
LIMITS = (
    "It is one network's estimate for one photo.",
    "It says nothing about the person.",
    "It is no probability: 86 does not mean that 86 % is right.",
    "What is harder for the network gets a lower quality, whoever it is.",
)


class Scene(NamedTuple):
    """What a scene shows and what the speaker's notes say about it."""

    tab: int
    panel: str
    notes: str
    act: Callable[[Explorer], None]


def _ask(explorer: Explorer) -> None:
    explorer.predict.ask()


def _reveal(explorer: Explorer) -> None:
    explorer.predict.reveal()


def _clean(explorer: Explorer) -> None:
    state = explorer.state
    state.ruin = Degradation()
    if not state.pinned:
        state.pin()


def _ruin(explorer: Explorer) -> None:
    explorer.state.ruin = RUIN


def _score(_: Explorer) -> None:
    """Nothing: the chapter follows the stage."""


def _compare(explorer: Explorer) -> None:
    state = explorer.state
    if not state.pinned:
        _clean(explorer)
    if len(state.pinned) == 1:
        if state.ruin.is_neutral:
            _ruin(explorer)
        state.pin()


SCENES = (
    Scene(
        PREDICT,
        ".serfiq-predict",
        "Ask for a show of hands: which photo can a recognition network rely on more?",
        _ask,
    ),
    Scene(
        PREDICT,
        ".serfiq-predict",
        "The network's answer. Each disc shows its looks at one face: the wider, the less they "
        "agree.",
        _reveal,
    ),
    Scene(
        EXPLORE,
        ".serfiq-stage",
        "A good photo: a hundred looks, each with other features switched off, stay together. Far "
        "outside, in grey: other people.",
        _clean,
    ),
    Scene(
        EXPLORE,
        ".serfiq-stage",
        "The same photo, blurred: the looks move apart. Try light, cover and turn as well; the "
        "grey dots are the photo as it was.",
        _ruin,
    ),
    Scene(
        EXPLORE,
        ".serfiq-chapter:has(.serfiq-interval)",
        "The score after each look. As published it wanders with chance; controlled it is steady "
        "from the fifth look on.",
        _score,
    ),
    Scene(
        COMPARE,
        ".serfiq-compare",
        "The two versions side by side. Quality and likeness are two questions.",
        _compare,
    ),
    Scene(EXPLORE, ".serfiq-limits", "What the number does not say.", _score),
)


class Lecture(Part):
    """Leads through the scenes with the keyboard: F begins, arrows move, N opens speaker notes.

    Parameters
    ----------
    explorer : Explorer
        What is shown.

    Attributes
    ----------
    scene : int
        Index of the scene, -1 outside of lecture mode.
    panels, notes, limits : list of str
        Of each scene what is shown (a CSS selector) and the notes; the text of the last one.
    """

    _esm = STATIC / "lecture.js"
    scene = t.Int(OFF).tag(sync=True)
    begins = t.Bool().tag(sync=True)
    panels = t.List([scene.panel for scene in SCENES]).tag(sync=True)
    notes = t.List([scene.notes for scene in SCENES]).tag(sync=True)
    limits = t.List(list(LIMITS)).tag(sync=True)

    def __init__(self, explorer: Explorer) -> None:
        super().__init__(begins=bool(os.environ.get(LECTURE)))

        def play(change: dict[str, Any]) -> None:
            if 0 <= change["new"] < len(SCENES):
                tab, _, _, act = SCENES[change["new"]]
                explorer.open_tab(tab)
                act(explorer)

        self.observe(show_errors(explorer.state, play), "scene")
