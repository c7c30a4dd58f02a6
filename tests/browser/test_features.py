"""Every feature of the dashboard, as a person uses it, against the library's numbers."""

import base64
import csv
import importlib.util
import io
import json
import re
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from urllib.error import HTTPError

import numpy as np
import pytest
from PIL import Image
from served import kernel_in

from serfiq_widgets import Ruin, Scorer, figures, find_face
from serfiq_widgets.figures import captions
from serfiq_widgets.resources import folder, sample_images
from serfiq_widgets.robustness import scaled_score

COLLINS, HOPPER = (folder("sample_images") / f"{n}.jpg" for n in ("collins", "hopper"))


def text(html):
    """What a person reads of some HTML."""
    return " ".join(re.sub("<[^>]*>", "", html).split())


def read(page, selector):
    return " ".join(page.locator(selector).first.inner_text().split())


def wait_for_numbers(page, result):
    page.wait_for_function(
        "([raw, quality, limit]) => document.querySelector('.serfiq-raw')?.innerText === raw"
        " && document.querySelector('.serfiq-quality').innerText === quality"
        " && document.querySelector('.serfiq-limit').innerText === limit",
        arg=[f"{result.raw:.4f}", str(result.quality), f"{result.limit:.4f}"],
        timeout=20_000,
    )


def traces(page, plot):
    """The x and y of every trace of a plot, as the page drew them."""
    found = page.evaluate(
        "selector => document.querySelector(`${selector} .js-plotly-plot`)"
        "._fullData.map(trace => [[...trace.x], [...trace.y]])",
        plot,
    )
    return [(np.array(x, float), np.array(y, float)) for x, y in found]


def tab(page, name):
    page.get_by_role("tab", name=name).click()


def test_the_number_box_and_step_move_the_passes(open_page, scorer):
    page = open_page()
    box = page.locator(".serfiq-passes input[type=number]")
    box.fill("37")
    box.press("Enter")
    wait_for_numbers(page, scorer.score(COLLINS, passes=37))
    page.locator(".serfiq-step").click()
    wait_for_numbers(page, scorer.score(COLLINS, passes=38))
    box.fill("100000")
    box.press("Enter")
    wait_for_numbers(page, scorer.score(COLLINS, passes=200))
    assert box.input_value() == "200"


def test_play_adds_one_pass_after_the_other(open_page, scorer):
    page = open_page()
    page.locator(".serfiq-passes input[type=range]").focus()
    page.keyboard.press("Home")
    play = page.locator(".serfiq-play")
    play.click()
    counts = []
    for _ in range(8):
        counts.append(len(traces(page, ".serfiq-spread")[0][0]))
        page.wait_for_timeout(150)
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]
    play.click()
    passes = int(page.locator(".serfiq-passes input[type=range]").input_value())
    result = scorer.score(COLLINS, passes=passes)
    wait_for_numbers(page, result)
    everything = scorer.score(COLLINS, passes=200)
    expected = figures.spread_film(figures.principal(everything.embeddings)).at(passes)
    for (x, y), trace in zip(traces(page, ".serfiq-spread"), expected.data, strict=True):
        np.testing.assert_allclose(x, trace.x, atol=1e-4)
        np.testing.assert_allclose(y, trace.y, atol=1e-4)


def test_the_pictures_in_the_browser_are_the_librarys_at_any_pass(open_page, scorer):
    page = open_page()
    everything = scorer.score(COLLINS, passes=200)
    films = (figures.distance_film(everything), figures.running_film(everything))
    for passes in (2, 3, 64):
        box = page.locator(".serfiq-passes input[type=number]")
        box.fill(str(passes))
        box.press("Enter")
        wait_for_numbers(page, everything.at(passes))
        for number, film in enumerate(films, 1):
            drawn = page.evaluate(
                "n => document.querySelectorAll('.serfiq-plot .js-plotly-plot')[n]"
                "._fullData.filter(trace => trace.visible && trace.x.length)"
                ".map(trace => [[...trace.x], [...trace.y]])",
                number,
            )
            drawable = (trace for trace in film.at(passes).data if trace.visible is not False)
            shown = [trace for trace in drawable if len(trace.x)]
            for (x, y), trace in zip(drawn, shown, strict=True):
                np.testing.assert_allclose(x, trace.x, atol=1e-4)
                np.testing.assert_allclose(y, trace.y, atol=1e-3)


