"""Inputs that break while they are read: one error each, and the others go on."""

import gzip
import io
import os
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serfiq_widgets import Scorer
from serfiq_widgets.errors import PixelWarning, SerfiqError, UnreadableImage
from serfiq_widgets.faces.find import find_face
from serfiq_widgets.faces.read_faces import CHUNK, chunked
from serfiq_widgets.images.read import read_bytes, read_image
from serfiq_widgets.resources import folder
from serfiq_widgets.scoring.results import Scores
from serfiq_widgets.scoring.score_images import score_chunks

COLLINS = folder("sample_images") / "collins.jpg"
CONTENT = COLLINS.read_bytes()


def damaged_zip_member():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("face.jpg", CONTENT)
    content = bytearray(file.getvalue())
    content[len(content) // 2] ^= 0xFF
    return zipfile.ZipFile(io.BytesIO(bytes(content))).open("face.jpg")


def truncated_gzip():
    return gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(CONTENT)[:-2000]))


def closed_file():
    file = COLLINS.open("rb")
    file.close()
    return file


def closed_pillow_image():
    image = Image.open(COLLINS)
    image.close()
    return image


class Failing:
    def read(self, _size=-1):
        raise RuntimeError("the camera was pulled out")


class NoBytes:
    def read(self, _size=-1):
        return [1, 2, 3]


class Nameless:
    @property
    def name(self):
        raise RuntimeError("there is no name")

    def read(self, _size=-1):
        raise KeyError("nor content")


BROKEN = {
    "a name that cannot be asked": Nameless,
    "damaged zip member": damaged_zip_member,
    "truncated gzip": truncated_gzip,
    "closed file": closed_file,
    "closed PIL image": closed_pillow_image,
    "a reader's own error": Failing,
    "a reader of no bytes": NoBytes,
    "nothing": lambda: None,
    "an empty path": lambda: "",
}


@pytest.mark.parametrize("case", BROKEN)
def test_one_bad_input_is_one_error_and_the_others_go_on(scorer, case):
    first, bad, last = scorer.score_many([COLLINS, BROKEN[case](), COLLINS], passes=5)
    assert isinstance(bad, SerfiqError)
    assert str(bad)
    assert first.quality == last.quality


def test_a_reader_that_fails_says_why(scorer):
    with pytest.raises(UnreadableImage, match="camera was pulled out"):
        scorer.score(Failing())


SINGLE = {
    "text": str,
    "path": Path,
    "bytes": lambda _: CONTENT,
    "bytearray": lambda _: bytearray(CONTENT),
    "array": read_image,
    "PIL image": lambda path: Image.fromarray(read_image(path)),
    "aligned face": find_face,
}


@pytest.mark.parametrize("kind", SINGLE)
def test_a_single_image_is_taken_as_one(scorer, kind):
    single = SINGLE[kind](COLLINS)
    (result,) = scorer.score_many(single, passes=5)
    assert result.quality == scorer.score(COLLINS, passes=5).quality


def test_a_stack_of_arrays_holds_several(scorer):
    pixels = read_image(COLLINS)
    assert len(list(scorer.score_many(np.stack([pixels, pixels]), passes=5))) == 2


def test_a_single_open_file_is_taken_as_one(scorer):
    with COLLINS.open("rb") as file:
        (result,) = scorer.score_many(file, passes=5)
    assert result.raw == pytest.approx(scorer.score(COLLINS, passes=5).raw, rel=1e-6)


def test_a_pipe_is_read_to_its_end():
    source, target = os.pipe()

    def write():
        with os.fdopen(target, "wb", buffering=0) as file:
            for at in range(0, len(CONTENT), 5000):
                file.write(CONTENT[at : at + 5000])

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(source, "rb", buffering=0) as pipe:
        assert read_bytes(pipe, "pipe") == CONTENT
    writer.join()


def test_a_file_that_stands_at_its_end_is_read_from_its_start():
    file = io.BytesIO()
    file.write(CONTENT)
    assert read_bytes(file, "photo") == CONTENT


def test_an_empty_file_is_said_to_be_empty():
    with pytest.raises(UnreadableImage, match="is empty"):
        read_bytes(io.BytesIO(), "photo")


def test_floats_are_0_to_1_or_0_to_255_by_their_maximum():
    pixels = read_image(COLLINS)
    with pytest.warns(PixelWarning, match="up to 255: they were taken as 0 to 255"):
        np.testing.assert_array_equal(read_image(pixels.astype(np.float32)), pixels)
    with pytest.warns(PixelWarning, match="up to 1: they were taken as 0 to 1"):
        np.testing.assert_array_equal(read_image(pixels / 255), pixels)
    with pytest.warns(PixelWarning, match="up to 0"):
        assert not read_image(np.zeros((64, 64))).any()


def test_channels_may_come_first():
    pixels = read_image(COLLINS)
    np.testing.assert_array_equal(read_image(np.moveaxis(pixels, 2, 0)), pixels)
    np.testing.assert_array_equal(read_image(pixels[None, :, :, 0]), read_image(pixels[:, :, 0]))


def test_tensors_are_taken():
    torch = pytest.importorskip("torch")
    pixels = read_image(COLLINS)
    tensor = torch.from_numpy(pixels)
    np.testing.assert_array_equal(read_image(tensor), pixels)
    np.testing.assert_array_equal(read_image(tensor.permute(2, 0, 1)), pixels)
    grown = (tensor.permute(2, 0, 1).float() / 255).requires_grad_()
    with pytest.warns(PixelWarning):
        np.testing.assert_array_equal(read_image(grown), pixels)
    with pytest.warns(PixelWarning):  # 8 bits of it are kept
        coarse = read_image((tensor / 255).to(torch.bfloat16))
    assert np.abs(coarse.astype(int) - pixels).max() <= 1


def test_home_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a.jpg").write_bytes(CONTENT)
    assert read_bytes("~/a.jpg", "a.jpg") == CONTENT
    with pytest.raises(UnreadableImage, match=r"'b\.jpg' cannot be read"):
        read_image("~nobody-of-this-name/b.jpg")


def test_a_chunk_without_a_face_leaves_the_embeddings_of_the_others(scorer):
    bad, good = [b"no image"], [COLLINS]
    for chunks in ([bad, good], [good, bad], [bad, good, bad]):
        parts = [one.scores for one in score_chunks(scorer, chunks, 5, embed=True)]
        joined = Scores.joined(parts)
        assert joined.embeddings.shape == (1, scorer.network.head.n_dimensions)
        assert len(joined.raw) == 1
    assert Scores.joined([]).raw.shape == (0,)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_an_engine_of_large_batches_gets_several_chunks(aligned_folder, monkeypatch, device):
    scorer = Scorer(engine="onnxruntime")
    crops = [*sorted(aligned_folder.glob("*.png")), aligned_folder / "none.png"] * 13
    chunks = list(chunked(crops))
    assert len(chunks) == 3
    wanted = list(score_chunks(scorer, chunks, 5, aligned=True))
    monkeypatch.setattr(scorer.engine, "batch_size", 2 * CHUNK)
    monkeypatch.setattr(scorer.engine, "device", device)  # scored one group ahead on a GPU
    found = list(score_chunks(scorer, chunks, 5, aligned=True))
    assert [len(part.images) for part in found] == [2 * CHUNK, len(crops) - 2 * CHUNK]
    for name in ("raw", "controlled", "closed_form"):
        one, other = (
            np.concatenate([getattr(part.scores, name) for part in parts])
            for parts in (found, wanted)
        )
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert sum(len(part.errors) for part in found) == 13
    assert list(score_chunks(scorer, [], 5)) == []
