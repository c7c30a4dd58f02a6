"""The detectors: the same faces, whoever looks; what is missing is said; no photo is too much."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from yunet_stand_in import HEIGHT, POINTS, WIDTH, stand_in

from serfiq_widgets import Scorer, find_face, read_image
from serfiq_widgets.cli.main import main
from serfiq_widgets.errors import BadSetting, CorruptModel, EngineUnavailable, NoFaceFound
from serfiq_widgets.faces import detectors
from serfiq_widgets.faces.degradation import Ruin
from serfiq_widgets.faces.detectors import DETECTORS, open_detector
from serfiq_widgets.faces.detectors import mtcnn as m
from serfiq_widgets.faces.detectors.yunet import YuNet, parse
from serfiq_widgets.faces.find import detect
from serfiq_widgets.models import files
from serfiq_widgets.models.cards import cards
from serfiq_widgets.resources import sample_images
from serfiq_widgets.widgets.state import ExplorerState

SAMPLES = {path.stem: path for path in sample_images()}
CELL = 4  # CenterFace's grid, in pixels of the photo that it searches
WITHOUT_FILES = [name for name in DETECTORS if name != "centerface"]


@pytest.fixture(scope="module")
def mtcnn(shared):
    return m.Mtcnn(shared / "models" / "mtcnn")


@pytest.fixture
def anew():
    """Detectors are opened again, in a test and after it."""
    detectors._open.cache_clear()
    yield
    detectors._open.cache_clear()


@pytest.fixture
def no_files(anew, tmp_path, monkeypatch):  # noqa: ARG001  # a fixture of a fixture
    monkeypatch.setenv("SERFIQ_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("SERFIQ_MTCNN", raising=False)


@pytest.fixture
def with_mtcnn(anew, shared, monkeypatch):  # noqa: ARG001  # as above
    monkeypatch.setenv("SERFIQ_MTCNN", str(shared / "models" / "mtcnn"))


@pytest.fixture(scope="module")
def photos(shared):
    """A dozen whole LFW photos, 250 pixels across."""
    with zipfile.ZipFile(shared / "data" / "lfw250-sample.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[::25]
        return [read_image(archive.read(name), name) for name in names]


def central(detector, photo):
    middle = np.array(photo.shape[1::-1]) / 2
    return min(detector(photo), key=lambda d: np.abs(d.landmarks.mean(axis=0) - middle).sum())


def test_mtcnn_and_centerface_see_the_same_landmarks(mtcnn, photos):
    """Each of the two may be a cell of CenterFace's grid off; a wrong axis order is 30 pixels."""
    distances = []
    for photo in photos:
        ours, theirs = central(mtcnn, photo), central(open_detector("centerface"), photo)
        distances.append(np.linalg.norm(ours.landmarks - theirs.landmarks, axis=1).mean())
        assert ours.landmarks.dtype == np.float32
        assert 0.8 < ours.confidence <= 1
        left, top, right, bottom = ours.box
        inside = (ours.landmarks > (left, top)) & (ours.landmarks < (right, bottom))
        assert inside.all()
    assert np.median(distances) < CELL
    assert max(distances) < 2 * CELL


@pytest.mark.parametrize("name", ["collins", "collins_blur", "hopper", "hopper_jpeg"])
def test_mtcnn_finds_the_samples(mtcnn, name):
    photo = read_image(SAMPLES[name])
    ours, theirs = (central(d, photo) for d in (mtcnn, open_detector("centerface")))
    assert np.abs(ours.landmarks - theirs.landmarks).max() < 3 * CELL


def test_a_mirrored_photo_gives_mirrored_landmarks(mtcnn):
    photo = read_image(SAMPLES["collins"])
    plain, mirrored = (central(mtcnn, p).landmarks for p in (photo, photo[:, ::-1].copy()))
    back = mirrored[[1, 0, 2, 4, 3]]
    back[:, 0] = photo.shape[1] - 1 - back[:, 0]
    # O-Net sees 48 pixels of a face: within one of them
    side = central(mtcnn, photo).box
    assert np.abs(back - plain).max() < (side[2] - side[0]) / 48 * 2


@pytest.mark.parametrize("scale", [0.5, 2.0, 9.0])
def test_the_size_of_the_photo_does_not_matter(mtcnn, scale):
    photo = read_image(SAMPLES["collins"])
    other = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    plain = central(mtcnn, photo)
    marks = (central(mtcnn, other).landmarks + 0.5) / scale - 0.5
    pixel = (plain.box[2] - plain.box[0]) / 48 / min(1, scale)
    assert np.abs(marks - plain.landmarks).max() < 2 * pixel


