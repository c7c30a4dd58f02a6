"""The recipe in torch: the student and its export, the closed form, labels, stages, commands.

Training needs torch, and dlib's weights the package face_recognition_models; what needs them skips
without.
"""

import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from serfiq_widgets import Scorer, find_face, robustness
from serfiq_widgets.errors import BadSetting, CorruptModel, SerfiqError
from serfiq_widgets.models import cards
from tools.train_mini import architecture, export, faces
from tools.train_mini.dlib_weights import DlibWeights, find_dlib, read_dlib

BUNDLED = cards.MODELS / "mini-symbol.json"
HALF = float(np.finfo(np.float16).eps) / 2  # largest relative error of rounding to float16


@pytest.fixture(scope="module")
def dlib():
    try:
        return read_dlib()
    except SerfiqError as error:
        pytest.skip(str(error))


def test_dlibs_network_is_read_whole(dlib):
    assert len(dlib.convolutions) == 29
    assert dlib.averages == pytest.approx([122.782, 117.001, 104.298], abs=1e-3)
    assert dlib.embedding.shape == (128, 256)
    weights = sum(weight.size + bias.size for weight, bias in dlib.convolutions.values())
    assert weights + dlib.embedding.size == 5_607_488


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="torch, in which the recipe trains, is not here")


@pytest.fixture(scope="module")
def other_dlib():
    """Weights of dlib's shape, seeded at random: training goes on from the bundled network's."""
    rng = np.random.default_rng(0)

    def layer(filters, channels, kernel):
        weight = rng.normal(size=(filters, channels, kernel, kernel))
        scale = kernel * np.sqrt(channels)
        return (weight / scale).astype(np.float32), np.zeros(filters, np.float32)

    convolutions = {"conv0": layer(32, 3, 7)}
    channels = 32
    for unit in architecture.UNITS:
        convolutions[f"{unit.name}_conv1"] = layer(unit.filters, channels, 3)
        convolutions[f"{unit.name}_conv2"] = layer(unit.filters, unit.filters, 3)
        channels = unit.filters
    averages = np.array([122.782, 117.001, 104.298], np.float32)
    return DlibWeights(averages, convolutions, 0.005 * rng.normal(size=(128, 256)).astype("f4"))


@pytest.fixture
def student(torch, other_dlib, bundled_weights):
    from tools.train_mini.network import Student, from_arrays

    torch.manual_seed(0)
    student = Student(other_dlib)
    from_arrays(student, bundled_weights)
    return student.eval()


def as_input(torch, pixels):
    return torch.from_numpy(np.stack(pixels).transpose(0, 3, 1, 2).copy())


def unit_embeddings(torch, student, pixels):
    with torch.no_grad():
        vectors = student.embed(student.features(student.maps(as_input(torch, pixels))))
    return robustness.normalise(vectors.numpy())


def test_dlib_itself_gives_the_same_embedding(torch, dlib, sample_faces, monkeypatch):
    reference = pytest.importorskip("dlib", reason="dlib itself is not here")
    from tools.train_mini import network

    chips = np.random.default_rng(0).integers(0, 256, (2, 150, 150, 3), np.uint8)
    model = reference.face_recognition_model_v1(str(find_dlib()))
    theirs = np.array([model.compute_face_descriptor(chip) for chip in chips])
    student = network.Student(dlib).eval()
    # dlib is given its chips, so the student's own crop is left out
    monkeypatch.setattr(
        network.functional, "interpolate", lambda *_, **__: as_input(torch, chips).float()
    )
    with torch.no_grad():
        ours = student.dlib_embedding(student.maps(as_input(torch, sample_faces[:2])))
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)


def test_weights_go_in_and_out_unchanged(student, bundled_weights):
    from tools.train_mini.network import to_arrays

    out = to_arrays(student)
    assert set(out) == set(bundled_weights)
    for name, value in bundled_weights.items():
        # the normalisation is taken out of conv0 and folded in again: a float32 rounding
        np.testing.assert_allclose(out[name], value, rtol=1e-6, atol=1e-6, err_msg=name)


def test_other_weights_are_refused(student, bundled_weights):
    from tools.train_mini.network import from_arrays

    with pytest.raises(CorruptModel, match="conv0_weight"):
        from_arrays(
            student, {**bundled_weights, "arg:conv0_weight": np.zeros((1, 3, 7, 7), np.float32)}
        )
    name = "arg:stage2_unit1_sc_weight"
    with pytest.raises(CorruptModel, match=name):
        from_arrays(student, {**bundled_weights, name: bundled_weights[name] * 2})


def test_the_student_is_the_bundled_network(torch, student, sample_faces):
    some = [find_face(face, aligned=True) for face in sample_faces]
    np.testing.assert_allclose(
        unit_embeddings(torch, student, sample_faces), Scorer("mini").embed(some), atol=1e-5
    )


