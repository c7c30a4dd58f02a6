"""Every notebook runs top to bottom, and is committed clean."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from serfiq_widgets.widgets.exercises import EXERCISES, check
from tools.lesson_answers import RIGHT
from tools.lesson_numbers import Line, failure, lines_of, markdown, problems, table

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's client
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_notebook_runs(path):
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert any("application/vnd.jupyter.widget-view+json" in o.get("data", {}) for o in outputs)


def test_notebooks_are_committed_clean():
    tool = ROOT / "tools" / "clean_notebooks.py"
    command = [sys.executable, str(tool), "--check", str(ROOT / "notebooks")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_table_of_all_numbers_is_up_to_date():
    page = (ROOT / "docs" / "lesson_numbers.md").read_text(encoding="utf-8")
    assert page == table(), "python tools/lesson_numbers.py > docs/lesson_numbers.md"


def test_a_wrong_number_is_found():
    names = {"quality": 67.3, "few": True}
    assert failure(Line("about 67", "quality", None), names) is None
    assert failure(Line("67.3", "quality", None), names) is None
    for piece, held in (("about 68", "quality"), ("67 of 90", "quality"), ("many", "not few")):
        assert failure(Line(piece, held, None), names)


def test_a_number_without_a_check_is_found():
    block = "\n\n<!-- numbers (tools/lesson_numbers.py)\n{}\n-->"
    assert problems("Lesson 1 gives 67.") == ["67 has no check: ... gives 67...."]
    assert problems("It gives 67." + block.format("gives 67 :: quality")) == []
    assert problems("It gives 67 and 70." + block.format("gives 67 :: quality"))
    assert problems("It gives 67." + block.format("gives 66 :: quality"))
    assert problems("It gives 67." + block.format("gives 67"))


LESSONS = [path for path in NOTEBOOKS if path.stem[0].isdigit()]


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_each_number_of_a_lesson_has_a_check(path):
    assert [problem for _, text in markdown(path) for problem in problems(text)] == []


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_the_lessons_solutions_run(path):
    """Cells and solutions in one go, as a student who tries each solution in turn.

    What the text then says in numbers must be what they give, and `check` must accept it.
    """
    names = {}
    solved = 0
    wrong = []
    asked = None
    checked = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, path.name, "exec"), names)  # noqa: S102  # our own lesson
            asked = re.search(r'check\("(\d\.\d)"', cell.source) or asked
        solution = "<summary>Solution</summary>" in cell.source
        for code in re.findall(r"```python\n(.*?)```", cell.source, re.DOTALL):
            exec(compile(code, path.name, "exec"), names)  # noqa: S102
        solved += solution
        if solution and asked:
            number = asked[1]
            verdict = check(number, eval(RIGHT[number], names))  # noqa: S307
            assert verdict.right, (number, verdict)
            checked.append(number)
        if cell.cell_type == "markdown":
            wrong += filter(None, (failure(line, names) for line in lines_of(cell.source)))
    assert solved >= 3
    assert wrong == []
    assert checked == [number for number in EXERCISES if path.stem[1] == number[0]]
