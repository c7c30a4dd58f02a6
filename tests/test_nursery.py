"""Kernels are forked by a process of its own: what happens while that one does not answer."""

import asyncio
import os
import signal

import psutil
import pytest

pytest.importorskip("voila")

from serfiq_widgets.server import prefork as module
from serfiq_widgets.server.prefork import Nursery, Provisioner

if not module.WORKS_HERE:
    pytest.skip("kernels start as usual here", allow_module_level=True)


@pytest.fixture
def nursery(request):
    made = Nursery(500, answer_s=request.param)
    yield made
    made.close()


def order(nursery, folder):
    """Ask for a kernel as jupyter_client does."""
    provisioner = Provisioner()
    provisioner.nursery = nursery
    arguments = ["python", "-m", "ipykernel_launcher", "-f", str(folder / "kernel.json")]
    provisioner.connection_info = {}
    return provisioner, provisioner.launch_kernel(arguments, cwd=folder, env=dict(os.environ))


@pytest.mark.parametrize("nursery", [5], indirect=True)
def test_one_that_hangs_holds_up_no_visitor_and_is_replaced(nursery, tmp_path, elsewhere):
    first = nursery._process
    first.send_signal(signal.SIGSTOP)

    async def hangs():
        asked = asyncio.ensure_future(order(nursery, tmp_path)[1])
        await asyncio.sleep(0)  # it begins
        turned = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turned.set_result, None)
        await turned
        assert not asked.done()
        with pytest.raises(ChildProcessError, match=r"timed out.*started anew"):
            await asked
        assert first.poll() == -signal.SIGKILL
        provisioner, again = order(nursery, tmp_path)
        await again
        assert nursery._process is not first
        kernel = psutil.Process(provisioner.pid)
        assert kernel.ppid() == nursery._process.pid
        provisioner.process.kill()
        provisioner.process.wait()

    elsewhere(lambda: asyncio.run(hangs()))


@pytest.mark.parametrize("nursery", [600], indirect=True)
def test_a_server_that_ends_does_not_wait_for_one_that_hangs(nursery, tmp_path, elsewhere):
    nursery._process.send_signal(signal.SIGSTOP)

    async def ends():
        asked = asyncio.ensure_future(order(nursery, tmp_path)[1])
        await asyncio.sleep(0)
        await asyncio.to_thread(nursery.close)
        with pytest.raises(ChildProcessError):
            await asked

    elsewhere(lambda: asyncio.run(ends()))


def test_one_that_does_not_start_is_ended():
    with pytest.raises(ChildProcessError, match="did not start"):
        Nursery(500, start_s=0.01)
