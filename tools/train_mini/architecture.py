"""The network's shape, shared by the reader of dlib's file, the student in torch and the export.

pad, crop, resize to 150 -> dlib's trunk, a residual network of 29 convolutions (its batch norms
are folded in) -> batch norm -> dropout -> fully connected -> batch norm.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SIDE = 150  # what dlib's network sees
BOTTOM = 12  # rows repeated below the chin: dlib's crop is a little lower and tighter
CROP = (20, 124, 4, 108)  # top, bottom, left, right
STEM, STEM_KERNEL = 32, 7
DIMENSIONS, RATE = 128, 0.4
EPSILON = 2e-5  # of both batch norms
MAX_MULTIPLY_ADDS, MAX_BYTES = 300_000_000, 15_000_000  # of a bundled network

LEVELS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))


class Unit(NamedTuple):
    """One residual unit: two 3x3 convolutions; if ``down``, the first halves the size."""

    name: str
    filters: int
    down: bool


UNITS = tuple(
    Unit(f"stage{level}_unit{number}", filters, down and number == 1)
    for level, (filters, count, down) in enumerate(LEVELS, 1)
    for number in range(1, count + 1)
)
MAPS = UNITS[-1].filters
FEATURES = 4 * MAPS  # the last maps are 2x2


def halved(side: int, kernel: int) -> int:
    """Side of a map after a kernel of stride 2 without padding."""
    return (side - kernel) // 2 + 1


FIRST_SIDE = halved(halved(SIDE, STEM_KERNEL), 3)  # of the maps that reach the first unit


def multiply_adds() -> int:
    """Multiply-adds of one face: convolutions and the fully connected layer."""
    total = halved(SIDE, STEM_KERNEL) ** 2 * STEM * 3 * STEM_KERNEL**2
    side, channels = FIRST_SIDE, STEM
    for unit in UNITS:
        inner = halved(side, 3) if unit.down else side
        total += inner**2 * unit.filters * 9 * (channels + unit.filters)
        side = halved(side, 2) if unit.down else side
        if unit.filters != channels:
            total += side**2 * channels * unit.filters
        channels = unit.filters
    return total + FEATURES * DIMENSIONS


def widenings() -> dict[str, NDArray[np.float32]]:
    """Weights of the shortcuts' 1x1 convolutions, which append maps of zeros, as dlib does."""
    arrays: dict[str, NDArray[np.float32]] = {}
    channels = STEM
    for unit in UNITS:
        if unit.filters != channels:
            widen = np.eye(unit.filters, channels, dtype=np.float32)
            arrays[f"arg:{unit.name}_sc_weight"] = widen[..., None, None]
            arrays[f"arg:{unit.name}_sc_bias"] = np.zeros(unit.filters, np.float32)
        channels = unit.filters
    return arrays
