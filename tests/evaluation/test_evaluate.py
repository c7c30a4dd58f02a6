"""`serfiq evaluate`, the bundled table, its pictures, and the explorer of an evaluation."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

pytest.importorskip("ipywidgets")

from serfiq_widgets import EvaluationExplorer, SerfiqError, figures
from serfiq_widgets.cli.main import main
from serfiq_widgets.evaluation import accuracy, compare_all, det, evaluate, fnmr_at, load
from serfiq_widgets.evaluation.measure import measure
from serfiq_widgets.evaluation.readers import Images
from serfiq_widgets.resources import bundled, sample_images
from serfiq_widgets.widgets.evaluation_state import EvaluationState

QUALITIES = ["controlled", "serfiq", "limit", "norm", "sharpness", "brightness", "random", "oracle"]
DOCS = Path(__file__).parents[2] / "docs" / "evaluation.md"


def run(*arguments):
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


def record(*arguments):
    result = run(*arguments, "--json", "--draws", 20)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def people(sample_faces, tmp_path_factory):
    """Ten aligned faces of two people, named as in LFW."""
    folder = tmp_path_factory.mktemp("people")
    counts = {}
    for path, face in zip(sorted(sample_images()), sample_faces, strict=True):
        name = path.stem.partition("_")[0]
        counts[name] = counts.get(name, 0) + 1
        (folder / name).mkdir(exist_ok=True)
        Image.fromarray(face).save(folder / name / f"{name}_{counts[name]:04}.jpg", quality=98)
    return folder


@pytest.fixture(scope="module")
def measured(people, scorer):
    return measure(scorer, people, aligned=True)


@pytest.fixture(scope="module")
def table():
    return load(bundled()).with_baselines()


def test_a_folder_is_evaluated_as_the_library_does(people, measured):
    said = record(people, "--aligned", "--fmr", 0.04, "--engine", "onnxruntime")
    assert (said["images"], said["people"]) == (10, 2)
    assert (said["genuine"], said["impostor"]) == (20, 25)
    assert (said["model"], said["passes"], said["fmr"]) == ("mini", 100, 0.04)
    assert list(said["qualities"]) == QUALITIES
    ours = evaluate(measured.table().with_baselines(0.04), 0.04, draws=0)
    assert said["threshold"] == pytest.approx(ours.threshold)
    for name, curve in ours.curves.items():
        column = said["qualities"][name]
        assert column["discard"] == [0, 0.05, 0.1, 0.2, 0.3, 0.5]
        assert column["fnmr"] == pytest.approx(curve.at(ours.shares))
        assert column["pauc"]["0.3"] == pytest.approx(curve.pauc(0.3))
        assert len(column["fnmr_band"]) == 6


def test_bad_images_are_named_and_left_out(people, tmp_path):
    folder = tmp_path / "copy"
    for path in people.rglob("*.jpg"):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        (folder / path.parent.name / path.name).write_bytes(path.read_bytes())
    (folder / "hopper" / "broken.jpg").write_bytes(b"no image")
    result = run(folder, "--aligned", "--discard", 0.2, "--draws", 0)
    assert result.exit_code == 0
    assert "1 images could not be used" in result.stderr
    assert "broken.jpg" in result.stderr
    assert "10 images of 2 people" in result.stdout
    assert re.search(r"discarded +0% +20% ", result.stdout)


def test_rivals_are_joined_by_path(people, tmp_path):
    pytest.importorskip("pandas")
    images = sorted(people.rglob("*.jpg"))
    spelled = [str(images[0]), images[1].relative_to(people).as_posix(), images[2].name]
    lines = [f"{path},{i},7,{-i}" for i, path in enumerate(spelled)]
    file = tmp_path / "rival.csv"
    file.write_text("path,theirs,seed,limit\n" + "\n".join(lines))
    result = run(people, "--aligned", "--scores", file, "--json", "--fmr", 0.5, "--draws", 0)
    assert "7 images have no row in rival.csv" in result.stderr
    named = list(json.loads(result.stdout)["qualities"])
    assert named == [*QUALITIES[:6], "theirs", "limit (rival)", "random", "oracle"]
    file.write_text("path,theirs\nsomewhere/else.jpg,3\n")
    result = run(people, "--aligned", "--scores", file)
    assert result.exit_code == 2
    assert "No path in 'rival' is one of the images" in result.stderr
    file.write_text("image,theirs\na,3\n")
    assert "no column 'path'" in run(people, "--aligned", "--scores", file).stderr


def test_images_are_found_however_a_file_names_them(tmp_path):
    known = Images(["a/1.jpg", "b/1.jpg", "b/2.jpg"], tmp_path)
    assert known.find("a/1.jpg") == 0
    assert known.find(str(tmp_path / "b" / "1.jpg")) == 1
    assert known.find("b\\2.jpg") == known.find("elsewhere/2.jpg") == 2
    assert known.find("1.jpg") == -1  # two images are called so


def test_embeddings_and_labels_are_enough(measured, tmp_path):
    out, labels = tmp_path / "e.npy", tmp_path / "l.txt"
    np.save(out, measured.embeddings)
    labels.write_text("\n".join(measured.people) + "\n")
    said = record("--embeddings", out, "--labels", labels, "--fmr", 0.04)
    whole = evaluate(measured.table(), 0.04, draws=0)
    assert said["threshold"] == pytest.approx(whole.threshold)
    assert list(said["qualities"]) == ["norm", "random", "oracle"]
    pytest.importorskip("pandas")
    scores = tmp_path / "s.csv"
    scores.write_text("quality_of_mine\n" + "\n".join(map(str, range(10))))
    more = record("--embeddings", out, "--labels", labels, "--scores", scores)
    assert "quality_of_mine" in more["qualities"]
    scores.write_text("quality_of_mine\n1\n")
    assert (
        "1 rows, but there are 10 images"
        in run("--embeddings", out, "--labels", labels, "--scores", scores).stderr
    )
    labels.write_text("one\n")
    result = run("--embeddings", out, "--labels", labels)
    assert "10 embeddings, but there are 1 labels" in result.stderr
    assert result.exit_code == 2
    assert "--labels FILE" in run("--embeddings", out).stderr


def test_an_archive_of_embeddings_names_its_images(measured, tmp_path):
    pytest.importorskip("pandas")
    file, scores = tmp_path / "e.npz", tmp_path / "s.csv"
    arrays = {"labels": measured.people, "paths": measured.names}
    np.savez(file, embeddings=measured.embeddings, **arrays)
    scores.write_text("path,theirs\n" + "\n".join(f"{name},1" for name in measured.names))
    said = record("--embeddings", file, "--scores", scores)
    assert list(said["qualities"]) == ["norm", "theirs", "random", "oracle"]
    np.savez(file, vectors=measured.embeddings)
    assert "no array 'embeddings'" in run("--embeddings", file).stderr
    file.write_bytes(b"no archive")
    assert "'e.npz' cannot be read" in run("--embeddings", file).stderr


def test_listed_pairs_give_the_accuracy(people, measured, tmp_path):
    file = tmp_path / "pairs.txt"
    file.write_text("collins\t1\t2\ncollins\t1\t3\ncollins\t2\thopper\t1\nhopper\t1\tcollins\t3\n")
    said = record(people, "--aligned", "--pairs", file)
    assert (said["genuine"], said["impostor"]) == (2, 2)
    unit = measured.embeddings / np.linalg.norm(measured.embeddings, axis=1, keepdims=True)
    at = {name: i for i, name in enumerate(measured.names)}
    c1, c2, c3, h1 = (
        unit[at[f"{name}/{name}_000{i}.jpg"]]
        for name, i in (("collins", 1), ("collins", 2), ("collins", 3), ("hopper", 1))
    )
    scores = [c1 @ c2, c1 @ c3, c2 @ h1, h1 @ c3]
    assert said["accuracy"]["mean"] == accuracy(scores, [1, 1, 0, 0]).mean
    file.write_text("collins\t1\t99\n")
    result = run(people, "--aligned", "--pairs", file)
    assert "collins_0099.jpg" in result.stderr
    pytest.importorskip("pandas")
    table = tmp_path / "pairs.csv"
    table.write_text(
        "path_a,path_b\ncollins_0001.jpg,collins_0002.jpg\ncollins_0001.jpg,hopper_0001.jpg\n"
    )
    assert record(people, "--aligned", "--pairs", table)["genuine"] == 1


def test_scored_pairs_need_no_image(tmp_path):
    pytest.importorskip("pandas")
    file, rival = tmp_path / "pairs.csv", tmp_path / "rival.csv"
    file.write_text("path_a,path_b,score,genuine\na,b,0.9,1\nc,d,0.2,1\na,c,0.3,0\n")
    rival.write_text("path,q\na,4\nb,3\nc,1\nd,2\n")
    said = record("--pairs", file, "--scores", rival, "--fmr", 0.5, "--discard", 0.25)
    assert said["fnmr"] == 0.5
    assert said["qualities"]["q"]["fnmr"] == [0.5, 0]  # without c
    file.write_text("path_a,path_b,genuine\na,b,1\n")
    assert "no column 'score'" in run("--pairs", file).stderr


def test_a_saved_evaluation_is_evaluated_again_and_drawn(people, tmp_path):
    file, page = tmp_path / "saved.npz", tmp_path / "page.html"
    first = record(people, "--aligned", "--name", "two people", "--save", file)
    again = record(file, "--plot", page)
    assert again["data"] == "two people"
    assert again["fnmr"] == first["fnmr"]
    text = page.read_text()
    assert text.count("two people: 10 images of 2 people, 20 genuine and 25 impostor") == 4
    assert b"hopper_" not in file.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Name a folder"),
        (("--labels", __file__), "needs --embeddings"),
        (("--embeddings", __file__, "--labels", __file__, "--pairs", __file__), "excludes a"),
        ((__file__,), "is no saved evaluation"),
        ((Path(__file__).parent, "--fmr", "0"), "fmr"),
        ((Path(__file__).parent, "--plot", "page.txt"), "ends in .html"),
        ((bundled(), "--threshold", "re-derived"), "keep the threshold fixed"),
    ],
)
def test_what_cannot_be_evaluated_is_said(arguments, words):
    result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr


# The bundled table


def test_the_bundled_table_holds_numbers_alone(table):
    assert bundled().stat().st_size < 1_000_000
    assert table.names == ()
    with np.load(bundled(), allow_pickle=False) as file:
        assert all(array.dtype.kind in "uif" for name, array in file.items() if name != "about")
        assert {array.ndim for array in file.values()} <= {0, 1}  # no embedding


@pytest.mark.parametrize("score", ["controlled", "serfiq", "limit"])
def test_on_the_bundled_table_the_score_deserves_trust(table, score):
    result = evaluate(table, draws=100)
    curve = result.curves[score].at(result.shares)
    assert (np.diff(curve) < 0).all()
    for rival in ("norm", "sharpness", "brightness", "random"):
        _, _, high = result.difference(score, rival)
        assert high < 0, rival
    _, _, high = result.difference(score, "serfiq")
    assert high >= 0  # none is worse than the published score within the band
    assert result.curves[score].pauc(0.3) <= result.curves["serfiq"].pauc(0.3)


def test_the_documents_figures_are_the_tables(table):
    text = DOCS.read_text().partition("### mini")[2].partition("### ")[0]
    result = evaluate(table, draws=0)
    rows = re.findall(r"^\| (\w+) \| ([\d. |]+) \|", text, re.MULTILINE)
    assert [name for name, _ in rows] == 2 * list(result.curves)
    count = len(result.curves)
    for place, (name, cells) in enumerate(rows):
        curves = result.balanced if place < count else result.curves
        *fnmr, pauc = map(float, cells.split("|"))
        wanted = curves[name].at([0, 0.05, 0.1, 0.2, 0.3, 0.5])
        # four digits are told, and scores are kept in steps: a few comparisons of 212,497
        assert fnmr == pytest.approx(wanted, abs=1e-4)
        assert pauc == pytest.approx(curves[name].pauc(0.3), abs=1e-4)


@pytest.mark.slow
def test_the_documents_python_says_what_the_document_says(capsys):
    text = DOCS.read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    exec(compile(code, DOCS.name, "exec"), {})  # noqa: S102  # our own document
    *differences, last = capsys.readouterr().out.splitlines()
    rows = dict(re.findall(r"^\| (\w+) \| .* \| (.*\)) \|$", text, re.MULTILINE))
    for line in differences:
        rival, *numbers = re.findall(r"[a-z]+|[-+]?[\d.]+(?:e-\d+)?", line)
        told = re.findall(r"[-+][\d.]+", rows[rival].replace("\u2212", "-"))
        assert list(map(float, told)) == pytest.approx(list(map(float, numbers)), abs=2e-4)
    share, fnmr = map(float, last.split())
    assert f"{share:.0%}".replace("%", " %") in text
    assert fnmr == pytest.approx(0.1117, abs=1e-4)


# Pictures


def test_curves_bands_and_the_mark_are_the_librarys(table):
    result = evaluate(table, draws=10, columns=["serfiq", "random"])
    figure = figures.discard_figure(
        result.curves, 0.5, share=0.3, chosen="random", bands=result.bands
    )
    band, serfiq, random, mark = figure.data
    assert band.name == "95 % band"
    np.testing.assert_allclose(band.y[:6], 100 * result.bands["random"][1], 1e-5)
    assert [line.name for line in (serfiq, random)] == ["serfiq", "random"]
    np.testing.assert_allclose(serfiq.y, 100 * result.curves["serfiq"].at(serfiq.x / 100), 1e-5)
    assert mark.y[0] == pytest.approx(100 * result.curves["random"].at(0.3))
    assert serfiq.line.color != random.line.color


def test_the_histograms_show_every_comparison_and_the_threshold(table):
    genuine, impostor, threshold = figures.scores_figure(table.comparisons, 0.4).data
    assert genuine.y.sum() == pytest.approx(100, abs=1e-3)
    assert impostor.y.sum() == pytest.approx(100, abs=1e-3)
    assert list(threshold.x) == [0.4, 0.4]


def test_the_det_curve_passes_through_the_mark(table):
    now = evaluate(table, draws=0).fnmr
    curve, mark = figures.det_figure(det(table.comparisons), (1e-3, now)).data
    assert mark.y[0] == now == pytest.approx(0.0687, abs=1e-4)
    near = np.abs(np.log(curve.x) - np.log(1e-3)).argmin()
    assert curve.y[near] == pytest.approx(mark.y[0], rel=0.1)
    assert (np.diff(curve.y) <= 0).all()


def test_people_told_apart_without_an_error_have_no_det_curve():
    compared = compare_all(np.eye(3)[[0, 0, 1, 1, 2, 2]], list("aabbcc"))
    curve, mark = figures.det_figure(det(compared), (0.1, 0.0)).data
    assert len(curve.x) == 0
    assert list(mark.x) == [0.1]


def test_captions_say_how_many_which_network_t_and_fmr(table):
    words = figures.caption(table, 1e-3)
    for part in ("7,698 images of 3,162 people", "212,497 genuine", "29,413,256 impostor"):
        assert part in words
    assert "network mini; T = 100; FMR 0.001." in words


# State and widget


@pytest.fixture(scope="module")
def state(table):
    return EvaluationState(table)


def test_a_moved_state_says_what_the_library_says(state, table):
    state.fmr, state.share, state.quality = 1e-2, 0.25, "sharpness"
    result = evaluate(table, 1e-2, draws=0)
    assert (state.threshold, state.fnmr) == (result.threshold, result.fnmr)
    assert state.at() == result.curves["sharpness"].at(0.25)
    assert state.at("serfiq") == result.curves["serfiq"].at(0.25)
    sharp = table.qualities["sharpness"]
    assert len(state.discarded) == math.floor(0.25 * len(sharp))
    assert sharp[state.discarded].max() <= np.delete(sharp, state.discarded).min()
    assert (np.diff(sharp[state.discarded]) >= 0).all()
    compared = table.comparisons
    missed = compared.genuine < state.threshold
    assert state.errors.sum() == 2 * missed.sum()
    gone = np.isin(compared.first, state.discarded) | np.isin(compared.second, state.discarded)
    assert state.share_of_errors() == pytest.approx(gone[missed].mean())
    shares, low, high = state.band
    assert (low <= high).all()
    assert shares[0] == 0
    assert low[0] <= state.fnmr <= high[0]


def test_what_a_page_sends_ends_within_the_range(state):
    state.fmr, state.share = 1e9, -3
    assert (state.fmr, state.share) == (0.1, 0)
    assert len(state.discarded) == 0
    state.fmr = state.share = float("nan")
    assert (state.fmr, state.share) == (1e-5, 0)
    with pytest.raises(SerfiqError, match="There is no quality 'beauty'"):
        state.quality = "beauty"


def test_sliders_and_state_follow_each_other(table):
    explorer = EvaluationExplorer()
    state = explorer.state
    explorer._fmr.value, explorer._share.value = -2, 40
    explorer._quality.value = "norm"
    assert (state.fmr, state.share, state.quality) == (pytest.approx(0.01), 0.4, "norm")
    state.fmr, state.share, state.quality = 1e-4, 0.05, "serfiq"
    assert (explorer._fmr.value, explorer._share.value) == (-4, 5)
    assert explorer._quality.value == "serfiq"
    said = explorer._says.value
    before, after = evaluate(table, 1e-4, draws=0).balanced["serfiq"].at([0, 0.05])
    assert f"<b>{before:.2%} of the genuine" in said
    assert f"<b>{after:.2%}.</b>" in said
    assert f"in the curves: {fnmr_at(table.comparisons, state.threshold):.2%} and" in said
    assert "384 images (5.0%)" in said
    assert [row[0] for row in explorer._rows.rows] == state.discarded[::-1][:12].tolist()
    explorer._which.value = "the first to go"
    assert [row[0] for row in explorer._rows.rows] == state.discarded[:12].tolist()
    state.share = 0
    assert explorer._rows.rows == []


def test_an_image_that_goes_opens_where_it_is_wanted(people, measured):
    class Other:
        image = None

    opened, other = [], Other()
    explorer = EvaluationExplorer(
        measured.table(), folder=people, aligned=True, on_open=opened.append, explorer=other
    )
    explorer.state.share = 0.3
    assert len(explorer._gallery.items) == 3
    assert explorer._gallery.items[0]["src"].startswith("data:image/jpeg")
    explorer._gallery.chosen = 1
    worst = np.argsort(measured.qualities["serfiq"])[1]  # the last to go come first, of three
    assert opened == [people / measured.names[worst]]
    assert other.image.pixels.shape == (112, 112, 3)


def test_a_data_frame_of_rivals_is_shown_beside_ours(people, measured):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"path": measured.names, "theirs": np.arange(10)})
    explorer = EvaluationExplorer(measured.table(), folder=people, scores=frame, quality="theirs")
    assert "theirs" in explorer._quality.options
    assert explorer.state.discarded.tolist() == [0]


def test_a_folder_without_a_table_is_measured(people):
    explorer = EvaluationExplorer(folder=people, aligned=True, share=0.2, quality="limit")
    assert explorer.state.table.about["model"] == "mini"
    assert len(explorer.state.discarded) == 2


def test_a_visitors_kernel_loads_no_pandas():
    code = (
        "import sys; from serfiq_widgets import EvaluationExplorer; EvaluationExplorer(); "
        "print('pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
