"""An ONNX graph as one may walk it: who makes a tensor, who needs it, what is constant."""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from serfiq_widgets.errors import CorruptModel, one_line

FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


class Graph:
    """An ONNX graph as one may walk it: who makes a tensor, who needs it, what is constant."""

    def __init__(self, model: onnx.ModelProto, name: str) -> None:
        self.name = name
        self.nodes = list(model.graph.node)
        self.maker = {output: node for node in self.nodes for output in node.output}
        self.output = model.graph.output[0].name
        self._model = model
        self._shapes: dict[str, list[int]] | None = None
        # constant tensors, each with the tensor that holds its numbers, if that is known
        self._constants: dict[str, onnx.TensorProto | None] = {
            tensor.name: tensor for tensor in model.graph.initializer
        }
        for node in self.nodes:
            kind = operator_of(node)
            if kind == "Constant":
                value = next((a.t for a in node.attribute if a.name == "value"), None)
                self._constants[node.output[0]] = value
            elif _keeps_numbers(node) and node.input[0] in self._constants:
                self._constants[node.output[0]] = self._constants[node.input[0]]

    def fail(self, why: str) -> CorruptModel:
        """Return the error that says why a model cannot be split."""
        return CorruptModel(f"'{self.name}' cannot be split into trunk and head: {one_line(why)}.")

    def constant(self, tensor: str) -> NDArray[np.float64]:
        """Return a constant tensor's numbers."""
        held = self._constants.get(tensor)
        if held is None:
            raise self.fail(f"'{tensor}' is not constant")
        try:
            array = numpy_helper.to_array(held)
        except (ValueError, TypeError, KeyError) as error:
            raise self.fail(f"the weights '{tensor}' are broken ({error})") from error
        if array.dtype.kind not in "fiub" or not array.size:
            raise self.fail(f"the weights '{tensor}' are {array.size} numbers ({array.dtype})")
        return np.asarray(array, dtype=np.float64)

    def is_constant(self, tensor: str) -> bool:
        """Whether a tensor is a weight, or a constant made by nodes."""
        return tensor in self._constants

    def sees_all(self, node: onnx.NodeProto) -> bool:
        """Whether a convolution's one window covers its input: then it is fully connected."""
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if settings.get("group", 1) != 1 or any(settings.get("pads", ())):
            return False
        if self._shapes is None:
            try:
                inferred = onnx.shape_inference.infer_shapes(self._model).graph
            except (onnx.shape_inference.InferenceError, ValueError) as error:
                raise self.fail(f"its shapes cannot be known ({error})") from error
            known = [*inferred.value_info, *inferred.input, *inferred.output]
            self._shapes = {
                value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
                for value in known
            }
        kernel = self._constants.get(node.input[1])
        seen = self._shapes.get(node.input[0], [])
        return kernel is not None and len(seen) == 4 and list(kernel.dims[2:]) == seen[2:]  # noqa: PLR2004  # (N, C, H, W)

    def data_input(self, node: onnx.NodeProto) -> str | None:
        """Return the one input of a node that is not constant, or None if there are several."""
        flowing = [tensor for tensor in node.input if tensor and not self.is_constant(tensor)]
        return flowing[0] if len(flowing) == 1 else None

    def chain(self) -> list[onnx.NodeProto]:
        """Return the nodes that lead to the output in a single line, first to last."""
        nodes: list[onnx.NodeProto] = []
        tensor = self.output
        while (node := self.maker.get(tensor)) is not None and len(nodes) < len(self.nodes):
            nodes.append(node)
            source = self.data_input(node)
            if source is None and not norm_of(node, self):
                break
            tensor = source or norm_of(node, self)
        return nodes[::-1]


def _keeps_numbers(node: onnx.NodeProto) -> bool:
    """Whether a node gives a constant on as it is, or in another floating-point type."""
    kind = operator_of(node)
    return kind == "Identity" or (
        kind == "Cast" and any(a.name == "to" and a.i in FLOATS for a in node.attribute)
    )


def operator_of(node: onnx.NodeProto) -> str:
    """Return the name of a node's operator; one that is not ONNX's own keeps its domain."""
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def norm_of(node: onnx.NodeProto, graph: Graph) -> str:
    """Return x if the node is x / length(x), a final L2 normalisation; else an empty string."""
    if operator_of(node) != "Div":
        return ""
    above, below = node.input
    tensor = below
    for _ in range(8):  # the few nodes that compute a length
        maker = graph.maker.get(tensor)
        if maker is None:
            return ""
        if above in maker.input:
            return str(above)
        source = graph.data_input(maker)
        if source is None:
            return str(above) if operator_of(maker) == "Mul" and set(maker.input) == {above} else ""
        tensor = source
    return ""
