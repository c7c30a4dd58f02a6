"""A face on the ArcFace template: its attributes, and the warp onto the template."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serfiq_widgets.images.encode import data_url
from serfiq_widgets.images.opencv import import_cv2, shrunk

FACE_SIZE = 112


TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""Eyes, nose and mouth corners of the ArcFace template: x to the right, y down, in pixels."""


@dataclass(frozen=True, eq=False, repr=False)
class AlignedFace:
    """A face on the ArcFace template, and its source.

    Attributes
    ----------
    pixels : (112, 112, 3) ndarray of uint8
        RGB, 0..255.
    name : str
        Name of the image in messages.
    box : tuple of float or None
        Left, top, right, bottom in photo pixels; None if the image was given aligned.
    landmarks : (5, 2) ndarray of float32 or None
        Left eye, right eye, nose, left and right mouth corner as seen in the image; x, y in
        photo pixels.
    confidence : float or None
        Confidence of the detector, 0..1.
    detector : str
        Name of the detector; empty if the image was given aligned.
    n_faces : int
        Number of faces in the photo.
    boxes : tuple of tuple of float
        Boxes of all faces, in the order of `detect`.
    which : int
        Index of this face among them.
    photo_size : tuple of int
        Width and height of the photo.
    """

    pixels: NDArray[np.uint8]
    name: str
    box: tuple[float, float, float, float] | None = None
    landmarks: NDArray[np.float32] | None = None
    confidence: float | None = None
    detector: str = ""
    n_faces: int = 1
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    which: int = 0
    photo_size: tuple[int, int] = (FACE_SIZE, FACE_SIZE)

    def __repr__(self) -> str:
        """One line without the pixels, for terminals and logs."""
        found = f"face {self.which + 1} of {self.n_faces}" if self.detector else "given aligned"
        return f"AlignedFace({self.name!r}, {found}{self.detector and f', {self.detector}'})"

    def _repr_html_(self) -> str:
        """The face, as a notebook shows and saves it."""
        url = data_url(Image.fromarray(self.pixels))
        name = escape(self.name, quote=True)
        return f'<img src="{url}" alt="{name}" title="{name}" width="112" height="112">'


def similarity(source: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64]:
    """Least-squares similarity transform from (N, 2) source points to the target's points.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    IEEE TPAMI 13(4), 1991.

    Returns
    -------
    (2, 3) ndarray of float64
        Scale times rotation, and translation; never a reflection.
    """
    source, target = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    centred = source - source_mean
    left, sizes, right = np.linalg.svd((target - target_mean).T @ centred / len(source))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    rotation = (left * signs) @ right
    scale = float(sizes @ signs) / max(float(centred.var(axis=0).sum()), 1e-12)
    shift = target_mean - scale * rotation @ source_mean
    return np.column_stack([scale * rotation, shift])


def align(pixels: NDArray[np.uint8], landmarks: NDArray[Any]) -> NDArray[np.uint8]:
    """Warp a photo so that its five landmarks lie on the ArcFace template.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB.
    landmarks : (5, 2) ndarray of float
        In the order of `TEMPLATE`, photo pixels.

    Returns
    -------
    (112, 112, 3) ndarray of uint8
        RGB; black outside the photo.
    """
    cv2 = import_cv2()
    points = np.asarray(landmarks, dtype=np.float64)
    matrix = similarity(points, TEMPLATE)
    shrink = math.floor(1.0 / max(float(np.hypot(*matrix[:, 0])), 1e-6))
    if shrink > 1:
        # Bilinear warping reads four pixels per output pixel. A large face would lose the other
        # pixels, and the aliasing would lower the score: average first.
        height, width = pixels.shape[:2]
        size = (max(1, width // shrink), max(1, height // shrink))
        pixels = shrunk(pixels, size)
        ratio = np.array([size[0] / width, size[1] / height])
        matrix = similarity((points + 0.5) * ratio - 0.5, TEMPLATE)
    warped: NDArray[np.uint8] = cv2.warpAffine(
        pixels, matrix, (FACE_SIZE, FACE_SIZE), flags=cv2.INTER_LINEAR
    )
    return warped
