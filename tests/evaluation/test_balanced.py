"""Rates in which every person weighs the same: by brute force, by draws, and by their coverage."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from serfiq_widgets.evaluation import (
    Order,
    Resampler,
    Table,
    cap_pairs,
    compare_all,
    compare_pairs,
    evaluate,
    fnmr_at,
    load,
    threshold_at,
)
from serfiq_widgets.evaluation.balanced import (
    BalancedOrder,
    balanced_fmr,
    cautions,
    realised_fmr,
)
from serfiq_widgets.evaluation.bootstrap import rate_band
from serfiq_widgets.resources import bundled


@st.composite
def data_sets(draw):
    images = draw(st.integers(4, 14))
    # of length 1 and few directions: scores are exact, and tie
    embeddings = draw(arrays(np.float32, (images, 4), elements=st.sampled_from([-0.5, 0.5])))
    people = draw(arrays(np.int64, images, elements=st.integers(0, 3)))
    people[:3] = 0, 0, 1
    quality = draw(arrays(np.int64, images, elements=st.integers(0, 8)))
    return embeddings, people, quality


def by_definition(compared, quality, threshold, least):
    """The mean over people of the share of their remaining comparisons that fail."""
    shares = []
    owner = compared.people[compared.first]
    lower = np.minimum(quality[compared.first], quality[compared.second])
    for person in np.unique(owner):
        left = compared.genuine[(owner == person) & (lower >= least)]
        if len(left):
            shares.append(float(np.mean(left < threshold)))
    return np.mean(shares) if shares else 0.0


@given(data_sets(), st.sampled_from([0.01, 0.1, 1 / 3, 0.5, 1.0]))
@settings(max_examples=150)
def test_curves_are_those_of_the_definition(data, fmr):
    embeddings, people, quality = data
    compared = compare_all(embeddings, people, tail=1)
    order = Order.of(compared, quality)
    threshold = threshold_at(compared, fmr)
    curve = BalancedOrder.of(order).curve(fmr)
    steps = np.unique(quality)
    wanted = [by_definition(compared, quality, threshold, least) for least in steps]
    # sums of at most 14 people's shares
    np.testing.assert_allclose(curve.fnmr, wanted, rtol=0, atol=1e-12)
    assert (curve.discard == order.curve(fmr).discard).all()


@given(data_sets(), st.sampled_from([0.1, 0.5]), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_a_person_drawn_twice_counts_twice(data, fmr, seed):
    embeddings, people, quality = data
    compared = compare_all(embeddings, people, tail=1)
    even = BalancedOrder.of(Order.of(compared, quality))
    rng = np.random.default_rng(seed)
    weights = rng.integers(0, 3, (4, compared.persons))
    steps = rng.integers(0, len(np.unique(quality)), (4, 2))
    found = even.resampled(fmr, weights, steps)
    owner = compared.people[compared.first]
    missed = compared.genuine < threshold_at(compared, fmr)
    lower = np.minimum(even.order.ranks[compared.first], even.order.ranks[compared.second])
    for draw, weight in enumerate(weights):
        for place, step in enumerate(steps[draw]):
            here = {p: missed[(owner == p) & (lower >= step)] for p in np.unique(owner)}
            total = sum(weight[p] for p, m in here.items() if len(m))
            wrong = sum(weight[p] * m.mean() for p, m in here.items() if len(m))
            assert found[draw, place] == pytest.approx(wrong / total if total else 0, abs=1e-12)


def test_equal_people_have_the_pooled_rate():
    rng = np.random.default_rng(3)
    people = np.repeat(np.arange(20), 5)  # ten comparisons each
    vectors = rng.normal(size=(20, 8))[people] + rng.normal(size=(100, 8))
    compared = compare_all(vectors, people, tail=1)
    order = Order.of(compared, np.zeros(100))
    assert BalancedOrder.of(order).curve(0.01).fnmr[0] == pytest.approx(order.curve(0.01).fnmr[0])
    threshold = threshold_at(compared, 0.01)
    assert balanced_fmr(compared, threshold) == pytest.approx(realised_fmr(compared, threshold))


@given(data_sets(), st.sampled_from([0.1, 0.5]))
@settings(max_examples=60)
def test_the_balanced_fmr_is_the_mean_over_pairs_of_people(data, fmr):
    embeddings, people, _ = data
    compared = compare_all(embeddings, people, tail=1)
    threshold = threshold_at(compared, fmr)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    there = np.unique(people)
    shares = [
        np.mean(unit[people == a] @ unit[people == b].T >= threshold)
        for a in there
        for b in there
        if a < b
    ]
    assert balanced_fmr(compared, threshold) == pytest.approx(np.mean(shares))
    accepted = [
        unit[i] @ unit[j] >= threshold
        for i in range(len(people))
        for j in range(i)
        if people[i] != people[j]
    ]
    assert realised_fmr(compared, threshold) == pytest.approx(np.mean(accepted))


def test_a_listed_set_of_pairs_has_no_balanced_fmr():
    compared = compare_pairs([0, 2, 0], [1, 3, 2], [0.9, 0.8, 0.1], [1, 1, 0])
    assert math.isnan(balanced_fmr(compared, 0.5))


def test_on_the_bundled_table_no_person_speaks_for_all():
    """As measured apart, from the embeddings: 0.0687 and 0.0245 pooled, 0.1578 and 0.0797."""
    result = evaluate(load(bundled()), draws=0, columns=["serfiq"])
    pooled, even = (kind["serfiq"].at([0, 0.3]) for kind in (result.curves, result.balanced))
    assert pooled == pytest.approx([0.0687, 0.0245], abs=1e-4)
    assert even == pytest.approx([0.1578, 0.0797], abs=1e-4)
    assert result.fmr_realised == pytest.approx(1e-3, rel=1e-3)
    assert result.fmr_realised <= 1e-3
    assert result.warnings == []


def people_with_errors(rng, count):
    """Genuine scores of people who match with different ease; impostors that do not vary."""
    sizes = 2 + rng.geometric(0.35, count).clip(max=30)
    ease = rng.normal(4.3, 0.8, count)
    owner = np.repeat(np.arange(count), sizes)
    quality = rng.standard_normal(len(owner))
    order = np.concatenate([[0], np.cumsum(sizes)])
    corners = [
        np.array(np.triu_indices(size, 1)) + at for size, at in zip(sizes, order, strict=False)
    ]
    first, second = np.concatenate(corners, axis=1)
    scores = ease[owner[first]] + 0.6 * np.minimum(quality[first], quality[second])
    scores += 0.5 * rng.standard_normal(len(first))
    strangers = IMPOSTORS[:, None] * [1, 0, 0] + [0, 0, len(owner) - 1]
    compared = compare_pairs(
        np.r_[first, strangers[:, 1].astype(int)],
        np.r_[second, strangers[:, 2].astype(int)],
        np.r_[scores, strangers[:, 0]],
        np.r_[np.ones(len(first)), np.zeros(len(strangers))],
        owner,
    )
    return Order.of(compared, quality)


IMPOSTORS = np.linspace(-1, 3.09, 1000)  # the threshold at FMR 0.001 lies above the last but one


@pytest.mark.slow
@pytest.mark.parametrize("count", [30, 100, 300])
def test_bands_cover_the_truth(count):
    rng = np.random.default_rng(count)
    shares = [0.0, 0.2]
    truth = BalancedOrder.of(people_with_errors(rng, 20_000)).curve(1e-3).at(shares)
    trials, hits = 150, np.zeros(2)
    for _ in range(trials):
        drawn = Resampler(people_with_errors(rng, count), shares, draws=100).at(1e-3)
        low, high = drawn.balanced_band()
        hits += (low <= truth) & (truth <= high)
    # 0.95 less three standard errors of 150 trials is 0.897; it is measured at 0.90 or more
    assert (hits / trials >= 0.89).all(), hits / trials


def test_a_rate_of_zero_has_an_upper_end():
    low, high = rate_band(np.zeros((10, 1)), np.zeros(1), 50)
    assert (low[0], high[0]) == (0.0, pytest.approx(3 / 50))
    low, high = rate_band(np.full((10, 1), 0.2), np.array([0.2]), 50)
    assert (low[0], high[0]) == (pytest.approx(0.2), pytest.approx(0.2))


def test_what_data_are_too_few_for_is_said():
    rng = np.random.default_rng(1)
    people = np.repeat(np.arange(10), 3)
    vectors = rng.normal(size=(10, 16))[people] + 0.2 * rng.normal(size=(30, 16))
    compared = compare_all(vectors, people)
    assert compared.impostors == 405
    threshold = threshold_at(compared, 1e-3)
    impostors, errors, few = cautions(compared, 1e-3, threshold)
    assert "405 impostor comparisons are too few for FMR 0.001" in impostors
    assert "realised FMR is 0 (below 0.0074 with 95 % confidence)" in impostors
    assert "FNMR is below 0.1" in errors
    assert "Only 10 people" in few
    record = evaluate(Table(compared, {"q": rng.random(30)}), 1e-3, draws=20).as_dict()
    assert record["warnings"] == [impostors, errors, few]
    assert record["fmr_realised"] == 0
    column = record["qualities"]["q"]
    assert len(column["balanced"]["fnmr"]) == len(column["discard"])
    assert len(column["balanced"]["fnmr_band"]) == len(column["discard"])


def test_a_notebook_shows_the_rates_in_a_table():
    rng = np.random.default_rng(1)
    people = np.repeat(np.arange(10), 3)
    vectors = rng.normal(size=(10, 16))[people] + rng.normal(size=(30, 16))
    table = Table(compare_all(vectors, people, tail=1), {"<q>": rng.random(30)})
    result = evaluate(table, 0.01, draws=0)
    html = result._repr_html_()
    assert "<td>&lt;q&gt;</td>" in html
    for value in result.balanced["<q>"].at(result.shares):
        assert f"<td>{value:.4f}</td>" in html
    assert all(sentence in html for sentence in result.warnings)
    pooled = evaluate(table, 0.01, draws=0, threshold="re-derived")
    assert "every comparison weighing" in pooled._repr_html_()


@given(data_sets(), st.integers(1, 4), st.integers(0, 9))
@settings(max_examples=60)
def test_a_cap_keeps_some_comparisons_of_each_person(data, most, seed):
    embeddings, people, _ = data
    whole = compare_all(embeddings, people, tail=1)
    capped = cap_pairs(whole, most, seed)
    every = np.bincount(whole.people[whole.first], minlength=whole.persons)
    kept = np.bincount(capped.people[capped.first], minlength=whole.persons)
    assert (kept == np.minimum(every, most)).all()
    known = set(zip(whole.first, whole.second, whole.genuine, strict=True))
    assert set(zip(capped.first, capped.second, capped.genuine, strict=True)) <= known
    assert capped.genuine_bins.sum() == len(capped.genuine)
    assert threshold_at(capped, 0.1) == threshold_at(whole, 0.1)


def test_a_cap_brings_the_pooled_rate_near_the_balanced_one():
    table = load(bundled())
    threshold = threshold_at(table.comparisons, 1e-3)
    capped = cap_pairs(table.comparisons, 1)
    assert fnmr_at(capped, threshold) == pytest.approx(0.1578, abs=0.02)
