"""Decoding apart: the child's limits, its end and its beginning anew, and what it is given."""

import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hostile_images import exif, photo, saved, segment, tiff, with_segments
from PIL import Image

from serfiq_widgets import find_face, read_image, sandbox
from serfiq_widgets.errors import EngineUnavailable, ImageTooLarge, UnreadableImage
from serfiq_widgets.photo import Photo
from serfiq_widgets.sandbox import _Child

SOUND = saved(photo(), "PNG")
# What the child does in place of decoding, as a hole in a decoder would let it
HARM = {
    "crashes": "os.abort()",
    "hangs": "time.sleep(60)",
    "computes for ever": "while True: pass",
    "eats memory": "[bytearray(10**7) for _ in range(10**4)]",
    "talks nonsense": "target.write(b'?' * 9); target.flush(); time.sleep(60)",
    "claims a giant": "target.write(ANSWER.pack(0, 2**32 - 1, 2**32 - 1)); target.flush()",
    "answers too little": "target.write(ANSWER.pack(0, 9, 9)); target.flush(); os._exit(0)",
}
FORBIDDEN = {
    "open a file": "open('/etc/passwd')",
    "write a file": "open('/tmp/serfiq-harm', 'w')",
    "open a socket": "socket.socket()",
    "start a program": "subprocess.run(['true'])",
}
TRY = """\
try:
    {}
except OSError:
    target.write(ANSWER.pack(1, 4, 0) + b"done")
    target.flush()
"""
INSTEAD = """\
import os, socket, subprocess, time
from serfiq_widgets import decoder
from serfiq_widgets.decoder import ANSWER
def answer(source, target):
{}
decoder._answer = answer
serve("""


@pytest.fixture
def child():
    child = _Child()
    yield child
    child.stop()


@pytest.fixture
def harm(monkeypatch):
    """Puts something else in the place of the child's decoding."""
    before = sandbox.CHILD

    def put(code):
        instead = INSTEAD.format(textwrap.indent(code, "    ").replace("{", "{{"))
        monkeypatch.setattr(sandbox, "CHILD", before.replace("serve(", instead))

    return put


@pytest.mark.parametrize("what", HARM)
def test_a_child_that_does_harm_ends_alone(child, harm, monkeypatch, what):
    monkeypatch.setattr(sandbox, "SECONDS", 1)
    harm(HARM[what])
    with pytest.raises(UnreadableImage, match=r"'me.png' could not be decoded safely.*another one"):
        child.decode(SOUND, "me.png")
    monkeypatch.undo()
    assert child.decode(SOUND, "me.png").shape == (150, 120, 3)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such limits")
@pytest.mark.parametrize("what", FORBIDDEN)
def test_a_child_may_not(child, harm, what):
    harm(TRY.format(FORBIDDEN[what]))
    with pytest.raises(UnreadableImage, match=r"^done$"):
        child.decode(SOUND, "me.png")


def test_it_gets_none_of_our_secrets_and_is_small(child, monkeypatch):
    monkeypatch.setenv("JUPYTER_TOKEN", "secret")
    child.decode(SOUND, "me.png")
    process = Path(f"/proc/{child._process.pid}")
    if not process.exists():
        pytest.skip("only Linux shows processes so")
    assert b"secret" not in (process / "environ").read_bytes()
    assert "numpy" not in (process / "maps").read_text()
    status = (process / "status").read_text()
    assert int(status.partition("VmRSS:")[2].split()[0]) < 40_000  # kB; it has 20,000


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no alarm")
def test_an_idle_child_goes_away_and_another_comes(child, monkeypatch):
    monkeypatch.setattr(sandbox, "IDLE_S", 1)
    child.decode(SOUND, "me.png")
    child._process.wait(30)
    assert child.decode(SOUND, "me.png").shape == (150, 120, 3)


def test_a_machine_that_starts_nothing_is_said_kindly(child, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(EngineUnavailable, match="Try again"):
        child.decode(SOUND, "me.png")


# What a photo keeps


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_a_photo_keeps_no_metadata_but_its_turn(form):
    data = b"Exif\0\0" + tiff((0x0112, 3, 1, 6), more=b"a secret place")
    content = saved(photo(), form, exif=data, icc_profile=b"a secret profile" * 9)
    kept = Photo(content, "me")
    assert b"secret" in content
    assert b"secret" not in kept._picture.content
    np.testing.assert_array_equal(kept.pixels(), read_image(content))
    assert kept.preview.shape == (120, 150, 3)  # the photo lies on its side


def test_a_comment_and_what_hangs_behind_are_dropped():
    content = with_segments(segment(0xFE, b"secret"), segment(0xED, b"secret")) + b"secret"
    assert b"secret" not in Photo(content, "me")._picture.content


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", "<>")
def test_every_turn_in_every_byte_order(orientation, order):
    value = orientation if order == "<" else orientation << 16
    content = exif(tiff((0x0112, 3, 1, value), order=order))
    assert Photo(content, "me")._picture.orientation == orientation


def test_names_are_shown_short_and_clean():
    assert Photo(SOUND, "a\x1b[2J\u202egnp.png\nmore").name == "a?[2J?gnp.png"
    long = Photo(SOUND, "x" * 5000 + ".png").name
    assert len(long) <= 81
    assert long.endswith(".png")


def test_what_is_too_large_is_refused_before_it_is_decoded(monkeypatch):
    monkeypatch.setattr(sandbox._child, "decode", None)
    with pytest.raises(ImageTooLarge):
        Photo(saved(Image.new("1", (8200, 4000)), "PNG"), "me")


def test_a_photo_scores_as_its_file_does():
    content = saved(photo(400, 500), "JPEG")
    face = find_face(Photo(content, "me").pixels(), name="me")
    np.testing.assert_array_equal(face.pixels, find_face(content).pixels)
