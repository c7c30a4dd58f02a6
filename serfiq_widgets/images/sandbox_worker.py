"""Decoding by Pillow alone: a picture without metadata becomes rows of RGB.

It runs where it is called, or in a child process of its own (see `sandbox`), which imports neither
NumPy nor anything else of weight. Then it has `serve` as its main function.
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

if sys.platform != "win32":  # which knows no such limits: there is only the parent's patience
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
"""By EXIF's orientation, what turns a picture upright; Pillow's names."""
STRIP_PIXELS = 2**20

REQUEST, ANSWER = struct.Struct("<II"), struct.Struct("<BII")
READY, LIMITED, DECODED = b"!", b"?", 0
ERRORS: tuple[type[SerfiqError], ...] = (UnreadableImage, ImageTooLarge)
"""By number less one, what the first byte of an `ANSWER` says when it is not `DECODED`."""


@contextmanager
def decoded(content: bytes, name: str, formats: tuple[str, ...] = COMMON) -> Iterator[Image.Image]:
    """Decode what `metadata.essentials` left of a file; of several pages or frames the first.

    With ``formats`` of `formats.APART`, a whole file of one of these, turned upright.

    Raises
    ------
    UnreadableImage, ImageTooLarge
        It is broken, or too large; the text names it.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on odd files; ours are errors below
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
            raise too_large(name, "takes too much memory to decode") from error
        except Exception as error:  # decoders of broken files raise what they like
            raise broken(name) from error


def check_mode(mode: str, name: str) -> None:
    """Refuse pixels that Pillow cannot turn to RGB."""
    if mode == "F":
        raise UnreadableImage(f"'{name}' holds floats. Save it with 8 or 16 bits.")
    if mode == "LAB":
        raise UnreadableImage(f"'{name}' holds colours as L*a*b*. Save it as RGB.")


def _upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its metadata ask for; readers of HEIC have done so already."""
    from PIL import Image

    turn = _TURNS.get(orientation_in(image))
    return image if turn is None else image.transpose(Image.Transpose[turn])


def strips(image: Image.Image) -> Iterator[bytes]:
    """Yield the rows of an image as RGB, some at a time, to spare memory.

    16 bits are scaled to 8, alpha is laid on white.
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
    """Answer requests on standard input until it ends, or until none came for ``idle`` seconds.

    The first byte is `READY`, or `LIMITED` where system calls could not be filtered.
    A request is a `REQUEST` with the sizes of a name and of a file, and both. The answer is an
    `ANSWER`: `DECODED`, width and height, and the RGB pixels; or the number of an error and the
    size of its text, and that text.
    """
    _load_decoders()  # nothing can be opened any more when they are needed
    source: BufferedReader = sys.stdin.buffer  # type: ignore[assignment]  # as it is in a process
    target = sys.stdout.buffer
    target.write(READY if confine(memory) else LIMITED)
    target.flush()
    while _wait(source, seconds, idle):
        _answer(source, target)


def _load_decoders() -> None:
    """Import all that decoding may need, each working in this thread alone."""
    from PIL import AvifImagePlugin, Image

    Image.init()
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    if has_heif():
        import pillow_heif

        pillow_heif.options.DECODE_THREADS = 1
        pillow_heif.register_heif_opener(thumbnails=False)


def _wait(source: BufferedReader, seconds: int, idle: int) -> bool:
    """Wait for a request, not for ever, and allow so many seconds of computing for it."""
    if sys.platform == "win32":
        return bool(source.peek(1))
    signal.alarm(idle)  # which ends this process
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
        if begun:  # no room for a text among pixels: the parent notices the end
            raise
        text = str(error).encode()
        target.write(ANSWER.pack(1 + ERRORS.index(type(error)), len(text), 0) + text)
    target.flush()
