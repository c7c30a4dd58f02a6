"""Who gets a place in a public demo: in turn, and not for long without a page that connects."""

import asyncio
from dataclasses import replace

import pytest

pytest.importorskip("voila")

from serfiq_widgets.server import sessions as module
from serfiq_widgets.server.sessions import NoCapacity, Session, SessionPool
from serfiq_widgets.server.settings import read_public


class Kernels:
    """A pool of kernels, each with a rendered page."""

    notebook_path = "n"

    def __init__(self, ready):
        self._pools = {"n": []}
        self.made = 0
        self.alive = set()
        for _ in range(ready):
            self.add()

    def add(self):
        loop = asyncio.get_running_loop()
        page, started = loop.create_future(), loop.create_future()
        page.set_result((["page"], nothing()))
        self.made += 1
        started.set_result({"task": page, "kernel_id": f"k{self.made}"})
        self._pools["n"].append(started)
        self.alive.add(f"k{self.made}")

    def fill_if_needed(self, *_):
        pass

    async def get_rendered_notebook(self, _):
        started = self._pools["n"].pop(0).result()
        return started["task"], None, started["kernel_id"]

    def __contains__(self, name):
        return name in self.alive

    async def shutdown_kernel(self, name):
        self.alive.discard(name)

    def get_kernel(self, name):
        class Kernel:
            async def is_alive(_):  # noqa: N805  # the kernel is not asked for
                return name in self.alive

        return Kernel()


async def nothing():
    for never in ():
        yield never


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "monotonic", clock)
    return clock


PUBLIC = replace(read_public(), most_visitors=3, keep_free_mb=0)


def test_who_waits_longest_comes_first(clock, elsewhere):
    async def story():
        kernels = Kernels(0)
        sessions = SessionPool(PUBLIC, kernels)
        for visitor in ("first", "second", "third"):
            with pytest.raises(NoCapacity):
                await sessions.admit(visitor)
            clock.now += 1
        kernels.add()
        for visitor in ("a stranger", "third", "second"):
            with pytest.raises(NoCapacity):
                await sessions.admit(visitor)
        assert await sessions.admit("first") == "page"
        with pytest.raises(NoCapacity):
            await sessions.admit("third")
        kernels.add()
        kernels.add()
        assert await sessions.admit("third") == "page"  # two are ready: the second loses nothing
        assert await sessions.admit("second") == "page"

    elsewhere(lambda: asyncio.run(story()))


def test_who_does_not_ask_again_loses_the_turn(clock, elsewhere):
    async def story():
        kernels = Kernels(0)
        sessions = SessionPool(PUBLIC, kernels)
        with pytest.raises(NoCapacity):
            await sessions.admit("gone")
        clock.now += 3  # when it should have asked again
        with pytest.raises(NoCapacity):
            await sessions.admit("patient")
        clock.now += module.LATE_S + 1
        kernels.add()
        assert await sessions.admit("patient") == "page"

    elsewhere(lambda: asyncio.run(story()))


def test_a_crowd_without_cookies_keeps_nobody_from_a_turn(clock, elsewhere):
    async def story():
        kernels = Kernels(3)
        sessions = SessionPool(PUBLIC, kernels)
        for number in range(3):
            await enter(sessions, f"crowd {number}", clock)
        with pytest.raises(NoCapacity):
            await sessions.admit("honest")
        for number in range(2 * module.MAX_WAITING):
            with pytest.raises(NoCapacity):
                await sessions.admit(f"more {number}")
        assert len(sessions._waiting) <= module.MAX_WAITING
        clock.now += PUBLIC.connect_s + 1
        await _look_once(sessions)
        assert len(sessions) == 0
        kernels.add()
        with pytest.raises(NoCapacity):
            await sessions.admit("one more")
        assert await sessions.admit("honest") == "page"

    elsewhere(lambda: asyncio.run(story()))


async def enter(sessions, visitor, clock):
    """Get a place by this clock: it begins with the true one."""
    page = await sessions.admit(visitor)
    session = list(sessions._taken.values())[-1]
    session.given = session.left = session.used = clock.now
    assert page == "page"
    return session


async def _look_once(sessions):
    for session in tuple(sessions._taken.values()):
        if sessions._is_over(session):
            await sessions.end(session)


def test_a_page_that_loads_slowly_keeps_its_place_for_a_while(clock, elsewhere):
    async def story():
        sessions = SessionPool(PUBLIC, Kernels(2))
        slow = await enter(sessions, "slow", clock)
        silent = await enter(sessions, "silent", clock)
        for _ in range(7):
            clock.now += PUBLIC.connect_s - 1
            sessions.is_loading("slow")
            assert not sessions._is_over(slow)
        assert sessions._is_over(silent)
        for _ in range(2):  # but not for ever
            clock.now += PUBLIC.connect_s - 1
            sessions.is_loading("slow")
        assert sessions._is_over(slow)
        slow.arrived, slow.left = True, clock.now
        clock.now += PUBLIC.gone_s - 1
        assert not sessions._is_over(slow)

    elsewhere(lambda: asyncio.run(story()))


def test_a_page_that_connects_again_sends_no_faster(clock):
    session = Session("k", "visitor")
    assert [session.delay(0.25) for _ in range(6)] == [0, 0, 0, 0, 0.25, 0.5]
    assert session.delay(0.25) == 0.75  # by whatever socket
    clock.now += 10
    assert [session.delay(0.5) for _ in range(3)] == [0, 0, 0.5]  # what was not used is not saved
