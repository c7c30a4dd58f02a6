"""Conversion of exported graphs to the plain float32 graph that `split` reads.

Each function undoes one habit of exporters, in place. A change of the results, even in the last
digits, is reported in a note.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from serfiq_widgets.checkpoints.onnx_graph import FLOATS, Graph, operator_of
from serfiq_widgets.errors import CorruptModel, one_line

NARROW = tuple(kind for kind in FLOATS if kind != TensorProto.FLOAT)
PIXELS = (
    TensorProto.UINT8,
    TensorProto.INT8,
    TensorProto.UINT16,
    TensorProto.INT16,
    TensorProto.UINT32,
    TensorProto.INT32,
    TensorProto.UINT64,
    TensorProto.INT64,
)
RANGES: dict[int, tuple[int, int]] = {
    TensorProto.UINT8: (0, 255),
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT16: (0, 65535),
    TensorProto.INT16: (-32768, 32767),
}
"""Smallest and largest number of each type of quantised activations."""
LAYERS = ("Conv", "Gemm", "MatMul", "Add", "Sub", "Mul", "BatchNormalization")
"""Layers after which a quantiser omits a ReLU, as rounding has the same effect."""
QUANTISED = (
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "ConvInteger",
    "MatMulInteger",
)
BROADCAST = ("Add", "Sub", "Mul", "Div", "Pow", "Max")
FOLDED = (
    *BROADCAST,
    *("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast"),
    *("Neg", "Abs", "Sqrt", "Reciprocal", "Clip", "Expand"),
    *("Shape", "ReduceSum", "ReduceSumSquare", "ReduceL2"),
)
"""Operators with which exporters compute weights from other weights."""
MAX_FOLDED = 2**27  # largest size of such a weight
IS_TRAINING = 2  # index of this input of a Dropout node

TRAINED_STILL = (
    "'{}' was exported in training mode: its batch norms and dropout layers were set to inference."
)
DEQUANTISED = (
    "'{}' is quantised to 8 bits: its weights were turned to float32 and its activations are not "
    "rounded, so scores differ a little from those of an 8-bit runtime."
)
WIDENED = "'{}' has {} numbers: it is computed in float32."


def make_plain(model: onnx.ModelProto, name: str) -> tuple[str, ...]:
    """Rewrite a model in place; return notes about it.

    Parameters
    ----------
    model : onnx.ModelProto
        A valid model with its weights.
    name : str
        The model's name in messages.

    Raises
    ------
    CorruptModel
        The quantisation cannot be undone, or the weights are broken.
    """
    try:
        notes = (
            *_to_inference(model, name),
            *_dequantise(model, name),
            *_widen(model, name),
        )
        _fold_weights(model, name)
        _turn_slopes(model, name)
        return notes  # noqa: TRY300  # the two lines before may fail, too
    except (LookupError, ValueError, TypeError) as error:
        raise CorruptModel(f"'{name}': its weights are broken ({one_line(error)}).") from error


def sort_nodes(model: onnx.ModelProto) -> None:
    """Sort the nodes topologically, if possible."""
    nodes = list(model.graph.node)
    made = {output for node in nodes for output in node.output if output}
    wanted = [{tensor for tensor in node.input if tensor in made} for node in nodes]
    takers: dict[str, list[int]] = {}
    for number, tensors in enumerate(wanted):
        for tensor in tensors:
            takers.setdefault(tensor, []).append(number)
    ready = deque(number for number, tensors in enumerate(wanted) if not tensors)
    order: list[int] = []
    while ready:
        number = ready.popleft()
        order.append(number)
        for output in nodes[number].output:
            for taker in takers.pop(output, ()):
                wanted[taker].discard(output)
                if not wanted[taker]:
                    ready.append(taker)
    if len(order) == len(nodes) and not _is_sorted(nodes, made):
        del model.graph.node[:]
        model.graph.node.extend(nodes[number] for number in order)


def _is_sorted(nodes: list[onnx.NodeProto], made: set[str]) -> bool:
    known: set[str] = set()
    for node in nodes:
        if any(tensor in made and tensor not in known for tensor in node.input):
            return False
        known.update(node.output)
    return True


def _to_inference(model: onnx.ModelProto, name: str) -> Iterator[str]:
    """Set batch norms and dropout layers from training mode to inference."""
    changed = False
    for node in model.graph.node:
        if operator_of(node) == "BatchNormalization":
            for attribute in node.attribute:
                if attribute.name == "training_mode" and attribute.i:
                    attribute.i, changed = 0, True
            changed |= len(node.output) > 1
            del node.output[1:]
        elif operator_of(node) == "Dropout" and len(node.input) > IS_TRAINING:
            changed |= bool(node.input[IS_TRAINING])
            del node.input[IS_TRAINING:]
    if changed:
        yield TRAINED_STILL.format(name)


def _dequantise(model: onnx.ModelProto, name: str) -> Iterator[str]:
    """Convert 8-bit weights to float32, and remove the rounding of activations."""
    kinds = {operator_of(node) for node in model.graph.node}
    if other := sorted(kind for kind in kinds if _is_fused(kind)):
        raise CorruptModel(
            f"'{name}' is quantised with '{other[0]}', which cannot be undone. Quantise it with "
            "QuantizeLinear and DequantizeLinear (QDQ), or give the original network."
        )
    if not kinds.intersection(QUANTISED):
        return
    graph = Graph(model, name)
    kept: list[onnx.NodeProto] = []
    for node in graph.nodes:
        weights = dict(_folded(node, graph))
        for tensor, numbers in weights.items():
            held = numpy_helper.from_array(np.asarray(numbers, np.float32), tensor)
            model.graph.initializer.append(held)
            graph.know(held)
        if node.output[0] not in weights:
            kept.append(_float_node(node, graph, model))
    del model.graph.node[:]
    model.graph.node.extend(kept)
    yield DEQUANTISED.format(name)


def _is_fused(kind: str) -> bool:
    return kind.startswith(("QLinear", "com.microsoft.Q", "com.microsoft.DynamicQuantize"))


def _folded(node: onnx.NodeProto, graph: Graph) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield the outputs of a node that are constant without quantisation."""
    kind = operator_of(node)
    constant = all(graph.is_constant(tensor) for tensor in node.input if tensor)
    if kind == "DequantizeLinear" and constant:
        yield node.output[0], _dequantised(node, graph)
    elif kind == "DynamicQuantizeLinear":
        yield node.output[1], np.ones(())
        yield node.output[2], np.zeros(())
    elif kind == "Mul" and constant:  # the scale of a product is the product of both scales
        yield node.output[0], graph.constant(node.input[0]) * graph.constant(node.input[1])


