"""The BiasExplorer and its state: what moves with the threshold, and what people may give it."""

import re

import numpy as np
import pytest

from serfiq_widgets.errors import BadTable
from serfiq_widgets.evaluation import bias
from serfiq_widgets.evaluation.groups import labels, load
from serfiq_widgets.widgets.bias_state import BUNDLED, BiasState


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    return {
        "quality": rng.integers(20, 90, 200),
        "raw": rng.normal(0.8, 0.01, 200),
        "camera": np.array(["old", "new"])[rng.integers(0, 2, 200)],
        "age": rng.integers(5, 60, 200).astype(float),
        "path": [f"{i}.jpg" for i in range(200)],
        "model": ["mini"] * 200,
        "passes": [100] * 200,
    }


def test_the_bundled_table_is_small_names_nobody_and_holds_utkface():
    assert BUNDLED.stat().st_size < 300_000
    bundled = load(BUNDLED)
    scores = ["quality", "controlled", "raw", "limit"]
    assert set(bundled.columns) == {"age", "gender", "ethnicity", *scores}
    assert 19_000 < len(bundled) < 19_449
    about = {"model": "mini", "passes": 100, "seed": 0, "name": "utkface112-dev"}
    assert bundled.about == about
    state = BiasState()
    assert state.attributes == ["age", "gender", "ethnicity"]
    assert state.columns == scores
    assert len(state.rows) == 10


def test_bundled_scores_are_those_of_the_bundled_network(shared, scorer, tmp_path):
    """Fifty of its faces, scored anew, are rows of the table."""
    import zipfile

    from serfiq_widgets.evaluation.groups import utkface

    with zipfile.ZipFile(shared / "data" / "utkface112-dev.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[::400]
        paths = [archive.extract(name, tmp_path) for name in names]
    groups, malformed = utkface(paths)
    bundled = load(BUNDLED)
    for i, result in enumerate(scorer.score_many(paths, 100, aligned=True)):
        same = bundled.columns["age"] == groups["age"][i]
        same &= bundled.columns["gender"] == groups["gender"][i]
        same &= bundled.columns["ethnicity"] == groups["ethnicity"][i]
        # four places, and batches that take another path through the convolutions
        for name in ("controlled", "raw", "limit"):
            same &= np.abs(bundled.columns[name] - getattr(result, name)) < 1e-4
        assert same.any() or paths[i].endswith(tuple(malformed))


def test_columns_that_say_a_few_groups_are_offered(table):
    state = BiasState(table)
    assert state.attributes == ["camera", "age"]
    assert state.columns == ["quality", "raw"]
    assert BiasState(table, by=["age"], edges={"age": [0, 30]}).grouped.names == ("0-29", "30+")
    named = {"quality": [1, 2, 3], "path": ["1_0_2_20.jpg", "77_1_2_20.jpg", "odd.jpg"]}
    assert BiasState(named).attributes == ["age", "gender"]


def test_the_rows_follow_attribute_score_and_threshold(table):
    state = BiasState(table)
    state.threshold = 60

    def expected():
        known = load_like(table)
        found = bias.group_scores(table[state.column], labels(known, state.attribute))
        return found.rows(state.threshold)

    assert state.rows == expected()
    state.attribute = "age"
    assert state.rows == expected()
    state.column = "raw"
    low, high = state.span
    assert low < state.threshold < high
    below = sum(row.below for row in state.rows)
    assert below == pytest.approx(20, abs=4)  # about a tenth, to one step of the slider
    assert state.rows == expected()
    state.column = "quality"
    assert (state.threshold, state.span, state.step) == (50, (0, 100), 1)


def load_like(table):
    from serfiq_widgets.evaluation.groups import as_table

    return as_table(table)


@pytest.mark.parametrize(("given", "kept"), [(1e9, 100), (-5, 0), (float("nan"), 50)])
def test_impossible_thresholds_end_within_the_range(table, given, kept):
    state = BiasState(table)
    state.threshold = given
    assert state.threshold == kept


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ({"quality": [1, 2]}, "two to 24 groups"),
        ({"group": ["a", "b"]}, "no column of scores"),
        (5, "int is not a table"),
        ({"quality": [None, None], "group": ["a", "b"]}, None),
    ],
)
def test_tables_without_groups_or_scores_are_refused(given, hint):
    with pytest.raises((BadTable, bias.BadSetting), match=hint or "nothing to compare"):
        BiasState(given)


def test_unknown_choices_are_refused(table):
    state = BiasState(table)
    with pytest.raises(BadTable, match="'shoes' is not among camera, age"):
        state.attribute = "shoes"
    with pytest.raises(BadTable, match="'beauty' is not among quality, raw"):
        state.column = "beauty"


@pytest.fixture
def explorer(table):
    pytest.importorskip("ipywidgets")
    from serfiq_widgets import BiasExplorer

    return BiasExplorer(table)


def said(explorer):
    return re.sub("<[^>]*>", "", explorer._says.value)


def test_the_widget_moves_with_the_slider(explorer):
    explorer._slider.value = 70
    below = sum(row.below for row in explorer.state.rows)
    assert said(explorer).startswith(f"Below 70 lie {below} of 200 images")
    assert [row[1] for row in explorer._table.rows] == [row.n for row in explorer.state.rows]
    assert "below 70" in explorer._rates.figure["layout"]["xaxis"]["title"]["text"]


def test_the_widget_follows_another_score(explorer):
    explorer._column.value = "raw"
    state = explorer.state
    assert state.column == "raw"
    assert (explorer._slider.min, explorer._slider.max) == state.span
    assert explorer._slider.value == state.threshold
    explorer.state.attribute = "age"
    assert explorer._attribute.value == "age"
    assert len(explorer._table.rows) == len(state.rows) == 6
    assert "model mini \u00b7 T = 100. * fewer than 30 images." in explorer._about.value


def test_a_range_that_a_page_oversteps(explorer):
    explorer._slider.value = 1e9
    assert explorer.state.threshold == 100
    assert "Below 100 lie 200 of 200 images" in said(explorer)


def test_group_names_are_text_not_markup():
    pytest.importorskip("ipywidgets")
    from serfiq_widgets import BiasExplorer

    table = {"quality": [1, 60, 2, 70], "group": ["<b>x", "<b>x", "y", "y"]}
    assert "&lt;b&gt;x" in BiasExplorer(table)._says.value


def test_the_pictures_show_the_numbers(table):
    pytest.importorskip("plotly")
    from serfiq_widgets import figures

    state = BiasState(table)
    state.threshold = 60
    grouped, rows = state.grouped, state.rows
    shares = figures.shares_figure(grouped, 60, (0, 100), "quality")
    areas = shares.data
    assert [area.name for area in areas] == list(grouped.names)[::-1]
    total = np.sum([area.y for area in areas], axis=0)
    np.testing.assert_allclose(total, 100, rtol=1e-5)  # float32
    assert shares.layout.shapes[0].x0 == shares.layout.shapes[0].x1 == 60
    (bars,) = figures.rates_figure(grouped, rows, "below 60").data
    np.testing.assert_allclose(bars.x, [100 * row.rate for row in rows])
    np.testing.assert_allclose(bars.x + bars.error_x.array, [100 * row.high for row in rows])
    np.testing.assert_allclose(bars.x - bars.error_x.arrayminus, [100 * row.low for row in rows])
    medians = figures.densities_figure(grouped, 60, (0, 100), "quality").data[-1]
    assert list(medians.x) == [row.median for row in rows]
    many = figures.bias.colours([str(i) for i in range(12)], ordered=False)
    assert len(set(many)) == 12
