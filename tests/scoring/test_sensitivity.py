"""The heat map: what it is by definition, and that it finds what matters in a face."""

from dataclasses import replace

import numpy as np
import pytest

from serfiq_widgets import Ruin, find_face, heatmap
from serfiq_widgets.errors import BadSetting
from serfiq_widgets.resources import folder
from serfiq_widgets.scoring.sensitivity import costs, heatmap_in_steps, patches, sweep


@pytest.fixture(scope="module", params=["collins", "hopper"])
def face(request):
    return find_face(folder("sample_images") / f"{request.param}.jpg")


def test_it_is_the_mean_change_under_the_patches(face, scorer):
    windows = patches(3)
    covered = [
        np.rint(face.pixels * (1 - w[..., None]) + 128 * w[..., None]).astype(np.uint8)
        for w in windows
    ]
    (clean,) = scorer.best_scores([face])
    changes = scorer.best_scores([replace(face, pixels=p) for p in covered]) - clean
    expected = np.average(
        np.broadcast_to(changes[:, None, None], windows.shape), weights=windows, axis=0
    )
    # the engine's float32 sums depend on the batch: embeddings agree within 1e-5
    np.testing.assert_allclose(heatmap(scorer, face, places=3), expected, atol=1e-5)


def test_the_network_needs_eyes_nose_and_mouth_more_than_the_corners(face, scorer):
    change = heatmap(scorer, face)
    assert change.shape == (112, 112)
    assert change.dtype == np.float32
    middle = change[40:100, 30:84].mean()
    corners = np.mean([change[y, x] for y in (0, -1) for x in (0, -1)])
    assert middle < corners
    assert middle < 0


def test_covering_what_is_grey_already_changes_nothing(face, scorer):
    grey = replace(face, pixels=np.full_like(face.pixels, 128))
    np.testing.assert_allclose(heatmap(scorer, grey, places=4), 0, atol=1e-5)


def test_it_appears_step_by_step_over_the_whole_face(face, scorer):
    steps = list(heatmap_in_steps(scorer, face, places=8))
    assert len(steps) == 4
    assert all(np.isfinite(step).all() for step in steps)
    final = steps[-1]
    errors = [np.abs(step - final).mean() for step in steps]
    assert errors[-1] == 0
    assert errors[0] < np.abs(final - final.mean()).max()
    np.testing.assert_allclose(heatmap(scorer, face, places=8), final, rtol=0, atol=1e-6)


def test_patches_cover_everything_alike():
    weight = patches(12).sum(axis=0)
    inside = weight[30:-30, 30:-30]
    assert inside.max() / inside.min() < 1.01
    assert weight.min() > 0.2 * weight.max()


@pytest.mark.parametrize("places", [0, 1, 29, True, 2.5, "many"])
def test_impossible_numbers_of_places(face, scorer, places):
    with pytest.raises(BadSetting, match="2 to 28"):
        heatmap(scorer, face, places=places)


def test_a_sweep_is_the_score_at_every_strength(face, scorer):
    rest = Ruin(cover="sunglasses")
    curve = sweep(scorer, face, "blur", rest, points=5)
    assert curve.rest == rest
    for value, limit, quality in zip(curve.values, curve.raw, curve.qualities, strict=True):
        pixels = rest.replace(blur=float(value)).apply(face.pixels)
        result = scorer.score(replace(face, pixels=pixels), passes=32)
        assert limit == pytest.approx(result.best, abs=1e-5)
        # a score off by 1e-5 moves the quality by at most alpha/4 of it, in percent; and rounding
        assert quality == pytest.approx(result.quality, abs=0.51 + 25 * result.alpha * 1e-5)


def test_the_swept_strength_of_the_rest_does_not_count(face, scorer):
    once, twice = (sweep(scorer, face, "noise", Ruin(noise=n), points=3) for n in (0, 80))
    np.testing.assert_allclose(once.raw, twice.raw, rtol=1e-6)


def test_what_a_degradation_costs_is_what_undoing_it_regains(face, scorer):
    ruin = Ruin(blur=2, brightness=-2, cover="sunglasses")

    def quality(what):
        score = scorer.score(replace(face, pixels=what.apply(face.pixels)), passes=200)
        return 100 * score.scaled

    found = costs(scorer, face, ruin)
    assert list(found) == ["blur", "brightness", "cover"]
    for name, points in found.items():
        # both are of controlled scores, whose intervals are within a point
        assert points == pytest.approx(quality(ruin.without(name)) - quality(ruin), abs=2)
    assert costs(scorer, face, Ruin()) == {}
