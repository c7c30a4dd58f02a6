"""The Explorer without a browser: its state, what it shows, and what visitors may send."""

import logging

import numpy as np
import pytest

pytest.importorskip("ipywidgets")

from serfiq_widgets import Explorer, figures, read_image
from serfiq_widgets.errors import BadSetting
from serfiq_widgets.images import MAX_BYTES
from serfiq_widgets.parts import plotly_library
from serfiq_widgets.resources import folder, sample_images
from serfiq_widgets.state import SURPRISE, ExplorerState

COLLINS, MASK = (folder("sample_images") / f"{n}.jpg" for n in ("collins", "collins_mask"))


@pytest.fixture
def state(scorer):
    return ExplorerState(scorer)


@pytest.fixture
def explorer():
    return Explorer(engine="onnxruntime")


def shown(figure, index=0, key="x"):
    """An array of a figure as it travels to the browser."""
    value = figure["data"][index][key]
    if not isinstance(value, dict):
        return np.asarray(value)
    import base64

    return np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"])


def test_state_scores_what_it_is_given(state, scorer):
    seen = []
    state.observe(lambda change: seen.append(change["new"]), "quality")
    state.image = COLLINS
    expected = scorer.score(COLLINS, passes=100)
    assert state.quality == expected.quality
    assert state.result.raw == pytest.approx(expected.raw, abs=1e-6)
    assert seen == [expected.quality]


def test_a_move_of_the_slider_runs_no_network(state, scorer, monkeypatch):
    state.image = COLLINS
    monkeypatch.setattr(scorer.engine, "trunk", None)
    monkeypatch.setattr(scorer.engine, "passes", None)
    for passes in (2, 57, 200):
        state.passes = passes
        assert state.result.passes == passes
        assert state.result.raw == state.everything.running[passes - 1]


def test_a_bad_image_leaves_the_last_result(state):
    state.image = COLLINS
    before = state.result
    state.image = b"not an image"
    assert "not a JPEG" in state.message
    assert state.result is before
    state.image = MASK
    assert state.message == ""


@pytest.mark.parametrize("passes", [0, 1, 201, 10**9])
def test_impossible_passes_are_refused(state, passes):
    with pytest.raises(BadSetting):
        state.passes = passes
    assert state.passes == 100


def test_the_first_sample_is_shown_at_once(explorer):
    assert explorer.result.face.name == sample_images()[0].name
    assert explorer.quality == explorer.result.quality
    assert f">{explorer.quality}<" in explorer._numbers.value
    assert "onnxruntime" in explorer._status.value


def test_traits_can_be_set_and_observed(explorer):
    seen = []
    explorer.observe(lambda change: seen.append(change["new"]), "quality")
    explorer.image = read_image(MASK)
    explorer.passes = 30
    assert explorer.result.passes == 30
    assert seen[-1] == explorer.quality
    assert explorer._slider.value == 30


def test_impossible_passes_leave_the_explorer_as_it_was(explorer):
    with pytest.raises(BadSetting):
        explorer.passes = 999
    assert explorer.passes == explorer.state.passes == explorer.result.passes == 100


def test_explorers_do_not_share_state(explorer):
    other = Explorer(MASK, engine="onnxruntime", passes=20)
    assert other.passes == 20
    assert explorer.passes == 100
    assert other.quality != explorer.quality


def test_a_click_on_a_sample(explorer):
    names = [path.name for path in sample_images()]
    explorer._gallery.chosen = names.index("collins_mask.jpg")
    assert explorer.result.face.name == "collins_mask.jpg"


def upload(explorer, content, name="me.jpg", piece=2**20):
    pieces = [content[i : i + piece] for i in range(0, len(content), piece)] or [b""]
    for number, part in enumerate(pieces):
        ends = {"first": number == 0, "last": number == len(pieces) - 1}
        explorer._upload._receive(None, {"name": name, **ends}, [memoryview(part)])


def test_an_upload_in_pieces(explorer):
    upload(explorer, MASK.read_bytes(), piece=1000)
    assert explorer.result.face.name == "me.jpg"
    assert explorer._gallery.chosen == -1
    assert "me.jpg" not in explorer._notice.value


def test_what_visitors_may_send_ends_in_a_sentence(explorer):
    before = explorer.result
    upload(explorer, b"", name="empty.jpg")
    assert "empty.jpg" in explorer._notice.value
    upload(explorer, b"<script>alert(1)</script>", name="<img src=x onerror=alert(1)>")
    assert "<img" not in explorer._notice.value
    explorer._upload._receive(None, {"name": "big.jpg", "too_large": True}, [])
    assert "20 MB" in explorer._notice.value
    explorer._upload._receive(None, {"name": "x", "first": True}, [memoryview(b"0" * MAX_BYTES)])
    explorer._upload._receive(None, {"name": "liar.jpg"}, [memoryview(b"0")])
    assert "liar.jpg" in explorer._notice.value
    assert not explorer._upload._content
    explorer._upload._receive(None, {}, [])
    assert explorer.result is before


def test_absurd_slider_values_are_clamped(explorer):
    explorer._slider.max = 10**9
    explorer._slider.value = 10**9
    assert explorer.passes == 200
    explorer._slider.min = -5
    explorer._slider.value = -5
    assert explorer.passes == 2


@pytest.mark.parametrize("chosen", [-7, 99, 2**40])
def test_absurd_choices_do_nothing(explorer, chosen):
    before = explorer.result
    explorer._gallery.chosen = chosen
    assert explorer.result is before


def test_a_surprise_becomes_a_sentence_and_a_log_line_without_data(explorer, caplog, monkeypatch):
    def boom(*_):
        raise RuntimeError("secret pixels")

    monkeypatch.setattr(figures, "spread_figure", boom)
    with caplog.at_level(logging.ERROR):
        explorer.passes = 55
    assert SURPRISE in explorer._notice.value
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def test_pictures_show_the_numbers(explorer):
    explorer.passes = 80
    result = explorer.result
    spread, distances, running = (
        plot.figure for plot in (explorer._spread, explorer._distances, explorer._running)
    )
    assert len(shown(spread)) == 80
    np.testing.assert_allclose(shown(running, 2, "y"), result.running[1:], atol=1e-6)
    np.testing.assert_allclose(shown(running, 1, "y"), result.limit)
    np.testing.assert_allclose(shown(running, 3, "y"), [result.raw], atol=1e-6)
    assert shown(distances, 0, "y").sum() == pytest.approx(100, abs=1e-3)
    np.testing.assert_allclose(shown(distances, 1, "x"), result.mean_distance)


def test_projection_keeps_what_it_can(scorer):
    embeddings = scorer.score(COLLINS, passes=100).embeddings
    points = figures.project(embeddings)
    assert points.shape == (100, 2)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-5)
    centred = embeddings - embeddings.mean(axis=0)
    sizes = np.linalg.svd(centred.astype(float), compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(points, axis=0), sizes[:2], rtol=1e-4)


def test_axes_stay_put_while_the_slider_moves(explorer):
    def axes():
        plots = (explorer._distances, explorer._running)
        return [
            plot.figure["layout"][axis]["range"] for plot in plots for axis in ("xaxis", "yaxis")
        ]

    explorer.passes = 3
    before = axes()
    explorer.passes = 190
    assert axes() == before


def test_plotly_travels_once(explorer):
    other = Explorer(engine="onnxruntime")
    plots = (explorer._spread, explorer._running, other._spread)
    assert {plot.library for plot in plots} == {plotly_library()}
    assert len(plotly_library().source) < 2_000_000
