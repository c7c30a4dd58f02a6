"""`serfiq demo --public` under attack: each attempt is refused, and the others' sessions go on.

The attackers speak HTTP and the websocket by hand. A witness holds a session all the time, and
scores samples after each attack.
"""

import asyncio
import json
import math
import re
import resource
import socket
import struct
import threading
import time
from contextlib import AsyncExitStack, contextmanager, suppress

import psutil
import pytest
from fuzz_socket import Peer, fuzz  # a script beside the package
from served import served
from tornado.httpclient import HTTPClientError
from visitor import (  # a script beside the package
    NO_PLACE,
    PROTOCOL,
    Gone,
    Visitor,
    kernel_process,
    pack,
)

TOKEN = "a token for these tests"  # noqa: S105  # of a server that lives for seconds
ENTER = "?token=a%20token%20for%20these%20tests"
VISITORS, GONE_S, SLOW_S = 4, 2, 15
SETTINGS = f'token = "{TOKEN}"\nmost_visitors = {VISITORS}\ngone_s = {GONE_S}\n'
# Attacks need not be slow here; `test_a_flood_waits` has its own bound.
SETTINGS += "messages_per_s = 400\nmegabytes_per_s = 40\n"
POLICY_VIOLATION = 1008
SWITCHED, BAD_REQUEST = 101, 400


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return tmp_path_factory.mktemp("public") / "log.txt"


@pytest.fixture(scope="module")
def address(log):
    settings = log.parent / "booth.toml"
    settings.write_text(SETTINGS)
    command = ("-m", "serfiq_widgets", "demo", "--public", "--no-browser", "--port", "{port}")
    with served(log, *command, "--settings", str(settings)) as where:
        yield where


@pytest.fixture(scope="module")
def process(address):
    """The server's process."""
    port = int(address.rpartition(":")[2])
    for one in psutil.Process().children():
        if any(where.laddr.port == port for where in one.net_connections("tcp")):
            return one
    raise LookupError(address)


@pytest.fixture(scope="module")
def run():
    """Runs a coroutine, always on the same loop: in a thread, for Playwright has one in this."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(120)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture(scope="module")
def slow(address):
    """Connections that send a request a byte at a time, from before the first attack."""
    connections = [dribble(address) for _ in range(50)]
    yield time.monotonic(), connections
    for connection in connections:
        connection.close()


def dribble(address):
    connection = socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])))
    connection.send(b"GET / HTTP/1.1\r\nHost: localh")
    return connection


async def come(address, *, show=True):
    visitor = Visitor(address)
    await visitor.enter(ENTER)
    await visitor.connect()
    if show:
        await visitor.show()
    return visitor


@pytest.fixture(scope="module")
def witness(address, slow, run):  # noqa: ARG001  # they are there from the start
    visitor = run(come(address))
    yield visitor
    run(visitor.leave())


@pytest.fixture(autouse=True)
def others_go_on(witness, run):
    """After each attack, another visitor's session scores a sample as before it."""
    yield
    for sample in (3, 5):
        assert run(witness.choose(sample)) < 20
        assert 0 < float(witness.scores[-1]) < 1


@pytest.fixture
def attacker(address, run):
    visitor = run(come(address))
    yield visitor
    run(visitor.leave())


CODE = {"code": "open({!r}, 'w').write('x')", "silent": False, "store_history": True}
ORDERS = [
    ("execute_request", "shell"),
    ("execute_request", "control"),
    ("complete_request", "shell"),
    ("inspect_request", "shell"),
    ("history_request", "shell"),
    ("is_complete_request", "shell"),
    ("connect_request", "shell"),
    ("input_reply", "stdin"),
    ("shutdown_request", "control"),
    ("shutdown_request", "shell"),
    ("interrupt_request", "control"),
    ("debug_request", "control"),
    ("create_subshell_request", "control"),
]


