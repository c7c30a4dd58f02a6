"""ONNX Runtime: trunk and dropout head as two ONNX graphs, on the CPU or with CUDA."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.engines import Normalisation, Runtime, check_precision
from serfiq_widgets.engines.onnx_graphs import GraphEngine, Head, Trunk, head_graph
from serfiq_widgets.errors import CorruptModel, EngineUnavailable, one_line

if TYPE_CHECKING:
    from serfiq_widgets.checkpoints.split import Network

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
AT_ONCE = 8  # faces in a run on the CPU: the activations of more leave the processor's caches
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


class OnnxEngine(GraphEngine):
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
        _import()
        if device == "mps":
            raise EngineUnavailable(f"{self.name} has no mps. Take --engine torch or --device cpu.")
        able = ("fp32",) if device == "cpu" else ("fp32", "tf32")
        precision = check_precision(self.name, device, precision, able)
        super().__init__(network, rate, normalisation, device, precision)

    def _open(self, network: Network) -> tuple[Trunk, Head | None]:
        providers = self._providers()
        trunk = network.trunk()
        if self.device == "cpu" and b"PRelu" in trunk:  # other models need no parsing
            from serfiq_widgets.engines.onnx_rewrite import without_prelu

            trunk = without_prelu(trunk)
        try:
            opened = session(trunk, providers)
            affine = network.head.is_affine
            head: Any = session(head_graph(network.head), providers) if affine else None
        except Exception as error:  # the runtime's own exceptions share no base class
            raise CorruptModel(
                f"ONNX Runtime cannot load '{network.name}': {one_line(error)}"
            ) from error
        if self.device != "cpu" and opened.get_providers()[0] != CUDA:
            raise EngineUnavailable(
                "ONNX Runtime found no usable CUDA device: check nvidia-smi, the CUDA 12 and "
                "cuDNN 9 libraries, or take --device cpu."
            )
        name = opened.get_inputs()[0].name
        few = AT_ONCE if self.device == "cpu" else None

        def run_trunk(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
            step = few or len(pixels)
            parts = [pixels[first : first + step] for first in range(0, len(pixels), step)]
            features = [opened.run(None, {name: part})[0] for part in parts]
            return np.concatenate(features)

        def run_head(
            features: NDArray[np.float32], masks: NDArray[np.bool_]
        ) -> NDArray[np.float32]:
            embeddings: NDArray[np.float32]
            (embeddings,) = head.run(None, {"features": features, "masks": masks})
            return embeddings

        return run_trunk, run_head if affine else None

    def _providers(self) -> list[Any]:
        """Return the providers to try, with their settings."""
        if self.device == "cpu":
            return [CPU]
        if CUDA not in _import().get_available_providers():
            raise EngineUnavailable(f"This ONNX Runtime has no CUDA. {INSTALL_CUDA}")
        number = int(self.device.partition(":")[2] or 0)
        settings = {"device_id": number, "use_tf32": int(self.precision == "tf32")}
        return [(CUDA, settings), CPU]
