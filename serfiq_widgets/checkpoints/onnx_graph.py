"""An index of an ONNX graph, and opening of its batch size."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from serfiq_widgets.checkpoints import INPUT_SIDE
from serfiq_widgets.errors import CorruptModel, one_line

CHANNELS = 3
SMALL = 1024  # largest size of a tensor that a shape depends on
MIN_IR = 4  # in older versions, weights are also inputs
OWN_DOMAINS = ("", "ai.onnx")
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


class Graph:
    """An index of an ONNX graph: producers and consumers of tensors, and constants."""

    def __init__(self, model: onnx.ModelProto, name: str, output: str = "") -> None:
        self.name = name
        self.nodes = list(model.graph.node)
        self.maker = {output: node for node in self.nodes for output in node.output}
        self.output = output or model.graph.output[0].name
        self._model = model
        self._shapes: dict[str, list[int]] | None = None
        # constant tensors, each with the tensor of its numbers, if known
        self._constants: dict[str, onnx.TensorProto | None] = {
            tensor.name: tensor for tensor in model.graph.initializer
        }
        for node in self.nodes:
            kind = operator_of(node)
            if kind == "Constant":
                self._constants[node.output[0]] = _tensor(node)
            elif _keeps_numbers(node) and node.input[0] in self._constants:
                self._constants[node.output[0]] = self._constants[node.input[0]]

    def fail(self, why: str) -> CorruptModel:
        """Return the error that names the file."""
        return CorruptModel(f"'{self.name}' cannot be split into trunk and head: {one_line(why)}.")

    def constant(self, tensor: str) -> NDArray[np.float64]:
        """Return a constant tensor's numbers."""
        held = self._constants.get(tensor)
        if held is None:
            raise self.fail(f"'{tensor}' is not constant")
        try:
            array = numpy_helper.to_array(held)
        except (LookupError, ValueError, TypeError) as error:
            raise self.fail(f"the weights '{tensor}' are broken ({error})") from error
        if array.dtype.kind not in "fiub" or not array.size:
            raise self.fail(f"the weights '{tensor}' are {array.size} numbers ({array.dtype})")
        return np.asarray(array, dtype=np.float64)

    def held(self, tensor: str) -> onnx.TensorProto | None:
        """Return the tensor with a constant's numbers, if known."""
        return self._constants.get(tensor)

    def is_constant(self, tensor: str) -> bool:
        """Return whether a tensor is a weight, or a constant computed by nodes."""
        return tensor in self._constants

    def know(self, tensor: onnx.TensorProto) -> None:
        """Register another constant."""
        self._constants[tensor.name] = tensor

    def type_of(self, tensor: str) -> int:
        """Return ONNX's code of a constant's type; 0 if unknown."""
        held = self._constants.get(tensor)
        return 0 if held is None else int(held.data_type)

    def is_float32(self, tensor: str) -> bool:
        """Return whether a tensor is constant and its numbers are float32."""
        held = self._constants.get(tensor)
        return held is not None and bool(held.data_type == TensorProto.FLOAT)

    def sees_all(self, node: onnx.NodeProto) -> bool:
        """Return whether a convolution's kernel covers its input, so that it is fully connected."""
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if settings.get("group", 1) != 1 or any(settings.get("pads", ())):
            return False
        if self._shapes is None:
            try:
                inferred = onnx.shape_inference.infer_shapes(outlined(self._model)).graph
            except (onnx.shape_inference.InferenceError, ValueError) as error:
                raise self.fail(f"its shapes cannot be inferred ({error})") from error
            known = [*inferred.value_info, *inferred.input, *inferred.output]
            self._shapes = {
                value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
                for value in known
            }
        kernel = self._constants.get(node.input[1])
        seen = self._shapes.get(node.input[0], [])
        return kernel is not None and len(seen) == 4 and list(kernel.dims[2:]) == seen[2:]  # noqa: PLR2004  # (N, C, H, W)

    def data_input(self, node: onnx.NodeProto) -> str | None:
        """Return the one input of a node that is not constant, or None if there are several.

        The second input of a Reshape or an Expand is a shape, often computed, and that of a Dropout
        is its rate: they do not count.
        """
        first = operator_of(node) in ("Reshape", "Expand", "Dropout")
        inputs = node.input[:1] if first else node.input
        flowing = [tensor for tensor in inputs if tensor and not self.is_constant(tensor)]
        return flowing[0] if len(flowing) == 1 else None

    def chain(self) -> list[onnx.NodeProto]:
        """Return the nodes that lead to the output in a single chain, first to last."""
        nodes: list[onnx.NodeProto] = []
        tensor = self.output
        while (node := self.maker.get(tensor)) is not None and len(nodes) < len(self.nodes):
            nodes.append(node)
            source = self.data_input(node)
            if source is None and not norm_of(node, self):
                break
            tensor = source or norm_of(node, self)
        return nodes[::-1]


