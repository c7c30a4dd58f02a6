"""Still pictures, which a saved notebook keeps of a widget: HTML without scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from serfiq_widgets.evaluation.population import population_of
from serfiq_widgets.figures.stage import Scene
from serfiq_widgets.scoring.shown import (
    BAND,
    BOX,
    EDGE,
    FONT,
    HEIGHT,
    LEFT,
    LINE,
    PALE,
    WIDTH,
    result_html,
    svg_image,
)

if TYPE_CHECKING:
    from serfiq_widgets.evaluation.bias import GroupRow
    from serfiq_widgets.evaluation.curves import Curve
    from serfiq_widgets.faces.alignment import AlignedFace
    from serfiq_widgets.scoring.results import QualityResult

SIDE = 180  # of a cloud, in pixels
COLOURS = (LINE, "#d9822b", "#3a9d5d", "#a05ac8", "#c2455c", "#2aa5a5", PALE)  # of curves
ROW = 18  # pixels of a group


def face_still(now: QualityResult, clean: QualityResult) -> str:
    """Return a face with its quality, running score and cloud; see `Scene`."""
    cloud = Scene(clean).cloud(now, population_of(now.model_sha256, now.rate))
    return result_html(now, cloud_image(cloud))


def faces_still(faces: Iterable[tuple[AlignedFace, str]]) -> str:
    """Return several faces, each over a text."""
    shown = (f"<div>{face._repr_html_()}<br>{escape(text)}</div>" for face, text in faces)
    return f'<div class="serfiq-static" style="{BOX}">{"".join(shown)}</div>'


def cloud_image(picture: Mapping[str, Any]) -> str:
    """Return the image of a cloud as `Scene.cloud` lays it out."""

    def circle(radius: float, style: str, x: float = 0, y: float = 0) -> str:
        return f'<circle cx="{100 * x:.1f}" cy="{-100 * y:.1f}" r="{100 * radius:.1f}" {style}/>'

    outline = f'fill="none" stroke="{PALE}"'
    shapes = [circle(1, outline)]
    if picture["strangers"]:
        low, high = picture["strangers"]
        band = f'fill="none" stroke="{PALE}44" stroke-width="{100 * (high - low):.1f}"'
        shapes.append(circle((low + high) / 2, band))
    if picture["decision"] is not None:
        shapes.append(circle(picture["decision"], f'{outline} stroke-width="2"'))
    shapes += [circle(0.02, f'fill="{PALE}"', *place) for place in picture["ghosts"]]
    shapes.append(circle(picture["size"], f'fill="{BAND}"'))
    shapes += [circle(0.02, f'fill="{LINE}"', *place) for place in picture["dots"]]
    if picture["ring"] is not None:
        shapes.append(circle(picture["ring"], f'{outline} stroke-dasharray="5 4"'))
    content = f'<g transform="translate(103 103)">{"".join(shapes)}</g>'
    return svg_image(content, SIDE, SIDE, picture["label"], view=206)


def curves_still(curves: Mapping[str, Curve], most: float, text: str) -> str:
    """Return error versus discard of several qualities, up to a share, with a text (HTML)."""
    shares = np.linspace(0, most, 61)
    errors = {name: curve.at(shares) for name, curve in curves.items()}
    top = float(np.max([*errors.values(), 1e-9 + 0 * shares]))
    x, bottom = np.linspace(LEFT, WIDTH - EDGE, len(shares)), HEIGHT - 2 * EDGE
    content = (
        f'<text x="{LEFT - 6}" y="{EDGE + 4}" text-anchor="end" {FONT}>{top:.2g}</text>'
        f'<text x="{LEFT - 6}" y="{bottom + 4}" text-anchor="end" {FONT}>0</text>'
        f'<text x="{LEFT}" y="{HEIGHT - 4}" {FONT}>FNMR, 0 to {most:.0%} of images discarded</text>'
    )
    names = []
    for number, (name, values) in enumerate(errors.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = zip(x, np.interp(values, [0, top], [bottom, EDGE]), strict=True)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        content += f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        names.append(f'<span style="color:{colour}">{escape(name)}</span>')
    image = svg_image(content, WIDTH, HEIGHT, "Error versus discard")
    return _framed(image, f"{text}<br>{', '.join(names)}")


def groups_still(rows: Sequence[GroupRow], text: str) -> str:
    """Return the share of each group below a threshold, with its interval, with a text (HTML)."""
    top = max([1e-9, *(row.high for row in rows)])
    scale = (WIDTH - 120) / top
    content = "".join(
        f'<text x="74" y="{ROW * place + 12}" text-anchor="end" {FONT}>{escape(row.group)}</text>'
        f'<rect x="80" y="{ROW * place + 3}" width="{row.rate * scale:.1f}" height="{ROW - 6}" '
        f'fill="{LINE}"/>'
        f'<path d="M{80 + row.low * scale:.1f} {ROW * place + 9}H{80 + row.high * scale:.1f}" '
        f'stroke="{PALE}" stroke-width="2"/>'
        f'<text x="{84 + row.high * scale:.1f}" y="{ROW * place + 12}" {FONT}>{row.rate:.0%}</text>'
        for place, row in enumerate(rows)
    )
    image = svg_image(content, WIDTH, ROW * len(rows), "Share of each group below the threshold")
    return _framed(image, text)


def _framed(image: str, text: str) -> str:
    return f'<div class="serfiq-static" style="{BOX}">{image}<div>{text}</div></div>'
