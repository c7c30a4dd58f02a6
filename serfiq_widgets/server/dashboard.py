"""Serving the dashboard notebook with Voila, without requests to other hosts."""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import socket
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serfiq_widgets.errors import BadSetting, EngineUnavailable
from serfiq_widgets.images import confinement
from serfiq_widgets.resources import folder
from serfiq_widgets.server import pages
from serfiq_widgets.server.log_limits import log_seldom
from serfiq_widgets.server.requirements import Missing, folders_to_write_in, kernel_sockets
from serfiq_widgets.server.settings import Public, summary, with_token
from serfiq_widgets.widgets import plotly_js
from serfiq_widgets.widgets.public import LECTURE, PUBLIC

if TYPE_CHECKING:
    from serfiq_widgets.server.voila_app import Dashboard

HERE = Path(__file__).parent
LOG = logging.getLogger(__name__)

PORT = 8866
IDLE_S, CHECK_S = 600, 60
POOL, REFILL_S = 2, 10  # kernels started in advance, and the seconds before the next one
ROOT = "/"
BASE = re.compile(r"/([\w.~@%-]+/)*")  # a path that begins and ends with a slash
# For the kernels: NumPy's matrix products are small here, and threads that wait for the next
# product only take CPU time from others; pages need no echo of their messages, as no page shares
# widgets with another.
KERNELS = {
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "JUPYTER_WIDGETS_ECHO": "0",
    "MALLOC_ARENA_MAX": "1",  # else glibc keeps memory of an erased photo
    "MALLOC_MMAP_THRESHOLD_": "1048576",  # else it keeps 50 MB a kernel of large arrays
    "MALLOC_TRIM_THRESHOLD_": "262144",
}


def settings(port: int, *, browser: bool, base: str = ROOT) -> dict[str, dict[str, Any]]:
    """Return Voila's settings for the dashboard, by class and trait.

    ``base`` is the path of the page as the browser sees it.
    """
    return {
        "Voila": {
            "ip": "127.0.0.1",
            "port": port,
            "open_browser": browser,
            "base_url": base,
            "server_url": ROOT,  # `Dashboard` removes the base from paths
            "log_level": "ERROR",
            "tornado_settings": {"ws_ping_interval": 0},  # there is no proxy to keep connected
        },
        "VoilaConfiguration": {
            "template": "serfiq",  # the package's own page: no request leaves the machine
            "show_tracebacks": False,
            "preheat_kernel": True,
            "default_pool_size": POOL,
            "resources": {"plotly": plotly_at(base), "session": session(leaves=False)},
            "file_denylist": [".*"],  # no downloads from the notebook's folder
            "extension_denylist": ["jupyterlab-plotly"],  # 4.8 MB that nothing here uses
        },
        "VoilaKernelManager": {"fill_delay": REFILL_S},
        # A kernel ends after its visitor has left; kernels that wait in the pool stay.
        "MappingKernelManager": {"cull_idle_timeout": IDLE_S, "cull_interval": CHECK_S},
        # A page cannot continue with another kernel than its own: it is notified and reloads.
        "KernelManager": {"autorestart": False},
    }


def plotly_at(base: str) -> str:
    """Return the path of the page's plotly library."""
    return base + plotly_js.PATH.removeprefix(ROOT)


def checked_base(base: str) -> str:
    """Return a base path with a slash at both ends, or raise BadSetting."""
    inner = base.strip("/")
    whole = f"/{inner}/" if inner else ROOT
    if not BASE.fullmatch(whole):
        raise BadSetting(
            f"--base-url {base!r:.80} is not a path. Behind JupyterHub's proxy it is like "
            "/user/NAME/proxy/8866/."
        )
    return whole


def begin_lecture() -> None:
    """Let pages start in lecture mode."""
    os.environ[LECTURE] = "1"


def serve(port: int, *, browser: bool, lesson: int | None = None, base: str = ROOT) -> None:
    """Serve the dashboard, or a lesson by its number, until interrupted.

    Behind a proxy, ``base`` is the path of the page as browsers see it; the proxy may remove it
    from the requests that it forwards, or keep it.

    Raises
    ------
    EngineUnavailable
        Voila is not installed.
    BadSetting
        The port is in use, no folder is writable, or ``base`` is not a path.
    """
    base = checked_base(base)
    missing = _prepare("127.0.0.1", port, base)
    from traitlets.config import Config

    from serfiq_widgets.server.voila_app import Dashboard, KernelManager

    page = settings(port, browser=browser, base=base)
    page["VoilaConfiguration"]["resources"]["wide"] = lesson is None
    config = Config(page)
    config.merge(Config(kernel_sockets()))
    config.VoilaConfiguration.multi_kernel_manager_class = KernelManager
    pattern = "dashboard.ipynb" if lesson is None else f"{lesson:02}_*.ipynb"
    address = f"http://localhost:{port}{base}".removesuffix("/")
    _run(Dashboard(config=config), pattern, address, missing)


