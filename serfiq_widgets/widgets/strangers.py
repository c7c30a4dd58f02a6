"""Whether a kernel belongs to a public demo, and which settings its visitors may change."""

from __future__ import annotations

import os

STRANGERS = "SERFIQ_STRANGERS"  # environment variable of kernels of a public demo
FOR_STRANGERS = ("seed", "rate", "alpha", "r")
"""Scorer settings open to visitors; another network or engine would need more memory."""


def among_strangers() -> bool:
    """Whether this process is a kernel of a public demo."""
    return bool(os.environ.get(STRANGERS))
