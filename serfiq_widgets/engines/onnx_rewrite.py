"""Rewriting of PReLU, which prevents ONNX Runtime's fast convolutions on CPUs.

The runtime computes convolutions in blocks of channels (its NCHWc layout). It has no PReLU in that
layout and converts to the plain layout and back at each PReLU, twice per layer. The same function
written with ReLU, products and sums keeps the block layout.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from serfiq_widgets.checkpoints.onnx_graph import Graph, operator_of


def without_prelu(trunk: bytes) -> bytes:
    r"""Replace each PReLU of a model by :math:`s x + (1 - s) \max(x, 0)`, the same function.

    Parameters
    ----------
    trunk : bytes
        An ONNX model.

    Returns
    -------
    bytes
        The model; its outputs differ by the rounding of float32. A PReLU whose slopes are not
        constant float32 numbers stays as it is.
    """
    model = onnx.load_model_from_string(trunk)
    graph = Graph(model, "trunk")
    nodes: list[onnx.NodeProto] = []
    for number, node in enumerate(graph.nodes):
        if operator_of(node) != "PRelu" or not graph.is_float32(node.input[1]):
            nodes.append(node)
            continue
        name = f"{node.output[0]}/prelu{number}"
        slopes = graph.constant(node.input[1])
        model.graph.initializer.extend(
            numpy_helper.from_array(factor.astype(np.float32), f"{name}/{which}")
            for which, factor in (("below", slopes), ("above", 1 - slopes))
        )
        (x, _), (out,) = node.input, node.output
        nodes += [
            helper.make_node("Relu", [x], [f"{name}/relu"]),
            helper.make_node("Mul", [x, f"{name}/below"], [f"{name}/line"]),
            helper.make_node("Mul", [f"{name}/relu", f"{name}/above"], [f"{name}/bend"]),
            helper.make_node("Add", [f"{name}/line", f"{name}/bend"], [out]),
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    content: bytes = model.SerializeToString()
    return content
