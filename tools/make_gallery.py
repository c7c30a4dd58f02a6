"""Take the pictures of the dashboard under docs/: `make gallery`.

Starts `serfiq demo` and photographs it in a headless Chromium, as a visitor sees it. With a folder,
`tools/make_gallery.py --all FOLDER` takes every scene at every size, light and dark, to look at.
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
from playwright.sync_api import Browser, Page, sync_playwright

DOCS = Path(__file__).parents[1] / "docs"
PORT = 8898
COLOURS = 255


def first(page: Page) -> None:
    """As it is opened."""
    page.wait_for_timeout(500)


def ruin(page: Page) -> None:
    """Blur and cover the face on the stage, until it is said what each costs."""
    page.locator(".serfiq-stage input[name=blur]").focus()
    for _ in range(12):
        page.keyboard.press("ArrowRight")
    page.locator(".serfiq-stage select[name=cover]").select_option("sunglasses")
    page.locator(".serfiq-advice").get_by_text("Undoing").wait_for()
    page.wait_for_timeout(300)


def chapters(page: Page) -> None:
    """What explains the number: a chosen dot, and the score after each pass."""
    page.locator(".serfiq-spread").focus()
    page.keyboard.press("ArrowRight")
    page.locator(".serfiq-interval").scroll_into_view_if_needed()
    page.wait_for_timeout(1500)


def lab(page: Page) -> None:
    """Blur with the lab's slider, and the curve of blur."""
    slider = page.locator(".serfiq-ruin-blur input[type=number]")
    slider.fill("1.8")
    slider.press("Enter")
    page.locator(".serfiq-sweep").click()
    page.locator(".serfiq-lab").scroll_into_view_if_needed()
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


Scene = Callable[[Page], None]
SCENES: dict[str, Scene] = {
    "first": first,
    "ruin": ruin,
    "chapters": chapters,
    "lab": lab,
    "compare": compare,
    "predict": predict,
}
SIZES = ((1366, 768), (1920, 1080), (911, 512), (390, 844), (360, 640))
GALLERY: dict[str, tuple[tuple[int, int], str, Scene]] = {
    "dashboard": (SIZES[0], "light", first),
    "dark": (SIZES[0], "dark", ruin),
    "ruin": (SIZES[0], "light", ruin),
    "chapters": ((1366, 1000), "light", chapters),
    "compare": ((1366, 900), "light", compare),
    "predict": ((1366, 900), "light", predict),
    "phone": (SIZES[3], "light", first),
}


def main() -> None:
    """Take every picture, or those that are named, or all states into a folder."""
    if sys.argv[1:2] == ["--all"]:
        folder = Path(sys.argv[2])
        wanted = {
            f"{name}-{width}x{height}-{scheme}": ((width, height), scheme, act)
            for name, act in SCENES.items()
            for width, height in SIZES
            for scheme in ("light", "dark")
        }
    else:
        folder, wanted = DOCS, {name: GALLERY[name] for name in sys.argv[1:] or GALLERY}
    command = [sys.executable, "-m", "serfiq_widgets", "demo", "--no-browser"]
    server = subprocess.Popen([*command, "--port", str(PORT)], stdout=subprocess.PIPE, text=True)
    try:
        next(line for line in server.stdout or () if str(PORT) in line)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=find(), args=["--no-sandbox", "--disable-gpu"]
            )
            for name, (size, scheme, act) in wanted.items():
                photograph(browser, size, scheme, act, folder / f"{name}.png")
            browser.close()
    finally:
        server.terminate()
        server.wait(20)


def photograph(
    browser: Browser, size: tuple[int, int], scheme: str, act: Scene, path: Path
) -> None:
    """Open the dashboard anew, do what a scene asks for, and take its picture."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
    )
    page = context.new_page()
    page.goto(f"http://localhost:{PORT}", timeout=60_000)
    page.wait_for_selector(".serfiq-plot .main-svg", timeout=60_000)
    act(page)
    save(page.screenshot(), path)
    context.close()


def save(content: bytes, path: Path) -> None:
    """Write a picture with a palette: a third of the bytes."""
    with Image.open(io.BytesIO(content)) as picture:
        picture.convert("RGB").quantize(COLOURS).save(path, optimize=True)
    print(path.name, path.stat().st_size)


if __name__ == "__main__":
    main()
