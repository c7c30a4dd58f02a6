"""Folding of the layers after the dropout site into one matrix and one vector, if they are affine.

Supported are fully connected layers or convolutions whose kernel covers the whole input, batch
norms, arithmetic with weights, and a normalisation at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from serfiq_widgets.checkpoints.heads import Head, affine
from serfiq_widgets.checkpoints.onnx_graph import Graph, norm_of, operator_of

AFFINE = ("BatchNormalization", "Add", "Sub", "Mul", "Div")
MIN_DIMENSIONS = 2  # of an embedding
MAX_NUMBERS = 2**27  # in a head's matrix; the reference network's has 13 million
SAME = ("Identity", "Cast", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze")


def fold(nodes: Sequence[onnx.NodeProto], graph: Graph) -> Head:
    """Fold the head's nodes into one matrix and one vector, in float64."""
    weight: NDArray[np.float64] | None = None
    bias: NDArray[np.float64] = np.zeros(1)
    for node in _up_to_norm(nodes, graph):
        if operator_of(node) in SAME:
            _check_keeps_rows(node, graph, before_layer=weight is None)
        elif is_layer(node, graph):
            layer, offset = layer_of(node, graph)
            if weight is not None:
                _check_fit(layer, weight, graph)
                layer, offset = layer @ weight, layer @ bias + offset
            weight, bias = layer, offset
        elif weight is None:
            raise graph.fail(
                f"'{operator_of(node)}' is between dropout and the fully connected layer"
            )
        else:
            factor, offset = _per_dimension(node, graph)
            if not {factor.shape, offset.shape} <= {(1,), bias.shape}:
                raise graph.fail(f"the sizes of '{operator_of(node)}' do not fit")
            weight, bias = weight * factor[:, None], bias * factor + offset
    if weight is None:
        raise graph.fail("no fully connected layer follows its dropout site")
    return _sound(weight, bias, graph)


def may_follow(node: onnx.NodeProto, graph: Graph) -> bool:
    """Return whether a node may be between an embedding's layer and its output."""
    return operator_of(node) in (*SAME, *AFFINE) or _is_final_norm(node, graph)


def is_layer(node: onnx.NodeProto, graph: Graph) -> bool:
    """Return whether a node is fully connected, or a convolution that covers its whole input."""
    if operator_of(node) == "Conv":
        return graph.is_constant(node.input[1]) and graph.sees_all(node)
    return operator_of(node) in ("Gemm", "MatMul") and graph.is_constant(node.input[1])


def _is_final_norm(node: onnx.NodeProto, graph: Graph) -> bool:
    """Return whether a node only scales embeddings to length 1, which every score does anyway."""
    return operator_of(node) == "LpNormalization" or bool(norm_of(node, graph))


def _up_to_norm(nodes: Sequence[onnx.NodeProto], graph: Graph) -> Sequence[onnx.NodeProto]:
    """Return a head's nodes before the one that scales embeddings to length 1.

    Every score does so itself. Later nodes may only multiply by a number: no score changes.
    """
    layers = [i for i, node in enumerate(nodes) if is_layer(node, graph)]
    norms = [i for i, node in enumerate(nodes) if _is_final_norm(node, graph)]
    norm = next((i for i in norms if layers and i > layers[0]), len(nodes))
    for node in nodes[norm + 1 :]:
        if operator_of(node) in SAME:
            _check_keeps_rows(node, graph, before_layer=False)
        elif not _only_scales(node, graph):
            raise graph.fail(
                f"'{operator_of(node)}' follows the dropout site after a normalisation, and both "
                "together are not affine"
            )
    return nodes[:norm]


def _only_scales(node: onnx.NodeProto, graph: Graph) -> bool:
    """Return whether a node multiplies all dimensions by one number, or scales to length 1."""
    if _is_final_norm(node, graph):
        return True
    if is_layer(node, graph):
        return False
    factor, offset = _per_dimension(node, graph)
    return factor.size == 1 and bool(factor.all()) and not offset.any()