def test_the_export_is_the_student_within_float16(
    torch, student, bundled_weights, sample_faces, tmp_path
):
    from tools.train_mini.network import from_arrays, to_arrays

    rng = np.random.default_rng(0)
    shaken = {
        name: value if "_sc_" in name else value * (1 + rng.uniform(0, 1e-3, value.shape))
        for name, value in bundled_weights.items()
    }
    from_arrays(student, {**shaken, "arg:fc1_gamma": bundled_weights["arg:fc1_gamma"]})
    arrays = to_arrays(student)
    written = Scorer(export.write_checkpoint(tmp_path, arrays))
    theirs = written.embed([find_face(face, aligned=True) for face in sample_faces])
    apart = np.linalg.norm(unit_embeddings(torch, student, sample_faces) - theirs, axis=1)
    # every weight is off by at most HALF of itself, at random; 30 layers add up as a random walk
    assert HALF / 100 < apart.max() < np.sqrt(30) * HALF
    from_arrays(student, export.to_float16(arrays))
    np.testing.assert_allclose(unit_embeddings(torch, student, sample_faces), theirs, atol=1e-5)


def test_the_limit_is_the_librarys_and_has_a_slope(torch, student, sample_faces):
    from tools.train_mini.network import limit_distance

    with torch.no_grad():
        features = student.features(student.maps(as_input(torch, sample_faces)))
    features.requires_grad_()
    weight, bias = student.head()
    ours = limit_distance(features, weight, bias)
    head = Scorer("mini").network.head
    np.testing.assert_allclose(weight.detach().numpy(), head.weight, atol=1e-6)
    theirs = robustness.limit_distances(
        features.detach().numpy(), head.weight, head.bias, architecture.RATE
    )
    np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=1e-5)
    ours[0].backward()
    step = 1e-2 * features.grad[0] / features.grad[0].norm()
    with torch.no_grad():
        moved = limit_distance(features[:1] + step, weight, bias) - ours[0]
    assert float(moved) == pytest.approx(1e-2 * float(features.grad[0].norm()), rel=0.05)


def test_the_heads_start_is_the_best_under_dropout(torch, student):
    from tools.train_mini.network import solve_head

    maps = torch.rand(1500, 256, 2, 2)
    maps[:, 7] = 0  # dead, as some maps of real networks are
    aim = torch.tanh(maps.flatten(1) @ torch.randn(1024, 128) / 10) + 0.3
    solve_head(student, maps, aim)
    features = student.features(maps).detach()
    student.train()

    def cosine():
        with torch.no_grad():
            torch.manual_seed(1)
            found = torch.nn.functional.normalize(student.embed(features))
        return float((found * torch.nn.functional.normalize(aim)).sum(1).mean())

    solved = cosine()
    assert solved > 0.5  # of features that are independent, dropout leaves no more than 0.77
    centred = features - features.mean(0)
    plain = torch.linalg.lstsq(centred, aim - aim.mean(0)).solution.T
    student.pre_fc1.weight.data.copy_(plain)  # least squares that know nothing of dropout
    assert cosine() < solved


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize("length", [64, 200])
def test_teachers_of_any_length_keep_their_similarities(length):
    from tools.train_mini.labels import axes_for

    rng = np.random.default_rng(0)
    basis = rng.normal(size=(100, length)) if length > 128 else np.eye(length)
    embeddings = robustness.normalise((rng.normal(size=(300, len(basis))) @ basis).astype("f4"))
    turned = embeddings @ axes_for(embeddings)
    assert turned.shape == (300, 128)
    np.testing.assert_allclose(turned @ turned.T, embeddings @ embeddings.T, atol=1e-4)
    assert turned.std(axis=0).max() < 3 * turned.std(axis=0).min()  # no number stands still


def data_of(folder, other_dlib, torch, tmp_path, *, ruined, count=8):
    from tools.train_mini.labels import Teachers
    from tools.train_mini.train import Data

    views = faces.Views(faces.open_faces([folder]), ruined)
    teachers = Teachers(Scorer("mini", engine="onnxruntime"), other_dlib, torch.device("cpu"))
    labels = teachers.label_all(views, count, tmp_path / "labels")
    return Data(views, labels, views, labels)


def test_labels_are_kept_and_belong_to_their_views(torch, aligned_folder, other_dlib, tmp_path):
    data = data_of(aligned_folder, other_dlib, torch, tmp_path, ruined=True)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "labels").iterdir()}
    again = data_of(aligned_folder, other_dlib, torch, tmp_path, ruined=True)
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "labels").iterdir()}
    np.testing.assert_array_equal(again.labels.teacher, data.labels.teacher)
    scorer = Scorer("mini", engine="onnxruntime")
    face = find_face(data.views[5], aligned=True)
    np.testing.assert_allclose(data.labels.teacher[5], scorer.embed([face])[0], atol=1e-5)
    raw = robustness.raw_score(data.labels.distance[5])
    head = scorer.network.head
    features = scorer.features([face])
    (limit,) = robustness.limit_distances(features, head.weight, head.bias, scorer.rate)
    assert float(raw) == pytest.approx(float(robustness.raw_score(limit)), abs=1e-5)
    data_of(aligned_folder, other_dlib, torch, tmp_path, ruined=False)
    assert len(list((tmp_path / "labels").iterdir())) == 2 * len(kept)


