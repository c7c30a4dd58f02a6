"""Writing the student as an MXNet checkpoint with float16 weights, and its card.

The graph is the bundled network's: edge pad, slice, resize to 150, dlib's trunk with its
normalisation folded into `conv0`, flatten0, bn1, dropout0, pre_fc1, fc1. No mxnet is needed, and
no torch: `write_checkpoint` takes the arrays that `network.to_arrays` gives.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.checkpoints.params import DENSE, DTYPES, LIST_MAGIC, MAGIC_V2
from serfiq_widgets.errors import BadSetting
from serfiq_widgets.faces.alignment import FACE_SIZE
from tools.train_mini.architecture import (
    BOTTOM,
    CROP,
    DIMENSIONS,
    EPSILON,
    FIRST_SIDE,
    MAX_BYTES,
    MAX_MULTIPLY_ADDS,
    RATE,
    SIDE,
    STEM,
    STEM_KERNEL,
    UNITS,
    halved,
    multiply_adds,
)

MXNET_VERSION = 10901
CODES = {dtype: code for code, dtype in DTYPES.items()}

Arrays = Mapping[str, NDArray[Any]]


class Graph:
    """A symbol graph as it grows."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = []

    def add(self, op: str, name: str, inputs: list[int], **settings: object) -> int:
        """Add a node and return its number."""
        node = {"op": op, "name": name, "inputs": [[i, 0, 0] for i in inputs]}
        if settings:
            node["attrs"] = {key: str(value) for key, value in settings.items()}
        self.nodes.append(node)
        return len(self.nodes) - 1

    def layer(self, op: str, name: str, source: int, weights: list[str], **settings: object) -> int:
        """Add a node with trained arrays of its own."""
        held = [self.add("null", f"{name}_{weight}", []) for weight in weights]
        return self.add(op, name, [source, *held], **settings)

    def convolution(
        self, name: str, source: int, filters: int, kernel: int, stride: int, pad: int
    ) -> int:
        """Add a convolution with a bias."""
        return self.layer(
            "Convolution",
            name,
            source,
            ["weight", "bias"],
            kernel=(kernel, kernel),
            num_filter=filters,
            pad=(pad, pad),
            stride=(stride, stride),
        )

    def relu(self, name: str, source: int) -> int:
        """Add a rectifier."""
        return self.add("Activation", name, [source], act_type="relu")

    def pooling(self, name: str, source: int, kind: str, kernel: int) -> int:
        """Add a pooling that halves the size."""
        return self.add(
            "Pooling",
            name,
            [source],
            kernel=(kernel, kernel),
            pool_type=kind,
            pooling_convention="valid",
            stride=(2, 2),
        )

    def norm(self, name: str, source: int, *, fix_gamma: bool) -> int:
        """Add a batch norm."""
        weights = ["gamma", "beta", "moving_mean", "moving_var"]
        return self.layer("BatchNorm", name, source, weights, eps=EPSILON, fix_gamma=fix_gamma)

    def json(self, head: int) -> str:
        """Return the symbol file's text."""
        content = {
            "nodes": self.nodes,
            "arg_nodes": [i for i, node in enumerate(self.nodes) if node["op"] == "null"],
            "node_row_ptr": list(range(len(self.nodes) + 1)),
            "heads": [[head, 0, 0]],
            "attrs": {"mxnet_version": ["int", MXNET_VERSION]},
        }
        return json.dumps(content, indent=2) + "\n"


def symbol() -> str:
    """Return the text of the network's `-symbol.json`."""
    graph = Graph()
    top, bottom, left, right = CROP
    x = graph.add("null", "data", [])
    x = graph.add("Pad", "edge0", [x], mode="edge", pad_width=(0, 0, 0, 0, 0, BOTTOM, 0, 0))
    begin, end = (None, None, top, left), (None, None, bottom, right)
    x = graph.add("slice", "crop0", [x], begin=begin, end=end)
    x = graph.add("_contrib_BilinearResize2D", "resize0", [x], height=SIDE, width=SIDE)
    x = graph.relu("relu0", graph.convolution("conv0", x, STEM, STEM_KERNEL, 2, 0))
    x = graph.pooling("pool0", x, "max", 3)
    channels, side = STEM, FIRST_SIDE
    for name, filters, down in UNITS:
        stride, pad = (2, 0) if down else (1, 1)
        y = graph.convolution(f"{name}_conv1", x, filters, 3, stride, pad)
        y = graph.convolution(f"{name}_conv2", graph.relu(f"{name}_relu1", y), filters, 3, 1, 1)
        if down:
            lacking = halved(side, 2) - halved(side, 3)
            side = halved(side, 2)
            if lacking:
                width = (0, 0, 0, 0, 0, lacking, 0, lacking)
                y = graph.add(
                    "Pad", f"{name}_pad", [y], mode="constant", constant_value=0, pad_width=width
                )
            x = graph.pooling(f"{name}_pool", x, "avg", 2)
            if filters != channels:
                x = graph.convolution(f"{name}_sc", x, filters, 1, 1, 0)
        x = graph.relu(f"{name}_relu2", graph.add("elemwise_add", f"{name}_plus", [y, x]))
        channels = filters
    x = graph.norm("bn1", graph.add("Flatten", "flatten0", [x]), fix_gamma=False)
    x = graph.add("Dropout", "dropout0", [x], p=RATE)
    x = graph.layer("FullyConnected", "pre_fc1", x, ["weight", "bias"], num_hidden=DIMENSIONS)
    return graph.json(graph.norm("fc1", x, fix_gamma=True))


