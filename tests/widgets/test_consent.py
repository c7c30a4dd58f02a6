"""Erase now: nothing of a photo is left in the state, the widgets, or the memory of the process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from marked_photo import marked
from process_memory import found

pytest.importorskip("ipywidgets")

from serfiq_widgets import Camera, ComparePanel, Explorer
from serfiq_widgets.images.photo import Photo
from serfiq_widgets.resources import sample_images
from serfiq_widgets.widgets.elements import Gallery

# A visitor's session in a process of its own. It says what of the face to look for in hexadecimal,
# so that its own memory holds it only where the session put it.
SESSION = """\
import json, sys
from serfiq_widgets import Explorer, Ruin
explorer = Explorer()
def upload():
    content = sys.stdin.buffer.read(int(sys.argv[1]))
    for start in range(0, len(content), 2**16):
        piece = memoryview(content)[start : start + 2**16]
        ends = {"first": start == 0, "last": start + 2**16 >= len(content)}
        explorer._upload._receive(None, {"name": "me.png", **ends}, [piece])
upload()
state = explorer.state
assert state.clean.face.name == "me.png", state.message
state.ruin = Ruin(blur=1)
state.pin()
explorer._tabs.selected_index = 1
face = state.clean.face.pixels[56, 40:56].tobytes().hex()
embedding = state.clean.embeddings[7, :12].tobytes().hex()
print(json.dumps([face, embedding]), flush=True)
sys.stdin.buffer.read(1)
state.erase()
print("erased", flush=True)
sys.stdin.buffer.read(1)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux shows a process's memory")
def test_after_erase_the_process_holds_nothing_of_the_photo():
    content, marks = marked()
    command = [sys.executable, "-c", SESSION, str(len(content))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        session.stdin.write(content)
        session.stdin.flush()
        face, embedding = map(bytes.fromhex, json.loads(session.stdout.readline()))
        marks |= {"face": face, "embedding": embedding}
        before = found(session.pid, marks)
        assert {"file", "face", "embedding"} <= before  # so that the look is worth something
        session.stdin.write(b"!")
        session.stdin.flush()
        assert session.stdout.readline() == b"erased\n"
        after = found(session.pid, marks)
        session.stdin.close()
    assert after == set()


def test_scoring_writes_nothing_anywhere(tmp_path):
    """Not even what ONNX Runtime would write about its users, to send it."""
    code = (
        "from serfiq_widgets import Explorer, Scorer; from serfiq_widgets.resources import *; "
        "Scorer(engine='onnxruntime').score(sample_images()[0]); Explorer()"
    )
    names = [
        "HOME",
        "TMPDIR",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "XDG_STATE_HOME",
    ]
    environment = {**os.environ, **dict.fromkeys(names, str(tmp_path))}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def explorer():
    content, _ = marked()
    explorer = Explorer(engine="onnxruntime")
    explorer.state.consent = True
    explorer.state.image = Photo(content, "me.png")
    explorer._pin.click()
    return explorer


def widgets(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from widgets(child)


def test_erase_shows_the_first_sample_and_nothing_else(explorer):
    state = explorer.state
    explorer._upload._receive(None, {"name": "half.png", "first": True}, [memoryview(b"half")])
    before = [w.get_state() for w in widgets(explorer)]
    assert "me.png" in repr(before)
    state.erase()
    assert state.image == sample_images()[0]
    assert state.result.face.name == sample_images()[0].name
    assert [entry.name for entry in state.entries] == [sample_images()[0].name]
    assert state.pinned == ()
    assert state.consent is False
    after = repr([w.get_state() for w in widgets(explorer)])
    assert "me.png" not in after
    gallery = next(w for w in widgets(explorer) if isinstance(w, Gallery))
    assert len(gallery.items) == len(sample_images())
    assert gallery.chosen == 0
    explorer._upload._receive(None, {"name": "half.png", "last": True}, [memoryview(b"half")])
    assert state.message == ""  # the rest of what was on its way is dropped


def test_a_failed_photo_is_erased_as_well(explorer):
    explorer.state.image = b"no photo"
    explorer.state.erase()
    assert explorer.state.message == ""
    assert explorer.state.source == sample_images()[0]


@pytest.mark.parametrize("view", [Camera, ComparePanel])
def test_what_takes_photos_alone_asks_and_erases_too(view):
    widget = view(engine="onnxruntime")
    names = {type(w).__name__ for w in widgets(widget)}
    assert {"Consent", "Eraser"} <= names


def test_the_running_camera_is_switched_off(explorer):
    feed = next(w for w in widgets(explorer) if type(w).__name__ == "CameraFeed")
    said = []
    feed.send = said.append
    feed.live = True
    content, _ = marked()
    explorer.state.show_frame(Photo(content, "camera"))
    explorer.state.erase()
    assert feed.live is False
    assert said == [{"stop": True}]
    assert explorer.state._frame is None


def test_own_photos_are_kept_only_so_far(explorer, monkeypatch):
    from serfiq_widgets.widgets import explorer as module

    gallery = next(w for w in widgets(explorer) if isinstance(w, Gallery))
    one = explorer.state.source.size
    monkeypatch.setattr(module, "MAX_OWN_BYTES", 2 * one)
    for seed in (2, 3):
        explorer.state.image = Photo(marked(seed)[0], f"{seed}.png")
    assert [item["label"] for item in gallery.items[-2:]] == ["2", "3"]
    assert len(gallery.items) == len(sample_images()) + 2
    assert Path(explorer.state.source.name).stem == "3"
