"""Figures of an evaluation: error versus discard, scores with the threshold, DET curve.

Each quality has its own colour and dash; genuine is blue, impostor orange and hatched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from serfiq_widgets.evaluation import det
from serfiq_widgets.figures.page import Figures, page, section
from serfiq_widgets.figures.style import BLUE, GREEN, GREY, LEGEND_ABOVE, ORANGE, layout, title

if TYPE_CHECKING:
    from serfiq_widgets.evaluation import Comparisons, Curve, Evaluation, Table

POINTS = 201  # drawn of a curve, which has more steps
MERGED = 16  # bins of a histogram that are drawn as one bar
PAGE_HEIGHT = 480
DISCARD = (
    "What is left of FNMR as the images of lowest quality are discarded: by the controlled score, "
    "by SER-FIQ as published (serfiq), by its closed form (limit), by simpler qualities and by "
    "chance. Shaded: 95 % of bootstraps over people."
)
SCORES = "Two images of one person (genuine) and of two people (impostor)."
MIN_SHARE = 1e-4  # lower end of a histogram's logarithmic axis, in percent
LOOKS: dict[str, tuple[str, str]] = {
    "controlled": (BLUE, "solid"),
    "serfiq": ("#56B4E9", "solid"),
    "limit": (ORANGE, "dash"),
    "norm": (GREEN, "dot"),
    "sharpness": ("#CC79A7", "dashdot"),
    "brightness": ("#CC79A7", "longdash"),
    "random": (GREY, "dash"),
    "oracle": (GREY, "solid"),
}
# other methods: Tol's muted colours, different from those above on light and dark pages
OTHERS = (("#999933", "solid"), ("#AA4499", "longdashdot"), ("#A6761D", "dot"))
SHADE = {BLUE: "rgba(0, 114, 178, 0.15)", ORANGE: "rgba(213, 94, 0, 0.12)"}


def caption(table: Table, fmr: float) -> str:
    """Return the caption of a table's figures: numbers of images and pairs, network, FMR."""
    compared, about = table.comparisons, table.about
    images = f"{compared.images:,} images of {compared.persons:,} people"
    pairs = f"{len(compared.genuine):,} genuine and {compared.impostors:,} impostor comparisons"
    words = [f"{about.get('data', 'data')}: {images}, {pairs}"]
    if "model" in about:
        words.append(f"network {about['model']}")
    if "passes" in about:
        words.append(f"T = {about['passes']}")
    return "; ".join([*words, f"FMR {fmr:.2g}"]) + "."


def evaluation_pictures(result: Evaluation) -> dict[str, tuple[str, go.Figure]]:
    """Return the three figures of an evaluation by their titles, each with its caption."""
    table, fmr = result.table, result.fmr
    about = caption(table, fmr)
    most = float(result.shares.max())
    curves = {}
    if result.balanced:
        curves["Error versus discard, every person weighing the same"] = (
            f"{DISCARD} {about}",
            discard_figure(result.balanced, most, bands=result.balanced_bands),
        )
    warnings = " ".join(["", *result.warnings])
    return {
        **curves,
        "Error versus discard": (
            f"{DISCARD} {about}{warnings}",
            discard_figure(result.curves, most, bands=result.bands),
        ),
        "Comparison scores": (
            f"{SCORES} Threshold {result.threshold:.4f}, FNMR {result.fnmr:.2%}. {about}",
            scores_figure(table.comparisons, result.threshold),
        ),
        "DET curve": (
            f"FNMR over FMR, at every threshold. {about}",
            det_figure(det(table.comparisons), (fmr, result.fnmr)),
        ),
    }


def evaluation_html(result: Evaluation) -> str:
    """Return a page with these figures."""
    heading = "Error versus discard"
    drawn = Figures()
    sections = (
        section(title, f"<p>{escape(text)}</p>{drawn(figure, PAGE_HEIGHT)}")
        for title, (text, figure) in evaluation_pictures(result).items()
    )
    return page(heading, "\n".join([f"<h1>{heading}</h1>", *sections]))


def discard_figure(
    curves: Mapping[str, Curve],
    most: float = 0.5,
    *,
    share: float | None = None,
    chosen: str = "",
    bands: Mapping[str, Sequence[NDArray[np.float64]]] | None = None,
    by: str = "image",
) -> go.Figure:
    """Draw error-versus-discard curves.

    Parameters
    ----------
    curves : mapping of str to Curve
        The curve of each quality.
    most : float
        The largest discard fraction that is shown.
    share, chosen : float and str, optional
        Mark this share on the curve of this quality.
    bands : mapping of str to three (S,) arrays, optional
        Per quality: shares, lower and upper end; drawn for the chosen quality, or for the first.
    by : str
        Unit that is discarded.
    """
    x = np.linspace(0, most, POINTS)
    looks = looks_of(curves)
    shown = chosen if chosen in curves else next(iter(curves))
    traces = []
    if bands and shown in bands:
        traces.append(_band(*bands[shown], color=looks[shown][0]))
    traces += [
        _line(name, 100 * x, 100 * curve.at(x), looks[name], width=3 if name == chosen else 2)
        for name, curve in curves.items()
    ]
    if share is not None:
        now = 100 * float(curves[shown].at(share))
        traces.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": [100 * share],
                "y": [now],
                "showlegend": False,
                "hovertemplate": f"{shown}: FNMR %{{y:.2f}} %<extra></extra>",
                "marker": {"color": looks[shown][0], "size": 12, "symbol": "diamond"},
            }
        )
    top = 1.25 * max(100 * float(curve.at(x).max()) for curve in curves.values())
    return go.Figure(
        traces,
        layout(
            x={"range": [0, 100 * most], "title": title(f"{by}s discarded, %")},
            y={"range": [0, top or 1], "title": title("FNMR, %")},
            **LEGEND_ABOVE | {"legend": {**LEGEND_ABOVE["legend"], "entrywidth": 66}},
        ),
    )


