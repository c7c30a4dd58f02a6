"""Cutting a network in two at its dropout site: the trunk as ONNX, the head as a matrix.

The site is the input of the last Dropout node, else of the last fully connected layer, unless its
name is given. What lies before runs once per face; what follows is affine (dropout, fully connected
or a convolution that sees its whole input, batch norm) and folds to embedding = A f + c.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from serfiq_widgets.checkpoints.heads import Head, affine
from serfiq_widgets.checkpoints.onnx_graph import Graph, norm_of, open_batch, operator_of, outlined
from serfiq_widgets.checkpoints.onnx_plain import make_plain
from serfiq_widgets.errors import CorruptModel, one_line, plain_text

HALF = 2.0**-11  # by which float16 rounds numbers below one
DEFAULT_RATIO = 0.5  # of an ONNX Dropout node that states none
SEVERAL = "'{}' has {} outputs: '{}' was taken for the embedding."
MAX_NUMBERS = 2**27  # in a head's matrix; the reference network's has 13 million
SAME = ("Identity", "Cast", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True, eq=False)
class Network:
    """A recognition network, cut at its dropout site.

    Attributes
    ----------
    name : str
        What errors and results call it.
    trunk : callable
        Returns an ONNX model, bytes: float32 (N, 3, H, W) to float32 features (N, F). A network
        from a file keeps them until an engine has them, and then reads the file again.
    head : Head
        What follows the dropout site.
    site : str
        The tensor on which dropout acts; for MXNet checkpoints the name of the node.
    rate : float or None
        Rate p that the Dropout node states; None where there is none, or one that is no rate.
        0 says that it was trained without dropout.
    input_size : tuple of int
        Height and width.
    sha256 : str
        Of the file with the weights.
    path : Path or None
        Where it came from; None if it was a module in memory.
    notes : tuple of str
        What is to be known about how its graph was read.
    """

    name: str
    trunk: Callable[[], bytes]
    head: Head
    site: str
    rate: float | None
    input_size: tuple[int, int]
    sha256: str
    path: Path | None
    notes: tuple[str, ...] = ()

    @property
    def n_features(self) -> int:
        """F, the number of features at the dropout site."""
        return self.head.n_features

    @property
    def n_dimensions(self) -> int:
        """D, the length of an embedding."""
        return self.head.n_dimensions


def cut_network(
    model: onnx.ModelProto,
    weights: Iterable[bytes],
    path: Path | None,
    *,
    name: str = "",
    site: str = "",
    side: int = 0,
    on_top: Head | None = None,
) -> Network:
    """Cut a model at its dropout site and describe the whole as a `Network`.

    Parameters
    ----------
    model : onnx.ModelProto
        A recognition network; of several outputs one is the embedding (see `embedding_of`).
    weights : iterable of bytes
        The file or files that it came from, for its hash.
    path : Path or None
        Where it came from.
    name, site : str
        See `split`; the name is the file's if not given.
    side : int
        Height and width of the input where the graph leaves them open; 112 if not given.
    on_top : Head, optional
        A head that stands on the whole model: the model is not cut then.

    Raises
    ------
    CorruptModel
        As `split` and `open_batch`, or the graph's input has another size than ``side``.
    """
    name = plain_text(name or (path.name if path else "the network"))
    notes = make_plain(model, name)
    size = open_batch(model, name, side)
    output = embedding_of(model, name)
    if len(model.graph.output) > 1:
        notes += (SEVERAL.format(name, len(model.graph.output), output),)
    if on_top is None:
        trunk, head, where, rate = split(model, name, site, output)
    else:
        head, where, rate = on_top, output, None
        trunk = _trunk(model, where, head.n_features, name)
    digest = hashlib.sha256()
    for part in weights:
        digest.update(part)
    content = trunk.SerializeToString()
    return Network(name, lambda: content, head, where, rate, size, digest.hexdigest(), path, notes)


def embedding_of(model: onnx.ModelProto, name: str) -> str:
    """Return which output of a model is the embedding.

    The first to which a fully connected layer leads, and through which no other such output is
    reached: what stands on an embedding, as the classes of a training do, is none.
    """
    outputs = [str(output.name) for output in model.graph.output]
    if len(outputs) == 1:
        return outputs[0]
    ways = {}
    for output in outputs:
        graph = Graph(model, name, output)
        chain = graph.chain()
        if any(_is_layer(node, graph) for node in chain):
            ways[output] = {tensor for node in chain for tensor in node.output} - {output}
    bases = [output for output, way in ways.items() if not way & (ways.keys() - {output})]
    return bases[0] if bases else outputs[0]


def split(
    model: onnx.ModelProto, name: str, site: str = "", output: str = ""
) -> tuple[onnx.ModelProto, Head, str, float | None]:
    """Cut a model at its dropout site.

    Parameters
    ----------
    model : onnx.ModelProto
        A recognition network.
    name : str
        What errors call it.
    site : str
        The tensor or node at which to cut, if it shall not be found.
    output : str
        Which of its outputs is the embedding; the first if not given.

    Returns
    -------
    trunk : onnx.ModelProto
        From the model's input to ``features`` (N, F).
    head : Head
        The rest, folded.
    site : str
        The tensor at the cut.
    rate : float or None
        Of the Dropout node, if there is one.

    Raises
    ------
    CorruptModel
        No such site is found, or what follows it is not affine.
    """
    graph = Graph(model, name, output)
    chain = graph.chain()
    start, rate = _named(chain, graph, site) if site else _found(chain, graph)
    tensor = graph.data_input(chain[start])
    if tensor is None:
        raise graph.fail("the input of its last fully connected layer is not one tensor")
    with np.errstate(all="ignore"):  # it asks itself whether all is finite
        head = _fold(chain[start:], graph)
    return _trunk(model, tensor, head.n_features, name), head, tensor, rate


def _found(chain: list[onnx.NodeProto], graph: Graph) -> tuple[int, float | None]:
    """Return where in the chain the head begins, and the rate of the Dropout node there."""
    layers = [i for i, node in enumerate(chain) if _is_layer(node, graph)]
    if not layers:
        raise graph.fail(
            "no fully connected layer leads to its output. If a later part of it is affine, say "
            "where dropout belongs (site); for any embedding there is the on-top head"
        )
    drops = [i for i, node in enumerate(chain) if operator_of(node) == "Dropout" and i < layers[-1]]
    if drops:
        return drops[-1], _ratio(chain[drops[-1]], graph)
    start = layers[-1]
    # Dropout on (N, C, 1, 1) and on its flattened form are the same: cut before the reshaping.
    while start > 0 and operator_of(chain[start - 1]) in SAME:
        start -= 1
    return start, None


def _named(chain: list[onnx.NodeProto], graph: Graph, site: str) -> tuple[int, float | None]:
    """Return where in the chain a named site is: a tensor that a node takes, or that node."""
    taken = [graph.data_input(node) for node in chain]
    if site not in taken:
        taken = [node.name for node in chain]
    if site in taken:
        i = taken.index(site)
        return i, _ratio(chain[i], graph) if operator_of(chain[i]) == "Dropout" else None
    names = [name for node in chain[-8:] if (name := graph.data_input(node))]
    raise graph.fail(f"'{site}' is none of its sites; the last ones are {', '.join(names)}")


def _is_layer(node: onnx.NodeProto, graph: Graph) -> bool:
    if operator_of(node) == "Conv":
        return graph.is_constant(node.input[1]) and graph.sees_all(node)
    return operator_of(node) in ("Gemm", "MatMul") and graph.is_constant(node.input[1])


def _is_final_norm(node: onnx.NodeProto, graph: Graph) -> bool:
    """Whether a node only gives embeddings length 1, which every score does by itself."""
    return operator_of(node) == "LpNormalization" or bool(norm_of(node, graph))


def _ratio(node: onnx.NodeProto, graph: Graph) -> float | None:
    """Return the rate of a Dropout node: an input since opset 12, an attribute before.

    None if it is no rate, such as 1 or NaN.
    """
    rate = next((float(a.f) for a in node.attribute if a.name == "ratio"), DEFAULT_RATIO)
    if len(node.input) > 1 and node.input[1]:
        rate = float(graph.constant(node.input[1]).flat[0])
    # 0.4 in float32, or even in float16, is meant as 0.4
    rate = round(rate, 2) if abs(rate - round(rate, 2)) < HALF else round(rate, 6)
    return rate if 0.0 <= rate < 1.0 else None


def _fold(nodes: Sequence[onnx.NodeProto], graph: Graph) -> Head:
    """Fold the head's nodes to one matrix and one vector, in float64."""
    weight: NDArray[np.float64] | None = None
    bias: NDArray[np.float64] = np.zeros(1)
    for node in nodes:
        if operator_of(node) in SAME:
            _check_keeps_rows(node, graph, before_layer=weight is None)
        elif _is_layer(node, graph):
            layer, offset = _layer(node, graph)
            if weight is not None:
                _check_fit(layer, weight, graph)
                layer, offset = layer @ weight, layer @ bias + offset
            weight, bias = layer, offset
        elif weight is None:
            raise graph.fail(
                f"'{operator_of(node)}' stands between dropout and the fully connected layer"
            )
        elif not _is_final_norm(node, graph):
            factor, offset = _per_dimension(node, graph)
            if not {factor.shape, offset.shape} <= {(1,), bias.shape}:
                raise graph.fail(f"the sizes of '{operator_of(node)}' do not fit")
            weight, bias = weight * factor[:, None], bias * factor + offset
    if weight is None:
        raise graph.fail("no fully connected layer follows its dropout site")
    return _sound(weight, bias, graph)


