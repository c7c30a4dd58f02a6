"""`serfiq lessons copy`: notebooks in a folder of one's own, without loss of answers."""

import json
import os

import pytest
from click.testing import CliRunner

from serfiq_widgets.cli.main import main
from serfiq_widgets.resources import folder

NAMES = sorted(path.name for path in folder("notebooks").glob("0*.ipynb"))


def copy(*arguments):
    result = CliRunner().invoke(main, ["lessons", "copy", *map(str, arguments)])
    return result.exit_code, result.output


def test_all_lessons_are_copied_into_a_new_folder(tmp_path):
    target = tmp_path / "a class" / "ü"
    code, output = copy(target)
    assert code == 0
    assert len(NAMES) == 7
    assert sorted(path.name for path in target.iterdir()) == NAMES
    for name in NAMES:
        assert (target / name).read_bytes() == (folder("notebooks") / name).read_bytes()
        assert json.loads((target / name).read_text(encoding="utf-8"))["cells"]
    assert output.count("copied   ") == len(NAMES)
    assert f"jupyter lab {target}" in output


def test_answers_are_kept_unless_told_otherwise(tmp_path):
    copy(tmp_path)
    mine = tmp_path / NAMES[1]
    mine.write_text("my answers")
    (tmp_path / "notes.txt").write_text("mine")
    code, output = copy(tmp_path)
    assert (code, mine.read_text()) == (0, "my answers")
    assert "--replace" in output
    assert output.count("the same") == len(NAMES) - 1
    code, output = copy(tmp_path, "--replace")
    assert code == 0
    assert mine.read_bytes() == (folder("notebooks") / NAMES[1]).read_bytes()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    code, output = copy(tmp_path / "file")
    assert code == 2
    assert "Traceback" not in output
    assert (tmp_path / "file").read_text() == ""
    (tmp_path / NAMES[0]).mkdir()
    code, output = copy(tmp_path, "--replace")
    assert code == 2
    assert NAMES[0] in output


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_line(tmp_path):
    tmp_path.chmod(0o500)
    assert copy(tmp_path / "new")[0] == 2
