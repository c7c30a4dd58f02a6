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
    """Share of listed pairs that are decided rightly.

    Attributes
    ----------
    mean, deviation : float
        Of ten folds, each decided at the best threshold of the other nine; the standard error of
        this mean.
    best : float
        At the best threshold of all pairs, which is too kind.
    """

    mean: float
    deviation: float
    best: float


def read_pairs(file: Path) -> list[Pair]:
    """Read a list of pairs in the form of LFW's ``pairs.txt``.

    A line is ``name i j`` (genuine) or ``name i other j`` (impostor), separated by tabs; other
    lines, such as the counts at the top, are passed over.

    Returns
    -------
    list of (str, str, bool)
        The relative paths ``name/name_0001.jpg`` of both images, and whether they are genuine.

    Raises
    ------
    BadTable
        The file cannot be read or holds no pair.
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
        raise BadTable(f"'{file.name}' is no list of pairs: {one_line(error)}") from error
    if not pairs:
        raise BadTable(f"'{file.name}' is no list of pairs: its lines are not 'name 1 2'.")
    return pairs


def folds_of(genuine: ArrayLike) -> NDArray[np.int64]:
    """Number the fold of each listed pair (P,).

    LFW lists a fold's genuine pairs and then its impostors, so a fold begins where a genuine pair
    follows an impostor. A list in another order is dealt out: pair i to fold i modulo 10.
    """
    same = np.asarray(genuine, bool)
    fold: NDArray[np.int64] = np.cumsum(np.append(False, same[1:] & ~same[:-1])).astype(np.int64)
    if same.size and fold[-1] == FOLDS - 1 and same[0]:
        return fold
    dealt: NDArray[np.int64] = np.arange(len(same)) % FOLDS
    return dealt


def accuracy(scores: ArrayLike, genuine: ArrayLike, folds: ArrayLike | None = None) -> Accuracy:
    """Verification accuracy over folds.

    Parameters
    ----------
    scores : (P,) array_like of float
        A pair is accepted at or above the threshold.
    genuine : (P,) array_like of bool
        The truth.
    folds : (P,) array_like of int, optional
        `folds_of` the pairs if not given.

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
    """Return the score at which most pairs are decided rightly; of several the lowest."""
    order = np.argsort(scores, kind="stable")
    ordered, same = scores[order], genuine[order]
    # accepted from place i on: impostors before it and genuine pairs from it on are right
    right = np.append(0, np.cumsum(~same))[:-1] + np.cumsum(same[::-1])[::-1]
    new = np.append(True, ordered[1:] != ordered[:-1])
    return float(ordered[new][np.argmax(right[new])])


def _image(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"