def test_mtcnn_finds_every_face_of_a_group(mtcnn, group):
    photo = read_image(group)
    found = mtcnn(photo)
    assert len(found) == 2
    assert sorted(d.landmarks[2, 0] > 650 for d in found) == [False, True]


def test_nothing_is_found_where_nothing_is(mtcnn):
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    for photo in (noise, np.full((600, 800, 3), 127, np.uint8)):
        assert mtcnn(photo) == []


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (49, 49), (50, 50), (1, 5000), (5000, 1)])
def test_tiny_photos_hold_no_face(mtcnn, size):
    assert mtcnn(np.full((*size, 3), 127, np.uint8)) == []


@pytest.mark.parametrize("size", [(6300, 6300), (60, 600_000), (600_000, 60)])
def test_huge_and_narrow_photos_are_shrunk_before_they_are_searched(mtcnn, size, monkeypatch):
    searched = []
    propose = mtcnn._propose
    monkeypatch.setattr(mtcnn, "_propose", lambda p: searched.append(p.shape) or propose(p))
    assert mtcnn(np.zeros((*size, 3), np.uint8)) == []
    assert max(searched[0]) == m.LONGEST


def test_a_wall_of_faces_ends_at_the_cap(mtcnn):
    tile = Image.open(SAMPLES["collins"]).crop((85, 0, 265, 230)).resize((60, 77))
    assert 100 < len(mtcnn(np.tile(np.asarray(tile), (20, 20, 1)))) <= m.MAX_FACES


