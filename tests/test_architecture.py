"""docs/architecture.md tells the truth: an image passes through the functions that it lists."""

import re
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from serfiq_widgets import Scorer
from serfiq_widgets.cli.main import main
from serfiq_widgets.resources import sample_images

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
PACKAGE = f"{ROOT / 'serfiq_widgets'}/"
PHOTO = sample_images()[0]


def called(job):
    """The functions of the package that a job calls, in the order of their first call."""
    names = {}

    def note(frame, event, _):
        path = frame.f_code.co_filename
        if event == "call" and path.startswith(PACKAGE):
            module = path.removeprefix(PACKAGE).removesuffix(".py").replace("/", ".")
            names.setdefault(f"{module}.{frame.f_code.co_qualname}")

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        job()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return list(names)


def score_a_path():
    return called(lambda: Scorer(engine="onnxruntime").score(PHOTO))


def upload_a_photo():
    pytest.importorskip("ipywidgets")
    from serfiq_widgets import Explorer

    explorer = Explorer(engine="onnxruntime")
    message = {"name": "me.jpg", "first": True, "last": True}
    content = memoryview(PHOTO.read_bytes())
    names = called(lambda: explorer._upload._receive(None, message, [content]))
    assert explorer.state.message == ""
    return names


def score_a_row():
    arguments = ["score", str(PHOTO), "--engine", "onnxruntime"]
    return called(lambda: CliRunner().invoke(main, arguments, catch_exceptions=False))


@pytest.mark.parametrize(
    ("title", "job"),
    [
        ("A path given to `Scorer.score`", score_a_path),
        ("An uploaded photo", upload_a_photo),
        ("A row of `serfiq score`", score_a_row),
    ],
)
def test_an_image_passes_through_the_functions_that_the_document_lists(title, job):
    section = TEXT.split(f"### {title}\n")[1].split("\n###")[0]
    listed = re.findall(r"^\d+\. `([\w.]+)`", section, re.MULTILINE)
    assert len(listed) > 10
    assert [name for name in job() if name in listed] == listed


def test_every_room_is_in_the_picture():
    picture = TEXT.split("```")[1]
    rooms = {path.name for path in (ROOT / "serfiq_widgets").iterdir() if path.suffix == ""}
    rooms -= {"__pycache__", "bundled", "notebooks", "sample_images"}
    assert rooms <= set(re.findall(r"^ (\w+)", picture, re.MULTILINE))
