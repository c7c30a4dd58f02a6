"""MXNet's arithmetic operators: one short function each adds the equivalent ONNX nodes.

Defaults are those of MXNet 1.9 (`fix_gamma` is true, `eps` is 1e-3, pooling strides are 1 ...).
For a setting that ONNX cannot express, a function raises; `to_onnx` adds the node's name.
"""

from __future__ import annotations

import numpy as np

from serfiq_widgets.checkpoints.mxnet_builder import OPEN, Node, Operator, operator


@operator("Convolution")
def _convolution(n: Node) -> str:
    n.choice("layout", "None", "NCW", "NCHW", "NCDHW")
    kernel = n.sides("kernel", ())
    pad = n.sides("pad", (0,) * len(kernel))
    group, filters = int(n.get("num_group", 1)), int(n.get("num_filter"))
    if n.shape(0)[1] % group or filters % group:
        raise ValueError(f"num_group {group}")
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
    """Return a layer's inputs: data, weights of this shape and the bias, if any."""
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
    if not (n.weight(4) + eps > 0).all():
        raise ValueError("a negative variance")
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
        slopes = slopes.reshape(-1, *(1 for _ in shape[2:]))  # the channel axis precedes the sides
        return n.emit("PRelu", n.input(0), n.constant("slope", slopes))
    slope = float(n.get("slope", 0.25))
    return n.emit({"leaky": "LeakyRelu", "elu": "Elu"}[kind], n.input(0), alpha=slope)


@operator("Pooling")
def _pooling(n: Node) -> str:
    """Place every window as MXNet does, by explicit padding, so that ONNX need not round."""
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
    maker = {"max": "MaxPool", "avg": "AveragePool"}[kind]
    if OPEN in sides:
        if any(begin):
            raise ValueError("it pads an unknown side")
        return n.emit(maker, source, kernel_shape=kernel, strides=stride, ceil_mode=int(full))
    end = []
    for size, window, step, pad in zip(sides, kernel, stride, begin, strict=True):
        room = size + 2 * pad - window
        last = (-(-room // step) if full else room // step) * step  # the start of the last window
        if room < 0 or last >= size + pad + pad * counted:
            raise ValueError("a window has only padding")
        end.append(max(last + window - size - pad - pad * counted, 0))
    if counted:  # the mean includes these zeros, but not further ones
        zeros = n.whole("pads", [0, 0, *begin, 0, 0, *begin])
        source, begin = n.emit("Pad", source, zeros, output=f"{n.name}/padded"), [0] * len(begin)
    return n.emit(
        maker,
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


# MXNet has renamed these operators and still reads all the names.
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
    """Keep dropout, since `split` looks for it; ONNX runs it as the identity."""
    n.choice("axes", "()", "[]", "None")  # axes would drop whole feature maps
    try:
        rate = float(n.get("p", "0.5"))
    except ValueError:
        rate = 1.0
    if not 0.0 <= rate <= 1.0:  # also for NaN
        rate = 1.0  # `split` ignores this rate
    return n.emit("Dropout", n.input(0), n.constant("ratio", rate))


@operator("L2Normalization")
def _l2_normalization(n: Node) -> str:
    mode = n.choice("mode", "instance", "channel", "spatial")
    every = list(range(1, len(n.shape(0))))
    axes = {"instance": every, "channel": [1], "spatial": every[1:]}[mode]
    square = n.emit("Mul", n.input(0), n.input(0), output=f"{n.name}/square")
    total = n.emit("ReduceSum", square, n.whole("axes", axes), output=f"{n.name}/sum", keepdims=1)
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
        raise ValueError("over several axes MXNet's builds differ")
    return n.emit("Softmax", n.input(0), axis=1 if channel else -1)


@operator("softmax")
def _softmax(n: Node) -> str:
    n.choice("use_length", "False", "0")
    n.choice("dtype", "None", "float32")
    source = n.input(0)
    if (heat := n.get("temperature", "None")) != "None":
        source = n.emit("Div", source, n.constant("heat", float(heat)), output=f"{n.name}/cooled")
    return n.emit("Softmax", source, axis=int(n.get("axis", -1)))


@operator("clip")
def _clip(n: Node) -> str:
    low, high = float(n.get("a_min")), float(n.get("a_max"))
    if low > high:
        raise ValueError(f"a_min {low:g} is above a_max {high:g}")
    return n.emit("Clip", n.input(0), n.constant("a_min", low), n.constant("a_max", high))


@operator("square")
def _square(n: Node) -> str:
    return n.emit("Mul", n.input(0), n.input(0))


for _name, _op in {"sqrt": "Sqrt", "exp": "Exp", "relu": "Relu", "sigmoid": "Sigmoid"}.items():

    @operator(_name)
    def _unary(n: Node, op: str = _op) -> str:
        return n.emit(op, n.input(0))