def test_mxnet_stays_out(shared):
    code = (
        "import sys; from pathlib import Path; from serfiq_widgets import read_image;"
        "from serfiq_widgets.faces.detectors.mtcnn import Mtcnn;"
        f"found = Mtcnn(Path({str(shared / 'models' / 'mtcnn')!r}))"
        f"(read_image({str(SAMPLES['collins'])!r}));"
        "print(len(found), 'mxnet' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]


edges = st.integers(0, 40)
boxes = st.lists(st.tuples(edges, edges, edges, edges, st.integers(0, 9)), max_size=25)


def overlap(a, b, of_smaller):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    whole = min(areas) if of_smaller else sum(areas) - width * height
    return Fraction(width * height, whole) if whole else Fraction(0)


@given(boxes, st.sampled_from([0.5, 0.7]), st.booleans())
def test_suppression_is_the_plain_loop(rows, most, of_smaller):
    """Ratios of small whole numbers: float32 cannot change which side of the limit they are on."""
    corners = [(x, y, x + w, y + h) for x, y, w, h, _ in rows]
    scores = [row[4] for row in rows]
    limit = Fraction(str(most))
    kept = []
    for i in sorted(range(len(rows)), key=lambda i: -scores[i]):
        if all(overlap(corners[i], corners[j], of_smaller) <= limit for j in kept):
            kept.append(i)
    arrays = np.array(corners, np.float32).reshape(-1, 4), np.array(scores, np.float32)
    assert m.suppress(*arrays, most, of_smaller=of_smaller).tolist() == kept


@given(st.lists(st.floats(0, 1, width=32)), st.integers(0, 9), st.floats(0, 1, width=32))
def test_the_best_are_few_high_and_falling(scores, most, least):
    array = np.array(scores, np.float32)
    found, order = m.best(array, most, least)
    assert len(found) == min(most, sum(score > least for score in scores))
    assert all(a >= b for a, b in pairwise(found))
    np.testing.assert_array_equal(array[order], found)


def test_crops_are_scaled_boxes_and_black_outside():
    photo = np.random.default_rng(0).integers(0, 256, (80, 90, 3), dtype=np.uint8)
    inside, outside = m.crops(photo, np.array([[10, 20, 58, 68], [-30, 5, 18, 53]], "f4"), 24)
    pixels = np.round(inside / m.SCALE + m.MEAN)
    scaled = cv2.resize(photo[20:68, 10:58], (24, 24)).transpose(2, 0, 1)[::-1]
    assert np.abs(pixels - scaled).max() <= 1  # OpenCV rounds each in its own way
    black = -m.MEAN * m.SCALE
    np.testing.assert_allclose(outside[:, :, :14], black)
    assert (outside[:, :, 16:] > black).mean() > 0.9


@pytest.mark.usefixtures("no_files")
@pytest.mark.parametrize("name", WITHOUT_FILES)
def test_missing_files_are_said_with_their_place(tmp_path, name):
    with pytest.raises(EngineUnavailable, match=str(tmp_path / "models" / name)) as error:
        Scorer(detector=name)
    words = ("det1", "det4", "-symbol.json", "-0001.params", "SERFIQ_MTCNN")
    for word in words if name == "mtcnn" else ("face_detection_yunet_2023mar.onnx",):
        assert word in str(error.value)


def test_a_single_missing_file_is_named(shared, tmp_path):
    shutil.copytree(shared / "models" / "mtcnn", tmp_path / "mtcnn")
    (tmp_path / "mtcnn" / "det3-0001.params").unlink()
    with pytest.raises(EngineUnavailable, match=r"missing: det3-0001\.params\."):
        m.Mtcnn(tmp_path / "mtcnn")


@pytest.mark.parametrize(("name", "other"), [("det1", "det2"), ("det2", "det1"), ("det3", "det2")])
def test_another_network_in_its_place_is_refused(shared, tmp_path, name, other):
    folder = tmp_path / "mtcnn"
    shutil.copytree(shared / "models" / "mtcnn", folder)
    for end in ("-symbol.json", "-0001.params"):
        (folder / f"{name}{end}").write_bytes((folder / f"{other}{end}").read_bytes())
    with pytest.raises(CorruptModel, match=f"{name}-symbol"):
        m.Mtcnn(folder)


def test_half_a_file_is_refused(shared, tmp_path):
    folder = tmp_path / "mtcnn"
    shutil.copytree(shared / "models" / "mtcnn", folder)
    weights = folder / "det4-0001.params"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(CorruptModel, match="det4"):
        m.Mtcnn(folder)


@pytest.mark.parametrize("name", ["bogus", "", "MTCNN", None, 3, ["mtcnn"]])
def test_unknown_names_list_the_known(name):
    for use in (lambda: Scorer(detector=name), lambda: detect(np.zeros((50, 50, 3), "u1"), name)):
        with pytest.raises(BadSetting, match="centerface, mtcnn, yunet"):
            use()


@pytest.mark.usefixtures("with_mtcnn")
def test_the_result_tells_who_found_the_face(scorer):
    other = Scorer(engine="onnxruntime", detector="mtcnn")
    ours, theirs = (s.score(SAMPLES["collins"]) for s in (other, scorer))
    assert (ours.face.detector, theirs.face.detector) == ("mtcnn", "centerface")
    assert 0 < np.abs(ours.face.landmarks - theirs.face.landmarks).max() < 3 * CELL
    assert scorer.score(ours.face).face.detector == "mtcnn"
    aligned = find_face(ours.face.pixels, aligned=True, detector="mtcnn")
    assert aligned.detector == ""
    with pytest.raises(NoFaceFound, match="the image"):
        other.score(np.zeros((300, 300, 3), np.uint8))


@pytest.mark.usefixtures("with_mtcnn")
def test_an_explorer_finds_the_face_anew_with_another_detector(scorer):
    state = ExplorerState(scorer)
    state.image = SAMPLES["collins"]
    state.ruin = Ruin(blur=1.0)
    before = state.clean
    state.configure(detector="mtcnn")
    assert state.message == ""
    assert state.clean.face.detector == "mtcnn"
    assert state.ruin == Ruin(blur=1.0)
    expected = Scorer(engine="onnxruntime", detector="mtcnn").score(SAMPLES["collins"], 200)
    assert state.clean.raw == pytest.approx(expected.raw, abs=1e-6)
    assert state.clean.raw != before.raw
    state.show_frame(io.BytesIO(SAMPLES["hopper"].read_bytes()))
    assert state.clean.face.detector == "mtcnn"
    given = replace(before.face, detector="")
    state.image = given
    state.configure(detector="centerface")
    assert state.clean.face is given


@pytest.mark.usefixtures("with_mtcnn")
def test_widgets_take_a_detector():
    pytest.importorskip("ipywidgets")
    from serfiq_widgets import Explorer, SpreadView

    for widget in (Explorer, SpreadView):
        made = widget(SAMPLES["collins"], engine="onnxruntime", detector="mtcnn")
        assert made.state.clean.face.detector == "mtcnn"


@pytest.mark.usefixtures("no_files")
def test_a_detector_without_files_leaves_the_explorer_as_it_was(state):
    before = state.result
    state.configure(detector="yunet")
    assert "yunet" in state.message
    assert state.result is before
    assert state.scorer.detector == "centerface"


@pytest.mark.usefixtures("with_mtcnn")
def test_a_face_that_only_the_other_detector_sees_stays(scorer, mtcnn):
    """MTCNN searches for faces of at least 50 pixels; CenterFace sees smaller ones."""
    small = Image.new("RGB", (200, 200), (90, 100, 110))
    small.paste(Image.open(SAMPLES["collins"]).resize((67, 84)), (60, 60))
    assert mtcnn(np.asarray(small)) == []
    state = ExplorerState(scorer)
    state.image = small
    state.configure(detector="mtcnn")
    assert "No face was found" in state.message
    assert state.clean.face.detector == "centerface"


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.mark.usefixtures("with_mtcnn")
def test_the_command_takes_a_detector():
    options = ("--detector", "mtcnn", "--engine", "onnxruntime", "--format", "json")
    (row,) = json.loads(run("score", SAMPLES["collins"], *options).stdout)
    assert row["detector"] == "mtcnn"
    assert row["quality"] > 50


@pytest.mark.usefixtures("no_files")
@pytest.mark.parametrize(("name", "hint"), [("bogus", "yunet"), ("mtcnn", "eight files")])
def test_the_command_refuses_in_one_sentence(name, hint):
    result = run("score", SAMPLES["collins"], "--detector", name)
    assert result.exit_code == 2
    assert hint in result.output
    assert "Traceback" not in result.output


@pytest.mark.usefixtures("with_mtcnn")
def test_doctor_lists_the_detectors(monkeypatch, tmp_path):
    monkeypatch.setenv("SERFIQ_MODELS", str(tmp_path))
    result = run("doctor")
    assert result.exit_code == 0
    lines = [line.split() for line in result.output.splitlines() if "detector " in line]
    assert [line[1:3] for line in lines] == [
        ["centerface", "ok"],
        ["mtcnn", "ok"],
        ["yunet", "missing"],
    ]


@pytest.fixture
def yunet(tmp_path, monkeypatch):
    """OpenCV's class on the stand-in network."""
    monkeypatch.setenv("SERFIQ_MODELS", str(tmp_path))
    content, card = stand_in(), cards()["yunet"]
    digest = hashlib.sha256(content).hexdigest()
    file = replace(card.files[0], sha256=digest, bytes=len(content))
    card.folder.mkdir()
    (card.folder / file.name).write_bytes(content)
    return YuNet(replace(card, files=(file,)))


def test_yunets_rows_become_detections():
    row = np.array([[10, 20, 30, 40, *range(1, 11), 0.9]], np.float32)
    (found,) = parse(row, (2.0, 3.0))
    assert found.box == (20, 60, 80, 180)
    assert found.confidence == pytest.approx(0.9)
    np.testing.assert_allclose(found.landmarks[0], [1.5 * 2 - 0.5, 2.5 * 3 - 0.5])
    np.testing.assert_allclose(found.landmarks[4], [9.5 * 2 - 0.5, 10.5 * 3 - 0.5])
    assert parse(None, (1.0, 1.0)) == []


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_yunets_faces_lie_where_they_are(yunet, scale):
    """Stand-in: a red square of 8 pixels on the network's grid is a face about its corner."""
    photo = np.zeros((320 * scale, 640 * scale, 3), np.uint8)
    photo[80 * scale : 88 * scale, 160 * scale : 168 * scale, 0] = 255
    (found,) = yunet(photo)
    box = np.array([160 - WIDTH / 2, 80 - HEIGHT / 2, 160 + WIDTH / 2, 80 + HEIGHT / 2])
    np.testing.assert_allclose(found.box, box * scale, atol=0.01)
    marks = (POINTS + (160, 80) + 0.5) * scale - 0.5
    np.testing.assert_allclose(found.landmarks, marks, atol=0.01)
    assert found.landmarks[0, 0] < found.landmarks[1, 0]  # the first eye is on the image's left
    assert yunet(photo[..., ::-1].copy()) == []  # blue squares are no faces


def test_yunet_looks_again_at_half_the_size(yunet, monkeypatch):
    """Faces wider than 300 pixels are unknown to the network."""
    seen = []
    network = yunet._network
    monkeypatch.setattr(
        yunet,
        "_network",
        SimpleNamespace(detect=lambda x: seen.append(x.any(axis=2)) or network.detect(x)),
    )
    assert yunet(np.full((400, 800, 3), 50, np.uint8)) == []
    assert [(canvas.any(1).sum(), canvas.any(0).sum()) for canvas in seen] == [
        (320, 640),
        (160, 320),
    ]


@pytest.mark.usefixtures("anew")
def test_another_file_is_not_yunet(tmp_path, monkeypatch):
    monkeypatch.setenv("SERFIQ_MODELS", str(tmp_path))
    path = files.models_folder() / "yunet" / "face_detection_yunet_2023mar.onnx"
    path.parent.mkdir()
    path.write_bytes(stand_in())
    with pytest.raises(CorruptModel, match="8f2383e4dd3c"):
        open_detector("yunet")
