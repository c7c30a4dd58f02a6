"""PyTorch: trunk and head on an NVIDIA GPU, on Apple silicon or on the CPU, in a chosen precision.

Of a batch, features and embeddings stay on the device, where the passes are compared: only numbers
come to the host (`torch_batch`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.engines import Normalisation, Runtime, check_precision
from serfiq_widgets.engines.batch import DropoutHead
from serfiq_widgets.errors import BadSetting, CorruptModel, EngineUnavailable, one_line
from serfiq_widgets.robustness import normalise

if TYPE_CHECKING:
    from serfiq_widgets.checkpoints.split import Network
    from serfiq_widgets.engines.torch_batch import TorchBatch

INSTALL = "pip install 'serfiq_widgets[gpu]'"
BATCH_SIZES = {"cpu": 16, "mps": 64, "cuda": 1024}  # on CUDA some pieces, one after the other


def _import() -> Any:
    try:
        import torch
    except Exception as error:  # a broken installation may raise anything
        raise EngineUnavailable(
            f"torch cannot be imported ({one_line(error)}). Install it: {INSTALL}"
        ) from error
    return torch


def runtime() -> Runtime:
    """Return version, devices and GPUs of the installed torch."""
    torch = _import()
    devices, names = ["cpu"], []
    if torch.cuda.is_available():
        devices.insert(0, "cuda")
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    elif torch.backends.mps.is_available():
        devices.insert(0, "mps")
        names = ["Apple silicon"]
    return Runtime("torch", torch.__version__, tuple(devices), gpus=tuple(names))


def open_on(
    network: Network, rate: float, normalisation: Normalisation, device: str, precision: str
) -> TorchEngine:
    """Open the engine on ``cpu``, ``cuda``, ``cuda:1`` or ``mps``."""
    return TorchEngine(network, rate, normalisation, device, precision)


def _check_device(torch: Any, device: str) -> None:
    """Refuse a device that torch does not find, and say what to install."""
    kind, _, number = device.partition(":")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise EngineUnavailable(
            "torch sees no Apple GPU: that needs a Mac with Apple silicon and macOS 12.3 or newer. "
            "Elsewhere take --device cuda or --device cpu."
        )
    if kind != "cuda":
        return
    if torch.version.cuda is None and torch.version.hip is None:
        raise EngineUnavailable(
            f"This torch ({torch.__version__}) was built without CUDA. On a machine with an NVIDIA "
            f"GPU: pip uninstall torch; {INSTALL} (on Windows from the wheels with CUDA that "
            "pytorch.org names), or take --device cpu."
        )
    if not torch.cuda.is_available():
        raise EngineUnavailable(
            "torch finds no usable NVIDIA GPU: check nvidia-smi (a driver for CUDA "
            f"{torch.version.cuda} or newer), or take --device cpu."
        )
    if int(number or 0) >= torch.cuda.device_count():
        raise EngineUnavailable(
            f"torch sees {torch.cuda.device_count()} GPUs, so there is no '{device}'; the first "
            "is cuda:0."
        )


def _precisions(torch: Any, device: str) -> tuple[str, ...]:
    if not device.startswith("cuda"):
        return ("fp32", "bf16", "fp16")
    major, _ = torch.cuda.get_device_capability(torch.device(device))
    return ("fp32", "tf32", "bf16", "fp16") if major >= 8 else ("fp32", "fp16")  # noqa: PLR2004  # Ampere


class TorchEngine:
    """A network's trunk and head in torch."""

    name = "torch"

    def __init__(
        self,
        network: Network,
        rate: float,
        normalisation: Normalisation,
        device: str,
        precision: str,
    ) -> None:
        self._torch = torch = _import()
        _check_device(torch, device)
        precision = check_precision(self.name, device, precision, _precisions(torch, device))
        from onnx import load_model_from_string

        from serfiq_widgets.engines.torch_device import TorchDevice
        from serfiq_widgets.engines.torch_graph import TorchGraph
        from serfiq_widgets.engines.torch_head import TorchHead
        from serfiq_widgets.engines.torch_trunk import TorchTrunk

        self.device, self.precision = device, precision
        self.normalisation = normalisation
        self._model, self._n_features = network.name, network.n_features
        self._on = on = TorchDevice(device, precision)
        self.batch_size = BATCH_SIZES[on.place.type]
        try:
            graph = TorchGraph(load_model_from_string(network.trunk()), on.place, on.dtype)
            self._trunk = TorchTrunk(graph, on.place, on.dtype)
            self._head = TorchHead(network.head, rate, on)
            if on.place.type != "cpu":  # torch may find a GPU that is too old
                with on.running():
                    face = np.zeros((1, *network.input_size, 3), np.uint8)
                    self._trunk.run(on.put(face), normalisation)
        except EngineUnavailable:
            raise
        except Exception as error:  # a broken graph or an old GPU may raise anything
            raise EngineUnavailable(
                f"torch cannot run '{network.name}' on {device}: {one_line(error)}"
            ) from error

    def trunk(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return features (N, F) float32 of aligned faces (N, 112, 112, 3) uint8 RGB."""
        with self._on.running():
            features: NDArray[np.float32] = self._features(faces).cpu().numpy()
        self._check_range(bool(np.isfinite(features).all()))
        return features

    def passes(
        self, features: NDArray[np.float32], masks: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Return embeddings (T, D) float32 of one face's features (F,) under masks (T, M)."""
        with self._on.running():
            rows = self._on.put(features[None])
            embeddings: NDArray[np.float32]
            embeddings = self._head.embeddings(rows, self._head.masks(masks))[0].cpu().numpy()
            return embeddings

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return unit embeddings (N, D) float32 of features (N, F), without dropout."""
        with self._on.running():
            return normalise(self._head.embeddings(self._on.put(features))[:, 0].cpu().numpy())

    def open_batch(self, faces: Sequence[NDArray[np.uint8]], head: DropoutHead) -> TorchBatch:
        """Run the trunk on N faces (112, 112, 3) uint8 RGB; see `engines.batch.open_batch`."""
        from serfiq_widgets.engines.torch_batch import TorchBatch

        with self._on.running():
            features = self._features(faces)
            return TorchBatch(self._on, self._head, features, head, self._check_range)

    def _features(self, faces: Sequence[NDArray[np.uint8]] | NDArray[np.uint8]) -> Any:
        """Return features (N, F) float32 on the device."""
        shape = (len(faces), *faces[0].shape)
        try:
            features = self._trunk(faces, self.normalisation)
        except self._torch.cuda.OutOfMemoryError as error:
            raise EngineUnavailable(
                f"The GPU's memory is too small for {len(faces)} faces at once: give it fewer."
            ) from error
        except Exception as error:  # operators that do not fit may raise anything
            raise CorruptModel(
                f"'{self._model}' cannot run on faces of shape {shape}: {one_line(error)}"
            ) from error
        if features.shape != (len(faces), self._n_features):
            raise CorruptModel(
                f"'{self._model}' cannot run on faces of shape {shape}: it returns features "
                f"{tuple(features.shape)} instead of {(len(faces), self._n_features)}"
            )
        return features

    def _check_range(self, finite: bool) -> None:
        """Raise BadSetting if features are not finite because fp16 is too narrow."""
        if self.precision == "fp16" and not finite:
            raise BadSetting(
                f"'{self._model}' exceeds the range of fp16. Take bf16, which has the same range "
                "as fp32."
            )