def shortened(name, **numbers):
    from tools.train_mini.stages import STAGES

    return replace(STAGES[name], **{"batch": 4, "views": 8, "steps": 6, **numbers})


@pytest.mark.parametrize("name", ["embedding", "robustness"])
def test_a_resumed_run_equals_an_uninterrupted_one(
    torch, aligned_folder, other_dlib, bundled_weights, tmp_path, name
):
    from tools.train_mini.network import Student, from_arrays
    from tools.train_mini.train import Run, choose_device, train

    stage = shortened(name, steps=4)
    data = data_of(aligned_folder, other_dlib, torch, tmp_path, ruined=stage.ruined)

    def go(where, until=None):
        student = Student(other_dlib)
        from_arrays(student, bundled_weights)
        run = Run(tmp_path / where, device=choose_device("cpu"), bf16=False, every=2, until=until)
        trained = train(student, stage, data, run).state_dict()
        lines = (tmp_path / where / f"{name}.jsonl").read_text().splitlines()
        return trained, [json.loads(line) | {"seconds": 0} for line in lines]

    whole, curve = go("whole")
    go("parts", until=1)
    go("parts", until=3)
    resumed, pieces = go("parts")
    for key, value in whole.items():
        assert torch.equal(value, resumed[key]), key
    assert [line["step"] for line in pieces] == [1, 2, 3, 4]
    assert [line for line in pieces if line["step"] in (2, 4)] == curve
    norms = [key for key in whole if key.startswith(("bn1.", "fc1.")) and "num" not in key]
    before = Student(other_dlib)
    from_arrays(before, bundled_weights)
    still = [torch.equal(before.state_dict()[key], whole[key]) for key in norms]
    assert all(still) == stage.frozen
    with pytest.raises(BadSetting, match="other settings"):
        train(before, replace(stage, rate=1.0), data, Run(tmp_path / "parts", bf16=False))


def first_and_last(student, stage, data, folder):
    """Train a stage; return the first and the last line of its curve."""
    from tools.train_mini.train import Run, train

    run = Run(folder, bf16=False, every=stage.steps)
    train(student, stage, data, replace(run, until=1))
    train(student, stage, data, run)
    return map(json.loads, (folder / f"{stage.name}.jsonl").read_text().splitlines())


def test_the_embedding_stage_learns_a_batch(torch, aligned_folder, other_dlib, student, tmp_path):
    student.pre_fc1.reset_parameters()
    stage = shortened("embedding", batch=8, steps=15, rate=6e-4)
    data = data_of(aligned_folder, other_dlib, torch, tmp_path, ruined=False)
    first, last = first_and_last(student, stage, data, tmp_path)
    assert last["train"]["cosine"] < 0.85 * first["train"]["cosine"]
    assert last["train"]["similarity"] < 0.75 * first["train"]["similarity"]
    assert last["held out"]["cosine"] > first["held out"]["cosine"]


def test_the_robustness_stage_learns_a_batch(torch, aligned_folder, other_dlib, student, tmp_path):
    stage = shortened("robustness", batch=8, steps=10, rate=1e-3)
    data = data_of(aligned_folder, other_dlib, torch, tmp_path, ruined=True)
    # the student is the teacher here: what it thinks good shall become bad
    upside_down = replace(data.labels, distance=-data.labels.distance)
    data = replace(data, labels=upside_down, held_labels=upside_down)
    first, last = first_and_last(student, stage, data, tmp_path)
    assert last["train"]["limit"] < first["train"]["limit"] / 4
    assert first["held out"]["limit"] < 0.9 < last["held out"]["limit"]


@pytest.mark.usefixtures("torch", "dlib")
def test_the_commands_lead_to_a_checkpoint(sample_faces, tmp_path):
    from click.testing import CliRunner

    from tools.train_mini.__main__ import main

    folder = tmp_path / "faces"
    folder.mkdir()
    for i in range(200):  # enough names for some to be held out
        Image.fromarray(sample_faces[i % len(sample_faces)]).resize((32, 32)).save(
            folder / f"{i}.jpg"
        )
    settings = ["--faces", folder, "--teacher", BUNDLED, "--work", tmp_path / "work", "--fp32"]
    settings += ["--views", 8, "--batch", 4, "--steps", 2, "--device", "cpu"]
    for stage in ("robustness", "embedding", "robustness"):
        done = CliRunner().invoke(main, [stage, *map(str, settings)])
        if (tmp_path / "work" / "embedding.pt").is_file():
            assert done.exit_code == 0, done.output
        else:
            assert "train the embedding first" in str(done.exception)
    weights = tmp_path / "work" / "robustness.pt"
    done = CliRunner().invoke(main, ["export", str(weights), str(tmp_path / "made")])
    assert done.exit_code == 0, done.output
    card = tomllib.loads((tmp_path / "made" / "mini.toml").read_text())["mini"]
    assert f"Teachers: {BUNDLED.name}" in card["origin"]
    assert "200 faces of faces" in card["origin"]
    assert (
        0 < Scorer(tmp_path / "made" / "mini").limit(find_face(sample_faces[0], aligned=True)) < 1
    )
