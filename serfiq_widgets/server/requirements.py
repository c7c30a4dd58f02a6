"""Requirements of a served dashboard: packages, writable folders, sockets of kernels.

They are checked before the server prints its address.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from serfiq_widgets.errors import BadSetting, EngineUnavailable
from serfiq_widgets.server.temporary_folders import claim

# A socket's path has at most 103 bytes on macOS, 107 on Linux. The path of a kernel's socket is its
# folder's path and this: /voila_xxxxxxxx/kernel-(36 characters)-ipc-5.
MAX_PATH, BELOW = 103, 65
FOLDERS = {  # folders of Jupyter, by default in the home folder
    "JUPYTER_RUNTIME_DIR": "runtime",
    "JUPYTER_DATA_DIR": "data",
    "JUPYTER_CONFIG_DIR": "config",
    "IPYTHONDIR": "ipython",
}


class Missing:
    """Checks in another process, in parallel, what scoring needs."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "serfiq_widgets", "doctor", "--needed"]
        self._process = subprocess.Popen(  # noqa: S603  # a fixed command
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def check(self) -> None:
        """Wait for the result.

        Raises
        ------
        EngineUnavailable
            Something is missing; the text says what, and how to install it.
        """
        said, _ = self._process.communicate()
        if self._process.returncode:
            text = said.decode(errors="replace").strip()
            raise EngineUnavailable(f"The dashboard cannot score here:\n{text}")


def folders_to_write_in() -> None:
    """Give Jupyter temporary folders if it cannot write in the home folder.

    Raises
    ------
    BadSetting
        No folder is writable.
    """
    from jupyter_core.paths import jupyter_runtime_dir

    if _can_write(Path(jupyter_runtime_dir())):
        return
    try:
        own = tempfile.mkdtemp(prefix="serfiq_")
    except OSError as error:
        raise BadSetting(
            "No folder is writable, neither the home folder nor one for temporary files. "
            "Name one: TMPDIR=/a/folder serfiq demo"
        ) from error
    claim(Path(own))
    atexit.register(shutil.rmtree, own, ignore_errors=True)
    os.environ |= {name: str(Path(own) / part) for name, part in FOLDERS.items()}


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return False
    return os.access(folder, os.W_OK | os.X_OK)


def kernel_sockets() -> dict[str, dict[str, Any]]:
    """Return Voila's settings for the sockets to its kernels.

    They are Unix sockets in a folder of the user if there is one with a short enough path; else
    TCP ports of this machine, with signed messages.
    """
    import zmq

    folders = (tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR", ""), "/tmp")  # noqa: S108  # Voila makes its own folder in it
    short = [
        folder
        for folder in folders
        if folder and len(os.fsencode(folder)) <= MAX_PATH - BELOW and _can_write(Path(folder))
    ]
    if not zmq.has("ipc") or not short:
        return {"KernelManager": {"transport": "tcp", "ip": "127.0.0.1"}}
    return {
        "KernelManager": {"transport": "ipc"},
        "Voila": {"connection_dir_root": short[0]},
    }