def _tensor(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """Return the numbers of a Constant node in any of its forms; None for other nodes."""
    for attribute in node.attribute:
        tensor: onnx.TensorProto = attribute.t
        if attribute.name == "value":
            return tensor
        if attribute.name in ("value_int", "value_ints", "value_float", "value_floats"):
            numbers = np.asarray(helper.get_attribute_value(attribute))
            return numpy_helper.from_array(numbers)
    return None


def _keeps_numbers(node: onnx.NodeProto) -> bool:
    """Return whether a node passes a constant on unchanged or in another float type."""
    kind = operator_of(node)
    return kind == "Identity" or (
        kind == "Cast" and any(a.name == "to" and a.i in FLOATS for a in node.attribute)
    )


def operator_of(node: onnx.NodeProto) -> str:
    """Return a node's operator name, with its domain if it is not a standard ONNX operator."""
    return node.op_type if node.domain in OWN_DOMAINS else f"{node.domain}.{node.op_type}"


def norm_of(node: onnx.NodeProto, graph: Graph) -> str:
    """Return the name of x if the node scales x to length 1; else an empty string.

    The graph has x / length(x) or x * (1 / length(x)).
    """
    kind = operator_of(node)
    if kind not in ("Div", "Mul"):
        return ""
    sides = [tuple(node.input), tuple(node.input)[::-1]]
    for above, length in sides if kind == "Mul" else sides[:1]:
        if _is_length(length, above, graph, inverse=kind == "Mul"):
            return str(above)
    return ""


def _is_length(tensor: str, above: str, graph: Graph, *, inverse: bool) -> bool:
    """Return whether a tensor is the length of another, or its inverse."""
    reduces = turned = False
    for _ in range(10):  # at most this many nodes compute a length
        maker = graph.maker.get(tensor)
        if maker is None:
            return False
        reduces |= operator_of(maker).startswith("Reduce")
        turned ^= _inverts(maker, graph)
        if above in maker.input:
            return reduces and turned == inverse
        tensor = graph.data_input(maker) or ""
    return False


def _inverts(node: onnx.NodeProto, graph: Graph) -> bool:
    """Return whether a node computes 1 / x, or a negative power of x."""
    kind = operator_of(node)
    if kind == "Div":
        return graph.is_constant(node.input[0])
    if kind == "Pow" and graph.is_constant(node.input[1]):
        return bool((graph.constant(node.input[1]) < 0).all())
    return kind == "Reciprocal"


def outlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model without its large weights, but with their shapes."""
    small, inputs = [], list(model.graph.input)
    known = {value.name for value in inputs}
    for weight in model.graph.initializer:
        if math.prod(weight.dims) <= SMALL:
            small.append(weight)
        elif weight.name not in known:
            kind = helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims)
            inputs.append(kind)
    graph = helper.make_graph(model.graph.node, "outline", inputs, model.graph.output, small)
    return helper.make_model(
        graph,
        opset_imports=list(model.opset_import),
        ir_version=max(model.ir_version, MIN_IR),
    )


def open_batch(model: onnx.ModelProto, name: str, side: int = 0) -> tuple[int, int]:
    """Make the batch size of a model's input open; return the input's height and width.

    Parameters
    ----------
    side : int
        Height and width if the model leaves them open; 112 if not given.

    Raises
    ------
    CorruptModel
        The input is not a float (N, 3, H, W), or has another size than ``side``.
    """
    held = {tensor.name for tensor in model.graph.initializer}
    inputs: list[Any] = [value for value in model.graph.input if value.name not in held]
    if not inputs:
        raise CorruptModel(f"'{name}' has no input.")
    # labels of the training, or a switch to it, may precede the images
    inputs.sort(key=lambda value: len(value.type.tensor_type.shape.dim) != 4)  # noqa: PLR2004
    kind = inputs[0].type.tensor_type
    sizes = [dimension.dim_value for dimension in kind.shape.dim]
    if len(sizes) == 4 and sizes[3] == CHANNELS != sizes[1]:  # noqa: PLR2004
        _put_channels_first(model, inputs[0])
        sizes = [sizes[axis] for axis in (0, 3, 1, 2)]
    elif len(sizes) == 4 and not sizes[1]:  # noqa: PLR2004  # an open axis
        kind.shape.dim[1].dim_value = sizes[1] = CHANNELS
    if kind.elem_type != TensorProto.FLOAT or len(sizes) != 4 or sizes[1] != CHANNELS:  # noqa: PLR2004
        raise CorruptModel(
            f"'{name}' takes {sizes or 'something'} instead of numbers (N, 3, height, width)."
        )
    _open_reshapes(model, name, sizes[0] or 1)
    height = sizes[2] or side or INPUT_SIDE
    width = sizes[3] or height
    kind.shape.dim[2].dim_value, kind.shape.dim[3].dim_value = height, width
    if side and height != side:
        raise CorruptModel(f"'{name}' takes {height}\u00d7{width} pixels; its card says {side}.")
    kind.shape.dim[0].dim_param = "N"
    del model.graph.value_info[:]  # its shapes may have the old batch size
    return height, width


def _put_channels_first(model: onnx.ModelProto, value: onnx.ValueInfoProto) -> None:
    """Change an input (N, H, W, 3), as in Keras, to (N, 3, H, W)."""
    last = value.name
    value.name = f"{last}/channels_first"
    turn = helper.make_node("Transpose", [value.name], [last], perm=[0, 2, 3, 1])
    model.graph.node.insert(0, turn)
    shape = value.type.tensor_type.shape
    batch, height, width, channels = list(shape.dim)
    turned = onnx.TensorShapeProto(dim=[batch, channels, height, width])
    shape.CopyFrom(turned)


def _open_reshapes(model: onnx.ModelProto, name: str, batch: int) -> None:
    """Make reshapes to (1, ...) keep the batch size: exporters write that of the example input."""
    graph = Graph(model, name)
    for number, node in enumerate(graph.nodes):
        if operator_of(node) != "Reshape":
            continue
        if graph.is_constant(node.input[0]) or not graph.is_constant(node.input[1]):
            continue
        shape = graph.constant(node.input[1]).ravel().astype(np.int64)
        zeros_are_sizes = any(a.name == "allowzero" and a.i for a in node.attribute)
        if shape[0] in (1, batch) and len(shape) > 1 and (shape.all() or not zeros_are_sizes):
            shape[0] = 0  # keeps the size of the input
            for attribute in node.attribute:
                attribute.i = 0 if attribute.name == "allowzero" else attribute.i
            opened = numpy_helper.from_array(shape, f"{node.input[1]}/open{number}")
            model.graph.initializer.append(opened)
            node.input[1] = opened.name
