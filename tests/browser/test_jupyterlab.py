"""In JupyterLab: Explorers, a part and a stage in one notebook, each with a state of its own."""

import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress

import nbformat
import pytest

from serfiq_widgets.resources import folder

sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("jupyterlab")

COLLINS, HOPPER = (folder("sample_images") / f"{n}.jpg" for n in ("collins", "hopper"))
CELLS = (
    "from serfiq_widgets import Explorer, RunningScoreView, Stage",
    f"Explorer({str(COLLINS)!r})",
    f"Explorer({str(HOPPER)!r}, passes=40)",
    f"RunningScoreView({str(HOPPER)!r})",
    f"Stage({str(HOPPER)!r})",
)


@pytest.fixture
def lab(tmp_path, port):
    """The address of a notebook in a running JupyterLab."""
    kernel = {"name": "python3", "display_name": "Python 3"}
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS], metadata={"kernelspec": kernel}
    )
    nbformat.write(notebook, tmp_path / "two.ipynb")
    options = {
        "port": port,
        "IdentityProvider.token": "",
        "ServerApp.root_dir": tmp_path,
        "LabApp.news_url": "",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    with (tmp_path / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [*command, *(f"--{name}={value}" for name, value in options.items())],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            for _ in range(120):
                try:
                    urllib.request.urlopen(
                        f"http://localhost:{port}/api", timeout=5
                    ).close()  # localhost
                    break
                except (urllib.error.URLError, ConnectionError):
                    time.sleep(0.5)
            yield f"http://localhost:{port}/lab/tree/two.ipynb"
        finally:
            process.terminate()
            process.wait(20)


def run_all(page, first):
    """Run all cells once the kernel answers; JupyterLab drops a run that comes before."""
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for(timeout=120_000)
    for _ in range(30):
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        with suppress(sync_api.TimeoutError):
            begun = first.locator(".jp-InputPrompt").get_by_text(re.compile(r"[*\d]"))
            begun.wait_for(timeout=5_000)
            return
    pytest.fail("JupyterLab runs no cell")


def test_two_explorers_in_one_notebook(lab, chromium, scorer):
    context = chromium.new_context(viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(lab)
    page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
    cells = page.locator(".jp-Cell")
    run_all(page, cells.nth(0))

    def raw(cell, result):
        cell.scroll_into_view_if_needed()
        wanted = cell.locator(".serfiq-raw").get_by_text(f"{result.raw:.4f}", exact=True)
        wanted.wait_for(timeout=60_000)

    first, second, part = (cells.nth(i) for i in (1, 2, 3))
    raw(first, scorer.score(COLLINS, passes=100))
    raw(second, scorer.score(HOPPER, passes=40))
    second.locator(".serfiq-passes input[type=range]").focus()
    page.keyboard.press("Home")
    raw(second, scorer.score(HOPPER, passes=2))
    raw(first, scorer.score(COLLINS, passes=100))
    part.scroll_into_view_if_needed()
    part.locator(".serfiq-plot .main-svg").first.wait_for(timeout=30_000)
    stage = cells.nth(4)
    stage.scroll_into_view_if_needed()
    quality = str(scorer.score(HOPPER, passes=100).quality)
    stage.locator(".serfiq-quality").get_by_text(quality, exact=True).wait_for(timeout=30_000)
    assert stage.locator(".sq-dot:not(.sq-hidden)").count() == 100
    assert stage.locator(".serfiq-face").bounding_box()["width"] > 250
    ink = "one => getComputedStyle(one).color"  # not that of the Explorer's style sheet
    verdict, whole = (
        stage.locator(f".serfiq-{name}").evaluate(ink) for name in ("verdict", "stage")
    )
    assert verdict == whole
    assert errors == []
    context.close()
