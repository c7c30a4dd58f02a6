"""The import of OpenCV when it is needed, and resizing, which several modules use."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import EngineUnavailable


def import_cv2() -> Any:
    """Import OpenCV; raise an error that names a missing system library.

    Raises
    ------
    EngineUnavailable
        The text gives the install command.
    """
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise EngineUnavailable(
            "OpenCV is missing: pip install 'serfiq_widgets[headless]', or opencv-python"
        ) from error
    except ImportError as error:
        raise EngineUnavailable(
            f"OpenCV cannot be imported ({error}). On Debian and Ubuntu: apt-get install libgl1 "
            "libglib2.0-0; or take the build without a screen: pip install opencv-python-headless"
        ) from error
    return cv2


def shrunk(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Shrink a photo (H, W, 3) to (width, height) by averaging pixels."""
    if pixels.shape[1::-1] == size:
        return pixels
    cv2 = import_cv2()
    small: NDArray[np.uint8] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return small


def fitted(width: int, height: int, side: int, most: float = math.inf) -> tuple[int, int]:
    """Return (width, height) scaled down to a maximum longer side and number of pixels."""
    scale = min(1.0, side / max(width, height), math.sqrt(most / (width * height)))
    return max(1, round(width * scale)), max(1, round(height * scale))
