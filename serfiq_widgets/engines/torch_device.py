"""A device on which torch runs, for one caller at a time, in a precision."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

DTYPES = {"fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16"}
CHUNK_BYTES = 2**28  # to use at a time; on a large GPU 1/MEMORY_SHARE of its memory
MEMORY_SHARE = 16
ONE_AT_A_TIME = threading.Lock()  # shared graph buffers, global settings of torch


class TorchDevice:
    """A device and a precision.

    Attributes
    ----------
    place : torch.device
    dtype : torch.dtype
        Of weights and activations.
    memory : int
        Bytes to use at a time for the passes of many faces.
    """

    def __init__(self, name: str, precision: str) -> None:
        self.place = torch.device(name)
        self.dtype = getattr(torch, DTYPES[precision])
        self._precision = precision
        self._on_cuda = self.place.type == "cuda"
        self.memory = CHUNK_BYTES
        if self._on_cuda:
            memory = torch.cuda.get_device_properties(self.place).total_memory
            self.memory = max(CHUNK_BYTES, memory // MEMORY_SHARE)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run one caller at a time on this device and in this precision, without gradients."""
        place = torch.cuda.device(self.place) if self._on_cuda else nullcontext()
        precision = flags(self._precision) if self._on_cuda else nullcontext()
        with ONE_AT_A_TIME, torch.inference_mode(), place, precision:
            yield

    def exactly(self) -> AbstractContextManager[None]:
        """Compute products of float32 in float32, not in TF32."""
        return flags("fp32") if self._on_cuda else nullcontext()

    def put(self, array: NDArray[Any]) -> Any:
        """Copy an array, which may be read-only, to the device."""
        return torch.tensor(np.ascontiguousarray(array), device=self.place)


def home(tensor: Any) -> NDArray[Any]:
    """Copy a tensor to an array on the host."""
    array: NDArray[Any] = tensor.cpu().numpy()
    return array


@contextmanager
def flags(precision: str) -> Iterator[None]:
    """Set CUDA's options for products, then restore them: TF32 on request, sums in float32.

    torch 2.9 renamed the settings of TF32 and warns of the old names.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    short = precision == "tf32"
    wanted: list[tuple[Any, str, Any]] = [
        (matmul, "allow_bf16_reduced_precision_reduction", False),
        (matmul, "allow_fp16_reduced_precision_reduction", False),
    ]
    if hasattr(matmul, "fp32_precision"):
        word = "tf32" if short else "ieee"
        wanted += [(matmul, "fp32_precision", word), (cudnn.conv, "fp32_precision", word)]
    else:
        wanted += [(matmul, "allow_tf32", short), (cudnn, "allow_tf32", short)]
    before = [getattr(place, name) for place, name, _ in wanted]
    try:
        for place, name, value in wanted:
            setattr(place, name, value)
        yield
    finally:
        for (place, name, _), value in zip(wanted, before, strict=True):
            setattr(place, name, value)
