"""The websocket between a page and its kernel: one format, and no length that a peer states counts.

jupyter_server speaks an older format with whoever does not ask for v1, and also on a connection
that is just closing; Voila reads those bytes as v1 all the same, takes the first eight for a number
of offsets, and works for hours. So here every connection speaks v1, a message that arrives or
leaves is read by `server.protocol` alone, and one that is closing passes nothing on.
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
    """A websocket to a kernel that stays right while it opens, closes, or meets a hostile peer."""

    def is_open(self) -> bool:
        """Return whether messages may pass: it stands, and nobody has begun to close it."""
        held = self.ws_connection
        return held is not None and not held.is_closing() and self._is_connected

    @property
    def _is_connected(self) -> bool:
        return getattr(self, "connection", None) is not None

    def check_protocol(self) -> None:
        """Refuse who does not offer v1, as a whole word of the list.

        Raises
        ------
        HTTPError
            400.
        """
        offered = self.request.headers.get("Sec-WebSocket-Protocol", "").split(",")
        if PROTOCOL not in (name.strip() for name in offered):
            raise HTTPError(400)

    async def prepare(self) -> None:
        """Refuse who speaks another protocol."""
        self.check_protocol()
        await super().prepare()

    def select_subprotocol(self, subprotocols: list[str]) -> str:  # noqa: ARG002  # tornado's
        """Return v1: `check_protocol` found it among those that are offered."""
        return PROTOCOL

    @property
    def selected_subprotocol(self) -> str:
        """V1, also where tornado has let go of the connection."""
        return PROTOCOL

    async def open(self, kernel_id: str) -> None:
        """Connect to the kernel; one that is busy for too long closes the websocket.

        Where opening fails, tornado drops the connection and does not call `on_close`.
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
        """Give the kernel a message of v1's form; the first of another form is the last."""
        if not self.is_open():
            return
        try:
            split(ws_message if isinstance(ws_message, bytes) else b"", len(ws_message))
        except Refused as error:
            self.close(1002, str(error))
            return
        self._pass_on(ws_message)

    def _pass_on(self, ws_message: bytes | str) -> None:
        """Give the kernel a message that was checked."""
        super().on_message(ws_message)

    def write_message(self, message: Any, binary: bool = False) -> Any:  # noqa: FBT002  # tornado's
        """Give the page what its kernel says, but for its own code, as long as it listens."""
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
        """Close, and let go of the kernel at once: the peer may never answer."""
        super().close(code, reason)
        self.on_close()

    def on_close(self) -> None:
        """Let go of the kernel, once."""
        if self._is_connected:
            super().on_close()
