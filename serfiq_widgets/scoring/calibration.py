"""Alpha and r of a network, fitted on a population so that its qualities spread over 0 to 100.

The raw scores of each network lie in a narrow range of their own. The rule: the 5 % quantile of a
population's raw scores gets quality 10, the 95 % quantile quality 90. Two points determine a
logistic function, so the fit needs no iteration.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serfiq_widgets import robustness
from serfiq_widgets.errors import BadSetting
from serfiq_widgets.scoring.network import NUMBERS
from serfiq_widgets.scoring.score_images import Progress, score_images

if TYPE_CHECKING:
    from serfiq_widgets.faces.alignment import AlignedFace
    from serfiq_widgets.images.read import ImageSource
    from serfiq_widgets.scoring.scorer import Scorer

LOW, HIGH = 0.05, 0.95
LOW_QUALITY, HIGH_QUALITY = 10, 90
RULE = (
    f"{100 * LOW:g} % and {100 * HIGH:g} % quantiles of raw to quality "
    f"{LOW_QUALITY} and {HIGH_QUALITY}"
)
MIN_FACES = 20
"""With fewer faces, the two quantiles are the worst and the best face."""


@dataclass(frozen=True)
class Stretch:
    """The logistic stretch from raw score to quality: slope alpha and midpoint r."""

    alpha: float
    r: float

    def qualities(self, raw: ArrayLike) -> NDArray[np.int_]:
        """Quality component values 0..100 of raw scores, of the same shape."""
        rounded: NDArray[np.int_] = np.rint(
            100 * robustness.scaled_score(raw, self.alpha, self.r)
        ).astype(np.int_)
        return rounded


@dataclass(frozen=True, eq=False)
class Calibration:
    """The stretch of a network, fitted on a population.

    Attributes
    ----------
    model : str
        The network's name.
    name : str
        Name of the population.
    raw : (N,) ndarray of float64
        Raw scores of the faces that could be scored.
    errors : tuple of str
        Errors of the other images.
    passes : int
        Dropout passes T of the raw scores.
    before, after : Stretch
        The card's current stretch, and the fitted one.
    """

    model: str
    name: str
    raw: NDArray[np.float64]
    errors: tuple[str, ...]
    passes: int
    before: Stretch
    after: Stretch

    @cached_property
    def qualities(self) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
        """Qualities (N,) of the faces under both stretches, before and after."""
        return self.before.qualities(self.raw), self.after.qualities(self.raw)

    @property
    def population(self) -> str:
        """Description of the population, for a card."""
        return f"{len(self.raw)} faces of {self.name}; {RULE}, T={self.passes}"

    @property
    def settings(self) -> dict[str, Any]:
        """Settings to pass to `scoring.network.save_card`."""
        return {"alpha": self.after.alpha, "r": self.after.r, "population": self.population}


def fit(raw: ArrayLike, low: float = LOW, high: float = HIGH) -> Stretch:
    """Fit the stretch that maps the low quantile of raw scores to quality 10, the high one to 90.

    Parameters
    ----------
    raw : (N,) array_like of float
        Raw scores of a population of good and poor faces, N >= 20. Qualities are shown after
        T = 100 passes, so these should be scores after 100 passes.
    low, high : float
        The quantiles, 0 to 1 (linear interpolation between order statistics).

    Raises
    ------
    BadSetting
        The scores are too few, not all finite, or (nearly) all equal.
    """
    scores = np.asarray(raw, dtype=np.float64).ravel()
    if not 0.0 <= low < high <= 1.0:
        raise BadSetting(f"The quantiles {low!r:.20} and {high!r:.20} must rise within 0 to 1.")
    check_size(scores.size)
    if not np.isfinite(scores).all():
        raise BadSetting("Some raw scores are not finite numbers: nothing can be fitted to them.")
    least, most = np.quantile(scores, [low, high])
    # the two qualities are symmetric about 50, so r is the midpoint
    steps = _logit(HIGH_QUALITY / 100) - _logit(LOW_QUALITY / 100)
    if most - least < steps / NUMBERS["alpha"][1]:
        raise BadSetting(
            f"The raw scores are nearly all equal ({least:.4f} to {most:.4f}): a population needs "
            "good and poor faces of many people."
        )
    return Stretch(float(steps / (most - least)), float((least + most) / 2))


def check_size(count: int) -> None:
    """Raise BadSetting if a population has too few faces."""
    if count < MIN_FACES:
        raise BadSetting(
            f"{count} faces are too few to calibrate a network on: give at least {MIN_FACES}, "
            "better hundreds."
        )


def calibrate(
    scorer: Scorer,
    images: Sequence[ImageSource | AlignedFace],
    passes: int = 100,
    *,
    name: str = "the given images",
    aligned: bool = False,
    progress: Progress | None = None,
) -> Calibration:
    """Score a population and fit the stretch; bad images are counted and skipped.

    Parameters
    ----------
    scorer : Scorer
        The network; its card holds the current stretch. This function saves nothing: see
        `scoring.network.save_card`.
    images : sequence
        As for `Scorer.score`; paths from `images.files.find_images`.
    passes : int
        Dropout passes T.
    name : str
        Name of the population.
    aligned : bool
        The images are aligned face crops: skip detection.
    progress : callable, optional
        Called after each chunk with the number of images done and the number of all.

    Raises
    ------
    BadSetting
        Too few of the images could be scored, or their scores are nearly all equal.
    """
    check_size(len(images))
    scored = score_images(scorer, images, passes, aligned=aligned, progress=progress)
    raw, errors = scored.scores.best, scored.errors
    try:
        after = fit(raw)
    except BadSetting as error:
        why = f" Not scored: {len(errors)} of {len(images)} images. {errors[0]}" if errors else ""
        raise BadSetting(f"{error}{why}") from error
    before = Stretch(scorer.card.alpha, scorer.card.r)
    return Calibration(scorer.card.name, name, raw, tuple(errors), passes, before, after)


def _logit(share: float) -> float:
    return math.log(share / (1 - share))
