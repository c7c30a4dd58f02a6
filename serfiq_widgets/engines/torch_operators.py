"""ONNX operators as torch calls with settings and inputs; omitted inputs are None."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial, reduce
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812  # the usual name

from serfiq_widgets.errors import EngineUnavailable

Settings = dict[str, Any]
NEW_SOFTMAX = 13  # before this opset it flattened all axes from this one on
FLOATS = (1, 10, 11, 16)  # codes of TensorProto's floating-point types
BOOL = 9


def _unknown(operator: str, what: object) -> EngineUnavailable:
    return EngineUnavailable(
        f"The torch engine does not know the operator '{operator}' with {what}. "
        "Take --engine onnxruntime."
    )


def _padding(s: Settings, kernel: Sequence[int], x: Any) -> list[int]:
    """Return the padding before and after each axis in torch's order: the last axis first."""
    rank = len(kernel)
    auto = s.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", "VALID"):
        pads = list(s.get("pads", [0] * 2 * rank)) if auto == "NOTSET" else [0] * 2 * rank
        pairs = [(pads[i], pads[i + rank]) for i in range(rank)]
    else:
        pairs = []
        steps, spread = s.get("strides", [1] * rank), s.get("dilations", [1] * rank)
        for size, window, step, gap in zip(x.shape[2:], kernel, steps, spread, strict=True):
            lack = max((-(-size // step) - 1) * step + (window - 1) * gap + 1 - size, 0)
            less, more = lack // 2, lack - lack // 2
            pairs.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return [number for pair in reversed(pairs) for number in pair]


def _conv(s: Settings, x: Any, weight: Any, bias: Any = None) -> Any:
    rank = weight.ndim - 2
    pads = _padding(s, weight.shape[2:], x)
    even = pads[::2] == pads[1::2]
    if not even:
        x = F.pad(x, pads)
    call = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    return call(
        x,
        weight,
        bias,
        stride=s.get("strides", [1] * rank),
        padding=pads[::-2] if even else 0,
        dilation=s.get("dilations", [1] * rank),
        groups=s.get("group", 1),
    )


def _max_pool(s: Settings, x: Any) -> Any:
    kernel = s["kernel_shape"]
    pads = _padding(s, kernel, x)
    native = pads[::2] == pads[1::2] and all(
        2 * p <= k for p, k in zip(pads[::-2], kernel, strict=True)
    )
    pooled = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[len(kernel) - 1](
        x if native else F.pad(x, pads, value=-math.inf),
        kernel,
        stride=s.get("strides", [1] * len(kernel)),
        padding=pads[::-2] if native else 0,
        dilation=s.get("dilations", [1] * len(kernel)),
        ceil_mode=bool(s.get("ceil_mode", 0)),
    )
    return _begun_inside(s, pooled, x, pads)


def _average_pool(s: Settings, x: Any) -> Any:
    kernel = s["kernel_shape"]
    if any(step != 1 for step in s.get("dilations", ())):
        raise _unknown("AveragePool", "dilations")
    pads = _padding(s, kernel, x)
    pool = partial(
        (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(kernel) - 1],
        kernel_size=kernel,
        stride=s.get("strides", [1] * len(kernel)),
        ceil_mode=bool(s.get("ceil_mode", 0)),
    )
    if not any(pads):
        return pool(x)
    mean = pool(F.pad(x, pads))
    if not s.get("count_include_pad", 0):
        mean = mean / pool(F.pad(torch.ones_like(x[:1, :1]), pads))
    return _begun_inside(s, mean, x, pads)


def _begun_inside(s: Settings, pooled: Any, x: Any, pads: list[int]) -> Any:
    """Drop results of windows that start in the end padding, as ONNX does when rounding up."""
    if s.get("ceil_mode", 0):
        for axis, step in enumerate(s.get("strides", ()), start=2):
            before = pads[2 * (x.ndim - 1 - axis)]
            count = -(-(x.shape[axis] + before) // step)
            pooled = pooled.narrow(axis, 0, min(count, pooled.shape[axis]))
    return pooled


def _batch_norm(s: Settings, x: Any, gamma: Any, beta: Any, mean: Any, variance: Any) -> Any:
    factor = gamma * torch.rsqrt(variance + s.get("epsilon", 1e-5))
    return _scale_shift(s, x, factor, beta - mean * factor)


def _scale_shift(_: Settings, x: Any, factor: Any, offset: Any) -> Any:
    shape = (1, -1, *[1] * (x.ndim - 2))
    return torch.addcmul(offset.view(shape), x, factor.view(shape))


def _prelu(_: Settings, x: Any, slope: Any) -> Any:
    channels = x.shape[1] if x.ndim > 1 else 1
    per_channel = slope.ndim == x.ndim - 1 and slope.shape[0] == channels
    if slope.numel() == 1 or (per_channel and slope.numel() == channels):
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, x * slope, x)


def _gemm(s: Settings, a: Any, b: Any, c: Any = None) -> Any:
    product = (a.T if s.get("transA") else a) @ (b.T if s.get("transB") else b)
    if s.get("alpha", 1.0) != 1.0:
        product = product * s["alpha"]
    return product if c is None else product + c * s.get("beta", 1.0)


def _softmax(s: Settings, x: Any) -> Any:
    if s["opset"] >= NEW_SOFTMAX:
        return torch.softmax(x, s.get("axis", -1))
    return torch.softmax(_flatten(s, x), -1).reshape(x.shape)


def _flatten(s: Settings, x: Any) -> Any:
    axis = s.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _reshape(s: Settings, x: Any, shape: Any) -> Any:
    sizes = shape.tolist()
    if not s.get("allowzero", 0):
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(sizes)


def _axes(s: Settings, axes: Any) -> list[int] | None:
    """Return the axes: a setting in older opsets, an input in newer ones."""
    if axes is not None:
        return [int(axis) for axis in axes.flatten().tolist()]
    return s.get("axes")


def _squeeze(s: Settings, x: Any, axes: Any = None) -> Any:
    wanted = _axes(s, axes)
    return x.squeeze() if wanted is None else x.squeeze(tuple(wanted))


def _unsqueeze(s: Settings, x: Any, axes: Any = None) -> Any:
    wanted = _axes(s, axes) or []
    rank = x.ndim + len(wanted)
    for axis in sorted(axis % rank for axis in wanted):
        x = x.unsqueeze(axis)
    return x


def _reduced(function: Callable[..., Any]) -> Callable[..., Any]:
    def operator(s: Settings, x: Any, axes: Any = None) -> Any:
        wanted = _axes(s, axes)
        if not wanted and s.get("noop_with_empty_axes", 0):
            return x
        return function(x, tuple(wanted or range(x.ndim)), bool(s.get("keepdims", 1)))

    return operator


def _lp(x: Any, axes: Any, keep: Any, *, p: float) -> Any:
    return torch.linalg.vector_norm(x, p, axes, keepdim=keep)


def _lp_normalisation(s: Settings, x: Any) -> Any:
    return x / _lp(x, s.get("axis", -1), True, p=s.get("p", 2))  # noqa: FBT003  # keepdim


def _clip(s: Settings, x: Any, least: Any = None, most: Any = None) -> Any:
    least = s.get("min") if least is None else least.item()
    most = s.get("max") if most is None else most.item()
    return x if least is None and most is None else x.clamp(least, most)


def _slice(
    s: Settings, x: Any, starts: Any = None, ends: Any = None, axes: Any = None, steps: Any = None
) -> Any:
    begin = s["starts"] if starts is None else starts.tolist()
    end = s["ends"] if ends is None else ends.tolist()
    along = _axes(s, axes) or list(range(len(begin)))
    by = [1] * len(begin) if steps is None else steps.tolist()
    for first, last, axis, step in zip(begin, end, along, by, strict=True):
        size = x.shape[axis]
        index = range(size)[slice(first, last, step)]
        if step < 0:
            x = _rows(x, axis, index)
        else:
            x = x[(slice(None),) * (axis % x.ndim) + (slice(index.start, index.stop, step),)]
    return x


def _rows(x: Any, axis: int, index: Iterable[int]) -> Any:
    """Select rows by Python integers, which avoids sending an index tensor to the GPU."""
    return torch.stack([x.select(axis, i) for i in index], axis)


def _gather(s: Settings, x: Any, index: Any) -> Any:
    axis = s.get("axis", 0) % x.ndim
    rows = _rows(x, axis, index.reshape(-1).tolist())
    return rows.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def _split(s: Settings, x: Any, sizes: Any = None) -> Any:
    axis = s.get("axis", 0)
    wanted = s.get("split") if sizes is None else sizes.tolist()
    return x.split(wanted or -(-x.shape[axis] // s["outputs"]), axis)


def _pad(s: Settings, x: Any, pads: Any = None, value: Any = None, axes: Any = None) -> Any:
    numbers = list(s["pads"]) if pads is None else pads.tolist()
    along = list(range(x.ndim)) if axes is None else [axis % x.ndim for axis in axes.tolist()]
    count = len(along)
    sizes = {axis: (numbers[i], numbers[i + count]) for i, axis in enumerate(along)}
    listed = [n for axis in range(x.ndim)[::-1] for n in sizes.get(axis, (0, 0))]
    mode = s.get("mode", "constant")
    if mode == "constant":
        return F.pad(x, listed, value=s.get("value", 0.0) if value is None else value.item())
    while listed and not any(listed[-2:]):  # torch accepts no padding of batch and channels here
        listed = listed[:-2]
    return F.pad(x, listed, mode={"reflect": "reflect", "edge": "replicate"}[mode])


def _resize(s: Settings, x: Any, *inputs: Any) -> Any:
    """Resize (formerly Upsample), in the modes that torch and ONNX share."""
    given = inputs if len(inputs) <= 1 else inputs[1:]  # skip the unused region of interest
    scales, sizes = (*given, None, None)[:2]
    way = s.get("coordinate_transformation_mode", "half_pixel" if s["opset"] > 10 else "asymmetric")  # noqa: PLR2004
    nearest = s.get("nearest_mode", "round_prefer_floor" if s["opset"] > 10 else "floor")  # noqa: PLR2004
    mode = s.get("mode", "nearest")
    known = {
        ("nearest", "asymmetric", "floor"): ("nearest", None),
        ("linear", "half_pixel"): ("bilinear", False),
        ("linear", "pytorch_half_pixel"): ("bilinear", False),
        ("linear", "align_corners"): ("bilinear", True),
        ("cubic", "half_pixel"): ("bicubic", False),
        ("cubic", "align_corners"): ("bicubic", True),
    }
    key = (mode, way, nearest) if mode == "nearest" else (mode, way)
    plain = not any(s.get(name) for name in ("antialias", "axes", "exclude_outside"))
    if key not in known or x.ndim != 4 or not plain:  # noqa: PLR2004  # images
        raise _unknown("Resize", " ".join(key))
    method, corners = known[key]
    if sizes is None or not sizes.numel():
        factors = s["scales"] if scales is None else scales.tolist()
        wanted = {"scale_factor": tuple(factors[2:])}
    else:
        wanted = {"size": sizes.tolist()[2:]}
    return F.interpolate(x, mode=method, align_corners=corners, **wanted)


def _cast(s: Settings, x: Any) -> Any:
    """Cast; floats keep the engine's precision, and scalars and vectors stay on the host."""
    if s["to"] not in FLOATS:
        return x.to(torch.bool if s["to"] == BOOL else torch.int64)
    return x if x.is_floating_point() else x.to(s["dtype"] if x.ndim > 1 else torch.float32)


def _constant(s: Settings) -> Any:
    names = ("value", "value_int", "value_ints", "value_float", "value_floats")
    return torch.as_tensor(next(s[name] for name in names if name in s))


def _constant_of_shape(s: Settings, shape: Any) -> Any:
    value = s.get("value", torch.zeros(1))
    return torch.full(shape.tolist(), value.item(), dtype=value.dtype)


def _expand(_: Settings, x: Any, shape: Any) -> Any:
    return x.expand(torch.broadcast_shapes(x.shape, shape.tolist()))


def _divide(_: Settings, a: Any, b: Any) -> Any:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _layer_norm(s: Settings, x: Any, scale: Any, bias: Any = None) -> Any:
    return F.layer_norm(x, x.shape[s.get("axis", -1) :], scale, bias, s.get("epsilon", 1e-5))


def _instance_norm(s: Settings, x: Any, scale: Any, bias: Any) -> Any:
    return F.instance_norm(x, weight=scale, bias=bias, eps=s.get("epsilon", 1e-5))


def _hard_sigmoid(s: Settings, x: Any) -> Any:
    return (x * s.get("alpha", 0.2) + s.get("beta", 0.5)).clamp(0, 1)


def _each(function: Callable[[Any], Any]) -> Callable[..., Any]:
    return lambda _, x, *__: function(x)


def _both(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda _, *inputs: reduce(function, inputs)


OPERATORS: dict[str, Callable[..., Any]] = {
    "Abs": _each(torch.abs),
    "Add": _both(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda s, *inputs: torch.cat(inputs, s["axis"]),
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "Div": _divide,
    "Dropout": _each(lambda x: x),
    "Elu": lambda s, x: F.elu(x, s.get("alpha", 1.0)),
    "Equal": _both(torch.eq),
    "Erf": _each(torch.erf),
    "Exp": _each(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": lambda s, x: F.gelu(x, approximate=s.get("approximate", "none")),
    "Gemm": _gemm,
    "GlobalAveragePool": _each(lambda x: x.mean(tuple(range(2, x.ndim)), keepdim=True)),
    "GlobalMaxPool": _each(lambda x: x.amax(tuple(range(2, x.ndim)), keepdim=True)),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _each(F.hardswish),
    "Identity": _each(lambda x: x),
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda s, x: F.leaky_relu(x, s.get("alpha", 0.01)),
    "Log": _each(torch.log),
    "LpNormalization": _lp_normalisation,
    "MatMul": _both(torch.matmul),
    "Max": _both(torch.maximum),
    "MaxPool": _max_pool,
    "Min": _both(torch.minimum),
    "Mul": _both(torch.mul),
    "Neg": _each(torch.neg),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _both(torch.pow),
    "Reciprocal": _each(torch.reciprocal),
    "ReduceL1": _reduced(partial(_lp, p=1)),
    "ReduceL2": _reduced(partial(_lp, p=2)),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceMin": _reduced(torch.amin),
    "ReduceSum": _reduced(torch.sum),
    "Relu": _each(F.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "ScaleShift": _scale_shift,  # a batch norm of constants
    "Selu": _each(F.selu),
    "Shape": lambda s, x: torch.tensor(x.shape[s.get("start", 0) : s.get("end")]),
    "Sigmoid": _each(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _each(F.softplus),
    "Softsign": _each(F.softsign),
    "Split": _split,
    "Sqrt": _each(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _both(torch.sub),
    "Sum": _both(torch.add),
    "Tanh": _each(torch.tanh),
    "Transpose": lambda s, x: x.permute(s.get("perm", tuple(range(x.ndim))[::-1])),
    "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
    "Where": lambda _, condition, x, y: torch.where(condition.to(x.device), x, y),
    "com.microsoft.Gelu": _each(F.gelu),
}
"""Supported operators by name."""

ON_HOST = {
    "Clip": (1, 2),
    "Pad": (1, 2, 3),
    "Resize": (1, 2, 3),
    "Upsample": (1,),
}
"""Positions of float inputs needed on the host; integer inputs always are."""
