"""Shared by all figures: Okabe and Ito's colours, and a layout without fonts of its own."""

from __future__ import annotations

from typing import Any

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
GREY = "rgb(140, 150, 160)"


def title(text: str) -> dict[str, Any]:
    """Return the title of an axis."""
    return {"text": text, "font": {"size": 12}, "standoff": 6}


def layout(x: dict[str, Any], y: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the layout of a figure with two axes."""
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


LEGEND_ABOVE: dict[str, Any] = {
    "margin": {"l": 48, "r": 8, "t": 24, "b": 36},
    "showlegend": True,
    "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
}
