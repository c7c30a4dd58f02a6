"""Figures for all numbers of passes in one object, so that a slider needs no round trip."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

CUT = ("x", "y", "z", "customdata")


@dataclass(frozen=True, eq=False)
class Film:
    """A figure of all T passes, with the data to show it after the first t of them.

    Attributes
    ----------
    figure : plotly Figure
        After all passes.
    passes : int
        T.
    growing : dict of int to int
        Traces that hold one point per pass, and how many passes come before their first point:
        after t passes they show the first t - lag.
    frames : dict of int to dict of str to (T, n) ndarray
        Traces whose arrays change as a whole: after t passes, row t - 1 is shown.
    pick : tuple of int, optional
        A trace whose points can be chosen, and the trace that marks the chosen point.
    """

    figure: go.Figure
    passes: int
    growing: dict[int, int] = field(default_factory=dict)
    frames: dict[int, dict[str, NDArray[Any]]] = field(default_factory=dict)
    pick: tuple[int, int] | None = None

    def at(self, passes: int) -> go.Figure:
        """Return the figure after the first ``passes``; ``static/plot.js`` does the same."""
        shown = go.Figure(self.figure)
        for trace, lag in self.growing.items():
            one = shown.data[trace]
            for key in CUT:
                if key in one and one[key] is not None:
                    one[key] = one[key][: max(0, passes - lag)]
        for trace, arrays in self.frames.items():
            for key, rows in arrays.items():
                shown.data[trace][key] = rows[passes - 1]
        return shown

    def to_json(self) -> dict[str, Any]:
        """Return plotly's JSON and the film's data, for the browser."""
        frames = {
            str(trace): {key: _packed(rows) for key, rows in arrays.items()}
            for trace, arrays in self.frames.items()
        }
        growing = {str(trace): lag for trace, lag in self.growing.items()}
        film = {"passes": self.passes, "growing": growing, "frames": frames, "pick": self.pick}
        return {**self.figure.to_plotly_json(), "film": film}


def _packed(rows: NDArray[Any]) -> dict[str, Any]:
    content = np.ascontiguousarray(rows, dtype="<f4")
    return {
        "dtype": "f4",
        "bdata": base64.b64encode(content.tobytes()).decode(),
        "width": content.shape[1],
    }
