"""Reading without a network: images a second in threads and in processes.

Usage: reading.py ALIGNED PHOTOS [--count 3000] [--rounds 5]. ALIGNED is a folder of aligned faces,
PHOTOS one of whole photos; both are repeated to COUNT images. Prints, for each folder, the medians
of interleaved rounds of `read_faces`, which reads, decodes, detects and aligns: with the threads
that small jobs get, and with processes, their start included.
"""

from __future__ import annotations

import argparse
import statistics
from itertools import cycle, islice
from pathlib import Path
from time import perf_counter

from serfiq_widgets.faces import read_faces as reading
from serfiq_widgets.images.files import find_images


def seconds(images: list[Path], smallest: int, *, aligned: bool) -> float:
    """Return how long it takes to read images, in processes if there are more than ``smallest``."""
    reading.MIN_FOR_PROCESSES = smallest
    start = perf_counter()
    for chunk in reading.read_faces(reading.chunked(images), aligned=aligned):
        assert len(chunk)  # noqa: S101  # the faces are not kept
    return perf_counter() - start


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description="Reading in threads and in processes.")
    parser.add_argument("aligned", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    wanted = parser.parse_args()
    for folder, aligned in ((wanted.aligned, True), (wanted.photos, False)):
        images = list(islice(cycle(find_images([folder])), wanted.count))
        rates: dict[str, list[float]] = {"threads": [], "processes": []}
        for _ in range(wanted.rounds):
            for kind, smallest in (("threads", len(images)), ("processes", 0)):
                took = seconds(images, smallest, aligned=aligned)
                rates[kind].append(len(images) / took)
        kind = "aligned faces" if aligned else "photos"
        print(
            f"{len(images)} {kind}: "
            + ", ".join(f"{name} {statistics.median(each):.0f}/s" for name, each in rates.items())
        )


if __name__ == "__main__":
    main()
