"""The orientation of an image, read from its EXIF or XMP data.

This module uses the standard library only: the decoder process has no NumPy.
"""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

UPRIGHT = 1

_TAG = 0x0112
_INTEGERS = {3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # EXIF's SHORT, LONG and signed types
_XMP = re.compile(rb"""tiff:Orientation\s*(?:=\s*["']|>)\s*([0-9])""")
_XMP_NAMES = ("xmp", "XML:com.adobe.xmp")  # Pillow's keys in JPEG and WebP, and in PNG


def orientation_of(exif: bytes = b"", xmp: bytes = b"") -> int:
    """Return the orientation, 1 to 8, from metadata; XMP is used if EXIF has none.

    Parameters
    ----------
    exif : bytes
        A TIFF structure, with or without ``Exif`` before it. Only its first directory is read,
        entry by entry, and no pointer is followed.
    xmp : bytes
        An XMP packet.

    Returns
    -------
    int
        1 is upright, also for invalid values; 2 to 8 are turned or mirrored as in EXIF.
    """
    return _orientation(_of_exif(exif), xmp)


def orientation_in(image: Image.Image) -> int:
    """Return the orientation, 1 to 8, of a PIL image, by the rules of `orientation_of`."""
    texts = (image.info.get(name) for name in _XMP_NAMES)
    xmp = next((text for text in texts if text), b"")
    value = image.getexif().get(_TAG)
    value = value if isinstance(value, int) else None
    return _orientation(value, xmp.encode() if isinstance(xmp, str) else bytes(xmp))


def _orientation(value: int | None, xmp: bytes) -> int:
    if value is None and (found := _XMP.search(xmp)):
        value = int(found[1])
    return value if value is not None and 1 <= value <= 8 else UPRIGHT  # noqa: PLR2004


def raw_profile(text: bytes) -> bytes:
    """Return the bytes of a PNG's "Raw profile type exif": name, length, hexadecimal digits."""
    with suppress(ValueError):
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii", "ignore"))
    return b""


def _of_exif(exif: bytes) -> int | None:
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None or len(tiff) < 10:  # noqa: PLR2004  # a header and a count
        return None
    (start,) = struct.unpack(f"{order}I", tiff[4:8])
    count = tiff[start : start + 2]
    entries = struct.unpack(f"{order}H", count)[0] if len(count) == 2 else 0  # noqa: PLR2004
    for at in range(start + 2, min(start + 2 + 12 * entries, len(tiff) - 11), 12):
        tag, kind, _ = struct.unpack(f"{order}HHI", tiff[at : at + 8])
        if tag == _TAG and kind in _INTEGERS:
            value: int = struct.unpack_from(order + _INTEGERS[kind], tiff, at + 8)[0]
            return value
    return None
