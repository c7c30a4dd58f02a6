"""One result as a page that opens offline."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from PIL import Image

from serfiq_widgets import figures
from serfiq_widgets._version import __version__
from serfiq_widgets.figures import captions
from serfiq_widgets.figures.page import Figures, page, section
from serfiq_widgets.images.encode import data_url

if TYPE_CHECKING:
    from serfiq_widgets.scoring.results import QualityResult

LOOK = """\
  main { max-width: 900px; }
  .serfiq-quality { font-size: 64px; font-weight: 700; } meter { width: 100%; }
  dl { align-items: center; } small, .serfiq-status { color: var(--soft); font-size: 14px; }
"""
ABOUT = f"""\
<p>SER-FIQ: Terh\u00f6rst, Kolf, Damer, Kirchbuchner and Kuijper, CVPR 2020. Made with
serfiq_widgets {__version__}. The quality is the opinion of one recognition network; it says nothing
about the person.</p>
"""


def snapshot_html(result: QualityResult, *, photo: bool = False) -> bytes:
    """Return one result as a page that opens offline, with interactive figures.

    Parameters
    ----------
    result : QualityResult
        The result to show, after its passes.
    photo : bool
        Whether the page contains the aligned face.
    """
    drawn = Figures()
    films = {
        "Embedding spread": (
            captions.SPREAD,
            figures.spread_film(figures.principal(result.embeddings)),
        ),
        "Pairwise distances": (captions.DISTANCES, figures.distance_film(result)),
        "Running score": (captions.RUNNING, figures.running_film(result)),
    }
    face = data_url(Image.fromarray(result.face.pixels)) if photo else ""
    readings = captions.readings(result)
    content = [
        f"<h1>{escape(result.face.name)}</h1>",
        f'<img src="{face}" alt="the aligned face" width="112">' if photo else "",
        f"<section>{captions.filled(captions.NUMBERS, readings, result.passes)}</section>",
        section("The formula", captions.filled(captions.FORMULA, readings, result.passes)),
        *(
            section(title, f"<p>{text}</p>{drawn(film.figure, 360)}")
            for title, (text, film) in films.items()
        ),
        ABOUT,
        captions.status(result),
    ]
    title = f"Face image quality {result.shown_quality}: {result.face.name}"
    return page(title, "\n".join(content), LOOK).encode()
