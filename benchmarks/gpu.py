"""How near to its peak a GPU runs: the tables of docs/performance.md.

For every batch: faces per second of the trunk, uncompiled and compiled, and of a score with its
intervals and closed form, from pixels in the host's memory to numbers there; and the compiled
trunk's share of the GPU's peak, which is measured as the rate of one large matrix product in the
same precision. Then the time of one face, the rate of aligned JPEG files with the share of that
time in which the GPU had work, and, with --faces, how far scores are from those of ONNX Runtime in
fp32.

    python benchmarks/gpu.py mine-symbol.json --precision bf16 --batch 16 64 256 1024
    python benchmarks/gpu.py mini --files 20000 --faces ALIGNED
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from onnx import load_model_from_string, numpy_helper, shape_inference
from PIL import Image
from scipy.stats import spearmanr

from serfiq_widgets import Scorer, find_face
from serfiq_widgets.engines.torch_device import DTYPES, flags
from serfiq_widgets.engines.torch_trunk import COMPILE_AFTER
from serfiq_widgets.faces.alignment import AlignedFace
from serfiq_widgets.faces.read_faces import chunked
from serfiq_widgets.resources import sample_images
from serfiq_widgets.scoring.score_images import score_chunks, score_images

SIDE = 8192
WARM_UP = 3
COMPARED = 1000  # faces


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("model")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", default="bf16", choices=DTYPES)
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 64, 256, 1024])
    parser.add_argument("--passes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--side", type=int, default=SIDE, help="of the product's matrices")
    parser.add_argument("--files", type=int, default=0, help="JPEG files to write and score")
    parser.add_argument("--faces", type=Path, help="a folder of aligned faces to compare")
    wanted = parser.parse_args()

    scorer = Scorer(wanted.model, "torch", wanted.device, precision=wanted.precision)
    name = torch.cuda.get_device_name() if wanted.device.startswith("cuda") else wanted.device
    print(f"{scorer.card.name} on {name}, {wanted.precision}, torch {torch.__version__}")
    batches(scorer, wanted)
    face = random_faces(1)[0]
    for passes in (8, wanted.passes):
        (one,) = interleaved([lambda passes=passes: scorer.score(face, passes)], wanted.rounds)
        print(f"one face, {passes} passes: {1e3 * one:.2f} ms")
    if wanted.files:
        files(scorer, wanted.files, wanted.passes)
    if wanted.faces:
        compare(scorer, sorted(wanted.faces.rglob("*.jpg"))[:COMPARED], wanted.passes)


def batches(scorer: Scorer, wanted: argparse.Namespace) -> None:
    """Print the rates of batches."""
    products = multiplications(scorer.network.trunk())
    peak = peak_rate(wanted.device, wanted.precision, wanted.side)
    print(f"matrix peak {2 * peak / 1e12:.1f} TFLOP/s; trunk {2 * products / 1e9:.2f} GFLOP a face")
    print("| batch | trunk/s | compiled trunk/s | score/s | score / trunk | trunk / peak |")
    print("|--:|--:|--:|--:|--:|--:|")
    plain = Scorer(wanted.model, "torch", wanted.device, precision=wanted.precision)
    plain.engine._trunk.compiles = False  # noqa: SLF001  # there is no setting for one of two
    for batch in wanted.batch:
        faces = random_faces(batch)
        compile_trunk(scorer, faces)
        before, trunk, score = interleaved(
            [
                lambda faces=faces: run_trunk(plain, faces),
                lambda faces=faces: run_trunk(scorer, faces),
                lambda faces=faces: scorer.score_batch(faces, wanted.passes),
            ],
            wanted.rounds,
        )
        rates = " | ".join(f"{batch / seconds:,.0f}" for seconds in (before, trunk, score))
        share = products * batch / trunk / peak
        print(f"| {batch} | {rates} | {trunk / score:.1%} | {share:.1%} |", flush=True)


def random_faces(count: int) -> list[AlignedFace]:
    """Faces of random pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, 112, 112, 3), dtype=np.uint8)
    return [AlignedFace(one, "random") for one in pixels]


def compile_trunk(scorer: Scorer, faces: list[AlignedFace]) -> None:
    """Run a batch until its trunk is compiled, on CUDA also captured."""
    for _ in range(COMPILE_AFTER):
        run_trunk(scorer, faces)
    scorer.engine._trunk.wait()  # noqa: SLF001  # what users need not wait for


def run_trunk(scorer: Scorer, faces: list[AlignedFace]) -> None:
    """Run the trunk alone; features stay on the device."""
    engine = scorer.engine
    with engine._on.running():  # noqa: SLF001  # `trunk` would copy them to the host
        engine._features([face.pixels for face in faces])  # noqa: SLF001
        synchronise(engine.device)


def files(scorer: Scorer, count: int, passes: int) -> None:
    """Score JPEG files of aligned faces, as ``serfiq score --aligned`` does."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{i}.jpg" for i in range(count)]
        faces = [find_face(path) for path in sample_images()]
        for i, path in enumerate(paths):
            Image.fromarray(faces[i % len(faces)].pixels).save(path, quality=95)
        size = scorer.engine.batch_size
        (batch,) = interleaved([lambda: scorer.score_batch((faces * size)[:size], passes)], WARM_UP)
        start = perf_counter()
        done, first = 0, None
        for part in score_chunks(scorer, chunked(paths), passes, aligned=True):
            first = first or (perf_counter(), len(part.images))
            done += len(part.images)
        end = perf_counter()
    begun, before = first or (start, 0)
    rate = (done - before) / (end - begun) if done > before else done / (end - start)
    busy = min(rate * batch / size, 1.0)
    print(f"{count} JPEG files: {rate:,.0f}/s after the first batch, GPU busy {busy:.0%} of it")


def compare(scorer: Scorer, paths: list[Path], passes: int) -> None:
    """Print how far raw scores are from those of ONNX Runtime on the CPU."""
    model = scorer.options.model
    found, exact = (
        score_images(one, paths, passes, aligned=True).scores
        for one in (scorer, Scorer(model, "onnxruntime", "cpu"))
    )
    for name in ("raw", "controlled", "closed_form"):
        one, other = getattr(found, name), getattr(exact, name)
        print(
            f"{len(one)} faces, {name}: at most {np.abs(one - other).max():.1e} from ONNX Runtime, "
            f"Spearman {spearmanr(one, other)[0]:.4f}"
        )


def synchronise(device: str) -> None:
    """Wait for the GPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


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
    matrix = torch.randn(side, side, device=device).to(getattr(torch, DTYPES[precision]))

    def product() -> None:
        matrix @ matrix
        synchronise(device)

    with flags(precision):
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
