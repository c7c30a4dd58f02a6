"""Take the pictures of the dashboard under docs/: `make gallery`.

Starts `serfiq demo` and photographs it in a headless Chromium, as a visitor sees it.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from find_chromium import find
from PIL import Image
from playwright.sync_api import Page, sync_playwright

DOCS = Path(__file__).parents[1] / "docs"
PORT = 8898
COLOURS = 255


def explore(page: Page) -> None:
    """A face with a mask drawn on it, its heat map, and a chosen dot."""
    page.locator(".serfiq-spread").focus()
    page.keyboard.press("ArrowRight")
    page.locator(".serfiq-heat input[type=checkbox]").check()
    page.wait_for_timeout(2500)


def ruin(page: Page) -> None:
    """Scroll to the lab; blur, and the curve of it."""
    slider = page.locator(".serfiq-ruin-blur input[type=number]")
    slider.fill("1.8")
    slider.press("Enter")
    page.locator(".serfiq-sweep").click()
    page.locator(".serfiq-lab").scroll_into_view_if_needed()
    page.mouse.wheel(0, 2000)
    page.wait_for_timeout(1500)


def compare(page: Page) -> None:
    """Pin a face and its masked self."""
    for index in (0, 3):
        page.locator(".serfiq-sample").nth(index).click()
        page.wait_for_timeout(1000)
        page.locator(".serfiq-pin-this").click()
    page.get_by_role("tab", name=re.compile("Compare")).click()
    page.locator(".serfiq-cosine").wait_for()
    page.wait_for_timeout(1500)


def predict(page: Page) -> None:
    """Answer the first question."""
    page.get_by_role("tab", name="Predict").click()
    page.locator(".serfiq-next").click()
    page.locator(".serfiq-two img").first.wait_for()
    page.locator(".serfiq-vote-1").click()
    page.wait_for_timeout(1500)


def phone(page: Page) -> None:
    """As it is opened."""
    page.wait_for_timeout(500)


SCENES: dict[str, tuple[tuple[int, int], str, Callable[[Page], None]]] = {
    "dashboard": ((1400, 1080), "light", explore),
    "dark": ((1400, 900), "dark", explore),
    "ruin": ((1400, 900), "light", ruin),
    "compare": ((1920, 1080), "light", compare),
    "predict": ((1400, 900), "light", predict),
    "phone": ((390, 844), "light", phone),
}


def main() -> None:
    """Take every picture, or those that are named."""
    wanted = sys.argv[1:] or list(SCENES)
    command = [sys.executable, "-m", "serfiq_widgets", "demo", "--no-browser"]
    server = subprocess.Popen([*command, "--port", str(PORT)], stdout=subprocess.PIPE, text=True)
    try:
        next(line for line in server.stdout or () if str(PORT) in line)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=find(), args=["--no-sandbox", "--disable-gpu"]
            )
            for name in wanted:
                (width, height), scheme, act = SCENES[name]
                context = browser.new_context(
                    viewport={"width": width, "height": height},
                    color_scheme="dark" if scheme == "dark" else "light",
                )
                page = context.new_page()
                page.goto(f"http://localhost:{PORT}")
                page.wait_for_selector(".serfiq-plot .main-svg")
                act(page)
                save(page.screenshot(), DOCS / f"{name}.png")
                context.close()
            browser.close()
    finally:
        server.terminate()
        server.wait(20)


def save(content: bytes, path: Path) -> None:
    """Write a picture with a palette: a third of the bytes."""
    with Image.open(io.BytesIO(content)) as picture:
        picture.convert("RGB").quantize(COLOURS).save(path, optimize=True)
    print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
