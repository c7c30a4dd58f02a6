"""The stage without a browser: what it sends to the page, and what a page may send."""

import asyncio
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("anywidget")

from serfiq_widgets import Ruin, SerfiqError, Stage
from serfiq_widgets.faces.degradation import COVERS, STRENGTHS
from serfiq_widgets.resources import folder, sample_images
from serfiq_widgets.scoring.sensitivity import costs
from serfiq_widgets.widgets.modules import joined
from serfiq_widgets.widgets.stage import HERE, PAUSE_S

HOPPER = folder("sample_images") / "hopper.jpg"


@pytest.fixture
def stage(state):
    return Stage(state=state)


def shown(stage, name):
    """A text beside the number of passes that the page shows."""
    return stage.numbers[name][stage.passes - 2]


def test_alone_it_shows_the_first_sample_or_what_it_is_given():
    assert Stage(engine="onnxruntime").state.result.face.name == sample_images()[0].name
    stage = Stage(HOPPER, engine="onnxruntime")
    assert stage.state.result.face.name == "hopper.jpg"
    assert shown(stage, "quality") == str(stage.state.quality)
    assert stage.face.startswith("data:image/jpeg;base64,")
    assert len(stage.cloud["dots"]) == 200


def test_a_control_on_the_page_ruins_the_face_in_one_message(stage, monkeypatch):
    sent = []
    monkeypatch.setattr(stage, "send_state", lambda key=None: sent.append(set(key)))
    stage.set_state({"ruin": {**stage.ruin, "blur": 3}})
    assert stage.state.ruin == Ruin(blur=3)
    assert shown(stage, "quality") == str(stage.state.quality)
    assert shown(stage, "change").startswith("Before: ")
    assert [keys for keys in sent if "face" in keys] == [{"face", "cloud", "numbers"}]


BOTH = Ruin(blur=2.4, brightness=-2)


def sentence(stage, ruin):
    points = costs(stage.state.scorer, stage.state.clean.face, ruin)
    return f"Undoing blur gains {points['blur']:.0f} points, light {points['brightness']:.0f}."


def test_what_each_of_several_ruins_costs_is_said(stage, elsewhere):
    elsewhere(lambda: setattr(stage.state, "ruin", BOTH))
    assert stage.advice == sentence(stage, BOTH)
    elsewhere(lambda: setattr(stage.state, "ruin", Ruin(blur=2.4)))
    assert stage.advice == ""  # the number says it


def test_costs_wait_until_the_controls_rest(stage, elsewhere):
    async def drag():
        stage.state.ruin = BOTH
        stage.state.ruin = last = BOTH.replace(blur=1.5)
        assert stage.advice == ""
        await asyncio.sleep(2 * PAUSE_S)
        assert stage.advice == sentence(stage, last)
        stage.state.ruin = BOTH
        assert stage.advice == ""
        stage.state.ruin = Ruin()
        await asyncio.sleep(2 * PAUSE_S)
        assert stage.advice == ""

    elsewhere(lambda: asyncio.run(drag()))


def test_the_page_follows_python(stage):
    stage.state.ruin = Ruin(cover="mask")
    stage.state.passes = 30
    assert stage.ruin["cover"] == "mask"
    assert stage.passes == 30
    assert shown(stage, "quality") == str(stage.state.quality)
    before = stage.face
    stage.state.image = HOPPER
    assert stage.face != before
    assert stage.ruin == stage.undamaged
    assert stage.cloud["ghosts"] == []


@pytest.mark.parametrize(
    "ruin",
    [
        {"blur": 1e9},
        {"blur": float("nan")},
        {"blur": "much"},
        {"cover": "hat"},
        {"cover": ["mask"]},
    ],
)
def test_what_is_not_possible_is_said_and_taken_back(stage, ruin):
    before = stage.state.result
    stage.set_state({"ruin": {**stage.ruin, **ruin}})
    assert next(iter(ruin)) in stage.state.message
    assert stage.ruin == stage.undamaged
    assert stage.state.result is before
    stage.set_state({"ruin": {**stage.ruin, "blur": 1}})
    assert stage.state.message == ""


