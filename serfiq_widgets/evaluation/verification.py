"""Verification accuracy by the protocol of Labeled Faces in the Wild: ten folds of listed pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serfiq_widgets.errors import BadTable, one_line

FOLDS = 10
GENUINE, IMPOSTOR = 3, 4  # words of a line

Pair = tuple[str, str, bool]


@dataclass(frozen=True)
class Accuracy:
    """The share of correctly decided pairs.

    Attributes
    ----------
    mean, deviation : float
        Mean over ten folds, each decided at the best threshold of the other nine; and the standard
        error of this mean.
    best : float
        Accuracy at the best threshold of all pairs, which is too optimistic.
    """

    mean: float
    deviation: float
    best: float


def read_pairs(file: Path) -> list[Pair]:
    """Read a list of pairs in the format of LFW's ``pairs.txt``.

    A line is ``name i j`` (genuine) or ``name i other j`` (impostor), separated by tabs; other
    lines, such as the counts at the top, are skipped.

    Returns
    -------
    list of (str, str, bool)
        The relative paths ``name/name_0001.jpg`` of both images, and whether they are genuine.

    Raises
    ------
    BadTable
        The file cannot be read or has no pair.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        words = [line.strip().split("\t") for line in lines]
        pairs = [
            (
                _image(w[0], w[1]),
                _image(w[-2] if len(w) == IMPOSTOR else w[0], w[-1]),
                len(w) == GENUINE,
            )
            for w in words
            if len(w) in (GENUINE, IMPOSTOR)
        ]
    except (OSError, ValueError) as error:
        raise BadTable(f"'{file.name}' is not a list of pairs: {one_line(error)}") from error
    if not pairs:
        raise BadTable(f"'{file.name}' is not a list of pairs: its lines are not 'name 1 2'.")
    return pairs


def folds_of(genuine: ArrayLike) -> NDArray[np.int64]:
    """Return the fold number of each listed pair (P,).

    LFW lists a fold's genuine pairs and then its impostors, so a fold begins where a genuine pair
    follows an impostor pair. In a list with another order, pair i is in fold i modulo 10.
    """
    same = np.asarray(genuine, bool)
    fold: NDArray[np.int64] = np.cumsum(np.append(False, same[1:] & ~same[:-1])).astype(np.int64)
    if same.size and fold[-1] == FOLDS - 1 and same[0]:
        return fold
    dealt: NDArray[np.int64] = np.arange(len(same)) % FOLDS
    return dealt


def accuracy(scores: ArrayLike, genuine: ArrayLike, folds: ArrayLike | None = None) -> Accuracy:
    """Compute the verification accuracy over folds.

    Parameters
    ----------
    scores : (P,) array_like of float
        Comparison scores; a pair is accepted at or above the threshold.
    genuine : (P,) array_like of bool
        Whether each pair is genuine.
    folds : (P,) array_like of int, optional
        Fold numbers; those of `folds_of` if not given.

    Notes
    -----
    G. Huang et al., "Labeled Faces in the Wild", University of Massachusetts, Amherst, Technical
    Report 07-49, 2007: view 2.
    """
    values, same = np.asarray(scores), np.asarray(genuine, bool)
    fold = folds_of(same) if folds is None else np.asarray(folds)
    right = []
    for number in np.unique(fold):
        test = fold == number
        level = best_threshold(values[~test], same[~test])
        right.append(((values[test] >= level) == same[test]).mean())
    overall = ((values >= best_threshold(values, same)) == same).mean()
    spread = np.std(right, ddof=1) / np.sqrt(len(right))
    return Accuracy(float(np.mean(right)), float(spread), float(overall))


def best_threshold(scores: NDArray[Any], genuine: NDArray[np.bool_]) -> float:
    """Return the lowest score at which the most pairs are decided correctly."""
    order = np.argsort(scores, kind="stable")
    ordered, same = scores[order], genuine[order]
    # accepted from index i: impostors before it and genuine pairs from it are correct
    right = np.append(0, np.cumsum(~same))[:-1] + np.cumsum(same[::-1])[::-1]
    new = np.append(True, ordered[1:] != ordered[:-1])
    return float(ordered[new][np.argmax(right[new])])


def _image(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"
