"""What `serfiq benchmark` advises, from its records and the machine."""

from dataclasses import replace

import pytest

from serfiq_widgets.cli.advice import NOTHING, Machine, advice

GOOD = Machine(has_openvino=True, has_bf16=False, has_gpu=False, threads=2, cores=2)


def record(engine="openvino", ms=1.0, precision="fp32", device="cpu", batch=1):
    return {
        "model": "net",
        "engine": engine,
        "precision": precision,
        "device": device,
        "batch": batch,
        "score_ms": ms,
    }


def test_nothing_to_change():
    assert advice([record(), record("onnxruntime", 1.05)], GOOD) == [NOTHING]


def test_a_faster_engine_is_named_with_its_gain():
    records = [
        record("onnxruntime", 3.0),
        record("openvino", 1.0, "bf16"),
        record("torch", 2.0),
        record("onnxruntime", 1.0, batch=16),
        record("openvino", 1.0, batch=16),
    ]
    (line,) = advice(records, GOOD)
    assert line == (
        "net, batch of 1: --engine openvino --device cpu --precision bf16 is 3.0 times as fast as "
        "onnxruntime in fp32."
    )


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        ({"has_openvino": False}, "pip install 'serfiq_widgets[openvino]'"),
        ({"has_bf16": True}, "--precision bf16"),
        ({"has_gpu": True}, "serfiq_widgets[gpu]"),
        ({"threads": 1}, "1 of 2 cores"),
    ],
)
def test_what_the_machine_lacks(machine, words):
    (line,) = advice([record()], replace(GOOD, **machine))
    assert words in line


def test_with_a_gpu_in_use_the_cpu_needs_no_advice():
    machine = Machine(has_openvino=False, has_bf16=True, has_gpu=True, threads=1, cores=2)
    assert advice([record("torch", device="cuda")], machine) == [NOTHING]
