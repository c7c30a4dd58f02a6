"""The mathematics against definitions, brute force and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from serfiq_widgets import robustness as rb

FLOAT32 = float(np.finfo(np.float32).eps)

clouds = st.integers(3, 40).flatmap(
    lambda t: arrays(np.float32, (t, 6), elements=st.floats(-1, 1, width=16))
)


def embeddings(seed: int, passes: int, spread: float = 0.3, dimensions: int = 32):
    rng = np.random.default_rng(seed)
    centre = rng.normal(size=dimensions)
    return rb.normalise(
        (centre + spread * rng.normal(size=(passes, dimensions))).astype(np.float32)
    )


@given(st.integers(2, 60), st.integers(1, 300), st.floats(0, 0.95), st.integers(0, 2**63 - 1))
def test_fewer_masks_are_a_prefix_of_more(passes, n_features, rate, seed):
    many = rb.draw_masks(passes + 17, n_features, rate, seed)
    np.testing.assert_array_equal(rb.draw_masks(passes, n_features, rate, seed), many[:passes])


def test_masks_keep_the_share_that_the_rate_says():
    kept = rb.draw_masks(500, 1000, 0.4, seed=3).mean()
    assert abs(kept - 0.6) < 5 * np.sqrt(0.24 / 500_000)


@given(clouds)
def test_distances_are_euclidean(points):
    brute = np.linalg.norm(points[:, None].astype(float) - points[None].astype(float), axis=-1)
    # |a|² + |b|² - 2ab loses half the digits of a float64 where points nearly coincide
    np.testing.assert_allclose(rb.pairwise_distances(points), brute, atol=1e-7)


@given(clouds)
def test_running_mean_is_the_mean_over_the_pairs_so_far(points):
    distances = rb.pairwise_distances(points)
    running = rb.running_mean_distance(distances)
    assert np.isnan(running[0])
    for t in range(2, len(points) + 1):
        pairs = distances[:t, :t][np.triu_indices(t, 1)]
        assert running[t - 1] == pytest.approx(pairs.mean(), abs=1e-12)


@given(clouds)
def test_running_error_is_the_jackknife_by_definition(points):
    distances = rb.pairwise_distances(points)
    errors = rb.running_standard_error(distances)
    assert np.isnan(errors[:2]).all()
    t = len(points)
    left_out = []
    for i in range(t):
        rest = np.delete(np.delete(distances, i, 0), i, 1)
        left_out.append(rest[np.triu_indices(t - 1, 1)].mean() if t > 2 else np.nan)
    jackknife = np.sqrt((t - 1) / t * ((left_out - np.mean(left_out)) ** 2).sum())
    assert errors[-1] == pytest.approx(jackknife, abs=1e-9)


@pytest.mark.parametrize("passes", [10, 100])
def test_interval_covers_the_score_of_infinitely_many_passes(passes):
    truth = rb.raw_score(rb.running_mean_distance(rb.pairwise_distances(embeddings(1, 3000)))[-1])
    centre_of = np.random.default_rng(1).normal(size=32)
    hits, repeats = 0, 400
    rng = np.random.default_rng(7)
    for _ in range(repeats):
        sample = rb.normalise((centre_of + 0.3 * rng.normal(size=(passes, 32))).astype(np.float32))
        distances = rb.pairwise_distances(sample)
        bands = rb.score_interval(
            rb.running_mean_distance(distances), rb.running_standard_error(distances)
        )
        hits += bands[-1, 0] <= truth <= bands[-1, 1]
    # 0.95 less four standard errors of a share of 400, and the jackknife is known to be cautious
    assert hits / repeats >= 0.95 - 4 * np.sqrt(0.95 * 0.05 / repeats)


def test_score_by_hand():
    assert rb.raw_score(0.0) == 1.0
    assert rb.raw_score(np.log(3.0)) == pytest.approx(0.5)
    points = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    mean = (2 * np.sqrt(2) + 2) / 3
    assert rb.running_mean_distance(rb.pairwise_distances(points))[-1] == pytest.approx(mean)


@given(clouds)
def test_many_passes_score_at_least_the_floor(points):
    unit = rb.normalise(points[np.linalg.norm(points, axis=1) > 0])
    t = len(unit)
    if t >= 2:
        farthest = np.sqrt(2 * t / (t - 1))  # by Jensen: the mean squared distance of unit vectors
        assert rb.score_of(unit) >= rb.raw_score(farthest) - 1e-7
    assert rb.raw_score(np.sqrt(2)) == pytest.approx(0.391, abs=5e-4)


def test_simplex_of_embeddings_reaches_the_floor():
    t = 50
    simplex = rb.normalise((np.eye(t) - 1 / t).astype(np.float32))
    assert rb.score_of(simplex) == pytest.approx(rb.raw_score(np.sqrt(2 * t / (t - 1))), abs=1e-6)


@given(st.floats(0, 2), st.floats(0, 2))
def test_raw_falls_as_the_distance_grows(a, b):
    if a < b - 1e-9:
        assert rb.raw_score(a) > rb.raw_score(b)


@given(st.floats(0, 1), st.floats(1, 500), st.floats(0, 1))
def test_scaled_is_the_logistic_and_never_overflows(raw, alpha, r):
    scaled = float(rb.scaled_score(raw, alpha, r))
    exponent = -alpha * (raw - r)
    expected = 1 / (1 + np.exp(exponent)) if exponent < 700 else 0.0
    assert scaled == pytest.approx(expected, abs=1e-12)
    assert 0 <= rb.quality_component(scaled) <= 100


def head(seed: int, dimensions: int, n_features: int):
    rng = np.random.default_rng(seed)
    weight = (rng.normal(size=(dimensions, n_features)) / np.sqrt(n_features)).astype(np.float32)
    return weight, (0.1 * rng.normal(size=dimensions)).astype(np.float32)


@settings(max_examples=15)
@given(st.integers(0, 10_000), st.floats(0.1, 0.5))
def test_limit_is_where_many_passes_go(seed, rate):
    weight, bias = head(seed, 64, 512)
    features = np.random.default_rng(seed + 1).normal(size=512).astype(np.float32)
    masks = rb.draw_masks(1500, 512, rate, seed)
    vectors = rb.normalise((masks * (features / (1 - rate))) @ weight.T + bias)
    distances = rb.pairwise_distances(vectors)
    mean = rb.running_mean_distance(distances)[-1]
    error = rb.running_standard_error(distances)[-1]
    (limit,) = rb.limit_distances(features[None], weight, bias, rate)
    # the expansion stops at second moments: 64 dimensions leave about half a percent
    assert abs(limit - mean) <= 4 * error + 0.005 * mean


def test_limit_of_a_head_without_scatter_is_the_perfect_score():
    weight, bias = head(0, 8, 16)
    assert rb.limit_distances(np.zeros((1, 16), np.float32), weight, bias, 0.4) == 0.0
    assert rb.limit_distances(np.ones((1, 16), np.float32), weight, bias, 0.0) == 0.0


def test_limits_of_many_faces_are_those_of_each():
    weight, bias = head(3, 32, 256)
    features = np.random.default_rng(4).normal(size=(5, 256)).astype(np.float32)
    features[2] = 0.0
    together = rb.limit_distances(features, weight, bias, 0.4)
    apart = [float(rb.limit_distances(row[None], weight, bias, 0.4)[0]) for row in features]
    # float32 sums of 256 terms in another order: 256 * 6e-8 at the worst
    np.testing.assert_allclose(together, apart, rtol=2e-5)


def test_the_sketch_agrees_with_the_exact_trace(monkeypatch):
    weight, bias = head(5, 128, 2048)
    features = np.random.default_rng(6).normal(size=(20, 2048)).astype(np.float32)
    exact = rb.limit_distances(features, weight, bias, 0.4)
    monkeypatch.setattr(rb, "MAX_EXACT", 0)
    terms = rb.limit_terms(weight)
    assert [side.shape for side in terms.sides] == 2 * [(rb.SKETCH, 2048)]
    equal = np.ones((1, 2048), np.float32)
    products = weight.astype(np.float64).T @ weight
    assert terms.trace_of_square(equal) == pytest.approx((products**2).sum(), rel=1e-4)
    sketched = rb.limit_distances(features, weight, bias, 0.4, terms=terms)
    # the trace enters as t2/(4 t²), about 1/(4 D): a tenth of it wrong moves 2e-4
    np.testing.assert_allclose(sketched, exact, rtol=1e-3)
    assert not np.array_equal(sketched, exact)
