"""Kernels forked from one process that has loaded all that visitors need: they share it.

The fork server imports the dashboard and opens its network once. Each kernel is a fork of it, so it
holds only what is its own. Linux only; elsewhere kernels start as usual.
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
ORDER_BYTES = 2**20  # an order holds a command and an environment
READY = b"ready"
# No file of what was run, and an end when the fork server has one.
ARGUMENTS = ("--HistoryManager.enabled=False", "--IPKernelApp.parent_handle={}")
REAP_S = 1
START_S, ANSWER_S = 120.0, 30.0  # a machine may be slow; only one that does nothing takes longer


class ForkedKernel:
    """A kernel's process, as `subprocess.Popen` would show it; it is not our child."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, handle: int) -> None:
        self.pid, self._handle = pid, handle
        self.returncode: int | None = None
        self._ends = select.poll()
        self._ends.register(handle, select.POLLIN)

    def poll(self) -> int | None:
        """Return None while it runs."""
        if self.returncode is None and self._ends.poll(0):
            self.returncode = 0
            os.close(self._handle)
        return self.returncode

    def wait(self) -> int:
        """Return once it has ended."""
        if self.returncode is None:
            self._ends.poll()
        return self.poll() or 0

    def send_signal(self, number: int) -> None:
        """Signal it, if it is still there."""
        if self.poll() is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    terminate = kill


class KernelForkServer:
    """The server's side: starts the fork server, and orders kernels from it.

    A fork server that does not answer in time is ended, and its kernels with it; the next order
    starts another.

    Parameters
    ----------
    kernel_mb : int
        Memory that a kernel may take of its own, in MB.
    start_s, answer_s : float, optional
        Seconds that the fork server may take to load what kernels need, and to start a kernel.
    """

    def __init__(
        self, kernel_mb: int, *, start_s: float = START_S, answer_s: float = ANSWER_S
    ) -> None:
        self._kernel_mb, self._start_s, self._answer_s = kernel_mb, start_s, answer_s
        self._lock = threading.Lock()  # an order and its answer belong together
        self._thread = ThreadPoolExecutor(1, "fork-server")
        self._is_closed = False
        self._open()

    def _open(self) -> None:
        self._socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "serfiq_widgets.server.prefork", str(other.fileno())]
        self._process = subprocess.Popen(  # noqa: S603  # our own command
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
        """Do as `fork` does, while the event loop goes on."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self.fork, arguments, env, folder)

    def fork(self, arguments: list[str], env: dict[str, str], folder: str) -> ForkedKernel:
        """Start a kernel: the arguments of ipykernel, its environment and its folder.

        It waits for the fork server, for 30 s at most, or until another one has started.

        Raises
        ------
        ChildProcessError
            The fork server did not answer in time, ended, or was closed.
        """
        order = {"arguments": arguments, "env": env, "folder": folder, "mb": self._kernel_mb}
        with self._lock:
            if self._is_closed:
                raise ChildProcessError("The server ends.")
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
                    f"The kernels' parent process gave no kernel ({why}); it is started anew."
                )
        return ForkedKernel(int(pid), handles[0])

    def close(self) -> None:
        """End the fork server, and with it all its kernels."""
        self._is_closed = True
        with suppress(OSError):  # it is closed already
            self._socket.shutdown(socket.SHUT_RDWR)  # whoever waits for an answer waits no longer
        with self._lock:
            self._end()
        self._thread.shutdown(wait=False)

    def _end(self) -> None:
        self._socket.close()
        self._process.kill()  # a stopped process heeds nothing else
        self._process.wait()


class Provisioner(LocalProvisioner):
    """Has kernels forked by the fork server."""

    fork_server: KernelForkServer

    async def launch_kernel(self, cmd: list[str], **how: Any) -> Any:
        """Start a kernel of a command such as ``python -m ipykernel_launcher -f FILE``."""
        folder = str(how.get("cwd") or Path.cwd())
        forked = await self.fork_server.fork_in_thread(cmd[3:], dict(how["env"]), folder)
        self.process = forked  # type: ignore[assignment]  # as good as a Popen
        self.pid = self.pgid = forked.pid
        self.cwd = folder
        return self.connection_info


def install(fork_server: KernelForkServer) -> None:
    """Let the fork server start all kernels of this process."""
    Provisioner.fork_server = fork_server
    usual = "local-provisioner"
    where = f"{__name__}:{Provisioner.__name__}"
    KernelProvisionerFactory.instance().provisioners[usual] = EntryPoint(
        usual, where, KernelProvisionerFactory.GROUP_NAME
    )


def main() -> None:
    """Load what kernels need, then fork one for each order until the server is gone."""
    orders = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends us
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
        if not order:
            os._exit(0)  # the server is gone; the kernels see that we are
        pid = os.fork()
        if pid == 0:
            orders.close()
            _live(json.loads(order))
        handle = os.pidfd_open(pid)
        socket.send_fds(orders, [str(pid).encode()], [handle])
        os.close(handle)


def _load() -> None:
    """Show the dashboard to nobody: all that it imports, reads and opens stays in memory."""
    import ipykernel.kernelapp  # noqa: F401  # all that a kernel imports
    from ipywidgets import Widget

    from serfiq_widgets.scoring.cluster import import_distributed
    from serfiq_widgets.scoring.remote import SCHEDULER
    from serfiq_widgets.widgets.explorer import Explorer

    if os.environ.pop(SCHEDULER, ""):  # a connection cannot be inherited: kernels make their own
        import_distributed()
    Explorer()
    Widget.close_all()
    gc.collect()
    gc.freeze()  # so that the collector does not touch, and so copy, what is shared


def _live(order: dict[str, Any]) -> None:
    """Become a kernel."""
    from ipykernel.kernelapp import IPKernelApp
    from ipywidgets import register_comm_target

    parent = os.getppid()
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(order["env"])
    os.chdir(order["folder"])
    _limit(order["mb"] * 10**6)
    hide()  # photos from processes of the same user
    arguments = [*order["arguments"], *(text.format(parent) for text in ARGUMENTS)]
    try:
        app: Any = IPKernelApp.instance()
        app.initialize(arguments)
        register_comm_target()  # ipywidgets did when it was imported, before there was a kernel
        app.start()
    finally:
        os._exit(0)


def _limit(own: int) -> None:
    """Bound the memory, leave no dump of it, and be the first to go when the machine has none."""
    data = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most == resource.RLIM_INFINITY or data + own < most:
        resource.setrlimit(resource.RLIMIT_DATA, (data + own, data + own))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path("/proc/self/oom_score_adj").write_text("500")


if __name__ == "__main__":
    main()
