"""Names that are no UTF-8, or look like markup, go through every command."""

import csv
import html
import json
import os
import re

import pytest
from click.testing import CliRunner

from serfiq_widgets import Scorer
from serfiq_widgets.cli.main import main
from serfiq_widgets.scoring import network as networks

pytest.importorskip("pandas")
pytest.importorskip("plotly")

FOLDERS = (b"caf\xe9", b"[old] :smile:", b"x[")
FILES = (b"caf\xe9.png", b"[bold].png", b":heart:.png", b"y].png")
SHOWN = ("caf\\xe9", "[old] :smile:", "x[")
FMR = ("--fmr", 0.5, "--draws", 0)


def run(*arguments):
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exit_code in (0, 1), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


@pytest.fixture(scope="module")
def people(aligned_folder, tmp_path_factory):
    """Three people with three faces and a broken file each."""
    folder = tmp_path_factory.mktemp("names") / "people"
    faces = sorted(aligned_folder.iterdir())
    try:
        for i, person in enumerate(FOLDERS):
            (folder / os.fsdecode(person)).mkdir(parents=True)
            for j, name in enumerate(FILES):
                to = folder / os.fsdecode(person) / os.fsdecode(name)
                to.write_bytes(faces[3 * i + j].read_bytes() if j < 3 else b"broken")
    except OSError:
        pytest.skip("this file system takes no names that are no UTF-8")
    return folder


def quick(folder):
    return (folder, "--aligned", "--passes", 2)


def paths(people):
    return {f"{people}/{folder}/{name}" for folder in SHOWN for name in _shown_files()}


def _shown_files():
    return ("caf\\xe9.png", "[bold].png", ":heart:.png", "y].png")


def test_the_table_shows_every_name_as_it_is(people, monkeypatch):
    monkeypatch.chdir(people)
    lines = run("score", ".", "--aligned", "--passes", 2).output.splitlines()
    for folder in SHOWN:
        for name in _shown_files():
            assert any(line.split("  ")[0].strip() == f"{folder}/{name}" for line in lines), lines


@pytest.mark.parametrize("suffix", ["csv", "json", "txt", "parquet"])
def test_a_file_of_scores_holds_every_name(people, tmp_path, suffix):
    from serfiq_widgets.datasets.tables import read_table

    out = tmp_path / f"scores.{suffix}"
    assert run("score", *quick(people), "--out", out).exit_code == 1  # three are broken
    if suffix == "txt":
        assert "[bold].png" in out.read_text(encoding="utf-8")
        return
    if suffix == "csv":
        with out.open(newline="", encoding="utf-8") as file:
            found = [row["path"] for row in csv.DictReader(file)]
    elif suffix == "json":
        found = [row["path"] for row in json.loads(out.read_text(encoding="utf-8"))]
    else:
        found = read_table(out).path.tolist()
    assert set(found) == paths(people)


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_terminal_gets_every_name(people, form):
    output = run("score", *quick(people), "--format", form).stdout
    assert output.count("heart") >= 3
    assert "caf" in output


