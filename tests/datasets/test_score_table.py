"""Whole datasets: every image a row, carried through kills and changes of format."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from serfiq_widgets import score_table
from serfiq_widgets.cli.main import main
from serfiq_widgets.datasets.journal import MAGIC, Journal
from serfiq_widgets.datasets.score_table import LocalRunner, score_dataset
from serfiq_widgets.datasets.sources import FolderSource
from serfiq_widgets.datasets.tables import read_table
from serfiq_widgets.images.files import find_images
from serfiq_widgets.resources import sample_images

WRITERS = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".parquet": lambda frame, path: frame.to_parquet(path, index=False),
    ".feather": lambda frame, path: frame.to_feather(path),
}
SETTINGS = ["--aligned", "--engine", "onnxruntime", "--passes", "5"]


def run(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="session")
def crops(sample_faces, tmp_path_factory):
    """A folder of 80 aligned faces in two folders, one of them broken: two chunks."""
    folder = tmp_path_factory.mktemp("crops")
    for name in ("a", "b"):
        (folder / name).mkdir()
    for i in range(79):
        face = Image.fromarray(sample_faces[i % len(sample_faces)])
        face.save(folder / "ab"[i % 2] / f"{i:03}.png", compress_level=0)
    (folder / "a" / "broken.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="session")
def expected(crops):
    """What one pass over the folder gives, without any file."""
    return score_table(crops, 5, aligned=True, engine="onnxruntime")


def same(frame, other, but=("ms",)):
    pd.testing.assert_frame_equal(frame.drop(columns=list(but)), other.drop(columns=list(but)))


def test_pandas_in_pandas_out(crops, expected):
    images = [str(path) for path in find_images([crops])]
    assert list(expected.path) == images
    assert expected.error.notna().sum() == 1
    assert "broken.png" in expected.error[expected.path.str.contains("broken")].item()
    assert expected.sha256.notna().all()
    frame = pd.DataFrame({"path": images, "person": range(80)}, index=range(7, 87))
    scored = score_table(frame, 5, aligned=True, engine="onnxruntime")
    assert list(scored.index) == list(frame.index)
    assert list(scored.columns[:3]) == ["path", "person", "quality"]
    same(scored.drop(columns="person").reset_index(drop=True), expected)


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".arrow"])
def test_a_folder_becomes_a_table(crops, expected, tmp_path, suffix):
    out = tmp_path / f"scores{suffix}"
    result = run("score", crops, "--out", out, *SETTINGS)
    assert result.exit_code == 1  # one row has an error
    assert "80 rows written" in result.output
    assert [path.name for path in tmp_path.iterdir()] == [out.name]  # no journal, no part
    same(read_table(out), expected, ("ms", "box", "detector"))  # a CSV's empty columns are floats


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".feather"])
def test_a_table_carries_its_columns(expected, tmp_path, suffix):
    images = [os.path.relpath(path, tmp_path) for path in expected.path]
    ages = [f"{i:03}" for i in range(80)]
    table = pd.DataFrame({"age": ages, "file": images, "when": pd.Timestamp("2020-02-29")})
    table.loc[3, "file"] = None
    WRITERS[suffix](table, tmp_path / f"faces{suffix}")
    out = tmp_path / f"scores{suffix}"
    faces = tmp_path / f"faces{suffix}"
    result = run("score", faces, "--column", "file", "--out", out, *SETTINGS)
    assert result.exit_code == 1, result.output
    scored = read_table(out)
    if suffix == ".csv":
        assert out.read_text().splitlines()[1].startswith(f"000,{images[0]},2020-02-29,")
        table = read_table(faces)
    pd.testing.assert_frame_equal(scored[["age", "file", "when"]], table)
    assert scored.error[3].startswith("''")
    others = [i for i in range(80) if i != 3]
    same(scored.loc[others, ["raw", "sha256"]], expected.loc[others, ["raw", "sha256"]], ())


KILLED = """
import sys
from serfiq_widgets.images.files import find_images
from serfiq_widgets.datasets.journal import MAGIC, Journal
append = Journal.append
def slowly(self, rows):
    append(self, rows)
    print("chunk", flush=True)
    sys.stdin.readline()
Journal.append = slowly
from serfiq_widgets.cli.main import main
main()
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_without_losing_or_repeating_a_row(crops, expected, tmp_path):
    out = tmp_path / "scores.parquet"
    arguments = ["score", str(crops), "--out", str(out), *SETTINGS]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline() == b"chunk\n"
        process.send_signal(signal.SIGKILL)
    journal = tmp_path / "scores.parquet.journal"
    with journal.open("ab") as file:
        file.write(b'[{"path":"torn')
    other = run(*arguments, "--seed", 1)
    assert other.exit_code == 2
    assert "seed 0, now 1" in other.output
    assert "--fresh" in other.output
    lines = journal.read_bytes().count(b"\n")
    assert run(*arguments).exit_code == 1
    assert lines == 2  # the settings and the first chunk
    same(read_table(out), expected)


