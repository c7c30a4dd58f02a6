"""The recipe's files: dlib's network read, faces and their views, the checkpoint, the measures.

Nothing here needs torch; what trains is in test_recipe.py.
"""

import json
import struct
import tomllib
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serfiq_widgets import Scorer, find_face, robustness
from serfiq_widgets.errors import BadSetting, CorruptModel
from serfiq_widgets.models import cards, files
from tools.train_mini import architecture, evaluate, export, faces
from tools.train_mini.dlib_weights import Stream, read_dlib

SAMPLES = Path(__file__).parents[1] / "sample_images"
BUNDLED = cards.MODELS / "mini-symbol.json"


def test_the_network_is_small_enough_to_bundle():
    assert architecture.multiply_adds() == pytest.approx(271e6, rel=0.01)  # its README's figure
    assert architecture.multiply_adds() <= architecture.MAX_MULTIPLY_ADDS


def test_the_written_graph_is_the_bundled_one():
    ours = {node["name"]: node for node in json.loads(export.symbol())["nodes"]}
    nodes = json.loads(BUNDLED.read_text())["nodes"]
    theirs = {node["name"]: node for node in nodes}
    assert set(ours) == set(theirs)
    names = list(ours)
    for name, node in theirs.items():
        assert ours[name]["op"] == node["op"]
        if node["op"] == "null":
            continue  # MXNet repeats a layer's settings at its arrays
        sources = [nodes[i]["name"] for i, *_ in node["inputs"]]
        assert [names[i] for i, *_ in ours[name]["inputs"]] == sources
        settings = {k: v for k, v in node.get("attrs", {}).items() if k != "momentum"}
        assert ours[name].get("attrs", {}) == settings


def test_a_checkpoint_written_anew_gives_the_same_embeddings(
    bundled_weights, sample_faces, tmp_path
):
    path = export.write_checkpoint(tmp_path, bundled_weights)
    some = [find_face(face, aligned=True) for face in sample_faces[:3]]
    np.testing.assert_allclose(
        Scorer(path).embed(some), Scorer("mini").embed(some), rtol=0, atol=1e-6
    )


@pytest.mark.usefixtures("mx")
def test_mxnet_reads_what_is_written(bundled_weights, sample_faces, tmp_path):
    path = export.write_checkpoint(tmp_path, bundled_weights)
    some = [find_face(face, aligned=True) for face in sample_faces[:3]]
    ours = Scorer(path, engine="onnxruntime").embed(some)
    np.testing.assert_allclose(Scorer(path, engine="mxnet").embed(some), ours, atol=1e-5)


def test_a_weight_that_float16_cannot_hold_is_named():
    with pytest.raises(BadSetting, match="arg:conv0_bias"):
        export.to_float16({"arg:conv0_bias": np.array([1e5], np.float32)})


def test_the_card_is_one_that_the_zoo_reads(bundled_weights, tmp_path):
    export.write_checkpoint(tmp_path, bundled_weights)
    path = export.write_card(tmp_path, {"alpha": 61.5, "r": 0.77, "figures": 'a "quoted" é'})
    (name, entries), *others = tomllib.loads(path.read_text(encoding="utf-8")).items()
    assert (name, others) == ("mini", [])
    card = cards.read_card(name, entries)
    assert (card.alpha, card.r, card.rate, card.figures) == (61.5, 0.77, 0.4, 'a "quoted" é')
    symbol, params = card.files
    assert files.is_genuine(tmp_path / symbol.name, symbol)
    assert files.is_genuine(tmp_path / params.name, params)
    assert params.sha256 == Scorer(tmp_path / "mini").network.sha256


def test_folders_and_zips_hold_the_same_faces(aligned_folder, tmp_path):
    archive = tmp_path / f"{aligned_folder.name}.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in aligned_folder.iterdir():
            file.write(path, path.name)
    loose, packed = faces.open_faces([aligned_folder]), faces.open_faces([archive])
    assert len(loose) == len(packed) == len(list(aligned_folder.iterdir()))
    for one, other in zip(loose, packed, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["lfw/0.png", "Jane_Doe/Jane_Doe_0001.png"])
def test_lfw_is_refused(sample_faces, tmp_path, name):
    path = tmp_path / "faces" / name
    path.parent.mkdir(parents=True)
    Image.fromarray(sample_faces[0]).save(path)
    with pytest.raises(BadSetting, match="LFW"):
        faces.open_faces([tmp_path / "faces"])


def test_an_empty_folder_is_named(tmp_path):
    with pytest.raises(BadSetting, match="holds no image"):
        faces.open_faces([tmp_path])


@pytest.mark.parametrize("ruined", [False, True])
def test_a_view_depends_on_its_number_alone(aligned_folder, ruined):
    first = faces.Views(faces.open_faces([aligned_folder]), ruined, seed=3)
    forward = [first[i] for i in range(40)]
    second = faces.Views(faces.open_faces([aligned_folder]), ruined, seed=3)
    for i in reversed(range(40)):
        np.testing.assert_array_equal(second[i], forward[i])
        assert forward[i].shape == (112, 112, 3)
        assert forward[i].dtype == np.uint8
    other = faces.Views(first.faces, ruined, seed=4)
    assert any((other[i] != forward[i]).any() for i in range(40))


