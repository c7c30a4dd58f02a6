"""The figure of `serfiq benchmark`: milliseconds per image of every engine and its peers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go

from serfiq_widgets.figures.page import Figures, page, section
from serfiq_widgets.figures.style import BLUE, GREEN, GREY, LEGEND_ABOVE, ORANGE, layout, title

PEERS = {
    "embedding": ("embedding, without dropout", GREY, ""),
    "controlled": ("controlled score of few passes", GREEN, "."),
    "score": ("score", BLUE, "/"),
    "reference": ("the reference's way", ORANGE, "x"),
}
ROW, FRAME = 92, 110  # pixels of a row with its four bars, and around them


def timings_figure(records: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Draw the times of records of `cli.timings.measure` as bars on a logarithmic axis."""
    names = [
        "{engine} {precision}, {device}, batch of {batch}".format(**record) for record in records
    ]
    traces = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": names,
            "x": [record[f"{peer}_ms"] for record in records],
            "marker": {"color": color, "pattern": {"shape": shape, "fillmode": "overlay"}},
            "texttemplate": "%{x:.3g}",
            "hovertemplate": f"{name}: %{{x:.4g}} ms<extra></extra>",
        }
        for peer, (name, color, shape) in PEERS.items()
    ]
    return go.Figure(
        traces,
        layout(
            x={"title": title("milliseconds per image"), "type": "log"},
            y={"autorange": "reversed", "automargin": True},
            **LEGEND_ABOVE,
        ),
    )


def timings_html(records: Sequence[Mapping[str, Any]], advice: Iterable[str]) -> str:
    """Return a page with a figure for each network, and what to change."""
    heading = "How fast it is here"
    drawn = Figures()
    sections = []
    for model in dict.fromkeys(record["model"] for record in records):
        own = [record for record in records if record["model"] == model]
        figure = drawn(timings_figure(own), ROW * len(own) + FRAME)
        about = f"<p>Medians, T = {own[0]['passes']}. Shorter is better.</p>"
        sections.append(section(model, about + figure))
    words = "".join(f"<p>{escape(line)}</p>" for line in advice)
    return page(heading, "\n".join([f"<h1>{heading}</h1>", *sections, section("Advice", words)]))
