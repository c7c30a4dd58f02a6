"""Rank agreement of two qualities."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serfiq_widgets.errors import BadSetting
from serfiq_widgets.evaluation import agreement, agreements

QUALITIES = st.lists(st.integers(0, 9), min_size=2, max_size=40)


@given(QUALITIES, st.randoms(use_true_random=False))
def test_agreement_is_symmetric_and_kendall_is_a_count_of_pairs(one, rng):
    other = [rng.randint(0, 9) for _ in one]
    found, back = agreement(one, other), agreement(other, one)
    assert found.overlap == back.overlap
    if len(set(one)) == 1 or len(set(other)) == 1:
        assert math.isnan(found.kendall)
        return
    signs = [np.sign(np.subtract.outer(q, q))[np.triu_indices(len(one), 1)] for q in (one, other)]
    tau = signs[0] @ signs[1] / math.sqrt((signs[0] ** 2).sum() * (signs[1] ** 2).sum())
    assert found.kendall == pytest.approx(tau, abs=1e-12) == back.kendall
    assert found.spearman == pytest.approx(back.spearman, abs=1e-12)


@given(st.permutations(range(20)))
def test_a_quality_agrees_with_every_monotone_stretch_and_its_reverse_is_opposite(quality):
    same = agreement(quality, np.exp(np.array(quality) / 5))
    assert (same.spearman, same.kendall) == pytest.approx((1, 1))
    assert same.overlap == 1
    opposite = agreement(quality, -np.array(quality))
    assert (opposite.spearman, opposite.kendall) == pytest.approx((-1, -1))
    assert opposite.overlap == 0


def test_every_two_are_compared_and_one_image_is_refused():
    found = agreements({"a": [1, 2, 3], "b": [1, 3, 2], "c": [3, 2, np.nan]})
    assert list(found) == [("a", "b"), ("a", "c"), ("b", "c")]
    with pytest.raises(BadSetting, match="two or more"):
        agreement([1], [1])
