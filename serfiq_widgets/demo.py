"""Serves the dashboard notebook with Voila, on this machine only, without any outside request."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from importlib.util import find_spec

from serfiq_widgets.errors import BadSetting, EngineUnavailable
from serfiq_widgets.resources import PACKAGE, folder


def command(port: int, *, browser: bool) -> list[str]:
    """Return the command line that serves the dashboard."""
    return [
        *(sys.executable, "-m", "voila", str(folder("notebooks") / "dashboard.ipynb")),
        f"--port={port}",
        "--Voila.ip=127.0.0.1",
        "--Voila.log_level=ERROR",
        # sockets in a folder of the user's own, not TCP ports that others on the machine can reach
        "--KernelManager.transport=ipc",
        "--Voila.tornado_settings={'ws_ping_interval': 30000, 'ws_ping_timeout': 30000}",
        "--template=serfiq",
        "--show_tracebacks=False",
        "--VoilaConfiguration.file_denylist=.*",
        # a kernel whose visitor has left goes away after ten minutes
        "--MappingKernelManager.cull_interval=60",
        "--MappingKernelManager.cull_idle_timeout=600",
        *([] if browser else ["--no-browser"]),
    ]


def environment() -> dict[str, str]:
    """Return the environment in which Voila finds our page template."""
    data = [str(PACKAGE / "page"), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    return {**os.environ, "JUPYTER_PATH": os.pathsep.join(data)}


def serve(port: int, *, browser: bool) -> int:
    """Serve until interrupted; return Voila's exit code.

    Raises
    ------
    EngineUnavailable
        Voila is not installed.
    BadSetting
        Another program listens on the port.
    """
    if find_spec("voila") is None:
        raise EngineUnavailable("Voila is not installed: pip install 'serfiq_widgets[demo]'")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise BadSetting(f"Port {port} is taken. Try another one, for example --port {port + 1}.")
    print(f"The dashboard is at http://localhost:{port} (stop it with Ctrl-C).", flush=True)
    try:
        return subprocess.run(command(port, browser=browser), env=environment(), check=False).returncode
    except KeyboardInterrupt:
        return 0
