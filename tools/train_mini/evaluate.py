"""How good a network is on LFW, which it must never have seen: recognition, and its quality score.

Recognition on listed pairs (accuracy, TAR at FAR 1e-3), and error versus discard: FNMR at a fixed
threshold while the images of lowest quality are left out (Grother and Tabassi, "Performance of
biometric quality measures", IEEE TPAMI 29(4), 2007), by the score of T passes and by its exact
limit. Also what the card needs: slope and middle of the stretch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets import AlignedFace, Ruin, Scorer, SerfiqError, find_face
from serfiq_widgets.evaluation import (
    accuracy,
    compare_all,
    compare_pairs,
    discard_curve,
    fnmr_at,
    read_pairs,
    threshold_at,
)

FMR = 1e-3
DISCARDS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5)
PASSES = 100
# Where the stretch puts the median face, and the median face under a drawn medical mask
CLEAN_AT, MASKED_AT = 0.74, 0.07
SOME = 200  # faces that are ruined, to see whether the score falls
RUINED = {
    "blur 4 px": Ruin(blur=4),
    "28 px across": Ruin(resolution=28),
    "dark": Ruin(brightness=-3.3),
    "noise": Ruin(noise=25),
    "JPEG 3": Ruin(jpeg=3),
    "mask": Ruin(cover="mask"),
}

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Figures:
    """What was measured.

    Attributes
    ----------
    accuracy, folds : float
        On the listed pairs: at the best threshold, and the mean of ten folds.
    tar : float
        Share of genuine pairs above the threshold that one in a thousand impostors pass.
    passes, limit : list of float
        FNMR at FMR 1e-3 over all pairs, at each of `DISCARDS`.
    falls : dict of str to float
        Share of faces whose score falls when they are ruined in a way of `RUINED`.
    alpha, r : float
        Slope and middle of the stretch.
    """

    accuracy: float
    folds: float
    tar: float
    passes: list[float]
    limit: list[float]
    falls: dict[str, float]
    alpha: float
    r: float

    def better(self, other: Figures) -> bool:
        """Whether this may replace the other: better on the pairs, and nowhere worse on discard."""
        ours, theirs = np.array([self.passes, self.limit]), np.array([other.passes, other.limit])
        return bool(
            self.accuracy > other.accuracy
            and self.tar > other.tar
            and (ours <= theirs).all()
            and (ours.mean(axis=1) < theirs.mean(axis=1)).all()
        )

    def words(self) -> str:
        """Say it in the card's manner."""
        start = f"LFW pairs: accuracy {self.accuracy:.4f}, TAR at FAR 1e-3 {self.tar:.4f}; "
        share = ", ".join(f"{100 * discard:g}" for discard in DISCARDS)
        curves = "; ".join(
            f"{what} {' '.join(f'{value:.4f}' for value in values)}"
            for what, values in ((f"T={PASSES}", self.passes), ("exact limit", self.limit))
        )
        falls = ", ".join(f"{name} {value:.2f}" for name, value in self.falls.items())
        return (
            f"{start}FNMR at FMR 1e-3 with {share} % discarded: {curves}. "
            f"Share of faces whose score falls when ruined: {falls}."
        )


def true_accept_rate(scores: Floats, genuine: NDArray[np.bool_], far: float = FMR) -> float:
    """Share of genuine scores above the threshold that a share ``far`` of the impostors passes."""
    images = np.arange(2 * len(scores))
    compared = compare_pairs(images[::2], images[1::2], scores, genuine)
    return 1 - fnmr_at(compared, threshold_at(compared, far))


def error_versus_discard(
    embeddings: Floats, people: NDArray[np.int64], quality: Mapping[str, NDArray[np.float64]]
) -> dict[str, list[float]]:
    """FNMR at FMR 1e-3 over all pairs, while the images of lowest quality are left out.

    Parameters
    ----------
    embeddings : (N, D) ndarray of float32
        Of length 1.
    people : (N,) ndarray of int
        Who is on each image.
    quality : mapping of str to (N,) ndarray
        Several measures, higher is better.

    Returns
    -------
    dict of str to list of float
        For each measure the FNMR at each of `DISCARDS`; the threshold is that of all images.
    """
    compared = compare_all(embeddings, people)
    return {
        name: discard_curve(compared, values, FMR).at(DISCARDS).tolist()
        for name, values in quality.items()
    }


def stretch(clean: NDArray[np.float64], masked: NDArray[np.float64]) -> tuple[float, float]:
    """Return alpha and r that put the median face and the median masked face in their places."""
    high, low = np.median(clean), np.median(masked)
    above, below = (math.log(at / (1 - at)) for at in (CLEAN_AT, MASKED_AT))
    if high <= low:
        raise SerfiqError("A mask does not lower this network's score: it needs another training.")
    alpha = (above - below) / (high - low)
    return float(alpha), float(high - above / alpha)


def evaluate(model: str | Path, folder: Path, pairs: Path) -> Figures:
    """Measure a network.

    Parameters
    ----------
    model : str or Path
        A named model or a checkpoint.
    folder : Path
        One folder of aligned LFW faces per person.
    pairs : Path
        A list of pairs, as `serfiq_widgets.evaluation.read_pairs` reads it.
    """
    scorer = Scorer(model)
    paths = sorted(folder.glob("*/*.jpg"))
    faces = [find_face(path, aligned=True) for path in paths]
    embeddings, raw, limit = _score(scorer, faces)
    number = {path.relative_to(folder).as_posix(): i for i, path in enumerate(paths)}
    listed = read_pairs(pairs)
    scores = np.array([embeddings[number[a]] @ embeddings[number[b]] for a, b, _ in listed])
    genuine = np.array([same for *_, same in listed])
    listed_accuracy = accuracy(scores, genuine)
    people = np.unique([path.parent.name for path in paths], return_inverse=True)[1]
    curves = error_versus_discard(embeddings, people, {"passes": raw, "limit": limit})
    step = max(1, len(faces) // SOME)
    ruined = {
        name: _score(scorer, [AlignedFace(ruin.apply(f.pixels), f.name) for f in faces[::step]])[1]
        for name, ruin in RUINED.items()
    }
    alpha, r = stretch(raw, ruined["mask"])
    return Figures(
        listed_accuracy.best,
        listed_accuracy.mean,
        true_accept_rate(scores, genuine),
        **curves,
        falls={name: float((low < raw[::step]).mean()) for name, low in ruined.items()},
        alpha=alpha,
        r=r,
    )


def _score(
    scorer: Scorer, faces: list[AlignedFace]
) -> tuple[Floats, NDArray[np.float64], NDArray[np.float64]]:
    """Return embeddings (N, D), scores of T passes (N,) and exact-limit scores (N,)."""
    rows = []
    for result in scorer.score_many(faces, PASSES):
        if isinstance(result, SerfiqError):
            raise result
        rows.append((scorer.engine.embed(result.features[None])[0], result.raw, result.limit))
    embeddings, raw, limit = zip(*rows, strict=True)
    return np.stack(embeddings), np.array(raw), np.array(limit)
