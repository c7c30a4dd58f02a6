"""Range checks of numbers from users, with one form of error message."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any, SupportsIndex

from serfiq_widgets.errors import BadSetting


def check_whole(name: str, value: SupportsIndex, least: int, most: int) -> int:
    """Return a whole number within bounds as an int; else raise BadSetting with its name."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if isinstance(value, bool) or not least <= number <= most:
        raise BadSetting(
            f"{name}={value!r:.60} is not possible: give a whole number {least} to {most}."
        )
    return number


def check_number(
    name: str, value: float, least: float, most: float, *, open_below: bool = False
) -> float:
    """Return a number within bounds as a float; else raise BadSetting with its name.

    With ``open_below``, the lower bound itself is excluded.
    """
    kind: Any = type(value)
    number = issubclass(kind, Real) and kind is not bool and math.isfinite(value)
    if not (number and least <= value <= most) or (open_below and value == least):
        bounds = f"above {least:g}, at most {most:g}" if open_below else f"{least:g} to {most:g}"
        raise BadSetting(f"{name}={value!r:.60} is not possible: give a number {bounds}.")
    return float(value)
