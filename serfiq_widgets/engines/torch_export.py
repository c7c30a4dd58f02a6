"""Export of a torch module to an ONNX graph, which every engine runs."""

from __future__ import annotations

import copy
import io
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from typing import Any
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import CorruptModel, EngineUnavailable, UnknownModel, one_line

SEVERAL = 3  # images for comparing graph and module
CLOSE = 1e-2  # largest relative difference between graph and module
LOGGERS = ("torch.onnx", "torch.export", "torch.fx")
MAX_REASON = 300  # characters
CODES = re.compile(r"\x1b\[[0-9;]*m")  # colour codes of a terminal


def export(module: Any, side: int) -> tuple[bytes, float | None]:
    """Export a recognition network.

    Parameters
    ----------
    module : torch.nn.Module
        From (N, 3, side, side) to embeddings (N, D). It is exported in evaluation mode and in
        float32; the module itself is not changed.
    side : int
        Height and width of the input, in pixels.

    Returns
    -------
    content : bytes
        The ONNX model.
    rate : float or None
        Rate of the module's last dropout layer, which an export omits.

    Raises
    ------
    UnknownModel
        The argument is not a torch module.
    EngineUnavailable
        torch is not installed.
    CorruptModel
        torch cannot export it, or it does not accept such an input.
    """
    try:
        import torch
    except ImportError as error:
        raise EngineUnavailable(
            "A module needs torch: pip install 'serfiq_widgets[torch]'"
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise UnknownModel(
            f"A {type(module).__name__} is not a network: give a name, a path or a torch.nn.Module."
        )
    name = type(module).__name__
    module = _unwrapped(module, torch)
    modes = [(one, one.training) for one in module.modules()]
    images = torch.from_numpy(_images(side)).to(
        next((p.device for p in module.parameters()), torch.device("cpu"))
    )
    try:
        content = _exported(*_ready(module.eval(), images, torch), images, torch)
    except Exception as error:  # a module may raise anything
        raise CorruptModel(f"torch cannot export '{name}': {_reason(error)}") from error
    finally:
        for one, training in modes:
            one.training = training
    return content, _rate(module, torch)


def _unwrapped(module: Any, torch: Any) -> Any:
    """Return the module inside wrappers that only distribute or compile it."""
    spread = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    while isinstance(module, spread):
        module = module.module
    return getattr(module, "_orig_mod", module)


def _rate(module: Any, torch: Any) -> float | None:
    nn = torch.nn
    kinds = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
    rates = [float(one.p) for one in module.modules() if isinstance(one, kinds)]
    return rates[-1] if rates else None


def _images(side: int) -> NDArray[np.float32]:
    """Return images (SEVERAL, 3, side, side) for comparing module and graph."""
    shape = (SEVERAL, 3, side, side)
    return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)


def _reason(error: BaseException) -> str:
    """Return the root cause in one line, without colour codes."""
    while error.__cause__ is not None:
        error = error.__cause__
    return one_line(CODES.sub("", str(error)))[:MAX_REASON] or type(error).__name__


def _ready(module: Any, images: Any, torch: Any) -> tuple[Any, Any]:
    """Return the module in float32, and its embeddings of the images.

    A module with another precision is copied first. A module whose own code converts numbers to
    half precision would not fit the copy, so it is used as it is.
    """
    numbers = [*module.parameters(), *module.buffers()]
    with torch.no_grad():
        if all(one.dtype == torch.float32 for one in numbers if one.is_floating_point()):
            return module, _embeddings(module(images))
        wide = copy.deepcopy(module).float()
        try:
            return wide, _embeddings(wide(images))
        except RuntimeError:
            return module, _embeddings(module(images))


def _embeddings(answer: Any) -> NDArray[Any]:
    """Return the first tensor of a module's output."""
    while isinstance(answer, dict | list | tuple):
        answer = next(iter(answer.values() if isinstance(answer, dict) else answer))
    embeddings: NDArray[Any] = answer.float().cpu().numpy()
    return embeddings


def _exported(module: Any, expected: NDArray[Any], images: Any, torch: Any) -> bytes:
    """Export with the tracing exporter; if that fails, with the newer one."""
    with _quietly(torch), torch.no_grad():
        if not np.allclose(_embeddings(module(images)), expected, rtol=CLOSE, atol=CLOSE):
            expected = expected[:, :0]  # the module is random: nothing can be compared
        try:
            return _checked(_traced(module, images[:1], torch), images, expected)
        except Exception as error:  # noqa: BLE001  # an exporter may raise anything
            if find_spec("onnxscript") is None:
                why = f"{_reason(error)} (its newer exporter may: pip install onnxscript)"
                raise ValueError(why) from None
        return _checked(_newer(module, images[:2], torch), images, expected)


@contextmanager
def _quietly(torch: Any) -> Iterator[None]:
    """Keep the exporters from printing and logging graphs and deprecation warnings.

    Fused transformer kernels, which the older one does not support, are off meanwhile.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    torch.backends.mha.set_fastpath_enabled(False)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), ExitStack() as stack:
            stack.enter_context(redirect_stdout(io.StringIO()))
            stack.enter_context(redirect_stderr(io.StringIO()))
            warnings.simplefilter("ignore")
            if hasattr(torch._C, "_jit_onnx_log"):  # noqa: SLF001  # writes directly, not to sys.stdout
                stack.enter_context(patch.object(torch._C, "_jit_onnx_log", _forget))  # noqa: SLF001
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        torch.backends.mha.set_fastpath_enabled(fused)


def _forget(*_parts: Any) -> None:
    """Print nothing."""


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


def _checked(content: bytes, images: Any, expected: NDArray[Any]) -> bytes:
    """Return a graph that accepts any number of images and returns the module's embeddings.

    A module that counts images may fix their number in the graph; tracing a module that branches
    on values records one branch.
    """
    from serfiq_widgets.engines.onnxruntime import CPU, session

    opened = session(content, [CPU])
    (value,) = opened.get_inputs()
    given = images.cpu().numpy()
    try:
        embeddings = opened.run(None, {value.name: given})[0]
    except Exception:  # noqa: BLE001  # the runtime's own exceptions share no base class
        embeddings = ()
    if len(embeddings) != SEVERAL:
        raise ValueError(
            "its graph accepts only the number of images with which it was exported. Write "
            "x.shape[0] where the module counts them, not len(x) or a number"
        )
    length = np.linalg.norm(expected)
    if expected.size and np.linalg.norm(embeddings - expected) > CLOSE * length:
        raise ValueError(
            "its graph returns other embeddings than the module. Does it branch on the values of "
            "its images, or use values of the whole batch?"
        )
    return content
