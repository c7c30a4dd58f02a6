"""Face detectors: each finds the faces in a photo, with five landmarks of each.

CenterFace is always available. MTCNN, the reference's detector, and YuNet need files that the user
provides (`models.files.models_folder`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import BadSetting

DETECTORS = ("centerface", "mtcnn", "yunet")


@dataclass(frozen=True, eq=False)
class Detection:
    """One face that a detector found.

    Attributes
    ----------
    box : tuple of float
        Left, top, right, bottom in photo pixels.
    landmarks : (5, 2) ndarray of float32
        Left eye, right eye, nose, left and right mouth corner as seen in the image; x, y in
        photo pixels.
    confidence : float
        The detector's confidence, 0..1.
    """

    box: tuple[float, float, float, float]
    landmarks: NDArray[np.float32]
    confidence: float


Detector = Callable[[NDArray[np.uint8]], list[Detection]]
"""A function of an (H, W, 3) uint8 RGB photo that returns the faces in any order."""


def check_detector(name: str) -> str:
    """Return the name of a detector; raise BadSetting, which lists the names, if unknown."""
    if name not in DETECTORS:
        raise BadSetting(f"There is no detector {name!r:.60}. Take one of: {', '.join(DETECTORS)}.")
    return name


def open_detector(name: str) -> Detector:
    """Load a detector once and return it.

    Parameters
    ----------
    name : {"centerface", "mtcnn", "yunet"}
        CenterFace is bundled; the others need the user's files.

    Raises
    ------
    BadSetting
        There is no such detector; the text lists the names.
    EngineUnavailable
        Its files or a package are missing; the text says which, and where to put them.
    CorruptModel
        Its files are broken or wrong.
    """
    return _open(check_detector(name))


@cache
def _open(name: str) -> Detector:
    if name == "mtcnn":
        from serfiq_widgets.faces.detectors.mtcnn import Mtcnn

        return Mtcnn()
    if name == "yunet":
        from serfiq_widgets.faces.detectors.yunet import YuNet

        return YuNet()
    from serfiq_widgets.faces.detectors.centerface import CenterFace

    return CenterFace()
