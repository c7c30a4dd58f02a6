"""Kernels forked from one process that has loaded the dashboard: they share its memory.

The fork server imports the dashboard and opens its network once. Each kernel is a fork of it, so it
needs memory only for its own data. Linux only; on other systems kernels start as usual.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from serfiq_widgets.images.confinement import hide

WORKS_HERE = hasattr(os, "pidfd_open")
ORDER_BYTES = 2**20  # a request contains a command and an environment
READY = b"ready"
# Write no history file, and end together with the fork server.
ARGUMENTS = ("--HistoryManager.enabled=False", "--IPKernelApp.parent_handle={}")
REAP_S = 1
START_S, ANSWER_S = 120.0, 30.0  # generous, for slow machines


class ForkedKernel:
    """A kernel's process with the methods of `subprocess.Popen`; it is not a child process."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, handle: int) -> None:
        self.pid, self._handle = pid, handle
        self.returncode: int | None = None
        self._ends = select.poll()
        self._ends.register(handle, select.POLLIN)

    def poll(self) -> int | None:
        """Return None while the process runs, else its exit status."""
        if self.returncode is None and self._ends.poll(0):
            self.returncode = 0
            os.close(self._handle)
        return self.returncode

    def wait(self) -> int:
        """Wait until the process has ended."""
        if self.returncode is None:
            self._ends.poll()
        return self.poll() or 0

    def send_signal(self, number: int) -> None:
        """Send a signal, if the process still exists."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """End the process."""
        self.send_signal(signal.SIGKILL)

    terminate = kill


class KernelForkServer:
    """Starts the fork server and requests kernels from it.

    A fork server that does not answer in time is ended together with its kernels; the next request
    starts another one.

    Parameters
    ----------
    kernel_mb : int
        Memory that a kernel may use in addition to the shared memory, in MB.
    start_s, answer_s : float, optional
        Time limits of the fork server, in seconds: to load the dashboard, and to start a kernel.
    """

    def __init__(
        self, kernel_mb: int, *, start_s: float = START_S, answer_s: float = ANSWER_S
    ) -> None:
        self._kernel_mb, self._start_s, self._answer_s = kernel_mb, start_s, answer_s
        self._lock = threading.Lock()  # one request at a time
        self._thread = ThreadPoolExecutor(1, "fork-server")
        self._is_closed = False
        self._open()

    def _open(self) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "serfiq_widgets.server.prefork", str(other.fileno())]
        self._process = subprocess.Popen(  # noqa: S603  # a fixed command
            command, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL, start_new_session=True
        )
        other.close()
        self._socket.settimeout(self._start_s)
        try:
            answer, why = self._socket.recv(len(READY)), "it ended"
        except OSError as error:
            answer, why = b"", str(error)
        if answer != READY:
            self._end()
            raise ChildProcessError(f"The kernels' parent process did not start: {why}.")

    async def fork_in_thread(
        self, arguments: list[str], env: dict[str, str], folder: str
    ) -> ForkedKernel:
        """Call `fork` in a thread, so that the event loop goes on."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self.fork, arguments, env, folder)

    def fork(self, arguments: list[str], env: dict[str, str], folder: str) -> ForkedKernel:
        """Start a kernel with these arguments of ipykernel, environment and working folder.

        It waits for the fork server for at most 30 s, or until another one has started.

        Raises
        ------
        ChildProcessError
            The fork server did not answer in time, ended, or was closed.
        """
        order = {"arguments": arguments, "env": env, "folder": folder, "mb": self._kernel_mb}
        with self._lock:
            if self._is_closed:
                raise ChildProcessError("The server is shutting down.")
            if self._process.poll() is not None:
                self._socket.close()
                self._open()
            self._socket.settimeout(self._answer_s)
            try:
                self._socket.send(json.dumps(order).encode())
                (pid, handles, _, _), why = socket.recv_fds(self._socket, 32, 1), "it ended"
            except OSError as error:
                pid, why = b"", str(error)
            if not pid:
                self._end()
                raise ChildProcessError(
                    f"The kernels' parent process started no kernel ({why}); it is restarted."
                )
        return ForkedKernel(int(pid), handles[0])

    def close(self) -> None:
        """End the fork server and all its kernels."""
        self._is_closed = True
        with suppress(OSError):  # the socket is closed already
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes a thread that waits for an answer
        with self._lock:
            self._end()
        self._thread.shutdown(wait=False)

    def _end(self) -> None:
        self._socket.close()
        self._process.kill()  # a stopped process ignores other signals
        self._process.wait()


