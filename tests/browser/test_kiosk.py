"""A public demo in a real Chromium: the kiosk's tour and warning, and the end by idleness."""

from served import kernel_in, kiosk, served


def test_a_kiosk_warns_goes_on_when_touched_and_begins_anew(chromium, tmp_path):
    with kiosk(tmp_path, idle_s=7) as address:
        context = chromium.new_context(viewport={"width": 1400, "height": 900})
        page = context.new_page()
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: problems.append(m.text) if "Policy" in m.text else None)
        page.goto(address)
        page.wait_for_selector(".serfiq-plot .main-svg", timeout=60_000)
        page.locator(".serfiq-note:popover-open").wait_for()  # the tour
        edges = {
            name: page.locator(name).first.bounding_box()
            for name in (".serfiq-head", ".serfiq-note", ".serfiq-pictures")
        }
        right = {name: edge["x"] + edge["width"] for name, edge in edges.items()}
        assert max(right.values()) <= 1400
        head, note = edges[".serfiq-head"], edges[".serfiq-note"]
        assert note["y"] >= head["y"] + head["height"], "it hides what it speaks of"
        first = kernel_in(page)
        warning = page.locator(".serfiq-session[open]")
        page.wait_for_timeout(9_000)  # longer than idle; but nobody has been here yet
        assert not warning.is_visible()
        assert kernel_in(page) == first
        page.keyboard.press("Shift")
        warning.wait_for(timeout=20_000)
        assert "Touch the screen to continue" in warning.inner_text()
        page.mouse.move(300, 300)
        warning.wait_for(state="detached", timeout=5000)
        assert kernel_in(page) == first
        with page.expect_navigation(timeout=30_000):  # nobody touches it
            pass
        page.wait_for_selector(".serfiq-plot .main-svg", timeout=60_000)
        assert kernel_in(page) != first
        context.close()
    assert problems == []


def test_a_session_that_nobody_touches_ends_camera_and_all(chromium, tmp_path):
    settings = tmp_path / "booth.toml"
    settings.write_text('token = ""\nidle_s = 8\n')
    command = ("-m", "serfiq_widgets", "demo", "--public", "--no-browser", "--port", "{port}")
    with served(tmp_path / "log.txt", *command, "--settings", str(settings)) as address:
        context = chromium.new_context(permissions=["camera"])
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector(".serfiq-plot .main-svg", timeout=60_000)
        page.get_by_role("button", name="Use the camera").click()
        page.get_by_role("button", name="I agree").click()
        page.get_by_role("button", name="Live").click()
        for step in range(6):  # a hand on the mouse keeps the place
            page.mouse.move(300 + step, 300)
            page.wait_for_timeout(2000)
        assert page.locator(".serfiq-camera video").is_visible()
        page.wait_for_url(f"{address}/over/over", timeout=30_000)  # the live picture does not
        assert "its photos are gone" in page.locator("main").inner_text()
        assert page.locator("img, video, canvas, svg").count() == 0
        page.get_by_role("button", name="Start again").click()
        page.wait_for_selector(".serfiq-plot .main-svg", timeout=60_000)
        context.close()
