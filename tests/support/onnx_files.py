"""Helpers that write ONNX files: maps = conv(data), then one of the heads that exporters write."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, MAPS, DIMENSIONS = 8, 5, 4
FEATURES = MAPS * SIDE * SIDE
RNG = np.random.default_rng(3)
WEIGHTS = {
    "kernel": RNG.normal(size=(MAPS, 3, 1, 1)),
    "matrix": RNG.normal(size=(DIMENSIONS, FEATURES)),
    "turned": RNG.normal(size=(FEATURES, DIMENSIONS)),
    "window": RNG.normal(size=(DIMENSIONS, MAPS, SIDE, SIDE)),
    "point": RNG.normal(size=(DIMENSIONS, MAPS, 1, 1)),
    "each": RNG.normal(size=(MAPS, 1, SIDE, SIDE)),
    "few": RNG.normal(size=(DIMENSIONS, MAPS)),
    "second": RNG.normal(size=(DIMENSIONS, DIMENSIONS)),
    "offset": RNG.normal(size=DIMENSIONS),
    "row": RNG.normal(size=(1, DIMENSIONS)),
    "gamma": RNG.uniform(0.5, 2, DIMENSIONS),
    "beta": RNG.normal(size=DIMENSIONS),
    "mean": RNG.normal(size=DIMENSIONS),
    "variance": RNG.uniform(0.5, 2, DIMENSIONS),
    "ratio": np.asarray(0.3),
}
SHAPE = numpy_helper.from_array(np.array([0, -1]), "shape")

DROP = ("Dropout", ["maps", "ratio"], "dropped", {})
FLAT = ("Flatten", ["maps"], "flat", {})
GEMM = ("Gemm", ["flat", "matrix", "offset"], "fc", {"transB": 1})
NORM = ["gamma", "beta", "mean", "variance"]

HEADS = {
    "Gemm": [FLAT, GEMM],
    "Gemm, not transposed": [FLAT, ("Gemm", ["flat", "turned"], "fc", {})],
    "Gemm with alpha and beta": [
        FLAT,
        ("Gemm", ["flat", "matrix", "offset"], "fc", {"transB": 1, "alpha": 2.0, "beta": 0.5}),
    ],
    "MatMul and Add": [
        FLAT,
        ("MatMul", ["flat", "turned"], "product", {}),
        ("Add", ["product", "offset"], "fc", {}),
    ],
    "Reshape": [("Reshape", ["maps", "shape"], "flat", {}), GEMM],
    "batch norm": [FLAT, GEMM, ("BatchNormalization", ["fc", *NORM], "bn", {"epsilon": 1e-3})],
    "arithmetic": [
        FLAT,
        GEMM,
        ("Sub", ["row", "fc"], "sub", {}),
        ("Mul", ["sub", "gamma"], "mul", {}),
        ("Div", ["mul", "variance"], "div", {}),
        ("Sub", ["div", "mean"], "less", {}),
    ],
    "two layers": [
        FLAT,
        ("Dropout", ["flat"], "dropped", {}),
        *[
            ("Gemm", ["dropped", "matrix", "offset"], "fc", {"transB": 1}),
            ("Gemm", ["fc", "second"], "fc2", {}),
        ],
    ],
    "final length": [FLAT, GEMM, ("LpNormalization", ["fc"], "unit", {"axis": 1, "p": 2})],
    "final length by nodes": [
        FLAT,
        GEMM,
        ("Mul", ["fc", "fc"], "square", {}),
        ("ReduceSum", ["square", "axis"], "sum", {"keepdims": 1}),
        ("Sqrt", ["sum"], "length", {}),
        ("Div", ["fc", "length"], "unit", {}),
    ],
    "final length, spread": [  # as PyTorch writes it
        FLAT,
        GEMM,
        ("ReduceL2", ["fc"], "length", {"axes": [1], "keepdims": 1}),
        ("Shape", ["fc"], "sizes", {}),
        ("Expand", ["length", "sizes"], "lengths", {}),
        ("Div", ["fc", "lengths"], "unit", {}),
    ],
    "Reshape to a computed shape": [
        ("Shape", ["maps"], "sizes", {}),
        ("Gather", ["sizes", "axis"], "some", {}),
        ("Sub", ["some", "some"], "keep", {}),
        ("Sub", ["keep", "axis"], "rest", {}),
        ("Concat", ["keep", "rest"], "computed", {"axis": 0}),
        ("Reshape", ["maps", "computed"], "flat", {}),
        GEMM,
    ],
    "features of length 1": [
        FLAT,
        ("LpNormalization", ["flat"], "unit", {"axis": 1, "p": 2}),
        ("Gemm", ["unit", "matrix", "offset"], "fc", {"transB": 1}),
    ],
    "convolution of one window": [
        ("Conv", ["maps", "window"], "seen", {}),
        ("Flatten", ["seen"], "flat", {}),
    ],
    "convolution after global pooling": [
        ("GlobalAveragePool", ["maps"], "pooled", {}),
        ("Conv", ["pooled", "point", "offset"], "seen", {}),
        ("BatchNormalization", ["seen", *NORM], "bn", {}),
        ("Flatten", ["bn"], "flat", {}),
    ],
    "depthwise convolution of one window": [
        ("Conv", ["maps", "each"], "seen", {"group": MAPS}),
        ("Flatten", ["seen"], "flat", {}),
        ("Gemm", ["flat", "few"], "fc", {"transB": 1}),
    ],
    "Dropout of maps": [DROP, ("Flatten", ["dropped"], "flat", {}), GEMM],
}


def network_file(folder, nodes, opset=13):
    """Write maps = conv(data) followed by the nodes, as an ONNX file."""
    first = helper.make_node("Conv", ["data", "kernel"], ["maps"])
    rest = [helper.make_node(kind, inputs, [out], **attrs) for kind, inputs, out, attrs in nodes]
    weights = [numpy_helper.from_array(v.astype("f4"), k) for k, v in WEIGHTS.items()]
    weights += [SHAPE, numpy_helper.from_array(np.array([1]), "axis")]
    used = {name for node in [first, *rest] for name in node.input}
    graph = helper.make_graph(
        [first, *rest],
        "net",
        [helper.make_tensor_value_info("data", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(rest[-1].output[0], TensorProto.FLOAT, ["N", "D"])],
        [weight for weight in weights if weight.name in used],
    )
    path = folder / "net.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.save(model, path)
    return path
