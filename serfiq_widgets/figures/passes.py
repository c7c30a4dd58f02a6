"""Films of one face's passes: embedding spread, pairwise distances, running score.

The axes do not change with the number of passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from serfiq_widgets.figures.film import Film
from serfiq_widgets.figures.style import BLUE, GREEN, GREY, LEGEND_ABOVE, ORANGE, layout, title

if TYPE_CHECKING:
    from serfiq_widgets.scoring.results import QualityResult

SPREAD_REACH = 0.4  # half the width of the spread figure: equal for all faces, to compare them
WIDEST, NEXT = "where the looks differ most", "and next"
DISTANCE_REACH = 1.2
DISTANCE_BINS = 48
BAND = "rgba(70, 150, 210, 0.22)"
NARROW = "rgba(213, 94, 0, 0.3)"
CROSS = {"color": ORANGE, "symbol": "x-thin", "line": {"width": 3, "color": ORANGE}}


def principal(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Project (T, D) embeddings onto the two directions in which they scatter most.

    Returns
    -------
    (T, 2) ndarray of float32
        Coordinates relative to the mean, in units of the unit sphere; the signs are chosen so that
        the farthest point of each axis is on its positive side.
    """
    flat, _ = scatter(np.asarray(embeddings, dtype=np.float64))
    return np.asarray(flat, np.float32)


def plane_share(embeddings: NDArray[np.float32]) -> float:
    """Return the share of the variance of (T, D) embeddings that `principal` shows, 0 to 1."""
    points = np.asarray(embeddings, dtype=np.float64)
    whole = float(((points - points.mean(axis=0)) ** 2).sum())
    return float((scatter(points)[0] ** 2).sum()) / whole if whole else 1.0