def write_params(arrays: Arrays) -> bytes:
    """Return the content of a `.params` file: the NDArray list format, version 2.

    Raises
    ------
    BadSetting
        An array is of a type that the format lacks.
    """
    parts = [struct.pack("<QQQ", LIST_MAGIC, 0, len(arrays))]
    for name, array in arrays.items():
        code = CODES.get(array.dtype.str[1:])
        if code is None:
            raise BadSetting(f"'{name}' is of {array.dtype}, which the format lacks.")
        shape = struct.pack(f"<Iii{array.ndim}q", MAGIC_V2, DENSE, array.ndim, *array.shape)
        device_and_type = struct.pack("<iii", 1, 0, code)
        parts += [shape, device_and_type, np.ascontiguousarray(array).tobytes()]
    parts.append(struct.pack("<Q", len(arrays)))
    for name in arrays:
        parts.append(struct.pack("<Q", len(name.encode())) + name.encode())
    return b"".join(parts)


def to_float16(arrays: Arrays) -> dict[str, NDArray[np.float16]]:
    """Round to float16.

    Raises
    ------
    BadSetting
        A weight does not fit: it is larger than float16 can hold, or not a number.
    """
    with np.errstate(over="ignore"):
        half = {name: array.astype(np.float16) for name, array in arrays.items()}
    for name, array in half.items():
        if not np.isfinite(array).all():
            raise BadSetting(f"'{name}' does not fit into float16: training went astray.")
    return half


def write_checkpoint(folder: Path, arrays: Arrays, name: str = "mini") -> Path:
    """Write `NAME-symbol.json` and `NAME-0000.params`; return the symbol's path.

    Raises
    ------
    BadSetting
        The network is larger or slower than a bundled one may be, or a weight does not fit.
    """
    if (work := multiply_adds()) > MAX_MULTIPLY_ADDS:
        raise BadSetting(f"{work} multiply-adds are more than {MAX_MULTIPLY_ADDS}.")
    content = write_params(to_float16(arrays))
    text = symbol()
    if len(content) + len(text) > MAX_BYTES:
        raise BadSetting(f"{len(content)} bytes are more than the {MAX_BYTES} of a bundled model.")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}-0000.params").write_bytes(content)
    path = folder / f"{name}-symbol.json"
    path.write_text(text, encoding="utf-8")
    return path


def write_card(folder: Path, card: Mapping[str, object], name: str = "mini") -> Path:
    """Write `NAME.toml`: the model's entry for models.toml, with the digests of its files.

    Parameters
    ----------
    folder : Path
        Where `write_checkpoint` wrote.
    card : mapping
        Further entries of a `serfiq_widgets.models.cards.Card`: alpha, r, figures, origin ...
    """
    entries = {
        "title": f"{name}, the bundled recognition network",
        "bundled": True,
        "trained_with_dropout": True,
        "rate": RATE,
        "size": FACE_SIZE,
        "dimensions": DIMENSIONS,
        "colour": "RGB",
        "mean": 0.0,
        "scale": 1.0,
        "noncommercial": True,
        **card,
    }
    # a TOML value of these kinds is written as JSON writes it
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items()]
    text = "\n".join([f"[{name}]", *lines])
    for part, file in (("symbol", f"{name}-symbol.json"), ("params", f"{name}-0000.params")):
        content = (folder / file).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        text += f'\n\n[[{name}.files]]\npart = "{part}"\nname = "{file}"\nsha256 = "{digest}"'
        text += f"\nbytes = {len(content)}"
    path = folder / f"{name}.toml"
    path.write_text(f"{text}\n", encoding="utf-8")
    return path
