"""Controlled scores against plain ones: standard deviation, bias, coverage, closed forms.

    python benchmarks/controlled.py FACES [MODEL] [--rate P] [--faces 60] [--seeds 100] [--passes N]

FACES is a folder of aligned faces; MODEL is a name or the file of a network with an affine head
(SFace as its makers quantised it in blocks must be stored as float32 first). Faces are taken evenly
from the folder, as they are, under every degradation at its end, in shuffled tiles, and as noise.
Every face has seeds of its own, and a seed's first T passes are those of the smaller T. Prints, as
Markdown, for every kind and number of passes: the standard deviation of the raw score, plain and
controlled, and how many times smaller the variance is; the bias, against the mean of the plain
passes of all seeds and against that of the controlled ones; how often the 95 % interval holds that
mean; how far closed forms are from it, and how often `closed_form_is_safe` is right about them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets import Scorer, find_face, robustness
from serfiq_widgets import control_variates as cv
from serfiq_widgets.faces.degradation import COVERS, STRENGTHS, Ruin
from serfiq_widgets.images.files import find_images

PASSES = (3, 5, 8, 10, 16, 20, 32, 50, 100, 200)
FEW = 5  # passes by which a closed form is judged
SIDE = 4  # tiles in a row
BATCH = 16
# What is wanted: standard deviation by passes and bias, in percent of raw; coverage; variances.
STEADY = {5: 0.2, 10: 0.12, 32: 0.06, 100: 0.035}
BIAS = 0.03
COVERAGE = (0.92, 0.98)
RATIO = (100, 30.0)

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Measured:
    """Raw scores of one kind's faces, (N, seeds, T) each, and of closed forms (N,)."""

    plain: Floats
    controlled: Floats
    low: Floats
    high: Floats
    safe: dict[str, NDArray[np.bool_]]
    closed: dict[str, Floats]

    @property
    def truth(self) -> Floats:
        """Mean controlled score (N, 1, 1) of the most passes of all seeds."""
        truth: Floats = self.controlled[:, :, -1:].mean(axis=1, keepdims=True)
        return truth

    def percent(self, scores: Floats) -> Floats:
        """Scores less the truth, in percent of it."""
        return 100 * (scores / self.truth - 1)


def kinds_of(faces: NDArray[np.uint8]) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Yield the faces (N, 112, 112, 3) as they are and ruined, with a word for how."""
    rng = np.random.default_rng(0)
    yield "clean", faces
    ruins = {name: Ruin().replace(**{name: strength.worst}) for name, strength in STRENGTHS.items()}
    ruins |= {name: Ruin(cover=name) for name in COVERS[1:]}
    for name, ruin in ruins.items():
        yield name, np.stack([ruin.apply(face) for face in faces])
    yield "shuffled tiles", np.stack([shuffled(face, rng) for face in faces])
    yield "noise image", rng.integers(0, 256, faces.shape, dtype=np.uint8)


def shuffled(face: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a face whose square tiles changed places."""
    size = len(face) // SIDE
    tiles = face.reshape(SIDE, size, SIDE, size, 3).swapaxes(1, 2).reshape(-1, size, size, 3)
    moved = tiles[rng.permutation(len(tiles))].reshape(SIDE, SIDE, size, size, 3)
    picture: NDArray[np.uint8] = moved.swapaxes(1, 2).reshape(face.shape)
    return picture


