"""Image file formats, detected by their first bytes, and which are accepted from whom.

JPEG, PNG and WebP files are parsed in parts before they are decoded (see `metadata`). The decoders
of the other formats are older, larger or newer, so they run in the confined process (see
`sandbox`). This module uses the standard library only.
"""

from __future__ import annotations

from importlib.util import find_spec

COMMON = ("JPEG", "PNG", "WEBP")
PHONES = ("AVIF", "HEIF")
ARCHIVES = ("BMP", "GIF", "JPEG2000", "PPM", "TIFF")
APART = (*PHONES, *ARCHIVES)
SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".avif", ".heic", ".heif", ".hif"),
    *(
        ".bmp",
        ".gif",
        ".jp2",
        ".j2k",
        ".j2c",
        ".jpc",
        ".jpf",
        ".jpx",
        ".pbm",
        ".pgm",
        ".pnm",
        ".ppm",
        ".tif",
        ".tiff",
    ),
)
"""Suffixes of the files that count as images when a folder is walked."""
MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"BM", "BMP"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    *((f"P{number}{space}".encode(), "PPM") for number in range(1, 7) for space in " \t\r\n#"),
)
AVIF_BRANDS, HEIF_BRANDS = (
    (b"avif", b"avis"),
    (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1"),
)
FROM_VISITORS = (
    "is not a JPEG, PNG, WebP, AVIF or HEIC image. Save it as JPEG or PNG and try again."
)
FROM_OWNERS = (
    "is not an image that can be read: JPEG, PNG, WebP, AVIF, HEIC, TIFF, GIF, BMP, PPM, PGM or "
    "JPEG 2000. Save it as JPEG or PNG and try again."
)
NO_HEIF = (
    "is a HEIC photo, which needs an extra package: pip install 'serfiq_widgets[heif]'. Or save "
    "it as JPEG and try again."
)


def format_of(content: bytes) -> str:
    """Return Pillow's name of a file's format; empty if the format is unknown."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WEBP"
    if content[4:8] == b"ftyp":
        brands = [content[8:12], *(content[at : at + 4] for at in range(16, 64, 4))]
        size = int.from_bytes(content[:4], "big")
        brands = brands[: max(1, (size - 12) // 4)]
        if any(brand in AVIF_BRANDS for brand in brands):
            return "AVIF"
        return "HEIF" if any(brand in HEIF_BRANDS for brand in brands) else ""
    return next((name for magic, name in MAGIC if content.startswith(magic)), "")


def has_heif() -> bool:
    """Return whether the HEIC decoder is installed."""
    return find_spec("pillow_heif") is not None
