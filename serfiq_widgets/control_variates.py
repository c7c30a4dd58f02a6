"""Scores with little sampling error: control variates for the distances between passes.

The features and the dropout rate give the exact probability of each mask, so moments of the
stochastic embeddings are known before any pass is made. A polynomial of the embeddings that
approximates the distance of two passes therefore has a known mean. From each distance the deviation
of that polynomial from its mean is subtracted. The difference has the mean of the plain distances
and, with the network `mini` at p = 0.4, 1/400 of their variance or less: five passes vary less
than two hundred plain ones. Pure functions on arrays, for affine heads only: the moments of other
heads are not known.

On control variates see R. Y. Rubinstein and R. Marcus, "Efficiency of multivariate control
variates in Monte Carlo simulation", Operations Research 33, 1985; A. B. Owen, "Monte Carlo theory,
methods and examples", 2013, chapter 8. Related methods propagate moments through a network instead
of drawing masks: S. Wang and C. Manning, "Fast dropout training", ICML 2013; J. Postels,
F. Ferroni, H. Coskun, N. Navab and F. Tombari, "Sampling-free epistemic uncertainty estimation
using approximated variance propagation", ICCV 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.robustness import CONFIDENCE, LimitTerms, limit_terms, raw_score, score_ends

SKETCH_ERROR = 0.015  # relative error of tr Σ² where it is estimated
OF_GAP, OF_HEAVY = 0.30, 0.047  # see `Moments.rest`
FREEDOM = 12  # weight of `Moments.rest`, in degrees of freedom
MAX_EXCESS = 6  # times the expected variance: above, only the variance of the passes is used
CHUNK = 2**20  # distances in memory at once when many faces are controlled
TOLERANCE = 0.003  # allowed error of a closed form, relative to the raw score


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of the stochastic embeddings of N faces, known before any pass is made.

    Attributes
    ----------
    square : (N,) ndarray of float64
        m = |μ|², of the mean embedding before normalisation.
    scatter : (N,) ndarray of float64
        t = tr Σ, the mean squared distance of an embedding to μ. 0: all passes are equal.
    gap : (N,) ndarray of float64
        Mean of the polynomial that approximates the distance, minus d₀ (its value at the moments).
    doubt : (N,) ndarray of float64
        Standard error of ``gap``: 0 where tr Σ² is exact.
    rest : (N,) ndarray of float64
        Expected sampling error that remains: the mean of T passes has a standard error of
        ``rest`` / sqrt(T - 1). It is of third order: proportional to d₀ times the gap, which is of
        second order, and larger where few features carry the scatter: with h = Σ e² / (Σ e)² and
        ε as in `moments`, rest = d₀ hypot(0.30 gap, 0.047 h sqrt(E ε⁶ / (E ε²)³)), at most d₀.
        A rule of thumb, found on two networks of 128 dimensions, thirteen kinds of faces and rates
        .1 to .5, where it is mostly right within 25 %; it is too small below 32 dimensions.
    """

    square: NDArray[np.float64]
    scatter: NDArray[np.float64]
    gap: NDArray[np.float64]
    doubt: NDArray[np.float64]
    rest: NDArray[np.float64]

    @property
    def total(self) -> NDArray[np.float64]:
        """Mean squared length of an embedding, n = m + t (N,); 1 where the scatter is 0."""
        total: NDArray[np.float64] = np.where(self.scatter > 0.0, self.square + self.scatter, 1.0)
        return total

    @property
    def distances(self) -> NDArray[np.float64]:
        """Closed form of the mean distance (N,) for T → ∞: d₀ and the mean of the polynomial."""
        closed: NDArray[np.float64] = np.sqrt(2 * self.scatter / self.total) + self.gap
        return closed

    def of(self, faces: slice | NDArray[np.intp]) -> Moments:
        """Return the moments of some of the faces."""
        return Moments(
            *(part[faces] for part in (self.square, self.scatter, self.gap, self.doubt, self.rest))
        )


