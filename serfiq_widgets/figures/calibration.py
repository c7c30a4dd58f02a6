"""The figure of a calibration: raw scores under both stretches, and the resulting qualities.

The stretch before is blue and hatched, the one after is orange.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from serfiq_widgets import robustness
from serfiq_widgets.figures.page import Figures, page, section
from serfiq_widgets.figures.style import BLUE, GREY, LEGEND_ABOVE, ORANGE, layout, title

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serfiq_widgets.scoring.calibration import Calibration

RAW_BINS, CURVE_POINTS = 60, 200
PAGE_HEIGHT = 640
QUALITY_EDGES = np.arange(0, 105, 5)
WAYS: tuple[dict[str, Any], ...] = (
    {"name": "before", "color": BLUE, "dash": "dash", "shape": "/"},
    {"name": "after", "color": ORANGE, "dash": "solid", "shape": ""},
)


def calibration_figure(calibration: Calibration) -> go.Figure:
    """Draw a population's raw scores with both stretches, and its qualities below."""
    raw = calibration.raw
    edges = np.linspace(raw.min(), raw.max(), RAW_BINS + 1)
    curve = np.linspace(raw.min(), raw.max(), CURVE_POINTS)
    stretches = (calibration.before, calibration.after)
    traces = [
        _bars(raw, edges, "raw scores", {"color": GREY}, "raw %{x:.4f}: %{y:.1f} % of faces")
        | {"showlegend": False}
    ]
    for way, stretch, qualities in zip(WAYS, stretches, calibration.qualities, strict=True):
        name = f"{way['name']}: \u03b1 {stretch.alpha:.4g}, r {stretch.r:.4g}"
        marker = {
            "color": way["color"],
            "opacity": 0.65,
            "pattern": {"shape": way["shape"], "fillmode": "overlay"},
        }
        traces += [
            {
                "type": "scatter",
                "mode": "lines",
                "name": name,
                "showlegend": False,
                "yaxis": "y2",
                "x": curve,
                "y": 100 * robustness.scaled_score(curve, stretch.alpha, stretch.r),
                "hovertemplate": "raw %{x:.4f}: quality %{y:.0f}<extra></extra>",
                "line": {"color": way["color"], "width": 2, "dash": way["dash"]},
            },
            _bars(qualities, QUALITY_EDGES, name, marker, "quality %{x}: %{y:.1f} % of faces")
            | {"xaxis": "x2", "yaxis": "y3"},
        ]
    return go.Figure(
        traces,
        layout(
            x={"title": title(f"raw score, T = {calibration.passes}"), "anchor": "y"},
            y={"title": title("share of faces, %"), "domain": [0.58, 1]},
            xaxis2={"title": title("quality"), "range": [0, 100], "anchor": "y3"},
            yaxis2={
                "title": title("quality"),
                "range": [0, 100],
                "tickvals": [0, 25, 50, 75, 100],
                "overlaying": "y",
                "side": "right",
                "showgrid": False,
            },
            yaxis3={"title": title("share of faces, %"), "domain": [0, 0.42], "anchor": "x2"},
            barmode="overlay",
            bargap=0,
            **LEGEND_ABOVE | {"margin": {"l": 56, "r": 56, "t": 24, "b": 40}},
        ),
    )


def calibration_html(calibration: Calibration) -> str:
    """Return a page with this figure."""
    heading = f"Calibration of {calibration.model}"
    picture = Figures()(calibration_figure(calibration), PAGE_HEIGHT)
    content = section("Before and after", f"<p>{escape(calibration.population)}.</p>{picture}")
    return page(heading, f"<h1>{escape(heading)}</h1>{content}")


def _bars(
    values: NDArray[Any], edges: NDArray[Any], name: str, marker: dict[str, Any], says: str
) -> dict[str, Any]:
    """Return a histogram in percent."""
    return {
        "type": "bar",
        "name": name,
        "x": (edges[:-1] + edges[1:]) / 2,
        "y": 100 * np.histogram(values, edges)[0] / len(values),
        "width": float(edges[1] - edges[0]),
        "hovertemplate": f"{says}<extra></extra>",
        "marker": {"line": {"width": 0}, **marker},
    }
