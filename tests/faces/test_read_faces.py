"""Images are read ahead, in order, by threads or processes, and a bad one ends nothing."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from serfiq_widgets.errors import SerfiqError
from serfiq_widgets.faces import read_faces as module
from serfiq_widgets.faces.find import find_face
from serfiq_widgets.faces.read_faces import chunked, read_face, read_faces
from serfiq_widgets.resources import sample_images


@pytest.fixture
def crops(tmp_path):
    """Sixteen aligned faces in files, all different."""
    pixels = find_face(sample_images()[0]).pixels
    files = []
    for number in range(16):
        file = tmp_path / f"{number:02}.png"
        Image.fromarray(np.roll(pixels, number, axis=1)).save(file)
        files.append(file)
    return files


def flat(chunks):
    return [image for chunk in chunks for image in chunk]


def test_one_image_is_its_face_or_its_error(crops):
    good = read_face(crops[0], aligned=True)
    assert good.error is None
    assert good.face.pixels.shape == (112, 112, 3)
    assert len(good.sha256) == 64
    bad = read_face(crops[0].with_name("none.png"))
    assert bad.face is None
    assert bad.sha256 is None
    assert "none.png" in str(bad.error)
    assert bad.error.__traceback__ is None
    taken = read_face(good.face)
    assert taken.face is good.face
    assert taken.ms == 0


def test_what_nobody_foresaw_is_an_error_of_that_image(crops, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("no face today")

    monkeypatch.setattr(module, "find_face", fail)
    read = read_face(crops[3])
    assert isinstance(read.error, SerfiqError)
    assert "03.png" in str(read.error)
    assert "ZeroDivisionError: no face today" in str(read.error)


@pytest.mark.parametrize("aligned", [True, False])
def test_order_is_kept_and_reading_goes_ahead_by_a_few_chunks_only(crops, aligned, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 2)
    taken = []

    def endless():
        for number in range(100):
            taken.append(number)
            yield [crops[number % 16], crops[(number + 1) % 16], b"no image"]

    stream = read_faces(endless(), aligned=aligned)
    for number in range(3):
        first, second, bad = next(stream)
        assert (first.source, second.source) == (crops[number], crops[number + 1])
        assert bad.error is not None
    assert len(taken) <= 3 + module.AHEAD
    stream.close()


def test_processes_read_the_same_faces_as_threads(crops, monkeypatch):
    chunks = list(chunked([*crops, crops[0].with_name("none.png")], 5))
    here = flat(read_faces(chunks, aligned=True))
    monkeypatch.setattr(module, "MIN_FOR_PROCESSES", 0)
    monkeypatch.setattr(module, "cores", lambda: 2)
    there = flat(read_faces(chunks, aligned=True))
    assert [one.source for one in there] == [one.source for one in here]
    for one, other in zip(here, there, strict=True):
        assert one.sha256 == other.sha256
        assert str(one.error) == str(other.error)
        if one.face is not None:
            np.testing.assert_array_equal(one.face.pixels, other.face.pixels)


def test_what_a_killed_process_had_is_read_here(crops, monkeypatch):
    monkeypatch.setattr(module, "MIN_FOR_PROCESSES", 0)
    monkeypatch.setattr(module, "cores", lambda: 2)
    monkeypatch.setattr(module, "_read_piece", deadly)
    read = flat(read_faces(chunked(crops, 4), aligned=True))
    assert [one.source for one in read] == crops
    assert all(one.error is None for one in read)


HERE = os.getpid()


def deadly(images, *, aligned, detector):
    """Read as always, but die in another process."""
    if os.getpid() != HERE:
        os.kill(os.getpid(), signal.SIGKILL)
    return [read_face(image, aligned=aligned, detector=detector) for image in images]


SCRIPT = """
from pathlib import Path
from serfiq_widgets.faces import read_faces as module
module.MIN_FOR_PROCESSES, module.cores = 0, lambda: 2
files = sorted(Path("FOLDER").iterdir())
read = [one for chunk in module.read_faces([files], aligned=True) for one in chunk]
print(sum(one.face is not None for one in read))
"""


@pytest.mark.usefixtures("crops")
def test_a_script_without_a_main_guard_may_read_many(tmp_path):
    script = tmp_path.parent / f"{tmp_path.name}_script.py"
    script.write_text(SCRIPT.replace("FOLDER", tmp_path.as_posix()))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("16\n", 0), done.stderr
