"""The routes of a public demo, all with the same checks: host, origin, token, own kernel."""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
from time import monotonic
from typing import Any

from jupyter_server.auth.identity import User
from tornado.httputil import url_concat
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler
from tornado.websocket import WebSocketClosedError
from voila.static_file_handler import MultiStaticFileHandler

from serfiq_widgets.server import pages
from serfiq_widgets.server.protocol import Gate, Refused, answered
from serfiq_widgets.server.sessions import NoCapacity, Session, SessionPool
from serfiq_widgets.server.settings import Public
from serfiq_widgets.server.voila_app import (
    CACHE_S,
    PlotlyScript,
    is_allowed_host,
    is_same_origin,
)
from serfiq_widgets.server.websockets import KernelSocket

LOG = logging.getLogger(__name__)

SESSION = re.compile(r"[\w-]{1,64}")
MAX_GUESSES, GUESS_S = 20, 1.0  # wrong tokens at a time, and seconds of delay for each
ALWAYS_DAYS = 36500
MAX_SOCKETS = 2  # a page may reconnect before its first socket is closed
MAX_UNANSWERED, MAX_UNANSWERED_BYTES = 64, 24 * 2**20
PAUSE_S = 0.02
MEGABYTE = 2**20
PLAIN_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
PAGE_POLICY = (
    "default-src 'none'; script-src 'self' blob: 'nonce-{nonce}'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "media-src blob:; "
    "connect-src 'self' ws://{host} wss://{host}; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), usb=(), payment=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
    "Server": "serfiq",
}


class TokenCheck:
    """Compares tokens; wrong guesses are delayed."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._guessing = 0

    @property
    def is_open(self) -> bool:
        """Return whether the demo needs no token."""
        return not self._token

    async def accepts(self, given: str) -> bool:
        """Compare a token; the answer to a wrong one is delayed by a second.

        Raises
        ------
        HTTPError
            There are too many wrong tokens at this moment.
        """
        if hmac.compare_digest(given.encode(), self._token):
            return True
        if self._guessing >= MAX_GUESSES:
            raise HTTPError(429)
        self._guessing += 1
        try:
            await asyncio.sleep(GUESS_S)
        finally:
            self._guessing -= 1
        return False


class Guarded(RequestHandler):
    """Checks every request, sends short errors, and logs nothing about visitors."""

    public: Public
    sessions: SessionPool
    token_check: TokenCheck

    def set_default_headers(self) -> None:
        """Add headers that keep browsers from misusing an answer."""
        for name, value in HEADERS.items():
            self.set_header(name, value)
        self.set_header("Content-Security-Policy", PLAIN_POLICY)

    def prepare(self) -> Any:
        """Refuse foreign hosts and origins."""
        if not is_allowed_host(self.request.host, self.public.hosts):
            raise HTTPError(421)
        origin = self.request.headers.get("Origin")
        if origin is not None and not is_same_origin(origin, self.request.host):
            raise HTTPError(403)

    @property
    def cookie(self) -> str:
        """Return the cookie's name: each port of a machine has another one."""
        return f"serfiq-{self.public.port}"

    @property
    def visitor(self) -> str | None:
        """Return the visitor's name from the signed cookie; None before the first admission.

        The cookie is valid as long as the browser's session and this server last: for weeks on a
        kiosk, also when the clock is changed.
        """
        value = self.get_signed_cookie(self.cookie, max_age_days=ALWAYS_DAYS)
        return value.decode() if value else None

    def own_session(self, kernel_id: str) -> Session:
        """Return the visitor's session with this kernel; else answer as if it did not exist."""
        session = self.sessions.of(self.visitor or "", kernel_id)
        if session is None:
            raise HTTPError(404)
        return session

    def write_error(self, status_code: int, **_: Any) -> None:
        """Send only the status code."""
        self.set_header("Content-Type", "text/plain")
        self.finish(f"{status_code}\n")

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log an internal error without data of the visitor."""
        expected = (HTTPError, StreamClosedError, WebSocketClosedError)
        if not isinstance(value, expected):
            LOG.error("%s failed.", type(self).__name__, exc_info=(typ, value, tb))


class Page(Guarded):
    """The dashboard, or a page that says why the visitor has to wait."""

    async def get(self) -> None:
        """Check the token, and send the dashboard or a waiting page."""
        if self.request.headers.get("Sec-Fetch-Dest", "document") != "document":
            raise HTTPError(403)  # an image or frame in another page must not start a session
        self.set_header("Cache-Control", "no-store")
        visitor = self.visitor
        token = self.get_query_argument("token", "")
        if visitor is None:
            if not self.token_check.is_open and not await self._knows(token):
                return
            visitor = secrets.token_urlsafe(16)
        self._remember(visitor)
        if token:  # removes the token from the address
            rest = [
                (name, value.decode("utf-8", "replace"))
                for name, values in self.request.query_arguments.items()
                for value in values
                if name != "token"
            ]
            self.redirect(url_concat("/", rest))
            return
        try:
            page = await self.sessions.admit(visitor)
        except NoCapacity as full:
            self.set_status(503)
            self.set_header("Retry-After", str(full.retry_s))
            self.finish(pages.waiting(full.text, full.retry_s))
            return
        nonce = secrets.token_urlsafe(16)
        policy = PAGE_POLICY.format(nonce=nonce, host=self.request.host)  # host is checked
        self.set_header("Content-Security-Policy", policy)
        self.finish(page.replace("<script", f'<script nonce="{nonce}"'))

    def _remember(self, visitor: str) -> None:
        """Set the visitor's cookie; each page renews it."""
        proxied = self.request.headers.get("X-Forwarded-Proto", self.request.protocol)
        self.set_signed_cookie(
            self.cookie,
            visitor,
            expires_days=None,
            httponly=True,
            samesite="Lax",
            secure=proxied == "https",
        )

    async def _knows(self, token: str) -> bool:
        try:
            known = bool(token) and await self.token_check.accepts(token)
        except HTTPError as error:
            self.set_status(error.status_code)
            self.finish(pages.saying(pages.TOO_MANY))
            return False
        if not known:
            self.set_status(403)
            self.finish(pages.asking(pages.WRONG if token else pages.ASK))
        return known