def moments(
    features: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    rate: float,
    *,
    terms: LimitTerms | None = None,
) -> Moments:
    """Compute the moments that `controlled_distances` needs, at the cost of two passes.

    An embedding before normalisation is x = μ + y with μ = A f + c and y = Σ_i a_i ε_i, where
    a_i = f_i A_·i and the ε_i are independent: ε = 1/k - 1 with probability k = 1 - p, else -1.
    Their cumulants are κ₂ = p/k, κ₃ = p (p - k)/k² and κ₄ = p (p³ + k³)/k³ - 3 κ₂². With
    e_i = |a_i|² and b_i = μᵀa_i,

        t = E|y|² = κ₂ Σ e_i,            q = E(μᵀy)² = κ₂ Σ b_i²,
        s₃ = E[μᵀy |y|²] = κ₃ Σ b_i e_i,  s₄ = E|y|⁴ - t² = 2 tr Σ² + κ₄ Σ e_i².

    For two independent passes, G = (x_i·x_j - m)/n and w_i = |x_i|²/n - 1 have mean 0, and

        E G² = (2q + tr Σ²)/n²,          E G w_i = (2q + s₃)/n²,
        E w_i² = (4q + 4 s₃ + s₄)/n²,    E w_i w_j = 0.

    Parameters
    ----------
    features : (N, F) ndarray of float32
        Inputs of the dropout site, one row per face; finite.
    weight, bias : (D, F) and (D,) ndarray of float32
        The affine head.
    rate : float
        Dropout rate p in [0, 1).
    terms : LimitTerms, optional
        `robustness.limit_terms` of the weight, if already computed. For a head with more than
        `robustness.MAX_EXACT` features tr Σ² is an estimate, with its error in ``doubt``.

    Returns
    -------
    Moments
    """
    terms = limit_terms(weight) if terms is None else terms
    sums = moment_sums(features, weight, bias, terms)
    return moments_from(sums, rate, sketched=terms.squares is None)


def moment_sums(
    features: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32],
    terms: LimitTerms,
) -> NDArray[np.float64]:
    """Return m, Σ e, Σ b², Σ b e, Σ e² and tr (Σ/κ₂)² of `moments`: (6, N), whatever the rate.

    One face after the other: the arrays of one stay in the processor's cache.
    """
    mean = (weight @ features.T).T + bias
    back = (weight.T @ mean.T).T
    sums = np.empty((6, len(features)))
    sums[0] = (mean.astype(np.float64) ** 2).sum(axis=1)
    energies = terms.energies.astype(np.float64)
    for n, (row, behind) in enumerate(zip(features, back, strict=True)):
        e = row.astype(np.float64)
        b = behind * e
        e *= e
        e *= energies
        sums[1:5, n] = e.sum(), b @ b, b @ e, e @ e
    sums[5] = terms.trace_of_square(features * features)
    return sums


def moments_from(sums: NDArray[np.float64], rate: float, *, sketched: bool = False) -> Moments:
    """Return the moments of N faces from their `moment_sums` (6, N).

    ``sketched`` says that tr Σ² is an estimate, with an error of its own.
    """
    keep = 1.0 - rate
    odds = rate / keep
    third = rate * (rate - keep) / keep**2
    fourth = rate * (rate**3 + keep**3) / keep**3 - 3 * odds**2
    sixth = (rate**5 + keep**5) / (rate * keep) ** 2 if rate else 0.0  # E ε⁶ / (E ε²)³
    m, energy, b2, be, squares, trace = sums
    t = odds * energy
    n = np.where(t > 0.0, m + t, 1.0)
    q = odds * b2 / n**2
    s3 = third * be / n**2
    t2 = odds**2 * trace / n**2
    s4 = 2 * t2 + fourth * squares / n**2
    tau = np.where(t > 0.0, t / n, 1.0)
    c = 1.0 - tau
    product = 2 * q + s3  # E G w
    lengths = 4 * q + 4 * s3 + s4  # E w²
    gap = (product - 0.75 * c * lengths) / (2 * tau) - (
        2 * q + t2 - 2 * c * product + 0.5 * c**2 * lengths
    ) / (8 * tau**2)
    leverage = 0.75 * c / tau + (1 + c**2) / (8 * tau**2)  # of tr Σ²
    doubt = leverage * t2 * (SKETCH_ERROR if sketched else 0.0)
    first = np.where(t > 0.0, np.sqrt(2 * tau), 0.0)
    heavy = np.sqrt(sixth) * squares * (odds / np.where(t > 0.0, t, 1.0)) ** 2
    rest = first * np.minimum(np.hypot(OF_GAP * first * gap, OF_HEAVY * heavy), 1.0)
    return Moments(m, t, first * gap, first * doubt, rest)


