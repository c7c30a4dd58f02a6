"""Apache MXNet: runs trunk and head of the original checkpoint on the CPU or a GPU.

MXNet is retired and exists for Linux x86-64 only. It is the reference for the other engines, and
is useful with its CUDA build.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.checkpoints import checkpoint_files
from serfiq_widgets.checkpoints.mxnet_graph import embeddings
from serfiq_widgets.checkpoints.params import read_params
from serfiq_widgets.engines import Normalisation, Runtime, check_precision
from serfiq_widgets.errors import EngineUnavailable
from serfiq_widgets.robustness import normalise

if TYPE_CHECKING:
    from serfiq_widgets.checkpoints.split import Network

NOT_SINCE_312 = (
    "mxnet is retired and does not run on Python 3.12 or newer. Take --engine onnxruntime, which "
    "runs the same models; mxnet itself needs Python 3.11 on Linux x86-64."
)
MAX_BOUND = 8  # cached executors; each has buffers of its batch size


def _import() -> Any:
    os.environ.setdefault("MXNET_SUBGRAPH_VERBOSE", "0")
    if "bool" not in np.__dict__:
        np.bool = np.bool_  # type: ignore[attr-defined]  # mxnet 1.9.1 was written for numpy 1.19
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import mxnet
    except (ImportError, AttributeError, OSError) as error:
        if sys.version_info >= (3, 12):
            raise EngineUnavailable(NOT_SINCE_312) from error
        raise EngineUnavailable(
            f"mxnet cannot be imported ({error}). On Linux x86-64: pip install "
            "'mxnet==1.9.1' 'numpy<2' (or mxnet-cu112, mxnet-cu117 for a GPU). "
            "Elsewhere take --engine onnxruntime, which runs the same models."
        ) from error
    return mxnet


def runtime() -> Runtime:
    """Return version and devices of the installed mxnet."""
    mx = _import()
    return Runtime("mxnet", mx.__version__, ("cuda", "cpu") if mx.context.num_gpus() else ("cpu",))


def open_on(
    network: Network, rate: float, normalisation: Normalisation, device: str, precision: str
) -> MxnetEngine:
    """Open the engine on ``cpu``, ``cuda`` or ``cuda:1``."""
    return MxnetEngine(network, rate, normalisation, device, precision)


class MxnetEngine:
    """A checkpoint split at its dropout site into two symbols, each bound once per batch size."""

    name = "mxnet"

    def __init__(
        self,
        network: Network,
        rate: float,
        normalisation: Normalisation,
        device: str,
        precision: str,
    ) -> None:
        if device == "mps":
            raise EngineUnavailable("mxnet has no mps. Take --engine torch or --device cpu.")
        self.precision = check_precision(self.name, device, precision, ("fp32",))
        self._mx = mx = _import()
        files = checkpoint_files(network.path) if network.path else None
        if files is None:
            raise EngineUnavailable(
                f"The mxnet engine runs MXNet checkpoints only; '{network.name}' is an ONNX file. "
                "Take --engine onnxruntime."
            )
        number = int(device.partition(":")[2] or 0)
        if device.startswith("cuda") and number >= mx.context.num_gpus():
            raise EngineUnavailable(
                f"mxnet sees {mx.context.num_gpus()} GPUs, so there is no '{device}'. On Linux "
                "x86-64 with an NVIDIA GPU: pip install mxnet-cu117, or take --device cpu."
            )
        self.device = device
        self.batch_size = 16 if device == "cpu" else 64
        self._context = mx.gpu(number) if device.startswith("cuda") else mx.cpu()
        self.normalisation = normalisation
        self._keep = 1.0 - rate
        # An on-top head is not part of the checkpoint; its few small layers run in NumPy.
        self._on_top = None if network.head.is_affine else network.head
        symbol_file, params_file = files
        graph = json.loads(symbol_file.read_text(encoding="utf-8"))
        graph["heads"] = embeddings(graph["nodes"], graph["heads"])
        if len(graph["heads"]) > 1:
            raise EngineUnavailable(
                f"The mxnet engine runs networks of one output; '{network.name}' has "
                f"{len(graph['heads'])}. Take --engine onnxruntime."
            )
        whole = mx.sym.load_json(json.dumps(graph))
        self._trunk = mx.sym.Flatten(whole.get_internals()[f"{network.site}_output"])
        if self._on_top is None:
            site = next(n for n, node in enumerate(graph["nodes"]) if node["name"] == network.site)
            graph["nodes"][site] = {"op": "null", "name": "features", "inputs": []}
            self._head = mx.sym.load_json(json.dumps(graph))
        self._params = {
            name.rpartition(":")[2]: mx.nd.array(value, ctx=self._context, dtype="float32")
            for name, value in read_params(params_file).items()
        }
        self._bound: dict[tuple[str, tuple[int, ...]], Any] = {}

    def _run(self, symbol: Any, name: str, values: NDArray[np.float32]) -> NDArray[np.float32]:
        key = (name, values.shape)
        if key not in self._bound:
            if len(self._bound) >= MAX_BOUND:
                self._bound.pop(next(iter(self._bound)))
            held = {k: self._params[k] for k in symbol.list_arguments() if k != name}
            held[name] = self._mx.nd.zeros(values.shape, ctx=self._context)
            aux = {k: self._params[k] for k in symbol.list_auxiliary_states()}
            self._bound[key] = symbol.bind(self._context, held, aux_states=aux, grad_req="null")
        data = self._mx.nd.array(values, ctx=self._context, dtype="float32")
        (output,) = self._bound[key].forward(is_train=False, **{name: data})
        result: NDArray[np.float32] = self._mx.nd.Flatten(output).asnumpy()
        return result

    def trunk(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return features (N, F) float32 of aligned faces (N, 112, 112, 3) uint8 RGB."""
        return self._run(self._trunk, "data", self.normalisation(faces))

    def passes(
        self, features: NDArray[np.float32], masks: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Return embeddings (T, D) float32 of one face's features (F,) under masks (T, M)."""
        if self._on_top is not None:
            return self._on_top(features, masks, self._keep)
        kept = masks * (features / np.float32(self._keep))
        return self._run(self._head, "features", kept)

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return unit embeddings (N, D) float32 of features (N, F), without dropout."""
        if self._on_top is not None:
            return normalise(self._on_top(features))
        return normalise(self._run(self._head, "features", features))
