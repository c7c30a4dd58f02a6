"""ONNX Runtime: trunk and dropout head as two ONNX graphs, on the CPU or with CUDA.

The head is one matrix product per score. It runs here, too, because NumPy's threads would compete
with the runtime's for the cores, and its kernels are faster. An on-top head runs in NumPy.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.engines import Normalisation, Runtime, check_precision
from serfiq_widgets.errors import CorruptModel, EngineUnavailable, one_line
from serfiq_widgets.robustness import normalise

if TYPE_CHECKING:
    from serfiq_widgets.checkpoints.heads import Head
    from serfiq_widgets.checkpoints.split import Network

# Trunk and head of each network, by engine, device and precision. Runtime sessions keep no data of
# a run, so all engines of one network share them.
_sessions: WeakKeyDictionary[Network, dict[tuple[str, ...], tuple[Any, Any]]] = WeakKeyDictionary()

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
SEVERAL = 4  # faces whose passes are computed in one product
INSTALL_CUDA = (
    "On a machine with an NVIDIA GPU: pip uninstall onnxruntime; pip install onnxruntime-gpu"
)


def _import() -> Any:
    """Import the runtime with its telemetry switched off.

    Since 1.32 it writes a number of this device and what ran into a database in the user's cache
    folder, in order to send them.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise EngineUnavailable(
            f"ONNX Runtime cannot be imported ({error}). Install it: pip install onnxruntime"
        ) from error
    return onnxruntime


def session(graph: bytes, providers: list[Any], *, hoard: bool = True) -> Any:
    """Open a runtime session whose threads sleep while they wait.

    By default they spin, which takes CPU time from NumPy and from other programs.
    Without ``hoard`` the session keeps no memory between runs.
    SERFIQ_THREADS sets the number of threads; by default, one per core.
    """
    ort = _import()
    options = ort.SessionOptions()
    options.log_severity_level = 4  # its errors are raised, so they need no log
    options.enable_cpu_mem_arena = hoard
    options.intra_op_num_threads = int(os.environ.get("SERFIQ_THREADS", "0"))
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    opened = ort.InferenceSession(graph, options, providers=providers)
    opened.disable_fallback()
    opened._model_bytes = None  # noqa: SLF001  # only for a fallback; frees a second copy of the weights
    return opened


def runtime() -> Runtime:
    """Return version and devices of the installed ONNX Runtime."""
    ort = _import()
    devices = ("cuda", "cpu") if CUDA in ort.get_available_providers() else ("cpu",)
    return Runtime("onnxruntime", ort.__version__, devices)


def open_on(
    network: Network, rate: float, normalisation: Normalisation, device: str, precision: str
) -> OnnxEngine:
    """Open the engine on ``cpu``, ``cuda`` or ``cuda:1``."""
    return OnnxEngine(network, rate, normalisation, device, precision)


def _dropout_graph(head: Head) -> bytes:
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


class OnnxEngine:
    """A network's trunk and head in ONNX Runtime."""

    name = "onnxruntime"

    def __init__(
        self,
        network: Network,
        rate: float,
        normalisation: Normalisation,
        device: str,
        precision: str,
    ) -> None:
        if device == "mps":
            raise EngineUnavailable(f"{self.name} has no mps. Take --engine torch or --device cpu.")
        self.precision = check_precision(self.name, device, precision, self._precisions(device))
        self.device = device
        self.normalisation = normalisation
        self._keep = 1.0 - rate
        self._head = network.head
        providers = [*self._providers(_import().get_available_providers()), CPU]
        known = _sessions.setdefault(network, {})
        kind = (self.name, device, self.precision)
        try:
            if kind not in known:
                known[kind] = self._open_trunk(network, providers), self._open_head(providers)
        except Exception as error:  # the runtime's own exceptions share no base class
            raise CorruptModel(
                f"ONNX Runtime cannot load '{network.name}': {one_line(error)}"
            ) from error
        self._session, self._dropout = known[kind]
        if self._session.get_providers()[0] != _name(providers[0]):
            raise EngineUnavailable(
                "ONNX Runtime found no usable CUDA device: check nvidia-smi, the CUDA 12 and "
                "cuDNN 9 libraries, or take --device cpu."
            )
        self._input = self._session.get_inputs()[0].name
        self._model = network.name

    def _open_trunk(self, network: Network, providers: list[Any]) -> Any:
        trunk = network.trunk()
        if self.device == "cpu" and b"PRelu" in trunk:  # other models need no parsing
            from serfiq_widgets.engines.onnx_rewrite import without_prelu

            trunk = without_prelu(trunk)
        return session(trunk, providers)

    def _open_head(self, providers: list[Any]) -> Any:
        if not self._head.is_affine:
            return None
        # TensorRT would build it again for every number of passes
        return session(_dropout_graph(self._head), providers[-2:])

    def _precisions(self, device: str) -> tuple[str, ...]:
        return ("fp32",) if device == "cpu" else ("fp32", "tf32")

    def _providers(self, available: list[str]) -> list[Any]:
        """Return the providers to try before the CPU, with their settings."""
        if self.device == "cpu":
            return []
        if CUDA not in available:
            raise EngineUnavailable(f"This ONNX Runtime has no CUDA. {INSTALL_CUDA}")
        settings = {"device_id": self._number, "use_tf32": int(self.precision == "tf32")}
        return [(CUDA, settings)]

    @property
    def _number(self) -> int:
        return int(self.device.partition(":")[2] or 0)

    def trunk(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return features (N, F) float32 of aligned faces (N, 112, 112, 3) uint8 RGB."""
        features: NDArray[np.float32]
        pixels = self.normalisation(faces)
        try:
            (features,) = self._session.run(None, {self._input: pixels})
        except Exception as error:  # the runtime's own exceptions share no base class
            raise CorruptModel(
                f"'{self._model}' cannot run on faces of shape {pixels.shape}: {one_line(error)}"
            ) from error
        return features

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
            few = kept[first : first + SEVERAL]
            (embeddings,) = self._dropout.run(None, {"features": few, "masks": masks})
            yield from embeddings

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return unit embeddings (N, D) float32 of features (N, F), without dropout."""
        return normalise(self._head(features))


def _name(provider: Any) -> str:
    return provider if isinstance(provider, str) else str(provider[0])
