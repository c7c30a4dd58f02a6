"""A page about a folder's scores that opens offline: numbers, figures, groups, how to cite.

It contains images only on request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from serfiq_widgets import figures
from serfiq_widgets._version import __version__
from serfiq_widgets.errors import BadTable, SerfiqError
from serfiq_widgets.evaluation import groups
from serfiq_widgets.evaluation.bias import SMALL, GroupedScores, group_scores
from serfiq_widgets.figures.page import Figures, page, section
from serfiq_widgets.images.encode import data_url
from serfiq_widgets.images.read import read_image

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from serfiq_widgets.evaluation.groups import ScoreTable

QUALITY, SPAN, MIDDLE = "quality", (0.0, 100.0), 50.0
QUANTILES = (0, 5, 25, 50, 75, 95, 100)
THUMBNAIL_SIDE = 112
MAX_ERRORS = 50  # listed at most
CURVE_HEIGHT = 400
CAUTION = (
    "A quality is the opinion of one recognition network about one photo: how far its embedding "
    "can be relied on. It says nothing about the person."
)
ABOUT_GROUPS = (
    f"{groups.CAUTION} Intervals: Wilson, 95 %. \u03b4: Cliff's, above 0 where the group's "
    "qualities are higher than all others'. p: Kolmogorov-Smirnov, corrected after Holm for the "
    f"groups of one table. * fewer than {SMALL} images: what is said of them may be chance."
)
CITE = """\
@inproceedings{terhoerst2020serfiq,
  title     = {{SER-FIQ}: Unsupervised Estimation of Face Image Quality Based on Stochastic
               Embedding Robustness},
  author    = {Terh\\"orst, Philipp and Kolf, Jan Niklas and Damer, Naser and Kirchbuchner, Florian
               and Kuijper, Arjan},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2020}
}"""
HEADINGS = ("group", "images", "median", "below", "95 % interval", "share", "kept")
LOOK = f"""\
  .wide {{ overflow-x: auto; }} .two {{ display: grid; gap: 16px;
    grid-template-columns: repeat(2, minmax(0, 1fr)); }}
  @media (max-width: 800px) {{ .two {{ grid-template-columns: minmax(0, 1fr); }} }}
  table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
  th, td {{ padding: 4px 10px; text-align: right; border-bottom: 1px solid var(--line);
    white-space: nowrap; }}
  th:first-child, td:first-child {{ text-align: left; }}
  pre {{ overflow-x: auto; font-size: 13px; }}
  .faces {{ display: flex; flex-wrap: wrap; gap: 12px; }}
  figure {{ margin: 0; width: {THUMBNAIL_SIDE}px; font-size: 13px; overflow-wrap: anywhere; }}
  figure img {{ display: block; max-width: 100%; border-radius: 8px; }}
