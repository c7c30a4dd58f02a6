"""The parts alone: views of a state, what they say, settings, camera."""

import io
import re

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ipywidgets")

from serfiq_widgets import Camera, Explorer, RunningScoreView, SpreadView, robustness
from serfiq_widgets.errors import BadSetting
from serfiq_widgets.figures import captions
from serfiq_widgets.resources import folder, sample_images
from serfiq_widgets.robustness import scaled_score
from serfiq_widgets.widgets.camera import CameraFeed
from serfiq_widgets.widgets.elements import Slider
from serfiq_widgets.widgets.face_card import FaceCard, photo_traits
from serfiq_widgets.widgets.passes import FormulaView, PassesSlider
from serfiq_widgets.widgets.settings import SettingsPanel
from serfiq_widgets.widgets.state import ExplorerState, _same
from serfiq_widgets.widgets.take_home import TakeHomePanel

COLLINS, HOPPER = (folder("sample_images") / f"{n}.jpg" for n in ("collins", "hopper"))


def test_a_view_alone_has_a_slider_and_says_what_is_wrong():
    view = RunningScoreView(COLLINS, engine="onnxruntime")
    slider = view.children[-1]
    assert isinstance(slider, PassesSlider)
    slider.value = 30
    assert view.state.result.passes == 30
    view.state.image = b"broken"
    assert "is not an image" in view.children[0].value
    assert view.state.result.passes == 30


def test_views_of_one_state_move_together(state):
    clock = PassesSlider(state)
    spread = SpreadView(state=state, clock=clock)
    assert spread.plot.clock is clock
    assert spread.plot.figure["film"]["passes"] == 200
    state.passes = 44
    assert clock.value == 44
    before = spread.plot.figure
    state.image = HOPPER
    assert spread.plot.figure is not before
    assert not any(isinstance(child, PassesSlider) for child in spread.children)


def test_a_dot_is_asked_about(state):
    view = SpreadView(state=state)
    view.plot.chosen = 16
    assert state.chosen == 16
    said = view.children[-1].value
    result = state.result
    own = result.distances[16].sum() / 99
    rest = np.delete(np.delete(result.distances, 16, 0), 16, 1)
    without = float(robustness.raw_score(rest.sum() / (99 * 98)))
    assert "Pass 17" in said
    assert f"{own:.4f}" in said
    assert f"{without:.4f}" in said
    place = 1 + sum(row.sum() / 99 > own for row in result.distances)
    assert re.search(rf"\b{place}(st|nd|rd|th) farthest of 100", said)
    state.passes = 10  # the pass is not among the first ten
    assert "Click a dot" in view.children[-1].value
    view.plot.chosen = 10**9  # whatever a page sends
    assert state.chosen == 199


@pytest.mark.parametrize(
    ("number", "said"), [(1, "1st"), (2, "2nd"), (13, "13th"), (23, "23rd"), (111, "111th")]
)
def test_ordinals(number, said):
    assert captions._ordinal(number) == said


def test_leaving_one_out_is_what_it_says():
    distances = robustness.pairwise_distances(
        robustness.normalise(np.random.default_rng(1).normal(size=(7, 5)).astype(np.float32))
    )
    for i, mean in enumerate(robustness.leave_one_out(distances)):
        rest = np.delete(np.delete(distances, i, 0), i, 1)
        assert mean == pytest.approx(rest[np.tril_indices(6, -1)].mean())


def test_the_sphere_has_its_own_sentence(state):
    view = SpreadView(state=state)
    state.projection = "sphere"
    assert view.plot.figure["data"][0]["type"] == "scatter3d"
    assert "true angle" in view.head.value
    state.projection = "plane"
    assert view.plot.figure["data"][0]["type"] == "scatter"


def test_the_formula_holds_the_numbers(state):
    view = FormulaView(state=state)
    state.passes = 20
    readout = view.children[-1]
    said = captions.filled(readout.template, readout.numbers, round(readout.clock.value))
    said = re.sub("<[^>]*>", " ", said)
    result = state.result
    published = float(scaled_score(result.raw, result.alpha, result.r))
    for number in (
        f"{result.mean_distance:.4f}",
        "190",
        f"{result.raw:.4f}",
        f"{published:.4f}",
        f"{100 * published:.2f}",
        f"{result.alpha:g}",
        f"{result.r:g}",
        str(result.published_quality),
    ):
        assert number in said


