"""Degradations: they change what they should, and they make faces worse for the network."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serfiq_widgets.errors import BadSetting
from serfiq_widgets.faces import degradation
from serfiq_widgets.faces.degradation import COVERS, STEPS, STRENGTHS, Ruin
from serfiq_widgets.faces.find import find_face
from serfiq_widgets.resources import folder

PORTRAITS = ("collins", "hopper")


@pytest.fixture(scope="module", params=PORTRAITS)
def face(request):
    return find_face(folder("sample_images") / f"{request.param}.jpg")


def ruins():
    numbers = {name: st.floats(s.least, s.most) for name, s in STRENGTHS.items()}
    place = dict.fromkeys(("x", "y", "side"), st.floats(0, 112))
    return st.builds(Ruin, cover=st.sampled_from(COVERS), **numbers, **place)


@given(ruins())
def test_every_combination_gives_an_image_and_leaves_its_input_alone(ruin):
    pixels = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    before = pixels.copy()
    ruined = ruin.apply(pixels)
    assert ruined.shape == (112, 112, 3)
    assert ruined.dtype == np.uint8
    np.testing.assert_array_equal(pixels, before)
    np.testing.assert_array_equal(ruin.apply(pixels), ruined)


def test_the_default_changes_nothing(face):
    assert Ruin().is_neutral
    assert Ruin().apply(face.pixels) is face.pixels
    assert not Ruin(cover="square").is_neutral


def test_one_of_several_is_taken_away():
    ruin = Ruin(blur=2, rotation=-9, cover="mask")
    assert ruin.active == ("blur", "rotation", "cover")
    assert ruin.without("cover") == Ruin(blur=2, rotation=-9)
    assert ruin.without("rotation").without("noise") == Ruin(blur=2, cover="mask")


@pytest.mark.parametrize("name", STEPS)
def test_each_function_changes_nothing_at_its_neutral_value(face, name):
    np.testing.assert_array_equal(STEPS[name](face.pixels, STRENGTHS[name].neutral), face.pixels)


@pytest.mark.parametrize("name", STRENGTHS)
def test_the_worst_strength_lowers_the_score(face, scorer, name):
    ruined = replace(face, pixels=Ruin(**{name: STRENGTHS[name].worst}).apply(face.pixels))
    assert scorer.limit(ruined) < scorer.limit(face)


@pytest.mark.parametrize("what", ["mask", "sunglasses"])
def test_covering_lowers_the_score(face, scorer, what):
    ruined = replace(face, pixels=Ruin(cover=what).apply(face.pixels))
    assert scorer.limit(ruined) < scorer.limit(face)


def test_brightness_is_in_stops():
    grey = np.full((4, 4, 3), 60, np.uint8)
    assert (degradation.brightness(grey, 1) == 120).all()
    assert (degradation.brightness(grey, -1) == 30).all()
    assert (degradation.brightness(grey, 3) == 255).all()


def test_contrast_is_around_middle_grey():
    rows = np.array([[[27, 127, 227]]], np.uint8)
    np.testing.assert_array_equal(degradation.contrast(rows, 0.5), [[[77, 127, 177]]])


def test_noise_has_the_deviation_it_says():
    grey = np.full((112, 112, 3), 128, np.uint8)
    deviation = (degradation.noise(grey, 20).astype(float) - 128).std()
    # 37,632 samples: the relative standard error is 1/sqrt(2 n), five of them allowed, and rounding
    assert deviation == pytest.approx(20, rel=5 / np.sqrt(2 * grey.size) + 1e-3)


def test_rotation_turns_anticlockwise():
    image = np.zeros((112, 112, 3), np.uint8)
    image[50:62, 100:] = 255  # a mark on the right
    turned = degradation.rotation(image, 90)
    assert turned[:10, 50:62].mean() > 200  # now on top


def test_resolution_keeps_only_so_many_pixels():
    stripes = np.zeros((112, 112, 3), np.uint8)
    stripes[:, ::2] = 255
    coarse = degradation.resolution(stripes, 56)
    assert coarse[:, 8:-8].std() < 1  # each pair of stripes has become its mean


def test_the_square_is_where_it_is_put():
    white = np.full((112, 112, 3), 255, np.uint8)
    covered = degradation.cover(white, "square", 30, 80, 20)
    rows, columns = np.nonzero((covered != 255).any(axis=2))
    assert (rows.mean(), columns.mean()) == pytest.approx((80, 30), abs=0.5)
    assert len(rows) == 20 * 20


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"blur": -1}, "blur=-1"),
        ({"blur": float("nan")}, "blur=nan"),
        ({"noise": "much"}, "noise='much'"),
        ({"jpeg": 0}, "jpeg=0"),
        ({"contrast": True}, "contrast=True"),
        ({"resolution": 10**9}, "resolution=1000000000"),
        ({"side": 113}, "side=113"),
        ({"cover": "beard"}, "cover='beard'.*mask"),
    ],
)
def test_impossible_strengths_are_refused_by_name(settings, says):
    with pytest.raises(BadSetting, match=says):
        Ruin(**settings)


def test_a_sweep_goes_through_the_neutral_value():
    for name, strength in STRENGTHS.items():
        values = degradation.sweep_values(name, 21)
        assert values[0] == strength.least
        assert values[-1] == strength.most
        assert strength.neutral in values
        assert (np.diff(values) > 0).all()
    with pytest.raises(BadSetting, match="'beauty' cannot be swept"):
        degradation.sweep_values("beauty", 21)
