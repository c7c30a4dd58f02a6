"""A visitor without a browser: speaks HTTP and the kernel's websocket as the dashboard's page does.

For load and attack tests of `serfiq demo --public`; only tornado and psutil are needed.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any

import psutil
from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

PROTOCOL = "v1.kernel.websocket.jupyter.org"
CONFIG = re.compile(r'<script[^>]* id="jupyter-config-data"[^>]*>(.*?)</script>', re.DOTALL)
WORD = 8
OK, MOVED, NO_PLACE = 200, 302, 503


class Gone(Exception):
    """The session ended under the visitor."""


def pack(channel: str, *parts: bytes) -> bytes:
    """Write a message of the protocol: a channel, header, parent, metadata, content, buffers."""
    pieces = [channel.encode(), *parts]
    start = WORD * (len(pieces) + 2)
    offsets = [start, *accumulate((len(piece) for piece in pieces), initial=start)][1:]
    return struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + b"".join(pieces)


def unpack(message: bytes) -> tuple[str, list[bytes]]:
    """Read such a message: its channel and its parts."""
    (count,) = struct.unpack_from("<Q", message)
    offsets = struct.unpack_from(f"<{count}Q", message, WORD)
    channel, *parts = (
        message[a:b]
        for a, b in zip(offsets, offsets[1:], strict=False)  # noqa: RUF007  # pairs
    )
    return channel.decode(), parts


def kernel_process(kernel: str) -> psutil.Process:
    """Find the process of a public demo's kernel by its sockets.

    Raises
    ------
    LookupError
        There is none.
    """
    for line in Path("/proc/net/unix").read_text().splitlines():
        if f"kernel-{kernel}" in line:
            with suppress(OSError), socket.socket(socket.AF_UNIX) as asks:
                asks.connect(line.split()[-1])
                answer = asks.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, WORD)
                return psutil.Process(struct.unpack_from("=i", answer)[0])
    raise LookupError(kernel)


def _close_what_opened(opening: asyncio.Future[WebSocketClientConnection]) -> None:
    """Close a websocket that opened when nobody waited for it any more."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()