def test_a_dragged_slider_ends_where_it_is_let_go(open_page, scorer):
    page = open_page()
    slider = page.locator(".serfiq-passes input[type=range]")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    for turn in range(6):  # to and fro, as a child would
        end = box["x"] + (5 if turn % 2 else box["width"] - 5)
        page.mouse.move(end, middle, steps=25)
    page.mouse.move(box["x"] + box["width"] / 4, middle, steps=10)
    page.mouse.up()
    passes = int(page.locator(".serfiq-passes input[type=range]").input_value())
    wait_for_numbers(page, scorer.score(COLLINS, passes=passes))
    page.wait_for_timeout(500)
    assert read(page, ".serfiq-raw") == f"{scorer.score(COLLINS, passes=passes).raw:.4f}"
    assert len(traces(page, ".serfiq-spread")[0][0]) == passes


def test_a_clicked_dot_tells_about_its_pass(open_page, scorer):
    page = open_page()
    result = scorer.score(COLLINS, passes=100)
    everything = scorer.score(COLLINS, passes=200)
    points = figures.principal(everything.embeddings)[:100]
    lonely = int(np.linalg.norm(points - points.mean(axis=0), axis=1).argmax())
    page.locator(".serfiq-spread").scroll_into_view_if_needed()
    dot = page.locator(".serfiq-spread .trace").first.locator(".point").nth(lonely).bounding_box()
    page.mouse.move(dot["x"] + dot["width"] / 2 - 1, dot["y"] + dot["height"] / 2)
    page.mouse.move(dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2)
    page.wait_for_selector(".serfiq-spread .hoverlayer .hovertext")
    page.mouse.down()
    page.mouse.up()
    page.wait_for_function("document.querySelector('.serfiq-answer').innerText.includes('Pass ')")
    assert read(page, ".serfiq-answer") == text(captions.one_pass(result, lonely))
    ring = traces(page, ".serfiq-spread")[3]
    np.testing.assert_allclose([ring[0][0], ring[1][0]], points[lonely], atol=1e-4)
    page.locator(".serfiq-spread").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "pass => document.querySelector('.serfiq-answer').innerText.startsWith(pass)",
        arg=f"Pass {(lonely + 1) % 100 + 1}",
    )
    page.keyboard.press("Escape")
    page.wait_for_function("document.querySelector('.serfiq-answer').innerText.includes('Click')")


def test_the_formula_changes_with_the_slider(open_page, scorer):
    page = open_page()
    for key, passes in (("End", 200), ("Home", 2)):
        page.locator(".serfiq-passes input[type=range]").focus()
        page.keyboard.press(key)
        result = scorer.score(COLLINS, passes=passes)
        wait_for_numbers(page, result)
        published = scaled_score(result.raw, result.alpha, result.r)
        wanted = [f"{v:.4f}" for v in (result.mean_distance, result.raw, published)]
        page.wait_for_function(
            "wanted => JSON.stringify([...document.querySelectorAll('.serfiq-is')]"
            ".map(e => e.textContent)) === JSON.stringify(wanted)",
            arg=[*wanted, str(result.published_quality)],
        )


def test_of_several_faces_the_one_that_is_clicked_is_meant(open_page, scorer, group):
    page = open_page()
    page.locator(".serfiq-upload input").set_input_files(group)
    wait_for_numbers(page, scorer.score(group))
    page.get_by_role("button", name="Face 2 of 2").click()
    wait_for_numbers(page, scorer.score(find_face(group, which=1)))
    page.get_by_role("button", name="Face 2 of 2", pressed=True).wait_for()


