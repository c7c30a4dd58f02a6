"""Programs that serve the dashboard, started for a test and stopped after it."""

import socket
import subprocess
import sys
import time
from contextlib import contextmanager

import psutil

LOCAL = ("localhost", "127.0.0.1")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def kernel_in(page):
    return page.evaluate(
        "JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId"
    )


def kernel_process(kernel):
    """The process of a kernel of a plain demo."""
    for process in psutil.process_iter(["cmdline"]):
        if any(f"kernel-{kernel}.json" in word for word in process.info["cmdline"] or []):
            return process
    raise LookupError(kernel)


@contextmanager
def served(log, *command, port=None, **how):
    """Run a program that serves the dashboard; yields its address. ``how`` is Popen's."""
    port = port or free_port()
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *(part.format(port=port) for part in command)],
            stdout=output,
            stderr=subprocess.STDOUT,
            **how,
        )
        try:
            address = f"http://localhost:{port}"
            for _ in range(120):
                assert process.poll() is None, log.read_text()
                if f"The dashboard is at {address}" in log.read_text():
                    break
                time.sleep(0.5)
            yield address
        finally:
            process.terminate()
            process.wait(20)
    assert "Traceback" not in log.read_text()


@contextmanager
def kiosk(folder, idle_s):
    """Serve a kiosk that comes back to its start after so many seconds; yields its address."""
    settings = folder / "kiosk.toml"
    settings.write_text(f'token = ""\nkiosk = true\nkiosk_idle_s = {idle_s}\nwarning_s = 5\n')
    command = ("-m", "serfiq_widgets", "demo", "--public", "--no-browser", "--port", "{port}")
    with served(folder / "log.txt", *command, "--settings", str(settings)) as address:
        yield address