def _sound(weight: NDArray[np.float64], bias: NDArray[np.float64], graph: Graph) -> Head:
    """Return an affine head, or refuse one whose numbers are of no use."""
    if not weight.any():
        raise graph.fail("the weights of its last layer are all zero, so all faces are one to it")
    head = affine(np.ascontiguousarray(weight, dtype=np.float32), bias.astype(np.float32))
    if not all(np.isfinite(numbers).all() for numbers in (head.weight, head.bias)):
        raise graph.fail("its weights are, or give, numbers that are not finite")
    return head


def _check_fit(layer: NDArray[Any], first: NDArray[Any], graph: Graph) -> None:
    if layer.shape[1] != len(first) or len(layer) * first.shape[1] > MAX_NUMBERS:
        raise graph.fail(f"matrices of shape {layer.shape} and {first.shape} do not fit")


def _check_keeps_rows(node: onnx.NodeProto, graph: Graph, *, before_layer: bool) -> None:
    """Refuse a node that would give another shape than (images, numbers).

    A computed shape is taken to be that in front of a layer, which takes no other.
    """
    sound = True
    if operator_of(node) == "Reshape" and not graph.is_constant(node.input[1]):
        sound = before_layer
    elif operator_of(node) == "Reshape":
        sizes = graph.constant(node.input[1]).ravel()
        sound = len(sizes) == 2 and sizes[0] in (0, 1, -1)  # noqa: PLR2004  # images, numbers
    elif operator_of(node) == "Flatten":
        sound = all(a.i == 1 for a in node.attribute if a.name == "axis")
    if not sound:
        raise graph.fail(f"'{node.name or node.output[0]}' changes the shape of its head")


