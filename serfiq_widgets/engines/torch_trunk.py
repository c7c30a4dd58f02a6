"""A trunk in torch, from faces to features: directly, captured as a CUDA graph, or compiled.

On CUDA a batch is cut into pieces of a few fixed sizes, so that each size is captured and compiled
once. A captured graph serves when a size is repeated: the GPU does not wait for Python. After some
batches of a size it is compiled in a thread, while the uncompiled trunk goes on. What the compiler
makes is kept in the user's cache folder. Single faces are never compiled: their captured graph is
enough.

On the CPU nothing is compiled unless SERFIQ_TORCH_COMPILE=1: it needs a C++ compiler and about a
minute of all cores, and ONNX Runtime and OpenVINO are the fast engines there.
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from serfiq_widgets.engines import Normalisation
from serfiq_widgets.engines.torch_graph import TorchGraph
from serfiq_widgets.errors import one_line

SIZES = (1, 16, 64, 256)
MAX_RUNNERS = len(SIZES)  # each captured graph keeps its activations
WARM_UP = 3  # runs before a capture, in which cuDNN selects algorithms
COMPILE_AFTER = 4  # batches of a size
ONE_COMPILER = threading.Lock()
MAX_WAIT_S = 20  # at exit, for a compiler that runs

log = logging.getLogger(__name__)

Faces = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
Run = Callable[[Any], Any]
"""From faces (N, H, W, 3) uint8 on the device to features (N, F) float32 there."""


class TorchTrunk:
    """A trunk on a device, in a precision.

    Parameters
    ----------
    graph : TorchGraph
        The trunk, from normalised pixels (N, 3, H, W) to features.
    place : torch.device
        Where it runs.
    dtype : torch.dtype
        Type of its activations.

    Attributes
    ----------
    sizes : tuple of int
        Sizes of pieces, the largest last; empty: batches are not cut.
    compiles : bool
        Whether repeated sizes are compiled.
    """

    def __init__(self, graph: TorchGraph, place: Any, dtype: Any) -> None:
        self._graph, self._place, self._dtype = graph, place, dtype
        on_cuda = place.type == "cuda"
        wanted = os.environ.get("SERFIQ_TORCH_COMPILE", "")
        self.compiles = wanted == "1" or (on_cuda and wanted != "0")
        self.sizes = SIZES if on_cuda or self.compiles else ()
        self._runners: dict[Any, _Runner] = {}

    def __call__(self, faces: Faces, wanted: Normalisation) -> Any:
        """Return features (N, F) float32 of N faces (H, W, 3) uint8.

        The work is queued piece by piece: the host prepares one while the device runs another.
        """
        parts = []
        for piece, count in pieces(faces, self.sizes):
            pixels = wanted.fit(piece)
            features = self._runner(pixels, wanted)(pixels)[:count]
            # the next piece may overwrite the buffers of a captured graph
            parts.append(features.clone() if self.sizes else features)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def run(self, faces: Any, wanted: Normalisation, weights: dict[str, Any] | None = None) -> Any:
        """Normalise faces (N, H, W, 3) uint8 on the device; return features (N, F) float32."""
        x = faces.permute(0, 3, 1, 2).float()  # in channels_last layout
        if wanted.colour != "RGB":
            x = x.flip(1)
        x = ((x - wanted.mean) * wanted.scale).to(self._dtype)
        return self._graph(x.contiguous(memory_format=torch.channels_last), weights).float()

    def wait(self) -> None:
        """Wait until nothing is being compiled."""
        for runner in list(self._runners.values()):
            if runner.compiling is not None:
                runner.compiling.join()

    def _runner(self, faces: NDArray[np.uint8], wanted: Normalisation) -> _Runner:
        key = (faces.shape, wanted)
        runner = self._runners.pop(key, None)
        if runner is None:
            runner = _Runner(lambda faces: self.run(faces, wanted), self._place)
        self._runners[key] = runner  # the most recently used is discarded last
        for old in list(self._runners)[:-MAX_RUNNERS]:
            del self._runners[old]
        runner.uses += 1
        if self.compiles and runner.uses == COMPILE_AFTER and len(faces) > 1:
            runner.compile(lambda: self.compiled(torch.tensor(faces, device=self._place), wanted))
        return runner

    def traced(self, faces: Any, wanted: Normalisation) -> tuple[Any, list[Any]]:
        """Return the trunk for faces of this shape as one graph of operators, and its weights.

        The weights are inputs of the graph, after the faces: a compiler keeps no copy of them, and
        what it makes serves all networks of this shape.
        """
        from torch.fx.experimental.proxy_tensor import make_fx

        names, weights = zip(*self._graph.weights.items(), strict=True)

        def run(faces: Any, *weights: Any) -> Any:
            return self.run(faces, wanted, dict(zip(names, weights, strict=True)))

        return make_fx(run)(faces, *weights), list(weights)

    def compiled(self, faces: Any, wanted: Normalisation) -> Run:
        """Compile the trunk for faces of this shape: takes up to minutes when not in the cache."""
        from torch import _inductor

        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", _cache_folder())
        on_cuda = self._place.type == "cuda"
        with torch.no_grad(), torch.cuda.device(self._place) if on_cuda else nullcontext():
            graph, weights = self.traced(faces, wanted)
            # without Dynamo, whose guards on torch's settings would compile again in the foreground
            compiled = _inductor.compile(graph, [faces, *weights])

        def run(faces: Any) -> Any:
            features = compiled(faces, *weights)
            return features[0] if isinstance(features, tuple | list) else features

        return run


def pieces(faces: Faces, sizes: tuple[int, ...]) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Yield pieces (n, H, W, 3) of N faces, with their number of faces.

    All have the largest size but the last, which is padded with zeros to the least size that holds
    it. Without sizes the only piece is the whole.
    """
    if not sizes:
        yield np.asarray(faces), len(faces)
        return
    for first in range(0, len(faces), sizes[-1]):
        piece = np.asarray(faces[first : first + sizes[-1]])
        count = len(piece)
        size = next(size for size in sizes if size >= count)
        if size > count:
            piece = np.concatenate([piece, np.zeros((size - count, *piece.shape[1:]), np.uint8)])
        yield piece, count


