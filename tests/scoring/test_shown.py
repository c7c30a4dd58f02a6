"""What a notebook keeps of a result: face, number and running score, without a script."""

import base64
import io
import re
from dataclasses import fields, replace

import numpy as np
import pytest
from PIL import Image

from serfiq_widgets import AlignedFace
from serfiq_widgets.datasets.rows import ScoreRow
from serfiq_widgets.datasets.score_files import row_chunks
from serfiq_widgets.resources import sample_images


def pictures(html):
    return [base64.b64decode(url) for url in re.findall(r'src="data:image/[^"]*,([^"]*)"', html)]


@pytest.fixture
def result(scorer):
    return scorer.score(sample_images()[0], 20)


def test_a_result_shows_face_number_and_running_score(result):
    html = result._repr_html_()
    face, curve = pictures(html)
    shown = np.asarray(Image.open(io.BytesIO(face)), dtype=np.float64)
    assert np.abs(shown - result.face.pixels).mean() < 4  # JPEG
    assert f">{result.quality}</span> \u00b1 {result.shown_margin}" in html
    assert curve.startswith(b"<svg ")
    lines = re.findall(rb'<polyline points="([^"]*)"', curve)
    assert [len(line.split()) for line in lines] == [19, 19]  # plain and controlled, from t = 2
    assert "script" not in html
    assert "http" not in re.sub(r'src="[^"]*"', "", html)


def test_the_curve_lies_where_the_quality_is(result):
    curve = pictures(result._repr_html_())[1].decode()
    line = re.findall(r'<polyline points="([^"]*)"', curve)[-1]
    last = float(line.split()[-1].partition(",")[2])
    edges = [float(y) for y in re.findall(r'y="(\d+)" text-anchor="end"', curve)]
    top, bottom = (edge - 4 for edge in edges)
    assert 100 * (bottom - last) / (bottom - top) == pytest.approx(100 * result.scaled, abs=0.2)


def test_without_a_scale_the_raw_score_is_shown(result):
    plain = replace(result, calibrated=False)
    html = plain._repr_html_()
    assert f"{plain.best:.4f}" in html
    assert f">{result.quality}<" not in html
    assert "\u00b1" not in html


def test_two_passes_have_no_curve(scorer):
    assert len(pictures(scorer.score(sample_images()[0], 2)._repr_html_())) == 1


def test_a_name_is_text(result):
    face = AlignedFace(result.face.pixels, '"><script>alert(1)</script>')
    for html in (face._repr_html_(), replace(result, face=face)._repr_html_()):
        assert "<script" not in html
        assert '""' not in html


def test_numbers_are_those_of_a_table(scorer, result):
    numbers = result.to_dict()
    assert numbers.keys() <= {field.name for field in fields(ScoreRow)}
    ((row,),) = row_chunks(scorer, [[sample_images()[0]]], 20)
    for name, value in numbers.items():
        if name not in ("path", "ms"):
            assert getattr(row, name) == (
                pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
            ), name
    unknown = replace(result, calibrated=False).to_dict()
    assert (unknown["quality"], unknown["scaled"], unknown["margin"]) == (None, None, None)


def test_a_frame_has_a_row_a_pass(result):
    pytest.importorskip("pandas")
    frame = result.to_frame()
    assert list(frame.index) == list(range(1, 21))
    assert frame["controlled"].iloc[-1] == result.controlled
    assert (frame["low"].iloc[-1], frame["high"].iloc[-1]) == result.interval
