"""Differences between groups: by hand, against brute force and scipy, and what must not matter."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import ks_2samp, norm

from serfiq_widgets.errors import BadSetting
from serfiq_widgets.evaluation import bias
from serfiq_widgets.evaluation.bias import Labels, group_scores

# few different values, so that ties are common
samples = arrays(np.float64, st.integers(1, 30), elements=st.integers(0, 12).map(float))
counts = st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


def labelled(*groups, **more):
    """Scores of each group in turn, and whose they are."""
    codes = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    return np.concatenate(groups), Labels(codes, tuple("abcdefgh"[: len(groups)]), **more)


def test_two_groups_by_hand():
    grouped = group_scores(*labelled([10.0, 20, 30, 40], [30.0, 50, 70, 90, 95, 99]))
    a, b = grouped.rows(40)
    assert (a.group, a.n, a.small, a.below, a.rate) == ("a", 4, True, 3, 0.75)
    assert (b.n, b.below, b.rate) == (6, 1, pytest.approx(1 / 6))
    assert (a.quartile_1, a.median, a.quartile_3) == (17.5, 25, 32.5)
    assert (a.share, a.share_kept) == (0.4, pytest.approx(1 / 6))  # 1 and 5 stay
    # of 24 pairs a wins one (40 over 30), ties one, and loses 22
    assert a.delta == pytest.approx((1 - 22) / 24)
    assert b.delta == pytest.approx((22 - 1) / 24)
    assert a.ks == pytest.approx(1 - 1 / 6)  # at 40: all of a, one of six of b
    assert a.p_holm == pytest.approx(min(1, 2 * a.p))


def test_a_score_at_the_threshold_stays():
    grouped = group_scores(*labelled([10.0, 20, 20, 30]))
    assert grouped.below([10, 20, 20.5, 31]).tolist() == [[0, 1, 3, 4]]


def test_shares_add_up_until_no_image_stays():
    grouped = group_scores(*labelled([1.0, 2, 3], [2.0, 4], [3.0]))
    shares = grouped.shares([0, 2.5, 3.5, 5])
    np.testing.assert_allclose(
        shares[:, :3], [[1 / 2, 1 / 3, 0], [1 / 3, 1 / 3, 1], [1 / 6, 1 / 3, 0]]
    )
    assert np.isnan(shares[:, 3]).all()


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),
    ],
)
def test_known_wilson_intervals(hits, trials, low, high):
    # the last row is the example of Newcombe (1998), table I
    np.testing.assert_allclose(bias.wilson_interval(hits, trials), [low, high], atol=5e-5)


@given(counts, st.floats(0.5, 0.999))
def test_wilsons_ends_are_where_the_score_test_just_rejects(count, confidence):
    hits, trials = count
    z = norm.ppf((1 + confidence) / 2)
    share = hits / trials
    low, high = (float(end) for end in bias.wilson_interval(hits, trials, confidence))
    assert 0 <= low <= share <= high <= 1
    for end in (low, high):
        if 0 < end < 1 and end != share:
            assert (share - end) ** 2 == pytest.approx(z**2 * end * (1 - end) / trials, rel=1e-6)


@given(samples, samples)
def test_cliffs_delta_is_that_of_all_pairs(a, b):
    assert bias.cliffs_delta(a, b) == np.sign(a[:, None] - b).sum() / (len(a) * len(b))
    assert bias.cliffs_delta(a, b) == -bias.cliffs_delta(b, a)
    assert bias.cliffs_delta(np.exp(a), np.exp(b)) == bias.cliffs_delta(a, b)


def test_cliffs_delta_counts_more_pairs_than_fit_into_memory():
    ranks = np.arange(200_000.0)
    assert bias.cliffs_delta(ranks, ranks) == 0
    assert bias.cliffs_delta(ranks + 200_000, ranks) == 1


@pytest.mark.filterwarnings("ignore:ks_2samp")  # scipy's exact way may fail; it says so
@given(samples, samples)
def test_kolmogorov_smirnov_is_scipys(a, b):
    expected = ks_2samp(a, b, method="exact")
    assert bias.kolmogorov_smirnov(a, b) == (expected.statistic, expected.pvalue)
    steps = np.abs([(a <= x).mean() - (b <= x).mean() for x in (*a, *b)])
    assert expected.statistic == pytest.approx(steps.max())


def test_large_samples_take_the_asymptotic_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=3000), rng.normal(0.1, 1, 5000)
    statistic, p = bias.kolmogorov_smirnov(a, b)
    assert (statistic, p) == ks_2samp(a, b, method="asymp")[:2]


def test_holm_by_hand():
    # rising: .01*4, .02*3, .03*2 (not below the one before), .5*1
    np.testing.assert_allclose(bias.holm([0.03, 0.01, 0.5, 0.02]), [0.06, 0.04, 0.5, 0.06])
    assert bias.holm([0.9, 0.8]).tolist() == [1, 1]
    assert bias.holm([]).size == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_no_correction_and_bonferroni(p):
    corrected = bias.holm(p)
    assert (corrected >= p).all()
    assert (corrected <= np.minimum(1, len(p) * np.array(p))).all()
    assert corrected[np.argsort(p, kind="stable")].tolist() == sorted(corrected)
    assert bias.holm(p[::-1]).tolist() == corrected[::-1].tolist()


@settings(max_examples=50)
@given(
    arrays(np.float64, st.integers(1, 200), elements=st.floats(0, 100)),
    st.booleans(),
)
def test_a_density_holds_everything_within_its_bounds(scores, bounded):
    reach = (0, 100) if bounded else (-400, 500)  # the widest kernel is 90 wide at most
    grid = np.linspace(*reach, 6001)
    density = bias.density(scores, grid, (0, 100) if bounded else None)
    assert (density >= 0).all()
    # the narrowest kernel is 1/200 of the range, that is 30 points of the grid
    ends = (density[0] + density[-1]) / 2
    assert (density.sum() - ends) * (grid[1] - grid[0]) == pytest.approx(1, abs=2e-3)


def test_order_and_names_of_images_do_not_matter():
    rng = np.random.default_rng(1)
    scores, codes = rng.normal(size=500), rng.integers(-1, 3, 500)
    order = rng.permutation(500)
    names = ("x", "y", "z")
    rows = group_scores(scores, Labels(codes, names)).rows(0.2)
    assert group_scores(scores[order], Labels(codes[order], names)).rows(0.2) == rows
    swapped = group_scores(scores, Labels(np.array([2, 1, 0, -1])[codes], names[::-1])).rows(0.2)
    for one, two in zip(rows, swapped[::-1], strict=True):
        assert one.group == two.group
        assert (one.n, one.below, one.ks) == (two.n, two.below, two.ks)
        assert one.p_holm == pytest.approx(two.p_holm)


def test_what_has_no_score_or_no_group_is_counted():
    codes = np.array([0, 0, -1, 1, 1])
    grouped = group_scores([1, np.nan, 2, np.inf, 3], Labels(codes, ("a", "b", "nobody")))
    assert grouped.left_out == 3
    assert grouped.names == ("a", "b")
    assert grouped.counts.tolist() == [1, 1]


def test_one_group_has_no_rest_to_differ_from():
    (row,) = group_scores(*labelled([1.0, 2, 3])).rows(2)
    assert row.rate == pytest.approx(1 / 3)
    assert all(math.isnan(value) for value in (row.delta, row.ks, row.p, row.p_holm))


def test_nothing_to_compare_is_said():
    with pytest.raises(BadSetting, match="nothing to compare"):
        group_scores([np.nan, 1], Labels(np.array([0, -1]), ("a",)))
    with pytest.raises(BadSetting, match="3 scores but 2 labels"):
        group_scores([1, 2, 3], Labels(np.array([0, 0]), ("a",)))


def test_small_groups_are_marked():
    scores, labels = labelled(np.arange(29.0), np.arange(30.0))
    assert [row.small for row in group_scores(scores, labels).rows(5)] == [True, False]
