"""The stage on a page of its own: what it shows are the library's numbers, on any screen."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest

from serfiq_widgets import Ruin
from serfiq_widgets.resources import sample_images

pytest.importorskip("playwright.sync_api")
pytest.importorskip("voila")

from served import LOCAL, served

AXE = Path(importlib.util.find_spec("axe_playwright_python").origin).parent / "axe.min.js"
SCREENS = ((1366, 768), (1920, 1080), (911, 512), (720, 900), (390, 844), (360, 640))
PARTS = ("face", "cloud", "numbers", "controls")
SERVE = """
import serfiq_widgets.server.dashboard as demo
from pathlib import Path
demo.folder = lambda _: Path('%s')
demo.serve({port}, browser=False)
"""


@pytest.fixture(scope="module")
def stage_page(tmp_path_factory):
    """The address of a page that consists of one stage."""
    folder = tmp_path_factory.mktemp("stage")
    cell = nbformat.v4.new_code_cell("from serfiq_widgets import Stage\n\nStage()")
    kernel = {"name": "python3", "display_name": "Python 3"}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / "dashboard.ipynb")
    with served(folder / "log.txt", "-c", SERVE % folder) as address:
        yield address


@pytest.fixture
def open_stage(chromium, stage_page):
    """Opens the page in a fresh context; afterwards: no outside request, no error."""
    contexts, outside, errors = [], [], []

    def note(request):
        if not request.url.startswith(("data:", "blob:", *(f"http://{host}" for host in LOCAL))):
            outside.append(request.url)

    def start(width=1366, height=768, **settings):
        context = chromium.new_context(viewport={"width": width, "height": height}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.on("request", note)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.goto(stage_page)
        page.wait_for_function(
            "document.querySelector('.serfiq-stage .serfiq-quality')?.textContent", timeout=60_000
        )
        return page

    yield start
    for context in contexts:
        context.close()
    assert outside == []
    assert errors == []


def wait_for(page, result):
    """Wait until the stage shows a result."""
    page.wait_for_function(
        "text => document.querySelector('.serfiq-quality').textContent === text",
        arg=str(result.quality),
        timeout=20_000,
    )
    page.wait_for_function(
        "count => document.querySelectorAll('.sq-dot:not(.sq-hidden)').length === count",
        arg=result.passes,
    )


@pytest.mark.parametrize("screen", SCREENS)
def test_all_is_on_the_first_screen_and_nothing_lies_on_a_control(open_stage, screen):
    width, height = screen
    page = open_stage(width, height, has_touch=width < 500, is_mobile=width < 500)
    for part in PARTS:
        box = page.locator(f".serfiq-stage .serfiq-{part}").bounding_box()
        assert box["y"] >= 0, part
        assert box["y"] + box["height"] <= height, part
        assert box["x"] >= 0, part
        assert box["x"] + box["width"] <= width, part
    hidden = page.evaluate("""() => {
        const kinds = ':is(input, select, button, summary)';
        return [...document.querySelectorAll(`.serfiq-stage ${kinds}`)].filter((one) => {
            if (!one.checkVisibility()) return false;
            const { left, top, width, height } = one.getBoundingClientRect();
            return document.elementFromPoint(left + width / 2, top + height / 2) !== one;
        }).map((one) => one.outerHTML);
    }""")
    assert hidden == []


def test_face_and_cloud_are_large(open_stage):
    page = open_stage()
    for part in ("face", "cloud"):
        assert page.locator(f".serfiq-{part}").bounding_box()["width"] >= 400


def test_buttons_are_large_enough_for_a_finger(open_stage):
    page = open_stage(390, 844, has_touch=True, is_mobile=True)
    page.locator(".sq-more summary").click()
    targets = page.locator(".serfiq-stage :is(button, select, input, summary)")
    assert targets.count() == 12
    for target in targets.all():
        assert target.bounding_box()["height"] >= 40, target.evaluate("one => one.outerHTML")


def test_the_controls_work_by_keyboard_and_all_follows(open_stage, scorer):
    page = open_stage()
    clean = scorer.score(sample_images()[0], passes=200)
    wait_for(page, clean.at(100))
    page.locator("[name=passes]").focus()
    page.keyboard.press("Home")
    wait_for(page, clean.at(2))
    page.keyboard.press("End")
    wait_for(page, clean)
    before = page.locator(".serfiq-face").get_attribute("src")
    size = float(page.locator(".sq-size").get_attribute("r"))
    page.locator("[name=brightness]").focus()
    page.keyboard.press("Home")
    face = clean.face
    dark = scorer.score(replace(face, pixels=Ruin(brightness=-5).apply(face.pixels)), passes=200)
    wait_for(page, dark)
    assert page.locator(".serfiq-face").get_attribute("src") != before
    assert float(page.locator(".sq-size").get_attribute("r")) > 2 * size
    assert float(page.locator(".sq-before").get_attribute("r")) == size
    assert page.locator(".sq-change").inner_text() == f"Before: {clean.quality}"
    assert page.locator(".serfiq-verdict").inner_text().startswith("Poor")
    page.locator(".sq-undo").click()
    wait_for(page, clean)
    assert page.locator(".sq-before").count() == 0


def test_the_folded_controls_and_the_choice_work(open_stage, scorer):
    page = open_stage()
    page.locator("[name=cover]").select_option("sunglasses")
    face = scorer.score(sample_images()[0], passes=100).face
    ruin = Ruin(cover="sunglasses")
    wait_for(page, scorer.score(replace(face, pixels=ruin.apply(face.pixels)), passes=100))
    page.locator(".sq-more summary").click()
    page.locator("[name=noise]").fill("50")
    ruin = Ruin(cover="sunglasses", noise=50)
    wait_for(page, scorer.score(replace(face, pixels=ruin.apply(face.pixels)), passes=100))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_both_themes_are_readable(open_stage, scheme):
    page = open_stage(color_scheme=scheme)
    page.wait_for_timeout(300)
    assert (page.locator(".serfiq-stage.sq-dark").count() == 1) == (scheme == "dark")
    page.locator(".sq-more summary").click()
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run('.serfiq-stage')")["violations"]
    assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
