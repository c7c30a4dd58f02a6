"""A torch module becomes an ONNX graph, which every engine runs."""

from __future__ import annotations

import copy
import io
import logging
import warnings
from contextlib import redirect_stdout
from importlib.util import find_spec
from typing import Any

import numpy as np

from serfiq_widgets.errors import CorruptModel, EngineUnavailable, UnknownModel, one_line

SEVERAL = 3  # images on which a graph is tried


def export(module: Any, side: int) -> tuple[bytes, float | None]:
    """Export a recognition network.

    Parameters
    ----------
    module : torch.nn.Module
        From (N, 3, side, side) to embeddings (N, D). It is exported in evaluation mode and in
        float32, and left as it was.
    side : int
        Height and width of the input, in pixels.

    Returns
    -------
    content : bytes
        The ONNX model.
    rate : float or None
        Rate of the module's last dropout layer, which an export leaves out.

    Raises
    ------
    UnknownModel
        It is no torch module.
    EngineUnavailable
        torch is not installed.
    CorruptModel
        torch cannot export it, or it does not take such an input.
    """
    try:
        import torch
    except ImportError as error:
        raise EngineUnavailable(
            "A module needs torch: pip install 'serfiq_widgets[torch]'"
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise UnknownModel(
            f"A {type(module).__name__} is no network: give a name, a path or a torch.nn.Module."
        )
    rates = [m.p for m in module.modules() if isinstance(m, torch.nn.Dropout | torch.nn.Dropout2d)]
    training = module.training
    try:
        content = _exported(_in_float32(module.eval(), torch), side, torch)
    except Exception as error:  # what a module raises can be anything
        raise CorruptModel(
            f"torch cannot export '{type(module).__name__}': "
            f"{one_line(error) or type(error).__name__}"
        ) from error
    finally:
        module.train(training)
    return content, float(rates[-1]) if rates else None


def _in_float32(module: Any, torch: Any) -> Any:
    """Return the module, or a copy in float32 of one in half or double precision."""
    numbers = [*module.parameters(), *module.buffers()]
    if all(one.dtype == torch.float32 for one in numbers if one.is_floating_point()):
        return module
    return copy.deepcopy(module).float()


def _exported(module: Any, side: int, torch: Any) -> bytes:
    """Export with the exporter that traces; where that fails, with the newer one.

    What the first prints of its graph when it fails is not shown. Transformers' fused kernels,
    which it does not know, are switched off meanwhile.
    """
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    shape = (3, side, side)
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")  # torch's own, on this exporter's age
            try:
                return _checked(
                    _traced(module, torch.zeros(1, *shape, device=device), torch), shape
                )
            except Exception as error:
                if find_spec("onnxscript") is None:
                    why = f"{one_line(error)} (its newer exporter may: pip install onnxscript)"
                    raise ValueError(why) from error
            return _checked(_newer(module, torch.zeros(2, *shape, device=device), torch), shape)
    finally:
        log.setLevel(level)
        torch.backends.mha.set_fastpath_enabled(fused)


def _traced(module: Any, images: Any, torch: Any) -> bytes:
    content = io.BytesIO()
    torch.onnx.export(
        module,
        (images,),
        content,
        dynamo=False,
        input_names=["data"],
        output_names=["embedding"],
        dynamic_axes={"data": {0: "N"}, "embedding": {0: "N"}},
    )
    return content.getvalue()


def _newer(module: Any, images: Any, torch: Any) -> bytes:
    program = torch.onnx.export(
        module, (images,), dynamo=True, dynamic_shapes=({0: torch.export.Dim("N")},), verbose=False
    )
    content: bytes = program.model_proto.SerializeToString()
    return content


def _checked(content: bytes, shape: tuple[int, ...]) -> bytes:
    """Return a graph that takes any number of images; a module that counts them may fix one."""
    from serfiq_widgets.engines.onnxruntime import CPU, session

    several = np.zeros((SEVERAL, *shape), np.float32)
    opened = session(content, [CPU])
    (name,) = (value.name for value in opened.get_inputs())
    try:
        embeddings = opened.run(None, {name: several})[0]
    except Exception:  # noqa: BLE001  # the runtime's own exceptions share no base class
        embeddings = ()
    if len(embeddings) != SEVERAL:
        raise ValueError(
            "its graph takes as many images alone as it was exported with. Write x.shape[0] where "
            "the module counts them, not len(x) or a number"
        )
    return content
