"""A page with figures that opens offline, light or dark: frame, style sheet, sections."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import plotly.graph_objects as go

FRAME = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{look}</style></head>
<body><main>
{content}
</main></body></html>
"""
LOOK = """\
  :root { --ink: #24292f; --soft: #57606a; --line: #d8dee4; --card: #ffffff; --page: #f6f8fa; }
  @media (prefers-color-scheme: dark) {
    :root { color-scheme: dark; --ink: #e6edf3; --soft: #9da7b3; --line: #3d444d;
      --card: #161b22; --page: #0d1117; }
  }
  * { box-sizing: border-box; }
  body { font: 16px/1.5 system-ui, sans-serif; margin: 0; color: var(--ink);
    background: var(--page); }
  main { max-width: 1080px; margin: 0 auto; padding: 16px; display: grid; gap: 16px;
    grid-template-columns: minmax(0, 1fr); }
  h1 { margin: 8px 0 0; overflow-wrap: anywhere; } h2 { margin: 0 0 8px; font-size: 20px; }
  section { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
    padding: 16px; min-width: 0; }
  p { margin: 8px 0; color: var(--soft); } b { color: var(--ink); }
  dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 4px 24px;
    margin: 0; }
  dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
  .xtick text, .ytick text, .xtitle, .ytitle, .legendtext { fill: var(--ink) !important; }
  .gridlayer path, .zerolinelayer path { stroke: var(--line) !important; }
"""


def page(title: str, content: str, look: str = "") -> str:
    """Return a whole page.

    Parameters
    ----------
    title : str
        Plain text, for the browser's tab.
    content : str
        HTML of the body.
    look : str
        Additional CSS for this page only.
    """
    return FRAME.format(title=escape(title), look=LOOK + look, content=content)


def section(title: str, content: str) -> str:
    """Return a card with a heading (plain text) and its content (HTML)."""
    return f"<section><h2>{escape(title)}</h2>{content}</section>"


class Figures:
    """Figures of one page as HTML; the first one includes the plotly library for all."""

    def __init__(self) -> None:
        self._first = True

    def __call__(self, figure: go.Figure, height: int = 320) -> str:
        """Return the HTML of another figure, ``height`` pixels high."""
        html: str = figure.to_html(
            full_html=False,
            include_plotlyjs=self._first,
            default_height=f"{height}px",
            config={"displayModeBar": False, "responsive": True},
        )
        self._first = False
        return html
