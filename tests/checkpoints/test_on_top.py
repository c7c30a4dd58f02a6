"""On-top heads: files, the same numbers on every road, and training where torch is."""

import io
import json
import re
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from small_networks import matrices

from serfiq_widgets import Scorer, find_face
from serfiq_widgets import robustness as rb
from serfiq_widgets.checkpoints import on_top
from serfiq_widgets.cli.main import main
from serfiq_widgets.errors import BadSetting, CorruptModel
from serfiq_widgets.resources import sample_images


@pytest.fixture
def head_file(tmp_path):
    """A head on the bundled network, with random layers."""
    card = {"rate": 0.3, "alpha": 40.0, "r": 0.6, "population": "nobody", "base": "mini"}
    card["shift"] = 2.0
    path = tmp_path / "top.npz"
    path.write_bytes(on_top.to_bytes(on_top.from_matrices(matrices(), **card)))
    return path


def test_a_head_comes_back_as_it_was_saved(head_file):
    top = on_top.load(head_file)
    assert (top.rate, top.alpha, top.r) == (0.3, 40, 0.6)
    assert (top.population, top.base, top.head.shift) == ("nobody", "mini", 2)
    for layer, weight in zip(top.head.layers, matrices(), strict=True):
        np.testing.assert_array_equal(layer.weight, weight)
        assert layer.tanh
    assert (top.head.n_features, top.head.n_dimensions) == (128, 128)
    assert top.head.n_units == 128 + 24 + 40
    assert not top.head.is_affine


def by_hand(weights, x, mask, keep, shift):
    """The head as one would write it down."""
    start = 0
    for weight in weights:
        end = start + weight.shape[1]
        x = np.tanh(weight @ (mask[start:end] * (x + shift) / keep - shift))
        start, shift = end, 0
    return x


def test_a_pass_is_dropout_matrix_tanh_three_times(head_file):
    top = on_top.load(head_file)
    x = np.random.default_rng(1).normal(size=128).astype("f4")
    masks = rb.draw_masks(5, top.head.n_units, 0.3, seed=4)
    ours = top.head(x, masks, 0.7)
    for row, mask in zip(ours, masks, strict=True):
        # float32 against float64 through three layers
        np.testing.assert_allclose(row, by_hand(matrices(), x, mask, 0.7, 2), atol=1e-5)


@pytest.mark.parametrize("engine", ["onnxruntime", "mxnet"])
def test_images_and_their_embeddings_get_the_same_scores(head_file, scorer, engine, request):
    if engine == "mxnet":
        request.getfixturevalue("mx")
    top = Scorer(head_file, engine=engine)
    faces = [find_face(path) for path in sample_images()[:3]]
    raw = scorer.network.head(scorer.features(faces))
    scores = on_top.score_embeddings(on_top.load(head_file), raw, passes=60)
    for face, one, quality in zip(faces, scores["raw"], scores["quality"], strict=True):
        result = top.score(face, passes=60)
        assert result.raw == pytest.approx(one, abs=1e-5)
        assert abs(result.quality - quality) <= 1  # rounded from numbers that differ by 1e-5
        assert np.isnan(result.limit)
        assert result.best == result.raw
        assert (result.rate, result.alpha, result.trained_with_dropout) == (0.3, 40, True)


def test_what_an_on_top_head_is_traced_to(head_file, scorer):
    top = Scorer(head_file)
    assert top.card.title == "on-top head on mini"
    assert top.card.population == "nobody"
    assert top.network.sha256 not in (scorer.network.sha256, on_top.load(head_file).sha256)
    assert any("no control variates" in note for note in top.card.notes)
    with pytest.raises(BadSetting, match="no closed form"):
        top.limit(find_face(sample_images()[0]))


def test_fewer_passes_are_a_prefix_of_more(head_file):
    scorer = Scorer(head_file, engine="onnxruntime")
    face = find_face(sample_images()[0])
    many, few = scorer.score(face, 50), scorer.score(face, 20)
    # lengths of 1: a batch of another size may round the last bits otherwise
    np.testing.assert_allclose(many.at(20).embeddings, few.embeddings, rtol=0, atol=1e-6)
    assert many.at(20).raw == pytest.approx(few.raw, rel=1e-6)


def test_a_short_embedding_scatters_more(head_file):
    top = on_top.load(head_file)
    long = np.random.default_rng(5).normal(size=(20, 128)) * 3
    scores = [on_top.score_embeddings(top, long * share)["raw"] for share in (1, 0.5, 0.2)]
    assert (scores[0] > scores[1]).all()
    assert (scores[1] > scores[2]).all()


def test_a_head_on_a_head_is_refused(head_file):
    with pytest.raises(BadSetting, match="is another head"):
        Scorer(head_file, card={"base": str(head_file)})


