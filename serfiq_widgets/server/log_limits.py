"""A log filter: repeated messages are logged once a minute, with their count."""

from __future__ import annotations

import logging
from time import monotonic

EVERY_S = 60.0
MAX_KINDS = 100  # kinds that are counted


class Seldom(logging.Filter):
    """Passes a record if none of its kind passed in the last minute, and adds the suppressed count.

    Records are of the same kind if they have the same logger, level and text before its arguments
    are filled in.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record passes."""
        kind = (record.name, record.levelno, str(record.msg)[:200])
        now = monotonic()
        at, kept = self._said.get(kind, (-EVERY_S, 0))
        if now - at < EVERY_S:
            self._said[kind] = at, kept + 1
            return False
        if kept:
            record.msg, record.args = f"{record.getMessage()} (and {kept} times more)", ()
        if len(self._said) >= MAX_KINDS:
            self._said.clear()
        self._said[kind] = now, 0
        return True


def log_seldom() -> None:
    """Log warnings and errors of all loggers to standard error, each kind once a minute."""
    handler = logging.StreamHandler()
    handler.setLevel(logging.WARNING)
    handler.addFilter(Seldom())
    logging.getLogger().addHandler(handler)
