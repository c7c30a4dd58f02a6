"""Many visitors of `serfiq demo --public` at once: failed sessions, answer times, memory.

    python benchmarks/load.py [--visitors 50] [--browsers 4] [--seconds 300]
                              [--chaos 20] [--attackers 5] [--knock 300] [--hours 2]

Starts the server, and visitors that speak as the page does, websocket included: each waits for a
place, takes all widgets, scores a sample, then moves the slider every 2 s. They fetch the page, not
its scripts, which a browser keeps. An answer counts when the kernel has dealt with the move; the
page itself draws it before. --browsers of them are tabs of a real Chromium: there times
begin with the dashboard's page, in an empty cache, and an answer is the last change of the page.
Memory per visitor is that of the kernels: RSS counts what they share in each of them, PSS in parts.

--chaos kills so many kernels and cuts so many connections at random; those visitors start again.
--attackers of the visitors attack the websocket, as tools/fuzz_socket.py does. --knock lets so many
more come while the house is full. --hours lets 10 visitors come, stay and go for so long, and
prints memory, open files and kernels after each party.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from page import QUIET_MS, WATCH
from playwright.async_api import Browser, Error, Page, async_playwright
from tornado.httpclient import HTTPClientError

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
from find_chromium import find
from fuzz_socket import attack
from visitor import OK, Gone, Visitor, kernel_process

PORT = 8897
MOVE_S, BACK_S = 2.0, 120.0
STAY_S, LEFT_S = 160.0, 40.0  # of a soak; the second is longer than the server's gone_s
APART_S = 10.0  # between two browsers, which work on the same cores as the server
MEGABYTE = 1e6
FAULTS = (Gone, TimeoutError, OSError, HTTPClientError, LookupError)
POLITE = 0.5  # of them close the page, the others just vanish
FULL = 503
PAINTED = """
new MutationObserver((_, watch) => {
  if (!document.querySelector('.serfiq-quality')) return;
  watch.disconnect();
  requestAnimationFrame(() => setTimeout(() => { window.painted = performance.now(); }));
}).observe(document, {subtree: true, childList: true});
"""
RESTS = f"""
begun => new Promise(done => {{
  const look = () => {{
    const last = Math.max(window.last ?? 0, begun);
    if (performance.now() - last > {QUIET_MS}) done(last - begun);
    else setTimeout(look, 20);
  }};
  look();
}})
"""


@dataclass
class Tally:
    """What the visitors met; seconds each."""

    admitted: int = 0
    failed: list[str] = field(default_factory=list)
    hit: int = 0
    recovered: int = 0
    first: list[float] = field(default_factory=list)
    samples: list[float] = field(default_factory=list)
    moves: list[float] = field(default_factory=list)
    browser_first: list[float] = field(default_factory=list)
    browser_all: list[float] = field(default_factory=list)
    browser_samples: list[float] = field(default_factory=list)
    browser_moves: list[float] = field(default_factory=list)
    waiting_pages: int = 0


class House:
    """A running server, seen from outside."""

    def __init__(self, port: int, *options: str) -> None:
        self.address = f"http://localhost:{port}"
        command = [sys.executable, "-m", "serfiq_widgets", "demo", "--public", "--no-browser"]
        self.log = Path(tempfile.mkstemp(suffix=".log")[1])
        with self.log.open("w") as output:
            self.process = psutil.Popen(
                [*command, "--open", "--port", str(port), *options],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        while "The dashboard is at" not in self.log.read_text():
            if self.process.poll() is not None:
                raise SystemExit(self.log.read_text())
            time.sleep(0.1)

    def kernels(self) -> list[psutil.Process]:
        """Return the processes of all kernels; their parent is none."""
        fork_server = self.process.children()[0]
        return [child for child in fork_server.children() if child.status() != psutil.STATUS_ZOMBIE]

    def memory(self) -> dict[str, float]:
        """Return MB: of the server, of a kernel in the mean, and of all.

        ``sum`` is what is no file's: how files count depends on who else has them open.
        """
        processes = [self.process, self.process.children()[0], *self.kernels()]
        server, fork_server, *kernels = (process.memory_full_info() for process in processes)
        count = max(1, len(kernels))
        shared = fork_server.pss + sum(one.pss for one in kernels)
        return {
            "server": server.rss / MEGABYTE,
            "rss": sum(one.rss for one in kernels) / count / MEGABYTE,
            "pss": shared / count / MEGABYTE,
            "sum": sum(_anonymous(process.pid) for process in processes) / MEGABYTE,
            "resident": (server.pss + shared) / MEGABYTE,
            "kernels": len(kernels),
            "files": self.process.num_fds(),
        }

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)


def _anonymous(pid: int) -> int:
    """Return the bytes of a process's memory that are no file's; what is shared counts in parts."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))


