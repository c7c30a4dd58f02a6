"""The report: one page, offline, without faces unless they are asked for."""

import csv
import re

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("plotly")

from serfiq_widgets.cli.main import main
from serfiq_widgets.errors import BadTable
from serfiq_widgets.evaluation.groups import as_table
from serfiq_widgets.figures.report import report_html

EVIL = "<img src=x onerror=alert(1)>"


def run(*arguments):
    return CliRunner().invoke(main, ["report", *map(str, arguments)])


def text(html):
    """What a person reads of a page."""
    body = re.sub(r"(?s)<(script|style).*?</\1>", " ", html)
    return " ".join(re.sub("<[^>]*>", " ", body).split())


@pytest.fixture(scope="module")
def folder(aligned_folder, tmp_path_factory):
    """Ten faces named as in UTKFace, and a broken one."""
    to = tmp_path_factory.mktemp("report") / "faces & friends"
    to.mkdir()
    for i, path in enumerate(sorted(aligned_folder.iterdir())):
        (to / f"{20 + i}_{i % 2}_0_2017.png").write_bytes(path.read_bytes())
    (to / "30_0_0_2018.jpg").write_bytes(b"broken")
    return to


@pytest.fixture(scope="module")
def page(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("pages") / "report.html"
    result = run(folder, "--aligned", "--passes", 10, "--out", out)
    assert result.exit_code == 0, result.output
    return out.read_text(encoding="utf-8")


def test_the_page_says_what_was_scored_and_how(page, scorer):
    said = text(page)
    assert "Face image quality: faces &amp; friends" in said
    for fact in ("images 11 scored 10 not scored 1", "model mini", "passes T 10", "seed 0"):
        assert fact in said
    assert scorer.network.sha256 in said
    assert "30_0_0_2018.jpg" in said.partition("Why not scored")[2].partition("Distribution")[0]
    for title in ("Groups by age", "Groups by gender", "Groups by ethnicity", "CVPR"):
        assert title in said
    assert "20-29*" in said
    assert "1 images without" in said


def test_the_page_needs_nothing_else_and_shows_no_face(page):
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", page)
    assert "<img" not in page.partition("<script")[0]
    assert page.count("Plotly.newPlot(") >= 7  # a histogram, and two pictures of each attribute
    assert len(page) < 6e6  # plotly once


def test_faces_are_shown_on_demand_best_first(folder, tmp_path):
    scores = tmp_path / "scores.csv"
    with scores.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "quality"])
        for i, path in enumerate(sorted(folder.glob("*.png"))):
            writer.writerow([path, 10 * i])
        writer.writerow([tmp_path / "gone.jpg", 5])
    assert run(scores, "--images", 2, "--out", tmp_path / "x.html").exit_code == 0
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    assert page.count('<img src="data:image/jpeg;base64,') == 3
    faces = text(page).partition("Best and worst images")[2]
    assert [int(q) for q in re.findall(r"(\d+): [\w.]+(?:png|jpg)", faces)] == [90, 80, 0, 5]
    assert "gone.jpg" in faces


def test_names_are_text_not_markup():
    table = as_table(
        {
            "path": [f"{EVIL}{i}.jpg" for i in range(4)],
            "quality": [10, 20, 30, np.nan],
            "camera": [f"</script>{EVIL}", "b", "b", "b"],
            "error": ["", "", "", f"'{EVIL}' is no image"],
        },
        name=EVIL,
        model=EVIL,
    )
    page = report_html(table, by=["camera"], images=1, curves={EVIL: (EVIL, figure())})
    assert EVIL not in page
    assert "</script>&lt;" not in page
    assert "&lt;img src=x" in page


def figure():
    import plotly.graph_objects as go

    return go.Figure()


def test_people_in_sub_folders_are_compared(lfw, tmp_path):
    people = [p for p in sorted(lfw.iterdir()) if len(list(p.glob("*.jpg"))) > 2][:12]
    faces = tmp_path / "faces"
    for person in people:
        (faces / person.name).mkdir(parents=True)
        for path in sorted(person.glob("*.jpg"))[:3]:
            (faces / person.name / path.name).write_bytes(path.read_bytes())
    out = tmp_path / "x.html"
    assert run(faces, "--aligned", "--passes", 10, "--out", out).exit_code == 0
    said = text(out.read_text(encoding="utf-8"))
    assert "Error versus discard" in said
    assert "36 images of 12 people, 36 genuine and 594 impostor comparisons" in said
    assert "T = 10; FMR 0.1." in said


def test_groups_come_from_a_table_too(folder, tmp_path):
    groups = tmp_path / "groups.csv"
    lines = (f"{path.name},{'ab'[i % 2]}" for i, path in enumerate(sorted(folder.iterdir())))
    groups.write_text("path,camera\n" + "\n".join(lines))
    out = tmp_path / "x.html"
    result = run(folder, "--aligned", "--passes", 2, "--groups", groups, "--out", out)
    assert result.exit_code == 0, result.output
    assert "Groups by camera" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--out", "x.pdf"], "ends in .html"),
        (["--out", "no/such/x.html"], "no such folder"),
        (["--by", "shoes"], "no column 'shoes'"),
    ],
)
def test_wrong_usage_is_one_sentence(arguments, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scores.csv").write_text("path,quality\na.jpg,5\n")
    result = run("scores.csv", *arguments)
    assert result.exit_code == 2
    assert hint in " ".join(result.output.split())


def test_nothing_to_report_is_said():
    with pytest.raises(BadTable, match="nothing to report"):
        report_html(as_table({"quality": [np.nan]}))
    with pytest.raises(BadTable, match="no column 'quality'"):
        report_html(as_table({"raw": [0.5]}))
