"""One short function per MXNet operator: the ONNX nodes that stand for it.

Defaults are those of MXNet 1.9 (`fix_gamma` is true, `eps` is 1e-3, pooling strides are 1 ...).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serfiq_widgets.checkpoints.mxnet_graph import Builder

INT64 = np.int64
Operator = Callable[["Node"], "str | list[str]"]
OPERATORS: dict[str, Operator] = {}


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Enter a function in `OPERATORS` under MXNet's names."""

    def enter(function: Operator) -> Operator:
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return enter


@dataclass
class Node:
    """One MXNet node on its way to ONNX."""

    builder: Builder
    name: str
    attributes: Mapping[str, Any]
    inputs: Sequence[str]

    def input(self, index: int) -> str:
        """Return an input tensor; variables become weights when they are first used."""
        name = self.inputs[index]
        return self.builder.parameter(name[1:]) if name.startswith("\0") else name

    def weight(self, index: int) -> Any:
        """Return an input as a trained array."""
        return self.builder.weights[self.input(index)]

    def get(self, key: str, default: Any = None) -> Any:
        """Return a setting as Python's own value."""
        if key not in self.attributes:
            if default is None:
                raise KeyError(key)
            return default
        text = str(self.attributes[key])
        if isinstance(default, str):
            return text
        return ast.literal_eval({"true": "True", "false": "False"}.get(text, text))

    def pair(self, key: str, default: tuple[int, ...]) -> list[int]:
        """Return a setting of one number per spatial axis."""
        value = self.get(key, default) or default
        return [int(one) for one in value]

    def emit(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add an ONNX node; without a name of its own it yields this node's output."""
        return self.builder.emit(op, inputs, output or self.name, **attributes)

    def constant(self, suffix: str, value: Any, dtype: Any = np.float32) -> str:
        """Add a constant that belongs to this node."""
        return self.builder.constant(f"{self.name}/{suffix}", value, dtype)


@operator("Convolution")
def _convolution(n: Node) -> str:
    kernel = n.pair("kernel", ())
    pad = n.pair("pad", (0,) * len(kernel))
    inputs = [n.input(i) for i in range(2 if n.get("no_bias", default=False) else 3)]
    return n.emit(
        "Conv",
        *inputs,
        kernel_shape=kernel,
        strides=n.pair("stride", (1,) * len(kernel)),
        dilations=n.pair("dilate", (1,) * len(kernel)),
        pads=pad + pad,
        group=int(n.get("num_group", 1)),
    )


@operator("BatchNorm")
def _batch_norm(n: Node) -> str:
    gamma = n.input(1)
    if n.get("fix_gamma", default=True):
        gamma = n.constant("gamma", np.ones_like(n.weight(1)))
    if int(n.get("axis", 1)) != 1:
        raise ValueError("only axis 1")
    eps = float(n.get("eps", 1e-3))
    return n.emit("BatchNormalization", n.input(0), gamma, *map(n.input, (2, 3, 4)), epsilon=eps)


ACTIVATIONS = {
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softrelu": "Softplus",
    "softsign": "Softsign",
}


@operator("Activation")
def _activation(n: Node) -> str:
    return n.emit(ACTIVATIONS[n.get("act_type", "")], n.input(0))


@operator("LeakyReLU")
def _leaky_relu(n: Node) -> str:
    kind = n.get("act_type", "leaky")
    slope = float(n.get("slope", 0.25))
    if kind == "prelu":
        slopes = n.weight(1).reshape(-1)
        if len(slopes) > 1:  # one per channel, which comes before height and width
            slopes = slopes.reshape(-1, 1, 1) if n.name not in _flat(n) else slopes
        return n.emit("PRelu", n.input(0), n.constant("slope", slopes))
    return n.emit({"leaky": "LeakyRelu", "elu": "Elu"}[kind], n.input(0), alpha=slope)


def _flat(n: Node) -> set[str]:
    """Return this node's name if its input is (N, C), the output of a layer that flattens."""
    flat_layers = {"Gemm", "Flatten"}
    made_by = {node.output[0]: node for node in n.builder.nodes}
    source = made_by.get(n.inputs[0])
    while source is not None and source.op_type in ("BatchNormalization", "Dropout", "Identity"):
        source = made_by.get(source.input[0])
    return {n.name} if source is not None and source.op_type in flat_layers else set()


@operator("Pooling")
def _pooling(n: Node) -> str:
    kind = n.get("pool_type", "max")
    if n.get("global_pool", default=False):
        return n.emit({"max": "GlobalMaxPool", "avg": "GlobalAveragePool"}[kind], n.input(0))
    kernel = n.pair("kernel", ())
    pad = n.pair("pad", (0,) * len(kernel))
    settings: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": n.pair("stride", (1,) * len(kernel)),
        "pads": pad + pad,
        "ceil_mode": int({"valid": 0, "full": 1}[n.get("pooling_convention", "valid")]),
    }
    if kind == "max":
        return n.emit("MaxPool", n.input(0), **settings)
    if kind != "avg":
        raise ValueError(f"pool_type {kind}")
    include = int(n.get("count_include_pad", default=True))
    return n.emit("AveragePool", n.input(0), count_include_pad=include, **settings)