def test_several_photos_at_once(open_page, scorer, group):
    page = open_page()
    page.locator(".serfiq-upload input").set_input_files([HOPPER, group])
    wait_for_numbers(page, scorer.score(group))
    page.get_by_role("button", name="group", pressed=True).wait_for()
    samples = page.locator(".serfiq-sample")
    assert samples.count() == len(sample_images()) + 2
    labels = samples.all_inner_texts()[len(sample_images()) :]
    better = scorer.score(HOPPER).best > scorer.score(group).best
    assert labels == (["hopper", "group"] if better else ["group", "hopper"])
    page.get_by_role("button", name="hopper", exact=True).click()
    wait_for_numbers(page, scorer.score(HOPPER))
    tab(page, "Compare")
    cells = page.locator(".serfiq-table tbody tr td:first-child")
    assert cells.all_inner_texts()[:3] == ["collins.jpg", "hopper.jpg", "group.png, face 1"]


def test_two_pinned_faces_are_compared(open_page, scorer):
    page = open_page()
    page.locator(".serfiq-pin-this").click()
    page.locator(".serfiq-cover select").select_option("mask")
    face = scorer.score(COLLINS).face
    masked = replace(face, pixels=Ruin(cover="mask").apply(face.pixels))
    wait_for_numbers(page, scorer.score(masked))
    page.locator(".serfiq-pin-this").click()
    tab(page, re.compile(r"Compare \(2\)"))
    page.locator(".serfiq-cosine").wait_for()
    one, two = scorer.embed([face, masked])
    assert read(page, ".serfiq-cosine") == f"{one @ two:.3f}"
    assert "A is the better one" in read(page, ".serfiq-compare")
    page.locator(".serfiq-compare .main-svg").first.wait_for()
    a, b = (scorer.score(one, passes=100) for one in (face, masked))
    drawn = traces(page, ".serfiq-compare")
    for (x, _), trace in zip(drawn, figures.clouds_figure(a, b).data, strict=True):
        np.testing.assert_allclose(x, trace.x, atol=1e-4)
    page.locator(".serfiq-choose-a select").select_option(index=1)
    page.locator(".serfiq-choose-b select").select_option(index=0)
    page.get_by_text("B is the better one").wait_for()


def test_the_table_is_sorted_by_its_headings(open_page, scorer):
    page = open_page()
    for index in (1, 5):
        page.locator(".serfiq-sample").nth(index).click()
        wait_for_numbers(page, scorer.score(sample_images()[index]))
    tab(page, "Compare")
    page.locator(".serfiq-table tbody tr").nth(2).wait_for()
    assert not page.locator(".serfiq-compare .serfiq-pictures").is_visible()  # nothing is pinned
    heading = page.locator(".serfiq-table th").nth(1)
    for direction, ordered in (("ascending", sorted), ("descending", lambda v: sorted(v)[::-1])):
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == direction
        arrow = page.evaluate(
            "getComputedStyle(document.querySelector('th[aria-sort] button'), '::after').content"
        )
        assert arrow == {"ascending": '" \u25b2"', "descending": '" \u25bc"'}[direction]
        cells = page.locator(".serfiq-table tbody td:nth-child(2)").all_inner_texts()
        qualities = [int(cell) for cell in cells]
        assert len(qualities) == 3
        assert qualities == ordered(qualities)


