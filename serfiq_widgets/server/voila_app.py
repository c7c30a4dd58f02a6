"""Voila as it serves the dashboard: compressed answers, and no kernel culled under a visitor."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import threading
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.routing import Router
from tornado.web import Application, ErrorHandler, HTTPError, RequestHandler
from tornado.websocket import WebSocketClosedError
from voila.app import Voila
from voila.shutdown_kernel_handler import VoilaShutdownKernelHandler

from serfiq_widgets.server.temporary_folders import claim, remove_abandoned
from serfiq_widgets.server.websockets import KernelSocket
from serfiq_widgets.widgets import plotly_js

CACHE_S = 3600
CONNECT = f"{ZMQChannelsWebsocketConnection.connect.__qualname__}.<locals>."


def leave_quietly(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Handle what no one awaited: a page that closes while an answer travels to it is no error.

    Nor is one that closes before its kernel has answered for the first time: what jupyter_server
    does then (`ZMQChannelsWebsocketConnection.connect`) finds its streams closed.
    """
    callback = getattr(context.get("handle"), "_callback", None)
    connecting = getattr(callback, "__qualname__", "").startswith(CONNECT)
    if not isinstance(context.get("exception"), WebSocketClosedError) and not connecting:
        loop.default_exception_handler(context)


class PlotlyScript(RequestHandler):
    """The plotly library, for the page to fetch once."""

    def get(self) -> None:
        """Send it compressed, as it is kept."""
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.set_header("Content-Encoding", "gzip")
        self.set_header("Cache-Control", f"max-age={CACHE_S}")
        self.finish(plotly_js.module())


class SessionStatus(RequestHandler):
    """Whether a page's session goes on."""

    async def get(self, kernel_id: str) -> None:
        """Answer whether the page is connected to its kernel, or how that ended.

        "crashed" if it ended by itself, "over" if the server ended it, or is another one by now.
        """
        self.set_header("Cache-Control", "no-store")
        kernels = self.settings["kernel_manager"]
        if kernel_id not in kernels:
            self.finish({"over": "over"})
        elif not await kernels.get_kernel(kernel_id).is_alive():
            self.finish({"over": "crashed"})
        else:
            self.finish({"connected": kernels.is_connected(kernel_id)})


class Leave(VoilaShutdownKernelHandler):
    """A page that closes ends its kernel; it can send no field, so its origin has to do."""

    def check_xsrf_cookie(self) -> None:
        """Refuse pages of others."""
        if not is_same_origin(self.request.headers.get("Origin", ""), self.request.host):
            raise HTTPError(403)


def is_allowed_host(host: str, names: tuple[str, ...]) -> bool:
    """Whether a Host header names this server: by a bare address, or by a name that it has.

    A page of another site can make a browser call us by that site's name (DNS rebinding), never by
    one of these.
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name in ("localhost", socket.gethostname().lower(), *names):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def is_same_origin(origin: str, host: str) -> bool:
    """Whether an Origin header names the page of a Host header."""
    return urlsplit(origin.lower()).netloc == host.lower()


class Front(Router):
    """Stands before an application: refuses pages of others, and takes a base from paths.

    Parameters
    ----------
    application : Application
        Who answers in the end.
    base : str
        What paths may begin with: some proxies take it away, some do not.
    hosts : tuple of str
        Names of this server besides its own; with a base and no name any will do, for it is the
        proxy's, which passes it on whether it takes the base away or not.
    """

    def __init__(self, application: Application, base: str, hosts: tuple[str, ...]) -> None:
        self._application, self._base, self._hosts = application, base, hosts
        self.settings = application.settings  # Voila's kernels read them

    def find_handler(self, request: HTTPServerRequest, **how: Any) -> Any:
        """Find who answers a request, which loses the base."""
        if status := self._refusal(request):
            refuse: Any = self._application.get_handler_delegate(
                request, ErrorHandler, {"status_code": status}
            )
            return refuse
        if request.path.startswith(self._base):
            for name in ("path", "uri"):
                whole = getattr(request, name) or ""
                setattr(request, name, "/" + whole.removeprefix(self._base))
        return self._application.find_handler(request, **how)

    def _refusal(self, request: HTTPServerRequest) -> int:
        """Return the status with which a request is refused; 0 if it is not."""
        is_proxied = self._base != "/" and not self._hosts
        if not is_proxied and not is_allowed_host(request.host, self._hosts):
            return 421
        origin = request.headers.get("Origin")
        return 403 if origin is not None and not is_same_origin(origin, request.host) else 0

    def listen(self, port: int, address: str) -> None:
        """Serve on a port."""
        HTTPServer(self).listen(port, address)


class Dashboard(Voila):
    """Voila whose answers travel compressed."""

    app: Any
    hosts: tuple[str, ...] = ()

    def init_settings(self) -> dict[str, Any]:
        """Add to Voila's own; its option ``tornado_settings`` comes too late for this one."""
        claim(Path(self.connection_dir))
        remove_abandoned({Path(self.connection_dir_root), Path(tempfile.gettempdir())})
        threading.Thread(target=plotly_js.module, daemon=True).start()  # before somebody asks
        return {**super().init_settings(), "compress_response": True}

    def listen(self) -> None:
        """Serve until interrupted, with and without the base that browsers see."""
        self.app = Front(self.app, self.base_url, self.hosts)
        super().listen()

    def init_handlers(self) -> list[Any]:
        """Add the page's library, tell pages of their kernel, and let a closing page end it.

        For that Voila wants a field that no page can send.
        """
        ours = [
            (plotly_js.PATH, PlotlyScript),
            (r"/alive/([\w-]+)", SessionStatus),
            (r"/voila/api/shutdown/([\w-]+)", Leave),
            (r"/api/kernels/([\w-]+)/channels", KernelSocket),
        ]
        return [*ours, *super().init_handlers()]

    def stop(self) -> None:
        """End the kernels, and those first that have just started.

        Voila takes away the folder in which they would write, and does not know them yet.
        """
        self._end_kernels()
        super().stop()
        self._end_kernels()

    def _end_kernels(self) -> None:
        for child in psutil.Process().children():
            with suppress(psutil.Error):  # it ended meanwhile
                if any(self.connection_dir in word for word in child.cmdline()):
                    child.kill()


class KernelManager(AsyncMappingKernelManager):
    """Ends kernels at once, and culls one only when it is found without a visitor twice.

    A kernel of the pool (which Voila spares) has been idle for long when it gets its visitor, whose
    page needs a moment to connect. There is nothing in a kernel to save, and one that is asked to
    end while it starts would print its complaints to the terminal.
    """

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self._lonely: set[str] = set()

    def is_connected(self, kernel_id: str) -> bool:
        """Whether a page is connected to a kernel."""
        return bool(self._kernel_connections.get(kernel_id, 0))

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """Give a kernel that has no visitor one more round."""
        if kernel_id in self._lonely or self.is_connected(kernel_id):
            self._lonely.discard(kernel_id)
            await super().cull_kernel_if_idle(kernel_id)
        else:
            self._lonely.add(kernel_id)

    async def shutdown_kernel(  # type: ignore[override]  # its own bases disagree
        self, kernel_id: str, **how: Any
    ) -> None:
        """End a kernel at once, however politely it was asked for."""
        await super().shutdown_kernel(kernel_id, **{**how, "now": True})

    async def shutdown_all(self, **how: Any) -> None:  # type: ignore[override]  # as above
        """End all kernels at once; one that is not yet known ends when it misses its parent."""
        with suppress(HTTPError):
            await super().shutdown_all(**{**how, "now": True})
