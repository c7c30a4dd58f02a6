"""CenterFace, the default detector, on ONNX Runtime.

Y. Xu, W. Yan, G. Yang, J. Luo, T. Li and J. He, "CenterFace: Joint Face Detection and Alignment
Using Face as Point", Scientific Programming, 2020. ``centerface-LICENSE.txt`` says where its file
comes from and what was changed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.engines.onnxruntime import session
from serfiq_widgets.faces.detectors import Detection
from serfiq_widgets.images.memory import give_back
from serfiq_widgets.images.opencv import fitted, import_cv2, shrunk

FILE = Path(__file__).with_name("centerface.onnx")
SIDES = (640, 1280)  # longer sides for detection: first large faces, then small ones
THRESHOLD = 0.5
OVERLAP = 0.3  # of two boxes, as intersection over union: above, they are one face
STEP, MULTIPLE = 4, 32  # pixels of the photo per cell of the heat map; of its sides
MAX_PIXELS = 1_000_000  # for which the network needs 220 MB
SMALL = 200_000  # pixels; above, memory is returned to the system


class CenterFace:
    """The detector: a heat map of face centres, and a size, an offset and landmarks at each."""

    def __init__(self) -> None:
        import_cv2()
        self._network = session(FILE.read_bytes(), ["CPUExecutionProvider"], hoard=False)

    def __call__(self, pixels: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces in a photo (H, W, 3) uint8 RGB."""
        height, width = pixels.shape[:2]
        found: list[Detection] = []
        for side in SIDES:
            size = fitted(width, height, side, MAX_PIXELS)
            found += [one for one in self._look(pixels, size) if not _is_among(one, found)]
            if size == (width, height):
                break
        if size[0] * size[1] > SMALL:
            give_back()
        return found

    def _look(self, pixels: NDArray[np.uint8], size: tuple[int, int]) -> list[Detection]:
        """Find the faces in the photo resized to about this width and height."""
        cv2 = import_cv2()
        width, height = (-(-side // MULTIPLE) * MULTIPLE for side in size)
        full = (width, height)
        photo = cv2.resize(shrunk(pixels, size), full, interpolation=cv2.INTER_LINEAR)
        planes = np.ascontiguousarray(photo.transpose(2, 0, 1)[None], dtype=np.float32)
        names = ["heatmap", "sizes", "offsets", "landmarks"]
        heat, sizes, offsets, points = self._network.run(names, {"photo": planes})
        boxes, landmarks, scores = decode(heat[0], sizes[0], offsets[0], points[0], full)
        extents = np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]])
        kept = np.ravel(cv2.dnn.NMSBoxes(extents.tolist(), scores.tolist(), THRESHOLD, OVERLAP))
        ratio = np.array(pixels.shape[1::-1], np.float32) / np.array(full, np.float32)
        return [
            Detection(
                _box(boxes[one] * np.tile(ratio, 2)),
                landmarks[one] * ratio,
                float(scores[one]),
            )
            for one in kept.astype(int)
        ]


def decode(
    heat: NDArray[np.float32],
    sizes: NDArray[np.float32],
    offsets: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    size: tuple[int, int],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Return the faces at all cells whose heat is above `THRESHOLD`, before suppression.

    Parameters
    ----------
    heat : (1, h, w) ndarray of float32
        How likely the centre of a face is in each cell of 4 x 4 pixels, 0 to 1.
    sizes : (2, h, w) ndarray of float32
        Logarithm of the height and the width of the box, in cells.
    offsets : (2, h, w) ndarray of float32
        Of the centre in its cell: down and to the right, in cells.
    landmarks : (10, h, w) ndarray of float32
        Of five points: y and x from the upper left corner, in heights and widths of the box.
    size : tuple of int
        Width and height of the photo, in pixels.

    Returns
    -------
    boxes : (N, 4) ndarray of float32
        Left, top, right, bottom in pixels, within the photo.
    landmarks : (N, 5, 2) ndarray of float32
        x and y in pixels.
    scores : (N,) ndarray of float32
    """
    rows, columns = np.nonzero(heat[0] > THRESHOLD)
    extent = np.exp(sizes[::-1, rows, columns].T) * STEP  # width and height
    cells = np.stack([columns, rows], axis=1) + offsets[::-1, rows, columns].T + 0.5
    edges = np.array(size, np.float32)
    first = np.clip(cells * STEP - extent / 2, 0, edges)
    boxes = np.hstack([first, np.minimum(first + extent, edges)])
    points = landmarks[:, rows, columns].T.reshape(-1, 5, 2)[:, :, ::-1]
    places = points * extent[:, None] + first[:, None]
    return boxes.astype(np.float32), places.astype(np.float32), heat[0, rows, columns]


def _box(edges: NDArray[np.float32]) -> tuple[float, float, float, float]:
    left, top, right, bottom = edges.tolist()
    return left, top, right, bottom


def _is_among(one: Detection, found: list[Detection]) -> bool:
    """Return whether a face was found before: the centre of one box is inside the other."""
    return any(_holds(one.box, other.box) or _holds(other.box, one.box) for other in found)


def _holds(
    box: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    """Return whether the centre of the other box is inside a box."""
    x, y = (other[0] + other[2]) / 2, (other[1] + other[3]) / 2
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]
