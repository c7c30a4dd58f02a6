"""Lecture mode, led by the keyboard as a lecturer does it."""

import pytest

pytest.importorskip("playwright.sync_api")
pytest.importorskip("voila")

LEAST = 28  # pixels of the smallest letters on a full HD screen
SMALL = """
(least) => {
  const small = [];
  for (const e of document.querySelectorAll("body *")) {
    if (!e.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    const says = [...e.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    const { width, top, bottom } = e.getBoundingClientRect();
    if (!says || width < 1 || bottom < 0 || top > innerHeight) continue;
    const picture = e.closest(".serfiq-cloud");
    const scale = picture
      ? picture.getBoundingClientRect().width / picture.viewBox.baseVal.width
      : (e.currentCSSZoom ?? 1);
    const size = parseFloat(getComputedStyle(e).fontSize) * scale;
    if (size < least) small.push(`${size}: ${e.textContent.slice(0, 40)}`);
  }
  return small;
}
"""
PANELS = ("predict", "predict", "stage", "stage", "chapter", "compare", "limits")


def test_the_keyboard_leads_through_the_scenes_in_large_type(open_page):
    page = open_page(1920, 1080, agree=False)
    page.keyboard.press("f")
    for number, panel in enumerate(PANELS):
        page.wait_for_function(
            "name => document.querySelector(`.serfiq-${name}.serfiq-shown`)?.checkVisibility()",
            arg=panel,
        )
        if number == 0:
            page.locator(".serfiq-two img").first.wait_for()
        if number == 1:
            page.locator(".serfiq-predict .serfiq-verdict").wait_for()
            page.locator(".serfiq-predict .main-svg").first.wait_for()
        if number == 3:
            page.locator(".serfiq-stage").get_by_text("Before:").wait_for()
        page.wait_for_timeout(300)  # plots are drawn a frame later
        assert page.evaluate(SMALL, LEAST) == [], panel
        for other in {"stage", "predict", "compare", "limits"} - {panel}:
            assert not page.locator(f".serfiq-{other}").first.is_visible()
        page.keyboard.press("PageDown" if number % 2 else "ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.locator(".serfiq-compare.serfiq-shown").wait_for()
    page.keyboard.press("f")
    page.wait_for_function("!document.documentElement.classList.contains('serfiq-lecture')")
    assert page.locator(".lm-TabBar").first.is_visible()


def test_letters_typed_into_a_field_do_not_begin_a_lecture(open_page):
    page = open_page(agree=False)
    page.locator(".serfiq-stage select").first.focus()
    page.keyboard.press("f")
    page.locator(".serfiq-passes input[type=number]").press("f")
    assert not page.evaluate("document.documentElement.classList.contains('serfiq-lecture')")


def test_notes_follow_in_a_window_of_their_own(open_page):
    page = open_page(agree=False)
    page.keyboard.press("f")
    page.locator(".serfiq-predict.serfiq-shown").wait_for()
    with page.expect_popup() as opened:
        page.keyboard.press("n")
    notes = opened.value
    notes.get_by_text("1 of 7. Ask for a show of hands").wait_for()
    page.keyboard.press("ArrowRight")
    notes.get_by_text("2 of 7. The network's answer").wait_for()


def test_a_double_click_shows_a_panel_alone(open_page):
    page = open_page(agree=False)
    page.locator(".serfiq-stage .serfiq-face").dblclick()
    page.locator(".serfiq-stage.serfiq-shown").wait_for()
    assert not page.locator(".serfiq-samples").is_visible()
    page.locator(".serfiq-stage .serfiq-face").dblclick()
    page.locator(".serfiq-samples").wait_for()