def test_a_visitor_runs_no_code(attacker, run, tmp_path):
    trace = tmp_path / "trace"
    content = CODE | {"code": CODE["code"].format(str(trace))}

    async def order(kind, channel):
        await attacker.connect()
        attacker.send(kind, content, channel=channel)
        return await attacker.closed()

    for kind, channel in ORDERS:
        assert run(order(kind, channel)) == POLICY_VIOLATION, kind
    run(attacker.connect())
    run(attacker.show())  # its own session is still there, too
    assert not trace.exists()


@pytest.mark.parametrize("target", ["jupyter.widget", "jupyter.widget.version", "os", "", None])
def test_a_forged_comm_is_refused(attacker, run, target):
    async def attack():
        attacker.send("comm_open", {"comm_id": "abc", "target_name": target, "data": {}})
        return await attacker.closed()

    assert run(attack()) == POLICY_VIOLATION


NONSENSE = {
    "text": '{"channel": "shell", "header": {"msg_type": "execute_request"}}',
    "2**63 parts": struct.pack("<QQ", 2**63, 16) + bytes(100),
    "empty": b"",
    "nested": pack("shell", b"{}", b"{}", b"{}", b"[" * 10**5),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_closes_only_its_own_socket(attacker, run, kind):
    async def attack():
        attacker.send_raw(NONSENSE[kind])
        return await attacker.closed()

    assert run(attack()) == POLICY_VIOLATION


@pytest.mark.parametrize("size", [3 * 2**20, 11 * 2**20, 2**62])
def test_a_giant_message_is_hung_up_on_when_it_is_announced(address, attacker, run, size):
    lines = [
        f"GET /api/kernels/{attacker.kernel}/channels?session_id=x HTTP/1.1",
        f"Host: {address.removeprefix('http://')}",
        f"Origin: {address}",
        f"Cookie: {attacker.cookie}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        f"Sec-WebSocket-Protocol: {PROTOCOL}",
    ]
    announced = b"\x82\xff" + struct.pack(">Q", size) + bytes(4)  # binary, masked, so long
    answer = run(talk(address, "\r\n".join([*lines, "", ""]).encode() + announced))
    assert answer.startswith(b"HTTP/1.1 101")
    assert len(answer) < 2**20


ABSURD = [1e9, -1e9, 1e12, -1, math.nan, math.inf, 10**30, "DROP TABLE", None, [1] * 1000, {"a": 1}]


def test_absurd_values_end_in_range(attacker, run):
    async def attack():
        slider, gallery = attacker.slider, attacker.gallery
        for value in ABSURD:
            await attacker.set(slider, max=value)
            await attacker.set(slider, value=value, min=value, step=value)
            await attacker.set(gallery, chosen=value)
        for value in (1e12, -5, 0):
            await attacker.set(slider, value=value)
            assert 2 <= attacker.widgets[slider]["value"] <= 200
        for name, state in list(attacker.widgets.items()):
            for trait in ("value", "chosen", "place", "selected_index", "index", "opened"):
                if trait in state:
                    await attacker.set(name, **{trait: 1e12})
                    await attacker.set(name, **{trait: "?passes=1e12&model=/etc/passwd&seed=-1"})
        await attacker.choose(2)
        passes = len(attacker.scores) + 1
        assert 2 <= passes <= 200

    run(attack())


def test_uploads_are_bounded_whatever_the_page_says(attacker, run):
    upload = attacker.find(lambda state: "limit" in state and "label" in state)

    async def send(content, *pieces):
        data = {"method": "custom", "content": content}
        await attacker.ask("comm_msg", {"comm_id": upload, "data": data}, buffers=pieces)

    async def attack():
        await attacker.set(upload, limit=10**12)
        for index in range(10):
            name = f"../../etc/{index}.jpg"
            await send({"name": name, "first": True, "last": True, "type": "text/html"}, b"<svg/>")
        whole = bytes(2**20)
        for index in range(24):  # 24 MB, where 20 are allowed
            await send({"name": "big.jpg", "first": index == 0, "last": False}, whole)
        await send({"name": ["x"] * 100, "first": "yes"}, *[b"x"] * 20)
        says = [str(state.get("value")) for state in attacker.widgets.values()]
        assert any("20 MB" in text for text in says), says
        await attacker.choose(4)

    run(attack())


ELSEWHERE = [
    "/api", "/api/kernels", "/api/sessions", "/api/contents", "/api/contents/", "/api/terminals",
    "/api/status", "/api/spec.yaml", "/api/kernelspecs", "/api/config/x", "/api/me", "/terminals/1",
    "/lab", "/tree", "/edit/x", "/view/x", "/files/dashboard.ipynb", "/nbconvert/html/x", "/login",
    "/logout", "/metrics", "/static/favicon.ico", "/voila/files/dashboard.ipynb",
    "/voila/files/%2e%2e/sample_images/collins.jpg", "/voila/files/../sample_images/collins.jpg",
    "/voila/render/other.ipynb", "/voila/tree", "/voila/api/contents", "/voila/api/themes/x",
    "/voila/query/00000000-0000-0000-0000-000000000000", "/voila/static/", "/voila/labextensions/",
    "/voila/execution/00000000-0000-0000-0000-000000000000", "/dashboard.ipynb",
    "/voila/static/../../../../etc/passwd", "/voila/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/voila/static/..%2f..%2f..%2fetc%2fpasswd", "/voila/static//etc/passwd",
    "/voila/labextensions/../../../../../etc/passwd", "/voila/labextensions/anywidget",
    "/voila/templates/serfiq/static/../index.html.j2", "/voila/templates/lab/static/voila.js",
    "/voila/static/%00", "/voila/static/..\\..\\etc\\passwd", "//etc/passwd", "/%2e%2e/etc/passwd",
    "/?template=../../etc", "http://example.org/",
]  # fmt: skip


def test_there_is_nothing_else_to_reach(address, attacker, run):
    own = f"/api/kernels/{attacker.kernel}"

    async def probe():
        for path in ELSEWHERE[:-2]:
            reply = await attacker.get(path)
            assert reply.code in (400, 403, 404), f"{path}: {reply.code}"
            assert len(reply.body) < 100
        for method, path in [
            ("POST", "/api/kernels"),
            ("DELETE", own),
            ("PUT", own),
            ("PATCH", own),
            ("POST", own),
            ("POST", f"{own}/restart"),
            ("POST", f"{own}/interrupt"),
            ("POST", "/"),
            ("DELETE", "/"),
            ("OPTIONS", "/"),
        ]:
            request = attacker.get if method in ("GET", "POST") else None
            code = (await request(path, method)).code if request else await plain(method, path)
            assert code in (403, 404, 405), f"{method} {path}: {code}"

    async def plain(method, path):
        text = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        return int((await talk(address, text.encode())).split()[1])

    run(probe())
    raw = b"GET http://example.org/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert b"404" in run(talk(address, raw)).splitlines()[0]


async def talk(address, text):
    reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
    writer.write(text)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    finally:
        writer.close()
        await writer.wait_closed()


def test_a_health_check_needs_no_token_and_learns_nothing(address, run):
    stranger = Visitor(address)
    reply = run(stranger.get("/healthz"))
    assert (reply.code, reply.body) == (200, b"ok\n")
    assert "Set-Cookie" not in reply.headers
    assert run(stranger.get("/healthz", Host="evil.example")).code == 421
    run(stranger.leave(politely=False))


def test_foreign_hosts_and_origins_are_refused(attacker, run):
    async def attack():
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "[", "a@b"):
            reply = await attacker.get("/", Host=host)
            assert reply.code in (400, 421), host
        evil = "http://evil.example"
        assert (await attacker.get("/", Origin=evil)).code == 403
        assert (await attacker.get("/", **{"Sec-Fetch-Dest": "image"})).code == 403
        path = f"/voila/api/shutdown/{attacker.kernel}"
        assert (await attacker.get(path, "POST", Origin=evil)).code == 403
        assert (await attacker.get(path, "POST")).code == 403
        for origin in (evil, "null", "", "http://localhost:1"):
            with pytest.raises(HTTPClientError, match="403"):
                await attacker.connect(Origin=origin)

    run(attack())


