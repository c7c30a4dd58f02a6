"""The websocket between a page and its kernel: one format, with lengths that are checked.

jupyter_server uses an older format with clients that do not request v1, and also on a connection
that is just closing; Voila still reads those bytes as v1, takes the first eight for a number of
offsets, and computes for hours. So here every connection uses v1, every message in both directions
is parsed by `server.protocol`, and a closing connection forwards nothing.
"""

from __future__ import annotations

import logging
from typing import Any

from tornado.iostream import StreamBufferFullError
from tornado.web import HTTPError
from tornado.websocket import WebSocketClosedError
from voila.tornado.kernel_websocket_handler import VoilaKernelWebsocketHandler

from serfiq_widgets.server.protocol import PROTOCOL, Refused, header, split

LOG = logging.getLogger(__name__)


class KernelSocket(VoilaKernelWebsocketHandler):  # type: ignore[misc]  # untyped
    """A websocket to a kernel, robust while it opens or closes and against hostile peers."""

    def is_open(self) -> bool:
        """Return whether messages may pass: it is connected and not closing."""
        held = self.ws_connection
        return held is not None and not held.is_closing() and self._is_connected

    @property
    def _is_connected(self) -> bool:
        return getattr(self, "connection", None) is not None

    def check_protocol(self) -> None:
        """Refuse a client that does not offer v1, as a whole word of the list.

        Raises
        ------
        HTTPError
            Status 400.
        """
        offered = self.request.headers.get("Sec-WebSocket-Protocol", "").split(",")
        if PROTOCOL not in (name.strip() for name in offered):
            raise HTTPError(400)

    async def prepare(self) -> None:
        """Refuse clients with another protocol."""
        self.check_protocol()
        await super().prepare()

    def select_subprotocol(self, subprotocols: list[str]) -> str:  # noqa: ARG002  # tornado's
        """Return v1: `check_protocol` found it among the offered protocols."""
        return PROTOCOL

    @property
    def selected_subprotocol(self) -> str:
        """Return v1, also after tornado has dropped the connection."""
        return PROTOCOL

    async def open(self, kernel_id: str) -> None:
        """Connect to the kernel; close the websocket if the kernel is busy for too long.

        If opening fails, tornado drops the connection and does not call `on_close`.
        """
        try:
            await super().open(kernel_id)
        except TimeoutError:
            LOG.info("A kernel did not answer in time, so its page was disconnected.")
            self.close(1013, "the kernel is busy")
        except Exception:
            self.on_close()
            raise

    def on_message(self, ws_message: bytes | str) -> Any:
        """Forward a message in v1's form; close the websocket at one in another form."""
        if not self.is_open():
            return
        try:
            split(ws_message if isinstance(ws_message, bytes) else b"", len(ws_message))
        except Refused as error:
            self.close(1002, str(error))
            return
        self._pass_on(ws_message)

    def _pass_on(self, ws_message: bytes | str) -> None:
        """Forward a checked message to the kernel."""
        super().on_message(ws_message)

    def write_message(self, message: Any, binary: bool = False) -> Any:  # noqa: FBT002  # tornado's
        """Forward a message of the kernel to the page, except its code, while the page reads."""
        if not self.is_open() or not isinstance(message, bytes):
            return None
        if header(message).get("msg_type") == "execute_input":
            return None
        try:
            return super(VoilaKernelWebsocketHandler, self).write_message(message, binary)
        except WebSocketClosedError:
            return None
        except StreamBufferFullError:
            LOG.info("A page that did not read what was sent to it was disconnected.")
            self.request.connection.stream.close()
            self.close()
            return None

    def close(self, code: int | None = None, reason: str | None = None) -> None:
        """Close, and disconnect from the kernel at once: the peer may never answer."""
        super().close(code, reason)
        self.on_close()

    def on_close(self) -> None:
        """Disconnect from the kernel, once."""
        if self._is_connected:
            super().on_close()
