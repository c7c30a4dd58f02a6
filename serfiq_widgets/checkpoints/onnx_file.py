"""Reader of ONNX files, with weights in the file or in other files of its folder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from serfiq_widgets.checkpoints import MAX_BYTES, read_file
from serfiq_widgets.checkpoints.onnx_graph import OWN_DOMAINS
from serfiq_widgets.checkpoints.onnx_plain import sort_nodes
from serfiq_widgets.errors import CorruptModel, one_line

MIN_OPSET = 7  # older operators differ, and ONNX Runtime does not guarantee them
MAX_NAME = 255


def read_onnx(path: Path) -> tuple[onnx.ModelProto, list[bytes]]:
    """Read and check an ONNX file, and files in its folder that contain its weights.

    torch's exporter writes ``NAME.onnx.data``. A model may only name files in its own folder.

    Returns
    -------
    model : onnx.ModelProto
        The model with all weights.
    contents : list of bytes
        The bytes of its file, then of the other files.

    Raises
    ------
    CorruptModel
        A file is missing or broken, a name has a folder, or the model cannot be split.
    """
    content = read_file(path)
    model = _parsed(content, path.name)
    beside: dict[str, bytes] = {}
    for tensor in _tensors(model):
        if tensor.external_data or tensor.data_location:
            _take_in(tensor, path, beside, MAX_BYTES - len(content))
    _check(model, path.name)
    return model, [content, *beside.values()]


def parse_onnx(content: bytes, name: str) -> onnx.ModelProto:
    """Read and check the content of an ONNX file that contains its weights.

    Raises
    ------
    CorruptModel
        The file is broken, or the model cannot be split; the text has ``name``.
    """
    model = _parsed(content, name)
    if any(tensor.external_data or tensor.data_location for tensor in _tensors(model)):
        raise CorruptModel(f"'{name}' keeps weights in other files: save it as one file.")
    _check(model, name)
    return model


def _parsed(content: bytes, name: str) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(content)
    except (DecodeError, ValueError) as error:
        raise _unsound(name, error) from error
    for problem in _problems(model):
        raise CorruptModel(f"'{name}' {problem}.")
    return model


def _check(model: onnx.ModelProto, name: str) -> None:
    sort_nodes(model)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise _unsound(name, error) from error


def _unsound(name: str, error: Exception) -> CorruptModel:
    return CorruptModel(
        f"'{name}' is not a sound ONNX file ({one_line(error) or 'broken'}). Copy it again."
    )


def _take_in(tensor: onnx.TensorProto, path: Path, beside: dict[str, bytes], left: int) -> None:
    """Copy a tensor's numbers from another file of the folder into the model."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    location = said.get("location", "")
    if not _is_plain_name(location) or (path.parent / location).is_symlink():
        raise CorruptModel(
            f"'{path.name}' keeps weights in '{one_line(location)[:80]}'. They must be in the same "
            "folder, in a file without a path: save it as one file."
        )
    if location not in beside:
        file = path.parent / location
        if not file.is_file():
            raise CorruptModel(
                f"'{path.name}' keeps weights in '{location}', which should be beside it."
            )
        if file.stat().st_size > left - sum(map(len, beside.values())):
            raise CorruptModel(f"'{path.name}' and '{location}' hold more than {MAX_BYTES} bytes.")
        beside[location] = read_file(file)
    content = beside[location]
    size = _bytes_of(tensor)
    try:
        start, length = int(said.get("offset", "0")), int(said.get("length", str(size)))
    except ValueError:
        start, length = -1, 0
    if start < 0 or length != size or start + length > len(content):
        raise CorruptModel(
            f"'{location}' does not hold the weights '{one_line(tensor.name)[:80]}' that "
            f"'{path.name}' expects in it. Copy both again."
        )
    tensor.raw_data = content[start : start + length]
    del tensor.external_data[:]
    tensor.ClearField("data_location")


def _is_plain_name(location: str) -> bool:
    plain = 0 < len(location) <= MAX_NAME and location.isprintable()
    return plain and not set(location) & set("/\\:") and location.strip(".") != ""


def _bytes_of(tensor: onnx.TensorProto) -> int:
    """Return the bytes of a tensor's numbers; -1 for types smaller than a byte."""
    try:
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, TypeError, ValueError):
        return -1
    small = onnx.TensorProto.DataType.Name(tensor.data_type) in ("INT4", "UINT4", "FLOAT4E2M1")
    sizes = list(tensor.dims)
    return -1 if small or min(sizes, default=0) < 0 else math.prod(sizes) * kind.itemsize


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)


def _problems(model: onnx.ModelProto) -> Iterator[str]:
    """Yield what a model contains that `split` does not support."""
    opset = max((i.version for i in model.opset_import if i.domain in OWN_DOMAINS), default=0)
    if not opset:
        yield "is empty, or not an ONNX file: it names no version of ONNX. Copy it again"
    elif opset < MIN_OPSET:
        yield f"is written in ONNX's opset {opset}: export it in {MIN_OPSET} or a later one"
    if not model.graph.output:
        yield "has no output"
    if model.functions:
        yield "holds functions of its own: export it with them inlined"
    sparse = bool(model.graph.sparse_initializer)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                yield f"branches or loops ('{one_line(node.op_type)}')"
            sparse |= attribute.HasField("sparse_tensor") or bool(attribute.sparse_tensors)
    if sparse:
        yield "holds sparse weights: export it with dense ones"
