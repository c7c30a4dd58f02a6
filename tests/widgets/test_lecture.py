"""Lecture mode: what each scene does to the Explorer."""

import pytest

from serfiq_widgets import Explorer
from serfiq_widgets.widgets import lecture
from serfiq_widgets.widgets.public import LECTURE


@pytest.fixture
def explorer():
    return Explorer()


def test_the_scenes_ask_reveal_ruin_and_compare(explorer):
    led, state = explorer._lecture, explorer.state
    shown = []
    for scene, (tab, *_) in enumerate(lecture.SCENES):
        led.scene = scene
        assert explorer._tabs.selected_index == tab
        shown.append((explorer.predict._answer.value != "", state.ruin, len(state.pinned)))
    answered, ruins, pins = zip(*shown, strict=True)
    assert answered == (False, True, True, True, True, True, True)
    assert (explorer.predict.asked, explorer.predict.right) == (0, 0)  # nobody has answered
    assert [ruin.is_neutral for ruin in ruins] == [True] * 3 + [False] * 4
    assert pins == (0, 0, 1, 1, 1, 2, 2)
    first, second = state.pinned
    assert first.result["quality"] > second.result["quality"]


def test_going_back_takes_the_ruin_away_and_pins_nothing_twice(explorer):
    led, state = explorer._lecture, explorer.state
    for scene in (2, 3, 5, 3, 2, 5):
        led.scene = scene
    assert len(state.pinned) == 2
    led.scene = 2
    assert state.ruin.is_neutral


def test_two_versions_are_compared_even_if_their_scenes_were_skipped(explorer):
    explorer._lecture.scene = 5
    first, second = explorer.state.pinned
    assert first.result["quality"] > second.result["quality"]


def test_every_panel_is_said_with_its_notes(explorer):
    led = explorer._lecture
    assert len(led.panels) == len(led.notes) == len(lecture.SCENES)
    assert all(led.notes)
    assert led.scene == lecture.OFF
    assert not led.begins


def test_a_page_begins_in_lecture_mode_if_its_kernel_is_told(monkeypatch):
    monkeypatch.setenv(LECTURE, "1")
    assert Explorer()._lecture.begins
