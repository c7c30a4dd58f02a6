"""The visitors' sessions in a public demo: who gets a kernel, and when it ends.

A visitor is admitted when a kernel with a rendered page is ready, so that the page is never empty.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import psutil

from serfiq_widgets.errors import one_line
from serfiq_widgets.images.memory import give_back
from serfiq_widgets.server import pages
from serfiq_widgets.server.settings import Public

LOG = logging.getLogger(__name__)

MAX_NAMES = 10_000  # message names that a session remembers
MAX_TABS = 3  # pages of one browser; a fourth page ends the oldest
FULL_S, SOON_S = (10, 20), (1, 3)  # seconds until the next try, spread over a range
LATE_S = 5.0  # a visitor who retries later than this loses the place in the queue
MAX_WAITING = 1000  # visitors in the queue
LOOK_S = 1.0
MAX_FAILURES = 5  # failed kernels, if none ever started
MEGABYTE = 10**6


class NoCapacity(Exception):
    """There is no free session now; ``text`` says why, ``retry_s`` when to try again."""

    def __init__(self, text: str, between: tuple[int, int]) -> None:
        super().__init__(text)
        self.text = text
        least, most = between
        self.retry_s = least + int(monotonic() * 1000) % (most - least + 1)


@dataclass(eq=False)
class Session:
    """One visitor's kernel.

    Attributes
    ----------
    kernel_id, visitor : str
        The names of the kernel and of its visitor.
    sockets : set
        The open websockets of its page.
    used, left : float
        Monotonic times of the last use, and since when no page is connected.
    given : float
        Monotonic time at which the visitor got the session.
    arrived : bool
        Whether a page has ever connected.
    """

    kernel_id: str
    visitor: str
    sockets: set[Any] = field(default_factory=set)
    used: float = field(default_factory=monotonic)
    left: float = field(default_factory=monotonic)
    given: float = field(default_factory=monotonic)
    arrived: bool = False
    _names: dict[int, None] = field(default_factory=dict)
    _allowed_at: float = 0.0

    def is_new(self, name: str) -> bool:
        """Return whether no recent message had this name: a kernel answers each only once."""
        known = len(self._names)
        self._names[hash(name)] = None
        if len(self._names) > MAX_NAMES:
            del self._names[next(iter(self._names))]
            return True
        return len(self._names) > known

    def delay(self, cost_s: float) -> float:
        """Return the seconds that a message has to wait if one costs ``cost_s`` on average.

        All sockets of the page share this limit, so reconnecting does not evade it. Messages of one
        second may come at once.
        """
        now = monotonic()
        self._allowed_at = max(self._allowed_at, now - 1.0) + cost_s
        return max(0.0, self._allowed_at - now)

    def touch(self) -> None:
        """Record that the visitor is active."""
        self.used = monotonic()


class SessionPool:
    """Assigns kernels to visitors, and ends them.

    Parameters
    ----------
    public : Public
        The limits and times.
    kernels : VoilaKernelManager
        Its pool contains started kernels with their rendered pages.
    """

    def __init__(self, public: Public, kernels: Any) -> None:
        self._public = public
        self._kernels = kernels
        self._notebook: str = kernels.notebook_path
        self._taken: dict[str, Session] = {}
        self._waiting: dict[str, float] = {}  # in order, with the time at which each place expires
        self._broken: set[str] = set()  # kernels that crashed; their pages may ask why
        self._moved = False  # a session began or ended since the last check
        self._looking: asyncio.Task[None] | None = None
        self._begun, self._failures = False, 0  # whether a page was ever ready; failed kernels
        self.given_up = ""  # the reason, if no kernel ever started

    def __len__(self) -> int:
        return len(self._taken)

    def of(self, visitor: str, kernel_id: str) -> Session | None:
        """Return a visitor's session, if this kernel is theirs."""
        session = self._taken.get(kernel_id)
        return session if session is not None and session.visitor == visitor else None

    def has_crashed(self, kernel_id: str) -> bool:
        """Return whether a kernel that has ended crashed."""
        return kernel_id in self._broken

    def watch(self) -> None:
        """Start the periodic check of the sessions."""
        gc.collect()
        gc.freeze()  # objects up to here stay: no need to scan them each time
        self._looking = asyncio.ensure_future(self._look())

    def is_loading(self, visitor: str | None) -> None:
        """Record that a visitor's page loads its files: it will connect, even if slowly."""
        for session in self._taken.values():
            slow = not session.arrived and monotonic() - session.given < self._public.gone_s
            if session.visitor == visitor and slow:
                session.left = monotonic()

    async def admit(self, visitor: str) -> str:
        """Give a visitor a session and return its page; the longest waiting visitor is first.

        Raises
        ------
        NoCapacity
            There is no free session now.
        """
        try:
            page = await self._admit(visitor)
        except NoCapacity as full:
            self._waiting[visitor] = monotonic() + full.retry_s + LATE_S  # keeps its place
            if len(self._waiting) > MAX_WAITING:
                self._waiting.popitem()
            raise
        self._waiting.pop(visitor, None)
        return page

    async def _admit(self, visitor: str) -> str:
        own = [session for session in self._taken.values() if session.visitor == visitor]
        for session in own[: len(own) - (0 if self._public.kiosk else MAX_TABS - 1)]:
            await self.end(session)
        turn = self._turn(visitor)
        if len(self._taken) + turn >= self._public.most_visitors:
            raise NoCapacity(pages.FULL, SOON_S if turn < self._public.warm else FULL_S)
        if psutil.virtual_memory().available < self._public.keep_free_mb * MEGABYTE:
            raise NoCapacity(pages.FULL, FULL_S)
        if turn >= self._ready() or not self._ready_first():
            self._kernels.fill_if_needed(0, self._notebook)
            raise NoCapacity(pages.SOON, SOON_S)
        task, _, kernel_id = await self._kernels.get_rendered_notebook(self._notebook)
        self._taken[kernel_id] = Session(kernel_id, visitor)
        self._moved = True
        snippets, rest = await task
        return "".join(snippets) + "".join([snippet async for snippet, _ in rest])

    def _turn(self, visitor: str) -> int:
        """Return how many visitors are ahead in the queue: they wait longer and still retry."""
        now = monotonic()
        self._waiting = {name: last for name, last in self._waiting.items() if now < last}
        order = list(self._waiting)
        return order.index(visitor) if visitor in self._waiting else len(order)

    async def end(self, session: Session, *, crashed: bool = False) -> None:
        """End a session: close its sockets, then end its kernel."""
        self._taken.pop(session.kernel_id, None)
        if crashed:
            self._broken.add(session.kernel_id)
        for page in tuple(session.sockets):
            page.hang_up()  # before the kernel ends, which closes its streams
        await self._stop(session.kernel_id)
        self._moved = True

    async def _stop(self, kernel_id: str) -> None:
        if kernel_id in self._kernels:
            with suppress(RuntimeError, KeyError):  # it is ending already
                await self._kernels.shutdown_kernel(kernel_id)

    def _pool(self) -> Iterator[tuple[asyncio.Task[Any], str]]:
        """Yield the pool's started kernels: the rendering task, and the kernel's name."""
        for started in self._kernels._pools.get(self._notebook, []):  # noqa: SLF001  # there is no public way
            if started.done() and not started.cancelled() and not started.exception():
                yield started.result()["task"], started.result()["kernel_id"]

    def _ready(self) -> int:
        """Return how many waiting kernels have a complete page."""
        return sum(task.done() and not _failed(task) for task, _ in self._pool())

    def _ready_first(self) -> bool:
        """Move a kernel with a complete page to the front of the pool; return if there is one."""
        pool = self._kernels._pools.get(self._notebook, [])  # noqa: SLF001  # as above
        for index, started in enumerate(pool):
            if started.done() and not started.exception():
                task = started.result()["task"]
                if task.done() and not task.exception():
                    pool.insert(0, pool.pop(index))
                    return True
        return False

    async def _look(self) -> None:
        """Every second, end expired sessions and repair the pool."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                for session in tuple(self._taken.values()):
                    if not await self._lives(session.kernel_id):
                        await self.end(session, crashed=True)
                    elif self._is_over(session):
                        await self.end(session)
                await self._mend()
                if self._moved:
                    self._moved = False
                    gc.collect()  # rendered pages contain reference cycles
                    give_back()
            except Exception:
                LOG.exception("The check of the sessions failed; the next one follows.")

    async def _lives(self, kernel_id: str) -> bool:
        if kernel_id not in self._kernels:
            return False
        alive: bool = await self._kernels.get_kernel(kernel_id).is_alive()
        return alive

    def _is_over(self, session: Session) -> bool:
        now = monotonic()
        patience = self._public.gone_s if session.arrived else self._public.connect_s
        gone = not session.sockets and now - session.left > patience
        return gone or now - session.used > self._public.unused_s

    async def _mend(self) -> None:
        """Remove kernels that failed or ended from the pool, and start others."""
        pool = self._kernels._pools.get(self._notebook, [])  # noqa: SLF001  # as above
        for started in tuple(pool):
            if started.done() and _failed(started):
                pool.remove(started)
                self._note_failure(started)
        for task, kernel_id in tuple(self._pool()):
            self._begun |= task.done() and not _failed(task)
            if _failed(task) or not await self._lives(kernel_id):
                await self._stop(kernel_id)
                self._note_failure(task)
        self._kernels.fill_if_needed(0, self._notebook)

    def _note_failure(self, task: asyncio.Task[Any]) -> None:
        """Log why a kernel did not start; give up if none ever started."""
        error = task.exception() if task.done() and not task.cancelled() else None
        why = one_line(error) or "it ended by itself"
        LOG.error("A kernel did not start: %s", why)
        self._failures += 1
        if not self._begun and self._failures >= MAX_FAILURES:
            self.given_up = why
            asyncio.get_running_loop().stop()


def _failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
