"""Reading of images: bytes, files, PIL images and arrays become RGB arrays.

Photos are decoded by Pillow, with limits on bytes, pixels, memory and work. JPEG, PNG and WebP are
parsed first (see `metadata`); other formats are decoded in a separate process (see `sandbox`).
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from serfiq_widgets.errors import PixelWarning, UnreadableImage, clean_name, one_line
from serfiq_widgets.images.formats import APART, NO_HEIF, format_of, has_heif
from serfiq_widgets.images.memory import give_back
from serfiq_widgets.images.metadata import broken, check_size, essentials, jpeg_scale, too_large
from serfiq_widgets.images.orientation import orientation_in
from serfiq_widgets.images.sandbox_worker import check_mode, decoded, strips

if TYPE_CHECKING:
    from PIL import Image

    ImageSource = (
        str | Path | bytes | bytearray | memoryview | NDArray[Any] | Image.Image | BinaryIO
    )

MAX_BYTES = 20_000_000
MUCH = 20_000_000  # bytes of pixels; decoding uses as much memory again
IMAGE_AXES = 3  # of an array
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
CHANNELS = (1, 3, 4)
WHITE = 255

_ARRAY_HELP = (
    "Give an array (height, width, 3) in RGB order: uint8, or floats of 0 to 1 or 0 to 255."
)


def read_image(source: ImageSource, name: str | None = None) -> NDArray[np.uint8]:
    """Read an image as RGB.

    Parameters
    ----------
    source : path, bytes, file object, PIL image or array
        JPEG, PNG, WebP, AVIF, TIFF, GIF, BMP, PPM, PGM, JPEG 2000, and HEIC where pillow-heif is
        installed; the first of several frames or pages. All but the first three are decoded in a
        separate process. EXIF rotation is applied, transparent pixels become white, 16 bits are
        scaled to 8; a JPEG or PIL image above 32 megapixels is read at half its size or less.
        Arrays and tensors are (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA, or have the
        channels first; uint8, uint16, or floats from 0 to 1 or 0 to 255, by their maximum.
    name : str, optional
        The image's name in messages; by default the file's name.

    Returns
    -------
    (H, W, 3) ndarray of uint8
        RGB, 0..255.

    Raises
    ------
    UnreadableImage
        It is not an image that can be decoded; the text names it and says what to do.
    ImageTooLarge
        More than 20 MB or 32 megapixels (JPEG and PIL images: 110), or too costly to decode (WebP:
        above 16 megapixels).

    Warns
    -----
    PixelWarning
        The image has floats; the text says which range was assumed.
    """
    name = name or name_of(source)
    if isinstance(source, np.ndarray) or hasattr(source, "numpy"):
        return _from_array(_as_array(source, name), name)
    from PIL import Image

    if isinstance(source, Image.Image):
        return _from_pillow(source, name)
    content = read_bytes(source, name)
    kind = format_of(content)
    if kind in APART:
        return _decoded_apart(content, kind, name)
    picture = essentials(content, name)
    with decoded(picture.content, name) as image:
        pixels = _to_rgb(image)
    if pixels.nbytes > MUCH:
        give_back()
    return upright(pixels, picture.orientation)


def _decoded_apart(content: bytes, kind: str, name: str) -> NDArray[np.uint8]:
    if kind == "HEIF" and not has_heif():
        raise UnreadableImage(f"'{name}' {NO_HEIF}")
    from serfiq_widgets.images.sandbox import decode

    return decode(content, name)


def name_of(source: Any) -> str:
    """Return an image's name for messages: its file name, if it has one."""
    if isinstance(source, (str, Path)):
        return clean_name(Path(source).name or str(source))
    # PIL images have a filename; that of gzip files is deprecated, so `name` is used
    try:
        name = getattr(source, "name" if hasattr(source, "name") else "filename", None)
    except Exception:  # noqa: BLE001  # a user's file object may raise anything
        name = None
    return clean_name(Path(name).name) if isinstance(name, str) and name else "the image"


def several(images: Any) -> Iterable[Any]:
    """Return an iterable of images: the given one, or a single image wrapped in it."""
    alone = (
        isinstance(images, (str, Path, bytes, bytearray, memoryview))
        or not isinstance(images, Iterable)  # an aligned face
        or hasattr(images, "read")  # an open file
        or hasattr(images, "getexif")  # a PIL image
        or getattr(images, "ndim", IMAGE_AXES + 1) <= IMAGE_AXES
    )
    return [images] if alone else images


def is_address(source: object) -> bool:
    """Return whether this is a web address, such as https://..., and not a path."""
    return isinstance(source, str) and ADDRESS.match(source) is not None


def read_bytes(source: Any, name: str) -> bytes:
    """Return the bytes of a path, buffer or file object, at most up to the size limit.

    Raises
    ------
    UnreadableImage, ImageTooLarge
        As in `read_image`.
    """
    if is_address(source):
        raise UnreadableImage(
            f"'{name}' is on the web. Download it first and give the file's path."
        )
    if isinstance(source, (bytes, bytearray, memoryview)):
        content = bytes(source) if len(source) <= MAX_BYTES else b"\0" * (MAX_BYTES + 1)
    elif isinstance(source, (str, Path)):
        try:
            with Path(source).expanduser().open("rb") as file:
                content = file.read(MAX_BYTES + 1)
        except (OSError, ValueError, RuntimeError) as error:  # such as an unknown home folder
            why = getattr(error, "strerror", None) or error
            raise UnreadableImage(f"'{name}' cannot be read ({why}). Check the path.") from error
    elif hasattr(source, "read"):
        try:
            content = _read_to_the_end(source, name)
        except UnreadableImage:
            raise
        except Exception as error:  # file objects may raise anything: zip, gzip, sockets
            why = one_line(error) or type(error).__name__
            raise UnreadableImage(f"'{name}' cannot be read ({why}). Open it again.") from error
    else:
        raise UnreadableImage(
            f"'{name}' is a {type(source).__name__}, not an image. "
            "Give a path, bytes, a file object, a PIL image or an array."
        )
    check_bytes(content, name)
    return content


def _read_to_the_end(source: Any, name: str) -> bytes:
    """Read a file object in parts, as pipes return them, up to the size limit.

    If its position is at the end, as after writing, it is read from the start.
    """
    content = bytearray()
    while len(content) <= MAX_BYTES:
        part = source.read(MAX_BYTES + 1 - len(content))
        if isinstance(part, str):
            raise UnreadableImage(f"'{name}' is open as text. Open it with mode 'rb'.")
        if part is None:
            raise UnreadableImage(f"'{name}' has no data yet. Wait until all data have arrived.")
        if not part and not content and _stands_behind_its_start(source):
            source.seek(0)
            continue
        if not part:
            break
        content += part
    return bytes(content)


def _stands_behind_its_start(source: Any) -> bool:
    seekable = getattr(source, "seekable", None)
    return bool(seekable and seekable() and source.tell() > 0)


def check_bytes(content: bytes, name: str) -> None:
    """Refuse a file that is empty or above the limit on bytes."""
    if len(content) > MAX_BYTES:
        raise too_large(name, f"is larger than {MAX_BYTES // 10**6} MB")
    if not content:
        raise UnreadableImage(f"'{name}' is empty. Download or save it again.")


def _as_array(source: Any, name: str) -> NDArray[Any]:
    """Return an array or a framework's tensor as an array with the channels last."""
    if not isinstance(source, np.ndarray):
        tensor = source.detach().cpu() if hasattr(source, "detach") else source
        tensor = tensor.float() if "bfloat16" in str(tensor.dtype) else tensor  # unknown to NumPy
        source = tensor.numpy()
    array = np.asarray(source)
    if array.ndim == 3 and array.shape[0] in CHANNELS and array.shape[2] not in CHANNELS:  # noqa: PLR2004  # axes
        array = np.moveaxis(array, 0, 2)
    if array.ndim not in (2, 3) or array.shape[2:] not in ((), *((n,) for n in CHANNELS)):
        raise UnreadableImage(f"'{name}' is an array of shape {array.shape}. {_ARRAY_HELP}")
    return array


def _from_floats(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Convert floats from 0 to 1 or from 0 to 255, by their maximum, and warn about it."""
    if not np.isfinite(array).all():
        raise UnreadableImage(f"'{name}' holds NaN or infinity. {_ARRAY_HELP}")
    least, most = float(array.min(initial=0)), float(array.max(initial=0))
    if least < 0 or most > WHITE:
        raise UnreadableImage(f"'{name}' holds floats of {least:g} to {most:g}. {_ARRAY_HELP}")
    scale = WHITE if most <= 1 else 1
    warnings.warn(
        f"'{name}' holds floats up to {most:g}: they were taken as 0 to {WHITE // scale}.",
        PixelWarning,
        stacklevel=2,
    )
    pixels: NDArray[np.uint8] = np.rint(array.astype(np.float64) * scale).astype(np.uint8)
    return pixels


def _from_array(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if array.dtype.kind != "f" and array.dtype not in (np.uint8, np.uint16):
        raise UnreadableImage(f"'{name}' is an array of {array.dtype}. {_ARRAY_HELP}")
    check_size(array.shape[1], array.shape[0], name)
    if array.dtype.kind == "f":
        array = _from_floats(array, name)
    elif array.dtype == np.uint16:
        array = (array // 257).astype(np.uint8)
    channels = np.atleast_3d(array)
    if channels.shape[2:] == (4,):
        from PIL import Image

        return _to_rgb(Image.fromarray(channels, "RGBA"))
    if channels.shape[2:] == (1,):
        channels = np.repeat(channels, 3, axis=2)
    return np.ascontiguousarray(channels, dtype=np.uint8)


def _from_pillow(image: Image.Image, name: str) -> NDArray[np.uint8]:
    scale = jpeg_scale(*image.size)
    check_size(image.width // scale, image.height // scale, name)
    check_mode(image.mode, name)
    try:
        image.seek(0)
        smaller = image.reduce(scale) if scale > 1 else image
        return upright(_to_rgb(smaller), orientation_in(image))
    except Exception as error:  # not decoded yet, and the file is broken
        if "closed" in str(error):
            raise UnreadableImage(f"'{name}' is closed. Open it again.") from error
        raise broken(name) from error


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    width, height = image.size
    flat, done = np.empty(height * width * 3, dtype=np.uint8), 0
    for strip in strips(image):
        flat[done : done + len(strip)] = np.frombuffer(strip, dtype=np.uint8)
        done += len(strip)
    return flat.reshape(height, width, 3)


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn and mirror pixels by an EXIF orientation, 1 to 8; ignore unknown values."""
    turn = _TURNS.get(orientation)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


_TURNS: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90,
}
