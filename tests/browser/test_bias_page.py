"""The BiasExplorer and the report in a real browser."""

import re

import numpy as np
import pytest

from serfiq_widgets.evaluation.bias import group_scores
from serfiq_widgets.evaluation.groups import labels, load
from serfiq_widgets.figures.report import report_html
from serfiq_widgets.widgets.bias_state import BUNDLED


def lines(page, plot):
    """Where the lines across a plot stand."""
    return page.evaluate(
        "name => [...document.querySelectorAll('.serfiq-bias .js-plotly-plot')]"
        ".find(area => area.getAttribute('aria-label').startsWith(name))"
        "._fullLayout.shapes.flatMap(shape => [shape.x0, shape.x1])",
        plot,
    )


def test_the_pictures_follow_threshold_and_attribute(bias_lesson, open_page):
    page = open_page(address=bias_lesson)
    page.locator(".serfiq-bias-by select").select_option("ethnicity")
    box = page.locator(".serfiq-bias-threshold input[type=number]")
    box.fill("80")
    box.press("Enter")
    table = load(BUNDLED)
    rows = group_scores(table.numbers("quality"), labels(table, "ethnicity")).rows(80)
    below = sum(row.below for row in rows)
    page.get_by_text(re.compile(f"Below 80 lie {below:,} of .* images")).wait_for(timeout=20_000)
    cells = page.locator(".serfiq-bias tbody tr")
    assert [row.split("\t")[:2] for row in cells.all_inner_texts()] == [
        [row.group, str(row.n)] for row in rows
    ]
    for plot in ("Share of each group over", "Density"):
        assert lines(page, plot) == [80] * 4
    assert lines(page, "Share of each group below")[0] == pytest.approx(
        100 * below / sum(row.n for row in rows)
    )


@pytest.mark.parametrize(("width", "height", "scheme"), [(1400, 900, "light"), (390, 844, "dark")])
def test_a_report_opens_offline(chromium, tmp_path, width, height, scheme):
    path = tmp_path / "report.html"
    path.write_text(report_html(load(BUNDLED), by=["gender"]), encoding="utf-8")
    viewport = {"width": width, "height": height}
    context = chromium.new_context(viewport=viewport, color_scheme=scheme)
    page = context.new_page()
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    page.locator(".js-plotly-plot .main-svg").first.wait_for()
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert errors == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    edges = page.evaluate(
        "[...document.querySelectorAll('.js-plotly-plot')].map(plot => {"
        "const [own, around] = [plot.querySelector('.main-svg'), plot.closest('section')]"
        ".map(element => element.getBoundingClientRect());"
        "return [own.left - around.left, around.right - own.right]; })"
    )
    assert np.min(edges) >= 0  # no picture reaches beyond its card
    context.close()
