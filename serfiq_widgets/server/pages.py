"""Pages of the public server around the dashboard: waiting, token form, end of the session."""

from __future__ import annotations

from html import escape

TITLE = "Face image quality, live"
FULL = "The demo is full. The next place is free in about a minute."
SOON = "Your place is being prepared. It takes a few seconds."
WAIT = "This page tries again by itself; leave it open."
ASK = "This demo needs a token. Ask the person who runs it."
WRONG = "This token is wrong. Check it, or ask the person who runs this demo."
TOO_MANY = "Too many wrong tokens at the moment. Try again in a minute."
AGAIN = "Start again"
KEPT = (
    "Starting again brings back the sample photo, what was done to it, the passes and the "
    "settings. Your own photos and pinned faces are gone: add them again."
)
ENDS = {
    "over": "This session has ended, and its photos are gone. Start again whenever you like.",
    "crashed": f"The part of the program that computes for this page has stopped. {KEPT}",
}
SESSION = {  # for session.js
    "again": AGAIN,
    "away": "No connection to the server: what is shown is old. This page tries again by itself.",
    "crashed": "The part of the program that computes has stopped: what is shown is old.",
    "over": "This session has ended: what is shown is old.",
    "kept": KEPT,
    "anew": "Starting again runs the page from its beginning.",
    "warning": "Is anybody there? The demo restarts in {} s. Touch the screen to continue.",
    "stay": "Go on",
}
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">{refresh}
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:;base64,="><title>{title}</title>
<style>
  body {{ margin: 0; min-height: 100vh; display: grid; place-content: center; text-align: center;
    font: 20px/1.5 system-ui, sans-serif; background: #f6f8fa; color: #1f2328; }}
  main {{ max-width: 32em; padding: 1em; }}
  small {{ color: #59636e; }}
  input, button {{ font: inherit; padding: .3em .7em; }}
  @media (prefers-color-scheme: dark) {{
    body {{ background: #0d1117; color: #e6edf3; }} small {{ color: #9198a1; }} }}
</style></head><body><main><h1>{title}</h1><p role="status">{text}</p>{rest}</main></body></html>
"""
FORM = """<form><input name="token" type="password" aria-label="token" autofocus
autocomplete="off"> <button>Enter</button></form>"""


def waiting(text: str, retry_s: int) -> str:
    """Return a page that says why the visitor waits, and that reloads itself."""
    refresh = f'<meta http-equiv="refresh" content="{retry_s}">'
    return PAGE.format(
        title=TITLE, refresh=refresh, text=escape(text), rest=f"<small>{WAIT}</small>"
    )


def asking(text: str) -> str:
    """Return a page that asks for the token."""
    return PAGE.format(title=TITLE, refresh="", text=escape(text), rest=FORM)


def over(why: str) -> str:
    """Return a page that says how a session ended (one of `ENDS`), with a button to restart."""
    rest = f'<form action="/"><button autofocus>{AGAIN}</button></form>'
    return PAGE.format(title=TITLE, refresh="", text=escape(ENDS[why]), rest=rest)


def saying(text: str) -> str:
    """Return a page with one sentence."""
    return PAGE.format(title=TITLE, refresh="", text=escape(text), rest="")
