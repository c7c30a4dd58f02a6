"""What the engines of ONNX graphs share: a network as two graphs, trunk and dropout head.

The head is one matrix product per score. It runs in the same runtime, because NumPy's threads would
compete with the runtime's for the cores. An on-top head runs in NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.engines import Normalisation
from serfiq_widgets.errors import CorruptModel, one_line
from serfiq_widgets.robustness import normalise

if TYPE_CHECKING:
    from serfiq_widgets.checkpoints.heads import Head as Layers
    from serfiq_widgets.checkpoints.split import Network

SEVERAL = 4  # faces whose passes are computed in one product

Trunk = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""From pixels (N, 3, H, W) to features (N, F); several threads may call it."""
Head = Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float32]]
"""Runs a `head_graph` on features and masks; several threads may call it."""

# Trunk and head of each network, by engine, device and precision. They keep no data of a run, so
# all engines of one network share them.
_opened: WeakKeyDictionary[Network, dict[tuple[str, ...], tuple[Trunk, Head | None]]]
_opened = WeakKeyDictionary()


def forget(network: Network, engine: str) -> None:
    """Free what an engine keeps of a network; engines that are in use keep theirs."""
    held = _opened.get(network, {})
    for kind in [kind for kind in held if kind[0] == engine]:
        del held[kind]


class GraphEngine:
    """A network's trunk and head as two ONNX graphs in one runtime.

    A subclass has a name, and opens the two graphs.
    """

    name: str

    def __init__(
        self,
        network: Network,
        rate: float,
        normalisation: Normalisation,
        device: str,
        precision: str,
    ) -> None:
        self.device, self.precision = device, precision
        self.normalisation = normalisation
        self.batch_size = 16 if device == "cpu" else 64
        self._keep = 1.0 - rate
        self._model, self._head = network.name, network.head
        held = _opened.setdefault(network, {})
        kind = (self.name, device, precision)
        if kind not in held:
            held[kind] = self._open(network)
        self._trunk, self._dropout = held[kind]

    def _open(self, network: Network) -> tuple[Trunk, Head | None]:
        """Return trunk and head; no head if it is not affine."""
        raise NotImplementedError

    def trunk(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return features (N, F) float32 of aligned faces (N, 112, 112, 3) uint8 RGB."""
        pixels = self.normalisation(faces)
        try:
            return self._trunk(pixels)
        except Exception as error:  # a runtime's own exceptions share no base class
            raise CorruptModel(
                f"'{self._model}' cannot run on faces of shape {pixels.shape}: {one_line(error)}"
            ) from error

    def passes(
        self, features: NDArray[np.float32], masks: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Return embeddings (T, D) float32 of one face's features (F,) under masks (T, M)."""
        if self._dropout is None:
            return self._head(features, masks, self._keep)
        (embeddings,) = self.passes_of_several(features[None], masks)
        return embeddings

    def passes_of_several(
        self, features: NDArray[np.float32], masks: NDArray[np.bool_]
    ) -> Iterator[NDArray[np.float32]]:
        """Yield `passes` of each face's features (N, F); several faces share one product."""
        if self._dropout is None:
            yield from (self.passes(row, masks) for row in features)
            return
        kept = features[:, None] / np.float32(self._keep)
        for first in range(0, len(kept), SEVERAL):
            yield from self._dropout(kept[first : first + SEVERAL], masks)

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return unit embeddings (N, D) float32 of features (N, F), without dropout."""
        return normalise(self._head(features))


def head_graph(head: Layers) -> bytes:
    """Return an affine head as a graph from features (N, 1, F) and masks (T, F) to (N, T, D).

    The features must be divided by the keep rate; embeddings are not normalised.
    """
    from onnx import TensorProto, helper, numpy_helper

    n_features, dimensions = head.n_features, head.n_dimensions
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["masks"], ["ones"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["ones", "features"], ["kept"]),
            helper.make_node("MatMul", ["kept", "weight"], ["product"]),
            helper.make_node("Add", ["product", "bias"], ["embeddings"]),
        ],
        "head",
        [
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["faces", 1, n_features]),
            helper.make_tensor_value_info("masks", TensorProto.BOOL, ["passes", n_features]),
        ],
        [
            helper.make_tensor_value_info(
                "embeddings", TensorProto.FLOAT, ["faces", "passes", dimensions]
            )
        ],
        [
            numpy_helper.from_array(np.ascontiguousarray(head.weight.T), "weight"),
            numpy_helper.from_array(head.bias, "bias"),
        ],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    content: bytes = model.SerializeToString()
    return content
