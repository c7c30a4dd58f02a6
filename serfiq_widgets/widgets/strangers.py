"""Whether a kernel is used by strangers, and what they may set."""

from __future__ import annotations

import os

STRANGERS = "SERFIQ_STRANGERS"  # set in the environment of kernels that strangers use
FOR_STRANGERS = ("seed", "rate", "alpha", "r")
"""What strangers may set of a scorer: another network or engine would take the machine's memory."""


def among_strangers() -> bool:
    """Whether this process is a kernel of a public demo."""
    return bool(os.environ.get(STRANGERS))
