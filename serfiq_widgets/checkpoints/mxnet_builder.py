"""Helpers of the operators' functions: the ONNX graph being built, and one MXNet node."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from serfiq_widgets.errors import CorruptModel

OPSET, IR_VERSION = 17, 8
BATCH = 1_000_003  # a prime: the open batch size during shape inference
OPEN = -1  # an unknown side
MAX_NUMBERS = 2**26  # in one tensor of one image; the reference network has 0.8 million
MAX_TENSORS = 2**17  # in one graph; the reference network has two thousand
MAX_FLOAT = float(np.finfo(np.float32).max)
MAX_SETTING = 256  # characters
MAX_SIDE = 2**16  # of a kernel, a stride, a padding
Operator = Callable[["Node"], "str | list[str]"]
OPERATORS: dict[str, Operator] = {}


class Builder:
    """Collects the ONNX nodes and weights of one graph during the conversion.

    The type and shape of every tensor is known as soon as it is added.
    """

    def __init__(
        self, name: str, params: Mapping[str, NDArray[Any]], shape: Sequence[int | str] = ()
    ) -> None:
        self.name = name
        self.params = params
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, NDArray[Any]] = {}
        self.outputs: dict[tuple[int, int], str] = {}
        self.types: dict[str, onnx.TypeProto] = {}
        self.sizes: dict[str, NDArray[Any]] = {}  # integers that shapes depend on
        self._enter("data", helper.make_tensor_type_proto(TensorProto.FLOAT, [BATCH, *shape]))

    def fail(self, node: str, why: str) -> CorruptModel:
        """Return the error that names the file and the node."""
        return CorruptModel(f"'{self.name}', node '{node}': {why}.")

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return the shape of a tensor; the batch size is `BATCH`, a side may be `OPEN`."""
        sizes = self.types[tensor].tensor_type.shape.dim
        return tuple(size.dim_value if size.HasField("dim_value") else OPEN for size in sizes)

    def emit(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> None:
        """Add an ONNX node and infer the shapes of its outputs."""
        for key, value in attributes.items():
            if isinstance(value, float) and not abs(value) <= MAX_FLOAT:
                raise ValueError(f"{key} {value:g}")
        node = helper.make_node(op, list(inputs), list(outputs), outputs[0], **attributes)
        inferred = onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(op, OPSET),
            node,
            {tensor: self.types[tensor] for tensor in inputs if tensor},
            {
                tensor: numpy_helper.from_array(self.sizes[tensor], tensor)
                for tensor in inputs
                if tensor in self.sizes
            },
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        for output in outputs:
            self._enter(output, inferred[output])
            shape = self.shape(output)
            if not all(size > 0 or size == OPEN for size in shape):
                raise ValueError("its output is empty")
            if math.prod(map(abs, shape)) > MAX_NUMBERS * BATCH:
                raise ValueError(f"its output would be huge: {shape[1:]}")
        self.nodes.append(node)

    def _enter(self, tensor: str, kind: onnx.TypeProto) -> None:
        if tensor in self.types:
            raise ValueError(f"the name '{tensor}' is used twice")
        if len(self.types) >= MAX_TENSORS:
            raise ValueError(f"the graph has more than {MAX_TENSORS} tensors")
        self.types[tensor] = kind

    def constant(self, name: str, value: Any, dtype: Any) -> str:
        """Add a constant tensor and return its name."""
        with np.errstate(over="ignore"):
            array = np.asarray(value, dtype=dtype)
        if not np.isfinite(array).all():
            raise ValueError(f"{name.rpartition('/')[2]} is not a finite float32")
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        self._enter(name, helper.make_tensor_type_proto(kind, array.shape))
        self.weights[name] = array
        if array.dtype.kind == "i":
            self.sizes[name] = array
        return name

    def parameter(self, name: str) -> str:
        """Make a trained array a float32 weight and return its name."""
        if name not in self.weights:
            names = (f"arg:{name}", f"aux:{name}", name)  # Gluon files have the bare name
            value = next((self.params[one] for one in names if one in self.params), None)
            if value is None:
                raise CorruptModel(
                    f"'{self.name}' needs the parameter '{name}', which is not in its file."
                )
            if value.dtype.kind != "f":
                raise CorruptModel(
                    f"'{self.name}', parameter '{name}': {value.dtype} numbers, not floats."
                )
            with np.errstate(over="ignore"):
                wide = value.astype(np.float32, copy=False)
            if not np.isfinite(wide).all():
                raise CorruptModel(
                    f"'{self.name}', parameter '{name}' holds NaN, infinity or numbers too large."
                )
            self._enter(name, helper.make_tensor_type_proto(TensorProto.FLOAT, wide.shape))
            self.weights[name] = wide
        return name

    def model(self, outputs: Sequence[str]) -> onnx.ModelProto:
        """Return a model of the collected nodes."""
        used = {tensor for node in self.nodes for tensor in node.input}
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [self._value("data")],
            [self._value(name) for name in outputs],
            [numpy_helper.from_array(v, name) for name, v in self.weights.items() if name in used],
        )
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)

    def _value(self, tensor: str) -> onnx.ValueInfoProto:
        sides = [None if side == OPEN else side for side in self.shape(tensor)[1:]]
        return helper.make_tensor_value_info(tensor, TensorProto.FLOAT, ["N", *sides])


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Register a function in `OPERATORS` under MXNet's names."""

    def enter(function: Operator) -> Operator:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return enter


@dataclass
class Node:
    """One MXNet node during the conversion to ONNX."""

    builder: Builder
    name: str
    attributes: Mapping[str, Any]
    inputs: Sequence[str]

    def input(self, index: int) -> str:
        """Return an input tensor; variables become weights at their first use."""
        name = self.inputs[index]
        return self.builder.parameter(name[1:]) if name.startswith("\0") else name

    def weight(self, index: int) -> Any:
        """Return an input as an array of trained weights."""
        return self.builder.weights[self.input(index)]

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of an input; the batch size is `BATCH`."""
        return self.builder.shape(self.input(index))

    def get(self, key: str, default: Any = None) -> Any:
        """Return a setting as a Python value."""
        if key not in self.attributes:
            if default is None:
                raise KeyError(key)
            return default
        text = str(self.attributes[key])
        if isinstance(default, str):
            return text
        if len(text) > MAX_SETTING:
            raise ValueError(f"{key} is {len(text)} characters long")
        try:
            return ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
        except (ValueError, TypeError, SyntaxError) as error:
            raise ValueError(f"{key} {text!r}") from error

    def sides(self, key: str, default: tuple[int, ...]) -> list[int]:
        """Return a setting of one number per spatial axis."""
        value = [int(one) for one in self.get(key, default) or default]
        if not all(0 <= one <= MAX_SIDE for one in value):
            raise ValueError(f"{key} {value}")
        return value

    def choice(self, key: str, default: str, *others: str) -> str:
        """Return a setting that must be one of these words."""
        text = str(self.get(key, default))
        if text not in (default, *others):
            raise ValueError(f"{key} {text!r}")
        return text

    def emit(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add an ONNX node; its output has this node's name if ``output`` is empty."""
        self.builder.emit(op, inputs, [output or self.name], **attributes)
        return output or self.name

    def constant(self, suffix: str, value: Any) -> str:
        """Add a constant with this node's name and a suffix."""
        return self.builder.constant(f"{self.name}/{suffix}", value, np.float32)

    def whole(self, suffix: str, value: Sequence[int]) -> str:
        """Add an integer constant with this node's name and a suffix."""
        return self.builder.constant(f"{self.name}/{suffix}", value, np.int64)
