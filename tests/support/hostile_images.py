"""Hostile and odd image files, made by script: the same ones every time.

Each is to be scored or refused show_errors, cheaply and soon, whichever way it comes; see
`tests/test_bad_images.py` and `benchmarks/bad_images.py`.
"""

import io
import json
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

SAMPLES = Path(__file__).parents[2] / "sample_images"
STEP = 10  # bytes between two truncations


def photo(width=120, height=150):
    with Image.open(SAMPLES / "collins.jpg") as image:
        return image.convert("RGB").resize((width, height))


def noise(width, height, channels=3):
    shape = (height, width, channels)[: 3 if channels > 1 else 2]
    return np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)


def saved(image, form, **settings):
    file = io.BytesIO()
    image.save(file, form, **settings)
    return file.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, *chunks, colour=2, depth=8, data=None, interlace=0):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    data = zlib.compress(b"\0" * 999) if data is None else data
    body = chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IDAT", data)
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def with_chunks(*chunks):
    """A sound PNG with these behind its header."""
    content = saved(photo(), "PNG")
    return content[:33] + b"".join(chunks) + content[33:]


def segment(marker, body):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def with_segments(*segments, **settings):
    """A sound JPEG with these at its beginning."""
    content = saved(photo(), "JPEG", **settings)
    return content[:2] + b"".join(segments) + content[2:]


def riff(*pieces):
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)
        for kind, data in pieces
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(*entries, start=8, order="<", more=b""):
    """EXIF data: one directory of (tag, kind, count, value), and whatever lies behind it."""
    sign = b"II*\0" if order == "<" else b"MM\0*"
    body = b"".join(struct.pack(f"{order}HHII", *entry) for entry in entries)
    head = sign + struct.pack(f"{order}I", start) + struct.pack(f"{order}H", len(entries) & 0xFFFF)
    return head + body + struct.pack(f"{order}I", start) + more  # which leads back to itself


def exif(data):
    return with_segments(segment(0xE1, b"Exif\0\0" + data))


# Families of files


def truncated():
    small = photo(40, 48)
    ways = {"jpg": {"quality": 60}, "png": {}, "webp": {"quality": 40}}
    for suffix, settings in ways.items():
        image = small if suffix != "png" else small.resize((20, 24))
        form = {"jpg": "JPEG"}.get(suffix, suffix.upper())
        content = saved(image, form, **settings)
        for end in range(0, len(content), STEP):
            yield f"cut at {end}.{suffix}", content[:end]


