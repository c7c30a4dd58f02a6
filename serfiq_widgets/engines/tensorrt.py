"""TensorRT, NVIDIA's optimiser, in ONNX Runtime: takes minutes to open first, then fastest.

Its build for a network and a GPU is stored in the user's cache folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serfiq_widgets.engines import Normalisation, Runtime
from serfiq_widgets.engines.onnxruntime import INSTALL_CUDA, OnnxEngine, _import
from serfiq_widgets.errors import EngineUnavailable

if TYPE_CHECKING:
    from serfiq_widgets.checkpoints.split import Network

TENSORRT = "TensorrtExecutionProvider"
MISSING = f"This ONNX Runtime has no TensorRT. {INSTALL_CUDA} tensorrt"


def runtime() -> Runtime:
    """Return the version of the ONNX Runtime with TensorRT."""
    ort = _import()
    if TENSORRT not in ort.get_available_providers():
        raise EngineUnavailable(MISSING)
    return Runtime("tensorrt", ort.__version__, ("cuda",))


def open_on(
    network: Network, rate: float, normalisation: Normalisation, device: str, precision: str
) -> TensorrtEngine:
    """Open the engine on ``cuda`` or ``cuda:1``."""
    return TensorrtEngine(network, rate, normalisation, device, precision)


class TensorrtEngine(OnnxEngine):
    """A network's trunk in TensorRT; unsupported operators and the head run in CUDA."""

    name = "tensorrt"

    def _precisions(self, device: str) -> tuple[str, ...]:
        if device == "cpu":
            raise EngineUnavailable("tensorrt runs on NVIDIA GPUs only. Take --device cuda.")
        return ("tf32", "bf16", "fp16")

    def _providers(self, available: list[str]) -> list[Any]:
        if TENSORRT not in available:
            raise EngineUnavailable(MISSING)
        from platformdirs import user_cache_path

        kept = user_cache_path("serfiq_widgets") / "tensorrt"
        kept.mkdir(parents=True, exist_ok=True)
        settings = {
            "device_id": self._number,
            "trt_engine_cache_enable": True,
            "trt_engine_cache_path": str(kept),
        }
        if self.precision != "tf32":
            settings[f"trt_{self.precision}_enable"] = True
        return [(TENSORRT, settings), *super()._providers(available)]
