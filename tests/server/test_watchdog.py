"""What a service manager is told: ready, responding, stopping; and nothing while the loop hangs."""

import asyncio
import os
import socket
import sys
import time
from contextlib import contextmanager

import pytest

pytest.importorskip("tornado")
if sys.platform == "win32":
    pytest.skip("there are no such sockets", allow_module_level=True)

from serfiq_widgets.server.watchdog import PERIOD, PROCESS, SOCKET, ServiceManager

PERIOD_S = 0.2


@contextmanager
def listening(address):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(address)
        channel.settimeout(20)
        yield channel


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path, monkeypatch):
    """A service manager's socket, named in the environment."""
    monkeypatch.chdir(tmp_path)  # a path of a socket is short
    if request.param == "abstract" and not sys.platform.startswith("linux"):
        pytest.skip("only Linux has abstract addresses")
    name = f"serfiq test {os.getpid()}"
    bound, told = ("n", "n") if request.param == "path" else (f"\0{name}", f"@{name}")
    monkeypatch.setenv(SOCKET, told)
    monkeypatch.setenv(PERIOD, str(int(PERIOD_S * 1e6)))
    with listening(bound) as channel:
        yield channel


def waiting(channel):
    """Return the messages that have arrived."""
    channel.setblocking(False)
    found = []
    try:
        while True:
            found.append(channel.recv(100).decode())
    except BlockingIOError:
        return found
    finally:
        channel.settimeout(20)


def receive(channel):
    return channel.recv(100).decode()


def test_a_loop_that_responds_says_so_and_one_that_hangs_does_not(manager, elsewhere):
    async def story():
        told = ServiceManager()
        told.ready()
        assert receive(manager) == "READY=1"
        for _ in range(3):
            assert await asyncio.to_thread(receive, manager) == "WATCHDOG=1"
        waiting(manager)
        time.sleep(3 * PERIOD_S)  # noqa: ASYNC251  # the loop hangs
        assert waiting(manager) == []
        assert await asyncio.to_thread(receive, manager) == "WATCHDOG=1"
        told.stopping()
        assert waiting(manager)[-1] == "STOPPING=1"
        await asyncio.sleep(2 * PERIOD_S)
        assert waiting(manager) == []

    elsewhere(lambda: asyncio.run(story()))


def test_kernels_inherit_no_way_to_the_service_manager(manager, monkeypatch):  # noqa: ARG001
    monkeypatch.setenv(PROCESS, str(os.getpid()))
    told = ServiceManager()
    told.stopping()
    assert told.period_s == PERIOD_S
    assert not {SOCKET, PERIOD, PROCESS} & set(os.environ)


def test_a_period_that_is_meant_for_another_process_is_none(manager, monkeypatch, elsewhere):
    monkeypatch.setenv(PROCESS, "1")

    async def story():
        told = ServiceManager()
        told.ready()
        await asyncio.sleep(2 * PERIOD_S)
        told.stopping()
        assert waiting(manager) == ["READY=1", "STOPPING=1"]

    elsewhere(lambda: asyncio.run(story()))


def test_without_a_service_manager_nothing_is_sent(monkeypatch, caplog):
    monkeypatch.delenv(SOCKET, raising=False)
    told = ServiceManager()
    told.ready()
    told.stopping()
    assert not caplog.records


def test_a_service_manager_that_went_is_a_line_in_the_log(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(SOCKET, str(tmp_path / "gone"))
    told = ServiceManager()
    told.ready()
    told.stopping()
    assert "READY=1" in caplog.text