def test_a_kernel_answers_its_own_visitor_only(attacker, witness, run):
    async def attack():
        for cookie in (attacker.cookie, "", attacker.cookie.replace("2|", "1|"), "serfiq=x"):
            with pytest.raises(HTTPClientError, match="404"):
                await attacker.connect(witness.kernel, Cookie=cookie)
        for path in (f"/api/kernels/{witness.kernel}", f"/voila/api/shutdown/{witness.kernel}"):
            method = "POST" if "shutdown" in path else "GET"
            assert (await attacker.get(path, method, Origin=attacker.address)).code == 404
        reply = await attacker.get(f"/alive/{witness.kernel}")
        assert json.loads(reply.body) == {"over": "over"}
        other = "00000000-0000-0000-0000-000000000000"
        with pytest.raises(HTTPClientError, match="404"):
            await attacker.connect(other)

    run(attack())


def test_guessing_the_token_is_slow_and_leads_nowhere(address, run):
    async def attack():
        start = time.monotonic()
        guesses = [Visitor(address) for _ in range(60)]
        replies = await asyncio.gather(
            *(guess.get(f"/?token=guess-{n}") for n, guess in enumerate(guesses))
        )
        assert {reply.code for reply in replies} == {403, 429}
        assert not any("Set-Cookie" in reply.headers for reply in replies)
        assert time.monotonic() - start >= 1
        none = await guesses[0].get("/")
        assert none.code == 403
        assert b'name="token"' in none.body
        for guess in guesses:
            await guess.leave(politely=False)

    run(attack())


