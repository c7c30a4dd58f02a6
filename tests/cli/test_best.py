"""`serfiq best`: the first ones by the library's own scores."""

import json
import shutil

import pytest
from click.testing import CliRunner

from serfiq_widgets.cli.main import main
from serfiq_widgets.resources import sample_images


def run(*arguments, code=0):
    answer = CliRunner().invoke(main, ["best", *map(str, arguments)])
    assert answer.exit_code == code, answer.output
    return answer


@pytest.fixture
def people(tmp_path):
    """Two people's folders with three photos each, and a file that is no photo."""
    for path in sample_images():
        person, _, ruin = path.stem.partition("_")
        if ruin in ("", "mask", "blur", "bar", "jpeg"):
            (tmp_path / person).mkdir(exist_ok=True)
            shutil.copy(path, tmp_path / person)
    (tmp_path / "hopper" / "broken.jpg").write_bytes(b"no image")
    return tmp_path


def test_the_best_photos_come_first(people, scorer):
    answer = run(people, "-n", "3", "--json")
    found = json.loads(answer.stdout)
    photos = sorted(p for p in people.rglob("*.jpg") if p.name != "broken.jpg")
    scores = {str(path): scorer.score(path, passes=100) for path in photos}
    wanted = sorted(scores, key=lambda path: -scores[path].best)[:3]
    assert [row["path"] for row in found] == wanted
    assert [row["quality"] for row in found] == [scores[path].quality for path in wanted]
    assert "1 of 7 could not be scored" in answer.stderr


def test_the_best_photo_of_each_person(people):
    found = json.loads(run(people, "--per-folder", "--json", "--quiet").stdout)
    assert [row["path"] for row in found] == [
        str(people / person / f"{person}.jpg") for person in ("collins", "hopper")
    ]


def test_the_table_names_the_photo_and_its_quality(people, scorer):
    shown = run(people / "collins").stdout
    assert "collins.jpg" in shown
    assert str(scorer.score(people / "collins" / "collins.jpg", passes=100).quality) in shown
    assert "collins_blur.jpg" not in shown


def test_nothing_to_choose_from_is_said(tmp_path):
    assert "There is no image in" in run(tmp_path, code=2).stderr
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    assert "1 of 1 could not be scored" in run(tmp_path, code=1).stderr
