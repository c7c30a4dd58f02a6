"""Photos as phones, archives and data sets hold them: scored, or refused with the remedy."""

import io
import json
import struct

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from serfiq_widgets import read_image, score_table
from serfiq_widgets.cli.main import main
from serfiq_widgets.errors import ImageTooLarge, UnreadableImage
from serfiq_widgets.images import formats
from serfiq_widgets.images.photo import Photo
from serfiq_widgets.resources import sample_images

COLLINS = sample_images()[0]
LOSSLESS = {"BMP": "bmp", "PPM": "ppm", "TIFF": "tif", "JPEG2000": "jp2"}


def saved(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def photo():
    with Image.open(COLLINS) as image:
        return image.convert("RGB")


@pytest.mark.parametrize("form", LOSSLESS)
def test_a_lossless_format_gives_the_same_pixels(photo, form):
    assert np.array_equal(read_image(saved(photo, form)), np.asarray(photo))


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("TIFF", {"compression": "jpeg"}),
        ("TIFF", {"compression": "packbits"}),
        ("GIF", {}),
        ("AVIF", {"quality": 90}),
        ("JPEG2000", {"quality_mode": "dB", "quality_layers": [45]}),
    ],
)
def test_the_others_give_nearly_the_same_score(photo, scorer, form, options):
    one = scorer.score(photo, passes=20)
    other = scorer.score(saved(photo, form, **options), passes=20)
    # at 20 passes a point of quality is 0.0015 of the raw score; a palette of 256 costs most
    assert abs(one.raw - other.raw) < 0.01


