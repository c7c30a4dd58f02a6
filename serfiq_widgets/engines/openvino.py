"""OpenVINO: trunk and dropout head on the CPU, in fp32, or in bf16 where the processor has it."""

from __future__ import annotations

import os
import threading
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.engines import Normalisation, Runtime, check_precision
from serfiq_widgets.engines.onnx_graphs import GraphEngine, Head, Trunk, head_graph
from serfiq_widgets.errors import EngineUnavailable, one_line

if TYPE_CHECKING:
    from serfiq_widgets.checkpoints.split import Network

INSTALL = "pip install 'serfiq_widgets[openvino]'"
DTYPES = {"fp32": "f32", "bf16": "bf16"}  # OpenVINO's own default is bf16 where it is fast


def _import() -> Any:
    try:
        import openvino
    except ImportError as error:
        raise EngineUnavailable(
            f"OpenVINO, the fastest on most CPUs, cannot be imported ({error}). Install it: "
            f"{INSTALL}"
        ) from error
    return openvino


@cache
def _core() -> Any:
    return _import().Core()


def precisions() -> tuple[str, ...]:
    """Return the precisions: bf16 only if this processor has instructions for it."""
    able = _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("fp32", "bf16") if "BF16" in able else ("fp32",)


def runtime() -> Runtime:
    """Return the version of the installed OpenVINO."""
    version: str = _import().__version__
    return Runtime("openvino", version.partition("-")[0], ("cpu",))


def open_on(
    network: Network, rate: float, normalisation: Normalisation, device: str, precision: str
) -> OpenvinoEngine:
    """Open the engine on ``cpu``."""
    return OpenvinoEngine(network, rate, normalisation, device, precision)


class OpenvinoEngine(GraphEngine):
    """A network's trunk and head in OpenVINO."""

    name = "openvino"

    def __init__(
        self,
        network: Network,
        rate: float,
        normalisation: Normalisation,
        device: str,
        precision: str,
    ) -> None:
        _import()
        if device != "cpu":
            raise EngineUnavailable(
                "The openvino engine runs on CPUs. Take --device cpu, or --engine torch."
            )
        precision = check_precision(self.name, device, precision, precisions())
        super().__init__(network, rate, normalisation, device, precision)

    def _open(self, network: Network) -> tuple[Trunk, Head | None]:
        try:
            trunk = _Compiled(network.trunk(), self.precision)
            head = network.head
            dropout = _Compiled(head_graph(head), self.precision) if head.is_affine else None
        except Exception as error:  # the runtime's own exceptions share no base class
            raise EngineUnavailable(
                f"OpenVINO cannot run '{network.name}'; take --engine onnxruntime: "
                f"{one_line(error)}"
            ) from error
        return trunk, dropout


class _Compiled:
    """A compiled graph with one request, which one caller uses at a time."""

    def __init__(self, graph: bytes, precision: str) -> None:
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": DTYPES[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # other threads read images
        }
        if threads := int(os.environ.get("SERFIQ_THREADS", "0")):
            settings["INFERENCE_NUM_THREADS"] = threads
        core = _core()
        self._request = core.compile_model(core.read_model(graph), "CPU", settings)
        self._request = self._request.create_infer_request()
        self._lock = threading.Lock()

    def __call__(self, *inputs: NDArray[Any]) -> NDArray[np.float32]:
        with self._lock:
            (output,) = self._request.infer(list(inputs), share_inputs=True).values()
        result: NDArray[np.float32] = output
        return result
