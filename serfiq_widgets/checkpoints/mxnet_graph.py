"""MXNet's symbol graph as an ONNX model, in memory, without mxnet.

`to_onnx` walks the nodes in order; one short function per operator, found in `OPERATORS`
(mxnet_operators), says which ONNX nodes stand for it. Tensors carry the names of the MXNet nodes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from serfiq_widgets.errors import CorruptModel

OPSET, IR_VERSION = 17, 8
MAX_NODES = 100_000
HEAD_WORDS = ("_label",)  # variables of training losses, which inference ignores


class Builder:
    """Collects the ONNX nodes and weights of one graph while operators are converted."""

    def __init__(self, name: str, params: Mapping[str, NDArray[Any]]) -> None:
        self.name = name
        self.params = params
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, NDArray[Any]] = {}
        self.outputs: dict[tuple[int, int], str] = {}

    def fail(self, node: str, why: str) -> CorruptModel:
        """Return the error that names the file and the node."""
        return CorruptModel(f"'{self.name}', node '{node}': {why}.")

    def emit(self, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Add an ONNX node and return its output."""
        self.nodes.append(helper.make_node(op, list(inputs), [output], output, **attributes))
        return output

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        """Add a constant tensor and return its name."""
        self.weights[name] = np.asarray(value, dtype=dtype)
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
            wide = value.astype(np.float32)
            if not np.isfinite(wide).all():
                raise CorruptModel(f"'{self.name}', parameter '{name}' holds NaN or infinity.")
            self.weights[name] = wide
        return name

    def model(self, shape: Sequence[int | str], outputs: Sequence[str]) -> onnx.ModelProto:
        """Put the collected nodes together."""
        used = {tensor for node in self.nodes for tensor in node.input}
        weights = {name: value for name, value in self.weights.items() if name in used}
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info("data", TensorProto.FLOAT, ["N", *shape])],
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        )
        opset = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)


def to_onnx(
    symbol: str | bytes,
    params: Mapping[str, NDArray[Any]],
    shape: Sequence[int | str] = (3, 112, 112),
    name: str = "the symbol",
) -> onnx.ModelProto:
    """Convert a symbol graph and its parameters.

    Parameters
    ----------
    symbol : str or bytes
        Content of a ``-symbol.json`` file.
    params : mapping of str to ndarray
        From `read_params`; float16 and float64 become float32.
    shape : sequence of int or str
        Channels, height and width of the input ``data``; a side that has a name instead of a
        number stays open, as the batch size does.
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
    builder = Builder(name, params)
    for index, entry in enumerate(nodes):
        title, op = entry["name"], entry["op"]
        attributes = entry.get("attrs", entry.get("attr", entry.get("param"))) or {}
        if op == "null":
            is_weight = title != "data" and not title.endswith(HEAD_WORDS)
            builder.outputs[index, 0] = title if not is_weight else f"\0{title}"
            continue
        if op not in OPERATORS:
            known = ", ".join(sorted(OPERATORS))
            raise builder.fail(title, f"the operator '{op}' is unknown (known are: {known})")
        try:
            inputs = [builder.outputs[int(source[0]), int(source[1])] for source in entry["inputs"]]
            node = Node(builder, title, attributes, inputs)
            made = OPERATORS[op](node)
        except (KeyError, ValueError, TypeError, IndexError, SyntaxError, OverflowError) as error:
            raise builder.fail(
                title, f"its inputs or settings do not fit '{op}' ({error})"
            ) from error
        for number, output in enumerate([made] if isinstance(made, str) else made):
            builder.outputs[index, number] = output
    try:
        outputs = [
            builder.outputs[int(head[0]), int(head[1]) if len(head) > 1 else 0] for head in heads
        ]
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise CorruptModel(f"'{name}' names a head that does not exist ({error}).") from error
    model = builder.model(shape, outputs)
    try:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
        onnx.checker.check_model(inferred)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        first = str(error).strip().splitlines()[0]
        raise CorruptModel(
            f"'{name}': the shapes of its layers do not fit together ({first})."
        ) from error
    return inferred


def _parse(symbol: str | bytes, name: str) -> tuple[list[dict[str, Any]], list[Any]]:
    """Check the outer form of the JSON: a list of named nodes and a list of heads."""
    try:
        graph = json.loads(symbol)
        nodes, heads = graph["nodes"], graph["heads"]
        sound = (
            0 < len(nodes) <= MAX_NODES
            and len(heads) > 0
            and all(
                isinstance(node["name"], str)
                and isinstance(node["op"], str)
                and isinstance(node["inputs"], list)
                for node in nodes
            )
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptModel(
            f"'{name}' is not an MXNet symbol file ({type(error).__name__})."
        ) from error
    if not sound:
        raise CorruptModel(f"'{name}' is not an MXNet symbol file: no nodes or no heads.")
    return nodes, heads
