"""MXNet's symbol graph as an ONNX model, in memory, without mxnet.

`to_onnx` walks the nodes in order; one short function per operator, found in `OPERATORS`
(mxnet_operators), says which ONNX nodes stand for it. Tensors carry the names of the MXNet nodes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from serfiq_widgets.errors import CorruptModel

OPSET, IR_VERSION = 17, 8
BATCH = 1_000_003  # a prime: stands for the open batch size while shapes are inferred
MAX_BYTES, MAX_NODES = 2**24, 20_000  # the reference network's symbol: 0.3 MB, 1,133 nodes
MAX_NUMBERS = 2**26  # in one tensor of one image; the reference network has 0.8 million
MAX_NAME = 1000
HEAD_WORDS = ("_label",)  # variables of training losses, which inference ignores
UNFIT = (
    LookupError,
    ValueError,
    TypeError,
    ArithmeticError,
    SyntaxError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
)  # what an operator raises when inputs or settings do not suit it


class Builder:
    """Collects the ONNX nodes and weights of one graph while operators are converted.

    The type and shape of every tensor is known as soon as it is made.
    """

    def __init__(
        self, name: str, params: Mapping[str, NDArray[Any]], shape: Sequence[int] = ()
    ) -> None:
        self.name = name
        self.params = params
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, NDArray[Any]] = {}
        self.outputs: dict[tuple[int, int], str] = {}
        self.types: dict[str, onnx.TypeProto] = {}
        self.sizes: dict[str, NDArray[Any]] = {}  # whole numbers that shapes depend on
        self._enter("data", helper.make_tensor_type_proto(TensorProto.FLOAT, [BATCH, *shape]))

    def fail(self, node: str, why: str) -> CorruptModel:
        """Return the error that names the file and the node."""
        return CorruptModel(f"'{self.name}', node '{node}': {why}.")

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return the shape of a tensor; the batch size is `BATCH`."""
        return tuple(size.dim_value for size in self.types[tensor].tensor_type.shape.dim)

    def emit(
        self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any
    ) -> None:
        """Add an ONNX node and infer the shapes of its outputs."""
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
            if not all(size > 0 for size in shape):
                raise ValueError("nothing is left of its input")
            if math.prod(shape) > MAX_NUMBERS * BATCH:
                raise ValueError(f"its output would be huge: {shape[1:]}")
        self.nodes.append(node)

    def _enter(self, tensor: str, kind: onnx.TypeProto) -> None:
        if tensor in self.types:
            raise ValueError(f"the name '{tensor}' is used twice")
        self.types[tensor] = kind

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
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
            value = self.params.get(f"arg:{name}", self.params.get(f"aux:{name}"))
            if value is None:
                raise CorruptModel(
                    f"'{self.name}' needs the parameter '{name}', which its file lacks."
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
        """Put the collected nodes together."""
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
        return helper.make_tensor_value_info(
            tensor, TensorProto.FLOAT, ["N", *self.shape(tensor)[1:]]
        )


def to_onnx(
    symbol: str | bytes,
    params: Mapping[str, NDArray[Any]],
    shape: Sequence[int] = (3, 112, 112),
    name: str = "the symbol",
) -> onnx.ModelProto:
    """Convert a symbol graph and its parameters.

    Parameters
    ----------
    symbol : str or bytes
        Content of a ``-symbol.json`` file.
    params : mapping of str to ndarray
        From `read_params`; float16 and float64 become float32.
    shape : sequence of int
        Channels, height and width of the input ``data``; its batch size stays open.
    name : str
        What errors call the file.

    Returns
    -------
    onnx.ModelProto
        Input ``data`` float32 (N, 3, H, W), one output per head of the symbol.

    Raises
    ------
    CorruptModel
        The graph is broken, an operator is unknown, or a parameter is missing or of a wrong kind.
    """
    from serfiq_widgets.checkpoints.mxnet_operators import OPERATORS, Node

    nodes, heads = _parse(symbol, name)
    builder = Builder(name, params, shape)
    for index, entry in enumerate(nodes):
        title, op = entry["name"], entry["op"]
        if op == "null":
            is_weight = title != "data" and not title.endswith(HEAD_WORDS)
            builder.outputs[index, 0] = title if not is_weight else f"\0{title}"
            continue
        if op not in OPERATORS:
            known = ", ".join(sorted(OPERATORS))
            raise builder.fail(title, f"the operator '{op}' is unknown (known are: {known})")
        try:
            inputs = [builder.outputs[int(source[0]), int(source[1])] for source in entry["inputs"]]
            made = OPERATORS[op](Node(builder, title, _settings(entry), inputs))
        except UNFIT as error:
            why = (str(error).strip().splitlines() or [""])[0]
            raise builder.fail(
                title, f"its inputs or settings do not fit '{op}' ({why})"
            ) from error
        for number, output in enumerate([made] if isinstance(made, str) else made):
            builder.outputs[index, number] = output
    try:
        outputs = [
            builder.outputs[int(head[0]), int(head[1]) if len(head) > 1 else 0] for head in heads
        ]
        rows = {output: builder.shape(output)[0] for output in outputs}
    except UNFIT as error:
        raise CorruptModel(f"'{name}' names a head that does not exist ({error}).") from error
    for output, count in rows.items():
        if count != BATCH:
            raise builder.fail(output, "it mixes the images of a batch")
    return builder.model(outputs)


def _settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Join a node's settings: MXNet has named them param, attr and attrs, and the newest wins."""
    joined: dict[str, Any] = {}
    for key in ("param", "attr", "attrs"):
        joined |= dict(entry.get(key) or {})
    return joined


def _parse(symbol: str | bytes, name: str) -> tuple[list[dict[str, Any]], list[Any]]:
    """Check the outer form of the JSON: a list of named nodes and a list of heads."""
    if len(symbol) > MAX_BYTES:
        raise CorruptModel(f"'{name}' is too long for an MXNet symbol file: {len(symbol)} bytes.")
    try:
        graph = json.loads(symbol)
        nodes, heads = graph["nodes"], graph["heads"]
        sound = (
            0 < len(nodes) <= MAX_NODES
            and 0 < len(heads) <= MAX_NODES
            and all(
                _is_name(node["name"]) and _is_name(node["op"]) and isinstance(node["inputs"], list)
                for node in nodes
            )
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptModel(
            f"'{name}' is not an MXNet symbol file ({type(error).__name__})."
        ) from error
    if not sound:
        raise CorruptModel(
            f"'{name}' is not an MXNet symbol file: no nodes, too many, or nodes without names."
        )
    return nodes, heads


def _is_name(text: Any) -> bool:
    return isinstance(text, str) and 0 < len(text) <= MAX_NAME and text.isprintable()