def _layer(node: onnx.NodeProto, graph: Graph) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return matrix (D, F) and vector (D,) of a Gemm, a MatMul, or a Conv that sees all."""
    settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    matrix = graph.constant(node.input[1])
    if operator_of(node) == "Conv":
        matrix = matrix.reshape(len(matrix), -1).T
    if matrix.ndim != 2 or settings.get("transA"):  # noqa: PLR2004  # a matrix
        raise graph.fail(f"the fully connected layer '{node.name or node.output[0]}' is no matrix")
    if operator_of(node) == "MatMul" or not settings.get("transB"):
        matrix = matrix.T
    vector = np.zeros(len(matrix))
    if len(node.input) > 2 and node.input[2]:  # noqa: PLR2004  # data, matrix, vector
        offset = graph.constant(node.input[2]).ravel()
        if len(offset) not in (1, len(matrix)):
            raise graph.fail(f"a bias of {len(offset)} numbers for {len(matrix)} dimensions")
        vector = vector + offset * settings.get("beta", 1.0)
    return matrix * settings.get("alpha", 1.0), vector


def _per_dimension(
    node: onnx.NodeProto, graph: Graph
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return factor and offset, per dimension, of a layer that follows the fully connected one."""
    kind = operator_of(node)
    if kind == "BatchNormalization":
        gamma, beta, mean, variance = (graph.constant(tensor).ravel() for tensor in node.input[1:5])
        if any(a.name == "training_mode" and a.i for a in node.attribute):
            raise graph.fail("its batch norm is still in training")
        if not len(gamma) == len(beta) == len(mean) == len(variance):
            raise graph.fail("a batch norm's weights differ in size")
        eps = next((float(a.f) for a in node.attribute if a.name == "epsilon"), 1e-5)
        factor = gamma / np.sqrt(variance + eps)
        return factor, beta - mean * factor
    constants = [tensor for tensor in node.input if graph.is_constant(tensor)]
    if kind in ("Add", "Sub", "Mul", "Div") and len(constants) == 1:
        first = graph.is_constant(node.input[0])
        value = graph.constant(constants[0])
        if value.size != (value.shape or (1,))[-1]:
            raise graph.fail(f"'{kind}' with numbers of shape {value.shape}")
        value = value.ravel()
        one, none = np.ones(1), np.zeros(1)
        if kind == "Add":
            return one, value
        if kind == "Sub":
            return (-one, value) if first else (one, -value)
        if kind == "Mul":
            return value, none
        if not first:
            return 1.0 / value, none
    raise graph.fail(f"'{kind}' follows the dropout site, and that is not affine")


