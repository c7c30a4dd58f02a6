"""How a picture is to be turned: the orientation that its EXIF or XMP data give.

Standard library only: the process that decodes photos of visitors has no NumPy.
"""

from __future__ import annotations

import re
import struct
from contextlib import suppress

UPRIGHT = 1

_TAG = 0x0112
_INTEGERS = {3: "H", 4: "I"}  # EXIF's SHORT and LONG
_XMP = re.compile(rb"""tiff:Orientation(?:=["']|>)([0-9])""")


def orientation_of(exif: bytes = b"", xmp: bytes = b"") -> int:
    """Return the orientation, 1 to 8, that metadata give; XMP counts where EXIF says nothing.

    Parameters
    ----------
    exif : bytes
        A TIFF structure, with or without ``Exif`` before it. Only its first directory is looked
        at, entry by entry, and no pointer is followed.
    xmp : bytes
        An XMP packet.

    Returns
    -------
    int
        1 is upright, also for what is no orientation; 2 to 8 are turned or mirrored as in EXIF.
    """
    value = _of_exif(exif)
    if value is None and (found := _XMP.search(xmp)):
        value = int(found[1])
    return value if value is not None and 1 <= value <= 8 else UPRIGHT  # noqa: PLR2004


def raw_profile(text: bytes) -> bytes:
    """Return the bytes of a PNG's "Raw profile type exif": a name, a length, and hexadecimals."""
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