ARITHMETIC = {"add": "Add", "plus": "Add", "sub": "Sub", "minus": "Sub", "mul": "Mul", "div": "Div"}
for _word, _op in ARITHMETIC.items():

    @operator(f"elemwise_{_word}", f"broadcast_{_word}", f"_{_word}", f"_{_word.capitalize()}")
    def _arithmetic(n: Node, op: str = _op) -> str:
        return n.emit(op, n.input(0), n.input(1))

    @operator(f"_{_word}_scalar", f"_{_word.capitalize()}Scalar")
    def _with_scalar(n: Node, op: str = _op) -> str:
        return n.emit(op, n.input(0), n.constant("scalar", float(n.get("scalar"))))

    @operator(f"_r{_word}_scalar", f"_R{_word.capitalize()}Scalar")
    def _from_scalar(n: Node, op: str = _op) -> str:
        return n.emit(op, n.constant("scalar", float(n.get("scalar"))), n.input(0))


@operator("_power_scalar")
def _power(n: Node) -> str:
    return n.emit("Pow", n.input(0), n.constant("scalar", float(n.get("scalar"))))


@operator("add_n", "ElementWiseSum")
def _sum(n: Node) -> str:
    return n.emit("Sum", *(n.input(i) for i in range(len(n.inputs))))


@operator("FullyConnected")
def _fully_connected(n: Node) -> str:
    source = n.input(0)
    if n.get("flatten", default=True):
        source = n.emit("Flatten", source, output=f"{n.name}/flat", axis=1)
    inputs = [n.input(i) for i in range(1, 2 if n.get("no_bias", default=False) else 3)]
    if n.weight(1).shape[0] != int(n.get("num_hidden")):
        raise ValueError(f"{n.weight(1).shape[0]} outputs instead of num_hidden")
    return n.emit("Gemm", source, *inputs, transB=1)


@operator("Dropout")
def _dropout(n: Node) -> str:
    """Kept, since the split looks for it; ONNX runs it as the identity."""
    return n.emit("Dropout", n.input(0), n.constant("ratio", float(n.get("p", 0.5))))


@operator("Flatten", "flatten")
def _flatten(n: Node) -> str:
    return n.emit("Flatten", n.input(0), axis=1)


@operator("Reshape", "reshape")
def _reshape(n: Node) -> str:
    shape = [int(size) for size in n.get("shape")]
    if min(shape) < -1 or n.get("reverse", default=False):
        raise ValueError(f"shape {shape}")
    return n.emit("Reshape", n.input(0), n.constant("shape", shape, INT64))


@operator("Concat", "concat")
def _concat(n: Node) -> str:
    parts = (n.input(i) for i in range(len(n.inputs)))
    return n.emit("Concat", *parts, axis=int(n.get("dim", 1)))


@operator("Pad", "pad")
def _pad(n: Node) -> str:
    widths = [int(width) for width in n.get("pad_width")]
    mode = n.get("mode", "")
    if mode not in ("constant", "edge", "reflect"):
        raise ValueError(f"mode {mode}")
    value = n.constant("value", float(n.get("constant_value", 0.0)))
    pads = n.constant("pads", [*widths[::2], *widths[1::2]], INT64)
    return n.emit("Pad", n.input(0), pads, value, mode=mode)


@operator("slice", "crop")
def _slice(n: Node) -> str:
    begins, ends = n.get("begin"), n.get("end")
    steps = n.get("step", ()) or (None,) * len(begins)
    if len(begins) != len(ends) or any(step is not None and step < 1 for step in steps):
        raise ValueError("begin, end and step")
    whole = np.iinfo(INT64).max
    return n.emit(
        "Slice",
        n.input(0),
        n.constant("begin", [0 if b is None else b for b in begins], INT64),
        n.constant("end", [whole if e is None else e for e in ends], INT64),
        n.constant("axes", list(range(len(begins))), INT64),
        n.constant("step", [1 if s is None else s for s in steps], INT64),
    )


