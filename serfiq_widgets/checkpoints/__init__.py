"""Checkpoints: an MXNet checkpoint or an ONNX graph becomes a `Network` of trunk and head.

MXNet is not needed: `params` reads its parameter files, `mxnet_graph` converts its symbols to ONNX,
and `split` cuts any ONNX graph at its dropout site.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from serfiq_widgets.errors import CorruptModel

if TYPE_CHECKING:
    from serfiq_widgets.checkpoints.heads import Head
    from serfiq_widgets.checkpoints.split import Network

INPUT_SIDE = 112
MAX_BYTES = 2**31 - 2**20  # of one file; protobuf messages must be below 2 GiB
_REMEDY = (
    "Load it as a module and pass that to Scorer(net), or export ONNX:\n"
    "    {0}\n"
    "    torch.onnx.export(net.eval(), torch.zeros(1, 3, 112, 112), 'net.onnx')"
)
_TORCH = (
    "holds torch's weights or a pickled module, which is never loaded here: it could run any code. "
    + _REMEDY.format("net.load_state_dict(torch.load('{0}', weights_only=True))")
)
_SCRIPT = "is a TorchScript file. " + _REMEDY.format("net = torch.jit.load('{0}')")
_PROGRAM = "is a program of torch.export. " + _REMEDY.format(
    "net = torch.export.load('{0}').module()"
)
_WEIGHTS = "contains weights without the network. " + _REMEDY.format(
    "net.load_state_dict(safetensors.torch.load_file('{0}'))"
)
_KERAS = "is a Keras or TensorFlow model. Export ONNX: python -m tf2onnx.convert --help"
_OTHER = "is neither ONNX nor an MXNet checkpoint. Export ONNX from the framework that wrote it."
OTHERS = {
    **dict.fromkeys((".pth", ".pt", ".ckpt", ".tar", ".bin", ".pkl", ".pickle"), _TORCH),
    ".pt2": _PROGRAM,
    ".safetensors": _WEIGHTS,
    **dict.fromkeys((".h5", ".keras", ".pb", ".tflite"), _KERAS),
    ".data": "holds weights of an ONNX file: name that, which ends in .onnx.",
}
"""Messages about files of other frameworks, by suffix."""
_PARAMS = re.compile(r"(?P<prefix>.+)-\d{4}\.params")


def checkpoint_files(path: Path) -> tuple[Path, Path] | None:
    """Return the symbol and parameter files of an MXNet checkpoint; None for an ONNX file.

    Parameters
    ----------
    path : Path
        ``x-symbol.json``, ``x-0000.params`` or the bare ``x``; the last of several epochs is used.

    Raises
    ------
    CorruptModel
        One of the two files is missing; the text names it.
    """
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        return None
    if suffix in OTHERS or _is_torch(path):
        what = OTHERS.get(suffix, _TORCH)
        what = _SCRIPT if what == _TORCH and _is_script(path) else what
        raise CorruptModel(f"'{path.name}' {what.format(path.name)}")
    match = _PARAMS.fullmatch(path.name)
    if match:
        prefix, params = match["prefix"], path
    else:
        prefix = path.name.removesuffix("-symbol.json")
        epochs = sorted(p for p in path.parent.glob("*.params") if _belongs(p, prefix))
        if not epochs and path.exists() and not path.name.endswith("-symbol.json"):
            raise CorruptModel(f"'{path.name}' {_OTHER}")
        if not epochs:
            raise CorruptModel(
                f"'{path.name}' has no weights: '{prefix}-0000.params' should be beside it."
            )
        params = epochs[-1]
    symbol = path.with_name(f"{prefix}-symbol.json")
    for file in (symbol, params):
        if not file.is_file():
            raise CorruptModel(f"'{path.name}' is half a model: '{file.name}' should be beside it.")
    return symbol, params


def _is_torch(path: Path) -> bool:
    """Return whether a file is an archive written by torch, whatever its suffix is."""
    return any(name.endswith("/data.pkl") for name in _members(path))


def _is_script(path: Path) -> bool:
    """Return whether a file is a TorchScript archive, which has code beside the weights."""
    return any(name.partition("/")[2].startswith("code/") for name in _members(path))


def _members(path: Path) -> list[str]:
    """Return the names in an archive; none if the file is not an archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError):
        return []


def _belongs(path: Path, prefix: str) -> bool:
    match = _PARAMS.fullmatch(path.name)
    return match is not None and match["prefix"] == prefix


def load_network(
    path: Path, *, site: str = "", side: int = 0, on_top: Head | None = None
) -> Network:
    """Load a network and cut it at its dropout site.

    Parameters
    ----------
    path : Path
        An MXNet checkpoint (see `checkpoint_files`) or an ``.onnx`` file.
    site : str
        The tensor or node at which to cut; found automatically if not given.
    side : int
        Height and width of the input if the graph leaves them open; 112 if not given.
    on_top : Head, optional
        A head for the output of the whole network, which is then not cut.

    Returns
    -------
    Network
        Trunk, head, and their source.

    Raises
    ------
    CorruptModel
        A file is missing, broken, or contains something unknown; the text names it.
    """
    network = _load(path, site, side, on_top)
    return replace(network, trunk=_until_taken(network, lambda: _load(path, site, side, on_top)))


def _load(path: Path, site: str, side: int, on_top: Head | None) -> Network:
    from serfiq_widgets.checkpoints.split import cut_network

    files = checkpoint_files(path)
    if files is None:
        from serfiq_widgets.checkpoints.onnx_file import read_onnx

        model, contents = read_onnx(path)
        return cut_network(model, contents, path, site=site, side=side, on_top=on_top)
    from serfiq_widgets.checkpoints.mxnet_graph import to_onnx
    from serfiq_widgets.checkpoints.params import read_params

    symbol, weights = files
    shape = (3, side or INPUT_SIDE, side or INPUT_SIDE)
    params = read_params(weights)
    model = to_onnx(read_file(symbol), params, shape, symbol.name, embedding=True)
    name = weights.name.rpartition("-")[0]
    content = read_file(weights)
    return cut_network(model, [content], path, name=name, site=site, side=side, on_top=on_top)


def _until_taken(network: Network, load: Callable[[], Network]) -> Callable[[], bytes]:
    """Return a function that returns the trunk: first from memory, later reloaded from the file."""
    held, name, digest = [network.trunk()], network.name, network.sha256

    def trunk() -> bytes:
        if held:
            return held.pop()
        again = load()
        if again.sha256 != digest:
            raise CorruptModel(f"The file of '{name}' has changed since it was opened.")
        return again.trunk()

    return trunk


def read_file(path: Path) -> bytes:
    """Return a file's content.

    Raises
    ------
    CorruptModel
        The file cannot be read, or is too large for an ONNX model.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CorruptModel(f"'{path.name}' is larger than {MAX_BYTES} bytes.")
        return path.read_bytes()
    except OSError as error:
        raise CorruptModel(f"'{path.name}' cannot be read: {error.strerror}.") from error