def test_other_images_are_not_mixed_in(scorer, crops, tmp_path):
    runner = LocalRunner(scorer, 5, aligned=True)
    out = tmp_path / "scores.csv"
    journal = Journal(out, runner.settings)
    journal.append([{"path": "else.png"}])
    journal.close()
    result = run("score", crops, "--out", out, *SETTINGS)
    assert result.exit_code == 2
    assert "else.png" in result.output
    assert run("score", crops, "--out", out, *SETTINGS, "--fresh").exit_code == 1
    assert "else.png" not in out.read_text()


def test_an_image_that_was_replaced_meanwhile_is_scored_anew(scorer, crops, tmp_path):
    """So is one that could not be read then."""
    images = [crops / "a" / name for name in ("000.png", "broken.png", "002.png")]
    faces = tmp_path / "faces"
    faces.mkdir()
    runner, out = LocalRunner(scorer, 5, aligned=True), tmp_path / "scores.csv"
    paths = []
    for image in sorted(images):
        paths.append(faces / image.name)
        paths[-1].write_bytes(image.read_bytes())
    (before,) = runner.score([paths])
    with closing(Journal(out, runner.settings)) as journal:
        journal.append([vars(row) for row in before])
    paths[0].write_bytes((crops / "b" / "001.png").read_bytes())
    paths[2].write_bytes((crops / "b" / "003.png").read_bytes())
    summary = score_dataset(runner, FolderSource([faces]), out)
    scores = read_table(out).set_index("path")
    (alone,) = runner.score([paths])
    assert (summary.rows, summary.failed, summary.anew) == (3, 0, 2)
    assert list(scores.raw) == pytest.approx([row.raw for row in alone], abs=1e-6)
    assert list(scores.sha256) == [row.sha256 for row in alone]
    assert scores.raw.iloc[0] != pytest.approx(before[0].raw, abs=1e-3)


def test_two_runs_do_not_share_a_journal(tmp_path):
    pytest.importorskip("fcntl")
    first = Journal(tmp_path / "scores.csv", {})
    result = run("score", sample_images()[0], "--out", tmp_path / "scores.csv")
    assert result.exit_code == 2
    assert "Another run" in result.output
    first.close()


def test_names_that_are_no_text_are_written(scorer, sample_faces, tmp_path):
    name = os.fsdecode(b"\xff.png")
    try:
        Image.fromarray(sample_faces[0]).save(tmp_path / name)
    except OSError:
        pytest.skip("this file system takes no such name")
    runner = LocalRunner(scorer, 5, aligned=True)
    score_dataset(runner, FolderSource([tmp_path]), tmp_path / "scores.parquet")
    (row,) = read_table(tmp_path / "scores.parquet").itertuples()
    assert row.path.endswith("\\xff.png")
    assert math.isfinite(row.raw)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name\na.jpg\n", "no column 'path', but name"),
        ("path\n", "no rows"),
        ("path,path\na,b\n", "the column 'path' twice"),
        ("path\na.jpg,b.jpg\n", "cannot be read"),
        ("", "cannot be read"),
    ],
)
def test_tables_that_cannot_be_used_are_named(tmp_path, content, words):
    table = tmp_path / "t.csv"
    table.write_text(content)
    result = run("score", table, "--out", tmp_path / "scores.csv")
    assert result.exit_code == 2
    assert words in result.output
    assert "t.csv" in result.output


def test_where_nothing_can_be_written_is_said_before_the_work(crops, tmp_path):
    result = run("score", crops, "--out", tmp_path / "none" / "scores.csv", *SETTINGS)
    assert result.exit_code == 2
    assert "there is no such folder" in result.output


def test_progress_counts_all_images(scorer, crops, tmp_path):
    seen = []
    runner = LocalRunner(scorer, 5, aligned=True)
    score_dataset(
        runner, FolderSource([crops]), tmp_path / "s.csv", progress=lambda *now: seen.append(now)
    )
    assert seen == [(0, 80), (64, 80), (80, 80)]


def test_the_journal_is_json_that_others_can_read(tmp_path):
    journal = Journal(tmp_path / "s.csv", {"seed": 1})
    journal.append([{"path": "ü.jpg", "raw": 0.1}])
    head, line = journal.path.read_text().splitlines()
    assert json.loads(head) == {"is": MAGIC, "seed": 1}
    assert json.loads(line) == [{"path": "ü.jpg", "raw": 0.1}]
    journal.remove()
    assert not journal.path.exists()