@contextmanager
def house(port: int, *options: str) -> Iterator[House]:
    """Serve, and stop afterwards."""
    running = House(port, *options)
    try:
        yield running
    finally:
        running.stop()


async def visit(address: str, ends: float, tally: Tally, guests: list[Visitor]) -> None:
    """Be one visitor until the time is up; a session that was hit is begun anew."""
    while True:
        visitor = Visitor(address)
        try:
            await visitor.enter(patience_s=300)
            tally.waiting_pages += visitor.waited
            start = time.perf_counter()
            await visitor.connect()
            await visitor.show()
            float(visitor.scores[-1])
            tally.first.append(time.perf_counter() - start)
            tally.admitted += 1
            guests.append(visitor)
            tally.samples.append(await visitor.choose(1 + random.randrange(8)))  # noqa: S311  # a load
            while time.monotonic() < ends:
                await asyncio.sleep(MOVE_S)
                passes = random.randrange(2, 201)  # noqa: S311  # a load
                tally.moves.append(await visitor.set(visitor.slider, value=passes))
            await visitor.leave(politely=random.random() < POLITE)  # noqa: S311  # a load
            return  # noqa: TRY300  # the way out
        except FAULTS as error:
            with suppress(ValueError):
                guests.remove(visitor)
            if not visitor.refused:
                tally.failed.append(repr(error))
                return  # the way out
            tally.recovered += 1
            await visitor.leave(politely=False)


async def browse(browser: Browser, address: str, ends: float, tally: Tally) -> None:
    """Be one visitor with a real browser, until the time is up."""
    context = await browser.new_context(viewport={"width": 1400, "height": 900})
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    try:
        await page.add_init_script(PAINTED)
        await page.goto(address, wait_until="commit")
        last = page.locator(".serfiq-plot .main-svg").nth(5)
        await last.wait_for(state="attached", timeout=60_000)
        tally.browser_all.append(await page.evaluate("performance.now()") / 1e3)
        tally.browser_first.append(await page.evaluate("window.painted") / 1e3)
        tally.admitted += 1
        await page.evaluate(WATCH)
        sample = page.locator(".serfiq-gallery button").nth(1 + random.randrange(6))  # noqa: S311  # a load
        tally.browser_samples.append(await _settled(page, sample.click()))
        handle = page.locator(".serfiq-passes :is(.noUi-handle, input[type=range])")
        await handle.focus()
        while time.monotonic() < ends:
            await asyncio.sleep(MOVE_S)
            key = random.choice(["ArrowLeft", "PageDown", "PageUp"])  # noqa: S311  # a load
            tally.browser_moves.append(await _settled(page, page.keyboard.press(key)))
            if await page.locator("dialog[open].serfiq-session").count():
                faults.append("the page says that its session is over")
                break
    except Error as error:
        faults.append(repr(error))
    if faults:
        tally.failed.append(faults[0])
    await context.close()


async def _settled(page: Page, act: Awaitable[None]) -> float:
    """Act, and wait until the page rests; the seconds from the deed to the page's last change."""
    begun = await page.evaluate("performance.now()")
    await act
    return float(await page.evaluate(RESTS, begun)) / 1e3


async def havoc(count: int, ends: float, tally: Tally, guests: list[Visitor]) -> None:
    """Kill kernels and cut connections, evenly over the time."""
    for strike in range(2 * count):
        await asyncio.sleep(max(0.1, (ends - time.monotonic()) / (2 * count - strike + 1)))
        if not guests:
            continue
        victim = random.choice(guests)  # noqa: S311  # a load
        guests.remove(victim)
        victim.refused = "hit"
        tally.hit += 1
        if strike % 2:
            await victim.leave(politely=False)
            continue
        with suppress(psutil.Error, LookupError):
            kernel_process(victim.kernel).kill()


async def knock(address: str, count: int) -> tuple[int, int, int]:
    """Let so many come at once; how many got a place, a waiting page, or neither."""

    async def one() -> int:
        visitor = Visitor(address)
        reply = await visitor.get("/")
        visitor._client.close()  # noqa: SLF001  # no session
        waits = reply.code == FULL and "Retry-After" in reply.headers
        return 1 if waits else 0 if reply.code == OK else 2

    found = await asyncio.gather(*(one() for _ in range(count)))
    return found.count(0), found.count(1), found.count(2)