def test_a_report_is_whole(people, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("old", encoding="utf-8")
    assert run("report", *quick(people), "--out", page, "--images", 3).exit_code == 0
    said = html.unescape(page.read_text(encoding="utf-8"))
    assert said.rstrip().endswith("</html>")
    for name in ("[bold].png", ":heart:.png"):
        assert name in said


def test_an_evaluation_names_its_data_and_joins_its_scores(people, tmp_path):
    scores, saved, page = (tmp_path / name for name in ("s.csv", "t.npz", "p.html"))
    run("score", *quick(people), "--out", scores)
    name = os.fsdecode(b"<b>caf\xe9 [x")
    result = run(
        *("evaluate", *quick(people), *FMR, "--scores", scores, "--name", name),
        *("--save", saved, "--plot", page, "--json"),
    )
    assert "no row" not in result.stderr  # every image is found in its own table
    record = json.loads(result.stdout)
    assert record["data"] == "<b>caf\\xe9 [x"
    words = re.sub(r"(?s)<script.*?</script>", "", page.read_text(encoding="utf-8"))
    assert "&lt;b&gt;caf" in words
    assert "<b>caf" not in words
    assert "caf" in run("evaluate", saved, *FMR, "--json").stdout


def test_embeddings_keep_people_apart(people, tmp_path):
    out, labels = tmp_path / "e.npy", tmp_path / "l.txt"
    run("embed", people, "--aligned", "--out", out, "--labels", labels)
    names = labels.read_text(encoding="utf-8").splitlines()
    assert {name: names.count(name) for name in names} == dict.fromkeys(SHOWN, 3)


def test_a_folder_with_a_line_break_is_one_label(aligned_folder, tmp_path):
    folder = tmp_path / "faces" / "two\nlines"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(next(aligned_folder.iterdir()).read_bytes())
    labels = tmp_path / "l.txt"
    run("embed", folder.parent, "--aligned", "--out", tmp_path / "e.npy", "--labels", labels)
    assert labels.read_text(encoding="utf-8") == "two\\nlines\n"


def test_a_calibration_can_be_read_again(aligned_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SERFIQ_MODELS", str(tmp_path / "models"))
    folder = tmp_path / os.fsdecode(b"caf\xe9[red]")
    folder.mkdir()
    faces = sorted(aligned_folder.iterdir())
    for i in range(20):
        (folder / f"{i}.png").write_bytes(faces[i % len(faces)].read_bytes())
    for name, wanted in (((), "caf\\xe9[red]"), (("--name", os.fsdecode(b"\xe9")), "\\xe9")):
        page = tmp_path / "page.html"
        result = run("calibrate", "mini", *quick(folder), *name, "--plot", page)
        assert result.exit_code == 0, result.output
        assert f"20 faces of {wanted};" in networks.own_stretch("mini")["population"]
        assert f"20 faces of {wanted};" in Scorer().card.population
        assert page.read_text(encoding="utf-8").rstrip().endswith("</html>")


def test_a_column_of_groups_is_no_markup(people, tmp_path):
    run("score", *quick(people), "--out", tmp_path / "s.csv")
    text = (tmp_path / "s.csv").read_text(encoding="utf-8")
    (tmp_path / "s.csv").write_text(text.replace("engine", "[/engine]", 1), encoding="utf-8")
    assert "[/engine]" in run("bias", tmp_path / "s.csv", "--by", "[/engine]").output
    for folder in FOLDERS:
        result = run("bias", *quick(people / os.fsdecode(folder)), "--by", "engine", "--json")
        assert json.loads(result.stdout)["name"] == SHOWN[FOLDERS.index(folder)]


def test_a_network_may_have_such_a_name(people, tmp_path):
    from serfiq_widgets.datasets.tables import read_table
    from serfiq_widgets.models.cards import MODELS

    for path in MODELS.glob("mini-*"):
        name = path.name.replace("mini", os.fsdecode(b"caf\xe9[b]"))
        (tmp_path / name).write_bytes(path.read_bytes())
    network = tmp_path / os.fsdecode(b"caf\xe9[b]-symbol.json")
    out = tmp_path / "s.parquet"
    run("score", *quick(people), "--model", network, "--out", out)
    assert set(read_table(out).model.dropna()) == {"caf\\xe9[b]"}
    assert "caf\\udce9[b]" in run("models", "inspect", network, "--save").output


def test_a_benchmark_shows_a_networks_name(monkeypatch):
    measured = {"model": "net/[/b]:heart:", "engine": "e", "device": "d", "precision": "fp32"}
    record = {**measured, "passes": 2, "batch": 1, "score_ms": 1.0}
    monkeypatch.setattr("serfiq_widgets.cli.timings.measure_all", lambda *_, **__: [record])
    assert "net/[/b]:heart:" in run("benchmark").output
