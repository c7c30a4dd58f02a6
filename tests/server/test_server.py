"""The server: what it says of faults, whom it knows, and whom it refuses."""

import asyncio
import gc
import logging
import sys
import time
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

pytest.importorskip("voila")

from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.web import Application, RequestHandler, create_signed_value
from tornado.websocket import WebSocketClosedError
from voila.tornado.kernel_websocket_handler import VoilaKernelWebsocketHandler

from serfiq_widgets.server import log_limits, public_app
from serfiq_widgets.server.handlers import Channels, Guarded
from serfiq_widgets.server.sessions import Session
from serfiq_widgets.server.voila_app import Front, leave_quietly

GET = RequestStartLine("GET", "/", "HTTP/1.1")
SECRET = "of this test"  # noqa: S105  # no secret


@pytest.mark.parametrize(
    ("error", "said"), [(WebSocketClosedError(), False), (ValueError("odd"), True)]
)
def test_only_a_closed_page_is_no_error(error, said, caplog, elsewhere):
    async def forgotten():
        raise error

    async def serve():
        asyncio.get_running_loop().set_exception_handler(leave_quietly)
        task = asyncio.ensure_future(forgotten())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task
        gc.collect()

    elsewhere(lambda: asyncio.run(serve()))
    assert ("never retrieved" in caplog.text) == said


# Cookies, logs and descriptors of a public demo


def knows(value):
    """Whom a public demo takes a visitor for who brings this cookie."""
    connection = SimpleNamespace(set_close_callback=lambda _: None, context=None)
    headers = HTTPHeaders({"Host": "localhost", "Cookie": f"serfiq-1={value.decode()}"})
    request = HTTPServerRequest(headers=headers, connection=connection, start_line=GET)
    handler = Guarded(Application(cookie_secret=SECRET), request)
    handler.public = SimpleNamespace(port=1)
    return handler.visitor


@pytest.mark.parametrize("days", [0, 2, 40, 400, -400])
def test_a_kiosk_is_known_for_as_long_as_the_server_runs(days):
    """Also when its clock is set meanwhile."""
    then = time.time() - days * 86400
    value = create_signed_value(SECRET, "serfiq-1", "kiosk", clock=lambda: then)
    assert knows(value) == "kiosk"
    assert knows(value[:-3] + b"abc") is None


def test_a_fault_that_comes_again_is_said_once_a_minute_with_its_count(monkeypatch, capsys):
    now = [1000.0]
    monkeypatch.setattr(log_limits, "monotonic", lambda: now[0])
    log = logging.getLogger("a test of seldom")
    log.propagate = False
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(log_limits.Seldom())
    log.addHandler(handler)
    for number in range(1000):
        log.error("No descriptor for %d", number)
        log.error("Another fault")
    now[0] += 61
    log.error("No descriptor for %d", 7)
    assert capsys.readouterr().err.splitlines() == [
        "No descriptor for 0",
        "Another fault",
        "No descriptor for 7 (and 999 times more)",
    ]


def test_kinds_of_faults_without_end_cost_no_memory():
    seldom = log_limits.Seldom()
    for number in range(1000):
        record = logging.LogRecord("x", logging.ERROR, "", 1, f"fault {number}", (), None)
        assert seldom.filter(record)
    assert len(seldom._said) <= log_limits.MAX_KINDS


@pytest.mark.parametrize(
    ("most", "left", "visitors"),
    [(128, 50, 1), (1024, 50, 23), (3000, 800, 50), (10**6, 5000, 50), (-1, 5000, 50)],
)
def test_connections_and_visitors_are_as_many_as_files_allow(
    monkeypatch, caplog, most, left, visitors
):
    resource = pytest.importorskip("resource")
    granted = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, most))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: granted.append(limits))
    assert public_app.capacity(50) == (left, visitors)
    wanted = 5000 + 200 + 40 * 50
    assert granted == [(wanted if most == -1 else min(most, wanted), most)]
    assert ("ulimit -n" in caplog.text) == (left < 5000)
    assert (f"{visitors} visitors" in caplog.text) == (left < 5000)


# Websockets


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(TimeoutError(), nullcontext()), (ValueError("odd"), pytest.raises(ValueError, match="odd"))],
)
def test_a_websocket_that_does_not_open_leaves_its_place(error, outcome, monkeypatch, elsewhere):
    """A kernel that is busy does not answer in time; that is no fault, and no traceback."""

    async def fails(*_):
        assert session.sockets == {channels}
        raise error

    monkeypatch.setattr(VoilaKernelWebsocketHandler, "open", fails)
    connection = SimpleNamespace(set_close_callback=lambda _: None, context=None)
    headers = HTTPHeaders({"Host": "localhost"})
    request = HTTPServerRequest(headers=headers, connection=connection, start_line=GET)
    channels = Channels(Application(), request)
    channels.set_nodelay = lambda _: None
    channels.session = session = Session("k", "visitor")
    with outcome:
        elsewhere(lambda: asyncio.run(channels.open("k")))
    assert not session.sockets


# Who may ask a plain demo


@pytest.mark.parametrize(
    ("path", "host", "origin", "base", "status"),
    [
        ("/", "localhost:8866", None, "/", 200),
        ("/", "127.0.0.1:8866", "http://127.0.0.1:8866", "/", 200),
        ("/", "[::1]:8866", None, "/", 200),
        ("/", "evil.example", None, "/", 421),
        ("/", "evil.example:8866", "http://evil.example:8866", "/", 421),
        ("/", "localhost:8866", "https://evil.example", "/", 403),
        ("/", "localhost:8866", "null", "/", 403),
        ("/", "localhost.evil.example", None, "/", 421),
        ("/me/proxy/", "hub.example", "https://hub.example", "/me/proxy/", 200),
        ("/", "hub.example", "https://hub.example", "/me/proxy/", 200),  # it takes the base away
        ("/", "hub.example", "https://evil.example", "/me/proxy/", 403),
    ],
)
def test_pages_of_others_are_refused(path, host, origin, base, status):
    """By the name that they call us (DNS rebinding), and by where they come from."""

    class Answers(RequestHandler):
        def get(self):
            """Answer."""

    front = Front(Application([("/", Answers)]), base, ())
    headers = HTTPHeaders({"Host": host, **({"Origin": origin} if origin else {})})
    request = HTTPServerRequest(headers=headers, start_line=GET._replace(path=path))
    delegate = front.find_handler(request)
    assert delegate.handler_kwargs.get("status_code", 200) == status
    if status == 200:
        assert delegate.handler_class is Answers
