"""Tables of many programs are read as they were meant; what cannot be read is named."""

import pytest

from serfiq_widgets.datasets.tables import (
    SUFFIXES,
    TEXTS,
    Dialect,
    dialect_of,
    find_paths,
    own_names,
    read_table,
)
from serfiq_widgets.errors import BadTable

pd = pytest.importorskip("pandas")

WRITERS = {
    ".csv": lambda frame, path: frame.to_csv(path, index=False),
    ".tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    ".parquet": lambda frame, path: frame.to_parquet(path),
    ".arrow": lambda frame, path: frame.to_feather(path),
    ".feather": lambda frame, path: frame.to_feather(path),
}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_table_comes_back(tmp_path, suffix):
    frame = pd.DataFrame({"path": ["a.jpg", "ü, b.jpg"], "raw": [0.5, None], "faces": [1, 2]})
    WRITERS[suffix](frame, tmp_path / f"t{suffix}")
    pd.testing.assert_frame_equal(read_table(tmp_path / f"t{suffix}"), frame)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_broken_table_is_named(tmp_path, suffix):
    (tmp_path / f"t{suffix}").write_bytes(b"" if suffix in TEXTS else b"no table")
    with pytest.raises(BadTable, match=f"t{suffix}"):
        read_table(tmp_path / f"t{suffix}")


def test_missing_tables_and_other_files_are_named(tmp_path):
    with pytest.raises(BadTable, match=r"none\.csv"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(BadTable, match=r"\.parquet"):
        read_table(tmp_path / "face.jpg")


@pytest.mark.parametrize(
    ("content", "dialect"),
    [
        ("path,name\na.jpg,Jürgen".encode(), Dialect("utf-8", ",", ("path", "name"))),
        ("path;name\na.jpg;Jürgen".encode("utf-8-sig"), ("utf-8-sig", ";")),
        ("path\tname\na.jpg\tJürgen".encode("utf-16"), ("utf-16", "\t")),
        ("path;name\na.jpg;Jürgen".encode("latin-1"), ("latin-1", ";")),
        ("path;name\na.jpg;\u20ac".encode("cp1252"), ("cp1252", ";")),
        (b"path;name\na.jpg;\x81\xfc", ("latin-1", ";")),  # no letter of Windows
        (b"sep=;\npath;name\na.jpg;b", Dialect("utf-8", ";", ("path", "name"), 1)),
        (b"path|name\na.jpg|b", ("utf-8", "|")),
        (b'"last, first";path\n"a, b";a.jpg', ("utf-8", ";")),  # the path decides
        (b"path\na.jpg", Dialect("utf-8", ",", ("path",))),
        (b"name;size\na;1", ("utf-8", ";")),  # then the most columns
        (b"", Dialect("utf-8", ",", ())),
    ],
)
def test_how_a_text_is_written_is_found(tmp_path, content, dialect):
    (tmp_path / "t.csv").write_bytes(content)
    found = dialect_of(tmp_path / "t.csv")
    if isinstance(dialect, Dialect):
        assert found == dialect
    else:
        assert (found.encoding, found.delimiter) == dialect
        assert len(found.names) == 2
        assert read_table(tmp_path / "t.csv").shape == (1, 2)


def test_a_letter_between_two_blocks_is_no_latin(tmp_path, monkeypatch):
    monkeypatch.setattr("serfiq_widgets.datasets.tables.BLOCK", 7)
    (tmp_path / "t.csv").write_text("path,n\nüüüüü,1", encoding="utf-8")
    assert dialect_of(tmp_path / "t.csv").encoding == "utf-8"


@pytest.mark.parametrize("suffix", [".csv", ".CSV", ".tsv"])
def test_zeros_before_a_number_stay(tmp_path, suffix):
    text = "id,day,size\n007,2020,1.5\n12,01,2\n".replace(",", "\t" if suffix == ".tsv" else ",")
    (tmp_path / f"t{suffix}").write_text(text)
    frame = read_table(tmp_path / f"t{suffix}")
    assert list(frame.id) == ["007", "12"]
    assert list(frame.day) == ["2020", "01"]
    assert list(frame["size"]) == [1.5, 2.0]


@pytest.mark.parametrize(
    ("names", "column", "found"),
    [
        (["a", "path"], "path", "path"),
        (["image", "Filename"], "path", "Filename"),
        (["Image "], "path", "Image "),
        (["file"], "photo", None),
        ([3, "photo"], "photo", "photo"),
        ([], "path", None),
    ],
)
def test_the_column_of_paths_is_found(names, column, found):
    assert find_paths(names, column) == found


def test_own_columns_do_not_meet_those_of_scores():
    assert own_names(["path", "raw", "age"], ["raw", "box"]) == ["path", "own_raw", "age"]
    assert own_names(["raw", "own_raw"], ["raw"]) == ["own_own_raw", "own_raw"]
