"""Messages to a service manager such as systemd: the server is ready, responds, is stopping.

The protocol is that of ``sd_notify``: a datagram of text to the Unix socket that the environment
variable ``NOTIFY_SOCKET`` names.
"""

from __future__ import annotations

import logging
import os
import socket

from tornado.ioloop import PeriodicCallback

LOG = logging.getLogger(__name__)

SOCKET, PERIOD, PROCESS = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
SEND_S = 0.5  # for a service manager that does not read


class ServiceManager:
    """Reports to the service manager that started this process, if there is one.

    The environment variables are removed when they are read, so that visitors' kernels do not
    inherit them.

    Attributes
    ----------
    period_s : float
        Seconds within which it wants a sign that the event loop responds; 0 if it wants none.
    """

    def __init__(self) -> None:
        self._address = os.environ.pop(SOCKET, "")
        period, process = os.environ.pop(PERIOD, ""), os.environ.pop(PROCESS, "")
        is_meant = process in ("", str(os.getpid()))
        self.period_s = int(period) / 1e6 if is_meant and period.isdecimal() else 0.0
        self._timer: PeriodicCallback | None = None

    def ready(self) -> None:
        """Report that the server listens; from now on the event loop reports that it responds."""
        self._send("READY=1")
        if self._address and self.period_s:
            self._timer = PeriodicCallback(self._respond, 1000 * self.period_s / 2)
            self._timer.start()
            self._respond()

    def stopping(self) -> None:
        """Report that the server is about to end."""
        if self._timer is not None:
            self._timer.stop()
        self._send("STOPPING=1")

    def _respond(self) -> None:
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        abstract = self._address.startswith("@")
        address = "\0" + self._address[1:] if abstract else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.settimeout(SEND_S)
                channel.sendto(text.encode(), address)
        except OSError as error:
            LOG.warning("The service manager could not be told %s: %s", text, error)
