"""The dashboard as a visitor meets it: what the page says is what the library computes."""

import base64
import urllib.error
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from reach import covered

from serfiq_widgets import Ruin
from serfiq_widgets.resources import folder, sample_images
from serfiq_widgets.scoring.sensitivity import sweep

COLLINS = folder("sample_images") / "collins.jpg"
CHAPTERS = 7


def number(page, name):
    return float(page.locator(f".serfiq-{name}").inner_text())


def wait_for(page, name, value):
    page.wait_for_function(
        "([name, text]) => document.querySelector(`.serfiq-${name}`)?.innerText === text",
        arg=[name, value],
        timeout=20_000,
    )


def wait_for_result(page, result):
    wait_for(page, "raw", f"{result.raw:.4f}")
    wait_for(page, "quality", str(result.quality))
    wait_for(page, "limit", f"{result.limit:.4f}")


def test_a_sample_is_scored_and_another_one_chosen(open_page, scorer):
    page = open_page()
    wait_for_result(page, scorer.score(sample_images()[0], passes=100))
    samples = page.locator(".serfiq-sample")
    assert samples.count() == len(sample_images())
    for index in (3, 9):
        samples.nth(index).click()
        wait_for_result(page, scorer.score(sample_images()[index], passes=100))
        assert samples.nth(index).get_attribute("aria-pressed") == "true"
    status = page.locator(".serfiq-status").inner_text()
    assert "onnxruntime" in status
    assert "ms" in status


def test_a_sample_is_chosen_by_keyboard(open_page, scorer):
    page = open_page()
    page.locator(".serfiq-sample").nth(1).focus()
    page.keyboard.press("Enter")
    wait_for_result(page, scorer.score(sample_images()[1], passes=100))


def test_a_photo_is_uploaded_through_the_file_chooser(open_page, scorer, tmp_path):
    page = open_page()
    photo = tmp_path / "visitor & <me>.png"
    with Image.open(COLLINS) as collins:
        collins.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((1200, 1500)).save(photo)
    assert photo.stat().st_size > 2**20  # so that it travels in pieces
    with page.expect_file_chooser() as chooser:
        page.locator(".serfiq-upload button").click()
    chooser.value.set_files(photo)
    wait_for_result(page, scorer.score(photo, passes=100))
    own = page.get_by_role("button", name="visitor & <me>", pressed=True)
    own.wait_for()  # beside the samples, and marked
    assert page.locator(".serfiq-message").count() == 0


def slide(page, key, times=1):
    page.locator(".serfiq-passes input[type=range]").focus()
    for _ in range(times):
        page.keyboard.press(key)


def test_the_slider_moves_by_keyboard_and_everything_follows(open_page, scorer):
    page = open_page()
    sample = sample_images()[0]
    for key, times, passes in (("ArrowLeft", 3, 97), ("End", 1, 200), ("Home", 1, 2)):
        slide(page, key, times)
        result = scorer.score(sample, passes=passes)
        wait_for_result(page, result)
        page.wait_for_function(
            "count => document.querySelector('.serfiq-plot .trace')"
            ".querySelectorAll('.point').length === count",
            arg=passes,
        )
    drawn = [[len(values) for values in plot] for plot in plotted(page)]
    assert drawn[0] == [2, 1, 1, 0]
    assert drawn[2] == [0, 0, 0, 0, 2, 1, 1, 1, 1]  # no band yet; lines and their ends


def plotted(page):
    """The y values of every trace of every plot, as the page drew them."""
    return page.evaluate(
        "[...document.querySelectorAll('.serfiq-plot .js-plotly-plot')]"
        ".map(plot => plot._fullData.map(trace => [...(trace.y ?? [])]))"
    )


def test_the_curve_on_the_page_is_the_librarys(open_page, scorer):
    result = scorer.score(sample_images()[0], passes=100)
    closed, plain, controlled = plotted(open_page())[2][4:7]
    np.testing.assert_allclose(closed, result.closed_form, atol=1e-5)
    np.testing.assert_allclose(plain, result.running[1:], atol=1e-5)
    np.testing.assert_allclose(controlled, result.running_controlled[1:], atol=1e-5)