async def load(
    place: House,
    visitors: int,
    seconds: float,
    *,
    browsers: int = 0,
    attackers: int = 0,
    chaos: int = 0,
    knocks: int = 0,
) -> Tally:
    """Run the visitors; prints what they weigh, and who got in of those that knock."""
    tally, guests = Tally(), list[Visitor]()
    ends = time.monotonic() + seconds
    crowd = [
        asyncio.ensure_future(visit(place.address, ends, tally, guests))
        for _ in range(visitors - browsers - attackers)
    ]
    attacks = Counter[str]()
    extra = [
        asyncio.ensure_future(attack(place.address, "", ends, random.Random(seed), attacks))  # noqa: S311  # a load
        for seed in range(attackers)
    ]
    if chaos:
        extra.append(asyncio.ensure_future(havoc(chaos, ends, tally, guests)))
    if knocks:
        extra.append(asyncio.ensure_future(_knocked(place, knocks, ends)))
    if browsers:
        crowd.append(asyncio.ensure_future(_tabs(place.address, browsers, ends, tally)))
    extra.append(asyncio.ensure_future(_weigh(place, ends)))
    await asyncio.gather(*crowd)
    await asyncio.gather(*extra)
    if attackers:
        print(f"attacks: {dict(attacks)}")
    return tally


async def _tabs(address: str, count: int, ends: float, tally: Tally) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=find(), args=["--no-sandbox", "--disable-gpu"]
        )
        tabs = []
        for _ in range(count):
            tabs.append(asyncio.ensure_future(browse(browser, address, ends, tally)))
            await asyncio.sleep(APART_S)
        await asyncio.gather(*tabs)
        await browser.close()


async def _knocked(place: House, count: int, ends: float) -> None:
    await asyncio.sleep((ends - time.monotonic()) / 2)
    before = place.memory()["server"]
    places, waits, neither = await knock(place.address, count)
    await asyncio.sleep(1)
    print(f"{count} knocked: {places} got a place, {waits} the waiting page, {neither} neither")
    print(f"server before and after: {before:.0f} and {place.memory()['server']:.0f} MB")


async def _weigh(place: House, ends: float) -> None:
    await asyncio.sleep(max(0.0, ends - time.monotonic() - 1))
    memory = await asyncio.to_thread(place.memory)
    print(
        f"memory of a visitor: RSS {memory['rss']:.0f} MB, PSS {memory['pss']:.0f} MB "
        f"({memory['kernels']} kernels); server {memory['server']:.0f} MB"
    )


def report(tally: Tally) -> None:
    """Print what they met."""
    print(f"sessions: {tally.admitted}, failed: {len(tally.failed)} {tally.failed[:3]}")
    if tally.hit:
        print(f"hit: {tally.hit}, began anew: {tally.recovered}")
    print(f"waiting pages shown: {tally.waiting_pages}")
    for name, times in (
        ("first score after admission", tally.first),
        ("another sample", tally.samples),
        ("slider", tally.moves),
        ("in Chromium: first score", tally.browser_first),
        ("in Chromium: all views", tally.browser_all),
        ("in Chromium: another sample", tally.browser_samples),
        ("in Chromium: slider", tally.browser_moves),
    ):
        if len(times) > 1:
            p95 = statistics.quantiles(times, n=20)[-1]
            print(
                f"{name}: p50 {1e3 * statistics.median(times):.0f} ms, p95 {1e3 * p95:.0f} ms, "
                f"max {1e3 * max(times):.0f} ms, n={len(times)}"
            )


async def soak(place: House, seconds: float) -> None:
    """Let ten visitors come, stay and go, again and again; print what is left between them."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        tally = await load(place, 10, min(STAY_S, seconds))
        await asyncio.sleep(LEFT_S)
        memory = place.memory()
        line = ", ".join(f"{name} {value:.0f}" for name, value in memory.items())
        print(f"{len(tally.failed)} failed {tally.failed[:2]}; {line}", flush=True)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--visitors", type=int, default=50)
    parser.add_argument("--browsers", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--attackers", type=int, default=0)
    parser.add_argument("--chaos", type=int, default=0)
    parser.add_argument("--knock", type=int, default=0)
    parser.add_argument("--hours", type=float, default=0)
    parser.add_argument("--port", type=int, default=PORT)
    given = parser.parse_args()
    cap = max(2, given.visitors)
    settings = Path(tempfile.mkstemp(suffix=".toml")[1])
    settings.write_text(f"most_visitors = {cap}\n")
    with house(given.port, "--settings", str(settings)) as place:
        time.sleep(3)
        if given.hours:
            asyncio.run(soak(place, 3600 * given.hours))
            return  # the way out
        before = place.memory()
        tally = asyncio.run(
            load(
                place,
                given.visitors,
                given.seconds,
                browsers=given.browsers,
                attackers=given.attackers,
                chaos=given.chaos,
                knocks=given.knock,
            )
        )
        report(tally)
        time.sleep(BACK_S)
        after = place.memory()
        print(
            f"before, and {BACK_S:.0f} s after: "
            + ", ".join(f"{name} {before[name]:.0f} to {after[name]:.0f}" for name in before)
        )
        print(place.log.read_text()[-2000:])


if __name__ == "__main__":
    main()
