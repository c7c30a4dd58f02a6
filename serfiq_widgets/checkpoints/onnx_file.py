"""Reader of ONNX files: one file, ONNX's own form, nothing that lies elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

import onnx
from google.protobuf.message import DecodeError

from serfiq_widgets.checkpoints.onnx_graph import OWN_DOMAINS
from serfiq_widgets.errors import CorruptModel, one_line

LEAST_OPSET = 7  # older operators are other operators, and ONNX Runtime does not promise them


def parse_onnx(content: bytes, name: str) -> onnx.ModelProto:
    """Read and check the content of an ONNX file.

    Weights in other files are refused: such a model could name any file of this machine.

    Raises
    ------
    CorruptModel
        The file is broken, or holds what cannot be split; the text calls it by the name.
    """
    try:
        model = onnx.load_model_from_string(content)
        for problem in _problems(model):
            raise CorruptModel(f"'{name}' {problem}.")
        onnx.checker.check_model(content)
    except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
        raise CorruptModel(
            f"'{name}' is not a sound ONNX file ({one_line(error) or 'broken'}). Get it again."
        ) from error
    return model


def _problems(model: onnx.ModelProto) -> Iterator[str]:
    """Say what a model holds that the split does not know."""
    opset = max((i.version for i in model.opset_import if i.domain in OWN_DOMAINS), default=0)
    if opset < LEAST_OPSET:
        yield f"is written in ONNX's opset {opset}: export it in {LEAST_OPSET} or a later one"
    if not model.graph.output:
        yield "has no output"
    if model.functions:
        yield "holds functions of its own: export it with them inlined"
    tensors = list(model.graph.initializer)
    sparse = bool(model.graph.sparse_initializer)
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g") or attribute.graphs:
                yield f"branches or loops ('{one_line(node.op_type)}')"
            tensors += [attribute.t, *attribute.tensors]
            sparse |= attribute.HasField("sparse_tensor") or bool(attribute.sparse_tensors)
    if sparse:
        yield "holds sparse weights: export it with dense ones"
    if any(tensor.external_data or tensor.data_location for tensor in tensors):
        yield "keeps weights in other files: save it as one file"
