"""The stage's picture and words: where each pass lies around the mean, and what that says.

The *departure* of a pass is one minus its cosine with the mean direction of all passes: the unit of
comparison scores, so that passes, other people and the decision threshold share one axis. A disc of
radius 1 shows it on two linear scales: its inner part is magnified, since the passes of one photo
lie far closer together than photos of different people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets import robustness
from serfiq_widgets.figures.captions import plus_minus
from serfiq_widgets.figures.passes import scatter
from serfiq_widgets.scoring.results import NO_QUALITY

if TYPE_CHECKING:
    from serfiq_widgets.evaluation.population import Population
    from serfiq_widgets.scoring.results import QualityResult

Floats = NDArray[np.float64]

INNER = 0.78  # radius of the magnified part
RINGS = 2.0  # the magnified part ends at this multiple of the departure of quality 50
EDGE = 1.25  # departure at the edge of the disc: strangers lie around 1
MIN_RING = 1e-3  # for stretches that leave no room for a spread
MIDDLE = 50  # the quality of the ring
PLACES = 4  # decimal places of positions on the disc

VERDICTS = ((75, "very good"), (50, "good"), (25, "fair"), (0, "poor"))
NEARLY = 0.95  # from this share of matches on, they are counted out of a hundred


def departures(embeddings: NDArray[np.float32]) -> Floats:
    """Return one minus the cosine of each of (T, D) embeddings of length 1 with their mean."""
    points = np.asarray(embeddings, dtype=np.float64)
    mean = points.mean(axis=0)
    away: Floats = 1.0 - points @ mean / max(float(np.linalg.norm(mean)), 1e-12)
    return away


def departure_of_quality(quality: float, alpha: float, r: float) -> float:
    """Return the mean departure of infinitely many passes that have a quality between 0 and 100.

    The stretch gives their raw score, and this their mean distance d. As the distances of pairs
    hardly vary in many dimensions, the squared length of the mean is 1 - d² / 2, and this length is
    the mean cosine with its direction.
    """
    raw = r + np.log(quality / (100 - quality)) / alpha
    distance = np.log(2.0 / np.clip(raw, 1e-6, 1.0) - 1.0)
    return float(1.0 - np.sqrt(max(0.0, 1.0 - distance**2 / 2)))


def drawn_radius(departure: float | Floats, ring: float) -> Floats:
    """Return the radius on the disc, 0 to 1, of departures: it never falls as they grow.

    Parameters
    ----------
    departure : float or ndarray of float64
        Departures, 0 to 2.
    ring : float
        The departure that sets the magnification of the inner part.
    """
    reach = RINGS * max(ring, MIN_RING)
    return np.interp(departure, [0.0, reach, max(EDGE, 2 * reach)], [0.0, INNER, 1.0])


class Scene:
    """The picture of one face, however it is ruined.

    The magnification is equal for all faces of a calibrated network: quality 50 is always at the
    same place. For others it goes by the undamaged face.

    Parameters
    ----------
    clean : QualityResult
        The undamaged face.
    """

    def __init__(self, clean: QualityResult) -> None:
        self.clean = clean
        away = departures(clean.embeddings)
        self._ring = (
            departure_of_quality(MIDDLE, clean.alpha, clean.r)
            if clean.calibrated
            else float(away.mean())
        )
        self._directions = scatter(np.asarray(clean.embeddings, dtype=np.float64))[1]
        self._dots = self._placed(clean, away)
        self._mean = float(away.mean())

    def cloud(self, now: QualityResult, population: Population | None = None) -> dict[str, Any]:
        """Return the picture as ``static/stage/cloud.js`` draws it.

        Parameters
        ----------
        now : QualityResult
            The face as it is; `clean` itself if it is not ruined.
        population : Population, optional
            Other people, as this network sees them.

        Returns
        -------
        dict
            ``dots`` and ``ghosts`` (now and before): x and y of each pass on a disc of radius 1.
            ``size`` and ``before``: the radius of their mean departures. ``ring``: that of quality
            50, or None. ``decision`` and ``strangers`` (two radii): of the population, or None.
            ``inner``: of the magnified part. ``label``: the picture in words. For an undamaged
            face there are no ghosts, and ``before`` is None.
        """
        away = departures(now.embeddings)
        mean, ruined = float(away.mean()), now is not self.clean
        return {
            "dots": self._placed(now, away) if ruined else self._dots,
            "ghosts": self._dots if ruined else [],
            "size": self._radius(mean),
            "before": self._radius(self._mean) if ruined else None,
            "ring": self._radius(self._ring) if now.calibrated else None,
            "decision": population and self._radius(1 - population.threshold),
            "strangers": population
            and [self._radius(1 - end) for end in population.strangers[::-1]],
            "inner": INNER,
            "label": f"{now.passes} passes, on average {mean:.3f} from their mean"
            + (f"; before, {self._mean:.3f}" if ruined else ""),
        }

    def _radius(self, departure: float) -> float:
        return round(float(drawn_radius(departure, self._ring)), PLACES)

    def _placed(self, result: QualityResult, away: Floats) -> list[list[float]]:
        """Return x (to the right) and y (up) of each pass, with given departures (T,).

        The distance from the centre shows the departure exactly; only the angle is a projection, on
        the two directions in which the undamaged face scatters most.
        """
        points = np.asarray(result.embeddings, dtype=np.float64)
        flat = (points - points.mean(axis=0)) @ self._directions.T
        flat /= np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-12)
        places: list[list[float]] = (
            (flat * drawn_radius(away, self._ring)[:, None]).round(PLACES).tolist()
        )
        return places


def capitalised(text: str) -> str:
    """Return a text with a capital first letter; the others stay, as in "JPEG quality"."""
    return text[:1].upper() + text[1:]


def verdict(quality: int) -> str:
    """Return a quality in words, by quarters of the scale."""
    return next(words for least, words in VERDICTS if quality >= least)


def matching(distances: NDArray[np.float64], threshold: float) -> Floats:
    """Return the share of matching pairs among the first t passes, for every t; NaN for t = 1.

    Parameters
    ----------
    distances : (T, T) ndarray of float64
        Distances of embeddings of length 1; their cosine is 1 - d² / 2.
    threshold : float
        The lowest cosine that is a match.
    """
    matches = (1 - distances**2 / 2 >= threshold).astype(np.float64)
    return robustness.running_mean_distance(matches)


def match_sentence(share: float) -> str:
    """Say how often two passes match; "" if they always do."""
    if share == 1 or np.isnan(share):
        return ""
    if share >= NEARLY:
        return f"Two looks at this very photo match only {int(100 * share)} times out of 100."
    times = round(10 * share)
    how = f"only {times} time{'s' * (times > 1)} out of 10" if times else "hardly ever"
    return f"Two looks at this very photo match {how}."


def rank_sentence(quality: int, percent: int, name: str) -> str:
    """Say a quality in words, and which percentage of a population's photos is poorer."""
    words = capitalised(verdict(quality))
    if percent == 0:
        return f"{words}: nearly all {name} faces are better"
    return f"{words}: better than {percent}\u00a0% of {name} faces"


