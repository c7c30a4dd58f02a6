"""A page whose kernel dies or whose server stops tells so, and begins anew with what it had."""

from dataclasses import replace

import pytest
import visitor
from reach import SIZES, covered
from served import free_port, kernel_in, kernel_process, served

from serfiq_widgets import Ruin
from serfiq_widgets.resources import sample_images

TOKEN = "a-token-for-this-test"  # noqa: S105  # of a server that lives for seconds
KIOSK = f'token = "{TOKEN}"\nkiosk = true\nkiosk_idle_s = 600\n'
DEMO = ("-m", "serfiq_widgets", "demo", "--no-browser", "--port", "{port}")
SAMPLE, PASSES, BLUR = 5, 37, 1.5


def wait_for_numbers(page, result):
    page.wait_for_function(
        "([raw, quality]) => document.querySelector('.serfiq-raw')?.innerText === raw"
        " && document.querySelector('.serfiq-quality').innerText === quality",
        arg=[f"{result.raw:.4f}", str(result.quality)],
        timeout=60_000,
    )


def click(page, selector, index=0):
    """Click with the mouse where a part of the page lies, whatever lies over it."""
    box = page.locator(selector).nth(index).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def modes(folder):
    """The options of a plain demo, a public one and a kiosk."""
    settings = folder / "kiosk.toml"
    settings.write_text(KIOSK)
    return {
        "plain": (),
        "public": ("--public", "--token", TOKEN),
        "kiosk": ("--public", "--settings", str(settings)),
    }


def set_up(page, wanted):
    """Choose a sample, passes and a blur that the page does not begin with."""
    if page.locator(".serfiq-note:popover-open").count():  # a kiosk's tour opens by itself
        page.locator(".serfiq-note").get_by_role("button", name="Skip").click()
    page.locator(".serfiq-sample").nth(SAMPLE).click()
    page.locator(".serfiq-sample[aria-pressed=true]").nth(0).wait_for()
    for name, value in (("passes", PASSES), ("ruin-blur", BLUR)):
        box = page.locator(f".serfiq-{name} input[type=number]")
        box.fill(str(value))
        box.press("Enter")
    wait_for_numbers(page, wanted)
    page.wait_for_function(
        "parts => parts.every(part => document.querySelector('.serfiq-link input')"
        ".value.includes(part))",
        arg=[f"passes={PASSES}", f"blur={BLUR}"],
    )


@pytest.fixture(scope="module")
def wanted(scorer):
    """What the library finds in that sample with these settings."""
    face = scorer.score(sample_images()[SAMPLE], passes=2).face
    return scorer.score(replace(face, pixels=Ruin(blur=BLUR).apply(face.pixels)), passes=PASSES)


def is_as_it_was(page, dead, wanted):
    """The page has another kernel by now, and shows what it showed."""
    page.wait_for_function(
        "dead => ![null, dead].includes(document.getElementById('jupyter-config-data')"
        " && JSON.parse(document.getElementById('jupyter-config-data').textContent).kernelId)",
        arg=dead,
        timeout=60_000,
    )
    page.wait_for_selector(".serfiq-plot .main-svg", timeout=60_000)
    wait_for_numbers(page, wanted)
    assert page.locator(".serfiq-sample").nth(SAMPLE).get_attribute("aria-pressed") == "true"
    assert page.locator(".serfiq-session[open]").count() == 0
    assert page.locator(".serfiq-stale").count() == 0


def at_all_sizes(page):
    """Show a page at each of `SIZES` in light and dark, and at last as it was."""
    before = page.viewport_size
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(100)  # plots follow the page's size
            yield width, height
    page.set_viewport_size(before)


def is_told(page, says):
    """A note over a page that is faint and takes no click any more, on every screen."""
    note = page.locator(".serfiq-session[open]")
    note.wait_for(timeout=15_000)
    assert says in note.inner_text()
    assert "Your own photos and pinned faces are gone" in note.inner_text()
    for width, height in at_all_sizes(page):
        box = note.bounding_box()
        assert min(box["x"], box["y"]) >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height
        assert covered(page, ".serfiq-session") == []
    faint = page.evaluate("getComputedStyle(document.querySelector('#rendered_cells')).opacity")
    assert float(faint) < 0.5
    before = page.locator(".serfiq-sample[aria-pressed=true]").inner_text()
    click(page, ".serfiq-sample", 2)
    assert page.locator(".serfiq-sample[aria-pressed=true]").inner_text() == before


def test_a_dead_kernel_is_told_and_its_settings_come_back(open_page, dashboard, wanted):
    page = open_page(address=dashboard, permissions=["camera"])
    set_up(page, wanted)
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Stop the camera").wait_for()
    dead = kernel_in(page)
    kernel_process(dead).kill()
    click(page, ".serfiq-gallery")  # somebody goes on using the page
    is_told(page, "what is shown is old")
    page.wait_for_function("!document.querySelector('.serfiq-camera video').srcObject")
    click(page, ".serfiq-session button")
    is_as_it_was(page, dead, wanted)


@pytest.mark.parametrize("mode", ["public", "kiosk"])
def test_a_public_page_leaves_when_its_kernel_dies_and_its_settings_come_back(
    mode, open_page, tmp_path, wanted
):
    with served(tmp_path / "log.txt", *DEMO, *modes(tmp_path)[mode]) as address:
        page = open_page(address=f"{address}/?token={TOKEN}", outages=True)
        assert page.url == f"{address}/"
        set_up(page, wanted)
        dead = kernel_in(page)
        visitor.kernel_process(dead).kill()
        page.wait_for_url(f"{address}/over/crashed", timeout=15_000)
        assert "own photos and pinned faces are gone" in page.locator("main").inner_text()
        assert page.locator("img, video, canvas, svg").count() == 0
        for _ in at_all_sizes(page):
            assert covered(page) == []
        click(page, "button")
        is_as_it_was(page, dead, wanted)


@pytest.mark.parametrize("mode", ["plain", "public", "kiosk"])
def test_a_stopped_server_is_told_and_the_page_comes_back_with_it(
    mode, open_page, tmp_path, wanted
):
    port = free_port()
    options = modes(tmp_path)[mode]
    query = f"/?token={TOKEN}" if options else ""
    with served(tmp_path / "one.txt", *DEMO, *options, port=port) as address:
        page = open_page(address=f"{address}{query}", outages=True)
        set_up(page, wanted)
        dead = kernel_in(page)
    is_told(page, "No connection to the server")
    with served(tmp_path / "two.txt", *DEMO, *options, port=port):
        if options:  # whose server no longer knows it
            page.locator("input[name=token]").fill(TOKEN, timeout=60_000)
            page.keyboard.press("Enter")
        is_as_it_was(page, dead, wanted)
