"""Engines: the only modules that import a neural network runtime.

An engine runs the deterministic trunk once per face and the dropout head once per mask. The
caller draws the masks, so all engines agree within float error. A runtime is imported only when
its engine is opened.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.engines.hardware import gpu_is_likely
from serfiq_widgets.errors import BadSetting, EngineUnavailable

if TYPE_CHECKING:
    from serfiq_widgets.checkpoints.split import Network

MODULES = {
    "onnxruntime": "serfiq_widgets.engines.onnxruntime",
    "openvino": "serfiq_widgets.engines.openvino",
    "mxnet": "serfiq_widgets.engines.mxnet",
    "torch": "serfiq_widgets.engines.torch",
}
PREFERRED = {  # engines that "auto" tries on each kind of device, fastest first
    "cuda": ("torch", "onnxruntime", "mxnet"),
    "mps": ("torch",),
    "cpu": ("onnxruntime", "openvino", "mxnet", "torch"),  # of the first two, the faster one
}
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
FACE_SIZE = (112, 112)  # height and width of aligned faces
NARROW = (112, 96)  # the older crop: without eight columns at each side


@dataclass(frozen=True)
class Normalisation:
    """A network's input format: (pixel - mean) * scale, in this colour order and size."""

    colour: str = "RGB"
    mean: float = 0.0
    scale: float = 1.0
    size: tuple[int, int] = FACE_SIZE

    def __call__(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Convert (N, H, W, 3) RGB uint8 to the network's (N, 3, H, W) float32."""
        faces = self.fit(faces)
        channels = faces if self.colour == "RGB" else faces[..., ::-1]
        pixels = np.ascontiguousarray(channels.transpose(0, 3, 1, 2), dtype=np.float32)
        if self.mean:
            pixels -= np.float32(self.mean)
        if self.scale != 1.0:
            pixels *= np.float32(self.scale)
        return pixels

    def fit(self, faces: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Crop or resize faces (N, H, W, 3) uint8 to the network's height and width."""
        if faces.shape[1:3] == self.size:
            return faces
        if self.size[0] != self.size[1]:
            aside = faces.shape[2] * (FACE_SIZE[1] - NARROW[1]) // FACE_SIZE[1] // 2
            faces = faces[:, :, aside : faces.shape[2] - aside]
        if faces.shape[1:3] == self.size:
            return faces
        return np.stack([_resized(face, self.size) for face in faces])


def is_a_crop(size: tuple[int, int]) -> bool:
    """Return whether height and width are those of face crops: square, or 112 by 96."""
    height, width = size
    return height == width or height * NARROW[1] == width * NARROW[0]


def _resized(face: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize a face to height and width; average areas when shrinking."""
    from PIL import Image

    height, width = size
    larger = height > face.shape[0]
    method = Image.Resampling.BICUBIC if larger else Image.Resampling.BOX
    return np.asarray(Image.fromarray(face).resize((width, height), method))


class Engine(Protocol):
    """The interface of every engine; ``name``, ``device`` and ``precision`` identify it."""

    name: str
    device: str
    precision: str
    normalisation: Normalisation
    batch_size: int  # faces to give at once

    def trunk(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return features (N, F) float32 of aligned faces (N, 112, 112, 3) uint8 RGB."""
        ...

    def passes(
        self, features: NDArray[np.float32], masks: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Return embeddings (T, D) float32 of one face's features (F,) under masks (T, M).

        They are not scaled to length 1: the control variates need their lengths. M is F for an
        affine head; an on-top head has a mask for the inputs of each layer.
        """
        ...

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return unit embeddings (N, D) float32 of features (N, F), without dropout."""
        ...


@dataclass(frozen=True)
class Runtime:
    """A result of `runtimes`: a runtime with version and devices, or why it does not work."""

    name: str
    version: str
    devices: tuple[str, ...]
    problem: str = ""
    gpus: tuple[str, ...] = ()  # their names, if the runtime reports them


def runtimes() -> Iterator[Runtime]:
    """Try every runtime and yield its state here; if it does not work, also what to install."""
    for name, module in MODULES.items():
        try:
            yield importlib.import_module(module).runtime()
        except EngineUnavailable as error:
            yield Runtime(name, "", (), str(error))


def check_precision(name: str, device: str, wanted: str, able: tuple[str, ...]) -> str:
    """Return the precision; "auto" is the first that the engine supports.

    Raises
    ------
    EngineUnavailable
        The engine does not support it on this device; the text names another engine.
    """
    if wanted == "auto":
        return able[0]
    if wanted not in able:
        raise EngineUnavailable(
            f"{name} on {device} computes in {' or '.join(able)}, not in {wanted}. Take --engine "
            "torch: it does fp32 everywhere, bf16 and fp16 where the device can, and tf32 on "
            "NVIDIA GPUs since Ampere; or, for bf16 on a CPU that has it, --engine openvino."
        )
    return wanted


def open_engine(
    network: Network,
    rate: float,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    normalisation: Normalisation | None = None,
) -> Engine:
    """Open an engine on a network.

    Parameters
    ----------
    network : Network
        From `checkpoints.load_network`.
    rate : float
        Dropout rate p in [0, 1).
    engine : {"auto", "onnxruntime", "openvino", "mxnet", "torch"}
        "auto" is the fastest that works: first one on a GPU, then ONNX Runtime or OpenVINO, of
        which the faster is measured once (`engines.fastest`), then mxnet, torch. SERFIQ_ENGINE
        names another than "auto".
    device : {"auto", "cpu", "cuda", "cuda:1", ..., "mps"}
        Where to run.
    precision : {"auto", "fp32", "tf32", "bf16", "fp16"}
        Of the trunk and of the passes' products; "auto" is fp32.
    normalisation : Normalisation, optional
        The network's input format; by default raw RGB 0..255.

    Raises
    ------
    BadSetting
        The name of the engine, device or precision is unknown.
    EngineUnavailable
        None of the requested combinations works here; the text says why and what to install.
    """
    if engine == "auto":
        engine = os.environ.get("SERFIQ_ENGINE", "auto")
    _check_words(engine, device, precision)
    kinds = [device] if device != "auto" else ["cuda", "mps", "cpu"] if gpu_is_likely() else ["cpu"]

    def open_one(name: str, device: str = "cpu") -> Engine:
        opener: Callable[..., Engine] = importlib.import_module(MODULES[name]).open_on
        return opener(network, rate, normalisation or Normalisation(), device, precision)

    problems: list[str] = []
    for wanted in kinds:
        names = list(PREFERRED[wanted.partition(":")[0]]) if engine == "auto" else [engine]
        if engine == "auto" and wanted == "cpu" and precision in ("auto", "fp32"):
            best = _fastest(network, open_one)
            names.sort(key=lambda name: name != best)
        for name in names:
            try:
                return open_one(name, wanted)
            except EngineUnavailable as error:
                if str(error) not in problems:
                    problems.append(str(error))
    raise EngineUnavailable("\n".join(problems))


def _fastest(network: Network, open_one: Callable[[str], Engine]) -> str:
    from serfiq_widgets.engines.fastest import fastest  # which imports this file

    return fastest(network, open_one)


def _check_words(engine: str, device: str, precision: str) -> None:
    if engine != "auto" and engine not in MODULES:
        raise BadSetting(f"There is no engine '{engine}'. Take one of: auto, {', '.join(MODULES)}.")
    kind, _, number = device.partition(":")
    if kind not in ("auto", *PREFERRED) or (number and not (kind == "cuda" and number.isdecimal())):
        raise BadSetting(
            f"There is no device '{device}'. Take one of: auto, cpu, cuda, cuda:1 ..., mps."
        )
    if precision not in ("auto", *PRECISIONS):
        raise BadSetting(
            f"There is no precision '{precision}'. Take one of: auto, {', '.join(PRECISIONS)}."
        )
