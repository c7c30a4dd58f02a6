"""How fast trunks are on a CPU: the table of docs/performance.md.

All ways of one network run in turns in one process: ONNX Runtime on the graph as the file has it
("unchanged"), the engines in fp32, and OpenVINO in bf16 where the processor has it. For every
batch, medians of the milliseconds per face, of the processor milliseconds (which other programs on
the machine disturb less), and how many times as fast as the unchanged graph each is by both.

    python benchmarks/cpu.py mine-symbol.json --batch 1 16 --rounds 40
"""

import argparse
import statistics
from collections.abc import Callable
from time import perf_counter, process_time

import numpy as np

from serfiq_widgets import Scorer
from serfiq_widgets.engines.onnxruntime import CPU, session
from serfiq_widgets.errors import EngineUnavailable

WAYS = (("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"), ("torch", "fp32"))
WARM_UP = 3

Trunk = Callable[[np.ndarray], np.ndarray]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=40)
    wanted = parser.parse_args()
    ways = trunks(wanted.model)
    rng = np.random.default_rng(0)
    print("| batch | engine | ms | times as fast | processor ms | times as fast |")
    print("|--:|---|--:|--:|--:|--:|")
    for batch in wanted.batch:
        faces = rng.integers(0, 256, (batch, 112, 112, 3), np.uint8)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(wanted.rounds + WARM_UP):
            for name, trunk in ways.items():
                times[name].append(times_of(trunk, faces))
        medians = {
            name: [statistics.median(column) for column in zip(*taken[WARM_UP:], strict=True)]
            for name, taken in times.items()
        }
        base = medians["unchanged"]
        for name, taken in medians.items():
            cells = [f"{t:.2f} | {first / t:.2f}" for t, first in zip(taken, base, strict=True)]
            print(f"| {batch} | {name} | {' | '.join(cells)} |", flush=True)


def trunks(model: str) -> dict[str, Trunk]:
    """Return every way that works here, by its name."""
    first = Scorer(model, "onnxruntime", "cpu")
    plain = session(first.network.trunk(), [CPU])
    name = plain.get_inputs()[0].name
    normalisation = first.card.normalisation
    ways: dict[str, Trunk] = {
        "unchanged": lambda faces: plain.run(None, {name: normalisation(faces)})[0]
    }
    for engine, precision in WAYS:
        try:
            scorer = Scorer(model, engine, "cpu", precision=precision)
        except EngineUnavailable as error:
            print(f"{engine} {precision}: {error}")
        else:
            ways[f"{engine} {precision}"] = scorer.engine.trunk
    return ways


def times_of(trunk: Trunk, faces: np.ndarray) -> tuple[float, float]:
    """Return milliseconds and processor milliseconds per face of one run."""
    start, busy = perf_counter(), process_time()
    trunk(faces)
    spent, worked = perf_counter() - start, process_time() - busy
    return 1e3 * spent / len(faces), 1e3 * worked / len(faces)


if __name__ == "__main__":
    main()
