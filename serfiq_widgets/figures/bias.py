"""Figures of groups: shares over the threshold, densities of scores, and rates below the threshold.

All figures have the groups in the same order, with names beside their areas and rows, so that they
can be read without colours.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from serfiq_widgets.evaluation.bias import SMALL
from serfiq_widgets.figures.style import GREY, LEGEND_ABOVE, ORANGE, layout, title

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from serfiq_widgets.evaluation.bias import GroupedScores, GroupRow

# Okabe and Ito's, the same on a dark page, because all are visible side by side
CATEGORIES = (
    *("rgb(0,114,178)", "rgb(230,159,0)", "rgb(0,158,115)", "rgb(204,121,167)"),
    *("rgb(86,180,233)", "rgb(213,94,0)", "rgb(240,228,66)"),
)
SCALE, DARKEST, LIGHTEST = "Viridis", 0.15, 0.95
STEPS, POINTS, BINS = 101, 161, 50  # thresholds of shares, points of a density, bars
NAMED_SHARE = 0.045  # least share of the images whose area has room for its name
OVERLAP = 1.6  # height of the tallest density, in rows
RULE = ({"color": "white", "width": 4}, {"color": "#24292f", "width": 2, "dash": "dot"})


def shown(groups: GroupedScores) -> list[str]:
    """Return the groups' names, escaped: plotly interprets tags in them as markup."""
    return [escape(name, quote=False) for name in groups.names]


def colours(names: Sequence[str], *, ordered: bool) -> list[str]:
    """Return a colour per group: from a scale if the groups are ordered or many."""
    if not ordered and len(names) <= len(CATEGORIES):
        return list(CATEGORIES[: len(names)])
    found: list[str] = sample_colorscale(SCALE, np.linspace(DARKEST, LIGHTEST, len(names)))
    return found


def shares_figure(
    groups: GroupedScores, threshold: float, span: tuple[float, float], column: str
) -> go.Figure:
    """Draw each group's share of the kept images, stacked, over the discard threshold.

    The figure ends where fewer than `SMALL` images are kept: the sampling error would be large.
    """
    thresholds = np.linspace(*span, STEPS)
    shares = 100 * groups.shares(thresholds)
    total = int(groups.counts.sum())
    there = total - groups.below(thresholds).sum(axis=0) >= min(SMALL, total)
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": name,
            "stackgroup": "shares",
            "x": thresholds[there].astype(np.float32),
            "y": share[there].astype(np.float32),
            "hovertemplate": f"{name}: %{{y:.1f}} % of those at %{{x:.3~g}} or above"
            "<extra></extra>",
            "line": {"width": 1, "color": "rgba(255,255,255,0.8)"},
            "fillcolor": colour,
        }
        for name, share, colour in zip(
            shown(groups), shares, colours(groups.names, ordered=groups.ordered), strict=True
        )
    ][::-1]  # the first group on top, as in the other figures
    return go.Figure(
        traces,
        layout(
            shapes=_rule(threshold),
            x={"range": list(span), "title": title(f"discard threshold on {column}")},
            y={"range": [0, 100], "title": title("share of those that stay, %")},
            annotations=[*_names(groups, span)],
        ),
    )


def densities_figure(
    groups: GroupedScores, threshold: float, span: tuple[float, float], column: str
) -> go.Figure:
    """Draw the density of each group's scores, one row per group, with its median."""
    grid = np.linspace(*span, POINTS)
    heights = groups.densities(grid, span)
    heights *= OVERLAP / heights.max()
    rows = len(groups.names)
    traces: list[dict[str, Any]] = []
    for i, colour in enumerate(colours(groups.names, ordered=groups.ordered)):
        base = float(rows - 1 - i)
        outline = {"type": "scatter", "mode": "lines", "hoverinfo": "skip"}
        traces += [
            outline | {"x": list(span), "y": [base, base], "line": {"width": 1, "color": GREY}},
            outline
            | {
                "x": grid.astype(np.float32),
                "y": (base + heights[i]).astype(np.float32),
                "fill": "tonexty",
                "fillcolor": _veiled(colour),
                "line": {"width": 1.5, "color": colour, "simplify": False},
            },
        ]
    dots = {
        "type": "scatter",
        "mode": "markers",
        "name": "median",
        "x": np.array([np.median(scores) for scores in groups.scores]),
        "y": np.arange(rows - 1, -1, -1, dtype=float),
        "text": shown(groups),
        "hovertemplate": "%{text}: median %{x:.4~g}<extra></extra>",
        "marker": {"symbol": "diamond", "size": 9, "color": ORANGE},
    }
    return go.Figure(
        [*traces, dots],
        layout(
            shapes=_rule(threshold),
            x={"range": list(span), "title": title(column)},
            y={**_rows(groups), "range": [-0.3, rows - 1 + OVERLAP], "showgrid": False},
        ),
    )