def _dequantised(node: onnx.NodeProto, graph: Graph) -> NDArray[np.float64]:
    """Return (x - zero point) * scale of constants, per tensor, per axis or per block of it."""
    said = {a.name: a.i for a in node.attribute}
    axis, block = said.get("axis", 1), said.get("block_size", 0)
    numbers, *factors = (graph.constant(tensor) for tensor in node.input if tensor)
    try:
        if block > 0:
            places = np.arange(numbers.shape[axis]) // block
            factors = [values.take(places, axis) for values in factors]
        else:
            factors = [_along(values, axis, numbers.ndim) for values in factors]
        scale, zero = (*factors, np.zeros(()))[:2]
        found: NDArray[np.float64] = (numbers - zero) * scale
    except (IndexError, ValueError) as error:
        raise graph.fail(f"the scales of '{node.input[0]}' do not fit its shape") from error
    return found


def _along(values: NDArray[np.float64], axis: int, dimensions: int) -> NDArray[np.float64]:
    """Reshape one value per position of an axis so that it broadcasts along the axis."""
    if values.size == 1 or dimensions < 2:  # noqa: PLR2004  # one axis
        return values.reshape(-1) if dimensions else values.reshape(())
    shape = [1] * dimensions
    shape[axis] = -1
    return values.reshape(shape)


def _float_node(node: onnx.NodeProto, graph: Graph, model: onnx.ModelProto) -> onnx.NodeProto:
    """Return the float node that replaces an 8-bit node; other nodes unchanged."""
    kind, out = operator_of(node), node.output[0]
    if kind == "QuantizeLinear" and (most := _relu(node, graph)):
        bounds = [f"{out}/least", f"{out}/most"]
        for bound, value in zip(bounds, (0.0, most), strict=True):
            held = numpy_helper.from_array(np.array(value, np.float32), bound)
            model.graph.initializer.append(held)
        return helper.make_node("Clip", [node.input[0], *bounds], [out])
    if kind in ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"):
        return helper.make_node("Identity", node.input[:1], [out])
    if kind in ("ConvInteger", "MatMulInteger"):
        numbers = graph.constant(node.input[1])
        if len(node.input) > 3 and node.input[3]:  # noqa: PLR2004  # x, weights, both zero points
            axis = 0 if kind == "ConvInteger" else numbers.ndim - 1
            numbers = numbers - _along(graph.constant(node.input[3]), axis, numbers.ndim)
        weight = f"{out}/weight"
        model.graph.initializer.append(numpy_helper.from_array(numbers.astype(np.float32), weight))
        made = helper.make_node(kind.removesuffix("Integer"), [node.input[0], weight], [out])
        made.attribute.extend(node.attribute)
        return made
    return node


def _relu(node: onnx.NodeProto, graph: Graph) -> float:
    """Return the largest number of a QuantizeLinear that also acts as a ReLU; else 0.

    If the range begins with zero, directly after a layer, a quantiser omits the ReLU: the rounding
    clips as the ReLU (or, with six as the largest number, the ReLU6) would.
    """
    scale, zero, kind = graph.constant(node.input[1]), np.zeros(1), int(TensorProto.UINT8)
    if len(node.input) > 2 and node.input[2]:  # noqa: PLR2004  # numbers, scale, zero point
        zero, kind = graph.constant(node.input[2]), graph.type_of(node.input[2])
    maker = graph.maker.get(node.input[0])
    behind = maker is not None and operator_of(maker) in LAYERS
    if not behind or kind not in RANGES or scale.size != 1 or zero.size != 1:
        return 0.0
    least, most = RANGES[kind]
    return float((most - least) * scale.item()) if zero.item() == least else 0.0