def _sound(weight: NDArray[np.float64], bias: NDArray[np.float64], graph: Graph) -> Head:
    """Return an affine head, or refuse one whose numbers cannot be used."""
    if len(weight) < MIN_DIMENSIONS:
        raise graph.fail(f"its output has {len(weight)} dimension: at length 1 all are equal")
    if not weight.any():
        raise graph.fail("the weights of its last layer are all zero: all faces get one output")
    head = affine(np.ascontiguousarray(weight, dtype=np.float32), bias.astype(np.float32))
    if not all(np.isfinite(numbers).all() for numbers in (head.weight, head.bias)):
        raise graph.fail("its weights are, or give, numbers that are not finite")
    return head


def _check_fit(layer: NDArray[Any], first: NDArray[Any], graph: Graph) -> None:
    if layer.shape[1] != len(first) or len(layer) * first.shape[1] > MAX_NUMBERS:
        raise graph.fail(f"matrices of shape {layer.shape} and {first.shape} do not fit")


def _check_keeps_rows(node: onnx.NodeProto, graph: Graph, *, before_layer: bool) -> None:
    """Refuse a node whose output shape is not (images, numbers).

    Before a layer, a computed shape is assumed to fit: the layer accepts no other shape.
    """
    sound = True
    if operator_of(node) == "Reshape" and not graph.is_constant(node.input[1]):
        sound = before_layer
    elif operator_of(node) == "Reshape":
        sizes = graph.constant(node.input[1]).ravel()
        sound = len(sizes) == 2 and sizes[0] in (0, 1, -1)  # noqa: PLR2004  # images, numbers
    elif operator_of(node) == "Flatten":
        sound = all(a.i == 1 for a in node.attribute if a.name == "axis")
    if not sound:
        raise graph.fail(f"'{node.name or node.output[0]}' changes the shape of its head")


def layer_of(node: onnx.NodeProto, graph: Graph) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return matrix (D, F) and vector (D,) of a Gemm, a MatMul or a fully covering Conv."""
    settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    matrix = graph.constant(node.input[1])
    if operator_of(node) == "Conv":
        matrix = matrix.reshape(len(matrix), -1).T
    if matrix.ndim != 2 or settings.get("transA"):  # noqa: PLR2004  # a matrix
        raise graph.fail(f"the fully connected layer '{node.name or node.output[0]}' is no matrix")
    if operator_of(node) == "MatMul" or not settings.get("transB"):
        matrix = matrix.T
    vector = np.zeros(len(matrix))
    if len(node.input) > 2 and node.input[2]:  # noqa: PLR2004  # data, matrix, vector
        offset = graph.constant(node.input[2]).ravel()
        if len(offset) not in (1, len(matrix)):
            raise graph.fail(f"a bias of {len(offset)} numbers for {len(matrix)} dimensions")
        vector = vector + offset * settings.get("beta", 1.0)
    return matrix * settings.get("alpha", 1.0), vector


def _per_dimension(
    node: onnx.NodeProto, graph: Graph
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return factor and offset per dimension of a layer after the fully connected layer."""
    kind = operator_of(node)
    if kind == "BatchNormalization":
        gamma, beta, mean, variance = (graph.constant(tensor).ravel() for tensor in node.input[1:5])
        if any(a.name == "training_mode" and a.i for a in node.attribute):
            raise graph.fail("its batch norm is in training mode")
        if not len(gamma) == len(beta) == len(mean) == len(variance):
            raise graph.fail("a batch norm's weights differ in size")
        eps = next((float(a.f) for a in node.attribute if a.name == "epsilon"), 1e-5)
        factor = gamma / np.sqrt(variance + eps)
        return factor, beta - mean * factor
    constants = [tensor for tensor in node.input if graph.is_constant(tensor)]
    if kind in ("Add", "Sub", "Mul", "Div") and len(constants) == 1:
        first = graph.is_constant(node.input[0])
        value = graph.constant(constants[0])
        if value.size != (value.shape or (1,))[-1]:
            raise graph.fail(f"'{kind}' with numbers of shape {value.shape}")
        value = value.ravel()
        one, none = np.ones(1), np.zeros(1)
        if kind == "Add":
            return one, value
        if kind == "Sub":
            return (-one, value) if first else (one, -value)
        if kind == "Mul":
            return value, none
        if not first:
            return 1.0 / value, none
    raise graph.fail(f"'{kind}' follows the dropout site, and that is not affine")
