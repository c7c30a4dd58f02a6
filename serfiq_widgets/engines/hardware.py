"""Which GPUs a machine has, found without importing a runtime."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path
from shutil import which

PATIENCE = 10  # seconds for nvidia-smi


def gpu_is_likely() -> bool:
    """Whether trying GPUs is worth the seconds that importing torch takes.

    NVIDIA's and AMD's drivers make device nodes on Linux (WSL has one of its own); elsewhere
    NVIDIA's brings a tool along. Every Mac with an ARM processor has a GPU.
    """
    nodes = ("nvidia[0-9]*", "kfd", "dxg")
    apple = (platform.system(), platform.machine()) == ("Darwin", "arm64")
    return apple or any(any(Path("/dev").glob(name)) for name in nodes) or bool(which("nvidia-smi"))


def gpu_names() -> tuple[str, ...]:
    """Names of the NVIDIA GPUs that the driver tells, or that of Apple's."""
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
