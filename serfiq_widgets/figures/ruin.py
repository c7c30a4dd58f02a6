"""Figures of a degraded face: the curve of one degradation, and the heat map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from serfiq_widgets.faces.degradation import STRENGTHS
from serfiq_widgets.figures.style import BLUE, ORANGE, layout, title

if TYPE_CHECKING:
    from serfiq_widgets.scoring.sensitivity import Sweep


def sweep_figure(sweep: Sweep, now: tuple[float, float]) -> go.Figure:
    """Draw quality over the range of a degradation, with a dot at the current (strength, quality).

    If the network is not calibrated, raw scores are drawn instead of qualities.
    """
    strength = STRENGTHS[sweep.name]
    what, ends = ("quality", [-4, 104]) if sweep.calibrated else ("raw score", [0.35, 1.01])
    return go.Figure(
        [
            {
                "type": "scatter",
                "mode": "lines",
                "name": what,
                "x": sweep.values,
                "y": sweep.qualities if sweep.calibrated else sweep.raw,
                "hovertemplate": f"%{{x:.3~g}}: {what} %{{y:.3~g}}<extra></extra>",
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
        layout(
            x={"range": [strength.least, strength.most], "title": title(strength.title)},
            y={"range": ends, "title": title(what)},
        ),
    )


def heat_picture(change: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Colour a heat map: orange where the score falls, blue where it rises.

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
