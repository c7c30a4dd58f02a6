"""A visitor's photo on the real page: on no disk, in no log, in no other visitor's kernel."""

import ctypes
import os
import re
import struct
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from marked_photo import marked
from process_memory import found
from reach import agree_to_own_photos
from served import served

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="Linux tells who writes, and shows memory"
)

NAME = "visitor 4711.png"
WRITES = 0x2 | 0x8 | 0x80 | 0x100  # modified, closed after writing, moved here, created
# Jupyter's own: kernels' sockets and connection files, and the history of the code that ran;
# and Python's, which tries once whether it could write here
ALLOWED = re.compile(r"(runtime|\.ipython|tmp/voila_\w+)(/|$)|tmp/\w{8}$")


class Watch:
    """Sees every write below a folder, also of files that are gone at once."""

    def __init__(self, root):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._queue = self._libc.inotify_init1(os.O_NONBLOCK)
        self._folders = {}
        for folder, _, _ in os.walk(root):
            number = self._libc.inotify_add_watch(self._queue, folder.encode(), WRITES)
            assert number > 0, os.strerror(ctypes.get_errno())
            self._folders[number] = Path(folder).relative_to(root)

    def written(self):
        """Paths that were written since the last time."""
        paths = set()
        try:
            content = os.read(self._queue, 2**20)
        except BlockingIOError:
            content = b""
        while content:
            number, _, _, size = struct.unpack_from("iIII", content)
            name = content[16 : 16 + size].rstrip(b"\0").decode()
            paths.add((self._folders[number] / name).as_posix())
            content = content[16 + size :]
        return paths


@pytest.fixture
def private(tmp_path):
    """A server whose every folder is below one that is empty: its address, that folder, its log."""
    log = tmp_path / "log.txt"
    places = {
        "HOME": ".",
        "TMPDIR": "tmp",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": ".ipython",
        "XDG_CACHE_HOME": "cache",
        "XDG_CONFIG_HOME": "config",
        "XDG_DATA_HOME": "data",
        "XDG_STATE_HOME": "state",
        "XDG_RUNTIME_DIR": "run",
        "JUPYTER_DATA_DIR": "jupyter",
        "JUPYTER_CONFIG_DIR": "jupyter-config",
    }
    environment = dict(os.environ)
    command = ("-m", "serfiq_widgets", "demo", "--no-browser", "--port", "{port}")
    with TemporaryDirectory(prefix="serfiq") as folder:  # a short path: sockets lie in it
        root = Path(folder)
        for name, place in places.items():
            (root / place).mkdir(exist_ok=True)
            environment[name] = str(root / place)
        with served(log, *command, env=environment, cwd=root) as address:
            yield address, root, log


def kernels(root):
    """Ids of the kernels whose connection files lie below a folder."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if b"ipykernel" in line and str(root).encode() in line:
            yield int(process.name)


def stored(page):
    """All that the browser keeps for the page."""
    return page.evaluate(
        """async () => JSON.stringify([
            {...localStorage}, {...sessionStorage}, document.cookie, location.href,
            await indexedDB.databases(), await caches.keys(),
        ])"""
    )


def saved(page, button):
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return Path(download.value.path()).read_bytes()


def test_the_notice_comes_with_the_first_photo_and_can_be_declined(open_page):
    page = open_page(agree=False)
    consent = page.locator(".serfiq-consent")
    for name in ("Upload photos", "Use the camera"):
        assert consent.count() == 0
        page.get_by_role("button", name=name).click()
        assert "in memory only" in consent.inner_text()
        consent.get_by_role("button", name="Not now").click()
        consent.wait_for(state="detached")
    assert not page.locator(".serfiq-camera video").is_visible()


def test_a_photo_stays_with_its_visitor_and_goes_when_erased(private, open_page):
    address, root, log = private
    content, marks = marked()
    other = open_page(address=address)
    page = open_page(address=address, agree=False)
    agree_to_own_photos(page)
    watch = Watch(root)
    watch.written()
    file = {"name": NAME, "mimeType": "image/png", "buffer": content}
    page.locator(".serfiq-upload input").set_input_files(file)
    page.get_by_role("button", name="visitor 4711", pressed=True).wait_for()
    page.get_by_role("button", name="Pin to compare").click()

    # in the memory of one kernel, and of no other visitor's
    holders = {pid: found(pid, marks) for pid in kernels(root)}
    assert len(holders) >= 2
    (own,) = (pid for pid, marks_there in holders.items() if marks_there)
    assert {"file", "metadata"} & holders[own]

    # in no export, but for its name
    page.get_by_role("tab", name="Settings").click()
    for button in ("Scores as CSV", "Scores as JSON", "This result as a page"):
        export = saved(page, button)
        assert NAME.encode() in export
        assert b"the aligned face" not in export  # as its picture is called
        assert not any(mark in export for mark in marks.values())
    assert "4711" not in stored(page)

    # erased, it is gone from the page and from its kernel too
    page.get_by_role("button", name="Erase now").click()
    page.get_by_text("Erased").wait_for()
    assert page.get_by_role("button", name="visitor 4711").count() == 0
    assert "4711" not in page.content()
    page.get_by_role("tab", name="Explore").click()
    page.locator(".serfiq-upload button").click()  # asks again
    assert page.locator(".serfiq-consent").is_visible()
    assert found(own, marks) == set()
    assert "4711" not in other.content()

    # on no disk and in no log, at any time
    written = watch.written()
    assert not {path for path in written if not ALLOWED.match(path)}
    files = [path for path in (*root.rglob("*"), log) if path.is_file()]
    assert files
    for path in files:
        text = path.read_bytes()
        assert b"4711" not in text, path
        assert not any(mark in text for mark in marks.values()), path