def _widen(model: onnx.ModelProto, name: str) -> Iterator[str]:
    """Convert all floating-point numbers and integer pixels to float32."""
    graph, seen = model.graph, set()
    held = {tensor.name for tensor in graph.initializer}
    inputs = [value.type.tensor_type for value in graph.input if value.name not in held]
    for kind in [*inputs, *(value.type.tensor_type for value in graph.output)]:
        if kind.elem_type in NARROW:
            seen.add(kind.elem_type)
        if kind.elem_type in (*NARROW, *PIXELS):
            kind.elem_type = TensorProto.FLOAT
    for tensor in [*graph.initializer, *_written_in(graph.node)]:
        if tensor.data_type in NARROW:
            seen.add(tensor.data_type)
            numbers = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(numbers, tensor.name))
    for node in graph.node:
        for attribute in node.attribute:
            if operator_of(node) == "Cast" and attribute.name == "to" and attribute.i in NARROW:
                attribute.i = TensorProto.FLOAT
    if seen:
        del graph.value_info[:]  # their types have changed
        kinds = sorted(TensorProto.DataType.Name(kind).lower() for kind in seen)
        yield WIDENED.format(name, " and ".join(kinds))


def _fold_weights(model: onnx.ModelProto, name: str) -> None:
    """Replace nodes that compute weights from other weights by their result.

    A layer may have its matrix transposed, scaled to length 1, or as length and direction.
    """
    graph = Graph(model, name)
    outputs = {value.name for value in model.graph.output}
    kept: list[onnx.NodeProto] = []
    for node in graph.nodes:
        made = None
        if not outputs.intersection(node.output):
            made = _made_of_weights(node, graph, model)
        if made is None:
            kept.append(node)
        else:
            model.graph.initializer.append(made)
            graph.know(made)
    if len(kept) < len(graph.nodes):
        del model.graph.node[:]
        model.graph.node.extend(kept)


def _made_of_weights(
    node: onnx.NodeProto, graph: Graph, model: onnx.ModelProto
) -> onnx.TensorProto | None:
    """Return the output of a node whose inputs are all weights; else None."""
    kind, given = operator_of(node), {tensor for tensor in node.input if tensor}
    known = {name: held for name in given if (held := graph.held(name)) is not None}
    if kind not in FOLDED or not given or len(known) < len(given):
        return None
    numbers = {name: numpy_helper.to_array(held) for name, held in known.items()}
    shapes = [array.shape for array in numbers.values()] if kind in BROADCAST else []
    if kind == "Expand":
        shapes = [tuple(numbers[node.input[1]].ravel().tolist())]
    if math.prod(np.broadcast_shapes(*shapes)) > MAX_FOLDED:
        raise ValueError(f"'{node.output[0]}' would be too large")
    from onnx.reference import ReferenceEvaluator

    inputs = [
        helper.make_tensor_value_info(name, held.data_type, held.dims)
        for name, held in known.items()
    ]
    output = onnx.ValueInfoProto(name=node.output[0])
    alone = helper.make_graph([node], "alone", inputs, [output])
    made = ReferenceEvaluator(helper.make_model(alone, opset_imports=list(model.opset_import)))
    with np.errstate(all="ignore"):  # numbers that are not finite are refused later
        (answer,) = made.run(None, numbers)
    value = np.asarray(answer)
    if kind == "Cast" and value.dtype.kind != "f":  # not the weight of a layer
        return None
    return numpy_helper.from_array(value, node.output[0])


def _written_in(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    """Yield the tensors in attributes of nodes, as in Constant."""
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def _turn_slopes(model: onnx.ModelProto, name: str) -> None:
    """Reshape a PReLU's slopes (C,) to (C, 1, 1), one per channel of feature maps.

    Old exports of MXNet have (C,), which ONNX reads as one slope per column.
    """
    graph = Graph(model, name)
    for number, node in enumerate(graph.nodes):
        if operator_of(node) != "PRelu" or not graph.is_constant(node.input[1]):
            continue
        slopes = graph.constant(node.input[1])
        if slopes.ndim == 1 and slopes.size > 1 and _is_map(node.input[0], graph):
            turned = f"{node.input[1]}/channels{number}"
            numbers = slopes.astype(np.float32).reshape(-1, 1, 1)
            model.graph.initializer.append(numpy_helper.from_array(numbers, turned))
            node.input[1] = turned


def _is_map(tensor: str, graph: Graph) -> bool:
    """Return whether a tensor comes from a convolution, without flattening in between."""
    for _ in graph.nodes:
        maker = graph.maker.get(tensor)
        kind = "" if maker is None else operator_of(maker)
        if maker is None or kind in ("Gemm", "MatMul", "Flatten", "Reshape", "Squeeze"):
            return False
        if kind == "Conv":
            return True
        tensor = maker.input[0]
    return False
