"""PyTorch: trunk and head on an NVIDIA GPU, on Apple silicon or on the CPU, in a chosen precision.

On CUDA the trunk is captured as a CUDA graph when a batch size is repeated, so that the GPU does
not wait for Python. Masks are sent once, as bits, and embeddings are compared on the GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.control_variates import Moments
from serfiq_widgets.engines import Known, Normalisation, Runtime, check_precision
from serfiq_widgets.errors import BadSetting, CorruptModel, EngineUnavailable, one_line

if TYPE_CHECKING:
    from serfiq_widgets.checkpoints.split import Network

INSTALL = "pip install 'serfiq_widgets[gpu]'"
DTYPES = {"fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16"}
MAX_GRAPHS = 4  # captured batch sizes; each keeps its activations
WARM_UP = 3  # runs before a capture, in which cuDNN selects algorithms
CHUNK_BYTES = 2**28  # masked features at a time
ONE_AT_A_TIME = threading.Lock()  # shared graph buffers, global settings of torch
BITS = (128, 64, 32, 16, 8, 4, 2, 1)  # in the order of numpy.packbits


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

        from serfiq_widgets.engines.torch_graph import TorchGraph

        self.device, self.precision = device, precision
        self.normalisation = normalisation
        self._model, self._n_features = network.name, network.n_features
        self._keep = 1.0 - rate
        self._shift = network.head.shift
        self._place = torch.device(device)
        self._dtype = getattr(torch, DTYPES[precision])
        self._captured: dict[Any, Callable[[NDArray[np.uint8]], Any]] = {}
        self._packed: NDArray[np.uint8] = np.empty((0, 0), np.uint8)
        try:
            self._graph = TorchGraph(
                load_model_from_string(network.trunk()), self._place, self._dtype
            )
            self._layers = [
                (self._put(layer.weight).to(self._dtype), self._put(layer.bias), layer.tanh)
                for layer in network.head.layers
            ]
            self._masks = self._put(np.empty((0, 0), bool))
            if self._place.type != "cpu":  # torch may find a GPU that is too old
                with self._running():
                    self._run(self._put(np.zeros((1, *network.input_size, 3), np.uint8)))
        except EngineUnavailable:
            raise
        except Exception as error:  # a broken graph or an old GPU may raise anything
            raise EngineUnavailable(
                f"torch cannot run '{network.name}' on {device}: {one_line(error)}"
            ) from error

    def trunk(self, faces: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return features (N, F) float32 of aligned faces (N, 112, 112, 3) uint8 RGB."""
        with self._running():
            return _home(self._features(faces))

    def passes(
        self, features: NDArray[np.float32], masks: NDArray[np.bool_]
    ) -> NDArray[np.float32]:
        """Return embeddings (T, D) float32 of one face's features (F,) under masks (T, M)."""
        with self._running():
            return _home(self._embeddings(self._put(features[None]), self._expanded(masks))[0])

    def embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return unit embeddings (N, D) float32 of features (N, F), without dropout."""
        with self._running():
            return _home(self._unit(self._embeddings(self._put(features), None)[:, 0]))

    def spread(
        self,
        faces: NDArray[np.uint8],
        masks: NDArray[np.bool_],
        known: Known | None = None,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64], Moments | None]:
        """Return features of many faces and distances of passes; see `engines.spread`."""
        torch = self._torch
        with self._running():
            features = self._features(faces)
            home = _home(features)
            moments = known(home) if known else None
            held = self._expanded(masks)
            size = held.numel() * self._layers[0][0].element_size()
            step = max(1, CHUNK_BYTES // size)
            plain, sums = [], []
            for first in range(0, len(faces), step):
                embeddings = self._embeddings(features[first : first + step], held)
                plain.append(self._mean_distances(self._unit(embeddings)))
                if moments is not None:
                    some = moments.of(slice(first, first + step))
                    sums.append(self._pair_sums(embeddings, some))
            none = np.full((3, len(faces)), np.nan)
            every = _home(torch.cat(sums, 1)) if sums else none
            return home, _home(torch.cat(plain)), every, moments

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Run one caller at a time on this engine's device and precision, without gradients."""
        torch = self._torch
        on_cuda = self._place.type == "cuda"
        place = torch.cuda.device(self._place) if on_cuda else nullcontext()
        flags = _flags(torch, self.precision) if on_cuda else nullcontext()
        with ONE_AT_A_TIME, torch.inference_mode(), place, flags:
            yield

    def _put(self, array: NDArray[Any]) -> Any:
        """Copy an array, which may be read-only, to the device."""
        return self._torch.tensor(np.ascontiguousarray(array), device=self._place)

    def _features(self, faces: NDArray[np.uint8]) -> Any:
        """Return features (N, F) float32 on the device; the next call may overwrite them."""
        pixels = self.normalisation.fit(faces)
        try:
            features = self._trunk_of(pixels)(pixels)
        except self._torch.cuda.OutOfMemoryError as error:
            raise EngineUnavailable(
                f"The GPU's memory is too small for {len(faces)} faces at once: give it fewer."
            ) from error
        except Exception as error:  # operators that do not fit may raise anything
            raise CorruptModel(
                f"'{self._model}' cannot run on faces of shape {pixels.shape}: {one_line(error)}"
            ) from error
        if features.shape != (len(faces), self._n_features):
            raise CorruptModel(
                f"'{self._model}' cannot run on faces of shape {pixels.shape}: it returns features "
                f"{tuple(features.shape)} instead of {(len(faces), self._n_features)}"
            )
        if self.precision == "fp16" and not bool(features.isfinite().all()):
            raise BadSetting(
                f"'{self._model}' exceeds the range of fp16. Take bf16, which has the same range "
                "as fp32."
            )
        return features

    def _trunk_of(self, pixels: NDArray[np.uint8]) -> Callable[[NDArray[np.uint8]], Any]:
        """Return a function that runs such a batch: on CUDA, a captured graph when repeated."""
        if self._place.type != "cuda":
            return self._direct
        key = (pixels.shape, self.normalisation)
        known = key in self._captured
        runner = self._captured.pop(key, self._direct)
        if known and runner == self._direct:
            try:
                runner = _Captured(self._torch, self._run, self._put(pixels))
            except RuntimeError:  # an operator waits for the GPU: no capture is possible
                runner = partial(self._direct)
        self._captured[key] = runner  # the most recently used is discarded last
        for old in list(self._captured)[:-MAX_GRAPHS]:
            del self._captured[old]
        return runner

    def _direct(self, pixels: NDArray[np.uint8]) -> Any:
        return self._run(self._put(pixels))

    def _run(self, pixels: Any) -> Any:
        """Normalise faces (N, H, W, 3) on the device and run the trunk: features in float32."""
        wanted = self.normalisation
        x = pixels.permute(0, 3, 1, 2).float()  # in channels_last layout
        if wanted.colour != "RGB":
            x = x.flip(1)
        x = ((x - wanted.mean) * wanted.scale).to(self._dtype)
        return self._graph(x.contiguous(memory_format=self._torch.channels_last)).float()

    def _expanded(self, masks: NDArray[np.bool_]) -> Any:
        """Return masks (T, M) bool on the device; send them as bits, if they are new."""
        count = masks.shape[1]
        packed = np.packbits(masks, axis=1)
        held = self._packed[: len(packed)]
        if self._masks.shape[1] != count or not np.array_equal(held, packed):
            bits = self._put(packed).unsqueeze(-1) & self._put(np.array(BITS, np.uint8))
            self._packed, self._masks = packed, (bits != 0).reshape(len(packed), -1)[:, :count]
        return self._masks[: len(packed)]

    def _embeddings(self, features: Any, masks: Any) -> Any:
        """Return embeddings (N, T, D) float32 of features (N, F) under masks (T, M), or none.

        The same sums as in `checkpoints.heads.Head`; only the products are in low precision.
        """
        torch = self._torch
        x, first = features[:, None], 0
        for weight, bias, tanh in self._layers:
            last = first + weight.shape[1]
            if masks is not None:
                shift = 0.0 if first else self._shift
                x = (x + shift) / self._keep
                x = (x if shift else x.to(self._dtype)) * masks[:, first:last]
                x = x - shift if shift else x
            x = (x.to(self._dtype) @ weight.T).float() + bias
            x = torch.tanh(x) if tanh else x
            first = last
        return x

    def _unit(self, x: Any) -> Any:
        """Scale vectors (..., D) to length 1."""
        torch = self._torch
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        return x / length.clamp_min(torch.finfo(torch.float32).tiny)

    def _mean_distances(self, embeddings: Any) -> Any:
        """Return the mean distance (N, T) of each pass to the others, for embeddings (N, T, D).

        Vectors are centred first: float32 would lose small distances between long vectors.
        """
        torch = self._torch
        points = embeddings - embeddings.mean(1, keepdim=True)
        with _flags(torch, "fp32") if self._place.type == "cuda" else nullcontext():
            gram = points @ points.mT
        squares = gram.diagonal(dim1=1, dim2=2)
        distances = (squares[:, :, None] + squares[:, None] - 2 * gram).clamp_min(0).sqrt()
        distances.diagonal(dim1=1, dim2=2).zero_()
        return distances.sum(2) / (distances.shape[1] - 1)

    def _pair_sums(self, embeddings: Any, known: Moments) -> Any:
        """Return `control_variates.pair_sums`, in float64 where the device has it."""
        torch = self._torch
        exact = torch.float32 if self._place.type == "mps" else torch.float64
        x = embeddings.to(exact)

        def column(values: NDArray[np.float64]) -> Any:
            return torch.tensor(values, dtype=exact, device=self._place).reshape(-1, 1, 1)

        scatters = column((known.scatter > 0).astype(np.float64))
        n, m, gap = column(known.total), column(known.square), column(known.gap)
        tau = column(np.where(known.scatter > 0, known.scatter / known.total, 1.0))
        gram = x @ x.mT
        squares = gram.diagonal(dim1=1, dim2=2).clone()
        lengths = squares.clamp_min(torch.finfo(exact).tiny).sqrt()
        cosines = gram / (lengths[:, :, None] * lengths[:, None])
        units = (squares > 0).to(exact)
        plain = (units[:, :, None] + units[:, None] - 2 * cosines).clamp_min(0).sqrt()
        c = 1 - tau
        w = squares / n[:, :, 0] - 1
        half = (w[:, :, None] + w[:, None]) / 2
        product = (gram - m) / n
        first = c * half - product
        second = product * half - 1.5 * c * half**2 + 0.5 * c * w[:, :, None] * w[:, None]
        luck = (2 * tau).sqrt() * ((first + second) / (2 * tau) - first**2 / (8 * tau**2))
        off = plain - scatters * (luck - gap) - column(known.distances)
        off.diagonal(dim1=1, dim2=2).zero_()
        rows = off.sum(2)
        return torch.stack([rows.sum(1) / 2, (off**2).sum((1, 2)) / 2, (rows**2).sum(1)])


def _home(tensor: Any) -> NDArray[Any]:
    """Copy a tensor to an array on the host."""
    array: NDArray[Any] = tensor.cpu().numpy()
    return array


class _Captured:
    """A trunk for one batch size as a CUDA graph: the same kernels at the same addresses."""

    def __init__(self, torch: Any, run: Callable[[Any], Any], pixels: Any) -> None:
        self._torch = torch
        self._pixels = pixels
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                run(pixels)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        # other threads may go on allocating
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._features = run(pixels)

    def __call__(self, pixels: NDArray[np.uint8]) -> Any:
        self._pixels.copy_(self._torch.tensor(pixels))
        self._graph.replay()
        return self._features


@contextmanager
def _flags(torch: Any, precision: str) -> Iterator[None]:
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
