"""Figures of two faces under the same masks: clouds, discs, and distributions of their scores.

A is blue and round, B is orange and square.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from serfiq_widgets.figures.passes import NEXT, WIDEST, principal
from serfiq_widgets.figures.stage import Scene
from serfiq_widgets.figures.style import BLUE, GREY, LEGEND_ABOVE, ORANGE, layout, title

if TYPE_CHECKING:
    from serfiq_widgets.scoring.results import QualityResult

MARKS: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "symbol": "circle", "size": 7, "opacity": 0.6},
    {"color": ORANGE, "symbol": "square", "size": 7, "opacity": 0.6},
)
SCORE_BINS = 40
APART = 1.15  # half the distance of two discs of radius 1


def clouds_figure(
    first: QualityResult, second: QualityResult, names: tuple[str, str] = ("A", "B")
) -> go.Figure:
    """Draw the clouds of two faces in one projection, computed from all their embeddings.

    The first face is on the left.
    """
    points = principal(np.concatenate([first.embeddings, second.embeddings]))
    if points[: first.passes, 0].sum() > 0:  # relative to the mean of all
        points[:, 0] *= -1
    parts = np.split(points, [first.passes])
    reach = max(0.4, float(np.abs(points).max()) * 1.05)
    return go.Figure(
        [
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": part[:, 0],
                "y": part[:, 1],
                "hovertemplate": f"{name}, pass %{{pointNumber}}<extra></extra>",
                "marker": mark,
            }
            for name, part, mark in zip(names, parts, MARKS, strict=True)
        ],
        layout(
            x={"zeroline": False, "scaleanchor": "y", "title": title(WIDEST)},
            y={"range": [-reach, reach], "zeroline": False, "title": title(NEXT)},
            **LEGEND_ABOVE,
        ),
    )


def discs_figure(
    first: QualityResult, second: QualityResult, names: tuple[str, str] = ("A", "B")
) -> go.Figure:
    """Draw each face's passes around their own mean, on two discs of one scale, side by side.

    The distances from the centre are those of `figures.stage`: a circle shows their mean, and a
    dashed one, for calibrated networks, where it lies at quality 50.
    """
    scene = Scene(first)
    clouds = (scene.cloud(first), scene.cloud(second))
    dots, shapes, texts = [], [], []
    for middle, name, cloud, mark in zip((-APART, APART), names, clouds, MARKS, strict=True):
        places = np.array(cloud["dots"])
        dots.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": (places[:, 0] + middle).astype(np.float32),
                "y": places[:, 1].astype(np.float32),
                "hovertemplate": f"{name}, pass %{{pointNumber}}<extra></extra>",
                "marker": mark,
            }
        )
        ring = [] if cloud["ring"] is None else [_circle(middle, cloud["ring"], GREY, "dash")]
        shapes += [*ring, _circle(middle, cloud["size"], mark["color"], "solid")]
        texts.append({"x": middle, "y": -1.05, "text": name, "showarrow": False})
    return go.Figure(
        dots,
        layout(
            {"visible": False, "range": [-APART - 1, APART + 1], "scaleanchor": "y"},
            {"visible": False, "range": [-1.15, 1]},
            shapes=shapes,
            annotations=texts,
            margin={"l": 0, "r": 0, "t": 0, "b": 0},
        ),
    )


def _circle(middle: float, radius: float, color: str, dash: str) -> dict[str, Any]:
    """Return a circle around a point of the horizontal axis."""
    return {
        "type": "circle",
        "x0": middle - radius,
        "x1": middle + radius,
        "y0": -radius,
        "y1": radius,
        "line": {"color": color, "width": 2, "dash": dash},
    }


def draws_figure(
    draws: tuple[NDArray[np.float64], NDArray[np.float64]], best: tuple[float, float]
) -> go.Figure:
    """Draw the distributions of the raw scores of two faces over draws of the masks.

    Parameters
    ----------
    draws : two (N,) ndarrays of float64
        Raw scores of A and of B, from `Scorer.reseeded_scores`.
    best : two floats
        Their best estimates (`QualityResult.best`), drawn as dashed lines.
    """
    every = np.concatenate([*draws, best])
    pad = 0.08 * (every.max() - every.min()) + 1e-4
    edges = np.linspace(every.min() - pad, every.max() + pad, SCORE_BINS + 1)
    heights = [100 * np.histogram(scores, edges)[0] / len(scores) for scores in draws]
    top = 1.1 * max(float(h.max()) for h in heights)
    bars = [
        {
            "type": "bar",
            "name": name,
            "x": ((edges[:-1] + edges[1:]) / 2).astype(np.float32),
            "y": height.astype(np.float32),
            "width": float(edges[1] - edges[0]),
            "hovertemplate": f"{name}: raw %{{x:.4f}}, %{{y:.0f}} %<extra></extra>",
            "marker": {
                "color": mark["color"],
                "opacity": 0.65,
                "line": {"width": 0},
                "pattern": {"shape": "" if name == "A" else "/", "fillmode": "overlay"},
            },
        }
        for name, height, mark in zip("AB", heights, MARKS, strict=True)
    ]
    lines = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": f"{name} settles",
            "x": [value, value],
            "y": [0, top],
            "hovertemplate": f"{name} settles on %{{x:.4f}}<extra></extra>",
            "showlegend": False,
            "line": {"color": mark["color"], "width": 2, "dash": "dash"},
        }
        for name, value, mark in zip("AB", best, MARKS, strict=True)
    ]
    return go.Figure(
        [*bars, *lines],
        layout(
            x={"title": title("raw score"), "tickformat": ".3f", "nticks": 7},
            y={"range": [0, top], "title": title("share of draws, %")},
            barmode="overlay",
            bargap=0,
            **LEGEND_ABOVE,
        ),
    )
