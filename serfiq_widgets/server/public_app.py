"""The public demo's server: Voila with few, checked routes, and kernels that share memory."""

from __future__ import annotations

import logging
import resource
import threading
import webbrowser
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream

from serfiq_widgets.errors import EngineUnavailable
from serfiq_widgets.server import prefork
from serfiq_widgets.server.handlers import (
    Channels,
    Files,
    Guarded,
    Health,
    Kernel,
    Leave,
    NotFound,
    Page,
    Script,
    SessionEnded,
    SessionStatus,
    TokenCheck,
)
from serfiq_widgets.server.pages import ENDS
from serfiq_widgets.server.sessions import SessionPool
from serfiq_widgets.server.settings import Public
from serfiq_widgets.server.voila_app import Dashboard
from serfiq_widgets.server.watchdog import ServiceManager
from serfiq_widgets.widgets import plotly_js

LOG = logging.getLogger(__name__)

KERNEL = r"([0-9a-f-]{36})"
FILE = r"([\w@./-]+)"
MEGABYTE = 2**20
PING_MS = 20_000  # keeps a proxy connected, and detects lost pages
SLOW_S = 15  # until a request has arrived
MAX_CONNECTIONS, RESERVED = 5000, 200  # open files for other purposes
FILES_PER_KERNEL = 40
MIN_CONNECTIONS = 50
MIN_FILES = MIN_CONNECTIONS + 30  # open files without a visitor
UNREAD_BYTES = 48 * 2**20  # buffered for a page that does not read


class PublicDashboard(Dashboard):
    """Voila for the public: only the routes that the page needs, each checked by `handlers`."""

    public: Public
    address: str  # the address that visitors open
    most_connections: int
    _fork_server: prefork.KernelForkServer | None = None
    _sessions: SessionPool

    def init_settings(self) -> dict[str, Any]:
        """Start kernels through the fork server, limit message sizes, and log no request."""
        self._manager = ServiceManager()
        if prefork.WORKS_HERE:
            self._fork_server = prefork.KernelForkServer(self.public.kernel_mb)
            prefork.install(self._fork_server)
        settings = super().init_settings()
        sockets = FILES_PER_KERNEL * (self.public.most_visitors + RESERVED)
        self.kernel_manager.context.max_sockets = sockets
        return {
            **settings,
            "websocket_max_message_size": self.public.message_mb * MEGABYTE,
            "ws_ping_interval": PING_MS,
            "log_function": lambda _: None,
            "default_handler_class": NotFound,
        }

    def init_handlers(self) -> list[Any]:
        """Serve the page, its files and its kernel's socket; nothing else."""
        sessions = self._sessions = SessionPool(self.public, self.kernel_manager)
        Guarded.public, Guarded.sessions, Guarded.token_check = (
            self.public,
            sessions,
            TokenCheck(self.public.token),
        )
        sessions.watch()
        scripts = [path for path in self.static_paths if "jupyter_server" not in path]
        extensions = self.labextensions_path
        return [
            (r"/", Page),
            (r"/healthz", Health),
            (rf"/alive/{KERNEL}", SessionStatus),
            (rf"/over/({'|'.join(ENDS)})", SessionEnded),
            (rf"/api/kernels/{KERNEL}", Kernel),
            (rf"/api/kernels/{KERNEL}/channels", Channels),
            (rf"/voila/api/shutdown/{KERNEL}", Leave),
            (plotly_js.PATH, Script),
            (rf"/voila/static/{FILE}", Files, {"paths": scripts}),
            (rf"/voila/templates/serfiq/static/{FILE}", Files, {"paths": scripts}),
            (rf"/voila/labextensions/{FILE}", Files, {"paths": extensions}),
        ]

    def listen(self) -> None:
        """Serve until interrupted."""
        server = BoundedServer(
            self.app,
            idle_connection_timeout=SLOW_S,
            body_timeout=SLOW_S,
            max_header_size=16 * 2**10,
            max_body_size=16 * 2**10,  # photos are sent over the websocket
        )
        server.most = self.most_connections
        server.listen(self.port, self.ip)
        self.ioloop = IOLoop.current()
        self.ioloop.add_callback(self._manager.ready)
        if self.open_browser:
            threading.Thread(target=webbrowser.open, args=[self.address], daemon=True).start()
        try:
            self.ioloop.start()
        except KeyboardInterrupt:
            pass
        finally:
            self._manager.stopping()
            self.stop()
        if why := self._sessions.given_up:
            raise EngineUnavailable(f"No kernel ever started, so the demo cannot run: {why}")

    def stop(self) -> None:
        """End all kernels, also those that Voila does not know yet."""
        super().stop()
        if self._fork_server is not None:
            self._fork_server.close()


class BoundedServer(HTTPServer):
    """Limits the number of connections, and closes those of clients that do not read."""

    most = MAX_CONNECTIONS

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Accept a connection, or close it."""
        if len(self._connections) >= self.most:
            stream.close()
            return
        stream.max_write_buffer_size = UNREAD_BYTES
        super().handle_stream(stream, address)


def capacity(visitors: int) -> tuple[int, int]:
    """Return the largest numbers of connections and visitors at a time.

    The process raises its limit of open files as far as the system permits. If the limit is low,
    there are fewer connections, then fewer visitors, and a warning.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = RESERVED + FILES_PER_KERNEL * visitors
    wanted = MAX_CONNECTIONS + needed
    granted = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, most))
    left = max(granted - needed, MIN_CONNECTIONS)
    served = max(1, min(visitors, (granted - MIN_FILES) // FILES_PER_KERNEL))
    if left < MAX_CONNECTIONS:
        LOG.warning(
            "This process may open %d files only, so it accepts %d connections and %d visitors at "
            "a time; %d files are enough (ulimit -n, LimitNOFILE in systemd).",
            granted,
            left,
            served,
            wanted,
        )
    return left, served
