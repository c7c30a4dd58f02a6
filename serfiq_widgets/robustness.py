"""The mathematics of SER-FIQ: masks, distances, score, running score, interval, closed form.

Pure functions on arrays. With features f, keep rate k = 1 - p and Bernoulli(k) masks m_t, pass t
gives x_t = A (m_t * f) / k + c and the embedding z_t = x_t / |x_t|. The raw score is
2 / (1 + exp(mean of |z_i - z_j| over the pairs i < j)). The method is from Terhörst, Kolf, Damer,
Kirchbuchner and Kuijper, "SER-FIQ: Unsupervised Estimation of Face Image Quality Based on
Stochastic Embedding Robustness", CVPR 2020. Equation 1 of the paper multiplies the sum over the
pairs by 2 / T², which makes the score depend on T. The authors' published code and this module take
the mean over the T (T - 1) / 2 pairs, which does not depend on T.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

CONFIDENCE = 0.95
MAX_EXACT = 2048  # features of a head up to which tr Σ² is exact; it is estimated for more
SKETCH = 32  # directions of the estimate of tr Σ², which is mostly right within 1.5 %
STEP = 512  # features of that estimate at a time: they stay in the processor's cache


def empty_features(features: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return for each face (N,) whether its features (N, F) are all zero, or not all finite.

    Dropout does not change zeros: the score would be perfect. Other such features give no score.
    """
    empty: NDArray[np.bool_] = ~np.isfinite(features).all(axis=1) | ~features.any(axis=1)
    return empty


def draw_masks(passes: int, n_features: int, rate: float, seed: int = 0) -> NDArray[np.bool_]:
    """Draw the dropout masks row by row: the masks of fewer passes are a prefix of those of more.

    Parameters
    ----------
    passes : int
        Number of passes T.
    n_features : int
        Number of features F.
    rate : float
        Dropout rate p in [0, 1).
    seed : int
        Seed of the ``numpy.random.Generator``; the same seed gives the same masks everywhere.

    Returns
    -------
    (T, F) ndarray of bool
        True where a feature is kept.
    """
    uniform = np.random.default_rng(seed).random((passes, n_features), dtype=np.float32)
    return uniform >= rate


