"""YuNet, OpenCV's detector; it needs a file from the user.

Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 20,
2023.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import CorruptModel, EngineUnavailable
from serfiq_widgets.faces.detectors import Detection
from serfiq_widgets.images.opencv import fitted, import_cv2, shrunk
from serfiq_widgets.models import files
from serfiq_widgets.models.cards import Card, cards

CANVAS = 640  # the network's own height and width
SIDES = (640, 320)  # longer side of the photo on it; the second is tried if no face was found: the
# network finds faces of about 10 to 300 pixels
THRESHOLD, OVERLAP, MAX_FACES = 0.6, 0.3, 1000


class YuNet:
    """OpenCV's class for the network.

    The input is always the same square, black outside the photo: the file fixes this size, and not
    every version of OpenCV can change it.

    Parameters
    ----------
    card : Card, optional
        Its file and folder; by default the card ``yunet``.

    Raises
    ------
    EngineUnavailable
        The file (the text says where to put it) or OpenCV is missing.
    CorruptModel
        The file is wrong.
    """

    def __init__(self, card: Card | None = None) -> None:
        cv2 = import_cv2()
        card = card or cards()["yunet"]
        (file,) = card.files
        path = card.folder / file.name
        if not path.is_file():
            raise EngineUnavailable(
                f"YuNet needs its file {path}: 'serfiq models download {card.name}' puts it there, "
                f"or take it from {file.url}"
            )
        if not files.is_genuine(path, file):
            raise CorruptModel(
                f"'{path}' is broken, or not the file that YuNet's card names, whose SHA-256 is "
                f"{file.sha256}. Delete it and download it again."
            )
        buffer = np.frombuffer(path.read_bytes(), np.uint8)
        self._network: Any = cv2.FaceDetectorYN.create(
            "onnx", buffer, np.empty(0, np.uint8), (CANVAS, CANVAS), THRESHOLD, OVERLAP, MAX_FACES
        )

    def __call__(self, pixels: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces in a photo (H, W, 3) uint8 RGB."""
        height, width = pixels.shape[:2]
        for side in SIDES:
            size = fitted(width, height, side)
            canvas = np.zeros((CANVAS, CANVAS, 3), dtype=np.uint8)
            canvas[: size[1], : size[0]] = shrunk(pixels, size)[..., ::-1]  # BGR
            _, rows = self._network.detect(canvas)
            if rows is not None or size == (width, height):
                break
        return parse(rows, (width / size[0], height / size[1]))


def parse(rows: NDArray[np.float32] | None, ratio: tuple[float, float]) -> list[Detection]:
    """Convert the results of OpenCV's FaceDetectorYN.

    Parameters
    ----------
    rows : (N, 15) ndarray of float32, or None
        Left, top, width, height; x, y of the person's right eye, left eye, nose tip, right and
        left mouth corner; confidence. The person's right is on the left of the image, which is
        the order of `Detection` already. OpenCV returns None if there is no face.
    ratio : tuple of float
        Width and height of the photo, divided by those of the searched image.
    """
    if rows is None:
        return []
    scale = np.array(ratio, dtype=np.float32)
    found = []
    for row in rows:
        left, top = (row[:2] * scale).tolist()
        right, bottom = ((row[:2] + row[2:4]) * scale).tolist()
        landmarks = (row[4:14].reshape(5, 2) + 0.5) * scale - 0.5
        found.append(Detection((left, top, right, bottom), landmarks, float(row[14])))
    return found
