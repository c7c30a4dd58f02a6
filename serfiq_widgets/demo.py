"""Serves the dashboard notebook with Voila, on this machine only, without any outside request."""

from __future__ import annotations

import os
import socket
from typing import Any

from serfiq_widgets.errors import BadSetting, EngineUnavailable
from serfiq_widgets.resources import PACKAGE, folder

IDLE_S, CHECK_S = 600, 60
POOL, REFILL_S = 2, 10  # kernels that wait for visitors, and when the next is started
# For the kernels: NumPy's products are small, and threads that wait for the next one only take the
# cores from others; what a page says needs no echo, since no other page shows the same widgets.
KERNELS = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "JUPYTER_WIDGETS_ECHO": "0"}


def settings(port: int, *, browser: bool) -> dict[str, dict[str, Any]]:
    """Return Voila's settings for the dashboard, by class and trait."""
    return {
        "Voila": {
            "ip": "127.0.0.1",
            "port": port,
            "open_browser": browser,
            "log_level": "ERROR",
            "tornado_settings": {"ws_ping_interval": 0},  # no proxy between to keep awake
        },
        "VoilaConfiguration": {
            "template": "serfiq",  # our page: no request leaves the machine
            "show_tracebacks": False,
            "preheat_kernel": True,
            "default_pool_size": POOL,
            "file_denylist": [".*"],  # the notebook's folder is not for downloading
            "extension_denylist": ["jupyterlab-plotly"],  # 4.8 MB that nothing here uses
        },
        "VoilaKernelManager": {"fill_delay": REFILL_S},
        # A kernel whose visitor has left goes away; one that waits in the pool stays.
        "MappingKernelManager": {"cull_idle_timeout": IDLE_S, "cull_interval": CHECK_S},
        # Sockets in a folder of the user's own, not ports that others on the machine could reach.
        "KernelManager": {"transport": "ipc"},
    }


def serve(port: int, *, browser: bool, lesson: int | None = None) -> None:
    """Serve the dashboard, or a lesson by its number, until interrupted.

    Raises
    ------
    EngineUnavailable
        Voila is not installed.
    BadSetting
        Another program listens on the port.
    """
    path = [str(PACKAGE / "page"), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    os.environ["JUPYTER_PATH"] = os.pathsep.join(path)  # where Voila looks for our page
    os.environ.update({name: value for name, value in KERNELS.items() if name not in os.environ})
    try:
        from tornado.ioloop import IOLoop
        from traitlets.config import Config

        from serfiq_widgets.server import Dashboard, KernelManager, leave_quietly
    except ImportError as error:
        raise EngineUnavailable("Voila is missing: pip install 'serfiq_widgets[demo]'") from error
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise BadSetting(f"Port {port} is taken. Try another one, such as {port + 1}.")

    config = Config(settings(port, browser=browser))
    config.VoilaConfiguration.multi_kernel_manager_class = KernelManager
    app = Dashboard(config=config)
    pattern = "dashboard.ipynb" if lesson is None else f"{lesson:02}_*.ipynb"
    app.initialize([str(next(folder("notebooks").glob(pattern)))])
    ready = f"The dashboard is at http://localhost:{port} (stop it with Ctrl-C)."
    loop = IOLoop.current()
    loop.asyncio_loop.set_exception_handler(leave_quietly)  # type: ignore[attr-defined]
    loop.add_callback(print, ready, flush=True)  # once it listens, not before
    app.start()
