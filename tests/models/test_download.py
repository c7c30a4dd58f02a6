"""Downloads from a real server that misbehaves: what has a model's name is always the model."""

import hashlib
import io
import json
import os
import signal
import stat
import struct
import subprocess
import sys
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serfiq_widgets.errors import DownloadFailed
from serfiq_widgets.models.download import HOSTS, Rules, download
from serfiq_widgets.models.files import ModelFile

CONTENT = np.random.default_rng(5).bytes(300_000)
OTHER = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
HALF = len(CONTENT) // 2
QUICK = Rules(tries=4, pause=0.01, stall=10, local=True)


class Server:
    """Answers each request with the next of its behaviours, the last one for ever."""

    def __init__(self, url):
        self.url = url
        self.behaviours = [whole()]
        self.requests = []

    def __call__(self, handler):
        behaviour = self.behaviours[min(len(self.requests), len(self.behaviours) - 1)]
        self.requests.append(handler)
        behaviour(handler)

    @property
    def ranges(self):
        return [handler.headers.get("Range") for handler in self.requests]


@pytest.fixture(scope="module")
def http():
    """One server for all tests: starting and stopping it takes longer than a download."""
    current = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            current["server"](self)

        def log_message(self, *_):
            pass

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, request, client_address):
            pass  # clients that hang up are what this is about

    httpd = Quiet(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
    thread.start()
    yield httpd, current
    httpd.shutdown()
    thread.join()
    httpd.server_close()


@pytest.fixture
def server(http, monkeypatch):
    httpd, current = http
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "SERFIQ_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    current["server"] = Server(f"http://127.0.0.1:{httpd.server_port}/net.onnx")
    return current["server"]


def send(handler, body, status=200, length=None, **headers):
    """An answer; `length` 0 states none."""
    handler.send_response(status)
    if length != 0:
        handler.send_header("Content-Length", str(length or len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def whole(body=CONTENT, **more):
    """A server that knows no ranges."""
    return lambda handler: send(handler, body, **more)


def ranged(body=CONTENT, until=None, etag='"1"', heed=True):
    """A server that knows ranges; it hangs up at `until` of them all."""

    def behave(handler):
        wanted = handler.headers.get("Range")
        fresh = not heed or handler.headers.get("If-Range") in (None, etag)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and fresh else 0
        if start >= len(body):
            return send(handler, b"", 416)
        span = {"Content_Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
        rest = len(body) - start
        status, extra = (206, span) if wanted and fresh else (200, {})
        return send(handler, body[start:until], status, rest, ETag=etag, **extra)

    return behave


def status(code, **headers):
    return lambda handler: send(handler, b"no", code, **headers)


def redirect(to):
    return status(302, Location=to)


def model_file(server, **changes):
    digest = hashlib.sha256(CONTENT).hexdigest()
    return ModelFile("model", "net.onnx", digest, len(CONTENT), server.url, **changes)


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def fails(file, folder, hint, rules=QUICK):
    with pytest.raises(DownloadFailed, match=hint) as raised:
        download(file, folder, rules=rules)
    assert not (folder / file.name).exists()
    assert "serfiq models import" in str(raised.value)  # the ways by hand
    assert f"Its place is {folder / file.name}" in str(raised.value)


def succeeds(file, folder, rules=QUICK):
    seen = []
    download(file, folder, lambda *counts: seen.append(counts), rules)
    assert (folder / "net.onnx").read_bytes() == CONTENT
    assert left(folder) == ["net.onnx"]
    return seen


def test_a_file_arrives_whole_and_only_once(server, tmp_path):
    seen = succeeds(model_file(server), tmp_path / "new" / "net")
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    succeeds(model_file(server), tmp_path / "new" / "net")
    assert len(server.requests) == 1


def test_a_slow_server_is_waited_for(server, tmp_path):
    def drip(handler):
        send(handler, b"", length=len(CONTENT))
        for start in range(0, len(CONTENT), 50_000):
            handler.wfile.write(CONTENT[start : start + 50_000])
            handler.wfile.flush()
            threading.Event().wait(0.02)

    server.behaviours = [drip]
    assert len(succeeds(model_file(server), tmp_path)) > 3


def half_until(silence):
    """Sends half, then nothing until the event is set."""

    def stall(handler):
        send(handler, CONTENT[:HALF], length=len(CONTENT), ETag='"1"')
        handler.wfile.flush()
        silence.wait(20)

    return stall


def test_a_server_that_falls_silent_is_left_and_asked_again(server, tmp_path):
    silence = threading.Event()
    server.behaviours = [half_until(silence), ranged()]
    succeeds(model_file(server), tmp_path, Rules(pause=0.01, stall=1, local=True))
    silence.set()
    assert server.ranges == [None, f"bytes={HALF}-"]


def test_a_download_that_breaks_off_goes_on_where_it_stopped(server, tmp_path):
    server.behaviours = [ranged(until=100_000), ranged(until=200_001), ranged()]
    succeeds(model_file(server), tmp_path)
    assert server.ranges == [None, "bytes=100000-", "bytes=200001-"]
    assert server.requests[1].headers["If-Range"] == '"1"'


def test_what_breaks_off_again_and_again_is_given_up_and_kept_for_the_next_time(server, tmp_path):
    server.behaviours = [ranged(until=HALF)]
    fails(model_file(server), tmp_path, "interrupted after 150000 of 300000 bytes.*tried 4 times")
    assert len(server.requests) == 4
    server.behaviours = [ranged()]
    succeeds(model_file(server), tmp_path)
    assert server.ranges[-1] == f"bytes={HALF}-"


def test_a_break_inside_a_chunk_is_a_break(server, tmp_path):
    def chunked(handler):
        handler.protocol_version = "HTTP/1.1"
        send(handler, b"", length=0, Transfer_Encoding="chunked", Connection="close")
        handler.wfile.write(b"%x\r\n" % len(CONTENT) + CONTENT[:HALF])

    server.behaviours = [chunked, ranged()]
    succeeds(model_file(server), tmp_path)


@pytest.mark.parametrize("length", [1, HALF, len(CONTENT) - 1, len(CONTENT) + 1, 10**12])
def test_another_length_than_the_cards_is_refused_at_once(server, tmp_path, length):
    server.behaviours = [whole(length=length)]
    fails(model_file(server), tmp_path, f"offers {length} bytes; the card says {len(CONTENT)}")
    assert len(server.requests) == 1
    assert left(tmp_path) == []


def test_without_a_length_never_more_is_written_than_the_card_says(server, tmp_path):
    def endless(handler):
        send(handler, b"", length=0)
        while True:  # until the client hangs up
            handler.wfile.write(OTHER)

    server.behaviours = [endless]
    sizes = []
    with pytest.raises(DownloadFailed, match="not the expected"):
        download(model_file(server), tmp_path, lambda done, _: sizes.append(done), QUICK)
    assert max(sizes) == len(CONTENT)
    assert left(tmp_path) == []


def test_wrong_bytes_are_thrown_away(server, tmp_path):
    server.behaviours = [whole(OTHER)]
    fails(model_file(server), tmp_path, "not the expected")
    assert left(tmp_path) == []


def test_a_redirect_keeps_the_range(server, tmp_path):
    server.behaviours = [ranged(until=HALF), redirect(server.url + "?there"), ranged()]
    succeeds(model_file(server), tmp_path)
    assert server.ranges == [None, f"bytes={HALF}-", f"bytes={HALF}-"]


FOREIGN = [
    "http://github.com/x",
    "https://example.com/x",
    "https://github.com.example.com/x",
    "https://github.com:444/x",
    "https://me@github.com/x",
    "https://github.com\\@example.com/x",
    "http://127.0.0.1@example.com/x",
    "ftp://github.com/x",
]


@pytest.mark.parametrize("url", FOREIGN)
def test_a_redirect_to_elsewhere_is_not_followed(server, tmp_path, url):
    server.behaviours = [redirect(url)]
    fails(model_file(server), tmp_path, "address is")
    assert len(server.requests) == 1


@pytest.mark.parametrize("url", [*FOREIGN, "file:///etc/passwd", "https://[", "", "net.onnx"])
def test_only_documented_hosts_over_https(url, tmp_path):
    file = ModelFile("model", "net.onnx", "0" * 64, 1, url)
    fails(file, tmp_path, "address is.*github.com", Rules())
    assert left(tmp_path) == []


def test_this_machine_is_foreign_too_unless_a_test_says_otherwise(server, tmp_path):
    fails(model_file(server), tmp_path, "address is", Rules())
    assert server.requests == []
    assert all("." in host and host == host.lower() for host in HOSTS)


def test_a_redirect_in_a_circle_ends(server, tmp_path):
    server.behaviours = [redirect(server.url)]
    fails(model_file(server), tmp_path, "answers 302")


def test_a_redirect_to_a_file_of_this_machine_is_no_address(server, tmp_path):
    server.behaviours = [redirect("file:///etc/passwd")]
    fails(model_file(server), tmp_path, "answers 302")


@pytest.mark.parametrize("code", [204, 400, 403, 404, 410, 416])
def test_a_refusal_is_final(server, tmp_path, code):
    server.behaviours = [status(code)]
    fails(model_file(server), tmp_path, f"answers {code}")
    assert len(server.requests) == 1


@pytest.mark.parametrize("code", [429, 500, 502, 503])
def test_trouble_of_the_server_may_pass(server, tmp_path, code):
    server.behaviours = [status(code), status(code), whole()]
    succeeds(model_file(server), tmp_path)
    server.behaviours, server.requests = [status(code)], []
    fails(model_file(server), tmp_path / "again", f"answers {code}.*tried 4 times")
    assert len(server.requests) == 4


def test_nobody_listens(server, tmp_path):
    file = model_file(server)
    nobody = "http://127.0.0.1:9/net.onnx"  # the port of the service that discards everything
    fails(ModelFile(file.part, file.name, file.sha256, file.bytes, nobody), tmp_path, "reached")


@contextmanager
def broken_off(server, folder, etag='"1"'):
    """What a download leaves that stopped half-way."""
    server.behaviours = [ranged(until=HALF, etag=etag)]
    with pytest.raises(DownloadFailed):
        download(model_file(server), folder, rules=Rules(tries=1, local=True))
    assert (folder / "net.onnx.part").stat().st_size == HALF
    server.requests.clear()
    yield
    assert server.ranges[0] == f"bytes={HALF}-"


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    with broken_off(server, tmp_path):
        server.behaviours = [whole()]
        succeeds(model_file(server), tmp_path)


def test_a_file_that_changed_meanwhile_is_fetched_anew(server, tmp_path):
    with broken_off(server, tmp_path, etag='"old"'):
        server.behaviours = [ranged(etag='"new"')]
        succeeds(model_file(server), tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("etag", ['"old"', 'W/"weak"', ""])
def test_a_part_of_something_else_is_found_out_by_the_hash(server, tmp_path, etag):
    with broken_off(server, tmp_path, etag):
        (tmp_path / "net.onnx.part").write_bytes(OTHER[1 : HALF + 1])
        server.behaviours = [ranged(heed=False)]
        succeeds(model_file(server), tmp_path)
    assert server.ranges == [f"bytes={HALF}-", None]


@pytest.mark.parametrize(
    "span", ["bytes 0-299999/300000", f"bytes {HALF}-299999/400000", "bytes */300000", "rubbish"]
)
def test_a_wrong_continuation_is_not_appended(server, tmp_path, span):
    with broken_off(server, tmp_path):
        server.behaviours = [whole(CONTENT[HALF:], status=206, Content_Range=span), ranged()]
        succeeds(model_file(server), tmp_path)
    assert server.ranges[1] is None


def test_416_on_a_continuation_starts_anew(server, tmp_path):
    with broken_off(server, tmp_path):
        server.behaviours = [status(416), ranged()]
        succeeds(model_file(server), tmp_path)
    assert server.ranges[1] is None


def test_a_part_without_origin_is_not_continued(server, tmp_path):
    (tmp_path / "net.onnx.part").write_bytes(OTHER[:HALF])
    succeeds(model_file(server), tmp_path)
    assert server.ranges == [None]


@pytest.mark.parametrize("note", ["", "[]", '{"url": 3}', "\0"])
def test_a_broken_note_is_none(server, tmp_path, note):
    (tmp_path / "net.onnx.part").write_bytes(OTHER[:HALF])
    (tmp_path / "net.onnx.part.json").write_text(note)
    succeeds(model_file(server), tmp_path)


def test_a_part_that_is_whole_needs_no_connection(server, tmp_path):
    (tmp_path / "net.onnx.part").write_bytes(CONTENT)
    note = {"url": server.url, "etag": "", "total": len(CONTENT)}
    (tmp_path / "net.onnx.part.json").write_text(json.dumps(note))
    succeeds(model_file(server), tmp_path)
    assert server.requests == []


KILLED = """
import sys
from pathlib import Path
from serfiq_widgets.models.download import Rules, download
from serfiq_widgets.models.files import ModelFile
download(
    ModelFile("model", "net.onnx", sys.argv[1], int(sys.argv[2]), sys.argv[3]),
    Path(sys.argv[4]), lambda done, _: print(done, flush=True), Rules(local=True),
)
"""


def test_a_killed_download_leaves_no_model_and_is_continued(server, tmp_path):
    silence = threading.Event()
    server.behaviours = [half_until(silence), ranged()]
    file = model_file(server)
    command = [sys.executable, "-c", KILLED, file.sha256, str(file.bytes), file.url, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while int(process.stdout.readline()) < HALF:
            pass
        process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    silence.set()
    assert not (tmp_path / "net.onnx").exists()
    part = (tmp_path / "net.onnx.part").stat().st_size
    assert 0 < part <= HALF
    succeeds(file, tmp_path)
    assert server.ranges == [None, f"bytes={part}-"]


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no locks there")
def test_two_downloads_of_one_model_do_not_mix(server, tmp_path):
    asked, go = threading.Event(), threading.Event()

    def hold(handler):
        asked.set()
        go.wait(5)
        send(handler, CONTENT)

    server.behaviours = [hold]
    first = threading.Thread(target=download, args=(model_file(server), tmp_path, None, QUICK))
    first.start()
    asked.wait(5)
    fails(model_file(server), tmp_path, "is running")
    go.set()
    first.join()
    succeeds(model_file(server), tmp_path)
    assert len(server.requests) == 1


def test_offline_opens_no_connection(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SERFIQ_OFFLINE", "1")
    fails(model_file(server), tmp_path, "SERFIQ_OFFLINE is set")
    assert server.requests == []
    monkeypatch.setenv("SERFIQ_OFFLINE", "0")
    succeeds(model_file(server), tmp_path)


def test_a_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    proxy, wanted = server.url, "http://localhost:9/net.onnx"
    monkeypatch.setenv("http_proxy", proxy.removesuffix("/net.onnx"))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.url = wanted
    succeeds(model_file(server), tmp_path)
    assert [handler.path for handler in server.requests] == [wanted]


def test_a_disk_that_refuses_is_said(server, tmp_path):
    (tmp_path / "taken").write_text("a file where the folder should be")
    with pytest.raises(DownloadFailed, match="taken"):
        download(model_file(server), tmp_path / "taken", rules=QUICK)


BEHAVIOURS = {
    "whole": whole(),
    "ranged": ranged(),
    "half": ranged(until=HALF),
    "another file": ranged(OTHER, etag='"2"'),
    "another half": ranged(OTHER[1:] + b"x", until=HALF, heed=False),
    "too short": whole(length=7),
    "without length": whole(length=0),
    "half without length": whole(CONTENT[:HALF], length=0),
    "other without length": whole(OTHER, length=0),
    "wrong continuation": whole(CONTENT, status=206, Content_Range="bytes 0-1/2"),
    "404": status(404),
    "416": status(416),
    "500": status(500),
    "elsewhere": redirect("https://example.com"),
}


@pytest.mark.slow
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(sorted(BEHAVIOURS)), min_size=1, max_size=8), st.data())
def test_whatever_a_server_does_the_name_means_the_model(server, tmp_path, names, data):
    """Several downloads in a row from a server with a will of its own."""
    folder = tmp_path / f"{data.draw(st.integers(0, 10**9))}"
    server.behaviours, server.requests = [BEHAVIOURS[name] for name in names], []
    for _ in range(3):
        try:
            download(model_file(server), folder, rules=QUICK)
        except DownloadFailed:
            assert not (folder / "net.onnx").exists()
        else:
            assert (folder / "net.onnx").read_bytes() == CONTENT
            assert left(folder) == ["net.onnx"]


def archive(*members, method=zipfile.ZIP_DEFLATED):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as opened:
        for name, data in members:
            opened.writestr(name, data)
    return content.getvalue()


def zipped(server, cap=400_000):
    return model_file(server, member="net.onnx", archive_bytes=cap)


@pytest.mark.parametrize("name", ["net.onnx", "pack/net.onnx"])
def test_one_member_is_taken_from_an_archive(server, tmp_path, name):
    body = archive(("det.onnx", b"a detector"), (name, CONTENT))
    server.behaviours = [ranged(body, until=HALF), ranged(body)]
    seen = succeeds(zipped(server), tmp_path)
    assert seen[-1] == (len(body), len(body))
    assert server.ranges == [None, f"bytes={HALF}-"]


def symlink():
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return archive((info, "/etc"), ("net.onnx", CONTENT))


def forged(body):
    """The archive with another size stated for its only member, in both of its headers."""
    body = bytearray(body)
    directory = body.rindex(b"PK\1\2")
    for place in (22, directory + 24):
        body[place : place + 4] = struct.pack("<I", len(CONTENT))
    return bytes(body)


def encrypted():
    body = bytearray(archive(("net.onnx", CONTENT)))
    for place in (6, body.rindex(b"PK\1\2") + 8):
        body[place] |= 1
    return bytes(body)


ZIPS = {
    "up": (archive(("../net.onnx", CONTENT)), "lead out"),
    "up inside": (archive(("a/../../net.onnx", CONTENT)), "lead out"),
    "absolute": (archive(("/tmp/net.onnx", CONTENT)), "lead out"),  # noqa: S108  # refused
    "drive": (archive(("C:net.onnx", CONTENT)), "lead out"),
    "backslash": (archive(("..\\net.onnx", CONTENT)), "lead out"),
    "evil beside it": (archive(("../../x", b""), ("net.onnx", CONTENT)), "lead out"),
    "link": (symlink(), "lead out"),
    "bomb": (archive(("net.onnx", bytes(200_000_000))), "200000000 bytes"),
    "hidden bomb": (forged(archive(("net.onnx", bytes(50_000_000)))), "not a sound zip"),
    "short": (archive(("net.onnx", CONTENT[:-1])), "299999 bytes"),
    "wrong bytes": (archive(("net.onnx", OTHER)), "not the expected"),
    "no member": (archive(("det.onnx", CONTENT)), "0 members"),
    "two": (archive(("a/net.onnx", CONTENT), ("b/net.onnx", CONTENT)), "2 members"),
    "encrypted": (encrypted(), "not a sound zip"),
    "no archive": (CONTENT, "not a sound zip"),
    "cut": (archive(("net.onnx", CONTENT))[:-100], "not a sound zip"),
    "empty": (b"PK\5\6" + bytes(18), "0 members"),
}


@pytest.mark.parametrize("kind", ZIPS)
def test_a_bad_archive_gives_nothing(server, tmp_path, kind):
    body, hint = ZIPS[kind]
    server.behaviours = [whole(body)]
    fails(zipped(server, cap=10**6), tmp_path / "in" / "side", hint)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == []


def test_an_archive_above_its_cap_is_refused_at_once(server, tmp_path):
    server.behaviours = [whole(archive(("net.onnx", CONTENT)))]
    fails(zipped(server, cap=1000), tmp_path, "card says 1000")
    assert left(tmp_path) == []


def test_an_archive_without_a_length_stops_at_its_cap(server, tmp_path):
    sizes = []
    server.behaviours = [whole(archive(("net.onnx", CONTENT)), length=0)]
    with pytest.raises(DownloadFailed, match="not a sound zip"):
        download(zipped(server, cap=1000), tmp_path, lambda done, _: sizes.append(done), QUICK)
    assert max(sizes) == 1000
    succeeds(zipped(server), tmp_path)
