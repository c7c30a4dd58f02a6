"""Everything that a page offers can be clicked, in every state of it; the tour, with the mouse."""

import re

import pytest
from reach import SIZES, covered, covered_at_all_sizes
from served import kiosk

STEPS = 5


@pytest.fixture(scope="module")
def kiosk_address(tmp_path_factory):
    """A public demo in kiosk mode that waits for visitors longer than these tests take."""
    with kiosk(tmp_path_factory.mktemp("kiosk"), idle_s=600) as address:
        yield address


def test_every_control_of_every_state_can_be_clicked(open_page, group):
    page = open_page(1366, 768, agree=False, permissions=["camera"])
    found = {}

    def look(state):
        page.wait_for_timeout(300)  # plots are drawn a frame later
        found[state] = covered_at_all_sizes(page)

    look("the first screen")
    page.get_by_role("button", name="Use the camera").click()
    page.locator(".serfiq-consent").wait_for()
    found["consent"] = covered_at_all_sizes(page, ".serfiq-consent")
    page.get_by_role("button", name="I agree").click()
    page.get_by_role("button", name="Snapshot").wait_for()
    look("camera")
    page.get_by_role("button", name="Stop the camera").click()
    page.locator(".serfiq-pin-this").click()
    page.locator(".serfiq-upload input").set_input_files(group)
    page.get_by_role("button", name="Face 2 of 2").wait_for()
    page.locator(".serfiq-pin-this").click()
    page.locator(".serfiq-heat input[type=checkbox]").check()
    page.locator(".serfiq-cover select").select_option("square")
    page.wait_for_selector(".serfiq-movable")
    page.locator(".serfiq-sweep").click()
    page.locator(".serfiq-curve .main-svg").first.wait_for()
    look("lab, with two faces and two pins")
    notes = {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"I am a text"}
    page.locator(".serfiq-upload input").set_input_files(notes)
    page.locator(".serfiq-message").wait_for()
    look("message")
    for name, shows in {
        "Compare": ".serfiq-compare .main-svg",
        "Predict": ".serfiq-predict .serfiq-next",
        "Trust": ".serfiq-trust .main-svg",
        "Groups": ".serfiq-bias .main-svg",
        "Settings": ".serfiq-settings select",
    }.items():
        page.get_by_role("tab", name=re.compile(name)).click()
        page.locator(shows).first.wait_for(timeout=20_000)
        if name == "Predict":
            page.locator(".serfiq-next").click()
            page.locator(".serfiq-two img").first.wait_for()
        look(name)
    assert {state: where for state, where in found.items() if where} == {}


def tour_with_the_mouse(page):
    """Click through the tour where its buttons lie; it never leaves the screen."""
    size = page.viewport_size
    note = page.locator(".serfiq-note")

    def click(name):
        box = note.get_by_role("button", name=name).bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)

    said = []
    for step in range(1, STEPS + 1):
        note.get_by_text(f"{step} of {STEPS}").wait_for(timeout=5000)
        page.wait_for_timeout(100)  # its place follows the page's layout
        said.append(note.locator("p").inner_text())
        assert page.locator(".serfiq-lit").count() == 1
        assert covered(page, ".serfiq-note") == []
        box = note.bounding_box()
        assert min(box["x"], box["y"]) >= 0
        assert box["x"] + box["width"] <= size["width"]
        assert box["y"] + box["height"] <= size["height"]
        if step == 2:  # once there and back
            click("Back")
            note.get_by_text(f"1 of {STEPS}").wait_for(timeout=5000)
            click("Next")
            note.get_by_text(f"2 of {STEPS}").wait_for(timeout=5000)
        click("Done" if step == STEPS else "Next")
    assert len(set(said)) == STEPS
    assert not note.is_visible()
    assert page.locator(".serfiq-lit").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_mouse_leads_through_the_tour(open_page, scheme):
    page = open_page(color_scheme=scheme)
    for width, height in SIZES:
        page.set_viewport_size({"width": width, "height": height})
        page.get_by_role("button", name="Take the tour").click()
        tour_with_the_mouse(page)
    page.get_by_role("button", name="Take the tour").click()
    page.locator(".serfiq-note").get_by_role("button", name="Skip").click()
    assert not page.locator(".serfiq-note").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_mouse_leads_through_the_tour_of_a_kiosk(open_page, kiosk_address, scheme):
    page = open_page(
        *SIZES[0], address=kiosk_address, color_scheme=scheme, agree=False, outages=True
    )
    page.locator(".serfiq-note:popover-open").wait_for()  # by itself
    tour_with_the_mouse(page)
    if scheme == "light":
        assert covered_at_all_sizes(page) == {}
    for width, height in SIZES[1:]:
        page.set_viewport_size({"width": width, "height": height})
        page.get_by_role("button", name="Take the tour").click()
        tour_with_the_mouse(page)
