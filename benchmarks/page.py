"""How fast the dashboard answers, measured in a real browser: the figures of the README.

    python benchmarks/page.py [--moves 200]

Starts `serfiq demo` and a headless Chromium. Latency is the time from a key press on a slider to
the last change of the page that follows it, over all views. Weight is what travels to the page,
websocket included. The camera is Chromium's fake one, fed with a sample that moves.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import fake_camera
from find_chromium import find

PORT = 8899
ADDRESS = f"http://localhost:{PORT}"
QUIET_MS = 120  # a move is over when the page has not changed for so long
READY = (
    "document.querySelectorAll('.serfiq-plot .main-svg').length >= 6"
    " && document.querySelector('.serfiq-quality')"
)
WATCH = """
() => {
  window.moves = [];
  new MutationObserver(() => { window.last = performance.now(); }).observe(
    document.body, {subtree: true, childList: true, attributes: true, characterData: true});
  document.addEventListener('keydown', () => { window.pressed = performance.now(); }, true);
}
"""


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--moves", type=int, default=200)
    moves = parser.parse_args().moves
    command = [sys.executable, "-m", "serfiq_widgets", "demo", "--no-browser"]
    server = subprocess.Popen(  # noqa: S603  # our own command
        [*command, "--port", str(PORT)], stdout=subprocess.PIPE, text=True
    )
    try:
        next(line for line in server.stdout or () if ADDRESS in line)
        with sync_playwright() as playwright:
            camera = fake_camera.flags(Path(tempfile.mkdtemp()))
            browser = playwright.chromium.launch(
                executable_path=find(), args=["--no-sandbox", "--disable-gpu", *camera]
            )
            for name in ("first visit", "after 20 s"):
                page, seconds, megabytes = open_page(browser)
                print(f"{name}: all views after {seconds:.2f} s, {megabytes:.2f} MB")
                if name == "first visit":
                    page.context.close()
                    time.sleep(20)
            page.evaluate(WATCH)
            for title, slider in (
                ("passes", ".serfiq-passes"),
                ("blur", ".serfiq-ruin-blur"),
            ):
                report(title, press(page, slider, moves))
            watch_camera(page, psutil.Process(server.pid))
            browser.close()
    finally:
        server.terminate()
        server.wait(20)


def open_page(browser: Any) -> tuple[Page, float, float]:
    """Open the dashboard; the seconds until every view is there, and the MB that travelled."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, permissions=["camera"])
    page = context.new_page()
    weight = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda e: weight.append(e["encodedDataLength"]))
    session.on(
        "Network.webSocketFrameReceived", lambda e: weight.append(len(e["response"]["payloadData"]))
    )
    start = time.perf_counter()
    page.goto(ADDRESS, wait_until="commit")
    page.wait_for_function(READY, timeout=60_000)
    return page, time.perf_counter() - start, sum(weight) / 1e6


def press(page: Page, slider: str, moves: int) -> list[float]:
    """Move a slider by keys; the milliseconds from each press to the page's last change."""
    handle = page.locator(f"{slider} :is(.noUi-handle, input[type=range])")
    handle.focus()
    page.keyboard.press("End" if "passes" in slider else "Home")
    page.wait_for_timeout(1000)
    times = []
    for move in range(moves):
        down = (move // 10 + ("passes" in slider)) % 2
        page.keyboard.press("ArrowLeft" if down else "ArrowRight")
        page.wait_for_function(
            f"performance.now() - Math.max(window.last ?? 0, window.pressed) > {QUIET_MS}"
        )
        times.append(page.evaluate("window.last - window.pressed"))
    return times


def watch_camera(page: Page, server: psutil.Process) -> None:
    """Let the camera run; print frames per second, and how busy the busiest kernel is."""
    feed = page.locator(".serfiq-camera")
    page.get_by_role("button", name="I agree").click()
    feed.get_by_role("button", name="Use the camera").click()
    feed.get_by_role("button", name="Live").click()
    page.wait_for_timeout(3000)
    kernels = server.children(recursive=True)
    before = [sum(kernel.cpu_times()[:2]) for kernel in kernels]
    start = time.perf_counter()
    rates = []
    for _ in range(10):
        page.wait_for_timeout(1000)
        rates.append(float(feed.locator("small").inner_text().split()[-3]))
    seconds = time.perf_counter() - start
    after = [sum(kernel.cpu_times()[:2]) for kernel in kernels]
    busy = max(b - a for a, b in zip(before, after, strict=True)) / seconds
    print(f"camera: {statistics.median(rates):.1f} frames a second, kernel on {busy:.2f} cores")


def report(title: str, times: list[float]) -> None:
    """Print median and 95th percentile."""
    high = statistics.quantiles(times, n=20)[-1]
    print(f"{title}: median {statistics.median(times):.0f} ms, p95 {high:.0f} ms, n={len(times)}")


if __name__ == "__main__":
    main()
