"""Make the ruined versions of the portraits in sample_images/, in ways a class understands.

Deterministic: the same libraries give the same bytes. Run it with `make samples`.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from PIL import Image

from serfiq_widgets.faces.find import detect
from serfiq_widgets.images.read import read_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Photo = NDArray[np.uint8]

FOLDER = Path(__file__).parents[1] / "sample_images"
GREY = (128, 128, 128)
MASK_BLUE = (120, 160, 190)


def blur(photo: Photo) -> Photo:
    """Out of focus."""
    return cv2.GaussianBlur(photo, (0, 0), 6)


def dark(photo: Photo) -> Photo:
    """Hardly any light, and the sensor's noise that comes with it."""
    noise = np.random.default_rng(1).normal(0, 5, photo.shape)
    return np.clip(photo * 0.1 + noise, 0, 255).astype(np.uint8)


def tiny(photo: Photo) -> Photo:
    """A face of a few pixels, enlarged."""
    height, width = photo.shape[:2]
    small = cv2.resize(photo, (width // 12, height // 12), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def noise(photo: Photo) -> Photo:
    """A sensor at its limit: coarse grain."""
    height, width = photo.shape[:2]
    grain = np.random.default_rng(2).normal(0, 70, (height // 2, width // 2, 3))
    coarse = cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(photo + coarse, 0, 255).astype(np.uint8)


def jpeg(photo: Photo) -> Photo:
    """Sent on and on by a messenger: small, and compressed without mercy."""
    height, width = photo.shape[:2]
    small = Image.fromarray(photo).resize((width // 2, height // 2), Image.Resampling.BOX)
    content = io.BytesIO()
    small.save(content, "JPEG", quality=4)
    return np.asarray(Image.open(content).resize((width, height), Image.Resampling.NEAREST))


def mask(photo: Photo) -> Photo:
    """A medical mask over nose and mouth."""
    marks = detect(photo)[0].landmarks
    left, right, nose, mouth_left, mouth_right = marks
    across, down = right - left, (mouth_left + mouth_right) / 2 - (left + right) / 2
    corners = [
        nose - across * 0.75 - down * 0.15,
        nose + across * 0.75 - down * 0.15,
        nose + across * 0.6 + down * 0.95,
        nose - across * 0.6 + down * 0.95,
    ]
    return cv2.fillPoly(photo.copy(), [np.round(corners).astype(np.int32)], MASK_BLUE, cv2.LINE_AA)


def bar(photo: Photo) -> Photo:
    """A bar over the eyes."""
    left, right = detect(photo)[0].landmarks[:2]
    middle, across = (left + right) / 2, right - left
    up = np.array([across[1], -across[0]])
    sides = [(-1.0, 0.32), (1.0, 0.32), (1.0, -0.32), (-1.0, -0.32)]
    corners = [middle + across * x + up * y for x, y in sides]
    return cv2.fillPoly(
        photo.copy(), [np.round(corners).astype(np.int32)], (20, 20, 20), cv2.LINE_AA
    )


def glare(photo: Photo) -> Photo:
    """Overexposed: the highlights are gone."""
    return np.clip(photo * 2.0 + 120, 0, 255).astype(np.uint8)


# name: what to do, and the JPEG quality to save with
RUINED = {
    "collins_blur": (blur, 90),
    "collins_dark": (dark, 92),
    "collins_mask": (mask, 92),
    "collins_tiny": (tiny, 90),
    "hopper_bar": (bar, 92),
    "hopper_glare": (glare, 92),
    "hopper_jpeg": (jpeg, 90),
    "hopper_noise": (noise, 85),
}


def main() -> None:
    """Write all ruined versions."""
    for name, (ruin, quality) in RUINED.items():
        photo = read_image(FOLDER / f"{name.partition('_')[0]}.jpg")
        Image.fromarray(ruin(photo)).save(FOLDER / f"{name}.jpg", quality=quality)


if __name__ == "__main__":
    main()
