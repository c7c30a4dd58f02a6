"""Runs an ONNX graph operator by operator in torch, on any device, in any float precision.

onnx2torch would be an alternative, but it has no batch norm of opsets 7 and 8, needs a torchvision
built for exactly this torch, and keeps shapes on the GPU, which a CUDA graph forbids.

Numbers that shapes depend on are integers: they stay in the host's memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from serfiq_widgets.checkpoints.onnx_graph import operator_of
from serfiq_widgets.engines.torch_operators import ON_HOST, OPERATORS
from serfiq_widgets.errors import EngineUnavailable, one_line

ON_THE_HOST = " on host"  # ends the name of a constant that stays there
CONV_WEIGHTS = 4  # axes of a two-dimensional convolution's weights


class TorchGraph:
    """A graph with one input and one output, and its weights on a device.

    Parameters
    ----------
    model : onnx.ModelProto
        Without branches, loops or functions.
    device : torch.device
        Where to run.
    dtype : torch.dtype
        Type of weights and activations.

    Raises
    ------
    EngineUnavailable
        An operator or one of its settings is not supported; the text names it.
    """

    def __init__(self, model: onnx.ModelProto, device: Any, dtype: Any) -> None:
        self._opset = max(i.version for i in model.opset_import if not i.domain)
        self._device, self._dtype = device, dtype
        graph = model.graph
        constants = {w.name: _tensor(numpy_helper.to_array(w)) for w in graph.initializer}
        (self._input,) = (i.name for i in graph.input if i.name not in constants)
        self._output = graph.output[0].name
        nodes = list(_folded(graph.node, constants, self._output))
        self._steps: list[tuple[Any, dict[str, Any], list[str], list[str], list[str]]] = []
        self._constants: dict[str, Any] = {"": None}
        last_use = {name: number for number, node in enumerate(nodes) for name in node.input}
        for number, node in enumerate(nodes):
            kind = operator_of(node)
            if kind not in OPERATORS:
                raise EngineUnavailable(
                    f"The torch engine does not know the operator '{one_line(kind)}'. "
                    "Take --engine onnxruntime."
                )
            settings = self._settings(node)
            if set(node.input) <= {"", *constants}:  # so the output is constant, too
                given = [constants.get(name) for name in node.input]
                results = _several(OPERATORS[kind](settings, *given))
                constants.update(zip(node.output, results, strict=False))
                continue
            inputs = [
                self._placed(name, constants, on_host=position in ON_HOST.get(kind, ()))
                for position, name in enumerate(node.input)
            ]
            done = [n for n in set(node.input) if n not in constants and last_use[n] == number]
            self._steps.append((OPERATORS[kind], settings, inputs, list(node.output), done))

    def _settings(self, node: onnx.NodeProto) -> dict[str, Any]:
        settings = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        for name, value in settings.items():
            if isinstance(value, bytes):
                settings[name] = value.decode()
            elif isinstance(value, onnx.TensorProto):
                settings[name] = _tensor(numpy_helper.to_array(value))
        return {**settings, "opset": self._opset, "dtype": self._dtype, "outputs": len(node.output)}

    def _placed(self, name: str, constants: dict[str, Any], *, on_host: bool) -> str:
        """Copy a constant to the host or device, as an operator needs it; return its name there."""
        if not name or name not in constants:
            return name
        value = constants[name]
        if on_host or not value.is_floating_point():
            self._constants[f"{name}{ON_THE_HOST}"] = value
            return f"{name}{ON_THE_HOST}"
        if name not in self._constants:
            held = value.to(self._device, self._dtype)
            if held.ndim == CONV_WEIGHTS:
                held = held.contiguous(memory_format=torch.channels_last)
            self._constants[name] = held
        return name

    @property
    def weights(self) -> dict[str, Any]:
        """The weights on the device, by name."""
        return {
            name: value
            for name, value in self._constants.items()
            if name and not name.endswith(ON_THE_HOST)
        }

    def __call__(self, data: Any, weights: dict[str, Any] | None = None) -> Any:
        """Return the graph's output for a tensor of its device and precision.

        Other tensors can replace the `weights`, under the same names.
        """
        values = {**self._constants, **(weights or {}), self._input: data}
        for operator, settings, inputs, outputs, done in self._steps:
            results = _several(operator(settings, *(values[name] for name in inputs)))
            values.update(zip(outputs, results, strict=False))
            for name in done:  # frees activations that are no longer needed
                del values[name]
        return values[self._output]


def _tensor(array: NDArray[Any]) -> Any:
    """Return an array as a tensor on the host; all floats become float32."""
    if array.dtype.kind not in "iub":
        array = array.astype(np.float32)
    return torch.from_numpy(np.array(array, order="C"))


def _several(results: Any) -> Sequence[Any]:
    return results if isinstance(results, tuple | list) else (results,)


def _folded(
    nodes: Sequence[onnx.NodeProto], constants: dict[str, Any], output: str
) -> list[onnx.NodeProto]:
    """Fold batch norms: after a convolution into its weights, elsewhere into factor and offset."""
    uses = Counter([output, *(name for node in nodes for name in node.input)])
    convolutions = {node.output[0]: node for node in nodes if operator_of(node) == "Conv"}
    kept = []
    for node in nodes:
        if operator_of(node) != "BatchNormalization" or not set(node.input[1:5]) <= set(constants):
            kept.append(node)
            continue
        factor, offset = _factor_and_offset(node, constants)
        before = convolutions.get(node.input[0])
        if (
            before is None
            or uses[node.input[0]] != 1
            or not set(before.input[1:]) <= set(constants)
        ):
            names = [f"{node.output[0]} factor", f"{node.output[0]} offset"]
            constants.update(zip(names, (factor.float(), offset.float()), strict=True))
            kept.append(helper.make_node("ScaleShift", [node.input[0], *names], [node.output[0]]))
            continue
        weight = constants[before.input[1]].double()
        bias = constants[before.input[2]].double() if len(before.input) > 2 else 0.0  # noqa: PLR2004  # data, weights, bias
        name = node.output[0]
        constants[f"{name} weight"] = (
            weight * factor.reshape(-1, *[1] * (weight.ndim - 1))
        ).float()
        constants[f"{name} bias"] = (bias * factor + offset).float()
        joined = onnx.NodeProto()
        joined.CopyFrom(before)
        joined.ClearField("input")
        joined.input.extend([before.input[0], f"{name} weight", f"{name} bias"])
        joined.output[0] = name
        kept[kept.index(before)] = joined
    return kept


def _factor_and_offset(node: onnx.NodeProto, constants: dict[str, Any]) -> tuple[Any, Any]:
    gamma, beta, mean, variance = (constants[name].double() for name in node.input[1:5])
    epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
    factor = gamma / torch.sqrt(variance + epsilon)
    return factor, beta - mean * factor