def scores_figure(comparisons: Comparisons, threshold: float) -> go.Figure:
    """Draw the histograms of genuine and impostor scores, and the threshold between them."""
    edges = comparisons.edges[::MERGED]
    centres = ((edges[:-1] + edges[1:]) / 2).astype(np.float32)
    traces: list[dict[str, Any]] = []
    tops = []
    for name, bins, color, shape in (
        ("genuine", comparisons.genuine_bins, BLUE, ""),
        ("impostor", comparisons.impostor_bins, ORANGE, "/"),
    ):
        share = 100 * bins.reshape(-1, MERGED).sum(axis=1) / bins.sum()
        tops.append(share.max())
        held = share > 0
        traces.append(
            {
                "type": "bar",
                "name": name,
                "x": centres[held],
                "y": share[held].astype(np.float32),
                "width": float(edges[1] - edges[0]),
                "hovertemplate": f"{name}: score %{{x:.3f}}, %{{y:.3g}} %<extra></extra>",
                "marker": {
                    "color": color,
                    "opacity": 0.6,
                    "line": {"width": 0},
                    "pattern": {"shape": shape, "fillmode": "overlay"},
                },
            }
        )
    traces.append(
        {
            "type": "scatter",
            "mode": "lines",
            "name": "threshold",
            "x": [threshold, threshold],
            "y": [MIN_SHARE, 100],
            "hovertemplate": "threshold %{x:.4f}<extra></extra>",
            "line": {"color": GREEN, "width": 3, "dash": "dash"},
        }
    )
    held = comparisons.genuine_bins + comparisons.impostor_bins > 0
    ends = comparisons.edges[:-1][held][[0, -1]]
    return go.Figure(
        traces,
        layout(
            x={"title": title("comparison score"), "range": ends.tolist()},
            y={
                "type": "log",
                "range": [np.log10(MIN_SHARE), np.log10(2 * max(tops))],
                "title": title("share, % (logarithmic)"),
                "dtick": 1,
                "exponentformat": "power",
            },
            barmode="overlay",
            bargap=0,
            **LEGEND_ABOVE,
        ),
    )


def det_figure(
    curve: tuple[NDArray[np.float64], NDArray[np.float64]], now: tuple[float, float]
) -> go.Figure:
    """Draw FNMR over FMR (from `evaluation.det`), both logarithmic, and mark the current point."""
    x, y = curve
    places = seen = np.flatnonzero((x > 0) & (y > 0))  # empty if no threshold has both errors
    if len(seen):
        grid = np.searchsorted(x[seen], np.geomspace(x[seen[0]], x[seen[-1]], POINTS))
        places = np.unique(seen[np.minimum(grid, len(seen) - 1)])
    words = "FMR %{x:.2g}, FNMR %{y:.2g}"
    return go.Figure(
        [
            _line("DET", x[places], y[places], (BLUE, "solid"), words=words),
            {
                "type": "scatter",
                "mode": "markers",
                "x": now[:1],
                "y": now[1:],
                "hovertemplate": "FMR %{x:.2g}, FNMR %{y:.4f}<extra></extra>",
                "marker": {"color": GREEN, "size": 12, "symbol": "diamond"},
            },
        ],
        layout(
            x={"type": "log", "title": title("FMR"), "dtick": 1, "exponentformat": "power"},
            y={"type": "log", "title": title("FNMR"), "dtick": 1, "exponentformat": "power"},
        ),
    )


def looks_of(names: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return colour and dash of each quality: its own, or the next of `OTHERS`."""
    others = [name for name in names if name not in LOOKS]
    more = {name: OTHERS[i % len(OTHERS)] for i, name in enumerate(others)}
    return {name: LOOKS.get(name) or more[name] for name in names}


def _line(
    name: str,
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    look: tuple[str, str],
    width: int = 2,
    words: str = "",
) -> dict[str, Any]:
    color, dash = look
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": x.astype(np.float32),
        "y": y.astype(np.float32),
        "hovertemplate": f"{words or name + ': %{y:.2f} % at %{x:.1f} %'}<extra></extra>",
        "line": {"color": color, "dash": dash, "width": width, "shape": "hv"},
    }


def _band(
    shares: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    *,
    color: str,
) -> dict[str, Any]:
    """Return the area between two lines, filled."""
    return {
        "type": "scatter",
        "mode": "lines",
        "name": "95 % band",
        "x": (100 * np.concatenate([shares, shares[::-1]])).astype(np.float32),
        "y": (100 * np.concatenate([low, high[::-1]])).astype(np.float32),
        "fill": "toself",
        "fillcolor": SHADE.get(color, "rgba(140, 150, 160, 0.2)"),
        "line": {"width": 0},
        "hoverinfo": "skip",
    }