COLLINS = sample_images()[0]
TABLES = {
    "semicolons.csv": "\ufeffpath;age\n{path};38\n".encode(),
    "tabs.tsv": b"path\tage\n{path}\t38\n",
    "latin.csv": "path,age,name\n{path},38,J\u00fcrgen\n".encode("latin-1"),
    "wide.csv": "path;age\n{path};38\n".encode("utf-16"),
    "windows.csv": "path;age;name\n{path};38;J\u00fcrgen \u20ac\n".encode("cp1252"),
    "directive.csv": "\ufeffsep=;\r\npath;age\r\n{path};38\r\n".encode(),
    "bars.csv": b"path|age\n{path}|38\n",
    "image_path.csv": b"age,image_path\n38,{path}\n",
    "backslashes.csv": b"path,age\nfaces\\collins.jpg,38\n",
    "filename.csv": b"age,Filename\n38,{path}\n",
    "own.csv": b"path,raw,age\n{path},7,38\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_taken_as_programs_write_them(tmp_path, name):
    (tmp_path / "faces").mkdir()
    shutil.copy(COLLINS, tmp_path / "faces" / "collins.jpg")
    table, out = tmp_path / name, tmp_path / "scores.csv"
    encodings = {"wide.csv": "utf-16", "latin.csv": "latin-1", "windows.csv": "cp1252"}
    encoding = encodings.get(name, "utf-8")
    text = TABLES[name].decode(encoding).replace("{path}", "faces/collins.jpg")
    table.write_bytes(text.encode(encoding))
    result = run("score", table, "--out", out, "--passes", 5)
    assert result.exit_code == 0, result.output
    (row,) = read_table(out).itertuples()
    assert row.quality == pytest.approx(84, abs=2)
    assert int(row.age) == 38
    (same_row,) = score_table(table, 5).itertuples()
    assert same_row.raw == pytest.approx(row.raw, abs=1e-6)
    if name == "latin.csv":
        assert row.name == same_row.name == "J\u00fcrgen"
        assert "Latin-1" in result.output
    if name == "windows.csv":
        assert row.name == same_row.name == "J\u00fcrgen \u20ac"
        assert "Windows-1252" in result.output
    if name == "filename.csv":
        assert "the column 'Filename'" in result.output
    if name == "own.csv":
        assert row.own_raw == same_row.own_raw == 7
        assert "'own_raw'" in result.output


def test_the_tables_of_others(shared):
    tables = sorted((shared / "cases" / "tables").iterdir())
    assert tables
    for table in tables:
        result = run("score", table, "--json", "--quiet", "--passes", 5)
        (row,) = json.loads(result.output)
        assert row["quality"] == pytest.approx(84, abs=3), table.name


def test_an_image_comes_by_standard_input():
    given = CliRunner().invoke(
        main, ["score", "-", "--json", "-q", "--passes", "5"], input=COLLINS.read_bytes()
    )
    (row,) = json.loads(given.output)
    assert (row["path"], row["error"]) == ("-", None)
    assert row["quality"] == pytest.approx(84, abs=2)
    broken = CliRunner().invoke(main, ["score", "-", "--json", "-q"], input=b"no image")
    assert broken.exit_code == 1
    assert "'standard input'" in json.loads(broken.output)[0]["error"]


def test_patterns_home_and_addresses(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a.jpg", "b.jpg", "[c].jpg", "d.txt"):
        shutil.copy(COLLINS, tmp_path / name)
    result = run("score", "~/?.jpg", "https://example.org/x/e.jpg", "--json", "-q", "--passes", 5)
    rows = json.loads(result.output)
    assert [Path(row["path"]).name for row in rows] == ["a.jpg", "b.jpg", "e.jpg"]
    assert rows[0]["raw"] == rows[1]["raw"] is not None
    assert rows[2]["path"] == "https://example.org/x/e.jpg"
    assert "Download it first" in rows[2]["error"]
    (row,) = json.loads(run("score", tmp_path / "[c].jpg", "--json", "-q", "--passes", 5).output)
    assert row["error"] is None
    result = run("score", tmp_path / "*.png")
    assert result.exit_code == 2
    assert "*.png" in result.output


def test_quiet_says_nothing_but_the_scores(tmp_path):
    out = tmp_path / "scores.csv"
    (tmp_path / "notes.txt").write_text("no image")
    shutil.copy(COLLINS, tmp_path / "a.jpg")
    loud = run("score", tmp_path, "--out", out, "--passes", 5)
    assert "1 rows written" in loud.output
    assert "1 .txt" in loud.output
    assert run("score", tmp_path, "--out", out, "--passes", 5, "-q").output == ""
    assert len(read_table(out)) == 1


def test_a_file_name_is_no_formula(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = "=1+cmd.jpg"
    shutil.copy(COLLINS, name)
    printed = run("score", name, "--format", "csv", "--passes", 5).output
    assert "\n./=1+cmd.jpg," in printed
    run("score", name, "--out", "scores.csv", "--passes", 5)
    assert "\n./=1+cmd.jpg," in Path("scores.csv").read_text()
    assert score_table("scores.csv", 5).error.isna().all()