@operator("slice_axis")
def _slice_axis(n: Node) -> str:
    text = str(n.attributes["end"])
    end = np.iinfo(INT64).max if text == "None" else int(text)
    settings = {"begin": int(n.get("begin")), "end": end, "axes": int(n.get("axis"))}
    return n.emit("Slice", n.input(0), *(n.constant(k, [v], INT64) for k, v in settings.items()))


@operator("SliceChannel", "split")
def _slice_channel(n: Node) -> list[str]:
    axis, count = int(n.get("axis", 1)), int(n.get("num_outputs"))
    if not 0 < count <= 4096:  # noqa: PLR2004  # more parts than any network has
        raise ValueError(f"num_outputs {count}")
    parts = [f"{n.name}/{i}" for i in range(count)]
    squeeze = bool(n.get("squeeze_axis", default=False))
    made = [f"{part}/whole" for part in parts] if squeeze else parts
    n.builder.nodes.append(_split_node(n, made, axis))
    if squeeze:
        axes = n.constant("axes", [axis], INT64)
        return [n.emit("Squeeze", w, axes, output=p) for w, p in zip(made, parts, strict=True)]
    return parts


def _split_node(n: Node, outputs: list[str], axis: int) -> Any:
    from onnx import helper

    return helper.make_node("Split", [n.input(0)], outputs, n.name, axis=axis)


@operator("_contrib_BilinearResize2D")
def _bilinear_resize(n: Node) -> str:
    if n.get("mode", "size") != "size":
        raise ValueError("only mode size")
    height, width = int(n.get("height")), int(n.get("width"))
    batch = n.emit("Shape", n.input(0), output=f"{n.name}/batch", start=0, end=2)
    size = n.constant("size", [height, width], INT64)
    sizes = n.emit("Concat", batch, size, output=f"{n.name}/sizes", axis=0)
    aligned = "align_corners" if n.get("align_corners", default=True) else "half_pixel"
    return n.emit(
        "Resize",
        n.input(0),
        "",
        "",
        sizes,
        mode="linear",
        coordinate_transformation_mode=aligned,
    )


@operator("L2Normalization")
def _l2_normalization(n: Node) -> str:
    axes = {"instance": [1, 2, 3], "channel": [1], "spatial": [2, 3]}[n.get("mode", "instance")]
    if axes == [1, 2, 3] and _flat(n):
        axes = [1]
    square = n.emit("Mul", n.input(0), n.input(0), output=f"{n.name}/square")
    total = n.emit(
        "ReduceSum", square, n.constant("axes", axes, INT64), output=f"{n.name}/sum", keepdims=1
    )
    eps = n.constant("eps", float(n.get("eps", 1e-10)))
    length = n.emit(
        "Sqrt", n.emit("Add", total, eps, output=f"{n.name}/safe"), output=f"{n.name}/length"
    )
    return n.emit("Div", n.input(0), length)


@operator("SoftmaxActivation")
def _softmax_activation(n: Node) -> str:
    channel = n.get("mode", "instance") == "channel"
    return n.emit("Softmax", n.input(0), axis=1 if channel else -1)


@operator("softmax")
def _softmax(n: Node) -> str:
    return n.emit("Softmax", n.input(0), axis=int(n.get("axis", -1)))


@operator("SoftmaxOutput")
def _softmax_output(n: Node) -> str:
    return n.emit("Softmax", n.input(0), axis=1)


@operator("_copy", "identity", "BlockGrad")
def _copy(n: Node) -> str:
    return n.emit("Identity", n.input(0))


@operator("transpose")
def _transpose(n: Node) -> str:
    return n.emit("Transpose", n.input(0), perm=[int(axis) for axis in n.get("axes")])


@operator("clip")
def _clip(n: Node) -> str:
    ends = (n.constant(key, float(n.get(key))) for key in ("a_min", "a_max"))
    return n.emit("Clip", n.input(0), *ends)


@operator("square")
def _square(n: Node) -> str:
    return n.emit("Mul", n.input(0), n.input(0))


for _name, _op in {"sqrt": "Sqrt", "exp": "Exp", "relu": "Relu", "sigmoid": "Sigmoid"}.items():

    @operator(_name)
    def _unary(n: Node, op: str = _op) -> str:
        return n.emit(op, n.input(0))
