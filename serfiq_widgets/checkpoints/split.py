"""Cutting a network in two at its dropout site: the trunk as ONNX, the head as a matrix.

The site is the input of the last Dropout node, else of the last fully connected layer, unless its
name is given. What lies before runs once per face; what follows is affine (dropout, fully connected
or a convolution that sees its whole input, batch norm) and folds to embedding = A f + c.
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

HALF = 2.0**-11  # by which float16 rounds numbers below one
DEFAULT_RATIO = 0.5  # of an ONNX Dropout node that states none
SEVERAL = "'{}' has {} outputs: '{}' was taken for the embedding."
MANY = 16  # numbers that make an embedding where a network has several outputs


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
    reached: what stands on an embedding, as the classes of a training do, is none. Nor are the few
    numbers of an age or a sex, and what is computed of the whole embedding, as its length.
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
        head = fold(chain[start:], graph)
    return _trunk(model, tensor, head.n_features, name), head, tensor, rate


def _found(chain: list[onnx.NodeProto], graph: Graph) -> tuple[int, float | None]:
    """Return where in the chain the head begins, and the rate of the Dropout node there."""
    layers = [i for i, node in enumerate(chain) if is_layer(node, graph)]
    if not layers and (foreign := sorted(k for k in map(operator_of, graph.nodes) if "." in k)):
        raise graph.fail(
            f"it was rewritten for one runtime, with operators such as '{foreign[0]}'. Give the "
            "network as it was exported"
        )
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


def _ratio(node: onnx.NodeProto, graph: Graph) -> float | None:
    """Return the rate of a Dropout node: an input since opset 12, an attribute before.

    None if it is none with which passes would differ and stay alike, such as 1, 0.999 or NaN; 0
    says that nothing was dropped.
    """
    rate = next((float(a.f) for a in node.attribute if a.name == "ratio"), DEFAULT_RATIO)
    if len(node.input) > 1 and node.input[1]:
        rate = _stated(node.input[1], graph)
    # 0.4 in float32, or even in float16, is meant as 0.4
    rate = round(rate, 2) if abs(rate - round(rate, 2)) < HALF else round(rate, 6)
    return usable_rate(rate)


def _stated(tensor: str, graph: Graph) -> float:
    """Return the number that a tensor holds; NaN if that is not known."""
    try:
        return float(graph.constant(tensor).flat[0])
    except CorruptModel:  # computed, or empty
        return math.nan


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
