"""Reading images: bytes, files, PIL images and arrays become RGB arrays.

Photos are decoded by Pillow alone (JPEG, PNG, WebP), under limits on bytes and pixels that are
held before anything is decoded.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import ImageTooLarge, UnreadableImage

if TYPE_CHECKING:
    from PIL import Image

    ImageSource = (
        str | Path | bytes | bytearray | memoryview | NDArray[Any] | Image.Image | BinaryIO
    )

MAX_BYTES = 20_000_000
MAX_PIXELS = 40_000_000
MIN_SIDE = 16
FORMATS = ("JPEG", "PNG", "WEBP")
EXIF_ORIENTATION = 0x0112
STRIP_ROWS = 256

_SAVE_AS = "Save it as JPEG, PNG or WebP and try again."
_ARRAY_HELP = "Give a uint8 array (height, width, 3) in RGB order, 0 to 255."


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
    name = name or name_of(source)
    if isinstance(source, np.ndarray):
        return _from_array(source, name)
    from PIL import Image, UnidentifiedImageError

    if isinstance(source, Image.Image):
        return _to_rgb(source, name)
    content = read_bytes(source, name)
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


def name_of(source: ImageSource) -> str:
    """What messages call an image: its file name, if it has one."""
    if isinstance(source, (str, Path)):
        return Path(source).name or str(source)
    name = getattr(source, "name", None) or getattr(source, "filename", None)
    return Path(name).name if isinstance(name, str) and name else "the image"


def read_bytes(source: Any, name: str) -> bytes:
    """Return the bytes of a path, buffer or file object, never more than the limit.

    Raises
    ------
    UnreadableImage, ImageTooLarge
        As `read_image`.
    """
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