def test_predict_then_reveal(open_page):
    page = open_page()
    tab(page, "Predict")
    page.locator(".serfiq-next").click()
    page.locator(".serfiq-two img").first.wait_for()
    verdict = page.locator(".serfiq-predict .serfiq-verdict")
    assert verdict.count() == 0
    page.locator(".serfiq-vote-0").click()
    verdict.wait_for()
    said = read(page, ".serfiq-predict .serfiq-verdict")
    left, right = (int(number) for number in re.findall(r"quality (\d+)", said))
    assert said.startswith("Yes." if left > right else "No.")
    assert f"{int(left > right)} of 1" in said
    page.locator(".serfiq-predict .main-svg").first.wait_for()
    page.locator(".serfiq-next").click()
    verdict.wait_for(state="detached")


def test_settings_score_anew(open_page):
    page = open_page()
    tab(page, "Settings")
    seed = page.locator(".serfiq-set-seed input")
    seed.fill("5")
    seed.press("Enter")
    wait_for_numbers(page, Scorer(engine="onnxruntime", seed=5).score(COLLINS))
    rate = page.locator(".serfiq-set-rate input[type=number]")
    rate.fill("0.2")
    rate.press("Enter")
    wait_for_numbers(page, Scorer(engine="onnxruntime", seed=5, rate=0.2).score(COLLINS))
    status = read(page, ".serfiq-status")
    assert "seed 5" in status
    assert "p 0.2" in status
    assert "cpu" in status
    page.locator(".serfiq-set-projection select").select_option(label="sphere in 3-D")
    tab(page, "Explore")
    page.wait_for_function(
        "document.querySelector('.serfiq-spread .js-plotly-plot')?._fullData[0].type"
        " === 'scatter3d'"
    )


def downloaded(page, click):
    with page.expect_download() as waiting:
        click()
    return waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()


def test_scores_and_page_are_taken_home(open_page, chromium, scorer, tmp_path):
    page = open_page()
    page.locator(".serfiq-sample").nth(5).click()
    wait_for_numbers(page, scorer.score(HOPPER))
    tab(page, "Settings")

    def offer(name):
        return page.locator(".serfiq-download").get_by_role("button", name=name).click

    name, content = downloaded(page, offer("Scores as CSV"))
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    assert name == "serfiq-scores.csv"
    assert [row["name"] for row in rows] == ["collins.jpg", "hopper.jpg"]
    assert float(rows[1]["raw"]) == pytest.approx(scorer.score(HOPPER).raw, abs=1e-6)
    _, content = downloaded(page, offer("Scores as JSON"))
    assert [row["quality"] for row in json.loads(content)["scores"]] == [
        int(row["quality"]) for row in rows
    ]
    name, content = downloaded(page, offer("This result as a page"))
    snapshot = tmp_path / name
    snapshot.write_bytes(content)
    context = chromium.new_context(offline=True)
    other = context.new_page()
    outside = []
    other.on("request", lambda r: outside.append(r.url) if r.url.startswith("http") else None)
    other.goto(snapshot.as_uri())
    other.wait_for_selector(".js-plotly-plot .point")
    other.locator(".js-plotly-plot").first.scroll_into_view_if_needed()
    dot = other.locator(".js-plotly-plot .point").first.bounding_box()
    other.mouse.move(dot["x"] + 3, dot["y"] + 3)
    other.mouse.move(dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2)
    other.wait_for_selector(".hovertext")
    assert other.locator(".serfiq-quality").inner_text() == rows[1]["quality"]
    assert other.locator("img").count() == 0
    assert outside == []
    context.close()


def test_a_picture_is_saved_as_png_and_svg(open_page):
    page = open_page()
    plot = page.locator(".serfiq-spread")
    plot.hover()
    name, content = downloaded(page, plot.get_by_role("button", name="as PNG").click)
    assert name == "serfiq-spread.png"
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (1800, 1200)
        assert len(picture.convert("RGB").getcolors(2**24)) > 50
    name, content = downloaded(page, plot.get_by_role("button", name="as SVG").click)
    assert name == "serfiq-spread.svg"
    assert content.startswith(b"<svg")


