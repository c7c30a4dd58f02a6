"""A scored face as a piece of HTML, which a saved notebook keeps: face, number, running score.

The pictures are data URLs, so that the HTML is shown where scripts and style sheets are not: in
notebooks that are opened without a kernel, converted, or not trusted.
"""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets import robustness

if TYPE_CHECKING:
    from serfiq_widgets.scoring.results import QualityResult

WIDTH, HEIGHT, LEFT, EDGE = 300, 112, 44, 12  # of the running score, in pixels
MIN_CURVE = 3  # passes from which there is a curve to see
LINE, BAND, PALE, TEXT = "#2f6fdb", "#2f6fdb33", "#8a8f98", "#777c85"  # for light and dark pages
FONT = f'font-family="sans-serif" font-size="11" fill="{TEXT}"'
BOX = "display:flex;flex-wrap:wrap;gap:20px;align-items:center;font-family:sans-serif"


def result_html(result: QualityResult, *pictures: str) -> str:
    """Return face, quality with its interval, and running score, then further pictures."""
    about = f"{escape(result.face.name)} \u00b7 {escape(result.model)}, T = {result.passes}"
    low, high = result.best_interval
    best = f"raw score {result.best:.4f}" + ("" if np.isnan(low) else f" ({low:.4f} to {high:.4f})")
    margin = result.shown_margin and f" \u00b1 {result.shown_margin}"
    number = (
        f'<span style="font-size:40px;font-weight:600">{result.shown_quality}</span>{margin}'
        if result.calibrated
        else f'<span style="font-size:28px;font-weight:600">{result.best:.4f}</span>'
    )
    words = "quality, 0 to 100" if result.calibrated else "raw score: this network has no scale"
    text = f'{number}<br>{words}<br><small style="color:{TEXT}">{about}<br>{best}</small>'
    curve = [running_html(result)] if result.passes >= MIN_CURVE else []
    every = [result.face._repr_html_(), f"<div>{text}</div>", *curve, *pictures]
    return f'<div class="serfiq-static" style="{BOX}">{"".join(every)}</div>'


def running_html(result: QualityResult) -> str:
    """Return the score after 2, 3 ... T passes with its interval, as an image.

    A thin line is the score as published, where the controlled score is shown.
    """
    best, published = (
        _in_points(each[1:], result) for each in (result.running_best, result.running)
    )
    ends = _in_points(result.running_best_interval[1:], result)
    floor, top = (0.0, 100.0) if result.calibrated else _range(best, published)
    x = np.linspace(LEFT, WIDTH - EDGE, len(best))
    bottom = HEIGHT - 2 * EDGE

    def line(points: NDArray[np.float64], way: slice = slice(None)) -> str:
        y = np.interp(points, [floor, top], [bottom, EDGE])
        known = [(a, b) for a, b in zip(x, y, strict=True) if np.isfinite(b)]
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in known[way])

    thin = ""
    if result.is_controlled:
        thin = f'<polyline points="{line(published)}" fill="none" stroke="{PALE}"/>'
    around = f"{line(ends[:, 1])} {line(ends[:, 0], slice(None, None, -1))}"
    caption = f"2 to {result.passes} passes" + (thin and "; grey: as published")
    content = (
        f'<text x="{LEFT - 6}" y="{EDGE + 4}" text-anchor="end" {FONT}>{top:.3g}</text>'
        f'<text x="{LEFT - 6}" y="{bottom + 4}" text-anchor="end" {FONT}>{floor:.3g}</text>'
        f'<polygon points="{around}" fill="{BAND}"/>{thin}'
        f'<polyline points="{line(best)}" fill="none" stroke="{LINE}" stroke-width="2"/>'
        f'<text x="{LEFT}" y="{HEIGHT - 4}" {FONT}>{caption}</text>'
    )
    what = "Quality" if result.calibrated else "Raw score"
    return svg_image(content, WIDTH, HEIGHT, f"{what} after {caption}")


def svg_image(content: str, width: int, height: int, alt: str, *, view: int = 0) -> str:
    """Return SVG elements as an image with a text that replaces it.

    Its units are pixels; with ``view``, the width is so many units.
    """
    units = f"{view or width} {height * view // width if view else height}"
    frame = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {units}"'
    encoded = base64.b64encode(f"<svg {frame}>{content}</svg>".encode()).decode()
    size = f'width="{width}" height="{height}"'
    return f'<img src="data:image/svg+xml;base64,{encoded}" alt="{escape(alt)}" {size}>'


def _in_points(raw: NDArray[np.float64], result: QualityResult) -> NDArray[np.float64]:
    """Return raw scores in quality points, if the network is calibrated."""
    if not result.calibrated:
        return raw
    return 100 * robustness.scaled_score(raw, result.alpha, result.r)


def _range(*curves: NDArray[np.float64]) -> tuple[float, float]:
    """Return the lowest and the highest value of some curves; never equal."""
    low, high = float(np.min(curves)), float(np.max(curves))
    return (low, high) if high > low else (low - 0.01, high + 0.01)
