"""The explorer of an evaluation in its lesson, as a person uses it."""

import importlib.util
from pathlib import Path

import pytest

from serfiq_widgets.evaluation import load
from serfiq_widgets.resources import bundled
from serfiq_widgets.widgets.evaluation_state import EvaluationState

AXE = Path(importlib.util.find_spec("axe_playwright_python").origin).parent / "axe.min.js"
MARK = "[...document.querySelectorAll('.serfiq-trust .serfiq-plot > div')][0].data.at(-1)"


@pytest.mark.parametrize("lesson", [4], indirect=True)
def test_curve_threshold_and_images_follow_the_sliders(lesson, open_page):
    _, address = lesson
    page = open_page(address=address, color_scheme="dark")
    state = EvaluationState(load(bundled()).with_baselines())
    for name, typed in {"share": "30", "fmr": "-2"}.items():
        number = page.locator(f".serfiq-move-{name} input[type=number]")
        number.fill(typed)
        number.press("Enter")
    page.locator(".serfiq-move-by select").select_option("norm")
    state.share, state.fmr, state.quality = 0.3, 1e-2, "norm"
    words = f"rates lowest it is {state.balanced()[1]:.2%}."
    page.locator(".serfiq-trust").get_by_text(words).wait_for()
    page.wait_for_function(f"{MARK}.x[0] === 30 && {MARK}.y[0] < 3")
    assert page.evaluate(f"{MARK}.y[0]") == pytest.approx(100 * state.at())
    first = page.locator(".serfiq-trust .serfiq-table td").first
    assert first.inner_text() == str(state.discarded[-1])
    page.locator(".serfiq-gone select").select_option("the first to go")
    page.locator(".serfiq-trust .serfiq-table td").first.get_by_text(
        str(state.discarded[0])
    ).wait_for()

    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run('.serfiq-trust')")["violations"]
    assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
