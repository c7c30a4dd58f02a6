"""Control variates: against all masks there are, against Taylor, and on the bundled network."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serfiq_widgets import Scorer, find_face
from serfiq_widgets import control_variates as cv
from serfiq_widgets import robustness as rb
from serfiq_widgets.resources import sample_images

seeds = st.integers(0, 10_000)
rates = st.sampled_from([0.05, 0.1, 0.3, 0.5, 0.7, 0.9])


def head(seed, dimensions=32, n_features=256):
    rng = np.random.default_rng(seed)
    weight = (rng.normal(size=(dimensions, n_features)) / np.sqrt(n_features)).astype(np.float32)
    features = np.abs(rng.normal(size=n_features)).astype(np.float32)
    return weight, rng.normal(size=dimensions).astype(np.float32), features


def passes(weight, bias, features, rate, count, seed=0):
    masks = rb.draw_masks(count, len(features), rate, seed)
    return (masks * (features / np.float32(1 - rate))) @ weight.T + bias


def known_of(weight, bias, features, rate, **options):
    return cv.moments(features[None], weight, bias, rate, **options)


def distance(x, y):
    one, other = (v / (np.linalg.norm(v) or 1.0) for v in (x, y))
    return np.linalg.norm(one - other)


@given(seeds, rates, st.integers(1, 4), st.booleans())
def test_over_all_masks_the_mean_is_that_of_the_plain_distances(seed, rate, n_features, biased):
    weight, bias, features = head(seed, 3, n_features)
    bias = bias * np.float32(biased)  # without, an embedding may be zero, and stays so
    masks = np.array(list(itertools.product([0, 1], repeat=n_features)))
    chance = np.where(masks, 1 - rate, rate).prod(axis=1)
    x = (masks * features.astype(float) / (1 - rate)) @ weight.T.astype(float) + bias
    known = known_of(weight, bias, features, rate)
    # two passes may see the same mask: each pair is asked for by itself
    pairs = [(i, j) for i in range(len(x)) for j in range(len(x))]
    controlled = [cv.controlled_distances(x[[i, j]], known)[0, 1] for i, j in pairs]
    plain = [distance(x[i], x[j]) for i, j in pairs]
    weights = [chance[i] * chance[j] for i, j in pairs]
    # the moments come of float32 products, a few 1e-7 each; the largest terms are 1/(4 tau)
    tolerance = 1e-6 * (1 + known.total[0] / known.scatter[0])
    assert np.dot(weights, controlled) == pytest.approx(np.dot(weights, plain), abs=tolerance)


@given(seeds, st.floats(0.05, 0.9))
def test_what_is_taken_off_is_the_distance_to_second_order(seed, tau):
    rng = np.random.default_rng(seed)
    m, t = 1 - tau, tau
    known = cv.Moments(*(np.array([value]) for value in (m, t, 0.0, 0.0, 0.0)))
    # |x| = 1 and x · y = m: there G and w are zero, and the distance is d0
    there = np.array([[1.0, 0.0, 0.0], [m, np.sqrt(1 - m**2), 0.0]])
    away = rng.normal(size=there.shape)
    first = np.sqrt(2 * tau)
    left = [
        cv.controlled_distances(there + step * away, known)[0, 1] - first
        for step in (0, 1e-3, 2e-3)
    ]
    assert abs(left[0]) < 1e-12
    # third order: twice as far leaves eight times as much, with 1e-3/tau of fourth order in it
    assert left[2] == pytest.approx(8 * left[1], rel=0.3, abs=3e-9 / tau**2)
    assert abs(left[2]) < 1e-6 / tau**2.5


@given(seeds, st.integers(2, 30))
def test_the_order_of_the_passes_changes_nothing(seed, count):
    weight, bias, features = head(seed, 8, 40)
    known = known_of(weight, bias, features, 0.4)
    x = passes(weight, bias, features, 0.4, count, seed)
    order = np.random.default_rng(seed).permutation(count)
    distances = cv.controlled_distances(x, known)
    # sums of float64 in another order
    np.testing.assert_allclose(
        cv.controlled_distances(x[order], known), distances[np.ix_(order, order)], atol=1e-12
    )
    one, other = (cv.estimate(rows[None], known) for rows in (x, x[order]))
    np.testing.assert_allclose(one.mean, other.mean, atol=1e-12)
    np.testing.assert_allclose(one.error, other.error, atol=1e-9)


@given(seeds, rates, st.integers(-8, 8))
def test_scaled_features_and_a_turned_embedding_change_nothing(seed, rate, power):
    weight, bias, features = head(seed)
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(len(bias), len(bias))))[0].astype(np.float32)
    scale = np.float32(2.0**power)
    first = None
    for a, c, f in (
        (weight, bias, features),
        (weight, bias * scale, features * scale),
        (turn @ weight, turn @ bias, features),
    ):
        known = known_of(a, c, f, rate)
        found = cv.estimate(passes(a, c, f, rate, 10)[None], known)
        now = known.distances, found.mean, found.error
        first = now if first is None else first
        # a float32 product of 256 terms: 1e-6 of embeddings, up to 1/tau, here 30, of distances
        np.testing.assert_allclose(now[:2], first[:2], rtol=1e-4)
        # and the error is about a hundredth of the distance
        np.testing.assert_allclose(now[2], first[2], rtol=1e-2)


def is_sound(x, known):
    distances = cv.controlled_distances(x, known)
    found = cv.running_estimate(distances, known)
    assert np.isfinite(distances).all()
    assert not np.diagonal(distances).any()
    assert np.isnan(found.mean[0])
    assert np.isfinite(found.interval()[1:]).all()
    return found


def test_nothing_is_divided_by_zero():
    weight, bias, features = head(1)
    known = known_of(weight, bias, features, 0.4)
    x = passes(weight, bias, features, 0.4, 6)
    is_sound(np.repeat(x[:1], 6, axis=0), known)  # equal masks
    for count in (2, 3, 4):
        is_sound(x[:count], known)
    x[2] = 0.0
    x[4] = 0.0  # everything dropped, no bias: zero to the others' one, as plain distances have it
    is_sound(x, known)


@pytest.mark.parametrize("rate", [0.0, 1e-12, 1e-7, 0.01])
def test_without_scatter_the_score_is_perfect(rate):
    weight, bias, features = head(2)
    for f, c in ((features, bias), (0 * features, bias), (0 * features, 0 * bias)):
        known = known_of(weight, c, f, rate)
        found = is_sound(passes(weight, c, f, rate, 5), known)
        if rate == 0.0 or not f.any():
            np.testing.assert_array_equal(found.mean[1:], 0.0)
            np.testing.assert_array_equal(found.interval()[1:], 1.0)
            assert known.distances == 0.0


@given(seeds, st.integers(2, 12), st.integers(1, 5))
def test_many_faces_are_scored_as_one_by_one(seed, count, faces):
    weight, bias, _ = head(seed, 8, 40)
    features = np.random.default_rng(seed).normal(size=(faces, 40)).astype(np.float32)
    features[0] = 0.0
    known = cv.moments(features, weight, bias, 0.3)
    x = np.stack([passes(weight, bias, row, 0.3, count, seed) for row in features])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cv, "CHUNK", 2 * count**2)  # two faces at a time
        together = cv.estimate(x, known)
    several = cv.controlled_distances(x, known)
    for i in range(faces):
        own = known.of(slice(i, i + 1))
        alone = cv.running_estimate(cv.controlled_distances(x[i], own), own)
        np.testing.assert_allclose(several[i], cv.controlled_distances(x[i], own), atol=1e-12)
        np.testing.assert_allclose(together.mean[i], alone.mean[-1], atol=1e-12)
        np.testing.assert_allclose(together.error[i], alone.error[-1], atol=1e-9)
        assert together.freedom[i] == alone.freedom[-1]


def test_the_running_mean_is_that_of_the_distances():
    weight, bias, features = head(3)
    known = known_of(weight, bias, features, 0.4)
    distances = cv.controlled_distances(passes(weight, bias, features, 0.4, 50), known)
    found = cv.running_estimate(distances, known)
    np.testing.assert_allclose(found.mean, rb.running_mean_distance(distances), atol=1e-12)
    low, high = found.interval().T
    assert ((low < found.raw) & (found.raw < high))[1:].all()


def faces():
    scorer = Scorer("mini", engine="onnxruntime")
    names = ("collins.jpg", "hopper_noise.jpg", "collins_mask.jpg", "hopper.jpg")
    return scorer, scorer.features([find_face(p) for p in sample_images() if p.name in names])


def test_the_variance_falls_more_than_thirtyfold():
    scorer, features = faces()
    network = scorer.network.head
    known = cv.moments(features, network.weight, network.bias, scorer.rate)
    plain, controlled = [], []
    for seed in range(40):
        masks = rb.draw_masks(10, network.n_features, scorer.rate, seed)
        x = np.stack([network(row, masks, 1 - scorer.rate) for row in features])
        plain.append([rb.pairwise_distances(rb.normalise(one)).sum() / 90 for one in x])
        controlled.append(cv.estimate(x, known).mean)
    ratio = np.var(plain, axis=0) / np.var(controlled, axis=0)
    # an F quantile of 39 and 39 degrees at 1e-6 is 4.6, and the ratio is above a thousand
    assert (ratio > 30 * 4.6).all()
    # the closed form of the same moments, within 0.1 % of raw: its fourth order is a thousandth
    truth = rb.raw_score(np.mean(controlled, axis=0))
    np.testing.assert_allclose(rb.raw_score(known.distances), truth, rtol=1e-3)
    five = cv.estimate(x[:, :5], known)
    closed = rb.raw_score(known.distances)
    assert cv.closed_form_is_safe(closed, five.interval()).all()
    assert not cv.closed_form_is_safe(1.004 * closed, five.interval()).any()
    assert not cv.closed_form_is_safe(np.full_like(closed, np.nan), five.interval()).any()


@pytest.mark.parametrize("count", [2, 3, 5, 12, 40])
def test_intervals_cover_the_score_of_infinitely_many_passes(count):
    weight, bias, features = head(5, 64, 512)
    known = known_of(weight, bias, features, 0.4)
    repeats = 400
    x = passes(weight, bias, features, 0.4, repeats * count, seed=1).reshape(repeats, count, -1)
    every = cv.Moments(*(np.repeat(part, repeats) for part in vars(known).values()))
    found = cv.estimate(x, every)
    low, high = found.interval().T
    many = passes(weight, bias, features, 0.4, 3000, seed=2).reshape(10, 300, -1)
    truth = cv.estimate(many, every.of(slice(0, 10))).raw.mean()
    covered = ((low <= truth) & (truth <= high)).mean()
    # 0.95 less four standard errors of a share of 400; of two passes, only the expected error
    least = 0.95 if count > 2 else 0.9
    assert covered >= least - 4 * np.sqrt(least * (1 - least) / repeats)
    width = (high - low).mean()
    assert width < 0.25 * np.std(plain_scores(x))  # of four standard deviations of the plain score


def plain_scores(x):
    return [rb.score_of(rb.normalise(one)) for one in x]


def test_of_wide_heads_the_doubt_is_told(monkeypatch):
    weight, bias, features = head(6, 128, 1024)
    exact = known_of(weight, bias, features, 0.4)
    monkeypatch.setattr(rb, "MAX_EXACT", 0)
    sketched = known_of(weight, bias, features, 0.4)
    assert exact.doubt == 0.0
    assert 0 < abs(sketched.gap - exact.gap) < 3 * sketched.doubt
    x = passes(weight, bias, features, 0.4, 20)[None]
    assert cv.estimate(x, sketched).error > sketched.doubt
