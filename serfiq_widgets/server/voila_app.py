"""Voila for the dashboard: compressed answers, and no kernel culled while it has a visitor."""

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
    """Handle exceptions that no task awaited; a page that closes during an answer is not an error.

    Nor is a page that closes before its kernel has answered for the first time: jupyter_server
    (`ZMQChannelsWebsocketConnection.connect`) then finds its streams closed.
    """
    callback = getattr(context.get("handle"), "_callback", None)
    connecting = getattr(callback, "__qualname__", "").startswith(CONNECT)
    if not isinstance(context.get("exception"), WebSocketClosedError) and not connecting:
        loop.default_exception_handler(context)


class PlotlyScript(RequestHandler):
    """The plotly library, which the page fetches once."""

    def get(self) -> None:
        """Send the library, which is stored compressed."""
        self.set_header("Content-Type", "text/javascript; charset=utf-8")
        self.set_header("Content-Encoding", "gzip")
        self.set_header("Cache-Control", f"max-age={CACHE_S}")
        self.finish(plotly_js.module())


class SessionStatus(RequestHandler):
    """Status of a page's session."""

    async def get(self, kernel_id: str) -> None:
        """Answer whether the page is connected to its kernel, or how the kernel ended.

        "crashed" if it ended by itself, "over" if the server ended it or was restarted.
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
    """Ends the kernel of a closing page; only the origin is checked, as it can send no field."""

    def check_xsrf_cookie(self) -> None:
        """Refuse requests from other sites."""
        if not is_same_origin(self.request.headers.get("Origin", ""), self.request.host):
            raise HTTPError(403)


def is_allowed_host(host: str, names: tuple[str, ...]) -> bool:
    """Return whether a Host header names this server: by an IP address or one of its names.

    A page of another site can make a browser call this server by that site's name (DNS rebinding),
    but never by an IP address or one of these names.
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
    """Return whether an Origin header names the server of a Host header."""
    return urlsplit(origin.lower()).netloc == host.lower()


class Front(Router):
    """A router before an application: refuses other sites, and removes the base from paths.

    Parameters
    ----------
    application : Application
        The application that answers.
    base : str
        A prefix that paths may have: some proxies remove it, some do not.
    hosts : tuple of str
        Further names of this server; with a base and no names any name is accepted, as it is the
        name of the proxy.
    """

    def __init__(self, application: Application, base: str, hosts: tuple[str, ...]) -> None:
        self._application, self._base, self._hosts = application, base, hosts
        self.settings = application.settings  # read by Voila's kernels

    def find_handler(self, request: HTTPServerRequest, **how: Any) -> Any:
        """Remove the base from a request's path, and find its handler."""
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
        """Return the status code of a refused request; 0 if it is allowed."""
        is_proxied = self._base != "/" and not self._hosts
        if not is_proxied and not is_allowed_host(request.host, self._hosts):
            return 421
        origin = request.headers.get("Origin")
        return 403 if origin is not None and not is_same_origin(origin, request.host) else 0

    def listen(self, port: int, address: str) -> None:
        """Serve on a port."""
        HTTPServer(self).listen(port, address)


class Dashboard(Voila):
    """Voila with compressed answers."""

    app: Any
    hosts: tuple[str, ...] = ()

    def init_settings(self) -> dict[str, Any]:
        """Extend Voila's settings; its option ``tornado_settings`` is applied too late for this."""
        claim(Path(self.connection_dir))
        remove_abandoned({Path(self.connection_dir_root), Path(tempfile.gettempdir())})
        threading.Thread(target=plotly_js.module, daemon=True).start()  # before the first request
        return {**super().init_settings(), "compress_response": True}

    def listen(self) -> None:
        """Serve until interrupted, at paths with and without the base."""
        self.app = Front(self.app, self.base_url, self.hosts)
        super().listen()

    def init_handlers(self) -> list[Any]:
        """Add the library, the status of kernels, and a route by which a closing page ends its own.

        Voila's route for that needs a field that a closing page cannot send.
        """
        ours = [
            (plotly_js.PATH, PlotlyScript),
            (r"/alive/([\w-]+)", SessionStatus),
            (r"/voila/api/shutdown/([\w-]+)", Leave),
            (r"/api/kernels/([\w-]+)/channels", KernelSocket),
        ]
        return [*ours, *super().init_handlers()]

    def stop(self) -> None:
        """End the kernels, first those that have just started.

        Voila removes their folder for connection files, and does not know them yet.
        """
        self._end_kernels()
        super().stop()
        self._end_kernels()

    def _end_kernels(self) -> None:
        for child in psutil.Process().children():
            with suppress(psutil.Error):  # it has ended
                if any(self.connection_dir in word for word in child.cmdline()):
                    child.kill()


class KernelManager(AsyncMappingKernelManager):
    """Ends kernels at once, and culls one only if two checks find it without a visitor.

    A kernel of the pool (which Voila does not cull) has been idle for long when it gets a visitor,
    whose page needs a moment to connect. A kernel has nothing to save, and one that is asked to end
    while it starts would print errors to the terminal.
    """

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self._lonely: set[str] = set()

    def is_connected(self, kernel_id: str) -> bool:
        """Return whether a page is connected to a kernel."""
        return bool(self._kernel_connections.get(kernel_id, 0))

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """Cull a kernel at the second check that finds it without a visitor."""
        if kernel_id in self._lonely or self.is_connected(kernel_id):
            self._lonely.discard(kernel_id)
            await super().cull_kernel_if_idle(kernel_id)
        else:
            self._lonely.add(kernel_id)

    async def shutdown_kernel(  # type: ignore[override]  # its bases disagree
        self, kernel_id: str, **how: Any
    ) -> None:
        """End a kernel at once, also if the caller asks for a slow shutdown."""
        await super().shutdown_kernel(kernel_id, **{**how, "now": True})

    async def shutdown_all(self, **how: Any) -> None:  # type: ignore[override]  # as above
        """End all kernels at once; one that is not known yet ends when its parent has ended."""
        with suppress(HTTPError):
            await super().shutdown_all(**{**how, "now": True})
