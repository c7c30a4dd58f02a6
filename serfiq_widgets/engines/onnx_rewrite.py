"""Rewriting of PReLU, which prevents ONNX Runtime's fast convolutions on CPUs.

The runtime computes convolutions in blocks of channels (its NCHWc layout). It has no PReLU in that
layout and converts to the plain layout and back at each PReLU, twice per layer. The same function
written with ReLU, products and sums keeps the block layout.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from serfiq_widgets.checkpoints.onnx_graph import Graph, operator_of

MIN_SLOPE = 1e-10  # instead of 0, by which nothing can be divided; float32 loses more by rounding


def without_prelu(trunk: bytes) -> bytes:
    r"""Replace each PReLU of a model by :math:`s (x + \frac{1 - s}{s} \max(x, 0))`, which is equal.

    Where only convolutions follow, their weights take the factor s, so that the function costs two
    passes over memory; written as :math:`s x + (1 - s) \max(x, 0)` it would cost three.

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
    readers = defaultdict(list)
    for node in graph.nodes:
        for tensor in dict.fromkeys(node.input):
            readers[tensor].append(node)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}

    def write(name: str, values: NDArray[np.float64]) -> None:
        tensor = weights.get(name) or model.graph.initializer.add()
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))

    nodes: list[onnx.NodeProto] = []
    for number, node in enumerate(graph.nodes):
        if operator_of(node) != "PRelu" or not graph.is_float32(node.input[1]):
            nodes.append(node)
            continue
        (x, _), (out,) = node.input, node.output
        name = f"{out}/prelu{number}"
        slopes = graph.constant(node.input[1])
        slopes = np.where(np.abs(slopes) < MIN_SLOPE, MIN_SLOPE, slopes)
        write(f"{name}/factor", (1 - slopes) / slopes)
        scaled = [_scaled(reader, out, slopes, graph) for reader in readers[out]]
        kernels = [kernel for kernel in scaled if kernel is not None]
        is_free = out != graph.output and len(kernels) == len(scaled)
        summed = out if is_free else f"{name}/summed"
        nodes += [
            helper.make_node("Relu", [x], [f"{name}/relu"]),
            helper.make_node("Mul", [f"{name}/relu", f"{name}/factor"], [f"{name}/product"]),
            helper.make_node("Add", [x, f"{name}/product"], [summed]),
        ]
        if not is_free:
            write(f"{name}/slopes", slopes)
            nodes.append(helper.make_node("Mul", [summed, f"{name}/slopes"], [out]))
            continue
        for reader, kernel in zip(readers[out], kernels, strict=True):
            if len(readers[reader.input[1]]) > 1 or reader.input[1] not in weights:
                reader.input[1] = f"{reader.output[0]}/scaled{number}"
            write(reader.input[1], kernel)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    content: bytes = model.SerializeToString()
    return content


def _scaled(
    node: onnx.NodeProto, tensor: str, slopes: NDArray[np.float64], graph: Graph
) -> NDArray[np.float64] | None:
    """Return the weights with which a convolution gets a tensor without its factor, the slopes.

    None if the node is not a convolution of this tensor with constant weights, or if the slopes
    differ within a channel.
    """
    if operator_of(node) != "Conv" or tensor in node.input[1:]:
        return None
    if not graph.is_float32(node.input[1]):
        return None
    kernel = graph.constant(node.input[1])
    groups = next((int(a.i) for a in node.attribute if a.name == "group"), 1)
    if kernel.ndim != 4 or groups < 1 or len(kernel) % groups:  # noqa: PLR2004  # (M, C, H, W)
        return None
    channels = groups * kernel.shape[1]
    if slopes.size != 1 and (slopes.size != channels or slopes.shape[-2:] != (1, 1)):
        return None
    factors = np.broadcast_to(slopes.ravel(), channels).reshape(groups, 1, kernel.shape[1], 1, 1)
    scaled: NDArray[np.float64] = kernel.reshape(groups, -1, *kernel.shape[1:]) * factors
    return scaled.reshape(kernel.shape)
