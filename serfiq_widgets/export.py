"""What people take home: scores as CSV and JSON, a page that opens offline, settings as a link.

Pure functions. A photo is in none of them unless it is asked for.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from html import escape
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

import numpy as np
from PIL import Image

from serfiq_widgets import figures, wording
from serfiq_widgets._version import __version__
from serfiq_widgets.degrade import COVERS, STRENGTHS, Ruin
from serfiq_widgets.errors import BadSetting
from serfiq_widgets.parts import data_url
from serfiq_widgets.state import PROJECTIONS, Entry
from serfiq_widgets.tables import FORMULA_STARTS

if TYPE_CHECKING:
    from serfiq_widgets.results import QualityResult

COLUMNS = ("name", "quality", "raw", "low", "high", "limit", "passes", "seed", "model")
NUMBERS = {"passes": int, "seed": int, "rate": float, "alpha": float, "r": float}
PAGE = """\
<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Face image quality {quality}: {name}</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 900px; margin: 24px auto;
    padding: 0 16px; color: #24292f; background: white; }}
  .serfiq-quality {{ font-size: 64px; font-weight: 700; }} meter {{ width: 100%; }}
  dl {{ display: grid; grid-template-columns: auto 1fr; gap: 8px 24px; align-items: center; }}
  dd {{ margin: 0; }} small, .serfiq-status {{ color: #57606a; font-size: 14px; }}
</style>
<h1>{name}</h1>
{photo}{numbers}
<h2>The formula</h2>{formula}
{pictures}
<p>SER-FIQ: Terh\u00f6rst, Kolf, Damer, Kirchbuchner and Kuijper, CVPR 2020. Made with
serfiq_widgets {version}. The quality is the opinion of one recognition network; it says nothing
about the person.</p>
{status}
</html>
"""


def rows(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Return one dict per scored face, without its pixels."""
    return [{"name": entry.name, **entry.result} for entry in entries]


def scores_csv(entries: Iterable[Entry]) -> bytes:
    """Return the scores as CSV in UTF-8; names that a spreadsheet would compute are quoted."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows(entries):
        name = row["name"]
        safe = f"'{name}" if name.startswith(FORMULA_STARTS) else name
        known = {key: "" if _is_missing(value) else value for key, value in row.items()}
        writer.writerow({**known, "name": safe})
    return text.getvalue().encode()


def _is_missing(value: Any) -> bool:
    return isinstance(value, float) and bool(np.isnan(value))


def scores_json(entries: Iterable[Entry]) -> bytes:
    """Return the scores as JSON; what is not known (an interval of two passes) is null."""
    known = [
        {key: None if _is_missing(v) else v for key, v in row.items()} for row in rows(entries)
    ]
    return json.dumps({"serfiq_widgets": __version__, "scores": known}, indent=1).encode()


def snapshot_html(result: QualityResult, *, photo: bool = False) -> bytes:
    """Return one result as a page that opens offline, with figures that answer to the mouse.

    Parameters
    ----------
    result : QualityResult
        What to show, after its passes.
    photo : bool
        Whether the page holds the aligned face.
    """
    films = {
        "Embedding spread": figures.spread_film(figures.principal(result.embeddings)),
        "Pairwise distances": figures.distance_film(result),
        "Running score": figures.running_film(result),
    }
    texts = (wording.SPREAD, wording.DISTANCES, wording.RUNNING)
    pictures = "".join(
        f"<h2>{title}</h2><p>{text}</p>"
        + film.figure.to_html(
            full_html=False,
            include_plotlyjs=title == "Embedding spread",
            default_height="360px",
            config={"displayModeBar": False},
        )
        for (title, film), text in zip(films.items(), texts, strict=True)
    )
    face = data_url(Image.fromarray(result.face.pixels)) if photo else ""
    readings = wording.readings(result)
    return PAGE.format(
        quality=result.shown_quality,
        name=escape(result.face.name),
        photo=f'<img src="{face}" alt="the aligned face">' if photo else "",
        numbers=wording.filled(wording.NUMBERS, readings, result.passes),
        formula=wording.filled(wording.FORMULA, readings, result.passes),
        pictures=pictures,
        version=__version__,
        status=wording.status(result),
    ).encode()


def settings_query(settings: dict[str, Any]) -> str:
    """Return settings as a query string; `parse_settings` reads it."""
    return urlencode({name: value for name, value in settings.items() if value is not None})


def ruin_settings(ruin: Ruin) -> dict[str, Any]:
    """Return what a ruin changes, by name."""
    neutral = asdict(Ruin())
    return {name: value for name, value in asdict(ruin).items() if value != neutral[name]}


def parse_settings(query: str) -> dict[str, Any]:
    """Read settings from a query string.

    Returns
    -------
    dict
        ``passes``, ``seed``, ``rate``, ``alpha``, ``r``, ``projection``, ``sample``, ``model``,
        as far as they are given, and ``ruin``.

    Raises
    ------
    BadSetting
        Something in it is unknown or no number; the text names it.
    """
    try:
        pairs = dict(parse_qsl(query, strict_parsing=True, max_num_fields=40))
    except ValueError as error:
        raise BadSetting("The link's settings cannot be read: copy the link again.") from error
    found: dict[str, Any] = {}
    ruin: dict[str, Any] = {}
    for name, text in pairs.items():
        if name in NUMBERS:
            found[name] = _number(name, text, NUMBERS[name])
        elif name in (*STRENGTHS, "x", "y", "side"):
            ruin[name] = _number(name, text, float)
        elif (name == "cover" and text in COVERS) or (name == "projection" and text in PROJECTIONS):
            (ruin if name == "cover" else found)[name] = text
        elif name in ("sample", "model"):
            found[name] = text
        else:
            raise BadSetting(f"The link has an unknown setting: {name}={text!r:.40}.")
    return {**found, "ruin": Ruin(**ruin)}


def _number(name: str, text: str, kind: type) -> float:
    try:
        value: float = kind(text)
    except ValueError as error:
        raise BadSetting(f"The link's {name}={text!r:.40} is no number.") from error
    return value