def flipped():
    dice = np.random.default_rng(5)
    for suffix, form in (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")):
        sound = saved(photo(), form)
        for number in range(12):
            content = bytearray(sound)
            # the first ones hit the headers, where it hurts most
            for at in dice.integers(0, len(sound) if number % 2 else 600, 1 + number):
                content[at % len(sound)] ^= 1 << int(dice.integers(8))
            yield f"flipped {number}.{suffix}", bytes(content)


def bombs():
    zeros = zlib.compress(b"\0" * 150_000_000, 1)
    yield "30000 squared.png", png(30_000, 30_000)
    yield "thin and endless.png", png(2**31 - 1, 1)
    yield "2 million wide.png", saved(Image.new("LA", (1_999_999, 16)), "PNG")
    yield "nothing wide.png", png(0, 0)
    large = Image.new("RGB", (8000, 4000))
    large.paste(photo(3200, 4000))
    turned = Image.Exif()
    turned[0x0112] = 3
    yield "32 megapixels, turned.jpg", saved(large, "JPEG", exif=turned)
    large.putalpha(255)
    yield "32 megapixels, alpha.png", saved(large, "PNG", compress_level=1)
    yield "33 megapixels.png", saved(Image.new("1", (8200, 4000)), "PNG")
    waiting = saved(Image.new("RGB", (8000, 4000)), "JPEG", progressive=True, subsampling=0)
    yield "32 megapixels, progressive.jpg", waiting
    yield "15 megapixels.webp", saved(photo(3466, 4332), "WEBP", method=0)
    yield "16383 squared.webp", riff((b"VP8L", b"\x2f" + struct.pack("<I", 0x0FFFFFFF)))
    yield "16 million wide.webp", riff((b"VP8X", struct.pack("<I", 0) + b"\xff" * 6))
    start = struct.pack(">BHHB", 8, 65535, 65535, 3) + b"\1\x22\0\2\x11\1\3\x11\1"
    yield "65535 squared.jpg", b"\xff\xd8" + segment(0xC0, start) + segment(0xDA, b"\0" * 10)
    for kind, head in ((b"zTXt", b"c\0\0"), (b"iTXt", b"c\0\1\0\0\0"), (b"iCCP", b"p\0\0")):
        yield f"{kind.decode()} bomb.png", with_chunks(chunk(kind, head + zeros))
    yield "IDAT bomb.png", png(64, 64, data=zeros)
    yield "fdAT bomb.png", with_chunks(chunk(b"acTL", b"\0\0\0\2" * 2), chunk(b"fdAT", zeros))
    yield "a million chunks.png", with_chunks(chunk(b"tEXt", b"") * 1_000_000)
    yield "a million pieces.png", with_chunks(chunk(b"IDAT", b"") * 1_000_000)
    yield "million segments.jpg", with_segments(segment(0xFE, b"") * 1_000_000)
    yield "million fill bytes.jpg", with_segments(b"\xff" * 19_000_000)
    yield "million pieces.webp", riff(*[(b"ALPH", b"")] * 1_000_000)


def scans():
    """A progressive JPEG whose last scan comes again and again."""
    for side, times in ((2000, 5000), (64, 19_000)):
        content = saved(Image.new("RGB", (side, side), "grey"), "JPEG", progressive=True)
        last = content[content.rindex(b"\xff\xda") : -2]
        yield f"{times} scans of {side} squared.jpg", content[:-2] + last * times + b"\xff\xd9"


def metadata():
    orient = [(0x0112, 3, 1, value) for value in (0, 9, 65535)]
    for entry in orient:
        yield f"orientation {entry[3]}.jpg", exif(tiff(entry))
    yield "orientation of floats.jpg", exif(tiff((0x0112, 11, 1, 6)))
    yield "orientation, a million.jpg", exif(tiff((0x0112, 3, 10**6, 6)))
    yield "orientation, big endian.jpg", exif(tiff((0x0112, 3, 1, 6 << 16), order=">"))
    yield "circular directory.jpg", exif(tiff((0x8769, 4, 1, 8), (0x8825, 4, 1, 8)))
    yield "directory beyond the end.jpg", exif(tiff(start=2**32 - 1))
    yield "directory inside the header.jpg", exif(tiff(start=0))
    yield "giant counts.jpg", exif(tiff(*((tag, 5, 2**32 - 1, 8) for tag in range(256, 1000))))
    many = tiff(*((tag, 7, 2**20, 8) for tag in range(65535)), more=b"\0" * 2**20)
    yield "65535 entries of a megabyte.png", with_chunks(chunk(b"eXIf", many))
    parts = [segment(0xE1, b"Exif\0\0" + many[i : i + 65000]) for i in range(0, len(many), 65000)]
    yield "EXIF in thirty parts.jpg", with_segments(*parts)
    yield "half an EXIF.jpg", exif(b"II*\0")
    yield "EXIF of nothing.jpg", with_segments(segment(0xE1, b"Exif\0\0"))
    yield "EXIF.webp", saved(photo(), "WEBP", exif=tiff((0x0112, 3, 1, 6)))
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x " + b"tiff:Orientation='9' " * 3000
    yield "XMP.jpg", with_segments(segment(0xE1, xmp))
    yield "profile 255 of 0.jpg", with_segments(segment(0xE2, b"ICC_PROFILE\0\xff\0" + b"\0" * 99))
    profiles = segment(0xE2, b"ICC_PROFILE\0\1\xff" + b"\xff" * 65000)
    yield "19 MB of profiles.jpg", with_segments(profiles * 290)
    yield "profile of noise.png", with_chunks(chunk(b"iCCP", b"p\0\0" + b"\xff" * 999))
    yield "resolution 0.png", with_chunks(chunk(b"pHYs", b"\0" * 9))
    yield "gamma 0.png", with_chunks(chunk(b"gAMA", b"\0" * 4))
    yield "circular MPF.jpg", with_segments(segment(0xE2, b"MPF\0" + tiff((0xB001, 4, 1, 999))))
    photoshop = b"Photoshop 3.0\x008BIM\x04\x04\0\0\xff\xff\xff\xff"
    yield "Photoshop.jpg", with_segments(segment(0xED, photoshop))
    yield "Adobe transform 9.jpg", with_segments(segment(0xEE, b"Adobe\0\x64\0\0\0\0\x09"))
    yield "comment.jpg", with_segments(segment(0xFE, b"\x1b[2J<script>alert(1)</script>" * 99))


def polyglots():
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("run.py", "raise SystemExit")
    others = {
        "HTML": b"<!doctype html><script>alert(1)</script>",
        "JS": b"/*\xff*/ alert(1);",
        "ZIP": zipped.getvalue(),
        "PDF": b"%PDF-1.7\n1 0 obj <</OpenAction 2 0 R>> endobj",
        "ELF": b"\x7fELF\2\1\1" + b"\0" * 57,
    }
    for name, other in others.items():
        for suffix, form in (("jpg", "JPEG"), ("png", "PNG"), ("webp", "WEBP")):
            sound = saved(photo(), form)
            yield f"{name} before.{suffix}", other + sound
            yield f"{name} behind.{suffix}", sound + other


def modes():
    picture = photo()
    for mode in ("1", "L", "LA", "P", "PA", "RGBA"):
        converted = picture.convert("RGBA").convert(mode) if mode != "PA" else picture.convert("P")
        yield f"mode {mode}.png", saved(converted, "PNG")
    deep = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    yield "mode I;16.png", saved(deep, "PNG")
    yield "palette with transparency.png", saved(picture.quantize(9), "PNG", transparency=3)
    yield "grey with transparency.png", saved(picture.convert("L"), "PNG", transparency=3)
    yield "colour with transparency.png", saved(picture, "PNG", transparency=(1, 2, 3))
    yield "palette missing.png", png(64, 64, colour=3, data=zlib.compress(b"\0" * 65 * 64))
    short = chunk(b"PLTE", b"\xff\0\0")
    yield "palette too short.png", png(64, 64, short, colour=3, data=zlib.compress(b"\7" * 65 * 64))
    for depth, colour in ((3, 2), (16, 3), (8, 5), (255, 255)):
        yield f"depth {depth} of colour {colour}.png", png(64, 64, depth=depth, colour=colour)
    yield "interlaced.png", png(64, 64, data=zlib.compress(b"\0" * 13_000), interlace=1)
    yield "interlaced by 9.png", png(64, 64, interlace=9)
    yield "filter 9.png", png(64, 64, data=zlib.compress(b"\x09" * 64 * 193))
    yield "alpha.webp", saved(picture.convert("RGBA"), "WEBP")
    yield "lossless.webp", saved(picture, "WEBP", lossless=True)
    cmyk = picture.convert("CMYK")
    yield "CMYK.jpg", saved(cmyk, "JPEG")
    ink = saved(cmyk, "JPEG")
    at = ink.index(b"Adobe") + 11
    yield "YCCK.jpg", ink[:at] + b"\2" + ink[at + 1 :]
    yield "grey.jpg", saved(picture.convert("L"), "JPEG")
    sound = saved(picture, "JPEG", subsampling=0)
    at = sound.index(b"\xff\xc0") + 11
    ratios = {"4:1:1": 0x41, "4:4:0": 0x12, "4:1:0": 0x42, "3:1": 0x31, "none": 0, "15:15": 0xFF}
    for name, ratio in ratios.items():
        yield f"sampled {name}.jpg", sound[:at] + bytes([ratio]) + sound[at + 1 :]
    yield "12 bits.jpg", sound[: at - 7] + b"\x0c" + sound[at - 6 :]
    yield "lossless.jpg", sound.replace(b"\xff\xc0", b"\xff\xc3", 1)
    yield "arithmetic.jpg", sound.replace(b"\xff\xc0", b"\xff\xc9", 1)
    yield "no tables.jpg", sound.replace(b"\xff\xc4", b"\xff\xfe")
    yield "no quantisation.jpg", sound.replace(b"\xff\xdb", b"\xff\xfe")
    yield "two beginnings.jpg", sound[:2] + sound
    yield "no end.jpg", sound[:-2]
    yield "255 layers.jpg", sound[: at - 2] + b"\xff" + sound[at - 1 :]
    yield "restart every block.jpg", with_segments(segment(0xDD, b"\0\1"))


def several():
    frames = [photo(), Image.fromarray(noise(120, 150))]
    more = {"save_all": True, "append_images": frames[1:]}
    for suffix, form in (("webp", "WEBP"), ("png", "PNG"), ("jpg", "GIF"), ("jpg", "MPO")):
        yield f"animated {form}.{suffix}", saved(frames[0], form, **more)
    header = (b"VP8X", b"\2\0\0\0" + b"\x3f\0\0" * 2)
    frame = (b"ANMF", b"\0" * 6 + b"\xff\xff\xff" * 2 + b"\0" * 4)
    yield "frame beyond the canvas.webp", riff(header, (b"ANIM", b"\0" * 6), frame)
    yield "a thousand frames.webp", riff(header, (b"ANIM", b"\0" * 6), *[frame] * 1000)
    yield "frames of nothing.png", with_chunks(chunk(b"acTL", b"\xff" * 8))


def others():
    picture = photo()
    yield "empty.jpg", b""
    yield "one byte.png", b"\xff"
    yield "zeros.jpg", b"\0" * 5000
    yield "noise.webp", noise(64, 64).tobytes()
    yield "too many bytes.jpg", b"\xff\xd8\xff" + b"\0" * 20_000_001
    for width, height in ((1, 1), (1, 3000), (3000, 1), (16, 16), (16, 5000), (5000, 16)):
        for suffix, form in (("jpg", "JPEG"), ("png", "PNG")):
            yield f"{width} x {height}.{suffix}", saved(Image.new("RGB", (width, height)), form)
    for suffix, form in (("jpg", "PNG"), ("png", "WEBP"), ("webp", "JPEG")):
        yield f"{form} inside.{suffix}", saved(picture, form)
    for form in ("TIFF", "BMP", "GIF", "ICO", "PPM", "TGA", "EPS", "PDF", "PCX"):
        yield f"{form} inside.jpg", saved(picture.resize((64, 64)), form)
    magic = {
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
        "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0mif1avif",
        "PSD": b"8BPS\0\1" + b"\0" * 6 + b"\0\3\0\0\0\x40\0\0\0\x40\0\x08\0\3",
        "JPEG 2000": b"\0\0\0\x0cjP  \r\n\x87\n",
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file",
        "MVG": b"push graphic-context\nviewbox 0 0 9 9\nimage over 0,0 0,0 'label:@/etc/passwd'",
        "RIFF sound": b"RIFF\x24\0\0\0WAVEfmt ",
    }
    for name, content in magic.items():
        yield f"{name} magic.jpg", content + b"\0" * 999
    flat = Image.new("RGB", (300, 300), "grey")
    yield "nobody there.jpg", saved(flat, "JPEG")
    yield "nobody in the noise.png", saved(Image.fromarray(noise(300, 300)), "PNG")


FAMILIES = (truncated, flipped, bombs, scans, metadata, polyglots, modes, several, others)


def corpus():
    """All of them, as (name, content), one after the other."""
    for family in FAMILIES:
        yield from family()


# The three ways in; each returns what became of a file


def upload(state):
    """Send a file as a page does, to the explorer's own widget."""
    from serfiq_widgets.images.photo import Photo
    from serfiq_widgets.widgets.elements import Upload
    from serfiq_widgets.widgets.errors_shown import show_errors

    def take(name, content):
        state.image = Photo(content, name)

    def refuse(error):
        state.message = str(error)

    widget = Upload(show_errors(state, take), refuse)

    def send(name, content):
        state.message = ""
        size = 2**20
        for start in range(0, max(len(content), 1), size):
            ends = {"first": start == 0, "last": start + size >= len(content)}
            piece = memoryview(content)[start : start + size]
            widget._receive(None, {"name": name, **ends}, [piece])
        return state.message

    return send


def api(scorer):
    """Score bytes with the library."""
    from serfiq_widgets.errors import SerfiqError

    def send(name, content):
        file = io.BytesIO(content)
        file.name = name
        try:
            scorer.score(file, 2)
        except SerfiqError as error:
            return str(error)
        return ""

    return send


def command(*paths):
    """Score files or folders with the command; returns what it says of each."""
    from click.testing import CliRunner

    from serfiq_widgets.cli.main import main

    arguments = ["score", *map(str, paths), "--format", "json", "--passes", "2"]
    done = CliRunner(catch_exceptions=False).invoke(main, arguments)
    return {Path(row["path"]).name: row["error"] or "" for row in json.loads(done.stdout)}


def ways():
    """Upload and API, warmed up by one sound photo each, and the command."""
    from serfiq_widgets import Scorer
    from serfiq_widgets.widgets.state import ExplorerState

    scorer = Scorer(engine="onnxruntime", device="cpu")
    found = upload(ExplorerState(scorer)), api(scorer)
    sound = "sound.png", saved(photo(300, 375), "PNG")
    assert [send(*sound) for send in found] == ["", ""]
    assert command(SAMPLES / "collins.jpg") == {"collins.jpg": ""}
    return *found, command


def memory(kind):
    """Of this process in bytes: "VmSize", "VmRSS" (resident) or "VmHWM" (its peak)."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(text.partition(f"{kind}:")[2].split()[0])


def main(folder, megabytes):
    """Send the files of a folder every way, singly under a limit on memory; print what came of it.

    What is limited is address space, of which a process takes more than memory: also for what it
    only might need, and in pieces that do not fit each other.
    """
    import resource

    by_upload, by_api, by_command = ways()
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (memory("VmSize") + int(megabytes) * 10**6, most))
    before, said = memory("VmRSS"), {"upload": {}, "API": {}}
    for path in Path(folder).iterdir():
        said["upload"][path.name] = by_upload(path.name, path.read_bytes())
        said["API"][path.name] = by_api(path.name, path.read_bytes())
    peak = memory("VmHWM") - before
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    said["CLI"] = by_command(folder)  # several at once
    print(json.dumps({"said": said, "peak": peak}))


if __name__ == "__main__":
    main(*sys.argv[1:])
