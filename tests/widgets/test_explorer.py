"""The Explorer without a browser: its state, what it shows, and what visitors may send."""

import gc
import logging
from dataclasses import replace

import pytest
import traitlets
from hostile_images import saved
from PIL import Image

pytest.importorskip("ipywidgets")

from serfiq_widgets import Explorer, Ruin, figures, read_image
from serfiq_widgets.errors import BadSetting, NoFaceFound
from serfiq_widgets.figures import captions
from serfiq_widgets.images.photo import Photo
from serfiq_widgets.images.read import MAX_BYTES
from serfiq_widgets.resources import folder, sample_images
from serfiq_widgets.widgets import plotly_js
from serfiq_widgets.widgets.elements import Plot, plotly_library
from serfiq_widgets.widgets.errors_shown import INTERNAL_ERROR, show_errors
from serfiq_widgets.widgets.settings import SettingsPanel
from serfiq_widgets.widgets.state import ExplorerState
from serfiq_widgets.widgets.take_home import TakeHomePanel

COLLINS, MASK = (folder("sample_images") / f"{n}.jpg" for n in ("collins", "collins_mask"))
FLAT = saved(Image.new("RGB", (300, 300), "grey"), "PNG")


@pytest.fixture
def state(scorer):
    return ExplorerState(scorer)


@pytest.fixture
def explorer():
    return Explorer(engine="onnxruntime")


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
    assert "is not an image" in state.message
    assert state.result is before
    state.image = MASK
    assert state.message == ""


def test_a_refused_photo_does_not_stay_in_memory(state):
    """An error that is kept, even by a circle of references, keeps the pixels on its way."""
    gc.collect()
    gc.disable()
    try:
        show_errors(state, lambda: setattr(state, "image", Photo(FLAT, "flat.png")))()
        assert "No face was found in 'flat.png'" in state.message
        assert not [kept for kept in gc.get_objects() if isinstance(kept, NoFaceFound)]
    finally:
        gc.enable()


@pytest.mark.parametrize("passes", [0, 1, 201, 10**9])
def test_impossible_passes_are_refused(state, passes):
    with pytest.raises(BadSetting):
        state.passes = passes
    assert state.passes == 100


def test_the_first_sample_is_shown_at_once(explorer):
    assert explorer.result.face.name == sample_images()[0].name
    assert explorer.quality == explorer.result.quality
    shown = captions.filled(explorer._numbers.template, explorer._numbers.numbers, explorer.passes)
    assert f">{explorer.result.raw:.4f}<" in shown
    assert explorer._stage.numbers["quality"][explorer.passes - 2] == str(explorer.quality)
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
    assert explorer._gallery.chosen == len(sample_images())  # a thumbnail of its own
    assert explorer._gallery.items[-1]["label"] == "me"
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

    monkeypatch.setattr(figures, "spread_film", boom)
    with caplog.at_level(logging.ERROR):
        explorer.image = MASK
    assert INTERNAL_ERROR in explorer._notice.value
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def test_several_uploads_stay_in_the_gallery(explorer):
    for name in ("first.jpg", "second.jpg"):
        upload(explorer, MASK.read_bytes(), name=name)
    labels = [item["label"] for item in explorer._gallery.items]
    assert labels[len(sample_images()) :] == ["first", "second"]
    explorer._gallery.chosen = 0
    explorer._gallery.chosen = len(sample_images())
    assert explorer.result.face.name == "first.jpg"


def test_own_photos_are_sorted_from_the_best_to_the_worst(explorer):
    for name in ("collins_mask", "collins_blur", "collins"):
        upload(explorer, (MASK.parent / f"{name}.jpg").read_bytes(), name=f"{name}.jpg")
        assert explorer._gallery.items[explorer._gallery.chosen]["label"] == name
    labels = [item["label"] for item in explorer._gallery.items]
    assert labels[len(sample_images()) :] == ["collins", "collins_mask", "collins_blur"]
    explorer._gallery.chosen = len(sample_images()) + 2
    assert explorer.result.face.name == "collins_blur.jpg"


def test_own_photos_are_kept_up_to_a_number(explorer, monkeypatch):
    monkeypatch.setattr("serfiq_widgets.widgets.explorer.MAX_OWN", 2)
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        upload(explorer, MASK.read_bytes(), name=name)
    labels = [item["label"] for item in explorer._gallery.items]
    assert labels[len(sample_images()) :] == ["b", "c"]
    assert len(explorer._photos) == len(labels)


def test_a_broken_upload_is_no_thumbnail(explorer):
    upload(explorer, b"broken")
    assert len(explorer._gallery.items) == len(sample_images())


def test_plotly_and_the_style_sheet_travel_once(explorer):
    other = Explorer(engine="onnxruntime")
    libraries = {id(plot.library) for plot in (*spread_plots(explorer), *spread_plots(other))}
    assert libraries == {id(plotly_library())}
    assert len(plotly_library().source) < 2_000_000
    assert all(len(plot.get_state().get("_css") or "") == 0 for plot in spread_plots(other))


def test_where_the_page_fetches_plotly_no_kernel_sends_it(monkeypatch):
    plotly_library().close()
    monkeypatch.setenv(plotly_js.ADDRESS, plotly_js.PATH)
    library = plotly_library()
    assert (library.address, library.source) == (plotly_js.PATH, b"")
    library.close()


def spread_plots(explorer):
    def walk(widget):
        if isinstance(widget, Plot):
            yield widget
        for child in getattr(widget, "children", ()):
            yield from walk(child)

    found = list(walk(explorer))
    assert len(found) == 7
    return found


def test_pinning_counts_on_the_tab(explorer):
    explorer._pin.click()
    explorer.ruin = Ruin(blur=2)
    explorer._pin.click()
    explorer._pin.click()  # the same again is not pinned twice
    assert [entry.name for entry in explorer.state.pinned] == [
        "collins.jpg",
        "collins.jpg (blur 2 px)",
    ]
    assert explorer._tabs.get_title(1) == "Compare (2)"


def test_explorers_can_be_linked(explorer):
    other = Explorer(MASK, engine="onnxruntime")
    traitlets.link((explorer, "passes"), (other, "passes"))
    explorer.passes = 33
    assert other.result.passes == 33
    other.passes = 44
    assert explorer.result.passes == 44


def test_a_sample_given_by_its_path_is_no_second_thumbnail():
    explorer = Explorer(str(MASK), engine="onnxruntime")
    assert len(explorer._gallery.items) == len(sample_images())
    assert sample_images()[explorer._gallery.chosen] == MASK


def test_strangers_choose_no_network_engine_or_device(monkeypatch):
    monkeypatch.setenv("SERFIQ_STRANGERS", "1")
    explorer = Explorer(COLLINS, engine="onnxruntime")
    panel = SettingsPanel(state=explorer.state)
    assert set(panel._scorer) == {"seed", "rate", "alpha", "r"}
    before = explorer.state.scorer.options
    explorer.state.configure(engine="mxnet", device="cuda", model="other", detector="mtcnn", seed=3)
    assert explorer.state.message == ""
    assert explorer.state.scorer.options == replace(before, seed=3)
    TakeHomePanel(state=explorer.state).apply("model=mini&seed=4&rate=0.2")
    assert (explorer.state.scorer.seed, explorer.state.scorer.rate) == (4, 0.2)
