"""QualityResult: one scored face, and its result after fewer passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets import robustness
from serfiq_widgets.checks import check_whole
from serfiq_widgets.control_variates import closed_form_is_safe
from serfiq_widgets.errors import CorruptModel, PackageMissing
from serfiq_widgets.faces.alignment import AlignedFace
from serfiq_widgets.scoring.shown import result_html

if TYPE_CHECKING:
    import pandas as pd

Passes = int | Literal["auto"]
"""A number of passes, or "auto": as many as a narrow interval needs (`Scorer.score_batch`)."""
MIN_PASSES, MAX_PASSES = 2, 2000
SAFE_PASSES = 5  # used to decide whether the closed form is safe
NUMBERS = (  # attributes of `Scores`, all (N,) float64
    *("raw", "low", "high", "controlled", "controlled_low", "controlled_high"),
    *("closed_form", "scaled", "margin"),
)
NO_QUALITY = "\u2013"  # shown as the quality of a network that is not calibrated


@dataclass(frozen=True, eq=False, repr=False)
class QualityResult:
    """One scored face, with all data from which its score is computed.

    There are three estimates of the raw score of infinitely many passes: `raw` (the published
    method), `controlled` and `closed_form`. Users are shown numbers from `best`.

    Attributes
    ----------
    face : AlignedFace
        The face that was scored.
    features : (F,) ndarray of float32
        Input of the dropout site.
    embeddings : (T, D) ndarray of float32
        One L2-normalised embedding per pass.
    distances : (T, T) ndarray of float64
        Their pairwise Euclidean distances.
    running : (T,) ndarray of float64
        Raw score of the published method after t passes; the first entry is NaN.
    running_interval : (T, 2) ndarray of float64
        95 % interval of `running`; NaN for t < 3.
    running_controlled, running_controlled_interval : (T,) and (T, 2) ndarray of float64
        The same of the controlled score, with an interval from t = 2; NaN for a head that is not
        affine.
    closed_form : float
        An approximation of the raw score of infinitely many passes that needs no pass
        (`control_variates.Moments.distances`); NaN for a head that is not affine.
    calibrated : bool
        Whether alpha and r were fitted for this network. If not, ``scaled`` and ``quality`` have
        no meaning and are not shown (`shown_quality`); photos can still be compared by ``raw``.
    trained_with_dropout : bool or None
        Whether the network was trained with dropout; None if unknown.
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
        """One line of numbers without the face, for terminals and logs."""
        low, high = self.best_interval
        return (
            f"QualityResult({self.face.name!r}, quality={self.shown_quality}, "
            f"{self.best_kind}={self.best:.4f}, interval=({low:.4f}, {high:.4f}), "
            f"raw={self.raw:.4f}, passes={self.passes}, model={self.model!r}, "
            f"engine={self.engine!r}, device={self.device!r})"
        )

    def _repr_html_(self) -> str:
        """Face, quality and running score, as a notebook shows and saves them."""
        return result_html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the numbers by the names that tables of scores have; None where there is none.

        Neither face nor embeddings are in it.
        """
        low, high = self.interval
        controlled_low, controlled_high = self.controlled_interval
        numbers = {
            "margin": self.quality_margin,
            "raw": self.raw,
            "low": low,
            "high": high,
            "controlled": self.controlled,
            "controlled_low": controlled_low,
            "controlled_high": controlled_high,
            "limit": self.closed_form,
            "scaled": self.scaled,
        }
        known = {name: None if np.isnan(value) else value for name, value in numbers.items()}
        if not self.calibrated:
            known |= {"margin": None, "scaled": None}
        return {
            "path": self.face.name,
            "quality": self.quality if self.calibrated else None,
            **known,
            "faces": self.face.n_faces,
            "passes": self.passes,
            "seed": self.seed,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "calibrated": self.calibrated,
            "engine": self.engine,
            "device": self.device,
            "precision": self.precision,
            "ms": sum(self.timings.values()),
        }

    def to_frame(self) -> pd.DataFrame:
        """Return the scores after 1, 2 ... T passes, with their intervals, one row for each.

        Raises
        ------
        PackageMissing
            pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise PackageMissing(
                f"A frame needs pandas ({error}): pip install 'serfiq_widgets[tables]'"
            ) from error
        columns = {
            "raw": self.running,
            "low": self.running_interval[:, 0],
            "high": self.running_interval[:, 1],
            "controlled": self.running_controlled,
            "controlled_low": self.running_controlled_interval[:, 0],
            "controlled_high": self.running_controlled_interval[:, 1],
        }
        return pd.DataFrame(columns, index=pd.RangeIndex(1, self.passes + 1, name="passes"))

    def at(self, passes: int) -> QualityResult:
        """Return the result after fewer passes.

        It equals the result of scoring with that number within 1e-6, float32's rounding.
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
        """The raw score of the authors' code after all passes."""
        return float(self.running[-1])

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of `raw`: where the score of infinitely many passes is expected."""
        return _pair(self.running_interval[-1])

    @property
    def controlled(self) -> float:
        """The raw score with control variates (`control_variates.controlled_distances`), or NaN."""
        return float(self.running_controlled[-1])

    @property
    def controlled_interval(self) -> tuple[float, float]:
        """95 % interval of `controlled`."""
        return _pair(self.running_controlled_interval[-1])

    @property
    def limit(self) -> float:
        """Alias of `closed_form`."""
        return self.closed_form

    @property
    def closed_form_is_safe(self) -> bool:
        """Whether the interval of five controlled passes confirms the closed form."""
        at = min(SAFE_PASSES, self.passes) - 1
        ends = self.running_controlled_interval[at : at + 1]
        return bool(closed_form_is_safe(np.array([self.closed_form]), ends)[0])

    @property
    def is_controlled(self) -> bool:
        """Whether there is a controlled score, that is, the head is affine."""
        return bool(np.isfinite(self.running_controlled[-1]))

    @property
    def best_kind(self) -> str:
        """Which estimate `best` is: "controlled", or "raw" for a head that is not affine."""
        return "controlled" if self.is_controlled else "raw"

    @property
    def running_best(self) -> NDArray[np.float64]:
        """`best` after t passes (T,); the first entry is NaN."""
        return self.running_controlled if self.is_controlled else self.running

    @property
    def running_best_interval(self) -> NDArray[np.float64]:
        """95 % interval of `running_best` (T, 2); NaN for t = 1, or t = 2 if not controlled."""
        return self.running_controlled_interval if self.is_controlled else self.running_interval

    @property
    def best(self) -> float:
        """The best available estimate of the raw score of infinitely many passes.

        All numbers that users see follow one rule: the controlled score, and if there is none, the
        score of the published method.
        """
        return float(self.running_best[-1])

    @property
    def best_interval(self) -> tuple[float, float]:
        """95 % interval of `best`."""
        return _pair(self.running_best_interval[-1])

    @property
    def scaled(self) -> float:
        """Logistic stretch of `best` to 0..1."""
        return float(robustness.scaled_score(self.best, self.alpha, self.r))

    @property
    def quality(self) -> int:
        """``round(100 * scaled)``, the quality component value of ISO/IEC 29794-1."""
        return robustness.quality_component(self.scaled)

    @property
    def quality_margin(self) -> float:
        """Half the 95 % interval of the quality, in points; NaN for T = 2 if not controlled."""
        return float(robustness.quality_margin(self.best_interval, self.alpha, self.r))

    @property
    def published_quality(self) -> int:
        """The quality from `raw`, as in the published method; it varies with the masks."""
        scaled = robustness.scaled_score(self.raw, self.alpha, self.r)
        return robustness.quality_component(float(scaled))

    @property
    def shown_margin(self) -> str:
        """`quality_margin` as text for users; empty if it has no meaning or is not known."""
        return shown_margin(self.quality_margin if self.calibrated else None)

    @property
    def shown_quality(self) -> str:
        """`quality` as text for users: a number, or a dash if it has no meaning."""
        return shown_quality(self.quality if self.calibrated else None)

    def wipe(self) -> None:
        """Overwrite face, features and embeddings: freed memory keeps its content."""
        for array in (self.face.pixels, self.features, self.embeddings, self.distances):
            if array.flags.writeable:
                array.fill(0)

    @property
    def mean_distance(self) -> float:
        """Mean pairwise distance of the embeddings, the exponent in `raw`."""
        return float(np.log(2.0 / self.raw - 1.0))

    @property
    def in_words(self) -> str:
        """The score in words: the quality, or `best` where a quality has no meaning."""
        return f"quality {self.quality}" if self.calibrated else f"raw score {self.best:.4f}"


def _pair(ends: NDArray[np.float64]) -> tuple[float, float]:
    low, high = ends
    return float(low), float(high)


@dataclass(frozen=True, eq=False)
class Scores:
    """The numbers of many faces, without faces or passes; see `QualityResult` for each.

    Attributes
    ----------
    raw, low, high : (N,) ndarray of float64
        The raw score of the published method, and the ends of its interval.
    controlled, controlled_low, controlled_high : (N,) ndarray of float64
        The controlled score and its interval; NaN for a head that is not affine.
    closed_form : (N,) ndarray of float64
        NaN for a head that is not affine, or if it was not requested.
    scaled : (N,) ndarray of float64
        Logistic stretch of `best` to 0..1.
    margin : (N,) ndarray of float64
        Half the 95 % interval of the quality, in quality points.
    quality : (N,) ndarray of int64
    passes : (N,) ndarray of int64
        Number of dropout passes T.
    embeddings : (N, D) ndarray of float32 or None
        Without dropout and not scaled to length 1, if requested; for an on-top head, the
        embeddings of its base.
    """

    raw: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    controlled: NDArray[np.float64]
    controlled_low: NDArray[np.float64]
    controlled_high: NDArray[np.float64]
    closed_form: NDArray[np.float64]
    scaled: NDArray[np.float64]
    margin: NDArray[np.float64]
    quality: NDArray[np.int64]
    passes: NDArray[np.int64]
    embeddings: NDArray[np.float32] | None = None

    @property
    def best(self) -> NDArray[np.float64]:
        """The best estimate of each face, by the rule of `QualityResult.best`."""
        return best_of(self.raw, self.controlled)

    def where(self, keep: NDArray[np.bool_]) -> Scores:
        """Return the faces for which ``keep`` (N,) is true."""
        columns: dict[str, Any] = {
            name: None if column is None else column[keep] for name, column in vars(self).items()
        }
        return Scores(**columns)

    @classmethod
    def joined(cls, parts: Sequence[Scores]) -> Scores:
        """Concatenate the scores of several batches, in order; the list may be empty."""
        parts = [part for part in parts if len(part.raw)]
        if not parts:
            none = np.empty(0)
            numbers: dict[str, Any] = dict.fromkeys(NUMBERS, none)
            whole = none.astype(np.int64)
            return cls(**numbers, quality=whole, passes=whole)
        columns: dict[str, Any] = {}
        for name, first in vars(parts[0]).items():
            every = [getattr(part, name) for part in parts]
            columns[name] = None if first is None else np.concatenate(every)
        return cls(**columns)


def best_of(plain: NDArray[np.float64], controlled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the controlled scores (..., N); where they are NaN, the plain ones."""
    return np.where(np.isnan(controlled), plain, controlled)


def shown_quality(quality: int | None) -> str:
    """Return a quality as text for users; a dash if it is None."""
    return NO_QUALITY if quality is None else str(quality)


def shown_margin(margin: float | None) -> str:
    """Return half an interval in quality points as text for users; "" if it is not known.

    It is at least 0.1: "0.0" would claim that nothing is uncertain.
    """
    return "" if margin is None or np.isnan(margin) else f"{max(margin, 0.1):.1f}"


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
