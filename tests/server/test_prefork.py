"""Kernels are forked by a process of its own: what happens while that one does not answer."""

import asyncio
import os
import select
import signal
import socket
import subprocess
import sys

import psutil
import pytest

pytest.importorskip("voila")

from serfiq_widgets.server import prefork as module
from serfiq_widgets.server.prefork import KernelForkServer, Provisioner

if not module.WORKS_HERE:
    pytest.skip("kernels start as usual here", allow_module_level=True)


@pytest.fixture
def fork_server(request):
    made = KernelForkServer(500, answer_s=request.param)
    yield made
    made.close()


def order(fork_server, folder):
    """Ask for a kernel as jupyter_client does."""
    provisioner = Provisioner()
    provisioner.fork_server = fork_server
    arguments = ["python", "-m", "ipykernel_launcher", "-f", str(folder / "kernel.json")]
    provisioner.connection_info = {}
    return provisioner, provisioner.launch_kernel(arguments, cwd=folder, env=dict(os.environ))


@pytest.mark.slow
@pytest.mark.parametrize("fork_server", [5], indirect=True)
def test_one_that_hangs_holds_up_no_visitor_and_is_replaced(fork_server, tmp_path, elsewhere):
    first = fork_server._process
    first.send_signal(signal.SIGSTOP)

    async def hangs():
        asked = asyncio.ensure_future(order(fork_server, tmp_path)[1])
        await asyncio.sleep(0)  # it begins
        turned = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turned.set_result, None)
        await turned
        assert not asked.done()
        with pytest.raises(ChildProcessError, match=r"timed out.*restarted"):
            await asked
        assert first.poll() == -signal.SIGKILL
        provisioner, again = order(fork_server, tmp_path)
        await again
        assert fork_server._process is not first
        kernel = psutil.Process(provisioner.pid)
        assert kernel.ppid() == fork_server._process.pid
        provisioner.process.kill()
        provisioner.process.wait()

    elsewhere(lambda: asyncio.run(hangs()))


@pytest.mark.slow
@pytest.mark.parametrize("fork_server", [600], indirect=True)
def test_a_server_that_ends_does_not_wait_for_one_that_hangs(fork_server, tmp_path, elsewhere):
    fork_server._process.send_signal(signal.SIGSTOP)

    async def ends():
        asked = asyncio.ensure_future(order(fork_server, tmp_path)[1])
        await asyncio.sleep(0)
        await asyncio.to_thread(fork_server.close)
        with pytest.raises(ChildProcessError):
            await asked

    elsewhere(lambda: asyncio.run(ends()))


def test_one_whose_server_is_killed_ends_without_a_word():
    """An answer that was not read resets the connection."""
    ours, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "serfiq_widgets.server.prefork", str(other.fileno())]
    process = subprocess.Popen(command, pass_fds=[other.fileno()], stderr=subprocess.PIPE)
    other.close()
    assert select.select([ours], [], [], 120)[0]  # it is ready
    ours.close()
    _, said = process.communicate(timeout=60)
    assert said == b""
    assert process.returncode == 0


def test_one_that_does_not_start_is_ended():
    with pytest.raises(ChildProcessError, match="did not start"):
        KernelForkServer(500, start_s=0.01)
