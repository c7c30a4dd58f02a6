"""Messages to a service manager such as systemd: the server is ready, responds, is stopping.

The protocol is ``sd_notify``: a datagram of text to the Unix socket that the environment
variable ``NOTIFY_SOCKET`` names.
"""

from __future__ import annotations

import logging
import os
import socket

from tornado.ioloop import PeriodicCallback

LOG = logging.getLogger(__name__)

SOCKET, PERIOD, PROCESS = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
SEND_S = 0.5  # timeout for a service manager that does not read


class ServiceManager:
    """Reports to the service manager that started this process, if there is one.

    The environment variables are removed when they are read, so that visitors' kernels do not
    inherit them.

    Attributes
    ----------
    period_s : float
        Seconds within which it expects a message that the event loop responds; 0 if none.
    """

    def __init__(self) -> None:
        address = os.environ.pop(SOCKET, "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address  # abstract
        period, process = os.environ.pop(PERIOD, ""), os.environ.pop(PROCESS, "")
        is_meant = process in ("", str(os.getpid()))
        self.period_s = int(period) / 1e6 if is_meant and period.isdecimal() else 0.0
        self._timer: PeriodicCallback | None = None
        self._channel: socket.socket | None = None
        if self._address:  # opened now: later the limit of open files may be reached
            self._channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._channel.settimeout(SEND_S)

    def ready(self) -> None:
        """Report that the server listens; from now on the event loop reports that it responds."""
        self._send("READY=1")
        if self._channel is not None and self.period_s:
            self._timer = PeriodicCallback(self._respond, 1000 * self.period_s / 2)
            self._timer.start()
            self._respond()

    def stopping(self) -> None:
        """Report that the server is about to end."""
        if self._timer is not None:
            self._timer.stop()
        self._send("STOPPING=1")
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _respond(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if self._channel is None:
            return
        try:
            self._channel.sendto(text.encode(), self._address)
        except OSError as error:
            LOG.warning("The message %s could not be sent to the service manager: %s", text, error)
