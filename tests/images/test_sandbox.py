"""Decoding apart: the child's limits, its end and its beginning anew, and what it is given."""

import os
import platform
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hostile_images import exif, photo, saved, segment, tiff, with_segments
from PIL import Image

from serfiq_widgets import find_face, read_image
from serfiq_widgets.errors import EngineUnavailable, ImageTooLarge, UnreadableImage
from serfiq_widgets.images import sandbox
from serfiq_widgets.images.confinement import works_here
from serfiq_widgets.images.photo import Photo
from serfiq_widgets.images.sandbox import _Child

SOUND = saved(photo(), "PNG")
# What the child does in place of decoding, as a hole in a decoder would let it
HARM = {
    "crashes": "os.abort()",
    "hangs": "time.sleep(60)",
    "computes for ever": "while True: pass",
    "eats memory": "[bytearray(10**7) for _ in range(10**4)]",
    "talks nonsense": "target.write(b'?' * 9); target.flush(); time.sleep(60)",
    "claims a giant": "target.write(ANSWER.pack(0, 2**32 - 1, 2**32 - 1)); target.flush()",
    "calls as an older processor": "import ctypes; ctypes.CDLL(None).syscall(0x40000027)",
    "answers too little": "target.write(ANSWER.pack(0, 9, 9)); target.flush(); os._exit(0)",
}
# What a decoder that was taken over would try; each has to fail
FORBIDDEN = {
    "read a file": "open('/etc/passwd')",
    "read a file at a descriptor": "os.open('etc/passwd', os.O_RDONLY, dir_fd=0)",
    "write a file": "open('/tmp/serfiq-harm', 'w')",
    "list a folder": "os.listdir('/')",
    "ask whether a file is there": "os.stat('/etc/passwd')",
    "make a folder": "os.mkdir('/tmp/serfiq-harm')",
    "remove a file": "os.unlink('/tmp/serfiq-harm')",
    "rename a file": "os.rename('/tmp/a', '/tmp/b')",
    "make a link": "os.symlink('/etc/passwd', '/tmp/serfiq-harm')",
    "change a mode": "os.chmod('/tmp', 0o700)",
    "go elsewhere": "os.chdir('/tmp')",
    "read the server's environment": "open(f'/proc/{PARENT}/environ', 'rb')",
    "read the server's memory": "open(f'/proc/{PARENT}/mem', 'rb')",
    "read memory by the system": "call(310, PARENT, 0, 0, 0, 0, 0)",
    "trace the server": "call(101, 16, PARENT, 0, 0)",
    "read its own environment": "open('/proc/self/environ', 'rb')",
    "open a socket": "socket.socket()",
    "open a socket of files": "socket.socket(socket.AF_UNIX)",
    "open a pair of sockets": "socket.socketpair()",
    "open a pipe": "os.pipe()",
    "copy a descriptor": "os.dup(1)",
    "make a file in memory": "os.memfd_create('harm')",
    "fork": "os.fork()",
    "fork by the newer call": "call(435, ADDRESS, 88)",
    "start a program": "subprocess.run(['true'])",
    "become a program": "os.execv('/bin/sh', ['sh'])",
    "signal the server": "os.kill(PARENT, 0)",
    "signal the server's group": "os.killpg(PARENT, 0)",
    "signal itself": "signal.raise_signal(signal.SIGUSR1)",
    "change its user": "os.setresuid(0, 0, 0)",
    "map memory that runs": "mmap.mmap(-1, 4096, prot=7)",
    "let memory run": "call(10, ADDRESS, 4096, 7)",
    "raise its limit on files": "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))",
    "see another's limits": "resource.prlimit(PARENT, resource.RLIMIT_CPU)",
    "see another's time": "resource.prlimit(PARENT, resource.RLIMIT_CPU, (1, 1))",
    "mount": "call(165, 0, 0, 0, 0, 0)",
    "ask for a ring of calls": "call(425, 1, 0)",
    "load a program into the kernel": "call(321, 0, 0, 0)",
    "undo it": "call(157, 38, 0, 0, 0, 0)",
}
TRY = """\
done = []
for name, attempt in {!r}.items():
    try:
        eval(attempt)
    except (OSError, RuntimeError, ValueError):
        continue
    done.append(name)
text = (", ".join(done) or "nothing").encode()
target.write(ANSWER.pack(1, len(text), 0) + text)
target.flush()
"""
BEFORE = """\
import ctypes, mmap, resource, signal, threading
PARENT = os.getppid()
LIBRARY = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.mmap(-1, 4096)
ADDRESS = ctypes.addressof(ctypes.c_char.from_buffer(PAGE))
PATH = ctypes.c_char_p(b"/etc/passwd")
def call(*arguments):
    if LIBRARY.syscall(*(a if hasattr(a, "value") else ctypes.c_long(a) for a in arguments)) < 0:
        raise OSError(ctypes.get_errno(), "refused")
"""
STAYS_ROOT = "confinement._become_nobody = lambda: None\n"
INSTEAD = """\
import os, socket, subprocess, time
from serfiq_widgets.images import confinement, sandbox_worker
from serfiq_widgets.images.sandbox_worker import ANSWER
{}
def answer(source, target):
{}
sandbox_worker._answer = answer
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

    def put(code, before_it=""):
        parts = before_it, textwrap.indent(code, "    ")
        instead = INSTEAD.format(*(part.replace("{", "{{").replace("}", "}}") for part in parts))
        monkeypatch.setattr(sandbox, "CHILD", before.replace("serve(", instead))

    return put


@pytest.mark.parametrize("what", HARM)
def test_a_child_that_does_harm_ends_alone(child, harm, monkeypatch, what):
    monkeypatch.setattr(sandbox, "PATIENCE_S", 1)
    harm(HARM[what])
    with pytest.raises(UnreadableImage, match=r"'me.png' could not be decoded safely.*another one"):
        child.decode(SOUND, "me.png")
    monkeypatch.undo()
    assert child.decode(SOUND, "me.png").shape == (150, 120, 3)


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="the calls have its numbers"
)
@pytest.mark.parametrize("user", ["nobody", "the same"])
def test_hostile_code_in_the_child_can_do_nothing(child, harm, user):
    """Run where a hole in a decoder would run it, as nobody and as whoever runs the tests."""
    harm(TRY.format(FORBIDDEN), BEFORE + (STAYS_ROOT if user == "the same" else ""))
    with pytest.raises(UnreadableImage) as done:
        child.decode(SOUND, "me.png")
    assert str(done.value) == "nothing"
    assert child._confined


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such limits")
def test_without_a_filter_there_are_limits_and_it_is_said(child, harm):
    few = {name: FORBIDDEN[name] for name in ("read a file", "open a socket", "start a program")}
    harm(TRY.format(few), BEFORE + "confinement._filter = lambda: None\n")
    with pytest.raises(UnreadableImage) as done:
        child.decode(SOUND, "me.png")
    assert "socket" not in str(done.value)
    assert "program" not in str(done.value)
    assert not child._confined


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux hides memory so")
def test_a_process_hides_its_memory_from_its_own_user():
    code = (
        "import ctypes; from serfiq_widgets.images.confinement import hide; "
        "ask = ctypes.CDLL(None).prctl; before = ask(3); assert hide(); print(before, ask(3))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "0"]
    assert works_here()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has users so")
def test_root_decodes_as_nobody(child):
    child.decode(SOUND, "me.png")
    status = Path(f"/proc/{child._process.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    users = set(fields["Uid"].split())
    assert users == ({"65534"} if os.geteuid() == 0 else {str(os.geteuid())})
    assert fields["Seccomp"] == "2"
    assert fields["NoNewPrivs"] == "1"


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


def test_too_little_memory_for_the_pixels_is_said_of_the_photo(child, monkeypatch):
    def none_left(*_, **__):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(sandbox.np, "empty", none_left)
        with pytest.raises(ImageTooLarge, match=r"'a\.png' needs too much memory"):
            child.decode(SOUND, "a.png")
    assert child.decode(SOUND, "b.png").shape == (150, 120, 3)


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
