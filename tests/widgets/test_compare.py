"""Comparing and predicting: the session's entries, the tray, A against B, questions."""

import io

import numpy as np
import pytest

pytest.importorskip("ipywidgets")

from serfiq_widgets import ComparePanel, Explorer, PredictPanel, Ruin
from serfiq_widgets.errors import BadSetting
from serfiq_widgets.resources import folder
from serfiq_widgets.widgets.predict import CLEAR_GAP
from serfiq_widgets.widgets.state import MAX_PINNED, ExplorerState

COLLINS, HOPPER, MASK = (
    folder("sample_images") / f"{n}.jpg" for n in ("collins", "hopper", "collins_mask")
)


@pytest.fixture
def state(scorer):
    return ExplorerState(scorer)


@pytest.fixture
def panel(state):
    return ComparePanel(COLLINS, MASK, state=state)


def test_every_scored_face_is_an_entry_with_its_numbers(state, scorer):
    state.image = COLLINS
    state.image = b"broken"
    state.image = HOPPER
    assert [entry.name for entry in state.entries] == ["collins.jpg", "hopper.jpg"]
    expected = scorer.score(HOPPER, passes=100)
    numbers = state.entries[-1].result
    assert numbers["quality"] == expected.quality
    assert numbers["raw"] == pytest.approx(expected.raw, abs=1e-6)
    assert numbers["limit"] == pytest.approx(expected.limit, abs=1e-6)
    assert (numbers["low"], numbers["high"]) == pytest.approx(expected.interval, abs=1e-6)


def test_a_full_tray_says_so(state):
    state.image = COLLINS
    for passes in range(2, 2 + MAX_PINNED):
        state.passes = passes
        state.pin()
    with pytest.raises(BadSetting, match="pinned already"):
        state.pin()


def test_two_faces_are_compared_under_the_same_masks(panel, scorer):
    said = panel._says.value
    a, b = (scorer.score(entry.face, 100) for entry in panel.state.pinned)
    one, two = scorer.embed([a.face, b.face])
    assert f">{float(one @ two):.3f}<" in said
    assert "A is the better one" in said
    assert f"quality {a.quality} against {b.quality}" in said
    assert f"{abs(a.best - b.best):.4f}" in said
    assert len(panel._clouds.figure["data"]) == 2
    assert panel._pictures.layout.display == ""


def test_the_choice_can_be_turned_round(panel):
    panel._choices[0].value, panel._choices[1].value = 2, 1
    assert "B is the better one" in panel._says.value


def test_the_tray_is_emptied_and_a_row_pinned_again(panel):
    panel._empty.click()
    assert panel.state.pinned == ()
    assert panel._pictures.layout.display == "none"
    assert "Pin two faces" in panel._says.value
    panel._table._handle_custom_msg({"row": 1}, [])
    assert [entry.name for entry in panel.state.pinned] == ["collins_mask.jpg"]
    for row in (-1, 99, "0", None):  # whatever a page sends
        panel._table._handle_custom_msg({"row": row}, [])
    assert len(panel.state.pinned) == 1


def test_the_table_lists_the_session(panel):
    names = [row[0] for row in panel._table.rows]
    assert names == ["collins.jpg", "collins_mask.jpg"]
    quality = panel._table.columns.index("quality")
    assert panel._table.rows[0][quality] == panel.state.entries[0].result["quality"]
    panel.state.passes = 2  # no interval: the cell stays empty
    panel.state.image = HOPPER
    assert panel._table.rows[-1][panel._table.columns.index("low")] == ""


def test_a_bad_image_is_not_pinned_in_anothers_place(scorer):
    panel = ComparePanel(COLLINS, io.BytesIO(b"broken"), state=ExplorerState(scorer))
    assert [entry.name for entry in panel.state.pinned] == ["collins.jpg"]
    assert panel.state.message


def test_names_of_files_are_text(state):
    file = io.BytesIO(COLLINS.read_bytes())
    file.name = "<img src=x onerror=alert(1)>.jpg"
    panel = ComparePanel(file, MASK, state=state)
    assert "<img src=x" not in panel._says.value + panel._tray.value


def test_draws_are_other_masks_around_the_same_limit(scorer):
    face = scorer.score(COLLINS, 2).face
    draws = scorer.reseeded_scores(face, passes=100, count=40)
    assert len(np.unique(draws)) == 40
    np.testing.assert_allclose(draws, scorer.reseeded_scores(face, passes=100, count=40), rtol=1e-6)
    # five standard errors of the mean of 40, and the closed form's own 0.3 %
    room = 5 * draws.std(ddof=1) / np.sqrt(40) + 0.003 * abs(np.log(2 / draws.mean() - 1))
    assert abs(draws.mean() - scorer.limit(face)) < room


def test_a_first_draw_is_the_score_under_the_next_seed(scorer):
    from serfiq_widgets import Scorer

    face = scorer.score(COLLINS, 2).face
    other = Scorer(engine="onnxruntime", seed=scorer.seed + 1).score(face, 30)
    assert scorer.reseeded_scores(face, passes=30, count=1)[0] == pytest.approx(other.raw, abs=1e-6)


def test_the_explorers_pin_reaches_the_tray():
    explorer = Explorer(COLLINS, engine="onnxruntime")
    explorer.state.pin()
    explorer.ruin = Ruin(noise=30)
    explorer.state.pin()
    assert [e.name for e in explorer.state.pinned] == [
        "collins.jpg",
        "collins.jpg (noise 30 grey levels)",
    ]


def test_questions_have_a_clear_answer_that_is_the_networks(state):
    panel = PredictPanel(state=state)
    seen = set()
    for _ in range(6):
        panel.ask()
        left, right = panel._pair
        seen.add(panel._names)
        assert abs(left.quality - right.quality) >= CLEAR_GAP - 1  # both are rounded
        assert panel._answer.value == ""
        assert panel._plot.layout.display == "none"
        truth = int(right.limit > left.limit)
        panel.answer(truth)
        assert "<b>Yes." in panel._answer.value
        assert f"quality {left.quality}" in panel._answer.value
        panel.answer(1 - truth)  # a second vote changes nothing
    assert (panel.right, panel.asked) == (6, 6)
    assert len(seen) == 6


def test_a_wrong_guess_is_said_kindly(state):
    panel = PredictPanel(state=state)
    panel.answer(0)  # before the first question: nothing
    panel._next.click()
    left, right = panel._pair
    panel._buttons[int(left.limit > right.limit)].click()
    assert "<b>No." in panel._answer.value
    assert (panel.right, panel.asked) == (0, 1)


def test_a_network_that_finds_all_alike_has_no_question(state):
    state.configure(alpha=1)
    panel = PredictPanel(state=state)
    panel.ask()
    assert "choose another" in panel._text.value