def test_the_token_does_not_stay_in_the_address(attacker, run):
    reply = run(attacker.get(f"/{ENTER}&sample=collins"))
    assert (reply.code, reply.headers["Location"]) == (302, "/?sample=collins")


def test_the_page_comes_with_a_policy_and_without_outside_hosts(attacker, run):
    async def page():
        while (reply := await attacker.get("/")).code == NO_PLACE:  # noqa: ASYNC110  # a server
            await asyncio.sleep(0.5)
        return reply

    reply = run(page())
    policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert not re.search(r"https?://(?!localhost|127)", policy)
    nonce = re.search(r"'nonce-([^']+)'", policy)[1]
    scripts = re.findall(rb"<script[^>]*>", reply.body)
    assert scripts
    assert all(nonce.encode() in script for script in scripts)
    for name, value in {"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff"}.items():
        assert reply.headers[name] == value


def test_a_full_house_says_so_and_the_next_place_is_given(address, run):
    async def fill():
        guests = [await come(address, show=False) for _ in range(VISITORS - 1)]
        late, later, last = crowd = [Visitor(address) for _ in range(3)]
        for visitor in crowd:
            reply = await visitor.get(f"/{ENTER}")
            assert reply.code == 302
            reply = await visitor.get("/")
            assert reply.code == 503
            assert b"The demo is full" in reply.body
            assert b'http-equiv="refresh"' in reply.body
            soon = visitor is not last  # those whose turn is next ask more often
            least, most = (1, 3) if soon else (10, 20)
            assert least <= int(reply.headers["Retry-After"]) <= most
        await guests.pop().leave()
        await late.enter()
        await guests.pop().leave(politely=False)  # without a word: its time has to run out
        start = time.monotonic()
        await later.enter()
        assert time.monotonic() - start < 20
        for guest in (*guests, late, later):
            await guest.leave()
        await last.enter()
        await last.leave()

    run(fill())