def test_grey_pictures_of_8_and_16_bits_are_alike(photo):
    grey = np.asarray(photo.convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    for content in (
        saved(Image.fromarray(grey), "PPM"),
        saved(Image.fromarray(grey), "TIFF"),
        saved(deep, "TIFF"),
        saved(deep, "PNG"),
    ):
        assert np.array_equal(read_image(content), np.repeat(grey[..., None], 3, 2))


def test_of_pages_and_frames_the_first_is_taken(photo):
    others = [Image.new("RGB", photo.size, "red")]
    for form in ("TIFF", "GIF"):
        content = saved(photo, form, save_all=True, append_images=others)
        assert np.abs(read_image(content).astype(int) - np.asarray(photo)).mean() < 10


@pytest.mark.parametrize("form", ["TIFF", "AVIF", "JPEG"])
def test_it_is_turned_as_its_exif_says(photo, form):
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = photo.transpose(Image.Transpose.ROTATE_90)
    pixels = read_image(saved(lying, form, exif=exif))
    assert pixels.shape == np.asarray(photo).shape
    assert np.abs(pixels.astype(int) - np.asarray(photo)).mean() < 5


def test_heic_is_read_where_its_reader_is_installed_and_else_the_remedy_is_said(photo, monkeypatch):
    content = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(99)
    monkeypatch.setattr("serfiq_widgets.images.read.has_heif", lambda: False)
    monkeypatch.setattr("serfiq_widgets.images.photo.has_heif", lambda: False)
    for take in (lambda: read_image(content, "a.heic"), lambda: Photo(content, "a.heic")):
        with pytest.raises(UnreadableImage, match=r"a.heic.*serfiq_widgets\[heif\].*JPEG"):
            take()
    monkeypatch.undo()
    pillow_heif = pytest.importorskip("pillow_heif", reason="the extra heif is not installed")
    file = io.BytesIO()
    pillow_heif.from_pillow(photo).save(file, quality=95)
    pixels = read_image(file.getvalue())
    assert np.abs(pixels.astype(int) - np.asarray(photo)).mean() < 5


def test_a_visitor_may_bring_what_phones_write_and_no_more(photo):
    pixels = Photo(saved(photo, "AVIF", quality=95), "a.avif").pixels()
    assert np.abs(pixels.astype(int) - np.asarray(photo)).mean() < 5
    for form in ("TIFF", "BMP", "GIF", "PPM", "JPEG2000"):
        with pytest.raises(UnreadableImage, match=r"'a\.jpg' is not a JPEG, PNG, WebP"):
            Photo(saved(photo, form), "a.jpg")


def test_what_a_visitor_brings_is_kept_without_metadata(photo):
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    kept = Photo(saved(photo, "AVIF", exif=exif), "a.avif")
    assert b"where I live" not in kept._picture.content


def test_colours_that_cannot_be_turned_to_rgb_are_named(photo):
    lab = Image.merge("LAB", photo.split())
    for source in (lab, saved(lab, "TIFF")):
        with pytest.raises(UnreadableImage, match=r"'face' holds colours as L\*a\*b\*.*RGB"):
            read_image(source, "face")


def test_a_pillow_image_of_48_megapixels_is_taken_at_half_its_size():
    left = Image.new("RGB", (4032, 6048), "red")
    image = Image.new("RGB", (8064, 6048), "blue")
    image.paste(left)
    pixels = read_image(image)
    assert pixels.shape == (3024, 4032, 3)
    assert image.size == (8064, 6048)
    np.testing.assert_array_equal(pixels[:, 0], [[255, 0, 0]] * 3024)
    np.testing.assert_array_equal(pixels[:, -1], [[0, 0, 255]] * 3024)


@pytest.mark.slow
def test_a_photo_of_48_megapixels_is_decoded_at_half_its_size():
    content = saved(Image.new("RGB", (8064, 6048), "grey"), "JPEG")
    assert read_image(content).shape == (3024, 4032, 3)
    assert Photo(content, "a.jpg").pixels().shape == (3024, 4032, 3)
    with pytest.raises(ImageTooLarge, match="megapixels"):
        read_image(saved(Image.new("RGB", (8064, 6048)), "PNG"))


def header_of(form):
    """A file that claims 30,000 x 30,000 pixels."""
    side = 30_000
    if form == "BMP":
        head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
        return b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + head
    if form == "PPM":
        return b"P6 30000 30000 255\n" + bytes(99)
    if form == "GIF":
        return b"GIF89a" + struct.pack("<HHBBB", side, side, 0, 0, 0) + b"," + bytes(99)
    tags = [(256, side), (257, side), (258, 8), (259, 1), (262, 1), (273, 200), (277, 1)]
    tags += [(278, side), (279, side * side)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(300)


@pytest.mark.parametrize("form", ["BMP", "PPM", "GIF", "TIFF"])
def test_a_header_that_promises_too_much_is_refused(form):
    with pytest.raises((ImageTooLarge, UnreadableImage), match=r"'big\.img'"):
        read_image(header_of(form), "big.img")


def test_floats_are_refused():
    content = saved(Image.fromarray(np.ones((64, 64), np.float32)), "TIFF")
    with pytest.raises(UnreadableImage, match=r"'a\.tif' holds floats"):
        read_image(content, "a.tif")


@pytest.mark.slow
def test_a_folder_of_archives_is_scored_and_what_is_skipped_is_counted(photo, tmp_path):
    for form, ending in {**LOSSLESS, "AVIF": "avif", "GIF": "gif", "JPEG": "jfif"}.items():
        (tmp_path / f"a.{ending}").write_bytes(saved(photo, form))
    for name in ("notes.txt", "Thumbs.db", "._a.jpg", "README"):
        (tmp_path / name).write_bytes(b"no image")
    for folder in (".thumbnails", "__MACOSX"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").write_bytes(saved(photo, "JPEG"))
    arguments = ["score", str(tmp_path), "--passes", "2", "--format", "json"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert len(rows) == 7
    assert all(row["quality"] > 50 for row in rows)
    assert "1 .txt, 2 hidden, 2 made by programs, 1 without a suffix" in result.stderr
    assert len(score_table(tmp_path, passes=2)) == 7


def test_the_first_bytes_tell_the_format(photo):
    for form in (*LOSSLESS, "GIF", "AVIF", "JPEG", "PNG", "WEBP"):
        assert formats.format_of(saved(photo, form)) == form
    for content in (b"", b"P", b"P7\n", b"BX", b"\0\0\0\x18ftypisom" + bytes(99)):
        assert formats.format_of(content) in ("", "BMP")
