"""A photo's orientation: the same whether a path, its bytes or the PIL image is given."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from serfiq_widgets.images import read_image
from serfiq_widgets.orientation import orientation_of

KINDS = {3: "H", 4: "I"}
STORED = np.random.default_rng(0).integers(0, 255, (24, 40, 3), dtype=np.uint8)
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/>'
    b"</rdf:RDF></x:xmpmeta>"
)


def exif(value, kind=3, order="<"):
    head = b"II*\0" if order == "<" else b"MM\0*"
    entry = struct.pack(f"{order}HHI", 0x0112, kind, 1)
    entry += struct.pack(f"{order}{KINDS[kind]}", value).ljust(4, b"\0")
    return head + struct.pack(f"{order}IH", 8, 1) + entry + b"\0\0\0\0"


def saved(form, **how):
    file = io.BytesIO()
    how |= {"lossless": True} if form == "WEBP" else {}
    Image.fromarray(STORED).save(file, form, **how)
    return file.getvalue()


def with_text(kind, body):
    content = saved("PNG")
    piece = kind + body
    chunk = struct.pack(">I", len(body)) + piece + struct.pack(">I", zlib.crc32(piece))
    return content[:33] + chunk + content[33:]


def hexadecimal(data):
    return b"\nexif\n%8d\n" % len(data) + data.hex().encode() + b"\n"


def pictures():
    for kind in KINDS:
        for order in "<>":
            data = b"Exif\0\0" + exif(6, kind, order)
            for form in ("JPEG", "PNG", "WEBP"):
                yield f"{form} type {kind} {order}", saved(form, exif=data)
    yield "JPEG XMP", saved("JPEG", xmp=XMP)
    yield "WEBP XMP", saved("WEBP", xmp=XMP)
    yield "JPEG EXIF beside XMP", saved("JPEG", exif=b"Exif\0\0" + exif(3), xmp=XMP)
    profile = hexadecimal(b"Exif\0\0" + exif(6))
    yield "PNG profile", with_text(b"tEXt", b"Raw profile type exif\0" + profile)
    packed = zlib.compress(profile)
    yield "PNG packed profile", with_text(b"zTXt", b"Raw profile type exif\0\0" + packed)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    yield "PNG XMP", saved("PNG", pnginfo=info)
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode(), zip=True)
    yield "PNG packed XMP", saved("PNG", pnginfo=info)


PICTURES = dict(pictures())


@pytest.mark.parametrize("case", PICTURES)
def test_path_bytes_and_pillow_image_are_turned_alike(case, tmp_path):
    content = PICTURES[case]
    path = tmp_path / "photo"
    path.write_bytes(content)
    read = read_image(path)
    with Image.open(path) as image:
        np.testing.assert_array_equal(read, read_image(image))
    with Image.open(path) as image:
        stored = np.asarray(image.convert("RGB"))
    turned = stored[::-1, ::-1] if "beside" in case else np.rot90(stored, -1)
    np.testing.assert_array_equal(read, turned)


@pytest.mark.parametrize("damaged", [b"", b"II*\0", exif(6)[:15], exif(0), exif(9), b"\xff" * 40])
def test_what_is_no_orientation_turns_nothing(damaged):
    assert orientation_of(damaged) == 1


def test_damaged_text_of_a_png_turns_nothing():
    for body in (b"Raw profile type exif\0\0no zlib", b"Raw profile type exif\0\0" + b"\x78"):
        assert read_image(with_text(b"zTXt", body)).shape == STORED.shape
    assert read_image(with_text(b"tEXt", b"Raw profile type exif\0\n\n\nxyz")).shape == STORED.shape
