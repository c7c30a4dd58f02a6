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
from serfiq_widgets.evaluation import accuracy, read_pairs

BATCH = 64


def embeddings(model: str, folder: Path, names: list[str]) -> dict[str, np.ndarray]:
    """Embed images in batches."""
    scorer = Scorer(model)
    rows = []
    for start in range(0, len(names), BATCH):
        faces = [find_face(folder / name, aligned=True) for name in names[start : start + BATCH]]
        rows.append(scorer.embed(faces))
    return dict(zip(names, np.concatenate(rows), strict=True))


def main() -> None:
    """Print one line per model."""
    pairs = read_pairs(Path(sys.argv[1]))
    folder = Path(sys.argv[2])
    genuine = np.array([same for *_, same in pairs])
    names = sorted({name for first, second, _ in pairs for name in (first, second)})
    for model in sys.argv[3:] or ["mini"]:
        found = embeddings(model, folder, names)
        scores = np.array([found[first] @ found[second] for first, second, _ in pairs])
        found_right = accuracy(scores, genuine)
        best, folds = found_right.best, found_right.mean
        print(f"{model}: best threshold {best:.4f}, ten folds {folds:.4f}, {len(pairs)} pairs")


if __name__ == "__main__":
    main()
