"""Films and projections: what a picture shows after t passes are the library's numbers."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("plotly")

from serfiq_widgets import figures
from serfiq_widgets.resources import folder

COLLINS = folder("sample_images") / "collins.jpg"


@pytest.fixture(scope="module")
def result(scorer):
    return scorer.score(COLLINS, passes=120)


@pytest.mark.parametrize("passes", [2, 3, 57, 120])
def test_the_spread_shows_the_first_passes_and_their_mean(result, passes):
    points = figures.principal(result.embeddings)
    cloud, newest, mean, chosen = figures.spread_film(points).at(passes).data
    np.testing.assert_allclose(cloud.x, points[:passes, 0])
    np.testing.assert_allclose(cloud.y, points[:passes, 1])
    np.testing.assert_allclose([newest.x[0], newest.y[0]], points[passes - 1])
    np.testing.assert_allclose([mean.x[0], mean.y[0]], points[:passes].mean(axis=0), atol=1e-6)
    assert list(cloud.customdata) == list(range(1, passes + 1))
    assert len(chosen.x) == 0


@pytest.mark.parametrize("passes", [2, 3, 57, 120])
def test_the_histogram_counts_the_first_passes_pairs(result, passes):
    bars, mean = figures.distance_film(result).at(passes).data
    pairs = result.distances[:passes, :passes][np.tril_indices(passes, -1)]
    width = bars.x[1] - bars.x[0]
    edges = np.append(bars.x - width / 2, bars.x[-1] + width / 2)
    # the fastened edges: what lies beyond the picture is counted in its last bar
    expected = 100 * np.histogram(np.minimum(pairs, edges[-1] - 1e-6), edges)[0] / len(pairs)
    assert bars.y.sum() == pytest.approx(100, abs=1e-3)
    # a pair within float error of an edge may fall on either side
    assert np.abs(bars.y - expected).sum() <= 2 * 100 * 2 / len(pairs) + 1e-3
    np.testing.assert_allclose(mean.x, pairs.mean(), rtol=1e-5)


@pytest.mark.parametrize("passes", [2, 3, 57, 120])
def test_the_running_score_is_the_results(result, passes):
    *bands, closed, plain, controlled, now, now_controlled = (
        figures.running_film(result).at(passes).data
    )
    of = (result.running, result.running_controlled)
    for curve, dot, wanted in zip((plain, controlled), (now, now_controlled), of, strict=True):
        np.testing.assert_allclose(curve.y, wanted[1:passes], atol=1e-6)
        assert list(curve.x) == list(range(2, passes + 1))
        np.testing.assert_allclose([dot.x[0], dot.y[0]], [passes, wanted[passes - 1]], atol=1e-6)
    ends = [*result.running_interval.T, *result.running_controlled_interval.T]
    for band, wanted in zip(bands, ends, strict=True):
        np.testing.assert_allclose(band.y, wanted[2:passes], atol=1e-6)
    np.testing.assert_allclose(closed.y, result.closed_form)


def test_the_switch_shows_one_interval_or_both(result):
    shown = {
        name: [trace.visible for trace in figures.running_film(result, name).figure.data[:4]]
        for name in figures.INTERVALS
    }
    assert shown == {
        "controlled": [False, False, True, True],
        "plain": [True, True, False, False],
        "both": [True] * 4,
    }


def test_without_a_controlled_score_the_plain_curve_stands_alone(result):
    none = replace(
        result,
        running_controlled=np.full_like(result.running, np.nan),
        running_controlled_interval=np.full_like(result.running_interval, np.nan),
        closed_form=float("nan"),
    )
    low, high, *_, closed, plain, controlled, _, now = figures.running_film(none).at(57).data
    assert (low.visible, high.visible) == (True, True)
    assert (len(closed.x), len(controlled.x), len(now.x), len(plain.x)) == (0, 0, 0, 56)


def test_axes_stay_put_while_the_passes_move(result):
    for film in (figures.distance_film(result), figures.running_film(result)):
        early, late = film.at(3).layout, film.at(120).layout
        assert early.xaxis.range == late.xaxis.range
        assert early.yaxis.range == late.yaxis.range
        assert late.xaxis.range is not None


def test_the_plane_keeps_what_it_can(result):
    points = figures.principal(result.embeddings)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-5)
    centred = result.embeddings - result.embeddings.mean(axis=0)
    sizes = np.linalg.svd(centred.astype(float), compute_uv=False)
    np.testing.assert_allclose(np.linalg.norm(points, axis=0), sizes[:2], rtol=1e-4)


def test_on_the_sphere_every_angle_to_the_mean_is_true(result):
    points = figures.on_sphere(result.embeddings)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-6)
    mean = result.embeddings.mean(axis=0, dtype=float)
    np.testing.assert_allclose(
        points[:, 2], result.embeddings @ (mean / np.linalg.norm(mean)), atol=1e-6
    )


@pytest.mark.parametrize("map_", [figures.principal, figures.on_sphere])
def test_identical_embeddings_are_one_point(map_):
    row = np.zeros((5, 8), np.float32)
    row[:, 3] = 1
    points = map_(row)
    assert np.isfinite(points).all()
    assert np.ptp(points, axis=0).max() == 0
    figures.spread_film(points)


def test_the_sphere_is_drawn_in_three_dimensions(result):
    film = figures.spread_film(figures.on_sphere(result.embeddings))
    assert {trace.type for trace in film.figure.data} == {"scatter3d"}
    assert len(film.at(30).data[0].z) == 30
    globe = film.figure.data[-1]
    corners = np.stack([globe.x, globe.y, globe.z])
    corners = corners[:, np.isfinite(corners[0])]
    np.testing.assert_allclose(np.linalg.norm(corners, axis=0), 1, atol=1e-6)


def test_the_share_of_the_spread_that_the_plane_shows():
    points = np.diag([3.0, 2.0, 1.0, 0.0])  # scatter about their mean
    centred = points - points.mean(axis=0)
    sizes = np.linalg.eigvalsh(centred.T @ centred)[::-1]
    assert figures.plane_share(points) == pytest.approx(sizes[:2].sum() / sizes.sum())
    assert figures.plane_share(points[:2]) == pytest.approx(1)  # two points lie on a line
    assert figures.plane_share(points[:1]) == 1


@pytest.mark.parametrize("turn", [1, -1])
def test_two_clouds_share_one_projection(scorer, turn):
    mask = folder("sample_images") / "collins_mask.jpg"
    a, b = [scorer.score(image, passes=50) for image in (COLLINS, mask)][::turn]
    points = figures.principal(np.concatenate([a.embeddings, b.embeddings]))
    one, two = figures.clouds_figure(a, b).data
    assert one.x.mean() < two.x.mean()  # the first one is on the left
    sign = np.sign(points[50:, 0].mean())
    np.testing.assert_allclose(np.r_[one.x, two.x], sign * points[:, 0])
    np.testing.assert_allclose(np.r_[one.y, two.y], points[:, 1])
    assert one.marker.symbol != two.marker.symbol  # a second cue beside the colour


def test_the_draws_bars_are_shares():
    draws = (np.array([0.7, 0.71, 0.72, 0.72]), np.array([0.8, 0.8]))
    a, b, limit_a, limit_b = figures.draws_figure(draws, (0.715, 0.8)).data
    assert a.y.sum() == pytest.approx(100, abs=1e-4)
    assert b.y.sum() == pytest.approx(100, abs=1e-4)
    assert list(limit_a.x) == [0.715] * 2
    assert list(limit_b.x) == [0.8] * 2


@pytest.mark.parametrize("turn", [1, -1])
def test_of_two_discs_the_wider_is_the_poorer_face(scorer, turn):
    mask = folder("sample_images") / "collins_mask.jpg"
    pair = [scorer.score(image, passes=50) for image in (COLLINS, mask)][::turn]
    figure = figures.discs_figure(*pair)
    reaches = []
    for disc, ring, mean in zip(
        figure.data, figure.layout.shapes[::2], figure.layout.shapes[1::2], strict=True
    ):
        middle = (mean.x0 + mean.x1) / 2
        away = np.hypot(np.asarray(disc.x) - middle, disc.y)
        assert (ring.x0 + ring.x1) / 2 == pytest.approx(middle)
        assert ring.line.dash == "dash"
        reaches.append((away.mean(), mean.x1 - middle, ring.x1 - middle))
    (one, size_one, ring_one), (two, size_two, ring_two) = reaches
    better = pair[0].quality > pair[1].quality
    assert (one < two) == (size_one < size_two) == better
    assert ring_one == pytest.approx(ring_two)  # one scale
    assert (min(size_one, size_two) < ring_one) == (max(r.quality for r in pair) > 50)
    left, right = figure.data
    assert np.max(left.x) < np.min(right.x)