class Provisioner(LocalProvisioner):
    """Starts kernels through the fork server."""

    fork_server: KernelForkServer

    async def launch_kernel(self, cmd: list[str], **how: Any) -> Any:
        """Start a kernel from a command such as ``python -m ipykernel_launcher -f FILE``."""
        folder = str(how.get("cwd") or Path.cwd())
        forked = await self.fork_server.fork_in_thread(cmd[3:], dict(how["env"]), folder)
        self.process = forked  # type: ignore[assignment]  # has the methods of Popen
        self.pid = self.pgid = forked.pid
        self.cwd = folder
        return self.connection_info


def install(fork_server: KernelForkServer) -> None:
    """Make the fork server start all kernels of this process."""
    Provisioner.fork_server = fork_server
    usual = "local-provisioner"
    where = f"{__name__}:{Provisioner.__name__}"
    KernelProvisionerFactory.instance().provisioners[usual] = EntryPoint(
        usual, where, KernelProvisionerFactory.GROUP_NAME
    )


def main() -> None:
    """Load the dashboard, then fork a kernel for each request until the server has ended."""
    orders = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the server, which ends this process
    _load()
    orders.send(READY)
    orders.settimeout(REAP_S)
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        try:
            order = orders.recv(ORDER_BYTES)
        except TimeoutError:
            continue
        except ConnectionError:  # the server was killed before it read an answer
            order = b""
        if not order:
            os._exit(0)  # the server has ended; the kernels notice the end of this process
        pid = os.fork()
        if pid == 0:
            orders.close()
            _live(json.loads(order))
        handle = os.pidfd_open(pid)
        with suppress(ConnectionError):  # the next order then says that the server has ended
            socket.send_fds(orders, [str(pid).encode()], [handle])
        os.close(handle)


def _load() -> None:
    """Build the dashboard once, so that all that it imports, reads and opens is in memory."""
    import ipykernel.kernelapp  # noqa: F401  # imports what a kernel needs
    from ipywidgets import Widget

    from serfiq_widgets.scoring.cluster import import_distributed
    from serfiq_widgets.scoring.remote import SCHEDULER
    from serfiq_widgets.widgets.explorer import Explorer

    if os.environ.pop(SCHEDULER, ""):  # connections cannot be inherited: kernels open their own
        import_distributed()
    Explorer()
    Widget.close_all()
    gc.collect()
    gc.freeze()  # so that garbage collection does not write to, and copy, shared memory


def _live(order: dict[str, Any]) -> None:
    """Turn this forked process into a kernel."""
    from ipykernel.kernelapp import IPKernelApp
    from ipywidgets import register_comm_target

    parent = os.getppid()
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["folder"])
    _limit(order["mb"] * 10**6)
    hide()  # keep other processes of the user from reading photos
    arguments = [*order["arguments"], *(text.format(parent) for text in ARGUMENTS)]
    try:
        app: Any = IPKernelApp.instance()
        app.initialize(arguments)
        register_comm_target()  # the import of ipywidgets came before the kernel
        app.start()
    finally:
        os._exit(0)


def _limit(own: int) -> None:
    """Limit memory, forbid core dumps, and be killed first when the machine runs out of memory."""
    data = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most == resource.RLIM_INFINITY or data + own < most:
        resource.setrlimit(resource.RLIMIT_DATA, (data + own, data + own))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/oom_score_adj").write_text("500")


if __name__ == "__main__":
    main()
