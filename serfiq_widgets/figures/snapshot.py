"""One result as a page that opens offline."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from PIL import Image

from serfiq_widgets import figures
from serfiq_widgets._version import __version__
from serfiq_widgets.figures import captions
from serfiq_widgets.images.encode import data_url

if TYPE_CHECKING:
    from serfiq_widgets.scoring.results import QualityResult

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
    texts = (captions.SPREAD, captions.DISTANCES, captions.RUNNING)
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
    readings = captions.readings(result)
    return PAGE.format(
        quality=result.shown_quality,
        name=escape(result.face.name),
        photo=f'<img src="{face}" alt="the aligned face">' if photo else "",
        numbers=captions.filled(captions.NUMBERS, readings, result.passes),
        formula=captions.filled(captions.FORMULA, readings, result.passes),
        pictures=pictures,
        version=__version__,
        status=captions.status(result),
    ).encode()