class Files(Guarded, MultiStaticFileHandler):  # type: ignore[misc]  # untyped
    """The page's scripts and styles: files below certain folders, no directory listings."""

    def prepare(self) -> Any:
        """Refuse paths that lead out of the folders, too."""
        super().prepare()
        if ".." in self.path_args[0].split("/"):
            raise HTTPError(404)
        self.sessions.is_loading(self.visitor)

    def set_extra_headers(self, path: str) -> None:  # noqa: ARG002  # tornado's name
        """Let browsers cache the files for an hour."""
        self.set_header("Cache-Control", f"max-age={CACHE_S}")


class Script(Guarded, PlotlyScript):
    """The plotly library."""


class Kernel(Guarded):
    """The HTTP route by which a page checks that its kernel exists."""

    def get(self, kernel_id: str) -> None:
        """Answer that the kernel exists."""
        self.own_session(kernel_id)
        self.finish({"id": kernel_id, "name": "python3", "connections": 1})


class SessionStatus(Guarded):
    """Status of a page's session; the argument ``used`` reports that the page is in use."""

    def get(self, kernel_id: str) -> None:
        """Answer whether the page is connected, or how its session ended, as in `voila_app`."""
        session = self.sessions.of(self.visitor or "", kernel_id)
        self.set_header("Cache-Control", "no-store")
        if session is None:
            self.finish({"over": "crashed" if self.sessions.has_crashed(kernel_id) else "over"})
            return
        if self.get_query_argument("used", ""):
            session.touch()
        self.finish({"connected": bool(session.sockets)})


class Health(Guarded):
    """Whether the event loop responds, for a container's health check."""

    def get(self) -> None:
        """Answer without content."""
        self.set_header("Content-Type", "text/plain")
        self.set_header("Cache-Control", "no-store")
        self.finish("ok\n")


