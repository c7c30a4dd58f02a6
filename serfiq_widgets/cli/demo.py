"""`serfiq demo`: the dashboard for one user or, with --public, for the public."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

LESSONS = "Serve a lesson instead: 1 to 6, or 0 for the instructor guide."


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="The port to use.  [default: 8866]")
@click.option("--no-browser", is_flag=True, help="Do not open a browser window.")
@click.option("--lecture", is_flag=True, help="Start in lecture mode: large type, scenes by keys.")
@click.option("--lesson", type=click.IntRange(0, 6), help=LESSONS)
@click.option("--base-url", default="/", help="The path behind a proxy: /user/me/proxy/8866/.")
@click.option("--public", is_flag=True, help="Serve the public: protected, with limits.")
@click.option("--address", help="With --public: the address to listen on.  [default: 127.0.0.1]")
@click.option("--token", help="With --public: visitors' token; generated if not given.")
@click.option("--open", "is_open", is_flag=True, help="With --public: no token is needed.")
@click.option("--kiosk", is_flag=True, help="With --public: large type, tour, restart.")
@click.option(
    "--settings",
    type=click.Path(path_type=Path, dir_okay=False),
    help="With --public: a TOML file like serfiq_widgets/public.toml.",
)
def demo(
    port: int | None,
    no_browser: bool,
    lecture: bool,
    lesson: int | None,
    base_url: str,
    public: bool,
    address: str | None,
    token: str | None,
    is_open: bool,
    kiosk: bool,
    settings: Path | None,
) -> None:
    """Serve the dashboard on http://localhost:PORT with Voila."""
    from serfiq_widgets.server.dashboard import PORT, begin_lecture, serve, serve_public
    from serfiq_widgets.server.settings import read_public

    only_public: dict[str, Any] = {
        "--address": address,
        "--token": token,
        "--open": is_open,
        "--kiosk": kiosk,
        "--settings": settings,
    }
    given = [name for name, value in only_public.items() if value]
    if given and not public:
        raise click.UsageError(f"{given[0]} needs --public.")
    if lecture:
        begin_lecture()
    if not public:
        serve(port or PORT, browser=not no_browser, lesson=lesson, base=base_url)
        return
    if lesson is not None or base_url != "/" or (is_open and token):
        raise click.UsageError(
            "--public excludes --lesson and --base-url, and --open excludes --token."
        )
    said = {"address": address, "port": port, "token": "" if is_open else token}
    serve_public(
        read_public(settings, **said, kiosk=True if kiosk else None), browser=not no_browser
    )