def rates_figure(groups: GroupedScores, rows: Sequence[GroupRow], what: str) -> go.Figure:
    """Draw the share below the threshold of each group, with 95 % interval, and of all images."""
    spots = np.arange(len(rows) - 1, -1, -1, dtype=float)
    rates = 100 * np.array([row.rate for row in rows])
    low, high = (100 * np.array([getattr(row, end) for row in rows]) for end in ("low", "high"))
    every = 100 * sum(row.below for row in rows) / sum(row.n for row in rows)
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": rates,
        "y": spots,
        "customdata": np.stack([low, high], axis=1).round(2).tolist(),
        "text": [f"{escape(row.group)}: {row.below:,} of {row.n:,}" for row in rows],
        "textposition": "none",
        "hovertemplate": "%{text}, %{x:.1f} %<br>95 % interval %{customdata[0]:.1f} to "
        "%{customdata[1]:.1f} %<extra></extra>",
        "marker": {
            "color": colours(groups.names, ordered=groups.ordered),
            "pattern": {"shape": ["/" if row.small else "" for row in rows]},
        },
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": high - rates,
            "arrayminus": rates - low,
            "color": GREY,
            "thickness": 2,
            "width": 5,
        },
    }
    return go.Figure(
        [bars],
        layout(
            shapes=_rule(every),
            x={"rangemode": "tozero", "title": title(f"{what}, %")},
            y={**_rows(groups), "range": [-0.6, len(rows) - 0.4], "showgrid": False},
            bargap=0.35,
        ),
    )


def histogram_figure(
    scores: NDArray[np.float64], threshold: float, span: tuple[float, float], column: str
) -> go.Figure:
    """Draw the histogram of the scores of all images, in percent."""
    edges = np.linspace(*span, BINS + 1)
    heights = 100 * np.histogram(scores, edges)[0] / len(scores)
    bars = {
        "type": "bar",
        "name": "images",
        "x": (edges[:-1] + edges[1:]) / 2,
        "y": heights,
        "width": float(edges[1] - edges[0]),
        "hovertemplate": "%{x:.3~g}: %{y:.1f} % of images<extra></extra>",
        "marker": {"color": CATEGORIES[0], "line": {"width": 0}},
    }
    return go.Figure(
        [bars],
        layout(
            shapes=_rule(threshold),
            x={"range": list(span), "title": title(column)},
            y={"title": title("share of images, %")},
            bargap=0,
            **LEGEND_ABOVE | {"showlegend": False},
        ),
    )


def _rows(groups: GroupedScores) -> dict[str, Any]:
    """Return an axis with one row per group, the first on top, with marks at small groups."""
    marks = ("*" if small else "" for small in groups.small)
    return {
        "tickvals": list(range(len(groups.names) - 1, -1, -1)),
        "ticktext": [f"{name}{mark}" for name, mark in zip(shown(groups), marks, strict=True)],
        "zeroline": False,
    }


def _names(groups: GroupedScores, span: tuple[float, float]) -> list[dict[str, Any]]:
    """Return labels of the areas that are high enough, at the lowest threshold."""
    shares = groups.counts / groups.counts.sum()
    middles = 100 * (1 - np.cumsum(shares) + shares / 2)
    return [
        {
            "text": name,
            "x": span[0],
            "y": float(middle),
            "xanchor": "left",
            "xshift": 6,
            "showarrow": False,
            "font": {"color": "black", "size": 11},
            "bgcolor": "rgba(255,255,255,0.75)",
            "borderpad": 1,
        }
        for name, middle, share in zip(shown(groups), middles, shares, strict=True)
        if share >= NAMED_SHARE
    ]


def _rule(x: float) -> list[dict[str, Any]]:
    """Return a vertical line that is visible on every colour; a `Plot`'s clock moves it."""
    across = {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper"}
    return [{**across, "line": line} for line in RULE]


def _veiled(colour: str) -> str:
    """Return a colour with opacity 0.55."""
    return colour.replace("rgb(", "rgba(").replace(")", ",0.55)")
