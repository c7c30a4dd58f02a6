"""What a kernel is told of its page: whether it is public, and whether a lecture begins."""

from __future__ import annotations

import os

PUBLIC = "SERFIQ_STRANGERS"  # environment variable of kernels of a public demo
LECTURE = "SERFIQ_LECTURE"  # environment variable of kernels whose page begins in lecture mode
VISITORS_MAY_CHANGE = ("seed", "rate", "alpha", "r")
"""Scorer settings open to visitors; another network or engine would need more memory."""


def is_public() -> bool:
    """Whether this process is a kernel of a public demo."""
    return bool(os.environ.get(PUBLIC))