"""
METHOD = f"""\
<p>{CAUTION}</p>
<p>SER-FIQ looks at each face many times with other features of the network switched off (dropout),
and calls it good if the embeddings stay together. Raw scores of a network crowd in a narrow range;
a logistic curve spreads them to the quality from 0 to 100. The controlled score estimates the
raw score of infinitely many passes with control variates; its closed form approximates it. Made
with serfiq_widgets {__version__}; cite the method as</p>
<pre>{escape(CITE)}</pre>"""


def report_html(
    table: ScoreTable,
    *,
    by: Sequence[str] = (),
    threshold: float = MIDDLE,
    images: int = 0,
    curves: Mapping[str, tuple[str, go.Figure]] | None = None,
) -> str:
    """Return a page about a table of scores.

    Parameters
    ----------
    table : ScoreTable
        With a column ``quality``; ``path``, ``raw``, ``limit`` and ``error`` are used if present.
    by : sequence of str
        Columns that define groups.
    threshold : float
        The quality below which an image counts as discarded.
    images : int
        Number of the best and of the worst faces to show, read again from their paths.
    curves : mapping of str to (str, plotly Figure), optional
        More figures by their titles, each with its caption, such as error-versus-discard curves.

    Raises
    ------
    BadTable
        The table has no quality.
    """
    quality = table.numbers(QUALITY)
    known = quality[np.isfinite(quality)]
    if not known.size:
        raise BadTable(
            "No image has a quality: there is nothing to report. If they have raw scores, their "
            "network is not calibrated: serfiq calibrate fits alpha and r to faces."
        )
    drawn = Figures()
    histogram = figures.histogram_figure(known, threshold, SPAN, QUALITY)
    sections = [
        section(
            "Distribution of quality",
            f"<p>{len(known):,} images; dotted: the threshold {threshold:g}.</p>"
            f"{drawn(histogram)}{_quantiles(table)}",
        )
    ]
    if images:
        sections.append(_faces(table, quality, images))
    for name in by:
        grouped = group_scores(quality, groups.labels(table, name))
        sections.append(_groups(name, grouped, threshold, drawn))
    if by:
        sections.append(f"<p>{ABOUT_GROUPS}</p>")
    sections += [
        section(title, f"<p>{escape(text)}</p>{drawn(figure, CURVE_HEIGHT)}")
        for title, (text, figure) in (curves or {}).items()
    ]
    title = f"Face image quality: {table.about.get('name', 'a table')}"
    content = [
        f"<h1>{escape(title)}</h1>",
        section("Summary", f"<dl>{_summary(table, known, threshold)}</dl>{_errors(table)}"),
        *sections,
        section("Method and citation", METHOD),
    ]
    return page(title, "\n".join(content), LOOK)


def _summary(table: ScoreTable, known: Any, threshold: float) -> str:
    about = table.about
    facts: dict[str, Any] = {
        "images": f"{len(table):,}",
        "scored": f"{len(known):,}",
        "not scored": f"{len(table) - len(known):,}",
        "model": about.get("model", "not stated"),
        "SHA-256 of the model": _only(table, "model_sha256"),
        "dropout passes T": about.get("passes", "not stated"),
        "seed": about.get("seed", "not stated"),
        "engine, device": ", ".join(filter(None, (_only(table, "engine"), _only(table, "device")))),
        "median quality": f"{np.median(known):.0f}",
        f"below {threshold:g}": f"{(known < threshold).mean():.1%}",
        "median closed form": _median(table, "limit"),
    }
    return "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>"
        for name, value in facts.items()
        if value != ""
    )


def _only(table: ScoreTable, name: str) -> str:
    """Return the only value of a column, except empty ones; empty if it has none or several."""
    values = {str(value) for value in table.columns.get(name, np.array([])).tolist() if value}
    return values.pop() if len(values) == 1 else ""


def _median(table: ScoreTable, name: str) -> str:
    values = table.numbers(name) if name in table.columns else np.array([np.nan])
    return f"{np.nanmedian(values):.4f}" if np.isfinite(values).any() else ""


def _errors(table: ScoreTable) -> str:
    texts = [
        text
        for text in table.columns.get("error", np.array([])).tolist()
        if isinstance(text, str) and text
    ]
    if not texts:
        return ""
    lines = "".join(f"<li>{escape(text)}</li>" for text in texts[:MAX_ERRORS])
    more = f"<li>and {len(texts) - MAX_ERRORS} more</li>" if len(texts) > MAX_ERRORS else ""
    return f"<details><summary>Why not scored</summary><ul>{lines}{more}</ul></details>"


def _quantiles(table: ScoreTable) -> str:
    head = "".join(f"<th>{quantile} %</th>" for quantile in QUANTILES)
    rows = ""
    for name in table.scores:
        values = table.numbers(name)
        values = values[np.isfinite(values)]
        if values.size:
            form = ".0f" if name == QUALITY else ".4f"
            cells = "".join(f"<td>{q:{form}}</td>" for q in np.percentile(values, QUANTILES))
            rows += f"<tr><td>{name}</td>{cells}</tr>"
    return f'<div class="wide"><table><tr><th>quantile</th>{head}</tr>{rows}</table></div>'


def _faces(table: ScoreTable, quality: Any, count: int) -> str:
    """Show the best and the worst faces, by raw score where qualities are equal."""
    raw = table.numbers("raw") if "raw" in table.columns else quality
    order = np.lexsort([raw, quality])
    order = order[np.isfinite(quality[order])]
    paths = table.column("path")
    content = ""
    for title, rows in (("Best", order[::-1][:count]), ("Worst", order[:count])):
        faces = "".join(_face(str(paths[row]), quality[row]) for row in rows)
        content += f'<h3>{title}</h3><div class="faces">{faces}</div>'
    return section("Best and worst images", content)


def _face(path: str, quality: float) -> str:
    name = escape(PurePath(path).name)
    try:
        picture = Image.fromarray(read_image(path))
    except SerfiqError as error:
        image = f"<p>{escape(str(error))}</p>"
    else:
        picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        image = f'<img src="{data_url(picture)}" alt="">'
    return f"<figure>{image}<figcaption>{quality:.0f}: {name}</figcaption></figure>"


def _groups(name: str, grouped: GroupedScores, threshold: float, drawn: Figures) -> str:
    rows = grouped.rows(threshold)
    head = "".join(f"<th>{title}</th>" for title in (*HEADINGS, "\u03b4", "KS", "p (Holm)"))
    body = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in map(escape, row.texts())) + "</tr>"
        for row in rows
    )
    left_out = f" {grouped.left_out:,} images without a quality or a group are left out."
    height = max(260, 110 + 26 * len(rows))
    pictures = (
        drawn(figures.shares_figure(grouped, threshold, SPAN, QUALITY), height),
        drawn(figures.rates_figure(grouped, rows, f"below {threshold:g}"), height),
    )
    return section(
        f"Groups by {name}",
        f"<p>{int(grouped.counts.sum()):,} images.{left_out if grouped.left_out else ''}</p>"
        f'<div class="two"><div>{pictures[0]}</div><div>{pictures[1]}</div></div>'
        f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>',
    )