def test_the_explorer_shows_it(head_file):
    pytest.importorskip("ipywidgets")
    from serfiq_widgets import Explorer, heatmap
    from serfiq_widgets.figures import captions

    explorer = Explorer(model=head_file)
    shown = captions.filled(captions.NUMBERS, explorer._numbers.numbers, 100)
    assert "none: several layers" in shown
    assert f">{explorer.quality}<" in shown
    before = explorer.result.raw
    explorer.ruin = explorer.ruin.replace(blur=5)
    assert explorer.result.raw != before
    change = heatmap(explorer.state.scorer, explorer.result.face, places=3)
    assert np.isfinite(change).all()
    assert np.ptp(change) > 0
    assert explorer.state.message == ""


def test_another_base_can_be_named(head_file, tmp_path):
    top = on_top.from_matrices(matrices(), rate=0.3, alpha=40.0, r=0.6, shift=2.0)
    alone = tmp_path / "alone.npz"
    alone.write_bytes(on_top.to_bytes(top))
    with pytest.raises(BadSetting, match="does not say whose embeddings it takes"):
        Scorer(alone)
    face = find_face(sample_images()[0])
    named = Scorer(alone, card={"base": "mini"})
    assert named.score(face, 30).raw == pytest.approx(
        Scorer(head_file).score(face, 30).raw, rel=1e-6
    )


def test_a_base_with_other_weights_is_refused(tmp_path):
    card = {"rate": 0.3, "alpha": 40.0, "r": 0.6, "base": "mini", "base_sha256": "0" * 64}
    (tmp_path / "top.npz").write_bytes(on_top.to_bytes(on_top.from_matrices(matrices(), **card)))
    with pytest.raises(CorruptModel, match="trained on other weights"):
        Scorer(tmp_path / "top.npz")


def test_a_base_of_another_length_is_refused(tmp_path):
    card = {"rate": 0.3, "alpha": 40.0, "r": 0.6, "base": "mini"}
    (tmp_path / "top.npz").write_bytes(
        on_top.to_bytes(on_top.from_matrices(matrices((64, 8, 64)), **card))
    )
    with pytest.raises(CorruptModel, match="do not fit"):
        Scorer(tmp_path / "top.npz")


def written(path, weights, card="{}"):
    arrays = {f"weight{i}": weight for i, weight in enumerate(weights)}
    np.savez(path, card=np.array(card), **arrays)


SOUND = '{"rate": 0.5, "alpha": 10, "r": 0.5}'
BROKEN = {
    "no archive": lambda p: p.write_bytes(b"PK nothing"),
    "empty": lambda p: p.write_bytes(b""),
    "no card": lambda p: np.savez(p, weight0=np.eye(3, dtype="f4")),
    "no layers": lambda p: written(p, []),
    "layers that do not fit": lambda p: written(p, [np.eye(3), np.eye(4)], SOUND),
    "a layer that is no matrix": lambda p: written(p, [np.ones(3)], SOUND),
    "not finite": lambda p: written(p, [np.full((3, 3), np.nan)], SOUND),
    "text for weights": lambda p: written(p, [np.array([["a"]])], SOUND),
    "a card of nonsense": lambda p: written(p, [np.eye(3)], "[" * 10_000),
    "an unknown entry": lambda p: written(p, [np.eye(3)], '{"speed": 3}'),
    "a rate of 1": lambda p: written(p, [np.eye(3)], '{"rate": 1}'),
    "a shift that is text": lambda p: written(p, [np.eye(3)], '{"shift": "2"}'),
    "a huge shift": lambda p: written(p, [np.eye(3)], '{"shift": 1e300}'),
    "a card that is a list": lambda p: written(p, [np.eye(3)], "[1]"),
    "a base that is no text": lambda p: written(p, [np.eye(3)], '{"base": 3}'),
    "objects": lambda p: np.savez(p, card=np.array({"a": 1}, dtype=object)),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_head_is_refused_by_name(tmp_path, case):
    path = tmp_path / "top.npz"
    BROKEN[case](path)
    with pytest.raises(CorruptModel, match=r"'top\.npz' is not an on-top head"):
        on_top.load(path)


def test_an_array_that_says_it_is_huge(tmp_path):
    path = tmp_path / "top.npz"
    head = io.BytesIO()
    settings = {"descr": "<f4", "fortran_order": False, "shape": (2**20, 2**22)}
    np.lib.format.write_array_header_1_0(head, settings)
    with zipfile.ZipFile(path, "w") as archive:
        card = io.BytesIO()
        np.save(card, np.array(SOUND))
        archive.writestr("card.npy", card.getvalue())
        archive.writestr("weight0.npy", head.getvalue() + bytes(64))
    with pytest.raises(CorruptModel, match=r"'top\.npz' is not an on-top head"):
        on_top.load(path)


def test_only_a_head_has_a_base():
    with pytest.raises(BadSetting, match="Only an on-top head has a base"):
        Scorer(card={"base": "mini"})


def test_a_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "top.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weight0.npy", bytes(on_top.MAX_BYTES + 1))
    with pytest.raises(CorruptModel, match="too large"):
        on_top.load(path)


