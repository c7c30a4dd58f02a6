"""Downloads: scores as CSV and JSON, a page that opens offline, and a link with the settings.

They contain a photo only on request.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import ipywidgets as w
import numpy as np

from serfiq_widgets._version import __version__
from serfiq_widgets.datasets.tables import FORMULA_STARTS
from serfiq_widgets.errors import BadSetting
from serfiq_widgets.faces.degradation import COVERS, STRENGTHS, Degradation
from serfiq_widgets.figures.snapshot import snapshot_html
from serfiq_widgets.models.cards import usable
from serfiq_widgets.resources import sample_images
from serfiq_widgets.widgets.base import StateView, heading
from serfiq_widgets.widgets.elements import Download, SettingsLink
from serfiq_widgets.widgets.errors_shown import show_errors
from serfiq_widgets.widgets.state import PROJECTIONS, Entry

TAKE_HOME = (
    "Pictures are saved with the buttons on them. The link carries settings, never a face; scores "
    "and page hold no photo unless you tick it."
)
COLUMNS = (
    *("name", "quality", "margin", "controlled", "controlled_low", "controlled_high"),
    *("raw", "low", "high", "limit", "passes", "seed", "model"),
)
NUMBERS = {"passes": int, "seed": int, "rate": float, "alpha": float, "r": float}


class TakeHomePanel(StateView):
    """Scores, a page that opens offline, and a link with the settings.

    Takes the parameters of `StateView`.
    """

    def build(self) -> list[w.Widget]:
        """Make a checkbox for the photo, the buttons, the link."""
        self.add_class("serfiq-take-home")
        self._photo = w.Checkbox(description="with the face in the page", indent=False)
        offers = {
            "csv": "Scores as CSV",
            "json": "Scores as JSON",
            "html": "This result as a page",
        }
        self._download = Download(offers, show_errors(self.state, self._hand))
        self._link = SettingsLink()
        self._link.observe(show_errors(self.state, lambda c: self.apply(c["new"])), "opened")
        names = ["clean", "ruin", "passes", "projection", "scorer"]
        self.state.observe(show_errors(self.state, lambda _: self._write()), names)
        self._write()
        head = w.HTML(heading("Take it home", TAKE_HOME))
        return [head, self._download, self._photo, self._link]

    def _hand(self, kind: str) -> None:
        self._download.hand(*self.make(kind))

    def make(self, kind: str) -> tuple[str, str, bytes]:
        """Return name, MIME type and content of a file: "csv", "json" or "html".

        Raises
        ------
        BadSetting
            The page is requested before a face was scored.
        """
        if kind == "csv":
            return "serfiq-scores.csv", "text/csv", scores_csv(self.state.entries)
        if kind == "json":
            content = scores_json(self.state.entries)
            return "serfiq-scores.json", "application/json", content
        if self.state.result is None:
            raise BadSetting("Choose a photo first.")
        page = snapshot_html(self.state.result, photo=self._photo.value)
        return "serfiq.html", "text/html", page

    def _write(self) -> None:
        state = self.state
        options = state.scorer.options
        named = options.model if options.model in usable() else None
        settings = {name: getattr(options, name) for name in ("seed", "rate", "alpha", "r")}
        known = isinstance(state.source, Path) and state.source in sample_images()
        sample = state.source.stem if known else None
        self._link.settings = settings_query(
            {
                "sample": sample,
                "passes": state.passes,
                "model": named,
                **settings,
                "projection": state.projection,
                **ruin_settings(state.ruin),
            }
        )

    def apply(self, query: str) -> None:
        """Apply the settings of a link.

        Raises
        ------
        BadSetting
            They cannot be read, or name something that is not available.
        """
        found = parse_settings(query)
        scorer = {k: found[k] for k in ("model", "seed", "rate", "alpha", "r") if k in found}
        if scorer.get("model", "mini") not in usable():
            del scorer["model"]
        samples = {path.stem: path for path in sample_images()}
        self.state.configure(**scorer)
        if found.get("sample") in samples:
            self.state.image = samples[found["sample"]]
        self.state.ruin = found["ruin"]
        self.state.passes = found.get("passes", self.state.passes)
        self.state.projection = found.get("projection", self.state.projection)


def rows(entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """Return one dict per scored face, without its pixels."""
    return [{"name": entry.name, **entry.result} for entry in entries]


def scores_csv(entries: Iterable[Entry]) -> bytes:
    """Return the scores as CSV in UTF-8; names that look like formulas are escaped."""
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
    """Return the scores as JSON; unknown numbers (an interval of two passes) are null."""
    known = [
        {key: None if _is_missing(v) else v for key, v in row.items()} for row in rows(entries)
    ]
    return json.dumps({"serfiq_widgets": __version__, "scores": known}, indent=1).encode()


def settings_query(settings: dict[str, Any]) -> str:
    """Return settings as a query string; `parse_settings` reads it."""
    return urlencode({name: value for name, value in settings.items() if value is not None})


def ruin_settings(ruin: Degradation) -> dict[str, Any]:
    """Return the values that a degradation changes, by name."""
    neutral = asdict(Degradation())
    return {name: value for name, value in asdict(ruin).items() if value != neutral[name]}


def parse_settings(query: str) -> dict[str, Any]:
    """Read settings from a query string.

    Returns
    -------
    dict
        ``passes``, ``seed``, ``rate``, ``alpha``, ``r``, ``projection``, ``sample``, ``model``,
        if given, and ``ruin``.

    Raises
    ------
    BadSetting
        A name is unknown, or a value is no number; the text names it.
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
    return {**found, "ruin": Degradation(**ruin)}


def _number(name: str, text: str, kind: type) -> float:
    try:
        value: float = kind(text)
    except ValueError as error:
        raise BadSetting(f"The link's {name}={text!r:.40} is no number.") from error
    return value