def measure(
    scorer: Scorer, features: NDArray[np.float32], seeds: int, passes: tuple[int, ...]
) -> Measured:
    """Score features (N, F) under the masks of many seeds."""
    head, rate = scorer.network.head, scorer.rate
    terms = robustness.limit_terms(head.weight)
    known = cv.moments(features, head.weight, head.bias, rate, terms=terms)
    closed = {
        "limit": robustness.limit_distances(features, head.weight, head.bias, rate, terms=terms),
        "moments": known.distances,
    }
    shape = len(features), seeds, len(passes)
    plain, controlled, low, high = (np.empty(shape) for _ in range(4))
    safe = {name: np.empty(shape[:2], bool) for name in closed}
    index = np.array(passes) - 1
    for i, row in enumerate(features):
        for seed in range(seeds):
            # masks of its own for each face: of shared ones, all faces would have the same luck
            own_seed = i * seeds + seed
            masks = robustness.draw_masks(passes[-1], head.n_features, rate, own_seed)
            embeddings = head(row, masks, 1.0 - rate)
            distances = robustness.pairwise_distances(robustness.normalise(embeddings))
            plain[i, seed] = robustness.raw_score(robustness.running_mean_distance(distances))[
                index
            ]
            own = known.of(slice(i, i + 1))
            found = cv.running_estimate(cv.controlled_distances(embeddings, own), own)
            controlled[i, seed] = found.raw[index]
            low[i, seed], high[i, seed] = found.interval()[index].T
            few = found.interval()[FEW - 1 : FEW]
            for name, limits in closed.items():
                raw = robustness.raw_score(limits[i : i + 1])
                safe[name][i, seed] = cv.closed_form_is_safe(raw, few)[0]
    forms = {name: robustness.raw_score(form) for name, form in closed.items()}
    return Measured(plain, controlled, low, high, safe, forms)


def root_mean(deviations: Floats) -> Floats:
    """Quadratic mean over the faces."""
    mean: Floats = np.sqrt((deviations**2).mean(axis=0))
    return mean


def table(title: str, passes: tuple[int, ...], rows: dict[str, Floats], digits: int) -> None:
    """Print a table of a row per kind and a column per number of passes."""
    print(f"\n### {title}\n")
    print("| | " + " | ".join(f"T={t}" for t in passes) + " |")
    print("|---" * (len(passes) + 1) + "|")
    for name, values in rows.items():
        print(f"| {name} | " + " | ".join(f"{value:.{digits}f}" for value in values) + " |")


def report(kinds: dict[str, Measured], passes: tuple[int, ...]) -> None:
    """Print all tables, and the bars beside what was measured."""
    spread = {
        (name, which): root_mean(one.percent(getattr(one, which)).std(axis=1, ddof=1))
        for name, one in kinds.items()
        for which in ("plain", "controlled")
    }
    plain, steady = (
        {name: spread[name, which] for name in kinds} for which in ("plain", "controlled")
    )
    ratio = {name: (plain[name] / steady[name]) ** 2 for name in kinds}
    bias = {name: one.percent(one.controlled).mean(axis=(0, 1)) for name, one in kinds.items()}
    covered = {
        name: ((one.low <= one.truth) & (one.truth <= one.high)).mean(axis=(0, 1))
        for name, one in kinds.items()
    }
    table("Standard deviation of the plain score, % of raw", passes, plain, 2)
    table("Standard deviation of the controlled score, % of raw", passes, steady, 3)
    table("Variance, plain ÷ controlled", passes, ratio, 0)
    table("Bias of the controlled score, % of raw", passes, bias, 4)
    table("Coverage of the 95 % interval", passes, covered, 3)

    print("\n### Against the plain passes of all seeds; closed forms\n")
    print(
        "error: % of raw, mean (largest). safe: share called so; wrongly: of all, off by > 0.3 %."
    )
    print("\n| | controlled less plain ± its standard error | limit | moments | ", end="")
    print("limit safe, wrongly | moments safe, wrongly |")
    print("|---" * 6 + "|")
    for name, one in kinds.items():
        gaps = one.percent(one.controlled)[:, :, -1] - one.percent(one.plain)[:, :, -1]
        per_seed = gaps.mean(axis=0)  # of independent faces
        cells = [f"{per_seed.mean():+.4f} ± {per_seed.std(ddof=1) / len(per_seed) ** 0.5:.4f}"]
        errors = {
            key: one.percent(form[:, None, None])[:, 0, 0] for key, form in one.closed.items()
        }
        cells += [f"{e.mean():+.3f} ({np.abs(e).max():.3f})" for e in errors.values()]
        for key, error in errors.items():
            wrong = np.abs(error) > 100 * cv.TOLERANCE
            cells.append(f"{one.safe[key].mean():.3f}, {(one.safe[key].T & wrong).mean():.4f}")
        print(f"| {name} | " + " | ".join(cells) + " |")

    print("\n### The bars\n\n| | wanted | measured, worst kind |\n|---|---|---|")

    def at(rows: dict[str, Floats], t: int) -> dict[str, float]:
        return {name: float(values[passes.index(t)]) for name, values in rows.items()}

    for t, most in STEADY.items():
        values = at(steady, t)
        worst = max(values, key=values.__getitem__)
        print(f"| standard deviation at T={t}, % | ≤ {most} | {values[worst]:.3f} ({worst}) |")
    worst = max(bias, key=lambda name: float(np.abs(bias[name]).max()))
    place = int(np.abs(bias[worst]).argmax())
    seeds = kinds[worst].percent(kinds[worst].controlled)[:, :, place].mean(axis=0)
    said = f"{bias[worst][place]:.4f} ± {seeds.std(ddof=1) / len(seeds) ** 0.5:.4f}"
    print(f"| bias at T ≥ 3, % | ≤ {BIAS} | {said} ({worst}, T={passes[place]}) |")
    values = at(ratio, RATIO[0])
    worst = min(values, key=values.__getitem__)
    print(f"| variance ratio at T={RATIO[0]} | ≥ {RATIO[1]:.0f} | {values[worst]:.0f} ({worst}) |")
    shares = np.array([values[passes.index(FEW) :] for values in covered.values()])
    print(f"| coverage at T ≥ {FEW} | {COVERAGE} | {shares.min():.3f} to {shares.max():.3f} |")


