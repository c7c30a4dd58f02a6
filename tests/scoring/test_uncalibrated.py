"""A network that is not calibrated: no view shows a quality that means nothing."""

import json

import pytest

pytest.importorskip("ipywidgets")

from serfiq_widgets import ComparePanel, DegradationLab, PredictPanel, Ruin, Scorer
from serfiq_widgets.figures import captions, snapshot
from serfiq_widgets.models.cards import NOT_CALIBRATED
from serfiq_widgets.resources import sample_images
from serfiq_widgets.scoring.results import NO_QUALITY
from serfiq_widgets.widgets import take_home
from serfiq_widgets.widgets.state import ExplorerState

COLLINS = sample_images()[0]


@pytest.fixture(scope="module")
def stranger():
    return Scorer(engine="onnxruntime", card={"population": NOT_CALIBRATED})


@pytest.fixture
def state(stranger):
    state = ExplorerState(stranger)
    state.image = COLLINS
    return state


def test_the_state_has_no_quality_but_a_raw_score(state):
    assert state.result.raw == pytest.approx(0.7923, abs=0.001)
    assert state.quality is None
    assert (state.result.in_words, state.result.shown_quality) == (
        f"raw score {state.result.best:.4f}",
        NO_QUALITY,
    )


def test_numbers_and_formula_show_a_dash(state):
    readings = captions.readings(state.result)
    numbers = captions.filled(captions.NUMBERS, readings, state.passes)
    assert f'serfiq-quality">{NO_QUALITY}<' in numbers
    assert "not calibrated" in numbers
    assert "<meter" not in numbers
    assert "of 100" not in numbers
    assert set(readings["scaled"]) == set(readings["hundredfold"]) == {NO_QUALITY}
    assert readings["raw"][-1] == f"{state.result.raw:.4f}"


def test_entries_are_kept_once_and_exported_without_a_quality(state):
    entry = state.note()
    assert state.note() is entry
    (row,) = json.loads(take_home.scores_json(state.entries))["scores"]
    assert row["quality"] is None
    assert row["raw"] == pytest.approx(state.result.raw)
    _, line = take_home.scores_csv(state.entries).decode().splitlines()
    assert line.startswith("collins.jpg,,,0.7")
    page = snapshot.snapshot_html(state.result).decode()
    assert f"Face image quality {NO_QUALITY}" in page


def test_the_lab_speaks_of_raw_scores(state):
    lab = DegradationLab(state=state)
    state.ruin = Ruin(blur=2)
    assert "Quality" not in lab._head.value
    assert "The raw score was 0.7" in lab._head.value
    lab._which.value = "blur"
    lab._sweep.click()
    figure = lab._plot.figure
    assert "raw score" in figure["layout"]["yaxis"]["title"]["text"]
    assert figure["data"][1]["y"][0] == pytest.approx(state.everything.best)


def test_comparing_speaks_of_raw_scores(state):
    panel = ComparePanel(state=state)
    state.pin()
    state.ruin = Ruin(blur=2)
    state.pin()
    shown = panel._tray.value + panel._says.value
    assert shown.count("raw score 0.") >= 3
    assert "quality 8" not in shown


def test_predicting_speaks_of_raw_scores(state):
    panel = PredictPanel(state=state)
    panel.ask()
    panel.answer(0)
    assert panel._answer.value.count("raw score 0.") == 2
