"""Removal of everything that a decoder does not need from a JPEG, PNG or WebP file.

The files are parsed here, part by part, before a decoder reads them. EXIF, comments, profiles,
thumbnails, further images and data after the image are dropped: they contain personal data, and
most attacks on decoders use them. The headers give size, scans and memory, so a file that needs too
much is never decoded. This module uses the standard library only.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from serfiq_widgets.errors import ImageTooLarge, UnreadableImage
from serfiq_widgets.images.formats import FROM_OWNERS
from serfiq_widgets.images.orientation import orientation_of, raw_profile

MAX_PIXELS = 32_000_000
MAX_SCALED = 110_000_000  # pixels of a JPEG that is decoded at half its size, or smaller
MIN_SIDE = 16
MAX_MEMORY = 290_000_000  # bytes that decoding may use
MAX_WORK = 400_000_000  # pixels times scans of a progressive JPEG; about a second
MAX_PIECES = 20_000  # a typical 20 MB file has about 2,500

_JPEG, _PNG, _RIFF = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF"
_MARKER = re.compile(rb"\xff+([^\x00\xff])", re.DOTALL)
_SCAN_END = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]", re.DOTALL)
_START_OF_FRAME = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_SCAN, _END, _JFIF, _EXIF, _ADOBE = 0xDA, 0xD9, 0xE0, 0xE1, 0xEE
_METADATA = {*range(0xE1, 0xEE), 0xEF, 0xFE}  # application segments and comments
_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_PNG_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_PNG_PIECES = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
_WEBP_PIECES = {b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"}
_WEBP_FLAGS = 0x20 | 0x08 | 0x04  # has a profile, EXIF, XMP
_EXIF_JPEG = b"Exif\0"
_XMP_JPEG, _XMP_PNG = b"http://ns.adobe.com/xap/1.0/\0", b"XML:com.adobe.xmp"
_RAW_PROFILE = b"Raw profile type exif"
_MOST_TEXT = 1_000_000  # bytes to unpack from a PNG's compressed text
_WEBP_COST = 18  # bytes per pixel: two canvases, a copy and Pillow's pixels (measured)


@dataclass(frozen=True)
class Picture:
    """The bytes to decode, and the orientation of the image in them.

    Attributes
    ----------
    content : bytes
        A JPEG, PNG or WebP file without metadata.
    orientation : int
        As in EXIF: 1 is upright, 2 to 8 are turned or mirrored.
    """

    content: bytes
    orientation: int


def essentials(content: bytes, name: str) -> Picture:
    """Return the parts of a file that a decoder needs.

    Raises
    ------
    UnreadableImage
        The file has none of the three formats, is too broken to parse, or is too small.
    ImageTooLarge
        Its headers state more pixels, memory or work than is allowed.
    """
    if content.startswith(_JPEG):
        return _jpeg(content, name)
    if content.startswith(_PNG):
        return _png(content, name)
    if content.startswith(_RIFF) and content[8:12] == b"WEBP":
        return _webp(content, name)
    raise UnreadableImage(f"'{name}' {FROM_OWNERS}")


def broken(name: str) -> UnreadableImage:
    """Return the error for a file that does not follow its format."""
    return UnreadableImage(f"'{name}' is broken: a part is missing or changed. Copy it again.")


def too_large(name: str, what: str) -> ImageTooLarge:
    """Return the error for an image that needs too much."""
    return ImageTooLarge(f"'{name}' {what}. Save it smaller: a width of 1,000 pixels is enough.")


def check_size(width: int, height: int, name: str) -> None:
    """Refuse an image with too many pixels, or too few for a face."""
    if width * height > MAX_PIXELS:
        raise too_large(name, f"has more than {MAX_PIXELS // 10**6} megapixels")
    if min(width, height) < MIN_SIDE:
        raise UnreadableImage(
            f"'{name}' is only {width}\u00d7{height} pixels. A face needs at least {MIN_SIDE}."
        )


def jpeg_scale(width: int, height: int) -> int:
    """Return the divisor (1, 2, 4 or 8) of a JPEG's sides during decoding.

    Phone cameras write more pixels than a face needs. A JPEG decoded at half its size needs a
    quarter of the memory.
    """
    if width * height > MAX_SCALED:
        return 1  # it will be refused
    return next(s for s in (1, 2, 4, 8) if (width // s) * (height // s) <= MAX_PIXELS)


def check_memory(width: int, height: int, bytes_each: float, name: str) -> None:
    """Refuse an image that needs too much memory to decode, at ``bytes_each`` per pixel."""
    if width * height * bytes_each > MAX_MEMORY:
        raise too_large(name, "needs too much memory to decode")


def _jpeg(content: bytes, name: str) -> Picture:
    kept, exif, xmp, scans = [b"\xff\xd8"], b"", b"", 0
    frame, progressive = b"", False
    for marker, start, body, end in _segments(content, name):
        if marker == _EXIF and content.startswith(_XMP_JPEG, body):
            xmp = xmp or content[body + len(_XMP_JPEG) : end]
        elif marker == _EXIF and content.startswith(_EXIF_JPEG, body):
            exif = exif or content[body:end]
        if marker in _METADATA and marker != _ADOBE:
            continue
        kept.append(content[start:end])
        if marker in _START_OF_FRAME and not frame:
            frame, progressive = content[body:end], marker in _PROGRESSIVE
        scans += marker == _SCAN
    if len(frame) < 6 or not scans:  # noqa: PLR2004  # precision, height, width, layers
        raise broken(name)
    height, width, layers = struct.unpack(">HHB", frame[1:6])
    scale = jpeg_scale(width, height)
    check_size(width // scale, height // scale, name)
    cost = (4.0 + 3.0) / scale**2  # Pillow's pixels and the array
    if progressive or scans > 1:  # all coefficients stay in memory, two bytes each
        sampling = [(one >> 4) * (one & 15) for one in frame[7 : 6 + 3 * layers : 3]]
        cost += 2.0 * sum(sampling) / max([*sampling, 1])
        if scans * width * height > MAX_WORK:
            raise too_large(name, f"has {scans} scans, too many to decode")
    check_memory(width, height, cost, name)
    return Picture(b"".join(kept), orientation_of(exif, xmp))


def _segments(content: bytes, name: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield marker, start, body start and end of a JPEG's segments; scans include their data.

    Bytes between segments are skipped, as decoders do.
    """
    at, count = 2, 0
    while found := _MARKER.search(content, at):
        count += 1
        if count > MAX_PIECES:
            raise broken(name)
        marker, start, at = found[1][0], found.end() - 2, found.end()
        if marker == _END:
            yield marker, start, at, at
            return
        if marker in _BARE:
            continue
        body = at + 2
        at += max(int.from_bytes(content[at:body], "big"), 2)
        if marker == _SCAN:
            behind = _SCAN_END.search(content, at)
            at = behind.start() if behind else len(content)
        yield marker, start, body, min(at, len(content))


