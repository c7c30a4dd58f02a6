"""Decoding by Pillow: an image without metadata becomes rows of RGB.

It runs in the caller's process, or in a child process (see `sandbox`) whose main function is
`serve`. The child imports neither NumPy nor any other large package.
"""

from __future__ import annotations

import io
import os
import signal
import struct
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, BinaryIO

if sys.platform != "win32":  # Windows has no such limits, only the parent's timeout
    import resource

from serfiq_widgets.errors import ImageTooLarge, SerfiqError, UnreadableImage
from serfiq_widgets.images.confinement import confine
from serfiq_widgets.images.formats import APART, COMMON, has_heif
from serfiq_widgets.images.metadata import broken, check_size, jpeg_scale, too_large
from serfiq_widgets.images.orientation import orientation_in

if TYPE_CHECKING:
    from io import BufferedReader

    from PIL import Image

_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""Pillow's name of the transposition that turns an image upright, by EXIF orientation."""
STRIP_PIXELS = 2**20

REQUEST, ANSWER = struct.Struct("<II"), struct.Struct("<BII")
READY, LIMITED, DECODED = b"!", b"?", 0
ERRORS: tuple[type[SerfiqError], ...] = (UnreadableImage, ImageTooLarge)
"""Errors by the first byte of an `ANSWER`, minus one, if it is not `DECODED`."""


@contextmanager
def decoded(content: bytes, name: str, formats: tuple[str, ...] = COMMON) -> Iterator[Image.Image]:
    """Decode the output of `metadata.essentials`; the first of several pages or frames.

    A format of `formats.APART` is decoded from the whole file and turned upright.

    Raises
    ------
    UnreadableImage, ImageTooLarge
        The file is broken or too large; the text names it.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hide Pillow's warnings about odd files
        try:
            with closing(Image.open(io.BytesIO(content), formats=formats)) as image:
                if image.format in ("JPEG", "MPO"):
                    scale = jpeg_scale(*image.size)
                    image.draft(image.mode, (image.width // scale, image.height // scale))
                check_size(*image.size, name)
                check_mode(image.mode, name)
                image.load()
                yield image if image.format in (*COMMON, "MPO") else _upright(image)
        except SerfiqError:
            raise
        except (MemoryError, Image.DecompressionBombError) as error:
            raise too_large(name, "needs too much memory to decode") from error
        except Exception as error:  # decoders raise any error on broken files
            raise broken(name) from error


def check_mode(mode: str, name: str) -> None:
    """Refuse pixels that Pillow cannot convert to RGB."""
    if mode == "F":
        raise UnreadableImage(f"'{name}' holds floats. Save it with 8 or 16 bits.")
    if mode == "LAB":
        raise UnreadableImage(f"'{name}' holds colours as L*a*b*. Save it as RGB.")


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image upright by its metadata; the HEIC decoder has done so already."""
    from PIL import Image

    turn = _TURNS.get(orientation_in(image))
    return image if turn is None else image.transpose(Image.Transpose[turn])


def strips(image: Image.Image) -> Iterator[bytes]:
    """Yield the rows of an image as RGB, some at a time, to save memory.

    16 bits are scaled to 8, transparent pixels become white.
    """
    width, height = image.size
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        yield _to_rgb(image.crop((0, top, width, min(top + rows, height)))).tobytes()


def _to_rgb(strip: Image.Image) -> Image.Image:
    from PIL import Image

    if strip.mode.startswith("I"):
        return strip.point(lambda value: value * (1 / 257) + 0.5 / 257).convert("L").convert("RGB")
    if strip.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in strip.info:
        layered = strip.convert("RGBA")
        flat = Image.new("RGB", layered.size, "white")
        flat.paste(layered, mask=layered.getchannel("A"))
        return flat
    return strip.convert("RGB")


# The child process


def serve(memory: int, seconds: int, idle: int) -> None:
    """Answer requests on standard input until it ends, or until ``idle`` seconds pass without one.

    The first byte is `READY`, or `LIMITED` where system calls could not be filtered.
    A request is a `REQUEST` with the sizes of a name and of a file, followed by both. The answer is
    an `ANSWER`: either `DECODED`, width and height, then the RGB pixels; or the number of an error
    and the size of its text, then the text.
    """
    _load_decoders()  # files cannot be opened after `confine`
    source: BufferedReader = sys.stdin.buffer  # type: ignore[assignment]  # of a process
    target = sys.stdout.buffer
    target.write(READY if confine(memory) else LIMITED)
    target.flush()
    while _wait(source, seconds, idle):
        _answer(source, target)


def _load_decoders() -> None:
    """Import all decoders, limited to one thread each."""
    from PIL import AvifImagePlugin, Image

    Image.init()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    if has_heif():
        import pillow_heif

        pillow_heif.options.DECODE_THREADS = 1
        pillow_heif.register_heif_opener(thumbnails=False)


def _wait(source: BufferedReader, seconds: int, idle: int) -> bool:
    """Wait at most ``idle`` seconds for a request; allow it ``seconds`` of CPU time."""
    if sys.platform == "win32":
        return bool(source.peek(1))
    signal.alarm(idle)  # ends this process if no request arrives
    there = bool(source.peek(1))
    signal.alarm(0)
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    used = int(sum(os.times()[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (used + seconds + 1, most))
    return there


def _answer(source: BinaryIO, target: BinaryIO) -> None:
    from PIL import Image

    formats = (*COMMON, *(name for name in APART if name in Image.OPEN))  # of this Pillow
    name_size, size = REQUEST.unpack(source.read(REQUEST.size))
    name, content = source.read(name_size).decode(), source.read(size)
    begun = False
    try:
        with decoded(content, name, formats) as image:
            target.write(ANSWER.pack(DECODED, *image.size))
            begun = True
            target.writelines(strips(image))
    except SerfiqError as error:
        if begun:  # pixels were sent already: the parent sees the end
            raise
        text = str(error).encode()
        target.write(ANSWER.pack(1 + ERRORS.index(type(error)), len(text), 0) + text)
    target.flush()