def advice(points: dict[str, float]) -> str:
    """Say what undoing each of several degradations gains, the most first, by names for users."""
    lost = sorted(
        ((name, round(cost)) for name, cost in points.items() if round(cost) > 0),
        key=lambda pair: -pair[1],
    )
    if not lost:
        return "No single one of these makes the difference."
    (name, cost), *others = lost
    rest = "".join(f", {name} {cost}" for name, cost in others)
    return f"Undoing {name} gains {cost} point{'s' * (cost > 1)}{rest}."


def stage_numbers(
    now: QualityResult, clean: QualityResult, population: Population | None = None
) -> dict[str, list[str]]:
    """Return the texts after 2, 3, ... T passes, as ``static/stage/numbers.js`` shows them.

    Returns
    -------
    dict of str to list of str
        ``quality``, ``margin``, ``verdict``, ``change`` (against the undamaged face) and ``match``;
        a text is empty if there is nothing to say.
    """
    best = now.running_best[1:]
    nothing = [""] * len(best)
    texts = {"change": nothing, "match": nothing}
    if population is not None:
        shares = matching(now.distances, population.threshold)[1:]
        texts["match"] = [match_sentence(share) for share in shares]
    if not now.calibrated:
        scores = [
            f"Raw score {value:.4f}; this network has no scale for a quality." for value in best
        ]
        return {**texts, "quality": [NO_QUALITY] * len(best), "margin": nothing, "verdict": scores}
    qualities, befores = _qualities(now), _qualities(clean)
    margins = robustness.quality_margin(now.running_best_interval[1:], now.alpha, now.r)
    words = [capitalised(verdict(quality)) for quality in qualities]
    if population is not None:
        percents = population.percent_below(best)
        words = [
            rank_sentence(quality, percent, population.name)
            for quality, percent in zip(qualities, percents, strict=True)
        ]
    if now is not clean:
        texts["change"] = [f"Before: {before}" for before in befores]
    return {
        **texts,
        "quality": [str(quality) for quality in qualities],
        "margin": [plus_minus(margin) for margin in margins],
        "verdict": words,
    }


def _qualities(result: QualityResult) -> list[int]:
    """Return the quality after 2, 3, ... T passes."""
    scaled = robustness.scaled_score(result.running_best[1:], result.alpha, result.r)
    return [robustness.quality_component(value) for value in scaled]
