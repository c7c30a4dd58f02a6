"""One short function per MXNet operator: the ONNX nodes that stand for it.

Defaults are those of MXNet 1.9 (`fix_gamma` is true, `eps` is 1e-3, pooling strides are 1 ...).
A setting that ONNX cannot express is refused: a function raises, `to_onnx` names the node.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serfiq_widgets.checkpoints.mxnet_graph import BATCH, Builder

INT64 = np.int64
MAX_SETTING = 256  # characters
MAX_SIDE = 2**16  # of a kernel, a stride, a padding
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

    def shape(self, index: int) -> tuple[int, ...]:
        """Return the shape of an input; the batch size is `BATCH`."""
        return self.builder.shape(self.input(index))

    def get(self, key: str, default: Any = None) -> Any:
        """Return a setting as Python's own value."""
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
        """Return a setting that is one of these words; any other is refused."""
        text = str(self.get(key, default))
        if text not in (default, *others):
            raise ValueError(f"{key} {text!r}")
        return text

    def emit(self, op: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add an ONNX node; without a name of its own it yields this node's output."""
        self.builder.emit(op, inputs, [output or self.name], **attributes)
        return output or self.name

    def constant(self, suffix: str, value: Any, dtype: Any = np.float32) -> str:
        """Add a constant that belongs to this node."""
        return self.builder.constant(f"{self.name}/{suffix}", value, dtype)


@operator("Convolution")
def _convolution(n: Node) -> str:
    n.choice("layout", "None", "NCW", "NCHW", "NCDHW")
    kernel = n.sides("kernel", ())
    pad = n.sides("pad", (0,) * len(kernel))
    group, filters = int(n.get("num_group", 1)), int(n.get("num_filter"))
    inputs = _with_bias(n, (filters, n.shape(0)[1] // group, *kernel))
    return n.emit(
        "Conv",
        *inputs,
        kernel_shape=kernel,
        strides=n.sides("stride", (1,) * len(kernel)),
        dilations=n.sides("dilate", (1,) * len(kernel)),
        pads=pad + pad,
        group=group,
    )


def _with_bias(n: Node, shape: tuple[int, ...]) -> list[str]:
    """Return a layer's inputs: data, weights of this shape and, where there is one, the bias."""
    shapes = [shape] if n.get("no_bias", default=False) else [shape, shape[:1]]
    for index, wanted in enumerate(shapes, 1):
        if n.shape(index) != wanted:
            raise ValueError(f"weights of shape {n.shape(index)} instead of {wanted}")
    return [n.input(index) for index in range(len(shapes) + 1)]


@operator("BatchNorm")
def _batch_norm(n: Node) -> str:
    gamma = n.input(1)
    if n.get("fix_gamma", default=True):
        gamma = n.constant("gamma", np.ones_like(n.weight(1)))
    if int(n.get("axis", 1)) % len(n.shape(0)) != 1:
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
    if kind == "prelu":
        slopes, shape = n.weight(1).reshape(-1), n.shape(0)
        if len(slopes) not in (1, shape[1]):
            raise ValueError(f"{len(slopes)} slopes for {shape[1]} channels")
        slopes = slopes.reshape(-1, *(1 for _ in shape[2:]))  # the channels come before the sides
        return n.emit("PRelu", n.input(0), n.constant("slope", slopes))
    slope = float(n.get("slope", 0.25))
    return n.emit({"leaky": "LeakyRelu", "elu": "Elu"}[kind], n.input(0), alpha=slope)


@operator("Pooling")
def _pooling(n: Node) -> str:
    """Every window is put where MXNet puts it: by paddings, so that ONNX need not round."""
    n.choice("layout", "None", "NCW", "NCHW", "NCDHW")
    kind = n.choice("pool_type", "max", "avg")
    if n.get("global_pool", default=False):
        return n.emit({"max": "GlobalMaxPool", "avg": "GlobalAveragePool"}[kind], n.input(0))
    full = n.choice("pooling_convention", "valid", "full") == "full"
    kernel = n.sides("kernel", ())
    stride = n.sides("stride", (1,) * len(kernel))
    begin = n.sides("pad", (0,) * len(kernel))
    sides, source = list(n.shape(0)[2:]), n.input(0)
    counted = kind == "avg" and any(begin) and n.get("count_include_pad", default=True)
    if any(pad >= size for pad, size in zip(begin, kernel, strict=True)):
        raise ValueError(f"pad {begin} for a kernel {kernel}")
    end = []
    for size, window, step, pad in zip(sides, kernel, stride, begin, strict=True):
        room = size + 2 * pad - window
        last = (-(-room // step) if full else room // step) * step  # where the last window begins
        if room < 0 or last >= size + pad + pad * counted:
            raise ValueError("its windows lie in the padding")
        end.append(max(last + window - size - pad - pad * counted, 0))
    if counted:  # zeros that a mean counts in; those beyond them it does not
        zeros = n.constant("pads", [0, 0, *begin, 0, 0, *begin], INT64)
        source, begin = n.emit("Pad", source, zeros, output=f"{n.name}/padded"), [0] * len(begin)
    return n.emit(
        {"max": "MaxPool", "avg": "AveragePool"}[kind],
        source,
        kernel_shape=kernel,
        strides=stride,
        pads=begin + end,
    )


def _emit_arithmetic(op: str) -> Operator:
    return lambda n: n.emit(op, n.input(0), n.input(1))


def _emit_elementwise(op: str) -> Operator:
    def emit(n: Node) -> str:
        if n.shape(0) != n.shape(1):
            raise ValueError(f"shapes {n.shape(0)[1:]} and {n.shape(1)[1:]} differ")
        return n.emit(op, n.input(0), n.input(1))

    return emit


def _emit_with_scalar(op: str) -> Operator:
    return lambda n: n.emit(op, n.input(0), n.constant("scalar", float(n.get("scalar"))))


def _emit_from_scalar(op: str) -> Operator:
    return lambda n: n.emit(op, n.constant("scalar", float(n.get("scalar"))), n.input(0))


# MXNet has renamed these over the years and reads all the names.
operator("elemwise_add", "_add", "_plus", "_Plus")(_emit_elementwise("Add"))
operator("elemwise_sub", "_sub", "_minus", "_Minus")(_emit_elementwise("Sub"))
operator("elemwise_mul", "_mul", "_Mul")(_emit_elementwise("Mul"))
operator("elemwise_div", "_div", "_Div")(_emit_elementwise("Div"))
operator("broadcast_add", "broadcast_plus")(_emit_arithmetic("Add"))
operator("broadcast_sub", "broadcast_minus")(_emit_arithmetic("Sub"))
operator("broadcast_mul")(_emit_arithmetic("Mul"))
operator("broadcast_div")(_emit_arithmetic("Div"))
operator("_plus_scalar", "_PlusScalar")(_emit_with_scalar("Add"))
operator("_minus_scalar", "_MinusScalar")(_emit_with_scalar("Sub"))
operator("_mul_scalar", "_MulScalar")(_emit_with_scalar("Mul"))
operator("_div_scalar", "_DivScalar")(_emit_with_scalar("Div"))
operator("_power_scalar", "_PowerScalar")(_emit_with_scalar("Pow"))
operator("_rminus_scalar", "_RMinusScalar")(_emit_from_scalar("Sub"))
operator("_rdiv_scalar", "_RDivScalar")(_emit_from_scalar("Div"))


@operator("add_n", "ElementWiseSum")
def _sum(n: Node) -> str:
    parts = range(len(n.inputs))
    if len({n.shape(i) for i in parts}) > 1:
        raise ValueError("the shapes of its inputs differ")
    return n.emit("Sum", *map(n.input, parts))


@operator("FullyConnected")
def _fully_connected(n: Node) -> str:
    source, shape = n.input(0), n.shape(0)
    if n.get("flatten", default=True):
        source = n.emit("Flatten", source, output=f"{n.name}/flat", axis=1)
        shape = n.builder.shape(source)
    if len(shape) != 2:  # noqa: PLR2004  # rows and features
        raise ValueError(f"without flatten it acts on {len(shape)} axes")
    weights = _with_bias(n, (int(n.get("num_hidden")), shape[1]))[1:]
    return n.emit("Gemm", source, *weights, transB=1)


@operator("Dropout")
def _dropout(n: Node) -> str:
    """Kept, since the split looks for it; ONNX runs it as the identity."""
    n.choice("axes", "()", "[]", "None")  # axes would drop whole maps
    rate = float(n.get("p", 0.5))
    if not 0.0 <= rate < 1.0:
        raise ValueError(f"p {rate:g}")
    return n.emit("Dropout", n.input(0), n.constant("ratio", rate))


@operator("Flatten", "flatten")
def _flatten(n: Node) -> str:
    return n.emit("Flatten", n.input(0), axis=1)


@operator("Reshape", "reshape")
def _reshape(n: Node) -> str:
    if n.get("reverse", default=False):
        raise ValueError("reverse")
    shape = _reshaped(n.shape(0), [int(code) for code in n.get("shape")])
    if [size % BATCH for size in shape].count(0) != 1:
        raise ValueError("it mixes the images of a batch")
    sizes = [-1 if size % BATCH == 0 else size for size in shape]
    return n.emit("Reshape", n.input(0), n.constant("shape", sizes, INT64))


def _reshaped(shape: tuple[int, ...], codes: list[int]) -> list[int]:
    """Return the shape that MXNet's codes make of another.

    0 keeps an axis, -1 takes what remains, -2 keeps all further axes, -3 joins two axes, -4 splits
    one into the two sizes that follow (one of them may be -1); any other number is a size.
    """
    old, split = list(shape), False
    made: list[int] = []
    while codes:
        code, codes = codes[0], codes[1:]
        if code == -2:  # noqa: PLR2004
            made, old = made + old, []
        elif code == -3:  # noqa: PLR2004
            made, old = [*made, old[0] * old[1]], old[2:]
        elif code == -4:  # noqa: PLR2004
            (one, other), codes = codes[:2], codes[2:]
            split, one = True, old[0] // other if one == -1 else one
            made, old = [*made, one, old[0] // one if other == -1 else other], old[1:]
        elif code == -1 and split:  # MXNet 1.9 then writes beyond its own memory
            raise ValueError("-1 after -4")
        else:
            made, old = [*made, old[0] if code == 0 else code], old[1:]
    if -1 in made:
        rest = -math.prod(made)
        made[made.index(-1)] = math.prod(shape) // rest
    if min(made) < 1 or math.prod(made) != math.prod(shape):
        raise ValueError(f"{list(shape[1:])} cannot become {made[1:]}")
    return made


@operator("Concat", "concat")
def _concat(n: Node) -> str:
    parts = (n.input(i) for i in range(len(n.inputs)))
    return n.emit("Concat", *parts, axis=int(n.get("dim", 1)))


@operator("Pad", "pad")
def _pad(n: Node) -> str:
    mode = n.choice("mode", "constant", "edge", "reflect")
    widths = n.sides("pad_width", ())
    begin, end = widths[::2], widths[1::2]
    if mode == "reflect" and any(
        max(pads) >= size for *pads, size in zip(begin, end, n.shape(0), strict=True)
    ):
        raise ValueError("it reflects more than there is")
    value = n.constant("value", float(n.get("constant_value", 0.0)))
    pads = n.constant("pads", [*begin, *end], INT64)
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
    if not 0 < count <= 4096 or n.shape(0)[axis] % count:  # noqa: PLR2004  # more than any has
        raise ValueError(f"num_outputs {count}")
    parts = [f"{n.name}/{i}" for i in range(count)]
    if not n.get("squeeze_axis", default=False):
        n.builder.emit("Split", [n.input(0)], parts, axis=axis)
        return parts
    wholes = [f"{part}/whole" for part in parts]
    n.builder.emit("Split", [n.input(0)], wholes, axis=axis)
    axes = n.constant("axes", [axis], INT64)
    return [n.emit("Squeeze", w, axes, output=p) for w, p in zip(wholes, parts, strict=True)]


@operator("_contrib_BilinearResize2D")
def _bilinear_resize(n: Node) -> str:
    for key in ("scale_height", "scale_width"):
        n.choice(key, "None")
    n.choice("mode", "size")
    batch, channels, *before = n.shape(0)
    sides = [int(n.get("height")), int(n.get("width"))]
    aligned = n.get("align_corners", default=True)
    if not aligned and any(new == 1 != old for new, old in zip(sides, before, strict=True)):
        raise ValueError("a side of 1 needs align_corners")  # else MXNet and ONNX differ
    first = n.emit("Shape", n.input(0), output=f"{n.name}/batch", start=0, end=1)
    rest = n.constant("size", [channels, *sides], INT64)
    sizes = n.emit("Concat", first, rest, output=f"{n.name}/sizes", axis=0)
    n.builder.sizes[sizes] = np.array([batch, channels, *sides])
    return n.emit(
        "Resize",
        n.input(0),
        "",
        "",
        sizes,
        mode="linear",
        coordinate_transformation_mode="align_corners" if aligned else "half_pixel",
    )


@operator("L2Normalization")
def _l2_normalization(n: Node) -> str:
    mode = n.choice("mode", "instance", "channel", "spatial")
    every = list(range(1, len(n.shape(0))))
    axes = {"instance": every, "channel": [1], "spatial": every[1:]}[mode]
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
    channel = n.choice("mode", "instance", "channel") == "channel"
    return n.emit("Softmax", n.input(0), axis=1 if channel else -1)


@operator("SoftmaxOutput", "Softmax")
def _softmax_output(n: Node) -> str:
    channel = n.get("multi_output", default=False)
    if len(n.shape(0)) > 2 and not channel and not n.get("preserve_shape", default=False):  # noqa: PLR2004  # more than rows and numbers
        raise ValueError("over several axes MXNet's own builds differ")
    return n.emit("Softmax", n.input(0), axis=1 if channel else -1)


@operator("softmax")
def _softmax(n: Node) -> str:
    n.choice("use_length", "False", "0")
    n.choice("dtype", "None", "float32")
    source = n.input(0)
    if (heat := n.get("temperature", "None")) != "None":
        source = n.emit("Div", source, n.constant("heat", float(heat)), output=f"{n.name}/cooled")
    return n.emit("Softmax", source, axis=int(n.get("axis", -1)))


@operator("_copy", "identity", "BlockGrad")
def _copy(n: Node) -> str:
    return n.emit("Identity", n.input(0))


@operator("transpose")
def _transpose(n: Node) -> str:
    axes = [int(axis) for axis in n.get("axes", ())] or list(range(len(n.shape(0))))[::-1]
    return n.emit("Transpose", n.input(0), perm=axes)


@operator("clip")
def _clip(n: Node) -> str:
    low, high = float(n.get("a_min")), float(n.get("a_max"))
    if low > high:
        raise ValueError(f"a_min {low:g} lies above a_max {high:g}")
    return n.emit("Clip", n.input(0), n.constant("a_min", low), n.constant("a_max", high))


@operator("square")
def _square(n: Node) -> str:
    return n.emit("Mul", n.input(0), n.input(0))


for _name, _op in {"sqrt": "Sqrt", "exp": "Exp", "relu": "Relu", "sigmoid": "Sigmoid"}.items():

    @operator(_name)
    def _unary(n: Node, op: str = _op) -> str:
        return n.emit(op, n.input(0))