@pytest.mark.parametrize("name", ["photo.avif", "photo.webp", "photo.jpg"])
def test_photos_of_every_format_that_strangers_may_bring_are_scored(
    open_page, scorer, tmp_path, name
):
    photo = tmp_path / name
    with Image.open(COLLINS) as collins:
        collins.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((640, 800)).save(photo)
    page = open_page()
    page.locator(".serfiq-upload input").set_input_files(photo)
    wait_for_result(page, scorer.score(photo, passes=100))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("notes.jpg", b"I am a text", "'notes.jpg' is not a JPEG, PNG, WebP, AVIF or HEIC image"),
        ("half.jpg", COLLINS.read_bytes()[:3000], "'half.jpg' is broken"),
        ("empty.png", b"", "'empty.png' is empty"),
        ("huge.jpg", b"\xff\xd8" + b"0" * 21_000_000, "'huge.jpg' is larger than 20 MB"),
    ],
)
def test_a_bad_upload_is_a_kind_sentence_and_nothing_is_lost(open_page, name, content, says):
    page = open_page()
    before = number(page, "raw")
    file = {"name": name, "mimeType": "image/jpeg", "buffer": content}
    page.locator(".serfiq-upload input").set_input_files(file)
    message = page.locator(".serfiq-message")
    message.wait_for(timeout=20_000)
    assert says in message.inner_text()
    assert number(page, "raw") == before
    page.locator(".serfiq-sample").nth(5).click()
    message.wait_for(state="detached", timeout=20_000)


def test_the_page_fetches_plotly_once(open_page):
    page = open_page()
    fetched = page.evaluate(
        "performance.getEntriesByType('resource').filter(e => e.name.endsWith('/plotly.js'))"
        ".map(e => [e.encodedBodySize, e.decodedBodySize])"
    )
    ((packed, whole),) = fetched
    assert packed < 2_000_000 < whole


def test_two_visitors_do_not_see_each_other(open_page, scorer):
    first, second = open_page(), open_page()
    first.locator(".serfiq-sample").nth(4).click()
    wait_for_result(first, scorer.score(sample_images()[4], passes=100))
    wait_for_result(second, scorer.score(sample_images()[0], passes=100))


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1024, 768), (1400, 900), (1920, 1080)])
def test_nothing_sticks_out(open_page, width, height):
    page = open_page(width, height)
    wide = page.evaluate(
        "[...document.querySelectorAll('.serfiq-card, .serfiq-picture, .serfiq-head')]"
        ".map(e => e.getBoundingClientRect().right)"
    )
    assert max(wide) <= width
    cut = page.evaluate(
        "[...document.querySelectorAll('.serfiq-formula *')].filter(e => e"
        ".getBoundingClientRect().right > e.closest('dl').getBoundingClientRect().right).length"
    )
    assert cut == 0
    columns = page.evaluate(
        "[...document.querySelectorAll('.serfiq-chapter')].map(e => e.getBoundingClientRect().left)"
    )
    assert len(columns) == CHAPTERS
    assert len(set(columns)) == 1


def test_dark_pages_have_light_ink(open_page):
    page = open_page(color_scheme="dark")
    ink = page.evaluate("getComputedStyle(document.querySelector('.serfiq-quality')).color")
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light, dark = ([int(v) for v in c[4:-1].split(",")] for c in (ink, back))
    assert min(light) > 200
    assert max(dark) < 40


