"""Whole datasets: every image a row, carried through kills and changes of format."""

import json
import math
import os
import signal
import subprocess
import sys

import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from serfiq_widgets import score_table
from serfiq_widgets.cli import main
from serfiq_widgets.datasets import LocalRunner, score_dataset
from serfiq_widgets.image_files import find_images
from serfiq_widgets.journal import MAGIC, Journal
from serfiq_widgets.resources import sample_images
from serfiq_widgets.sources import Folders
from serfiq_widgets.tables import read_table, write_table

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


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".arrow"])
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
    write_table(table, tmp_path / f"faces{suffix}")
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
from serfiq_widgets.image_files import find_images
from serfiq_widgets.journal import MAGIC, Journal
append = Journal.append
def slowly(self, rows):
    append(self, rows)
    print("chunk", flush=True)
    sys.stdin.readline()
Journal.append = slowly
from serfiq_widgets.cli import main
main()
"""


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
    score_dataset(runner, Folders([tmp_path]), tmp_path / "scores.parquet")
    (row,) = read_table(tmp_path / "scores.parquet").itertuples()
    assert row.path.endswith("\\xff.png")
    assert math.isfinite(row.raw)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("name\na.jpg\n", "no column 'path', but name"),
        ("path,raw\na.jpg,1\n", "a column 'raw'"),
        ("path\n", "no rows"),
        ("path,path\na,b\n", "one name twice"),
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
    assert "No such file" in result.output


def test_progress_counts_all_images(scorer, crops, tmp_path):
    seen = []
    runner = LocalRunner(scorer, 5, aligned=True)
    score_dataset(
        runner, Folders([crops]), tmp_path / "s.csv", progress=lambda *now: seen.append(now)
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
