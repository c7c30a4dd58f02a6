"""No command destroys what it reads, and what cannot be written is refused before the work."""

import os
import tempfile
from errno import EROFS
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from serfiq_widgets.cli.main import main
from serfiq_widgets.errors import BadSetting, NotWritten
from serfiq_widgets.images.outputs import check_out
from serfiq_widgets.models.cards import MODELS
from serfiq_widgets.resources import sample_images
from serfiq_widgets.scoring.scorer import Scorer

QUICK = ("--aligned", "--passes", 2)


def run(*arguments):
    return CliRunner().invoke(main, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def kept(aligned_folder, tmp_path_factory):
    """What commands read: a folder of people, and what they wrote of it."""
    pytest.importorskip("pandas")
    folder = tmp_path_factory.mktemp("kept")
    people = folder / "people"
    for number, photo in enumerate(sorted(aligned_folder.iterdir())):
        to = people / f"person {number % 2}" / photo.name
        to.parent.mkdir(parents=True, exist_ok=True)
        to.write_bytes(photo.read_bytes())
    labels = ("--labels", folder / "labels.txt")
    for arguments in (
        ("score", people, *QUICK, "--out", folder / "scores.csv"),
        ("embed", people, "--aligned", "--out", folder / "embeddings.npy", *labels),
        ("bias", folder / "scores.csv", "--by", "model", "--save", folder / "groups.npz"),
        ("evaluate", people, *QUICK, "--fmr", 0.5, "--save", folder / "table.npz"),
    ):
        result = run(*arguments)
        assert result.exit_code == 0, result.output
    pairs = folder / "pairs.csv"
    pairs.write_text("path_a,path_b,score,genuine\na,b,0.1,0\na,c,0.9,1\n", encoding="utf-8")
    arrays = {"embeddings": np.load(folder / "embeddings.npy"), "labels": np.array(["a"] * 10)}
    np.savez(folder / "archive.npz", **arrays)
    (folder / "photos.csv").write_text("path\npeople/person 0/0.png\n", encoding="utf-8")
    return folder


@pytest.fixture
def unused(monkeypatch):
    """No network may be opened: the refusal comes before."""

    def fail(*_, **__):
        raise AssertionError

    monkeypatch.setattr(Scorer, "__init__", fail)


def content(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in files}


# what is read, its arguments ({} is the folder), the option of the output, and its suffix
READERS = {
    "score an image": ("people/person 0/0.png", "score {}/people", "--out", ".csv"),
    "score a table": ("photos.csv", "score {}/photos.csv", "--out", ".parquet"),
    "score its image": ("people/person 0/0.png", "score {}/photos.csv", "--out", ".txt"),
    "report a table": ("scores.csv", "report {}/scores.csv", "--out", ".html"),
    "report groups": (
        "photos.csv",
        "report {}/scores.csv --groups {}/photos.csv",
        "--out",
        ".html",
    ),
    "report an image": ("people/person 1/1.png", "report {}/people", "--out", ".html"),
    "evaluate a table": ("table.npz", "evaluate {}/table.npz", "--save", ".npz"),
    "evaluate a page": ("table.npz", "evaluate {}/table.npz", "--plot", ".html"),
    "evaluate an archive": (
        "archive.npz",
        "evaluate --embeddings {}/archive.npz",
        "--save",
        ".npz",
    ),
    "evaluate labels": (
        "labels.txt",
        "evaluate --embeddings {}/embeddings.npy --labels {}/labels.txt",
        "--save",
        ".npz",
    ),
    "evaluate pairs": ("pairs.csv", "evaluate --pairs {}/pairs.csv", "--plot", ".html"),
    "evaluate rivals": (
        "scores.csv",
        "evaluate {}/table.npz --scores {}/scores.csv",
        "--save",
        ".npz",
    ),
    "evaluate an image": ("people/person 1/1.png", "evaluate {}/people", "--plot", ".htm"),
    "bias a table": ("groups.npz", "bias {}/groups.npz", "--save", ".npz"),
    "bias groups": ("photos.csv", "bias {}/scores.csv --groups {}/photos.csv", "--save", ".npz"),
    "calibrate an image": ("people/person 1/1.png", "calibrate mini {}/people", "--plot", ".html"),
    "embed an image": (
        "people/person 0/0.png",
        "embed {}/people --labels {}/new.txt",
        "--out",
        ".npy",
    ),
    "embed's labels": (
        "people/person 0/0.png",
        "embed {}/people --out {}/new.npy",
        "--labels",
        ".txt",
    ),
    "train on embeddings": (
        "embeddings.npy",
        "train-on-top --embeddings {}/embeddings.npy --labels {}/labels.txt",
        "--out",
        ".npz",
    ),
    "train on labels": (
        "labels.txt",
        "train-on-top --embeddings {}/embeddings.npy --labels {}/labels.txt",
        "--out",
        ".npz",
    ),
}


WAYS = [
    (reader, how)
    for reader, (name, *_, suffix) in READERS.items()
    for how in ("link", "hard link", *(["path"] if name.endswith(suffix) else []))
]


@pytest.mark.usefixtures("unused")
@pytest.mark.parametrize(("reader", "how"), WAYS)
def test_what_is_read_is_never_the_output(kept, tmp_path, reader, how):
    name, command, option, suffix = READERS[reader]
    source = kept / name
    out = tmp_path / f"out{suffix}"
    if how == "path":
        out = kept / "people" / ".." / name
    elif how == "link":
        out.symlink_to(source)
    else:
        out.hardlink_to(source)
    before = content(kept)
    arguments = [part.format(kept) for part in command.split(" ")]
    result = run(*arguments, option, out)
    assert result.exit_code == 2, result.output
    assert option in result.output
    assert "would be overwritten" in result.output
    assert content(kept) == before


@pytest.mark.usefixtures("unused")
@pytest.mark.parametrize(
    ("command", "option", "name", "wanted"),
    [
        ("score {}/people", "--out", "x.xlsx", ".csv"),
        ("report {}/scores.csv", "--out", "x.pdf", ".html"),
        ("evaluate {}/table.npz", "--save", "x.npy", ".npz"),
        ("evaluate {}/table.npz", "--plot", "x.png", ".html"),
        ("bias {}/scores.csv", "--save", "x", ".npz"),
        ("calibrate mini {}/people", "--plot", "x.svg", ".html"),
        ("embed {}/people --labels {}/new.txt", "--out", "x.csv", ".npy"),
        (
            "train-on-top --embeddings {}/embeddings.npy --labels {}/labels.txt",
            "--out",
            "x.onnx",
            ".npz",
        ),
    ],
)
def test_every_output_is_checked_before_the_work(
    kept, tmp_path, monkeypatch, command, option, name, wanted
):
    arguments = [part.format(kept) for part in command.split(" ")]
    result = run(*arguments, option, tmp_path / name)
    assert result.exit_code == 2
    assert f"{option} {name}: name a file that ends in {wanted}" in result.output
    result = run(*arguments, option, tmp_path / "none" / f"x{wanted}")
    assert result.exit_code == 2
    assert f"x{wanted}' cannot be written: there is no such folder" in result.output
    (tmp_path / f"folder{wanted}").mkdir()
    assert run(*arguments, option, tmp_path / f"folder{wanted}").exit_code == 2

    def refuse(*_, **__):
        raise OSError(EROFS, os.strerror(EROFS))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    result = run(*arguments, option, tmp_path / f"x{wanted}")
    assert result.exit_code == 2
    assert f"x{wanted}' cannot be written: Read-only file system" in result.output
    assert [path.name for path in tmp_path.iterdir()] == [f"folder{wanted}"]


@pytest.mark.usefixtures("unused")
def test_embeddings_and_labels_are_two_files(kept, tmp_path):
    both = tmp_path / "both.npy"
    result = run("embed", kept / "people", "--out", both, "--labels", both)
    assert result.exit_code == 2
    assert "are the same file" in result.output


@pytest.mark.parametrize("name", ["X.NPY", "X.Npy"])
def test_a_suffix_may_be_in_capitals(kept, tmp_path, name):
    people, labels = kept / "people", tmp_path / "labels.txt"
    assert (
        run("embed", people, "--aligned", "--out", tmp_path / name, "--labels", labels).exit_code
        == 0
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, "labels.txt"]
    scored = ("--embeddings", tmp_path / name, "--labels", labels, "--fmr", 0.5)
    assert run("evaluate", *scored).exit_code == 0


def test_a_name_that_is_too_long_is_refused(tmp_path):
    with pytest.raises(NotWritten, match="too long"):
        check_out(tmp_path / f"{'x' * 300}.html")


def test_a_write_protected_file_is_refused(tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    page.write_text("old", encoding="utf-8")
    page.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) != page)  # as it is but for root
    with pytest.raises(NotWritten, match="write-protected"):
        check_out(page)
    assert page.read_text(encoding="utf-8") == "old"


