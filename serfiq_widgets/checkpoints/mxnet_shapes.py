"""MXNet's operators that slice, join and reshape: one function each, as in `mxnet_layers`."""

from __future__ import annotations

import math

import numpy as np

from serfiq_widgets.checkpoints.mxnet_builder import BATCH, Node, operator


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
    return n.emit("Reshape", n.input(0), n.whole("shape", sizes))


def _reshaped(shape: tuple[int, ...], codes: list[int]) -> list[int]:
    """Return the shape that MXNet's reshape codes give for an input shape.

    0 keeps an axis, -1 is the remaining size, -2 keeps all further axes, -3 joins two axes, -4
    splits one into the two sizes that follow (one may be -1); any other number is a size.
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
        elif code == -1 and split:  # here MXNet 1.9 writes out of bounds
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
        raise ValueError("it reflects more than the input has")
    value = n.constant("value", float(n.get("constant_value", 0.0)))
    pads = n.whole("pads", [*begin, *end])
    return n.emit("Pad", n.input(0), pads, value, mode=mode)


@operator("slice", "crop")
def _slice(n: Node) -> str:
    begins, ends = n.get("begin"), n.get("end")
    steps = n.get("step", ()) or (None,) * len(begins)
    if len(begins) != len(ends) or any(step is not None and step < 1 for step in steps):
        raise ValueError("begin, end and step")
    whole = np.iinfo(np.int64).max
    return n.emit(
        "Slice",
        n.input(0),
        n.whole("begin", [0 if b is None else b for b in begins]),
        n.whole("end", [whole if e is None else e for e in ends]),
        n.whole("axes", range(len(begins))),
        n.whole("step", [1 if s is None else s for s in steps]),
    )


@operator("slice_axis")
def _slice_axis(n: Node) -> str:
    text = str(n.attributes["end"])
    end = np.iinfo(np.int64).max if text == "None" else int(text)
    settings = {"begin": int(n.get("begin")), "end": end, "axes": int(n.get("axis"))}
    return n.emit("Slice", n.input(0), *(n.whole(k, [v]) for k, v in settings.items()))


@operator("SliceChannel", "split")
def _slice_channel(n: Node) -> list[str]:
    axis, count = int(n.get("axis", 1)), int(n.get("num_outputs"))
    if not 0 < count <= 4096 or n.shape(0)[axis] % count:  # noqa: PLR2004  # more than real networks have
        raise ValueError(f"num_outputs {count}")
    parts = [f"{n.name}/{i}" for i in range(count)]
    if not n.get("squeeze_axis", default=False):
        n.builder.emit("Split", [n.input(0)], parts, axis=axis)
        return parts
    wholes = [f"{part}/whole" for part in parts]
    n.builder.emit("Split", [n.input(0)], wholes, axis=axis)
    axes = n.whole("axes", [axis])
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
    rest = n.whole("size", [channels, *sides])
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


@operator("_copy", "identity", "BlockGrad")
def _copy(n: Node) -> str:
    return n.emit("Identity", n.input(0))


@operator("transpose")
def _transpose(n: Node) -> str:
    axes = [int(axis) for axis in n.get("axes", ())] or list(range(len(n.shape(0))))[::-1]
    return n.emit("Transpose", n.input(0), perm=axes)
