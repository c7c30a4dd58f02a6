"""Which engine runs a network fastest on this processor: measured once, then remembered.

The answer is kept in the user's cache folder, for this network, processor and these versions, so
that a scorer which is opened tomorrow takes the same engine.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from serfiq_widgets.atomic import write_text
from serfiq_widgets.engines import FACE_SIZE, Engine
from serfiq_widgets.engines.onnx_graphs import forget
from serfiq_widgets.errors import EngineUnavailable, NotWritten, SerfiqError

if TYPE_CHECKING:
    from serfiq_widgets.checkpoints.split import Network

RIVALS = ("onnxruntime", "openvino")  # the first one's features are the right ones
ROUNDS, PATIENCE_S = 5, 0.1
MARGIN = 0.95  # a rival must take less than this share of the first one's time
APART = 1e-3  # largest relative difference of right features
MAX_KEPT = 200

_known: dict[str, str] = {}


def fastest(network: Network, open_one: Callable[[str], Engine]) -> str:
    """Return the name of the fastest engine that runs a network on the CPU and is right.

    Parameters
    ----------
    network : Network
        From `checkpoints.load_network`.
    open_one : callable
        Opens an engine of this name on the network; raises EngineUnavailable.
    """
    versions = _versions()
    if len(versions) == 1:
        return RIVALS[0]
    threads = os.environ.get("SERFIQ_THREADS", "") or str(os.cpu_count())
    key = ", ".join([network.sha256, *versions, _processor(), threads])
    if key not in _known:
        _known.update(_read())
    if _known.get(key) not in RIVALS:
        _known[key] = _measured(open_one)
        _write()
    best = _known[key]
    for name in RIVALS:
        if name != best:
            forget(network, name)
    return best


def _measured(open_one: Callable[[str], Engine]) -> str:
    """Time the rivals on one face, in turns."""
    face = np.random.default_rng(0).integers(0, 256, (1, *FACE_SIZE, 3), np.uint8)
    engines: dict[str, Engine] = {}
    features = {}
    for name in RIVALS:
        with suppress(EngineUnavailable):
            engines[name] = open_one(name)
    try:
        features = {name: engine.trunk(face) for name, engine in engines.items()}
    except SerfiqError:  # the first one's error is what the user is to see
        return RIVALS[0]
    first = next(iter(engines), RIVALS[0])
    for name in list(engines)[1:]:
        right = features[first]
        if not np.linalg.norm(features[name] - right) <= APART * np.linalg.norm(right):
            del engines[name]
    times = dict.fromkeys(engines, np.inf)
    start = perf_counter()
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            begun = perf_counter()
            engine.trunk(face)
            times[name] = min(times[name], perf_counter() - begun)
        if perf_counter() - start > PATIENCE_S:
            break
    return min(
        engines, key=lambda name: times[name] * (MARGIN if name == first else 1), default=first
    )


def _versions() -> list[str]:
    """Return the versions of the rivals that are installed."""
    found = []
    for name in RIVALS:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return found


def _processor() -> str:
    """Return the processor's name; Linux alone has it in a file."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor()


def _file() -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("serfiq_widgets", appauthor=False) / "engines.json"


def _read() -> dict[str, str]:
    try:
        held = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}


def _write() -> None:
    with suppress(OSError, NotWritten):  # it is only measured again
        _file().parent.mkdir(parents=True, exist_ok=True)
        kept = dict(list(_known.items())[-MAX_KEPT:])
        write_text(_file(), json.dumps(kept, indent=1))