def test_every_face_comes_once_before_any_comes_again(aligned_folder):
    views = faces.Views(faces.open_faces([aligned_folder]), ruined=False)
    count = len(views.faces)
    for epoch in range(3):
        seen = {views._face(epoch * count + i) for i in range(count)}
        assert seen == set(range(count))


def test_true_accept_rate_by_hand():
    genuine = np.array([True] * 4 + [False] * 1000)
    scores = np.concatenate([[0.9, 0.8, 0.5, 0.1], np.linspace(-1, 0.6, 1000)]).astype("f4")
    # one of a thousand impostors may pass: the threshold is the second highest, just below 0.6
    assert evaluate.true_accept_rate(scores, genuine) == 0.5


def test_discarding_the_one_bad_image_mends_the_error():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(100), 2)
    embeddings = robustness.normalise(
        (rng.normal(size=(100, 64))[people] + 0.1 * rng.normal(size=(200, 64))).astype("f4")
    )
    embeddings[0] = robustness.normalise(rng.normal(size=(1, 64)).astype("f4"))
    quality = np.arange(200.0)
    curves = evaluate.error_versus_discard(embeddings, people, {"it": quality, "not": -quality})
    assert curves["it"] == [0.01, 0, 0, 0, 0, 0]  # one of 100 genuine pairs, until it is gone
    assert curves["not"] == sorted(curves["not"])
    assert curves["not"][-1] > 0.01  # it stays to the end, among ever fewer


def test_the_stretch_puts_both_medians_in_their_places():
    clean, masked = np.array([0.7, 0.78, 0.8]), np.array([0.6, 0.7, 0.75])
    alpha, r = evaluate.stretch(clean, masked)
    assert robustness.scaled_score(0.78, alpha, r) == pytest.approx(0.74)
    assert robustness.scaled_score(0.70, alpha, r) == pytest.approx(0.07)


FIGURES = evaluate.Figures(0.97, 0.97, 0.9, [0.08] * 6, [0.08] * 6, {}, 60.0, 0.765)


@pytest.mark.parametrize(
    ("change", "better"),
    [
        ({}, False),
        ({"accuracy": 0.98, "tar": 0.91}, False),
        ({"accuracy": 0.98, "tar": 0.91, "passes": [0.07] * 6, "limit": [0.07] * 6}, True),
        ({"accuracy": 0.98, "tar": 0.90, "passes": [0.07] * 6, "limit": [0.07] * 6}, False),
        ({"accuracy": 0.98, "tar": 0.91, "passes": [0.0] * 5 + [0.1], "limit": [0.0] * 6}, False),
    ],
)
def test_better_is_better_in_everything(change, better):
    assert replace(FIGURES, **change).better(FIGURES) is better


def test_a_network_is_measured_on_folders_of_people(tmp_path):
    for name in ("collins", "hopper"):
        (tmp_path / name).mkdir()
        for i, path in enumerate(sorted(SAMPLES.glob(f"{name}*.jpg")), 1):
            face = find_face(path).pixels
            Image.fromarray(face).save(tmp_path / name / f"{name}_{i:04d}.jpg", quality=95)
    pairs = tmp_path / "pairs.txt"
    pairs.write_text(
        "collins\t1\t2\nhopper\t1\t2\ncollins\t1\thopper\t1\ncollins\t2\thopper\t2\n" * 10
    )
    figures = evaluate.evaluate("mini", tmp_path, pairs)
    assert 0.5 <= figures.accuracy <= 1
    assert len(figures.passes) == len(figures.limit) == len(evaluate.DISCARDS)
    assert figures.passes[0] == figures.limit[0]  # nothing discarded: no measure of quality in it
    assert figures.falls["mask"] > 0.5
    assert f"TAR at FAR 1e-3 {figures.tar:.4f}" in figures.words()


def number(value):
    """A whole number as dlib writes it."""
    size = max(1, (abs(value).bit_length() + 7) // 8)
    return bytes([size | (0x80 if value < 0 else 0)]) + abs(value).to_bytes(size, "little")


def test_dlibs_numbers():
    stream = Stream(number(-300) + number(0) + number(2**40) + number(5) + number(-3), "x")
    assert [stream.whole() for _ in range(3)] == [-300, 0, 2**40]
    assert stream.real() == 5 / 8
    tensor = b"".join(map(number, (2, 1, 2, 1, 2))) + struct.pack("<4f", 1, 2, 3, 4)
    np.testing.assert_array_equal(Stream(tensor, "x").tensor().reshape(-1), [1, 2, 3, 4])


@pytest.mark.parametrize(
    "content", [b"", b"\x09" + b"\0" * 9, b"\x02\x01", b"garbage", number(1) + number(2**40)]
)
def test_a_file_that_is_not_dlibs_is_named(tmp_path, content):
    path = tmp_path / "broken.dat"
    path.write_bytes(content)
    with pytest.raises(CorruptModel, match=r"broken\.dat"):
        read_dlib(path)
