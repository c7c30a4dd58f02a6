"""Pictures of a result: embedding spread, distances, running score, sweep, heat map.

Pure functions from results to plotly figures: no widget, no inference. Each shows the first t of
the T passes that the result holds, on axes that stay put while t moves. Colours are Okabe and
Ito's, told apart by the colour-blind too; fonts and grid lines are left to the page's theme.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from serfiq_widgets.degrade import STRENGTHS

if TYPE_CHECKING:
    from serfiq_widgets.scorer import QualityResult
    from serfiq_widgets.sensitivity import Sweep

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
BAND = "rgba(70, 150, 210, 0.22)"
SPREAD_REACH = 0.4  # half the width of the spread picture: alike for all faces, so they compare
DISTANCE_REACH = 1.2
DISTANCE_BINS = 60


def project(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Project (T, D) embeddings onto the two directions in which they scatter most.

    Returns
    -------
    (T, 2) ndarray of float32
        Coordinates around the mean, in units of the unit sphere; signs are fixed so that the
        farthest point of each axis lies on its positive side.
    """
    centred = np.asarray(embeddings, dtype=np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    flat = np.zeros((len(centred), 2))
    flat[:, : min(2, len(sizes))] = (left * sizes)[:, :2]
    farthest = flat[np.abs(flat).argmax(axis=0), [0, 1]]
    flat *= np.where(farthest < 0, -1.0, 1.0)
    return flat.astype(np.float32)


def spread_figure(points: NDArray[np.float32], passes: int) -> go.Figure:
    """Draw the first ``passes`` of the (T, 2) points from `project` as a cloud."""
    reach = max(SPREAD_REACH, float(np.abs(points).max()) * 1.05)
    shown = points[:passes]
    centre = shown.mean(axis=0, keepdims=True)
    axis = {"range": [-reach, reach], "zeroline": False, "dtick": 0.2}
    return go.Figure(
        [
            {
                "type": "scatter",
                "mode": "markers",
                "name": "embedding of one pass",
                "x": shown[:, 0],
                "y": shown[:, 1],
                "text": [f"pass {t}" for t in range(1, passes + 1)],
                "hovertemplate": "%{text}<extra></extra>",
                "marker": {"color": BLUE, "size": 8, "opacity": 0.6},
            },
            {
                "type": "scatter",
                "mode": "markers",
                "name": "mean",
                "x": centre[:, 0],
                "y": centre[:, 1],
                "hovertemplate": "mean<extra></extra>",
                "marker": {
                    "color": ORANGE,
                    "size": 14,
                    "symbol": "x-thin",
                    "line": {"width": 3, "color": ORANGE},
                },
            },
        ],
        _layout(
            x={"zeroline": False, "scaleanchor": "y", "title": _title("first principal direction")},
            y={**axis, "title": _title("second")},
        ),
    )


def distance_figure(result: QualityResult, passes: int) -> go.Figure:
    """Draw the histogram of the pairwise distances of the first ``passes`` embeddings."""
    edges = np.linspace(0.0, DISTANCE_REACH, DISTANCE_BINS + 1)
    share = _histogram(result, passes, edges)
    top = max(20.0, 1.25 * float(_histogram(result, result.passes, edges).max()))
    mean = result.at(passes).mean_distance
    return go.Figure(
        [
            {
                "type": "bar",
                "name": "pairs",
                "x": ((edges[:-1] + edges[1:]) / 2).astype(np.float32),
                "y": share,
                "width": float(edges[1]),
                "hovertemplate": "distance %{x:.2f}: %{y:.1f} %<extra></extra>",
                "marker": {"color": BLUE, "opacity": 0.75, "line": {"width": 0}},
            },
            {
                "type": "scatter",
                "mode": "lines+text",
                "name": "mean distance",
                "x": [mean, mean],
                "y": [0.0, top * 0.9],
                "text": ["", f"mean {mean:.3f}"],
                "textposition": "middle right" if mean < DISTANCE_REACH / 2 else "middle left",
                "textfont": {"color": ORANGE},
                "hovertemplate": "mean distance %{x:.4f}<extra></extra>",
                "line": {"color": ORANGE, "width": 3},
            },
        ],
        _layout(
            x={"range": [0, DISTANCE_REACH], "title": _title("distance between two passes")},
            y={"range": [0, top], "title": _title("share of pairs, %")},
            bargap=0,
        ),
    )


def _histogram(
    result: QualityResult, passes: int, edges: NDArray[np.float64]
) -> NDArray[np.float32]:
    pairs = result.distances[:passes, :passes][np.tril_indices(passes, -1)]
    counts = np.histogram(np.minimum(pairs, edges[-1]), edges)[0]
    return (100 * counts / len(pairs)).astype(np.float32)


def running_figure(result: QualityResult, passes: int) -> go.Figure:
    """Draw the raw score after each of the first ``passes``, its 95 % band and the exact limit."""
    t = np.arange(1, passes + 1, dtype=np.int32)
    running = result.running[:passes].astype(np.float32)
    low, high = result.running_interval[2:passes].T.astype(np.float32)
    settled = result.running_interval[min(9, result.passes - 1) :]
    ends = [*settled[np.isfinite(settled)], *result.running[1:], result.limit]
    pad = 0.1 * (max(ends) - min(ends)) + 1e-4
    return go.Figure(
        [
            {
                "type": "scatter",
                "mode": "lines",
                "name": "95 % interval",
                "x": np.concatenate([t[2:], t[2:][::-1]]),
                "y": np.concatenate([low, high[::-1]]),
                "fill": "toself",
                "fillcolor": BAND,
                "line": {"width": 0},
                "hoverinfo": "skip",
            },
            {
                "type": "scatter",
                "mode": "lines",
                "name": "exact limit, T \u2192 \u221e",
                "x": [2, result.passes],
                "y": [result.limit, result.limit],
                "hovertemplate": "exact limit %{y:.4f}<extra></extra>",
                "line": {"color": GREEN, "width": 2, "dash": "dash"},
            },
            {
                "type": "scatter",
                "mode": "lines",
                "name": "raw score so far",
                "x": t[1:],
                "y": running[1:],
                "hovertemplate": "%{x} passes: %{y:.4f}<extra></extra>",
                "line": {"color": BLUE, "width": 2},
            },
            {
                "type": "scatter",
                "mode": "markers",
                "name": "now",
                "x": t[-1:],
                "y": running[-1:],
                "hoverinfo": "skip",
                "showlegend": False,
                "marker": {"color": BLUE, "size": 10},
            },
        ],
        _layout(
            x={"range": [0, result.passes + 4], "title": _title("passes T")},
            y={
                "range": [min(ends) - pad, min(1.0, max(ends) + pad)],
                "title": _title("raw score"),
                "tickformat": ".3f",
                "nticks": 6,
            },
            margin={"l": 48, "r": 8, "t": 24, "b": 36},
            showlegend=True,
            legend={
                "orientation": "h",
                "x": 0,
                "y": 1.02,
                "yanchor": "bottom",
                "traceorder": "reversed",
            },
        ),
    )


def sweep_figure(sweep: Sweep, now: tuple[float, float]) -> go.Figure:
    """Draw quality over the range of a degradation, with a dot at (strength, quality) now."""
    strength = STRENGTHS[sweep.name]
    return go.Figure(
        [
            {
                "type": "scatter",
                "mode": "lines",
                "name": "quality at the exact limit",
                "x": sweep.values,
                "y": sweep.qualities,
                "hovertemplate": "%{x:.3~g}: quality %{y:.0f}<extra></extra>",
                "line": {"color": BLUE, "width": 2},
            },
            {
                "type": "scatter",
                "mode": "markers",
                "name": "now",
                "x": [now[0]],
                "y": [now[1]],
                "hoverinfo": "skip",
                "marker": {"color": ORANGE, "size": 11, "symbol": "diamond"},
            },
        ],
        _layout(
            x={"range": [strength.least, strength.most], "title": _title(strength.title)},
            y={"range": [-4, 104], "title": _title("quality, T \u2192 \u221e")},
        ),
    )


def heat_picture(change: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour a heat map: orange where the score falls, blue where it rises, opaque where most.

    Parameters
    ----------
    change : (H, W) ndarray of float32
        From `sensitivity.heatmap`.

    Returns
    -------
    (H, W, 4) ndarray of uint8
        RGBA; the largest change of either sign is opaque, no change is transparent.
    """
    most = max(float(np.abs(change).max()), 1e-9)
    colours = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (BLUE, ORANGE)])
    picture = np.empty((*change.shape, 4), np.uint8)
    picture[..., :3] = colours[(change < 0).astype(int)]
    picture[..., 3] = np.rint(255 * np.abs(change) / most)
    return picture


def _title(text: str) -> dict[str, Any]:
    return {"text": text, "font": {"size": 12}, "standoff": 6}


def _layout(x: dict[str, Any], y: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "margin": {"l": 48, "r": 8, "t": 8, "b": 36},
        "xaxis": x,
        "yaxis": y,
        "showlegend": False,
        "hovermode": "closest",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "uirevision": "kept",
        **more,
    }
