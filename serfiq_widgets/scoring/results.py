"""QualityResult: one scored face, and what it was after fewer passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets import robustness
from serfiq_widgets.checks import check_whole
from serfiq_widgets.errors import CorruptModel
from serfiq_widgets.faces.alignment import AlignedFace

MIN_PASSES, MAX_PASSES = 2, 2000
NO_QUALITY = "\u2013"  # what stands for the quality of a network that is not calibrated


@dataclass(frozen=True, eq=False, repr=False)
class QualityResult:
    """One scored face, with all that is needed to trace the number.

    Attributes
    ----------
    face : AlignedFace
        What was scored.
    features : (F,) ndarray of float32
        Input of the dropout site.
    embeddings : (T, D) ndarray of float32
        One L2-normalised embedding per pass.
    distances : (T, T) ndarray of float64
        Their pairwise Euclidean distances.
    running : (T,) ndarray of float64
        Raw score after t passes; the first entry is NaN.
    running_interval : (T, 2) ndarray of float64
        95 % interval of `running`; NaN for t < 3.
    raw : float
        The score of the authors' code after all passes.
    interval : tuple of float
        95 % interval of `raw`: where the score of infinitely many passes is expected.
    limit : float
        The raw score of infinitely many passes, in closed form; NaN where the head is not affine,
        for then there is none.
    scaled : float
        Logistic stretch of `raw` to 0..1.
    quality : int
        ``round(100 * scaled)``, the quality component value of ISO/IEC 29794-1.
    calibrated : bool
        Whether alpha and r are the network's own. Where they are not, ``scaled`` and ``quality``
        mean nothing and are not shown (`shown_quality`); ``raw`` compares photos all the same.
    trained_with_dropout : bool or None
        Whether the network was; None if that is not known.
    timings : dict of str to float
        Milliseconds per stage: face (0 when it was given aligned), trunk, limit, passes, spread.
    """

    face: AlignedFace
    features: NDArray[np.float32]
    embeddings: NDArray[np.float32]
    distances: NDArray[np.float64]
    running: NDArray[np.float64]
    running_interval: NDArray[np.float64]
    raw: float
    interval: tuple[float, float]
    limit: float
    scaled: float
    quality: int
    passes: int
    seed: int
    model: str
    model_sha256: str
    engine: str
    device: str
    precision: str
    rate: float
    alpha: float
    r: float
    calibrated: bool
    trained_with_dropout: bool | None
    timings: dict[str, float]

    def __repr__(self) -> str:
        """One line of numbers: a saved notebook shall not keep a face that nobody meant to save."""
        return (
            f"QualityResult({self.face.name!r}, quality={self.shown_quality}, raw={self.raw:.4f}, "
            f"interval=({self.interval[0]:.4f}, {self.interval[1]:.4f}), limit={self.limit:.4f}, "
            f"passes={self.passes}, model={self.model!r}, engine={self.engine!r}, "
            f"device={self.device!r})"
        )

    def at(self, passes: int) -> QualityResult:
        """Return the result as it was after fewer passes.

        Scoring with that number gives the same within 1e-6, which is what float32 rounds.
        """
        passes = check_passes(passes, most=self.passes)
        raw = float(self.running[passes - 1])
        low, high = self.running_interval[passes - 1]
        scaled = float(robustness.scaled_score(raw, self.alpha, self.r))
        return replace(
            self,
            embeddings=self.embeddings[:passes],
            distances=self.distances[:passes, :passes],
            running=self.running[:passes],
            running_interval=self.running_interval[:passes],
            raw=raw,
            interval=(float(low), float(high)),
            scaled=scaled,
            quality=robustness.quality_component(scaled),
            passes=passes,
        )

    @property
    def shown_quality(self) -> str:
        """`quality` as people are shown it: a number, or a dash if it would mean nothing."""
        return shown_quality(self.quality if self.calibrated else None)

    def wipe(self) -> None:
        """Overwrite face, features and embeddings: freed memory keeps what stood in it."""
        for array in (self.face.pixels, self.features, self.embeddings, self.distances):
            if array.flags.writeable:
                array.fill(0)

    @property
    def mean_distance(self) -> float:
        """Mean pairwise distance of the embeddings, the exponent in the score."""
        return float(np.log(2.0 / self.raw - 1.0))

    @property
    def best(self) -> float:
        """What faces are best compared by: `limit` where there is one, else `raw`."""
        return self.raw if np.isnan(self.limit) else self.limit

    @property
    def best_quality(self) -> int:
        """`best` as a quality component value, 0..100."""
        scaled = robustness.scaled_score(self.best, self.alpha, self.r)
        return robustness.quality_component(float(scaled))

    @property
    def in_words(self) -> str:
        """The score in words: the quality, or the raw score where a quality would mean nothing."""
        return f"quality {self.quality}" if self.calibrated else f"raw score {self.raw:.4f}"

    @property
    def best_in_words(self) -> str:
        """`best` in words, as `in_words`."""
        if self.calibrated:
            return f"quality {self.best_quality}"
        return f"raw score {self.best:.4f}"


@dataclass(frozen=True, eq=False)
class Scores:
    """The numbers of many faces, without what they come from; see `QualityResult` for each.

    Attributes
    ----------
    raw, low, high, limit, scaled : (N,) ndarray of float64
        ``low`` and ``high`` are the ends of the interval.
    quality : (N,) ndarray of int64
    embeddings : (N, D) ndarray of float32 or None
        Without dropout and not scaled to length 1, if they were asked for; under an on-top head
        those of its base.
    """

    raw: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    limit: NDArray[np.float64]
    scaled: NDArray[np.float64]
    quality: NDArray[np.int64]
    embeddings: NDArray[np.float32] | None = None

    def where(self, keep: NDArray[np.bool_]) -> Scores:
        """Return the faces for which ``keep`` (N,) is true."""
        columns: dict[str, Any] = {
            name: None if column is None else column[keep] for name, column in vars(self).items()
        }
        return Scores(**columns)

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """Return the faces of several batches, in order; of none, none."""
        if not parts:
            none = np.empty(0)
            return cls(none, none, none, none, none, none.astype(np.int64))
        columns: dict[str, Any] = {}
        for name, first in vars(parts[0]).items():
            every = [getattr(part, name) for part in parts]
            columns[name] = None if first is None else np.concatenate(every)
        return cls(**columns)


def shown_quality(quality: int | None) -> str:
    """Return a quality as people are shown it; a dash where there is none."""
    return NO_QUALITY if quality is None else str(quality)


def check_passes(passes: SupportsIndex, most: int = MAX_PASSES) -> int:
    """Return the number of passes as an int, or raise BadSetting."""
    return check_whole("passes", passes, MIN_PASSES, most)


def nothing_made(network: str, face: AlignedFace) -> CorruptModel:
    """Return the error for a face whose features are empty (`robustness.empty_features`)."""
    return CorruptModel(
        f"'{network}' makes nothing of '{face.name}': its features are all zero or not finite, so "
        "there is no score. If other photos fare so too, the network is broken."
    )
