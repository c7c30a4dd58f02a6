"""Detection of GPUs without importing a runtime."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from shutil import which

PATIENCE = 10  # timeout of nvidia-smi in seconds


def gpu_is_likely() -> bool:
    """Return whether this machine probably has a GPU, before torch is imported, which is slow.

    On Linux, drivers of NVIDIA and AMD create device nodes (WSL has a special one); elsewhere
    NVIDIA's driver has a command line tool. Every Mac with an ARM processor has a GPU.
    """
    nodes = ("nvidia[0-9]*", "kfd", "dxg")
    apple = (platform.system(), platform.machine()) == ("Darwin", "arm64")
    return apple or any(any(Path("/dev").glob(name)) for name in nodes) or bool(which("nvidia-smi"))


def gpu_names() -> tuple[str, ...]:
    """Return the names of the NVIDIA GPUs that the driver reports, or Apple's."""
    if (platform.system(), platform.machine()) == ("Darwin", "arm64"):
        return ("Apple silicon",)
    tool = which("nvidia-smi")
    if tool is None:
        return ()
    command = [tool, "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(  # noqa: S603  # the driver's own tool
            command, capture_output=True, text=True, timeout=PATIENCE, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())