def test_a_slider_ends_within_its_range_whatever_is_sent():
    slider = Slider("s", 5, 0, 10, 1)
    slider.max = 1e9
    for sent, ends in ((1e9, 10), (-1e9, 0), (float("nan"), 0), (7.5, 7.5)):
        slider.value = sent
        assert slider.value == ends


def test_the_photo_shows_every_face_and_a_click_means_one(state, group):
    card = FaceCard(state)
    state.image = group
    assert state.clean.face.n_faces == 2
    assert len(card._photo.boxes) == 2
    assert "2 faces" in card._several.value
    first = state.result
    card._photo.chosen = 1
    assert state.which == 1
    assert state.result.face.which == 1
    assert not np.array_equal(state.result.face.pixels, first.face.pixels)
    assert state.entries[-1].name == "group.png, face 2"
    card._photo.chosen = 99  # whatever a page sends
    assert state.which == 1
    state.image = COLLINS
    assert state.which == 0


def test_boxes_are_shares_of_the_photo(state):
    traits = photo_traits(COLLINS, state.clean.face)
    ((left, top, width, height),) = traits["boxes"]
    face = state.clean.face
    assert left * face.photo_size[0] == pytest.approx(face.box[0])
    assert (top + height) * face.photo_size[1] == pytest.approx(face.box[3])
    assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in traits["landmarks"])
    assert photo_traits(face, face)["src"] == ""
    assert width > 0


def test_settings_make_a_new_scorer(state):
    panel = SettingsPanel(state=state)
    before = state.result
    panel._scorer["seed"].value = 7
    assert state.result.seed == 7
    assert state.result.raw != before.raw
    panel._scorer["rate"].value = 0.2
    assert state.result.rate == 0.2
    assert state.result.raw > before.raw  # less is switched off
    panel._scorer["alpha"].value = 200
    panel._scorer["r"].value = 0.9
    assert (state.result.alpha, state.result.r) == (200, 0.9)
    panel._own.click()
    assert (state.result.rate, state.result.alpha, state.result.r) == (0.4, before.alpha, before.r)
    assert panel._scorer["alpha"].value == before.alpha


def test_a_setting_that_cannot_be_had_is_said_and_taken_back(state):
    panel = SettingsPanel(state=state)
    before = state.scorer
    panel._scorer["device"].value = "cuda"
    if state.scorer is before:  # no such device here
        assert state.message
        assert panel._scorer["device"].value == "auto"


@pytest.mark.parametrize("option", [{"rate": 0.0}, {"rate": 1.0}, {"alpha": -1}, {"r": 2}])
def test_impossible_stretch_or_rate_is_refused(state, option):
    from serfiq_widgets import Scorer

    with pytest.raises(BadSetting, match=next(iter(option))):
        Scorer(**option)
    state.configure(**option)
    assert next(iter(option)) in state.message


def jpeg(path):
    with Image.open(path) as photo:
        content = io.BytesIO()
        photo.convert("RGB").save(content, "JPEG")
    return content.getvalue()


def sent(feed, monkeypatch):
    said = []
    monkeypatch.setattr(feed, "send", lambda message, *_: said.append(message["text"]))
    return said


def frame(feed, kind, content):
    feed._handle_custom_msg({"kind": kind}, [memoryview(content)])


def test_a_snapshot_is_scored_and_listed(state, scorer, monkeypatch):
    camera = Camera(state=state)
    sent(camera.feed, monkeypatch)
    content = jpeg(HOPPER)
    frame(camera.feed, "snapshot", content)
    assert state.result.face.name == "snapshot 1"
    assert state.result.raw == pytest.approx(scorer.score(content).raw, abs=1e-6)
    assert state.entries[-1].name == "snapshot 1"


def test_live_frames_are_scored_but_not_listed(state, monkeypatch):
    camera = Camera(state=state)
    said = sent(camera.feed, monkeypatch)
    listed = state.entries
    camera.feed.live = True
    frame(camera.feed, "live", jpeg(HOPPER))
    assert said[-1].startswith(f"{state.quality} of 100")
    before = state.result
    blank = io.BytesIO()
    Image.new("RGB", (320, 240), (200, 200, 200)).save(blank, "JPEG")
    frame(camera.feed, "live", blank.getvalue())
    assert "No face in view" in said[-1]
    assert state.message == ""  # no alarm: the next frame is on its way
    assert state.result is before
    assert state.entries == listed
    assert state.live
    state.image = COLLINS
    assert not state.live