def controlled_distances(embeddings: NDArray[np.float32], known: Moments) -> NDArray[np.float64]:
    """Distances between passes, each minus the part that the known moments explain.

    With G and w as in `moments`, τ = t/n and c = 1 - τ, the distance of two normalised embeddings
    is d = sqrt(2 - 2 (c + G) / sqrt((1 + w_i) (1 + w_j))). Let W = (w_i + w_j)/2. To second order
    in G, w_i and w_j,

        1 - d²/2 = c - L - Q,  L = c W - G,  Q = G W - 3/2 c W² + 1/2 c w_i w_j,
        d = d₀ + C,  d₀ = sqrt(2 τ),  C = d₀ ((L + Q)/(2 τ) - L²/(8 τ²)),

    and the mean of C is known exactly (`Moments.gap`). So r = d - C + E C has the mean of d for
    every pair of passes: the mean of r is unbiased for every T. The coefficients come from a Taylor
    expansion; none is fitted. The remaining sampling error of r is of third order.

    Parameters
    ----------
    embeddings : (T, D) or (N, T, D) ndarray of float32
        Embeddings before normalisation, of one face or of many under T masks each. The distances do
        not depend on their lengths, but G and w do.
    known : Moments
        `moments` of that face or of those N faces.

    Returns
    -------
    (T, T) or (N, T, T) ndarray of float64
        Symmetric, zero on the diagonal; can replace `robustness.pairwise_distances`. Single
        entries may lie outside 0..2. Zero where the scatter is 0.
    """
    x = np.asarray(embeddings, dtype=np.float64)
    several = x.reshape(-1, *x.shape[-2:])
    t, n, m, gap = (
        part.reshape(-1, 1, 1) for part in (known.scatter, known.total, known.square, known.gap)
    )
    gram = several @ several.swapaxes(1, 2)
    squares = np.einsum("ntt->nt", gram).copy()
    lengths = np.sqrt(np.where(squares > 0.0, squares, 1.0))
    units = (squares > 0.0).astype(np.float64)  # a row of zeros stays zero when normalised
    d = gram / lengths[:, :, None]
    d /= -0.5 * lengths[:, None, :]
    d += units[:, :, None] + units[:, None, :]
    np.sqrt(np.maximum(d, 0.0, out=d), out=d)
    tau = np.where(t > 0.0, t / n, 1.0)
    c = 1.0 - tau
    w = squares / n[:, :, 0] - 1.0
    half = w[:, :, None] + w[:, None, :]
    half *= 0.5  # W
    gram -= m
    gram /= n  # G
    first = c * half
    first -= gram  # L
    # C/d₀ = (L + (G - 3/2 c W) W + c/2 w_i w_j) / (2 τ) - L²/(8 τ²)
    half *= gram - 1.5 * c * half
    half += first
    half += (0.5 * c * w[:, :, None]) * w[:, None, :]
    half -= first * first / (4 * tau)
    half *= np.sqrt(2 * tau) / (2 * tau)
    d -= half - gap
    d *= t > 0.0
    np.einsum("ntt->nt", d)[...] = 0.0
    controlled: NDArray[np.float64] = d.reshape(*x.shape[:-1], x.shape[-2])
    return controlled


@dataclass(frozen=True, eq=False)
class Estimate:
    """Mean distances of controlled passes, with their standard errors.

    Attributes
    ----------
    mean : (N,) ndarray of float64
        Of N faces; or of one face after 1, 2, 3 ... passes, where the first is NaN.
    error : (N,) ndarray of float64
        Standard error.
    freedom : (N,) ndarray of float64
        Degrees of freedom of the error, for Student's t.
    """

    mean: NDArray[np.float64]
    error: NDArray[np.float64]
    freedom: NDArray[np.float64]

    @property
    def raw(self) -> NDArray[np.float64]:
        """Raw scores (N,)."""
        return raw_score(self.mean)

    def interval(self, confidence: float = CONFIDENCE) -> NDArray[np.float64]:
        """Confidence intervals (N, 2) of the raw scores, low and high end."""
        from scipy.special import stdtrit

        reach = stdtrit(self.freedom, 0.5 + confidence / 2) * self.error
        return score_ends(self.mean, reach)


def running_estimate(distances: NDArray[np.float64], known: Moments) -> Estimate:
    """Mean of controlled distances over the pairs of the first t passes, for every t at once.

    With r_ij = θ + g_i + g_j + e_ij the variance of the mean is 4 var g / t + 2 var e / (t (t-1)).
    The jackknife counts var e up to twice, and e dominates when passes are few, so both parts are
    estimated separately, as in an analysis of variance. Variances from few passes are uncertain,
    more so where a rare mask has a large effect. So the estimate is shrunk towards the variance
    that `Moments.rest` predicts, with the weight of FREEDOM passes (G. K. Smyth, "Linear models and
    empirical Bayes methods", Stat. Appl. Genet. Mol. Biol. 3, 2004), unless the passes scatter much
    more than expected. Two passes give no estimate of it: their error is the predicted one.

    Parameters
    ----------
    distances : (T, T) ndarray of float64
        From `controlled_distances`.
    known : Moments
        Of that one face.

    Returns
    -------
    Estimate
        Entry t-1 belongs to t passes. ``mean`` is `robustness.running_mean_distance`.
    """
    t = np.arange(1, len(distances) + 1, dtype=np.float64)
    off = np.tril(distances - known.distances, -1)  # near 0, so that squares keep their digits
    totals = off.sum(axis=1).cumsum()
    squares = np.einsum("ij,ij->i", off, off).cumsum()
    rows = np.triu(np.cumsum(off + off.T, axis=1))  # row i, column t: sum over the others
    ends = np.einsum("it,it->t", rows, rows)
    return _estimate(t, totals, squares, ends, known)


