"""A photo's orientation: the same whether a path, its bytes or the PIL image is given."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from serfiq_widgets.images.orientation import orientation_of
from serfiq_widgets.images.read import read_image, upright

KINDS = {3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}
STORED = np.random.default_rng(0).integers(0, 255, (24, 40, 3), dtype=np.uint8)
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/>'
    b"</rdf:RDF></x:xmpmeta>"
)
WRITTEN = {
    "in single quotes": XMP.replace(b'"6"', b"'6'"),
    "with spaces": XMP.replace(b'="6"', b' = " 6 "'),
    "as an element": XMP.replace(
        b' tiff:Orientation="6"/>', b"><tiff:Orientation>\n6</tiff:Orientation>"
    ),
}


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
    for how, text in WRITTEN.items():
        yield f"JPEG XMP {how}", saved("JPEG", xmp=text)
        yield f"TIFF XMP {how}", saved("TIFF", tiffinfo={700: text})
        info = PngImagePlugin.PngInfo()
        info.add_itxt("XML:com.adobe.xmp", text.decode())
        yield f"PNG XMP {how}", saved("PNG", pnginfo=info)
    for value in range(2, 9):
        yield f"TIFF {value}", saved("TIFF", tiffinfo={0x0112: value})
    other = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 40
    with_exif = saved("JPEG", exif=b"Exif\0\0" + exif(6))
    segment = b"\xff\xe1" + struct.pack(">H", len(other) + 2) + other
    yield "JPEG EXIF behind another segment", with_exif[:2] + segment + with_exif[2:]
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
        image.load()  # which turns TIFF, and nothing else
        stored = STORED if image.format == "TIFF" else np.asarray(image.convert("RGB"))
    value = int(case[-1]) if case[:-1] == "TIFF " else 3 if "beside" in case else 6
    np.testing.assert_array_equal(read, upright(stored, value))


@pytest.mark.parametrize("value", range(1, 9))
def test_pixels_are_turned_as_exif_says(value):
    """Where the corner that was stored first belongs, by the table of EXIF."""
    stored = np.zeros((2, 3, 1), np.uint8)
    stored[0, 0], stored[0, 2] = 1, 2
    turned = upright(stored, value)[:, :, 0]
    first, end = (tuple(np.argwhere(turned == one)[0].tolist()) for one in (1, 2))
    rows, columns = turned.shape
    top, left, bottom, right = 0, 0, rows - 1, columns - 1
    assert (first, end) == {
        1: ((top, left), (top, right)),
        2: ((top, right), (top, left)),
        3: ((bottom, right), (bottom, left)),
        4: ((bottom, left), (bottom, right)),
        5: ((top, left), (bottom, left)),
        6: ((top, right), (bottom, right)),
        7: ((bottom, right), (top, right)),
        8: ((bottom, left), (top, left)),
    }[value]


@pytest.mark.parametrize("damaged", [b"", b"II*\0", exif(6)[:15], exif(0), exif(9), b"\xff" * 40])
def test_what_is_no_orientation_turns_nothing(damaged):
    assert orientation_of(damaged) == 1


def test_damaged_text_of_a_png_turns_nothing():
    for body in (b"Raw profile type exif\0\0no zlib", b"Raw profile type exif\0\0" + b"\x78"):
        assert read_image(with_text(b"zTXt", body)).shape == STORED.shape
    assert read_image(with_text(b"tEXt", b"Raw profile type exif\0\n\n\nxyz")).shape == STORED.shape