def test_a_link_opens_the_page_as_it_was(open_page, dashboard):
    page = open_page(address=f"{dashboard}#sample=hopper&passes=30&seed=4&blur=2&cover=mask")
    scorer = Scorer(engine="onnxruntime", seed=4)
    face = scorer.score(HOPPER).face
    ruined = replace(face, pixels=Ruin(blur=2, cover="mask").apply(face.pixels))
    wait_for_numbers(page, scorer.score(ruined, passes=30))
    tab(page, "Settings")
    link = page.locator(".serfiq-link input").input_value()
    for setting in ("sample=hopper", "passes=30", "seed=4", "blur=2", "cover=mask"):
        assert setting in link


def test_the_tour_has_five_steps_and_can_be_left(open_page):
    page = open_page()
    start = page.get_by_role("button", name="Take the tour")
    start.click()
    note = page.locator(".serfiq-note")
    said = []
    for step in range(1, 6):
        assert f"{step} of 5" in note.inner_text()
        said.append(note.locator("p").inner_text())
        assert page.locator(".serfiq-lit").count() == 1
        box = note.bounding_box()
        assert box["x"] >= 0
        assert box["y"] >= 0
        assert box["x"] + box["width"] <= 1400
        assert box["y"] + box["height"] <= 900
        page.keyboard.press("Enter")  # the focus is on Next
    assert len(set(said)) == 5
    assert not note.is_visible()
    start.click()
    page.keyboard.press("Escape")
    assert not note.is_visible()
    assert page.locator(".serfiq-lit").count() == 0


def camera(page, name):
    return page.locator(".serfiq-camera").get_by_role("button", name=name)


def test_the_camera_live_and_stopped(open_page):
    page = open_page(permissions=["camera"])
    camera(page, "Use the camera").click()
    camera(page, "Snapshot").click()
    page.get_by_role("button", name="snapshot 1").wait_for()
    camera(page, "Live").click()
    seen = set()
    deadline = time.monotonic() + 30
    while len(seen) < 5 and time.monotonic() < deadline:
        said = page.locator(".serfiq-camera small").inner_text()
        if match := re.match(r"(\d+) of 100", said):
            assert 0 <= int(match[1]) <= 100
            seen.add(read(page, ".serfiq-status"))  # its milliseconds differ from frame to frame
        page.wait_for_timeout(50)
    assert len(seen) == 5
    camera(page, "Stop").click()
    page.wait_for_timeout(1000)  # a frame on its way may still be answered
    before = read(page, ".serfiq-status")
    page.wait_for_timeout(1000)
    assert read(page, ".serfiq-status") == before
    assert page.evaluate("document.querySelector('.serfiq-camera video').srcObject") is None


def test_without_leave_the_camera_is_a_kind_sentence(open_page):
    page = open_page()
    camera(page, "Use the camera").click()
    said = re.compile("upload a photo", re.IGNORECASE)
    page.locator(".serfiq-camera").get_by_text(said).wait_for()
    assert not page.locator(".serfiq-camera video").is_visible()


AXE = Path(importlib.util.find_spec("axe_playwright_python").origin).parent / "axe.min.js"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_accessibility_violation(open_page, scheme):
    page = open_page(color_scheme=scheme)
    page.locator(".serfiq-pin-this").click()
    page.locator(".serfiq-sample").nth(3).click()
    page.wait_for_timeout(500)
    page.locator(".serfiq-pin-this").click()
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for name in ("Explore", "Compare", "Predict", "Trust", "Groups", "Settings"):
        tab(page, name)
        if name == "Predict":
            page.locator(".serfiq-next").click()
            page.locator(".serfiq-two img").first.wait_for()
        page.wait_for_timeout(500)
        found = page.evaluate("axe.run()")["violations"]
        bad = [
            (v["id"], [node["html"][:200] for node in v["nodes"]])
            for v in found
            if v["impact"] in ("serious", "critical")
        ]
        assert bad == [], name