def estimate(embeddings: NDArray[np.float32], known: Moments) -> Estimate:
    """Mean controlled distances of many faces after all passes.

    Parameters
    ----------
    embeddings : (N, T, D) ndarray of float32
        Embeddings before normalisation, T at least 2.
    known : Moments
        Of the N faces.

    Returns
    -------
    Estimate
        Entry n is the last entry of face n's `running_estimate`. The T x T distances of only a few
        faces are in memory at once.
    """
    return estimate_from(pair_sums(embeddings, known), embeddings.shape[1], known)


def pair_sums(embeddings: NDArray[np.float32], known: Moments) -> NDArray[np.float64]:
    """Return the three sums per face that `estimate_from` needs, from passes (N, T, D).

    With r' = r minus the closed form, they are: the sum of r' over the pairs of passes, the sum of
    its squares, and the sum over the passes of the squared sum of a pass's r'.

    Returns
    -------
    (3, N) ndarray of float64
    """
    count, passes, _ = embeddings.shape
    size = max(1, CHUNK // passes**2)
    sums = np.empty((3, count))
    for start in range(0, count, size):
        few = slice(start, start + size)
        part = known.of(few)
        off = controlled_distances(embeddings[few], part) - part.distances[:, None, None]
        np.einsum("ntt->nt", off)[...] = 0.0
        rows = off.sum(axis=2)
        sums[:, few] = (
            rows.sum(axis=1) / 2,
            np.einsum("nij,nij->n", off, off) / 2,
            np.einsum("nt,nt->n", rows, rows),
        )
    return sums


def estimate_from(sums: NDArray[np.float64], passes: int, known: Moments) -> Estimate:
    """Return the estimate of N faces after all passes, from their `pair_sums`."""
    totals, squares, ends = sums
    return _estimate(np.full(sums.shape[1], float(passes)), totals, squares, ends, known)


def _estimate(
    t: NDArray[np.float64],
    totals: NDArray[np.float64],
    squares: NDArray[np.float64],
    ends: NDArray[np.float64],
    known: Moments,
) -> Estimate:
    """Estimate from sums over the pairs of t passes, with the closed form subtracted.

    They are the sum, the sum of squares, and the sum over the passes of the squared sum of a pass's
    pairs.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = t * (t - 1) / 2
        mean = totals / pairs
        between = np.maximum(ends - (2 * totals) ** 2 / t, 0.0) / (t - 1) ** 2
        within = squares - pairs * mean**2 - (t - 1) ** 2 / (t - 2) * between
        # three passes leave no degree of freedom to separate the two parts
        within = np.where(t > 3, np.maximum(within, 0.0) / (t * (t - 3) / 2), 0.0)  # noqa: PLR2004
        jackknife = 4 * (t - 1) / (t * (t - 2) ** 2) * between
        least = 2 * within / (t * (t - 1))
        found = np.maximum(jackknife + least - 4 * within / (t * (t - 2)), least)
        found = np.where(t > 2, found, 0.0)  # noqa: PLR2004  # no pass can be left out
        freedom = np.where(t > 2, t - 1, 0.0)  # noqa: PLR2004
        expected = known.rest**2 / (t - 1)
        both = (FREEDOM * expected + freedom * found) / (FREEDOM + freedom)
    excessive = found > MAX_EXCESS * expected
    error = np.sqrt(np.where(excessive, found, both) + known.doubt**2)
    freedom = np.where(excessive, freedom, FREEDOM + freedom)
    error[t < 2] = np.nan  # noqa: PLR2004  # one pass has no pair
    return Estimate(mean + known.distances, error, freedom)


def closed_form_is_safe(
    closed: NDArray[np.float64], ends: NDArray[np.float64], tolerance: float = TOLERANCE
) -> NDArray[np.bool_]:
    """Return for each face whether its closed form can be used as its score.

    It can if the whole interval of a few controlled passes lies near it; five passes are enough.

    Parameters
    ----------
    closed : (N,) ndarray of float64
        Raw scores in closed form; NaN (there is none) is not safe.
    ends : (N, 2) ndarray of float64
        The intervals of the controlled scores of the same faces.
    tolerance : float
        Largest allowed distance of the interval's ends from the closed form, relative to it.

    Returns
    -------
    (N,) ndarray of bool
    """
    raw = np.asarray(closed)[:, None]
    safe: NDArray[np.bool_] = (np.abs(ends - raw) <= tolerance * raw).all(axis=1)
    return safe
