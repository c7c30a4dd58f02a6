"""Splitting of a network at its dropout site: the trunk as ONNX, the head as a matrix.

The site is the input of the last Dropout node, else of the last fully connected layer, unless its
name is given. The trunk before it runs once per face; the head after it is affine (dropout, fully
connected or a convolution that covers its input, batch norm) and becomes embedding = A f + c.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from serfiq_widgets.checkpoints.folding import SAME, fold, is_layer, layer_of, may_follow
from serfiq_widgets.checkpoints.heads import Head, usable_rate
from serfiq_widgets.checkpoints.onnx_graph import (
    MIN_IR,
    Graph,
    open_batch,
    operator_of,
    outlined,
)
from serfiq_widgets.checkpoints.onnx_plain import make_plain
from serfiq_widgets.errors import CorruptModel, one_line, plain_text

HALF = 2.0**-11  # rounding error of float16 for numbers below one
DEFAULT_RATIO = 0.5  # default of an ONNX Dropout node
SEVERAL = "'{}' has {} outputs: '{}' was taken as the embedding."
MANY = 16  # smallest embedding, if a network has several outputs


@dataclass(frozen=True, eq=False)
class Network:
    """A recognition network, split at its dropout site.

    Attributes
    ----------
    name : str
        The name in errors and results.
    trunk : callable
        Returns an ONNX model as bytes: float32 (N, 3, H, W) to float32 features (N, F). A network
        from a file keeps them until an engine has loaded them, and later reads the file again.
    head : Head
        The layers after the dropout site.
    site : str
        The tensor on which dropout acts; for MXNet checkpoints the name of the node.
    rate : float or None
        Rate p of the Dropout node; None if there is none, or if its rate is invalid. 0 means that
        the network was trained without dropout.
    input_size : tuple of int
        Height and width.
    sha256 : str
        SHA-256 of the file with the weights.
    path : Path or None
        The file; None if it was a module in memory.
    notes : tuple of str
        Notes about how its graph was read.
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
    """Split a model at its dropout site and return it as a `Network`.

    Parameters
    ----------
    model : onnx.ModelProto
        A recognition network; if it has several outputs, see `embedding_of`.
    weights : iterable of bytes
        The content of its file or files, for its hash.
    path : Path or None
        Its file.
    name, site : str
        See `split`; the name is the file name if not given.
    side : int
        Height and width of the input if the graph leaves them open; 112 if not given.
    on_top : Head, optional
        A head for the output of the whole model, which is then not split.

    Raises
    ------
    CorruptModel
        As in `split` and `open_batch`, or the input has another size than ``side``.
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
    """Return the name of the output that is the embedding.

    It is the first output of a fully connected layer that is not computed from another such output,
    as the classes of the training are. The few numbers of an age or a sex are not an embedding, nor
    are values computed from the whole embedding, such as its length.
    """
    outputs = [str(output.name) for output in model.graph.output]
    if len(outputs) == 1:
        return outputs[0]
    ways, many = {}, []
    for output in outputs:
        graph = Graph(model, name, output)
        chain = graph.chain()
        layers = [i for i, node in enumerate(chain) if is_layer(node, graph)]
        if layers and all(may_follow(node, graph) for node in chain[layers[-1] + 1 :]):
            ways[output] = {tensor for node in chain for tensor in node.output} - {output}
            if len(layer_of(chain[layers[-1]], graph)[0]) >= MANY:
                many.append(output)
    bases = [output for output, way in ways.items() if not way & (ways.keys() - {output})]
    return next((output for output in bases if output in many), (bases or outputs)[0])


def split(
    model: onnx.ModelProto, name: str, site: str = "", output: str = ""
) -> tuple[onnx.ModelProto, Head, str, float | None]:
    """Split a model at its dropout site.

    Parameters
    ----------
    model : onnx.ModelProto
        A recognition network.
    name : str
        The name in error messages.
    site : str
        The tensor or node at which to cut; found automatically if not given.
    output : str
        The output that is the embedding; the first if not given.

    Returns
    -------
    trunk : onnx.ModelProto
        From the model's input to ``features`` (N, F).
    head : Head
        The remaining layers, folded.
    site : str
        The tensor at the cut.
    rate : float or None
        Rate of the Dropout node, if there is one.

    Raises
    ------
    CorruptModel
        No such site is found, or the layers after it are not affine.
    """
    graph = Graph(model, name, output)
    chain = graph.chain()
    start, rate = _named(chain, graph, site) if site else _found(chain, graph)
    tensor = graph.data_input(chain[start])
    if tensor is None:
        raise graph.fail("the input of its last fully connected layer is not one tensor")
    with np.errstate(all="ignore"):  # `fold` checks that all numbers are finite
        head = fold(chain[start:], graph)
    return _trunk(model, tensor, head.n_features, name), head, tensor, rate


def _found(chain: list[onnx.NodeProto], graph: Graph) -> tuple[int, float | None]:
    """Return the index in the chain where the head begins, and the Dropout node's rate."""
    layers = [i for i, node in enumerate(chain) if is_layer(node, graph)]
    if not layers and (foreign := sorted(k for k in map(operator_of, graph.nodes) if "." in k)):
        raise graph.fail(
            f"it was rewritten for one runtime, with operators such as '{foreign[0]}'. Give the "
            "network as it was exported"
        )
    if not layers:
        raise graph.fail(
            "no fully connected layer leads to its output. If a later part of it is affine, name "
            "the dropout site (site); for any embedding there is the on-top head"
        )
    drops = [i for i, node in enumerate(chain) if operator_of(node) == "Dropout" and i < layers[-1]]
    if drops:
        return drops[-1], _ratio(chain[drops[-1]], graph)
    start = layers[-1]
    # Dropout on (N, C, 1, 1) and on its flattened form are the same: cut before the reshape.
    while start > 0 and operator_of(chain[start - 1]) in SAME:
        start -= 1
    return start, None