def test_a_waiting_kernel_is_not_culled(hasty_dashboard, open_page, scorer):
    time.sleep(20)  # many times what an idle kernel is given there, and three checks
    page = open_page(address=hasty_dashboard)
    page.locator(".serfiq-sample").nth(5).click()
    wait_for_numbers(page, scorer.score(HOPPER))


def test_a_page_that_closes_ends_its_kernel_and_no_other(open_page, dashboard, get):
    page, other = open_page(), open_page()
    ours, theirs = (kernel_in(one) for one in (page, other))
    foreign = urllib.request.Request(  # noqa: S310  # localhost
        f"{dashboard}/voila/api/shutdown/{theirs}",
        method="POST",
        headers={"Origin": "http://evil.example"},
    )
    with pytest.raises(HTTPError, match="403"):
        get(foreign)
    page.close(run_before_unload=True)

    def is_there(kernel):
        try:
            return get(f"{dashboard}/api/kernels/{kernel}").status == 200
        except HTTPError as error:
            return error.code != 404

    ends = time.monotonic() + 20
    while is_there(ours) and time.monotonic() < ends:
        time.sleep(0.2)
    assert not is_there(ours)
    assert is_there(theirs)


def test_a_lesson_opens_in_voila(lesson, open_page):
    number, address = lesson
    page = open_page(address=address)
    title = f"Lesson {number}" if number else "Instructor guide"
    assert page.locator("h1").inner_text().startswith(title)
    solutions = page.locator("details", has=page.get_by_text("Solution", exact=True))
    assert solutions.count() >= 3
    assert not solutions.first.locator("p").first.is_visible()
    solutions.first.locator("summary").click()
    assert solutions.first.locator("p").first.is_visible()
    assert page.locator(".serfiq-slider input[type=range]").count() >= 1
    assert page.get_by_text("There was an error").count() == 0


def test_photos_are_dropped_on_the_page(open_page, scorer):
    page = open_page()
    dropped = page.evaluate_handle(
        """async (files) => {
          const data = new DataTransfer();
          for (const [name, content] of files) {
            const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
            data.items.add(new File([bytes], name, { type: "image/jpeg" }));
          }
          return data;
        }""",
        [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in (COLLINS, HOPPER)],
    )
    page.dispatch_event(".serfiq-upload", "drop", {"dataTransfer": dropped})
    wait_for_numbers(page, scorer.score(HOPPER))
    page.get_by_role("button", name="hopper", pressed=True).wait_for()
    assert page.locator(".serfiq-sample").count() == len(sample_images()) + 2


def test_nothing_jumps_while_numbers_change(open_page, scorer):
    page = open_page()

    def places():
        return page.evaluate(
            "[...document.querySelectorAll('.serfiq-card, .serfiq-explore .serfiq-picture, "
            ".serfiq-lab, .serfiq-passes')].map(e => e.getBoundingClientRect().toJSON())"
        )

    page.locator(".serfiq-passes input[type=range]").focus()
    before = places()
    for key, passes in (("Home", 2), ("End", 200)):
        page.keyboard.press(key)
        wait_for_numbers(page, scorer.score(COLLINS, passes=passes))
        assert places() == before


def test_the_tabs_answer_to_the_keyboard(open_page):
    page = open_page()
    page.get_by_role("tab", name="Explore").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    page.locator(".serfiq-compare").wait_for()
    assert page.get_by_role("tab", name="Compare").get_attribute("aria-selected") == "true"


def test_the_tour_finds_what_another_tab_hides(open_page):
    page = open_page()
    tab(page, "Settings")
    page.get_by_role("button", name="Take the tour").click()
    page.locator(".serfiq-lab").wait_for()
    for _ in range(3):
        page.keyboard.press("Enter")
    assert page.locator(".serfiq-lit").is_visible()
    assert "Ruin the face" in page.locator(".serfiq-note").inner_text()
