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

    XQLFW's list has the same format. A line is ``name i j`` (genuine) or ``name i other j``
    (impostor), separated by tabs or spaces; the first line may be counts. Empty lines are skipped.

    Returns
    -------
    list of (str, str, bool)
        The relative paths ``name/name_0001.jpg`` of both images, and whether they are genuine.

    Raises
    ------
    BadTable
        The file cannot be read, has no pair, or has another line; the text names file and line.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise BadTable(f"'{file.name}' is not a list of pairs: {one_line(error)}") from error
    pairs: list[Pair] = []
    for number, line in enumerate(lines):
        words = [word.strip() for word in line.split("\t")] if "\t" in line else line.split()
        if not line.strip() or (not pairs and all(word.isdecimal() for word in words)):
            continue  # the counts at the top
        try:
            pairs.append(_pair(words))
        except ValueError as error:
            raise BadTable(
                f"'{file.name}' is not a list of pairs: line {number + 1} is not 'name 1 2' or "
                f"'name 1 other 2' ({one_line(error)})."
            ) from error
    if not pairs:
        raise BadTable(f"'{file.name}' is not a list of pairs: its lines are not 'name 1 2'.")
    return pairs


def _pair(words: list[str]) -> Pair:
    """Return a pair from the words of a line."""
    if len(words) not in (GENUINE, IMPOSTOR):
        raise ValueError(f"it has {len(words)} words")
    genuine = len(words) == GENUINE
    other = words[0] if genuine else words[2]
    pair = _image(words[0], words[1]), _image(other, words[-1]), genuine
    if pair[0] == pair[1]:
        raise ValueError("both are one image")
    return pair


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
    if not name or "/" in name or "\\" in name or name.startswith("."):
        raise ValueError("a name is empty or a path")
    if not number.isdecimal() or int(number) < 1:
        raise ValueError("an image's number is not 1 or more")
    return f"{name}/{name}_{int(number):04d}.jpg"
