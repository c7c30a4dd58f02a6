"""Engines: the only place where a neural network runtime is imported.

An engine runs the deterministic trunk once per face and the dropout head once per mask. The
caller draws the masks, so all engines agree within float error. A runtime is imported when its
engine is opened, never before.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import BadSetting, EngineUnavailable

if TYPE_CHECKING:
    from serfiq_widgets.checkpoints.split import Network

MODULES = {
    "onnxruntime": "serfiq_widgets.engines.onnxruntime",
    "mxnet": "serfiq_widgets.engines.mxnet",
}
FACE_SIZE = (112, 112)  # height and width of aligned faces
DEVICE_KINDS = ("cuda", "cpu")  # in the order of preference


@dataclass(frozen=True)
class Normalisation:
    """How a network wants its pixels: (pixel - mean) * scale, in this colour order and size."""

    colour: str = "RGB"
    mean: float = 0.0
    scale: float = 1.0
    size: tuple[int, int] = FACE_SIZE

    def __call__(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Turn (N, H, W, 3) RGB uint8 into the network's (N, 3, H, W) float32."""
        if faces.shape[1:3] != self.size:
            faces = np.stack([_resized(face, self.size) for face in faces])
        channels = faces if self.colour == "RGB" else faces[..., ::-1]
        pixels = np.ascontiguousarray(channels.transpose(0, 3, 1, 2), dtype=np.float32)
        if self.mean:
            pixels -= np.float32(self.mean)
        if self.scale != 1.0:
            pixels *= np.float32(self.scale)
        return pixels


def _resized(face: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Enlarge or shrink a face to height and width, averaging areas when it is shrunk."""
    from PIL import Image

    height, width = size
    larger = height > face.shape[0]
    method = Image.Resampling.BICUBIC if larger else Image.Resampling.BOX
    return np.asarray(Image.fromarray(face).resize((width, height), method))


class Engine(Protocol):
    """What every engine offers; ``name`` and ``device`` say which one it is."""

    name: str
    device: str
    normalisation: Normalisation

    def trunk(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features (N, F) float32 of aligned faces (N, 112, 112, 3) uint8 RGB."""
        ...

    def passes(
        self, features: NDArray[np.float32], masks: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Unit embeddings (T, D) float32 of one face's features (F,) under masks (T, M).

        M is F for an affine head; an on-top head has a mask for the inputs of each layer.
        """
        ...

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Unit embeddings (N, D) float32, without dropout, of features (N, F)."""
        ...


@dataclass(frozen=True)
class Runtime:
    """What `runtimes` found: a runtime, its version and devices, or why it does not work."""

    name: str
    version: str
    devices: tuple[str, ...]
    problem: str = ""


def runtimes() -> Iterator[Runtime]:
    """Try every runtime and yield what works here and, where it does not, what to install."""
    for name, module in MODULES.items():
        try:
            yield importlib.import_module(module).runtime()
        except EngineUnavailable as error:
            yield Runtime(name, "", (), str(error))


def open_engine(
    network: Network,
    rate: float,
    *,
    engine: str = "auto",
    device: str = "auto",
    normalisation: Normalisation | None = None,
) -> Engine:
    """Open an engine on a network.

    Parameters
    ----------
    network : Network
        From `checkpoints.load_network`.
    rate : float
        Dropout rate p in [0, 1).
    engine : {"auto", "onnxruntime", "mxnet"}
        "auto" takes the fastest that works: a GPU one first, else ONNX Runtime, else mxnet.
    device : {"auto", "cpu", "cuda", "cuda:1", ...}
        Where to run.
    normalisation : Normalisation, optional
        How the network wants its pixels; default raw RGB 0..255.

    Raises
    ------
    BadSetting
        Unknown engine or device word.
    EngineUnavailable
        None of the wanted combinations works here; the text says why and what to install.
    """
    if engine != "auto" and engine not in MODULES:
        raise BadSetting(f"There is no engine '{engine}'. Take one of: auto, {', '.join(MODULES)}.")
    kind, _, number = device.partition(":")
    if kind not in ("auto", *DEVICE_KINDS) or (
        number and not (kind == "cuda" and number.isdecimal())
    ):
        raise BadSetting(f"There is no device '{device}'. Take one of: auto, cpu, cuda, cuda:1 ...")
    names = list(MODULES) if engine == "auto" else [engine]
    devices = list(DEVICE_KINDS) if device == "auto" else [device]
    problems: list[str] = []
    for wanted in devices:
        for name in names:
            try:
                opener = importlib.import_module(MODULES[name]).open_on
                opened: Engine = opener(network, rate, normalisation or Normalisation(), wanted)
            except EngineUnavailable as error:
                if str(error) not in problems:
                    problems.append(str(error))
            else:
                return opened
    raise EngineUnavailable("\n".join(problems))