def test_a_crash_is_told_and_one_click_begins_anew(address, run):
    async def crash():
        visitor = await come(address)
        kernel_process(visitor.kernel).kill()
        assert await visitor.closed() == 1001
        reply = await visitor.get(f"/alive/{visitor.kernel}")
        assert json.loads(reply.body) == {"over": "crashed"}
        with pytest.raises(Gone):
            await visitor.set(visitor.slider, value=5)
        await visitor.enter()
        await visitor.connect()
        await visitor.show()
        assert visitor.scores
        await visitor.leave()

    run(crash())


def test_a_flood_waits_and_the_others_do_not(attacker, witness, run):
    async def flood():
        for index in range(400):
            data = {"method": "update", "state": {"value": 2 + index % 190}, "buffer_paths": []}
            attacker.send("comm_msg", {"comm_id": attacker.slider, "data": data})
        return await witness.choose(7)

    assert run(flood()) < 20


@contextmanager
def many_files(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"This machine allows {hard} open files only.")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_connections_leave_the_house_open(address, witness, run):
    with many_files(2000):
        held = [dribble(address) for _ in range(1000)]
        assert run(witness.choose(8)) < 20
        guest = run(come(address))
        run(guest.leave())
        for connection in held:
            connection.close()


def test_the_slow_are_cut_off(slow):
    began, connections = slow
    for connection in connections:
        connection.settimeout(max(1.0, SLOW_S + 10 - (time.monotonic() - began)))
        with suppress(ConnectionResetError):
            assert connection.recv(1000) == b""


def test_the_log_holds_no_visitor(log, witness):
    text = log.read_text()
    assert witness.kernel not in text
    assert "127.0.0.1:" not in text
    assert "jpg" not in text
    assert len(text.splitlines()) < 20, text


def test_a_close_that_is_left_unanswered_frees_the_kernel_at_once(attacker, run, process):
    """Answers that arrived after the server's close went to a parser that never came back."""

    async def two_frames():
        async with Peer(attacker) as peer:
            assert peer.status == SWITCHED
            for kind in ("csv", "json", "html"):
                peer.download(kind)
            peer.say("execute_request", {"code": "1"})
            await peer.ended(1)

    before = process.memory_info().rss
    for _ in range(3):
        run(two_frames())
    assert process.memory_info().rss < before + 50e6


def test_a_page_that_is_replaced_frees_the_kernel_at_once(attacker, run, process):
    async def many():
        async with AsyncExitStack() as stack:
            peers = [await stack.enter_async_context(Peer(attacker)) for _ in range(6)]
            for number, peer in enumerate(peers):
                peer.choose(1 + number)
                peer.download()
            assert await peers[0].ended()

    before = process.memory_info().rss
    run(many())
    assert process.memory_info().rss < before + 50e6


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (PROTOCOL, SWITCHED),
        (f"other , {PROTOCOL},third", SWITCHED),
        (f"x-{PROTOCOL}", BAD_REQUEST),
        (f"{PROTOCOL}x", BAD_REQUEST),
        (f"a,x-{PROTOCOL}", BAD_REQUEST),
        ("", BAD_REQUEST),
    ],
)
def test_only_the_protocol_itself_is_accepted(attacker, run, words, status):
    async def asked():
        async with Peer(attacker, words) as peer:
            return peer.status

    assert run(asked()) == status


def test_a_message_is_not_sent_twice(attacker, run):
    async def twice():
        await attacker.connect()
        for _ in range(2):
            attacker.send_raw(Peer(attacker).message("kernel_info_request", {}, msg_id="one"))
        return await attacker.closed()

    assert run(twice()) == POLICY_VIOLATION


def test_attacks_at_random_leave_the_others_alone(address, run, process):
    run(fuzz(address, 5, 2, seed=1, query=ENTER))  # what a server learns once
    before = process.memory_info().rss
    times, done = run(fuzz(address, 30, 2, query=ENTER))
    assert sum(done.values()) > 10
    assert len(times) > 30
    assert process.memory_info().rss < before * 1.2 + 20e6