def _png(content: bytes, name: str) -> Picture:
    kept, exif, xmp, at = [_PNG], b"", b"", len(_PNG)
    for _ in range(MAX_PIECES):
        size, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        end = at + 12 + size
        if kind in _PNG_PIECES:
            kept.append(content[at:end])
        elif kind == b"eXIf":
            exif = content[at + 8 : end - 4]
        elif kind in _PNG_TEXTS:
            keyword, text = _png_text(kind, content[at + 8 : end - 4])
            exif = exif or (raw_profile(text) if keyword == _RAW_PROFILE else b"")
            xmp = xmp or (text if keyword == _XMP_PNG else b"")
        at = end
        if at >= len(content) or kind == b"IEND":
            break
    else:
        raise broken(name)
    header = content[8:33]
    if header[4:8] != b"IHDR" or len(header) < 25:  # noqa: PLR2004  # the length of IHDR
        raise broken(name)
    width, height = struct.unpack(">II", header[8:16])
    check_size(width, height, name)
    return Picture(b"".join(kept), orientation_of(exif, xmp))


def _png_text(kind: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Return keyword and text of a PNG text chunk; an empty text if it cannot be unpacked."""
    keyword, _, text = body.partition(b"\0")
    if keyword not in (_RAW_PROFILE, _XMP_PNG):
        return keyword, b""
    packed = kind == b"zTXt"
    if kind == b"zTXt":
        text = text[1:]  # skip the method
    elif kind == b"iTXt":
        packed = text[:1] == b"\1"
        text = text[2:].split(b"\0", 2)[-1]  # skip language and translated keyword
    if packed:
        try:
            text = zlib.decompressobj().decompress(text, _MOST_TEXT)
        except zlib.error:
            text = b""
    return keyword, text


def _webp(content: bytes, name: str) -> Picture:
    kept, exif, xmp, at = [], b"", b"", 12
    for _ in range(MAX_PIECES):
        kind, size = content[at : at + 4], int.from_bytes(content[at + 4 : at + 8], "little")
        end = at + 8 + size + size % 2
        piece = content[at:end]
        if kind == b"VP8X" and len(piece) > 8:  # noqa: PLR2004  # it has flags
            piece = piece[:8] + bytes([piece[8] & ~_WEBP_FLAGS]) + piece[9:]
        if kind in _WEBP_PIECES:
            kept.append(piece)
        elif kind == b"EXIF":
            exif = exif or piece[8:]
        elif kind == b"XMP ":
            xmp = xmp or piece[8:]
        at = end
        if at >= len(content):
            break
    else:
        raise broken(name)
    width, height = _webp_size(kept[0] if kept else b"", name)
    check_size(width, height, name)
    check_memory(width, height, _WEBP_COST, name)
    body = b"WEBP" + b"".join(kept)
    return Picture(_RIFF + struct.pack("<I", len(body)) + body, orientation_of(exif, xmp))


def _webp_size(first: bytes, name: str) -> tuple[int, int]:
    """Return width and height from the first chunk of a WebP file."""
    kind, body = first[:4], first[8:]
    if kind == b"VP8X" and len(body) >= 10:  # noqa: PLR2004  # sizes of the format, also below
        width, height = (int.from_bytes(body[i : i + 3], "little") + 1 for i in (4, 7))
    elif kind == b"VP8L" and len(body) >= 5:  # noqa: PLR2004
        bits = int.from_bytes(body[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 " and len(body) >= 10:  # noqa: PLR2004
        width, height = (size & 0x3FFF for size in struct.unpack("<HH", body[6:10]))
    else:
        raise broken(name)
    return width, height
