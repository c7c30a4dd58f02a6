"""How a score changes with the face: heat map, sweep of a degradation, cost of each of several.

All use `Scorer.best_scores`, so that sampling error is small. For the heat map, a soft grey patch
covers one place of the face after another: occlusion sensitivity (Zeiler and Fergus, ECCV 2014) of
the network's robustness. Quality per pixel is the idea of Terhörst et al., "Pixel-Level Face Image
Quality Assessment for Explainable Face Recognition" (2021), who use gradients instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets import robustness
from serfiq_widgets.errors import BadSetting
from serfiq_widgets.faces.alignment import FACE_SIZE, AlignedFace
from serfiq_widgets.faces.degradation import Degradation, sweep_values
from serfiq_widgets.scoring.contract import FaceScorer
from serfiq_widgets.scoring.scorer import BATCH

GREY = 128.0
MIN_PLACES, MAX_PLACES = 2, 28
REACH = 1.1  # standard deviation of a patch, in distances between places


def heatmap(scorer: FaceScorer, face: AlignedFace, places: int = 12) -> NDArray[np.float32]:
    """Return how much the score changes when each part of a face is covered.

    Parameters
    ----------
    scorer : Scorer
        The network, on its engine.
    face : AlignedFace
        The face.
    places : int
        The patch takes ``places`` by ``places`` positions, 2 to 28. More positions give a finer
        map of smaller effects, because the patch is smaller.

    Returns
    -------
    (112, 112) ndarray of float32
        Change of the raw score (`Scorer.best_scores`), in its own units: negative where covering
        lowers the score, positive where it raises it.

    Raises
    ------
    BadSetting
        The number of places is out of range.

    Examples
    --------
    >>> from serfiq_widgets import Scorer, find_face, heatmap
    >>> scorer, face = Scorer(), find_face("sample_images/collins.jpg")
    >>> heatmap(scorer, face).shape
    (112, 112)
    """
    *_, last = heatmap_in_steps(scorer, face, places)
    return last


def heatmap_in_steps(
    scorer: FaceScorer, face: AlignedFace, places: int = 12
) -> Iterator[NDArray[np.float32]]:
    """Yield the partial `heatmap` after every batch of places, spread over the whole face."""
    windows = patches(places)
    (clean,) = scorer.best_scores([face])
    # In a fixed random order the first batches already cover the whole face coarsely.
    order = np.random.default_rng(0).permutation(len(windows))
    total = np.zeros((FACE_SIZE, FACE_SIZE))
    weight = np.zeros((FACE_SIZE, FACE_SIZE))
    for start in range(0, len(order), BATCH):
        visited = windows[order[start : start + BATCH]]
        covered = [replace(face, pixels=_cover(face.pixels, window)) for window in visited]
        changes = scorer.best_scores(covered) - clean
        total += np.tensordot(changes, visited, axes=1)
        weight += visited.sum(axis=0)
        yield (total / np.maximum(weight, np.finfo(np.float32).tiny)).astype(np.float32)


def patches(places: int) -> NDArray[np.float64]:
    """Return the opacity of every patch, Gaussian around its place: (places**2, 112, 112), 0..1."""
    if isinstance(places, bool) or not isinstance(places, int | np.integer):
        places = -1
    if not MIN_PLACES <= places <= MAX_PLACES:
        raise BadSetting(f"places must be a whole number {MIN_PLACES} to {MAX_PLACES}.")
    gap = FACE_SIZE / places
    centres = (np.arange(places) + 0.5) * gap - 0.5
    lines = np.exp(-0.5 * ((np.arange(FACE_SIZE) - centres[:, None]) / (REACH * gap)) ** 2)
    windows: NDArray[np.float64] = np.einsum("ay,bx->abyx", lines, lines)
    return windows.reshape(-1, FACE_SIZE, FACE_SIZE)


def _cover(pixels: NDArray[np.uint8], window: NDArray[np.float64]) -> NDArray[np.uint8]:
    opacity = window[..., None]
    mixed: NDArray[np.float64] = pixels * (1.0 - opacity) + GREY * opacity
    return np.rint(mixed).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Sweep:
    """Quality as a function of one degradation's strength, over its range.

    Attributes
    ----------
    name : str
        Name of the degradation, see `faces.degradation.STRENGTHS`.
    values : (N,) ndarray of float64
        Its strengths.
    raw : (N,) ndarray of float64
        Raw scores, see `Scorer.best_scores`.
    qualities : (N,) ndarray of float64
        The same as quality component values, 0..100, not rounded.
    rest : Degradation
        Other degradations of the face.
    calibrated : bool
        Whether ``qualities`` have a meaning.
    """

    name: str
    values: NDArray[np.float64]
    raw: NDArray[np.float64]
    qualities: NDArray[np.float64]
    rest: Degradation
    calibrated: bool = True


def sweep(
    scorer: FaceScorer,
    face: AlignedFace,
    name: str,
    ruin: Degradation | None = None,
    points: int = 25,
) -> Sweep:
    """Score a face over the range of one degradation.

    Parameters
    ----------
    scorer : Scorer
        The network, on its engine.
    face : AlignedFace
        The face without degradation.
    name : str
        Name of the degradation, see `faces.degradation.STRENGTHS`.
    ruin : Degradation, optional
        Other degradations of the face.
    points : int
        Number of strengths, 2 to 200.

    Raises
    ------
    BadSetting
        There is no such degradation.
    """
    values = sweep_values(name, points)
    rest = (ruin or Degradation()).without(name)
    faces = [
        replace(face, pixels=rest.replace(**{name: float(value)}).apply(face.pixels))
        for value in values
    ]
    raw = scorer.best_scores(faces)
    scaled = robustness.scaled_score(raw, scorer.card.alpha, scorer.card.r)
    return Sweep(name, values, raw, 100.0 * np.asarray(scaled), rest, scorer.calibrated)


def costs(scorer: FaceScorer, face: AlignedFace, ruin: Degradation) -> dict[str, float]:
    """Return what each degradation of a face costs: the quality that undoing it alone would regain.

    Degradations do not add up: of two that each ruin the face, undoing one regains little.

    Parameters
    ----------
    scorer : Scorer
        The network, on its engine; calibrated, since costs are points of quality.
    face : AlignedFace
        The face without degradation.
    ruin : Degradation
        Its degradations.

    Returns
    -------
    dict of str to float
        Quality points by the names in ``ruin.active``; negative where undoing makes it worse.
    """
    variants = [ruin, *(ruin.without(name) for name in ruin.active)]
    faces = [replace(face, pixels=variant.apply(face.pixels)) for variant in variants]
    scaled = robustness.scaled_score(scorer.best_scores(faces), scorer.card.alpha, scorer.card.r)
    gains = 100.0 * (scaled[1:] - scaled[0])
    return dict(zip(ruin.active, gains.tolist(), strict=True))
