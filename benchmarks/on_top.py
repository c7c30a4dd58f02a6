"""Does an on-top head rank faces? Trained on some people's embeddings, measured on others'.

    python benchmarks/on_top.py LFW_FOLDER [MODEL] [--epochs N]

The folder holds aligned faces, one sub-folder per person. Two thirds of the people, by the hash of
their names, train the head on MODEL's embeddings; on the rest its scores are held against MODEL's
own: Spearman's correlation, and error-versus-discard at FMR 1e-3 with the threshold of all images
and the quality of a pair the lower of the two.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from serfiq_widgets import Scorer, find_face, robustness
from serfiq_widgets.checkpoints import on_top
from serfiq_widgets.engines.torch_training import train
from serfiq_widgets.evaluation import compare_all, discard_curve
from serfiq_widgets.images.files import find_images

DISCARD = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
FMR = 1e-3
MAX_EACH = 30  # images of one person: a few have hundreds, and would speak for all
BATCH = 64


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", nargs="?", default="mini")
    parser.add_argument("--epochs", type=int, default=on_top.EPOCHS)
    options = parser.parse_args()
    paths = find_images([options.folder])
    people = np.array([path.parent.name for path in paths])
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in set(people)}
    held_out = set(sorted(digests, key=digests.__getitem__)[: len(digests) // 3])
    test = np.array([name in held_out for name in people])
    chosen = np.flatnonzero(test & few_each(people))
    scorer = Scorer(options.model, engine="onnxruntime")
    features = np.concatenate(list(trunk(scorer, paths)))
    embeddings = scorer.network.head(features)
    start = time.perf_counter()
    weights, shift = train(
        embeddings[~test],
        people[~test].tolist(),
        hidden=on_top.HIDDEN,
        rate=on_top.RATE,
        epochs=options.epochs,
    )
    seconds = time.perf_counter() - start
    top = on_top.from_matrices(weights, shift=shift)
    trainers = len(digests) - len(held_out)
    print(f"trained on {(~test).sum()} images of {trainers} people, {seconds:.0f} s")
    print(f"measured on {len(chosen)} images of {len(held_out)} people")
    lengths = np.linalg.norm(embeddings[chosen], axis=1)
    own, limit = own_scores(scorer, features[chosen])
    scores = {
        "on top": on_top.score_embeddings(top, embeddings[chosen])["raw"],
        f"{scorer.card.name}, T=100": own,
        f"{scorer.card.name}, closed form": limit,
        "length of the embedding": lengths,
        "random": np.random.default_rng(0).random(len(chosen)),
    }
    compared = compare_all(embeddings[chosen], people[chosen])
    print(
        f"{'FNMR at FMR 1e-3, discarded':<28}", *(f"{share:7.0%}" for share in DISCARD), " Spearman"
    )
    for name, quality in scores.items():
        curve = discard_curve(compared, quality, FMR).at(DISCARD)
        rank = spearmanr(quality, own)[0]
        print(f"{name:<28}", *(f"{fnmr:7.4f}" for fnmr in curve), f"{rank:9.3f}")


def trunk(scorer: Scorer, paths: list[Path]) -> Iterator[NDArray[np.float32]]:
    """Features of all images, batch by batch."""
    for start in range(0, len(paths), BATCH):
        yield scorer.features(
            [find_face(path, aligned=True) for path in paths[start : start + BATCH]]
        )


def own_scores(
    scorer: Scorer, features: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Raw scores of the network itself: T=100, and the closed form."""
    head, rate = scorer.network.head, scorer.rate
    means = []
    for row in features:
        passes = robustness.normalise(scorer.engine.passes(row, scorer.masks(100)))
        distances = robustness.pairwise_distances(passes)
        means.append(distances.sum() / (100 * 99))
    limits = robustness.limit_distances(features, head.weight, head.bias, rate)
    return robustness.raw_score(means), robustness.raw_score(limits)


def few_each(people: NDArray[np.str_]) -> NDArray[np.bool_]:
    """Mark the first images of everybody."""
    seen: dict[str, int] = {}
    marks = []
    for name in people:
        seen[name] = seen.get(name, 0) + 1
        marks.append(seen[name] <= MAX_EACH)
    return np.array(marks)


if __name__ == "__main__":
    main()
