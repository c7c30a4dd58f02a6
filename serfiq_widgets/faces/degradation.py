"""Degradations of a face image: pure functions on RGB arrays, combined by `Degradation`.

Every function takes and returns (H, W, 3) uint8 RGB and does not change its input. `Degradation`
applies them in the order in which a photo is formed: scene (cover of the face), pose, light, lens,
sensor, file. Strengths in pixels refer to the aligned face of 112 pixels.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serfiq_widgets.checks import check_number
from serfiq_widgets.errors import BadSetting
from serfiq_widgets.faces.alignment import FACE_SIZE
from serfiq_widgets.images.opencv import import_cv2

Pixels = NDArray[np.uint8]

COVERS = ("none", "mask", "sunglasses", "square")
GREY = 128
# Polygons on the ArcFace template: x to the right, y down, in pixels of 112.
DRAWN: dict[str, tuple[tuple[int, int, int], list[list[tuple[int, int]]]]] = {
    "mask": (
        (120, 160, 190),
        [[(18, 68), (56, 61), (94, 68), (82, 110), (56, 112), (30, 110)]],
    ),
    "sunglasses": (
        (25, 25, 25),
        [
            [(22, 43), (54, 43), (50, 62), (26, 62)],
            [(58, 43), (90, 43), (86, 62), (62, 62)],
            [(54, 45), (58, 45), (58, 49), (54, 49)],
        ],
    ),
}
MIDDLE = 127.5  # of the grey levels
NOISE_SEED = 0  # the same noise for every face, to compare faces


@dataclass(frozen=True)
class Strength:
    """The range of one degradation.

    Attributes
    ----------
    label, unit : str
        Texts for users.
    least, most, step : float
        A useful range for an aligned face.
    neutral : float
        The value that changes nothing.
    worst : float
        The end of the range that degrades most.
    """

    label: str
    unit: str
    least: float
    most: float
    step: float
    neutral: float
    worst: float

    @property
    def title(self) -> str:
        """Label and unit."""
        return f"{self.label}, {self.unit}" if self.unit else self.label


STRENGTHS = {
    "blur": Strength("blur", "px", 0, 8, 0.1, 0, 8),
    "noise": Strength("noise", "grey levels", 0, 100, 1, 0, 100),
    "jpeg": Strength("JPEG quality", "", 1, 100, 1, 100, 1),
    "resolution": Strength("resolution", "px", 8, FACE_SIZE, 1, FACE_SIZE, 8),
    "brightness": Strength("brightness", "stops", -5, 3, 0.1, 0, -5),
    "contrast": Strength("contrast", "\u00d7", 0.05, 3, 0.05, 1, 0.05),
    "rotation": Strength("rotation", "\u00b0", -90, 90, 1, 0, 90),
}


def blur(pixels: Pixels, sigma: float) -> Pixels:
    """Blur with a Gaussian whose standard deviation is ``sigma`` pixels."""
    if sigma == 0:
        return pixels
    blurred: Pixels = import_cv2().GaussianBlur(pixels, (0, 0), sigma)
    return blurred


def noise(pixels: Pixels, deviation: float) -> Pixels:
    """Add Gaussian noise of a standard deviation in grey levels, the same for every face."""
    grain = np.random.default_rng(NOISE_SEED).standard_normal(pixels.shape, np.float32)
    return _grey_levels(pixels + np.float32(deviation) * grain)


def jpeg(pixels: Pixels, quality: float) -> Pixels:
    """Encode as JPEG of a quality 1 to 99, and decode; 100 changes nothing."""
    if quality >= STRENGTHS["jpeg"].neutral:
        return pixels
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=round(quality))
    return np.asarray(Image.open(content))


def resolution(pixels: Pixels, across: float) -> Pixels:
    """Shrink to ``across`` pixels by area averaging, and enlarge by bicubic interpolation."""
    height, width = pixels.shape[:2]
    if across >= width:
        return pixels
    cv2 = import_cv2()
    size = (round(across), max(1, round(across * height / width)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    large: Pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return large


def brightness(pixels: Pixels, stops: float) -> Pixels:
    """Change the exposure by ``stops``: grey levels times 2 ** stops, clipped."""
    return _grey_levels(pixels * np.float32(2.0**stops))


def contrast(pixels: Pixels, factor: float) -> Pixels:
    """Scale the distance of grey levels to middle grey, clipped."""
    return _grey_levels(np.float32(MIDDLE) + np.float32(factor) * (pixels - np.float32(MIDDLE)))


def rotation(pixels: Pixels, degrees: float) -> Pixels:
    """Rotate around the centre, anticlockwise; pixels from outside are mirrored."""
    if degrees == 0:
        return pixels
    cv2 = import_cv2()
    height, width = pixels.shape[:2]
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), degrees, 1.0)
    turned: Pixels = cv2.warpAffine(
        pixels, turn, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return turned


def cover(pixels: Pixels, what: str, x: float, y: float, side: float) -> Pixels:
    """Cover part of an aligned face.

    Parameters
    ----------
    pixels : (112, 112, 3) ndarray of uint8
        Aligned face, RGB; for other sizes the template is scaled.
    what : {"none", "mask", "sunglasses", "square"}
        A medical mask over nose and mouth, dark glasses, or a grey square.
    x, y, side : float
        Centre and side of the square in pixels; the other covers have a fixed place.
    """
    if what == "none":
        return pixels
    covered = pixels.copy()
    scale = pixels.shape[1] / FACE_SIZE
    if what == "square":
        left, right, top, bottom = (
            max(0, round((centre + half) * scale))
            for centre in (x, y)
            for half in (-side / 2, side / 2)
        )
        covered[top:bottom, left:right] = GREY
        return covered
    colour, polygons = DRAWN[what]
    cv2 = import_cv2()
    for corners in polygons:
        points = np.rint(np.array(corners) * scale).astype(np.int32)
        cv2.fillPoly(covered, [points], colour, cv2.LINE_AA)
    return covered


def _grey_levels(values: NDArray[np.float32]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


STEPS = {
    "rotation": rotation,
    "brightness": brightness,
    "contrast": contrast,
    "blur": blur,
    "resolution": resolution,
    "noise": noise,
    "jpeg": jpeg,
}
"""The functions that `Degradation` applies after the cover, in this order."""


@dataclass(frozen=True)
class Degradation:
    """A combination of degradations; the default changes nothing.

    Attributes
    ----------
    blur, noise, jpeg, resolution, brightness, contrast, rotation : float
        See `STRENGTHS` for units and ranges.
    cover : {"none", "mask", "sunglasses", "square"}
        Cover of the face.
    x, y, side : float
        Centre (0..112) and side (0..112) of the square, in pixels of the aligned face.

    Raises
    ------
    BadSetting
        A value is no number, or outside its range; the text names it.

    Examples
    --------
    >>> from serfiq_widgets import Degradation, find_face
    >>> face = find_face("sample_images/collins.jpg")
    >>> Degradation(blur=3, cover="sunglasses").apply(face.pixels).shape
    (112, 112, 3)
    """

    blur: float = 0
    noise: float = 0
    jpeg: float = 100
    resolution: float = FACE_SIZE
    brightness: float = 0
    contrast: float = 1
    rotation: float = 0
    cover: str = "none"
    x: float = FACE_SIZE / 2
    y: float = FACE_SIZE / 2
    side: float = 36

    def __post_init__(self) -> None:
        """Check the values."""
        if self.cover not in COVERS:
            raise BadSetting(
                f"cover={self.cover!r:.60} is unknown; there are: {', '.join(COVERS)}."
            )
        for field in fields(self):
            if field.name == "cover":
                continue
            value = getattr(self, field.name)
            known = STRENGTHS.get(field.name)
            least, most = (known.least, known.most) if known else (0, FACE_SIZE)
            check_number(field.name, value, least, most)

    def apply(self, pixels: Pixels) -> Pixels:
        """Return the degraded image; the input itself if nothing changes."""
        pixels = cover(pixels, self.cover, self.x, self.y, self.side)
        for name, step in STEPS.items():
            strength = getattr(self, name)
            if strength != STRENGTHS[name].neutral:
                pixels = step(pixels, strength)
        return pixels

    def replace(self, **changes: Any) -> Degradation:
        """Return a copy with some values changed."""
        return replace(self, **changes)

    def describe(self) -> str:
        """Return its text, such as "blur 1.5 px, mask"; empty if it changes nothing."""
        said = [
            f"{strength.label} {getattr(self, name):g} {strength.unit}".rstrip()
            for name, strength in STRENGTHS.items()
            if getattr(self, name) != strength.neutral
        ]
        return ", ".join([*said, *([] if self.cover == "none" else [self.cover])])

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the degradations that change something."""
        strengths = (n for n, s in STRENGTHS.items() if getattr(self, n) != s.neutral)
        return (*strengths, *(() if self.cover == "none" else ("cover",)))

    @property
    def is_neutral(self) -> bool:
        """Whether it changes nothing."""
        return not self.active

    def without(self, name: str) -> Degradation:
        """Return a copy in which one degradation changes nothing."""
        return self.replace(**{name: "none" if name == "cover" else STRENGTHS[name].neutral})


Ruin = Degradation
"""Alias, as in `Explorer.ruin`."""


def sweep_values(name: str, points: int) -> NDArray[np.float64]:
    """Return evenly spaced values over a degradation's range, including its neutral value.

    Raises
    ------
    BadSetting
        There is no such degradation.
    """
    if name not in STRENGTHS:
        raise BadSetting(f"{name!r:.60} cannot be swept; there are: {', '.join(STRENGTHS)}.")
    strength = STRENGTHS[name]
    values = np.linspace(strength.least, strength.most, points)
    values[np.abs(values - strength.neutral).argmin()] = strength.neutral
    return values
