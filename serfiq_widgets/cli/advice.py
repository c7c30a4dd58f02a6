"""What to change on this machine for faster scores; used by `serfiq benchmark`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from serfiq_widgets.engines.hardware import gpu_is_likely

WORTH = 1.1  # times as fast, from which on a change is worth its words
NOTHING = "Nothing to change: no faster way is known here."
INSTALL = (
    "Install OpenVINO: pip install 'serfiq_widgets[openvino]'. On two cores it ran "
    "mobilefacenet-y1 1.2 times as fast as ONNX Runtime in fp32, and 1.7 to 2.5 times in bf16 "
    "(--precision bf16, where the processor has it)."
)
TRY_BF16 = (
    "Try --engine openvino --precision bf16, which this processor has: on two cores it ran "
    "mobilefacenet-y1 1.4 to 1.9 times as fast as fp32. Raw scores move by up to 0.002."
)


@dataclass(frozen=True)
class Machine:
    """What advice depends on: OpenVINO and its precisions, a GPU, threads and cores."""

    has_openvino: bool
    has_bf16: bool
    has_gpu: bool
    threads: int
    cores: int


def this_machine() -> Machine:
    """Return this machine, without importing torch."""
    has_openvino = find_spec("openvino") is not None
    has_bf16 = False
    if has_openvino:
        from serfiq_widgets.engines.openvino import precisions

        has_bf16 = "bf16" in precisions()
    cores = os.cpu_count() or 1
    threads = int(os.environ.get("SERFIQ_THREADS", "0")) or cores
    return Machine(has_openvino, has_bf16, gpu_is_likely(), threads, cores)


def advice(records: Sequence[Mapping[str, Any]], machine: Machine) -> list[str]:
    """Return what to change, in sentences, most useful first.

    Parameters
    ----------
    records : sequence of mapping
        From `cli.timings.measure`. Within a network and a batch, the first is what the user asked
        for first; faster ones among the others are named.
    machine : Machine
        From `this_machine`.
    """
    lines = [_faster(group) for group in _groups(records)]
    on_cpu = all(record["device"] == "cpu" for record in records)
    if on_cpu and machine.has_gpu:
        lines.append(
            "A GPU seems to be here, and is not used: pip install 'serfiq_widgets[gpu]'; "
            "serfiq doctor says what is missing."
        )
    elif on_cpu and not machine.has_openvino:
        lines.append(INSTALL)
    elif on_cpu and machine.has_bf16 and all(one["precision"] != "bf16" for one in records):
        lines.append(TRY_BF16)
    if on_cpu and machine.threads < machine.cores:
        lines.append(f"Unset SERFIQ_THREADS: {machine.threads} of {machine.cores} cores are used.")
    return [line for line in lines if line] or [NOTHING]


def _groups(records: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault((record["model"], record["batch"]), []).append(record)
    return list(groups.values())


def _faster(group: Sequence[Mapping[str, Any]]) -> str:
    """Return the words for the fastest record, if it is not the first."""
    first, best = group[0], min(group, key=lambda record: record["score_ms"])
    gain = first["score_ms"] / best["score_ms"]
    if gain < WORTH:
        return ""
    options = "--engine {engine} --device {device} --precision {precision}".format(**best)
    return (
        f"{first['model']}, batch of {first['batch']}: {options} is {gain:.1f} times as fast as "
        "{engine} in {precision}.".format(**first)
    )
