"""A torch module becomes an ONNX graph, which every engine runs."""

from __future__ import annotations

import io
import warnings
from typing import Any

from serfiq_widgets.errors import CorruptModel, EngineUnavailable, UnknownModel


def export(module: Any, side: int) -> tuple[bytes, float | None]:
    """Export a recognition network.

    Parameters
    ----------
    module : torch.nn.Module
        From float32 (N, 3, side, side) to embeddings (N, D). It is exported in evaluation mode and
        left in the mode in which it was.
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
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    content, training = io.BytesIO(), module.training
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # torch's own, on this exporter's age
            torch.onnx.export(
                module.eval(),
                (torch.zeros(1, 3, side, side, device=device),),
                content,
                dynamo=False,  # the newer one needs a package more
                input_names=["data"],
                output_names=["embedding"],
                dynamic_axes={"data": {0: "N"}, "embedding": {0: "N"}},
            )
    except Exception as error:  # what a module raises can be anything
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CorruptModel(f"torch cannot export '{type(module).__name__}': {first}") from error
    finally:
        module.train(training)
    return content.getvalue(), float(rates[-1]) if rates else None