def test_the_notebooks_folder_is_not_for_download(get, dashboard):
    for path in ("dashboard.ipynb", "../sample_images/collins.jpg"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(f"{dashboard}/voila/files/{path}")
        refused.value.close()
        assert refused.value.code in (403, 404)


def test_the_lab_ruins_the_face_and_resets_it(open_page, scorer):
    page = open_page()
    face = scorer.score(sample_images()[0], passes=2).face
    page.locator(".serfiq-ruin-blur input[type=range]").focus()
    for _ in range(15):
        page.keyboard.press("ArrowRight")
    page.locator(".serfiq-cover select").select_option("mask")
    ruin = Ruin(blur=1.5, cover="mask")
    ruined = scorer.score(replace(face, pixels=ruin.apply(face.pixels)), passes=100)
    wait_for_result(page, ruined)
    assert f"\u2192 {ruined.quality}" in page.locator(".serfiq-ruined").inner_text()
    page.locator(".serfiq-sweep").click()
    page.locator(".serfiq-curve .main-svg").first.wait_for()
    curve = sweep(scorer, face, "blur", ruin)
    np.testing.assert_allclose(plotted(page)[-1][0], curve.qualities, atol=0.05)
    page.locator(".serfiq-reset").click()
    wait_for_result(page, scorer.score(face, passes=100))


def test_the_square_is_dragged_and_the_heat_map_shown(open_page):
    page = open_page()
    page.locator(".serfiq-heat input[type=checkbox]").check()
    overlay = page.locator(".serfiq-overlay")
    overlay.wait_for()
    before = overlay.get_attribute("src")
    clean = number(page, "best")
    page.locator(".serfiq-cover select").select_option("square")
    page.wait_for_selector(".serfiq-movable")
    box = page.locator(".serfiq-faceview").bounding_box()
    page.mouse.move(box["x"] + 70, box["y"] + 70)
    page.mouse.down()
    page.mouse.move(box["x"] + 45, box["y"] + 62, steps=4)
    page.mouse.up()
    page.wait_for_function(
        "before => Math.abs(document.querySelector('.serfiq-best').innerText - before) > 1e-3",
        arg=clean,
    )
    page.wait_for_function(
        "before => {const o = document.querySelector('.serfiq-overlay');"
        "return !o.hidden && o.src !== before}",
        arg=before,
    )


@pytest.mark.parametrize("seconds", [0, 1, 1.5, 2])
def test_stopping_while_kernels_start_is_quiet(stopped_after, seconds):
    stopped_after(seconds)


@pytest.mark.parametrize(
    ("width", "height"), [(1366, 768), (1920, 1080), (911, 512), (390, 844), (360, 640)]
)
def test_the_first_screen_holds_face_cloud_number_and_controls(open_page, width, height):
    page = open_page(width, height, agree=False)
    page.wait_for_timeout(300)  # the stage follows the page's size
    for part in ("face", "numbers", "cloud", "controls"):
        box = page.locator(f".serfiq-stage .serfiq-{part}").bounding_box()
        assert min(box["x"], box["y"]) >= 0, part
        assert box["x"] + box["width"] <= width, part
        assert box["y"] + box["height"] <= height, part
    assert covered(page, ".serfiq-stage") == []


BRING = """
([kind, content]) => {
  const data = new DataTransfer();
  const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  data.items.add(new File([bytes], "mine.jpg", { type: "image/jpeg" }));
  const about = { bubbles: true, cancelable: true };
  const event = kind === "paste"
    ? new ClipboardEvent(kind, { ...about, clipboardData: data })
    : new DragEvent(kind, { ...about, dataTransfer: data });
  return document.querySelector("h1").dispatchEvent(event);
}
"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_a_photo_is_brought_anywhere_on_the_page(open_page, scorer, tmp_path, kind):
    photo = tmp_path / "mine.jpg"
    with Image.open(COLLINS) as collins:
        collins.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(photo)
    page = open_page(agree=False)
    content = base64.b64encode(photo.read_bytes()).decode()
    assert not page.evaluate(BRING, [kind, content]), "the browser would leave the page"
    page.get_by_role("button", name="I agree").click()
    wait_for_result(page, scorer.score(photo, passes=100))
    page.get_by_role("button", name="mine", pressed=True).wait_for()