@pytest.mark.parametrize("by_page", [False, True])
def test_an_error_of_the_score_stays_in_sight(stage, monkeypatch, by_page):
    def fail(*_):
        raise SerfiqError("The cluster is busy.")

    monkeypatch.setattr(stage.state.scorer, "score", fail)
    if by_page:
        stage.set_state({"ruin": {**stage.ruin, "blur": 1}})
    else:
        stage.state.ruin = Ruin(blur=1)
    assert stage.state.message == "The cluster is busy."


def test_unknown_entries_of_a_page_are_ignored(stage):
    stage.set_state({"ruin": {"evil": 1, "noise": 20}})
    assert stage.state.ruin == Ruin(noise=20)
    assert "evil" not in stage.ruin


@pytest.mark.parametrize("passes", [-1, 0, 10**9])
def test_an_impossible_number_of_passes_is_taken_back(stage, passes):
    stage.set_state({"passes": passes})
    assert stage.passes == stage.state.passes == 100
    assert "passes" in stage.state.message


def test_every_degradation_has_a_control_and_four_are_in_sight(stage):
    by_name = {control["name"]: control for control in stage.controls}
    assert set(by_name) == {*STRENGTHS, "cover"}
    assert sum(control["main"] for control in stage.controls) == 4
    assert by_name["jpeg"]["label"] == "JPEG quality"
    assert [cover for cover, _ in by_name["cover"]["options"]] == list(COVERS)
    for name, strength in STRENGTHS.items():
        assert by_name[name]["min"] == strength.least
        assert by_name[name]["max"] == strength.most


def test_an_error_reaches_the_page_unless_another_view_of_the_state_says_it(stage):
    stage.state.image = b"not an image"
    assert stage.message == ""
    stage = Stage(engine="onnxruntime")
    stage.state.image = b"not an image"
    assert "is not an image" in stage.message
    assert shown(stage, "quality") == str(stage.state.quality)


def test_after_an_erasure_it_shows_the_sample_and_keeps_no_other_face(stage):
    stage.state.image = HOPPER
    own = stage.state.clean
    stage.state.erase()
    assert stage.state.result.face.name == sample_images()[0].name
    assert stage._scene.clean is stage.state.clean is not own
    assert stage.cloud["label"]
    assert np.any(stage.cloud["dots"])


def test_other_networks_have_no_population(stage):
    assert "LFW" in shown(stage, "verdict")
    assert stage.cloud["decision"] is not None
    stage.state.configure(rate=0.2)
    assert "LFW" not in shown(stage, "verdict")
    assert stage.cloud["decision"] is None


def test_its_text_has_its_numbers_and_no_face(stage):
    text = stage._repr_mimebundle_()[0]["text/plain"]
    assert f"quality={stage.state.quality}" in text
    assert "base64" not in text


def test_no_other_widget_is_in_it(stage):
    referring = [name for name, value in stage.get_state().items() if "IPY_MODEL_" in str(value)]
    assert referring == ["layout"]  # of every widget of ipywidgets
    assert "widget_manager" not in stage._esm


NAMES = re.compile(r"^(?:async )?(?:function|const|let|class) (\[[^\]]*\]|\w+)", re.MULTILINE)


def test_its_modules_are_joined_to_one():
    text = joined(HERE / "index.js")
    assert not re.search(r"^\s*import\b", text, re.MULTILINE)
    assert re.findall(r"^export .*", text, re.MULTILINE) == ["export default { render };"]
    names = [name for found in NAMES.findall(text) for name in re.findall(r"\w+", found)]
    assert len(names) == len(set(names)), "two modules define one name"
    for path in HERE.glob("*.js"):
        assert path.read_text().splitlines()[1] in text, f"{path.name} is imported by none"


def test_a_module_that_several_import_is_joined_once(tmp_path: Path):
    (tmp_path / "a.js").write_text("export const one = 1;\n")
    (tmp_path / "b.js").write_text('import { one } from "./a.js";\nexport const two = 2 * one;\n')
    (tmp_path / "c.js").write_text(
        'import { one } from "./a.js";\nimport {\n  two,\n} from "./b.js";\n\n'
        "export default { three: one + two };\n"
    )
    assert joined(tmp_path / "c.js") == (
        "const one = 1;\nconst two = 2 * one;\n\nexport default { three: one + two };\n"
    )
