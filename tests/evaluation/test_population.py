"""The bundled statistics of a network on many photos."""

import numpy as np
import pytest

from serfiq_widgets.evaluation import load
from serfiq_widgets.evaluation.population import bundled_population, population_of
from serfiq_widgets.resources import bundled, sample_images


def test_the_threshold_is_that_of_the_evaluation():
    assert bundled_population().threshold == pytest.approx(0.4055, abs=1e-4)  # docs/evaluation.md


def test_95_percent_of_the_strangers_are_in_their_band():
    compared = load(bundled()).comparisons
    low, high = bundled_population().strangers
    inside = (compared.edges[1:] > low) & (compared.edges[1:] <= high)
    share = compared.impostor_bins[inside].sum() / compared.impostors
    assert share == pytest.approx(0.95, abs=0.005)


def test_half_of_the_photos_are_below_the_median():
    population = bundled_population()
    median = float(np.median(population.scores))
    assert population.percent_below(np.array([0.0, median, 1.0])) == [0, 50, 100]


def test_the_statistics_are_those_of_one_network_at_its_own_rate(scorer):
    result = scorer.score(sample_images()[0], passes=2)
    assert population_of(result.model_sha256, result.rate) is bundled_population()
    assert population_of(result.model_sha256, 0.2) is None
    assert population_of("0" * 64, result.rate) is None