@dataclass
class _Runner:
    """The best way so far to run the trunk for one shape."""

    run: Run
    place: Any
    uses: int = 0
    compiling: threading.Thread | None = None
    compiled: Run | None = None  # from the compiler's thread, to replace the uncompiled trunk
    captured: _Captured | None = None
    may_capture: bool = True

    def __call__(self, faces: NDArray[np.uint8]) -> Any:
        """Return features (N, F) on the device; the next call may overwrite them."""
        if self.compiled is not None:
            self.run, self.compiled, self.captured, self.may_capture = (
                self.compiled,
                None,
                None,
                True,
            )
        if self.captured is None and self.may_capture and self._repeated():
            try:
                self.captured = _Captured(self.run, torch.tensor(faces, device=self.place))
            except RuntimeError:  # an operator waits for the GPU: no capture is possible
                self.may_capture = False
        if self.captured is not None:
            return self.captured(faces)
        return self.run(torch.tensor(faces, device=self.place))

    def _repeated(self) -> bool:
        return self.place.type == "cuda" and self.uses > 1

    def compile(self, compiled: Callable[[], Run]) -> None:
        """Compile in a thread."""

        def work() -> None:
            try:
                with ONE_COMPILER:
                    self.compiled = compiled()
            except Exception as error:  # noqa: BLE001  # no compiler is installed, for example
                log.info("The trunk stays uncompiled: %s", one_line(error))

        self.compiling = threading.Thread(target=work, name="torch-compile", daemon=True)
        self.compiling.start()
        atexit.register(_stop, self.compiling)


def _stop(thread: threading.Thread) -> None:
    """End a thread that compiles: killed in the middle of C++ it would abort the whole process.

    SystemExit is raised in it, again until it gets through.
    """
    last = perf_counter() + MAX_WAIT_S
    while thread.is_alive() and perf_counter() < last:
        ident = ctypes.c_ulong(thread.ident or 0)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(SystemExit))
        thread.join(0.1)


class _Captured:
    """A trunk for one batch size as a CUDA graph: the same kernels at the same addresses.

    Faces pass through a buffer in page-locked memory, so that the host does not wait for the copy.
    """

    def __init__(self, run: Run, faces: Any) -> None:
        self._faces = faces
        self._staged = torch.empty(faces.shape, dtype=faces.dtype, pin_memory=True)
        self._copied = torch.cuda.Event()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                run(faces)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        # other threads may go on allocating
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._features = run(faces)

    def __call__(self, faces: NDArray[np.uint8]) -> Any:
        self._copied.synchronize()  # the buffer is free again
        self._staged.numpy()[...] = faces
        self._faces.copy_(self._staged, non_blocking=True)
        self._copied.record()
        self._graph.replay()
        return self._features


def _cache_folder() -> str:
    from platformdirs import user_cache_path

    return str(user_cache_path("serfiq_widgets", appauthor=False) / "torch")