class SessionEnded(Guarded):
    """The page after the end of a session: it removes faces, figures and camera from the screen."""

    def get(self, why: str) -> None:
        """Say why the session ended, and offer to start again."""
        self.finish(pages.over(why))


class Leave(Guarded):
    """The route by which a closing page ends its session at once."""

    async def post(self, kernel_id: str) -> None:
        """End the kernel."""
        if "Origin" not in self.request.headers:
            raise HTTPError(403)
        await self.sessions.end(self.own_session(kernel_id))
        self.set_status(204)

    def check_xsrf_cookie(self) -> None:
        """Check only the origin: a closing page cannot send the XSRF field."""


class NotFound(Guarded):
    """Every other route."""

    def prepare(self) -> Any:
        """Refuse."""
        super().prepare()
        raise HTTPError(404)


class Channels(Guarded, KernelSocket):
    """The websocket between a page and its kernel; `server.protocol` checks its messages."""

    session: Session | None = None

    def initialize(self) -> None:
        """Start without a pending message."""
        self._gate = Gate()
        self._unanswered: dict[str, int] = {}

    def prepare(self) -> Any:
        """Refuse every client except the visitor who owns this kernel."""
        super().prepare()
        self.session = self.own_session(self.path_args[0])
        if not SESSION.fullmatch(self.get_query_argument("session_id", "")):
            raise HTTPError(400)
        self.check_protocol()
        self.current_user = User("visitor")

    def check_origin(self, origin: str | None = None) -> bool:
        """Return whether there is an origin and it is this server."""
        return bool(origin) and is_same_origin(str(origin), self.request.host)

    async def get(self, kernel_id: str) -> None:
        """Refuse requests without an origin: browsers always send one."""
        if "Origin" not in self.request.headers:
            raise HTTPError(403)
        await KernelSocket.get(self, kernel_id)

    async def open(self, kernel_id: str) -> None:
        """Connect; if a page connects repeatedly, only its newest sockets stay open."""
        if self.session is None:
            return
        for old in [*self.session.sockets][: len(self.session.sockets) - MAX_SOCKETS + 1]:
            old.close(1001, "replaced")
        self.session.sockets.add(self)
        self.session.arrived = True
        self.set_nodelay(True)  # else the second small message waits for an ACK
        await super().open(kernel_id)

    async def on_message(self, ws_message: bytes | str) -> None:
        """Forward an allowed message, no faster than the kernel answers."""
        if not self.is_open() or self.session is None:
            return
        try:
            message = self._gate.read(ws_message)
        except Refused as error:
            self.close(1008, str(error))
            return
        if not self.session.is_new(message.name):
            self.close(1008, "repeated message name")
            return
        await self._pace(self.session, len(ws_message))
        if not self.is_open():
            return  # closed in the meantime
        self._unanswered[message.name] = len(ws_message)
        self._pass_on(ws_message)

    async def _pace(self, session: Session, size: int) -> None:
        """Wait until this page may send; tornado reads no further message until then."""
        cost = 1 / self.public.messages_per_s + size / MEGABYTE / self.public.megabytes_per_s
        await asyncio.sleep(session.delay(cost))
        while self.is_open() and (  # noqa: ASYNC110  # closing sets no event
            len(self._unanswered) >= MAX_UNANSWERED
            or sum(self._unanswered.values()) > MAX_UNANSWERED_BYTES
        ):
            await asyncio.sleep(PAUSE_S)

    def write_message(self, message: Any, binary: bool = False) -> Any:  # noqa: FBT002  # tornado's
        """Forward a message of the kernel, and note which message it answers."""
        name = answered(message) if isinstance(message, bytes) else None
        if name is not None:
            self._unanswered.pop(name, None)
        return super().write_message(message, binary)

    def hang_up(self) -> None:
        """Close the socket because the session has ended."""
        self.close(1001, "over")

    def on_close(self) -> None:
        """Keep the session for some time, in case the page reconnects."""
        if self.session is not None and self in self.session.sockets:
            self.session.sockets.discard(self)
            self.session.left = monotonic()
        super().on_close()
