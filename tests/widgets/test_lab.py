"""Ruining a face in the widgets: state, sliders, the movable square, the curve, the heat map."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("ipywidgets")

from serfiq_widgets import DegradationLab, Explorer, Ruin, figures
from serfiq_widgets.faces.degradation import STRENGTHS
from serfiq_widgets.resources import folder
from serfiq_widgets.widgets.face_card import FaceCard

COLLINS, HOPPER = (folder("sample_images") / f"{n}.jpg" for n in ("collins", "hopper"))


@pytest.fixture
def lab():
    return DegradationLab(COLLINS, engine="onnxruntime")


def test_a_ruin_is_scored_as_the_library_does(state, scorer):
    state.ruin = ruin = Ruin(blur=1.5, cover="mask")
    face = state.clean.face
    expected = scorer.score(replace(face, pixels=ruin.apply(face.pixels)), passes=100)
    assert state.result.raw == pytest.approx(expected.raw, abs=1e-6)
    assert state.quality == expected.quality < state.clean.quality


def test_the_clean_face_comes_back_without_a_new_score(state):
    state.ruin = Ruin(noise=50)
    state.ruin = Ruin()
    assert state.everything is state.clean


def test_another_image_starts_unruined_and_is_scored_once(state, scorer, monkeypatch):
    state.ruin = Ruin(blur=4)
    calls = []
    score = scorer.score
    monkeypatch.setattr(scorer, "score", lambda *a, **k: calls.append(a) or score(*a, **k))
    state.image = HOPPER
    assert state.ruin == Ruin()
    assert state.everything is state.clean
    assert len(calls) == 1


def test_a_bad_image_leaves_face_and_ruin(state):
    state.ruin = Ruin(blur=4)
    before = state.result
    state.image = b"not an image"
    assert state.message
    assert state.ruin == Ruin(blur=4)
    assert state.result is before


@pytest.mark.parametrize("name", STRENGTHS)
def test_sliders_and_ruin_follow_each_other(lab, name):
    worst = STRENGTHS[name].worst
    lab._sliders[name].value = worst
    assert lab.state.ruin == Ruin(**{name: worst})
    assert f"{lab.state.clean.at(100).quality} \u2192 {lab.state.quality}" in lab._head.value
    lab._reset.click()
    assert lab.state.ruin == Ruin()
    assert lab._sliders[name].value == STRENGTHS[name].neutral


def test_the_curve_shows_the_sweep_and_where_we_are(lab):
    lab._which.value = "blur"
    lab._sweep.click()
    assert lab._plot.layout.display == ""
    lab._sliders["blur"].value = 2.0
    dot = lab._plot.figure["data"][1]
    assert (dot["x"][0], dot["y"][0]) == (2.0, lab.state.everything.quality)
    lab._cover.value = "mask"  # another curve would belong to that
    assert lab._plot.layout.display == "none"


def test_the_curve_belongs_to_its_face(lab):
    lab._sweep.click()
    lab.state.image = HOPPER
    assert lab._plot.layout.display == "none"


def test_the_square_goes_where_people_point(state):
    card = FaceCard(state)
    assert not card._view.movable
    state.ruin = Ruin(cover="square")
    assert card._view.movable
    card._view.place = [30.0, 40.0]
    assert (state.ruin.x, state.ruin.y) == (30, 40)
    assert (state.everything.face.pixels[40, 30] == 128).all()
    card._view.place = [-1e9, 1e9]  # whatever a page sends
    assert (state.ruin.x, state.ruin.y) == (0, 112)


def test_the_heat_map_is_drawn_and_dropped(state, elsewhere):
    elsewhere(lambda: check_heat_map_without_loop(state))


def check_heat_map_without_loop(state):
    card = FaceCard(state)
    card._heat.value = True
    first = card._view.overlay
    assert first.startswith("data:image/png")
    assert "0.0" in card._sentence.value
    state.ruin = Ruin(cover="mask")
    assert card._view.overlay.startswith("data:image/png")
    assert card._view.overlay != first
    card._heat.value = False
    assert card._view.overlay == ""
    assert card._sentence.value == ""


def test_in_a_running_loop_the_heat_map_comes_later_and_is_cancelled(state, elsewhere):
    async def visit():
        card = FaceCard(state)
        card._heat.value = True
        assert card._view.overlay == ""
        first = card._task
        state.ruin = Ruin(cover="sunglasses")
        await asyncio.sleep(0)
        assert first.cancelled()
        await card._task
        assert card._view.overlay

    elsewhere(lambda: asyncio.run(visit()))


def test_the_heat_picture_tells_falls_from_rises():
    picture = figures.heat_picture(np.array([[-0.02, 0.01, 0.0]], np.float32))
    np.testing.assert_array_equal(picture[0, 0], [0xD5, 0x5E, 0x00, 255])
    np.testing.assert_array_equal(picture[0, 1, :3], [0x00, 0x72, 0xB2])
    assert picture[0, 1, 3] == pytest.approx(127.5, abs=0.5)
    assert picture[0, 2, 3] == 0


def test_the_explorers_ruin_is_a_trait():
    explorer = Explorer(COLLINS, engine="onnxruntime")
    clean = explorer.quality
    explorer.ruin = Ruin(blur=3)
    assert explorer.quality < clean
    explorer.state.ruin = Ruin()
    assert explorer.ruin == Ruin()
    assert explorer.quality == clean


def test_a_large_square_is_not_made_smaller_by_its_slider(lab):
    lab.state.ruin = Ruin(cover="square", side=100)
    assert lab.state.ruin.side == 100