def scatter(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return coordinates (T, 2) relative to the mean, and the two directions (2, D)."""
    centred = points - points.mean(axis=0)
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    flat, directions = np.zeros((len(points), 2)), np.zeros((2, points.shape[1]))
    known = min(2, len(sizes))
    flat[:, :known], directions[:known] = (left * sizes)[:, :known], right[:known]
    farthest = flat[np.abs(flat).argmax(axis=0), [0, 1]]
    signs = np.where(farthest < 0, -1.0, 1.0)
    return flat * signs, directions * signs[:, None]


def on_sphere(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Map (T, D) embeddings of length 1 onto a sphere in three dimensions.

    Their mean direction points up. Every point keeps its true angle to the mean direction; its
    angle around it comes from the two directions in which the embeddings scatter most.

    Returns
    -------
    (T, 3) ndarray of float32
        Points of length 1; the mean direction is (0, 0, 1).
    """
    points = np.asarray(embeddings, dtype=np.float64)
    up = points.mean(axis=0)
    up /= max(float(np.linalg.norm(up)), 1e-12)
    height = np.clip(points @ up, -1.0, 1.0)
    level = points - height[:, None] * up
    flat = level @ scatter(level)[1].T
    flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
    return np.column_stack([flat * np.sqrt(1 - height**2)[:, None], height]).astype(np.float32)


def _means(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the first t points, for every t: an array of the same shape."""
    count = np.arange(1, len(points) + 1)[:, None]
    return np.asarray(points.cumsum(axis=0, dtype=np.float64) / count, np.float32)


def spread_film(points: NDArray[np.float32]) -> Film:
    """Draw the (T, 2) points of `principal`, or the (T, 3) points of `on_sphere`, as a cloud."""
    passes, dimensions = points.shape
    kind = {2: "scatter", 3: "scatter3d"}[dimensions]
    means = _means(points)
    names = "xyz"[:dimensions]
    numbers = np.arange(1, passes + 1, dtype=np.int32)

    def cloud(rows: NDArray[np.float32], **more: Any) -> dict[str, Any]:
        columns = {name: rows[:, i] for i, name in enumerate(names)}
        return {"type": kind, "mode": "markers", **columns, **more}

    small = 8 if dimensions == 2 else 4  # noqa: PLR2004  # plotly's 3-D markers look larger
    data = [
        cloud(
            points,
            name="embedding of one pass",
            customdata=numbers,
            hovertemplate="pass %{customdata}<extra></extra>",
            marker={"color": BLUE, "size": small, "opacity": 0.6, "line": {"width": 0}},
        ),
        cloud(
            points[-1:],
            name="newest pass",
            hoverinfo="skip",
            marker={"color": GREEN, "size": small + 4, "symbol": "circle"},
        ),
        cloud(
            means[-1:],
            name="mean",
            hovertemplate="mean<extra></extra>",
            marker={**CROSS, "size": 14} if kind == "scatter" else {"color": ORANGE, "size": 6},
        ),
        cloud(
            points[:0],
            name="chosen pass",
            hoverinfo="skip",
            marker={
                "color": ORANGE,
                "size": small + 8,
                "symbol": "circle-open",
                "line": {"width": 3, "color": ORANGE},
            },
        ),
    ]
    frames = {
        trace: {name: rows[:, i : i + 1] for i, name in enumerate(names)}
        for trace, rows in ((1, points), (2, means))
    }
    if kind == "scatter3d":
        data += _globe()
    figure = go.Figure(data, _flat_layout(points) if kind == "scatter" else _round_layout())
    return Film(figure, passes, {0: 0}, frames, pick=(0, 3))


def _flat_layout(points: NDArray[np.float32]) -> dict[str, Any]:
    reach = max(SPREAD_REACH, float(np.abs(points).max()) * 1.05)
    return layout(
        x={"zeroline": False, "scaleanchor": "y", "title": title(WIDEST)},
        y={"range": [-reach, reach], "zeroline": False, "dtick": 0.2, "title": title(NEXT)},
    )


def _round_layout() -> dict[str, Any]:
    bare = {"visible": False, "range": [-1.05, 1.05]}
    return {
        **layout({}, {}, margin={"l": 0, "r": 0, "t": 0, "b": 0}),
        "scene": {
            "xaxis": bare,
            "yaxis": bare,
            "zaxis": bare,
            "aspectmode": "cube",
            "camera": {"eye": {"x": 0.75, "y": 0.75, "z": 0.95}},
        },
    }


def _globe() -> list[dict[str, Any]]:
    """Return meridians and parallels of the unit sphere."""
    turn = np.linspace(0, 2 * np.pi, 73)
    lines = [
        (np.cos(turn) * np.cos(a), np.cos(turn) * np.sin(a), np.sin(turn))
        for a in np.linspace(0, np.pi, 9)[:-1]
    ]
    lines += [
        (np.cos(b) * np.cos(turn), np.cos(b) * np.sin(turn), np.full_like(turn, np.sin(b)))
        for b in np.linspace(-np.pi / 2, np.pi / 2, 9)[1:-1]
    ]
    gap = [np.nan]
    x, y, z = (
        np.concatenate([np.concatenate([line[i], gap]) for line in lines]).astype(np.float32)
        for i in range(3)
    )
    line = {"color": GREY, "width": 1.5}
    return [
        {
            "type": "scatter3d",
            "mode": "lines",
            "name": "unit sphere",
            "x": x,
            "y": y,
            "z": z,
            "line": line,
            "hoverinfo": "skip",
        }
    ]


def distance_film(result: QualityResult) -> Film:
    """Draw the histogram of the pairwise distances of the embeddings, and their mean."""
    edges = np.linspace(0.0, DISTANCE_REACH, DISTANCE_BINS + 1)
    shares = _histograms(result.distances, edges)
    top = max(20.0, 1.25 * float(shares[-1].max()))
    with np.errstate(invalid="ignore"):
        mean = np.log(2.0 / result.running - 1.0)
    mean[0] = 0.0
    figure = go.Figure(
        [
            {
                "type": "bar",
                "name": "pairs",
                "x": ((edges[:-1] + edges[1:]) / 2).astype(np.float32),
                "y": shares[-1],
                "width": float(edges[1]),
                "hovertemplate": "distance %{x:.2f}: %{y:.1f} %<extra></extra>",
                "marker": {"color": BLUE, "opacity": 0.75, "line": {"width": 0}},
            },
            {
                "type": "scatter",
                "mode": "lines+text",
                "name": "mean distance",
                "x": [mean[-1], mean[-1]],
                "y": [0.0, top * 0.9],
                "texttemplate": ["", "\u2002mean %{x:.3f}\u2002"],
                "textposition": "middle right" if mean[-1] < DISTANCE_REACH / 2 else "middle left",
                "textfont": {"color": ORANGE},
                "hovertemplate": "mean distance %{x:.4f}<extra></extra>",
                "line": {"color": ORANGE, "width": 3},
            },
        ],
        layout(
            x={"range": [0, DISTANCE_REACH], "title": title("distance between two passes")},
            y={"range": [0, top], "title": title("share of pairs, %")},
            bargap=0,
        ),
    )
    twice = np.repeat(mean.astype(np.float32)[:, None], 2, axis=1)
    return Film(figure, result.passes, frames={0: {"y": shares}, 1: {"x": twice}})


def _histograms(distances: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the percentage of the first t passes' pairs in each bin, for every t: (T, bins)."""
    later, earlier = np.tril_indices(len(distances), -1)
    bins = len(edges) - 1
    which = np.minimum((distances[later, earlier] / edges[1]).astype(np.intp), bins - 1)
    counts = np.bincount(later * bins + which, minlength=len(distances) * bins)
    total = counts.reshape(-1, bins).cumsum(axis=0)
    shares = 100 * total / np.maximum(total.sum(axis=1, keepdims=True), 1)
    return np.asarray(shares, np.float32)


INTERVALS = {"controlled": "controlled", "plain": "as published", "both": "both"}


def running_film(result: QualityResult, interval: str = "controlled") -> Film:
    """Draw the published and the controlled raw score after each pass, and the closed form.

    ``interval`` selects the score whose 95 % band is drawn: one of `INTERVALS`.
    """
    t = np.arange(1, result.passes + 1, dtype=np.int32)
    controlled = result.is_controlled
    bands = [
        (result.running_interval, BAND, interval != "controlled" or not controlled),
        (result.running_controlled_interval, NARROW, controlled and interval != "plain"),
    ]
    late = result.running_interval[min(9, result.passes - 1) :]
    ends = [*late[np.isfinite(late)], *result.running[1:], result.best]
    pad = 0.1 * (max(ends) - min(ends)) + 1e-4
    curves = [
        ("as published", BLUE, result.running),
        ("controlled", ORANGE, result.running_controlled),
    ]
    traces: list[dict[str, Any]] = []
    for ends_of, colour, shown in bands:
        traces += _band(t, ends_of, colour, shown=shown)
    traces.append(_level("closed form", result.closed_form, result.passes))
    traces += [_running(name, t, values, colour) for name, colour, values in curves]
    traces += [_now(t, values, colour) for _, colour, values in curves]
    figure = go.Figure(
        traces,
        layout(
            x={"range": [0, result.passes + 4], "title": title("passes T")},
            y={
                "range": [min(ends) - pad, min(1.0, max(ends) + pad)],
                "title": title("raw score"),
                "tickformat": ".3f",
                "nticks": 6,
            },
            **LEGEND_ABOVE,
        ),
    )
    now = {
        7 + i: {"x": t[:, None], "y": values.astype(np.float32)[:, None]}
        for i, (_, _, values) in enumerate(curves)
        if np.isfinite(values[-1])
    }
    return Film(figure, result.passes, dict.fromkeys(range(4), 2) | {5: 1, 6: 1}, now)


def _band(
    t: NDArray[np.int32], ends: NDArray[np.float64], colour: str, *, shown: bool
) -> list[dict[str, Any]]:
    """Return the low end of an interval, and the area up to its high end."""
    low, high = ends.T.astype(np.float32)
    edge = {
        "type": "scatter",
        "mode": "lines",
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "visible": shown,
        "x": t[2:],
    }
    filled = {"fill": "tonexty", "fillcolor": colour}
    return [
        {**edge, "name": "low end", "y": low[2:]},
        {**edge, "name": "95 % interval", "y": high[2:], **filled},
    ]


def _level(name: str, value: float, passes: int) -> dict[str, Any]:
    """Return a horizontal dashed line at a value, empty if the value is not finite."""
    known = bool(np.isfinite(value))
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [2, passes] if known else [],
        "y": [value, value] if known else [],
        "hovertemplate": f"{name} %{{y:.4f}}<extra></extra>",
        "line": {"color": GREEN, "width": 2, "dash": "dash"},
    }


def _running(
    name: str, t: NDArray[np.int32], values: NDArray[np.float64], colour: str
) -> dict[str, Any]:
    """Return the curve of a score over passes, empty if there is no score."""
    first = 1 if np.isfinite(values[-1]) else len(t)
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": t[first:],
        "y": values[first:].astype(np.float32),
        "hovertemplate": f"{name}, %{{x}} passes: %{{y:.4f}}<extra></extra>",
        "line": {"color": colour, "width": 2},
    }


def _now(t: NDArray[np.int32], values: NDArray[np.float64], colour: str) -> dict[str, Any]:
    """Return the dot at the end of the curve of a score."""
    last = slice(-1, None) if np.isfinite(values[-1]) else slice(0, 0)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "now",
        "x": t[last],
        "y": values[last].astype(np.float32),
        "hoverinfo": "skip",
        "showlegend": False,
        "marker": {"color": colour, "size": 10},
    }
