"""A network with YuNet's inputs and outputs that takes red squares of 8 pixels for faces.

The real file may not be copied into the project; this one runs the same code of OpenCV.
"""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SIDE, STRIDES = 640, (8, 16, 32)
CHANNELS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
WIDTH, HEIGHT = 32, 16
POINTS = np.array([[-8, -4], [8, -4], [0, 0], [-6, 5], [6, 5]])
"""Right eye, left eye, nose, right and left mouth corner of the person, about the middle."""


def constants(kind, cells):
    bbox = [0, 0, np.log(WIDTH / 8), np.log(HEIGHT / 8)]
    value = {"cls": [0], "obj": [1], "bbox": bbox, "kps": POINTS.ravel() / 8}[kind]
    return np.tile(np.array(value, dtype="f4"), (1, cells, 1))


def stand_in():
    """Content of the file."""
    nodes, weights, outputs = [], [], []
    for kind, channels in CHANNELS.items():
        for stride in STRIDES:
            name, cells = f"{kind}_{stride}", (SIDE // stride) ** 2
            shape = [1, cells, channels]
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
            weights.append(numpy_helper.from_array(constants(kind, cells), f"{name}/constant"))
            term = f"{name}/term"
            red = [0, 0, 1 / 255] if name == "cls_8" else [0, 0, 0]  # the third of B, G, R
            weight = np.array(red, dtype="f4").reshape(1, 3, 1, 1)
            weights.append(numpy_helper.from_array(weight, f"{name}/weight"))
            weights.append(numpy_helper.from_array(np.array([1, cells, 1]), f"{name}/shape"))
            nodes += [
                helper.make_node(
                    "AveragePool",
                    ["input"],
                    [f"{name}/pool"],
                    kernel_shape=[stride, stride],
                    strides=[stride, stride],
                ),
                helper.make_node(
                    "Conv", [f"{name}/pool", f"{name}/weight"], [f"{name}/red"], kernel_shape=[1, 1]
                ),
                helper.make_node("Reshape", [f"{name}/red", f"{name}/shape"], [term]),
                helper.make_node("Add", [term, f"{name}/constant"], [name]),
            ]
    photo = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    graph = helper.make_graph(nodes, "stand_in", [photo], outputs, weights)
    opset = [helper.make_opsetid("", 11)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