@pytest.mark.parametrize(
    ("embeddings", "says"), [(np.ones((3, 5)), "N, 128"), (np.full((1, 128), np.inf), "not finite")]
)
def test_embeddings_that_do_not_fit(head_file, embeddings, says):
    with pytest.raises(BadSetting, match=says):
        on_top.score_embeddings(on_top.load(head_file), embeddings)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_scores_of_embeddings_on_the_command_line(head_file, tmp_path):
    vectors = np.random.default_rng(2).normal(size=(4, 128)).astype("f4")
    np.save(tmp_path / "e.npy", vectors)
    np.savetxt(tmp_path / "e.csv", vectors, delimiter=",")
    expected = on_top.score_embeddings(on_top.load(head_file), vectors)["raw"]
    for name in ("e.npy", "e.csv"):
        result = run("score-embeddings", head_file, tmp_path / name, "--format", "json")
        assert result.exit_code == 0, result.output
        rows = json.loads(result.output)
        assert [row["raw"] for row in rows] == pytest.approx(expected, abs=1e-6)
    result = run("score-embeddings", head_file, tmp_path / "e.npy")
    assert result.output.splitlines()[0] == "row,raw,scaled,quality"
    (tmp_path / "bad.csv").write_text("a,b\n")
    result = run("score-embeddings", head_file, tmp_path / "bad.csv")
    assert result.exit_code == 2
    assert "'bad.csv' contains no embeddings" in result.output


def people(count=6, each=12, n=16, seed=0):
    """Embeddings around one direction per person."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count, n))
    labels = np.repeat(np.arange(count), each)
    points = centres[labels] + 0.3 * rng.normal(size=(len(labels), n))
    return points.astype("f4"), [f"person {label}" for label in labels]


def test_training_tells_people_apart_and_is_repeatable():
    pytest.importorskip("torch")
    from serfiq_widgets.engines.torch_training import train

    points, labels = people()
    losses = []
    settings = {"hidden": (12, 20), "rate": 0.02, "epochs": 100, "seed": 3}
    weights, shift = train(points, labels, **settings, progress=lambda _, loss: losses.append(loss))
    assert shift == pytest.approx(6 * np.sqrt(np.mean(points**2)), rel=1e-5)
    assert losses[-1] < 0.5 * np.log(6)  # guessing among six people costs log 6
    assert [w.shape for w in weights] == [(12, 16), (20, 12), (16, 20)]
    for once, again in zip(weights, train(points, labels, **settings)[0], strict=True):
        # every epoch multiplies what float32 rounds
        np.testing.assert_allclose(once, again, rtol=0, atol=1e-3 * np.abs(once).max())


def test_training_says_what_it_lacks():
    pytest.importorskip("torch")
    from serfiq_widgets.engines.torch_training import train

    points, labels = people()
    settings = {"hidden": (4,), "rate": 0.5, "epochs": 1}
    with pytest.raises(BadSetting, match="72 embeddings, but 71 labels"):
        train(points, labels[1:], **settings)
    with pytest.raises(BadSetting, match="two people with two images"):
        train(points, [str(i) for i in range(72)], **settings)


def test_the_readmes_commands_lead_from_people_to_scores(tmp_path, lfw, monkeypatch):
    pytest.importorskip("torch")
    several = [p for p in sorted(lfw.iterdir()) if p.is_dir() and len(list(p.iterdir())) > 3]
    for person in several[:8]:
        (tmp_path / "people" / person.name).mkdir(parents=True)
        for path in sorted(person.iterdir())[:4]:
            (tmp_path / "people" / person.name / path.name).write_bytes(path.read_bytes())
    (tmp_path / "sample_images").symlink_to(sample_images()[0].parent)
    monkeypatch.chdir(tmp_path)
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    (block,) = (
        b
        for b in re.findall(r"^```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
        if "on-top" in b
    )
    done = [run(*shlex.split(line, comments=True)[1:]) for line in block.splitlines()]
    for result in done:
        assert result.exit_code == 0, result.output
    assert np.load("e.npy").shape == (32, 128)
    assert Path("people.txt").read_text().splitlines().count(several[0].name) == 4
    assert on_top.load("top.npz").population.startswith("32 images of 8 people")
    assert "hopper.jpg" in done[2].output
    assert len(done[3].output.splitlines()) == 1 + 32
