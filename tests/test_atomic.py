"""Files are written whole or not at all, and no run touches a file that is not its own."""

import gc
import os
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from serfiq_widgets.atomic import replacing, write_text
from serfiq_widgets.cli.main import main
from serfiq_widgets.datasets.tables import read_table
from serfiq_widgets.errors import BadSetting
from serfiq_widgets.evaluation.groups import as_table, save
from serfiq_widgets.resources import sample_images


def run(*arguments):
    return CliRunner().invoke(main, [str(one) for one in arguments])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def faces(tmp_path):
    table = tmp_path / "faces.csv"
    table.write_text(f"path,who\n{sample_images()[0]},007\n", encoding="utf-8")
    return table


def test_a_block_that_fails_leaves_everything_as_it_was(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old", encoding="utf-8")

    def fail():
        with replacing(path) as new:
            new.write_text("half", encoding="utf-8")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert path.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["page.html"]


def test_the_new_file_has_the_permissions_of_the_old_one(tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old", encoding="utf-8")
    path.chmod(0o640)
    write_text(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert path.read_text(encoding="utf-8") == "new"


def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    target, link = tmp_path / "target.txt", tmp_path / "link.txt"
    target.write_text("old", encoding="utf-8")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text(encoding="utf-8") == "new"


def test_a_pipe_is_written_directly(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_text(path, "text")
    assert os.read(reader, 10) == b"text"
    os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_what_cannot_be_written_is_said_by_name(tmp_path):
    with pytest.raises(BadSetting, match=r"x\.html' cannot be written: No such file"):
        write_text(tmp_path / "none" / "x.html", "text")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(BadSetting, match=r"folder\.html"):
        write_text(tmp_path / "folder.html", "text")
    assert names(tmp_path) == ["folder.html"]


def test_names_that_are_no_text_are_written_as_escapes(tmp_path):
    write_text(tmp_path / "x.html", os.fsdecode(b"caf\xe9.jpg"))
    assert (tmp_path / "x.html").read_bytes() == rb"caf\udce9.jpg"


def test_a_source_that_looks_like_a_temporary_file_is_not_touched(faces, tmp_path):
    source = faces.rename(tmp_path / "faces.part.csv")
    before = source.read_bytes()
    assert run("score", source, "--out", tmp_path / "faces.csv", "--passes", 2).exit_code == 0
    assert source.read_bytes() == before
    assert names(tmp_path) == ["faces.csv", "faces.part.csv"]


@pytest.mark.parametrize("how", ["same", "link", "hard link", "dots"])
def test_a_source_is_never_the_output(faces, tmp_path, how):
    out = tmp_path / "other.csv"
    if how == "link":
        out.symlink_to(faces)
    elif how == "hard link":
        out.hardlink_to(faces)
    else:
        out = faces if how == "same" else tmp_path / "x" / ".." / "faces.csv"
        (tmp_path / "x").mkdir()
    before = faces.read_bytes()
    result = run("score", faces, "--out", out, "--passes", 2)
    assert result.exit_code != 0
    assert "would be overwritten" in result.output
    assert faces.read_bytes() == before


@pytest.mark.parametrize("form", ["csv", "json"])
def test_an_image_is_never_the_output(tmp_path, form):
    photo = tmp_path / f"photo.{form}"
    photo.write_bytes(sample_images()[0].read_bytes())
    before = photo.read_bytes()
    result = run("score", photo, sample_images()[1], "--format", form, "--out", photo)
    assert result.exit_code != 0
    assert "would be overwritten" in result.output
    assert photo.read_bytes() == before


@pytest.mark.parametrize("more", [(), ("--fresh",)])
def test_a_foreign_file_with_the_name_of_a_journal_is_not_touched(faces, tmp_path, more):
    journal = tmp_path / "o.csv.journal"
    journal.write_text("Dear diary\n", encoding="utf-8")
    result = run("score", faces, "--out", tmp_path / "o.csv", "--passes", 2, *more)
    assert result.exit_code != 0
    assert "not a journal of this program" in result.output
    assert journal.read_text(encoding="utf-8") == "Dear diary\n"


def test_an_unrelated_temporary_name_is_not_touched(faces, tmp_path):
    other = tmp_path / "o.part.csv"
    other.write_text("mine", encoding="utf-8")
    assert run("score", faces, "--out", tmp_path / "o.csv", "--passes", 2).exit_code == 0
    assert other.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("name", ["scores.xlsx", "scores.ods", "scores.csvx", "scores"])
def test_an_unknown_suffix_is_refused_before_anything_is_scored(faces, tmp_path, name):
    result = run("score", faces, "--out", tmp_path / name, "--passes", 2)
    assert result.exit_code == 2
    assert name in result.output
    assert ".csv" in result.output
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["scores.parquet", "scores.CSV", "scores.csv", "scores.arrow"])
def test_what_is_carried_along_keeps_its_text(faces, tmp_path, name):
    assert run("score", faces, "--out", tmp_path / name, "--passes", 2).exit_code == 0
    if name.lower().endswith(".csv"):
        assert ",007" in (tmp_path / name).read_text(encoding="utf-8") or "007," in (
            tmp_path / name
        ).read_text(encoding="utf-8")
    else:
        assert read_table(tmp_path / name).who.tolist() == ["007"]


def test_brackets_in_a_name_are_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a short path fits its column and is not folded
    folder = Path("x[old][")
    folder.mkdir()
    photo = folder / "[bold]y[.jpg"
    photo.write_bytes(sample_images()[0].read_bytes())
    (folder / "bad[red].jpg").write_bytes(b"no image")
    result = run("score", folder, "--passes", 2)
    shown = "".join(result.output.split())
    assert "[bold]y[" in shown
    assert "bad[red]" in shown
    assert "bad[red].jpg'isnotanimage" in shown


ENDLESS = """
import sys
from serfiq_widgets.atomic import write_text

for number in range(10**9):
    write_text(sys.argv[1], "ab"[number % 2] * 3_000_000)
    print(number, flush=True)
"""


@pytest.mark.parametrize("moment", range(5))
def test_a_process_that_is_killed_leaves_a_whole_file(tmp_path, moment):
    """The short form of tools/kill_runs.py."""
    path = tmp_path / "page.html"
    path.write_text("old", encoding="utf-8")
    with subprocess.Popen([sys.executable, "-c", ENDLESS, path], stdout=subprocess.PIPE) as process:
        process.stdout.readline()  # it has written once
        time.sleep(moment / 300)
        process.kill()
    text = path.read_text(encoding="utf-8")
    assert (len(text), len(set(text))) == (3_000_000, 1)
    left = [name for name in names(tmp_path) if name != "page.html"]
    assert all(name.startswith(".page.") for name in left)  # hidden: no command reads it


@contextmanager
def full_disk():
    """No file may grow beyond 100 bytes meanwhile; the tests' own output is such a file."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_journal_on_a_full_disk_is_one_sentence(faces, tmp_path):
    with full_disk():
        result = run("score", faces, "--out", tmp_path / "o.csv", "--passes", 2)
    assert result.exit_code == 2
    assert "o.csv.journal' cannot be written" in result.output
    assert isinstance(result.exception, SystemExit)


@pytest.mark.filterwarnings("error")  # of a writer of archives that meets a closed file
def test_a_table_on_a_full_disk_leaves_the_old_one(tmp_path):
    path = tmp_path / "groups.npz"
    path.write_bytes(b"old")
    table = as_table({"quality": [1.0, 2.0], "age": ["a", "b"]})
    refused = pytest.raises(BadSetting, match=r"groups\.npz' cannot be written: File too large")
    with refused, full_disk():
        save(table, path, ["age"])
    gc.collect()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["groups.npz"]
