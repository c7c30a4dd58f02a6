"""The demo on machines with long or unwritable folders, without ipc, and behind a proxy."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from proxy import proxied
from served import free_port, served

DEMO = ("-m", "serfiq_widgets", "demo", "--no-browser", "--port", "{port}")
WITHOUT_IPC = (
    "import zmq; zmq.has = lambda what: False; from serfiq_widgets.cli.main import main; "
    "main(['demo', '--no-browser', '--port', '{port}'])"
)
BASE = "/user/me/proxy/8866/"


def scores(page):
    """The page scores, and answers its slider."""
    page.wait_for_function("/^[0-9]+$/.test(document.querySelector('.serfiq-quality')?.innerText)")
    before = page.locator(".serfiq-raw").inner_text()
    box = page.locator(".serfiq-passes input[type=number]")
    box.fill("7")
    box.press("Enter")
    page.wait_for_function(
        "before => document.querySelector('.serfiq-raw').innerText !== before", arg=before
    )
    page.locator(".serfiq-sample").nth(3).click()
    page.locator(".serfiq-sample[aria-pressed=true]").nth(0).wait_for()


@pytest.mark.parametrize("where", ["a long TMPDIR", "no HOME", "no ipc"])
def test_the_demo_runs_where(open_page, tmp_path, where):
    long = tmp_path / ("long" * 30)
    long.mkdir()
    env = {
        "a long TMPDIR": {"TMPDIR": str(long)},
        "no HOME": {"HOME": "/proc/nobody"},  # which nobody can make, root neither
        "no ipc": {},
    }[where]
    command = ("-c", WITHOUT_IPC) if where == "no ipc" else DEMO
    with served(tmp_path / "log.txt", *command, env={**os.environ, **env}) as address:
        page = open_page(address=address)
        scores(page)
        page.close()


def test_strangers_enter_where_home_cannot_be_written(open_page, tmp_path):
    env = {**os.environ, "HOME": "/proc/nobody"}
    with served(tmp_path / "log.txt", *DEMO, "--public", "--open", env=env) as address:
        page = open_page(address=address, outages=True)
        scores(page)
        page.close()


@pytest.mark.parametrize("strips", [True, False])
def test_the_demo_runs_behind_a_proxy(open_page, tmp_path, strips):
    port = free_port()
    command = (*DEMO, "--base-url", BASE)
    with (
        served(tmp_path / "log.txt", *command, port=port),
        proxied(port, BASE, strips=strips) as (address, refused),
    ):
        page = open_page(address=address)
        scores(page)
        page.close()
        assert refused == []


def test_what_is_missing_is_said_before_any_address(tmp_path):
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open')")
    for more in ((), ("--public", "--open")):
        done = subprocess.run(
            [sys.executable, *(part.format(port=free_port()) for part in DEMO), *more],
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 2
        assert "libGL.so.1" in done.stderr
        assert "apt-get install libgl1" in done.stderr
        assert "Traceback" not in done.stderr
        assert "The dashboard is at" not in done.stdout


def test_a_public_demo_whose_kernels_never_start_ends_with_the_reason():
    """Here the fork server's kernels die at once."""
    code = (
        "import serfiq_widgets.server.prefork as n; n.WORKS_HERE = False; "
        "import jupyter_client.provisioning.local_provisioner as l\n"
        "async def fails(self, cmd, **how): raise OSError('no kernel here')\n"
        "l.LocalProvisioner.launch_kernel = fails\n"
        "from serfiq_widgets.cli.main import main\n"
        f"main(['demo', '--public', '--open', '--no-browser', '--port', '{free_port()}'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 2
    assert "No kernel ever started, so the demo cannot run: no kernel here" in done.stderr


def test_a_plain_demo_answers_to_its_own_names_alone(dashboard):
    for headers, status in (
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({}, 200),
    ):
        request = urllib.request.Request(dashboard, headers=headers)  # noqa: S310  # localhost
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310  # localhost
                found = answer.status
        except urllib.error.HTTPError as error:
            found = error.code
            error.close()
        assert found == status


def test_a_service_manager_is_told_and_a_killed_servers_folder_goes(tmp_path):
    """The folder holds the keys with which the server speaks to its kernels."""
    command = ("-m", "serfiq_widgets", "demo", "--public", "--no-browser", "--port", "{port}")
    short = Path(tempfile.mkdtemp(dir="/tmp"))  # short, for the sockets in it
    tell = {"NOTIFY_SOCKET": str(short / "notify"), "WATCHDOG_USEC": "2000000"}
    env = {**os.environ, "TMPDIR": str(short)}
    with served(tmp_path / "killed.txt", *command, env=env):
        running = [p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE]
        (killed,) = [process for process in running if "--public" in process.cmdline()]
        (left,) = short.glob("voila_*")
        for _ in range(240):  # a busy machine starts its first kernel late
            if keys := list(left.glob("kernel-*.json")):
                break
            time.sleep(0.25)
        assert keys
        killed.kill()
    assert left.exists()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(tell["NOTIFY_SOCKET"])
        channel.settimeout(60)
        with served(tmp_path / "log.txt", *command, env=env | tell):
            told = [channel.recv(100) for _ in range(3)]
            assert not left.exists()
        while told[-1] != b"STOPPING=1":
            told.append(channel.recv(100))
    assert told[0] == b"READY=1"
    assert set(told[1:-1]) == {b"WATCHDOG=1"}
    root = "The server runs as root" in (tmp_path / "log.txt").read_text()
    assert root == (os.geteuid() == 0)
    assert not list(short.glob("voila_*"))
    shutil.rmtree(short)
