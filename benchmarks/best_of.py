"""Does it help to enrol the best of N photos? FNMR with the best one, and with one taken blindly.

Of every person with more than N photos, N are drawn as frames of a capture; the one of the highest
quality, or the first, is enrolled, and all photos that were not drawn are compared with it. Every
person weighs the same; the bands are those of 95 % of bootstrap samples of people. The bundled
table of `mini` needs no command, others come from `serfiq evaluate FOLDER --save TABLE.npz`:

    python benchmarks/best_of.py [TABLE.npz ...]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.evaluation import Table, load
from serfiq_widgets.evaluation.curves import threshold_at
from serfiq_widgets.resources import bundled

FMR, DRAWS, SAMPLES = 1e-3, 20, 2000


def fnmr_by_person(table: Table, quality: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    """Return FNMR of each person (P, 2): enrolled blindly, and the best of so many frames."""
    made = table.comparisons
    threshold = threshold_at(made, FMR)
    rng = np.random.default_rng(0)
    rates = []
    for person in np.unique(made.people):
        own = np.flatnonzero(made.people == person)
        if len(own) <= frames:
            continue
        matches = np.zeros((len(own), len(own)))
        pairs = made.people[made.first] == person
        first, second = made.first[pairs] - own[0], made.second[pairs] - own[0]
        matches[first, second] = matches[second, first] = made.genuine[pairs] >= threshold
        misses = []
        for _ in range(DRAWS):
            order = rng.permutation(len(own))
            drawn, rest = order[:frames], order[frames:]
            best = drawn[quality[own[drawn]].argmax()]
            misses.append([1 - matches[one, rest].mean() for one in (drawn[0], best)])
        rates.append(np.mean(misses, axis=0))
    return np.array(rates)


def main() -> None:
    """Print one row a network and number of frames."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tables", nargs="*", type=Path)
    parser.add_argument("--frames", nargs="+", type=int, default=[2, 4, 8])
    given = parser.parse_args()
    print("| network | N | people | FNMR, blindly | FNMR, best of N | ratio | 95 % band |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for path in [bundled(), *given.tables]:
        table = load(path)
        for frames in given.frames:
            rates = fnmr_by_person(table, table.qualities["controlled"], frames)
            sets = np.random.default_rng(1).integers(len(rates), size=(SAMPLES, len(rates)))
            blind, best = rates.mean(axis=0)
            ratios = np.divide(*rates[sets].mean(axis=1).T[::-1])
            low, high = np.percentile(ratios, [2.5, 97.5])
            print(
                f"| {table.about['model']} | {frames} | {len(rates)} | {blind:.4f} | {best:.4f} "
                f"| {best / blind:.2f} | {low:.2f} to {high:.2f} |"
            )


if __name__ == "__main__":
    main()