def serve_public(public: Public, *, browser: bool) -> None:
    """Serve the dashboard to the public until interrupted.

    Raises
    ------
    EngineUnavailable
        Voila, or something that scoring needs, is not installed.
    BadSetting
        The port is in use, no folder is writable, or the machine runs Windows.
    """
    if sys.platform == "win32":
        raise BadSetting("serfiq demo --public runs on Linux and macOS; serfiq demo runs here.")
    confinement.hide()
    public = with_token(public, secrets.token_urlsafe(16))
    # Visitors share the cores. Their kernels are forks, for which OpenVINO is not made.
    os.environ |= {"SERFIQ_THREADS": "1", "SERFIQ_ENGINE": "onnxruntime", PUBLIC: "1"}
    log_seldom()
    if os.geteuid() == 0:
        LOG.warning(
            "The server runs as root: an attacker who breaks into it controls the whole machine. "
            "Start it as another user (User= or DynamicUser= in systemd, USER in a container)."
        )
    missing = _prepare(public.address, public.port)
    from traitlets.config import Config

    from serfiq_widgets.server.public_app import PublicDashboard, capacity
    from serfiq_widgets.server.voila_app import KernelManager

    config = Config(settings(public.port, browser=browser))
    config.merge(Config(public_settings(public)))
    config.merge(Config(kernel_sockets()))
    config.VoilaConfiguration.multi_kernel_manager_class = KernelManager
    app = PublicDashboard(config=config)
    app.most_connections, visitors = capacity(public.most_visitors)
    app.public = public = replace(public, most_visitors=visitors)
    host = "localhost" if public.address in ("127.0.0.1", "0.0.0.0", "::") else public.address  # noqa: S104  # compared only
    host = f"[{host}]" if ":" in host else host
    app.address = f"http://{host}:{public.port}/" + (
        f"?token={public.token}" if public.token else ""
    )
    said = summary(public, confined=confinement.works_here())
    _run(app, "dashboard.ipynb", app.address, missing, said)


def public_settings(public: Public) -> dict[str, dict[str, Any]]:
    """Return the settings of the public server that differ from `settings`."""
    times = {"idle": public.kiosk_idle_s, "warning": public.warning_s}
    page = {
        "plotly": plotly_at(ROOT),
        "session": session(leaves=True, kiosk=public.kiosk, **times),
        "wide": True,
    }
    return {
        "Voila": {"ip": public.address, "log_level": "CRITICAL", "config_file_paths": []},
        "VoilaConfiguration": {
            "allow_template_override": "NO",
            "allow_theme_override": "NO",
            "default_pool_size": public.warm,
            "resources": page,
        },
        "VoilaKernelManager": {"fill_delay": 0},
        "MappingKernelManager": {"cull_idle_timeout": 0},  # `server.sessions` does it
    }


def session(*, leaves: bool, kiosk: bool = False, **times: float) -> dict[str, str]:
    """Return what a page needs to monitor its session: settings, script and style.

    ``leaves``: whether the page navigates away when its session has ended, or stays and shows a
    note; ``times`` are the kiosk's times.
    """
    static = HERE / "static"
    settings = {"texts": pages.SESSION, "leaves": leaves, "kiosk": kiosk, **times}
    return {
        "settings": json.dumps(settings),
        "script": (static / "session.js").read_text(encoding="utf-8"),
        "style": (static / "session.css").read_text(encoding="utf-8"),
    }


def _prepare(address: str, port: int, base: str = ROOT) -> Missing:
    """Set the environment of Voila and its kernels; check what they need.

    A check of what scoring needs runs meanwhile; the caller waits for its result.
    """
    path = [str(HERE / "page"), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    os.environ["JUPYTER_PATH"] = os.pathsep.join(path)  # where Voila looks for the page template
    kernels = {**KERNELS, plotly_js.ADDRESS: plotly_at(base)}
    os.environ.update({name: value for name, value in kernels.items() if name not in os.environ})
    try:
        import voila  # noqa: F401  # for a clear error
    except ImportError as error:
        raise EngineUnavailable("Voila is missing: pip install 'serfiq_widgets[demo]'") from error
    folders_to_write_in()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        if probe.connect_ex((address, port)) == 0:
            raise BadSetting(f"Port {port} is in use. Try another one, such as {port + 1}.")
    return Missing()


def _run(app: Dashboard, pattern: str, address: str, missing: Missing, more: str = "") -> None:
    from tornado.ioloop import IOLoop

    from serfiq_widgets.server.voila_app import leave_quietly

    missing.check()
    app.initialize([str(next(folder("notebooks").glob(pattern)))])
    ready = f"The dashboard is at {address} (stop it with Ctrl-C)."
    loop = IOLoop.current()
    loop.asyncio_loop.set_exception_handler(leave_quietly)  # type: ignore[attr-defined]
    text = "\n".join(filter(None, [ready, more]))
    loop.add_callback(print, text, flush=True)  # after it listens
    app.start()
