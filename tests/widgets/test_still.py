"""A saved notebook keeps face, number and plots of every widget, to be seen without a kernel."""

import base64
import io
import re

import numpy as np
import pytest

pytest.importorskip("anywidget")
nbformat = pytest.importorskip("nbformat")
nbconvert = pytest.importorskip("nbconvert")

from PIL import Image  # noqa: E402

from serfiq_widgets import (  # noqa: E402
    BiasExplorer,
    ComparePanel,
    DegradationLab,
    EvaluationExplorer,
    Explorer,
    RunningScoreView,
    SpreadView,
    Stage,
)
from serfiq_widgets.faces.degradation import Degradation  # noqa: E402
from serfiq_widgets.resources import sample_images  # noqa: E402

OF_A_FACE = (Explorer, Stage, SpreadView, RunningScoreView, DegradationLab)


def converted(widget):
    """The page of a notebook that was saved with this widget, but without its state."""
    bundle = widget._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    output = nbformat.v4.new_output("execute_result", data, execution_count=1)
    cell = nbformat.v4.new_code_cell("widget", outputs=[output], execution_count=1)
    notebook = nbformat.v4.new_notebook(cells=[cell])
    page, _ = nbconvert.HTMLExporter().from_notebook_node(notebook)
    (shown,) = re.findall(r'<div class="serfiq-static".*?</div>\s*</div>', page, re.DOTALL)
    return shown


def pictures(html):
    return [base64.b64decode(url) for url in re.findall(r'src="data:image/[^"]*,([^"]*)"', html)]


@pytest.mark.parametrize("kind", OF_A_FACE)
def test_face_number_and_plots_stay(kind):
    widget = kind(sample_images()[0])
    state = widget.state
    state.ruin = Degradation(blur=2)
    shown = converted(widget)
    face, curve, cloud = pictures(shown)
    pixels = np.asarray(Image.open(io.BytesIO(face)), dtype=np.float64)
    assert np.abs(pixels - state.result.face.pixels).mean() < 4  # JPEG
    assert f">{state.quality}</span>" in shown
    assert curve.count(b"<polyline") == 2
    dots = re.findall(rb'<circle [^>]*r="2.0" fill="#2f6fdb"/>', cloud)
    assert len(dots) == state.passes
    assert cloud.count(b'r="2.0"') == 2 * state.passes  # with those of the undamaged face


def test_an_undamaged_face_has_no_ghosts():
    widget = SpreadView(sample_images()[0])
    cloud = pictures(converted(widget))[-1]
    assert cloud.count(b'r="2.0"') == widget.state.passes


def test_both_compared_faces_stay():
    panel = ComparePanel(*sample_images()[:2])
    shown = converted(panel)
    assert len(pictures(shown)) == 2
    for entry in panel.state.pinned:
        assert f"{entry.name}: quality {entry.result['quality']}" in shown


def test_curves_and_groups_stay():
    explorer = EvaluationExplorer()
    shown = converted(explorer)
    (curves,) = pictures(shown)
    assert curves.count(b"<polyline") == len(explorer.state.curves)
    assert f"{explorer.state.balanced()[0]:.2%} of the genuine comparisons are missed" in shown
    groups = BiasExplorer()
    (bars,) = pictures(converted(groups))
    assert bars.count(b"<rect") == len(groups.state.rows)


def test_without_a_face_there_is_no_picture():
    assert SpreadView().still() == ""