def _named(chain: list[onnx.NodeProto], graph: Graph, site: str) -> tuple[int, float | None]:
    """Return the index in the chain of a named site: an input of a node, or the node."""
    taken = [graph.data_input(node) for node in chain]
    if site not in taken:
        taken = [node.name for node in chain]
    if site in taken:
        i = taken.index(site)
        return i, _ratio(chain[i], graph) if operator_of(chain[i]) == "Dropout" else None
    names = [name for node in chain[-8:] if (name := graph.data_input(node))]
    raise graph.fail(f"'{site}' is not one of its sites; the last ones are {', '.join(names)}")


def _ratio(node: onnx.NodeProto, graph: Graph) -> float | None:
    """Return the rate of a Dropout node: an input since opset 12, an attribute before.

    None if the rate is useless for passes, such as 1, 0.999 or NaN; 0 means that nothing was
    dropped.
    """
    rate = next((float(a.f) for a in node.attribute if a.name == "ratio"), DEFAULT_RATIO)
    if len(node.input) > 1 and node.input[1]:
        rate = _stated(node.input[1], graph)
    # round 0.4 stored in float32 or float16 back to 0.4
    rate = round(rate, 2) if abs(rate - round(rate, 2)) < HALF else round(rate, 6)
    return usable_rate(rate)


def _stated(tensor: str, graph: Graph) -> float:
    """Return the number in a tensor; NaN if it is unknown."""
    try:
        return float(graph.constant(tensor).flat[0])
    except CorruptModel:  # computed, or empty
        return math.nan


def _trunk(model: onnx.ModelProto, site: str, n_features: int, name: str) -> onnx.ModelProto:
    """Return the nodes that lead to the site, with the site flattened to (N, F)."""
    maker = {output: node for node in model.graph.node for output in node.output}
    needed = {""}  # an omitted optional input
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
        named = ", ".join(f"'{one_line(value.name)[:40]}'" for value in inputs[:5])
        raise CorruptModel(
            f"'{name}' needs {len(inputs)} inputs ({named}), but a recognition network has one, "
            "the images. Export it with the others fixed."
        )
    output = helper.make_tensor_value_info(features, TensorProto.FLOAT, ["N", n_features])
    graph = helper.make_graph([*nodes, flat], "trunk", inputs, [output], weights)
    trunk = helper.make_model(
        graph,
        opset_imports=list(model.opset_import),
        ir_version=max(model.ir_version, MIN_IR),
    )
    _check_shapes(trunk, name)
    return trunk


def _check_shapes(trunk: onnx.ModelProto, name: str) -> None:
    """Refuse a trunk whose layers do not fit together or whose output does not fit the head."""
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
            f"'{name}' returns {rows} rows of features for any number of images. Export it with an "
            "open batch size."
        )