def test_a_hidden_or_other_file_of_a_folder_is_no_source(tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    (folder / "page.html").write_text("old", encoding="utf-8")
    check_out(folder / "page.html", sources=[folder, None, "", tmp_path / "absent"])
    with pytest.raises(BadSetting, match="would be overwritten"):
        check_out(folder / "page.html", sources=[folder / "page.html"])


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_link_with_another_suffix_gets_the_format_of_its_own_name(kept, tmp_path, kind):
    target = tmp_path / "target.arrow"
    link = tmp_path / f"link.{kind}"
    link.symlink_to(target)
    assert run("score", kept / "people", *QUICK, "--out", link).exit_code == 0
    head = {"csv": b"path,quality", "parquet": b"PAR1"}[kind]
    assert target.read_bytes().startswith(head)


@pytest.mark.usefixtures("unused")
def test_a_card_is_checked_before_its_network_is_opened(tmp_path):
    for path in MODELS.glob("mini-*"):
        (tmp_path / path.name.replace("mini", "mine")).write_bytes(path.read_bytes())
    (tmp_path / "mine.card.toml").mkdir()  # in the card's place
    result = run("models", "inspect", tmp_path / "mine-symbol.json", "--save")
    assert result.exit_code == 2
    assert "mine.card.toml' cannot be written: it is a folder" in result.output


def test_a_network_is_not_overwritten_by_its_scores(tmp_path):
    for path in MODELS.glob("mini-*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    network = tmp_path / "mini-symbol.json"
    result = run("score", sample_images()[0], "--model", network, "--out", network)
    assert result.exit_code == 2
    assert "would be overwritten" in result.output
    assert network.read_bytes() == (MODELS / network.name).read_bytes()
