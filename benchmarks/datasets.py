"""Whole datasets against the bare network: wall time, photos a second, growth in time and memory.

Usage: datasets.py ALIGNED PHOTOS [--model MODEL] [--rounds 3] [--sizes 1000 3000 10000]. ALIGNED
is a folder of aligned faces, PHOTOS one of whole photos. Prints, with the medians of interleaved
rounds:

1. the time of `serfiq score ALIGNED --aligned --out ...` with MODEL and 100 passes, the command's
   start included, over that of a bare loop of the trunk over the same faces, decoded before, in
   the batch that suits it best;
2. photos per second of `serfiq score PHOTOS --out ...` with the bundled network, without the start;
3. for aligned faces repeated to each of the sizes, with the bundled network: seconds, processor
   seconds (which other programs on the machine disturb less) and how far these are from a straight
   line, and the largest resident memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter

import numpy as np

from serfiq_widgets import Scorer, find_face
from serfiq_widgets.images.files import find_images

BATCHES = (8, 16, 32, 64)
TRIAL = 256  # faces by which the best batch is found


def run_command(*arguments: str | Path) -> tuple[float, float, float]:
    """Run `serfiq score` into a file; return seconds, processor seconds and peak memory in MB."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "scores.parquet"
        command = [sys.executable, "-m", "serfiq_widgets", "score", *map(str, arguments)]
        start = perf_counter()
        process = subprocess.Popen(  # noqa: S603  # our own command
            [*command, "--engine", "onnxruntime", "--out", str(out)], stderr=subprocess.DEVNULL
        )
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
        processor = usage.ru_utime + usage.ru_stime
        return perf_counter() - start, processor, usage.ru_maxrss / 1024


def bare_loop(scorer: Scorer, faces: np.ndarray, batch: int) -> float:
    """Seconds of the trunk alone."""
    start = perf_counter()
    for i in range(0, len(faces), batch):
        scorer.engine.trunk(faces[i : i + batch])
    return perf_counter() - start


def against_the_trunk(folder: Path, model: str, rounds: int) -> None:
    """Print figure 1."""
    images = find_images([folder])
    faces = np.stack([find_face(path, aligned=True).pixels for path in images])
    scorer = Scorer(model, engine="onnxruntime")
    trials = {
        batch: [bare_loop(scorer, faces[:TRIAL], batch) for _ in range(4)] for batch in BATCHES
    }
    batch = min(trials, key=lambda size: min(trials[size][1:]))
    bare, whole = [], []
    for _ in range(rounds):
        bare.append(bare_loop(scorer, faces, batch))
        whole.append(run_command(folder, "--aligned", "--model", model)[0])
        print(f"  bare {bare[-1]:.1f} s, command {whole[-1]:.1f} s", flush=True)
    ratio = statistics.median(w / b for w, b in zip(whole, bare, strict=True))
    print(
        f"{len(images)} aligned faces, {model}, T=100: {statistics.median(whole):.1f} s; bare "
        f"trunk in batches of {batch}: {statistics.median(bare):.1f} s; ratio {ratio:.3f}"
    )


def repeated(images: list[Path], count: int, folder: Path) -> Path:
    """Make a folder with links to the images, again and again."""
    inside = folder / str(count)
    for i, path in enumerate(islice(cycle(images), count)):
        part = inside / f"{i // 1000:04}"
        part.mkdir(parents=True, exist_ok=True)
        (part / f"{i:07}.jpg").symlink_to(path.resolve())
    return inside


def photos_per_second(folder: Path, rounds: int) -> None:
    """Print figure 2: what three times the photos take more than once."""
    images = find_images([folder])
    with tempfile.TemporaryDirectory() as temporary:
        once, thrice = (repeated(images, len(images) * n, Path(temporary)) for n in (1, 3))
        rates = []
        for _ in range(rounds):
            short, long = run_command(once)[0], run_command(thrice)[0]
            rates.append(2 * len(images) / (long - short))
            print(f"  {short:.1f} s, {long:.1f} s", flush=True)
    print(f"{len(images)} photos, mini, T=100: {statistics.median(rates):.1f} photos/s")


def growth(folder: Path, sizes: list[int]) -> None:
    """Print figure 3."""
    images = find_images([folder])[:1000]
    with tempfile.TemporaryDirectory() as temporary:
        runs = [run_command(repeated(images, size, Path(temporary)), "--aligned") for size in sizes]
    processor = np.array([run[1] for run in runs])
    slope, start = np.polyfit(sizes, processor, 1, w=1 / processor)
    for size, (seconds, spent, peak) in zip(sizes, runs, strict=True):
        off = 100 * (spent / (start + slope * size) - 1)
        print(
            f"{size} faces: {seconds:.1f} s, {spent:.1f} processor seconds ({off:+.1f} % off the "
            f"line), {peak:.0f} MB"
        )


def main() -> None:
    """Print the three figures."""
    parser = argparse.ArgumentParser(description="Whole datasets against the bare network.")
    parser.add_argument("aligned", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10000])
    wanted = parser.parse_args()
    growth(wanted.aligned, wanted.sizes)  # first: a child's peak counts from its parent's size
    photos_per_second(wanted.photos, wanted.rounds)
    against_the_trunk(wanted.aligned, wanted.model, wanted.rounds)


if __name__ == "__main__":
    main()