def _trunk(model: onnx.ModelProto, site: str, n_features: int, name: str) -> onnx.ModelProto:
    """Return the nodes that lead to the site, with the site flattened to (N, F)."""
    maker = {output: node for node in model.graph.node for output in node.output}
    needed = {""}  # an input that is left out
    waiting = [site]
    while waiting:
        tensor = waiting.pop()
        if tensor in needed:
            continue
        needed.add(tensor)
        if tensor in maker:
            waiting.extend(maker[tensor].input)
    needed.remove("")
    nodes = [node for node in model.graph.node if needed.intersection(node.output)]
    taken = {tensor for node in nodes for tensor in (*node.input, *node.output)}
    features = next(n for n in ("features", *map(str, range(len(taken) + 1))) if n not in taken)
    flat = helper.make_node("Flatten", [site], [features], axis=1)
    weights = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    held = {tensor.name for tensor in weights}
    inputs = [i for i in model.graph.input if i.name in needed and i.name not in held]
    if len(inputs) != 1:
        raise CorruptModel(f"'{name}' has {len(inputs)} inputs; a recognition network has one.")
    output = helper.make_tensor_value_info(features, TensorProto.FLOAT, ["N", n_features])
    graph = helper.make_graph([*nodes, flat], "trunk", inputs, [output], weights)
    trunk = helper.make_model(
        graph, opset_imports=list(model.opset_import), ir_version=model.ir_version
    )
    _check_shapes(trunk, name)
    return trunk


def _check_shapes(trunk: onnx.ModelProto, name: str) -> None:
    """Refuse a trunk whose layers do not fit together or do not give what the head takes."""
    outline = outlined(trunk)
    outline.graph.output[0].type.tensor_type.shape.dim[0].Clear()
    try:
        inferred = onnx.shape_inference.infer_shapes(outline, check_type=True, strict_mode=True)
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        raise CorruptModel(
            f"'{name}': the shapes of its layers do not fit together ({one_line(error)})."
        ) from error
    if rows := inferred.graph.output[0].type.tensor_type.shape.dim[0].dim_value:
        raise CorruptModel(
            f"'{name}' gives {rows} rows of features for any number of images. Export it with an "
            "open batch size."
        )