def normalise(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each row of (N, D) to Euclidean length 1; a row of zeros stays zero."""
    length = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))[:, None]
    unit: NDArray[np.float32] = vectors / np.maximum(length, np.finfo(np.float32).tiny)
    return unit


def pairwise_distances(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """Euclidean distances between all rows of (T, D): symmetric (T, T), zero on the diagonal."""
    points = np.asarray(embeddings, dtype=np.float64)
    gram = points @ points.T
    squares = np.diagonal(gram)
    distances: NDArray[np.float64] = np.sqrt(
        np.maximum(squares[:, None] + squares[None, :] - 2 * gram, 0.0)
    )
    np.fill_diagonal(distances, 0.0)
    return distances


def running_mean_distance(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean distance over the pairs of the first t passes, for every t at once.

    Parameters
    ----------
    distances : (T, T) ndarray of float64
        From `pairwise_distances`.

    Returns
    -------
    (T,) ndarray of float64
        Entry t-1 belongs to t passes; the first is NaN, because one pass has no pair.
    """
    t = np.arange(1, len(distances) + 1)
    sums = np.tril(distances, -1).sum(axis=1).cumsum()
    pairs = t * (t - 1) / 2
    return np.divide(sums, pairs, out=np.full(len(t), np.nan), where=pairs > 0)


def running_standard_error(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Jackknife standard error of `running_mean_distance`, for every t at once.

    The mean distance is a U-statistic of degree two. Leaving out pass i changes it by a multiple
    of h_i, the mean distance of pass i to the others, which gives
    SE² = 4 (t-1) / (t (t-2)²) · sum_i (h_i - mean h)² (Arvesen, "Jackknifing U-statistics",
    Ann. Math. Statist. 40, 1969). For large t this is 2 · std(h) / sqrt(t).

    Returns
    -------
    (T,) ndarray of float64
        NaN for t = 1 and t = 2, where no pass can be left out.
    """
    t = np.arange(1, len(distances) + 1, dtype=np.float64)
    sums = np.triu(np.cumsum(distances, axis=1))  # row i, column t: (t-1) h_i after t passes
    squares = np.einsum("it,it->t", sums, sums) - sums.sum(axis=0) ** 2 / t
    with np.errstate(divide="ignore", invalid="ignore"):
        error: NDArray[np.float64] = np.sqrt(
            4 * np.maximum(squares, 0.0) / (t * (t - 1) * (t - 2) ** 2)
        )
    error[:2] = np.nan
    return error


def standard_error(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Jackknife standard error of the mean distance after all passes, for many faces.

    Parameters
    ----------
    means : (N, T) ndarray of float64
        Mean distance h_i of each pass to the others, one row per face.

    Returns
    -------
    (N,) ndarray of float64
        The last entry of `running_standard_error` of each face; NaN for T = 2.
    """
    t = means.shape[1]
    if t <= 2:  # noqa: PLR2004  # no pass can be left out
        return np.full(len(means), np.nan)
    squares = ((means - means.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    error: NDArray[np.float64] = np.sqrt(4 * (t - 1) / (t * (t - 2) ** 2) * squares)
    return error


def leave_one_out(distances: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean distance over the pairs that remain when one pass is left out, for every pass.

    Parameters
    ----------
    distances : (T, T) ndarray of float64
        From `pairwise_distances`; T at least 3.

    Returns
    -------
    (T,) ndarray of float64
    """
    count = len(distances)
    own = distances.sum(axis=1)
    rest: NDArray[np.float64] = (own.sum() / 2 - own) / ((count - 1) * (count - 2) / 2)
    return rest


def raw_score(mean_distance: ArrayLike) -> NDArray[np.float64]:
    """Return 2 / (1 + exp(mean distance)), the score of the reference code; 1 is best.

    Two opposite embeddings, at distance 2, give 0.238. The mean distance of T embeddings is at most
    sqrt(2 T / (T - 1)), so for T → ∞ the lowest score is 2 / (1 + exp(sqrt 2)) = 0.391.
    """
    return 2.0 / (1.0 + np.exp(np.asarray(mean_distance, dtype=np.float64)))


def score_of(embeddings: NDArray[np.float32]) -> float:
    """Return the raw score of one face's passes (T, D) before normalisation, T at least 2."""
    passes = len(embeddings)
    distances = pairwise_distances(normalise(embeddings))
    return float(raw_score(distances.sum() / (passes * (passes - 1))))


def score_interval(
    mean_distance: NDArray[np.float64],
    error: NDArray[np.float64],
    passes: int | None = None,
    confidence: float = CONFIDENCE,
) -> NDArray[np.float64]:
    """Confidence intervals of raw scores.

    `raw_score` transforms the interval of the mean distance, which comes from Student's t with
    t - 1 degrees of freedom. The score falls as the distance grows, so the two ends are swapped.

    Parameters
    ----------
    mean_distance, error : (N,) ndarray of float64
        From `running_mean_distance` and `running_standard_error`, or one entry per face.
    passes : int, optional
        Number of passes of every entry; if not given, entry t-1 belongs to t passes.
    confidence : float
        Coverage, 0..1.

    Returns
    -------
    (N, 2) ndarray of float64
        Low and high end; NaN where the error is NaN.
    """
    quantiles = _student_quantiles(passes or len(mean_distance), 0.5 + confidence / 2)
    reach = (quantiles[-1] if passes else quantiles) * error
    return score_ends(mean_distance, reach)


def score_ends(
    mean_distance: NDArray[np.float64], reach: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the ends (N, 2) of raw scores for mean distances (N,) within ``reach`` (N,)."""
    nearest = np.maximum(mean_distance - reach, 0.0)
    return np.stack([raw_score(mean_distance + reach), raw_score(nearest)], axis=1)


@lru_cache(maxsize=64)
def _student_quantiles(count: int, share: float) -> NDArray[np.float64]:
    """Quantiles of Student's t with t - 1 degrees of freedom (one for t = 1), for t = 1..count."""
    from scipy.special import stdtrit

    quantiles: NDArray[np.float64] = stdtrit(np.maximum(np.arange(count), 1), share)
    return quantiles


@dataclass(frozen=True, eq=False)
class LimitTerms:
    """The terms of the closed form that depend on a head's matrix A (D, F) alone.

    Attributes
    ----------
    energies : (F,) ndarray of float32
        Squared lengths of the columns of A.
    squares : (F, F) ndarray of float32 or None
        Squared inner products of the columns: tr Σ² = vᵀ squares v for
        Σ = A diag(v) Aᵀ. None if there are more than `MAX_EXACT` columns.
    sides : tuple of two (S, F) ndarray of float32
        In that case P A and Q A, such that |P Σ Qᵀ|² estimates tr Σ². P and Q are S random
        orthogonal directions each (the two-sided form of Hutchinson's estimator), scaled so that
        the estimate is exact for features of equal variance.
    """

    energies: NDArray[np.float32]
    squares: NDArray[np.float32] | None = None
    sides: tuple[NDArray[np.float32], ...] = ()

    def trace_of_square(self, variances: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return tr Σ² (N,) for variances v (N, F) of the features."""
        if self.squares is not None:
            traces: NDArray[np.float32] = np.einsum("nf,nf->n", variances @ self.squares, variances)
            return traces.astype(np.float64)
        left, right = self.sides
        size = len(left)
        total = np.zeros((len(variances) * size, size), np.float32)
        for start in range(0, left.shape[1], STEP):
            some = slice(start, start + STEP)
            scaled = left[:, some] * variances[:, None, some]
            total += scaled.reshape(len(total), -1) @ right[:, some].T
        found = np.square(total, dtype=np.float64).reshape(len(variances), -1)
        sums: NDArray[np.float64] = found.sum(axis=1)
        return sums


def limit_terms(weight: NDArray[np.float32]) -> LimitTerms:
    """Prepare a head's matrix A (D, F) for `limit_distances`."""
    dimensions, n_features = weight.shape
    energies: NDArray[np.float32] = np.einsum("df,df->f", weight, weight)
    if n_features <= MAX_EXACT:
        products = weight.T @ weight
        return LimitTerms(energies, squares=products * products)
    rng = np.random.default_rng(0)
    size = min(SKETCH, dimensions)
    sides = []
    for _ in range(2):
        directions, _ = np.linalg.qr(rng.standard_normal((dimensions, size)))
        sides.append(directions.T.astype(np.float32) @ weight)
    left, right = sides
    exact, found = (np.linalg.norm(product) for product in (weight @ weight.T, left @ right.T))
    scale = np.float32(exact / found if found > 0.0 else 1.0)
    return LimitTerms(energies, sides=(left * scale, right))


def limit_distances(
    features: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    rate: float,
    *,
    terms: LimitTerms | None = None,
    order: int = 2,
) -> NDArray[np.float64]:
    """Mean pairwise distances in the limit of infinitely many passes, at the cost of one.

    x_t has mean μ = A f + c and covariance Σ = A diag(p/k f²) Aᵀ. With m = |μ|², t = tr Σ,
    n = m + t, the first order is sqrt(2 t / n). The second order expands 1 - cos of two
    independent passes to second moments, with t₂ = tr Σ² and q = μᵀ Σ μ, and corrects the square
    root for its variance.

    Parameters
    ----------
    features : (N, F) ndarray of float32
        Inputs of the dropout site, one row per face.
    weight, bias : (D, F) and (D,) ndarray of float32
        The affine head.
    rate : float
        Dropout rate p in [0, 1).
    terms : LimitTerms, optional
        `limit_terms` of the weight, if already computed.
    order : {1, 2}
        First order needs one dot product, second order two products with A.

    Returns
    -------
    (N,) ndarray of float64
        The distances; `raw_score` maps them to raw scores in closed form.
    """
    terms = limit_terms(weight) if terms is None else terms
    variances = np.float32(rate / (1 - rate)) * features * features
    mean = features @ weight.T + bias
    m = np.einsum("nd,nd->n", mean, mean).astype(np.float64)
    t = (variances @ terms.energies).astype(np.float64)
    n = np.where(t > 0.0, m + t, 1.0)
    first: NDArray[np.float64] = np.sqrt(2 * t / n)
    if order == 1:
        return first
    back = mean @ weight
    q = np.einsum("nf,nf,nf->n", variances, back, back).astype(np.float64)
    t2 = terms.trace_of_square(variances)
    e = t / n + 2 * q / n**2 - (m / n) * (3 * q + 1.5 * t2) / n**2
    v = t2 / n**2 * (1 + m**2 / n**2) + 2 * q * t**2 / n**4
    usable = np.where(e > 0.0, e, 1.0)
    return np.where(e > 0.0, np.sqrt(2 * usable) * (1 - v / (8 * usable**2)), first)


def scaled_score(raw: ArrayLike, alpha: float, r: float) -> NDArray[np.float64]:
    """Logistic stretch of the raw score to 0..1: 1 / (1 + exp(-alpha (raw - r)))."""
    scaled: NDArray[np.float64] = np.tanh(0.5 * alpha * (np.asarray(raw, dtype=np.float64) - r))
    return 0.5 * (1.0 + scaled)


def quality_margin(ends: ArrayLike, alpha: float, r: float) -> NDArray[np.float64]:
    """Half widths (N,) of intervals, in quality points, from their ends (N, 2) as raw scores."""
    margins: NDArray[np.float64] = 50 * np.ptp(scaled_score(ends, alpha, r), axis=-1)
    return margins


def quality_component(scaled: float) -> int:
    """Quality component value of ISO/IEC 29794-1: the scaled score as an integer 0..100."""
    return round(100 * float(scaled))
