"""Conversion of an MXNet symbol graph to an ONNX model, in memory, without mxnet.

`to_onnx` visits the nodes in order; one short function per operator, found in `OPERATORS`
(mxnet_layers, mxnet_shapes), adds the equivalent ONNX nodes. Tensors have the names of the MXNet
nodes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import onnx
from numpy.typing import NDArray

from serfiq_widgets.checkpoints import (  # they register in OPERATORS
    mxnet_layers,  # noqa: F401
    mxnet_shapes,  # noqa: F401
)
from serfiq_widgets.checkpoints.mxnet_builder import BATCH, OPERATORS, Builder, Node
from serfiq_widgets.errors import CorruptModel, one_line

MAX_BYTES, MAX_NODES = 2**24, 20_000  # the reference network's symbol: 0.3 MB, 1,133 nodes
MAX_NAME = 1000
LOSSES = (
    *("SoftmaxOutput", "Softmax", "SVMOutput", "MakeLoss", "make_loss", "softmax_cross_entropy"),
    *("LinearRegressionOutput", "LogisticRegressionOutput", "MAERegressionOutput"),
    *("softmax", "log_softmax", "SoftmaxActivation"),
)
HEAD_WORDS = ("_label",)  # variables of training losses, which inference ignores
UNFIT = (
    LookupError,
    ValueError,
    TypeError,
    ArithmeticError,
    SyntaxError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
)  # raised by operators for unsuitable inputs or settings


def to_onnx(
    symbol: str | bytes,
    params: Mapping[str, NDArray[Any]],
    shape: Sequence[int | str] = (3, 112, 112),
    name: str = "the symbol",
    *,
    embedding: bool = False,
) -> onnx.ModelProto:
    """Convert a symbol graph and its parameters.

    Parameters
    ----------
    symbol : str or bytes
        Content of a ``-symbol.json`` file.
    params : mapping of str to ndarray
        From `read_params`; float16 and float64 become float32.
    shape : sequence of int or str
        Channels, height and width of the input ``data``; a side given as a name instead of a
        number stays open, as the batch size does.
    name : str
        The file's name in error messages.
    embedding : bool
        Convert only the nodes that lead to an embedding (see `embeddings`).

    Returns
    -------
    onnx.ModelProto
        Input ``data`` float32 (N, 3, H, W), one output per head of the symbol.

    Raises
    ------
    CorruptModel
        The graph is broken, an operator is unknown, or a parameter is missing or has a wrong type.
    """
    nodes, heads = _parse(symbol, name)
    builder = Builder(name, params, shape)
    needed: Iterable[int] = range(len(nodes))
    if embedding:
        heads, needed = _without_losses(nodes, heads, name)
    for index in needed:
        entry = nodes[index]
        title, op = entry["name"], entry["op"]
        if op == "null":
            is_weight = title != "data" and not title.endswith(HEAD_WORDS)
            builder.outputs[index, 0] = title if not is_weight else f"\0{title}"
            continue
        if op not in OPERATORS:
            known = ", ".join(sorted(OPERATORS))
            raise builder.fail(title, f"the operator '{op}' is unknown (known are: {known})")
        try:
            inputs = [builder.outputs[int(source[0]), int(source[1])] for source in entry["inputs"]]
            made = OPERATORS[op](Node(builder, title, _settings(entry), inputs))
        except UNFIT as error:
            raise builder.fail(
                title, f"its inputs or settings do not fit '{op}' ({one_line(error)})"
            ) from error
        for number, output in enumerate([made] if isinstance(made, str) else made):
            builder.outputs[index, number] = output
    try:
        outputs = [
            builder.outputs[int(head[0]), int(head[1]) if len(head) > 1 else 0] for head in heads
        ]
        rows = {output: builder.shape(output)[0] for output in outputs}
    except UNFIT as error:
        raise CorruptModel(f"'{name}' names a head that does not exist ({error}).") from error
    for output, count in rows.items():
        if count != BATCH:
            raise builder.fail(output, "it mixes the images of a batch")
    return builder.model(outputs)


def _without_losses(
    nodes: list[dict[str, Any]], heads: list[Any], name: str
) -> tuple[list[Any], Iterable[int]]:
    """Return the heads that may be an embedding, and the indices of the nodes to convert."""
    try:
        kept = embeddings(nodes, heads)
        return kept, range(len(nodes)) if kept == heads else _above(nodes, kept)
    except UNFIT as error:
        raise CorruptModel(f"'{name}' names a head that does not exist ({error}).") from error


def embeddings(nodes: list[dict[str, Any]], heads: list[Any]) -> list[Any]:
    """Return the heads that may be an embedding, without losses and labels of the training.

    If no head is left, it is InsightFace's ``fc1``, or the input of the last fully connected layer
    before the loss.
    """
    kept = [head for head in heads if nodes[int(head[0])]["op"] not in ("null", *LOSSES)]
    if kept:
        return kept
    for index, entry in enumerate(nodes):
        if entry["name"] == "fc1" and entry["op"] in ("FullyConnected", "BatchNorm"):
            return [[index, 0, 0]]
    for head in heads:
        source = list(head)
        for _ in nodes:
            entry = nodes[int(source[0])]
            if not entry["inputs"]:
                break
            source = list(entry["inputs"][0])
            if entry["op"] == "FullyConnected":
                return [source]
    return heads


def _above(nodes: list[dict[str, Any]], heads: list[Any]) -> list[int]:
    """Return the indices of the nodes that lead to the heads, in order."""
    needed: set[int] = set()
    waiting = [int(head[0]) for head in heads]
    while waiting:
        index = waiting.pop()
        if index not in needed:
            needed.add(index)
            waiting.extend(int(source[0]) for source in nodes[index]["inputs"])
    return sorted(needed)


def _settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a node's settings, which MXNet calls param, attr or attrs; the newest name wins."""
    joined: dict[str, Any] = {}
    for key in ("param", "attr", "attrs"):
        joined |= dict(entry.get(key) or {})
    return joined


def _parse(symbol: str | bytes, name: str) -> tuple[list[dict[str, Any]], list[Any]]:
    """Check the JSON structure: a list of named nodes and a list of heads."""
    if len(symbol) > MAX_BYTES:
        raise CorruptModel(f"'{name}' is too long for an MXNet symbol file: {len(symbol)} bytes.")
    try:
        graph = json.loads(symbol)
        nodes, heads = graph["nodes"], graph["heads"]
        sound = (
            0 < len(nodes) <= MAX_NODES
            and 0 < len(heads) <= MAX_NODES
            and all(
                _is_name(node["name"]) and _is_name(node["op"]) and isinstance(node["inputs"], list)
                for node in nodes
            )
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptModel(
            f"'{name}' is not an MXNet symbol file ({type(error).__name__})."
        ) from error
    if not sound:
        raise CorruptModel(
            f"'{name}' is not an MXNet symbol file: no nodes, too many, or nodes without names."
        )
    return nodes, heads


def _is_name(text: Any) -> bool:
    return isinstance(text, str) and 0 < len(text) <= MAX_NAME and text.isprintable()
