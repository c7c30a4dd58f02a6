"""Where groups come from: columns, bins, file names; and the command that shows them."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

from serfiq_widgets.cli.main import main
from serfiq_widgets.errors import BadTable
from serfiq_widgets.evaluation.groups import as_table, binned, join, labels, load, utkface


def run(*arguments):
    return CliRunner().invoke(main, ["bias", *map(str, arguments)])


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """Scores of eighty faces named as in UTKFace, of two misnamed ones, and of one that failed."""
    path = tmp_path_factory.mktemp("scores") / "scores.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "quality", "raw", "passes", "model", "error"])
        for i in range(80):
            raw = 0.7 + i / 1000
            name = f"faces/{i}_{i % 2}_{i % 3}_2017{i:04}.jpg.chip.jpg"
            writer.writerow([name, i + 10, raw, 100, "mini", ""])
        writer.writerow(["faces/61_1_20170109142408075.jpg", 50, 0.75, 100, "mini", ""])
        writer.writerow(["faces/unknown.jpg", 50, 0.75, 100, "mini", ""])
        writer.writerow(["faces/30_1_1_2017.jpg", "", "", "", "", "no face"])
    return path


def test_utkfaces_names():
    names = ("/a/26_1_4_2017011.jpg", "100_0_0_2017.jpg.chip.jpg", "61_1_2017.jpg", "5_2_0_1.jpg")
    columns, malformed = utkface(names)
    assert columns["age"][:2].tolist() == [26, 100]
    assert columns["gender"].tolist() == ["female", "male", "", ""]
    assert columns["ethnicity"].tolist() == ["other", "White", "", ""]
    assert np.isnan(columns["age"][2:]).all()
    assert malformed == ["61_1_2017.jpg", "5_2_0_1.jpg"]


def test_ages_fall_into_decades_and_edges():
    ages = np.array([0, 9, 10, 89, 90, 116, np.nan, -1])
    decades = labels(as_table({"age": ages}), "age")
    assert [decades.names[code] if code >= 0 else None for code in decades.codes] == [
        *("0-9", "0-9", "10-19", "80-89", "90+", "90+", None, None)
    ]
    assert decades.ordered
    assert binned(ages, [0, 18, 19]).names == ("0-17", "18", "19+")
    assert binned(ages, [0.5, 1]).names == ("0.5 to 1", "1+")
    for edges in ([3, 2], []):
        with pytest.raises(BadTable, match="must be ascending"):
            binned(ages, edges)


def test_values_are_groups_in_natural_order():
    table = as_table({"camera": np.array(["c10", "c9", None, "", "C1"], object), "id": range(5)})
    found = labels(table, "camera")
    assert found.names == ("C1", "c9", "c10")
    assert found.codes.tolist() == [2, 1, -1, -1, 0]
    assert labels(table, "id").names == ("0", "1", "2", "3", "4")
    many = as_table({"id": np.arange(25)})
    with pytest.raises(BadTable, match=r"25 different values.*--edges id="):
        labels(many, "id")
    with pytest.raises(BadTable, match="no column 'who'; it has: camera, id"):
        labels(table, "who")


@pytest.mark.parametrize(
    ("table", "hint"),
    [
        (7, "int is not a table"),
        ({}, "columns of the same length"),
        ({"a": [1], "b": [1, 2]}, "columns of the same length"),
        ({"a": []}, "at least one row"),
        ({"a": [[1, 2]]}, "columns of the same length"),
    ],
)
def test_what_is_no_table_is_said(table, hint):
    with pytest.raises(BadTable, match=hint):
        as_table(table)


def test_data_frames_are_tables():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"quality": [1, None, 3], "group": ["a", "b", None], "seed": [4] * 3})
    table = as_table(frame, name="ours")
    assert table.about == {"seed": 4, "name": "ours"}
    assert labels(table, "group").codes.tolist() == [0, 1, -1]
    assert np.isnan(table.numbers("quality")[1])
    with pytest.raises(BadTable, match="'group' has a value that is not a number"):
        table.numbers("group")


def test_groups_join_on_the_path_or_else_on_the_file_name():
    scores_ = as_table({"path": ["x/1.jpg", "x/2.jpg", "x/3.jpg"], "raw": [0.1, 0.2, 0.3]})
    whole = as_table({"path": ["x/3.jpg", "x/1.jpg"], "kind": ["b", "a"], "age": [7, 8]})
    wide, alone = join(scores_, whole)
    assert alone == 1
    assert wide.columns["kind"].tolist() == ["a", None, "b"]
    np.testing.assert_array_equal(wide.columns["age"], [8, np.nan, 7])
    by_name, _ = join(scores_, as_table({"path": ["y/2.jpg"], "kind": ["c"]}))
    assert by_name.columns["kind"].tolist() == [None, "c", None]
    with pytest.raises(BadTable, match="in two rows"):
        join(scores_, as_table({"path": ["x/1.jpg"] * 2, "kind": ["a", "b"]}))
    for strangers in (["z.jpg"], ["a/1.jpg", "b/1.jpg"]):  # or it could be either
        with pytest.raises(BadTable, match=r"No path of the groups.*x/1\.jpg"):
            join(scores_, as_table({"path": strangers, "kind": strangers}))


def test_the_saved_table_names_nobody(scores, tmp_path):
    small = tmp_path / "small.npz"
    assert run(scores, "--save", small).exit_code == 0
    with np.load(small, allow_pickle=False) as archive:
        assert set(archive.files) == {"age", "gender", "ethnicity", "quality", "raw", "about"}
        assert archive["quality"].dtype == archive["age"].dtype == np.uint8
        everything = b"".join(archive[name].tobytes() for name in archive.files)
    assert b"jpg" not in everything
    table = load(small)
    assert len(table) == 80  # without the failed and the misnamed ones
    assert table.about == {"model": "mini", "passes": 100, "name": "scores.csv"}
    assert table.columns["age"].tolist() == sorted(table.columns["age"])  # in no order of files
    assert table.columns["raw"].tolist() == sorted(round(0.7 + i / 1000, 4) for i in range(80))
    again = json.loads(run(small, "--json").stdout)
    assert again["groups"] == json.loads(run(scores, "--json").stdout)["groups"]


def test_json_says_all(scores):
    result = run(scores, "--by", "age,gender", "--threshold", 30, "--edges", "age=0,40", "--json")
    assert result.exit_code == 0, result.output
    assert "2 of 83 file names are not" in result.stderr
    record = json.loads(result.stdout)
    assert (record["images"], record["malformed_names"]) == (83, 2)
    assert record["left_out"] == {"age": 3, "gender": 3}
    assert (record["model"], record["passes"], record["threshold"]) == ("mini", 100, 30)
    young, old = record["groups"]["age"]
    assert (young["group"], young["n"], young["below"], young["rate"]) == ("0-39", 40, 20, 0.5)
    assert (old["group"], old["rate"], old["delta"]) == ("40+", 0, 1)
    assert [row["group"] for row in record["groups"]["gender"]] == ["female", "male"]


def test_tables_mark_small_groups_and_say_what_is_left_out(scores):
    result = run(scores)
    assert result.exit_code == 0, result.output
    assert "83 images of scores.csv, score: quality, model mini, T 100" in result.output
    for part in ("0-9*", "fewer than 30 images", "Left out: 3 images", "no statement about people"):
        assert part in " ".join(result.output.split())
    assert "below 0.7405" in run(scores, "--column", "raw").output  # the median
    # 10 to 89, and 50 twice more: a tenth of 82 is eight and a bit
    assert "below 19 " in run(scores, "--discard", 0.1).output
    assert "  -  " in run(scores, "--threshold", 101).output  # nobody stays to have a share
    assert "FNMR 0.75" in run(scores, "--column", "raw", "--threshold", 0.75, "--genuine").output


def test_fnmr_is_that_of_the_genuine_pairs(tmp_path):
    pairs = tmp_path / "pairs.csv"
    rows = [("a", 1, 0.9), ("a", 1, 0.2), ("b", 1, 0.8), ("b", 0, 0.1), ("b", 0, 0.0)]
    pairs.write_text("who,genuine,score\n" + "\n".join(f"{w},{g},{s}" for w, g, s in rows))
    options = ("--genuine", "--by", "who", "--column", "score", "--threshold", 0.5)
    record = json.loads(run(pairs, *options, "--json").stdout)
    assert record["images"] == 3
    assert [(row["group"], row["rate"]) for row in record["groups"]["who"]] == [
        ("a", 0.5),
        ("b", 0),
    ]


def test_a_folder_is_scored_first(tmp_path, aligned_folder):
    for i, path in enumerate(sorted(aligned_folder.iterdir())):
        (tmp_path / f"{20 + i}_{i % 2}_0_2017.png").write_bytes(path.read_bytes())
    (tmp_path / "30_0_0_2018.jpg").write_bytes(b"broken")
    result = run(tmp_path, "--aligned", "--passes", 10, "--by", "gender", "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert (record["name"], record["model"], record["passes"]) == (tmp_path.name, "mini", 10)
    assert record["left_out"] == {"gender": 1}
    assert [row["n"] for row in record["groups"]["gender"]] == [5, 5]
    sampled = run(tmp_path, "--aligned", "--passes", 2, "--by", "gender", "--sample", 3, "--json")
    assert json.loads(sampled.stdout)["images"] == 3


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--column", "beauty"], "no column 'beauty'"),
        (["--by", "shoes"], "no column 'shoes'"),
        (["--by", "path"], "83 different values"),
        (["--threshold", "5", "--discard", "0.1"], "one of --threshold and --discard"),
        (["--edges", "age=young"], "age=0,18,40,60"),
        (["--save", "x.csv"], "ends in .npz"),
        (["--groups", "README.md"], "is not a table"),
    ],
)
def test_wrong_usage_is_one_sentence(scores, arguments, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("no table")
    result = run(scores, *arguments)
    assert result.exit_code == 2
    assert hint in " ".join(result.output.split())


def test_sources_that_say_nothing(tmp_path):
    (tmp_path / "odd.csv").write_text("path,quality\na.jpg,5\nb.jpg,6\n")
    assert "Give them with --groups" in " ".join(run(tmp_path / "odd.csv").output.split())
    (tmp_path / "broken.npz").write_bytes(b"PK not a table")
    assert "'broken.npz' cannot be read" in run(tmp_path / "broken.npz").output
    (tmp_path / "empty").mkdir()
    assert "There is no image" in run(tmp_path / "empty").output