def cost(scorer: Scorer, features: NDArray[np.float32]) -> None:
    """Print how long the mathematics of 200 passes takes."""
    head, rate = scorer.network.head, scorer.rate
    terms = robustness.limit_terms(head.weight)
    embeddings = head(
        features, robustness.draw_masks(PASSES[-1], head.n_features, rate), 1.0 - rate
    )
    known = cv.moments(features[None], head.weight, head.bias, rate, terms=terms)
    jobs: dict[str, Callable[[], object]] = {
        "moments": lambda: cv.moments(features[None], head.weight, head.bias, rate, terms=terms),
        "every t of 200 passes, with intervals": lambda: cv.running_estimate(
            cv.controlled_distances(embeddings, known), known
        ).interval(),
    }
    for name, job in jobs.items():
        seconds = []
        for _ in range(50):
            start = perf_counter()
            job()
            seconds.append(perf_counter() - start)
        print(f"{name}: {1e3 * np.median(seconds):.2f} ms (least {1e3 * min(seconds):.2f})")


def main() -> None:
    """Measure one network at one dropout rate."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", nargs="?", default="mini")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--faces", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--passes", type=int, default=PASSES[-1], help="the most passes")
    options = parser.parse_args()
    scorer = Scorer(options.model, engine="onnxruntime", rate=options.rate)
    passes = tuple(t for t in PASSES if t <= options.passes)
    paths = find_images([options.folder])
    chosen = [paths[i] for i in np.linspace(0, len(paths) - 1, options.faces).astype(int)]
    faces = np.stack([find_face(path, aligned=True).pixels for path in chosen])
    print(
        f"## {scorer.card.name}, p = {scorer.rate:g}: {len(faces)} faces a kind, "
        f"{options.seeds} seeds, {passes[-1]} passes\n"
    )
    kinds = {}
    for name, ruined in kinds_of(faces):
        batches = range(0, len(ruined), BATCH)
        features = np.concatenate([scorer.engine.trunk(ruined[i : i + BATCH]) for i in batches])
        features = features[~robustness.empty_features(features)]
        if name == "clean":
            cost(scorer, features[0])
        kinds[name] = measure(scorer, features, options.seeds, passes)
    report(kinds, passes)


if __name__ == "__main__":
    main()
