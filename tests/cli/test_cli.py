"""The serfiq command as a user meets it: output, exit codes, kind errors."""

import csv
import io
import json
import re
import shutil

import pytest
from click.testing import CliRunner

from serfiq_widgets.cli.main import main
from serfiq_widgets.engines import runtimes
from serfiq_widgets.models.cards import cards
from serfiq_widgets.models.files import accept
from serfiq_widgets.resources import folder

COLLINS = folder("sample_images") / "collins.jpg"


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def photos(tmp_path):
    """Two photos in nested folders, a broken one, and a file that is no image."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    shutil.copy(COLLINS, tmp_path / "a.JPG")
    shutil.copy(folder("sample_images") / "collins_mask.jpg", tmp_path / "deep" / "er" / "b.jpg")
    (tmp_path / "deep" / "broken.png").write_bytes(COLLINS.read_bytes()[:999])
    (tmp_path / "notes.txt").write_text("not an image")
    return tmp_path


def test_folders_are_walked_and_a_bad_file_is_a_row(photos):
    result = run("score", photos, "--format", "json")
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert [row["path"].rpartition("/")[2] for row in rows] == ["a.JPG", "broken.png", "b.jpg"]
    assert rows[0]["quality"] > rows[2]["quality"]
    assert "broken.png" in rows[1]["error"]
    assert rows[1]["quality"] is None
    assert all("limit" not in row for row in rows)


def test_csv_holds_what_traces_the_number(photos, scorer):
    result = run("score", photos / "a.JPG", "--format", "csv", "--limit", "--passes", 50)
    assert result.exit_code == 0
    (row,) = csv.DictReader(io.StringIO(result.stdout))
    expected = scorer.score(COLLINS, passes=50)
    assert float(row["raw"]) == pytest.approx(expected.raw, abs=1e-6)
    assert float(row["limit"]) == pytest.approx(expected.limit, abs=1e-6)
    assert int(row["quality"]) == expected.quality
    assert (row["model"], row["model_sha256"]) == ("mini", expected.model_sha256)
    assert (row["passes"], row["seed"], row["faces"], row["error"]) == ("50", "0", "1", "")


def test_the_table_names_file_quality_and_error(photos):
    result = run("score", photos)
    assert result.exit_code == 1
    assert "broken.png' is broken" in result.output
    line = next(line for line in result.output.splitlines() if "a.JPG" in line)
    assert re.search(r" 86 +0\.\d+ ", line)  # the quality and its margin


def test_out_writes_the_file_instead(photos, tmp_path):
    result = run("score", photos / "a.JPG", "--format", "csv", "--out", tmp_path / "scores.csv")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert (tmp_path / "scores.csv").read_text().startswith("path,quality,margin,raw,")


def test_two_passes_have_no_interval(photos):
    (row,) = json.loads(run("score", photos / "a.JPG", "--passes", 2, "--format", "json").stdout)
    assert row["low"] is None


def test_aligned_skips_detection(lfw):
    image = min(lfw.rglob("*.jpg"))
    (row,) = json.loads(run("score", image, "--aligned", "--format", "json").stdout)
    assert row["box"] is None


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["score"], "PATHS"),
        (["score", COLLINS, "--passes", "ten"], "ten"),
        (["score", COLLINS, "--passes", "1"], "2 to 2000"),
        (["score", COLLINS, "--passes", "1000000000"], "2 to 2000"),
        (["score", COLLINS, "--model", "nobody"], "mini"),
        (["score", COLLINS, "--engine", "abacus"], "onnxruntime"),
        (["score", COLLINS, "--device", "toaster"], "cuda"),
        (["score", COLLINS, "--seed", "-3"], "seed"),
        (["score", COLLINS, "--format", "xml"], "xml"),
        (["score", COLLINS.parent.parent / "requirements"], "no image"),
        (["bogus"], "bogus"),
        (["demo", "--port", "99999"], "99999"),
    ],
)
def test_wrong_usage_is_exit_code_two_and_one_sentence(arguments, hint):
    result = run(*arguments)
    assert result.exit_code == 2
    assert hint in result.output
    assert "Traceback" not in result.output


def test_doctor_lists_engines_and_model():
    result = run("doctor")
    assert result.exit_code == 0
    for part in (
        "numpy",
        "engine onnxruntime",
        "engine openvino",
        "engine mxnet",
        "model mini",
        "opencv",
    ):
        assert part in result.output


def test_doctor_shows_the_sha256_of_every_file():
    output = run("doctor").output
    for file in cards()["mini"].files:
        assert re.search(rf"file {file.name} .*{file.sha256}", output)
    assert re.search(r"file centerface.onnx .*[0-9a-f]{64}", output)


def test_doctor_says_which_file_is_not_its_cards(tmp_path, monkeypatch):
    monkeypatch.setenv("SERFIQ_MODELS", str(tmp_path))
    card = cards()["arcface-r100-mxnet"]  # of which others are let pass with a warning
    accept(card.folder, card.licence)
    for file in card.files:
        (card.folder / file.name).write_bytes(b"another")
    assert card.state == "installed"
    output = "".join(run("doctor").output.split())
    assert f"notitscard's{card.files[0].sha256}" in output


@pytest.mark.slow
def test_benchmark_measures():
    result = run("benchmark", "--rounds", 3, "--batch", 1, "--batch", 4, "--json")
    assert result.exit_code == 0, result.output
    one, four = map(json.loads, result.stdout.splitlines())
    assert (one["model"], one["batch"], four["batch"]) == ("mini", 1, 4)
    for record in (one, four):
        assert {
            "engine",
            "device",
            "passes",
            "embedding_ms",
            "controlled_ms",
            "images_per_s",
            "peak_mb",
        } <= set(record)
        # a hundred copies through the network are many times one, however busy the machine is
        assert record["reference_ms"] > record["score_ms"] > 0
    assert four["peak_mb"] >= one["peak_mb"] > 50  # the interpreter with NumPy takes more
    assert result.stderr  # what to change


def test_benchmark_shows_all_engines_side_by_side_and_skips_what_they_cannot(tmp_path):
    pytest.importorskip("plotly")
    page = tmp_path / "times.html"
    quick = ("--rounds", 1, "--seconds", 1, "--passes", 5, "--batch", 2)
    both = ("--precision", "fp32", "--precision", "bf16")
    result = run("benchmark", "--engine", "all", *both, *quick, "--plot", page, "--json")
    assert result.exit_code == 0, result.output
    done = {(r["engine"], r["precision"]) for r in map(json.loads, result.stdout.splitlines())}
    assert done >= {(one.name, "fp32") for one in runtimes() if not one.problem}
    assert not done & {("onnxruntime", "bf16"), ("mxnet", "bf16")}
    content = page.read_text()
    for engine, precision in done:
        assert f"{engine} {precision}, cpu, batch of 2" in content
    for words in ("embedding, without dropout", "controlled score", "Advice"):
        assert words in content


def test_benchmark_of_no_engine_says_why():
    result = run("benchmark", "--engine", "all", "--precision", "tf32", "--device", "cpu")
    assert result.exit_code == 2
    assert "not in tf32" in result.output


def test_the_references_way_gives_our_score(sample_faces):
    from serfiq_widgets import AlignedFace, Scorer
    from serfiq_widgets.cli.timings import reference_way

    scorer, face = Scorer(), AlignedFace(sample_faces[0], "face")
    # float32 sums in another order: distances of about 0.5 within 1e-6 each
    expected = pytest.approx(scorer.score(face, 20).raw, abs=1e-5)
    assert reference_way(scorer, face, 20) == expected


def test_a_taken_port_is_said():
    pytest.importorskip("voila")
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = run("demo", "--no-browser", "--port", port)
    assert result.exit_code == 2
    assert f"Port {port} is in use" in result.output


def test_the_environment_names_model_engine_and_device(monkeypatch):
    chosen = {"model": "sface", "engine": "onnxruntime", "device": "cpu"}
    for name, value in chosen.items():
        monkeypatch.setenv(f"SERFIQ_{name.upper()}", value)
    row = json.loads(run("score", COLLINS, "--json", "--quiet").output)[0]
    assert {name: row[name] for name in chosen} == chosen
    row = json.loads(run("score", COLLINS, "--json", "--quiet", "--model", "mini").output)[0]
    assert row["model"] == "mini"  # an option wins


def test_models_list_is_models():
    assert run("models", "list").output == run("models").output


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell):
    result = run("completion", shell)
    assert result.exit_code == 0
    assert f"_SERFIQ_COMPLETE={shell}_complete" in result.output
