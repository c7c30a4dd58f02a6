"""A real Voila server and a real Chromium whose requests to the outside are counted."""

import os
import time
import urllib.request
from urllib.parse import urlsplit

import pytest

sync_api = pytest.importorskip("playwright.sync_api")
pytest.importorskip("voila")

import fake_camera  # noqa: E402  # scripts in tools/, which the test settings add
from find_chromium import find  # noqa: E402
from reach import agree_to_own_photos  # noqa: E402
from served import LOCAL, free_port, served  # noqa: E402

FLAGS = [
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
OUTAGES = ("Failed to load resource", "WebSocket connection", "Connection lost")


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def stopped_after(tmp_path):
    """Serves the dashboard for so many seconds; its log must hold no traceback then."""

    def run(seconds):
        command = ("-m", "serfiq_widgets", "demo", "--no-browser", "--port", "{port}")
        with served(tmp_path / "log.txt", *command):
            time.sleep(seconds)

    return run


@pytest.fixture(scope="session")
def dashboard(tmp_path_factory):
    """The address of a running `serfiq demo`."""
    log = tmp_path_factory.mktemp("demo") / "log.txt"
    command = ("-m", "serfiq_widgets", "demo", "--no-browser", "--port", "{port}")
    with served(log, *command) as address:
        yield address


@pytest.fixture(params=range(7))
def lesson(request, tmp_path):
    """Number and address of a served lesson."""
    command = ("-m", "serfiq_widgets", "demo", "--no-browser", "--port", "{port}")
    number = ("--lesson", str(request.param))
    with served(tmp_path / "log.txt", *command, *number) as address:
        yield request.param, address


@pytest.fixture
def bias_lesson(tmp_path):
    """The address of lesson 5, served."""
    command = ("-m", "serfiq_widgets", "demo", "--no-browser", "--port", "{port}")
    with served(tmp_path / "log.txt", *command, "--lesson", "5") as address:
        yield address


@pytest.fixture
def hasty_dashboard(tmp_path):
    """The same, but idle kernels are culled after a second, at the next check in six."""
    code = (
        "import serfiq_widgets.server.dashboard as demo; demo.IDLE_S, demo.CHECK_S = 1, 6; "
        "demo.serve({port}, browser=False)"
    )
    with served(tmp_path / "log.txt", "-c", code) as address:
        yield address


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    path = find()
    assert path, "There is no Chromium: run `make test`, which finds or installs one."
    camera = fake_camera.flags(tmp_path_factory.mktemp("camera"))
    flags = [*FLAGS, *camera, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium, dashboard):
    """Opens the dashboard in a fresh context; afterwards: no outside request, no error of ours."""
    contexts, outside, errors = [], [], []

    def note(message, outages):
        if message.type == "error" and not (outages and any(o in message.text for o in OUTAGES)):
            errors.append(message.text)

    def route(request):
        url = request.request.url
        if urlsplit(url).scheme in ("data", "blob") or urlsplit(url).hostname in LOCAL:
            request.continue_()
        else:
            outside.append(url)
            request.abort()

    def start(width=1400, height=900, address=dashboard, *, agree=True, outages=False, **settings):
        """With ``outages``, what a server that starts or stops answers is no error."""
        context = chromium.new_context(viewport={"width": width, "height": height}, **settings)
        contexts.append(context)
        page = context.new_page()
        page.route("**/*", route)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: note(message, outages))
        page.goto(address, timeout=180_000)  # a lesson computes before it is shown
        page.wait_for_selector(".serfiq-plot .main-svg", timeout=60_000)
        if agree and page.locator(".serfiq-upload").count():
            agree_to_own_photos(page)
        return page

    yield start
    for context in contexts:
        context.close()
    assert outside == []
    assert errors == []


@pytest.fixture(scope="session")
def get():
    return lambda url: urllib.request.urlopen(url, timeout=20)  # noqa: S310  # localhost
