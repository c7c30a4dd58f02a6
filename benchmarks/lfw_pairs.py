"""Verification accuracy on LFW pairs through our own loader.

Usage: lfw_pairs.py PAIRS.txt FOLDER [MODEL ...]. The folder holds one folder of aligned faces per
person; a line of the pairs file is `name i j` (genuine) or `name i other j` (impostor). Prints, for
each model, the accuracy at the best threshold and the mean over ten folds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from serfiq_widgets import Scorer, find_face

FOLDS, BATCH = 10, 64


def read_pairs(file: Path) -> list[tuple[str, str, bool]]:
    """Return the two relative paths of each pair, and whether it is genuine."""
    pairs = []
    for line in file.read_text(encoding="utf-8").splitlines():
        words = line.split("\t")
        if len(words) == 3:  # noqa: PLR2004  # a person and two numbers
            name, first, second = words
            pairs.append((image(name, first), image(name, second), True))
        elif len(words) == 4:  # noqa: PLR2004  # two persons and their numbers
            pairs.append((image(words[0], words[1]), image(words[2], words[3]), False))
    return pairs


def image(name: str, number: str) -> str:
    """Return the path of a person's n-th image."""
    return f"{name}/{name}_{int(number):04d}.jpg"


def embeddings(model: str, folder: Path, names: list[str]) -> dict[str, np.ndarray]:
    """Embed images in batches."""
    scorer = Scorer(model)
    rows = []
    for start in range(0, len(names), BATCH):
        faces = [find_face(folder / name, aligned=True) for name in names[start : start + BATCH]]
        rows.append(scorer.embed(faces))
    return dict(zip(names, np.concatenate(rows), strict=True))


def accuracy(scores: np.ndarray, genuine: np.ndarray) -> tuple[float, float]:
    """Return the best-threshold accuracy and the mean of ten folds."""

    def best(part: np.ndarray) -> float:
        thresholds = np.unique(scores[part])
        decided = scores[part][None, :] >= thresholds[:, None]
        return float(thresholds[(decided == genuine[part]).mean(axis=1).argmax()])

    every = np.arange(len(scores))
    overall = ((scores >= best(every)) == genuine).mean()
    folds = []
    for fold in range(FOLDS):
        test = every % FOLDS == fold
        threshold = best(every[~test])
        folds.append(((scores[test] >= threshold) == genuine[test]).mean())
    return float(overall), float(np.mean(folds))


def main() -> None:
    """Print one line per model."""
    pairs = read_pairs(Path(sys.argv[1]))
    folder = Path(sys.argv[2])
    genuine = np.array([same for *_, same in pairs])
    names = sorted({name for first, second, _ in pairs for name in (first, second)})
    for model in sys.argv[3:] or ["mini"]:
        found = embeddings(model, folder, names)
        scores = np.array([found[first] @ found[second] for first, second, _ in pairs])
        best, folds = accuracy(scores, genuine)
        print(f"{model}: best threshold {best:.4f}, ten folds {folds:.4f}, {len(pairs)} pairs")


if __name__ == "__main__":
    main()
