"""The lessons' exercises: wrong answers, hints, and answers of another form."""

from pathlib import Path

import pytest

from serfiq_widgets.errors import BadSetting
from serfiq_widgets.widgets.answers import Numbers
from serfiq_widgets.widgets.exercises import EXERCISES, check
from tools.lesson_answers import RIGHT, WRONG, table

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("number", EXERCISES)
def test_wrong_answers_are_told_what_is_wrong_but_not_the_right_one(number):
    assert len(WRONG[number]) >= 3
    texts = [check(number, answer) for answer in WRONG[number]]
    assert not any(verdict.right for verdict in texts)
    assert all(len(verdict.text) > 10 for verdict in texts)
    assert len({verdict.text for verdict in texts}) >= 3  # no answer of one phrase for all
    if isinstance(judge := EXERCISES[number].judge, Numbers):
        right = {f"{value:g}" for value in judge.right if value >= 10 or value % 1}
        for text in [*(verdict.text for verdict in texts), *EXERCISES[number].hints]:
            assert not right & {word.strip(".,;:()") for word in text.split()}


@pytest.mark.parametrize("number", EXERCISES)
def test_no_answer_yet_says_what_is_wanted(number):
    for nothing in (None, ...):
        assert repr(check(number, nothing)).startswith("No answer yet. Wanted: ")


@pytest.mark.parametrize("number", EXERCISES)
def test_hints_come_one_by_one(number):
    small, large = EXERCISES[number].hints
    none, one, two = (check(number, WRONG[number][0], hints=k).text for k in range(3))
    assert one == f"{none}\nHint 1: {small}"
    assert two == f"{one}\nHint 2: {large}"
    assert small != large


@pytest.mark.parametrize("answer", ["x", {}, object(), [[1], [2, 3]], float("inf"), [], 1j])
def test_an_answer_of_another_form_is_no_error(answer):
    for number in EXERCISES:
        assert not check(number, answer).right


def test_unknown_exercises_and_hints():
    for number, hints in (("9.9", 0), ("x", 1), ("1.1", 3), ("1.1", "all")):
        with pytest.raises(BadSetting):
            check(number, 1, hints)


def test_each_exercise_has_answers_and_the_page_is_up_to_date():
    assert list(RIGHT) == list(WRONG) == list(EXERCISES)
    page = (ROOT / "docs" / "lesson_answers.md").read_text(encoding="utf-8")
    assert page == table(), "python tools/lesson_answers.py > docs/lesson_answers.md"
