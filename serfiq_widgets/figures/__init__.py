"""Figures of results: pure functions that return plotly figures, without widgets or inference.

Colours are Okabe and Ito's, which colour-blind people can distinguish, always with a second cue.
The page's theme sets fonts and grid lines. A figure that follows a slider is a `Film`.
"""

from __future__ import annotations

from serfiq_widgets.figures.bias import (
    densities_figure,
    histogram_figure,
    rates_figure,
    shares_figure,
)
from serfiq_widgets.figures.calibration import calibration_figure
from serfiq_widgets.figures.compare import clouds_figure, discs_figure, draws_figure
from serfiq_widgets.figures.evaluation import caption, det_figure, discard_figure, scores_figure
from serfiq_widgets.figures.film import Film
from serfiq_widgets.figures.passes import (
    INTERVALS,
    distance_film,
    on_sphere,
    plane_share,
    principal,
    running_film,
    spread_film,
)
from serfiq_widgets.figures.ruin import heat_picture, sweep_figure
from serfiq_widgets.figures.style import BLUE, GREEN, ORANGE

__all__ = [
    "BLUE",
    "GREEN",
    "INTERVALS",
    "ORANGE",
    "Film",
    "calibration_figure",
    "caption",
    "clouds_figure",
    "densities_figure",
    "det_figure",
    "discard_figure",
    "discs_figure",
    "distance_film",
    "draws_figure",
    "heat_picture",
    "histogram_figure",
    "on_sphere",
    "plane_share",
    "principal",
    "rates_figure",
    "running_film",
    "scores_figure",
    "shares_figure",
    "spread_film",
    "sweep_figure",
]
