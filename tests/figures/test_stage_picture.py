"""The stage's picture and words: drawn radii, ring, sentences are what the numbers say."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from serfiq_widgets import Ruin, find_face
from serfiq_widgets.evaluation.population import bundled_population
from serfiq_widgets.figures import stage
from serfiq_widgets.resources import folder
from serfiq_widgets.robustness import raw_score, scaled_score

SAMPLES = folder("sample_images")
FROM_GOOD_TO_POOR = (  # qualities of about 84, 67, 48, 26 and 1
    ("collins", Ruin(blur=1)),
    ("hopper", Ruin()),
    ("hopper", Ruin(brightness=-3)),
    ("hopper", Ruin(noise=50)),
    ("collins_dark", Ruin()),
)
HOPELESS = Ruin(noise=100, rotation=90, cover="mask")


def scored(scorer, name, ruin):
    face = find_face(SAMPLES / f"{name}.jpg")
    return scorer.score(replace(face, pixels=ruin.apply(face.pixels)), passes=200)


@pytest.fixture(scope="module")
def faces(scorer):
    return [scored(scorer, name, ruin) for name, ruin in FROM_GOOD_TO_POOR]


@pytest.fixture(scope="module")
def clean(scorer):
    return scored(scorer, "collins", Ruin())


@pytest.fixture(scope="module")
def hopeless(scorer):
    return scored(scorer, "collins", HOPELESS)


def test_a_poorer_face_is_drawn_larger_by_12_percent_for_20_points(faces):
    sizes = [stage.Scene(face).cloud(face)["size"] for face in faces]
    for (better, small), (worse, large) in pairwise(zip(faces, sizes, strict=True)):
        points = better.quality - worse.quality
        assert points > 10  # else this shows nothing
        assert large / small >= 1.12 ** (points / 20)
    assert max(sizes) <= 1


def test_the_drawn_radius_never_falls():
    departures = np.linspace(0, 2, 2001)
    for ring in (0.0, 0.015, 0.059, 0.9):
        radii = stage.drawn_radius(departures, ring)
        assert (np.diff(radii) >= 0).all()
        assert radii[0] == 0
        assert radii[-1] <= 1


@pytest.mark.parametrize("better", [0, 1])
def test_a_cloud_is_within_the_ring_if_its_quality_is_above_50(faces, better):
    for face in faces:
        if abs(face.quality - 50) > 5 and (face.quality > 50) == better:
            picture = stage.Scene(face).cloud(face)
            assert (picture["size"] < picture["ring"]) == better


def test_the_ring_is_where_random_embeddings_have_quality_50():
    """Independent directions of one length, around a mean, in many dimensions."""
    alpha, r = 60.0, 0.765
    departure = stage.departure_of_quality(50, alpha, r)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((400, 4000))
    noise[:, 0] = 0
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    cosine = 1 - departure
    points = np.sqrt(1 - cosine**2) * noise
    points[:, 0] = cosine
    gram = points @ points.T
    distances = np.sqrt(2 - 2 * gram[np.tril_indices(400, -1)])
    assert 100 * scaled_score(raw_score(distances.mean()), alpha, r) == pytest.approx(50, abs=0.5)


def test_departures_are_those_of_cosines(clean):
    points = clean.embeddings.astype(np.float64)
    mean = points.mean(axis=0)
    cosines = [point @ mean / np.linalg.norm(point) / np.linalg.norm(mean) for point in points]
    np.testing.assert_allclose(stage.departures(clean.embeddings), 1 - np.array(cosines), atol=1e-6)


def test_every_dot_lies_at_its_departure(clean, faces):
    scene = stage.Scene(clean)
    now = faces[0]  # the same face, blurred
    picture = scene.cloud(now)
    ring = stage.departure_of_quality(50, clean.alpha, clean.r)
    for name, result in (("dots", now), ("ghosts", clean)):
        radii = stage.drawn_radius(stage.departures(result.embeddings), ring)
        np.testing.assert_allclose(np.hypot(*np.transpose(picture[name])), radii, atol=2e-4)


def test_before_is_shown_of_a_ruined_face_alone(clean, faces):
    scene = stage.Scene(clean)
    whole, ruined = scene.cloud(clean), scene.cloud(faces[0])
    assert (whole["ghosts"], whole["before"]) == ([], None)
    assert (ruined["ghosts"], ruined["before"]) == (whole["dots"], whole["size"])
    assert "before" in ruined["label"]
    assert "before" not in whole["label"]


def test_an_uncalibrated_network_has_a_picture_without_a_ring(clean):
    plain = replace(clean, calibrated=False)
    picture = stage.Scene(plain).cloud(plain)
    assert picture["ring"] is None
    assert 0.2 < picture["size"] < 0.6
    numbers = stage.stage_numbers(plain, plain)
    assert set(numbers["quality"]) == {"\u2013"}
    assert f"{plain.best:.4f}" in numbers["verdict"][-1]


def test_threshold_and_strangers_are_drawn_where_their_scores_are(clean):
    population = bundled_population()
    picture = stage.Scene(clean).cloud(clean, population)
    near, far = picture["strangers"]
    assert picture["inner"] < picture["decision"] < near < far < 1
    assert near == pytest.approx(
        stage.drawn_radius(
            1 - population.strangers[1], stage.departure_of_quality(50, clean.alpha, clean.r)
        ),
        abs=1e-4,
    )


@pytest.mark.parametrize(
    ("quality", "words"),
    [
        (100, "very good"),
        (75, "very good"),
        (74, "good"),
        (50, "good"),
        (49, "fair"),
        (25, "fair"),
        (24, "poor"),
        (0, "poor"),
    ],
)
def test_a_quality_in_words(quality, words):
    assert stage.verdict(quality) == words


@pytest.mark.parametrize(
    ("percent", "sentence"),
    [
        (71, "Good: better than 71\u00a0% of LFW faces"),
        (0, "Good: nearly all LFW faces are better"),
    ],
)
def test_the_rank_in_words(percent, sentence):
    assert stage.rank_sentence(60, percent, "LFW") == sentence


@pytest.mark.parametrize("passes", [2, 7, 200])
def test_matches_are_counted_over_the_pairs_of_the_first_passes(hopeless, passes):
    threshold = bundled_population().threshold
    points = hopeless.embeddings[:passes].astype(np.float64)
    cosines = (points @ points.T)[np.tril_indices(passes, -1)]
    shares = stage.matching(hopeless.distances, threshold)
    assert shares[passes - 1] == pytest.approx((cosines >= threshold).mean(), abs=1e-3)


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (1.0, ""),
        (0.9999, "only 99 times out of 100"),
        (0.95, "only 95 times out of 100"),
        (0.949, "only 9 times out of 10."),
        (0.68, "only 7 times out of 10."),
        (0.1, "only 1 time out of 10."),
        (0.01, "hardly ever"),
        (float("nan"), ""),
    ],
)
def test_how_often_two_looks_match(share, said):
    sentence = stage.match_sentence(share)
    assert said in sentence
    assert bool(sentence) == bool(said)


@pytest.mark.parametrize(
    ("points", "sentence"),
    [
        ({"light": 4.4, "blur": 30.6}, "Undoing blur gains 31 points, light 4."),
        ({"JPEG quality": 0.6, "blur": -3}, "Undoing JPEG quality gains 1 point."),
        ({"light": 0.4, "blur": -3}, "No single one of these makes the difference."),
    ],
)
def test_what_ruins_cost_in_words(points, sentence):
    assert stage.advice(points) == sentence


def test_the_sentence_on_the_stage_is_that_of_the_pairs(clean, hopeless):
    population = bundled_population()
    share = stage.matching(hopeless.distances, population.threshold)[-1]
    said = stage.stage_numbers(hopeless, clean, population)["match"]
    assert 0.5 < share < 0.9
    assert said[-1] == stage.match_sentence(share)
    assert set(stage.stage_numbers(clean, clean, population)["match"]) == {""}
    assert set(stage.stage_numbers(hopeless, clean)["match"]) == {""}


@pytest.mark.parametrize("passes", [2, 30, 200])
def test_the_texts_are_the_results_after_so_many_passes(clean, faces, passes):
    population = bundled_population()
    now = faces[0]
    numbers = stage.stage_numbers(now, clean, population)
    at = now.at(passes)
    texts = {name: listed[passes - 2] for name, listed in numbers.items()}
    assert texts["quality"] == str(at.quality)
    assert texts["margin"] == (
        "" if np.isnan(at.quality_margin) else f"\u00b1 {max(at.quality_margin, 0.1):.1f}"
    )  # never 0.0, which would claim that nothing is uncertain
    assert texts["change"] == f"Before: {clean.at(passes).quality}"
    below = int(100 * np.mean(population.scores < np.float32(at.best)))
    assert texts["verdict"].endswith(f"better than {below}\u00a0% of LFW faces")
    assert set(stage.stage_numbers(clean, clean)["change"]) == {""}
