"""How near to its peak a GPU runs: the table of docs/performance.md.

For every batch: milliseconds per face of trunk alone and of a score, and the trunk's share of the
GPU's peak, which is measured as the rate of one large matrix product in the same precision.

    python benchmarks/gpu.py mine-symbol.json --precision bf16 --batch 1 16 64 256
"""

import argparse
import statistics
from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch
from onnx import load_model_from_string, numpy_helper, shape_inference

from serfiq_widgets import Scorer
from serfiq_widgets.faces.alignment import AlignedFace

DTYPES = {"fp32": torch.float32, "tf32": torch.float32}
DTYPES |= {"bf16": torch.bfloat16, "fp16": torch.float16}
SIDE = 8192
WARM_UP = 3


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", default="bf16", choices=DTYPES)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--passes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--side", type=int, default=SIDE, help="of the product's matrices")
    wanted = parser.parse_args()

    scorer = Scorer(wanted.model, "torch", wanted.device, precision=wanted.precision)
    products = multiplications(scorer.network.trunk())
    peak = peak_rate(wanted.device, wanted.precision, wanted.side)
    name = torch.cuda.get_device_name() if wanted.device.startswith("cuda") else wanted.device
    print(f"{name}, {wanted.precision}: peak {2 * peak / 1e12:.1f} TFLOP/s;", end=" ")
    print(f"trunk of {scorer.card.name}: {2 * products / 1e9:.2f} GFLOP per face")
    print("| batch | trunk ms | score ms | score rate / trunk rate | trunk / peak |")
    print("|---|---|---|---|---|")
    rng = np.random.default_rng(0)
    for batch in wanted.batch:
        pixels = rng.integers(0, 256, (batch, 112, 112, 3), dtype=np.uint8)
        faces = [AlignedFace(one, "random") for one in pixels]
        trunk, score = interleaved(
            [
                lambda pixels=pixels: scorer.engine.trunk(pixels),
                lambda faces=faces: scorer.score_batch(faces, wanted.passes),
            ],
            wanted.rounds,
        )
        share = products * batch / trunk / peak
        numbers = f"{1e3 * trunk / batch:.3f} | {1e3 * score / batch:.3f}"
        print(f"| {batch} | {numbers} | {trunk / score:.1%} | {share:.1%} |")


def multiplications(trunk: bytes) -> int:
    """Multiply-adds of the trunk's convolutions and products for one face."""
    model = shape_inference.infer_shapes(load_model_from_string(trunk), data_prop=True)
    shapes = {one.name: numpy_helper.to_array(one).shape for one in model.graph.initializer}
    for value in [*model.graph.value_info, *model.graph.output]:
        sizes = value.type.tensor_type.shape.dim
        shapes.setdefault(value.name, [size.dim_value for size in sizes])
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            places = np.prod(shapes[node.output[0]][2:])
            total += int(places * np.prod(shapes[node.input[1]]))
        elif node.op_type in {"Gemm", "MatMul"} and node.input[1] in shapes:
            total += int(np.prod(shapes[node.input[1]]))
    return total


def peak_rate(device: str, precision: str, side: int) -> float:
    """Multiply-adds per second of one large matrix product."""
    matrix = torch.randn(side, side, device=device).to(DTYPES[precision])
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")

    def product() -> None:
        matrix @ matrix
        if device.startswith("cuda"):
            torch.cuda.synchronize()

    (seconds,) = interleaved([product], 10)
    return side**3 / seconds


def interleaved(jobs: list[Callable[[], object]], rounds: int) -> list[float]:
    """Median seconds of each job, run in turn; the first rounds are not counted."""
    times: list[list[float]] = [[] for _ in jobs]
    for turn in range(WARM_UP + rounds):
        for job, taken in zip(jobs, times, strict=True):
            start = perf_counter()
            job()
            if turn >= WARM_UP:
                taken.append(perf_counter() - start)
    return [statistics.median(taken) for taken in times]


if __name__ == "__main__":
    main()
