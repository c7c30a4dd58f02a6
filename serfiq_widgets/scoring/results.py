"""QualityResult: one scored face, and what it was after fewer passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets import robustness
from serfiq_widgets.checks import check_whole
from serfiq_widgets.control_variates import closed_form_is_safe
from serfiq_widgets.errors import CorruptModel
from serfiq_widgets.faces.alignment import AlignedFace

Passes = int | Literal["auto"]
"""A number of passes, or as many as a narrow interval needs (`Scorer.score_batch`)."""
MIN_PASSES, MAX_PASSES = 2, 2000
SAFE_PASSES = 5  # that decide whether the closed form is safe
NUMBERS = (  # of `Scores`, all (N,) float64
    *("raw", "low", "high", "controlled", "controlled_low", "controlled_high"),
    *("closed_form", "scaled", "margin"),
)
NO_QUALITY = "\u2013"  # what stands for the quality of a network that is not calibrated


@dataclass(frozen=True, eq=False, repr=False)
class QualityResult:
    """One scored face, with all that is needed to trace the number.

    There are three estimates of one number, the raw score of infinitely many passes: `raw` as it is
    published, `controlled` and `closed_form`. What people are shown comes from `best`.

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
        Raw score after t passes, as published; the first entry is NaN.
    running_interval : (T, 2) ndarray of float64
        95 % interval of `running`; NaN for t < 3.
    running_controlled, running_controlled_interval : (T,) and (T, 2) ndarray of float64
        The same of the controlled score; NaN under a head that is not affine.
    closed_form : float
        An approximation of the raw score of infinitely many passes that needs no pass
        (`robustness.limit_distances`); NaN under a head that is not affine.
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
    running_controlled: NDArray[np.float64]
    running_controlled_interval: NDArray[np.float64]
    closed_form: float
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
        low, high = self.best_interval
        return (
            f"QualityResult({self.face.name!r}, quality={self.shown_quality}, "
            f"{self.best_kind}={self.best:.4f}, interval=({low:.4f}, {high:.4f}), "
            f"raw={self.raw:.4f}, passes={self.passes}, model={self.model!r}, "
            f"engine={self.engine!r}, device={self.device!r})"
        )

    def at(self, passes: int) -> QualityResult:
        """Return the result as it was after fewer passes.

        Scoring with that number gives the same within 1e-6, which is what float32 rounds.
        """
        passes = check_passes(passes, most=self.passes)
        return replace(
            self,
            embeddings=self.embeddings[:passes],
            distances=self.distances[:passes, :passes],
            running=self.running[:passes],
            running_interval=self.running_interval[:passes],
            running_controlled=self.running_controlled[:passes],
            running_controlled_interval=self.running_controlled_interval[:passes],
        )

    @property
    def passes(self) -> int:
        """Dropout passes T."""
        return len(self.running)

    @property
    def raw(self) -> float:
        """The score of the authors' code after all passes."""
        return float(self.running[-1])

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `raw`: where the score of infinitely many passes is expected."""
        return _pair(self.running_interval[-1])

    @property
    def controlled(self) -> float:
        """The raw score with control variates (`robustness.controlled_distances`), or NaN."""
        return float(self.running_controlled[-1])

    @property
    def controlled_interval(self) -> tuple[float, float]:
        """95 % interval of `controlled`."""
        return _pair(self.running_controlled_interval[-1])

    @property
    def limit(self) -> float:
        """Another name of `closed_form`."""
        return self.closed_form

    @property
    def shown_quality(quality: int | None) -> str:
    """Return a quality as people are shown it; a dash where there is none."""
    return NO_QUALITY if quality is None else str(quality)


def check_passes_or_auto(passes: Passes) -> Passes:
    """Return "auto", or the number of passes as `check_passes` does."""
    return "auto" if passes == "auto" else check_passes(passes)


def check_passes(passes: SupportsIndex, most: int = MAX_PASSES) -> int:
    """Return the number of passes as an int, or raise BadSetting."""
    return check_whole("passes", passes, MIN_PASSES, most)


def nothing_made(network: str, face: AlignedFace) -> CorruptModel:
    """Return the error for a face whose features are empty (`robustness.empty_features`)."""
    return CorruptModel(
        f"'{network}' makes nothing of '{face.name}': its features are all zero or not finite, so "
        "there is no score. If other photos fare so too, the network is broken."
    )