class Visitor:
    """One visitor of a served dashboard.

    Parameters
    ----------
    address : str
        Such as ``http://localhost:8866``.

    Attributes
    ----------
    kernel : str
        The id of the own kernel, once the page is there.
    cookie : str
        What the server knows this visitor by.
    widgets : dict
        The states of all widgets by model id, kept up to date.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.cookie, self.kernel, self.waited = "", "", 0
        self.widgets: dict[str, dict[str, Any]] = {}
        self.refused = ""
        self.session = str(uuid.uuid4())
        self._client = AsyncHTTPClient(force_instance=True, defaults={"request_timeout": 60})
        self._socket: WebSocketClientConnection | None = None
        self._replies: dict[str, asyncio.Future[None]] = {}
        self._states: asyncio.Future[None] | None = None
        self._control = uuid.uuid4().hex
        self._changed = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    async def get(self, path: str, method: str = "GET", **headers: str) -> HTTPResponse:
        """Fetch a path of the server; errors are answers, too."""
        sent = {"Cookie": self.cookie, **headers} if self.cookie else headers
        request = HTTPRequest(
            self.address + path,
            method=method,
            headers=sent,
            body="" if method == "POST" else None,
            follow_redirects=False,
        )
        reply = await self._client.fetch(request, raise_error=False)
        for cookie in reply.headers.get_list("Set-Cookie"):
            self.cookie = cookie.partition(";")[0]
        return reply

    async def enter(self, query: str = "", patience_s: float = 120) -> None:
        """Load the page, waiting for a place as the waiting page does.

        Raises
        ------
        TimeoutError
            There was none for so long.
        HTTPClientError
            The server refuses.
        """
        ends = time.monotonic() + patience_s
        while (reply := await self.get(f"/{query}")).code in (MOVED, NO_PLACE):
            if reply.code == MOVED:
                query = reply.headers["Location"].lstrip("/")
                continue
            self.waited += 1
            if time.monotonic() > ends:
                raise TimeoutError
            await asyncio.sleep(float(reply.headers["Retry-After"]))
        if reply.code != OK:
            raise HTTPClientError(reply.code)
        found = CONFIG.search(reply.body.decode())
        if not found:
            raise Gone
        self.kernel = json.loads(found[1])["kernelId"]

    async def connect(self, kernel: str = "", **headers: str) -> None:
        """Open the websocket to the own (or another) kernel."""
        if self._socket is not None:
            self._socket.close()
        url = f"{self.address}/api/kernels/{kernel or self.kernel}/channels"
        sent = {"Origin": self.address, "Cookie": self.cookie, **headers}
        request = HTTPRequest(
            f"{url}?session_id={self.session}".replace("http", "ws", 1),
            headers={name: value for name, value in sent.items() if value},
        )
        opening = websocket_connect(request, subprotocols=[PROTOCOL], max_message_size=2**26)
        try:
            self._socket = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_what_opened)
            raise
        self._reader = asyncio.ensure_future(self._read())

    async def show(self, timeout_s: float = 60) -> None:
        """Ask for all widgets, as a page does when it has loaded."""
        self._states = asyncio.get_running_loop().create_future()
        self.send("kernel_info_request", {})
        self.send(
            "comm_open",
            {"comm_id": self._control, "target_name": "jupyter.widget.control", "data": {}},
            {"version": "1.0.0"},
        )
        self.send("comm_msg", {"comm_id": self._control, "data": {"method": "request_states"}})
        await asyncio.wait_for(self._states, timeout_s)
        self.send("comm_close", {"comm_id": self._control, "data": {}})

    def send(
        self,
        kind: str,
        content: dict[str, Any],
        metadata: dict[str, Any] | None = None,
        *,
        channel: str = "shell",
        buffers: tuple[bytes, ...] = (),
    ) -> str:
        """Send a message; returns its id."""
        name = str(uuid.uuid4())
        header = {
            "date": "2000-01-01T00:00:00.000Z",
            "msg_id": name,
            "msg_type": kind,
            "session": self.session,
            "username": "",
            "version": "5.2",
        }
        parts = [json.dumps(part).encode() for part in (header, {}, metadata or {}, content)]
        self.send_raw(pack(channel, *parts, *buffers))
        return name

    def send_raw(self, message: bytes | str) -> None:
        """Send anything."""
        if self._socket is None or self._socket.close_code is not None:
            raise Gone
        try:
            self._socket.write_message(message, binary=isinstance(message, bytes))
        except WebSocketClosedError as error:
            raise Gone from error

    async def ask(
        self, kind: str, content: dict[str, Any], timeout_s: float = 30, **more: Any
    ) -> float:
        """Send a message and wait until the kernel has dealt with it; returns the seconds.

        Raises
        ------
        Gone
            The session ended.
        """
        start = time.perf_counter()
        name = self.send(kind, content, **more)
        self._replies[name] = asyncio.get_running_loop().create_future()
        await asyncio.wait_for(self._replies[name], timeout_s)
        return time.perf_counter() - start

    async def set(self, model: str, timeout_s: float = 30, **state: Any) -> float:
        """Change a widget's traits as its view does; returns the seconds."""
        data = {"method": "update", "state": state, "buffer_paths": []}
        return await self.ask("comm_msg", {"comm_id": model, "data": data}, timeout_s)

    def find(self, matches: Callable[[dict[str, Any]], Any]) -> str:
        """Return the id of the first widget whose state matches."""
        return next(name for name, state in self.widgets.items() if matches(state))

    @property
    def slider(self) -> str:
        """The slider of the passes."""
        return self.find(lambda state: state.get("playable"))

    @property
    def gallery(self) -> str:
        """The row of samples."""
        return self.find(lambda state: "items" in state and "chosen" in state)

    @property
    def scores(self) -> list[str]:
        """The raw scores that the page shows, by passes; empty before the first."""
        readout = self.find(lambda state: "raw" in state.get("numbers", {}))
        raw: list[str] = self.widgets[readout]["numbers"]["raw"]
        return raw

    async def choose(self, sample: int, timeout_s: float = 30) -> float:
        """Click a sample and wait for its score; returns the seconds."""
        before = self.scores
        seconds = await self.set(self.gallery, timeout_s, chosen=sample)
        start = time.perf_counter()
        while self.scores == before:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        return seconds + time.perf_counter() - start

    async def closed(self, timeout_s: float = 20) -> int | None:
        """Wait until the server has closed the websocket; returns the code."""
        if self._reader is not None:
            await asyncio.wait_for(asyncio.shield(self._reader), timeout_s)
        if self._socket is None:
            return None
        self._socket.close()
        return self._socket.close_code

    async def leave(self, *, politely: bool = True) -> None:
        """Close the page, or fall silent."""
        try:
            if politely:
                await self.get(f"/voila/api/shutdown/{self.kernel}", "POST", Origin=self.address)
        finally:
            if self._socket is not None:
                if not politely and self._socket.protocol is not None:
                    self._socket.protocol._abort()  # noqa: SLF001  # a cable is pulled
                self._socket.close()
            if self._reader is not None:
                await asyncio.wait([self._reader], timeout=5)
            self._client.close()

    async def _read(self) -> None:
        socket = self._socket
        while socket and (message := await socket.read_message()) is not None:
            if isinstance(message, bytes):
                self._take(*unpack(message))
        for waiting in [*self._replies.values(), self._states]:
            if waiting is not None and not waiting.done():
                waiting.set_exception(Gone())

    def _take(self, channel: str, parts: list[bytes]) -> None:
        header, parent, content = (json.loads(parts[i]) for i in (0, 1, 3))
        kind = header["msg_type"]
        if kind == "status" and content["execution_state"] == "idle":
            reply = self._replies.pop(parent.get("msg_id", ""), None)
            if reply is not None and not reply.done():
                reply.set_result(None)
        elif kind == "comm_msg" and channel == "iopub":
            data = content["data"]
            if data["method"] == "update_states":
                self.widgets = {name: model["state"] for name, model in data["states"].items()}
                if self._states is not None and not self._states.done():
                    self._states.set_result(None)
            elif data["method"] == "update" and content["comm_id"] in self.widgets:
                self.widgets[content["comm_id"]].update(data["state"])
                self._changed.set()