def test_a_frame_is_kept_nowhere_even_if_settings_change(monkeypatch):
    explorer = Explorer(COLLINS, engine="onnxruntime")
    camera = Camera(state=explorer.state)
    sent(camera.feed, monkeypatch)
    camera.feed.live = True
    frame(camera.feed, "live", jpeg(HOPPER))
    explorer.state.configure(seed=9)
    assert explorer.result.seed == 9
    assert len(explorer._gallery.items) == len(sample_images())
    assert all(entry.name != "camera" for entry in explorer.state.entries)


def test_stop_really_stops(state, monkeypatch):
    camera = Camera(state=state)
    said = sent(camera.feed, monkeypatch)
    before = state.result
    camera.feed.live = True
    camera.feed.live = False
    frame(camera.feed, "live", jpeg(HOPPER))
    assert state.result is before
    assert said == []


@pytest.mark.parametrize(
    ("message", "buffers"),
    [({}, []), ({"kind": "live"}, []), ({"kind": ["x"]}, [b"x"]), ({"kind": "snapshot"}, [])],
)
def test_what_is_no_frame_is_dropped(state, message, buffers):
    before = state.result
    seen = []
    feed = CameraFeed(lambda *a: seen.append(a) or "")
    feed._handle_custom_msg(message, [memoryview(b) for b in buffers])
    feed._handle_custom_msg({"kind": "snapshot"}, [memoryview(b"0" * (2**20 + 1))])
    assert seen == []
    assert state.result is before


def test_a_link_carries_settings_and_opens_again(state, scorer):
    from serfiq_widgets import Ruin

    panel = TakeHomePanel(state=state)
    state.configure(seed=3, rate=0.3)
    state.passes = 150
    state.ruin = Ruin(blur=1.5, cover="square", x=30)
    state.projection = "sphere"
    query = panel._link.settings
    assert "sample=collins" in query
    other = ExplorerState(scorer)
    other.image = HOPPER
    TakeHomePanel(state=other)._link.opened = query
    assert other.message == ""
    assert other.ruin == state.ruin
    assert (other.passes, other.projection) == (150, "sphere")
    assert other.result.raw == pytest.approx(state.result.raw, abs=1e-6)


def test_a_link_never_carries_a_visitors_photo(state):
    panel = TakeHomePanel(state=state)
    file = io.BytesIO(HOPPER.read_bytes())
    file.name = "my face.jpg"
    state.image = file
    assert "face" not in panel._link.settings
    assert "sample" not in panel._link.settings


@pytest.mark.parametrize(
    "query",
    ["passes=many", "blur=1e9", "%%%", "passes=9999", "cover=hat", "evil=1", "seed=-1"],
)
def test_a_forged_link_ends_in_a_sentence(state, query):
    before = state.result
    TakeHomePanel(state=state)._link.opened = query
    assert state.message
    assert state.result.raw == before.raw


def test_a_link_opens_no_file(state):
    TakeHomePanel(state=state)._link.opened = "model=%2Fetc%2Fpasswd&sample=..%2F..%2Fsecret"
    assert state.result.model == "mini"
    assert state.result.face.name == "collins.jpg"


def test_a_setting_beyond_a_controls_range_stays_what_it_is(scorer):
    state = ExplorerState(scorer)
    state.configure(seed=2**40, alpha=500.0)
    state.image = COLLINS
    panel = SettingsPanel(state=state)
    state.configure(rate=0.3)
    assert (state.result.seed, state.result.alpha) == (2**40, 500)
    assert panel._scorer["alpha"].value == 300


def test_after_a_bad_image_the_last_one_still_answers(group):
    explorer = Explorer(group, engine="onnxruntime")
    explorer.image = io.BytesIO(b"broken")
    assert explorer.state.message
    explorer.state.configure(seed=2)
    assert explorer.state.message == ""
    assert explorer.result.seed == 2
    explorer.state.which = 1
    assert explorer.state.message == ""
    assert explorer.result.face.which == 1


def test_numbers_are_the_same_only_if_both_lack_the_same():
    nan = float("nan")
    assert _same({"q": nan}, {"q": nan})
    assert _same({"q": 70}, {"q": 70})
    for one, other in ((nan, 70), (70, nan), (70, 71)):
        assert not _same({"q": one}, {"q": other})
